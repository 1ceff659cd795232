//! Batches of the descent: some anchors, a positive for each, and negatives.
//!
//! An anchor is a judged query, or an item of a judged pair. Its negatives are drawn in three ways:
//! items judged irrelevant to it (hard ones, for they were shown), random items of the collection,
//! and the other anchors' positives (nearly all irrelevant to it; the loss allows for the rest).

use std::collections::BTreeMap;

use ndarray::{Array2, Axis, concatenate, s};

use crate::fingerprints::{self, splitmix};
use crate::judgements::JudgedItem;
use crate::learner::Training;
use crate::learner::anchors::Anchor;

/// Number of random items among a batch's negatives, for each anchor.
const RANDOM_ITEMS: usize = 1;
/// Largest number of judged negatives of an anchor in a batch.
const MAX_JUDGED: usize = 10;
/// Largest number of the collection's items that a fit draws from.
const MAX_ITEMS: usize = 1_000;

/// An anchor in the pool. Numbers are rows of [`Pool::vectors`].
#[derive(Debug)]
struct Member {
    anchor: Anchor,
    /// Fingerprints of its own vector and its positives', which are no negatives of it, in
    /// ascending order.
    own: Vec<u64>,
}

/// The anchors and vectors that batches are drawn from.
#[derive(Debug)]
pub(crate) struct Pool {
    /// One row each: judged vectors, then items of the collection.
    pub(crate) vectors: Array2<f32>,
    fingerprints: Vec<u64>,
    members: Vec<Member>,
    /// The first row of the collection's items.
    first_item: usize,
}

/// One batch: rows of a pool.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Anchors, their positives in the same order, then negatives.
    pub(crate) rows: Vec<usize>,
    pub(crate) anchors: usize,
    /// Whether each of the positives and negatives (columns) is a negative of each anchor (rows).
    pub(crate) negative: Array2<bool>,
}

impl Pool {
    /// The pool of all judgements outside of the held-out fold, and of the collection's items;
    /// `None` without a positive.
    pub(crate) fn new(training: &Training<'_>) -> Option<Self> {
        let mut anchors = training.anchors();
        anchors.retain(|a| !a.positives.is_empty());
        if anchors.is_empty() {
            return None;
        }
        // Only the rows of anchors, ordered by content, so that sums over rows do not depend on the
        // order in which rows came.
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
        let fingerprint =
            |row: usize| fingerprints::of_vector(training.judgements.vectors.row(row));
        used.sort_by_cached_key(|row| (fingerprint(*row), *row));
        used.dedup();
        let row_in_pool: BTreeMap<usize, usize> = used.iter().copied().zip(0..).collect();
        for anchor in &mut anchors {
            anchor.row = row_in_pool[&anchor.row];
            anchor
                .positives
                .iter_mut()
                .for_each(|j| j.row = row_in_pool[&j.row]);
            anchor
                .negatives
                .iter_mut()
                .for_each(|row| *row = row_in_pool[row]);
        }
        let items = training
            .sample
            .items
            .slice(s![..training.sample.items.nrows().min(MAX_ITEMS), ..]);
        let judged = training.judgements.vectors.select(Axis(0), &used);
        // A sample without items may be of any width.
        let vectors = if items.is_empty() {
            judged
        } else {
            concatenate(Axis(0), &[judged.view(), items]).ok()?
        };
        let of_rows = vectors.rows().into_iter().map(fingerprints::of_vector);
        let fingerprints: Vec<u64> = of_rows.collect();
        let member = |anchor: Anchor| {
            let mut own: Vec<u64> = of_anchor(&anchor)
                .into_iter()
                .map(|row| fingerprints[row])
                .collect();
            own.sort_unstable();
            Member { anchor, own }
        };
        let members = anchors.into_iter().map(member).collect();
        Some(Self {
            vectors,
            fingerprints,
            members,
            first_item: used.len(),
        })
    }

    /// The number of anchors.
    pub(crate) fn anchors(&self) -> usize {
        self.members.len()
    }

    /// The batch of the given anchors.
    pub(crate) fn draw(&self, anchors: &[usize], random: &mut Random) -> Batch {
        let chosen: Vec<&Member> = anchors.iter().map(|i| &self.members[*i]).collect();
        let mut rows: Vec<usize> = chosen.iter().map(|m| m.anchor.row).collect();
        rows.extend(chosen.iter().map(|m| random.weighted(&m.anchor.positives)));
        let mut owners = vec![None; chosen.len()];
        let items = self.vectors.nrows() - self.first_item;
        for _ in 0..(RANDOM_ITEMS * chosen.len()).min(items) {
            rows.push(self.first_item + random.below(items));
            owners.push(None);
        }
        for (i, member) in chosen.iter().enumerate() {
            let mut negatives = member.anchor.negatives.clone();
            for j in 0..MAX_JUDGED.min(negatives.len()) {
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
                    .binary_search(&self.fingerprints[others[j]])
                    .is_err()
        });
        Batch {
            anchors: chosen.len(),
            negative,
            rows,
        }
    }
}

/// A sequence of random numbers fixed by a seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(splitmix(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        splitmix(self.0)
    }

    /// A number below `n`, which is above 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// A row, drawn by weight; `judged` is not empty.
    fn weighted(&mut self, judged: &[JudgedItem]) -> usize {
        let total: f64 = judged.iter().map(|j| j.weight).sum();
        let mut left = total * (self.next() as f64 / u64::MAX as f64);
        let found = judged.iter().find(|j| {
            left -= j.weight;
            left <= 0.0
        });
        found.unwrap_or(&judged[0]).row
    }
}
