//! Keys that are believed no more: whoever lost one says so with that key, beforehand or while it still
//! has it, and every member refuses the key from then on, after restarts too (docs/adr/0027).
//!
//! A revoked node stays in the list of members, because others were invited by it and hang on it, and is
//! treated as one that is banned for ever. Whom it invited stays a member; but nobody belongs to an owner by the
//! word of a revoked key, since nobody can tell when that word was given.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge_base::{Micros, NodeId, Signed};

use super::{Peer, Stored, Timer, decode_stored, membership::MEMBERS_MAX};
use crate::{
    command::{Answer, Refusal},
    event::Event,
    io::{CallId, Output, Table},
    message::Gossip,
    revocation::Revocation,
};

/// Before the stored key of a revocation, in the table of the pool.
const REVOKED: &[u8] = b"revoked";
/// Revocations of nodes that are not known here, until they are; the oldest goes. Anybody can make such.
const EARLY_MAX: usize = 1_024;
/// A revoked node has this long to hear of it before its connection is closed.
const TOLD_WITHIN: Micros = Micros::from_secs(2);
/// It is told again when it comes again after this: it may have been restored, or the word was lost.
const TOLD_EVERY: Micros = Micros::from_secs(60);

/// What is known of revoked keys.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    all: BTreeMap<NodeId, Signed<Revocation>>,
    early: VecDeque<Signed<Revocation>>,
    /// Those of them that were told lately ...
    told: BTreeSet<NodeId>,
    /// ... and whose connections the transport refuses since.
    shut: BTreeSet<NodeId>,
}

impl Revoked {
    pub(crate) fn contains(&self, node: &NodeId) -> bool {
        self.all.contains_key(node)
    }

    pub(crate) fn of(&self, node: &NodeId) -> Option<&Signed<Revocation>> {
        self.all.get(node)
    }

    /// By node.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.all.keys()
    }

    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("revoked keys", self.all.len(), MEMBERS_MAX + 1);
        add("revoked nodes that were told", self.told.len(), MEMBERS_MAX + 1);
        add("revocations of nodes unknown", self.early.len(), EARLY_MAX);
    }
}

impl Peer {
    /// Whether nothing is heard of a node and nothing said to it: banned, or its key is revoked or gave its
    /// place to another.
    pub(super) fn is_shut_out(&self, node: &NodeId) -> bool {
        self.members.is_dead(node) || self.standing.is_banned(node, self.now)
    }

    pub(super) fn restore_revoked(&mut self, stored: &Stored) {
        for (key, value) in stored.table(Table::Pool) {
            let node = key.strip_prefix(REVOKED).and_then(|id| <[u8; 32]>::try_from(id).ok());
            let signed: Option<Signed<Revocation>> = decode_stored(value);
            if let (Some(node), Some(signed)) = (node.map(NodeId), signed) {
                // Its connections are closed once it was told.
                self.members.revoked.all.insert(node, signed);
            }
        }
    }

    pub(super) fn on_revocation(&mut self, signed: Signed<Revocation>) {
        let node = signed.body.node;
        let known = node == self.me || self.members.get(&node).is_some();
        // The founder's key is in the genesis record: a pool without it is another pool.
        if signed.signer != node
            || self.members.revoked.contains(&node)
            || self.members.founder() == Some(node)
        {
            return;
        }
        if known {
            if signed.open(&mut self.verifier, &self.pool).is_ok() {
                self.revoke(signed);
            }
            return;
        }
        // Neither verified nor passed on: anybody can make up keys and revoke them.
        let early = &mut self.members.revoked.early;
        if !early.contains(&signed) {
            if early.len() >= EARLY_MAX {
                early.pop_front();
            }
            early.push_back(signed);
        }
    }

    /// A member became known whose key may have been revoked before.
    pub(super) fn revoke_early(&mut self, node: &NodeId) {
        let early = &mut self.members.revoked.early;
        let (of_it, others) = early.drain(..).partition(|signed| signed.body.node == *node);
        *early = others;
        let of_it: VecDeque<_> = of_it;
        of_it.into_iter().for_each(|signed| self.on_revocation(signed));
    }

    fn revoke(&mut self, signed: Signed<Revocation>) {
        let node = signed.body.node;
        self.persist(Table::Pool, &[REVOKED, node.0.as_slice()].concat(), &signed);
        self.members.revoked.all.insert(node, signed);
        self.event(Event::Revoked { node });
        self.settle_successions();
        if node == self.me {
            self.settings.works = false;
            return;
        }
        self.close_sessions(&node);
        self.on_disconnected(node);
        self.tell_its_end(node);
    }

    /// Tells a node that its own key is revoked or gave its place up, then closes the connection and refuses others for a while.
    /// Somebody else may have handed the revocation in: without this its owner would see a node that
    /// finds nobody, and never why. Nothing that it says is heard meanwhile.
    pub(super) fn tell_its_end(&mut self, node: NodeId) {
        let revoked = self.members.revoked.all.get(&node).cloned().map(Gossip::Revocation);
        let Some(end) = revoked.or_else(|| self.succession_of(&node)) else { return };
        if node == self.me || !self.members.revoked.told.insert(node) {
            return;
        }
        let frame = crate::message::encode_gossip(&end);
        self.output(Output::Send { to: node, frame });
        self.after(TOLD_WITHIN, Timer::Revoked(node));
    }

    /// A revoked node was told, or was refused for long enough to be told again.
    pub(super) fn on_revoked_timer(&mut self, node: NodeId) {
        if !self.members.is_dead(&node) {
            return;
        }
        if self.members.revoked.shut.insert(node) {
            self.output(Output::Ban { node });
            self.after(TOLD_EVERY, Timer::Revoked(node));
            return;
        }
        self.members.revoked.shut.remove(&node);
        self.members.revoked.told.remove(&node);
        if !self.standing.is_banned(&node, self.now) {
            self.output(Output::Unban { node });
        }
    }

    /// Tells a node that greets of all revoked keys.
    pub(super) fn tell_revoked(&mut self, to: NodeId) {
        let all: Vec<_> = self.members.revoked.all.values().cloned().collect();
        for signed in all {
            self.publish_to(to, &Gossip::Revocation(signed));
        }
    }

    /// A caller hands in a revocation, its own or that of another node.
    pub(super) fn revoke_by_hand(&mut self, call: CallId, signed: Signed<Revocation>) {
        let node = signed.body.node;
        let refused = |text: &str| Err(Refusal::Refused(text.into()));
        let answer = if self.members.founder() == Some(node) {
            refused(
                "the founder's key is part of the pool and cannot be revoked; found another pool and \
                 invite its members",
            )
        } else if node != self.me && self.members.get(&node).is_none() {
            let text =
                format!("{} is no member of this pool, as far as is known here", node.short());
            Err(Refusal::NotFound(text))
        } else {
            self.on_revocation(signed.clone());
            if self.members.revoked.contains(&node) {
                Ok(Answer::Done)
            } else {
                refused("the revocation is not signed by the key that it revokes, for this pool")
            }
        };
        // Also when it was known: not everybody need have heard.
        if answer.is_ok() {
            self.publish(&Gossip::Revocation(signed));
        }
        self.answer(call, answer);
    }
}
