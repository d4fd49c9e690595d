//! A replay of the log returns what the index returned.

use edge_base::shard::{LogBatch, LogEntry};
use edge_base::{Digest, Rng, Work, codec};
use edge_index::empty_root;
use edge_tasks::{Executor, Layout, Metric, TaskError};
use proptest::prelude::*;

use crate::world::{Change, DIM, Log, append, body, filled, id, root};

proptest! {
    #[test]
    fn replay_equals_append(
        metric in prop::sample::select(vec![Metric::Cosine, Metric::Dot, Metric::L2]),
        // Small enough that the graph comes and goes.
        exact_below in 1u32..30,
        seed in any::<u64>(),
        batches in prop::collection::vec(
            prop::collection::vec((0u64..40, any::<bool>()), 1..20),
            1..12,
        ),
    ) {
        let layout = Layout { exact_below, ..Layout::vectors(DIM as u32, metric) };
        let (executor, mut log) = (Executor::new(), Log::new(layout));
        let mut rng = Rng::derive(seed, "replay");
        for batch in &batches {
            let changes: Vec<Change> = batch
                .iter()
                .map(|(n, store)| (id(*n), store.then(|| body(&layout, &mut rng, *n))))
                .collect();
            let batch = log.next(&changes);
            let applied = root(&executor, &append(&batch)).unwrap();
            let replayed = root(&Executor::new(), &log.replay(&batch)).unwrap();
            prop_assert_eq!(applied, replayed);
            log.push(&batch);
        }
        let live = log.history.iter().flatten().fold(std::collections::BTreeSet::new(), |mut live, e| {
            if e.record.is_some() { live.insert(e.id) } else { live.remove(&e.id) };
            live
        });
        prop_assert_eq!(executor.shard_rows(&log.shard), Some(live.len() as u64));
    }
}

#[test]
fn everything_deleted_is_the_empty_root() {
    let (executor, mut log, _) = filled(Layout::vectors(DIM as u32, Metric::Dot), 40);
    let changes: Vec<Change> = (0..40).map(|n| (id(n), None)).collect();
    let batch = log.next(&changes);
    assert_eq!(root(&executor, &append(&batch)).unwrap().root, empty_root());
    assert_eq!(root(&executor, &log.replay(&batch)).unwrap().root, empty_root());
    log.push(&batch);
    assert_eq!(executor.shard_rows(&log.shard), Some(0));
}

#[test]
fn a_history_that_the_batch_does_not_continue_is_refused() {
    let layout = Layout::vectors(DIM as u32, Metric::Dot);
    let (_, log, _) = filled(layout, 120);
    let batch = log.next(&[(id(1), None)]);
    let (executor, shard) = (Executor::new(), log.shard);
    let replay = |history: &Vec<Vec<LogEntry>>, batch: &LogBatch| {
        let history = codec::encode(history).into();
        root(&executor, &Work::Replay { history, payload: codec::encode(batch).into() })
    };
    assert!(replay(&log.history, &batch).is_ok());

    let mut changed = log.history.clone();
    changed[1][7].record = Some(Digest::of(b"another record"));
    assert!(matches!(replay(&changed, &batch), Err(TaskError::Chain { seq: 4, .. })));
    let mut swapped = log.history.clone();
    swapped.swap(0, 1);
    assert!(matches!(replay(&swapped, &batch), Err(TaskError::Chain { seq: 4, .. })));
    let shorter = log.history[..2].to_vec();
    let position = TaskError::Position { shard, expected: 3, got: 4 };
    assert_eq!(replay(&shorter, &batch), Err(position));
    let mut empty = log.history.clone();
    empty[2].clear();
    let refused = replay(&empty, &batch);
    assert!(matches!(refused, Err(TaskError::Malformed { what: "history", .. })));
    let other = LogBatch { shard: edge_base::ShardId::default(), ..batch.clone() };
    assert!(matches!(replay(&log.history, &other), Err(TaskError::Chain { .. })));
}
