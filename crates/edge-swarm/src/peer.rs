//! The peer: one deterministic state machine for the daemon, the tab and the simulator.
//!
//! State lives in [`Peer`]; the rules live in the modules below it, each an `impl Peer` block over
//! one concern. They meet in three places: the queue of outputs, the timers and the table of
//! purposes that says why a piece of work was handed out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge_base::{Digest, Micros, NodeId, Rng, SecretKey, ShardId, TaskId};
use edge_base::{Timestamp, Validation, Verifier, Work, codec};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    command::{Answer, Refusal},
    event::Event,
    frame::{Class, FrameKind},
    io::{CallId, Input, LoadId, Output, Settings, Table, Urgency, WorkId, Write},
    message::{self, Gossip, Message},
    ticket::Ticket,
};

mod answers;
mod audits;
mod bank;
mod bounds;
mod branches;
mod checkpoint;
mod claims;
mod coherence;
mod collections;
mod content;
mod economy;
mod equivocation;
mod escrow;
mod fair;
mod faults;
mod gossip;
mod isolation;
mod job;
mod membership;
mod offences;
mod outflow;
mod own_heads;
mod pace;
mod parameters;
mod payments;
mod possession;
mod recover;
mod replica;
mod revocation;
mod rotation;
mod search;
mod session;
mod spread;
mod stake;
mod standing;
mod start;
mod succession;
mod sync;
mod task;
mod tombstones;
mod tuning;
mod unseen;
mod uptime;
mod view;

pub use bounds::Holding;
pub use faults::FaultRecord;
pub use standing::Wrong;
pub use start::{Row, StartError, Stored};
pub use task::{TaskRecord, WorkerRecord};

/// The most pieces of work that wait for the driver; beyond it new tasks of others are declined.
const WORKS_MAX: usize = 8_192;
/// A timer that fires so late shows that this node did not run.
const OVERSLEPT: Micros = Micros::from_millis(250);

/// A peer. See the crate's documentation for how to drive it.
pub struct Peer {
    pub(crate) key: SecretKey,
    pub(crate) me: NodeId,
    pub(crate) pool: Digest,
    pub(crate) settings: Settings,
    pub(crate) verifier: Verifier,
    pub(crate) rng: Rng,
    pub(crate) now: Timestamp,
    /// When this process began.
    pub(crate) started: Timestamp,
    /// Why this node hears too little of the pool, if it does: looked at every second.
    pub(crate) isolated: Option<String>,
    /// How far the driver's clock was set back so far.
    set_back: Micros,
    pub(crate) life: u64,
    outputs: VecDeque<Output>,
    wake_given: Option<Timestamp>,
    timers: BTreeSet<Alarm>,
    timer_kinds: BTreeMap<u64, Timer>,
    next_id: u64,
    works: BTreeMap<WorkId, Purpose>,
    loads: BTreeMap<LoadId, LoadPurpose>,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) members: membership::Members,
    pub(crate) bank: Option<bank::Bank>,
    pub(crate) escrow: escrow::Spending,
    pub(crate) content: content::Content,
    pub(crate) jobs: job::Jobs,
    pub(crate) tasks: task::Tasks,
    pub(crate) shards: collections::Shards,
    pub(crate) searches: search::Searches,
    pub(crate) sessions: session::Sessions,
    pub(crate) faults: faults::Faults,
    pub(crate) equivocations: equivocation::Equivocations,
    pub(crate) answers: answers::Answers,
    pub(crate) promises: claims::Promises,
    pub(crate) coherence: coherence::Coherence,
    pub(crate) staking: stake::Staking,
    pub(crate) checkpoints: checkpoint::Checkpoints,
    /// What waits for a checkpoint that was stored and cannot be read, with what was stored beside it.
    pub(crate) recovering: Option<Box<(recover::Shelf, Stored)>>,
    pub(crate) standing: standing::Standing,
    outflow: outflow::Outflow,
    own_heads: own_heads::OwnHeads,
    pub(crate) wishes: parameters::Wishes,
    pub(crate) offences: offences::Offences,
    pub(crate) tuning: tuning::Tuning,
    pub(crate) audits: audits::Audits,
    pub(crate) uptime: uptime::Uptime,
    pub(crate) economy: economy::Economy,
    pub(crate) may_vote: bool,
    pub(crate) draining: Option<CallId>,
    pub(crate) rotation: Option<rotation::Rotation>,
    inherited: rotation::Inheritance,
    /// Its owner wants no tasks of others now.
    pub(crate) paused: bool,
    pub(crate) counters: Counters,
}

/// What happened since the start, for status and metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Direct messages and gossip that passed decoding.
    pub inputs_decoded: u64,
    /// Frames of nodes that may not say this: no members, or banned.
    pub inputs_refused: u64,
    /// Frames that did not decode or broke a bound.
    pub inputs_malformed: u64,
    /// Frames beyond their sender's budget, or their author's.
    pub inputs_limited: u64,
    /// Signatures that did not hold.
    pub signatures_refused: u64,
    /// Gossip that was not passed on because it does not hold.
    pub gossip_rejected: u64,
    /// Gossip that was not passed on for another reason: known, of nobody known here, over a budget.
    pub gossip_ignored: u64,
    /// Times that a node was banned.
    pub bans: u64,
    /// Nodes that came with a ticket that admits nobody.
    pub joins_refused: u64,
    /// Own tasks whose result was accepted.
    pub tasks_verified: u64,
    /// Own tasks that failed.
    pub tasks_failed: u64,
    /// Results of others that differed from what was accepted.
    pub results_rejected: u64,
    /// Own tasks executed here because too few others were there.
    pub own_executions: u64,
    /// Results delivered to others.
    pub executed_for_others: u64,
    /// Fault proofs that held when they were re-executed here.
    pub faults_verified: u64,
    /// Fault proofs that did not.
    pub faults_refuted: u64,
    /// Sessions that were agreed on with other members.
    pub sessions_agreed: u64,
    /// Messages that left in a session.
    pub private_sent: u64,
    /// Messages that came in a session.
    pub private_received: u64,
    /// Handshakes and records that did not hold, and messages that came outside of a session.
    pub private_refused: u64,
}

/// When a timer is due, and its number.
pub(crate) type Alarm = (Timestamp, u64);

/// Why a piece of work was handed out.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// For another node's task.
    Job(TaskId),
    /// For an own task: a missing replica or a tie-break.
    OwnTask(TaskId),
    /// A replica here applies a batch.
    Apply { shard: ShardId, seq: u64 },
    /// A replica here begins with its snapshot, if there is one.
    Restore { shard: ShardId },
    /// An own replica is searched.
    OwnSearch { search: u64, part: usize },
    /// Another node's answer is checked.
    CheckAnswer { search: u64, part: usize, node: NodeId },
    /// A fault proof is re-executed.
    Recheck(Digest),
    /// Work that a checkpoint assigned, as an auditor or as a witness that checks auditors.
    Audit(TaskId),
    /// Nothing follows.
    Nothing,
}

/// Why a value is read.
#[derive(Clone, Debug)]
pub(crate) enum LoadPurpose {
    /// A batch to apply after a restart.
    Apply { shard: ShardId, seq: u64 },
    /// A batch another node asked for.
    Serve { shard: ShardId, seq: u64, to: NodeId },
    /// A batch of an own shard, to know its records after a restart.
    Recall { shard: ShardId, seq: u64 },
    /// A batch of an own shard that a holder is asked to show.
    Expect { shard: ShardId, seq: u64, node: NodeId, nonce: [u8; 16] },
    /// A batch of a copy here that its owner asks for a proof of.
    Show { shard: ShardId, seq: u64, nonce: [u8; 16], to: NodeId },
}

/// What to do when a time has come.
#[derive(Clone, Debug)]
pub(crate) enum Timer {
    Advert,
    Hello,
    Task(TaskId),
    Bids(TaskId),
    Search(u64),
    Job(TaskId),
    Fetch(Digest),
    Propose,
    Repair,
    Pay,
    CatchUp(ShardId),
    EarlyBatch(TaskId),
    /// Calls wait for room in others' budgets.
    Outflow,
    Head(ShardId),
    Judge(Digest),
    Unban(NodeId),
    Revoked(NodeId),
    Neighbours,
    Tune,
    Drain,
    Agree {
        epoch: u64,
        round: u32,
        step: edge_ledger::Step,
    },
    Session(NodeId),
}

impl Peer {
    /// Takes one input. Drain [`Peer::poll`] afterwards.
    ///
    /// A clock that was set forward makes waiting things late; one that was set back goes on, for
    /// the peer, from where it stood.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        let lost = self.now.since(now + self.set_back);
        self.set_back = Micros(self.set_back.0.saturating_add(lost.0));
        self.now = now + self.set_back;
        self.wake_given = None;
        let late = self.timers.first().map_or(Micros(0), |(at, _)| self.now.since(*at));
        if late >= OVERSLEPT {
            self.standing.overslept(self.now, late);
        }
        self.run_timers();
        match input {
            Input::Connected { node } => self.on_connected(node),
            Input::Disconnected { node } => self.on_disconnected(node),
            Input::Frame { from, bytes } => self.on_frame(from, &bytes),
            Input::Published { from, number, bytes } => self.on_gossip(from, number, &bytes),
            Input::Executed { work, outcome } => self.on_executed(work, outcome),
            Input::Loaded { load, value } => self.on_loaded(load, value),
            Input::Command { call, command } => self.on_command(call, command),
            Input::Abandoned { call } => {
                self.abandon_unstake(call);
                self.abandon_queued(call);
                self.on_abandoned(call);
            }
            Input::Tick => {}
        }
    }

    /// The next thing for the driver to do, `None` when there is nothing until the next input.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let next = self.timers.first().map(|(at, _)| *at)?;
        if self.wake_given == Some(next) {
            return None;
        }
        self.wake_given = Some(next);
        Some(Output::WakeAt(next - self.set_back))
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.me
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// This node's ledger, once it has joined.
    pub fn ledger(&self) -> Option<&edge_ledger::Ledger> {
        self.bank.as_ref().map(|bank| &bank.ledger)
    }

    /// What the signature verifier did.
    pub fn verifier_stats(&self) -> edge_base::VerifierStats {
        self.verifier.stats()
    }

    fn run_timers(&mut self) {
        while let Some((at, id)) = self.timers.first().copied() {
            if at > self.now {
                break;
            }
            self.timers.pop_first();
            let Some(kind) = self.timer_kinds.remove(&id) else { continue };
            match kind {
                Timer::Advert => self.on_advert_timer(),
                Timer::Hello => self.on_hello_timer(),
                Timer::Task(task) => self.on_task_timer(task),
                Timer::Bids(task) => self.on_bids_timer(task),
                Timer::Search(search) => self.on_search_timer(search),
                Timer::Job(task) => self.on_job_timer(task),
                Timer::Fetch(content) => self.on_fetch_timer(content),
                Timer::Propose => self.on_propose_timer(),
                Timer::Repair => self.on_repair_timer(),
                Timer::Pay => self.on_pay_timer(),
                Timer::CatchUp(shard) => self.on_catch_up_timer(shard),
                Timer::EarlyBatch(task) => self.on_early_timer(task),
                Timer::Outflow => self.on_outflow_timer(),
                Timer::Head(shard) => self.on_head_timer(shard),
                Timer::Judge(fault) => self.recheck(fault),
                Timer::Unban(node) => self.on_unban_timer(node),
                Timer::Revoked(node) => self.on_revoked_timer(node),
                Timer::Neighbours => self.on_neighbours_timer(),
                Timer::Tune => self.on_tune_timer(),
                Timer::Drain => self.on_drain_timer(),
                Timer::Agree { epoch, round, step } => self.on_agree_timer(epoch, round, step),
                Timer::Session(node) => self.on_session_timer(node),
            }
        }
    }

    fn on_frame(&mut self, from: NodeId, bytes: &[u8]) {
        let kind = FrameKind::of(bytes);
        if from == self.me || self.is_shut_out(&from) {
            self.counters.inputs_refused += 1;
            return;
        }
        if !self.is_within_budget(&from, kind, bytes.len(), true) {
            return;
        }
        let member = self.members.is_member(&from);
        if !member && kind.class() != Class::Greeting {
            self.counters.inputs_refused += 1;
            return;
        }
        let failed = self.verifier.stats().failed;
        if bytes.get(3) == Some(&message::FRAME_GOSSIP) {
            // Gossip may come straight from a member; what it carries is signed by its author.
            self.members.heard(&from, self.now);
            if self.take_gossip(Some(from), bytes).0 == Validation::Reject {
                self.wrong(&from, Wrong::BadGossip);
            }
            return;
        }
        let Some(message) = self.read_message(bytes) else {
            self.counters.inputs_malformed += 1;
            return self.wrong(&from, Wrong::Malformed);
        };
        self.counters.inputs_decoded += 1;
        self.members.heard(&from, self.now);
        self.on_message(from, message);
        let failed = self.verifier.stats().failed - failed;
        if failed > 0 {
            self.counters.signatures_refused += failed;
            self.wrong(&from, Wrong::BadSignature);
        }
    }

    /// A direct message, unless what it is about can be seen to be nothing.
    fn read_message(&self, bytes: &[u8]) -> Option<Message> {
        let message = message::decode_message(bytes).ok()?;
        let bogus = match &message {
            Message::Certificates(list) => {
                !list.iter().all(|certificate| self.may_be_certified(certificate))
            }
            _ => false,
        };
        (!bogus).then_some(message)
    }

    fn on_message(&mut self, from: NodeId, message: Message) {
        if self.must_come_privately(&message) {
            self.counters.private_refused += 1;
            return;
        }
        match message {
            Message::Hello { pool, membership, join, addresses, known } => {
                self.on_hello(from, pool, membership, join, addresses, known);
            }
            Message::Welcome { genesis, handover, membership, members, advert } => {
                self.on_welcome(from, genesis, handover, membership, members, advert);
            }
            Message::Refused { reason } => self.on_refused(from, reason),
            Message::Collections { specs, heads } => self.on_collections(from, specs, heads),
            Message::Want { content, offset } => self.on_want(from, content, offset),
            Message::Chunk { content, total, offset, bytes } => {
                self.on_chunk(from, content, total, offset, bytes);
            }
            Message::NotHere { content } => self.on_not_here(from, content),
            Message::Offer(offer) => self.on_offer(from, offer),
            Message::Bid { task, load, start_in } => self.on_bid(from, task, load, start_in),
            Message::Decline { task, reason } => self.on_decline(from, task, reason),
            Message::Assign { assignment, payload, priority, remaining } => {
                self.on_assign(from, assignment, payload, priority, remaining);
            }
            Message::Accepted { task } => self.on_accepted(from, task),
            Message::Committed(commit) => self.on_committed(from, commit),
            Message::RevealPlease { task, commits } => self.on_reveal_please(from, task, commits),
            Message::Revealed { commit, reveal, result } => {
                self.on_revealed(from, commit, reveal, result);
            }
            Message::Over { task, accepted } => self.on_over(from, task, accepted),
            Message::Paid(voucher) => self.on_paid(from, voucher),
            Message::Replicate { spec, index, head } => self.on_replicate(from, spec, index, head),
            Message::Release { shard } => self.on_release(from, shard),
            Message::LogWant { shard, seq } => self.on_log_want(from, shard, seq),
            Message::LogBatch { shard, seq, batch, last } => {
                self.on_log_batch(from, shard, seq, batch, last);
            }
            Message::ReplicaAt { shard, seq, root } => self.on_replica_at(from, shard, seq, root),
            Message::Propose(block) => self.on_propose(from, block),
            Message::Vote(vote) => self.on_vote(from, vote),
            Message::NoVote { block, missing, reason } => {
                self.on_no_vote(from, block, missing, reason);
            }
            Message::Certificates(list) => self.on_certificates(from, list),
            Message::Frontier { range, heads } => self.on_frontier(from, range, heads),
            Message::Claim(claim) => self.on_claim(from, *claim),
            Message::AskWithdraw(step) => self.on_ask_withdraw(from, step),
            Message::SayWithdraw { step, answer } => self.on_say_withdraw(from, step, answer),
            Message::AskHeads => self.on_ask_heads(from),
            Message::SayHeads { epoch, heads, claims } => {
                self.on_say_heads(from, epoch, heads, claims);
            }
            Message::Challenge { shard, seq, nonce } => self.on_challenge(from, shard, seq, nonce),
            Message::Possesses { shard, nonce, digest } => {
                self.on_possesses(from, shard, nonce, digest);
            }
            Message::Agree(statement) => self.on_agree(from, *statement),
            Message::Plan(plan) => self.on_plan(from, *plan),
            Message::PlanWant(value) => self.on_plan_want(from, value),
            Message::Closed(closing) => self.on_closed(from, *closing),
            Message::CheckpointWant { epoch, version } => {
                self.tell_checkpoints(from, epoch, version);
            }
            Message::Checkpoints { chain, last } => self.on_checkpoints(from, chain, *last),
            audit @ (Message::Audit(_)
            | Message::AuditCommit(_)
            | Message::AuditReveal(_)
            | Message::AuditDoubt(_)) => self.hear_audit(from, audit),
            Message::RollCall(call) => self.on_roll_call(from, *call),
            Message::Seen(seen) => self.on_seen(from, *seen),
            Message::Ballot(ballot) => self.on_ballot(*ballot),
            Message::Sketch(sketch) => self.on_sketch(from, *sketch),
            Message::Next(account) => self.on_next(from, account),
            Message::SketchAnswer { key, answer } => self.on_sketch_answer(from, key, answer),
            Message::Heir { root, chain } => self.on_heir(from, *root, chain),
            Message::SessionOpen(opening) => self.on_session_open(from, *opening),
            Message::SessionAccept(answer) => self.on_session_accept(from, &answer),
            Message::Private(record) => self.on_private(from, &record),
            Message::SessionGone(session) => self.on_session_gone(from, session),
        }
    }

    fn on_executed(&mut self, work: WorkId, outcome: Result<Vec<u8>, String>) {
        let Some(purpose) = self.works.remove(&work) else { return };
        match purpose {
            Purpose::Job(task) => self.on_job_executed(task, outcome),
            Purpose::OwnTask(task) => self.on_own_task_executed(task, outcome),
            Purpose::Apply { shard, seq } => self.on_applied(shard, seq, outcome),
            Purpose::Restore { shard } => self.on_restored(shard, outcome),
            Purpose::OwnSearch { search, part } => self.on_own_search(search, part, outcome),
            Purpose::CheckAnswer { search, part, node } => {
                self.on_answer_checked(search, part, node, outcome);
            }
            Purpose::Recheck(fault) => self.on_rechecked(fault, outcome),
            Purpose::Audit(task) => self.on_audit_executed(task, outcome),
            Purpose::Nothing => {}
        }
        self.step_drain();
    }

    fn on_loaded(&mut self, load: LoadId, value: Option<Vec<u8>>) {
        match self.loads.remove(&load) {
            Some(LoadPurpose::Apply { shard, seq }) => self.on_apply_loaded(shard, seq, value),
            Some(LoadPurpose::Serve { shard, seq, to }) => {
                self.on_serve_loaded(shard, seq, to, value);
            }
            Some(LoadPurpose::Recall { shard, seq }) => self.on_recall_loaded(shard, seq, value),
            Some(LoadPurpose::Expect { shard, seq, node, nonce }) => {
                self.on_expect_loaded((shard, seq), node, nonce, value);
            }
            Some(LoadPurpose::Show { shard, seq, nonce, to }) => {
                self.on_show_loaded((shard, seq), nonce, to, value);
            }
            None => {}
        }
    }

    // What the modules below use to speak to the driver.

    pub(crate) fn send(&mut self, to: NodeId, message: &Message) {
        if self.is_shut_out(&to) {
            return;
        }
        let privately = self.must_leave_privately(&to, message);
        self.expect_answer(&to, message, privately);
        if privately {
            self.send_privately(to, message);
        } else {
            self.send_openly(to, message);
        }
    }

    /// For anybody on the way who can read what the transport carries.
    fn send_openly(&mut self, to: NodeId, message: &Message) {
        let frame = message::encode_message(message);
        self.note_sent(to, &frame);
        self.outputs.push_back(Output::Send { to, frame });
    }

    pub(crate) fn publish(&mut self, gossip: &Gossip) {
        self.outputs.push_back(Output::Publish { frame: message::encode_gossip(gossip) });
    }

    pub(crate) fn persist<T: Serialize + ?Sized>(&mut self, table: Table, key: &[u8], value: &T) {
        self.persist_bytes(table, key, codec::encode(value));
    }

    pub(crate) fn persist_bytes(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        let write = Write { table, key: key.to_vec(), value: Some(value) };
        self.outputs.push_back(Output::Persist(write));
    }

    pub(crate) fn forget(&mut self, table: Table, key: &[u8]) {
        let write = Write { table, key: key.to_vec(), value: None };
        self.outputs.push_back(Output::Persist(write));
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.event(Event::Note { text: text.into() });
    }

    pub(crate) fn answer(&mut self, call: CallId, answer: Result<Answer, Refusal>) {
        self.outputs.push_back(Output::Answer { call, answer });
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn execute(&mut self, what: Work, urgency: Urgency, purpose: Purpose) -> WorkId {
        let work = self.fresh_id();
        self.works.insert(work, purpose);
        self.outputs.push_back(Output::Execute { work, what, urgency });
        work
    }

    pub(crate) fn cancel_work(&mut self, work: WorkId) {
        if self.works.remove(&work).is_some() {
            self.outputs.push_back(Output::CancelWork { work });
        }
    }

    pub(crate) fn works_full(&self) -> bool {
        self.works.len() >= WORKS_MAX
    }

    pub(crate) fn load(&mut self, table: Table, key: Vec<u8>, purpose: LoadPurpose) {
        let load = self.fresh_id();
        self.loads.insert(load, purpose);
        self.outputs.push_back(Output::Load { load, table, key });
    }

    pub(crate) fn after(&mut self, delay: Micros, timer: Timer) -> Alarm {
        let id = self.fresh_id();
        let alarm = (self.now + delay, id);
        self.timers.insert(alarm);
        self.timer_kinds.insert(id, timer);
        alarm
    }

    pub(crate) fn cancel_alarm(&mut self, alarm: Alarm) {
        self.timers.remove(&alarm);
        self.timer_kinds.remove(&alarm.1);
    }

    /// A delay spread over 75-125 %, so that peers started together do not act together.
    pub(crate) fn jittered(&mut self, delay: Micros) -> Micros {
        Micros(delay.0 / 4 * 3 + self.rng.below(delay.0 / 2 + 1))
    }
}

/// Decodes a stored value; a value that does not decode is corruption and named by the caller.
pub(crate) fn decode_stored<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    codec::decode(bytes).ok()
}
