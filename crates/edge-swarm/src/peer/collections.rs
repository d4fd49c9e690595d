//! Collections and their shards: what is known of all, and the logs of those owned here.
//!
//! The owner is the only writer. It gives each record to a shard, chains batches, keeps the
//! entries (ids and record hashes) in memory and the batches on disk, and signs a head for every
//! position whose root was accepted (`collections/heads.rs`). Who holds copies is chosen by rendezvous hashing (Thaler and
//! Ravishankar 1998) and repaired when holders stay away or are named by a fault.

mod heads;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use edge_base::{
    CollectionId, Digest, Micros, NodeId, RecordId, ShardId, Signed, TaskId, TaskKind, Timestamp,
    codec,
    shard::{AppendResult, BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, LogBatch, LogEntry},
};
use serde::{Deserialize, Serialize};

use self::heads::HEADS_MAX;
use super::{
    LoadPurpose, Peer, StartError, Stored, Timer, decode_stored,
    fair::has_room,
    membership::Link,
    possession::Shown,
    replica::{Replica, log_key},
    task::Origin,
    tombstones::Tombstones,
};
use crate::{
    command::{
        Answer, Canaries, Change, CollectionView, Command, Priority, Refusal, ReplicaView,
        ShardView, TaskRequest,
    },
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
/// A batch is accepted within this time, or its task begins again.
const APPEND_WITHIN: Micros = Micros::from_secs(120);
const REPAIR_EVERY: Micros = Micros::from_secs(1);
pub(super) const NOT_A_MEMBER: &str =
    "this node is not a member yet: `edge-net status` says what it waits for";
/// A holder that is away for this long gets a successor.
const AWAY_AFTER: Micros = Micros::from_secs(8);
/// A holder that showed nothing for its copy in this time is asked for it.
const CONFIRM_EVERY: Micros = Micros::from_secs(30);
/// A holder that was asked for this long counts as without a copy.
const CONFIRM_WITHIN: Micros = Micros::from_secs(40);
/// Holders of one shard, at most, counting those that are away.
const HOLDERS_MAX: usize = 8;
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

    // Writing.

    pub(super) fn append(&mut self, call: CallId, name: String, changes: Vec<Change>, units: u64) {
        if !self.shards.recalling.is_empty() {
            let command = Command::Append { collection: name, changes, units };
            return self.wait_for_recall(call, command);
        }
        let id = match self.own_collection(&name) {
            Ok(id) => id,
            Err(refusal) => return self.answer(call, Err(refusal)),
        };
        if self.is_leaving() {
            let text = "this node is shutting down".into();
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        if self.shards.collections.get(&id).is_some_and(|c| c.lost) {
            return self.answer(call, Err(Refusal::Refused(lost_text(&name))));
        }
        let bytes: usize = changes.iter().map(|c| c.body.len()).sum();
        if changes.len() > BATCH_ENTRIES_MAX || bytes > BATCH_BYTES_MAX {
            let text = format!(
                "at most {BATCH_ENTRIES_MAX} changes of {} KiB together at a time",
                BATCH_BYTES_MAX / 1024
            );
            return self.answer(call, Err(Refusal::Invalid(text)));
        }
        let waiting = |c: &Collection| {
            c.shards
                .values()
                .filter_map(|s| s.own.as_ref())
                .any(|o| o.inflight.len() >= INFLIGHT_MAX)
        };
        if self.shards.collections.get(&id).is_some_and(waiting) {
            let text = "too many batches wait for their replicas; try again later".into();
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        let by_shard = self.place_changes(id, changes);
        if by_shard.is_empty() {
            return self.answer(call, Ok(Answer::Appended { entries: 0, replicas: 0 }));
        }
        let append = self.fresh_id();
        let parts = by_shard.len();
        let total: usize = by_shard.values().map(Vec::len).sum();
        let waiting = AppendCall { call, entries: total, parts, replicas: usize::MAX };
        self.shards.appends.insert(append, waiting);
        for (index, changes) in by_shard {
            let share = (units * changes.len() as u64).div_ceil(total.max(1) as u64).max(1);
            self.write_batch(id, index, changes, share, append);
        }
    }

    /// Gives each change to the shard that has the record, or to the one that fills.
    fn place_changes(
        &mut self,
        id: CollectionId,
        changes: Vec<Change>,
    ) -> BTreeMap<u32, Vec<Change>> {
        let rows_max = self.settings.shard_rows.max(1);
        let mut by_shard: BTreeMap<u32, Vec<Change>> = BTreeMap::new();
        let Some(collection) = self.shards.collections.get_mut(&id) else { return by_shard };
        for change in changes {
            let known = collection.live.get(&change.entry.id).copied();
            let index = match (known, change.entry.record) {
                (Some((_, hash)), Some(record)) if hash == record => continue,
                (Some((index, _)), _) => index,
                (None, None) => continue,
                (None, Some(_)) => {
                    let last = collection.shards.keys().next_back().copied();
                    let full = |index: u32| {
                        let shard = collection.shards.get(&index);
                        shard.and_then(|s| s.own.as_ref()).is_some_and(|o| o.rows >= rows_max)
                    };
                    match last {
                        None => 0,
                        Some(index) if full(index) => index + 1,
                        Some(index) => index,
                    }
                }
            };
            let shard = collection.shards.entry(index).or_default();
            let own = shard.own.get_or_insert_with(OwnShard::default);
            match change.entry.record {
                Some(record) => {
                    if known.is_none() {
                        own.rows += 1;
                    }
                    collection.live.insert(change.entry.id, (index, record));
                }
                None => {
                    own.rows = own.rows.saturating_sub(1);
                    collection.live.remove(&change.entry.id);
                }
            }
            by_shard.entry(index).or_default().push(change);
        }
        by_shard
    }

    fn write_batch(
        &mut self,
        id: CollectionId,
        index: u32,
        changes: Vec<Change>,
        units: u64,
        append: u64,
    ) {
        let shard = shard_id(&id, index);
        self.shards.insert_shard(id, index);
        if self.shards.own(&shard).is_some_and(|own| own.seq == 0) {
            self.choose_holders(shard);
        }
        let Some(collection) = self.shards.collections.get(&id) else { return };
        let layout = collection.spec.body.layout.clone();
        let Some(own) = self.shards.own_mut(&shard) else { return };
        let entries: Vec<LogEntry> = changes.iter().map(|c| c.entry).collect();
        let bodies = changes.into_iter().filter(|c| c.entry.record.is_some()).map(|c| c.body);
        let seq = own.seq + 1;
        let batch = LogBatch {
            shard,
            layout,
            seq,
            prev: own.chain,
            entries: entries.clone(),
            bodies: bodies.collect(),
        };
        own.seq = seq;
        own.chain = batch.chain();
        own.entries.push(entries);
        let payload: Arc<[u8]> = codec::encode(&batch).into();
        let inflight = Inflight {
            payload: payload.clone(),
            units,
            task: None,
            root: None,
            rows: own.rows,
            chain: own.chain,
            append: Some(append),
        };
        own.inflight.insert(seq, inflight);
        self.persist_bytes(Table::Log, &log_key(&shard, seq), payload.to_vec());
        self.store_own_shard(shard);
        self.send_batch(shard, seq);
        if self.shards.replicas.contains_key(&shard) {
            self.take_log(shard, batch, payload);
        }
    }

    fn store_own_shard(&mut self, shard: ShardId) {
        let Some((collection, index)) = self.shards.places.get(&shard).copied() else { return };
        let Some(own) = self.shards.own(&shard) else { return };
        let stored = StoredShard {
            collection,
            index,
            seq: own.seq,
            holders: own.holders.keys().copied().collect(),
        };
        let key = [b"o".as_slice(), shard.as_bytes()].concat();
        self.persist(Table::Shards, &key, &stored);
    }

    /// Begins the task of a batch: every holder that can be reached executes it.
    fn send_batch(&mut self, shard: ShardId, seq: u64) {
        let Some(own) = self.shards.own(&shard) else { return };
        let Some(inflight) = own.inflight.get(&seq) else { return };
        let (payload, units) = (inflight.payload.clone(), inflight.units);
        let holders: Vec<NodeId> =
            own.holders.keys().filter(|n| **n != self.me && self.may_answer(n)).copied().collect();
        let request = TaskRequest {
            kind: TaskKind::VectorInsert,
            payload,
            pin: self.settings.shard_pin,
            units,
            priority: Priority::Normal,
            remaining: APPEND_WITHIN,
            price_max: None,
            among: None,
            canaries: Canaries::default(),
        };
        let price = self.price(TaskKind::VectorInsert, units, Priority::Normal);
        let task = self.start_task(request, price, Origin::Append { shard, seq }, Some(holders));
        if let Some(inflight) =
            self.shards.own_mut(&shard).and_then(|own| own.inflight.get_mut(&seq))
        {
            inflight.task = Some(task);
        }
    }

    /// A batch's root is accepted, or its task failed.
    pub(super) fn on_append_decided(
        &mut self,
        _task: TaskId,
        shard: ShardId,
        seq: u64,
        result: Option<&[u8]>,
    ) {
        let root = result.and_then(|bytes| codec::decode::<AppendResult>(bytes).ok());
        let Some(own) = self.shards.own_mut(&shard) else { return };
        let Some(inflight) = own.inflight.get_mut(&seq) else { return };
        match root {
            Some(AppendResult { root, .. }) => inflight.root = Some(root),
            None => {
                // The log cannot skip a batch: its task begins again, its caller need not wait.
                let append = inflight.append.take();
                self.finish_append(append, None);
                self.send_batch(shard, seq);
                return;
            }
        }
        self.advance(shard);
    }

    fn finish_append(&mut self, append: Option<u64>, replicas: Option<usize>) {
        let Some(append) = append else { return };
        let Some(waiting) = self.shards.appends.get_mut(&append) else { return };
        waiting.parts -= 1;
        let Some(replicas) = replicas else {
            let waiting = self.shards.appends.remove(&append);
            if let Some(waiting) = waiting {
                let text = "the changes are in the log, but no root of it could be checked in \
                            time; they will be sent to the replicas again";
                self.answer(waiting.call, Err(Refusal::TimedOut(text.into())));
            }
            return;
        };
        waiting.replicas = waiting.replicas.min(replicas);
        if waiting.parts == 0
            && let Some(done) = self.shards.appends.remove(&append)
        {
            let answer = Answer::Appended { entries: done.entries, replicas: done.replicas };
            self.answer(done.call, Ok(answer));
        }
    }

    /// A holder's root for a position was the accepted one.
    pub(super) fn on_replica_acknowledged(&mut self, shard: ShardId, node: NodeId, seq: u64) {
        let now = self.now;
        let Some(own) = self.shards.own_mut(&shard) else { return };
        let Some(acked) = own.holders.get_mut(&node) else { return };
        own.confirmed.insert(node, now);
        if seq > *acked {
            *acked = seq;
            self.event(Event::ReplicaAcknowledged { shard, node, seq });
        }
    }

    pub(super) fn on_replica_at(&mut self, from: NodeId, shard: ShardId, seq: u64, root: Digest) {
        let distrusted = self.shards.distrusted.contains(&(shard, from));
        if self.faults.names(&from) || distrusted {
            return;
        }
        let Some(head) = self.shards.head_at(&shard, seq) else { return };
        let same = head.body.root == root;
        if !same && self.coherence.disputes(&shard, seq) {
            return;
        }
        // Nobody becomes a holder by its own word: what holders say can be heard and said again.
        let own = self.shards.own(&shard);
        if !own.is_some_and(|own| own.holders.contains_key(&from)) {
            return;
        }
        if !same {
            return self.distrust_holder(shard, from);
        }
        self.challenge(from, shard, seq);
    }

    /// A holder said something false about its copy. It did not sign it, so nobody is named for it; but it
    /// holds no copy of this shard.
    pub(super) fn distrust_holder(&mut self, shard: ShardId, node: NodeId) {
        let Some(own) = self.shards.own_mut(&shard) else { return };
        own.holders.remove(&node);
        own.shown.remove(&node);
        self.shards.distrusted.insert((shard, node));
        self.store_own_shard(shard);
        self.event(Event::ReplicaLost { shard, node });
    }

    /// A holder says that it does not have its copy: it is asked to fetch it again.
    pub(super) fn on_replica_missing(&mut self, shard: ShardId, node: NodeId) {
        if let Some(acked) = self.shards.own_mut(&shard).and_then(|o| o.holders.get_mut(&node)) {
            *acked = 0;
        }
    }

    /// The encoded entries of all batches before a position.
    pub(super) fn history_before(&self, shard: &ShardId, seq: u64) -> Arc<[u8]> {
        let entries: &[Vec<LogEntry>] = self.shards.own(shard).map_or(&[], |own| &own.entries);
        let before = usize::try_from(seq.saturating_sub(1)).unwrap_or(usize::MAX);
        let history = &entries[..before.min(entries.len())];
        codec::encode(history).into()
    }

    /// The last position of an own shard's log.
    pub(super) fn own_log_end(&self, shard: &ShardId) -> Option<u64> {
        self.shards.own(shard).map(|own| own.seq)
    }

    // Holders.

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

    fn choose_holders(&mut self, shard: ShardId) {
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

    pub(super) fn on_repair_timer(&mut self) {
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
    pub(super) fn remove_replica_everywhere(&mut self, node: &NodeId) -> Vec<ShardId> {
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
    pub(super) fn holders_in_step(&self, shard: &ShardId) -> Vec<NodeId> {
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
    pub(super) fn best_catching_up(&self, shard: &ShardId) -> Option<u64> {
        let own = self.shards.own(shard)?;
        let fine = |n: &NodeId| !self.faults.names(n) && self.may_answer(n);
        own.holders
            .iter()
            .filter(|(n, acked)| **acked < own.accepted && fine(n))
            .map(|(_, acked)| *acked)
            .max()
    }

    /// The shards of a collection that have accepted rows, in order.
    pub(super) fn shards_of(&self, collection: &CollectionId) -> Vec<ShardId> {
        let Some(collection) = self.shards.collections.get(collection) else { return Vec::new() };
        let with_head = collection.shards.values().filter_map(|s| s.heads.values().next_back());
        with_head.map(|h| shard_id(&h.body.collection, h.body.index)).collect()
    }

    // Reading back after a restart.

    pub(super) fn restore_shards(&mut self, stored: &Stored) -> Result<(), StartError> {
        let damaged = || StartError::Damaged { table: "shards" };
        self.restore_tombstones(stored)?;
        let rows = stored.table(Table::Shards);
        for (_, value) in rows.iter().filter(|(k, _)| k.starts_with(b"c")) {
            let spec: Signed<CollectionSpec> = decode_stored(value).ok_or_else(damaged)?;
            let id = spec.body.id(&spec.signer);
            let lost = stored.get(Table::Shards, &lost_key(&id)).is_some();
            self.shards.collections.insert(id, Collection::new(spec, lost, Timestamp(0)));
        }
        for (_, value) in rows.iter().filter(|(k, _)| k.starts_with(b"h")) {
            let head: Signed<ShardHead> = decode_stored(value).ok_or_else(damaged)?;
            let (collection, index, seq) = (head.body.collection, head.body.index, head.body.seq);
            if let Some(shard) = self.shards.insert_shard(collection, index) {
                shard.heads.insert(seq, head);
            }
        }
        for (_, value) in rows.iter().filter(|(k, _)| k.starts_with(b"o")) {
            let stored: StoredShard = decode_stored(value).ok_or_else(damaged)?;
            let shard = shard_id(&stored.collection, stored.index);
            if self.shards.owner_of(&stored.collection) != Some(self.me) {
                // Of the key whose place this one took: only that one could write to it.
                continue;
            }
            let Some(entry) = self.shards.insert_shard(stored.collection, stored.index) else {
                continue;
            };
            let head = entry.heads.values().next_back().map(|h| h.body.clone());
            entry.own = Some(OwnShard {
                seq: stored.seq,
                accepted: head.as_ref().map_or(0, |h| h.seq),
                accepted_chain: head.map(|h| h.chain).unwrap_or_default(),
                holders: stored.holders.into_iter().map(|n| (n, 0)).collect(),
                ..OwnShard::default()
            });
            if stored.seq > 0 {
                self.shards.recalling.insert(shard);
                let purpose = LoadPurpose::Recall { shard, seq: 1 };
                self.load(Table::Log, log_key(&shard, 1), purpose);
            }
        }
        self.restore_replicas(stored)
    }

    /// One batch of an own log is back: its entries are known again.
    pub(super) fn on_recall_loaded(&mut self, shard: ShardId, seq: u64, value: Option<Vec<u8>>) {
        let batch: Option<LogBatch> = value.as_ref().and_then(|b| codec::decode(b).ok());
        let (Some(batch), Some(bytes)) = (batch, value) else {
            self.note(format!("batch {seq} of the own shard {} is damaged", shard.short()));
            if let Some((collection, _)) = self.shards.places.get(&shard).copied() {
                self.lose_log(collection);
            }
            return;
        };
        let payload: Arc<[u8]> = bytes.into();
        if !self.shards.recalling.contains(&shard) {
            // A copy here adopts the log.
            return self.take_log(shard, batch, payload);
        }
        let Some((collection, index)) = self.shards.places.get(&shard).copied() else { return };
        let Some(known) = self.shards.collections.get_mut(&collection) else { return };
        let Some(own) = known.shards.get_mut(&index).and_then(|s| s.own.as_mut()) else { return };
        for entry in &batch.entries {
            match entry.record {
                Some(record) => {
                    if known.live.insert(entry.id, (index, record)).is_none() {
                        own.rows += 1;
                    }
                }
                None => {
                    if known.live.remove(&entry.id).is_some() {
                        own.rows = own.rows.saturating_sub(1);
                    }
                }
            }
        }
        own.chain = batch.chain();
        own.entries.push(batch.entries);
        if seq > own.accepted {
            let inflight = Inflight {
                payload,
                units: 1,
                task: None,
                root: None,
                rows: own.rows,
                chain: own.chain,
                append: None,
            };
            own.inflight.insert(seq, inflight);
        }
        let last = own.seq;
        if seq < last {
            let purpose = LoadPurpose::Recall { shard, seq: seq + 1 };
            return self.load(Table::Log, log_key(&shard, seq + 1), purpose);
        }
        self.shards.recalling.remove(&shard);
        let unaccepted: Vec<u64> =
            self.shards.own(&shard).map_or(Vec::new(), |o| o.inflight.keys().copied().collect());
        for seq in unaccepted {
            self.send_batch(shard, seq);
        }
        if self.shards.recalling.is_empty() {
            self.go_on_after_recall();
        }
    }

    fn go_on_after_recall(&mut self) {
        for (call, command) in std::mem::take(&mut self.shards.waiting) {
            self.on_command(call, command);
        }
        self.announce_replicas(Some(self.me));
    }

    fn wait_for_recall(&mut self, call: CallId, command: Command) {
        if self.shards.waiting.len() >= WAITING_MAX {
            let text = "this node still reads its logs; try again in a moment".into();
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        self.shards.waiting.push_back((call, command));
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

    // Views.

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
