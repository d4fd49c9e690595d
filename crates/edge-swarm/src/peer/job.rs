//! Working for others: bids, executions, commits and reveals.
//!
//! A commit is durable before it leaves, so a worker that crashes never commits to two results of
//! one task. A certified answer (`vector_search`) is committed and revealed in one message.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{
    Credits, Digest, EscrowId, Micros, NodeId, RingSet, ShardId, Signed, TaskId, TaskKind,
    Timestamp, UNDERPAID, Work, codec,
    shard::{ShardAnswer, ShardQuery},
};
use edge_ledger::statement::{Assignment, Commit, Reveal, commit_hash};

use super::{
    Alarm, Peer, Purpose, Stored, Timer,
    content::{Audience, Waiter, content_digest},
    decode_stored,
    fair::has_room,
};
use crate::{
    command::Priority,
    event::Event,
    io::{Guarded, Table, Urgency, WorkId},
    message::{CONTENT_BYTES_MAX, DeclineReason, INLINE_BYTES_MAX, Message, Offer, ShardHead},
};

/// Tasks of others known at the same time; beyond it offers and assignments are declined.
const JOBS_MAX: usize = 4_096;
/// A decided or forgotten job is kept this long for questions that come late.
const LINGER: Micros = Micros::from_secs(30);
/// A job that is over is remembered this long, for assignments that were underway twice. Short: with
/// [`JOBS_MAX`] it bounds how many tasks a second a worker can take.
const OVER_KEPT: Micros = Micros::from_secs(5);
/// What a requester did not accept counts as owed for this long.
const DISPUTE_LAPSES: Micros = Micros::from_secs(600);
/// Tasks this node remembers to have executed.
const EXECUTED_MAX: usize = 65_536;
/// The longest a requester can make this node keep a task.
const REMAINING_MAX: Micros = Micros::from_secs(600);
/// Rough time a task takes when nothing better is known, for bids.
const TYPICAL_EXECUTION: Micros = Micros::from_millis(5);

#[derive(Debug)]
enum State {
    /// The payload or the escrow's certificate is on its way.
    Waiting,
    /// Handed to the workers, or to the replica for a batch.
    Running(Option<WorkId>),
    /// Bound to a result.
    Committed,
    /// The result was sent.
    Revealed,
    /// The requester decided; kept for a while.
    Over,
}

#[derive(Debug)]
struct Job {
    assignment: Signed<Assignment>,
    payload: Option<Arc<[u8]>>,
    /// It was assigned in a session: nothing about it is said outside of one.
    private: bool,
    priority: Priority,
    state: State,
    result: Option<Arc<[u8]>>,
    /// Of a search: the shard and the position that its answer is of.
    answers_at: Option<(ShardId, u64)>,
    commit: Option<Signed<Commit>>,
    reveal: Option<Signed<Reveal>>,
    /// When it is forgotten.
    alarm: Alarm,
}

/// Tasks of others.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    all: BTreeMap<TaskId, Job>,
    active: usize,
    unpaid: BTreeMap<NodeId, Credits>,
    /// The part of it that lapses because its requester says that it accepted something else, and since
    /// when some of it waits.
    disputed: BTreeMap<NodeId, (Timestamp, Credits)>,
    bound: BTreeMap<TaskId, (Signed<Commit>, Signed<Reveal>)>,
    executed: RingSet<TaskId, EXECUTED_MAX>,
}

impl Jobs {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("tasks of others", self.all.len(), JOBS_MAX);
        add("requesters that owe", self.unpaid.len(), super::membership::MEMBERS_MAX);
        add("requesters that dispute", self.disputed.len(), super::membership::MEMBERS_MAX);
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a task was assigned in a session.
    pub(super) fn is_private(&self, task: &TaskId) -> bool {
        self.all.get(task).is_some_and(|job| job.private)
    }

    /// Tasks that wait or run.
    pub(crate) fn load(&self) -> u32 {
        u32::try_from(self.active).unwrap_or(u32::MAX)
    }

    /// What a requester owes for results it has, without a voucher yet.
    pub(crate) fn unpaid(&self, requester: &NodeId) -> Credits {
        self.unpaid.get(requester).copied().unwrap_or_default()
    }

    /// Whether work is paid from an escrow.
    pub(crate) fn draws_on(&self, escrow: &EscrowId) -> bool {
        let mut escrows = self.all.values().filter_map(|job| job.assignment.body.escrow);
        escrows.any(|of| of == *escrow)
    }

    /// Whether this node committed to a result of the task, as far back as it remembers.
    pub(crate) fn was_replica(&self, task: &TaskId) -> bool {
        self.all.contains_key(task) || self.executed.contains(task)
    }

    /// Who assigned a batch that is being taken, and the batch.
    pub(super) fn batch(&self, task: &TaskId) -> Option<(NodeId, Arc<[u8]>)> {
        let job = self.all.get(task).filter(|job| matches!(job.state, State::Running(None)))?;
        Some((job.assignment.signer, job.payload.clone()?))
    }

    fn remember(&mut self, task: TaskId) {
        self.executed.insert(task);
    }

    /// A result was delivered and not accepted, as its requester says and nobody else: it goes on counting
    /// against what is worked for without pay for a while, or results could be taken without end.
    fn dispute(&mut self, requester: NodeId, price: Credits, now: Timestamp) {
        let (_, sum) = self.disputed.entry(requester).or_insert((now, Credits::ZERO));
        *sum = sum.plus(price).unwrap_or(*sum);
    }

    /// What was not accepted long ago is owed by nobody.
    fn lapse(&mut self, requester: &NodeId, now: Timestamp) {
        if let Some((since, sum)) = self.disputed.get(requester).copied()
            && now.since(since) >= DISPUTE_LAPSES
        {
            self.disputed.remove(requester);
            self.covered(requester, sum);
        }
    }

    /// A voucher covered this much of what a requester owed.
    pub(crate) fn covered(&mut self, requester: &NodeId, amount: Credits) {
        if let Some(owed) = self.unpaid.get_mut(requester) {
            *owed = owed.minus(amount).unwrap_or(Credits::ZERO);
            if *owed == Credits::ZERO {
                self.unpaid.remove(requester);
            }
        }
    }
}

impl Peer {
    /// Commits of before a restart: their tasks may be assigned again.
    pub(super) fn restore_jobs(&mut self, stored: &Stored) {
        let rows = stored.table(Table::Tasks).iter().filter(|(k, _)| k.starts_with(b"w"));
        for (_, value) in rows.take(JOBS_MAX) {
            if let Some(bound) = decode_stored::<(Signed<Commit>, Signed<Reveal>)>(value) {
                self.jobs.bound.insert(bound.0.body.task, bound);
            }
        }
    }

    /// Whether this node takes tasks of others now.
    pub(super) fn takes_work(&self) -> bool {
        self.settings.works && !self.paused && !self.is_leaving()
    }

    /// Takes tasks of others from now on, or declines them and finishes what it took; members are told.
    pub(super) fn work_for_others(&mut self, takes: bool) {
        if std::mem::replace(&mut self.paused, !takes) == takes {
            self.tell_advert();
        }
    }

    /// Why this node would not take a task, if so.
    fn unwilling(
        &self,
        from: &NodeId,
        kind: TaskKind,
        pin: &Digest,
        price: Credits,
    ) -> Option<DeclineReason> {
        if self.is_leaving() {
            return Some(DeclineReason::Leaving);
        }
        if !self.takes_work() {
            return Some(DeclineReason::NotWorking);
        }
        if self.jobs.active >= self.settings.queue_max || self.works_full() {
            return Some(DeclineReason::Busy);
        }
        // A guarded pin is answered for by its nodes alone, and the kind by such a pin alone: whoever
        // could have something deciphered here would need no key.
        let can = match kind {
            TaskKind::Encryption => self.guarded(pin).is_some_and(|g| g.nodes.contains(from)),
            TaskKind::Embedding
            | TaskKind::VectorInsert
            | TaskKind::VectorSearch
            | TaskKind::SemanticMatch
            | TaskKind::Compression => self.settings.pins.contains(pin),
        };
        if !can {
            return Some(DeclineReason::Pin);
        }
        if price == Credits::ZERO && !self.members.is_trusted(from) {
            return Some(DeclineReason::Price);
        }
        // An escrow that is open here may have ended where this node hears nothing of.
        if !self.members.is_trusted(from) && self.is_isolated() {
            return Some(DeclineReason::Escrow);
        }
        let owed = self.jobs.unpaid(from).plus(price);
        if !owed.is_ok_and(|owed| owed <= self.settings.exposure_max) {
            return Some(DeclineReason::Exposure);
        }
        None
    }

    fn guarded(&self, pin: &Digest) -> Option<&Guarded> {
        self.settings.guarded.iter().find(|guarded| guarded.pin == *pin)
    }

    pub(super) fn on_offer(&mut self, from: NodeId, offer: Offer) {
        let task = offer.task;
        self.jobs.lapse(&from, self.now);
        if let Some(reason) = self.unwilling(&from, offer.kind, &offer.pin, offer.price) {
            return self.send(from, &Message::Decline { task, reason });
        }
        if offer.payload_bytes > CONTENT_BYTES_MAX as u64 {
            return self.send(from, &Message::Decline { task, reason: DeclineReason::Payload });
        }
        let load = self.jobs.load();
        let start_in = TYPICAL_EXECUTION.times(u64::from(load));
        self.send(from, &Message::Bid { task, load, start_in });
    }

    pub(super) fn on_assign(
        &mut self,
        from: NodeId,
        assignment: Signed<Assignment>,
        payload: Option<Vec<u8>>,
        priority: Priority,
        remaining: Micros,
    ) {
        let body = &assignment.body;
        let task = body.task;
        if self.jobs.all.contains_key(&task) {
            return self.repeat_job(from, task);
        }
        let addressed = body.worker == self.me
            && body.requester == from
            && assignment.signer == from
            && body.names_its_task();
        if !addressed || assignment.open(&mut self.verifier, &self.pool).is_err() {
            return;
        }
        let decline = |reason| Message::Decline { task, reason };
        self.jobs.lapse(&from, self.now);
        if let Some(reason) = self.unwilling(&from, body.kind, &body.pins, body.price) {
            return self.send(from, &decline(reason));
        }
        let jobs = &self.jobs.all;
        let of_requester = || jobs.values().filter(|job| job.assignment.signer == from).count();
        if !has_room(jobs.len(), JOBS_MAX, of_requester) || self.faults.names(&from) {
            return self.send(from, &decline(DeclineReason::Busy));
        }
        let (digest, bytes) = (body.payload, body.payload_bytes);
        let kind = body.kind;
        let payload: Option<Arc<[u8]>> = match payload {
            Some(inline) if content_digest(&inline) != digest => {
                return self.send(from, &decline(DeclineReason::Payload));
            }
            Some(inline) => Some(inline.into()),
            None if bytes > CONTENT_BYTES_MAX as u64 => {
                return self.send(from, &decline(DeclineReason::Payload));
            }
            None => None,
        };
        let missing = payload.is_none();
        let keep = Micros(remaining.0.min(REMAINING_MAX.0) + LINGER.0);
        let alarm = self.after(keep, Timer::Job(task));
        let job = Job {
            assignment,
            payload,
            private: self.is_reading_privately(),
            priority,
            state: State::Waiting,
            result: None,
            answers_at: None,
            commit: None,
            reveal: None,
            alarm,
        };
        self.jobs.all.insert(task, job);
        self.jobs.active += 1;
        self.event(Event::Working { task, kind, requester: from });
        self.send(from, &Message::Accepted { task });
        if missing {
            // Others who need it ask the requester.
            let private = self.is_reading_privately();
            let audience = if private { Audience::Private } else { Audience::Only }(vec![from]);
            if !self.fetch(digest, from, Waiter::Job(task), audience) {
                self.drop_job(task, Some(DeclineReason::Payload));
            }
        } else {
            self.start_job(task);
        }
    }

    /// The requester asks again: say again where the task stands.
    fn repeat_job(&mut self, from: NodeId, task: TaskId) {
        let Some(job) = self.jobs.all.get(&task) else { return };
        if job.assignment.body.requester != from {
            return;
        }
        let message = match (&job.state, &job.commit) {
            (State::Revealed, _) => return self.send_reveal(task),
            (State::Committed, Some(commit)) => Message::Committed(commit.clone()),
            (State::Waiting | State::Running(_), _) => Message::Accepted { task },
            (State::Committed, None) | (State::Over, _) => return,
        };
        self.send(from, &message);
    }

    pub(super) fn on_job_payload(&mut self, task: TaskId, bytes: Option<Arc<[u8]>>) {
        match (self.jobs.all.get_mut(&task), bytes) {
            (Some(job), Some(bytes)) => {
                job.payload = Some(bytes);
                self.start_job(task);
            }
            (Some(_), None) => self.drop_job(task, Some(DeclineReason::Payload)),
            (None, _) => {}
        }
    }

    /// Certificates arrived: jobs that waited for their escrow may start.
    pub(super) fn start_waiting_jobs(&mut self) {
        let waiting: Vec<TaskId> = self
            .jobs
            .all
            .iter()
            .filter(|(_, j)| matches!(j.state, State::Waiting) && j.payload.is_some())
            .map(|(task, _)| *task)
            .collect();
        for task in waiting {
            self.start_job(task);
        }
    }

    /// Whether the price is backed: `None` while the escrow is not known here yet.
    fn is_backed(&self, body: &Assignment) -> Option<Result<(), DeclineReason>> {
        if self.members.is_trusted(&body.requester) {
            return Some(Ok(()));
        }
        let Some(escrow) = body.escrow else { return Some(Err(DeclineReason::Escrow)) };
        let bank = self.bank.as_ref()?;
        let view = bank.ledger.escrow(&escrow)?;
        let fine = view.owner == body.requester && view.state == edge_ledger::EscrowState::Open;
        if !fine || self.promises.is_ending(&escrow) {
            return Some(Err(DeclineReason::Escrow));
        }
        match view.prices.unit(body.kind) {
            Some(unit) if body.price >= unit => Some(Ok(())),
            Some(_) | None => Some(Err(DeclineReason::Price)),
        }
    }

    /// For how many units of work a stranger pays. A search may cost twice as much: its requester knows
    /// the shard's size as of some batches ago.
    fn paid_units(&self, body: &Assignment, priority: Priority) -> Option<u64> {
        if self.members.is_trusted(&body.requester) {
            return None;
        }
        let view = self.bank.as_ref()?.ledger.escrow(&body.escrow?)?;
        let unit = view.prices.unit(body.kind)?.micro().max(1);
        let per_unit = match priority {
            Priority::High => unit.saturating_mul(2),
            Priority::Normal => unit,
        };
        let units = body.price.micro() / per_unit;
        Some(if body.kind == TaskKind::VectorSearch { units.saturating_mul(2) } else { units })
    }

    fn start_job(&mut self, task: TaskId) {
        let Some(job) = self.jobs.all.get(&task) else { return };
        let Some(payload) = job.payload.clone() else { return };
        let requester = job.assignment.body.requester;
        match self.is_backed(&job.assignment.body) {
            None => return self.ask_frontier(requester),
            Some(Err(reason)) => return self.drop_job(task, Some(reason)),
            Some(Ok(())) => {}
        }
        let kind = job.assignment.body.kind;
        let urgency = match job.priority {
            Priority::High => Urgency::High,
            Priority::Normal if kind == TaskKind::VectorSearch => Urgency::High,
            Priority::Normal => Urgency::Normal,
        };
        let units = self.paid_units(&job.assignment.body, job.priority);
        let what = match kind {
            TaskKind::Embedding | TaskKind::SemanticMatch | TaskKind::Compression => {
                Work::Run { kind, payload }
            }
            TaskKind::Encryption => {
                // The pin was judged; it must be the pin of this payload's key.
                let pin = job.assignment.body.pins;
                let begins = |g: &Guarded| payload.starts_with(g.key.as_bytes());
                if !self.guarded(&pin).is_some_and(begins) {
                    return self.drop_job(task, Some(DeclineReason::Payload));
                }
                Work::Run { kind, payload }
            }
            TaskKind::VectorSearch => {
                let query: Option<ShardQuery> = codec::decode(&payload).ok();
                let held = query.is_some_and(|q| self.holds_shard(&q.shard, q.seq_min));
                if !held {
                    return self.drop_job(task, Some(DeclineReason::Behind));
                }
                Work::Search { payload }
            }
            TaskKind::VectorInsert => {
                if let Some(job) = self.jobs.all.get_mut(&task) {
                    job.state = State::Running(None);
                }
                return self.take_batch(task, requester, payload);
            }
        };
        let what = match units {
            Some(units) => Work::Paid { units, work: Box::new(what) },
            None => what,
        };
        let work = self.execute(what, urgency, Purpose::Job(task));
        if let Some(job) = self.jobs.all.get_mut(&task) {
            job.state = State::Running(Some(work));
        }
    }

    pub(super) fn on_job_executed(&mut self, task: TaskId, outcome: Result<Vec<u8>, String>) {
        match outcome {
            Ok(result) => self.commit_job(task, result.into()),
            Err(text) if text == UNDERPAID => self.drop_job(task, Some(DeclineReason::Price)),
            Err(_) => self.drop_job(task, Some(DeclineReason::Failed)),
        }
    }

    /// Binds this node to a result, durably, and says so.
    pub(super) fn commit_job(&mut self, task: TaskId, result: Arc<[u8]>) {
        let nonce: [u8; 16] = self.rng.bytes();
        let (me, pool) = (self.me, self.pool);
        let runs = |job: &Job| matches!(job.state, State::Waiting | State::Running(_));
        if !self.jobs.all.get(&task).is_some_and(runs) {
            return;
        }
        let digest = content_digest(&result);
        let (commit, reveal) = match self.jobs.bound.remove(&task) {
            // Bound to this result before a restart.
            Some((commit, reveal)) if reveal.body.digest == digest => (commit, reveal),
            // Bound to another one: never to two.
            Some(_) => return self.drop_job(task, Some(DeclineReason::Failed)),
            None => {
                let hash = commit_hash(&task, &me, &nonce, &digest);
                let commit = Commit { task, worker: me, hash };
                let reveal = Reveal { task, worker: me, nonce, digest };
                (Signed::seal(commit, &self.key, &pool), Signed::seal(reveal, &self.key, &pool))
            }
        };
        self.jobs.remember(task);
        let Some(job) = self.jobs.all.get_mut(&task) else { return };
        job.commit = Some(commit.clone());
        job.reveal = Some(reveal.clone());
        job.result = Some(result.clone());
        job.state = State::Committed;
        self.jobs.active = self.jobs.active.saturating_sub(1);
        let (requester, kind) = (job.assignment.body.requester, job.assignment.body.kind);
        if kind == TaskKind::VectorSearch {
            let answer: Option<ShardAnswer> = codec::decode(&result).ok();
            job.answers_at = answer.map(|answer| (answer.shard, answer.seq));
        }
        if result.len() > INLINE_BYTES_MAX {
            let audience = if job.private { Audience::Private } else { Audience::Only };
            self.content.keep(digest, result, audience(vec![requester]));
        }
        self.persist(Table::Tasks, &job_key(&task), &(&commit, &reveal));
        if kind == TaskKind::VectorSearch {
            self.send_reveal(task);
        } else {
            self.send(requester, &Message::Committed(commit));
        }
    }

    fn send_reveal(&mut self, task: TaskId) {
        let Some(job) = self.jobs.all.get_mut(&task) else { return };
        let (Some(commit), Some(reveal), Some(result)) =
            (job.commit.clone(), job.reveal.clone(), job.result.clone())
        else {
            return;
        };
        let first = matches!(job.state, State::Committed);
        job.state = State::Revealed;
        let body = &job.assignment.body;
        let (requester, kind, price) = (body.requester, body.kind, body.price);
        if first {
            let owed = self.jobs.unpaid(&requester).plus(price).unwrap_or(price);
            self.jobs.unpaid.insert(requester, owed);
            self.counters.executed_for_others += 1;
            self.event(Event::Delivered { task, kind });
        }
        if let Some(head) = self.head_of_answer(task) {
            self.tell_head(requester, head);
        }
        let result = (result.len() <= INLINE_BYTES_MAX).then(|| result.to_vec());
        self.send(requester, &Message::Revealed { commit, reveal, result });
    }

    /// The head of the position that a search was answered at, if its requester may not have it: heads are
    /// gossiped now and then, not each of them, and an answer cannot be checked without its own.
    fn head_of_answer(&self, task: TaskId) -> Option<Signed<ShardHead>> {
        let job = self.jobs.all.get(&task)?;
        let (shard, seq) = job.answers_at?;
        let query: ShardQuery = codec::decode(job.payload.as_deref()?).ok()?;
        if seq <= query.seq_min { None } else { self.shards.head_at(&shard, seq).cloned() }
    }

    /// The owner signed a head of a position that searches were answered at before.
    pub(super) fn tell_head_of_answers(&mut self, shard: ShardId, head: &Signed<ShardHead>) {
        let at = Some((shard, head.body.seq));
        let answered = |job: &&Job| job.answers_at == at && matches!(job.state, State::Revealed);
        let requesters: BTreeSet<NodeId> =
            self.jobs.all.values().filter(answered).map(|job| job.assignment.signer).collect();
        for requester in requesters {
            self.tell_head(requester, head.clone());
        }
    }

    pub(super) fn on_reveal_please(
        &mut self,
        from: NodeId,
        task: TaskId,
        commits: Vec<Signed<Commit>>,
    ) {
        let Some(job) = self.jobs.all.get(&task) else { return };
        let mine = job.commit.as_ref();
        let known = mine.is_some_and(|mine| commits.contains(mine));
        if job.assignment.body.requester == from && known {
            self.send_reveal(task);
        }
    }

    /// The requester decided, or does not need the result.
    pub(super) fn on_over(&mut self, from: NodeId, task: TaskId, accepted: Option<Digest>) {
        let Some(job) = self.jobs.all.get_mut(&task) else { return };
        if job.assignment.body.requester != from || matches!(job.state, State::Over) {
            return;
        }
        let agreed = match (&job.reveal, accepted) {
            (Some(reveal), Some(digest)) => reveal.body.digest == digest,
            (None, _) | (_, None) => false,
        };
        let revealed = matches!(job.state, State::Revealed);
        let running = match job.state {
            State::Running(work) => work,
            State::Waiting | State::Committed | State::Revealed | State::Over => None,
        };
        if matches!(job.state, State::Waiting | State::Running(_)) {
            self.jobs.active = self.jobs.active.saturating_sub(1);
        }
        let price = job.assignment.body.price;
        job.state = State::Over;
        job.payload = None;
        job.result = None;
        let alarm = job.alarm;
        if revealed {
            self.count_result(agreed);
        }
        if revealed && !agreed {
            self.jobs.dispute(from, price, self.now);
        }
        if let Some(work) = running {
            self.cancel_work(work);
        }
        self.forget(Table::Tasks, &job_key(&task));
        self.cancel_alarm(alarm);
        let alarm = self.after(OVER_KEPT, Timer::Job(task));
        if let Some(job) = self.jobs.all.get_mut(&task) {
            job.alarm = alarm;
        }
    }

    pub(super) fn on_job_timer(&mut self, task: TaskId) {
        self.drop_job(task, None);
    }

    pub(super) fn drop_job(&mut self, task: TaskId, decline: Option<DeclineReason>) {
        let Some(job) = self.jobs.all.remove(&task) else { return };
        self.cancel_alarm(job.alarm);
        match job.state {
            State::Waiting => self.jobs.active = self.jobs.active.saturating_sub(1),
            State::Running(work) => {
                self.jobs.active = self.jobs.active.saturating_sub(1);
                if let Some(work) = work {
                    self.cancel_work(work);
                }
            }
            State::Committed | State::Revealed => self.forget(Table::Tasks, &job_key(&task)),
            State::Over => {}
        }
        if let Some(reason) = decline {
            let (requester, message) =
                (job.assignment.body.requester, Message::Decline { task, reason });
            if job.private {
                self.send_privately(requester, &message);
            } else {
                self.send(requester, &message);
            }
        }
    }
}

fn job_key(task: &TaskId) -> Vec<u8> {
    [b"w".as_slice(), task.as_bytes()].concat()
}
