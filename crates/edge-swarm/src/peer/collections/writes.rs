//! Writing: changes become batches of a shard's log, which count once holders have checked them.

use std::{collections::BTreeMap, sync::Arc};

use edge_base::{
    CollectionId, Digest, Micros, NodeId, ShardId, TaskId, TaskKind, codec,
    shard::{AppendResult, BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, LogBatch, LogEntry},
};

use super::{AppendCall, Collection, INFLIGHT_MAX, Inflight, OwnShard, StoredShard, lost_text};
use crate::{
    command::{Answer, Canaries, Change, Command, Priority, Refusal, TaskRequest},
    event::Event,
    io::{CallId, Table},
    message::shard_id,
    peer::{Peer, replica::log_key, task::Origin},
};

/// A batch is accepted within this time, or its task begins again.
const APPEND_WITHIN: Micros = Micros::from_secs(120);

impl Peer {
    pub(in crate::peer) fn append(
        &mut self,
        call: CallId,
        name: String,
        changes: Vec<Change>,
        units: u64,
    ) {
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

    pub(super) fn store_own_shard(&mut self, shard: ShardId) {
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
    pub(super) fn send_batch(&mut self, shard: ShardId, seq: u64) {
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
    pub(in crate::peer) fn on_append_decided(
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

    pub(super) fn finish_append(&mut self, append: Option<u64>, replicas: Option<usize>) {
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
    pub(in crate::peer) fn on_replica_acknowledged(
        &mut self,
        shard: ShardId,
        node: NodeId,
        seq: u64,
    ) {
        let now = self.now;
        let Some(own) = self.shards.own_mut(&shard) else { return };
        let Some(acked) = own.holders.get_mut(&node) else { return };
        own.confirmed.insert(node, now);
        if seq > *acked {
            *acked = seq;
            self.event(Event::ReplicaAcknowledged { shard, node, seq });
        }
    }

    pub(in crate::peer) fn on_replica_at(
        &mut self,
        from: NodeId,
        shard: ShardId,
        seq: u64,
        root: Digest,
    ) {
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
    pub(in crate::peer) fn distrust_holder(&mut self, shard: ShardId, node: NodeId) {
        let Some(own) = self.shards.own_mut(&shard) else { return };
        own.holders.remove(&node);
        own.shown.remove(&node);
        self.shards.distrusted.insert((shard, node));
        self.store_own_shard(shard);
        self.event(Event::ReplicaLost { shard, node });
    }

    /// A holder says that it does not have its copy: it is asked to fetch it again.
    pub(in crate::peer) fn on_replica_missing(&mut self, shard: ShardId, node: NodeId) {
        if let Some(acked) = self.shards.own_mut(&shard).and_then(|o| o.holders.get_mut(&node)) {
            *acked = 0;
        }
    }

    /// The encoded entries of all batches before a position.
    pub(in crate::peer) fn history_before(&self, shard: &ShardId, seq: u64) -> Arc<[u8]> {
        let entries: &[Vec<LogEntry>] = self.shards.own(shard).map_or(&[], |own| &own.entries);
        let before = usize::try_from(seq.saturating_sub(1)).unwrap_or(usize::MAX);
        let history = &entries[..before.min(entries.len())];
        codec::encode(history).into()
    }

    /// The last position of an own shard's log.
    pub(in crate::peer) fn own_log_end(&self, shard: &ShardId) -> Option<u64> {
        self.shards.own(shard).map(|own| own.seq)
    }
}
