//! The posterior scatters: the judgements, with the collection's geometry as so many judgements
//! more.
//!
//! `S^ = (n_s tr(S) + l_s W) / (n_s + l_s)` and `D^ = (n_d tr(D) + l_d U) / (n_d + l_d)`, where
//! `tr(M)` is `M` scaled to trace `d`. `U` in `D^` is the closed form's version of debiased
//! negatives (Chuang et al., 2020): pairs that nobody judged are nearly all dissimilar.

use std::collections::BTreeMap;

use ndarray::Array2;

use super::Training;

/// The numbers of judged pairs that the prior matrices stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PseudoCounts {
    pub(crate) similar: f64,
    pub(crate) dissimilar: f64,
}

impl PseudoCounts {
    /// The notes of the report on them.
    pub(crate) fn notes(self) -> BTreeMap<String, f64> {
        BTreeMap::from([
            ("prior_dissimilar".into(), self.dissimilar),
            ("prior_similar".into(), self.similar),
        ])
    }

    /// The posterior scatters `(S^, D^)`, `d x d` each.
    pub(crate) fn posterior(self, training: &Training<'_>) -> (Array2<f64>, Array2<f64>) {
        (
            training
                .scatters
                .similar
                .posterior(&training.prior.similar, self.similar),
            training
                .scatters
                .dissimilar
                .posterior(&training.prior.dissimilar, self.dissimilar),
        )
    }
}
