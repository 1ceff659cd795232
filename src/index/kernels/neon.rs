//! NEON kernels for `aarch64`.
#![expect(unsafe_code, reason = "intrinsics: loads within a `Block`, feature checked at run time")]

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vaddq_s32, vaddvq_f32, vaddvq_s32, vdupq_n_f32, vdupq_n_s32, vfmaq_f32, vget_high_s16,
    vget_high_u8, vget_low_s16, vget_low_u8, vld1q_f32, vld1q_s16, vld1q_u8, vmlal_s16, vmovl_u8,
    vreinterpretq_s16_u16,
};
use std::arch::is_aarch64_feature_detected;

use super::{Kernels, WEIGHTS_TO_CODES};
use crate::index::codes::{CodeBlock, WEIGHT_LANES, WeightBlock};
use crate::index::rows::Block;

/// The NEON kernels, where the machine has them.
pub(super) fn neon() -> Option<Kernels> {
    is_aarch64_feature_detected!("neon").then_some(Kernels {
        name: "neon",
        // SAFETY: `neon` was just detected, which is all these functions ask for.
        dot: |a, b| unsafe { dot(a, b) },
        // SAFETY: as above.
        dot4: |q, rows| unsafe { rows.map(|row| dot(q, row)) },
        dot64: super::portable::dot64,
        // SAFETY: as above.
        codes: |w, c| unsafe { codes(w, c) },
        // SAFETY: as above.
        codes4: |w, rows| unsafe { rows.map(|row| codes(w, row)) },
    })
}

#[inline]
#[target_feature(enable = "neon")]
fn load(block: &Block) -> [float32x4_t; 4] {
    let at = block.0.as_ptr();
    // SAFETY: a `Block` is sixteen `f32`, so the four loads are in bounds.
    unsafe { [vld1q_f32(at), vld1q_f32(at.add(4)), vld1q_f32(at.add(8)), vld1q_f32(at.add(12))] }
}

#[target_feature(enable = "neon")]
fn dot(a: &[Block], b: &[Block]) -> f32 {
    let mut sums = [vdupq_n_f32(0.0); 4];
    for (a, b) in a.iter().zip(b) {
        let (x, y) = (load(a), load(b));
        for i in 0..4 {
            sums[i] = vfmaq_f32(sums[i], x[i], y[i]);
        }
    }
    vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])))
}

#[target_feature(enable = "neon")]
fn codes(weights: &[WeightBlock], codes: &[CodeBlock]) -> i32 {
    let mut sums = [vdupq_n_s32(0); 2];
    for (weights, codes) in weights.chunks(WEIGHTS_TO_CODES).zip(codes) {
        for (w, c) in weights.iter().zip(codes.0.as_chunks::<WEIGHT_LANES>().0) {
            // SAFETY: sixteen codes and sixteen weights are read.
            let (c, w0, w1) =
                unsafe { (vld1q_u8(c.as_ptr()), vld1q_s16(w.0.as_ptr()), vld1q_s16(w.0.as_ptr().add(8))) };
            let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(c)));
            let high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(c)));
            sums[0] = vmlal_s16(sums[0], vget_low_s16(low), vget_low_s16(w0));
            sums[1] = vmlal_s16(sums[1], vget_high_s16(low), vget_high_s16(w0));
            sums[0] = vmlal_s16(sums[0], vget_low_s16(high), vget_low_s16(w1));
            sums[1] = vmlal_s16(sums[1], vget_high_s16(high), vget_high_s16(w1));
        }
    }
    vaddvq_s32(vaddq_s32(sums[0], sums[1]))
}
