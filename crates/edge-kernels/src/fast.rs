//! Fast arithmetic for results that nobody compares: a user's own embeddings on their own machine.
//!
//! The functions have the meaning of their namesakes in [`crate::canon`] up to rounding: sums in any
//! order, fused multiply-add, reciprocals. Their bits differ between machines, so nothing here may reach
//! a digest, a commitment or a stored canonical result. Inputs are finite; the caller checks results.
//!
//! They run on [`crate::active`]. Where that unit has no fused multiply-add (wasm, an old x86) products
//! are the canonical ones, which are as fast there.

mod attention;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod lanes;
mod scalar;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod units;

use crate::canon::{self, PackedMatrix};
use crate::rows::{Rows, hold};

pub use attention::{Heads, attention};

/// Runs `$body` with `$unit` as the module of the vector unit `$simd`, or else `$other`.
macro_rules! on_unit {
    ($simd:expr, $unit:ident => $body:expr, else $other:expr) => {
        match $simd {
            #[cfg(target_arch = "x86_64")]
            crate::Simd::Avx2 if units::has_fma() => {
                use units::avx2 as $unit;
                // SAFETY: the unit is active, so this machine has it; FMA was found.
                unsafe { $body }
            }
            #[cfg(target_arch = "x86_64")]
            crate::Simd::Avx512 => {
                use units::avx512 as $unit;
                // SAFETY: the unit is active, so this machine has it.
                unsafe { $body }
            }
            #[cfg(target_arch = "aarch64")]
            crate::Simd::Neon => {
                use units::neon as $unit;
                // SAFETY: the unit is active, so this machine has it.
                unsafe { $body }
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            crate::Simd::Wasm128 => {
                use units::wasm128 as $unit;
                // SAFETY: the module was built for the unit.
                unsafe { $body }
            }
            _ => $other,
        }
    };
}

/// `c = a · b` with `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`, all row-major; `c` is overwritten.
///
/// # Panics
/// If a slice does not have the size its shape says.
pub fn matmul(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert_eq!(Some(a.len()), m.checked_mul(k), "a is not [m, k]");
    assert_eq!(Some(b.len()), k.checked_mul(n), "b is not [k, n]");
    assert_eq!(Some(c.len()), m.checked_mul(n), "c is not [m, n]");
    product([m, n, k], Rows { values: a, stride: k }, Rows { values: b, stride: n }, c, n);
}

/// `c = a · bᵀ` with `a` `[m, k]`, `b` `[n, k]`, `c` `[m, n]`, all row-major: a linear layer whose weights
/// are stored one output after the other. `c` is overwritten. The transpose is made on every call; weights
/// that are used again are better packed once, for [`matmul_packed`].
///
/// # Panics
/// If a slice does not have the size its shape says.
pub fn matmul_transposed(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert_eq!(Some(a.len()), m.checked_mul(k), "a is not [m, k]");
    assert_eq!(Some(b.len()), k.checked_mul(n), "b is not [n, k]");
    assert_eq!(Some(c.len()), m.checked_mul(n), "c is not [m, n]");
    let mut columns = vec![0f32; k * n];
    transpose(Rows { values: b, stride: k }, n, k, &mut columns, n);
    product([m, n, k], Rows { values: a, stride: k }, Rows { values: &columns, stride: n }, c, n);
}

/// `c = a · b` with `a` `[m, k]` and `c` `[m, n]` for a packed `b` `[k, n]`; `c` is overwritten.
///
/// # Panics
/// If a slice does not have the size its shape says, or the matrix was packed for another back end than
/// the one in use.
pub fn matmul_packed(m: usize, a: &[f32], b: &PackedMatrix, c: &mut [f32]) {
    let (n, k) = (b.n(), b.k());
    assert_eq!(Some(a.len()), m.checked_mul(k), "a is not [m, k]");
    assert_eq!(Some(c.len()), m.checked_mul(n), "c is not [m, n]");
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "wasm32", target_feature = "simd128")
    ))]
    {
        use crate::canon::tiles::Right;
        let (simd, values) = b.parts();
        let a_rows = Rows { values: a, stride: k };
        on_unit!(simd,
            unit => return unit::matmul(m, n, k, a_rows, Right::Packed(values), c, n),
            else {});
    }
    b.multiply(m, a, c);
}

/// `c = a · b` for `[m, n, k]`, the rows of `c` being `c_stride` apart.
fn product([m, n, k]: [usize; 3], a: Rows<'_>, b: Rows<'_>, c: &mut [f32], c_stride: usize) {
    assert!(a.hold(m, k) && b.hold(k, n) && hold(c.len(), c_stride, m, n), "invariant: shapes");
    on_unit!(crate::active(),
        unit => unit::matmul(m, n, k, a, canon::tiles::Right::Rows(b), c, c_stride),
        else scalar::product([m, n, k], a, b, c, c_stride));
}

/// `out[column, row] = from[row, column]`, the rows of `out` being `stride` apart.
fn transpose(from: Rows<'_>, rows: usize, columns: usize, out: &mut [f32], stride: usize) {
    assert!(
        from.hold(rows, columns) && hold(out.len(), stride, columns, rows),
        "invariant: shapes"
    );
    const BLOCK: usize = 16;
    let mut row = 0;
    while row + BLOCK <= rows {
        let block: [&[f32]; BLOCK] = std::array::from_fn(|r| from.row(row + r, columns));
        for q in 0..columns {
            let to = &mut out[q * stride + row..][..BLOCK];
            for (to, from) in to.iter_mut().zip(&block) {
                *to = from[q];
            }
        }
        row += BLOCK;
    }
    for row in row..rows {
        for (q, value) in from.row(row, columns).iter().enumerate() {
            out[q * stride + row] = *value;
        }
    }
}

/// Σ `a[i] * b[i]`, in several sums at once.
///
/// # Panics
/// If the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dot of different lengths");
    on_unit!(crate::active(), unit => unit::dot(a, b), else canon::dot(a, b))
}

/// Turns logits into weights that add up to about 1. An empty slice stays empty.
pub fn softmax(x: &mut [f32]) {
    let sum = softmax_sum(x, 1.0);
    if !x.is_empty() {
        scale(x, 1.0 / sum);
    }
}

/// `x[i] = exp((x[i] - max) * factor)`; their sum. `factor` is positive.
fn softmax_sum(x: &mut [f32], factor: f32) -> f32 {
    on_unit!(crate::active(),
        unit => unit::softmax_sum(x, factor),
        else scalar::softmax_sum(x, factor))
}

/// `x[i] *= factor`.
fn scale(x: &mut [f32], factor: f32) {
    // Simple enough for the compiler's own vectors.
    x.iter_mut().for_each(|v| *v *= factor);
}

/// The layer norm of [`crate::canon::layer_norm`] for each row of `x`, `[rows, dim]`, in place:
/// `(x - mean) / sqrt(variance + epsilon) * gain + bias`, with `gain` and `bias` `[dim]`.
///
/// # Panics
/// If `gain` and `bias` differ in length, or `x` does not consist of such rows.
pub fn layer_norm(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    let dim = gain.len();
    assert_eq!(dim, bias.len(), "gain and bias differ in length");
    if dim == 0 {
        return assert!(x.is_empty(), "x is not [rows, dim]");
    }
    assert_eq!(x.len() % dim, 0, "x is not [rows, dim]");
    on_unit!(crate::active(),
        unit => unit::layer_norm(x, gain, bias, epsilon),
        else scalar::layer_norm(x, gain, bias, epsilon));
}

/// The Gaussian error linear unit of each element, by the formula of [`crate::canon::gelu`]; its error is at
/// most 2e-7 times the greater of 1 and |x|.
pub fn gelu(x: &mut [f32]) {
    on_unit!(crate::active(), unit => unit::gelu(x), else canon::gelu(x));
}
