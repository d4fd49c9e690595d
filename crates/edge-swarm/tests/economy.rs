//! What nodes see of the pool's economy is what happened.
#![allow(clippy::unwrap_used)]

#[path = "support/net.rs"]
mod net;

use edge_base::{Credits, Micros};
use edge_swarm::{Answer, Command, command::EconomyView};

use net::Net;

const CORE: u32 = 1_000;

fn economy(net: &mut Net, index: usize) -> EconomyView {
    match net.ask(index, Command::Economy) {
        Ok(Answer::Economy(view)) => *view,
        other => panic!("{other:?}"),
    }
}

/// Four nodes that all witness and offer a core each, with a checkpoint every five minutes.
fn pool() -> Net {
    let mut net = Net::witnessed(|net| net.checkpoint_every = Micros::from_secs(300));
    for index in 0..4 {
        net.ask(index, Command::Offer { cpu_milli: CORE }).unwrap();
    }
    net
}

#[test]
fn what_is_offered_settled_and_minted_is_counted_alike_by_all() {
    let mut net = pool();
    // Over two checkpoints, and longer than the ten minutes that utilization takes.
    for round in 0..3 {
        for i in 0..20 {
            net.submit(&format!("text {i} of round {round}")).unwrap();
        }
        net.run(Micros::from_secs(310));
    }
    let Ok(Answer::Ledger(ledger)) = net.ask(0, Command::VerifyLedger) else { panic!() };
    let supply = ledger.totals.granted.minus(ledger.totals.burned).unwrap();
    // All prices are a millionth a unit, and a unit is a microsecond.
    let views: Vec<EconomyView> = (0..4).map(|index| economy(&mut net, index)).collect();
    let paid: u64 = views.iter().map(|view| view.earned.micro()).sum();
    assert!(paid > 0);
    for view in &views {
        assert_eq!(view.settled.micro(), paid, "{view:#?}");
        assert!((view.certified_cpu_seconds - paid as f64 / 1e6).abs() < 1e-9);
        assert_eq!((view.active, view.offered_cores), (4, 4.0));
        // Four cores as long as it looked, but for the first seconds, when it had not heard of all.
        let all = 4.0 * view.observed_seconds as f64;
        assert!((1.0 - view.offered_cpu_seconds / all).abs() < 0.05, "{view:#?}");
        assert!((900..=1_100).contains(&view.observed_seconds), "{view:#?}");
        let utilization = view.certified_cpu_seconds / view.offered_cpu_seconds;
        assert_eq!(view.utilization, Some(utilization));
        assert_eq!(view.fitness, view.reputation.map(|kept| utilization * kept));
        let epochs = view.epoch as f64;
        assert!(epochs >= 3.0, "{view:#?}");
        assert_eq!((view.supply, view.minted), (supply, Credits::ZERO));
        let velocity = paid as f64 / epochs / supply.micro() as f64;
        assert!((view.velocity.unwrap() / velocity - 1.0).abs() < 1e-9, "{view:#?} {velocity}");
        assert_eq!(view.growth, None, "nobody looked seven days ago");
        let mean = view.certified_cpu_seconds / view.settled_tasks as f64;
        assert_eq!(view.cpu_seconds_per_task, Some(mean));
    }
    assert_eq!(views[0].spent.micro(), paid + views[0].fees.micro());
    assert!(views[0].fees > Credits::ZERO && views[0].earned == Credits::ZERO);
    // Who gave many accepted results can be relied on; who gave none is unknown.
    assert!(views[1].reputation > Some(0.8) && views[0].reputation.is_none(), "{views:#?}");

    // What a node got and gave outlives it; the sums of the day, too, as of the last payment.
    net.kill(1);
    net.start(1);
    net.run(Micros::from_secs(15));
    let again = economy(&mut net, 1);
    assert_eq!((again.earned, again.settled), (views[1].earned, views[1].settled));
    assert!(again.observed_seconds > 0);
}

/// Who comes later has heard of nothing that was settled before, and offers and settlements of the same time.
#[test]
fn who_joins_later_counts_neither_what_was_offered_before_nor_what_was_settled() {
    let mut net = pool();
    for i in 0..20 {
        net.submit(&format!("text {i}")).unwrap();
    }
    net.run(Micros::from_secs(60));
    let late = net.join(false);
    net.run(Micros::from_secs(60));
    let (before, after) = (economy(&mut net, 1), economy(&mut net, late));
    assert!(before.settled > Credits::ZERO && after.settled == Credits::ZERO, "{after:#?}");
    assert!(after.observed_seconds < 70 && before.observed_seconds > 110);
    for i in 0..20 {
        net.submit(&format!("more text {i}")).unwrap();
    }
    net.run(Micros::from_secs(60));
    let more = economy(&mut net, 1).settled.minus(before.settled).unwrap();
    assert!(more > Credits::ZERO);
    assert_eq!(economy(&mut net, late).settled, more);
}

#[test]
fn too_little_to_say_anything_is_nothing() {
    let mut net = pool();
    net.submit("one text").unwrap();
    net.run(Micros::from_secs(60));
    let view = economy(&mut net, 1);
    assert_eq!((view.utilization, view.stability, view.growth), (None, None, None));
    assert_eq!((view.fitness, view.cpu_seconds_per_task), (None, None));
    assert!(view.settled > Credits::ZERO, "{view:#?}");
}

#[test]
fn who_rests_or_is_gone_offers_nothing() {
    let mut net = pool();
    net.run(Micros::from_secs(30));
    assert_eq!(economy(&mut net, 0).offered_cores, 4.0);
    net.ask(1, Command::Work { others: false }).unwrap();
    net.ask(2, Command::Offer { cpu_milli: CORE / 2 }).unwrap();
    net.run(Micros::from_secs(1));
    let view = economy(&mut net, 0);
    assert_eq!((view.active, view.offered_cores), (4, 2.5), "they say it at once");
    net.kill(3);
    net.run(Micros::from_secs(60));
    let view = economy(&mut net, 0);
    assert_eq!((view.active, view.offered_cores), (3, 1.5));
    // What cannot be is taken as the most there can be.
    net.ask(2, Command::Offer { cpu_milli: u32::MAX }).unwrap();
    net.run(Micros::from_secs(1));
    assert_eq!(economy(&mut net, 0).offered_cores, 1_025.0);
}
