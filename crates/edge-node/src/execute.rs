//! What executes the work: `edge-tasks`, honest unless told otherwise.

use std::sync::{Mutex, PoisonError};

use edge_base::Work;
use edge_swarm::Urgency;
use edge_tasks::{
    Executor,
    lie::{Liar, Lie},
};

use crate::workers::Execute;

/// Executes tasks. With a liar inside, results for others pass through it: that is how the
/// demonstration gets a node that is the product in everything but its answers.
pub(crate) struct TaskExecutor {
    executor: Executor,
    liar: Option<Mutex<Liar>>,
}

impl TaskExecutor {
    pub(crate) fn new(lie: Option<(Lie, u64)>) -> Self {
        let liar = lie.map(|(lie, seed)| Mutex::new(Liar::new(lie, seed)));
        TaskExecutor { executor: Executor::new(), liar }
    }
}

impl Execute for TaskExecutor {
    fn execute(&self, work: &Work, urgency: Urgency) -> Result<Vec<u8>, String> {
        let honest = |work: &Work| self.executor.execute(work).map_err(|error| error.to_string());
        // Background work is for this node itself: repair, and the re-execution of others' faults.
        let Some(liar) = self.liar.as_ref().filter(|_| urgency != Urgency::Background) else {
            return honest(work);
        };
        let lock = || liar.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = lock().plan(work);
        let truth = honest(Liar::work(&plan, work))?;
        Ok(lock().tell(&plan, work, truth))
    }
}
