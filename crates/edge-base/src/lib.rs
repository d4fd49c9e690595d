//! The ground that every other crate of edge-net stands on: identities and signatures, digests,
//! integer credits, logical time, seeded randomness and the versioned codec.
//!
//! It is not a place for policy, arithmetic on floats or I/O: nothing here reads a clock, draws
//! entropy, opens a file or knows what a task computes. Time and randomness are passed in.
//!
//! The model: a [`NodeId`] is an Ed25519 public key. Whatever a node says that others must be able
//! to show to third parties is a [`Signed`] body: a domain tag, the pool's genesis hash and the
//! canonical encoding of the body, under one strict verification rule. A [`Digest`] names content.
//! A [`PiIdentity`] is a node id as it is written down, a [`backup`] its secret as it is stored, a
//! [`session`] what two nodes say to each other and nobody else reads.
//! [`Credits`] are integers with checked arithmetic; [`Timestamp`] is monotonic and never leaves a
//! process; [`WallTime`] is for display only.
//!
//! ```
//! use edge_base::{Digest, SecretKey, Signed, SignedBody, Domain, Verifier};
//! use serde::{Serialize, Deserialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! struct Greeting { text: String }
//! impl SignedBody for Greeting { const DOMAIN: Domain = Domain("greeting"); }
//!
//! let key = SecretKey::from_seed([7; 32]);
//! let pool = Digest::of(b"genesis");
//! let signed = Signed::seal(Greeting { text: "hello".into() }, &key, &pool);
//! let mut verifier = Verifier::strict();
//! assert_eq!(signed.open(&mut verifier, &pool).unwrap().text, "hello");
//! assert!(signed.open(&mut verifier, &Digest::of(b"another pool")).is_err());
//! ```
//!
//! Invariants
//! - A value has one encoding: what is hashed or signed is always encoded again from the decoded
//!   value, never taken from received bytes.
//! - Signature verification refuses non-canonical and small-order points (`verify_strict`).
//! - A public key or label read from outside is checked whole: nothing truncated is trusted.
//! - Arithmetic on [`Credits`] never wraps.

#![warn(clippy::iter_over_hash_type)]

pub mod backup;
pub mod codec;
mod credits;
mod digest;
mod gossip;
mod id;
mod identity;
mod kind;
pub mod merkle;
mod ring;
mod rng;
pub mod session;
pub mod shard;
mod signature;
mod time;
mod work;

pub use credits::{Credits, CreditsError};
pub use digest::{Digest, Hasher};
pub use gossip::Validation;
pub use id::{CollectionId, EscrowId, NodeId, RecordId, ShardId, TaskId};
pub use identity::{
    GENESIS_LABEL_BYTES, GenesisLabel, IDENTITY_BYTES, IDENTITY_FILE_BYTES, IdentityError,
    NetworkTag, PiIdentity, PoolPurpose, SUITE_VERSION,
};
pub use kind::{Determinism, TaskKind};
pub use ring::{Ring, RingSet};
pub use rng::Rng;
pub use signature::{
    Domain, PublicKeyError, SecretKey, Signature, SignatureError, Signed, SignedBody, Verifier,
    VerifierStats,
};
pub use time::{Micros, Timestamp, WallTime};
pub use work::{UNDERPAID, Verdict, Work};
