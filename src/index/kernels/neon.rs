//! NEON kernels for `aarch64`.
#![expect(
    unsafe_code,
    reason = "intrinsics: loads within a `Block`, feature checked at run time"
)]

use std::arch::aarch64::{
    float32x4_t, int32x4_t, uint8x16_t, vaddq_f32, vaddq_s32, vaddvq_f32, vaddvq_s32, vandq_u8,
    vdupq_n_f32, vdupq_n_s32, vdupq_n_u8, vfmaq_f32, vget_high_s16, vget_high_u8, vget_low_s16,
    vget_low_u8, vld1q_f32, vld1q_s16, vld1q_u8, vld2q_u8, vmlal_s16, vmovl_u8,
    vreinterpretq_s16_u16, vshrq_n_u8,
};
use std::arch::is_aarch64_feature_detected;

use super::{Kernels, TO_BYTES, TO_NIBBLES};
use crate::index::layout::codes::{CodeRows, WEIGHT_LANES, WeightBlock};
use crate::index::layout::rows::Block;

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
        nibbles: |w, rows, ids, out| unsafe { nibbles(w, rows, ids, out) },
        // SAFETY: as above.
        bytes: |w, rows, ids, out| unsafe { bytes(w, rows, ids, out) },
    })
}

#[inline]
#[target_feature(enable = "neon")]
fn load(block: &Block) -> [float32x4_t; 4] {
    let at = block.0.as_ptr();
    // SAFETY: a `Block` is sixteen `f32`, so the four loads are in bounds.
    unsafe {
        [
            vld1q_f32(at),
            vld1q_f32(at.add(4)),
            vld1q_f32(at.add(8)),
            vld1q_f32(at.add(12)),
        ]
    }
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
    vaddvq_f32(vaddq_f32(
        vaddq_f32(sums[0], sums[1]),
        vaddq_f32(sums[2], sums[3]),
    ))
}

/// Adds the products of sixteen codes and their weights to eight running sums.
#[inline]
#[target_feature(enable = "neon")]
fn add(sums: &mut [int32x4_t; 2], c: uint8x16_t, w: &WeightBlock) {
    // SAFETY: a `WeightBlock` is sixteen `i16`.
    let (w0, w1) = unsafe { (vld1q_s16(w.0.as_ptr()), vld1q_s16(w.0.as_ptr().add(8))) };
    let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(c)));
    let high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(c)));
    sums[0] = vmlal_s16(sums[0], vget_low_s16(low), vget_low_s16(w0));
    sums[1] = vmlal_s16(sums[1], vget_high_s16(low), vget_high_s16(w0));
    sums[0] = vmlal_s16(sums[0], vget_low_s16(high), vget_low_s16(w1));
    sums[1] = vmlal_s16(sums[1], vget_high_s16(high), vget_high_s16(w1));
}

#[target_feature(enable = "neon")]
fn nibbles(weights: &[WeightBlock], rows: CodeRows<'_>, ids: &[u32], out: &mut [i32]) {
    for (&id, out) in ids.iter().zip(out) {
        let mut sums = [vdupq_n_s32(0); 2];
        for (weights, codes) in weights.chunks_exact(TO_NIBBLES).zip(rows.row(id)) {
            for (half, codes) in codes.0.as_chunks::<32>().0.iter().enumerate() {
                // SAFETY: 32 bytes are read: the even ones, and the odd ones, of sixteen words.
                let words = unsafe { vld2q_u8(codes.as_ptr()) };
                for (at, bytes) in [words.0, words.1].into_iter().enumerate() {
                    add(
                        &mut sums,
                        vandq_u8(bytes, vdupq_n_u8(15)),
                        &weights[4 * at + half],
                    );
                    add(
                        &mut sums,
                        vshrq_n_u8::<4>(bytes),
                        &weights[4 * at + 2 + half],
                    );
                }
            }
        }
        *out = vaddvq_s32(vaddq_s32(sums[0], sums[1]));
    }
}

#[target_feature(enable = "neon")]
fn bytes(weights: &[WeightBlock], rows: CodeRows<'_>, ids: &[u32], out: &mut [i32]) {
    for (&id, out) in ids.iter().zip(out) {
        let mut sums = [vdupq_n_s32(0); 2];
        for (weights, codes) in weights.chunks_exact(TO_BYTES).zip(rows.row(id)) {
            for (w, c) in weights.iter().zip(codes.0.as_chunks::<WEIGHT_LANES>().0) {
                // SAFETY: sixteen codes are read.
                add(&mut sums, unsafe { vld1q_u8(c.as_ptr()) }, w);
            }
        }
        *out = vaddvq_s32(vaddq_s32(sums[0], sums[1]));
    }
}
