//! The posterior scatters: what was judged, with the collection's geometry as so many judgements
//! more.
//!
//! `S^ = (n_s tr(S) + l_s W) / (n_s + l_s)` and `D^ = (n_d tr(D) + l_d U) / (n_d + l_d)`, where
//! `tr(M)` is `M` scaled to trace `d`. `U` in `D^` is the idea of debiased negatives (Chuang et
//! al., 2020) in closed form: pairs nobody judged are nearly all dissimilar.

use std::collections::BTreeMap;

use ndarray::Array2;

use super::Training;

/// How many judged pairs each prior matrix stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PseudoCounts {
    pub(crate) similar: f64,
    pub(crate) dissimilar: f64,
}

impl PseudoCounts {
    /// For the report.
    pub(crate) fn notes(self) -> BTreeMap<String, f64> {
        BTreeMap::from([
            ("prior_dissimilar".into(), self.dissimilar),
            ("prior_similar".into(), self.similar),
        ])
    }

    /// `(S^, D^)`.
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
