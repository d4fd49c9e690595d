//! What a batch must have returned, from the log's entries alone.

use std::collections::BTreeMap;

use edge_base::shard::{AppendResult, BATCH_ENTRIES_MAX, LogEntry, chain};
use edge_base::{Digest, RecordId};
use edge_index::root_of;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::shard::Checked;
use crate::{TaskError, bounded};

/// The most bytes of an encoded history: about a million changes.
pub const HISTORY_BYTES_MAX: usize = 64 << 20;

/// The entries of one batch, 1 to [`BATCH_ENTRIES_MAX`]: lists cost more memory than bytes only if they
/// may be empty.
struct Entries(Vec<LogEntry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries: Vec<LogEntry> = bounded::at_most::<BATCH_ENTRIES_MAX, _, _>(deserializer)?;
        if entries.is_empty() {
            return Err(D::Error::invalid_length(0, &"at least one entry"));
        }
        Ok(Entries(entries))
    }
}

/// Continues a history by a batch; refuses one that does not continue it, or whose bodies are not what its
/// entries name.
pub(crate) fn replay(history: &[u8], payload: &[u8]) -> Result<AppendResult, TaskError> {
    let next = Checked::decode(payload)?.batch;
    let history: Vec<Entries> = bounded::decode("history", history, HISTORY_BYTES_MAX)?;
    let shard = next.shard;
    let expected = history.len() as u64 + 1;
    if next.seq != expected {
        return Err(TaskError::Position { shard, expected, got: next.seq });
    }
    let mut link = Digest::default();
    let mut live = BTreeMap::new();
    for (seq, Entries(entries)) in (1..).zip(&history) {
        link = chain(&link, &shard, seq, entries);
        change(&mut live, entries);
    }
    if next.prev != link {
        let (expected, got) = (link, next.prev);
        return Err(TaskError::Chain { shard, seq: next.seq, expected, got });
    }
    change(&mut live, &next.entries);
    let manifest: Vec<(RecordId, Digest)> = live.into_iter().collect();
    Ok(AppendResult { seq: next.seq, root: root_of(&manifest) })
}

fn change(live: &mut BTreeMap<RecordId, Digest>, entries: &[LogEntry]) {
    for entry in entries {
        match entry.record {
            Some(record) => live.insert(entry.id, record),
            None => live.remove(&entry.id),
        };
    }
}
