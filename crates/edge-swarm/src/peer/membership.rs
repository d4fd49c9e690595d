//! Who belongs to the pool: tickets, greetings, adverts and what is known about each member.
//!
//! The pool is closed: a member is the founder, or a node that a member vouches for with a signed
//! [`Membership`]. Messages of others are dropped. Adverts say what a member can do and serve as
//! its heartbeat.

mod adverts;
mod invites;
mod neighbours;

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Credits, Digest, Micros, NodeId, RingSet, Signed, TaskKind, Timestamp};
use edge_ledger::{Genesis, Handover};
use serde::{Deserialize, Serialize};

use super::{
    Peer, StartError, Stored, bank::Bank, branches::Branches, decode_stored, revocation::Revoked,
    succession::Successions,
};
use crate::{
    command::PeerView,
    event::Event,
    io::{Output, Table},
    message::{
        Acquaintance, Advert, Gossip, MEMBERS_PER_MESSAGE, MemberRecord, Membership, Message,
    },
    reputation::Promises,
};

/// The most members a peer knows; further ones are refused with a note.
pub(crate) const MEMBERS_MAX: usize = 16_384;
/// The most invitations that wait to be used.
const INVITES_MAX: usize = 4_096;
/// Refused attempts to join that are remembered, so that each is counted once.
const REFUSED_JOINS_MAX: usize = 1_024;
/// How much of a refusal is kept.
const REFUSAL_CHARS_MAX: usize = 300;
/// How long a ticket may be used, counted from when it was made or its writer last started.
const TICKET_LIFE: Micros = Micros::from_secs(7 * 24 * 3_600);
/// Connected nodes that are not members: more push the oldest out, so that they never take all
/// connections. Whoever has a ticket needs its place for one round trip.
const STRANGERS_MAX: usize = 16;
/// Before the stored key of which advert of a member is the newest known: older ones say nothing, also after
/// a restart of this node.
const HEARD: &[u8] = b"heard";
/// Results that must have been checked before a member counts as proven.
pub(crate) const PROVEN_RESULTS: u64 = 10;

/// What the transport said last about a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// Nothing yet: it may be reachable through gossip and on demand.
    Unknown,
    /// A connection stands.
    Up,
    /// The last connection was lost at this time.
    Down(Timestamp),
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) membership: Option<Signed<Membership>>,
    pub(crate) group: NodeId,
    pub(crate) addresses: Vec<String>,
    pub(crate) link: Link,
    pub(crate) advert: Option<Advert>,
    heard_advert: Heard,
    pub(crate) heard: Option<Timestamp>,
    /// Since when nothing is known of it, neither a connection nor a message.
    unheard: Option<Timestamp>,
    pub(crate) faults: u64,
    /// What became of its work, by kind.
    records: BTreeMap<TaskKind, Record>,
}

/// An advert of a member as it is stored: earlier ones are void, and later ones say the same until
/// another one is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Heard {
    life: u64,
    counter: u64,
    /// A digest of what it can do and where it is.
    says: Digest,
}

impl Heard {
    fn of(advert: &Advert) -> Heard {
        let says = Digest::of_value("heard", &(advert.works, &advert.pins, &advert.addresses));
        Heard { life: advert.life, counter: advert.counter, says }
    }
}

/// What became of the work of one member at one kind of task.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Record {
    /// Results that were checked and held.
    checked: u64,
    promises: Promises,
}

/// Members by id, in admission order for others' benefit.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pub(super) all: BTreeMap<NodeId, Member>,
    order: Vec<NodeId>,
    pub(super) branches: Branches,
    /// Keys that are believed no more.
    pub(super) revoked: Revoked,
    /// Keys that gave their place to another.
    pub(super) successions: Successions,
    pub(super) me: Option<NodeId>,
    /// The sum of [`Acquaintance`] without this node.
    sum: u64,
    /// Whether neighbours are chosen anew in a moment.
    choosing: bool,
    /// Connected members that have not answered a greeting.
    ungreeted: BTreeSet<NodeId>,
    /// Connected nodes that are not members, and since when.
    strangers: BTreeMap<NodeId, Timestamp>,
    /// What the writer of the ticket said last instead of a welcome.
    pub(super) refused: Option<String>,
    invites: BTreeMap<Digest, Invite>,
    /// Who came with a ticket that admits nobody, lately.
    refused_joins: RingSet<Digest, REFUSED_JOINS_MAX>,
    advert_counter: u64,
    pub(super) founder: Option<NodeId>,
    group: Option<NodeId>,
    pub(super) membership: Option<Signed<Membership>>,
    /// Of the key that was invited, where this one took its place.
    inherited: Option<Signed<Membership>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Invite {
    owner: bool,
    credits: Credits,
    /// When it was made; the start of this process for one of an earlier process, whose clock had
    /// another origin.
    #[serde(skip)]
    made: u64,
    used_by: Option<NodeId>,
}

impl Invite {
    /// Whether somebody may still come with its ticket.
    fn is_open(&self, now: Timestamp) -> bool {
        self.used_by.is_none() && now.since(Timestamp(self.made)) < TICKET_LIFE
    }
}

impl Member {
    /// Over all kinds of work.
    fn reliability(&self, now: Timestamp) -> f64 {
        let mut all = self.records.values().map(|record| record.promises.at(now));
        // Of most members nothing is known, and the bound takes a while to find.
        let Some(first) = all.next() else { return 0.0 };
        all.fold(first, |sum, one| sum.and(&one)).lower_bound()
    }

    fn checked(&self) -> u64 {
        self.records.values().fold(0, |sum, record| sum + record.checked)
    }
}

/// Counts that survive a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Reputation {
    faults: u64,
    records: BTreeMap<TaskKind, Record>,
}

impl Members {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("members", self.all.len(), MEMBERS_MAX + 1);
        add("invitations", self.invites.len(), INVITES_MAX);
        add("strangers", self.strangers.len(), STRANGERS_MAX);
        add("refused joins", self.refused_joins.len(), REFUSED_JOINS_MAX);
        self.branches.hold(add);
        self.revoked.hold(add);
        self.successions.hold(add);
    }

    pub(crate) fn is_member(&self, node: &NodeId) -> bool {
        self.all.contains_key(node)
    }

    pub(crate) fn get(&self, node: &NodeId) -> Option<&Member> {
        self.all.get(node)
    }

    pub(crate) fn get_mut(&mut self, node: &NodeId) -> Option<&mut Member> {
        self.all.get_mut(node)
    }

    /// Everybody but this node.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Member)> {
        self.all.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Members whose keys are believed.
    pub(crate) fn living(&self) -> usize {
        self.all.keys().filter(|node| !self.is_dead(node)).count()
    }

    /// Whether every member is connected and has greeted.
    pub(crate) fn all_are_met(&self) -> bool {
        let met = |node: &NodeId, member: &Member| {
            matches!(member.link, Link::Up) && !self.ungreeted.contains(node)
        };
        self.all.iter().all(|(node, member)| self.is_dead(node) || met(node, member))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn heard(&mut self, node: &NodeId, now: Timestamp) {
        if let Some(member) = self.all.get_mut(node) {
            member.heard = Some(now);
            if matches!(member.link, Link::Down(_)) {
                member.link = Link::Unknown;
            }
        }
    }

    /// Whether messages to the node have a chance.
    pub(crate) fn is_reachable(&self, node: &NodeId) -> bool {
        self.all.get(node).is_some_and(|m| !matches!(m.link, Link::Down(_)))
    }

    /// Results of a member, of every kind, that were checked and held.
    pub(crate) fn checked(&self, node: &NodeId) -> u64 {
        self.all.get(node).map_or(0, Member::checked)
    }

    /// The same of one kind.
    pub(crate) fn checked_of(&self, node: &NodeId, kind: TaskKind) -> u64 {
        let record = self.all.get(node).and_then(|member| member.records.get(&kind));
        record.map_or(0, |record| record.checked)
    }

    /// What to expect of a member's next promise of a kind.
    pub(crate) fn promises(&self, node: &NodeId, kind: TaskKind, now: Timestamp) -> Promises {
        let record = self.all.get(node).and_then(|member| member.records.get(&kind));
        record.map_or(Promises::default(), |record| record.promises.at(now))
    }

    /// A member kept a promise to work, or did not; `checked`: its result was, and held.
    pub(crate) fn note(
        &mut self,
        node: &NodeId,
        kind: TaskKind,
        kept: bool,
        checked: bool,
        now: Timestamp,
    ) {
        if let Some(member) = self.all.get_mut(node) {
            let record = member.records.entry(kind).or_default();
            record.promises.note(kept, now);
            record.checked += u64::from(checked);
        }
    }

    /// The first node of this node's group.
    pub(super) fn own_group(&self) -> Option<NodeId> {
        self.group
    }

    /// Who invited this node.
    pub(super) fn own_inviter(&self) -> Option<NodeId> {
        self.own_statement().map(|signed| signed.signer)
    }

    /// The statement about this node, or about the key whose place it took.
    fn own_statement(&self) -> Option<&Signed<Membership>> {
        self.membership.as_ref().or(self.inherited.as_ref())
    }

    /// An heir has the group and the record of the key before.
    pub(super) fn inherit(&mut self, heir: &NodeId, old: &NodeId, group: NodeId, fresh: bool) {
        let records = self.all.get(old).map(|member| member.records.clone());
        if let Some(member) = self.all.get_mut(heir) {
            member.group = group;
            if fresh {
                member.records = records.unwrap_or_default();
            }
        }
    }

    /// Tickets that nobody used are void.
    pub(super) fn drop_open_invites(&mut self) -> Vec<Digest> {
        let open = self.invites.iter().filter(|(_, invite)| invite.used_by.is_none());
        let open: Vec<Digest> = open.map(|(ticket, _)| *ticket).collect();
        for ticket in &open {
            self.invites.remove(ticket);
        }
        open
    }

    /// Forgets a member whose standing ended.
    pub(super) fn remove(&mut self, node: &NodeId) {
        if self.all.remove(node).is_some() {
            self.order.retain(|known| known != node);
            self.sum ^= acquaintance_hash(node);
            self.ungreeted.remove(node);
        }
    }

    /// What a member proved counts no more.
    pub(super) fn unprove(&mut self, node: &NodeId) {
        if let Some(member) = self.all.get_mut(node) {
            member.records.values_mut().for_each(|record| record.checked = 0);
        }
    }

    /// The statement by which this node belongs to the pool.
    pub(super) fn own_membership(&self) -> Option<&Signed<Membership>> {
        self.membership.as_ref()
    }

    pub(crate) fn founder(&self) -> Option<NodeId> {
        self.founder
    }

    /// Whether results of the node may count towards a replication factor.
    pub(crate) fn is_proven(&self, node: &NodeId) -> bool {
        self.founder == Some(*node) || self.checked(node) >= PROVEN_RESULTS
    }

    /// Whether a key is revoked, or belongs to an owner by the word of a revoked one.
    pub(super) fn is_of_revoked(&self, node: &NodeId) -> bool {
        let root = self.root(node);
        let by = self.branches.inviter(&root);
        self.revoked.contains(node) || by.is_some_and(|by| !self.is_confirmed(&by, &root))
    }

    /// Nodes of one owner trust each other.
    pub(crate) fn is_trusted(&self, node: &NodeId) -> bool {
        match (self.all.get(node), self.group) {
            (Some(member), Some(group)) => {
                member.group == group && member.faults == 0 && !self.is_of_revoked(node)
            }
            (Some(_) | None, None) | (None, Some(_)) => false,
        }
    }
}

impl Peer {
    pub(super) fn restore_members(&mut self, stored: &Stored) -> Result<(), StartError> {
        let founder = self.bank.as_ref().map(|b| b.ledger.genesis().founder);
        self.members.founder = founder;
        self.members.me = Some(self.me);
        let mut before = None;
        if let Some(bytes) = stored.get(Table::Pool, b"membership") {
            let signed: Signed<Membership> =
                decode_stored(bytes).ok_or(StartError::Damaged { table: "pool" })?;
            self.members.group = Some(signed.body.group);
            if signed.body.node == self.me {
                self.members.membership = Some(signed);
            } else {
                // This node's key took the place of that one.
                before = Some(signed.clone());
                self.members.inherited = Some(signed);
            }
        } else if founder == Some(self.me) {
            self.members.group = Some(self.me);
        }
        if let Some(founder) = founder {
            self.insert_founder(founder, Vec::new());
        }
        if let Some(signed) = before {
            let node = signed.body.node;
            let record = MemberRecord { membership: Some(signed), node, addresses: Vec::new() };
            self.insert_member(record, false);
        }
        let mut records: Vec<(u64, MemberRecord)> = Vec::new();
        for (_, value) in stored.table(Table::Members) {
            records.push(decode_stored(value).ok_or(StartError::Damaged { table: "members" })?);
        }
        records.sort_by_key(|(place, _)| *place);
        for (_, record) in records {
            self.insert_member(record, false);
        }
        for (key, value) in stored.table(Table::Reputation) {
            let node = <[u8; 32]>::try_from(key.as_slice()).map(NodeId);
            let counts: Option<Reputation> = decode_stored(value);
            if let (Ok(node), Some(counts)) = (node, counts)
                && let Some(member) = self.members.all.get_mut(&node)
            {
                member.records = counts.records;
            }
        }
        for (key, value) in stored.table(Table::Pool) {
            let node = key.strip_prefix(HEARD).and_then(|id| <[u8; 32]>::try_from(id).ok());
            if let (Some(node), Some(heard)) = (node.map(NodeId), decode_stored(value))
                && let Some(member) = self.members.all.get_mut(&node)
            {
                member.heard_advert = heard;
            }
        }
        for (key, value) in stored.table(Table::Invites) {
            let hash = <[u8; 32]>::try_from(key.as_slice()).map(Digest);
            if let (Ok(hash), Some(invite)) = (hash, decode_stored(value)) {
                self.members.invites.insert(hash, invite);
            }
        }
        self.keep_neighbours();
        Ok(())
    }

    fn insert_founder(&mut self, founder: NodeId, addresses: Vec<String>) {
        let record = MemberRecord { membership: None, node: founder, addresses };
        self.insert_member(record, false);
    }

    /// Adds a member whose statement holds. Returns whether it is new.
    pub(super) fn insert_member(&mut self, record: MemberRecord, store: bool) -> bool {
        let MemberRecord { membership, node, addresses } = record;
        if node == self.me || self.members.all.len() >= MEMBERS_MAX {
            return false;
        }
        if let Some(known) = self.members.all.get_mut(&node) {
            if !addresses.is_empty() && known.addresses != addresses {
                known.addresses = addresses;
                self.store_member(&node);
            }
            return false;
        }
        let group = membership.as_ref().map_or(node, |m| m.body.group);
        if let Some(signed) = &membership {
            self.members.branches.insert(node, signed.signer);
        }
        let member = Member {
            membership,
            group,
            addresses,
            link: Link::Unknown,
            advert: None,
            heard_advert: Heard::default(),
            heard: None,
            unheard: None,
            faults: 0,
            records: BTreeMap::new(),
        };
        self.members.all.insert(node, member);
        self.members.order.push(node);
        self.members.sum ^= acquaintance_hash(&node);
        if store {
            self.store_member(&node);
        }
        if self.members.strangers.remove(&node).is_some() {
            self.members.ungreeted.insert(node);
            self.link_is_up(&node);
        }
        true
    }

    fn store_member(&mut self, node: &NodeId) {
        let place = self.members.order.iter().position(|n| n == node).unwrap_or(0) as u64;
        let Some(record) = self.member_record(node) else { return };
        self.persist(Table::Members, &node.0, &(place, record));
    }

    pub(super) fn member_record(&self, node: &NodeId) -> Option<MemberRecord> {
        let member = self.members.all.get(node)?;
        let addresses = member.addresses.clone();
        Some(MemberRecord { membership: member.membership.clone(), node: *node, addresses })
    }

    pub(super) fn store_reputation(&mut self, node: &NodeId) {
        if let Some(member) = self.members.all.get(node) {
            let counts = Reputation { faults: member.faults, records: member.records.clone() };
            self.persist(Table::Reputation, &node.0, &counts);
        }
    }

    /// Takes a member's record from anybody; the statement inside must hold. Addresses are nobody's
    /// statement: those of a member that is known are taken from itself alone.
    pub(super) fn learn_member(&mut self, record: MemberRecord, from: Option<NodeId>) -> bool {
        if record.node == self.me || self.bank.is_none() {
            return false;
        }
        if self.members.is_member(&record.node) {
            self.learn_own_membership(&record);
            if from == Some(record.node) {
                self.insert_member(record, true);
            }
            return true;
        }
        let holds = match &record.membership {
            None => self.members.founder == Some(record.node),
            Some(signed) if !self.may_invite(&signed.signer) => {
                if self.members.is_member(&signed.signer) {
                    self.members.branches.remember_surplus(signed.clone());
                }
                false
            }
            Some(signed) => self.membership_holds(signed, &record.node),
        };
        if !holds {
            return false;
        }
        let node = record.node;
        let fresh = self.insert_member(record, true);
        if fresh {
            self.event(Event::MemberKnown { node });
            self.revoke_early(&node);
            self.succeed_early(&node);
            self.settle_heir(&node);
            self.choose_neighbours();
        }
        true
    }

    /// An heir may be invited itself: then it does not rest on the keys before it.
    fn learn_own_membership(&mut self, record: &MemberRecord) {
        let node = record.node;
        let without = self.members.get(&node).is_some_and(|member| member.membership.is_none());
        let Some(signed) = record.membership.as_ref().filter(|_| without) else { return };
        let founder = self.members.founder == Some(node);
        if founder || !self.may_invite(&signed.signer) || !self.membership_holds(signed, &node) {
            return;
        }
        self.members.branches.insert(node, signed.signer);
        if let Some(member) = self.members.all.get_mut(&node) {
            member.group = signed.body.group;
            member.membership = Some(signed.clone());
        }
        self.store_member(&node);
        self.settle_heir(&node);
    }

    fn membership_holds(&mut self, signed: &Signed<Membership>, node: &NodeId) -> bool {
        let inviter = signed.signer;
        let inviter_known = inviter == self.me
            || self.members.founder == Some(inviter)
            || self.members.is_member(&inviter);
        // A group is its inviter's or the newcomer's own: nobody is put into a third party's.
        let inviter_group = if inviter == self.me {
            self.members.group
        } else {
            self.members.get(&inviter).map(|m| m.group).or(Some(inviter))
        };
        let group = signed.body.group;
        signed.body.node == *node
            && inviter_known
            && (group == *node || Some(group) == inviter_group)
            && node.check().is_ok()
            && signed.open(&mut self.verifier, &self.pool).is_ok()
    }

    /// Whether there is use in asking a member for something: it may be there, and what is said to it
    /// and by it is not dropped here.
    pub(super) fn may_answer(&self, node: &NodeId) -> bool {
        self.members.is_reachable(node) && !self.is_shut_out(node)
    }

    fn acquaintance(&self) -> Acquaintance {
        let count = self.members.all.len() as u64 + 1;
        let revoked = self.members.revoked.nodes();
        let hash = |node| Digest::of_value("revoked", node).prefix_u64();
        let revoked = revoked.fold(self.members.successions.sum(), |sum, node| sum ^ hash(node));
        Acquaintance { count, sum: self.members.sum ^ acquaintance_hash(&self.me) ^ revoked }
    }

    fn greet(&mut self, node: NodeId) {
        if let Some(heir) = self.own_succession() {
            self.send(node, &heir);
        }
        let join = match (&self.bank, &self.ticket) {
            (None, Some(ticket)) if ticket.inviter == node => Some(ticket.secret),
            _ => None,
        };
        let hello = Message::Hello {
            pool: self.pool,
            membership: self.members.membership.clone(),
            join,
            addresses: self.settings.addresses.clone(),
            known: self.acquaintance(),
        };
        self.send(node, &hello);
    }

    pub(super) fn on_hello(
        &mut self,
        from: NodeId,
        pool: Digest,
        membership: Option<Signed<Membership>>,
        join: Option<[u8; 16]>,
        addresses: Vec<String>,
        theirs: Acquaintance,
    ) {
        let Some(bank) = &self.bank else { return };
        if pool != self.pool {
            let reason = format!(
                "this node belongs to the pool {}, not {}",
                self.pool.short(),
                pool.short()
            );
            self.send(from, &Message::Refused { reason });
            return;
        }
        let (genesis, handover) = (bank.ledger.genesis().clone(), bank.handover.clone());
        let mut admitted = None;
        let record = MemberRecord { membership, node: from, addresses: addresses.clone() };
        let known = self.learn_member(record, Some(from)) || self.members.is_member(&from);
        if !known {
            let Some(secret) = join else {
                self.tell_void(&from);
                let reason = String::from("not a member: join with a ticket");
                self.send(from, &Message::Refused { reason });
                return;
            };
            match self.admit(from, secret, addresses) {
                Ok(signed) => admitted = Some(signed),
                Err(reason) => {
                    self.send(from, &Message::Refused { reason });
                    return;
                }
            }
        } else if join.is_some() {
            // A newcomer that asks again did not get its membership: give it once more.
            admitted = self.members.get(&from).and_then(|m| m.membership.clone());
        }
        let now = self.now;
        self.link_is_up(&from);
        if let Some(member) = self.members.all.get_mut(&from) {
            member.heard = Some(now);
            self.members.ungreeted.remove(&from);
        }
        let advert = self.own_advert();
        let membership = self.members.membership.clone();
        let addresses = self.settings.addresses.clone();
        let mut records = vec![MemberRecord { membership, node: self.me, addresses }];
        // In a large pool everybody greets dozens: a list of all each time would be most traffic.
        if theirs != self.acquaintance() {
            let others = self.members.order.iter().filter(|node| **node != from);
            records.extend(others.filter_map(|node| self.member_record(node)));
        }
        let mut chunks = records.chunks(MEMBERS_PER_MESSAGE);
        let first = chunks.next().unwrap_or(&[]).to_vec();
        let membership = admitted;
        let welcome = Message::Welcome { genesis, handover, membership, members: first, advert };
        self.send(from, &welcome);
        for chunk in chunks.map(<[MemberRecord]>::to_vec).collect::<Vec<_>>() {
            for record in chunk {
                self.publish_to(from, &Gossip::Member(record));
            }
        }
        self.tell_revoked(from);
        self.tell_successions(from);
        self.tell_collections(from);
        self.tell_faults(from);
        self.tell_equivocations(from);
        self.tell_overdrafts(from);
        self.tell_contests(from);
        self.tell_promises(from);
        self.announce_replicas(Some(from));
    }

    /// Sends gossip to one node, as if it had heard it.
    pub(super) fn publish_to(&mut self, to: NodeId, gossip: &Gossip) {
        if !self.is_shut_out(&to) {
            let frame = crate::message::encode_gossip(gossip);
            self.output(Output::Send { to, frame });
        }
    }

    pub(super) fn on_welcome(
        &mut self,
        from: NodeId,
        genesis: Genesis,
        handover: Option<Signed<Handover>>,
        membership: Option<Signed<Membership>>,
        members: Vec<MemberRecord>,
        advert: Signed<Advert>,
    ) {
        if genesis.hash() != self.pool {
            return;
        }
        if self.bank.is_none() {
            let expected = self.ticket.as_ref().is_some_and(|t| t.inviter == from);
            if !expected || genesis.validate().is_err() {
                return;
            }
            self.persist(Table::Pool, b"genesis", &genesis);
            self.members.founder = Some(genesis.founder);
            self.bank = Some(Bank::new(genesis.clone()));
            self.insert_founder(genesis.founder, Vec::new());
        }
        for record in members {
            self.learn_member(record, None);
        }
        if let Some(signed) = membership
            && self.members.membership.is_none()
            && signed.body.node == self.me
            && self.membership_of_mine_holds(&signed)
        {
            self.persist(Table::Pool, b"membership", &signed);
            self.members.group = Some(signed.body.group);
            self.members.membership = Some(signed);
            self.members.refused = None;
            self.event(Event::Joined { pool: self.pool });
            self.keep_neighbours();
            self.on_advert_timer();
        }
        let now = self.now;
        self.link_is_up(&from);
        if let Some(member) = self.members.all.get_mut(&from) {
            self.members.ungreeted.remove(&from);
            member.heard = Some(now);
        }
        if let Some(handover) = handover {
            self.on_handover(handover);
        }
        self.on_advert(advert);
        self.tell_promises(from);
        self.announce_replicas(Some(from));
    }

    fn membership_of_mine_holds(&mut self, signed: &Signed<Membership>) -> bool {
        let known =
            self.members.founder == Some(signed.signer) || self.members.is_member(&signed.signer);
        known && signed.open(&mut self.verifier, &self.pool).is_ok()
    }

    pub(super) fn on_refused(&mut self, from: NodeId, reason: String) {
        let reason: String = reason.chars().take(REFUSAL_CHARS_MAX).collect();
        if self.members.refused.as_ref() == Some(&reason) {
            return;
        }
        if !self.is_admitted() && self.ticket.as_ref().is_some_and(|t| t.inviter == from) {
            self.members.refused = Some(reason.clone());
        }
        self.note(format!("{} does not let this node in: {reason}", from.short()));
    }

    /// Whether this node is a member itself.
    pub(super) fn is_admitted(&self) -> bool {
        self.members.membership.is_some()
            || self.members.founder == Some(self.me)
            || self.stands_as_heir()
    }

    pub(super) fn peer_views(&self) -> Vec<PeerView> {
        let set = self.bank.as_ref().map(|b| b.ledger.witness_set());
        let view = |node: &NodeId, member: Option<&Member>| PeerView {
            node: *node,
            connected: member.is_some_and(|m| matches!(m.link, Link::Up)),
            addresses: member.map_or(Vec::new(), |m| m.addresses.clone()),
            same_owner: self.members.is_trusted(node),
            witness: set.is_some_and(|s| s.contains(node)),
            checked: member.map_or(0, Member::checked),
            reliability: member.map_or(0.0, |m| m.reliability(self.now)),
            faults: member.map_or(0, |m| m.faults),
            inviter: self.inviter_of(node),
            stake: self.stake_of(node),
            load: member.and_then(|m| m.advert.as_ref()).map_or(0, |a| a.load),
            agent: member
                .and_then(|m| m.advert.as_ref())
                .map_or(String::new(), |a| a.agent.clone()),
            revoked: self.members.is_dead(node),
            replaced_by: Some(self.members.successions.newest(node))
                .filter(|heir| heir != node && !self.members.is_dead(heir)),
            banned: self.standing.banned_for(node, self.now),
            limited: self.standing.limited(node),
        };
        let banned = self.standing.banned(self.now).map(|(node, _, _)| node);
        let strangers = banned.filter(|node| !self.members.is_member(node));
        let members = self.members.iter().map(|(node, member)| view(node, Some(member)));
        members.chain(strangers.map(|node| view(&node, None))).collect()
    }

    /// Members that say they can take a task with this pin, or any work, not named by a fault and thought reachable.
    pub(super) fn eligible_workers(&self, pin: Option<&Digest>) -> Vec<NodeId> {
        self.members
            .iter()
            .filter(|(node, m)| {
                m.faults == 0
                    && !self.members.is_dead(node)
                    && !matches!(m.link, Link::Down(_))
                    && m.advert
                        .as_ref()
                        .is_some_and(|a| a.works && pin.is_none_or(|pin| a.pins.contains(pin)))
            })
            .map(|(node, _)| *node)
            .collect()
    }
}

fn acquaintance_hash(node: &NodeId) -> u64 {
    Digest::of_value("acquaintance", node).prefix_u64()
}
