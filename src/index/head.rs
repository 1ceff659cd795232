//! Heads: the mutable parts that take fresh items until they are linked.
//!
//! A head has room for a fixed number of items, each written once, so that readers need no lock;
//! how many of them exist is said by the snapshot that a search took. The first items are scanned.
//! Above a threshold the background inserts them into an `hnsw_rs` graph whose data are not vectors
//! but the items' numbers: vectors and biases stay here, and the distance reads them. Under which
//! metric a search walks is said by the query, which sits in a reserved number.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hnsw_rs::prelude::{Distance, Hnsw};

use super::Versioned;
use super::bias::{Biases, RowSource};
use super::kernels::{kernels, prefetch};
use super::rows::{Block, Room, pack};

/// Neighbours of a node in the head's graph (twice as many on the lowest layer).
const NEIGHBOURS: usize = 16;
/// Width of the search that finds a new item's neighbours.
const EF_CONSTRUCTION: usize = 100;
const LAYERS: usize = 16;
/// The number under which the thread's own query goes.
const QUERY: u32 = u32::MAX;

/// One item of a head.
#[derive(Debug)]
struct Item {
    slot: u32,
    norm: f32,
    row: Box<[Block]>,
}

/// The items, shared with the distance of the graph.
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

/// A part of the index that takes items one by one.
pub(crate) struct Head {
    /// Names the part in the bias cache.
    pub(crate) id: u64,
    items: Arc<Items>,
    graph: OnceLock<Graph>,
}

struct Graph {
    hnsw: Hnsw<'static, u32, ItemDistance>,
    /// Items below this number are in the graph.
    covered: AtomicUsize,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Head")
            .field("id", &self.id)
            .field("covered", &self.covered())
            .finish_non_exhaustive()
    }
}

impl RowSource for Head {
    fn row<'a>(&'a self, local: u32, room: &'a mut Room) -> &'a [Block] {
        self.items.row(local, room)
    }

    fn prefetch(&self, local: u32) {
        self.items.prefetch(local);
    }

    fn dim(&self) -> usize {
        self.items.dim
    }
}

impl Head {
    /// An empty head for `capacity` vectors of `dim` numbers.
    pub(crate) fn new(id: u64, dim: usize, capacity: usize) -> Self {
        let cells = (0..capacity).map(|_| OnceLock::new()).collect();
        Self {
            id,
            items: Arc::new(Items { dim, cells }),
            graph: OnceLock::new(),
        }
    }

    /// Most items it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.items.cells.len()
    }

    /// Writes item `local`; false if it is out of range or already written.
    pub(crate) fn put(&self, local: usize, slot: u32, vector: &[f32]) -> bool {
        let row = pack(vector);
        let norm = (kernels().dot)(&row, &row);
        self.items
            .cells
            .get(local)
            .is_some_and(|cell| cell.set(Item { slot, norm, row }).is_ok())
    }

    /// The slot of item `local`; `u32::MAX` where there is none.
    #[inline]
    pub(crate) fn slot(&self, local: u32) -> u32 {
        self.items.get(local).map_or(u32::MAX, |item| item.slot)
    }

    /// The local id of `slot` among the first `len` items, whose slots increase.
    pub(crate) fn locate(&self, slot: u32, len: usize) -> Option<u32> {
        let local = self.items.cells[..len]
            .partition_point(|cell| cell.get().is_some_and(|item| item.slot < slot));
        (local < len && self.slot(local as u32) == slot).then_some(local as u32)
    }

    /// Items that the graph holds; the others have to be scanned.
    pub(crate) fn covered(&self) -> usize {
        self.graph
            .get()
            .map_or(0, |graph| graph.covered.load(Ordering::Acquire))
    }

    /// Inserts up to `most` of the first `len` items into the graph. One thread at a time.
    pub(crate) fn extend_graph(&self, len: usize, most: usize) {
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
        for local in from..len.min(from + most) {
            graph.hnsw.insert_slice((&[local as u32], local));
            graph.covered.store(local + 1, Ordering::Release);
        }
    }

    /// Searches the graph for the `ef` nearest of its first `covered` items, nearest first, and
    /// says how many distances it computed.
    pub(crate) fn search_graph(
        &self,
        query: HeadQuery,
        ef: usize,
        covered: usize,
    ) -> (Vec<u32>, usize) {
        let Some(graph) = self.graph.get() else {
            return (Vec::new(), 0);
        };
        let _seat = Seat::take(query);
        let found = graph.hnsw.search(&[QUERY], ef, ef);
        // An item that is being inserted may turn up here and again in the scan of what the graph
        // does not cover.
        let locals = found
            .iter()
            .map(|n| n.d_id)
            .filter(|&local| local < covered)
            .map(|local| local as u32)
            .collect();
        (locals, Seat::evaluations())
    }

    /// Bytes held by the first `len` items and the graph, estimated where `hnsw_rs` does not say.
    pub(crate) fn bytes(&self, len: usize) -> usize {
        let item = super::rows::blocks_for(self.items.dim) * size_of::<Block>();
        let edge = 48;
        self.capacity() * size_of::<OnceLock<Item>>()
            + len * item
            + self.covered() * 2 * NEIGHBOURS * edge
    }
}

/// A query as the graph's distance reads it.
pub(crate) struct HeadQuery {
    /// The rewritten query's direction, padded.
    pub(crate) direction: Box<[Block]>,
    /// The rewritten query's offset.
    pub(crate) offset: f32,
    /// The metric, for biases that are not known yet.
    pub(crate) metric: Versioned,
    /// The head's biases under it.
    pub(crate) biases: Arc<Biases>,
}

thread_local! {
    static SEAT: RefCell<Option<Rc<HeadQuery>>> = const { RefCell::new(None) };
    static EVALUATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The query in this thread's reserved number, until dropped. A metric that computes a bias in
/// parallel may start another search on this thread meanwhile: what sat there before is put back.
struct Seat {
    before: Option<Rc<HeadQuery>>,
    evaluations_before: usize,
}

impl Seat {
    fn take(query: HeadQuery) -> Self {
        Self {
            before: SEAT.replace(Some(Rc::new(query))),
            evaluations_before: EVALUATIONS.replace(0),
        }
    }

    fn evaluations() -> usize {
        EVALUATIONS.get()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        SEAT.set(self.before.take());
        EVALUATIONS.set(self.evaluations_before);
    }
}

/// Distance between items by number: squared Euclid between two items, the seated query's metric
/// with [`QUERY`].
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
        let (Some(query), Some(item)) = (SEAT.with_borrow(Clone::clone), self.0.get(local)) else {
            return f32::MAX;
        };
        let bias = query.biases.touch(local, &*self.0, &*query.metric.metric);
        above_zero(query.offset - 2.0 * (kernels().dot)(&query.direction, &item.row) + bias)
    }
}

impl RowSource for Items {
    fn row<'a>(&'a self, local: u32, _: &'a mut Room) -> &'a [Block] {
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

/// Maps every number to a positive, finite one without changing the order (but for the last bit):
/// `hnsw_rs` asserts that distances are not negative, and dot products and rounding are.
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
        let head = Head::new(1, 2, 3);
        assert!(head.put(0, 4, &[1.0, 2.0]) && head.put(1, 9, &[3.0, 4.0]));
        assert!(!head.put(0, 5, &[0.0, 0.0]) && !head.put(3, 5, &[0.0, 0.0]));
        assert_eq!(head.locate(9, 2), Some(1));
        assert_eq!(
            (head.locate(9, 1), head.locate(5, 2), head.locate(10, 2)),
            (None, None, None)
        );
    }
}
