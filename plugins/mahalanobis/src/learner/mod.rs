//! The learners, one module each, all behind [`Learner`].
//!
//! A learner is given [`Training`] data and finds a *family* of matrices, one for each of its
//! variants; which variant is used, the cap on the condition number, the scale, the held-out test
//! and the report are the same for all and decided elsewhere. To add one, write its
//! module and list it in [`ALL`].

mod anchors;
mod automatic;
mod contrastive;
mod diagonal;
mod gmml;
mod hinge;
mod low_rank;
mod naive;
mod posterior;

use std::collections::BTreeMap;
use std::fmt::Debug;

use affinis::plugin::{FitReport, LearnError, Sample};
use ndarray::Array2;

use crate::gate::Folds;
use crate::judgements::Judgements;
use crate::prior::Prior;
use crate::scatter::Scatters;

/// All learners that a task can name.
const ALL: [&dyn Learner; 6] = [
    &gmml::Gmml,
    &diagonal::Diagonal,
    &low_rank::LowRank,
    &contrastive::Contrastive,
    &hinge::Hinge,
    &naive::Naive,
];

/// The names of [`ALL`], in the same order.
pub(crate) const NAMES: &[&str] = &[
    "gmml",
    "diagonal",
    "low-rank",
    "contrastive",
    "hinge",
    "naive",
];

/// The learner of a name, or the automatic choice without a name.
///
/// # Errors
/// [`LearnError::UnknownLearner`].
pub(crate) fn named(name: Option<&str>) -> Result<&'static dyn Learner, LearnError> {
    let Some(name) = name else {
        return Ok(&automatic::Automatic);
    };
    let found = ALL.into_iter().find(|l| l.name() == name);
    found.ok_or_else(|| LearnError::UnknownLearner {
        name: name.into(),
        known: NAMES.join(", "),
    })
}

/// The learner and the variant that made a metric with this report; `None` where none of these did.
pub(crate) fn of_report(report: &FitReport) -> Option<(&'static dyn Learner, Variant)> {
    let is_of = |variant: &&Variant| {
        variant.learner == report.learner && variant.t.to_bits() == report.t.to_bits()
    };
    let automatic: &dyn Learner = &automatic::Automatic;
    ALL.into_iter()
        .chain([automatic])
        .find_map(|learner| Some((learner, *learner.variants().iter().find(is_of)?)))
}

/// The training data of a learner.
pub(crate) struct Training<'a> {
    /// All judgements of the task, those of the held-out fold included.
    pub(crate) judgements: &'a Judgements<'a>,
    /// The fold that must not be learned from.
    pub(crate) held_out: Option<(&'a Folds, usize)>,
    /// The scatters, without the held-out fold.
    pub(crate) scatters: &'a Scatters,
    pub(crate) prior: &'a Prior,
    pub(crate) sample: &'a Sample,
    /// Fixes random choices.
    pub(crate) seed: u64,
    /// Polled between steps; `true` cancels the fit.
    pub(crate) cancel: &'a dyn Fn() -> bool,
}

/// A method of finding a matrix.
pub(crate) trait Learner: Debug + Send + Sync {
    /// The name of the learner in a task.
    fn name(&self) -> &'static str;

    /// The variants of the learner. The first is the default; another is taken only when it is
    /// clearly better on held-out judgements.
    fn variants(&self) -> &'static [Variant];

    /// The weight of its prior, for the report.
    fn lambda(&self) -> f64;

    /// The reason why its candidates never pass the gate, in a sentence; `None` for a learner that
    /// is meant for use. Such a candidate is kept whole, never as an update of another metric.
    fn refusal(&self) -> Option<&'static str> {
        None
    }

    /// Further notes on a variant, for the report.
    fn notes(&self, variant: Variant) -> BTreeMap<String, f64>;

    /// Learns a family of matrices from training data.
    fn fit<'a>(&self, training: &'a Training<'a>) -> Result<Box<dyn Family + 'a>, LearnError>;
}

/// One of a learner's variants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Variant {
    /// The learner that the report names.
    pub(crate) learner: &'static str,
    /// Position on the geodesic between the two scatters.
    pub(crate) t: f64,
    /// Whether the closed form is refined by descent, which costs as much as many closed forms.
    pub(crate) refined: bool,
    /// Least number of judgements at which it is tried beside the default.
    pub(crate) from: usize,
    /// Standard errors by which it has to be better than the default to be taken.
    pub(crate) margin: f64,
}

/// Least number of judgements at which there is anything to choose by between variants that are
/// near each other.
const SELECTING: usize = 300;

impl Variant {
    /// A variant that is tried where judgements are many, and taken by the one standard error rule
    /// (Breiman et al., 1984).
    const fn new(learner: &'static str, t: f64) -> Self {
        Self {
            learner,
            t,
            refined: false,
            from: SELECTING,
            margin: 1.0,
        }
    }

    const fn gmml(t: f64) -> Self {
        Self::new("gmml", t)
    }

    /// The closed form near the inverse of the similar scatter, for collections whose covariance
    /// says nothing of what is dissimilar (measured labels among them, docs/learning.md). It is far
    /// from the default, so few judgements tell them apart, and two standard errors are asked for.
    const fn similar_only() -> Self {
        Self {
            from: 0,
            margin: 2.0,
            ..Self::gmml(0.3)
        }
    }
}

/// The matrices that a learner found: a symmetric positive definite matrix of any scale for each
/// variant.
pub(crate) trait Family {
    /// The matrix of a variant.
    fn matrix(&self, variant: Variant) -> Result<Array2<f64>, LearnError>;
}
