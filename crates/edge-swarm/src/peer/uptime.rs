//! Being there: what a witness asks, what a member answers, what counts.
//!
//! Each checkpoint draws members with something at stake, of one invite branch one. Each witness
//! challenges each of them at moments that its own generator draws, without memory: whoever was
//! challenged a moment ago is as likely to be challenged now as anybody. The answer is signed, names a
//! number that the witness drew, and counts if it comes within [`ANSWER_WITHIN`] on the witness's clock.
//! What it counted each witness tells the others, signed; the checkpoint takes the words of a quorum and
//! pays by their median ([`edge_ledger::counted`]).
//!
//! Nothing is stored: a witness that starts again counts from nothing, until the next checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, Micros, NodeId, Signed, Timestamp};
use edge_ledger::{CALLED_MAX, COUNTED_MAX, Parameter, Seen, WITNESSES_MAX, counted};

use super::Peer;
use crate::{
    message::Message,
    roll_call::{Here, RollCall},
};

/// An answer that comes later does not count.
const ANSWER_WITHIN: Micros = Micros::from_secs(5);
/// What a witness counted is said again after this, if it changed.
const SAY_EVERY: Micros = Micros::from_secs(30);

/// Who is there, as this witness saw it and as others say that they did.
#[derive(Debug, Default)]
pub(crate) struct Uptime {
    /// The last checkpoint that was looked at.
    beacon: Option<Digest>,
    called: BTreeSet<NodeId>,
    asked: BTreeMap<NodeId, (u64, Timestamp)>,
    answered: BTreeMap<NodeId, u16>,
    seen: BTreeMap<NodeId, Signed<Seen>>,
    looked: Option<Timestamp>,
    said: Timestamp,
    /// What was counted is not what was said last.
    changed: bool,
}

impl Uptime {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("members that are challenged", self.called.len(), CALLED_MAX);
        add("challenges on their way", self.asked.len(), CALLED_MAX);
        add("members that answered challenges", self.answered.len(), CALLED_MAX);
        add("what witnesses saw", self.seen.len(), WITNESSES_MAX);
    }
}

impl Peer {
    // The witness.

    /// Challenges who is due, again and again.
    pub(super) fn step_uptime(&mut self) {
        let now = self.now;
        // What was before the first look is nobody's time.
        let looked = self.uptime.looked.replace(now);
        let elapsed = looked.map_or(Micros(0), |looked| now.since(looked));
        if !self.is_witness() || !self.begin_roll_call() {
            self.uptime = Uptime { looked: Some(now), ..Uptime::default() };
            return;
        }
        self.uptime.asked.retain(|_, (_, at)| now.since(*at) <= ANSWER_WITHIN);
        let (every, mut due) = (self.settings.call_every.0.max(1), Vec::new());
        for node in self.uptime.called.iter().filter(|node| **node != self.me) {
            if self.rng.below(every) < elapsed.0 && !self.uptime.asked.contains_key(node) {
                due.push(*node);
            }
        }
        for node in due {
            self.challenge_presence(node);
        }
        if self.uptime.changed && now.since(self.uptime.said) >= SAY_EVERY {
            self.say_seen();
        }
    }

    /// Looks at the last checkpoint, if it is another one. Whether anybody is paid for being there.
    fn begin_roll_call(&mut self) -> bool {
        let Some(bank) = &self.bank else { return false };
        let Some(base) = bank.ledger.base().cloned() else { return false };
        let parameters = bank.ledger.parameters();
        let pays = parameters.get(Parameter::UptimeReward) > 0
            && (parameters.get(Parameter::UptimeShare) > 0 || bank.ledger.fund().micro() > 0);
        let beacon = base.decided.sealed.checkpoint.digest();
        if pays && self.uptime.beacon != Some(beacon) {
            let (mut branches, mut called) = (BTreeSet::new(), base.called());
            called.retain(|node| branches.insert(self.branch_of(node)));
            called.truncate(CALLED_MAX);
            let (called, looked) = (called.into_iter().collect(), self.uptime.looked);
            self.uptime = Uptime { beacon: Some(beacon), called, looked, ..Uptime::default() };
        }
        pays
    }

    fn challenge_presence(&mut self, node: NodeId) {
        let Some(beacon) = self.uptime.beacon else { return };
        if !self.settings.challenges {
            return self.count_presence(node);
        }
        let number = u64::from_le_bytes(self.rng.bytes());
        self.uptime.asked.insert(node, (number, self.now));
        self.send(node, &Message::RollCall(Box::new(RollCall::Ask { beacon, number })));
    }

    fn count_presence(&mut self, node: NodeId) {
        let count = self.uptime.answered.entry(node).or_default();
        *count = count.saturating_add(1).min(COUNTED_MAX);
        self.uptime.changed = true;
    }

    fn on_here(&mut self, from: NodeId, here: Signed<Here>) {
        let (now, me) = (self.now, self.me);
        let Here { beacon, witness, number } = here.body;
        let asked = self.uptime.asked.get(&from).copied();
        let in_time = asked.is_some_and(|(of, at)| {
            of == number && now.since(at) <= ANSWER_WITHIN && self.uptime.beacon == Some(beacon)
        });
        if in_time
            && here.signer == from
            && witness == me
            && here.open(&mut self.verifier, &self.pool).is_ok()
        {
            self.uptime.asked.remove(&from);
            self.count_presence(from);
        }
    }

    /// Tells the other witnesses what this one counted; with every agreement, too, so that its proposers know.
    pub(super) fn say_seen(&mut self) {
        let Some(beacon) = self.uptime.beacon else { return };
        let Some(set) = self.bank.as_ref().map(|bank| bank.ledger.witness_set().clone()) else {
            return;
        };
        (self.uptime.said, self.uptime.changed) = (self.now, false);
        let answered = self.uptime.answered.iter().map(|(node, count)| (*node, *count)).collect();
        let body = Seen { version: set.version, beacon, answered };
        let seen = Signed::seal(body, &self.key, &self.pool);
        self.uptime.seen.insert(self.me, seen.clone());
        let me = self.me;
        for witness in set.members.iter().filter(|witness| **witness != me) {
            self.send(*witness, &Message::Seen(Box::new(seen.clone())));
        }
    }

    pub(super) fn on_seen(&mut self, from: NodeId, seen: Signed<Seen>) {
        let Some(set) = self.bank.as_ref().map(|bank| bank.ledger.witness_set()) else { return };
        let Seen { version, beacon, .. } = seen.body;
        let fits = seen.signer == from && set.contains(&from) && version == set.version;
        let known = self.uptime.seen.get(&from).is_some_and(|known| *known == seen);
        if fits
            && !known
            && self.uptime.beacon == Some(beacon)
            && seen.open(&mut self.verifier, &self.pool).is_ok()
        {
            self.uptime.seen.insert(from, seen);
        }
    }

    /// What a checkpoint is to say of who was there: nothing, or what a quorum saw.
    pub(super) fn seen_resolutions(&self) -> Vec<Signed<Seen>> {
        let quorum = self.bank.as_ref().map_or(usize::MAX, |b| b.ledger.witness_set().quorum());
        let seen: Vec<Signed<Seen>> = self.uptime.seen.values().cloned().collect();
        let enough = seen.len() >= quorum && !counted(&seen).is_empty();
        if enough { seen } else { Vec::new() }
    }

    // The member.

    pub(super) fn on_roll_call(&mut self, from: NodeId, call: RollCall) {
        let set = self.bank.as_ref().map(|bank| bank.ledger.witness_set());
        match call {
            RollCall::Ask { beacon, number } if set.is_some_and(|set| set.contains(&from)) => {
                let body = Here { beacon, witness: from, number };
                let here = Signed::seal(body, &self.key, &self.pool);
                self.send(from, &Message::RollCall(Box::new(RollCall::Here(here))));
            }
            RollCall::Ask { .. } => {}
            RollCall::Here(here) => self.on_here(from, here),
        }
    }
}
