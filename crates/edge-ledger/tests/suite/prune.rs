//! Pruning: what a checkpoint says needs no certificates, and nothing is taken twice for that.

use std::sync::Arc;

use edge_base::{Credits, Verifier};
use edge_ledger::{
    Applied, Certificate, ClaimBook, Ledger, LedgerError, Refusal, Resolutions, VoteLog,
};

use crate::{checkpoint::seal, world::*};

fn checkpoint(world: &mut World) -> edge_ledger::Decided {
    let plan = world.ledger.plan(None, Resolutions::default(), &mut world.verifier).unwrap();
    let decided = seal(world, &plan);
    let applied = world.ledger.apply_checkpoint(decided.clone(), &mut world.verifier);
    assert_eq!(applied, Ok(Applied::New));
    decided
}

/// Payments, stake, an escrow that ended and one that did not, then a checkpoint.
fn pool() -> (World, Vec<Arc<Certificate>>, edge_base::EscrowId) {
    let mut world = World::with_witnesses(4);
    for owner in 1..4 {
        world.act(0, send(owner, 10_000)).unwrap();
        world.act(owner, stake(100)).unwrap();
    }
    let ended = world.escrow(1, 1_000);
    world.act(1, settle(ended, vec![pay(2, 300)])).unwrap();
    let open = world.escrow(1, 500);
    checkpoint(&mut world);
    let all = world.ledger.certificates().cloned().collect();
    (world, all, open)
}

#[test]
fn what_was_dropped_changes_nothing_when_it_is_shown_again() {
    let (mut world, all, open) = pool();
    let before: Vec<_> = world.ledger.accounts().collect();
    let (totals, digest) = (world.ledger.totals(), world.ledger.frontier_digest());
    let places = world.ledger.prune();
    assert_eq!(places.len(), all.len());
    assert_eq!((world.ledger.certificate_count(), world.ledger.dropped()), (0, 9));
    for certificate in &all {
        assert_eq!(world.apply(certificate), Ok(Applied::Known), "shown again");
        let place = (certificate.body().account, certificate.body().seq);
        assert!(places.contains(&place) && world.ledger.certificate(&certificate.id()).is_none());
    }
    // A quorum that checks nothing certifies another block for a place that was dropped.
    let mut other = all.iter().find(|c| c.block.signer == id(2)).unwrap().block.clone();
    other.body.kind = send(3, 1);
    let other = world.seal(other.body, 2);
    assert_eq!(world.apply(&world.collude(&other)), Ok(Applied::Known));
    // An honest witness does not vote there, neither one that voted before nor one that did not.
    assert!(world.certify(&other).is_err());
    world.logs.iter_mut().for_each(|log| *log = VoteLog::new());
    let refused = world.certify(&other);
    assert!(matches!(refused, Err(Refusal::Block(LedgerError::SeqTaken { .. }))), "{refused:?}");
    assert_eq!(world.ledger.accounts().collect::<Vec<_>>(), before);
    assert_eq!((world.ledger.totals(), world.ledger.frontier_digest()), (totals, digest));
    let again = world.ledger.verified_again(&mut Verifier::strict()).unwrap();
    assert_eq!(again.totals(), totals);
    // What is open goes on: the escrow pays, and its payment is taken once.
    let paid = world.act(1, settle(open, vec![pay(3, 200)])).unwrap();
    assert!(world.ledger.account(&id(3)).incoming > Credits::ZERO);
    world.act(3, send(2, 1)).unwrap();
    assert_eq!(world.apply(&paid), Ok(Applied::Known));
    assert_eq!(world.ledger.account(&id(3)).incoming, Credits::ZERO);
    let ended = all.iter().find_map(|c| c.body().kind.ends()).unwrap();
    let twice = world.act(1, settle(ended, vec![pay(2, 300)]));
    assert_eq!(twice, Err(LedgerError::NoEscrow(ended)), "an escrow ends once");
    assert!(world.ledger.totals().conserved());
}

/// Who keeps what came since the checkpoint before the last helps who lacks the last one; who drops
/// everything (the control) cannot, and has to be asked for the states.
#[test]
fn what_is_since_the_checkpoint_before_is_enough_for_who_lacks_the_last() {
    let (mut world, ..) = pool();
    let before = world.ledger.base().unwrap().clone();
    let late = world.ledger.clone();
    for owner in 1..4 {
        world.act(owner, send(0, 5)).unwrap();
    }
    let decided = checkpoint(&mut world);
    let follow = |from: &Ledger| {
        let (mut late, mut verifier) = (late.clone(), Verifier::strict());
        late.merge(from.certificates().cloned(), &mut verifier);
        late.apply_checkpoint(decided.clone(), &mut verifier)
    };
    assert_eq!(world.ledger.prune_through(&before).len(), 9);
    assert_eq!((world.ledger.certificate_count(), world.ledger.dropped()), (3, 9));
    assert_eq!(follow(&world.ledger), Ok(Applied::New));
    assert_eq!(world.ledger.prune().len(), 3);
    assert!(follow(&world.ledger).unwrap_err().is_retryable());
    let (mut snapped, mut verifier) = (late.clone(), Verifier::strict());
    let states = world.ledger.base().unwrap().states().to_vec();
    snapped.apply_snapshot(decided, states, &mut verifier).unwrap();
    assert_eq!(snapped.frontier_digest(), world.ledger.frontier_digest());
    // A checkpoint that this ledger does not have is none to prune by.
    assert!(late.clone().prune_through(world.ledger.base().unwrap()).is_empty());
}

/// With as many payments in each epoch, what is kept does not grow; without pruning it does.
#[test]
fn what_is_kept_is_bounded_by_two_epochs() {
    let (mut world, ..) = pool();
    let (mut control, mut most) = (world.clone(), 0);
    for _ in 0..12 {
        for owner in 1..4 {
            world.act(owner, send(0, 5)).unwrap();
            control.act(owner, send(0, 5)).unwrap();
        }
        let before = world.ledger.base().unwrap().clone();
        checkpoint(&mut world);
        checkpoint(&mut control);
        world.ledger.prune_through(&before);
        most = most.max(world.ledger.certificate_count());
    }
    assert_eq!((most, control.ledger.certificate_count()), (3, 9 + 36));
    assert_eq!(world.ledger.account_tree().root(), control.ledger.account_tree().root());
    assert_eq!(world.ledger.totals(), control.ledger.totals());
}

/// A witness that voted for many accounts' blocks names none of those that were dropped when it closes:
/// were each of them a block on its way, more than fit would keep the set from ever changing.
#[test]
fn votes_for_what_was_dropped_hold_up_no_change_of_the_set() {
    let mut world = World::with_witnesses(4);
    for owner in 1..=300 {
        world.act(0, send(owner, 10)).unwrap();
        world.act(owner, send(0, 1)).unwrap();
    }
    checkpoint(&mut world);
    world.ledger.prune();
    let last = world.act(0, send(1, 1)).unwrap();
    let waits = world.ledger.next_block(id(1), send(0, 1)).unwrap();
    let waits = world.seal(waits, 1);
    let (mut log, key) = (world.logs.remove(0), witness_keys(1).remove(0));
    log.vote(&world.ledger, &ClaimBook::new(), &waits, &key, &mut world.verifier).unwrap();
    log.promise_end(world.set().version);
    let closing = world.ledger.closing(&log).unwrap();
    assert_eq!(closing.voted, [waits]);
    assert!(world.ledger.certificate(&last.id()).is_some());
}
