//! The gate: a held-out test that a candidate must pass before it may be promoted.
//!
//! [`test`](fn@test) serves any learner: it asks for the distances under a metric fitted without each fold,
//! and returns the verdict. This plugin's learners are tested by the same comparisons.
//!
//! **Cross-fitted.** Each fold of queries is scored under a metric fitted, in the same way, on the
//! other folds; the candidate itself is fitted on everything. So the test speaks of the procedure,
//! spends no judgement, and never scores a query under a metric that has seen it.
//!
//! Where a learner has several variants, the test is of its default one. Another one is chosen only
//! where the same scores put it above the default by more than a standard error, so the candidate
//! is at least as good as what was tested, and the choice, which has seen those scores, does not
//! flatter the test.
//!
//! **Measured** by the separation of a query's irrelevant results from its relevant ones, in
//! standard deviations of distance. Queries weigh `sqrt(r i / (r + i))` by their numbers of
//! relevant and irrelevant results: the inverse standard error of a difference of two means.
//!
//! **Against both.** The mean gain, less 1.64 standard errors, must be above 0 over Euclid and over
//! the incumbent, on at least 8 queries that have both kinds of results. Where there are fewer,
//! pairs decide by the area under the ROC curve, with at least 10 of each kind. Where both can be
//! measured, queries decide and pairs may refuse: when they lose by more than 1.64 standard errors.
//! For a metric shrunken towards Euclid one standard error and 5 queries take their place. Over an
//! incumbent that is a shrunken metric no gain has to be shown, for it was no more than likely to
//! be better itself: the candidate must be no clear loss, by one standard error, on 5 queries that
//! are new to it where there are so many.
//!
//! **Looked at as often as one likes.** Besides, there must be evidence that the judgements agree
//! with similarity at all: 10 for a candidate, 1.5 for a shrunken metric (module `agreement`). So
//! whoever judges at random, or in reverse, gets nothing promoted by refitting until it passes.
//!
//! **Fair to both.** An incumbent that was fitted to the same judgements has seen the held-out
//! ones. Metrics of this plugin carry fingerprints of the judgements that they were fitted to; when
//! enough queries (or pairs of each kind) are new to the incumbent, it is compared on those, where
//! neither side has an advantage. Otherwise all are used, and the incumbent is cross-fitted too: each
//! fold is scored under what its learner makes of the other folds. So another learner is compared
//! with the incumbent's on the same terms, and a refit by the same learner on next to no new
//! judgements gains nothing over itself. Where the incumbent's learner is not known (an import,
//! everybody's metric in place of a person's, a learner of another crate) all are used as they are,
//! which errs on the incumbent's side.

mod agreement;
mod baselines;
mod comparison;
mod folds;
mod held_out;
mod verdict;

use affinis::plugin::{Examples, FitReport, Gate, HeldOut, LearnError, Task};

use crate::judgements::Judgements;
use crate::metric::MAX_DIM;

pub(crate) use baselines::Baselines;
pub(crate) use comparison::{CANDIDATE, Comparison, Kind, Paired, SHRUNKEN};
pub(crate) use folds::{FOLDS, Folds};
use held_out::Function;
pub(crate) use held_out::{HeldOutDistances, Scores};
use verdict::Measurable;

/// The outcome of the held-out test of a candidate.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The verdict.
    pub gate: Gate,
    /// What the active metric (or Euclid, where that is active) measures, on judgements that are
    /// new to it where they are enough; `None` when too little was held out.
    pub incumbent: Option<HeldOut>,
    /// Whether queries or pairs find the candidate clearly worse than Euclid or the active metric:
    /// even the upper confidence bound of its gain is below 0.
    pub clearly_worse: bool,
}

impl Outcome {
    /// The report of a learner's fit with this outcome; all other figures are those of
    /// [`FitReport::new`].
    pub fn into_report(self, learner: impl Into<String>) -> FitReport {
        let mut report = FitReport::new(learner, self.gate);
        report.incumbent = self.incumbent;
        report.clearly_worse = self.clearly_worse;
        report
    }

    /// The outcome where there are too few judgements to measure a gain on.
    pub(crate) fn not_measured(judgements: &Judgements<'_>) -> Self {
        Self {
            gate: Measurable::of(judgements).too_few(),
            incumbent: None,
            clearly_worse: false,
        }
    }
}

/// Tests a learner's candidate for a task on held-out judgements.
///
/// `fit` is called once for each of five folds, with the task's examples less those of the fold,
/// and returns the squared distance between two vectors under a metric fitted to them in the way
/// that the candidate is fitted to all. The examples keep the rows of the task's vectors. `fit` is
/// not called where there are too few judgements to measure a gain on. The task's seed fixes the
/// folds; its incumbent is the active metric that the candidate is compared with besides Euclid.
///
/// ```
/// use affinis::plugin::{Examples, Graded, LearnError, Sample, Task};
/// use affinis_mahalanobis::gate;
/// use ndarray::Array2;
///
/// /// A toy learner: a coordinate's weight is the inverse of the squared differences of relevant
/// /// results from their queries along it.
/// fn weights(examples: &Examples) -> Vec<f64> {
///     let mut squares = vec![1e-3; examples.vectors.ncols()];
///     for judged in examples.graded.iter().filter(|judged| judged.grade > 0.0) {
///         let (query, item) = (judged.query, judged.item);
///         let rows = [query, item].map(|row| examples.vectors.row(row));
///         for ((square, x), y) in squares.iter_mut().zip(rows[0]).zip(rows[1]) {
///             *square += f64::from(x - y).powi(2);
///         }
///     }
///     squares.into_iter().map(f64::recip).collect()
/// }
///
/// // Ten queries with four answers each. Relevant ones differ from their query in the second
/// // coordinate, irrelevant ones in the first.
/// let vectors = Array2::from_shape_fn((50, 2), |(row, column)| {
///     let (query, answer) = (row / 5, row % 5);
///     let differs = answer > 0 && column == answer % 2;
///     10.0 * query as f32 + if differs { 1.0 + (row * 7 % 10) as f32 / 10.0 } else { 0.0 }
/// });
/// let judged = |query: usize, answer: usize| Graded {
///     query: 5 * query,
///     item: 5 * query + answer,
///     grade: if answer % 2 == 1 { 1.0 } else { -1.0 },
///     weight: 1.0,
/// };
/// let graded = (0..10).flat_map(|query| (1..5).map(move |answer| judged(query, answer)));
/// let examples = Examples { vectors, graded: graded.collect(), pairs: Vec::new() };
/// let sample = Sample::default();
/// let task = Task::new(2, &examples, &sample).with_seed(7);
///
/// let outcome = gate::test(&task, |training| {
///     let weights = weights(training);
///     Ok(move |x: &[f32], y: &[f32]| {
///         let squares = x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2));
///         squares.zip(&weights).map(|(square, weight)| weight * square).sum()
///     })
/// })?;
/// assert!(outcome.gate.accepted, "{}", outcome.gate.reason);
/// assert_eq!(outcome.gate.held_out, 10);
/// let report = outcome.into_report("toy");
/// assert!(!report.clearly_worse && report.incumbent.is_some());
/// # Ok::<(), LearnError>(())
/// ```
///
/// # Errors
/// Those of `fit`; [`LearnError::Numerical`] when the examples are out of range, or the examples
/// or the incumbent have another dimension than the task; [`LearnError::Cancelled`] when the task is
/// cancelled.
pub fn test<D>(
    task: &Task<'_>,
    mut fit: impl FnMut(&Examples) -> Result<D, LearnError>,
) -> Result<Outcome, LearnError>
where
    D: Fn(&[f32], &[f32]) -> f64,
{
    check_dimensions(task)?;
    let judgements = Judgements::new(task.dim, task.examples)?;
    if !can_measure(&judgements) {
        return Ok(Outcome::not_measured(&judgements));
    }
    let folds = Folds::new(&judgements, task.seed);
    let mut candidate = HeldOutDistances::new(&judgements, &folds);
    for fold in 0..FOLDS {
        poll(task)?;
        let training = folds.training(&judgements, task.examples, fold);
        candidate.add_fold(fold, &Function(fit(&training)?));
    }
    let baselines = Baselines::measure(task, &judgements, &folds)?;
    let scores = candidate.scores();
    Ok(baselines.outcome(&judgements, candidate.tested(&scores)))
}

/// Refuses a task whose dimension is out of range or not that of its incumbent.
pub(crate) fn check_dimensions(task: &Task<'_>) -> Result<(), LearnError> {
    if task.dim == 0 || task.dim > MAX_DIM {
        return Err(LearnError::Numerical(format!(
            "dimension {} is not between 1 and {MAX_DIM}",
            task.dim
        )));
    }
    if let Some(incumbent) = task.incumbent.filter(|i| i.metric.dim() != task.dim) {
        let (theirs, ours) = (incumbent.metric.dim(), task.dim);
        return Err(LearnError::Numerical(format!(
            "the active metric has dimension {theirs}, the task {ours}"
        )));
    }
    Ok(())
}

/// Whether there are enough judgements to measure a gain at all.
pub(crate) fn can_measure(judgements: &Judgements<'_>) -> bool {
    Measurable::of(judgements).suffices()
}

/// [`LearnError::Cancelled`] once the task is cancelled.
pub(crate) fn poll(task: &Task<'_>) -> Result<(), LearnError> {
    if (task.cancel)() {
        Err(LearnError::Cancelled)
    } else {
        Ok(())
    }
}
