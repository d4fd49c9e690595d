//! Certificates before checkpoints are dropped, among a few peers on an instant network
//! (`support/net.rs`): on disk as in memory, across restarts, and for who was away or comes new.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::collections::BTreeMap;

use edge_base::{Credits, Micros, NodeId, Signed, codec};
use edge_ledger::{BlockKind, Certificate, EquivocationProof};
use edge_swarm::{
    Answer, Command, Table,
    command::LedgerView,
    message::{Gossip, Message, decode_message},
};

use net::Net;

/// Between checkpoints; ten minutes in the product.
const EVERY: Micros = Micros::from_secs(60);

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

/// A founder, three witnesses beside it, and two members with credits.
fn pool(prunes: bool) -> Net {
    let mut net = Net::witnessed(|net| {
        net.checkpoint_every = EVERY;
        net.prunes = prunes;
    });
    for _ in 0..2 {
        net.join_with(false, whole(100));
    }
    net.run(Micros::from_secs(5));
    net
}

fn stake(net: &mut Net, node: usize) {
    let done = net.ask(node, Command::Stake { amount: Credits::from_micro(1_000) });
    assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
}

/// Some blocks of two members, and the checkpoint that has them.
fn epoch(net: &mut Net) {
    for _ in 0..3 {
        stake(net, 4);
        stake(net, 5);
    }
    net.run(Micros::from_secs(80));
}

fn epoch_of(net: &Net, node: usize) -> u64 {
    net.nodes[node].peer.as_ref().unwrap().ledger().unwrap().epoch()
}

fn certificates(net: &Net, node: usize) -> Vec<Certificate> {
    let rows = net.nodes[node].disk.get(&Table::Certificates);
    let rows = rows.into_iter().flat_map(BTreeMap::values);
    rows.map(|bytes| codec::decode(bytes).unwrap()).collect()
}

fn verify(net: &mut Net, node: usize) -> LedgerView {
    match net.ask(node, Command::VerifyLedger) {
        Ok(Answer::Ledger(view)) => view,
        other => panic!("{other:?}"),
    }
}

/// What an account comes to at a node.
fn account(net: &Net, node: usize, account: NodeId) -> edge_ledger::AccountView {
    net.nodes[node].peer.as_ref().unwrap().ledger().unwrap().account(&account)
}

/// Nothing of it changes what anybody has: not a restart, not a block that is shown again.
#[test]
fn a_node_drops_what_a_checkpoint_has_and_starts_again_from_the_rest() {
    let mut net = pool(true);
    epoch(&mut net);
    let old = certificates(&net, 1);
    assert_eq!(verify(&mut net, 1).dropped, 0, "the first checkpoint has none before it");
    epoch(&mut net);
    let (kept, view) = (certificates(&net, 1), verify(&mut net, 1));
    assert!(view.conserved);
    assert_eq!((view.dropped as usize, view.kept), (old.len(), kept.len()));
    assert_eq!((view.certificates, view.since_epoch), (0, Some(3)), "nothing since the last one");
    let Ok(Answer::Status(status)) = net.ask(1, Command::Status) else { panic!("no status") };
    assert_eq!((status.certificates, status.certificates_dropped), (view.kept, view.dropped));
    assert!(
        kept.iter().all(|certificate| !old.contains(certificate)),
        "gone from the disk as well"
    );
    let member = net.id(4);
    let before = account(&net, 1, member);
    for node in 0..6 {
        net.kill(node);
    }
    for node in 0..6 {
        net.start(node);
    }
    net.run(Micros::from_secs(5));
    for node in 0..6 {
        assert_eq!(account(&net, node, member), before, "node {node}");
        net.conserved(node);
    }
    assert_eq!(certificates(&net, 1), kept);
    // What was dropped is shown again, by gossip: nothing is taken, and nothing is written.
    for certificate in old {
        net.publish_to(1, &Gossip::Certificate(Box::new(certificate)));
    }
    net.run(Micros::from_secs(2));
    assert_eq!(account(&net, 1, member), before);
    assert_eq!(certificates(&net, 1), kept);
    let Ok(Answer::History(blocks)) =
        net.ask(1, Command::History { account: Some(member), limit: 50 })
    else {
        panic!("no history")
    };
    assert_eq!(blocks.len(), 3, "the newest, as far as they are kept");
    epoch(&mut net);
    assert_eq!(epoch_of(&net, 1), 4);
}

/// With as much going on in each epoch, a disk holds no more after eight than after two. The control:
/// where nothing is dropped it grows.
#[test]
fn what_lies_on_a_disk_is_bounded() {
    let held = |prunes: bool| {
        let mut net = pool(prunes);
        let mut rows = Vec::new();
        for _ in 0..8 {
            epoch(&mut net);
            rows.push(certificates(&net, 2).len());
        }
        assert_eq!(epoch_of(&net, 2), 9);
        net.conserved(2);
        rows
    };
    let pruned = held(true);
    assert!(pruned[1..].iter().all(|rows| *rows == pruned[1]), "{pruned:?}");
    let control = held(false);
    assert!(control.windows(2).all(|two| two[0] < two[1]), "{control:?}");
    assert!(control[7] > 4 * pruned[7], "{control:?} {pruned:?}");
}

/// A newcomer, a member that lacks one checkpoint, and one that lacks three: all come to the same.
#[test]
fn who_lacks_what_was_dropped_begins_at_the_checkpoint() {
    let mut net = pool(true);
    epoch(&mut net);
    net.kill(5);
    net.kill(3);
    for _ in 0..3 {
        (0..3).for_each(|_| stake(&mut net, 4));
        net.run(Micros::from_secs(80));
    }
    assert_eq!((epoch_of(&net, 0), verify(&mut net, 0).dropped > 0), (5, true));
    let late = net.join_with(false, whole(7));
    net.start(5);
    net.start(3);
    net.run(Micros::from_secs(80));
    // What the newcomer was given made another one.
    let last = epoch_of(&net, 0);
    let member = net.id(4);
    for node in [3, 5, late] {
        assert_eq!(epoch_of(&net, node), last, "node {node}");
        assert_eq!(account(&net, node, member), account(&net, 0, member), "node {node}");
        net.conserved(node);
        // What the states have is on no disk twice.
        let view = verify(&mut net, node);
        assert_eq!(certificates(&net, node).len(), view.kept, "node {node}");
    }
    // A witness again, and the newcomer acts.
    net.kill(2);
    stake(&mut net, late);
    stake(&mut net, 5);
    net.run(Micros::from_secs(90));
    assert_eq!(epoch_of(&net, 3), last + 1);
}

/// Who asks for blocks that are not kept is told of the checkpoint at once, not only when it hears of
/// the epoch.
#[test]
fn who_asks_for_dropped_blocks_is_pointed_to_the_checkpoint() {
    let pointed = |prunes: bool| {
        let mut net = pool(prunes);
        (0..3).for_each(|_| epoch(&mut net));
        // A block that is kept takes a payment of an account that begins later here: of what leads up to
        // it nothing is told, and the answer ends all the same.
        let invite = Command::Invite { owner: false, credits: whole(2) };
        let Ok(Answer::Ticket(text)) = net.ask(4, invite) else { panic!("no ticket") };
        let key = edge_base::SecretKey::from_seed([99; 32]);
        let paid = net.add(key, edge_swarm::Peer::join(&text.parse().unwrap()));
        net.run(Micros::from_secs(5));
        stake(&mut net, paid);
        let stranger = net.id(5);
        net.records = true;
        net.sent.clear();
        let bytes =
            edge_swarm::message::encode_message(&Message::Frontier { range: None, heads: vec![] });
        net.input(0, edge_swarm::Input::Frame { from: stranger, bytes });
        net.run(Micros::from_millis(10));
        let told = |(to, _, frame): &(usize, NodeId, Vec<u8>)| {
            *to == 5 && matches!(decode_message(frame), Ok(Message::Checkpoints { .. }))
        };
        net.sent.iter().filter(|sent| told(sent)).count()
    };
    assert_eq!((pointed(true), pointed(false)), (1, 0));
}

/// A node is killed between the block that it signed and its certificate. The pool goes on without it
/// for some checkpoints: it finds its block certified there, and goes on after it.
#[test]
fn a_block_that_was_certified_while_its_owner_was_away_is_not_waited_for() {
    let mut net = pool(true);
    epoch(&mut net);
    let head = account(&net, 0, net.id(5)).seq;
    let row =
        net.nodes[5].disk.get(&Table::OwnBlock).and_then(|rows| rows.values().next().cloned());
    assert_eq!(row, None);
    // Its disk is as it was just before it learned that its block is certified.
    let before = net.nodes[5].disk.clone();
    stake(&mut net, 5);
    let certificate = certificates(&net, 5)
        .into_iter()
        .find(|c| c.block.signer == net.id(5) && c.body().seq > head);
    let block = certificate.unwrap().block;
    net.kill(5);
    net.nodes[5].disk = before;
    let own = net.nodes[5].disk.entry(Table::OwnBlock).or_default();
    own.insert(b"pending".to_vec(), codec::encode(&block));
    for _ in 0..3 {
        (0..3).for_each(|_| stake(&mut net, 4));
        net.run(Micros::from_secs(80));
    }
    net.start(5);
    net.run(Micros::from_secs(20));
    assert_eq!(account(&net, 5, net.id(5)).seq, head + 1);
    assert_eq!(net.nodes[5].disk.get(&Table::OwnBlock).map_or(0, BTreeMap::len), 0);
    stake(&mut net, 5);
    assert_eq!(account(&net, 0, net.id(5)).seq, head + 2);
}

/// Two blocks that the owner of an account signs for one place, and a witness sees both.
fn equivocate(net: &mut Net, owner: usize, witness: usize) {
    let blocks = [20, 30].map(|amount| {
        let ledger = net.ledger_of(owner);
        let kind = BlockKind::Stake { amount: Credits::from_micro(amount) };
        let body = ledger.next_block(net.id(owner), kind).unwrap();
        Signed::seal(body, &net.nodes[owner].key, &ledger.pool())
    });
    let proof = EquivocationProof::new(blocks[0].clone(), blocks[1].clone());
    net.publish_to(witness, &Gossip::Equivocation(Box::new(proof)));
    net.run(Micros::from_secs(5));
}

/// Members that come after a checkpoint hold for frozen who signed two blocks before it: who was one before
/// them, and who of them is a witness, votes for none of its blocks.
#[test]
fn who_signed_two_blocks_is_frozen_for_newcomers_too() {
    let mut net = pool(true);
    epoch(&mut net);
    let liar = net.id(4);
    equivocate(&mut net, 4, 1);
    for _ in 0..3 {
        stake(&mut net, 5);
        net.run(Micros::from_secs(80));
    }
    assert!(account(&net, 1, liar).frozen && epoch_of(&net, 1) >= 4);
    let newcomers: Vec<usize> = (0..3).map(|_| net.join(false)).collect();
    net.run(Micros::from_secs(20));
    for node in newcomers {
        assert_eq!(epoch_of(&net, node), epoch_of(&net, 1), "node {node}");
        let view = account(&net, node, liar);
        assert_eq!(view, account(&net, 1, liar), "node {node}");
        assert!(view.frozen, "node {node}");
    }
}
