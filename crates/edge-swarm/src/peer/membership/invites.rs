//! Invitations: tickets, who is let in with one, and what its writer pledged for it.

use edge_base::{Credits, Digest, NodeId, Signed, Timestamp};
use edge_ledger::BlockKind;

use super::{INVITES_MAX, Invite, MEMBERS_MAX, TICKET_LIFE};
use crate::{
    command::{Answer, Refusal, TicketView},
    event::Event,
    io::{CallId, Table},
    message::{ADDRESSES_MAX, Gossip, MemberRecord, Membership},
    peer::{Peer, branches::FREE_INVITES},
    ticket::{Ticket, ticket_id},
};

impl Peer {
    /// The invitation behind a ticket, if it still admits somebody.
    fn open_invite(&self, ticket: &Digest) -> Result<Invite, String> {
        let Some(invite) = self.members.invites.get(ticket) else {
            return Err(
                "the ticket is not known here: this node did not make it, or withdrew it".into()
            );
        };
        if let Some(user) = invite.used_by {
            return Err(format!("the ticket was used by {}; ask for a new one", user.short()));
        }
        if !invite.is_open(self.now) {
            return Err("the ticket is too old: it holds seven days; ask for a new one".into());
        }
        Ok(invite.clone())
    }

    pub(super) fn admit(
        &mut self,
        node: NodeId,
        secret: [u8; 16],
        addresses: Vec<String>,
    ) -> Result<Signed<Membership>, String> {
        let hash = ticket_id(&secret);
        let invite = match self.open_invite(&hash) {
            Ok(invite) => invite,
            Err(reason) => {
                // Whoever is refused asks again every second.
                if self.members.refused_joins.insert(Digest::of_value("join", &(hash, node))) {
                    self.counters.joins_refused += 1;
                }
                return Err(reason);
            }
        };
        if self.members.all.len() >= MEMBERS_MAX {
            return Err(format!("the pool has {MEMBERS_MAX} members, the most this node knows"));
        }
        if node.check().is_err() {
            return Err("not a usable identity".into());
        }
        if !self.may_invite(&self.me) {
            return Err(
                "who wrote the ticket may not invite more: it has too little at stake".into()
            );
        }
        let mut invite = invite;
        invite.used_by = Some(node);
        let group = if invite.owner { self.members.group.unwrap_or(self.me) } else { node };
        let signed = Signed::seal(Membership { node, group }, &self.key, &self.pool);
        self.persist(Table::Invites, &hash.0, &invite);
        let credits = invite.credits;
        self.members.invites.insert(hash, invite);
        let record = MemberRecord { membership: Some(signed.clone()), node, addresses };
        self.insert_member(record.clone(), true);
        self.event(Event::MemberKnown { node });
        self.settle_heir(&node);
        self.publish(&Gossip::Member(record));
        if credits > Credits::ZERO {
            let memo = Digest::of_value("grant", &(hash, node));
            self.queue_block(BlockKind::Send { to: node, amount: credits, memo }, None);
        }
        Ok(signed)
    }

    pub(in crate::peer) fn invite(&mut self, call: CallId, owner: bool, credits: Credits) {
        if !self.is_admitted() {
            let text = "this node is not a member yet: wait until it joined".into();
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        self.forget_spent_invites();
        let now = self.now;
        let open = || self.members.invites.values().filter(|invite| invite.is_open(now));
        if open().count() >= INVITES_MAX {
            let text = format!(
                "{INVITES_MAX} tickets wait to be used, the most a node has open; each is forgotten \
                 after seven days"
            );
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        let left = self.invites_left(&self.me).saturating_sub(open().count());
        if left == 0 || !self.may_invite(&self.me) {
            let text = format!(
                "this node may not invite more: who is not the founder's may invite {FREE_INVITES} if \
                 the founder invited it, and one more for each rUv at stake; `edge-net ledger stake` \
                 or ask the founder for the ticket"
            );
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        let have = self.own_balance();
        let promised = Credits::sum(open().map(|invite| invite.credits));
        let left = promised.and_then(|promised| have.minus(promised)).unwrap_or(Credits::ZERO);
        if credits > left {
            let text = format!(
                "the grant of {credits} rUv is more than the {left} that are left: this node has \
                 {have}, the rest is promised by {} open tickets; invite with fewer credits",
                open().filter(|invite| invite.credits > Credits::ZERO).count()
            );
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        let secret: [u8; 16] = self.rng.bytes();
        let hash = ticket_id(&secret);
        let invite = Invite { owner, credits, made: now.0, used_by: None };
        self.persist(Table::Invites, &hash.0, &invite);
        self.members.invites.insert(hash, invite);
        let ticket = Ticket {
            pool: self.pool,
            inviter: self.me,
            addresses: self.settings.addresses.iter().take(ADDRESSES_MAX).cloned().collect(),
            secret,
            credits,
            owner,
        };
        self.answer(call, Ok(Answer::Ticket(ticket.to_string())));
    }

    /// Every ticket that is remembered: those that are out first.
    pub(in crate::peer) fn ticket_views(&self) -> Vec<TicketView> {
        let now = self.now;
        let view = |(ticket, invite): (&Digest, &Invite)| TicketView {
            ticket: *ticket,
            owner: invite.owner,
            credits: invite.credits,
            used_by: invite.used_by,
            left: invite.is_open(now).then(|| (Timestamp(invite.made) + TICKET_LIFE).since(now)),
        };
        let mut views: Vec<TicketView> = self.members.invites.iter().map(view).collect();
        views.sort_by_key(|view| (std::cmp::Reverse(view.left), view.ticket));
        views
    }

    /// Makes a ticket void.
    pub(in crate::peer) fn withdraw_ticket(&mut self, call: CallId, ticket: &Digest) {
        let answer = match self.members.invites.get(ticket).map(|invite| invite.used_by) {
            None => Err(Refusal::NotFound(format!(
                "this node made no ticket {}, or withdrew it; `edge-net identity tickets` lists them",
                ticket.short()
            ))),
            Some(Some(user)) => Err(Refusal::Refused(format!(
                "it was used by {}, who is a member since; `edge-net peer ban` refuses it here",
                user.short()
            ))),
            Some(None) => {
                self.members.invites.remove(ticket);
                self.forget(Table::Invites, &ticket.0);
                Ok(Answer::Done)
            }
        };
        self.answer(call, answer);
    }

    /// Tickets that somebody may still come with, and what is promised to who does.
    pub(in crate::peer) fn open_tickets(&self) -> (usize, Credits) {
        let open = || self.members.invites.values().filter(|invite| invite.is_open(self.now));
        let promised = Credits::sum(open().map(|invite| invite.credits));
        (open().count(), promised.unwrap_or(Credits::ZERO))
    }

    /// Makes room: tickets that were used or are too old are not needed any more, but as long as
    /// there is room they let a refusal say which of the two it was.
    fn forget_spent_invites(&mut self) {
        if self.members.invites.len() < INVITES_MAX {
            return;
        }
        let now = self.now;
        let spent: Vec<Digest> = self
            .members
            .invites
            .iter()
            .filter(|(_, invite)| !invite.is_open(now))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in spent {
            self.members.invites.remove(&hash);
            self.forget(Table::Invites, &hash.0);
        }
    }
}
