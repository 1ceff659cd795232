//! One learner a room, all behind [`Learner`].
//!
//! A learner is given [`Training`] data and finds a *family* of matrices, one for each of its variants; which variant is
//! used, the cap on the condition number, the scale, the held-out test and the report are the same for all and decided
//! elsewhere. To add one: write its room, and list it in [`ALL`].

mod diagonal;
mod gmml;
mod posterior;

use std::collections::BTreeMap;
use std::fmt::Debug;

use affinis::LearnError;
use ndarray::Array2;

use crate::evidence::Evidence;
use crate::folds::Folds;
use crate::prior::Prior;
use crate::scatter::Scatters;

/// Every learner; the first is what the automatic choice takes.
pub(crate) const ALL: [&dyn Learner; 2] = [&gmml::Gmml, &diagonal::Diagonal];

/// Their names, in the same order.
pub(crate) const NAMES: &[&str] = &["gmml", "diagonal"];

/// What a learner learns from.
#[derive(Debug)]
pub(crate) struct Training<'a> {
    /// All judgements of the task, those of the held-out fold included.
    #[expect(dead_code, reason = "what learners need that go beyond second moments")]
    pub(crate) evidence: &'a Evidence<'a>,
    /// The fold that must not be learned from.
    #[expect(dead_code, reason = "goes with `evidence`")]
    pub(crate) held_out: Option<(&'a Folds, usize)>,
    /// The scatters, without the held-out fold.
    pub(crate) scatters: &'a Scatters,
    pub(crate) prior: &'a Prior,
}

/// A way to find a matrix.
pub(crate) trait Learner: Debug + Send + Sync {
    /// The name that a task asks for it by.
    fn name(&self) -> &'static str;

    /// What it can do in more than one way. The first variant is the default; another is taken only when the held-out
    /// judgements say clearly that it is better.
    fn variants(&self) -> &'static [Variant];

    /// The weight of its prior, for the report.
    fn lambda(&self) -> f64;

    /// Further parameters, for the report.
    fn parameters(&self) -> BTreeMap<String, f64>;

    /// Learns.
    fn fit(&self, training: &Training<'_>) -> Result<Box<dyn Family>, LearnError>;
}

/// One way in which a learner can be run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Variant {
    /// Position on the geodesic between the two scatters.
    pub(crate) t: f64,
}

/// What a learner found: a symmetric positive definite matrix of any scale for each variant.
pub(crate) trait Family {
    /// The matrix of a variant.
    fn matrix(&self, variant: Variant) -> Result<Array2<f64>, LearnError>;
}
