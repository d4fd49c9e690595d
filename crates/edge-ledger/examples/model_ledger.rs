//! Every state of the model of votes and certificates, as a JSON line.
//!
//! `cargo run --release -p edge-ledger --example model_ledger [-- small]`

// A program for people, not a part of the core: it has a clock and prints.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]
#![allow(dead_code)] // the test looks at more of the model

#[path = "../model/pool.rs"]
mod pool;
#[path = "../model/votes.rs"]
mod votes;

use std::process::ExitCode;

fn main() -> ExitCode {
    let small = std::env::args().nth(1).is_some_and(|word| word == "small");
    let size = if small { votes::SMALL } else { votes::FULL };
    let report = votes::visit(votes::Votes::new(size, pool::Mutant::None));
    let votes::Report { states, depth, seconds, broken, unreached } = report;
    for (property, steps) in &broken {
        eprintln!("broken: {property}");
        steps.iter().for_each(|step| eprintln!("  {step}"));
    }
    unreached.iter().for_each(|property| eprintln!("never: {property}"));
    let held = broken.is_empty() && unreached.is_empty();
    println!(
        "{{\"model\":\"votes\",\"witnesses\":{},\"arbitrary\":{},\"accounts\":2,\"seqs\":{},\
         \"restarts\":{},\"states\":{states},\"depth\":{depth},\"seconds\":{seconds:.1},\
         \"held\":{held}}}",
        pool::WITNESSES,
        size.arbitrary,
        size.honest_blocks,
        size.restarts,
    );
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
