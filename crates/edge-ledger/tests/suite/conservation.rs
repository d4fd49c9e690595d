//! Conservation of credits after every step of random histories, with junk in between that even a
//! quorum has signed.

use std::sync::Arc;

use edge_base::{Credits, Digest, EscrowId, Rng, Signed};
use edge_ledger::{Applied, Block, BlockKind, EscrowState, FeeRate, LedgerError};
use proptest::prelude::*;

use crate::world::*;

const OWNERS: u64 = 6;

#[derive(Clone, Debug)]
enum Op {
    Open(u64),
    Send(u64, u64, u64),
    Escrow(u64, u64),
    Settle(u64, u64, Vec<(u64, u64)>),
    Refund(u64, u64),
    Stake(u64, u64),
    Unstake(u64, u64),
    Release(u64, u64),
    Rotate(u64, u64),
    Junk(u64, u64),
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 1..2_000_000u64,
        2 => 0..GRANT.micro(),
        1 => prop::sample::select(vec![0, 1, 1 << 63, (1 << 63) - 1, u64::MAX, u64::MAX - 1]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let owner = || 0..OWNERS;
    prop_oneof![
        1 => owner().prop_map(Op::Open),
        3 => (owner(), owner(), amount()).prop_map(|(a, b, n)| Op::Send(a, b, n)),
        2 => (owner(), amount()).prop_map(|(a, n)| Op::Escrow(a, n)),
        2 => (owner(), any::<u64>(), prop::collection::vec((owner(), amount()), 0..5))
            .prop_map(|(a, which, payments)| Op::Settle(a, which, payments)),
        1 => (owner(), any::<u64>()).prop_map(|(a, which)| Op::Refund(a, which)),
        2 => (owner(), amount()).prop_map(|(a, n)| Op::Stake(a, n)),
        2 => (owner(), amount()).prop_map(|(a, n)| Op::Unstake(a, n)),
        2 => (owner(), any::<u64>()).prop_map(|(a, which)| Op::Release(a, which)),
        1 => (owner(), 0..OWNERS + 3).prop_map(|(a, to)| Op::Rotate(a, to)),
        2 => (owner(), any::<u64>()).prop_map(|(a, seed)| Op::Junk(a, seed)),
    ]
}

/// An escrow of anybody, open or not.
fn some_escrow(escrows: &[EscrowId], which: u64) -> EscrowId {
    match escrows.len() as u64 {
        0 => EscrowId(Digest::of(&which.to_le_bytes())),
        n => escrows[(which % n) as usize],
    }
}

/// A withdrawal, ended or not: every second time the owner's own, else anybody's.
fn some_withdrawal(world: &World, owner: u64, which: u64) -> Digest {
    let is_one = |block: &Block| {
        let fits = which.is_multiple_of(2) || block.account == id(owner);
        fits && matches!(block.kind, BlockKind::Unstake { .. })
    };
    let certificates = world.ledger.certificates().filter(|c| is_one(c.body()));
    let all: Vec<_> = certificates.map(|certificate| certificate.id()).collect();
    match all.len() as u64 {
        0 => Digest::of(&which.to_le_bytes()),
        n => all[(which % n) as usize],
    }
}

fn step(world: &mut World, escrows: &mut Vec<EscrowId>, op: Op) {
    let before = world.ledger.frontier_digest();
    let (owner, kind) = match op {
        Op::Open(owner) => (owner, BlockKind::Open),
        Op::Send(owner, to, n) => (owner, send(to, n)),
        Op::Escrow(owner, n) => (owner, escrow(n)),
        Op::Settle(owner, which, payments) => {
            let payments = payments.into_iter().map(|(worker, n)| pay(worker, n)).collect();
            match BlockKind::settle(some_escrow(escrows, which), payments, FeeRate::DEFAULT) {
                Ok(kind) => (owner, kind),
                Err(_) => return,
            }
        }
        Op::Refund(owner, which) => {
            (owner, BlockKind::Refund { escrow: some_escrow(escrows, which) })
        }
        Op::Stake(owner, n) => (owner, stake(n)),
        Op::Unstake(owner, n) => (owner, unstake(n)),
        Op::Release(owner, which) => {
            (owner, BlockKind::Release { unstake: some_withdrawal(world, owner, which) })
        }
        Op::Rotate(owner, to) => (owner, BlockKind::Rotate { to: id(to) }),
        Op::Junk(owner, seed) => {
            junk(world, owner, seed);
            assert_eq!(before, world.ledger.frontier_digest(), "junk changed the state");
            return;
        }
    };
    let opens = matches!(kind, BlockKind::Escrow { .. });
    match world.act(owner, kind) {
        Ok(certificate) if opens => escrows.push(EscrowId(certificate.id())),
        Ok(_) => {}
        Err(error) => {
            assert!(!error.is_retryable(), "{error}");
            assert_eq!(before, world.ledger.frontier_digest(), "a refusal changed the state");
        }
    }
}

/// A valid next block with one lie in it, signed by its owner and by a whole quorum: refused by
/// every rule of the fold, not only by the witnesses.
fn junk(world: &mut World, owner: u64, seed: u64) {
    let mut rng = Rng::derive(seed, "junk");
    let kinds = [
        send((owner + 1) % OWNERS, 1 + rng.below(5_000)),
        escrow(1 + rng.below(5_000)),
        stake(1 + rng.below(5_000)),
    ];
    let kind = kinds[rng.below(3) as usize].clone();
    let Ok(honest) = world.ledger.next_block(id(owner), kind) else { return };
    let mut block = honest.clone();
    lie(world, &mut block, &mut rng);
    assert_ne!(block, honest);
    let holder = world.holder(owner);
    let block = world.seal(block, holder);
    let certificate = world.collude(&block);
    let refused = world.apply(&certificate);
    assert!(refused.is_err(), "accepted {:?}", block.body);

    // And the honest block by somebody else, or with votes nobody cast.
    // Also by who signed until the account was given to another key.
    let other = if holder == owner { KEYS + 1 } else { owner };
    let forged = Signed { signer: id(other), ..world.seal(honest.clone(), other) };
    let forged = world.collude(&forged);
    assert!(world.apply(&forged).is_err());
    let mut unvoted = (*world.collude(&world.seal(honest, holder))).clone();
    unvoted.votes[0].1.0[rng.below(64) as usize] ^= 1 << rng.below(8);
    assert!(world.apply(&Arc::new(unvoted)).is_err());
}

fn lie(world: &World, block: &mut Block, rng: &mut Rng) {
    let wrap = |amount: Credits, by: u64| micro(amount.micro().wrapping_add(by));
    let by = *rng.pick(&[1, u64::MAX, 1 << 63, GRANT.micro()]).unwrap();
    match rng.below(10) {
        0 => block.seq += 1 + rng.below(3),
        1 => block.seq = 0,
        2 => block.prev = Digest::of(b"another chain"),
        3 => block.balance_after = wrap(block.balance_after, by),
        4 => block.debit = wrap(block.debit, by),
        5 => {
            // Nothing leaves, or both sides of the sum wrap around: the 2^63 trick.
            block.debit = wrap(block.debit, by);
            block.balance_after = wrap(block.balance_after, by.wrapping_neg());
        }
        6 => match &mut block.kind {
            BlockKind::Send { amount, .. } => *amount = wrap(*amount, by),
            BlockKind::Escrow { budget, .. } => *budget = wrap(*budget, by),
            BlockKind::Stake { amount } => *amount = wrap(*amount, by),
            BlockKind::Open
            | BlockKind::Settle { .. }
            | BlockKind::Refund { .. }
            | BlockKind::Unstake { .. }
            | BlockKind::Release { .. }
            | BlockKind::Rotate { .. } => unreachable!(),
        },
        7 => {
            // Credit any certificate of the ledger that is not ours to credit now.
            let all: Vec<_> = world.ledger.certificates().map(|c| c.id()).collect();
            let foreign = rng.pick(&all).filter(|id| !block.credits.contains(id));
            block.credits.push(foreign.copied().unwrap_or(Digest::of(b"never seen")));
            block.credits.sort_unstable();
        }
        8 => block.epoch += 1,
        _ => {
            block.credits.push(*block.credits.first().unwrap_or(&Digest::default()));
            block.credits.sort_unstable();
        }
    }
}

fn run(witnesses: u64, ops: Vec<Op>) -> World {
    let mut world = World::with_witnesses(witnesses);
    let mut escrows = Vec::new();
    for op in ops {
        step(&mut world, &mut escrows, op);
        world.check_totals();
    }
    for escrow in &escrows {
        let view = world.ledger.escrow(escrow).unwrap();
        let open = world.ledger.open_escrows(&view.owner).any(|id| id == *escrow);
        assert_eq!(open, view.state == EscrowState::Open);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24 * scale() as u32))]

    #[test]
    fn credits_are_conserved_by_one_witness(ops in prop::collection::vec(op(), 1..50)) {
        run(1, ops);
    }

    #[test]
    fn credits_are_conserved_by_four_witnesses(ops in prop::collection::vec(op(), 1..30)) {
        run(4, ops);
    }

    #[test]
    fn a_fee_is_rounded_up_and_splitting_never_pays_less(a in any::<u32>(), b in any::<u32>()) {
        let (a, b) = (micro(a.into()), micro(b.into()));
        let whole = FeeRate::DEFAULT.fee(a.plus(b).unwrap()).unwrap();
        let split = FeeRate::DEFAULT.fee(a).unwrap().plus(FeeRate::DEFAULT.fee(b).unwrap()).unwrap();
        prop_assert!(split >= whole);
        prop_assert_eq!(whole.micro(), ((a.micro() + b.micro()) * 3).div_ceil(1_000));
    }

    #[test]
    fn payable_is_the_most_a_budget_can_pay(budget in prop_oneof![0..10_000u64, any::<u64>()]) {
        let budget = micro(budget);
        let cost = |paid: Credits| FeeRate::DEFAULT.fee(paid).and_then(|fee| paid.plus(fee));
        let most = FeeRate::DEFAULT.payable(budget);
        prop_assert!(cost(most).unwrap() <= budget);
        let more = most.plus(Credits::SMALLEST).and_then(cost);
        prop_assert!(more.is_err() || more.unwrap() > budget);
    }
}

#[test]
fn a_long_seeded_history_conserves_and_reaches_every_kind() {
    let mut rng = Rng::derive(1, "history");
    let mut world = World::with_witnesses(1);
    let mut escrows = Vec::new();
    for to in 1..OWNERS {
        world.act(0, send(to, 50_000_000)).unwrap();
    }
    let mut counts = [0u32; 9];
    for _ in 0..400 * scale() {
        let owner = rng.below(OWNERS);
        let op = match rng.below(10) {
            0 => Op::Open(owner),
            1 => Op::Send(owner, rng.below(OWNERS), rng.below(1_000_000)),
            2 => Op::Escrow(owner, rng.below(1_000_000)),
            3 => {
                let pay: Vec<_> =
                    (0..rng.below(4)).map(|_| (rng.below(OWNERS), rng.below(200_000))).collect();
                Op::Settle(owner, rng.next_u64(), pay)
            }
            4 => Op::Refund(owner, rng.next_u64()),
            5 => Op::Stake(owner, rng.below(1_000_000)),
            6 => Op::Unstake(owner, rng.below(500_000)),
            7 => Op::Release(owner, rng.next_u64()),
            8 => Op::Rotate(owner, rng.below(OWNERS + 3)),
            _ => Op::Junk(owner, rng.next_u64()),
        };
        step(&mut world, &mut escrows, op);
    }
    world.check_totals();
    for certificate in world.ledger.certificates() {
        counts[match certificate.body().kind {
            BlockKind::Open => 0,
            BlockKind::Send { .. } => 1,
            BlockKind::Escrow { .. } => 2,
            BlockKind::Settle { .. } => 3,
            BlockKind::Refund { .. } => 4,
            BlockKind::Stake { .. } => 5,
            BlockKind::Unstake { .. } => 6,
            BlockKind::Release { .. } => 7,
            BlockKind::Rotate { .. } => 8,
        }] += 1;
    }
    assert!(counts.iter().all(|count| *count > 0), "a kind never happened: {counts:?}");
    assert!(world.ledger.totals().burned > Credits::ZERO);
}

#[test]
fn edges_of_u64_neither_wrap_nor_panic() {
    let mut world = World::granted(micro(u64::MAX));
    world.act(0, send(1, u64::MAX)).unwrap();
    assert_eq!(world.balance(0), 0);
    world.act(1, BlockKind::Open).unwrap();
    assert_eq!(world.balance(1), u64::MAX);
    let all = world.escrow(1, u64::MAX);
    world.check_totals();
    let most = FeeRate::DEFAULT.payable(micro(u64::MAX)).micro();
    for too_much in [most + 1, u64::MAX - 1] {
        let refused = BlockKind::settle(all, vec![pay(2, too_much)], FeeRate::DEFAULT);
        assert!(refused.is_err() || world.act(1, refused.unwrap()).is_err(), "{too_much}");
    }
    for half in [1 << 63, u64::MAX] {
        // Two halves that wrap around to nothing, and to less than one of them.
        assert!(
            BlockKind::settle(all, vec![pay(2, half), pay(3, half)], FeeRate::DEFAULT).is_err()
        );
        let mut payments = vec![pay(2, half), pay(3, half)];
        payments.sort_unstable_by_key(|payment| payment.worker);
        let wrapped = BlockKind::Settle { escrow: all, payments, fee: Credits::ZERO };
        assert_eq!(world.act(1, wrapped), Err(LedgerError::Overflow));
    }
    world.act(1, settle(all, vec![pay(2, most)])).unwrap();
    world.check_totals();
    assert_eq!(world.ledger.account(&id(2)).incoming, micro(most));
    assert_eq!(world.ledger.totals().burned, FeeRate::DEFAULT.fee(micro(most)).unwrap());
}

#[test]
fn a_pool_without_credits_works_and_moves_nothing() {
    let mut world = World::granted(Credits::ZERO);
    assert!(world.act(0, send(1, 1)).is_err());
    assert!(world.act(0, BlockKind::Open).is_err());
    world.check_totals();
}

#[test]
fn the_same_certificate_again_changes_nothing() {
    let mut world = World::alone();
    let certificate = world.act(0, send(1, 10)).unwrap();
    let before = world.ledger.clone();
    assert_eq!(world.apply(&certificate), Ok(Applied::Known));
    assert_same(&before, &world.ledger);
}
