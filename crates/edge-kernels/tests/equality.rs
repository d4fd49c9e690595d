//! Every back end of this machine gives the bits of the scalar definition.
#![cfg(not(target_arch = "wasm32"))]

use edge_kernels::canon::{self, Kernels, PackedMatrix, scalar};
use edge_kernels::conformance::SplitMix64;
use edge_kernels::{Simd, available};
use proptest::prelude::*;

/// Equal bits, where any NaN equals any NaN: their payload is not part of a result, they are an error.
#[track_caller]
fn same(what: &str, simd: Simd, got: &[f32], want: &[f32]) {
    let len = want.len();
    assert_eq!(got.len(), len);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let equal = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(equal, "{what} on {simd}, element {i} of {len}: {got:e}, not {want:e}");
        assert!(want.to_bits() != 0x8000_0000, "{what}, element {i} is -0");
    }
}

/// All back ends; scalar among them, since `Kernels` adds its own code around it.
fn back_ends() -> Vec<Kernels> {
    available().into_iter().map(|simd| Kernels::on(simd).expect("available")).collect()
}

/// Every function of one or two vectors.
fn check_vectors(a: &[f32], b: &[f32], w: f32) {
    for kernels in back_ends() {
        let simd = kernels.simd();
        let one = |what: &str, got: f32, want: f32| same(what, simd, &[got], &[want]);
        one("sum16", kernels.sum16(a), scalar::sum16(a));
        one("dot", kernels.dot(a, b), scalar::dot(a, b));
        one("l2_squared", kernels.l2_squared(a, b), scalar::l2_squared(a, b));
        one("sum_squares", kernels.sum_squares(a), scalar::dot(a, a));
        if !a.is_empty() {
            let count = a.len() as f32;
            one("mean", kernels.mean(a), scalar::sum16(a) / count + 0.0);
            one("variance", kernels.variance(a, w), scalar::squared_deviations(a, w) / count);
        }

        let (mut got, mut want) = (a.to_vec(), a.to_vec());
        kernels.add_scaled(&mut got, b, w);
        scalar::add_scaled(&mut want, b, w);
        same("add_scaled", simd, &got, &want);

        let (mut got, mut want) = (a.to_vec(), a.to_vec());
        kernels.exp_shifted(&mut got, w);
        scalar::exp_shifted(&mut want, w);
        same("exp_shifted", simd, &got, &want);

        let mut got = a.to_vec();
        let squares = scalar::dot(a, a);
        if kernels.normalize(&mut got).is_ok() {
            let mut want = a.to_vec();
            scalar::divide(&mut want, squares.sqrt());
            same("normalize", simd, &got, &want);
            assert!(want.iter().all(|v| v.is_finite()));
        } else {
            assert!(squares == 0.0 || !squares.is_finite());
            assert!(got.iter().zip(a).all(|(x, y)| x.to_bits() == y.to_bits()), "{simd}: changed");
        }

        let mut got = a.to_vec();
        kernels.softmax(&mut got).expect("finite");
        let mut want = a.to_vec();
        scalar::exp_shifted(&mut want, scalar::max(a));
        let total = scalar::sum16(&want);
        scalar::divide(&mut want, total);
        same("softmax", simd, &got, &want);
        assert!(want.iter().all(|v| v.is_finite()));

        for scale in [canon::scale_i8(a).expect("finite"), w.abs(), 0.0] {
            let (mut got, mut want) = (vec![99i8; a.len()], vec![99i8; a.len()]);
            kernels.quantize_i8(a, scale, &mut got).expect("finite");
            scalar::quantize_i8(a, scale, &mut want);
            assert_eq!(got, want, "quantize_i8 on {simd}, scale {scale:e}");
        }
    }
}

/// Every function of byte vectors.
fn check_bytes(a: &[i8], b: &[i8], x: &[f32], scale: f32) {
    let exact: i64 = a.iter().zip(b).fold(0, |t, (a, b)| t + i64::from(*a) * i64::from(*b));
    assert_eq!(i64::from(scalar::dot_i8(a, b)), exact);
    for kernels in back_ends() {
        let simd = kernels.simd();
        assert_eq!(i64::from(kernels.dot_i8(a, b)), exact, "{simd}, length {}", a.len());
        let (mut got, mut want) = (x.to_vec(), x.to_vec());
        kernels.accumulate_i8(&mut got, a, scale);
        scalar::accumulate_i8(&mut want, a, scale);
        same("accumulate_i8", simd, &got, &want);
    }
}

#[test]
fn every_length_to_130_at_every_alignment() {
    let mut random = SplitMix64(0xa11);
    for len in 0..=130 {
        for offset in 0..4 {
            let (a, b) = (random.values(len + offset), random.values(len + offset));
            check_vectors(&a[offset..], &b[offset..], random.value());
            let (p, q) = (random.bytes(len + offset), random.bytes(len + offset));
            check_bytes(&p[offset..], &q[offset..], &a[offset..], random.value());
        }
    }
}

#[test]
fn every_length_to_4097() {
    let mut random = SplitMix64(0x4097);
    let (a, b) = (random.values(4097), random.values(4097));
    let (p, q) = (random.bytes(4097), random.bytes(4097));
    for len in 0..=4097 {
        for kernels in back_ends() {
            let (got, want) =
                (kernels.dot(&a[..len], &b[..len]), scalar::dot(&a[..len], &b[..len]));
            same("dot", kernels.simd(), &[got], &[want]);
            let exact = scalar::dot_i8(&p[..len], &q[..len]);
            assert_eq!(kernels.dot_i8(&p[..len], &q[..len]), exact, "{}", kernels.simd());
        }
    }
}

#[test]
fn extreme_bytes_do_not_saturate() {
    for len in [1, 15, 16, 17, 31, 32, 63, 64, 65, 1000, canon::DOT_I8_MAX_LEN] {
        for (p, q) in [(-128, -128), (-128, 127), (127, 127), (127, -128), (-1, 1)] {
            let (a, b) = (vec![p; len], vec![q; len]);
            for kernels in back_ends() {
                let want = i32::from(p) * i32::from(q) * len as i32;
                assert_eq!(kernels.dot_i8(&a, &b), want, "{} {len} {p} {q}", kernels.simd());
                let mut out = [0; 5];
                kernels.dot_i8_many(&a, &b.repeat(5), len, &mut out);
                assert_eq!(out, [want; 5], "{} {len} {p} {q}", kernels.simd());
            }
        }
    }
}

#[test]
#[should_panic(expected = "more than 131,071")]
fn dot_i8_refuses_what_could_overflow() {
    let a = vec![0; canon::DOT_I8_MAX_LEN + 1];
    canon::dot_i8(&a, &a);
}

#[test]
fn batches_equal_single_calls() {
    let mut random = SplitMix64(0xba7c);
    for dim in [0, 1, 7, 16, 17, 63, 64, 65, 128, 256, 300, 384] {
        for count in 0..=9 {
            let (query, rows) = (random.values(dim), random.values(dim * count));
            let (query8, rows8) = (random.bytes(dim), random.bytes(dim * count));
            let (mut want, mut want8) = (vec![0.0; count], vec![0; count]);
            scalar::dot_many(&query, &rows, dim, &mut want);
            scalar::dot_i8_many(&query8, &rows8, dim, &mut want8);
            for kernels in back_ends() {
                let (mut got, mut got8) = (vec![f32::NAN; count], vec![-1; count]);
                kernels.dot_many(&query, &rows, dim, &mut got);
                same("dot_many", kernels.simd(), &got, &want);
                kernels.dot_i8_many(&query8, &rows8, dim, &mut got8);
                assert_eq!(got8, want8, "{} dim {dim}", kernels.simd());
                let mut distances = vec![f32::NAN; count];
                scalar::l2_squared_many(&query, &rows, dim, &mut distances);
                kernels.l2_squared_many(&query, &rows, dim, &mut got);
                same("l2_squared_many", kernels.simd(), &got, &distances);
            }
        }
    }
}

#[test]
fn binary_codes_are_counted_exactly() {
    let mut random = SplitMix64(0xb175);
    for len in (0..=260).chain([384, 512, 1000, 4096]) {
        let (x, y) = (random.values(len), random.values(len));
        let mut codes = [&x, &y].map(|_| vec![u64::MAX; canon::words_of_bits(len)]);
        canon::sign_bits(&x, &mut codes[0]);
        canon::sign_bits(&y, &mut codes[1]);
        for (x, code) in [&x, &y].into_iter().zip(&codes) {
            for bit in 0..code.len() * 64 {
                let set = code[bit / 64] >> (bit % 64) & 1 == 1;
                assert_eq!(set, x.get(bit).is_some_and(|v| *v > 0.0), "bit {bit} of {len}");
            }
        }
        let differ = x.iter().zip(&y).filter(|(x, y)| (**x > 0.0) != (**y > 0.0)).count() as u32;
        let rows = [&codes[0][..], &codes[1], &codes[0]].concat();
        for kernels in back_ends() {
            assert_eq!(kernels.hamming(&codes[0], &codes[1]), differ, "{}", kernels.simd());
            let mut out = [u32::MAX; 3];
            kernels.hamming_many(&codes[0], &rows, &mut out);
            assert_eq!(out, [0, differ, 0], "{} length {len}", kernels.simd());
        }
    }
}

#[test]
fn dequantized_codes_are_the_products() {
    let mut random = SplitMix64(0xdef0);
    for len in (0..=130).chain([384, 4097]) {
        let (codes, scale) = (random.bytes(len), random.value());
        for scale in [scale, 0.0, -1.0] {
            let mut want = vec![f32::NAN; len];
            scalar::dequantize_i8(&codes, scale, &mut want);
            for kernels in back_ends() {
                let mut got = vec![f32::NAN; len];
                kernels.dequantize_i8(&codes, scale, &mut got);
                same("dequantize_i8", kernels.simd(), &got, &want);
            }
        }
    }
}

fn check_matmul(m: usize, n: usize, k: usize, seed: u64) {
    let mut random = SplitMix64(seed);
    let (a, b) = (random.values(m * k), random.values(k * n));
    let mut want = vec![f32::NAN; m * n];
    scalar::matmul(m, n, k, &a, &b, &mut want);
    let elsewhere = PackedMatrix::new(Kernels::active(), k, n, &b);
    for kernels in back_ends() {
        let mut got = vec![f32::NAN; m * n];
        kernels.matmul(m, n, k, &a, &b, &mut got);
        same(&format!("matmul {m}x{n}x{k}"), kernels.simd(), &got, &want);
        let transposed: Vec<f32> = (0..n * k).map(|at| b[at % k * n + at / k]).collect();
        for packed in [
            PackedMatrix::new(kernels, k, n, &b),
            PackedMatrix::transposed(kernels, n, k, &transposed),
            elsewhere.repacked(kernels),
        ] {
            got.fill(f32::NAN);
            packed.multiply(m, &a, &mut got);
            same(&format!("packed matmul {m}x{n}x{k}"), kernels.simd(), &got, &want);
        }
    }
}

#[test]
fn matmul_of_every_small_and_some_odd_shapes() {
    for m in 0..=9 {
        for n in [0, 1, 15, 16, 17, 31, 32, 33, 47, 65] {
            for k in [0, 1, 2, 255, 256, 257, 513] {
                check_matmul(m, n, k, (m * 1_000_003 + n * 1009 + k) as u64);
            }
        }
    }
    for m in 10..=30 {
        check_matmul(m, 49, 70, m as u64);
    }
    // More rows than a block holds, of which the last has few.
    check_matmul(301, 40, 300, 3);
    check_matmul(100, 100, 64, 1);
    check_matmul(65, 130, 700, 2);
}

#[test]
fn dot_is_not_a_one_row_matmul() {
    // The document says so; an implementation that shares the code would be caught here.
    let mut random = SplitMix64(7);
    let differs = (0..50).any(|_| {
        let a: Vec<f32> = (0..384).map(|_| random.unit()).collect();
        let mut c = [0.0];
        canon::matmul(1, 1, 384, &a, &a, &mut c);
        c[0] != canon::dot(&a, &a)
    });
    assert!(differs);
}

/// Finite floats of every size: subnormals, both zeros and values near the greatest among them.
fn any_finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |v| v.is_finite()),
        4 => -1.0f32..1.0,
        1 => (any::<u32>()).prop_map(|bits| f32::from_bits(bits & 0x807f_ffff)),
        1 => prop_oneof![Just(0.0f32), Just(-0.0), Just(f32::MAX), Just(f32::MIN),
                         Just(f32::MIN_POSITIVE), Just(-f32::MIN_POSITIVE)],
    ]
}

/// Values whose squares overflow or vanish, and ordinary ones, with zeros and subnormals strewn in.
fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (0usize..=4097, any::<u64>(), prop_oneof![Just(-149i32), -149..127i32, Just(0)]).prop_map(
        |(len, seed, exponent)| {
            let mut random = SplitMix64(seed);
            // Two steps, since 2^-149 is no normal number.
            let half = exponent / 2;
            let power = |e: i32| f32::from_bits(((e + 127) as u32) << 23);
            let (first, second) = (power(half), power(exponent - half));
            let mut draw = || {
                (0..len)
                    .map(|_| match random.value() * first * second {
                        v if v.is_finite() => v,
                        _ => f32::MAX,
                    })
                    .collect::<Vec<f32>>()
            };
            (draw(), draw())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None,
                                        ..ProptestConfig::default() })]

    #[test]
    fn any_vectors((a, b) in vectors(), w in any_finite(), offset in 0usize..4) {
        let offset = offset.min(a.len());
        check_vectors(&a[offset..], &b[offset..], w);
    }

    #[test]
    fn any_bits(a in prop::collection::vec(any_finite(), 0..200), w in any_finite()) {
        let b: Vec<f32> = a.iter().rev().copied().collect();
        check_vectors(&a, &b, w);
    }

    #[test]
    fn any_bytes(seed in any::<u64>(), len in 0usize..=4097, scale in any_finite()) {
        let mut random = SplitMix64(seed);
        let (a, b, x) = (random.bytes(len), random.bytes(len), random.values(len));
        check_bytes(&a, &b, &x, scale);
    }

    #[test]
    fn any_matmul(m in 0usize..20, n in 0usize..70, k in 0usize..600, seed in any::<u64>()) {
        check_matmul(m, n, k, seed);
    }

    #[test]
    fn top_k_is_the_sorted_prefix(
        hits in prop::collection::vec((0u8..4, prop::collection::vec(any::<u8>(), 0..3)), 0..60),
        k in 0usize..20,
    ) {
        let hits: Vec<(f32, Vec<u8>)> =
            hits.into_iter().map(|(s, id)| (f32::from(s) - 1.5, id)).collect();
        let mut want = hits.clone();
        want.sort_by(canon::rank);
        want.truncate(k);
        prop_assert_eq!(canon::top_k(hits.clone(), k).unwrap(), want.clone());
        let backwards: Vec<_> = hits.into_iter().rev().collect();
        prop_assert_eq!(canon::top_k(backwards, k).unwrap(), want);
    }
}
