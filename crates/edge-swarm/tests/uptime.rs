//! Pay for being there, among a few peers on an instant network (`support/net.rs`): who is challenged,
//! what counts, and what those get who were not there, or are many.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Credits, Micros, NodeId, SecretKey, Signed};
use edge_ledger::{Ledger, Seen, counted};
use edge_swarm::{
    Answer, Command, Here, Input, Peer, RollCall, Ticket,
    message::{Message, decode_message, encode_message},
};

use net::Net;

/// Members that have something at stake, beside a founder and three witnesses.
const STAKED: std::ops::Range<usize> = 4..8;
const EVERY: Micros = Micros::from_secs(60);
/// Ten minutes in the product.
const CALLS: Micros = Micros::from_secs(6);
const NEVER: Micros = Micros(u64::MAX);

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

fn ledger(net: &Net, node: usize) -> &Ledger {
    net.nodes[node].peer.as_ref().unwrap().ledger().unwrap()
}

fn stake(net: &mut Net, node: usize, amount: Credits) {
    let done = net.ask(node, Command::Stake { amount });
    assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
}

/// A founder, three witnesses and some members with stake. Nobody is challenged yet.
fn pool() -> Net {
    let mut net = Net::witnessed(|net| {
        net.checkpoint_every = EVERY;
        net.call_every = NEVER;
    });
    for node in STAKED {
        net.join_with(false, whole(100));
        net.run(Micros::from_secs(2));
        stake(&mut net, node, whole(2));
    }
    for witness in 1..4 {
        let (name, value) = ("vesting-period".to_owned(), 1);
        net.ask(witness, Command::WantParameter { name, value }).unwrap();
    }
    net.run(Micros::from_secs(90));
    net
}

/// Assigned work is done and certified until something is set aside.
fn fund(net: &mut Net) {
    for i in 0..20 {
        if ledger(net, 0).fund() >= Credits::from_micro(20) {
            return;
        }
        for task in 0..2 {
            net.submit(&format!("{i}-{task} {}", "text ".repeat(12_000))).unwrap();
        }
        until_checkpoint(net);
    }
    panic!("nothing is set aside: {:?}", ledger(net, 0).fund());
}

fn until_checkpoint(net: &mut Net) {
    let before = ledger(net, 0).epoch();
    for _ in 0..60 {
        net.run(Micros::from_secs(2));
        if ledger(net, 0).epoch() > before {
            break;
        }
    }
    assert_eq!(ledger(net, 0).epoch(), before + 1, "a checkpoint");
    net.run(Micros::from_secs(3));
}

/// From now on witnesses challenge whom the next checkpoint draws.
fn challenge(net: &mut Net) {
    net.call_every = CALLS;
    for witness in 0..4 {
        net.kill(witness);
        net.start(witness);
    }
    net.run(Micros::from_secs(2));
}

/// One epoch in which something happens; what witnesses saw in it.
fn epoch(net: &mut Net) -> Vec<Signed<Seen>> {
    stake(net, 0, Credits::from_micro(1));
    until_checkpoint(net);
    ledger(net, 0).base().unwrap().decided.resolutions.seen.clone()
}

fn counts(seen: &[Signed<Seen>]) -> BTreeMap<NodeId, u16> {
    counted(seen).into_iter().collect()
}

fn vesting(net: &Net, node: usize) -> Credits {
    ledger(net, 0).account(&net.id(node)).vesting
}

/// Under the cap, whatever was promised.
fn under_the_cap(net: &Net) {
    let ledger = ledger(net, 0);
    let promised = Credits::sum(ledger.accounts().map(|(_, view)| view.vesting)).unwrap();
    let minted = ledger.totals().granted.minus(ledger.genesis().grant).unwrap();
    let made = Credits::sum([promised, minted, ledger.fund()]).unwrap();
    assert!(made <= ledger.hours().cap(whole(1)), "{made}");
}

#[test]
fn who_is_there_is_paid_and_who_is_not_is_not() {
    let mut net = pool();
    fund(&mut net);
    let before = ledger(&net, 0).fund();
    // Its connections stand: it just is not there.
    let away = STAKED.end - 1;
    challenge(&mut net);
    epoch(&mut net);
    net.frozen = Some(away);
    epoch(&mut net);
    let seen = epoch(&mut net);
    let there: BTreeSet<NodeId> = counts(&seen).into_keys().collect();
    let members: BTreeSet<NodeId> = (STAKED.start..away).map(|node| net.id(node)).collect();
    assert_eq!(there, members);
    for node in STAKED.start..away {
        // Some ten challenges each in a minute, by each witness.
        let count = counts(&seen)[&net.id(node)];
        assert!((3..30).contains(&count), "{count}");
    }
    assert!(ledger(&net, 0).fund() < before);
    let paid: Vec<Credits> = STAKED.map(|node| vesting(&net, node)).collect();
    assert_eq!(paid[away - STAKED.start], Credits::ZERO, "{paid:?}");
    under_the_cap(&net);
    for node in 0..4 {
        net.conserved(node);
        assert_eq!(ledger(&net, node).totals(), ledger(&net, 0).totals());
    }
}

/// The control: were nobody asked, who is not there would be paid like everybody.
#[test]
fn without_challenges_who_is_not_there_is_paid_as_well() {
    let mut net = pool();
    fund(&mut net);
    net.challenges = false;
    challenge(&mut net);
    let away = STAKED.end - 1;
    net.frozen = Some(away);
    epoch(&mut net);
    let seen = epoch(&mut net);
    assert!(counts(&seen)[&net.id(away)] > 0);
}

/// An answer counts once, in time, to the number of the challenge, to the witness that asked.
#[test]
fn answers_that_are_late_made_up_or_said_again_do_not_count() {
    let mut net = pool();
    fund(&mut net);
    challenge(&mut net);
    epoch(&mut net);
    // Somebody answers for its member by hand: the member itself hears nothing.
    let (hand, witness) = (STAKED.start, 0);
    net.frozen = Some(hand);
    epoch(&mut net);
    net.records = true;
    net.replies.clear();
    let (member, asks) = (net.id(hand), net.id(witness));
    let key = SecretKey::from_seed([hand as u8 + 1; 32]);
    assert_eq!(key.node_id(), member);
    let pool = ledger(&net, 0).pool();
    let answer = |net: &mut Net, here: Here, by: &SecretKey| {
        let here = RollCall::Here(Signed::seal(here, by, &pool));
        let bytes = encode_message(&Message::RollCall(Box::new(here)));
        net.input(witness, Input::Frame { from: member, bytes });
    };
    let asked = |net: &mut Net| {
        let of = |(from, to, frame): (usize, NodeId, Vec<u8>)| match decode_message(&frame) {
            Ok(Message::RollCall(call)) if from == witness && to == member => match *call {
                RollCall::Ask { beacon, number } => Some((beacon, number)),
                RollCall::Here(_) => None,
            },
            _ => None,
        };
        std::mem::take(&mut net.replies).into_iter().rev().find_map(of)
    };
    // What the witness says that it counted, in its own words.
    let (mut right, mut tried, other) = (0, 0, net.id(1));
    let mut late: Option<(Here, u64)> = None;
    for second in 0..150 {
        net.run(Micros::from_secs(1));
        if let Some((here, _)) = late.filter(|(_, at)| second >= at + 6) {
            answer(&mut net, here, &key);
            late = None;
        }
        let Some((beacon, number)) = asked(&mut net) else { continue };
        if late.is_some() {
            continue;
        }
        let here = Here { beacon, witness: asks, number };
        tried += 1;
        match tried % 5 {
            0 => late = Some((here, second)),
            1 => answer(&mut net, Here { number: number ^ 1, ..here }, &key),
            2 => answer(&mut net, Here { witness: other, ..here }, &key),
            3 => answer(&mut net, here, &SecretKey::from_seed([77; 32])),
            _ => {
                right += 1;
                (0..20).for_each(|_| answer(&mut net, here, &key));
            }
        }
    }
    assert!(right > 0 && tried > 5, "{right} of {tried}");
    let seen = epoch(&mut net);
    let said = seen.iter().find(|seen| seen.signer == asks).unwrap();
    let said = said.body.answered.iter().find(|(node, _)| *node == member);
    assert_eq!(said.map_or(0, |(_, count)| *count), right);
    assert_eq!(counts(&seen).get(&member), None, "one witness's word pays nobody");
}

/// A member invites three identities that all have something at stake: of the four one is challenged in
/// each epoch, as if it were alone. The control: were invitations not looked at, all four would be.
#[test]
fn many_identities_of_one_branch_are_paid_as_one() {
    for weighs in [true, false] {
        let mut net = pool();
        net.weighs_branches = weighs;
        let inviter = STAKED.start;
        let mut branch = vec![net.id(inviter)];
        for _ in 0..3 {
            let invite = Command::Invite { owner: false, credits: whole(5) };
            let Ok(Answer::Ticket(text)) = net.ask(inviter, invite) else { panic!("no ticket") };
            let ticket: Ticket = text.parse().unwrap();
            let key = SecretKey::from_seed([net.nodes.len() as u8 + 1; 32]);
            let sybil = net.add(key, Peer::join(&ticket));
            net.run(Micros::from_secs(3));
            stake(&mut net, sybil, whole(2));
            branch.push(net.id(sybil));
        }
        net.run(Micros::from_secs(70));
        fund(&mut net);
        challenge(&mut net);
        epoch(&mut net);
        let mut most = 0;
        for _ in 0..3 {
            let seen = epoch(&mut net);
            let named: BTreeSet<NodeId> = counts(&seen).into_keys().collect();
            most = most.max(branch.iter().filter(|node| named.contains(*node)).count());
            assert!(named.len() > 2, "the others are there as well");
        }
        assert_eq!(most, if weighs { 1 } else { 4 });
    }
}

/// What nothing is set aside for is not asked about.
#[test]
fn without_a_fund_nobody_is_challenged() {
    let mut net = pool();
    for parameter in ["uptime-share", "uptime-reward"] {
        for witness in 1..4 {
            let (name, value) = (parameter.to_owned(), 0);
            net.ask(witness, Command::WantParameter { name, value }).unwrap();
        }
    }
    net.run(Micros::from_secs(90));
    challenge(&mut net);
    net.records = true;
    assert!(epoch(&mut net).is_empty());
    let asks = |(_, _, frame): &(usize, NodeId, Vec<u8>)| {
        matches!(decode_message(frame), Ok(Message::RollCall(_)))
    };
    assert_eq!(net.replies.iter().filter(|sent| asks(sent)).count(), 0);
}
