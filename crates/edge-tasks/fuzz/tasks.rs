//! Everything that this crate decodes from others, and what it does with it. The first byte says which.

use edge_base::shard::{AppendResult, LogBatch, LogEntry, ShardAnswer, ShardQuery};
use edge_base::{Digest, ShardId, TaskKind, Verdict, Work, codec};
use edge_fuzz::{Reached, Target};
use edge_tasks::compression::{CompressionPayload, Operation};
use edge_tasks::encryption::{self, EncryptionKey, EncryptionPayload, Keyring, REQUEST_BYTES};
use edge_tasks::{
    EmbeddingPayload, EmbeddingResult, Example, Executor, Layout, MatchPayload, MatchResult,
    Metric, RecordBody, TaskError, VectorQuery, default_model, filter_from_json,
    record_id_for_text,
};

const SHARD: ShardId = ShardId(Digest([7; 32]));

/// A shard of a few rows, and what is true about it.
struct World {
    executor: Executor,
    history: Vec<Vec<LogEntry>>,
    root: Digest,
    query: Vec<u8>,
    answer: Vec<u8>,
    next: Vec<u8>,
}

fn batch(seq: u64, prev: Digest, names: &[&str]) -> LogBatch {
    let layout = Layout { exact_below: 6, ..Layout::vectors(4, Metric::Cosine) };
    let (mut entries, mut bodies) = (Vec::new(), Vec::new());
    for (at, name) in names.iter().enumerate() {
        let vector = vec![1.0, at as f32, seq as f32, -0.5];
        let payload = format!("{{\"name\":\"{name}\",\"n\":{at}}}").into_bytes();
        let body = RecordBody::canonical(&layout, vector, payload)
            .expect("invariant: finite and not zero");
        let (entry, bytes) = body.entry(record_id_for_text(name));
        entries.push(entry);
        bodies.push(bytes);
    }
    LogBatch { shard: SHARD, layout: layout.encode(), seq, prev, entries, bodies }
}

fn key() -> EncryptionKey {
    EncryptionKey::new(zeroize::Zeroizing::new([5; 32]))
}

fn encryption(operation: encryption::Operation, data: &[u8]) -> EncryptionPayload {
    let (key, request) = (key().id(), [3; REQUEST_BYTES]);
    EncryptionPayload { key, operation, request, data: data.to_vec() }
}

fn world() -> World {
    let mut keys = Keyring::default();
    keys.insert("mine", key()).expect("invariant: it is the first");
    let executor = Executor::new().with_keys(keys);
    let execute = |work: Work| executor.execute(&work).expect("invariant: the work is valid");
    let first = batch(1, Digest::default(), &["a", "b", "c", "d", "e", "f", "g"]);
    let next = codec::encode(&batch(2, first.chain(), &["h", "a"]));
    let appended = execute(Work::Append { payload: codec::encode(&first).into() });
    let appended: AppendResult =
        codec::decode(&appended).expect("invariant: the executor encoded it");
    let query = codec::encode(&ShardQuery { shard: SHARD, seq_min: 1, k: 3, query: query(None) });
    let answer = execute(Work::Search { payload: query.clone().into() });
    let history = vec![first.entries];
    World { history, root: appended.root, query, answer, next, executor }
}

fn query(filter: Option<&str>) -> Vec<u8> {
    let filter = filter.map(|filter| filter.as_bytes().to_vec());
    let vector = vec![1.0, 2.0, 0.5, 0.25];
    VectorQuery { metric: Metric::Cosine, vector, ef: Some(8), filter }.encode()
}

const FILTER: &str =
    r#"{"must":[{"key":"n","range":{"gte":1}}],"should":{"key":"name","match":{"any":["b","c"]}}}"#;

fn seeds(world: &World) -> Vec<Vec<u8>> {
    let model = default_model();
    let texts = vec!["how do I set a timeout".to_owned(), "π".to_owned()];
    let filtered = ShardQuery { shard: SHARD, seq_min: 0, k: 256, query: query(Some(FILTER)) };
    let layout = Layout::texts(256, model);
    let vectors = vec![0.5; 8];
    let similarities = vec![0.5, -0.25];
    let examples: Vec<Example> =
        (0..12).map(|n| Example { label: n % 2, text: format!("wait {n} s") }).collect();
    let text = FILTER.repeat(40).into_bytes();
    let payload = CompressionPayload::compress(text).encode().into();
    let frame = world.executor.execute(&Work::Run { kind: TaskKind::Compression, payload });
    let frame = frame.expect("invariant: any bytes can be compressed");
    let clear = encryption(encryption::Operation::Encrypt, b"seen by nobody");
    let payload = clear.encode().into();
    let sealed = world.executor.execute(&Work::Run { kind: TaskKind::Encryption, payload });
    let sealed = sealed.expect("invariant: any bytes can be encrypted");
    let all = [
        EmbeddingPayload { model, texts: texts.clone() }.encode(),
        EmbeddingResult { dim: 4, vectors }.encode(),
        MatchPayload { model, texts: vec!["a timeout".into()], labels: texts, examples }.encode(),
        MatchResult { labels: 2, temperature: 0.1, threshold: 0.25, similarities }.encode(),
        layout.encode(),
        RecordBody { vector: vec![1.0, 0.0], payload: b"{\"a\":[1,\"x\"]}".to_vec() }.encode(),
        FILTER.as_bytes().to_vec(),
        codec::encode(&filtered),
        world.next.clone(),
        world.answer.clone(),
        codec::encode(&world.history),
        CompressionPayload::compress(b"one text, one text, one text".to_vec()).encode(),
        CompressionPayload::decompress(frame, Some(1 << 16)).encode(),
        clear.encode(),
        encryption(encryption::Operation::Decrypt, &sealed).encode(),
    ];
    all.into_iter().zip(0u8..).map(|(bytes, kind)| [&[kind], &*bytes].concat()).collect()
}

fn reached<T>(result: Result<T, TaskError>) -> Reached {
    if result.is_ok() { Reached::Value } else { Reached::Header }
}

/// Decoded, it has one encoding; two exceptions by padded varints are only shorter.
fn pure<T>(decoded: Result<T, TaskError>, encode: fn(&T) -> Vec<u8>, bytes: &[u8]) -> Reached {
    if let Ok(value) = &decoded {
        assert!(encode(value).len() <= bytes.len(), "the canonical encoding is the shortest");
    }
    reached(decoded)
}

fn decode(world: &World, bytes: &[u8]) -> Reached {
    let Some((kind, bytes)) = bytes.split_first() else { return Reached::Nothing };
    let run = |kind| world.executor.execute(&Work::Run { kind, payload: bytes.into() });
    match kind {
        0 => {
            if let Ok(result) = run(TaskKind::Embedding) {
                EmbeddingResult::decode(&result).expect("what was executed decodes");
            }
            pure(EmbeddingPayload::decode(bytes), EmbeddingPayload::encode, bytes)
        }
        1 => pure(EmbeddingResult::decode(bytes), EmbeddingResult::encode, bytes),
        2 => {
            if let Ok(result) = run(TaskKind::SemanticMatch) {
                MatchResult::decode(&result).expect("what was executed decodes");
            }
            pure(MatchPayload::decode(bytes), MatchPayload::encode, bytes)
        }
        3 => pure(MatchResult::decode(bytes), MatchResult::encode, bytes),
        4 => {
            let layout = Layout::decode(bytes);
            if let Ok(layout) = &layout {
                assert_eq!(layout.encode(), bytes, "one layout, one encoding");
            }
            reached(layout)
        }
        5 => {
            let body = RecordBody::decode(bytes);
            if let Ok(body) = &body {
                assert_eq!(body.encode(), bytes, "one body, one encoding");
            }
            reached(body)
        }
        6 => reached(filter_from_json(bytes)),
        7 => search(world, bytes),
        8 => append(world, bytes),
        9 => check(world, bytes),
        10 => {
            let work = Work::Replay { history: bytes.into(), payload: world.next.clone().into() };
            let result = world.executor.execute(&work);
            if result.is_ok() {
                let history = codec::decode::<Vec<Vec<LogEntry>>>(bytes);
                assert_eq!(history.as_ref(), Ok(&world.history), "only the true history fits");
            }
            reached(result)
        }
        11 | 12 => compression(world, bytes),
        13 | 14 => encrypted(world, bytes),
        _ => Reached::Nothing,
    }
}

/// What is compressed comes back, and nothing gives more than it may.
fn compression(world: &World, bytes: &[u8]) -> Reached {
    let run = |payload: &CompressionPayload| {
        let payload = payload.encode().into();
        world.executor.execute(&Work::Run { kind: TaskKind::Compression, payload })
    };
    let payload = match CompressionPayload::decode(bytes) {
        Ok(payload) => payload,
        Err(error) => return reached::<()>(Err(error)),
    };
    let Ok(result) = run(&payload) else { return Reached::Header };
    assert!(result.len() <= payload.output_bytes_max as usize);
    if payload.operation == Operation::Compress {
        let back = run(&CompressionPayload::decompress(result, None));
        assert_eq!(back.as_ref(), Ok(&payload.data));
    }
    Reached::Value
}

/// What is encrypted comes back, and nothing opens that was not encrypted so.
fn encrypted(world: &World, bytes: &[u8]) -> Reached {
    let run = |payload: &EncryptionPayload| {
        let payload = payload.encode().into();
        world.executor.execute(&Work::Run { kind: TaskKind::Encryption, payload })
    };
    let payload = match EncryptionPayload::decode(bytes) {
        Ok(payload) => payload,
        Err(error) => return reached::<()>(Err(error)),
    };
    let Ok(result) = run(&payload) else { return Reached::Header };
    let data = payload.data_of(&result).expect("what was executed is of the right form");
    match payload.operation {
        encryption::Operation::Encrypt => {
            let back = encryption(encryption::Operation::Decrypt, data);
            let opened = run(&back).expect("what was encrypted opens");
            assert_eq!(back.data_of(&opened), Some(&payload.data[..]));
        }
        encryption::Operation::Decrypt => {
            assert_eq!(data, b"seen by nobody", "the only text that was ever encrypted");
        }
    }
    Reached::Value
}

/// What is answered holds.
fn search(world: &World, bytes: &[u8]) -> Reached {
    let answer = world.executor.execute(&Work::Search { payload: bytes.into() });
    if let Ok(answer) = &answer {
        let (payload, answer) = (bytes.into(), answer.as_slice().into());
        let check = Work::CheckAnswer { payload, answer, root: world.root };
        let verdict = world.executor.execute(&check).expect("the query was answered");
        assert_eq!(codec::decode(&verdict), Ok(Verdict::Holds));
    }
    reached(answer)
}

/// What is appended to an empty shard or to this one is what a replay returns. On other executors:
/// inputs must not depend on each other.
fn append(world: &World, bytes: &[u8]) -> Reached {
    let executor = Executor::new();
    let appended = executor.execute(&Work::Append { payload: bytes.into() });
    let history = codec::encode(&Vec::<Vec<LogEntry>>::new()).into();
    let replayed = executor.execute(&Work::Replay { history, payload: bytes.into() });
    assert_eq!(appended.as_ref().ok(), replayed.as_ref().ok());
    let history = codec::encode(&world.history).into();
    let second = world.executor.execute(&Work::Replay { history, payload: bytes.into() });
    if appended.is_ok() || second.is_ok() { Reached::Value } else { Reached::Header }
}

/// An answer that holds says nothing but the truth about scores and records.
fn check(world: &World, bytes: &[u8]) -> Reached {
    let payload = world.query.as_slice().into();
    let check = Work::CheckAnswer { payload, answer: bytes.into(), root: world.root };
    let verdict = world.executor.execute(&check).expect("the query is valid");
    if codec::decode(&verdict) != Ok(Verdict::Holds) {
        return Reached::Header;
    }
    let truth: ShardAnswer = codec::decode(&world.answer).expect("the executor encoded it");
    let held: ShardAnswer = codec::decode(bytes).expect("it was checked");
    if held.exact {
        assert_eq!(held.hits, truth.hits, "an exact answer is the only one");
    }
    Reached::Value
}

/// Hands the target to `then`.
pub(crate) fn with_target<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    let world = world();
    let seeds = seeds(&world);
    let decode = |bytes: &[u8]| decode(&world, bytes);
    then(&Target { header_bytes: 1, ..Target::new("tasks", &seeds, &decode) })
}
