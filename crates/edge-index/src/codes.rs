//! What a walk along the graph compares instead of the rows, by [`Storage`].
//!
//! Every distance is a function of the vectors alone, the same on every machine: integer dot products of
//! 8-bit codes times scales in a fixed order, canonical scores of f32 rows, or numbers of bits.

use edge_kernels::canon::{self, Kernels};
use edge_kernels::codes::{CodeQuery, CodeRows, prefetch};

use crate::blocks::Blocks;
use crate::{Metric, Storage};

/// The code of what rows are compared with: a query, or a row. What its storage does not use is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    query: CodeQuery,
    scale: f32,
    norm: f32,
    /// Of a query; what a row's place in the table holds.
    code: Vec<i8>,
    vector: Vec<f32>,
    bits: Vec<u64>,
}

/// A code of each row.
#[derive(Clone, Debug)]
pub(crate) struct Codes {
    dim: usize,
    metric: Metric,
    kernels: Kernels,
    table: Table,
}

#[derive(Clone, Debug)]
enum Table {
    /// `code * scale` is near the vector.
    Int8 {
        rows: CodeRows,
        scales: Vec<f32>,
        /// The squared length of `code * scale`; of [`Metric::L2`] only.
        norms: Vec<f32>,
    },
    /// The vectors.
    F32(Blocks<f32>),
    /// Which components are above 0.
    Binary(Blocks<u64>),
}

impl Codes {
    pub(crate) fn new(dim: usize, metric: Metric, storage: Storage) -> Self {
        let table = match storage {
            Storage::Int8 => {
                Table::Int8 { rows: CodeRows::new(dim), scales: Vec::new(), norms: Vec::new() }
            }
            Storage::F32 => Table::F32(Blocks::new(dim)),
            Storage::Binary => Table::Binary(Blocks::new(canon::words_of_bits(dim))),
        };
        Codes { dim, metric, kernels: Kernels::active(), table }
    }

    /// Makes `probe` the code of a vector in canonical form.
    pub(crate) fn ask(&self, vector: &[f32], probe: &mut Probe) {
        match &self.table {
            Table::Int8 { rows, .. } => {
                let finite = "invariant: canonical vectors are finite";
                let scale = canon::scale_i8(vector).expect(finite);
                probe.code.resize(self.dim, 0);
                self.kernels.quantize_i8(vector, scale, &mut probe.code).expect(finite);
                rows.ask(&probe.code, &mut probe.query);
                probe.scale = scale;
                if self.metric == Metric::L2 {
                    let dot = self.kernels.dot_i8(&probe.code, &probe.code);
                    probe.norm = canon::score_i8(dot, scale, scale);
                }
            }
            Table::F32(_) => copy(vector, &mut probe.vector),
            Table::Binary(table) => {
                probe.bits.resize(table.width(), 0);
                canon::sign_bits(vector, &mut probe.bits);
            }
        }
    }

    /// Makes `probe` the code of a row.
    pub(crate) fn ask_row(&self, row: u32, probe: &mut Probe) {
        match &self.table {
            Table::Int8 { rows, scales, norms } => {
                rows.ask_row(row, &mut probe.query);
                probe.scale = scales[row as usize];
                if self.metric == Metric::L2 {
                    probe.norm = norms[row as usize];
                }
            }
            Table::F32(table) => copy(table.row(row as usize), &mut probe.vector),
            Table::Binary(table) => copy(table.row(row as usize), &mut probe.bits),
        }
    }

    /// Appends the row whose vector `probe` was made of.
    pub(crate) fn push(&mut self, probe: &Probe) {
        match &mut self.table {
            Table::Int8 { rows, scales, norms } => {
                rows.push(&probe.code);
                scales.push(probe.scale);
                if self.metric == Metric::L2 {
                    norms.push(probe.norm);
                }
            }
            Table::F32(table) => table.push(&probe.vector),
            Table::Binary(table) => table.push(&probe.bits),
        }
    }

    /// Removes a row; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, row: u32) {
        match &mut self.table {
            Table::Int8 { rows, scales, norms } => {
                rows.swap_remove(row);
                scales.swap_remove(row as usize);
                if self.metric == Metric::L2 {
                    norms.swap_remove(row as usize);
                }
            }
            Table::F32(table) => table.swap_remove(row as usize),
            Table::Binary(table) => table.swap_remove(row as usize),
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        match &self.table {
            Table::Int8 { rows, scales, norms } => {
                rows.bytes() + (scales.capacity() + norms.capacity()) * 4
            }
            Table::F32(table) => table.bytes().0,
            Table::Binary(table) => table.bytes().0,
        }
    }

    /// Calls `each` with every row of `rows` and its distance from the probe, in order: less is nearer, and
    /// always finite. `dots` is room to work in.
    #[inline]
    pub(crate) fn distances(
        &self,
        probe: &Probe,
        rows: &[u32],
        dots: &mut Vec<i32>,
        mut each: impl FnMut(u32, f32),
    ) {
        match &self.table {
            Table::Int8 { rows: codes, scales, norms } => {
                codes.dots(&probe.query, rows, dots);
                for (row, dot) in rows.iter().zip(&*dots) {
                    let product = canon::score_i8(*dot, probe.scale, scales[*row as usize]);
                    let distance = match self.metric {
                        Metric::Cosine | Metric::Dot => 0.0 - product,
                        Metric::L2 => (probe.norm + norms[*row as usize]) - 2.0 * product,
                    };
                    each(*row, distance);
                }
            }
            Table::F32(table) => scattered(table, rows, |row, vector| {
                each(row, 0.0 - self.metric.score_canonical(&probe.vector, vector));
            }),
            Table::Binary(table) => scattered(table, rows, |row, bits| {
                // At most `DIM_MAX`: exact as f32.
                each(row, self.kernels.hamming(&probe.bits, bits) as f32);
            }),
        }
    }
}

fn copy<T: Copy>(from: &[T], to: &mut Vec<T>) {
    to.clear();
    to.extend_from_slice(from);
}

/// Calls `each` with some rows, which are fetched ahead.
#[inline]
fn scattered<T: bytemuck::Pod>(table: &Blocks<T>, rows: &[u32], mut each: impl FnMut(u32, &[T])) {
    const AHEAD: usize = 4;
    rows.iter().take(AHEAD).for_each(|row| prefetch(table.row(*row as usize)));
    for (at, row) in rows.iter().enumerate() {
        if let Some(next) = rows.get(at + AHEAD) {
            prefetch(table.row(*next as usize));
        }
        each(*row, table.row(*row as usize));
    }
}
