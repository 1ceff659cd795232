//! Beam search over a flat graph, used both to answer queries and to build graphs.
//!
//! The beam is a sorted pool of the nearest items that are eligible. Items that are not (deleted, or
//! outside the filter) are still expanded, from a queue of their own, so that they route the search
//! without taking room in the pool.
//!
//! A search ends when the `ef` nearest items are expanded, or, if it is [adaptive](Stop::Adaptive),
//! when no item is left that is at most a little farther than the `k`-th. A query that lies among
//! the items has few such items and ends soon; one that lies where no item does, such as a single
//! word, has many, and only a wide beam finds its neighbours. (Distance-adaptive beam search,
//! Al-Jazzazi et al. 2025.)

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::index::kernels::prefetch;
use crate::index::nearest::Scored;

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

/// Most items in the pool of an adaptive search.
const MAX_POOL: usize = 4096;

/// When a search ends.
#[derive(Clone, Copy)]
pub(crate) enum Stop<'a> {
    /// When the so many nearest items found are expanded: the width of the beam.
    Width(usize),
    /// When all items found within a bound are expanded.
    Adaptive(Adaptive<'a>),
}

/// A bound that follows the `rank`-th smallest distance found, `d`: it is `d + slack * |d|`, and at
/// least the distance of the item at one and a half times the rank.
#[derive(Clone, Copy)]
pub(crate) struct Adaptive<'a> {
    /// The rank.
    pub(crate) rank: usize,
    /// The slack with which the search begins.
    pub(crate) slack: f32,
    /// Called once, with `d`, when no item within the bound is left. Returns the slack with which
    /// the search goes on, or `None` to end it.
    pub(crate) widen: &'a dyn Fn(f32) -> Option<f32>,
}

/// The distance that is a slack beyond another.
pub(crate) fn bound(distance: f32, slack: f32) -> f32 {
    distance + slack * distance.abs()
}

impl Adaptive<'_> {
    /// The number of items from which there is a bound.
    fn least(&self) -> usize {
        self.rank + self.rank / 2 + 1
    }

    /// The largest key within the bound; `None` while fewer than [`Self::least`] items are found.
    fn bound(&self, keys: &[u64], slack: f32) -> Option<u64> {
        let least = *keys.get(self.least() - 1)?;
        let distance = scored(keys[self.rank - 1]).distance;
        // The largest number of an item, with the bit of an expanded one.
        Some((key(bound(distance, slack), 0) | u64::from(u32::MAX)).max(least | EXPANDED))
    }
}

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

/// Bit of a key that is set once the item was expanded.
const EXPANDED: u64 = 1;

/// A distance and an item's number, which is below 2^31, packed so that keys have the order of
/// [`Scored`].
#[inline]
fn key(distance: f32, id: u32) -> u64 {
    let bits = distance.to_bits();
    let ordered = bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31);
    u64::from(ordered) << 32 | u64::from(id) << 1
}

fn id_of(key: u64) -> u32 {
    (key as u32) >> 1
}

fn scored(key: u64) -> Scored {
    let ordered = (key >> 32) as u32;
    let bits = if ordered >> 31 == 1 {
        ordered ^ 1 << 31
    } else {
        !ordered
    };
    Scored {
        distance: f32::from_bits(bits),
        id: id_of(key),
    }
}

/// The position at which `key` belongs among sorted keys. Each comparison of a binary search
/// depends on the one before and cannot be predicted; these comparisons are independent of each
/// other.
#[inline]
fn position(keys: &[u64], key: u64) -> usize {
    const BLOCK: usize = 16;
    const MAX_COUNTED: usize = 1024;
    if keys.len() > MAX_COUNTED {
        return keys.partition_point(|item| *item < key);
    }
    let (blocks, _) = keys.as_chunks::<BLOCK>();
    let before = BLOCK
        * blocks
            .iter()
            .map(|block| usize::from(block[BLOCK - 1] < key))
            .sum::<usize>();
    before
        + keys[before..]
            .iter()
            .take(BLOCK)
            .map(|item| usize::from(*item < key))
            .sum::<usize>()
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
        pool,
        keys,
        routing,
        beyond,
        visited,
        distances,
    } = scratch;
    let (capacity, adaptive) = match stop {
        Stop::Width(ef) => (ef, None),
        Stop::Adaptive(adaptive) => (MAX_POOL.max(adaptive.least()), Some(adaptive)),
    };
    let mut slack = adaptive.map_or(0.0, |adaptive| adaptive.slack);
    let mut is_widened = false;
    pool.clear();
    keys.clear();
    routing.clear();
    beyond.clear();
    visited.clear(graph.len());
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
    // Items of the pool before this position were expanded.
    let mut next = 0;
    // The last key of a full pool, or the bound of an adaptive search.
    let mut worst = u64::MAX;
    let mut expansions = 0usize;
    loop {
        distances.clear();
        score.score(&fresh[..count], distances);
        walk.evaluations += count;
        for (&id, &distance) in fresh[..count].iter().zip(distances.iter()) {
            let found = key(distance, id);
            if found > worst {
                if adaptive.is_some() {
                    beyond.push(found);
                }
                continue;
            }
            if eligible(id) {
                let at = position(keys, found);
                if keys.len() == capacity {
                    keys.pop();
                }
                if at < next + PREFETCH_ON_ENTRY {
                    prefetch(&graph[id as usize]);
                }
                keys.insert(at, found);
                if keys.len() == capacity {
                    worst = keys.last().copied().map_or(worst, |last| last.min(worst));
                }
                if let Some(adaptive) = adaptive
                    && at < adaptive.least()
                    && let Some(bound) = adaptive.bound(keys, slack)
                {
                    worst = worst.min(bound);
                }
                next = next.min(at);
            } else {
                routing.push(Reverse(found));
            }
        }
        while keys.get(next).is_some_and(|key| key & EXPANDED != 0) {
            next += 1;
        }
        // The pool of an adaptive search may hold items that are beyond the bound by now.
        let pooled = keys.get(next).copied().filter(|key| *key <= worst);
        let routed = routing.peek().map(|item| item.0);
        let node = match (pooled, routed) {
            (Some(pooled), Some(routed)) if routed < pooled => {
                routing.pop();
                routed
            }
            (Some(pooled), _) => {
                keys[next] |= EXPANDED;
                for later in keys.iter().skip(next + 1).take(PREFETCH_ON_EXPANSION) {
                    prefetch(&graph[id_of(*later) as usize]);
                }
                pooled
            }
            (None, Some(routed)) if routed < worst => {
                routing.pop();
                routed
            }
            (None, _) => {
                let Some(adaptive) = adaptive.filter(|_| !is_widened) else {
                    break;
                };
                let Some(last) = keys.get(adaptive.rank - 1) else {
                    break;
                };
                let Some(wider) = (adaptive.widen)(scored(*last).distance) else {
                    break;
                };
                (is_widened, slack) = (true, wider);
                worst = adaptive.bound(keys, slack).unwrap_or(u64::MAX);
                if keys.len() == capacity {
                    worst = keys.last().copied().map_or(worst, |last| last.min(worst));
                }
                // What is beyond the new bound too stays behind: the bound only shrinks from now on.
                for found in beyond.drain(..) {
                    if found > worst {
                        continue;
                    }
                    if eligible(id_of(found)) {
                        if keys.len() == capacity {
                            keys.pop();
                        }
                        keys.insert(position(keys, found), found);
                        if keys.len() == capacity {
                            worst = keys.last().copied().map_or(worst, |last| last.min(worst));
                        }
                    } else {
                        routing.push(Reverse(found));
                    }
                }
                (next, count) = (0, 0);
                continue;
            }
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
    walk.width = next;
    pool.extend(keys.iter().map(|key| scored(*key)));
    walk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_inserted_in_order() {
        for len in [0, 1, 15, 16, 17, 31, 32, 33, 100, 1023, 1024, 1025, 2000] {
            let keys: Vec<u64> = (0..len).map(|i| 3 * i + 1).collect();
            for key in 0..3 * len + 3 {
                assert_eq!(
                    position(&keys, key),
                    keys.partition_point(|item| *item < key),
                    "{key} of {len}"
                );
            }
        }
    }

    #[test]
    fn keys_have_the_order_of_what_they_stand_for() {
        let mut all: Vec<Scored> = [
            0.0,
            -0.0,
            1.5,
            -1.5,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            1e-40,
            f32::NEG_INFINITY,
        ]
        .into_iter()
        .flat_map(|distance| [0, 1, 7, u32::MAX / 2].map(|id| Scored { distance, id }))
        .collect();
        all.sort_unstable();
        let keys: Vec<u64> = all.iter().map(|item| key(item.distance, item.id)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        for (item, key) in all.iter().zip(keys) {
            assert_eq!(scored(key | EXPANDED), *item);
            assert_eq!(scored(key).distance.to_bits(), item.distance.to_bits());
        }
    }
}
