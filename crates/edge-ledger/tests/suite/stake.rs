//! Stake: put up, taken back after an Unstake and a Release, lost by a mark that is no movement.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Digest, EscrowId, Rng, Verifier};
use edge_ledger::{
    Applied, Block, BlockKind, ClaimBook, EquivocationProof, Ledger, LedgerError, Refusal,
    WITHDRAWALS_MAX,
};
use proptest::prelude::*;

use crate::world::*;

const OWNERS: u64 = 5;

fn release(unstake: Digest) -> BlockKind {
    BlockKind::Release { unstake }
}

/// An account as a child would keep it on paper.
#[derive(Clone, Default, Debug)]
struct Page {
    balance: i128,
    incoming: i128,
    staked: i128,
    leaving: BTreeMap<Digest, i128>,
    escrows: BTreeMap<EscrowId, i128>,
    slashed: bool,
}

/// Everybody's pages, and what was burned: it says of every block whether it is allowed.
struct Model {
    pages: BTreeMap<u64, Page>,
    burned: i128,
}

impl Model {
    fn new() -> Model {
        let mut pages: BTreeMap<u64, Page> = (0..OWNERS).map(|n| (n, Page::default())).collect();
        pages.get_mut(&0).unwrap().balance = GRANT.micro().into();
        Model { pages, burned: 0 }
    }

    fn number(node: &edge_base::NodeId) -> u64 {
        (0..OWNERS).find(|n| id(*n) == *node).unwrap()
    }

    /// What the block takes from the balance and what it returns; `None` if it is not allowed.
    fn judge(&self, owner: u64, kind: &BlockKind) -> Option<(i128, i128)> {
        let page = &self.pages[&owner];
        let some = |n: edge_base::Credits| (n.micro() > 0).then_some(i128::from(n.micro()));
        let (takes, returns) = match kind {
            BlockKind::Open => (0, (page.incoming > 0).then_some(0)?),
            BlockKind::Rotate { .. } => (0, 0),
            BlockKind::Send { to, amount, .. } => (some(*amount).filter(|_| *to != id(owner))?, 0),
            BlockKind::Escrow { budget, .. } => (some(*budget)?, 0),
            BlockKind::Settle { escrow, payments, fee } => {
                let budget = page.escrows.get(escrow)?;
                if payments.iter().any(|payment| payment.worker == id(owner)) {
                    return None;
                }
                let paid: i128 = payments.iter().map(|p| i128::from(p.amount.micro())).sum();
                let rest = budget - paid - i128::from(fee.micro());
                (0, (rest >= 0).then_some(rest)?)
            }
            BlockKind::Refund { escrow } => (0, *page.escrows.get(escrow)?),
            BlockKind::Stake { amount } => (some(*amount)?, 0),
            BlockKind::Unstake { amount } => {
                let amount = some(*amount)?;
                (0, (amount <= page.staked && !page.slashed).then_some(0)?)
            }
            BlockKind::Release { unstake } => {
                (0, page.leaving.get(unstake).copied().filter(|_| !page.slashed)?)
            }
        };
        (page.balance + page.incoming + returns >= takes).then_some((takes, returns))
    }

    fn write(&mut self, owner: u64, kind: &BlockKind, hash: Digest, moved: (i128, i128)) {
        let page = self.pages.get_mut(&owner).unwrap();
        page.balance += page.incoming + moved.1 - moved.0;
        page.incoming = 0;
        let mut paid = Vec::new();
        match kind {
            BlockKind::Open | BlockKind::Rotate { .. } => {}
            BlockKind::Send { to, amount, .. } => paid.push((*to, *amount)),
            BlockKind::Escrow { .. } => {
                page.escrows.insert(EscrowId(hash), moved.0);
            }
            BlockKind::Settle { escrow, payments, fee } => {
                page.escrows.remove(escrow);
                self.burned += i128::from(fee.micro());
                paid.extend(payments.iter().map(|payment| (payment.worker, payment.amount)));
            }
            BlockKind::Refund { escrow } => {
                page.escrows.remove(escrow);
            }
            BlockKind::Stake { .. } => page.staked += moved.0,
            BlockKind::Unstake { amount } => {
                page.staked -= i128::from(amount.micro());
                page.leaving.insert(hash, amount.micro().into());
            }
            BlockKind::Release { unstake } => {
                page.leaving.remove(unstake);
            }
        }
        for (to, amount) in paid {
            let page = self.pages.get_mut(&Model::number(&to)).unwrap();
            page.incoming += i128::from(amount.micro());
        }
    }

    fn compare(&self, ledger: &Ledger) {
        let (mut sum, mut staked, mut slashed) = (self.burned, 0, 0);
        for (owner, page) in &self.pages {
            let view = ledger.account(&id(*owner));
            let leaving: i128 = page.leaving.values().sum();
            let escrowed: i128 = page.escrows.values().sum();
            let stated = [view.balance, view.incoming, view.escrowed, view.staked, view.leaving]
                .map(|credits| i128::from(credits.micro()));
            let written = [page.balance, page.incoming, escrowed, page.staked, leaving];
            assert_eq!(stated, written, "account {owner}");
            assert!(written.iter().all(|amount| *amount >= 0), "a debt of {owner}");
            assert_eq!(view.slashed, page.slashed);
            let open: BTreeMap<_, _> = ledger
                .withdrawals(&id(*owner))
                .map(|(unstake, amount)| (unstake, i128::from(amount.micro())))
                .collect();
            assert_eq!(open, page.leaving);
            sum += written.iter().sum::<i128>();
            staked += page.staked + leaving;
            slashed += if page.slashed { page.staked + leaving } else { 0 };
        }
        assert_eq!(sum, i128::from(GRANT.micro()), "credits are made or lost");
        let totals = ledger.totals();
        assert!(totals.conserved());
        assert_eq!(i128::from(totals.staked.micro()), staked);
        assert_eq!(i128::from(totals.slashed.micro()), slashed);
        assert_eq!(i128::from(totals.burned.micro()), self.burned);
    }
}

/// A block of any kind, mostly one that is allowed.
fn any_kind(rng: &mut Rng, owner: u64, seen: &[Digest], model: &Model) -> BlockKind {
    let amount = |rng: &mut Rng| *rng.pick(&[0, 1, 700, 40_000, 2_000_000, u64::MAX]).unwrap();
    let page = &model.pages[&owner];
    let of = |rng: &mut Rng, own: Vec<Digest>| {
        let from = if rng.chance(3, 4) { &own[..] } else { seen };
        rng.pick(from).copied().unwrap_or(Digest::of(b"never seen"))
    };
    let escrows = || page.escrows.keys().map(|escrow| escrow.0).collect();
    match rng.below(9) {
        0 => BlockKind::Open,
        1 => send(rng.below(OWNERS), amount(rng)),
        2 => escrow(amount(rng)),
        3 => {
            let payments = (0..rng.below(3)).map(|_| pay(rng.below(OWNERS), 1 + rng.below(900)));
            let payments = payments.collect();
            settle(EscrowId(of(rng, escrows())), payments)
        }
        4 => BlockKind::Refund { escrow: EscrowId(of(rng, escrows())) },
        5 => stake(amount(rng)),
        6 => unstake(amount(rng)),
        7 => release(of(rng, page.leaving.keys().copied().collect())),
        _ => send(rng.below(OWNERS), 5_000_000 + rng.below(10_000_000)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24 * scale() as u32))]

    /// The ledger accepts what the pages allow and has what the pages say, after every block; and
    /// certificates and marks in any other order give the same ledger.
    #[test]
    fn a_naive_model_agrees_whatever_the_schedule(seed in any::<u64>()) {
        let mut rng = Rng::derive(seed, "stake");
        let mut world = World::alone();
        let mut model = Model::new();
        let mut seen = Vec::new();
        for _ in 0..120 {
            if rng.chance(1, 60) {
                let owner = 1 + rng.below(OWNERS - 1);
                world.ledger.slash(fault(owner));
                model.pages.get_mut(&owner).unwrap().slashed = true;
            }
            let owner = rng.below(OWNERS);
            let kind = any_kind(&mut rng, owner, &seen, &model);
            let allowed = model.judge(owner, &kind);
            match world.act(owner, kind.clone()) {
                Ok(certificate) => {
                    prop_assert!(allowed.is_some(), "{kind:?} of {owner} was accepted");
                    let id = certificate.id();
                    seen.push(id);
                    model.write(owner, &kind, id, allowed.unwrap());
                }
                Err(error) => prop_assert!(allowed.is_none(), "{kind:?} of {owner}: {error}"),
            }
            model.compare(&world.ledger);
        }
        world.check_totals();

        let mut left: Vec<_> = world.ledger.certificates().cloned().collect();
        let mut marks: Vec<_> = world.ledger.uncharged().collect();
        for _ in 0..3 {
            rng.shuffle(&mut left);
            rng.shuffle(&mut marks);
            let mut other = Ledger::new(world.ledger.genesis().clone()).unwrap();
            let parts = left.chunks(1 + left.len() / (1 + marks.len()));
            let mut waiting = Vec::new();
            let mut marks = marks.iter().chain(marks.first());
            for part in parts {
                let part = waiting.drain(..).chain(part.iter().cloned()).collect::<Vec<_>>();
                let merged = other.merge(part, &mut world.verifier);
                prop_assert_eq!(merged.refused, []);
                waiting = merged.waiting;
                if let Some(offence) = marks.next() {
                    other.slash(*offence);
                }
            }
            marks.for_each(|offence| {
                other.slash(*offence);
            });
            prop_assert!(waiting.is_empty());
            assert_same(&world.ledger, &other);
        }
    }
}

#[test]
fn stake_goes_up_and_comes_back_once() {
    let mut world = World::alone();
    world.act(0, stake(900)).unwrap();
    let first = world.act(0, unstake(400)).unwrap().id();
    let second = world.act(0, unstake(400)).unwrap().id();
    assert_ne!(first, second, "two withdrawals of one amount are two");
    let view = world.ledger.account(&id(0));
    assert_eq!((view.staked, view.leaving), (micro(100), micro(800)));
    assert_eq!(view.balance, GRANT.minus(micro(900)).unwrap());
    let too_much = LedgerError::NotStaked { staked: micro(100), asked: micro(101) };
    assert_eq!(world.act(0, unstake(101)).map(drop), Err(too_much));

    world.act(0, release(first)).unwrap();
    let again = world.act(0, release(first)).map(drop);
    assert_eq!(again, Err(LedgerError::WithdrawalEnded(first)));
    let view = world.ledger.account(&id(0));
    assert_eq!((view.staked, view.leaving), (micro(100), micro(400)));
    assert_eq!(view.balance, GRANT.minus(micro(500)).unwrap());
    assert_eq!(world.ledger.withdrawals(&id(0)).collect::<Vec<_>>(), [(second, micro(400))]);
    world.check_totals();
}

/// What only the owner's own ledger would refuse, signed by a quorum that looks at nothing.
#[test]
fn not_even_a_quorum_releases_twice_or_for_a_stranger() {
    let mut world = World::with_witnesses(4);
    world.act(0, send(1, 5_000)).unwrap();
    world.act(0, stake(900)).unwrap();
    let withdrawal = world.act(0, unstake(900)).unwrap().id();
    let forge = |world: &World, owner: u64, kind: BlockKind, gain: i64| {
        let view = world.ledger.account(&id(owner));
        let block = Block {
            account: id(owner),
            seq: view.seq + 1,
            prev: view.head,
            epoch: 1,
            debit: kind.debit(),
            kind,
            credits: vec![],
            balance_after: micro(view.balance.micro().checked_add_signed(gain).unwrap()),
        };
        world.collude(&world.seal(block, owner))
    };
    let stolen = forge(&world, 1, release(withdrawal), 900);
    assert_eq!(world.apply(&stolen), Err(LedgerError::NoWithdrawal(withdrawal)));
    let kept = forge(&world, 0, unstake(1), 0);
    let not_there = LedgerError::NotStaked { staked: micro(0), asked: micro(1) };
    assert_eq!(world.apply(&kept), Err(not_there));
    for nothing in [stake(0), unstake(0)] {
        let empty = forge(&world, 0, nothing, 0);
        assert_eq!(world.apply(&empty), Err(LedgerError::Empty("a stake of nothing")));
    }
    let more = forge(&world, 0, release(withdrawal), 901);
    assert!(matches!(world.apply(&more), Err(LedgerError::BalanceAfter { .. })));
    let other = world.ledger.history(&id(0)).next().unwrap().id();
    let not_one = forge(&world, 0, release(other), 900);
    assert_eq!(world.apply(&not_one), Err(LedgerError::NoWithdrawal(other)));

    let once = forge(&world, 0, release(withdrawal), 900);
    assert_eq!(world.apply(&once), Ok(Applied::New));
    let twice = forge(&world, 0, release(withdrawal), 900);
    assert_eq!(world.apply(&twice), Err(LedgerError::WithdrawalEnded(withdrawal)));
    world.check_totals();
}

/// A witness that heard of the fault votes for neither step; other blocks go on.
#[test]
fn a_slashed_account_takes_nothing_back() {
    let mut world = World::with_witnesses(4);
    world.act(0, send(1, 10_000)).unwrap();
    world.act(1, stake(3_000)).unwrap();
    let withdrawal = world.act(1, unstake(1_000)).unwrap().id();
    let signed = [unstake(500), release(withdrawal)].map(|kind| {
        let block = world.ledger.next_block(id(1), kind).unwrap();
        world.seal(block, 1)
    });
    assert_eq!(world.ledger.slash(fault(1)), Applied::New);
    assert_eq!(world.ledger.slash(fault(1)), Applied::Known);
    for block in signed {
        let mut verifier = Verifier::strict();
        let checked = world.ledger.check(&block, &ClaimBook::new(), &mut verifier);
        assert_eq!(checked, Err(LedgerError::Slashed(id(1))));
        assert_eq!(world.certify(&block), Err(Refusal::Block(LedgerError::Slashed(id(1)))));
        let asked = world.ledger.next_block(id(1), block.body.kind);
        assert_eq!(asked, Err(LedgerError::Slashed(id(1))));
    }
    let view = world.ledger.account(&id(1));
    assert!(view.slashed && !view.frozen);
    assert_eq!(world.ledger.totals().slashed, micro(3_000));
    world.act(1, send(0, 7_000)).unwrap();
    world.act(0, stake(5)).unwrap();
    assert_eq!(world.ledger.totals().slashed, micro(3_000), "others keep theirs");
    world.check_totals();
}

/// Two signed blocks at one seq freeze the account: its stake is slashed with it.
#[test]
fn a_frozen_account_takes_nothing_back() {
    let mut world = World::with_witnesses(4);
    world.act(0, send(1, 10_000)).unwrap();
    world.act(1, stake(3_000)).unwrap();
    let [one, other] = [unstake(500), send(2, 5)].map(|kind| {
        let block = world.ledger.next_block(id(1), kind).unwrap();
        world.seal(block, 1)
    });
    let proof = EquivocationProof::new(one.clone(), other);
    world.ledger.apply_equivocation(proof, &mut Verifier::strict()).unwrap();
    assert_eq!(world.certify(&one), Err(Refusal::Block(LedgerError::Frozen(id(1)))));
    assert!(world.ledger.account(&id(1)).slashed);
    assert_eq!(world.ledger.totals().slashed, micro(3_000));
    world.check_totals();
}

/// What was certified by those who had not heard applies to those who had, in either order.
#[test]
fn a_mark_and_a_certificate_commute() {
    let mut world = World::alone();
    world.act(0, stake(3_000)).unwrap();
    let withdrawal = world.act(0, unstake(1_000)).unwrap();
    let mut early = world.ledger.clone();
    early.slash(fault(0));
    let returned = world.act(0, release(withdrawal.id())).unwrap();
    world.ledger.slash(fault(0));
    let applied = early.apply(returned, &mut Verifier::strict());
    assert_eq!(applied, Ok(Applied::New));
    assert_same(&early, &world.ledger);
    assert_eq!(early.totals().slashed, micro(2_000));
    // A mark on an account that is not here yet holds when it comes.
    let mut late = Ledger::new(world.ledger.genesis().clone()).unwrap();
    late.slash(fault(0));
    late.slash(fault(4));
    let certificates: Vec<Arc<_>> = world.ledger.certificates().cloned().collect();
    late.merge(certificates, &mut Verifier::strict());
    assert_eq!(late.totals(), world.ledger.totals());
    let marks: BTreeSet<_> = late.slashed().collect();
    assert_eq!(marks, BTreeSet::from([id(0), id(4)]));
}

#[test]
fn an_account_has_a_bounded_number_of_withdrawals() {
    let mut world = World::alone();
    world.act(0, stake(1_000)).unwrap();
    for _ in 0..WITHDRAWALS_MAX {
        world.act(0, unstake(1)).unwrap();
    }
    let (what, count, limit) = ("withdrawals", WITHDRAWALS_MAX + 1, WITHDRAWALS_MAX);
    let refused = world.act(0, unstake(1)).map(drop);
    assert_eq!(refused, Err(LedgerError::TooMany { what, count, limit }));
    let first = world.ledger.withdrawals(&id(0)).next().unwrap().0;
    world.act(0, release(first)).unwrap();
    world.act(0, unstake(1)).unwrap();
    world.check_totals();
}

/// 2^63 and its neighbours neither wrap nor pass.
#[test]
fn amounts_at_the_edge_of_u64_neither_wrap_nor_panic() {
    let mut world = World::granted(micro(u64::MAX));
    for _ in 0..2 {
        world.act(0, stake(u64::MAX)).unwrap();
        assert!(world.act(0, stake(1)).is_err());
        let withdrawal = world.act(0, unstake(u64::MAX)).unwrap().id();
        assert!(world.act(0, unstake(1)).is_err());
        world.ledger.totals();
        world.act(0, release(withdrawal)).unwrap();
        assert_eq!(world.balance(0), u64::MAX);
    }
    let mut small = World::alone();
    small.act(0, stake(1)).unwrap();
    for huge in [1 << 63, u64::MAX, u64::MAX - 1] {
        assert!(small.act(0, stake(huge)).is_err());
        assert!(small.act(0, unstake(huge)).is_err());
    }
    small.check_totals();
}
