//! The definition of canon-1 in plain Rust: one loop per sentence of `docs/canon.md`, no dispatch, no
//! shared code with the vector back ends. It is the twin that every back end is compared with, and what
//! an independent check of a result should call.

use super::{
    EXP_HIGH, EXP_LOW, EXP_POLY, GELU_P, GELU_POLY, LN2_HIGH, LN2_LOW, LOG2_E, MATMUL_BLOCK,
};

/// `acc[i mod 16] += term(i)` for ascending `i`, then the halving tree 8, 4, 2, 1.
fn sum16_of(len: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut acc = [0f32; 16];
    for i in 0..len {
        acc[i % 16] += term(i);
    }
    for s in [8, 4, 2, 1] {
        for j in 0..s {
            acc[j] += acc[j + s];
        }
    }
    acc[0]
}

/// See [`crate::canon::sum16`].
pub fn sum16(x: &[f32]) -> f32 {
    sum16_of(x.len(), |i| x[i])
}

/// See [`crate::canon::dot`].
///
/// # Panics
/// If the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dot of different lengths");
    sum16_of(a.len(), |i| a[i] * b[i])
}

/// See [`crate::canon::l2_squared`].
///
/// # Panics
/// If the lengths differ.
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "distance of different lengths");
    sum16_of(a.len(), |i| {
        let d = a[i] - b[i];
        d * d
    })
}

/// See [`crate::canon::variance`].
pub fn squared_deviations(x: &[f32], mean: f32) -> f32 {
    sum16_of(x.len(), |i| {
        let d = x[i] - mean;
        d * d
    })
}

/// See [`crate::canon::dot_many`].
///
/// # Panics
/// If `query` is not `dim` long or `rows` not `out.len() * dim`.
pub fn dot_many(query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) {
    assert_eq!(query.len(), dim, "query is not dim long");
    assert_eq!(rows.len(), out.len() * dim, "rows and out differ in count");
    for (row, score) in out.iter_mut().enumerate() {
        *score = dot(query, &rows[row * dim..(row + 1) * dim]);
    }
}

/// See [`crate::canon::l2_squared_many`].
///
/// # Panics
/// If `query` is not `dim` long or `rows` not `out.len() * dim`.
pub fn l2_squared_many(query: &[f32], rows: &[f32], dim: usize, out: &mut [f32]) {
    assert_eq!(query.len(), dim, "query is not dim long");
    assert_eq!(rows.len(), out.len() * dim, "rows and out differ in count");
    for (row, distance) in out.iter_mut().enumerate() {
        *distance = l2_squared(query, &rows[row * dim..(row + 1) * dim]);
    }
}

/// `x[d] = x[d] / divisor`, -0 folded.
pub fn divide(x: &mut [f32], divisor: f32) {
    for v in x {
        *v = *v / divisor + 0.0;
    }
}

/// See [`crate::canon::exp`].
pub fn exp(x: f32) -> f32 {
    if x < EXP_LOW {
        return 0.0;
    }
    if x > EXP_HIGH {
        return f32::INFINITY;
    }
    let n = (x * LOG2_E).round_ties_even();
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = EXP_POLY[0];
    for c in &EXP_POLY[1..] {
        p = p * r + c;
    }
    let y = (p * (r * r) + r) + 1.0;
    let half = (n as i32) >> 1;
    let rest = n as i32 - half;
    y * power_of_two(half) * power_of_two(rest)
}

/// 2^e for -126 <= e <= 127, by its bits.
fn power_of_two(e: i32) -> f32 {
    f32::from_bits(((e + 127) as u32) << 23)
}

/// `x[d] = exp(x[d] - shift)`.
pub fn exp_shifted(x: &mut [f32], shift: f32) {
    for v in x {
        *v = exp(*v - shift);
    }
}

/// The greatest element; +0 for an empty slice. Elements must be finite.
pub fn max(x: &[f32]) -> f32 {
    let mut greatest = match x.first() {
        Some(first) => *first,
        None => return 0.0,
    };
    for v in x {
        if *v > greatest {
            greatest = *v;
        }
    }
    greatest + 0.0
}

/// See [`crate::canon::matmul`].
///
/// # Panics
/// If a slice does not have the size its shape says.
pub fn matmul(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert_eq!(a.len(), m * k, "a is not [m, k]");
    assert_eq!(b.len(), k * n, "b is not [k, n]");
    assert_eq!(c.len(), m * n, "c is not [m, n]");
    for i in 0..m {
        for j in 0..n {
            let mut total = 0f32;
            let mut start = 0;
            while start < k {
                let end = (start + MATMUL_BLOCK).min(k);
                let mut partial = 0f32;
                for q in start..end {
                    partial += a[i * k + q] * b[q * n + j];
                }
                total += partial;
                start = end;
            }
            c[i * n + j] = total;
        }
    }
}

/// See [`crate::canon::accumulate_i8`].
///
/// # Panics
/// If the lengths differ.
pub fn accumulate_i8(x: &mut [f32], row: &[i8], scale: f32) {
    assert_eq!(x.len(), row.len(), "accumulate of different lengths");
    for (v, q) in x.iter_mut().zip(row) {
        *v = (*v + f32::from(*q) * scale) + 0.0;
    }
}

/// See [`crate::canon::add_scaled`].
///
/// # Panics
/// If the lengths differ.
pub fn add_scaled(x: &mut [f32], y: &[f32], w: f32) {
    assert_eq!(x.len(), y.len(), "add_scaled of different lengths");
    for (v, y) in x.iter_mut().zip(y) {
        *v = (*v + *y * w) + 0.0;
    }
}

/// See [`crate::canon::dot_i8`].
///
/// # Panics
/// If the lengths differ.
pub fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    assert_eq!(a.len(), b.len(), "dot of different lengths");
    let mut total = 0i32;
    for (a, b) in a.iter().zip(b) {
        total += i32::from(*a) * i32::from(*b);
    }
    total
}

/// See [`crate::canon::dot_i8_many`].
///
/// # Panics
/// If `query` is not `dim` long or `rows` not `out.len() * dim`.
pub fn dot_i8_many(query: &[i8], rows: &[i8], dim: usize, out: &mut [i32]) {
    assert_eq!(query.len(), dim, "query is not dim long");
    assert_eq!(rows.len(), out.len() * dim, "rows and out differ in count");
    for (row, score) in out.iter_mut().enumerate() {
        *score = dot_i8(query, &rows[row * dim..(row + 1) * dim]);
    }
}

/// See [`crate::canon::quantize_i8`].
///
/// # Panics
/// If the lengths differ.
pub fn quantize_i8(x: &[f32], scale: f32, out: &mut [i8]) {
    assert_eq!(x.len(), out.len(), "quantize of different lengths");
    for (q, v) in out.iter_mut().zip(x) {
        *q = if scale == 0.0 {
            0
        } else {
            (*v / scale).round_ties_even().clamp(-127.0, 127.0) as i8
        };
    }
}

/// See [`crate::canon::gelu`].
pub fn gelu(x: &mut [f32]) {
    for v in x {
        let a = v.abs();
        let t = 1.0 / (a * GELU_P + 1.0);
        let mut p = GELU_POLY[0];
        for c in &GELU_POLY[1..] {
            p = p * t + c;
        }
        let q = (p * t) * exp((a * a) * -0.5);
        let positive = if *v > 0.0 { *v } else { 0.0 };
        *v = (positive - a * q) + 0.0;
    }
}

/// See [`crate::canon::layer_norm`].
///
/// # Panics
/// If the lengths differ.
pub fn layer_norm(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    assert!(x.len() == gain.len() && x.len() == bias.len(), "layer norm of different lengths");
    let count = x.len() as f32;
    let mean = sum16(x) / count;
    let variance = squared_deviations(x, mean) / count;
    let r = 1.0 / (variance + epsilon).sqrt();
    for ((v, gain), bias) in x.iter_mut().zip(gain).zip(bias) {
        *v = ((((*v - mean) * r) * gain) + bias) + 0.0;
    }
}

/// See [`crate::canon::dequantize_i8`].
///
/// # Panics
/// If the lengths differ.
pub fn dequantize_i8(codes: &[i8], scale: f32, out: &mut [f32]) {
    assert_eq!(codes.len(), out.len(), "dequantize of different lengths");
    for (v, q) in out.iter_mut().zip(codes) {
        *v = f32::from(*q) * scale + 0.0;
    }
}

/// See [`crate::canon::hamming`].
///
/// # Panics
/// If the lengths differ.
pub fn hamming(a: &[u64], b: &[u64]) -> u32 {
    assert_eq!(a.len(), b.len(), "hamming distance of different lengths");
    let mut total = 0;
    for (a, b) in a.iter().zip(b) {
        total += (a ^ b).count_ones();
    }
    total
}

/// See [`crate::canon::hamming_many`].
///
/// # Panics
/// If `rows` is not `out.len()` times as long as `query`.
pub fn hamming_many(query: &[u64], rows: &[u64], out: &mut [u32]) {
    let words = query.len();
    assert_eq!(rows.len(), out.len() * words, "rows and out differ in count");
    for (row, distance) in out.iter_mut().enumerate() {
        *distance = hamming(query, &rows[row * words..(row + 1) * words]);
    }
}
