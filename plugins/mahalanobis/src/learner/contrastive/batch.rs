//! What a step of descent looks at: some anchors, a positive for each, and negatives.
//!
//! An anchor is a judged query, or an item of a judged pair. Its negatives are drawn in three ways:
//! what was judged irrelevant to it (hard, for it was shown), random items of the collection, and
//! the other anchors' positives (nearly all irrelevant to it; the loss allows for the rest).

use std::collections::BTreeMap;

use ndarray::{Array2, Axis, concatenate, s};

use crate::evidence::{Judged, fingerprint, mix};
use crate::learner::Training;
use crate::learner::anchors::Anchor;

/// Random items among the negatives of a batch, for each anchor.
const RANDOM: usize = 1;
/// Judged negatives of an anchor in a batch, at most.
const JUDGED: usize = 10;
/// Random items that a fit draws from.
const MAX_ITEMS: usize = 1_000;

/// An anchor in the pool. Numbers are rows of [`Pool::vectors`].
#[derive(Debug)]
struct Member {
    anchor: Anchor,
    /// Fingerprints of vectors that are no negatives of it: its own and its positives', in
    /// ascending order.
    own: Vec<u64>,
}

/// All that batches are drawn from.
#[derive(Debug)]
pub(crate) struct Pool {
    /// One row each: vectors of the evidence, then items of the collection.
    pub(crate) vectors: Array2<f32>,
    prints: Vec<u64>,
    members: Vec<Member>,
    /// Where the collection's items begin.
    items: usize,
}

/// One batch: rows of a pool.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Anchors, their positives in the same order, then negatives.
    pub(crate) rows: Vec<usize>,
    pub(crate) anchors: usize,
    /// For each anchor (row) and each of positives and negatives (column), whether that is a
    /// negative of it.
    pub(crate) negative: Array2<bool>,
}

impl Pool {
    /// Gathers what was judged outside of the held-out fold, and the collection's items; `None`
    /// without a positive.
    pub(crate) fn new(training: &Training<'_>) -> Option<Self> {
        let mut anchors = training.anchors();
        anchors.retain(|a| !a.positives.is_empty());
        if anchors.is_empty() {
            return None;
        }
        // Only what anchors speak of, ordered by content, so that sums over rows do not depend on
        // how rows came.
        let of_anchor = |a: &Anchor| {
            [a.row]
                .into_iter()
                .chain(a.positives.iter().map(|j| j.row))
                .collect::<Vec<_>>()
        };
        let mut used: Vec<usize> = anchors
            .iter()
            .flat_map(|a| of_anchor(a).into_iter().chain(a.negatives.clone()))
            .collect();
        let print = |row: usize| fingerprint(training.evidence.vectors.row(row));
        used.sort_by_cached_key(|row| (print(*row), *row));
        used.dedup();
        let place: BTreeMap<usize, usize> = used.iter().copied().zip(0..).collect();
        for anchor in &mut anchors {
            anchor.row = place[&anchor.row];
            anchor
                .positives
                .iter_mut()
                .for_each(|j| j.row = place[&j.row]);
            anchor
                .negatives
                .iter_mut()
                .for_each(|row| *row = place[row]);
        }
        let items = training
            .sample
            .items
            .slice(s![..training.sample.items.nrows().min(MAX_ITEMS), ..]);
        let judged = training.evidence.vectors.select(Axis(0), &used);
        // A sample without items may be of any width.
        let vectors = if items.is_empty() {
            judged
        } else {
            concatenate(Axis(0), &[judged.view(), items]).ok()?
        };
        let prints: Vec<u64> = vectors.rows().into_iter().map(fingerprint).collect();
        let member = |anchor: Anchor| {
            let mut own: Vec<u64> = of_anchor(&anchor)
                .into_iter()
                .map(|row| prints[row])
                .collect();
            own.sort_unstable();
            Member { anchor, own }
        };
        let members = anchors.into_iter().map(member).collect();
        Some(Self {
            vectors,
            prints,
            members,
            items: used.len(),
        })
    }

    /// Anchors there are.
    pub(crate) fn anchors(&self) -> usize {
        self.members.len()
    }

    /// The batch of the given anchors.
    pub(crate) fn draw(&self, anchors: &[usize], random: &mut Random) -> Batch {
        let chosen: Vec<&Member> = anchors.iter().map(|i| &self.members[*i]).collect();
        let mut rows: Vec<usize> = chosen.iter().map(|m| m.anchor.row).collect();
        rows.extend(chosen.iter().map(|m| random.weighted(&m.anchor.positives)));
        let mut owners = vec![None; chosen.len()];
        let items = self.vectors.nrows() - self.items;
        for _ in 0..(RANDOM * chosen.len()).min(items) {
            rows.push(self.items + random.below(items));
            owners.push(None);
        }
        for (i, member) in chosen.iter().enumerate() {
            let mut negatives = member.anchor.negatives.clone();
            for j in 0..JUDGED.min(negatives.len()) {
                let other = j + random.below(negatives.len() - j);
                negatives.swap(j, other);
                rows.push(negatives[j]);
                owners.push(Some(i));
            }
        }
        let others = &rows[chosen.len()..];
        let negative = Array2::from_shape_fn((chosen.len(), others.len()), |(i, j)| {
            owners[j].is_none_or(|owner| owner == i)
                && chosen[i]
                    .own
                    .binary_search(&self.prints[others[j]])
                    .is_err()
        });
        Batch {
            anchors: chosen.len(),
            negative,
            rows,
        }
    }
}

/// A sequence of numbers fixed by a seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`, which is above 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// A row, drawn by weight; `judged` is not empty.
    fn weighted(&mut self, judged: &[Judged]) -> usize {
        let total: f64 = judged.iter().map(|j| j.weight).sum();
        let mut left = total * (self.next() as f64 / u64::MAX as f64);
        let found = judged.iter().find(|j| {
            left -= j.weight;
            left <= 0.0
        });
        found.unwrap_or(&judged[0]).row
    }
}
