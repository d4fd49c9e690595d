//! What can go wrong.

use thiserror::Error;

use crate::{COMPONENT_MAX, DIM_MAX, PAYLOAD_BYTES_MAX, ROWS_MAX};

/// Why a vector has no canonical form: the fault of whoever made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum VectorError {
    /// No component, or too many.
    #[error("a vector of {components} components: 1 to {DIM_MAX} are possible")]
    Size {
        /// How many it has.
        components: usize,
    },
    /// A NaN or an infinity.
    #[error("component {at} is not finite")]
    NotFinite {
        /// Its position.
        at: usize,
    },
    /// A component beyond [`COMPONENT_MAX`].
    #[error("component {at} is larger than {COMPONENT_MAX:e}")]
    TooLarge {
        /// Its position.
        at: usize,
    },
    /// Zero, or so small that its direction is lost: no cosine.
    #[error("a zero vector has no direction, so no cosine")]
    NoDirection,
}

/// Why an operation or a search was refused. The index is unchanged. Always the caller's fault, or the
/// fault of the peer whose bytes the caller passes on.
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A parameter of the configuration is out of its range.
    #[error("configuration: {parameter} is {value}: {allowed}")]
    Config {
        /// Which one.
        parameter: &'static str,
        /// Its value.
        value: u64,
        /// What is possible.
        allowed: &'static str,
    },
    /// A vector of another size than the collection's.
    #[error("vector has {got} components, the collection has {expected}")]
    Dimension {
        /// The collection's.
        expected: usize,
        /// The vector's.
        got: usize,
    },
    /// A vector that the metric cannot use.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// A payload over the limit.
    #[error("payload of {bytes} bytes is over the limit of {PAYLOAD_BYTES_MAX}")]
    Payload {
        /// Its size.
        bytes: usize,
    },
    /// Binary codes say nothing of lengths.
    #[error("binary storage is for the metrics cosine and dot, not for l2")]
    BinaryDistance,
    /// The shard holds as many records as it can.
    #[error("shard is full: {ROWS_MAX} records")]
    Full,
    /// A filter that cannot be evaluated.
    #[error("filter: {reason}")]
    Filter {
        /// Why.
        reason: &'static str,
    },
}

/// Why bytes are not a snapshot: the fault of whatever stored or sent them.
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Not a snapshot at all.
    #[error("not a snapshot of a shard")]
    NotASnapshot,
    /// Written by another version.
    #[error("snapshot version {0} is not known")]
    Version(u16),
    /// The end is missing, or something follows it.
    #[error("snapshot has {got} bytes where {expected} were announced")]
    Length {
        /// What the header says.
        expected: u64,
        /// What is there.
        got: u64,
    },
    /// The checksum does not fit.
    #[error("snapshot is damaged: its checksum does not match")]
    Checksum,
    /// The configuration or a record would not be accepted by an index.
    #[error("snapshot holds what no index accepts: {0}")]
    Refused(#[from] IndexError),
    /// The parts contradict each other.
    #[error("snapshot is inconsistent: {0}")]
    Inconsistent(&'static str),
}
