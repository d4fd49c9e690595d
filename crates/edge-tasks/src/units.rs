//! What work costs: reference CPU-microseconds, the unit of prices and budgets. Integer functions of what
//! both sides can see, at least 1, never less for more work. The constants are rounded measurements of one
//! core (`cargo run --release -p edge-tasks --example bench_units`); agreeing on them matters, their accuracy
//! only makes prices fair.

use crate::{TEXT_BYTES_MAX, TEXT_BYTES_SUM_MAX};

/// One embedding: per text, and per byte of it (tokenizing dominates).
pub fn embedding_units(texts: &[&str]) -> u64 {
    let bytes: u64 = texts.iter().map(|text| text.len().min(TEXT_BYTES_MAX) as u64).sum();
    1 + texts.len() as u64 + bytes.min(TEXT_BYTES_SUM_MAX as u64) / 32
}

/// One match: the embeddings, and a dot product per label.
pub fn match_units<S: AsRef<str>>(text: &str, labels: &[S]) -> u64 {
    let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
    embedding_units(&[text]) + embedding_units(&labels)
}

/// One batch of a log on one replica: hashes, tree and, in the mean over a shard's life, graph.
pub fn append_units(records: u64) -> u64 {
    records.saturating_mul(300).saturating_add(1)
}

/// One search of one shard: rows compared, hits with records and proofs.
pub fn search_units(rows: u64, k: u32) -> u64 {
    10 + rows / 20 + 5 * u64::from(k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_work_never_costs_less_and_none_is_free() {
        let mut texts: Vec<&str> = Vec::new();
        let (mut embed, mut matched) = (embedding_units(&[]), match_units::<&str>("", &[]));
        assert!(embed >= 1 && matched >= 1);
        let long = "x".repeat(5_000);
        for n in 0..300 {
            texts.push(&long[..n * 16]);
            let (more, labels) = (embedding_units(&texts), match_units("text", &texts));
            assert!(more > embed && labels > matched);
            (embed, matched) = (more, labels);
        }
        let counts = [0, 1, 2, 10, 255, 256, 10_000, 12_000, 1 << 40, u64::MAX];
        assert!(counts.is_sorted_by(|a, b| append_units(*a) < append_units(*b) || *a > 1 << 50));
        assert!(counts.is_sorted_by(|a, b| search_units(*a, 10) <= search_units(*b, 10)));
        assert!(search_units(1_000, 10) < search_units(2_000, 10));
        assert!((1..256).all(|k| search_units(1_000, k) < search_units(1_000, k + 1)));
        assert!(search_units(u64::MAX, u32::MAX) > 1 && append_units(0) >= 1);
        assert!(embedding_units(&["a"]) < embedding_units(&[&long]));
    }
}
