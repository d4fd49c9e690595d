//! Matrix products on a named back end, and right-hand sides that are packed for it once.

use super::Kernels;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::scalar;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
use super::tiles::{Right, pack, packed_at};
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::wasm128;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
use crate::rows::Rows;
use crate::scratch::Scratch;
use crate::simd::Simd;

/// `body` with `$unit` as the module of `$simd`, or else the expression after it.
macro_rules! on_unit {
    ($simd:expr, $unit:ident => $body:expr, else $other:expr) => {
        match $simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => {
                use avx2 as $unit;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => {
                use avx512 as $unit;
                $body
            }
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => {
                use neon as $unit;
                $body
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Simd::Wasm128 => {
                use wasm128 as $unit;
                $body
            }
            // The others are never available in this build.
            _ => $other,
        }
    };
}

/// A matrix `[k, n]` laid out as [`crate::canon::matmul`] reads its right-hand side on one back end: for
/// weights that many inputs are multiplied by. As large as the matrix, but for a padding of its width to
/// the next register.
///
/// ```
/// use edge_kernels::canon::{Kernels, PackedMatrix};
///
/// let weights = [1.0, 2.0, 3.0, 4.0]; // two outputs of two inputs, one row per output
/// let packed = PackedMatrix::transposed(Kernels::active(), 2, 2, &weights);
/// let mut outputs = [0.0; 2];
/// packed.multiply(1, &[10.0, 1.0], &mut outputs);
/// assert_eq!(outputs, [12.0, 34.0]);
/// ```
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    kernels: Kernels,
    k: usize,
    n: usize,
    values: Scratch,
}

impl PackedMatrix {
    /// Packs `b`, `[k, n]` and row-major.
    ///
    /// # Panics
    /// If `b` is not `k * n` long.
    pub fn new(kernels: Kernels, k: usize, n: usize, b: &[f32]) -> PackedMatrix {
        assert_eq!(Some(b.len()), k.checked_mul(n), "b is not [k, n]");
        let values = lay_out(kernels.simd(), k, n, |q, j| b[q * n + j]);
        PackedMatrix { kernels, k, n, values }
    }

    /// Packs the transpose of `b`, which is `[n, k]` and row-major: the weights of a linear layer, stored
    /// one output after the other.
    ///
    /// # Panics
    /// If `b` is not `n * k` long.
    pub fn transposed(kernels: Kernels, n: usize, k: usize, b: &[f32]) -> PackedMatrix {
        assert_eq!(Some(b.len()), k.checked_mul(n), "b is not [n, k]");
        let values = lay_out(kernels.simd(), k, n, |q, j| b[j * k + q]);
        PackedMatrix { kernels, k, n, values }
    }

    /// The same matrix, packed for another back end.
    pub fn repacked(&self, kernels: Kernels) -> PackedMatrix {
        let PackedMatrix { k, n, .. } = *self;
        let values = lay_out(kernels.simd(), k, n, |q, j| self.element(q, j));
        PackedMatrix { kernels, k, n, values }
    }

    fn element(&self, q: usize, j: usize) -> f32 {
        let at = on_unit!(self.kernels.simd(),
            unit => packed_at([self.k, self.n], unit::PANEL.0, unit::PANEL.1, q, j),
            else q * self.n + j);
        self.values.values()[at]
    }

    /// The back end that it is packed for.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Rows of the matrix.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix.
    pub fn n(&self) -> usize {
        self.n
    }

    /// `c = a · self` with `a` `[m, k]` and `c` `[m, n]`: the bits of [`crate::canon::matmul`]. The caller
    /// checks the results.
    ///
    /// # Panics
    /// If a slice does not have the size its shape says.
    pub fn multiply(&self, m: usize, a: &[f32], c: &mut [f32]) {
        let PackedMatrix { kernels, k, n, values } = self;
        assert_eq!(Some(a.len()), m.checked_mul(*k), "a is not [m, k]");
        assert_eq!(Some(c.len()), m.checked_mul(*n), "c is not [m, n]");
        matmul_packed(kernels.simd(), [m, *n, *k], a, values.values(), c);
    }

    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "wasm32", target_feature = "simd128")
    ))]
    /// The back end that the matrix is packed for, and its elements in that layout.
    pub(crate) fn parts(&self) -> (Simd, &[f32]) {
        (self.kernels.simd(), self.values.values())
    }
}

fn lay_out(simd: Simd, k: usize, n: usize, at: impl Fn(usize, usize) -> f32) -> Scratch {
    on_unit!(simd, unit => pack(k, n, unit::PANEL.0, unit::PANEL.1, at),
        else Scratch::of(k * n, (0..k * n).map(|i| at(i / n, i % n))))
}

/// The product of matrices of checked shapes `[m, n, k]`. `simd` is available.
pub(super) fn matmul_rows(simd: Simd, [m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    on_unit!(simd,
        // SAFETY: the caller has found the unit.
        unit => unsafe { unit::matmul(m, n, k, rows(a, k), Right::Rows(rows(b, n)), c, n) },
        else scalar::matmul(m, n, k, a, b, c));
}

/// As [`matmul_rows`], with `b` as `lay_out` gave it for `simd`.
fn matmul_packed(simd: Simd, [m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    on_unit!(simd,
        // SAFETY: the caller has found the unit.
        unit => unsafe { unit::matmul(m, n, k, rows(a, k), Right::Packed(b), c, n) },
        else scalar::matmul(m, n, k, a, b, c));
}

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
fn rows(values: &[f32], stride: usize) -> Rows<'_> {
    Rows { values, stride }
}
