//! `hinge`: the closed form refined on the hinge loss of (query, relevant, irrelevant) triplets.
//!
//! It suits labelled tables of few columns. On embeddings `contrastive` is better, which has other
//! negatives besides the judged ones.

use std::collections::BTreeMap;

use affinis::plugin::LearnError;
use ndarray::Array2;

use super::gmml::Gmml;
use super::{Family, Learner, Training, Variant};
use crate::hinge::{self, Triplets};
use crate::spd::{self, GeneralizedEigen};

/// Median squared distance of triplets after scaling, for a margin of 1.
const MEDIAN_DISTANCE: f64 = 2.0;

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
                refined: true,
                ..Variant::new("hinge", 0.6)
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

/// The closed form at any `t`, with the judgements that it is refined on.
struct Refinable<'a> {
    start: GeneralizedEigen,
    training: &'a Training<'a>,
}

impl Family for Refinable<'_> {
    fn matrix(&self, variant: Variant) -> Result<Array2<f64>, LearnError> {
        let factor = self.start.factor(variant.t);
        let triplets = self.triplets();
        let vectors = self.training.judgements.vectors.mapv(f64::from);
        match median_distance(&vectors.dot(&factor.t()), &triplets) {
            Some(median) if median > 0.0 => {
                let start = factor * (MEDIAN_DISTANCE / median).sqrt();
                let refined = hinge::refine(start, &vectors, &triplets, self.training.cancel)?;
                Ok(spd::gram(&refined))
            }
            _ => Ok(spd::gram(&factor)),
        }
    }
}

impl Refinable<'_> {
    /// The triplets of all anchors that have both positives and negatives.
    fn triplets(&self) -> Vec<Triplets> {
        let anchors = self.training.anchors().into_iter();
        anchors
            .map(|anchor| Triplets {
                anchor: anchor.row,
                near: anchor.positives.iter().map(|judged| judged.row).collect(),
                far: anchor.negatives,
            })
            .filter(|t| !t.near.is_empty() && !t.far.is_empty())
            .collect()
    }
}

/// The median squared distance between anchors and their positives and negatives, of mapped
/// vectors; `None` without triplets.
fn median_distance(mapped: &Array2<f64>, triplets: &[Triplets]) -> Option<f64> {
    let distance = |i: usize, j: usize| {
        let difference = &mapped.row(i) - &mapped.row(j);
        difference.mapv(|v| v * v).sum()
    };
    let mut distances: Vec<f64> = triplets
        .iter()
        .flat_map(|t| t.near.iter().chain(&t.far).map(|j| distance(t.anchor, *j)))
        .collect();
    distances.sort_unstable_by(f64::total_cmp);
    distances.get(distances.len() / 2).copied()
}
