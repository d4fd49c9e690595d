//! wasm `simd128`: sixteen lanes are four 128-bit registers. Relaxed SIMD is never used.

#![allow(unused_unsafe, reason = "intrinsics without pointers are safe on wasm, unlike elsewhere")]

use std::arch::wasm32::*;

use super::lanes::{self, LANES, Lanes};
use super::layers;
use super::tiles;

#[derive(Clone, Copy)]
pub(crate) struct V(pub(crate) [v128; 4]);

/// One instruction on the four registers.
macro_rules! all {
    ($f:ident($($v:expr),*)) => {
        V([$f($($v.0[0]),*), $f($($v.0[1]),*), $f($($v.0[2]),*), $f($($v.0[3]),*)])
    };
}

impl Lanes for V {
    lanes::lane_methods! {
        fn splat(value: f32) -> Self { V([f32x4_splat(value); 4]) }
        fn load(from: *const f32) -> Self {
            let from = from.cast::<v128>();
            V([
                v128_load(from),
                v128_load(from.add(1)),
                v128_load(from.add(2)),
                v128_load(from.add(3)),
            ])
        }
        fn store(self, to: *mut f32) {
            let to = to.cast::<v128>();
            v128_store(to, self.0[0]);
            v128_store(to.add(1), self.0[1]);
            v128_store(to.add(2), self.0[2]);
            v128_store(to.add(3), self.0[3]);
        }
        fn load_i8(from: *const i8) -> Self {
            let bytes = v128_load(from.cast());
            let (low, high) = (i16x8_extend_low_i8x16(bytes), i16x8_extend_high_i8x16(bytes));
            V([
                f32x4_convert_i32x4(i32x4_extend_low_i16x8(low)),
                f32x4_convert_i32x4(i32x4_extend_high_i16x8(low)),
                f32x4_convert_i32x4(i32x4_extend_low_i16x8(high)),
                f32x4_convert_i32x4(i32x4_extend_high_i16x8(high)),
            ])
        }
        fn store_i8(self, to: *mut i8) {
            let n = all!(i32x4_trunc_sat_f32x4(self)).0;
            let (low, high) = (i16x8_narrow_i32x4(n[0], n[1]), i16x8_narrow_i32x4(n[2], n[3]));
            v128_store(to.cast(), i8x16_narrow_i16x8(low, high));
        }
        fn add(self, other: Self) -> Self { all!(f32x4_add(self, other)) }
        fn sub(self, other: Self) -> Self { all!(f32x4_sub(self, other)) }
        fn mul(self, other: Self) -> Self { all!(f32x4_mul(self, other)) }
        fn div(self, other: Self) -> Self { all!(f32x4_div(self, other)) }
        fn max(self, other: Self) -> Self { all!(f32x4_pmax(self, other)) }
        fn min(self, other: Self) -> Self { all!(f32x4_pmin(self, other)) }
        fn round(self) -> Self { all!(f32x4_nearest(self)) }
        fn scale(self, n: Self) -> Self { all!(scale(self, n)) }
        fn bound_exp(self, x: Self, low: Self, high: Self) -> Self {
            all!(bound_exp(self, x, low, high))
        }
        fn fold(self) -> f32 {
            // 8: lanes 0-7 += 8-15; 4: 0-3 += 4-7; 2; 1.
            let (a, b) = (f32x4_add(self.0[0], self.0[2]), f32x4_add(self.0[1], self.0[3]));
            let x = f32x4_add(a, b);
            let x = f32x4_add(x, i32x4_shuffle::<2, 3, 2, 3>(x, x));
            f32x4_extract_lane::<0>(x) + f32x4_extract_lane::<1>(x)
        }
    }
}

#[inline(always)]
fn scale(y: v128, n: v128) -> v128 {
    let n = i32x4_trunc_sat_f32x4(n);
    let half = i32x4_shr(n, 1);
    let rest = i32x4_sub(n, half);
    f32x4_mul(f32x4_mul(y, power_of_two(half)), power_of_two(rest))
}

#[inline(always)]
fn power_of_two(e: v128) -> v128 {
    i32x4_shl(i32x4_add(e, i32x4_splat(127)), 23)
}

#[inline(always)]
fn bound_exp(y: v128, x: v128, low: v128, high: v128) -> v128 {
    let y = v128_andnot(y, f32x4_lt(x, low));
    v128_bitselect(f32x4_splat(f32::INFINITY), y, f32x4_gt(x, high))
}

lanes::entry_points! { V }

/// The lanes and the registers of a tile's row, which a packed matrix is laid out for.
pub(crate) const PANEL: (usize, usize) = (4, 2);

tiles::vector! {
    Register(v128), 4, f32x4_splat(0.0), broadcast, load, store, f32x4_add, f32x4_mul
}

// An engine has sixteen registers to map these to, some of which it keeps for itself.
tiles::product! { Register, tiles::Rounded, 6, 2 }

#[inline(always)]
unsafe fn broadcast(from: *const f32) -> v128 {
    // SAFETY: the caller vouches for the element.
    unsafe { v128_load32_splat(from.cast()) }
}

#[inline(always)]
unsafe fn load(from: *const f32) -> v128 {
    // SAFETY: the caller vouches for a register.
    unsafe { v128_load(from.cast()) }
}

#[inline(always)]
unsafe fn store(to: *mut f32, v: v128) {
    // SAFETY: the caller vouches for a register.
    unsafe { v128_store(to.cast(), v) }
}

layers::entry_points! { V }

/// Exact: bytes widened to 16 bits, products of pairs added in 32.
///
/// # Safety
/// The lengths are equal and at most `DOT_I8_MAX_LEN`.
#[inline]
pub(super) unsafe fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let len = a.len().min(b.len());
    let (a, b) = (a.as_ptr(), b.as_ptr());
    let mut acc = [i32x4_splat(0); 2];
    let mut i = 0;
    while i + LANES <= len {
        // SAFETY: i + 16 <= len.
        let (a, b) = unsafe { (v128_load(a.add(i).cast()), v128_load(b.add(i).cast())) };
        let low = i32x4_dot_i16x8(i16x8_extend_low_i8x16(a), i16x8_extend_low_i8x16(b));
        let high = i32x4_dot_i16x8(i16x8_extend_high_i8x16(a), i16x8_extend_high_i8x16(b));
        acc = [i32x4_add(acc[0], low), i32x4_add(acc[1], high)];
        i += LANES;
    }
    let sums = i32x4_add(acc[0], acc[1]);
    let mut total = i32x4_extract_lane::<0>(sums)
        + i32x4_extract_lane::<1>(sums)
        + i32x4_extract_lane::<2>(sums)
        + i32x4_extract_lane::<3>(sums);
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
pub(super) unsafe fn dot_i8_many(query: &[i8], rows: &[i8], dim: usize, out: &mut [i32]) {
    for (row, score) in out.iter_mut().enumerate() {
        // SAFETY: the caller's contract is the callee's.
        *score = unsafe { dot_i8(query, &rows[row * dim..(row + 1) * dim]) };
    }
}

/// Bits that differ: the unit counts those of each byte.
///
/// # Safety
/// `rows` holds `out.len()` codes as long as `query`.
pub(super) unsafe fn hamming_many(query: &[u64], rows: &[u64], out: &mut [u32]) {
    const WORDS: usize = 2;
    let words = query.len();
    for (row, distance) in out.iter_mut().enumerate() {
        let code = &rows[row * words..(row + 1) * words];
        let mut acc = i32x4_splat(0);
        let mut i = 0;
        while i + WORDS <= words {
            // SAFETY: i + 2 <= words, which is the length of both.
            let (a, b) = unsafe {
                (v128_load(query.as_ptr().add(i).cast()), v128_load(code.as_ptr().add(i).cast()))
            };
            let bits = u16x8_extadd_pairwise_u8x16(i8x16_popcnt(v128_xor(a, b)));
            acc = i32x4_add(acc, u32x4_extadd_pairwise_u16x8(bits));
            i += WORDS;
        }
        let mut total = u32x4_extract_lane::<0>(acc)
            + u32x4_extract_lane::<1>(acc)
            + u32x4_extract_lane::<2>(acc)
            + u32x4_extract_lane::<3>(acc);
        for (a, b) in query[i..].iter().zip(&code[i..]) {
            total += (a ^ b).count_ones();
        }
        *distance = total;
    }
}
