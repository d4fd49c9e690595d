//! The rules of blocks and escrows, one by one. A quorum signs everything here, so that it is the
//! fold that refuses.

use edge_base::{Credits, Digest, EscrowId, NodeId, TaskKind};
use edge_ledger::{
    Applied, Block, BlockKind, CREDITS_MAX, ClaimBook, EscrowState, FeeRate, LedgerError,
    PAYMENTS_MAX, Payment, PriceList,
};

use crate::world::*;

/// What the fold says about a block that everybody signed.
fn forced(world: &World, owner: u64, block: Block) -> Result<Applied, LedgerError> {
    let certificate = world.collude(&world.seal(block, owner));
    let mut ledger = world.ledger.clone();
    let result = ledger.apply(certificate, &mut world.verifier.clone());
    check_totals(&ledger);
    result
}

/// The next block with a kind that `next_block` itself would refuse, with fitting arithmetic.
fn raw(world: &World, owner: u64, kind: BlockKind, returned: u64) -> Block {
    let view = world.ledger.account(&id(owner));
    let debit = kind.debit();
    let balance = view.balance.micro() + returned;
    Block {
        account: id(owner),
        seq: view.seq + 1,
        prev: view.head,
        epoch: world.ledger.epoch(),
        kind,
        debit,
        credits: vec![],
        balance_after: micro(balance.saturating_sub(debit.micro())),
    }
}

#[test]
fn a_payment_arrives_with_the_receivers_next_block() {
    let mut world = World::alone();
    world.act(0, send(1, 300)).unwrap();
    world.act(0, send(1, 200)).unwrap();
    let view = world.ledger.account(&id(1));
    assert_eq!((view.balance, view.incoming, view.seq), (micro(0), micro(500), 0));
    assert_eq!(view.head, world.pool());
    let block = world.ledger.next_block(id(1), send(2, 450)).unwrap();
    assert_eq!((block.credits.len(), block.balance_after), (2, micro(50)));
    world.act(1, send(2, 450)).unwrap();
    let view = world.ledger.account(&id(1));
    assert_eq!((view.balance, view.incoming, view.seq), (micro(50), micro(0), 1));
    assert_eq!(world.ledger.history(&id(1)).count(), 1);
    assert_eq!(world.ledger.history(&id(1)).next().unwrap().id(), view.head);
}

#[test]
fn too_few_credits_say_how_many_are_needed() {
    let mut world = World::alone();
    world.act(0, send(1, 300)).unwrap();
    let asked = world.ledger.next_block(id(1), send(2, 301));
    assert_eq!(asked, Err(LedgerError::Insufficient { have: micro(300), need: micro(301) }));
    let stranger = world.ledger.next_block(id(9), escrow(1));
    assert_eq!(stranger, Err(LedgerError::Insufficient { have: micro(0), need: micro(1) }));
}

#[test]
fn blocks_that_do_nothing_are_refused() {
    let mut world = World::alone();
    world.act(0, send(1, 5)).unwrap();
    let prices = PriceList::uniform(micro(1));
    let expired = BlockKind::Escrow { budget: micro(5), prices, expires_epoch: 0 };
    for kind in [BlockKind::Open, send(1, 0), escrow(0), expired] {
        let refused = forced(&world, 0, raw(&world, 0, kind.clone(), 0));
        assert!(matches!(refused, Err(LedgerError::Empty(_))), "{kind:?} {refused:?}");
        assert!(world.ledger.next_block(id(0), kind).is_err());
    }
    let refused = forced(&world, 0, raw(&world, 0, send(0, 5), 0));
    assert_eq!(refused, Err(LedgerError::SelfPayment));
}

#[test]
fn an_escrow_sets_aside_pays_burns_and_returns() {
    let mut world = World::with_witnesses(4);
    let job = world.escrow(0, 1_000_000);
    let view = world.ledger.account(&id(0));
    assert_eq!((view.escrowed, view.balance), (micro(1_000_000), micro(GRANT.micro() - 1_000_000)));
    let escrow = world.ledger.escrow(&job).unwrap();
    assert_eq!((escrow.owner, escrow.budget), (id(0), micro(1_000_000)));
    assert_eq!((escrow.state, escrow.expires_epoch), (EscrowState::Open, 100));
    assert_eq!(escrow.prices.execution(TaskKind::Embedding, 3), Some(micro(21)));
    assert_eq!(escrow.prices.execution(TaskKind::VectorSearch, 3), None);

    world.act(0, settle(job, vec![pay(2, 100_000), pay(1, 200_000), pay(2, 1)])).unwrap();
    assert_eq!(world.ledger.escrow(&job).unwrap().state, EscrowState::Settled);
    let burned = FeeRate::DEFAULT.fee(micro(300_001)).unwrap();
    assert_eq!(burned, micro(901));
    let view = world.ledger.account(&id(0));
    assert_eq!((view.escrowed, view.balance), (micro(0), micro(GRANT.micro() - 300_001 - 901)));
    assert_eq!(world.ledger.account(&id(1)).incoming, micro(200_000));
    assert_eq!(world.ledger.account(&id(2)).incoming, micro(100_001));
    assert_eq!(world.ledger.totals().burned, burned);
    world.act(1, BlockKind::Open).unwrap();
    world.act(2, send(1, 100_001)).unwrap();
    world.check_totals();
}

#[test]
fn an_escrow_ends_once_whatever_is_tried() {
    let mut world = World::alone();
    let (settled, refunded) = (world.escrow(0, 1_000), world.escrow(0, 1_000));
    world.act(0, settle(settled, vec![pay(1, 10)])).unwrap();
    world.act(0, BlockKind::Refund { escrow: refunded }).unwrap();
    assert_eq!(world.ledger.escrow(&refunded).unwrap().state, EscrowState::Refunded);
    for escrow in [settled, refunded] {
        for kind in [settle(escrow, vec![]), BlockKind::Refund { escrow }] {
            let again = forced(&world, 0, raw(&world, 0, kind, 1_000));
            assert_eq!(again, Err(LedgerError::EscrowEnded(escrow)));
        }
    }
    assert_eq!(world.ledger.open_escrows(&id(0)).count(), 0);
    // Nor one that never was, nor a block that opened none.
    let send_id = EscrowId(world.act(0, send(1, 1)).unwrap().id());
    for escrow in [send_id, EscrowId(Digest::of(b"no block"))] {
        let refused = forced(&world, 0, raw(&world, 0, BlockKind::Refund { escrow }, 5));
        assert_eq!(refused, Err(LedgerError::NoEscrow(escrow)));
    }
}

#[test]
fn only_its_owner_ends_an_escrow() {
    let mut world = World::alone();
    world.act(0, send(1, 5_000)).unwrap();
    let job = world.escrow(0, 1_000);
    for kind in [settle(job, vec![pay(2, 900)]), BlockKind::Refund { escrow: job }] {
        let stolen = forced(&world, 1, raw(&world, 1, kind, 1_000));
        assert_eq!(stolen, Err(LedgerError::NotYourEscrow(job)));
    }
}

#[test]
fn a_settlement_that_lies_is_refused() {
    let mut world = World::alone();
    let job = world.escrow(0, 10_000);
    let kind = |payments: Vec<Payment>, fee| BlockKind::Settle { escrow: job, payments, fee };
    let (mut low, mut high) = (pay(1, 100), pay(2, 100));
    if low.worker > high.worker {
        (low, high) = (high, low);
    }
    let one = micro(1);
    type Check = fn(&LedgerError) -> bool;
    let cases: [(BlockKind, Check); 7] = [
        (kind(vec![high, low], one), |e| matches!(e, LedgerError::Order("payments"))),
        (kind(vec![low, low], one), |e| matches!(e, LedgerError::Order("payments"))),
        (kind(vec![pay(0, 100)], one), |e| matches!(e, LedgerError::SelfPayment)),
        (kind(vec![pay(1, 0)], micro(0)), |e| matches!(e, LedgerError::Empty(_))),
        (kind(vec![low, high], micro(0)), |e| matches!(e, LedgerError::Fee { .. })),
        (kind(vec![low, high], micro(2)), |e| matches!(e, LedgerError::Fee { .. })),
        (kind(vec![pay(1, 10_000)], micro(30)), |e| matches!(e, LedgerError::OverBudget { .. })),
    ];
    for (kind, expected) in cases {
        let refused = forced(&world, 0, raw(&world, 0, kind.clone(), 0)).unwrap_err();
        assert!(expected(&refused), "{kind:?}: {refused}");
        assert!(expected(&world.ledger.next_block(id(0), kind).unwrap_err()));
    }
    let huge = vec![Payment { amount: micro(u64::MAX), ..low }, Payment { amount: one, ..high }];
    let refused = forced(&world, 0, raw(&world, 0, kind(huge, one), 0));
    assert_eq!(refused, Err(LedgerError::Overflow));
    // More returned to the owner than is left.
    let honest = settle(job, vec![pay(1, 100)]);
    let greedy = forced(&world, 0, raw(&world, 0, honest, 10_000));
    assert!(matches!(greedy, Err(LedgerError::BalanceAfter { .. })));
}

#[test]
fn the_place_in_the_chain_is_exact() {
    let mut world = World::with_witnesses(4);
    world.act(0, send(1, 10)).unwrap();
    let honest = world.ledger.next_block(id(0), send(1, 20)).unwrap();
    let change = |change: fn(&mut Block)| {
        let mut block = honest.clone();
        change(&mut block);
        forced(&world, 0, block).unwrap_err()
    };
    assert_eq!(change(|b| b.seq = 0), LedgerError::SeqZero);
    assert_eq!(
        change(|b| b.seq = 1),
        LedgerError::ConflictingCertificate { account: id(0), seq: 1 }
    );
    let ahead = change(|b| b.seq = 9);
    assert_eq!(ahead, LedgerError::MissingPredecessor { account: id(0), seq: 2 });
    assert!(ahead.is_retryable());
    assert_eq!(change(|b| b.prev = Digest::default()), LedgerError::Prev);
    let early = change(|b| b.epoch = 2);
    assert_eq!(early, LedgerError::EpochAhead { epoch: 2 });
    assert!(early.is_retryable());
    assert_eq!(change(|b| b.epoch = 0), LedgerError::EpochFell { from: 1, to: 0 });
    let missing = change(|b| b.credits = vec![Digest::of(b"unseen")]);
    assert_eq!(missing, LedgerError::MissingCredit { id: Digest::of(b"unseen") });
    assert!(missing.is_retryable());
    assert_eq!(forced(&world, 0, honest), Ok(Applied::New));
}

#[test]
fn a_witness_tells_a_certified_place_from_a_missing_one() {
    let mut world = World::with_witnesses(4);
    let certificate = world.act(0, send(1, 10)).unwrap();
    let claims = ClaimBook::new();
    let mut verifier = world.verifier.clone();
    let taken = world.ledger.check(&certificate.block, &claims, &mut verifier);
    assert_eq!(taken, Err(LedgerError::SeqTaken { account: id(0), seq: 1 }));
    assert!(world.ledger.is_certified(&certificate.block));
    assert_eq!(world.ledger.certificate(&certificate.id()), Some(&certificate));
}

#[test]
fn more_incoming_payments_than_a_block_takes_are_taken_largest_first() {
    let mut world = World::alone();
    let count = CREDITS_MAX as u64 + 44;
    for n in 0..count {
        world.act(0, send(1, 1 + n)).unwrap();
    }
    let block = world.ledger.next_block(id(1), BlockKind::Open).unwrap();
    assert_eq!(block.credits.len(), CREDITS_MAX);
    let largest: u64 = (45..=count).sum();
    assert_eq!(block.balance_after, micro(largest));
    let mut greedy = block.clone();
    greedy.credits.push(Digest([0xff; 32]));
    let refused = forced(&world, 1, greedy).unwrap_err();
    assert!(matches!(refused, LedgerError::TooMany { what: "credits", .. }));
    world.act(1, BlockKind::Open).unwrap();
    world.act(1, BlockKind::Open).unwrap();
    assert_eq!(world.ledger.account(&id(1)).balance, micro(count * (count + 1) / 2));
    assert!(world.act(1, BlockKind::Open).is_err());
    world.check_totals();
}

#[test]
fn a_settlement_pays_at_most_so_many_workers() {
    let mut world = World::alone();
    let job = world.escrow(0, 10_000_000);
    let worker = |n: usize| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        Payment { worker: NodeId(bytes), amount: micro(1_000), tasks: 2 }
    };
    let many = settle(job, (0..PAYMENTS_MAX + 1).map(worker).collect());
    let refused = forced(&world, 0, raw(&world, 0, many, 0)).unwrap_err();
    assert!(matches!(refused, LedgerError::TooMany { what: "payments", .. }));
    world.act(0, settle(job, (0..PAYMENTS_MAX).map(worker).collect())).unwrap();
    world.check_totals();
    assert_eq!(world.ledger.accounts().count(), PAYMENTS_MAX + 1);
}

#[test]
fn settle_joins_payments_to_one_worker_and_drops_empty_ones() {
    let job = EscrowId::default();
    let kind = settle(job, vec![pay(2, 5), pay(1, 0), pay(2, 6)]);
    let BlockKind::Settle { payments, fee, .. } = &kind else { panic!() };
    assert_eq!(payments[..], [Payment { tasks: 2, ..pay(2, 11) }]);
    assert_eq!(*fee, micro(1));
    assert_eq!((kind.pays(&id(2)), kind.pays(&id(1))), (Some(micro(11)), None));
    assert!(BlockKind::settle(job, vec![pay(1, u64::MAX), pay(2, 1)], FeeRate::DEFAULT).is_err());
}

#[test]
fn price_lists_are_sorted_and_never_free() {
    let list = PriceList::new([
        (TaskKind::SemanticMatch, micro(3)),
        (TaskKind::Embedding, Credits::ZERO),
        (TaskKind::SemanticMatch, micro(4)),
    ]);
    let prices: Vec<_> = list.iter().collect();
    assert_eq!(prices, [(TaskKind::Embedding, micro(1)), (TaskKind::SemanticMatch, micro(4))]);
    assert_eq!(list.execution(TaskKind::SemanticMatch, 0), Some(micro(4)));
    assert_eq!(list.execution(TaskKind::SemanticMatch, u64::MAX), None);
    assert_eq!(PriceList::uniform(micro(9)).iter().count(), TaskKind::ALL.len());
}
