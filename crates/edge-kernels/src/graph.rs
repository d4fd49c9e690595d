//! Model code as operations that are recorded first and run later.
//!
//! A [`Graph`] records operations on values `[rows, columns]` of `f32`. Columns are known while it records,
//! so a wrong shape is an error there; rows are known at a run only (the tokens of some texts). Nothing is
//! computed until [`Graph::finish`] was told which values are wanted: it drops the operations that none of
//! them needs, finds each value's last use, and gives values that are never alive at once one buffer. What
//! it returns, a [`Plan`], is run any number of times on the buffers of a [`Workspace`].
//!
//! - An operation that changes its operand ([`Graph::add`], [`Graph::gelu`], [`Graph::layer_norm`]) does so
//!   in place where that is the operand's last use, and on a copy elsewhere.
//! - Any other result takes the smallest free buffer that is wide enough, or else the widest, which grows,
//!   or else a new one: a linear scan (Poletto and Sarkar, doi 10.1145/330249.330250) in recorded order,
//!   whose intervals end at last uses.
//! - Weights are shared ([`std::sync::Arc`]), never copied, but by [`Plan::on`], which packs them for another
//!   back end.
//! - [`Arithmetic`] is chosen at each run. With canonical arithmetic all operations are those of
//!   `docs/canon.md`, so the bits do not depend on the back end, on the buffers, or on which other rows run
//!   along.
//!
//! Rows whose numbers grow too large do not pass for results: see [`Graph::layer_norm`] and
//! [`Graph::attention`].
//!
//! ```
//! use edge_kernels::canon::{Kernels, PackedMatrix};
//! use edge_kernels::graph::{Arithmetic, Graph, Linear, Workspace};
//!
//! let kernels = Kernels::active();
//! let double = Linear::new(PackedMatrix::new(kernels, 2, 2, &[2.0, 0.0, 0.0, 2.0]), None)?;
//! let mut graph = Graph::new();
//! let x = graph.input(2);
//! let y = graph.linear(x, double)?;
//! let sum = graph.add(x, y)?;
//! graph.gelu(sum); // nobody wants it: it is not run
//! let plan = graph.finish(kernels, &[sum]);
//! let mut workspace = Workspace::default();
//! let rows = [1.0, 2.0, 3.0, 4.0];
//! let out = plan.run(Arithmetic::Canonical, &[2], |_, x| x.copy_from_slice(&rows), &mut workspace);
//! assert_eq!(out, [[3.0, 6.0, 9.0, 12.0]]);
//! # Ok::<(), edge_kernels::graph::ShapeError>(())
//! ```

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::canon::Kernels;

mod attention;
mod layers;
mod plan;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

pub use layers::{Arithmetic, Linear, Norm};
pub use plan::{Plan, Workspace};

/// A recorded value. It belongs to the graph that returned it; with another it is a panic or another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

/// One side of a [`ShapeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A value of so many columns, and of as many rows as a run has.
    Rows(usize),
    /// A matrix of rows and columns.
    Matrix(usize, usize),
    /// A vector.
    Vector(usize),
    /// Queries, keys and values of so many heads.
    Heads(usize),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Rows(columns) => write!(f, "[rows, {columns}]"),
            Shape::Matrix(rows, columns) => write!(f, "[{rows}, {columns}]"),
            Shape::Vector(len) => write!(f, "[{len}]"),
            Shape::Heads(heads) => write!(f, "3 x {heads} heads"),
        }
    }
}

/// Two shapes that an operation cannot bring together: the caller's fault, or that of the model's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{operation}: {left} does not fit {right}")]
pub struct ShapeError {
    /// What was recorded.
    pub operation: &'static str,
    /// The shape of its first operand.
    pub left: Shape,
    /// The shape of what does not fit it.
    pub right: Shape,
}

/// The error of `operation`, unless the shapes fit.
fn check(fit: bool, operation: &'static str, left: Shape, right: Shape) -> Result<(), ShapeError> {
    if fit { Ok(()) } else { Err(ShapeError { operation, left, right }) }
}

/// What is computed, from which values.
#[derive(Clone)]
enum Operation {
    /// The number of the input.
    Input(usize),
    Linear(Value, Arc<Linear>),
    Add(Value, Value),
    Gelu(Value),
    LayerNorm(Value, Arc<Norm>),
    /// Queries, keys and values side by side; how many heads.
    Attention(Value, usize),
}

impl Operation {
    /// The values it reads.
    fn operands(&self) -> impl Iterator<Item = Value> + use<> {
        let (first, second) = match *self {
            Operation::Input(_) => (None, None),
            Operation::Linear(x, _)
            | Operation::Gelu(x)
            | Operation::LayerNorm(x, _)
            | Operation::Attention(x, _) => (Some(x), None),
            Operation::Add(a, b) => (Some(a), Some(b)),
        };
        first.into_iter().chain(second)
    }

    /// Those of its operands that may become the result where they lie.
    fn changeable(&self) -> impl Iterator<Item = Value> + use<> {
        let changes = match self {
            // x + x reads what it would have changed.
            Operation::Add(a, b) => a != b,
            Operation::Gelu(_) | Operation::LayerNorm(..) => true,
            Operation::Input(_) | Operation::Linear(..) | Operation::Attention(..) => false,
        };
        self.operands().filter(move |_| changes)
    }

    /// The same with each operand replaced.
    fn map(self, new: impl Fn(Value) -> Value) -> Operation {
        match self {
            Operation::Input(number) => Operation::Input(number),
            Operation::Linear(x, layer) => Operation::Linear(new(x), layer),
            Operation::Add(a, b) => Operation::Add(new(a), new(b)),
            Operation::Gelu(x) => Operation::Gelu(new(x)),
            Operation::LayerNorm(x, norm) => Operation::LayerNorm(new(x), norm),
            Operation::Attention(x, heads) => Operation::Attention(new(x), heads),
        }
    }
}

struct Node {
    operation: Operation,
    columns: usize,
}

/// Operations that are recorded and not yet run.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<Node>,
    inputs: usize,
}

impl Graph {
    /// Without operations.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Rows that a run brings; inputs are numbered from 0 in this order.
    pub fn input(&mut self, columns: usize) -> Value {
        self.inputs += 1;
        self.push(Operation::Input(self.inputs - 1), columns)
    }

    /// `x W + b`.
    ///
    /// # Errors
    /// If `x` has not as many columns as `W` has rows.
    pub fn linear(&mut self, x: Value, layer: impl Into<Arc<Linear>>) -> Result<Value, ShapeError> {
        let layer = layer.into();
        let (inputs, outputs) = (layer.inputs(), layer.outputs());
        let (left, right) = (self.shape(x), Shape::Matrix(inputs, outputs));
        check(self.columns(x) == inputs, "linear", left, right)?;
        Ok(self.push(Operation::Linear(x, layer), outputs))
    }

    /// `a + b`, element by element.
    ///
    /// # Errors
    /// If they differ in columns.
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value, ShapeError> {
        let columns = self.columns(a);
        check(columns == self.columns(b), "add", self.shape(a), self.shape(b))?;
        Ok(self.push(Operation::Add(a, b), columns))
    }

    /// [`crate::canon::gelu`] of each element.
    pub fn gelu(&mut self, x: Value) -> Value {
        self.push(Operation::Gelu(x), self.columns(x))
    }

    /// [`crate::canon::layer_norm`] of each row. A row with a sum of squares that is not below 2^100 becomes
    /// all NaN, since an infinite variance would make it the norm's bias, which looks like a result.
    ///
    /// # Errors
    /// If the norm is not as long as a row.
    pub fn layer_norm(
        &mut self,
        x: Value,
        norm: impl Into<Arc<Norm>>,
    ) -> Result<Value, ShapeError> {
        let (norm, columns) = (norm.into(), self.columns(x));
        check(columns == norm.len(), "layer_norm", self.shape(x), Shape::Vector(norm.len()))?;
        Ok(self.push(Operation::LayerNorm(x, norm), columns))
    }

    /// `softmax(q kᵀ / sqrt(d)) v` of each head (Vaswani et al., arXiv 1706.03762) among the rows of each
    /// span of a run. `qkv` has the queries of all heads, their keys, their values: `[rows, 3 heads d]`; the
    /// result is `[rows, heads d]`. Where a score overflows, the rows that it counts for are not finite; with
    /// [`Arithmetic::Fast`] a span becomes all NaN as soon as one of its rows of `qkv` has a sum of squares
    /// that is not below 2^100, since fast attention hides what is not finite.
    ///
    /// # Errors
    /// If the columns do not divide by thrice the heads.
    pub fn attention(&mut self, qkv: Value, heads: usize) -> Result<Value, ShapeError> {
        let columns = self.columns(qkv);
        let parts = heads.saturating_mul(3);
        let fits = parts > 0 && columns.is_multiple_of(parts);
        check(fits, "attention", self.shape(qkv), Shape::Heads(heads))?;
        Ok(self.push(Operation::Attention(qkv, heads), columns / 3))
    }

    /// A plan of what `outputs` need, and of nothing else. `kernels` compute what is not a linear layer, whose
    /// matrices know their own.
    pub fn finish(self, kernels: Kernels, outputs: &[Value]) -> Plan {
        Plan::new(kernels, self.nodes, outputs)
    }

    fn push(&mut self, operation: Operation, columns: usize) -> Value {
        self.nodes.push(Node { operation, columns });
        Value(self.nodes.len() - 1)
    }

    fn columns(&self, value: Value) -> usize {
        self.nodes[value.0].columns
    }

    fn shape(&self, value: Value) -> Shape {
        Shape::Rows(self.columns(value))
    }
}
