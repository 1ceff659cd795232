//! The nearest of many items that are looked at in any order.

use super::beam::Scored;

/// The best of what a scan has seen, by estimate and slot.
pub(crate) struct Best {
    wanted: usize,
    /// With the slot, which settles ties, and the local number.
    found: Vec<(Scored, u32)>,
    /// What is farther than this is not among the best.
    bound: f32,
}

impl Best {
    /// The best `wanted` of `of`.
    pub(crate) fn new(wanted: usize, of: usize) -> Self {
        Self {
            wanted,
            found: Vec::with_capacity(2 * wanted.min(of)),
            bound: f32::INFINITY,
        }
    }

    /// Looks at some items and their estimates.
    pub(crate) fn offer(&mut self, locals: &[u32], estimates: &[f32], slot: &impl Fn(u32) -> u32) {
        for (&local, &distance) in locals.iter().zip(estimates) {
            if distance <= self.bound {
                self.found.push((
                    Scored {
                        distance,
                        id: slot(local),
                    },
                    local,
                ));
                if self.found.len() >= 2 * self.wanted {
                    self.found.select_nth_unstable(self.wanted - 1);
                    self.found.truncate(self.wanted);
                    self.bound = self
                        .found
                        .iter()
                        .map(|b| b.0.distance)
                        .fold(f32::NEG_INFINITY, f32::max);
                }
            }
        }
    }

    /// The best with their local numbers, nearest first.
    pub(crate) fn sorted(mut self) -> Vec<Scored> {
        self.found.sort_unstable();
        self.found.truncate(self.wanted);
        self.found
            .into_iter()
            .map(|(scored, id)| Scored {
                distance: scored.distance,
                id,
            })
            .collect()
    }
}
