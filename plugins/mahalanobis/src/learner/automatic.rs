//! The automatic choice of a task without a learner: `gmml`, near the inverse of the similar scatter
//! where that is clearly better on held-out judgements, and with enough judgements `contrastive`
//! where that is.

use std::collections::BTreeMap;

use affinis::plugin::LearnError;

use super::contrastive::{Contrastive, REFINED};
use super::gmml::Gmml;
use super::{Family, Learner, Training, Variant};

/// The automatic choice.
#[derive(Debug)]
pub(crate) struct Automatic;

impl Learner for Automatic {
    fn name(&self) -> &'static str {
        Gmml.name()
    }

    fn variants(&self) -> &'static [Variant] {
        const {
            &[
                Variant::gmml(0.6),
                Variant::similar_only(),
                Variant::gmml(0.5),
                Variant::gmml(0.7),
                REFINED,
            ]
        }
    }

    fn lambda(&self) -> f64 {
        Gmml.lambda()
    }

    fn notes(&self, variant: Variant) -> BTreeMap<String, f64> {
        Contrastive.notes(variant)
    }

    fn fit<'a>(&self, training: &'a Training<'a>) -> Result<Box<dyn Family + 'a>, LearnError> {
        Contrastive.fit(training)
    }
}
