//! Distances of held-out judgements, and their scores: how well they agree with the judgements, one
//! number a query and one a pair.
//!
//! A query's **separation** counts standard deviations between its irrelevant and its relevant
//! results: `(mean d(irrelevant) - mean d(relevant)) / s`, with distances relative to their mean
//! size. `s^2` is the mean of the query's own variance and of that of all queries under the same
//! metric. The query's own rests on some ten distances and is noisy by itself (shrinking it is the
//! moderated t statistic of Smyth, 2004): with it alone the gate needs half as many queries again.
//! Separation has no scale, and a metric gains nothing by spreading distances more.
//!
//! A pair's **placement** is the share of pairs of the other kind, held out with it, that lie on
//! the right side of it; the mean of placements is the area under the ROC curve (`DeLong` et al.,
//! 1988).

use affinis::plugin::LearnError;
use ndarray::Array2;

use super::agreement::{self, Evidence};
use super::folds::{FOLDS, Folds};
use crate::judgements::{JudgedItem, Judgements};
use crate::shape::Shaped;
use crate::spd;

/// Number of differences mapped at a time, which bounds the memory.
const BLOCK: usize = 256;

/// A score for each query and pair of the judgements; `None` where nothing can be measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scores {
    pub(crate) separations: Vec<Option<f64>>,
    /// `sqrt(r i / (r + i))` of the relevant and irrelevant results that each query's separation
    /// rests on: the inverse standard error of a difference of two means.
    pub(crate) weights: Vec<f64>,
    pub(crate) placements: Vec<Option<f64>>,
}

/// What is tested: its scores, and how far the judgements agree with its distances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tested<'s> {
    pub(super) scores: &'s Scores,
    pub(super) evidence: Evidence,
}

/// The contrast of the distances of a query's relevant and irrelevant results.
#[derive(Debug, Clone, Copy)]
struct Contrast {
    /// `(mean d(irrelevant) - mean d(relevant)) / mean |d|`.
    difference: f64,
    /// `var d / (mean |d|)^2`.
    variance: f64,
}

/// Squared distances of held-out judgements, each query's and pair's under the metric of its fold.
#[derive(Debug, Clone)]
pub(crate) struct HeldOutDistances<'a> {
    judgements: &'a Judgements<'a>,
    folds: &'a Folds,
    /// A query's results as [`Folds::held_out`] orders them; `None` where there are not both kinds.
    queries: Vec<Option<Vec<f64>>>,
    pairs: Vec<Option<f64>>,
}

/// A squared distance between judged vectors.
pub(crate) trait Distances {
    /// The squared distance of each of some pairs of rows, in their order.
    fn between(&self, judgements: &Judgements<'_>, rows: &[(usize, usize)]) -> Vec<f64>;
}

/// The squared Euclidean distance.
pub(crate) struct Euclid;

impl Distances for Euclid {
    fn between(&self, judgements: &Judgements<'_>, rows: &[(usize, usize)]) -> Vec<f64> {
        rows.iter()
            .map(|(x, y)| judgements.difference(*x, *y).map(|z| z * z).sum())
            .collect()
    }
}

/// A squared distance given by a function of two vectors.
pub(crate) struct Function<F>(pub(crate) F);

impl<F: Fn(&[f32], &[f32]) -> f64> Distances for Function<F> {
    fn between(&self, judgements: &Judgements<'_>, rows: &[(usize, usize)]) -> Vec<f64> {
        let vector = |row: usize| judgements.vectors.row(row).to_vec();
        rows.iter()
            .map(|(x, y)| self.0(&vector(*x), &vector(*y)))
            .collect()
    }
}

impl Distances for Shaped {
    fn between(&self, judgements: &Judgements<'_>, rows: &[(usize, usize)]) -> Vec<f64> {
        let mut distances = Vec::with_capacity(rows.len());
        for block in rows.chunks(BLOCK) {
            let mut differences = Array2::zeros((block.len(), judgements.vectors.ncols()));
            for (mut row, (x, y)) in differences.rows_mut().into_iter().zip(block) {
                row.iter_mut()
                    .zip(judgements.difference(*x, *y))
                    .for_each(|(to, z)| *to = z);
            }
            let mapped = spd::mapped(&differences, &self.factor);
            distances.extend(
                mapped
                    .rows()
                    .into_iter()
                    .map(|r| r.iter().map(|v| v * v).sum::<f64>()),
            );
        }
        distances
    }
}

impl<'a> HeldOutDistances<'a> {
    /// No distances yet: they are added fold by fold.
    pub(crate) fn new(judgements: &'a Judgements<'a>, folds: &'a Folds) -> Self {
        Self {
            judgements,
            folds,
            queries: vec![None; judgements.queries.len()],
            pairs: vec![None; judgements.pairs.len()],
        }
    }

    /// The distances of all folds under one metric.
    ///
    /// # Errors
    /// Those of `poll`, which is called before each fold.
    pub(crate) fn under(
        judgements: &'a Judgements<'a>,
        folds: &'a Folds,
        distances: &dyn Distances,
        mut poll: impl FnMut() -> Result<(), LearnError>,
    ) -> Result<Self, LearnError> {
        let mut held_out = Self::new(judgements, folds);
        for fold in 0..FOLDS {
            poll()?;
            held_out.add_fold(fold, distances);
        }
        Ok(held_out)
    }

    /// Adds the distances of the queries and pairs of one fold.
    pub(crate) fn add_fold(&mut self, fold: usize, distances: &dyn Distances) {
        self.add_queries(fold, distances);
        self.add_pairs(fold, distances);
    }

    fn add_queries(&mut self, fold: usize, distances: &dyn Distances) {
        let mut queries = Vec::new();
        let mut rows = Vec::new();
        for i in in_fold(&self.folds.queries, fold) {
            let query = &self.judgements.queries[i];
            let (relevant, irrelevant) = self.folds.held_out(query);
            if !relevant.is_empty() && !irrelevant.is_empty() {
                let items = relevant.iter().chain(&irrelevant);
                rows.extend(items.map(|item| (query.row, item.row)));
                queries.push((i, relevant.len() + irrelevant.len()));
            }
        }
        let all = distances.between(self.judgements, &rows);
        let mut rest = all.as_slice();
        for (i, count) in queries {
            let (own, others) = rest.split_at(count);
            self.queries[i] = Some(own.to_vec());
            rest = others;
        }
    }

    fn add_pairs(&mut self, fold: usize, distances: &dyn Distances) {
        let rows_of = |i: usize| (self.judgements.pairs[i].a, self.judgements.pairs[i].b);
        let is_held_out = |(a, b): (usize, usize)| self.folds.holds_out(a, b);
        let pairs: Vec<usize> = in_fold(&self.folds.pairs, fold)
            .filter(|i| is_held_out(rows_of(*i)))
            .collect();
        let rows: Vec<_> = pairs.iter().map(|i| rows_of(*i)).collect();
        let all = distances.between(self.judgements, &rows);
        for (i, distance) in pairs.into_iter().zip(all) {
            self.pairs[i] = Some(distance);
        }
    }

    /// The distances `(1 - share) d + share d'`, with `d` of these and `d'` of others of
    /// the same judgements.
    pub(crate) fn mixed(&self, others: &Self, share: f64) -> Self {
        let mix = |own: &f64, other: &f64| (1.0 - share) * own + share * other;
        let of_query = |(own, other): (&Option<Vec<f64>>, &Option<Vec<f64>>)| {
            let distances = own.as_ref()?.iter().zip(other.as_ref()?);
            Some(distances.map(|(own, other)| mix(own, other)).collect())
        };
        let of_pair =
            |(own, other): (&Option<f64>, &Option<f64>)| Some(mix(own.as_ref()?, other.as_ref()?));
        let queries = self.queries.iter().zip(&others.queries);
        let pairs = self.pairs.iter().zip(&others.pairs);
        Self {
            queries: queries.map(of_query).collect(),
            pairs: pairs.map(of_pair).collect(),
            ..*self
        }
    }

    /// The scores of the distances. Placements are within folds, whose metrics may differ.
    pub(crate) fn scores(&self) -> Scores {
        let mut weights = vec![0.0; self.queries.len()];
        let mut contrasts = vec![None; self.queries.len()];
        for (i, distances) in self.queries.iter().enumerate() {
            let Some(distances) = distances else { continue };
            let (relevant, irrelevant) = self.folds.held_out(&self.judgements.queries[i]);
            let (r, n) = (relevant.len() as f64, irrelevant.len() as f64);
            weights[i] = (r * n / (r + n)).sqrt();
            let (near, far) = distances.split_at(relevant.len());
            contrasts[i] = contrast(
                Results::new(&relevant, near),
                Results::new(&irrelevant, far),
            );
        }
        let variances = || contrasts.iter().flatten().map(|c: &Contrast| c.variance);
        let pooled = variances().sum::<f64>() / variances().count().max(1) as f64;
        let separation = |c: &Contrast| {
            let deviation = (0.5 * (c.variance + pooled)).sqrt();
            if deviation > 0.0 {
                c.difference / deviation
            } else {
                0.0
            }
        };
        Scores {
            separations: contrasts
                .iter()
                .map(|c| c.as_ref().map(separation))
                .collect(),
            weights,
            placements: self.placements(),
        }
    }

    /// What is tested of the distances, with their scores.
    pub(crate) fn tested<'s>(&self, scores: &'s Scores) -> Tested<'s> {
        Tested {
            scores,
            evidence: self.evidence(),
        }
    }

    /// The evidence that the judgements agree with the distances. Pairs are those of a fold, whose
    /// metrics may differ.
    pub(super) fn evidence(&self) -> Evidence {
        let queries: Vec<agreement::Results<'_>> = self
            .queries
            .iter()
            .zip(&self.judgements.queries)
            .filter_map(|(distances, query)| {
                let (relevant, _) = self.folds.held_out(query);
                let (relevant, irrelevant) = distances.as_ref()?.split_at(relevant.len());
                Some(agreement::Results {
                    relevant,
                    irrelevant,
                })
            })
            .collect();
        let folds: Vec<FoldPairs> = (0..FOLDS).map(|fold| self.fold_pairs(fold)).collect();
        let pairs = folds.iter().map(|fold| agreement::Results {
            relevant: &fold.similar,
            irrelevant: &fold.dissimilar,
        });
        Evidence {
            queries: agreement::of_queries(&queries),
            pairs: agreement::of_folds(pairs),
        }
    }

    fn placements(&self) -> Vec<Option<f64>> {
        let mut placements = vec![None; self.pairs.len()];
        for fold in 0..FOLDS {
            let FoldPairs {
                all,
                similar,
                dissimilar,
            } = self.fold_pairs(fold);
            for (i, distance) in all {
                placements[i] = if self.judgements.pairs[i].similar {
                    share_below(&dissimilar, distance).map(|share| 1.0 - share)
                } else {
                    share_below(&similar, distance)
                };
            }
        }
        placements
    }

    fn fold_pairs(&self, fold: usize) -> FoldPairs {
        let all: Vec<(usize, f64)> = in_fold(&self.folds.pairs, fold)
            .filter_map(|i| Some((i, self.pairs[i]?)))
            .collect();
        let sorted = |similar: bool| {
            let of_kind = all
                .iter()
                .filter(|(i, _)| self.judgements.pairs[*i].similar == similar);
            let mut distances: Vec<f64> = of_kind.map(|(_, d)| *d).collect();
            distances.sort_unstable_by(f64::total_cmp);
            distances
        };
        FoldPairs {
            similar: sorted(true),
            dissimilar: sorted(false),
            all,
        }
    }
}

/// The distances of one fold's held-out pairs.
struct FoldPairs {
    /// (index of the pair, distance).
    all: Vec<(usize, f64)>,
    /// Those of similar pairs, ascending.
    similar: Vec<f64>,
    /// Those of dissimilar pairs, ascending.
    dissimilar: Vec<f64>,
}

/// The indices of the members of a fold.
fn in_fold(folds: &[usize], fold: usize) -> impl Iterator<Item = usize> {
    folds
        .iter()
        .enumerate()
        .filter(move |(_, of)| **of == fold)
        .map(|(i, _)| i)
}

/// The share of sorted numbers below `v`, ties counted half; `None` without numbers.
fn share_below(sorted: &[f64], v: f64) -> Option<f64> {
    let below = sorted.partition_point(|s| *s < v);
    let up_to = sorted.partition_point(|s| *s <= v);
    (!sorted.is_empty()).then(|| 0.5 * (below + up_to) as f64 / sorted.len() as f64)
}

/// Judged results of one kind with their squared distances from the query.
#[derive(Clone, Copy)]
struct Results<'a> {
    judged: &'a [&'a JudgedItem],
    distances: &'a [f64],
}

impl<'a> Results<'a> {
    fn new(judged: &'a [&'a JudgedItem], distances: &'a [f64]) -> Self {
        Self { judged, distances }
    }

    /// (weight, distance) of each.
    fn weighted(self) -> impl Iterator<Item = (f64, f64)> {
        let weights = self.judged.iter().map(|judged| judged.weight);
        weights.zip(self.distances.iter().copied())
    }
}

/// The contrast of a query's results; `None` when all distances are zero.
fn contrast(relevant: Results<'_>, irrelevant: Results<'_>) -> Option<Contrast> {
    let all = || relevant.weighted().chain(irrelevant.weighted());
    let mean = mean_of(all());
    let variance = mean_of(all().map(|(weight, d)| (weight, (d - mean).powi(2))));
    let difference = mean_of(irrelevant.weighted()) - mean_of(relevant.weighted());
    // A similarity is a negative distance.
    let scale = mean_of(all().map(|(weight, d)| (weight, d.abs())));
    (scale > 0.0).then(|| Contrast {
        difference: difference / scale,
        variance: variance / (scale * scale),
    })
}

/// The weighted mean of (weight, value), weights above 0.
fn mean_of(weighted: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, total) = weighted.fold((0.0, 0.0), |(sum, total), (w, v)| (sum + w * v, total + w));
    sum / total
}
