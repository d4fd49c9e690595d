//! One shard's rows: operations in log order, search, roots and proofs.

use edge_base::{Digest, RecordId};
use serde::{Deserialize, Serialize};

use crate::merkle::{MerkleProof, MerkleTree};
use crate::rows::Rows;
use crate::{Filter, IndexConfig, IndexError, Record, record_hash};

/// The most records of a shard.
pub const ROWS_MAX: usize = 1 << 24;

/// One operation of a shard's log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Stores a record, replacing one with the same id.
    Upsert(Record),
    /// Removes a record.
    Delete(RecordId),
}

/// What an operation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Applied {
    /// A new record, with its hash.
    Inserted(Digest),
    /// Another record had the id.
    Replaced {
        /// Its hash.
        old: Digest,
        /// The hash of the new one.
        new: Digest,
    },
    /// The same record was there already, with this hash: nothing changed.
    Unchanged(Digest),
    /// A record was removed; it had this hash.
    Deleted(Digest),
    /// There was no record to remove.
    Absent,
}

/// How a search looked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// At every candidate: at equal root the answer is the same everywhere, bit for bit.
    Exact,
    /// Along the graph: scores are exact, a neighbour may be missing.
    Ann,
}

/// One result of a search.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hit {
    /// The record.
    pub id: RecordId,
    /// Its canonical [`crate::score`].
    pub score: f32,
}

/// The answer to a search.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SearchOutcome {
    /// How it was found.
    pub mode: Mode,
    /// Best first: score descending, then id bytes ascending.
    pub hits: Vec<Hit>,
    /// How many distinct rows were compared with the query.
    pub rows_visited: u64,
}

/// The live records of one shard.
#[derive(Clone, Debug)]
pub struct Index {
    config: IndexConfig,
    rows: Rows,
    merkle: MerkleTree,
}

impl Index {
    /// An empty shard.
    ///
    /// # Errors
    /// [`IndexError::Config`] when a parameter is out of its range.
    pub fn new(config: IndexConfig) -> Result<Self, IndexError> {
        config.validate()?;
        Ok(Index { config, rows: Rows::new(config.dim, config.metric), merkle: MerkleTree::new() })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &IndexConfig {
        &self.config
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// The mode of an unfiltered search with few hits: a function of the number of records.
    pub fn mode(&self) -> Mode {
        if self.len() < self.config.exact_below { Mode::Exact } else { Mode::Ann }
    }

    /// The record with an id, in canonical form: its [`record_hash`] is what the root commits to.
    pub fn get(&self, id: &RecordId) -> Option<Record> {
        self.rows.position(id).map(|row| self.rows.record(row))
    }

    /// Whether a record with this id is live.
    pub fn contains(&self, id: &RecordId) -> bool {
        self.rows.position(id).is_some()
    }

    /// The Merkle root over the live records.
    pub fn root(&self) -> Digest {
        self.merkle.root()
    }

    /// The proof that a record is in the shard, or that none with this id is.
    pub fn prove(&self, id: &RecordId) -> MerkleProof {
        self.merkle.prove(id)
    }

    /// Ids and record hashes of all records in ascending order of ids: what
    /// [`crate::root_of`] turns into the root.
    pub fn manifest(&self) -> Vec<(RecordId, Digest)> {
        self.rows.by_id().map(|(id, row)| (id, self.rows.hash(row))).collect()
    }

    /// The live records in ascending order of ids.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.rows.by_id().map(|(_, row)| self.rows.record(row))
    }

    /// Applies the next operation of the log. A record is brought into canonical form first, so applying
    /// what [`Index::get`] returned changes nothing.
    ///
    /// # Errors
    /// [`IndexError`]: a record that this shard cannot hold; nothing changed.
    pub fn apply(&mut self, op: Op) -> Result<Applied, IndexError> {
        match op {
            Op::Upsert(record) => self.upsert(self.config.canonical(record)?),
            Op::Delete(id) => Ok(self.delete(&id)),
        }
    }

    fn upsert(&mut self, record: Record) -> Result<Applied, IndexError> {
        let new = record_hash(&record);
        let Some(row) = self.rows.position(&record.id) else {
            if self.len() >= ROWS_MAX {
                return Err(IndexError::Full);
            }
            self.merkle.insert(record.id, new);
            self.push(record);
            return Ok(Applied::Inserted(new));
        };
        let old = self.merkle.insert(record.id, new).expect("invariant: rows and leaves agree");
        if old == new {
            return Ok(Applied::Unchanged(new));
        }
        if self.rows.vector(row) == record.vector.as_slice() {
            self.rows.set_payload(row, record.payload);
        } else {
            self.remove(row);
            self.push(record);
        }
        Ok(Applied::Replaced { old, new })
    }

    fn delete(&mut self, id: &RecordId) -> Applied {
        let Some(row) = self.rows.position(id) else {
            return Applied::Absent;
        };
        let old = self.merkle.remove(id).expect("invariant: rows and leaves agree");
        self.remove(row);
        Applied::Deleted(old)
    }

    fn push(&mut self, record: Record) {
        self.rows.push(record);
    }

    fn remove(&mut self, row: u32) {
        self.rows.swap_remove(row);
    }

    /// The best `k` records for a query of which those that pass the filter count, with `ef` candidates
    /// kept (the configuration's when `None`; at least `k` are kept).
    ///
    /// The answer is exact, and then the same at every replica with the same root, when fewer than
    /// `exact_below` records are candidates (live, and passing the filter), or when so many hits are
    /// wanted that walking the graph would not be less work.
    ///
    /// # Errors
    /// [`IndexError`]: a query of another dimension or without canonical form; a filter over its limits.
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        ef: Option<usize>,
        filter: Option<&Filter>,
    ) -> Result<SearchOutcome, IndexError> {
        if query.len() != self.config.dim {
            return Err(IndexError::Dimension { expected: self.config.dim, got: query.len() });
        }
        let query = self.config.metric.canonical(query)?;
        let _ef = ef.unwrap_or(self.config.ef).max(k).max(1);
        let Some(filter) = filter else {
            let hits = self.rows.scan(&query, k);
            return Ok(SearchOutcome { mode: Mode::Exact, hits, rows_visited: self.len() as u64 });
        };
        filter.validate()?;
        let candidates = self.rows.matching(filter);
        let rows_visited = candidates.len() as u64;
        let hits = self.rows.scan_some(&query, candidates, k);
        Ok(SearchOutcome { mode: Mode::Exact, hits, rows_visited })
    }
}
