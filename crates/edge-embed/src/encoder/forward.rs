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
//! Steps 1 (from the norm on) and 2 are recorded as an [`edge_kernels::graph`], once; its plan runs them. A row
//! whose numbers grow too large for a layer norm becomes all NaN there ([`Graph::layer_norm`]). Then its text
//! has no direction, but for rows that the first token, where it alone counts, never meets.
//!
//! A text's tokens never meet those of another, and a canonical product's bits do not depend on how many
//! rows it has: so texts are put together to ragged batches without padding, of similar length since they
//! are sorted, a few hundred tokens at a time, so that the vectors stay in the cache.

use std::sync::Arc;

use edge_kernels::canon::{Kernels, NormalizeError, PackedMatrix};
use edge_kernels::graph::{Arithmetic, Graph, Linear, Norm, Plan, ShapeError, Workspace};

use super::parts::Parts;

/// Tokens that go through the layers together, where no single text has more: the rows that a product
/// packs at once with AVX-512, so that weights are read from memory as seldom as may be.
const CHUNK_TOKENS: usize = 240;

/// The least sum of squares of a vector with a direction, 2^-100: far from where squares lose digits.
const SQUARES_MIN: f32 = f32::from_bits((127 - 100) << 23);

/// The weights, ready to be multiplied with on one back end.
#[derive(Clone)]
pub(super) struct Network {
    hidden: usize,
    pool_first: bool,
    /// `[vocabulary, hidden]`.
    words: Arc<[f32]>,
    /// `[positions, hidden]`, the first type's row added.
    positions: Arc<[f32]>,
    /// From the sums of table rows to the last layer's output, `[tokens, hidden]` both.
    layers: Plan,
    /// `[hidden, projected]`.
    projection: Option<Arc<Linear>>,
}

impl Network {
    /// `parts` are checked: every tensor has the size that the shape says.
    pub(super) fn new(kernels: Kernels, parts: Parts) -> Self {
        Network::record(kernels, parts).expect("invariant: the tensors have the shapes they need")
    }

    fn record(kernels: Kernels, parts: Parts) -> Result<Self, ShapeError> {
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
        // `weight` is `[out, in]`, as files hold it.
        let linear = |inputs: usize, weight: &[f32], bias: Vec<f32>| {
            Linear::new(PackedMatrix::transposed(kernels, bias.len(), inputs, weight), Some(bias))
        };
        let mut graph = Graph::new();
        let sums = graph.input(hidden);
        let mut x = graph.layer_norm(sums, Norm::new(next(), next(), epsilon)?)?;
        for _ in 0..shape.layers {
            // `[hidden, 3 hidden]`: queries, keys, values.
            let (mut weight, mut bias) = (next(), next());
            for _ in 0..2 {
                weight.extend(next());
                bias.extend(next());
            }
            let qkv = graph.linear(x, linear(hidden, &weight, bias)?)?;
            let context = graph.attention(qkv, size(shape.heads))?;
            let change = graph.linear(context, linear(hidden, &next(), next())?)?;
            let sum = graph.add(x, change)?;
            x = graph.layer_norm(sum, Norm::new(next(), next(), epsilon)?)?;
            let up = graph.linear(x, linear(hidden, &next(), next())?)?;
            let change = graph.gelu(up);
            let change = graph.linear(change, linear(inner, &next(), next())?)?;
            let sum = graph.add(x, change)?;
            x = graph.layer_norm(sum, Norm::new(next(), next(), epsilon)?)?;
        }
        let projection = if shape.projected > 0 {
            let projected = size(shape.projected);
            let matrix = PackedMatrix::new(kernels, hidden, projected, &parts.projection);
            Some(Arc::new(Linear::new(matrix, None)?))
        } else {
            None
        };
        Ok(Network {
            hidden,
            pool_first: shape.pool_first,
            words,
            positions: positions.into(),
            layers: graph.finish(kernels, &[x]),
            projection,
        })
    }

    /// The same network, packed for another back end.
    pub(super) fn on(&self, kernels: Kernels) -> Self {
        Network {
            words: Arc::clone(&self.words),
            positions: Arc::clone(&self.positions),
            layers: self.layers.on(kernels),
            projection: self.projection.as_ref().map(|layer| Arc::new(layer.on(kernels))),
            ..*self
        }
    }

    /// The back end that canonical results are computed on.
    pub(super) fn kernels(&self) -> Kernels {
        self.layers.kernels()
    }

    /// Multiplications and additions of the linear layers: queries, keys, values and their output are
    /// `[hidden, hidden]`, the second half of a layer goes to `inner` and back.
    pub(super) fn operations_per_token(&self) -> u64 {
        self.layers.linear_operations_per_row()
    }

    /// The length of an embedding.
    pub(super) fn dim(&self) -> usize {
        self.projection.as_ref().map_or(self.hidden, |layer| layer.outputs())
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
        let mut workspace = Workspace::default();
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
            let mut rest_of_x = self.run_layers(arithmetic, &spans, &mut workspace);
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
    fn run_layers<'w>(
        &self,
        arithmetic: Arithmetic,
        texts: &[&[u32]],
        workspace: &'w mut Workspace,
    ) -> &'w [f32] {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let look_up = |_, sums: &mut [f32]| self.look_up(texts, sums);
        self.layers.run(arithmetic, &lengths, look_up, workspace)[0]
    }

    /// For each token the sum of its rows in the tables.
    fn look_up(&self, texts: &[&[u32]], sums: &mut [f32]) {
        let hidden = self.hidden;
        let mut rows = sums.chunks_exact_mut(hidden);
        for text in texts {
            for (id, position) in text.iter().zip(self.positions.chunks_exact(hidden)) {
                let word = &self.words[*id as usize * hidden..][..hidden];
                let row = rows.next().expect("invariant: a row for each token");
                for ((to, word), position) in row.iter_mut().zip(word).zip(position) {
                    *to = word + position + 0.0;
                }
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
        let kernels = self.kernels();
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
        projection.apply(arithmetic, 1, &mean, out);
        unit(kernels, out)
    }
}

/// Brings a vector to length 1, if it is long enough for that to be exact up to rounding.
fn unit(kernels: Kernels, vector: &mut [f32]) -> Result<(), NormalizeError> {
    if kernels.sum_squares(vector) < SQUARES_MIN {
        return Err(NormalizeError::ZeroVector);
    }
    kernels.normalize(vector)
}
