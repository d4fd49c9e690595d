//! From token ids to unit vectors.
//!
//! The canonical result of a text, exactly. All operations are those of `docs/canon.md`; `W` is a weight
//! `[in, out]`, products with it are matrix products (section 3), `+ b` is `add_scaled` with factor 1.
//! 1. For each token: x = (word row + (position row + row 0 of the types)) + 0, layer norm.
//! 2. For each layer: q, k, v = x W + b. For each head, q scaled by s = 1 / sqrt(f32(head size)) as
//!    q·s + 0: a = softmax of each row of q kᵀ; the head's part of c is a v. Then x = x + (c W + b),
//!    layer norm; f = gelu(x W + b); x = x + (f W + b), layer norm.
//! 3. e = x of the first token, or the sum over tokens in order from +0; normalise. With a projection:
//!    e P, normalise. Where the sum of squares is less than 2^-100 there is no direction: an error.
//!
//! A row that goes into a layer norm with a sum of squares that is not below 2^100 becomes all NaN, since an
//! infinite variance would make it the norm's bias, which looks like a result. Then its text has no direction,
//! but for rows that the first token, where it alone counts, never meets.
//!
//! A text's tokens never meet those of another, and a canonical product's bits do not depend on how many
//! rows it has: so texts are put together to ragged batches without padding, of similar length since they
//! are sorted, a few hundred tokens at a time, so that the vectors stay in the cache.

use std::sync::Arc;

use edge_kernels::Rows;
use edge_kernels::canon::{Kernels, NormalizeError, PackedMatrix};
use edge_kernels::fast::{self, Heads};

use super::parts::Parts;

/// Tokens that go through the layers together, where no single text has more: the rows that a product
/// packs at once with AVX-512, so that weights are read from memory as seldom as may be.
const CHUNK_TOKENS: usize = 240;

/// The most queries whose scores are computed together in canonical attention: their rows stay in the
/// second-level cache, however long the text is.
const QUERIES_MAX: usize = 36;

/// Of rows whose sum of squares is below it, 2^100, neither a variance nor a score overflows.
const SQUARES_MAX: f32 = f32::from_bits((127 + 100) << 23);

/// The least sum of squares of a vector with a direction, 2^-100: far from where squares lose digits.
const SQUARES_MIN: f32 = f32::from_bits((127 - 100) << 23);

/// Which arithmetic an embedding is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Canonical,
    Fast,
}

/// A linear layer: `[in, out]`, packed for one back end, with its bias.
#[derive(Clone)]
struct Linear {
    weight: PackedMatrix,
    bias: Vec<f32>,
}

impl Linear {
    /// `weight` is `[out, in]`, as files hold it.
    fn new(kernels: Kernels, inputs: usize, weight: &[f32], bias: Vec<f32>) -> Self {
        Linear { weight: PackedMatrix::transposed(kernels, bias.len(), inputs, weight), bias }
    }

    fn on(&self, kernels: Kernels) -> Self {
        Linear { weight: self.weight.repacked(kernels), bias: self.bias.clone() }
    }

    /// `c[r] = a[r] · W + b` for rows of `a`.
    fn apply(&self, arithmetic: Arithmetic, kernels: Kernels, a: &[f32], c: &mut [f32]) {
        product(arithmetic, &self.weight, a, c);
        for row in c.chunks_exact_mut(self.bias.len()) {
            kernels.add_scaled(row, &self.bias, 1.0);
        }
    }
}

fn product(arithmetic: Arithmetic, weight: &PackedMatrix, a: &[f32], c: &mut [f32]) {
    let rows = a.len() / weight.k();
    match arithmetic {
        Arithmetic::Canonical => weight.multiply(rows, a, c),
        Arithmetic::Fast => fast::matmul_packed(rows, a, weight, c),
    }
}

#[derive(Clone)]
struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn apply(&self, arithmetic: Arithmetic, kernels: Kernels, rows: &mut [f32]) {
        let Norm { gain, bias, epsilon } = self;
        for row in rows.chunks_exact_mut(gain.len()) {
            if !is_small(kernels, row) {
                row.fill(f32::NAN);
            }
        }
        match arithmetic {
            Arithmetic::Fast => fast::layer_norm(rows, gain, bias, *epsilon),
            Arithmetic::Canonical => {
                for row in rows.chunks_exact_mut(gain.len()) {
                    kernels.layer_norm(row, gain, bias, *epsilon);
                }
            }
        }
    }
}

#[derive(Clone)]
struct Layer {
    /// `[hidden, 3 hidden]`: queries, keys, values.
    qkv: Linear,
    out: Linear,
    norm: Norm,
    up: Linear,
    down: Linear,
    out_norm: Norm,
}

/// The weights, ready to be multiplied with on one back end.
#[derive(Clone)]
pub(super) struct Network {
    kernels: Kernels,
    hidden: usize,
    heads: usize,
    inner: usize,
    pool_first: bool,
    /// `[vocabulary, hidden]`.
    words: Arc<[f32]>,
    /// `[positions, hidden]`, the first type's row added.
    positions: Arc<[f32]>,
    norm: Norm,
    layers: Vec<Layer>,
    /// `[hidden, projected]`.
    projection: Option<PackedMatrix>,
}

/// What one chunk needs between layers; kept from chunk to chunk.
#[derive(Default)]
struct Scratch {
    x: Space,
    qkv: Space,
    context: Space,
    inner: Space,
    change: Space,
    head: Head,
}

/// Room that begins with a cache line, so that no register that is read or written crosses one.
#[derive(Default)]
struct Space(Vec<f32>);

impl Space {
    /// Room for `len`, with anything in it.
    fn take(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len + 15 {
            self.0.resize(len + 15, 0.0);
        }
        // A machine that cannot say may answer the greatest number: then it is only slower.
        let offset = self.0.as_ptr().align_offset(64).min(15);
        &mut self.0[offset..offset + len]
    }
}

/// One head of one text in canonical attention: `[len, size]`, `[size, len]`, `[len, size]`, and
/// `[queries, len]`, `[queries, size]` for some queries at a time.
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
    pub(super) fn new(kernels: Kernels, parts: Parts) -> Self {
        let shape = parts.shape;
        let size = |value: u32| value as usize;
        let (hidden, inner) = (size(shape.hidden), size(shape.inner));
        let epsilon = f32::from_bits(shape.epsilon_bits);
        let mut tensors = parts.tensors.into_iter();
        let mut next = || tensors.next().expect("invariant: a tensor for each line of the layout");
        let words = next().into();
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
                let (mut weight, mut bias) = (next(), next());
                for _ in 0..2 {
                    weight.extend(next());
                    bias.extend(next());
                }
                let qkv = Linear::new(kernels, hidden, &weight, bias);
                let out = Linear::new(kernels, hidden, &next(), next());
                let norm = Norm { gain: next(), bias: next(), epsilon };
                let up = Linear::new(kernels, hidden, &next(), next());
                let down = Linear::new(kernels, inner, &next(), next());
                let out_norm = Norm { gain: next(), bias: next(), epsilon };
                Layer { qkv, out, norm, up, down, out_norm }
            })
            .collect();
        let projection = (shape.projected > 0)
            .then(|| PackedMatrix::new(kernels, hidden, size(shape.projected), &parts.projection));
        Network {
            kernels,
            hidden,
            heads: size(shape.heads),
            inner,
            pool_first: shape.pool_first,
            words,
            positions: positions.into(),
            norm,
            layers,
            projection,
        }
    }

    /// The same network, packed for another back end.
    pub(super) fn on(&self, kernels: Kernels) -> Self {
        let layer = |layer: &Layer| Layer {
            qkv: layer.qkv.on(kernels),
            out: layer.out.on(kernels),
            norm: layer.norm.clone(),
            up: layer.up.on(kernels),
            down: layer.down.on(kernels),
            out_norm: layer.out_norm.clone(),
        };
        Network {
            kernels,
            words: Arc::clone(&self.words),
            positions: Arc::clone(&self.positions),
            norm: self.norm.clone(),
            layers: self.layers.iter().map(layer).collect(),
            projection: self.projection.as_ref().map(|matrix| matrix.repacked(kernels)),
            ..*self
        }
    }

    /// The back end that canonical results are computed on.
    pub(super) fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// The length of an embedding.
    /// Multiplications and additions of the linear layers: queries, keys, values and their output are
    /// `[hidden, hidden]`, the second half of a layer goes to `inner` and back.
    pub(super) fn operations_per_token(&self) -> u64 {
        let (hidden, inner) = (self.hidden as u64, self.inner as u64);
        2 * (4 * hidden * hidden + 2 * hidden * inner) * self.layers.len() as u64
    }

    pub(super) fn dim(&self) -> usize {
        self.projection.as_ref().map_or(self.hidden, PackedMatrix::n)
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
        let dim = self.dim();
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
            let mut rest_of_x = self.layers(arithmetic, &spans, &mut scratch);
            for (text, span) in chunk.iter().zip(spans) {
                let (x, others) = rest_of_x.split_at(span.len() * self.hidden);
                rest_of_x = others;
                let out = &mut out[text * dim..(text + 1) * dim];
                if let Err(error) = self.pool(arithmetic, x, out)
                    && failed.is_none_or(|(first, _)| *text < first)
                {
                    failed = Some((*text, error));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The last layer's output for the tokens of all texts, one behind the other.
    fn layers<'s>(
        &self,
        arithmetic: Arithmetic,
        texts: &[&[u32]],
        scratch: &'s mut Scratch,
    ) -> &'s [f32] {
        let (kernels, hidden) = (self.kernels, self.hidden);
        let Scratch { x, qkv, context, inner, change, head } = scratch;
        let tokens = texts.iter().fold(0, |all, text| all + text.len());
        let x = x.take(tokens * hidden);
        let mut rows = x.chunks_exact_mut(hidden);
        for text in texts {
            for (id, position) in text.iter().zip(self.positions.chunks_exact(hidden)) {
                let word = &self.words[*id as usize * hidden..][..hidden];
                let row = rows.next().expect("invariant: a row for each token");
                for ((to, word), position) in row.iter_mut().zip(word).zip(position) {
                    *to = word + position + 0.0;
                }
            }
        }
        self.norm.apply(arithmetic, kernels, x);
        let qkv = qkv.take(tokens * 3 * hidden);
        let context = context.take(tokens * hidden);
        let change = change.take(tokens * hidden);
        let inner = inner.take(tokens * self.inner);
        for layer in &self.layers {
            layer.qkv.apply(arithmetic, kernels, x, qkv);
            let mut row = 0;
            for text in texts {
                let (start, end) = (row, row + text.len());
                row = end;
                let qkv = &qkv[start * 3 * hidden..end * 3 * hidden];
                let context = &mut context[start * hidden..end * hidden];
                match arithmetic {
                    Arithmetic::Canonical => self.attend(qkv, context, head),
                    Arithmetic::Fast => self.attend_fast(qkv, context),
                }
            }
            layer.out.apply(arithmetic, kernels, context, change);
            kernels.add_scaled(x, change, 1.0);
            layer.norm.apply(arithmetic, kernels, x);
            layer.up.apply(arithmetic, kernels, x, inner);
            match arithmetic {
                Arithmetic::Canonical => kernels.gelu(inner),
                Arithmetic::Fast => fast::gelu(inner),
            }
            layer.down.apply(arithmetic, kernels, inner, change);
            kernels.add_scaled(x, change, 1.0);
            layer.out_norm.apply(arithmetic, kernels, x);
        }
        x
    }

    /// The attention of one text, all heads; `qkv` is `[len, 3 hidden]`.
    fn attend(&self, qkv: &[f32], context: &mut [f32], head: &mut Head) {
        let (kernels, hidden, size) = (self.kernels, self.hidden, self.hidden / self.heads);
        let len = context.len() / hidden;
        let scale = 1.0 / (size as f32).sqrt();
        let Head { q, k, v, scores, out } = head;
        for vectors in [&mut *q, &mut *k, &mut *v] {
            resize(vectors, len * size);
        }
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
                resize(scores, count * len);
                resize(out, count * size);
                kernels.matmul(count, len, size, q, k, scores);
                for row in scores.chunks_exact_mut(len) {
                    // Not finite: left as it is, which the next layer norm finds.
                    let _ = kernels.softmax(row);
                }
                kernels.matmul(count, size, len, scores, v, out);
                for (to, from) in context.chunks_exact_mut(hidden).zip(out.chunks_exact(size)) {
                    to[at..at + size].copy_from_slice(from);
                }
            }
        }
    }

    /// As [`Self::attend`], fast. Where a score could overflow the text's vectors become NaN, since fast
    /// attention hides what is not finite.
    fn attend_fast(&self, qkv: &[f32], context: &mut [f32]) {
        let hidden = self.hidden;
        let shape =
            Heads { heads: self.heads, tokens: context.len() / hidden, dim: hidden / self.heads };
        if !qkv.chunks_exact(3 * hidden).all(|row| is_small(self.kernels, row)) {
            return context.fill(f32::NAN);
        }
        let rows = Rows { values: qkv, stride: 3 * hidden };
        fast::attention(
            shape,
            rows,
            rows.from_column(hidden),
            rows.from_column(2 * hidden),
            context,
        );
    }

    /// One text's vector from those of its tokens, `[len, hidden]`; `out` is all +0.
    fn pool(
        &self,
        arithmetic: Arithmetic,
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), NormalizeError> {
        let kernels = self.kernels;
        let mut mean = vec![0f32; self.hidden];
        let counted = if self.pool_first { 1 } else { usize::MAX };
        for row in x.chunks_exact(self.hidden).take(counted) {
            kernels.add_scaled(&mut mean, row, 1.0);
        }
        unit(kernels, &mut mean)?;
        let Some(projection) = &self.projection else {
            out.copy_from_slice(&mean);
            return Ok(());
        };
        product(arithmetic, projection, &mean, out);
        unit(kernels, out)
    }
}

/// Whether a row has no NaN, no infinity and nothing that would become one when it is squared.
fn is_small(kernels: Kernels, row: &[f32]) -> bool {
    kernels.sum_squares(row) < SQUARES_MAX
}

/// Brings a vector to length 1, if it is long enough for that to be exact up to rounding.
fn unit(kernels: Kernels, vector: &mut [f32]) -> Result<(), NormalizeError> {
    if kernels.sum_squares(vector) < SQUARES_MIN {
        return Err(NormalizeError::ZeroVector);
    }
    kernels.normalize(vector)
}

/// Keeps what is there: every element is written before it is read.
fn resize(values: &mut Vec<f32>, len: usize) {
    values.resize(len, 0.0);
}
