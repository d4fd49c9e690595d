//! An account that is given to another key: nothing moves, the key before signs nothing any more, and
//! every ledger comes to the same whatever the order in which it hears.

use std::sync::Arc;

use edge_base::{Credits, Signed};
use edge_ledger::{
    Applied, BlockKind, Certificate, EquivocationProof, Ledger, LedgerError, Refusal,
};

use crate::world::*;

const OLD: u64 = 1;
const HEIR: u64 = 2;
const PAYER: u64 = 3;

fn rotate(to: u64) -> BlockKind {
    BlockKind::Rotate { to: id(to) }
}

/// The old key's account with a balance, stake, a withdrawal, an open escrow and a payment.
fn with_everything() -> World {
    let mut world = World::with_witnesses(4);
    world.act(0, send(OLD, 10_000_000)).unwrap();
    world.act(0, send(PAYER, 10_000_000)).unwrap();
    world.act(OLD, stake(3_000)).unwrap();
    world.act(OLD, unstake(1_000)).unwrap();
    world.escrow(OLD, 5_000);
    world.act(PAYER, send(OLD, 700)).unwrap();
    world
}

/// The block that a key would sign next on an account of somebody.
fn signed_by(world: &World, key: u64, account: u64, kind: BlockKind) -> edge_ledger::SignedBlock {
    world.seal(world.ledger.next_block(id(account), kind).unwrap(), key)
}

#[test]
fn nothing_moves_and_the_heir_goes_on_with_everything() {
    let mut world = with_everything();
    let (before, totals) = (world.ledger.account(&id(OLD)), world.ledger.totals());
    let escrow = world.ledger.open_escrows(&id(OLD)).next().unwrap();
    let unstake = world.ledger.withdrawals(&id(OLD)).next().unwrap().0;
    let mut block = world.ledger.next_block(id(OLD), rotate(HEIR)).unwrap();
    // A Rotate need not take what was paid.
    block.balance_after = before.balance;
    block.credits.clear();
    let block = world.seal(block, OLD);
    let certificate = world.certify(&block).unwrap();
    assert_eq!(world.apply(&certificate), Ok(Applied::New));
    let after = world.ledger.account(&id(OLD));
    assert_eq!((after.seq, after.head), (before.seq + 1, certificate.id()));
    let same = edge_ledger::AccountView { seq: before.seq, head: before.head, ..after };
    assert_eq!(same, before);
    assert_eq!(world.ledger.totals(), totals);
    world.check_totals();
    assert_eq!(world.ledger.holder(&id(OLD)), id(HEIR));
    assert!(!world.ledger.has_account(&id(HEIR)), "the heir's own account is another one");

    // All that was under way is ended by the heir, and what comes later is taken.
    world.act(PAYER, send(OLD, 50)).unwrap();
    world.act(OLD, settle(escrow, vec![pay(PAYER, 1_000)])).unwrap();
    world.act(OLD, BlockKind::Release { unstake }).unwrap();
    let balance = world.balance(OLD);
    world.act(OLD, send(HEIR, balance)).unwrap();
    world.act(HEIR, BlockKind::Open).unwrap();
    assert_eq!(world.balance(HEIR), balance);
    world.check_totals();
}

#[test]
fn the_key_before_signs_nothing_any_more() {
    let mut world = with_everything();
    let kinds = || [send(OLD + 5, 1), stake(1), rotate(7), escrow(1)];
    // The control: until then a quorum certifies each of them.
    for kind in kinds() {
        let mut before = world.clone();
        let block = signed_by(&world, OLD, OLD, kind);
        assert!(before.certify(&block).is_ok());
        assert!(before.certify(&signed_by(&world, HEIR, OLD, stake(1))).is_err());
    }
    world.act(OLD, rotate(HEIR)).unwrap();
    let not_owner = LedgerError::NotOwner { account: id(OLD), signer: id(OLD) };
    for kind in kinds() {
        let block = signed_by(&world, OLD, OLD, kind.clone());
        assert_eq!(world.certify(&block), Err(Refusal::Block(not_owner.clone())));
        // Not even a quorum that checks nothing: every ledger refuses it.
        let colluded = world.collude(&block);
        assert_eq!(world.apply(&colluded), Err(not_owner.clone()));
        assert!(world.clone().certify(&signed_by(&world, HEIR, OLD, kind)).is_ok());
    }
    // Nor does the heir sign for anybody else, or give the account to the key that has it.
    let foreign = signed_by(&world, HEIR, PAYER, stake(1));
    assert!(world.certify(&foreign).is_err());
    assert!(world.ledger.next_block(id(OLD), rotate(HEIR)).is_err());
    // It may give it on, also back.
    world.act(OLD, rotate(9)).unwrap();
    assert_eq!(world.ledger.holder(&id(OLD)), id(9));
    world.act(OLD, rotate(OLD)).unwrap();
    assert_eq!(world.ledger.holder(&id(OLD)), id(OLD));
    assert_eq!(world.ledger.state(&id(OLD)).unwrap().holder, None);
}

#[test]
fn of_two_heirs_at_one_place_at_most_one_is_certified() {
    let mut world = with_everything();
    let mine = signed_by(&world, OLD, OLD, rotate(HEIR));
    let thiefs = signed_by(&world, OLD, OLD, rotate(9));
    let certificate = world.certify(&mine).unwrap();
    assert!(matches!(world.certify(&thiefs), Err(Refusal::OtherBlock(_))));
    world.apply(&certificate).unwrap();
    let gone = LedgerError::SeqTaken { account: id(OLD), seq: thiefs.body.seq };
    for log in &mut world.logs {
        *log = edge_ledger::VoteLog::new();
    }
    assert_eq!(world.certify(&thiefs), Err(Refusal::Block(gone)));
}

#[test]
fn two_blocks_of_the_key_before_mark_the_account_and_stop_nobody() {
    let world = with_everything();
    let at = |n| signed_by(&world, OLD, OLD, stake(n));
    let proof = EquivocationProof::new(at(1), at(2));
    let block = signed_by(&world, OLD, OLD, rotate(HEIR));
    // The control: with the proof first nobody votes for the Rotate, or for anything.
    let mut frozen = world.clone();
    frozen.ledger.apply_equivocation(proof.clone(), &mut frozen.verifier.clone()).unwrap();
    assert_eq!(frozen.certify(&block), Err(Refusal::Block(LedgerError::Frozen(id(OLD)))));
    // Where a quorum was faster both orders come to the same: the stake is lost, the balance is not.
    let certificate = world.clone().certify(&block).unwrap();
    let mut last = world.clone();
    last.apply(&certificate).unwrap();
    last.ledger.apply_equivocation(proof.clone(), &mut last.verifier.clone()).unwrap();
    assert_eq!(frozen.apply(&certificate), Ok(Applied::New));
    for mut world in [frozen, last] {
        let view = world.ledger.account(&id(OLD));
        assert!(view.slashed && !view.frozen);
        assert!(world.ledger.equivocation(&id(OLD)).is_some());
        assert_eq!(world.act(OLD, unstake(1)), Err(LedgerError::Slashed(id(OLD))));
        let balance = view.balance.plus(view.incoming).unwrap().micro();
        world.act(OLD, send(HEIR, balance)).unwrap();
        world.check_totals();
    }
}

/// Every order of a history with two rotations, payments to the account before and after, and what
/// each of its keys signed.
#[test]
fn every_order_of_arrival_comes_to_the_same_ledger() {
    let mut world = World::alone();
    let start = world.ledger.clone();
    let mut history: Vec<Arc<Certificate>> = vec![
        world.act(0, send(OLD, 5_000)).unwrap(),
        world.act(OLD, rotate(HEIR)).unwrap(),
        world.act(0, send(OLD, 70)).unwrap(),
        world.act(OLD, send(HEIR, 5_000)).unwrap(),
        world.act(OLD, rotate(9)).unwrap(),
        world.act(OLD, send(9, 60)).unwrap(),
    ];
    // What the key before signed and a quorum of cheats certified is refused wherever it comes.
    let stale = start_block(&world);
    history.push(world.collude(&stale));
    let mut orders = 0;
    permutations(&mut history, 0, &mut |order| {
        let mut ledger = start.clone();
        let merged = ledger.merge(order.iter().cloned(), &mut world.verifier.clone());
        assert!(merged.waiting.is_empty());
        assert_eq!(merged.refused.len(), 1);
        assert_same(&ledger, &world.ledger);
        assert_eq!(ledger.holder(&id(OLD)), id(9));
        let states = |ledger: &Ledger| ledger.states().collect::<Vec<_>>();
        assert_eq!(states(&ledger), states(&world.ledger));
        check_totals(&ledger);
        orders += 1;
    });
    assert_eq!(orders, 5_040);
}

/// A block after the last one by the key that has the account no more.
fn start_block(world: &World) -> edge_ledger::SignedBlock {
    signed_by(world, HEIR, OLD, send(8, 10))
}

fn permutations<T: Clone>(items: &mut Vec<T>, at: usize, each: &mut impl FnMut(&[T])) {
    if at == items.len() {
        return each(items);
    }
    for other in at..items.len() {
        items.swap(at, other);
        permutations(items, at + 1, each);
        items.swap(at, other);
    }
}

#[test]
fn states_say_who_has_an_account() {
    let mut world = with_everything();
    let plain = world.ledger.state(&id(OLD)).unwrap().summary().unwrap();
    world.act(OLD, rotate(HEIR)).unwrap();
    let states: Vec<_> = world.ledger.states().collect();
    let state = states.iter().find(|state| state.account == id(OLD)).unwrap();
    assert_eq!(state.holder, Some(id(HEIR)));
    // A proof of the account binds it.
    let mut other = state.clone();
    other.holder = Some(id(9));
    let holdings = |state: &edge_ledger::AccountState| state.summary().unwrap().holdings;
    assert_ne!(holdings(&other), holdings(state));
    assert_ne!(plain.holdings, holdings(state));
    let (supply, burned) = (GRANT, Credits::ZERO);
    let again = Ledger::from_states(genesis(GRANT), states.clone(), supply, burned).unwrap();
    assert_eq!(again.holder(&id(OLD)), id(HEIR));
    assert_eq!(again.account_tree().root(), world.ledger.account_tree().root());
    // A state that names the account's own key is in no canonical form.
    let mut states = states;
    for state in states.iter_mut().filter(|state| state.account == id(OLD)) {
        state.holder = Some(id(OLD));
    }
    let refused = Ledger::from_states(genesis(GRANT), states, supply, burned).map(|_| ());
    assert_eq!(refused, Err(LedgerError::Order("holdings")));
}

#[test]
fn what_is_no_key_gets_no_account() {
    let mut world = with_everything();
    let mut block = world.ledger.next_block(id(OLD), rotate(HEIR)).unwrap();
    block.kind = BlockKind::Rotate { to: edge_base::NodeId([0; 32]) };
    let block = Signed::seal(block, &key(OLD), &world.pool());
    assert!(matches!(world.certify(&block), Err(Refusal::Block(LedgerError::Empty(_)))));
}
