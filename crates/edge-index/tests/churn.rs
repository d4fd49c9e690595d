//! A million mixed operations (a twentieth of that unless `EDGE_TEST_SCALE` says more): recall, reach and
//! memory all the way. Alone in its file, so that the process's memory is this test's.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use edge_base::{Digest, RecordId, Rng};
use edge_index::{Index, IndexConfig, Metric, Mode, Op, Record, score};

#[path = "support/clustered.rs"]
mod clustered;

const DIM: usize = 24;
const IDS: u64 = 2_500;
const K: usize = 10;

fn operations() -> usize {
    let scale = std::env::var("EDGE_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    50_000 * usize::min(scale, 20)
}

fn id(n: u64) -> RecordId {
    RecordId(Digest::of(&n.to_le_bytes()))
}

/// Megabytes of this process in memory; 0 where the system does not tell.
fn resident_mb() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok());
    (pages.unwrap_or(0) * 4096) >> 20
}

#[test]
fn mixed_operations_keep_recall_reach_and_memory() {
    let operations = operations();
    let mut rng = Rng::derive(1, "churn");
    let vectors = clustered::clustered(20_000, DIM, 5);
    let config = IndexConfig {
        exact_below: 500,
        m: 12,
        m0: 24,
        ef_construction: 64,
        ..IndexConfig::new(DIM, Metric::L2)
    };
    let mut index = Index::new(config).unwrap();
    let mut model: BTreeMap<RecordId, Vec<f32>> = BTreeMap::new();
    let (mut memory, mut searches) = (Vec::new(), 0);
    for step in 0..operations {
        let (n, vector) = (rng.below(IDS), rng.pick(&vectors).unwrap().clone());
        match rng.below(8) {
            // Inserts and updates.
            0..=3 => {
                let record = Record { id: id(n), vector: vector.clone(), payload: Vec::new() };
                index.apply(Op::Upsert(record)).unwrap();
                model.insert(id(n), vector);
            }
            4 | 5 => {
                index.apply(Op::Delete(id(n))).unwrap();
                model.remove(&id(n));
            }
            _ => {
                searches += 1;
                let answer = index.search(&vector, K, None, None).unwrap();
                for hit in answer.hits {
                    let live = model.get(&hit.id).expect("a deleted row is not found");
                    let again = score(Metric::L2, &vector, live);
                    assert_eq!(again.to_bits(), hit.score.to_bits());
                }
            }
        }
        if step % (operations / 20) != operations / 20 - 1 {
            continue;
        }
        let check = index.check_recall(50, K, None, step as u64);
        assert_eq!((check.mode, check.unreachable, check.sampled), (Mode::Ann, 0, 50));
        assert!(check.recall >= 0.95, "step {step}: {check:?}");
        // And against the model, which shares nothing with the index but the score.
        let (mut found, queries) = (0, 20);
        for _ in 0..queries {
            let query = rng.pick(&vectors).unwrap();
            let mut all: Vec<_> =
                model.iter().map(|(id, v)| (score(Metric::L2, query, v), *id)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(K);
            let hits = index.search(query, K, None, None).unwrap().hits;
            found += hits.iter().filter(|hit| all.contains(&(hit.score, hit.id))).count();
        }
        let recall = found as f64 / (queries * K) as f64;
        assert!(recall >= 0.95, "step {step}: recall {recall} against the model");
        memory.push((index.memory(), resident_mb()));
    }
    assert_eq!(index.len(), model.len());
    assert!(searches > operations / 5);
    // Flat: from the first quarter on nothing grows.
    let (early, late) = (memory[5], memory[19]);
    let total = |memory: edge_index::Memory| memory.codes + memory.links + memory.vectors;
    assert!(total(late.0) <= total(early.0) * 11 / 10, "{memory:?}");
    assert!(late.1 <= early.1 + 8, "{memory:?}");
}
