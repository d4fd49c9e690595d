//! How a task ends: decided, failed or cancelled; who worked for it is told, and what is kept of it.

use std::sync::Arc;

use edge_base::{NodeId, TaskId};

use super::{Decision, Origin, Own, Stage, TaskRecord, task_key, worker_record};
use crate::{
    command::{Answer, Check, Refusal, TaskResult, TaskStatus},
    event::Event,
    io::{CallId, Table},
    message::Message,
    peer::{Peer, content::content_digest},
};

/// Before the reason of a task that failed, in the answer to its caller.
const FAILED: &str = "the task failed: ";

impl Peer {
    /// Accepts a result: pays who agreed, accuses who differed, tells everybody.
    /// `audit_ppm`: one result was enough, for the share of such that is audited.
    pub(super) fn decide(
        &mut self,
        id: TaskId,
        bytes: Arc<[u8]>,
        posterior_ppm: u64,
        audit_ppm: Option<u64>,
    ) {
        let digest = content_digest(&bytes);
        let now = self.now;
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        let own_execution = match task.own {
            Own::Done(_) => task.own_reason.clone(),
            Own::No | Own::Running | Own::Failed(_) => None,
        };
        let (mut agreed, mut disagreed) = (Vec::new(), Vec::new());
        for (node, part) in &task.parts {
            if let (Stage::Revealed, Some(reveal)) = (part.stage, &part.reveal) {
                let side = if reveal.body.digest == digest { &mut agreed } else { &mut disagreed };
                side.push(*node);
            }
        }
        let isolated = self.is_isolated();
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        let canaries_ppm = task.canaries.share_ppm;
        let check = Check {
            isolated,
            canaries_ppm,
            self_checked: agreed.is_empty() && disagreed.is_empty(),
            agreed,
            disagreed,
            own_execution: own_execution.clone(),
            posterior_ppm,
            audit_ppm,
        };
        let (kind, origin, draw) = (task.kind, task.origin, task.audit);
        task.decided = Some(Decision {
            status: TaskStatus::Verified,
            digest: Some(digest),
            check: Some(check.clone()),
            at: now,
            reason: None,
        });
        self.tasks.undecided -= 1;
        self.counters.tasks_verified += 1;
        self.event(Event::TaskVerified {
            task: id,
            kind,
            agreed: check.agreed.clone(),
            disagreed: check.disagreed.clone(),
            own_execution: own_execution.is_some(),
        });
        // Right canaries check their share of the results that they are in.
        let canaries = canaries_ppm > 0 && self.rng.chance(canaries_ppm.into(), 1_000_000);
        let checked = audit_ppm.is_none() || canaries;
        for node in check.agreed.clone() {
            self.reward(id, node, checked);
        }
        for node in check.disagreed.clone() {
            self.accuse(id, node);
        }
        if let Some(draw) = draw {
            self.tune_audits(draw.audited, draw.share, !check.disagreed.is_empty());
        }
        self.tell_over(id);
        self.store_task(id);
        self.offer_audit(id, &check.agreed);
        match origin {
            Origin::Call(call) => {
                let result = TaskResult { task: id, result: bytes, check };
                self.answer(call, Ok(Answer::Task(result)));
            }
            Origin::Append { shard, seq } => self.on_append_decided(id, shard, seq, Some(&bytes)),
            Origin::Nobody => {}
        }
        self.step_drain();
    }

    fn tell_over(&mut self, id: TaskId) {
        let Some(task) = self.tasks.all.get(&id) else { return };
        let accepted = task.decided.as_ref().and_then(|d| d.digest);
        let keep_going = task.fixed.is_some() && accepted.is_some();
        let told: Vec<NodeId> = task
            .parts
            .iter()
            .filter(|(_, p)| p.assignment.is_some() && !(keep_going && p.stage.is_active()))
            .map(|(n, _)| *n)
            .collect();
        for node in told {
            self.send(node, &Message::Over { task: id, accepted });
            if !keep_going
                && let Some(part) = self.part_mut(id, &node)
                && part.stage.is_active()
            {
                part.stage = Stage::Late;
                part.reason = Some("the task was decided without it".into());
                self.release_worker(&node);
            }
        }
    }

    pub(in crate::peer) fn fail_task(&mut self, id: TaskId, reason: &str) {
        self.end_failed(id, reason, Refusal::Failed(format!("{FAILED}{reason}")));
    }

    pub(super) fn end_failed(&mut self, id: TaskId, reason: &str, refusal: Refusal) {
        self.end_task(id, TaskStatus::Failed, refusal);
        self.counters.tasks_failed += 1;
        self.event(Event::TaskFailed { task: id, reason: reason.into() });
    }

    fn end_task(&mut self, id: TaskId, status: TaskStatus, refusal: Refusal) {
        let now = self.now;
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        if task.decided.is_some() {
            return;
        }
        let reason = refusal.to_string();
        let reason = reason.strip_prefix(FAILED).unwrap_or(&reason).to_owned();
        let reason = Some(reason);
        task.decided = Some(Decision { status, digest: None, check: None, at: now, reason });
        let origin = task.origin;
        self.tasks.undecided -= 1;
        self.tell_over(id);
        self.store_task(id);
        match origin {
            Origin::Call(call) => self.answer(call, Err(refusal)),
            Origin::Append { shard, seq } => self.on_append_decided(id, shard, seq, None),
            Origin::Nobody => {}
        }
        self.step_drain();
    }

    pub(in crate::peer) fn cancel_task(&mut self, call: CallId, id: TaskId) {
        let answer = match self.tasks.all.get(&id) {
            None => Err(Refusal::NotFound(format!("no task {} here", id.short()))),
            Some(task) if task.decided.is_some() => {
                Err(Refusal::Refused(format!("the task {} is decided already", id.short())))
            }
            Some(task) if matches!(task.origin, Origin::Append { .. }) => {
                let text = "a collection's log cannot skip a batch; drop the collection instead";
                Err(Refusal::Refused(text.into()))
            }
            Some(_) => Ok(Answer::Done),
        };
        if answer.is_ok() {
            let text = "the task was cancelled".into();
            self.end_task(id, TaskStatus::Cancelled, Refusal::Failed(text));
        }
        self.answer(call, answer);
    }

    pub(in crate::peer) fn on_abandoned(&mut self, call: CallId) {
        let abandoned: Vec<TaskId> = self
            .tasks
            .all
            .iter()
            .filter(|(_, t)| t.origin == Origin::Call(call) && t.decided.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in abandoned {
            if let Some(task) = self.tasks.all.get_mut(&id) {
                task.origin = Origin::Nobody;
            }
            let text = "its caller is gone".into();
            self.end_task(id, TaskStatus::Cancelled, Refusal::Failed(text));
        }
        self.abandon_search(call);
    }

    pub(super) fn store_task(&mut self, id: TaskId) {
        let Some(task) = self.tasks.all.get(&id) else { return };
        let decision = task.decided.as_ref();
        let record = TaskRecord {
            task: id,
            kind: task.kind,
            payload: task.digest,
            accepted: decision.and_then(|d| d.digest),
            check: decision.and_then(|d| d.check.clone()),
            workers: task.parts.values().filter_map(worker_record).collect(),
            shard: match task.origin {
                Origin::Append { shard, seq } => Some((shard, seq)),
                Origin::Call(_) | Origin::Nobody => None,
            },
        };
        self.persist(Table::Tasks, &task_key(&id), &record);
    }

    /// Forgets the payload of a decided task and bounds how many are remembered.
    pub(super) fn close_task(&mut self, id: TaskId) {
        let Some(task) = self.tasks.all.get_mut(&id).filter(|task| !task.closed) else { return };
        task.closed = true;
        task.payload = Arc::from([]);
        let mut silent = Vec::new();
        for (node, part) in &mut task.parts {
            part.result = None;
            if part.stage.is_active() {
                part.stage = Stage::Late;
                part.reason = Some("gave nothing long after the task was decided".into());
                silent.push(*node);
            }
        }
        for node in silent {
            self.release_worker(&node);
        }
        if let Some(oldest) = self.tasks.decided.push(id) {
            self.tasks.all.remove(&oldest);
        }
    }
}
