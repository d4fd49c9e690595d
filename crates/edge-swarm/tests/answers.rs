//! Witnesses that withhold their votes are reported by owners, and no others.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Micros, NodeId, Rng};
use edge_swarm::{Answer, Command};

use net::Net;

/// A founder and three others, all witnesses, and an owner with credits.
fn pool() -> (Net, usize) {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    let witnesses = (1..4).map(|index| net.id(index)).collect();
    assert!(matches!(net.ask(0, Command::Handover { witnesses }), Ok(Answer::HandedOver(_))));
    let owner = net.join_with(false, Credits::from_whole(100).unwrap());
    net.run(Micros::from_secs(5));
    (net, owner)
}

/// The owner has so many blocks certified, one after the other.
fn certify(net: &mut Net, owner: usize, blocks: usize) {
    for _ in 0..blocks {
        let amount = Credits::from_whole(1).unwrap();
        let done = net.ask(owner, Command::Stake { amount });
        assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
    }
    net.run(Micros::from_secs(10));
}

fn unresponsive(net: &mut Net, node: usize) -> Vec<NodeId> {
    match net.ask(node, Command::Status) {
        Ok(Answer::Status(status)) => {
            let noted = status.notes.iter().any(|note| note.contains("do not answer"));
            assert_eq!(noted, !status.unresponsive.is_empty());
            status.unresponsive
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_withholds_votes_is_reported_and_nobody_else() {
    for loss in [0, 100_000] {
        for withholds in [None, Some(2)] {
            let (mut net, owner) = pool();
            net.loss = (loss > 0).then(|| (Rng::from_seed([9; 32]), loss));
            net.withholds = withholds;
            certify(&mut net, owner, 20);
            let expected: Vec<NodeId> = withholds.iter().map(|index| net.id(*index)).collect();
            assert_eq!(unresponsive(&mut net, owner), expected, "loss {loss}");
            // One that votes again is forgiven.
            net.withholds = None;
            certify(&mut net, owner, 24);
            assert_eq!(unresponsive(&mut net, owner), [], "loss {loss}");
        }
    }
}

#[test]
fn of_few_blocks_and_of_who_is_away_nothing_is_said() {
    let (mut net, owner) = pool();
    net.withholds = Some(2);
    certify(&mut net, owner, 5);
    assert_eq!(unresponsive(&mut net, owner), []);
    let (mut net, owner) = pool();
    net.kill(2);
    certify(&mut net, owner, 20);
    assert_eq!(unresponsive(&mut net, owner), []);
}
