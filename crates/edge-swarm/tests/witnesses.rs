//! Who may become a witness, and who counts as one that votes, among a few peers on an instant network
//! (`support/net.rs`).
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Micros, SecretKey, Signed};
use edge_swarm::{
    Answer, Command, Peer, Refusal, RevocationNote,
    command::{SecurityView, StatusView},
    message::{Gossip, MemberRecord, Membership, encode_gossip},
};

use net::Net;

fn five() -> Net {
    let mut net = Net::new();
    for _ in 0..4 {
        net.join_with(false, Credits::from_whole(10).unwrap());
    }
    net.run(Micros::from_secs(5));
    net
}

fn status(net: &mut Net, node: usize) -> StatusView {
    match net.ask(node, Command::Status) {
        Ok(Answer::Status(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn security(net: &mut Net, node: usize) -> SecurityView {
    match net.ask(node, Command::Security) {
        Ok(Answer::Security(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn hand_over(net: &mut Net, others: &[usize]) -> Result<Answer, Refusal> {
    let witnesses = others.iter().map(|i| net.id(*i)).collect();
    net.ask(0, Command::Handover { witnesses })
}

/// Starts a node again whose data look like a copy: it never votes again.
fn restored(net: &mut Net, node: usize) {
    net.kill(node);
    net.start(node);
    net.nodes[node].peer.as_mut().unwrap().may_vote(false);
    net.run(Micros::from_secs(5));
}

fn revoke(net: &mut Net, node: usize) {
    let pool = Peer::pool_of(&net.nodes[0].stored()).unwrap();
    let revocation = RevocationNote::new(&net.nodes[node].key, pool).revocation;
    assert!(matches!(net.ask(0, Command::Revoke(Box::new(revocation))), Ok(Answer::Done)));
    net.run(Micros::from_secs(1));
}

#[test]
fn who_can_never_vote_does_not_become_a_witness() {
    for (spoil, word) in [
        ((|_: &mut Net| {}) as fn(&mut Net), ""),
        (|net| revoke(net, 3), "revoked"),
        (|net| restored(net, 3), "never votes"),
        (|net| net.kill(3), "not connected"),
        (
            |net| {
                let node = net.id(3);
                net.ask(0, Command::Ban { node, lasts: Micros::from_secs(3_600) }).unwrap();
            },
            "banned here",
        ),
        (
            // The founder's copy looks like one: nobody knows what it voted for.
            |net| net.nodes[0].peer.as_mut().unwrap().may_vote(false),
            "this node never votes",
        ),
    ] {
        let mut net = five();
        spoil(&mut net);
        match (hand_over(&mut net, &[1, 2, 3]), word) {
            // The control: nothing is wrong with it.
            (Ok(Answer::HandedOver(_)), "") => {}
            (Err(Refusal::Refused(text)), word) if !word.is_empty() => {
                assert!(text.contains(word), "{text}");
                if word != "this node never votes" {
                    let done = hand_over(&mut net, &[1, 2, 4]);
                    assert!(matches!(done, Ok(Answer::HandedOver(_))), "{done:?}");
                }
            }
            (other, word) => panic!("{word}: {other:?}"),
        }
    }
}

#[test]
fn a_member_that_nobody_ever_saw_does_not_become_a_witness() {
    let mut net = five();
    let (key, pool) = (SecretKey::from_seed([77; 32]), Peer::pool_of(&net.nodes[0].stored()));
    let node = key.node_id();
    let inviter = net.nodes[1].key.clone();
    let membership = Some(Signed::seal(Membership { node, group: node }, &inviter, &pool.unwrap()));
    let record = MemberRecord { membership, node, addresses: vec![] };
    let (from, bytes) = (net.id(1), encode_gossip(&Gossip::Member(record)));
    net.input(0, edge_swarm::Input::Frame { from, bytes });
    net.settle();
    let witnesses = vec![net.id(1), net.id(2), node];
    let refused = net.ask(0, Command::Handover { witnesses });
    let Err(Refusal::Refused(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("not heard"), "{text}");
}

#[test]
fn only_witnesses_that_vote_are_slack() {
    for (spoil, lost, banned) in [
        ((|_: &mut Net| {}) as fn(&mut Net), 0, 0),
        (|net| revoke(net, 3), 1, 0),
        (
            |net| {
                let node = net.id(3);
                net.ask(0, Command::Ban { node, lasts: Micros::from_secs(3_600) }).unwrap();
            },
            0,
            1,
        ),
    ] {
        let mut net = five();
        assert!(matches!(hand_over(&mut net, &[1, 2, 3]), Ok(Answer::HandedOver(_))));
        net.run(Micros::from_secs(5));
        assert_eq!(status(&mut net, 0).witnesses_voting, 4);
        spoil(&mut net);
        net.settle();
        let view = status(&mut net, 0);
        let audit = security(&mut net, 0);
        let expected = 4 - lost - banned;
        assert_eq!((view.witnesses_voting, audit.witnesses_voting), (expected, expected));
        assert_eq!((audit.witnesses_lost.len(), audit.witnesses_banned.len()), (lost, banned));
        let slack = !view.notes.iter().any(|note| note.contains("no slack"));
        assert_eq!(slack, expected == 4, "{:?}", view.notes);
        if expected == 4 {
            restored(&mut net, 3);
            let view = status(&mut net, 0);
            assert_eq!((view.witnesses_reachable, view.witnesses_voting), (4, 3), "it is there");
            restored(&mut net, 2);
            let view = status(&mut net, 0);
            assert_eq!((view.witnesses_reachable, view.witnesses_voting), (4, 2));
            assert!(view.notes.iter().any(|n| n.contains("only 2 of 4 witnesses vote")));
            assert_eq!(status(&mut net, 2).witnesses_voting, 2, "it knows of itself, too");
        }
    }
}
