//! Recall, and the work it takes, against brute force over the records.
#![allow(clippy::unwrap_used)]

use edge_base::{Digest, RecordId, Rng};
use edge_embed::Registry;
use edge_index::{
    Filter, Index, IndexConfig, IndexError, Metric, Mode, Op, Record, Storage, Value, score,
};

#[path = "support/clustered.rs"]
mod clustered;

const ROWS: usize = 12_000;
const QUERIES: usize = 200;
const K: usize = 10;

fn id(n: usize) -> RecordId {
    RecordId(Digest::of(&(n as u64).to_le_bytes()))
}

/// Half of the rows carry `even: true`, one in ten `rare: true`.
fn record(n: usize, vector: Vec<f32>) -> Record {
    let payload =
        format!("{{\"even\":{},\"rare\":{},\"n\":{n}}}", n.is_multiple_of(2), n.is_multiple_of(10));
    Record { id: id(n), vector, payload: payload.into_bytes() }
}

fn build(rows: &[Vec<f32>], config: IndexConfig) -> Index {
    let mut index = Index::new(config).unwrap();
    for (n, vector) in rows.iter().enumerate() {
        index.apply(Op::Upsert(record(n, vector.clone()))).unwrap();
    }
    index
}

/// The `k` best by definition: every score, sorted. Shares nothing with the index but the score.
fn brute_force(metric: Metric, records: &[Record], query: &[f32], k: usize) -> Vec<RecordId> {
    let scored = records.iter().map(|r| (score(metric, query, &r.vector), r.id));
    let mut all: Vec<(f32, RecordId)> = scored.collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    all.truncate(k);
    all.into_iter().map(|(_, id)| id).collect()
}

struct Measured {
    recall: f64,
    visited: f64,
    mode: Mode,
}

fn measure(index: &Index, queries: &[Vec<f32>], filter: Option<&Filter>) -> Measured {
    let (mut found, mut wanted, mut visited) = (0, 0, 0);
    let mut modes = Vec::new();
    let passes = |r: &Record| filter.is_none_or(|f| f.matches(&r.payload));
    let records: Vec<Record> = index.records().filter(passes).collect();
    for query in queries {
        let truth = brute_force(index.config().metric, &records, query, K);
        let answer = index.search(query, K, None, filter).unwrap();
        for hit in &answer.hits {
            let record = index.get(&hit.id).unwrap();
            let again = score(index.config().metric, query, &record.vector);
            assert_eq!(again.to_bits(), hit.score.to_bits(), "scores are canonical in every mode");
            assert!(filter.is_none_or(|f| f.matches(&record.payload)));
        }
        found += answer.hits.iter().filter(|hit| truth.contains(&hit.id)).count();
        wanted += truth.len();
        visited += answer.rows_visited;
        modes.push(answer.mode);
    }
    modes.dedup();
    assert_eq!(modes.len(), 1);
    Measured {
        recall: found as f64 / wanted as f64,
        visited: visited as f64 / (queries.len() * index.len()) as f64,
        mode: modes[0],
    }
}

fn check(name: &str, measured: &Measured, recall: f64, visited: f64) {
    let Measured { recall: r, visited: v, .. } = *measured;
    eprintln!("{name}: {:?} recall@10 {r:.4}, rows visited {v:.4}", measured.mode);
    assert!(r >= recall, "{name}: recall {r}");
    assert!(v <= visited, "{name}: visited {v}");
}

#[test]
fn clustered_rows_at_the_defaults_and_after_churn() {
    let mut data = clustered::clustered(ROWS + QUERIES + ROWS / 2, 256, 1);
    let extra = data.split_off(ROWS + QUERIES);
    let queries = data.split_off(ROWS);
    let mut index = build(&data, IndexConfig::new(256, Metric::Cosine));
    let fresh = measure(&index, &queries, None);
    assert_eq!(fresh.mode, Mode::Ann);
    check("clustered", &fresh, 0.97, 0.20);

    // Every row finds itself.
    let lost = (0..ROWS).filter(|n| {
        let found = index.search(&data[*n], 1, None, None).unwrap();
        found.hits[0].id != id(*n)
    });
    assert_eq!(lost.count(), 0, "rows that do not find themselves");

    // Half of the rows replaced, in random order.
    let mut rng = Rng::derive(2, "churn");
    let mut order: Vec<usize> = (0..ROWS).collect();
    rng.shuffle(&mut order);
    for (n, vector) in order.iter().zip(extra) {
        if n.is_multiple_of(3) {
            index.apply(Op::Delete(id(*n))).unwrap();
            index.apply(Op::Upsert(record(ROWS + n, vector))).unwrap();
        } else {
            index.apply(Op::Upsert(record(*n, vector))).unwrap();
        }
    }
    assert_eq!(index.len(), ROWS);
    let churned = measure(&index, &queries, None);
    assert_eq!(churned.mode, Mode::Ann);
    check("clustered, half replaced", &churned, 0.97, 0.20);
}

#[test]
fn real_embeddings_at_the_defaults() {
    let registry = Registry::builtin();
    let model = registry.by_name("static-256").unwrap();
    let texts: Vec<&str> = include_str!("data/synopses.txt").lines().collect();
    assert!(texts.len() >= ROWS + QUERIES);
    let mut flat = Vec::new();
    model.embed(&texts, &mut flat).unwrap();
    let mut data: Vec<Vec<f32>> = flat.chunks(model.dim()).map(<[f32]>::to_vec).collect();
    let mut queries = data.split_off(ROWS);
    queries.truncate(QUERIES);
    let index = build(&data, IndexConfig::new(model.dim(), Metric::Cosine));
    // A model's output is unit length already: what is stored is what it said.
    assert_eq!(index.get(&id(0)).unwrap().vector, data[0]);
    let measured = measure(&index, &queries, None);
    assert_eq!(measured.mode, Mode::Ann);
    check("synopses", &measured, 0.97, 0.20);
}

#[test]
fn filters_keep_recall_on_both_sides_of_the_limit() {
    let mut data = clustered::clustered(4_000 + 100, 64, 3);
    let queries = data.split_off(4_000);
    for metric in [Metric::Cosine, Metric::L2] {
        let config = IndexConfig { exact_below: 1_000, ..IndexConfig::new(64, metric) };
        let index = build(&data, config);
        let even = Filter::equals("even", Value::Bool(true));
        let half = measure(&index, &queries, Some(&even));
        assert_eq!(half.mode, Mode::Ann, "2,000 candidates are walked to");
        check("filter for half", &half, 0.97, 0.5);
        let rare = Filter::equals("rare", Value::Bool(true));
        let few = measure(&index, &queries, Some(&rare));
        assert_eq!(few.mode, Mode::Exact, "400 candidates are scanned");
        check("filter for a tenth", &few, 1.0, 0.1);
        let none = Filter::between("n", -5.0, -1.0);
        let nothing = index.search(&queries[0], K, None, Some(&none)).unwrap();
        assert_eq!((nothing.hits.len(), nothing.rows_visited), (0, 0));
    }
}

#[test]
fn the_other_metrics_and_many_equal_rows() {
    let mut data = clustered::clustered(3_000 + 100, 48, 4);
    let queries = data.split_off(3_000);
    for (metric, recall) in [(Metric::L2, 0.97), (Metric::Dot, 0.95)] {
        let config = IndexConfig { exact_below: 1_000, ..IndexConfig::new(48, metric) };
        let measured = measure(&build(&data, config), &queries, None);
        assert_eq!(measured.mode, Mode::Ann);
        check(metric.name(), &measured, recall, 0.5);
    }
    // A thousand copies of one row must not cut the others off.
    for copy in &mut data[500..1_500] {
        *copy = vec![0.25; 48];
    }
    let config = IndexConfig { exact_below: 1_000, ..IndexConfig::new(48, Metric::Cosine) };
    let measured = measure(&build(&data, config), &queries, None);
    check("with a thousand equal rows", &measured, 0.97, 0.6);
}

#[test]
fn the_other_storages() {
    let mut data = clustered::clustered(3_000 + 100, 256, 8);
    let queries = data.split_off(3_000);
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        for (storage, ef, recall) in [(Storage::F32, 64, 0.97), (Storage::Binary, 300, 0.95)] {
            let base = IndexConfig::new(256, metric);
            let config = IndexConfig { exact_below: 1_000, storage, ef, ..base };
            if storage == Storage::Binary && metric == Metric::L2 {
                assert_eq!(Index::new(config).unwrap_err(), IndexError::BinaryDistance);
                continue;
            }
            let mut index = build(&data, config);
            let measured = measure(&index, &queries, None);
            assert_eq!(measured.mode, Mode::Ann);
            let name = format!("{} {}", metric.name(), storage.name());
            check(&name, &measured, recall, 0.9);
            // A bit and four bytes a component; one block is not full.
            let codes = index.memory().codes / index.len();
            let most = if storage == Storage::Binary { 64 } else { 256 * 6 };
            assert!(codes <= most, "{name}: {codes} bytes a row");
            for n in 0..1_000 {
                index.apply(Op::Delete(id(n))).unwrap();
            }
            let again = Index::from_snapshot(&index.to_snapshot()).unwrap();
            let asked = [&index, &again].map(|index| index.search(&queries[0], K, None, None));
            assert_eq!(asked[0], asked[1], "{name}");
            assert_eq!(index.check_recall(40, K, None, 3).unreachable, 0);
        }
    }
}

#[test]
fn selective_filters_keep_recall_walked_or_scanned() {
    let mut data = clustered::clustered(ROWS + 50, 48, 6);
    let queries = data.split_off(ROWS);
    let config = IndexConfig { exact_below: 100, ef: 28, ..IndexConfig::new(48, Metric::Cosine) };
    let index = build(&data, config);
    let cases = [(10, Mode::Ann), (100, Mode::Ann), (1_000, Mode::Exact)];
    for (part, mode) in cases {
        let last = (ROWS / part - 1) as f64;
        let measured = measure(&index, &queries, Some(&Filter::between("n", 0.0, last)));
        assert_eq!(measured.mode, mode, "one of {part}");
        check(&format!("one of {part}"), &measured, 0.95, 1.0);
    }
}

#[test]
fn the_check_of_itself_says_what_an_outsider_counts() {
    let data = clustered::clustered(1_500, 32, 7);
    let config = IndexConfig { exact_below: 500, m: 8, m0: 16, ..IndexConfig::new(32, Metric::L2) };
    let index = build(&data, config);
    let records: Vec<Record> = index.records().collect();
    let (mut found, mut least) = (0, K);
    for record in &records {
        let mut truth = brute_force(Metric::L2, &records, &record.vector, K + 1);
        truth.retain(|id| *id != record.id);
        truth.truncate(K);
        let answer = index.search(&record.vector, K + 1, Some(11), None).unwrap();
        let mut hits: Vec<RecordId> = answer.hits.iter().map(|hit| hit.id).collect();
        hits.retain(|id| *id != record.id);
        hits.truncate(K);
        let same = hits.iter().filter(|id| truth.contains(id)).count();
        found += same;
        least = least.min(same);
    }
    let check = index.check_recall(usize::MAX, K, Some(11), 1);
    assert_eq!((check.mode, check.sampled, check.unreachable), (Mode::Ann, 1_500, 0));
    assert_eq!(check.recall, found as f64 / (1_500 * K) as f64);
    assert_eq!(check.recall_min, least as f64 / K as f64);
    assert!(check.recall < 1.0, "a check that could not have failed");
    // The same sample for the same seed.
    let some = |seed| index.check_recall(100, K, Some(11), seed);
    assert_eq!((some(1), some(1).sampled), (some(1), 100));
    // Small ones are exact, empty ones are right.
    let exact = Index::new(IndexConfig::new(32, Metric::L2)).unwrap();
    let check = exact.check_recall(10, K, None, 1);
    assert_eq!((check.sampled, check.mode, check.recall), (0, Mode::Exact, 1.0));
}
