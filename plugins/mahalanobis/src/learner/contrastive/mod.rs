//! `contrastive`: the closed form refined by descent on a contrastive loss (`InfoNCE`, debiased,
//! with hard negatives).
//!
//! The closed form knows second moments only: it cannot tell a pair that is ordered wrongly from
//! one that is right already. From `A0 = L0'L0`, found by `gmml`, the descent goes on over `L = M P
//! L0`, where the rows of `P` span the directions in which the collection is widest under `A0`, and
//! `M` starts from the identity. Similarities are cosines after the map. Directions outside of `P`
//! get the least weight that the cap on the condition number allows.

mod batch;
mod descent;
mod objective;

use std::collections::BTreeMap;

use affinis::plugin::LearnError;
use ndarray::{Array2, s};

use super::gmml::Gmml;
use super::{Family, Learner, Training, Variant};
use crate::spd::{self, GeneralizedEigen};
use batch::Pool;
use descent::Course;
use objective::Objective;

/// Largest dimension of the subspace: the rest of an embedding's variance is too small to change
/// cosines.
const MAX_RANK: usize = 192;

/// The course of the descent.
const COURSE: Course = Course {
    steps: 60,
    passes: 20,
    rate: 1e-3,
    objective: Objective {
        temperature: 0.3,
        positive_share: 0.02,
        hardness: 1.0,
    },
};

/// The closed form, refined.
#[derive(Debug)]
pub(crate) struct Contrastive;

impl Learner for Contrastive {
    fn name(&self) -> &'static str {
        "contrastive"
    }

    fn variants(&self) -> &'static [Variant] {
        &[REFINED]
    }

    fn lambda(&self) -> f64 {
        Gmml.lambda()
    }

    fn notes(&self, variant: Variant) -> BTreeMap<String, f64> {
        let mut notes = Gmml.notes(variant);
        if variant.refined {
            notes.extend([
                ("refining_hardness".into(), COURSE.objective.hardness),
                (
                    "refining_positive_share".into(),
                    COURSE.objective.positive_share,
                ),
                ("refining_rank".into(), MAX_RANK as f64),
                ("refining_rate".into(), COURSE.rate),
                ("refining_steps".into(), COURSE.steps as f64),
                ("refining_temperature".into(), COURSE.objective.temperature),
            ]);
        }
        notes
    }

    fn fit<'a>(&self, training: &'a Training<'a>) -> Result<Box<dyn Family + 'a>, LearnError> {
        Ok(Box::new(Refinable {
            start: Gmml::geodesic(training)?,
            training,
        }))
    }
}

/// The refined variant.
pub(crate) const REFINED: Variant = Variant {
    refined: true,
    ..Variant::new("contrastive", 0.6)
};

/// The closed form at any `t`, with the training data that it is refined on.
struct Refinable<'a> {
    start: GeneralizedEigen,
    training: &'a Training<'a>,
}

impl Family for Refinable<'_> {
    fn matrix(&self, variant: Variant) -> Result<Array2<f64>, LearnError> {
        if !variant.refined {
            return Ok(self.start.at(variant.t));
        }
        let factor = self.start.factor(variant.t);
        let refined = Pool::new(self.training)
            .map(|pool| refine(&factor, &pool, self.training))
            .transpose()?;
        Ok(spd::gram(&refined.unwrap_or(factor)))
    }
}

/// The factor `L` that the descent reaches from the closed form's factor `L0`.
fn refine(
    factor: &Array2<f64>,
    pool: &Pool,
    training: &Training<'_>,
) -> Result<Array2<f64>, LearnError> {
    let mut coordinates = pool.vectors.dot(&factor.mapv(|v| v as f32).t());
    let mut start = factor.clone();
    if factor.nrows() > MAX_RANK {
        let basis = widest(&coordinates)?;
        coordinates = coordinates.dot(&basis.mapv(|v| v as f32).t());
        start = basis.dot(factor);
    }
    let map = descent::descend(pool, &coordinates, COURSE, training.seed, training.cancel)?;
    Ok(map.mapv(f64::from).dot(&start))
}

/// Orthonormal rows spanning the [`MAX_RANK`] directions in which vectors (rows) are longest.
fn widest(vectors: &Array2<f32>) -> Result<Array2<f64>, LearnError> {
    let moments = vectors.t().dot(vectors).mapv(f64::from);
    let basis = spd::eigenvectors(moments)?;
    let first = basis.nrows().saturating_sub(MAX_RANK);
    Ok(basis.slice(s![first.., ..]).to_owned())
}
