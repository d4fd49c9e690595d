//! What work costs: reference CPU-microseconds, the unit of prices and budgets. Integer functions of what
//! both sides can see, at least 1, never less for more work. The constants are rounded measurements of one
//! core (`cargo run --release -p edge-tasks --example bench_units`); agreeing on them matters, their accuracy
//! only makes prices fair.

use edge_embed::Model;

use crate::compression::{COMPRESSED_BYTES_MAX, CompressionPayload, Operation};
use crate::encryption::{EncryptionPayload, SEALED_BYTES_MAX};
use crate::{MatchPayload, TEXT_BYTES_MAX, TEXT_BYTES_SUM_MAX};

/// Floating-point operations of canonical products in a microsecond of a core (docs/benchmarks.md, the
/// encoder: 60 to 80 GFLOP/s).
const OPERATIONS_PER_UNIT: u64 = 60_000;

/// One embedding: per text, and per byte of it (tokenizing dominates).
pub fn embedding_units(texts: &[&str]) -> u64 {
    let bytes: u64 = texts.iter().map(|text| text.len().min(TEXT_BYTES_MAX) as u64).sum();
    1 + texts.len() as u64 + bytes.min(TEXT_BYTES_SUM_MAX as u64) / 32
}

/// One embedding by a model that calculates: what looking up costs, and the operations of the tokens
/// that are read (two more frame each text).
pub fn model_units(model: &dyn Model, texts: &[&str]) -> u64 {
    let per_token = model.operations_per_token();
    let read = |text: &&str| model.count_tokens(text).min(model.max_tokens()) as u64 + 2;
    let tokens = if per_token == 0 { 0 } else { texts.iter().map(read).sum::<u64>() };
    let operations = tokens.saturating_mul(per_token);
    embedding_units(texts).saturating_add(operations / OPERATIONS_PER_UNIT)
}

/// One match by the payload's model: the embeddings, and dot products of texts and examples with labels.
pub fn match_units(model: &dyn Model, payload: &MatchPayload) -> u64 {
    let examples = payload.examples.iter().map(|example| example.text.as_str());
    let texts = payload.texts.iter().chain(&payload.labels).map(String::as_str);
    let texts: Vec<&str> = texts.chain(examples).collect();
    let (rows, labels) = (payload.texts.len(), payload.labels.len() as u64);
    let calibration = payload.examples.len() as u64 * (1 + labels / 16);
    model_units(model, &texts) + rows as u64 * labels / 64 + calibration
}

/// One batch of a log on one replica: hashes, tree and, in the mean over a shard's life, graph.
pub fn append_units(records: u64) -> u64 {
    records.saturating_mul(300).saturating_add(1)
}

/// One search of one shard: rows compared, hits with records and proofs.
pub fn search_units(rows: u64, k: u32) -> u64 {
    10 + rows / 20 + 5 * u64::from(k)
}

/// One compression, by the bytes that go in, or one decompression, by the bytes that may come out
/// and those that are read.
pub fn compression_units(payload: &CompressionPayload) -> u64 {
    let bytes = payload.data.len().min(COMPRESSED_BYTES_MAX) as u64;
    match payload.operation {
        Operation::Compress => 100 + bytes / 30,
        Operation::Decompress => 10 + bytes / 64 + u64::from(payload.output_bytes_max) / 128,
    }
}

/// One encryption or decryption, by the bytes that go in.
pub fn encryption_units(payload: &EncryptionPayload) -> u64 {
    4 + payload.data.len().min(SEALED_BYTES_MAX) as u64 / 500
}

#[cfg(test)]
mod tests {
    use edge_embed::StaticModel;

    use super::*;
    use crate::Example;
    use crate::encryption::{self, REQUEST_BYTES};

    #[test]
    fn more_work_never_costs_less_and_none_is_free() {
        let mut texts: Vec<&str> = Vec::new();
        let mut question = MatchPayload {
            model: crate::default_model(),
            texts: vec!["text".into()],
            labels: Vec::new(),
            examples: Vec::new(),
        };
        let (mut embed, mut matched) =
            (embedding_units(&[]), match_units(StaticModel::builtin(), &question));
        assert!(embed >= 1 && matched >= 1);
        let long = "x".repeat(5_000);
        for n in 0..300 {
            texts.push(&long[..n * 16]);
            let more = embedding_units(&texts);
            assert!(more > embed);
            embed = more;
            question.labels.push(long[..n * 16].into());
            let with_label = match_units(StaticModel::builtin(), &question);
            question.texts.push("another".into());
            let with_text = match_units(StaticModel::builtin(), &question);
            question.examples.push(Example { label: 0, text: "one".into() });
            let more = match_units(StaticModel::builtin(), &question);
            assert!(matched < with_label && with_label < with_text && with_text < more);
            matched = more;
        }
        let counts = [0, 1, 2, 10, 255, 256, 10_000, 12_000, 1 << 40, u64::MAX];
        assert!(counts.is_sorted_by(|a, b| append_units(*a) < append_units(*b) || *a > 1 << 50));
        assert!(counts.is_sorted_by(|a, b| search_units(*a, 10) <= search_units(*b, 10)));
        assert!(search_units(1_000, 10) < search_units(2_000, 10));
        assert!((1..256).all(|k| search_units(1_000, k) < search_units(1_000, k + 1)));
        assert!(search_units(u64::MAX, u32::MAX) > 1 && append_units(0) >= 1);
        assert!(embedding_units(&["a"]) < embedding_units(&[&long]));
        let encrypt = |bytes| {
            let (operation, request) = (encryption::Operation::Encrypt, [0; REQUEST_BYTES]);
            let key = edge_base::Digest::default();
            let data = vec![0; bytes];
            encryption_units(&EncryptionPayload { key, operation, request, data })
        };
        assert!(encrypt(0) >= 1 && encrypt(0) < encrypt(1_000) && encrypt(1_000) < encrypt(9_000));
        let mut last = (0, 0);
        for bytes in [0usize, 1_000, 1 << 20, 4 << 20] {
            let data = vec![0; bytes];
            let less = compression_units(&CompressionPayload::compress(data.clone()));
            let back = CompressionPayload::decompress(data, Some(bytes as u32));
            let now = (less, compression_units(&back));
            assert!(now.0 > last.0 && now.1 > last.1);
            last = now;
        }
    }
}
