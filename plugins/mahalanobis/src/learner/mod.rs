//! One learner a room, all behind [`Learner`].
//!
//! A learner is given [`Training`] data and finds a *family* of matrices, one for each of its
//! variants; which variant is used, the cap on the condition number, the scale, the held-out test
//! and the report are the same for all and decided elsewhere. To add one: write its room, and list
//! it in [`ALL`].

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

use affinis::{LearnError, Sample};
use ndarray::Array2;

use crate::evidence::Evidence;
use crate::folds::Folds;
use crate::prior::Prior;
use crate::scatter::Scatters;

/// Every learner that can be asked for.
const ALL: [&dyn Learner; 6] = [
    &gmml::Gmml,
    &diagonal::Diagonal,
    &low_rank::LowRank,
    &contrastive::Contrastive,
    &hinge::Hinge,
    &naive::Naive,
];

/// Their names, in the same order.
pub(crate) const NAMES: &[&str] = &[
    "gmml",
    "diagonal",
    "low-rank",
    "contrastive",
    "hinge",
    "naive",
];

/// The learner of a name, or what is taken when none is named.
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

/// What a learner learns from.
pub(crate) struct Training<'a> {
    /// All judgements of the task, those of the held-out fold included.
    pub(crate) evidence: &'a Evidence<'a>,
    /// The fold that must not be learned from.
    pub(crate) held_out: Option<(&'a Folds, usize)>,
    /// The scatters, without the held-out fold.
    pub(crate) scatters: &'a Scatters,
    pub(crate) prior: &'a Prior,
    pub(crate) sample: &'a Sample,
    /// Fixes random choices.
    pub(crate) seed: u64,
    /// Whether to give up, asked between steps.
    pub(crate) cancel: &'a dyn Fn() -> bool,
}

/// A way to find a matrix.
pub(crate) trait Learner: Debug + Send + Sync {
    /// The name that a task asks for it by.
    fn name(&self) -> &'static str;

    /// What it can do in more than one way. The first variant is the default; another is taken only
    /// when the held-out judgements say clearly that it is better.
    fn variants(&self) -> &'static [Variant];

    /// The weight of its prior, for the report.
    fn lambda(&self) -> f64;

    /// The reason why its candidates never pass the gate, in a sentence; `None` for a learner that is
    /// meant for use. Such a candidate is kept whole, never as an update of another metric.
    fn refusal(&self) -> Option<&'static str> {
        None
    }

    /// Further notes on a variant, for the report.
    fn notes(&self, variant: Variant) -> BTreeMap<String, f64>;

    /// Learns.
    fn fit<'a>(&self, training: &'a Training<'a>) -> Result<Box<dyn Family + 'a>, LearnError>;
}

/// One way in which a learner can be run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Variant {
    /// The learner that is named as the metric's maker.
    pub(crate) learner: &'static str,
    /// Position on the geodesic between the two scatters.
    pub(crate) t: f64,
    /// Whether the closed form is refined by descent, which costs as much as many closed forms.
    pub(crate) refined: bool,
}

impl Variant {
    const fn gmml(t: f64) -> Self {
        Self {
            learner: "gmml",
            t,
            refined: false,
        }
    }
}

/// What a learner found: a symmetric positive definite matrix of any scale for each variant.
pub(crate) trait Family {
    /// The matrix of a variant.
    fn matrix(&self, variant: Variant) -> Result<Array2<f64>, LearnError>;
}
