//! How well distances agree with judgements, one number a query and one a pair.
//!
//! A query's **contrast** is `(mean d(irrelevant) - mean d(relevant)) / mean d` over its judged results. Metrics compare
//! by it once it is divided by their own relative spread of distances, pooled over queries (see `gate`). A pair's
//! **placement** is the share of pairs of the other kind, held out with it, that lie on the right side of it; the mean of
//! placements is the area under the ROC curve (DeLong et al., 1988).

use affinis::{LearnError, Metric};
use ndarray::Array2;

use crate::evidence::{Evidence, Judged};
use crate::folds::{FOLDS, Folds};
use crate::shape::Shaped;
use crate::spd;

/// Differences mapped at a time; bounds the memory.
const BLOCK: usize = 256;

/// A score for each query and link of the evidence; `None` where nothing can be measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scores {
    pub(crate) contrasts: Vec<Option<Contrast>>,
    pub(crate) placements: Vec<Option<f64>>,
}

/// What the distances of a query's judged results say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Contrast {
    /// `(mean d(irrelevant) - mean d(relevant)) / mean d`.
    pub(crate) difference: f64,
    /// `var d / (mean d)^2`.
    pub(crate) spread: f64,
}

/// Squared distances between rows of the evidence.
pub(crate) trait Distances {
    fn between(&self, evidence: &Evidence<'_>, pairs: &[(usize, usize)]) -> Vec<f64>;
}

/// The squared Euclidean distance.
pub(crate) struct Euclid;

impl Distances for Euclid {
    fn between(&self, evidence: &Evidence<'_>, pairs: &[(usize, usize)]) -> Vec<f64> {
        pairs.iter().map(|(x, y)| evidence.difference(*x, *y).map(|z| z * z).sum()).collect()
    }
}

impl Distances for &dyn Metric {
    fn between(&self, evidence: &Evidence<'_>, pairs: &[(usize, usize)]) -> Vec<f64> {
        let row = |i: usize| evidence.vectors.row(i).to_vec();
        pairs.iter().map(|(x, y)| self.distance(&row(*x), &row(*y))).collect()
    }
}

impl Distances for Shaped {
    fn between(&self, evidence: &Evidence<'_>, pairs: &[(usize, usize)]) -> Vec<f64> {
        let mut distances = Vec::with_capacity(pairs.len());
        for block in pairs.chunks(BLOCK) {
            let mut differences = Array2::zeros((block.len(), evidence.vectors.ncols()));
            for (mut row, (x, y)) in differences.rows_mut().into_iter().zip(block) {
                row.iter_mut().zip(evidence.difference(*x, *y)).for_each(|(to, z)| *to = z);
            }
            let images = spd::images(&differences, &self.factor);
            distances.extend(images.rows().into_iter().map(|r| r.iter().map(|v| v * v).sum::<f64>()));
        }
        distances
    }
}

impl Scores {
    /// No scores for so much evidence.
    pub(crate) fn none(evidence: &Evidence<'_>) -> Self {
        Self { contrasts: vec![None; evidence.queries.len()], placements: vec![None; evidence.links.len()] }
    }

    /// Scores everything under one distance. Placements are within folds, to be comparable with those of
    /// [`Scores::score_fold`].
    pub(crate) fn under(
        evidence: &Evidence<'_>,
        folds: &Folds,
        distances: &dyn Distances,
        mut poll: impl FnMut() -> Result<(), LearnError>,
    ) -> Result<Self, LearnError> {
        let mut scores = Self::none(evidence);
        for fold in 0..FOLDS {
            poll()?;
            scores.score_fold(evidence, folds, fold, distances);
        }
        Ok(scores)
    }

    /// Scores the queries and links of one fold.
    pub(crate) fn score_fold(
        &mut self,
        evidence: &Evidence<'_>,
        folds: &Folds,
        fold: usize,
        distances: &dyn Distances,
    ) {
        let members = |of: &[usize]| -> Vec<usize> { (0..of.len()).filter(|i| of[*i] == fold).collect() };
        let queries: Vec<usize> =
            members(&folds.queries).into_iter().filter(|i| evidence.queries[*i].has_both_kinds()).collect();
        let mut pairs = Vec::new();
        for q in queries.iter().map(|i| &evidence.queries[*i]) {
            pairs.extend(q.relevant.iter().chain(&q.irrelevant).map(|j| (q.row, j.row)));
        }
        let all = distances.between(evidence, &pairs);
        let mut rest = all.as_slice();
        for i in queries {
            let q = &evidence.queries[i];
            let (relevant, others) = rest.split_at(q.relevant.len());
            let (irrelevant, others) = others.split_at(q.irrelevant.len());
            self.contrasts[i] = contrast((&q.relevant, relevant), (&q.irrelevant, irrelevant));
            rest = others;
        }

        let links = members(&folds.links);
        let pairs: Vec<_> = links.iter().map(|i| (evidence.links[*i].a, evidence.links[*i].b)).collect();
        let all = distances.between(evidence, &pairs);
        let sorted = |similar: bool| {
            let of_kind = links.iter().zip(&all).filter(|(i, _)| evidence.links[**i].similar == similar);
            let mut distances: Vec<f64> = of_kind.map(|(_, d)| *d).collect();
            distances.sort_unstable_by(f64::total_cmp);
            distances
        };
        let (similar, dissimilar) = (sorted(true), sorted(false));
        for (i, distance) in links.iter().zip(&all) {
            self.placements[*i] = if evidence.links[*i].similar {
                share_below(&dissimilar, *distance).map(|share| 1.0 - share)
            } else {
                share_below(&similar, *distance)
            };
        }
    }
}

/// The share of sorted numbers below `v`, ties counted half; `None` when there are none.
fn share_below(sorted: &[f64], v: f64) -> Option<f64> {
    let below = sorted.partition_point(|s| *s < v);
    let up_to = sorted.partition_point(|s| *s <= v);
    (!sorted.is_empty()).then(|| 0.5 * (below + up_to) as f64 / sorted.len() as f64)
}

/// `None` when all distances are zero.
fn contrast(relevant: (&[Judged], &[f64]), irrelevant: (&[Judged], &[f64])) -> Option<Contrast> {
    let weights = || relevant.0.iter().chain(irrelevant.0).map(|j| j.weight);
    let distances = || relevant.1.iter().chain(irrelevant.1).copied();
    let mean = mean_of(weights().zip(distances()));
    let variance = mean_of(weights().zip(distances().map(|d| (d - mean).powi(2))));
    let of_kind = |(judged, distances): (&[Judged], &[f64])| {
        mean_of(judged.iter().map(|j| j.weight).zip(distances.iter().copied()))
    };
    let difference = of_kind(irrelevant) - of_kind(relevant);
    (mean > 0.0).then(|| Contrast { difference: difference / mean, spread: variance / (mean * mean) })
}

/// The weighted mean of (weight, value), weights above 0.
fn mean_of(weighted: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, total) = weighted.fold((0.0, 0.0), |(sum, total), (w, v)| (sum + w * v, total + w));
    sum / total
}
