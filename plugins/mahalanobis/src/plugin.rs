//! [`Mahalanobis`]: the plugin that a store registers.

use std::sync::Arc;

use affinis::plugin::{
    Comparison, Examples, FitReport, Fitted, Influences, LearnError, Metric, MetricLearner, Task,
};
use ndarray::ArrayView2;

use crate::learner;
use crate::metric::MahalanobisMetric;
use crate::prior::Priors;
use crate::{codec, compare, fit, influence};

/// Learns Mahalanobis metrics; registered with a store by
/// `Store::builder().plugin(Mahalanobis::default())`.
///
/// Learners: `gmml`, the closed form over full matrices; `diagonal` and `low-rank`, the same over
/// fewer numbers; `contrastive` and `hinge`, which refine it by descent; and `naive`, which fails
/// and is for study only: the gate refuses its candidates. The automatic choice is `gmml`, and from
/// 300 judgements on `contrastive` where held-out judgements say clearly that it is better.
///
/// In a report, `lambda` is the number of judged similar pairs that the prior from the collection's
/// neighbourhoods stands for; `prior_dissimilar` among the notes is the same for dissimilar
/// pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Mahalanobis {
    condition_cap: f64,
    priors: Priors,
}

impl Default for Mahalanobis {
    fn default() -> Self {
        Self {
            condition_cap: 16.0,
            priors: Priors::default(),
        }
    }
}

impl Mahalanobis {
    /// Bounds `cond A` of learned metrics; 16 by default, clamped to 1.01 at least and 1e6 at most.
    ///
    /// Its square root bounds how far the order under the metric can differ from the Euclidean one,
    /// which an index built under Euclid has to make up for.
    pub fn condition_cap(mut self, cap: f64) -> Self {
        self.condition_cap = if cap.is_nan() {
            self.condition_cap
        } else {
            cap.clamp(1.01, 1e6)
        };
        self
    }

    /// The settings of a task's fit.
    fn settings(&self, task: &Task<'_>) -> Result<fit::Settings<'_>, LearnError> {
        Ok(fit::Settings {
            learner: learner::named(task.learner)?,
            condition_cap: self.condition_cap,
            priors: &self.priors,
        })
    }
}

impl MetricLearner for Mahalanobis {
    fn name(&self) -> &'static str {
        "mahalanobis"
    }

    fn learners(&self) -> &'static [&'static str] {
        learner::NAMES
    }

    fn fit(&self, task: &Task<'_>) -> Result<Fitted, LearnError> {
        fit::fit(task, None, self.settings(task)?)
    }

    fn fit_personal(&self, task: &Task<'_>, others: &Examples) -> Result<Fitted, LearnError> {
        fit::fit(task, Some(others), self.settings(task)?)
    }

    fn decode(
        &self,
        bytes: &[u8],
        base: Option<&Arc<dyn Metric>>,
    ) -> Result<Arc<dyn Metric>, LearnError> {
        codec::decode(bytes, base)
    }

    fn from_matrix(&self, matrix: ArrayView2<'_, f64>) -> Result<Arc<dyn Metric>, LearnError> {
        Ok(Arc::new(MahalanobisMetric::new(matrix)?))
    }

    fn compare(&self, a: &dyn Metric, b: &dyn Metric) -> Result<Comparison, LearnError> {
        compare::compare(a, b)
    }

    fn influences(
        &self,
        task: &Task<'_>,
        others: Option<&Examples>,
        report: &FitReport,
        between: (&[f32], &[f32]),
    ) -> Result<Option<Influences>, LearnError> {
        influence::influences(task, others, report, between, &self.priors)
    }
}
