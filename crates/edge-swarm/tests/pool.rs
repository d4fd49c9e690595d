//! A few peers on an instant network with an instant disk (`support/net.rs`): the protocol without
//! faults of the network.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::sync::Arc;

use edge_base::{
    Credits, Digest, Micros, NodeId, RecordId, Rng, SecretKey, Signed, TaskKind, shard::LogEntry,
};
use edge_swarm::{
    Answer, Command, Event, Input, Peer, Refusal, Table, Ticket,
    command::{Canaries, Change, Priority, TaskRequest},
    message::{CollectionSpec, Gossip, decode_gossip, encode_gossip},
};

use net::{Net, Node, PIN, Rows};

#[test]
fn alone_a_node_checks_itself_and_says_so() {
    let mut net = Net::new();
    let Ok(Answer::Task(result)) = net.submit("hello") else { panic!() };
    assert!(result.check.self_checked);
    assert!(result.check.own_execution.is_some());
    assert_eq!(net.balances(0).seq, 0, "own work on own data never touches the ledger");
}

#[test]
fn strangers_execute_twice_and_are_paid() {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    for i in 0..6 {
        let Ok(Answer::Task(result)) = net.submit(&format!("text {i}")) else { panic!() };
        assert_eq!(result.check.agreed.len(), 2);
        assert_eq!(result.check.own_execution, None);
        assert!(result.check.posterior_ppm >= 990_000);
    }
    net.run(Micros::from_secs(15));
    let earned: u64 = (1..4).map(|i| net.balances(i).incoming.micro()).sum();
    assert_eq!(earned, 6 * 2 * 1_000, "each of two executions of each task is paid its price");
    assert_eq!(net.balances(0).escrowed, Credits::ZERO);
    (0..4).for_each(|i| net.conserved(i));
}

#[test]
fn a_node_that_rests_is_asked_for_nothing_and_finishes_its_own() {
    let mut net = Net::four();
    let by_first = |net: &mut Net| {
        let first = net.id(1);
        let done = (0..12).filter(|at| {
            let Ok(Answer::Task(result)) = net.submit(&format!("text {at} at {:?}", net.now))
            else {
                panic!()
            };
            result.check.agreed.contains(&first)
        });
        done.count()
    };
    assert!(by_first(&mut net) > 0);
    for _ in 0..2 {
        assert!(net.ask(1, Command::Work { others: false }).is_ok());
    }
    assert_eq!(by_first(&mut net), 0, "it declines at once, and members hear of it");
    assert!(net.ask(1, Command::Work { others: true }).is_ok());
    net.run(Micros::from_secs(3));
    assert!(by_first(&mut net) > 0);
}

#[test]
fn who_broke_one_promise_is_asked_again_before_long() {
    let mut net = Net::new();
    for _ in 0..6 {
        net.join(false);
    }
    let first = net.id(1);
    // Until it stops in the middle of a task.
    net.freezes_at_work = Some(1);
    for at in 0..50 {
        net.submit(&format!("text {at}")).unwrap();
        if net.frozen == Some(1) {
            break;
        }
    }
    assert_eq!(net.frozen.take(), Some(1), "it was given nothing");
    net.kill(1);
    net.start(1);
    net.run(Micros::from_secs(5));
    let asked = (0..100).filter(|at| {
        let Ok(Answer::Task(result)) = net.submit(&format!("later text {at}")) else { panic!() };
        result.check.agreed.contains(&first)
    });
    let asked = asked.count();
    // Of 200 executions among six; by one choice in a hundred alone it would be asked for less than one.
    assert!(asked >= 10, "{asked}");
}

/// Of 100 tasks, in how many a worker took part that is 10 ms away from the others, and the time of all.
fn share_of_who_is_far(waits_for_bids: bool) -> (usize, Micros) {
    let mut net = Net::new();
    net.waits_for_bids = waits_for_bids;
    net.kill(0);
    net.start(0);
    for _ in 0..4 {
        net.join(false);
    }
    net.run(Micros::from_secs(5));
    net.far.insert(4, Micros::from_millis(10));
    let (far, begun) = (net.id(4), net.now);
    let took_part = (0..100).filter(|at| {
        let Ok(Answer::Task(result)) = net.submit(&format!("text {at}")) else { panic!() };
        result.check.agreed.contains(&far)
    });
    (took_part.count(), net.now.since(begun))
}

#[test]
fn who_is_further_away_gets_its_share() {
    let (share, _) = share_of_who_is_far(true);
    // One of four that are asked alike, one or two for each task.
    assert!(share >= 15, "{share}");
    let (control, _) = share_of_who_is_far(false);
    assert_eq!(control, 0, "whoever bids first has it");
}

#[test]
fn who_does_not_bid_in_time_is_waited_for_once() {
    let mut net = Net::four();
    net.run(Micros::from_secs(5));
    net.frozen = Some(3);
    let mut took = |text: String| {
        let begun = net.now;
        let call = net.call(0, Command::Submit(net::embedding(&text, Canaries::default(), 1_000)));
        while !net.nodes[0].answers.contains_key(&call) {
            net.run(Micros::from_millis(1));
        }
        net.now.since(begun)
    };
    let mut times: Vec<Micros> = (0..50).map(|at| took(format!("text {at}"))).collect();
    times.sort();
    let longest = times.pop().unwrap();
    // Nobody knows it yet: half a second. After that two are enough to go on at once.
    assert!(
        longest >= Micros::from_millis(500) && longest < Micros::from_millis(520),
        "{longest:?}"
    );
    assert!(times.iter().all(|took| *took < Micros::from_millis(20)), "{times:?}");
}

#[test]
fn an_offer_that_was_lost_is_made_again_before_the_node_works_alone() {
    let mut net = Net::new();
    let stranger = net.join(false);
    net.lose_offers = 2;
    let Ok(Answer::Task(result)) = net.submit("a text") else { panic!() };
    assert_eq!(result.check.agreed, vec![net.id(stranger)]);
    net.lose_offers = usize::MAX;
    let Ok(Answer::Task(result)) = net.submit("another text") else { panic!() };
    assert_eq!(result.check.agreed, vec![]);
    assert!(result.check.self_checked, "who never answers is not waited for");
}

#[test]
fn after_the_handover_four_witnesses_certify() {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    let witnesses = (1..4).map(|i| net.id(i)).collect();
    assert!(matches!(net.ask(0, Command::Handover { witnesses }), Ok(Answer::HandedOver(_))));
    net.submit("paid under the new set").unwrap();
    net.run(Micros::from_secs(15));
    let view = net.ask(2, Command::VerifyLedger);
    let Ok(Answer::Ledger(view)) = view else { panic!() };
    assert_eq!((view.set_version, view.witnesses.len()), (2, 4));
    assert!(view.conserved && view.totals.escrowed == Credits::ZERO);
    // One witness less is still a quorum, two less are not.
    net.kill(3);
    net.submit("one is gone").unwrap();
    net.run(Micros::from_secs(15));
    assert_eq!(net.balances(0).escrowed, Credits::ZERO);
}

#[test]
fn a_liar_is_named_by_those_who_execute_again() {
    let mut net = Net::new();
    for _ in 0..6 {
        net.join(false);
    }
    net.nodes[4].lies = true;
    for i in 0..12 {
        let Ok(Answer::Task(result)) = net.submit(&format!("text {i}")) else { panic!() };
        let truth = Digest::of_value("run", format!("text {i}").as_bytes()).0.to_vec();
        assert_eq!(result.result.to_vec(), truth);
    }
    net.run(Micros::from_secs(15));
    let liar = net.id(4);
    for index in 0..4 {
        let Ok(Answer::Status(status)) = net.ask(index, Command::Status) else { panic!() };
        assert_eq!(status.faulty, vec![liar]);
    }
    let outside = |n: &Node| {
        n.events.iter().any(|e| {
            matches!(e, Event::FaultVerified { was_replica: false, was_requester: false, .. })
        })
    };
    assert!(net.nodes[1..].iter().any(outside));
    assert_eq!(net.balances(4).incoming, Credits::ZERO);
    (0..4).for_each(|i| net.conserved(i));
}

#[test]
fn one_owner_needs_one_execution() {
    let mut net = Net::new();
    for _ in 0..2 {
        net.join(true);
    }
    let mut single = 0;
    for i in 0..60 {
        let Ok(Answer::Task(result)) = net.submit(&format!("text {i}")) else { panic!() };
        single += usize::from(result.check.agreed.len() == 1);
    }
    assert!((45..60).contains(&single), "most are executed once, some are audited: {single}");
}

#[test]
fn a_collection_is_replicated_searched_repaired_and_survives_restarts() {
    let mut net = Net::new();
    for _ in 0..4 {
        net.join(false);
    }
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    assert!(matches!(net.ask(0, create), Ok(Answer::Collection(_))));
    for start in [0, 30, 60] {
        let appended = net.append(start, start + 30);
        assert!(
            matches!(appended, Ok(Answer::Appended { entries: 30, replicas }) if replicas >= 2),
            "{appended:?}"
        );
    }
    net.run(Micros::from_secs(2));
    let view = net.search();
    assert_eq!((view.hits.len(), view.shards.len()), (5, 3), "90 rows in shards of 40");
    assert!(view.shards.iter().all(|s| s.answered.len() == 2 && !s.answered.contains(&net.id(0))));
    // A holder dies: searches go on, and another member takes its place.
    let Ok(Answer::Collections(before)) = net.ask(0, Command::ListCollections) else { panic!() };
    let victim = before[0].shards[0].replicas[0].node;
    let victim_index = net.index_of(&victim).unwrap();
    net.kill(victim_index);
    let view = net.search();
    assert!(view.shards.iter().all(|s| s.answered.len() == 2));
    net.run(Micros::from_secs(20));
    let Ok(Answer::Collections(after)) = net.ask(0, Command::ListCollections) else { panic!() };
    let level = |s: &edge_swarm::command::ShardView| {
        s.replicas.iter().filter(|r| r.reachable && r.seq == s.seq).count()
    };
    assert!(after[0].shards.iter().all(|s| level(s) >= 3), "{after:?}");
    // It comes back and holds what it held.
    net.append(90, 100).unwrap();
    net.start(victim_index);
    net.run(Micros::from_secs(20));
    let Ok(Answer::Collections(back)) = net.ask(0, Command::ListCollections) else { panic!() };
    let again = back[0].shards.iter().flat_map(|s| s.replicas.iter().map(move |r| (s.seq, r)));
    for (seq, replica) in again.filter(|(_, r)| r.node == victim) {
        assert_eq!(replica.seq, seq);
    }
    // The owner restarts and knows its records.
    net.kill(0);
    net.start(0);
    net.run(Micros::from_secs(5));
    let ids = (0..100).map(|i| RecordId(Digest([i; 32]))).collect();
    let known = net.ask(0, Command::Known { collection: "docs".into(), ids, pending: false });
    assert!(matches!(known, Ok(Answer::Known(list)) if list.len() == 100));
    assert_eq!(net.search().hits.len(), 5);
    assert!(net.append(100, 110).is_ok());
}

#[test]
fn after_a_restart_a_copy_begins_with_its_snapshot_if_that_fits_the_log() {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    net.ask(0, create).unwrap();
    for start in 0..10 {
        net.append(start, start + 1).unwrap();
    }
    net.run(Micros::from_secs(2));
    let shard = *net.nodes[1].shards.keys().next().unwrap();
    let (seq, rows) = net.nodes[1].shards[&shard].clone();
    assert_eq!((seq, rows.len()), (10, 10));
    let mut other = rows.clone();
    other.insert(RecordId(Digest([99; 32])), Digest([1; 32]));
    let shorter: Rows = rows.clone().into_iter().take(7).collect();
    // The snapshot, and how many batches are then applied to it.
    let cases = [
        (None, 10, "none"),
        (Some((10, rows.clone())), 0, "of now"),
        (Some((7, shorter)), 3, "of an earlier position"),
        (Some((11, other)), 10, "of a position that the log did not reach"),
    ];
    for (snapshot, appends, which) in cases {
        net.kill(1);
        let node = &mut net.nodes[1];
        node.appends = 0;
        node.snapshots.clear();
        node.snapshots.extend(snapshot.map(|snapshot| (shard, snapshot)));
        net.start(1);
        net.run(Micros::from_secs(3));
        assert_eq!(net.nodes[1].appends, appends, "{which}");
        assert_eq!(net.nodes[1].shards[&shard], (10, rows.clone()), "{which}");
        assert_eq!(net.search().hits.len(), 5);
    }
    net.kill(1);
    net.nodes[1].appends = 0;
    net.nodes[1].foreign_snapshot = true;
    net.nodes[1].snapshots.insert(shard, (7, rows.clone().into_iter().take(5).collect()));
    net.start(1);
    net.run(Micros::from_secs(3));
    assert_eq!(net.nodes[1].shards[&shard], (10, rows));
    assert_eq!(net.nodes[1].appends, 11, "one is refused, then all ten");
}

#[test]
fn who_missed_the_last_heads_hears_of_them_with_the_answers() {
    let mut net = with_ten_records(6);
    net.run(Micros::from_secs(2));
    let outside = (1..7).find(|n| net.nodes[*n].shards.is_empty()).unwrap();
    net.deaf = Some(outside);
    net.append(10, 20).unwrap();
    net.run(Micros::from_secs(2));
    let began = net.now;
    let view = net.search_from(outside);
    assert_eq!(view.shards[0].rows, 20, "of the last position");
    assert!(net.now.since(began) < Micros::from_secs(1), "nobody waited for gossip");
}

/// Heads are gossiped now and then, and not each of them: an answer at a position between two that were is checked
/// all the same, at once.
#[test]
fn searches_beside_a_writer_are_answered_at_once() {
    let mut net = with_ten_records(6);
    net.run(Micros::from_secs(20));
    let outside = (1..7).find(|n| net.nodes[*n].shards.is_empty()).unwrap();
    let mut calls = Vec::new();
    for batch in 1..20 {
        calls.push(net.call_search(outside));
        net.append(batch * 10, batch * 10 + 10).unwrap();
    }
    net.run(Micros::from_millis(300));
    for call in calls {
        let found = net.nodes[outside].answers.remove(&call);
        let Some(Ok(Answer::Found(view))) = found else { panic!("{call}: {found:?}") };
        assert!(view.shards[0].faulty.is_empty() && view.shards[0].answered.len() == 2, "{view:?}");
    }
}

/// Messages to one node can overtake each other: the first batch of a collection waits at its holders for the
/// request to hold it.
#[test]
fn a_batch_that_overtakes_the_request_to_hold_it_is_taken() {
    let mut net = Net::new();
    for _ in 0..4 {
        net.join(false);
    }
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    net.ask(0, create).unwrap();
    net.late = Some(("Replicate", Micros::from_millis(200)));
    let answer = net.append(0, 10);
    assert!(matches!(answer, Ok(Answer::Appended { replicas: 2.., .. })), "{answer:?}");
    net.late = Some(("Replicate", Micros::from_secs(2)));
    let create = Command::CreateCollection { name: "more".into(), layout: vec![1] };
    net.ask(0, create).unwrap();
    let answer = net.append_to("more", 0, 10);
    assert!(matches!(answer, Ok(Answer::Appended { replicas: 0, .. })), "too late: {answer:?}");
}

/// A holder that did not get a batch asks for it when it hears that the owner accepted it.
#[test]
fn a_copy_that_misses_a_batch_fetches_it_when_it_hears_of_it() {
    let mut net = with_ten_records(4);
    net.run(Micros::from_secs(20));
    let holders: Vec<usize> = (1..5).filter(|n| !net.nodes[*n].shards.is_empty()).collect();
    net.run(Micros::from_millis(1_000 - net.now.0 / 1_000 % 1_000 + 10));
    net.cut.insert((0, holders[0]));
    net.append(10, 20).unwrap();
    let (shard, before) =
        net.nodes[holders[0]].shards.iter().map(|(s, at)| (*s, at.0)).next().unwrap();
    net.cut.clear();
    net.run(Micros::from_millis(550));
    assert_eq!(net.nodes[holders[0]].shards[&shard].0, before + 1, "before it was assigned again");
}

/// A holder has its own copy beside the two of others: it does not wait for one that stands still.
#[test]
fn a_holder_searches_its_own_copy_when_another_one_is_slow() {
    let mut net = with_ten_records(4);
    net.run(Micros::from_secs(20));
    let holders: Vec<usize> = (1..5).filter(|n| !net.nodes[*n].shards.is_empty()).collect();
    assert!(holders.len() >= 3, "{holders:?}");
    net.frozen = Some(holders[0]);
    for asks in &holders[1..3] {
        let began = net.now;
        assert_eq!(net.search_from(*asks).hits.len(), 5);
        let took = net.now.since(began);
        assert!(took < Micros::from_secs(1), "{took:?}");
    }
}

/// Nobody hears a search for a while: what was sent is sent again, and who counted as silent is asked again.
#[test]
fn a_search_that_nobody_heard_is_asked_again() {
    for away in [Micros::from_millis(500), Micros::from_secs(5)] {
        let mut net = with_ten_records(4);
        net.run(Micros::from_secs(20));
        let (holders, others): (Vec<usize>, Vec<usize>) =
            (1..5).partition(|n| !net.nodes[*n].shards.is_empty());
        let asks = others[0];
        net.cut.extend(holders.iter().map(|holder| (asks.min(*holder), asks.max(*holder))));
        let call = net.call_search(asks);
        net.run(away);
        net.cut.clear();
        net.run(Micros::from_millis(1_500));
        let found = net.nodes[asks].answers.remove(&call);
        let Some(Ok(Answer::Found(view))) = found else { panic!("{away:?}: {found:?}") };
        assert_eq!(view.shards[0].answered.len(), 2);
    }
}

/// Copies got a batch for which the owner never signed a head, because it went away: they go back to the last one
/// that it signed for, and forward again when it is back.
#[test]
fn a_collection_can_be_searched_when_its_owner_goes_away_in_the_middle_of_a_write() {
    // Who is left can certify what a search is paid with.
    let mut net = Net::witnessed(|_| ());
    net.join(false);
    net.ask(0, Command::CreateCollection { name: "docs".into(), layout: vec![1] }).unwrap();
    net.append(0, 10).unwrap();
    net.run(Micros::from_secs(20));
    let outside = (1..5).find(|n| net.nodes[*n].shards.is_empty()).unwrap();
    let (to, amount) = (net.id(outside), Credits::from_whole(5).unwrap());
    net.ask(0, Command::Send { to, amount }).unwrap();
    net.run(Micros::from_secs(2));
    net.late = Some(("Committed", Micros::from_secs(600)));
    let changes = vec![Change {
        entry: LogEntry { id: RecordId(Digest([99; 32])), record: Some(Digest::of(&[99])) },
        body: vec![99],
    }];
    net.call(0, Command::Append { collection: "docs".into(), changes, units: 1_000 });
    net.run(Micros::from_millis(50));
    let at = |net: &Net, node: usize| net.nodes[node].shards.values().next().map(|at| at.0);
    let ahead = (1..5).filter(|n| at(&net, *n) == Some(2)).count();
    assert_eq!(ahead, 3, "all copies have the batch");
    net.late = None;
    net.kill(0);
    for later in [Micros(0), Micros::from_secs(5)] {
        net.run(later);
        let began = net.now;
        let view = net.search_from(outside);
        assert_eq!((view.hits.len(), view.shards[0].rows), (5, 10), "as of the last head");
        assert!(view.shards[0].faulty.is_empty());
        assert!(net.now.since(began) < Micros::from_secs(8), "{:?}", net.now.since(began));
    }
    net.start(0);
    net.run(Micros::from_secs(10));
    assert_eq!(net.search_from(outside).shards[0].rows, 11, "the batch is in the log");
}

/// A name is its first owner's: another collection of that name is neither made nor learnt where one is known.
#[test]
fn a_name_belongs_to_who_came_first_with_it() {
    let mut net = with_ten_records(3);
    let create = || Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    let refused = net.ask(1, create());
    assert!(
        matches!(&refused, Err(Refusal::Refused(text)) if text.contains("belongs to")),
        "{refused:?}"
    );
    // Two that do not hear each other make one each; a third has the first that it hears of.
    let create = || Command::CreateCollection { name: "both".into(), layout: vec![1] };
    net.cut.extend([(1, 2), (2, 3)]);
    net.ask(1, create()).unwrap();
    net.ask(2, create()).unwrap();
    net.cut.clear();
    // Once they are connected they tell each other what they know.
    let (one, two) = (net.id(1), net.id(2));
    for (index, node) in [(1, two), (2, one)] {
        net.input(index, Input::Disconnected { node });
    }
    for (index, node) in [(1, two), (2, one)] {
        net.input(index, Input::Connected { node });
    }
    net.run(Micros::from_secs(120));
    let owners = |net: &mut Net, node: usize| -> Vec<NodeId> {
        let Ok(Answer::Collections(views)) = net.ask(node, Command::ListCollections) else {
            panic!()
        };
        views.iter().filter(|view| view.name == "both").map(|view| view.owner).collect()
    };
    for (node, owner) in [(1, 1), (2, 2), (3, 1)] {
        let (has, owner) = (owners(&mut net, node), net.id(owner));
        assert_eq!(has, [owner], "{node}");
    }
    // Both are told, for as long as there are two; and nobody else.
    let clashes = |net: &mut Net, node: usize| {
        let status = net.status(node);
        status.notes.iter().filter(|note| note.contains("a collection both too")).count()
    };
    assert_eq!([0, 1, 2, 3].map(|node| clashes(&mut net, node)), [0, 1, 1, 0]);
    net.ask(2, Command::DropCollection { name: "both".into() }).unwrap();
    net.run(Micros::from_secs(60));
    assert_eq!([1, 2].map(|node| clashes(&mut net, node)), [0, 0]);
}

/// Who ended before a node began is heard of from others, and never was connected to it.
#[test]
fn a_holder_that_was_dead_when_a_node_began_is_not_asked_for_ever() {
    let mut net = with_ten_records(4);
    net.records = true;
    net.run(Micros::from_secs(20));
    let (holders, others): (Vec<usize>, Vec<usize>) =
        (1..5).partition(|n| !net.nodes[*n].shards.is_empty());
    let (dead, again) = (holders[0], others[0]);
    let gone = net.id(dead);
    let last = net.delivered.iter().rev().find_map(|(_, bytes)| match decode_gossip(bytes) {
        Ok(Gossip::Advert(advert)) if advert.signer == gone => Some(Gossip::Advert(advert)),
        _ => None,
    });
    net.kill(dead);
    for node in [0, again] {
        net.kill(node);
        net.start(node);
        net.publish_to(node, last.as_ref().unwrap());
    }
    let counted = |net: &mut Net| {
        [0, again].map(|node| {
            let Ok(Answer::Collections(views)) = net.ask(node, Command::ListCollections) else {
                panic!()
            };
            let shards = views.iter().flat_map(|view| &view.shards);
            let copies = shards.flat_map(|shard| &shard.replicas);
            copies.filter(|copy| copy.node == gone && copy.reachable).count()
        })
    };
    assert_eq!(counted(&mut net), [1, 1], "it may be there");
    net.run(Micros::from_secs(40));
    assert_eq!(counted(&mut net), [0, 0]);
    let view = net.search_from(again);
    let silent: usize = view.shards.iter().map(|shard| shard.silent.len()).sum();
    assert_eq!((view.hits.len(), silent), (5, 0), "{view:?}");
}

/// One holder alone has the newest batch and stands still; the others get it while the search waits, and are
/// asked again.
#[test]
fn a_search_asks_holders_that_come_into_step_meanwhile() {
    let mut net = with_ten_records(4);
    net.run(Micros::from_secs(20));
    let (holders, others): (Vec<usize>, Vec<usize>) =
        (1..5).partition(|n| !net.nodes[*n].shards.is_empty());
    assert!(holders.len() == 3 && others.len() == 1, "{holders:?}");
    for behind in &holders[1..] {
        net.cut.insert((0, *behind));
    }
    net.append(10, 20).unwrap();
    net.run(Micros::from_secs(1));
    net.frozen = Some(holders[0]);
    let (call, began) = (net.call_search(others[0]), net.now);
    net.run(Micros::from_secs(4));
    assert!(!net.nodes[others[0]].answers.contains_key(&call), "who was asked stands still");
    net.cut.clear();
    net.run(Micros::from_secs(3));
    let found = net.nodes[others[0]].answers.remove(&call);
    let Some(Ok(Answer::Found(view))) = found else { panic!("{found:?}") };
    assert_eq!(view.hits.len(), 5);
    assert!(net.now.since(began) < Micros::from_secs(10), "long before its deadline");
}

#[test]
fn copies_that_were_made_later_are_found_by_others_when_the_owner_is_away() {
    let mut net = Net::new();
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    assert!(matches!(net.ask(0, create), Ok(Answer::Collection(_))));
    assert!(net.append(0, 30).is_ok());
    for _ in 0..4 {
        let ticket = invite(&mut net, 10).unwrap();
        let key = SecretKey::from_seed([net.nodes.len() as u8 + 1; 32]);
        net.add(key, Peer::join(&ticket));
        net.run(Micros::from_secs(3));
    }
    net.run(Micros::from_secs(20));
    // Who is alone a witness takes everybody's credits along.
    let witnesses = (1..4).map(|index| net.id(index)).collect();
    assert!(matches!(net.ask(0, Command::Handover { witnesses }), Ok(Answer::HandedOver(_))));
    net.run(Micros::from_secs(3));
    let others = |net: &mut Net, index: usize| {
        let Ok(Answer::Collections(found)) = net.ask(index, Command::ListCollections) else {
            panic!()
        };
        let mut replicas: Vec<NodeId> =
            found[0].shards[0].replicas.iter().map(|replica| replica.node).collect();
        replicas.sort();
        replicas
    };
    let known = others(&mut net, 0);
    assert!(known.len() >= 3, "{known:?}");
    (1..5).for_each(|index| assert_eq!(others(&mut net, index), known));
    let asker = (1..5).find(|index| !known.contains(&net.id(*index))).unwrap();
    net.kill(0);
    let command = Command::Search {
        collection: "docs".into(),
        k: 5,
        query: vec![],
        units: 10,
        remaining: Micros::from_secs(20),
    };
    let found = net.ask(asker, command);
    let Ok(Answer::Found(view)) = found else { panic!("{found:?}") };
    assert_eq!((view.hits.len(), view.shards[0].answered.len()), (5, 2));
}

#[test]
fn a_lying_holder_is_named_and_replaced() {
    let mut net = Net::new();
    for _ in 0..4 {
        net.join(false);
    }
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    net.ask(0, create).unwrap();
    net.append(0, 30).unwrap();
    let Ok(Answer::Collections(views)) = net.ask(0, Command::ListCollections) else { panic!() };
    let liar = views[0].shards[0].replicas[0].node;
    let index = net.index_of(&liar).unwrap();
    net.nodes[index].lies = true;
    for _ in 0..6 {
        let view = net.search();
        assert!(view.hits.iter().all(|h| h.score == 7));
    }
    net.run(Micros::from_secs(20));
    for other in (0..5).filter(|i| *i != index) {
        let Ok(Answer::Status(status)) = net.ask(other, Command::Status) else { panic!() };
        assert_eq!(status.faulty, vec![liar], "node {other}");
    }
    let Ok(Answer::Collections(views)) = net.ask(0, Command::ListCollections) else { panic!() };
    assert!(views[0].shards[0].replicas.iter().all(|r| r.node != liar));
}

/// A holder that never looks says nothing false: it is not named, and it earns nothing.
#[test]
fn a_holder_that_finds_less_than_another_is_not_paid() {
    let (mut net, replicas) = Net::with_copies();
    let index = net.index_of(&replicas[0]).unwrap();
    net.nodes[index].lazy = true;
    let before: Vec<_> = (0..5).map(|node| net.balances(node)).collect();
    for _ in 0..20 {
        assert_eq!(net.search().hits.len(), 5);
    }
    net.run(Micros::from_secs(20));
    let earned = |net: &mut Net, node: usize| {
        let now = net.balances(node);
        now.balance.plus(now.incoming).unwrap()
            > before[node].balance.plus(before[node].incoming).unwrap()
    };
    assert!(!earned(&mut net, index), "the lazy one");
    let others = replicas[1..].iter().filter(|node| **node != net.id(0));
    for node in others.copied().collect::<Vec<_>>() {
        let other = net.index_of(&node).unwrap();
        assert!(earned(&mut net, other), "node {other}");
    }
    let Ok(Answer::Status(status)) = net.ask(0, Command::Status) else { panic!() };
    assert_eq!(status.faulty, []);
}

#[test]
fn a_lying_holder_of_appends_is_named_by_replaying_the_log() {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    net.ask(0, create).unwrap();
    net.append(0, 10).unwrap();
    net.nodes[2].lies = true;
    net.append(10, 20).unwrap();
    net.run(Micros::from_secs(10));
    let liar = net.id(2);
    for other in [0, 1, 3] {
        let Ok(Answer::Status(status)) = net.ask(other, Command::Status) else { panic!() };
        assert_eq!(status.faulty, vec![liar], "node {other}");
    }
}

#[test]
fn nobody_gets_in_without_a_ticket_and_a_ticket_works_once() {
    let mut net = Net::new();
    let Ok(Answer::Ticket(text)) =
        net.ask(0, Command::Invite { owner: false, credits: Credits::ZERO })
    else {
        panic!()
    };
    let ticket: Ticket = text.parse().unwrap();
    net.add(SecretKey::from_seed([50; 32]), Peer::join(&ticket));
    net.run(Micros::from_secs(3));
    net.add(SecretKey::from_seed([51; 32]), Peer::join(&ticket));
    let mut forged = ticket.clone();
    forged.secret = [1; 16];
    net.add(SecretKey::from_seed([52; 32]), Peer::join(&forged));
    net.run(Micros::from_secs(3));
    let Ok(Answer::Status(status)) = net.ask(0, Command::Status) else { panic!() };
    assert_eq!(status.members, 2);
    let refused = |n: &Node| {
        n.events
            .iter()
            .any(|e| matches!(e, Event::Note { text } if text.contains("let this node in")))
    };
    assert!(refused(&net.nodes[2]) && refused(&net.nodes[3]) && !refused(&net.nodes[1]));
}

/// Truncated, oversized, of another version, for another pool, wrongly signed, random: nothing is
/// written, nothing is answered to the sender, and the peer goes on.
#[test]
fn bad_frames_are_counted_and_change_nothing() {
    let mut net = Net::new();
    // Every one of them is looked into; `limits.rs` has what comes of it otherwise.
    net.limits = false;
    net.start(0);
    net.join(false);
    net.join(false);
    let Ok(Answer::Status(status)) = net.ask(0, Command::Status) else { panic!() };
    let (from, pool) = (net.id(1), status.pool);
    let key = SecretKey::from_seed([2; 32]);
    assert_eq!(key.node_id(), from);
    let body = CollectionSpec { name: "x".into(), nonce: 1, layout: vec![], dropped: false };
    let good = Signed::seal(body.clone(), &key, &pool);
    let frame = encode_gossip(&Gossip::Collection(good.clone()));
    let foreign = Signed::seal(body.clone(), &key, &Digest::of(b"another pool"));
    let mut changed = good.clone();
    changed.body.name = "y".into();
    let mut borrowed = good;
    borrowed.signer = net.id(2);

    let mut broken: Vec<Vec<u8>> = (0..frame.len()).map(|n| frame[..n].to_vec()).collect();
    broken.push([&frame[..], &[0]].concat());
    broken.push([&frame[..4], &vec![1; 20 << 20]].concat());
    for at in 0..3 {
        let mut other = frame.clone();
        other[at] ^= 1;
        broken.push(other);
    }
    let mut rng = Rng::from_seed([7; 32]);
    for n in 0..2_000 {
        let mut random = vec![0; n % 300];
        rng.fill(&mut random);
        broken.push(random);
    }
    let unsigned = [foreign, changed, borrowed].map(|s| encode_gossip(&Gossip::Collection(s)));

    let disk = net.nodes[0].disk.clone();
    let before = net.nodes[0].peer.as_ref().unwrap().counters();
    for bytes in broken.iter().chain(&unsigned) {
        net.input(0, Input::Frame { from, bytes: bytes.clone() });
        net.input(0, Input::Published { from, number: 0, bytes: bytes.clone() });
    }
    // Nobody that is no member is listened to, whatever it says.
    net.input(0, Input::Frame { from: NodeId([9; 32]), bytes: frame.clone() });
    net.settle();
    let after = net.nodes[0].peer.as_ref().unwrap().counters();
    assert_eq!(after.inputs_malformed - before.inputs_malformed, 2 * broken.len() as u64);
    assert_eq!(after.signatures_refused - before.signatures_refused, 2 * unsigned.len() as u64);
    assert_eq!(after.inputs_refused - before.inputs_refused, 1);
    assert!(net.nodes[0].disk == disk, "something was written");
    let Ok(Answer::Collections(list)) = net.ask(0, Command::ListCollections) else { panic!() };
    assert!(list.is_empty(), "{list:?}");

    net.input(0, Input::Frame { from, bytes: frame });
    let Ok(Answer::Collections(list)) = net.ask(0, Command::ListCollections) else { panic!() };
    assert_eq!(list[0].name, "x", "the frame they were made of is a good one");
    assert!(matches!(net.submit("still there"), Ok(Answer::Task(r)) if !r.check.self_checked));
}

/// An hour forward, an hour back: work goes on, is paid, and nobody is blamed.
#[test]
fn a_clock_that_is_set_stops_nobody() {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    const HOUR: Micros = Micros::from_secs(3_600);
    for (n, back) in [false, true, true, false].into_iter().enumerate() {
        net.now = if back { net.now - HOUR } else { net.now + HOUR + HOUR };
        let Ok(Answer::Task(result)) = net.submit(&format!("text {n}")) else { panic!() };
        assert_eq!(result.check.agreed.len(), 2);
        // Settling takes alarms.
        net.run(Micros::from_secs(15));
        assert_eq!(net.balances(0).escrowed, Credits::ZERO, "{n}");
    }
    let Ok(Answer::Status(status)) = net.ask(0, Command::Status) else { panic!() };
    assert_eq!((status.faulty, status.tasks_failed), (vec![], 0));
    (0..4).for_each(|i| net.conserved(i));
}

/// Without credits a node works for itself and says so; what only others can do is refused with
/// the price.
#[test]
fn who_has_no_credits_works_alone_and_is_told() {
    let mut net = Net::new();
    for _ in 0..4 {
        net.join(false);
    }
    net.ask(0, Command::CreateCollection { name: "docs".into(), layout: vec![1] }).unwrap();
    net.append(0, 10).unwrap();
    net.run(Micros::from_secs(2));
    let Ok(Answer::Collections(views)) = net.ask(0, Command::ListCollections) else { panic!() };
    let holders: Vec<NodeId> = views[0].shards[0].replicas.iter().map(|r| r.node).collect();
    let poor = (1..5).find(|i| !holders.contains(&net.id(*i))).unwrap();

    let request = TaskRequest {
        kind: TaskKind::Embedding,
        payload: Arc::from(b"text".as_slice()),
        pin: PIN,
        units: 1_000,
        priority: Priority::Normal,
        remaining: Micros::from_secs(30),
        price_max: None,
        among: None,
        canaries: Canaries::default(),
    };
    let Ok(Answer::Task(result)) = net.ask(poor, Command::Submit(request)) else { panic!() };
    let why = result.check.own_execution.unwrap();
    assert!(result.check.self_checked && why.contains("no credits to pay others"), "{why}");
    let search = Command::Search {
        collection: "docs".into(),
        k: 5,
        query: vec![],
        units: 10,
        remaining: Micros::from_secs(30),
    };
    let begun = net.now;
    let Err(Refusal::Refused(why)) = net.ask(poor, search) else { panic!() };
    assert!(net.now.since(begun) <= Micros::from_secs(4), "it is not put off until the end");
    assert!(why.contains("costs") && why.contains("this node has 0"), "{why}");
    assert!(why.contains("earn some by working"), "{why}");
    let Ok(Answer::Status(status)) = net.ask(poor, Command::Status) else { panic!() };
    assert!(status.notes.iter().any(|n| n.starts_with("no credits: own tasks run on this node")));
    assert_eq!(net.balances(poor).seq, 0, "nothing was spent");
}

/// A founder with a collection, and others that have credits to search it.
fn with_ten_records(others: usize) -> Net {
    let mut net = Net::new();
    for _ in 0..others {
        net.join_with(false, Credits::from_whole(100).unwrap());
    }
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    net.ask(0, create).unwrap();
    net.append(0, 10).unwrap();
    net
}

/// Many tasks at once of a member whose credits are enough for a few of them: the others are executed by itself.
#[test]
fn tasks_for_which_credits_are_missing_are_executed_here_and_soon() {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(true);
    }
    let own = net.join_with(false, Credits::from_micro(500_000));
    net.run(Micros::from_secs(30));
    let began = net.now;
    let units = 20_000;
    let request = |n| net::embedding(&format!("text {n}"), Canaries::default(), units);
    let calls: Vec<u64> = (0..30).map(|n| net.call(own, Command::Submit(request(n)))).collect();
    let all = |net: &Net| calls.iter().all(|call| net.nodes[own].answers.contains_key(call));
    while !all(&net) {
        net.run(Micros::from_millis(100));
    }
    let took = net.now.since(began);
    let results = calls.iter().map(|call| match &net.nodes[own].answers[call] {
        Ok(Answer::Task(result)) => result.check.own_execution.clone(),
        other => panic!("{other:?}"),
    });
    let alone = results.flatten().filter(|why| why.contains("credits")).count();
    assert!(alone > 0);
    assert!(took <= Micros::from_secs(8), "{took:?}");
}

fn invite(net: &mut Net, credits: u64) -> Result<Ticket, Refusal> {
    let credits = Credits::from_whole(credits).unwrap();
    match net.ask(0, Command::Invite { owner: false, credits })? {
        Answer::Ticket(text) => Ok(text.parse().unwrap()),
        other => panic!("{other:?}"),
    }
}

/// Nodes that hold a used ticket come by the dozen: they are sent away, the oldest first, and who
/// holds a good one still gets in.
#[test]
fn strangers_are_sent_away_and_leave_room_for_newcomers() {
    let mut net = Net::new();
    let used = invite(&mut net, 0).unwrap();
    for seed in 50..91 {
        net.add(SecretKey::from_seed([seed; 32]), Peer::join(&used));
        net.settle();
    }
    assert_eq!(net.nodes[0].sent_away, 40 - 16, "40 strangers, 16 may stay for a while");
    let newcomer = net.join(false);
    assert!(net.status(newcomer).founder.is_some());
    net.run(Micros::from_secs(12));
    assert_eq!(net.nodes[0].sent_away, 40, "the others were not let in within ten seconds");
    assert_eq!(net.status(0).members, 3);
}

/// A node whose ticket is refused says why and takes another one.
#[test]
fn a_refused_ticket_can_be_replaced() {
    let mut net = Net::new();
    let used = invite(&mut net, 0).unwrap();
    net.add(SecretKey::from_seed([50; 32]), Peer::join(&used));
    net.run(Micros::from_secs(2));
    let late = net.add(SecretKey::from_seed([51; 32]), Peer::join(&used));
    net.run(Micros::from_secs(2));
    let refused = net.status(late);
    assert_eq!(refused.founder, None);
    assert!(refused.notes[0].contains("the ticket was used by"), "{:?}", refused.notes);

    let good = invite(&mut net, 0).unwrap();
    assert!(!Peer::is_let_in(&net.nodes[late].stored()));
    net.kill(late);
    for write in Peer::join(&good) {
        let table = net.nodes[late].disk.entry(write.table).or_default();
        table.insert(write.key, write.value.unwrap());
    }
    net.start(late);
    net.run(Micros::from_secs(3));
    assert_eq!(net.status(late).founder, Some(net.id(0)));
    assert!(Peer::is_let_in(&net.nodes[late].stored()));
}

/// What open tickets carry is promised; tickets end after seven days or with their use.
#[test]
fn open_tickets_are_counted_and_end() {
    let mut net = Net::new();
    invite(&mut net, 600_000).unwrap();
    let refused = invite(&mut net, 600_000).unwrap_err().to_string();
    assert!(refused.contains("400000"), "{refused}");
    for _ in 1..4_096 {
        invite(&mut net, 0).unwrap();
    }
    let refused = invite(&mut net, 0).unwrap_err().to_string();
    assert!(refused.contains("seven days"), "{refused}");
    net.now = net.now + Micros::from_secs(7 * 24 * 3_600);
    invite(&mut net, 600_000).unwrap();
    assert_eq!(net.nodes[0].disk[&Table::Invites].len(), 1, "ended tickets are forgotten");
}

/// With fewer witnesses than the quorum nothing can be set aside: own work goes on here and says
/// why, and the status counts who is connected.
#[test]
fn without_a_quorum_own_tasks_run_here_and_say_so() {
    let mut net = Net::new();
    for _ in 0..3 {
        net.join(false);
    }
    let others = (1..4).map(|i| net.id(i)).collect();
    net.ask(0, Command::Handover { witnesses: others }).unwrap();
    net.run(Micros::from_secs(2));
    net.kill(2);
    net.kill(3);
    let before = net.status(0);
    assert_eq!((before.witnesses, before.witnesses_reachable, before.quorum), (4, 2, 3));
    let Ok(Answer::Task(result)) = net.submit("hello") else { panic!() };
    assert!(result.check.self_checked);
    let reason = result.check.own_execution.unwrap();
    assert!(reason.contains("2 of 4 witnesses"), "{reason}");
}
