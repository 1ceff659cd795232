//! Packed upper triangular matrices and their kernels: `R x` for many items and `(H + H') x` for
//! one query in f32, `|R x|^2` in f64.
//!
//! Rows lie in chunks of eight numbers, from the chunk of the diagonal on, and every sum runs over
//! eight lanes in one fixed order. So the compiler vectorises them for the machine at hand (`pulp`
//! picks the instruction set at run time; multiplications and additions are never fused), and the
//! results are the same to the bit on every machine and for every batch an item comes in.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatch is not compiled for its instruction set"
)]
use std::ops::{Add, Mul};

use ndarray::{Array2, ArrayView2};
use pulp::{Arch, Simd, WithSimd};

/// Numbers of a chunk.
pub(crate) const LANES: usize = 8;
/// Number of rows whose dot products with an item are taken together; divides [`LANES`].
const ROWS: usize = 4;
/// Number of items that a pass over the factor serves.
const BLOCK: usize = 32;

/// An upper triangular `d x d` matrix.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Packed<T> {
    dim: usize,
    chunks: Vec<[T; LANES]>,
}

impl<T: Copy + Default> Packed<T> {
    /// The packed matrix of the numbers `at(row, column)`, which is called for `column >= row`
    /// only.
    pub(crate) fn from_fn(dim: usize, mut at: impl FnMut(usize, usize) -> T) -> Self {
        let width = dim.div_ceil(LANES);
        let mut chunks = Vec::with_capacity(row_start(width, dim));
        for row in 0..width * LANES {
            for chunk in row / LANES..width {
                let mut lanes = [T::default(); LANES];
                for (lane, value) in lanes.iter_mut().enumerate() {
                    let column = chunk * LANES + lane;
                    if row < dim && (row..dim).contains(&column) {
                        *value = at(row, column);
                    }
                }
                chunks.push(lanes);
            }
        }
        Self { dim, chunks }
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// The number at `(row, column)`, both below the dimension and `column >= row`.
    pub(crate) fn get(&self, row: usize, column: usize) -> T {
        self.row(row)[column / LANES - row / LANES][column % LANES]
    }

    fn width(&self) -> usize {
        self.dim.div_ceil(LANES)
    }

    /// Row `k` from the chunk of its diagonal on.
    fn row(&self, k: usize) -> &[[T; LANES]] {
        let start = row_start(self.width(), k);
        &self.chunks[start..start + self.width() - k / LANES]
    }
}

/// The first chunk of row `k`: eight rows at a time, each group one chunk shorter than the one
/// before.
fn row_start(width: usize, k: usize) -> usize {
    let group = k / LANES;
    LANES * (group * width - group * group.saturating_sub(1) / 2) + (k % LANES) * (width - group)
}

impl Packed<f64> {
    /// The upper half `H` of a symmetric matrix `H + H'`: above the diagonal as it is, the diagonal
    /// halved.
    pub(crate) fn upper_half(matrix: &Array2<f64>) -> Self {
        Self::from_fn(matrix.nrows(), |i, j| {
            if i == j {
                0.5 * matrix[[i, j]]
            } else {
                matrix[[i, j]]
            }
        })
    }

    /// The squared length `|R x|^2`, in f64.
    pub(crate) fn square(&self, x: impl Iterator<Item = f64>) -> f64 {
        let x = chunked(self.width(), x);
        Arch::new().dispatch(Square {
            factor: self,
            x: &x,
        })
    }

    /// The same factor in single precision, for the item kernels.
    pub(crate) fn to_single(&self) -> Packed<f32> {
        Packed {
            dim: self.dim,
            chunks: self
                .chunks
                .iter()
                .map(|chunk| chunk.map(|v| v as f32))
                .collect(),
        }
    }

    /// The factor as a matrix, zeros below the diagonal.
    pub(crate) fn to_array(&self) -> Array2<f64> {
        Array2::from_shape_fn((self.dim, self.dim), |(i, j)| {
            if j >= i { self.get(i, j) } else { 0.0 }
        })
    }
}

impl Packed<f32> {
    /// The product `(H + H') x`, where the packed matrix is the upper half `H` of a symmetric
    /// matrix.
    pub(crate) fn both_ways(&self, x: &[f32]) -> Vec<f32> {
        let chunks = chunked(self.width(), x.iter().copied());
        let mut product = vec![[0.0; LANES]; self.width()];
        Arch::new().dispatch(BothWays {
            half: self,
            x: &chunks,
            product: &mut product,
        });
        let mut product = product.into_flattened();
        product.truncate(self.dim);
        product
    }

    /// The squared length `|R x|^2` of each item (`n x d`), squares summed in f64, written to `out`
    /// (`n`).
    pub(crate) fn squares(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
        self.project(items, |item, image| {
            if let Some(slot) = out.get_mut(item) {
                *slot = image
                    .iter()
                    .map(|v| f64::from(*v) * f64::from(*v))
                    .sum::<f64>() as f32;
            }
        });
    }

    /// The items (`n x d`) mapped by the factor: `R x`, one row each.
    pub(crate) fn images(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut out = Array2::zeros((items.nrows(), self.dim));
        self.project(items, |item, image| {
            out.row_mut(item)
                .iter_mut()
                .zip(image)
                .for_each(|(to, from)| *to = *from);
        });
        out
    }

    fn project(&self, items: ArrayView2<'_, f32>, mut each: impl FnMut(usize, &[f32])) {
        let width = self.width();
        let padded = width * LANES;
        let mut block = vec![[0.0_f32; LANES]; width * BLOCK.min(items.nrows())];
        let mut images = vec![0.0_f32; padded * BLOCK.min(items.nrows())];
        let mut done = 0;
        while done < items.nrows() {
            let count = BLOCK.min(items.nrows() - done);
            for (slot, item) in block
                .chunks_exact_mut(width)
                .zip(items.rows().into_iter().skip(done).take(count))
            {
                slot.as_flattened_mut()
                    .iter_mut()
                    .zip(item)
                    .for_each(|(to, from)| *to = *from);
            }
            Arch::new().dispatch(Project {
                factor: self,
                items: &block[..width * count],
                images: &mut images[..padded * count],
            });
            for (i, image) in images.chunks_exact(padded).take(count).enumerate() {
                each(done + i, &image[..self.dim]);
            }
            done += count;
        }
    }
}

/// Numbers in `width` whole chunks, padded with zeros.
pub(crate) fn chunked<T: Copy + Default>(
    width: usize,
    x: impl Iterator<Item = T>,
) -> Vec<[T; LANES]> {
    let mut chunks = vec![[T::default(); LANES]; width];
    chunks
        .as_flattened_mut()
        .iter_mut()
        .zip(x)
        .for_each(|(to, from)| *to = from);
    chunks
}

/// The sum of the lanes, always in this order.
#[inline(always)]
fn total<T: Copy + Add<Output = T>>(v: [T; LANES]) -> T {
    ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
}

#[inline(always)]
fn plus(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|lane| a[lane] + b[lane])
}

#[inline(always)]
fn times(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|lane| a[lane] * b[lane])
}

#[inline(always)]
pub(crate) fn dot<A, T>(a: &[[A; LANES]], b: &[[T; LANES]]) -> T
where
    A: Copy + Into<T>,
    T: Copy + Default + Add<Output = T> + Mul<Output = T>,
{
    let mut sums = [T::default(); LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] = sums[lane] + a[lane].into() * b[lane];
        }
    }
    total(sums)
}

struct BothWays<'a> {
    half: &'a Packed<f32>,
    x: &'a [[f32; LANES]],
    product: &'a mut [[f32; LANES]],
}

impl WithSimd for BothWays<'_> {
    type Output = ();

    /// One pass, a few rows at a time: every number `h` at `(i, j)` is read once and adds `h x_j`
    /// to the product at `i` and `h x_i` at `j`.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.half.width();
        for group in 0..width {
            let length = width - group;
            let start = row_start(width, group * LANES);
            let (x, product) = (&self.x[group..], &mut self.product[group..]);
            for (group_of_rows, rows) in self.half.chunks[start..start + LANES * length]
                .chunks_exact(ROWS * length)
                .enumerate()
            {
                let [r0, r1, r2, r3]: [&[[f32; LANES]]; ROWS] =
                    std::array::from_fn(|r| &rows[r * length..(r + 1) * length]);
                let [x0, x1, x2, x3]: [[f32; LANES]; ROWS] =
                    std::array::from_fn(|r| [x[0][group_of_rows * ROWS + r]; LANES]);
                let [mut s0, mut s1, mut s2, mut s3] = [[0.0_f32; LANES]; ROWS];
                for (((((x, to), r0), r1), r2), r3) in x
                    .iter()
                    .zip(product.iter_mut())
                    .zip(r0)
                    .zip(r1)
                    .zip(r2)
                    .zip(r3)
                {
                    s0 = plus(s0, times(*r0, *x));
                    s1 = plus(s1, times(*r1, *x));
                    s2 = plus(s2, times(*r2, *x));
                    s3 = plus(s3, times(*r3, *x));
                    let (first, second) = (
                        plus(times(x0, *r0), times(x1, *r1)),
                        plus(times(x2, *r2), times(x3, *r3)),
                    );
                    *to = plus(*to, plus(first, second));
                }
                // Hides the sum below from the compiler, which would otherwise keep one lane of all
                // rows together.
                let sums = std::hint::black_box([s0, s1, s2, s3]).map(total);
                for (r, sum) in sums.into_iter().enumerate() {
                    product[0][group_of_rows * ROWS + r] += sum;
                }
            }
        }
    }
}

struct Square<'a> {
    factor: &'a Packed<f64>,
    x: &'a [[f64; LANES]],
}

impl WithSimd for Square<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        (0..self.factor.dim)
            .map(|k| dot(self.factor.row(k), &self.x[k / LANES..]).powi(2))
            .sum()
    }
}

struct Project<'a> {
    factor: &'a Packed<f32>,
    /// `width` chunks an item.
    items: &'a [[f32; LANES]],
    /// `width * LANES` numbers an item.
    images: &'a mut [f32],
}

impl WithSimd for Project<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.factor.width();
        let mut pairs = self.items.chunks_exact(2 * width);
        let mut images = self.images.chunks_exact_mut(2 * width * LANES);
        for (items, images) in pairs.by_ref().zip(images.by_ref()) {
            let (x, y) = items.split_at(width);
            let (of_x, of_y) = images.split_at_mut(width * LANES);
            project_tile(self.factor, [x, y], [of_x, of_y]);
        }
        if !pairs.remainder().is_empty() {
            project_tile(self.factor, [pairs.remainder()], [images.into_remainder()]);
        }
    }
}

/// Images of `M` items; each item's sums are its own, so the bits do not depend on `M`.
#[inline(always)]
fn project_tile<const M: usize>(
    factor: &Packed<f32>,
    items: [&[[f32; LANES]]; M],
    images: [&mut [f32]; M],
) {
    let width = factor.width();
    for group in 0..width {
        let length = width - group;
        let start = row_start(width, group * LANES);
        for (half, rows) in factor.chunks[start..start + LANES * length]
            .chunks_exact(ROWS * length)
            .enumerate()
        {
            let mut sums = [[[0.0_f32; LANES]; ROWS]; M];
            let rows: [&[[f32; LANES]]; ROWS] =
                std::array::from_fn(|r| &rows[r * length..(r + 1) * length]);
            let items: [&[[f32; LANES]]; M] =
                std::array::from_fn(|m| &items[m][group..group + length]);
            for chunk in 0..length {
                for m in 0..M {
                    let x = items[m][chunk];
                    for r in 0..ROWS {
                        let row = rows[r][chunk];
                        for lane in 0..LANES {
                            sums[m][r][lane] += row[lane] * x[lane];
                        }
                    }
                }
            }
            for m in 0..M {
                for r in 0..ROWS {
                    images[m][group * LANES + half * ROWS + r] = total(sums[m][r]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(d: usize) -> Packed<f64> {
        Packed::from_fn(d, |i, j| ((i * 31 + j * 17) % 23) as f64 / 7.0 - 1.5)
    }

    #[test]
    fn packing_keeps_every_number() {
        for d in [1, 2, 7, 8, 9, 16, 33] {
            let packed = example(d);
            for i in 0..d {
                for j in i..d {
                    assert_eq!(
                        packed.get(i, j),
                        ((i * 31 + j * 17) % 23) as f64 / 7.0 - 1.5,
                        "d {d}, ({i}, {j})"
                    );
                }
            }
        }
    }

    #[test]
    fn kernels_agree_with_the_plain_product() {
        for d in [1, 3, 8, 21, 40] {
            let packed = example(d);
            let dense = packed.to_array();
            let x = ndarray::Array1::from_shape_fn(d, |i| (i as f64 * 0.37).sin());
            let image = dense.dot(&x);
            let direction = dense.t().dot(&image);
            let exact = image.dot(&image);
            assert!((packed.square(x.iter().copied()) - exact).abs() <= 1e-12 * d as f64);
            let query: Vec<f32> = x.iter().map(|v| *v as f32).collect();
            let gram = dense.t().dot(&dense);
            let got = Packed::upper_half(&gram).to_single().both_ways(&query);
            let size = direction.dot(&direction).sqrt();
            assert!(
                got.iter()
                    .zip(&direction)
                    .all(|(a, b)| (f64::from(*a) - b).abs() <= 2e-6 * size)
            );
            let items = Array2::from_shape_fn((5, d), |(n, i)| (x[i] * (n + 1) as f64) as f32);
            let images = packed.to_single().images(items.view());
            for n in 0..5 {
                for i in 0..d {
                    assert!((f64::from(images[[n, i]]) - image[i] * (n + 1) as f64).abs() < 1e-4);
                }
            }
        }
    }
}
