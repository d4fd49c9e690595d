//! Pay for being there: by the median of what witnesses counted, out of what is set aside, to who has
//! something at stake.

use edge_base::{Credits, Digest, NodeId, Signed};
use edge_ledger::{COUNTED_MAX, Resolutions, Seen, counted, pay};
use proptest::prelude::*;

use crate::{
    minting::{AUDITORS, VESTING, asked, audited, empty, number, pool, step},
    world::*,
};

/// What a witness says that it counted.
pub(crate) fn seen(world: &World, witness: usize, answered: Vec<(NodeId, u16)>) -> Signed<Seen> {
    let (version, beacon) = (world.set().version, world.ledger.last_checkpoint());
    Signed::seal(Seen { version, beacon, answered }, &world.witnesses[witness], &world.pool())
}

/// Each witness counted this of the first who is challenged.
fn of_first(world: &World, counts: &[u16]) -> (NodeId, Resolutions) {
    let first = world.ledger.base().unwrap().called()[0];
    let of = |(witness, count): (usize, &u16)| {
        let answered = if *count > 0 { vec![(first, *count)] } else { vec![] };
        seen(world, witness, answered)
    };
    let mut seen: Vec<Signed<Seen>> = counts.iter().enumerate().map(of).collect();
    seen.sort_unstable_by_key(|seen| seen.signer);
    (first, Resolutions { seen, ..Resolutions::default() })
}

/// Four witnesses, ten that could be challenged, and something set aside.
fn funded() -> World {
    let (mut world, escrow) = pool();
    for issued in 1..4 {
        let task = asked(&world, escrow, issued);
        audited(&mut world, &task, [b"right", b"right"]);
    }
    assert!(world.ledger.fund() >= micro(6), "{}", world.ledger.fund());
    empty(&mut world, VESTING);
    world
}

fn vesting(world: &World, node: &NodeId) -> Credits {
    world.ledger.account(node).vesting
}

#[test]
fn who_was_there_is_paid_out_of_what_is_set_aside_when_it_vests() {
    let mut world = funded();
    let (fund, granted) = (world.ledger.fund(), world.ledger.totals().granted);
    let (first, resolutions) = of_first(&world, &[3, 2, 1, 0]);
    let before = world.ledger.account(&first).incoming;
    assert_eq!(step(&mut world, resolutions.clone()).seen.len(), 4);
    // One challenge would be 16,666 micro-rUv: there is not as much, so it is all that there is.
    assert_eq!((vesting(&world, &first), world.ledger.fund()), (fund, Credits::ZERO));
    assert_eq!(world.ledger.totals().granted, granted, "nothing before it vests");
    // Said once more, it is of another epoch.
    assert!(step(&mut world, resolutions).seen.is_empty());
    // And where nothing is set aside, nothing is promised.
    let (next, resolutions) = of_first(&world, &[9, 9, 9, 9]);
    step(&mut world, resolutions);
    assert_eq!(vesting(&world, &next), if next == first { fund } else { Credits::ZERO });
    empty(&mut world, VESTING - 2);
    let after = world.ledger.account(&first).incoming;
    assert_eq!(after, before.plus(fund).unwrap());
    assert_eq!(world.ledger.totals().granted, granted.plus(fund).unwrap());
}

/// One of four witnesses says what it likes. Who was never there gets nothing, who was gets its pay. The
/// controls: were one witness's word enough, the first would be paid; were all of them needed, the
/// second would not.
#[test]
fn one_faulty_witness_of_four_pays_nobody_and_takes_nothing_from_anybody() {
    for (counts, expected) in [
        ([0, 0, 0, COUNTED_MAX], 0),
        ([0, 0, COUNTED_MAX, 0], 0),
        ([5, 5, 5, 0], 5),
        ([0, 5, 6, 7], 5),
        ([COUNTED_MAX, 5, 6, 7], 6),
    ] {
        let world = funded();
        let (first, resolutions) = of_first(&world, &counts);
        let found = counted(&resolutions.seen);
        let found = found.iter().find(|(node, _)| *node == first).map_or(0, |(_, count)| *count);
        assert_eq!(found, expected, "{counts:?}");
        let mut paid = world.clone();
        step(&mut paid, resolutions.clone());
        assert_eq!(vesting(&paid, &first) > Credits::ZERO, expected > 0, "{counts:?}");
        let (any, all) = (*counts.iter().max().unwrap(), *counts.iter().min().unwrap());
        assert!(any != expected || all != expected, "the controls would decide otherwise");
    }
}

#[test]
fn what_fewer_than_a_quorum_saw_or_of_whom_is_not_taken() {
    let world = funded();
    let (first, right) = of_first(&world, &[2, 2, 2, 2]);
    let resolved = |resolutions: Resolutions| step(&mut world.clone(), resolutions).seen.len();
    assert_eq!(resolved(right.clone()), 4);
    let outsider = AUDITORS.end;
    let key = |i: u64| crate::world::key(i);
    let body = right.seen[0].body.clone();
    let resealed = |change: &dyn Fn(&mut Seen)| {
        let all = (0..4).map(|witness| {
            let mut body = body.clone();
            change(&mut body);
            Signed::seal(body, &world.witnesses[witness], &world.pool())
        });
        let mut all: Vec<Signed<Seen>> = all.collect();
        all.sort_unstable_by_key(|seen| seen.signer);
        all
    };
    let mut forged = right.seen.clone();
    forged.iter_mut().for_each(|seen| seen.body.answered[0].1 = 9);
    let attempts: [(Vec<Signed<Seen>>, &str); 9] = [
        (right.seen[..2].to_vec(), "two of four"),
        (vec![right.seen[0].clone(); 4], "one of them, four times"),
        (
            (20..24).map(|i| Signed::seal(body.clone(), &key(i), &world.pool())).collect(),
            "strangers",
        ),
        (resealed(&|seen| seen.beacon = Digest::of(b"other")), "of another checkpoint"),
        (resealed(&|seen| seen.version += 1), "of another set"),
        (resealed(&|seen| seen.answered = vec![(id(outsider), 1)]), "nothing at stake"),
        (resealed(&|seen| seen.answered = vec![(first, 0)]), "no challenge"),
        (resealed(&|seen| seen.answered = vec![(first, COUNTED_MAX + 1)]), "too many"),
        (forged, "not what was signed"),
    ];
    for (seen, why) in attempts {
        let resolutions = Resolutions { seen, ..Resolutions::default() };
        assert_eq!(resolved(resolutions.clone()), 0, "{why}");
        // A faulty proposer finds no honest witness either.
        let mut world = world.clone();
        let mut plan =
            world.ledger.plan(None, Resolutions::default(), &mut world.verifier).unwrap();
        plan.checkpoint.resolutions = resolutions.digest();
        plan.resolutions = resolutions;
        assert!(world.ledger.check_plan(&plan, &mut world.verifier).is_err(), "{why}");
    }
    // More than it is worth, or another fund: computed by everybody.
    let mut lies = world.clone();
    let mut plan = lies.ledger.plan(None, right, &mut lies.verifier).unwrap();
    lies.ledger.check_plan(&plan, &mut lies.verifier).unwrap();
    plan.checkpoint.fund = plan.checkpoint.fund.plus(micro(1)).unwrap();
    assert!(lies.ledger.check_plan(&plan, &mut lies.verifier).is_err());
}

/// What was promised for being there is forfeited like any reward, and goes back to nobody: not into the
/// fund either, so that nobody gains by having somebody named.
#[test]
fn an_offence_forfeits_it_and_the_fund_gets_nothing_back() {
    let mut world = funded();
    let (first, resolutions) = of_first(&world, &[1, 1, 1, 1]);
    step(&mut world, resolutions);
    assert!(vesting(&world, &first) > Credits::ZERO);
    let offence = fault(number(&first));
    world.ledger.slash(offence);
    step(&mut world, Resolutions { offences: vec![offence], ..Resolutions::default() });
    assert_eq!((vesting(&world, &first), world.ledger.fund()), (Credits::ZERO, Credits::ZERO));
    // Who was caught is challenged no more, whatever it stakes.
    world.act(number(&first), stake(900_000)).unwrap();
    step(&mut world, Resolutions::default());
    assert!(!world.ledger.base().unwrap().called().contains(&first));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128 * scale() as u32))]

    /// Whatever f of 3f + 1 witnesses say, and whichever quorum a proposer takes: what counts lies between
    /// what two honest ones of them counted.
    #[test]
    fn f_faulty_witnesses_move_no_count_beyond_what_honest_ones_say(
        f in 1usize..5,
        honest in proptest::collection::vec(0u16..20, 31),
        lies in proptest::collection::vec(0u16..200, 10),
        left_out in 0usize..5,
        place in any::<u64>(),
    ) {
        let world = World::alone();
        let node = id(7);
        let m = 3 * f + 1 - left_out.min(f);
        let mut rng = edge_base::Rng::derive(place, "median");
        let mut counts: Vec<(u16, bool)> = (0..m).map(|i| if i < f { (lies[i], false) } else { (honest[i], true) }).collect();
        rng.shuffle(&mut counts);
        let statement = |(i, (count, _)): (usize, &(u16, bool))| {
            let answered = if *count > 0 { vec![(node, *count)] } else { vec![] };
            let body = Seen { version: 2, beacon: Digest::default(), answered };
            Signed::seal(body, &key(500 + i as u64), &world.pool())
        };
        let seen: Vec<Signed<Seen>> = counts.iter().enumerate().map(statement).collect();
        let found = counted(&seen).first().map_or(0, |(_, count)| *count);
        let honest: Vec<u16> = counts.iter().filter(|(_, honest)| *honest).map(|(count, _)| *count).collect();
        let (least, most) = (*honest.iter().min().unwrap(), *honest.iter().max().unwrap());
        prop_assert!((least..=most).contains(&found), "{found} of {counts:?}");
    }

    /// What is paid together never passes the fund, and misses what is due, or the fund, by less than a
    /// micro-rUv each.
    #[test]
    fn pay_never_passes_the_fund(
        counts in proptest::collection::vec(1u16..=COUNTED_MAX, 1..128),
        rate in 0u64..100_000_000,
        fund in prop_oneof![0u64..1_000, any::<u64>()],
    ) {
        let amounts = pay(&counts, micro(rate), micro(fund));
        let paid: u128 = amounts.iter().map(|amount| u128::from(amount.micro())).sum();
        let due: u128 = counts.iter().map(|count| u128::from(*count) * u128::from(rate) / 6).sum();
        let most = due.min(u128::from(fund));
        prop_assert!(paid <= u128::from(fund) && paid <= due);
        prop_assert!(most - paid <= counts.len() as u128, "{paid} of {most}");
    }
}
