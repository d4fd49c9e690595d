//! Whether a holder has the log that it says it has.
//!
//! The root of a position is in the head that everybody knows, so naming it shows nothing. A holder that
//! says where it stands ([`Message::ReplicaAt`]) is therefore asked by the owner for the hash of a batch
//! that the owner draws and of a nonce ([`Message::Challenge`]); both read the batch from their disks. Only
//! after the right answer ([`Message::Possesses`]) does it count as a holder at that position, and
//! it is asked again for as long as it holds the copy. One batch of many that is missing is found after as many
//! questions as there are batches, in the mean. A holder that computed a batch of a task and committed to
//! its root needs no question: nobody computes that from a part of the log.

use edge_base::{Digest, Hasher, Micros, NodeId, ShardId, Timestamp};

use super::{LoadPurpose, Peer, replica::log_key};
use crate::{io::Table, message::Message};

/// An answer is good for so long.
const GOOD_FOR: Micros = Micros::from_secs(300);
/// A question without an answer is put again after this, with another batch.
const ANSWER_WITHIN: Micros = Micros::from_secs(5);

/// What a holder of an own shard is asked, and has shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    asked: Option<Asked>,
    good_until: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Asked {
    at: Timestamp,
    nonce: [u8; 16],
    /// Of the batch as it is here; `None` while it is read.
    expected: Option<Digest>,
    /// What came before it was read.
    answer: Option<Digest>,
    /// Where the holder says that it stands.
    position: u64,
}

/// The hash that shows a batch: nobody can compute it who lacks a byte.
fn proof(shard: &ShardId, seq: u64, nonce: &[u8; 16], batch: &[u8]) -> Digest {
    let mut hasher = Hasher::new("possession");
    hasher.update(shard.as_bytes()).update(&seq.to_le_bytes()).update(nonce).update(batch);
    hasher.finish()
}

impl Peer {
    // The owner.

    /// A holder names the right root: it counts once it has shown that it has the log.
    pub(super) fn challenge(&mut self, node: NodeId, shard: ShardId, position: u64) {
        let now = self.now;
        let Some(shown) = self.shards.shown_mut(&shard, node) else { return };
        if shown.good_until.is_some_and(|until| now < until) {
            return self.on_replica_acknowledged(shard, node, position);
        }
        if let Some(asked) = &mut shown.asked
            && now.since(asked.at) < ANSWER_WITHIN
        {
            asked.position = asked.position.max(position);
            return;
        }
        let (seq, nonce) = (1 + self.rng.below(position.max(1)), self.rng.bytes());
        let asked = Asked { at: now, nonce, expected: None, answer: None, position };
        if let Some(shown) = self.shards.shown_mut(&shard, node) {
            shown.asked = Some(asked);
        }
        self.load(
            Table::Log,
            log_key(&shard, seq),
            LoadPurpose::Expect { shard, seq, node, nonce },
        );
        self.send(node, &Message::Challenge { shard, seq, nonce });
    }

    pub(super) fn on_expect_loaded(
        &mut self,
        (shard, seq): (ShardId, u64),
        node: NodeId,
        nonce: [u8; 16],
        value: Option<Vec<u8>>,
    ) {
        let Some(batch) = value else { return };
        let Some(shown) = self.shards.shown_mut(&shard, node) else { return };
        if let Some(asked) = shown.asked.as_mut().filter(|asked| asked.nonce == nonce) {
            asked.expected = Some(proof(&shard, seq, &nonce, &batch));
            self.judge_possession(shard, node);
        }
    }

    pub(super) fn on_possesses(
        &mut self,
        from: NodeId,
        shard: ShardId,
        nonce: [u8; 16],
        answer: Digest,
    ) {
        let Some(shown) = self.shards.shown_mut(&shard, from) else { return };
        if let Some(asked) = shown.asked.as_mut().filter(|asked| asked.nonce == nonce) {
            asked.answer.get_or_insert(answer);
            self.judge_possession(shard, from);
        }
    }

    fn judge_possession(&mut self, shard: ShardId, node: NodeId) {
        let until = self.now + GOOD_FOR;
        let Some(shown) = self.shards.shown_mut(&shard, node) else { return };
        let Some(asked) = &shown.asked else { return };
        let (Some(expected), Some(answer)) = (asked.expected, asked.answer) else { return };
        let position = asked.position;
        shown.asked = None;
        if expected == answer {
            shown.good_until = Some(until);
            return self.on_replica_acknowledged(shard, node, position);
        }
        self.distrust_holder(shard, node);
    }

    // The holder.

    /// Only the owner asks for the disk to be read.
    pub(super) fn on_challenge(&mut self, from: NodeId, shard: ShardId, seq: u64, nonce: [u8; 16]) {
        if self.shards.copy_reaches(&shard, &from).is_some_and(|end| (1..=end).contains(&seq)) {
            let purpose = LoadPurpose::Show { shard, seq, nonce, to: from };
            self.load(Table::Log, log_key(&shard, seq), purpose);
        }
    }

    pub(super) fn on_show_loaded(
        &mut self,
        (shard, seq): (ShardId, u64),
        nonce: [u8; 16],
        to: NodeId,
        value: Option<Vec<u8>>,
    ) {
        if let Some(batch) = value {
            let digest = proof(&shard, seq, &nonce, &batch);
            self.send(to, &Message::Possesses { shard, nonce, digest });
        }
    }
}
