//! Payments among a few peers on an instant network (`support/net.rs`): one that waits for witnesses is
//! shown, goes on, and is not made twice by asking again.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Micros, NodeId, SecretKey};
use edge_swarm::{
    Answer, Command, Input, Refusal, RevocationNote,
    command::{BlockView, FateView, PendingView},
};

use net::Net;

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

/// A founder and three others, all four of them witnesses, and two members with credits.
fn pool() -> (Net, usize, usize) {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    let witnesses = (1..4).map(|i| net.id(i)).collect();
    assert!(matches!(net.ask(0, Command::Handover { witnesses }), Ok(Answer::HandedOver(_))));
    let payer = net.join_with(false, whole(100));
    let other = net.join_with(false, whole(10));
    net.run(Micros::from_secs(5));
    (net, payer, other)
}

fn pending(net: &mut Net, node: usize) -> Option<PendingView> {
    net.balances(node).pending.map(|pending| *pending)
}

fn sends(net: &mut Net, node: usize) -> Vec<BlockView> {
    match net.ask(node, Command::History { account: None, limit: 100 }) {
        Ok(Answer::History(blocks)) => blocks.into_iter().filter(|b| b.kind == "send").collect(),
        other => panic!("{other:?}"),
    }
}

fn refused(answer: Result<Answer, Refusal>) -> String {
    match answer {
        Err(Refusal::Refused(text) | Refusal::Invalid(text) | Refusal::NotFound(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn fate(net: &mut Net, node: usize, block: edge_base::Digest) -> Result<FateView, Refusal> {
    match net.ask(node, Command::Fate { block })? {
        Answer::Fate(view) => Ok(*view),
        other => panic!("{other:?}"),
    }
}

/// A payment to `to` whose caller gives up while two of four witnesses are away.
fn abandoned(net: &mut Net, payer: usize, to: NodeId) -> PendingView {
    for witness in [2, 3] {
        net.kill(witness);
    }
    let call = net.call(payer, Command::Send { to, amount: whole(5) });
    net.run(Micros::from_secs(10));
    assert!(!net.nodes[payer].answers.contains_key(&call));
    net.input(payer, Input::Abandoned { call });
    net.settle();
    pending(net, payer).expect("it is signed and goes on")
}

#[test]
fn credits_are_sent_and_arrive() {
    let (mut net, payer, other) = pool();
    let to = net.id(other);
    let Ok(Answer::Sent(block)) = net.ask(payer, Command::Send { to, amount: whole(30) }) else {
        panic!("not sent")
    };
    assert_eq!((block.to, block.amount, block.kind.as_str()), (Some(to), whole(30), "send"));
    assert!(pending(&mut net, payer).is_none(), "it is certified");
    net.run(Micros::from_secs(5));
    assert_eq!(net.balances(payer).balance, whole(70));
    assert_eq!(net.balances(other).incoming, whole(40), "the grant and the payment");
    let seen = fate(&mut net, other, block.hash).unwrap();
    assert_eq!((seen.certified, seen.pending), (Some(*block), None), "everybody knows of it");
    (0..6).for_each(|node| net.conserved(node));
}

#[test]
fn asking_again_while_a_payment_waits_pays_once() {
    let (mut net, payer, other) = pool();
    let to = net.id(other);
    let waits = abandoned(&mut net, payer, to);
    assert_eq!((waits.to, waits.amount, waits.kind.as_str()), (Some(to), whole(5), "send"));
    assert_eq!((waits.votes, waits.quorum, waits.witnesses, waits.behind), (2, 3, 4, 0));
    assert!(waits.waits >= Micros::from_secs(10) && !waits.resumed, "{waits:?}");
    let seen = fate(&mut net, payer, waits.block).unwrap();
    assert!(seen.certified.is_none() && seen.pending.unwrap().block == waits.block);

    // Every kind of payment is refused, and says what is under way.
    for command in [
        Command::Send { to, amount: whole(5) },
        Command::Stake { amount: whole(5) },
        Command::Unstake { amount: whole(5) },
    ] {
        let text = refused(net.ask(payer, command));
        assert!(text.contains("2 of 3 votes") && text.contains(&waits.block.to_hex()), "{text}");
    }

    // After a restart, too.
    net.kill(payer);
    net.start(payer);
    net.run(Micros::from_secs(3));
    let again = pending(&mut net, payer).unwrap();
    assert_eq!((again.block, again.resumed, again.votes), (waits.block, true, 2));
    refused(net.ask(payer, Command::Send { to, amount: whole(5) }));

    for witness in [2, 3] {
        net.start(witness);
    }
    net.run(Micros::from_secs(20));
    assert!(pending(&mut net, payer).is_none());
    let seen = fate(&mut net, payer, waits.block).unwrap();
    assert_eq!(seen.certified.map(|block| block.amount), Some(whole(5)));
    assert_eq!(sends(&mut net, payer).len(), 1, "paid once");
    assert_eq!(net.balances(payer).balance, whole(95));
    assert!(matches!(net.ask(payer, Command::Send { to, amount: whole(5) }), Ok(Answer::Sent(_))));
    (0..6).for_each(|node| net.conserved(node));
}

/// The control: who asks for a second payment on top gets it.
#[test]
fn a_payment_behind_a_waiting_one_comes_on_top() {
    let (mut net, payer, other) = pool();
    let to = net.id(other);
    abandoned(&mut net, payer, to);
    let send = || Box::new(Command::Send { to, amount: whole(5) });
    net.call(payer, Command::AfterPending(send()));
    net.run(Micros::from_secs(5));
    assert_eq!(pending(&mut net, payer).unwrap().behind, 1);
    for witness in [2, 3] {
        net.start(witness);
    }
    net.run(Micros::from_secs(20));
    assert_eq!(sends(&mut net, payer).len(), 2, "paid twice, as asked");
    assert_eq!(net.balances(payer).balance, whole(90));
    let none = net.ask(payer, Command::AfterPending(Box::new(Command::Status)));
    assert!(matches!(none, Err(Refusal::Invalid(_))), "no payment: {none:?}");
}

/// What only waits in line ends with its caller, who then knows that it does not happen.
#[test]
fn a_payment_in_line_ends_with_its_caller() {
    for gives_up in [true, false] {
        let (mut net, payer, other) = pool();
        let to = net.id(other);
        abandoned(&mut net, payer, to);
        let send = Box::new(Command::Send { to, amount: whole(7) });
        let call = net.call(payer, Command::AfterPending(send));
        net.run(Micros::from_secs(2));
        if gives_up {
            net.input(payer, Input::Abandoned { call });
        }
        for witness in [2, 3] {
            net.start(witness);
        }
        net.run(Micros::from_secs(20));
        let amounts: Vec<Credits> = sends(&mut net, payer).iter().map(|b| b.amount).collect();
        let expected = if gives_up { vec![whole(5)] } else { vec![whole(5), whole(7)] };
        assert_eq!(amounts, expected);
    }
}

/// Nothing is made up about blocks that nobody signed, or about what others are about to sign.
#[test]
fn of_what_nobody_signed_and_of_others_nothing_is_said() {
    let (mut net, payer, _) = pool();
    let unknown = fate(&mut net, payer, edge_base::Digest::of(b"never signed"));
    assert!(matches!(unknown, Err(Refusal::NotFound(_))), "{unknown:?}");
    let others = net.ask(1, Command::Balance { account: Some(net.nodes[payer].key.node_id()) });
    let Ok(Answer::Balance(view)) = others else { panic!() };
    assert!(view.pending.is_none(), "of others nothing is known");
}

#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let (mut net, payer, other) = pool();
    let (me, to) = (net.id(payer), net.id(other));
    let nobody = SecretKey::from_seed([99; 32]).node_id();
    for (to, amount, word) in [
        (me, whole(1), "oneself"),
        (to, Credits::ZERO, "nothing"),
        (nobody, whole(1), "no member"),
        (to, whole(101), "has 100"),
    ] {
        let text = refused(net.ask(payer, Command::Send { to, amount }));
        assert!(text.contains(word), "{text}");
    }
    let pool = edge_swarm::Peer::pool_of(&net.nodes[0].stored()).unwrap();
    let revocation = RevocationNote::new(&net.nodes[other].key, pool).revocation;
    net.ask(0, Command::Revoke(Box::new(revocation))).unwrap();
    net.run(Micros::from_secs(1));
    let text = refused(net.ask(payer, Command::Send { to, amount: whole(1) }));
    assert!(text.contains("revoked"), "{text}");
    assert!(pending(&mut net, payer).is_none() && sends(&mut net, payer).is_empty());
}
