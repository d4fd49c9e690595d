//! Limits, each at its edge.

use edge_base::codec;
use edge_index::{DIM_MAX, PAYLOAD_BYTES_MAX};
use edge_tasks::compression::{COMPRESSED_BYTES_MAX, CompressionPayload, DATA_BYTES_MAX};
use edge_tasks::encryption::{
    DATA_BYTES_MAX as CLEAR_BYTES_MAX, EncryptionPayload, Operation, REQUEST_BYTES,
    SEALED_BYTES_MAX,
};
use edge_tasks::matching::{EXAMPLES_MAX, TEMPERATURE};
use edge_tasks::{
    ANSWER_BYTES_MAX, EmbeddingPayload, EmbeddingResult, Example, FILTER_BYTES_MAX,
    LAYOUT_BYTES_MAX, Layout, MatchPayload, MatchResult, Metric, RecordBody, TEXT_BYTES_MAX,
    TEXT_BYTES_SUM_MAX, TEXTS_MAX, TaskError, VectorQuery, default_model, filter_from_json,
};

fn payload(texts: Vec<String>) -> Result<EmbeddingPayload, TaskError> {
    EmbeddingPayload::decode(&EmbeddingPayload { model: default_model(), texts }.encode())
}

#[test]
fn numbers_and_sizes_of_texts() {
    let count = |got| TaskError::Count { what: "texts", got, least: 1, most: 256 };
    assert_eq!(payload(vec![]), Err(count(0)));
    assert!(payload(vec!["a".into(); TEXTS_MAX]).is_ok());
    let many = payload(vec!["a".into(); TEXTS_MAX + 1]);
    assert!(matches!(many, Err(TaskError::Malformed { .. })), "refused by its announced length");
    assert!(payload(vec!["a".repeat(TEXT_BYTES_MAX)]).is_ok());
    let long = payload(vec!["a".repeat(TEXT_BYTES_MAX + 1)]);
    assert!(matches!(long, Err(TaskError::TooLarge { what: "a text", .. })));
    let quarter = "a".repeat(TEXT_BYTES_SUM_MAX / 4);
    assert!(payload(vec![quarter.clone(); 4]).is_ok());
    let sum = payload(vec![quarter.clone(), quarter.clone(), quarter.clone(), quarter, "a".into()]);
    assert!(matches!(sum, Err(TaskError::TooLarge { what: "texts", .. })));
    let huge = EmbeddingPayload::decode(&vec![0; 5 << 20]);
    assert!(matches!(huge, Err(TaskError::TooLarge { what: "embedding payload", .. })));
    let ask = |labels| {
        let texts = vec!["a".into()];
        MatchPayload { model: default_model(), texts, labels, examples: Vec::new() }
    };
    assert!(ask(vec!["b".into(); TEXTS_MAX]).check().is_ok());
    assert!(ask(vec!["b".into(); TEXTS_MAX + 1]).check().is_err());
    assert!(MatchPayload::decode(&ask(vec![]).encode()).is_err());
    let with = |count, label| {
        let examples = vec![Example { label, text: "c".into() }; count];
        MatchPayload { examples, ..ask(vec!["b".into(); 3]) }
    };
    assert!(with(EXAMPLES_MAX, 2).check().is_ok());
    assert!(matches!(with(EXAMPLES_MAX + 1, 2).check(), Err(TaskError::Count { .. })));
    let none = with(2, 3).check();
    assert_eq!(none, Err(TaskError::NoSuchLabel { index: 0, label: 3 }));
}

/// An announced count costs nothing before it is refused: these bytes would be terabytes.
#[test]
fn announced_counts_are_not_believed() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let after = |head: &[u8]| [head, &huge, &[1; 100]].concat();
    assert!(EmbeddingPayload::decode(&after(&[0; 32])).is_err());
    assert!(MatchPayload::decode(&after(&[0; 32])).is_err());
    assert!(EmbeddingResult::decode(&after(&[4])).is_err());
    assert!(MatchResult::decode(&after(&[1, 0, 0, 0, 0, 0, 0, 0, 0])).is_err());
    assert!(RecordBody::decode(&after(&[])).is_err());
    assert!(VectorQuery::decode(&after(&[0])).is_err());
}

#[test]
fn bytes_of_compressions() {
    let check = |payload: CompressionPayload| CompressionPayload::decode(&payload.encode()).is_ok();
    assert!(check(CompressionPayload::compress(vec![0; DATA_BYTES_MAX])));
    assert!(!check(CompressionPayload::compress(vec![0; DATA_BYTES_MAX + 1])));
    assert!(check(CompressionPayload::decompress(vec![0; COMPRESSED_BYTES_MAX], None)));
    assert!(!check(CompressionPayload::decompress(vec![0; COMPRESSED_BYTES_MAX + 1], None)));
    let most = CompressionPayload::decompress(Vec::new(), Some(u32::MAX));
    assert_eq!(most.output_bytes_max as usize, DATA_BYTES_MAX);
    let more = DATA_BYTES_MAX as u32 + 1;
    assert!(!check(CompressionPayload { output_bytes_max: more, ..most }));
}

#[test]
fn bytes_of_encryptions() {
    let check = |operation, bytes| {
        let (key, request) = (edge_base::Digest::default(), [0; REQUEST_BYTES]);
        let payload = EncryptionPayload { key, operation, request, data: vec![0; bytes] };
        assert_eq!(payload.check().is_ok(), EncryptionPayload::decode(&payload.encode()).is_ok());
        payload.check()
    };
    assert_eq!(check(Operation::Encrypt, 0), Ok(()));
    assert_eq!(check(Operation::Encrypt, CLEAR_BYTES_MAX), Ok(()));
    assert_eq!(check(Operation::Decrypt, SEALED_BYTES_MAX), Ok(()));
    for (operation, bytes, limit) in [
        (Operation::Encrypt, CLEAR_BYTES_MAX + 1, CLEAR_BYTES_MAX),
        (Operation::Decrypt, SEALED_BYTES_MAX + 1, SEALED_BYTES_MAX),
        (Operation::Encrypt, (64 << 20) + 1, CLEAR_BYTES_MAX),
    ] {
        let what = "the data";
        assert_eq!(check(operation, bytes), Err(TaskError::TooLarge { what, bytes, limit }));
    }
    // An announced length that nothing backs, and a third operation.
    let start = [0; 32];
    let request = [7; REQUEST_BYTES];
    let huge = [&start[..], &[0], &request, &[0xff, 0xff, 0xff, 0xff, 0x0f], &[1; 100]].concat();
    assert!(EncryptionPayload::decode(&huge).is_err());
    assert!(EncryptionPayload::decode(&[&start[..], &[2], &request, &[0]].concat()).is_err());
}

#[test]
fn results_have_rows_of_finite_numbers() {
    let of = |dim, vectors| EmbeddingResult::decode(&EmbeddingResult { dim, vectors }.encode());
    assert!(of(2, vec![1.0; 6]).is_ok());
    for (dim, numbers) in [(4, 6), (0, 0), (5000, 5000)] {
        assert_eq!(of(dim, vec![1.0; numbers]), Err(TaskError::Shape { dim, numbers }));
    }
    let nan = TaskError::NotFinite { what: "the vectors", at: 1 };
    assert_eq!(of(2, vec![1.0, f32::NAN]), Err(nan));
    let good = MatchResult {
        labels: 2,
        temperature: TEMPERATURE,
        threshold: 0.5,
        similarities: vec![0.25, 0.5, 1.0, 0.5],
    };
    let read = |result: MatchResult| MatchResult::decode(&result.encode());
    assert_eq!(read(good.clone()), Ok(good.clone()));
    assert_eq!(
        good.rows().map(|row| good.best(row)).collect::<Vec<_>>(),
        [Some((1, true)), Some((0, true))]
    );
    assert_eq!(good.best(&[0.4, 0.1]), Some((0, false)));
    assert_eq!(good.best(&[]), None);
    assert!(read(MatchResult { similarities: vec![], ..good.clone() }).is_err());
    assert!(read(MatchResult { similarities: vec![0.5; 3], ..good.clone() }).is_err());
    assert!(read(MatchResult { similarities: vec![f32::INFINITY; 2], ..good.clone() }).is_err());
    assert!(read(MatchResult { labels: 0, ..good.clone() }).is_err());
    assert!(read(MatchResult { temperature: 0.0, ..good.clone() }).is_err());
    assert!(read(MatchResult { threshold: f32::NAN, ..good }).is_err());
}

#[test]
fn layouts_are_possible_and_encoded_in_one_way() {
    let layout = Layout::vectors(3, Metric::Dot);
    assert_eq!(Layout::decode(&layout.encode()), Ok(layout));
    for wrong in [
        Layout { dim: 0, ..layout },
        Layout { dim: DIM_MAX as u32 + 1, ..layout },
        Layout { exact_below: 0, ..layout },
        Layout { ef: 0, ..layout },
        Layout { ef: 4097, ..layout },
    ] {
        assert!(matches!(Layout::decode(&wrong.encode()), Err(TaskError::Index(_))), "{wrong:?}");
    }
    let mut padded = layout.encode();
    padded[0] |= 0x80;
    padded.insert(1, 0);
    assert_eq!(Layout::decode(&padded), Err(TaskError::NotCanonical { what: "layout" }));
    assert!(Layout::decode(&[0; LAYOUT_BYTES_MAX + 1]).is_err());
    assert!(
        Layout { dim: u32::MAX, exact_below: u32::MAX, ef: u32::MAX, ..layout }.encode().len()
            <= 64
    );
}

#[test]
fn bodies_hold_objects_of_bounded_size() {
    let layout = Layout::vectors(2, Metric::Cosine);
    let body = |payload: Vec<u8>| RecordBody::canonical(&layout, vec![3.0, 4.0], payload);
    let object = |bytes: usize| [b"{\"a\":\"", &*b"x".repeat(bytes - 8), b"\"}"].concat();
    let full = body(object(PAYLOAD_BYTES_MAX)).unwrap();
    assert_eq!(full.vector, [0.6, 0.8]);
    assert_eq!(RecordBody::decode(&full.encode()), Ok(full));
    assert!(matches!(body(object(PAYLOAD_BYTES_MAX + 1)), Err(TaskError::Index(_))));
    assert!(body(Vec::new()).is_ok());
    for json in ["[]", "1", "{", "{}x", "null", "{\"a\":\u{7f}}"] {
        assert_eq!(body(json.into()), Err(TaskError::NotAnObject), "{json}");
    }
    assert_eq!(body(b"{\"\xff\":1}".to_vec()), Err(TaskError::NotAnObject));
    let deep = [b"{\"a\":".repeat(9_000), b"1".to_vec(), b"}".repeat(9_000)].concat();
    assert!(body(deep).is_ok(), "valid, however deep");
}

#[test]
fn filters_are_read_whole_or_refused() {
    for good in [
        "{}",
        r#"{"must":null,"should":[{"key":"a","match":{"any":["x",1,2.5,true]}}]}"#,
        r#"{"must":[{"key":"a.b","range":{"gt":1,"lte":2.5}}],"must_not":{"key":"c","match":{"value":false}}}"#,
    ] {
        assert!(filter_from_json(good.as_bytes()).is_ok(), "{good}");
    }
    for bad in [
        "",
        "[]",
        "{}{}",
        r#"{"must":[{"key":"a"}]}"#,
        r#"{"must":[{"match":{"value":1}}]}"#,
        r#"{"must":[{"key":"a","match":{"text":"x"}}]}"#,
        r#"{"must":[{"key":"a","match":{"value":null}}]}"#,
        r#"{"must":[{"key":"a","range":{}}]}"#,
        r#"{"must":[{"key":"a","range":{"gt":"x"}}]}"#,
        r#"{"must":[{"key":"a","match":{"value":1},"range":{"gt":1}}]}"#,
    ] {
        assert!(filter_from_json(bad.as_bytes()).is_err(), "{bad}");
    }
    for (bad, says) in [
        (
            r#"{"must":[{"key":"a","matches":{"value":1}}]}"#,
            r#"a condition is {"key": .., "match""#,
        ),
        (r#"{"must":[{"key":"a","match":{"value":1},"range":{"gt":1}}]}"#, "one of match.value"),
    ] {
        let why = filter_from_json(bad.as_bytes()).unwrap_err().to_string();
        assert!(why.contains(says), "{why}");
    }
    let filter = filter_from_json(br#"{"must":{"key":"n","range":{"gte":2,"lt":4}}}"#).unwrap();
    let passes = |n: u64| filter.matches(format!("{{\"n\":{n}}}").as_bytes());
    assert_eq!([1, 2, 3, 4].map(passes), [false, true, true, false]);
    assert!(filter_from_json(&vec![b' '; FILTER_BYTES_MAX + 1]).is_err());
}

#[test]
fn the_largest_answer_is_within_its_limit() {
    let body = RecordBody { vector: vec![1.0; DIM_MAX], payload: vec![b' '; PAYLOAD_BYTES_MAX] };
    let hit = edge_base::shard::ShardHit {
        id: Default::default(),
        score: u32::MAX,
        body: body.encode(),
        proof: vec![0; 256 * 33 + 80],
    };
    assert!(codec::encode(&hit).len() * edge_base::shard::HITS_MAX + 200 <= ANSWER_BYTES_MAX);
}
