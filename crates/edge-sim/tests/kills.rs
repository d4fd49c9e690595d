//! Processes that are killed at random moments, every second one in the middle of a write: 200 kills,
//! and 10,000 where `EDGE_TEST_SCALE` is 20, as in `cargo xtask nightly`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use edge_sim::{Mutant, Options, Outcome, Scenario, replay_command, simulate};

fn run(seed: u64, options: Options) -> Outcome {
    simulate(Scenario::named("kills").unwrap(), seed, options)
}

/// No owner signs two blocks at a place, no witness votes for two, no block that was published as
/// certified and no record that was acknowledged is lost, every call is answered.
#[test]
fn whoever_is_killed_takes_no_word_back() {
    let scale: u64 =
        std::env::var("EDGE_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let seeds = if scale > 1 { 5 * scale } else { 2 };
    let (mut kills, mut interrupted) = (0, 0);
    for seed in 1..=seeds {
        let options = Options::default();
        let outcome = run(seed, options);
        let replay = replay_command(&outcome, &options, None);
        assert!(outcome.violations.is_empty(), "{:#?}\nreplay: {replay}", outcome.violations);
        assert!(outcome.certificates > 50 && outcome.records_acknowledged > 20, "{replay}");
        kills += outcome.kills;
        interrupted += outcome.tasks_interrupted;
    }
    assert_eq!(kills, 100 * seeds, "every kill hit a process");
    assert!(interrupted > 10 * seeds, "{interrupted} calls were under way when their node died");
}

/// The control: drives that say durable before it is. Owners sign again what they forgot, witnesses vote
/// again, and certified blocks are gone.
#[test]
fn drives_that_lie_are_caught() {
    let expected = ["owner-signs-once", "witness-votes-once", "blocks-survive"];
    let mut caught = BTreeSet::new();
    for seed in 1..=40 {
        let options = Options { mutant: Some(Mutant::LostAcknowledgement), ..Options::default() };
        let violations = run(seed, options).violations;
        caught.extend(violations.into_iter().map(|violation| violation.checker));
        if expected.iter().all(|checker| caught.contains(*checker)) {
            return;
        }
    }
    panic!("only {caught:?}");
}

/// A member whose data go back 20 seconds each time it is killed signs nothing twice, pays what it promised, and is
/// paid. The control: one that asks nobody what it signed.
#[test]
fn who_is_rolled_back_takes_no_word_back_either() {
    let run = |seed: u64, no_defence: bool| {
        let options = Options { no_defence, ..Options::default() };
        simulate(Scenario::named("rollback").unwrap(), seed, options)
    };
    for seed in 1..=8 {
        let outcome = run(seed, false);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        assert!(outcome.kills == 40 && outcome.certificates > 50, "seed {seed}");
    }
    let broken = |checker: &str| {
        (1..=8).any(|seed| run(seed, true).violations.iter().any(|v| v.checker == checker))
    };
    assert!(broken("owner-signs-once") && broken("escrow-ends-once"));
}

/// Members go on under new keys while processes are killed: the same rules hold, and the work goes on.
#[test]
fn who_goes_on_under_a_new_key_takes_no_word_back() {
    let mut rotations = 0;
    for seed in 1..=5 {
        let outcome = simulate(Scenario::named("rotations").unwrap(), seed, Options::default());
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        assert!(outcome.kills == 30 && outcome.tasks_done > 200, "seed {seed}");
        rotations += outcome.rotations;
    }
    assert!(rotations > 40, "{rotations}");
}
