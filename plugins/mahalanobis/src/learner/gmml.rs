//! `gmml`: geometric mean metric learning (Zadeh, Hosseini and Sra, ICML 2016) between posterior
//! scatters.
//!
//! `A = S^^-1 #_t D^` is the closed form of a metric under which similar pairs are near and
//! dissimilar ones far. One eigenproblem serves every `t`.

use std::collections::BTreeMap;

use affinis::plugin::LearnError;
use ndarray::Array2;

use super::posterior::PseudoCounts;
use super::{Family, Learner, Training, Variant};
use crate::spd::GeneralizedEigen;

/// The prior's weight, for learners over second moments of full matrices.
pub(super) const PRIOR: PseudoCounts = PseudoCounts {
    similar: 100.0,
    dissimilar: 1000.0,
};

/// The closed form over full matrices.
#[derive(Debug)]
pub(crate) struct Gmml;

impl Learner for Gmml {
    fn name(&self) -> &'static str {
        "gmml"
    }

    fn variants(&self) -> &'static [Variant] {
        const { &[Variant::gmml(0.6), Variant::gmml(0.5), Variant::gmml(0.7)] }
    }

    fn lambda(&self) -> f64 {
        PRIOR.similar
    }

    fn notes(&self, _: Variant) -> BTreeMap<String, f64> {
        PRIOR.notes()
    }

    fn fit<'a>(&self, training: &'a Training<'a>) -> Result<Box<dyn Family + 'a>, LearnError> {
        Ok(Box::new(Self::geodesic(training)?))
    }
}

impl Gmml {
    /// The geodesic of all `S^^-1 #_t D^`.
    pub(crate) fn geodesic(training: &Training<'_>) -> Result<GeneralizedEigen, LearnError> {
        let (similar, dissimilar) = PRIOR.posterior(training);
        GeneralizedEigen::of_scatters(similar.view(), dissimilar.view())
    }
}

impl Family for GeneralizedEigen {
    fn matrix(&self, variant: Variant) -> Result<Array2<f64>, LearnError> {
        Ok(self.at(variant.t))
    }
}
