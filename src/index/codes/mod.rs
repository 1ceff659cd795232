//! Vectors in four bits a number, or in eight, for walking graphs: an eighth or a quarter of the
//! memory traffic of `f32`.
//!
//! Number `j` of an item is near `low[j] + step[j] c[j]` with its code `c[j]` from 0 to 15, or to
//! 255. A query direction `w` meets codes as `w'x = w'low + sum_j (w[j] step[j]) c[j]`: the steps
//! go into the query, whose weights are then rounded to 16 bits. So any direction, under any
//! metric, is followed with the items' few bits as the only rounding that matters. What the walk
//! finds is computed again from the numbers themselves.

mod ranges;

use rayon::prelude::*;

use super::column::Column;
use super::kernels::{Kernels, kernels};
use super::rows::{Rows, unpack_into};
use crate::sum::{dot, sum};

/// Bytes in a [`CodeBlock`].
pub(crate) const CODE_BYTES: usize = 64;
/// Weights in a [`WeightBlock`].
pub(crate) const WEIGHT_LANES: usize = 16;

/// Codes on one cache line: 64 of eight bits, or 128 of four. Of these, the word (little-endian)
/// `t` of the block holds the codes `t`, `32 + t`, `64 + t` and `96 + t` from its lowest bits up,
/// so that a mask takes 32 neighbours out at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct CodeBlock(pub(crate) [u8; CODE_BYTES]);

/// 16 weights of a query, for 16 codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct WeightBlock(pub(crate) [i16; WEIGHT_LANES]);

/// Bits of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// Four.
    Four,
    /// Eight.
    Eight,
}

impl Width {
    /// In bits.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The width of so many bits.
    pub(crate) fn of_bits(bits: u32) -> Option<Self> {
        [Self::Four, Self::Eight]
            .into_iter()
            .find(|width| width.bits() == bits)
    }

    /// Codes in a [`CodeBlock`].
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Four => 2 * CODE_BYTES,
            Self::Eight => CODE_BYTES,
        }
    }

    /// Blocks for `dim` codes.
    pub(crate) const fn blocks(self, dim: usize) -> usize {
        dim.div_ceil(self.lanes())
    }

    /// The greatest code.
    fn most(self) -> u8 {
        match self {
            Self::Four => 15,
            Self::Eight => 255,
        }
    }

    /// Writes codes to blocks of zeros.
    pub(super) fn pack(self, codes: &[u8], blocks: &mut [CodeBlock]) {
        for (codes, block) in codes.chunks(self.lanes()).zip(blocks) {
            match self {
                Self::Eight => block.0[..codes.len()].copy_from_slice(codes),
                Self::Four => {
                    for (quarter, codes) in codes.chunks(CODE_BYTES / 2).enumerate() {
                        let (byte, shift) = (quarter / 2, quarter % 2 * 4);
                        for (pair, code) in block.0.chunks_exact_mut(2).zip(codes) {
                            pair[byte] |= code << shift;
                        }
                    }
                }
            }
        }
    }
}

/// The codes of many items.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    width: Width,
    low: Vec<f32>,
    step: Vec<f32>,
    blocks: Column<CodeBlock>,
}

/// [`Codes`] as loops read them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeRows<'a> {
    stride: usize,
    blocks: &'a [CodeBlock],
}

impl<'a> CodeRows<'a> {
    /// Rows of `stride` blocks.
    pub(crate) fn new(stride: usize, blocks: &'a [CodeBlock]) -> Self {
        Self { stride, blocks }
    }

    /// The codes of item `i`, padded with zeros.
    #[inline]
    pub(crate) fn row(&self, i: u32) -> &'a [CodeBlock] {
        &self.blocks[i as usize * self.stride..(i as usize + 1) * self.stride]
    }
}

/// Whether vectors of so many numbers are walked on codes. Up to 32 numbers are two cache lines, of
/// which codes could spare one; and in few dimensions many items lie nearer to each other than the
/// codes' steps, so that walks would go astray.
pub(crate) fn are_walked(dim: usize) -> bool {
    dim > 32
}

impl Codes {
    /// Codes that were stored: the least value of each number, the step of each, and the codes.
    pub(crate) fn mapped(width: Width, ranges: &[f32], blocks: Column<CodeBlock>) -> Self {
        let (low, step) = ranges.split_at(ranges.len() / 2);
        Self {
            width,
            low: low.to_vec(),
            step: step.to_vec(),
            blocks,
        }
    }

    /// What [`Self::mapped`] takes.
    pub(crate) fn parts(&self) -> (Width, Vec<f32>, &[CodeBlock]) {
        (self.width, [&*self.low, &*self.step].concat(), &self.blocks)
    }

    /// Codes of all rows, as wide as these need.
    pub(crate) fn of(rows: &Rows) -> Self {
        // Not where they would take as many cache lines.
        if Width::Four.blocks(rows.dim()) < Width::Eight.blocks(rows.dim()) {
            let few = Self::with(Width::Four, rows);
            if ranges::suffice(&few, rows) {
                return few;
            }
        }
        Self::with(Width::Eight, rows)
    }

    /// Codes of all rows. Each number has its own range.
    fn with(width: Width, rows: &Rows) -> Self {
        let dim = rows.dim();
        let (low, step) = ranges::ranges(width, rows);
        let inverse: Vec<f32> = step
            .iter()
            .map(|step| if *step > 0.0 { step.recip() } else { 0.0 })
            .collect();
        let stride = width.blocks(dim);
        let most = f32::from(width.most());
        let mut blocks = vec![CodeBlock([0; CODE_BYTES]); stride * rows.len()];
        blocks
            .par_chunks_mut(stride.max(1))
            .enumerate()
            .for_each_init(
                || (vec![0.0; dim], vec![0; dim]),
                |(row, codes), (i, blocks)| {
                    unpack_into(rows.row(i), row);
                    for (((code, x), low), inverse) in
                        codes.iter_mut().zip(&*row).zip(&low).zip(&inverse)
                    {
                        // A float that is no number or out of range becomes the nearest code.
                        *code = ((x - low) * inverse + 0.5).min(most) as u8;
                    }
                    width.pack(codes, blocks);
                },
            );
        Self {
            width,
            low,
            step,
            blocks: Column::Held(blocks),
        }
    }

    /// The codes by item.
    pub(crate) fn rows(&self) -> CodeRows<'_> {
        CodeRows::new(self.width.blocks(self.low.len()), &self.blocks)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.bytes() + (self.low.len() + self.step.len()) * size_of::<f32>()
    }

    /// A direction as it meets these codes.
    pub(crate) fn query(&self, direction: &[f32]) -> CodedQuery {
        let scaled: Vec<f32> = direction
            .iter()
            .zip(&self.step)
            .map(|(w, step)| w * step)
            .collect();
        let most = scaled.iter().fold(0.0f32, |most, w| most.max(w.abs()));
        let sum = sum(&scaled, &scaled, |w, _| w.abs());
        // Products of a weight and a code are summed in 32 bits: 255 times the weights' sum must
        // fit.
        let unit =
            (f64::from(most) / f64::from(i16::MAX)).max(sum / f64::from(i32::MAX / 256)) as f32;
        let usable = unit.is_normal();
        let inverse = if usable { unit.recip() } else { 0.0 };
        // A weight for every code that there is room for: kernels take whole blocks.
        let room = self.width.blocks(direction.len()) * self.width.lanes();
        let mut weights = vec![WeightBlock([0; WEIGHT_LANES]); room / WEIGHT_LANES];
        for (to, w) in weights
            .iter_mut()
            .flat_map(|block| &mut block.0)
            .zip(&scaled)
        {
            // Towards zero, so that the sum stays within its bound. It is in the range of 16 bits;
            // a conversion to 32 is one instruction for several numbers.
            *to = (w * inverse) as i32 as i16;
        }
        let base = dot(direction, &self.low) as f32;
        CodedQuery {
            width: self.width,
            weights,
            unit: if usable { unit } else { 0.0 },
            base,
            kernels: kernels(),
        }
    }
}

/// A query direction in the terms of some [`Codes`].
#[derive(Debug)]
pub(crate) struct CodedQuery {
    width: Width,
    weights: Vec<WeightBlock>,
    unit: f32,
    base: f32,
    kernels: &'static Kernels,
}

impl CodedQuery {
    /// Appends the dot product of the direction with each of `ids`, nearly, to `out`.
    #[inline]
    pub(crate) fn dots(&self, rows: CodeRows<'_>, ids: &[u32], out: &mut Vec<f32>) {
        const STEP: usize = 64;
        let kernel = self.kernels.codes(self.width);
        for ids in ids.chunks(STEP) {
            let mut sums = [0; STEP];
            let sums = &mut sums[..ids.len()];
            kernel(&self.weights, rows, ids, sums);
            out.extend(sums.iter().map(|sum| self.base + self.unit * *sum as f32));
        }
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
            for width in [Width::Four, Width::Eight] {
                let codes = Codes::with(width, &rows);
                let direction: Vec<f32> = random.vector(dim).iter().map(|w| w * 3.0).collect();
                let unit = f64::from(codes.query(&direction).unit);
                for (i, dot) in dots(&codes, &direction, &ids).into_iter().enumerate() {
                    let error = (f64::from(dot) - exact(&direction, &vectors[i])).abs();
                    let allowed: f64 = (0..dim)
                        .map(|j| {
                            let (low, step) = (f64::from(codes.low[j]), f64::from(codes.step[j]));
                            let x = f64::from(vectors[i][j]);
                            let beyond = (low - x)
                                .max(x - low - f64::from(width.most()) * step)
                                .max(0.0);
                            f64::from(direction[j].abs()) * beyond.max(step * 0.5)
                        })
                        .sum();
                    let weights = unit * f64::from(width.most()) * dim as f64;
                    assert!(
                        error <= allowed * 1.001 + weights + 1e-4,
                        "dim {dim}, {width:?}: {error} > {allowed}"
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
        let codes = Codes::with(Width::Four, &rows(100, 2000, |i| vectors[i].clone()));
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
            Width::Four,
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
        assert_eq!(Codes::of(&spread).width, Width::Four);
        assert_eq!(
            Codes::of(&rows(64, 3000, |_| vec![1.0; 64])).width,
            Width::Eight,
            "no cache line is spared"
        );
        // They lie on a plane.
        let (a, b) = (random.vector(128), random.vector(128));
        let flat = rows(128, 3000, |_| {
            let (s, t) = (random.normal(), random.normal());
            a.iter().zip(&b).map(|(a, b)| s * a + t * b).collect()
        });
        assert_eq!(Codes::of(&flat).width, Width::Eight);
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
