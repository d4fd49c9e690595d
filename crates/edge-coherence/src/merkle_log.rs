//! An append-only log of digests with proofs, as in Certificate Transparency version 2 (RFC 9162,
//! section 2.1): whoever kept a root can be shown that an entry is in the log, and that a later
//! log begins with the earlier one.

use edge_base::Digest;

/// The most entries of one log.
pub const LEAVES_MAX: usize = 1 << 20;
/// The longest proof: its length is at most the depth of the tree, and one more.
const PROOF_MAX: usize = 64;

/// The root of a log without entries: the hash of nothing.
pub fn empty_root() -> Digest {
    Digest::of(&[])
}

/// The hash of an entry: SHA-256 over a zero byte and the entry.
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::of(&[&[0], entry].concat())
}

fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left.as_bytes());
    bytes[33..].copy_from_slice(right.as_bytes());
    Digest::of(&bytes)
}

/// The root over a set of evidence: its digests ascending, each once. Equal sets have equal roots.
pub fn evidence_root(items: impl IntoIterator<Item = Digest>) -> Digest {
    let sorted: std::collections::BTreeSet<Digest> = items.into_iter().collect();
    let mut log = MerkleLog::default();
    for item in sorted {
        log.append(item.as_bytes());
    }
    log.root()
}

/// A log. Complete subtrees are kept, so that appending costs O(1) hashes on average and a root
/// O(log n).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MerkleLog {
    /// `levels[k][i]` is the hash of the 2^k entries from i 2^k on.
    levels: Vec<Vec<Digest>>,
}

impl MerkleLog {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entry; `None` where there are [`LEAVES_MAX`] already.
    pub fn append(&mut self, entry: &[u8]) -> Option<usize> {
        let index = self.len();
        if index >= LEAVES_MAX {
            return None;
        }
        let mut hash = leaf_hash(entry);
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let row = self.levels.get_mut(level)?;
            row.push(hash);
            match row.as_slice() {
                [.., left, right] if row.len().is_multiple_of(2) => hash = node_hash(left, right),
                _ => break,
            }
        }
        Some(index)
    }

    /// The root over all entries.
    pub fn root(&self) -> Digest {
        self.range(0, self.len()).unwrap_or_else(empty_root)
    }

    /// The root over the first `size` entries; `None` where there are fewer.
    pub fn root_at(&self, size: usize) -> Option<Digest> {
        match size {
            0 => Some(empty_root()),
            size if size <= self.len() => self.range(0, size),
            _ => None,
        }
    }

    /// That the entry at `index` is in the log of the first `size` entries (section 2.1.3.1).
    pub fn inclusion(&self, index: usize, size: usize) -> Option<Vec<Digest>> {
        if index >= size || size > self.len() {
            return None;
        }
        let (mut start, mut end, mut proof) = (0, size, Vec::new());
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                proof.push(self.range(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range(start, middle)?);
                start = middle;
            }
        }
        proof.reverse();
        Some(proof)
    }

    /// That the log of the first `size` entries begins with that of the first `old` (section
    /// 2.1.4.1). Empty for equal sizes and for the log without entries.
    pub fn consistency(&self, old: usize, size: usize) -> Option<Vec<Digest>> {
        if old > size || size > self.len() {
            return None;
        }
        if old == 0 || old == size {
            return Some(Vec::new());
        }
        let (mut start, mut end, mut whole, mut proof) = (0, size, true, Vec::new());
        while old != end {
            let middle = start + split(end - start);
            if old <= middle {
                proof.push(self.range(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range(start, middle)?);
                start = middle;
                whole = false;
            }
        }
        if !whole {
            proof.push(self.range(start, end)?);
        }
        proof.reverse();
        Some(proof)
    }

    /// The hash of a subtree of the definition: `start` is a multiple of a power of two that is no
    /// smaller than its size. It is folded from complete subtrees, the smallest at the right.
    fn range(&self, start: usize, end: usize) -> Option<Digest> {
        let (mut at, mut parts) = (start, Vec::new());
        while at < end {
            let level = (end - at).ilog2();
            parts.push(*self.levels.get(level as usize)?.get(at >> level)?);
            at += 1 << level;
        }
        parts.into_iter().rev().reduce(|right, left| node_hash(&left, &right))
    }
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

/// Checks that an entry is at `index` of the log of `size` entries with this root (section
/// 2.1.3.2).
pub fn verify_inclusion(
    entry: &[u8],
    index: usize,
    size: usize,
    proof: &[Digest],
    root: &Digest,
) -> bool {
    if index >= size || proof.len() > PROOF_MAX {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf_hash(entry));
    for step in proof {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(step, &hash);
            while node.is_multiple_of(2) && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Checks that the log of `size` entries with `root` begins with that of `old` entries with
/// `old_root` (section 2.1.4.2).
pub fn verify_consistency(
    old: usize,
    size: usize,
    proof: &[Digest],
    old_root: &Digest,
    root: &Digest,
) -> bool {
    if old > size || proof.len() > PROOF_MAX {
        return false;
    }
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut steps = proof.iter();
    // A complete old tree is a node of the new one: its root is not repeated in the proof.
    let first = if old.is_power_of_two() { Some(old_root) } else { steps.next() };
    let Some(first) = first else { return false };
    let (mut node, mut last) = (old - 1, size - 1);
    while node % 2 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut before, mut after) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            before = node_hash(step, &before);
            after = node_hash(step, &after);
            while node.is_multiple_of(2) && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            after = node_hash(&after, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && before == *old_root && after == *root
}
