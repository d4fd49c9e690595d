//! One answer of a proven worker with something at stake: when it is enough, how often it is audited, and
//! what becomes of a worker that was honest until it was believed.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Digest, Micros};
use edge_swarm::{
    Answer, Command,
    command::{Canaries, Check, TaskResult},
};

use net::Net;

const WORKERS: usize = 4;

fn whole(n: u64) -> Credits {
    Credits::from_whole(n).unwrap()
}

/// A founder that asks, and workers of other owners with credits of their own.
fn pool() -> Net {
    let mut net = Net::new();
    for _ in 0..WORKERS {
        net.join_with(false, whole(100));
    }
    net
}

fn stake(net: &mut Net, worker: usize) {
    let done = net.ask(worker, Command::Stake { amount: whole(50) });
    assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
    net.run(Micros::from_secs(1));
}

fn submit(net: &mut Net, text: &str) -> TaskResult {
    match net.submit(text) {
        Ok(Answer::Task(result)) => result,
        other => panic!("{text}: {other:?}"),
    }
}

fn checks(net: &mut Net, name: &str, count: usize) -> Vec<Check> {
    (0..count).map(|n| submit(net, &format!("{name} {n}")).check).collect()
}

fn checked(net: &mut Net) -> u64 {
    let Ok(Answer::Peers(peers)) = net.ask(0, Command::ListPeers) else { panic!("no peers") };
    peers.iter().map(|peer| peer.checked).sum()
}

fn is_true(result: &TaskResult, text: &str) -> bool {
    *result.result == Digest::of_value("run", &text.as_bytes()).0
}

#[test]
fn one_answer_is_enough_of_who_is_proven_and_has_something_at_stake() {
    let mut net = pool();
    // Proven after ten each, but nothing is at stake: two agree, always.
    let before = checks(&mut net, "first", 40);
    assert!(before.iter().all(|c| c.agreed.len() == 2 && c.audit_ppm.is_none()), "{before:?}");
    assert_eq!(checked(&mut net), 80);
    (1..=WORKERS).for_each(|worker| stake(&mut net, worker));

    let after = checks(&mut net, "second", 100);
    let alone = after.iter().filter(|c| c.audit_ppm.is_some()).count();
    assert!(after.iter().all(|c| (c.audit_ppm.is_some(), c.agreed.len()) == (true, 1)
        || (c.audit_ppm.is_none(), c.agreed.len()) == (true, 2)));
    // About twenty checked results each: a sixteenth, and fewer with every audit that goes well.
    assert!((60..100).contains(&alone), "{alone} of 100 were believed alone");
    let shares: Vec<u64> = after.iter().filter_map(|c| c.audit_ppm).collect();
    assert!(shares.iter().all(|share| (50_000..=125_000).contains(share)), "{shares:?}");
    assert!(shares.last() < shares.first());
    // What is believed on a worker's own word says nothing about it.
    assert_eq!(checked(&mut net), 80 + 2 * (100 - alone as u64));
}

/// The root of a shard rests on more than one of them, however proven they are. The control: without the
/// rule one answer is enough for it, as for other tasks.
#[test]
fn roots_of_shards_take_two() {
    for take_two in [true, false] {
        let mut net = pool();
        net.roots_take_two = take_two;
        net.kill(0);
        net.start(0);
        net.run(Micros::from_secs(1));
        checks(&mut net, "first", 40);
        (1..=WORKERS).for_each(|worker| stake(&mut net, worker));
        let create = Command::CreateCollection { name: "docs".into(), layout: vec![1] };
        net.ask(0, create).unwrap();
        for at in 0..20 {
            net.append(at, at + 1).unwrap();
            net.run(Micros::from_secs(1));
        }
        let Ok(Answer::Tasks(tasks)) = net.ask(0, Command::ListTasks { limit: 1_000 }) else {
            panic!()
        };
        let appends = tasks.iter().filter(|task| task.kind == edge_base::TaskKind::VectorInsert);
        let checks: Vec<&Check> = appends.filter_map(|task| task.check.as_ref()).collect();
        assert!(checks.len() >= 20, "{}", checks.len());
        let two = |c: &&Check| c.agreed.len() >= 2 && c.audit_ppm.is_none();
        assert_eq!(checks.iter().all(two), take_two, "{checks:?}");
    }
}

#[test]
fn who_takes_its_stake_back_is_not_believed_alone() {
    let mut net = pool();
    checks(&mut net, "first", 40);
    (1..=WORKERS).for_each(|worker| stake(&mut net, worker));
    for worker in 1..=WORKERS {
        let done = net.ask(worker, Command::Unstake { amount: whole(50) });
        assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
    }
    net.run(Micros::from_secs(1));
    let after = checks(&mut net, "second", 20);
    assert!(after.iter().all(|c| c.agreed.len() == 2 && c.audit_ppm.is_none()), "{after:?}");
}

#[test]
fn a_worker_that_lies_once_it_is_believed_is_found_by_an_audit_and_loses_its_stake() {
    let mut net = pool();
    checks(&mut net, "first", 40);
    (1..=WORKERS).for_each(|worker| stake(&mut net, worker));
    net.nodes[1].lies = true;
    let liar = net.id(1);
    let mut wrong = 0;
    let mut found = None;
    for n in 0..400 {
        let text = format!("second {n}");
        let result = submit(&mut net, &text);
        wrong += usize::from(!is_true(&result, &text));
        if !is_true(&result, &text) {
            assert!(found.is_none(), "a named node was asked again");
            assert_eq!(result.check.agreed, [liar]);
            assert!(result.check.audit_ppm.is_some(), "two do not tell the same lie here");
        }
        if result.check.disagreed.contains(&liar) {
            found = Some(n);
        }
    }
    assert!(found.is_some(), "{wrong} wrong results and no audit");
    // A sixteenth of its answers is audited: 1 / q - 1 are believed in the mean.
    assert!(wrong < 60, "{wrong}");
    let view = net.balances(0);
    assert!(!view.slashed);
    let account = Some(liar);
    let Ok(Answer::Balance(view)) = net.ask(0, Command::Balance { account }) else { panic!() };
    assert!(view.slashed && view.staked == whole(50), "{view:?}");
}

/// The last byte of a result is known, the one that liars change here.
fn known(text: &str, share_ppm: u32) -> Canaries {
    let truth = Digest::of_value("run", &text.as_bytes()).0;
    Canaries { share_ppm, known: vec![(31, truth[31..].to_vec())] }
}

/// As the test before with canaries: the first lie is found, nothing wrong is accepted.
#[test]
fn a_wrong_canary_has_the_batch_executed_again_and_its_worker_named() {
    let mut net = pool();
    checks(&mut net, "first", 40);
    (1..=WORKERS).for_each(|worker| stake(&mut net, worker));
    let before = checked(&mut net);
    net.nodes[1].lies = true;
    let liar = net.id(1);
    let (mut alone, mut found) = (0, 0);
    for n in 0..100 {
        let text = format!("second {n}");
        let Ok(Answer::Task(result)) = net.submit_with(&text, known(&text, 200_000), 1_000) else {
            panic!()
        };
        assert!(is_true(&result, &text), "{n}");
        assert_eq!(result.check.canaries_ppm, 200_000);
        found += usize::from(result.check.disagreed == [liar]);
        alone += u64::from(result.check.audit_ppm.is_some());
        // Canaries stand for audits, but for the least of them.
        assert!(result.check.audit_ppm.is_none_or(|share| share == 50_000));
    }
    assert_eq!(found, 1, "a named node was asked again, or never");
    let account = Some(liar);
    let Ok(Answer::Balance(view)) = net.ask(0, Command::Balance { account }) else { panic!() };
    assert!(view.slashed, "{view:?}");
    // A fifth of what was believed alone counts as checked, beside the audited.
    let by_audits = 2 * (100 - alone);
    let more = checked(&mut net) - before;
    assert!((by_audits + 5..by_audits + 40).contains(&more), "{more} of {by_audits} and {alone}");
}

/// What is known may be wrong: the accepted result it came from was. Nobody is named for that.
#[test]
fn a_false_canary_costs_its_requester_and_nobody_else() {
    let mut net = pool();
    checks(&mut net, "first", 40);
    (1..=WORKERS).for_each(|worker| stake(&mut net, worker));
    let Ok(Answer::Task(result)) = net.submit_with("text", known("another", 200_000), 1_000) else {
        panic!()
    };
    assert!(is_true(&result, "text"));
    assert!(result.check.own_execution.is_some() && result.check.disagreed.is_empty());
    assert_eq!(result.check.agreed.len(), WORKERS);
    let Ok(Answer::Status(status)) = net.ask(0, Command::Status) else { panic!() };
    assert!(status.faulty.is_empty());
    // More than there may be.
    let canaries = Canaries { share_ppm: 1_000_000, ..known("text", 0) };
    assert!(net.submit_with("text", canaries, 1_000).is_err());
    let one = known("text", 0).known;
    let canaries = Canaries { share_ppm: 1, known: vec![one[0].clone(); 257] };
    assert!(net.submit_with("text", canaries, 1_000).is_err());
    // Longer than any result: never right, and no panic.
    let canaries = Canaries { share_ppm: 1, known: vec![(usize::MAX, vec![1])] };
    assert!(matches!(net.submit_with("more", canaries, 1_000), Ok(Answer::Task(_))));
}
