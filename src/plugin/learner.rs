//! [`MetricLearner`]: learns metrics from judgements, and reads them back.

use std::fmt::Debug;
use std::sync::Arc;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::conformance::NonConformance;
use super::{Examples, FitReport, Fitted, Metric, Task};

/// Learns metrics from judgements, and reads back the metrics that it made.
///
/// A store checks every metric that it takes in by [`conformance`](super::conformance), and a panic
/// in any of these methods becomes [`LearnError::Panicked`].
/// [`conformance::check_learner`](super::conformance::check_learner) checks an implementation.
///
/// # Examples
/// A plugin whose metric weighs each axis by the inverse of the mean squared difference between
/// queries and their relevant items along it:
/// ```
/// use std::sync::Arc;
///
/// use affinis::plugin::conformance::check_learner;
/// use affinis::plugin::{Comparison, Examples, FitReport, Fitted, Gate, Graded, LearnError, Metric, MetricLearner, Rewritten, Sample, Task};
/// use ndarray::{Array2, ArrayView2, arr1, array};
///
/// #[derive(Debug)]
/// struct Weighted(Vec<f64>);
///
/// impl Metric for Weighted {
///     // As in the example of `Metric`.
/// #     fn dim(&self) -> usize {
/// #         self.0.len()
/// #     }
/// #     fn rewrite(&self, query: &[f32]) -> Rewritten {
/// #         let direction = query.iter().zip(&self.0).map(|(q, w)| f64::from(*q) * w);
/// #         let direction: Vec<f32> = direction.map(|number| number as f32).collect();
/// #         let products = query.iter().zip(&direction);
/// #         let offset: f64 = products.map(|(q, p)| f64::from(*q) * f64::from(*p)).sum();
/// #         Rewritten::new(direction, offset as f32)
/// #     }
/// #     fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
/// #         for (item, bias) in items.rows().into_iter().zip(out) {
/// #             let squares = item.iter().zip(&self.0).map(|(x, w)| f64::from(*x).powi(2) * w);
/// #             *bias = squares.sum::<f64>() as f32;
/// #         }
/// #     }
/// #     fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
/// #         let differences = x.iter().zip(y).map(|(x, y)| f64::from(*x) - f64::from(*y));
/// #         differences.zip(&self.0).map(|(difference, w)| difference.powi(2) * w).sum()
/// #     }
/// #     fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
/// #         Array2::from_shape_fn(items.dim(), |(i, k)| items[[i, k]] * self.0[k].sqrt() as f32)
/// #     }
/// #     fn distortion(&self) -> f64 {
/// #         let least = self.0.iter().copied().fold(f64::MAX, f64::min);
/// #         let greatest = self.0.iter().copied().fold(0.0, f64::max);
/// #         (greatest / least).sqrt()
/// #     }
/// #     fn matrix(&self) -> Option<Array2<f64>> {
/// #         Some(Array2::from_diag(&arr1(&self.0)))
/// #     }
/// #     fn encode(&self) -> Vec<u8> {
/// #         self.0.iter().flat_map(|w| w.to_le_bytes()).collect()
/// #     }
/// }
///
/// #[derive(Debug)]
/// struct Weights;
///
/// impl MetricLearner for Weights {
///     fn name(&self) -> &'static str {
///         "weights"
///     }
///
///     fn learners(&self) -> &'static [&'static str] {
///         &["inverse"]
///     }
///
///     fn fit(&self, task: &Task<'_>) -> Result<Fitted, LearnError> {
///         if let Some(name) = task.learner.filter(|name| *name != "inverse") {
///             let (name, known) = (name.to_owned(), "inverse".to_owned());
///             return Err(LearnError::UnknownLearner { name, known });
///         }
///         if (task.cancel)() {
///             return Err(LearnError::Cancelled);
///         }
///         let vectors = &task.examples.vectors;
///         let mut sums = vec![1e-6; task.dim];
///         for graded in task.examples.graded.iter().filter(|graded| graded.grade > 0.0) {
///             for (k, sum) in sums.iter_mut().enumerate() {
///                 let difference = vectors[[graded.query, k]] - vectors[[graded.item, k]];
///                 *sum += f64::from(difference).powi(2);
///             }
///         }
///         // Scaled to the trace `d`, as Euclid is.
///         let scale = task.dim as f64 / sums.iter().map(|sum| 1.0 / sum).sum::<f64>();
///         let weights = sums.iter().map(|sum| scale / sum).collect();
///         // A learner that measures nothing on held-out judgements lets nothing pass.
///         let gate = Gate::refused("nothing", "nothing is held out");
///         Ok(Fitted::new(Arc::new(Weighted(weights)), FitReport::new("inverse", gate)))
///     }
///
///     fn decode(
///         &self,
///         bytes: &[u8],
///         _base: Option<&Arc<dyn Metric>>,
///     ) -> Result<Arc<dyn Metric>, LearnError> {
///         let (chunks, rest) = bytes.as_chunks::<8>();
///         let weights: Vec<f64> = chunks.iter().map(|w| f64::from_le_bytes(*w)).collect();
///         if !rest.is_empty() || weights.iter().any(|w| !w.is_finite() || *w <= 0.0) {
///             return Err(LearnError::Damaged("not weights above 0".to_owned()));
///         }
///         Ok(Arc::new(Weighted(weights)))
///     }
///
///     fn from_matrix(&self, matrix: ArrayView2<'_, f64>) -> Result<Arc<dyn Metric>, LearnError> {
///         if matrix.indexed_iter().any(|((i, j), value)| (i == j) != (*value > 0.0)) {
///             return Err(LearnError::NotAMetric("its diagonal is not all".to_owned()));
///         }
///         Ok(Arc::new(Weighted(matrix.diag().to_vec())))
///     }
///
///     fn compare(&self, a: &dyn Metric, b: &dyn Metric) -> Result<Comparison, LearnError> {
///         let (Some(a), Some(b)) = (a.matrix(), b.matrix()) else {
///             return Err(LearnError::NotAMetric("it has no matrix".to_owned()));
///         };
///         let mut factors: Vec<f64> = (&b.diag() / &a.diag()).to_vec();
///         factors.sort_by(|x, y| y.ln().abs().total_cmp(&x.ln().abs()));
///         let distance = factors.iter().map(|factor| factor.ln().powi(2)).sum::<f64>().sqrt();
///         Ok(Comparison::new(distance, factors))
///     }
/// }
///
/// let mut examples = Examples::default();
/// examples.vectors = array![[0.0, 0.0], [0.1, 3.0], [2.0, 0.2]];
/// let graded = |item, grade| Graded { query: 0, item, grade, weight: 1.0 };
/// examples.graded = vec![graded(1, 1.0), graded(2, -1.0)];
/// let sample = Sample::default();
/// let task = Task::new(2, &examples, &sample);
/// assert_eq!(check_learner(&Weights, &task), Ok(()));
/// let metric = Weights.fit(&task)?.metric;
/// assert!(metric.distance(&[0.0, 0.0], &[0.1, 3.0]) < metric.distance(&[0.0, 0.0], &[2.0, 0.2]));
/// # Ok::<(), LearnError>(())
/// ```
pub trait MetricLearner: Send + Sync + Debug {
    /// Name of the plugin. It is stored with every version, which the plugin of that name decodes.
    fn name(&self) -> &'static str;

    /// Names of its learners, which [`Task::learner`] may hold.
    fn learners(&self) -> &'static [&'static str];

    /// Fits a candidate and puts it through the gate. Never promotes: the store does.
    ///
    /// # Errors
    /// [`LearnError`] when the judgements cannot determine a metric, when the learner is unknown,
    /// or on cancellation.
    fn fit(&self, task: &Task<'_>) -> Result<Fitted, LearnError>;

    /// Decodes what [`Metric::encode`] wrote, given the base where the metric is a low-rank update
    /// ([`UpdateOf`](super::UpdateOf)). The bytes are untrusted.
    ///
    /// # Errors
    /// [`LearnError::Damaged`] when they are not a metric of this plugin, or not of that base.
    fn decode(
        &self,
        bytes: &[u8],
        base: Option<&Arc<dyn Metric>>,
    ) -> Result<Arc<dyn Metric>, LearnError>;

    /// Makes a metric of an imported matrix (`d x d`), which it may scale.
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

    /// Changes of the distance between two vectors that each of a task's judgements made, for a
    /// metric that was learned from them. `report` is that metric's, as its fit gave it; a user's
    /// metric had the `others` as its prior. `None` where the plugin cannot tell, which is the
    /// default.
    ///
    /// # Errors
    /// Those of [`MetricLearner::fit`].
    fn influences(
        &self,
        task: &Task<'_>,
        others: Option<&Examples>,
        report: &FitReport,
        between: (&[f32], &[f32]),
    ) -> Result<Option<Influences>, LearnError> {
        let _ = (task, others, report, between);
        Ok(None)
    }
}

/// Differences between two metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Affine-invariant Riemannian distance `|log(A^-1/2 B A^-1/2)|_F` after both are scaled to
    /// trace `d` (Pennec, Fillard and Ayache, *A Riemannian framework for tensor computing*, 2006).
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
    /// Influences of the judgements of [`Examples::graded`], in their order.
    pub graded: Vec<f64>,
    /// Influences of the judgements of [`Examples::pairs`], in their order.
    pub pairs: Vec<f64>,
}

impl Influences {
    /// One influence a graded judgement and one a pair.
    pub fn new(graded: Vec<f64>, pairs: Vec<f64>) -> Self {
        Self { graded, pairs }
    }
}

/// Error of a plugin: no metric could be learned, read or compared.
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
    /// A computation broke down, such as a factorisation.
    #[error("numerical breakdown: {0}")]
    Numerical(String),
    /// A metric that does not keep what [`Metric`] promises.
    #[error("the plugin's metric cannot be used: {0}")]
    NonConforming(#[from] NonConformance),
    /// A method of the plugin panicked.
    #[error("the plugin panicked in `{method}`: {message}")]
    Panicked {
        /// The method.
        method: &'static str,
        /// The message of the panic.
        message: String,
    },
}
