//! Products and triangular solves on row-major `Array2<f64>`, done by faer in place, without
//! copies.
//!
//! A row-major matrix is the transpose of the column-major one in the same memory, and faer takes
//! any strides, so all of these are views. Symmetric results are computed as one triangle and
//! mirrored, which makes them symmetric to the bit.

use faer::linalg::matmul::triangular::{BlockStructure, matmul as matmul_structured};
use faer::linalg::triangular_solve::solve_upper_triangular_in_place;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::{Array2, ArrayView2};

/// Everything runs on the calling thread: results do not depend on the number of cores, and a refit
/// in the background leaves the other cores to searches.
const PAR: Par = Par::Seq;

/// The triangle of a factor that may be other than zero; the rest is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Full,
    Lower,
    Upper,
}

impl From<Shape> for BlockStructure {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Full => Self::Rectangular,
            Shape::Lower => Self::TriangularLower,
            Shape::Upper => Self::TriangularUpper,
        }
    }
}

/// A faer view of an array. The array must be in standard layout; every array of this module is.
pub(crate) fn view(a: &Array2<f64>) -> MatRef<'_, f64> {
    let (rows, columns) = a.dim();
    MatRef::from_row_major_slice(a.as_slice().unwrap_or(&[]), rows, columns)
}

/// A mutable faer view of an array in standard layout.
pub(crate) fn view_mut(a: &mut Array2<f64>) -> MatMut<'_, f64> {
    let (rows, columns) = a.dim();
    MatMut::from_row_major_slice_mut(a.as_slice_mut().unwrap_or(&mut []), rows, columns)
}

/// A factor of a product: a matrix of known shape, taken transposed or as it is.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a> {
    matrix: &'a Array2<f64>,
    shape: Shape,
    transposed: bool,
}

impl<'a> Factor<'a> {
    pub(crate) fn new(matrix: &'a Array2<f64>, shape: Shape) -> Self {
        Self {
            matrix,
            shape,
            transposed: false,
        }
    }

    pub(crate) fn transposed(matrix: &'a Array2<f64>, shape: Shape) -> Self {
        Self {
            matrix,
            shape,
            transposed: true,
        }
    }

    /// The view of the factor, and the triangle of that view that is not zero.
    fn view(self) -> (MatRef<'a, f64>, BlockStructure) {
        let structure = BlockStructure::from(self.shape);
        if self.transposed {
            (view(self.matrix).transpose(), structure.transpose())
        } else {
            (view(self.matrix), structure)
        }
    }
}

/// The product `x y`.
pub(crate) fn product(x: Factor<'_>, y: Factor<'_>) -> Array2<f64> {
    let (lhs, structure) = x.view();
    let (rhs, rhs_structure) = y.view();
    let mut out = Array2::zeros((lhs.nrows(), rhs.ncols()));
    matmul_structured(
        view_mut(&mut out),
        BlockStructure::Rectangular,
        Accum::Replace,
        lhs,
        structure,
        rhs,
        rhs_structure,
        1.0,
        PAR,
    );
    out
}

/// The product `x y`, known to be symmetric: one triangle is computed and mirrored.
pub(crate) fn symmetric_product(x: Factor<'_>, y: Factor<'_>) -> Array2<f64> {
    let (lhs, structure) = x.view();
    let (rhs, rhs_structure) = y.view();
    let mut out = Array2::zeros((lhs.nrows(), rhs.ncols()));
    matmul_structured(
        view_mut(&mut out),
        BlockStructure::TriangularLower,
        Accum::Replace,
        lhs,
        structure,
        rhs,
        rhs_structure,
        1.0,
        PAR,
    );
    mirror(&mut out);
    out
}

/// Adds `z' z` to the lower triangle of `out` (`d x d`) for `z` with `d` columns. Call [`mirror`]
/// after the last one.
pub(crate) fn add_gram(out: &mut Array2<f64>, z: ArrayView2<'_, f64>) {
    let (rows, columns) = z.dim();
    let Some(slice) = z.to_slice() else { return };
    let z = MatRef::from_row_major_slice(slice, rows, columns);
    matmul_structured(
        view_mut(out),
        BlockStructure::TriangularLower,
        Accum::Add,
        z.transpose(),
        BlockStructure::Rectangular,
        z,
        BlockStructure::Rectangular,
        1.0,
        PAR,
    );
}

/// The Gram matrix `z' z` (`d x d`) of `z` with `d` columns, symmetric to the bit.
pub fn gram(z: &Array2<f64>) -> Array2<f64> {
    let mut out = Array2::zeros((z.ncols(), z.ncols()));
    add_gram(&mut out, z.view());
    mirror(&mut out);
    out
}

/// Copies the lower triangle over the upper one.
pub(crate) fn mirror(a: &mut Array2<f64>) {
    for i in 0..a.nrows() {
        for j in 0..i {
            a[[j, i]] = a[[i, j]];
        }
    }
}

/// Solves `r t = b'` for upper triangular `r` and returns `t'`: each row of `b` is one right-hand
/// side.
pub(crate) fn solve_upper_rows(r: &Array2<f64>, mut b: Array2<f64>) -> Array2<f64> {
    solve_upper_triangular_in_place(view(r), view_mut(&mut b).transpose_mut(), PAR);
    b
}

/// Solves `t r = b` for upper triangular `r`, that is `t = b r^-1`.
pub(crate) fn solve_upper_right(r: &Array2<f64>, mut b: Array2<f64>) -> Array2<f64> {
    faer::linalg::triangular_solve::solve_lower_triangular_in_place(
        view(r).transpose(),
        view_mut(&mut b).transpose_mut(),
        PAR,
    );
    b
}
