//! Real work over real texts: 1,000 passages are embedded, matched, stored and searched, and everything
//! that came back is hashed.

use std::sync::Arc;

use edge_base::shard::{LogBatch, ShardQuery};
use edge_base::{Digest, Hasher, ShardId, TaskKind, Work, codec};
use edge_tasks::compression::CompressionPayload;
use edge_tasks::encryption::{EncryptionKey, EncryptionPayload, Keyring, Operation, REQUEST_BYTES};
use edge_tasks::{
    EmbeddingPayload, EmbeddingResult, Example, Executor, MatchPayload, MatchResult, Metric,
    RecordBody, TaskError, VectorQuery, default_layout, default_model, record_id_for_text,
};

/// Doc comments and paragraphs of this project, one a line.
const PASSAGES: &str = include_str!("../data/passages.txt");
const PER_BATCH: usize = 250;
const LABELS: [&str; 8] = [
    "network connection",
    "cryptographic signature",
    "vector search",
    "credits and payment",
    "text tokenizer",
    "error handling",
    "test of a law",
    "file on disk",
];

/// The kinds of work, in the order of [`sections`].
pub(crate) const SECTIONS: [&str; 6] =
    ["embedding", "semantic_match", "vector_insert", "vector_search", "compression", "encryption"];

/// One digest for each of [`SECTIONS`], over all results of the kind.
pub(crate) fn sections() -> Result<[Digest; 6], TaskError> {
    let key = EncryptionKey::new(zeroize::Zeroizing::new([5; 32]));
    let mut keys = Keyring::default();
    keys.insert("sample", key.clone()).expect("invariant: it is the first");
    let executor = Executor::new().with_keys(keys);
    let texts: Vec<&str> = PASSAGES.lines().collect();
    let mut hashers = SECTIONS.map(Hasher::new);
    let vectors = embed(&executor, &texts, &mut hashers[0])?;
    let owned: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let labelled = owned.iter().zip(0..);
    let labelled = labelled.map(|(text, n)| Example { label: n % 8, text: text.clone() });
    let labelled: Vec<Example> = labelled.collect();
    for examples in [0, 7, 200] {
        let texts: Vec<String> = owned.iter().step_by(5).cloned().collect();
        let (model, labels) = (default_model(), LABELS.map(str::to_owned).to_vec());
        let payload =
            MatchPayload { model, texts, labels, examples: labelled[..examples].to_vec() };
        let result = run(&executor, TaskKind::SemanticMatch, payload.encode())?;
        hashers[1].update_framed(&result);
        let result = MatchResult::decode(&result)?;
        for row in result.rows() {
            hashers[1].update(&codec::encode(&result.scores(row)));
        }
    }
    let shard = ShardId(Digest::of(b"passages"));
    append(&executor, shard, &texts, &vectors, &mut hashers[2])?;
    for vector in vectors.iter().step_by(5) {
        let (ef, filter) = (None, None);
        let query = VectorQuery { metric: Metric::Cosine, vector: vector.clone(), ef, filter };
        let search = ShardQuery { shard, seq_min: 4, k: 10, query: query.encode() };
        let answer = executor.execute(&Work::Search { payload: codec::encode(&search).into() })?;
        hashers[3].update_framed(&answer);
    }
    for data in [PASSAGES.as_bytes(), texts[7].as_bytes(), b""] {
        let less = compressed(&executor, CompressionPayload::compress(data.to_vec()))?;
        hashers[4].update_framed(&less);
        let back = compressed(&executor, CompressionPayload::decompress(less, None))?;
        hashers[4].update_framed(&back);
    }
    for (data, n) in [PASSAGES.as_bytes(), texts[7].as_bytes(), b""].into_iter().zip(0..) {
        let (operation, request) = (Operation::Encrypt, [n; REQUEST_BYTES]);
        let clear = EncryptionPayload { key: key.id(), operation, request, data: data.to_vec() };
        let sealed = run(&executor, TaskKind::Encryption, clear.encode())?;
        hashers[5].update_framed(&sealed);
        let back = EncryptionPayload { operation: Operation::Decrypt, data: sealed, ..clear };
        let opened = run(&executor, TaskKind::Encryption, back.encode())?;
        hashers[5].update_framed(&opened);
    }
    Ok(hashers.map(Hasher::finish))
}

fn compressed(executor: &Executor, payload: CompressionPayload) -> Result<Vec<u8>, TaskError> {
    run(executor, TaskKind::Compression, payload.encode())
}

fn run(executor: &Executor, kind: TaskKind, payload: Vec<u8>) -> Result<Vec<u8>, TaskError> {
    executor.execute(&Work::Run { kind, payload: Arc::from(payload) })
}

fn embed(
    executor: &Executor,
    texts: &[&str],
    hasher: &mut Hasher,
) -> Result<Vec<Vec<f32>>, TaskError> {
    let mut vectors = Vec::new();
    for batch in texts.chunks(PER_BATCH) {
        let texts = batch.iter().map(|text| (*text).to_owned()).collect();
        let payload = EmbeddingPayload { model: default_model(), texts };
        let result = run(executor, TaskKind::Embedding, payload.encode())?;
        hasher.update_framed(&result);
        vectors.extend(EmbeddingResult::decode(&result)?.rows().map(<[f32]>::to_vec));
    }
    Ok(vectors)
}

fn append(
    executor: &Executor,
    shard: ShardId,
    texts: &[&str],
    vectors: &[Vec<f32>],
    hasher: &mut Hasher,
) -> Result<(), TaskError> {
    let layout = default_layout();
    let mut prev = Digest::default();
    let chunks = texts.chunks(PER_BATCH).zip(vectors.chunks(PER_BATCH));
    for (seq, (texts, vectors)) in (1..).zip(chunks) {
        let (mut entries, mut bodies) = (Vec::new(), Vec::new());
        for (text, vector) in texts.iter().zip(vectors) {
            let payload = format!("{{\"bytes\":{}}}", text.len()).into_bytes();
            let body = RecordBody::canonical(&layout, vector.clone(), payload)?;
            let (entry, body) = body.entry(record_id_for_text(text));
            entries.push(entry);
            bodies.push(body);
        }
        let batch = LogBatch { shard, layout: layout.encode(), seq, prev, entries, bodies };
        prev = batch.chain();
        let payload = codec::encode(&batch).into();
        hasher.update_framed(&executor.execute(&Work::Append { payload })?);
    }
    Ok(())
}
