//! Query directions quantized to meet codes.

use super::Quantizer;
use crate::index::kernels::kernels;
use crate::index::layout::codes::{CodeBits, CodeRows, NibbleWeights, WEIGHT_LANES, WeightBlock};
use crate::sum::{dot, sum};

/// Codes whose products are summed by one call of a kernel.
const BATCH: usize = 64;

/// The code of four bits that lies amid all.
const AMID: f32 = 7.5;

/// A query direction in the terms of a [`Quantizer`]: integer weights, their unit, and the part of
/// the dot product that all items share.
#[derive(Debug)]
pub(crate) struct CodedQuery {
    weights: Weights,
    /// What a weight of 1 stands for.
    pub(super) unit: f32,
    /// The dot product of the direction with the quantizer's least values, and what the weights'
    /// rounding adds for codes amid the range.
    base: f32,
}

/// The weights of all codes of a padded row.
#[derive(Debug)]
enum Weights {
    /// Of eight bits, for codes of four: these are rounded so much more coarsely that weights of
    /// more bits would not tell items apart any better.
    ForNibbles(Vec<NibbleWeights>),
    /// Of 16 bits, for codes of eight.
    ForBytes(Vec<WeightBlock>),
}

impl CodedQuery {
    /// Quantizes a direction of `dim` numbers.
    pub(super) fn new(quantizer: &Quantizer, direction: &[f32]) -> Self {
        let scaled: Vec<f32> = direction
            .iter()
            .zip(&quantizer.step)
            .map(|(w, step)| w * step)
            .collect();
        let blocks = quantizer.bits.blocks(direction.len());
        let base = dot(direction, &quantizer.low) as f32;
        match quantizer.bits {
            CodeBits::Four => Self::for_nibbles(&scaled, blocks, base),
            CodeBits::Eight => Self::for_bytes(&scaled, blocks, base),
        }
    }

    fn for_nibbles(scaled: &[f32], blocks: usize, base: f32) -> Self {
        let (unit, inverse) = usable(f64::from(largest(scaled)) / f64::from(i8::MAX));
        // Halves away from zero, as `round` does, which is a call of a function. Going through 32
        // bits takes one instruction for several numbers.
        let nearest = |w: &f32| {
            let exact = w * inverse;
            (exact + 0.5_f32.copysign(exact)) as i32 as f32
        };
        let nearest: Vec<f32> = scaled.iter().map(nearest).collect();
        let rest = sum(scaled, &nearest, |w, weight| w - f64::from(unit) * weight);
        let weights: Vec<i8> = nearest.iter().map(|weight| *weight as i32 as i8).collect();
        Self {
            weights: Weights::ForNibbles(NibbleWeights::pack(&weights, blocks)),
            unit,
            base: if unit > 0.0 {
                base + AMID * rest as f32
            } else {
                base
            },
        }
    }

    fn for_bytes(scaled: &[f32], blocks: usize, base: f32) -> Self {
        // Products of a weight and a code are summed in 32 bits: 255 times the weights' sum must
        // fit.
        let total = sum(scaled, scaled, |w, _| w.abs());
        let largest = f64::from(largest(scaled));
        let unit = (largest / f64::from(i16::MAX)).max(total / f64::from(i32::MAX / 256));
        let (unit, inverse) = usable(unit);
        // Kernels read whole blocks of codes, so the padding has weights too.
        let padded = blocks * CodeBits::Eight.lanes();
        let mut weights = vec![WeightBlock::ZERO; padded / WEIGHT_LANES];
        for (to, w) in weights
            .iter_mut()
            .flat_map(|block| &mut block.0)
            .zip(scaled)
        {
            // Rounded towards zero, so that the sum stays within its bound. The value is in the
            // range of 16 bits; going through 32 bits takes one instruction for several numbers.
            *to = (w * inverse) as i32 as i16;
        }
        Self {
            weights: Weights::ForBytes(weights),
            unit,
            base,
        }
    }

    /// Appends the approximate dot product of the direction with each of the items `ids` to `out`.
    #[inline]
    pub(crate) fn dots(&self, rows: CodeRows<'_>, ids: &[u32], out: &mut Vec<f32>) {
        let kernels = kernels();
        for ids in ids.chunks(BATCH) {
            let mut sums = [0; BATCH];
            let sums = &mut sums[..ids.len()];
            match &self.weights {
                Weights::ForNibbles(weights) => (kernels.nibbles)(weights, rows, ids, sums),
                Weights::ForBytes(weights) => (kernels.bytes)(weights, rows, ids, sums),
            }
            out.extend(sums.iter().map(|sum| self.base + self.unit * *sum as f32));
        }
    }
}

fn largest(scaled: &[f32]) -> f32 {
    scaled
        .iter()
        .fold(0.0f32, |largest, w| largest.max(w.abs()))
}

/// A unit of weights and its inverse; zeros where it has none.
fn usable(unit: f64) -> (f32, f32) {
    let unit = unit as f32;
    if unit.is_normal() {
        (unit, unit.recip())
    } else {
        (0.0, 0.0)
    }
}
