//! What the witnesses know of this node's accounts, before it signs a block after a start.
//!
//! A store may be older than what its node signed last: a file system was rolled back, or an old copy laid
//! over the folder by something that leaves no trace. A block made from such a store would be the second one
//! at its place, and freeze the account for good. A certificate needs a quorum of votes anyway, so waiting until
//! a quorum has said what it voted for costs one round trip and no payment that could have been made.
//!
//! - Every certified block was voted for by an honest witness of any quorum, whose log has the block, with this
//!   node's signature: it is proof. Where it is the next one of its account, this node takes it up again as its
//!   own block on its way; where it is later, certificates are fetched first.
//! - Of blocks that only checkpoints stand for, witnesses say the seq. So many may be wrong as may be faulty.
//! - A block that fewer than a quorum voted for may be known to witnesses that are slow to answer: those that are
//!   connected have [`PATIENCE`]. Beyond that it cannot be told from one that was never signed.
//! - With it they say which of this node's vouchers were shown to them, as workers do that meet it again.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Micros, NodeId, Signed, Timestamp};
use edge_ledger::{SignedBlock, WitnessSet, statement::Voucher};

use super::{Peer, membership::Link};
use crate::{
    io::Table,
    message::{AccountHead, CLAIMS_TOLD_MAX, HEADS_OF_OWNER_MAX, Message},
};

/// Witnesses that have not answered are asked again after this.
const ASK_EVERY: Micros = Micros::from_millis(500);
/// Once a quorum has answered, connected witnesses that have not are waited for so long after the first question.
const PATIENCE: Micros = Micros::from_secs(2);

/// What is known of what this node signed before it started.
#[derive(Debug, Default)]
pub(crate) struct OwnHeads {
    /// All there is to know: nothing is kept any more.
    known: bool,
    first_asked: Option<Timestamp>,
    asked: Option<Timestamp>,
    answers: BTreeMap<NodeId, Answer>,
}

#[derive(Debug)]
struct Answer {
    epoch: u64,
    seqs: BTreeMap<NodeId, u64>,
    /// Blocks that this node signed.
    blocks: Vec<SignedBlock>,
}

/// What at least one honest of these witnesses says, if `faulty` of them may lie upwards.
fn at_least(mut said: Vec<u64>, faulty: usize) -> u64 {
    said.sort_unstable_by(|a, b| b.cmp(a));
    said.get(faulty).copied().unwrap_or(0)
}

impl Peer {
    /// Whether this node knows what it signed before, so that it may sign the next block.
    pub(super) fn knows_own_heads(&mut self) -> bool {
        if self.own_heads.known || !self.settings.asks_heads {
            return true;
        }
        self.ask_heads();
        let Some(set) = self.bank.as_ref().map(|bank| bank.ledger.witness_set().clone()) else {
            return false;
        };
        if self.hears_all_it_can(&set) && self.has_what_was_signed(&set) {
            self.own_heads = OwnHeads { known: true, ..OwnHeads::default() };
        }
        self.own_heads.known
    }

    /// What to tell of it, while a block waits.
    pub(super) fn own_heads_text(&self) -> Option<String> {
        let bank = self.bank.as_ref()?;
        let (waits, set) = (bank.queued() > 0, bank.ledger.witness_set());
        let late = |at: Timestamp| self.now.since(at) >= PATIENCE;
        let late = self.own_heads.first_asked.is_some_and(late);
        (waits && late && !self.own_heads.known && self.settings.asks_heads).then(|| {
            let said = self.own_heads.answers.keys().filter(|node| set.contains(node)).count();
            format!(
                "{said} of {} witnesses have said since the start which blocks of this node they know, and {} \
                 are needed: payments wait, so that none is signed twice",
                set.members.len(),
                set.quorum()
            )
        })
    }

    fn ask_heads(&mut self) {
        let now = self.now;
        let Some(bank) = &self.bank else { return };
        if self.own_heads.asked.is_some_and(|at| now.since(at) < ASK_EVERY) {
            return;
        }
        self.own_heads.asked = Some(now);
        self.own_heads.first_asked.get_or_insert(now);
        let witnesses = bank.ledger.witness_set().members.clone();
        for witness in witnesses {
            if witness == self.me {
                if let Some((epoch, heads)) = self.heads_of(&witness) {
                    self.on_say_heads(witness, epoch, heads, Vec::new());
                }
            } else if !self.own_heads.answers.contains_key(&witness) {
                self.send(witness, &Message::AskHeads);
            }
        }
    }

    /// A quorum has answered, and so has who else is there.
    fn hears_all_it_can(&self, set: &WitnessSet) -> bool {
        let answers = |node: &&NodeId| self.own_heads.answers.contains_key(node);
        let silent = |node: &NodeId| {
            let up = self.members.get(node).is_some_and(|m| matches!(m.link, Link::Up));
            up && *node != self.me && !answers(&node)
        };
        let began = self.own_heads.first_asked.unwrap_or(self.now);
        set.members.iter().filter(answers).count() >= set.quorum()
            && (self.now.since(began) >= PATIENCE || !set.members.iter().any(silent))
    }

    /// Whether the ledger here has, or a block on its way is, everything that witnesses know of this node. Takes
    /// up what is missing.
    fn has_what_was_signed(&mut self, set: &WitnessSet) -> bool {
        let Some(bank) = &self.bank else { return false };
        let faulty = set.faulty_max();
        let answers = || {
            let all = self.own_heads.answers.iter();
            all.filter(|(witness, _)| set.contains(witness)).map(|(_, answer)| answer)
        };
        if at_least(answers().map(|answer| answer.epoch).collect(), faulty) > bank.ledger.epoch() {
            return false;
        }
        let mut all_here = true;
        let accounts = answers().flat_map(|answer| answer.seqs.keys().copied());
        for account in accounts.collect::<BTreeSet<_>>() {
            let seqs = answers().filter_map(|answer| answer.seqs.get(&account).copied());
            all_here &= at_least(seqs.collect(), faulty) <= bank.ledger.account(&account).seq;
        }
        let mut taken_up = None;
        for block in answers().flat_map(|answer| &answer.blocks) {
            let (account, seq) = (block.body.account, block.body.seq);
            let here = bank.ledger.account(&account).seq;
            let same = |own: &SignedBlock| (own.body.account, own.body.seq) == (account, seq);
            let pending = bank.pending.as_ref().map(|pending| &pending.block);
            if seq <= here || pending.is_some_and(same) {
                continue;
            }
            all_here = false;
            if seq == here + 1 && pending.is_none() && taken_up.is_none() {
                taken_up = Some(block.clone());
            }
        }
        let Some(block) = taken_up else { return all_here };
        self.note(format!(
            "block {} of this node was signed and is not in its data, which are older than it: it goes on with \
             that one",
            block.body.seq
        ));
        self.persist(Table::OwnBlock, b"pending", &block);
        if let Some(bank) = &mut self.bank {
            bank.set_pending(block, None, None);
        }
        self.propose();
        false
    }

    pub(super) fn on_say_heads(
        &mut self,
        from: NodeId,
        epoch: u64,
        heads: Vec<AccountHead>,
        claims: Vec<Signed<Voucher>>,
    ) {
        claims.iter().for_each(|voucher| self.remember_promise(voucher));
        let asked = self.own_heads.asked.is_some() && !self.own_heads.known;
        let Some(bank) = self.bank.as_ref().filter(|_| asked) else { return };
        if !bank.ledger.witness_set().contains(&from) {
            return;
        }
        let mut answer = Answer { epoch, seqs: BTreeMap::new(), blocks: Vec::new() };
        for head in heads {
            // What came to this key is told by the ledger; a key that never heard of that is told here.
            answer.seqs.insert(head.account, head.seq);
            let own =
                |block: &SignedBlock| block.signer == self.me && block.body.account == head.account;
            let Some(block) = head.signed.map(|block| *block).filter(own) else { continue };
            if block.open(&mut self.verifier, &self.pool).is_ok() {
                answer.blocks.push(block);
            }
        }
        let behind = answer.seqs.iter().any(|(a, seq)| bank.ledger.account(a).seq < *seq)
            || answer.blocks.iter().any(|b| bank.ledger.account(&b.body.account).seq < b.body.seq);
        self.own_heads.answers.insert(from, answer);
        if behind && from != self.me {
            self.ask_frontier(from);
        }
        if from != self.me {
            self.step_bank();
        }
    }

    // The witness.

    pub(super) fn on_ask_heads(&mut self, from: NodeId) {
        let (Some((epoch, heads)), Some(bank)) = (self.heads_of(&from), &self.bank) else { return };
        let escrows = bank.ledger.open_escrows(&from);
        let claims = escrows.flat_map(|escrow| bank.claims.of_escrow(escrow));
        let claims = claims.take(CLAIMS_TOLD_MAX).cloned().collect();
        self.send(from, &Message::SayHeads { epoch, heads, claims });
    }

    /// What this witness knows of the accounts that a key signs for; nothing if its log may have gaps.
    fn heads_of(&self, owner: &NodeId) -> Option<(u64, Vec<AccountHead>)> {
        let bank = self.bank.as_ref()?;
        let set = bank.ledger.witness_set();
        if !self.votes() || !set.contains(&self.me) {
            return None;
        }
        let mut accounts = self.accounts_of(owner);
        if !accounts.contains(owner) {
            accounts.insert(0, *owner);
        }
        accounts.truncate(HEADS_OF_OWNER_MAX);
        let head = |account: NodeId| {
            let seq = bank.ledger.account(&account).seq;
            // The end of an escrow is known for a while before it is voted for.
            let voted = bank.votes.last_block(set.version, &account);
            let last = voted.into_iter().chain(self.promises.ending_of(&account));
            let last = last.max_by_key(|block| block.body.seq).cloned();
            AccountHead { account, seq, signed: last.map(Box::new) }
        };
        Some((bank.ledger.epoch(), accounts.into_iter().map(head).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn so_many_as_may_be_faulty_move_nothing_upwards() {
        assert_eq!(at_least(vec![3, 900, 3], 1), 3);
        assert_eq!(at_least(vec![3, 4, 3], 0), 4);
        assert_eq!(at_least(vec![u64::MAX, 0], 2), 0);
        assert_eq!(at_least(vec![], 0), 0);
    }
}
