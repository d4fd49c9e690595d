//! The live rows of a shard, dense: row n of every column belongs to one record.

use std::collections::BTreeMap;

use edge_base::{Digest, RecordId};
use edge_kernels::canon;
use edge_kernels::codes::prefetch;

use crate::blocks::Blocks;
use crate::filter::Fields;
use crate::graph::Near;
use crate::record::hash_parts;
use crate::{Filter, Hit, Metric, Record};

/// Rows scored at once by a scan.
const SCAN_ROWS: usize = 256;

/// Columns of the live records. A removal moves the last row into the gap, so positions are a function of
/// the log.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    dim: usize,
    metric: Metric,
    ids: Vec<RecordId>,
    vectors: Blocks<f32>,
    payloads: Vec<Box<[u8]>>,
    fields: Vec<Fields>,
    positions: BTreeMap<RecordId, u32>,
}

impl Rows {
    pub(crate) fn new(dim: usize, metric: Metric) -> Self {
        Rows {
            dim,
            metric,
            ids: Vec::new(),
            vectors: Blocks::new(dim),
            payloads: Vec::new(),
            fields: Vec::new(),
            positions: BTreeMap::new(),
        }
    }

    /// Vectors whose records are to be named, one after the other.
    pub(crate) fn over(metric: Metric, vectors: Blocks<f32>) -> Self {
        let rows = Rows::new(vectors.width(), metric);
        Rows { vectors, ..rows }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn position(&self, id: &RecordId) -> Option<u32> {
        self.positions.get(id).copied()
    }

    pub(crate) fn id(&self, row: u32) -> RecordId {
        self.ids[row as usize]
    }

    pub(crate) fn vector(&self, row: u32) -> &[f32] {
        self.vectors.row(row as usize)
    }

    /// Bytes that the vectors take in the heap and in a mapping.
    pub(crate) fn vector_bytes(&self) -> (usize, usize) {
        self.vectors.bytes()
    }

    /// Takes other vectors in place of the own ones, if they are the same.
    pub(crate) fn share_vectors(&mut self, vectors: Blocks<f32>) -> bool {
        // Canonical: no NaN and no -0, so equal numbers are equal bits.
        let same = self.vectors.len() == vectors.len() && self.vectors.parts().eq(vectors.parts());
        if same {
            self.vectors = vectors;
        }
        same
    }

    pub(crate) fn payload(&self, row: u32) -> &[u8] {
        &self.payloads[row as usize]
    }

    pub(crate) fn hash(&self, row: u32) -> Digest {
        hash_parts(&self.id(row), self.vector(row), self.payload(row))
    }

    pub(crate) fn record(&self, row: u32) -> Record {
        Record {
            id: self.id(row),
            vector: self.vector(row).to_vec(),
            payload: self.payload(row).to_vec(),
        }
    }

    /// In ascending order of ids.
    pub(crate) fn by_id(&self) -> impl Iterator<Item = (RecordId, u32)> + '_ {
        self.positions.iter().map(|(id, row)| (*id, *row))
    }

    /// Appends a record in canonical form whose id is new.
    pub(crate) fn push(&mut self, record: Record) {
        self.vectors.push(&record.vector);
        self.name(record.id, record.payload);
    }

    /// Says which record the first vector without one is of.
    pub(crate) fn name(&mut self, id: RecordId, payload: impl Into<Box<[u8]>>) {
        let payload = payload.into();
        self.positions.insert(id, self.ids.len() as u32);
        self.ids.push(id);
        self.fields.push(Fields::parse(&payload));
        self.payloads.push(payload);
    }

    /// Replaces the payload of a row.
    pub(crate) fn set_payload(&mut self, row: u32, payload: Vec<u8>) {
        self.fields[row as usize] = Fields::parse(&payload);
        self.payloads[row as usize] = payload.into_boxed_slice();
    }

    /// Removes a row; the last row takes its place.
    pub(crate) fn swap_remove(&mut self, row: u32) {
        let at = row as usize;
        let last = self.ids.len() - 1;
        self.positions.remove(&self.ids[at]);
        if at != last {
            self.positions.insert(self.ids[last], row);
        }
        self.vectors.swap_remove(at);
        self.ids.swap_remove(at);
        self.payloads.swap_remove(at);
        self.fields.swap_remove(at);
    }

    /// The canonical score of a row for a query in canonical form.
    pub(crate) fn score(&self, query: &[f32], row: u32) -> f32 {
        self.metric.score_canonical(query, self.vector(row))
    }

    /// The rows that pass a filter.
    pub(crate) fn matching(&self, filter: &Filter) -> Vec<u32> {
        let rows = self.fields.iter().enumerate();
        rows.filter(|(_, fields)| filter.passes(fields)).map(|(row, _)| row as u32).collect()
    }

    /// The best `k` of all rows.
    pub(crate) fn scan(&self, query: &[f32], k: usize) -> Vec<Hit> {
        let mut scores = vec![0f32; self.len()];
        let mut rest = scores.as_mut_slice();
        for part in self.vectors.parts() {
            for rows in part.chunks(SCAN_ROWS * self.dim) {
                let (out, after) = rest.split_at_mut(rows.len() / self.dim);
                self.metric.score_many_canonical(query, rows, self.dim, out);
                rest = after;
            }
        }
        best(scores.into_iter().zip(self.ids.iter().copied()), k)
    }

    /// The best `k` of a few rows, near which is likely what they are ordered by already.
    pub(crate) fn rescore(&self, query: &[f32], near: &[Near], k: usize) -> Vec<Hit> {
        const AHEAD: usize = 4;
        near.iter().take(AHEAD).for_each(|near| prefetch(self.vector(near.row())));
        let mut scored = Vec::with_capacity(near.len());
        for (at, this) in near.iter().enumerate() {
            if let Some(next) = near.get(at + AHEAD) {
                prefetch(self.vector(next.row()));
            }
            scored.push((self.score(query, this.row()), self.id(this.row())));
        }
        scored.sort_unstable_by(canon::rank);
        scored.truncate(k);
        scored.into_iter().map(|(score, id)| Hit { id, score }).collect()
    }

    /// The best `k` of the rows named.
    pub(crate) fn scan_some(
        &self,
        query: &[f32],
        rows: impl IntoIterator<Item = u32>,
        k: usize,
    ) -> Vec<Hit> {
        let scored = rows.into_iter().map(|row| (self.score(query, row), self.id(row)));
        best(scored, k)
    }
}

fn best(scored: impl IntoIterator<Item = (f32, RecordId)>, k: usize) -> Vec<Hit> {
    let best = canon::top_k(scored, k)
        .expect("invariant: components are bounded, so scores of stored rows are finite");
    best.into_iter().map(|(score, id)| Hit { id, score }).collect()
}
