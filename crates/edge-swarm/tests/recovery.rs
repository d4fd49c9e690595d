//! A stored checkpoint that this build cannot read, among a few peers on an instant network
//! (`support/net.rs`): it is set aside and taken from others, and until then nothing is signed that could
//! stand beside what was signed before.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::collections::BTreeMap;

use edge_base::{Credits, Micros, codec};
use edge_ledger::SignedBlock;
use edge_swarm::{
    Answer, Command, Refusal, Table,
    message::{Message, decode_message},
};

use net::Net;

type Disk = BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Between checkpoints; ten minutes in the product.
const EVERY: Micros = Micros::from_secs(60);
/// A witness, and a member with credits.
const WITNESS: usize = 1;
const MEMBER: usize = 5;

/// Four witnesses and two members, four epochs in, with a block of each member after the checkpoint.
fn pool() -> Net {
    let mut net = Net::witnessed(|net| net.checkpoint_every = EVERY);
    for _ in 0..2 {
        net.join_with(false, Credits::from_whole(100).unwrap());
    }
    net.run(Micros::from_secs(5));
    for _ in 0..3 {
        epoch(&mut net);
    }
    for member in [4, MEMBER] {
        assert!(matches!(stake(&mut net, member), Ok(Answer::Done)));
    }
    net
}

fn stake(net: &mut Net, node: usize) -> Result<Answer, Refusal> {
    net.ask(node, Command::Stake { amount: Credits::from_micro(1_000) })
}

fn epoch(net: &mut Net) {
    for _ in 0..3 {
        assert!(matches!(stake(net, 4), Ok(Answer::Done)));
        assert!(matches!(stake(net, MEMBER), Ok(Answer::Done)));
    }
    net.run(Micros::from_secs(80));
}

fn epoch_of(net: &Net, node: usize) -> u64 {
    net.nodes[node].peer.as_ref().unwrap().ledger().unwrap().epoch()
}

/// What an account comes to at a node.
fn account(net: &Net, node: usize, of: usize) -> edge_ledger::AccountView {
    net.nodes[node].peer.as_ref().unwrap().ledger().unwrap().account(&net.id(of))
}

/// The checkpoint on a disk becomes one that another build wrote: a field more, after its first.
fn written_by_another_build(disk: &mut Disk) -> Vec<u8> {
    let rows = disk.get_mut(&Table::Checkpoints).unwrap();
    let last = rows.get_mut(b"last".as_slice()).unwrap();
    last.insert(1, 7);
    // What such a build knew nothing of.
    let last = last.clone();
    rows.remove(b"epoch".as_slice());
    last
}

fn own_block(net: &Net, node: usize) -> Option<SignedBlock> {
    let rows = net.nodes[node].disk.get(&Table::OwnBlock)?;
    rows.get(b"pending".as_slice()).map(|bytes| codec::decode(bytes).unwrap())
}

fn refused(answer: Result<Answer, Refusal>) -> String {
    match answer {
        Err(Refusal::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_set_aside_and_taken_from_others() {
    let mut net = pool();
    let before = [account(&net, 0, 4), account(&net, 0, MEMBER)];
    for node in [WITNESS, MEMBER] {
        net.kill(node);
        let last = written_by_another_build(&mut net.nodes[node].disk);
        let votes = net.nodes[node].disk.get(&Table::Votes).cloned();
        net.start(node);
        net.run(Micros::from_secs(6));
        let rows = &net.nodes[node].disk[&Table::Checkpoints];
        let aside: Vec<_> = rows.iter().filter(|(key, _)| key.starts_with(b"aside")).collect();
        assert!(aside.len() == 1 && *aside[0].1 == last, "kept as it was");
        assert!(rows.contains_key(b"last".as_slice()), "and taken again");
        let kept = net.nodes[node].disk.get(&Table::Votes).cloned();
        assert_eq!(kept, votes, "votes are not thrown away");
        assert_eq!(epoch_of(&net, node), epoch_of(&net, 0));
        assert_eq!([account(&net, node, 4), account(&net, node, MEMBER)], before);
        net.conserved(node);
    }
    // The vote of the witness is needed now, and the member goes on after its own last block.
    net.kill(2);
    assert!(matches!(stake(&mut net, MEMBER), Ok(Answer::Done)));
    assert_eq!(account(&net, 0, MEMBER).seq, before[1].seq + 1);
    assert!(!account(&net, 0, MEMBER).frozen);
    let status = net.status(WITNESS);
    assert!(!status.notes.iter().any(|note| note.contains("set aside")), "{:?}", status.notes);
    // And after another start.
    net.kill(WITNESS);
    net.start(WITNESS);
    net.run(Micros::from_secs(5));
    assert_eq!(account(&net, WITNESS, MEMBER), account(&net, 0, MEMBER));
}

#[test]
fn until_then_nothing_is_signed_and_an_older_checkpoint_is_not_enough() {
    let mut net = pool();
    let late = net.nodes[4].disk.clone();
    epoch(&mut net);
    let head = account(&net, 0, MEMBER).seq;
    (0..6).for_each(|node| net.kill(node));
    for node in [WITNESS, MEMBER] {
        written_by_another_build(&mut net.nodes[node].disk);
        net.start(node);
    }
    // Somebody who lacks that checkpoint, too.
    let disk = std::mem::replace(&mut net.nodes[4].disk, late);
    net.start(4);
    net.records = true;
    for _ in 0..2 {
        net.run(Micros::from_secs(90));
        let text = refused(stake(&mut net, MEMBER));
        assert!(text.contains("was set aside") && text.contains("edge-net peer ls"), "{text}");
        assert_eq!(own_block(&net, MEMBER), None, "nothing was signed");
        // The same after another start, though nothing is set aside any more then.
        net.kill(MEMBER);
        net.start(MEMBER);
    }
    let said = |(_, from, frame): &(usize, edge_base::NodeId, Vec<u8>)| {
        *from == net.id(WITNESS)
            && matches!(decode_message(frame), Ok(Message::Vote(_) | Message::Agree(_)))
    };
    assert!(!net.sent.iter().any(said), "a witness that waits for its checkpoint says nothing");
    net.nodes[4].disk = disk;
    for node in [0, 2, 3] {
        net.start(node);
    }
    net.run(Micros::from_secs(10));
    assert_eq!(account(&net, MEMBER, MEMBER).seq, head);
    assert!(matches!(stake(&mut net, MEMBER), Ok(Answer::Done)));
    assert_eq!(account(&net, 0, MEMBER).seq, head + 1);
    for node in [0, WITNESS, MEMBER] {
        assert!(!account(&net, node, MEMBER).frozen, "node {node}");
        net.conserved(node);
    }
}

/// The founder has the grant in the genesis record, so without its checkpoint it could sign at once. The
/// control: one that does not know that it had a checkpoint, and asks no witness, signs a place that it has
/// signed before.
#[test]
fn a_node_that_forgot_its_checkpoint_would_sign_a_place_twice() {
    let signs = |knows: bool, asks: bool| {
        let mut net = pool();
        net.asks_heads = asks;
        let head = account(&net, 0, 0).seq;
        assert!(head > 0);
        (0..6).for_each(|node| net.kill(node));
        written_by_another_build(&mut net.nodes[0].disk);
        if !knows {
            let rows = net.nodes[0].disk.get_mut(&Table::Checkpoints).unwrap();
            rows.remove(b"last".as_slice());
        }
        net.start(0);
        net.call(0, Command::Stake { amount: Credits::from_micro(1_000) });
        net.run(Micros::from_secs(2));
        own_block(&net, 0).map(|block| block.body.seq <= head)
    };
    assert_eq!((signs(true, false), signs(false, true)), (None, None));
    assert_eq!(signs(false, false), Some(true));
}
