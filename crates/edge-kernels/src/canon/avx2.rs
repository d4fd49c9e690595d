//! AVX2: sixteen lanes are two 256-bit registers. FMA is never used.

use std::arch::x86_64::*;

use super::lanes::{self, LANES, Lanes};
use super::layers;
use super::tiles;

#[derive(Clone, Copy)]
pub(crate) struct V(pub(crate) [__m256; 2]);

/// One instruction on both registers.
macro_rules! both {
    ($f:ident($($v:expr),*)) => {
        V([$f($($v.0[0]),*), $f($($v.0[1]),*)])
    };
}

impl Lanes for V {
    lanes::lane_methods! {
        fn splat(value: f32) -> Self {
            V([_mm256_set1_ps(value); 2])
        }
        fn load(from: *const f32) -> Self {
            V([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))])
        }
        fn store(self, to: *mut f32) {
            _mm256_storeu_ps(to, self.0[0]);
            _mm256_storeu_ps(to.add(8), self.0[1]);
        }
        fn load_i8(from: *const i8) -> Self {
            let bytes = _mm_loadu_si128(from.cast());
            V([
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes))),
            ])
        }
        fn store_i8(self, to: *mut i8) {
            let (a, b) = (_mm256_cvtps_epi32(self.0[0]), _mm256_cvtps_epi32(self.0[1]));
            // Packs within 128-bit halves: the quarters come out as a0 b0 a1 b1.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), _mm_packs_epi16(low, high));
        }
        fn add(self, other: Self) -> Self { both!(_mm256_add_ps(self, other)) }
        fn sub(self, other: Self) -> Self { both!(_mm256_sub_ps(self, other)) }
        fn mul(self, other: Self) -> Self { both!(_mm256_mul_ps(self, other)) }
        fn div(self, other: Self) -> Self { both!(_mm256_div_ps(self, other)) }
        fn max(self, other: Self) -> Self { both!(_mm256_max_ps(self, other)) }
        fn min(self, other: Self) -> Self { both!(_mm256_min_ps(self, other)) }
        fn round(self) -> Self { both!(round(self)) }
        fn scale(self, n: Self) -> Self { both!(scale(self, n)) }
        fn bound_exp(self, x: Self, low: Self, high: Self) -> Self {
            both!(bound_exp(self, x, low, high))
        }
        fn fold(self) -> f32 { fold8(_mm256_add_ps(self.0[0], self.0[1])) }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn round(x: __m256) -> __m256 {
    _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
}

#[target_feature(enable = "avx2")]
#[inline]
fn scale(y: __m256, n: __m256) -> __m256 {
    let n = _mm256_cvttps_epi32(n);
    let half = _mm256_srai_epi32::<1>(n);
    let rest = _mm256_sub_epi32(n, half);
    _mm256_mul_ps(_mm256_mul_ps(y, power_of_two(half)), power_of_two(rest))
}

#[target_feature(enable = "avx2")]
#[inline]
fn power_of_two(e: __m256i) -> __m256 {
    let biased = _mm256_add_epi32(e, _mm256_set1_epi32(127));
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
}

#[target_feature(enable = "avx2")]
#[inline]
fn bound_exp(y: __m256, x: __m256, low: __m256, high: __m256) -> __m256 {
    let y = _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(x, low), y);
    let above = _mm256_cmp_ps::<_CMP_GT_OQ>(x, high);
    _mm256_blendv_ps(y, _mm256_set1_ps(f32::INFINITY), above)
}

/// The steps 4, 2 and 1 of the tree.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn fold8(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<0b01>(x, x)))
}

lanes::entry_points! {
    #[target_feature(enable = "avx2")]
    V
}

/// The lanes and the registers of a tile's row, which a packed matrix is laid out for.
pub(crate) const PANEL: (usize, usize) = (8, 2);

tiles::vector! {
    Register(__m256), 8, _mm256_setzero_ps(), broadcast, _mm256_loadu_ps, _mm256_storeu_ps,
    _mm256_add_ps, _mm256_mul_ps, prefetch super::avx512::prefetch,
    super::avx512::prefetch_far
}

// Of 16 registers twelve sum, two hold columns, one a row's element, one a product.
tiles::product! {
    #[target_feature(enable = "avx2")]
    Register, tiles::Rounded, 6, 2
}

#[target_feature(enable = "avx2")]
#[inline]
unsafe fn broadcast(from: *const f32) -> __m256 {
    // SAFETY: the caller vouches for the element.
    _mm256_set1_ps(unsafe { *from })
}

layers::entry_points! {
    #[target_feature(enable = "avx2")]
    V
}

/// Exact: bytes widened to 16 bits, products of pairs added in 32.
///
/// # Safety
/// The machine has AVX2; the lengths are equal and at most `DOT_I8_MAX_LEN`.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let len = a.len().min(b.len());
    let (a, b) = (a.as_ptr(), b.as_ptr());
    let mut acc = [_mm256_setzero_si256(); 2];
    let mut i = 0;
    while i + 2 * LANES <= len {
        for (h, acc) in acc.iter_mut().enumerate() {
            // SAFETY: i + 16 h + 16 <= len.
            let (a, b) = unsafe {
                let at = i + h * LANES;
                (_mm_loadu_si128(a.add(at).cast()), _mm_loadu_si128(b.add(at).cast()))
            };
            let pairs = _mm256_madd_epi16(_mm256_cvtepi8_epi16(a), _mm256_cvtepi8_epi16(b));
            *acc = _mm256_add_epi32(*acc, pairs);
        }
        i += 2 * LANES;
    }
    let mut total = sum_i32(_mm256_add_epi32(acc[0], acc[1]));
    while i < len {
        // SAFETY: i < len.
        total += unsafe { i32::from(*a.add(i)) * i32::from(*b.add(i)) };
        i += 1;
    }
    total
}

#[target_feature(enable = "avx2")]
#[inline]
fn sum_i32(x: __m256i) -> i32 {
    let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b11_10_11_10>(x));
    _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32::<0b01_01_01_01>(x)))
}

/// See [`dot_i8`].
///
/// # Safety
/// As [`dot_i8`]; `query` is `dim` long, `rows` `out.len() * dim`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dot_i8_many(query: &[i8], rows: &[i8], dim: usize, out: &mut [i32]) {
    for (row, score) in out.iter_mut().enumerate() {
        // SAFETY: the caller's contract is the callee's.
        *score = unsafe { dot_i8(query, &rows[row * dim..(row + 1) * dim]) };
    }
}

/// Bits that differ, by looking up the counts of half bytes (Mula, Kurz and Lemire, "Faster population
/// counts using AVX2 instructions", The Computer Journal 61:1, 2018), without their carry-save adders: codes
/// are short.
///
/// # Safety
/// The machine has AVX2; `rows` holds `out.len()` codes as long as `query`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn hamming_many(query: &[u64], rows: &[u64], out: &mut [u32]) {
    const WORDS: usize = 4;
    let words = query.len();
    let counts = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3,
        3, 4,
    );
    let low = _mm256_set1_epi8(15);
    let zero = _mm256_setzero_si256();
    for (row, distance) in out.iter_mut().enumerate() {
        let code = &rows[row * words..(row + 1) * words];
        let mut acc = zero;
        let mut i = 0;
        while i + WORDS <= words {
            // SAFETY: i + 4 <= words, which is the length of both.
            let (a, b) = unsafe {
                (
                    _mm256_loadu_si256(query.as_ptr().add(i).cast()),
                    _mm256_loadu_si256(code.as_ptr().add(i).cast()),
                )
            };
            let x = _mm256_xor_si256(a, b);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(x), low);
            let x = _mm256_add_epi8(
                _mm256_shuffle_epi8(counts, _mm256_and_si256(x, low)),
                _mm256_shuffle_epi8(counts, high),
            );
            acc = _mm256_add_epi64(acc, _mm256_sad_epu8(x, zero));
            i += WORDS;
        }
        let halves = _mm_add_epi64(_mm256_castsi256_si128(acc), _mm256_extracti128_si256::<1>(acc));
        let mut total = (_mm_cvtsi128_si64(halves) + _mm_extract_epi64::<1>(halves)) as u32;
        for (a, b) in query[i..].iter().zip(&code[i..]) {
            total += (a ^ b).count_ones();
        }
        *distance = total;
    }
}
