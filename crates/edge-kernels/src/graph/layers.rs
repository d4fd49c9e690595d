//! The operations that have weights, and the arithmetic that all are run with.

use super::{Shape, ShapeError, check};
use crate::canon::{Kernels, PackedMatrix};
use crate::fast;

/// Of rows whose sum of squares is below it, 2^100, neither a variance nor a score overflows.
const SQUARES_MAX: f32 = f32::from_bits((127 + 100) << 23);

/// Which arithmetic a result is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// That of [`crate::canon`]: the same bits everywhere.
    Canonical,
    /// That of [`crate::fast`], for results that nobody compares.
    Fast,
}

/// A linear layer: a matrix `[in, out]`, packed for one back end, and perhaps a bias `[out]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: PackedMatrix,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// # Errors
    /// If the bias is not as long as the matrix is wide.
    pub fn new(weight: PackedMatrix, bias: Option<Vec<f32>>) -> Result<Linear, ShapeError> {
        if let Some(bias) = &bias {
            let (left, right) = (Shape::Matrix(weight.k(), weight.n()), Shape::Vector(bias.len()));
            check(bias.len() == weight.n(), "bias", left, right)?;
        }
        Ok(Linear { weight, bias })
    }

    /// Columns of what it is applied to.
    pub fn inputs(&self) -> usize {
        self.weight.k()
    }

    /// Columns of the result.
    pub fn outputs(&self) -> usize {
        self.weight.n()
    }

    /// The same layer, packed for another back end.
    pub fn on(&self, kernels: Kernels) -> Linear {
        Linear { weight: self.weight.repacked(kernels), bias: self.bias.clone() }
    }

    /// `c = a W + b` with `a` `[rows, in]` and `c` `[rows, out]`; `c` is overwritten. The canonical bias is
    /// added by `add_scaled` with factor 1.
    ///
    /// # Panics
    /// If a slice does not have the size its shape says.
    pub fn apply(&self, arithmetic: Arithmetic, rows: usize, a: &[f32], c: &mut [f32]) {
        match arithmetic {
            Arithmetic::Canonical => self.weight.multiply(rows, a, c),
            Arithmetic::Fast => fast::matmul_packed(rows, a, &self.weight, c),
        }
        if let Some(bias) = self.bias.as_ref().filter(|bias| !bias.is_empty()) {
            for row in c.chunks_exact_mut(bias.len()) {
                self.weight.kernels().add_scaled(row, bias, 1.0);
            }
        }
    }
}

/// Gain, bias and epsilon of a layer norm (Ba et al., arXiv 1607.06450).
#[derive(Clone, Debug)]
pub struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    /// # Errors
    /// If gain and bias differ in length.
    pub fn new(gain: Vec<f32>, bias: Vec<f32>, epsilon: f32) -> Result<Norm, ShapeError> {
        let (left, right) = (Shape::Vector(gain.len()), Shape::Vector(bias.len()));
        check(gain.len() == bias.len(), "norm", left, right)?;
        Ok(Norm { gain, bias, epsilon })
    }

    pub(super) fn len(&self) -> usize {
        self.gain.len()
    }

    /// `rows` is `[any, len]` and not empty.
    pub(super) fn apply(&self, arithmetic: Arithmetic, kernels: Kernels, rows: &mut [f32]) {
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

/// Whether a row has no NaN, no infinity and nothing that would become one when it is squared.
pub(super) fn is_small(kernels: Kernels, row: &[f32]) -> bool {
    kernels.sum_squares(row) < SQUARES_MAX
}
