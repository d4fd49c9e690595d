//! Operations in parts: the same bits wherever the parts run, and the right numbers.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::disallowed_methods, reason = "threads run parts, f64 libm is the reference")]

use std::sync::atomic::{AtomicUsize, Ordering};

use edge_kernels::backend::{Backend, Serial};
use edge_kernels::canon::{self, Kernels};
use edge_kernels::conformance::SplitMix64;
use edge_kernels::operations::{
    self as ops, Attention, BLOCK, Elementwise, Lora, OperationError, PART, Reduction,
};

/// Threads that take the last part first.
struct Threads(usize);

impl Backend for Threads {
    fn width(&self) -> usize {
        self.0
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0 {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= parts {
                            break;
                        }
                        part(parts - 1 - at);
                    }
                });
            }
        });
    }
}

fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut random = SplitMix64(seed);
    (0..len).map(|_| random.unit()).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|value| value.to_bits()).collect()
}

/// What `of` gives on one thread and on several, which have to be the same bits.
fn same(of: impl Fn(&dyn Backend) -> Result<Vec<f32>, OperationError>) -> Vec<f32> {
    let alone = of(&Serial).expect("a result");
    for width in [2, 16] {
        assert_eq!(bits(&of(&Threads(width)).expect("a result")), bits(&alone), "{width} threads");
    }
    alone
}

fn close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() <= tolerance, "{got} is not {want}");
    }
}

#[test]
fn a_product_in_parts_is_the_canonical_product() {
    let (m, n, k) = (600, 300, 257);
    assert!(m > 2 * ops::matmul_rows(n, k), "the test needs parts");
    let (a, b) = (values(1, m * k), values(2, k * n));
    let got = same(|backend| ops::matmul(backend, [m, n, k], &a, &b));
    let mut want = vec![0f32; m * n];
    canon::matmul(m, n, k, &a, &b, &mut want);
    assert_eq!(bits(&got), bits(&want));
}

#[test]
fn reductions_are_of_blocks_however_many_run() {
    for len in [1, 15, BLOCK - 1, BLOCK, BLOCK + 1, PART, 2 * PART + 17] {
        let (a, b) = (values(3, len), values(4, len));
        let dot = same(|backend| Ok(vec![ops::dot(backend, &a, &b)?]))[0];
        let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        close(&[dot], &[exact], 1e-6 * len as f64);
        let of = |reduction| same(|backend| Ok(vec![ops::reduce(backend, reduction, &a)?]))[0];
        let sum: f64 = a.iter().map(|a| f64::from(*a)).sum();
        close(&[of(Reduction::Sum)], &[sum], 1e-6 * len as f64);
        close(&[of(Reduction::Mean)], &[sum / len as f64], 1e-6);
        assert_eq!(of(Reduction::Max), a.iter().copied().fold(f32::MIN, f32::max));
        assert_eq!(of(Reduction::Min), a.iter().copied().fold(f32::MAX, f32::min));
        if len <= BLOCK {
            assert_eq!(dot.to_bits(), canon::dot(&a, &b).to_bits());
            assert_eq!(of(Reduction::Sum).to_bits(), canon::sum16(&a).to_bits());
        }
    }
}

/// The control of the test above: another cut gives other bits, so a cut that followed the number of threads would
/// have been seen.
#[test]
fn another_cut_gives_other_bits() {
    let a = values(3, 2 * PART);
    let whole = ops::reduce(&Serial, Reduction::Sum, &a).unwrap();
    let halves = [canon::sum16(&a[..PART]), canon::sum16(&a[PART..])];
    assert_ne!(whole.to_bits(), canon::sum16(&halves).to_bits());
}

#[test]
fn functions_of_elements_mean_what_they_say() {
    let len = PART + 33;
    let (mut a, b) = (values(5, len), values(6, len));
    a.iter_mut().for_each(|a| *a *= 300.0);
    (a[0], a[1], a[2]) = (-0.0, 200.0, -200.0);
    let of = |operation: Elementwise| {
        let b = if operation.is_of_two() { &b[..] } else { &[] };
        same(|backend| ops::elementwise(backend, operation, &a, b))
    };
    for (at, got) in of(Elementwise::Add).into_iter().enumerate() {
        assert_eq!(got, a[at] + b[at]);
    }
    for (at, got) in of(Elementwise::Mul).into_iter().enumerate() {
        assert_eq!(got, a[at] * b[at]);
    }
    let relu = of(Elementwise::Relu);
    assert!(relu.iter().zip(&a).all(|(got, a)| *got == a.max(0.0)));
    assert_eq!(relu[0].to_bits(), 0, "never -0");
    let want: Vec<f64> = a.iter().map(|a| 1.0 / (1.0 + (-f64::from(*a)).exp())).collect();
    let sigmoid = of(Elementwise::Sigmoid);
    close(&sigmoid, &want, 3e-7);
    assert_eq!((sigmoid[0], sigmoid[1], sigmoid[2].to_bits()), (0.5, 1.0, 0));
}

/// Straightforward attention in f64.
fn reference(shape: Attention, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f64> {
    let Attention { heads, tokens, dim, causal } = shape;
    let mut out = Vec::new();
    for head in 0..heads {
        let row = |array: &[f32], token: usize| -> Vec<f64> {
            let from = (head * tokens + token) * dim;
            array[from..from + dim].iter().map(|x| f64::from(*x)).collect()
        };
        for query in 0..tokens {
            let seen = if causal { query + 1 } else { tokens };
            let scores: Vec<f64> = (0..seen)
                .map(|key| {
                    let products = row(q, query).into_iter().zip(row(k, key)).map(|(q, k)| q * k);
                    products.sum::<f64>() / (dim as f64).sqrt()
                })
                .collect();
            let max = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            for column in 0..dim {
                let terms = weights.iter().enumerate().map(|(key, w)| w * row(v, key)[column]);
                out.push(terms.sum::<f64>() / total);
            }
        }
    }
    out
}

#[test]
fn attention_is_that_of_the_definition() {
    for causal in [false, true] {
        let shape = Attention { heads: 2, tokens: 70, dim: 24, causal };
        let size = 2 * 70 * 24;
        let mut q = values(7, size);
        q.iter_mut().for_each(|q| *q *= 20.0);
        let (k, v) = (values(8, size), values(9, size));
        let got = same(|backend| ops::attention(backend, shape, &q, &k, &v));
        close(&got, &reference(shape, &q, &k, &v), 2e-6);
    }
    // More than one part a head.
    let shape = Attention { heads: 1, tokens: 700, dim: 64, causal: true };
    assert!(ops::attention_rows(700, 64) < 700);
    let [q, k, v] = [10, 11, 12].map(|seed| values(seed, 700 * 64));
    let got = same(|backend| ops::attention(backend, shape, &q, &k, &v));
    close(&got, &reference(shape, &q, &k, &v), 2e-6);
}

#[test]
fn a_low_rank_update_is_that_of_the_definition() {
    let (rows, shape) = (9, Lora { from: 40, to: 30, rank: 4, scale: 0.5 });
    let (x, base) = (values(13, rows * 40), values(14, rows * 30));
    let (a, b) = (values(15, 40 * 4), values(16, 4 * 30));
    let got = same(|backend| ops::lora(backend, shape, [&x, &base], [&a, &b]));
    let mut want = Vec::new();
    for row in 0..rows {
        for column in 0..30 {
            let through = |rank: usize| -> f64 {
                let narrow: f64 =
                    (0..40).map(|i| f64::from(x[row * 40 + i]) * f64::from(a[i * 4 + rank])).sum();
                narrow * f64::from(b[rank * 30 + column])
            };
            let update: f64 = (0..4).map(through).sum();
            want.push(f64::from(base[row * 30 + column]) + 0.5 * update);
        }
    }
    close(&got, &want, 1e-5);
}

#[test]
fn every_vector_unit_gives_the_same_bits() {
    let (a, b) = (values(17, BLOCK + 5), values(18, BLOCK + 5));
    let shape = Attention { heads: 1, tokens: 33, dim: 20, causal: true };
    let of = |kernels: Kernels| {
        let sigmoid = ops::elementwise_partial(kernels, Elementwise::Sigmoid, &a, &[]).unwrap();
        let dot = ops::dot_partial(kernels, &a, &b).unwrap();
        let rows = 33 * 20;
        let attention =
            ops::attention_partial(kernels, shape, 0, &a[..rows], &b[..rows], &a[rows..2 * rows]);
        let lora = Lora { from: 20, to: 10, rank: 3, scale: 2.0 };
        let lora = ops::lora_partial(kernels, lora, [&a[..660], &b[..330]], [&a[..60], &b[..30]]);
        bits(&[sigmoid, dot, attention.unwrap(), lora.unwrap()].concat())
    };
    let scalar = of(Kernels::on(edge_kernels::Simd::Scalar).unwrap());
    for simd in edge_kernels::available() {
        assert_eq!(of(Kernels::on(simd).unwrap()), scalar, "{simd}");
    }
}

#[test]
fn what_has_no_result_is_refused() {
    let shape = |error: OperationError| matches!(error, OperationError::Shape(_));
    let number = |error: OperationError| matches!(error, OperationError::NonFinite(_));
    let two = [1.0, 2.0];
    assert!(shape(ops::matmul(&Serial, [2, 2, 2], &two, &two).unwrap_err()));
    assert!(shape(ops::matmul(&Serial, [usize::MAX, 2, 2], &two, &two).unwrap_err()));
    let wide = ops::matmul_partial(Kernels::active(), [1 << 40, 1 << 40, 0], &[], &[]);
    assert!(shape(wide.unwrap_err()));
    assert!(shape(ops::dot(&Serial, &two, &[1.0]).unwrap_err()));
    assert!(shape(ops::elementwise(&Serial, Elementwise::Add, &two, &[]).unwrap_err()));
    assert!(shape(ops::elementwise(&Serial, Elementwise::Relu, &two, &two).unwrap_err()));
    for reduction in [Reduction::Max, Reduction::Min, Reduction::Mean] {
        assert!(shape(ops::reduce(&Serial, reduction, &[]).unwrap_err()));
    }
    assert_eq!(ops::reduce(&Serial, Reduction::Sum, &[]).unwrap().to_bits(), 0);
    for bad in [f32::NAN, f32::INFINITY] {
        let x = [1.0, bad];
        assert!(number(ops::reduce(&Serial, Reduction::Max, &x).unwrap_err()));
        assert!(number(ops::elementwise(&Serial, Elementwise::Relu, &x, &[]).unwrap_err()));
        assert!(number(ops::matmul(&Serial, [1, 1, 2], &x, &two).unwrap_err()));
    }
    let large = [f32::MAX; 2];
    assert!(number(ops::dot(&Serial, &large, &large).unwrap_err()));
    assert!(number(ops::elementwise(&Serial, Elementwise::Add, &large, &large).unwrap_err()));
    let none = Attention { heads: 1, tokens: 1, dim: 2, causal: false };
    assert!(shape(ops::attention(&Serial, none, &two, &two, &[1.0]).unwrap_err()));
    let first = ops::attention_partial(Kernels::active(), none, 1, &two, &two, &two);
    assert!(shape(first.unwrap_err()));
    let lora = Lora { from: 1, to: 1, rank: 1, scale: 1.0 };
    assert!(shape(ops::lora(&Serial, lora, [&two, &[1.0]], [&[1.0], &[1.0]]).unwrap_err()));
    for name in ["add", "mul", "relu", "sigmoid"] {
        assert_eq!(Elementwise::named(name).unwrap().to_string(), name);
    }
    assert!(Reduction::named("sum").is_some() && Reduction::named("product").is_none());
}

/// The inputs of `js/test/compute.test.mjs`, which compares what the built module gives with the same file.
fn of_the_tab(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) / 4_294_967_296.0 - 0.5) as f32
    };
    (0..len).map(|_| next()).collect()
}

/// FNV-1a with 64 bits over the little-endian bytes.
fn fnv(values: &[f32]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in values.iter().flat_map(|value| value.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[test]
fn operations_are_the_bits_that_a_tab_gives() {
    let (m, k, n) = (500, 301, 258);
    let (a, b) = (of_the_tab(1, m * k), of_the_tab(2, k * n));
    let long = [of_the_tab(3, 2_200_001), of_the_tab(4, 2_200_001)];
    let shape = Attention { heads: 3, tokens: 301, dim: 32, causal: true };
    let [q, keys, v] = [5, 6, 7].map(|seed| of_the_tab(seed, 3 * 301 * 32));
    let lora = Lora { from: 64, to: 48, rank: 4, scale: 0.5 };
    let update = [(8, 100 * 64), (9, 100 * 48), (10, 64 * 4), (11, 4 * 48)];
    let update = update.map(|(seed, len)| of_the_tab(seed, len));
    let [x, base, low, high] = update.each_ref().map(Vec::as_slice);
    let on = &Threads(2);
    let two = |op| ops::elementwise(on, op, &long[0], &long[1]).expect("a result");
    let one = |op| ops::elementwise(on, op, &long[0], &[]).expect("a result");
    let reduced = |op| vec![ops::reduce(on, op, &long[0]).expect("a result")];
    let found = [
        ("matmul", ops::matmul(on, [m, n, k], &a, &b).expect("a result")),
        ("dot", vec![ops::dot(on, &long[0], &long[1]).expect("a result")]),
        ("add", two(Elementwise::Add)),
        ("mul", two(Elementwise::Mul)),
        ("relu", one(Elementwise::Relu)),
        ("sigmoid", one(Elementwise::Sigmoid)),
        ("sum", reduced(Reduction::Sum)),
        ("max", reduced(Reduction::Max)),
        ("min", reduced(Reduction::Min)),
        ("mean", reduced(Reduction::Mean)),
        ("attention", ops::attention(on, shape, &q, &keys, &v).expect("a result")),
        ("lora", ops::lora(on, lora, [x, base], [low, high]).expect("a result")),
    ];
    let expected = include_str!("golden/operations.txt");
    let lines: Vec<String> =
        found.iter().map(|(name, values)| format!("{name} {}", fnv(values))).collect();
    assert_eq!(lines.join("\n"), expected.trim_end());
}
