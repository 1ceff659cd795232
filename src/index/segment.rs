//! Segments: immutable parts with a linked graph, searched by the beam.
//!
//! Items are numbered in breadth-first order from the entry, so that what is walked together lies
//! together. Rows, slots and edges are indexed by that number.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::beam::Edges;
use super::beam::Score;
use super::bias::{Biases, RowSource};
use super::codes::{CodeRows, CodedQuery, Codes};
use super::column::Column;
use super::image::{Image, Part};
use super::kernels::prefetch;
use super::query::{Query, order_safe};
use super::rows::{Block, Room, RowFormat, Rows, blocks_for, decode_into};

/// An immutable, linked part of the index.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Names the segment in its store, and the part in the bias cache.
    pub(crate) id: u64,
    /// The slot of each item.
    pub(crate) slots: Column<u32>,
    /// The vector of each item.
    pub(crate) rows: SegmentRows,
    /// The vectors in codes, which searches walk on.
    pub(crate) codes: Codes,
    /// The out-edges of each item.
    pub(crate) edges: Column<Edges>,
    /// Where searches begin: the medoid.
    pub(crate) entry: u32,
    /// The version of the metric that the graph was linked under.
    pub(crate) linked_under: u32,
    /// Items linked since the last refinement of the whole graph.
    pub(crate) unrefined: usize,
    locate: Locate,
}

/// From slots to items.
#[derive(Debug)]
enum Locate {
    /// `items[slot - first]`, or [`NONE`](super::beam::NONE).
    Dense { first: u32, items: Vec<u32> },
    /// (slot, item), sorted, where slots are scattered.
    Sorted(Vec<(u32, u32)>),
}

impl Locate {
    fn new(slots: &[u32]) -> Self {
        let first = slots.iter().copied().min().unwrap_or(0);
        let last = slots.iter().copied().max().unwrap_or(0);
        let range = (last - first) as usize + 1;
        if range <= slots.len().saturating_mul(3) {
            let mut items = vec![super::beam::NONE; range];
            for (item, slot) in slots.iter().enumerate() {
                items[(slot - first) as usize] = item as u32;
            }
            return Self::Dense { first, items };
        }
        let mut pairs: Vec<(u32, u32)> = slots
            .iter()
            .enumerate()
            .map(|(item, slot)| (*slot, item as u32))
            .collect();
        pairs.sort_unstable();
        Self::Sorted(pairs)
    }

    fn get(&self, slot: u32) -> Option<u32> {
        match self {
            Self::Dense { first, items } => {
                let item = *items.get(slot.checked_sub(*first)? as usize)?;
                (item != super::beam::NONE).then_some(item)
            }
            Self::Sorted(pairs) => {
                let at = pairs.binary_search_by_key(&slot, |pair| pair.0).ok()?;
                Some(pairs[at].1)
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Dense { items, .. } => items.len() * 4,
            Self::Sorted(pairs) => pairs.len() * 8,
        }
    }
}

/// The vectors of a segment.
#[derive(Debug)]
pub(crate) enum SegmentRows {
    /// In memory.
    Held(Rows),
    /// In an image; each is verified when it is first read.
    Mapped {
        /// Where they lie.
        image: Arc<dyn Image>,
        /// All rows.
        rows: Column<Block>,
        /// Numbers in a row.
        dim: usize,
    },
    /// In an image in fewer bytes; verified likewise.
    Packed {
        /// Where they lie.
        image: Arc<dyn Image>,
        /// How.
        format: Arc<dyn RowFormat>,
        /// Rows.
        len: usize,
        /// Numbers in a row.
        dim: usize,
    },
}

/// The vectors of a segment as loops read them.
pub(crate) struct RowsView<'a> {
    kept: Kept<'a>,
    /// Where they must be verified.
    image: Option<&'a dyn Image>,
    /// Bytes from row to row.
    stride: usize,
    dim: usize,
}

#[derive(Clone, Copy)]
enum Kept<'a> {
    Padded(&'a [Block]),
    Packed(&'a [u8], &'a dyn RowFormat),
}

#[inline]
fn in_blocks(bytes: Range<usize>) -> Range<usize> {
    bytes.start / size_of::<Block>()..bytes.end / size_of::<Block>()
}

impl<'a> RowsView<'a> {
    fn padded(blocks: &'a [Block], image: Option<&'a dyn Image>, dim: usize) -> Self {
        Self {
            kept: Kept::Padded(blocks),
            image,
            stride: blocks_for(dim) * size_of::<Block>(),
            dim,
        }
    }

    /// The bytes of a row among those of all.
    #[inline]
    fn range(&self, item: u32) -> Range<usize> {
        item as usize * self.stride..(item as usize + 1) * self.stride
    }

    #[inline]
    fn get(&self, item: u32, room: &'a mut Room) -> &'a [Block] {
        let range = self.range(item);
        if let Some(image) = self.image {
            image.verify(Part::Rows, range.clone());
        }
        match self.kept {
            Kept::Padded(blocks) => &blocks[in_blocks(range)],
            Kept::Packed(bytes, format) => decode_into(format, &bytes[range], self.dim, room),
        }
    }
}

impl RowSource for RowsView<'_> {
    #[inline]
    fn row<'a>(&'a self, local: u32, room: &'a mut Room) -> &'a [Block] {
        self.get(local, room)
    }

    #[inline]
    fn prefetch(&self, local: u32) {
        let range = self.range(local);
        match self.kept {
            Kept::Padded(blocks) => prefetch(&blocks[in_blocks(range)]),
            Kept::Packed(bytes, _) => prefetch(&bytes[range]),
        }
    }

    fn dim(&self) -> usize {
        self.dim
    }
}

impl SegmentRows {
    /// All rows. What a damaged image gives is noted there: whoever used it must ask.
    pub(crate) fn view(&self) -> RowsView<'_> {
        match self {
            Self::Held(rows) => RowsView::padded(rows.blocks(), None, rows.dim()),
            Self::Mapped { image, rows, dim } => RowsView::padded(rows, Some(&**image), *dim),
            Self::Packed {
                image, format, dim, ..
            } => RowsView {
                kept: Kept::Packed(image.part(Part::Rows), &**format),
                image: Some(&**image),
                stride: format.bytes(*dim),
                dim: *dim,
            },
        }
    }

    /// Has all rows read and verified at once, where they would be one by one.
    pub(crate) fn read_all(&self) {
        if let Some(image) = self.image() {
            image.verify(Part::Rows, 0..image.part(Part::Rows).len());
        }
    }

    /// The bytes of all rows as an image keeps them in a format; `None` if they do not fit it, or
    /// lie in an image that is damaged.
    pub(crate) fn bytes_in(&self, format: Option<&dyn RowFormat>) -> Option<Cow<'_, [u8]>> {
        match (self, format) {
            (Self::Mapped { image, .. } | Self::Packed { image, .. }, _) => {
                let bytes = image.part(Part::Rows);
                image
                    .verify(Part::Rows, 0..bytes.len())
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

    /// Row `item`. What a damaged image gives is noted there: whoever used it must ask.
    #[inline]
    pub(crate) fn row<'a>(&'a self, item: u32, room: &'a mut Room) -> &'a [Block] {
        self.view().get(item, room)
    }

    /// Numbers in a row.
    pub(crate) fn dim(&self) -> usize {
        match self {
            Self::Held(rows) => rows.dim(),
            Self::Mapped { dim, .. } | Self::Packed { dim, .. } => *dim,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Held(rows) => rows.len(),
            Self::Mapped { rows, dim, .. } => rows.len() / blocks_for(*dim),
            Self::Packed { len, .. } => *len,
        }
    }

    /// The image that they lie in.
    fn image(&self) -> Option<&dyn Image> {
        match self {
            Self::Held(_) => None,
            Self::Mapped { image, .. } | Self::Packed { image, .. } => Some(&**image),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Held(rows) => rows.bytes(),
            Self::Mapped { .. } | Self::Packed { .. } => 0,
        }
    }
}

/// What a segment is made of.
pub(crate) struct Parts {
    /// See [`Segment::id`].
    pub(crate) id: u64,
    /// See [`Segment::slots`].
    pub(crate) slots: Column<u32>,
    /// See [`Segment::rows`].
    pub(crate) rows: SegmentRows,
    /// See [`Segment::codes`].
    pub(crate) codes: Codes,
    /// See [`Segment::edges`].
    pub(crate) edges: Column<Edges>,
    /// See [`Segment::entry`].
    pub(crate) entry: u32,
    /// See [`Segment::linked_under`].
    pub(crate) linked_under: u32,
    /// See [`Segment::unrefined`].
    pub(crate) unrefined: usize,
}

impl Segment {
    /// A segment of parts whose lengths agree and whose edges and entry name its items.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            id,
            slots,
            rows,
            codes,
            edges,
            entry,
            linked_under,
            unrefined,
        } = parts;
        debug_assert!(slots.len() == rows.len() && slots.len() == edges.len());
        let locate = Locate::new(&slots);
        Self {
            id,
            slots,
            rows,
            codes,
            edges,
            entry,
            linked_under,
            unrefined,
            locate,
        }
    }

    /// Items, dead ones included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The item of `slot`.
    pub(crate) fn locate(&self, slot: u32) -> Option<u32> {
        self.locate.get(slot)
    }

    /// Whether each item has a slot of its own, below `next_slot`.
    pub(crate) fn has_distinct_slots(&self, next_slot: u32) -> bool {
        let own = |(item, slot): (usize, &u32)| {
            *slot < next_slot && self.locate(*slot) == Some(item as u32)
        };
        self.slots.iter().enumerate().all(own)
    }

    /// Whether its rows lie in an image.
    pub(crate) fn is_mapped(&self) -> bool {
        self.rows.image().is_some()
    }

    /// Whether a row was read that is not what was written.
    pub(crate) fn is_damaged(&self) -> bool {
        self.rows.image().is_some_and(Image::is_damaged)
    }

    /// Bytes of its image.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.rows.image().map_or(0, |image| {
            Part::ALL.iter().map(|part| image.part(*part).len()).sum()
        })
    }

    /// Bytes of memory of our own.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes()
            + self.codes.bytes()
            + self.slots.bytes()
            + self.edges.bytes()
            + self.locate.bytes()
    }
}

impl RowSource for Segment {
    #[inline]
    fn row<'a>(&'a self, local: u32, room: &'a mut Room) -> &'a [Block] {
        self.rows.row(local, room)
    }

    #[inline]
    fn prefetch(&self, local: u32) {
        self.rows.view().prefetch(local);
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }
}

/// Distances from a query to the items of a segment, for walking: the items in codes, their biases
/// exact.
pub(crate) struct SegmentScore<'a> {
    segment: &'a Segment,
    query: &'a Query<'a>,
    codes: CodeRows<'a>,
    coded: CodedQuery,
    biases: &'a Biases,
}

impl<'a> SegmentScore<'a> {
    /// `biases` are the segment's under the query's metric.
    pub(crate) fn new(segment: &'a Segment, query: &'a Query<'a>, biases: &'a Biases) -> Self {
        Self {
            segment,
            query,
            codes: segment.codes.rows(),
            coded: segment.codes.query(query.direction()),
            biases,
        }
    }
}

impl Score for SegmentScore<'_> {
    #[inline]
    fn score(&mut self, ids: &[u32], out: &mut Vec<f32>) {
        let codes = self.codes;
        for &id in ids {
            prefetch(codes.row(id));
            self.biases.prefetch(id);
        }
        let first = out.len();
        self.coded.dots(codes, ids, out);
        // Asked for last: by now they have come.
        self.biases
            .ensure(ids, self.segment, &*self.query.metric.metric);
        for (&id, dot) in ids.iter().zip(&mut out[first..]) {
            *dot = order_safe(self.query.offset - 2.0 * *dot + self.biases.get(id));
        }
    }
}
