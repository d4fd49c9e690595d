//! Penalties: what offences cost, charged by checkpoints, whatever was certified before or after.

use std::sync::Arc;

use edge_base::Credits;
use edge_ledger::{
    Applied, ClaimBook, Ledger, LedgerError, Offence, OffenceKind, Parameter, Refusal, Resolutions,
};

use crate::{
    checkpoint::seal,
    parameter::{amend, votes},
    world::*,
};

fn charged(offences: Vec<Offence>) -> Resolutions {
    Resolutions { offences, ..Resolutions::default() }
}

/// A checkpoint that charges what it can of these.
fn charge(world: &mut World, offences: Vec<Offence>) -> usize {
    let plan = world.ledger.plan(None, charged(offences), &mut world.verifier).unwrap();
    world.ledger.check_plan(&plan, &mut world.verifier).unwrap();
    let decided = seal(world, &plan);
    world.ledger.apply_checkpoint(decided, &mut world.verifier).unwrap();
    world.check_totals();
    plan.resolutions.offences.len()
}

fn release(unstake: edge_base::Digest) -> edge_ledger::BlockKind {
    edge_ledger::BlockKind::Release { unstake }
}

fn overdraft(owner: u64) -> Offence {
    Offence { account: id(owner), kind: OffenceKind::Overdraft }
}

/// Owners 1 and 2 with 10,000 each, of which 4,000 are at stake, 1,000 of that leaving.
fn staked() -> (World, [edge_base::Digest; 2]) {
    let mut world = World::with_witnesses(4);
    let withdrawals = [1, 2].map(|owner| {
        world.act(0, send(owner, 10_000)).unwrap();
        world.act(owner, stake(4_000)).unwrap();
        world.act(owner, unstake(1_000)).unwrap().id()
    });
    (world, withdrawals)
}

/// Half by its rate; the rest is withdrawn as if nothing had happened.
#[test]
fn an_offence_costs_its_rate_and_the_rest_comes_back() {
    let (mut world, [withdrawal, _]) = staked();
    world.ledger.slash(overdraft(1));
    assert!(matches!(world.act(1, release(withdrawal)), Err(LedgerError::Slashed(_))));
    assert_eq!(charge(&mut world, vec![overdraft(1)]), 1);
    let view = world.ledger.account(&id(1));
    assert_eq!(
        (view.staked, view.leaving, view.penalty),
        (micro(1_000), micro(1_000), micro(2_000))
    );
    assert!(!view.slashed);
    let totals = world.ledger.totals();
    assert_eq!(
        (totals.burned, totals.forfeited, totals.staked),
        (micro(2_000), micro(2_000), micro(6_000))
    );
    assert_eq!(world.ledger.base().unwrap().decided.sealed.checkpoint.burned, micro(2_000));
    world.act(1, release(withdrawal)).unwrap();
    let last = world.act(1, unstake(1_000)).unwrap().id();
    world.act(1, release(last)).unwrap();
    assert_eq!(world.balance(1), 10_000 - 2_000);
    world.check_totals();
    // What is left of the stake is the penalty: it stays.
    let all = world.act(1, unstake(2_000));
    let all = all.unwrap().id();
    assert!(matches!(world.act(1, release(all)), Err(LedgerError::Forfeited(_))));
    // The same offence once more costs nothing more, another one its part of nothing.
    assert_eq!(world.ledger.slash(overdraft(1)), Applied::Known);
    assert_eq!(charge(&mut world, vec![overdraft(1)]), 0);
    world.ledger.slash(fault(1));
    assert_eq!(charge(&mut world, vec![fault(1)]), 1);
    assert_eq!(world.ledger.totals().forfeited, micro(2_000));
}

/// Without this a stake that was taken back before the checkpoint would have been worth taking back.
#[test]
fn a_withdrawal_that_was_certified_before_applies_before_and_after() {
    let (mut world, [withdrawal, _]) = staked();
    let before = world.ledger.clone();
    let released = world.act(1, release(withdrawal)).unwrap();
    // A quorum that does not know of the Release charges the offence; then the Release turns up.
    world.ledger = before;
    world.ledger.slash(fault(1));
    assert_eq!(charge(&mut world, vec![fault(1)]), 1);
    assert_eq!(world.ledger.totals().burned, micro(4_000));
    let early = world.ledger.clone();
    assert_eq!(world.apply(&released), Ok(Applied::New));
    // The certified withdrawal stands; what is left is burned, and stays owed.
    let view = world.ledger.account(&id(1));
    assert_eq!((view.staked, view.leaving, view.penalty), (micro(0), micro(0), micro(4_000)));
    assert_eq!(world.ledger.totals().burned, micro(3_000));
    world.check_totals();
    world.act(1, stake(1_000)).unwrap();
    assert_eq!(world.ledger.account(&id(1)).staked, micro(0));
    assert_eq!(world.ledger.totals().burned, micro(4_000));
    world.check_totals();
    // The same in another order, and from a snapshot.
    let mut late = early;
    late.prune();
    let rest: Vec<Arc<_>> = world.ledger.certificates().rev_vec().into_iter().cloned().collect();
    assert_eq!(late.merge(rest, &mut world.verifier).refused, []);
    assert_eq!(late.totals(), world.ledger.totals());
    let again = late.verified_again(&mut world.verifier).unwrap();
    assert_eq!(again.totals(), world.ledger.totals());
}

/// For reading: a reversed vector.
trait RevVec: Iterator + Sized {
    fn rev_vec(self) -> Vec<Self::Item> {
        let mut all: Vec<_> = self.collect();
        all.reverse();
        all
    }
}

impl<I: Iterator> RevVec for I {}

/// The control: with a rate of what the table has at least, the same offence costs that.
#[test]
fn the_rate_is_the_one_before_the_checkpoints_own_changes() {
    let (mut world, _) = staked();
    let lower = votes(&world, Parameter::SlashOverdraft, 400_000, 3);
    world.ledger.slash(overdraft(1));
    let resolutions = Resolutions {
        amendments: vec![lower],
        offences: vec![overdraft(1)],
        ..Resolutions::default()
    };
    let plan = world.ledger.plan(None, resolutions, &mut world.verifier).unwrap();
    let decided = seal(&world, &plan);
    world.ledger.apply_checkpoint(decided, &mut world.verifier).unwrap();
    assert_eq!(world.ledger.account(&id(1)).penalty, micro(2_000));
    world.ledger.slash(overdraft(2));
    assert_eq!(charge(&mut world, vec![overdraft(2)]), 1);
    assert_eq!(world.ledger.account(&id(2)).penalty, micro(1_600));
    assert_eq!(amend(&mut world, vec![]), 0);
    assert_eq!(world.ledger.account(&id(2)).penalty, micro(1_600), "checkpoints keep it");
}

/// A witness prevotes only for offences that it has evidence of.
#[test]
fn nobody_is_charged_for_what_a_witness_has_not_heard_of() {
    let (mut world, _) = staked();
    assert_eq!(charge(&mut world.clone(), vec![fault(1)]), 0, "left out by an honest proposer");
    let mut accuser = world.ledger.clone();
    accuser.slash(fault(1));
    let plan = accuser.plan(None, charged(vec![fault(1)]), &mut world.verifier).unwrap();
    let judged = world.ledger.check_plan(&plan, &mut world.verifier);
    assert_eq!(judged, Err(LedgerError::MissingEvidence(id(1))));
    assert!(judged.unwrap_err().is_retryable(), "the evidence may be on its way");
    world.ledger.slash(fault(1));
    assert_eq!(world.ledger.check_plan(&plan, &mut world.verifier), Ok(()));
    // Twice, out of order, of nobody, and charged already: never.
    for (offences, why) in [
        (vec![fault(1), fault(1)], "twice"),
        (vec![fault(2), fault(1)], "either order"),
        (vec![fault(1), fault(2)], "either order"),
        (vec![fault(99)], "of no account"),
    ] {
        let mut other = plan.clone();
        other.resolutions.offences = offences;
        other.checkpoint.resolutions = other.resolutions.digest();
        assert!(world.ledger.check_plan(&other, &mut world.verifier).is_err(), "{why}");
    }
    // More than it costs, or somebody else's account: the root says otherwise.
    let mut other = plan.clone();
    other.checkpoint.burned = micro(9);
    assert!(world.ledger.check_plan(&other, &mut world.verifier).is_err());
}

/// A Release that the penalty holds back is not signed by an honest owner, and not voted for.
#[test]
fn votes_leave_the_penalty_at_stake_whatever_the_owner_signs() {
    let (mut world, [withdrawal, _]) = staked();
    let block = world.ledger.next_block(id(1), release(withdrawal)).unwrap();
    let block = world.seal(block, 1);
    world.ledger.slash(fault(1));
    charge(&mut world, vec![fault(1)]);
    let refused = world.ledger.check(&block, &ClaimBook::new(), &mut world.verifier.clone());
    assert_eq!(refused, Err(LedgerError::Forfeited(id(1))));
    assert_eq!(world.certify(&block), Err(Refusal::Block(LedgerError::Forfeited(id(1)))));
    let asked = world.ledger.next_block(id(1), release(withdrawal));
    assert_eq!(asked, Err(LedgerError::Forfeited(id(1))));
    // Who stakes as much on top gets it: nothing is won by it.
    world.act(1, stake(1_000)).unwrap();
    world.act(1, release(withdrawal)).unwrap();
    assert_eq!(world.ledger.account(&id(1)).staked, micro(0));
    assert_eq!(world.balance(1), 6_000);
    world.check_totals();
}

#[test]
fn penalties_at_the_edge_of_u64_neither_wrap_nor_panic() {
    let mut world = World::granted(micro(u64::MAX));
    world.hand_over(4);
    world.act(0, stake(u64::MAX - 1)).unwrap();
    for kind in OffenceKind::ALL {
        let offence = Offence { account: id(0), kind };
        world.ledger.slash(offence);
        assert_eq!(charge(&mut world, vec![offence]), 1);
    }
    assert_eq!(world.ledger.totals().burned, micro(u64::MAX - 1));
    assert_eq!(world.ledger.account(&id(0)).staked, Credits::ZERO);
    let states = world.ledger.states().collect::<Vec<_>>();
    let burned = world.ledger.totals().burned;
    let genesis = world.ledger.genesis().clone();
    let again = Ledger::from_states(genesis, states, micro(u64::MAX), burned).unwrap();
    assert_eq!(again.totals().forfeited, world.ledger.totals().forfeited);
}
