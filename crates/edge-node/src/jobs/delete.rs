//! Taking records out of a collection.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{RecordId, shard::LogEntry};
use edge_swarm::{Answer, Command, Refusal, command::Change};
use edge_tasks::record_id_for_key;

use super::{Jobs, unexpected};

/// Records of one log batch.
const BATCH_RECORDS: usize = 256;

/// What became of the ids.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Deleted {
    /// Records that are gone from every copy that acknowledged.
    pub deleted: u64,
    /// Ids that no record has.
    pub missing: Vec<String>,
    /// Fewest replicas that acknowledged any batch; `None` when nothing was deleted.
    pub replicas: Option<usize>,
}

impl Jobs {
    /// Deletes records by the ids that searches answer with: what the caller named them, or the
    /// hash of their text. An id that no record has is no error: repeating a deletion is harmless.
    ///
    /// # Errors
    /// [`Refusal::Refused`] for a collection of another owner; what the peer refuses. Batches before
    /// the error are deleted.
    pub async fn delete(&self, collection: &str, ids: &[String]) -> Result<Deleted, Refusal> {
        let mut done = Deleted::default();
        for ids in ids.chunks(BATCH_RECORDS) {
            self.delete_batch(collection, ids, &mut done).await?;
        }
        Ok(done)
    }

    async fn delete_batch(
        &self,
        collection: &str,
        ids: &[String],
        done: &mut Deleted,
    ) -> Result<(), Refusal> {
        let candidates: Vec<Vec<RecordId>> = ids.iter().map(|id| records(id)).collect();
        let command = Command::Known {
            collection: collection.to_owned(),
            ids: candidates.iter().flatten().copied().collect(),
            // A record whose replacement waits for replicas is there; the deletion comes after both.
            pending: true,
        };
        let known: BTreeSet<RecordId> = match self.node.call(command).await? {
            Answer::Known(entries) => entries.into_iter().map(|entry| entry.id).collect(),
            other => return Err(unexpected(&other)),
        };
        let mut changes = BTreeMap::new();
        for (id, candidates) in ids.iter().zip(candidates) {
            match candidates.into_iter().find(|candidate| known.contains(candidate)) {
                Some(id) => {
                    let entry = LogEntry { id, record: None };
                    changes.insert(id, Change { entry, body: Vec::new() });
                }
                None => done.missing.push(id.clone()),
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let appended = self.append(collection, changes.into_values().collect()).await?;
        done.deleted += appended.stored;
        let least = |replicas: usize| replicas.min(appended.replicas);
        done.replicas = Some(done.replicas.map_or(appended.replicas, least));
        Ok(())
    }
}

/// The records that an id may name: the one that was stored under it, or the one with this hash.
fn records(id: &str) -> Vec<RecordId> {
    let mut found = vec![record_id_for_key(id)];
    found.extend(edge_base::Digest::from_hex(id).map(RecordId));
    found
}
