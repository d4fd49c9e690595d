//! Snapshots: a shard goes on from one as if it had never been away, or from nothing.

use std::io;

use edge_base::{Digest, Rng, ShardId, Work, codec, shard::AppendResult};
use edge_tasks::{Executor, Layout, MemorySnapshots, Metric, TaskError, Unsaved};

use crate::world::{DIM, Log, append, ask, body, fill, id, query, root, search};

fn executor_of(medium: &MemorySnapshots) -> Executor {
    Executor::new().with_snapshots(medium.clone())
}

fn has(medium: &MemorySnapshots, shard: &ShardId) -> bool {
    medium.with(|files| files.contains_key(shard))
}

fn put(medium: &MemorySnapshots, shard: ShardId, bytes: &[u8]) {
    medium.with(|files| files.insert(shard, bytes.to_vec()));
}

fn restore(executor: &Executor, log: &Log, seq: u64) -> Option<AppendResult> {
    let work = Work::Restore { shard: log.shard, seq, chain: log.prev };
    codec::decode(&executor.execute(&work).unwrap()).unwrap()
}

/// With a graph from 100 records on.
fn layout() -> Layout {
    Layout { exact_below: 100, ..Layout::vectors(DIM as u32, Metric::Cosine) }
}

#[test]
fn a_shard_goes_on_from_its_snapshot() {
    for rows in [1u64, 40, 150] {
        let medium = MemorySnapshots::default();
        let executor = executor_of(&medium);
        let mut log = Log::new(layout());
        fill(&executor, &mut log, rows);
        let seq = log.history.len() as u64;
        let unsaved = Unsaved { shard: log.shard, rows, changes: rows };
        assert_eq!(executor.unsaved(), [unsaved]);
        assert!(executor.settle(&executor.save(&log.shard).unwrap()));
        assert_eq!(executor.unsaved(), []);
        let payload = ask(&log, &query(Metric::Cosine, 1), 5);
        let before = search(&executor, &payload).unwrap();

        let again = executor_of(&medium);
        let restored = restore(&again, &log, seq).unwrap();
        assert_eq!((restored.seq, restored.root), (seq, before.root));
        assert_eq!(search(&again, &payload).unwrap(), before);
        assert_eq!(again.unsaved(), []);
        let (held, read) = (executor.shard_memory(&log.shard), again.shard_memory(&log.shard));
        assert_eq!(read.unwrap().links > 0, rows >= 100);
        assert_eq!(held.unwrap().vectors + held.unwrap().mapped, rows as usize * DIM * 4);

        let mut rng = Rng::derive(rows, "after");
        let changes = [(id(0), None), (id(7_000), Some(body(&log.layout, &mut rng, 3)))];
        let batch = log.next(&changes);
        let results = [&executor, &again].map(|executor| root(executor, &append(&batch)).unwrap());
        assert_eq!(results[0], results[1]);
        assert_eq!(search(&again, &payload), search(&executor, &payload));
        assert_eq!(again.unsaved()[0].changes, 2);
    }
}

#[test]
fn a_snapshot_that_does_not_fit_the_log_is_thrown_away() {
    let medium = MemorySnapshots::default();
    let executor = executor_of(&medium);
    let mut log = Log::new(layout());
    fill(&executor, &mut log, 120);
    let seq = log.history.len() as u64;
    let save = || drop(executor.save(&log.shard).unwrap());
    let other = Log { prev: Digest([1; 32]), ..Log::new(layout()) };
    let elsewhere = Log { shard: ShardId(Digest([2; 32])), ..Log::new(layout()) };
    let refused = |log: &Log, seq: u64| {
        let again = executor_of(&medium);
        assert_eq!(restore(&again, log, seq), None);
        assert_eq!(again.shard_rows(&log.shard), None);
        assert!(!has(&medium, &log.shard));
    };
    save();
    refused(&log, seq - 1);
    save();
    refused(&other, seq);
    save();
    refused(&log, 0);
    save();
    let bytes = medium.with(|files| files[&log.shard].clone());
    put(&medium, elsewhere.shard, &bytes);
    refused(&elsewhere, seq);
    // The chain of an earlier position is not known: the next batch shows whether it fits.
    let again = executor_of(&medium);
    assert_eq!(restore(&again, &other, seq + 1).unwrap().seq, seq);
    let mut rng = Rng::derive(1, "other");
    let mut batch = log.next(&[(id(9_000), Some(body(&log.layout, &mut rng, 3)))]);
    batch.prev = other.prev;
    assert!(matches!(root(&again, &append(&batch)), Err(TaskError::Chain { .. })));
    for at in (0..bytes.len()).step_by(211).chain([bytes.len() - 1, bytes.len() - 33]) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 16;
        put(&medium, log.shard, &damaged);
        refused(&log, seq);
    }
    for cut in [0, 1, 35, 36, 37, 200, bytes.len() - 1] {
        put(&medium, log.shard, &bytes[..cut]);
        refused(&log, seq);
    }
}

#[test]
fn what_is_dropped_has_no_snapshot() {
    let medium = MemorySnapshots::default();
    let executor = executor_of(&medium);
    let mut log = Log::new(layout());
    fill(&executor, &mut log, 20);
    executor.save(&log.shard).unwrap();
    assert!(has(&medium, &log.shard));
    executor.execute(&Work::Drop { shard: log.shard }).unwrap();
    assert!(!has(&medium, &log.shard));
    assert_eq!(executor.save(&log.shard).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn snapshots_are_taken_while_batches_arrive_and_searches_run() {
    let medium = MemorySnapshots::default();
    let executor = executor_of(&medium);
    let mut log = Log::new(layout());
    fill(&executor, &mut log, 90);
    let payload = ask(&log, &query(Metric::Cosine, 1), 5);
    let (shard, mut rng) = (log.shard, Rng::derive(5, "meanwhile"));
    let done = std::sync::atomic::AtomicBool::new(false);
    let running = || !done.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while running() {
                let saved = executor.save(&shard).unwrap();
                executor.settle(&saved);
            }
        });
        scope.spawn(|| {
            while running() {
                search(&executor, &payload).unwrap();
            }
        });
        for n in 0..60 {
            let change = (id(8_000 + n), Some(body(&log.layout, &mut rng, n)));
            let batch = log.next(&[change, (id(n + 2), None)]);
            root(&executor, &append(&batch)).unwrap();
            log.push(&batch);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let early = executor.save(&shard).unwrap();
    assert_eq!(executor.unsaved(), [], "whether or not its vectors were left there");
    let batch = log.next(&[(id(1), None)]);
    root(&executor, &append(&batch)).unwrap();
    log.push(&batch);
    let unsaved = executor.unsaved();
    assert_eq!((unsaved.len(), unsaved[0].changes), (1, 1), "what came after, and no more");
    assert!(executor.settle(&early));
    assert_eq!(executor.shard_memory(&shard).unwrap().mapped, 0, "not of this state");
    assert_eq!(executor.unsaved(), unsaved);
    assert!(executor.settle(&executor.save(&shard).unwrap()));
    assert_ne!(executor.shard_memory(&shard).unwrap().mapped, 0);
    assert_eq!(executor.unsaved(), []);
    let again = executor_of(&medium);
    let restored = restore(&again, &log, log.history.len() as u64).unwrap();
    assert_eq!(restored.root, search(&executor, &payload).unwrap().root);
    assert_eq!(search(&again, &payload), search(&executor, &payload));
}
