//! AVX-512: sixteen lanes are one register; tails are masked loads. FMA is never used. The 8-bit dot
//! product uses VNNI where the machine has it.

use std::arch::x86_64::*;

use super::avx2::fold8;
use super::lanes::{self, Lanes};
use super::layers;
use super::tiles;

#[derive(Clone, Copy)]
pub(crate) struct V(pub(crate) __m512);

impl Lanes for V {
    lanes::lane_methods! {
        fn splat(value: f32) -> Self { V(_mm512_set1_ps(value)) }
        fn load(from: *const f32) -> Self { V(_mm512_loadu_ps(from)) }
        fn store(self, to: *mut f32) { _mm512_storeu_ps(to, self.0) }
        fn load_i8(from: *const i8) -> Self {
            V(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))))
        }
        fn store_i8(self, to: *mut i8) {
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0)));
        }
        fn add(self, other: Self) -> Self { V(_mm512_add_ps(self.0, other.0)) }
        fn sub(self, other: Self) -> Self { V(_mm512_sub_ps(self.0, other.0)) }
        fn mul(self, other: Self) -> Self { V(_mm512_mul_ps(self.0, other.0)) }
        fn div(self, other: Self) -> Self { V(_mm512_div_ps(self.0, other.0)) }
        fn max(self, other: Self) -> Self { V(_mm512_max_ps(self.0, other.0)) }
        fn min(self, other: Self) -> Self { V(_mm512_min_ps(self.0, other.0)) }
        fn round(self) -> Self {
            const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            V(_mm512_roundscale_ps::<NEAREST>(self.0))
        }
        fn scale(self, n: Self) -> Self {
            let n = _mm512_cvttps_epi32(n.0);
            let half = _mm512_srai_epi32::<1>(n);
            let rest = _mm512_sub_epi32(n, half);
            V(_mm512_mul_ps(_mm512_mul_ps(self.0, power_of_two(half)), power_of_two(rest)))
        }
        fn bound_exp(self, x: Self, low: Self, high: Self) -> Self {
            let not_below = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x.0, low.0);
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x.0, high.0);
            let y = _mm512_maskz_mov_ps(not_below, self.0);
            V(_mm512_mask_mov_ps(y, above, _mm512_set1_ps(f32::INFINITY)))
        }
        fn fold(self) -> f32 {
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            fold8(_mm256_add_ps(_mm512_castps512_ps256(self.0), high))
        }
        fn load_partial(from: *const f32, count: usize) -> Self {
            V(_mm512_maskz_loadu_ps(first(count), from))
        }
        fn store_partial(self, to: *mut f32, count: usize) {
            _mm512_mask_storeu_ps(to, first(count), self.0);
        }
    }
}

/// The mask of the first `count` < 16 lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    (1 << count) - 1
}

#[target_feature(enable = "avx512f")]
#[inline]
fn power_of_two(e: __m512i) -> __m512 {
    let biased = _mm512_add_epi32(e, _mm512_set1_epi32(127));
    _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
}

lanes::entry_points! {
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
    V
}

/// The lanes and the registers of a tile's row, which a packed matrix is laid out for.
pub(crate) const PANEL: (usize, usize) = (16, 2);

tiles::vector! {
    Register(__m512), 16, _mm512_setzero_ps(), broadcast, _mm512_loadu_ps, _mm512_storeu_ps,
    _mm512_add_ps, _mm512_mul_ps, prefetch prefetch, prefetch_far
}

// Of 32 registers 24 sum, two hold columns, one a row's element.
tiles::product! {
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
    Register, tiles::Rounded, 12, 2
}

#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn broadcast(from: *const f32) -> __m512 {
    // SAFETY: the caller vouches for the element.
    _mm512_set1_ps(unsafe { *from })
}

#[target_feature(enable = "sse")]
#[inline]
pub(super) fn prefetch(at: *const f32) {
    _mm_prefetch::<_MM_HINT_T0>(at.cast());
}

#[target_feature(enable = "sse")]
#[inline]
pub(super) fn prefetch_far(at: *const f32) {
    _mm_prefetch::<_MM_HINT_T1>(at.cast());
}

layers::entry_points! {
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
    V
}

/// Bits that differ: VPOPCNTDQ counts those of eight words at once, where the machine has it.
///
/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL; `rows` holds `out.len()` codes as long as `query`.
pub(super) unsafe fn hamming_many(query: &[u64], rows: &[u64], out: &mut [u32]) {
    if std::is_x86_feature_detected!("avx512vpopcntdq") {
        // SAFETY: the caller vouches for the rest, VPOPCNTDQ was found.
        unsafe { hamming_many_popcnt(query, rows, out) };
    } else {
        // SAFETY: a machine with AVX-512 has AVX2; the lengths are those of the caller.
        unsafe { super::avx2::hamming_many(query, rows, out) };
    }
}

/// See [`hamming_many`].
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")]
unsafe fn hamming_many_popcnt(query: &[u64], rows: &[u64], out: &mut [u32]) {
    let words = query.len();
    for (row, distance) in out.iter_mut().enumerate() {
        let code = &rows[row * words..(row + 1) * words];
        let mut acc = _mm512_setzero_si512();
        for i in (0..words).step_by(8) {
            let mask = if words - i >= 8 { u8::MAX } else { (1 << (words - i)) - 1 };
            // SAFETY: the mask keeps within the slices, both of which have `words` words.
            let (a, b) = unsafe {
                (
                    _mm512_maskz_loadu_epi64(mask, query.as_ptr().add(i).cast()),
                    _mm512_maskz_loadu_epi64(mask, code.as_ptr().add(i).cast()),
                )
            };
            acc = _mm512_add_epi64(acc, _mm512_popcnt_epi64(_mm512_xor_si512(a, b)));
        }
        *distance = _mm512_reduce_add_epi64(acc) as u32;
    }
}

/// Exact 8-bit dot product.
///
/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL; the lengths are equal and at most `DOT_I8_MAX_LEN`.
#[inline]
pub(super) unsafe fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    if std::is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the caller vouches for the rest, VNNI was found.
        unsafe { dot_i8_vnni(a, b) }
    } else {
        // SAFETY: the caller's contract is the callee's.
        unsafe { dot_i8_widening(a, b) }
    }
}

/// See [`dot_i8`].
///
/// # Safety
/// As [`dot_i8`]; `query` is `dim` long, `rows` `out.len() * dim`.
pub(super) unsafe fn dot_i8_many(query: &[i8], rows: &[i8], dim: usize, out: &mut [i32]) {
    if std::is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the caller vouches for the rest, VNNI was found.
        unsafe { dot_i8_many_vnni(query, rows, dim, out) };
    } else {
        for (row, score) in out.iter_mut().enumerate() {
            // SAFETY: the caller's contract is the callee's.
            *score = unsafe { dot_i8_widening(query, &rows[row * dim..(row + 1) * dim]) };
        }
    }
}

/// Bytes widened to 16 bits, products of pairs added in 32.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn dot_i8_widening(a: &[i8], b: &[i8]) -> i32 {
    let len = a.len().min(b.len());
    let mut acc = _mm512_setzero_si512();
    for i in (0..len).step_by(32) {
        let mask = if len - i >= 32 { u32::MAX } else { (1 << (len - i)) - 1 };
        // SAFETY: the mask keeps within the slices.
        let (a, b) = unsafe {
            (
                _mm256_maskz_loadu_epi8(mask, a.as_ptr().add(i)),
                _mm256_maskz_loadu_epi8(mask, b.as_ptr().add(i)),
            )
        };
        let pairs = _mm512_madd_epi16(_mm512_cvtepi8_epi16(a), _mm512_cvtepi8_epi16(b));
        acc = _mm512_add_epi32(acc, pairs);
    }
    _mm512_reduce_add_epi32(acc)
}

/// VNNI multiplies unsigned by signed bytes: with a' = a XOR 0x80 = a + 128 the product sum is
/// Σ a'·b - 128·Σ b, all modulo 2^32 and therefore exact.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dot_i8_vnni(a: &[i8], b: &[i8]) -> i32 {
    let len = a.len().min(b.len());
    let flip = _mm512_set1_epi8(-128);
    let (mut acc, mut excess) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for i in (0..len).step_by(64) {
        // SAFETY: i < len, both slices have len elements.
        let (a, b) = unsafe {
            (load_bytes(a.as_ptr().add(i), len - i), load_bytes(b.as_ptr().add(i), len - i))
        };
        acc = _mm512_dpbusd_epi32(acc, _mm512_xor_si512(a, flip), b);
        excess = _mm512_dpbusd_epi32(excess, flip, b);
    }
    _mm512_reduce_add_epi32(_mm512_sub_epi32(acc, excess))
}

/// As [`dot_i8_vnni`], with the query as `b`, so that its correction is computed once.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dot_i8_many_vnni(query: &[i8], rows: &[i8], dim: usize, out: &mut [i32]) {
    const ROWS: usize = 4;
    let flip = _mm512_set1_epi8(-128);
    let mut excess = _mm512_setzero_si512();
    for i in (0..dim).step_by(64) {
        // SAFETY: i < dim = query.len().
        let q = unsafe { load_bytes(query[i..dim].as_ptr(), dim - i) };
        excess = _mm512_dpbusd_epi32(excess, flip, q);
    }
    let correction = _mm512_reduce_add_epi32(excess);
    let mut done = 0;
    while done + ROWS <= out.len() {
        let group = rows[done * dim..(done + ROWS) * dim].as_ptr();
        let mut acc = [_mm512_setzero_si512(); ROWS];
        for i in (0..dim).step_by(64) {
            // SAFETY: i < dim, and every one of the rows has dim elements.
            unsafe {
                let q = load_bytes(query.as_ptr().add(i), dim - i);
                for (r, acc) in acc.iter_mut().enumerate() {
                    let row = load_bytes(group.add(r * dim + i), dim - i);
                    *acc = _mm512_dpbusd_epi32(*acc, _mm512_xor_si512(row, flip), q);
                }
            }
        }
        for (r, acc) in acc.into_iter().enumerate() {
            out[done + r] = _mm512_reduce_add_epi32(acc).wrapping_sub(correction);
        }
        done += ROWS;
    }
    for row in done..out.len() {
        // SAFETY: the caller's contract is the callee's.
        out[row] = unsafe { dot_i8_vnni(query, &rows[row * dim..(row + 1) * dim]) };
    }
}

/// Reads `left` bytes, at most 64; the others are 0.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn load_bytes(from: *const i8, left: usize) -> __m512i {
    if left >= 64 {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { _mm512_loadu_epi8(from) }
    } else {
        // SAFETY: the mask keeps to the `left` bytes that the caller vouches for.
        unsafe { _mm512_maskz_loadu_epi8((1 << left) - 1, from) }
    }
}

#[cfg(test)]
mod tests {
    use crate::canon::scalar;
    use crate::conformance::SplitMix64;
    use crate::simd::Simd;

    /// Machines with VPOPCNTDQ never take this path otherwise.
    #[test]
    fn the_path_without_vpopcntdq_is_exact() {
        if !Simd::Avx512.is_available() {
            println!("not run: no AVX-512");
            return;
        }
        let mut random = SplitMix64(6);
        for words in 0..20 {
            let mut code = |words: usize| (0..words).map(|_| random.next_u64()).collect::<Vec<_>>();
            let (query, rows) = (code(words), code(words * 3));
            let (mut got, mut want) = ([0; 3], [0; 3]);
            // SAFETY: AVX-512 implies AVX2; three codes of `words` words.
            unsafe { crate::canon::avx2::hamming_many(&query, &rows, &mut got) };
            scalar::hamming_many(&query, &rows, &mut want);
            assert_eq!(got, want, "{words} words");
        }
    }

    /// Machines with VNNI never take this path otherwise.
    #[test]
    fn the_path_without_vnni_is_exact() {
        if !Simd::Avx512.is_available() {
            println!("not run: no AVX-512");
            return;
        }
        let mut random = SplitMix64(5);
        for len in (0..=130).chain([1000, 4097]) {
            let (a, b) = (random.bytes(len), random.bytes(len));
            // SAFETY: AVX-512 was found; the lengths are equal and small.
            let got = unsafe { super::dot_i8_widening(&a, &b) };
            assert_eq!(got, scalar::dot_i8(&a, &b), "length {len}");
        }
        let (a, b) = (vec![-128; 131_071], vec![-128; 131_071]);
        // SAFETY: as above.
        let got = unsafe { super::dot_i8_widening(&a, &b) };
        assert_eq!(got, 131_071 * 128 * 128);
    }
}
