//! AVX-512: a cache line is one register; VNNI where the machine has it.

use std::arch::x86_64::*;

use super::{CodeQuery, Line};

/// See [`super::CodeRows::dots`].
///
/// # Safety
/// The machine has AVX-512 F and BW; `query` has `stride` lines, `lines` those of each of `rows`; `out` is as
/// long as `rows`.
#[inline]
pub(super) unsafe fn dots(
    lines: &[Line],
    stride: usize,
    query: &CodeQuery,
    rows: &[u32],
    out: &mut [i32],
) {
    if std::is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the caller vouches for the rest, VNNI was found.
        unsafe { dots_vnni(lines, stride, query, rows, out) }
    } else {
        // SAFETY: the caller's contract is the callee's.
        unsafe { dots_widening(lines, stride, query, rows, out) }
    }
}

/// Rows compared at once.
const ROWS: usize = 4;

/// Starts to fetch up to [`ROWS`] rows.
#[inline(always)]
unsafe fn fetch(base: *const Line, stride: usize, rows: &[u32]) {
    for row in rows.iter().take(ROWS) {
        for line in 0..stride {
            // SAFETY: a prefetch never faults.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(base.add(*row as usize * stride + line).cast());
            }
        }
    }
}

/// Writes a function that compares groups of rows, given what it does with one line.
macro_rules! dots {
    ($name:ident, $units:literal, |$acc:ident, $row:ident, $q:ident| $step:expr) => {
        /// See [`dots`].
        ///
        /// # Safety
        /// As [`dots`], with the units named.
        #[target_feature(enable = $units)]
        unsafe fn $name(
            lines: &[Line],
            stride: usize,
            query: &CodeQuery,
            rows: &[u32],
            out: &mut [i32],
        ) {
            let (base, asked) = (lines.as_ptr(), query.lines.as_ptr());
            let excess = _mm_set1_epi32(query.excess);
            // SAFETY: prefetches only.
            unsafe { fetch(base, stride, rows) };
            for (at, out) in out.chunks_mut(ROWS).enumerate() {
                let group = &rows[at * ROWS..][..out.len()];
                // SAFETY: prefetches only.
                unsafe { fetch(base, stride, &rows[at * ROWS + out.len()..]) };
                // The last group repeats its last row.
                let mut from = [base; ROWS];
                for (r, from) in from.iter_mut().enumerate() {
                    let row = group[r.min(group.len() - 1)];
                    // SAFETY: the row exists.
                    *from = unsafe { base.add(row as usize * stride) };
                }
                let mut sums = [_mm512_setzero_si512(); ROWS];
                for line in 0..stride {
                    // SAFETY: line < stride, the number of lines of the query and of each row.
                    unsafe {
                        let $q = _mm512_load_si512(asked.add(line).cast());
                        for (sum, from) in sums.iter_mut().zip(&from) {
                            let $row = _mm512_load_si512(from.add(line).cast());
                            let $acc = *sum;
                            *sum = $step;
                        }
                    }
                }
                let total = _mm_sub_epi32(fold(sums), excess);
                let mut four = [0i32; ROWS];
                // SAFETY: four numbers are 128 bits.
                unsafe { _mm_storeu_si128(four.as_mut_ptr().cast(), total) };
                out.copy_from_slice(&four[..out.len()]);
            }
        }
    };
}

dots! {
    dots_vnni, "avx512f,avx512bw,avx512vnni",
    |acc, row, q| _mm512_dpbusd_epi32(acc, row, q)
}

dots! {
    dots_widening, "avx512f,avx512bw",
    |acc, row, q| {
        let low = _mm512_madd_epi16(
            _mm512_cvtepu8_epi16(_mm512_castsi512_si256(row)),
            _mm512_cvtepi8_epi16(_mm512_castsi512_si256(q)),
        );
        let high = _mm512_madd_epi16(
            _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64::<1>(row)),
            _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64::<1>(q)),
        );
        _mm512_add_epi32(acc, _mm512_add_epi32(low, high))
    }
}

/// The sums of four registers, in order.
#[target_feature(enable = "avx512f")]
#[inline]
fn fold(v: [__m512i; ROWS]) -> __m128i {
    let pairs = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (a, b) = (pairs(v[0], v[1]), pairs(v[2], v[3]));
    let x = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    let x = _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
    _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x))
}

#[cfg(test)]
mod tests {
    use crate::codes::{CodeQuery, CodeRows};
    use crate::conformance::SplitMix64;
    use crate::simd::Simd;

    /// Machines with VNNI never take this path otherwise.
    #[test]
    fn the_path_without_vnni_is_exact() {
        if !Simd::Avx512.is_available() {
            println!("not run: no AVX-512");
            return;
        }
        let mut random = SplitMix64(6);
        for dim in [1, 64, 100, 384] {
            let mut table = CodeRows::new(dim);
            (0..9).for_each(|_| table.push(&random.bytes(dim)));
            let mut query = CodeQuery::default();
            table.ask(&random.bytes(dim), &mut query);
            let rows: Vec<u32> = (0..9).collect();
            let (mut got, mut expected) = ([0; 9], [0; 9]);
            // SAFETY: AVX-512 was found; rows and query are the table's.
            unsafe {
                super::dots_widening(&table.lines, table.stride, &query, &rows, &mut got);
            }
            table.dots_scalar(&query, &rows, &mut expected);
            assert_eq!(got, expected, "{dim}");
        }
    }
}
