//! AVX2: bytes widened to 16 bits, products of pairs added in 32.

use std::arch::x86_64::*;

use super::{CodeQuery, LINE, Line, prefetch};

/// See [`super::CodeRows::dots`].
///
/// # Safety
/// The machine has AVX2; `query` has `stride` lines, `lines` those of each of `rows`; `out` is as long as
/// `rows`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dots(
    lines: &[Line],
    stride: usize,
    query: &CodeQuery,
    rows: &[u32],
    out: &mut [i32],
) {
    const AHEAD: usize = 4;
    let of = |row: u32| &lines[row as usize * stride..][..stride];
    rows.iter().take(AHEAD).for_each(|row| prefetch(of(*row)));
    for (at, out) in out.iter_mut().enumerate() {
        if let Some(next) = rows.get(at + AHEAD) {
            prefetch(of(*next));
        }
        let mut acc = [_mm256_setzero_si256(); 2];
        for (row, asked) in of(rows[at]).iter().zip(&query.lines) {
            for part in (0..LINE).step_by(16) {
                // SAFETY: part + 16 <= LINE.
                let (row, asked) = unsafe {
                    (
                        _mm_load_si128(row.0.as_ptr().add(part).cast()),
                        _mm_load_si128(asked.0.as_ptr().add(part).cast()),
                    )
                };
                let pairs =
                    _mm256_madd_epi16(_mm256_cvtepu8_epi16(row), _mm256_cvtepi8_epi16(asked));
                let acc = &mut acc[part / 16 % 2];
                *acc = _mm256_add_epi32(*acc, pairs);
            }
        }
        let x = _mm256_add_epi32(acc[0], acc[1]);
        let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
        let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b11_10_11_10>(x));
        let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b01_01_01_01>(x));
        *out = _mm_cvtsi128_si32(x).wrapping_sub(query.excess);
    }
}
