//! From work to bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use edge_base::{ShardId, TaskKind, Work, codec};
use edge_embed::Registry;

use crate::query::Search;
use crate::shard::{Checked, Shard};
use crate::{TaskError, check, pin, replay, text};

/// The most shards of one executor.
pub const SHARDS_MAX: usize = 1 << 16;

/// Executes every [`Work`], and holds the shards that logs lead to. Shared by threads: pure work and
/// searches run side by side, batches of one shard one after the other.
pub struct Executor {
    models: Registry,
    shards: RwLock<BTreeMap<ShardId, Arc<Slot>>>,
}

/// One shard. A batch is applied to a copy which then replaces the state, so that a search never waits for
/// a batch (one that builds a graph takes seconds) and a batch that fails half way changes nothing. No
/// lock is held while something can panic, apart from `writing`, which guards no data: recovering
/// a poisoned lock is sound.
struct Slot {
    state: RwLock<Arc<Shard>>,
    writing: Mutex<()>,
}

impl Slot {
    fn state(&self) -> Arc<Shard> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
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
        Executor { models: pin::builtin().clone(), shards: RwLock::default() }
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
                Ok(codec::encode(&slot.state().search(&search)?))
            }
            Work::CheckAnswer { payload, answer, root } => {
                Ok(codec::encode(&check::answer(&Search::decode(payload)?, answer, root)))
            }
            Work::Replay { history, payload } => {
                Ok(codec::encode(&replay::replay(history, payload)?))
            }
            Work::Drop { shard } => {
                self.shards.write().unwrap_or_else(PoisonError::into_inner).remove(shard);
                Ok(Vec::new())
            }
        }
    }

    /// How many records a shard held here has; `None` when it is not held.
    pub fn shard_rows(&self, shard: &ShardId) -> Option<u64> {
        self.slot(shard).map(|slot| slot.state().rows())
    }

    fn run(&self, kind: TaskKind, payload: &[u8]) -> Result<Vec<u8>, TaskError> {
        match kind {
            TaskKind::Embedding => Ok(text::embed(&self.models, payload)?.encode()),
            TaskKind::SemanticMatch => Ok(text::semantic_match(&self.models, payload)?.encode()),
            TaskKind::VectorInsert | TaskKind::VectorSearch => Err(TaskError::NotPure(kind)),
        }
    }

    fn append(&self, payload: &[u8]) -> Result<Vec<u8>, TaskError> {
        let batch = Checked::decode(payload)?;
        let id = batch.batch.shard;
        let Some(slot) = self.slot(&id) else {
            return self.create(batch);
        };
        let _writing = slot.writing();
        let state = slot.state();
        state.expects(&batch)?;
        let mut next = Shard::clone(&state);
        let result = next.apply(batch)?;
        *slot.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(codec::encode(&result))
    }

    /// The first batch: the shard appears with it, or not at all.
    fn create(&self, batch: Checked) -> Result<Vec<u8>, TaskError> {
        let id = batch.batch.shard;
        let mut shard = Shard::empty(&batch)?;
        let result = shard.apply(batch)?;
        let slot = Slot { state: RwLock::new(Arc::new(shard)), writing: Mutex::new(()) };
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        if shards.contains_key(&id) {
            // Somebody else was faster with a first batch.
            return Err(TaskError::Position { shard: id, expected: 2, got: 1 });
        }
        if shards.len() >= SHARDS_MAX {
            return Err(TaskError::TooManyShards(shards.len()));
        }
        shards.insert(id, Arc::new(slot));
        Ok(codec::encode(&result))
    }

    fn slot(&self, shard: &ShardId) -> Option<Arc<Slot>> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner).get(shard).cloned()
    }
}
