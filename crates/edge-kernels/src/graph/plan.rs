//! Which operation writes which buffer, and the run of all.

use std::mem;
use std::sync::Arc;

use super::attention::{self, Head};
use super::layers::{Arithmetic, Linear};
use super::{Node, Operation, Value};
use crate::canon::Kernels;
use crate::fast;
use crate::scratch::Scratch;

/// A needed operation; its operands are positions in [`Plan::steps`].
#[derive(Clone)]
pub(super) struct Step {
    pub(super) operation: Operation,
    pub(super) columns: usize,
    /// The buffer of the result.
    pub(super) to: usize,
}

/// The operations that some outputs need, in order, with a buffer for each result. A clone shares the
/// weights.
#[derive(Clone)]
pub struct Plan {
    kernels: Kernels,
    pub(super) steps: Vec<Step>,
    pub(super) outputs: Vec<Value>,
    /// The columns of each buffer.
    pub(super) buffers: Vec<usize>,
}

/// The buffers of runs, kept from one to the next: each begins with a cache line and grows to what the
/// largest run needed. It may be used with several plans.
#[derive(Debug, Default)]
pub struct Workspace {
    spaces: Vec<Scratch>,
    head: Head,
}

impl Workspace {
    /// Bytes of all buffers, with what canonical attention needs for one head.
    pub fn bytes(&self) -> usize {
        self.spaces.iter().fold(self.head.bytes(), |bytes, space| bytes + space.bytes())
    }
}

impl Plan {
    pub(super) fn new(kernels: Kernels, nodes: Vec<Node>, outputs: &[Value]) -> Plan {
        let mut needed = vec![false; nodes.len()];
        outputs.iter().for_each(|value| needed[value.0] = true);
        for (at, node) in nodes.iter().enumerate().rev() {
            if needed[at] {
                node.operation.operands().for_each(|value| needed[value.0] = true);
            }
        }
        let mut places = vec![usize::MAX; nodes.len()];
        let mut steps = Vec::new();
        for (at, Node { operation, columns }) in nodes.into_iter().enumerate() {
            if needed[at] {
                places[at] = steps.len();
                let operation = operation.map(|value| Value(places[value.0]));
                steps.push(Step { operation, columns, to: usize::MAX });
            }
        }
        let outputs: Vec<Value> = outputs.iter().map(|value| Value(places[value.0])).collect();
        let buffers = assign(&mut steps, &outputs);
        Plan { kernels, steps, outputs, buffers }
    }

    /// The same plan for another back end, with each matrix packed anew for it, once.
    pub fn on(&self, kernels: Kernels) -> Plan {
        let mut packed: Vec<(&Arc<Linear>, Arc<Linear>)> = Vec::new();
        let mut plan = Plan { kernels, ..self.clone() };
        for (from, to) in self.steps.iter().zip(&mut plan.steps) {
            let (Operation::Linear(_, from), Operation::Linear(_, to)) =
                (&from.operation, &mut to.operation)
            else {
                continue;
            };
            let known = packed.iter().find(|(layer, _)| Arc::ptr_eq(layer, from));
            *to = match known {
                Some((_, layer)) => Arc::clone(layer),
                None => Arc::new(from.on(kernels)),
            };
            packed.push((from, Arc::clone(to)));
        }
        plan
    }

    /// The back end of what is not a linear layer.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Multiplications and additions of the linear layers for each row.
    pub fn linear_operations_per_row(&self) -> u64 {
        self.steps.iter().fold(0, |operations, step| match &step.operation {
            Operation::Linear(_, layer) => {
                operations + 2 * layer.inputs() as u64 * layer.outputs() as u64
            }
            _ => operations,
        })
    }

    /// Runs the operations on rows that `spans` divides, one span behind the other: only attention heeds where
    /// one ends. `fill` is called for each input that is needed and has elements, with its number and a slice
    /// `[rows, columns]` that holds anything, to write the input there. Returns the outputs in the order that
    /// [`super::Graph::finish`] was given, `[rows, columns]` each. The caller checks the results.
    ///
    /// # Panics
    /// If rows times columns exceed a `usize`.
    pub fn run<'w>(
        &self,
        arithmetic: Arithmetic,
        spans: &[usize],
        mut fill: impl FnMut(usize, &mut [f32]),
        workspace: &'w mut Workspace,
    ) -> Vec<&'w [f32]> {
        let fits = "rows times columns fit a usize";
        let rows = spans.iter().try_fold(0usize, |rows, span| rows.checked_add(*span)).expect(fits);
        let run = Run { arithmetic, kernels: self.kernels, spans, rows };
        let Workspace { spaces, head } = workspace;
        if spaces.len() < self.buffers.len() {
            spaces.resize_with(self.buffers.len(), Scratch::default);
        }
        for (space, columns) in spaces.iter_mut().zip(&self.buffers) {
            space.grow(rows.checked_mul(*columns).expect(fits));
        }
        for step in &self.steps {
            // Nothing is computed of nothing: kernels need not know what that is.
            if rows * step.columns == 0 {
                continue;
            }
            // Out of the workspace, so that the other buffers can be read.
            let mut to = mem::take(&mut spaces[step.to]);
            let out = to.take(rows * step.columns);
            match &step.operation {
                Operation::Input(number) => fill(*number, out),
                operation => self.execute(operation, step.to, run, spaces, head, out),
            }
            spaces[step.to] = to;
        }
        let spaces = &*spaces;
        self.outputs.iter().map(|value| self.value(*value, rows, spaces)).collect()
    }

    /// Writes the result of `operation` to `out`, which is buffer `to` and where an operand may lie already.
    fn execute(
        &self,
        operation: &Operation,
        to: usize,
        run: Run<'_>,
        spaces: &[Scratch],
        head: &mut Head,
        out: &mut [f32],
    ) {
        let Run { arithmetic, kernels, rows, .. } = run;
        let value = |of: Value| self.value(of, rows, spaces);
        let lies_there = |of: Value| self.steps[of.0].to == to;
        let begin_with = |of: Value, out: &mut [f32]| {
            if !lies_there(of) {
                out.copy_from_slice(value(of));
            }
        };
        match operation {
            Operation::Input(_) => {}
            Operation::Linear(x, layer) => layer.apply(arithmetic, rows, value(*x), out),
            Operation::Add(a, b) => {
                // A sum of two does not depend on their order.
                let (changed, added) = if lies_there(*b) { (*b, *a) } else { (*a, *b) };
                begin_with(changed, out);
                kernels.add_scaled(out, value(added), 1.0);
            }
            Operation::Gelu(x) => {
                begin_with(*x, out);
                match arithmetic {
                    Arithmetic::Canonical => kernels.gelu(out),
                    Arithmetic::Fast => fast::gelu(out),
                }
            }
            Operation::LayerNorm(x, norm) => {
                begin_with(*x, out);
                norm.apply(arithmetic, kernels, out);
            }
            Operation::Attention(qkv, heads) => {
                attention::attend(run, *heads, value(*qkv), out, head);
            }
        }
    }

    fn value<'w>(&self, value: Value, rows: usize, spaces: &'w [Scratch]) -> &'w [f32] {
        let step = &self.steps[value.0];
        &spaces[step.to].values()[..rows * step.columns]
    }
}

/// What all operations of a run are told.
#[derive(Clone, Copy)]
pub(super) struct Run<'r> {
    pub(super) arithmetic: Arithmetic,
    pub(super) kernels: Kernels,
    pub(super) spans: &'r [usize],
    /// Those of all spans.
    pub(super) rows: usize,
}

/// Writes a buffer into each step; returns the columns of each buffer.
fn assign(steps: &mut [Step], outputs: &[Value]) -> Vec<usize> {
    let mut last_uses = vec![0; steps.len()];
    for (at, step) in steps.iter().enumerate() {
        step.operation.operands().for_each(|value| last_uses[value.0] = at);
    }
    outputs.iter().for_each(|value| last_uses[value.0] = usize::MAX);
    let mut buffers = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    for at in 0..steps.len() {
        let Step { operation, columns, .. } = &steps[at];
        let changed = operation.changeable().find(|value| last_uses[value.0] == at);
        let to = match changed {
            Some(value) => steps[value.0].to,
            None => choose(&mut free, &mut buffers, *columns),
        };
        // Only now: an operation does not write where it still reads.
        for value in operation.operands().filter(|value| last_uses[value.0] == at) {
            let from = steps[value.0].to;
            if from != to && !free.contains(&from) {
                free.push(from);
            }
        }
        steps[at].to = to;
    }
    buffers
}

/// The narrowest free buffer that has the columns, or the widest, made wider, or a new one.
fn choose(free: &mut Vec<usize>, buffers: &mut Vec<usize>, columns: usize) -> usize {
    let wide = (0..free.len()).filter(|at| buffers[free[*at]] >= columns);
    let narrowest = wide.min_by_key(|at| buffers[free[*at]]);
    let best = narrowest.or_else(|| (0..free.len()).max_by_key(|at| buffers[free[*at]]));
    let Some(at) = best else {
        buffers.push(columns);
        return buffers.len() - 1;
    };
    let to = free.swap_remove(at);
    buffers[to] = buffers[to].max(columns);
    to
}
