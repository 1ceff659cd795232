//! Beam search over a flat graph: the one loop that segments and the linker share.
//!
//! The beam is a sorted pool of the `ef` best items that count. Items that do not count (deleted, or outside the filter)
//! are still walked through, from a queue of their own, so that they route without taking a place in the pool.

use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::kernels::prefetch;

/// Edges of a node; unused places hold [`NONE`] and come last.
pub(crate) const DEGREE: usize = 32;
/// No neighbour.
pub(crate) const NONE: u32 = u32::MAX;

/// The out-edges of one node.
pub(crate) type Edges = [u32; DEGREE];

/// An item and its distance, ordered by distance, then by id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    /// Distance; never NaN.
    pub(crate) distance: f32,
    /// Local id.
    pub(crate) id: u32,
}

impl Eq for Scored {}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.id.cmp(&other.id))
    }
}

/// Gives the distances of many items at once.
pub(crate) trait Score {
    /// Appends the distance of each of `ids` to `out`.
    fn score(&mut self, ids: &[u32], out: &mut Vec<f32>);
}

/// Edges of what comes this near to the front of the pool are fetched early.
const AHEAD: usize = 4;

/// What one search did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    /// Distances computed.
    pub(crate) evaluations: usize,
    /// False when it was cancelled.
    pub(crate) complete: bool,
}

/// The memory of searches on one thread, reused from search to search.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The best items found, best first.
    pub(crate) pool: Vec<Scored>,
    /// Whether the item at this place of the pool was expanded.
    expanded: Vec<bool>,
    routing: BinaryHeap<Reverse<Scored>>,
    visited: Visited,
    fresh: Vec<u32>,
    distances: Vec<f32>,
}

/// A set that is emptied by counting up. One byte an item, so that the set of a large graph stays in the cache.
#[derive(Debug, Default)]
struct Visited {
    stamps: Vec<u8>,
    now: u8,
}

impl Visited {
    fn clear(&mut self, len: usize) {
        if self.stamps.len() < len {
            self.stamps.resize(len, 0);
        }
        self.now = self.now.wrapping_add(1);
        if self.now == 0 {
            self.stamps.fill(0);
            self.now = 1;
        }
    }

    #[inline]
    fn insert(&mut self, id: u32) -> bool {
        let stamp = &mut self.stamps[id as usize];
        let fresh = *stamp != self.now;
        *stamp = self.now;
        fresh
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Runs `work` with this thread's memory (or new memory, should a metric search from within a search).
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => work(&mut scratch),
        Err(_) => work(&mut Scratch::default()),
    })
}

/// Searches `graph` from `entries` for the `ef` nearest items that `counts` accepts; they are left in `scratch.pool`.
pub(crate) fn search(
    graph: &[Edges],
    entries: &[u32],
    ef: usize,
    score: &mut impl Score,
    counts: impl Fn(u32) -> bool,
    cancel: Option<&(dyn Fn() -> bool + Sync)>,
    scratch: &mut Scratch,
) -> Walk {
    let Scratch { pool, expanded, routing, visited, fresh, distances, .. } = scratch;
    pool.clear();
    expanded.clear();
    routing.clear();
    visited.clear(graph.len());
    fresh.clear();
    fresh.extend(entries.iter().copied().filter(|&entry| visited.insert(entry)));
    let mut walk = Walk { evaluations: 0, complete: true };
    // The first place of the pool that may hold an unexpanded item.
    let mut next = 0;
    let mut steps = 0usize;
    loop {
        distances.clear();
        score.score(fresh, distances);
        walk.evaluations += fresh.len();
        for (&id, &distance) in fresh.iter().zip(distances.iter()) {
            let found = Scored { distance, id };
            if pool.len() == ef && pool.last().is_some_and(|worst| found >= *worst) {
                continue;
            }
            if counts(id) {
                let at = pool.partition_point(|item| *item < found);
                if pool.len() == ef {
                    pool.pop();
                    expanded.pop();
                }
                if at < next + AHEAD {
                    // It is likely to be walked to next.
                    prefetch(&graph[id as usize]);
                }
                pool.insert(at, found);
                expanded.insert(at, false);
                next = next.min(at);
            } else {
                routing.push(Reverse(found));
            }
        }
        while next < pool.len() && expanded[next] {
            next += 1;
        }
        let counted = pool.get(next).copied();
        let routed = routing.peek().map(|item| item.0);
        let bound = if pool.len() == ef { pool.last().copied() } else { None };
        let node = match (counted, routed) {
            (Some(counted), Some(routed)) if routed < counted => {
                routing.pop();
                routed.id
            }
            (Some(counted), _) => {
                expanded[next] = true;
                counted.id
            }
            (None, Some(routed)) if bound.is_none_or(|bound| routed < bound) => {
                routing.pop();
                routed.id
            }
            (None, _) => return walk,
        };
        steps += 1;
        if steps.is_multiple_of(64) && cancel.is_some_and(|cancel| cancel()) {
            walk.complete = false;
            return walk;
        }
        fresh.clear();
        for &id in &graph[node as usize] {
            if id == NONE {
                break;
            }
            if visited.insert(id) {
                fresh.push(id);
            }
        }
    }
}
