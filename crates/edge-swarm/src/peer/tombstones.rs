//! Collections that were removed: their owners' statements, kept so that an older statement, whoever
//! shows it again, brings nothing back.
//!
//! They are durable. Who tells of a collection that was removed is told of its end; the owner repeats
//! it a few times, because gossip may be lost.

use std::collections::{BTreeMap, VecDeque};

use edge_base::{CollectionId, NodeId, Signed};

use super::{Peer, StartError, Stored, decode_stored};
use crate::{
    io::Table,
    message::{CollectionSpec, Gossip, Message},
};

/// Removed collections that are remembered, of all owners together. Then the oldest one of who has most
/// makes room.
const TOMBSTONES_MAX: usize = 16_384;
/// The same of one owner. Then its oldest one makes room, or, for a collection that this node never
/// heard of, nothing is remembered: an owner that removes without end harms what it owns itself.
const PER_OWNER_MAX: usize = 1_024;
/// An owner says again so often that it removed a collection.
const REPEATS: u8 = 3;
/// Own removals that are said again, at most.
const REPEATING_MAX: usize = 64;
/// Statements in one answer.
const TOLD_MAX: usize = 256;

/// Statements of owners that removed a collection.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    /// With the number of its place in time.
    all: BTreeMap<CollectionId, (u64, Signed<CollectionSpec>)>,
    by_owner: BTreeMap<NodeId, BTreeMap<u64, CollectionId>>,
    next: u64,
    /// Own ones that are said again, and how often.
    repeating: VecDeque<(CollectionId, u8)>,
}

fn key_of(id: &CollectionId) -> Vec<u8> {
    [b"d".as_slice(), id.as_bytes()].concat()
}

impl Tombstones {
    /// What grows here, with its bounds.
    pub(super) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("removed collections", self.all.len(), TOMBSTONES_MAX);
        let most = self.by_owner.values().map(BTreeMap::len).max().unwrap_or(0);
        add("removed collections of one owner", most, PER_OWNER_MAX);
    }

    pub(super) fn contains(&self, id: &CollectionId) -> bool {
        self.all.contains_key(id)
    }

    /// Whether there is room for one more of an owner without forgetting another.
    pub(super) fn has_room(&self, owner: &NodeId) -> bool {
        let own = self.by_owner.get(owner).map_or(0, BTreeMap::len);
        own < PER_OWNER_MAX && self.all.len() < TOMBSTONES_MAX
    }

    fn insert(&mut self, id: CollectionId, place: u64, spec: Signed<CollectionSpec>) {
        self.next = self.next.max(place + 1);
        self.by_owner.entry(spec.signer).or_default().insert(place, id);
        self.all.insert(id, (place, spec));
    }

    /// Forgets the oldest of an owner.
    fn forget_oldest(&mut self, owner: &NodeId) -> Option<CollectionId> {
        let own = self.by_owner.get_mut(owner)?;
        let (_, id) = own.pop_first()?;
        if own.is_empty() {
            self.by_owner.remove(owner);
        }
        self.all.remove(&id);
        Some(id)
    }

    /// Makes room for one more of an owner; returns what was forgotten for it.
    fn make_room(&mut self, owner: &NodeId) -> Option<CollectionId> {
        if self.by_owner.get(owner).is_some_and(|own| own.len() >= PER_OWNER_MAX) {
            return self.forget_oldest(owner);
        }
        if self.all.len() < TOMBSTONES_MAX {
            return None;
        }
        let most = self.by_owner.iter().max_by_key(|(_, own)| own.len()).map(|(owner, _)| *owner);
        most.and_then(|most| self.forget_oldest(&most))
    }
}

impl Peer {
    /// Remembers for good that an owner removed a collection.
    pub(super) fn bury(&mut self, id: CollectionId, spec: Signed<CollectionSpec>) {
        if let Some(forgotten) = self.shards.dropped.make_room(&spec.signer) {
            self.forget(Table::Shards, &key_of(&forgotten));
        }
        let place = self.shards.dropped.next;
        self.persist(Table::Shards, &key_of(&id), &(place, &spec));
        if spec.signer == self.me && self.shards.dropped.repeating.len() < REPEATING_MAX {
            self.shards.dropped.repeating.push_back((id, REPEATS));
        }
        self.shards.dropped.insert(id, place, spec);
    }

    pub(super) fn restore_tombstones(&mut self, stored: &Stored) -> Result<(), StartError> {
        let rows = stored.table(Table::Shards).iter().filter(|(key, _)| key.starts_with(b"d"));
        for (_, value) in rows {
            let (place, spec): (u64, Signed<CollectionSpec>) =
                decode_stored(value).ok_or(StartError::Damaged { table: "shards" })?;
            let id = spec.body.id(&spec.signer);
            self.shards.dropped.insert(id, place, spec);
        }
        Ok(())
    }

    /// Tells who spoke of removed collections that they were removed.
    pub(super) fn tell_removed(&mut self, to: NodeId, told: &[Signed<CollectionSpec>]) {
        let living = told.iter().filter(|spec| !spec.body.dropped);
        let ended = living.filter_map(|spec| {
            let (_, end) = self.shards.dropped.all.get(&spec.body.id(&spec.signer))?;
            Some(end.clone())
        });
        let specs: Vec<Signed<CollectionSpec>> = ended.take(TOLD_MAX).collect();
        if !specs.is_empty() {
            self.send(to, &Message::Collections { specs, heads: Vec::new() });
        }
    }

    /// Says again what this node removed lately.
    pub(super) fn tell_own_removed(&mut self) {
        let repeating = std::mem::take(&mut self.shards.dropped.repeating);
        for (id, left) in repeating {
            let Some((_, spec)) = self.shards.dropped.all.get(&id) else { continue };
            let gossip = Gossip::Collection(spec.clone());
            self.publish(&gossip);
            if left > 1 {
                self.shards.dropped.repeating.push_back((id, left - 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_base::{Digest, SecretKey};

    use super::*;

    fn spec(owner: &SecretKey, nonce: u64) -> (CollectionId, Signed<CollectionSpec>) {
        let body = CollectionSpec { name: "x".into(), nonce, layout: vec![], dropped: true };
        (body.id(&owner.node_id()), Signed::seal(body, owner, &Digest::default()))
    }

    #[test]
    fn an_owner_that_removes_without_end_forgets_its_own_oldest() {
        let (loud, quiet) =
            (SecretKey::silent_for_simulation([1; 32]), SecretKey::from_seed([2; 32]));
        let mut tombs = Tombstones::default();
        let mut bury = |owner: &SecretKey, nonce: u64| {
            let (id, spec) = spec(owner, nonce);
            let forgotten = tombs.make_room(&spec.signer);
            let place = tombs.next;
            tombs.insert(id, place, spec);
            (id, forgotten)
        };
        let (kept, _) = bury(&quiet, 0);
        let (first, _) = bury(&loud, 0);
        for nonce in 1..PER_OWNER_MAX as u64 {
            assert_eq!(bury(&loud, nonce).1, None);
        }
        assert_eq!(bury(&loud, 5_000).1, Some(first));
        assert!(tombs.contains(&kept) && !tombs.contains(&first));
        assert!(!tombs.has_room(&loud.node_id()) && tombs.has_room(&quiet.node_id()));
        let mut counts = Vec::new();
        tombs.hold(&mut |_, count, limit| counts.push((count, limit)));
        assert!(counts.iter().all(|(count, limit)| count <= limit), "{counts:?}");
    }
}
