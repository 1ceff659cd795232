//! [`MahalanobisMetric`]: `d_A(x, y) = (x-y)' A (x-y)`, held as the triangular factor of `A`.

use std::sync::OnceLock;

use affinis::plugin::{Direction, LearnError, Metric, Rewritten};
use ndarray::{Array2, ArrayView2};

use crate::fingerprints::Fingerprints;
use crate::packed::Packed;
use crate::shape::shaped;
use crate::spd;
use crate::{codec, explain};

/// The largest dimension of a collection.
pub(crate) const MAX_DIM: usize = 4096;

/// The largest condition number of an imported matrix, beyond which distances in f32 are noise.
const MAX_CONDITION: f64 = 1e10;

/// A learned metric `A = R'R`, scaled to trace `d`.
///
/// `R` is upper triangular, so items are mapped, and their biases computed, with half of the
/// products that a full matrix would take. A query is rewritten with `A` itself, of which every
/// number above the diagonal is read once for both of its places. Distances are computed in f64;
/// queries are rewritten, items mapped and their biases computed in f32, with squares summed in
/// f64. The result is the same to the bit for any batch.
#[derive(Debug, Clone, PartialEq)]
pub struct MahalanobisMetric {
    factor: Packed<f64>,
    single: Packed<f32>,
    /// The upper half of `A` in single precision, made for the first query.
    half: OnceLock<Packed<f32>>,
    condition: f64,
    seen: Fingerprints,
}

impl MahalanobisMetric {
    /// Makes a metric of a symmetric positive definite matrix, which is scaled to trace `d`.
    ///
    /// # Errors
    /// [`LearnError::NotAMetric`] when the matrix is not square with 1 to 4,096 rows, not finite,
    /// not symmetric to 1e-8 of its largest number, not positive definite, or worse conditioned
    /// than 1e10.
    pub fn new(matrix: ArrayView2<'_, f64>) -> Result<Self, LearnError> {
        let d = matrix.nrows();
        if d == 0 || d > MAX_DIM || matrix.ncols() != d {
            return refuse(format!(
                "{d} x {} numbers; it takes a square of 1 to {MAX_DIM} rows",
                matrix.ncols()
            ));
        }
        if let Some(((i, j), v)) = matrix.indexed_iter().find(|(_, v)| !v.is_finite()) {
            return refuse(format!("row {i}, column {j} is {v}"));
        }
        let largest = matrix.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        if largest == 0.0 {
            return refuse("the matrix is zero".into());
        }
        spd::check_symmetric(matrix)?;
        let mut a = matrix
            .mapv(|v| v / largest)
            .as_standard_layout()
            .into_owned();
        spd::symmetrise(&mut a);
        let trace = a.diag().sum();
        if trace <= 0.0 {
            return refuse("its trace is not above 0".into());
        }
        a.mapv_inplace(|v| v * (d as f64 / trace));
        let (least, greatest) = spd::extreme_eigenvalues(a.view())?;
        if least <= 0.0 || greatest / least > MAX_CONDITION {
            return refuse(format!(
                "its eigenvalues run from {least:.3e} to {greatest:.3e} (trace scaled to {d}); they must be above 0 \
                 and at most a factor {MAX_CONDITION:.0e} apart"
            ));
        }
        let factor = spd::cholesky(a.view())?;
        Ok(Self::from_factor(&factor, greatest / least))
    }

    /// Makes a metric of a symmetric positive semidefinite matrix, which is scaled to trace `d` and
    /// lifted by a multiple of the identity until its condition number is at most `cap`.
    ///
    /// # Errors
    /// [`LearnError::NotAMetric`] when the matrix is not square and symmetric,
    /// [`LearnError::Numerical`] when a number is not finite or the trace is not above 0.
    pub fn capped(matrix: Array2<f64>, cap: f64) -> Result<Self, LearnError> {
        let shaped = shaped(matrix, cap)?;
        Ok(Self::from_factor(&shaped.factor, shaped.condition))
    }

    /// The metric of the factor `R` (upper triangular, positive diagonal) of a matrix of trace `d`
    /// with that condition number.
    pub(crate) fn from_factor(factor: &Array2<f64>, condition: f64) -> Self {
        Self::from_packed(
            Packed::from_fn(factor.nrows(), |i, j| factor[[i, j]]),
            condition,
            Fingerprints::default(),
        )
    }

    pub(crate) fn from_packed(factor: Packed<f64>, condition: f64, seen: Fingerprints) -> Self {
        let single = factor.to_single();
        Self {
            factor,
            single,
            half: OnceLock::new(),
            condition: condition.max(1.0),
            seen,
        }
    }

    /// The same metric with the fingerprints of the judgements that it was fitted to.
    pub(crate) fn with_seen(mut self, seen: Fingerprints) -> Self {
        self.seen = seen;
        self
    }

    /// The condition number `cond A`.
    pub fn condition(&self) -> f64 {
        self.condition
    }

    /// The matrix `A` (`d x d`).
    fn full(&self) -> Array2<f64> {
        spd::gram_of_upper(&self.factor.to_array())
    }

    pub(crate) fn packed(&self) -> &Packed<f64> {
        &self.factor
    }

    pub(crate) fn seen(&self) -> &Fingerprints {
        &self.seen
    }
}

impl Metric for MahalanobisMetric {
    fn dim(&self) -> usize {
        self.factor.dim()
    }

    fn rewrite(&self, query: &[f32]) -> Rewritten {
        let half = self
            .half
            .get_or_init(|| Packed::upper_half(&self.full()).to_single());
        let direction = half.both_ways(query);
        let offset: f64 = query
            .iter()
            .zip(&direction)
            .map(|(q, d)| f64::from(*q) * f64::from(*d))
            .sum();
        Rewritten::new(direction, offset.max(0.0) as f32)
    }

    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
        self.single.squares(items, out);
    }

    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        // Every search for items like a stored one meets that item itself.
        if x == y {
            return 0.0;
        }
        self.factor
            .square(x.iter().zip(y).map(|(a, b)| f64::from(*a) - f64::from(*b)))
    }

    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        self.single.images(items)
    }

    fn distortion(&self) -> f64 {
        self.condition.sqrt()
    }

    fn matrix(&self) -> Option<Array2<f64>> {
        Some(self.full())
    }

    fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    fn directions(&self, x: &[f32], y: &[f32]) -> Result<Vec<Direction>, LearnError> {
        explain::directions(&self.full(), x, y)
    }
}

fn refuse<T>(why: String) -> Result<T, LearnError> {
    Err(LearnError::NotAMetric(why))
}
