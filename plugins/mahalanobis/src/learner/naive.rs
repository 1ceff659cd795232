//! `naive`: `min tr(A S^) - tr(A D^)` over positive semidefinite `A` of a given trace. **For study
//! only: it fails.**
//!
//! The objective is linear in `A`, so its minimum lies at an extreme point of the feasible set: `A
//! = d v v'`, with `v` the eigenvector of the least eigenvalue of `S^ - D^`. Whatever the
//! judgements, it measures along one direction and is blind to all others. Every sound objective
//! bounds this: `gmml` by `tr(A^-1 D)` in place of `-tr(A D)`, `contrastive` and `hinge` by losses
//! that let go of pairs that are right. The cap on the condition number, which lifts all other
//! directions, is what makes its result a metric at all.

use std::collections::BTreeMap;

use affinis::LearnError;
use ndarray::Array2;

use super::gmml::PRIOR;
use super::{Family, Learner, Training, Variant};
use crate::spd;

/// The linear objective.
#[derive(Debug)]
pub(crate) struct Naive;

impl Learner for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn variants(&self) -> &'static [Variant] {
        const {
            &[Variant {
                learner: "naive",
                t: 0.0,
                refined: false,
            }]
        }
    }

    fn lambda(&self) -> f64 {
        PRIOR.similar
    }

    fn parameters(&self, _: Variant) -> BTreeMap<String, f64> {
        PRIOR.parameters()
    }

    fn fit<'a>(&self, training: &'a Training<'a>) -> Result<Box<dyn Family + 'a>, LearnError> {
        let (similar, dissimilar) = PRIOR.posterior(training);
        let vectors = spd::eigenvectors(similar - dissimilar)?;
        let least = vectors.slice(ndarray::s![..1, ..]).to_owned();
        Ok(Box::new(RankOne(least)))
    }
}

/// `v'`.
struct RankOne(Array2<f64>);

impl Family for RankOne {
    fn matrix(&self, _: Variant) -> Result<Array2<f64>, LearnError> {
        Ok(spd::gram(&self.0))
    }
}
