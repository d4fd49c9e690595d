//! Texts to vectors: the tokenizer, the embedding model that is compiled in, encoders that are loaded,
//! and the registry of models by content hash.
//!
//! **What it is not.** It holds no index, no task format and no training: the table in `model/` was
//! fitted by `oracles/distill/` and is data here. It reads no clock, file or environment and starts no
//! thread; a caller that wants more cores splits the batch, which changes no bit of the result.
//!
//! **The model.** A [`Tokenizer`] cuts a text into WordPiece ids exactly as BERT uncased does, by rules
//! pinned in a table, so that the compiler's Unicode version does not matter. A [`Model`] turns a batch of
//! texts into unit vectors; [`StaticModel`] does it by adding up one 8-bit row per token in canonical
//! arithmetic (`edge_kernels::canon`); an [`Encoder`] is a BERT of a sentence-transformers folder, whose
//! files the caller reads. Everything an embedding depends on is hashed into
//! [`Model::id`], and a [`Registry`] finds models by that hash or by name.
//!
//! ```
//! use edge_embed::{EmbedError, Model, Registry};
//!
//! let registry = Registry::builtin();
//! let model = registry.by_name("static-256").expect("compiled in");
//! let mut rows = Vec::new();
//! model.embed(&["compress a file", "make an archive smaller", "a game of chess"], &mut rows)?;
//! let row = |i: usize| &rows[i * model.dim()..(i + 1) * model.dim()];
//! let near = edge_kernels::canon::dot(row(0), row(1));
//! let far = edge_kernels::canon::dot(row(0), row(2));
//! assert!(near > far);
//! assert_eq!(model.embed(&["ok", " \t"], &mut rows), Err(EmbedError::EmptyText { index: 1 }));
//! # Ok::<(), EmbedError>(())
//! ```
//!
//! **Invariants.**
//! - Equal model ids and equal texts give equal bits, on every back end of the kernels and in any batch.
//! - An embedding has length 1 and no NaN, infinity or -0.
//! - No text makes anything here panic, take more than linear time, or read more than the first
//!   [`Model::max_tokens`] tokens for an embedding.

mod encoder;
mod model;
mod pack;
mod registry;
mod static_model;
mod tokenizer;

pub use encoder::{Encoder, EncoderFiles, LoadError};
pub use model::{EmbedError, Model};
pub use pack::PackError;
pub use registry::{Registry, RegistryError};
pub use static_model::StaticModel;
pub use tokenizer::{Tokenizer, UnknownToken, VocabularyError};
