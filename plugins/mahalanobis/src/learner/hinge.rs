//! `hinge`: the closed form refined on the hinge loss of (query, relevant, irrelevant) triplets.
//!
//! It suits labelled tables of few columns. On embeddings `contrastive` is better, which has other
//! negatives besides the judged ones.

use std::collections::BTreeMap;

use affinis::LearnError;
use ndarray::Array2;

use super::gmml::Gmml;
use super::{Family, Learner, Training, Variant};
use crate::hinge::{self, Triplets};
use crate::spd::{self, GeneralizedEigen};

/// The closed form, refined on triplets.
#[derive(Debug)]
pub(crate) struct Hinge;

impl Learner for Hinge {
    fn name(&self) -> &'static str {
        "hinge"
    }

    fn variants(&self) -> &'static [Variant] {
        const {
            &[Variant {
                learner: "hinge",
                t: 0.6,
                refined: true,
            }]
        }
    }

    fn lambda(&self) -> f64 {
        Gmml.lambda()
    }

    fn notes(&self, variant: Variant) -> BTreeMap<String, f64> {
        let mut notes = Gmml.notes(variant);
        notes.insert("refining_steps".into(), hinge::MAX_STEPS as f64);
        notes
    }

    fn fit<'a>(&self, training: &'a Training<'a>) -> Result<Box<dyn Family + 'a>, LearnError> {
        Ok(Box::new(Refinable {
            start: Gmml::geodesic(training)?,
            training,
        }))
    }
}

struct Refinable<'a> {
    start: GeneralizedEigen,
    training: &'a Training<'a>,
}

impl Family for Refinable<'_> {
    fn matrix(&self, variant: Variant) -> Result<Array2<f64>, LearnError> {
        let factor = self.start.factor(variant.t);
        let triplets: Vec<Triplets> = self
            .training
            .anchors()
            .into_iter()
            .map(|a| Triplets {
                anchor: a.row,
                near: a.positives.iter().map(|j| j.row).collect(),
                far: a.negatives,
            })
            .filter(|t| !t.near.is_empty() && !t.far.is_empty())
            .collect();
        let vectors = self.training.evidence.vectors.mapv(f64::from);
        let images = vectors.dot(&factor.t());
        let mut distances: Vec<f64> = triplets
            .iter()
            .flat_map(|t| {
                t.near.iter().chain(&t.far).map(|j| {
                    (&images.row(t.anchor) - &images.row(*j))
                        .mapv(|v| v * v)
                        .sum()
                })
            })
            .collect();
        distances.sort_unstable_by(f64::total_cmp);
        match distances.get(distances.len() / 2) {
            Some(&median) if median > 0.0 => {
                let start = factor * (2.0 / median).sqrt();
                let refined = hinge::refine(start, &vectors, &triplets, self.training.cancel)?;
                Ok(spd::gram(&refined))
            }
            _ => Ok(spd::gram(&factor)),
        }
    }
}
