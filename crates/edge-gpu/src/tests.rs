//! The kernels on an adapter, against sums in double precision and against the CPU's kernels, within bounds that
//! follow from the number of roundings; and controls: kernels with a fault that these bounds have to catch.

use std::sync::OnceLock;

use edge_kernels::canon;
use edge_kernels::conformance::SplitMix64;
use proptest::prelude::*;

use crate::device::Sources;
use crate::{
    Choice, DIM_MAX, Gpu, GpuError, Heads, LowRank, OpenError, Product, STAGING_BYTES, Settings,
};

/// Half a unit in the last place of 1, single precision.
const U: f64 = 1.0 / 16_777_216.0;
/// What an adapter that flushes subnormal numbers loses of a term at most.
const FLUSHED: f64 = 1.2e-38;

/// The relative error of a sum of n products in any order: N. Higham, Accuracy and Stability of Numerical
/// Algorithms, section 3.1.
fn gamma(n: usize) -> f64 {
    n as f64 * U / (1.0 - n as f64 * U)
}

/// The adapter that all tests share. Without one they fail, but where `EDGE_REQUIRE_GPU=0` says that they are left out.
fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let open = || match Gpu::open(&Settings::default()) {
        Ok(gpu) => {
            eprintln!("adapter: {:?}", gpu.adapter());
            Some(gpu)
        }
        Err(error) if std::env::var("EDGE_REQUIRE_GPU").is_ok_and(|value| value == "0") => {
            eprintln!("left out, as EDGE_REQUIRE_GPU=0 allows: {error}");
            None
        }
        Err(error) => panic!("{error}; EDGE_REQUIRE_GPU=0 leaves the tests of the GPU out"),
    };
    GPU.get_or_init(open).as_ref()
}

/// An adapter with kernels of which one has a fault: `from` becomes `to`.
fn mutant(from: &str, to: &str) -> Option<Gpu> {
    gpu()?;
    let edited = |source: &'static str| -> &'static str { source.replace(from, to).leak() };
    let sources = Sources::default();
    let changed = Sources {
        matmul: edited(sources.matmul),
        attention: edited(sources.attention),
        lora: edited(sources.lora),
    };
    let differ = [
        sources.matmul != changed.matmul,
        sources.attention != changed.attention,
        sources.lora != changed.lora,
    ];
    assert_eq!(differ.iter().filter(|differs| **differs).count(), 1, "`{from}` is in one kernel");
    Some(Gpu::with_sources(&Settings::default(), changed).unwrap())
}

/// `len` values in -magnitude..magnitude.
fn values(random: &mut SplitMix64, len: usize, magnitude: f32) -> Vec<f32> {
    (0..len).map(|_| random.unit() * magnitude).collect()
}

/// The value that differs most from its reference beside what it may, if one differs by more.
fn beyond(found: &[f32], wanted: &[f64], bounds: &[f64]) -> Option<String> {
    assert!(found.len() == wanted.len() && found.len() == bounds.len());
    let excess = |at: &usize| (f64::from(found[*at]) - wanted[*at]).abs() / bounds[*at];
    let worst = (0..found.len()).max_by(|a, b| excess(a).total_cmp(&excess(b)))?;
    // Written so that NaN is beyond.
    let holds = excess(&worst) <= 1.0;
    (!holds).then(|| {
        let (is, should, bound) = (found[worst], wanted[worst], bounds[worst]);
        format!("value {worst} is {is}, not {should} within {bound:e}")
    })
}

/// c = a b and Σ|a||b|, in double precision.
fn product(Product { m, k, n }: Product, a: &[f32], b: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (mut c, mut size) = (vec![0f64; m * n], vec![0f64; m * n]);
    for (row, terms) in a.chunks(k).enumerate() {
        for (x, line) in terms.iter().zip(b.chunks(n)) {
            for (column, y) in line.iter().enumerate() {
                let term = f64::from(*x) * f64::from(*y);
                c[row * n + column] += term;
                size[row * n + column] += term.abs();
            }
        }
    }
    (c, size)
}

/// Why a matrix product is wrong, if it is.
fn wrong_product(gpu: &Gpu, shape: Product, a: &[f32], b: &[f32]) -> Option<String> {
    let Product { m, k, n } = shape;
    let found = gpu.matmul(shape, a, b).unwrap();
    let (wanted, size) = product(shape, a, b);
    let within = |factor: f64| -> Vec<f64> {
        size.iter().map(|size| factor * gamma(k) * size + factor * k as f64 * FLUSHED).collect()
    };
    let mut canonical = vec![0f32; m * n];
    canon::matmul(m, n, k, a, b, &mut canonical);
    let canonical: Vec<f64> = canonical.into_iter().map(f64::from).collect();
    beyond(&found, &wanted, &within(1.0))
        .or_else(|| beyond(&found, &canonical, &within(2.0)).map(|why| format!("canon: {why}")))
        .map(|why| format!("{shape:?}: {why}"))
}

#[test]
fn products_of_odd_shapes() {
    let Some(gpu) = gpu() else { return };
    let mut random = SplitMix64(1);
    for (m, k, n) in [
        (1, 1, 1),
        (2, 3, 5),
        (7, 13, 17),
        (1, 1000, 1),
        (300, 1, 3),
        (64, 16, 64),
        (65, 63, 129),
        (31, 256, 131),
        (129, 257, 61),
        // Enough of them for wide tiles.
        (1500, 9, 1300),
        (1409, 8, 1540),
        (16_385, 5, 3),
        (2, 31, 16_400),
    ] {
        let shape = Product { m, k, n };
        let (a, b) = (values(&mut random, m * k, 1.0), values(&mut random, k * n, 1.0));
        assert_eq!(wrong_product(gpu, shape, &a, &b), None);
    }
    // Terms of very different sizes, and whole rows of zeros.
    let shape = Product { m: 70, k: 90, n: 80 };
    let mut a = values(&mut random, 70 * 90, 1e6);
    a[90..180].fill(0.0);
    a.iter_mut().step_by(7).for_each(|x| *x *= 1e-9);
    assert_eq!(wrong_product(gpu, shape, &a, &values(&mut random, 90 * 80, 1e-3)), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..Default::default() })]

    #[test]
    fn products_of_any_shape(m in 1usize..150, k in 1usize..150, n in 1usize..150, seed: u64) {
        if let Some(gpu) = gpu() {
            let mut random = SplitMix64(seed);
            let (a, b) = (values(&mut random, m * k, 1.0), values(&mut random, k * n, 1.0));
            prop_assert_eq!(wrong_product(gpu, Product { m, k, n }, &a, &b), None);
        }
    }

    #[test]
    fn attention_of_any_shape(
        heads in 1usize..4, tokens in 1usize..90, dim in 1usize..200, causal: bool, seed: u64,
    ) {
        if let Some(gpu) = gpu() {
            let shape = Heads { heads, tokens, dim, causal };
            let mut random = SplitMix64(seed);
            let [q, k, v] = [3.0, 3.0, 1.0].map(|size| values(&mut random, heads * tokens * dim, size));
            prop_assert_eq!(wrong_attention(gpu, shape, &q, &k, &v), None);
        }
    }

    #[test]
    fn lora_of_any_shape(
        tokens in 1usize..20, inputs in 1usize..300, outputs in 1usize..300, rank in 1usize..40, seed: u64,
    ) {
        if let Some(gpu) = gpu() {
            let shape = LowRank { tokens, inputs, outputs, rank, scale: 1.5 };
            prop_assert_eq!(wrong_lora(gpu, shape, &mut SplitMix64(seed)), None);
        }
    }
}

#[test]
fn a_product_without_its_last_terms_is_caught() {
    // One entry point after the other: 8 and 16 deep.
    for (from, to, (m, k, n)) in [
        ("(shape.k + 7u) / 8u", "shape.k / 8u", (1409, 17, 1540)),
        ("(shape.k + 15u) / 16u", "shape.k / 16u", (65, 163, 129)),
        // The last column of a tile of another one's.
        (
            "columns(after + high, column + 4u * low)",
            "columns(after + high, column)",
            (65, 163, 129),
        ),
    ] {
        let Some(wrong) = mutant(from, to) else { return };
        let mut random = SplitMix64(2);
        let (a, b) = (values(&mut random, m * k, 1.0), values(&mut random, k * n, 1.0));
        let found = wrong_product(&wrong, Product { m, k, n }, &a, &b);
        assert!(found.is_some(), "`{to}` passed");
    }
}

/// Attention in double precision, and how far from it the kernel may be: see the comments.
fn attention(shape: Heads, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let Heads { heads, tokens, dim, causal } = shape;
    let scale = 1.0 / (dim as f64).sqrt();
    let dot = |a: &[f32], b: &[f32]| -> (f64, f64) {
        a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (a, b)| {
            let term = f64::from(*a) * f64::from(*b);
            (sum + term, size + term.abs())
        })
    };
    let (mut out, mut bounds) = (Vec::new(), Vec::new());
    for at in 0..heads * tokens {
        let (head, query) = (at / tokens, at % tokens);
        let row = |x: &[f32], token: usize| -> Vec<f32> {
            x[(head * tokens + token) * dim..][..dim].to_vec()
        };
        let seen = if causal { query + 1 } else { tokens };
        let ours = row(q, query);
        let scores: Vec<(f64, f64)> = (0..seen)
            .map(|token| {
                let (sum, size) = dot(&ours, &row(k, token));
                // Scale and its own rounding, the scaled query, and a sum of dim products.
                (sum * scale, size * scale * gamma(dim + 3))
            })
            .collect();
        let top = scores.iter().fold(f64::NEG_INFINITY, |top, (score, _)| top.max(*score));
        let off = scores.iter().fold(0f64, |off, (_, error)| off.max(*error));
        // What a weight and its part of a sum are off by, relative to it: its score's error and that of the greatest
        // one; the rounded difference; WGSL's exp, 3 + 2 |x| ulp of 2 U each, there and for what it was rescaled by at
        // the end; and one rounding for each term, each rescaling by a tile and each merge.
        let sums = (seen + seen / 4 + 32) as f64 * U;
        let weights: Vec<(f64, f64)> = scores
            .iter()
            .map(|(score, error)| {
                let x = (score - top).abs().min(200.0);
                let relative = error + off + 2.0 * x * U + 2.0 * (6.0 + 4.0 * x) * U + sums;
                ((score - top).exp(), relative.exp_m1())
            })
            .collect();
        let total: f64 = weights.iter().map(|(weight, _)| weight).sum();
        let total_off: f64 = weights.iter().map(|(weight, off)| weight * off).sum::<f64>() / total;
        for d in 0..dim {
            let (mut sum, mut size, mut error) = (0.0, 0.0, 0.0);
            for (token, (weight, off)) in weights.iter().enumerate() {
                let term = weight / total * f64::from(v[(head * tokens + token) * dim + d]);
                sum += term;
                size += term.abs();
                error += term.abs() * off;
            }
            out.push(sum);
            // The weights' errors above and below the line, the division (2.5 ulp) and the product with it; more than the
            // first order of them where they are not small.
            let first = error + size * (total_off + 6.0 * U);
            bounds.push(first * (1.0 + total_off + 1e-3) + seen as f64 * FLUSHED);
        }
    }
    (out, bounds)
}

/// The same by the canonical kernels: scores, softmax and values one after the other.
fn canonical_attention(shape: Heads, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f64> {
    let Heads { heads, tokens, dim, causal } = shape;
    let mut out = Vec::new();
    let scale = 1.0 / (dim as f32).sqrt();
    for head in 0..heads {
        let part = |x: &[f32]| x[head * tokens * dim..][..tokens * dim].to_vec();
        let (q, k, v) = (part(q), part(k), part(v));
        for query in 0..tokens {
            let seen = if causal { query + 1 } else { tokens };
            let ours: Vec<f32> = q[query * dim..][..dim].iter().map(|x| x * scale).collect();
            let columns: Vec<f32> =
                (0..dim * seen).map(|at| k[(at % seen) * dim + at / seen]).collect();
            let mut weights = vec![0f32; seen];
            canon::matmul(1, seen, dim, &ours, &columns, &mut weights);
            canon::softmax(&mut weights).unwrap();
            let mut row = vec![0f32; dim];
            canon::matmul(1, dim, seen, &weights, &v[..seen * dim], &mut row);
            out.extend(row.into_iter().map(f64::from));
        }
    }
    out
}

fn wrong_attention(gpu: &Gpu, shape: Heads, q: &[f32], k: &[f32], v: &[f32]) -> Option<String> {
    let found = gpu.attention(shape, q, k, v).unwrap();
    let (wanted, bounds) = attention(shape, q, k, v);
    let twice: Vec<f64> = bounds.iter().map(|bound| 2.0 * bound).collect();
    beyond(&found, &wanted, &bounds)
        .or_else(|| {
            let canonical = canonical_attention(shape, q, k, v);
            beyond(&found, &canonical, &twice).map(|why| format!("canon: {why}"))
        })
        .map(|why| format!("{shape:?}: {why}"))
}

#[test]
fn attention_of_odd_shapes() {
    let Some(gpu) = gpu() else { return };
    let mut random = SplitMix64(3);
    for (heads, tokens, dim) in [
        (1, 1, 1),
        (2, 7, 3),
        (1, 33, 64),
        (3, 65, 65),
        (4, 129, 32),
        (1, 100, 128),
        (2, 40, 200),
        (1, 50, 300),
        (1, 37, DIM_MAX),
        (1, 1024, 64),
    ] {
        for causal in [false, true] {
            let shape = Heads { heads, tokens, dim, causal };
            let [q, k, v] =
                [2.0, 2.0, 1.0].map(|size| values(&mut random, heads * tokens * dim, size));
            assert_eq!(wrong_attention(gpu, shape, &q, &k, &v), None);
        }
    }
}

#[test]
fn attention_with_scores_past_the_range_of_exp() {
    let Some(gpu) = gpu() else { return };
    let mut random = SplitMix64(4);
    for (size, causal) in [(12.0, false), (12.0, true), (60.0, false), (60.0, true)] {
        // Scores of some thousands: exp of one alone would overflow.
        let shape = Heads { heads: 2, tokens: 80, dim: 48, causal };
        let [q, k] = [size, size].map(|size| values(&mut random, 2 * 80 * 48, size));
        let v = values(&mut random, 2 * 80 * 48, 1.0);
        assert_eq!(wrong_attention(gpu, shape, &q, &k, &v), None);
    }
    // Scores of 1e30, all negative but one: the token with it is all that counts.
    let shape = Heads { heads: 1, tokens: 40, dim: 4, causal: false };
    let q = vec![1e15; 160];
    let mut k = vec![-1e15; 160];
    k[4 * 33..4 * 34].fill(1e15);
    let v = values(&mut random, 160, 1.0);
    let found = gpu.attention(shape, &q, &k, &v).unwrap();
    let only: Vec<f64> = v[4 * 33..4 * 34].iter().copied().map(f64::from).collect();
    for row in found.chunks(4) {
        assert_eq!(beyond(row, &only, &[1e-6; 4]), None);
    }
}

#[test]
fn attention_with_a_fault_is_caught() {
    for (from, to, dim, causal) in [
        // Without the last tile; without rescaling; a token that looks ahead; a row of invocations lost; a part of
        // the scores lost.
        ("first < end;", "first + tile_keys < end;", 64, false),
        ("sum = sum * shrink", "sum = sum", 64, false),
        ("min(seen_end, query + 1u)", "min(seen_end, query + 2u)", 64, true),
        ("row < 8u", "row < 7u", 64, false),
        ("other < parts", "other < parts - 1u", 128, false),
    ] {
        let Some(wrong) = mutant(from, to) else { return };
        let mut random = SplitMix64(5);
        let shape = Heads { heads: 2, tokens: 70, dim, causal };
        let [q, k, v] = [2.0, 2.0, 1.0].map(|size| values(&mut random, 2 * 70 * dim, size));
        assert!(wrong_attention(&wrong, shape, &q, &k, &v).is_some(), "`{to}` passed");
    }
}

fn wrong_lora(gpu: &Gpu, shape: LowRank, random: &mut SplitMix64) -> Option<String> {
    let LowRank { tokens, inputs, outputs, rank, scale } = shape;
    let x = values(random, tokens * inputs, 1.0);
    let base = values(random, tokens * outputs, 1.0);
    let (a, b) = (values(random, inputs * rank, 0.1), values(random, rank * outputs, 1.0));
    let found = gpu.lora(shape, &x, &base, &a, &b).unwrap();
    let (scale, down) = (f64::from(scale), Product { m: tokens, k: inputs, n: rank });
    let (h, h_size) = product(down, &x, &a);
    let (mut wanted, mut bounds, mut canonical) = (Vec::new(), Vec::new(), Vec::new());
    let (mut low, mut up) = (vec![0f32; tokens * rank], vec![0f32; tokens * outputs]);
    canon::matmul(tokens, rank, inputs, &x, &a, &mut low);
    canon::matmul(tokens, outputs, rank, &low, &b, &mut up);
    for at in 0..tokens * outputs {
        let (token, output) = (at / outputs, at % outputs);
        let (mut sum, mut size) = (0.0, 0.0);
        for i in 0..rank {
            let b = f64::from(b[i * outputs + output]);
            sum += h[token * rank + i] * b;
            size += h_size[token * rank + i] * b.abs();
        }
        let base = f64::from(base[at]);
        wanted.push(base + scale * sum);
        // Errors of the first product go through the second; then scale, and the sum with base.
        let own = size * (gamma(inputs) + gamma(rank + 3)) * (1.0 + gamma(rank + 3));
        bounds.push(2.0 * U * base.abs() + scale.abs() * own + (inputs + rank) as f64 * FLUSHED);
        canonical.push(base + scale * f64::from(up[at]));
    }
    let twice: Vec<f64> = bounds.iter().map(|bound| 2.0 * bound).collect();
    beyond(&found, &wanted, &bounds)
        .or_else(|| beyond(&found, &canonical, &twice).map(|why| format!("canon: {why}")))
        .map(|why| format!("{shape:?}: {why}"))
}

#[test]
fn lora_of_odd_shapes() {
    let Some(gpu) = gpu() else { return };
    let mut random = SplitMix64(6);
    for (tokens, inputs, outputs, rank, scale) in [
        (1, 1, 1, 1, 1.0),
        (3, 7, 11, 2, -0.5),
        (1, 4096, 513, 16, 2.0),
        (5, 130, 257, 17, 0.125),
        (2, 63, 255, 64, 1.0),
        (2, 65, 256, 33, 0.0),
        (17, 48, 40, 8, 3.0),
    ] {
        let shape = LowRank { tokens, inputs, outputs, rank, scale };
        assert_eq!(wrong_lora(gpu, shape, &mut random), None);
    }
}

#[test]
fn lora_with_a_fault_is_caught() {
    for (from, to) in [
        ("while (input < shape.inputs)", "while (input + 16u < shape.inputs)"),
        ("apart >= 16u", "apart >= 32u"),
        ("i < shape.rank;", "i + 1u < shape.rank;"),
        ("base[to] + shape.scale * sum", "base[to] + sum"),
    ] {
        let Some(wrong) = mutant(from, to) else { return };
        let shape = LowRank { tokens: 3, inputs: 100, outputs: 90, rank: 17, scale: 0.5 };
        assert!(wrong_lora(&wrong, shape, &mut SplitMix64(7)).is_some(), "`{to}` passed");
    }
}

/// The kernels are valid WGSL without any extension, and within the limits that every WebGPU adapter has. Needs none.
#[test]
fn kernels_are_plain_webgpu() {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let sources = Sources::default();
    let least = wgpu::Limits::default();
    for (source, entries) in [(sources.matmul, 2), (sources.attention, 1), (sources.lora, 2)] {
        let module = naga::front::wgsl::parse_str(source).unwrap();
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        let info = validator.validate(&module).unwrap();
        assert_eq!(module.entry_points.len(), entries);
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap();
        for (at, entry) in module.entry_points.iter().enumerate() {
            let invocations: u32 = entry.workgroup_size.iter().product();
            assert!(invocations <= least.max_compute_invocations_per_workgroup);
            assert!(entry.workgroup_size[0] <= least.max_compute_workgroup_size_x);
            let used = info.get_entry_point(at);
            let memory: u32 = module
                .global_variables
                .iter()
                .filter(|(handle, global)| {
                    global.space == naga::AddressSpace::WorkGroup && !used[*handle].is_empty()
                })
                .map(|(_, global)| layouter[global.ty].size)
                .sum();
            assert!(memory <= least.max_compute_workgroup_storage_size, "{}: {memory}", entry.name);
        }
    }
    // The control: an extension is refused.
    let control = naga::front::wgsl::parse_str("var<private> x: f64;").unwrap();
    Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&control).unwrap_err();
}

#[test]
fn transfers_of_many_pieces_keep_every_value() {
    let Some(gpu) = gpu() else { return };
    const { assert!(STAGING_BYTES <= 16_000_000) };
    let piece = STAGING_BYTES as usize / 16;
    for len in [1, 2, piece - 1, piece, piece + 1, 2 * piece, 5 * piece + 77] {
        let sent: Vec<f32> = (0..len).map(|at| f32::from_bits(0x3f80_0000 + at as u32)).collect();
        let buffer = gpu.upload(&sent).unwrap();
        assert_eq!(buffer.len(), len);
        assert!(gpu.download(&buffer).unwrap() == sent, "{len} values");
    }
    assert_eq!(gpu.download(&gpu.allocate(3).unwrap()).unwrap(), [0.0; 3]);
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_sent() {
    let Some(gpu) = gpu() else { return };
    let buffer = |len| gpu.allocate(len).unwrap();
    let (a, b, c) = (buffer(6), buffer(12), buffer(8));
    let shape = Product { m: 2, k: 3, n: 4 };
    let mut batch = gpu.batch();
    batch.matmul(shape, &a, &b, &c).unwrap();
    for (said, refused) in [
        ("b has 6 values, its shape needs 12", batch.matmul(shape, &a, &a, &c)),
        ("the result has 6 values, its shape needs 8", batch.matmul(shape, &a, &b, &a)),
        (
            "the result is to be written over a: give it a buffer of its own",
            batch.matmul(Product { m: 2, k: 4, n: 4 }, &c, &buffer(16), &c),
        ),
        (
            "between has 6 values, its shape needs 2",
            batch.lora(
                LowRank { tokens: 1, inputs: 6, outputs: 6, rank: 2, scale: 1.0 },
                [&a, &buffer(6), &b, &b],
                &buffer(6),
                &buffer(6),
            ),
        ),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), said);
    }
    batch.submit().unwrap();
    gpu.wait().unwrap();
    assert_eq!(gpu.allocate(0).unwrap_err(), GpuError::Empty { what: "a buffer's length" });
    let many = Heads { heads: 65_536, tokens: 1, dim: 1, causal: false };
    let long = vec![0.0; 65_536];
    let refused = gpu.attention(many, &long, &long, &long).unwrap_err();
    assert!(matches!(refused, GpuError::TooLarge { what: "heads", .. }), "{refused}");
    assert!(matches!(gpu.allocate(1 << 40), Err(GpuError::TooLarge { .. })));

    let small = Gpu::open(&Settings { memory_bytes_max: 100, ..Settings::default() }).unwrap();
    let held = small.allocate(20).unwrap();
    assert_eq!(
        small.allocate(6).unwrap_err(),
        GpuError::Memory { needed: 24, held: 80, most: 100 }
    );
    drop(held);
    small.allocate(25).unwrap();
}

#[test]
fn a_lost_gpu_is_an_error_of_every_later_call() {
    if gpu().is_none() {
        return;
    }
    let gpu = Gpu::open(&Settings::default()).unwrap();
    let buffer = gpu.upload(&[1.0, 2.0]).unwrap();
    gpu.lose();
    for result in [
        gpu.download(&buffer).map(drop),
        gpu.upload(&[1.0]).map(drop),
        gpu.wait(),
        gpu.batch().submit(),
        gpu.matmul(Product { m: 1, k: 1, n: 1 }, &[1.0], &[1.0]).map(drop),
    ] {
        assert!(matches!(result, Err(GpuError::Lost(_))), "{result:?}");
    }
}

#[test]
fn an_adapter_that_is_not_there_is_named_with_what_to_install() {
    let adapter = Choice::Named("no adapter has this name".to_owned());
    let error = Gpu::open(&Settings { adapter, ..Settings::default() }).unwrap_err();
    assert!(matches!(error, OpenError::NoAdapter { .. }), "{error}");
    assert!(error.to_string().contains("mesa-vulkan-drivers"), "{error}");
}

#[test]
fn a_kernel_that_does_not_compile_is_named() {
    if gpu().is_none() {
        return;
    }
    let sources =
        Sources { lora: "@compute @workgroup_size(1) fn up() { oops }", ..Sources::default() };
    let wrong = Gpu::with_sources(&Settings::default(), sources).unwrap();
    let shape = LowRank { tokens: 1, inputs: 1, outputs: 1, rank: 1, scale: 1.0 };
    for _ in 0..2 {
        let error = wrong.lora(shape, &[1.0], &[1.0], &[1.0], &[1.0]).unwrap_err();
        assert!(matches!(error, GpuError::Kernel { kernel: "down", .. }), "{error}");
    }
    // The others are not hurt.
    let found = wrong.matmul(Product { m: 1, k: 1, n: 1 }, &[2.0], &[3.0]);
    assert_eq!(found, Ok(vec![6.0]));
}
