//! The fast functions against the same mathematics in `f64`.
#![cfg(not(target_arch = "wasm32"))]

use edge_kernels::conformance::SplitMix64;
use edge_kernels::fast;

fn units(random: &mut SplitMix64, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.unit()).collect()
}

#[test]
fn matmul_is_the_product_up_to_rounding() {
    let mut random = SplitMix64(0xfa57);
    let shapes = (0..=9)
        .flat_map(|m| [0, 1, 15, 16, 33, 65].map(|n| (m, n)))
        .flat_map(|(m, n)| [0, 1, 2, 255, 257].map(|k| (m, n, k)))
        .chain([(100, 100, 64), (12, 384, 384), (65, 130, 700), (1, 1536, 384), (70, 1, 600)]);
    for (m, n, k) in shapes {
        let (a, b) = (units(&mut random, m * k), units(&mut random, k * n));
        let transposed: Vec<f32> = (0..n * k).map(|at| b[at % k * n + at / k]).collect();
        let (mut c, mut d) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
        fast::matmul(m, n, k, &a, &b, &mut c);
        fast::matmul_transposed(m, n, k, &a, &transposed, &mut d);
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k).map(|q| f64::from(a[i * k + q]) * f64::from(b[q * n + j]));
                let (exact, size) = terms.fold((0.0, 0.0), |(s, t), x| (s + x, t + x.abs()));
                // Higham's bound of any order of summation: k u times the sum of magnitudes.
                let bound = k as f64 * f64::from(f32::EPSILON) / 2.0 * size + 1e-30;
                for got in [c[i * n + j], d[i * n + j]] {
                    let error = (f64::from(got) - exact).abs();
                    assert!(error <= bound, "{m}x{n}x{k} at {i},{j}: {got}, not {exact}");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "b is not k by n")]
fn a_wrong_shape_is_refused() {
    fast::matmul(1, 2, 2, &[0.0; 2], &[0.0; 3], &mut [0.0; 2]);
}
