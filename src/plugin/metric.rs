//! [`Metric`]: the distance that the index searches under.

use std::fmt::Debug;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::LearnError;

/// A distance between vectors of `d` numbers that one dot product and one cached number an item
/// answer.
///
/// Implementations are deterministic: the same input gives the same bits, whatever the batch it
/// comes in, because biases are computed one item at a time on first touch and many at a time in
/// the background. [`conformance::check_metric`](super::conformance::check_metric) checks this and
/// all that is said below; a store runs it on every metric that it takes in.
///
/// # Examples
/// A metric that weighs each axis, `d(x, y) = sum_k w_k (x_k - y_k)^2`:
/// ```
/// use affinis::plugin::conformance::check_metric;
/// use affinis::plugin::{Metric, Rewritten};
/// use ndarray::{Array2, ArrayView2, arr1, array};
///
/// #[derive(Debug)]
/// struct Weighted(Vec<f64>);
///
/// impl Metric for Weighted {
///     fn dim(&self) -> usize {
///         self.0.len()
///     }
///
///     fn rewrite(&self, query: &[f32]) -> Rewritten {
///         let direction = query.iter().zip(&self.0).map(|(q, w)| f64::from(*q) * w);
///         let direction: Vec<f32> = direction.map(|number| number as f32).collect();
///         let products = query.iter().zip(&direction);
///         let offset: f64 = products.map(|(q, p)| f64::from(*q) * f64::from(*p)).sum();
///         Rewritten::new(direction, offset as f32)
///     }
///
///     fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
///         for (item, bias) in items.rows().into_iter().zip(out) {
///             let squares = item.iter().zip(&self.0).map(|(x, w)| f64::from(*x).powi(2) * w);
///             *bias = squares.sum::<f64>() as f32;
///         }
///     }
///
///     fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
///         let differences = x.iter().zip(y).map(|(x, y)| f64::from(*x) - f64::from(*y));
///         differences.zip(&self.0).map(|(difference, w)| difference.powi(2) * w).sum()
///     }
///
///     fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
///         Array2::from_shape_fn(items.dim(), |(i, k)| items[[i, k]] * self.0[k].sqrt() as f32)
///     }
///
///     fn distortion(&self) -> f64 {
///         let least = self.0.iter().copied().fold(f64::MAX, f64::min);
///         let greatest = self.0.iter().copied().fold(0.0, f64::max);
///         (greatest / least).sqrt()
///     }
///
///     fn matrix(&self) -> Option<Array2<f64>> {
///         Some(Array2::from_diag(&arr1(&self.0)))
///     }
///
///     fn encode(&self) -> Vec<u8> {
///         self.0.iter().flat_map(|w| w.to_le_bytes()).collect()
///     }
/// }
///
/// let metric = Weighted(vec![0.5, 1.5]);
/// let vectors = array![[1.0_f32, 0.0], [0.0, 2.0], [3.0, 3.0]];
/// assert_eq!(check_metric(&metric, vectors.view()), Ok(()));
/// assert_eq!(metric.distance(&[1.0, 0.0], &[0.0, 2.0]), 0.5 + 6.0);
/// ```
pub trait Metric: Send + Sync + Debug {
    /// Dimension `d` of the vectors.
    fn dim(&self) -> usize;

    /// Rewrites a query (`d` numbers), so that `d(q, x) = offset - 2 direction . x + bias(x)` for
    /// every item `x`.
    fn rewrite(&self, query: &[f32]) -> Rewritten;

    /// Writes the biases `x' A x` of items (`n x d`, standard layout) to `out` (`n`).
    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]);

    /// Distance `(x - y)' A (x - y)` between two vectors (`d` numbers each), computed directly,
    /// without the cancellation of the rewriting. It is not below 0, and 0 where `x` is `y`.
    fn distance(&self, x: &[f32], y: &[f32]) -> f64;

    /// Maps items (`n x d`) to rows (`n`) between which this metric is the squared Euclidean
    /// distance: `L x` with `A = L' L`.
    ///
    /// Graphs are built in that space. A distance that is no metric maps to one that keeps the
    /// order of neighbours as well as it can be kept.
    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32>;

    /// Distortion `sqrt(cond A)`, at least 1: the largest factor by which two directions of equal
    /// Euclidean length differ in length under the metric.
    fn distortion(&self) -> f64;

    /// Matrix `A` (`d x d`, symmetric); `None` for a distance that is no Mahalanobis metric.
    fn matrix(&self) -> Option<Array2<f64>>;

    /// Encodes the metric, so that [`MetricLearner::decode`] of the same plugin reads back one
    /// that answers with the same bits.
    ///
    /// [`MetricLearner::decode`]: super::MetricLearner::decode
    fn encode(&self) -> Vec<u8>;

    /// Contributions of directions to the distance between two vectors, the largest first; they
    /// add up to it.
    ///
    /// The directions of a Mahalanobis metric are the eigenvectors `v` of `A`; with the eigenvalue
    /// `w` one contributes `w (v . (x - y))^2`. By default the only direction is `x - y`, of the
    /// weight `distance / |x - y|^2`. There is none between equal vectors, or without a matrix.
    ///
    /// # Errors
    /// [`LearnError::Numerical`] when the eigenproblem does not converge.
    fn directions(&self, x: &[f32], y: &[f32]) -> Result<Vec<Direction>, LearnError> {
        let euclidean: f64 = x
            .iter()
            .zip(y)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
            .sum();
        if euclidean <= 0.0 || self.matrix().is_none() {
            return Ok(Vec::new());
        }
        let contribution = self.distance(x, y);
        Ok(vec![Direction {
            weight: contribution / euclidean,
            contribution,
            share: 1.0,
        }])
    }
}

/// A query rewritten for a metric: `d(q, x) = offset - 2 direction . x + bias(x)`.
///
/// The rewriting is exact for every symmetric `A`, up to rounding. The biases are needed: without
/// them items would be ranked by another distance.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rewritten {
    /// Vector whose dot product with an item is taken (`d` numbers); `A q` for a Mahalanobis
    /// metric.
    pub direction: Vec<f32>,
    /// Term of the query, equal for all items; `q' A q` for a Mahalanobis metric.
    pub offset: f32,
}

impl Rewritten {
    /// A rewritten query of a direction (`d` numbers) and the query's own term.
    pub fn new(direction: Vec<f32>, offset: f32) -> Self {
        Self { direction, offset }
    }
}

/// Contribution of one direction to a distance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Direction {
    /// Factor of the metric on squared lengths along the direction; 1 for Euclid.
    pub weight: f64,
    /// Contribution to the distance. Divided by the weight it is the contribution to the squared
    /// Euclidean distance.
    pub contribution: f64,
    /// The contribution over the distance.
    pub share: f64,
}

impl Direction {
    /// A direction of a weight with its contribution to a distance, and its share of that distance.
    pub fn new(weight: f64, contribution: f64, share: f64) -> Self {
        Self {
            weight,
            contribution,
            share,
        }
    }
}
