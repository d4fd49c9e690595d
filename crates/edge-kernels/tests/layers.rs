//! GELU and layer norm: every back end gives the bits of the scalar definition, those bits are pinned
//! and equal an independent computation by numpy (`oracles/layers.py`), and they are near the exact
//! functions.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use edge_kernels::canon::{Kernels, scalar};
use edge_kernels::conformance::SplitMix64;
use edge_kernels::{Simd, available};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// SHA-256 of the little-endian results for [`corpus`], printed by `oracles/layers.py` too.
const GELU: &str = "8e43f31ea4943c7ab41a1682a65b51d9ebc205dc2ed7e0b8cdbcd80350a95bd6";
const LAYER_NORM: &str = "e4352fe6785263f8c9dcc0297f2fd427e312259788e64f8735b7ac5a4a32812a";

#[track_caller]
fn same(what: &str, simd: Simd, got: &[f32], want: &[f32]) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let equal = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(equal, "{what} on {simd}, element {i}: {got:e}, not {want:e}");
        assert!(want.to_bits() != 0x8000_0000, "{what}, element {i} is -0");
    }
}

fn check(x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    let mut gelu = x.to_vec();
    scalar::gelu(&mut gelu);
    let mut norm = x.to_vec();
    scalar::layer_norm(&mut norm, gain, bias, epsilon);
    assert!(gelu.iter().all(|v| v.is_finite()), "a finite input gives a finite result");
    for simd in available() {
        let kernels = Kernels::on(simd).unwrap();
        let mut got = x.to_vec();
        kernels.gelu(&mut got);
        same("gelu", simd, &got, &gelu);
        let mut got = x.to_vec();
        kernels.layer_norm(&mut got, gain, bias, epsilon);
        same("layer_norm", simd, &got, &norm);
    }
}

#[test]
fn back_ends_agree_at_every_length_to_130() {
    let mut random = SplitMix64(31);
    for len in 0..=130 {
        let (x, gain, bias) = (random.values(len), random.values(len), random.values(len));
        check(&x, &gain, &bias, 1e-12);
    }
    let edges = [f32::MAX, f32::MIN, 0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, 13.2, -13.2, 40.0];
    check(&edges, &[1.0; 8], &[0.0; 8], 1e-5);
}

/// Multiples of 2^-20 and of 2^-24, which the oracle draws from the same generator.
fn corpus() -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut random = SplitMix64(0x6e1);
    let gelu: Vec<f32> = (0..40_000).map(|_| random.unit() * 32.0).collect();
    let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.unit()).collect() };
    (gelu, draw(64 * 97), draw(97), draw(97))
}

fn digest(values: &[f32]) -> String {
    let mut hash = Sha256::new();
    values.iter().for_each(|v| hash.update(v.to_le_bytes()));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bits_are_pinned_on_every_back_end() {
    let (x, rows, gain, bias) = corpus();
    for simd in available() {
        let kernels = Kernels::on(simd).unwrap();
        let mut got = x.clone();
        kernels.gelu(&mut got);
        assert_eq!(digest(&got), GELU, "gelu on {simd}");
        let mut got = rows.clone();
        for row in got.chunks_exact_mut(97) {
            kernels.layer_norm(row, &gain, &bias, 1e-12);
        }
        assert_eq!(digest(&got), LAYER_NORM, "layer_norm on {simd}");
    }
}

/// Φ by its Taylor series in f64 (Marsaglia, Journal of Statistical Software 11(4), 2004).
fn phi(x: f64) -> f64 {
    let (mut term, mut total, mut n) = (x, x, 1.0);
    while term.abs() > 1e-18 {
        n += 2.0;
        term *= x * x / n;
        total += term;
    }
    0.5 + total * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[test]
fn gelu_is_within_4e_7_of_the_exact_function() {
    let mut worst = 0f64;
    for i in -100_000..=100_000 {
        let x = i as f32 / 16_384.0;
        let mut y = [x];
        scalar::gelu(&mut y);
        worst = worst.max((f64::from(y[0]) - f64::from(x) * phi(f64::from(x))).abs());
    }
    assert!(worst < 4e-7, "{worst:e}");
}

#[test]
fn layer_norm_gives_mean_and_deviation_of_bias_and_gain() {
    let mut random = SplitMix64(8);
    for len in [16, 32, 97, 384, 1000] {
        let mut x: Vec<f32> = (0..len).map(|_| random.unit() * 9.0 + 3.0).collect();
        let exact: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
        let mean = exact.iter().fold(0.0, |t, v| t + v) / len as f64;
        let variance = exact.iter().fold(0.0, |t, v| t + (v - mean).powi(2)) / len as f64;
        Kernels::active().layer_norm(&mut x, &vec![2.0; len], &vec![0.5; len], 1e-5);
        for (got, v) in x.iter().zip(exact) {
            let want = (v - mean) / (variance + 1e-5).sqrt() * 2.0 + 0.5;
            assert!((f64::from(*got) - want).abs() < 2e-6, "{got} for {want}");
        }
    }
}

proptest! {
    #[test]
    fn back_ends_agree_on_any_finite_values(
        rows in proptest::collection::vec(
            (proptest::num::f32::NORMAL, proptest::num::f32::NORMAL, -4f32..4.0), 0..80),
    ) {
        let x: Vec<f32> = rows.iter().map(|r| r.0).collect();
        let gain: Vec<f32> = rows.iter().map(|r| r.1).collect();
        let bias: Vec<f32> = rows.iter().map(|r| r.2 + 0.0).collect();
        check(&x, &gain, &bias, 1e-12);
    }
}
