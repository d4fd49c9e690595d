//! Nodes whose data are older than what they signed, and that cannot know: witnesses tell them.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::collections::BTreeMap;

use edge_base::{Credits, Micros, SecretKey, Signed};
use edge_ledger::{BlockKind, SignedBlock};
use edge_swarm::{
    Answer, Command, Event, Input, Refusal, Table,
    command::{BalanceView, Canaries},
    message::{AccountHead, Message, encode_message},
};

use net::Net;

type Disk = BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>;

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

/// Four witnesses of which three are a quorum, and a node with a hundred rUv that have come to its account.
fn pool(asks: bool) -> (Net, usize) {
    let mut net = Net::witnessed(|net| net.asks_heads = asks);
    let node = net.join_with(false, whole(100));
    net.run(Micros::from_secs(5));
    sent(&mut net, node, 1);
    (net, node)
}

fn send(net: &mut Net, node: usize, amount: u64) -> Result<Answer, Refusal> {
    let (to, amount) = (net.id(0), whole(amount));
    net.ask(node, Command::Send { to, amount })
}

/// Without waiting for what comes of it.
fn call_send(net: &mut Net, node: usize, amount: u64) {
    let (to, amount) = (net.id(0), whole(amount));
    net.call(node, Command::Send { to, amount });
}

fn sent(net: &mut Net, node: usize, amount: u64) {
    let done = send(net, node, amount);
    assert!(matches!(done, Ok(Answer::Sent(_))), "{done:?}");
}

/// The file system goes back to what it was, which leaves no trace.
fn rolled_back(net: &mut Net, node: usize, disk: &Disk) {
    net.kill(node);
    net.nodes[node].disk = disk.clone();
    net.start(node);
}

fn worth(view: &BalanceView) -> Credits {
    view.balance.plus(view.incoming).unwrap()
}

/// What an account comes to at a witness.
fn seen(net: &Net, witness: usize, of: usize) -> edge_ledger::AccountView {
    net.nodes[witness].peer.as_ref().unwrap().ledger().unwrap().account(&net.id(of))
}

#[test]
fn payments_after_the_snapshot_are_learnt_before_the_next_is_signed() {
    let (mut net, node) = pool(true);
    let snapshot = net.nodes[node].disk.clone();
    for amount in [2, 3, 4] {
        sent(&mut net, node, amount);
    }
    rolled_back(&mut net, node, &snapshot);
    // At once: nothing was heard of yet.
    sent(&mut net, node, 5);
    net.run(Micros::from_secs(5));
    let view = net.balances(node);
    assert_eq!((worth(&view), view.frozen), (whole(100 - 1 - 2 - 3 - 4 - 5), false));
    for witness in 0..4 {
        assert!(!seen(&net, witness, node).frozen);
        net.conserved(witness);
    }
}

/// The control: who asks nobody signs a second block at a place, and is frozen for good.
#[test]
fn who_asks_nobody_is_frozen() {
    let (mut net, node) = pool(false);
    let snapshot = net.nodes[node].disk.clone();
    sent(&mut net, node, 2);
    rolled_back(&mut net, node, &snapshot);
    let done = send(&mut net, node, 5);
    net.run(Micros::from_secs(5));
    assert!(!matches!(done, Ok(Answer::Sent(_))), "{done:?}");
    assert!((0..4).any(|witness| seen(&net, witness, node).frozen));
}

/// A block that was voted for by fewer than a quorum, and is on no disk of its owner any more.
#[test]
fn a_block_that_was_on_its_way_is_taken_up_again() {
    for asks in [true, false] {
        let (mut net, node) = pool(asks);
        let snapshot = net.nodes[node].disk.clone();
        (2..4).for_each(|witness| net.kill(witness));
        call_send(&mut net, node, 2);
        net.run(Micros::from_secs(1));
        assert!(net.balances(node).pending.is_some());
        net.kill(node);
        (2..4).for_each(|witness| net.start(witness));
        net.run(Micros::from_secs(3));
        net.nodes[node].disk = snapshot;
        net.start(node);
        let done = send(&mut net, node, 5);
        net.run(Micros::from_secs(10));
        let view = net.balances(node);
        if asks {
            assert!(matches!(done, Ok(Answer::Sent(_))), "{done:?}");
            assert_eq!((worth(&view), view.frozen), (whole(100 - 1 - 2 - 5), false));
            let told = |event: &Event| match event {
                Event::Note { text } => text.contains("was signed and is not in its data"),
                _ => false,
            };
            assert!(net.nodes[node].events.iter().any(told));
        } else {
            assert!((0..4).any(|witness| seen(&net, witness, node).frozen));
        }
        (0..4).for_each(|witness| net.conserved(witness));
    }
}

#[test]
fn nothing_is_signed_before_a_quorum_has_answered() {
    let (mut net, node) = pool(true);
    net.kill(node);
    (2..4).for_each(|witness| net.kill(witness));
    net.start(node);
    call_send(&mut net, node, 2);
    net.run(Micros::from_secs(10));
    assert!(net.balances(node).pending.is_none());
    let notes = net.status(node).notes;
    assert!(
        notes.iter().any(|note| note.contains("2 of 4 witnesses have said since the start")),
        "{notes:?}"
    );
    net.start(2);
    net.run(Micros::from_secs(5));
    assert_eq!(worth(&net.balances(node)), whole(100 - 1 - 2));
    assert!(!net.status(node).notes.iter().any(|note| note.contains("since the start")));
}

/// One witness in four may lie: it stops no payment, and what it makes up is not taken for the owner's.
#[test]
fn a_witness_that_lies_stops_nothing() {
    let (mut net, node) = pool(true);
    let liar = 3;
    net.kill(node);
    net.kill(liar);
    net.start(node);
    let (account, from) = (net.id(node), net.id(liar));
    let ledger = net.ledger_of(0);
    let kind = BlockKind::Stake { amount: whole(50) };
    let body = ledger.next_block(account, kind).unwrap();
    let made_up: SignedBlock = Signed::seal(body, &SecretKey::from_seed([77; 32]), &ledger.pool());
    for (seq, signed) in [(u64::MAX, None), (1, Some(Box::new(made_up)))] {
        let heads = vec![AccountHead { account, seq, signed }];
        let bytes = encode_message(&Message::SayHeads { epoch: u64::MAX, heads, claims: vec![] });
        net.input(node, Input::Connected { node: from });
        net.input(node, Input::Frame { from, bytes });
        net.settle();
    }
    net.run(Micros::from_secs(3));
    sent(&mut net, node, 2);
    let view = net.balances(node);
    assert_eq!((worth(&view), view.staked, view.frozen), (whole(97), Credits::ZERO, false));
}

/// Vouchers that were given after the snapshot: a settlement that pays less would never be certified, and hold up
/// the account for ever.
#[test]
fn what_was_vouched_for_after_the_snapshot_is_paid() {
    for asks in [true, false] {
        let (mut net, node) = pool(asks);
        let tasks = |net: &mut Net, name: &str| {
            for n in 0..10 {
                net.submit_by(node, &format!("{name} {n}")).unwrap();
            }
            net.run(Micros::from_secs(1));
        };
        let held = |net: &mut Net| {
            let of = |worker| net.balances(worker).vouchers.micro();
            (0..4).map(of).sum::<u64>()
        };
        tasks(&mut net, "before");
        let snapshot = net.nodes[node].disk.clone();
        let early = held(&mut net);
        tasks(&mut net, "after");
        let late = held(&mut net);
        assert!(late > early && early > 0);
        rolled_back(&mut net, node, &snapshot);
        let before = worth(&net.balances(node));
        net.run(Micros::from_secs(30));
        let view = net.balances(node);
        if asks {
            assert_eq!((held(&mut net), view.escrowed), (0, Credits::ZERO), "all is paid");
            assert!(worth(&view) > before, "and the rest is back");
            assert!(view.pending.is_none());
            sent(&mut net, node, 5);
        } else {
            assert!(view.escrowed > Credits::ZERO, "{view:?}");
            assert_eq!(held(&mut net), late);
            let why = view.pending.and_then(|pending| pending.refused()).expect("it gets no votes");
            assert!(why.contains("witnesses do not vote for it now"), "{why}");
            let notes = net.status(node).notes;
            assert!(notes.iter().any(|note| note.contains(&why)), "{notes:?}");
        }
        (0..4).for_each(|witness| net.conserved(witness));
    }
}

/// A worker that is away when the node starts has something to show, too.
#[test]
fn who_is_away_at_the_start_is_waited_for() {
    let (mut net, node) = pool(true);
    let away = net.join(false);
    let tasks = |net: &mut Net, name: &str| {
        for n in 0..20 {
            net.submit_by(node, &format!("{name} {n}")).unwrap();
        }
        net.run(Micros::from_secs(1));
    };
    tasks(&mut net, "before");
    let snapshot = net.nodes[node].disk.clone();
    let early = net.balances(away).vouchers;
    tasks(&mut net, "after");
    assert!(net.balances(away).vouchers > early && early > Credits::ZERO);
    net.kill(away);
    rolled_back(&mut net, node, &snapshot);
    net.run(Micros::from_secs(20));
    assert!(net.balances(node).pending.is_none(), "it settles nothing yet");
    net.start(away);
    net.run(Micros::from_secs(10));
    let view = net.balances(node);
    assert_eq!((view.escrowed, net.balances(away).vouchers), (Credits::ZERO, Credits::ZERO));
    assert!(view.pending.is_none());
    sent(&mut net, node, 5);
    // Who never comes back holds up nothing for longer than a minute.
    tasks(&mut net, "more");
    net.kill(away);
    net.kill(node);
    net.start(node);
    net.run(Micros::from_secs(50));
    assert!(net.balances(node).escrowed > Credits::ZERO);
    net.run(Micros::from_secs(20));
    assert_eq!(net.balances(node).escrowed, Credits::ZERO);
    (0..4).for_each(|witness| net.conserved(witness));
}

/// An escrow that is not in the data at all, or only as a block on its way: it is not used once more, and is settled
/// with what workers show. The next tasks have one of their own meanwhile.
#[test]
fn an_escrow_that_was_opened_after_the_snapshot_pays_what_was_promised() {
    for on_its_way in [false, true] {
        let (mut net, node) = pool(true);
        let mut snapshot = net.nodes[node].disk.clone();
        if on_its_way {
            (1..4).for_each(|witness| net.kill(witness));
            let first = net::embedding("first", Canaries::default(), 1_000);
            net.call(node, Command::Submit(first));
            net.run(Micros::from_secs(1));
            assert!(net.balances(node).pending.is_some());
            snapshot = net.nodes[node].disk.clone();
            (1..4).for_each(|witness| net.start(witness));
            net.run(Micros::from_secs(3));
        }
        for n in 0..10 {
            net.submit_by(node, &format!("task {n}")).unwrap();
        }
        net.run(Micros::from_secs(1));
        let promised = (0..4).map(|w| net.balances(w).vouchers.micro()).sum::<u64>();
        let earned = |net: &mut Net| (0..4).map(|w| worth(&net.balances(w)).micro()).sum::<u64>();
        let before = earned(&mut net);
        assert!(promised > 0);
        rolled_back(&mut net, node, &snapshot);
        net.run(Micros::from_secs(2));
        net.submit_by(node, "one more").unwrap();
        net.run(Micros::from_secs(20));
        let one = earned(&mut net) - before;
        assert!((1..promised / 2).contains(&one), "the new escrow is settled, the old one waits");
        net.run(Micros::from_secs(60));
        assert_eq!(earned(&mut net), before + one + promised);
        let view = net.balances(node);
        assert_eq!((view.escrowed, view.slashed, view.frozen), (Credits::ZERO, false, false));
        (0..4).for_each(|witness| net.conserved(witness));
    }
}

/// Who rotated and was rolled back: its old accounts are asked for, too.
#[test]
fn accounts_of_keys_before_are_asked_for_too() {
    let (mut net, node) = pool(true);
    assert!(matches!(net.ask(node, Command::Stake { amount: whole(40) }), Ok(Answer::Done)));
    let heir = SecretKey::from_seed([101; 32]);
    let old = net.id(node);
    let done = net.ask(node, Command::Rotate { heir: Box::new(heir.clone()) });
    assert!(matches!(done, Ok(Answer::Rotated { .. })), "{done:?}");
    net.kill(node);
    net.nodes[node].key = heir;
    net.start(node);
    net.run(Micros::from_secs(15));
    let snapshot = net.nodes[node].disk.clone();
    assert!(matches!(net.ask(node, Command::Unstake { amount: whole(10) }), Ok(Answer::Done)));
    let after = net.ledger_of(0).account(&old).seq;
    rolled_back(&mut net, node, &snapshot);
    assert!(matches!(net.ask(node, Command::Unstake { amount: whole(20) }), Ok(Answer::Done)));
    net.run(Micros::from_secs(5));
    let ledger = net.ledger_of(0);
    assert_eq!((ledger.account(&old).seq, ledger.account(&old).frozen), (after + 1, false));
    assert_eq!(ledger.account(&old).staked, whole(10));
}

/// Data of before the key was replaced have the old key, which nobody hears: the node is told so.
#[test]
fn who_goes_back_to_a_key_that_was_replaced_is_told() {
    let (mut net, node) = pool(true);
    let (snapshot, key) = (net.nodes[node].disk.clone(), net.nodes[node].key.clone());
    let heir = SecretKey::from_seed([101; 32]);
    let done = net.ask(node, Command::Rotate { heir: Box::new(heir) });
    assert!(matches!(done, Ok(Answer::Rotated { .. })), "{done:?}");
    // Those who told the key of its end refuse its connections for a minute.
    net.run(Micros::from_secs(70));
    net.nodes[node].key = key;
    rolled_back(&mut net, node, &snapshot);
    net.run(Micros::from_secs(5));
    let notes = net.status(node).notes;
    assert!(notes.iter().any(|note| note.contains("an older copy")), "{notes:?}");
}
