//! The fast functions in plain Rust: what runs without a vector unit, and what the others are twins of.

use crate::canon;
use crate::rows::Rows;

pub(super) fn product(
    [m, n, k]: [usize; 3],
    a: Rows<'_>,
    b: Rows<'_>,
    c: &mut [f32],
    c_stride: usize,
) {
    for i in 0..m {
        let c = &mut c[i * c_stride..][..n];
        c.fill(0.0);
        for (q, x) in a.row(i, k).iter().enumerate() {
            for (c, y) in c.iter_mut().zip(b.row(q, n)) {
                *c += x * y;
            }
        }
    }
}

pub(super) fn softmax_sum(x: &mut [f32], factor: f32) -> f32 {
    let max = canon::scalar::max(x);
    let mut sum = 0.0;
    for v in x {
        *v = canon::exp((*v - max) * factor);
        sum += *v;
    }
    sum
}

pub(super) fn layer_norm(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    for row in x.chunks_exact_mut(gain.len()) {
        canon::scalar::layer_norm(row, gain, bias, epsilon);
    }
}
