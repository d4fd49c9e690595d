//! The bytes that travel, written out by hand from the definition of the encoding: postcard, which is
//! lengths, counts and integers as LEB128 varints, numbers as four bytes little endian, digests as they
//! are, options and variants by their number.

use edge_base::shard::{AppendResult, LogEntry, score_key};
use edge_base::{Digest, RecordId, Verdict, codec};
use edge_tasks::compression::{CompressionPayload, ENCODER, Operation};
use edge_tasks::encryption::{self, EncryptionPayload};
use edge_tasks::{
    EmbeddingPayload, EmbeddingResult, Example, Layout, MatchPayload, MatchResult, Metric,
    RecordBody, Storage, VectorQuery, compression_pin, default_layout, default_model,
    encryption_pin, match_pin, normalised, pin_of, pins, record_id_for_key, record_id_for_text,
    score_from_key, shard_pin,
};

const MODEL: Digest = Digest([0xab; 32]);

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn payloads_and_results_have_their_bytes() {
    let payload = EmbeddingPayload { model: MODEL, texts: vec!["π".into(), "x".repeat(300)] };
    let expected = bytes(&[&[0xab; 32], b"\x02", b"\x02\xcf\x80", b"\xac\x02", &[b'x'; 300]]);
    assert_eq!(payload.encode(), expected);
    assert_eq!(EmbeddingPayload::decode(&expected), Ok(payload));

    let result = EmbeddingResult { dim: 2, vectors: vec![1.0, -0.5, 0.25, 0.0] };
    let expected = b"\x02\x04\0\0\x80\x3f\0\0\0\xbf\0\0\x80\x3e\0\0\0\0";
    assert_eq!(result.encode(), expected);
    assert_eq!(EmbeddingResult::decode(expected), Ok(result.clone()));
    assert_eq!(result.rows().collect::<Vec<_>>(), [[1.0, -0.5], [0.25, 0.0]]);

    let payload = MatchPayload {
        model: MODEL,
        texts: vec!["a".into()],
        labels: vec!["bc".into()],
        examples: vec![Example { label: 0, text: "d".into() }],
    };
    let expected = bytes(&[&[0xab; 32], b"\x01\x01a", b"\x01\x02bc", b"\x01\x00\x01d"]);
    assert_eq!(payload.encode(), expected);
    assert_eq!(MatchPayload::decode(&expected), Ok(payload));

    let result =
        MatchResult { labels: 2, temperature: 0.3, threshold: 0.25, similarities: vec![0.5, 1.0] };
    let expected = b"\x02\x9a\x99\x99\x3e\0\0\x80\x3e\x02\0\0\0\x3f\0\0\x80\x3f";
    assert_eq!(result.encode(), expected);
    assert_eq!(MatchResult::decode(expected), Ok(result));
}

#[test]
fn compressions_have_their_bytes() {
    let payload = CompressionPayload {
        operation: Operation::Decompress,
        output_bytes_max: 300,
        data: b"abc".to_vec(),
    };
    assert_eq!(payload.encode(), b"\x01\xac\x02\x03abc");
    assert_eq!(CompressionPayload::decode(b"\x01\xac\x02\x03abc"), Ok(payload));
    // The pin names the version that is built in.
    let lock = include_str!("../../../../Cargo.lock");
    let version = lock.split("name = \"ruzstd\"\nversion = \"").nth(1).expect("it is a dependency");
    let version = version.split('"').next().unwrap_or_default();
    assert!(ENCODER.starts_with(&format!("ruzstd {version}, ")), "{version}: a new ENCODER");
}

/// It begins with the key's id: nodes decide by that whose tasks they take.
#[test]
fn encryptions_have_their_bytes() {
    let payload = EncryptionPayload {
        key: MODEL,
        operation: encryption::Operation::Decrypt,
        request: *b"0123456789abcdef",
        data: b"abc".to_vec(),
    };
    let expected = bytes(&[&[0xab; 32], b"\x01", b"0123456789abcdef", b"\x03abc"]);
    assert_eq!(payload.encode(), expected);
    assert_eq!(EncryptionPayload::decode(&expected), Ok(payload));
}

#[test]
fn what_shards_are_made_of_has_its_bytes() {
    let (metric, storage) = (Metric::L2, Storage::F32);
    let layout = Layout { dim: 256, metric, storage, model: MODEL, exact_below: 10_000, ef: 64 };
    let expected = bytes(&[b"\x80\x02\x02\x01", &[0xab; 32], b"\x90\x4e\x40"]);
    assert_eq!(layout.encode(), expected);
    assert_eq!(Layout::decode(&expected), Ok(layout));

    let body = RecordBody { vector: vec![1.0, -0.5], payload: b"{}".to_vec() };
    let expected = b"\x02\0\0\x80\x3f\0\0\0\xbf\x02{}";
    assert_eq!(body.encode(), expected);
    assert_eq!(RecordBody::decode(expected), Ok(body.clone()));

    // The record's hash: tag, id, framed vector bits, framed payload.
    let id = RecordId(MODEL);
    let numbers = b"\0\0\x80\x3f\0\0\0\xbf";
    let two = 2u64.to_le_bytes();
    let eight = 8u64.to_le_bytes();
    let hashed = bytes(&[b"\x0eindex/record/1", &[0xab; 32], &eight, numbers, &two, b"{}"]);
    let entry = LogEntry { id, record: Some(Digest::of(&hashed)) };
    assert_eq!(body.entry(id), (entry, expected.to_vec()));

    let (ef, filter) = (Some(200), Some(b"{}".to_vec()));
    let query = VectorQuery { metric: Metric::Dot, vector: vec![1.0], ef, filter };
    let expected = b"\x01\x01\0\0\x80\x3f\x01\xc8\x01\x01\x02{}";
    assert_eq!(query.encode(), expected);
    assert_eq!(VectorQuery::decode(expected), Ok(query));

    let result = AppendResult { seq: 300, root: MODEL };
    assert_eq!(codec::encode(&result), bytes(&[b"\xac\x02", &[0xab; 32]]));
    assert_eq!(codec::encode(&Verdict::Holds), b"\0");
    assert_eq!(codec::encode(&Verdict::False("no".into())), b"\x01\x02no");
}

#[test]
fn ids_are_of_the_normalised_text_or_of_the_key() {
    assert_eq!(normalised("  a\tb\r\n\u{3000}c "), "a b c");
    assert_eq!(record_id_for_text("a  b\n"), RecordId(Digest::of(b"a b")));
    let key = RecordId(Digest::of(b"\x12tasks/record-key/1a b"));
    assert_eq!(record_id_for_key("a b"), key);
    assert_ne!(record_id_for_key("a b"), record_id_for_key("a  b"));
}

#[test]
fn scores_survive_their_integers() {
    for score in [0.0, 1.0, -1.0, f32::MIN_POSITIVE, -1e-40, 3.4e38, -3.4e38] {
        assert_eq!(score_from_key(score_key(score.to_bits())).to_bits(), score.to_bits());
    }
}

#[test]
fn pins_name_model_tokenizer_and_arithmetic() {
    let pin = pin_of(&default_model());
    assert_eq!(pins(), [pin, match_pin(&default_model()), shard_pin(), compression_pin()]);
    assert_ne!(pin, shard_pin());
    assert_ne!(pin, pin_of(&MODEL));
    assert!(!pins().contains(&pin_of(&MODEL)));
    assert_ne!(encryption_pin(&MODEL), encryption_pin(&Digest::default()));
    assert_eq!(default_layout().model, default_model());
    assert_eq!((default_layout().dim, default_layout().exact_below), (256, 10_000));
}
