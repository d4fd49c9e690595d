//! 8-bit codes of the rows: what a walk along the graph compares.

use edge_kernels::canon::{self, Kernels};
use edge_kernels::codes::{CodeQuery, CodeRows};

use crate::Metric;

/// The code of what rows are compared with: a query, or a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    query: CodeQuery,
    scale: f32,
    norm: f32,
    /// Of a query; what a row's place in the table holds.
    code: Vec<i8>,
}

/// A code of each row: `code * scale` is near the vector. Distances of codes are integer dot products
/// times scales in a fixed order, so the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Codes {
    dim: usize,
    metric: Metric,
    kernels: Kernels,
    rows: CodeRows,
    scales: Vec<f32>,
    /// The squared length of `code * scale`; of [`Metric::L2`] only.
    norms: Vec<f32>,
}

impl Codes {
    pub(crate) fn new(dim: usize, metric: Metric) -> Self {
        Codes {
            dim,
            metric,
            kernels: Kernels::active(),
            rows: CodeRows::new(dim),
            scales: Vec::new(),
            norms: Vec::new(),
        }
    }

    /// Makes `probe` the code of a vector in canonical form.
    pub(crate) fn ask(&self, vector: &[f32], probe: &mut Probe) {
        let scale = canon::scale_i8(vector).expect("invariant: canonical vectors are finite");
        probe.code.resize(self.dim, 0);
        self.kernels
            .quantize_i8(vector, scale, &mut probe.code)
            .expect("invariant: canonical vectors are finite");
        self.rows.ask(&probe.code, &mut probe.query);
        probe.scale = scale;
        if self.metric == Metric::L2 {
            let dot = self.kernels.dot_i8(&probe.code, &probe.code);
            probe.norm = canon::score_i8(dot, scale, scale);
        }
    }

    /// Makes `probe` the code of a row.
    pub(crate) fn ask_row(&self, row: u32, probe: &mut Probe) {
        self.rows.ask_row(row, &mut probe.query);
        probe.scale = self.scales[row as usize];
        if self.metric == Metric::L2 {
            probe.norm = self.norms[row as usize];
        }
    }

    /// Appends the row whose vector `probe` was made of.
    pub(crate) fn push(&mut self, probe: &Probe) {
        self.rows.push(&probe.code);
        self.scales.push(probe.scale);
        if self.metric == Metric::L2 {
            self.norms.push(probe.norm);
        }
    }

    /// Removes a row; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, row: u32) {
        self.rows.swap_remove(row);
        self.scales.swap_remove(row as usize);
        if self.metric == Metric::L2 {
            self.norms.swap_remove(row as usize);
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + (self.scales.capacity() + self.norms.capacity()) * 4
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
        self.rows.dots(&probe.query, rows, dots);
        for (row, dot) in rows.iter().zip(&*dots) {
            let product = canon::score_i8(*dot, probe.scale, self.scales[*row as usize]);
            let distance = match self.metric {
                Metric::Cosine | Metric::Dot => 0.0 - product,
                Metric::L2 => (probe.norm + self.norms[*row as usize]) - 2.0 * product,
            };
            each(*row, distance);
        }
    }
}
