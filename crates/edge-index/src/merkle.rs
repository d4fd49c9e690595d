//! The Merkle tree over the live records of a shard: [`edge_base::merkle`] with the tags of records.
//!
//! What a proof of absence rests on is that the root was made by its rules, which every replica of a
//! shard checks for itself.

use edge_base::{
    Digest, RecordId,
    merkle::{self, MerkleKind},
};

/// The records of a shard, by id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Records;

impl MerkleKind for Records {
    type Key = RecordId;
    const EMPTY: &'static str = "index/merkle/empty/1";
    const LEAF: &'static str = "index/merkle/leaf/1";
    const BRANCH: &'static str = "index/merkle/branch/1";

    fn bits(key: &RecordId) -> &[u8; 32] {
        key.as_bytes()
    }
}

/// The tree over the records of a shard.
pub type MerkleTree = merkle::MerkleTree<Records>;
/// A proof that a record is in a shard, or that no record with an id is.
pub type MerkleProof = merkle::MerkleProof<Records>;

/// The root of the tree without records.
pub fn empty_root() -> Digest {
    merkle::empty_root::<Records>()
}

/// The root over a manifest of `(id, record hash)` pairs in any order; of several entries of one id
/// the last counts, as in a log.
pub fn root_of(manifest: &[(RecordId, Digest)]) -> Digest {
    merkle::root_of::<Records>(manifest)
}
