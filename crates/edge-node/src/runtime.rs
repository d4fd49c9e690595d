//! The running node: a thread that owns the peer, and the paths between it and everything around.
//!
//! Inputs reach the peer through one bounded queue (frames and commands; whoever fills it waits)
//! and one for completions, whose number the peer itself bounds. After each input the peer is
//! drained. Work starts at once; everything that tells somebody something goes, with the writes it
//! depends on, through the storage thread in order, so **nothing leaves before what it stands on is
//! durable**, whatever the peer does.

mod calls;
mod peer_loop;
mod ports;
mod start;

use std::{
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use edge_base::{Digest, NodeId, ShardId, Timestamp};
use edge_embed::Registry;
use edge_swarm::{Answer, Command, Event, Input, Refusal};
use edge_tasks::{CanaryStore, ShardCheck, TaskError};
use edge_transport::{TransportHandle, TransportStats};
use tokio::sync::{mpsc, watch};

use crate::{
    config::Config,
    events::{EventLog, Sequenced, Subscription},
    execute::TaskExecutor,
    folder::{ApiNote, Folder, FolderError},
    keys::Keys,
    store::{Store, StoreStats},
    workers::{CpuShare, WorkerStats},
};
use calls::Calls;

pub use start::{Found, Node, NodeError, NodeOptions, StartMode};

/// Monotonic microseconds since this process first asked.
pub fn now() -> Timestamp {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Timestamp(u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// A running node. Clones are the same node; when the last one is dropped, it stops.
#[derive(Clone, Debug)]
pub struct NodeHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: NodeId,
    pool: Digest,
    config: Config,
    addresses: Vec<String>,
    started: Instant,
    inputs: mpsc::Sender<Input>,
    calls: Arc<Calls>,
    events: Arc<EventLog>,
    transport: TransportHandle,
    store: Arc<Store>,
    workers: Arc<WorkerStats>,
    executor: Arc<TaskExecutor>,
    models: Registry,
    canaries: Mutex<CanaryStore>,
    keys: RwLock<Arc<Keys>>,
    share: Arc<CpuShare>,
    folder: Arc<Folder>,
    gauges: Arc<Gauges>,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<Option<Ended>>,
    rotated: watch::Receiver<Option<NodeId>>,
}

/// How a node ended.
pub type Ended = Result<(), String>;

/// What the peer's thread publishes about itself.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Inputs the peer handled.
    pub inputs: std::sync::atomic::AtomicU64,
    /// Microseconds it spent on them.
    pub busy_us: std::sync::atomic::AtomicU64,
    /// Frames for which there was no room in line.
    pub frames_lost: std::sync::atomic::AtomicU64,
    /// Work that waits for a worker.
    pub work_waiting: std::sync::atomic::AtomicU64,
    /// Work that is being executed.
    pub work_running: std::sync::atomic::AtomicU64,
}

impl NodeHandle {
    /// This node.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Its pool.
    pub fn pool(&self) -> Digest {
        self.0.pool
    }

    /// What it runs with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The addresses it listens on, `/p2p/` suffix included.
    pub fn addresses(&self) -> &[String] {
        &self.0.addresses
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Gives a command to the peer and waits for its answer. Dropping the future tells the peer
    /// that nobody waits any more.
    ///
    /// # Errors
    /// The peer's refusal; [`Refusal::Failed`] when the node stops first, [`Refusal::Refused`] when
    /// too many calls wait.
    pub async fn call(&self, command: Command) -> Result<Answer, Refusal> {
        let inner = &self.0;
        let ticket = inner.calls.open(&inner.inputs)?;
        let input = Input::Command { call: ticket.id(), command };
        if inner.inputs.send(input).await.is_err() {
            return Err(self.stopped().await);
        }
        match ticket.wait().await {
            Some(outcome) => outcome,
            None => Err(self.stopped().await),
        }
    }

    /// The events from now on.
    pub fn events(&self) -> Subscription {
        self.0.events.subscribe()
    }

    /// Everything after an event's number, or `None` when some of it is forgotten.
    pub fn events_since(&self, seen: u64) -> Option<Vec<Arc<Sequenced>>> {
        self.0.events.since(seen)
    }

    /// Counters of the network.
    pub fn transport_stats(&self) -> TransportStats {
        self.0.transport.stats()
    }

    /// Counters of storage.
    pub fn store_stats(&self) -> &StoreStats {
        self.0.store.stats()
    }

    /// Whether this node may vote as a witness: not with a copied, restored or repaired database.
    pub fn may_vote(&self) -> bool {
        self.0.store.may_vote()
    }

    /// Counters of the workers.
    pub fn worker_stats(&self) -> &WorkerStats {
        &self.0.workers
    }

    /// The models that it can embed with.
    pub fn models(&self) -> &Registry {
        &self.0.models
    }

    /// Texts of own batches whose vectors are known.
    pub(crate) fn canaries(&self) -> MutexGuard<'_, CanaryStore> {
        // What a panic leaves behind is a store with fewer texts.
        self.0.canaries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The encryption keys that it has.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets a key, by its name or its id, at once: nothing is encrypted or decrypted with it any more, for this
    /// node or for others. Its file stays. Whether there was such a key.
    ///
    /// # Errors
    /// [`Refusal`] when the node stops first.
    pub async fn forget_key(&self, name_or_id: &str) -> Result<bool, Refusal> {
        let keys = self.keys();
        let Some(id) = keys.find(name_or_id) else { return Ok(false) };
        self.use_keys(keys.without(&id)).await?;
        Ok(true)
    }

    /// Reads the keys of the data folder again: those that were added, changed or removed while the node ran hold
    /// from now on. Returns what is wrong with some of them.
    ///
    /// # Errors
    /// [`Refusal`] when the node stops first.
    pub async fn reload_keys(&self) -> Result<Vec<String>, Refusal> {
        let folder = self.0.folder.path().to_owned();
        let read = tokio::task::spawn_blocking(move || crate::keys::load(&folder)).await;
        let (keys, problems) =
            read.map_err(|error| Refusal::Failed(format!("the keys were not read: {error}")))?;
        self.use_keys(keys).await?;
        Ok(problems)
    }

    /// The executor first: the peer is to promise nothing that cannot be done.
    async fn use_keys(&self, keys: Keys) -> Result<(), Refusal> {
        self.0.executor.honest().set_keys(keys.ring().clone());
        let guarded = keys.guarded();
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        self.call(Command::Guard(guarded)).await.map(|_| ())
    }

    /// Gives this node's place to a new key, which is made and kept in the data folder first. The answer comes when
    /// nothing is left to do for the present one: stop the node then and start it again, and it goes on under the new.
    ///
    /// # Errors
    /// The peer's refusal; [`Refusal::Failed`] when the new key cannot be kept.
    pub async fn rotate(&self) -> Result<NodeId, Refusal> {
        let (folder, pool) = (Arc::clone(&self.0.folder), self.0.pool);
        let made = tokio::task::spawn_blocking(move || folder.next_identity(&pool)).await;
        let failed = |why: String| Refusal::Failed(format!("the new key was not kept: {why}"));
        let heir = made.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        match self.call(Command::Rotate { heir: Box::new(heir) }).await? {
            Answer::Rotated { heir } => Ok(heir),
            other => Err(Refusal::Failed(format!("an answer to something else: {other:?}"))),
        }
    }

    /// Waits until nothing is left to do for this node's key, because another took its place.
    pub async fn wait_rotated(&self) -> NodeId {
        let mut rotated = self.0.rotated.clone();
        let heir = rotated.wait_for(Option::is_some).await.ok().and_then(|heir| *heir);
        match heir {
            Some(heir) => heir,
            // The node has ended without it.
            None => std::future::pending().await,
        }
    }

    /// Examines a copy that this node holds: see [`edge_tasks::Executor::check_shard`]. It takes as
    /// many exact scans as `sample` says, on the caller's thread.
    pub fn check_shard(
        &self,
        shard: &ShardId,
        sample: usize,
        k: usize,
        ef: Option<usize>,
    ) -> Option<Result<ShardCheck, TaskError>> {
        self.0.executor.honest().check_shard(shard, sample, k, ef)
    }

    /// The CPU share that holds now.
    pub fn cpu_share(&self) -> crate::config::Percent {
        self.0.share.get()
    }

    /// Counters of the peer's thread.
    pub fn gauges(&self) -> &Gauges {
        &self.0.gauges
    }

    /// How many events there were.
    pub fn event_count(&self) -> u64 {
        self.0.events.count()
    }

    /// Writes where the HTTP interface is into the data folder.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn note_api(&self, url: &str) -> Result<(), FolderError> {
        self.0.folder.note_api(&ApiNote {
            schema: "edge-net.api/1".to_owned(),
            url: url.to_owned(),
            pid: std::process::id(),
            node: self.0.node.to_hex(),
        })
    }

    /// Tells watchers something a person should read.
    pub fn note(&self, text: impl Into<String>) {
        self.0.events.push(Event::Note { text: text.into() });
    }

    /// Finishes what was promised, for at most this long, then stops. Calls in progress are failed.
    ///
    /// # Errors
    /// Why the node had ended before, or what failed while it stopped.
    pub async fn shutdown(&self, limit: Duration) -> Ended {
        if self.ended().is_none() {
            // A drain that is refused or too slow does not keep the node from stopping.
            let _ = tokio::time::timeout(limit, self.call(Command::Drain)).await;
        }
        self.0.stop.send_replace(true);
        self.wait_ended().await
    }

    /// How the node ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.0.ended.borrow().clone()
    }

    /// Waits until the node has ended, by [`NodeHandle::shutdown`] or because storage failed.
    ///
    /// # Errors
    /// Why it ended by itself.
    pub async fn wait_ended(&self) -> Ended {
        let mut ended = self.0.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Ok(())),
            Err(_) => Err("the peer's thread ended without a word".to_owned()),
        }
    }

    /// Why calls are not answered any more.
    async fn stopped(&self) -> Refusal {
        match self.wait_ended().await {
            Err(reason) => Refusal::Failed(format!(
                "the node has stopped: {reason}; what it had signed goes on when it runs again"
            )),
            Ok(()) => Refusal::Failed(
                "the node is stopped or stopping: `edge-net start` starts it".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
