//! Beam search over a flat graph: the one loop that segments and the linker share.
//!
//! The beam is a sorted pool of the `ef` best items that count. Items that do not count (deleted,
//! or outside the filter) are still walked through, from a queue of their own, so that they route
//! without taking a place in the pool.

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
        self.distance
            .total_cmp(&other.distance)
            .then(self.id.cmp(&other.id))
    }
}

/// Gives the distances of many items at once.
pub(crate) trait Score {
    /// Appends the distance of each of `ids` to `out`.
    fn score(&mut self, ids: &[u32], out: &mut Vec<f32>);
}

/// Edges of what comes this near to the front of the pool are fetched early.
const AHEAD: usize = 4;

/// Edges of so many items after the one that is walked to are fetched: one of them is likely to be
/// next.
const SOON: usize = 2;

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
    /// The pool while it grows.
    keys: Vec<u64>,
    routing: BinaryHeap<Reverse<u64>>,
    visited: Visited,
    distances: Vec<f32>,
}

/// Set in the key of an item that was expanded.
const EXPANDED: u64 = 1;

/// A distance and an item, of which there are fewer than 2^31, in one number of the order of
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

/// Where `key` belongs among sorted keys. The processor cannot guess the steps of a binary search,
/// each of which waits for the one before; the comparisons here wait for nothing.
#[inline]
fn place(keys: &[u64], key: u64) -> usize {
    const STEP: usize = 16;
    const LONG: usize = 1024;
    if keys.len() > LONG {
        return keys.partition_point(|item| *item < key);
    }
    let (steps, _) = keys.as_chunks::<STEP>();
    let before = STEP
        * steps
            .iter()
            .map(|step| usize::from(step[STEP - 1] < key))
            .sum::<usize>();
    before
        + keys[before..]
            .iter()
            .take(STEP)
            .map(|item| usize::from(*item < key))
            .sum::<usize>()
}

/// A set that is emptied by counting up. One byte an item, so that the set of a large graph stays
/// in the cache.
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

/// Runs `work` with this thread's memory (or new memory, should a metric search from within a
/// search).
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => work(&mut scratch),
        Err(_) => work(&mut Scratch::default()),
    })
}

/// Searches `graph` from `entries` for the `ef` nearest items that `counts` accepts; they are left
/// in `scratch.pool`.
pub(crate) fn search(
    graph: &[Edges],
    entries: &[u32],
    ef: usize,
    score: &mut impl Score,
    counts: impl Fn(u32) -> bool,
    cancel: Option<&(dyn Fn() -> bool + Sync)>,
    scratch: &mut Scratch,
) -> Walk {
    let Scratch {
        pool,
        keys,
        routing,
        visited,
        distances,
    } = scratch;
    pool.clear();
    keys.clear();
    routing.clear();
    visited.clear(graph.len());
    // The items that are met for the first time.
    let (mut met, mut count) = ([0; DEGREE], 0);
    for &entry in entries.iter().take(DEGREE) {
        met[count] = entry;
        count += usize::from(visited.insert(entry));
    }
    let mut walk = Walk {
        evaluations: 0,
        complete: true,
    };
    // The first place of the pool that may hold an unexpanded item.
    let mut next = 0;
    // The last of a full pool.
    let mut worst = u64::MAX;
    let mut steps = 0usize;
    loop {
        distances.clear();
        score.score(&met[..count], distances);
        walk.evaluations += count;
        for (&id, &distance) in met[..count].iter().zip(distances.iter()) {
            let found = key(distance, id);
            if found > worst {
                continue;
            }
            if counts(id) {
                let at = place(keys, found);
                if keys.len() == ef {
                    keys.pop();
                }
                if at < next + AHEAD {
                    // It is likely to be walked to next.
                    prefetch(&graph[id as usize]);
                }
                keys.insert(at, found);
                if keys.len() == ef {
                    worst = keys.last().copied().unwrap_or(worst);
                }
                next = next.min(at);
            } else {
                routing.push(Reverse(found));
            }
        }
        while keys.get(next).is_some_and(|key| key & EXPANDED != 0) {
            next += 1;
        }
        let counted = keys.get(next).copied();
        let routed = routing.peek().map(|item| item.0);
        let node = match (counted, routed) {
            (Some(counted), Some(routed)) if routed < counted => {
                routing.pop();
                routed
            }
            (Some(counted), _) => {
                keys[next] |= EXPANDED;
                for soon in keys.iter().skip(next + 1).take(SOON) {
                    prefetch(&graph[id_of(*soon) as usize]);
                }
                counted
            }
            (None, Some(routed)) if routed < worst => {
                routing.pop();
                routed
            }
            (None, _) => break,
        };
        steps += 1;
        if steps.is_multiple_of(64) && cancel.is_some_and(|cancel| cancel()) {
            walk.complete = false;
            break;
        }
        count = 0;
        for &id in &graph[id_of(node) as usize] {
            if id == NONE {
                break;
            }
            // Whether it was met before cannot be guessed: no branch.
            met[count] = id;
            count += usize::from(visited.insert(id));
        }
    }
    pool.extend(keys.iter().map(|key| scored(*key)));
    walk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_placed_in_order() {
        for len in [0, 1, 15, 16, 17, 31, 32, 33, 100, 1023, 1024, 1025, 2000] {
            let keys: Vec<u64> = (0..len).map(|i| 3 * i + 1).collect();
            for key in 0..3 * len + 3 {
                assert_eq!(
                    place(&keys, key),
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
