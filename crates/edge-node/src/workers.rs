//! The worker pool: threads that execute what the peer hands out.
//!
//! Work waits in one queue per urgency. The most urgent goes first, except that every eighth pick
//! starts with the ordinary and every eighth with the background queue, so that neither starves.
//! The queue is bounded in pieces and in bytes; what does not fit fails at once.
//!
//! The CPU share holds over all threads together: a token bucket that fills with `share · cores`
//! CPU-seconds a second and is charged with what each piece of work really used of its thread's
//! CPU clock. A bucket in debt lets nobody start; it saves up to [`BURST`], so that a short search
//! on a quiet machine does not wait. Only workers are limited: the peer's own bookkeeping is not.

mod queue;
mod share;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use edge_base::Work;
use edge_swarm::{Urgency, WorkId};

pub use share::{BURST, CpuShare};

use crate::platform;
use queue::Queue;

/// What executes work. `edge-tasks` does; the demo's liar wraps it.
pub trait Execute: Send + Sync + 'static {
    /// The canonical result, or why there is none.
    ///
    /// # Errors
    /// A sentence for the requester.
    fn execute(&self, work: &Work, urgency: Urgency) -> Result<Vec<u8>, String>;
}

/// The bounds of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Threads.
    pub threads: usize,
    /// Pieces of work that may wait.
    pub pieces: usize,
    /// Bytes of payload that may wait.
    pub bytes: u64,
}

/// Counters of a pool.
#[derive(Debug, Default)]
pub struct WorkerStats {
    /// Pieces executed.
    pub executed: AtomicU64,
    /// Of these, ended in an error.
    pub failed: AtomicU64,
    /// Pieces refused because the queue was full.
    pub refused: AtomicU64,
    /// Pieces cancelled before or while they were executed.
    pub cancelled: AtomicU64,
    /// Microseconds of thread CPU time used.
    pub cpu_us: AtomicU64,
}

/// A running worker pool. Dropping it lets the threads finish what they execute and end.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    share: Arc<CpuShare>,
    stats: Arc<WorkerStats>,
}

struct State {
    queue: Queue,
    running: BTreeSet<WorkId>,
    /// Running pieces whose result nobody wants.
    unwanted: BTreeSet<WorkId>,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; were it so, the state is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workers {
    /// Starts the threads. `done` is called on them with each result.
    pub fn start(
        bounds: Bounds,
        share: Arc<CpuShare>,
        execute: Arc<dyn Execute>,
        done: impl Fn(WorkId, Result<Vec<u8>, String>) + Send + Sync + 'static,
    ) -> Workers {
        let state = State {
            queue: Queue::new(bounds.pieces, bounds.bytes),
            running: BTreeSet::new(),
            unwanted: BTreeSet::new(),
            stopping: false,
        };
        let stats = Arc::new(WorkerStats::default());
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), share, stats });
        let done = Arc::new(done);
        let threads = (0..bounds.threads.max(1))
            .map(|n| {
                let (shared, execute) = (Arc::clone(&shared), Arc::clone(&execute));
                let done = Arc::clone(&done);
                std::thread::Builder::new()
                    .name(format!("worker-{n}"))
                    .spawn(move || run(&shared, &*execute, &*done))
                    .expect("invariant: threads can be started while the node starts")
            })
            .collect();
        Workers { shared, threads }
    }

    /// Queues work.
    ///
    /// # Errors
    /// A sentence for the requester when the queue is full.
    pub fn submit(&self, id: WorkId, work: Work, urgency: Urgency) -> Result<(), String> {
        let mut state = self.shared.lock();
        if state.stopping || !state.queue.push(id, work, urgency) {
            self.shared.stats.refused.fetch_add(1, Ordering::Relaxed);
            return Err("too much work waits here".to_owned());
        }
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Drops work that waits; the result of work that runs is thrown away.
    pub fn cancel(&self, id: WorkId) {
        let mut state = self.shared.lock();
        let known = if state.running.contains(&id) {
            state.unwanted.insert(id)
        } else {
            state.queue.remove(id)
        };
        if known {
            self.shared.stats.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counters.
    pub fn stats(&self) -> &Arc<WorkerStats> {
        &self.shared.stats
    }

    /// Pieces that wait, and pieces that run.
    pub fn load(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.queue.len(), state.running.len())
    }

    /// Drops what waits, lets what runs finish, ends the threads. Blocks.
    pub fn stop(mut self) {
        self.begin_stop();
        for thread in self.threads.drain(..) {
            // A worker that panicked outside a task has nothing left to say.
            let _ = thread.join();
        }
    }

    fn begin_stop(&self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        state.queue.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

fn run(
    shared: &Shared,
    execute: &dyn Execute,
    done: &(dyn Fn(WorkId, Result<Vec<u8>, String>) + Send + Sync),
) {
    while let Some((id, work, urgency)) = next(shared) {
        let before = platform::thread_cpu();
        let outcome = catch_unwind(AssertUnwindSafe(|| execute.execute(&work, urgency)))
            .unwrap_or_else(|panic| Err(format!("the task panicked: {}", message(&*panic))));
        let used = platform::thread_cpu().saturating_sub(before);
        shared.share.charge(used, Instant::now());
        let stats = &shared.stats;
        stats.executed.fetch_add(1, Ordering::Relaxed);
        stats.failed.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
        let micros = u64::try_from(used.as_micros()).unwrap_or(0);
        stats.cpu_us.fetch_add(micros, Ordering::Relaxed);
        let wanted = {
            let mut state = shared.lock();
            state.running.remove(&id);
            !state.unwanted.remove(&id)
        };
        if wanted {
            done(id, outcome);
        }
    }
}

/// Waits for work and for the right to use CPU time; `None` when the pool stops.
fn next(shared: &Shared) -> Option<(WorkId, Work, Urgency)> {
    let mut state = shared.lock();
    loop {
        if state.stopping {
            return None;
        }
        if state.queue.len() == 0 {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let wait = shared.share.wait(Instant::now());
        if !wait.is_zero() {
            let waited = shared.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        if let Some(picked) = state.queue.pop() {
            state.running.insert(picked.0);
            return Some(picked);
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests;
