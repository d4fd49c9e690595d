use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{empty_root as empty_root_of, root_of as root_of_kind, *};
use crate::{RecordId, Rng, codec};

/// As the records of shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Records;

impl MerkleKind for Records {
    type Key = RecordId;
    const EMPTY: &'static str = "index/merkle/empty/1";
    const LEAF: &'static str = "index/merkle/leaf/1";
    const BRANCH: &'static str = "index/merkle/branch/1";

    fn bits(key: &RecordId) -> &[u8; 32] {
        key.as_bytes()
    }
}

type MerkleTree = super::MerkleTree<Records>;
type MerkleProof = super::MerkleProof<Records>;

fn empty_root() -> Digest {
    empty_root_of::<Records>()
}

fn root_of(manifest: &[(RecordId, Digest)]) -> Digest {
    root_of_kind::<Records>(manifest)
}

type Entries = BTreeMap<RecordId, Digest>;

/// Ids that are often close to each other, so that branches stand at every depth.
fn id() -> impl Strategy<Value = RecordId> {
    prop_oneof![
        any::<[u8; 32]>(),
        (0usize..32, any::<u8>()).prop_map(|(at, byte)| {
            let mut bytes = [0u8; 32];
            bytes[at] = byte;
            bytes
        }),
        (0usize..256).prop_map(|bit| {
            let mut bytes = [0xffu8; 32];
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        }),
    ]
    .prop_map(|bytes| RecordId(Digest(bytes)))
}

fn entries(max: usize) -> impl Strategy<Value = Vec<(RecordId, Digest)>> {
    proptest::collection::vec((id(), any::<[u8; 32]>().prop_map(Digest)), 0..max)
}

/// The definition, one bit at a time and without skipping: the oracle.
fn reference(set: &Entries) -> Digest {
    fn bit(id: &RecordId, at: usize) -> u8 {
        (id.0.0[at / 8] >> (7 - at % 8)) & 1
    }
    fn go(set: Vec<(&RecordId, &Digest)>, at: usize) -> Digest {
        let tagged = |tag: &str, parts: &[&[u8]]| {
            let mut bytes = vec![tag.len() as u8];
            bytes.extend_from_slice(tag.as_bytes());
            parts.iter().for_each(|p| bytes.extend_from_slice(p));
            Digest::of(&bytes)
        };
        match set.as_slice() {
            [] => return tagged("index/merkle/empty/1", &[]),
            [(id, hash)] => return tagged("index/merkle/leaf/1", &[&id.0.0, &hash.0]),
            _ => {}
        }
        let (ones, zeros): (Vec<_>, Vec<_>) = set.into_iter().partition(|e| bit(e.0, at) == 1);
        if ones.is_empty() || zeros.is_empty() {
            return go([zeros, ones].concat(), at + 1);
        }
        let (left, right) = (go(zeros, at + 1), go(ones, at + 1));
        tagged("index/merkle/branch/1", &[&[at as u8], &left.0, &right.0])
    }
    go(set.iter().collect(), 0)
}

fn tree_of(list: &[(RecordId, Digest)]) -> MerkleTree {
    let mut tree = MerkleTree::new();
    for (id, hash) in list {
        tree.insert(*id, *hash);
    }
    tree
}

/// A random single change somewhere in the encoding.
fn flip(bytes: &[u8], at: usize, bit: u8) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let at = at % out.len();
    out[at] ^= 1 << (bit % 8);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn root_is_the_definition_in_any_order(list in entries(60), seed: u64) {
        let set: Entries = list.iter().copied().collect();
        let expected = reference(&set);
        prop_assert_eq!(root_of(&list), expected);
        prop_assert_eq!(tree_of(&list).root(), expected);
        let mut shuffled: Vec<_> = set.into_iter().collect();
        Rng::derive(seed, "shuffle").shuffle(&mut shuffled);
        prop_assert_eq!(tree_of(&shuffled).root(), expected);
        prop_assert_eq!(root_of(&shuffled), expected);
    }

    #[test]
    fn any_history_gives_the_root_of_what_is_left(
        steps in proptest::collection::vec((id(), any::<[u8; 32]>(), 0u8..4), 0..120),
    ) {
        let (mut tree, mut set) = (MerkleTree::new(), Entries::new());
        for (id, hash, action) in steps {
            match action {
                // Every second step a removal of something that is likely there.
                0 | 1 => {
                    let near = set.range(id..).next().map_or(id, |e| *e.0);
                    prop_assert_eq!(tree.remove(&near), set.remove(&near));
                }
                _ => prop_assert_eq!(
                    tree.insert(id, Digest(hash)),
                    set.insert(id, Digest(hash))
                ),
            }
            if action == 2 {
                // Asking in between must not leave stale hashes behind.
                prop_assert_eq!(tree.root(), reference(&set));
            }
            prop_assert_eq!(tree.len(), set.len());
        }
        prop_assert_eq!(tree.root(), reference(&set));
    }

    #[test]
    fn insert_then_remove_is_nothing(list in entries(40), extra in id(), hash: [u8; 32]) {
        let mut tree = tree_of(&list);
        prop_assume!(tree.get(&extra).is_none());
        let before = tree.root();
        tree.insert(extra, Digest(hash));
        prop_assert_ne!(tree.root(), before);
        prop_assert_eq!(tree.remove(&extra), Some(Digest(hash)));
        prop_assert_eq!(tree.root(), before);
    }

    #[test]
    fn proofs_prove_what_is_so_and_nothing_else(list in entries(40), asked in id(), other: [u8; 32]) {
        let tree = tree_of(&list);
        let root = tree.root();
        for id in list.iter().map(|e| e.0).chain([asked]) {
            let proof = codec::decode::<MerkleProof>(&codec::encode(&tree.prove(&id))).unwrap();
            let truth = tree.get(&id);
            prop_assert!(proof.verify(&root, &id, truth.as_ref()));
            prop_assert!(proof.depth() <= PROOF_STEPS_MAX);
            prop_assert_eq!(proof.claims_presence(), truth.is_some());
            // The opposite claim, another record, another root.
            let lie = if truth.is_some() { None } else { Some(Digest(other)) };
            prop_assert!(!proof.verify(&root, &id, lie.as_ref()));
            if truth != Some(Digest(other)) {
                prop_assert!(!proof.verify(&root, &id, Some(&Digest(other))));
            }
            prop_assert!(!proof.verify(&Digest(other), &id, truth.as_ref()));
        }
    }

    #[test]
    fn forged_proofs_are_refused(
        list in entries(40), asked in id(), at: usize, bit: u8, a: usize, b: usize,
    ) {
        let tree = tree_of(&list);
        let root = tree.root();
        for id in list.iter().map(|e| e.0).take(4).chain([asked]) {
            let (proof, truth) = (tree.prove(&id), tree.get(&id));
            let refused = |forged: &MerkleProof| !forged.verify(&root, &id, truth.as_ref());
            if let Ok(forged) = codec::decode::<MerkleProof>(&flip(&codec::encode(&proof), at, bit)) {
                prop_assert!(forged == proof || refused(&forged));
            }
            for cut in 0..proof.steps.len() {
                let mut forged = proof.clone();
                forged.steps.remove(cut);
                prop_assert!(refused(&forged), "without step {cut}");
                let mut forged = proof.clone();
                forged.steps.truncate(cut);
                prop_assert!(refused(&forged), "cut to {cut}");
                let mut forged = proof.clone();
                let step = forged.steps[cut];
                forged.steps.insert(cut, step);
                prop_assert!(refused(&forged), "step {cut} twice");
            }
            if proof.steps.len() > 1 {
                let (a, b) = (a % proof.steps.len(), b % proof.steps.len());
                let mut forged = proof.clone();
                forged.steps.swap(a, b);
                prop_assert!(forged == proof || refused(&forged), "steps swapped");
                let mut forged = proof.clone();
                (forged.steps[a].sibling, forged.steps[b].sibling) =
                    (proof.steps[b].sibling, proof.steps[a].sibling);
                prop_assert!(forged == proof || refused(&forged), "siblings swapped");
            }
            // Somebody else's proof.
            for stranger in list.iter().map(|e| e.0).filter(|s| *s != id) {
                let forged = tree.prove(&stranger);
                prop_assert!(truth.is_none() || refused(&forged), "another id's proof");
            }
        }
    }

    #[test]
    fn absence_cannot_be_shown_by_a_leaf_from_elsewhere(list in entries(40)) {
        let tree = tree_of(&list);
        let root = tree.root();
        for (id, _) in &list {
            for (stranger, _) in &list {
                let live = tree.get(stranger).unwrap();
                let mut forged = tree.prove(stranger);
                forged.end = ProofEnd::Other { id: *stranger, record: live };
                prop_assert!(!forged.verify(&root, id, None));
            }
        }
    }
}

#[test]
fn the_empty_root_is_fixed() {
    assert_eq!(root_of(&[]), empty_root());
    assert_eq!(MerkleTree::new().root(), empty_root());
    assert_eq!(empty_root(), Digest::of(b"\x14index/merkle/empty/1"));
    let id = RecordId(Digest::of(b"x"));
    let proof = MerkleTree::new().prove(&id);
    assert!(proof.verify(&empty_root(), &id, None));
    assert!(!proof.verify(&empty_root(), &id, Some(&Digest::default())));
    assert!(!proof.verify(&tree_of(&[(id, Digest::default())]).root(), &id, None));
}

#[test]
fn the_last_entry_of_an_id_counts() {
    let id = RecordId(Digest::of(b"x"));
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    assert_eq!(root_of(&[(id, old), (id, new)]), tree_of(&[(id, new)]).root());
}

#[test]
fn twelve_thousand_records_have_short_proofs_and_slots_are_used_again() {
    let list: Vec<_> = (0u32..12_000)
        .map(|n| (RecordId(Digest::of(&n.to_le_bytes())), Digest::of(b"record")))
        .collect();
    let mut tree = tree_of(&list);
    let deepest = list.iter().map(|e| tree.prove(&e.0).depth()).max().unwrap();
    assert!(deepest < 40, "{deepest} steps");
    let slots = tree.slots.len();
    assert_eq!(slots, 2 * list.len() - 1);
    for round in 0u32..3 {
        for (id, _) in &list[..2_000] {
            tree.remove(id);
        }
        for (id, _) in &list[..2_000] {
            tree.insert(*id, Digest::of(&round.to_le_bytes()));
        }
    }
    assert_eq!(tree.slots.len(), slots);
}
