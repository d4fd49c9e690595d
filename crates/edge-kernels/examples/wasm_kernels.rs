//! The matrix product as a wasm module without imports, which `bench_kernels` times under node.

use edge_kernels::canon::Kernels;
use edge_kernels::conformance::SplitMix64;

/// Multiplies two n x n matrices `times` times with the module's best kernels; the first element, so that
/// nothing is left out.
#[unsafe(no_mangle)]
pub extern "C" fn matmul(n: usize, times: u32) -> f32 {
    let mut random = SplitMix64(1);
    let a: Vec<f32> = (0..n * n).map(|_| random.unit()).collect();
    let b: Vec<f32> = (0..n * n).map(|_| random.unit()).collect();
    let mut c = vec![0f32; n * n];
    for _ in 0..times {
        Kernels::active().matmul(n, n, n, &a, &b, &mut c);
    }
    c.first().copied().unwrap_or(0.0)
}
