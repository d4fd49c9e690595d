//! What work costs: reference CPU-microseconds, the unit of prices and budgets. Integer functions of what
//! both sides can see, at least 1, never less for more work. The constants are rounded measurements of one
//! core (`cargo run --release -p edge-tasks --example bench_units`); agreeing on them matters, their accuracy
//! only makes prices fair.

use crate::{TEXT_BYTES_MAX, TEXT_BYTES_SUM_MAX};

/// One embedding: per text, and per byte of it (tokenizing dominates).
pub fn embedding_units(texts: &[&str]) -> u64 {
    let bytes: u64 = texts.iter().map(|text| text.len().min(TEXT_BYTES_MAX) as u64).sum();
    1 + 2 * texts.len() as u64 + bytes.min(TEXT_BYTES_SUM_MAX as u64) / 16
}

/// One match: the embeddings, and a dot product per label.
pub fn match_units(text: &str, labels: &[&str]) -> u64 {
    embedding_units(&[text]) + embedding_units(labels)
}

/// One batch of a log on one replica: hashes, tree and, in the mean over a shard's life, graph.
pub fn append_units(records: usize) -> u64 {
    1 + 600 * records as u64
}

/// One search of one shard: rows compared, hits with records and proofs.
pub fn search_units(rows: u64, k: u32) -> u64 {
    10 + rows / 20 + 5 * u64::from(k)
}
