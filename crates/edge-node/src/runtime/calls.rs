//! Commands that wait for their answers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use edge_swarm::{Answer, CallId, Input, Refusal};
use tokio::sync::{mpsc, oneshot};

/// Calls that may wait at once.
const CALLS_MAX: usize = 4_096;

type Outcome = Result<Answer, Refusal>;

/// The table of open calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: Mutex<BTreeMap<CallId, oneshot::Sender<Outcome>>>,
    next: AtomicU64,
}

/// One open call. Dropped before its answer came, the peer is told.
#[derive(Debug)]
pub(super) struct CallTicket {
    id: CallId,
    calls: Arc<Calls>,
    answer: oneshot::Receiver<Outcome>,
    inputs: mpsc::Sender<Input>,
}

impl Calls {
    pub(super) fn open(
        self: &Arc<Self>,
        inputs: &mpsc::Sender<Input>,
    ) -> Result<CallTicket, Refusal> {
        let mut open = self.lock();
        if open.len() >= CALLS_MAX {
            return Err(Refusal::Refused(format!("{CALLS_MAX} calls wait already: try again")));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        open.insert(id, sender);
        Ok(CallTicket { id, calls: Arc::clone(self), answer, inputs: inputs.clone() })
    }

    pub(super) fn answer(&self, call: CallId, outcome: Outcome) {
        let waiting = self.lock().remove(&call);
        if let Some(waiting) = waiting {
            // The caller may have gone away in this moment.
            let _ = waiting.send(outcome);
        }
    }

    /// Ends every call without an answer.
    pub(super) fn end(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CallId, oneshot::Sender<Outcome>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallTicket {
    pub(super) fn id(&self) -> CallId {
        self.id
    }

    /// The answer, or `None` when the node ended first.
    pub(super) async fn wait(mut self) -> Option<Outcome> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for CallTicket {
    fn drop(&mut self) {
        if self.calls.lock().remove(&self.id).is_some() {
            // Through the same queue as the command, so it does not overtake it. When the queue is
            // full the peer answers somebody who is gone, which harms nobody.
            let _ = self.inputs.try_send(Input::Abandoned { call: self.id });
        }
    }
}
