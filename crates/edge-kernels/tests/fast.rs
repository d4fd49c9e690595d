//! The fast functions against the same mathematics in `f64`, on every back end of this machine.
#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::disallowed_methods,
    reason = "references in f64, whose order of summation is moot"
)]

use std::sync::Mutex;

use edge_kernels::canon::{Kernels, PackedMatrix};
use edge_kernels::conformance::SplitMix64;
use edge_kernels::fast::{self, Heads};
use edge_kernels::{Rows, available, force};

fn units(random: &mut SplitMix64, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.unit()).collect()
}

/// Runs `test` with each back end in use.
fn everywhere(test: impl Fn()) {
    static FORCED: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FORCED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for simd in available() {
        force(simd).expect("available");
        println!("{simd}");
        test();
    }
}

#[test]
fn matmul_is_the_product_up_to_rounding() {
    let shapes = (0..=13)
        .flat_map(|m| [0, 1, 15, 16, 33, 65].map(|n| (m, n)))
        .flat_map(|(m, n)| [0, 1, 2, 255, 257].map(|k| (m, n, k)))
        .chain([(100, 100, 64), (25, 384, 384), (250, 130, 300), (1, 1536, 384), (70, 1, 600)]);
    let shapes: Vec<_> = shapes.collect();
    everywhere(|| {
        let mut random = SplitMix64(0xfa57);
        for (m, n, k) in &shapes {
            check_matmul(*m, *n, *k, &mut random);
        }
    });
}

fn check_matmul(m: usize, n: usize, k: usize, random: &mut SplitMix64) {
    let (a, b) = (units(random, m * k), units(random, k * n));
    let transposed: Vec<f32> = (0..n * k).map(|at| b[at % k * n + at / k]).collect();
    let mut results = [const { Vec::new() }; 3].map(|_: Vec<f32>| vec![f32::NAN; m * n]);
    fast::matmul(m, n, k, &a, &b, &mut results[0]);
    fast::matmul_transposed(m, n, k, &a, &transposed, &mut results[1]);
    let packed = PackedMatrix::new(Kernels::active(), k, n, &b);
    fast::matmul_packed(m, &a, &packed, &mut results[2]);
    for i in 0..m {
        for j in 0..n {
            let terms = (0..k).map(|q| f64::from(a[i * k + q]) * f64::from(b[q * n + j]));
            let (exact, size) = terms.fold((0.0, 0.0), |(s, t), x| (s + x, t + x.abs()));
            // Higham's bound of any order of summation: k u times the sum of magnitudes.
            let bound = k as f64 * f64::from(f32::EPSILON) / 2.0 * size + 1e-30;
            for result in &results {
                let got = result[i * n + j];
                let error = (f64::from(got) - exact).abs();
                assert!(error <= bound, "{m}x{n}x{k} at {i},{j}: {got}, not {exact}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "b is not [k, n]")]
fn a_wrong_shape_is_refused() {
    fast::matmul(1, 2, 2, &[0.0; 2], &[0.0; 3], &mut [0.0; 2]);
}

#[test]
fn dot_is_the_sum_up_to_rounding() {
    everywhere(|| {
        let mut random = SplitMix64(0xd07);
        for len in (0..=130).chain([384, 1000, 4097]) {
            let (a, b) = (units(&mut random, len), units(&mut random, len));
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let got = f64::from(fast::dot(&a, &b));
            assert!((got - exact).abs() < 1e-6 * (len as f64 + 1.0), "{len}: {got}, not {exact}");
        }
    });
}

fn exact_softmax(x: &[f32], factor: f64) -> Vec<f64> {
    let max = x.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f64> =
        x.iter().map(|v| ((f64::from(*v) - f64::from(max)) * factor).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|v| v / sum).collect()
}

#[test]
fn softmax_is_within_a_millionth() {
    everywhere(|| {
        let mut random = SplitMix64(0x50f7);
        for len in (0..=70).chain([1000, 4097]) {
            for size in [1.0, 30.0, 400.0] {
                let x: Vec<f32> = (0..len).map(|_| random.unit() * size).collect();
                let mut got = x.clone();
                fast::softmax(&mut got);
                for (got, exact) in got.iter().zip(exact_softmax(&x, 1.0)) {
                    // A difference of logits of some hundred is itself rounded to 2^-17 or so.
                    let bound = (1e-6 + f64::from(size) * 2e-7) * exact + 1e-30;
                    assert!((f64::from(*got) - exact).abs() <= bound, "{got}, not {exact}");
                }
            }
        }
    });
}

#[test]
fn layer_norm_is_within_a_millionth() {
    everywhere(|| {
        let mut random = SplitMix64(0x1a7e);
        for dim in (1..=40).chain([384, 1000]) {
            let x: Vec<f32> = units(&mut random, 3 * dim).iter().map(|v| v * 4.0 + 1.0).collect();
            let (gain, bias) = (units(&mut random, dim), units(&mut random, dim));
            let mut got = x.clone();
            fast::layer_norm(&mut got, &gain, &bias, 1e-5);
            for (x, got) in x.chunks(dim).zip(got.chunks(dim)) {
                let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / dim as f64;
                let squares = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
                let root = (squares / dim as f64 + 1e-5).sqrt();
                for d in 0..dim {
                    let unit = (f64::from(x[d]) - mean) / root;
                    let exact = unit * f64::from(gain[d]) + f64::from(bias[d]);
                    // A dim of 1 or 2 may have a deviation as small as its own rounding.
                    let bound = 1e-6 * (1.0 + 1.0 / root);
                    let error = (f64::from(got[d]) - exact).abs();
                    assert!(error <= bound, "{dim} at {d}: {}, not {exact}", got[d]);
                }
            }
        }
    });
}

/// Φ(x) by the Taylor series of its difference from 1/2 near 0 and by the continued fraction of its tail
/// elsewhere (Abramowitz and Stegun 26.2.10 and 26.2.14).
fn normal_cdf(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let size = x.abs();
    let fraction = (1..200).rev().fold(size, |fraction, n| size + f64::from(n) / fraction);
    let tail = density / fraction;
    if x > 0.0 { 1.0 - tail } else { tail }
}

#[test]
fn gelu_is_as_exact_as_documented() {
    assert!((normal_cdf(1.0) - 0.841_344_746_068_543).abs() < 1e-15);
    assert!((normal_cdf(-4.0) - 3.167_124_183_312e-5).abs() < 1e-16);
    let x: Vec<f32> =
        (-4000..=4000).map(|i| i as f32 / 400.0).chain([-1e30, 1e30, -90.0]).collect();
    everywhere(|| {
        let mut got = x.clone();
        fast::gelu(&mut got);
        for (x, got) in x.iter().zip(got) {
            let exact = f64::from(*x) * normal_cdf(f64::from(*x));
            let bound = 2e-7 * f64::from(x.abs().max(1.0));
            assert!((f64::from(got) - exact).abs() <= bound, "gelu({x}) = {got}, not {exact}");
        }
    });
}

#[test]
fn attention_is_the_weighted_mean() {
    everywhere(|| {
        let mut random = SplitMix64(0xa77e);
        for (heads, tokens, dim) in
            [(1, 1, 1), (2, 3, 5), (3, 17, 32), (8, 100, 64), (1, 700, 16), (2, 33, 8), (2, 0, 8)]
        {
            let width = heads * dim;
            // Queries, keys and values side by side, as one linear layer gives them.
            let all: Vec<f32> =
                units(&mut random, tokens * 3 * width).iter().map(|v| v * 3.0).collect();
            let [q, k, v] = [0, 1, 2].map(|part| Rows {
                values: all.get(part * width..).unwrap_or(&[]),
                stride: 3 * width,
            });
            let mut out = vec![f32::NAN; tokens * width];
            fast::attention(Heads { heads, tokens, dim }, q, k, v, &mut out);
            for head in 0..heads {
                for t in 0..tokens {
                    check_query(&out, [q, k, v], [head * dim, t, tokens, dim, width]);
                }
            }
        }
    });
}

fn check_query(out: &[f32], [q, k, v]: [Rows<'_>; 3], shape: [usize; 5]) {
    let [first, t, tokens, dim, width] = shape;
    let at = |rows: Rows<'_>, t: usize, d: usize| rows.row(t, width)[first + d];
    let scores: Vec<f32> = (0..tokens)
        .map(|s| (0..dim).map(|d| f64::from(at(q, t, d)) * f64::from(at(k, s, d))).sum::<f64>())
        .map(|score| score as f32)
        .collect();
    let weights = exact_softmax(&scores, 1.0 / (dim as f64).sqrt());
    for d in 0..dim {
        let exact: f64 = (0..tokens).map(|s| weights[s] * f64::from(at(v, s, d))).sum();
        let got = out[t * width + first + d];
        assert!((f64::from(got) - exact).abs() < 3e-6, "{shape:?}: {got}, not {exact}");
    }
}
