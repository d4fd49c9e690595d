//! What liars say is caught by the means of the product: digests, replays, checks of answers.

use edge_base::{TaskKind, Verdict, Work};
use edge_tasks::compression::CompressionPayload;
use edge_tasks::encryption::{EncryptionKey, EncryptionPayload, Keyring, Operation, REQUEST_BYTES};
use edge_tasks::{
    EmbeddingPayload, EmbeddingResult, Example, Executor, Layout, Liar, Lie, MatchPayload,
    MatchResult, Metric, default_model,
};

use crate::world::{Change, DIM, Log, append, ask, body, check_bytes, filled, id, query, root};

/// What a node with this liar inside sends, as the node does it.
fn told(liar: &mut Liar, executor: &Executor, work: &Work) -> Vec<u8> {
    let plan = liar.plan(work);
    let truth = executor.execute(Liar::work(&plan, work)).unwrap();
    liar.tell(&plan, work, truth)
}

fn texts(n: u64) -> Vec<String> {
    vec![format!("passage number {n}"), format!("another about topic {}", n * 7)]
}

#[test]
fn lies_about_pure_work_differ_from_the_truth_and_decode() {
    let key = EncryptionKey::new(zeroize::Zeroizing::new([5; 32]));
    let mut keys = Keyring::default();
    keys.insert("mine", key.clone()).unwrap();
    let executor = Executor::new().with_keys(keys);
    for lie in Lie::ALL {
        let mut liar = Liar::new(lie, 3);
        let mut differing = 0;
        for n in 0..100 {
            let (work, decodes): (Work, fn(&[u8]) -> bool) = if n % 8 == 5 {
                let (operation, request) = (Operation::Encrypt, [n as u8; REQUEST_BYTES]);
                let data = texts(n).concat().into_bytes();
                let payload = EncryptionPayload { key: key.id(), operation, request, data };
                let payload = payload.encode().into();
                (Work::Run { kind: TaskKind::Encryption, payload }, |bytes| bytes[0] == 1)
            } else if n % 4 == 1 {
                let data = texts(n).concat().into_bytes();
                let payload = CompressionPayload::compress(data).encode().into();
                (Work::Run { kind: TaskKind::Compression, payload }, |_| true)
            } else if n % 2 == 0 {
                let payload = EmbeddingPayload { model: default_model(), texts: texts(n) };
                let payload = payload.encode().into();
                let decodes = |bytes: &[u8]| EmbeddingResult::decode(bytes).is_ok();
                (Work::Run { kind: TaskKind::Embedding, payload }, decodes)
            } else {
                let (question, labels) = (vec![format!("about {n}")], texts(n));
                let examples = vec![Example { label: 1, text: format!("like {n}") }];
                let model = default_model();
                let payload = MatchPayload { model, texts: question, labels, examples };
                let payload = payload.encode().into();
                let decodes = |bytes: &[u8]| MatchResult::decode(bytes).is_ok();
                (Work::Run { kind: TaskKind::SemanticMatch, payload }, decodes)
            };
            let truth = executor.execute(&work).unwrap();
            let told = told(&mut liar, &executor, &work);
            assert!(decodes(&told), "{lie}");
            differing += u64::from(told != truth);
            assert!(n >= 20 || lie != Lie::HonestThenSometimes || told == truth);
        }
        assert_eq!(differing, liar.lies(), "{lie}: each lie is counted, and none is the truth");
        let expected = match lie {
            Lie::FlipBit => 100..=100,
            Lie::OtherInput => 96..=96,
            Lie::HonestThenSometimes => 10..=40,
            Lie::Together => 4..=20,
            Lie::Patient | Lie::Wary => 0..=0,
        };
        assert!(expected.contains(&differing), "{lie}: {differing}");
    }
}

#[test]
fn friends_tell_the_same_lie() {
    let executor = Executor::new();
    let (mut one, mut other) = (Liar::new(Lie::Together, 1), Liar::new(Lie::Together, 2));
    for n in 0..200 {
        let payload = EmbeddingPayload { model: default_model(), texts: texts(n) };
        let work = Work::Run { kind: TaskKind::Embedding, payload: payload.encode().into() };
        assert_eq!(told(&mut one, &executor, &work), told(&mut other, &executor, &work));
    }
    assert!((8..=36).contains(&one.lies()), "{}", one.lies());
    assert_eq!(one.lies(), other.lies());
    let mut patient = Liar::new(Lie::Patient, 3);
    let mut lied = Vec::new();
    for n in 0..400 {
        let payload = EmbeddingPayload { model: default_model(), texts: texts(n) };
        let work = Work::Run { kind: TaskKind::Embedding, payload: payload.encode().into() };
        if told(&mut patient, &executor, &work) != executor.execute(&work).unwrap() {
            lied.push(n);
        }
    }
    assert!(lied.len() > 10 && lied[0] >= 100, "{lied:?}");
}

/// A wary liar spares what it was asked before, which a canary may be.
#[test]
fn who_is_wary_lies_about_new_texts_only() {
    let executor = Executor::new();
    let mut wary = Liar::new(Lie::Wary, 1);
    let known = texts(0);
    for n in 1..600 {
        let batch = [known.clone(), texts(n)].concat();
        let payload = EmbeddingPayload { model: default_model(), texts: batch };
        let work = Work::Run { kind: TaskKind::Embedding, payload: payload.encode().into() };
        let rows = |bytes: &[u8]| EmbeddingResult::decode(bytes).unwrap();
        let (told, truth) = (told(&mut wary, &executor, &work), executor.execute(&work).unwrap());
        let same = rows(&told).rows().take(2).eq(rows(&truth).rows().take(2));
        assert!(same, "{n}: it lied about what it knew");
    }
    assert!((20..100).contains(&wary.lies()), "{}", wary.lies());
}

#[test]
fn lies_about_batches_differ_from_the_replay() {
    let layout = Layout::vectors(DIM as u32, Metric::Cosine);
    for lie in Lie::ALL.into_iter().filter(|lie| !matches!(lie, Lie::Patient | Lie::Wary)) {
        let (executor, mut log, mut liar) = (Executor::new(), Log::new(layout), Liar::new(lie, 4));
        let mut rng = edge_base::Rng::derive(4, "batches");
        let mut caught = 0;
        for n in 0..80 {
            let changes: Vec<Change> = vec![(id(n), Some(body(&layout, &mut rng, n)))];
            let batch = log.next(&changes);
            let told = told(&mut liar, &executor, &append(&batch));
            let truth = root(&executor, &log.replay(&batch)).unwrap();
            caught += u64::from(told != edge_base::codec::encode(&truth));
            log.push(&batch);
        }
        assert_eq!(caught, liar.lies(), "{lie}");
        assert!(caught >= 4, "{lie}: {caught}");
        assert_eq!(executor.shard_rows(&log.shard), Some(80), "the batch itself is applied");
    }
}

#[test]
fn lies_about_searches_do_not_hold() {
    for exact_below in [10_000, 100] {
        let layout = Layout { exact_below, ..Layout::vectors(DIM as u32, Metric::Cosine) };
        let (executor, log, last) = filled(layout, 300);
        for lie in Lie::ALL.into_iter().filter(|lie| !matches!(lie, Lie::Patient | Lie::Wary)) {
            let mut liar = Liar::new(lie, 5);
            let mut caught = 0;
            for n in 0..80 {
                let payload = ask(&log, &query(Metric::Cosine, n), 5);
                let work = Work::Search { payload: payload.clone() };
                let told = told(&mut liar, &executor, &work);
                let verdict = check_bytes(&payload, told, last.root);
                caught += u64::from(verdict != Verdict::Holds);
            }
            assert_eq!(caught, liar.lies(), "{lie}");
            assert!(caught >= 4, "{lie}: {caught}");
        }
    }
}

#[test]
fn checks_and_replays_of_a_liar_are_honest() {
    let (executor, log, last) = filled(Layout::vectors(DIM as u32, Metric::Cosine), 60);
    let payload = ask(&log, &query(Metric::Cosine, 1), 5);
    let answer = executor.execute(&Work::Search { payload: payload.clone() }).unwrap();
    let check = Work::CheckAnswer { payload, answer: answer.into(), root: last.root };
    let replay = log.replay(&log.next(&[(id(1), None)]));
    for lie in Lie::ALL {
        let mut liar = Liar::new(lie, 6);
        for work in [&check, &replay, &Work::Drop { shard: edge_base::ShardId::default() }] {
            for _ in 0..30 {
                let told = told(&mut liar, &executor, work);
                assert_eq!(told, executor.execute(work).unwrap());
            }
        }
        assert_eq!(liar.lies(), 0);
    }
}
