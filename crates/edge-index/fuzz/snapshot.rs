//! Snapshots of shards.

use edge_base::{Digest, Hasher, RecordId};
use edge_fuzz::{Reached, Target};
use edge_index::{Index, IndexConfig, Metric, Op, Record, SnapshotError, Storage};

/// The head as far as it is repaired.
const HEADER_BYTES: usize = 10;
const LENGTH: usize = 8 + 2 + 26 + 32 + 4;
const CHECKSUM_BYTES: usize = 32;

fn seeds() -> Vec<Vec<u8>> {
    let shard = |rows: u8, metric, storage, exact_below| {
        let config =
            IndexConfig { m: 4, m0: 6, storage, exact_below, ..IndexConfig::new(3, metric) };
        let mut index = Index::new(config).expect("invariant: the configuration is valid");
        for n in 0..rows {
            let vector = vec![f32::from(n) - 3.5, f32::from(n * 7 % 11), 1.0];
            let record = Record { id: RecordId(Digest::of(&[n])), vector, payload: vec![n] };
            index.apply(Op::Upsert(record)).expect("invariant: the record is valid");
        }
        index.to_snapshot()
    };
    let kinds = [
        (Metric::Cosine, Storage::Int8),
        (Metric::Dot, Storage::Binary),
        (Metric::L2, Storage::F32),
        (Metric::L2, Storage::Int8),
    ];
    let sizes = [(0, 9), (1, 9), (5, 9), (1, 1), (12, 4), (30, 4)];
    let of = |(metric, storage)| sizes.map(|(rows, limit)| shard(rows, metric, storage, limit));
    kinds.into_iter().flat_map(of).collect()
}

/// Length and checksum.
fn repair(bytes: &mut [u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    let Some((body, sum)) = bytes.split_last_chunk_mut::<CHECKSUM_BYTES>() else { return };
    if let Some(place) = body.get_mut(LENGTH..LENGTH + 8) {
        place.copy_from_slice(&length);
    }
    let mut hasher = Hasher::new("index/snapshot/2");
    hasher.update(body);
    sum.copy_from_slice(hasher.finish().as_bytes());
}

fn decode(bytes: &[u8]) -> Reached {
    let mut index = match Index::from_snapshot(bytes) {
        Ok(index) => index,
        Err(SnapshotError::Refused(_) | SnapshotError::Inconsistent(_)) => return Reached::Header,
        Err(_) => return Reached::Nothing,
    };
    assert_eq!(index.to_snapshot(), bytes, "a shard has one snapshot");
    let query = vec![1.0; index.config().dim];
    let found = index.search(&query, 3, Some(3), None).expect("a valid query is answered");
    assert_eq!(found.hits.len(), index.len().min(3));
    for (id, hash) in index.manifest() {
        assert!(index.prove(&id).verify(&index.root(), &id, Some(&hash)));
        index.apply(Op::Delete(id)).expect("a deletion is never refused");
    }
    assert!(index.is_empty());
    Reached::Value
}

/// Hands the target to `then`.
pub(crate) fn with_target<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    let (seeds, repair) = (seeds(), repair);
    let target = Target::new("snapshot", &seeds, &decode);
    then(&Target { header_bytes: HEADER_BYTES, repair: Some(&repair), ..target })
}
