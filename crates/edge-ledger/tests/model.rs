//! The model of votes and certificates, small; and what the checker finds where the pool is broken.
//! `cargo run --release -p edge-ledger --example model_ledger` visits the whole model.

// The checker has a clock; helper functions of a test are not #[test] functions.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

#[path = "../model/pool.rs"]
mod pool;
#[path = "../model/votes.rs"]
mod votes;

use pool::Mutant;
use votes::{FULL, SMALL, Size, UNFROZEN, UNIQUE, Votes, search, visit};

#[test]
fn no_reachable_state_breaks_a_rule_and_honest_payments_get_through() {
    let report = visit(Votes::new(SMALL, Mutant::None));
    assert_eq!(report.broken, []);
    assert_eq!(report.unreached, <[&str; 0]>::default());
    println!("{} states, depth {}, {:.1} s", report.states, report.depth, report.seconds);
    assert_eq!(report.states, 454_242, "the model is a function of its rules");
}

/// The controls: what breaks the assumptions of the proof, or a rule, is found.
#[test]
fn the_checker_finds_what_a_broken_pool_does() {
    let beyond = Size { arbitrary: 2, ..SMALL };
    let restarted = Size { restarts: FULL.restarts, ..SMALL };
    for (size, mutant, property) in [
        (beyond, Mutant::None, UNIQUE),
        (restarted, Mutant::ForgetfulLog, UNIQUE),
        (SMALL, Mutant::QuorumOfTwo, UNIQUE),
        (SMALL, Mutant::BelievesProofs, UNFROZEN),
    ] {
        let report = search(Votes::new(size, mutant), property);
        let found = report.broken.iter().find(|(name, _)| *name == property);
        let (_, steps) = found.unwrap_or_else(|| panic!("{size:?} {mutant:?} holds {property}"));
        println!("{size:?} {mutant:?}: {property} is broken:\n  {}", steps.join("\n  "));
        assert!((2..=12).contains(&steps.len()), "{steps:#?}");
    }
}
