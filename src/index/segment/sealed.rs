//! Sealed segments: immutable, with a graph that searches walk.
//!
//! Items are numbered in breadth-first order from the entry of the graph, so that items that are
//! walked together lie together. Rows, slots, codes and edges are indexed by that number.

use std::sync::Arc;

use crate::index::bias::Biases;
use crate::index::graph::beam::{Edges, NONE, Score};
use crate::index::kernels::prefetch;
use crate::index::layout::codes::CodeRows;
use crate::index::layout::column::Column;
use crate::index::layout::rows::{Block, RowBuffer, RowSource};
use crate::index::layout::section::{Section, SegmentFile};
use crate::index::nearest::order_safe;
use crate::index::quantizer::{CodedQuery, Codes, Lookup};
use crate::index::query::RewrittenQuery;
use crate::index::segment::rows::{RowsView, SegmentRows};
use crate::slot::Slot;

/// Slots that span at most this many times as many values as there are items are located by a
/// table.
const MAX_SPARSITY: usize = 3;

/// An immutable segment with a graph.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    /// Names the segment in the store and in the bias cache.
    pub(crate) id: u64,
    /// The slot of each item.
    pub(crate) slots: Column<Slot>,
    /// The vector of each item.
    pub(crate) rows: SegmentRows,
    /// The codes of each vector, on which searches walk.
    pub(crate) codes: Codes,
    /// The graph's edges of each item.
    pub(crate) edges: Column<Edges>,
    /// The item at which searches begin: the medoid.
    pub(crate) entry: u32,
    /// Version of the metric that the graph was built under.
    pub(crate) built_under: u32,
    /// Number of items that were appended since the whole graph was refined.
    pub(crate) unrefined: usize,
    locator: Locator,
}

/// A sealed segment in a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct SealedView {
    /// The segment.
    pub(crate) segment: Arc<SealedSegment>,
    /// Number of its items that are deleted.
    pub(crate) dead: usize,
}

/// Maps slots to the numbers of items.
#[derive(Debug)]
enum Locator {
    /// `items[slot - first]` is the item's number, or [`NONE`].
    Dense { first: u32, items: Vec<u32> },
    /// Sorted pairs of slot and item, where slots are sparse.
    Sorted(Vec<(Slot, u32)>),
}

impl Locator {
    fn new(slots: &[Slot]) -> Self {
        let first = slots.iter().min().map_or(0, |slot| slot.0);
        let last = slots.iter().max().map_or(0, |slot| slot.0);
        let range = (last - first) as usize + 1;
        if range <= slots.len().saturating_mul(MAX_SPARSITY) {
            let mut items = vec![NONE; range];
            for (item, slot) in slots.iter().enumerate() {
                items[(slot.0 - first) as usize] = item as u32;
            }
            return Self::Dense { first, items };
        }
        let mut pairs: Vec<(Slot, u32)> = slots
            .iter()
            .enumerate()
            .map(|(item, slot)| (*slot, item as u32))
            .collect();
        pairs.sort_unstable();
        Self::Sorted(pairs)
    }

    fn get(&self, slot: Slot) -> Option<u32> {
        match self {
            Self::Dense { first, items } => {
                let item = *items.get(slot.0.checked_sub(*first)? as usize)?;
                (item != NONE).then_some(item)
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

/// The fields of a new [`SealedSegment`].
pub(crate) struct Contents {
    /// See [`SealedSegment::id`].
    pub(crate) id: u64,
    /// See [`SealedSegment::slots`].
    pub(crate) slots: Column<Slot>,
    /// See [`SealedSegment::rows`].
    pub(crate) rows: SegmentRows,
    /// See [`SealedSegment::codes`].
    pub(crate) codes: Codes,
    /// See [`SealedSegment::edges`].
    pub(crate) edges: Column<Edges>,
    /// See [`SealedSegment::entry`].
    pub(crate) entry: u32,
    /// See [`SealedSegment::built_under`].
    pub(crate) built_under: u32,
    /// See [`SealedSegment::unrefined`].
    pub(crate) unrefined: usize,
}

impl SealedSegment {
    /// A segment of columns that have the same length; edges and entry must be numbers of its
    /// items.
    pub(crate) fn new(contents: Contents) -> Self {
        let Contents {
            id,
            slots,
            rows,
            codes,
            edges,
            entry,
            built_under,
            unrefined,
        } = contents;
        debug_assert!(slots.len() == rows.len() && slots.len() == edges.len());
        let locator = Locator::new(&slots);
        Self {
            id,
            slots,
            rows,
            codes,
            edges,
            entry,
            built_under,
            unrefined,
            locator,
        }
    }

    /// Number of items, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The number of the item in `slot`.
    pub(crate) fn locate(&self, slot: Slot) -> Option<u32> {
        self.locator.get(slot)
    }

    /// Whether all slots are distinct and below `next_slot`.
    pub(crate) fn has_distinct_slots(&self, next_slot: Slot) -> bool {
        let own = |(item, slot): (usize, &Slot)| {
            *slot < next_slot && self.locate(*slot) == Some(item as u32)
        };
        self.slots.iter().enumerate().all(own)
    }

    /// Whether the rows are in a segment file.
    pub(crate) fn is_in_file(&self) -> bool {
        self.rows.file().is_some()
    }

    /// Whether a damaged row was read from the segment file.
    pub(crate) fn is_damaged(&self) -> bool {
        self.rows.file().is_some_and(SegmentFile::is_damaged)
    }

    /// Bytes of the segment file; 0 if the segment is in memory.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.rows.file().map_or(0, |file| {
            let sections = Section::ALL.iter();
            sections.map(|section| file.section(*section).len()).sum()
        })
    }

    /// Bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes()
            + self.codes.bytes()
            + self.slots.bytes()
            + self.edges.bytes()
            + self.locator.bytes()
    }
}

impl RowSource for SealedSegment {
    #[inline]
    fn row<'a>(&'a self, local: u32, buffer: &'a mut RowBuffer) -> &'a [Block] {
        self.rows.row(local, buffer)
    }

    #[inline]
    fn prefetch(&self, local: u32) {
        self.rows.view().prefetch(local);
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }
}

/// Estimated distances from a query to the items of a sealed segment, from codes and exact biases;
/// those of outliers from their vectors.
pub(crate) struct CodedScore<'a> {
    segment: &'a SealedSegment,
    query: &'a RewrittenQuery<'a>,
    codes: CodeRows<'a>,
    coded: CodedQuery,
    outliers: Option<Lookup<'a>>,
    rows: RowsView<'a>,
    buffer: RowBuffer,
    biases: &'a Biases,
}

impl<'a> CodedScore<'a> {
    /// `biases` are the segment's biases under the query's metric.
    pub(crate) fn new(
        segment: &'a SealedSegment,
        query: &'a RewrittenQuery<'a>,
        biases: &'a Biases,
    ) -> Self {
        Self {
            segment,
            query,
            codes: segment.codes.rows(),
            coded: segment.codes.query(query.direction()),
            outliers: segment.codes.outliers().lookup(),
            rows: segment.rows.view(),
            buffer: RowBuffer::new(),
            biases,
        }
    }

    /// Makes estimated distances of dot products with items. False if biases are not known, for
    /// which the estimates are no numbers.
    #[inline]
    fn add_biases(&self, ids: &[u32], dots: &mut [f32]) -> bool {
        let mut are_known = true;
        for (&id, dot) in ids.iter().zip(dots) {
            let bias = self.biases.get(id);
            are_known &= !bias.is_nan();
            *dot = order_safe(self.query.offset - 2.0 * *dot + bias);
        }
        are_known
    }
}

impl Score for CodedScore<'_> {
    #[inline]
    fn score(&mut self, ids: &[u32], out: &mut Vec<f32>) {
        let codes = self.codes;
        for &id in ids {
            prefetch(codes.row(id));
            self.biases.prefetch(id);
        }
        let first = out.len();
        self.coded.dots(codes, ids, out);
        // Biases are read last, when their prefetches have completed.
        if !self.add_biases(ids, &mut out[first..]) {
            self.biases
                .ensure(ids, self.segment, &*self.query.metric.metric);
            out.truncate(first);
            self.coded.dots(codes, ids, out);
            self.add_biases(ids, &mut out[first..]);
        }
        if let Some(outliers) = self.outliers {
            for (&id, estimate) in ids.iter().zip(&mut out[first..]) {
                if outliers.contains(id) {
                    let row = self.rows.row(id, &mut self.buffer);
                    *estimate = self.query.estimate(row, self.biases.get(id));
                }
            }
        }
    }
}
