//! Snapshots: the same shard comes back, and nothing else gets in.
#![allow(clippy::unwrap_used)]

use edge_base::{Digest, Hasher, RecordId, Rng};
use edge_index::{Index, IndexConfig, Mapping, Metric, Mode, Op, Record, SnapshotError, Storage};
use proptest::prelude::*;

const HEAD: usize = 128;
const CHECKSUM: usize = 32;
/// Where the head says how many rows there are, and how many bytes.
const ROWS: usize = 8 + 2 + 26 + 32;
const LENGTH: usize = ROWS + 4;

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

/// Makes length and checksum those of the bytes, the last of which are the checksum: what somebody who
/// wants to be read would do.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    if let Some(place) = bytes.get_mut(LENGTH..HEAD).and_then(|rest| rest.first_chunk_mut()) {
        *place = length;
    }
    if let Some((body, sum)) = bytes.split_last_chunk_mut::<CHECKSUM>() {
        let mut hasher = Hasher::new("index/snapshot/2");
        hasher.update(body);
        sum.copy_from_slice(hasher.finish().as_bytes());
    }
    bytes
}

/// Bytes that begin where numbers may lie.
struct Aligned {
    words: Vec<u64>,
    from: usize,
    to: usize,
}

impl Aligned {
    fn mapping(bytes: &[u8]) -> Mapping {
        Aligned::mapping_from(bytes, 0)
    }

    /// Of the bytes from `from` on.
    fn mapping_from(bytes: &[u8], from: usize) -> Mapping {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        Mapping::new(Aligned { words: words.collect(), from, to: bytes.len() })
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[self.from..self.to]
    }
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
            assert_eq!(seal(bytes.clone()), bytes, "the format this test forges");
        }
    }
}

#[test]
fn a_shard_whose_vectors_stay_in_a_mapping_is_the_same_shard() {
    let config = IndexConfig { exact_below: 100, ..IndexConfig::new(37, Metric::Cosine) };
    for rows in [0, 1, 60, 900] {
        let mut plain = index(rows, config);
        let bytes = plain.to_snapshot();
        let mapping = Aligned::mapping(&bytes);
        let mut mapped = Index::from_mapping(&mapping).unwrap();
        assert_eq!(mapped.memory().vectors, 0);
        assert_eq!(mapped.memory().mapped, mapped.len() * 37 * 4);
        let mut moved = plain.clone();
        assert_eq!(moved.move_into(&mapping), Ok(true));
        assert_eq!((moved.memory().vectors, moved.to_snapshot()), (0, bytes.clone()));
        // Numbers cannot lie at odd addresses: the vectors are copied, and all else is the same.
        let odd = [b"x", bytes.as_slice()].concat();
        let odd = Index::from_mapping(&Aligned::mapping_from(&odd, 1)).unwrap();
        assert_eq!((odd.memory().mapped, odd.to_snapshot()), (0, bytes.clone()));

        let mut rng = Rng::derive(rows, "after");
        for n in 0..200u64 {
            let id = RecordId(Digest::of(&rng.below(rows + 40).to_le_bytes()));
            let op = match n % 3 {
                0 => Op::Delete(id),
                _ => {
                    let vector = (0..37).map(|_| rng.below(99) as f32 - 49.5).collect();
                    Op::Upsert(Record { id, vector, payload: vec![n as u8] })
                }
            };
            for index in [&mut mapped, &mut moved] {
                assert_eq!(
                    index.apply(op.clone()).unwrap(),
                    plain.clone().apply(op.clone()).unwrap()
                );
            }
            plain.apply(op).unwrap();
        }
        for index in [&mapped, &moved] {
            assert_eq!(index.to_snapshot(), plain.to_snapshot());
        }
        assert_eq!(mapping.bytes(), bytes, "changes are made elsewhere");
    }
}

#[test]
fn only_a_snapshot_of_this_state_is_moved_into() {
    let config = small(Metric::L2, 100);
    let (mut this, other) = (index(90, config), index(91, config));
    let before = this.to_snapshot();
    let refused = |index: &mut Index, bytes: &[u8]| {
        index.move_into(&Aligned::mapping(bytes)).expect_err("another state")
    };
    refused(&mut this, &other.to_snapshot());
    refused(&mut this, b"");
    let mut lying = before.clone();
    lying[HEAD] ^= 1;
    let error = refused(&mut this, &seal(lying));
    assert_eq!(error, SnapshotError::Inconsistent("its vectors are others"));
    assert_eq!((this.memory().mapped, this.to_snapshot()), (0, before));
}

#[test]
fn every_back_end_of_the_kernels_builds_the_same_shard() {
    let kinds = [
        (Metric::Cosine, Storage::Int8),
        (Metric::L2, Storage::Int8),
        (Metric::L2, Storage::F32),
        (Metric::Dot, Storage::Binary),
    ];
    for (metric, storage) in kinds {
        let config = IndexConfig { exact_below: 100, storage, ..IndexConfig::new(37, metric) };
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
    assert_eq!(read(&bytes[..HEAD - 1]), SnapshotError::NotASnapshot);
    assert_eq!(read(&[b"PK".as_slice(), &bytes[2..]].concat()), SnapshotError::NotASnapshot);
    for version in [1, 3] {
        let mut other = bytes.clone();
        other[8] = version;
        assert_eq!(read(&other), SnapshotError::Version(version.into()));
    }
    let expected = bytes.len() as u64;
    let shorter = SnapshotError::Length { expected, got: expected - 1 };
    assert_eq!(read(&bytes[..bytes.len() - 1]), shorter);
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(read(&longer), SnapshotError::Length { expected, got: expected + 1 });
    for at in (0..bytes.len()).step_by(97).chain(10..HEAD) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        let error = read(&flipped);
        assert!(at < HEAD || error == SnapshotError::Checksum, "byte {at}: {error}");
    }
}

#[test]
fn numbers_without_bytes_behind_them_allocate_nothing() {
    let bytes = index(3, small(Metric::L2, 50)).to_snapshot();
    let lengths = HEAD + 3 * (20 + 32);
    // The dimension, the number of rows, the first payload's length.
    for at in [10, ROWS, lengths] {
        let mut huge = bytes.clone();
        huge[at..at + 4].copy_from_slice(&0x00ff_ffffu32.to_le_bytes());
        assert!(Index::from_snapshot(&seal(huge)).is_err(), "at {at}");
    }
    let one = index(1, small(Metric::L2, 50)).to_snapshot();
    let payload = one.len() - CHECKSUM - 1 - (HEAD + 20 + 32 + 4);
    let (vector, id) = (&one[HEAD..HEAD + 20], &one[HEAD + 20..HEAD + 52]);
    let (length, rest) = (&one[HEAD + 52..HEAD + 56], &one[HEAD + 56..]);
    let mut twice =
        [&one[..HEAD], vector, vector, id, id, length, length, &rest[..payload], rest].concat();
    twice[ROWS] = 2;
    let error = Index::from_snapshot(&seal(twice)).unwrap_err();
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
        let mut body = original[..original.len() - CHECKSUM].to_vec();
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
        body.extend_from_slice(&[0; CHECKSUM]);
        let forged = seal(body);
        let mapping = Aligned::mapping(&forged);
        let both = (Index::from_snapshot(&forged), Index::from_mapping(&mapping));
        prop_assert_eq!(both.0.map(|index| index.to_snapshot()), both.1.map(|index| index.to_snapshot()));
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
        prop_assert!(Index::from_snapshot(&seal(bytes)).is_err());
    }
}
