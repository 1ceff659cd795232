//! The prior: the collection's own geometry, before any judgement.
//!
//! `U` is the items' covariance, which estimates how dissimilar items differ, since nearly all
//! pairs that nobody judged are dissimilar. `W` is the scatter of items to their nearest
//! neighbours, which estimates how similar ones differ. Both are scaled to trace `d` and shrunk
//! towards the identity, `.9 M + .1 I`; the share of `M` falls further when it rests on few
//! vectors, so that a tiny, degenerate or empty sample gives the identity and not a singular
//! matrix.
//!
//! Where one person's metric is learned, the prior is the posterior of everybody else's judgements,
//! with the weight that the prior has anyway. The person's own judgements are not among them, so
//! nothing is counted twice, and others' judgements are outweighed as soon as the collection's
//! geometry would be.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use affinis::plugin::{Examples, LearnError, Sample, Task};
use ndarray::{Array2, Axis};

use crate::fingerprints::splitmix;
use crate::judgements::Judgements;
use crate::scatter;

/// The share of the sampled matrix in a prior of many vectors; the rest is the identity.
const SHARE: f64 = 0.9;

/// The two prior matrices (`d x d`), symmetric positive definite with trace `d`.
#[derive(Debug, Clone)]
pub(crate) struct Prior {
    /// `W`: of similar pairs.
    pub(crate) similar: Array2<f64>,
    /// `U`: of dissimilar pairs.
    pub(crate) dissimilar: Array2<f64>,
}

/// The prior that was made last, with its sample's identity: a store gives the same sample until
/// many items are new, and most of a small refit's time would go into its scatters. Clones share
/// it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Priors(Arc<Mutex<Option<Known>>>);

type Known = (Identity, Arc<Prior>);

/// The identity of a sample: its dimension, its numbers of rows, and two hashes of all its numbers.
type Identity = (usize, [usize; 2], [u64; 2]);

impl PartialEq for Priors {
    /// Always equal: the remembered prior changes nothing but time.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Priors {
    /// The prior of a collection's geometry.
    ///
    /// # Errors
    /// As [`Prior::new`].
    fn of(&self, dim: usize, sample: &Sample) -> Result<Arc<Prior>, LearnError> {
        let identity = identity(dim, sample);
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, prior)) = known().as_ref().filter(|(of, _)| *of == identity) {
            return Ok(Arc::clone(prior));
        }
        let prior = Arc::new(Prior::new(dim, sample)?);
        *known() = Some((identity, Arc::clone(&prior)));
        Ok(prior)
    }

    /// The prior of a task: the collection's geometry, with others' judgements where one person's
    /// metric is learned. `notes` are the learner's.
    ///
    /// # Errors
    /// As [`Prior::new`], and for judgements that are out of range.
    pub(crate) fn of_task(
        &self,
        task: &Task<'_>,
        others: Option<&Examples>,
        notes: &BTreeMap<String, f64>,
    ) -> Result<Arc<Prior>, LearnError> {
        let prior = self.of(task.dim, task.sample)?;
        let Some(others) = others else {
            return Ok(prior);
        };
        let judgements = Judgements::new(task.dim, others)?;
        let judged = scatter::of_all(&judgements);
        let count = |name: &str| notes.get(name).copied().unwrap_or(0.0);
        Ok(Arc::new(Prior {
            similar: judged
                .similar
                .posterior(&prior.similar, count("prior_similar")),
            dissimilar: judged
                .dissimilar
                .posterior(&prior.dissimilar, count("prior_dissimilar")),
        }))
    }
}

/// The identity of a sample; its hashes are eight lanes of multiplications and exclusive ors, mixed
/// at the end with two seeds.
fn identity(dim: usize, sample: &Sample) -> Identity {
    const LANES: usize = 8;
    let matrices = [&sample.items, &sample.neighbour_differences];
    let mut lanes: [u64; LANES] = std::array::from_fn(|lane| splitmix(lane as u64));
    for row in matrices.iter().flat_map(|matrix| matrix.rows()) {
        let row = row
            .to_slice()
            .map_or_else(|| Cow::Owned(row.to_vec()), Cow::Borrowed);
        let (eights, rest) = row.as_chunks::<LANES>();
        for eight in eights {
            for (lane, v) in lanes.iter_mut().zip(eight) {
                *lane = (*lane ^ u64::from(v.to_bits()))
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .rotate_left(29);
            }
        }
        for v in rest {
            lanes[0] = splitmix(lanes[0] ^ u64::from(v.to_bits()));
        }
    }
    let hash = |seed| lanes.iter().fold(seed, |hash, lane| splitmix(hash ^ lane));
    (dim, matrices.map(Array2::nrows), [hash(1), hash(2)])
}

impl Prior {
    /// The prior of a sample of a collection of dimension `dim`.
    ///
    /// # Errors
    /// [`LearnError::Numerical`] when the sample is of another dimension or not finite.
    pub(crate) fn new(dim: usize, sample: &Sample) -> Result<Self, LearnError> {
        for (what, rows) in [
            ("items", &sample.items),
            ("neighbour differences", &sample.neighbour_differences),
        ] {
            if rows.nrows() > 0 && rows.ncols() != dim {
                return Err(LearnError::Numerical(format!(
                    "the sample's {what} have {} numbers, the task says {dim}",
                    rows.ncols()
                )));
            }
            if rows.iter().any(|v| !v.is_finite()) {
                return Err(LearnError::Numerical(format!(
                    "the sample's {what} have a number that is not finite"
                )));
            }
        }
        let centred = sample
            .items
            .mean_axis(Axis(0))
            .map(|mean| &sample.items - &mean);
        Ok(Self {
            similar: shrunk(dim, &sample.neighbour_differences),
            dissimilar: centred.map_or_else(|| Array2::eye(dim), |rows| shrunk(dim, &rows)),
        })
    }
}

/// The scatter of rows shrunk towards the identity: its share is `.9 n / (n + d / 10)` for `n`
/// rows.
fn shrunk(dim: usize, rows: &Array2<f32>) -> Array2<f64> {
    let identity = Array2::eye(dim);
    let n = rows.nrows() as f64;
    let share = SHARE * n / (n + dim as f64 / 10.0);
    match (rows.nrows() > 0)
        .then(|| scatter::of_rows(rows.view()))
        .flatten()
    {
        Some(matrix) => matrix * share + identity * (1.0 - share),
        None => identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_that_differs_in_one_number_has_a_prior_of_its_own() {
        let sample = |last: f32| Sample {
            items: Array2::from_shape_fn((40, 11), |(i, j)| {
                if (i, j) == (39, 10) {
                    last
                } else {
                    (i * j) as f32
                }
            }),
            neighbour_differences: Array2::from_shape_fn((40, 11), |(i, j)| {
                (i as f32 - j as f32).sin()
            }),
        };
        let priors = Priors::default();
        for last in [0.5, 0.75, 0.5, 0.5] {
            let (cached, new) = (
                priors.of(11, &sample(last)).expect("a prior"),
                Prior::new(11, &sample(last)),
            );
            let new = new.expect("a prior");
            assert_eq!(
                (&cached.similar, &cached.dissimilar),
                (&new.similar, &new.dissimilar)
            );
        }
        assert!(Arc::ptr_eq(
            &priors.of(11, &sample(0.5)).expect("known"),
            &priors.of(11, &sample(0.5)).expect("known")
        ));
        assert!(
            priors.of(10, &sample(0.5)).is_err(),
            "a dimension that is not the sample's"
        );
    }
}
