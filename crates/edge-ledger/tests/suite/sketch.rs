//! Sketches against brute force, against the figures of the paper, and against who makes them up.

use std::collections::BTreeSet;

use edge_base::{Rng, codec};
use edge_ledger::{
    Compared, Difference, Head, Heads as _, Ledger, SKETCH_CELLS_MAX, SKETCH_COUNTERS, Sketch,
    Undecoded,
};
use proptest::prelude::*;

use crate::world::*;

fn head(rng: &mut Rng) -> Head {
    Head { account: rng.bytes(), seq: 1 + rng.below(1_000) }
}

/// The difference of two sets by sketches with so many cells.
fn between(
    theirs: &BTreeSet<Head>,
    mine: &BTreeSet<Head>,
    key: [u8; 16],
    cells: usize,
) -> Result<Difference, Undecoded> {
    let mut sketch = Sketch::empty(key, cells, true);
    let mut other = sketch.like();
    theirs.iter().for_each(|head| sketch.add(*head));
    mine.iter().for_each(|head| other.add(*head));
    sketch.subtract(&other);
    sketch.decode()
}

/// The fewest cells with which these heads decode.
fn cells_needed(sketch: &Sketch) -> usize {
    let (mut low, mut high) = (1, sketch.cells() + 1);
    while low < high {
        let middle = usize::midpoint(low, high);
        // A sketch begins like a shorter one of the same set.
        let mut shorter = Sketch::empty(sketch.key(), middle, false);
        shorter.subtract(sketch);
        if shorter.decode().is_ok() {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Cells for each difference: the paper's figures 4 and 5 have 1.72 at most, for the smallest sets,
/// and 1.35 for the largest.
#[test]
fn the_overhead_is_that_of_the_paper() {
    let mut rng = Rng::derive(1, "overhead");
    let mut overhead = |heads: usize, times: usize| {
        let mut needed = 0;
        for _ in 0..times {
            let mut sketch = Sketch::empty(rng.bytes(), SKETCH_CELLS_MAX, false);
            (0..heads).for_each(|_| sketch.add(head(&mut rng)));
            needed += cells_needed(&sketch);
        }
        needed as f64 / (times * heads) as f64
    };
    assert_eq!(overhead(1, 20), 1.0);
    let table = [(4, 4_000, 1.72), (10, 2_000, 1.72), (100, 200, 1.46), (1_200, 8, 1.37)];
    for (heads, times, expected) in table {
        let found = overhead(heads, times);
        assert!((found - expected).abs() < 0.06, "{heads}: {found}");
    }
}

/// What asks for cells goes by this: a differing size is estimated within its standard error of 9 %.
#[test]
fn the_estimate_has_the_error_that_it_should() {
    let mut rng = Rng::derive(2, "estimate");
    for heads in [40_u64, 1_000, 20_000] {
        let times = 100;
        let (mut squares, mut sum) = (0.0, 0.0);
        for _ in 0..times {
            let (mut theirs, mut mine) = (Sketch::empty(rng.bytes(), 1, true), None);
            for number in 0..heads {
                let sketch =
                    if number % 3 == 0 { mine.get_or_insert(theirs.like()) } else { &mut theirs };
                sketch.add(head(&mut rng));
            }
            theirs.subtract(&mine.unwrap());
            let error = theirs.estimate().unwrap() as f64 / heads as f64 - 1.0;
            sum += error;
            squares += error * error;
        }
        let (mean, deviation) = (sum / f64::from(times), (squares / f64::from(times)).sqrt());
        assert!(mean.abs() < 0.03, "{heads}: {mean}");
        assert!((0.06..0.12).contains(&deviation), "{heads}: {deviation}");
    }
    assert_eq!(Sketch::empty([0; 16], 9, false).estimate(), None);
}

/// Sets of heads that are like each other: few accounts, close seqs, keys that share bytes.
fn sets() -> impl Strategy<Value = (BTreeSet<Head>, BTreeSet<Head>)> {
    let head = (0..40_u8, 0..2_u8, 1..4_u64).prop_map(|(first, last, seq)| {
        let mut account = [0; 16];
        (account[0], account[15]) = (first, last);
        Head { account, seq }
    });
    let list = prop::collection::btree_set(head, 0..60);
    (list.clone(), list.clone(), list).prop_map(|(both, a, b)| {
        let with = |more: BTreeSet<Head>| both.iter().copied().chain(more).collect();
        (with(a), with(b))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300 * u32::try_from(scale()).unwrap_or(1)))]

    /// The oracle is the set difference.
    #[test]
    fn decoding_is_the_set_difference((theirs, mine) in sets(), key: [u8; 16], cells in 1..300_usize) {
        let only = |a: &BTreeSet<Head>, b: &BTreeSet<Head>| a.difference(b).copied().collect::<Vec<_>>();
        let expected = Difference {
            only_theirs: only(&theirs, &mine),
            only_mine: only(&mine, &theirs),
        };
        match between(&theirs, &mine, key, cells) {
            Ok(found) => prop_assert_eq!(&found, &expected),
            Err(why) => prop_assert_eq!(why, Undecoded::TooFew),
        }
        // With four times as many as differ and some more, all but a few in a thousand decode; a
        // fresh key is another try.
        let cells = 4 * (expected.only_theirs.len() + expected.only_mine.len()) + 100;
        let another = |byte: u8| [byte; 16];
        let found = (0..3).find_map(|byte| between(&theirs, &mine, another(byte), cells).ok());
        prop_assert_eq!(found, Some(expected));
    }

    /// Bytes that are no sketch of anything: an answer, and never more heads than cells.
    #[test]
    fn what_is_made_up_ends(
        seed: u64, cells in 1..200_usize, full in 0..200_usize, damage in 0..40_usize,
    ) {
        let mut rng = Rng::derive(seed, "made up");
        let mut sketch = Sketch::empty(rng.bytes(), cells, true);
        (0..full).for_each(|_| sketch.add(head(&mut rng)));
        let mut bytes = codec::encode(&sketch);
        for _ in 0..damage {
            let place = 16 + rng.below(bytes.len() as u64 - 16) as usize;
            bytes[place] = rng.next_u64() as u8;
        }
        let Ok(damaged) = codec::decode::<Sketch>(&bytes) else { return Ok(()) };
        if let Ok(difference) = damaged.clone().decode() {
            prop_assert!(difference.only_theirs.len() + difference.only_mine.len() <= cells);
        }
        damaged.estimate();
        let world = World::alone();
        let compared = world.ledger.compare(&damaged);
        if let Compared::More { cells } = compared {
            prop_assert!(cells <= SKETCH_CELLS_MAX);
        }
    }
}

#[test]
fn bounds_hold_when_a_sketch_is_decoded() {
    let whole = codec::encode(&Sketch::empty([1; 16], SKETCH_CELLS_MAX, true));
    assert!(codec::decode::<Sketch>(&whole).is_ok());
    let mut longer = vec![1; 16];
    longer.extend([0x81, 0x10]); // 2,049 cells
    longer.resize(80_000, 0);
    assert!(codec::decode::<Sketch>(&longer).is_err());
    // One cell, and a counter too few.
    let mut few = vec![1; 16];
    few.push(1);
    few.resize(few.len() + 26, 0);
    few.extend([0xff, 0x01]);
    few.resize(few.len() + SKETCH_COUNTERS - 1, 0);
    let few: Sketch = codec::decode(&few).unwrap();
    assert!(!few.is_well_formed());
    assert_eq!(World::alone().ledger.compare(&few), Compared::Wrong);
}

/// Heads that fall into no cell but the first, and so never come out: whoever knows the key finds
/// them. With the key of the next sketch they are like all others.
#[test]
fn who_does_not_know_the_key_hides_nothing() {
    let (known, cells) = ([3; 16], 200);
    let mut rng = Rng::derive(4, "hidden");
    let mut hidden = BTreeSet::new();
    while hidden.len() < 12 {
        let head = head(&mut rng);
        let mut alone = Sketch::empty(known, cells, false);
        alone.add(head);
        // Key, number of cells, first cell; nothing but zeros follows.
        if codec::encode(&alone).iter().skip(16 + 2 + 27).all(|byte| *byte == 0) {
            hidden.insert(head);
        }
    }
    let nothing = BTreeSet::new();
    assert_eq!(between(&hidden, &nothing, known, cells), Err(Undecoded::TooFew));
    for _ in 0..20 {
        let found = between(&hidden, &nothing, rng.bytes(), cells).unwrap();
        assert_eq!(found.only_theirs, hidden.iter().copied().collect::<Vec<_>>());
    }
}

/// A ledger with 200 accounts, and what it was before some owners did something more.
fn pair(owners: u64) -> (World, Ledger) {
    let mut world = World::alone();
    for to in 1..200 {
        world.act(0, send(to, 1_000_000)).unwrap();
    }
    for owner in 1..200 {
        world.act(owner, send(0, 1_000)).unwrap();
    }
    let before = world.ledger.clone();
    for owner in 1..=owners {
        for _ in 0..owner.min(7) {
            world.act(owner, send(0, 1_000)).unwrap();
        }
    }
    (world, before)
}

/// Two ledgers that each lack something know what after one sketch, and have it after one answer.
#[test]
fn ledgers_compare_by_sketches_as_by_frontiers() {
    let (world, old) = pair(7);
    let (mut one, mut two) = (old.clone(), old);
    let mut verifier = world.verifier.clone();
    for owner in 1..8 {
        let to = if owner % 2 == 0 { &mut one } else { &mut two };
        let new = world.ledger.certificates_after(&id(owner), 1, 99).cloned().collect::<Vec<_>>();
        assert!(to.merge(new, &mut verifier).refused.is_empty());
    }
    assert!(one.is_worth_a_sketch() && one.sketch([7; 16], None).heads() == 200);
    let sketch = one.sketch([7; 16], Some(60));
    let Compared::Known { theirs_behind, mine_behind } = two.compare(&sketch) else {
        panic!("seven accounts, fourteen heads")
    };
    let expected = |mine: &Ledger, theirs: &Ledger| {
        let ahead = mine.frontier().into_iter().filter_map(|(account, seq)| {
            let known = theirs.account(&account).seq;
            (known < seq).then_some((account, known))
        });
        ahead.collect::<Vec<_>>()
    };
    assert_eq!(theirs_behind, expected(&two, &one));
    let heads: Vec<Head> = expected(&one, &two).iter().map(|(a, s)| Head::of(a, *s)).collect();
    assert_eq!(mine_behind, heads);
    for (account, seq) in theirs_behind {
        let new: Vec<_> = two.certificates_after(&account, seq, 99).cloned().collect();
        one.merge(new, &mut verifier);
    }
    for head in mine_behind {
        let (account, _) = one.like(&head)[0];
        let new: Vec<_> = one.certificates_after(&account, head.seq, 99).cloned().collect();
        two.merge(new, &mut verifier);
    }
    assert_eq!(one.frontier_digest(), two.frontier_digest());
    assert_eq!(one.frontier_digest(), world.ledger.frontier_digest());
    let nothing = Compared::Known { theirs_behind: vec![], mine_behind: vec![] };
    assert_eq!(two.compare(&one.sketch([8; 16], None)), nothing);
}

#[test]
fn who_differs_too_much_is_asked_for_more_or_for_a_list() {
    let (world, old) = pair(20);
    let first = old.sketch([1; 16], None);
    let Compared::More { cells } = world.ledger.compare(&first) else {
        panic!("{}", first.heads())
    };
    assert!((85..=150).contains(&cells), "{cells} for forty heads");
    let more = old.sketch([2; 16], Some(cells));
    let Compared::Known { theirs_behind, mine_behind } = world.ledger.compare(&more) else {
        panic!("{cells} cells")
    };
    assert_eq!((theirs_behind.len(), mine_behind.len()), (20, 0));
    // Of what it has the other knows nothing: a list is shorter.
    let new = Ledger::new(world.ledger.genesis().clone()).unwrap();
    assert_eq!(new.compare(&first), Compared::TooDifferent);
    assert!(!new.is_worth_a_sketch());
    // More than any sketch can tell.
    let mut many = old.sketch([1; 16], None);
    let mut rng = Rng::derive(5, "more");
    (0..10_000).for_each(|_| many.add(head(&mut rng)));
    assert_eq!(old.compare(&many), Compared::TooDifferent);
}

/// No ledger has these sketches, and nobody is asked for what they show.
#[test]
fn a_sketch_of_no_ledger_is_told() {
    let (world, old) = pair(1);
    let ledger = &world.ledger;
    let mut rng = Rng::derive(6, "lies");
    // A head more than there is, which could be one that is not known here yet.
    let mut sketch = ledger.sketch([1; 16], None);
    let unknown = head(&mut rng);
    sketch.add(unknown);
    let asked =
        Compared::Known { theirs_behind: vec![], mine_behind: vec![Head { seq: 0, ..unknown }] };
    assert_eq!(ledger.compare(&sketch), asked);
    // A head that this ledger should have, and has not.
    let mut lacking = sketch.like();
    lacking.add(head(&mut rng));
    let mut sketch = ledger.sketch([1; 16], None);
    sketch.subtract(&lacking);
    assert_eq!(ledger.compare(&sketch), Compared::Wrong);
    // An account with two heads.
    let mut sketch = old.sketch([1; 16], None);
    sketch.add(unknown);
    sketch.add(Head { seq: unknown.seq + 1, ..unknown });
    assert_eq!(old.compare(&sketch), Compared::Wrong);
    // The same head twice; one without a block; one in a cell that is not its own.
    let mut twice = old.sketch([1; 16], None);
    (0..3).for_each(|_| twice.add(unknown));
    assert!(!matches!(old.compare(&twice), Compared::Known { .. }));
    let mut none = old.sketch([1; 16], None);
    none.add(Head { seq: 0, ..unknown });
    assert_eq!(old.compare(&none), Compared::Wrong);
}
