//! The canonical functions on a named back end: argument checks, and the choice of the code that runs.

#[cfg(target_arch = "aarch64")]
use super::neon;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::wasm128;
use super::{DOT_I8_MAX_LEN, NonFinite, NormalizeError, check_finite, packed, scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::simd::{self, Simd, Unavailable};

/// The canonical functions on one back end: proof that the machine has it, and the way to compare two.
/// Each method is the free function of the same name in [`crate::canon`], where it is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// Available on this machine: checked by both constructors.
    simd: Simd,
}

/// Calls `$name` of the back end's module.
macro_rules! run {
    ($simd:expr, $name:ident($($arg:expr),*)) => {
        match $simd {
            // SAFETY: `Kernels` holds a unit that the machine has; the method checked the lengths.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => unsafe { avx2::$name($($arg),*) },
            // SAFETY: `Kernels` holds a unit that the machine has; the method checked the lengths.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => unsafe { avx512::$name($($arg),*) },
            // SAFETY: `Kernels` holds a unit that the machine has; the method checked the lengths.
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => unsafe { neon::$name($($arg),*) },
            // SAFETY: `Kernels` holds a unit that the machine has; the method checked the lengths.
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Simd::Wasm128 => unsafe { wasm128::$name($($arg),*) },
            // The others are never available in this build.
            _ => scalar::$name($($arg),*),
        }
    };
}

impl Kernels {
    /// The kernels of [`crate::active`].
    #[inline]
    pub fn active() -> Self {
        Kernels { simd: simd::active() }
    }

    /// The kernels of `simd`.
    ///
    /// # Errors
    /// [`Unavailable`] when this machine lacks it.
    pub fn on(simd: Simd) -> Result<Self, Unavailable> {
        if simd.is_available() { Ok(Kernels { simd }) } else { Err(Unavailable { simd }) }
    }

    /// The back end of these kernels.
    pub fn simd(self) -> Simd {
        self.simd
    }

    /// See [`crate::canon::sum16`].
    pub fn sum16(self, x: &[f32]) -> f32 {
        run!(self.simd, sum16(x))
    }

    /// See [`crate::canon::dot`].
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub fn dot(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len(), "dot of different lengths");
        run!(self.simd, dot(a, b))
    }

    /// See [`crate::canon::dot_many`].
    ///
    /// # Panics
    /// If `query` is not `dim` long or `rows` not `out.len() * dim`.
    pub fn dot_many(self, query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) {
        check_rows(query.len(), rows.len(), dim, out.len());
        run!(self.simd, dot_many(query, rows, dim, out));
    }

    /// See [`crate::canon::l2_squared`].
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub fn l2_squared(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len(), "distance of different lengths");
        run!(self.simd, l2_squared(a, b))
    }

    /// See [`crate::canon::l2_squared_many`].
    ///
    /// # Panics
    /// If `query` is not `dim` long or `rows` not `out.len() * dim`.
    pub fn l2_squared_many(self, query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) {
        check_rows(query.len(), rows.len(), dim, out.len());
        run!(self.simd, l2_squared_many(query, rows, dim, out));
    }

    /// See [`crate::canon::hamming`].
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub fn hamming(self, a: &[u64], b: &[u64]) -> u32 {
        assert_eq!(a.len(), b.len(), "hamming distance of different lengths");
        let mut out = [0];
        run!(self.simd, hamming_many(a, b, &mut out));
        out[0]
    }

    /// See [`crate::canon::hamming_many`].
    ///
    /// # Panics
    /// If `rows` is not `out.len()` times as long as `query`.
    pub fn hamming_many(self, query: &[u64], rows: &[u64], out: &mut [u32]) {
        check_rows(query.len(), rows.len(), query.len(), out.len());
        run!(self.simd, hamming_many(query, rows, out));
    }

    /// See [`crate::canon::dequantize_i8`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn dequantize_i8(self, codes: &[i8], scale: f32, out: &mut [f32]) {
        assert_eq!(codes.len(), out.len(), "dequantize of different lengths");
        run!(self.simd, dequantize_i8(codes, scale, out));
    }

    /// See [`crate::canon::sum_squares`].
    pub fn sum_squares(self, x: &[f32]) -> f32 {
        run!(self.simd, dot(x, x))
    }

    /// See [`crate::canon::mean`].
    pub fn mean(self, x: &[f32]) -> f32 {
        if x.is_empty() { 0.0 } else { self.sum16(x) / x.len() as f32 + 0.0 }
    }

    /// See [`crate::canon::variance`].
    pub fn variance(self, x: &[f32], mean: f32) -> f32 {
        if x.is_empty() {
            return 0.0;
        }
        run!(self.simd, squared_deviations(x, mean)) / x.len() as f32
    }

    /// See [`crate::canon::normalize`].
    ///
    /// # Errors
    /// [`NormalizeError`]; `x` is unchanged then.
    pub fn normalize(self, x: &mut [f32]) -> Result<(), NormalizeError> {
        let squares = self.sum_squares(x);
        if !squares.is_finite() {
            return Err(NormalizeError::NonFinite);
        }
        if squares == 0.0 {
            return Err(NormalizeError::ZeroVector);
        }
        // No quotient overflows: an element is at most about as long as the vector.
        run!(self.simd, divide(x, squares.sqrt()));
        Ok(())
    }

    /// See [`crate::canon::softmax`].
    ///
    /// # Errors
    /// [`NonFinite`] if any element is not finite; `x` is unchanged then.
    pub fn softmax(self, x: &mut [f32]) -> Result<(), NonFinite> {
        check_finite(x)?;
        let max = run!(self.simd, max(x));
        run!(self.simd, exp_shifted(x, max));
        // At least 1, since the greatest element contributes exp(0).
        let total = self.sum16(x);
        run!(self.simd, divide(x, total));
        Ok(())
    }

    /// [`crate::canon::exp`] of each element, less `shift`: `x[d] = exp(x[d] - shift)`. The caller checks
    /// the results.
    pub fn exp_shifted(self, x: &mut [f32], shift: f32) {
        run!(self.simd, exp_shifted(x, shift));
    }

    /// See [`crate::canon::gelu`].
    pub fn gelu(self, x: &mut [f32]) {
        run!(self.simd, gelu(x));
    }

    /// See [`crate::canon::layer_norm`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn layer_norm(self, x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
        assert!(x.len() == gain.len() && x.len() == bias.len(), "layer norm of different lengths");
        run!(self.simd, layer_norm(x, gain, bias, epsilon));
    }

    /// See [`crate::canon::matmul`].
    ///
    /// # Panics
    /// If a slice does not have the size its shape says.
    pub fn matmul(self, m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
        assert_eq!(Some(a.len()), m.checked_mul(k), "a is not [m, k]");
        assert_eq!(Some(b.len()), k.checked_mul(n), "b is not [k, n]");
        assert_eq!(Some(c.len()), m.checked_mul(n), "c is not [m, n]");
        packed::matmul_rows(self.simd, [m, n, k], a, b, c);
    }

    /// See [`crate::canon::accumulate_i8`].
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub fn accumulate_i8(self, x: &mut [f32], row: &[i8], scale: f32) {
        assert_eq!(x.len(), row.len(), "accumulate of different lengths");
        run!(self.simd, accumulate_i8(x, row, scale));
    }

    /// See [`crate::canon::add_scaled`].
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub fn add_scaled(self, x: &mut [f32], y: &[f32], w: f32) {
        assert_eq!(x.len(), y.len(), "add_scaled of different lengths");
        run!(self.simd, add_scaled(x, y, w));
    }

    /// See [`crate::canon::dot_i8`].
    ///
    /// # Panics
    /// If the lengths differ or exceed [`DOT_I8_MAX_LEN`].
    #[inline]
    pub fn dot_i8(self, a: &[i8], b: &[i8]) -> i32 {
        assert_eq!(a.len(), b.len(), "dot of different lengths");
        assert!(a.len() <= DOT_I8_MAX_LEN, "dot_i8 of more than 131,071 elements");
        run!(self.simd, dot_i8(a, b))
    }

    /// See [`crate::canon::dot_i8_many`].
    ///
    /// # Panics
    /// If `query` is not `dim` long or longer than [`DOT_I8_MAX_LEN`], or `rows` not
    /// `out.len() * dim`.
    pub fn dot_i8_many(self, query: &[i8], rows: &[i8], dim: usize, out: &mut [i32]) {
        check_rows(query.len(), rows.len(), dim, out.len());
        assert!(dim <= DOT_I8_MAX_LEN, "dot_i8 of more than 131,071 elements");
        run!(self.simd, dot_i8_many(query, rows, dim, out));
    }

    /// See [`crate::canon::quantize_i8`].
    ///
    /// # Errors
    /// [`NonFinite`] if any element of `x` is not finite; `out` is unchanged then.
    ///
    /// # Panics
    /// If the lengths differ, or `scale` is negative or not finite.
    pub fn quantize_i8(self, x: &[f32], scale: f32, out: &mut [i8]) -> Result<(), NonFinite> {
        assert_eq!(x.len(), out.len(), "quantize of different lengths");
        assert!(scale.is_finite() && scale >= 0.0, "scale is negative or not finite");
        check_finite(x)?;
        if scale == 0.0 {
            out.fill(0);
        } else {
            run!(self.simd, quantize_i8(x, scale, out));
        }
        Ok(())
    }
}

fn check_rows(query: usize, rows: usize, dim: usize, out: usize) {
    assert_eq!(query, dim, "query is not dim long");
    assert_eq!(Some(rows), out.checked_mul(dim), "rows and out differ in count");
}
