//! The kernels in plain Rust: sixteen running sums, which compilers turn into whatever vectors the target has.

use super::Kernels;
use crate::index::codes::{CODE_LANES, CodeBlock, WEIGHT_LANES, WeightBlock};
use crate::index::rows::{Block, LANES};

pub(super) const KERNELS: Kernels = Kernels { name: "portable", dot, dot4, dot64, codes, codes4 };

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

fn codes(weights: &[WeightBlock], codes: &[CodeBlock]) -> i32 {
    let mut sums = [0i32; WEIGHT_LANES];
    for (weights, codes) in weights.chunks(CODE_LANES / WEIGHT_LANES).zip(codes) {
        for (weights, codes) in weights.iter().zip(codes.0.as_chunks::<WEIGHT_LANES>().0) {
            for ((sum, w), c) in sums.iter_mut().zip(&weights.0).zip(codes) {
                *sum += i32::from(*w) * i32::from(*c);
            }
        }
    }
    sums.iter().sum()
}

fn codes4(weights: &[WeightBlock], rows: [&[CodeBlock]; 4]) -> [i32; 4] {
    rows.map(|row| codes(weights, row))
}
