//! Heads: what the owner signs for every position of a shard's log, who hears of it and when, and what is
//! learnt from others'.

use std::collections::BTreeSet;

use edge_base::{Micros, NodeId, ShardId, Signed};

use crate::{
    io::Table,
    message::{Gossip, Message, ShardHead, shard_id},
    peer::{Peer, Timer},
};

/// Heads remembered for each shard, so that answers at recent positions can be checked.
pub(super) const HEADS_MAX: usize = 256;
/// Heads are gossiped at most this often.
const HEAD_EVERY: Micros = Micros::from_millis(400);
/// How often an owner says again what it has, in a pool of up to 30 members; in a larger one less
/// often, so that what each member hears does not grow with the pool.
const TELL_EVERY: Micros = Micros::from_secs(30);
/// Shards told about at once; the next ones have their turn the next time.
const TOLD_AT_ONCE: usize = 8;

impl Peer {
    /// Learns a shard's accepted state from its owner's signature.
    pub(in crate::peer) fn on_head(&mut self, head: Signed<ShardHead>) {
        let body = &head.body;
        let shard = shard_id(&body.collection, body.index);
        let owner = self.shards.owner_of(&body.collection);
        if owner != Some(head.signer) || body.index > 1 << 20 {
            return;
        }
        if self.shards.shard(&shard).is_none() && !self.shards.has_place(&head.signer) {
            return;
        }
        if self.contradicts_known(&shard, &head) {
            return;
        }
        let known = self
            .shards
            .head_at(&shard, body.seq)
            .is_some_and(|h| h.body == *body || h.body.renewed > body.renewed);
        // An own head that was not signed in this memory: an earlier life got further.
        let own = head.signer == self.me;
        let remembered =
            own && body.seq <= self.shards.own(&shard).map_or(0, |shard| shard.accepted);
        if remembered
            || known
            || !self.admits_head(&shard, &head)
            || head.open(&mut self.verifier, &self.pool).is_err()
        {
            return;
        }
        if own {
            self.lose_log(head.body.collection);
        }
        let seq = body.seq;
        self.insert_head(head);
        self.catch_up_soon(shard, seq);
        self.step_searches_of(shard);
    }

    pub(in crate::peer) fn insert_head(&mut self, head: Signed<ShardHead>) {
        let (collection, index, seq) = (head.body.collection, head.body.index, head.body.seq);
        let shard_id = shard_id(&collection, index);
        let Some(shard) = self.shards.insert_shard(collection, index) else { return };
        let newest = shard.heads.keys().next_back().is_none_or(|last| seq >= *last);
        shard.heads.insert(seq, head.clone());
        while shard.heads.len() > HEADS_MAX {
            shard.heads.pop_first();
        }
        if newest {
            let key = [b"h".as_slice(), shard_id.as_bytes()].concat();
            self.persist(Table::Shards, &key, &head);
        }
        self.tell_head_of_answers(shard_id, &head);
    }

    /// A contradiction is settled: of the heads from the fork on only one stands.
    pub(in crate::peer) fn keep_only(
        &mut self,
        shard: ShardId,
        fork: u64,
        kept: Signed<ShardHead>,
    ) {
        self.shards.take_heads_from(&shard, fork);
        self.insert_head(kept);
    }

    /// Signs heads for positions accepted in order and answers who waited for them.
    pub(super) fn advance(&mut self, shard: ShardId) {
        loop {
            let Some((collection, index)) = self.shards.places.get(&shard).copied() else { return };
            let Some(own) = self.shards.own_mut(&shard) else { return };
            let seq = own.accepted + 1;
            let Some(root) = own.inflight.get(&seq).and_then(|i| i.root) else { break };
            let Some(inflight) = own.inflight.remove(&seq) else { break };
            own.accepted = seq;
            own.accepted_chain = inflight.chain;
            let replicas: Vec<NodeId> = own.holders.keys().copied().collect();
            let acknowledged = own.holders.values().filter(|acked| **acked >= seq).count();
            let head = ShardHead {
                collection,
                index,
                seq,
                chain: inflight.chain,
                root,
                rows: inflight.rows,
                replicas,
                renewed: 0,
            };
            let head = Signed::seal(head, &self.key, &self.pool);
            self.tell_holders(&head);
            self.insert_head(head);
            self.finish_append(inflight.append, Some(acknowledged));
            self.tell_head_soon(shard);
        }
        self.step_searches_of(shard);
    }

    /// Each head goes to the shard's holders at once: what they answer from now on is checked with it. Others
    /// hear of the newest now and then.
    fn tell_holders(&mut self, head: &Signed<ShardHead>) {
        let told = |node: &&NodeId| **node != self.me && self.may_answer(node);
        let holders: Vec<NodeId> = head.body.replicas.iter().filter(told).copied().collect();
        for holder in holders {
            self.tell_head(holder, head.clone());
        }
    }

    pub(in crate::peer) fn tell_head(&mut self, to: NodeId, head: Signed<ShardHead>) {
        self.send(to, &Message::Collections { specs: Vec::new(), heads: vec![head] });
    }

    fn tell_head_soon(&mut self, shard: ShardId) {
        let now = self.now;
        let Some(own) = self.shards.own_mut(&shard) else { return };
        if own.head_timer {
            return;
        }
        own.head_timer = true;
        let wait = HEAD_EVERY.0.saturating_sub(now.since(own.head_told).0);
        self.after(Micros(wait), Timer::Head(shard));
    }

    /// Signs the last head again when copies came or went since: others know from it whom to ask.
    pub(super) fn renew_head(&mut self, shard: ShardId) {
        let Some(own) = self.shards.own(&shard) else { return };
        let Some(head) = self.shards.head_at(&shard, own.accepted) else { return };
        let told = |node: &NodeId| head.body.replicas.contains(node);
        let listed = |(node, acked): &(&NodeId, &u64)| told(node) || **acked >= own.accepted;
        let replicas: Vec<NodeId> =
            own.holders.iter().filter(listed).map(|(node, _)| *node).collect();
        if replicas == head.body.replicas {
            return;
        }
        let renewed = head.body.renewed.saturating_add(1);
        let head = ShardHead { replicas, renewed, ..head.body.clone() };
        let head = Signed::seal(head, &self.key, &self.pool);
        self.insert_head(head);
        self.tell_head_soon(shard);
    }

    pub(in crate::peer) fn on_head_timer(&mut self, shard: ShardId) {
        let now = self.now;
        if let Some(own) = self.shards.own_mut(&shard) {
            own.head_timer = false;
            own.head_told = now;
        }
        if let Some(head) = self.shards.head(&shard).cloned() {
            self.publish(&Gossip::Head(head));
        }
    }

    /// Gossip may be lost: who missed a collection or its last head hears of it again.
    pub(super) fn tell_own_again(&mut self) {
        let (last, after) = self.shards.told;
        let every = TELL_EVERY.max(Micros::from_secs(self.members.len() as u64));
        if self.now.since(last) < every {
            return;
        }
        let own = |shard: &&ShardId| self.shards.own(shard).is_some_and(|own| own.seq > 0);
        let places = || self.shards.places.keys().filter(own).copied();
        let later = places().filter(|shard| after.is_none_or(|after| *shard > after));
        let mut turn: Vec<ShardId> = later.take(TOLD_AT_ONCE).collect();
        if turn.is_empty() {
            turn = places().take(TOLD_AT_ONCE).collect();
        }
        self.shards.told = (self.now, turn.last().copied());
        self.tell_own_removed();
        let mut gossip = Vec::new();
        let mut specs = BTreeSet::new();
        for shard in turn {
            let Some((collection, index)) = self.shards.places.get(&shard).copied() else {
                continue;
            };
            let Some(known) = self.shards.collections.get(&collection) else { continue };
            if specs.insert(collection) {
                gossip.push(Gossip::Collection(known.spec.clone()));
            }
            let head = known.shards.get(&index).and_then(|s| s.heads.values().next_back());
            gossip.extend(head.cloned().map(Gossip::Head));
        }
        for told in gossip {
            self.publish(&told);
        }
    }
}
