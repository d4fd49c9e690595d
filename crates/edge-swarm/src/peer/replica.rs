//! Copies of shards held here: batches arrive, become durable, are applied in order.
//!
//! The log is authoritative. A batch is durable before its task is committed to; after a restart
//! the index begins with its snapshot, where there is one, and is brought up to date from the stored
//! batches. What is missing is asked of the owner.

use std::{collections::BTreeMap, sync::Arc};

use edge_base::{
    CollectionId, Digest, Micros, NodeId, ShardId, Signed, TaskId, Timestamp, Work, codec,
    shard::{AppendResult, LogBatch},
};
use serde::{Deserialize, Serialize};

use super::{
    LoadPurpose, Peer, Purpose, StartError, Stored, Timer, decode_stored, fair::has_room,
    membership::Link,
};
use crate::{
    io::{Table, Urgency},
    message::{CollectionSpec, DeclineReason, Message, ShardHead, shard_id},
};

/// Copies one node holds, at most.
pub(crate) const REPLICAS_MAX: usize = 4_096;
/// Batches kept in memory while an earlier one is missing.
const BUFFER_MAX: usize = 64;
/// Roots of recent positions kept to answer tasks that are repeated.
const ROOTS_MAX: usize = 256;
/// Batches served to one request.
const SERVE_MAX: u64 = 4;
const CATCH_UP_EVERY: Micros = Micros::from_secs(1);
/// And this long after the owner accepted a batch that did not come.
const CATCH_UP_AFTER: Micros = Micros::from_millis(100);
/// A batch of a shard that is not held here waits this long for the request to hold it.
const EARLY_WAIT: Micros = Micros::from_millis(500);
/// An owner that is away for so long may not come back soon.
const OWNER_AWAY: Micros = Micros::from_secs(3);
/// Batches that wait so.
pub(super) const EARLY_MAX: usize = 64;

/// A copy held here.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) owner: NodeId,
    pub(crate) collection: CollectionId,
    pub(crate) index: u32,
    stored: u64,
    chain: Option<Digest>,
    pub(crate) applied: u64,
    roots: BTreeMap<u64, Digest>,
    ready: BTreeMap<u64, Arc<[u8]>>,
    buffer: BTreeMap<u64, Arc<[u8]>>,
    applying: bool,
    /// It began with a snapshot, not with the first batch.
    restored: bool,
    tasks: BTreeMap<u64, TaskId>,
    /// No batch behind this is applied: the owner went away before it signed that position.
    held_at: Option<u64>,
    target: u64,
    timer: bool,
    asked: Option<Timestamp>,
    asked_from: u64,
}

/// What is stored of a copy besides its batches.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct StoredReplica {
    owner: NodeId,
    collection: CollectionId,
    index: u32,
    stored: u64,
    chain: Digest,
}

impl Replica {
    /// The last batch of the log that is on disk.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    fn new(owner: NodeId, collection: CollectionId, index: u32) -> Self {
        Replica {
            owner,
            collection,
            index,
            stored: 0,
            chain: Some(Digest::default()),
            applied: 0,
            roots: BTreeMap::new(),
            ready: BTreeMap::new(),
            buffer: BTreeMap::new(),
            applying: false,
            restored: false,
            tasks: BTreeMap::new(),
            held_at: None,
            target: 0,
            timer: false,
            asked: None,
            asked_from: 0,
        }
    }

    /// What executing the log gave at a recent position, and its chain hash where that is known.
    pub(crate) fn at(&self, seq: u64) -> Option<(Option<Digest>, Digest)> {
        let root = self.roots.get(&seq).copied()?;
        Some((self.chain.filter(|_| self.stored == seq), root))
    }

    fn root(&self) -> Option<Digest> {
        self.roots.get(&self.applied).copied()
    }
}

/// The key of a log batch.
pub(crate) fn log_key(shard: &ShardId, seq: u64) -> Vec<u8> {
    [shard.as_bytes().as_slice(), &seq.to_be_bytes()].concat()
}

/// The shards of which a store says that copies are held.
pub(super) fn copies_in(stored: &Stored) -> impl Iterator<Item = ShardId> {
    let keys = stored.table(Table::Shards).iter().filter_map(|(key, _)| key.strip_prefix(b"r"));
    keys.filter_map(|id| Some(ShardId(Digest(id.try_into().ok()?))))
}

fn replica_key(shard: &ShardId) -> Vec<u8> {
    [b"r".as_slice(), shard.as_bytes()].concat()
}

impl Peer {
    pub(super) fn restore_replicas(&mut self, stored: &Stored) -> Result<(), StartError> {
        let damaged = StartError::Damaged { table: "shards" };
        for (key, value) in stored.table(Table::Shards).iter().filter(|(k, _)| k.starts_with(b"r"))
        {
            let meta: StoredReplica = decode_stored(value).ok_or(damaged.clone())?;
            let id = <[u8; 32]>::try_from(&key[1..]).map_err(|_| damaged.clone())?;
            let mut replica = Replica::new(meta.owner, meta.collection, meta.index);
            replica.stored = meta.stored;
            replica.chain = Some(meta.chain);
            let shard = ShardId(Digest(id));
            self.shards.replicas.insert(shard, replica);
            self.restore_replica(shard, meta.stored);
        }
        Ok(())
    }

    /// Begins with a snapshot of position `seq` or an earlier one; with the first batch when there is none.
    fn restore_replica(&mut self, shard: ShardId, seq: u64) {
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        replica.applying = true;
        let what = Work::Restore { shard, seq, chain: replica.chain.unwrap_or_default() };
        self.execute(what, Urgency::Normal, Purpose::Restore { shard });
    }

    pub(super) fn on_restored(&mut self, shard: ShardId, outcome: Result<Vec<u8>, String>) {
        let Some(replica) = self.shards.replicas.get_mut(&shard) else {
            // Released meanwhile.
            self.execute(Work::Drop { shard }, Urgency::Background, Purpose::Nothing);
            return;
        };
        replica.applying = false;
        let at = outcome.ok().and_then(|bytes| codec::decode::<Option<AppendResult>>(&bytes).ok());
        if let Some(AppendResult { seq, root }) = at.flatten().filter(|at| at.seq <= replica.stored)
        {
            replica.restored = true;
            replica.applied = seq;
            replica.roots.insert(seq, root);
            if seq == replica.stored {
                self.announce(shard);
            }
        }
        self.apply_next(shard);
        self.step_searches_of(shard);
    }

    /// Whether a copy here can answer from this position on.
    pub(super) fn holds_shard(&self, shard: &ShardId, seq_min: u64) -> bool {
        self.shards.replicas.get(shard).is_some_and(|r| r.applied >= seq_min)
    }

    /// How far a copy here got.
    pub(super) fn applied_here(&self, shard: &ShardId) -> Option<u64> {
        self.shards.replicas.get(shard).map(|replica| replica.applied)
    }

    fn store_replica(&mut self, shard: ShardId) {
        let Some(replica) = self.shards.replicas.get(&shard) else { return };
        let meta = StoredReplica {
            owner: replica.owner,
            collection: replica.collection,
            index: replica.index,
            stored: replica.stored,
            chain: replica.chain.unwrap_or_default(),
        };
        self.persist(Table::Shards, &replica_key(&shard), &meta);
    }

    /// Begins to hold a copy.
    pub(super) fn hold(&mut self, owner: NodeId, collection: CollectionId, index: u32) -> bool {
        let shard = shard_id(&collection, index);
        if self.shards.replicas.contains_key(&shard) {
            return true;
        }
        let replicas = &self.shards.replicas;
        let of_owner = || replicas.values().filter(|replica| replica.owner == owner).count();
        if !has_room(replicas.len(), REPLICAS_MAX, of_owner) {
            return false;
        }
        self.shards.replicas.insert(shard, Replica::new(owner, collection, index));
        self.store_replica(shard);
        true
    }

    pub(super) fn on_replicate(
        &mut self,
        from: NodeId,
        spec: Signed<CollectionSpec>,
        index: u32,
        head: Option<Signed<ShardHead>>,
    ) {
        let collection = spec.body.id(&spec.signer);
        if spec.signer != from || !self.settings.works || index > 1 << 20 {
            return;
        }
        self.on_collection(spec);
        if self.shards.owner_of(&collection) != Some(from) || !self.hold(from, collection, index) {
            return;
        }
        let shard = shard_id(&collection, index);
        let target = head.as_ref().map_or(0, |h| h.body.seq);
        if let Some(head) = head {
            self.on_head(head);
        }
        if let Some(replica) = self.shards.replicas.get_mut(&shard) {
            replica.target = replica.target.max(target);
        }
        self.take_early(shard);
        self.catch_up(shard);
        self.announce(shard);
    }

    pub(super) fn on_release(&mut self, from: NodeId, shard: ShardId) {
        if self.shards.replicas.get(&shard).is_some_and(|r| r.owner == from) {
            self.release(shard);
        }
    }

    /// Forgets a copy and its log.
    pub(super) fn release(&mut self, shard: ShardId) {
        let Some(replica) = self.shards.replicas.remove(&shard) else { return };
        self.forget(Table::Shards, &replica_key(&shard));
        if replica.owner != self.me {
            for seq in 1..=replica.stored {
                self.forget(Table::Log, &log_key(&shard, seq));
            }
        }
        for task in replica.tasks.into_values() {
            self.drop_job(task, Some(DeclineReason::Behind));
        }
        self.execute(Work::Drop { shard }, Urgency::Background, Purpose::Nothing);
    }

    /// An assignment brings a batch.
    pub(super) fn take_batch(&mut self, task: TaskId, requester: NodeId, payload: Arc<[u8]>) {
        let batch: Option<LogBatch> = codec::decode(&payload).ok();
        let Some(batch) = batch.filter(LogBatch::is_well_formed) else {
            return self.drop_job(task, Some(DeclineReason::Payload));
        };
        let shard = batch.shard;
        let Some(replica) = self.shards.replicas.get_mut(&shard) else {
            return self.wait_for_replicate(shard, task);
        };
        if replica.owner != requester {
            return self.drop_job(task, Some(DeclineReason::Behind));
        }
        if batch.seq <= replica.applied {
            let root = replica.roots.get(&batch.seq).copied();
            return match root {
                Some(root) => {
                    let result = codec::encode(&AppendResult { seq: batch.seq, root });
                    self.commit_job(task, result.into());
                }
                None => self.drop_job(task, Some(DeclineReason::Behind)),
            };
        }
        if let Some(before) = replica.tasks.insert(batch.seq, task)
            && before != task
        {
            self.drop_job(before, None);
        }
        self.take_log(shard, batch, payload);
    }

    /// A batch can overtake the request to hold its shard.
    fn wait_for_replicate(&mut self, shard: ShardId, task: TaskId) {
        if self.shards.early.len() >= EARLY_MAX {
            return self.drop_job(task, Some(DeclineReason::Behind));
        }
        self.shards.early.push((shard, task));
        self.after(EARLY_WAIT, Timer::EarlyBatch(task));
    }

    /// A copy is held now: batches of it that were early are taken.
    fn take_early(&mut self, shard: ShardId) {
        let (of_shard, rest) = self.shards.early.drain(..).partition(|(early, _)| *early == shard);
        self.shards.early = rest;
        let of_shard: Vec<(ShardId, TaskId)> = of_shard;
        for (_, task) in of_shard {
            if let Some((requester, payload)) = self.jobs.batch(&task) {
                self.take_batch(task, requester, payload);
            }
        }
    }

    pub(super) fn on_early_timer(&mut self, task: TaskId) {
        if let Some(place) = self.shards.early.iter().position(|(_, early)| *early == task) {
            self.shards.early.swap_remove(place);
            self.drop_job(task, Some(DeclineReason::Behind));
        }
    }

    /// Stores a batch if it continues the log, keeps it for later if something is missing before.
    pub(super) fn take_log(&mut self, shard: ShardId, batch: LogBatch, payload: Arc<[u8]>) {
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        if batch.seq > replica.stored + 1 {
            if replica.buffer.len() < BUFFER_MAX {
                replica.buffer.insert(batch.seq, payload);
            }
            replica.target = replica.target.max(batch.seq);
            return self.catch_up(shard);
        }
        if batch.seq <= replica.stored || replica.chain != Some(batch.prev) {
            return;
        }
        replica.stored = batch.seq;
        replica.target = replica.target.max(batch.seq);
        replica.chain = Some(batch.chain());
        replica.ready.insert(batch.seq, payload.clone());
        let (seq, own) = (batch.seq, replica.owner == self.me);
        if !own {
            self.persist_bytes(Table::Log, &log_key(&shard, seq), payload.to_vec());
        }
        self.store_replica(shard);
        let next = self.shards.replicas.get_mut(&shard).and_then(|r| r.buffer.remove(&(seq + 1)));
        if let Some(payload) = next
            && let Ok(batch) = codec::decode::<LogBatch>(&payload)
        {
            self.take_log(shard, batch, payload);
        }
        self.apply_next(shard);
    }

    /// Hands the next stored batch to the workers.
    fn apply_next(&mut self, shard: ShardId) {
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        let end = replica.held_at.map_or(replica.stored, |held| held.min(replica.stored));
        if replica.applying || replica.applied >= end {
            return;
        }
        replica.applying = true;
        let seq = replica.applied + 1;
        match replica.ready.remove(&seq) {
            Some(payload) => {
                let what = Work::Append { payload };
                self.execute(what, Urgency::Normal, Purpose::Apply { shard, seq });
            }
            None => {
                let purpose = LoadPurpose::Apply { shard, seq };
                self.load(Table::Log, log_key(&shard, seq), purpose);
            }
        }
    }

    pub(super) fn on_apply_loaded(&mut self, shard: ShardId, seq: u64, value: Option<Vec<u8>>) {
        if !self.shards.replicas.contains_key(&shard) {
            return;
        }
        match value {
            Some(bytes) => {
                let what = Work::Append { payload: bytes.into() };
                self.execute(what, Urgency::Normal, Purpose::Apply { shard, seq });
            }
            None => {
                // The log is shorter than it says: fetch the rest again from the owner.
                self.note(format!("batch {seq} of shard {} is missing here", shard.short()));
                self.begin_again(shard);
            }
        }
    }

    /// Fetches the whole log again: the chain hash of an inner position is not kept.
    fn begin_again(&mut self, shard: ShardId) {
        let me = self.me;
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        let (owner, collection, index) = (replica.owner, replica.collection, replica.index);
        if owner == me {
            return;
        }
        let target = replica.target.max(replica.stored);
        let mut fresh = Replica::new(owner, collection, index);
        fresh.target = target;
        self.shards.replicas.insert(shard, fresh);
        self.execute(Work::Drop { shard }, Urgency::Normal, Purpose::Nothing);
        self.store_replica(shard);
        self.catch_up(shard);
    }

    pub(super) fn on_applied(
        &mut self,
        shard: ShardId,
        seq: u64,
        outcome: Result<Vec<u8>, String>,
    ) {
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        replica.applying = false;
        if outcome.is_err() && replica.restored {
            // The snapshot may not be what the log says: once more from the first batch.
            replica.restored = false;
            replica.applied = 0;
            replica.roots.clear();
            return self.restore_replica(shard, 0);
        }
        let task = replica.tasks.remove(&seq);
        let result = match outcome {
            Ok(bytes) => bytes,
            Err(text) => {
                self.note(format!("shard {} cannot be continued: {text}", shard.short()));
                if let Some(task) = task {
                    self.drop_job(task, Some(DeclineReason::Failed));
                }
                return self.begin_again(shard);
            }
        };
        let Ok(AppendResult { root, .. }) = codec::decode::<AppendResult>(&result) else { return };
        replica.applied = seq;
        replica.roots.insert(seq, root);
        while replica.roots.len() > ROOTS_MAX {
            replica.roots.pop_first();
        }
        let level = replica.applied == replica.stored;
        match task {
            Some(task) => self.commit_job(task, result.into()),
            None if level => self.announce(shard),
            None => {}
        }
        self.apply_next(shard);
        self.step_searches_of(shard);
    }

    /// Copies that are ahead of the last head of an owner that went away go back to it: nobody could check
    /// what they answer. The batches stay, and are applied again when the owner is back.
    pub(super) fn roll_back_ahead(&mut self) {
        let away = |owner: &NodeId| match self.members.get(owner).map(|member| &member.link) {
            Some(Link::Down(at)) => self.now.since(*at) >= OWNER_AWAY,
            Some(Link::Up | Link::Unknown) | None => false,
        };
        let head = |shard: &ShardId| self.shards.head(shard).map(|h| (h.body.seq, h.body.chain));
        let ahead = |(shard, replica): (&ShardId, &Replica)| {
            let (seq, chain) = head(shard)?;
            let back = replica.owner != self.me
                && replica.applied > seq
                && !replica.applying
                && replica.held_at.is_none()
                && away(&replica.owner);
            back.then_some((*shard, seq, chain))
        };
        let ahead: Vec<(ShardId, u64, Digest)> =
            self.shards.replicas.iter().filter_map(ahead).collect();
        for (shard, seq, chain) in ahead {
            let Some(replica) = self.shards.replicas.get_mut(&shard) else { continue };
            replica.held_at = Some(seq);
            replica.applied = 0;
            replica.restored = false;
            replica.roots.clear();
            replica.ready.clear();
            replica.applying = true;
            for task in std::mem::take(&mut replica.tasks).into_values() {
                self.drop_job(task, Some(DeclineReason::Behind));
            }
            self.note(format!(
                "the owner of shard {} is away: its copy here goes back to batch {seq}, the last that \
                 it signed for",
                shard.short()
            ));
            let what = Work::Restore { shard, seq, chain };
            self.execute(what, Urgency::Normal, Purpose::Restore { shard });
        }
    }

    /// An owner is back, or its next head came: its batches are applied to the end.
    fn go_on(&mut self, shard: ShardId) {
        let held = self.shards.replicas.get_mut(&shard).and_then(|r| r.held_at.take());
        if held.is_some() {
            self.apply_next(shard);
        }
    }

    /// Tells the owner how far the copy is.
    fn announce(&mut self, shard: ShardId) {
        let Some(replica) = self.shards.replicas.get(&shard) else { return };
        let (owner, seq) = (replica.owner, replica.applied);
        let Some(root) = replica.root() else { return };
        if owner == self.me {
            self.on_replica_at(self.me, shard, seq, root);
        } else {
            self.send(owner, &Message::ReplicaAt { shard, seq, root });
        }
    }

    pub(super) fn announce_replicas(&mut self, owner: Option<NodeId>) {
        let shards: Vec<ShardId> = self
            .shards
            .replicas
            .iter()
            .filter(|(_, r)| owner.is_none_or(|o| r.owner == o))
            .map(|(shard, _)| *shard)
            .collect();
        if let Some(owner) = owner.filter(|owner| *owner != self.me && !shards.is_empty()) {
            self.standing.catches_up(&owner, self.now);
        }
        for shard in shards {
            self.go_on(shard);
            self.announce(shard);
        }
    }

    /// The owner accepted a position: its batch may still be on its way here, or was lost.
    pub(super) fn catch_up_soon(&mut self, shard: ShardId, seq: u64) {
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        if replica.held_at.is_some_and(|held| held < seq) {
            self.go_on(shard);
        }
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        replica.target = replica.target.max(seq);
        let behind = replica.stored < replica.target && replica.owner != self.me;
        if behind && !std::mem::replace(&mut replica.timer, true) {
            self.after(CATCH_UP_AFTER, Timer::CatchUp(shard));
        }
    }

    fn catch_up(&mut self, shard: ShardId) {
        let now = self.now;
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        if replica.stored >= replica.target || replica.owner == self.me {
            return;
        }
        let recently = replica.asked.is_some_and(|at| now.since(at) < Micros(CATCH_UP_EVERY.0 / 2));
        let (owner, seq, armed) = (replica.owner, replica.stored + 1, replica.timer);
        replica.timer = true;
        if !recently {
            replica.asked = Some(now);
            replica.asked_from = seq;
            self.send(owner, &Message::LogWant { shard, seq });
        }
        if !armed {
            self.after(CATCH_UP_EVERY, Timer::CatchUp(shard));
        }
    }

    pub(super) fn on_catch_up_timer(&mut self, shard: ShardId) {
        if let Some(replica) = self.shards.replicas.get_mut(&shard) {
            replica.timer = false;
            replica.asked = None;
            self.catch_up(shard);
        }
    }

    pub(super) fn on_log_want(&mut self, from: NodeId, shard: ShardId, seq: u64) {
        let Some(last) = self.own_log_end(&shard) else { return };
        if seq == 0 || seq > last {
            return;
        }
        for seq in seq..=last.min(seq + SERVE_MAX - 1) {
            let purpose = LoadPurpose::Serve { shard, seq, to: from };
            self.load(Table::Log, log_key(&shard, seq), purpose);
        }
    }

    pub(super) fn on_serve_loaded(
        &mut self,
        shard: ShardId,
        seq: u64,
        to: NodeId,
        value: Option<Vec<u8>>,
    ) {
        let last = self.own_log_end(&shard).unwrap_or(seq);
        let batch = value.unwrap_or_default();
        self.send(to, &Message::LogBatch { shard, seq, batch, last });
    }

    pub(super) fn on_log_batch(
        &mut self,
        from: NodeId,
        shard: ShardId,
        seq: u64,
        batch: Vec<u8>,
        last: u64,
    ) {
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        if replica.owner != from {
            return;
        }
        replica.target = replica.target.max(last);
        let decoded: Option<LogBatch> = codec::decode(&batch).ok();
        let Some(decoded) = decoded.filter(|b| b.is_well_formed() && b.shard == shard) else {
            return;
        };
        if decoded.seq != seq {
            return;
        }
        self.take_log(shard, decoded, batch.into());
        let Some(replica) = self.shards.replicas.get_mut(&shard) else { return };
        // The last of a burst asks for the next one at once.
        let in_step = replica.buffer.is_empty() && seq == replica.stored;
        let served = seq + 1 >= replica.asked_from + SERVE_MAX;
        if replica.stored < replica.target && in_step && served {
            replica.asked = None;
            self.catch_up(shard);
        }
    }
}
