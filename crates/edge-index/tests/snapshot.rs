//! Snapshots: the same shard comes back, and nothing else gets in.
#![allow(clippy::unwrap_used)]

use edge_base::{Digest, Hasher, RecordId, Rng};
use edge_index::{Index, IndexConfig, Metric, Mode, Op, Record, SnapshotError};
use proptest::prelude::*;

const HEADER: usize = 50;

fn index(rows: u64, config: IndexConfig) -> Index {
    let mut index = Index::new(config).unwrap();
    let mut rng = Rng::derive(rows, "snapshot");
    for n in 0..rows {
        let vector = (0..config.dim).map(|_| rng.below(2001) as f32 - 1000.5).collect();
        let id = RecordId(Digest::of(&n.to_le_bytes()));
        let payload = format!("{{\"n\":{n}}}").into_bytes();
        index.apply(Op::Upsert(Record { id, vector, payload })).unwrap();
        if n % 5 == 4 {
            index.apply(Op::Delete(RecordId(Digest::of(&(n / 2).to_le_bytes())))).unwrap();
        }
    }
    index
}

fn small(metric: Metric, exact_below: usize) -> IndexConfig {
    IndexConfig { exact_below, m: 4, m0: 8, ..IndexConfig::new(5, metric) }
}

/// Puts a valid header before a body: what somebody who wants to be read would do.
fn seal(body: &[u8]) -> Vec<u8> {
    let mut hasher = Hasher::new("index/snapshot/1");
    hasher.update(body);
    let mut out = b"EDGEIDX\0\x01\0".to_vec();
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(hasher.finish().as_bytes());
    out.extend_from_slice(body);
    out
}

#[test]
fn what_is_read_is_what_was_written() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        for (rows, exact_below) in [(0, 100), (1, 100), (90, 100), (90, 1), (300, 100), (1, 1)] {
            let index = index(rows, small(metric, exact_below));
            let bytes = index.to_snapshot();
            let again = Index::from_snapshot(&bytes).unwrap();
            assert_eq!(again.root(), index.root());
            assert_eq!(again.config(), index.config());
            assert_eq!(again.manifest(), index.manifest());
            assert_eq!(again.to_snapshot(), bytes);
            let query = [1.0, -2.0, 3.0, 0.5, 0.25];
            let ask = |index: &Index| index.search(&query, 7, Some(9), None);
            assert_eq!(ask(&again), ask(&index));
            assert_eq!(seal(&bytes[HEADER..]), bytes, "the format this test forges");
        }
    }
}

#[test]
fn every_back_end_of_the_kernels_builds_the_same_shard() {
    for metric in [Metric::Cosine, Metric::L2] {
        let config = IndexConfig { exact_below: 100, ..IndexConfig::new(37, metric) };
        let mut digests = Vec::new();
        for simd in edge_kernels::available() {
            edge_kernels::force(simd).unwrap();
            let index = index(700, config);
            let answer = index.search(&[0.5; 37], 10, None, None).unwrap();
            assert_eq!(answer.mode, Mode::Ann);
            let scores: Vec<u32> = answer.hits.iter().map(|hit| hit.score.to_bits()).collect();
            digests.push((Digest::of(&index.to_snapshot()), scores));
        }
        digests.dedup();
        assert_eq!(digests.len(), 1);
    }
}

#[test]
fn damage_is_named() {
    let bytes = index(120, small(Metric::L2, 50)).to_snapshot();
    let read = |bytes: &[u8]| Index::from_snapshot(bytes).expect_err("damaged");
    assert_eq!(read(b""), SnapshotError::NotASnapshot);
    assert_eq!(read(&bytes[..HEADER - 1]), SnapshotError::NotASnapshot);
    assert_eq!(read(&[b"PK".as_slice(), &bytes[2..]].concat()), SnapshotError::NotASnapshot);
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(read(&newer), SnapshotError::Version(2));
    let (expected, got) = ((bytes.len() - HEADER) as u64, (bytes.len() - HEADER - 1) as u64);
    assert_eq!(read(&bytes[..bytes.len() - 1]), SnapshotError::Length { expected, got });
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(read(&longer), SnapshotError::Length { expected, got: expected + 1 });
    for at in (18..bytes.len()).step_by(97) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        assert_eq!(read(&flipped), SnapshotError::Checksum, "byte {at}");
    }
}

#[test]
fn numbers_without_bytes_behind_them_allocate_nothing() {
    let bytes = index(3, small(Metric::L2, 50)).to_snapshot();
    let body = &bytes[HEADER..];
    // The number of rows, the first payload's length, and the dimension: after 25 bytes of
    // configuration and 32 of root; after 4 of number, 32 of id and 20 of vector; at the front.
    for at in [57, 57 + 4 + 32 + 20, 0] {
        let mut huge = body.to_vec();
        huge[at..at + 4].copy_from_slice(&0x00ff_ffffu32.to_le_bytes());
        assert!(Index::from_snapshot(&seal(&huge)).is_err(), "at {at}");
    }
    let body_of = |index: &Index| index.to_snapshot()[HEADER..].to_vec();
    let mut twice = body_of(&index(1, small(Metric::L2, 50)));
    twice[57] = 2;
    let row = twice[61..twice.len() - 1].to_vec();
    twice.splice(61..61, row);
    let error = Index::from_snapshot(&seal(&twice)).unwrap_err();
    assert_eq!(error, SnapshotError::Inconsistent("an id occurs twice"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn forged_bodies_are_refused_or_are_the_shard_they_say(
        rows in 0u64..60,
        exact_below in prop_oneof![Just(1usize), Just(20), Just(100)],
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let original = index(rows, small(Metric::L2, exact_below)).to_snapshot();
        let mut body = original[HEADER..].to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body[at] ^= 1 << (byte % 8),
                2 => { body.remove(at); }
                _ => body.insert(at, byte),
            }
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        let forged = seal(&body);
        // Whatever is accepted is a shard that works and writes itself the same.
        if let Ok(mut index) = Index::from_snapshot(&forged) {
            prop_assert_eq!(index.to_snapshot(), forged);
            let ids: Vec<RecordId> = index.manifest().into_iter().map(|entry| entry.0).collect();
            let query = vec![1.0; index.config().dim];
            index.search(&query, 5, None, None).unwrap();
            for id in ids {
                index.apply(Op::Delete(id)).unwrap();
            }
            prop_assert!(index.is_empty());
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Index::from_snapshot(&bytes).is_err());
        prop_assert!(Index::from_snapshot(&seal(&bytes)).is_err());
    }
}
