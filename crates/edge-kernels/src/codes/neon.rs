//! NEON: products in 16 bits (128 · 128 fits), pairs added in 32.

use std::arch::aarch64::*;

use super::{BIAS, CodeQuery, LINE, Line};

/// See [`super::CodeRows::dots`].
///
/// # Safety
/// The machine has NEON; `query` has `stride` lines, `lines` those of each of `rows`; `out` is as long as
/// `rows`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dots(
    lines: &[Line],
    stride: usize,
    query: &CodeQuery,
    rows: &[u32],
    out: &mut [i32],
) {
    let bias = vdupq_n_u8(BIAS);
    for (row, out) in rows.iter().zip(out) {
        let mut acc = [vdupq_n_s32(0); 2];
        for (row, asked) in lines[*row as usize * stride..][..stride].iter().zip(&query.lines) {
            for part in (0..LINE).step_by(16) {
                // SAFETY: part + 16 <= LINE.
                let (row, asked) = unsafe {
                    (vld1q_u8(row.0.as_ptr().add(part)), vld1q_u8(asked.0.as_ptr().add(part)))
                };
                let row = vreinterpretq_s8_u8(veorq_u8(row, bias));
                let asked = vreinterpretq_s8_u8(asked);
                acc[0] = vpadalq_s16(acc[0], vmull_s8(vget_low_s8(row), vget_low_s8(asked)));
                acc[1] = vpadalq_s16(acc[1], vmull_high_s8(row, asked));
            }
        }
        *out = vaddvq_s32(vaddq_s32(acc[0], acc[1]));
    }
}
