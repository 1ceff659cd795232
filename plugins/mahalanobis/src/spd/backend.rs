//! The two factorisations behind all algebra, Cholesky and the symmetric eigenproblem, by faer or
//! by LAPACK.
//!
//! faer is pure Rust and faster; LAPACK (through the system's `OpenBLAS`) comes with the feature
//! `lapack` and then is the [`Default`]. Both are compiled, and the tests compare them.

use affinis::plugin::LearnError;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor as llt;
use faer::linalg::evd::{self, ComputeEigenvectors};
use faer::{Auto, Par, Spec};
use ndarray::Array2;

use super::dense::{mirror, view_mut};

/// Eigenvalues in ascending order, and the eigenvectors as rows of a matrix in the same order.
pub(crate) type Eigen = (Vec<f64>, Array2<f64>);

/// Factorisations of symmetric matrices (standard layout, both triangles filled).
pub(crate) trait Backend {
    /// The upper Cholesky factor `R` with `a = R'R`; `None` when `a` is not positive definite to
    /// working precision.
    fn cholesky(a: Array2<f64>) -> Option<Array2<f64>>;

    /// All eigenvalues and eigenvectors.
    fn eigen(a: Array2<f64>) -> Result<Eigen, LearnError>;

    /// All eigenvalues, ascending.
    fn eigenvalues(a: Array2<f64>) -> Result<Vec<f64>, LearnError>;
}

/// The backend that the crate uses: LAPACK with the feature `lapack`, faer without.
#[cfg(not(feature = "lapack"))]
pub(crate) type Default = Faer;
#[cfg(feature = "lapack")]
pub(crate) type Default = super::lapack::Lapack;

/// The backend faer, on the calling thread.
#[derive(Debug)]
#[cfg_attr(
    all(feature = "lapack", not(test)),
    allow(dead_code, reason = "tests compare it with LAPACK")
)]
pub(crate) struct Faer;

impl Backend for Faer {
    fn cholesky(mut a: Array2<f64>) -> Option<Array2<f64>> {
        let d = a.nrows();
        if d == 0 {
            return Some(a);
        }
        let params: Spec<llt::LltParams, f64> = Spec::default();
        let mut memory = MemBuffer::new(llt::cholesky_in_place_scratch::<f64>(d, Par::Seq, params));
        // Column-major lower is row-major upper: the factor lands where it is wanted.
        llt::cholesky_in_place(
            view_mut(&mut a).transpose_mut(),
            llt::LltRegularization::default(),
            Par::Seq,
            MemStack::new(&mut memory),
            params,
        )
        .ok()?;
        for i in 1..d {
            a.row_mut(i).iter_mut().take(i).for_each(|v| *v = 0.0);
        }
        a.diag()
            .iter()
            .all(|v| v.is_finite() && *v > 0.0)
            .then_some(a)
    }

    fn eigen(a: Array2<f64>) -> Result<Eigen, LearnError> {
        let d = a.nrows();
        let mut vectors = Array2::zeros((d, d));
        let values = faer_evd(&a, Some(&mut vectors))?;
        Ok((values, vectors))
    }

    fn eigenvalues(a: Array2<f64>) -> Result<Vec<f64>, LearnError> {
        faer_evd(&a, None)
    }
}

#[cfg_attr(
    all(feature = "lapack", not(test)),
    allow(dead_code, reason = "tests compare it with LAPACK")
)]
fn faer_evd(a: &Array2<f64>, vectors: Option<&mut Array2<f64>>) -> Result<Vec<f64>, LearnError> {
    let d = a.nrows();
    let mut values = vec![0.0; d];
    if d == 0 {
        return Ok(values);
    }
    let params = Spec::new(<evd::SelfAdjointEvdParams as Auto<f64>>::auto());
    let wanted = if vectors.is_some() {
        ComputeEigenvectors::Yes
    } else {
        ComputeEigenvectors::No
    };
    let mut memory = MemBuffer::new(evd::self_adjoint_evd_scratch::<f64>(
        d,
        wanted,
        Par::Seq,
        params,
    ));
    evd::self_adjoint_evd(
        super::dense::view(a).transpose(),
        faer::diag::DiagMut::from_slice_mut(&mut values),
        // Column-major eigenvectors are row-major rows.
        vectors.map(|v| view_mut(v).transpose_mut()),
        Par::Seq,
        MemStack::new(&mut memory),
        params,
    )
    .map_err(|_| LearnError::Numerical("the symmetric eigenproblem did not converge".into()))?;
    if values.iter().any(|v| !v.is_finite()) {
        return Err(LearnError::Numerical(
            "the symmetric eigenproblem gave a value that is not finite".into(),
        ));
    }
    Ok(values)
}

/// Averages a matrix with its transpose, so that rounding leaves it symmetric to the bit.
pub(crate) fn symmetrise(a: &mut Array2<f64>) {
    for i in 0..a.nrows() {
        for j in 0..i {
            a[[i, j]] = 0.5 * (a[[i, j]] + a[[j, i]]);
        }
    }
    mirror(a);
}
