//! Work that checkpoints assign, among a few peers on an instant network (`support/net.rs`): who is drawn,
//! what is minted for it, and what becomes of an auditor that lies.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use std::collections::BTreeSet;

use edge_base::{Credits, Digest, Micros, NodeId, SecretKey, Signed, TaskId, TaskKind};
use edge_ledger::{
    Assignment, Commit, CpuHours, Ledger, Resolutions, Reveal, commit_hash, statement::task_id,
};
use edge_swarm::{
    Answer, Command, Input,
    message::{Message, encode_message},
};

use net::{Net, PIN};

/// Members that have something at stake, beside a founder and three witnesses.
const AUDITORS: std::ops::Range<usize> = 4..9;
const EVERY: Micros = Micros::from_secs(60);

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

fn pool() -> Net {
    pool_that(true)
}

fn pool_that(checks_audits: bool) -> Net {
    let mut net = Net::witnessed(|net| {
        (net.checkpoint_every, net.checks_audits) = (EVERY, checks_audits);
    });
    for node in AUDITORS {
        net.join_with(false, whole(100));
        net.run(Micros::from_secs(2));
        assert!(matches!(net.ask(node, Command::Stake { amount: whole(2) }), Ok(Answer::Done)));
    }
    for witness in 1..4 {
        let (name, value) = ("vesting-period".to_owned(), 1);
        net.ask(witness, Command::WantParameter { name, value }).unwrap();
    }
    net.run(Micros::from_secs(90));
    net
}

fn ledger(net: &Net, node: usize) -> &Ledger {
    net.nodes[node].peer.as_ref().unwrap().ledger().unwrap()
}

fn resolved(net: &Net) -> Resolutions {
    ledger(net, 0).base().unwrap().decided.resolutions.clone()
}

/// The founder asks for some work, and time passes until the next checkpoint.
fn epoch(net: &mut Net, tasks: usize) -> Resolutions {
    work(net, tasks);
    until_checkpoint(net)
}

fn work(net: &mut Net, tasks: usize) {
    let epoch = ledger(net, 0).epoch();
    for i in 0..tasks {
        net.submit(&format!("{epoch}-{i} {}", "text ".repeat(12_000))).unwrap();
    }
}

fn until_checkpoint(net: &mut Net) -> Resolutions {
    let before = ledger(net, 0).epoch();
    for _ in 0..30 {
        net.run(Micros::from_secs(5));
        if ledger(net, 0).epoch() > before {
            break;
        }
    }
    assert_eq!(ledger(net, 0).epoch(), before + 1, "a checkpoint");
    net.run(Micros::from_secs(3));
    resolved(net)
}

/// Who may be drawn for what the last checkpoint names.
fn drawn(net: &Net) -> BTreeSet<NodeId> {
    let base = ledger(net, 0).base().unwrap();
    let audits = base.decided.resolutions.audits.iter();
    audits.flat_map(|audit| base.draw(&audit.body).into_iter().take(2)).collect()
}

#[test]
fn the_drawn_execute_again_and_are_paid_by_new_credits() {
    let mut net = pool();
    let grant = ledger(&net, 0).genesis().grant;
    assert_eq!(epoch(&mut net, 3).audits.len(), 2, "of one requester, whatever it offers");
    let staked: BTreeSet<NodeId> = AUDITORS.map(|node| net.id(node)).collect();
    let drawn = drawn(&net);
    assert!(!drawn.is_empty() && drawn.is_subset(&staked));
    let named = epoch(&mut net, 0);
    assert_eq!((named.audits.len(), named.commits.len()), (0, 2));
    let committed: BTreeSet<NodeId> =
        named.commits.iter().flat_map(|c| c.commits.iter().map(|commit| commit.signer)).collect();
    assert_eq!(committed, drawn, "nobody but the drawn");
    let certified = epoch(&mut net, 0);
    assert_eq!(certified.certified.len(), 2);
    let hours = ledger(&net, 0).hours();
    assert!(hours > CpuHours::default());
    let promised =
        |net: &Net| Credits::sum(ledger(net, 0).accounts().map(|(_, view)| view.vesting)).unwrap();
    assert!(promised(&net) > Credits::ZERO);
    assert_eq!(ledger(&net, 0).totals().granted, grant, "not minted yet");
    let due = promised(&net);
    // The next checkpoint comes with the next work.
    epoch(&mut net, 1);
    assert_eq!(ledger(&net, 0).totals().granted, grant.plus(due).unwrap());
    assert!(due <= hours.cap(whole(1)));
    for node in 0..9 {
        net.conserved(node);
        assert_eq!(ledger(&net, node).totals(), ledger(&net, 0).totals(), "node {node}");
    }
    // It is money: the receiver's next block takes it.
    let rich = AUDITORS.clone().find(|node| net.balances(*node).incoming > Credits::ZERO).unwrap();
    let (before, incoming) = (net.balances(rich).balance, net.balances(rich).incoming);
    assert!(matches!(net.ask(rich, Command::Stake { amount: whole(1) }), Ok(Answer::Done)));
    let after = before.plus(incoming).unwrap().minus(whole(1)).unwrap();
    assert_eq!(net.balances(rich).balance, after);
}

#[test]
fn an_auditor_that_lies_is_not_paid_and_loses_its_stake() {
    let mut net = pool();
    let at = AUDITORS.start;
    let liar = net.id(at);
    // It is honest while it works for peers, and lies in audits. Sooner or later it is drawn.
    for _ in 0..8 {
        net.nodes[at].lies = false;
        work(&mut net, 2);
        net.nodes[at].lies = true;
        until_checkpoint(&mut net);
        if drawn(&net).contains(&liar) {
            break;
        }
    }
    assert!(drawn(&net).contains(&liar));
    let base = ledger(&net, 0).base().unwrap().clone();
    let of_it: BTreeSet<_> = base
        .decided
        .resolutions
        .audits
        .iter()
        .filter(|audit| base.draw(&audit.body)[..2].contains(&liar))
        .map(|audit| audit.body.task)
        .collect();
    let commits = epoch(&mut net, 0).commits;
    assert!(commits.iter().any(|c| c.commits.iter().any(|commit| commit.signer == liar)));
    let certified = epoch(&mut net, 0).certified;
    assert!(certified.iter().all(|certified| !of_it.contains(&certified.task)), "two that differ");
    net.run(Micros::from_secs(150));
    for witness in 0..4 {
        let view = ledger(&net, witness).account(&liar);
        assert_eq!((view.staked, view.penalty, view.vesting), (whole(0), whole(2), whole(0)));
        net.conserved(witness);
    }
    let honest = AUDITORS.filter(|node| *node != at).map(|node| net.id(node));
    assert!(honest.into_iter().all(|node| ledger(&net, 0).account(&node).penalty == whole(0)));
}

/// What those say that were not drawn is not heard, and without auditors nothing is minted.
#[test]
fn nothing_is_minted_for_work_between_peers() {
    let mut net = pool();
    let grant = ledger(&net, 0).genesis().grant;
    for node in AUDITORS {
        net.kill(node);
    }
    for _ in 0..4 {
        epoch(&mut net, 2);
    }
    assert!(resolved(&net).commits.is_empty());
    assert_eq!(ledger(&net, 0).hours(), CpuHours::default());
    assert_eq!(ledger(&net, 0).totals().granted, grant);
}

/// Somebody says something to all witnesses.
fn tell(net: &mut Net, by: usize, message: &Message) {
    let from = net.id(by);
    for witness in (0..4).filter(|witness| *witness != by) {
        net.input(witness, Input::Frame { from, bytes: encode_message(message) });
    }
    net.settle();
}

/// Requester and both auditors agree that there is a payload, and on what it gives: one that nobody
/// can have, one of another size, one that no witness can execute. Nothing is certified, and the
/// checkpoint does not wait. Where nobody looks all of it is.
#[test]
fn what_witnesses_cannot_have_or_execute_is_not_certified() {
    let key = |index: usize| SecretKey::from_seed([index as u8 + 1; 32]);
    for checks in [true, false] {
        for (case, pins) in [("is not there", PIN), ("no such build", Digest::of(b"unknown"))] {
            let mut net = pool_that(checks);
            epoch(&mut net, 1);
            epoch(&mut net, 1);
            let asks = AUDITORS.start;
            let (pool, requester) = (ledger(&net, 0).pool(), net.id(asks));
            net.submit_by(asks, "something small").unwrap();
            let escrow = ledger(&net, 0).open_escrows(&requester).next();
            assert!(escrow.is_some());
            let payload = Digest::of(case.as_bytes());
            let kind = TaskKind::Embedding;
            let task: TaskId = task_id(&requester, 77, kind, &payload);
            let (price, payload_bytes) = (Credits::from_micro(1), 60_000);
            let worker = net.id(2);
            let assignment = Assignment {
                task,
                requester,
                worker,
                escrow,
                price,
                kind,
                payload,
                payload_bytes,
                pins,
                issued: 77,
            };
            let offer = Signed::seal(assignment, &key(asks), &pool);
            tell(&mut net, asks, &Message::Audit(Box::new(offer)));
            let named = until_checkpoint(&mut net).audits;
            let named = named.iter().find(|audit| audit.body.task == task).cloned();
            let base = ledger(&net, 0).base().unwrap().clone();
            let drawn = base.draw(&named.expect(case).body);
            let digest = Digest::of(b"what they say that it gives");
            let of = |id: &NodeId| AUDITORS.clone().find(|n| key(*n).node_id() == *id).unwrap();
            let pair: Vec<usize> = drawn[..2].iter().map(of).collect();
            for by in &pair {
                let worker = key(*by).node_id();
                let hash = commit_hash(&task, &worker, &[9; 16], &digest);
                let commit = Signed::seal(Commit { task, worker, hash }, &key(*by), &pool);
                tell(&mut net, *by, &Message::AuditCommit(commit));
            }
            let commits = until_checkpoint(&mut net).commits;
            assert!(commits.iter().any(|commits| commits.assignment.body.task == task), "{case}");
            for by in &pair {
                let worker = key(*by).node_id();
                let reveal = Reveal { task, worker, nonce: [9; 16], digest };
                let reveal = Message::AuditReveal(Signed::seal(reveal, &key(*by), &pool));
                tell(&mut net, *by, &reveal);
            }
            let certified = until_checkpoint(&mut net).certified;
            let found = certified.iter().any(|certified| certified.task == task);
            assert_eq!(found, !checks, "{case}");
        }
    }
}
