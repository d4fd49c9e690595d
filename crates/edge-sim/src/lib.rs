//! Deterministic simulator: a thousand peers in one process, their network, disks, clocks and
//! faults, and checkers that know the truth.
//!
//! **What it is not.** It has no protocol of its own: each node is the product's
//! [`edge_swarm::Peer`] and computes with the product's [`edge_tasks::Executor`]. It is no mock
//! either: signatures are made and verified (one memo of those that held is shared by the process),
//! and every execution is computed, on every node that has it to do.
//!
//! **The model.** One queue of happenings in virtual time. The network delays, loses, duplicates,
//! reorders and cuts. A disk makes durable what a completed sync covers; what a peer sends after
//! a `Persist` leaves after that sync; a crash drops the rest and everything in memory, and a
//! restart begins from the disk. Clocks start anywhere and run at their own rates. Liars change
//! results at the Execute boundary and nothing else. A [`Scenario`] and a seed give the same run
//! every time; a [`Violation`] says what must not happen and happened.
//!
//! ```
//! use edge_sim::{Options, Scenario, simulate};
//!
//! let scenario = Scenario::named("smoke").unwrap();
//! let outcome = simulate(scenario, 1, Options { no_signatures: true, ..Options::default() });
//! assert!(outcome.violations.is_empty(), "{:?}", outcome.violations);
//! assert!(outcome.tasks_done > 0);
//! ```
//!
//! **Invariants.**
//! - Equal scenario, seed and options: equal digest of everything that happened.
//! - A checker believes no counter of the product; each has a [`Mutant`] that it finds.
//! - Deliberately absent: libp2p. How frames really travel is tested in `edge-transport`.

mod cheat;
mod checks;
mod clock;
mod copying;
mod disk;
mod flood;
mod forking;
mod frames;
mod minted;
mod minting;
mod mutant;
mod network;
mod node;
mod outcome;
mod pool;
mod queue;
mod replay;
mod rivals;
mod scenario;
mod siege;
mod sybil;
mod trace;
mod twofaced;
mod workload;
mod world;

use edge_swarm::tuner::Policy;

pub use checks::Violation;
pub use copying::Copying;
pub use frames::{Busiest, FrameCost};
pub use mutant::{Mutant, UnknownMutant};
pub use network::Weather;
pub use outcome::{
    Attacked, Campaign, Counted, CountedCampaign, DoubleSpent, DoubleSpentCampaign, Escrows,
    Outcome, WronglyAccepted,
};
pub use rivals::Rival;
pub use scenario::{
    Attack, DoubleSpend, Faults, Flood, Minting, Scenario, Setup, Workload, WrongResults,
};
pub use sybil::Sybil;
pub use world::Options;

/// Runs a scenario with a seed.
pub fn simulate(scenario: Scenario, seed: u64, options: Options) -> Outcome {
    if !matches!(scenario.attack, Some(Attack::Flood(_))) {
        return world::World::new(scenario, seed, options, None).run().0;
    }
    // What is usual is what the same run comes to when nobody floods.
    let (_, quiet) = world::World::new(scenario.clone(), seed, options, None).run();
    world::World::new(scenario, seed, options, Some(quiet)).run().0
}

/// The command that runs the same again.
pub fn replay_command(outcome: &Outcome, options: &Options, peers: Option<usize>) -> String {
    let mut command = format!(
        "cargo run --profile ci -p edge-sim -- run {} --seed {}",
        outcome.scenario, outcome.seed
    );
    if let Some(peers) = peers {
        command.push_str(&format!(" --peers {peers}"));
    }
    if options.canaries > 0 {
        command.push_str(&format!(" --canaries {}", options.canaries));
    }
    if options.no_defence {
        command.push_str(" --no-defence");
    }
    if options.no_signatures {
        command.push_str(" --no-signatures");
    }
    match options.tuner {
        Policy::Off => {}
        Policy::Exp3 => command.push_str(" --tuner exp3"),
        Policy::QLearning => command.push_str(" --tuner q-learning"),
    }
    if let Some(mutant) = options.mutant {
        command.push_str(&format!(" --mutant {mutant}"));
    }
    command
}
