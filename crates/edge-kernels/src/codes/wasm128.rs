//! wasm `simd128`: bytes widened to 16 bits, products of pairs added in 32.

#![allow(unused_unsafe, reason = "intrinsics without pointers are safe on wasm, unlike elsewhere")]

use std::arch::wasm32::*;

use super::{BIAS, CodeQuery, LINE, Line};

/// See [`super::CodeRows::dots`].
///
/// # Safety
/// `query` has `stride` lines, `lines` those of each of `rows`; `out` is as long as `rows`.
pub(super) unsafe fn dots(
    lines: &[Line],
    stride: usize,
    query: &CodeQuery,
    rows: &[u32],
    out: &mut [i32],
) {
    let bias = u8x16_splat(BIAS);
    for (row, out) in rows.iter().zip(out) {
        let mut acc = [i32x4_splat(0); 2];
        for (row, asked) in lines[*row as usize * stride..][..stride].iter().zip(&query.lines) {
            for part in (0..LINE).step_by(16) {
                // SAFETY: part + 16 <= LINE.
                let (row, asked) = unsafe {
                    (
                        v128_load(row.0.as_ptr().add(part).cast()),
                        v128_load(asked.0.as_ptr().add(part).cast()),
                    )
                };
                let row = v128_xor(row, bias);
                let low =
                    i32x4_dot_i16x8(i16x8_extend_low_i8x16(row), i16x8_extend_low_i8x16(asked));
                let high =
                    i32x4_dot_i16x8(i16x8_extend_high_i8x16(row), i16x8_extend_high_i8x16(asked));
                acc = [i32x4_add(acc[0], low), i32x4_add(acc[1], high)];
            }
        }
        let sums = i32x4_add(acc[0], acc[1]);
        *out = i32x4_extract_lane::<0>(sums)
            + i32x4_extract_lane::<1>(sums)
            + i32x4_extract_lane::<2>(sums)
            + i32x4_extract_lane::<3>(sums);
    }
}
