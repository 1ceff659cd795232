//! Beam search over a flat graph, used both to answer queries and to build graphs.
//!
//! The beam is a sorted [pool](super::pool) of the nearest items that are eligible. Items that are
//! not (deleted, or outside the filter) are still expanded, from a queue of their own, so that they
//! route the search without taking room in the pool.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::index::graph::pool::{Pool, id_of, key, scored};
use crate::index::kernels::prefetch;
use crate::index::nearest::Scored;

pub(crate) use crate::index::graph::pool::{Adaptive, Stop, bound};

/// Most out-edges of a node.
pub(crate) const DEGREE: usize = 32;
/// Fills up the edges of a node that has fewer than [`DEGREE`].
pub(crate) const NONE: u32 = u32::MAX;

/// The out-edges of one node: numbers of items, then [`NONE`].
pub(crate) type Edges = [u32; DEGREE];

/// Distances from one query to items of a graph.
pub(crate) trait Score {
    /// Appends the distance of each item of `ids` to `out`, in their order.
    fn score(&mut self, ids: &[u32], out: &mut Vec<f32>);
}

/// The edges of an item are prefetched when it enters the pool at most this far behind the next
/// item to expand.
const PREFETCH_ON_ENTRY: usize = 4;

/// When an item is expanded, the edges of this many items after it are prefetched.
const PREFETCH_ON_EXPANSION: usize = 2;

/// Expansions between two calls of `cancel`.
const CANCEL_INTERVAL: usize = 64;

/// Statistics of one search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    /// Number of distances computed.
    pub(crate) evaluations: usize,
    /// Number of the nearest items found that were all expanded: the width that was reached.
    pub(crate) width: usize,
    /// False if the search was cancelled.
    pub(crate) complete: bool,
}

/// Buffers of the searches of one thread, reused from search to search.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The result: the nearest items found, nearest first.
    pub(crate) pool: Vec<Scored>,
    /// The pool as sorted keys, during the search.
    keys: Vec<u64>,
    /// Items to expand that are not eligible.
    routing: BinaryHeap<Reverse<u64>>,
    /// Items beyond the bound of an adaptive search, which it may come back to.
    beyond: Vec<u64>,
    visited: Visited,
    distances: Vec<f32>,
}

/// A set of items that is emptied by increasing a counter. It takes one byte an item, so that the
/// set of a large graph stays in the cache.
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

/// Runs `work` with this thread's buffers, or with new ones if a metric searches from within a
/// search.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => work(&mut scratch),
        Err(_) => work(&mut Scratch::default()),
    })
}

/// Searches `graph` from `entries` for the nearest items that are `eligible`, and leaves them in
/// `scratch.pool`.
pub(crate) fn search(
    graph: &[Edges],
    entries: &[u32],
    stop: Stop<'_>,
    score: &mut impl Score,
    eligible: impl Fn(u32) -> bool,
    cancel: Option<&(dyn Fn() -> bool + Sync)>,
    scratch: &mut Scratch,
) -> Walk {
    let Scratch {
        pool: result,
        keys,
        routing,
        beyond,
        visited,
        distances,
    } = scratch;
    result.clear();
    routing.clear();
    visited.clear(graph.len());
    let mut pool = Pool::new(keys, beyond, stop);
    // The items that the last expansion reached for the first time.
    let (mut fresh, mut count) = ([0; DEGREE], 0);
    for &entry in entries.iter().take(DEGREE) {
        fresh[count] = entry;
        count += usize::from(visited.insert(entry));
    }
    let mut walk = Walk {
        evaluations: 0,
        width: 0,
        complete: true,
    };
    let mut expansions = 0usize;
    loop {
        distances.clear();
        score.score(&fresh[..count], distances);
        walk.evaluations += count;
        for (&id, &distance) in fresh[..count].iter().zip(distances.iter()) {
            let found = key(distance, id);
            if found > pool.worst {
                pool.put_aside(found);
            } else if eligible(id) {
                let (at, next) = (pool.insert(found), pool.next);
                if at < next + PREFETCH_ON_ENTRY {
                    prefetch(&graph[id as usize]);
                }
            } else {
                routing.push(Reverse(found));
            }
        }
        let pooled = pool.nearest_unexpanded();
        let routed = routing.peek().map(|item| item.0);
        let node = match (pooled, routed) {
            (Some(pooled), Some(routed)) if routed < pooled => {
                routing.pop();
                routed
            }
            (Some(pooled), _) => {
                for later in pool.expand().take(PREFETCH_ON_EXPANSION) {
                    prefetch(&graph[id_of(*later) as usize]);
                }
                pooled
            }
            (None, Some(routed)) if routed < pool.worst => {
                routing.pop();
                routed
            }
            (None, _) if pool.widen() => {
                // What is beyond the new bound too stays behind, since the bound only shrinks from
                // now on.
                let mut aside = 0;
                while let Some(found) = pool.aside(aside) {
                    aside += 1;
                    if found > pool.worst {
                        continue;
                    }
                    if eligible(id_of(found)) {
                        pool.insert(found);
                    } else {
                        routing.push(Reverse(found));
                    }
                }
                count = 0;
                continue;
            }
            (None, _) => break,
        };
        expansions += 1;
        if expansions.is_multiple_of(CANCEL_INTERVAL) && cancel.is_some_and(|cancel| cancel()) {
            walk.complete = false;
            break;
        }
        count = 0;
        for &id in &graph[id_of(node) as usize] {
            if id == NONE {
                break;
            }
            // Without a branch, since whether it was visited cannot be predicted.
            fresh[count] = id;
            count += usize::from(visited.insert(id));
        }
    }
    walk.width = pool.next;
    result.extend(keys.iter().map(|key| scored(*key)));
    walk
}
