//! The factorisations by LAPACK (`potrf`, `syev`), through ndarray-linalg and the system's
//! `OpenBLAS`.

use affinis::plugin::LearnError;
use ndarray::Array2;
use ndarray_linalg::{Cholesky, EigValsh, Eigh, UPLO};

use super::backend::{Backend, Eigen};

/// The backend LAPACK, by the system's `OpenBLAS`.
#[derive(Debug)]
pub(crate) struct Lapack;

impl Backend for Lapack {
    fn cholesky(a: Array2<f64>) -> Option<Array2<f64>> {
        if a.is_empty() {
            return Some(a);
        }
        let factor = a
            .cholesky(UPLO::Upper)
            .ok()?
            .as_standard_layout()
            .into_owned();
        factor
            .diag()
            .iter()
            .all(|v| v.is_finite() && *v > 0.0)
            .then_some(factor)
    }

    fn eigen(a: Array2<f64>) -> Result<Eigen, LearnError> {
        if a.is_empty() {
            return Ok((Vec::new(), a));
        }
        let (values, vectors) = a.eigh(UPLO::Lower).map_err(|e| breakdown(&e))?;
        Ok((
            values.to_vec(),
            vectors.reversed_axes().as_standard_layout().into_owned(),
        ))
    }

    fn eigenvalues(a: Array2<f64>) -> Result<Vec<f64>, LearnError> {
        if a.is_empty() {
            return Ok(Vec::new());
        }
        Ok(a.eigvalsh(UPLO::Lower).map_err(|e| breakdown(&e))?.to_vec())
    }
}

fn breakdown(e: &ndarray_linalg::error::LinalgError) -> LearnError {
    LearnError::Numerical(format!("LAPACK's symmetric eigenproblem failed: {e}"))
}
