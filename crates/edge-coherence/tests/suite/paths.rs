//! Supporters by a known path, and what a false contest costs.

use edge_base::{Digest, Micros, NodeId, Timestamp};
use edge_coherence::{Authority, Bonds, Path, distinct};
use proptest::prelude::*;

fn path(key: (u8, u8, u8)) -> Path {
    let [branch, relay, prefix] = [key.0, key.1, key.2].map(|b| Digest::of(&[b]));
    Path { branch, relay, prefix }
}

proptest! {
    #[test]
    fn a_supporter_by_a_known_path_changes_nothing(
        keys in prop::collection::vec((0u8..3, 0u8..3, 0u8..3), 1..20),
        again in any::<prop::sample::Index>(), other in (3u8..9, 0u8..9, 0u8..9),
    ) {
        let paths: Vec<Path> = keys.iter().map(|k| path(*k)).collect();
        let n = distinct(paths.iter().copied());
        let known = paths[again.index(paths.len())];
        prop_assert_eq!(distinct(paths.iter().copied().chain([known])), n);
        prop_assert_eq!(distinct(paths.iter().copied().chain([path(other)])), n + 1);

        let member = |i: usize| NodeId(*Digest::of(&i.to_le_bytes()).as_bytes());
        let members = paths.iter().enumerate().map(|(i, p)| (member(i), *p));
        let authority = Authority::new(1, members.clone()).unwrap();
        let more = Authority::new(1, members.chain([(member(99), known)])).unwrap();
        prop_assert_eq!(authority.quorum(), more.quorum());
        let supporters = [member(again.index(paths.len()))].into();
        let both = [member(again.index(paths.len())), member(99)].into();
        prop_assert_eq!(more.count(&supporters), more.count(&both));
    }

    #[test]
    fn two_quorums_share_a_path_without_a_fault(n in 1usize..60) {
        let members = (0..n).map(|i| NodeId(*Digest::of(&i.to_le_bytes()).as_bytes()));
        let authority = Authority::each_its_own(1, members).unwrap();
        prop_assert!(2 * authority.quorum() > n + authority.faulty_max());
        prop_assert!(n - authority.faulty_max() >= authority.quorum());
    }
}

#[test]
fn a_false_contest_costs_a_bond_that_comes_back_with_time() {
    let mut bonds = Bonds::new(2, Micros(100), 2);
    let at = Timestamp;
    assert_eq!(bonds.left(&"a", at(0)), 2);
    bonds.forfeit(&"a", at(0));
    bonds.forfeit(&"a", at(0));
    bonds.forfeit(&"a", at(0));
    assert_eq!(bonds.left(&"a", at(99)), 0);
    assert_eq!(bonds.left(&"a", at(100)), 1);
    assert_eq!(bonds.left(&"a", at(200)), 2);
    bonds.forfeit(&"b", at(0));
    assert_eq!(bonds.left(&"c", at(0)), 0, "beyond the bound nobody new is heard");
    bonds.forfeit(&"c", at(300));
    assert_eq!(bonds.len(), 1, "who has all bonds back is forgotten first");
    assert_eq!(bonds.left(&"c", at(300)), 1);
}
