//! Scalar quantization for walking graphs: vectors in four or eight bits a number, an eighth or a
//! quarter of the memory traffic of `f32`.
//!
//! A code `c[j]` from 0 to 15, or to 255, stands for the number `low[j] + step[j] c[j]`. A query
//! direction `w` meets codes as `w'x = w'low + sum_j (w[j] step[j]) c[j]`: the steps are multiplied
//! into the query, whose weights are then rounded to 16 bits. So one set of codes serves every
//! direction under every metric, and the codes' own rounding is the only one that matters.
//! Distances of what a walk finds are computed again from the vectors; those of
//! [outliers](Outliers), which codes cut off, are never computed from codes.

mod coded;
mod outliers;
mod ranges;

use rayon::prelude::*;

use crate::index::layout::codes::{CodeBits, CodeBlock, CodeRows};
use crate::index::layout::column::Column;
use crate::index::layout::rows::{Rows, unpack_into};

pub(crate) use coded::CodedQuery;
pub(crate) use outliers::{Lookup, Outliers};

/// Dimensions up to this one are walked on the vectors. Their rows take at most two cache lines, of
/// which codes could save one; and in few dimensions many items lie nearer to each other than one
/// step of the codes, which would lead walks astray.
const MAX_UNCODED_DIM: usize = 32;

/// Whether graphs over vectors of `dim` numbers are walked on codes.
pub(crate) fn are_codes_walked(dim: usize) -> bool {
    dim > MAX_UNCODED_DIM
}

/// A scalar quantizer with a range of its own for each of `dim` numbers.
#[derive(Debug, Clone)]
pub(crate) struct Quantizer {
    bits: CodeBits,
    /// The number that code 0 stands for, by dimension.
    low: Vec<f32>,
    /// The difference between neighbouring codes, by dimension.
    step: Vec<f32>,
}

impl Quantizer {
    /// A quantizer from its stored form: `2 dim` numbers, all least values, then all steps.
    pub(crate) fn from_ranges(bits: CodeBits, ranges: &[f32]) -> Self {
        let (low, step) = ranges.split_at(ranges.len() / 2);
        Self {
            bits,
            low: low.to_vec(),
            step: step.to_vec(),
        }
    }

    /// What [`Self::from_ranges`] takes.
    pub(crate) fn ranges(&self) -> Vec<f32> {
        [&*self.low, &*self.step].concat()
    }

    /// Bits of a code.
    pub(crate) fn bits(&self) -> CodeBits {
        self.bits
    }

    /// Fits the ranges to `rows`.
    fn fit(bits: CodeBits, rows: &Rows) -> Self {
        let (low, step) = ranges::fit(bits, rows);
        Self { bits, low, step }
    }

    /// The codes of all rows, [`CodeBits::blocks`] blocks a row, and the squared distance of each
    /// row to what its codes stand for.
    fn encode(&self, rows: &Rows) -> (Vec<CodeBlock>, Vec<f64>) {
        let dim = rows.dim();
        let inverse: Vec<f32> = self
            .step
            .iter()
            .map(|step| if *step > 0.0 { step.recip() } else { 0.0 })
            .collect();
        let stride = self.bits.blocks(dim);
        let max_code = f32::from(self.bits.max_code());
        let mut blocks = vec![CodeBlock::ZERO; stride * rows.len()];
        let mut errors = vec![0.0; rows.len()];
        blocks
            .par_chunks_mut(stride.max(1))
            .zip(&mut errors)
            .enumerate()
            .for_each_init(
                || (vec![0.0; dim], vec![0; dim]),
                |(row, codes), (i, (blocks, error))| {
                    unpack_into(rows.row(i), row);
                    for (((code, x), low), inverse) in
                        codes.iter_mut().zip(&*row).zip(&self.low).zip(&inverse)
                    {
                        // The cast saturates, so NaN and numbers out of range become valid codes.
                        *code = ((x - low) * inverse + 0.5).min(max_code) as u8;
                    }
                    *error = self.squared_error(row, codes);
                    self.bits.pack(codes, blocks);
                },
            );
        (blocks, errors)
    }

    /// The squared distance of a row to what its codes stand for.
    fn squared_error(&self, row: &[f32], codes: &[u8]) -> f64 {
        let ranges = self.low.iter().zip(&self.step);
        let numbers = row.iter().zip(codes).zip(ranges);
        numbers
            .map(|((x, code), (low, step))| f64::from(low + step * f32::from(*code) - x).powi(2))
            .sum()
    }

    /// The squared distance to be expected of the rounding to steps alone.
    fn rounding(&self) -> f64 {
        let squares = self.step.iter().map(|step| f64::from(*step).powi(2));
        squares.sum::<f64>() / 12.0
    }
}

/// The codes of many items and the quantizer that made them.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    quantizer: Quantizer,
    blocks: Column<CodeBlock>,
    outliers: Outliers,
}

impl Codes {
    /// Codes that were stored, [`CodeBits::blocks`] blocks an item.
    pub(crate) fn stored(
        quantizer: Quantizer,
        blocks: Column<CodeBlock>,
        outliers: Outliers,
    ) -> Self {
        Self {
            quantizer,
            blocks,
            outliers,
        }
    }

    /// Codes of all rows, of four bits where these preserve neighbours, else of eight.
    pub(crate) fn of(rows: &Rows) -> Self {
        // Four bits are not tried where they would take as many cache lines as eight.
        if CodeBits::Four.blocks(rows.dim()) < CodeBits::Eight.blocks(rows.dim()) {
            let coarse = Self::with(CodeBits::Four, rows);
            if ranges::preserve_neighbours(&coarse, rows) {
                return coarse;
            }
        }
        Self::with(CodeBits::Eight, rows)
    }

    fn with(bits: CodeBits, rows: &Rows) -> Self {
        let quantizer = Quantizer::fit(bits, rows);
        let (blocks, errors) = quantizer.encode(rows);
        Self {
            blocks: Column::Held(blocks),
            // Codes of eight bits cover all values.
            outliers: match bits {
                CodeBits::Four => Outliers::of(&errors, quantizer.rounding()),
                CodeBits::Eight => Outliers::of(&errors, f64::INFINITY),
            },
            quantizer,
        }
    }

    /// The quantizer that made the codes.
    pub(crate) fn quantizer(&self) -> &Quantizer {
        &self.quantizer
    }

    /// The items of which codes say too little.
    pub(crate) fn outliers(&self) -> &Outliers {
        &self.outliers
    }

    /// All blocks, item after item.
    pub(crate) fn blocks(&self) -> &[CodeBlock] {
        &self.blocks
    }

    /// The codes by item.
    pub(crate) fn rows(&self) -> CodeRows<'_> {
        CodeRows::new(
            self.quantizer.bits.blocks(self.quantizer.low.len()),
            &self.blocks,
        )
    }

    /// Bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        let ranges = self.quantizer.low.len() + self.quantizer.step.len();
        self.blocks.bytes() + self.outliers.bytes() + ranges * size_of::<f32>()
    }

    /// A query direction of `dim` numbers, quantized to meet these codes.
    pub(crate) fn query(&self, direction: &[f32]) -> CodedQuery {
        CodedQuery::new(&self.quantizer, direction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::layout::rows::pack_into;
    use crate::index::tests::Random;

    fn rows(dim: usize, count: usize, mut vector: impl FnMut(usize) -> Vec<f32>) -> Rows {
        let mut rows = Rows::zeros(dim, count);
        for i in 0..count {
            pack_into(&vector(i), rows.row_mut(i));
        }
        rows
    }

    fn exact(direction: &[f32], row: &[f32]) -> f64 {
        direction
            .iter()
            .zip(row)
            .map(|(w, x)| f64::from(*w) * f64::from(*x))
            .sum()
    }

    fn dots(codes: &Codes, direction: &[f32], ids: &[u32]) -> Vec<f32> {
        let mut out = Vec::new();
        codes.query(direction).dots(codes.rows(), ids, &mut out);
        out
    }

    #[test]
    fn coded_products_are_within_half_a_step_a_number() {
        let mut random = Random::new(3);
        for dim in [1, 15, 16, 17, 63, 64, 65, 100, 128, 129, 384, 1000, 4096] {
            // All values lie in the range that is worth covering, of evenly spread ones.
            let vectors: Vec<Vec<f32>> = (0..43)
                .map(|_| random.vector(dim).iter().map(|x| x.sin()).collect())
                .collect();
            let rows = rows(dim, vectors.len(), |i| vectors[i].clone());
            let ids: Vec<u32> = (0..vectors.len() as u32).collect();
            for bits in [CodeBits::Four, CodeBits::Eight] {
                let codes = Codes::with(bits, &rows);
                let direction: Vec<f32> = random.vector(dim).iter().map(|w| w * 3.0).collect();
                let unit = f64::from(codes.query(&direction).unit);
                for (i, dot) in dots(&codes, &direction, &ids).into_iter().enumerate() {
                    let error = (f64::from(dot) - exact(&direction, &vectors[i])).abs();
                    let allowed: f64 = (0..dim)
                        .map(|j| {
                            let (low, step) = (
                                f64::from(codes.quantizer.low[j]),
                                f64::from(codes.quantizer.step[j]),
                            );
                            let x = f64::from(vectors[i][j]);
                            let beyond = (low - x)
                                .max(x - low - f64::from(bits.max_code()) * step)
                                .max(0.0);
                            f64::from(direction[j].abs()) * beyond.max(step * 0.5)
                        })
                        .sum();
                    let weights = unit * f64::from(bits.max_code()) * dim as f64;
                    assert!(
                        error <= allowed * 1.001 + weights + 1e-4,
                        "dim {dim}, {bits:?}: {error} > {allowed}"
                    );
                }
            }
        }
    }

    #[test]
    fn codes_of_four_bits_are_as_near_as_such_can_be() {
        // Of a normal distribution, 16 even steps leave 1.15 % of the variance at best.
        let mut random = Random::new(4);
        let vectors: Vec<Vec<f32>> = (0..2000).map(|_| random.vector(100)).collect();
        let codes = Codes::with(CodeBits::Four, &rows(100, 2000, |i| vectors[i].clone()));
        let mut error = 0.0;
        for j in 0..100 {
            let mut unit = vec![0.0; 100];
            unit[j] = 1.0;
            for (i, x) in dots(&codes, &unit, &(0..2000).collect::<Vec<_>>())
                .into_iter()
                .enumerate()
            {
                error += f64::from(x - vectors[i][j]).powi(2) / 200_000.0;
            }
        }
        assert!(error < 0.0125, "{error}");
    }

    #[test]
    fn rare_large_values_are_not_cut_off() {
        // One number of a hundred is 1 and all others 0, as in counts of words: both must be told
        // exactly.
        let codes = Codes::with(
            CodeBits::Four,
            &rows(100, 1000, |i| {
                (0..100)
                    .map(|j| f32::from(u8::from(i % 100 == j)))
                    .collect()
            }),
        );
        let mut first = vec![0.0; 100];
        first[0] = 1.0;
        let dots = dots(&codes, &first, &[0, 1, 99, 100]);
        let near: Vec<i32> = dots
            .iter()
            .map(|dot| (dot * 1000.0).round() as i32)
            .collect();
        assert_eq!(near, [1000, 0, 0, 1000]);
    }

    #[test]
    fn vectors_that_need_finer_steps_get_them() {
        let mut random = Random::new(6);
        let spread = rows(128, 3000, |_| random.vector(128));
        assert_eq!(Codes::of(&spread).quantizer.bits, CodeBits::Four);
        assert_eq!(
            Codes::of(&rows(64, 3000, |_| vec![1.0; 64])).quantizer.bits,
            CodeBits::Eight,
            "no cache line is spared"
        );
        // They lie on a plane.
        let (a, b) = (random.vector(128), random.vector(128));
        let flat = rows(128, 3000, |_| {
            let (s, t) = (random.normal(), random.normal());
            a.iter().zip(&b).map(|(a, b)| s * a + t * b).collect()
        });
        assert_eq!(Codes::of(&flat).quantizer.bits, CodeBits::Eight);
    }

    #[test]
    fn extreme_numbers_give_finite_products() {
        for (dim, big) in [(1, 1e30), (64, 1e36), (4096, 1e34)] {
            let codes = Codes::of(&rows(dim, 2, |i| {
                vec![if i == 0 { -big } else { big }; dim]
            }));
            let dot = |w: f32| dots(&codes, &vec![w; dim], &[1])[0];
            assert!(dot(1.0).is_finite());
            assert_eq!(dot(0.0), 0.0);
            assert!((dot(1.0) / (big * dim as f32) - 1.0).abs() < 1e-3);
        }
        let equal = Codes::of(&rows(5, 3, |_| vec![0.25; 5]));
        assert!((dots(&equal, &[1.0; 5], &[2])[0] - 1.25).abs() < 1e-6);
        assert_eq!(Codes::of(&Rows::zeros(7, 0)).blocks.len(), 0);
    }
}
