//! canon-1: the exact meaning of a canonical numeric result (`docs/canon.md`).
//!
//! Inputs are finite and carry no -0 unless a function says that it folds it; results carry no -0.
//! Subnormals are kept ([`float_environment_is_canonical`]), rounding is to nearest even, products are
//! rounded before they are added. A non-finite result is an error: functions that return `Result` check
//! it; functions that return a bare `f32` ([`dot`] and its kin) or fill a slice ([`matmul`],
//! [`add_scaled`], [`accumulate_i8`], [`dot_many`]) leave the check to the caller, who runs
//! [`check_finite`] once at the end, since an infinity or a NaN never turns finite again on the way.
//!
//! The free functions run on [`crate::active`]; [`Kernels`] runs on a named back end; [`scalar`] is the
//! definition.

use std::hint::black_box;

use thiserror::Error;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod bits;
mod kernels;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
pub(crate) mod lanes;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod layers;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod packed;
mod rank;
pub mod scalar;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
pub(crate) mod tiles;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod wasm128;

pub use bits::{sign_bits, words_of_bits};
pub use kernels::Kernels;
pub use packed::PackedMatrix;
pub use rank::{rank, top_k, top_k_scores};

/// The version of these rules. Peers are assigned replicas of one task only if they advertise the same.
pub const VERSION: u32 = 1;

/// Consecutive `k` summed into one partial result by [`matmul`].
pub const MATMUL_BLOCK: usize = 256;

/// The longest input of [`dot_i8`]: 131,071 · 128 · 128 is the last multiple that fits an `i32`.
pub const DOT_I8_MAX_LEN: usize = 131_071;

/// log2(e), bits `3fb8aa3b`.
pub const LOG2_E: f32 = f32::from_bits(0x3fb8_aa3b);
/// The upper part of ln(2), .693359375, bits `3f318000`: few enough digits that `n * LN2_HIGH` is exact.
pub const LN2_HIGH: f32 = f32::from_bits(0x3f31_8000);
/// ln(2) minus [`LN2_HIGH`], -2.12194440e-4, bits `b95e8083`.
pub const LN2_LOW: f32 = f32::from_bits(0xb95e_8083);
/// Below this (-87.33654, bits `c2aeac4f`) [`exp`] is +0: its result would not be a normal number.
pub const EXP_LOW: f32 = f32::from_bits(0xc2ae_ac4f);
/// Above this (88.72283, bits `42b17217`) [`exp`] is +infinity.
pub const EXP_HIGH: f32 = f32::from_bits(0x42b1_7217);
/// Coefficients of [`exp`], highest power first (Cephes `expf`, S. Moshier, 1989):
/// 1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666665e-1, 5.0000001e-1.
pub const EXP_POLY: [f32; 6] = [
    f32::from_bits(0x3950_6967),
    f32::from_bits(0x3ab7_43ce),
    f32::from_bits(0x3c08_8908),
    f32::from_bits(0x3d2a_a9c1),
    f32::from_bits(0x3e2a_aaaa),
    f32::from_bits(0x3f00_0000),
];

/// p of [`gelu`], .2316419, bits `3e6d3389`.
pub const GELU_P: f32 = f32::from_bits(0x3e6d_3389);
/// Coefficients of [`gelu`], highest power first: b5 to b1 of Abramowitz and Stegun 26.2.17, each divided
/// by the square root of 2 pi: .53070271, -.72657603, .71070689, -.14224836, .12741479.
pub const GELU_POLY: [f32; 5] = [
    f32::from_bits(0x3f07_dc22),
    f32::from_bits(0xbf3a_00e3),
    f32::from_bits(0x3f35_f0e3),
    f32::from_bits(0xbe11_a98e),
    f32::from_bits(0x3e02_7906),
];

/// A NaN or an infinity where canon-1 has no result (the caller's input, or an overflow on the way).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("result is not finite")]
pub struct NonFinite;

/// Why a vector could not be brought to unit length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NormalizeError {
    /// An element, or the sum of squares, is not finite (the caller's input).
    #[error("vector or its length is not finite")]
    NonFinite,
    /// The sum of squares is zero: no element, all zero, or all smaller than about 1e-23.
    #[error("vector has no length")]
    ZeroVector,
}

impl From<NonFinite> for NormalizeError {
    fn from(_: NonFinite) -> Self {
        NormalizeError::NonFinite
    }
}

/// The canonical sum: sixteen accumulators, `acc[i mod 16] += x[i]` for ascending `i` from +0, then
/// `acc[j] += acc[j + s]`, `j < s`, for `s` = 8, 4, 2, 1. Empty: +0. The caller checks the result.
pub fn sum16(x: &[f32]) -> f32 {
    Kernels::active().sum16(x)
}

/// The [`sum16`] of the rounded products `a[i] * b[i]`. The caller checks the result.
///
/// # Panics
/// If the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    Kernels::active().dot(a, b)
}

/// [`dot`] of `query` with each row of `rows`, which is `[out.len(), dim]`, row after row: the form for
/// scanning a shard, several rows at a time. The caller checks the results.
///
/// # Panics
/// If `query` is not `dim` long or `rows` not `out.len() * dim`.
pub fn dot_many(query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) {
    Kernels::active().dot_many(query, rows, dim, out);
}

/// The [`sum16`] of the squared differences; difference and square are each rounded. The caller checks
/// the result.
///
/// # Panics
/// If the lengths differ.
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    Kernels::active().l2_squared(a, b)
}

/// [`l2_squared`] of `query` and each row of `rows`, which is `[out.len(), dim]`, row after row. The cosine
/// of many rows is [`dot_many`] of vectors that were [`normalize`]d once. The caller checks the results.
///
/// # Panics
/// If `query` is not `dim` long or `rows` not `out.len() * dim`.
pub fn l2_squared_many(query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) {
    Kernels::active().l2_squared_many(query, rows, dim, out);
}

/// The [`sum16`] of the squares: [`dot`] of `x` with itself. The caller checks the result.
pub fn sum_squares(x: &[f32]) -> f32 {
    Kernels::active().sum_squares(x)
}

/// [`sum16`] divided by the count (as `f32`, nearest even). Empty: +0. The caller checks the result.
pub fn mean(x: &[f32]) -> f32 {
    Kernels::active().mean(x)
}

/// The [`sum16`] of `(x[i] - mean)²` divided by the count: with [`mean`], what a layer norm needs
/// (Ba et al., arXiv 1607.06450). Empty: +0. The caller checks the result.
pub fn variance(x: &[f32], mean: f32) -> f32 {
    Kernels::active().variance(x, mean)
}

/// Brings `x` to unit length: each element divided by `sqrt(sum16(x²))`, by true division and square
/// root.
///
/// # Errors
/// [`NormalizeError`]; `x` is unchanged then.
pub fn normalize(x: &mut [f32]) -> Result<(), NormalizeError> {
    Kernels::active().normalize(x)
}

/// e^x from additions and multiplications only, within 1 ulp or so of the true value: +0 below
/// [`EXP_LOW`], +infinity above [`EXP_HIGH`] (which the caller checks), never subnormal.
#[inline]
pub fn exp(x: f32) -> f32 {
    scalar::exp(x)
}

/// Turns logits into weights that add up to about 1: maximum, [`exp`] of the difference, [`sum16`], true
/// division. An empty slice stays empty. Mask an entry with `f32::MIN`, which gives exactly +0 beside any
/// logit above -1e38.
///
/// # Errors
/// [`NonFinite`] if any element is not finite; `x` is unchanged then.
pub fn softmax(x: &mut [f32]) -> Result<(), NonFinite> {
    Kernels::active().softmax(x)
}

/// The Gaussian error linear unit of each element, x·Φ(x), in the form with erf that BERT uses (Hendrycks
/// and Gimpel, arXiv 1606.08415). Φ is 26.2.17 of Abramowitz and Stegun's Handbook of Mathematical
/// Functions (1964), off by less than 7.5e-8: for a = |x|, t = 1 / (a [`GELU_P`] + 1),
/// q = poly(t) · t · [`exp`]((a·a)·(-½)), the result is max(x, 0) - a·q. Absolute error below 4e-7 for
/// |x| <= 10. The caller checks the input; a finite one gives a finite result.
pub fn gelu(x: &mut [f32]) {
    Kernels::active().gelu(x);
}

/// Layer normalisation of one row (Ba et al., arXiv 1607.06450): with m = [`mean`] and
/// r = 1 / sqrt([`variance`] + `epsilon`), `x[d] = (((x[d] - m) * r) * gain[d]) + bias[d]`. The caller
/// checks the results.
///
/// # Panics
/// If the lengths differ.
pub fn layer_norm(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    Kernels::active().layer_norm(x, gain, bias, epsilon);
}

/// `c = a · b` with `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`, all row-major; `c` is overwritten. Per
/// output: total = +0; for each block of [`MATMUL_BLOCK`] consecutive `k`, partial = +0, then
/// `partial += a[k] * b[k]` for ascending `k` (product rounded), then `total += partial`. So [`dot`] is
/// *not* a `1 × k` matmul. The caller checks the results.
///
/// # Panics
/// If a slice does not have the size its shape says.
pub fn matmul(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    Kernels::active().matmul(m, n, k, a, b, c);
}

/// `x[d] += f32(row[d]) * scale`, the product rounded before it is added: one token's row of an 8-bit
/// table. The caller checks the results.
///
/// # Panics
/// If the lengths differ.
pub fn accumulate_i8(x: &mut [f32], row: &[i8], scale: f32) {
    Kernels::active().accumulate_i8(x, row, scale);
}

/// `x[d] += y[d] * w`, the product rounded before it is added. The caller checks the results.
///
/// # Panics
/// If the lengths differ.
pub fn add_scaled(x: &mut [f32], y: &[f32], w: f32) {
    Kernels::active().add_scaled(x, y, w);
}

/// The exact integer dot product.
///
/// # Panics
/// If the lengths differ or exceed [`DOT_I8_MAX_LEN`].
pub fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    Kernels::active().dot_i8(a, b)
}

/// [`dot_i8`] of `query` with each row of `rows`, which is `[out.len(), dim]`, row after row.
///
/// # Panics
/// If `query` is not `dim` long or longer than [`DOT_I8_MAX_LEN`], or `rows` not `out.len() * dim`.
pub fn dot_i8_many(query: &[i8], rows: &[i8], dim: usize, out: &mut [i32]) {
    Kernels::active().dot_i8_many(query, rows, dim, out);
}

/// How many bits of two binary codes differ.
///
/// # Panics
/// If the lengths differ.
pub fn hamming(a: &[u64], b: &[u64]) -> u32 {
    Kernels::active().hamming(a, b)
}

/// [`hamming`] of `query` and each code of `rows`, which holds `out.len()` codes, one behind the other.
///
/// # Panics
/// If `rows` is not `out.len()` times as long as `query`.
pub fn hamming_many(query: &[u64], rows: &[u64], out: &mut [u32]) {
    Kernels::active().hamming_many(query, rows, out);
}

/// The score that an 8-bit dot product stands for: `(f32(dot) * scale_a) * scale_b`, in this order. The
/// caller checks the result.
#[inline]
pub fn score_i8(dot: i32, scale_a: f32, scale_b: f32) -> f32 {
    (dot as f32 * scale_a) * scale_b + 0.0
}

/// The scale that [`quantize_i8`] needs for `x`: `max|x| / 127`; +0 for an empty or all-zero `x` (or one
/// so small that the quotient is).
///
/// # Errors
/// [`NonFinite`] if any element is not finite.
pub fn scale_i8(x: &[f32]) -> Result<f32, NonFinite> {
    // Magnitudes of floats order like their bits, and an integer maximum needs no care for NaN.
    let mut greatest = 0i32;
    for v in x {
        greatest = greatest.max((v.to_bits() & 0x7fff_ffff) as i32);
    }
    let greatest = f32::from_bits(greatest as u32);
    if greatest.is_finite() { Ok(greatest / 127.0) } else { Err(NonFinite) }
}

/// `out[d] = clamp(roundeven(x[d] / scale), -127, 127)`; all 0 when `scale` is 0.
///
/// # Panics
/// If the lengths differ, or `scale` is negative or not finite.
///
/// # Errors
/// [`NonFinite`] if any element of `x` is not finite; `out` is unchanged then.
pub fn quantize_i8(x: &[f32], scale: f32, out: &mut [i8]) -> Result<(), NonFinite> {
    Kernels::active().quantize_i8(x, scale, out)
}

/// What quantised codes stand for: `out[d] = f32(codes[d]) * scale`, without -0. The caller checks the
/// results, which are finite if 128 times `scale` is.
///
/// # Panics
/// If the lengths differ.
pub fn dequantize_i8(codes: &[i8], scale: f32, out: &mut [f32]) {
    Kernels::active().dequantize_i8(codes, scale, out);
}

/// That no element is NaN or infinite.
///
/// # Errors
/// [`NonFinite`] if one is.
pub fn check_finite(x: &[f32]) -> Result<(), NonFinite> {
    const EXPONENT: u32 = 0x7f80_0000;
    // Without an early exit inside a chunk, so that the compiler can use vectors.
    for chunk in x.chunks(1024) {
        let mut bad = false;
        for v in chunk {
            bad |= v.to_bits() & EXPONENT == EXPONENT;
        }
        if bad {
            return Err(NonFinite);
        }
    }
    Ok(())
}

/// Replaces every -0 by +0: what an input from outside needs before it is used or hashed.
pub fn fold_negative_zero(x: &mut [f32]) {
    for v in x {
        *v += 0.0;
    }
}

/// Whether this thread computes as canon-1 demands: subnormals neither flushed nor read as zero (FTZ and
/// DAZ clear), rounding to nearest even. A library that sets other modes and does not restore them makes
/// this false; a worker then must not take canonical tasks.
pub fn float_environment_is_canonical() -> bool {
    // black_box: otherwise the compiler does the arithmetic in its own, correct environment.
    let bits = |v: f32| black_box(v).to_bits();
    let value = |b: u32| black_box(f32::from_bits(b));
    let ulp_half = value(0x3380_0000); // 2^-24, half an ulp of 1
    let odd = value(0x3f80_0001); // 1 + 2^-23
    // FTZ: a normal number halved; DAZ: a subnormal doubled; both: subnormals added.
    bits(value(0x0080_0000) * value(0x3f00_0000)) == 0x0040_0000
        && bits(value(0x0040_0000) * value(0x4000_0000)) == 0x0080_0000
        && bits(value(0x0000_0001) + value(0x0000_0001)) == 0x0000_0002
        // Ties to even, on both sides of zero: each other mode gets one of these wrong.
        && bits(value(0x3f80_0000) + ulp_half) == 0x3f80_0000
        && bits(odd + ulp_half) == 0x3f80_0002
        && bits(-odd - ulp_half) == 0xbf80_0002
        && bits(value(0xbf80_0000) - ulp_half) == 0xbf80_0000
}
