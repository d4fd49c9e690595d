//! Matrix product, attention and LoRA on a GPU, in single precision.
//!
//! **What it is.** Three kernels in WGSL (`src/shaders`), the language of WebGPU, and what runs them natively through
//! Vulkan: [`Gpu`] opens an adapter, holds the compiled kernels and a bounded pool for transfers, and computes on
//! slices or, with [`Batch`], on [`Buffer`]s that stay in the GPU's memory. A browser tab runs the same three files
//! (`js/src/gpu.ts`); here they are tested against the CPU's kernels and measured (`cargo xtask bench gpu`).
//!
//! **What it is not.** No node uses it: the sums of a GPU are not in canon-1's order and its `exp` is not
//! canon-1's, so its results have other bits on every adapter and cannot be compared by digest (`docs/canon.md`,
//! `docs/adr/0034-gpu-results-are-a-tabs-own.md`).
//!
//! **The model.** One device, one queue. What a call may need is checked before anything is sent: lengths against
//! shapes, sizes against the adapter's limits, memory against [`Settings::memory_bytes_max`]. A lost device or an
//! error of the driver is a [`GpuError`] of this call and of every later one. Values are not looked at: with
//! infinities or NaN among them results have no meaning.
//!
//! ```
//! use edge_gpu::{Gpu, OpenError, Product, Settings};
//!
//! let gpu = match Gpu::open(&Settings::default()) {
//!     Err(OpenError::NoAdapter { .. }) => return Ok(()),
//!     opened => opened?,
//! };
//! let c = gpu.matmul(Product { m: 1, k: 2, n: 2 }, &[2.0, 3.0], &[1.0, 0.0, 0.0, 1.0])?;
//! assert_eq!(c, [2.0, 3.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Invariants.** Transfers take at most [`STAGING_BYTES`] of staging memory, whatever their size. No `unsafe`.
//! Deliberately absent: any decision when a GPU is worth its transfers, and half precision.

mod adapter;
mod device;
mod error;
mod shape;
mod staging;
#[cfg(test)]
mod tests;

pub use adapter::{Adapter, Choice, Settings};
pub use device::{Batch, Buffer, Gpu};
pub use error::{GpuError, OpenError};
pub use shape::{DIM_MAX, Heads, LowRank, Product};
pub use staging::STAGING_BYTES;
