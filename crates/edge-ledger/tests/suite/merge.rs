//! The union of certificate sets: commutative, associative, idempotent, in any order.

use std::sync::Arc;

use edge_base::Signed;
use edge_base::{Credits, Rng, Verifier};
use edge_ledger::{Applied, BlockKind, Certificate, Handover, Ledger, LedgerError};
use proptest::prelude::*;

use crate::world::*;

/// A history with every kind of block, half of it before and half after a handover to four.
fn history() -> (World, Vec<Arc<Certificate>>) {
    let mut rng = Rng::derive(3, "merge");
    let mut world = World::alone();
    for to in 1..8 {
        world.act(0, send(to, 10_000_000)).unwrap();
    }
    for round in 0..80 {
        if round == 30 {
            world.hand_over(4);
        }
        let (owner, other) = (rng.below(8), rng.below(8));
        let open: Vec<_> = world.ledger.open_escrows(&id(owner)).collect();
        let leaving = world.ledger.withdrawals(&id(owner)).next();
        let kind = match (open.first(), rng.below(7)) {
            (_, 4) => stake(3_000),
            (_, 5) => unstake(1_000),
            (_, 6) => match leaving {
                Some((unstake, _)) => BlockKind::Release { unstake },
                None => send(other, 1_000),
            },
            (Some(escrow), 0) => BlockKind::Refund { escrow: *escrow },
            (Some(escrow), _) => settle(*escrow, vec![pay((owner + 1) % 8, 900), pay(9, 50)]),
            (None, 0 | 1) => escrow(20_000),
            (None, _) => send(other, 1_000 + rng.below(1_000)),
        };
        // A Send to oneself is refused, and an Unstake of what is not staked: one step less.
        let _ = world.act(owner, kind);
    }
    world.check_totals();
    let certificates: Vec<_> = world.ledger.certificates().cloned().collect();
    let released = |kind: &BlockKind| matches!(kind, BlockKind::Release { .. });
    assert!(certificates.iter().any(|certificate| released(&certificate.body().kind)));
    assert!(certificates.len() > 60);
    (world, certificates)
}

/// A replica: a ledger and what waits for something else.
#[derive(Clone)]
struct Replica {
    ledger: Ledger,
    waiting: Vec<Arc<Certificate>>,
    verifier: Verifier,
}

impl Replica {
    fn empty(world: &World) -> Replica {
        let ledger = Ledger::new(world.ledger.genesis().clone()).unwrap();
        Replica { ledger, waiting: Vec::new(), verifier: world.verifier.clone() }
    }

    fn merge(&mut self, certificates: &[Arc<Certificate>]) {
        let all = self.waiting.drain(..).chain(certificates.iter().cloned()).collect::<Vec<_>>();
        let merged = self.ledger.merge(all, &mut self.verifier);
        assert_eq!(merged.refused, []);
        self.waiting = merged.waiting;
        check_totals(&self.ledger);
    }

    fn hand_over(&mut self, handover: &Arc<Signed<Handover>>) {
        let applied = self.ledger.apply_handover(handover.clone(), &mut self.verifier);
        assert!(applied.is_ok(), "{applied:?}");
        self.merge(&[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12 * scale() as u32))]

    /// Three arbitrary, overlapping, incomplete subsets in arbitrary order, with duplicates, the
    /// handover at an arbitrary moment.
    #[test]
    fn union_is_commutative_associative_and_idempotent(seed in any::<u64>()) {
        let (world, all) = history();
        let mut rng = Rng::derive(seed, "subsets");
        let handover = world.ledger.handover().unwrap();
        let mut parts: Vec<Vec<_>> = vec![Vec::new(); 3];
        for certificate in &all {
            let mut placed = false;
            for part in &mut parts {
                while rng.chance(2, 5) {
                    part.push(certificate.clone());
                    placed = true;
                }
            }
            if !placed {
                parts[2].push(certificate.clone());
            }
        }
        parts.iter_mut().for_each(|part| rng.shuffle(part));

        let orders = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]];
        for order in orders {
            let mut replica = Replica::empty(&world);
            let when = rng.below(4) as usize;
            for (step, part) in order.into_iter().enumerate() {
                if step == when {
                    replica.hand_over(handover);
                }
                replica.merge(&parts[part]);
                let again = replica.clone();
                replica.merge(&parts[part]);
                assert_same(&again.ledger, &replica.ledger);
            }
            if when == 3 {
                replica.hand_over(handover);
            }
            prop_assert!(replica.waiting.is_empty());
            assert_same(&world.ledger, &replica.ledger);
        }

        // (A ∪ B) ∪ C = A ∪ (B ∪ C), each side a replica that gives away what it has.
        let of = |parts: &[&Vec<Arc<Certificate>>]| {
            let mut replica = Replica::empty(&world);
            replica.hand_over(handover);
            for part in parts {
                replica.merge(part);
            }
            replica
        };
        let everything = |replica: &Replica| -> Vec<Arc<Certificate>> {
            replica.ledger.certificates().chain(&replica.waiting).cloned().collect()
        };
        let (mut left, right) = (of(&[&parts[0], &parts[1]]), of(&[&parts[1], &parts[2]]));
        left.merge(&everything(&of(&[&parts[2]])));
        let mut other = of(&[&parts[0]]);
        other.merge(&everything(&right));
        assert_same(&left.ledger, &other.ledger);
    }
}

#[test]
fn one_by_one_in_reverse_order_each_says_what_it_waits_for() {
    let (world, all) = history();
    let mut replica = Ledger::new(world.ledger.genesis().clone()).unwrap();
    let mut verifier = world.verifier.clone();
    replica.apply_handover(world.ledger.handover().unwrap().clone(), &mut verifier).unwrap();
    let mut left: Vec<_> = all.iter().rev().cloned().collect();
    let mut rounds = 0;
    while !left.is_empty() {
        let before = left.len();
        left.retain(|certificate| match replica.apply(certificate.clone(), &mut verifier) {
            Ok(applied) => {
                assert_eq!(applied, Applied::New);
                false
            }
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        LedgerError::MissingPredecessor { .. } | LedgerError::MissingCredit { .. }
                    ),
                    "{error}"
                );
                assert!(error.is_retryable());
                true
            }
        });
        assert!(left.len() < before, "no progress");
        rounds += 1;
    }
    assert!(rounds > 1, "the order was no obstacle");
    assert_same(&world.ledger, &replica);
}

#[test]
fn frontier_and_ranges_are_enough_to_catch_up() {
    let (world, _) = history();
    let mut late = World::alone();
    late.verifier = world.verifier.clone();
    late.ledger
        .apply_handover(world.ledger.handover().unwrap().clone(), &mut late.verifier)
        .unwrap();
    assert_ne!(world.ledger.frontier_digest(), late.ledger.frontier_digest());
    for byte in 0..=255 {
        if world.ledger.frontier_buckets()[usize::from(byte)]
            == late.ledger.frontier_buckets()[usize::from(byte)]
        {
            continue;
        }
        for (account, seq) in world.ledger.frontier_of_bucket(byte) {
            let have = late.ledger.account(&account).seq;
            assert!(seq > have);
            let limit = usize::try_from(seq - have).unwrap();
            let missing: Vec<_> =
                world.ledger.certificates_after(&account, have, limit).cloned().collect();
            assert_eq!(missing.len(), limit);
            let merged = late.ledger.merge(missing, &mut late.verifier);
            // What waits is found again when another account's chain arrives; asking twice is fine.
            assert_eq!(merged.refused, []);
        }
    }
    let rest = world.ledger.certificates().cloned();
    late.ledger.merge(rest, &mut late.verifier);
    assert_same(&world.ledger, &late.ledger);
    assert_eq!(late.ledger.certificates_after(&id(0), u64::MAX, 5).count(), 0);
    assert_eq!(late.ledger.certificates_after(&id(77), 0, 5).count(), 0);
}

#[test]
fn merge_reports_strangers_by_kind() {
    let (world, all) = history();
    let mut replica = Ledger::new(world.ledger.genesis().clone()).unwrap();
    let first = world.ledger.history(&id(0)).next().unwrap().clone();
    let mut bad = (*first).clone();
    bad.block.body.balance_after = Credits::from_micro(u64::MAX);
    let mut verifier = Verifier::strict();
    let late = all.iter().find(|certificate| certificate.set_version == 2).unwrap();
    let set = [Arc::new(bad), late.clone(), first.clone(), first];
    let merged = replica.merge(set, &mut verifier);
    assert_eq!((merged.new, merged.known), (1, 1));
    assert_eq!(merged.waiting, vec![late.clone()]);
    assert!(matches!(merged.refused[0].error, LedgerError::Signature(_)));
}
