//! Scaled dot-product attention over the heads of one text.

use super::{product, scale, softmax_sum, transpose};
use crate::rows::Rows;
use crate::scratch::Scratch;

/// The shape of an [`attention`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads, each with columns of its own.
    pub heads: usize,
    /// Tokens: rows of queries, keys and values.
    pub tokens: usize,
    /// Columns of a head.
    pub dim: usize,
}

/// Scores are computed for as many queries at once as keep them within the second-level cache.
const SCORES_MAX: usize = 32_768;

/// `softmax(q kᵀ / sqrt(dim)) v` for each head (Vaswani et al., arXiv 1706.03762). Row `t` of `q`, `k` and
/// `v` holds token `t`, head `h` of it in columns `h * dim` to `(h + 1) * dim`; `out` is `[tokens,
/// heads * dim]` in the same arrangement. Nothing is masked: tokens of other texts are left out by not
/// being passed. Work space of one head: its keys, transposed, and scores of some queries.
///
/// # Panics
/// If `q`, `k`, `v` or `out` do not have the size that the shape says.
pub fn attention(shape: Heads, q: Rows<'_>, k: Rows<'_>, v: Rows<'_>, out: &mut [f32]) {
    let Heads { heads, tokens, dim } = shape;
    let width = heads.checked_mul(dim).expect("heads times dim fits a usize");
    assert_eq!(Some(out.len()), tokens.checked_mul(width), "out is not [tokens, heads * dim]");
    for (rows, name) in [(q, "q"), (k, "k"), (v, "v")] {
        assert!(rows.hold(tokens, width), "{name} is not [tokens, heads * dim]");
    }
    if out.is_empty() {
        return;
    }
    // Whole registers of scores, of which the last ones are of keys that are zero and never read.
    let stride = tokens.next_multiple_of(16);
    let mut keys = Scratch::new(dim * stride);
    let keys = keys.get();
    let block = (SCORES_MAX / stride).clamp(1, tokens);
    let mut scores = Scratch::new(block * stride);
    let scores = scores.get();
    let factor = 1.0 / (dim as f32).sqrt();
    for head in 0..heads {
        let first = head * dim;
        transpose(k.from_column(first), tokens, dim, keys, stride);
        let keys = Rows { values: keys, stride };
        for top in (0..tokens).step_by(block) {
            let queries = block.min(tokens - top);
            let q = q.from_row(top).from_column(first);
            product([queries, stride, dim], q, keys, scores, stride);
            let out = &mut out[top * width + first..];
            let mut sums = Vec::with_capacity(queries);
            for row in scores.chunks_exact_mut(stride).take(queries) {
                sums.push(softmax_sum(&mut row[..tokens], factor));
            }
            let weights = Rows { values: scores, stride };
            product([queries, dim, tokens], weights, v.from_column(first), out, width);
            for (row, sum) in out.chunks_mut(width).zip(&sums) {
                scale(&mut row[..dim], 1.0 / sum);
            }
        }
    }
}
