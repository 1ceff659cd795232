//! Vectors in one byte a number, for walking graphs: a quarter of the memory traffic of `f32`.
//!
//! Number `j` of an item is near `low[j] + step[j] c[j]` with its code `c[j]` from 0 to 255. A query direction `w` meets
//! codes as `w'x = w'low + sum_j (w[j] step[j]) c[j]`: the steps go into the query, whose weights are then rounded to 16
//! bits. So any direction, under any metric, is followed with the items' 8 bits as the only rounding that matters. What
//! the walk finds is computed again from the numbers themselves.

use rayon::prelude::*;

use super::column::Column;
use super::kernels::{Kernels, kernels};
use super::rows::{Rows, unpack_into};
use crate::sum::{dot, sum};

/// Codes in a [`CodeBlock`].
pub(crate) const CODE_LANES: usize = 64;
/// Weights in a [`WeightBlock`].
pub(crate) const WEIGHT_LANES: usize = 16;

/// 64 codes on one cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct CodeBlock(pub(crate) [u8; CODE_LANES]);

/// 16 weights of a query, for 16 codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct WeightBlock(pub(crate) [i16; WEIGHT_LANES]);

/// The codes of many items.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    low: Vec<f32>,
    step: Vec<f32>,
    stride: usize,
    blocks: Column<CodeBlock>,
}

/// [`Codes`] as loops read them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeRows<'a> {
    stride: usize,
    blocks: &'a [CodeBlock],
}

impl<'a> CodeRows<'a> {
    /// The codes of item `i`, padded with zeros.
    #[inline]
    pub(crate) fn row(&self, i: u32) -> &'a [CodeBlock] {
        &self.blocks[i as usize * self.stride..(i as usize + 1) * self.stride]
    }
}

/// Whether vectors of so many numbers are walked on codes. Up to 32 numbers are two cache lines, of which codes could spare one;
/// and in few dimensions many items lie nearer to each other than the codes' steps, so that walks would go astray.
pub(crate) fn are_walked(dim: usize) -> bool {
    dim > 32
}

impl Codes {
    /// Codes that were stored: the least value of each number, the step of each, and the codes.
    pub(crate) fn mapped(ranges: &[f32], blocks: Column<CodeBlock>) -> Self {
        let (low, step) = ranges.split_at(ranges.len() / 2);
        Self { low: low.to_vec(), step: step.to_vec(), stride: low.len().div_ceil(CODE_LANES), blocks }
    }

    /// What [`Self::mapped`] takes.
    pub(crate) fn parts(&self) -> (Vec<f32>, &[CodeBlock]) {
        ([&*self.low, &*self.step].concat(), &self.blocks)
    }

    /// Codes of all rows. Each number has its own range, that of the rows.
    pub(crate) fn of(rows: &Rows) -> Self {
        let dim = rows.dim();
        let (low, high) = ranges(rows);
        let step: Vec<f32> = low.iter().zip(&high).map(|(low, high)| (high / 255.0 - low / 255.0).max(0.0)).collect();
        let inverse: Vec<f32> = step.iter().map(|step| if *step > 0.0 { step.recip() } else { 0.0 }).collect();
        let stride = dim.div_ceil(CODE_LANES);
        let mut blocks = vec![CodeBlock([0; CODE_LANES]); stride * rows.len()];
        blocks.par_chunks_mut(stride.max(1)).enumerate().for_each_init(
            || vec![0.0; dim],
            |row, (i, blocks)| {
                unpack_into(rows.row(i), row);
                let codes = blocks.iter_mut().flat_map(|block| &mut block.0);
                for (((code, x), low), inverse) in codes.zip(&*row).zip(&low).zip(&inverse) {
                    // A float that is no number or out of range becomes the nearest code.
                    *code = ((x - low) * inverse).round() as u8;
                }
            },
        );
        Self { low, step, stride, blocks: Column::Held(blocks) }
    }

    /// The codes by item.
    pub(crate) fn rows(&self) -> CodeRows<'_> {
        CodeRows { stride: self.stride, blocks: &self.blocks }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.bytes() + (self.low.len() + self.step.len()) * size_of::<f32>()
    }

    /// A direction as it meets these codes.
    pub(crate) fn query(&self, direction: &[f32]) -> CodedQuery {
        let scaled: Vec<f32> = direction.iter().zip(&self.step).map(|(w, step)| w * step).collect();
        let most = scaled.iter().fold(0.0f32, |most, w| most.max(w.abs()));
        let sum = sum(&scaled, &scaled, |w, _| w.abs());
        // Products of a weight and a code are summed in 32 bits: 255 times the weights' sum must fit.
        let unit = (f64::from(most) / f64::from(i16::MAX)).max(sum / f64::from(i32::MAX / 256)) as f32;
        let usable = unit.is_normal();
        let inverse = if usable { unit.recip() } else { 0.0 };
        let mut weights = vec![WeightBlock([0; WEIGHT_LANES]); direction.len().div_ceil(WEIGHT_LANES)];
        for (to, w) in weights.iter_mut().flat_map(|block| &mut block.0).zip(&scaled) {
            // Towards zero, so that the sum stays within its bound. It is in the range of 16 bits; a conversion to 32 is one
            // instruction for several numbers.
            *to = (w * inverse) as i32 as i16;
        }
        let base = dot(direction, &self.low) as f32;
        CodedQuery { weights, unit: if usable { unit } else { 0.0 }, base, kernels: kernels() }
    }
}

/// The least and greatest value of each number; zero to zero where there are no rows.
fn ranges(rows: &Rows) -> (Vec<f32>, Vec<f32>) {
    let dim = rows.dim();
    if rows.len() == 0 {
        return (vec![0.0; dim], vec![0.0; dim]);
    }
    let none = || (vec![f32::INFINITY; dim], vec![f32::NEG_INFINITY; dim]);
    let wider = |mut a: (Vec<f32>, Vec<f32>), b: (Vec<f32>, Vec<f32>)| {
        a.0.iter_mut().zip(b.0).for_each(|(a, b)| *a = a.min(b));
        a.1.iter_mut().zip(b.1).for_each(|(a, b)| *a = a.max(b));
        a
    };
    (0..rows.len())
        .into_par_iter()
        .with_min_len(1024)
        .fold(none, |(mut low, mut high), i| {
            let numbers = rows.row(i).iter().flat_map(|block| &block.0);
            for ((low, high), x) in low.iter_mut().zip(&mut high).zip(numbers) {
                *low = low.min(*x);
                *high = high.max(*x);
            }
            (low, high)
        })
        .reduce(none, wider)
}

/// A query direction in the terms of some [`Codes`].
#[derive(Debug)]
pub(crate) struct CodedQuery {
    weights: Vec<WeightBlock>,
    unit: f32,
    base: f32,
    kernels: &'static Kernels,
}

impl CodedQuery {
    /// The dot product of the direction with a coded item, nearly.
    #[inline]
    pub(crate) fn dot(&self, codes: &[CodeBlock]) -> f32 {
        self.base + self.unit * (self.kernels.codes)(&self.weights, codes) as f32
    }

    /// The same for four items.
    #[inline]
    pub(crate) fn dot4(&self, codes: [&[CodeBlock]; 4]) -> [f32; 4] {
        (self.kernels.codes4)(&self.weights, codes).map(|sum| self.base + self.unit * sum as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::rows::pack_into;
    use crate::index::tests::Random;

    fn rows(dim: usize, count: usize, mut vector: impl FnMut(usize) -> Vec<f32>) -> Rows {
        let mut rows = Rows::zeros(dim, count);
        for i in 0..count {
            pack_into(&vector(i), rows.row_mut(i));
        }
        rows
    }

    fn exact(direction: &[f32], row: &[f32]) -> f64 {
        direction.iter().zip(row).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
    }

    #[test]
    fn coded_products_are_within_half_a_step_a_number() {
        let mut random = Random::new(3);
        for dim in [1, 15, 16, 17, 63, 64, 65, 100, 384, 1000, 4096] {
            let vectors: Vec<Vec<f32>> = (0..40).map(|_| random.vector(dim)).collect();
            let codes = Codes::of(&rows(dim, 40, |i| vectors[i].clone()));
            let direction: Vec<f32> = random.vector(dim).iter().map(|w| w * 3.0).collect();
            let query = codes.query(&direction);
            let half_steps: f64 =
                direction.iter().zip(&codes.step).map(|(w, s)| f64::from(w.abs()) * f64::from(*s) * 0.5).sum();
            let weights: f64 = f64::from(query.unit) * 255.0 * dim as f64;
            for i in (0..40).step_by(4) {
                let four = [i, i + 1, i + 2, i + 3];
                let dots = query.dot4(four.map(|i| codes.rows().row(i)));
                for (i, dot) in four.into_iter().zip(dots) {
                    assert_eq!(dot, query.dot(codes.rows().row(i)));
                    let error = (f64::from(dot) - exact(&direction, &vectors[i as usize])).abs();
                    assert!(error <= half_steps * 1.001 + weights + 1e-4, "dim {dim}: {error} > {half_steps}");
                }
            }
        }
    }

    #[test]
    fn extreme_numbers_give_finite_products() {
        for (dim, big) in [(1, 1e30), (64, 1e36), (4096, 1e34)] {
            let codes = Codes::of(&rows(dim, 2, |i| vec![if i == 0 { -big } else { big }; dim]));
            let dots = |w: f32| codes.query(&vec![w; dim]).dot(codes.rows().row(1));
            assert!(dots(1.0).is_finite());
            assert_eq!(dots(0.0), 0.0);
            assert!((dots(1.0) / (big * dim as f32) - 1.0).abs() < 1e-3);
        }
        let equal = Codes::of(&rows(5, 3, |_| vec![0.25; 5]));
        assert!((equal.query(&[1.0; 5]).dot(equal.rows().row(2)) - 1.25).abs() < 1e-6);
        assert_eq!(Codes::of(&Rows::zeros(7, 0)).blocks.len(), 0);
    }
}
