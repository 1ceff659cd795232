//! The vectors of a sealed segment: in memory, or in its file.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::index::kernels::prefetch;
use crate::index::layout::column::Column;
use crate::index::layout::rows::{
    Block, RowBuffer, RowFormat, RowSource, Rows, blocks_for, decode_into, unpack_into,
};
use crate::index::layout::section::{Section, SegmentFile};

/// The vectors of a sealed segment, one a number.
#[derive(Debug)]
pub(crate) enum SegmentRows {
    /// In memory.
    Held(Rows),
    /// Padded rows in a segment file; each is verified when it is first read.
    Mapped {
        /// The file.
        file: Arc<dyn SegmentFile>,
        /// The blocks of all rows.
        rows: Column<Block>,
        /// Numbers in a row.
        dim: usize,
    },
    /// Encoded rows in a segment file; each is verified when it is first read.
    Encoded {
        /// The file.
        file: Arc<dyn SegmentFile>,
        /// The encoding.
        format: Arc<dyn RowFormat>,
        /// Number of rows.
        len: usize,
        /// Numbers in a row.
        dim: usize,
    },
}

/// The vectors of a segment, borrowed for a loop.
pub(crate) struct RowsView<'a> {
    stored: Stored<'a>,
    /// The file that verifies them, if they are in one.
    file: Option<&'a dyn SegmentFile>,
    /// Bytes of a row.
    stride: usize,
    dim: usize,
}

#[derive(Clone, Copy)]
enum Stored<'a> {
    Padded(&'a [Block]),
    Encoded(&'a [u8], &'a dyn RowFormat),
}

#[inline]
fn in_blocks(bytes: Range<usize>) -> Range<usize> {
    bytes.start / size_of::<Block>()..bytes.end / size_of::<Block>()
}

impl<'a> RowsView<'a> {
    /// Rows in memory.
    pub(crate) fn of(rows: &'a Rows) -> Self {
        Self::padded(rows.blocks(), None, rows.dim())
    }

    fn padded(blocks: &'a [Block], file: Option<&'a dyn SegmentFile>, dim: usize) -> Self {
        Self {
            stored: Stored::Padded(blocks),
            file,
            stride: blocks_for(dim) * size_of::<Block>(),
            dim,
        }
    }

    /// The byte range of a row.
    #[inline]
    fn range(&self, item: u32) -> Range<usize> {
        item as usize * self.stride..(item as usize + 1) * self.stride
    }

    #[inline]
    fn get(&self, item: u32, buffer: &'a mut RowBuffer) -> &'a [Block] {
        let range = self.range(item);
        if let Some(file) = self.file {
            file.verify(Section::Rows, range.clone());
        }
        match self.stored {
            Stored::Padded(blocks) => &blocks[in_blocks(range)],
            Stored::Encoded(bytes, format) => decode_into(format, &bytes[range], self.dim, buffer),
        }
    }
}

impl RowSource for RowsView<'_> {
    #[inline]
    fn row<'a>(&'a self, local: u32, buffer: &'a mut RowBuffer) -> &'a [Block] {
        self.get(local, buffer)
    }

    #[inline]
    fn prefetch(&self, local: u32) {
        let range = self.range(local);
        match self.stored {
            Stored::Padded(blocks) => prefetch(&blocks[in_blocks(range)]),
            Stored::Encoded(bytes, _) => prefetch(&bytes[range]),
        }
    }

    fn dim(&self) -> usize {
        self.dim
    }
}

impl SegmentRows {
    /// All rows, for a loop. A damaged row is read as it is, and the damage is noted in the file:
    /// the caller must ask [`SegmentFile::is_damaged`] before it uses results.
    pub(crate) fn view(&self) -> RowsView<'_> {
        match self {
            Self::Held(rows) => RowsView::of(rows),
            Self::Mapped { file, rows, dim } => RowsView::padded(rows, Some(&**file), *dim),
            Self::Encoded {
                file, format, dim, ..
            } => RowsView {
                stored: Stored::Encoded(file.section(Section::Rows), &**format),
                file: Some(&**file),
                stride: format.bytes(*dim),
                dim: *dim,
            },
        }
    }

    /// Verifies all rows at once, if they are in a file.
    pub(crate) fn verify_all(&self) {
        if let Some(file) = self.file() {
            file.verify(Section::Rows, 0..file.section(Section::Rows).len());
        }
    }

    /// The bytes of all rows as they are written to a segment file, in `format` if there is one.
    /// `None` if the format cannot represent them, or if they are in a file that is damaged.
    pub(crate) fn bytes_in(&self, format: Option<&dyn RowFormat>) -> Option<Cow<'_, [u8]>> {
        match (self, format) {
            (Self::Mapped { file, .. } | Self::Encoded { file, .. }, _) => {
                let bytes = file.section(Section::Rows);
                file.verify(Section::Rows, 0..bytes.len())
                    .then_some(Cow::Borrowed(bytes))
            }
            (Self::Held(rows), None) => Some(Cow::Borrowed(bytemuck::cast_slice(rows.blocks()))),
            (Self::Held(rows), Some(format)) => {
                let stride = format.bytes(rows.dim());
                let mut bytes = vec![0; rows.len() * stride];
                let encoded = bytes
                    .par_chunks_mut(stride)
                    .enumerate()
                    .try_for_each(|(i, to)| {
                        to.copy_from_slice(&format.encode(&rows.unpadded(i..i + 1))?);
                        Some(())
                    });
                encoded.map(|()| Cow::Owned(bytes))
            }
        }
    }

    /// Row `item`; see [`Self::view`] for damaged rows.
    #[inline]
    pub(crate) fn row<'a>(&'a self, item: u32, buffer: &'a mut RowBuffer) -> &'a [Block] {
        self.view().get(item, buffer)
    }

    /// Row `item` as numbers; `None` for a damaged one.
    pub(crate) fn sound_row(&self, item: u32) -> Option<Vec<f32>> {
        let view = self.view();
        if let Some(file) = view.file
            && !file.verify(Section::Rows, view.range(item))
        {
            return None;
        }
        let mut row = vec![0.0; self.dim()];
        unpack_into(view.row(item, &mut RowBuffer::new()), &mut row);
        Some(row)
    }

    /// Numbers in a row.
    pub(crate) fn dim(&self) -> usize {
        match self {
            Self::Held(rows) => rows.dim(),
            Self::Mapped { dim, .. } | Self::Encoded { dim, .. } => *dim,
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Held(rows) => rows.len(),
            Self::Mapped { rows, dim, .. } => rows.len() / blocks_for(*dim),
            Self::Encoded { len, .. } => *len,
        }
    }

    /// The file that the rows are in, if any.
    pub(crate) fn file(&self) -> Option<&dyn SegmentFile> {
        match self {
            Self::Held(_) => None,
            Self::Mapped { file, .. } | Self::Encoded { file, .. } => Some(&**file),
        }
    }

    /// Bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Held(rows) => rows.bytes(),
            Self::Mapped { .. } | Self::Encoded { .. } => 0,
        }
    }
}
