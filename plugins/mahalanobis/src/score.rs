//! How well distances agree with judgements, one number a query and one a pair.
//!
//! A query's **separation** counts standard deviations between its irrelevant and its relevant
//! results: `(mean d(irrelevant) - mean d(relevant)) / s`, with distances relative to their mean
//! size. `s^2` is the mean of the query's own variance and of that of all queries under the same
//! metric. The query's own rests on some ten distances and is noise by itself (shrinking it is the
//! moderated t statistic of Smyth, 2004): with it alone the gate was measured to need half as many
//! queries again. Separation has no scale, and a metric gains nothing by spreading distances more.
//!
//! A pair's **placement** is the share of pairs of the other kind, held out with it, that lie on
//! the right side of it; the mean of placements is the area under the ROC curve (`DeLong` et al.,
//! 1988).

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
    pub(crate) separations: Vec<Option<f64>>,
    /// `sqrt(r i / (r + i))` of the relevant and irrelevant results that each query's separation
    /// rests on: the inverse standard error of a difference of two means.
    pub(crate) weights: Vec<f64>,
    pub(crate) placements: Vec<Option<f64>>,
}

/// What the distances of a query's judged results say.
#[derive(Debug, Clone, Copy)]
struct Contrast {
    /// `(mean d(irrelevant) - mean d(relevant)) / mean |d|`.
    difference: f64,
    /// `var d / (mean |d|)^2`.
    variance: f64,
}

/// Distances of what is held out, each query's and link's by the metric of its fold.
#[derive(Debug, Clone)]
pub(crate) struct Measured<'a> {
    evidence: &'a Evidence<'a>,
    folds: &'a Folds,
    /// A query's results as [`Folds::held_out`] orders them; `None` where there are not both kinds.
    queries: Vec<Option<Vec<f64>>>,
    links: Vec<Option<f64>>,
}

/// Squared distances between rows of the evidence.
pub(crate) trait Distances {
    fn between(&self, evidence: &Evidence<'_>, pairs: &[(usize, usize)]) -> Vec<f64>;
}

/// The squared Euclidean distance.
pub(crate) struct Euclid;

impl Distances for Euclid {
    fn between(&self, evidence: &Evidence<'_>, pairs: &[(usize, usize)]) -> Vec<f64> {
        pairs
            .iter()
            .map(|(x, y)| evidence.difference(*x, *y).map(|z| z * z).sum())
            .collect()
    }
}

impl Distances for &dyn Metric {
    fn between(&self, evidence: &Evidence<'_>, pairs: &[(usize, usize)]) -> Vec<f64> {
        let row = |i: usize| evidence.vectors.row(i).to_vec();
        pairs
            .iter()
            .map(|(x, y)| self.distance(&row(*x), &row(*y)))
            .collect()
    }
}

impl Distances for Shaped {
    fn between(&self, evidence: &Evidence<'_>, pairs: &[(usize, usize)]) -> Vec<f64> {
        let mut distances = Vec::with_capacity(pairs.len());
        for block in pairs.chunks(BLOCK) {
            let mut differences = Array2::zeros((block.len(), evidence.vectors.ncols()));
            for (mut row, (x, y)) in differences.rows_mut().into_iter().zip(block) {
                row.iter_mut()
                    .zip(evidence.difference(*x, *y))
                    .for_each(|(to, z)| *to = z);
            }
            let images = spd::images(&differences, &self.factor);
            distances.extend(
                images
                    .rows()
                    .into_iter()
                    .map(|r| r.iter().map(|v| v * v).sum::<f64>()),
            );
        }
        distances
    }
}

impl<'a> Measured<'a> {
    pub(crate) fn new(evidence: &'a Evidence<'a>, folds: &'a Folds) -> Self {
        Self {
            evidence,
            folds,
            queries: vec![None; evidence.queries.len()],
            links: vec![None; evidence.links.len()],
        }
    }

    /// Everything under one distance.
    pub(crate) fn under(
        evidence: &'a Evidence<'a>,
        folds: &'a Folds,
        distances: &dyn Distances,
        mut poll: impl FnMut() -> Result<(), LearnError>,
    ) -> Result<Self, LearnError> {
        let mut measured = Self::new(evidence, folds);
        for fold in 0..FOLDS {
            poll()?;
            measured.add_fold(fold, distances);
        }
        Ok(measured)
    }

    /// Measures the queries and links of one fold.
    pub(crate) fn add_fold(&mut self, fold: usize, distances: &dyn Distances) {
        let mut queries = Vec::new();
        let mut pairs = Vec::new();
        for i in in_fold(&self.folds.queries, fold) {
            let query = &self.evidence.queries[i];
            let (relevant, irrelevant) = self.folds.held_out(query);
            if !relevant.is_empty() && !irrelevant.is_empty() {
                pairs.extend(
                    relevant
                        .iter()
                        .chain(&irrelevant)
                        .map(|item| (query.row, item.row)),
                );
                queries.push((i, relevant.len() + irrelevant.len()));
            }
        }
        let all = distances.between(self.evidence, &pairs);
        let mut rest = all.as_slice();
        for (i, count) in queries {
            let (own, others) = rest.split_at(count);
            self.queries[i] = Some(own.to_vec());
            rest = others;
        }

        let links: Vec<usize> = in_fold(&self.folds.links, fold)
            .filter(|i| {
                self.folds
                    .holds_out(self.evidence.links[*i].a, self.evidence.links[*i].b)
            })
            .collect();
        let pairs: Vec<_> = links
            .iter()
            .map(|i| (self.evidence.links[*i].a, self.evidence.links[*i].b))
            .collect();
        for (i, distance) in links
            .into_iter()
            .zip(distances.between(self.evidence, &pairs))
        {
            self.links[i] = Some(distance);
        }
    }

    /// The distances `(1 - share) d + share d'`, `d` of these and `d'` of others of the same
    /// evidence.
    pub(crate) fn mixed(&self, others: &Self, share: f64) -> Self {
        let mix = |own: &f64, other: &f64| (1.0 - share) * own + share * other;
        let of_query = |(own, other): (&Option<Vec<f64>>, &Option<Vec<f64>>)| {
            Some(
                own.as_ref()?
                    .iter()
                    .zip(other.as_ref()?)
                    .map(|(own, other)| mix(own, other))
                    .collect(),
            )
        };
        let of_link =
            |(own, other): (&Option<f64>, &Option<f64>)| Some(mix(own.as_ref()?, other.as_ref()?));
        Self {
            queries: self
                .queries
                .iter()
                .zip(&others.queries)
                .map(of_query)
                .collect(),
            links: self.links.iter().zip(&others.links).map(of_link).collect(),
            ..*self
        }
    }

    /// What the distances say. Placements are within folds, whose metrics may differ.
    pub(crate) fn scores(&self) -> Scores {
        let mut weights = vec![0.0; self.queries.len()];
        let mut contrasts = vec![None; self.queries.len()];
        for (i, distances) in self.queries.iter().enumerate() {
            let Some(distances) = distances else { continue };
            let (relevant, irrelevant) = self.folds.held_out(&self.evidence.queries[i]);
            let (r, n) = (relevant.len() as f64, irrelevant.len() as f64);
            weights[i] = (r * n / (r + n)).sqrt();
            let (near, far) = distances.split_at(relevant.len());
            contrasts[i] = contrast((&relevant, near), (&irrelevant, far));
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

    fn placements(&self) -> Vec<Option<f64>> {
        let mut placements = vec![None; self.links.len()];
        for fold in 0..FOLDS {
            let of_fold: Vec<(usize, f64)> = in_fold(&self.folds.links, fold)
                .filter_map(|i| Some((i, self.links[i]?)))
                .collect();
            let sorted = |similar: bool| {
                let of_kind = of_fold
                    .iter()
                    .filter(|(i, _)| self.evidence.links[*i].similar == similar);
                let mut distances: Vec<f64> = of_kind.map(|(_, d)| *d).collect();
                distances.sort_unstable_by(f64::total_cmp);
                distances
            };
            let (similar, dissimilar) = (sorted(true), sorted(false));
            for (i, distance) in of_fold {
                placements[i] = if self.evidence.links[i].similar {
                    share_below(&dissimilar, distance).map(|share| 1.0 - share)
                } else {
                    share_below(&similar, distance)
                };
            }
        }
        placements
    }
}

/// The members of a fold.
fn in_fold(folds: &[usize], fold: usize) -> impl Iterator<Item = usize> {
    folds
        .iter()
        .enumerate()
        .filter(move |(_, of)| **of == fold)
        .map(|(i, _)| i)
}

/// The share of sorted numbers below `v`, ties counted half; `None` when there are none.
fn share_below(sorted: &[f64], v: f64) -> Option<f64> {
    let below = sorted.partition_point(|s| *s < v);
    let up_to = sorted.partition_point(|s| *s <= v);
    (!sorted.is_empty()).then(|| 0.5 * (below + up_to) as f64 / sorted.len() as f64)
}

/// `None` when all distances are zero.
fn contrast(relevant: (&[&Judged], &[f64]), irrelevant: (&[&Judged], &[f64])) -> Option<Contrast> {
    let weights = || relevant.0.iter().chain(irrelevant.0).map(|j| j.weight);
    let distances = || relevant.1.iter().chain(irrelevant.1).copied();
    let mean = mean_of(weights().zip(distances()));
    let variance = mean_of(weights().zip(distances().map(|d| (d - mean).powi(2))));
    let of_kind = |(judged, distances): (&[&Judged], &[f64])| {
        mean_of(
            judged
                .iter()
                .map(|j| j.weight)
                .zip(distances.iter().copied()),
        )
    };
    let difference = of_kind(irrelevant) - of_kind(relevant);
    // A similarity is a negative distance.
    let scale = mean_of(weights().zip(distances().map(f64::abs)));
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
