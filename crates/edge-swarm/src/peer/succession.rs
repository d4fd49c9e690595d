//! Keys that gave their place to another: which successions stand, and what follows from them (docs/adr/0032).
//!
//! What follows is a function of three sets that only grow: successions, revocations and memberships. Nothing in
//! it depends on which was heard first, so all members that heard the same come to the same. Whoever has a key
//! can end what rests on it, by a revocation or a second succession, and nothing gives another what was its heir's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge_base::{Digest, NodeId};

use super::{
    Peer, Stored, decode_stored,
    membership::{MEMBERS_MAX, Members},
};
use crate::{
    event::Event,
    io::{Output, Table},
    message::{Gossip, MemberRecord, Message},
    succession::{CHAIN_MAX, SuccessionRecord},
};

/// Before the stored key of a succession, in the table of the pool.
const SUCCESSION: &[u8] = b"succession";
/// Successions of nodes that are not known here, until they are; the oldest goes. Anybody can make such.
const EARLY_MAX: usize = 1_024;
/// Different successions of one key that are kept: two void each other, more say nothing new.
const OF_ONE_MAX: usize = 2;
/// Keys of one line that are looked at, also where successions of it are void.
const KIN_MAX: usize = 4 * CHAIN_MAX;

/// What is known of successions.
#[derive(Debug, Default)]
pub(crate) struct Successions {
    /// By the key that goes.
    all: BTreeMap<NodeId, Vec<SuccessionRecord>>,
    early: VecDeque<SuccessionRecord>,
    /// Heirs that take the place of another, with the keys before, nearest first: down to one that was invited.
    lines: BTreeMap<NodeId, Vec<NodeId>>,
    /// Who took whose place.
    next: BTreeMap<NodeId, NodeId>,
    /// By an heir, of whom it is one: also where that is void, for the tree of invitations.
    above: BTreeMap<NodeId, NodeId>,
}

impl Successions {
    /// Whether a key gave its place away, to whomever: it is believed no more.
    pub(crate) fn gave_up(&self, node: &NodeId) -> bool {
        self.all.contains_key(node)
    }

    /// Who has the place of a key that gave it up, in the end; itself for others, and where that is void.
    pub(crate) fn newest(&self, node: &NodeId) -> NodeId {
        let mut at = *node;
        for _ in 0..=CHAIN_MAX {
            match self.next.get(&at) {
                Some(heir) => at = *heir,
                None => break,
            }
        }
        at
    }

    /// The keys before an heir that stands in their place, nearest first.
    pub(crate) fn line(&self, heir: &NodeId) -> Option<&[NodeId]> {
        self.lines.get(heir).map(Vec::as_slice)
    }

    /// Whether a key that gave its place up confirmed that a node is its owner's; true of keys that did not.
    fn confirms(&self, by: &NodeId, node: &NodeId) -> bool {
        match self.all.get(by).map(Vec::as_slice) {
            None => true,
            Some([one]) => one.succession.body.own.binary_search(node).is_ok(),
            Some(_) => false,
        }
    }

    /// Every key that is known to be of the same line, the node's own among them.
    fn kin(&self, node: &NodeId) -> Vec<NodeId> {
        let mut kin = vec![*node];
        if self.all.is_empty() {
            return kin;
        }
        let mut at = 0;
        while at < kin.len() && kin.len() < KIN_MAX {
            let one = kin[at];
            let heirs = self.all.get(&one).into_iter().flatten().map(SuccessionRecord::heir);
            for other in heirs.chain(self.above.get(&one).copied()) {
                if !kin.contains(&other) {
                    kin.push(other);
                }
            }
            at += 1;
        }
        kin
    }

    /// Stands for all that is known in a greeting.
    pub(super) fn sum(&self) -> u64 {
        let number = |(old, records): (&NodeId, &Vec<SuccessionRecord>)| {
            let one = match records.as_slice() {
                [one] => Some(one.digest()),
                _ => None,
            };
            Digest::of_value("succession", &(old, one)).prefix_u64()
        };
        self.all.iter().fold(0, |sum, entry| sum ^ number(entry))
    }

    fn records(&self) -> impl Iterator<Item = &SuccessionRecord> {
        self.all.values().flatten()
    }

    /// What grows here, with its bounds.
    pub(super) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("keys that gave their place up", self.all.len(), MEMBERS_MAX + 1);
        add("successions of nodes unknown", self.early.len(), EARLY_MAX);
    }
}

impl Members {
    /// The one that was invited, of the line of an heir; a node that is none is its own.
    pub(super) fn root(&self, node: &NodeId) -> NodeId {
        let mut at = *node;
        for _ in 0..=CHAIN_MAX {
            if self.branches.inviter(&at).is_some() {
                break;
            }
            match self.successions.above.get(&at) {
                Some(old) => at = *old,
                None => break,
            }
        }
        at
    }

    /// The keys of one line count as one for what they invited and answer for.
    pub(super) fn kin(&self, node: &NodeId) -> Vec<NodeId> {
        self.successions.kin(node)
    }

    /// Whether a key is believed no more: it is revoked, or gave its place up.
    pub(super) fn is_dead(&self, node: &NodeId) -> bool {
        self.revoked.contains(node) || self.successions.gave_up(node)
    }

    /// Whether it can be told when a key said whose a node is: not of one that is revoked, and of one that gave
    /// its place up what it confirmed then.
    pub(super) fn is_confirmed(&self, by: &NodeId, node: &NodeId) -> bool {
        !self.revoked.contains(by) && self.successions.confirms(by, node)
    }

    /// Which successions stand. One does if it is the only one of its key, no key before was revoked, the heir is
    /// that of one key only, and somebody was invited at most [`CHAIN_MAX`] steps before.
    fn judge_successions(&mut self) {
        let mut of_heir: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        let mut above: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        for (old, records) in &self.successions.all {
            for record in records {
                above.entry(record.heir()).or_insert(*old);
            }
            if let [one] = records.as_slice() {
                of_heir.entry(one.heir()).or_default().push(*old);
            }
        }
        let before = |heir: &NodeId| match of_heir.get(heir).map(Vec::as_slice) {
            Some([old]) if !self.revoked.contains(old) && self.founder != Some(*old) => Some(*old),
            _ => None,
        };
        let invited = |node: &NodeId| {
            let own = Some(*node) == self.me && self.membership.is_some();
            own || self.all.get(node).is_some_and(|member| member.membership.is_some())
        };
        let (mut lines, mut next) = (BTreeMap::new(), BTreeMap::new());
        for heir in above.keys().filter(|heir| !invited(heir)) {
            let mut line = Vec::new();
            let mut at = *heir;
            while let Some(old) = before(&at).filter(|_| line.len() < CHAIN_MAX) {
                line.push(old);
                at = old;
                if invited(&old) {
                    next.insert(line[0], *heir);
                    lines.insert(*heir, line);
                    break;
                }
            }
        }
        let successions = &mut self.successions;
        (successions.lines, successions.next, successions.above) = (lines, next, above);
    }
}

impl Peer {
    /// Whether the own key is believed no more, by its own word.
    pub(super) fn gave_up(&self) -> bool {
        self.members.successions.gave_up(&self.me)
    }

    /// Whether this node took the place of another key that nobody voided.
    pub(super) fn stands_as_heir(&self) -> bool {
        self.members.successions.line(&self.me).is_some()
    }

    pub(super) fn restore_successions(&mut self, stored: &Stored) {
        for (key, value) in stored.table(Table::Pool) {
            let rest = key.strip_prefix(SUCCESSION);
            let record: Option<SuccessionRecord> = decode_stored(value);
            if let (Some(_), Some(record)) = (rest, record) {
                self.members.successions.all.entry(record.old()).or_default().push(record);
            }
        }
        self.settle_successions();
    }

    /// A succession that somebody shows.
    pub(super) fn on_succession(&mut self, record: SuccessionRecord) {
        let old = record.old();
        // The founder's key is in the genesis record: a pool without it is another pool.
        if !record.is_well_formed() || self.members.founder() == Some(old) {
            return;
        }
        let of_one = self.members.successions.all.get(&old);
        let full = of_one.is_some_and(|of_one| of_one.len() >= OF_ONE_MAX);
        let known = |known: &SuccessionRecord| known.digest() == record.digest();
        if full || of_one.is_some_and(|of_one| of_one.iter().any(known)) {
            return;
        }
        if old != self.me && self.members.get(&old).is_none() {
            // Neither verified nor passed on: anybody can make up keys.
            let early = &mut self.members.successions.early;
            if !early.contains(&record) {
                if early.len() >= EARLY_MAX {
                    early.pop_front();
                }
                early.push_back(record);
            }
            return;
        }
        if !record.holds(&mut self.verifier, &self.pool) {
            return;
        }
        self.take_succession(record);
    }

    /// One that holds and is new.
    pub(super) fn take_succession(&mut self, record: SuccessionRecord) {
        let (old, heir) = (record.old(), record.heir());
        let digest = record.digest();
        let key = [SUCCESSION, old.0.as_slice(), digest.0.as_slice()].concat();
        self.persist(Table::Pool, &key, &record);
        let of_one = self.members.successions.all.entry(old).or_default();
        of_one.push(record);
        let first = of_one.len() == 1;
        self.event(Event::Succeeded { old, heir });
        if first && old != self.me {
            self.close_sessions(&old);
            self.on_disconnected(old);
            self.tell_its_end(old);
        }
        self.settle_successions();
    }

    /// A member became known that may have given its place up before.
    pub(super) fn succeed_early(&mut self, node: &NodeId) {
        let early = &mut self.members.successions.early;
        let (of_it, others) = early.drain(..).partition(|record| record.old() == *node);
        *early = others;
        let of_it: VecDeque<SuccessionRecord> = of_it;
        of_it.into_iter().for_each(|record| self.on_succession(record));
    }

    /// Brings everything that rests on successions in line with what is known of them.
    pub(super) fn settle_successions(&mut self) {
        if self.members.successions.all.is_empty() {
            return;
        }
        self.members.judge_successions();
        let heirs: BTreeSet<NodeId> =
            self.members.successions.records().map(SuccessionRecord::heir).collect();
        let me = self.me;
        for heir in heirs.iter().filter(|heir| **heir != me) {
            match self.members.successions.line(heir) {
                Some(line) => {
                    let line = line.to_vec();
                    self.admit_heir(*heir, &line);
                }
                None => self.dismiss_heir(heir),
            }
        }
        if heirs.contains(&self.me) && !self.is_admitted() {
            self.settings.works = false;
        }
        self.name_heirs();
        for heir in heirs {
            self.succeed_early(&heir);
        }
    }

    /// A node was invited that may be an heir, or before one.
    pub(super) fn settle_heir(&mut self, node: &NodeId) {
        let successions = &self.members.successions;
        if successions.above.contains_key(node) || successions.all.contains_key(node) {
            self.settle_successions();
        }
    }

    /// An heir takes the place of the keys before it, with what is known of them.
    fn admit_heir(&mut self, heir: NodeId, line: &[NodeId]) {
        let (Some(old), Some(root)) = (line.first(), line.last()) else { return };
        let group = self.members.get(root).map_or(*root, |member| member.group);
        if self.members.is_member(&heir) {
            return self.members.inherit(&heir, old, group, false);
        }
        let addresses = self.members.get(old).map_or(Vec::new(), |m| m.addresses.clone());
        let record = MemberRecord { membership: None, node: heir, addresses };
        if !self.insert_member(record, true) {
            return;
        }
        self.members.inherit(&heir, old, group, true);
        self.store_reputation(&heir);
        self.event(Event::MemberKnown { node: heir });
        // A ban is of a person, not of a key.
        self.ban_as(heir, old);
        self.revoke_early(&heir);
        self.choose_neighbours();
    }

    /// What made an heir a member is void. It is a stranger then, and may come with a ticket.
    fn dismiss_heir(&mut self, heir: &NodeId) {
        let invited = |member: &super::membership::Member| member.membership.is_some();
        if self.members.get(heir).is_none_or(invited) || self.members.founder() == Some(*heir) {
            return;
        }
        self.close_sessions(heir);
        self.on_disconnected(*heir);
        self.tell_void(heir);
        self.members.remove(heir);
        self.forget(Table::Members, &heir.0);
        self.output(Output::Disconnect { node: *heir });
        self.event(Event::Dismissed { node: *heir });
    }

    /// Tells an heir that is none any more why: what is known of the keys before it.
    pub(super) fn tell_void(&mut self, heir: &NodeId) {
        let mut at = *heir;
        for _ in 0..=CHAIN_MAX {
            let Some(old) = self.members.successions.above.get(&at).copied() else { return };
            let records = self.members.successions.all.get(&old).into_iter().flatten();
            let mut said: Vec<Gossip> =
                records.map(|record| Gossip::Succession(Box::new(record.clone()))).collect();
            said.extend(self.members.revoked.of(&old).cloned().map(Gossip::Revocation));
            for gossip in said {
                let frame = crate::message::encode_gossip(&gossip);
                self.output(Output::Send { to: *heir, frame });
            }
            at = old;
        }
    }

    /// What names a key names who took its place: faults are not left behind.
    pub(super) fn name_heirs(&mut self) {
        let records = self.members.successions.records();
        let mut pairs: Vec<(NodeId, NodeId)> = records.map(|r| (r.old(), r.heir())).collect();
        for _ in 0..=CHAIN_MAX {
            let before = pairs.len();
            let mut named = Vec::new();
            pairs.retain(|(old, heir)| {
                let follows = self.faults.names(old);
                if follows && !self.faults.names(heir) {
                    named.push(*heir);
                }
                !follows
            });
            for heir in named {
                self.faults.name(heir);
                self.blame_member(&heir);
            }
            if pairs.len() == before {
                break;
            }
        }
    }

    fn blame_member(&mut self, node: &NodeId) {
        if let Some(member) = self.members.get_mut(node) {
            member.faults += 1;
            self.store_reputation(node);
            self.drop_liar(*node);
        }
    }

    /// Tells a node that greets of all successions.
    pub(super) fn tell_successions(&mut self, to: NodeId) {
        let all: Vec<_> = self.members.successions.records().cloned().collect();
        for record in all {
            self.publish_to(to, &Gossip::Succession(Box::new(record)));
        }
    }

    /// One succession of a key that gave its place up.
    pub(super) fn succession_of(&self, old: &NodeId) -> Option<Gossip> {
        let record = self.members.successions.all.get(old)?.first()?;
        Some(Gossip::Succession(Box::new(record.clone())))
    }

    /// What an heir says before it greets who may not know it.
    pub(super) fn own_succession(&self) -> Option<Message> {
        let line = self.members.successions.line(&self.me)?;
        let records = |old: &NodeId| Some(self.members.successions.all.get(old)?.first()?.clone());
        let chain: Option<Vec<SuccessionRecord>> = line.iter().rev().map(records).collect();
        let root = self.member_record(line.last()?)?;
        Some(Message::Heir { root: Box::new(root), chain: chain? })
    }

    /// An heir shows by which steps it is one: from who was invited to itself.
    pub(super) fn on_heir(
        &mut self,
        from: NodeId,
        root: MemberRecord,
        chain: Vec<SuccessionRecord>,
    ) {
        let continues = chain.windows(2).all(|pair| pair[0].heir() == pair[1].old());
        let ends = chain.first().is_some_and(|first| first.old() == root.node)
            && chain.last().is_some_and(|last| last.heir() == from);
        if !continues || !ends || self.members.is_member(&from) {
            return;
        }
        // Where it is, is nobody's statement.
        let root = MemberRecord { addresses: Vec::new(), ..root };
        if self.learn_member(root, None) {
            chain.into_iter().for_each(|record| self.on_succession(record));
        }
    }
}
