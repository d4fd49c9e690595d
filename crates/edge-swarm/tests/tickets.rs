//! Tickets that are out, used, withdrawn and tried, among a few peers on an instant network
//! (`support/net.rs`); and own tasks as they are listed.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::sync::Arc;

use edge_base::{Credits, Micros, SecretKey, TaskKind};
use edge_swarm::{
    Answer, Command, Input, Peer, Refusal, Ticket,
    command::{Canaries, Priority, TaskRequest, TaskStatus, TaskView, TicketView},
};

use net::Net;

fn invite(net: &mut Net, credits: u64) -> Ticket {
    let credits = Credits::from_whole(credits).unwrap();
    match net.ask(0, Command::Invite { owner: false, credits }) {
        Ok(Answer::Ticket(text)) => text.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn tickets(net: &mut Net) -> Vec<TicketView> {
    match net.ask(0, Command::Tickets) {
        Ok(Answer::Tickets(views)) => views,
        other => panic!("{other:?}"),
    }
}

/// Open tickets, and what was tried in vain.
fn counted(net: &mut Net) -> (usize, Credits, u64) {
    match net.ask(0, Command::Security) {
        Ok(Answer::Security(view)) => (view.open_tickets, view.promised, view.joins_refused),
        other => panic!("{other:?}"),
    }
}

/// A node comes with a ticket; whether it is let in.
fn comes(net: &mut Net, seed: u8, ticket: &Ticket) -> bool {
    let index = net.add(SecretKey::from_seed([seed; 32]), Peer::join(ticket));
    net.run(Micros::from_secs(10));
    let Ok(Answer::Status(status)) = net.ask(index, Command::Status) else { panic!() };
    net.kill(index);
    status.witnesses > 0
}

#[test]
fn a_ticket_that_is_withdrawn_admits_nobody() {
    for withdraws in [true, false] {
        let mut net = Net::new();
        let (first, second) = (invite(&mut net, 10), invite(&mut net, 5));
        let views = tickets(&mut net);
        assert_eq!(views.len(), 2);
        let one = views.iter().find(|view| view.ticket == first.id()).unwrap();
        assert_eq!((one.credits, one.used_by), (first.credits, None));
        assert!(one.left.unwrap() > Micros::from_secs(6 * 24 * 3_600));
        assert_eq!(counted(&mut net), (2, Credits::from_whole(15).unwrap(), 0));
        if withdraws {
            let done = net.ask(0, Command::WithdrawTicket { ticket: first.id() });
            assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
            assert_eq!(counted(&mut net), (1, second.credits, 0), "what it promised is free again");
            net.kill(0);
            net.start(0);
        }
        // The control: one that was not withdrawn.
        assert_eq!(comes(&mut net, 50, &first), !withdraws);
        assert_eq!(counted(&mut net).2, u64::from(withdraws), "ten seconds of asking count once");
    }
}

#[test]
fn who_comes_with_a_used_ticket_is_counted() {
    let mut net = Net::new();
    let ticket = invite(&mut net, 1);
    assert!(comes(&mut net, 50, &ticket));
    assert_eq!(counted(&mut net).2, 0);
    for (seed, expected) in [(51, 1), (52, 2), (52, 2)] {
        assert!(!comes(&mut net, seed, &ticket));
        assert_eq!(counted(&mut net).2, expected, "one for each node");
    }
    let views = tickets(&mut net);
    assert_eq!((views[0].used_by, views[0].left), (Some(net.id(1)), None));
    let used = net.ask(0, Command::WithdrawTicket { ticket: ticket.id() });
    assert!(matches!(used, Err(Refusal::Refused(_))), "{used:?}");
    let unknown = net.ask(0, Command::WithdrawTicket { ticket: edge_base::Digest::of(b"none") });
    assert!(matches!(unknown, Err(Refusal::NotFound(_))), "{unknown:?}");
}

fn tasks(net: &mut Net) -> Vec<TaskView> {
    match net.ask(0, Command::ListTasks { limit: 100 }) {
        Ok(Answer::Tasks(views)) => views,
        other => panic!("{other:?}"),
    }
}

/// Searches stand among tasks, not behind them; one that came to nothing says why.
#[test]
fn own_tasks_are_listed_newest_first_and_say_why_they_ended() {
    let mut net = Net::new();
    (0..3).for_each(|_| {
        net.join_with(false, Credits::from_whole(10).unwrap());
    });
    let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
    net.ask(0, create).unwrap();
    net.run(Micros::from_secs(5));
    net.append(0, 9).unwrap();
    for round in 0..3 {
        net.run(Micros::from_secs(1));
        net.submit(&format!("text {round}")).unwrap();
        net.run(Micros::from_secs(1));
        net.search();
    }
    let views = tasks(&mut net);
    let kinds: Vec<String> = views.iter().map(|view| view.kind.to_string()).collect();
    let both = ["vector_search", "embedding"];
    assert_eq!(kinds[..6], [both, both, both].concat()[..], "{kinds:?}");
    assert!(views.is_sorted_by_key(|view| view.ago));
    assert!(views.iter().all(|view| view.reason.is_none()));

    let request = |text: &str, remaining| TaskRequest {
        kind: TaskKind::Embedding,
        payload: Arc::from(text.as_bytes()),
        pin: net::PIN,
        units: 1_000,
        priority: Priority::Normal,
        remaining,
        price_max: None,
        among: None,
        canaries: Canaries { share_ppm: 250_000, known: Vec::new() },
    };
    let given_up = request("a text that is given up", Micros::from_secs(30));
    let call = net.call(0, Command::Submit(given_up));
    net.input(0, Input::Abandoned { call });
    net.settle();
    let newest = tasks(&mut net).remove(0);
    assert_eq!(newest.status, TaskStatus::Cancelled);
    assert_eq!(newest.reason.as_deref(), Some("its caller is gone"));
    net.cut.extend((1..4).map(|other| (0, other)));
    let refused = net.ask(0, Command::Submit(request("in no time", Micros(1))));
    assert!(matches!(refused, Err(Refusal::TimedOut(_))), "{refused:?}");
    let newest = tasks(&mut net).remove(0);
    assert_eq!((newest.status, newest.canaries_ppm), (TaskStatus::Failed, 250_000));
    assert_eq!(
        newest.reason.as_deref(),
        Some("the task timed out: no result could be checked in time")
    );
}
