//! Which witnesses answer when they are asked for a vote.
//!
//! A quorum certifies a block without the others, so a witness that withholds its votes costs nobody
//! anything until another one fails. Owners therefore notice: for each own block that was certified, a
//! witness answered if its vote or its refusal came, up to [`GRACE`] after the certificate. Of a witness
//! that was not connected nothing is said. What an owner finds is its own opinion: nobody can show that
//! something was not said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge_base::{Digest, Micros, NodeId, Ring, Timestamp};

use super::{Peer, membership::Link};

/// An answer may come so much later than the quorum's.
const GRACE: Micros = Micros::from_secs(5);
/// Blocks that are remembered of each witness.
const KEPT: usize = 32;
/// With fewer nothing is said of a witness.
const LEAST: usize = 8;
/// Certified blocks for which answers may still come; of more the oldest is judged early.
const DUE_MAX: usize = 256;

/// What witnesses made of the blocks that this node asked them for.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    recent: BTreeMap<NodeId, Ring<bool, KEPT>>,
    /// Refusals of the block that is on its way.
    refused: BTreeSet<(Digest, NodeId)>,
    due: VecDeque<(Timestamp, Digest, BTreeSet<NodeId>)>,
}

impl Answers {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        let witnesses = edge_ledger::WITNESSES_MAX;
        add("witnesses that answer", self.recent.len(), witnesses);
        add("refusals of an own block", self.refused.len(), witnesses);
        add("own blocks just certified", self.due.len(), DUE_MAX);
    }

    /// Witnesses that answered fewer than half of what they were asked lately, ascending.
    pub(crate) fn unresponsive(&self) -> Vec<NodeId> {
        let withholds = |recent: &Ring<bool, KEPT>| {
            let answered = recent.iter().filter(|answered| **answered).count();
            recent.len() >= LEAST && 2 * answered < recent.len()
        };
        let found = self.recent.iter().filter(|(_, recent)| withholds(recent));
        found.map(|(witness, _)| *witness).collect()
    }

    /// Whether a certified block waits for what a witness says.
    pub(crate) fn awaits(&self, block: &Digest, witness: &NodeId) -> bool {
        let of = |(_, hash, missing): &(Timestamp, Digest, BTreeSet<NodeId>)| {
            hash == block && missing.contains(witness)
        };
        self.due.iter().any(of)
    }

    fn note(&mut self, witness: NodeId, answered: bool) {
        self.recent.entry(witness).or_default().push(answered);
    }
}

impl Peer {
    /// A witness voted for a block of this node, or refused it.
    pub(super) fn on_answer_of(&mut self, witness: NodeId, block: Digest) {
        let Some(bank) = &self.bank else { return };
        if !bank.ledger.witness_set().contains(&witness) {
            return;
        }
        let answers = &mut self.answers;
        let due = answers.due.iter_mut().find(|(_, hash, _)| *hash == block);
        match due.map(|(_, _, missing)| missing.remove(&witness)) {
            Some(true) => answers.note(witness, true),
            Some(false) => {}
            None if bank.asks_for(&block) => {
                answers.refused.insert((block, witness));
            }
            None => {}
        }
    }

    /// A quorum certified a block of this node: the others may still answer.
    pub(super) fn await_answers(&mut self, block: Digest, voted: BTreeSet<NodeId>) {
        let Some(bank) = &self.bank else { return };
        let members = bank.ledger.witness_set().members.clone();
        let me = self.me;
        self.answers.recent.retain(|witness, _| members.contains(witness));
        let refused = std::mem::take(&mut self.answers.refused);
        let spoke =
            |witness: &NodeId| voted.contains(witness) || refused.contains(&(block, *witness));
        let (spoken, missing): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
            members.into_iter().filter(|witness| *witness != me).partition(spoke);
        for witness in spoken {
            self.answers.note(witness, true);
        }
        self.answers.due.push_back((self.now + GRACE, block, missing));
        if self.answers.due.len() > DUE_MAX {
            self.judge_answers(1);
        }
    }

    /// Judges what is due.
    pub(super) fn step_answers(&mut self) {
        let now = self.now;
        let due = self.answers.due.iter().take_while(|(until, _, _)| *until <= now).count();
        self.judge_answers(due);
    }

    fn judge_answers(&mut self, count: usize) {
        for _ in 0..count {
            let Some((_, _, missing)) = self.answers.due.pop_front() else { return };
            for witness in missing {
                let up = |member: &super::membership::Member| matches!(member.link, Link::Up);
                if self.members.get(&witness).is_some_and(up) {
                    self.answers.note(witness, false);
                }
            }
        }
    }
}
