//! The shape of a served metric's matrix: scaled to trace `d`, its condition number capped,
//! factored.

use affinis::plugin::LearnError;
use ndarray::{Array2, ArrayView2};

use crate::spd;

/// A symmetric positive definite matrix `A` ready to measure with.
#[derive(Debug)]
pub(crate) struct Shaped {
    /// Upper triangular `R` with `A = R'R`.
    pub(crate) factor: Array2<f64>,
    /// `cond A`.
    pub(crate) condition: f64,
}

impl Shaped {
    /// The shape of a symmetric positive definite matrix, which is neither scaled nor capped.
    pub(crate) fn of(a: ArrayView2<'_, f64>) -> Result<Self, LearnError> {
        let (least, greatest) = spd::extreme_eigenvalues(a)?;
        Ok(Self {
            factor: spd::cholesky(a)?,
            condition: greatest / least,
        })
    }
}

/// Scales a symmetric positive definite matrix to trace `d` and brings its condition number down to
/// `cap`.
///
/// The cap adds a multiple of the identity: `A + e I` with `(l_max + e) / (l_min + e) = cap`.
/// Eigenvectors stay, and the matrix is drawn towards Euclid as little as the cap allows.
pub(crate) fn shaped(mut a: Array2<f64>, cap: f64) -> Result<Shaped, LearnError> {
    if a.iter().any(|v| !v.is_finite()) {
        return Err(LearnError::Numerical(
            "the learned matrix has a number that is not finite".into(),
        ));
    }
    scale(&mut a)?;
    let (least, greatest) = spd::extreme_eigenvalues(a.view())?;
    let mut condition = greatest / least;
    if least <= 0.0 || condition > cap {
        let lift = (greatest - cap * least) / (cap - 1.0);
        a.diag_mut().iter_mut().for_each(|v| *v += lift);
        scale(&mut a)?;
        condition = cap;
    }
    Ok(Shaped {
        factor: spd::cholesky(a.view())?,
        condition,
    })
}

/// Scales a matrix to trace `d`.
fn scale(a: &mut Array2<f64>) -> Result<(), LearnError> {
    let factor = a.nrows() as f64 / a.diag().sum();
    if !factor.is_finite() || factor <= 0.0 {
        return Err(LearnError::Numerical(
            "the learned matrix has no trace to scale by".into(),
        ));
    }
    a.mapv_inplace(|v| v * factor);
    Ok(())
}
