//! Attention among the rows of each span, in both arithmetics.

use super::layers::{Arithmetic, is_small};
use super::plan::Run;
use crate::canon::Kernels;
use crate::fast::{self, Heads};
use crate::rows::Rows;
use crate::scratch::Scratch;

/// The most queries whose scores are computed together in canonical attention: their rows stay in the
/// second-level cache, however long the span is.
const QUERIES_MAX: usize = 36;

/// One head of one span in canonical attention: `[len, size]`, `[size, len]`, `[len, size]`, and
/// `[queries, len]`, `[queries, size]` for some queries at a time.
#[derive(Debug, Default)]
pub(super) struct Head {
    q: Scratch,
    k: Scratch,
    v: Scratch,
    scores: Scratch,
    out: Scratch,
}

impl Head {
    pub(super) fn bytes(&self) -> usize {
        let Head { q, k, v, scores, out } = self;
        [q, k, v, scores, out].iter().fold(0, |bytes, space| bytes + space.bytes())
    }
}

/// All spans of a run: `qkv` is `[rows, 3 hidden]`, `context` `[rows, hidden]` and not empty, `hidden` a
/// multiple of `heads`.
pub(super) fn attend(
    run: Run<'_>,
    heads: usize,
    qkv: &[f32],
    context: &mut [f32],
    head: &mut Head,
) {
    let Run { arithmetic, kernels, spans, rows } = run;
    let hidden = context.len() / rows;
    let mut start = 0;
    for len in spans.iter().filter(|len| **len > 0) {
        let end = start + len;
        let qkv = &qkv[start * 3 * hidden..end * 3 * hidden];
        let context = &mut context[start * hidden..end * hidden];
        let shape = Heads { heads, tokens: *len, dim: hidden / heads };
        match arithmetic {
            Arithmetic::Canonical => canonical(kernels, shape, qkv, context, head),
            Arithmetic::Fast => fast(kernels, shape, qkv, context),
        }
        start = end;
    }
}

fn canonical(kernels: Kernels, shape: Heads, qkv: &[f32], context: &mut [f32], head: &mut Head) {
    let Heads { heads, tokens: len, dim: size } = shape;
    let hidden = heads * size;
    let scale = 1.0 / (size as f32).sqrt();
    let Head { q, k, v, scores, out } = head;
    let [q, k, v] = [q, k, v].map(|space| space.take(len * size));
    for at in (0..hidden).step_by(size) {
        for (token, row) in qkv.chunks_exact(3 * hidden).enumerate() {
            let span = token * size..(token + 1) * size;
            for (to, from) in q[span.clone()].iter_mut().zip(&row[at..]) {
                *to = from * scale + 0.0;
            }
            for (d, from) in row[hidden + at..][..size].iter().enumerate() {
                k[d * len + token] = *from;
            }
            v[span].copy_from_slice(&row[2 * hidden + at..][..size]);
        }
        let queries = q.chunks(QUERIES_MAX * size);
        for (q, context) in queries.zip(context.chunks_mut(QUERIES_MAX * hidden)) {
            let count = q.len() / size;
            let (scores, out) = (scores.take(count * len), out.take(count * size));
            kernels.matmul(count, len, size, q, k, scores);
            for row in scores.chunks_exact_mut(len) {
                // Not finite: left as it is, which makes the rows that it counts for not finite.
                let _ = kernels.softmax(row);
            }
            kernels.matmul(count, size, len, scores, v, out);
            for (to, from) in context.chunks_exact_mut(hidden).zip(out.chunks_exact(size)) {
                to[at..at + size].copy_from_slice(from);
            }
        }
    }
}

fn fast(kernels: Kernels, shape: Heads, qkv: &[f32], context: &mut [f32]) {
    let hidden = shape.heads * shape.dim;
    if !qkv.chunks_exact(3 * hidden).all(|row| is_small(kernels, row)) {
        return context.fill(f32::NAN);
    }
    let rows = Rows { values: qkv, stride: 3 * hidden };
    let (keys, values) = (rows.from_column(hidden), rows.from_column(2 * hidden));
    fast::attention(shape, rows, keys, values, context);
}
