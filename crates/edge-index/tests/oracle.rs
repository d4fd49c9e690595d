//! The index against a model that keeps a sorted map and compares everything with everything.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use edge_base::{Digest, RecordId, Rng};
use edge_index::{
    Applied, Filter, Index, IndexConfig, IndexError, Metric, Mode, Op, Record, Value, VectorError,
    empty_root, record_hash, root_of, score,
};
use proptest::prelude::*;

/// How much of the heavy cases to run; 1 unless `EDGE_TEST_SCALE` says more.
fn scale() -> usize {
    std::env::var("EDGE_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}

fn id(n: u64) -> RecordId {
    RecordId(Digest::of(&n.to_le_bytes()))
}

fn vector(dim: usize, rng: &mut Rng) -> Vec<f32> {
    (0..dim).map(|_| (rng.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn record(n: u64, vector: Vec<f32>) -> Record {
    Record {
        id: id(n),
        vector,
        payload: format!("{{\"n\":{n},\"odd\":{}}}", !n.is_multiple_of(2)).into(),
    }
}

/// Records in canonical form by id.
type Model = BTreeMap<RecordId, Record>;

fn model_apply(model: &mut Model, config: &IndexConfig, op: &Op) -> Applied {
    match op {
        Op::Delete(id) => match model.remove(id) {
            Some(old) => Applied::Deleted(record_hash(&old)),
            None => Applied::Absent,
        },
        Op::Upsert(record) => {
            let record = config.canonical(record.clone()).unwrap();
            let new = record_hash(&record);
            match model.insert(record.id, record).map(|old| record_hash(&old)) {
                None => Applied::Inserted(new),
                Some(old) if old == new => Applied::Unchanged(new),
                Some(old) => Applied::Replaced { old, new },
            }
        }
    }
}

fn model_root(model: &Model) -> Digest {
    root_of(&model.values().map(|r| (r.id, record_hash(r))).collect::<Vec<_>>())
}

fn model_search(
    model: &Model,
    metric: Metric,
    query: &[f32],
    filter: Option<&Filter>,
) -> Vec<(u32, RecordId)> {
    let passing = model.values().filter(|r| filter.is_none_or(|f| f.matches(&r.payload)));
    let mut all: Vec<(f32, RecordId)> =
        passing.map(|r| (score(metric, query, &r.vector), r.id)).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    all.into_iter().map(|(score, id)| (score.to_bits(), id)).collect()
}

fn random_op(rng: &mut Rng, dim: usize, ids: u64) -> Op {
    let n = rng.below(ids);
    match rng.below(5) {
        0 | 1 => Op::Delete(id(n)),
        // One of few vectors, so that scores tie.
        2 => Op::Upsert(record(n, vec![1.0 + rng.below(2) as f32; dim])),
        _ => Op::Upsert(record(n, vector(dim, rng))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exact_mode_is_the_definition(
        seed: u64,
        ops in 1usize..150,
        ids in 1u64..80,
        k in 0usize..100,
        dim in 1usize..40,
        metric in prop_oneof![Just(Metric::Cosine), Just(Metric::Dot), Just(Metric::L2)],
    ) {
        let mut rng = Rng::derive(seed, "exact");
        let config = IndexConfig::new(dim, metric);
        let (mut index, mut model) = (Index::new(config).unwrap(), Model::new());
        prop_assert_eq!(index.root(), empty_root());
        for _ in 0..ops {
            let op = random_op(&mut rng, dim, ids);
            let expected = model_apply(&mut model, &config, &op);
            prop_assert_eq!(index.apply(op), Ok(expected));
        }
        prop_assert_eq!(index.len(), model.len());
        prop_assert_eq!(index.root(), model_root(&model));
        prop_assert_eq!(root_of(&index.manifest()), index.root());
        prop_assert_eq!(index.records().collect::<Vec<_>>(), model.values().cloned().collect::<Vec<_>>());
        let odd = Filter::equals("odd", Value::Bool(true));
        for filter in [None, Some(&odd)] {
            let query = vector(dim, &mut rng);
            let mut expected = model_search(&model, metric, &query, filter);
            let found = index.search(&query, k, None, filter).unwrap();
            prop_assert_eq!(found.mode, Mode::Exact);
            prop_assert_eq!(found.rows_visited, expected.len() as u64);
            expected.truncate(k);
            let hits: Vec<_> = found.hits.iter().map(|h| (h.score.to_bits(), h.id)).collect();
            prop_assert_eq!(hits, expected);
        }
        for n in 0..ids {
            let live = model.get(&id(n));
            let stored = index.get(&id(n));
            prop_assert_eq!(stored.as_ref(), live);
            prop_assert_eq!(index.contains(&id(n)), live.is_some());
            let hash = live.map(record_hash);
            prop_assert!(index.prove(&id(n)).verify(&index.root(), &id(n), hash.as_ref()));
        }
    }
}

#[test]
fn ten_thousand_mixed_operations_across_the_limit() {
    let dim = 16;
    let config = IndexConfig { exact_below: 400, ..IndexConfig::new(dim, Metric::Cosine) };
    let (mut index, mut model) = (Index::new(config).unwrap(), Model::new());
    let (mut twin, mut rng) = (Index::new(config).unwrap(), Rng::derive(9, "mixed"));
    let (mut found, mut wanted, mut walks, mut scans) = (0, 0, 0, 0);
    let (mut least, mut most) = (usize::MAX, 0);
    for step in 0..10_000 * scale() {
        // Mostly upserts, then mostly deletions: the number of rows swings around the limit, and below
        // half of it, where the graph is given up.
        let filling = step / 1_250 % 2 == 0;
        let n = rng.below(700);
        let op = match rng.chance(if filling { 7 } else { 1 }, 8) {
            true => Op::Upsert(record(n, vector(dim, &mut rng))),
            false => Op::Delete(id(n)),
        };
        least = if filling { least } else { least.min(index.len()) };
        most = most.max(index.len());
        let expected = model_apply(&mut model, &config, &op);
        assert_eq!(index.apply(op.clone()), Ok(expected));
        assert_eq!(twin.apply(op), Ok(expected));
        if step % 50 != 0 {
            continue;
        }
        assert_eq!(index.root(), model_root(&model));
        let query = vector(dim, &mut rng);
        let mut truth = model_search(&model, config.metric, &query, None);
        truth.truncate(10);
        let answer = index.search(&query, 10, None, None).unwrap();
        let hits: Vec<_> = answer.hits.iter().map(|h| (h.score.to_bits(), h.id)).collect();
        match answer.mode {
            Mode::Exact => {
                scans += 1;
                assert_eq!(hits, truth);
            }
            Mode::Ann => {
                walks += 1;
                found += hits.iter().filter(|hit| truth.contains(hit)).count();
                wanted += truth.len();
                for (bits, id) in hits {
                    let live = model.get(&id).expect("a deleted row is not found");
                    assert_eq!(score(config.metric, &query, &live.vector).to_bits(), bits);
                }
            }
        }
    }
    assert!(least < 200 && most > 500, "{least} to {most} rows");
    assert!(walks >= 40 && scans >= 40, "{walks} walks, {scans} scans");
    let recall = found as f64 / wanted as f64;
    assert!(recall >= 0.95, "recall {recall}");
    // The same log: the same bytes, and so again after a restart in the middle.
    assert_eq!(index.to_snapshot(), twin.to_snapshot());
    let mut resumed = Index::from_snapshot(&index.to_snapshot()).unwrap();
    for _ in 0..2_000 {
        let op = random_op(&mut rng, dim, 1_500);
        assert_eq!(resumed.apply(op.clone()), index.apply(op));
    }
    assert_eq!(resumed.to_snapshot(), index.to_snapshot());
}

#[test]
fn the_mode_follows_the_number_of_candidates() {
    let config = IndexConfig { exact_below: 500, ..IndexConfig::new(8, Metric::L2) };
    let mut index = Index::new(config).unwrap();
    let mut rng = Rng::derive(10, "mode");
    let query = vector(8, &mut rng);
    let mode = |index: &Index, k, ef| index.search(&query, k, ef, None).unwrap().mode;
    for n in 0..500 {
        assert_eq!((index.mode(), mode(&index, 5, None)), (Mode::Exact, Mode::Exact));
        index.apply(Op::Upsert(record(n, vector(8, &mut rng)))).unwrap();
    }
    assert_eq!((index.mode(), mode(&index, 5, None)), (Mode::Ann, Mode::Ann));
    // Much wanted of few: a scan is less work.
    assert_eq!(mode(&index, 126, None), Mode::Exact);
    assert_eq!(mode(&index, 5, Some(126)), Mode::Exact);
    assert_eq!(mode(&index, 5, Some(usize::MAX)), Mode::Exact);
    let all = index.search(&query, 10_000, None, None).unwrap();
    assert_eq!((all.mode, all.hits.len()), (Mode::Exact, 500));
    index.apply(Op::Delete(id(3))).unwrap();
    assert_eq!(mode(&index, 5, None), Mode::Exact);
    index.apply(Op::Upsert(record(3, vector(8, &mut rng)))).unwrap();
    assert_eq!(mode(&index, 5, None), Mode::Ann);
}

#[test]
fn what_cannot_be_held_or_asked_is_refused_and_changes_nothing() {
    let mut index = Index::new(IndexConfig::new(2, Metric::Cosine)).unwrap();
    index.apply(Op::Upsert(record(1, vec![3.0, 4.0]))).unwrap();
    let before = index.to_snapshot();
    let cases = [
        (vec![1.0], IndexError::Dimension { expected: 2, got: 1 }),
        (vec![1.0; 3], IndexError::Dimension { expected: 2, got: 3 }),
        (vec![], IndexError::Dimension { expected: 2, got: 0 }),
        (vec![f32::NAN, 1.0], VectorError::NotFinite { at: 0 }.into()),
        (vec![1.0, f32::NEG_INFINITY], VectorError::NotFinite { at: 1 }.into()),
        (vec![1e20, 0.0], VectorError::TooLarge { at: 0 }.into()),
        (vec![0.0, -0.0], VectorError::NoDirection.into()),
        (vec![1e-30, 0.0], VectorError::NoDirection.into()),
    ];
    for (vector, error) in cases {
        let op = Op::Upsert(record(1, vector.clone()));
        assert_eq!(index.apply(op), Err(error.clone()), "{vector:?}");
        assert_eq!(index.search(&vector, 1, None, None), Err(error));
    }
    let payload = vec![b' '; 64 * 1024 + 1];
    let large = Record { id: id(2), vector: vec![1.0, 0.0], payload };
    assert_eq!(index.apply(Op::Upsert(large)), Err(IndexError::Payload { bytes: 64 * 1024 + 1 }));
    let nan = Filter::between("n", f64::NAN, 1.0);
    assert!(matches!(
        index.search(&[1.0, 0.0], 1, None, Some(&nan)),
        Err(IndexError::Filter { .. })
    ));
    assert_eq!(index.to_snapshot(), before);
    // And without refusal: nothing stored, nothing wanted.
    assert_eq!(index.search(&[1.0, 0.0], 0, None, None).unwrap().hits, []);
    let empty = Index::new(IndexConfig::new(2, Metric::L2)).unwrap();
    let nothing = empty.search(&[0.0, 0.0], 10, None, None).unwrap();
    assert_eq!((nothing.mode, nothing.hits.len(), nothing.rows_visited), (Mode::Exact, 0, 0));
}

#[test]
fn configurations_out_of_range_are_named() {
    let good = IndexConfig::new(4, Metric::Dot);
    assert_eq!(good.validate(), Ok(()));
    let cases = [
        ("dim", IndexConfig { dim: 0, ..good }),
        ("dim", IndexConfig { dim: 4097, ..good }),
        ("exact_below", IndexConfig { exact_below: 0, ..good }),
        ("m", IndexConfig { m: 3, ..good }),
        ("m0", IndexConfig { m0: 31, ..good }),
        ("m0", IndexConfig { m0: 257, ..good }),
        ("ef_construction", IndexConfig { ef_construction: 0, ..good }),
        ("ef", IndexConfig { ef: 5000, ..good }),
    ];
    for (name, config) in cases {
        match Index::new(config) {
            Err(IndexError::Config { parameter, .. }) => assert_eq!(parameter, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_shard_with_a_graph_from_the_first_row_empties_and_fills_again() {
    let config = IndexConfig { exact_below: 1, ..IndexConfig::new(4, Metric::Cosine) };
    let mut index = Index::new(config).unwrap();
    let mut rng = Rng::derive(11, "tiny");
    for _ in 0..3 {
        for n in 0..40 {
            index.apply(Op::Upsert(record(n, vector(4, &mut rng)))).unwrap();
        }
        let found = index.search(&vector(4, &mut rng), 5, Some(5), None).unwrap();
        assert_eq!((found.mode, found.hits.len()), (Mode::Ann, 5));
        for n in 0..40 {
            index.apply(Op::Delete(id(n))).unwrap();
        }
        assert_eq!(index.root(), empty_root());
        assert_eq!(index.search(&[1.0; 4], 5, Some(5), None).unwrap().hits, []);
    }
}
