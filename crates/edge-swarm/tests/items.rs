//! A false result of a large batch is judged by executing one item of it.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::sync::Arc;

use edge_base::{Digest, Micros};
use edge_swarm::{
    Answer, Command,
    command::Canaries,
    message::{Evidence, FaultReport, Gossip, Message, decode_gossip, decode_message},
};

use net::Net;

/// A founder that asks and six others, the fourth of which changes the last byte of every result.
fn pool() -> Net {
    let mut net = Net::new();
    for _ in 0..6 {
        net.join(false);
    }
    net.nodes[4].lies = true;
    net.records = true;
    net
}

/// Asks for batches of this size until the liar had one.
fn ask_until_named(net: &mut Net, units: u64) {
    let liar = net.id(4);
    for n in 0..40 {
        let text = format!("text {n}");
        let Ok(Answer::Task(result)) = net.submit_with(&text, Canaries::default(), units) else {
            panic!()
        };
        assert_eq!(*result.result, Digest::of_value("run", &text.as_bytes()).0);
        if result.check.disagreed == [liar] {
            break;
        }
    }
    net.run(Micros::from_secs(15));
}

fn name_the_liar(net: &mut Net) {
    let liar = net.id(4);
    for index in [0, 1, 2, 3, 5, 6] {
        let Ok(Answer::Status(status)) = net.ask(index, Command::Status) else { panic!() };
        assert_eq!(status.faulty, [liar], "at node {index}");
    }
}

/// What each node executed when it judged: whole batches a second time, and items.
fn judged(net: &Net) -> (usize, Vec<u64>) {
    let again = |ran: &[Arc<[u8]>]| {
        let mut payloads: Vec<&Arc<[u8]>> = ran.iter().collect();
        payloads.sort();
        payloads.dedup();
        ran.len() - payloads.len()
    };
    let whole = net.nodes.iter().map(|node| again(&node.ran)).sum();
    (whole, net.nodes.iter().flat_map(|node| node.items.clone()).collect())
}

fn report(net: &Net) -> FaultReport {
    let gossip = |bytes: &Vec<u8>| match decode_gossip(bytes) {
        Ok(Gossip::Fault(report)) => Some(*report),
        _ => None,
    };
    net.delivered.iter().find_map(|(_, bytes)| gossip(bytes)).expect("somebody was accused")
}

#[test]
fn every_judge_executes_one_item_of_a_large_batch() {
    let mut net = pool();
    ask_until_named(&mut net, 1_000_000);
    name_the_liar(&mut net);
    assert_eq!(report(&net).evidence, Evidence::Item { byte: 31 });
    // Six judges; only two workers had executed the batch, and nobody did it for the judging.
    let (again, items) = judged(&net);
    assert_eq!((again, items), (0, vec![31; 6]));
    let ran: usize = net.nodes[1..].iter().map(|node| node.ran.len()).sum();
    let tasks = net.nodes[0].peer.as_ref().unwrap().counters().tasks_verified as usize;
    assert!(ran <= 2 * tasks + 2, "{ran} executions of {tasks} tasks");
}

/// The control: a small one is executed whole, by all of them, which costs less than fetching its result.
#[test]
fn a_small_batch_is_executed_whole() {
    let mut net = pool();
    ask_until_named(&mut net, 1_000);
    name_the_liar(&mut net);
    assert_eq!(report(&net).evidence, Evidence::Payload);
    let (_, items) = judged(&net);
    assert!(items.is_empty());
    let ran: usize = net.nodes.iter().map(|node| node.ran.len()).sum();
    let tasks = net.nodes[0].peer.as_ref().unwrap().counters().tasks_verified as usize;
    assert!(ran >= 2 * tasks + 7, "{ran} executions of {tasks} tasks");
}

/// Who names an item that is right, or lets nobody have the result, shields nobody: the batch decides.
#[test]
fn a_wrong_item_or_none_at_all_does_not_help_the_liar() {
    for fetchable in [true, false] {
        let mut net = pool();
        // Nobody else hears of the accusation until a friend of the liar made another one of it.
        net.lose_faults = true;
        ask_until_named(&mut net, if fetchable { 1_000_000 } else { 1_000 });
        let mut told = net.lost_faults.first().cloned().expect("somebody was accused");
        assert!(
            net.nodes[1].items.is_empty()
                && net.nodes[1]
                    .events
                    .iter()
                    .all(|event| { !matches!(event, edge_swarm::Event::FaultVerified { .. }) })
        );
        told.evidence = Evidence::Item { byte: 3 };
        net.lose_faults = false;
        net.publish_to(1, &Gossip::Fault(Box::new(told)));
        net.run(Micros::from_secs(15));
        let liar = net.id(4);
        let Ok(Answer::Status(status)) = net.ask(1, Command::Status) else { panic!() };
        assert_eq!(status.faulty, [liar], "fetchable: {fetchable}");
        assert_eq!(net.nodes[1].items.len(), usize::from(fetchable));
    }
}

/// And who is accused of a true result is not named for it, at whatever byte.
#[test]
fn the_truth_holds_at_every_item() {
    let mut net = pool();
    net.nodes[4].lies = false;
    let Ok(Answer::Task(result)) = net.submit_with("text", Canaries::default(), 1_000_000) else {
        panic!()
    };
    let worker = net.index_of(&result.check.agreed[0]).unwrap();
    let (mut order, mut said) = (None, None);
    for (to, bytes) in &net.delivered {
        match decode_message(bytes) {
            Ok(Message::Assign { assignment, .. }) if *to == worker => order = Some(assignment),
            Ok(Message::Revealed { commit, reveal, .. }) if commit.signer == net.id(worker) => {
                said = Some((commit, reveal));
            }
            _ => {}
        }
    }
    let (commit, reveal) = said.unwrap();
    let proof = edge_ledger::statement::FaultProof { assignment: order.unwrap(), commit, reveal };
    let evidence = Evidence::Item { byte: 7 };
    let judge = (1..7).find(|n| *n != worker).unwrap();
    net.publish_to(judge, &Gossip::Fault(Box::new(FaultReport { proof, evidence })));
    net.run(Micros::from_secs(15));
    assert_eq!(net.nodes[judge].peer.as_ref().unwrap().counters().faults_refuted, 1);
    let Ok(Answer::Status(status)) = net.ask(judge, Command::Status) else { panic!() };
    assert!(status.faulty.is_empty());
}
