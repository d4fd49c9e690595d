//! What a peer asks of its machine: the boundary between the protocol and computation. The
//! protocol hands out [`Work`]; `edge-tasks` executes it; the result comes back as bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Digest, ShardId, TaskKind};

/// A piece of computation, with all that it needs as bytes. Encoded only between two workers of one tab:
/// what two nodes say to each other are messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Work {
    /// A pure task: `embedding`, `semantic_match`, `compression` or `encryption`. Result: the task's canonical result.
    Run {
        /// The kind.
        kind: TaskKind,
        /// The canonical payload.
        #[serde(with = "shared")]
        payload: Arc<[u8]>,
    },
    /// Apply one batch to a shard held here. Batches of a shard are handed out in order, one at a
    /// time. Result: an encoded [`crate::shard::AppendResult`].
    Append {
        /// An encoded [`crate::shard::LogBatch`].
        #[serde(with = "shared")]
        payload: Arc<[u8]>,
    },
    /// Search a shard held here. Result: an encoded [`crate::shard::ShardAnswer`].
    Search {
        /// An encoded [`crate::shard::ShardQuery`].
        #[serde(with = "shared")]
        payload: Arc<[u8]>,
    },
    /// Check every hit of another node's answer: its Merkle path to `root`, its score, the order
    /// and the count. Result: an encoded [`Verdict`].
    CheckAnswer {
        /// An encoded [`crate::shard::ShardQuery`].
        #[serde(with = "shared")]
        payload: Arc<[u8]>,
        /// An encoded [`crate::shard::ShardAnswer`].
        #[serde(with = "shared")]
        answer: Arc<[u8]>,
        /// The root that the shard's owner accepted for the answer's position.
        root: Digest,
    },
    /// Execute one item of a batch, of an `embedding` or a `semantic_match`, and compare it with what
    /// another node's result for the whole batch says of it. Result: an encoded [`Verdict`].
    CheckItem {
        /// The kind.
        kind: TaskKind,
        /// The canonical payload of the batch.
        #[serde(with = "shared")]
        payload: Arc<[u8]>,
        /// The result that is checked.
        #[serde(with = "shared")]
        result: Arc<[u8]>,
        /// A byte of it: the item that this byte belongs to is executed, the first for a byte before
        /// all items.
        byte: u64,
    },
    /// Compute what a `vector_insert` must have returned, from the log's entries alone, without an
    /// index. Result: an encoded [`crate::shard::AppendResult`], or an error when the batch does
    /// not continue the history.
    Replay {
        /// The encoded `Vec<Vec<LogEntry>>` of all batches before.
        #[serde(with = "shared")]
        history: Arc<[u8]>,
        /// An encoded [`crate::shard::LogBatch`].
        #[serde(with = "shared")]
        payload: Arc<[u8]>,
    },
    /// Make a shard what it was when a snapshot of it was taken, so that its log need not be applied from
    /// the beginning. A shard that is held is forgotten. Result: an encoded
    /// `Option<`[`crate::shard::AppendResult`]`>`: the position it is at now; `None` when there is no
    /// snapshot that fits, and then the shard is not held and there is none.
    Restore {
        /// The shard.
        shard: ShardId,
        /// A snapshot of a later position does not fit ...
        seq: u64,
        /// ... nor one of this position whose log had another chain.
        chain: Digest,
    },
    /// Forget a shard held here, and its snapshot. Result: empty.
    Drop {
        /// The shard.
        shard: ShardId,
    },
    /// Work for somebody who pays for so much of it. Result: the work's, or the error [`UNDERPAID`] before
    /// anything is computed.
    Paid {
        /// Cost units that are paid: reference CPU-microseconds.
        units: u64,
        /// The work; not paid again.
        work: Box<Work>,
    },
}

/// The error of [`Work::Paid`] that costs more than is paid.
pub const UNDERPAID: &str = "the work costs more than is paid for it";

impl Work {
    /// The work itself, whoever pays.
    pub fn inner(&self) -> &Work {
        match self {
            Work::Paid { work, .. } => work.inner(),
            other => other,
        }
    }
}

/// What checking a certified answer found.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// Every statement in the answer holds.
    Holds,
    /// A statement in the answer is false; says which.
    False(String),
}
/// Shared bytes as bytes.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        Vec::deserialize(from).map(Arc::from)
    }
}
