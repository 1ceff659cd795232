//! AVX-512F and AVX2 + FMA kernels for `x86_64`.
#![expect(unsafe_code, reason = "intrinsics: aligned loads through `Block`'s alignment, features checked at run time")]

use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps, _mm_prefetch, _mm_shuffle_ps,
    _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_load_ps, _mm256_setzero_ps,
    _mm512_add_ps, _mm512_fmadd_ps, _mm512_load_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
};

use super::Kernels;
use crate::index::rows::Block;

/// The AVX2 kernels, where the machine has them.
pub(super) fn avx2() -> Option<Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Kernels {
        name: "avx2",
        // SAFETY: `avx2` and `fma` were just detected, which is all these functions ask for.
        dot: |a, b| unsafe { dot_avx2(a, b) },
        // SAFETY: as above.
        dot4: |q, rows| unsafe { dot4_avx2(q, rows) },
    })
}

/// The AVX-512 kernels, where the machine has them.
pub(super) fn avx512() -> Option<Kernels> {
    is_x86_feature_detected!("avx512f").then_some(Kernels {
        name: "avx512",
        // SAFETY: `avx512f` was just detected, which is all these functions ask for.
        dot: |a, b| unsafe { dot_avx512(a, b) },
        // SAFETY: as above.
        dot4: |q, rows| unsafe { dot4_avx512(q, rows) },
    })
}

/// Asks for the first lines of a row.
#[inline]
pub(super) fn prefetch(row: &[Block]) {
    for block in row.iter().take(8) {
        // SAFETY: prefetching is a hint without effect on memory, and the address is that of a live reference.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(block).cast()) };
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum8(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
}

/// The two halves of a block.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(block: &Block) -> (__m256, __m256) {
    let at = block.0.as_ptr();
    // SAFETY: a `Block` is sixteen `f32` aligned to 64 bytes, so both halves are in bounds and 32-byte aligned.
    unsafe { (_mm256_load_ps(at), _mm256_load_ps(at.add(8))) }
}

#[target_feature(enable = "avx2,fma")]
fn dot_avx2(a: &[Block], b: &[Block]) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 4];
    let (pairs_a, rest_a) = a.as_chunks::<2>();
    let (pairs_b, rest_b) = b.as_chunks::<2>();
    for ([a0, a1], [b0, b1]) in pairs_a.iter().zip(pairs_b) {
        let ((x0, x1), (x2, x3)) = (load(a0), load(a1));
        let ((y0, y1), (y2, y3)) = (load(b0), load(b1));
        sums[0] = _mm256_fmadd_ps(x0, y0, sums[0]);
        sums[1] = _mm256_fmadd_ps(x1, y1, sums[1]);
        sums[2] = _mm256_fmadd_ps(x2, y2, sums[2]);
        sums[3] = _mm256_fmadd_ps(x3, y3, sums[3]);
    }
    for (a, b) in rest_a.iter().zip(rest_b) {
        let ((x0, x1), (y0, y1)) = (load(a), load(b));
        sums[0] = _mm256_fmadd_ps(x0, y0, sums[0]);
        sums[1] = _mm256_fmadd_ps(x1, y1, sums[1]);
    }
    sum8(_mm256_add_ps(_mm256_add_ps(sums[0], sums[2]), _mm256_add_ps(sums[1], sums[3])))
}

#[target_feature(enable = "avx2,fma")]
fn dot4_avx2(q: &[Block], rows: [&[Block]; 4]) -> [f32; 4] {
    let mut low = [_mm256_setzero_ps(); 4];
    let mut high = [_mm256_setzero_ps(); 4];
    let [r0, r1, r2, r3] = rows;
    for ((((q, r0), r1), r2), r3) in q.iter().zip(r0).zip(r1).zip(r2).zip(r3) {
        let (x0, x1) = load(q);
        for (i, row) in [r0, r1, r2, r3].into_iter().enumerate() {
            let (y0, y1) = load(row);
            low[i] = _mm256_fmadd_ps(x0, y0, low[i]);
            high[i] = _mm256_fmadd_ps(x1, y1, high[i]);
        }
    }
    [0, 1, 2, 3].map(|i: usize| sum8(_mm256_add_ps(low[i], high[i])))
}

#[target_feature(enable = "avx512f")]
fn dot_avx512(a: &[Block], b: &[Block]) -> f32 {
    let mut sums = [_mm512_setzero_ps(); 2];
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        // SAFETY: a `Block` is sixteen `f32` aligned to 64 bytes.
        let (x, y) = unsafe { (_mm512_load_ps(a.0.as_ptr()), _mm512_load_ps(b.0.as_ptr())) };
        sums[i % 2] = _mm512_fmadd_ps(x, y, sums[i % 2]);
    }
    _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
}

#[target_feature(enable = "avx512f")]
fn dot4_avx512(q: &[Block], rows: [&[Block]; 4]) -> [f32; 4] {
    let mut sums = [_mm512_setzero_ps(); 4];
    let [r0, r1, r2, r3] = rows;
    for ((((q, r0), r1), r2), r3) in q.iter().zip(r0).zip(r1).zip(r2).zip(r3) {
        // SAFETY: a `Block` is sixteen `f32` aligned to 64 bytes.
        let x = unsafe { _mm512_load_ps(q.0.as_ptr()) };
        for (sum, row) in sums.iter_mut().zip([r0, r1, r2, r3]) {
            // SAFETY: as above.
            *sum = _mm512_fmadd_ps(x, unsafe { _mm512_load_ps(row.0.as_ptr()) }, *sum);
        }
    }
    sums.map(|sum| _mm512_reduce_add_ps(sum))
}
