//! Dot products of padded rows, in `f32` or in codes, by the widest instructions the machine has.
//!
//! The choice is made once, at first use. Every kernel computes the same sum in another order, so
//! results in `f32` agree to rounding, and results in codes to the bit. What is *reported* comes
//! from `dot64`, which has one order everywhere. This is the only place of the index with `unsafe`
//! code.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use super::codes::{CodeRows, WEIGHT_LANES, WeightBlock, Width};
use super::rows::{Block, LANES};

/// The kernels of one instruction set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernels {
    /// What they are written in.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests say which kernels failed")
    )]
    pub(crate) name: &'static str,
    /// Dot product of two rows of one length.
    pub(crate) dot: fn(&[Block], &[Block]) -> f32,
    /// Dot products of one row with four others of its length.
    pub(crate) dot4: fn(&[Block], [&[Block]; 4]) -> [f32; 4],
    /// Sums of products lane by lane, in `f64`: the same bits from every kernel, because the
    /// product of two `f32` is exact there, whether or not it is fused with the addition.
    pub(crate) dot64: fn(&[Block], &[Block]) -> [f64; LANES],
    /// Sums of products of weights and the codes of four bits of each of some rows.
    nibbles: CodeKernel,
    /// The same with codes of eight bits.
    bytes: CodeKernel,
}

impl Kernels {
    /// The kernel for codes of a width.
    pub(crate) fn codes(&self, width: Width) -> CodeKernel {
        match width {
            Width::Four => self.nibbles,
            Width::Eight => self.bytes,
        }
    }
}

/// Writes the sum of products of the weights and the codes of each row named to the place of its
/// name. There is a weight for every code of a row, and the absolute weights sum to less than
/// `i32::MAX / 255`.
pub(crate) type CodeKernel = fn(&[WeightBlock], CodeRows<'_>, &[u32], &mut [i32]);

/// Weight blocks that meet a block of codes of four bits.
const TO_NIBBLES: usize = Width::Four.lanes() / WEIGHT_LANES;
/// Weight blocks that meet a block of codes of eight bits.
const TO_BYTES: usize = Width::Eight.lanes() / WEIGHT_LANES;

/// Calls `sums` with four rows at a time; the last are met more than once where there are no four.
#[cfg(target_arch = "x86_64")]
#[expect(
    clippy::inline_always,
    reason = "what is not inlined into a kernel is not compiled for its instruction set"
)]
#[inline(always)]
fn by_fours<'a>(
    rows: CodeRows<'a>,
    ids: &[u32],
    out: &mut [i32],
    mut sums: impl FnMut([&'a [super::codes::CodeBlock]; 4]) -> [i32; 4],
) {
    let (fours, rest) = ids.as_chunks::<4>();
    let (out_fours, out_rest) = out.as_chunks_mut::<4>();
    for (four, out) in fours.iter().zip(out_fours) {
        *out = sums(four.map(|id| rows.row(id)));
    }
    if let Some(last) = rest.last() {
        let four = std::array::from_fn(|i| rows.row(*rest.get(i).unwrap_or(last)));
        out_rest.copy_from_slice(&sums(four)[..rest.len()]);
    }
}

/// The best kernels of this machine.
pub(crate) fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| available()[0])
}

/// All kernels this machine can run, best first; the last is portable.
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

/// Asks the processor to load the first lines of what is read soon.
#[inline]
pub(crate) fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(row);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

#[cfg(test)]
mod tests;
