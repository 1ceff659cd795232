//! Growing segments: they take new items until a sealed segment is built of them.
//!
//! A growing segment has room for a fixed number of items. Each is written once, so readers need no
//! lock; the snapshot that a search uses tells how many of them exist. Few items are scanned. Above
//! a threshold the background thread inserts them into an `hnsw_rs` graph, whose data are not
//! vectors but the items' numbers: the distance function reads the vectors and biases from the
//! segment. A query takes part in it under a reserved number, and brings its metric along.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hnsw_rs::prelude::{Distance, Hnsw};

use crate::index::bias::Biases;
use crate::index::kernels::{kernels, prefetch};
use crate::index::layout::rows::{Block, RowBuffer, RowSource, blocks_for, pack};
use crate::index::versioned::Versioned;
use crate::slot::Slot;

/// Neighbours of a node of the graph, and twice as many on the lowest layer.
const NEIGHBOURS: usize = 16;
/// Beam width of the search for a new item's neighbours.
const EF_CONSTRUCTION: usize = 100;
/// Most layers of the graph.
const LAYERS: usize = 16;
/// Estimated bytes of an edge in `hnsw_rs`.
const EDGE_BYTES: usize = 48;
/// The reserved number that stands for the query of the current thread.
const QUERY: u32 = u32::MAX;

/// One item of a growing segment.
#[derive(Debug)]
struct Item {
    slot: Slot,
    norm: f32,
    row: Box<[Block]>,
}

/// The items, shared with the distance function of the graph.
#[derive(Debug)]
struct Items {
    dim: usize,
    cells: Box<[OnceLock<Item>]>,
}

impl Items {
    fn get(&self, local: u32) -> Option<&Item> {
        self.cells.get(local as usize)?.get()
    }
}

/// A segment that takes items one by one.
pub(crate) struct GrowingSegment {
    /// Names the segment in the bias cache.
    pub(crate) id: u64,
    items: Arc<Items>,
    graph: OnceLock<Graph>,
}

/// A growing segment in a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct GrowingView {
    /// The segment.
    pub(crate) segment: Arc<GrowingSegment>,
    /// Number of its items that the snapshot includes.
    pub(crate) len: usize,
    /// Number of these that are deleted.
    pub(crate) dead: usize,
    /// Whether the segment takes no more items, so that it is sealed next.
    pub(crate) frozen: bool,
}

struct Graph {
    hnsw: Hnsw<'static, u32, ItemDistance>,
    /// Items with numbers below this one are in the graph.
    covered: AtomicUsize,
}

impl std::fmt::Debug for GrowingSegment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrowingSegment")
            .field("id", &self.id)
            .field("covered", &self.covered())
            .finish_non_exhaustive()
    }
}

impl RowSource for GrowingSegment {
    fn row<'a>(&'a self, local: u32, buffer: &'a mut RowBuffer) -> &'a [Block] {
        self.items.row(local, buffer)
    }

    fn prefetch(&self, local: u32) {
        self.items.prefetch(local);
    }

    fn dim(&self) -> usize {
        self.items.dim
    }
}

impl GrowingSegment {
    /// An empty segment for `capacity` vectors of `dim` numbers.
    pub(crate) fn new(id: u64, dim: usize, capacity: usize) -> Self {
        let cells = (0..capacity).map(|_| OnceLock::new()).collect();
        Self {
            id,
            items: Arc::new(Items { dim, cells }),
            graph: OnceLock::new(),
        }
    }

    /// The number of items the segment has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.items.cells.len()
    }

    /// Writes item `local`; false if its number is out of range or was written before.
    pub(crate) fn put(&self, local: usize, slot: Slot, vector: &[f32]) -> bool {
        let row = pack(vector);
        let norm = (kernels().dot)(&row, &row);
        self.items
            .cells
            .get(local)
            .is_some_and(|cell| cell.set(Item { slot, norm, row }).is_ok())
    }

    /// The slot of item `local`; [`Slot::NONE`] if there is no such item.
    #[inline]
    pub(crate) fn slot(&self, local: u32) -> Slot {
        self.items.get(local).map_or(Slot::NONE, |item| item.slot)
    }

    /// The number of the item in `slot` among the first `len` items, whose slots increase.
    pub(crate) fn locate(&self, slot: Slot, len: usize) -> Option<u32> {
        let local = self.items.cells[..len]
            .partition_point(|cell| cell.get().is_some_and(|item| item.slot < slot));
        (local < len && self.slot(local as u32) == slot).then_some(local as u32)
    }

    /// Number of items that the graph holds; the others have to be scanned.
    pub(crate) fn covered(&self) -> usize {
        self.graph
            .get()
            .map_or(0, |graph| graph.covered.load(Ordering::Acquire))
    }

    /// Inserts up to `limit` more of the first `len` items into the graph. Only one thread may call
    /// it at a time.
    pub(crate) fn extend_graph(&self, len: usize, limit: usize) {
        let graph = self.graph.get_or_init(|| {
            let distance = ItemDistance(Arc::clone(&self.items));
            let hnsw = Hnsw::new(
                NEIGHBOURS,
                self.capacity(),
                LAYERS,
                EF_CONSTRUCTION,
                distance,
            );
            Graph {
                hnsw,
                covered: AtomicUsize::new(0),
            }
        });
        let from = graph.covered.load(Ordering::Acquire);
        for local in from..len.min(from + limit) {
            graph.hnsw.insert_slice((&[local as u32], local));
            graph.covered.store(local + 1, Ordering::Release);
        }
    }

    /// Searches the graph for the `ef` nearest of its first `covered` items. Returns them, nearest
    /// first, and the number of distances computed.
    pub(crate) fn search_graph(
        &self,
        query: GrowingQuery,
        ef: usize,
        covered: usize,
    ) -> (Vec<u32>, usize) {
        let Some(graph) = self.graph.get() else {
            return (Vec::new(), 0);
        };
        let _current = CurrentQuery::set(query);
        let found = graph.hnsw.search(&[QUERY], ef, ef);
        // An item that is being inserted may be found here; it is dropped, since the scan of the
        // items that the graph does not cover finds it too.
        let locals = found
            .iter()
            .map(|n| n.d_id)
            .filter(|&local| local < covered)
            .map(|local| local as u32)
            .collect();
        (locals, CurrentQuery::evaluations())
    }

    /// Bytes held by the first `len` items and the graph, the latter estimated.
    pub(crate) fn bytes(&self, len: usize) -> usize {
        let item = blocks_for(self.items.dim) * size_of::<Block>();
        self.capacity() * size_of::<OnceLock<Item>>()
            + len * item
            + self.covered() * 2 * NEIGHBOURS * EDGE_BYTES
    }
}

/// A query as the distance function of the graph reads it.
pub(crate) struct GrowingQuery {
    /// The rewritten query's direction, padded.
    pub(crate) direction: Box<[Block]>,
    /// The rewritten query's offset.
    pub(crate) offset: f32,
    /// The metric, which computes the biases that are unknown.
    pub(crate) metric: Versioned,
    /// The segment's biases under the metric.
    pub(crate) biases: Arc<Biases>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<GrowingQuery>>> = const { RefCell::new(None) };
    static EVALUATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Makes a query the current one of its thread until dropped. Then the one before is restored: a
/// metric that computes biases in parallel may start another search on this thread meanwhile.
struct CurrentQuery {
    previous: Option<Rc<GrowingQuery>>,
    previous_evaluations: usize,
}

impl CurrentQuery {
    fn set(query: GrowingQuery) -> Self {
        Self {
            previous: CURRENT.replace(Some(Rc::new(query))),
            previous_evaluations: EVALUATIONS.replace(0),
        }
    }

    fn evaluations() -> usize {
        EVALUATIONS.get()
    }
}

impl Drop for CurrentQuery {
    fn drop(&mut self) {
        CURRENT.set(self.previous.take());
        EVALUATIONS.set(self.previous_evaluations);
    }
}

/// The distance function of the graph: squared Euclidean distance between two items, the current
/// query's metric between an item and [`QUERY`].
struct ItemDistance(Arc<Items>);

impl Distance<u32> for ItemDistance {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        let (Some(&a), Some(&b)) = (a.first(), b.first()) else {
            return f32::MAX;
        };
        if a == QUERY || b == QUERY {
            return self.to_query(a.min(b));
        }
        match (self.0.get(a), self.0.get(b)) {
            (Some(a), Some(b)) => {
                let distance = a.norm + b.norm - 2.0 * (kernels().dot)(&a.row, &b.row);
                if distance.is_finite() {
                    distance.max(0.0)
                } else {
                    f32::MAX
                }
            }
            _ => f32::MAX,
        }
    }
}

impl ItemDistance {
    fn to_query(&self, local: u32) -> f32 {
        EVALUATIONS.set(EVALUATIONS.get() + 1);
        let (Some(query), Some(item)) = (CURRENT.with_borrow(Clone::clone), self.0.get(local))
        else {
            return f32::MAX;
        };
        let bias = query
            .biases
            .get_or_compute(local, &*self.0, &*query.metric.metric);
        above_zero(query.offset - 2.0 * (kernels().dot)(&query.direction, &item.row) + bias)
    }
}

impl RowSource for Items {
    fn row<'a>(&'a self, local: u32, _: &'a mut RowBuffer) -> &'a [Block] {
        self.get(local).map_or(&[], |item| &item.row)
    }

    fn prefetch(&self, local: u32) {
        if let Some(item) = self.get(local) {
            prefetch(&item.row);
        }
    }

    fn dim(&self) -> usize {
        self.dim
    }
}

/// Maps distances to positive, finite numbers in the same order, but for the last bit. `hnsw_rs`
/// asserts that distances are not negative, which dot products and rounding errors can be.
fn above_zero(distance: f32) -> f32 {
    if distance.is_nan() {
        return f32::MAX;
    }
    let bits = distance.to_bits();
    let ordered = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    f32::from_bits((ordered >> 1).min(f32::MAX.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::Random;

    #[test]
    fn the_map_above_zero_keeps_the_order() {
        let mut random = Random::new(3);
        let mut numbers: Vec<f32> = (0..2000)
            .map(|i| random.normal() * 10f32.powi(i % 60 - 30))
            .collect();
        numbers.extend([
            0.0,
            -0.0,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MIN_POSITIVE,
        ]);
        numbers.sort_by(f32::total_cmp);
        let mapped: Vec<f32> = numbers.iter().map(|&x| above_zero(x)).collect();
        assert!(mapped.is_sorted());
        assert!(mapped.iter().all(|x| *x >= 0.0 && x.is_finite()));
        assert_eq!(above_zero(f32::NAN), f32::MAX);
    }

    #[test]
    fn items_are_found_by_slot_and_written_once() {
        let segment = GrowingSegment::new(1, 2, 3);
        assert!(segment.put(0, Slot(4), &[1.0, 2.0]) && segment.put(1, Slot(9), &[3.0, 4.0]));
        assert!(!segment.put(0, Slot(5), &[0.0, 0.0]) && !segment.put(3, Slot(5), &[0.0, 0.0]));
        assert_eq!(segment.locate(Slot(9), 2), Some(1));
        assert_eq!(
            (
                segment.locate(Slot(9), 1),
                segment.locate(Slot(5), 2),
                segment.locate(Slot(10), 2)
            ),
            (None, None, None)
        );
    }
}
