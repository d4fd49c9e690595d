//! What executes the work: `edge-tasks`, honest unless told otherwise.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

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
    pub(crate) fn new(executor: Executor, lie: Option<(Lie, u64)>) -> Self {
        let liar = lie.map(|(lie, seed)| Mutex::new(Liar::new(lie, seed)));
        TaskExecutor { executor, liar }
    }
}

impl fmt::Debug for TaskExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskExecutor").finish_non_exhaustive()
    }
}

impl TaskExecutor {
    /// What works for this node itself: nothing lies to its own node.
    pub(crate) fn honest(&self) -> &Executor {
        &self.executor
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
        let work = work.inner();
        let plan = lock().plan(work);
        let truth = honest(Liar::work(&plan, work))?;
        Ok(lock().tell(&plan, work, truth))
    }
}

#[cfg(test)]
mod tests {
    use edge_base::{Digest, TaskKind};
    use edge_tasks::EmbeddingPayload;

    use super::*;
    use crate::jobs::default_model;

    fn embed(text: &str) -> Work {
        let payload = EmbeddingPayload { model: default_model(), texts: vec![text.to_owned()] };
        Work::Run { kind: TaskKind::Embedding, payload: payload.encode().into() }
    }

    #[test]
    fn a_liar_lies_to_others_and_never_to_itself() {
        let honest = TaskExecutor::new(Executor::new(), None);
        for lie in Lie::ALL {
            let liar = TaskExecutor::new(Executor::new(), Some((lie, 7)));
            let (mut told, mut kept) = (0, 0);
            for n in 0..60 {
                let work = embed(&format!("text {n}"));
                let truth = honest.execute(&work, Urgency::Normal);
                told += usize::from(liar.execute(&work, Urgency::Normal) != truth);
                kept += usize::from(liar.execute(&work, Urgency::Background) == truth);
            }
            let least = match lie {
                Lie::FlipBit => 60,
                Lie::OtherInput => 59,
                Lie::HonestThenSometimes => 5,
                Lie::Together => 1,
                Lie::Patient | Lie::Wary => 0,
            };
            assert!(told >= least && kept == 60, "{lie}: {told} lies, {kept} kept");
        }
    }

    #[test]
    fn what_cannot_be_executed_is_an_error_of_a_liar_too() {
        let liar = TaskExecutor::new(Executor::new(), Some((Lie::FlipBit, 7)));
        let payload = EmbeddingPayload { model: Digest::of(b"none"), texts: vec!["a".into()] };
        let work = Work::Run { kind: TaskKind::Embedding, payload: payload.encode().into() };
        assert!(liar.execute(&work, Urgency::High).is_err());
    }
}
