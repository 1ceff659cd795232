//! Scatters: the weighted sums of `zz'` over similar and over dissimilar differences.
//!
//! Where queries have several judged results (three or more on average), similar differences are
//! those of the items of a *chunklet*, a query with its relevant results, from the chunklet's mean
//! (Bar-Hillel et al., *Learning a Mahalanobis metric from equivalence constraints*, JMLR 2005),
//! and dissimilar ones lead from that mean to the irrelevant results. Otherwise, and for pairs
//! always, they are plain differences of the two vectors.

use ndarray::{Array2, ArrayView2, s};

use crate::evidence::{Evidence, Query};
use crate::spd;

/// Rows gathered before they are multiplied out; bounds the memory.
const BLOCK: usize = 256;

/// `sum w zz'`, with what is needed to say how many pairs it is worth.
#[derive(Debug, Clone)]
pub(crate) struct Scatter {
    /// The lower triangle.
    sum: Array2<f64>,
    weight: f64,
    square_weight: f64,
}

impl Scatter {
    fn zero(dim: usize) -> Self {
        Self {
            sum: Array2::zeros((dim, dim)),
            weight: 0.0,
            square_weight: 0.0,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sum += &other.sum;
        self.weight += other.weight;
        self.square_weight += other.square_weight;
    }

    /// How many pairs of weight 1 this is worth: the sum of the weights, but at most Kish's
    /// effective number `(sum w)^2 / sum w^2`, so that no single judgement outvotes the prior by a
    /// large weight.
    pub(crate) fn effective(&self) -> f64 {
        if self.weight > 0.0 {
            self.weight
                .min(self.weight * (self.weight / self.square_weight))
        } else {
            0.0
        }
    }

    /// `(n tr(M) + count prior) / (n + count)` with `n` the effective number of pairs; the prior
    /// where nothing was judged.
    pub(crate) fn posterior(&self, prior: &Array2<f64>, count: f64) -> Array2<f64> {
        let n = self.effective();
        match self.to_trace_dim() {
            Some(scatter) if count.is_finite() && n + count > 0.0 => {
                (scatter * n + prior * count) / (n + count)
            }
            _ => prior.clone(),
        }
    }

    /// The matrix scaled to trace `d`; `None` when nothing was added, or only differences of zero.
    pub(crate) fn to_trace_dim(&self) -> Option<Array2<f64>> {
        scaled(&self.sum)
    }
}

/// Both scatters of a set of judgements.
#[derive(Debug, Clone)]
pub(crate) struct Scatters {
    pub(crate) similar: Scatter,
    pub(crate) dissimilar: Scatter,
}

impl Scatters {
    pub(crate) fn zero(dim: usize) -> Self {
        Self {
            similar: Scatter::zero(dim),
            dissimilar: Scatter::zero(dim),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.similar.add(&other.similar);
        self.dissimilar.add(&other.dissimilar);
    }
}

/// Whether queries are learned from as chunklets.
pub(crate) fn as_chunklets(evidence: &Evidence<'_>) -> bool {
    let judged: usize = evidence
        .queries
        .iter()
        .map(|q| q.relevant.len() + q.irrelevant.len())
        .sum();
    judged >= 3 * evidence.queries.len()
}

/// The scatters of the queries and links that `part` numbers as `fold`.
pub(crate) fn scatters(
    evidence: &Evidence<'_>,
    chunklets: bool,
    mut query_in: impl FnMut(usize) -> bool,
    mut link_in: impl FnMut(usize) -> bool,
) -> Scatters {
    let dim = evidence.vectors.ncols();
    let (mut similar, mut dissimilar) = (Gatherer::new(dim), Gatherer::new(dim));
    for query in evidence
        .queries
        .iter()
        .enumerate()
        .filter(|(i, _)| query_in(*i))
        .map(|(_, q)| q)
    {
        if chunklets {
            add_chunklet(evidence, query, &mut similar, &mut dissimilar);
        } else {
            for judged in &query.relevant {
                similar.add(
                    judged.weight,
                    judged.weight,
                    evidence.difference(judged.row, query.row),
                );
            }
            for judged in &query.irrelevant {
                dissimilar.add(
                    judged.weight,
                    judged.weight,
                    evidence.difference(judged.row, query.row),
                );
            }
        }
    }
    for link in evidence
        .links
        .iter()
        .enumerate()
        .filter(|(i, _)| link_in(*i))
        .map(|(_, l)| l)
    {
        let side = if link.similar {
            &mut similar
        } else {
            &mut dissimilar
        };
        side.add(
            link.weight,
            link.weight,
            evidence.difference(link.a, link.b),
        );
    }
    Scatters {
        similar: similar.finish(),
        dissimilar: dissimilar.finish(),
    }
}

/// `sum zz'` of given differences (`m x d`), scaled to trace `d`; `None` when all are zero.
pub(crate) fn of_rows(rows: ArrayView2<'_, f32>) -> Option<Array2<f64>> {
    let mut gatherer = Gatherer::new(rows.ncols());
    for row in rows.rows() {
        gatherer.add(1.0, 1.0, row.iter().map(|v| f64::from(*v)));
    }
    gatherer.finish().to_trace_dim()
}

fn add_chunklet(
    evidence: &Evidence<'_>,
    query: &Query,
    similar: &mut Gatherer,
    dissimilar: &mut Gatherer,
) {
    // The query is one of the chunklet's members, of its results' mean weight.
    let total: f64 = query.relevant.iter().map(|j| j.weight).sum();
    let own = if query.relevant.is_empty() {
        1.0
    } else {
        total / query.relevant.len() as f64
    };
    let mut mean: Vec<f64> = evidence
        .vectors
        .row(query.row)
        .iter()
        .map(|v| f64::from(*v))
        .collect();
    for judged in &query.relevant {
        let share = judged.weight / (own + total);
        mean.iter_mut()
            .zip(evidence.difference(judged.row, query.row))
            .for_each(|(m, z)| *m += share * z);
    }
    let from_mean = |row: usize| {
        evidence
            .vectors
            .row(row)
            .into_iter()
            .zip(&mean)
            .map(|(v, m)| f64::from(*v) - m)
    };
    if !query.relevant.is_empty() {
        // A scatter about the mean estimates the covariance, one of differences twice it: hence the
        // 2, which makes chunklets and pairs add up. A chunklet of n members has n - 1 degrees of
        // freedom, so the query counts none.
        similar.add(2.0 * own, 0.0, from_mean(query.row));
        for judged in &query.relevant {
            similar.add(2.0 * judged.weight, judged.weight, from_mean(judged.row));
        }
    }
    for judged in &query.irrelevant {
        dissimilar.add(judged.weight, judged.weight, from_mean(judged.row));
    }
}

/// Gathers rows `sqrt(w) z` and multiplies them out a block at a time.
struct Gatherer {
    block: Array2<f64>,
    filled: usize,
    scatter: Scatter,
}

impl Gatherer {
    fn new(dim: usize) -> Self {
        Self {
            block: Array2::zeros((BLOCK, dim)),
            filled: 0,
            scatter: Scatter::zero(dim),
        }
    }

    /// Adds `factor zz'`, which counts as `weight` pairs.
    fn add(&mut self, factor: f64, weight: f64, z: impl Iterator<Item = f64>) {
        let root = factor.sqrt();
        self.block
            .row_mut(self.filled)
            .iter_mut()
            .zip(z)
            .for_each(|(to, z)| *to = root * z);
        self.filled += 1;
        self.scatter.weight += weight;
        self.scatter.square_weight += weight * weight;
        if self.filled == BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        spd::add_gram(
            &mut self.scatter.sum,
            self.block.slice(s![..self.filled, ..]),
        );
        self.filled = 0;
    }

    fn finish(mut self) -> Scatter {
        self.flush();
        self.scatter
    }
}

/// `tr(M)`: a symmetric matrix, given by its lower triangle, scaled to trace `d`; `None` for zero.
pub(crate) fn scaled(lower: &Array2<f64>) -> Option<Array2<f64>> {
    let trace = lower.diag().sum();
    let factor = lower.nrows() as f64 / trace;
    if trace <= 0.0 || !factor.is_finite() {
        return None;
    }
    let mut matrix = lower.mapv(|v| v * factor);
    spd::mirror(&mut matrix);
    Some(matrix)
}
