//! `naive`: `min tr(A S^) - tr(A D^)` over positive semidefinite `A` of a given trace. **For study
//! only: it fails.**
//!
//! The objective is linear in `A`, so its minimum lies at an extreme point of the feasible set: `A
//! = d v v'`, with `v` the eigenvector of the least eigenvalue of `S^ - D^`. Whatever the
//! judgements, it measures along one direction and is blind to all others. Every sound objective
//! bounds this: `gmml` by `tr(A^-1 D)` in place of `-tr(A D)`, `contrastive` and `hinge` by losses
//! that let go of pairs that are right.
//!
//! The metric that it gives is that rank-one metric up to the cap on the condition number: `A = c
//! (d v v' + e I)`, with the least `e` for which the condition number is at most the cap, and `c`
//! for the trace `d`. Without the cap it would be no metric at all. It is given for study, so the
//! gate refuses it whatever the held-out judgements say, no shrunken metric is offered beside it,
//! and it is never a low-rank update of another metric: only a refit with `force` promotes it.

use std::collections::BTreeMap;

use affinis::plugin::LearnError;
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
        const { &[Variant::new("naive", 0.0)] }
    }

    fn refusal(&self) -> Option<&'static str> {
        Some(
            "the learner `naive` is for study only: its metric measures along one direction, so \
             nothing but force promotes it",
        )
    }

    fn lambda(&self) -> f64 {
        PRIOR.similar
    }

    fn notes(&self, _: Variant) -> BTreeMap<String, f64> {
        PRIOR.notes()
    }

    fn fit<'a>(&self, training: &'a Training<'a>) -> Result<Box<dyn Family + 'a>, LearnError> {
        let (similar, dissimilar) = PRIOR.posterior(training);
        let vectors = spd::eigenvectors(similar - dissimilar)?;
        let least = vectors.slice(ndarray::s![..1, ..]).to_owned();
        Ok(Box::new(RankOne(least)))
    }
}

/// The direction `v'` (`1 x d`).
struct RankOne(Array2<f64>);

impl Family for RankOne {
    fn matrix(&self, _: Variant) -> Result<Array2<f64>, LearnError> {
        Ok(spd::gram(&self.0))
    }
}
