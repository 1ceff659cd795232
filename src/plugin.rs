//! The seams that plugins implement: [`Metric`] and [`MetricLearner`].
//!
//! The store knows learning only through this file. A [`Metric`] is what the index traverses under;
//! a [`MetricLearner`] turns judgements into a candidate metric and says whether it may be
//! promoted. The third seam, [`Encoder`], turns texts into vectors. Plugins are crates that depend
//! on this one, never the other way round.
//!
//! [`Encoder`]: crate::Encoder

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::model::Version;

/// A query rewritten for a metric: `d(q, x) = offset - 2 direction . x + bias(x)`.
///
/// For a Mahalanobis metric `direction = A q` and `offset = q' A q`. The rewriting is exact for
/// every symmetric positive definite `A`; without the items' biases it would not give the
/// Mahalanobis ranking.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rewritten {
    /// The vector whose dot product with an item is taken: `d` numbers.
    pub direction: Vec<f32>,
    /// The query's own term, equal for all items.
    pub offset: f32,
}

impl Rewritten {
    /// A rewritten query of a direction (`d` numbers) and the query's own term.
    pub fn new(direction: Vec<f32>, offset: f32) -> Self {
        Self { direction, offset }
    }
}

/// A distance that is answered by one dot product and one cached scalar an item.
///
/// Implementations must be deterministic: the same input gives the same bits, whatever the batch it
/// comes in, because biases are computed one item at a time on first touch and many at a time in
/// the background.
pub trait Metric: Send + Sync + Debug {
    /// The dimension `d` of the vectors it measures.
    fn dim(&self) -> usize;

    /// Rewrites a query of `d` numbers.
    fn rewrite(&self, query: &[f32]) -> Rewritten;

    /// The biases of items, one row each (`n x d`, standard layout), written to `out` (`n`): `x' A
    /// x`.
    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]);

    /// The distance between two vectors computed directly, without the rewriting's cancellation:
    /// `(x-y)' A (x-y)`.
    fn distance(&self, x: &[f32], y: &[f32]) -> f64;

    /// Maps items (`n x d`) to a space in which this metric is the squared Euclidean distance: `L
    /// x` with `A = L' L`.
    ///
    /// The result has `n` rows; graphs are linked in it. A distance that is no metric maps to the
    /// nearest thing.
    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32>;

    /// `sqrt(cond A)`: how far the Euclidean order can be wrong under this metric; 1 for Euclid.
    fn distortion(&self) -> f64;

    /// `A` itself, `d x d`, symmetric; `None` for a distance that is not a Mahalanobis metric.
    fn matrix(&self) -> Option<Array2<f64>>;

    /// A stable encoding that [`MetricLearner::decode`] of the same plugin reads back to a
    /// bit-equal metric.
    fn encode(&self) -> Vec<u8>;

    /// Splits the distance between two vectors over directions that do not mix, the largest part
    /// first.
    ///
    /// A Mahalanobis metric has the eigenvectors `v` of `A` with weights `w`: the parts are `w (v .
    /// (x - y))^2`. By default the one direction `x - y`, of the weight `distance / |x - y|^2`;
    /// nothing between equal vectors, or where there is no matrix.
    ///
    /// # Errors
    /// [`LearnError::Numerical`] when the eigenproblem does not converge.
    fn directions(&self, x: &[f32], y: &[f32]) -> Result<Vec<Direction>, LearnError> {
        let euclidean: f64 = x
            .iter()
            .zip(y)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
            .sum();
        if euclidean <= 0.0 || self.matrix().is_none() {
            return Ok(Vec::new());
        }
        let contribution = self.distance(x, y);
        Ok(vec![Direction {
            weight: contribution / euclidean,
            contribution,
            share: 1.0,
        }])
    }
}

/// One direction's part of a distance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Direction {
    /// What the metric multiplies squared lengths along it by; Euclid's is 1.
    pub weight: f64,
    /// Its part of the distance. Divided by the weight it is its part of the squared Euclidean
    /// distance.
    pub contribution: f64,
    /// The contribution over the distance.
    pub share: f64,
}

impl Direction {
    /// A direction of a weight with its contribution to a distance, and its share of that distance.
    pub fn new(weight: f64, contribution: f64, share: f64) -> Self {
        Self {
            weight,
            contribution,
            share,
        }
    }
}

/// Judgements resolved to vectors, as a learner sees them.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// The distinct vectors that judgements speak of, one row each (`n x d`).
    pub vectors: Array2<f32>,
    /// Graded (query, item) judgements.
    pub graded: Vec<Graded>,
    /// (item, item) judgements without a query.
    pub pairs: Vec<Pair>,
}

/// One graded judgement of an item for a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Graded {
    /// Row of the query in [`Examples::vectors`]. Judgements of one query share the row.
    pub query: usize,
    /// Row of the item in [`Examples::vectors`].
    pub item: usize,
    /// From -1 (irrelevant) to 1 (relevant).
    pub grade: f32,
    /// Above 0; 1 unless the judge said otherwise.
    pub weight: f32,
}

/// One judgement of two items.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Row of one item in [`Examples::vectors`].
    pub a: usize,
    /// Row of the other.
    pub b: usize,
    /// Whether they belong together.
    pub similar: bool,
    /// Above 0; 1 unless the judge said otherwise.
    pub weight: f32,
}

/// What the collection itself says of its geometry, without labels.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// A uniform sample of the collection's items (`n x d`).
    pub items: Array2<f32>,
    /// `neighbour - item` for up to 1,000 sampled items and their 10 nearest neighbours (`m x d`).
    pub neighbour_differences: Array2<f32>,
}

/// What a learner is asked to fit.
#[non_exhaustive]
pub struct Task<'a> {
    /// The dimension `d`.
    pub dim: usize,
    /// The name of one of the plugin's learners; `None` lets the plugin choose.
    pub learner: Option<&'a str>,
    /// Fixes every random choice: the same task gives the same metric.
    pub seed: u64,
    /// The judgements.
    pub examples: &'a Examples,
    /// The metric that is active now; `None` is Euclid. The gate compares with both.
    pub incumbent: Option<Incumbent<'a>>,
    /// The collection's geometry.
    pub sample: &'a Sample,
    /// Asks for the candidate as a low-rank update of another metric; `None` asks for a metric on
    /// its own. A plugin that knows no updates always makes one on its own.
    pub update_of: Option<UpdateOf<'a>>,
    /// Asked between iterations; `true` ends the fit with [`LearnError::Cancelled`].
    pub cancel: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Task<'a> {
    /// A task with the plugin's default learner, seed 0, no incumbent, and no cancellation.
    pub fn new(dim: usize, examples: &'a Examples, sample: &'a Sample) -> Self {
        Self {
            dim,
            learner: None,
            seed: 0,
            examples,
            incumbent: None,
            sample,
            update_of: None,
            cancel: &|| false,
        }
    }

    /// Sets the learner by its name.
    pub fn with_learner(mut self, learner: Option<&'a str>) -> Self {
        self.learner = learner;
        self
    }

    /// Sets the seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the incumbent.
    pub fn with_incumbent(mut self, incumbent: Option<Incumbent<'a>>) -> Self {
        self.incumbent = incumbent;
        self
    }

    /// Asks for a low-rank update of a metric.
    pub fn with_update_of(mut self, update_of: Option<UpdateOf<'a>>) -> Self {
        self.update_of = update_of;
        self
    }

    /// Sets the closure that is asked whether to stop.
    pub fn with_cancel(mut self, cancel: &'a (dyn Fn() -> bool + Sync)) -> Self {
        self.cancel = cancel;
        self
    }
}

/// The metric that a candidate is to replace.
#[derive(Debug, Clone, Copy)]
pub struct Incumbent<'a> {
    /// The metric.
    pub metric: &'a dyn Metric,
    /// Whether it is a [`ShrunkenMetric`]: likely to be better than what it replaced, but not
    /// certain to be. A candidate that replaces it has to be better than Euclid, and not clearly
    /// worse than the incumbent.
    pub shrunken: bool,
}

/// A request for a candidate as a low-rank update of a base metric, which takes a fraction of the
/// bytes of a matrix.
#[derive(Debug, Clone, Copy)]
pub struct UpdateOf<'a> {
    /// The base, a metric of the same plugin.
    pub base: &'a Arc<dyn Metric>,
    /// The largest rank of the update; 0 asks for a metric on its own.
    pub rank: usize,
}

impl Debug for Task<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("dim", &self.dim)
            .field("learner", &self.learner)
            .field("seed", &self.seed)
            .field("graded", &self.examples.graded.len())
            .field("pairs", &self.examples.pairs.len())
            .finish_non_exhaustive()
    }
}

/// A candidate metric and how it came to be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Fitted {
    /// The candidate.
    pub metric: Arc<dyn Metric>,
    /// Whether the candidate is a low-rank update of the task's base, which
    /// [`MetricLearner::decode`] then has to be given.
    pub is_update: bool,
    /// Figures of the fit and the gate's verdict.
    pub report: FitReport,
    /// The candidate shrunk towards Euclid, where the candidate does not pass the gate and this
    /// does.
    pub shrunken: Option<ShrunkenMetric>,
}

/// A candidate shrunk towards Euclid, `(1 - share) I + share A`: what may be promoted when the
/// candidate is likely to help, but not certain to. It loses little where the candidate would
/// lose, and gains a good part of what the candidate would gain.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShrunkenMetric {
    /// The metric.
    pub metric: Arc<dyn Metric>,
    /// The candidate's share, above 0 and below 1: 0 would be Euclid, 1 the candidate.
    pub share: f64,
    /// `cond A`.
    pub condition: f64,
    /// The verdict that it passed.
    pub gate: Gate,
}

impl ShrunkenMetric {
    /// A shrunken metric with the candidate's share, its condition number and its verdict.
    pub fn new(metric: Arc<dyn Metric>, share: f64, condition: f64, gate: Gate) -> Self {
        Self {
            metric,
            share,
            condition,
            gate,
        }
    }
}

impl Fitted {
    /// A candidate that is a metric on its own, without a shrunken one beside it.
    pub fn new(metric: Arc<dyn Metric>, report: FitReport) -> Self {
        Self {
            metric,
            is_update: false,
            report,
            shrunken: None,
        }
    }

    /// The metric that the gate lets pass: the candidate, the shrunken one, or none.
    pub fn passed(&self) -> Option<&Arc<dyn Metric>> {
        if self.report.gate.accepted {
            Some(&self.metric)
        } else {
            self.shrunken.as_ref().map(|shrunken| &shrunken.metric)
        }
    }

    /// Puts the shrunken metric, if there is one, in the candidate's place.
    pub fn use_shrunken(&mut self) {
        if let Some(ShrunkenMetric {
            metric,
            share,
            condition,
            gate,
        }) = self.shrunken.take()
        {
            (self.metric, self.is_update) = (metric, false);
            self.report.shrinkage = Some(share);
            (self.report.condition, self.report.gate) = (condition, gate);
        }
    }
}

/// How a candidate was made and judged; stored with its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FitReport {
    /// The learner that made it, such as `gmml`.
    pub learner: String,
    /// Numbers of pairs that entered the scatters.
    pub pairs: PairCounts,
    /// The weight of the prior (the learner's own unit, see its documentation).
    pub lambda: f64,
    /// Position on the geodesic between the two scatters, 0 to 1.
    pub t: f64,
    /// `cond A`.
    pub condition: f64,
    /// The share of the candidate in a [`ShrunkenMetric`] that took its place.
    pub shrinkage: Option<f64>,
    /// The held-out test.
    pub gate: Gate,
    /// What the active metric measures on held-out judgements, where that could be measured.
    pub incumbent: Option<HeldOut>,
    /// Whether the candidate is clearly worse than Euclid or the active metric: even the upper
    /// confidence bound of its gain is below 0.
    pub clearly_worse: bool,
    /// Notes of the plugin, by name. They are stored with the version; the store never reads them.
    pub notes: BTreeMap<String, f64>,
    /// Milliseconds spent fitting (selection included).
    pub fit_millis: f64,
    /// Milliseconds spent in the gate.
    pub gate_millis: f64,
}

impl FitReport {
    /// A report of a learner with a verdict; all figures are 0, the condition number is 1.
    pub fn new(learner: impl Into<String>, gate: Gate) -> Self {
        Self {
            learner: learner.into(),
            pairs: PairCounts::default(),
            lambda: 0.0,
            t: 0.0,
            condition: 1.0,
            shrinkage: None,
            gate,
            incumbent: None,
            clearly_worse: false,
            notes: BTreeMap::new(),
            fit_millis: 0.0,
            gate_millis: 0.0,
        }
    }
}

/// A measure on held-out judgements, with the number of queries (or pairs) that it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// The mean over them, in the unit of [`Gate::measure`].
    pub measure: f64,
    /// Their number.
    pub count: usize,
}

/// Numbers of similar and dissimilar pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCounts {
    /// Pairs judged similar.
    pub similar: usize,
    /// Pairs judged dissimilar.
    pub dissimilar: usize,
}

/// The verdict of the held-out test that a candidate must pass before it is promoted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gate {
    /// Whether the candidate may be promoted.
    pub accepted: bool,
    /// What was measured on the held-out judgements, in words.
    pub measure: String,
    /// The measure under Euclid or the active metric, whichever leaves less of a gain; `None` when
    /// too little was held out to measure.
    pub before: Option<f64>,
    /// The measure under the candidate, on the same judgements.
    pub after: Option<f64>,
    /// Lower confidence bound of this gain, with 95 % confidence (80 % for a [`ShrunkenMetric`]);
    /// what passes has one above 0.
    pub lower_bound: Option<f64>,
    /// Number of held-out queries (or pairs) that these rest on.
    pub held_out: usize,
    /// The decision in a sentence.
    pub reason: String,
}

impl Gate {
    /// A verdict without a measurement: refused, for a reason.
    pub fn refused(measure: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            accepted: false,
            measure: measure.into(),
            before: None,
            after: None,
            lower_bound: None,
            held_out: 0,
            reason: reason.into(),
        }
    }
}

/// How two metrics differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Affine-invariant Riemannian distance `|log(A^-1/2 B A^-1/2)|_F` after both are scaled to
    /// trace `d`.
    pub distance: f64,
    /// The most changed directions, largest change first: the factor by which squared length along
    /// it grows from the first metric to the second.
    pub factors: Vec<f64>,
}

impl Comparison {
    /// A comparison of the Riemannian distance and the factors, largest change first.
    pub fn new(distance: f64, factors: Vec<f64>) -> Self {
        Self { distance, factors }
    }
}

/// How much each judgement of a task changed one distance: about the distance as it is, less what
/// it would be had that judgement not been given. Below 0: it brought the two nearer.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Influences {
    /// One a judgement of [`Examples::graded`].
    pub graded: Vec<f64>,
    /// One a judgement of [`Examples::pairs`].
    pub pairs: Vec<f64>,
}

impl Influences {
    /// One influence a graded judgement and one a pair.
    pub fn new(graded: Vec<f64>, pairs: Vec<f64>) -> Self {
        Self { graded, pairs }
    }
}

/// Learns metrics from judgements.
pub trait MetricLearner: Send + Sync + Debug {
    /// The plugin's name, stored with every version it makes; `decode` is asked of the plugin of
    /// that name.
    fn name(&self) -> &'static str;

    /// Names accepted in [`Task::learner`].
    fn learners(&self) -> &'static [&'static str];

    /// Fits a candidate and puts it through the gate. Never promotes: the store does.
    ///
    /// # Errors
    /// [`LearnError`] when the judgements cannot determine a metric, when the learner is unknown,
    /// or on cancellation.
    fn fit(&self, task: &Task<'_>) -> Result<Fitted, LearnError>;

    /// Reads what [`Metric::encode`] wrote, given the base of a low-rank update
    /// where it was fitted as one ([`UpdateOf`]). The bytes are untrusted.
    ///
    /// # Errors
    /// [`LearnError::Damaged`] when they are not a metric of this plugin, or not of that base.
    fn decode(
        &self,
        bytes: &[u8],
        base: Option<&Arc<dyn Metric>>,
    ) -> Result<Arc<dyn Metric>, LearnError>;

    /// Makes a metric of a given matrix (for import), which it may scale.
    ///
    /// # Errors
    /// [`LearnError::NotAMetric`] when it is not square, finite, symmetric and positive definite.
    #[expect(
        clippy::wrong_self_convention,
        reason = "a plugin makes metrics; it does not become one"
    )]
    fn from_matrix(&self, matrix: ArrayView2<'_, f64>) -> Result<Arc<dyn Metric>, LearnError>;

    /// Compares two metrics of one dimension.
    ///
    /// # Errors
    /// [`LearnError::NotAMetric`] when either has no matrix.
    fn compare(&self, a: &dyn Metric, b: &dyn Metric) -> Result<Comparison, LearnError>;

    /// Fits one person's metric: from the judgements of the task, which are theirs, with what
    /// everybody else judged as its prior. The gate tests it on their own judgements. By default
    /// the others' judgements are not used.
    ///
    /// # Errors
    /// Those of [`MetricLearner::fit`].
    fn fit_personal(&self, task: &Task<'_>, others: &Examples) -> Result<Fitted, LearnError> {
        let _ = others;
        self.fit(task)
    }

    /// How much each of a task's judgements, those that a version was learned from, changed the
    /// distance between two vectors; of a person's metric, with what others judged as its prior.
    /// `None` where the plugin cannot say, which is the default.
    ///
    /// # Errors
    /// Those of [`MetricLearner::fit`].
    fn influences(
        &self,
        task: &Task<'_>,
        others: Option<&Examples>,
        version: &Version,
        between: (&[f32], &[f32]),
    ) -> Result<Option<Influences>, LearnError> {
        let _ = (task, others, version, between);
        Ok(None)
    }
}

/// Why a learner gave no metric.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// The judgements are too few or one-sided for this learner.
    #[error("{0}")]
    NotEnough(String),
    /// No learner of this name.
    #[error("no learner is called {name:?}; this plugin has {known}")]
    UnknownLearner {
        /// What was asked for.
        name: String,
        /// What there is, comma separated.
        known: String,
    },
    /// A matrix that is not symmetric positive definite.
    #[error("not a metric: {0}")]
    NotAMetric(String),
    /// Bytes that no metric of this plugin wrote.
    #[error("the metric's bytes are damaged: {0}")]
    Damaged(String),
    /// The caller asked to stop.
    #[error("the fit was cancelled")]
    Cancelled,
    /// The numbers did not allow it (a factorisation broke down).
    #[error("numerical breakdown: {0}")]
    Numerical(String),
}
