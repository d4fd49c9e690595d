//! What all batches of a shard's log say about it.

use edge_base::{Digest, ShardId, codec};
use edge_index::{IndexConfig, Metric, Storage};
use serde::{Deserialize, Serialize};

use crate::{TaskError, bounded};

/// The most bytes of an encoded layout.
pub const LAYOUT_BYTES_MAX: usize = 64;

/// Dimension and metric of a collection, and how its shards search: the same in every batch. Encoded:
/// dim, metric, storage, model (32 bytes), exact_below, ef; numbers as varints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Layout {
    /// Components of a vector, 1 to 4,096.
    pub dim: u32,
    /// How vectors compare.
    pub metric: Metric,
    /// What walks compare.
    pub storage: Storage,
    /// The content hash of the model that made the vectors; zero when clients bring vectors.
    pub model: Digest,
    /// A search over fewer rows than this is exact.
    pub exact_below: u32,
    /// Candidates kept by a search that does not say, 1 to 4,096.
    pub ef: u32,
}

impl Layout {
    /// A collection of clients' vectors, with the default search parameters.
    pub fn vectors(dim: u32, metric: Metric) -> Self {
        let IndexConfig { exact_below, ef, .. } = IndexConfig::new(dim as usize, metric);
        Layout {
            dim,
            metric,
            storage: Storage::default(),
            model: Digest::default(),
            exact_below: exact_below as u32,
            ef: ef as u32,
        }
    }

    /// A collection of texts embedded by a model, compared by cosine.
    pub fn texts(dim: u32, model: Digest) -> Self {
        Layout { model, ..Layout::vectors(dim, Metric::Cosine) }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads and checks bytes from anywhere.
    ///
    /// # Errors
    /// [`TaskError`]: not the canonical encoding of a layout, or a parameter out of its range.
    pub fn decode(bytes: &[u8]) -> Result<Self, TaskError> {
        let layout: Self = bounded::decode_strict("layout", bytes, LAYOUT_BYTES_MAX)?;
        layout.config().validate()?;
        Ok(layout)
    }

    /// The configuration of an index, apart from its seed.
    pub(crate) fn config(&self) -> IndexConfig {
        IndexConfig {
            storage: self.storage,
            exact_below: self.exact_below as usize,
            ef: self.ef as usize,
            ..IndexConfig::new(self.dim as usize, self.metric)
        }
    }

    /// The configuration of a shard's index: levels are drawn by the shard's id.
    pub(crate) fn config_of(&self, shard: &ShardId) -> IndexConfig {
        IndexConfig { seed: shard.0.prefix_u64(), ..self.config() }
    }
}
