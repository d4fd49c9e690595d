//! Questions of the page that wait for the peer's answers.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use edge_swarm::{Answer, CallId, Command, Input, Refusal};
use tokio::sync::{mpsc, oneshot};

/// Calls that may wait at once.
const CALLS_MAX: usize = 1_024;
/// Beside them, what switches this node on and off: a page that asks too much can still pause and stop.
const SWITCHES_MAX: usize = 64;

type Outcome = Result<Answer, Refusal>;

/// The table of open calls.
#[derive(Clone)]
pub(crate) struct Calls {
    open: Rc<RefCell<BTreeMap<CallId, oneshot::Sender<Outcome>>>>,
    next: Rc<Cell<CallId>>,
    inputs: mpsc::Sender<Input>,
}

impl Calls {
    pub(crate) fn new(inputs: mpsc::Sender<Input>) -> Calls {
        Calls { open: Rc::default(), next: Rc::default(), inputs }
    }

    /// Asks the peer and waits for its answer.
    pub(crate) async fn call(&self, command: Command) -> Outcome {
        let ended = || Refusal::Failed("the node has stopped".into());
        let switches =
            matches!(command, Command::Offer { .. } | Command::Work { .. } | Command::Drain);
        let most = if switches { CALLS_MAX + SWITCHES_MAX } else { CALLS_MAX };
        if self.open.borrow().len() >= most {
            return Err(Refusal::Refused(format!("{CALLS_MAX} calls wait already: try again")));
        }
        let call = self.next.get() + 1;
        self.next.set(call);
        let (sender, answer) = oneshot::channel();
        self.open.borrow_mut().insert(call, sender);
        if self.inputs.send(Input::Command { call, command }).await.is_err() {
            self.open.borrow_mut().remove(&call);
            return Err(ended());
        }
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    pub(crate) fn answer(&self, call: CallId, outcome: Outcome) {
        let waiting = self.open.borrow_mut().remove(&call);
        if let Some(waiting) = waiting {
            // The caller may have gone away in this moment.
            let _ = waiting.send(outcome);
        }
    }

    /// Ends every call without an answer.
    pub(crate) fn end(&self) {
        self.open.borrow_mut().clear();
    }
}
