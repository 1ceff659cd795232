//! The questions on which recall is measured, and those for which graphs get edges.
//!
//! Questions are made of items: of their vectors, and, where the collection has texts, of the words
//! that they say. The items are divided once and for all: the questions of one half are measured,
//! those of the other half shape the graphs, so that a graph is never measured on what it was made
//! for.

use crate::index::shared::Shared;
use crate::index::snapshot::Snapshot;
use crate::model::{QuestionKind, Sampled};
use crate::slot::Slot;
use crate::sum::squared_distance;

/// Most items of which questions are measured, of each kind one.
const MAX_MEASURED: usize = 640;
/// Fewest items of which questions are measured.
const MIN_MEASURED: usize = 60;
/// Exact distances that a calibration computes for each kind of question, if that does not make
/// fewer questions than [`MIN_MEASURED`].
const MAX_DISTANCES: usize = 40_000_000;
/// A graph is shaped by questions of one item in this many ..
const LINKED_SHARE: usize = 8;
/// .. but at most of so many items ..
const MAX_LINKED: usize = 1_200;
/// .. and of so few that about this many exact distances are computed for each kind.
const MAX_DISTANCES_LINKED: usize = 80_000_000;
/// How far a query is moved towards a distant item at most, as a share of the way.
const MAX_SHARE_TO_DISTANT: f64 = 0.5;

/// What the questions that are made of an item are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Recall is measured on them.
    Measuring,
    /// Graphs get edges for them.
    Linking,
}

impl Purpose {
    /// By a bit of the slot that does not follow the order in which items come.
    fn of(slot: Slot) -> Self {
        if slot.0.wrapping_mul(0x9e37_79b1) >> 31 == 0 {
            Self::Measuring
        } else {
            Self::Linking
        }
    }
}

impl Shared {
    /// Questions that the texts of the items say, to be measured; always the same for the same
    /// items.
    pub(crate) fn questions_to_measure(&self, snapshot: &Snapshot) -> Vec<Sampled> {
        self.questions_of(
            &snapshot.live_slots(),
            Purpose::Measuring,
            measured_items(snapshot),
        )
    }

    /// Questions that the texts of the items in `slots` say, as queries, for which their graph is
    /// to get edges.
    pub(crate) fn questions_to_link(&self, slots: &[Slot]) -> Vec<Vec<f32>> {
        let mut slots = slots.to_vec();
        slots.sort_unstable();
        let most = (MAX_DISTANCES_LINKED / slots.len().max(1)).min(MAX_LINKED);
        let count = (slots.len() / LINKED_SHARE).min(most);
        let questions = self.questions_of(&slots, Purpose::Linking, count);
        questions.into_iter().map(|made| made.vector).collect()
    }

    /// Questions that the texts of at most `count` of the items in `slots`, evenly spread, say.
    fn questions_of(&self, slots: &[Slot], purpose: Purpose, count: usize) -> Vec<Sampled> {
        let Some(make) = &self.config.questions else {
            return Vec::new();
        };
        let of_purpose = |slot: &&Slot| Purpose::of(**slot) == purpose;
        let slots: Vec<Slot> = slots.iter().filter(of_purpose).copied().collect();
        let chosen: Vec<u32> = spread(&slots, count).map(u32::from).collect();
        make(&chosen)
            .into_iter()
            .filter(|made| self.check_vector(&made.vector).is_ok())
            .collect()
    }

    /// Questions near the items of a snapshot, always the same for the same items; `find` returns
    /// the slots of a vector's neighbours.
    pub(crate) fn questions_near_items(
        &self,
        snapshot: &Snapshot,
        find: impl Fn(&[f32]) -> Vec<Slot>,
    ) -> Vec<Sampled> {
        let live = snapshot.live_slots();
        let items: Vec<SampleItem> = spread(&live, 2 * measured_items(snapshot))
            .filter_map(|slot| {
                Some(SampleItem {
                    slot,
                    vector: self.vector(slot)?,
                })
            })
            .collect();
        let (pairs, _) = items.as_chunks::<2>();
        let queries = pairs.iter().enumerate().map(|(i, [item, distant])| {
            let others = find(&item.vector)
                .into_iter()
                .filter(|slot| *slot != item.slot);
            let neighbours: Vec<Vec<f32>> = others.filter_map(|slot| self.vector(slot)).collect();
            let query = sample_query(i, &item.vector, &neighbours, &distant.vector);
            let kind = if i.is_multiple_of(2) {
                QuestionKind::NearItems
            } else {
                QuestionKind::BetweenItems
            };
            Sampled::of_vector(kind, query)
        });
        queries.collect()
    }
}

/// The number of items of which questions are measured.
fn measured_items(snapshot: &Snapshot) -> usize {
    (MAX_DISTANCES / snapshot.held().max(1)).clamp(MIN_MEASURED, MAX_MEASURED)
}

/// At most `count` of `slots`, evenly spread.
fn spread(slots: &[Slot], count: usize) -> impl Iterator<Item = Slot> {
    let stride = (slots.len() / count.max(1)).max(1);
    let slots = slots.iter().skip(stride / 2).step_by(stride);
    slots.take(count).copied()
}

/// An item from which a sample query is made.
struct SampleItem {
    slot: Slot,
    vector: Vec<f32>,
}

/// Query `i`: `x` moved by as much as its nearest neighbour is away, in the direction between two of
/// its neighbours if `i` is even, else towards `distant`. `x` itself if it has no neighbours.
fn sample_query(i: usize, x: &[f32], neighbours: &[Vec<f32>], distant: &[f32]) -> Vec<f32> {
    let (Some(first), Some(last)) = (neighbours.first(), neighbours.last()) else {
        return x.to_vec();
    };
    let squared_length = squared_distance(x, first);
    let (direction, max_share) = if i.is_multiple_of(2) {
        (
            Towards {
                from: first,
                to: last,
            },
            1.0,
        )
    } else {
        let direction = Towards {
            from: x,
            to: distant,
        };
        (direction, MAX_SHARE_TO_DISTANT)
    };
    moved(x, squared_length, direction, max_share)
}

/// The direction from one vector to another.
struct Towards<'a> {
    from: &'a [f32],
    to: &'a [f32],
}

/// `x` moved in a direction by the square root of `squared_length`, but at most by `max_share` of
/// the difference that defines the direction.
fn moved(x: &[f32], squared_length: f64, direction: Towards<'_>, max_share: f64) -> Vec<f32> {
    let Towards { from, to } = direction;
    let share = (squared_length / squared_distance(from, to)).sqrt();
    let share = if share.is_finite() {
        share.min(max_share) as f32
    } else {
        0.0
    };
    x.iter()
        .zip(from.iter().zip(to))
        .map(|(x, (from, to))| x + share * (to - from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_item_is_for_both_purposes_and_either_has_about_half_of_them() {
        let linking = (0..10_000)
            .filter(|slot| Purpose::of(Slot(*slot)) == Purpose::Linking)
            .count();
        assert!((4_500..5_500).contains(&linking), "{linking}");
        // Whatever items were deleted in between.
        let of_even = (0..10_000)
            .filter(|slot| Purpose::of(Slot(2 * slot)) == Purpose::Linking)
            .count();
        assert!((4_000..6_000).contains(&of_even), "{of_even}");
    }

    #[test]
    fn slots_are_spread_evenly() {
        let slots: Vec<Slot> = (0..100).map(Slot).collect();
        let chosen: Vec<Slot> = spread(&slots, 4).collect();
        assert_eq!(chosen, [12, 37, 62, 87].map(Slot));
        assert_eq!(spread(&slots, 1_000).count(), 100);
        assert_eq!(spread(&slots, 0).count(), 0);
        assert_eq!(spread(&[], 5).count(), 0);
    }
}
