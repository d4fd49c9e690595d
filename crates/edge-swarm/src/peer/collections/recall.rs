//! Own logs read back from the disk after a restart; commands that need one wait for it.

use std::sync::Arc;

use edge_base::{ShardId, Signed, Timestamp, codec, shard::LogBatch};

use super::{Collection, Inflight, OwnShard, StoredShard, WAITING_MAX, lost_key};
use crate::{
    command::{Command, Refusal},
    io::{CallId, Table},
    message::{CollectionSpec, ShardHead, shard_id},
    peer::{LoadPurpose, Peer, StartError, Stored, decode_stored, replica::log_key},
};

impl Peer {
    pub(in crate::peer) fn restore_shards(&mut self, stored: &Stored) -> Result<(), StartError> {
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
    pub(in crate::peer) fn on_recall_loaded(
        &mut self,
        shard: ShardId,
        seq: u64,
        value: Option<Vec<u8>>,
    ) {
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

    pub(super) fn go_on_after_recall(&mut self) {
        for (call, command) in std::mem::take(&mut self.shards.waiting) {
            self.on_command(call, command);
        }
        self.announce_replicas(Some(self.me));
    }

    pub(super) fn wait_for_recall(&mut self, call: CallId, command: Command) {
        if self.shards.waiting.len() >= WAITING_MAX {
            let text = "this node still reads its logs; try again in a moment".into();
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        self.shards.waiting.push_back((call, command));
    }
}
