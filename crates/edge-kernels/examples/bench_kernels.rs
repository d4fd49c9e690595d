//! Times the kernels on each back end of this machine against the scalar definition and prints one JSON
//! object a line: `cargo run --release -p edge-kernels --example bench_kernels`.
//!
//! The value is the best of many batches: what the code costs when nothing disturbs it. The vectors stay
//! in the L1 cache, except in the scans.
#![allow(clippy::disallowed_methods, reason = "a benchmark needs a clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use edge_kernels::canon::Kernels;
use edge_kernels::conformance::SplitMix64;
use edge_kernels::{Simd, available};

fn main() {
    let mut random = SplitMix64(1);
    for dim in [256, 384] {
        let (a, b) = (units(&mut random, dim), units(&mut random, dim));
        compare(&format!("dot_{dim}"), 1.0, |kernels| {
            black_box(kernels.dot(black_box(&a), black_box(&b)));
        });
        compare(&format!("l2_squared_{dim}"), 1.0, |kernels| {
            black_box(kernels.l2_squared(black_box(&a), black_box(&b)));
        });
        let (p, q) = (random.bytes(dim), random.bytes(dim));
        compare(&format!("dot_i8_{dim}"), 1.0, |kernels| {
            black_box(kernels.dot_i8(black_box(&p), black_box(&q)));
        });
        let mut x = vec![0f32; dim];
        compare(&format!("accumulate_i8_{dim}"), 1.0, |kernels| {
            kernels.accumulate_i8(black_box(&mut x), black_box(&p), 1e-6);
        });
        let mut x = a.clone();
        compare(&format!("normalize_{dim}"), 1.0, |kernels| {
            kernels.normalize(black_box(&mut x)).expect("not zero");
        });
    }

    // A shard of 10,000 rows: ns a row.
    let (dim, count) = (256, 10_000);
    let (query, rows) = (units(&mut random, dim), units(&mut random, dim * count));
    let mut out = vec![0f32; count];
    compare("dot_many_256_10000_per_row", count as f64, |kernels| {
        kernels.dot_many(black_box(&query), black_box(&rows), dim, &mut out);
    });
    let (query, rows) = (random.bytes(dim), random.bytes(dim * count));
    let mut out = vec![0i32; count];
    compare("dot_i8_many_256_10000_per_row", count as f64, |kernels| {
        kernels.dot_i8_many(black_box(&query), black_box(&rows), dim, &mut out);
    });

    let logits = units(&mut random, 1000);
    let mut x = logits.clone();
    compare("softmax_1000", 1.0, |kernels| {
        x.copy_from_slice(&logits);
        kernels.softmax(black_box(&mut x)).expect("finite");
    });

    for n in [128, 512] {
        let (a, b) = (units(&mut random, n * n), units(&mut random, n * n));
        let mut c = vec![0f32; n * n];
        let flops = 2.0 * (n as f64).powi(3);
        report(&format!("matmul_{n}"), "GFLOP/s", |kernels| {
            flops / best_ns(|| kernels.matmul(n, n, n, black_box(&a), black_box(&b), &mut c))
        });
    }
}

fn units(random: &mut SplitMix64, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.unit()).collect()
}

/// Times `work` on every back end; one call does `units` units of work.
fn compare(name: &str, units: f64, mut work: impl FnMut(Kernels)) {
    report(name, "ns", |kernels| best_ns(|| work(kernels)) / units);
}

/// Prints a line per back end; `ratio` is how many times as fast as scalar, whatever the unit.
fn report(name: &str, unit: &str, mut measure: impl FnMut(Kernels) -> f64) {
    let mut scalar = None;
    for simd in available() {
        let value = measure(Kernels::on(simd).expect("available"));
        let rival = *scalar.get_or_insert(value);
        let ratio = if unit == "ns" { rival / value } else { value / rival };
        println!(
            "{{\"bench\":\"kernels/{name}\",\"metric\":\"{simd}\",\"value\":{value:.2},\
             \"unit\":\"{unit}\",\"rival\":\"{}\",\"rival_value\":{rival:.2},\"ratio\":{ratio:.2}}}",
            Simd::Scalar
        );
    }
}

/// The least time of one call over batches of about a millisecond, for a fifth of a second.
fn best_ns(mut work: impl FnMut()) -> f64 {
    work();
    let start = Instant::now();
    work();
    let once_ns = start.elapsed().as_nanos().max(1);
    let batch = (1_000_000 / once_ns).clamp(1, 100_000);
    let mut best = f64::MAX;
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..batch {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / batch as f64);
    }
    best
}
