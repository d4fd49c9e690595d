//! Checkpoints among a few peers on an instant network (`support/net.rs`): when they are made, a second
//! and a third change of the witness set, witnesses that were away, newcomers, restarts.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Digest, Micros, NodeId, codec};
use edge_ledger::AccountProof;
use edge_swarm::{
    Answer, Command, Refusal,
    command::{AccountProofView, CheckpointView},
};

use net::Net;

/// Between checkpoints; ten minutes in the product.
const EVERY_SECONDS: u64 = 60;

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

/// A founder, three witnesses beside it, and `others` members with credits.
fn pool(others: usize) -> Net {
    let mut net = Net::witnessed(|net| net.checkpoint_every = Micros::from_secs(EVERY_SECONDS));
    for _ in 0..others {
        net.join_with(false, whole(100));
    }
    net.run(Micros::from_secs(5));
    net
}

/// The while after which there is a checkpoint, and some seconds.
fn every_and(seconds: u64) -> Micros {
    Micros::from_secs(EVERY_SECONDS + seconds)
}

fn stake(net: &mut Net, node: usize) {
    let done = net.ask(node, Command::Stake { amount: whole(1) });
    assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
}

fn checkpoint(net: &mut Net, node: usize) -> CheckpointView {
    match net.ask(node, Command::Checkpoint) {
        Ok(Answer::Checkpoint(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn proof(net: &mut Net, node: usize, account: NodeId) -> AccountProofView {
    match net.ask(node, Command::Proof { account: Some(account) }) {
        Ok(Answer::Proof(view)) => *view,
        other => panic!("{other:?}"),
    }
}

/// Everybody that runs has the same last checkpoint, and a ledger that adds up.
fn agree(net: &mut Net) -> CheckpointView {
    let running: Vec<usize> =
        (0..net.nodes.len()).filter(|i| net.nodes[*i].peer.is_some()).collect();
    let views: Vec<CheckpointView> = running.iter().map(|i| checkpoint(net, *i)).collect();
    let digests: Vec<Digest> = views.iter().map(|view| view.digest).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{views:#?}");
    running.into_iter().for_each(|i| net.conserved(i));
    views.into_iter().next().unwrap()
}

/// Changes the set to the founder and these; the version that began.
fn change(net: &mut Net, others: &[usize]) -> u64 {
    let witnesses = others.iter().map(|i| net.id(*i)).collect();
    match net.ask(0, Command::Handover { witnesses }) {
        Ok(Answer::WitnessesChanged(set)) => set.version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn witnesses_make_a_checkpoint_after_a_while_and_everybody_takes_it() {
    let mut net = pool(2);
    let refused = net.ask(1, Command::Checkpoint);
    assert!(matches!(refused, Err(Refusal::NotFound(_))), "{refused:?}");
    stake(&mut net, 4);
    net.run(every_and(30));
    let first = agree(&mut net);
    assert_eq!((first.epoch, first.set_version), (2, 2));
    // Nothing happens, nothing is agreed on.
    net.run(every_and(30));
    assert_eq!(agree(&mut net).epoch, 2);
    stake(&mut net, 5);
    net.run(every_and(30));
    let second = agree(&mut net);
    assert_eq!((second.epoch, second.prev), (3, first.digest));
    // A proof from any node holds for whoever has only the root.
    let (member, nobody) = (net.id(5), NodeId(Digest::of(b"nobody").0));
    for (account, present) in [(member, true), (nobody, false)] {
        let view = proof(&mut net, 2, account);
        let bytes: Vec<u8> = (0..view.proof.len() / 2)
            .map(|i| u8::from_str_radix(&view.proof[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let decoded: AccountProof = codec::decode(&bytes).unwrap();
        assert!(decoded.verify(&second.accounts, &account));
        assert!(!decoded.verify(&first.accounts, &account));
        assert_eq!((view.present, view.proof_bytes), (present, bytes.len()));
        assert_eq!(decoded.summary.map(|s| s.staked), present.then(|| whole(1)));
    }
}

#[test]
fn the_witness_set_changes_a_second_and_a_third_time() {
    let mut net = pool(6);
    assert_eq!(change(&mut net, &[1, 2, 4]), 3);
    net.run(Micros::from_secs(10));
    let second = agree(&mut net);
    assert_eq!((second.decided_by_version, second.set_version, second.carried), (2, 3, 0));
    stake(&mut net, 5);
    assert_eq!(change(&mut net, &[1, 2, 4, 5, 6, 7]), 4);
    net.run(Micros::from_secs(10));
    assert_eq!(agree(&mut net).witnesses.len(), 7);
    // Two of seven may be away.
    net.kill(6);
    net.kill(7);
    stake(&mut net, 8);
    net.run(Micros::from_secs(5));
    agree(&mut net);
    // And what the founder may not.
    for (others, why) in [(vec![1, 2, 3, 8, 9, 4], "three leave"), (vec![1, 2, 4, 5, 6], "six")] {
        let witnesses = others.iter().map(|i| net.id(*i)).collect();
        let refused = net.ask(0, Command::Handover { witnesses });
        assert!(matches!(refused, Err(Refusal::Refused(_))), "{why}: {refused:?}");
    }
    let witnesses = (1..4).map(|i| net.id(i)).collect();
    let refused = net.ask(1, Command::Handover { witnesses });
    assert!(matches!(refused, Err(Refusal::Refused(_))), "not the founder: {refused:?}");
}

#[test]
fn a_witness_that_was_away_catches_up_and_is_one_again() {
    let mut net = pool(2);
    net.kill(3);
    stake(&mut net, 4);
    assert_eq!(change(&mut net, &[1, 3, 5]), 3);
    stake(&mut net, 4);
    net.run(every_and(60));
    net.kill(2);
    net.start(3);
    net.run(Micros::from_secs(30));
    let view = agree(&mut net);
    assert_eq!((view.epoch, view.set_version), (3, 3));
    // The quorum of three needs it now.
    net.kill(5);
    stake(&mut net, 4);
    net.run(every_and(120));
    assert_eq!(agree(&mut net).epoch, 4);
}

#[test]
fn a_newcomer_and_restarts_begin_at_the_last_checkpoint() {
    let mut net = pool(2);
    stake(&mut net, 4);
    change(&mut net, &[1, 2, 4]);
    net.run(Micros::from_secs(10));
    change(&mut net, &[1, 4, 5]);
    stake(&mut net, 5);
    net.run(Micros::from_secs(10));
    let late = net.join_with(false, whole(7));
    net.run(Micros::from_secs(20));
    let before = agree(&mut net);
    assert_eq!((before.epoch, before.set_version), (3, 4));
    assert_eq!(checkpoint(&mut net, late).digest, before.digest);
    for node in 0..net.nodes.len() {
        net.kill(node);
    }
    for node in 0..net.nodes.len() {
        net.start(node);
    }
    net.run(Micros::from_secs(10));
    assert_eq!(agree(&mut net).digest, before.digest);
    let account = Some(net.id(5));
    let seen: Vec<_> = [0, 2, late]
        .map(|i| net.ask(i, Command::Balance { account }))
        .into_iter()
        .map(|answer| match answer {
            Ok(Answer::Balance(view)) => (view.balance, view.incoming, view.staked, view.seq),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(seen.iter().all(|view| *view == seen[0]), "{seen:?}");
    // Histories are still whole where the certificates are.
    let Ok(Answer::History(blocks)) = net.ask(0, Command::History { account, limit: 10 }) else {
        panic!("no history")
    };
    assert_eq!(blocks.len() as u64, seen[0].3);
    stake(&mut net, late);
    net.run(every_and(30));
    assert_eq!(agree(&mut net).epoch, 4);
}

/// Witnesses are killed and started again all through an agreement: it still comes to one decision.
#[test]
fn restarts_in_the_middle_of_an_agreement() {
    for seed in 0..3u64 {
        let mut net = pool(1);
        stake(&mut net, 4);
        let witnesses = [1, 2, 4].map(|i| net.id(i)).to_vec();
        net.call(0, Command::Handover { witnesses });
        let mut down = None;
        for step in 0..12u64 {
            net.run(Micros::from_millis(40 + 37 * ((seed * 7 + step * 3) % 11)));
            if let Some(node) = down.take() {
                net.start(node);
            }
            let node = ((seed + step) % 4) as usize;
            net.kill(node);
            down = Some(node);
        }
        if let Some(node) = down {
            net.start(node);
        }
        net.run(Micros::from_secs(120));
        let view = agree(&mut net);
        assert_eq!((view.epoch, view.set_version), (2, 3), "seed {seed}");
        stake(&mut net, 4);
    }
}
