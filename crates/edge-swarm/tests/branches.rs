//! Invitations: how many, whose words are one, and who answers for a liar.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Digest, Micros, NodeId, SecretKey, Signed};
use edge_swarm::{
    Answer, Command, Peer, Ticket,
    message::{Gossip, MemberRecord, Membership},
};

use net::Net;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn knows(net: &mut Net, index: usize, node: NodeId) -> bool {
    let Ok(Answer::Peers(peers)) = net.ask(index, Command::ListPeers) else { panic!() };
    peers.iter().any(|peer| peer.node == node)
}

/// Tells a node of an identity that somebody invited.
fn introduce(net: &mut Net, to: usize, inviter: u8, identity: u8) -> bool {
    let pool = net.status(to).pool;
    let node = key(identity).node_id();
    let membership = Signed::seal(Membership { node, group: node }, &key(inviter), &pool);
    let record = MemberRecord { membership: Some(membership), node, addresses: vec![] };
    net.publish_to(to, &Gossip::Member(record));
    net.settle();
    knows(net, to, node)
}

/// A node that joins by a ticket of another one than the founder.
fn join_by(net: &mut Net, inviter: usize) -> usize {
    let invite = Command::Invite { owner: false, credits: Credits::ZERO };
    let Ok(Answer::Ticket(text)) = net.ask(inviter, invite) else { panic!("no ticket") };
    let ticket: Ticket = text.parse().unwrap();
    let index = net.add(key(net.nodes.len() as u8 + 1), Peer::join(&ticket));
    net.run(Micros::from_secs(3));
    index
}

#[test]
fn a_member_invites_four_and_one_more_for_each_credit_at_stake() {
    let mut net = Net::new();
    net.join_with(false, Credits::from_whole(10).unwrap());
    net.run(Micros::from_secs(2));
    let known = (100..106).filter(|n| introduce(&mut net, 0, 2, *n)).count();
    assert_eq!(known, 4);
    assert!(
        !introduce(&mut net, 0, 100, 110),
        "whom a member invited may invite nobody for nothing"
    );
    let invite = || Command::Invite { owner: false, credits: Credits::ZERO };
    for _ in 0..4 {
        net.ask(1, invite()).unwrap();
    }
    let refusal = net.ask(1, invite()).unwrap_err().to_string();
    assert!(refusal.contains("ledger stake"), "{refusal}");
    net.ask(1, Command::Stake { amount: Credits::from_whole(2).unwrap() }).unwrap();
    net.run(Micros::from_secs(2));
    let known = (120..126).filter(|n| introduce(&mut net, 0, 2, *n)).count();
    assert_eq!(known, 2);
    net.ask(1, invite()).unwrap();
    // The founder invites whom it likes.
    for n in 130..150 {
        assert!(introduce(&mut net, 1, 1, n));
    }
}

/// Two that one member invited give the same wrong result: nobody believes them, they are named, and who
/// invited them answers for them.
#[test]
fn what_one_member_invited_confirms_nothing_to_itself_and_costs_it() {
    let mut net = Net::new();
    let inviter = net.join_with(false, Credits::from_whole(10).unwrap());
    net.run(Micros::from_secs(2));
    net.ask(inviter, Command::Stake { amount: Credits::from_whole(4).unwrap() }).unwrap();
    for _ in 0..2 {
        let liar = join_by(&mut net, inviter);
        net.nodes[liar].lies = true;
    }
    for n in 0..8 {
        let Ok(Answer::Task(task)) = net.submit(&format!("text {n}")) else { panic!() };
        let voices = (task.check.agreed.len(), task.check.own_execution.is_some());
        assert!(task.check.disagreed.is_empty() || voices.0 == 1 || voices.1, "{:?}", task.check);
        let payload = format!("text {n}");
        let truth = Digest::of_value("run", payload.as_bytes()).0;
        assert_eq!(task.result[..], truth[..], "{:?}", task.check);
    }
    net.run(Micros::from_secs(15));
    let founder = net.status(0);
    assert_eq!(founder.faulty.len(), 2, "both are named");
    let account = Some(net.id(inviter));
    let Ok(Answer::Balance(balance)) = net.ask(0, Command::Balance { account }) else { panic!() };
    assert!(balance.slashed, "who invited them loses what it had at stake");
    assert!(!introduce(&mut net, 0, 2, 100), "and invites nobody any more");
    // It knows so still after a restart.
    net.kill(0);
    net.start(0);
    net.settle();
    let Ok(Answer::Balance(balance)) = net.ask(0, Command::Balance { account }) else { panic!() };
    assert!(balance.slashed);
}

/// Of three copies one at most is held by what one member invited, while there are others.
#[test]
fn copies_are_spread_over_branches() {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    let below: Vec<usize> = (0..4).map(|_| join_by(&mut net, 1)).collect();
    net.run(Micros::from_secs(3));
    for collection in 0..6 {
        let name = format!("docs-{collection}");
        net.ask(0, Command::CreateCollection { name: name.clone(), layout: vec![1] }).unwrap();
        net.append_to(&name, 0, 6).unwrap();
    }
    net.run(Micros::from_secs(5));
    let Ok(Answer::Collections(list)) = net.ask(0, Command::ListCollections) else { panic!() };
    assert_eq!(list.len(), 6);
    let branch: Vec<NodeId> = below.iter().chain([&1]).map(|n| net.id(*n)).collect();
    for collection in list {
        let held = &collection.shards[0].replicas;
        let same = held.iter().filter(|replica| branch.contains(&replica.node)).count();
        assert!(held.len() >= 3 && same == 1, "{held:?}");
    }
}
