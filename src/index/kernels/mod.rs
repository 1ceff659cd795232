//! Dot products of padded rows, of `f32` or of codes, by the widest instructions the machine has.
//!
//! The instruction set is chosen once, at first use. Kernels add the same products in different
//! orders, so their results agree to rounding for `f32`, and to the bit for codes. Reported
//! distances come from `dot64`, whose order is the same everywhere. This is the only module of the
//! index with `unsafe` code.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use crate::index::layout::codes::{CodeBits, CodeRows, WEIGHT_LANES, WeightBlock};
use crate::index::layout::rows::{Block, LANES};

/// The kernels of one instruction set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernels {
    /// Name of the instruction set.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "read in tests, which name the kernels that failed"
        )
    )]
    pub(crate) name: &'static str,
    /// Dot product of two rows of one length.
    pub(crate) dot: fn(&[Block], &[Block]) -> f32,
    /// Dot products of one row with four others of its length.
    pub(crate) dot4: fn(&[Block], [&[Block]; 4]) -> [f32; 4],
    /// Sums of products in `f64`, one a lane. Every kernel gives the same bits, because the product
    /// of two `f32` is exact in `f64` whether or not it is fused with the addition.
    pub(crate) dot64: fn(&[Block], &[Block]) -> [f64; LANES],
    /// The kernel for codes of four bits.
    nibbles: CodeKernel,
    /// The kernel for codes of eight bits.
    bytes: CodeKernel,
}

impl Kernels {
    /// The kernel for codes of so many bits.
    pub(crate) fn codes(&self, bits: CodeBits) -> CodeKernel {
        match bits {
            CodeBits::Four => self.nibbles,
            CodeBits::Eight => self.bytes,
        }
    }
}

/// Writes to `out[i]` the sum of products of the weights and the codes of row `ids[i]`; the
/// arguments are weights, rows, `ids` and `out`. Every code of a padded row has a weight, and the
/// absolute weights sum to less than `i32::MAX / 255`.
pub(crate) type CodeKernel = fn(&[WeightBlock], CodeRows<'_>, &[u32], &mut [i32]);

/// Weight blocks that meet a block of codes of four bits.
const TO_NIBBLES: usize = CodeBits::Four.lanes() / WEIGHT_LANES;
/// Weight blocks that meet a block of codes of eight bits.
const TO_BYTES: usize = CodeBits::Eight.lanes() / WEIGHT_LANES;

/// Calls `sums` with four rows at a time. The last row fills up an incomplete four.
#[cfg(target_arch = "x86_64")]
#[expect(
    clippy::inline_always,
    reason = "code that is not inlined into a kernel is not compiled for its instruction set"
)]
#[inline(always)]
fn by_fours<'a>(
    rows: CodeRows<'a>,
    ids: &[u32],
    out: &mut [i32],
    mut sums: impl FnMut([&'a [crate::index::layout::codes::CodeBlock]; 4]) -> [i32; 4],
) {
    let (fours, rest) = ids.as_chunks::<4>();
    let (out_fours, out_rest) = out.as_chunks_mut::<4>();
    for (&[a, b, c, d], out) in fours.iter().zip(out_fours) {
        // Not `map`, which is a call.
        *out = sums([rows.row(a), rows.row(b), rows.row(c), rows.row(d)]);
    }
    if let Some(last) = rest.last() {
        let four = std::array::from_fn(|i| rows.row(*rest.get(i).unwrap_or(last)));
        out_rest.copy_from_slice(&sums(four)[..rest.len()]);
    }
}

/// The fastest kernels of this machine.
pub(crate) fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| available()[0])
}

/// All kernels this machine can run, fastest first; the last is portable.
pub(crate) fn available() -> Vec<Kernels> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        found.extend(x86::avx512());
        found.extend(x86::avx2());
    }
    #[cfg(target_arch = "aarch64")]
    found.extend(neon::neon());
    found.push(portable::KERNELS);
    found
}

/// Asks the processor to load the first cache lines of a slice that is read soon.
#[inline]
pub(crate) fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(row);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

#[cfg(test)]
mod tests;
