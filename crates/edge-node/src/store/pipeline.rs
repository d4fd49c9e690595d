//! The storage thread: one queue of batches, each with writes and what may only happen once they
//! are durable. All batches that wait are committed in one transaction (group commit; DeWitt et
//! al., "Implementation techniques for main memory database systems", 1984), then released in
//! order. A batch without writes costs no transaction, but waits its turn.

use std::{
    sync::{Arc, OnceLock},
    thread::JoinHandle,
};

use edge_swarm::Write;
use tokio::sync::mpsc;

use super::StoreError;

/// Bytes after which a transaction takes no further batch.
const GROUP_BYTES: usize = 16 << 20;
/// Batches after which a transaction takes no further one.
const GROUP_BATCHES: usize = 4_096;

/// What makes writes durable.
pub trait Commit: Send + Sync + 'static {
    /// All of these or none, durable on return.
    ///
    /// # Errors
    /// [`StoreError`]; nothing may be assumed written.
    fn commit(&self, writes: &[&Write]) -> Result<(), StoreError>;
}

/// Writes, and what waits for them.
#[derive(Debug)]
pub struct Batch<C> {
    /// Made durable first, all in one transaction.
    pub writes: Vec<Write>,
    /// Released afterwards, in order.
    pub then: Vec<C>,
}

/// The storage thread has ended; [`Pipeline::failure`] says whether it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("storage has stopped")]
pub struct Stopped;

/// A running storage thread.
#[derive(Debug)]
pub struct Pipeline<C> {
    queue: mpsc::Sender<Batch<C>>,
    thread: JoinHandle<()>,
    failure: Arc<OnceLock<StoreError>>,
}

impl<C: Send + 'static> Pipeline<C> {
    /// Starts the thread. At most `capacity` batches wait; `release` is called on the thread for
    /// everything whose writes are durable, and ends it by an error.
    pub fn start<S: Commit>(
        store: Arc<S>,
        capacity: usize,
        release: impl FnMut(C) -> Result<(), StoreError> + Send + 'static,
    ) -> Pipeline<C> {
        let (queue, mut receiver) = mpsc::channel(capacity);
        let failure = Arc::new(OnceLock::new());
        let slot = Arc::clone(&failure);
        let thread = std::thread::Builder::new()
            .name("storage".into())
            .spawn(move || {
                // The receiver outlives the note: whoever finds the queue closed finds the reason.
                if let Err(error) = run(&*store, &mut receiver, release) {
                    // There is only one failure.
                    let _ = slot.set(error);
                }
            })
            .expect("invariant: a thread can be started while the node starts");
        Pipeline { queue, thread, failure }
    }

    /// Queues a batch; waits while the queue is full.
    ///
    /// # Errors
    /// [`Stopped`]: the batch is lost, and with it nothing that anybody was told.
    pub async fn push(&self, batch: Batch<C>) -> Result<(), Stopped> {
        self.queue.send(batch).await.map_err(|_| Stopped)
    }

    /// Why the thread ended by itself, if it did.
    pub fn failure(&self) -> Option<&StoreError> {
        self.failure.get()
    }

    /// Finishes what is queued and ends the thread. Blocks.
    ///
    /// # Errors
    /// The failure that ended it before.
    pub fn close(self) -> Result<(), StoreError> {
        drop(self.queue);
        // A panic of the thread is a failure without a message of its own.
        let panicked = self.thread.join().is_err();
        match self.failure.get() {
            Some(error) => Err(error.clone()),
            None if panicked => Err(StoreError::Io {
                path: "storage".into(),
                reason: "the storage thread panicked".into(),
            }),
            None => Ok(()),
        }
    }
}

fn run<C, S: Commit>(
    store: &S,
    queue: &mut mpsc::Receiver<Batch<C>>,
    mut release: impl FnMut(C) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut group: Vec<Batch<C>> = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut bytes = size(&first);
        group.push(first);
        while bytes < GROUP_BYTES && group.len() < GROUP_BATCHES {
            let Ok(next) = queue.try_recv() else { break };
            bytes += size(&next);
            group.push(next);
        }
        let writes: Vec<&Write> = group.iter().flat_map(|batch| &batch.writes).collect();
        if !writes.is_empty() {
            store.commit(&writes)?;
        }
        group.drain(..).flat_map(|batch| batch.then).try_for_each(&mut release)?;
    }
    Ok(())
}

fn size<C>(batch: &Batch<C>) -> usize {
    batch.writes.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, Vec::len)).sum()
}
