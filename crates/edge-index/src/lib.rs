//! Vector collections: exact and HNSW search, deletes, payload filters, Merkle roots and proofs,
//! snapshots.
//!
//! It is not a database and not a network: an [`Index`] is the state that one shard's log leads to. It
//! opens no file, starts no thread, and does not know who wrote the log or who asks.
//!
//! The model: operations are applied in log order ([`Index::apply`]). A record is brought into
//! *canonical form* when it arrives ([`IndexConfig::canonical`]: finite, -0 folded, unit length for
//! cosine) and is then kept, hashed ([`record_hash`]) and scored in that form only. [`Index::root`] is a
//! Merkle root over the live records that depends on the set and not on its history, and
//! [`Index::prove`] shows somebody who has only the root that a record is in it, or that none with an id
//! is. A search over fewer than `exact_below` candidates compares the query with each of them
//! ([`Mode::Exact`]: one answer for one root, on every machine); above that it walks a graph
//! ([`Mode::Ann`]). Scores are canonical either way, so whoever holds a root, the hits' records and their
//! proofs can recompute every claim with [`score`].
//!
//! ```
//! use edge_base::{Digest, RecordId};
//! use edge_index::{Index, IndexConfig, Metric, Mode, Op, Record, record_hash, score};
//!
//! let mut index = Index::new(IndexConfig::new(2, Metric::Cosine)).unwrap();
//! for (name, vector) in [("north", [0.0, 2.0]), ("east", [3.0, 0.0]), ("north-east", [1.0, 1.0])] {
//!     let id = RecordId(Digest::of(name.as_bytes()));
//!     let payload = format!("{{\"name\":\"{name}\"}}").into_bytes();
//!     index.apply(Op::Upsert(Record { id, vector: vector.to_vec(), payload })).unwrap();
//! }
//! let query = [0.1, 1.0];
//! let found = index.search(&query, 2, None, None).unwrap();
//! assert_eq!(found.mode, Mode::Exact);
//!
//! // What a stranger checks, who has only the root, the record and the proof.
//! let (root, hit) = (index.root(), found.hits[0]);
//! let record = index.get(&hit.id).unwrap();
//! assert_eq!(record.payload, br#"{"name":"north"}"#);
//! assert!(index.prove(&hit.id).verify(&root, &hit.id, Some(&record_hash(&record))));
//! assert_eq!(score(Metric::Cosine, &query, &record.vector), hit.score);
//! ```
//!
//! Invariants
//! - The same configuration and the same log give the same root, the same graph and the same snapshot
//!   bytes on every machine.
//! - Every score in an answer equals [`score`] of the stored record, bit for bit; ties are ordered by id
//!   bytes.
//! - Applying what an index returned changes nothing.
//! - No input panics: records, queries, filters, proofs and snapshots from anywhere are data.

mod blocks;
mod codes;
mod config;
mod error;
mod filter;
mod graph;
mod index;
mod mapping;
mod merkle;
mod metric;
mod recall;
mod record;
mod rows;
mod scratches;
mod snapshot;

pub use config::{IndexConfig, Storage};
pub use edge_base::merkle::PROOF_STEPS_MAX;
pub use error::{IndexError, SnapshotError, VectorError};
pub use filter::{CONDITIONS_MAX, Condition, FIELDS_MAX, Filter, Test, VALUES_MAX, Value};
pub use index::{Applied, Hit, Index, Memory, Mode, Op, ROWS_MAX, SearchOutcome};
pub use mapping::Mapping;
pub use merkle::{MerkleProof, MerkleTree, Records, empty_root, root_of};
pub use metric::{COMPONENT_MAX, DIM_MAX, Metric, score};
pub use recall::RecallCheck;
pub use record::{PAYLOAD_BYTES_MAX, Record, record_hash};
pub use snapshot::SNAPSHOT_VERSION;
