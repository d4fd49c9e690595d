//! Proofs that an owner signed two blocks for one place: how an account is frozen everywhere.
//!
//! A proof is complete: whoever gets it checks two signatures, freezes the account, stores the proof
//! and hands it on. It comes from a witness that was shown both blocks, from one that voted for a
//! block and sees another certified in its place, and from whoever sees two certificates of one
//! place. Nobody but the owner can make one.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Micros, NodeId, Timestamp};
use edge_ledger::{Applied, Certificate, EquivocationProof, LedgerError, SignedBlock, block_hash};

use super::{Peer, membership::MEMBERS_MAX};
use crate::{io::Table, message::Gossip};

/// Before the stored key of a proof that froze an account.
pub(super) const FROZEN: &[u8] = b"frozen";
/// Proofs that a node which was away is told at once.
const TOLD_MAX: usize = 64;
/// Proofs about members of whose accounts nothing is known yet.
const EARLY_MAX: usize = 1_024;
/// Proofs that do not hold, of one sender, after which nothing more of it is looked into ...
const BAD_MAX: usize = 8;
/// ... and those whose sender gossip does not name ...
const BAD_GOSSIP_MAX: usize = 64;
/// ... until this has passed.
const BAD_FOR: Micros = Micros::from_secs(60);

/// Proofs as this node knows them. Those that froze an account are in the ledger, at most one for each
/// account there.
#[derive(Debug, Default)]
pub(crate) struct Equivocations {
    frozen: BTreeSet<NodeId>,
    early: BTreeMap<NodeId, EquivocationProof>,
    /// Proofs that did not hold since `since`, by sender; nobody for gossip.
    bad: BTreeMap<Option<NodeId>, usize>,
    since: Timestamp,
}

impl Equivocations {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("early proofs of two blocks", self.early.len(), EARLY_MAX);
        add("senders of bad proofs", self.bad.len(), MEMBERS_MAX + 1);
    }

    /// Accounts that are frozen.
    pub(crate) fn frozen(&self) -> impl Iterator<Item = &NodeId> {
        self.frozen.iter()
    }

    /// Whether what a sender shows is looked into.
    fn listens_to(&mut self, sender: Option<NodeId>, now: Timestamp) -> bool {
        if now.since(self.since) >= BAD_FOR {
            self.bad.clear();
            self.since = now;
        }
        let most = if sender.is_some() { BAD_MAX } else { BAD_GOSSIP_MAX };
        self.bad.get(&sender).is_none_or(|bad| *bad < most)
    }
}

impl Peer {
    pub(super) fn restore_equivocations(&mut self) {
        let Some(bank) = &self.bank else { return };
        let accounts = bank.ledger.accounts().map(|(account, _)| account);
        let proven = accounts.filter(|account| bank.ledger.equivocation(account).is_some());
        self.equivocations.frozen = proven.collect();
    }

    /// Tells a node that was away why accounts are frozen. Where there are more than fit, each
    /// meeting tells of others.
    pub(super) fn tell_equivocations(&mut self, to: NodeId) {
        let all: Vec<NodeId> = self.equivocations.frozen.iter().copied().collect();
        for account in self.some_of(all, TOLD_MAX) {
            if let Some(gossip) = self.gossip_about(&account) {
                self.publish_to(to, &gossip);
            }
        }
    }

    /// A proof that somebody shows: `from` a member, or by gossip.
    pub(super) fn on_equivocation(&mut self, from: Option<NodeId>, proof: EquivocationProof) {
        let now = self.now;
        let account = proof.account();
        let Some(bank) = &mut self.bank else { return };
        let in_ledger = bank.ledger.has_account(&account);
        let early = &self.equivocations.early;
        // What is not in the ledger yet may be on its way to it; anybody can make up strangers.
        let waits = early.len() < EARLY_MAX && self.members.is_member(&account);
        let known = self.equivocations.frozen.contains(&account) || early.contains_key(&account);
        if known || !(in_ledger || waits) || !self.equivocations.listens_to(from, now) {
            return;
        }
        if proof.check(&mut self.verifier, &self.pool).is_err() {
            *self.equivocations.bad.entry(from).or_default() += 1;
            return;
        }
        if !in_ledger {
            self.equivocations.early.insert(account, proof);
            return;
        }
        if let Ok(Applied::New) = bank.ledger.apply_equivocation(proof, &mut self.verifier) {
            self.on_frozen(account);
            if let Some(gossip) = self.gossip_about(&account) {
                self.hand_on(&gossip, from);
            }
        }
    }

    /// Two blocks that this node was shown itself. An error means that there is nothing to freeze.
    pub(super) fn freeze(&mut self, proof: EquivocationProof) {
        let account = proof.account();
        let Some(bank) = &mut self.bank else { return };
        if let Ok(Applied::New) = bank.ledger.apply_equivocation(proof, &mut self.verifier) {
            self.on_frozen(account);
            self.tell_everybody(account);
        }
    }

    /// The ledger refused a certificate; perhaps because it has another one at that place.
    pub(super) fn on_refused_certificate(&mut self, error: &LedgerError) {
        let LedgerError::ConflictingCertificate { account, .. } = error else { return };
        if !self.equivocations.frozen.contains(account) {
            self.on_frozen(*account);
            self.tell_everybody(*account);
        }
    }

    /// A certificate is here: its owner may have had this node vote for another block in its place,
    /// and a proof about its account may have come first.
    pub(super) fn look_for_equivocation(&mut self, certificate: &Certificate) {
        let Some(bank) = &self.bank else { return };
        let voted = bank.voted_otherwise(certificate);
        self.freeze_early();
        if let Some(proof) = voted {
            self.freeze(proof);
        }
    }

    /// Accounts came into the ledger, by a certificate or by the states of a checkpoint: proofs about some of
    /// them may have come first.
    pub(super) fn freeze_early(&mut self) {
        let Some(bank) = &self.bank else { return };
        let early = &mut self.equivocations.early;
        let due = early.keys().filter(|account| bank.ledger.has_account(account)).copied();
        let due: Vec<NodeId> = due.collect();
        let due = due.iter().filter_map(|account| early.remove(account));
        for proof in due.collect::<Vec<_>>() {
            self.freeze(proof);
        }
    }

    /// A witness is asked to vote for a block whose place is another's.
    pub(super) fn other_certified(&self, block: &SignedBlock) -> Option<EquivocationProof> {
        let bank = self.bank.as_ref()?;
        let (account, seq) = (block.body.account, block.body.seq);
        let mut after = bank.ledger.certificates_after(&account, seq.saturating_sub(1), 1);
        let other = after.next().filter(|other| other.body().seq == seq)?;
        let differs = other.id() != block_hash(block);
        differs.then(|| EquivocationProof::new(other.block.clone(), block.clone()))
    }

    /// An account was frozen in the ledger. It stays so, and its stake slashed, after a restart.
    fn on_frozen(&mut self, account: NodeId) {
        let proof = self.bank.as_ref().and_then(|bank| bank.ledger.equivocation(&account));
        let Some(proof) = proof.cloned() else { return };
        self.equivocations.frozen.insert(account);
        self.persist(Table::Pool, &[FROZEN, account.0.as_slice()].concat(), proof.as_ref());
        let frozen = self.bank.as_ref().is_some_and(|bank| bank.ledger.account(&account).frozen);
        // An account that is another key's goes on: the one that signed these signs none of its blocks.
        let came = if frozen { "is frozen" } else { "loses its stake" };
        self.note(format!(
            "the account {} {came}: two blocks at number {} were signed with its key",
            account.short(),
            proof.seq()
        ));
        if frozen {
            self.refuse_blocks_of(&account);
        }
    }

    fn gossip_about(&self, account: &NodeId) -> Option<Gossip> {
        let proof = self.bank.as_ref()?.ledger.equivocation(account)?;
        Some(Gossip::Equivocation(Box::new(proof.as_ref().clone())))
    }

    fn tell_everybody(&mut self, account: NodeId) {
        if let Some(gossip) = self.gossip_about(&account) {
            self.publish(&gossip);
            self.hand_on(&gossip, None);
        }
    }
}
