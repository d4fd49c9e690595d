//! Who holds copies of a shard: chosen by rendezvous hashing (Thaler and Ravishankar 1998), repaired when
//! holders stay away or are named by a fault.

use std::collections::BTreeSet;

use edge_base::{Digest, Micros, NodeId, ShardId};

use crate::{
    event::Event,
    io::Table,
    message::Message,
    peer::{LoadPurpose, Peer, Timer, membership::Link, replica::log_key},
};

const REPAIR_EVERY: Micros = Micros::from_secs(1);
/// A holder that is away for this long gets a successor.
const AWAY_AFTER: Micros = Micros::from_secs(8);
/// A holder that showed nothing for its copy in this time is asked for it.
const CONFIRM_EVERY: Micros = Micros::from_secs(30);
/// A holder that was asked for this long counts as without a copy.
const CONFIRM_WITHIN: Micros = Micros::from_secs(40);
/// Holders of one shard, at most, counting those that are away.
const HOLDERS_MAX: usize = 8;

impl Peer {
    /// Candidates for a copy, best first: proven ones before others, then by rendezvous hash.
    fn holder_candidates(&self, shard: &ShardId) -> Vec<NodeId> {
        let pin = self.settings.shard_pin;
        let mut nodes: Vec<NodeId> = self
            .eligible_workers(Some(&pin))
            .into_iter()
            .filter(|n| !self.shards.distrusted.contains(&(*shard, *n)))
            .collect();
        let weight = |n: &NodeId| Digest::of_value("rendezvous", &(shard, n)).prefix_u64();
        nodes.sort_by_key(|n| (!self.members.is_proven(n), std::cmp::Reverse(weight(n))));
        // Copies of one voice are lost together.
        let holders = self.shards.own(shard).into_iter().flat_map(|own| own.holders.keys());
        let turns = self.turns(&nodes, holders.copied());
        nodes.sort_by_cached_key(|n| {
            let (turn, voice) = turns.get(n).copied().unwrap_or((0, *n));
            (turn, !self.members.is_proven(n), std::cmp::Reverse(weight(&voice)))
        });
        nodes
    }

    /// With fewer holders than this the owner holds a copy itself. A node that does not work for
    /// others does so too when there is nobody else: what it stores must be found.
    fn holds_own_below(&self, wanted: usize) -> usize {
        if self.settings.works { wanted } else { 1 }
    }

    pub(super) fn choose_holders(&mut self, shard: ShardId) {
        let wanted = self.settings.replication;
        let candidates = self.holder_candidates(&shard);
        let others = candidates.len();
        for node in candidates.into_iter().take(wanted) {
            self.add_holder(shard, node);
        }
        if others < self.holds_own_below(wanted) {
            self.add_holder(shard, self.me);
        }
    }

    fn add_holder(&mut self, shard: ShardId, node: NodeId) {
        let Some((collection, index)) = self.shards.places.get(&shard).copied() else { return };
        let Some(own) = self.shards.own_mut(&shard) else { return };
        if own.holders.insert(node, 0).is_some() {
            return;
        }
        let last = own.seq;
        self.store_own_shard(shard);
        self.event(Event::ReplicaAdded { shard, node });
        if node == self.me {
            if self.hold(self.me, collection, index) && last > 0 {
                self.adopt_own_log(shard, last);
            }
        } else {
            self.ask_to_replicate(shard, node);
        }
    }

    /// A copy here of an own shard: its batches are in the log already.
    fn adopt_own_log(&mut self, shard: ShardId, last: u64) {
        for seq in 1..=last {
            self.load(Table::Log, log_key(&shard, seq), LoadPurpose::Recall { shard, seq });
        }
    }

    fn ask_to_replicate(&mut self, shard: ShardId, node: NodeId) {
        let Some((collection, index)) = self.shards.places.get(&shard).copied() else { return };
        let Some(spec) = self.shards.collections.get(&collection).map(|c| c.spec.clone()) else {
            return;
        };
        let head = self.shards.head(&shard).cloned();
        self.send(node, &Message::Replicate { spec, index, head });
    }

    pub(in crate::peer) fn on_repair_timer(&mut self) {
        let own: Vec<ShardId> = self
            .shards
            .places
            .keys()
            .filter(|shard| self.shards.own(shard).is_some_and(|o| o.seq > 0))
            .copied()
            .collect();
        if self.shards.recalling.is_empty() {
            for shard in own {
                self.repair(shard);
                self.renew_head(shard);
            }
        }
        self.roll_back_ahead();
        self.tell_own_again();
        self.step_cases();
        self.step_drain();
        self.after(REPAIR_EVERY, Timer::Repair);
    }

    fn repair(&mut self, shard: ShardId) {
        let now = self.now;
        let wanted = self.settings.replication;
        let Some(own) = self.shards.own(&shard) else { return };
        let present = |n: &NodeId| {
            *n == self.me
                || self.members.get(n).is_some_and(|m| match m.link {
                    Link::Down(at) => now.since(at) < AWAY_AFTER,
                    Link::Up | Link::Unknown => true,
                })
        };
        let here: Vec<NodeId> = own.holders.keys().filter(|n| present(n)).copied().collect();
        let mut silent = Vec::new();
        let mut behind = Vec::new();
        for node in here.iter().filter(|n| **n != self.me) {
            let shown = own.confirmed.get(node).map_or(CONFIRM_EVERY, |at| now.since(*at));
            let acked = own.holders.get(node).copied().unwrap_or(0);
            if shown >= CONFIRM_WITHIN && acked > 0 {
                silent.push(*node);
            }
            if acked < own.accepted || shown >= CONFIRM_EVERY {
                behind.push(*node);
            }
        }
        for node in silent {
            self.on_replica_missing(shard, node);
        }
        let others = here.iter().filter(|n| **n != self.me).count();
        if here.len() < wanted || (others < wanted && here.contains(&self.me)) {
            let missing = wanted.saturating_sub(others);
            let candidates: Vec<NodeId> = self
                .holder_candidates(&shard)
                .into_iter()
                .filter(|n| !here.contains(n))
                .take(missing)
                .collect();
            let full = self.shards.own(&shard).is_some_and(|o| o.holders.len() >= HOLDERS_MAX);
            if candidates.is_empty() && here.len() < self.holds_own_below(wanted.min(2)) {
                self.add_holder(shard, self.me);
            } else if !full {
                for node in candidates {
                    self.add_holder(shard, node);
                }
            }
        }
        for node in behind {
            self.ask_to_replicate(shard, node);
        }
    }

    /// Takes a node out of every own shard's holders; returns the shards it held.
    pub(in crate::peer) fn remove_replica_everywhere(&mut self, node: &NodeId) -> Vec<ShardId> {
        let held: Vec<ShardId> = self
            .shards
            .places
            .keys()
            .filter(|shard| self.shards.own(shard).is_some_and(|o| o.holders.contains_key(node)))
            .copied()
            .collect();
        for shard in &held {
            if let Some(own) = self.shards.own_mut(shard) {
                own.holders.remove(node);
                own.confirmed.remove(node);
                own.shown.remove(node);
            }
            self.store_own_shard(*shard);
        }
        held
    }

    /// Holders that acknowledged the accepted position and can be asked now.
    pub(in crate::peer) fn holders_in_step(&self, shard: &ShardId) -> Vec<NodeId> {
        let fine = |n: &NodeId| !self.faults.names(n) && self.may_answer(n);
        match self.shards.own(shard) {
            Some(own) => own
                .holders
                .iter()
                .filter(|(n, acked)| **acked >= own.accepted && fine(n))
                .map(|(n, _)| *n)
                .collect(),
            None => {
                let head = self.shards.head(shard);
                let replicas = head.map_or(&[][..], |h| &h.body.replicas[..]);
                // Who took a holder's place has its copy; each once.
                let now = |n: &NodeId| self.members.successions.newest(n);
                let there: BTreeSet<NodeId> = replicas.iter().map(now).filter(&fine).collect();
                there.into_iter().collect()
            }
        }
    }

    /// The furthest position that a reachable holder of an own shard showed, of those that are not
    /// in step with it.
    pub(in crate::peer) fn best_catching_up(&self, shard: &ShardId) -> Option<u64> {
        let own = self.shards.own(shard)?;
        let fine = |n: &NodeId| !self.faults.names(n) && self.may_answer(n);
        own.holders
            .iter()
            .filter(|(n, acked)| **acked < own.accepted && fine(n))
            .map(|(_, acked)| *acked)
            .max()
    }
}
