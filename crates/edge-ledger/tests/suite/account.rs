//! States of accounts, their tree and proofs from it.

use std::sync::Arc;

use edge_base::{Digest, EscrowId, NodeId, Rng, codec, merkle};
use edge_ledger::{
    AccountProof, AccountState, AccountSummary, Accounts, BlockKind, Ledger, LedgerError,
};
use proptest::prelude::*;

use crate::world::*;

/// A pool in which everything an account can hold is held by somebody.
fn busy(witnesses: u64) -> (World, EscrowId) {
    let mut world = World::with_witnesses(witnesses);
    for owner in 1..6 {
        world.act(0, send(owner, 10_000)).unwrap();
        world.act(owner, send(6, 100)).unwrap();
    }
    let escrow = world.escrow(1, 5_000);
    world.act(2, stake(2_000)).unwrap();
    world.act(2, unstake(500)).unwrap();
    let ended = world.escrow(3, 1_000);
    world.act(3, settle(ended, vec![pay(4, 700), pay(7, 100)])).unwrap();
    (world, escrow)
}

fn reborn(ledger: &Ledger) -> Ledger {
    let totals = ledger.totals();
    let (supply, burned) = (totals.granted, totals.burned);
    Ledger::from_states(ledger.genesis().clone(), ledger.states(), supply, burned).unwrap()
}

#[test]
fn a_ledger_made_of_states_answers_as_the_one_they_came_from() {
    let (world, escrow) = busy(4);
    let again = reborn(&world.ledger);
    assert_eq!(again.totals(), world.ledger.totals());
    assert_eq!(again.frontier(), world.ledger.frontier());
    assert_eq!(again.frontier_buckets(), world.ledger.frontier_buckets());
    let views = |ledger: &Ledger| ledger.accounts().collect::<Vec<_>>();
    assert_eq!(views(&again), views(&world.ledger));
    assert_eq!(again.escrow(&escrow), world.ledger.escrow(&escrow));
    assert_eq!(again.account_tree().root(), world.ledger.account_tree().root());
    assert_eq!(again.certificate_count(), 0);
    // Whatever comes next has the same outcome in both.
    let release = world.ledger.withdrawals(&id(2)).next().unwrap().0;
    for (owner, kind) in [
        (1, settle(escrow, vec![pay(4, 3_000)])),
        (2, BlockKind::Release { unstake: release }),
        (4, BlockKind::Open),
        (6, send(1, 400)),
        (0, escrow_kind()),
    ] {
        let mut next = again.next_block(id(owner), kind.clone()).unwrap();
        next.epoch = world.ledger.epoch();
        assert_eq!(next, world.ledger.next_block(id(owner), kind).unwrap(), "owner {owner}");
    }
}

fn escrow_kind() -> BlockKind {
    escrow(77)
}

#[test]
fn states_that_do_not_add_up_or_ascend_are_refused() {
    let (world, _) = busy(4);
    let good: Vec<AccountState> = world.ledger.states().collect();
    type Change = fn(&mut Vec<AccountState>, usize);
    let rich = good.iter().position(|state| state.incoming.len() > 1).unwrap();
    let (burned, supply) = (world.ledger.totals().burned, GRANT);
    let made = |change: Change| {
        let mut states = good.clone();
        change(&mut states, rich);
        Ledger::from_states(world.ledger.genesis().clone(), states, supply, burned)
    };
    let changes: [(Change, LedgerError); 6] = [
        (|s, at| s[at].balance = micro(s[at].balance.micro() + 1), LedgerError::NotConserved),
        (|s, at| s[at].incoming.truncate(1), LedgerError::NotConserved),
        (|s, at| s[at].incoming.reverse(), LedgerError::Order("holdings")),
        (|s, at| s.insert(at, s[at].clone()), LedgerError::Order("states")),
        (|s, at| s.swap(at, (at + 1) % 2), LedgerError::Order("states")),
        (|s, at| s[at].staked = micro(u64::MAX), LedgerError::Overflow),
    ];
    assert!(made(|_, _| {}).is_ok());
    for (change, error) in changes {
        assert_eq!(made(change).expect_err("a change"), error);
    }
}

/// The root by definition: every summary hashed again.
fn brute(ledger: &Ledger) -> Digest {
    let leaf = |state: AccountState| (state.account, state.summary().unwrap().hash());
    merkle::root_of::<Accounts>(&ledger.states().map(leaf).collect::<Vec<_>>())
}

fn summary(n: u64) -> AccountSummary {
    AccountSummary {
        seq: 1 + n % 300,
        head: Digest::of(&n.to_le_bytes()),
        epoch: n % 40,
        balance: micro(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20),
        incoming: micro(n % 5_000_000),
        escrowed: micro(n % 9_000_000),
        staked: micro(n % 200_000_000),
        penalty: micro(0),
        leaving: micro(0),
        vesting: micro(0),
        holdings: Digest::of(b"holdings"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_tree_kept_up_to_date_has_the_root_of_a_new_one(
        steps in proptest::collection::vec((0u64..8, 0u64..8, 1u64..900), 1..24),
    ) {
        let mut world = World::alone();
        let mut tree = world.ledger.account_tree();
        for (from, to, amount) in steps {
            // What is refused, say for want of credits, changes nothing.
            let _ = world.act(from, send(to, amount));
            for account in [id(from), id(to)] {
                if let Some(state) = world.ledger.state(&account) {
                    tree.insert(account, state.summary().unwrap().hash());
                }
            }
            prop_assert_eq!(tree.root(), brute(&world.ledger));
            prop_assert_eq!(world.ledger.account_tree().root(), brute(&world.ledger));
        }
        let root = tree.root();
        for account in (0..10).map(id) {
            let state = world.ledger.state(&account);
            let summary = state.map(|state| state.summary().unwrap());
            let proof = AccountProof { summary, path: tree.prove(&account) };
            prop_assert!(proof.verify(&root, &account));
            prop_assert!(!proof.verify(&root, &id(99)) || summary.is_none());
            let mut other = proof.clone();
            other.summary = match summary {
                Some(mut had) => { had.seq += 1; Some(had) }
                None => Some(self::summary(1)),
            };
            prop_assert!(!other.verify(&root, &account), "another state");
            let mut none = proof.clone();
            none.summary = None;
            prop_assert!(summary.is_none() || !none.verify(&root, &account), "no account");
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_proof_is_noticed() {
    let mut tree = edge_ledger::AccountTree::new();
    let accounts: Vec<NodeId> =
        (0u64..60).map(|n| NodeId(Digest::of(&n.to_le_bytes()).0)).collect();
    for (n, account) in accounts.iter().enumerate() {
        tree.insert(*account, summary(n as u64).hash());
    }
    let root = tree.root();
    let absent = NodeId(Digest::of(b"absent").0);
    for (account, summary) in [(accounts[7], Some(summary(7))), (absent, None)] {
        let bytes = codec::encode(&AccountProof { summary, path: tree.prove(&account) });
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let held = codec::decode::<AccountProof>(&forged).is_ok_and(|proof| {
                // A longer way to write the same number is the same proof.
                codec::encode(&proof) != bytes && proof.verify(&root, &account)
            });
            assert!(!held, "bit {bit}");
        }
    }
}

#[test]
fn proofs_among_ten_thousand_accounts_are_short() {
    let mut rng = Rng::derive(1, "accounts");
    let mut tree = edge_ledger::AccountTree::new();
    let accounts: Vec<NodeId> = (0..10_000).map(|_| NodeId(rng.bytes())).collect();
    for (n, account) in accounts.iter().enumerate() {
        tree.insert(*account, summary(n as u64).hash());
    }
    let root = tree.root();
    let (mut most, mut sum, mut most_whole, mut sum_whole) = (0, 0, 0, 0);
    for (n, account) in accounts.iter().enumerate() {
        let proof = AccountProof { summary: Some(summary(n as u64)), path: tree.prove(account) };
        let (path, whole) = (codec::encode(&proof.path).len(), codec::encode(&proof).len());
        (most, sum) = (most.max(path), sum + path);
        (most_whole, sum_whole) = (most_whole.max(whole), sum_whole + whole);
        if n % 97 == 0 {
            let decoded: AccountProof = codec::decode(&codec::encode(&proof)).unwrap();
            assert!(decoded.verify(&root, account));
        }
    }
    let absent = (0..10_000).map(|_| NodeId(rng.bytes()));
    let absent = absent.map(|id| codec::encode(&tree.prove(&id)).len()).max().unwrap();
    println!(
        "paths: mean {} most {most}; with states: mean {} most {most_whole}; of absence: most {absent}",
        sum / accounts.len(),
        sum_whole / accounts.len()
    );
    assert!(most <= 640 && absent <= 640 + 66, "{most} {absent}");
    assert!(sum_whole / accounts.len() <= 640);
}

#[test]
fn what_is_not_kept_is_not_served() {
    let (mut world, _) = busy(1);
    world.ledger = reborn(&world.ledger);
    let served = |ledger: &Ledger, seq| ledger.certificates_after(&id(1), seq, 10).count();
    let seq = world.ledger.account(&id(1)).seq;
    assert_eq!((served(&world.ledger, 0), served(&world.ledger, seq)), (0, 0));
    let block = world.ledger.next_block(id(1), send(2, 1)).unwrap();
    let block = world.seal(block, 1);
    let certificate = world.collude(&block);
    world.apply(&Arc::clone(&certificate)).unwrap();
    assert_eq!((served(&world.ledger, 0), served(&world.ledger, seq)), (0, 1));
    assert_eq!(world.ledger.history(&id(1)).count(), 1);
}
