//! [`Fitted`]: a candidate metric, with its figures and the verdict of the gate.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Metric;

/// A candidate metric with the report of its fit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Fitted {
    /// The candidate.
    pub metric: Arc<dyn Metric>,
    /// Whether the candidate is a low-rank update of the task's base, which
    /// [`MetricLearner::decode`](super::MetricLearner::decode) then has to be given.
    pub is_update: bool,
    /// Figures of the fit and the gate's verdict.
    pub report: FitReport,
    /// The candidate shrunk towards Euclid, where the candidate does not pass the gate and this
    /// does.
    pub shrunken: Option<ShrunkenMetric>,
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

/// Figures of a fit and of its held-out test, stored with the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FitReport {
    /// The learner that made it, such as `gmml`.
    pub learner: String,
    /// Numbers of judged pairs that it was fitted to.
    pub pairs: PairCounts,
    /// Weight of the prior, in the unit of the learner.
    pub lambda: f64,
    /// Position on the geodesic between the two scatters, 0 to 1; 0 for other learners.
    pub t: f64,
    /// Condition number `cond A`.
    pub condition: f64,
    /// The share of the candidate in a [`ShrunkenMetric`] that took its place.
    pub shrinkage: Option<f64>,
    /// The held-out test.
    pub gate: Gate,
    /// Measure of the active metric on held-out judgements; `None` where none could be taken.
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
    /// Mean over the queries or pairs, in the unit of [`Gate::measure`].
    pub measure: f64,
    /// Number of queries or pairs.
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
