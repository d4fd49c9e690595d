//! The ledger as the peer lives it: own blocks, votes for others, certificates that spread.
//!
//! One own block is under way at a time. It is durable before it is proposed and proposed again,
//! unchanged, until a quorum has voted, across restarts. Certificates travel as gossip; adverts
//! carry the digest of the frontier, and peers whose digests differ tell each other what they lack.

mod handover;
mod views;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use edge_base::{Credits, Digest, Micros, NodeId, Signed, Timestamp, Verifier};
use edge_ledger::{
    Applied, BlockKind, Certificate, ClaimBook, EquivocationProof, Genesis, Handover, Ledger,
    LedgerError, Refusal as VoteRefusal, SignedBlock, Vote, VoteCollector, VoteLog,
};

use self::views::kind_name;
pub(super) use self::views::{block_view_of, certified_answer};
use super::{
    Peer, StartError, Stored, Timer,
    checkpoint::{Checkpoints, stored_base},
    decode_stored,
    equivocation::FROZEN,
    escrow::Asked,
    fair::has_room,
    membership::Link,
    pace::{Pace, is_free},
    recover::Shelf,
    sync::Told,
};
use crate::{
    command::Refusal,
    event::Event,
    io::{CallId, Table},
    message::{CERTIFICATES_PER_MESSAGE, Gossip, Message},
};

/// Certificates that wait for what they build on.
const WAITING_MAX: usize = 1_024;
/// Own blocks that wait for their turn.
const QUEUE_MAX: usize = 1_024;
/// A proposal is repeated after this.
const PROPOSE_EVERY: Micros = Micros::from_millis(500);

/// The peer's view of the ledger and its part in it.
#[derive(Debug)]
pub(crate) struct Bank {
    pub(crate) ledger: Ledger,
    pub(crate) handover: Option<Signed<Handover>>,
    pub(crate) claims: ClaimBook,
    pub(super) votes: VoteLog,
    /// Own blocks that are not signed yet, each with its account.
    queue: VecDeque<(NodeId, BlockKind, Option<CallId>)>,
    pub(super) pending: Option<Pending>,
    waiting: VecDeque<Arc<Certificate>>,
    handing_over: Option<(CallId, Vec<NodeId>)>,
    pub(super) told: Told,
    pace: Pace,
    voted_at: BTreeMap<NodeId, Timestamp>,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) block: SignedBlock,
    collector: VoteCollector,
    pub(super) call: Option<CallId>,
    /// When it was signed; before this process began if absent.
    pub(super) since: Option<Timestamp>,
    /// Why witnesses that have not voted do not.
    refusals: BTreeMap<NodeId, String>,
}

impl Pending {
    /// By whom it was signed.
    pub(super) fn asked(&self) -> Asked {
        if self.since.is_some() { Asked::Now } else { Asked::Before }
    }

    /// Votes that are in.
    pub(super) fn votes(&self) -> usize {
        self.collector.votes()
    }

    /// Which witnesses said last that they do not vote, and why.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.refusals.iter().map(|(witness, reason)| (*witness, reason.as_str()))
    }
}

/// What a store says of the ledger.
pub(super) struct Restored {
    pub(super) bank: Bank,
    /// Keys of certificates that say nothing any more: a checkpoint was taken without them, or the
    /// process ended before they were forgotten.
    pub(super) stale: Vec<Vec<u8>>,
    /// What waits for a checkpoint, if the one that was stored cannot be read.
    pub(super) shelf: Shelf,
    /// Whether one was stored that cannot be read.
    pub(super) unreadable: bool,
}

impl Bank {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("certificates that wait", self.waiting.len(), WAITING_MAX);
        add("own blocks that wait", self.queue.len(), QUEUE_MAX);
        self.told.hold(add);
        self.pace.hold(add);
    }

    pub(crate) fn new(genesis: Genesis) -> Self {
        let ledger = Ledger::new(genesis).expect("invariant: the genesis record was validated");
        Bank {
            ledger,
            handover: None,
            claims: ClaimBook::new(),
            votes: VoteLog::new(),
            queue: VecDeque::new(),
            pending: None,
            waiting: VecDeque::new(),
            handing_over: None,
            told: Told::default(),
            pace: Pace::default(),
            voted_at: BTreeMap::new(),
        }
    }

    /// The ledger of a store.
    pub(super) fn restore(
        genesis: Genesis,
        stored: &Stored,
        verifier: &mut Verifier,
    ) -> Result<Restored, StartError> {
        genesis.validate().map_err(|e| StartError::Ledger(e.to_string()))?;
        let mut bank = Bank::new(genesis);
        if let Some(bytes) = stored.get(Table::Pool, b"handover") {
            let signed: Signed<Handover> =
                decode_stored(bytes).ok_or(StartError::Damaged { table: "pool" })?;
            // Its heads are those of certificates that follow; the ledger takes both in any order.
            bank.handover = Some(signed);
        }
        let mut certificates = Vec::new();
        let mut places = Vec::new();
        for (key, value) in stored.table(Table::Certificates) {
            let certificate: Certificate =
                decode_stored(value).ok_or(StartError::Damaged { table: "certificates" })?;
            places.push((key, certificate.body().account, certificate.body().seq));
            certificates.push(Arc::new(certificate));
        }
        if let Some(signed) = bank.handover.clone() {
            bank.ledger
                .apply_handover(Arc::new(signed), verifier)
                .map_err(|e| StartError::Ledger(e.to_string()))?;
        }
        let refuse = |e: LedgerError| StartError::Ledger(e.to_string());
        let checkpoints = Checkpoints::restore(stored, Timestamp::default());
        let mut unreadable = false;
        match stored_base(stored) {
            None => unreadable = true,
            Some(None) => {}
            Some(Some((decided, states))) => {
                let chain: Vec<_> = checkpoints.chain().cloned().collect();
                let mut with = bank.ledger.clone();
                let sets = with.learn_sets(&chain, verifier);
                match sets.and_then(|()| with.apply_snapshot(decided, states, verifier)) {
                    Ok(_) => bank.ledger = with,
                    // It decodes, and means something else to the edge-net that wrote it.
                    Err(_) => unreadable = true,
                }
                bank.ledger.backfill(&certificates);
            }
        }
        let lost = checkpoints.latest > bank.ledger.epoch();
        let mut shelf = Shelf::default();
        let merged = bank.ledger.merge(certificates.iter().cloned(), verifier);
        if lost {
            let here = |c: &&Arc<Certificate>| bank.ledger.certificate(&c.id()).is_none();
            shelf.certificates = certificates.iter().filter(here).cloned().collect();
        } else if let Some(refused) = merged.refused.into_iter().next() {
            return Err(refuse(refused.error));
        }
        let votes = stored.table(Table::Votes).iter().map(|(k, v)| (k, v));
        bank.votes = VoteLog::restore(votes).map_err(|_| StartError::Damaged { table: "votes" })?;
        for (_, value) in stored.table(Table::Pool).iter().filter(|(k, _)| k.starts_with(FROZEN)) {
            let proof: EquivocationProof =
                decode_stored(value).ok_or(StartError::Damaged { table: "pool" })?;
            match bank.ledger.apply_equivocation(proof.clone(), verifier) {
                Ok(_) => {}
                Err(_) if lost => shelf.proofs.push(proof),
                Err(error) => return Err(refuse(error)),
            }
        }
        if let Some(bytes) = stored.get(Table::OwnBlock, b"pending") {
            let block: SignedBlock =
                decode_stored(bytes).ok_or(StartError::Damaged { table: "own_block" })?;
            // One that a checkpoint has is certified, though its certificate is not kept.
            let open = block.body.seq > bank.ledger.account(&block.body.account).seq;
            if open && !bank.ledger.is_certified(&block) {
                bank.set_pending(block, None, None);
            }
        }
        let dropped = places
            .into_iter()
            .filter(|(_, account, seq)| *seq <= bank.ledger.pruned_below(account));
        let stale = dropped.map(|(key, ..)| key.clone()).collect();
        Ok(Restored { bank, stale, shelf, unreadable })
    }

    pub(super) fn set_pending(
        &mut self,
        block: SignedBlock,
        call: Option<CallId>,
        since: Option<Timestamp>,
    ) {
        let collector =
            VoteCollector::new(block.clone(), self.ledger.witness_set(), self.ledger.pool());
        self.pending = Some(Pending { block, collector, call, since, refusals: BTreeMap::new() });
    }

    /// Votes of the set before are void: the same block asks the present one.
    pub(super) fn ask_present_set(&mut self) {
        if let Some(Pending { block, call, since, .. }) = self.pending.take() {
            self.set_pending(block, call, since);
        }
    }

    /// Own blocks that are not signed yet.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Drops the block that a caller wanted, if it is not signed yet.
    pub(super) fn drop_queued(&mut self, call: CallId) {
        self.queue.retain(|(_, _, waiting)| *waiting != Some(call));
    }

    /// Callers who wait for blocks of an account, which are not signed any more.
    pub(super) fn take_calls_of(&mut self, account: &NodeId) -> Vec<CallId> {
        let pending = self.pending.as_mut().filter(|p| p.block.body.account == *account);
        let mut calls: Vec<CallId> = pending.and_then(|p| p.call.take()).into_iter().collect();
        self.queue.retain(|(of, _, call)| {
            let waits = call.filter(|_| of == account);
            calls.extend(waits);
            waits.is_none()
        });
        calls
    }

    /// What the own block on its way does.
    pub(crate) fn pending_kind(&self) -> Option<&BlockKind> {
        self.pending.as_ref().map(|p| &p.block.body.kind)
    }

    /// What every own block on its way does.
    pub(crate) fn on_its_way(&self) -> impl Iterator<Item = &BlockKind> {
        self.pending_kind().into_iter().chain(self.queue.iter().map(|(_, kind, _)| kind))
    }

    /// Seq and block of this witness's last vote on an account under a set version.
    pub(crate) fn last_vote(&self, version: u64, account: &NodeId) -> Option<(u64, Digest)> {
        self.votes.last_vote(version, account)
    }

    /// What proves that the owner of a certified block had this witness vote for another one.
    pub(crate) fn voted_otherwise(&self, certificate: &Certificate) -> Option<EquivocationProof> {
        self.votes.voted_otherwise(certificate)
    }

    /// Whether votes are asked for a block.
    pub(crate) fn asks_for(&self, block: &Digest) -> bool {
        let asked = self.pending.as_ref().map(|p| edge_ledger::block_hash(&p.block));
        asked.as_ref() == Some(block)
    }

    /// Whether blocks of this node are on their way.
    pub(crate) fn is_busy(&self) -> bool {
        self.pending.is_some() || !self.queue.is_empty()
    }
}

impl Peer {
    pub(super) fn own_balance(&self) -> Credits {
        self.bank.as_ref().map_or(Credits::ZERO, |bank| {
            let view = bank.ledger.account(&self.me);
            view.balance.plus(view.incoming).unwrap_or(view.balance)
        })
    }

    /// Puts a block of this node's account in line.
    pub(super) fn queue_block(&mut self, kind: BlockKind, call: Option<CallId>) {
        self.queue_block_of(self.me, kind, call);
    }

    /// The same of an account that this node signs for.
    pub(super) fn queue_block_of(
        &mut self,
        account: NodeId,
        kind: BlockKind,
        call: Option<CallId>,
    ) {
        if let (Some(call), true) = (call, self.is_recovering()) {
            let text = self.recovering_text();
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        let Some(bank) = &mut self.bank else { return };
        if bank.queue.len() >= QUEUE_MAX {
            if let Some(call) = call {
                let text = "too many blocks of this node wait for votes; try again later".into();
                self.answer(call, Err(Refusal::Refused(text)));
            }
            return;
        }
        bank.queue.push_back((account, kind, call));
        self.step_bank();
    }

    pub(super) fn step_bank(&mut self) {
        let (pool, now) = (self.pool, self.now);
        if self.is_recovering() {
            return;
        }
        let Some(bank) = &mut self.bank else { return };
        let busy = bank.pending.is_some() || bank.handing_over.is_some();
        if busy || bank.queue.is_empty() || !self.knows_own_heads() {
            return;
        }
        let Some(bank) = &mut self.bank else { return };
        let Some((account, kind, call)) = bank.queue.pop_front() else { return };
        match bank.ledger.next_block(account, kind.clone()) {
            Ok(body) => {
                let block = Signed::seal(body, &self.key, &pool);
                bank.set_pending(block.clone(), call, Some(now));
                self.persist(Table::OwnBlock, b"pending", &block);
                self.propose();
            }
            Err(error) => {
                let text = format!("the block cannot be made: {error}{}", self.aside_text());
                self.on_block_refused(&kind);
                match call {
                    Some(call) => self.answer(call, Err(Refusal::Refused(text))),
                    None => self.note(text),
                }
                self.step_bank();
            }
        }
    }

    /// Asks every witness that has not voted; votes itself if it is one.
    pub(super) fn propose(&mut self) {
        let Some(bank) = &self.bank else { return };
        let Some(pending) = &bank.pending else { return };
        let block = pending.block.clone();
        let missing: Vec<NodeId> = pending.collector.missing().collect();
        for witness in missing {
            if witness == self.me {
                if let Some(vote) = self.cast_vote(&block).ok().flatten() {
                    self.count_vote(vote);
                }
            } else {
                self.send(witness, &Message::Propose(block.clone()));
            }
        }
    }

    /// Whether this node says anything as a witness.
    pub(super) fn votes(&self) -> bool {
        self.may_vote && !self.is_recovering()
    }

    /// Votes for a block if everything about it is right; the vote is durable before it leaves.
    fn cast_vote(&mut self, block: &SignedBlock) -> Result<Option<Vote>, VoteRefusal> {
        let early = self.is_too_early(block);
        if self.bank.is_none() || !self.votes() {
            return Ok(None);
        }
        if let Some(unstake) = early {
            return Err(LedgerError::Leaving { unstake }.into());
        }
        self.waits_for_claims(block)?;
        let (now, limited) = (self.now, self.settings.limits && is_free(&block.body.kind));
        let Some(bank) = &mut self.bank else { return Ok(None) };
        // The same vote once more, or another block at its place, which freezes the account.
        let again = || {
            let version = bank.ledger.witness_set().version;
            let last = bank.votes.last_vote(version, &block.body.account);
            last.is_some_and(|(seq, _)| seq == block.body.seq)
        };
        let counts = limited && !again();
        if counts && !bank.pace.admits(&block.body.account, now) {
            return Err(Pace::refusal().into());
        }
        let voted =
            bank.votes.vote(&bank.ledger, &bank.claims, block, &self.key, &mut self.verifier)?;
        if counts {
            bank.pace.count(block.body.account, now);
        }
        self.persist_bytes(Table::Votes, &voted.record.key, voted.record.value);
        Ok(Some(voted.vote))
    }

    pub(super) fn on_propose(&mut self, from: NodeId, block: SignedBlock) {
        if block.signer != from {
            return;
        }
        let Some(bank) = &self.bank else { return };
        let hash = edge_ledger::block_hash(&block);
        if let Some(certificate) = bank.ledger.certificate(&hash) {
            let list = vec![certificate.as_ref().clone()];
            return self.send(from, &Message::Certificates(list));
        }
        let other = self.other_certified(&block);
        let refused = match self.cast_vote(&block) {
            Ok(Some(vote)) => return self.send(from, &Message::Vote(vote)),
            Ok(None) => (None, String::from("this witness does not vote under this set")),
            Err(VoteRefusal::Block(error)) => {
                let missing = match &error {
                    LedgerError::MissingPredecessor { account, seq } => Some((*account, *seq)),
                    LedgerError::MissingCredit { .. } => Some((block.body.account, block.body.seq)),
                    _ => None,
                };
                (missing, error.to_string())
            }
            Err(VoteRefusal::OtherBlock(proof)) => {
                self.freeze(*proof);
                (None, String::from("the account signed another block at this place"))
            }
            Err(other) => (None, other.to_string()),
        };
        if let Some(proof) = other {
            self.freeze(proof);
        }
        let (missing, mut reason) = refused;
        reason.truncate(500);
        self.send(from, &Message::NoVote { block: hash, missing, reason });
    }

    pub(super) fn on_vote(&mut self, from: NodeId, vote: Vote) {
        if vote.signer == from {
            let now = self.now;
            if let Some(bank) = &mut self.bank {
                bank.voted_at.insert(from, now);
            }
            let block = vote.body.block;
            if self.bank.as_ref().is_some_and(|bank| bank.asks_for(&block)) {
                self.count_vote(vote);
            } else if self.answers.awaits(&block, &from)
                && vote.open(&mut self.verifier, &self.pool).is_ok()
            {
                self.on_answer_of(from, block);
            }
        }
    }

    fn count_vote(&mut self, vote: Vote) {
        let Some(bank) = &mut self.bank else { return };
        let Some(pending) = &mut bank.pending else { return };
        let block = vote.body.block;
        pending.refusals.remove(&vote.signer);
        if let Ok(Some(certificate)) = pending.collector.add(&vote, &mut self.verifier) {
            let voted = certificate.votes.iter().map(|(witness, _)| *witness).collect();
            self.await_answers(block, voted);
            self.on_own_certified(certificate);
        }
    }

    fn on_own_certified(&mut self, certificate: Certificate) {
        let certificate = Arc::new(certificate);
        self.publish(&Gossip::Certificate(Box::new(certificate.as_ref().clone())));
        // What is refused here was certified under a set that ended meanwhile: proposed again.
        let _ = self.take_certificate(certificate);
    }

    /// A witness does not vote, for now at least: it may miss something that this node can give it.
    pub(super) fn on_no_vote(
        &mut self,
        from: NodeId,
        block: Digest,
        missing: Option<(NodeId, u64)>,
        reason: String,
    ) {
        self.on_answer_of(from, block);
        let Some(bank) = self.bank.as_mut().filter(|bank| bank.asks_for(&block)) else { return };
        let Some(pending) = &mut bank.pending else { return };
        if bank.ledger.witness_set().contains(&from) {
            pending.refusals.insert(from, reason);
        }
        let Some((account, seq)) = missing else { return };
        let mut list: Vec<Certificate> = bank
            .ledger
            .certificates_after(&account, seq.saturating_sub(1), CERTIFICATES_PER_MESSAGE / 2)
            .map(|c| c.as_ref().clone())
            .collect();
        let credits = pending.block.body.credits.iter();
        list.extend(
            credits
                .filter_map(|id| bank.ledger.certificate(id))
                .map(|c| c.as_ref().clone())
                .take(CERTIFICATES_PER_MESSAGE / 2),
        );
        self.send(from, &Message::Certificates(list));
        self.ask_frontier(from);
    }

    pub(super) fn on_certificates(&mut self, from: NodeId, list: Vec<Certificate>) {
        for certificate in list {
            self.on_certificate(Some(from), certificate);
        }
    }

    pub(super) fn on_certificate(&mut self, from: Option<NodeId>, certificate: Certificate) {
        let signer = certificate.block.signer;
        let certificate = Arc::new(certificate);
        // What is handed on later was certified while this node did not hear of it.
        self.economy.late = from.is_some();
        let taken = self.take_certificate(certificate.clone());
        self.economy.late = false;
        match taken {
            Ok(()) => {}
            Err(error) if error.is_retryable() => {
                if let Some(bank) = &mut self.bank {
                    let waiting = &mut bank.waiting;
                    let of_owner = || waiting.iter().filter(|c| c.block.signer == signer).count();
                    if has_room(waiting.len(), WAITING_MAX, of_owner) {
                        waiting.push_back(certificate);
                    }
                }
                self.ask_frontier(from.unwrap_or(signer));
            }
            Err(error) => self.on_refused_certificate(&error),
        }
    }

    /// Applies a certificate and whatever waited for it.
    fn take_certificate(&mut self, certificate: Arc<Certificate>) -> Result<(), LedgerError> {
        let Some(bank) = &mut self.bank else { return Ok(()) };
        if bank.ledger.apply(certificate.clone(), &mut self.verifier)? == Applied::Known {
            return Ok(());
        }
        self.on_certified(&certificate);
        self.retry_waiting();
        self.start_waiting_jobs();
        self.step_waiting_tasks();
        self.step_bank();
        Ok(())
    }

    /// Applies certificates that waited for something which may be here now.
    pub(super) fn retry_waiting(&mut self) {
        loop {
            let Some(bank) = &mut self.bank else { return };
            let waiting: Vec<Arc<Certificate>> = bank.waiting.drain(..).collect();
            let mut progress = false;
            for certificate in waiting {
                let Some(bank) = &mut self.bank else { return };
                match bank.ledger.apply(certificate.clone(), &mut self.verifier) {
                    Ok(Applied::New) => {
                        progress = true;
                        self.on_certified(&certificate);
                    }
                    Ok(Applied::Known) => {}
                    Err(error) if error.is_retryable() => bank.waiting.push_back(certificate),
                    Err(error) => self.on_refused_certificate(&error),
                }
            }
            if !progress {
                return;
            }
        }
    }

    fn on_certified(&mut self, certificate: &Arc<Certificate>) {
        let body = certificate.body();
        let key = certificate_key(&body.account, body.seq);
        self.persist(Table::Certificates, &key, certificate.as_ref());
        self.look_for_equivocation(certificate);
        self.count_settled(body);
        if let Some(amount) = body.kind.pays(&self.me) {
            self.event(Event::Paid { by: body.account, amount });
        }
        if let Some(bank) = &mut self.bank {
            bank.claims.prune(&bank.ledger);
        }
        self.forget_notice(&body.account, body.seq);
        self.on_stake_certified(certificate.id(), &body.kind);
        if let Some(escrow) = body.kind.ends() {
            self.on_escrow_ended(escrow);
        }
        // A Rotate of this key is its own last one.
        if !self.is_own_account(&body.account) && certificate.block.signer != self.me {
            return;
        }
        let hash = certificate.id();
        let finished = self.bank.as_mut().and_then(|bank| {
            let same =
                bank.pending.as_ref().is_some_and(|p| edge_ledger::block_hash(&p.block) == hash);
            if same { bank.pending.take() } else { None }
        });
        let asked = finished.as_ref().map_or(Asked::Never, Pending::asked);
        if let Some(pending) = finished {
            self.forget(Table::OwnBlock, b"pending");
            if let Some(call) = pending.call {
                self.answer(call, Ok(certified_answer(body, hash)));
            }
        }
        self.event(Event::BlockCertified { hash, kind: kind_name(&body.kind).into() });
        if body.account == self.me {
            self.on_own_block_certified(hash, &body.kind.clone(), asked);
        }
        self.step_rotation();
    }

    pub(super) fn on_propose_timer(&mut self) {
        self.propose();
        self.knows_own_heads();
        self.ask_on();
        self.step_handover();
        self.recover();
        self.step_bank();
        self.step_withdrawals();
        self.step_checkpoints();
        self.step_answers();
        self.step_rotation();
        self.sweep_inheritance();
        self.after(PROPOSE_EVERY, Timer::Propose);
    }

    // The handover.

    // Views.

    /// Witnesses connected to that vote, this node included: as far as is known here.
    pub(super) fn witnesses_voting(&self) -> usize {
        let Some(bank) = &self.bank else { return 0 };
        let silent = self.answers.unresponsive();
        let votes = |witness: &NodeId| {
            let up = self.members.get(witness).is_some_and(|m| matches!(m.link, Link::Up));
            up && !silent.contains(witness) && self.cannot_vote(witness).is_none()
        };
        let members = bank.ledger.witness_set().members.iter();
        members.filter(|w| if **w == self.me { self.votes() } else { votes(w) }).count()
    }

    /// Why nothing that a member signs as a witness would count here, as far as is known.
    pub(super) fn cannot_vote(&self, node: &NodeId) -> Option<&'static str> {
        let advert = self.members.get(node).and_then(|member| member.advert.as_ref());
        if self.members.is_dead(node) {
            Some("its key is revoked")
        } else if self.standing.is_banned(node, self.now) {
            Some("it is banned here: `edge-net peer unban` ends that")
        } else if advert.is_some_and(|advert| advert.pins.contains(&no_votes())) {
            Some("it says that it never votes: its data were copied, restored or repaired")
        } else {
            None
        }
    }

    /// Witnesses connected to, this node included.
    pub(super) fn witnesses_reachable(&self) -> usize {
        let Some(bank) = &self.bank else { return 0 };
        let members = &bank.ledger.witness_set().members;
        let connected =
            |w: &NodeId| self.members.get(w).is_some_and(|member| matches!(member.link, Link::Up));
        members.iter().filter(|w| **w == self.me || connected(w)).count()
    }
}

/// Stands among the pins of a member's adverts that never votes: its data were copied or restored.
pub(super) fn no_votes() -> Digest {
    Digest::of_value("pin", "no-votes")
}

/// Where a certificate is stored.
pub(super) fn certificate_key(account: &NodeId, seq: u64) -> Vec<u8> {
    [account.0.as_slice(), &seq.to_be_bytes()].concat()
}
