//! Checkpoints as the peer lives them: when one is due, how witnesses agree, how it spreads.
//!
//! Witnesses of a set of four and more run the [`Agreement`] over direct messages. Each begins when it
//! thinks that a checkpoint is due, or when more witnesses than can be faulty have begun. A decided
//! checkpoint is gossiped; adverts carry the epoch, and who is behind asks for the last checkpoint, for
//! the sets between, and, where certificates of the cut are no longer kept, for the accounts' states.
//!
//! The founder's order changes the witness set: every witness that hears of it ends voting under the
//! present version, durably, and tells the others what it voted for that is not certified.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Digest, Micros, NodeId, Signed, Timestamp, codec};
use edge_ledger::{
    AccountState, Act, Agreement, Applied, Base, Certificate, Change, ChangeOrder, Closing,
    Decided, Decision, LedgerError, Plan, Sealed, Statement, Step, WITNESSES_MAX,
};

use super::{
    Peer, Stored, Timer,
    bank::certificate_key,
    content::{Audience, Waiter},
    decode_stored,
    recover::{ASIDE, EPOCH, epoch_in},
};
use crate::{
    command::{AccountProofView, Answer, CheckpointView, Refusal},
    event::Event,
    io::{CallId, Table},
    message::{CONTENT_BYTES_MAX, Gossip, Message, SETS_PER_MESSAGE},
};

/// Plans that are kept: those of the rounds of one epoch, at the bound the held one alone.
const PLANS_MAX: usize = 32;
/// Bytes of a plan that fit a frame, with room to spare.
const PLAN_BYTES_MAX: usize = 960 << 10;
/// The first proposal waits this long, a ballot half of it; each round as long again.
const ROUND: Micros = Micros::from_secs(2);
/// Rounds after which waiting grows no longer.
const ROUNDS_GROWING: u64 = 30;
/// A node is asked for checkpoints at most this often.
const ASK_EVERY: Micros = Micros::from_secs(1);

/// What this node knows of checkpoints beside those its ledger took.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    agreement: Option<Agreement>,
    /// The durable record of an agreement before the start.
    record: Option<Vec<u8>>,
    plans: BTreeMap<Digest, Plan>,
    /// Values that the agreement asked about.
    judging: BTreeSet<Digest>,
    /// It is this node's turn to propose.
    turn: bool,
    /// A decision whose plan is not here.
    decision: Option<Decision>,
    /// Witnesses that have begun with the next epoch.
    begun: BTreeSet<NodeId>,
    order: Option<Signed<ChangeOrder>>,
    call: Option<CallId>,
    closings: BTreeMap<NodeId, Signed<Closing>>,
    /// Checkpoints that changed the set, by the version that they began.
    chain: BTreeMap<u64, Sealed>,
    /// Decided, and not taken yet for want of certificates or states.
    early: Option<Decided>,
    /// The snapshot that was missing when checkpoints were told last, and the one on its way.
    missed: Option<Digest>,
    fetching: Option<Digest>,
    asked: BTreeMap<NodeId, Timestamp>,
    /// Nodes that were told of the last checkpoint without having asked.
    pointed: BTreeMap<NodeId, Timestamp>,
    /// When the last checkpoint was taken here.
    last: Timestamp,
    /// The latest epoch whose checkpoint this node ever had.
    pub(super) latest: u64,
}

impl Checkpoints {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("plans of checkpoints", self.plans.len(), PLANS_MAX + 1);
        add("closings", self.closings.len(), WITNESSES_MAX);
        let kept = self.agreement.as_ref().map_or(0, Agreement::kept);
        add("ballots", kept, 2 * WITNESSES_MAX * 84 + 512);
    }

    /// The round of the agreement that runs.
    pub(super) fn round(&self) -> u32 {
        self.agreement.as_ref().map_or(0, Agreement::round)
    }

    /// Drops the checkpoints that changed the set: they are taken again.
    pub(super) fn forget_chain(&mut self) {
        self.chain.clear();
    }

    pub(crate) fn chain(&self) -> impl Iterator<Item = &Sealed> {
        self.chain.values()
    }

    /// What was durable, but for the last checkpoint, which is the ledger's.
    pub(crate) fn restore(stored: &Stored, now: Timestamp) -> Self {
        let mut restored = Checkpoints { last: now, ..Checkpoints::default() };
        for (key, value) in stored.table(Table::Checkpoints) {
            match key.as_slice() {
                b"agreement" => restored.record = Some(value.clone()),
                EPOCH => {
                    let epoch = decode_stored(value).unwrap_or(0);
                    restored.latest = restored.latest.max(epoch);
                }
                b"last" => restored.latest = restored.latest.max(epoch_in(value).unwrap_or(0)),
                key if key.starts_with(ASIDE) => {
                    restored.latest = restored.latest.max(epoch_in(value).unwrap_or(0));
                }
                b"order" => restored.order = decode_stored(value),
                b"plan" => {
                    if let Some(plan) = decode_stored::<Plan>(value) {
                        restored.plans.insert(plan.checkpoint.digest(), plan);
                    }
                }
                key if key.starts_with(b"set") => {
                    if let Some(sealed) = decode_stored::<Sealed>(value) {
                        restored.chain.insert(sealed.checkpoint.set.version, sealed);
                    }
                }
                _ => {}
            }
        }
        restored
    }
}

/// The last checkpoint and the states of all accounts in it, as they were stored; `None` if that is
/// damaged.
pub(crate) fn stored_base(stored: &Stored) -> Option<Option<(Decided, Vec<AccountState>)>> {
    let Some(bytes) = stored.get(Table::Checkpoints, b"last") else { return Some(None) };
    decode_stored(bytes).map(Some)
}

impl Peer {
    // The agreement.

    /// Everything about checkpoints that is not an answer to somebody.
    pub(super) fn step_checkpoints(&mut self) {
        self.retry_early();
        self.step_wishes();
        self.step_offences();
        self.step_audits();
        self.step_uptime();
        if !self.witnesses_checkpoints() {
            self.checkpoints.agreement = None;
            return;
        }
        self.step_closing();
        self.begin_if_due();
        self.retry_decision();
        for value in self.checkpoints.judging.clone() {
            self.judge_plan(value);
        }
        if self.checkpoints.turn {
            self.propose_checkpoint();
        }
        if let Some(agreement) = &mut self.checkpoints.agreement {
            agreement.again();
        }
        self.drain_agreement();
    }

    fn witnesses_checkpoints(&self) -> bool {
        let set = self.bank.as_ref().map(|bank| bank.ledger.witness_set());
        let among = set.is_some_and(|set| set.members.len() > 1 && set.contains(&self.me));
        among && self.votes()
    }

    /// Whether this node thinks that there should be a checkpoint.
    fn is_due(&self) -> bool {
        let Some(bank) = &self.bank else { return false };
        let faulty = bank.ledger.witness_set().faulty_max();
        if self.checkpoints.order.is_some() || self.checkpoints.begun.len() > faulty {
            return true;
        }
        if !self.amendments().is_empty() || self.offence_is_due() {
            return true;
        }
        let place = (bank.ledger.witness_set().version, bank.ledger.epoch() + 1);
        let record = self.checkpoints.record.as_deref();
        if record.is_some_and(|record| Agreement::recorded(record) == Some(place)) {
            return true;
        }
        let blocks = bank.ledger.blocks_since_checkpoint();
        let waited = self.now.since(self.checkpoints.last);
        blocks >= self.settings.checkpoint_blocks
            || ((blocks > 0 || self.audit_is_due()) && waited >= self.settings.checkpoint_every)
    }

    fn begin_if_due(&mut self) {
        let Some(bank) = &self.bank else { return };
        let epoch = bank.ledger.epoch() + 1;
        let stale = self.checkpoints.agreement.as_ref().is_some_and(|a| a.epoch() != epoch);
        if stale {
            self.checkpoints.agreement = None;
        }
        if self.checkpoints.agreement.is_some() || !self.is_due() {
            return;
        }
        let (set, pool) = (bank.ledger.witness_set().clone(), self.pool);
        let restored = self
            .checkpoints
            .record
            .take()
            .map(|record| Agreement::restore(set.clone(), pool, epoch, &self.key, &record));
        let agreement = match restored {
            None => Agreement::new(set, pool, epoch, &self.key),
            Some(Ok(agreement)) => agreement,
            Some(Err(_)) => {
                // What was said before is unknown: nothing more is said under this version.
                self.may_vote = false;
                self.note("the record of the agreement is damaged: this witness votes no more");
                return;
            }
        };
        self.checkpoints.agreement = Some(agreement);
        self.say_seen();
        self.drain_agreement();
    }

    fn drain_agreement(&mut self) {
        while let Some(act) = self.checkpoints.agreement.as_mut().and_then(Agreement::poll) {
            match act {
                Act::Persist(record) => {
                    self.persist_bytes(Table::Checkpoints, &record.key, record.value);
                }
                Act::Send(statement) => self.say(statement),
                Act::Judge(value) => {
                    self.checkpoints.judging.insert(value);
                    self.judge_plan(value);
                }
                Act::Propose(_) => {
                    self.checkpoints.turn = true;
                    self.propose_checkpoint();
                }
                Act::Alarm(round, step) => {
                    let rounds = u64::from(round).min(ROUNDS_GROWING) + 2;
                    let parts = if step == Step::Propose { 2 } else { 1 };
                    let delay = Micros(ROUND.0 / 4 * rounds * parts);
                    let epoch = self.checkpoints.agreement.as_ref().map_or(0, Agreement::epoch);
                    self.after(delay, Timer::Agree { epoch, round, step });
                }
                Act::Decided(decision) => {
                    self.checkpoints.decision = Some(decision);
                    self.retry_decision();
                    return;
                }
            }
        }
    }

    fn say(&mut self, statement: Statement) {
        let Some(agreement) = &self.checkpoints.agreement else { return };
        let others: Vec<NodeId> =
            agreement.set().members.iter().copied().filter(|w| *w != self.me).collect();
        let plan = match &statement {
            Statement::Proposal(proposal) => {
                self.checkpoints.plans.get(&proposal.head.body.value).cloned()
            }
            Statement::Ballot(_) => None,
        };
        for witness in others {
            if let Some(plan) = &plan {
                self.send(witness, &Message::Plan(Box::new(plan.clone())));
            }
            self.send(witness, &Message::Agree(Box::new(statement.clone())));
        }
    }

    pub(super) fn on_agree_timer(&mut self, epoch: u64, round: u32, step: Step) {
        if let Some(agreement) = &mut self.checkpoints.agreement
            && agreement.epoch() == epoch
        {
            agreement.on_alarm(round, step);
            self.checkpoints.turn &= step != Step::Propose;
            self.drain_agreement();
        }
    }

    pub(super) fn on_agree(&mut self, from: NodeId, statement: Statement) {
        let Some(bank) = &self.bank else { return };
        let (version, epoch, _) = statement.place();
        if statement.signer() != from || !bank.ledger.witness_set().contains(&from) {
            return;
        }
        if epoch > bank.ledger.epoch() + 1 {
            return self.ask_checkpoints(from);
        }
        if epoch <= bank.ledger.epoch() {
            return self.tell_checkpoints(from, epoch.saturating_sub(1), version);
        }
        if !self.witnesses_checkpoints() {
            return;
        }
        if self.checkpoints.agreement.is_none() {
            // The connection vouches for who it is; what it signed is looked at when this node begins.
            self.checkpoints.begun.insert(from);
            self.begin_if_due();
        }
        if let Some(agreement) = &mut self.checkpoints.agreement {
            agreement.handle(statement, &mut self.verifier);
            self.drain_agreement();
        }
    }

    // Plans.

    fn propose_checkpoint(&mut self) {
        let resolutions = self.resolutions();
        let Some(bank) = &self.bank else { return };
        let change = match &self.checkpoints.order {
            None => None,
            Some(order) => match self.agreeing_closings() {
                Some(closings) => Some(Change { order: order.clone(), closings }),
                None => return,
            },
        };
        let Ok(plan) = bank.ledger.plan(change, resolutions, &mut self.verifier) else { return };
        if codec::encode(&plan).len() > PLAN_BYTES_MAX {
            return self.note("a checkpoint's plan is larger than a frame: it waits");
        }
        self.checkpoints.turn = false;
        let value = plan.checkpoint.digest();
        self.keep_plan(value, plan);
        if let Some(agreement) = &mut self.checkpoints.agreement {
            agreement.propose(value);
            self.drain_agreement();
        }
    }

    /// Keeps a plan, durably: who is locked on it must be able to show it after a restart.
    fn keep_plan(&mut self, value: Digest, plan: Plan) {
        let held = self.checkpoints.agreement.as_ref().and_then(Agreement::held);
        if self.checkpoints.plans.len() >= PLANS_MAX {
            self.checkpoints.plans.retain(|kept, _| Some(*kept) == held);
        }
        if held.is_none_or(|held| held == value) {
            self.persist(Table::Checkpoints, b"plan", &plan);
        }
        self.checkpoints.plans.insert(value, plan);
    }

    pub(super) fn on_plan(&mut self, from: NodeId, plan: Plan) {
        let value = plan.checkpoint.digest();
        let decided = self.checkpoints.decision.as_ref().is_some_and(|d| d.value == value);
        let awaited = self.checkpoints.judging.contains(&value) || decided;
        let known = self.checkpoints.plans.contains_key(&value);
        let witness = |set: &edge_ledger::WitnessSet| set.contains(&from);
        let set = self.bank.as_ref().map(|bank| bank.ledger.witness_set());
        let next = self.bank.as_ref().map_or(0, |bank| bank.ledger.epoch() + 1);
        // Plans come just before their proposal; those of members that propose nothing push nothing out.
        let room = self.checkpoints.plans.len() < PLANS_MAX;
        if known
            || !set.is_some_and(witness)
            || plan.checkpoint.epoch != next
            || !(awaited || room)
            || self.checkpoints.agreement.is_none()
        {
            return;
        }
        self.keep_plan(value, plan);
        if awaited {
            self.judge_plan(value);
            self.retry_decision();
        }
    }

    pub(super) fn on_plan_want(&mut self, from: NodeId, value: Digest) {
        if let Some(plan) = self.checkpoints.plans.get(&value) {
            let plan = Box::new(plan.clone());
            self.send(from, &Message::Plan(plan));
        }
    }

    /// Answers the agreement if this node can tell.
    fn judge_plan(&mut self, value: Digest) {
        if !self.checkpoints.judging.contains(&value) {
            return;
        }
        let (Some(bank), Some(agreement)) = (&self.bank, &self.checkpoints.agreement) else {
            return;
        };
        let proposer = agreement.proposer(agreement.round());
        let Some(plan) = self.checkpoints.plans.get(&value) else {
            return self.want_plan(value, proposer);
        };
        let checked = bank.ledger.check_plan(plan, &mut self.verifier);
        let (valid, doubted) = match checked {
            Ok(()) => {
                let plan = plan.clone();
                match self.audits_hold(&plan) {
                    Some(holds) => (holds, !holds),
                    None => return,
                }
            }
            Err(error) if error.is_retryable() => return self.ask_frontier(proposer),
            Err(_) => (false, false),
        };
        // One that is doubted may be decided by others, or have to be held by this node.
        if (valid || doubted)
            && let Some(plan) = self.checkpoints.plans.get(&value).cloned()
        {
            self.persist(Table::Checkpoints, b"plan", &plan);
        }
        self.checkpoints.judging.remove(&value);
        if let Some(agreement) = &mut self.checkpoints.agreement {
            if doubted {
                agreement.doubted(value);
            } else {
                agreement.judged(value, valid);
            }
            self.drain_agreement();
        }
    }

    fn want_plan(&mut self, value: Digest, from: NodeId) {
        if from != self.me {
            self.send(from, &Message::PlanWant(value));
        }
    }

    // Decisions.

    /// A decision becomes a checkpoint with its plan, which each who precommitted it has.
    fn retry_decision(&mut self) {
        let Some(decision) = self.checkpoints.decision.clone() else { return };
        let Some(plan) = self.checkpoints.plans.get(&decision.value).cloned() else {
            for (voter, _) in decision.votes {
                self.want_plan(decision.value, voter);
            }
            return;
        };
        let Decision { round, votes, .. } = decision;
        let sealed = Sealed { checkpoint: plan.checkpoint, round, votes };
        let Plan { cut, resolutions, .. } = plan;
        self.take_checkpoint(Decided { sealed, cut, resolutions }, None);
    }

    pub(super) fn on_checkpoint(&mut self, from: Option<NodeId>, decided: Decided) {
        self.take_checkpoint(decided, from);
    }

    fn take_checkpoint(&mut self, decided: Decided, from: Option<NodeId>) {
        let Some(bank) = &mut self.bank else { return };
        let version = bank.ledger.witness_set().version;
        let before = bank.ledger.base().cloned();
        match bank.ledger.apply_checkpoint(decided.clone(), &mut self.verifier) {
            Ok(Applied::New) => {
                let dropped = self.drop_before(before);
                self.on_checkpoint_taken(version, dropped);
            }
            Ok(Applied::Known) => {}
            Err(LedgerError::ConflictingCheckpoint { epoch }) => {
                let text = format!("a second checkpoint of epoch {epoch} was decided");
                self.note(text);
            }
            Err(error) if error.is_retryable() => {
                let unknown = matches!(error, LedgerError::MissingHandover { .. });
                let behind = unknown || matches!(error, LedgerError::MissingCheckpoint { .. });
                if !unknown {
                    self.checkpoints.early = Some(decided);
                }
                let Some(from) = from else { return };
                if behind { self.ask_checkpoints(from) } else { self.ask_frontier(from) }
            }
            Err(LedgerError::HandoverConflict(account)) => self.note(format!(
                "a change of the witness set leaves out a certified block of {}",
                account.short()
            )),
            Err(_) => {}
        }
    }

    /// Certificates that were missing may be here now.
    fn retry_early(&mut self) {
        let Some(decided) = self.checkpoints.early.take() else { return };
        self.take_checkpoint(decided, None);
    }

    /// Drops the certificates before a checkpoint that was the last one until now: those since then are
    /// what others need who lack the new one. The others need its states instead, so nothing is
    /// dropped while these are more than a node can fetch.
    fn drop_before(&mut self, before: Option<Arc<Base>>) -> Vec<(NodeId, u64)> {
        let Some(bank) = self.bank.as_mut().filter(|_| self.settings.prunes) else {
            return Vec::new();
        };
        let last = bank.ledger.base().filter(|last| last.snapshot().len() <= CONTENT_BYTES_MAX);
        match before.filter(|_| last.is_some()) {
            Some(before) => bank.ledger.prune_through(&before),
            None => Vec::new(),
        }
    }

    /// The ledger has a new last checkpoint: makes it durable, spreads it and goes on. Certificates that
    /// were dropped for it are forgotten after that: on disk is always enough to start from.
    fn on_checkpoint_taken(&mut self, version: u64, dropped: Vec<(NodeId, u64)>) {
        let Some(bank) = &mut self.bank else { return };
        let Some(base) = bank.ledger.base().cloned() else { return };
        let decided = base.decided.clone();
        let checkpoint = decided.sealed.checkpoint.clone();
        let set = bank.ledger.witness_set().clone();
        let changed = set.version != version;
        if changed {
            bank.ask_present_set();
        }
        self.persist(Table::Checkpoints, b"last", &(&decided, base.states()));
        let latest = self.checkpoints.latest.max(checkpoint.epoch);
        self.persist(Table::Checkpoints, EPOCH, &latest);
        for (account, seq) in dropped {
            self.forget(Table::Certificates, &certificate_key(&account, seq));
        }
        self.offences_were_tried();
        self.count_minted();
        if checkpoint.changes_set() {
            let key = [b"set".as_slice(), &checkpoint.set.version.to_be_bytes()].concat();
            self.persist(Table::Checkpoints, &key, &decided.sealed);
            self.checkpoints.chain.insert(checkpoint.set.version, decided.sealed.clone());
        }
        let epoch = checkpoint.epoch;
        let kept = std::mem::take(&mut self.checkpoints);
        self.checkpoints = Checkpoints {
            order: kept.order.clone().filter(|order| order.body.version == set.version),
            chain: kept.chain,
            early: kept.early.filter(|early| early.sealed.checkpoint.epoch > epoch),
            asked: kept.asked,
            pointed: kept.pointed,
            last: self.now,
            latest: kept.latest.max(epoch),
            call: kept.call.filter(|_| !changed),
            ..Checkpoints::default()
        };
        if kept.order.is_some() && self.checkpoints.order.is_none() {
            self.forget(Table::Checkpoints, b"order");
        }
        self.publish(&Gossip::Checkpoint(Box::new(decided)));
        let (digest, accounts) = (checkpoint.digest(), checkpoint.count);
        self.event(Event::Checkpoint { epoch, digest, version: set.version, accounts });
        if changed {
            let (version, members) = (set.version, set.members.clone());
            self.event(Event::WitnessesChanged { version, members });
            self.keep_neighbours();
            if let Some(call) = kept.call {
                self.answer(call, Ok(Answer::WitnessesChanged(set)));
            }
        }
        self.retry_waiting();
        self.propose();
        self.step_bank();
    }

    // Closing a version.

    /// Orders a change of the witness set from the set itself: the founder alone may.
    pub(super) fn order_change(&mut self, call: CallId, members: Vec<NodeId>) {
        let Some(bank) = &self.bank else { return };
        let order = ChangeOrder { version: bank.ledger.witness_set().version, members };
        let order = Signed::seal(order, &self.key, &self.pool);
        let refused = match bank.ledger.check_order(&order, &mut self.verifier) {
            Err(error) => Some(error.to_string()),
            Ok(_) if self.checkpoints.order.is_some() => {
                Some("a change of the witness set is under way already".into())
            }
            Ok(_) => None,
        };
        if let Some(text) = refused {
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        self.checkpoints.call = Some(call);
        self.on_change_order(order);
    }

    pub(super) fn on_change_order(&mut self, order: Signed<ChangeOrder>) {
        let Some(bank) = &self.bank else { return };
        if self.checkpoints.order.is_some()
            || bank.ledger.check_order(&order, &mut self.verifier).is_err()
        {
            return;
        }
        self.persist(Table::Checkpoints, b"order", &order);
        self.publish(&Gossip::Change(Box::new(order.clone())));
        self.checkpoints.order = Some(order);
        self.step_checkpoints();
    }

    /// Ends voting if the set is to change, and says again and again what was voted for; those who
    /// have not closed may not have heard of the order.
    fn step_closing(&mut self) {
        let (me, pool) = (self.me, self.pool);
        let Some(order) = self.checkpoints.order.clone() else { return };
        let Some(bank) = &mut self.bank else { return };
        let set = bank.ledger.witness_set().clone();
        if !bank.votes.has_ended(set.version) {
            let record = bank.votes.promise_end(set.version);
            self.persist_bytes(Table::Votes, &record.key, record.value);
        }
        let Some(bank) = &self.bank else { return };
        let Ok(closing) = bank.ledger.closing(&bank.votes) else { return };
        let signed = match self.checkpoints.closings.get(&me) {
            Some(known) if known.body == closing => known.clone(),
            _ => Signed::seal(closing, &self.key, &pool),
        };
        self.checkpoints.closings.insert(me, signed.clone());
        for witness in set.members.iter().filter(|witness| **witness != me) {
            if !self.checkpoints.closings.contains_key(witness) {
                self.publish_to(*witness, &Gossip::Change(Box::new(order.clone())));
            }
            self.send(*witness, &Message::Closed(Box::new(signed.clone())));
        }
    }

    pub(super) fn on_closed(&mut self, from: NodeId, closing: Signed<Closing>) {
        let Some(bank) = &self.bank else { return };
        let set = bank.ledger.witness_set();
        if closing.signer != from || !set.contains(&from) || closing.body.version != set.version {
            return;
        }
        let same = self.checkpoints.closings.get(&from).is_some_and(|known| *known == closing);
        if same || closing.open(&mut self.verifier, &self.pool).is_err() {
            return;
        }
        let own = self.checkpoints.closings.get(&self.me);
        let differs = own.is_some_and(|own| own.body.accounts != closing.body.accounts);
        self.checkpoints.closings.insert(from, closing);
        if differs {
            // One of the two knows certificates that the other lacks.
            self.ask_frontier(from);
        }
    }

    /// A quorum of closings that know the same certificates as this node.
    fn agreeing_closings(&self) -> Option<Vec<Signed<Closing>>> {
        let quorum = self.bank.as_ref()?.ledger.witness_set().quorum();
        let root = self.checkpoints.closings.get(&self.me)?.body.accounts;
        let all = self.checkpoints.closings.values();
        let same: Vec<_> = all.filter(|c| c.body.accounts == root).take(quorum).cloned().collect();
        (same.len() == quorum).then_some(same)
    }

    // Catching up.

    /// A member says in which epoch it is.
    pub(super) fn compare_epoch(&mut self, node: NodeId, epoch: u64) {
        if self.bank.as_ref().is_some_and(|bank| bank.ledger.epoch() < epoch) {
            self.ask_checkpoints(node);
        }
    }

    fn ask_checkpoints(&mut self, node: NodeId) {
        let now = self.now;
        let Some(bank) = &self.bank else { return };
        let recently = |at: &Timestamp| now.since(*at) < ASK_EVERY;
        self.checkpoints.asked.retain(|_, at| recently(at));
        if node == self.me || self.checkpoints.asked.contains_key(&node) {
            return;
        }
        self.checkpoints.asked.insert(node, now);
        let (epoch, version) = (bank.ledger.epoch(), bank.ledger.witness_set().version);
        self.send(node, &Message::CheckpointWant { epoch, version });
    }

    /// Answers with the sets after a version and the last checkpoint, if that is newer than `epoch`.
    pub(super) fn tell_checkpoints(&mut self, to: NodeId, epoch: u64, version: u64) {
        let Some(base) = self.bank.as_ref().and_then(|bank| bank.ledger.base()).cloned() else {
            return;
        };
        if base.decided.sealed.checkpoint.epoch <= epoch {
            return;
        }
        let snapshot = base.decided.sealed.checkpoint.snapshot;
        if self.content.get(&snapshot).is_none() {
            self.content.keep(snapshot, base.snapshot().into(), Audience::Members);
        }
        let after = self.checkpoints.chain.range(version.saturating_add(1)..);
        let chain = after.take(SETS_PER_MESSAGE).map(|(_, sealed)| sealed.clone()).collect();
        let last = Box::new(base.decided.clone());
        self.send(to, &Message::Checkpoints { chain, last });
    }

    /// Somebody tells what this node asked for: sets first, then the checkpoint, then its states.
    pub(super) fn on_checkpoints(&mut self, from: NodeId, chain: Vec<Sealed>, last: Decided) {
        let Some(bank) = &mut self.bank else { return };
        let known = bank.ledger.learn_sets(&chain, &mut self.verifier);
        if known.is_err() || last.sealed.checkpoint.epoch <= bank.ledger.epoch() {
            return;
        }
        for sealed in chain {
            let version = sealed.checkpoint.set.version;
            if bank.ledger.set_of_version(version).is_some() {
                self.checkpoints.chain.entry(version).or_insert(sealed);
            }
        }
        let snapshot = last.sealed.checkpoint.snapshot;
        let follows = last.sealed.checkpoint.prev == bank.ledger.last_checkpoint();
        self.take_checkpoint(last, Some(from));
        let waits = self.checkpoints.early.as_ref();
        let waits = waits.is_some_and(|early| early.sealed.checkpoint.snapshot == snapshot);
        // Where the checkpoint follows the last one here, certificates may still come.
        let again = self.checkpoints.missed.replace(snapshot) == Some(snapshot);
        if waits
            && (!follows || again)
            && self.checkpoints.fetching.is_none()
            && self.fetch(snapshot, from, Waiter::States, Audience::Members)
        {
            self.checkpoints.fetching = Some(snapshot);
        }
    }

    /// The states of all accounts at the checkpoint that waits for them.
    pub(super) fn on_states(&mut self, content: Digest, bytes: Option<&[u8]>) {
        let states: Option<Vec<AccountState>> = bytes.and_then(|bytes| codec::decode(bytes).ok());
        self.checkpoints.fetching = None;
        let early = self.checkpoints.early.clone();
        let early = early.filter(|early| early.sealed.checkpoint.snapshot == content);
        let (Some(bank), Some(states), Some(decided)) = (&mut self.bank, states, early) else {
            return;
        };
        let version = bank.ledger.witness_set().version;
        let place = |c: &Arc<Certificate>| (c.body().account, c.body().seq);
        let held: Vec<(NodeId, u64)> = bank.ledger.certificates().map(place).collect();
        let taken = bank.ledger.apply_snapshot(decided, states, &mut self.verifier);
        if taken == Ok(Applied::New) {
            let gone = |(account, seq): &(NodeId, u64)| *seq <= bank.ledger.pruned_below(account);
            let prunes = self.settings.prunes;
            let dropped = held.into_iter().filter(|place| prunes && gone(place)).collect();
            for sealed in self.checkpoints.chain.clone().into_values() {
                let key =
                    [b"set".as_slice(), &sealed.checkpoint.set.version.to_be_bytes()].concat();
                self.persist(Table::Checkpoints, &key, &sealed);
            }
            self.on_checkpoint_taken(version, dropped);
            self.freeze_early();
            // Before anything is taken to have ended: what waits may have begun after the checkpoint.
            self.recover();
            self.on_unseen_blocks();
        }
    }

    /// Points a node that lacks blocks which are not kept here to the checkpoint that has them.
    pub(super) fn point_to_checkpoint(&mut self, node: NodeId) {
        let now = self.now;
        let recently = |at: &Timestamp| now.since(*at) < ASK_EVERY;
        self.checkpoints.pointed.retain(|_, at| recently(at));
        if self.checkpoints.pointed.insert(node, now).is_none() {
            self.tell_checkpoints(node, 0, 0);
        }
    }

    // Views.

    pub(super) fn checkpoint_view(&self) -> Result<CheckpointView, Refusal> {
        let Some(bank) = &self.bank else {
            return Err(Refusal::Refused("this node has not joined its pool yet".into()));
        };
        let Some(base) = bank.ledger.base() else {
            let text = if bank.ledger.witness_set().members.len() == 1 {
                "there are no checkpoints in a pool with a single witness: four and more agree on them \
                 (`edge-net ledger handover`)"
                    .to_owned()
            } else {
                format!(
                    "there is no checkpoint yet, which is as it should be: these witnesses make their \
                     first one {} minutes after they began, if there was a payment, or after {} blocks",
                    self.settings.checkpoint_every.0.div_ceil(60_000_000),
                    self.settings.checkpoint_blocks
                )
            };
            return Err(Refusal::NotFound(text));
        };
        let Decided { sealed, .. } = &base.decided;
        let checkpoint = &sealed.checkpoint;
        Ok(CheckpointView {
            epoch: checkpoint.epoch,
            digest: checkpoint.digest(),
            prev: checkpoint.prev,
            accounts: checkpoint.accounts,
            count: checkpoint.count,
            supply: checkpoint.supply,
            burned: checkpoint.burned,
            cpu_hours_micro: checkpoint.hours.micro(),
            cap: checkpoint.hours.cap(edge_base::Credits::from_micro(
                checkpoint.parameters.get(edge_ledger::Parameter::Reward),
            )),
            fund: checkpoint.fund,
            present: edge_ledger::counted(&base.decided.resolutions.seen).len(),
            audits: {
                let resolved = &base.decided.resolutions;
                [resolved.audits.len(), resolved.commits.len(), resolved.certified.len()]
            },
            multiplier_nano: checkpoint.hours.multiplier(),
            decided_by_version: checkpoint.version,
            set_version: checkpoint.set.version,
            witnesses: checkpoint.set.members.clone(),
            carried: checkpoint.carried.len(),
            round: sealed.round,
            precommits: sealed.votes.iter().map(|(voter, _)| *voter).collect(),
            blocks_since: bank.ledger.blocks_since_checkpoint(),
            change_under_way: self.checkpoints.order.is_some(),
        })
    }

    /// What an account came to in the last checkpoint, with its proof, checked here first.
    pub(super) fn proof_view(&self, account: Option<NodeId>) -> Result<AccountProofView, Refusal> {
        let view = self.checkpoint_view()?;
        let account = account.unwrap_or(self.me);
        let Some(base) = self.bank.as_ref().and_then(|bank| bank.ledger.base()) else {
            return Err(Refusal::NotFound("there is no checkpoint yet".into()));
        };
        let proof = base.prove(&account);
        if !proof.verify(&view.accounts, &account) {
            return Err(Refusal::Failed("the proof does not hold: the state is damaged".into()));
        }
        let bytes = codec::encode(&proof);
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let summary = proof.summary;
        Ok(AccountProofView {
            account,
            epoch: view.epoch,
            root: view.accounts,
            present: summary.is_some(),
            balance: summary.map(|s| s.balance).unwrap_or_default(),
            incoming: summary.map(|s| s.incoming).unwrap_or_default(),
            escrowed: summary.map(|s| s.escrowed).unwrap_or_default(),
            staked: summary.map(|s| s.staked).unwrap_or_default(),
            leaving: summary.map(|s| s.leaving).unwrap_or_default(),
            seq: summary.map_or(0, |s| s.seq),
            steps: proof.path.depth(),
            proof_bytes: bytes.len(),
            proof: hex,
        })
    }
}
