//! AVX-512F and AVX2 + FMA kernels for `x86_64`.
#![expect(
    unsafe_code,
    reason = "intrinsics: aligned loads through `Block`'s alignment, features checked at run time"
)]

use std::arch::x86_64::{
    __m256, __m256i, __m512i, _MM_HINT_T0, _mm_add_epi32, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32,
    _mm_loadu_ps, _mm_loadu_si128, _mm_movehl_ps, _mm_prefetch, _mm_shuffle_ps, _mm_storeu_si128,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_castps256_ps128,
    _mm256_castsi256_si128, _mm256_cvtepu8_epi16, _mm256_cvtps_pd, _mm256_extractf128_ps,
    _mm256_extracti128_si256, _mm256_fmadd_pd, _mm256_fmadd_ps, _mm256_hadd_epi32, _mm256_load_ps,
    _mm256_load_si256, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi16,
    _mm256_setzero_pd, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_srli_epi16,
    _mm256_storeu_pd, _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_si256,
    _mm512_cvtepu8_epi16, _mm512_cvtps_pd, _mm512_dpwssd_epi32, _mm512_extracti64x4_epi64,
    _mm512_fmadd_pd, _mm512_fmadd_ps, _mm512_load_ps, _mm512_load_si512, _mm512_loadu_si512,
    _mm512_reduce_add_ps, _mm512_set1_epi16, _mm512_setzero_pd, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_srli_epi16, _mm512_storeu_pd,
};

use super::{Kernels, TO_BYTES, TO_NIBBLES, by_fours};
use crate::index::layout::codes::{CodeRows, WEIGHT_LANES, WeightBlock};
use crate::index::layout::rows::{Block, LANES};

/// The AVX2 kernels, where the machine has them.
pub(super) fn avx2() -> Option<Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Kernels {
        name: "avx2",
        // SAFETY: `avx2` and `fma` were just detected, which is all these functions ask for.
        dot: |a, b| unsafe { dot_avx2(a, b) },
        // SAFETY: as above.
        dot4: |q, rows| unsafe { dot4_avx2(q, rows) },
        // SAFETY: as above.
        dot64: |a, b| unsafe { dot64_avx2(a, b) },
        // SAFETY: as above.
        nibbles: |w, rows, ids, out| unsafe { nibbles_avx2(w, rows, ids, out) },
        // SAFETY: as above.
        bytes: |w, rows, ids, out| unsafe { bytes_avx2(w, rows, ids, out) },
    })
}

/// The AVX-512 kernels, where the machine has them.
pub(super) fn avx512() -> Option<Kernels> {
    let all = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma");
    all.then_some(Kernels {
        name: "avx512",
        // SAFETY: all these features were just detected, which is all these functions ask for.
        dot: |a, b| unsafe { dot_avx512(a, b) },
        // SAFETY: as above.
        dot4: |q, rows| unsafe { dot4_avx512(q, rows) },
        // SAFETY: as above.
        dot64: |a, b| unsafe { dot64_avx512(a, b) },
        // SAFETY: as above.
        nibbles: |w, rows, ids, out| unsafe { nibbles_avx512(w, rows, ids, out) },
        // SAFETY: as above.
        bytes: |w, rows, ids, out| unsafe { bytes_avx512(w, rows, ids, out) },
    })
}

/// Asks the processor to load the first cache lines of a row.
#[inline]
pub(super) fn prefetch<T>(row: &[T]) {
    const LINE: usize = 64;
    const LINES: usize = 32;
    let start = row.as_ptr().cast::<i8>();
    for line in 0..size_of_val(row).div_ceil(LINE).min(LINES) {
        // SAFETY: prefetching is a hint without effect on memory; the address lies within the row.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(line * LINE)) };
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
    // SAFETY: a `Block` is sixteen `f32` aligned to 64 bytes, so both halves are in bounds and
    // 32-byte aligned.
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
    sum8(_mm256_add_ps(
        _mm256_add_ps(sums[0], sums[2]),
        _mm256_add_ps(sums[1], sums[3]),
    ))
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

#[target_feature(enable = "avx2,fma")]
fn dot64_avx2(a: &[Block], b: &[Block]) -> [f64; LANES] {
    let mut sums = [_mm256_setzero_pd(); 4];
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums
            .iter_mut()
            .zip(a.0.as_chunks::<4>().0)
            .zip(b.0.as_chunks::<4>().0)
        {
            // SAFETY: four `f32` are read from arrays of four.
            let (x, y) = unsafe { (_mm_loadu_ps(x.as_ptr()), _mm_loadu_ps(y.as_ptr())) };
            *sum = _mm256_fmadd_pd(_mm256_cvtps_pd(x), _mm256_cvtps_pd(y), *sum);
        }
    }
    let mut out = [0.0f64; LANES];
    for (out, sum) in out.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
        // SAFETY: four `f64` are written to an array of four.
        unsafe { _mm256_storeu_pd(out.as_mut_ptr(), sum) };
    }
    out
}

#[target_feature(enable = "avx512f")]
fn dot64_avx512(a: &[Block], b: &[Block]) -> [f64; LANES] {
    let mut sums = [_mm512_setzero_pd(); 2];
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums
            .iter_mut()
            .zip(a.0.as_chunks::<8>().0)
            .zip(b.0.as_chunks::<8>().0)
        {
            // SAFETY: eight `f32` are read from arrays of eight.
            let (x, y) = unsafe { (_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(y.as_ptr())) };
            *sum = _mm512_fmadd_pd(_mm512_cvtps_pd(x), _mm512_cvtps_pd(y), *sum);
        }
    }
    let mut out = [0.0f64; LANES];
    for (out, sum) in out.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
        // SAFETY: eight `f64` are written to an array of eight.
        unsafe { _mm512_storeu_pd(out.as_mut_ptr(), sum) };
    }
    out
}

/// Four totals of eight numbers each.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn totals([a, b, c, d]: [__m256i; 4]) -> [i32; 4] {
    // Two rounds of pairwise sums leave the four totals' halves in the two lanes.
    let fours = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let totals = _mm_add_epi32(
        _mm256_castsi256_si128(fours),
        _mm256_extracti128_si256::<1>(fours),
    );
    let mut out = [0i32; 4];
    // SAFETY: sixteen bytes are written to an array of sixteen.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), totals) };
    out
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn weights_avx2(weights: &WeightBlock) -> __m256i {
    // SAFETY: a `WeightBlock` is sixteen `i16` aligned to 32 bytes.
    unsafe { _mm256_load_si256(weights.0.as_ptr().cast()) }
}

#[target_feature(enable = "avx2,fma")]
fn nibbles_avx2(weights: &[WeightBlock], rows: CodeRows<'_>, ids: &[u32], out: &mut [i32]) {
    let (weights, mask) = (weights.as_chunks::<TO_NIBBLES>().0, _mm256_set1_epi16(15));
    by_fours(rows, ids, out, |[r0, r1, r2, r3]| {
        let mut sums = [_mm256_setzero_si256(); 4];
        for ((((w, r0), r1), r2), r3) in weights.iter().zip(r0).zip(r1).zip(r2).zip(r3) {
            for half in 0..2 {
                let w = [0, 2, 4, 6].map(|quarter: usize| weights_avx2(&w[quarter + half]));
                for (sum, codes) in sums.iter_mut().zip([r0, r1, r2, r3]) {
                    // SAFETY: a `CodeBlock` is 64 bytes aligned to 64; this is one half of it.
                    let words =
                        unsafe { _mm256_load_si256(codes.0.as_ptr().add(32 * half).cast()) };
                    let first = _mm256_madd_epi16(_mm256_and_si256(words, mask), w[0]);
                    let second = _mm256_madd_epi16(
                        _mm256_and_si256(_mm256_srli_epi16::<4>(words), mask),
                        w[1],
                    );
                    let third = _mm256_madd_epi16(
                        _mm256_and_si256(_mm256_srli_epi16::<8>(words), mask),
                        w[2],
                    );
                    let fourth = _mm256_madd_epi16(_mm256_srli_epi16::<12>(words), w[3]);
                    let products = _mm256_add_epi32(
                        _mm256_add_epi32(first, second),
                        _mm256_add_epi32(third, fourth),
                    );
                    *sum = _mm256_add_epi32(*sum, products);
                }
            }
        }
        totals(sums)
    });
}

#[target_feature(enable = "avx2,fma")]
fn bytes_avx2(weights: &[WeightBlock], rows: CodeRows<'_>, ids: &[u32], out: &mut [i32]) {
    let weights = weights.as_chunks::<TO_BYTES>().0;
    by_fours(rows, ids, out, |[r0, r1, r2, r3]| {
        let mut sums = [_mm256_setzero_si256(); 4];
        for ((((w, r0), r1), r2), r3) in weights.iter().zip(r0).zip(r1).zip(r2).zip(r3) {
            for (at, w) in w.iter().enumerate() {
                let w = weights_avx2(w);
                for (sum, codes) in sums.iter_mut().zip([r0, r1, r2, r3]) {
                    let codes = codes.0.as_chunks::<WEIGHT_LANES>().0[at];
                    // SAFETY: sixteen codes are read.
                    let codes =
                        _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) });
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(codes, w));
                }
            }
        }
        totals(sums)
    });
}

/// Four totals of sixteen numbers each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
fn totals_512(sums: [__m512i; 4]) -> [i32; 4] {
    totals(sums.map(|sum| {
        _mm256_add_epi32(
            _mm512_castsi512_si256(sum),
            _mm512_extracti64x4_epi64::<1>(sum),
        )
    }))
}

/// Two weight blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
fn weights_512(pair: &[WeightBlock; 2]) -> __m512i {
    // SAFETY: two `WeightBlock`s are 32 `i16`, one after the other.
    unsafe { _mm512_loadu_si512(pair.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
fn nibbles_avx512(weights: &[WeightBlock], rows: CodeRows<'_>, ids: &[u32], out: &mut [i32]) {
    let (weights, mask) = (
        weights
            .as_chunks::<2>()
            .0
            .as_chunks::<{ TO_NIBBLES / 2 }>()
            .0,
        _mm512_set1_epi16(15),
    );
    by_fours(rows, ids, out, |[r0, r1, r2, r3]| {
        let mut sums = [_mm512_setzero_si512(); 4];
        for ((((w, r0), r1), r2), r3) in weights.iter().zip(r0).zip(r1).zip(r2).zip(r3) {
            let w = [
                weights_512(&w[0]),
                weights_512(&w[1]),
                weights_512(&w[2]),
                weights_512(&w[3]),
            ];
            for (sum, codes) in sums.iter_mut().zip([r0, r1, r2, r3]) {
                // SAFETY: a `CodeBlock` is 64 bytes aligned to 64.
                let words = unsafe { _mm512_load_si512(codes.0.as_ptr().cast()) };
                *sum = _mm512_dpwssd_epi32(*sum, _mm512_and_si512(words, mask), w[0]);
                *sum = _mm512_dpwssd_epi32(
                    *sum,
                    _mm512_and_si512(_mm512_srli_epi16::<4>(words), mask),
                    w[1],
                );
                *sum = _mm512_dpwssd_epi32(
                    *sum,
                    _mm512_and_si512(_mm512_srli_epi16::<8>(words), mask),
                    w[2],
                );
                *sum = _mm512_dpwssd_epi32(*sum, _mm512_srli_epi16::<12>(words), w[3]);
            }
        }
        totals_512(sums)
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
fn bytes_avx512(weights: &[WeightBlock], rows: CodeRows<'_>, ids: &[u32], out: &mut [i32]) {
    let weights = weights.as_chunks::<2>().0.as_chunks::<{ TO_BYTES / 2 }>().0;
    by_fours(rows, ids, out, |[r0, r1, r2, r3]| {
        let mut sums = [_mm512_setzero_si512(); 4];
        for ((((w, r0), r1), r2), r3) in weights.iter().zip(r0).zip(r1).zip(r2).zip(r3) {
            for (half, w) in w.iter().enumerate() {
                let w = weights_512(w);
                for (sum, codes) in sums.iter_mut().zip([r0, r1, r2, r3]) {
                    // SAFETY: a `CodeBlock` is 64 bytes; this is one half of it.
                    let codes =
                        unsafe { _mm256_loadu_si256(codes.0.as_ptr().add(32 * half).cast()) };
                    *sum = _mm512_dpwssd_epi32(*sum, _mm512_cvtepu8_epi16(codes), w);
                }
            }
        }
        totals_512(sums)
    });
}
