//! A history-independent Merkle tree over values with ids of 256 bits: the records of a shard, the
//! accounts of a ledger.
//!
//! The tree is a compact binary trie (Morrison, "PATRICIA", JACM 1968) over the bits of the ids, most
//! significant bit first: a leaf is one id with the hash of its value, a branch stands at the first bit
//! in which the ids below it differ and has both children. Its shape is a function of the *set* of ids,
//! so the root does not depend on the order of insertions and deletions, and ids are digests or keys,
//! so paths have about log2(n) steps. Hashes are domain separated by the tree's [`MerkleKind`]:
//!
//! - empty set: `H(EMPTY)`
//! - leaf: `H(LEAF, id ‖ value hash)`
//! - branch: `H(BRANCH, bit ‖ left ‖ right)` with the bit as one byte
//!
//! A branch commits to its bit, so a proof of the leaf where a search for an id ends is also a proof that
//! no other leaf could hold that id: inclusion and absence are one format. What a proof of absence rests
//! on is that the root was made by these rules, which every replica of a shard checks for itself.

use std::{fmt::Debug, sync::OnceLock};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Digest, Hasher};

/// What a tree is over: its ids, and the tags that keep its hashes apart from those of other trees.
pub trait MerkleKind: Copy + Eq + Debug {
    /// The ids.
    type Key: Copy + Ord + Debug + Serialize + DeserializeOwned;
    /// Tag of the root without leaves.
    const EMPTY: &'static str;
    /// Tag of leaves.
    const LEAF: &'static str;
    /// Tag of branches.
    const BRANCH: &'static str;

    /// The bits of an id.
    fn bits(key: &Self::Key) -> &[u8; 32];
}

/// The most steps a proof can have: one for each bit of an id.
pub const PROOF_STEPS_MAX: usize = 256;

/// The root of the tree without leaves.
pub fn empty_root<K: MerkleKind>() -> Digest {
    Hasher::new(K::EMPTY).finish()
}

/// The root over a manifest of `(id, record hash)` pairs in any order, without building an index. When
/// an id occurs more than once the last entry counts, as in a log.
pub fn root_of<K: MerkleKind>(manifest: &[(K::Key, Digest)]) -> Digest {
    let mut sorted = manifest.to_vec();
    sorted.sort_by_key(|entry| entry.0);
    // Keep the last of each run of equal ids: the sort is stable.
    let mut kept: Vec<(K::Key, Digest)> = Vec::with_capacity(sorted.len());
    for entry in sorted {
        match kept.last_mut() {
            Some(last) if last.0 == entry.0 => *last = entry,
            _ => kept.push(entry),
        }
    }
    subtree_root::<K>(&kept).unwrap_or_else(empty_root::<K>)
}

/// The hash over sorted, distinct entries; `None` for none. Recurses at most once a bit.
fn subtree_root<K: MerkleKind>(sorted: &[(K::Key, Digest)]) -> Option<Digest> {
    let (first, last) = (sorted.first()?, sorted.last()?);
    let Some(at) = first_difference::<K>(&first.0, &last.0) else {
        return Some(leaf_hash::<K>(&first.0, &first.1));
    };
    // Sorted: all share the bits before `at`, and zeros of bit `at` come first.
    let middle = sorted.partition_point(|entry| !bit_of::<K>(&entry.0, at));
    let left = subtree_root::<K>(&sorted[..middle])?;
    let right = subtree_root::<K>(&sorted[middle..])?;
    Some(branch_hash::<K>(at, &left, &right))
}

fn leaf_hash<K: MerkleKind>(id: &K::Key, record: &Digest) -> Digest {
    let mut hasher = Hasher::new(K::LEAF);
    hasher.update(K::bits(id)).update(record.as_bytes());
    hasher.finish()
}

fn branch_hash<K: MerkleKind>(bit: u8, left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Hasher::new(K::BRANCH);
    hasher.update(&[bit]).update(left.as_bytes()).update(right.as_bytes());
    hasher.finish()
}

/// Bit `at` of an id, 0 being the most significant bit of the first byte.
fn bit_of<K: MerkleKind>(id: &K::Key, at: u8) -> bool {
    K::bits(id)[usize::from(at / 8)] >> (7 - at % 8) & 1 == 1
}

/// The first bit in which two ids differ; `None` when they are equal.
fn first_difference<K: MerkleKind>(a: &K::Key, b: &K::Key) -> Option<u8> {
    let bytes = K::bits(a).iter().zip(K::bits(b));
    for (at, (x, y)) in bytes.enumerate() {
        if x != y {
            return Some((at * 8) as u8 + (x ^ y).leading_zeros() as u8);
        }
    }
    None
}

#[derive(Clone, Debug)]
enum Node<T> {
    Leaf { id: T, record: Digest },
    Branch { bit: u8, children: [u32; 2] },
}

#[derive(Clone, Debug)]
struct Slot<T> {
    node: Node<T>,
    /// Computed when first asked for after a change below; cleared along the path of a change.
    hash: OnceLock<Digest>,
}

/// The tree, kept up to date in O(log n) steps a change. Hashes are computed when a root or a proof is
/// asked for, so a batch of changes hashes each branch it touched once.
#[derive(Clone, Debug)]
pub struct MerkleTree<K: MerkleKind> {
    slots: Vec<Slot<K::Key>>,
    free: Vec<u32>,
    root: Option<u32>,
    leaves: usize,
}

impl<K: MerkleKind> Default for MerkleTree<K> {
    fn default() -> Self {
        MerkleTree::new()
    }
}

impl<K: MerkleKind> MerkleTree<K> {
    /// The tree without leaves.
    pub fn new() -> Self {
        MerkleTree { slots: Vec::new(), free: Vec::new(), root: None, leaves: 0 }
    }

    /// How many leaves it has.
    pub fn len(&self) -> usize {
        self.leaves
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.leaves == 0
    }

    /// The root hash; [`empty_root`] for no leaves.
    pub fn root(&self) -> Digest {
        match self.root {
            Some(at) => self.hash(at),
            None => empty_root::<K>(),
        }
    }

    /// The record hash stored under an id.
    pub fn get(&self, id: &K::Key) -> Option<Digest> {
        match &self.slots[self.descend(id)? as usize].node {
            Node::Leaf { id: found, record } if found == id => Some(*record),
            _ => None,
        }
    }

    /// Stores a record hash under an id; returns the one it replaces.
    pub fn insert(&mut self, id: K::Key, record: Digest) -> Option<Digest> {
        let Some(nearest) = self.descend(&id) else {
            self.root = Some(self.allocate(Node::Leaf { id, record }));
            self.leaves = 1;
            return None;
        };
        let Node::Leaf { id: other, record: old } = self.slots[nearest as usize].node else {
            unreachable!("invariant: a descent ends at a leaf");
        };
        let Some(at) = first_difference::<K>(&id, &other) else {
            self.clear_path(&id, None);
            self.slots[nearest as usize] =
                Slot { node: Node::Leaf { id, record }, hash: OnceLock::new() };
            return Some(old);
        };
        // Everything above the first branch at or after bit `at` shares the id's earlier bits.
        let (parent, below) = self.clear_path(&id, Some(at));
        let leaf = self.allocate(Node::Leaf { id, record });
        let children = if bit_of::<K>(&id, at) { [below, leaf] } else { [leaf, below] };
        let branch = self.allocate(Node::Branch { bit: at, children });
        self.replace_child(parent, below, branch);
        self.leaves += 1;
        None
    }

    /// Removes an id; returns its record hash.
    pub fn remove(&mut self, id: &K::Key) -> Option<Digest> {
        let old = self.get(id)?;
        self.clear_path(id, None);
        let (mut grandparent, mut parent) = (None, None);
        let mut at = self.root?;
        while let Node::Branch { bit, children } = self.slots[at as usize].node {
            grandparent = parent;
            parent = Some((at, children[usize::from(!bit_of::<K>(id, bit))]));
            at = children[usize::from(bit_of::<K>(id, bit))];
        }
        match parent {
            None => self.root = None,
            Some((branch, sibling)) => {
                self.replace_child(grandparent.map(|g| g.0), branch, sibling);
                self.free.push(branch);
            }
        }
        self.free.push(at);
        self.leaves -= 1;
        Some(old)
    }

    /// The proof that an id is in the tree with its record hash, or that it is not in the tree.
    pub fn prove(&self, id: &K::Key) -> MerkleProof<K> {
        let mut steps = Vec::new();
        let Some(mut at) = self.root else {
            return MerkleProof { steps, end: ProofEnd::Nothing };
        };
        loop {
            match self.slots[at as usize].node {
                Node::Branch { bit, children } => {
                    let side = usize::from(bit_of::<K>(id, bit));
                    steps.push(ProofStep { bit, sibling: self.hash(children[1 - side]) });
                    at = children[side];
                }
                Node::Leaf { id: found, .. } if found == *id => {
                    return MerkleProof { steps, end: ProofEnd::Found };
                }
                Node::Leaf { id: other, record } => {
                    return MerkleProof { steps, end: ProofEnd::Other { id: other, record } };
                }
            }
        }
    }

    /// The leaf where a search for `id` ends: its own if present, otherwise one that shares as many
    /// branch decisions as possible.
    fn descend(&self, id: &K::Key) -> Option<u32> {
        let mut at = self.root?;
        while let Node::Branch { bit, children } = self.slots[at as usize].node {
            at = children[usize::from(bit_of::<K>(id, bit))];
        }
        Some(at)
    }

    /// Clears the hashes on the way to `id` as far as the branches before bit `until` (all of them when
    /// `None`). Returns the last cleared branch and the slot after it.
    fn clear_path(&mut self, id: &K::Key, until: Option<u8>) -> (Option<u32>, u32) {
        let mut parent = None;
        let mut at = self.root.expect("invariant: only called with records");
        while let Node::Branch { bit, children } = self.slots[at as usize].node {
            if until.is_some_and(|limit| bit >= limit) {
                break;
            }
            self.slots[at as usize].hash = OnceLock::new();
            parent = Some(at);
            at = children[usize::from(bit_of::<K>(id, bit))];
        }
        (parent, at)
    }

    fn replace_child(&mut self, parent: Option<u32>, old: u32, new: u32) {
        match parent.map(|p| &mut self.slots[p as usize].node) {
            None => self.root = Some(new),
            Some(Node::Branch { children, .. }) => {
                children[usize::from(children[1] == old)] = new;
            }
            Some(Node::Leaf { .. }) => unreachable!("invariant: a parent is a branch"),
        }
    }

    fn allocate(&mut self, node: Node<K::Key>) -> u32 {
        let slot = Slot { node, hash: OnceLock::new() };
        match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// Recurses at most once a bit of an id.
    fn hash(&self, at: u32) -> Digest {
        let slot = &self.slots[at as usize];
        *slot.hash.get_or_init(|| match &slot.node {
            Node::Leaf { id, record } => leaf_hash::<K>(id, record),
            Node::Branch { bit, children: [left, right] } => {
                branch_hash::<K>(*bit, &self.hash(*left), &self.hash(*right))
            }
        })
    }
}

/// One branch on the way from the root to a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct ProofStep {
    bit: u8,
    sibling: Digest,
}

/// Where the way ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum ProofEnd<T> {
    /// At the id's own leaf.
    Found,
    /// At the leaf of another id.
    Other { id: T, record: Digest },
    /// The tree is empty.
    Nothing,
}

/// A proof against a root that an id is in the tree with a value hash, or that it is not. About 33 bytes a
/// step and log2(n) steps; a proof with more than [`PROOF_STEPS_MAX`] steps does not verify.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct MerkleProof<K: MerkleKind> {
    /// From the root down.
    steps: Vec<ProofStep>,
    end: ProofEnd<K::Key>,
}

impl<K: MerkleKind> MerkleProof<K> {
    /// Whether this proves against `root` that `id` has the record hash given (`Some`), or that `id` is
    /// absent (`None`). Bytes from anywhere: a false or malformed proof is `false`, never a panic.
    #[must_use]
    pub fn verify(&self, root: &Digest, id: &K::Key, record: Option<&Digest>) -> bool {
        let leaf = match (self.end, record) {
            (ProofEnd::Found, Some(record)) => leaf_hash::<K>(id, record),
            (ProofEnd::Other { id: other, record }, None) if other != *id => {
                // The other leaf must lie where a search for `id` ends.
                if self.steps.iter().any(|s| bit_of::<K>(&other, s.bit) != bit_of::<K>(id, s.bit)) {
                    return false;
                }
                leaf_hash::<K>(&other, &record)
            }
            (ProofEnd::Nothing, None) => {
                return self.steps.is_empty() && *root == empty_root::<K>();
            }
            _ => return false,
        };
        // Strictly increasing bits bound the number of steps, too.
        if !self.steps.is_sorted_by(|a, b| a.bit < b.bit) {
            return false;
        }
        let computed = self.steps.iter().rev().fold(leaf, |below, step| {
            if bit_of::<K>(id, step.bit) {
                branch_hash::<K>(step.bit, &step.sibling, &below)
            } else {
                branch_hash::<K>(step.bit, &below, &step.sibling)
            }
        });
        computed == *root
    }

    /// How many branches lie between the root and the leaf.
    pub fn depth(&self) -> usize {
        self.steps.len()
    }

    /// Whether it claims that the id is present (which only [`MerkleProof::verify`] establishes).
    pub fn claims_presence(&self) -> bool {
        self.end == ProofEnd::Found
    }
}

#[cfg(test)]
mod tests;
