//! What the functions mean, apart from whether back ends agree: known answers, limits and errors.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::disallowed_methods, reason = "f64 libm is the reference here")]

use edge_kernels::canon::{self, NonFinite, NormalizeError};
use edge_kernels::conformance::SplitMix64;

#[test]
fn sum16_adds_in_the_stated_order() {
    // 2^24 + 1 is lost, so the order shows: elements 0 and 16 share an accumulator, 0 and 1 do not.
    let big = 16_777_216.0f32;
    let mut x = vec![0.0; 32];
    (x[0], x[16], x[1], x[17]) = (big, 1.0, 1.0, 1.0);
    // (2^24 + 1 -> 2^24), (1 + 1 = 2); the tree's last step adds them.
    assert_eq!(canon::sum16(&x), big + 2.0);
    // The step 8 of the tree adds lane 8 to lane 0 before lane 1 comes.
    let mut x = vec![0.0; 16];
    (x[0], x[8], x[1]) = (big, 1.0, 1.0);
    assert_eq!(canon::sum16(&x), big);
    let mut x = vec![0.0; 16];
    (x[1], x[9], x[0]) = (1.0, 1.0, big);
    assert_eq!(canon::sum16(&x), big + 2.0);
}

#[test]
fn products_are_rounded_before_they_are_added() {
    // (1 + 2^-12)² = 1 + 2^-11 + 2^-24: rounded alone, the last term vanishes; fused, it would survive.
    let v = 1.0 + 2f32.powi(-12);
    let rounded = 1.0 + 2f32.powi(-11);
    let mut x = [-rounded];
    canon::add_scaled(&mut x, &[v], v);
    assert_eq!(x[0].to_bits(), 0);
    let mut a = vec![0.0; 17];
    (a[0], a[16]) = (v, 1.0);
    let mut b = vec![0.0; 17];
    (b[0], b[16]) = (v, -rounded);
    assert_eq!(canon::dot(&a, &b).to_bits(), 0);
    let mut c = [1.0];
    canon::matmul(1, 1, 2, &[v, 1.0], &[v, -rounded], &mut c);
    assert_eq!(c[0].to_bits(), 0);
}

#[test]
fn matmul_sums_blocks_of_256() {
    // One block: 1s vanish beside 2^24 one by one. A new block sums its 256 ones first.
    let mut a = vec![1.0f32; 512];
    a[0] = 16_777_216.0;
    let b = vec![1.0f32; 512];
    let mut c = [0.0];
    canon::matmul(1, 1, 512, &a, &b, &mut c);
    assert_eq!(c[0], 16_777_216.0 + 256.0);
}

#[test]
fn exp_is_within_two_ulp() {
    let mut worst = 0f64;
    let mut check = |x: f32| {
        let (got, want) = (canon::exp(x), f64::from(x).exp());
        let ulp = f64::from((want as f32).next_up()) - f64::from(want as f32);
        let error = (f64::from(got) - want).abs() / ulp;
        assert!(error <= 2.0, "exp({x:e}) = {got:e}, wanted {want:e}: {error} ulp");
        worst = worst.max(error);
    };
    // Every 1,021st float of the range, of both signs.
    for bits in (0..canon::EXP_HIGH.to_bits()).step_by(1021) {
        check(f32::from_bits(bits));
        let negative = -f32::from_bits(bits);
        if negative >= canon::EXP_LOW {
            check(negative);
        }
    }
    for edge in [0.0, -0.0, canon::EXP_LOW, canon::EXP_HIGH, canon::EXP_HIGH.next_down()] {
        check(edge);
    }
    println!("worst error of exp: {worst:.3} ulp");
}

#[test]
fn exp_beyond_its_range() {
    assert_eq!(canon::exp(canon::EXP_LOW.next_down()).to_bits(), 0);
    assert_eq!(canon::exp(f32::MIN).to_bits(), 0);
    assert_eq!(canon::exp(f32::NEG_INFINITY).to_bits(), 0);
    assert_eq!(canon::exp(canon::EXP_HIGH.next_up()), f32::INFINITY);
    assert_eq!(canon::exp(f32::MAX), f32::INFINITY);
    assert!(canon::exp(canon::EXP_LOW) >= f32::MIN_POSITIVE);
    assert!(canon::exp(canon::EXP_HIGH).is_finite());
}

#[test]
fn softmax_answers_and_refusals() {
    let mut x = [0.0, 2f32.ln(), f32::MIN];
    canon::softmax(&mut x).unwrap();
    assert!((x[0] - 1.0 / 3.0).abs() < 1e-6 && (x[1] - 2.0 / 3.0).abs() < 1e-6, "{x:?}");
    assert_eq!(x[2].to_bits(), 0);

    let mut extreme = [f32::MAX, f32::MIN, f32::MAX];
    canon::softmax(&mut extreme).unwrap();
    assert_eq!(extreme, [0.5, 0.0, 0.5]);

    let mut empty: [f32; 0] = [];
    assert_eq!(canon::softmax(&mut empty), Ok(()));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = [1.0, bad];
        assert_eq!(canon::softmax(&mut x), Err(NonFinite));
        assert_eq!(x[0], 1.0);
    }
}

#[test]
fn normalize_answers_and_refusals() {
    let mut x = [3.0, -0.0, 4.0];
    canon::normalize(&mut x).unwrap();
    assert_eq!(x.map(f32::to_bits), [0.6f32, 0.0, 0.8].map(f32::to_bits));

    for zero in [&mut [][..], &mut [0.0, -0.0], &mut [1e-30, -1e-30]] {
        assert_eq!(canon::normalize(zero), Err(NormalizeError::ZeroVector));
    }
    for bad in [f32::NAN, f32::INFINITY, 1e30] {
        let mut x = [1.0, bad];
        assert_eq!(canon::normalize(&mut x), Err(NormalizeError::NonFinite));
        assert_eq!(x[0], 1.0);
    }
}

#[test]
fn normalized_vectors_have_unit_length() {
    let mut random = SplitMix64(11);
    for len in [1, 2, 100, 256, 384] {
        let mut x: Vec<f32> = (0..len).map(|_| random.unit()).collect();
        canon::normalize(&mut x).unwrap();
        let length: f64 = x.iter().fold(0.0, |t, v| t + f64::from(*v) * f64::from(*v)).sqrt();
        assert!((length - 1.0).abs() < 1e-6, "{len}: {length}");
    }
}

#[test]
fn mean_and_variance() {
    let x = [1.0, 2.0, 3.0, 6.0];
    assert_eq!((canon::mean(&x), canon::variance(&x, canon::mean(&x))), (3.0, 3.5));
    assert_eq!((canon::mean(&[]).to_bits(), canon::variance(&[], 1.0).to_bits()), (0, 0));
}

#[test]
fn results_are_close_to_real_arithmetic() {
    let mut random = SplitMix64(12);
    let draw = |random: &mut SplitMix64| (0..777).map(|_| random.unit()).collect::<Vec<f32>>();
    let (a, b) = (draw(&mut random), draw(&mut random));
    let pairs = || a.iter().zip(&b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let dot = pairs().fold(0.0, |t, (a, b)| t + a * b);
    let l2 = pairs().fold(0.0, |t, (a, b)| t + (a - b) * (a - b));
    let sum = pairs().fold(0.0, |t, (a, _)| t + a);
    assert!((f64::from(canon::dot(&a, &b)) - dot).abs() < 1e-4);
    assert!((f64::from(canon::l2_squared(&a, &b)) - l2).abs() < 1e-4);
    assert!((f64::from(canon::sum16(&a)) - sum).abs() < 1e-4);
}

#[test]
fn quantization_rounds_to_even_and_saturates() {
    let mut codes = [0i8; 8];
    let x = [0.5, 1.5, 2.5, -0.5, -1.5, 127.5, -300.0, 3e38];
    canon::quantize_i8(&x, 1.0, &mut codes).unwrap();
    assert_eq!(codes, [0, 2, 2, 0, -2, 127, -127, 127]);

    assert_eq!(canon::scale_i8(&[1.0, -254.0, 3.0]), Ok(2.0));
    assert_eq!(canon::scale_i8(&[]), Ok(0.0));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(canon::scale_i8(&[0.0, bad]), Err(NonFinite));
        assert_eq!(canon::quantize_i8(&[0.0, bad], 1.0, &mut [0; 2]), Err(NonFinite));
    }
    let mut codes = [9i8; 2];
    canon::quantize_i8(&[0.0, 1.0], 0.0, &mut codes).unwrap();
    assert_eq!(codes, [0, 0]);
    assert_eq!(canon::score_i8(-3, 0.5, 2.0), -3.0);
    assert_eq!(canon::score_i8(0, 0.5, -2.0).to_bits(), 0);
}

#[test]
fn finiteness_is_checked_everywhere() {
    for len in [1, 7, 1023, 1024, 1025, 3000] {
        let mut x = vec![f32::MAX; len];
        assert_eq!(canon::check_finite(&x), Ok(()));
        for at in [0, len / 2, len - 1] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                x[at] = bad;
                assert_eq!(canon::check_finite(&x), Err(NonFinite), "{bad} at {at} of {len}");
                x[at] = 0.0;
            }
        }
    }
}

#[test]
fn negative_zero_is_folded() {
    let mut x = [-0.0, 1.0, -1e-45];
    canon::fold_negative_zero(&mut x);
    assert_eq!(x.map(f32::to_bits), [0, 1f32.to_bits(), (-1e-45f32).to_bits()]);
    let mut x = [-0.0; 20];
    canon::add_scaled(&mut x, &[-0.0; 20], 1.0);
    assert!(x.iter().all(|v| v.to_bits() == 0));
    let mut x = [-0.0; 20];
    canon::accumulate_i8(&mut x, &[0; 20], -1.0);
    assert!(x.iter().all(|v| v.to_bits() == 0));
}

#[test]
fn the_float_environment_is_canonical_and_the_check_notices_when_it_is_not() {
    assert!(canon::float_environment_is_canonical());
    #[cfg(target_arch = "x86_64")]
    for (bits, name) in
        [(1 << 15, "FTZ"), (1 << 6, "DAZ"), (1 << 13, "down"), (2 << 13, "up"), (3 << 13, "zero")]
    {
        let seen = with_mxcsr(bits, canon::float_environment_is_canonical);
        assert!(!seen, "{name} went unnoticed");
    }
    assert!(canon::float_environment_is_canonical());
}

/// Runs `f` with bits set in the SSE control register, in its own thread.
#[cfg(target_arch = "x86_64")]
fn with_mxcsr(bits: u32, f: fn() -> bool) -> bool {
    std::thread::spawn(move || {
        let mut saved = 0u32;
        // SAFETY: stores and loads the control register of this thread, which ends right after; only the
        // control bits named are set, none unmasks an exception.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &mut saved, options(nostack));
            let changed = saved | bits;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &changed, options(nostack));
        }
        let seen = f();
        // SAFETY: as above, restores what was read.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &saved, options(nostack)) };
        seen
    })
    .join()
    .expect("no panic")
}
