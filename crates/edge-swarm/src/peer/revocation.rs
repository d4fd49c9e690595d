//! Keys that are believed no more: whoever lost one says so with that key, beforehand or while it still
//! has it, and every member refuses the key from then on, after restarts too (docs/adr/0027).
//!
//! A revoked node stays in the list of members, because others were invited by it and hang on it, and is
//! treated as one that is banned for ever. Whom it invited stays a member; but nobody belongs to an owner by the
//! word of a revoked key, since nobody can tell when that word was given.

use std::collections::{BTreeMap, VecDeque};

use edge_base::{NodeId, Signed};

use super::{Peer, Stored, decode_stored, membership::MEMBERS_MAX};
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

/// What is known of revoked keys.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    all: BTreeMap<NodeId, Signed<Revocation>>,
    early: VecDeque<Signed<Revocation>>,
}

impl Revoked {
    pub(crate) fn contains(&self, node: &NodeId) -> bool {
        self.all.contains_key(node)
    }

    /// By node.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.all.keys()
    }

    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("revoked keys", self.all.len(), MEMBERS_MAX + 1);
        add("revocations of nodes unknown", self.early.len(), EARLY_MAX);
    }
}

impl Peer {
    /// Whether nothing is heard of a node and nothing said to it: banned, or its key is revoked.
    pub(super) fn is_shut_out(&self, node: &NodeId) -> bool {
        self.members.revoked.contains(node) || self.standing.is_banned(node, self.now)
    }

    pub(super) fn restore_revoked(&mut self, stored: &Stored) {
        for (key, value) in stored.table(Table::Pool) {
            let node = key.strip_prefix(REVOKED).and_then(|id| <[u8; 32]>::try_from(id).ok());
            let signed: Option<Signed<Revocation>> = decode_stored(value);
            if let (Some(node), Some(signed)) = (node.map(NodeId), signed) {
                self.members.revoked.all.insert(node, signed);
                self.output(Output::Ban { node });
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
        if node == self.me {
            self.settings.works = false;
            return;
        }
        self.close_sessions(&node);
        self.output(Output::Ban { node });
        self.on_disconnected(node);
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
