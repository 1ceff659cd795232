//! Symmetric positive definite matrices: the weighted geometric mean, Cholesky factors, eigenvalues
//! and eigenvectors.
//!
//! `X #_t Y = X^1/2 (X^-1/2 Y X^-1/2)^t X^1/2` is the point at `t` on the geodesic from `X` to `Y`
//! (Bhatia, *Positive Definite Matrices*, 2007, chapter 6). It is computed as Iannazzo does (arXiv
//! 1201.0101, section 3), by Cholesky factors and one symmetric eigenproblem, which serves every
//! `t`.

mod backend;
mod dense;
mod derivative;
#[cfg(feature = "lapack")]
mod lapack;
#[cfg(test)]
mod tests;

use affinis::plugin::LearnError;
use ndarray::{Array2, ArrayView2};

use backend::Backend;
use dense::{Factor, Shape};

pub(crate) use backend::symmetrise;
pub use dense::gram;
pub(crate) use dense::{add_gram, mirror, solve_upper_right, solve_upper_rows};

/// The geodesic between two symmetric positive definite matrices, factored once for every point on
/// it.
///
/// Both ends are diagonal in one basis `B` (rows `b_k`): `X = B'B` and `Y = B' diag(w) B`, so `X
/// #_t Y = B' diag(w^t) B`.
#[derive(Debug, Clone)]
pub struct GeneralizedEigen {
    values: Vec<f64>,
    basis: Array2<f64>,
    /// The geodesic was factored from its far end: the point at `t` is the one at `1 - t` here.
    swapped: bool,
}

impl GeneralizedEigen {
    /// The geodesic from `x` to `y` (`d x d`, symmetric positive definite).
    ///
    /// The two are swapped when `x` is the worse conditioned, by the ratio of the Cholesky factors'
    /// diagonals.
    ///
    /// # Errors
    /// [`LearnError::NotAMetric`] when either is not symmetric positive definite to working
    /// precision, or they differ in size.
    pub fn between(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>) -> Result<Self, LearnError> {
        Self::between_with::<backend::Default>(x, y)
    }

    fn between_with<F: Backend>(
        x: ArrayView2<'_, f64>,
        y: ArrayView2<'_, f64>,
    ) -> Result<Self, LearnError> {
        check_ends(x, y)?;
        let rx = factor::<F>(x, "the near end of the geodesic")?;
        let ry = factor::<F>(y, "the far end of the geodesic")?;
        let swapped = pivot_ratio(&rx) > pivot_ratio(&ry);
        let (near, far) = if swapped { (ry, rx) } else { (rx, ry) };
        // Z = R_far R_near^-1, Z'Z = V' diag(w) V, B = V R_near.
        let z = dense::solve_upper_right(&near, far);
        let (values, vectors) = F::eigen(dense::gram(&z))?;
        let basis = dense::product(
            Factor::new(&vectors, Shape::Full),
            Factor::new(&near, Shape::Upper),
        );
        Ok(Self {
            values: positive(values),
            basis,
            swapped,
        })
    }

    /// The geodesic from `s^-1` to `d`, without inverting `s`: GMML's path from the similar scatter
    /// to the dissimilar.
    ///
    /// With `s = LL'`: `L'dL = V diag(w) V'` and `B = V' L^-1`.
    ///
    /// # Errors
    /// As [`GeneralizedEigen::between`].
    pub fn of_scatters(s: ArrayView2<'_, f64>, d: ArrayView2<'_, f64>) -> Result<Self, LearnError> {
        Self::of_scatters_with::<backend::Default>(s, d)
    }

    fn of_scatters_with<F: Backend>(
        s: ArrayView2<'_, f64>,
        d: ArrayView2<'_, f64>,
    ) -> Result<Self, LearnError> {
        check_ends(s, d)?;
        // R = L' is upper: L'dL = R (R d)' = R (d R').
        let r = factor::<F>(s, "the scatter of similar pairs")?;
        let upper = Factor::new(&r, Shape::Upper);
        let d = d.as_standard_layout().into_owned();
        let rd = dense::product(upper, Factor::new(&d, Shape::Full));
        let dr = rd.reversed_axes().as_standard_layout().into_owned();
        let inner = dense::symmetric_product(upper, Factor::new(&dr, Shape::Full));
        let (values, vectors) = F::eigen(inner)?;
        if values
            .first()
            .is_some_and(|w| *w < -1e-9 * values.last().copied().unwrap_or(0.0).abs())
        {
            return Err(LearnError::NotAMetric(
                "the scatter of dissimilar pairs is not positive definite".into(),
            ));
        }
        Ok(Self {
            values: positive(values),
            basis: dense::solve_upper_rows(&r, vectors),
            swapped: false,
        })
    }

    /// The point at `t`: `X` at 0, `Y` at 1. Outside of `[0, 1]` the geodesic goes on.
    pub fn at(&self, t: f64) -> Array2<f64> {
        dense::gram(&self.factor(t))
    }

    /// A factor `F` of the point at `t`: `X #_t Y = F'F`.
    pub fn factor(&self, t: f64) -> Array2<f64> {
        let t = if self.swapped { 1.0 - t } else { t };
        let mut factor = self.basis.clone();
        for (mut row, w) in factor.rows_mut().into_iter().zip(&self.values) {
            let scale = w.powf(0.5 * t);
            row.iter_mut().for_each(|v| *v *= scale);
        }
        factor
    }

    /// The eigenvalues of `X^-1 Y`, ascending: the factors by which squared lengths grow from one
    /// end to the other.
    pub fn values(&self) -> Vec<f64> {
        if self.swapped {
            self.values.iter().rev().map(|w| 1.0 / w).collect()
        } else {
            self.values.clone()
        }
    }
}

/// The weighted geometric mean `x #_t y` (`d x d`).
///
/// ```
/// use affinis_mahalanobis::spd::geometric_mean;
/// use ndarray::array;
///
/// let mean = geometric_mean(array![[1.0]].view(), array![[16.0]].view(), 0.5)?;
/// assert!((mean[[0, 0]] - 4.0).abs() < 1e-12);
/// # Ok::<(), affinis::plugin::LearnError>(())
/// ```
///
/// # Errors
/// As [`GeneralizedEigen::between`].
pub fn geometric_mean(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    t: f64,
) -> Result<Array2<f64>, LearnError> {
    Ok(GeneralizedEigen::between(x, y)?.at(t))
}

/// The upper Cholesky factor `R` of `a = R'R`.
///
/// # Errors
/// [`LearnError::NotAMetric`] when `a` is not square, symmetric and positive definite to working
/// precision.
pub fn cholesky(a: ArrayView2<'_, f64>) -> Result<Array2<f64>, LearnError> {
    check_symmetric(a)?;
    factor::<backend::Default>(a, "the matrix")
}

/// The smallest and the largest eigenvalue of a symmetric matrix.
///
/// # Errors
/// [`LearnError::NotAMetric`] when it is not square and symmetric, [`LearnError::Numerical`] when
/// the eigenproblem does not converge.
pub fn extreme_eigenvalues(a: ArrayView2<'_, f64>) -> Result<(f64, f64), LearnError> {
    check_symmetric(a)?;
    let values = backend::Default::eigenvalues(a.as_standard_layout().into_owned())?;
    match (values.first(), values.last()) {
        (Some(&least), Some(&greatest)) => Ok((least, greatest)),
        _ => Err(LearnError::Numerical(
            "a matrix without rows has no eigenvalues".into(),
        )),
    }
}

/// The eigenvalues of a symmetric matrix, ascending, and its eigenvectors as rows in the same
/// order.
///
/// # Errors
/// [`LearnError::NotAMetric`] when it is not square and symmetric, [`LearnError::Numerical`] when
/// the eigenproblem does not converge.
pub fn eigen(a: ArrayView2<'_, f64>) -> Result<(Vec<f64>, Array2<f64>), LearnError> {
    check_symmetric(a)?;
    backend::Default::eigen(a.as_standard_layout().into_owned())
}

/// The eigenvectors of a symmetric matrix as rows, by ascending eigenvalue.
pub(crate) fn eigenvectors(a: Array2<f64>) -> Result<Array2<f64>, LearnError> {
    Ok(backend::Default::eigen(a)?.1)
}

/// The product `R'R` of an upper triangular `R` (`d x d`), symmetric to the bit.
pub(crate) fn gram_of_upper(r: &Array2<f64>) -> Array2<f64> {
    dense::symmetric_product(
        Factor::transposed(r, Shape::Upper),
        Factor::new(r, Shape::Upper),
    )
}

/// The rows `x` (`n x d`) mapped by an upper triangular `R`: `x R'`.
pub(crate) fn mapped(x: &Array2<f64>, r: &Array2<f64>) -> Array2<f64> {
    let lower = r.t().as_standard_layout().into_owned();
    dense::product(
        Factor::new(x, Shape::Full),
        Factor::new(&lower, Shape::Lower),
    )
}

fn factor<F: Backend>(a: ArrayView2<'_, f64>, what: &str) -> Result<Array2<f64>, LearnError> {
    F::cholesky(a.as_standard_layout().into_owned())
        .ok_or_else(|| LearnError::NotAMetric(format!("{what} is not positive definite")))
}

fn check_ends(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>) -> Result<(), LearnError> {
    if x.dim() != y.dim() {
        return Err(LearnError::NotAMetric(format!(
            "{:?} and {:?} are not one size",
            x.dim(),
            y.dim()
        )));
    }
    check_symmetric(x)?;
    check_symmetric(y)
}

/// Refuses a matrix that is not square and symmetric to 1e-8 of its largest number.
pub(crate) fn check_symmetric(a: ArrayView2<'_, f64>) -> Result<(), LearnError> {
    if a.nrows() != a.ncols() {
        return Err(LearnError::NotAMetric(format!(
            "{:?} is not square",
            a.dim()
        )));
    }
    let slack = 1e-8 * a.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    match a
        .indexed_iter()
        .find(|((i, j), v)| (**v - a[[*j, *i]]).abs() > slack)
    {
        Some(((i, j), _)) => Err(LearnError::NotAMetric(format!(
            "row {i}, column {j} differs from row {j}, column {i}; it must be symmetric"
        ))),
        None => Ok(()),
    }
}

/// A cheap lower bound of `cond(R'R)`.
fn pivot_ratio(r: &Array2<f64>) -> f64 {
    let (least, greatest) = r
        .diag()
        .iter()
        .fold((f64::MAX, 0.0_f64), |(l, g), v| (l.min(*v), g.max(*v)));
    (greatest / least).powi(2)
}

/// Eigenvalues with those that rounding has put at or below zero lifted to the smallest one that
/// the precision can tell from zero.
fn positive(mut values: Vec<f64>) -> Vec<f64> {
    let floor = values.last().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE) * f64::EPSILON;
    for w in &mut values {
        *w = w.max(floor);
    }
    values
}
