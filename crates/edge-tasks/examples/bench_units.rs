//! Measures what `units.rs` states: microseconds of one core for each kind of work.
//! `cargo xtask bench units`, or `cargo run --release -p edge-tasks --example bench_units` for a
//! table with the units beside the times.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark has a clock")]

use std::time::Instant;

use edge_base::shard::{LogBatch, LogEntry, ShardQuery};
use edge_base::{Digest, Rng, ShardId, TaskKind, Work, codec};
use edge_embed::StaticModel;
use edge_tasks::compression::CompressionPayload;
use edge_tasks::encryption::{EncryptionKey, EncryptionPayload, Keyring, Operation, REQUEST_BYTES};
use edge_tasks::{
    EmbeddingPayload, Example, Executor, Layout, MatchPayload, Metric, RecordBody, TaskError,
    VectorQuery, append_units, compression_units, default_layout, default_model, embedding_units,
    encryption_units, match_units, record_id_for_key, search_units,
};

const PASSAGES: &str = include_str!("../tests/data/passages.txt");
const ROWS: u64 = 12_000;
const PER_BATCH: u64 = 128;

/// Microseconds that the work takes, the mean of `times`.
fn measure(times: u32, mut work: impl FnMut() -> Result<(), TaskError>) -> Result<f64, TaskError> {
    let start = Instant::now();
    for _ in 0..times {
        work()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(times))
}

fn report(what: &str, measured: f64, units: u64) {
    if std::env::args().any(|argument| argument == "--json") {
        println!(r#"{{"bench":"units","metric":"{what}","value":{measured:.1},"unit":"us"}}"#);
        return;
    }
    println!("{what:<44} {measured:>10.1} us {units:>8} units");
}

fn main() -> Result<(), TaskError> {
    let key = EncryptionKey::new(zeroize::Zeroizing::new([5; 32]));
    let mut keys = Keyring::default();
    keys.insert("sample", key.clone()).expect("invariant: it is the first");
    let executor = Executor::new().with_keys(keys);
    let texts: Vec<&str> = PASSAGES.lines().collect();
    let run = |kind, payload: Vec<u8>| {
        let work = Work::Run { kind, payload: payload.into() };
        measure(100, || executor.execute(&work).map(drop))
    };
    for count in [1, 64, 256] {
        let owned: Vec<String> = texts[..count].iter().map(|text| (*text).to_owned()).collect();
        let payload = EmbeddingPayload { model: default_model(), texts: owned.clone() }.encode();
        let measured = run(TaskKind::Embedding, payload)?;
        report(&format!("embedding of {count}"), measured, embedding_units(&texts[..count]));
        let question = vec![texts[999].to_owned()];
        let model = default_model();
        let mut payload =
            MatchPayload { model, texts: question, labels: owned, examples: Vec::new() };
        let measured = run(TaskKind::SemanticMatch, payload.encode())?;
        let units = match_units(StaticModel::builtin(), &payload);
        report(&format!("semantic_match with {count} labels"), measured, units);
        let example = |at: usize| Example { label: (at % count) as u32, text: texts[at].into() };
        payload.examples = (0..512).map(example).collect();
        let measured = run(TaskKind::SemanticMatch, payload.encode())?;
        let units = match_units(StaticModel::builtin(), &payload);
        report(&format!("semantic_match, {count} labels, 512 examples"), measured, units);
    }
    for bytes in [1_000, 20_000, PASSAGES.len()] {
        let data = PASSAGES.as_bytes()[..bytes].to_vec();
        let less = CompressionPayload::compress(data);
        let frame = executor
            .execute(&Work::Run { kind: TaskKind::Compression, payload: less.encode().into() })?;
        let back = CompressionPayload::decompress(frame, None);
        for (what, payload) in [("compression", less), ("decompression", back)] {
            let measured = run(TaskKind::Compression, payload.encode())?;
            report(&format!("{what} of {bytes} bytes"), measured, compression_units(&payload));
        }
    }
    for bytes in [0, 1_000, 20_000, PASSAGES.len()] {
        let (operation, request) = (Operation::Encrypt, [7; REQUEST_BYTES]);
        let data = PASSAGES.as_bytes()[..bytes].to_vec();
        let clear = EncryptionPayload { key: key.id(), operation, request, data };
        let work = Work::Run { kind: TaskKind::Encryption, payload: clear.encode().into() };
        let data = executor.execute(&work)?;
        let sealed = EncryptionPayload { operation: Operation::Decrypt, data, ..clear.clone() };
        for (what, payload) in [("encryption", clear), ("decryption", sealed)] {
            let measured = run(TaskKind::Encryption, payload.encode())?;
            report(&format!("{what} of {bytes} bytes"), measured, encryption_units(&payload));
        }
    }
    shard(&executor)
}

fn shard(executor: &Executor) -> Result<(), TaskError> {
    let shard = ShardId(Digest::of(b"units"));
    let layout = default_layout();
    let mut rng = Rng::derive(1, "units");
    let (mut prev, mut total, mut exact, mut slowest) = (Digest::default(), 0.0, 0.0, 0.0f64);
    let mut history: Vec<Vec<LogEntry>> = Vec::new();
    for seq in 1..=ROWS.div_ceil(PER_BATCH) {
        let first = (seq - 1) * PER_BATCH;
        let numbers = first..(first + PER_BATCH).min(ROWS);
        let batch = batch(shard, &layout, (seq, prev), numbers, &mut rng)?;
        prev = batch.chain();
        let work = Work::Append { payload: codec::encode(&batch).into() };
        let measured = measure(1, || executor.execute(&work).map(drop))?;
        total += measured;
        slowest = slowest.max(measured);
        if first < 9_900 {
            exact += measured / 9_984.0;
        }
        if seq % 26 == 0 || first + PER_BATCH >= ROWS {
            let rows = executor.shard_rows(&shard).unwrap_or(0);
            let history = codec::encode(&history).into();
            let payload = codec::encode(&batch).into();
            let replay = Work::Replay { history, payload };
            let measured = measure(3, || executor.execute(&replay).map(drop))?;
            report(&format!("replay to {rows} rows"), measured, 0);
            searches(executor, shard, rows, &mut rng)?;
        }
        history.push(batch.entries);
    }
    report("append of a record, exact", exact, 0);
    report("append of a record, mean with graph", total / ROWS as f64, append_units(1));
    report("slowest batch (builds the graph)", slowest, 0);
    Ok(())
}

fn batch(
    shard: ShardId,
    layout: &Layout,
    (seq, prev): (u64, Digest),
    numbers: std::ops::Range<u64>,
    rng: &mut Rng,
) -> Result<LogBatch, TaskError> {
    let (mut entries, mut bodies) = (Vec::new(), Vec::new());
    for n in numbers {
        let payload = format!("{{\"file\":\"src/file_{n}.rs\",\"line\":{n}}}").into_bytes();
        let vector = random(rng, layout.dim);
        let (entry, body) = RecordBody::canonical(layout, vector, payload)?
            .entry(record_id_for_key(&n.to_string()));
        entries.push(entry);
        bodies.push(body);
    }
    Ok(LogBatch { shard, layout: layout.encode(), seq, prev, entries, bodies })
}

fn searches(
    executor: &Executor,
    shard: ShardId,
    rows: u64,
    rng: &mut Rng,
) -> Result<(), TaskError> {
    for k in [1, 10, 100] {
        let vector = random(rng, 256);
        let query = VectorQuery { metric: Metric::Cosine, vector, ef: None, filter: None };
        let ask = ShardQuery { shard, seq_min: 1, k, query: query.encode() };
        let payload: std::sync::Arc<[u8]> = codec::encode(&ask).into();
        let work = Work::Search { payload: payload.clone() };
        let measured = measure(20, || executor.execute(&work).map(drop))?;
        report(&format!("search of {rows} rows, k = {k}"), measured, search_units(rows, k));
        let answer: std::sync::Arc<[u8]> = executor.execute(&work)?.into();
        let root = codec::decode::<edge_base::shard::ShardAnswer>(&answer)
            .map(|answer| answer.root)
            .unwrap_or_default();
        let check = Work::CheckAnswer { payload, answer, root };
        let measured = measure(20, || executor.execute(&check).map(drop))?;
        report(&format!("check of {k} hits"), measured, 0);
    }
    Ok(())
}

fn random(rng: &mut Rng, dim: u32) -> Vec<f32> {
    (0..dim).map(|_| rng.below(2_001) as f32 / 1_000.0 - 1.0).collect()
}
