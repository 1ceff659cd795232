//! NEON kernels for `aarch64`.
#![expect(unsafe_code, reason = "intrinsics: loads within a `Block`, feature checked at run time")]

use std::arch::aarch64::{float32x4_t, vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32};
use std::arch::is_aarch64_feature_detected;

use super::Kernels;
use crate::index::rows::Block;

/// The NEON kernels, where the machine has them.
pub(super) fn neon() -> Option<Kernels> {
    is_aarch64_feature_detected!("neon").then_some(Kernels {
        name: "neon",
        // SAFETY: `neon` was just detected, which is all these functions ask for.
        dot: |a, b| unsafe { dot(a, b) },
        // SAFETY: as above.
        dot4: |q, rows| unsafe { rows.map(|row| dot(q, row)) },
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
