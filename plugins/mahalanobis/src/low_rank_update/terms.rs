//! The terms of a low-rank update, and how a metric is reduced to an update of another one.
//!
//! With the base `B = R'R`, let `l_k` be the eigenvalues of `R^-T A R^-1` for a metric `A`, `v_k`
//! the eigenvectors, and `u_k = R^-1 v_k`: then `u_k' B u_k = 1`, and squared lengths along `u_k`
//! are `l_k` times as large under `A` as under `B`. The `rank` values farthest from the others (as
//! factors) are kept, the others replaced by their geometric mean `c`:
//!
//! `A' = c B + sum_k (l_k - c) w_k w_k'` with `w_k = B u_k`.
//!
//! This is the metric of that form that is nearest to `A` by the affine-invariant Riemannian
//! distance among those that keep its eigenvectors. It is scaled to trace `d`. The `u_k` are kept,
//! from which the base itself makes the `w_k`: it rewrites them as queries. So the base may be any
//! metric, and it is cheap to check that the `u_k` are orthonormal to it, which makes `A'` positive
//! definite.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatch is not compiled for its instruction set"
)]

use std::sync::Arc;

use affinis::plugin::{LearnError, Metric};
use ndarray::{Array2, ArrayView2, Axis};
use pulp::{Arch, Simd, WithSimd};

use crate::packed::{LANES, chunked, dot};
use crate::shape::Shaped;
use crate::spd;

/// Largest difference of the directions' products from those of orthonormal ones; rounding to f32
/// leaves some `1e-6`.
const MAX_FROM_ORTHONORMAL: f64 = 1e-4;

/// The base of low-rank updates, factored once.
#[derive(Debug)]
pub(crate) struct Base<'a> {
    metric: &'a Arc<dyn Metric>,
    matrix: Array2<f64>,
    /// Upper triangular `R` with `B = R'R`.
    factor: Array2<f64>,
    rank: usize,
}

impl<'a> Base<'a> {
    /// The base of the update that a task asks for; `None` where updates of that rank would be no
    /// smaller than matrices, or the base has no matrix.
    pub(crate) fn of(
        update: Option<&affinis::plugin::UpdateOf<'a>>,
        dim: usize,
    ) -> Result<Option<Self>, LearnError> {
        let Some(update) = update.filter(|update| update.rank > 0 && update.rank < dim) else {
            return Ok(None);
        };
        let Some(matrix) = update.base.matrix().filter(|matrix| matrix.nrows() == dim) else {
            return Ok(None);
        };
        let factor = spd::cholesky(matrix.view())?;
        Ok(Some(Self {
            metric: update.base,
            matrix,
            factor,
            rank: update.rank,
        }))
    }

    /// The base's metric.
    pub(crate) fn metric(&self) -> &'a Arc<dyn Metric> {
        self.metric
    }

    /// A metric reduced to an update of the base: its terms, and its matrix. `None` where so large
    /// an update is not positive definite once its directions are rounded to f32.
    pub(crate) fn reduce(&self, shaped: &Shaped) -> Result<Option<(Terms, Shaped)>, LearnError> {
        let d = self.factor.nrows();
        let relative = spd::solve_upper_right(&self.factor, shaped.factor.clone());
        let (values, vectors) = spd::eigen(spd::gram(&relative).view())?;
        if values.first().is_none_or(|least| *least <= 0.0) {
            return Err(LearnError::Numerical(
                "the learned matrix is not positive definite beside its base".into(),
            ));
        }
        let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        let (kept, centre) = outliers(&logs, self.rank);
        let scale = centre.exp();
        let directions = spd::solve_upper_rows(&self.factor, vectors.select(Axis(0), &kept));
        let weights = kept.iter().map(|&k| values[k] - scale).collect();
        let Ok(mut terms) = Terms::new(
            &**self.metric,
            directions.mapv(|v| v as f32),
            weights,
            scale,
        ) else {
            return Ok(None);
        };
        terms.rescale(d as f64 / terms.trace(d as f64));
        let shaped = Shaped::of(terms.matrix(&self.matrix).view())?;
        Ok(Some((terms, shaped)))
    }
}

/// The positions of the `rank` values farthest from the mean of all others, ascending, and that
/// mean.
///
/// Values are ascending, so the kept ones are some of the least and some of the greatest.
fn outliers(values: &[f64], rank: usize) -> (Vec<usize>, f64) {
    let n = values.len();
    let rest = n - rank.min(n - 1);
    // Of all runs of `rest` neighbours the one with the least scatter.
    let scatter = |from: usize| {
        let run = &values[from..from + rest];
        let mean = run.iter().sum::<f64>() / rest as f64;
        (run.iter().map(|v| (v - mean).powi(2)).sum::<f64>(), mean)
    };
    let best = (0..=n - rest)
        .map(|from| (from, scatter(from)))
        .min_by(|a, b| a.1.0.total_cmp(&b.1.0));
    let (from, mean) = best.map_or((0, 0.0), |(from, (_, mean))| (from, mean));
    ((0..from).chain(from + rest..n).collect(), mean)
}

/// The terms of `c B + sum_k weight_k w_k w_k'` besides `B`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    /// `c`.
    scale: f64,
    weights: Vec<f64>,
    /// `u_k`, one row each.
    directions: Array2<f32>,
    /// `w_k = B u_k`, one row each, in whole chunks.
    images: Vec<[f32; LANES]>,
    dim: usize,
}

impl Terms {
    /// The terms of directions (`rank x d`) orthonormal to a base, the weight of each, and the
    /// factor `c` on the base.
    ///
    /// # Errors
    /// [`LearnError::Damaged`] when the numbers are not finite, the directions are not orthonormal
    /// to the base, or what they make is not positive definite.
    pub(crate) fn new(
        base: &dyn Metric,
        directions: Array2<f32>,
        weights: Vec<f64>,
        scale: f64,
    ) -> Result<Self, LearnError> {
        let damaged = |why: &str| Err(LearnError::Damaged(why.into()));
        let (rank, dim) = directions.dim();
        if base.dim() != dim || weights.len() != rank {
            return damaged(
                "the update has another dimension than its base, or not a weight for each direction",
            );
        }
        if !(scale.is_finite() && scale > 0.0) || weights.iter().any(|w| !w.is_finite()) {
            return damaged("the update has a weight that is not finite");
        }
        let mut images = Array2::zeros((rank, dim));
        for (direction, mut image) in directions.rows().into_iter().zip(images.rows_mut()) {
            let rewritten = base.rewrite(&direction.to_vec()).direction;
            image
                .iter_mut()
                .zip(rewritten)
                .for_each(|(to, from)| *to = from);
        }
        let products = directions.mapv(f64::from).dot(&images.mapv(f64::from).t());
        let from_orthonormal =
            |((i, j), v): ((usize, usize), &f64)| (v - f64::from(u8::from(i == j))).abs();
        let farthest = products
            .indexed_iter()
            .map(from_orthonormal)
            .fold(0.0, |far: f64, v| if v > far { v } else { far });
        if products.iter().any(|v| v.is_nan()) || farthest > MAX_FROM_ORTHONORMAL {
            return damaged("the directions of the update are not orthonormal to its base");
        }
        // Directions that far from orthonormal could add up to this much more.
        let slack = 1.0 + rank as f64 * farthest;
        if weights.iter().any(|w| scale + w * slack <= 0.0) {
            return damaged("the update is not positive definite");
        }
        let in_chunks = images
            .rows()
            .into_iter()
            .flat_map(|image| chunked(dim.div_ceil(LANES), image.iter().copied()));
        Ok(Self {
            scale,
            weights,
            directions,
            images: in_chunks.collect(),
            dim,
        })
    }

    /// The number of directions.
    pub(crate) fn rank(&self) -> usize {
        self.weights.len()
    }

    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    pub(crate) fn directions(&self) -> ArrayView2<'_, f32> {
        self.directions.view()
    }

    fn rescale(&mut self, factor: f64) {
        self.scale *= factor;
        self.weights.iter_mut().for_each(|weight| *weight *= factor);
    }

    /// Number of chunks of a row.
    fn row_chunks(&self) -> usize {
        self.dim.div_ceil(LANES)
    }

    fn image(&self, k: usize) -> &[f32] {
        &self.images[k * self.row_chunks()..(k + 1) * self.row_chunks()].as_flattened()[..self.dim]
    }

    /// The trace of the update of a base of trace `of_base`.
    pub(crate) fn trace(&self, of_base: f64) -> f64 {
        let square = |k| {
            self.image(k)
                .iter()
                .map(|v| f64::from(*v).powi(2))
                .sum::<f64>()
        };
        self.scale * of_base
            + self
                .weights
                .iter()
                .enumerate()
                .map(|(k, weight)| weight * square(k))
                .sum::<f64>()
    }

    /// The matrix `A'` (`d x d`) for the matrix `B` of the base.
    pub(crate) fn matrix(&self, base: &Array2<f64>) -> Array2<f64> {
        let images = Array2::from_shape_fn((self.weights.len(), self.dim), |(k, j)| {
            f64::from(self.image(k)[j])
        });
        let mut weighed = images.clone();
        for (mut row, weight) in weighed.rows_mut().into_iter().zip(&self.weights) {
            row.mapv_inplace(|v| v * weight);
        }
        let mut matrix = base * self.scale + images.t().dot(&weighed);
        spd::symmetrise(&mut matrix);
        matrix
    }

    /// `w_k . x` for every direction, in f32.
    pub(crate) fn products(&self, x: &[f32]) -> Vec<f32> {
        let x = chunked(self.row_chunks(), x.iter().copied());
        let mut out = vec![0.0; self.weights.len()];
        Arch::new().dispatch(Products {
            rows: &self.images,
            x: &x,
            out: &mut out,
        });
        out
    }

    /// The sum `sum_k weight_k (w_k . x)^2` of products `w_k . x`, which the update adds to `c`
    /// times the base's squared length.
    pub(crate) fn added(&self, products: &[f32]) -> f64 {
        self.weights
            .iter()
            .zip(products)
            .map(|(weight, p)| weight * f64::from(*p) * f64::from(*p))
            .sum()
    }

    /// The same sum for a vector in f64.
    pub(crate) fn added_in_full(&self, x: impl Iterator<Item = f64>) -> f64 {
        let x = chunked(self.row_chunks(), x);
        Arch::new().dispatch(Added {
            rows: &self.images,
            x: &x,
            weights: &self.weights,
        })
    }

    /// Adds `sum_k weight_k (w_k . x) w_k`, for products `w_k . x`, to `direction`.
    pub(crate) fn add_to_direction(&self, products: &[f32], direction: &mut [f32]) {
        let mut sums = vec![[0.0; LANES]; self.row_chunks()];
        let factors: Vec<f32> = self
            .weights
            .iter()
            .zip(products)
            .map(|(weight, p)| (*weight * f64::from(*p)) as f32)
            .collect();
        Arch::new().dispatch(AddToDirection {
            rows: &self.images,
            factors: &factors,
            sums: &mut sums,
        });
        direction
            .iter_mut()
            .zip(sums.as_flattened())
            .for_each(|(to, sum)| *to += sum);
    }
}

struct Products<'a> {
    rows: &'a [[f32; LANES]],
    x: &'a [[f32; LANES]],
    out: &'a mut [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (row, out) in self.rows.chunks_exact(self.x.len()).zip(self.out) {
            *out = dot(row, self.x);
        }
    }
}

struct Added<'a> {
    rows: &'a [[f32; LANES]],
    x: &'a [[f64; LANES]],
    weights: &'a [f64],
}

impl WithSimd for Added<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut all = 0.0;
        for (row, weight) in self.rows.chunks_exact(self.x.len()).zip(self.weights) {
            let product = dot(row, self.x);
            all += weight * product * product;
        }
        all
    }
}

struct AddToDirection<'a> {
    rows: &'a [[f32; LANES]],
    factors: &'a [f32],
    sums: &'a mut [[f32; LANES]],
}

impl WithSimd for AddToDirection<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (row, factor) in self.rows.chunks_exact(self.sums.len()).zip(self.factors) {
            for (sum, a) in self.sums.iter_mut().zip(row) {
                for lane in 0..LANES {
                    sum[lane] += factor * a[lane];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use affinis::plugin::Metric;
    use ndarray::Array2;

    use super::{Base, outliers};
    use crate::metric::MahalanobisMetric;
    use crate::shape::shaped;

    /// Base and candidate at the cap on the condition number, in the same directions the other way
    /// round.
    #[test]
    fn the_largest_changes_are_kept_exactly() {
        let d = 80;
        let diagonal = |weight: fn(usize) -> f64| {
            Array2::from_diag(&(0..d).map(weight).collect::<ndarray::Array1<f64>>())
        };
        let base: std::sync::Arc<dyn Metric> = std::sync::Arc::new(
            MahalanobisMetric::new(diagonal(|i| if i < 4 { 16.0 } else { 1.0 }).view()).unwrap(),
        );
        let candidate = shaped(diagonal(|i| if i < 4 { 1.0 } else { 16.0 }), 16.0).unwrap();
        let update = affinis::plugin::UpdateOf {
            base: &base,
            rank: 64,
        };
        let (_, reduced) = Base::of(Some(&update), d)
            .unwrap()
            .unwrap()
            .reduce(&candidate)
            .unwrap()
            .expect("an update");
        let difference = (&reduced.factor - &candidate.factor)
            .iter()
            .fold(0.0_f64, |most, v| most.max(v.abs()));
        assert!(difference < 1e-4, "{difference}");
    }

    #[test]
    fn the_values_farthest_from_the_rest_are_kept() {
        let values = [-3.0, -0.1, 0.0, 0.1, 0.2, 2.0, 5.0];
        let (kept, mean) = outliers(&values, 3);
        assert_eq!(kept, [0, 5, 6]);
        assert!((mean - 0.05).abs() < 1e-12);
        assert_eq!(
            outliers(&values, 7).0.len(),
            6,
            "one is left to be the centre"
        );
        assert_eq!(outliers(&[1.0, 1.0, 1.0], 1).1, 1.0);
    }
}
