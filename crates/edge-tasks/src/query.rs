//! What a search of one shard says beyond its position and count.

use edge_base::codec;
use edge_base::shard::{HITS_MAX, ShardQuery, score_bits};
use edge_index::{DIM_MAX, Filter, Metric};
use serde::{Deserialize, Serialize};

use crate::text::check_finite;
use crate::{FILTER_BYTES_MAX, TaskError, bounded, filter_from_json};

/// The largest search effort.
pub const EF_MAX: u32 = 4096;
/// The most bytes of an encoded answer: [`HITS_MAX`] of the largest records with the longest proofs.
pub const ANSWER_BYTES_MAX: usize = HITS_MAX * (96 << 10) + 256;
const QUERY_BYTES_MAX: usize = DIM_MAX * 4 + FILTER_BYTES_MAX + 32;
/// The most bytes of an encoded [`ShardQuery`].
pub(crate) const SHARD_QUERY_BYTES_MAX: usize = QUERY_BYTES_MAX + 64;

/// The query inside of a [`ShardQuery`]. Encoded: metric, number of components, four bytes each, ef and
/// filter, each with a byte for whether it is there.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VectorQuery {
    /// How the collection compares vectors: with it an answer can be checked by who has no more than
    /// query, answer and root. A replica refuses a query that names another metric than its own.
    pub metric: Metric,
    /// The query vector, finite, of the collection's dimension.
    #[serde(deserialize_with = "bounded::at_most::<DIM_MAX, _, _>")]
    pub vector: Vec<f32>,
    /// Candidates kept while a graph is walked, 1 to [`EF_MAX`]; the layout's when `None`.
    pub ef: Option<u32>,
    /// A filter in JSON, as [`filter_from_json`] reads it.
    pub filter: Option<Vec<u8>>,
}

impl VectorQuery {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads and checks bytes from anywhere.
    ///
    /// # Errors
    /// [`TaskError`]: not a query, numbers that are not finite, a filter that is not understood.
    pub fn decode(bytes: &[u8]) -> Result<Self, TaskError> {
        let query: Self = bounded::decode("query", bytes, QUERY_BYTES_MAX)?;
        query.check()?;
        Ok(query)
    }

    /// That the query can be asked of a collection with its dimension and metric.
    ///
    /// # Errors
    /// [`TaskError`] names what is wrong.
    pub fn check(&self) -> Result<(), TaskError> {
        check_finite("the query", &self.vector)?;
        self.metric.canonical(&self.vector)?;
        if let Some(ef) = self.ef.filter(|ef| !(1..=EF_MAX).contains(ef)) {
            let (what, most) = ("candidates (ef)", u64::from(EF_MAX));
            return Err(TaskError::Count { what, got: u64::from(ef), least: 1, most });
        }
        self.parsed_filter().map(drop)
    }

    pub(crate) fn parsed_filter(&self) -> Result<Option<Filter>, TaskError> {
        self.filter.as_deref().map(filter_from_json).transpose()
    }
}

/// A whole search as its executor and its checker understand it.
pub(crate) struct Search {
    pub(crate) ask: ShardQuery,
    pub(crate) query: VectorQuery,
    pub(crate) filter: Option<Filter>,
}

impl Search {
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, TaskError> {
        let ask: ShardQuery = bounded::decode("search", payload, SHARD_QUERY_BYTES_MAX)?;
        if !(1..=HITS_MAX as u32).contains(&ask.k) {
            let (got, most) = (u64::from(ask.k), HITS_MAX as u64);
            return Err(TaskError::Count { what: "hits wanted", got, least: 1, most });
        }
        let query = VectorQuery::decode(&ask.query)?;
        let filter = query.parsed_filter()?;
        Ok(Search { ask, query, filter })
    }
}

/// The score that a hit's integer stands for.
pub fn score_from_key(key: u32) -> f32 {
    f32::from_bits(score_bits(key))
}
