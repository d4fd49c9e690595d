//! Records: what a collection stores, and the hash that stands for one.

use edge_base::{Digest, Hasher, RecordId};
use serde::{Deserialize, Serialize};

/// The largest payload of a record.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// One record: an id, a vector and bytes that belong to it. Compared by bits of the vector's values only
/// through [`record_hash`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The key; a later record with the same id replaces this one.
    pub id: RecordId,
    /// The embedding, `[dim]`.
    pub vector: Vec<f32>,
    /// Opaque to the index unless it is a JSON object, whose fields [`crate::Filter`] can test. At most
    /// [`PAYLOAD_BYTES_MAX`].
    pub payload: Vec<u8>,
}

/// The hash that a shard's root commits to: id, the vector's little-endian bits and the payload, framed,
/// under a domain tag. Of a record in canonical form ([`crate::IndexConfig::canonical`]): a shard stores
/// nothing else.
pub fn record_hash(record: &Record) -> Digest {
    hash_parts(&record.id, &record.vector, &record.payload)
}

pub(crate) fn hash_parts(id: &RecordId, vector: &[f32], payload: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(vector.len() * 4);
    for value in vector {
        bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    let mut hasher = Hasher::new("index/record/1");
    hasher.update(id.as_bytes()).update_framed(&bytes).update_framed(payload);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: RecordId(Digest::of(b"id")),
            vector: vec![0.5, -0.25],
            payload: b"{}".to_vec(),
        }
    }

    #[test]
    fn the_hash_is_its_written_definition() {
        let mut bytes = vec![14];
        bytes.extend_from_slice(b"index/record/1");
        bytes.extend_from_slice(&Digest::of(b"id").0);
        bytes.extend_from_slice(&8u64.to_le_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0x3f, 0, 0, 0x80, 0xbe]);
        bytes.extend_from_slice(&2u64.to_le_bytes());
        bytes.extend_from_slice(b"{}");
        assert_eq!(record_hash(&record()), Digest::of(&bytes));
    }

    #[test]
    fn every_part_counts() {
        let base = record_hash(&record());
        let change = |f: fn(&mut Record)| {
            let mut changed = record();
            f(&mut changed);
            record_hash(&changed)
        };
        assert_ne!(change(|r| r.id = RecordId(Digest::of(b"other"))), base);
        assert_ne!(change(|r| r.vector[1] = f32::from_bits(r.vector[1].to_bits() ^ 1)), base);
        assert_ne!(change(|r| r.payload.push(b' ')), base);
        assert_ne!(change(|r| r.vector.push(0.0)), base);
    }
}
