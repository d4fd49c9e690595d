//! Numeric kernels whose results are the same bits on every machine.
//!
//! **What it is.** [`canon`] is canon-1, the exact meaning of a canonical result: dot products, norms,
//! softmax, matrix products, 8-bit dot products and top-k, each defined down to the rounding of every
//! operation, with back ends for scalar, AVX2, AVX-512, NEON and wasm SIMD that agree bit for bit.
//! [`fast`] gives up the agreement, for results that nobody compares. [`graph`] records a model's operations,
//! checks their shapes, and runs them in either arithmetic on buffers that are used again. [`operations`] are
//! cut into parts, for a page that has the workers of its tab compute.
//!
//! **What it is not.** It knows no model and no policy, starts no thread, reads no environment. `canon` is
//! not the fastest possible arithmetic: fused multiply-add, reassociation and approximate reciprocals are
//! left to `fast`, because a peer must be able to check an answer by comparing 32 bytes.
//!
//! **The model.** A reduction has sixteen accumulators and element `i` goes to accumulator `i mod 16`; a
//! vector register of any width is a run of those accumulators, so one definition fits one 512-bit, two
//! 256-bit or four 128-bit registers. Products are rounded before they are added. Matrix products use
//! vectors across outputs only. [`simd`] says what the machine has and chooses; [`canon::Kernels`] names
//! one back end explicitly; [`canon::scalar`] is the definition in plain Rust and the twin that tests
//! compare with; [`conformance`] is the corpus whose digest says whether a build is canon-1, which a node
//! asks before it takes work. `docs/canon.md` states the same for somebody who writes another implementation.
//!
//! ```
//! use edge_kernels::{canon, simd};
//!
//! let a = [1.0, 2.0, 3.0];
//! let b = [0.5, -1.0, 2.0];
//! assert_eq!(canon::dot(&a, &b), 4.5);
//! for simd in simd::available() {
//!     let kernels = canon::Kernels::on(simd)?;
//!     assert_eq!(kernels.dot(&a, &b).to_bits(), canon::scalar::dot(&a, &b).to_bits());
//! }
//! # Ok::<(), simd::Unavailable>(())
//! ```
//!
//! **Invariants.**
//! - For finite inputs every back end returns the bits of [`canon::scalar`].
//! - No canonical result is -0, and a function that returns `Result` returns no NaN or infinity.
//! - `unsafe` occurs only in the vector back ends, each function of which has a scalar twin under test.
//! - Nothing of `fast` is called by `canon` or reaches a digest.
//! - Deliberately absent: `mul_add` (but in `fast`), `Iterator::sum`, platform `libm`, relaxed SIMD,
//!   threads, I/O.

pub mod backend;
pub mod canon;
pub mod codes;
pub mod conformance;
pub mod fast;
pub mod graph;
pub mod operations;
mod rows;
mod scratch;
pub mod simd;

pub use rows::Rows;
pub use simd::{Simd, Unavailable, UnknownSimd, active, available, force};
