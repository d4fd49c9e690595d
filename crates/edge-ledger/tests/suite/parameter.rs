//! Parameters: moved by a quorum of witnesses inside their ranges, a step an epoch, and no vote twice.

use edge_base::{Digest, Signed, codec};
use edge_ledger::{
    Amendment, Applied, FEES_MAX, FeeRate, LedgerError, Parameter, ParameterVote, Parameters,
    Resolutions,
};

use crate::{checkpoint::seal, world::*};

/// The votes of the first `count` witnesses.
pub(crate) fn votes(world: &World, parameter: Parameter, value: u64, count: usize) -> Amendment {
    let (version, since) = (world.set().version, world.ledger.parameters().since(parameter));
    let body = ParameterVote { version, parameter, value, since };
    let mut votes: Vec<_> = world
        .witnesses
        .iter()
        .take(count)
        .map(|witness| Signed::seal(body, witness, &world.pool()))
        .map(|vote| (vote.signer, vote.signature))
        .collect();
    votes.sort_unstable_by_key(|(voter, _)| *voter);
    Amendment { parameter, value, votes }
}

/// The next checkpoint, with these amendments as far as they hold; how many did.
pub(crate) fn amend(world: &mut World, amendments: Vec<Amendment>) -> usize {
    let resolutions = Resolutions { amendments, ..Resolutions::default() };
    let plan = world.ledger.plan(None, resolutions, &mut world.verifier).unwrap();
    world.ledger.check_plan(&plan, &mut world.verifier).unwrap();
    let taken = plan.resolutions.amendments.len();
    let decided = seal(world, &plan);
    let applied = world.ledger.apply_checkpoint(decided, &mut world.verifier);
    assert_eq!(applied, Ok(Applied::New));
    taken
}

const FEE: Parameter = Parameter::FeeRate;

#[test]
fn the_table_is_coherent() {
    for parameter in Parameter::ALL {
        let rule = parameter.rule();
        assert!(rule.min <= rule.default && rule.default <= rule.max, "{rule:?}");
        assert!(rule.step > 0 && rule.step <= rule.max - rule.min, "{rule:?}");
        assert_eq!(Parameter::named(rule.name), Some(parameter));
        assert_eq!(Parameters::default().get(parameter), rule.default);
    }
    assert_eq!(FEE.rule().default, FeeRate::DEFAULT.ppm());
    assert_eq!(Parameter::named("fee"), None);
}

#[test]
fn a_quorum_moves_a_parameter_by_a_step_and_fewer_do_not() {
    let mut world = World::with_witnesses(4);
    let three = votes(&world, FEE, 4_000, 3);
    let check = |world: &World, amendment: &Amendment| {
        world.ledger.check_amendment(amendment, &mut world.verifier.clone())
    };
    assert_eq!(check(&world, &three), Ok(()));
    for (refused, why) in [
        (votes(&world, FEE, 4_000, 2), "fewer than a quorum"),
        (votes(&world, FEE, 4_001, 4), "more than a step up"),
        (votes(&world, FEE, 1_999, 4), "more than a step down"),
        (votes(&world, FEE, 3_000, 4), "what it is"),
        (votes(&world, Parameter::UnstakeDelay, 3_599, 4), "below the range"),
        (Amendment { value: 3_500, ..three.clone() }, "not what was signed"),
        (
            Amendment { votes: [&three.votes[..2], &three.votes[1..2]].concat(), ..three.clone() },
            "one voter twice",
        ),
    ] {
        assert!(check(&world, &refused).is_err(), "{why}");
        let before = world.ledger.parameters().clone();
        assert_eq!(amend(&mut world.clone(), vec![refused.clone()]), 0, "{why}");
        assert_eq!(*world.ledger.parameters(), before);
        // A proposer that puts it into a plan all the same finds no honest witness.
        let mut plan =
            world.ledger.plan(None, Resolutions::default(), &mut world.verifier).unwrap();
        plan.resolutions.amendments = vec![refused];
        plan.checkpoint.resolutions = plan.resolutions.digest();
        assert!(world.ledger.check_plan(&plan, &mut world.verifier).is_err(), "{why}");
    }
    // A stranger among the voters.
    let body =
        ParameterVote { version: world.set().version, parameter: FEE, value: 4_000, since: 0 };
    let stranger = Signed::seal(body, &key(77), &world.pool());
    let mut with_stranger = votes(&world, FEE, 4_000, 2);
    with_stranger.votes.push((stranger.signer, stranger.signature));
    with_stranger.votes.sort_unstable_by_key(|(voter, _)| *voter);
    assert!(check(&world, &with_stranger).is_err());

    let again = three.clone();
    assert_eq!(amend(&mut world, vec![three]), 1);
    let now = world.ledger.parameters();
    assert_eq!((now.get(FEE), now.since(FEE)), (4_000, world.ledger.epoch()));
    // The way back, and then the old votes once more: they are of an epoch that is over.
    let back = votes(&world, FEE, 3_000, 4);
    assert_eq!(amend(&mut world, vec![back]), 1);
    assert_eq!(amend(&mut world, vec![again]), 0);
    assert_eq!(world.ledger.parameters().get(FEE), 3_000);
}

#[test]
fn an_escrow_keeps_the_fee_of_its_epoch_wherever_it_is_settled() {
    let mut world = World::with_witnesses(4);
    world.act(0, send(1, 50_000)).unwrap();
    world.act(1, edge_ledger::BlockKind::Open).unwrap();
    let old = world.escrow(1, 20_000);
    let raise = votes(&world, FEE, 4_000, 3);
    amend(&mut world, vec![raise]);
    let new = world.escrow(1, 20_000);
    let rate = |world: &World, escrow| world.ledger.escrow(escrow).unwrap().fee.ppm();
    assert_eq!((rate(&world, &old), rate(&world, &new)), (3_000, 4_000));
    // The old rate is refused for the new escrow, and the new one for the old.
    let wrong = settle(new, vec![pay(2, 10_000)]);
    assert!(matches!(world.act(1, wrong), Err(LedgerError::Fee { .. })));
    let at = |rate, escrow| {
        edge_ledger::BlockKind::settle(escrow, vec![pay(2, 10_000)], FeeRate::from_ppm(rate))
            .unwrap()
    };
    assert!(matches!(world.act(1, at(4_000, old)), Err(LedgerError::Fee { .. })));
    world.act(1, at(4_000, new)).unwrap();
    // Known by a snapshot alone, the old one still has its rate.
    let empty = amend(&mut world, vec![]);
    assert_eq!(empty, 0);
    world.ledger.prune();
    let again = world.ledger.verified_again(&mut world.verifier).unwrap();
    assert_eq!(again.escrow(&old).unwrap().fee.ppm(), 3_000);
    assert_eq!(again.parameters(), world.ledger.parameters());
    world.act(1, at(3_000, old)).unwrap();
    assert_eq!(world.ledger.totals().burned, micro(40 + 30));
    assert!(world.ledger.totals().conserved());
}

#[test]
fn what_travels_is_bounded() {
    let mut values = Parameters::default();
    assert!(codec::encode(&values).len() < 8, "an unchanged table costs nothing");
    let one = codec::encode(&(0u64, FeeRate::DEFAULT));
    let list: Vec<(u64, FeeRate)> = vec![(0, FeeRate::DEFAULT); FEES_MAX + 1];
    let changed: Vec<(Parameter, (u64, u64))> = Vec::new();
    assert!(!one.is_empty());
    assert!(codec::decode::<Parameters>(&codec::encode(&(&changed, &list))).is_err());
    let fits = codec::decode::<Parameters>(&codec::encode(&(&changed, &list[1..])));
    values = fits.unwrap();
    assert!(matches!(values.check(FEE, 4_000), Err(LedgerError::NotAnAmendment(_))));
    assert_eq!(
        Resolutions::default().digest(),
        Digest::of_value("ledger/resolutions/1", &Resolutions::default())
    );
}
