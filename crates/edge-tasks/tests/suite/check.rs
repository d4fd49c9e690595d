//! Checking answers: every statement counts.

use std::sync::Arc;

use edge_base::shard::{ShardAnswer, ShardQuery, score_key};
use edge_base::{Digest, ShardId, Verdict, Work, codec};
use edge_tasks::{Executor, Layout, Metric, RecordBody, TaskError, VectorQuery};

use crate::world::{
    DIM, Log, append, ask, body, check, check_bytes, filled, id, query, root, search,
};

/// An exact answer of five hits from sixty rows, and how to check it.
struct Answered {
    executor: Executor,
    log: Log,
    payload: Arc<[u8]>,
    answer: ShardAnswer,
    root: Digest,
}

fn answered(metric: Metric) -> Answered {
    let (executor, log, last) = filled(Layout::vectors(DIM as u32, metric), 60);
    let payload = ask(&log, &query(metric, 1), 5);
    let answer = search(&executor, &payload).unwrap();
    let root = last.root;
    Answered { executor, log, payload, answer, root }
}

impl Answered {
    /// What is said about the answer after a change.
    fn changed(&self, change: impl FnOnce(&mut ShardAnswer)) -> String {
        let mut answer = self.answer.clone();
        change(&mut answer);
        match check(&self.payload, &answer, self.root) {
            Verdict::False(why) => why,
            Verdict::Holds => panic!("a false answer holds"),
        }
    }
}

#[test]
fn true_answers_hold() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let a = answered(metric);
        assert_eq!(a.answer.hits.len(), 5);
        assert_eq!(check(&a.payload, &a.answer, a.root), Verdict::Holds);
        for k in [1, 60, 100, 256] {
            let payload = ask(&a.log, &query(metric, 9), k);
            let answer = search(&a.executor, &payload).unwrap();
            assert_eq!(check(&payload, &answer, a.root), Verdict::Holds, "{k} of 60");
        }
    }
}

#[test]
fn every_bit_of_every_score_counts() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let a = answered(metric);
        for hit in 0..5 {
            for bit in 0..32 {
                let why = a.changed(|answer| answer.hits[hit].score ^= 1 << bit);
                assert!(why.contains("score") || why.contains("order"), "{why}");
            }
        }
    }
}

#[test]
fn position_root_and_shard_count() {
    let a = answered(Metric::Cosine);
    let why = a.changed(|answer| answer.root.0[3] ^= 1);
    assert!(why.starts_with("root "), "{why}");
    let why = a.changed(|answer| answer.seq = 1);
    assert_eq!(why, "position 1 is before 2");
    let why = a.changed(|answer| answer.shard = ShardId(Digest::of(b"other")));
    assert!(why.contains("answers for shard"), "{why}");
    // The true answer at an older position, against the root accepted since.
    let (executor, mut log, old) = filled(Layout::vectors(DIM as u32, Metric::Cosine), 60);
    let mut rng = edge_base::Rng::derive(5, "later");
    let batch = log.next(&[(id(99), Some(body(&log.layout, &mut rng, 1)))]);
    let stale = search(&executor, &a.payload).unwrap();
    let now = root(&executor, &append(&batch)).unwrap();
    log.push(&batch);
    assert_eq!(check(&a.payload, &stale, old.root), Verdict::Holds);
    assert!(matches!(check(&a.payload, &stale, now.root), Verdict::False(_)));
    let payload = ask(&log, &query(Metric::Cosine, 1), 5);
    assert!(matches!(check(&payload, &stale, old.root), Verdict::False(_)));
}

#[test]
fn order_and_counts_count() {
    let a = answered(Metric::Cosine);
    for (first, second) in [(0, 1), (3, 4), (0, 4)] {
        let why = a.changed(|answer| answer.hits.swap(first, second));
        assert!(why.ends_with("is out of order"), "{why}");
    }
    for dropped in 0..5 {
        let why = a.changed(|answer| drop(answer.hits.remove(dropped)));
        assert_eq!(why, "4 hits where an exact answer has 5");
    }
    let why = a.changed(|answer| answer.hits[1] = answer.hits[0].clone());
    assert_eq!(why, format!("hit 1 repeats record {}", a.answer.hits[0].id));
    let why = a.changed(|answer| answer.hits.push(answer.hits[4].clone()));
    assert_eq!(why, "6 hits where 5 are possible");
    let why = a.changed(|answer| answer.rows_visited = 59);
    assert_eq!(why, "an exact answer from 59 of 60 rows");
    let why = a.changed(|answer| answer.rows_visited = 61);
    assert_eq!(why, "visited 61 of 60 rows");
    let why = a.changed(|answer| answer.rows_visited = 4);
    assert_eq!(why, "5 hits after 4 rows");
    // A replica that says it has few rows, so that few hits are all.
    let why = a.changed(|answer| {
        answer.hits.truncate(2);
        (answer.rows, answer.rows_visited) = (2, 2);
    });
    assert!(why.contains("steps among 2 rows"), "{why}");
}

#[test]
fn missing_neighbours_are_no_statement_of_an_ann_answer() {
    let a = answered(Metric::Cosine);
    let mut answer = a.answer.clone();
    answer.exact = false;
    answer.hits.remove(0);
    assert_eq!(check(&a.payload, &answer, a.root), Verdict::Holds);
    answer.hits[0].score ^= 1;
    assert!(matches!(check(&a.payload, &answer, a.root), Verdict::False(_)));
}

#[test]
fn hits_are_records_under_the_root() {
    let a = answered(Metric::Cosine);
    // A record that is not in the shard, with its right score and another record's proof.
    let mut rng = edge_base::Rng::derive(5, "foreign");
    let foreign = body(&a.log.layout, &mut rng, 1);
    let score =
        edge_index::score(Metric::Cosine, &query(Metric::Cosine, 1).vector, &foreign.vector);
    let why = a.changed(|answer| {
        let mut hit = answer.hits[0].clone();
        (hit.id, hit.body, hit.score) = (id(777), foreign.encode(), score_key(score.to_bits()));
        answer.hits[0] = hit;
        answer.hits.sort_by_key(|hit| (std::cmp::Reverse(hit.score), hit.id));
    });
    assert!(why.ends_with("the record is not under the root"), "{why}");
    // Another payload, vector or id under the same proof.
    let with_body = |change: fn(&mut RecordBody)| {
        a.changed(|answer| {
            let mut body = RecordBody::decode(&answer.hits[2].body).unwrap();
            change(&mut body);
            answer.hits[2].body = body.encode();
        })
    };
    let under = "hit 2: the record is not under the root";
    assert_eq!(with_body(|body| body.payload = b"{}".to_vec()), under);
    assert_eq!(with_body(|body| body.vector[0] += 0.25), under);
    let why = a.changed(|answer| answer.hits.last_mut().unwrap().id.0.0 = [255; 32]);
    assert_eq!(why, "hit 4: the record is not under the root");
    let why = a.changed(|answer| answer.hits[1].proof = answer.hits[0].proof.clone());
    assert_eq!(why, "hit 1: the record is not under the root");
    let why = a.changed(|answer| answer.hits[1].proof.clear());
    assert!(why.starts_with("hit 1: proof does not decode"), "{why}");
    let why = a.changed(|answer| answer.hits[1].proof = vec![0; 1 << 20]);
    assert!(why.starts_with("hit 1: proof of 1048576 bytes is over"), "{why}");
    let why = a.changed(|answer| answer.hits[1].body.clear());
    assert!(why.starts_with("hit 1: record body does not decode"), "{why}");
    // The same body with a padded varint: another encoding of the same record.
    let why = a.changed(|answer| {
        let body = &mut answer.hits[1].body;
        body[0] |= 0x80;
        body.insert(1, 0);
    });
    assert_eq!(why, "hit 1: record body is not in its canonical encoding");
}

#[test]
fn the_answer_to_another_query_is_false() {
    let a = answered(Metric::Cosine);
    let other = search(&a.executor, &ask(&a.log, &query(Metric::Cosine, 2), 5)).unwrap();
    let why = match check(&a.payload, &other, a.root) {
        Verdict::False(why) => why,
        Verdict::Holds => panic!("another query's hits hold"),
    };
    assert!(why.contains("the score is not"), "{why}");
    // Or one that ignores the filter.
    let filter = br#"{"must_not":{"key":"group","range":{"gte":1}}}"#;
    let filtered = VectorQuery { filter: Some(filter.to_vec()), ..query(Metric::Cosine, 1) };
    let payload = ask(&a.log, &filtered, 5);
    let truth = search(&a.executor, &payload).unwrap();
    assert_eq!(check(&payload, &truth, a.root), Verdict::Holds);
    let Verdict::False(why) = check(&payload, &a.answer, a.root) else { panic!("it holds") };
    assert!(why.ends_with("the record does not pass the filter"), "{why}");
}

#[test]
fn bytes_that_are_no_answer_are_false_and_a_query_that_is_none_is_an_error() {
    let a = answered(Metric::Cosine);
    let bytes = codec::encode(&a.answer);
    for bytes in [Vec::new(), vec![0xff; 100], bytes[..bytes.len() - 1].to_vec()] {
        assert!(matches!(check_bytes(&a.payload, bytes, a.root), Verdict::False(_)));
    }
    let query: ShardQuery = codec::decode(&a.payload).unwrap();
    let payload = codec::encode(&ShardQuery { k: 0, ..query }).into();
    let work = Work::CheckAnswer { payload, answer: bytes.into(), root: a.root };
    let error = Executor::new().execute(&work).unwrap_err();
    assert!(matches!(error, TaskError::Count { what: "hits wanted", .. }));
}
