//! One vote per place, across crashes.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, NodeId, Rng};
use edge_ledger::{
    ClaimBook, HandOverError, LedgerError, Record, Refusal, RestoreError, SignedBlock, Vote,
    VoteLog, block_hash,
};

use crate::world::*;

type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

/// Runs one witness of four against rival blocks, crashes and lost writes. Returns the places for
/// which two different votes were sent.
fn double_votes(seed: u64, persist_before_send: bool) -> usize {
    let mut rng = Rng::derive(seed, "vote log");
    let mut world = World::with_witnesses(4);
    for to in 1..4 {
        world.act(0, send(to, 1_000_000)).unwrap();
    }
    let (me, claims) = (world.witnesses[0].clone(), ClaimBook::new());
    let mut log = VoteLog::new();
    let (mut disk, mut unflushed): (Disk, Vec<(Record, Vote)>) = Default::default();
    let mut sent: BTreeMap<(NodeId, u64), BTreeSet<Digest>> = BTreeMap::new();
    let mut blocks: Vec<SignedBlock> = Vec::new();
    for _ in 0..150 {
        match rng.below(6) {
            // An owner signs a block for its next place; often not its first one there.
            0 | 1 => {
                let owner = rng.below(4);
                let kind = send(10 + rng.below(3), 1 + rng.below(3));
                blocks.push(world.seal(world.ledger.next_block(id(owner), kind).unwrap(), owner));
            }
            2 | 3 => {
                let Some(block) = rng.pick(&blocks) else { continue };
                let mut verifier = world.verifier.clone();
                match log.vote(&world.ledger, &claims, block, &me, &mut verifier) {
                    Ok(voted) => {
                        if !persist_before_send {
                            let place = (block.body.account, block.body.seq);
                            sent.entry(place).or_default().insert(voted.vote.body.block);
                        }
                        unflushed.push((voted.record, voted.vote));
                    }
                    Err(Refusal::Block(_) | Refusal::OtherBlock(_) | Refusal::Past { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            // A group commit: everything so far is durable, and only now it leaves.
            4 => {
                for (record, vote) in unflushed.drain(..) {
                    disk.insert(record.key, record.value);
                    let voted = |block: &&SignedBlock| block_hash(block) == vote.body.block;
                    let block = blocks.iter().find(voted).unwrap();
                    let place = (block.body.account, block.body.seq);
                    sent.entry(place).or_default().insert(vote.body.block);
                }
                // Others certify something meanwhile.
                let certifiable = rng.pick(&blocks).cloned();
                if let Some(block) = certifiable.filter(|_| rng.chance(1, 2)) {
                    let certificate = world.collude(&block);
                    let place = (block.body.account, block.body.seq);
                    // Only what the votes that left allow: never against a vote of ours.
                    let other = sent.get(&place).is_some_and(|v| !v.contains(&certificate.id()));
                    if !other && world.ledger.account(&block.body.account).seq + 1 == place.1 {
                        world.apply(&certificate).unwrap();
                    }
                }
            }
            _ => {
                unflushed.clear();
                log = VoteLog::restore(&disk).unwrap();
            }
        }
    }
    assert!(!sent.is_empty());
    sent.values().filter(|blocks| blocks.len() > 1).count()
}

#[test]
fn restored_from_durable_records_a_witness_never_votes_twice() {
    for seed in 0..12 * scale() {
        assert_eq!(double_votes(seed, true), 0, "seed {seed}");
    }
}

#[test]
fn sending_before_the_record_is_durable_does_vote_twice() {
    // The control: the same schedules catch a node that breaks the rule.
    assert!((0..12).map(|seed| double_votes(seed, false)).sum::<usize>() > 0);
}

fn rivals(world: &World) -> (SignedBlock, SignedBlock) {
    let block = |amount| world.ledger.next_block(id(0), send(1, amount)).unwrap();
    (world.seal(block(1), 0), world.seal(block(2), 0))
}

#[test]
fn the_same_block_gets_the_same_vote_and_its_rival_a_proof() {
    let world = World::with_witnesses(4);
    let (first, second) = rivals(&world);
    let (me, claims) = (&world.witnesses[2], ClaimBook::new());
    let mut verifier = world.verifier.clone();
    let mut log = VoteLog::new();
    let voted = log.vote(&world.ledger, &claims, &first, me, &mut verifier).unwrap();
    let mut restored =
        VoteLog::restore([(voted.record.key.clone(), voted.record.value.clone())]).unwrap();
    for log in [&mut log, &mut restored] {
        let again = log.vote(&world.ledger, &claims, &first, me, &mut verifier);
        assert_eq!(again.as_ref(), Ok(&voted));
        let refused = log.vote(&world.ledger, &claims, &second, me, &mut verifier).unwrap_err();
        let Refusal::OtherBlock(proof) = refused else { panic!("{refused}") };
        assert_eq!(proof.check(&mut verifier, &world.pool()), Ok(()));
        assert_eq!(log.last_vote(2, &id(0)), Some((1, block_hash(&first))));
    }
    // A rival that the owner did not sign proves nothing.
    let mut forged = second.clone();
    forged.signature.0[5] ^= 1;
    let refused = log.vote(&world.ledger, &claims, &forged, me, &mut verifier);
    assert!(matches!(refused, Err(Refusal::Block(LedgerError::Signature(_)))));
}

#[test]
fn a_witness_whose_ledger_is_behind_its_log_does_not_vote_on_the_past() {
    let mut world = World::with_witnesses(4);
    let empty = world.ledger.clone();
    let (_, rival) = rivals(&world);
    world.act(0, send(1, 5)).unwrap();
    world.act(0, send(1, 6)).unwrap();
    let (me, claims) = (world.witnesses[0].clone(), ClaimBook::new());
    let mut verifier = world.verifier.clone();
    let refused = world.logs[0].vote(&empty, &claims, &rival, &me, &mut verifier);
    assert_eq!(refused, Err(Refusal::Past { voted: 2 }));
}

#[test]
fn a_promise_ends_votes_for_ever() {
    let world = World::with_witnesses(4);
    let (first, _) = rivals(&world);
    let (me, claims) = (&world.witnesses[0], ClaimBook::new());
    let mut verifier = world.verifier.clone();
    let mut log = VoteLog::new();
    let voted = log.vote(&world.ledger, &claims, &first, me, &mut verifier).unwrap();
    let ended = log.promise_end(2);
    let restored =
        VoteLog::restore([(ended.key, ended.value), (voted.record.key, voted.record.value)]);
    // Promising an older end later takes nothing back.
    log.promise_end(1);
    for mut log in [log, restored.unwrap()] {
        assert!(log.has_ended(1) && log.has_ended(2) && !log.has_ended(3));
        // What was voted for is still known: a closing names it.
        assert_eq!(log.pending(&world.ledger).count(), 1);
        let refused = log.vote(&world.ledger, &claims, &first, me, &mut verifier);
        assert_eq!(refused, Err(Refusal::Ended(2)));
        log.promise_end(3);
        assert_eq!(log.last_vote(2, &id(0)), None);
    }
}

#[test]
fn who_is_no_witness_does_not_vote() {
    let world = World::with_witnesses(4);
    let (first, _) = rivals(&world);
    let mut verifier = world.verifier.clone();
    let refused =
        VoteLog::new().vote(&world.ledger, &ClaimBook::new(), &first, &key(0), &mut verifier);
    assert_eq!(refused, Err(Refusal::NotAWitness(2)));
}

#[test]
fn damaged_records_are_noticed() {
    let world = World::with_witnesses(4);
    let (first, second) = rivals(&world);
    let claims = ClaimBook::new();
    let record = |block| {
        let mut verifier = world.verifier.clone();
        let me = &world.witnesses[0];
        VoteLog::new().vote(&world.ledger, &claims, block, me, &mut verifier).unwrap().record
    };
    let (one, two) = (record(&first), record(&second));
    let both = [(&one.key, &one.value), (&two.key, &two.value)];
    assert_eq!(VoteLog::restore(both).unwrap_err(), RestoreError::TwoVotes);
    assert!(VoteLog::restore([both[0], both[0]]).is_ok());
    for damaged in [&one.value[1..], &one.value[..one.value.len() - 1], &[], &[7; 40]] {
        let restored = VoteLog::restore([(&one.key[..], damaged)]);
        assert_eq!(restored.unwrap_err(), RestoreError::Malformed);
    }
    let ended = VoteLog::new().promise_end(1);
    for (key, value) in [(&one.key, &ended.value), (&ended.key, &one.value)] {
        assert_eq!(VoteLog::restore([(key, value)]).unwrap_err(), RestoreError::Malformed);
    }
    // Every single flipped bit is either noticed or leaves a log that still knows its vote.
    for bit in 0..one.value.len() * 8 {
        let mut value = one.value.clone();
        value[bit / 8] ^= 1 << (bit % 8);
        if let Ok(log) = VoteLog::restore([(&one.key, &value)]) {
            assert_eq!(log.last_vote(2, &id(0)), Some((1, block_hash(&first))), "bit {bit}");
        }
    }
}

#[test]
fn a_founder_hands_over_only_what_is_certified() {
    let mut world = World::alone();
    let block = world.seal(world.ledger.next_block(id(0), send(1, 9)).unwrap(), 0);
    let certificate = world.certify(&block).unwrap();
    let members: Vec<_> = witness_keys(4).iter().map(|key| key.node_id()).collect();
    // Voted, and the certificate lost in a crash before it was applied.
    let refused = world.logs[0].hand_over(&world.ledger, members.clone(), &key(0));
    assert_eq!(refused, Err(HandOverError::Pending(1)));
    let (pending, vote) = world.logs[0].pending(&world.ledger).next().unwrap();
    assert_eq!((pending, vote.signer), (&block, id(0)));
    assert!(!world.logs[0].has_ended(1));

    world.apply(&certificate).unwrap();
    let (handover, record) =
        world.logs[0].hand_over(&world.ledger, members.clone(), &key(0)).unwrap();
    assert_eq!(handover.body.head(&id(0)), (1, certificate.id()));
    let restored = VoteLog::restore([(record.key, record.value)]).unwrap();
    assert!(restored.has_ended(1));
    let again = world.seal(world.ledger.next_block(id(0), send(1, 9)).unwrap(), 0);
    assert_eq!(world.certify(&again), Err(Refusal::Ended(1)));
    let by_another = VoteLog::new().hand_over(&world.ledger, members, &key(3));
    assert!(matches!(by_another, Err(HandOverError::Ledger(_))));
}
