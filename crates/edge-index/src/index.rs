//! One shard's rows: operations in log order, search, roots and proofs.

use edge_base::{Digest, RecordId};
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Walk};
use crate::merkle::{MerkleProof, MerkleTree};
use crate::record::hash_parts;
use crate::rows::Rows;
use crate::scratches::Scratches;
use crate::{Filter, IndexConfig, IndexError, Record, SnapshotError, Storage, record_hash};

/// The most records of a shard.
pub const ROWS_MAX: usize = 1 << 24;
/// A walk is worth it when there are this many candidates for each one it keeps.
const WALK_WORTH: usize = 4;
/// Of what a walk found, this many times as many as are wanted are scored exactly, ...
const RESCORED_PER_HIT: usize = 4;
/// ... and at least this many: codes order neighbours well enough that no hit is behind them.
const RESCORED_MIN: usize = 40;

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

/// Bytes that a shard holds for search; ids, payloads and the Merkle tree are not among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// What walks compare.
    pub codes: usize,
    /// The graph's links and tree.
    pub links: usize,
    /// The f32 rows that hits are scored by.
    pub vectors: usize,
    /// Those of them that lie in a mapped snapshot: the system keeps in memory what is looked at.
    pub mapped: usize,
}

/// The live records of one shard.
#[derive(Clone, Debug)]
pub struct Index {
    pub(crate) config: IndexConfig,
    pub(crate) rows: Rows,
    /// Kept from `exact_below` rows up; given up below half of that, so that a shard whose size swings
    /// around the limit does not build it again and again.
    pub(crate) graph: Option<Graph>,
    merkle: MerkleTree,
    scratches: Scratches,
}

impl Index {
    /// An empty shard.
    ///
    /// # Errors
    /// [`IndexError::Config`] when a parameter is out of its range.
    pub fn new(config: IndexConfig) -> Result<Self, IndexError> {
        config.validate()?;
        Ok(Index {
            config,
            rows: Rows::new(config.dim, config.metric),
            graph: None,
            merkle: MerkleTree::new(),
            scratches: Scratches::default(),
        })
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

    /// How many bytes it holds for search.
    pub fn memory(&self) -> Memory {
        let (codes, links) = self.graph.as_ref().map_or((0, 0), Graph::bytes);
        let (vectors, mapped) = self.rows.vector_bytes();
        Memory { codes, links, vectors, mapped }
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
        let row = self.len() as u32;
        self.rows.push(record);
        if let Some(graph) = &mut self.graph {
            graph.insert(&self.rows.id(row), self.rows.vector(row));
        } else if self.len() >= self.config.exact_below {
            let mut graph = Graph::new(&self.config);
            for row in 0..self.len() as u32 {
                graph.insert(&self.rows.id(row), self.rows.vector(row));
            }
            self.graph = Some(graph);
        }
    }

    fn remove(&mut self, row: u32) {
        self.rows.swap_remove(row);
        if self.len() < self.config.exact_below / 2 || self.is_empty() {
            self.graph = None;
        } else if let Some(graph) = &mut self.graph {
            graph.remove(row);
        }
    }

    /// Gives the next of the vectors that came with a snapshot its record, without graph.
    pub(crate) fn restore(&mut self, id: RecordId, payload: &[u8]) -> Result<(), SnapshotError> {
        let vector = self.rows.vector(self.len() as u32);
        let canonical = self.config.metric.canonical(vector).map_err(IndexError::from)?;
        if canonical.iter().zip(vector).any(|(a, b)| a.to_bits() != b.to_bits()) {
            return Err(SnapshotError::Inconsistent("a vector is not canonical"));
        }
        let hash = hash_parts(&id, vector, payload);
        if self.merkle.insert(id, hash).is_some() {
            return Err(SnapshotError::Inconsistent("an id occurs twice"));
        }
        self.rows.name(id, payload);
        Ok(())
    }

    /// Whether having or not having a graph fits the number of rows.
    pub(crate) fn graph_is_due(&self) -> bool {
        match &self.graph {
            Some(graph) => {
                graph.len() == self.len() && self.len() >= (self.config.exact_below / 2).max(1)
            }
            None => self.len() < self.config.exact_below,
        }
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
        let ef = ef.unwrap_or(self.config.ef).max(k).max(1);
        let Some(filter) = filter else {
            return Ok(match self.graph_for(self.len(), ef) {
                Some(graph) => self
                    .scratches
                    .with(|scratch| self.rescore(&query, k, graph.search(&query, ef, scratch))),
                None => self.exact(self.rows.scan(&query, k), self.len()),
            });
        };
        filter.validate()?;
        let candidates = self.rows.matching(filter);
        Ok(match self.graph_for(candidates.len(), ef) {
            Some(graph) => self.scratches.with(|scratch| {
                let walk = graph.search_among(&query, ef, &candidates, scratch);
                self.rescore(&query, k, walk)
            }),
            None => {
                let visited = candidates.len();
                self.exact(self.rows.scan_some(&query, candidates, k), visited)
            }
        })
    }

    /// The graph, when so many candidates and so few wanted make it worth walking. A function of what
    /// the root and the question determine, so that replicas agree on the mode.
    fn graph_for(&self, candidates: usize, ef: usize) -> Option<&Graph> {
        let large = candidates >= self.config.exact_below && candidates / WALK_WORTH >= ef;
        self.graph.as_ref().filter(|_| large)
    }

    fn exact(&self, hits: Vec<Hit>, visited: usize) -> SearchOutcome {
        SearchOutcome { mode: Mode::Exact, hits, rows_visited: visited as u64 }
    }

    /// Orders the nearest of what a walk found by canonical scores.
    fn rescore(&self, query: &[f32], k: usize, walk: Walk<'_>) -> SearchOutcome {
        let most = match self.config.storage {
            // Codes that say little of the order among neighbours.
            Storage::Binary => walk.rows.len(),
            Storage::Int8 | Storage::F32 => {
                k.saturating_mul(RESCORED_PER_HIT).max(RESCORED_MIN).min(walk.rows.len())
            }
        };
        let hits = self.rows.rescore(query, &walk.rows[..most], k);
        SearchOutcome { mode: Mode::Ann, hits, rows_visited: walk.visited as u64 }
    }
}
