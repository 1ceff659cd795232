//! The kernels in plain Rust: sixteen running sums, which compilers turn into whatever vectors the target has.

use super::Kernels;
use crate::index::rows::{Block, LANES};

pub(super) const KERNELS: Kernels = Kernels { name: "portable", dot, dot4 };

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
