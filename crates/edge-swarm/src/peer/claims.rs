//! What keeps a requester from taking back what it promised: the notice before an escrow ends, claims,
//! and proofs that an owner promised more than it set aside.
//!
//! A witness does not vote for the end of an escrow before [`END_NOTICE`] has passed since it published
//! the signed block ([`Gossip::Ending`]). Whoever holds a voucher that the block does not pay shows it to
//! the witnesses meanwhile, and none of them votes while it stands. An honest owner pays what it vouched
//! for, so its block is certified a notice later, whatever others do.
//!
//! Claims are held in memory by each witness. Workers show their vouchers again and again while their
//! requester is away, before they leave themselves, and whenever one has grown by what a worker lets
//! stand unsecured ([`Settings::exposure_max`](crate::Settings::exposure_max)). So witnesses see the sum
//! of what an owner promised, and one that promised too much has signed the proof of it.

use std::collections::BTreeMap;

use edge_base::{Credits, EscrowId, Micros, NodeId, Signed, Timestamp};
use edge_ledger::{
    EquivocationProof, EscrowState, LedgerError, OffenceKind, OverdraftProof, Refusal, SignedBlock,
    block_hash, statement::Voucher,
};

use super::{
    Peer, Stored, decode_stored,
    membership::{Link, MEMBERS_MAX},
};
use crate::{
    io::Table,
    message::{Gossip, Message},
};

/// From when a witness first sees the end of an escrow until it votes for it.
pub(super) const END_NOTICE: Micros = Micros::from_secs(2);
/// A requester that is gone for this long is claimed against, and again each time it passes.
const CLAIM_AFTER: Micros = Micros::from_secs(60);
/// Ends of escrows that this node was told of and that are not certified yet.
const ENDINGS_MAX: usize = 1_024;
/// Vouchers held at the same time; at the bound the smallest gives way.
const VOUCHERS_MAX: usize = 16_384;
/// Proofs of overdrafts kept to tell others of.
const OVERDRAFTS_MAX: usize = 256;
/// Vouchers said again to who greets, of those that it gave and of those that it was given.
pub(super) const SHOWN_MAX: usize = 64;
/// Proofs told to a node that greets.
const TOLD_MAX: usize = 16;
/// Before the stored key of a proof.
const OVERDRAWN: &[u8] = b"overdrawn";

#[derive(Debug)]
struct Held {
    voucher: Signed<Voucher>,
    /// What of it the witnesses were shown, and when.
    shown: Credits,
    shown_at: Option<Timestamp>,
}

/// Vouchers this node holds, and what it knows as a witness of the ends of others' escrows.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// By escrow and worker, which is this node or a key that it went under before.
    held: BTreeMap<(EscrowId, NodeId), Held>,
    /// Escrows that are about to end, and what their end pays this node.
    ending: BTreeMap<EscrowId, Credits>,
    /// As a witness: the end of an escrow that each account asks for, and since when.
    noticed: BTreeMap<NodeId, (SignedBlock, Timestamp)>,
    overdrafts: BTreeMap<NodeId, OverdraftProof>,
}

impl Promises {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("vouchers held", self.held.len(), VOUCHERS_MAX);
        add("escrows about to end", self.ending.len(), ENDINGS_MAX);
        add("ends of escrows noticed", self.noticed.len(), MEMBERS_MAX);
        add("proofs of overdrafts", self.overdrafts.len(), OVERDRAFTS_MAX);
    }

    /// Whether an escrow is about to end.
    pub(crate) fn is_ending(&self, escrow: &EscrowId) -> bool {
        self.ending.contains_key(escrow)
    }

    /// As a witness: the end of an escrow that an account asks for.
    pub(crate) fn ending_of(&self, account: &NodeId) -> Option<&SignedBlock> {
        self.noticed.get(account).map(|(block, _)| block)
    }

    /// Escrows out of which vouchers are held.
    pub(crate) fn escrows(&self) -> impl Iterator<Item = EscrowId> + '_ {
        self.held.keys().map(|(escrow, _)| *escrow)
    }

    /// What was vouched for to a worker out of an escrow.
    pub(crate) fn vouched(&self, escrow: &EscrowId, worker: &NodeId) -> Credits {
        let held = self.held.get(&(*escrow, *worker));
        held.map_or(Credits::ZERO, |held| held.voucher.body.cumulative)
    }

    /// The sum of all that is held.
    pub(crate) fn sum(&self) -> Credits {
        let amounts = self.held.values().map(|held| held.voucher.body.cumulative);
        Credits::sum(amounts).unwrap_or(Credits::ZERO)
    }
}

fn stored_key(escrow: &EscrowId, worker: &NodeId) -> Vec<u8> {
    [b"r".as_slice(), escrow.as_bytes(), &worker.0].concat()
}

impl Peer {
    pub(super) fn restore_promises(&mut self, stored: &Stored) {
        let vouchers =
            stored.table(Table::Vouchers).iter().filter(|(key, _)| key.starts_with(b"r"));
        for (key, value) in vouchers.take(VOUCHERS_MAX) {
            let Some(voucher) = decode_stored::<Signed<Voucher>>(value) else { continue };
            // Builds of before had the requester in the key.
            let place = stored_key(&voucher.body.escrow, &voucher.body.worker);
            if *key != place {
                self.forget(Table::Vouchers, key);
                self.persist(Table::Vouchers, &place, &voucher);
            }
            self.hold_voucher(voucher);
        }
        let proofs = stored.table(Table::Pool).iter().filter(|(key, _)| key.starts_with(OVERDRAWN));
        for (_, value) in proofs {
            if let Some(proof) = decode_stored::<OverdraftProof>(value) {
                self.name_overdrawn(proof);
            }
        }
    }

    fn hold_voucher(&mut self, voucher: Signed<Voucher>) {
        let key = (voucher.body.escrow, voucher.body.worker);
        let (shown, shown_at) =
            self.promises.held.get(&key).map_or((Credits::ZERO, None), |h| (h.shown, h.shown_at));
        self.promises.held.insert(key, Held { voucher, shown, shown_at });
        if self.promises.held.len() > VOUCHERS_MAX {
            let held = self.promises.held.iter();
            let least = held.min_by_key(|(_, held)| held.voucher.body.cumulative);
            if let Some((escrow, worker)) = least.map(|(key, _)| *key) {
                self.promises.held.remove(&(escrow, worker));
                self.forget(Table::Vouchers, &stored_key(&escrow, &worker));
            }
        }
    }

    // The worker.

    /// Keeps a voucher that was checked.
    pub(super) fn keep_voucher(&mut self, voucher: Signed<Voucher>) {
        let Voucher { escrow, worker, cumulative, .. } = voucher.body;
        self.persist(Table::Vouchers, &stored_key(&escrow, &worker), &voucher);
        self.hold_voucher(voucher);
        let held = self.promises.held.get(&(escrow, worker));
        let shown = held.map_or(cumulative, |held| held.shown);
        let grown = cumulative.minus(shown).unwrap_or(Credits::ZERO);
        let late = self.promises.ending.get(&escrow).is_some_and(|paid| *paid < cumulative);
        if late || grown >= self.settings.exposure_max {
            self.claim(&[escrow]);
        }
    }

    /// Shows vouchers to the witnesses where their requester is gone.
    pub(super) fn claim_from_absent(&mut self) {
        let now = self.now;
        let due = self.promises.held.iter().filter(|(_, held)| {
            let gone = self
                .members
                .get(&held.voucher.body.requester)
                .is_some_and(|m| matches!(m.link, Link::Down(at) if now.since(at) >= CLAIM_AFTER));
            gone && held.shown_at.is_none_or(|at| now.since(at) >= CLAIM_AFTER)
        });
        let due: Vec<_> = due.map(|((escrow, _), _)| *escrow).collect();
        self.claim(&due);
    }

    /// What two nodes that meet again tell each other of what one promised the other: either may have missed it.
    pub(super) fn tell_promises(&mut self, to: NodeId) {
        self.show_vouchers(to);
        self.promise_again(to);
    }

    /// Shows a requester what it vouched for: its data may be older than that.
    fn show_vouchers(&mut self, requester: NodeId) {
        let of_it = self.promises.held.values().map(|held| &held.voucher).filter(|voucher| {
            let body = &voucher.body;
            (body.requester, body.worker) == (requester, self.me)
        });
        for voucher in of_it.take(SHOWN_MAX).cloned().collect::<Vec<_>>() {
            self.send(requester, &Message::Claim(Box::new(voucher)));
        }
    }

    /// Before this node leaves: what it holds is shown to the witnesses.
    pub(super) fn claim_all(&mut self) {
        let unshown = |held: &Held| held.shown < held.voucher.body.cumulative;
        let due = self.promises.held.iter().filter(|(_, held)| unshown(held));
        let due: Vec<_> = due.map(|((escrow, _), _)| *escrow).collect();
        self.claim(&due);
    }

    /// What is held under a key before is that key's to claim.
    fn claim(&mut self, due: &[EscrowId]) {
        let now = self.now;
        let Some(bank) = &self.bank else { return };
        let witnesses = bank.ledger.witness_set().members.clone();
        for escrow in due {
            let Some(held) = self.promises.held.get_mut(&(*escrow, self.me)) else { continue };
            held.shown = held.voucher.body.cumulative;
            held.shown_at = Some(now);
            let voucher = held.voucher.clone();
            for witness in &witnesses {
                if *witness == self.me {
                    self.on_claim(self.me, voucher.clone());
                } else {
                    self.send(*witness, &Message::Claim(Box::new(voucher.clone())));
                }
            }
        }
    }

    /// A witness tells everybody that an owner asks for the end of an escrow.
    pub(super) fn on_ending(&mut self, block: SignedBlock) {
        let owner = block.body.account;
        let Some(escrow) = block.body.kind.ends() else { return };
        let holds = self.promises.held.contains_key(&(escrow, self.me));
        let concerns = holds || self.jobs.draws_on(&escrow);
        let Some(bank) = self.bank.as_ref().filter(|_| concerns) else { return };
        let is_open = |view: &edge_ledger::EscrowView<'_>| {
            view.owner == owner && view.state == EscrowState::Open
        };
        let open = bank.ledger.escrow(&escrow).as_ref().is_some_and(is_open);
        if !open || block.signer != owner || block.open(&mut self.verifier, &self.pool).is_err() {
            return;
        }
        let paid = block.body.kind.pays(&self.me).unwrap_or(Credits::ZERO);
        if self.promises.ending.len() < ENDINGS_MAX {
            self.promises.ending.insert(escrow, paid);
        }
        if paid < self.promises.vouched(&escrow, &self.me) {
            self.claim(&[escrow]);
        }
    }

    /// An escrow has ended: nothing is claimed of it any more.
    pub(super) fn drop_vouchers(&mut self, escrow: EscrowId) {
        self.promises.ending.remove(&escrow);
        let of_it = self.promises.held.keys().filter(|(e, _)| *e == escrow).copied();
        for (escrow, worker) in of_it.collect::<Vec<_>>() {
            self.promises.held.remove(&(escrow, worker));
            self.forget(Table::Vouchers, &stored_key(&escrow, &worker));
        }
    }

    // The witness.

    /// Whether this witness still waits for claims before it votes for the end of an escrow. The first
    /// time it sees a block that it would vote for, it tells everybody.
    pub(super) fn waits_for_claims(&mut self, block: &SignedBlock) -> Result<(), Refusal> {
        let body = &block.body;
        let Some(escrow) = body.kind.ends() else { return Ok(()) };
        let Some(bank) = &self.bank else { return Ok(()) };
        let (owner, hash, now) = (body.account, block_hash(block), self.now);
        let version = bank.ledger.witness_set().version;
        if bank.last_vote(version, &owner) == Some((body.seq, hash)) {
            return Ok(());
        }
        let noticed = self.promises.noticed.get(&owner);
        match noticed.filter(|(before, _)| before.body.seq == body.seq) {
            Some((before, since)) if block_hash(before) == hash => {
                if now.since(*since) >= END_NOTICE {
                    return Ok(());
                }
            }
            Some((before, _)) => {
                let proof = EquivocationProof::new(before.clone(), block.clone());
                proof.check(&mut self.verifier, &self.pool)?;
                return Err(Refusal::OtherBlock(Box::new(proof)));
            }
            None => {
                bank.ledger.check(block, &bank.claims, &mut self.verifier)?;
                if noticed.is_some() || self.promises.noticed.len() < MEMBERS_MAX {
                    self.promises.noticed.insert(owner, (block.clone(), now));
                    self.publish(&Gossip::Ending(Box::new(block.clone())));
                }
            }
        }
        Err(LedgerError::ClaimsMayCome { escrow }.into())
    }

    /// A block of an account is certified: nothing before it is asked for any more.
    pub(super) fn forget_notice(&mut self, account: &NodeId, seq: u64) {
        if self.promises.noticed.get(account).is_some_and(|(block, _)| block.body.seq <= seq) {
            self.promises.noticed.remove(account);
        }
    }

    pub(super) fn on_claim(&mut self, from: NodeId, voucher: Signed<Voucher>) {
        if voucher.body.requester == self.me && voucher.body.worker == from {
            self.remember_promise(&voucher);
        }
        let Some(bank) = self.bank.as_mut().filter(|_| voucher.body.worker == from) else { return };
        // A claim that does not hold changes nothing, and its sender learns nothing from it.
        if bank.claims.raise(&voucher, &bank.ledger, &mut self.verifier).is_err() {
            return;
        }
        if let Some(proof) = bank.claims.overdraft(&voucher.body.escrow, &bank.ledger) {
            self.on_overdraft(proof);
        }
    }

    /// Vouchers of one owner for more than their escrow can pay, shown by whoever.
    pub(super) fn on_overdraft(&mut self, proof: OverdraftProof) {
        let Some(bank) = &self.bank else { return };
        let known =
            |owner: &NodeId| *owner == self.me || self.promises.overdrafts.contains_key(owner);
        let Some(owner) = proof.owner().filter(|owner| !known(owner)) else { return };
        // Beyond the bound owners are named still, and told of once.
        if self.faults.names(&owner) || proof.check(&bank.ledger, &mut self.verifier).is_err() {
            return;
        }
        self.persist(Table::Pool, &[OVERDRAWN, owner.0.as_slice()].concat(), &proof);
        self.publish(&Gossip::Overdraft(Box::new(proof.clone())));
        self.note(format!(
            "{} promised more out of an escrow than it had set aside: its stake is lost and nobody \
             works for it",
            owner.short()
        ));
        self.name_overdrawn(proof);
        self.drop_liar(owner);
    }

    fn name_overdrawn(&mut self, proof: OverdraftProof) {
        let Some(owner) = proof.owner() else { return };
        self.offended(owner, OffenceKind::Overdraft, true);
        self.faults.name(owner);
        if let Some(member) = self.members.get_mut(&owner) {
            member.faults += 1;
        }
        if self.promises.overdrafts.len() < OVERDRAFTS_MAX {
            self.promises.overdrafts.insert(owner, proof);
        }
    }

    /// Tells a node that was away whose promises are worth nothing. Where there are more than fit,
    /// each meeting tells of others.
    pub(super) fn tell_overdrafts(&mut self, to: NodeId) {
        let all: Vec<NodeId> = self.promises.overdrafts.keys().copied().collect();
        for owner in self.some_of(all, TOLD_MAX) {
            let Some(proof) = self.promises.overdrafts.get(&owner).cloned() else { continue };
            self.publish_to(to, &Gossip::Overdraft(Box::new(proof)));
        }
    }
}
