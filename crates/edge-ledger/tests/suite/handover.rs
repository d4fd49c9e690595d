//! From one witness to four and more.

use std::sync::Arc;

use edge_base::{Digest, SecretKey, Signed};
use edge_ledger::{
    Applied, ClaimBook, Handover, Ledger, LedgerError, Refusal, VoteLog, WitnessSet, block_hash,
};

use crate::world::*;

fn members(n: u64) -> Vec<edge_base::NodeId> {
    witness_keys(n).iter().map(SecretKey::node_id).collect()
}

fn sign(world: &World, handover: Handover, by: u64) -> Arc<Signed<Handover>> {
    Arc::new(Signed::seal(handover, &key(by), &world.pool()))
}

/// A founder with some history.
fn founded() -> World {
    let mut world = World::alone();
    world.act(0, send(1, 100)).unwrap();
    world.act(0, send(2, 100)).unwrap();
    world.act(1, send(2, 50)).unwrap();
    world
}

#[test]
fn the_new_set_certifies_and_the_old_one_cannot() {
    let mut world = founded();
    let old = world.clone();
    world.hand_over(4);
    assert_eq!((world.set().version, world.set().quorum(), world.ledger.epoch()), (2, 3, 1));
    world.act(0, send(3, 5)).unwrap();
    world.act(2, send(3, 120)).unwrap();
    world.check_totals();

    // The founder breaks its promise: its lone vote is void beyond the recorded heads.
    for (owner, seq) in [(0, 3), (1, 2), (2, 1)] {
        let block = old.ledger.next_block(id(owner), send(4, 5)).unwrap();
        let void = old.collude(&old.seal(block, owner));
        let refused = world.ledger.clone().apply(void, &mut world.verifier.clone());
        let wrong = LedgerError::WrongVersion { account: id(owner), seq, version: 1 };
        assert_eq!(refused, Err(wrong));
    }
}

#[test]
fn old_certificates_up_to_the_heads_still_count_for_a_newcomer() {
    let mut world = founded();
    world.hand_over(4);
    world.act(0, send(3, 5)).unwrap();
    let mut late = Ledger::new(genesis(GRANT)).unwrap();
    let mut verifier = world.verifier.clone();
    let handover = world.ledger.handover().unwrap().clone();
    assert_eq!(late.apply_handover(handover.clone(), &mut verifier), Ok(Applied::New));
    assert_eq!(late.apply_handover(handover, &mut verifier), Ok(Applied::Known));
    // Behind the recorded heads a witness votes for nothing, however valid it looks.
    let early = late.next_block(id(0), send(1, 1)).unwrap();
    let early = Signed::seal(early, &key(0), &late.pool());
    let refused = late.check(&early, &ClaimBook::new(), &mut verifier);
    assert_eq!(refused, Err(LedgerError::MissingPredecessor { account: id(0), seq: 1 }));
    // Nor is anything certified there by the new set.
    let usurped = world.collude(&early);
    let refused = late.apply(usurped, &mut verifier);
    let wrong = LedgerError::WrongVersion { account: id(0), seq: 1, version: 2 };
    assert_eq!(refused, Err(wrong));

    let merged = late.merge(world.ledger.certificates().cloned(), &mut verifier);
    assert_eq!((merged.refused.len(), merged.waiting.len()), (0, 0));
    assert_same(&late, &world.ledger);
}

#[test]
fn another_block_at_a_recorded_head_is_void() {
    let mut world = World::alone();
    let rival = world.seal(world.ledger.next_block(id(0), send(5, 100)).unwrap(), 0);
    let rival = world.collude(&rival);
    world.act(0, send(1, 100)).unwrap();
    world.hand_over(4);
    let mut late = Ledger::new(genesis(GRANT)).unwrap();
    let mut verifier = world.verifier.clone();
    late.apply_handover(world.ledger.handover().unwrap().clone(), &mut verifier).unwrap();
    let refused = late.apply(rival.clone(), &mut verifier);
    let wrong = LedgerError::WrongVersion { account: id(0), seq: 1, version: 1 };
    assert_eq!(refused, Err(wrong));

    // Whoever has the rival already sees that the founder broke its word.
    let mut fooled = Ledger::new(genesis(GRANT)).unwrap();
    fooled.apply(rival, &mut verifier).unwrap();
    let handover = world.ledger.handover().unwrap().clone();
    let refused = fooled.apply_handover(handover, &mut verifier);
    assert_eq!(refused, Err(LedgerError::HandoverConflict(id(0))));
}

#[test]
fn a_block_under_way_during_the_handover_is_finished_by_the_new_set() {
    let mut world = founded();
    // Signed in epoch 0, never seen by the founder.
    let block = world.seal(world.ledger.next_block(id(1), send(5, 7)).unwrap(), 1);
    world.hand_over(7);
    let certificate = world.certify(&block).unwrap();
    assert_eq!((certificate.set_version, certificate.body().epoch), (2, 0));
    assert_eq!(world.apply(&certificate), Ok(Applied::New));
    world.check_totals();
}

#[test]
fn the_founder_votes_no_more_even_as_a_member_of_nothing() {
    let mut world = founded();
    let mut log = world.logs[0].clone();
    let (handover, _) = log.hand_over(&world.ledger, members(4), &key(0)).unwrap();
    let block = world.seal(world.ledger.next_block(id(0), send(1, 1)).unwrap(), 0);
    let mut verifier = world.verifier.clone();
    let refused = log.vote(&world.ledger, &ClaimBook::new(), &block, &key(0), &mut verifier);
    assert_eq!(refused, Err(Refusal::Ended(1)));
    world.ledger.apply_handover(Arc::new(handover), &mut verifier).unwrap();
    let refused = log.vote(&world.ledger, &ClaimBook::new(), &block, &key(0), &mut verifier);
    assert_eq!(refused, Err(Refusal::NotAWitness(2)));
}

#[test]
fn the_founder_may_be_a_member_of_the_next_set() {
    let mut world = founded();
    let mut with_founder = members(3);
    with_founder.push(id(0));
    let mut log = world.logs.remove(0);
    let (handover, _) = log.hand_over(&world.ledger, with_founder, &key(0)).unwrap();
    let mut verifier = world.verifier.clone();
    world.ledger.apply_handover(Arc::new(handover), &mut verifier).unwrap();
    let block = world.seal(world.ledger.next_block(id(0), send(1, 1)).unwrap(), 0);
    let voted = log.vote(&world.ledger, &ClaimBook::new(), &block, &key(0), &mut verifier).unwrap();
    assert_eq!((voted.vote.body.set_version, voted.vote.body.block), (2, block_hash(&block)));
}

#[test]
fn handovers_that_are_none() {
    let world = founded();
    let good = world.ledger.next_handover(members(4)).unwrap();
    type Change = fn(&mut Handover);
    let changes: [(Change, &str); 11] = [
        (|h| h.from_version = 2, "from"),
        (|h| h.to.version = 3, "to"),
        (|h| h.to.version = 1, "back"),
        (|h| h.epoch = 0, "same epoch"),
        (|h| h.epoch = 7, "leap"),
        (|h| h.to.members.truncate(3), "3 members"),
        (|h| h.to.members.truncate(1), "1 member"),
        (|h| h.to.members.reverse(), "unsorted"),
        (|h| h.heads.reverse(), "unsorted heads"),
        (|h| h.heads[0].1 -= 1, "a head too low"),
        (|h| h.heads[1].2 = Digest::of(b"other"), "another head"),
    ];
    assert_eq!(good.heads.len(), 2);
    let attempt = |handover: Arc<Signed<Handover>>| {
        let mut ledger = world.ledger.clone();
        let result = ledger.apply_handover(handover, &mut world.verifier.clone());
        if result.is_err() {
            assert_same(&ledger, &world.ledger);
        }
        result
    };
    for (change, what) in changes {
        let mut handover = good.clone();
        change(&mut handover);
        let refused = attempt(sign(&world, handover, 0)).expect_err(what);
        assert!(!refused.is_retryable(), "{what}");
    }
    let mut dropped = good.clone();
    dropped.heads.remove(0);
    assert!(matches!(attempt(sign(&world, dropped, 0)), Err(LedgerError::HandoverConflict(_))));
    let by_member = attempt(sign(&world, good.clone(), 1));
    assert!(matches!(by_member, Err(LedgerError::NotAHandover(_))));
    let mut forged = (*sign(&world, good.clone(), 1)).clone();
    forged.signer = id(0);
    assert!(matches!(attempt(Arc::new(forged)), Err(LedgerError::Signature(_))));
    assert_eq!(attempt(sign(&world, good, 0)), Ok(Applied::New));
}

#[test]
fn four_do_not_hand_over_by_one_signature() {
    let mut world = founded();
    world.hand_over(4);
    let first = world.ledger.handover().unwrap().clone();
    let next = world.ledger.next_handover((0..7).map(|i| id(50 + i)).collect()).unwrap();
    let mut verifier = world.verifier.clone();
    for by in [0, 1_000] {
        let attempt = sign(&world, next.clone(), by);
        let refused = world.ledger.apply_handover(attempt, &mut verifier);
        assert!(matches!(refused, Err(LedgerError::NotAHandover(_))));
    }
    // Nor does the founder hand over a second time, to others.
    let mut second = first.body.clone();
    second.to = WitnessSet::new(2, (0..4).map(|i| id(60 + i)).collect()).unwrap();
    let refused = world.ledger.apply_handover(sign(&world, second, 0), &mut verifier);
    assert!(matches!(refused, Err(LedgerError::NotAHandover(_))));
    assert_eq!(world.ledger.handover(), Some(&first));
    let mut log = VoteLog::new();
    assert!(log.hand_over(&world.ledger, members(7), &key(0)).is_err());
}
