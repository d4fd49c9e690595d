//! A node that hears too few of the pool believes nobody, and says so.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Micros};
use edge_swarm::{Answer, Command, command::Check};

use net::Net;

fn isolated(net: &mut Net, index: usize) -> Option<String> {
    match net.ask(index, Command::Status) {
        Ok(Answer::Status(status)) => status.isolated,
        other => panic!("{other:?}"),
    }
}

fn check(net: &mut Net, text: &str) -> Check {
    match net.submit(text) {
        Ok(Answer::Task(task)) => task.check,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_quorum_of_witnesses_nobody_is_believed() {
    let mut net = Net::new();
    for _ in 0..4 {
        net.join_with(false, Credits::from_whole(1).unwrap());
    }
    let witnesses = (1..4).map(|n| net.id(n)).collect();
    net.ask(0, Command::Handover { witnesses }).unwrap();
    net.run(Micros::from_secs(10));
    assert_eq!(isolated(&mut net, 0), None);
    let believed = check(&mut net, "one");
    assert!(believed.agreed.len() == 2 && !believed.isolated, "{believed:?}");
    net.kill(1);
    net.run(Micros::from_secs(7));
    assert_eq!(isolated(&mut net, 0), None, "a quorum is there");
    net.kill(2);
    net.run(Micros::from_secs(7));
    let why = isolated(&mut net, 0).unwrap();
    assert!(why.contains("2 of 4 witnesses"), "{why}");
    let alone = check(&mut net, "two");
    assert!(alone.isolated && alone.own_execution.is_some(), "{alone:?}");
    net.start(2);
    net.run(Micros::from_secs(4));
    assert_eq!(isolated(&mut net, 0), None);
    assert!(!check(&mut net, "three").isolated);
}

#[test]
fn a_family_whose_machines_sleep_is_not_isolated() {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    for asleep in [3, 2] {
        net.kill(asleep);
        net.run(Micros::from_secs(10));
        assert_eq!(isolated(&mut net, 1), None, "the founder is there");
    }
    net.start(2);
    net.kill(0);
    net.run(Micros::from_secs(10));
    let why = isolated(&mut net, 1).unwrap();
    assert!(why.contains("of 3 branches only"), "{why}");
    net.kill(2);
    net.run(Micros::from_secs(10));
    assert_eq!(isolated(&mut net, 1), None, "nobody tells it anything");
}
