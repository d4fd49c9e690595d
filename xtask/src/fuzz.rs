//! `cargo xtask fuzz`: the mutation fuzzer over every decoder of remote bytes.
//!
//! A target is an example `fuzz_NAME` of the crate that owns the decoder, written with the
//! crate `edge-fuzz`; `fuzz/README.md` tells how. It prints one JSON line, [`Report`].

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::options::Options;
use crate::stages::Outcome;
use crate::testing::PROFILE;
use crate::workspace::{self, Example};
use crate::{environment, process};

const HELP: &str = "\
Run the mutation fuzzer over the decoders of remote bytes

Usage: cargo xtask fuzz [TARGET...] [--runs N] [--seed S] [--list]

Without TARGET every target runs. What broke a decoder is kept in fuzz/artifacts.

Options:
  --runs N    executions of each target; default 100000
  --seed S    seed of the mutations; default 1
  --list      print the targets and their crates
";

const PREFIX: &str = "fuzz_";

/// What a target says when it is done.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Report {
    /// The name of the target, without its prefix.
    pub(crate) target: String,
    /// Executions.
    pub(crate) runs: u64,
    /// How many inputs passed the frame header, so that the rest of the decoder was reached.
    pub(crate) accepted_header: u64,
    /// Executions that panicked.
    pub(crate) panics: u64,
}

/// Runs the targets.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let valued = ["--runs", "--seed"];
    let Some(options) = Options::parse(arguments, HELP, &["--list"], &valued)? else {
        return Ok(());
    };
    let runs = options.value("--runs", 100_000)?;
    let seed = options.value("--seed", 1)?;
    let found = workspace::members()?.examples(PREFIX);
    if options.has("--list") {
        for example in &found {
            println!("{:20} {}", name(example), example.package);
        }
        return Ok(());
    }
    for line in run(&found, &options.positional, runs, seed)? {
        println!("{line}");
    }
    Ok(())
}

/// Runs every target and answers its JSON lines, for the nightly report.
pub(crate) fn all(runs: u64, seed: u64) -> Result<(Outcome, Vec<String>)> {
    let found = workspace::members()?.examples(PREFIX);
    if found.is_empty() {
        return Ok((Outcome::NotRun("no crate has a fuzz_* example".to_owned()), Vec::new()));
    }
    let lines = run(&found, &[], runs, seed)?;
    Ok((Outcome::Passed(format!("{} targets, {runs} runs each", found.len())), lines))
}

fn name(example: &Example) -> &str {
    example.name.strip_prefix(PREFIX).unwrap_or(&example.name)
}

fn run(found: &[Example], names: &[String], runs: u64, seed: u64) -> Result<Vec<String>> {
    if let Some(unknown) =
        names.iter().find(|wanted| !found.iter().any(|example| name(example) == *wanted))
    {
        let known: Vec<&str> = found.iter().map(name).collect();
        bail!("no fuzz target `{unknown}`; there are: {}", known.join(", "));
    }
    let mut lines = Vec::new();
    let mut broken = Vec::new();
    let chosen = |example: &&Example| names.is_empty() || names.iter().any(|n| n == name(example));
    for example in found.iter().filter(chosen) {
        let line = run_one(example, runs, seed)?;
        let report: Report = serde_json::from_str(&line)
            .with_context(|| format!("{} printed no report: `{line}`", example.name))?;
        eprintln!("{line}");
        if let Some(fault) = report.fault(name(example), runs) {
            broken.push(format!("{}: {fault}", example.name));
        }
        lines.push(line);
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("; "));
    }
    Ok(lines)
}

fn run_one(example: &Example, runs: u64, seed: u64) -> Result<String> {
    let corpus = format!("fuzz/corpus/{}", name(example));
    let mut cargo = environment::cargo();
    cargo.args(["run", "--quiet"]).args(PROFILE).args(["-p", &example.package]);
    cargo.args(["--example", &example.name, "--", "--corpus", &corpus]);
    cargo.args(["--runs", &runs.to_string(), "--seed", &seed.to_string()]);
    eprintln!("$ {}", process::shown(&cargo));
    // A target that found something exits with failure; its report is worth more than that.
    let output = cargo.stderr(std::process::Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().rev().find(|line| line.starts_with('{')) {
        Some(line) => Ok(line.to_owned()),
        None => bail!("`{}` ended without a report: {}", process::shown(&cargo), output.status),
    }
}

impl Report {
    /// Why this run does not count, if it does not.
    fn fault(&self, target: &str, runs: u64) -> Option<String> {
        if self.target != target {
            return Some(format!("it reports for `{}`", self.target));
        }
        if self.panics > 0 {
            return Some(format!("{} inputs panicked; see fuzz/artifacts", self.panics));
        }
        if self.runs < runs {
            return Some(format!("{} of {runs} runs", self.runs));
        }
        if self.accepted_header * 2 < self.runs {
            let share = 100.0 * self.accepted_header as f64 / self.runs as f64;
            return Some(format!("only {share:.0} % of inputs passed the frame header"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_only_if_it_reached_the_decoder_and_nothing_broke() {
        let report = Report { target: "frame".to_owned(), runs: 10, accepted_header: 5, panics: 0 };
        assert_eq!(report.fault("frame", 10), None);
        for (report, expected) in [
            (Report { panics: 1, ..report.clone() }, "1 inputs panicked; see fuzz/artifacts"),
            (Report { runs: 9, ..report.clone() }, "9 of 10 runs"),
            (
                Report { accepted_header: 4, ..report.clone() },
                "only 40 % of inputs passed the frame header",
            ),
            (Report { target: "block".to_owned(), ..report }, "it reports for `block`"),
        ] {
            assert_eq!(report.fault("frame", 10).as_deref(), Some(expected));
        }
    }
}
