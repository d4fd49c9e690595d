//! Every kind of work, and what each refuses.

use edge_base::shard::{LogBatch, ShardQuery};
use edge_base::{Digest, ShardId, TaskKind, Work, codec};
use edge_embed::Registry;
use edge_index::{IndexError, VectorError};
use edge_tasks::compression::CompressionPayload;
use edge_tasks::{
    EmbeddingPayload, EmbeddingResult, Executor, Layout, MatchPayload, MatchResult, Metric,
    RecordBody, TaskError, VectorQuery, default_model,
};

use crate::world::{Change, DIM, Log, append, ask, body, check, filled, id, query, root, search};

fn run(kind: TaskKind, payload: Vec<u8>) -> Result<Vec<u8>, TaskError> {
    Executor::new().execute(&Work::Run { kind, payload: payload.into() })
}

fn embed(texts: &[&str]) -> Result<EmbeddingResult, TaskError> {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    let payload = EmbeddingPayload { model: default_model(), texts };
    EmbeddingResult::decode(&run(TaskKind::Embedding, payload.encode())?)
}

fn match_text(text: &str, labels: &[&str]) -> Result<MatchResult, TaskError> {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    let texts = vec![text.to_owned()];
    let payload = MatchPayload { model: default_model(), texts, labels, examples: Vec::new() };
    MatchResult::decode(&run(TaskKind::SemanticMatch, payload.encode())?)
}

fn best(result: &MatchResult) -> Option<usize> {
    result.best(result.rows().next()?).map(|(best, _)| best)
}

#[test]
fn embeddings_are_the_models() {
    let texts = ["compress a file", "a game of chess"];
    let registry = Registry::builtin();
    let mut expected = Vec::new();
    registry.get(&default_model()).unwrap().embed(&texts, &mut expected).unwrap();
    assert_eq!(embed(&texts).unwrap(), EmbeddingResult { dim: 256, vectors: expected });
    assert_eq!(embed(&["ok", " \t"]), Err(TaskError::EmptyText { what: "text", index: 1 }));
}

#[test]
fn a_match_scores_every_label() {
    let result = match_text("make an archive smaller", &["chess", "compress files"]).unwrap();
    assert_eq!(best(&result), Some(1));
    let vectors = embed(&["make an archive smaller", "chess", "compress files"]).unwrap();
    let rows: Vec<&[f32]> = vectors.rows().collect();
    for (label, score) in result.similarities.iter().enumerate() {
        let cosine = edge_kernels::canon::dot(rows[0], rows[label + 1]);
        assert_eq!(score.to_bits(), cosine.to_bits());
    }
    let tie = match_text("chess", &["files", "chess", "chess"]).unwrap();
    assert_eq!(best(&tie), Some(1), "of equal labels the first");
    assert_eq!(match_text("\n", &["a"]), Err(TaskError::EmptyText { what: "text", index: 0 }));
    let empty = match_text("a", &["b", "", "c"]);
    assert_eq!(empty, Err(TaskError::EmptyText { what: "label", index: 1 }));
    assert_eq!(empty.unwrap_err().to_string(), "label 1 is empty: no token in it");
}

#[test]
fn what_is_no_pure_task_of_this_build_is_refused() {
    for kind in [TaskKind::VectorInsert, TaskKind::VectorSearch] {
        assert_eq!(run(kind, Vec::new()), Err(TaskError::NotPure(kind)));
    }
    let model = Digest::of(b"another");
    let payload = EmbeddingPayload { model, texts: vec!["a".into()] }.encode();
    let refused = run(TaskKind::Embedding, payload);
    assert_eq!(refused, Err(TaskError::UnknownModel(model)));
    assert!(refused.unwrap_err().is_local());
}

#[test]
fn batches_lead_to_the_rows_that_searches_find() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let layout = Layout::vectors(DIM as u32, metric);
        let (executor, mut log, _) = filled(layout, 120);
        assert_eq!(executor.shard_rows(&log.shard), Some(120));
        // Removed, replaced, added and never there.
        let mut rng = edge_base::Rng::derive(1, "more");
        let changes: Vec<Change> = vec![
            (id(3), None),
            (id(4), Some(body(&layout, &mut rng, 9))),
            (id(500), Some(body(&layout, &mut rng, 9))),
            (id(999), None),
        ];
        let batch = log.next(&changes);
        let result = root(&executor, &append(&batch)).unwrap();
        log.push(&batch);
        assert_eq!(result.seq, 4);
        assert_eq!(executor.shard_rows(&log.shard), Some(120));

        let payload = ask(&log, &query(metric, 1), 256);
        let answer = search(&executor, &payload).unwrap();
        assert_eq!((answer.seq, answer.root, answer.exact), (4, result.root, true));
        assert_eq!((answer.rows, answer.rows_visited, answer.hits.len()), (120, 120, 120));
        let found = |n| answer.hits.iter().find(|hit| hit.id == id(n));
        assert!(found(3).is_none() && found(999).is_none());
        for (change, n) in [(&changes[1], 4), (&changes[2], 500)] {
            assert_eq!(found(n).unwrap().body, change.1.as_ref().unwrap().encode());
        }
        assert_eq!(check(&payload, &answer, result.root), edge_base::Verdict::Holds);
    }
}

#[test]
fn a_filter_restricts_the_hits() {
    let (executor, log, last) = filled(Layout::vectors(DIM as u32, Metric::Cosine), 60);
    let filter = br#"{"must":{"key":"group","match":{"value":2}}}"#;
    let query = VectorQuery { filter: Some(filter.to_vec()), ..query(Metric::Cosine, 2) };
    let payload = ask(&log, &query, 50);
    let answer = search(&executor, &payload).unwrap();
    assert_eq!((answer.hits.len(), answer.rows_visited, answer.rows), (20, 20, 60));
    assert!(answer.hits.iter().all(|hit| hit.body.ends_with(b"{\"group\":2}")));
    assert_eq!(check(&payload, &answer, last.root), edge_base::Verdict::Holds);
}

#[test]
fn a_large_shard_answers_along_the_graph() {
    let layout = Layout { exact_below: 400, ..Layout::vectors(DIM as u32, Metric::Cosine) };
    let (executor, log, last) = filled(layout, 600);
    let payload = ask(&log, &VectorQuery { ef: Some(32), ..query(Metric::Cosine, 3) }, 10);
    let answer = search(&executor, &payload).unwrap();
    assert!(!answer.exact && answer.rows_visited < 600, "{answer:?}");
    assert_eq!(answer.hits.len(), 10);
    assert_eq!(check(&payload, &answer, last.root), edge_base::Verdict::Holds);
}

/// The error of a batch and of its replay, which must be the same, and that nothing changed.
fn refused(executor: &Executor, log: &Log, batch: &LogBatch) -> TaskError {
    let rows = executor.shard_rows(&log.shard);
    let payload = ask(log, &query(log.layout.metric, 1), 5);
    let before = search(executor, &payload).unwrap();
    let error = root(executor, &append(batch)).unwrap_err();
    assert_eq!(search(executor, &payload).unwrap(), before, "{error}");
    assert_eq!(executor.shard_rows(&log.shard), rows);
    if !matches!(error, TaskError::OtherLayout(_)) {
        assert_eq!(root(executor, &log.replay(batch)).unwrap_err(), error);
    }
    error
}

#[test]
fn a_batch_that_does_not_fit_changes_nothing() {
    let layout = Layout::vectors(DIM as u32, Metric::Cosine);
    let (executor, log, _) = filled(layout, 60);
    let mut rng = edge_base::Rng::derive(2, "bad");
    let good: Vec<Change> = (90..95).map(|n| (id(n), Some(body(&layout, &mut rng, 1)))).collect();
    let next = log.next(&good);
    let shard = log.shard;

    for got in [1, 2, 4, u64::MAX] {
        let batch = LogBatch { seq: got, prev: log.prev, ..next.clone() };
        let error = refused(&executor, &log, &batch);
        if got == 1 {
            assert_eq!(error, TaskError::NotWellFormed, "a first batch continues nothing");
        } else {
            assert_eq!(error, TaskError::Position { shard, expected: 3, got });
        }
    }
    let prev = Digest::of(b"another log");
    let error = refused(&executor, &log, &LogBatch { prev, ..next.clone() });
    assert_eq!(error, TaskError::Chain { shard, seq: 3, expected: log.prev, got: prev });
    let other = Layout { ef: 65, ..layout }.encode();
    let error = refused(&executor, &log, &LogBatch { layout: other, ..next.clone() });
    assert_eq!(error, TaskError::OtherLayout(shard));
    let error = refused(&executor, &log, &LogBatch { layout: vec![1], ..next.clone() });
    assert!(matches!(error, TaskError::Malformed { what: "layout", .. }));

    let mut batch = next.clone();
    batch.bodies.pop();
    assert_eq!(refused(&executor, &log, &batch), TaskError::NotWellFormed);

    // The last body is wrong: those before it were not applied either.
    let spoil = |spoil: &mut dyn FnMut(&mut LogBatch)| {
        let mut batch = next.clone();
        spoil(&mut batch);
        let error = refused(&executor, &log, &batch);
        let TaskError::Body { entry: 4, source } = error else { panic!("{error}") };
        *source
    };
    let error = spoil(&mut |batch| batch.bodies[4] = next.bodies[3].clone());
    assert!(matches!(error, TaskError::RecordHash { .. }));
    let error = spoil(&mut |batch| batch.entries[4].record = Some(Digest::default()));
    assert!(matches!(error, TaskError::RecordHash { .. }));
    let replace = |body: RecordBody| {
        spoil(&mut |batch| {
            let (entry, bytes) = body.entry(id(94));
            batch.entries[4] = entry;
            batch.bodies[4] = bytes;
        })
    };
    let payload = || b"{}".to_vec();
    let of = |vector: Vec<f32>| RecordBody { vector, payload: payload() };
    let mut nan = vec![0.0; DIM];
    nan[5] = f32::NAN;
    assert_eq!(replace(of(nan)), TaskError::NotFinite { what: "the vector", at: 5 });
    let short = IndexError::Dimension { expected: DIM, got: 1 };
    assert_eq!(replace(of(vec![1.0])), TaskError::Index(short));
    let zero = IndexError::Vector(VectorError::NoDirection);
    assert_eq!(replace(of(vec![0.0; DIM])), TaskError::Index(zero));
    assert_eq!(replace(of(vec![2.0; DIM])), TaskError::VectorForm, "not of unit length");
    let array = RecordBody { payload: b"[]".to_vec(), ..body(&layout, &mut rng, 1) };
    assert_eq!(replace(array), TaskError::NotAnObject);

    // The good batch still fits.
    assert_eq!(root(&executor, &append(&next)).unwrap().seq, 3);
    assert_eq!(executor.shard_rows(&shard), Some(65));
}

#[test]
fn a_first_batch_that_fails_leaves_no_shard() {
    let layout = Layout::vectors(DIM as u32, Metric::Dot);
    let (executor, log) = (Executor::new(), Log::new(layout));
    let mut rng = edge_base::Rng::derive(2, "first");
    let mut batch = log.next(&[(id(1), Some(body(&layout, &mut rng, 1)))]);
    batch.entries[0].record = Some(Digest::default());
    assert!(root(&executor, &append(&batch)).is_err());
    assert_eq!(executor.shard_rows(&log.shard), None);
    let seven = LogBatch { seq: 7, ..log.next(&[(id(1), None)]) };
    let expected = TaskError::Position { shard: log.shard, expected: 1, got: 7 };
    assert_eq!(root(&executor, &append(&seven)), Err(expected));
    assert_eq!(executor.shard_rows(&log.shard), None);
}

#[test]
fn searches_of_what_is_not_there_are_refused() {
    let (executor, log, _) = filled(Layout::vectors(DIM as u32, Metric::Cosine), 60);
    let good = query(Metric::Cosine, 1);
    let refused = |query: ShardQuery| {
        let payload = codec::encode(&query).into();
        executor.execute(&Work::Search { payload }).unwrap_err()
    };
    let shard = log.shard;
    let plain = ShardQuery { shard, seq_min: 0, k: 5, query: good.encode() };
    let other = ShardId(Digest::of(b"other"));
    let unknown = refused(ShardQuery { shard: other, ..plain.clone() });
    assert_eq!(unknown, TaskError::UnknownShard(other));
    let behind = refused(ShardQuery { seq_min: 3, ..plain.clone() });
    assert_eq!(behind, TaskError::Behind { shard, applied: 2, wanted: 3 });
    assert!(unknown.is_local() && behind.is_local());
    for k in [0, 257] {
        let count = TaskError::Count { what: "hits wanted", got: k, least: 1, most: 256 };
        assert_eq!(refused(ShardQuery { k: k as u32, ..plain.clone() }), count);
    }
    let with = |query: VectorQuery| {
        let error = refused(ShardQuery { query: query.encode(), ..plain.clone() });
        assert!(!error.is_local(), "{error}");
        error
    };
    let metric = TaskError::OtherMetric { query: Metric::Dot, shard: Metric::Cosine };
    assert_eq!(with(VectorQuery { metric: Metric::Dot, ..good.clone() }), metric);
    let short = IndexError::Dimension { expected: DIM, got: 1 };
    assert_eq!(with(VectorQuery { vector: vec![1.0], ..good.clone() }), TaskError::Index(short));
    let nan = VectorQuery { vector: vec![1.0, f32::INFINITY], ..good.clone() };
    assert_eq!(with(nan), TaskError::NotFinite { what: "the query", at: 1 });
    for ef in [0, 4097] {
        let error = with(VectorQuery { ef: Some(ef), ..good.clone() });
        assert!(matches!(error, TaskError::Count { what: "candidates (ef)", .. }));
    }
    let filter = |json: &str| with(VectorQuery { filter: Some(json.into()), ..good.clone() });
    assert!(matches!(filter("{"), TaskError::Filter(_)));
    assert!(filter(r#"{"maybe":[]}"#).to_string().contains("unknown field `maybe`"));
    let both = r#"{"must":{"key":"a","match":{"value":1,"any":[1]}}}"#;
    let wanted = "filter: condition on \"a\": one of match.value, match.any and range is needed";
    assert_eq!(filter(both).to_string(), wanted);
}

#[test]
fn a_dropped_shard_is_forgotten_and_can_start_again() {
    let layout = Layout::vectors(DIM as u32, Metric::Cosine);
    let (executor, log, _) = filled(layout, 60);
    let drop = Work::Drop { shard: log.shard };
    assert_eq!(executor.execute(&drop), Ok(Vec::new()));
    assert_eq!(executor.shard_rows(&log.shard), None);
    assert_eq!(executor.execute(&drop), Ok(Vec::new()), "twice is no error");
    let first = Log::new(layout);
    let mut rng = edge_base::Rng::derive(2, "again");
    let batch = first.next(&[(id(1), Some(body(&layout, &mut rng, 1)))]);
    assert_eq!(root(&executor, &append(&batch)).unwrap().seq, 1);
    assert_eq!(executor.shard_rows(&log.shard), Some(1));
}

#[test]
fn searches_go_on_while_batches_arrive() {
    let layout = Layout { exact_below: 200, ..Layout::vectors(DIM as u32, Metric::Cosine) };
    let (executor, mut log, _) = filled(layout, 150);
    let payload = ask(&log, &query(Metric::Cosine, 1), 5);
    let mut rng = edge_base::Rng::derive(3, "meanwhile");
    let mut last = Digest::default();
    std::thread::scope(|scope| {
        let searcher = || {
            let mut last = 0;
            while last < 13 {
                let answer = search(&executor, &payload).unwrap();
                assert!(answer.seq >= last, "the log goes forward");
                assert_eq!(check(&payload, &answer, answer.root), edge_base::Verdict::Holds);
                last = answer.seq;
            }
        };
        let searchers = [scope.spawn(searcher), scope.spawn(searcher)];
        for batch in 0..10 {
            let changes: Vec<Change> = (0..30)
                .map(|n| (id(1_000 + batch * 30 + n), Some(body(&layout, &mut rng, 1))))
                .collect();
            let batch = log.next(&changes);
            last = root(&executor, &append(&batch)).unwrap().root;
            log.push(&batch);
        }
        searchers.into_iter().for_each(|searcher| searcher.join().unwrap());
    });
    assert_eq!(executor.shard_rows(&log.shard), Some(450));
    // What was written in the midst of searches is whole, and all of it can be found.
    let found = executor.check_shard(&log.shard, 450, 10, None).unwrap().unwrap();
    assert_eq!((found.rows, found.intact, found.recall.sampled), (450, true, 450));
    assert_eq!(found.root, last);
    assert_eq!(found.recall.unreachable, 0);
    assert!(found.recall.recall >= 0.95 && found.recall.recall_min <= found.recall.recall);
    assert!(executor.check_shard(&edge_base::ShardId(Digest::of(b"?")), 1, 1, None).is_none());
}

#[test]
fn work_that_is_paid_for_less_than_it_costs_is_refused_before_it_is_done() {
    let layout = Layout::vectors(DIM as u32, Metric::Cosine);
    let (executor, log, _) = filled(layout, 300);
    let model = edge_embed::StaticModel::builtin();
    let texts = vec!["compress a file".to_owned(), "a game of chess".to_owned()];
    let embedding = EmbeddingPayload { model: default_model(), texts: texts.clone() };
    let strs: Vec<&str> = embedding.texts.iter().map(String::as_str).collect();
    let labels = vec!["archives".to_owned(), "games".to_owned()];
    let question = MatchPayload { model: default_model(), texts, labels, examples: Vec::new() };
    let data = CompressionPayload::compress(vec![7; 10_000]);
    let run = |kind, payload: Vec<u8>| Work::Run { kind, payload: payload.into() };
    // What those who ask compute (edge-node/src/jobs) and what those who work do is one number.
    let cases = [
        (run(TaskKind::Embedding, embedding.encode()), edge_tasks::model_units(model, &strs)),
        (
            run(TaskKind::SemanticMatch, question.encode()),
            edge_tasks::match_units(model, &question),
        ),
        (run(TaskKind::Compression, data.encode()), edge_tasks::compression_units(&data)),
        (
            Work::Search { payload: ask(&log, &query(Metric::Cosine, 1), 10) },
            edge_tasks::search_units(300, 10),
        ),
    ];
    for (work, units) in cases {
        assert_eq!(executor.units(&work), Ok(units), "{work:?}");
        let paid = |units| executor.execute(&Work::Paid { units, work: Box::new(work.clone()) });
        assert_eq!(paid(units - 1), Err(TaskError::Underpaid));
        assert_eq!(paid(units), executor.execute(&work));
    }
    assert_eq!(TaskError::Underpaid.to_string(), edge_base::UNDERPAID);
    // A payload that is none costs nothing and is refused for what it is.
    let none = run(TaskKind::Compression, vec![0xff]);
    let paid = executor.execute(&Work::Paid { units: 0, work: Box::new(none.clone()) });
    assert_eq!(paid, executor.execute(&none));
}
