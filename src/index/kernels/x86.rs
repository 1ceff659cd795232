//! AVX-512F and AVX2 + FMA kernels for `x86_64`.
#![expect(unsafe_code, reason = "intrinsics: aligned loads through `Block`'s alignment, features checked at run time")]

use std::arch::x86_64::{
    __m256, __m256i, __m512i, _MM_HINT_T0, _mm_add_epi32, _mm_add_ps, _mm_add_ss, _mm_cvtsi128_si32, _mm_cvtss_f32,
    _mm_loadu_ps, _mm_loadu_si128, _mm_movehl_ps, _mm_prefetch, _mm_shuffle_epi32, _mm_shuffle_ps, _mm_storeu_si128,
    _mm256_add_epi32, _mm256_add_ps, _mm256_castps256_ps128, _mm256_castsi256_si128, _mm256_cvtepu8_epi16,
    _mm256_cvtps_pd, _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_pd, _mm256_fmadd_ps,
    _mm256_hadd_epi32, _mm256_load_ps, _mm256_load_si256, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_setzero_pd, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_pd, _mm512_add_epi32, _mm512_add_ps,
    _mm512_cvtepu8_epi16, _mm512_cvtps_pd, _mm512_dpwssd_epi32, _mm512_fmadd_pd, _mm512_fmadd_ps, _mm512_load_ps,
    _mm512_loadu_si512, _mm512_reduce_add_epi32, _mm512_reduce_add_ps, _mm512_setzero_pd, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_storeu_pd, _mm512_zextsi256_si512,
};

use super::{Kernels, WEIGHTS_TO_CODES};
use crate::index::codes::{CodeBlock, WEIGHT_LANES, WeightBlock};
use crate::index::rows::{Block, LANES};

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
        codes: |w, c| unsafe { codes_avx2(w, c) },
        // SAFETY: as above.
        codes4: |w, rows| unsafe { codes4_avx2(w, rows) },
    })
}

/// The AVX-512 kernels, where the machine has them.
pub(super) fn avx512() -> Option<Kernels> {
    let all = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx2");
    all.then_some(Kernels {
        name: "avx512",
        // SAFETY: `avx512f`, `avx512bw`, `avx512vnni` and `avx2` were just detected, which is all these functions ask for.
        dot: |a, b| unsafe { dot_avx512(a, b) },
        // SAFETY: as above.
        dot4: |q, rows| unsafe { dot4_avx512(q, rows) },
        // SAFETY: as above.
        dot64: |a, b| unsafe { dot64_avx512(a, b) },
        // SAFETY: as above.
        codes: |w, c| unsafe { codes_avx512(w, c) },
        // SAFETY: as above.
        codes4: |w, rows| unsafe { codes4_avx512(w, rows) },
    })
}

/// Asks for the first lines of a row.
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

#[target_feature(enable = "avx2,fma")]
fn dot64_avx2(a: &[Block], b: &[Block]) -> [f64; LANES] {
    let mut sums = [_mm256_setzero_pd(); 4];
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(a.0.as_chunks::<4>().0).zip(b.0.as_chunks::<4>().0) {
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
        for ((sum, x), y) in sums.iter_mut().zip(a.0.as_chunks::<8>().0).zip(b.0.as_chunks::<8>().0) {
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

/// Where the codes of an item begin, of which there is one for every weight.
#[inline]
fn start(weights: &[WeightBlock], codes: &[CodeBlock]) -> *const u8 {
    assert!(weights.len() <= codes.len() * WEIGHTS_TO_CODES, "a code for every weight");
    codes.as_ptr().cast()
}

/// The sixteen codes from `at` on, as 16-bit numbers.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn widen(start: *const u8, at: usize) -> __m256i {
    // SAFETY: every caller has `start` from the function of that name, and a weight block for the codes at `at`.
    _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(start.add(at).cast()) })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_weights(weights: &WeightBlock) -> __m256i {
    // SAFETY: a `WeightBlock` is sixteen `i16` aligned to 32 bytes.
    unsafe { _mm256_load_si256(weights.0.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum8_i32(v: __m256i) -> i32 {
    let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b01_00_11_10>(v));
    _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32::<0b10_11_00_01>(v)))
}

#[target_feature(enable = "avx2,fma")]
fn codes_avx2(weights: &[WeightBlock], codes: &[CodeBlock]) -> i32 {
    let start = start(weights, codes);
    let mut sums = [_mm256_setzero_si256(); 2];
    for (i, w) in weights.iter().enumerate() {
        let products = _mm256_madd_epi16(widen(start, i * WEIGHT_LANES), load_weights(w));
        sums[i % 2] = _mm256_add_epi32(sums[i % 2], products);
    }
    sum8_i32(_mm256_add_epi32(sums[0], sums[1]))
}

#[target_feature(enable = "avx2,fma")]
fn codes4_avx2(weights: &[WeightBlock], rows: [&[CodeBlock]; 4]) -> [i32; 4] {
    let starts = rows.map(|row| start(weights, row));
    let mut sums = [_mm256_setzero_si256(); 4];
    for (i, w) in weights.iter().enumerate() {
        let w = load_weights(w);
        for (sum, start) in sums.iter_mut().zip(starts) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(widen(start, i * WEIGHT_LANES), w));
        }
    }
    // Two rounds of pairwise sums leave the four totals' halves in the two lanes.
    let pairs = (_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    let fours = _mm256_hadd_epi32(pairs.0, pairs.1);
    let totals = _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256::<1>(fours));
    let mut out = [0i32; 4];
    // SAFETY: sixteen bytes are written to an array of sixteen.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), totals) };
    out
}

/// The 32 codes that meet the weight blocks `2 pair` and `2 pair + 1`. A code block has room for an even number of
/// weight blocks, so there are 32 codes even where there is only one weight block left.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
fn widen_512(start: *const u8, pair: usize) -> __m512i {
    // SAFETY: every caller has `start` from the function of that name, and a weight block for the first of the codes.
    _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(start.add(2 * pair * WEIGHT_LANES).cast()) })
}

/// Two weight blocks; the second is zero where there is none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
fn load_weights_512(pair: &[WeightBlock]) -> __m512i {
    match pair {
        // SAFETY: two `WeightBlock`s are 32 `i16`, one after the other.
        [_, _, ..] => unsafe { _mm512_loadu_si512(pair.as_ptr().cast()) },
        // SAFETY: a `WeightBlock` is sixteen `i16`.
        [one] => _mm512_zextsi256_si512(unsafe { _mm256_loadu_si256(one.0.as_ptr().cast()) }),
        [] => _mm512_setzero_si512(),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
fn codes_avx512(weights: &[WeightBlock], codes: &[CodeBlock]) -> i32 {
    let start = start(weights, codes);
    let mut sums = [_mm512_setzero_si512(); 2];
    for (i, pair) in weights.chunks(2).enumerate() {
        sums[i % 2] = _mm512_dpwssd_epi32(sums[i % 2], widen_512(start, i), load_weights_512(pair));
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
fn codes4_avx512(weights: &[WeightBlock], rows: [&[CodeBlock]; 4]) -> [i32; 4] {
    let starts = rows.map(|row| start(weights, row));
    let mut sums = [_mm512_setzero_si512(); 4];
    for (i, pair) in weights.chunks(2).enumerate() {
        let w = load_weights_512(pair);
        for (sum, start) in sums.iter_mut().zip(starts) {
            *sum = _mm512_dpwssd_epi32(*sum, widen_512(start, i), w);
        }
    }
    sums.map(|sum| _mm512_reduce_add_epi32(sum))
}
