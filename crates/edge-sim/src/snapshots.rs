//! Snapshots of a node's shards on a file system that keeps what was written, whether or not the log got
//! that far, and may lose the end of a file with the process.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use edge_base::ShardId;
use edge_tasks::{Mapping, Snapshots};

type Files = BTreeMap<ShardId, Vec<u8>>;

/// One node's; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySnapshots(Arc<Mutex<Files>>);

impl MemorySnapshots {
    fn with<T>(&self, then: impl FnOnce(&mut Files) -> T) -> T {
        // Nothing panics while it holds the lock.
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Cuts every other file short.
    pub(crate) fn tear(&self) {
        self.with(|files| {
            files.values_mut().step_by(2).for_each(|bytes| bytes.truncate(bytes.len() / 2));
        });
    }
}

impl Snapshots for MemorySnapshots {
    fn save(
        &self,
        shard: &ShardId,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Mapping> {
        let mut bytes = Vec::new();
        write(&mut bytes)?;
        self.with(|files| files.insert(*shard, bytes.clone()));
        Ok(Mapping::new(bytes))
    }

    fn load(&self, shard: &ShardId) -> Option<Mapping> {
        self.with(|files| files.get(shard).cloned()).map(Mapping::new)
    }

    fn remove(&self, shard: &ShardId) {
        self.with(|files| files.remove(shard));
    }
}
