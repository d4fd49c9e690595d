//! Checkpoints: computed alike by everybody, and a change of the set that loses nothing.

use std::{collections::BTreeSet, sync::Arc};

use edge_base::{Credits, Digest, NodeId, SecretKey, Signed, Verifier};
use edge_ledger::{
    AccountState, Applied, Ballot, Certificate, Change, ChangeOrder, ClaimBook, Closing, CpuHours,
    Decided, EquivocationProof, Ledger, LedgerError, Phase, Plan, Refusal, Resolutions, Sealed,
    VoteError, VoteLog, WitnessSetError, block_hash,
};
use proptest::prelude::*;

use crate::world::*;

/// Precommits of a quorum for a plan, whoever judges it.
pub(crate) fn seal(world: &World, plan: &Plan) -> Decided {
    let checkpoint = plan.checkpoint.clone();
    let body = Ballot {
        version: checkpoint.version,
        epoch: checkpoint.epoch,
        round: 3,
        phase: Phase::Precommit,
        value: Some(checkpoint.digest()),
        valid_round: None,
    };
    let mut votes: Vec<(NodeId, _)> = world
        .witnesses
        .iter()
        .take(world.set().quorum())
        .map(|key| Signed::seal(body, key, &world.pool()))
        .map(|ballot| (ballot.signer, ballot.signature))
        .collect();
    votes.sort_unstable_by_key(|(voter, _)| *voter);
    Decided {
        sealed: Sealed { checkpoint, round: 3, votes },
        cut: plan.cut.clone(),
        resolutions: plan.resolutions.clone(),
    }
}

fn checkpoint(world: &mut World) -> Decided {
    let plan = world.ledger.plan(None, Resolutions::default(), &mut world.verifier).unwrap();
    world.ledger.check_plan(&plan, &mut world.verifier).unwrap();
    let decided = seal(world, &plan);
    let applied = world.ledger.apply_checkpoint(decided.clone(), &mut world.verifier);
    assert_eq!(applied, Ok(Applied::New));
    decided
}

fn order(world: &World, members: Vec<NodeId>, by: u64) -> Signed<ChangeOrder> {
    let mut members = members;
    members.sort_unstable();
    let body = ChangeOrder { version: world.set().version, members };
    Signed::seal(body, &key(by), &world.pool())
}

/// Every witness ends voting; closings of a quorum, from `first` on.
fn close(world: &mut World, first: usize) -> Vec<Signed<Closing>> {
    let (version, pool, quorum) = (world.set().version, world.pool(), world.set().quorum());
    let mut closings = Vec::new();
    for (key, log) in world.witnesses.iter().zip(&mut world.logs) {
        log.promise_end(version);
        closings.push(Signed::seal(world.ledger.closing(log).unwrap(), key, &pool));
    }
    closings.rotate_left(first);
    closings.truncate(quorum);
    closings.sort_unstable_by_key(|closing| closing.signer);
    closings
}

/// The witnesses with numbers `from..from + n` of `witness_keys` as the next set.
fn members(from: usize, n: usize) -> (Vec<SecretKey>, Vec<NodeId>) {
    let keys: Vec<SecretKey> = witness_keys((from + n) as u64).split_off(from);
    let ids = keys.iter().map(SecretKey::node_id).collect();
    (keys, ids)
}

/// Changes the set and returns what was decided. Witnesses that stay keep their vote logs.
fn change(world: &mut World, next: (Vec<SecretKey>, Vec<NodeId>)) -> Decided {
    let (keys, ids) = next;
    let order = order(world, ids, 0);
    let closings = close(world, 0);
    let plan = world
        .ledger
        .plan(Some(Change { order, closings }), Resolutions::default(), &mut world.verifier)
        .unwrap();
    world.ledger.check_plan(&plan, &mut world.verifier).unwrap();
    let decided = seal(world, &plan);
    world.ledger.apply_checkpoint(decided.clone(), &mut world.verifier).unwrap();
    let old: Vec<NodeId> = world.witnesses.iter().map(SecretKey::node_id).collect();
    let kept = |key: &SecretKey| old.iter().position(|id| *id == key.node_id());
    world.logs = keys
        .iter()
        .map(|key| kept(key).map_or(VoteLog::new(), |at| world.logs[at].clone()))
        .collect();
    world.witnesses = keys;
    decided
}

/// A pool with some history and seven witnesses.
fn seven() -> World {
    let mut world = World::with_witnesses(7);
    for owner in 1..5 {
        world.act(0, send(owner, 10_000)).unwrap();
        world.act(owner, send(owner + 1, 10)).unwrap();
    }
    world
}

#[test]
fn a_checkpoint_says_what_the_ledger_comes_to_and_epochs_advance() {
    let mut world = seven();
    let (epoch, states) = (world.ledger.epoch(), world.ledger.states().count() as u64);
    let handover = world.ledger.handover().unwrap().digest();
    assert_eq!(world.ledger.blocks_since_checkpoint(), 8);
    let first = checkpoint(&mut world).sealed.checkpoint;
    assert_eq!((first.epoch, first.prev, first.count), (epoch + 1, handover, states));
    assert_eq!((first.supply, first.burned, first.hours), (GRANT, micro(0), CpuHours::default()));
    assert_eq!(first.accounts, world.ledger.account_tree().root());
    assert_eq!((world.ledger.epoch(), world.ledger.blocks_since_checkpoint()), (epoch + 1, 0));
    // A block of the epoch before is still certified, one after it is of the new epoch.
    let escrow = world.escrow(1, 500);
    world.act(1, settle(escrow, vec![pay(2, 100)])).unwrap();
    let second = checkpoint(&mut world).sealed.checkpoint;
    assert_eq!((second.epoch, second.prev, second.burned), (epoch + 2, first.digest(), micro(1)));
    world.check_totals();
    let base = world.ledger.base().unwrap().clone();
    for account in (0..8).map(id) {
        let proof = base.prove(&account);
        assert!(proof.verify(&second.accounts, &account));
        assert!(!proof.verify(&first.accounts, &account) || proof.summary.is_none());
        assert_eq!(proof.summary.is_some(), world.ledger.has_account(&account));
    }
}

#[test]
fn whoever_lacks_certificates_takes_the_checkpoint_when_they_came() {
    let mut world = seven();
    let mut late = world.ledger.clone();
    world.act(3, send(4, 77)).unwrap();
    let first = checkpoint(&mut world);
    world.act(4, send(3, 7)).unwrap();
    let second = checkpoint(&mut world);
    let mut verifier = world.verifier.clone();
    let ahead = late.apply_checkpoint(second.clone(), &mut verifier);
    assert_eq!(ahead, Err(LedgerError::MissingCheckpoint { epoch: 3 }));
    let missing = late.apply_checkpoint(first.clone(), &mut verifier).unwrap_err();
    assert_eq!(missing, LedgerError::MissingPredecessor { account: id(3), seq: 2 });
    assert!(missing.is_retryable());
    for decided in [&first, &second] {
        // Blocks of an epoch wait until it begins.
        late.merge(world.ledger.certificates().cloned(), &mut verifier);
        assert_eq!(late.apply_checkpoint(decided.clone(), &mut verifier), Ok(Applied::New));
        assert_eq!(late.apply_checkpoint(decided.clone(), &mut verifier), Ok(Applied::Known));
    }
    assert_same(&late, &world.ledger);
    assert_eq!(late.apply_checkpoint(first, &mut verifier), Ok(Applied::Known));
    assert_eq!(late.epoch(), world.ledger.epoch());
}

#[test]
fn plans_and_decisions_that_are_none() {
    let mut world = seven();
    checkpoint(&mut world);
    world.act(1, send(6, 40)).unwrap();
    world.act(6, send(5, 3)).unwrap();
    let mut verifier = world.verifier.clone();
    let good = world.ledger.plan(None, Resolutions::default(), &mut verifier).unwrap();
    let places: Vec<(NodeId, u64)> = good.cut.clone();
    let at = |owner| places.iter().position(|(account, _)| *account == id(owner)).unwrap();
    let (payer, receiver) = (at(1), at(6));
    type Edit<'a> = &'a dyn Fn(&mut Plan);
    let edits: [(&str, Edit<'_>); 12] = [
        ("another root", &|plan| plan.checkpoint.accounts = Digest::of(b"x")),
        ("more supply", &|plan| plan.checkpoint.supply = micro(GRANT.micro() + 1)),
        ("less burned", &|plan| plan.checkpoint.burned = micro(1)),
        ("hours out of nowhere", &|plan| plan.checkpoint.hours = CpuHours::from_micro(1)),
        ("an epoch skipped", &|plan| plan.checkpoint.epoch += 1),
        ("another past", &|plan| plan.checkpoint.prev = Digest::of(b"x")),
        ("another set", &|plan| plan.checkpoint.set.members = members(20, 7).1),
        ("a place carried for nobody", &|plan| {
            plan.checkpoint.carried = vec![edge_ledger::Carried {
                account: id(1),
                seq: 9,
                blocks: vec![Digest::of(b"x")],
            }];
        }),
        ("a receipt without its payment", &|plan| {
            plan.cut.remove(payer);
        }),
        ("a block less", &|plan| {
            plan.cut.remove(receiver);
        }),
        ("unsorted", &|plan| plan.cut.reverse()),
        ("what is in the last one", &|plan| plan.cut[payer].1 -= 1),
    ];
    for (what, edit) in edits {
        let mut plan = good.clone();
        edit(&mut plan);
        let refused = world.ledger.check_plan(&plan, &mut verifier).expect_err(what);
        assert!(!refused.is_retryable(), "{what}");
    }
}

#[test]
fn decisions_need_a_quorum_of_the_right_set() {
    let mut world = seven();
    let mut verifier = world.verifier.clone();
    let plan = world.ledger.plan(None, Resolutions::default(), &mut verifier).unwrap();
    let good = seal(&world, &plan);
    let refused = |edit: &dyn Fn(&mut Decided)| {
        let mut decided = good.clone();
        edit(&mut decided);
        let mut ledger = world.ledger.clone();
        ledger.apply_checkpoint(decided, &mut world.verifier.clone()).unwrap_err()
    };
    let quorum = VoteError::Quorum { have: 4, need: 5 };
    assert_eq!(refused(&|d| d.sealed.votes.truncate(4)), quorum.into());
    assert_eq!(refused(&|d| d.sealed.votes[1] = d.sealed.votes[0]), VoteError::Order.into());
    let voter = good.sealed.votes[0].0;
    assert_eq!(refused(&|d| d.sealed.round = 4), VoteError::Signature(voter).into());
    assert_eq!(
        refused(&|d| d.sealed.checkpoint.burned = micro(9)),
        VoteError::Signature(voter).into()
    );
    let stranger = (id(1), good.sealed.votes[0].1);
    let strange = refused(&|d| {
        d.sealed.votes[0] = stranger;
        d.sealed.votes.sort_unstable_by_key(|(voter, _)| *voter);
    });
    assert_eq!(strange, VoteError::NotAWitness(id(1)).into());
    let unknown = refused(&|d| d.sealed.checkpoint.version = 9);
    assert_eq!(unknown, LedgerError::MissingHandover { version: 9 });
    world.ledger.apply_checkpoint(good.clone(), &mut verifier).unwrap();
    // A second decision of the epoch is a breakdown, and said to be one.
    let mut other = plan;
    other.checkpoint.burned = micro(5);
    let second = seal(&world, &other);
    let refused = world.ledger.apply_checkpoint(second, &mut verifier);
    assert_eq!(refused, Err(LedgerError::ConflictingCheckpoint { epoch: 2 }));
}

#[test]
fn a_single_witness_has_no_checkpoints() {
    let mut world = World::alone();
    world.act(0, send(1, 5)).unwrap();
    let refused = world.ledger.plan(None, Resolutions::default(), &mut world.verifier);
    assert!(matches!(refused, Err(LedgerError::NotACheckpoint(_))));
}

#[test]
fn the_next_set_certifies_and_the_last_one_cannot() {
    let mut world = seven();
    let old = world.clone();
    change(&mut world, members(2, 7));
    assert_eq!((world.set().version, world.ledger.epoch()), (3, 2));
    world.act(1, send(2, 5)).unwrap();
    world.check_totals();
    for owner in [0, 2] {
        let block = old.ledger.next_block(id(owner), send(4, 5)).unwrap();
        let void = old.collude(&old.seal(block, owner));
        let (account, seq) = (id(owner), void.body().seq);
        let wrong = LedgerError::WrongVersion { account, seq, version: 2 };
        assert_eq!(world.apply(&void), Err(wrong));
    }
    // Nor do those who stayed vote under the old version any more.
    let block = old.seal(old.ledger.next_block(id(0), send(4, 6)).unwrap(), 0);
    let mut log = world.logs[0].clone();
    let vote = log.vote(
        &old.ledger,
        &ClaimBook::new(),
        &block,
        &world.witnesses[0],
        &mut world.verifier.clone(),
    );
    assert_eq!(vote, Err(Refusal::Ended(2)));
    // And again, and more of them.
    change(&mut world, members(2, 10));
    assert_eq!((world.set().version, world.set().members.len()), (4, 10));
    world.act(2, send(1, 5)).unwrap();
    world.check_totals();
}

/// A block whose quorum of votes nobody has put together when the set changes: its certificate counts
/// afterwards, its owner can get one from the new set, and nothing else is certified there.
#[test]
fn what_the_old_set_certified_unseen_is_not_lost() {
    let mut world = seven();
    let hidden = world.seal(world.ledger.next_block(id(2), send(9, 33)).unwrap(), 2);
    let certificate = world.certify(&hidden).unwrap();
    let half = world.seal(world.ledger.next_block(id(3), send(9, 44)).unwrap(), 3);
    for at in 0..2 {
        let (log, key) = (&mut world.logs[at], &world.witnesses[at]);
        log.vote(&world.ledger, &world.claims, &half, key, &mut world.verifier).unwrap();
    }
    let decided = change(&mut world, members(1, 7));
    let carried = &decided.sealed.checkpoint.carried;
    let places: BTreeSet<(NodeId, Vec<Digest>)> =
        carried.iter().map(|carried| (carried.account, carried.blocks.clone())).collect();
    let expected = [(id(2), vec![block_hash(&hidden)]), (id(3), vec![block_hash(&half)])];
    assert_eq!(places, BTreeSet::from(expected));

    // Another block at either place gets no votes.
    for owner in [2, 3] {
        let other = world.ledger.next_block(id(owner), send(9, 1)).unwrap();
        let (account, seq) = (id(owner), other.seq);
        let other = world.seal(other, owner);
        let refused = world.certify(&other).map(|_| ());
        assert_eq!(refused, Err(LedgerError::Carried { account, seq }.into()));
        let forced = world.collude(&other);
        let wrong = LedgerError::WrongVersion { account, seq, version: 3 };
        assert_eq!(world.apply(&forced), Err(wrong));
    }
    // An ordinary checkpoint later, both places are still open; the certificate of the old set counts,
    // and so does one of the new set for the other block.
    world.act(1, send(2, 3)).unwrap();
    checkpoint(&mut world);
    assert_eq!(world.ledger.base().unwrap().decided.sealed.checkpoint.carried.len(), 2);
    let again = world.certify(&hidden).unwrap();
    assert_eq!((again.set_version, again.id()), (3, certificate.id()));
    assert_eq!(world.apply(&certificate), Ok(Applied::New));
    assert_eq!(world.apply(&again), Ok(Applied::Known));
    let finished = world.certify(&half).unwrap();
    assert_eq!(world.apply(&finished), Ok(Applied::New));
    assert_eq!(world.ledger.account(&id(9)).incoming, micro(77));
    world.check_totals();
    checkpoint(&mut world);
    assert_eq!(world.ledger.base().unwrap().decided.sealed.checkpoint.carried, []);
}

/// Two blocks that an owner signed for one place, both voted for by some: neither gets new votes.
#[test]
fn two_blocks_at_a_carried_place_stand_still_unless_one_was_certified() {
    let mut world = seven();
    let next = |amount| world.ledger.next_block(id(2), send(9, amount)).unwrap();
    let (a, b) = (world.seal(next(1), 2), world.seal(next(2), 2));
    for (block, voters) in [(&a, 0..5usize), (&b, 5..7)] {
        for at in voters {
            let (log, key) = (&mut world.logs[at], &world.witnesses[at]);
            log.vote(&world.ledger, &world.claims, block, key, &mut world.verifier).unwrap();
        }
    }
    let hidden = world.collude(&a);
    let (keys, ids) = members(0, 7);
    let next = (keys.into_iter().skip(1).chain([key(2_000)]).collect::<Vec<_>>(), {
        let mut ids: Vec<NodeId> = ids.into_iter().skip(1).collect();
        ids.push(key(2_000).node_id());
        ids
    });
    // The closings of those who saw both: the last five.
    let order = order(&world, next.1, 0);
    let closings = close(&mut world, 2);
    let plan = world
        .ledger
        .plan(Some(Change { order, closings }), Resolutions::default(), &mut world.verifier)
        .unwrap();
    let decided = seal(&world, &plan);
    world.ledger.apply_checkpoint(decided, &mut world.verifier).unwrap();
    world.witnesses = next.0;
    world.logs = world.witnesses.iter().map(|_| VoteLog::new()).collect();
    for block in [&a, &b] {
        let (account, seq) = (id(2), block.body.seq);
        let refused = world.certify(block).map(|_| ());
        assert_eq!(refused, Err(LedgerError::Carried { account, seq }.into()));
    }
    assert_eq!(world.apply(&hidden), Ok(Applied::New));
    let pool = world.pool();
    assert!(EquivocationProof::new(a, b).check(&mut world.verifier, &pool).is_ok());
}

/// The control: closings that leave out what was voted for. A quorum of liars loses a block that was
/// certified, and whoever has it says so.
#[test]
fn with_a_quorum_of_liars_a_certified_block_is_lost_and_noticed() {
    let mut world = seven();
    let hidden = world.seal(world.ledger.next_block(id(2), send(9, 33)).unwrap(), 2);
    let certificate = world.certify(&hidden).unwrap();
    let mut knowing = world.clone();
    knowing.apply(&certificate).unwrap();
    let order = order(&world, members(1, 7).1, 0);
    let mut closings = close(&mut world, 0);
    for (closing, key) in closings.iter_mut().zip(0..) {
        let _: u64 = key;
        let body = Closing { voted: Vec::new(), ..closing.body.clone() };
        let witness = world.witnesses.iter().find(|w| w.node_id() == closing.signer).unwrap();
        *closing = Signed::seal(body, witness, &world.pool());
    }
    let plan = world
        .ledger
        .plan(Some(Change { order, closings }), Resolutions::default(), &mut world.verifier)
        .unwrap();
    let decided = seal(&world, &plan);
    world.ledger.apply_checkpoint(decided.clone(), &mut world.verifier).unwrap();
    assert!(matches!(world.apply(&certificate), Err(LedgerError::WrongVersion { .. })));
    let refused = knowing.ledger.apply_checkpoint(decided, &mut knowing.verifier);
    assert_eq!(refused, Err(LedgerError::HandoverConflict(id(2))));
}

#[test]
fn changes_that_are_none() {
    let mut world = seven();
    let block = world.seal(world.ledger.next_block(id(2), send(9, 33)).unwrap(), 2);
    let (log, key0) = (&mut world.logs[0], &world.witnesses[0]);
    log.vote(&world.ledger, &world.claims, &block, key0, &mut world.verifier).unwrap();
    let closings = close(&mut world, 0);
    let next = members(2, 7).1;
    let good = Change { order: order(&world, next.clone(), 0), closings };
    let attempt = |change: Change| {
        world.ledger.plan(Some(change), Resolutions::default(), &mut world.verifier.clone())
    };
    assert!(attempt(good.clone()).is_ok());
    let ordered =
        |members: Vec<NodeId>, by| Change { order: order(&world, members, by), ..good.clone() };
    let present = world.set().members.clone();
    let size = |n| LedgerError::WitnessSet(WitnessSetError::Size(n));
    for (change, error) in [
        (ordered(next.clone(), 1), LedgerError::NotAChange("not the founder's")),
        (
            ordered(members(3, 7).1, 0),
            LedgerError::NotAChange("more members leave than may be faulty"),
        ),
        (ordered(present.clone(), 0), LedgerError::NotAChange("it changes nobody")),
        (
            ordered(members(0, 13).1, 0),
            LedgerError::NotAChange("more than three members join for whom nobody leaves"),
        ),
        (ordered(members(0, 8).1, 0), size(8)),
        (ordered(members(0, 1).1, 0), size(1)),
    ] {
        assert_eq!(attempt(change), Err(error));
    }
    type Edit<'a> = &'a dyn Fn(&mut Vec<Signed<Closing>>);
    let pool = world.pool();
    let again = |closing: &Signed<Closing>, edit: &dyn Fn(&mut Closing)| {
        let mut body = closing.body.clone();
        edit(&mut body);
        let witness = world.witnesses.iter().find(|w| w.node_id() == closing.signer).unwrap();
        Signed::seal(body, witness, &pool)
    };
    let forged = world.ledger.next_block(id(3), send(9, 1)).unwrap();
    let forged = Signed::seal(forged, &key(4), &pool);
    let edits: [(&str, Edit<'_>); 7] = [
        ("too few", &|all| drop(all.pop())),
        ("one twice", &|all| all[1] = all[0].clone()),
        ("another version", &|all| all[0] = again(&all[0], &|c| c.version = 1)),
        ("another root", &|all| all[0] = again(&all[0], &|c| c.accounts = Digest::of(b"x"))),
        ("unsigned", &|all| all[0].body.voted.clear()),
        ("a block its owner did not sign", &|all| {
            all[0] = again(&all[0], &|c| c.voted = vec![forged.clone()]);
        }),
        ("a stranger's", &|all| {
            all[0] = Signed::seal(all[0].body.clone(), &key(5), &pool);
            all.sort_unstable_by_key(|closing| closing.signer);
        }),
    ];
    let first_voted = good.closings.iter().position(|c| !c.body.voted.is_empty());
    for (what, edit) in edits {
        let mut change = good.clone();
        if let Some(at) = first_voted {
            change.closings.swap(0, at);
            let first = change.closings.remove(0);
            change.closings.insert(0, first);
        }
        edit(&mut change.closings);
        assert!(attempt(change).is_err(), "{what}");
    }
    // A witness that has not ended voting does not close.
    let open = VoteLog::new();
    assert!(matches!(world.ledger.closing(&open), Err(LedgerError::NotAChange(_))));
}

/// Whoever knows the genesis record and the founder's handover takes the last checkpoint by its states.
#[test]
fn a_newcomer_begins_at_the_last_checkpoint() {
    let mut world = seven();
    let chain = vec![change(&mut world, members(2, 7)).sealed, {
        world.act(1, send(2, 5)).unwrap();
        change(&mut world, members(4, 7)).sealed
    }];
    world.act(2, send(1, 6)).unwrap();
    let last = checkpoint(&mut world);
    world.act(1, send(3, 8)).unwrap();
    let states: Vec<AccountState> = world.ledger.base().unwrap().states().to_vec();
    let mut verifier = Verifier::strict();
    let mut late = Ledger::new(genesis(GRANT)).unwrap();
    late.apply_handover(world.ledger.handover().unwrap().clone(), &mut verifier).unwrap();
    let refused = late.apply_snapshot(last.clone(), states.clone(), &mut verifier);
    assert_eq!(refused, Err(LedgerError::MissingHandover { version: 4 }));
    let mut forged = chain.clone();
    forged[1].checkpoint.set.members = members(30, 7).1;
    assert!(late.clone().learn_sets(&forged, &mut verifier).is_err());
    assert!(late.clone().learn_sets(&chain[1..], &mut verifier).is_err());
    late.learn_sets(&chain, &mut verifier).unwrap();
    let mut wrong = states.clone();
    wrong[0].balance = Credits::ZERO;
    assert!(late.apply_snapshot(last.clone(), wrong, &mut verifier).is_err());
    assert_eq!(late.epoch(), 1);
    assert_eq!(late.apply_snapshot(last, states, &mut verifier), Ok(Applied::New));
    let merged = late.merge(world.ledger.certificates().cloned(), &mut verifier);
    assert_eq!((merged.new, merged.refused.len(), merged.waiting.len()), (1, 0, 0));
    let pruned = world.ledger.prune();
    assert_eq!(pruned.len(), 10);
    assert_eq!(world.ledger.dropped(), 10);
    assert_same(&late, &world.ledger);
    let again = world.ledger.verified_again(&mut verifier).unwrap();
    assert_same(&again, &world.ledger);
    // Old certificates mean nothing to either any more; new ones do.
    world.act(3, send(1, 1)).unwrap();
    let newest = world.ledger.history(&id(3)).last().unwrap().clone();
    assert_eq!(late.apply(newest, &mut verifier), Ok(Applied::New));
    assert_same(&late, &world.ledger);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16 * scale() as u32))]

    /// Payments, checkpoints, changes of the set and pruning in any order; a follower hears of
    /// certificates late and in another order. Nothing certified is ever lost, and both agree.
    #[test]
    fn nothing_certified_is_lost(
        steps in proptest::collection::vec((0u8..10, 0u64..6, 0u64..6, 1u64..300), 5..60),
    ) {
        let mut world = World::with_witnesses(4);
        let mut follower = world.ledger.clone();
        let mut verifier = world.verifier.clone();
        let (mut held, mut made): (Vec<Arc<Certificate>>, Vec<Arc<Certificate>>) = Default::default();
        let mut heard: Vec<Arc<Certificate>> = Vec::new();
        let mut from = 0;
        for (what, a, b, amount) in steps {
            match what {
                0 => {
                    let decided = checkpoint(&mut world);
                    follower.merge(heard.drain(..), &mut verifier);
                    let taken = follower.apply_checkpoint(decided, &mut verifier);
                    prop_assert_eq!(taken, Ok(Applied::New));
                }
                1 => {
                    from += 1;
                    let decided = change(&mut world, members(from, 4));
                    follower.merge(heard.drain(..), &mut verifier);
                    let taken = follower.apply_checkpoint(decided, &mut verifier);
                    prop_assert_eq!(taken, Ok(Applied::New));
                }
                2 => drop(world.ledger.prune()),
                3 => {
                    // Certified, and kept back by its owner.
                    let Ok(block) = world.ledger.next_block(id(a), send(b + 10, amount)) else { continue };
                    let block = world.seal(block, a);
                    if let Ok(certificate) = world.certify(&block) {
                        held.push(certificate);
                    }
                }
                4 if !held.is_empty() => {
                    let certificate = held.remove(0);
                    world.apply(&certificate).unwrap();
                    heard.push(certificate.clone());
                    made.push(certificate);
                }
                _ => {
                    // Accounts with a block kept back cannot go on: their witnesses voted.
                    let busy = held.iter().any(|c| c.body().account == id(a));
                    if busy { continue }
                    if let Ok(certificate) = world.act(a, send(b, amount)) {
                        heard.insert(0, certificate.clone());
                        made.push(certificate);
                    }
                }
            }
            prop_assert!(world.ledger.totals().conserved());
        }
        for certificate in held.drain(..) {
            prop_assert!(world.apply(&certificate).is_ok(), "a certified block is lost");
            heard.push(certificate.clone());
            made.push(certificate);
        }
        let merged = follower.merge(heard, &mut verifier);
        prop_assert_eq!((merged.refused.len(), merged.waiting.len()), (0, 0));
        for certificate in &made {
            let (account, seq) = (certificate.body().account, certificate.body().seq);
            let kept = world.ledger.certificate(&certificate.id()).is_some();
            prop_assert!(kept || seq <= world.ledger.pruned_below(&account));
            prop_assert!(follower.certificate(&certificate.id()).is_some());
        }
        prop_assert_eq!(follower.frontier(), world.ledger.frontier());
        prop_assert_eq!(follower.frontier_digest(), world.ledger.frontier_digest());
        prop_assert_eq!(follower.totals(), world.ledger.totals());
        prop_assert_eq!(follower.account_tree().root(), world.ledger.account_tree().root());
        check_totals(&follower);
    }
}
