//! What a shard is sent: operations, searches with filters, proofs.

use edge_base::{Digest, RecordId, codec};
use edge_fuzz::{Reached, Target};
use edge_index::{
    Condition, Filter, Index, IndexConfig, MerkleProof, Metric, Op, Record, Test, Value,
    record_hash,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Message {
    Apply(Op),
    Search { query: Vec<f32>, k: u64, ef: Option<u64>, filter: Option<Filter> },
    Proof { id: RecordId, record: Option<Digest>, proof: MerkleProof },
}

fn id(n: u8) -> RecordId {
    RecordId(Digest::of(&[n]))
}

fn shard(metric: Metric) -> Index {
    let config = IndexConfig { m: 4, m0: 8, exact_below: 8, ..IndexConfig::new(3, metric) };
    let mut index = Index::new(config).expect("invariant: the configuration is valid");
    for n in 0..40u8 {
        let vector = vec![f32::from(n) - 3.5, f32::from(n * 5 % 11), 1.0];
        let payload = format!("{{\"n\":{n},\"t\":[\"a\",true]}}").into_bytes();
        index
            .apply(Op::Upsert(Record { id: id(n), vector, payload }))
            .expect("invariant: the record is valid");
    }
    index
}

fn seeds() -> Vec<Vec<u8>> {
    let index = shard(Metric::Cosine);
    let range = Test::Range { gt: Some(1.0), gte: None, lt: None, lte: Some(30.0) };
    let any = Test::AnyOf(vec![Value::Text("a".into()), Value::Integer(-1), Value::Number(0.5)]);
    let filter = Filter {
        must: vec![Condition { key: "n".into(), test: range }],
        should: vec![Condition { key: "t".into(), test: any }],
        must_not: vec![Condition { key: "t".into(), test: Test::Equals(Value::Bool(false)) }],
    };
    let record = index.get(&id(3)).expect("invariant: it was stored");
    let messages = [
        Message::Search { query: vec![0.5, -1.0, 2.0], k: 3, ef: Some(4), filter: Some(filter) },
        Message::Search { query: vec![1.0, 0.0, 0.0], k: 10, ef: None, filter: None },
        Message::Proof {
            id: id(3),
            record: Some(record_hash(&record)),
            proof: index.prove(&id(3)),
        },
        Message::Proof { id: id(200), record: None, proof: index.prove(&id(200)) },
        Message::Apply(Op::Upsert(record)),
        Message::Apply(Op::Delete(id(3))),
    ];
    messages.iter().map(codec::encode).collect()
}

fn decode(bytes: &[u8]) -> Reached {
    let Ok(message) = codec::decode::<Message>(bytes) else { return Reached::Header };
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let mut index = shard(metric);
        let before = (index.root(), index.len());
        match &message {
            Message::Apply(op) => {
                if index.apply(op.clone()).is_err() {
                    assert_eq!((index.root(), index.len()), before, "a refusal changed something");
                }
            }
            Message::Search { query, k, ef, filter } => {
                let ef = ef.map(|ef| ef as usize);
                if let Ok(found) = index.search(query, *k as usize, ef, filter.as_ref()) {
                    assert!(found.hits.len() as u64 <= *k);
                    assert!(found.hits.iter().all(|hit| hit.score.is_finite()));
                }
            }
            Message::Proof { id, record, proof } => {
                let truth = index.get(id).map(|record| record_hash(&record));
                if proof.verify(&index.root(), id, record.as_ref()) {
                    assert_eq!(truth, *record, "a false claim was proved");
                }
            }
        }
    }
    Reached::Value
}

/// Hands the target to `then`.
pub(crate) fn with_target<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    let seeds = seeds();
    then(&Target::new("shard", &seeds, &decode))
}
