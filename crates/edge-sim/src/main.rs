//! `edge-sim`: lists and runs scenarios. Results go to standard output, progress to standard error;
//! exit code 1 says that something happened that must not.

use std::{
    io::{Write as _, stderr, stdout},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use edge_sim::{
    Attack, Attacked, Campaign, CountedCampaign, DoubleSpentCampaign, Mutant, Options, Outcome,
    Scenario, replay_command, simulate,
};

/// A thousand peers in one process: scenario x seed, with checkers.
#[derive(Parser)]
#[command(name = "edge-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names of the scenarios and what they are for.
    List,
    /// Runs a scenario.
    Run {
        /// The scenario's name.
        scenario: String,
        /// Everything random follows from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Run this many seeds, from `--seed` on.
        #[arg(long, default_value_t = 1)]
        seeds: u64,
        /// Another number of peers.
        #[arg(long)]
        peers: Option<usize>,
        /// One line of JSON for each seed and nothing else.
        #[arg(long)]
        json: bool,
        /// Neither make nor check signatures.
        #[arg(long)]
        no_signatures: bool,
        /// A defect that a checker must find: lost-acknowledgement, double-settle, paid-liar.
        #[arg(long)]
        mutant: Option<Mutant>,
        /// Switch off what an attack is defended against with: the attack has to succeed then.
        #[arg(long)]
        no_defence: bool,
        /// Make this share of each embedding batch of texts whose vectors are known, in percent.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=50))]
        canaries: u64,
        /// Measure what handling each kind of frame takes, every signature computed.
        #[arg(long)]
        frames: bool,
        /// What tunes audits and budgets: off, exp3 or q-learning.
        #[arg(long, default_value = "off")]
        tuner: edge_swarm::tuner::Policy,
        /// Print every input and output of every peer to standard error.
        #[arg(long)]
        trace: bool,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::List => {
            for scenario in Scenario::all() {
                say(&format!("{:<16} {}", scenario.name, scenario.about));
            }
            ExitCode::SUCCESS
        }
        Command::Run {
            scenario,
            seed,
            seeds,
            peers,
            json,
            no_signatures,
            mutant,
            no_defence,
            canaries,
            frames,
            tuner,
            trace,
        } => {
            let Some(mut found) = Scenario::named(&scenario) else {
                let names: Vec<&str> = Scenario::all().iter().map(|s| s.name).collect();
                complain(&format!("no scenario {scenario}; there are: {}", names.join(", ")));
                return ExitCode::from(2);
            };
            if let Some(peers) = peers {
                let least = found.least_peers();
                if peers < least {
                    complain(&format!(
                        "{scenario} cannot be run with {peers} peers: nobody would be left to ask \
                         for work; give --peers {least} or more"
                    ));
                    return ExitCode::from(2);
                }
                found = found.with_peers(peers);
            }
            let options = Options {
                no_signatures,
                trace,
                mutant,
                no_defence,
                canaries,
                frames,
                tuner,
                progress: !json,
            };
            let mut broken = false;
            let mut attacks = Vec::new();
            for seed in seed..seed.saturating_add(seeds) {
                let outcome = simulate(found.clone(), seed, options);
                broken |= !outcome.violations.is_empty();
                report(&outcome, &options, peers, json);
                attacks.extend(outcome.attack);
            }
            broken |= !summary(&found, &attacks);
            if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

/// Says what an attack over several seeds came to; whether it was held at its line.
fn summary(scenario: &Scenario, attacks: &[Attacked]) -> bool {
    let text = match scenario.attack {
        Some(Attack::WrongResults(line)) => {
            let runs = attacks.iter().filter_map(|attack| match attack {
                Attacked::WrongResults(run) => Some(run.clone()),
                Attacked::DoubleSpend(_) | Attacked::Counted(_) => None,
            });
            let runs: Vec<_> = runs.collect();
            let Some(campaign) = Campaign::of(scenario.name, &line, &runs) else { return true };
            say(&serde_json::to_string(&campaign).unwrap_or_default());
            return campaign.holds;
        }
        Some(Attack::DoubleSpend(_)) => {
            let runs = attacks.iter().filter_map(|attack| match attack {
                Attacked::DoubleSpend(run) => Some(run.clone()),
                Attacked::WrongResults(_) | Attacked::Counted(_) => None,
            });
            let runs: Vec<_> = runs.collect();
            let campaign = DoubleSpentCampaign::of(scenario.name, &runs);
            campaign.map(|campaign| serde_json::to_string(&campaign).unwrap_or_default())
        }
        Some(_) => {
            let runs = attacks.iter().filter_map(|attack| match attack {
                Attacked::Counted(run) => Some(run.clone()),
                Attacked::WrongResults(_) | Attacked::DoubleSpend(_) => None,
            });
            let runs: Vec<_> = runs.collect();
            let campaign = CountedCampaign::of(scenario.name, &runs);
            campaign.map(|campaign| serde_json::to_string(&campaign).unwrap_or_default())
        }
        None => None,
    };
    // Each run is held at its line by itself.
    if let Some(campaign) = text {
        say(&campaign);
    }
    true
}

fn report(outcome: &Outcome, options: &Options, peers: Option<usize>, json: bool) {
    if json {
        say(&serde_json::to_string(outcome).unwrap_or_default());
    } else {
        say(&serde_json::to_string_pretty(outcome).unwrap_or_default());
    }
    for violation in &outcome.violations {
        complain(&format!(
            "{:.3} s  {}: {}",
            violation.at_ms as f64 / 1e3,
            violation.checker,
            violation.text
        ));
    }
    if !outcome.violations.is_empty() {
        complain(&format!("replay: {}", replay_command(outcome, options, peers)));
    }
}

fn say(text: &str) {
    // A reader that went away is no fault of the run.
    let _ = writeln!(stdout(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
