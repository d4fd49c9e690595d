//! Fast arithmetic for results that nobody compares: a user's own embeddings on their own machine.
//!
//! The functions have the meaning of their namesakes in [`crate::canon`] up to rounding: sums in any
//! order, fused multiply-add. Their bits differ between machines, so nothing here may reach a digest, a
//! commitment or a stored canonical result. Inputs are finite; the caller checks results.

/// `c = a · b` with `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`, all row-major; `c` is overwritten.
///
/// # Panics
/// If a slice does not have the size its shape says.
pub fn matmul(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    check(m, n, k, a, b, c);
    product(m, n, k, a, b, [n, 1], c);
}

/// `c = a · bᵀ` with `a` `[m, k]`, `b` `[n, k]`, `c` `[m, n]`, all row-major: a linear layer whose weights
/// are stored one output after the other. `c` is overwritten.
///
/// # Panics
/// If a slice does not have the size its shape says.
pub fn matmul_transposed(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    check(m, n, k, a, b, c);
    product(m, n, k, a, b, [1, k], c);
}

fn check(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &[f32]) {
    assert_eq!(Some(a.len()), m.checked_mul(k), "a is not [m, k]");
    assert_eq!(Some(b.len()), k.checked_mul(n), "b is not k by n");
    assert_eq!(Some(c.len()), m.checked_mul(n), "c is not [m, n]");
}

/// `stride` is the distance between neighbours in `b` along k and along n.
#[cfg(not(target_arch = "wasm32"))]
fn product(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], stride: [usize; 2], c: &mut [f32]) {
    // No slice is longer than isize::MAX bytes, and no stride in use longer than a slice.
    let signed = |stride: usize| stride as isize;
    let gemm = gemm_f32::gemm::f32::get_gemm_fn();
    // SAFETY: the callers checked that a is [m, k] with strides (k, 1), b k by n with the strides given
    // and c [m, n] with strides (n, 1); c is borrowed exclusively and therefore overlaps neither.
    unsafe {
        gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            signed(n),
            false,
            a.as_ptr(),
            1,
            signed(k),
            b.as_ptr(),
            signed(stride[1]),
            signed(stride[0]),
            0.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

/// wasm has no fused multiply-add without relaxed SIMD: the canonical kernel is the fast one.
#[cfg(target_arch = "wasm32")]
fn product(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], stride: [usize; 2], c: &mut [f32]) {
    if stride[1] == 1 {
        return crate::canon::matmul(m, n, k, a, b, c);
    }
    let mut rows = vec![0f32; k * n];
    for (j, column) in b.chunks_exact(k.max(1)).enumerate() {
        for (q, value) in column.iter().enumerate() {
            rows[q * n + j] = *value;
        }
    }
    crate::canon::matmul(m, n, k, a, &rows, c);
}
