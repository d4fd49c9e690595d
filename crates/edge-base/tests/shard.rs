//! The order of score keys and the bounds and the chain of log batches.

use edge_base::{
    Digest, RecordId, ShardId, codec,
    shard::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, LogBatch, LogEntry, chain, score_bits, score_key},
};
use proptest::prelude::*;

fn entry(n: usize, stored: bool) -> LogEntry {
    let id = Digest::of(&n.to_le_bytes());
    LogEntry { id: RecordId(id), record: stored.then_some(Digest::of(&id.0)) }
}

fn batch() -> LogBatch {
    LogBatch {
        shard: ShardId(Digest::of(b"shard")),
        layout: vec![1],
        seq: 1,
        prev: Digest::default(),
        entries: vec![entry(1, true), entry(2, false), entry(3, true)],
        bodies: vec![vec![1; 8], vec![3; 8]],
    }
}

proptest! {
    #[test]
    fn score_keys_order_as_scores_do(a: f32, b: f32) {
        prop_assume!(a.is_finite() && b.is_finite());
        prop_assert_eq!(score_bits(score_key(a.to_bits())), a.to_bits());
        prop_assert_eq!(score_key(a.to_bits()).cmp(&score_key(b.to_bits())), a.total_cmp(&b));
    }
}

#[test]
fn a_batch_is_refused_past_each_bound() {
    assert!(batch().is_well_formed());
    let continued = LogBatch { seq: 2, prev: Digest::of(b"before"), ..batch() };
    assert!(continued.is_well_formed());
    let many = |n| (0..n).map(|i| entry(i, false)).collect::<Vec<_>>();
    let full = LogBatch { entries: many(BATCH_ENTRIES_MAX), bodies: vec![], ..batch() };
    assert!(full.is_well_formed());
    let large = LogBatch { bodies: vec![vec![0; BATCH_BYTES_MAX], vec![]], ..batch() };
    assert!(large.is_well_formed());
    let refused = [
        LogBatch { entries: vec![], bodies: vec![], ..batch() },
        LogBatch { entries: many(BATCH_ENTRIES_MAX + 1), ..full },
        LogBatch { bodies: vec![vec![0; BATCH_BYTES_MAX], vec![0]], ..batch() },
        LogBatch { bodies: vec![vec![1; 8]], ..batch() },
        LogBatch { bodies: vec![vec![]; 3], ..batch() },
        LogBatch { seq: 0, ..batch() },
        LogBatch { prev: Digest::of(b"before"), ..batch() },
    ];
    for (index, batch) in refused.into_iter().enumerate() {
        assert!(!batch.is_well_formed(), "case {index}");
    }
    assert!(codec::encode(&large).len() < codec::FRAME_BYTES_MAX / 4 * 3);
}

#[test]
fn the_chain_binds_history_shard_position_and_changes() {
    let first = batch();
    let same = chain(&first.prev, &first.shard, first.seq, &first.entries);
    assert_eq!(first.chain(), same);
    let others = [
        LogBatch { seq: 2, ..batch() },
        LogBatch { prev: Digest::of(b"before"), ..batch() },
        LogBatch { shard: ShardId(Digest::of(b"other")), ..batch() },
        LogBatch { entries: vec![entry(2, false), entry(1, true), entry(3, true)], ..batch() },
        LogBatch { entries: vec![entry(1, true), entry(2, false), entry(3, false)], ..batch() },
    ];
    for (index, other) in others.into_iter().enumerate() {
        assert_ne!(other.chain(), first.chain(), "case {index}");
    }
}
