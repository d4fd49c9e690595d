//! Whom a node is connected to: neighbours that are kept, and strangers that come.

use edge_base::{Digest, Micros, NodeId};

use super::{Link, STRANGERS_MAX};
use crate::{
    event::Event,
    io::Output,
    peer::{Peer, Timer},
};

/// Up to this many members everybody greets everybody.
const FULL_MESH_MAX: usize = 16;
/// In a larger pool neighbours are chosen this long after a member was heard of.
const CHOOSE_AFTER: Micros = Micros::from_millis(500);

impl Peer {
    /// Has neighbours chosen: at once where everybody is one, in a moment where choosing takes long
    /// and many may come at a time.
    pub(in crate::peer) fn choose_neighbours(&mut self) {
        if self.members.all.len() <= FULL_MESH_MAX {
            self.keep_neighbours();
        } else if !std::mem::replace(&mut self.members.choosing, true) {
            self.after(CHOOSE_AFTER, Timer::Neighbours);
        }
    }

    pub(in crate::peer) fn on_neighbours_timer(&mut self) {
        self.members.choosing = false;
        self.keep_neighbours();
    }

    /// Asks the transport for connections: to everybody in a small pool, to the witnesses and a
    /// stable sample of the rest in a large one.
    pub(in crate::peer) fn keep_neighbours(&mut self) {
        let mut keep: Vec<NodeId> = self.members.all.keys().copied().collect();
        if keep.len() > FULL_MESH_MAX {
            let me = self.me;
            keep.sort_by_cached_key(|node| distance(&me, node));
            // Nearness can be had by making up identities: of each branch one before any second.
            let turns = self.turns(&keep, std::iter::empty());
            keep.sort_by_cached_key(|n| turns.get(n).map(|(turn, _)| *turn));
            let witnesses = self.bank.as_ref().map(|b| b.ledger.witness_set().members.clone());
            keep.truncate(FULL_MESH_MAX);
            keep.extend(self.anchors());
            keep.extend(witnesses.unwrap_or_default().into_iter().filter(|w| *w != me));
            keep.sort();
            keep.dedup();
        }
        for node in keep {
            let Some(member) = self.members.get(&node) else { continue };
            let banned = self.is_shut_out(&node);
            if !banned && !member.addresses.is_empty() && !matches!(member.link, Link::Up) {
                let addresses = member.addresses.clone();
                self.output(Output::Keep { node, addresses });
            }
        }
        if self.bank.is_none()
            && let Some(ticket) = &self.ticket
        {
            let (node, addresses) = (ticket.inviter, ticket.addresses.clone());
            self.output(Output::Keep { node, addresses });
        }
    }

    pub(in crate::peer) fn on_connected(&mut self, node: NodeId) {
        if self.members.is_dead(&node) {
            return self.tell_its_end(node);
        }
        if self.link_is_up(&node) {
            self.members.ungreeted.insert(node);
        } else {
            let strangers = &self.members.strangers;
            let oldest = strangers.iter().min_by_key(|(_, since)| **since).map(|(node, _)| *node);
            if let Some(oldest) = oldest.filter(|_| strangers.len() >= STRANGERS_MAX) {
                self.send_away(oldest);
            }
            self.members.strangers.insert(node, self.now);
        }
        self.expect_greeting(&node);
        self.greet(node);
    }

    /// Closes the connection to a node that is not a member.
    pub(super) fn send_away(&mut self, stranger: NodeId) {
        self.members.strangers.remove(&stranger);
        // A newcomer needs the writer of its ticket, who is no member for it yet.
        if self.ticket.as_ref().is_none_or(|ticket| ticket.inviter != stranger) {
            self.output(Output::Disconnect { node: stranger });
        }
    }

    /// Notes that a member is connected, also one that became a member after it connected. Returns
    /// whether the node is a member.
    pub(super) fn link_is_up(&mut self, node: &NodeId) -> bool {
        let Some(member) = self.members.all.get_mut(node) else { return false };
        if !matches!(member.link, Link::Up) {
            member.link = Link::Up;
            self.event(Event::MemberConnected { node: *node });
            self.output(Output::Admit { node: *node });
        }
        true
    }

    pub(in crate::peer) fn on_disconnected(&mut self, node: NodeId) {
        let now = self.now;
        self.members.strangers.remove(&node);
        if let Some(member) = self.members.all.get_mut(&node) {
            let known = matches!(member.link, Link::Down(_));
            member.link = Link::Down(now);
            self.members.ungreeted.remove(&node);
            if !known {
                self.event(Event::MemberGone { node });
            }
            self.on_worker_gone(node);
        }
    }
}

/// How far a member is from being a neighbour of another: a hash of both.
fn distance(me: &NodeId, node: &NodeId) -> u64 {
    Digest::of_value("neighbour", &(me, node)).prefix_u64()
}
