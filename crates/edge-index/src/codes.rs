//! 8-bit codes of the rows: what a walk along the graph compares.

use edge_kernels::canon::{self, Kernels};

use crate::Metric;

/// The code of a query.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    code: Vec<i8>,
    scale: f32,
    norm: f32,
}

/// A code of each row: `code * scale` is near the vector. Distances of codes are integer dot products
/// times scales in a fixed order, so the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Codes {
    dim: usize,
    metric: Metric,
    kernels: Kernels,
    codes: Vec<i8>,
    scales: Vec<f32>,
    /// The squared length of `code * scale`.
    norms: Vec<f32>,
}

impl Codes {
    pub(crate) fn new(dim: usize, metric: Metric) -> Self {
        Codes {
            dim,
            metric,
            kernels: Kernels::active(),
            codes: Vec::new(),
            scales: Vec::new(),
            norms: Vec::new(),
        }
    }

    /// The code of a vector in canonical form.
    pub(crate) fn probe(&self, vector: &[f32]) -> Probe {
        let scale = canon::scale_i8(vector).expect("invariant: canonical vectors are finite");
        let mut code = vec![0i8; self.dim];
        self.kernels
            .quantize_i8(vector, scale, &mut code)
            .expect("invariant: canonical vectors are finite");
        let norm = canon::score_i8(self.kernels.dot_i8(&code, &code), scale, scale);
        Probe { code, scale, norm }
    }

    pub(crate) fn push(&mut self, probe: &Probe) {
        self.codes.extend_from_slice(&probe.code);
        self.scales.push(probe.scale);
        self.norms.push(probe.norm);
    }

    /// Removes a row; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, row: u32) {
        let (at, last) = (row as usize, self.scales.len() - 1);
        if at != last {
            self.codes.copy_within(last * self.dim.., at * self.dim);
        }
        self.codes.truncate(last * self.dim);
        self.scales.swap_remove(at);
        self.norms.swap_remove(at);
    }

    fn code(&self, row: u32) -> &[i8] {
        &self.codes[row as usize * self.dim..][..self.dim]
    }

    fn distance_of(&self, dot: i32, scales: (f32, f32), norms: (f32, f32)) -> f32 {
        let product = canon::score_i8(dot, scales.0, scales.1);
        match self.metric {
            Metric::Cosine | Metric::Dot => 0.0 - product,
            Metric::L2 => (norms.0 + norms.1) - 2.0 * product,
        }
    }

    /// The distance of a row from a query: less is nearer. Finite.
    #[inline]
    pub(crate) fn distance(&self, probe: &Probe, row: u32) -> f32 {
        let dot = self.kernels.dot_i8(&probe.code, self.code(row));
        let at = row as usize;
        self.distance_of(dot, (probe.scale, self.scales[at]), (probe.norm, self.norms[at]))
    }

    /// The distance of two rows.
    #[inline]
    pub(crate) fn between(&self, a: u32, b: u32) -> f32 {
        let dot = self.kernels.dot_i8(self.code(a), self.code(b));
        let (a, b) = (a as usize, b as usize);
        self.distance_of(dot, (self.scales[a], self.scales[b]), (self.norms[a], self.norms[b]))
    }
}
