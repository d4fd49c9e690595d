//! What workers say to a requester: bids, refusals, commitments and results.

use std::sync::Arc;

use edge_base::{Digest, Micros, NodeId, Signed, TaskId};
use edge_ledger::statement::{Commit, Reveal};

use super::{Origin, Own, Stage, Task};
use crate::{
    event::Event,
    message::DeclineReason,
    peer::{
        Peer,
        content::{Audience, Waiter, content_digest},
    },
};

impl Peer {
    pub(in crate::peer) fn on_bid(
        &mut self,
        from: NodeId,
        task: TaskId,
        _load: u32,
        start_in: Micros,
    ) {
        let now = self.now;
        let Some(part) = self.part_mut(task, &from) else { return };
        if part.stage == Stage::Offered {
            part.stage = Stage::Bid;
            part.start_in = start_in;
            part.touched = now;
            part.repeats = 0;
            let offered = part.since;
            self.note_pace(from, offered);
            self.step_task(task);
        }
    }

    pub(in crate::peer) fn on_decline(
        &mut self,
        from: NodeId,
        task: TaskId,
        reason: DeclineReason,
    ) {
        if self.search_declined(from, task, reason) {
            return;
        }
        let origin = self.tasks.all.get(&task).map(|t| t.origin);
        let Some(part) = self.part_mut(task, &from) else { return };
        if part.stage == Stage::Offered || part.stage == Stage::Bid || part.stage.is_active() {
            let was_active = part.stage.is_active();
            let offered = (part.stage == Stage::Offered).then_some(part.since);
            part.stage = Stage::Declined;
            part.reason = Some(reason.text().into());
            if let Some(offered) = offered {
                self.note_pace(from, offered);
            }
            if was_active {
                self.release_worker(&from);
            }
            if let (Some(Origin::Append { shard, .. }), DeclineReason::Behind) = (origin, reason) {
                self.on_replica_missing(shard, from);
            }
            self.step_task(task);
        }
    }

    pub(in crate::peer) fn on_accepted(&mut self, from: NodeId, task: TaskId) {
        if self.search_accepted(from, task) {
            return;
        }
        let now = self.now;
        let Some(part) = self.part_mut(task, &from) else { return };
        part.touched = now;
        part.repeats = 0;
        part.took = true;
        if part.stage == Stage::Assigned {
            part.stage = Stage::Accepted;
            self.event(Event::TaskAccepted { task, worker: from });
        }
    }

    pub(in crate::peer) fn on_committed(&mut self, from: NodeId, commit: Signed<Commit>) {
        let task = commit.body.task;
        let (now, pool) = (self.now, self.pool);
        // Once a digest is accepted and told, binding oneself to it shows nothing.
        let free = |t: &&mut Task| !t.closed && (t.fixed.is_some() || t.decided.is_none());
        let open = self.tasks.all.get_mut(&task).filter(free);
        let Some(part) = open.and_then(|t| t.parts.get_mut(&from)) else {
            return;
        };
        if !matches!(part.stage, Stage::Assigned | Stage::Accepted | Stage::Late)
            || part.commit.is_some()
        {
            return;
        }
        let fits = commit.signer == from && commit.body.worker == from;
        if !fits || commit.open(&mut self.verifier, &pool).is_err() {
            return;
        }
        if part.stage == Stage::Late {
            // It came back: judged like any other, if the task still waits for results.
            *self.tasks.outstanding.entry(from).or_default() += 1;
        }
        let Some(part) = self.part_mut(task, &from) else { return };
        part.stage = Stage::Committed;
        part.commit = Some(commit);
        part.touched = now;
        part.repeats = 0;
        part.took = true;
        self.event(Event::TaskCommitted { task, worker: from });
        self.step_task(task);
    }

    pub(in crate::peer) fn on_revealed(
        &mut self,
        from: NodeId,
        commit: Signed<Commit>,
        reveal: Signed<Reveal>,
        result: Option<Vec<u8>>,
    ) {
        let task = reveal.body.task;
        if self.tasks.all.contains_key(&task) {
            self.on_task_revealed(from, task, reveal, result);
        } else {
            self.on_search_revealed(from, task, commit, reveal, result);
        }
    }

    fn on_task_revealed(
        &mut self,
        from: NodeId,
        task: TaskId,
        reveal: Signed<Reveal>,
        result: Option<Vec<u8>>,
    ) {
        let pool = self.pool;
        let Some(part) = self.tasks.all.get(&task).and_then(|t| t.parts.get(&from)) else { return };
        let Some(commit) = &part.commit else { return };
        let fits = reveal.signer == from
            && reveal.body.opens(&commit.body)
            && part.reveal.is_none()
            && matches!(part.stage, Stage::Committed | Stage::Asked);
        if !fits || reveal.open(&mut self.verifier, &pool).is_err() {
            return;
        }
        let digest = reveal.body.digest;
        match result {
            Some(bytes) if content_digest(&bytes) == digest => {
                self.take_result(task, from, reveal, bytes.into());
            }
            // Bytes that are not what was revealed: as good as no answer.
            Some(_) => self.mark_late(task, from, "sent bytes that are not what it revealed"),
            None => {
                if let Some(part) = self.part_mut(task, &from) {
                    part.reveal = Some(reveal);
                }
                let audience = self.tasks.all.get(&task).map(Task::audience);
                let audience = audience.unwrap_or(Audience::Only(Vec::new()));
                self.fetch(digest, from, Waiter::Result { task, worker: from }, audience);
            }
        }
    }

    pub(in crate::peer) fn on_result_fetched(
        &mut self,
        task: TaskId,
        worker: NodeId,
        _content: Digest,
        bytes: Option<Arc<[u8]>>,
    ) {
        let Some(part) = self.part_mut(task, &worker) else { return };
        match (part.reveal.take(), bytes) {
            (Some(reveal), Some(bytes)) => self.take_result(task, worker, reveal, bytes),
            (_, _) => self.mark_late(task, worker, "did not send its result"),
        }
    }

    fn take_result(
        &mut self,
        task: TaskId,
        worker: NodeId,
        reveal: Signed<Reveal>,
        bytes: Arc<[u8]>,
    ) {
        let digest = reveal.body.digest;
        let Some(part) = self.part_mut(task, &worker) else { return };
        part.stage = Stage::Revealed;
        part.reveal = Some(reveal);
        part.result = Some(bytes);
        self.release_worker(&worker);
        self.event(Event::TaskRevealed { task, worker, digest });
        self.step_task(task);
    }

    pub(in crate::peer) fn on_own_task_executed(
        &mut self,
        task: TaskId,
        outcome: Result<Vec<u8>, String>,
    ) {
        let Some(entry) = self.tasks.all.get_mut(&task) else { return };
        entry.own = match outcome {
            Ok(bytes) => Own::Done(bytes.into()),
            Err(text) => Own::Failed(text),
        };
        self.step_task(task);
    }
}
