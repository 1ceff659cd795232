//! Query directions quantized to meet codes.

use super::Quantizer;
use crate::index::kernels::{Kernels, kernels};
use crate::index::layout::codes::{CodeBits, CodeRows, WEIGHT_LANES, WeightBlock};
use crate::sum::{dot, sum};

/// Codes whose products are summed by one call of a kernel.
const BATCH: usize = 64;

/// A query direction in the terms of a [`Quantizer`]: 16-bit weights, their unit, and the part of
/// the dot product that all items share.
#[derive(Debug)]
pub(crate) struct CodedQuery {
    bits: CodeBits,
    weights: Vec<WeightBlock>,
    /// What a weight of 1 stands for.
    pub(super) unit: f32,
    /// Dot product of the direction with the quantizer's least values.
    base: f32,
    kernels: &'static Kernels,
}

impl CodedQuery {
    /// Quantizes a direction of `dim` numbers.
    pub(super) fn new(quantizer: &Quantizer, direction: &[f32]) -> Self {
        let scaled: Vec<f32> = direction
            .iter()
            .zip(&quantizer.step)
            .map(|(w, step)| w * step)
            .collect();
        let largest = scaled
            .iter()
            .fold(0.0f32, |largest, w| largest.max(w.abs()));
        let sum = sum(&scaled, &scaled, |w, _| w.abs());
        // Products of a weight and a code are summed in 32 bits: 255 times the weights' sum must
        // fit.
        let unit =
            (f64::from(largest) / f64::from(i16::MAX)).max(sum / f64::from(i32::MAX / 256)) as f32;
        let usable = unit.is_normal();
        let inverse = if usable { unit.recip() } else { 0.0 };
        // Kernels read whole blocks of codes, so the padding has weights too.
        let padded = quantizer.bits.blocks(direction.len()) * quantizer.bits.lanes();
        let mut weights = vec![WeightBlock::ZERO; padded / WEIGHT_LANES];
        for (to, w) in weights
            .iter_mut()
            .flat_map(|block| &mut block.0)
            .zip(&scaled)
        {
            // Rounded towards zero, so that the sum stays within its bound. The value is in the
            // range of 16 bits; going through 32 bits takes one instruction for several numbers.
            *to = (w * inverse) as i32 as i16;
        }
        Self {
            bits: quantizer.bits,
            weights,
            unit: if usable { unit } else { 0.0 },
            base: dot(direction, &quantizer.low) as f32,
            kernels: kernels(),
        }
    }

    /// Appends the approximate dot product of the direction with each of the items `ids` to `out`.
    #[inline]
    pub(crate) fn dots(&self, rows: CodeRows<'_>, ids: &[u32], out: &mut Vec<f32>) {
        let kernel = self.kernels.codes(self.bits);
        for ids in ids.chunks(BATCH) {
            let mut sums = [0; BATCH];
            let sums = &mut sums[..ids.len()];
            kernel(&self.weights, rows, ids, sums);
            out.extend(sums.iter().map(|sum| self.base + self.unit * *sum as f32));
        }
    }
}
