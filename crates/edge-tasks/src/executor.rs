//! From work to bytes.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use edge_base::shard::AppendResult;
use edge_base::{Digest, ShardId, TaskKind, Work, codec};
use edge_embed::Registry;
use edge_index::{Mapping, Memory};

use crate::encryption::{self, Keyring};
use crate::query::Search;
use crate::shard::{Checked, Shard, ShardCheck};
use crate::snapshot::{NoSnapshots, Snapshots};
use crate::{TaskError, check, compression, item, matching, pin, replay, text, units};

/// The most shards of one executor.
pub const SHARDS_MAX: usize = 1 << 16;

/// Executes every [`Work`], and holds the shards that logs lead to. Shared by threads: pure work and
/// searches run side by side, batches of one shard one after the other.
pub struct Executor {
    models: Registry,
    snapshots: Box<dyn Snapshots>,
    keys: RwLock<Keyring>,
    shards: RwLock<BTreeMap<ShardId, Arc<Slot>>>,
}

/// What [`Executor::unsaved`] says of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsaved {
    /// The shard.
    pub shard: ShardId,
    /// Its live records.
    pub rows: u64,
    /// Changes since the last snapshot.
    pub changes: u64,
}

/// A snapshot that [`Executor::save`] took.
pub struct Saved {
    slot: Arc<Slot>,
    mapping: Mapping,
}

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saved").field("mapping", &self.mapping).finish_non_exhaustive()
    }
}

/// One shard. A batch that takes long (one that builds a graph takes seconds) is applied to a copy which
/// then replaces the state, so that no search waits for it; other batches are applied in place, which is
/// less work than a copy. Nothing that can panic runs under the lock of `state` but applying in place, so
/// a poisoned one means a shard that holds half a batch, and is reported. `writing` guards no data:
/// recovering it is sound.
struct Slot {
    state: RwLock<Arc<Shard>>,
    writing: Mutex<()>,
    /// [`Shard::changes`] of the state that was saved last.
    saved: AtomicU64,
}

impl Slot {
    fn new(shard: Shard) -> Self {
        let saved = AtomicU64::new(0);
        Slot { state: RwLock::new(Arc::new(shard)), writing: Mutex::new(()), saved }
    }

    fn state(&self, id: &ShardId) -> Result<Arc<Shard>, TaskError> {
        self.state.read().map(|state| state.clone()).map_err(|_| TaskError::Broken(*id))
    }

    fn append(&self, batch: Checked) -> Result<AppendResult, TaskError> {
        let id = batch.batch.shard;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state(&id)?;
        state.expects(&batch)?;
        let write = || self.state.write().map_err(|_| TaskError::Broken(id));
        if state.is_slow(&batch) {
            let mut next = Shard::clone(&state);
            let result = next.apply(batch)?;
            *write()? = Arc::new(next);
            return Ok(result);
        }
        drop(state);
        // Copies after all when a search is still reading.
        Arc::make_mut(&mut *write()?).apply(batch)
    }
}

impl Default for Executor {
    fn default() -> Self {
        Executor::new()
    }
}

impl Executor {
    /// An executor without shards, with the models that are compiled in.
    pub fn new() -> Self {
        Executor::with_models(pin::builtin().clone())
    }

    /// An executor without shards, with these models.
    pub fn with_models(models: Registry) -> Self {
        let (keys, snapshots) = (RwLock::default(), Box::new(NoSnapshots));
        Executor { models, keys, snapshots, shards: RwLock::default() }
    }

    /// With a place for snapshots, which [`Work::Restore`] looks into.
    pub fn with_snapshots(self, snapshots: impl Snapshots + 'static) -> Self {
        Executor { snapshots: Box::new(snapshots), ..self }
    }

    /// The same with these keys.
    pub fn with_keys(self, keys: Keyring) -> Self {
        Executor { keys: RwLock::new(keys), ..self }
    }

    /// These keys in place of those before: one that is not among them is from now on as if it had never
    /// been here.
    pub fn set_keys(&self, keys: Keyring) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Does the work. Equal pure work gives equal bytes on every machine; see [`Work`] for what the
    /// bytes are.
    ///
    /// # Errors
    /// [`TaskError`] says what is wrong with the work, or what this executor lacks; nothing changed.
    pub fn execute(&self, work: &Work) -> Result<Vec<u8>, TaskError> {
        match work {
            Work::Run { kind, payload } => self.run(*kind, payload),
            Work::Append { payload } => self.append(payload),
            Work::Search { payload } => {
                let search = Search::decode(payload)?;
                let slot = self.slot(&search.ask.shard);
                let slot = slot.ok_or(TaskError::UnknownShard(search.ask.shard))?;
                Ok(codec::encode(&slot.state(&search.ask.shard)?.search(&search)?))
            }
            Work::CheckAnswer { payload, answer, root } => {
                Ok(codec::encode(&check::answer(&Search::decode(payload)?, answer, root)))
            }
            Work::CheckItem { kind, payload, result, byte } => {
                Ok(codec::encode(&item::check(&self.models, *kind, payload, result, *byte)?))
            }
            Work::Replay { history, payload } => {
                Ok(codec::encode(&replay::replay(history, payload)?))
            }
            Work::Restore { shard, seq, chain } => {
                Ok(codec::encode(&self.restore(shard, *seq, chain)?))
            }
            Work::Drop { shard } => {
                self.forget(shard);
                self.snapshots.remove(shard);
                Ok(Vec::new())
            }
            Work::Paid { units, work } => {
                if self.units(work.inner())? > *units {
                    return Err(TaskError::Underpaid);
                }
                self.execute(work.inner())
            }
        }
    }

    /// What work for others costs, in reference CPU-microseconds; 0 for work that nobody asks another
    /// node to do.
    ///
    /// # Errors
    /// As [`Executor::execute`], where the payload does not decode or the model or shard is not here.
    pub fn units(&self, work: &Work) -> Result<u64, TaskError> {
        match work {
            Work::Run { kind, payload } => match kind {
                TaskKind::Embedding => text::units(&self.models, payload),
                TaskKind::SemanticMatch => matching::units(&self.models, payload),
                TaskKind::Compression => {
                    Ok(units::compression_units(&compression::CompressionPayload::decode(payload)?))
                }
                TaskKind::Encryption => {
                    Ok(units::encryption_units(&encryption::EncryptionPayload::decode(payload)?))
                }
                TaskKind::VectorInsert | TaskKind::VectorSearch => Err(TaskError::NotPure(*kind)),
            },
            Work::Append { payload } => {
                let batch = Checked::decode(payload)?;
                Ok(units::append_units(batch.batch.entries.len() as u64))
            }
            Work::Search { payload } => {
                let search = Search::decode(payload)?;
                let shard = search.ask.shard;
                let rows = self.shard_rows(&shard).ok_or(TaskError::UnknownShard(shard))?;
                Ok(units::search_units(rows, search.ask.k))
            }
            Work::Paid { work, .. } => self.units(work.inner()),
            Work::CheckAnswer { .. }
            | Work::CheckItem { .. }
            | Work::Replay { .. }
            | Work::Restore { .. }
            | Work::Drop { .. } => Ok(0),
        }
    }

    /// How many records a shard held here has; `None` when it is not held, or
    /// [`TaskError::Broken`].
    pub fn shard_rows(&self, shard: &ShardId) -> Option<u64> {
        self.slot(shard)?.state(shard).ok().map(|state| state.rows())
    }

    /// The shards that changed since their snapshots, with the number of records and of changes.
    pub fn unsaved(&self) -> Vec<Unsaved> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        let of = |(shard, slot): (&ShardId, &Arc<Slot>)| {
            let state = slot.state(shard).ok()?;
            let saved = slot.saved.load(Ordering::Relaxed);
            let (rows, changes) = (state.rows(), state.changes().saturating_sub(saved));
            (changes > 0).then_some(Unsaved { shard: *shard, rows, changes })
        };
        shards.iter().filter_map(of).collect()
    }

    /// Takes a snapshot of a shard, while it is searched and changed. [`Executor::settle`] may follow.
    ///
    /// # Errors
    /// Those of the place for snapshots; `NotFound` when the shard is not held, or
    /// [`TaskError::Broken`].
    pub fn save(&self, shard: &ShardId) -> io::Result<Saved> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let slot = self.slot(shard).ok_or_else(gone)?;
        let state = slot.state(shard).map_err(|_| gone())?;
        let mapping = self.snapshots.save(shard, &mut |out| state.write(shard, out))?;
        slot.saved.fetch_max(state.changes(), Ordering::Relaxed);
        drop(state);
        if self.slot(shard).is_none_or(|now| !Arc::ptr_eq(&now, &slot)) {
            // Forgotten meanwhile.
            self.snapshots.remove(shard);
        }
        Ok(Saved { slot, mapping })
    }

    /// Leaves the vectors of a shard that did not change since in its snapshot, and out of the heap.
    /// `false` while a search reads them: to be tried again.
    pub fn settle(&self, saved: &Saved) -> bool {
        let Ok(mut state) = saved.slot.state.write() else { return true };
        let Some(state) = Arc::get_mut(&mut *state) else { return false };
        state.move_into(&saved.mapping);
        true
    }

    /// Bytes that a shard held here takes for search.
    pub fn shard_memory(&self, shard: &ShardId) -> Option<Memory> {
        self.slot(shard)?.state(shard).ok().map(|state| state.memory())
    }

    fn forget(&self, shard: &ShardId) -> bool {
        self.shards.write().unwrap_or_else(PoisonError::into_inner).remove(shard).is_some()
    }

    fn restore(
        &self,
        id: &ShardId,
        seq: u64,
        chain: &Digest,
    ) -> Result<Option<AppendResult>, TaskError> {
        self.forget(id);
        let shard = self.snapshots.load(id).and_then(|mapping| Shard::read(&mapping, id));
        let fits = |shard: &Shard| {
            let (at, its) = shard.position();
            at < seq || (at == seq && its == *chain)
        };
        let Some(shard) = shard.filter(fits) else {
            self.snapshots.remove(id);
            return Ok(None);
        };
        let result = shard.result();
        self.insert(*id, shard)?;
        Ok(Some(result))
    }

    /// Examines the copy of a shard that is held here: its records are hashed again, and the
    /// neighbours of up to `sample` of them are looked for by a search and by comparing with every
    /// row. `None` when it is not held.
    ///
    /// # Errors
    /// [`TaskError::Broken`].
    pub fn check_shard(
        &self,
        shard: &ShardId,
        sample: usize,
        k: usize,
        ef: Option<usize>,
    ) -> Option<Result<ShardCheck, TaskError>> {
        let slot = self.slot(shard)?;
        Some(slot.state(shard).map(|state| state.check(sample, k, ef)))
    }

    fn run(&self, kind: TaskKind, payload: &[u8]) -> Result<Vec<u8>, TaskError> {
        match kind {
            TaskKind::Embedding => Ok(text::embed(&self.models, payload)?.encode()),
            TaskKind::SemanticMatch => Ok(matching::execute(&self.models, payload)?.encode()),
            TaskKind::Compression => compression::execute(payload),
            TaskKind::Encryption => {
                // A copy, so that nobody waits for an encryption to forget a key.
                let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
                encryption::execute(&keys, payload)
            }
            TaskKind::VectorInsert | TaskKind::VectorSearch => Err(TaskError::NotPure(kind)),
        }
    }

    fn append(&self, payload: &[u8]) -> Result<Vec<u8>, TaskError> {
        let batch = Checked::decode(payload)?;
        let id = batch.batch.shard;
        match self.slot(&id) {
            Some(slot) => Ok(codec::encode(&slot.append(batch)?)),
            None => self.create(batch),
        }
    }

    /// The first batch: the shard appears with it, or not at all.
    fn create(&self, batch: Checked) -> Result<Vec<u8>, TaskError> {
        let id = batch.batch.shard;
        let mut shard = Shard::empty(&batch)?;
        let result = shard.apply(batch)?;
        self.insert(id, shard)?;
        Ok(codec::encode(&result))
    }

    fn insert(&self, id: ShardId, shard: Shard) -> Result<(), TaskError> {
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        if shards.contains_key(&id) {
            // Somebody else was faster with a first batch.
            return Err(TaskError::Position { shard: id, expected: 2, got: 1 });
        }
        if shards.len() >= SHARDS_MAX {
            return Err(TaskError::TooManyShards(shards.len()));
        }
        shards.insert(id, Arc::new(Slot::new(shard)));
        Ok(())
    }

    fn slot(&self, shard: &ShardId) -> Option<Arc<Slot>> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner).get(shard).cloned()
    }
}

#[cfg(test)]
mod tests {
    use edge_base::RecordId;
    use edge_base::shard::{LogBatch, LogEntry, ShardQuery};

    use super::*;
    use crate::{Layout, Metric, VectorQuery};

    fn batch(seq: u64, prev: Digest) -> LogBatch {
        let entries = vec![LogEntry { id: RecordId::default(), record: None }];
        let layout = Layout::vectors(1, Metric::Dot).encode();
        LogBatch { shard: ShardId::default(), layout, seq, prev, entries, bodies: Vec::new() }
    }

    #[test]
    fn a_shard_left_half_written_is_reported_and_can_be_dropped() {
        let executor = Executor::new();
        let shard = ShardId::default();
        let first = batch(1, Digest::default());
        let append = |batch: &LogBatch| {
            executor.execute(&Work::Append { payload: codec::encode(batch).into() })
        };
        append(&first).unwrap();
        let slot = executor.slot(&shard).unwrap();
        let poisoned = std::thread::scope(|scope| {
            let writer = || {
                let _state = slot.state.write();
                let _writing = slot.writing.lock();
                panic!("while a batch is applied");
            };
            scope.spawn(writer).join()
        });
        assert!(poisoned.is_err());

        let broken = TaskError::Broken(shard);
        assert_eq!(append(&batch(2, first.chain())), Err(broken.clone()));
        let (ef, filter) = (None, None);
        let query = VectorQuery { metric: Metric::Dot, vector: vec![1.0], ef, filter }.encode();
        let payload = codec::encode(&ShardQuery { shard, seq_min: 0, k: 1, query }).into();
        assert_eq!(executor.execute(&Work::Search { payload }), Err(broken.clone()));
        assert!(broken.is_local());
        assert_eq!(executor.shard_rows(&shard), None);

        assert_eq!(executor.execute(&Work::Drop { shard }), Ok(Vec::new()));
        append(&first).unwrap();
        append(&batch(2, first.chain())).unwrap();
        assert_eq!(executor.shard_rows(&shard), Some(0));
    }

    #[test]
    fn a_lock_that_guards_nothing_is_recovered() {
        let executor = Executor::new();
        let first = batch(1, Digest::default());
        let append = |batch: &LogBatch| {
            executor.execute(&Work::Append { payload: codec::encode(batch).into() })
        };
        append(&first).unwrap();
        let slot = executor.slot(&ShardId::default()).unwrap();
        let poisoned = std::thread::scope(|scope| {
            let writer = || {
                let _writing = slot.writing.lock();
                panic!("while a copy is written");
            };
            scope.spawn(writer).join()
        });
        assert!(poisoned.is_err());
        assert!(append(&batch(2, first.chain())).is_ok());
    }
}
