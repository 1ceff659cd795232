//! The segment file: a sealed segment as it is written once, mapped, and used in place.
//!
//! The sections, in order; all numbers are little-endian, and each section starts at a multiple of
//! 64 bytes:
//!
//! | section | contents |
//! |---|---|
//! | header | 8 u32 words: id (2 words, the lower first), items, dimension, entry, metric version, unrefined items, bits of a code |
//! | slots | a u32 an item |
//! | edges | 32 u32 an item, filled up with `u32::MAX` |
//! | ranges | the least value and the step of the codes of each number (f32): all least values, then all steps |
//! | codes | a row of codes of 4 or 8 bits an item, in the order of [`CodeBlock`], padded with zeros to a multiple of 64 bytes |
//! | outliers | a bit an item, in u32 words: whether its codes are far from it |
//! | biases | an f32 an item: its bias under the built-in distance |
//! | rows | a row of f32 an item, padded with zeros to a multiple of 64 bytes; or its encoding by a [`RowFormat`], not padded |
//!
//! All sections but the rows are verified when the file is opened; a row is when it is first read.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::index::error::IndexError;
use crate::index::graph::beam::{Edges, NONE};
use crate::index::layout::codes::{CodeBits, CodeBlock};
use crate::index::layout::column::Column;
use crate::index::layout::rows::{Block, RowFormat, blocks_for};
use crate::index::layout::section::{Section, SegmentFile};
use crate::index::quantizer::{Codes, Outliers, Quantizer};
use crate::index::segment::rows::SegmentRows;
use crate::index::segment::sealed::{Contents, SealedSegment};
use crate::slot::Slot;

/// Bytes that are verified together by one thread.
const VERIFIED_AT_ONCE: usize = 1 << 20;
/// Items whose edges are checked together by one thread.
const CHECKED_AT_ONCE: usize = 4096;

/// The header of a segment file.
struct Header {
    id: u64,
    items: u32,
    dim: u32,
    entry: u32,
    built_under: u32,
    unrefined: u32,
    code_bits: u32,
}

impl Header {
    /// Words in the header, and the position of each.
    const WORDS: usize = 8;
    const ID_LOW: usize = 0;
    const ID_HIGH: usize = 1;
    const ITEMS: usize = 2;
    const DIM: usize = 3;
    const ENTRY: usize = 4;
    const BUILT_UNDER: usize = 5;
    const UNREFINED: usize = 6;
    const CODE_BITS: usize = 7;

    fn of(segment: &SealedSegment) -> Self {
        Self {
            id: segment.id,
            items: segment.len() as u32,
            dim: segment.rows.dim() as u32,
            entry: segment.entry,
            built_under: segment.built_under,
            unrefined: segment.unrefined as u32,
            code_bits: segment.codes.quantizer().bits().count(),
        }
    }

    fn to_words(&self) -> [u32; Self::WORDS] {
        let mut words = [0; Self::WORDS];
        words[Self::ID_LOW] = self.id as u32;
        words[Self::ID_HIGH] = (self.id >> 32) as u32;
        words[Self::ITEMS] = self.items;
        words[Self::DIM] = self.dim;
        words[Self::ENTRY] = self.entry;
        words[Self::BUILT_UNDER] = self.built_under;
        words[Self::UNREFINED] = self.unrefined;
        words[Self::CODE_BITS] = self.code_bits;
        words
    }

    fn from_words(words: &[u32]) -> Option<Self> {
        let words: &[u32; Self::WORDS] = words.try_into().ok()?;
        Some(Self {
            id: u64::from(words[Self::ID_LOW]) | u64::from(words[Self::ID_HIGH]) << 32,
            items: words[Self::ITEMS],
            dim: words[Self::DIM],
            entry: words[Self::ENTRY],
            built_under: words[Self::BUILT_UNDER],
            unrefined: words[Self::UNREFINED],
            code_bits: words[Self::CODE_BITS],
        })
    }
}

/// The sections of the file of a segment; `biases` are those of its items under the built-in
/// distance. `None` if the segment is itself in a file that is damaged, or its rows do not fit
/// `format`.
pub(crate) fn sections<'a>(
    segment: &'a SealedSegment,
    biases: &[f32],
    format: Option<&dyn RowFormat>,
) -> Option<Vec<Cow<'a, [u8]>>> {
    fn owned<'a, T: bytemuck::NoUninit>(numbers: &[T]) -> Cow<'a, [u8]> {
        Cow::Owned(bytemuck::cast_slice(numbers).to_vec())
    }
    fn borrowed<T: bytemuck::NoUninit>(numbers: &[T]) -> Cow<'_, [u8]> {
        Cow::Borrowed(bytemuck::cast_slice(numbers))
    }
    let rows = segment.rows.bytes_in(format)?;
    Some(vec![
        owned(&Header::of(segment).to_words()),
        borrowed(&segment.slots),
        borrowed(&segment.edges),
        owned(&segment.codes.quantizer().ranges()),
        borrowed(segment.codes.blocks()),
        borrowed(segment.codes.outliers().words()),
        owned(biases),
        rows,
    ])
}

/// What the store knows of its segment files.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// Numbers in a vector.
    pub(crate) dim: usize,
    /// All slots are below this one.
    pub(crate) next_slot: u32,
    /// The encoding of rows; `None` for `f32`.
    pub(crate) format: Option<&'a Arc<dyn RowFormat>>,
}

/// Opens a segment file. Returns the segment and the biases of its items under the built-in
/// distance.
///
/// # Errors
/// [`IndexError::Graph`] if the file is damaged or inconsistent.
pub(crate) fn open(
    id: u64,
    file: &Arc<dyn SegmentFile>,
    expected: Expected<'_>,
) -> Result<(SealedSegment, Column<f32>), IndexError> {
    read(id, file, expected).map_err(|reason| IndexError::Graph {
        segment: id,
        reason,
    })
}

fn inconsistent() -> String {
    "the sections of its file do not fit together".to_owned()
}

/// The numbers of a section, if there are `len` of them.
fn column<T: bytemuck::AnyBitPattern>(
    file: &Arc<dyn SegmentFile>,
    section: Section,
    len: usize,
) -> Result<Column<T>, String> {
    Column::mapped(file, section)
        .filter(|column| column.len() == len)
        .ok_or_else(inconsistent)
}

fn read(
    id: u64,
    file: &Arc<dyn SegmentFile>,
    expected: Expected<'_>,
) -> Result<(SealedSegment, Column<f32>), String> {
    let Expected { dim, next_slot, .. } = expected;
    if cfg!(target_endian = "big") {
        return Err("segment files are used on little-endian machines only".to_owned());
    }
    if !are_columns_sound(file) {
        return Err("a checksum of its file does not fit".to_owned());
    }
    let words: Column<u32> = column(file, Section::Header, Header::WORDS)?;
    let header = Header::from_words(&words).ok_or_else(inconsistent)?;
    if header.id != id {
        return Err("its file is that of another segment".to_owned());
    }
    let len = header.items as usize;
    let bits = CodeBits::from_count(header.code_bits).ok_or_else(inconsistent)?;
    let slots: Column<Slot> = column(file, Section::Slots, len)?;
    let edges: Column<Edges> = column(file, Section::Edges, len)?;
    let ranges: Column<f32> = column(file, Section::Ranges, 2 * dim)?;
    let codes: Column<CodeBlock> = column(file, Section::Codes, len * bits.blocks(dim))?;
    let outliers: Column<u32> = column(file, Section::Outliers, Outliers::words_for(len))?;
    let biases: Column<f32> = column(file, Section::Biases, len)?;
    let rows = rows(file, len, expected)?;
    if header.dim as usize != dim
        || header.entry >= header.items
        || header.unrefined > header.items
        || ranges.iter().any(|x| !x.is_finite())
    {
        return Err(inconsistent());
    }
    if edges
        .par_iter()
        .with_min_len(CHECKED_AT_ONCE)
        .any(|edges| !are_edges_valid(edges, header.items))
    {
        return Err("an edge leads nowhere".to_owned());
    }
    let segment = SealedSegment::new(Contents {
        id,
        slots,
        rows,
        codes: Codes::stored(
            Quantizer::from_ranges(bits, &ranges),
            codes,
            Outliers::stored(outliers),
        ),
        edges,
        entry: header.entry,
        built_under: header.built_under,
        unrefined: header.unrefined as usize,
    });
    if !segment.has_distinct_slots(Slot(next_slot)) {
        return Err("slots are repeated or were never assigned".to_owned());
    }
    Ok((segment, biases))
}

/// Verifies all sections but the rows, in parallel.
fn are_columns_sound(file: &Arc<dyn SegmentFile>) -> bool {
    let ranges: Vec<(Section, Range<usize>)> = Section::ALL[..Section::Rows as usize]
        .iter()
        .flat_map(|section| {
            let len = file.section(*section).len();
            (0..len)
                .step_by(VERIFIED_AT_ONCE)
                .map(move |from| (*section, from..len.min(from + VERIFIED_AT_ONCE)))
        })
        .collect();
    ranges
        .into_par_iter()
        .all(|(section, range)| file.verify(section, range))
}

/// The rows of `len` items, in place.
fn rows(
    file: &Arc<dyn SegmentFile>,
    len: usize,
    expected: Expected<'_>,
) -> Result<SegmentRows, String> {
    let dim = expected.dim;
    match expected.format {
        None => Ok(SegmentRows::Mapped {
            file: Arc::clone(file),
            rows: column::<Block>(file, Section::Rows, len * blocks_for(dim))?,
            dim,
        }),
        Some(format) if file.section(Section::Rows).len() == len * format.bytes(dim) => {
            Ok(SegmentRows::Encoded {
                file: Arc::clone(file),
                format: Arc::clone(format),
                len,
                dim,
            })
        }
        Some(_) => Err(inconsistent()),
    }
}

/// Whether edges name existing items, and nothing but [`NONE`] follows the last of them.
fn are_edges_valid(edges: &Edges, items: u32) -> bool {
    let used = edges.iter().take_while(|id| **id != NONE).count();
    edges[..used].iter().all(|id| *id < items) && edges[used..].iter().all(|id| *id == NONE)
}

/// Checks a whole segment file.
///
/// # Errors
/// [`IndexError::Graph`] says what is wrong.
pub(crate) fn check(
    id: u64,
    file: &Arc<dyn SegmentFile>,
    expected: Expected<'_>,
) -> Result<(), IndexError> {
    open(id, file, expected)?;
    if file.verify(Section::Rows, 0..file.section(Section::Rows).len()) {
        return Ok(());
    }
    Err(IndexError::Graph {
        segment: id,
        reason: "a checksum of its rows does not fit".to_owned(),
    })
}

/// The vectors of a segment file, each with its slot, or `None` for one that is damaged. Of its
/// sections, only those of slots and rows are read; where the slot of a vector is damaged, the
/// vector is left out.
///
/// # Errors
/// The reason why there is no telling which vector is which.
pub(crate) fn stored_rows<'a>(
    file: &'a Arc<dyn SegmentFile>,
    expected: Expected<'a>,
) -> Result<impl Iterator<Item = (u32, Option<Vec<f32>>)> + use<'a>, String> {
    let slots = file
        .section(Section::Slots)
        .as_chunks::<{ size_of::<Slot>() }>()
        .0;
    let rows = rows(file, slots.len(), expected)?;
    let numbered = slots.iter().zip(0_u32..);
    Ok(numbered.filter_map(move |(slot, item)| {
        let at = item as usize * size_of::<Slot>();
        let slot = u32::from_le_bytes(*slot);
        if !file.verify(Section::Slots, at..at + size_of::<Slot>()) || slot >= expected.next_slot {
            return None;
        }
        let vector = rows.sound_row(item);
        Some((slot, vector.filter(|row| row.iter().all(|x| x.is_finite()))))
    }))
}
