//! Rows of signed 8-bit codes, laid out for comparing a query with scattered rows: what a walk along a
//! neighbour graph does all day.
//!
//! Each row starts a cache line and is padded to whole ones, and the code `q` is stored as the byte
//! `q + 128`, which is what the unsigned operand of VNNI wants:
//! `Σ row·query = Σ (row + 128)·query - 128·Σ query`, exact modulo 2^32. Rows are compared four at a
//! time, so that one horizontal sum serves four, while the next four are fetched. Integers: every back end
//! gives the same numbers as [`CodeRows::dots_scalar`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm128;

use crate::canon::DOT_I8_MAX_LEN;
use crate::simd::{self, Simd};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Turns a code into the byte that stands for it, and back.
const BIAS: u8 = 0x80;

/// One cache line of a row or of a query.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// The code of what rows are compared with.
#[derive(Clone, Debug, Default)]
pub struct CodeQuery {
    /// Signed codes, padded with zeros.
    lines: Vec<Line>,
    /// `128 · Σ query`, modulo 2^32.
    excess: i32,
}

impl CodeQuery {
    fn settle(&mut self) {
        let codes = self.lines.iter().flat_map(|line| line.0);
        let sum = codes.fold(0i32, |sum, code| sum + i32::from(code as i8));
        self.excess = sum.wrapping_mul(i32::from(BIAS));
    }
}

/// Rows of codes of one length.
#[derive(Clone, Debug)]
pub struct CodeRows {
    dim: usize,
    /// Lines of a row.
    stride: usize,
    /// Available on this machine.
    simd: Simd,
    lines: Vec<Line>,
}

impl CodeRows {
    /// No rows yet, of `dim` codes each, compared by the back end active now ([`crate::active`]).
    ///
    /// # Panics
    /// If `dim` is 0 or over [`DOT_I8_MAX_LEN`].
    pub fn new(dim: usize) -> Self {
        assert!((1..=DOT_I8_MAX_LEN).contains(&dim), "rows of {dim} codes");
        CodeRows { dim, stride: dim.div_ceil(LINE), simd: simd::active(), lines: Vec::new() }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.lines.len() / self.stride
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes that the rows take.
    pub fn bytes(&self) -> usize {
        self.lines.capacity() * LINE
    }

    /// Appends a row.
    ///
    /// # Panics
    /// If `code` is not as long as the rows are.
    pub fn push(&mut self, code: &[i8]) {
        assert_eq!(code.len(), self.dim, "a row of another length");
        if self.lines.capacity() < self.lines.len() + self.stride {
            // By an eighth: a vector that doubles holds up to twice what it needs.
            self.lines.reserve_exact((self.lines.len() / 8).max(64 * self.stride));
        }
        for part in code.chunks(LINE) {
            let mut line = Line([BIAS; LINE]);
            line.0.iter_mut().zip(part).for_each(|(byte, code)| *byte = *code as u8 ^ BIAS);
            self.lines.push(line);
        }
    }

    /// Removes a row; the last one takes its place.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn swap_remove(&mut self, row: u32) {
        let (at, last) = (row as usize, self.len() - 1);
        assert!(at <= last, "no row {row}");
        self.lines.copy_within(last * self.stride.., at * self.stride);
        self.lines.truncate(last * self.stride);
    }

    /// Makes `query` stand for a code.
    ///
    /// # Panics
    /// If `code` is not as long as the rows are.
    pub fn ask(&self, code: &[i8], query: &mut CodeQuery) {
        assert_eq!(code.len(), self.dim, "a query of another length");
        query.lines.clear();
        query.lines.extend(code.chunks(LINE).map(|part| {
            let mut line = Line([0; LINE]);
            line.0.iter_mut().zip(part).for_each(|(byte, code)| *byte = *code as u8);
            line
        }));
        query.settle();
    }

    /// Makes `query` stand for one of the rows.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn ask_row(&self, row: u32, query: &mut CodeQuery) {
        query.lines.clear();
        query.lines.extend(self.row(row).iter().map(|line| Line(line.0.map(|byte| byte ^ BIAS))));
        query.settle();
    }

    fn row(&self, row: u32) -> &[Line] {
        &self.lines[row as usize * self.stride..][..self.stride]
    }

    /// The exact dot products of the query with some rows, in their order; `out` is overwritten.
    ///
    /// # Panics
    /// If there is no such row, or the query was made for rows of another length.
    #[inline]
    pub fn dots(&self, query: &CodeQuery, rows: &[u32], out: &mut Vec<i32>) {
        let count = self.len();
        assert!(rows.iter().fold(true, |all, row| all & ((*row as usize) < count)), "no such row");
        assert_eq!(query.lines.len(), self.stride, "a query for rows of another length");
        out.clear();
        out.resize(rows.len(), 0);
        match self.simd {
            // SAFETY: `simd` is available; the rows exist, and they and the query have `stride` lines.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => unsafe { avx512::dots(&self.lines, self.stride, query, rows, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => unsafe { avx2::dots(&self.lines, self.stride, query, rows, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => unsafe { neon::dots(&self.lines, self.stride, query, rows, out) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Simd::Wasm128 => unsafe { wasm128::dots(&self.lines, self.stride, query, rows, out) },
            // The others are never available in this build.
            _ => self.dots_scalar(query, rows, out),
        }
    }

    /// [`CodeRows::dots`] by definition, in plain Rust; `out` is as long as `rows`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn dots_scalar(&self, query: &CodeQuery, rows: &[u32], out: &mut [i32]) {
        for (row, out) in rows.iter().zip(out) {
            let pairs = self.row(*row).iter().zip(&query.lines);
            *out = pairs.fold(0, |sum, (row, query)| {
                let codes = row.0.iter().zip(&query.0);
                codes.fold(sum, |sum, (row, query)| {
                    sum + i32::from((row ^ BIAS) as i8) * i32::from(*query as i8)
                })
            });
        }
    }
}

/// Starts to fetch what a slice covers into the cache, where the machine can: results do not change.
#[inline(always)]
pub fn prefetch<T>(data: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        let start = data.as_ptr().cast::<i8>();
        let mut at = 0;
        while at < std::mem::size_of_val(data) {
            // SAFETY: a prefetch reads nothing that the program sees and never faults; SSE is always there.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at));
            }
            at += LINE;
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{Kernels, scalar};
    use crate::conformance::SplitMix64;

    #[test]
    fn every_back_end_gives_the_exact_dot_products() {
        let mut random = SplitMix64(11);
        for dim in [1, 3, 16, 31, 63, 64, 65, 100, 128, 256, 300, 384, 1000, 4096] {
            let rows: Vec<Vec<i8>> = (0..23).map(|_| random.bytes(dim)).collect();
            let code = random.bytes(dim);
            for simd in crate::available() {
                let mut table = CodeRows { simd, ..CodeRows::new(dim) };
                rows.iter().for_each(|row| table.push(row));
                let (mut query, mut out) = (CodeQuery::default(), vec![7; 3]);
                table.ask(&code, &mut query);
                // Every length of a last group, rows in any order and more than once.
                for count in 0..14 {
                    let some: Vec<u32> =
                        (0..count).map(|_| (random.next_u64() % 23) as u32).collect();
                    let expected: Vec<i32> =
                        some.iter().map(|r| scalar::dot_i8(&rows[*r as usize], &code)).collect();
                    table.dots(&query, &some, &mut out);
                    assert_eq!(out, expected, "{simd}, {count} rows of {dim}");
                    table.dots_scalar(&query, &some, &mut out);
                    assert_eq!(out, expected);
                }
                // A row as the query, after another took its place.
                table.swap_remove(4);
                table.ask_row(4, &mut query);
                table.dots(&query, &[0, 4, 21], &mut out);
                let kernels = Kernels::on(simd).unwrap();
                let expected = [0, 22, 21].map(|row: usize| kernels.dot_i8(&rows[22], &rows[row]));
                assert_eq!(out, expected, "{simd}");
                assert_eq!(table.len(), 22);
            }
        }
    }

    #[test]
    fn the_greatest_products_do_not_overflow() {
        let dim = DOT_I8_MAX_LEN;
        for simd in crate::available() {
            let mut table = CodeRows { simd, ..CodeRows::new(dim) };
            table.push(&vec![-128; dim]);
            table.push(&vec![127; dim]);
            let (mut query, mut out) = (CodeQuery::default(), Vec::new());
            table.ask(&vec![-128; dim], &mut query);
            table.dots(&query, &[0, 1], &mut out);
            let (n, most) = (dim as i64, i64::from(i32::MAX));
            assert!(n * 128 * 128 <= most);
            assert_eq!(out, [(n * 128 * 128) as i32, (n * -128 * 127) as i32], "{simd}");
        }
    }

    #[test]
    #[should_panic(expected = "no such row")]
    fn a_row_that_is_not_there_is_refused() {
        let mut table = CodeRows::new(8);
        table.push(&[1; 8]);
        let mut query = CodeQuery::default();
        table.ask(&[1; 8], &mut query);
        table.dots(&query, &[0, 1], &mut Vec::new());
    }
}
