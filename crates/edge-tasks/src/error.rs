//! What can go wrong with a piece of work.

use edge_base::codec::DecodeError;
use edge_base::{Digest, ShardId, TaskKind};
use edge_index::{IndexError, Metric, VectorError};
use thiserror::Error;

/// Why work was not done. Nothing changed then. Whose fault it is: the input's (whoever made the
/// payload; every honest executor says the same), unless [`TaskError::is_local`].
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// [`edge_base::UNDERPAID`].
    #[error("{}", edge_base::UNDERPAID)]
    Underpaid,
    /// More bytes than allowed.
    #[error("{what} of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// What the bytes are.
        what: &'static str,
        /// How many.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Bytes that do not decode.
    #[error("{what} does not decode: {source}")]
    Malformed {
        /// What the bytes should have been.
        what: &'static str,
        /// What the codec says.
        source: DecodeError,
    },
    /// Bytes that decode and are not the encoding of what they decode to.
    #[error("{what} is not in its canonical encoding")]
    NotCanonical {
        /// What the bytes are.
        what: &'static str,
    },
    /// Too few or too many.
    #[error("{got} {what}: {least} to {most} are possible")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        got: u64,
        /// The fewest.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A NaN or an infinity.
    #[error("number {at} of {what} is not finite")]
    NotFinite {
        /// Where.
        what: &'static str,
        /// Its position, from 0.
        at: usize,
    },
    /// An embedding result whose numbers do not fill rows of its dimension.
    #[error("{numbers} numbers are no rows of {dim}")]
    Shape {
        /// The dimension.
        dim: u32,
        /// How many numbers there are.
        numbers: usize,
    },
    /// A text without a token.
    #[error("{what} {index} is empty: no token in it")]
    EmptyText {
        /// `text`, `label` or `example`.
        what: &'static str,
        /// Its place, from 0.
        index: usize,
    },
    /// A text whose embedding has no direction: the model's fault.
    #[error("{what} {index} has no embedding")]
    NoEmbedding {
        /// `text`, `label` or `example`.
        what: &'static str,
        /// Its place, from 0.
        index: usize,
    },
    /// An example of a label that the payload does not have.
    #[error("example {index} is of label {label}, which is not there")]
    NoSuchLabel {
        /// The example's place, from 0.
        index: usize,
        /// The label's place that it states.
        label: u32,
    },
    /// A model that this build does not have.
    #[error("no model {0} here")]
    UnknownModel(Digest),
    /// Bytes that are no Zstandard frames: broken off, damaged, or made with what is not supported.
    #[error("the data is not in Zstandard format: {0}")]
    NotZstd(String),
    /// More than the payload allows to come out.
    #[error("more than {limit} bytes come out, the most that the task allows")]
    OutputTooLarge {
        /// How many are allowed.
        limit: u32,
    },
    /// A key that this node was not given.
    #[error("no key {0} here")]
    UnknownKey(Digest),
    /// Fewer bytes than any encryption gives.
    #[error("the encrypted data breaks off: {bytes} bytes, and there are never fewer than {least}")]
    CutOff {
        /// How many there are.
        bytes: usize,
        /// The fewest there can be.
        least: usize,
    },
    /// What another version of this program encrypted, or none.
    #[error("the data is not encrypted, or in format {0}: this program knows format 1")]
    SealVersion(u8),
    /// Ciphertext whose tag is another one. By nature nobody can say which of the two it is.
    #[error("the data was not encrypted with this key, or was changed")]
    NotAuthentic,
    /// A kind of task that is not a pure function.
    #[error("{0} needs a shard: it cannot be run by itself")]
    NotPure(TaskKind),
    /// A batch whose counts, sizes or position contradict each other.
    #[error("the batch is not well formed: counts, sizes or position are out of bounds")]
    NotWellFormed,
    /// No such shard here.
    #[error("no shard {0} here")]
    UnknownShard(ShardId),
    /// More shards than one executor holds.
    #[error("{0} shards are held already")]
    TooManyShards(usize),
    /// A shard that holds half of a batch, because applying it panicked: our fault. Drop it and apply its
    /// log again.
    #[error("shard {0} is half written: drop it and apply its log again")]
    Broken(ShardId),
    /// A batch at another position than the next.
    #[error("batch {got} of shard {shard} where {expected} comes next")]
    Position {
        /// The shard.
        shard: ShardId,
        /// The next position.
        expected: u64,
        /// The batch's.
        got: u64,
    },
    /// A batch that continues another log.
    #[error(
        "batch {seq} of shard {shard} continues another log: {got} where {expected} is the chain"
    )]
    Chain {
        /// The shard.
        shard: ShardId,
        /// The batch's position.
        seq: u64,
        /// The chain of the log.
        expected: Digest,
        /// What the batch says.
        got: Digest,
    },
    /// A batch with another layout than the shard's.
    #[error("the batch has another layout than shard {0}")]
    OtherLayout(ShardId),
    /// A body that is no record of the shard.
    #[error("entry {entry} of the batch: {source}")]
    Body {
        /// The entry's place, from 0.
        entry: usize,
        /// Why.
        source: Box<TaskError>,
    },
    /// A body that is another record than the manifest names.
    #[error("the body has hash {got} where the manifest says {expected}")]
    RecordHash {
        /// In the manifest.
        expected: Digest,
        /// Of the body.
        got: Digest,
    },
    /// A vector that a replica would store in another form.
    #[error("the vector is not in canonical form")]
    VectorForm,
    /// A payload that is neither empty nor a JSON object.
    #[error("the payload is not a JSON object")]
    NotAnObject,
    /// A replica that has not got as far as the searcher wants.
    #[error("shard {shard} is at {applied}, {wanted} is wanted")]
    Behind {
        /// The shard.
        shard: ShardId,
        /// Where it is.
        applied: u64,
        /// Where it should be.
        wanted: u64,
    },
    /// A query by another metric than the collection's.
    #[error("the query compares by {query}, the collection by {shard}", query = query.name(), shard = shard.name())]
    OtherMetric {
        /// The query's.
        query: Metric,
        /// The collection's.
        shard: Metric,
    },
    /// A filter that is not understood.
    #[error("filter: {0}")]
    Filter(String),
    /// What the index refuses.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl TaskError {
    /// Whether the reason lies in what this executor holds, so that another one may succeed.
    pub fn is_local(&self) -> bool {
        matches!(
            self,
            TaskError::UnknownModel(_)
                | TaskError::UnknownKey(_)
                | TaskError::UnknownShard(_)
                | TaskError::TooManyShards(_)
                | TaskError::Broken(_)
                | TaskError::Position { .. }
                | TaskError::Chain { .. }
                | TaskError::Behind { .. }
        )
    }
}

impl From<VectorError> for TaskError {
    fn from(error: VectorError) -> Self {
        TaskError::Index(IndexError::Vector(error))
    }
}
