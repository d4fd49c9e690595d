//! A log, and the work it leads to.

use std::sync::Arc;

use edge_base::shard::{AppendResult, LogBatch, LogEntry, ShardAnswer, ShardQuery};
use edge_base::{Digest, RecordId, Rng, ShardId, Verdict, Work, codec};
use edge_tasks::{Executor, Layout, Metric, RecordBody, TaskError, VectorQuery};

/// Components of the vectors here.
pub(crate) const DIM: usize = 8;

/// The writer of a shard's log.
pub(crate) struct Log {
    pub(crate) shard: ShardId,
    pub(crate) layout: Layout,
    pub(crate) prev: Digest,
    pub(crate) history: Vec<Vec<LogEntry>>,
}

/// A change that an owner wants: a record or its removal.
pub(crate) type Change = (RecordId, Option<RecordBody>);

impl Log {
    pub(crate) fn new(layout: Layout) -> Self {
        let shard = ShardId(Digest::of(b"shard"));
        Log { shard, layout, prev: Digest::default(), history: Vec::new() }
    }

    /// The next batch, not yet part of the log.
    pub(crate) fn next(&self, changes: &[Change]) -> LogBatch {
        let (mut entries, mut bodies) = (Vec::new(), Vec::new());
        for (id, body) in changes {
            match body {
                None => entries.push(LogEntry { id: *id, record: None }),
                Some(body) => {
                    let (entry, bytes) = body.entry(*id);
                    entries.push(entry);
                    bodies.push(bytes);
                }
            }
        }
        LogBatch {
            shard: self.shard,
            layout: self.layout.encode(),
            seq: self.history.len() as u64 + 1,
            prev: self.prev,
            entries,
            bodies,
        }
    }

    /// Makes a batch part of the log.
    pub(crate) fn push(&mut self, batch: &LogBatch) {
        self.prev = batch.chain();
        self.history.push(batch.entries.clone());
    }

    pub(crate) fn replay(&self, batch: &LogBatch) -> Work {
        let history = codec::encode(&self.history).into();
        Work::Replay { history, payload: codec::encode(batch).into() }
    }
}

pub(crate) fn append(batch: &LogBatch) -> Work {
    Work::Append { payload: codec::encode(batch).into() }
}

pub(crate) fn root(executor: &Executor, work: &Work) -> Result<AppendResult, TaskError> {
    Ok(codec::decode(&executor.execute(work)?).unwrap())
}

pub(crate) fn id(n: u64) -> RecordId {
    RecordId(Digest::of(&n.to_le_bytes()))
}

/// A record of which filters can test `group`.
pub(crate) fn body(layout: &Layout, rng: &mut Rng, group: u64) -> RecordBody {
    let payload = format!("{{\"group\":{group}}}").into_bytes();
    RecordBody::canonical(layout, vector(rng, layout.dim as usize), payload).unwrap()
}

pub(crate) fn vector(rng: &mut Rng, dim: usize) -> Vec<f32> {
    (0..dim).map(|_| rng.below(2_001) as f32 / 1_000.0 - 1.0).collect()
}

/// An executor that holds `rows` records in a log of several batches, their groups going round in threes.
pub(crate) fn filled(layout: Layout, rows: u64) -> (Executor, Log, AppendResult) {
    let (executor, mut log) = (Executor::new(), Log::new(layout));
    let last = fill(&executor, &mut log, rows);
    (executor, log, last)
}

/// Brings `rows` records into the shard of an empty log, as [`filled`] does.
pub(crate) fn fill(executor: &Executor, log: &mut Log, rows: u64) -> AppendResult {
    let mut rng = Rng::derive(7, "rows");
    let layout = log.layout;
    let mut last = AppendResult { seq: 0, root: Digest::default() };
    let all: Vec<u64> = (0..rows).collect();
    for numbers in all.chunks(50) {
        let changes: Vec<Change> =
            numbers.iter().map(|n| (id(*n), Some(body(&layout, &mut rng, n % 3)))).collect();
        let batch = log.next(&changes);
        last = root(executor, &append(&batch)).unwrap();
        log.push(&batch);
    }
    last
}

pub(crate) fn query(metric: Metric, seed: u64) -> VectorQuery {
    let vector = vector(&mut Rng::derive(seed, "query"), DIM);
    VectorQuery { metric, vector, ef: None, filter: None }
}

pub(crate) fn ask(log: &Log, query: &VectorQuery, k: u32) -> Arc<[u8]> {
    let (shard, seq_min) = (log.shard, log.history.len() as u64);
    codec::encode(&ShardQuery { shard, seq_min, k, query: query.encode() }).into()
}

pub(crate) fn search(executor: &Executor, payload: &Arc<[u8]>) -> Result<ShardAnswer, TaskError> {
    let answer = executor.execute(&Work::Search { payload: payload.clone() })?;
    Ok(codec::decode(&answer).unwrap())
}

/// What a stranger without the shard says about an answer.
pub(crate) fn check(payload: &Arc<[u8]>, answer: &ShardAnswer, root: Digest) -> Verdict {
    check_bytes(payload, codec::encode(answer), root)
}

pub(crate) fn check_bytes(payload: &Arc<[u8]>, answer: Vec<u8>, root: Digest) -> Verdict {
    let work = Work::CheckAnswer { payload: payload.clone(), answer: answer.into(), root };
    codec::decode(&Executor::new().execute(&work).unwrap()).unwrap()
}
