//! What travels about shards: log batches, searches and their answers. The bodies of records and
//! queries are opaque here; `edge-tasks` gives them their meaning.

use serde::{Deserialize, Serialize};

use crate::{Digest, Hasher, RecordId, ShardId, codec};

/// The most entries one log batch may have.
pub const BATCH_ENTRIES_MAX: usize = 256;
/// The most bytes the bodies of one log batch may have.
pub const BATCH_BYTES_MAX: usize = 640 * 1024;
/// The most hits a search may ask of one shard.
pub const HITS_MAX: usize = 256;

/// One change of a shard: a record's id and the hash of its new content, or its removal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    /// The record.
    pub id: RecordId,
    /// The hash of the record that is stored, or `None` when it is deleted.
    pub record: Option<Digest>,
}

/// A batch of a shard's log: the payload of a `vector_insert` task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogBatch {
    /// The shard.
    pub shard: ShardId,
    /// Dimension and metric of the shard's collection, opaque: repeated in every batch so that a
    /// replica can start from the log alone.
    pub layout: Vec<u8>,
    /// Position in the log; the first batch is 1.
    pub seq: u64,
    /// [`LogBatch::chain`] of the batch before, or zeroes for the first.
    pub prev: Digest,
    /// The changes, in order.
    pub entries: Vec<LogEntry>,
    /// One body for each entry that stores a record, in the entries' order.
    pub bodies: Vec<Vec<u8>>,
}

impl LogBatch {
    /// The hash that stands for the log up to and including this batch.
    pub fn chain(&self) -> Digest {
        chain(&self.prev, &self.shard, self.seq, &self.entries)
    }

    /// Whether counts and sizes are within the bounds and bodies match entries.
    pub fn is_well_formed(&self) -> bool {
        let stored = self.entries.iter().filter(|e| e.record.is_some()).count();
        let bytes: usize = self.bodies.iter().map(Vec::len).sum();
        !self.entries.is_empty()
            && self.entries.len() <= BATCH_ENTRIES_MAX
            && self.bodies.len() == stored
            && bytes <= BATCH_BYTES_MAX
            && self.seq > 0
            && (self.seq > 1 || self.prev == Digest::default())
    }
}

/// The chain hash of a log position: of the hash before, the shard, the position and the changes.
pub fn chain(prev: &Digest, shard: &ShardId, seq: u64, entries: &[LogEntry]) -> Digest {
    let mut hasher = Hasher::new("shard-log");
    hasher.update(&prev.0).update(shard.as_bytes()).update(&seq.to_le_bytes());
    hasher.update_framed(&codec::encode(entries));
    hasher.finish()
}

/// The result of a `vector_insert` task: the Merkle root over the live records at a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AppendResult {
    /// The position.
    pub seq: u64,
    /// The root over id-sorted live records.
    pub root: Digest,
}

/// The payload of a `vector_search` task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardQuery {
    /// The shard.
    pub shard: ShardId,
    /// The position that the replica must have reached.
    pub seq_min: u64,
    /// How many hits, at most [`HITS_MAX`].
    pub k: u32,
    /// Query vector, filter and search effort, as `edge-tasks` encodes them.
    pub query: Vec<u8>,
}

/// One hit with everything needed to check it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardHit {
    /// The record.
    pub id: RecordId,
    /// The score, as [`score_key`] of its bits: larger is better.
    pub score: u32,
    /// The record's body, as it stood in the log.
    pub body: Vec<u8>,
    /// The Merkle path to the root, as `edge-index` encodes it.
    pub proof: Vec<u8>,
}

/// The result of a `vector_search` task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardAnswer {
    /// The shard.
    pub shard: ShardId,
    /// The position the replica answered at.
    pub seq: u64,
    /// Its root there.
    pub root: Digest,
    /// Whether every row was scored (equal digests are then expected at equal roots).
    pub exact: bool,
    /// Distinct rows whose distance was computed.
    pub rows_visited: u64,
    /// Live rows of the shard.
    pub rows: u64,
    /// Best first: score descending, then id bytes ascending.
    pub hits: Vec<ShardHit>,
}

/// Maps the bits of a finite f32 to an integer of the same order, so that scores can be compared
/// where no float arithmetic is allowed.
pub fn score_key(bits: u32) -> u32 {
    if bits & 0x8000_0000 != 0 { !bits } else { bits | 0x8000_0000 }
}

/// The inverse of [`score_key`].
pub fn score_bits(key: u32) -> u32 {
    if key & 0x8000_0000 != 0 { key & 0x7fff_ffff } else { !key }
}
