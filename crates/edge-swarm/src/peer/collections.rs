//! Collections and their shards: what is known of all, and the logs of those owned here.
//!
//! The owner is the only writer. It gives each record to a shard, chains batches, keeps the
//! entries (ids and record hashes) in memory and the batches on disk, and signs a head for every
//! position whose root was accepted (`collections/heads.rs`). Who holds copies is chosen by rendezvous hashing (Thaler and
//! Ravishankar 1998) and repaired when holders stay away or are named by a fault.

mod heads;
mod holders;
mod recall;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use edge_base::{
    CollectionId, Digest, NodeId, RecordId, ShardId, Signed, TaskId, Timestamp, shard::LogEntry,
};
use serde::{Deserialize, Serialize};

use self::heads::HEADS_MAX;
use super::{
    Peer,
    fair::has_room,
    possession::Shown,
    replica::{Replica, log_key},
    tombstones::Tombstones,
};
use crate::{
    command::{Answer, CollectionView, Command, Refusal, ReplicaView, ShardView},
    event::Event,
    io::{CallId, Table},
    message::{CollectionSpec, Gossip, History, Message, ShardHead, name_is_valid, shard_id},
};

/// Collections known, at most; further ones are not learnt.
const COLLECTIONS_MAX: usize = 4_096;
/// Shards known, at most: a thousand of 12,000 rows hold twelve million.
const PLACES_MAX: usize = 65_536;
/// Batches of one shard that wait for acceptance; further changes are refused.
const INFLIGHT_MAX: usize = 128;
pub(super) const NOT_A_MEMBER: &str =
    "this node is not a member yet: `edge-net status` says what it waits for";
/// Calls that wait until logs were read again after a restart.
const WAITING_MAX: usize = 1_024;

/// Everything known about shards.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    collections: BTreeMap<CollectionId, Collection>,
    places: BTreeMap<ShardId, (CollectionId, u32)>,
    /// Collections that their owners removed.
    pub(super) dropped: Tombstones,
    pub(crate) replicas: BTreeMap<ShardId, Replica>,
    /// Batches that came before the request to hold their shard.
    pub(super) early: Vec<(ShardId, TaskId)>,
    appends: BTreeMap<u64, AppendCall>,
    recalling: BTreeSet<ShardId>,
    waiting: VecDeque<(CallId, Command)>,
    distrusted: BTreeSet<(ShardId, NodeId)>,
    /// When this node told what it has, and up to which shard.
    told: (Timestamp, Option<ShardId>),
}

#[derive(Debug)]
struct Collection {
    spec: Signed<CollectionSpec>,
    shards: BTreeMap<u32, Shard>,
    live: BTreeMap<RecordId, (u32, Digest)>,
    /// It belongs to this node, which does not have its log any more: nothing may be written.
    lost: bool,
    /// Since when this node knows it, in this run.
    since: Timestamp,
    /// It belongs to this node, and another member has one of the same name.
    rival: Option<(NodeId, CollectionId)>,
}

impl Collection {
    fn new(spec: Signed<CollectionSpec>, lost: bool, since: Timestamp) -> Collection {
        let (shards, live, rival) = (BTreeMap::new(), BTreeMap::new(), None);
        Collection { spec, shards, live, lost, since, rival }
    }
}

#[derive(Debug, Default)]
struct Shard {
    heads: BTreeMap<u64, Signed<ShardHead>>,
    own: Option<OwnShard>,
}

/// The writer's side of a shard.
#[derive(Debug, Default)]
struct OwnShard {
    seq: u64,
    chain: Digest,
    entries: History,
    rows: u64,
    accepted: u64,
    accepted_chain: Digest,
    holders: BTreeMap<NodeId, u64>,
    /// When a holder last showed that it has its copy. Disks get lost, and nobody tells.
    confirmed: BTreeMap<NodeId, Timestamp>,
    /// What holders were asked to show of their copies.
    shown: BTreeMap<NodeId, Shown>,
    inflight: BTreeMap<u64, Inflight>,
    head_timer: bool,
    head_told: Timestamp,
}

#[derive(Debug)]
struct Inflight {
    payload: Arc<[u8]>,
    units: u64,
    task: Option<TaskId>,
    root: Option<Digest>,
    rows: u64,
    chain: Digest,
    append: Option<u64>,
}

/// What is stored of an own shard besides its head and log.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredShard {
    collection: CollectionId,
    index: u32,
    seq: u64,
    holders: Vec<NodeId>,
}

#[derive(Debug)]
struct AppendCall {
    call: CallId,
    entries: usize,
    parts: usize,
    replicas: usize,
}

fn lost_key(collection: &CollectionId) -> Vec<u8> {
    [b"l".as_slice(), collection.as_bytes()].concat()
}

fn lost_text(name: &str) -> String {
    format!(
        "the log of the collection {name} was lost with this node's data: its copies at other nodes \
         can be searched, but not written to; make a collection of another name and import into it"
    )
}

impl Shards {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("collections", self.collections.len(), COLLECTIONS_MAX);
        add("shards", self.places.len(), PLACES_MAX);
        self.dropped.hold(add);
        add("copies", self.replicas.len(), super::replica::REPLICAS_MAX);
        add("batches that came early", self.early.len(), super::replica::EARLY_MAX);
        add("calls that wait for logs", self.waiting.len(), WAITING_MAX);
        let own = self.collections.values().flat_map(|c| c.shards.values());
        let batches = own.clone().filter_map(|s| s.own.as_ref()).map(|o| o.inflight.len());
        add("batches of a shard under way", batches.max().unwrap_or(0), INFLIGHT_MAX);
        add("heads of a shard", own.map(|s| s.heads.len()).max().unwrap_or(0), HEADS_MAX);
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() + self.replicas.len()
    }

    /// Who may write to a collection.
    pub(crate) fn owner_of(&self, collection: &CollectionId) -> Option<NodeId> {
        self.collections.get(collection).map(|c| c.spec.signer)
    }

    /// Since when a collection is known here.
    pub(crate) fn known_since(&self, collection: &CollectionId) -> Option<Timestamp> {
        self.collections.get(collection).map(|c| c.since)
    }

    /// Who has a name here.
    fn owner_of_name(&self, name: &str) -> Option<NodeId> {
        let named = self.collections.values().find(|c| c.spec.body.name == name);
        named.map(|collection| collection.spec.signer)
    }

    fn shard(&self, shard: &ShardId) -> Option<&Shard> {
        let (collection, index) = self.places.get(shard)?;
        self.collections.get(collection)?.shards.get(index)
    }

    fn shard_mut(&mut self, shard: &ShardId) -> Option<&mut Shard> {
        let (collection, index) = self.places.get(shard)?;
        self.collections.get_mut(collection)?.shards.get_mut(index)
    }

    fn own_mut(&mut self, shard: &ShardId) -> Option<&mut OwnShard> {
        self.shard_mut(shard)?.own.as_mut()
    }

    fn own(&self, shard: &ShardId) -> Option<&OwnShard> {
        self.shard(shard)?.own.as_ref()
    }

    /// How far the log of a copy here goes that this node keeps for an owner.
    pub(crate) fn copy_reaches(&self, shard: &ShardId, owner: &NodeId) -> Option<u64> {
        let replica = self.replicas.get(shard).filter(|replica| replica.owner == *owner)?;
        Some(replica.stored())
    }

    /// What a holder of an own shard was asked to show.
    pub(crate) fn shown_mut(&mut self, shard: &ShardId, node: NodeId) -> Option<&mut Shown> {
        let own = self.own_mut(shard).filter(|own| own.holders.contains_key(&node))?;
        Some(own.shown.entry(node).or_default())
    }

    /// The owner's signed head at a position.
    pub(crate) fn head_at(&self, shard: &ShardId, seq: u64) -> Option<&Signed<ShardHead>> {
        self.shard(shard)?.heads.get(&seq)
    }

    /// The newest head.
    pub(crate) fn head(&self, shard: &ShardId) -> Option<&Signed<ShardHead>> {
        self.shard(shard)?.heads.values().next_back()
    }

    /// The definition of a collection, as its owner signed it.
    pub(crate) fn spec_of(&self, collection: &CollectionId) -> Option<&Signed<CollectionSpec>> {
        self.collections.get(collection).map(|c| &c.spec)
    }

    /// The heads of a shard that are known, by position.
    pub(crate) fn heads_of(
        &self,
        shard: &ShardId,
    ) -> impl Iterator<Item = (u64, &Signed<ShardHead>)> {
        let heads = self.shard(shard).into_iter().flat_map(|shard| &shard.heads);
        heads.map(|(seq, head)| (*seq, head))
    }

    /// Whether this node writes the log of a shard.
    pub(crate) fn writes(&self, shard: &ShardId) -> bool {
        self.own(shard).is_some()
    }

    /// Forgets the heads of a shard from a position on, and returns them.
    pub(crate) fn take_heads_from(&mut self, shard: &ShardId, seq: u64) -> Vec<Signed<ShardHead>> {
        let Some(shard) = self.shard_mut(shard) else { return Vec::new() };
        shard.heads.split_off(&seq).into_values().collect()
    }

    /// Whether there is room for a collection of an owner.
    fn has_room(&self, owner: &NodeId) -> bool {
        let known = &self.collections;
        let of_owner = || known.values().filter(|c| c.spec.signer == *owner).count();
        has_room(known.len(), COLLECTIONS_MAX, of_owner)
    }

    /// Whether there is room for a shard of an owner, as it is known by a head.
    fn has_place(&self, owner: &NodeId) -> bool {
        let collections = &self.collections;
        let of_owner = || {
            let theirs = collections.values().filter(|c| c.spec.signer == *owner);
            theirs.map(|c| c.shards.len()).sum()
        };
        has_room(self.places.len(), PLACES_MAX, of_owner)
    }

    fn insert_shard(&mut self, collection: CollectionId, index: u32) -> Option<&mut Shard> {
        let shards = &mut self.collections.get_mut(&collection)?.shards;
        self.places.insert(shard_id(&collection, index), (collection, index));
        Some(shards.entry(index).or_default())
    }
}

impl Peer {
    /// Finds a collection by name: this node's own first.
    pub(super) fn find_collection(&self, name: &str) -> Result<CollectionId, Refusal> {
        let named = |(_, c): &(&CollectionId, &Collection)| c.spec.body.name == name;
        let mut found: Vec<(&CollectionId, &Collection)> =
            self.shards.collections.iter().filter(named).collect();
        found.sort_by_key(|(_, c)| c.spec.signer != self.me);
        if let Some((id, _)) = found.first() {
            return Ok(**id);
        }
        if !self.is_admitted() {
            return Err(Refusal::Refused(NOT_A_MEMBER.into()));
        }
        let mut names: Vec<&str> =
            self.shards.collections.values().map(|c| c.spec.body.name.as_str()).collect();
        names.sort_unstable();
        let known = match names.as_slice() {
            [] => String::from("there is none yet"),
            names => format!("there are: {}", names.join(", ")),
        };
        Err(Refusal::NotFound(format!("no collection {name} here; {known}")))
    }

    fn own_collection(&self, name: &str) -> Result<CollectionId, Refusal> {
        let id = self.find_collection(name)?;
        match self.shards.owner_of(&id) {
            Some(owner) if owner == self.me => Ok(id),
            Some(owner) => Err(Refusal::Refused(format!(
                "the collection {name} belongs to {}; only its owner can change it",
                owner.short()
            ))),
            None => Err(Refusal::NotFound(format!("no collection {name} here"))),
        }
    }

    pub(super) fn create_collection(&mut self, call: CallId, name: String, layout: Vec<u8>) {
        if !name_is_valid(&name) || layout.len() > 1024 {
            let text = "a collection's name has 1-64 letters, digits, `-`, `_` or `.`";
            return self.answer(call, Err(Refusal::Invalid(text.into())));
        }
        if let Some(owner) = self.shards.owner_of_name(&name) {
            let text = match owner == self.me {
                true => format!("the collection {name} exists already"),
                false => format!(
                    "the collection {name} exists already, it belongs to {}: choose another name",
                    owner.short()
                ),
            };
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        if self.bank.is_none() || !self.is_admitted() {
            return self.answer(call, Err(Refusal::Refused(NOT_A_MEMBER.into())));
        }
        if !self.shards.has_room(&self.me) {
            let text = format!(
                "this node knows {} collections of at most {COLLECTIONS_MAX}, and no owner may have \
                 more than are free: remove some of yours",
                self.shards.collections.len()
            );
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        let body = CollectionSpec { name, nonce: self.rng.next_u64(), layout, dropped: false };
        let id = body.id(&self.me);
        let spec = Signed::seal(body, &self.key, &self.pool);
        self.learn_collection(spec.clone(), false);
        self.publish(&Gossip::Collection(spec));
        let view = self.collection_view(&id);
        match view {
            Some(view) => self.answer(call, Ok(Answer::Collection(view))),
            None => {
                let text = "the collection could not be made".into();
                self.answer(call, Err(Refusal::Failed(text)));
            }
        }
    }

    pub(super) fn drop_collection(&mut self, call: CallId, name: &str) {
        let id = match self.own_collection(name) {
            Ok(id) => id,
            Err(refusal) => return self.answer(call, Err(refusal)),
        };
        let Some(collection) = self.shards.collections.get(&id) else { return };
        let mut body = collection.spec.body.clone();
        body.dropped = true;
        let spec = Signed::seal(body, &self.key, &self.pool);
        self.publish(&Gossip::Collection(spec.clone()));
        self.on_collection(spec);
        self.answer(call, Ok(Answer::Done));
    }

    /// Learns a collection, or that it was removed. One's own is heard of from others only when
    /// one's disk was lost.
    pub(super) fn on_collection(&mut self, spec: Signed<CollectionSpec>) {
        let lost = spec.signer == self.me;
        self.learn_collection(spec, lost);
    }

    fn learn_collection(&mut self, spec: Signed<CollectionSpec>, lost: bool) {
        let (owner, id) = (spec.signer, spec.body.id(&spec.signer));
        let known = self.shards.collections.contains_key(&id);
        let named = self.shards.owner_of_name(&spec.body.name);
        let clashes = named == Some(self.me) && owner != self.me && !spec.body.dropped;
        // The end of a collection is its owner's last word about it, and may come before the others.
        let news = match spec.body.dropped {
            true => known || self.shards.dropped.has_room(&owner),
            // Who came first with a name has it here: another's later one is not what is meant by it.
            false => {
                let free = owner == self.me || named.is_none_or(|named| named == owner);
                !known && free && self.shards.has_room(&owner)
            }
        };
        if !(news || clashes)
            || self.shards.dropped.contains(&id)
            || (owner != self.me && !self.members.is_member(&owner))
            || spec.open(&mut self.verifier, &self.pool).is_err()
        {
            return;
        }
        if clashes {
            let own = self.find_own(&spec.body.name);
            if let Some(own) = own.and_then(|own| self.shards.collections.get_mut(&own)) {
                own.rival = Some((owner, id));
            }
            return;
        }
        let key = [b"c".as_slice(), id.as_bytes()].concat();
        if spec.body.dropped {
            let own = self.shards.collections.values_mut();
            own.filter(|own| own.rival == Some((owner, id))).for_each(|own| own.rival = None);
            self.forget(Table::Shards, &key);
            self.forget(Table::Shards, &lost_key(&id));
            self.forget_collection(id, owner);
            return self.bury(id, spec);
        }
        self.persist(Table::Shards, &key, &spec);
        let name = spec.body.name.clone();
        self.shards.collections.insert(id, Collection::new(spec, false, self.now));
        self.event(Event::CollectionKnown { collection: id, name });
        if lost {
            self.lose_log(id);
        }
    }

    /// The log of an own collection is not here, or not to its end: a batch written now would take
    /// the place of one that holders have acknowledged, and they would drop their copies for it.
    pub(super) fn lose_log(&mut self, id: CollectionId) {
        let Some(collection) = self.shards.collections.get_mut(&id) else { return };
        if std::mem::replace(&mut collection.lost, true) {
            return;
        }
        let refusal = lost_text(&collection.spec.body.name);
        let own: Vec<(ShardId, OwnShard)> = collection
            .shards
            .iter_mut()
            .filter_map(|(index, shard)| Some((shard_id(&id, *index), shard.own.take()?)))
            .collect();
        self.persist_bytes(Table::Shards, &lost_key(&id), vec![1]);
        let recalled = !self.shards.recalling.is_empty();
        for (shard, own) in own {
            self.forget(Table::Shards, &[b"o".as_slice(), shard.as_bytes()].concat());
            self.shards.recalling.remove(&shard);
            for inflight in own.inflight.into_values() {
                if let Some(task) = inflight.task {
                    self.fail_task(task, "the log of its collection was lost");
                }
                let append = inflight.append.and_then(|a| self.shards.appends.remove(&a));
                if let Some(append) = append {
                    self.answer(append.call, Err(Refusal::Failed(refusal.clone())));
                }
            }
        }
        self.note(refusal);
        if recalled && self.shards.recalling.is_empty() {
            self.go_on_after_recall();
        }
    }

    /// Names that this node's collections share with those of other members.
    pub(super) fn name_clashes(&self) -> impl Iterator<Item = String> {
        let rivals = self.shards.collections.values().filter_map(|own| Some((own, own.rival?.0)));
        let there = rivals.filter(|(_, rival)| self.members.is_member(rival));
        there.map(|(own, rival)| {
            let name = &own.spec.body.name;
            format!(
                "{} has a collection {name} too: members that heard of that one first hold no copies of this \
                 node's and search the other. Make one of another name and import into it, then `edge-net \
                 collection rm {name}`",
                rival.short()
            )
        })
    }

    fn forget_collection(&mut self, id: CollectionId, owner: NodeId) {
        let Some(collection) = self.shards.collections.remove(&id) else { return };
        for (index, shard) in collection.shards {
            let shard_id = shard_id(&id, index);
            self.shards.places.remove(&shard_id);
            self.release(shard_id);
            for prefix in [b"h", b"o"] {
                let key = [prefix.as_slice(), shard_id.as_bytes()].concat();
                self.forget(Table::Shards, &key);
            }
            let Some(own) = shard.own else { continue };
            for seq in 1..=own.seq {
                self.forget(Table::Log, &log_key(&shard_id, seq));
            }
            for inflight in own.inflight.into_values() {
                if let Some(task) = inflight.task {
                    self.fail_task(task, "the collection was removed");
                }
                self.finish_append(inflight.append, None);
            }
        }
        let held: Vec<ShardId> = self
            .shards
            .replicas
            .iter()
            .filter(|(_, r)| r.collection == id && r.owner == owner)
            .map(|(shard, _)| *shard)
            .collect();
        for shard in held {
            self.release(shard);
        }
    }

    pub(super) fn tell_collections(&mut self, to: NodeId) {
        let specs: Vec<Signed<CollectionSpec>> =
            self.shards.collections.values().map(|c| c.spec.clone()).take(256).collect();
        let heads: Vec<Signed<ShardHead>> = self
            .shards
            .collections
            .values()
            .flat_map(|c| c.shards.values())
            .filter_map(|s| s.heads.values().next_back().cloned())
            .take(512)
            .collect();
        if !specs.is_empty() {
            self.send(to, &Message::Collections { specs, heads });
        }
    }

    pub(super) fn on_collections(
        &mut self,
        from: NodeId,
        specs: Vec<Signed<CollectionSpec>>,
        heads: Vec<Signed<ShardHead>>,
    ) {
        self.tell_removed(from, &specs);
        for spec in specs {
            self.on_collection(spec);
        }
        for head in heads {
            self.on_head(head);
        }
    }

    /// The shards of a collection that have accepted rows, in order.
    pub(super) fn shards_of(&self, collection: &CollectionId) -> Vec<ShardId> {
        let Some(collection) = self.shards.collections.get(collection) else { return Vec::new() };
        let with_head = collection.shards.values().filter_map(|s| s.heads.values().next_back());
        with_head.map(|h| shard_id(&h.body.collection, h.body.index)).collect()
    }

    pub(super) fn known_records(
        &mut self,
        call: CallId,
        name: String,
        ids: Vec<RecordId>,
        pending: bool,
    ) {
        if !self.shards.recalling.is_empty() {
            return self.wait_for_recall(call, Command::Known { collection: name, ids, pending });
        }
        let answer = self.own_collection(&name).map(|id| {
            let live = self.shards.collections.get(&id).map(|c| &c.live);
            let entry = |id: &RecordId| {
                let (index, record) = live?.get(id)?;
                if pending {
                    return Some(LogEntry { id: *id, record: Some(*record) });
                }
                // Only what was accepted counts as stored.
                let shard =
                    self.shards.collections.get(&self.find_own(&name)?)?.shards.get(index)?;
                let waits = shard.own.as_ref()?.inflight.keys().next().is_some_and(|first| {
                    let own = shard.own.as_ref();
                    own.is_some_and(|own| {
                        let from = usize::try_from(first - 1).unwrap_or(usize::MAX);
                        own.entries.iter().skip(from).flatten().any(|e| e.id == *id)
                    })
                });
                (!waits).then_some(LogEntry { id: *id, record: Some(*record) })
            };
            Answer::Known(ids.iter().filter_map(entry).collect())
        });
        self.answer(call, answer);
    }

    fn find_own(&self, name: &str) -> Option<CollectionId> {
        self.own_collection(name).ok()
    }

    pub(super) fn collection_views(&self) -> Vec<CollectionView> {
        let known = self.shards.collections.keys();
        let mut views: Vec<CollectionView> =
            known.filter_map(|id| self.collection_view(id)).collect();
        views.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        views
    }

    fn collection_view(&self, id: &CollectionId) -> Option<CollectionView> {
        let collection = self.shards.collections.get(id)?;
        let shards: Vec<ShardView> = collection
            .shards
            .iter()
            .map(|(index, shard)| {
                let head = shard.heads.values().next_back().map(|h| &h.body);
                let replica = |node: NodeId, seq: u64| ReplicaView {
                    node,
                    seq,
                    reachable: node == self.me || self.may_answer(&node),
                    proven: node == self.me || self.members.is_proven(&node),
                };
                let shard_id = shard_id(id, *index);
                let here = self.applied_here(&shard_id);
                let seq_of = |node: &NodeId, told: u64| match here {
                    Some(applied) if *node == self.me => applied,
                    _ => told,
                };
                let replicas = match &shard.own {
                    Some(own) => {
                        own.holders.iter().map(|(n, s)| replica(*n, seq_of(n, *s))).collect()
                    }
                    None => head.map_or(Vec::new(), |h| {
                        h.replicas.iter().map(|n| replica(*n, seq_of(n, h.seq))).collect()
                    }),
                };
                ShardView {
                    shard: shard_id,
                    rows: head.map_or(0, |h| h.rows),
                    seq: head.map_or(0, |h| h.seq),
                    root: head.map(|h| h.root).unwrap_or_default(),
                    replicas,
                    wanted: self.settings.replication.min(self.members.len() + 1),
                    standing: self.standing(&shard_id),
                }
            })
            .collect();
        Some(CollectionView {
            name: collection.spec.body.name.clone(),
            id: *id,
            owner: collection.spec.signer,
            layout: collection.spec.body.layout.clone(),
            rows: shards.iter().map(|s| s.rows).sum(),
            shards,
        })
    }
}
