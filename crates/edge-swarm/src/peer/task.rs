//! Own tasks: offers, assignments, commits, reveals and the decision.
//!
//! [`Peer::step_task`] is the only place that decides. It is called after everything that may
//! matter to a task and moves it as far as it can go: assign while results are wanted, ask for
//! reveals when all commits are in, accept a group whose posterior is high enough, widen the set on
//! disagreement (up to [`WORKERS_MAX`]), and execute here when nobody else is left.

mod ending;
mod hearing;
mod judging;
mod placing;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{
    Credits, Digest, Micros, NodeId, Ring, ShardId, Signed, TaskId, TaskKind, Timestamp, Work,
};
use edge_ledger::statement::{Assignment, Commit, FaultProof, Reveal, task_id};
use serde::{Deserialize, Serialize};

use super::{
    Peer, Purpose, Timer,
    content::{Audience, content_digest},
};
use crate::{
    command::{
        AMONG_MAX, CANARIES_MAX, Canaries, Check, Priority, Refusal, TaskNodeView, TaskRequest,
        TaskStatus, TaskView,
    },
    event::Event,
    io::{CallId, Urgency},
    message::{CONTENT_BYTES_MAX, INLINE_BYTES_MAX, Message, Offer},
};

/// The most workers of one task before the requester executes it itself.
pub(crate) const WORKERS_MAX: usize = 5;
/// Own tasks that may be undecided at the same time.
const TASKS_MAX: usize = 4_096;
/// Decided tasks that are remembered for `task ls` and `task explain`.
const DECIDED_MAX: usize = 4_096;
/// A message that was not answered is repeated after this.
pub(super) const REPEAT_AFTER: Micros = Micros::from_millis(600);
/// Others are asked, too, when an offer was not answered in `REPEAT_AFTER`; only after this is the
/// node given up: a lost frame of a slow link takes longer than one repeat.
const OFFER_PATIENCE: Micros = Micros::from_millis(2_400);
/// Repeats before a worker counts as late.
const REPEATS_MAX: u32 = 5;
/// How often a task looks at its clock.
const TICK: Micros = Micros::from_millis(200);
/// After the decision, results that come late are still judged for this long.
const LINGER: Micros = Micros::from_secs(20);
/// How long a task waits for witnesses that are away before it runs here.
const FUNDS_PATIENCE: Micros = Micros::from_secs(3);
/// Share of a trusted worker's single results that are executed again.
const AUDIT_TRUSTED: f64 = 0.1;
/// Where one worker stands in a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Offered,
    Bid,
    Declined,
    Assigned,
    Accepted,
    Committed,
    Asked,
    Revealed,
    Late,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stage::Offered => "offered",
            Stage::Bid => "bid",
            Stage::Declined => "declined",
            Stage::Assigned => "assigned",
            Stage::Accepted => "accepted",
            Stage::Committed | Stage::Asked => "committed",
            Stage::Revealed => "revealed",
            Stage::Late => "late",
        }
    }

    /// Whether a result may still come.
    fn is_active(self) -> bool {
        matches!(self, Stage::Assigned | Stage::Accepted | Stage::Committed | Stage::Asked)
    }
}

/// One worker's part in a task.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) stage: Stage,
    pub(crate) start_in: Micros,
    /// The how-manieth it was offered to.
    place: u32,
    pub(crate) since: Timestamp,
    pub(crate) touched: Timestamp,
    pub(crate) repeats: u32,
    pub(crate) took: bool,
    pub(crate) assignment: Option<Signed<Assignment>>,
    pub(crate) commit: Option<Signed<Commit>>,
    pub(crate) reveal: Option<Signed<Reveal>>,
    pub(crate) result: Option<Arc<[u8]>>,
    pub(crate) reason: Option<String>,
    pub(crate) paid: Credits,
}

impl Part {
    pub(crate) fn new(stage: Stage, now: Timestamp) -> Self {
        Part {
            stage,
            start_in: Micros(0),
            place: 0,
            since: now,
            touched: now,
            repeats: 0,
            took: false,
            assignment: None,
            commit: None,
            reveal: None,
            result: None,
            reason: None,
            paid: Credits::ZERO,
        }
    }

    /// Whether a result may still come.
    pub(crate) fn may_still_come(&self) -> bool {
        self.stage.is_active()
    }

    /// The statements of a worker that revealed, as evidence.
    pub(crate) fn proof(&self) -> Option<FaultProof> {
        Some(FaultProof {
            assignment: self.assignment.clone()?,
            commit: self.commit.clone()?,
            reveal: self.reveal.clone()?,
        })
    }
}

/// Who waits for the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A caller.
    Call(CallId),
    /// The log of an own shard.
    Append { shard: ShardId, seq: u64 },
    /// Nobody any more.
    Nobody,
}

#[derive(Clone, Debug)]
enum Own {
    No,
    Running,
    Done(Arc<[u8]>),
    Failed(String),
}

/// Whether a single answer is audited, and of what share of such.
#[derive(Clone, Copy, Debug)]
struct Draw {
    audited: bool,
    share: f64,
}

/// An own task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) kind: TaskKind,
    pub(crate) payload: Arc<[u8]>,
    pub(crate) digest: Digest,
    pub(crate) pin: Digest,
    pub(crate) issued: u64,
    pub(crate) price: Credits,
    /// What one execution takes, in reference CPU-microseconds.
    units: u64,
    pub(crate) priority: Priority,
    pub(crate) deadline: Timestamp,
    pub(crate) started: Timestamp,
    pub(crate) origin: Origin,
    /// The only possible workers, for tasks of a shard.
    pub(crate) fixed: Option<Vec<NodeId>>,
    /// The only nodes that may know of it, if not everybody may.
    among: Option<Vec<NodeId>>,
    canaries: Canaries,
    pub(crate) want: usize,
    pub(crate) parts: BTreeMap<NodeId, Part>,
    own: Own,
    own_reason: Option<String>,
    audit: Option<Draw>,
    pub(crate) decided: Option<Decision>,
    /// Decided so long ago that nothing that comes for it counts any more.
    pub(crate) closed: bool,
}

impl Task {
    /// Whether a node may be offered it.
    fn admits(&self, node: &NodeId) -> bool {
        self.among.as_ref().is_none_or(|among| among.contains(node))
    }

    /// Whether everybody may know of it.
    pub(super) fn is_public(&self) -> bool {
        self.among.is_none()
    }

    /// Who may have its payload and its results.
    fn audience(&self) -> Audience {
        self.among.clone().map_or(Audience::Members, Audience::Private)
    }

    fn offer(&self, id: TaskId, now: Timestamp) -> Offer {
        Offer {
            task: id,
            kind: self.kind,
            pin: self.pin,
            payload_bytes: self.payload.len() as u64,
            price: self.price,
            priority: self.priority,
            remaining: self.deadline.since(now),
        }
    }
}

/// How a task ended.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) status: TaskStatus,
    pub(crate) digest: Option<Digest>,
    pub(crate) check: Option<Check>,
    pub(crate) at: Timestamp,
    /// Why there is no result.
    pub(crate) reason: Option<String>,
}

/// What is stored of a decided task: enough for a third party to check what was paid for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The task.
    pub task: TaskId,
    /// Its kind.
    pub kind: TaskKind,
    /// Digest of the payload.
    pub payload: Digest,
    /// Digest of the accepted result.
    pub accepted: Option<Digest>,
    /// How it was checked.
    pub check: Option<Check>,
    /// Every worker that was assigned.
    pub workers: Vec<WorkerRecord>,
    /// For shard tasks: the shard, the position and the number of answers wanted.
    pub shard: Option<(ShardId, u64)>,
}

/// One worker's statements.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// The assignment.
    pub assignment: Signed<Assignment>,
    /// The commit, if it came.
    pub commit: Option<Signed<Commit>>,
    /// The reveal, if it came.
    pub reveal: Option<Signed<Reveal>>,
    /// Whether the worker took the assignment.
    pub took: bool,
    /// What the requester promised for it.
    pub paid: Credits,
}

/// Own tasks, undecided and recently decided.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) all: BTreeMap<TaskId, Task>,
    pub(crate) decided: Ring<TaskId, DECIDED_MAX>,
    pub(crate) undecided: usize,
    outstanding: BTreeMap<NodeId, u32>,
    /// Voices that did not answer the last offer in time: nobody waits for their bids.
    slow: BTreeSet<NodeId>,
}

impl Tasks {
    /// Whether only some nodes may know of an own task.
    pub(super) fn is_private(&self, task: &TaskId) -> bool {
        self.all.get(task).is_some_and(|task| task.among.is_some())
    }

    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        // Batches of own shards begin tasks of their own beside those of callers.
        add("own tasks", self.all.len(), 2 * TASKS_MAX + DECIDED_MAX);
        add("decided tasks", self.decided.len(), DECIDED_MAX);
        add("slow bidders", self.slow.len(), super::membership::MEMBERS_MAX);
    }
}

impl Peer {
    pub(super) fn submit(&mut self, call: CallId, request: TaskRequest) {
        if matches!(request.kind, TaskKind::VectorInsert | TaskKind::VectorSearch) {
            let text = format!("{} tasks are made by collections, not submitted", request.kind);
            return self.answer(call, Err(Refusal::Invalid(text)));
        }
        if request.payload.len() > CONTENT_BYTES_MAX {
            let text = format!("a payload has at most {} MiB", CONTENT_BYTES_MAX >> 20);
            return self.answer(call, Err(Refusal::Invalid(text)));
        }
        let among = request.among.as_ref().map(Vec::len);
        if among.is_none() && request.kind == TaskKind::Encryption {
            let text = "an encryption task says which nodes may have it";
            return self.answer(call, Err(Refusal::Invalid(text.into())));
        }
        if among.is_some_and(|nodes| nodes > AMONG_MAX) {
            let text = format!("a task is limited to {AMONG_MAX} nodes at most");
            return self.answer(call, Err(Refusal::Invalid(text)));
        }
        let canaries = &request.canaries;
        if canaries.known.len() > CANARIES_MAX || canaries.share_ppm >= 1_000_000 {
            let text = format!("at most {CANARIES_MAX} items of a task are known, and not all");
            return self.answer(call, Err(Refusal::Invalid(text)));
        }
        if self.is_leaving() {
            let text = "this node is shutting down".into();
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        if self.tasks.undecided >= TASKS_MAX {
            let text = format!("{TASKS_MAX} own tasks are waiting already; try again later");
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        let price = self.price(request.kind, request.units, request.priority);
        if let Some(most) = request.price_max
            && price > most
        {
            let text = format!(
                "an execution costs {price} rUv, more than the limit of {most}: raise `max_credits`"
            );
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        self.start_task(request, price, Origin::Call(call), None);
    }

    /// Begins a task. `fixed` names the only possible workers, all of which are assigned.
    pub(super) fn start_task(
        &mut self,
        request: TaskRequest,
        price: Credits,
        origin: Origin,
        fixed: Option<Vec<NodeId>>,
    ) -> TaskId {
        let digest = content_digest(&request.payload);
        let issued = self.rng.next_u64();
        let id = task_id(&self.me, issued, request.kind, &digest);
        let want = fixed.as_ref().map_or(2, Vec::len);
        let task = Task {
            kind: request.kind,
            payload: request.payload.clone(),
            digest,
            pin: request.pin,
            issued,
            price,
            units: request.units,
            priority: request.priority,
            deadline: self.now + request.remaining,
            started: self.now,
            origin,
            fixed,
            among: request.among,
            canaries: request.canaries,
            want,
            parts: BTreeMap::new(),
            own: Own::No,
            own_reason: None,
            audit: None,
            decided: None,
            closed: false,
        };
        self.content.keep(digest, request.payload, task.audience());
        self.tasks.all.insert(id, task);
        self.tasks.undecided += 1;
        self.event(Event::TaskStarted { task: id, kind: request.kind });
        self.after(TICK, Timer::Task(id));
        self.step_task(id);
        id
    }

    /// A worker's connection is lost: what it promised counts as late.
    pub(super) fn on_worker_gone(&mut self, node: NodeId) {
        let waiting: Vec<TaskId> = self
            .tasks
            .all
            .iter()
            .filter(|(_, t)| t.parts.get(&node).is_some_and(|p| p.stage.is_active()))
            .map(|(id, _)| *id)
            .collect();
        for (nth, task) in waiting.into_iter().enumerate() {
            // One event, and one broken promise, however many tasks it had.
            self.give_up(task, node, "its connection was lost", nth == 0);
        }
        self.search_worker_gone(node);
    }

    fn mark_late(&mut self, task: TaskId, worker: NodeId, reason: &str) {
        self.give_up(task, worker, reason, true);
    }

    /// Nothing is expected of a worker any more; it may count as a broken promise.
    fn give_up(&mut self, task: TaskId, worker: NodeId, reason: &str, counts: bool) {
        let Some(entry) = self.tasks.all.get_mut(&task) else { return };
        let kind = entry.kind;
        let Some(part) = entry.parts.get_mut(&worker) else { return };
        let accepted = part.took;
        let was_active = part.stage.is_active();
        part.stage = Stage::Late;
        part.reason = Some(reason.into());
        if was_active {
            self.release_worker(&worker);
        }
        if was_active && counts {
            self.members.note(&worker, kind, false, false, self.now);
            self.store_reputation(&worker);
        }
        self.event(Event::TaskLate { task, kind, worker, accepted });
        self.step_task(task);
    }

    fn part_mut(&mut self, task: TaskId, worker: &NodeId) -> Option<&mut Part> {
        self.tasks.all.get_mut(&task)?.parts.get_mut(worker)
    }

    fn release_worker(&mut self, worker: &NodeId) {
        if let Some(count) = self.tasks.outstanding.get_mut(worker) {
            *count = count.saturating_sub(1);
        }
    }

    /// Something that tasks may have waited for happened: funds, a member, an advert.
    pub(super) fn step_waiting_tasks(&mut self) {
        let waiting: Vec<TaskId> = self
            .tasks
            .all
            .iter()
            .filter(|(_, t)| t.decided.is_none() && !t.parts.values().any(|p| p.stage.is_active()))
            .map(|(id, _)| *id)
            .collect();
        for task in waiting {
            self.step_task(task);
        }
    }

    pub(super) fn on_task_timer(&mut self, id: TaskId) {
        let (now, timeout) = (self.now, self.settings.execution_timeout);
        let Some(task) = self.tasks.all.get(&id) else { return };
        if let Some(decision) = &task.decided {
            let lingers = task.parts.values().any(|p| p.stage.is_active());
            if now.since(decision.at) >= LINGER || !lingers {
                self.close_task(id);
            } else {
                self.repeat_messages(id);
                self.after(TICK, Timer::Task(id));
            }
            return;
        }
        if now >= task.deadline {
            let reason = "no result could be checked in time";
            let refusal = Refusal::TimedOut(format!("the task timed out: {reason}"));
            self.end_failed(id, reason, refusal);
            self.after(TICK, Timer::Task(id));
            return;
        }
        let mut late: Vec<(NodeId, &'static str)> = Vec::new();
        for (node, part) in &task.parts {
            let silent = part.repeats >= REPEATS_MAX;
            match part.stage {
                Stage::Assigned if silent => late.push((*node, "did not answer the assignment")),
                Stage::Accepted if now.since(part.since) > timeout => {
                    late.push((*node, "gave no result in time"));
                }
                Stage::Asked if silent => late.push((*node, "committed but did not reveal")),
                Stage::Offered if now.since(part.since) > OFFER_PATIENCE => {
                    late.push((*node, "did not answer the offer"));
                }
                Stage::Offered
                | Stage::Bid
                | Stage::Declined
                | Stage::Assigned
                | Stage::Accepted
                | Stage::Committed
                | Stage::Asked
                | Stage::Revealed
                | Stage::Late => {}
            }
        }
        for (node, reason) in late {
            self.mark_late(id, node, reason);
        }
        self.repeat_messages(id);
        self.step_task(id);
        self.after(TICK, Timer::Task(id));
    }

    /// Says again what was not answered.
    fn repeat_messages(&mut self, id: TaskId) {
        let now = self.now;
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        let commits: Vec<Signed<Commit>> =
            task.parts.values().filter_map(|p| p.commit.clone()).collect();
        let remaining = task.deadline.since(now);
        let inline = task.payload.len() <= INLINE_BYTES_MAX;
        let (undecided, offer) = (task.decided.is_none(), task.offer(id, now));
        let mut messages: Vec<(NodeId, Message)> = Vec::new();
        for (node, part) in &mut task.parts {
            if now.since(part.touched) < REPEAT_AFTER {
                continue;
            }
            let message = match (part.stage, &part.assignment) {
                (Stage::Assigned | Stage::Accepted, Some(assignment)) => Message::Assign {
                    assignment: assignment.clone(),
                    payload: inline.then(|| task.payload.to_vec()),
                    priority: task.priority,
                    remaining,
                },
                (Stage::Offered, _) if undecided => Message::Offer(offer.clone()),
                (Stage::Asked, _) => Message::RevealPlease { task: id, commits: commits.clone() },
                (_, _) => continue,
            };
            part.touched = now;
            part.repeats += 1;
            messages.push((*node, message));
        }
        for (node, message) in messages {
            self.send(node, &message);
        }
    }

    /// Moves a task as far as it can go.
    pub(super) fn step_task(&mut self, id: TaskId) {
        let Some(task) = self.tasks.all.get(&id) else { return };
        if task.decided.is_some() {
            return self.judge_latecomers(id);
        }
        if self.try_decide(id) {
            return;
        }
        self.ask_for_reveals(id);
        let Some(task) = self.tasks.all.get(&id) else { return };
        let active = task.parts.values().filter(|p| p.stage.is_active()).count();
        let revealed = task.parts.values().filter(|p| p.stage == Stage::Revealed).count();
        let own_runs = matches!(task.own, Own::Running);
        if active == 0 && revealed >= task.want && !own_runs {
            // Everything wanted is here and no group is believed: one more.
            if task.want < WORKERS_MAX && task.fixed.is_none() {
                if let Some(task) = self.tasks.all.get_mut(&id) {
                    task.want += 1;
                }
            } else {
                let why = match revealed {
                    0 => "nobody else holds a copy",
                    _ => "the results differ and nobody else is left",
                };
                return self.execute_own(id, why);
            }
        }
        self.assign_more(id);
    }

    /// Groups the results that are here; accepts a group if it may be believed.
    fn try_decide(&mut self, id: TaskId) -> bool {
        let Some(task) = self.tasks.all.get(&id) else { return false };
        if let Own::Done(bytes) = &task.own {
            let bytes = bytes.clone();
            self.decide(id, bytes, 1_000_000, None);
            return true;
        }
        self.see_wrong_canaries(id);
        let Some(task) = self.tasks.all.get(&id) else { return false };
        let assumption = self.settings.assumption;
        let mut groups: BTreeMap<Digest, (Vec<NodeId>, Arc<[u8]>)> = BTreeMap::new();
        for (node, part) in &task.parts {
            if let (Stage::Revealed, Some(reveal), Some(result)) =
                (part.stage, &part.reveal, &part.result)
                && task.canaries.hold(result)
            {
                let entry = groups.entry(reveal.body.digest);
                entry.or_insert_with(|| (Vec::new(), result.clone())).0.push(*node);
            }
        }
        let credibilities: Vec<Vec<f64>> =
            groups.values().map(|(nodes, _)| self.credibilities(nodes, task.kind)).collect();
        let posteriors = assumption.posteriors(&credibilities);
        let best = groups
            .values()
            .zip(posteriors.into_iter().zip(&credibilities))
            .max_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b))
            .map(|((nodes, bytes), (p, voices))| (nodes.clone(), bytes.clone(), p, voices.len()));
        let Some((nodes, bytes, posterior, voices)) = best else { return false };
        let ppm = (posterior * 1e6) as u64;
        if groups.len() == 1
            && let Some(share) = nodes.iter().find_map(|node| self.audit_share(node, task))
        {
            let canaries = f64::from(task.canaries.share_ppm) / 1e6;
            let share = assumption.audit_beside_canaries(share, canaries);
            return self.decide_alone(id, voices, bytes, ppm, share);
        }
        if voices >= 2 && assumption.accepts(posterior) && !self.is_isolated() {
            self.decide(id, bytes, ppm, None);
            return true;
        }
        false
    }

    /// The share of a worker's single answers that is audited, if one answer of it is enough: a node of the
    /// same owner, or a stranger with many results that held and enough at stake.
    fn audit_share(&self, worker: &NodeId, task: &Task) -> Option<f64> {
        if self.members.is_trusted(worker) {
            return Some(AUDIT_TRUSTED);
        }
        let assumption = self.settings.assumption;
        // What a shard's root is rests on more than one stranger: everything that is found in it does.
        let root = task.fixed.is_some() && self.settings.roots_take_two;
        if root || self.is_isolated() {
            return None;
        }
        let checked = self.members.checked_of(worker, task.kind);
        if !assumption.proven(checked) {
            return None;
        }
        let stake = self.forfeit_of(worker);
        assumption.audit_share(checked, task.price, stake, self.tuning.audits())
    }

    /// One result is enough, unless the draw made after its commit says that it is audited.
    fn decide_alone(
        &mut self,
        id: TaskId,
        results: usize,
        bytes: Arc<[u8]>,
        ppm: u64,
        share: f64,
    ) -> bool {
        let share_ppm = (share * 1e6) as u64;
        let draw = self.rng.chance(share_ppm, 1_000_000);
        let Some(task) = self.tasks.all.get_mut(&id) else { return false };
        let audited = task.audit.get_or_insert(Draw { audited: draw, share }).audited;
        if audited && results < 2 {
            task.want = task.want.max(2);
            let active = task.parts.values().any(|p| p.stage.is_active());
            let own_idle = matches!(task.own, Own::No);
            if !active && own_idle && task.parts.len() >= WORKERS_MAX {
                self.execute_own(id, "audit of a single result");
            }
            return false;
        }
        self.decide(id, bytes, ppm, (results == 1).then_some(share_ppm));
        true
    }

    /// Reveals are asked for when every active worker has committed.
    fn ask_for_reveals(&mut self, id: TaskId) {
        let now = self.now;
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        let waits =
            task.parts.values().any(|p| matches!(p.stage, Stage::Assigned | Stage::Accepted));
        let committed = task.parts.values().filter(|p| p.stage == Stage::Committed).count();
        let bound = task.parts.values().filter(|p| p.commit.is_some()).count();
        let own = matches!(task.own, Own::Running | Own::Done(_));
        // A shard's replicas do not wait for the slowest once two are bound.
        let enough = !waits || (task.fixed.is_some() && bound >= 2);
        let short = bound < task.want.min(2) && !own && task.fixed.is_none();
        if committed == 0 || !enough || (short && waits) {
            return;
        }
        let commits: Vec<Signed<Commit>> =
            task.parts.values().filter_map(|p| p.commit.clone()).collect();
        let mut asked = Vec::new();
        for (node, part) in &mut task.parts {
            if part.stage == Stage::Committed {
                part.stage = Stage::Asked;
                part.touched = now;
                part.repeats = 0;
                asked.push(*node);
            }
        }
        for node in asked {
            self.send(node, &Message::RevealPlease { task: id, commits: commits.clone() });
        }
    }

    /// Executes the task here: a missing replica or a tie-break.
    fn execute_own(&mut self, id: TaskId, reason: &str) {
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        match &task.own {
            Own::Running | Own::Done(_) => return,
            Own::Failed(text) => {
                let text = format!("the task cannot be executed: {text}");
                return self.fail_task(id, &text);
            }
            Own::No => {}
        }
        task.own = Own::Running;
        task.own_reason = Some(reason.into());
        let (kind, payload) = (task.kind, task.payload.clone());
        let what = match (kind, task.origin) {
            (TaskKind::VectorInsert, Origin::Append { shard, seq }) => {
                Work::Replay { history: self.history_before(&shard, seq), payload }
            }
            (_, _) => Work::Run { kind, payload },
        };
        self.counters.own_executions += 1;
        self.execute(what, Urgency::Normal, Purpose::OwnTask(id));
        self.ask_for_reveals(id);
    }

    /// Own tasks and ended searches, newest first.
    pub(super) fn task_views(&self, limit: usize) -> Vec<TaskView> {
        let mut tasks: Vec<(&TaskId, &Task)> = self.tasks.all.iter().collect();
        tasks.sort_by_key(|(_, t)| std::cmp::Reverse(t.started));
        let tasks = tasks.into_iter().take(limit).map(|(id, task)| self.task_view(id, task));
        let mut views: Vec<TaskView> = tasks.chain(self.search_views()).collect();
        views.sort_by_key(|view| view.ago);
        views.truncate(limit);
        views
    }

    pub(super) fn task_view(&self, id: &TaskId, task: &Task) -> TaskView {
        let decision = task.decided.as_ref();
        TaskView {
            task: *id,
            kind: task.kind,
            status: decision.map_or(TaskStatus::Running, |d| d.status),
            priority: task.priority,
            price: task.price,
            payload: task.digest,
            result: decision.and_then(|d| d.digest),
            check: decision.and_then(|d| d.check.clone()),
            determinism: task.kind.determinism().name().into(),
            posterior_needed_ppm: (self.settings.assumption.needed() * 1e6).round() as u64,
            nodes: task.parts.iter().map(|(node, part)| node_view(node, part)).collect(),
            took: decision.map_or(self.now, |d| d.at).since(task.started),
            ago: self.now.since(task.started),
            reason: decision.and_then(|d| d.reason.clone()),
            canaries_ppm: task.canaries.share_ppm,
        }
    }
}

/// How a part of a task looks to people.
pub(crate) fn node_view(node: &NodeId, part: &Part) -> TaskNodeView {
    TaskNodeView {
        node: *node,
        state: part.stage.name().into(),
        reason: part.reason.clone(),
        digest: part.reveal.as_ref().map(|r| r.body.digest),
        paid: part.paid,
    }
}

/// What is stored of a part, if it was assigned.
pub(crate) fn worker_record(part: &Part) -> Option<WorkerRecord> {
    Some(WorkerRecord {
        assignment: part.assignment.clone()?,
        commit: part.commit.clone(),
        reveal: part.reveal.clone(),
        took: part.took,
        paid: part.paid,
    })
}

/// The key of a decided own task in its table.
pub(crate) fn task_key(task: &TaskId) -> Vec<u8> {
    [b"t".as_slice(), task.as_bytes()].concat()
}
