//! Items with their distances, and the nearest of many.

use std::cmp::Ordering;

/// An item and its distance, ordered by distance, then by id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    /// Distance; never NaN.
    pub(crate) distance: f32,
    /// Number of the item in its segment.
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

/// A distance that can be sorted: NaN becomes infinity.
#[inline]
pub(crate) fn order_safe(distance: f32) -> f32 {
    if distance.is_nan() {
        f32::INFINITY
    } else {
        distance
    }
}

/// The nearest items of a scan, ordered by estimated distance, then by slot.
pub(crate) struct Best {
    wanted: usize,
    found: Vec<Ranked>,
    /// Items farther than this cannot be among the best.
    bound: f32,
}

/// A candidate in the order of a scan: by estimate, then by slot, then by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    /// The estimate, with the slot in place of the item's number.
    by_slot: Scored,
    local: u32,
}

impl Best {
    /// Collects the best `wanted` of `total` items.
    pub(crate) fn new(wanted: usize, total: usize) -> Self {
        Self {
            wanted,
            found: Vec::with_capacity(2 * wanted.min(total)),
            bound: f32::INFINITY,
        }
    }

    /// Considers the items `locals`, whose estimated distances are `estimates`; `slot` maps a
    /// number to the item's slot.
    pub(crate) fn offer(&mut self, locals: &[u32], estimates: &[f32], slot: &impl Fn(u32) -> u32) {
        for (&local, &distance) in locals.iter().zip(estimates) {
            if distance <= self.bound {
                let id = slot(local);
                self.found.push(Ranked {
                    by_slot: Scored { distance, id },
                    local,
                });
                if self.found.len() >= 2 * self.wanted {
                    self.discard_worse_half();
                }
            }
        }
    }

    fn discard_worse_half(&mut self) {
        self.found.select_nth_unstable(self.wanted - 1);
        self.found.truncate(self.wanted);
        self.bound = self
            .found
            .iter()
            .map(|ranked| ranked.by_slot.distance)
            .fold(f32::NEG_INFINITY, f32::max);
    }

    /// The best items by their numbers, nearest first.
    pub(crate) fn sorted(mut self) -> Vec<Scored> {
        self.found.sort_unstable();
        self.found.truncate(self.wanted);
        self.found
            .into_iter()
            .map(|ranked| Scored {
                distance: ranked.by_slot.distance,
                id: ranked.local,
            })
            .collect()
    }
}
