//! What a shard is told when it is made.

use serde::{Deserialize, Serialize};

use crate::{DIM_MAX, IndexError, Metric, PAYLOAD_BYTES_MAX, Record};

/// What a walk along the graph compares. Hits are scored by the f32 rows in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Storage {
    /// 8-bit codes: a byte a component. What is best for nearly everything (docs/benchmarks.md).
    #[default]
    Int8,
    /// The vectors themselves: four bytes a component beside those that hits are scored by.
    F32,
    /// Which components are positive: a bit a component. Compares directions only, roughly: of what a walk
    /// found all is scored, and `ef` wants to be several times as large. Not for [`Metric::L2`].
    Binary,
}

impl Storage {
    /// Every storage.
    pub const ALL: [Storage; 3] = [Storage::Int8, Storage::F32, Storage::Binary];

    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Storage::Int8 => "int8",
            Storage::F32 => "f32",
            Storage::Binary => "binary",
        }
    }

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Storage::ALL.into_iter().find(|storage| storage.name() == name)
    }
}

/// The configuration of a shard. Two indexes with the same configuration and the same log are equal to
/// the last byte of their snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IndexConfig {
    /// Components of a vector, 1 to [`DIM_MAX`].
    pub dim: usize,
    /// How vectors compare.
    pub metric: Metric,
    /// What a walk compares.
    pub storage: Storage,
    /// A search over fewer candidate rows than this is exact; a shard with at least this many rows keeps
    /// a graph.
    pub exact_below: usize,
    /// Links a row asks for when it is inserted, and the most it has on an upper level (HNSW's M).
    pub m: usize,
    /// The most links a row has on the lowest level.
    pub m0: usize,
    /// Candidates kept while a row looks for its links.
    pub ef_construction: usize,
    /// Candidates kept by a search that does not say.
    pub ef: usize,
    /// What the levels of the rows are drawn from, with their ids.
    pub seed: u64,
}

impl IndexConfig {
    /// The defaults for a dimension and a metric: exact below 10,000 rows, m 32, m0 64,
    /// ef_construction 200, ef 64, seed 0.
    pub const fn new(dim: usize, metric: Metric) -> Self {
        IndexConfig {
            dim,
            metric,
            storage: Storage::Int8,
            exact_below: 10_000,
            m: 32,
            m0: 64,
            ef_construction: 200,
            ef: 64,
            seed: 0,
        }
    }

    /// That every parameter is in its range.
    ///
    /// # Errors
    /// [`IndexError::Config`] names the first that is not.
    pub fn validate(&self) -> Result<(), IndexError> {
        let check = |parameter, value: usize, least, most, allowed| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(IndexError::Config { parameter, value: value as u64, allowed })
            }
        };
        if self.storage == Storage::Binary && self.metric == Metric::L2 {
            return Err(IndexError::BinaryDistance);
        }
        check("dim", self.dim, 1, DIM_MAX, "1 to 4096 are possible")?;
        check("exact_below", self.exact_below, 1, 1 << 30, "1 to 2^30 are possible")?;
        check("m", self.m, 4, 128, "4 to 128 are possible")?;
        check("m0", self.m0, self.m, 256, "m to 256 are possible")?;
        check("ef_construction", self.ef_construction, 1, 4096, "1 to 4096 are possible")?;
        check("ef", self.ef, 1, 4096, "1 to 4096 are possible")
    }

    /// The record as this shard stores and hashes it: what an owner passes to
    /// [`crate::record_hash`] before the record goes into a log.
    ///
    /// # Errors
    /// [`IndexError`]: another dimension, a vector without canonical form, a payload over the limit.
    pub fn canonical(&self, record: Record) -> Result<Record, IndexError> {
        if record.vector.len() != self.dim {
            return Err(IndexError::Dimension { expected: self.dim, got: record.vector.len() });
        }
        if record.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(IndexError::Payload { bytes: record.payload.len() });
        }
        let vector = self.metric.canonical(&record.vector)?.into_owned();
        Ok(Record { vector, ..record })
    }
}
