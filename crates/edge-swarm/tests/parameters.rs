//! Parameters among a few peers on an instant network (`support/net.rs`): a quorum of witnesses moves
//! one, and the code that reads it follows.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Micros, NodeId};
use edge_swarm::{Answer, Command, Refusal, command::ParameterView};

use net::Net;

const HOUR: u64 = 3_600;

/// A founder and three witnesses beside it, and one member with credits.
fn pool() -> Net {
    let mut net = Net::witnessed(|_| {});
    net.join_with(false, Credits::from_whole(100).unwrap());
    net.run(Micros::from_secs(5));
    net
}

fn want(net: &mut Net, node: usize, name: &str, value: u64) -> Result<(), Refusal> {
    match net.ask(node, Command::WantParameter { name: name.into(), value }) {
        Ok(Answer::Parameters(_)) => Ok(()),
        Err(refusal) => Err(refusal),
        Ok(other) => panic!("{other:?}"),
    }
}

fn parameter(net: &mut Net, node: usize, name: &str) -> ParameterView {
    match net.ask(node, Command::Parameters) {
        Ok(Answer::Parameters(all)) => all.into_iter().find(|p| p.name == name).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn delays(net: &mut Net) -> Vec<u64> {
    (0..net.nodes.len()).map(|i| parameter(net, i, "unstake-delay").value).collect()
}

#[test]
fn a_quorum_of_witnesses_moves_a_parameter_and_two_do_not() {
    let mut net = pool();
    want(&mut net, 1, "unstake-delay", HOUR).unwrap();
    want(&mut net, 2, "unstake-delay", HOUR).unwrap();
    net.run(Micros::from_secs(300));
    assert_eq!(delays(&mut net), vec![24 * HOUR; 5], "two of four are no quorum");
    let wanted = parameter(&mut net, 4, "unstake-delay").wanted;
    let mut two: Vec<NodeId> = vec![net.id(1), net.id(2)];
    two.sort_unstable();
    assert_eq!(wanted, [(HOUR, two)]);
    // The third was away when the others said it, and hears it again; one of them restarts.
    net.kill(3);
    net.kill(1);
    net.start(1);
    net.start(3);
    net.run(Micros::from_secs(90));
    want(&mut net, 3, "unstake-delay", HOUR).unwrap();
    net.run(Micros::from_secs(90));
    assert_eq!(delays(&mut net), vec![HOUR; 5]);
    let after = parameter(&mut net, 0, "unstake-delay");
    assert!(after.since > 0 && after.wanted.is_empty(), "{after:?}");
    // It holds after a restart, too.
    net.kill(2);
    net.start(2);
    net.run(Micros::from_secs(5));
    assert_eq!(delays(&mut net)[2], HOUR);
    // And the code follows: stake is back after an hour, not after a day.
    let amount = Credits::from_whole(10).unwrap();
    assert!(matches!(net.ask(4, Command::Stake { amount }), Ok(Answer::Done)));
    assert!(matches!(net.ask(4, Command::Unstake { amount }), Ok(Answer::Done)));
    net.now = net.now + Micros::from_secs(HOUR);
    net.run(Micros::from_secs(120));
    let account = net.nodes[4].peer.as_ref().unwrap().ledger().unwrap().account(&net.id(4));
    assert_eq!(account.leaving, Credits::ZERO);
}

#[test]
fn a_parameter_is_not_moved_further_than_a_step_nor_by_others_than_witnesses() {
    let mut net = pool();
    for (node, name, value, why) in [
        (4, "unstake-delay", HOUR, "no witness"),
        (1, "unstake-delay", HOUR - 1, "below the range"),
        (1, "fee-rate", 4_001, "more than a step"),
        (1, "fee-rate", 3_000, "what it is"),
        (1, "fees", 3_500, "no such thing"),
    ] {
        let refused = want(&mut net, node, name, value);
        assert!(refused.is_err(), "{why}");
    }
    for node in 0..4 {
        want(&mut net, node, "fee-rate", 2_000).unwrap();
    }
    net.run(Micros::from_secs(90));
    assert_eq!(parameter(&mut net, 4, "fee-rate").value, 2_000);
    // The same votes, still on their way, do not move it on or back.
    net.run(Micros::from_secs(300));
    let fee = parameter(&mut net, 4, "fee-rate");
    assert_eq!((fee.value, fee.wanted.len()), (2_000, 0));
    (0..5).for_each(|i| net.conserved(i));
}
