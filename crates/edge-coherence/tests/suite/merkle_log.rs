//! Golden vectors of `oracles/merkle_log.py`, and the definition of RFC 9162 written down again.

use edge_base::Digest;
use edge_coherence::{
    MerkleLog, empty_root, evidence_root, leaf_hash, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

fn entry(i: usize) -> Vec<u8> {
    i.to_string().repeat(i % 5).into_bytes()
}

fn log_of(n: usize) -> MerkleLog {
    let mut log = MerkleLog::default();
    for i in 0..n {
        assert_eq!(log.append(&entry(i)), Some(i));
    }
    log
}

#[test]
fn golden_vectors() {
    let log = log_of(70);
    let proof = |text: &str| -> Vec<Digest> {
        let steps = text.split(',').filter(|step| *step != "-");
        steps.map(|step| Digest::from_hex(step).unwrap()).collect()
    };
    let mut seen = 0;
    for line in include_str!("../golden/merkle_log.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<usize>().unwrap();
        match words[0] {
            "root" => assert_eq!(log.root_at(number(1)), Digest::from_hex(words[2]), "{line}"),
            "inclusion" => {
                assert_eq!(log.inclusion(number(1), number(2)), Some(proof(words[3])), "{line}");
            }
            "consistency" => {
                assert_eq!(log.consistency(number(1), number(2)), Some(proof(words[3])), "{line}");
            }
            other => panic!("unknown line {other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 132);
}

/// The definition of section 2.1.1, recursive.
fn brute(entries: &[Vec<u8>]) -> Digest {
    match entries {
        [] => empty_root(),
        [entry] => leaf_hash(entry),
        entries => {
            let mut k = 1;
            while k * 2 < entries.len() {
                k *= 2;
            }
            let (left, right) = entries.split_at(k);
            let bytes = [&[1][..], brute(left).as_bytes(), brute(right).as_bytes()].concat();
            Digest::of(&bytes)
        }
    }
}

#[test]
fn all_sizes_to_300_have_the_root_of_the_definition_and_proofs_that_hold() {
    let entries: Vec<Vec<u8>> = (0..300).map(entry).collect();
    let log = log_of(300);
    let roots: Vec<Digest> = (0..=300).map(|n| log.root_at(n).unwrap()).collect();
    for n in 0..=300 {
        assert_eq!(roots[n], brute(&entries[..n]), "{n}");
        assert_eq!(roots[n], log_of(n).root(), "{n}");
        for i in 0..n {
            let proof = log.inclusion(i, n).unwrap();
            assert!(verify_inclusion(&entries[i], i, n, &proof, &roots[n]), "{i} of {n}");
            let wrong = (i + 1) % n;
            assert!(
                entries[wrong] == entries[i]
                    || !verify_inclusion(&entries[wrong], i, n, &proof, &roots[n]),
                "{wrong} for {i} of {n}"
            );
        }
        for old in 0..=n {
            let proof = log.consistency(old, n).unwrap();
            assert!(verify_consistency(old, n, &proof, &roots[old], &roots[n]), "{old} to {n}");
            let other = roots[old.saturating_sub(1)];
            assert!(
                old == 0 || !verify_consistency(old, n, &proof, &other, &roots[n]),
                "{old} to {n} with another root"
            );
        }
    }
}

proptest! {
    #[test]
    fn a_changed_proof_or_place_does_not_hold(
        n in 2usize..200, at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>(),
        step in any::<prop::sample::Index>(), byte in 0usize..32, bit in 0u8..8,
    ) {
        let log = log_of(n);
        let (i, old) = (at.index(n), 1 + old.index(n - 1));
        let root = log.root();
        let proof = log.inclusion(i, n).unwrap();
        let mut changed = proof.clone();
        changed[step.index(proof.len())].0[byte] ^= 1 << bit;
        prop_assert!(!verify_inclusion(&entry(i), i, n, &changed, &root));
        prop_assert!(!verify_inclusion(&entry(i), i, n, &proof[1..], &root));
        prop_assert!(!verify_inclusion(&entry(i), n, n, &proof, &root));
        let proof = log.consistency(old, n).unwrap();
        let mut changed = proof.clone();
        let step = step.index(proof.len());
        changed[step].0[byte] ^= 1 << bit;
        let old_root = log.root_at(old).unwrap();
        prop_assert!(!verify_consistency(old, n, &changed, &old_root, &root));
        let longer: Vec<Digest> = proof.iter().copied().chain([root]).collect();
        prop_assert!(!verify_consistency(old, n, &longer, &old_root, &root));
    }

    #[test]
    fn a_log_that_was_rewritten_has_no_proof(n in 3usize..120, at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>()) {
        let old = 1 + old.index(n - 1);
        let at = at.index(old);
        let honest = log_of(n);
        let mut forged = MerkleLog::default();
        for i in 0..n {
            forged.append(&if i == at { b"other".to_vec() } else { entry(i) });
        }
        let proof = forged.consistency(old, n).unwrap();
        let old_root = honest.root_at(old).unwrap();
        prop_assert!(!verify_consistency(old, n, &proof, &old_root, &forged.root()));
    }

    #[test]
    fn sets_of_evidence_have_one_root(mut items in prop::collection::vec(any::<[u8; 32]>(), 0..20)) {
        let root = evidence_root(items.iter().map(|b| Digest(*b)));
        items.reverse();
        items.extend(items.first().copied());
        prop_assert_eq!(evidence_root(items.iter().map(|b| Digest(*b))), root);
    }
}
