//! From token ids to unit vectors.
//!
//! The canonical result of a text, exactly. All operations are those of `docs/canon.md`; `W` is a weight
//! `[in, out]`, products with it are matrix products (section 3), `+ b` is `add_scaled` with factor 1.
//! 1. For each token: x = (word row + (position row + row 0 of the types)) + 0, layer norm.
//! 2. For each layer: q, k, v = x W + b. For each head, q scaled by s = 1 / sqrt(f32(head size)) as
//!    q·s + 0: a = softmax of each row of q kᵀ; the head's part of c is a v. Then x = x + (c W + b),
//!    layer norm; f = gelu(x W + b); x = x + (f W + b), layer norm.
//! 3. e = x of the first token, or the sum over tokens in order from +0; normalise. With a projection:
//!    e P, normalise.
//!
//! A text's tokens never meet those of another, and a canonical product's bits do not depend on how many
//! rows it has: so texts are put together to ragged batches without padding, of similar length since they
//! are sorted, a few hundred tokens at a time, so that the vectors stay in the cache.

use edge_kernels::canon::{Kernels, NormalizeError};
use edge_kernels::fast;

use super::parts::Parts;

/// Tokens that go through the layers together, where no single text has more: enough for the products to
/// run at full speed, and few enough that what lies between them (about 9 kB a token for MiniLM) stays in
/// the second-level cache.
const CHUNK_TOKENS: usize = 192;

/// Which arithmetic the products use; the rest is canonical in both.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arithmetic {
    Canonical(Kernels),
    Fast,
}

impl Arithmetic {
    fn kernels(self) -> Kernels {
        match self {
            Arithmetic::Canonical(kernels) => kernels,
            Arithmetic::Fast => Kernels::active(),
        }
    }

    fn matmul(self, m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
        match self {
            Arithmetic::Canonical(kernels) => kernels.matmul(m, n, k, a, b, c),
            Arithmetic::Fast => fast::matmul(m, n, k, a, b, c),
        }
    }

    /// `c[r] = a[r] · W + b` for rows of `a`.
    fn linear(self, layer: &Linear, a: &[f32], c: &mut [f32]) {
        let [k, n] = layer.shape;
        self.matmul(a.len() / k, n, k, a, &layer.weight, c);
        for row in c.chunks_exact_mut(n) {
            self.kernels().add_scaled(row, &layer.bias, 1.0);
        }
    }
}

/// `[in, out]`, the transpose of what files hold, with its bias.
#[derive(Debug)]
struct Linear {
    shape: [usize; 2],
    weight: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn apply(&self, kernels: Kernels, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.gain.len()) {
            kernels.layer_norm(row, &self.gain, &self.bias, self.epsilon);
        }
    }
}

#[derive(Debug)]
struct Layer {
    /// `[hidden, 3 hidden]`: queries, keys, values.
    qkv: Linear,
    out: Linear,
    norm: Norm,
    up: Linear,
    down: Linear,
    out_norm: Norm,
}

/// The weights, ready to be multiplied with.
#[derive(Debug)]
pub(super) struct Network {
    hidden: usize,
    heads: usize,
    inner: usize,
    pool_first: bool,
    /// `[vocabulary, hidden]`.
    words: Vec<f32>,
    /// `[positions, hidden]`, the first type's row added.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    /// `[hidden, projected]`, empty where there is none.
    projection: Vec<f32>,
    dim: usize,
}

/// What one chunk needs between layers.
#[derive(Default)]
struct Scratch {
    x: Vec<f32>,
    qkv: Vec<f32>,
    context: Vec<f32>,
    inner: Vec<f32>,
    change: Vec<f32>,
    head: Head,
}

/// One head of one text: `[len, size]`, `[size, len]`, `[len, size]`, `[len, len]`, `[len, size]`.
#[derive(Default)]
struct Head {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    scores: Vec<f32>,
    out: Vec<f32>,
}

impl Network {
    /// `parts` are checked: every tensor has the size that the shape says.
    pub(super) fn new(parts: Parts) -> Self {
        let shape = parts.shape;
        let size = |value: u32| value as usize;
        let (hidden, inner) = (size(shape.hidden), size(shape.inner));
        let epsilon = f32::from_bits(shape.epsilon_bits);
        let mut tensors = parts.tensors.into_iter();
        let mut next = || tensors.next().expect("invariant: a tensor for each line of the layout");
        let words = next();
        let mut positions = next();
        let types = next();
        for row in positions.chunks_exact_mut(hidden) {
            for (value, first) in row.iter_mut().zip(&types[..hidden]) {
                *value += *first;
            }
        }
        let norm = Norm { gain: next(), bias: next(), epsilon };
        let layers = (0..shape.layers)
            .map(|_| {
                let mut qkv = Linear {
                    shape: [hidden, 3 * hidden],
                    weight: vec![0.0; hidden * 3 * hidden],
                    bias: Vec::with_capacity(3 * hidden),
                };
                for part in 0..3 {
                    transpose(&next(), hidden, &mut qkv.weight[part * hidden..], 3 * hidden);
                    qkv.bias.extend(next());
                }
                let out = linear([hidden, hidden], &next(), next());
                let norm = Norm { gain: next(), bias: next(), epsilon };
                let up = linear([hidden, inner], &next(), next());
                let down = linear([inner, hidden], &next(), next());
                let out_norm = Norm { gain: next(), bias: next(), epsilon };
                Layer { qkv, out, norm, up, down, out_norm }
            })
            .collect();
        let dim = if shape.projected == 0 { hidden } else { size(shape.projected) };
        Network {
            hidden,
            heads: size(shape.heads),
            inner,
            pool_first: shape.pool_first,
            words,
            positions,
            norm,
            layers,
            projection: parts.projection,
            dim,
        }
    }

    /// The length of an embedding.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Embeds texts of `lengths` tokens each, one behind the other in `ids`; `out` is `[texts, dim]`.
    ///
    /// # Errors
    /// The first text whose vector has no direction.
    pub(super) fn embed(
        &self,
        arithmetic: Arithmetic,
        ids: &[u32],
        lengths: &[usize],
        out: &mut [f32],
    ) -> Result<(), (usize, NormalizeError)> {
        let mut starts = Vec::with_capacity(lengths.len());
        let mut at = 0;
        for length in lengths {
            starts.push(at);
            at += length;
        }
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|text| lengths[*text]);
        let mut scratch = Scratch::default();
        let mut failed: Option<(usize, NormalizeError)> = None;
        let mut rest = &order[..];
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |text: &&usize| {
                tokens += lengths[**text];
                tokens <= CHUNK_TOKENS
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (chunk, left) = rest.split_at(count);
            rest = left;
            let spans: Vec<&[u32]> = chunk
                .iter()
                .map(|text| &ids[starts[*text]..starts[*text] + lengths[*text]])
                .collect();
            self.layers(arithmetic, &spans, &mut scratch);
            let mut row = 0;
            for (text, span) in chunk.iter().zip(spans) {
                let x = &scratch.x[row * self.hidden..(row + span.len()) * self.hidden];
                row += span.len();
                let out = &mut out[text * self.dim..(text + 1) * self.dim];
                if let Err(error) = self.pool(arithmetic, x, out)
                    && failed.is_none_or(|(first, _)| *text < first)
                {
                    failed = Some((*text, error));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// `scratch.x` becomes the last layer's output for the tokens of all texts, one behind the other.
    fn layers(&self, arithmetic: Arithmetic, texts: &[&[u32]], scratch: &mut Scratch) {
        let (kernels, hidden) = (arithmetic.kernels(), self.hidden);
        let Scratch { x, qkv, context, inner, change, head } = scratch;
        x.clear();
        for text in texts {
            for (id, position) in text.iter().zip(self.positions.chunks_exact(hidden)) {
                let word = &self.words[*id as usize * hidden..][..hidden];
                x.extend(word.iter().zip(position).map(|(word, position)| word + position + 0.0));
            }
        }
        self.norm.apply(kernels, x);
        let tokens = x.len() / hidden;
        resize(qkv, tokens * 3 * hidden);
        resize(context, tokens * hidden);
        resize(change, tokens * hidden);
        resize(inner, tokens * self.inner);
        for layer in &self.layers {
            arithmetic.linear(&layer.qkv, x, qkv);
            let mut row = 0;
            for text in texts {
                let (start, end) = (row, row + text.len());
                row = end;
                let qkv = &qkv[start * 3 * hidden..end * 3 * hidden];
                let context = &mut context[start * hidden..end * hidden];
                self.attend(arithmetic, qkv, context, head);
            }
            arithmetic.linear(&layer.out, context, change);
            kernels.add_scaled(x, change, 1.0);
            layer.norm.apply(kernels, x);
            arithmetic.linear(&layer.up, x, inner);
            kernels.gelu(inner);
            arithmetic.linear(&layer.down, inner, change);
            kernels.add_scaled(x, change, 1.0);
            layer.out_norm.apply(kernels, x);
        }
    }

    /// The attention of one text, all heads.
    fn attend(&self, arithmetic: Arithmetic, qkv: &[f32], context: &mut [f32], head: &mut Head) {
        let (hidden, size) = (self.hidden, self.hidden / self.heads);
        let len = context.len() / hidden;
        let scale = 1.0 / (size as f32).sqrt();
        let Head { q, k, v, scores, out } = head;
        for vectors in [&mut *q, &mut *k, &mut *v, &mut *out] {
            resize(vectors, len * size);
        }
        resize(scores, len * len);
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
            arithmetic.matmul(len, len, size, q, k, scores);
            for row in scores.chunks_exact_mut(len) {
                // Not finite: left as it is, which the end of the text finds, since a NaN or an infinity
                // never turns finite on the way.
                let _ = arithmetic.kernels().softmax(row);
            }
            arithmetic.matmul(len, size, len, scores, v, out);
            for (to, from) in context.chunks_exact_mut(hidden).zip(out.chunks_exact(size)) {
                to[at..at + size].copy_from_slice(from);
            }
        }
    }

    /// One text's vector from those of its tokens, `[len, hidden]`; `out` is all +0.
    fn pool(
        &self,
        arithmetic: Arithmetic,
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), NormalizeError> {
        let kernels = arithmetic.kernels();
        let mut mean = vec![0f32; self.hidden];
        let counted = if self.pool_first { 1 } else { usize::MAX };
        for row in x.chunks_exact(self.hidden).take(counted) {
            kernels.add_scaled(&mut mean, row, 1.0);
        }
        kernels.normalize(&mut mean)?;
        if self.projection.is_empty() {
            out.copy_from_slice(&mean);
            return Ok(());
        }
        arithmetic.matmul(1, self.dim, self.hidden, &mean, &self.projection, out);
        kernels.normalize(out)
    }
}

/// Keeps what is there: every element is written before it is read.
fn resize(values: &mut Vec<f32>, len: usize) {
    values.resize(len, 0.0);
}

fn linear(shape: [usize; 2], weight: &[f32], bias: Vec<f32>) -> Linear {
    let [k, n] = shape;
    let mut turned = vec![0.0; k * n];
    transpose(weight, k, &mut turned, n);
    Linear { shape, weight: turned, bias }
}

/// `to[q, j] = from[j, q]` for `from` `[n, k]` and rows of `to` that are `stride` apart.
fn transpose(from: &[f32], k: usize, to: &mut [f32], stride: usize) {
    for (j, row) in from.chunks_exact(k).enumerate() {
        for (q, value) in row.iter().enumerate() {
            to[q * stride + j] = *value;
        }
    }
}
