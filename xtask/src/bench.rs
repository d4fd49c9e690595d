//! `cargo xtask bench`: benchmark groups and the shape of what they print.
//!
//! A group is an example `bench_GROUP` of some crate. It takes `--json` and prints one JSON
//! object a line: `{"bench","metric","value","unit"}` and, where there is something to compare
//! with, `"rival"`, `"rival_value"` and `"ratio"` (how many times better ours is than the rival).

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::options::Options;
use crate::stages::Outcome;
use crate::workspace::{self, Example};
use crate::{against, environment, process};

const HELP: &str = "\
Run a benchmark group and print its figures

Usage: cargo xtask bench [GROUP... | all] [--json] [-- ARGUMENTS OF THE BENCHMARK]
       cargo xtask bench GROUP... --against REV [--rounds N] [--json] [-- ARGUMENTS]

Without GROUP prints the groups there are: the examples `bench_GROUP` of all crates.

Options:
  --json           print the lines as they come instead of a table
  --against REV    build this tree and the revision REV, run both in turns, print the ratio of each
                   figure (over 1: this tree is better) with its interval of 99 %; exit code 1 when
                   one dropped beyond noise, in two measurements
  --rounds N       rounds of such a comparison, 3 or more; 5 unless told

Examples:
  cargo xtask bench kernels
  cargo xtask bench kernels --against HEAD~10
  cargo xtask bench index --against main -- clustered --rows 20000 --rivals ''
";

const PREFIX: &str = "bench_";

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figure {
    bench: String,
    metric: String,
    pub(crate) value: f64,
    unit: String,
    rival: Option<String>,
    rival_value: Option<f64>,
    ratio: Option<f64>,
}

/// Runs the groups.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let valued = ["--against", "--rounds"];
    let Some(options) = Options::parse(arguments, HELP, &["--json"], &valued)? else {
        return Ok(());
    };
    let found = workspace::members()?.examples(PREFIX);
    if options.positional.is_empty() {
        for example in &found {
            println!("{:12} {}", group(example), example.package);
        }
        return Ok(());
    }
    let chosen = choose(&found, &options.positional)?;
    if let Some(revision) = options.text("--against") {
        let rounds = options.value("--rounds", against::ROUNDS)?;
        if rounds < against::ROUNDS_MIN {
            bail!("--rounds: {} or more, for there is no interval else", against::ROUNDS_MIN);
        }
        return against::main(&chosen, revision, rounds, options.has("--json"), &options.rest);
    }
    for example in chosen {
        let (lines, figures) = run(&example, &options.rest)?;
        if options.has("--json") {
            lines.iter().for_each(|line| println!("{line}"));
        } else {
            print!("{}", table(&figures));
        }
    }
    Ok(())
}

/// Runs every group and answers the JSON lines, for the nightly report.
pub(crate) fn all() -> Result<(Outcome, Vec<String>)> {
    let found = workspace::members()?.examples(PREFIX);
    if found.is_empty() {
        return Ok((Outcome::NotRun("no crate has a bench_* example".to_owned()), Vec::new()));
    }
    let mut lines = Vec::new();
    for example in &found {
        lines.extend(run(example, &[])?.0);
    }
    Ok((Outcome::Passed(format!("{} groups", found.len())), lines))
}

/// Some groups beside yesterday's state, without rivals: what the nightly run looks at.
pub(crate) fn beside_yesterday() -> Result<(Outcome, Vec<String>)> {
    let found = workspace::members()?.examples(PREFIX);
    let revision = against::yesterday()?;
    let (mut lines, mut dropped) = (Vec::new(), Vec::new());
    let index = ["gaussian", "clustered", "--rows", "20000", "--rivals", ""];
    for (name, rest) in [("kernels", &[][..]), ("units", &[]), ("index", &index)] {
        let chosen = choose(&found, &[name.to_owned()])?;
        let rest: Vec<String> = rest.iter().map(|&argument| argument.to_owned()).collect();
        let done = against::compare(&chosen, &revision, against::ROUNDS, true, &rest)?;
        lines.extend(done.0);
        dropped.extend(done.1);
    }
    if !dropped.is_empty() {
        bail!("slower than {revision} beyond noise: {}\n{}", dropped.join(", "), lines.join("\n"));
    }
    Ok((Outcome::Passed(format!("{} figures beside {revision}", lines.len())), lines))
}

/// The group of an example.
pub(crate) fn group(example: &Example) -> &str {
    example.name.strip_prefix(PREFIX).unwrap_or(&example.name)
}

fn choose(found: &[Example], names: &[String]) -> Result<Vec<Example>> {
    if names == ["all"] {
        return Ok(found.to_vec());
    }
    let chosen = names.iter().map(|name| {
        let example = found.iter().find(|example| group(example) == name);
        example.cloned().with_context(|| {
            let known: Vec<&str> = found.iter().map(group).collect();
            format!("no benchmark group `{name}`; there are: {}", known.join(", "))
        })
    });
    chosen.collect()
}

/// Runs one group in the release profile; each line of its output must be a figure.
fn run(example: &Example, rest: &[String]) -> Result<(Vec<String>, Vec<Figure>)> {
    let mut cargo = environment::cargo();
    cargo.args(["run", "--release", "--quiet", "-p", &example.package]);
    cargo.args(["--example", &example.name, "--", "--json"]).args(rest);
    eprintln!("$ {}", process::shown(&cargo));
    let output = cargo.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`{}` failed: {}", process::shown(&cargo), output.status);
    }
    let text = String::from_utf8(output.stdout).context("a benchmark wrote no text")?;
    read(&text).with_context(|| example.name.clone())
}

/// The lines of a benchmark's output and what they say.
pub(crate) fn read(text: &str) -> Result<(Vec<String>, Vec<Figure>)> {
    let lines: Vec<String> =
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        bail!("it measured nothing");
    }
    let parse = |line: &String| Figure::parse(line).with_context(|| format!("`{line}`"));
    let figures = lines.iter().map(parse).collect::<Result<_>>()?;
    Ok((lines, figures))
}

impl Figure {
    /// Benchmark, metric and unit: what makes two figures comparable.
    pub(crate) fn name(&self) -> (String, String, String) {
        (self.bench.clone(), self.metric.clone(), self.unit.clone())
    }

    fn parse(line: &str) -> Result<Self> {
        let figure: Self = serde_json::from_str(line)?;
        for (name, text) in
            [("bench", &figure.bench), ("metric", &figure.metric), ("unit", &figure.unit)]
        {
            if text.trim().is_empty() {
                bail!("`{name}` is empty");
            }
        }
        let compared =
            [figure.rival.is_some(), figure.rival_value.is_some(), figure.ratio.is_some()];
        if compared.iter().any(|given| *given != compared[0]) {
            bail!("`rival`, `rival_value` and `ratio` come together or not at all");
        }
        if let (Some(rival), Some(ratio)) = (figure.rival_value, figure.ratio) {
            // Ours over theirs for a rate, theirs over ours for a time; printed with few digits.
            let (over, under) = (figure.value / rival, rival / figure.value);
            let near = |exact: f64| (exact - ratio).abs() <= 0.006 + 0.02 * exact.abs();
            if !near(over) && !near(under) {
                bail!("`ratio` is {ratio}, but the values give {over:.3} or {under:.3}");
            }
        }
        Ok(figure)
    }
}

fn table(figures: &[Figure]) -> String {
    let width = |length: fn(&Figure) -> usize| figures.iter().map(length).max().unwrap_or(0);
    let bench = width(|figure| figure.bench.len());
    let metric = width(|figure| figure.metric.len());
    let mut text = String::new();
    for figure in figures {
        let value = format!("{:.4}", figure.value);
        let value = value.trim_end_matches('0').trim_end_matches('.').to_owned();
        text.push_str(&format!(
            "{:bench$}  {:metric$}  {value:>14} {}",
            figure.bench, figure.metric, figure.unit
        ));
        if let (Some(rival), Some(value), Some(ratio)) =
            (&figure.rival, figure.rival_value, figure.ratio)
        {
            text.push_str(&format!("   {rival} {value:.4}, ratio {ratio:.2}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_figure_or_an_error() {
        for (line, holds) in [
            (r#"{"bench":"dot","metric":"time","value":12.5,"unit":"ns"}"#, true),
            (
                r#"{"bench":"dot","metric":"time","value":5,"unit":"ns","rival":"scalar","rival_value":10,"ratio":2.0}"#,
                true,
            ),
            (
                r#"{"bench":"dot","metric":"rate","value":5,"unit":"op/s","rival":"scalar","rival_value":10,"ratio":0.5}"#,
                true,
            ),
            (
                r#"{"bench":"dot","metric":"time","value":5,"unit":"ns","rival":null,"rival_value":null,"ratio":null}"#,
                true,
            ),
            (r#"{"bench":"dot","metric":"time","value":5,"unit":"ns","rival":"scalar"}"#, false),
            (
                r#"{"bench":"dot","metric":"time","value":5,"unit":"ns","rival":"scalar","rival_value":10,"ratio":3}"#,
                false,
            ),
            (r#"{"bench":"dot","metric":"time","value":null,"unit":"ns"}"#, false),
            (r#"{"bench":"","metric":"time","value":1,"unit":"ns"}"#, false),
            (r#"{"bench":"dot","metric":"time","value":1,"unit":"ns","fast":true}"#, false),
            ("dot 12.5 ns", false),
        ] {
            assert_eq!(Figure::parse(line).is_ok(), holds, "{line}");
        }
    }

    #[test]
    fn the_table_lines_up() {
        let figures: Vec<Figure> = [
            r#"{"bench":"dot","metric":"time","value":12.5,"unit":"ns"}"#,
            r#"{"bench":"matmul","metric":"rate","value":100,"unit":"GFLOP/s","rival":"gemm","rival_value":50,"ratio":2}"#,
        ]
        .map(|line| Figure::parse(line).unwrap())
        .into();
        let expected = "dot     time            12.5 ns\n\
                        matmul  rate             100 GFLOP/s   gemm 50.0000, ratio 2.00\n";
        assert_eq!(table(&figures), expected);
    }

    #[test]
    fn an_unknown_group_is_told_the_known_ones() {
        let example = |name: &str| Example { package: "p".to_owned(), name: name.to_owned() };
        let found = [example("bench_index"), example("bench_kernels")];
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(choose(&found, &names(&["all"])).unwrap().len(), 2);
        assert_eq!(choose(&found, &names(&["index"])).unwrap(), [example("bench_index")]);
        assert_eq!(
            choose(&found, &names(&["gpu"])).unwrap_err().to_string(),
            "no benchmark group `gpu`; there are: index, kernels"
        );
    }
}
