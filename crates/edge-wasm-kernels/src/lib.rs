//! Operations on large arrays in a browser's workers.
//!
//! `edge_kernels::operations` for JavaScript: parts of matrix products, reductions, element-wise functions,
//! attention and low-rank updates. Each worker has one instance of this module with a memory of its own; the
//! package (`js/src/operations.ts`) cuts, hands out, and puts together. Arrays are `Floats`, which live in the
//! module's memory: a worker writes its part straight into them and keeps what several parts need.
//!
//! The module knows no model and no task, so that a page may load it alone.
//!
//! Invariant: equal parts give the bits that every other node's kernels give (canon-1).

#![cfg(target_arch = "wasm32")]
#![allow(clippy::too_many_arguments, reason = "JavaScript has no shapes")]

use edge_kernels::canon::Kernels;
use edge_kernels::operations::{self as ops, Attention, Elementwise, Lora, Reduction};
use edge_kernels::{Simd, conformance};
use wasm_bindgen::{JsError, prelude::wasm_bindgen};

/// An array in the module's memory.
#[wasm_bindgen]
pub struct Floats(Vec<f32>);

#[wasm_bindgen]
impl Floats {
    /// As many zeros.
    #[wasm_bindgen(constructor)]
    pub fn new(len: usize) -> Result<Floats, JsError> {
        let mut values = Vec::new();
        if len > ops::ELEMENTS_MAX || values.try_reserve_exact(len).is_err() {
            return Err(JsError::new("refused: the array does not fit this worker's memory"));
        }
        values.resize(len, 0.0);
        Ok(Floats(values))
    }

    /// Where it is, for a `Float32Array` over the module's memory, to be made anew after the memory has grown.
    #[wasm_bindgen(js_name = asPtr)]
    pub fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr()
    }

    /// Its elements.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

/// What computes: the module's vector instructions, or none of them.
#[wasm_bindgen]
pub struct Parts {
    kernels: Kernels,
}

#[wasm_bindgen]
impl Parts {
    /// With the best instructions that there are, or with `"scalar"`.
    #[wasm_bindgen(constructor)]
    pub fn new(instructions: Option<String>) -> Result<Parts, JsError> {
        let kernels = match instructions {
            Some(name) => Kernels::on(name.parse::<Simd>()?)?,
            None => Kernels::active(),
        };
        Ok(Parts { kernels })
    }

    /// The instructions it uses.
    pub fn instructions(&self) -> String {
        self.kernels.simd().to_string()
    }

    /// The digest of the conformance corpus by these instructions, 16 hexadecimal digits.
    pub fn conformance(&self) -> String {
        format!("{:016x}", conformance::digest(self.kernels))
    }

    /// Rows of `[m, n] = a b`: `a` is `[m, k]`, `b` `[k, n]`.
    pub fn matmul(
        &self,
        m: usize,
        n: usize,
        k: usize,
        a: &Floats,
        b: &Floats,
    ) -> Result<Floats, JsError> {
        Ok(Floats(ops::matmul_partial(self.kernels, [m, n, k], &a.0, &b.0)?))
    }

    /// What each block of a dot product gives.
    pub fn dot(&self, a: &Floats, b: &Floats) -> Result<Floats, JsError> {
        Ok(Floats(ops::dot_partial(self.kernels, &a.0, &b.0)?))
    }

    /// `add`, `mul`, `relu` or `sigmoid`; `b` is empty for those of one array.
    pub fn vector(&self, operation: &str, a: &Floats, b: &Floats) -> Result<Floats, JsError> {
        let operation = Elementwise::named(operation).ok_or_else(|| no_such(operation))?;
        Ok(Floats(ops::elementwise_partial(self.kernels, operation, &a.0, &b.0)?))
    }

    /// What each block gives to `sum`, `max`, `min` or `mean`.
    pub fn reduce(&self, reduction: &str, x: &Floats) -> Result<Floats, JsError> {
        Ok(Floats(ops::reduce_partial(self.kernels, reduction_of(reduction)?, &x.0)?))
    }

    /// One number from those of all blocks, of `count` elements altogether.
    pub fn merge(&self, reduction: &str, blocks: &Floats, count: usize) -> Result<f32, JsError> {
        Ok(ops::merge(self.kernels, reduction_of(reduction)?, &blocks.0, count)?)
    }

    /// Queries of one head, from token `first` on; `k` and `v` are `[tokens, dim]`.
    pub fn attention(
        &self,
        tokens: usize,
        dim: usize,
        causal: bool,
        first: usize,
        q: &Floats,
        k: &Floats,
        v: &Floats,
    ) -> Result<Floats, JsError> {
        let shape = Attention { heads: 1, tokens, dim, causal };
        Ok(Floats(ops::attention_partial(self.kernels, shape, first, &q.0, &k.0, &v.0)?))
    }

    /// Rows of `base + scale * (x a) b`.
    pub fn lora(
        &self,
        from: usize,
        to: usize,
        rank: usize,
        scale: f32,
        x: &Floats,
        base: &Floats,
        a: &Floats,
        b: &Floats,
    ) -> Result<Floats, JsError> {
        let shape = Lora { from, to, rank, scale };
        Ok(Floats(ops::lora_partial(self.kernels, shape, [&x.0, &base.0], [&a.0, &b.0])?))
    }
}

/// Elements in one part of `dot`, `vector` and `reduce`.
#[wasm_bindgen(js_name = elementsOfPart)]
pub fn elements_of_part() -> usize {
    ops::PART
}

/// Rows in one part of a product.
#[wasm_bindgen(js_name = matmulRows)]
pub fn matmul_rows(n: usize, k: usize) -> usize {
    ops::matmul_rows(n, k)
}

/// Queries of a head in one part.
#[wasm_bindgen(js_name = attentionRows)]
pub fn attention_rows(tokens: usize, dim: usize) -> usize {
    ops::attention_rows(tokens, dim)
}

/// Rows in one part of a low-rank update.
#[wasm_bindgen(js_name = loraRows)]
pub fn lora_rows(from: usize, to: usize, rank: usize) -> usize {
    ops::lora_rows(from, to, rank)
}

fn no_such(name: &str) -> JsError {
    JsError::new(&format!("invalid: there is no operation {name}"))
}

fn reduction_of(name: &str) -> Result<Reduction, JsError> {
    Reduction::named(name).ok_or_else(|| no_such(name))
}
