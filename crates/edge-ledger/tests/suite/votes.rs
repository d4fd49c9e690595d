//! Votes and certificates that are none.

use std::sync::Arc;

use edge_base::{Signature, Signed, Verifier};
use edge_ledger::{
    Applied, Certificate, LedgerError, SignedBlock, Vote, VoteBody, VoteCollector, VoteError,
    block_hash,
};

use crate::world::*;

fn world_and_block(n: u64) -> (World, SignedBlock) {
    let world = World::with_witnesses(n);
    let block = world.seal(world.ledger.next_block(id(0), send(1, 10)).unwrap(), 0);
    (world, block)
}

fn refusal(world: &World, certificate: Certificate) -> LedgerError {
    let mut ledger = world.ledger.clone();
    let refused = ledger.apply(Arc::new(certificate), &mut Verifier::strict());
    assert_same(&ledger, &world.ledger);
    refused.unwrap_err()
}

#[test]
fn a_quorum_is_enough_and_one_less_is_not() {
    for (n, quorum) in [(1, 1), (4, 3), (7, 5)] {
        let (mut world, block) = world_and_block(n);
        let full = (*world.collude(&block)).clone();
        assert_eq!(full.votes.len(), quorum);
        let mut less = full.clone();
        less.votes.pop();
        let error = refusal(&world, less);
        let expected = VoteError::Quorum { have: quorum - 1, need: quorum };
        assert_eq!(error, LedgerError::Votes(expected));
        assert_eq!(world.apply(&Arc::new(full)), Ok(Applied::New));
    }
}

#[test]
fn all_votes_are_as_good_as_a_quorum_and_the_certificate_is_the_same() {
    let (mut world, block) = world_and_block(4);
    let quorum = world.collude(&block);
    let mut votes: Vec<_> = (0..4)
        .map(|witness| world.vote_of(witness, &block))
        .map(|vote| (vote.signer, vote.signature))
        .collect();
    votes.sort_unstable_by_key(|(voter, _)| *voter);
    let all = Arc::new(Certificate { votes, ..(*quorum).clone() });
    assert_eq!(all.id(), quorum.id());
    assert_eq!(world.apply(&all), Ok(Applied::New));
    assert_eq!(world.apply(&quorum), Ok(Applied::Known));
}

#[test]
fn one_voter_twice_is_one_vote() {
    let (world, block) = world_and_block(4);
    let honest = (*world.collude(&block)).clone();
    let mut doubled = honest.clone();
    doubled.votes[2] = doubled.votes[1];
    assert_eq!(refusal(&world, doubled), LedgerError::Votes(VoteError::Order));
    let mut unsorted = honest;
    unsorted.votes.swap(0, 1);
    assert_eq!(refusal(&world, unsorted), LedgerError::Votes(VoteError::Order));
}

#[test]
fn votes_of_strangers_do_not_count() {
    let (world, block) = world_and_block(4);
    let mut certificate = (*world.collude(&block)).clone();
    let body = world.vote_of(0, &block).body;
    let stranger = Signed::seal(body, &key(77), &world.pool());
    certificate.votes[1] = (stranger.signer, stranger.signature);
    certificate.votes.sort_unstable_by_key(|(voter, _)| *voter);
    let error = refusal(&world, certificate.clone());
    assert_eq!(error, LedgerError::Votes(VoteError::NotAWitness(id(77))));
    // Nor beside a full quorum.
    let mut beside = (*world.collude(&block)).clone();
    beside.votes.push((stranger.signer, stranger.signature));
    beside.votes.sort_unstable_by_key(|(voter, _)| *voter);
    let error = refusal(&world, beside);
    assert_eq!(error, LedgerError::Votes(VoteError::NotAWitness(id(77))));
}

#[test]
fn a_forged_vote_spoils_the_certificate() {
    let (world, block) = world_and_block(4);
    for position in 0..3 {
        let mut certificate = (*world.collude(&block)).clone();
        let voter = certificate.votes[position].0;
        certificate.votes[position].1.0[9] ^= 4;
        let error = refusal(&world, certificate);
        assert_eq!(error, LedgerError::Votes(VoteError::Signature(voter)));
    }
    let mut zeros = (*world.collude(&block)).clone();
    zeros.votes[0].1 = Signature([0; 64]);
    assert!(matches!(refusal(&world, zeros), LedgerError::Votes(VoteError::Signature(_))));
}

#[test]
fn votes_for_another_block_version_or_epoch_do_not_count() {
    let (world, block) = world_and_block(4);
    let other = world.seal(world.ledger.next_block(id(0), send(1, 11)).unwrap(), 0);
    let honest = (*world.collude(&block)).clone();
    let set = world.set().clone();
    let right =
        VoteBody { set_version: set.version, epoch: block.body.epoch, block: block_hash(&block) };
    let wrongs = [
        VoteBody { block: block_hash(&other), ..right },
        VoteBody { set_version: set.version + 1, ..right },
        VoteBody { set_version: set.version - 1, ..right },
        VoteBody { epoch: right.epoch + 1, ..right },
    ];
    for wrong in wrongs {
        let position = 1;
        let (voter, _) = honest.votes[position];
        let key = world.witnesses.iter().find(|key| key.node_id() == voter).unwrap();
        let vote = Signed::seal(wrong, key, &world.pool());
        let mut certificate = honest.clone();
        certificate.votes[position].1 = vote.signature;
        let error = refusal(&world, certificate);
        assert_eq!(error, LedgerError::Votes(VoteError::Signature(voter)));
        let mut collector = VoteCollector::new(block.clone(), &set, world.pool());
        let refused = collector.add(&vote, &mut Verifier::strict()).unwrap_err();
        assert!(matches!(refused, VoteError::OtherBlock | VoteError::SetVersion { .. }));
        assert_eq!(collector.votes(), 0);
    }
}

#[test]
fn certificates_of_other_set_versions() {
    let (world, block) = world_and_block(4);
    let honest = (*world.collude(&block)).clone();
    let ahead = Certificate { set_version: 3, ..honest.clone() };
    let error = refusal(&world, ahead);
    assert_eq!(error, LedgerError::MissingHandover { version: 3 });
    assert!(error.is_retryable());
    for version in [0, 1] {
        let behind = Certificate { set_version: version, ..honest.clone() };
        let error = refusal(&world, behind);
        assert_eq!(error, LedgerError::WrongVersion { account: id(0), seq: 1, version });
        assert!(!error.is_retryable());
    }
}

#[test]
fn a_collector_counts_each_witness_once_and_completes_once() {
    let (world, block) = world_and_block(4);
    let set = world.set().clone();
    let mut verifier = Verifier::strict();
    let mut collector = VoteCollector::new(block.clone(), &set, world.pool());
    assert_eq!(collector.missing().collect::<Vec<_>>(), set.members);
    let votes: Vec<Vote> = (0..4).map(|witness| world.vote_of(witness, &block)).collect();
    for vote in [&votes[0], &votes[0], &votes[2], &votes[0], &votes[2]] {
        assert_eq!(collector.add(vote, &mut verifier), Ok(None));
    }
    assert_eq!(collector.votes(), 2);
    let stranger = Signed::seal(votes[0].body, &key(77), &world.pool());
    assert_eq!(collector.add(&stranger, &mut verifier), Err(VoteError::NotAWitness(id(77))));
    let mut forged = votes[1].clone();
    forged.signature = votes[0].signature;
    let refused = collector.add(&forged, &mut verifier);
    assert_eq!(refused, Err(VoteError::Signature(forged.signer)));
    let certificate = collector.add(&votes[1], &mut verifier).unwrap().expect("a quorum");
    assert_eq!(certificate.check_votes(&set, &world.pool(), &mut verifier), Ok(()));
    assert_eq!(collector.add(&votes[3], &mut verifier), Ok(None));
    assert_eq!(collector.missing().count(), 0);
    assert_eq!(collector.block(), &block);
}
