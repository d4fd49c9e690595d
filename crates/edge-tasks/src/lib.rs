//! Task kinds: canonical payloads, their execution and the verifiers of what others executed.
//!
//! **What it is not.** It is not the protocol: it knows no peer, no price and no signature, and it
//! decides about nobody. It reads no clock, file or environment and starts no thread. It is not an index
//! or a model either; it gives the bytes that travel their meaning in terms of those.
//!
//! **The model.** The protocol hands out [`edge_base::Work`]; [`Executor::execute`] is a function from it
//! to bytes. An [`EmbeddingPayload`] or [`MatchPayload`] is pure: equal bytes in, equal bytes out, on every
//! machine (canon-1); so is an [`encryption::EncryptionPayload`], on every machine that was given its key. A shard is the state that its log leads to: each batch is checked whole against
//! its manifest ([`RecordBody::entry`]) before any of it is applied, and searches see the state before or
//! after, never between. A [`edge_base::shard::ShardAnswer`] carries
//! the records, their Merkle proofs and their scores, so that [`edge_base::Work::CheckAnswer`] needs no
//! more than the query, the answer and the root; [`edge_base::Work::Replay`] computes what a batch must have
//! returned without an index. [`lie`] is what the simulator and the demonstration put behind all this.
//!
//! ```
//! use edge_base::{Digest, ShardId, Verdict, Work, codec};
//! use edge_base::shard::{AppendResult, LogBatch, ShardAnswer, ShardQuery};
//! use edge_tasks::{Executor, Layout, Metric, RecordBody, VectorQuery, record_id_for_text};
//!
//! let executor = Executor::new();
//! let layout = Layout::vectors(2, Metric::Cosine);
//! let (mut entries, mut bodies) = (Vec::new(), Vec::new());
//! for (name, vector) in [("north", vec![0.0, 2.0]), ("east", vec![3.0, 0.0])] {
//!     let body = RecordBody::canonical(&layout, vector, b"{\"kind\":\"wind\"}".to_vec())?;
//!     let (entry, bytes) = body.entry(record_id_for_text(name));
//!     entries.push(entry);
//!     bodies.push(bytes);
//! }
//! let shard = ShardId(Digest::of(b"winds"));
//! let (layout, prev) = (layout.encode(), Digest::default());
//! let batch = LogBatch { shard, layout, seq: 1, prev, entries, bodies };
//! let appended = executor.execute(&Work::Append { payload: codec::encode(&batch).into() })?;
//! let appended: AppendResult = codec::decode(&appended).unwrap();
//!
//! let query = VectorQuery { metric: Metric::Cosine, vector: vec![0.1, 1.0], ef: None, filter: None };
//! let query = ShardQuery { shard, seq_min: 1, k: 1, query: query.encode() };
//! let payload: std::sync::Arc<[u8]> = codec::encode(&query).into();
//! let answer = executor.execute(&Work::Search { payload: payload.clone() })?;
//! let decoded: ShardAnswer = codec::decode(&answer).unwrap();
//! assert_eq!(decoded.hits[0].id, record_id_for_text("north"));
//!
//! // A stranger, who has only the root.
//! let check = Work::CheckAnswer { payload, answer: answer.into(), root: appended.root };
//! let verdict = Executor::new().execute(&check)?;
//! assert_eq!(codec::decode(&verdict), Ok(Verdict::Holds));
//! # Ok::<(), edge_tasks::TaskError>(())
//! ```
//!
//! **Invariants.**
//! - Bytes from anywhere are data: no payload, answer or history panics, and none allocates more than a
//!   small multiple of its length.
//! - A batch is applied whole or not at all, and only when every body is the record that the manifest
//!   names, in canonical form.
//! - [`edge_base::Work::Replay`] of a log returns what [`edge_base::Work::Append`] returned.
//! - An answer that an honest executor gives is [`edge_base::Verdict::Holds`]; with any of its statements
//!   changed it is [`edge_base::Verdict::False`].
//! - Deliberately absent: timing, retries, sockets, and any use of what a peer says about itself.

#![warn(clippy::iter_over_hash_type)]

mod bounded;
pub mod canary;
mod check;
pub mod compression;
pub mod encryption;
mod error;
mod executor;
mod filter;
mod item;
mod layout;
pub mod lie;
pub mod matching;
mod pin;
mod query;
mod record;
mod replay;
mod shard;
mod snapshot;
mod text;
mod units;

/// How vectors compare, how searches look and how well they find: `edge-index`'s, here because a
/// [`Layout`], a [`VectorQuery`] and a [`ShardCheck`] name them.
pub use edge_index::{Mapping, Memory, Metric, Mode, RecallCheck, Storage};

pub use canary::{CanaryStore, Mixed};
pub use error::TaskError;
pub use executor::{Executor, SHARDS_MAX, Saved, Unsaved};
pub use filter::{FILTER_BYTES_MAX, filter_from_json};
pub use layout::{LAYOUT_BYTES_MAX, Layout};
pub use lie::{Liar, Lie, payload_of};
pub use matching::{Example, MatchPayload, MatchResult};
pub use pin::{
    CANON, compression_pin, default_layout, default_model, encryption_pin, match_pin, pin_of, pins,
    pins_with, shard_pin,
};
pub use query::{ANSWER_BYTES_MAX, EF_MAX, VectorQuery, score_from_key};
pub use record::{
    KEY_FIELD, RecordBody, normalised, record_id_for_key, record_id_for_text, take_key,
};
pub use replay::HISTORY_BYTES_MAX;
pub use shard::ShardCheck;
pub use snapshot::{MemorySnapshots, Snapshots};
pub use text::{EmbeddingPayload, EmbeddingResult, TEXT_BYTES_MAX, TEXT_BYTES_SUM_MAX, TEXTS_MAX};
pub use units::{
    append_units, compression_units, embedding_units, encryption_units, match_units, model_units,
    search_units,
};
