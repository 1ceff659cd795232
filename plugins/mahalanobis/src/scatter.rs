//! Scatters: the weighted sums of `zz'` over similar and over dissimilar differences.
//!
//! Where queries have several judged results (three or more on average), similar differences are
//! those of the items of a *chunklet*, a query with its relevant results, from the chunklet's mean
//! (Bar-Hillel et al., *Learning a Mahalanobis metric from equivalence constraints*, JMLR 2005),
//! and dissimilar ones lead from that mean to the irrelevant results. Otherwise, and for pairs
//! always, they are plain differences of the two vectors.

use ndarray::{Array2, ArrayView2, s};

use crate::judgements::{JudgedQuery, Judgements};
use crate::spd;

/// Number of rows gathered before they are multiplied out, which bounds the memory.
const BLOCK: usize = 256;
/// Least mean number of judged results of a query at which queries are learned from as chunklets.
const CHUNKLET_RESULTS: usize = 3;

/// A weighted sum `sum w zz'` (`d x d`) of differences `z`, with the sums of weights by which its
/// effective number of pairs is computed.
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

    /// The effective number of pairs: the sum of the weights, but at most Kish's number `(sum w)^2
    /// / sum w^2`, so that no single judgement outvotes the prior by a large weight.
    pub(crate) fn effective(&self) -> f64 {
        if self.weight > 0.0 {
            self.weight
                .min(self.weight * (self.weight / self.square_weight))
        } else {
            0.0
        }
    }

    /// The posterior `(n tr(M) + count prior) / (n + count)` with `n` the effective number of
    /// pairs; the prior where nothing was judged.
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

/// Whether queries have enough judged results to be learned from as chunklets.
pub(crate) fn as_chunklets(judgements: &Judgements<'_>) -> bool {
    let judged: usize = judgements
        .queries
        .iter()
        .map(|q| q.relevant.len() + q.irrelevant.len())
        .sum();
    judged >= CHUNKLET_RESULTS * judgements.queries.len()
}

/// The scatters of the queries and pairs whose indices `has_query` and `has_pair` admit.
pub(crate) fn scatters(
    judgements: &Judgements<'_>,
    chunklets: bool,
    has_query: impl Fn(usize) -> bool,
    has_pair: impl Fn(usize) -> bool,
) -> Scatters {
    let dim = judgements.vectors.ncols();
    let mut gatherers = Gatherers {
        similar: Gatherer::new(dim),
        dissimilar: Gatherer::new(dim),
    };
    let queries = judgements.queries.iter().enumerate();
    for (_, query) in queries.filter(|(i, _)| has_query(*i)) {
        if chunklets {
            gatherers.add_chunklet(judgements, query);
        } else {
            gatherers.add_results(judgements, query);
        }
    }
    let pairs = judgements.pairs.iter().enumerate();
    for (_, pair) in pairs.filter(|(i, _)| has_pair(*i)) {
        let difference = judgements.difference(pair.a, pair.b);
        gatherers
            .of_kind(pair.similar)
            .add(pair.weight, pair.weight, difference);
    }
    Scatters {
        similar: gatherers.similar.finish(),
        dissimilar: gatherers.dissimilar.finish(),
    }
}

/// The scatters of all judgements.
pub(crate) fn of_all(judgements: &Judgements<'_>) -> Scatters {
    scatters(judgements, as_chunklets(judgements), |_| true, |_| true)
}

/// The scatter `sum zz'` of differences (`m x d`), scaled to trace `d`; `None` when all are zero.
pub(crate) fn of_rows(rows: ArrayView2<'_, f32>) -> Option<Array2<f64>> {
    let mut gatherer = Gatherer::new(rows.ncols());
    for row in rows.rows() {
        gatherer.add(1.0, 1.0, row.iter().map(|v| f64::from(*v)));
    }
    gatherer.finish().to_trace_dim()
}

/// The gatherers of both scatters.
struct Gatherers {
    similar: Gatherer,
    dissimilar: Gatherer,
}

impl Gatherers {
    fn of_kind(&mut self, similar: bool) -> &mut Gatherer {
        if similar {
            &mut self.similar
        } else {
            &mut self.dissimilar
        }
    }

    /// Adds the differences of a query's results from the query.
    fn add_results(&mut self, judgements: &Judgements<'_>, query: &JudgedQuery) {
        for (results, similar) in [(&query.relevant, true), (&query.irrelevant, false)] {
            for judged in results {
                let difference = judgements.difference(judged.row, query.row);
                self.of_kind(similar)
                    .add(judged.weight, judged.weight, difference);
            }
        }
    }

    /// Adds the differences of a query and its results from the mean of the query's chunklet.
    fn add_chunklet(&mut self, judgements: &Judgements<'_>, query: &JudgedQuery) {
        // The query is one of the chunklet's members, of its results' mean weight.
        let total: f64 = query.relevant.iter().map(|j| j.weight).sum();
        let own = if query.relevant.is_empty() {
            1.0
        } else {
            total / query.relevant.len() as f64
        };
        let vector = |row: usize| {
            judgements
                .vectors
                .row(row)
                .into_iter()
                .map(|v| f64::from(*v))
        };
        let mut mean: Vec<f64> = vector(query.row).collect();
        for judged in &query.relevant {
            let share = judged.weight / (own + total);
            mean.iter_mut()
                .zip(judgements.difference(judged.row, query.row))
                .for_each(|(m, z)| *m += share * z);
        }
        let from_mean = |row: usize| vector(row).zip(&mean).map(|(v, m)| v - m);
        if !query.relevant.is_empty() {
            // A scatter about the mean estimates the covariance, one of differences twice it: hence
            // the 2, which makes chunklets and pairs add up. A chunklet of n members has n - 1
            // degrees of freedom, so the query counts none.
            self.similar.add(2.0 * own, 0.0, from_mean(query.row));
            for judged in &query.relevant {
                self.similar
                    .add(2.0 * judged.weight, judged.weight, from_mean(judged.row));
            }
        }
        for judged in &query.irrelevant {
            self.dissimilar
                .add(judged.weight, judged.weight, from_mean(judged.row));
        }
    }
}

/// A scatter that grows row by row: rows `sqrt(w) z` are gathered and multiplied out a block at a
/// time.
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

/// The symmetric matrix of a lower triangle, scaled to trace `d`; `None` for zero.
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
