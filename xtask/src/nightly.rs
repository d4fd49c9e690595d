//! `cargo xtask nightly`: the checks at full scale, with a report.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::options::Options;
use crate::stages::{self, Outcome, Stage};
use crate::{bench, ci, environment, fuzz, netns, process, testing};

const HELP: &str = "\
The full-scale checks, with a report

Usage: cargo xtask nightly [--only STAGES] [--out FILE]

Options:
  --only a,b    run these stages only
  --out FILE    where the report goes, `-` for standard output; default docs/nightly.md

Stages:
  build   compile everything once
  test    all tests with EDGE_TEST_SCALE=20 and 1,000 kills of real nodes
  sim     200 seeds of mixed-faults
  attacks 50 seeds of each attack, and 5 with the defence switched off, which must succeed
  peers   1,000 peers, 31 witnesses, 2,000 tasks, within 5 minutes (release)
  model   every state of the models of protocols, 10 minutes at most for each (release)
  fuzz    10^6 executions of every fuzz target
  netns   two nodes in two network namespaces
  bench   every benchmark group
  against kernels, units and index beside the commit of a day before
";

const STAGES: &[&str] =
    &["build", "test", "sim", "attacks", "peers", "model", "fuzz", "netns", "bench", "against"];
const TEST_SCALE: &str = "20";
const KILLS: &str = "1000";
const SIM_SEEDS: u64 = 200;
/// Of each attack.
const ATTACK_SEEDS: u64 = 50;
/// Of each attack without its defence.
const CONTROL_SEEDS: u64 = 5;
const FUZZ_RUNS: u64 = 1_000_000;
const PEERS_SCENARIO: &str = "thousand-peers";
const PEERS_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// A model checker is an example `model_NAME` of some crate: it prints a JSON line and fails if a
/// property is broken.
const MODEL_PREFIX: &str = "model_";
const MODEL_TIME_MAX: Duration = Duration::from_secs(10 * 60);

type Sections = Rc<RefCell<Vec<(&'static str, String)>>>;

/// Runs the stages and writes the report, whether or not they hold.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let Some(options) = Options::parse(arguments, HELP, &[], &["--only", "--out"])? else {
        return Ok(());
    };
    options.no_positional()?;
    let only = options.list("--only", STAGES)?;
    let out = options.text("--out").unwrap_or("docs/nightly.md");
    let sections = Sections::default();
    let mut stages = stages_in_order(&sections);
    stages.retain(|stage| only.is_empty() || only.iter().any(|name| name == stage.name));
    let result = stages::run(stages, true);
    let report = report(&sections.borrow(), result.as_ref().err());
    if out == "-" {
        print!("{report}");
    } else {
        let path = crate::workspace::root().join(PathBuf::from(out));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, report)
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("xtask: report in {out}");
    }
    result
}

/// A stage whose outcome and lines go into the report.
fn reported(
    name: &'static str,
    sections: &Sections,
    run: impl FnOnce() -> Result<(Outcome, Vec<String>)> + 'static,
) -> Stage {
    let sections = Rc::clone(sections);
    Stage::new(name, move || {
        let started = Instant::now();
        let result = run();
        let minutes = stages::minutes(started.elapsed());
        let mut text = match &result {
            Ok((Outcome::Passed(note), _)) => format!("ok, {minutes} min. {note}\n"),
            Ok((Outcome::NotRun(reason), _)) => format!("not run: {reason}\n"),
            Err(error) => format!("FAILED, {minutes} min. {error:#}\n"),
        };
        if let Ok((_, lines)) = &result
            && !lines.is_empty()
        {
            text.push_str(&format!("\n```\n{}\n```\n", lines.join("\n")));
        }
        sections.borrow_mut().push((name, text));
        result.map(|(outcome, _)| outcome)
    })
}

fn stages_in_order(sections: &Sections) -> Vec<Stage> {
    let plain = |outcome: Result<Outcome>| outcome.map(|outcome| (outcome, Vec::new()));
    vec![
        reported("build", sections, move || plain(ci::build())),
        reported("test", sections, full_tests),
        reported("sim", sections, move || plain(ci::mixed_faults(SIM_SEEDS))),
        reported("attacks", sections, attacks),
        reported("peers", sections, peers),
        reported("model", sections, models),
        reported("fuzz", sections, || fuzz::all(FUZZ_RUNS, 1)),
        reported("netns", sections, move || plain(netns::stage())),
        reported("bench", sections, bench::all),
        reported("against", sections, bench::beside_yesterday),
    ]
}

/// The tests run in a process of their own, so that the scale reaches them alone.
fn full_tests() -> Result<(Outcome, Vec<String>)> {
    let mut command = process::command(std::env::current_exe()?);
    command.arg("test").env("EDGE_TEST_SCALE", TEST_SCALE).env("EDGE_KILLS", KILLS);
    command.env("CARGO_MANIFEST_DIR", crate::workspace::root().join("xtask"));
    let mut counts = testing::Counts::default();
    let mut last = String::new();
    let ok = process::tee(&mut command, |line| {
        counts.add(line);
        last = line.to_owned();
    })?;
    if !ok {
        bail!("{}", counts.closing_line());
    }
    Ok((Outcome::Passed(last), Vec::new()))
}

/// Each attack at its line, and the control.
fn attacks() -> Result<(Outcome, Vec<String>)> {
    let simulator = environment::built("edge-sim");
    let listed = process::capture(process::command(&simulator).arg("list"))?;
    let names: Vec<&str> =
        listed.split_whitespace().filter(|word| word.starts_with("attack/")).collect();
    let lines: Result<Vec<String>> =
        process::on_all_cores(&names, |name| attack(&simulator, name)).into_iter().collect();
    let lines = lines?;
    if lines.len() != names.len() {
        bail!("an attack was not run to its end");
    }
    Ok((Outcome::passed(), lines))
}

/// One attack at its line, and the control; the line that sums its seeds up.
fn attack(simulator: &Path, name: &str) -> Result<String> {
    let command = |seeds: u64| {
        let mut command = process::command(simulator);
        command.args(["run", name, "--json", "--seeds", &seeds.to_string()]);
        command
    };
    let held = process::capture(&mut command(ATTACK_SEEDS))?;
    let control = command(CONTROL_SEEDS).arg("--no-defence").output()?;
    // Every seed, and by what a checker says: a command that fails otherwise shows nothing either.
    let text = String::from_utf8(control.stdout)?;
    let succeeded = text.lines().filter(|line| line.contains("\"checker\":")).count() as u64;
    if control.status.code() != Some(1) || succeeded != CONTROL_SEEDS {
        bail!(
            "{name} succeeds in {succeeded} of {CONTROL_SEEDS} seeds with the defence switched off"
        );
    }
    let last = held.lines().last().unwrap_or_default();
    println!("{name} holds: {last}");
    Ok(last.to_owned())
}

fn peers() -> Result<(Outcome, Vec<String>)> {
    // A size that is a matter of speed: with the optimisation users get.
    process::run(environment::cargo().args(["build", "--release", "-p", "edge-sim"]))?;
    let simulator = environment::built_for_users("edge-sim");
    let listed = process::capture(process::command(&simulator).arg("list")).unwrap_or_default();
    if !listed.contains(PEERS_SCENARIO) {
        let reason = format!("not yet: edge-sim lists no {PEERS_SCENARIO}");
        return Ok((Outcome::NotRun(reason), Vec::new()));
    }
    let started = Instant::now();
    let mut command = process::command(&simulator);
    command.args(["run", PEERS_SCENARIO, "--json", "--seed", "1"]);
    let text = process::capture(&mut command)?;
    let elapsed = started.elapsed();
    if elapsed > PEERS_TIME_MAX {
        bail!("took {} min, more than 5", stages::minutes(elapsed));
    }
    Ok((Outcome::passed(), vec![text.trim().to_owned()]))
}

fn models() -> Result<(Outcome, Vec<String>)> {
    let mut lines = Vec::new();
    for example in crate::workspace::members()?.examples(MODEL_PREFIX) {
        let mut cargo = environment::cargo();
        cargo.args(["build", "--release", "-p", &example.package, "--example", &example.name]);
        process::run(&mut cargo)?;
        let started = Instant::now();
        let mut cargo = environment::cargo();
        cargo.args(["run", "--release", "--quiet", "-p", &example.package]);
        let text = process::capture(cargo.args(["--example", &example.name]))?;
        if started.elapsed() > MODEL_TIME_MAX {
            bail!("{} took {} min", example.name, stages::minutes(started.elapsed()));
        }
        lines.push(text.trim().to_owned());
    }
    Ok((Outcome::passed(), lines))
}

fn report(sections: &[(&str, String)], error: Option<&anyhow::Error>) -> String {
    let mut text = String::from("# Nightly\n\nMade by `cargo xtask nightly`.\n\n");
    let verdict = error.map_or_else(|| "every stage that ran held".to_owned(), |e| e.to_string());
    let rows = [
        ("date (UTC)", environment::date()),
        ("commit", environment::commit()),
        ("machine", environment::machine()),
        ("result", verdict),
    ];
    text.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {name} | {value} |");
    }
    for (name, section) in sections {
        let _ = write!(text, "\n## {name}\n{section}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_stage() {
        let names: Vec<&str> =
            stages_in_order(&Sections::default()).iter().map(|stage| stage.name).collect();
        assert_eq!(names, STAGES);
        for name in STAGES {
            assert!(HELP.contains(&format!("\n  {name} ")), "{name}");
        }
    }

    #[test]
    fn the_report_keeps_failures_and_lines() {
        let sections = Sections::default();
        let stages = vec![
            reported("a", &sections, || Ok((Outcome::passed(), vec!["{\"x\":1}".to_owned()]))),
            reported("b", &sections, || bail!("seed 7 broke")),
        ];
        let error = stages::run(stages, true).unwrap_err();
        let text = report(&sections.borrow(), Some(&error));
        assert!(text.contains("| result | failed: b |"), "{text}");
        assert!(text.contains("## a\nok, 0.0 min."), "{text}");
        assert!(text.contains("```\n{\"x\":1}\n```"), "{text}");
        assert!(text.contains("## b\nFAILED, 0.0 min. seed 7 broke"), "{text}");
    }
}
