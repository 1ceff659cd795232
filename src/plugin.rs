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

use crate::metric::Version;

/// A query rewritten for a metric: `d(q, x) = offset - 2 direction . x + bias(x)`.
///
/// For a Mahalanobis metric `direction = A q` and `offset = q' A q`. The rewriting is exact for
/// every symmetric positive definite `A`; without the items' biases it would not give the
/// Mahalanobis ranking.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    /// The vector whose dot product with an item is taken: `d` numbers.
    pub direction: Vec<f32>,
    /// The query's own term, equal for all items.
    pub offset: f32,
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
    fn embed(&self, items: ArrayView2<'_, f32>) -> Array2<f32>;

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
pub struct Direction {
    /// What the metric multiplies squared lengths along it by; Euclid's is 1.
    pub weight: f64,
    /// Its part of the distance. Divided by the weight it is its part of the squared Euclidean
    /// distance.
    pub contribution: f64,
    /// The contribution over the distance.
    pub share: f64,
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

/// What a learner is asked.
pub struct Task<'a> {
    /// The dimension `d`.
    pub dim: usize,
    /// Which of the plugin's learners; `None` lets it choose.
    pub learner: Option<&'a str>,
    /// Fixes every random choice: the same task gives the same metric.
    pub seed: u64,
    /// The judgements.
    pub examples: &'a Examples,
    /// The metric that is active now; `None` is Euclid. The gate compares with both.
    pub incumbent: Option<Incumbent<'a>>,
    /// The collection's geometry.
    pub sample: &'a Sample,
    /// What to keep the candidate as a change of; `None` for a metric on its own. A plugin that
    /// keeps no changes makes one on its own all the same.
    pub change: Option<Change<'a>>,
    /// Asked between steps; `true` ends the fit with [`LearnError::Cancelled`].
    pub cancel: &'a (dyn Fn() -> bool + Sync),
}

/// The metric that a candidate is to replace.
#[derive(Debug, Clone, Copy)]
pub struct Incumbent<'a> {
    /// The metric.
    pub metric: &'a dyn Metric,
    /// Whether it is a [step](CautiousStep): likely to be better than what it replaced, and not
    /// certain to. It is then enough that a candidate is better than Euclid, and not clearly worse
    /// than it.
    pub step: bool,
}

/// A metric may be kept as a change of another one along few directions, which takes a fraction of
/// the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The other metric, of the same plugin.
    pub base: &'a Arc<dyn Metric>,
    /// At most so many directions; 0 asks for no change.
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
pub struct Fitted {
    /// The candidate.
    pub metric: Arc<dyn Metric>,
    /// Whether it is a change of the task's base, which [`MetricLearner::decode`] then has to be
    /// given.
    pub of_base: bool,
    /// Parameters, figures and the gate's verdict.
    pub report: FitReport,
    /// A step towards it, where the candidate itself does not pass and the step does.
    pub step: Option<CautiousStep>,
}

/// A metric between Euclid and a candidate: what may be promoted when the candidate is likely to
/// help, but not certain to. It loses little where the candidate would lose, and gains a good part
/// of what the candidate would gain.
#[derive(Debug, Clone)]
pub struct CautiousStep {
    /// The metric.
    pub metric: Arc<dyn Metric>,
    /// How far it goes, above 0 and below 1: 0 is Euclid, 1 the candidate.
    pub share: f64,
    /// `cond A`.
    pub condition: f64,
    /// The verdict that it passed.
    pub gate: Gate,
}

impl CautiousStep {
    /// The name under which a version's parameters say [`share`](Self::share), where it is a step.
    pub const PARAMETER: &str = "cautious_step";
}

impl Fitted {
    /// What the gate lets pass: the candidate, a step towards it, or nothing.
    pub fn passed(&self) -> Option<&Arc<dyn Metric>> {
        if self.report.gate.accepted {
            Some(&self.metric)
        } else {
            self.step.as_ref().map(|step| &step.metric)
        }
    }

    /// Puts the step, if there is one, in the candidate's place.
    pub fn take_step(&mut self) {
        if let Some(CautiousStep {
            metric,
            share,
            condition,
            gate,
        }) = self.step.take()
        {
            (self.metric, self.of_base) = (metric, false);
            self.report
                .parameters
                .insert(CautiousStep::PARAMETER.to_owned(), share);
            (self.report.condition, self.report.gate) = (condition, gate);
        }
    }
}

/// How a candidate was made and judged; stored with the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitReport {
    /// The learner that made it, such as `gmml`.
    pub learner: String,
    /// Numbers of pairs that entered the scatters.
    pub pairs: PairCounts,
    /// The weight of the prior (learner's own unit, see its documentation).
    pub lambda: f64,
    /// Position on the geodesic between the two scatters, 0 to 1.
    pub t: f64,
    /// `cond A`.
    pub condition: f64,
    /// Any further parameters worth keeping; [`CautiousStep::PARAMETER`] is the store's to write.
    pub parameters: BTreeMap<String, f64>,
    /// The held-out test.
    pub gate: Gate,
    /// Milliseconds spent fitting (selection included).
    pub fit_millis: f64,
    /// Milliseconds spent in the gate.
    pub gate_millis: f64,
}

impl FitReport {
    /// The name of the parameter that says what the active metric measures on held-out judgements,
    /// on those that it was not learned from where they are enough.
    pub const ACTIVE_MEASURE: &str = "active_measure";
    /// The name of the parameter that says on how many queries or pairs that rests.
    pub const ACTIVE_HELD_OUT: &str = "active_held_out";
    /// The name of the parameter that is 1 where the candidate is clearly worse than Euclid or the
    /// active metric: even the upper bound of its gain is below 0.
    pub const CLEARLY_WORSE: &str = "clearly_worse";
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
    /// Lower confidence bound of this gain, with 95 % confidence (80 % for a [step](CautiousStep));
    /// what passes has one above 0.
    pub lower_bound: Option<f64>,
    /// Number of held-out queries (or pairs) that these rest on.
    pub held_out: usize,
    /// The decision in a sentence.
    pub reason: String,
}

/// How two metrics differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Affine-invariant Riemannian distance `|log(A^-1/2 B A^-1/2)|_F` after both are scaled to
    /// trace `d`.
    pub distance: f64,
    /// The most changed directions, largest change first: the factor by which squared length along
    /// it grows from the first metric to the second.
    pub factors: Vec<f64>,
}

/// How much each judgement of a task changed one distance: about the distance as it is, less what
/// it would be had that judgement not been given. Below 0: it brought the two nearer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Influences {
    /// One a judgement of [`Examples::graded`].
    pub graded: Vec<f64>,
    /// One a judgement of [`Examples::pairs`].
    pub pairs: Vec<f64>,
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

    /// Reads what [`Metric::encode`] wrote, given the base of a [`Change`] where it was fitted as
    /// one. The bytes are untrusted.
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
