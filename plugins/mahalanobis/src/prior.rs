//! What the collection's own geometry says before any judgement.
//!
//! `U` is the items' covariance: how any two items differ, that is how dissimilar ones do, since nearly all unlabelled
//! pairs are dissimilar. `W` is the scatter of items to their nearest neighbours: how similar ones differ. Both are
//! scaled to trace `d` and shrunk towards the identity, `.9 M + .1 I`; the share of `M` falls further when it rests on
//! few vectors, so that a tiny, degenerate or empty sample gives the identity and not a singular matrix.
//!
//! Where one person's metric is learned, the prior is what everybody else's judgements have made of it: their posterior
//! scatters, with the weight that the prior has anyway. The person's own judgements are not among them, so nothing is
//! counted twice, and what others said is outweighed as soon as what the collection says would be.

use std::collections::BTreeMap;

use affinis::{Examples, LearnError, Sample, Task};
use ndarray::{Array2, Axis};

use crate::evidence::Evidence;
use crate::scatter;

/// How much of a well sampled matrix is kept.
const SHARE: f64 = 0.9;

/// Both prior matrices, symmetric positive definite with trace `d`.
#[derive(Debug, Clone)]
pub(crate) struct Prior {
    /// `W`: of similar pairs.
    pub(crate) similar: Array2<f64>,
    /// `U`: of dissimilar pairs.
    pub(crate) dissimilar: Array2<f64>,
}

impl Prior {
    /// The prior of a task: the collection's geometry, with what others judged where one person's metric is learned.
    /// `parameters` are the learner's.
    ///
    /// # Errors
    /// As [`Prior::new`], and for judgements that are out of range.
    pub(crate) fn of(
        task: &Task<'_>,
        others: Option<&Examples>,
        parameters: &BTreeMap<String, f64>,
    ) -> Result<Self, LearnError> {
        let prior = Self::new(task.dim, task.sample)?;
        let Some(others) = others else { return Ok(prior) };
        let evidence = Evidence::new(task.dim, others)?;
        let judged = scatter::scatters(&evidence, scatter::as_chunklets(&evidence), |_| true, |_| true);
        let count = |name: &str| parameters.get(name).copied().unwrap_or(0.0);
        Ok(Self {
            similar: judged.similar.posterior(&prior.similar, count("prior_similar")),
            dissimilar: judged.dissimilar.posterior(&prior.dissimilar, count("prior_dissimilar")),
        })
    }

    /// # Errors
    /// [`LearnError::Numerical`] when the sample is of another dimension or not finite.
    pub(crate) fn new(dim: usize, sample: &Sample) -> Result<Self, LearnError> {
        for (what, rows) in [("items", &sample.items), ("neighbour differences", &sample.neighbour_differences)] {
            if rows.nrows() > 0 && rows.ncols() != dim {
                return Err(LearnError::Numerical(format!(
                    "the sample's {what} have {} numbers, the task says {dim}",
                    rows.ncols()
                )));
            }
            if rows.iter().any(|v| !v.is_finite()) {
                return Err(LearnError::Numerical(format!("the sample's {what} have a number that is not finite")));
            }
        }
        let centred = sample.items.mean_axis(Axis(0)).map(|mean| &sample.items - &mean);
        Ok(Self {
            similar: shrunk(dim, &sample.neighbour_differences),
            dissimilar: centred.map_or_else(|| Array2::eye(dim), |rows| shrunk(dim, &rows)),
        })
    }
}

/// `sh(M)` of the scatter of given rows, with the share `.9 n / (n + d / 10)` of `n` rows.
fn shrunk(dim: usize, rows: &Array2<f32>) -> Array2<f64> {
    let identity = Array2::eye(dim);
    let n = rows.nrows() as f64;
    let share = SHARE * n / (n + dim as f64 / 10.0);
    match (rows.nrows() > 0).then(|| scatter::of_rows(rows.view())).flatten() {
        Some(matrix) => matrix * share + identity * (1.0 - share),
        None => identity,
    }
}
