//! Operations on large arrays, cut into parts that run anywhere and give the bits of one thread.
//!
//! What a page asks of the workers of its tab, and what a thread pool can run through [`Backend`]: matrix
//! products, dot products, element-wise functions, reductions, attention and low-rank updates. Where the cuts
//! lie follows from the shape alone, never from how many run, and each part is canonical arithmetic
//! ([`crate::canon`]); so a part may run on any machine and in any order, and the whole is the same bits.
//!
//! | operation | a part is | merged by |
//! |---|---|---|
//! | [`matmul`] | [`matmul_rows`] rows of the product | putting them one behind the other |
//! | [`elementwise`] | [`PART`] elements | the same |
//! | [`attention`] | [`attention_rows`] queries of one head | the same |
//! | [`lora`] | [`lora_rows`] rows | the same |
//! | [`dot`], [`reduce`] | [`PART`] elements, of which each [`BLOCK`] gives one number | [`merge`] |
//!
//! A reduction is defined by its blocks, also on one thread: the [`crate::canon::sum16`] of the blocks' own
//! sums. Up to [`BLOCK`] elements that is canon-1's own reduction.

use std::fmt;
use std::ops::Range;

use crate::backend::{self, Backend};
use crate::canon::{self, Kernels, NonFinite};

/// Elements of which a reduction makes one number before it goes on with those.
pub const BLOCK: usize = 65_536;
/// Elements of a part of a reduction or element-wise function: some tenths of a millisecond of work.
pub const PART: usize = 16 * BLOCK;
/// Multiplications of a part of a matrix product: about a millisecond of work.
const PART_PRODUCTS: usize = 1 << 24;
/// Rows that the kernels take together: a part has a multiple of them.
const ROWS: usize = 8;
/// The most elements of one array: what its bytes are counted in fits 32 bits.
pub const ELEMENTS_MAX: usize = 1 << 28;

/// Why an operation has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// An array is not as long as the shape says, or there is nothing to do: the caller's fault.
    #[error("{0}")]
    Shape(&'static str),
    /// An input or a result is not a finite number.
    #[error(transparent)]
    NonFinite(#[from] NonFinite),
}

/// A function of each element, or of the two at one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elementwise {
    /// `a + b`.
    Add,
    /// `a * b`.
    Mul,
    /// `max(a, 0)` (Nair and Hinton, ICML 2010).
    Relu,
    /// `1 / (1 + exp(-a))`, with [`canon::exp`].
    Sigmoid,
}

/// One number of many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their sum divided by their number.
    Mean,
}

impl Elementwise {
    /// By its name in the browser's package.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Add, Self::Mul, Self::Relu, Self::Sigmoid]
            .into_iter()
            .find(|one| one.to_string() == name)
    }

    /// Whether it takes two arrays.
    pub fn is_of_two(self) -> bool {
        matches!(self, Self::Add | Self::Mul)
    }
}

impl fmt::Display for Elementwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Mul => "mul",
            Self::Relu => "relu",
            Self::Sigmoid => "sigmoid",
        })
    }
}

impl Reduction {
    /// By its name in the browser's package.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Sum, Self::Max, Self::Min, Self::Mean]
            .into_iter()
            .find(|one| one.to_string() == name)
    }
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Min => "min",
            Self::Mean => "mean",
        })
    }
}

/// Of how many units, each `cost` multiplications, a part consists.
fn units(cost: usize, of: usize) -> usize {
    (PART_PRODUCTS / cost.max(1)).next_multiple_of(of).max(of)
}

/// Rows of the product `[m, n]` in one part.
pub fn matmul_rows(n: usize, k: usize) -> usize {
    units(n.saturating_mul(k), ROWS)
}

/// Queries of one head in one part.
pub fn attention_rows(tokens: usize, dim: usize) -> usize {
    units(tokens.saturating_mul(dim).saturating_mul(2), ROWS)
}

/// Rows of a low-rank update in one part.
pub fn lora_rows(from: usize, to: usize, rank: usize) -> usize {
    units(from.saturating_add(to).saturating_mul(rank), ROWS)
}

/// Whether an array has the shape; its size may be no number that there is.
fn has(array: &[f32], shape: &[usize]) -> bool {
    let size = shape.iter().try_fold(1usize, |size, side| size.checked_mul(*side));
    size.is_some_and(|size| size == array.len() && size <= ELEMENTS_MAX)
}

fn require(holds: bool, said: &'static str) -> Result<(), OperationError> {
    if holds { Ok(()) } else { Err(OperationError::Shape(said)) }
}

/// Whether `b` is as long as `a` where the operation takes two arrays, and else empty.
fn require_second(operation: Elementwise, a: &[f32], b: &[f32]) -> Result<(), OperationError> {
    let length = if operation.is_of_two() { a.len() } else { 0 };
    require(b.len() == length, "the two arrays are not of one length, or there is one too many")
}

/// Runs `part` for ranges of `per` units until `count`, and puts what they give one behind the other.
fn in_parts(
    backend: &dyn Backend,
    count: usize,
    per: usize,
    part: impl Fn(Range<usize>) -> Result<Vec<f32>, OperationError> + Sync,
) -> Result<Vec<f32>, OperationError> {
    let parts =
        backend::map(backend, count.div_ceil(per), |at| part(at * per..count.min((at + 1) * per)));
    let mut whole = Vec::new();
    for part in parts {
        whole.extend(part?);
    }
    Ok(whole)
}

/// Rows of a matrix product: `a` is `[m, k]`, `b` is `[k, n]`, the result `[m, n]`, row after row
/// ([`canon::matmul`]).
///
/// # Errors
/// [`OperationError`].
pub fn matmul_partial(
    kernels: Kernels,
    [m, n, k]: [usize; 3],
    a: &[f32],
    b: &[f32],
) -> Result<Vec<f32>, OperationError> {
    require(has(a, &[m, k]), "a is not [m, k]")?;
    require(has(b, &[k, n]), "b is not [k, n]")?;
    let size = m.checked_mul(n).filter(|size| *size <= ELEMENTS_MAX);
    let mut c = vec![0f32; size.ok_or(OperationError::Shape("the product is too large"))?];
    kernels.matmul(m, n, k, a, b, &mut c);
    // A number that is none makes every sum none that it is in.
    canon::check_finite(&c)?;
    Ok(c)
}

/// The whole product.
///
/// # Errors
/// [`OperationError`].
pub fn matmul(
    backend: &dyn Backend,
    [m, n, k]: [usize; 3],
    a: &[f32],
    b: &[f32],
) -> Result<Vec<f32>, OperationError> {
    require(has(a, &[m, k]), "a is not [m, k]")?;
    in_parts(backend, m, matmul_rows(n, k), |rows| {
        let a = &a[rows.start * k..rows.end * k];
        matmul_partial(Kernels::active(), [rows.len(), n, k], a, b)
    })
}

/// `operation` of each element of `a`, and of the one of `b` at the same place where it takes two.
///
/// # Errors
/// [`OperationError`].
pub fn elementwise_partial(
    kernels: Kernels,
    operation: Elementwise,
    a: &[f32],
    b: &[f32],
) -> Result<Vec<f32>, OperationError> {
    require_second(operation, a, b)?;
    canon::check_finite(a)?;
    canon::check_finite(b)?;
    // Nothing gives -0: `+ 0.0` turns it into +0 and changes nothing else.
    let result: Vec<f32> = match operation {
        Elementwise::Add => a.iter().zip(b).map(|(a, b)| a + b + 0.0).collect(),
        Elementwise::Mul => a.iter().zip(b).map(|(a, b)| a * b + 0.0).collect(),
        Elementwise::Relu => a.iter().map(|a| if *a > 0.0 { *a } else { 0.0 }).collect(),
        Elementwise::Sigmoid => {
            let mut x: Vec<f32> = a.iter().map(|a| -a).collect();
            kernels.exp_shifted(&mut x, 0.0);
            // Far below zero the power is infinite, and the quotient +0.
            x.iter().map(|power| 1.0 / (1.0 + power)).collect()
        }
    };
    canon::check_finite(&result)?;
    Ok(result)
}

/// [`elementwise_partial`] of whole arrays.
///
/// # Errors
/// [`OperationError`].
pub fn elementwise(
    backend: &dyn Backend,
    operation: Elementwise,
    a: &[f32],
    b: &[f32],
) -> Result<Vec<f32>, OperationError> {
    require_second(operation, a, b)?;
    in_parts(backend, a.len(), PART, |part| {
        let b = if operation.is_of_two() { &b[part.clone()] } else { b };
        elementwise_partial(Kernels::active(), operation, &a[part], b)
    })
}

/// What each [`BLOCK`] of a part gives to a reduction.
///
/// # Errors
/// [`OperationError`].
pub fn reduce_partial(
    kernels: Kernels,
    reduction: Reduction,
    x: &[f32],
) -> Result<Vec<f32>, OperationError> {
    canon::check_finite(x)?;
    let blocks = x.chunks(BLOCK).map(|block| match reduction {
        Reduction::Sum | Reduction::Mean => kernels.sum16(block),
        Reduction::Max => block.iter().fold(f32::MIN, |max, x| max.max(*x)) + 0.0,
        Reduction::Min => block.iter().fold(f32::MAX, |min, x| min.min(*x)) + 0.0,
    });
    let blocks: Vec<f32> = blocks.collect();
    canon::check_finite(&blocks)?;
    Ok(blocks)
}

/// The dot product of each [`BLOCK`] of a part ([`canon::dot`]).
///
/// # Errors
/// [`OperationError`].
pub fn dot_partial(kernels: Kernels, a: &[f32], b: &[f32]) -> Result<Vec<f32>, OperationError> {
    require(a.len() == b.len(), "the two arrays are not of one length")?;
    let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK)).map(|(a, b)| kernels.dot(a, b));
    let blocks: Vec<f32> = blocks.collect();
    canon::check_finite(&blocks)?;
    Ok(blocks)
}

/// One number from those of all blocks, in their order, of `count` elements altogether.
///
/// # Errors
/// [`OperationError`]; there is no largest, smallest or mean of nothing.
pub fn merge(
    kernels: Kernels,
    reduction: Reduction,
    blocks: &[f32],
    count: usize,
) -> Result<f32, OperationError> {
    let sum = reduction == Reduction::Sum;
    require(sum || !blocks.is_empty(), "there is nothing to reduce")?;
    require(blocks.len() == count.div_ceil(BLOCK), "blocks are missing")?;
    let total = match reduction {
        Reduction::Sum => kernels.sum16(blocks),
        Reduction::Mean => kernels.sum16(blocks) / count as f32,
        Reduction::Max => blocks.iter().fold(f32::MIN, |max, x| max.max(*x)),
        Reduction::Min => blocks.iter().fold(f32::MAX, |min, x| min.min(*x)),
    };
    canon::check_finite(&[total])?;
    Ok(total)
}

/// One number of all of `x`.
///
/// # Errors
/// [`OperationError`].
pub fn reduce(
    backend: &dyn Backend,
    reduction: Reduction,
    x: &[f32],
) -> Result<f32, OperationError> {
    let kernels = Kernels::active();
    let blocks =
        in_parts(backend, x.len(), PART, |part| reduce_partial(kernels, reduction, &x[part]))?;
    merge(kernels, reduction, &blocks, x.len())
}

/// The dot product of whole arrays.
///
/// # Errors
/// [`OperationError`].
pub fn dot(backend: &dyn Backend, a: &[f32], b: &[f32]) -> Result<f32, OperationError> {
    require(a.len() == b.len(), "the two arrays are not of one length")?;
    let kernels = Kernels::active();
    let blocks =
        in_parts(backend, a.len(), PART, |part| dot_partial(kernels, &a[part.clone()], &b[part]))?;
    merge(kernels, Reduction::Sum, &blocks, a.len())
}

/// The shape of an attention: arrays are `[heads, tokens, dim]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attention {
    /// Heads.
    pub heads: usize,
    /// Tokens.
    pub tokens: usize,
    /// Columns of a head.
    pub dim: usize,
    /// Whether a token attends to those before it, and itself, only.
    pub causal: bool,
}

/// Some queries of one head: `softmax(q kᵀ / sqrt(dim)) v` (Vaswani et al., arXiv 1706.03762), with
/// [`canon::softmax`]. `q` holds the tokens from number `first` on, `k` and `v` are `[tokens, dim]`, whole.
///
/// # Errors
/// [`OperationError`].
pub fn attention_partial(
    kernels: Kernels,
    shape: Attention,
    first: usize,
    q: &[f32],
    k: &[f32],
    v: &[f32],
) -> Result<Vec<f32>, OperationError> {
    let Attention { tokens, dim, causal, .. } = shape;
    require(tokens > 0 && dim > 0, "there is nothing to attend to")?;
    require(has(k, &[tokens, dim]), "k is not [tokens, dim]")?;
    require(has(v, &[tokens, dim]), "v is not [tokens, dim]")?;
    let queries = q.len() / dim;
    let inside = first.checked_add(queries).is_some_and(|end| end <= tokens);
    require(q.len().is_multiple_of(dim) && inside, "q is not some of the tokens")?;
    require(queries.saturating_mul(tokens) <= ELEMENTS_MAX, "too many queries at once")?;
    let mut keys = vec![0f32; tokens * dim];
    for (token, row) in k.chunks_exact(dim).enumerate() {
        for (column, value) in row.iter().enumerate() {
            keys[column * tokens + token] = *value;
        }
    }
    let mut scores = vec![0f32; queries * tokens];
    kernels.matmul(queries, tokens, dim, q, &keys, &mut scores);
    let root = (dim as f32).sqrt();
    for (query, row) in scores.chunks_exact_mut(tokens).enumerate() {
        let seen = if causal { first + query + 1 } else { tokens };
        row[..seen].iter_mut().for_each(|score| *score = *score / root + 0.0);
        kernels.softmax(&mut row[..seen])?;
        row[seen..].fill(0.0);
    }
    let mut out = vec![0f32; queries * dim];
    kernels.matmul(queries, dim, tokens, &scores, v, &mut out);
    canon::check_finite(&out)?;
    Ok(out)
}

/// The whole attention.
///
/// # Errors
/// [`OperationError`].
pub fn attention(
    backend: &dyn Backend,
    shape: Attention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
) -> Result<Vec<f32>, OperationError> {
    let Attention { heads, tokens, dim, .. } = shape;
    for array in [q, k, v] {
        require(has(array, &[heads, tokens, dim]), "q, k or v is not [heads, tokens, dim]")?;
    }
    let (rows, size) = (attention_rows(tokens, dim), tokens * dim);
    let parts = tokens.div_ceil(rows);
    in_parts(backend, heads * parts, 1, |part| {
        let (head, first) = (part.start / parts, part.start % parts * rows);
        let [q, k, v] = [q, k, v].map(|array| &array[head * size..(head + 1) * size]);
        let q = &q[first * dim..tokens.min(first + rows) * dim];
        attention_partial(Kernels::active(), shape, first, q, k, v)
    })
}

/// The shape of a low-rank update.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lora {
    /// Columns of what goes in.
    pub from: usize,
    /// Columns of what comes out.
    pub to: usize,
    /// The rank: columns of `a`, rows of `b`.
    pub rank: usize,
    /// What the update is multiplied by.
    pub scale: f32,
}

/// Rows of `base + scale * (x a) b` (Hu et al., arXiv 2106.09685): `x` is `[rows, from]`, `base` `[rows, to]`,
/// `a` `[from, rank]`, `b` `[rank, to]`.
///
/// # Errors
/// [`OperationError`].
pub fn lora_partial(
    kernels: Kernels,
    shape: Lora,
    [x, base]: [&[f32]; 2],
    [a, b]: [&[f32]; 2],
) -> Result<Vec<f32>, OperationError> {
    let Lora { from, to, rank, scale } = shape;
    require(from > 0 && to > 0 && rank > 0, "an update without columns")?;
    let rows = x.len() / from;
    require(has(x, &[rows, from]) && has(base, &[rows, to]), "x or base have not the same rows")?;
    require(has(a, &[from, rank]), "a is not [from, rank]")?;
    require(has(b, &[rank, to]), "b is not [rank, to]")?;
    require(rows.saturating_mul(rank) <= ELEMENTS_MAX, "too many rows at once")?;
    let mut narrow = vec![0f32; rows * rank];
    kernels.matmul(rows, rank, from, x, a, &mut narrow);
    let mut update = vec![0f32; rows * to];
    kernels.matmul(rows, to, rank, &narrow, b, &mut update);
    let mut out = base.to_vec();
    kernels.add_scaled(&mut out, &update, scale);
    canon::check_finite(&out)?;
    Ok(out)
}

/// The whole update.
///
/// # Errors
/// [`OperationError`].
pub fn lora(
    backend: &dyn Backend,
    shape: Lora,
    [x, base]: [&[f32]; 2],
    ab: [&[f32]; 2],
) -> Result<Vec<f32>, OperationError> {
    let Lora { from, to, rank, .. } = shape;
    require(from > 0 && to > 0 && rank > 0, "an update without columns")?;
    let rows = x.len() / from;
    require(has(x, &[rows, from]) && has(base, &[rows, to]), "x or base have not the same rows")?;
    in_parts(backend, rows, lora_rows(from, to, rank), |part| {
        let x = &x[part.start * from..part.end * from];
        let base = &base[part.start * to..part.end * to];
        lora_partial(Kernels::active(), shape, [x, base], ab)
    })
}
