//! `low-rank`: the closed form inside a subspace, the identity outside.
//!
//! `P` spans the directions in which the collection's items vary most (its principal components;
//! for a person's metric, those of the pairs that all others judged dissimilar); inside, `A_P = (P
//! S^ P')^-1
//! #_t (P D^ P')` is scaled to the trace `k` of an identity, and `A = P' A_P P + (I - P'P)`. A fit
//! takes an eigenproblem of `k` rows in place of `d`, and directions of little variance, in which
//! `gmml` would rest on its prior alone, stay as the encoder gave them.

use std::collections::BTreeMap;

use affinis::plugin::LearnError;
use ndarray::{Array2, s};

use super::gmml::PRIOR;
use super::{Family, Learner, Training, Variant};
use crate::spd::{self, GeneralizedEigen};

/// Largest dimension of the subspace.
const MAX_RANK: usize = 128;

/// The closed form over a subspace.
#[derive(Debug)]
pub(crate) struct LowRank;

impl Learner for LowRank {
    fn name(&self) -> &'static str {
        "low-rank"
    }

    fn variants(&self) -> &'static [Variant] {
        const fn at(t: f64) -> Variant {
            Variant::new("low-rank", t)
        }
        const { &[at(0.6), at(0.5), at(0.7)] }
    }

    fn lambda(&self) -> f64 {
        PRIOR.similar
    }

    fn notes(&self, _: Variant) -> BTreeMap<String, f64> {
        let mut notes = PRIOR.notes();
        notes.insert("rank".into(), MAX_RANK as f64);
        notes
    }

    fn fit<'a>(&self, training: &'a Training<'a>) -> Result<Box<dyn Family + 'a>, LearnError> {
        let (similar, dissimilar) = PRIOR.posterior(training);
        let vectors = spd::eigenvectors(training.prior.dissimilar.clone())?;
        let basis = vectors
            .slice(s![vectors.nrows().saturating_sub(MAX_RANK).., ..])
            .to_owned();
        let within = |m: Array2<f64>| {
            let mut inner = basis.dot(&m).dot(&basis.t());
            spd::symmetrise(&mut inner);
            inner
        };
        let inside =
            GeneralizedEigen::of_scatters(within(similar).view(), within(dissimilar).view())?;
        Ok(Box::new(Inside { inside, basis }))
    }
}

/// The geodesic inside the subspace, and the subspace.
struct Inside {
    inside: GeneralizedEigen,
    /// `P`, orthonormal rows.
    basis: Array2<f64>,
}

impl Family for Inside {
    fn matrix(&self, variant: Variant) -> Result<Array2<f64>, LearnError> {
        let factor = self.inside.factor(variant.t);
        let trace: f64 = factor.iter().map(|v| v * v).sum();
        let scale = (factor.nrows() as f64 / trace).sqrt();
        let mut a = Array2::eye(self.basis.ncols()) - spd::gram(&self.basis)
            + spd::gram(&(factor * scale).dot(&self.basis));
        spd::symmetrise(&mut a);
        Ok(a)
    }
}
