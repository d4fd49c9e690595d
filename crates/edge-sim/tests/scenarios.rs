//! Scenario x seed: no run may break a rule, equal runs are equal, and every mutant is caught.
#![allow(clippy::unwrap_used)]

use edge_sim::{Mutant, Options, Outcome, Scenario, Setup, replay_command, simulate};

fn scale() -> u64 {
    std::env::var("EDGE_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}

fn run(name: &str, seed: u64, options: Options) -> Outcome {
    simulate(Scenario::named(name).unwrap(), seed, options)
}

fn check(name: &str, seed: u64) -> Outcome {
    let options = Options::default();
    let outcome = run(name, seed, options);
    assert!(
        outcome.violations.is_empty(),
        "{:#?}\nreplay: {}",
        outcome.violations,
        replay_command(&outcome, &options, None)
    );
    outcome
}

#[test]
fn a_pool_made_by_tickets_works() {
    for seed in 0..3 * scale() {
        let outcome = check("smoke", seed);
        assert_eq!(outcome.tasks_done, outcome.tasks as u64, "{:?}", outcome.tasks_failed);
        assert!(outcome.escrows.settled > 0 && outcome.records_acknowledged > 0);
    }
}

#[test]
fn mixed_faults_break_no_rule() {
    let scenario = Scenario::named("mixed-faults").unwrap();
    assert_eq!((scenario.peers, scenario.witnesses), (50, 7));
    let mut lies = 0;
    for seed in 1_000..1_000 + 2 * scale() {
        let outcome = check("mixed-faults", seed);
        assert!(outcome.tasks >= 200, "{}", outcome.tasks);
        // Callers whose nodes crash or are cut off get reasons instead of results, but few.
        assert!(
            outcome.tasks_done * 100 >= outcome.tasks as u64 * 95,
            "{:?}",
            outcome.tasks_failed
        );
        assert_eq!(outcome.liars_named, outcome.liars);
        assert_eq!(outcome.escrows.open + outcome.escrows.frozen, 0);
        lies += outcome.lies;
    }
    assert!(lies > 100, "{lies} lies: the liars are asleep");
}

#[test]
fn nobody_is_named_when_only_the_network_is_at_fault() {
    let outcome = check("honest", 3);
    assert_eq!((outcome.liars, outcome.liars_named, outcome.lies), (0, 0, 0));
}

#[test]
fn witnesses_crash_and_never_vote_twice() {
    let outcome = check("crash-witness", 2);
    assert!(outcome.escrows.settled > 0);
}

/// Seeds 3 to 6 had copies that nobody restored after their holder's disk was lost.
#[test]
fn copies_on_lost_disks_are_restored() {
    let outcome = check("lost-disk", 3);
    assert_eq!(outcome.replicas_min, 3);
}

#[test]
fn equal_seeds_give_equal_runs_and_others_others() {
    let faulty = |seed| run("mixed-faults", seed, Options::default());
    let (first, second, other) = (faulty(7), faulty(7), faulty(8));
    assert_eq!((first.digest.clone(), first.events), (second.digest, second.events));
    assert_ne!(first.digest, other.digest);
}

/// Signatures change no decision: the same happens, only faster.
#[test]
fn without_signatures_the_same_happens() {
    let signed = run("mixed-faults", 9, Options::default());
    let unsigned = run("mixed-faults", 9, Options { no_signatures: true, ..Options::default() });
    assert_eq!(signed.inputs, unsigned.inputs);
    assert!(signed.verifications_per_s > Some(0.0) && unsigned.verifications_per_s.is_none());
}

fn caught(mutant: Mutant, checker: &str) {
    for seed in [1, 2] {
        let options = Options { mutant: Some(mutant), ..Options::default() };
        let outcome = run("mixed-faults", seed, options);
        assert!(
            outcome.violations.iter().any(|v| v.checker == checker),
            "{mutant} with seed {seed} was not caught by {checker}: {:#?}",
            outcome.violations
        );
    }
}

#[test]
fn a_lost_acknowledgement_is_caught() {
    caught(Mutant::LostAcknowledgement, "appends-survive");
}

#[test]
fn a_double_settlement_is_caught() {
    caught(Mutant::DoubleSettle, "escrow-ends-once");
}

#[test]
fn a_paid_liar_is_caught() {
    caught(Mutant::PaidLiar, "paid-for-truth");
}

#[test]
fn scenarios_are_what_they_say() {
    for scenario in Scenario::all() {
        assert!(scenario.witnesses % 3 == 1 && scenario.witnesses <= scenario.peers);
        assert!(Scenario::named(scenario.name).is_some() && !scenario.about.is_empty());
        if scenario.setup == Setup::Tickets {
            assert!(scenario.peers <= 16, "tickets are for small pools");
        }
    }
    let small = Scenario::named("mixed-faults").unwrap().with_peers(5);
    assert_eq!((small.peers, small.witnesses, small.workload.requesters), (5, 4, 5));
}
