//! Kernels in plain Rust: sixteen running sums, which compilers turn into the target's vector
//! instructions.

use super::{Kernels, TO_BYTES, TO_NIBBLES};
use crate::index::layout::codes::{CodeRows, WEIGHT_LANES, WeightBlock};
use crate::index::layout::rows::{Block, LANES};

pub(super) const KERNELS: Kernels = Kernels {
    name: "portable",
    dot,
    dot4,
    dot64,
    nibbles,
    bytes,
};

fn dot(a: &[Block], b: &[Block]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(&a.0).zip(&b.0) {
            *sum += x * y;
        }
    }
    sums.iter().sum()
}

fn dot4(q: &[Block], rows: [&[Block]; 4]) -> [f32; 4] {
    rows.map(|row| dot(q, row))
}

pub(super) fn dot64(a: &[Block], b: &[Block]) -> [f64; LANES] {
    let mut sums = [0.0f64; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(&a.0).zip(&b.0) {
            *sum += f64::from(*x) * f64::from(*y);
        }
    }
    sums
}

fn nibbles(weights: &[WeightBlock], rows: CodeRows<'_>, ids: &[u32], out: &mut [i32]) {
    for (&id, out) in ids.iter().zip(out) {
        let mut sums = [0i32; WEIGHT_LANES];
        for (weights, codes) in weights.chunks_exact(TO_NIBBLES).zip(rows.row(id)) {
            for (half, words) in codes
                .0
                .as_chunks::<{ 2 * WEIGHT_LANES }>()
                .0
                .iter()
                .enumerate()
            {
                for ((t, sum), word) in sums.iter_mut().enumerate().zip(words.as_chunks::<2>().0) {
                    let word = i32::from(u16::from_le_bytes(*word));
                    for quarter in 0..4 {
                        *sum += i32::from(weights[2 * quarter + half].0[t])
                            * (word >> (4 * quarter) & 15);
                    }
                }
            }
        }
        *out = sums.iter().sum();
    }
}

fn bytes(weights: &[WeightBlock], rows: CodeRows<'_>, ids: &[u32], out: &mut [i32]) {
    for (&id, out) in ids.iter().zip(out) {
        let mut sums = [0i32; WEIGHT_LANES];
        for (weights, codes) in weights.chunks_exact(TO_BYTES).zip(rows.row(id)) {
            for (weights, codes) in weights.iter().zip(codes.0.as_chunks::<WEIGHT_LANES>().0) {
                for ((sum, w), c) in sums.iter_mut().zip(&weights.0).zip(codes) {
                    *sum += i32::from(*w) * i32::from(*c);
                }
            }
        }
        *out = sums.iter().sum();
    }
}
