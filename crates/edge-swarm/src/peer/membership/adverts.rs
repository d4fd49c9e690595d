//! Adverts: what members say of themselves now and then, and who is not heard of any more.

use edge_base::{Digest, Micros, NodeId, Signed, Timestamp};

use super::{HEARD, Heard, Link};
use crate::{
    io::{Output, Table},
    message::{ADDRESSES_MAX, Advert, Gossip, PINS_MAX},
    peer::{Peer, Timer, bank::no_votes},
};

/// How long a node that is not a member may stay connected.
const STRANGER_KEPT: Micros = Micros::from_secs(10);
/// It is stored for every start of a member, for everything new that it can do, and for every so many
/// adverts: not for each, which would keep disks awake.
const HEARD_EVERY: u64 = 64;

impl Peer {
    pub(super) fn own_advert(&mut self) -> Signed<Advert> {
        self.members.advert_counter += 1;
        let nothing = (0, Digest::default(), 0);
        let (set_version, frontier, epoch) = self.bank.as_ref().map_or(nothing, |bank| {
            let ledger = &bank.ledger;
            (ledger.witness_set().version, ledger.frontier_digest(), ledger.epoch())
        });
        let mut pins = self.settings.pins.clone();
        if !self.may_vote {
            pins.truncate(PINS_MAX - 1);
            pins.push(no_votes());
        }
        let advert = Advert {
            counter: self.members.advert_counter,
            life: self.life,
            pins,
            works: self.takes_work(),
            load: self.jobs.load(),
            offers: self.offered(),
            addresses: self.settings.addresses.clone(),
            set_version,
            frontier,
            agent: self.settings.agent.clone(),
            epoch,
        };
        Signed::seal(advert, &self.key, &self.pool)
    }

    /// Adverts go out every two seconds in a small pool, less often the larger it is, so that the
    /// total stays near ten a second for each hearer.
    pub(in crate::peer) fn advert_interval(&self) -> Micros {
        Micros::from_millis(2_000.max(self.members.len() as u64 * 100))
    }

    /// Says what this node can do now.
    pub(in crate::peer) fn tell_advert(&mut self) {
        if self.bank.is_some() && self.is_admitted() {
            let advert = self.own_advert();
            self.publish(&Gossip::Advert(advert));
        }
    }

    pub(in crate::peer) fn on_advert_timer(&mut self) {
        self.tell_advert();
        let interval = self.advert_interval();
        let delay = self.jittered(interval);
        self.after(delay, Timer::Advert);
    }

    /// Greets again whoever did not answer, and the inviter while not admitted.
    pub(in crate::peer) fn on_hello_timer(&mut self) {
        self.look_around();
        self.sweep_sessions();
        self.step_economy();
        if self.is_admitted() {
            let now = self.now;
            let long = |since: &Timestamp| now.since(*since) >= STRANGER_KEPT;
            let strangers = self.members.strangers.iter();
            let away: Vec<NodeId> =
                strangers.filter(|(_, since)| long(since)).map(|(node, _)| *node).collect();
            for stranger in away {
                self.send_away(stranger);
            }
        }
        self.notice_absent();
        let waiting: Vec<NodeId> = self.members.ungreeted.iter().copied().collect();
        for node in waiting {
            self.greet(node);
        }
        if !self.is_admitted()
            && let Some(ticket) = &self.ticket
        {
            let (node, addresses) = (ticket.inviter, ticket.addresses.clone());
            self.output(Output::Keep { node, addresses });
            self.greet(node);
        }
        self.after(Micros::from_secs(1), Timer::Hello);
    }

    /// Who is not connected and says nothing for long, not even through others, is away: it may have ended before this
    /// node began.
    fn notice_absent(&mut self) {
        let (now, within) = (self.now, self.heard_within());
        for member in self.members.all.values_mut().filter(|m| matches!(m.link, Link::Unknown)) {
            let last = member.heard.unwrap_or(*member.unheard.get_or_insert(now));
            if now.since(last) >= within {
                member.link = Link::Down(now);
            }
        }
    }

    pub(in crate::peer) fn on_advert(&mut self, signed: Signed<Advert>) {
        let node = signed.signer;
        let Some(member) = self.members.get(&node) else { return };
        let place = (signed.body.life, signed.body.counter);
        let known = member.advert.as_ref().map_or((0, 0), |old| (old.life, old.counter));
        let stored = member.heard_advert;
        if place <= known.max((stored.life, stored.counter))
            || signed.open(&mut self.verifier, &self.pool).is_err()
        {
            return;
        }
        let now = self.now;
        let (frontier, epoch) = (signed.body.frontier, signed.body.epoch);
        let (mut moved, mut fresh, mut stores) = (false, false, None);
        if let Some(member) = self.members.all.get_mut(&node) {
            let could = |advert: &Advert| (advert.works, advert.pins.clone());
            fresh = matches!(member.link, Link::Down(_))
                || member.advert.as_ref().map(could) != Some(could(&signed.body));
            member.heard = Some(now);
            if matches!(member.link, Link::Down(_)) {
                member.link = Link::Unknown;
            }
            let heard = Heard::of(&signed.body);
            let enough = heard.life > stored.life || heard.counter >= stored.counter + HEARD_EVERY;
            if enough || heard.says != stored.says {
                member.heard_advert = heard;
                stores = Some(heard);
            }
            let addresses: Vec<String> =
                signed.body.addresses.iter().take(ADDRESSES_MAX).cloned().collect();
            if !addresses.is_empty() && member.addresses != addresses {
                member.addresses = addresses;
                moved = true;
            }
            member.advert = Some(signed.body);
        }
        if let Some(heard) = stores {
            self.persist(Table::Pool, &[HEARD, node.0.as_slice()].concat(), &heard);
        }
        if moved {
            self.store_member(&node);
            self.keep_neighbours();
        }
        self.compare_epoch(node, epoch);
        self.compare_frontier(node, frontier);
        if fresh {
            self.step_waiting_tasks();
        }
    }
}
