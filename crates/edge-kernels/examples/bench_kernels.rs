//! Times the kernels against rivals and prints one JSON object a line:
//! `cargo run --release -p edge-kernels --example bench_kernels`, or `cargo xtask bench kernels`.
//!
//! The two sides take turns in rounds of some milliseconds; a value is the median over the rounds of this
//! thread's CPU time, so that other work on the machine disturbs both alike. `ratio` is how many times as
//! fast as the rival ours is.
#![allow(clippy::disallowed_methods, reason = "a benchmark runs other programs")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;

use edge_kernels::canon::{Kernels, PackedMatrix, scalar};
use edge_kernels::conformance::SplitMix64;
use edge_kernels::fast::{self, Heads};
use edge_kernels::{Rows, Simd, available};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let mut random = SplitMix64(1);
    vectors(&mut random);
    scans(&mut random);
    products(&mut random);
    layers(&mut random);
    wasm();
}

/// What a vector of an embedding needs, against the scalar definition.
fn vectors(random: &mut SplitMix64) {
    for dim in [256, 384] {
        let (a, b) = (units(random, dim), units(random, dim));
        against_scalar(&format!("dot_{dim}"), 1.0, |kernels| {
            black_box(kernels.dot(black_box(&a), black_box(&b)));
        });
        against_scalar(&format!("l2_squared_{dim}"), 1.0, |kernels| {
            black_box(kernels.l2_squared(black_box(&a), black_box(&b)));
        });
        let (p, q) = (random.bytes(dim), random.bytes(dim));
        against_scalar(&format!("dot_i8_{dim}"), 1.0, |kernels| {
            black_box(kernels.dot_i8(black_box(&p), black_box(&q)));
        });
        let mut x = vec![0f32; dim];
        against_scalar(&format!("accumulate_i8_{dim}"), 1.0, |kernels| {
            kernels.accumulate_i8(black_box(&mut x), black_box(&p), 1e-6);
        });
        let mut x = a.clone();
        against_scalar(&format!("normalize_{dim}"), 1.0, |kernels| {
            kernels.normalize(black_box(&mut x)).expect("not zero");
        });
    }
    let logits = units(random, 1000);
    let mut x = logits.clone();
    against_scalar("softmax_1000", 1.0, |kernels| {
        x.copy_from_slice(&logits);
        kernels.softmax(black_box(&mut x)).expect("finite");
    });
}

/// A shard of 10,000 rows: ns a row.
fn scans(random: &mut SplitMix64) {
    let (dim, count) = (256, 10_000);
    let (query, rows) = (units(random, dim), units(random, dim * count));
    let mut out = vec![0f32; count];
    against_scalar("dot_many_256_10000_per_row", count as f64, |kernels| {
        kernels.dot_many(black_box(&query), black_box(&rows), dim, &mut out);
    });
    let (query, rows) = (random.bytes(dim), random.bytes(dim * count));
    let mut out = vec![0i32; count];
    against_scalar("dot_i8_many_256_10000_per_row", count as f64, |kernels| {
        kernels.dot_i8_many(black_box(&query), black_box(&rows), dim, &mut out);
    });
}

/// Matrix products against gemm, which uses fused multiply-add: cubes, and the shapes of a sentence
/// encoder of 384 dimensions.
fn products(random: &mut SplitMix64) {
    let cubes = [128, 384, 512, 1024].map(|n| (n, n, n));
    let layers =
        [(12, 384, 384), (12, 1536, 384), (12, 384, 1536), (100, 384, 384), (100, 1536, 384)];
    for (m, n, k) in cubes.into_iter().chain(layers) {
        let (a, b) = (units(random, m * k), units(random, k * n));
        let mut ours = vec![0f32; m * n];
        let mut theirs = vec![0f32; m * n];
        let flops = 2.0 * (m * n * k) as f64;
        let mut compare = |form: &str, simd: &str, work: &mut dyn FnMut(&mut [f32])| {
            let [own, rival] = take_turns(&mut || work(&mut ours), &mut || {
                gemm(m, n, k, black_box(&a), black_box(&b), &mut theirs)
            });
            let bench = format!("matmul_{form}_{m}x{n}x{k}");
            print(&bench, simd, "GFLOP/s", flops / own, "gemm", flops / rival);
        };
        for simd in available().into_iter().filter(|simd| *simd != Simd::Scalar) {
            let kernels = Kernels::on(simd).expect("available");
            let mut work = |c: &mut [f32]| kernels.matmul(m, n, k, black_box(&a), black_box(&b), c);
            compare("canon", simd.name(), &mut work);
        }
        let simd = edge_kernels::active();
        let packed = PackedMatrix::new(Kernels::active(), k, n, &b);
        let mut work = |c: &mut [f32]| packed.multiply(m, black_box(&a), c);
        compare("canon_packed", simd.name(), &mut work);
        let mut work = |c: &mut [f32]| fast::matmul(m, n, k, black_box(&a), black_box(&b), c);
        compare("fast", simd.name(), &mut work);
        let mut work = |c: &mut [f32]| fast::matmul_packed(m, black_box(&a), &packed, c);
        compare("fast_packed", simd.name(), &mut work);
    }
    let n = 128;
    let (a, b) = (units(random, n * n), units(random, n * n));
    let (mut ours, mut theirs) = (vec![0f32; n * n], vec![0f32; n * n]);
    let flops = 2.0 * (n as f64).powi(3);
    for simd in available() {
        let kernels = Kernels::on(simd).expect("available");
        let [own, rival] = take_turns(
            &mut || kernels.matmul(n, n, n, black_box(&a), black_box(&b), &mut ours),
            &mut || scalar::matmul(n, n, n, black_box(&a), black_box(&b), &mut theirs),
        );
        print("matmul_128", simd.name(), "GFLOP/s", flops / own, "scalar", flops / rival);
    }
}

/// The other parts of an encoder's layer in fast form.
fn layers(random: &mut SplitMix64) {
    let simd = edge_kernels::active().name();
    let shape = Heads { heads: 8, tokens: 100, dim: 64 };
    let width = shape.heads * shape.dim;
    let all = units(random, shape.tokens * 3 * width);
    let [q, k, v] = [0, 1, 2].map(|part| Rows { values: &all[part * width..], stride: 3 * width });
    let (mut ours, mut theirs) = (vec![0f32; 51_200], vec![0f32; 51_200]);
    let [own, rival] =
        take_turns(&mut || fast::attention(shape, black_box(q), k, v, &mut ours), &mut || {
            attention_by_gemm(shape, black_box(q), k, v, &mut theirs)
        });
    for (own, theirs) in ours.iter().zip(&theirs) {
        assert!((own - theirs).abs() < 1e-5, "the two attentions differ: {own}, {theirs}");
    }
    print("attention_fast_8x100x64", simd, "us", own / 1e3, "gemm", rival / 1e3);

    let x = units(random, 12 * 1536);
    let (mut ours, mut theirs) = (x.clone(), x.clone());
    let count = x.len() as f64;
    let [own, rival] = take_turns(
        &mut || {
            ours.copy_from_slice(&x);
            fast::gelu(black_box(&mut ours));
        },
        &mut || {
            theirs.copy_from_slice(&x);
            for v in black_box(&mut theirs) {
                let inner = 0.797_884_6 * (*v + 0.044_715 * *v * *v * *v);
                *v = 0.5 * *v * (1.0 + inner.tanh());
            }
        },
    );
    print("gelu_fast_per_element", simd, "ns", own / count, "std_tanh", rival / count);
    let [own, rival] = take_turns(
        &mut || {
            ours.copy_from_slice(&x);
            black_box(&mut ours).chunks_mut(128).for_each(fast::softmax);
        },
        &mut || {
            theirs.copy_from_slice(&x);
            for row in black_box(&mut theirs).chunks_mut(128) {
                let max = row.iter().copied().fold(f32::MIN, f32::max);
                row.iter_mut().for_each(|v| *v = (*v - max).exp());
                let sum = row.iter().fold(0.0, |sum, v| sum + v);
                row.iter_mut().for_each(|v| *v /= sum);
            }
        },
    );
    print("softmax_fast_128_per_element", simd, "ns", own / count, "std_exp", rival / count);
    let (gain, bias) = (units(random, 384), units(random, 384));
    let [own, rival] = take_turns(
        &mut || {
            ours.copy_from_slice(&x);
            fast::layer_norm(black_box(&mut ours), &gain, &bias, 1e-12);
        },
        &mut || {
            theirs.copy_from_slice(&x);
            for row in black_box(&mut theirs).chunks_mut(384) {
                let mean = row.iter().fold(0.0, |sum, v| sum + v) / 384.0;
                let squares = row.iter().fold(0.0, |sum, v| sum + (v - mean) * (v - mean));
                let factor = 1.0 / (squares / 384.0 + 1e-12).sqrt();
                for ((v, gain), bias) in row.iter_mut().zip(&gain).zip(&bias) {
                    *v = (*v - mean) * factor * gain + bias;
                }
            }
        },
    );
    print("layer_norm_fast_384_per_element", simd, "ns", own / count, "loop", rival / count);
}

/// The ordinary way: two products by gemm around a softmax of every row, head by head.
fn attention_by_gemm(shape: Heads, q: Rows<'_>, k: Rows<'_>, v: Rows<'_>, out: &mut [f32]) {
    let Heads { heads, tokens, dim } = shape;
    let width = heads * dim;
    assert!(out.len() == tokens * width && [q, k, v].iter().all(|m| m.hold(tokens, width)));
    let (row, one) = (q.stride as isize, 1);
    let mut scores = vec![0f32; tokens * tokens];
    let side = tokens as isize;
    let product = gemm_f32::gemm::f32::get_gemm_fn();
    for head in 0..heads {
        let [q, k, v] = [q, k, v].map(|m| m.values[head * dim..].as_ptr());
        let none = gemm_common::Parallelism::None;
        let factor = 1.0 / (dim as f32).sqrt();
        // SAFETY: strides and sizes are those asserted above; the outputs are borrowed exclusively.
        unsafe {
            let c = scores.as_mut_ptr();
            product(
                tokens, tokens, dim, c, one, side, false, q, one, row, k, row, one, 0.0, factor,
                false, false, false, none,
            );
        }
        scores.chunks_mut(tokens).for_each(fast::softmax);
        // SAFETY: as above.
        unsafe {
            let c = out[head * dim..].as_mut_ptr();
            let (p, none) = (scores.as_ptr(), gemm_common::Parallelism::None);
            product(
                tokens,
                dim,
                tokens,
                c,
                one,
                width as isize,
                false,
                p,
                one,
                side,
                v,
                one,
                row,
                0.0,
                1.0,
                false,
                false,
                false,
                none,
            );
        }
    }
}

fn gemm(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let (wide, deep) = (n as isize, k as isize);
    let none = gemm_common::Parallelism::None;
    // SAFETY: row-major matrices of the sizes asserted; c is borrowed exclusively.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            wide,
            false,
            a.as_ptr(),
            1,
            deep,
            b.as_ptr(),
            1,
            wide,
            0.0,
            1.0,
            false,
            false,
            false,
            none,
        );
    }
}

/// The wasm module under node, against the same kernels without vectors; says why not, if it cannot.
fn wasm() {
    match wasm_figures("-Ctarget-feature=+simd128", "512 384 128")
        .and_then(|vector| Ok((vector, wasm_figures("", "512 384 128")?)))
    {
        Err(why) => eprintln!("wasm is not measured: {why}"),
        Ok((vector, plain)) => {
            for ((n, own), (_, rival)) in vector.into_iter().zip(plain) {
                let flops = 2.0 * n.powi(3);
                let bench = format!("matmul_canon_wasm_{n}x{n}x{n}");
                print(&bench, "wasm128", "GFLOP/s", flops / own, "wasm_scalar", flops / rival);
            }
        }
    }
}

/// Builds the module with `flags` and runs it: sizes and nanoseconds.
fn wasm_figures(flags: &str, sizes: &str) -> Result<Vec<(f64, f64)>, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| here.join("../../target"), PathBuf::from)
        .join("wasm-kernels");
    let target = "wasm32-unknown-unknown";
    let run = |command: &mut Command| {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    run(Command::new("cargo")
        .current_dir(here)
        .args(["build", "--quiet", "--release", "--example", "wasm_kernels", "--target", target])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", flags))?;
    let module = folder.join(target).join("release/examples/wasm_kernels.wasm");
    let script = here.join("examples/wasm_kernels.mjs");
    let text =
        run(Command::new("node").arg(script).arg(module).args(sizes.split_ascii_whitespace()))?;
    let line = |line: &str| {
        let (n, ns) = line.split_once(' ')?;
        Some((n.parse().ok()?, ns.parse().ok()?))
    };
    text.lines().map(|text| line(text).ok_or_else(|| format!("node said `{text}`"))).collect()
}

fn units(random: &mut SplitMix64, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.unit()).collect()
}

/// Times `work` on every back end beside the scalar one; one call does `units` units of work.
fn against_scalar(name: &str, units: f64, work: impl FnMut(Kernels)) {
    let work = std::cell::RefCell::new(work);
    let scalar = Kernels::on(Simd::Scalar).expect("always available");
    for simd in available().into_iter().filter(|simd| *simd != Simd::Scalar) {
        let kernels = Kernels::on(simd).expect("available");
        let [own, rival] =
            take_turns(&mut || work.borrow_mut()(kernels), &mut || work.borrow_mut()(scalar));
        print(name, simd.name(), "ns", own / units, "scalar", rival / units);
    }
}

/// A figure beside its rival; a rate when the unit is one of GFLOP/s, else a time.
fn print(bench: &str, metric: &str, unit: &str, value: f64, rival: &str, rival_value: f64) {
    let ratio = if unit == "GFLOP/s" { value / rival_value } else { rival_value / value };
    println!(
        "{{\"bench\":\"kernels/{bench}\",\"metric\":\"{metric}\",\"value\":{value:.4},\
         \"unit\":\"{unit}\",\"rival\":\"{rival}\",\"rival_value\":{rival_value:.4},\
         \"ratio\":{ratio:.3}}}",
    );
}

/// Nanoseconds of one call of each, the median over rounds in which they take turns.
fn take_turns<'a>(
    ours: &'a mut (dyn FnMut() + 'a),
    theirs: &'a mut (dyn FnMut() + 'a),
) -> [f64; 2] {
    const ROUNDS: usize = 21;
    const ROUND_NS: f64 = 3e6;
    let time = |work: &mut dyn FnMut(), times: usize| {
        let before = cpu_ns();
        for _ in 0..times {
            work();
        }
        (cpu_ns() - before) / times as f64
    };
    let mut calls = [ours, theirs];
    let times = calls.each_mut().map(|work| {
        time(*work, 1);
        let once = time(*work, 3).max(1.0);
        ((ROUND_NS / once) as usize).clamp(1, 1_000_000)
    });
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (side, work) in calls.iter_mut().enumerate() {
            rounds[side].push(time(*work, times[side]));
        }
    }
    rounds.map(|mut rounds| {
        rounds.sort_by(f64::total_cmp);
        rounds[ROUNDS / 2]
    })
}

/// The CPU time of this thread.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
