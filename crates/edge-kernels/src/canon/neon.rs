//! NEON: sixteen lanes are four 128-bit registers. FMA is never used.

use std::arch::aarch64::*;

use super::lanes::{self, LANES, Lanes};
use super::layers;
use super::tiles;

#[derive(Clone, Copy)]
pub(crate) struct V(pub(crate) [float32x4_t; 4]);

/// One instruction on the four registers.
macro_rules! all {
    ($f:ident($($v:expr),*)) => {
        V([$f($($v.0[0]),*), $f($($v.0[1]),*), $f($($v.0[2]),*), $f($($v.0[3]),*)])
    };
}

impl Lanes for V {
    lanes::lane_methods! {
        fn splat(value: f32) -> Self { V([vdupq_n_f32(value); 4]) }
        fn load(from: *const f32) -> Self {
            V([
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            ])
        }
        fn store(self, to: *mut f32) {
            vst1q_f32(to, self.0[0]);
            vst1q_f32(to.add(4), self.0[1]);
            vst1q_f32(to.add(8), self.0[2]);
            vst1q_f32(to.add(12), self.0[3]);
        }
        fn load_i8(from: *const i8) -> Self {
            let bytes = vld1q_s8(from);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            V([
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ])
        }
        fn store_i8(self, to: *mut i8) {
            let n = self.0.map(|v| vcvtq_s32_f32(v));
            let low = vcombine_s16(vmovn_s32(n[0]), vmovn_s32(n[1]));
            let high = vcombine_s16(vmovn_s32(n[2]), vmovn_s32(n[3]));
            vst1q_s8(to, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
        }
        fn add(self, other: Self) -> Self { all!(vaddq_f32(self, other)) }
        fn sub(self, other: Self) -> Self { all!(vsubq_f32(self, other)) }
        fn mul(self, other: Self) -> Self { all!(vmulq_f32(self, other)) }
        fn div(self, other: Self) -> Self { all!(vdivq_f32(self, other)) }
        fn max(self, other: Self) -> Self { all!(vmaxq_f32(self, other)) }
        fn min(self, other: Self) -> Self { all!(vminq_f32(self, other)) }
        fn round(self) -> Self { all!(vrndnq_f32(self)) }
        fn scale(self, n: Self) -> Self { all!(scale(self, n)) }
        fn bound_exp(self, x: Self, low: Self, high: Self) -> Self {
            all!(bound_exp(self, x, low, high))
        }
        fn fold(self) -> f32 {
            // 8: lanes 0-7 += 8-15; 4: 0-3 += 4-7; 2; 1.
            let (a, b) = (vaddq_f32(self.0[0], self.0[2]), vaddq_f32(self.0[1], self.0[3]));
            let x = vaddq_f32(a, b);
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(x) + vget_lane_f32::<1>(x)
        }
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn scale(y: float32x4_t, n: float32x4_t) -> float32x4_t {
    let n = vcvtq_s32_f32(n);
    let half = vshrq_n_s32::<1>(n);
    let rest = vsubq_s32(n, half);
    vmulq_f32(vmulq_f32(y, power_of_two(half)), power_of_two(rest))
}

#[target_feature(enable = "neon")]
#[inline]
fn power_of_two(e: int32x4_t) -> float32x4_t {
    vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(e, vdupq_n_s32(127))))
}

#[target_feature(enable = "neon")]
#[inline]
fn bound_exp(y: float32x4_t, x: float32x4_t, low: float32x4_t, high: float32x4_t) -> float32x4_t {
    let y = vbslq_f32(vcltq_f32(x, low), vdupq_n_f32(0.0), y);
    vbslq_f32(vcgtq_f32(x, high), vdupq_n_f32(f32::INFINITY), y)
}

lanes::entry_points! {
    #[target_feature(enable = "neon")]
    V
}

/// The lanes and the registers of a tile's row, which a packed matrix is laid out for.
pub(crate) const PANEL: (usize, usize) = (4, 4);

tiles::vector! {
    Register(float32x4_t), 4, vdupq_n_f32(0.0), vld1q_dup_f32, vld1q_f32, vst1q_f32,
    vaddq_f32, vmulq_f32
}

// Of 32 registers 24 sum, four hold columns, one a row's element, the others products.
tiles::product! {
    #[target_feature(enable = "neon")]
    Register, tiles::Rounded, 6, 4
}

layers::entry_points! {
    #[target_feature(enable = "neon")]
    V
}

/// Exact: products in 16 bits (128 · 128 fits), pairs added in 32.
///
/// # Safety
/// The machine has NEON; the lengths are equal and at most `DOT_I8_MAX_LEN`.
#[target_feature(enable = "neon")]
#[inline]
pub(super) unsafe fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let len = a.len().min(b.len());
    let (a, b) = (a.as_ptr(), b.as_ptr());
    let mut acc = [vdupq_n_s32(0); 2];
    let mut i = 0;
    while i + LANES <= len {
        // SAFETY: i + 16 <= len.
        let (a, b) = unsafe { (vld1q_s8(a.add(i)), vld1q_s8(b.add(i))) };
        acc[0] = vpadalq_s16(acc[0], vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        acc[1] = vpadalq_s16(acc[1], vmull_high_s8(a, b));
        i += LANES;
    }
    let mut total = vaddvq_s32(vaddq_s32(acc[0], acc[1]));
    while i < len {
        // SAFETY: i < len.
        total += unsafe { i32::from(*a.add(i)) * i32::from(*b.add(i)) };
        i += 1;
    }
    total
}

/// See [`dot_i8`].
///
/// # Safety
/// As [`dot_i8`]; `query` is `dim` long, `rows` `out.len() * dim`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot_i8_many(query: &[i8], rows: &[i8], dim: usize, out: &mut [i32]) {
    for (row, score) in out.iter_mut().enumerate() {
        // SAFETY: the caller's contract is the callee's.
        *score = unsafe { dot_i8(query, &rows[row * dim..(row + 1) * dim]) };
    }
}

/// Bits that differ: the unit counts those of each byte.
///
/// # Safety
/// The machine has NEON; `rows` holds `out.len()` codes as long as `query`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn hamming_many(query: &[u64], rows: &[u64], out: &mut [u32]) {
    const WORDS: usize = 2;
    let words = query.len();
    for (row, distance) in out.iter_mut().enumerate() {
        let code = &rows[row * words..(row + 1) * words];
        let mut acc = vdupq_n_u32(0);
        let mut i = 0;
        while i + WORDS <= words {
            // SAFETY: i + 2 <= words, which is the length of both.
            let (a, b) =
                unsafe { (vld1q_u64(query.as_ptr().add(i)), vld1q_u64(code.as_ptr().add(i))) };
            let bits = vcntq_u8(vreinterpretq_u8_u64(veorq_u64(a, b)));
            acc = vpadalq_u16(acc, vpaddlq_u8(bits));
            i += WORDS;
        }
        let mut total = vaddvq_u32(acc);
        for (a, b) in query[i..].iter().zip(&code[i..]) {
            total += (a ^ b).count_ones();
        }
        *distance = total;
    }
}
