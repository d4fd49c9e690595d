//! Plans of random graphs beside an evaluation that gives every value its own buffer, and beside a search
//! for values that meet in one buffer.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use proptest::prelude::*;

use super::{Arithmetic, Graph, Linear, Norm, Plan, Shape, ShapeError, Value, Workspace};
use crate::canon::{Kernels, PackedMatrix};
use crate::conformance::SplitMix64;
use crate::fast::{self, Heads};
use crate::rows::Rows;
use crate::simd;

const WIDTHS: [usize; 5] = [2, 6, 12, 18, 36];
const EPSILON: f32 = 1e-5;

/// What was recorded, said again without the graph; operands are positions.
enum Call {
    Input,
    Linear { x: usize, weight: Vec<f32>, bias: Option<Vec<f32>> },
    Add(usize, usize),
    Gelu(usize),
    LayerNorm { x: usize, gain: Vec<f32>, bias: Vec<f32> },
    Attention { qkv: usize, heads: usize },
}

impl Call {
    fn operands(&self) -> Vec<usize> {
        match *self {
            Call::Input => vec![],
            Call::Add(a, b) => vec![a, b],
            Call::Linear { x, .. } | Call::Gelu(x) | Call::LayerNorm { x, .. } => vec![x],
            Call::Attention { qkv, .. } => vec![qkv],
        }
    }
}

struct Model {
    graph: Graph,
    values: Vec<Value>,
    calls: Vec<(Call, usize)>,
}

/// One draw for an operation: what, of which values, how wide.
type Draw = (u8, prop::sample::Index, prop::sample::Index, usize);

fn model(draws: &[Draw], random: &mut SplitMix64) -> Model {
    let kernels = Kernels::active();
    let mut units = |len: usize| -> Vec<f32> { (0..len).map(|_| random.unit()).collect() };
    let mut graph = Graph::new();
    let mut values = vec![graph.input(WIDTHS[1])];
    let mut calls = vec![(Call::Input, WIDTHS[1])];
    for (what, a, b, width) in draws {
        let x = a.index(values.len());
        let columns = calls[x].1;
        let heads = 1 + width % 2;
        let recorded = match what {
            0 => {
                values.push(graph.input(WIDTHS[*width]));
                calls.push((Call::Input, WIDTHS[*width]));
                continue;
            }
            1 | 2 => {
                let out = WIDTHS[*width];
                let weight = units(columns * out);
                let bias = (*what == 1).then(|| units(out));
                let packed = PackedMatrix::new(kernels, columns, out, &weight);
                let layer = Linear::new(packed, bias.clone()).unwrap();
                calls.push((Call::Linear { x, weight, bias }, out));
                graph.linear(values[x], layer)
            }
            3 | 4 => {
                let same: Vec<usize> =
                    (0..values.len()).filter(|at| calls[*at].1 == columns).collect();
                let y = same[b.index(same.len())];
                calls.push((Call::Add(x, y), columns));
                graph.add(values[x], values[y])
            }
            5 => {
                calls.push((Call::Gelu(x), columns));
                Ok(graph.gelu(values[x]))
            }
            6 if columns.is_multiple_of(3 * heads) => {
                calls.push((Call::Attention { qkv: x, heads }, columns / 3));
                graph.attention(values[x], heads)
            }
            _ => {
                let (gain, bias) = (units(columns), units(columns));
                let norm = Norm::new(gain.clone(), bias.clone(), EPSILON).unwrap();
                calls.push((Call::LayerNorm { x, gain, bias }, columns));
                graph.layer_norm(values[x], norm)
            }
        };
        values.push(recorded.unwrap());
    }
    Model { graph, values, calls }
}

fn needed(calls: &[(Call, usize)], outputs: &[usize]) -> Vec<bool> {
    let mut needed = vec![false; calls.len()];
    let mut open = outputs.to_vec();
    while let Some(at) = open.pop() {
        needed[at] = true;
        open.extend(calls[at].0.operands());
    }
    needed
}

/// The input of a number: small numbers, and now and then a row that no norm may see.
fn input(number: usize, rows: usize, columns: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64(seed ^ (number as u64) << 32);
    let mut values: Vec<f32> = (0..rows * columns).map(|_| random.unit()).collect();
    for row in values.chunks_mut(columns) {
        if random.next_u64().is_multiple_of(16) {
            row.iter_mut().for_each(|value| *value *= 1e25);
        }
    }
    values
}

/// Every value in a buffer of its own.
fn evaluate(
    calls: &[(Call, usize)],
    arithmetic: Arithmetic,
    spans: &[usize],
    seed: u64,
) -> Vec<Vec<f32>> {
    let kernels = Kernels::active();
    let rows = spans.iter().copied().fold(0, usize::saturating_add);
    let (mut values, mut inputs): (Vec<Vec<f32>>, usize) = (Vec::new(), 0);
    let canonical = arithmetic == Arithmetic::Canonical;
    for (call, columns) in calls {
        let value = match call {
            Call::Input => {
                inputs += 1;
                input(inputs - 1, rows, *columns, seed)
            }
            Call::Linear { x, weight, bias } => {
                let (k, mut out) = (calls[*x].1, vec![0.0; rows * columns]);
                if canonical {
                    kernels.matmul(rows, *columns, k, &values[*x], weight, &mut out);
                } else {
                    let packed = PackedMatrix::new(kernels, k, *columns, weight);
                    fast::matmul_packed(rows, &values[*x], &packed, &mut out);
                }
                let bias = bias.clone().unwrap_or_default();
                for row in out.chunks_mut(*columns) {
                    row.iter_mut().zip(&bias).for_each(|(to, bias)| *to += bias);
                }
                out
            }
            Call::Add(a, b) => values[*a].iter().zip(&values[*b]).map(|(a, b)| a + b).collect(),
            Call::Gelu(x) => {
                let mut out = values[*x].clone();
                if canonical {
                    kernels.gelu(&mut out)
                } else {
                    fast::gelu(&mut out)
                }
                out
            }
            Call::LayerNorm { x, gain, bias } => {
                let mut out = values[*x].clone();
                for row in out.chunks_mut(*columns) {
                    if !small(row) {
                        row.fill(f32::NAN);
                    } else if canonical {
                        kernels.layer_norm(row, gain, bias, EPSILON);
                    } else {
                        fast::layer_norm(row, gain, bias, EPSILON);
                    }
                }
                out
            }
            Call::Attention { qkv, heads } => {
                let mut out = Vec::new();
                let mut rest = &values[*qkv][..];
                for span in spans {
                    let (rows, others) = rest.split_at(span * 3 * columns);
                    rest = others;
                    let shape = Heads { heads: *heads, tokens: *span, dim: columns / heads };
                    out.extend(if canonical {
                        attend(shape, rows)
                    } else {
                        attend_fast(shape, rows)
                    });
                }
                out
            }
        };
        values.push(value);
    }
    values
}

fn small(row: &[f32]) -> bool {
    Kernels::active().sum_squares(row) < (1u128 << 100) as f32
}

/// By rows and columns, all queries at once.
fn attend(shape: Heads, qkv: &[f32]) -> Vec<f32> {
    let (kernels, Heads { heads, tokens, dim }) = (Kernels::active(), shape);
    let hidden = heads * dim;
    let mut out = vec![0.0; tokens * hidden];
    for head in 0..heads {
        let at = |part: usize, t: usize, d: usize| qkv[(3 * t + part) * hidden + head * dim + d];
        let table = |columns: usize, of: &dyn Fn(usize, usize) -> f32, rows: usize| -> Vec<f32> {
            (0..rows * columns).map(|i| of(i / columns, i % columns)).collect()
        };
        let scale = 1.0 / (dim as f32).sqrt();
        let q = table(dim, &|t, d| at(0, t, d) * scale + 0.0, tokens);
        let k = table(tokens, &|d, t| at(1, t, d), dim);
        let v = table(dim, &|t, d| at(2, t, d), tokens);
        let (mut scores, mut part) = (vec![0.0; tokens * tokens], vec![0.0; tokens * dim]);
        kernels.matmul(tokens, tokens, dim, &q, &k, &mut scores);
        for row in scores.chunks_mut(tokens.max(1)) {
            let _ = kernels.softmax(row);
        }
        kernels.matmul(tokens, dim, tokens, &scores, &v, &mut part);
        for (t, row) in part.chunks(dim).enumerate() {
            out[t * hidden + head * dim..][..dim].copy_from_slice(row);
        }
    }
    out
}

fn attend_fast(shape: Heads, qkv: &[f32]) -> Vec<f32> {
    let hidden = shape.heads * shape.dim;
    let mut out = vec![f32::NAN; shape.tokens * hidden];
    if shape.tokens > 0 && qkv.chunks(3 * hidden).all(small) {
        let rows = Rows { values: qkv, stride: 3 * hidden };
        let (k, v) = (rows.from_column(hidden), rows.from_column(2 * hidden));
        fast::attention(shape, rows, k, v, &mut out);
    }
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    let canonical = |value: &f32| if value.is_nan() { f32::NAN } else { *value };
    values.iter().map(|value| canonical(value).to_bits()).collect()
}

/// What is in a buffer when a step writes it must not be read later.
fn check_buffers(plan: &Plan, calls: &[(Call, usize)], outputs: &[usize]) {
    let needed = needed(calls, outputs);
    let kept: Vec<usize> = (0..calls.len()).filter(|at| needed[*at]).collect();
    assert_eq!(plan.steps.len(), kept.len(), "each needed operation is one step, no other is");
    for (now, call) in kept.iter().enumerate() {
        let (to, columns) = (plan.steps[now].to, calls[*call].1);
        assert!(plan.buffers[to] >= columns, "step {now} does not fit its buffer");
        for (before, value) in kept[..now].iter().enumerate() {
            let later = kept[now + 1..].iter().any(|at| calls[*at].0.operands().contains(value));
            let alive = later || outputs.contains(value);
            let reads = calls[*call].0.operands().contains(value);
            let by_rows = match calls[*call].0 {
                Call::Linear { .. } | Call::Attention { .. } => true,
                Call::Add(a, b) => a == b,
                Call::Input | Call::Gelu(_) | Call::LayerNorm { .. } => false,
            };
            let clash = plan.steps[before].to == to && (alive || (reads && by_rows));
            assert!(!clash, "step {now} overwrites the result of step {before}");
        }
    }
}

proptest! {
    #[test]
    fn a_plan_gives_what_every_value_in_its_own_buffer_gives(
        draws in prop::collection::vec(
            (0u8..9, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..5), 0..24),
        wanted in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        spans in prop::collection::vec(0usize..45, 0..4),
        seed in any::<u64>(),
    ) {
        let Model { graph, values, calls } = model(&draws, &mut SplitMix64(seed));
        let outputs: Vec<usize> = wanted.iter().map(|at| at.index(values.len())).collect();
        let asked: Vec<Value> = outputs.iter().map(|at| values[*at]).collect();
        let plan = graph.finish(Kernels::active(), &asked);
        check_buffers(&plan, &calls, &outputs);

        let inputs: Vec<usize> =
            (0..calls.len()).filter(|at| matches!(calls[*at].0, Call::Input)).collect();
        let needed = needed(&calls, &outputs);
        let rows = spans.iter().copied().fold(0, usize::saturating_add);
        let mut workspace = Workspace::default();
        for arithmetic in [Arithmetic::Canonical, Arithmetic::Fast] {
            for plan in [&plan, &plan.on(Kernels::active())] {
                let want = evaluate(&calls, arithmetic, &spans, seed);
                let fill = |number: usize, to: &mut [f32]| {
                    let at = inputs[number];
                    assert!(needed[at], "input {number} is filled for nobody");
                    to.copy_from_slice(&input(number, rows, calls[at].1, seed));
                };
                let got = plan.run(arithmetic, &spans, fill, &mut workspace);
                prop_assert_eq!(got.len(), outputs.len());
                for (got, at) in got.iter().zip(&outputs) {
                    prop_assert_eq!(bits(got), bits(&want[*at]), "value {} {:?}", at, arithmetic);
                }
            }
        }
        let want = evaluate(&calls, Arithmetic::Canonical, &spans, seed);
        for simd in simd::available() {
            let plan = plan.on(Kernels::on(simd).unwrap());
            let fill = |number: usize, to: &mut [f32]| {
                to.copy_from_slice(&input(number, rows, calls[inputs[number]].1, seed));
            };
            let got = plan.run(Arithmetic::Canonical, &spans, fill, &mut workspace);
            for (got, at) in got.iter().zip(&outputs) {
                prop_assert_eq!(bits(got), bits(&want[*at]), "value {} on {}", at, simd);
            }
        }
    }
}

fn linear(inputs: usize, outputs: usize) -> Linear {
    let matrix =
        PackedMatrix::new(Kernels::active(), inputs, outputs, &vec![0.01; inputs * outputs]);
    Linear::new(matrix, Some(vec![0.5; outputs])).unwrap()
}

fn norm(len: usize) -> Norm {
    Norm::new(vec![1.0; len], vec![0.0; len], EPSILON).unwrap()
}

/// Two layers of an encoder of MiniLM's size.
fn minilm() -> Plan {
    let mut graph = Graph::new();
    let sums = graph.input(384);
    let mut x = graph.layer_norm(sums, norm(384)).unwrap();
    for _ in 0..2 {
        let qkv = graph.linear(x, linear(384, 1152)).unwrap();
        let context = graph.attention(qkv, 12).unwrap();
        let change = graph.linear(context, linear(384, 384)).unwrap();
        let sum = graph.add(x, change).unwrap();
        x = graph.layer_norm(sum, norm(384)).unwrap();
        let up = graph.linear(x, linear(384, 1536)).unwrap();
        let up = graph.gelu(up);
        let change = graph.linear(up, linear(1536, 384)).unwrap();
        let sum = graph.add(x, change).unwrap();
        x = graph.layer_norm(sum, norm(384)).unwrap();
    }
    graph.finish(Kernels::active(), &[x])
}

/// x, what is between the two products of a layer's second half, and the change of x: no step needs less.
#[test]
fn an_encoder_of_minilms_size_runs_in_2_211_840_bytes() {
    let plan = minilm();
    assert_eq!(plan.buffers, [384, 1536, 384]);
    assert_eq!(plan.linear_operations_per_row(), 2 * 2 * (4 * 384 * 384 + 2 * 384 * 1536));
    let mut workspace = Workspace::default();
    plan.run(Arithmetic::Fast, &[200, 40], |_, x| x.fill(1.0), &mut workspace);
    // And what aligning three buffers takes.
    assert_eq!(workspace.bytes(), 2_211_840 + 3 * 60);
}

/// Of a wide and a narrow free buffer a narrow value takes the narrow one: the wide one is for the next.
#[test]
fn a_value_takes_the_narrowest_free_buffer() {
    let mut graph = Graph::new();
    let [a, b, c, d] = [36, 36, 6, 6].map(|columns| graph.input(columns));
    let (wide, narrow) = (graph.add(a, b).unwrap(), graph.add(c, d).unwrap());
    let outputs = [wide, narrow, graph.input(6), graph.input(36)];
    let plan = graph.finish(Kernels::active(), &outputs);
    assert_eq!(plan.buffers, [36, 36, 6, 6]);
}

#[test]
fn a_workspace_grows_to_the_largest_run_and_no_further() {
    let plan = minilm();
    let mut workspace = Workspace::default();
    let mut run = |arithmetic, spans: &[usize]| {
        plan.run(arithmetic, spans, |_, x| x.fill(1.0), &mut workspace);
        workspace.bytes()
    };
    let first = run(Arithmetic::Canonical, &[20, 44]);
    for spans in [&[20, 44][..], &[3], &[44], &[]] {
        assert_eq!(run(Arithmetic::Canonical, spans), first, "{spans:?}");
        assert_eq!(run(Arithmetic::Fast, spans), first, "{spans:?}, fast");
    }
    assert!(run(Arithmetic::Canonical, &[45, 44]) > first);
}

#[test]
fn a_wrong_shape_is_named_when_it_is_recorded() {
    let mut graph = Graph::new();
    let (four, six) = (graph.input(4), graph.input(6));
    let said = |error: ShapeError| error.to_string();
    let error = graph.add(four, six).unwrap_err();
    let want = ShapeError { operation: "add", left: Shape::Rows(4), right: Shape::Rows(6) };
    assert_eq!(error, want);
    assert_eq!(said(error), "add: [rows, 4] does not fit [rows, 6]");
    let error = graph.linear(four, linear(6, 4)).unwrap_err();
    assert_eq!(said(error), "linear: [rows, 4] does not fit [6, 4]");
    let error = graph.layer_norm(four, norm(6)).unwrap_err();
    assert_eq!(said(error), "layer_norm: [rows, 4] does not fit [6]");
    for (value, heads, why) in [
        (six, 4, "attention: [rows, 6] does not fit 3 x 4 heads"),
        (four, 1, "attention: [rows, 4] does not fit 3 x 1 heads"),
        (six, 0, "attention: [rows, 6] does not fit 3 x 0 heads"),
        (six, usize::MAX, &format!("attention: [rows, 6] does not fit 3 x {} heads", usize::MAX)),
    ] {
        assert_eq!(said(graph.attention(value, heads).unwrap_err()), why);
    }
    let matrix = PackedMatrix::new(Kernels::active(), 2, 3, &[0.0; 6]);
    let error = Linear::new(matrix, Some(vec![0.0; 2])).unwrap_err();
    assert_eq!(said(error), "bias: [2, 3] does not fit [2]");
    let error = Norm::new(vec![1.0; 3], vec![0.0; 2], EPSILON).unwrap_err();
    assert_eq!(said(error), "norm: [3] does not fit [2]");
    assert_eq!(
        graph.finish(Kernels::active(), &[four, six]).steps.len(),
        2,
        "no error is recorded"
    );
}

#[test]
fn what_nobody_needs_is_not_run() {
    let mut graph = Graph::new();
    let (used, unused) = (graph.input(2), graph.input(2));
    let out = graph.gelu(used);
    let dropped = graph.add(used, unused).unwrap();
    graph.layer_norm(dropped, norm(2)).unwrap();
    let plan = graph.finish(Kernels::active(), &[out]);
    assert_eq!((plan.steps.len(), &plan.buffers[..]), (2, &[2][..]));
    let mut filled = Vec::new();
    let mut fill = |number: usize, to: &mut [f32]| {
        filled.push(number);
        to.fill(0.0);
    };
    plan.run(Arithmetic::Canonical, &[3], &mut fill, &mut Workspace::default());
    assert_eq!(filled, [0]);
}

#[test]
fn weights_are_shared_and_packed_once_for_another_back_end() {
    let layer = Arc::new(linear(6, 6));
    let mut graph = Graph::new();
    let mut x = graph.input(6);
    for _ in 0..3 {
        x = graph.linear(x, Arc::clone(&layer)).unwrap();
    }
    let plan = graph.finish(Kernels::active(), &[x]);
    let _clone = plan.clone();
    assert_eq!(Arc::strong_count(&layer), 1 + 2 * 3);
    let scalar = Kernels::on(simd::Simd::Scalar).unwrap();
    let other = plan.on(scalar);
    assert_eq!(other.kernels(), scalar);
    let layers = other.steps[1..].iter().map(|step| match &step.operation {
        super::Operation::Linear(_, layer) => layer,
        _ => panic!("not a linear layer"),
    });
    let layers: Vec<&Arc<Linear>> = layers.collect();
    assert!(layers.iter().all(|other| Arc::ptr_eq(other, layers[0])));
    assert_eq!(Arc::strong_count(&layer), 1 + 2 * 3);
}
