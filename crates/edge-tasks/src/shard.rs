//! The state that a shard's log leads to.

use std::io::{self, Write};

use edge_base::shard::{
    AppendResult, BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, LogBatch, ShardAnswer, ShardHit, score_key,
};
use edge_base::{Digest, ShardId, codec};
use edge_index::{
    Index, IndexError, Mapping, Memory, Mode, Op, ROWS_MAX, RecallCheck, Record, record_hash,
};

use crate::query::Search;
use crate::snapshot::{self, Place};
use crate::{LAYOUT_BYTES_MAX, Layout, RecordBody, TaskError, bounded};

/// The most bytes of an encoded batch: bodies, lengths, entries, the rest.
const ENCODED_BATCH_BYTES_MAX: usize =
    BATCH_BYTES_MAX + BATCH_ENTRIES_MAX * (65 + 5) + LAYOUT_BYTES_MAX + 128;

/// Changes of a graph that take less time than a copy of a shard.
const GRAPH_OPS_QUICK: usize = 16;

/// A batch whose every statement about itself has been checked.
pub(crate) struct Checked {
    pub(crate) batch: LogBatch,
    pub(crate) layout: Layout,
    pub(crate) ops: Vec<Op>,
}

impl Checked {
    /// Reads a batch from anywhere: counts, layout, and that each body is the record its entry names, in
    /// the form in which a shard stores it.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, TaskError> {
        let batch: LogBatch = bounded::decode("log batch", payload, ENCODED_BATCH_BYTES_MAX)?;
        if !batch.is_well_formed() {
            return Err(TaskError::NotWellFormed);
        }
        let layout = Layout::decode(&batch.layout)?;
        let mut bodies = batch.bodies.iter();
        let mut ops = Vec::with_capacity(batch.entries.len());
        for (entry, change) in batch.entries.iter().enumerate() {
            ops.push(match change.record {
                None => Op::Delete(change.id),
                Some(expected) => {
                    let body = bodies.next().ok_or(TaskError::NotWellFormed)?;
                    let body = RecordBody::decode(body)
                        .and_then(|body| accept(&layout, body.record(change.id), expected))
                        .map_err(|source| TaskError::Body { entry, source: Box::new(source) })?;
                    Op::Upsert(body)
                }
            });
        }
        Ok(Checked { batch, layout, ops })
    }
}

/// The record, if it is the one expected and in canonical form.
fn accept(layout: &Layout, record: Record, expected: Digest) -> Result<Record, TaskError> {
    let got = record_hash(&record);
    if got != expected {
        return Err(TaskError::RecordHash { expected, got });
    }
    let canonical = layout.config().canonical(record)?;
    if record_hash(&canonical) != expected {
        return Err(TaskError::VectorForm);
    }
    Ok(canonical)
}

/// What [`crate::Executor::check_shard`] finds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ShardCheck {
    /// The position in the log.
    pub seq: u64,
    /// Live records.
    pub rows: u64,
    /// The root over the records as they are in memory now.
    pub root: Digest,
    /// Whether that is the root that was signed after the last batch.
    pub intact: bool,
    /// How well searches find.
    pub recall: RecallCheck,
}

/// One shard at one position of its log.
#[derive(Clone)]
pub(crate) struct Shard {
    layout: Layout,
    seq: u64,
    chain: Digest,
    index: Index,
    /// Whether the index keeps a graph, as far as can be told after a batch: only for [`Shard::is_slow`].
    graph: bool,
    /// Changes since the shard was made, or read from a snapshot.
    changes: u64,
}

impl Shard {
    /// The shard before its first batch.
    pub(crate) fn empty(first: &Checked) -> Result<Self, TaskError> {
        let index = Index::new(first.layout.config_of(&first.batch.shard))?;
        Ok(Shard {
            layout: first.layout,
            seq: 0,
            chain: Digest::default(),
            index,
            graph: false,
            changes: 0,
        })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.index.len() as u64
    }

    /// That a batch is the next one.
    pub(crate) fn expects(&self, next: &Checked) -> Result<(), TaskError> {
        let batch = &next.batch;
        let shard = batch.shard;
        if batch.seq != self.seq + 1 {
            return Err(TaskError::Position { shard, expected: self.seq + 1, got: batch.seq });
        }
        if batch.prev != self.chain {
            let (expected, got) = (self.chain, batch.prev);
            return Err(TaskError::Chain { shard, seq: batch.seq, expected, got });
        }
        if next.layout != self.layout {
            return Err(TaskError::OtherLayout(shard));
        }
        if self.index.len() + next.ops.len() > ROWS_MAX {
            return Err(IndexError::Full.into());
        }
        Ok(())
    }

    /// Whether applying the batch may take longer than copying the shard: it may build the graph, or it
    /// adds more than a few records to one. Measured by `examples/bench_units.rs`: a record takes about
    /// 15 us without and 500 us with a graph, a row of a copy about 1 us.
    pub(crate) fn is_slow(&self, next: &Checked) -> bool {
        let exact_below = self.layout.exact_below as usize;
        let before = self.index.len();
        let after = before + next.ops.len();
        let builds = before < exact_below && after >= exact_below;
        builds || (self.graph && next.ops.len() > GRAPH_OPS_QUICK)
    }

    /// Applies the next batch. After an error the shard is to be thrown away: it may hold half of it.
    pub(crate) fn apply(&mut self, next: Checked) -> Result<AppendResult, TaskError> {
        self.expects(&next)?;
        self.changes += next.ops.len() as u64;
        for op in next.ops {
            self.index.apply(op)?;
        }
        self.seq = next.batch.seq;
        self.chain = next.batch.chain();
        // A graph is kept until there are fewer rows than half of what it takes to be built.
        let limit = self.layout.exact_below as usize / if self.graph { 2 } else { 1 };
        self.graph = self.index.len() >= limit;
        Ok(self.result())
    }

    /// How many changes were applied since the shard was made, or read from a snapshot.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The position in the log and the chain up to it.
    pub(crate) fn position(&self) -> (u64, Digest) {
        (self.seq, self.chain)
    }

    /// What the batch at the position of the shard returned.
    pub(crate) fn result(&self) -> AppendResult {
        AppendResult { seq: self.seq, root: self.index.root() }
    }

    /// Writes a snapshot.
    pub(crate) fn write(&self, shard: &ShardId, out: &mut dyn Write) -> io::Result<()> {
        let (layout, seq, chain) = (self.layout.encode(), self.seq, self.chain);
        snapshot::write(&Place { shard: *shard, layout, seq, chain }, &self.index, out)
    }

    /// The shard in a snapshot, if it is whole and of this shard.
    pub(crate) fn read(mapping: &Mapping, shard: &ShardId) -> Option<Shard> {
        let (Place { seq, chain, .. }, layout, index) = snapshot::read(mapping, shard)?;
        let graph = index.memory().links > 0;
        Some(Shard { layout, seq, chain, index, graph, changes: 0 })
    }

    /// Leaves the vectors in a snapshot of this state; they stay where they are when it is of another.
    pub(crate) fn move_into(&mut self, mapping: &Mapping) {
        if let Some((bytes, place)) = snapshot::split(mapping)
            && place.seq == self.seq
        {
            // What does not fit is not taken, and costs memory only.
            let _ = self.index.move_into(&bytes);
        }
    }

    /// How many bytes the shard holds for search.
    pub(crate) fn memory(&self) -> Memory {
        self.index.memory()
    }

    /// Hashes the records again and measures recall on up to `sample` of them.
    pub(crate) fn check(&self, sample: usize, k: usize, ef: Option<usize>) -> ShardCheck {
        let manifest: Vec<_> =
            self.index.records().map(|record| (record.id, record_hash(&record))).collect();
        let root = edge_index::root_of(&manifest);
        let ef = ef.or(Some(self.layout.ef as usize));
        ShardCheck {
            seq: self.seq,
            rows: self.rows(),
            root,
            intact: root == self.index.root(),
            recall: self.index.check_recall(sample, k, ef, self.seq),
        }
    }

    /// Answers a search, with records and proofs.
    pub(crate) fn search(&self, search: &Search) -> Result<ShardAnswer, TaskError> {
        let Search { ask, query, filter } = search;
        if query.metric != self.layout.metric {
            let (query, shard) = (query.metric, self.layout.metric);
            return Err(TaskError::OtherMetric { query, shard });
        }
        if self.seq < ask.seq_min {
            let (applied, wanted) = (self.seq, ask.seq_min);
            return Err(TaskError::Behind { shard: ask.shard, applied, wanted });
        }
        let ef = query.ef.map(|ef| ef as usize);
        let found = self.index.search(&query.vector, ask.k as usize, ef, filter.as_ref())?;
        let hits = found.hits.iter().map(|hit| {
            let record = self.index.get(&hit.id).expect("invariant: a hit is a live record");
            ShardHit {
                id: hit.id,
                score: score_key(hit.score.to_bits()),
                body: RecordBody::from(record).encode(),
                proof: codec::encode(&self.index.prove(&hit.id)),
            }
        });
        Ok(ShardAnswer {
            shard: ask.shard,
            seq: self.seq,
            root: self.index.root(),
            exact: found.mode == Mode::Exact,
            rows_visited: found.rows_visited,
            rows: self.rows(),
            hits: hits.collect(),
        })
    }
}
