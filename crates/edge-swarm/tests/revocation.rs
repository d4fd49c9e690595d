//! A key that was revoked: nobody hears it any more, and nothing of what it did before is lost.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::sync::Arc;

use edge_base::{Credits, Digest, Micros, NodeId, SecretKey, Signed, TaskKind};
use edge_swarm::{
    Answer, Command, Event, Guarded, Input, Peer, Refusal, Revocation, RevocationNote,
    command::{Priority, TaskRequest},
    message::{
        Acquaintance, Gossip, MemberRecord, Membership, Message, decode_gossip, decode_message,
        encode_gossip, encode_message,
    },
};

use net::Net;

fn pool_of(net: &Net) -> Digest {
    Peer::pool_of(&net.nodes[0].stored()).unwrap()
}

fn revocation(net: &Net, index: usize) -> Signed<Revocation> {
    RevocationNote::new(&net.nodes[index].key, pool_of(net)).revocation
}

fn revoke(net: &mut Net, at: usize, index: usize) -> Result<Answer, Refusal> {
    let revocation = Box::new(revocation(net, index));
    net.ask(at, Command::Revoke(revocation))
}

fn knows(net: &mut Net, at: usize, index: usize) -> bool {
    let node = net.id(index);
    let Ok(Answer::Peers(peers)) = net.ask(at, Command::ListPeers) else { panic!() };
    peers.into_iter().any(|peer| peer.node == node && peer.revoked)
}

fn gossips(net: &mut Net, to: usize, from: NodeId, gossip: &Gossip) {
    net.input(to, Input::Frame { from, bytes: encode_gossip(gossip) });
    net.settle();
}

/// Whether a node answers to what a member may ask.
fn answers(net: &mut Net, index: usize, from: NodeId) -> bool {
    net.records = true;
    net.replies.clear();
    let ask = encode_message(&Message::Want { content: Digest([7; 32]), offset: 0 });
    net.input(index, Input::Frame { from, bytes: ask });
    net.settle();
    let answer = |frame: &[u8]| matches!(decode_message(frame), Ok(Message::NotHere { .. }));
    net.replies.iter().any(|(by, to, frame)| (*by, *to) == (index, from) && answer(frame))
}

fn five() -> Net {
    let mut net = Net::new();
    for _ in 0..4 {
        net.join_with(false, Credits::from_whole(10).unwrap());
    }
    net
}

#[test]
fn everybody_refuses_a_revoked_key_also_after_a_restart() {
    let mut net = five();
    let lost = net.id(4);
    // The control: before, all answer it.
    assert!((0..4).all(|index| answers(&mut net, index, lost)));
    assert!(matches!(revoke(&mut net, 1, 4), Ok(Answer::Done)));
    net.settle();
    for index in 0..4 {
        assert!(knows(&mut net, index, 4), "{index}");
        assert!(!answers(&mut net, index, lost), "{index}");
        let told = |event: &Event| matches!(event, Event::Revoked { node } if *node == lost);
        assert!(net.nodes[index].events.iter().any(told));
    }
    for index in 0..4 {
        net.kill(index);
        net.start(index);
    }
    net.run(Micros::from_secs(5));
    for index in 0..4 {
        assert!(knows(&mut net, index, 4) && !answers(&mut net, index, lost), "{index}");
    }
    // It greets again, as a member and with a ticket: no. It is told why, and nothing else.
    let hello = |join| Message::Hello {
        pool: pool_of(&net),
        membership: None,
        join,
        addresses: vec![],
        known: Acquaintance::default(),
    };
    for hello in [hello(None), hello(Some([1; 16]))] {
        net.replies.clear();
        net.input(0, Input::Connected { node: lost });
        net.input(0, Input::Frame { from: lost, bytes: encode_message(&hello) });
        net.settle();
        let mut replies = net.replies.iter().filter(|(by, to, _)| (*by, *to) == (0, lost));
        let end = |frame: &[u8]| matches!(decode_gossip(frame), Ok(Gossip::Revocation(_)));
        assert!(replies.all(|(_, _, frame)| end(frame)));
    }
    // The others go on, and give it no work.
    let before = net.nodes[4].ran.len();
    for n in 0..10 {
        assert!(matches!(net.submit(&format!("task {n}")), Ok(Answer::Task(_))));
    }
    assert_eq!(net.nodes[4].ran.len(), before);
    net.conserved(0);
}

#[test]
fn who_was_away_and_who_comes_later_learn_it() {
    let mut net = five();
    net.kill(3);
    assert!(matches!(revoke(&mut net, 0, 4), Ok(Answer::Done)));
    net.run(Micros::from_secs(2));
    net.start(3);
    net.run(Micros::from_secs(5));
    assert!(knows(&mut net, 3, 4), "it was away");
    let newcomer = net.join(false);
    net.run(Micros::from_secs(3));
    assert!(knows(&mut net, newcomer, 4), "it came later");
    let lost = net.id(4);
    assert!(!answers(&mut net, newcomer, lost));
}

/// Its own node hears of it, too, and stops to work.
#[test]
fn the_node_itself_is_told() {
    let mut net = five();
    let revocation = Box::new(revocation(&net, 4));
    assert!(matches!(net.ask(4, Command::Revoke(revocation)), Ok(Answer::Done)));
    net.settle();
    let Ok(Answer::Status(status)) = net.ask(4, Command::Status) else { panic!() };
    assert!(status.notes.iter().any(|note| note.contains("key was revoked")), "{:?}", status.notes);
    assert!((0..4).all(|index| knows(&mut net, index, 4)), "everybody was told by it");
}

fn is_told(net: &mut Net, index: usize) -> bool {
    let Ok(Answer::Status(status)) = net.ask(index, Command::Status) else { panic!() };
    let noted = status.notes.iter().any(|note| note.contains("key was revoked"));
    assert_eq!(noted, status.revoked);
    noted
}

/// Somebody else handed the revocation in while the node was away: it is told when it comes, by the first
/// that it meets, and refuses from then on what others would have to believe it.
#[test]
fn a_node_whose_key_others_revoked_is_told_when_it_comes() {
    let mut net = five();
    let commands = |net: &Net| {
        let amount = Credits::from_whole(1).unwrap();
        let (to, witnesses) = (net.id(1), vec![net.id(1), net.id(2), net.id(3)]);
        let (name, layout) = (String::from("docs"), Vec::new());
        [
            Command::Send { to, amount },
            Command::Stake { amount },
            Command::Unstake { amount },
            Command::Invite { owner: false, credits: Credits::ZERO },
            Command::CreateCollection { name, layout },
            Command::Handover { witnesses },
            Command::WantParameter { name: "fee-rate".into(), value: 1 },
            Command::Settle,
        ]
    };
    let void = |answer| matches!(answer, Err(Refusal::Revoked(_)));
    net.kill(4);
    assert!(matches!(revoke(&mut net, 0, 4), Ok(Answer::Done)));
    net.run(Micros::from_secs(2));
    net.nodes.iter_mut().for_each(|node| node.banned.clear());
    // The control: nobody has told it, and its commands are taken.
    let cut: Vec<(usize, usize)> = (0..4).map(|other| (other, 4)).collect();
    net.cut.extend(cut.clone());
    net.start(4);
    net.run(Micros::from_secs(1));
    assert!(!is_told(&mut net, 4));
    let amount = Credits::from_whole(1).unwrap();
    net.call(4, Command::Stake { amount });
    net.settle();
    net.kill(4);
    cut.iter().for_each(|pair| assert!(net.cut.remove(pair)));
    // Whom it was told lately is not told again for a while.
    net.run(Micros::from_secs(700));
    net.start(4);
    net.run(Micros::from_secs(5));
    assert!(is_told(&mut net, 4));
    for command in commands(&net) {
        let answer = net.ask(4, command);
        assert!(void(answer.clone()), "{answer:?}");
    }
    assert!(matches!(net.submit("the others go on"), Ok(Answer::Task(_))));
    let lost = net.id(4);
    assert!((0..4).all(|index| net.nodes[index].banned.contains(&lost)), "and is refused then");
    net.kill(4);
    net.start(4);
    assert!(is_told(&mut net, 4), "it remembers");
}

/// However often it comes, it is told once in ten minutes.
#[test]
fn a_revoked_node_is_told_seldom() {
    let mut net = five();
    let lost = net.id(4);
    net.kill(4);
    assert!(matches!(revoke(&mut net, 0, 4), Ok(Answer::Done)));
    net.run(Micros::from_secs(700));
    net.records = true;
    net.replies.clear();
    for _ in 0..50 {
        net.input(0, Input::Connected { node: lost });
        net.run(Micros::from_secs(10));
    }
    let told = net.replies.iter().filter(|(by, to, _)| (*by, *to) == (0, lost)).count();
    assert!((1..=9).contains(&told), "{told} times in 500 seconds of 50 connections");
}

/// Nobody revokes another's key, or one for another pool, or the founder's, or fills memory with keys that
/// it made up.
#[test]
fn revocations_that_are_none_change_nothing() {
    let mut net = five();
    let pool = pool_of(&net);
    let (victim, enemy) = (net.id(4), net.nodes[3].key.clone());
    let mut renamed = revocation(&net, 3);
    renamed.body.node = victim;
    let mut resigned = revocation(&net, 3);
    (resigned.body.node, resigned.signer) = (victim, victim);
    let elsewhere = RevocationNote::new(&net.nodes[4].key, Digest::of(b"another")).revocation;
    let signed_by_enemy = Signed::seal(Revocation { node: victim }, &enemy, &pool);
    let founder = revocation(&net, 0);
    for signed in [renamed, resigned, elsewhere, signed_by_enemy, founder.clone()] {
        gossips(&mut net, 1, enemy.node_id(), &Gossip::Revocation(signed.clone()));
        let refused = net.ask(2, Command::Revoke(Box::new(signed)));
        assert!(matches!(refused, Err(Refusal::Refused(_))), "{refused:?}");
    }
    net.run(Micros::from_secs(3));
    for index in 0..4 {
        assert!(!knows(&mut net, index, 4) && (index == 0 || !knows(&mut net, index, 0)));
    }
    let founder_id = net.id(0);
    assert!(answers(&mut net, 1, victim) && answers(&mut net, 1, founder_id));
    let unknown = RevocationNote::new(&SecretKey::from_seed([99; 32]), pool).revocation;
    let refused = net.ask(2, Command::Revoke(Box::new(unknown)));
    assert!(matches!(refused, Err(Refusal::NotFound(_))), "{refused:?}");
    // Keys that nobody knows: kept up to a bound, not passed on.
    for n in 0..3_000u64 {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        let made_up = RevocationNote::new(&SecretKey::from_seed(seed), pool).revocation;
        gossips(&mut net, 1, enemy.node_id(), &Gossip::Revocation(made_up));
        net.now = net.now + Micros::from_millis(5);
    }
    let held = net.nodes[1].peer.as_ref().unwrap().held();
    assert!(held.iter().all(|holding| holding.count <= holding.limit));
    let early = held.iter().find(|holding| holding.what == "revocations of nodes unknown").unwrap();
    assert!(early.count > 0 && early.count <= 1_024, "{early:?}");
}

/// The revocation arrives before the member is known.
#[test]
fn a_revocation_may_come_before_its_member() {
    let mut net = five();
    let (key, pool) = (SecretKey::from_seed([88; 32]), pool_of(&net));
    let note = RevocationNote::new(&key, pool).revocation;
    let (inviter, node) = (net.nodes[0].key.clone(), key.node_id());
    let from = net.id(2);
    gossips(&mut net, 1, from, &Gossip::Revocation(note));
    let membership = Some(Signed::seal(Membership { node, group: node }, &inviter, &pool));
    let record = MemberRecord { membership, node, addresses: vec![] };
    gossips(&mut net, 1, from, &Gossip::Member(record.clone()));
    gossips(&mut net, 2, from, &Gossip::Member(record));
    assert!(!answers(&mut net, 1, node));
    net.input(3, Input::Frame { from: node, bytes: vec![] });
    let Ok(Answer::Peers(peers)) = net.ask(1, Command::ListPeers) else { panic!() };
    assert!(peers.iter().any(|peer| peer.node == node && peer.revoked));
}

/// Whom a revoked key let in stays a member, but no thief puts a node of its own among an owner's.
#[test]
fn whom_it_invited_stays_and_is_nobodys_own() {
    for revoked in [true, false] {
        let mut net = Net::new();
        let own = net.join_with(true, Credits::from_whole(10).unwrap());
        let other = net.join(false);
        let invite = Command::Invite { owner: false, credits: Credits::ZERO };
        let Ok(Answer::Ticket(text)) = net.ask(own, invite) else { panic!() };
        let guest_key = SecretKey::from_seed([50; 32]);
        let guest = net.add(guest_key, Peer::join(&text.parse().unwrap()));
        net.run(Micros::from_secs(4));
        if revoked {
            assert!(matches!(revoke(&mut net, 0, own), Ok(Answer::Done)));
            net.settle();
        }
        let guest_id = net.id(guest);
        assert!(answers(&mut net, 0, guest_id) && answers(&mut net, other, guest_id));
        // The thief of the key writes a membership into the owner's group.
        let (thief, pool) = (SecretKey::from_seed([60; 32]).node_id(), pool_of(&net));
        let (group, key) = (net.id(0), net.nodes[own].key.clone());
        let membership = Some(Signed::seal(Membership { node: thief, group }, &key, &pool));
        let record = MemberRecord { membership, node: thief, addresses: vec![] };
        let from = net.id(other);
        gossips(&mut net, 0, from, &Gossip::Member(record));
        let Ok(Answer::Peers(peers)) = net.ask(0, Command::ListPeers) else { panic!() };
        let own_of = |node: NodeId| peers.iter().any(|p| p.node == node && p.same_owner);
        assert_eq!(own_of(thief), !revoked, "the control: a key that is believed may do that");
        assert_eq!(own_of(net.id(own)), !revoked);
        let newcomer = net.join(false);
        net.run(Micros::from_secs(4));
        assert!(answers(&mut net, newcomer, guest_id), "a newcomer knows the guest");
    }
}

/// A key of encryption is for its nodes; one of them is revoked.
#[test]
fn sessions_with_a_revoked_node_are_closed() {
    let mut net = five();
    let (pin, key) = (Digest([0x50; 32]), Digest([0x4b; 32]));
    for index in 0..2 {
        let nodes = vec![net.id(0), net.id(1)];
        net.nodes[index].guarded = vec![Guarded { pin, key, nodes }];
        net.kill(index);
        net.start(index);
    }
    net.run(Micros::from_secs(3));
    let encrypt = |net: &mut Net, n: u8| {
        let request = TaskRequest {
            kind: TaskKind::Encryption,
            payload: Arc::from([&key.0[..], &[n; 40]].concat()),
            pin,
            units: 1_000,
            priority: Priority::Normal,
            remaining: Micros::from_secs(30),
            price_max: None,
            among: Some(vec![net.id(1)]),
            canaries: edge_swarm::command::Canaries::default(),
        };
        match net.ask(0, Command::Submit(request)) {
            Ok(Answer::Task(result)) => result.check.agreed.len(),
            other => panic!("{other:?}"),
        }
    };
    let sessions = |net: &Net| {
        let held = net.nodes[0].peer.as_ref().unwrap().held();
        held.iter().find(|holding| holding.what == "sessions").unwrap().count
    };
    assert_eq!((encrypt(&mut net, 1), sessions(&net)), (1, 1));
    assert!(matches!(revoke(&mut net, 2, 1), Ok(Answer::Done)));
    net.settle();
    assert_eq!(sessions(&net), 0);
    let ran = net.nodes[1].ran.len();
    assert_eq!((encrypt(&mut net, 2), sessions(&net)), (0, 0), "executed at home");
    assert_eq!(net.nodes[1].ran.len(), ran);
}
