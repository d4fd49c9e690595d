//! `cargo xtask bench GROUP --against REV`: this tree beside another revision, in turns.
//!
//! Both are built in the release profile, each in a build folder of its own, and run one after the
//! other for some rounds, so that what else the machine does meets both. The ratio of a figure is
//! the geometric mean of the rounds' ratios, with Student's interval of 99 % for the mean of their
//! logarithms. A drop is a ratio below [`DROP`] whose whole interval is below 1; with dozens of
//! figures chance makes one now and then, so a group with a drop is measured again, and what
//! dropped both times counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::bench::{group, read};
use crate::workspace::Example;
use crate::{environment, process};

/// Rounds without `--rounds`.
pub(crate) const ROUNDS: usize = 5;
/// The fewest rounds with an interval.
pub(crate) const ROUNDS_MIN: usize = 3;
/// Less is lost than anybody would act on.
const DROP: f64 = 0.97;

/// Benchmark, metric, unit.
type Name = (String, String, String);
/// One value a round of this tree and of the other one.
type Turns = BTreeMap<Name, [Vec<f64>; 2]>;

/// How a figure did beside the other revision's.
#[derive(Debug, Clone, PartialEq)]
struct Compared {
    name: Name,
    value: f64,
    rival_value: f64,
    /// Ratio, lower and upper end of its interval; `None` where the unit does not say what is better.
    ratio: Option<[f64; 3]>,
}

/// The work tree of another revision; removed when it goes.
struct Checkout {
    folder: PathBuf,
    commit: String,
}

impl Checkout {
    fn new(revision: &str) -> Result<Self> {
        let mut git = process::command("git");
        git.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
        git.arg(format!("{revision}^{{commit}}"));
        let commit = process::capture(&mut git)
            .with_context(|| format!("git knows no revision `{revision}`"))?;
        let commit = commit.trim().to_owned();
        let folder = environment::target_folder().join("against").join(&commit[..12]);
        let checkout = Checkout { folder, commit };
        checkout.remove();
        let mut git = process::command("git");
        git.args(["worktree", "add", "--quiet", "--detach", "--force"]);
        process::run(git.arg(&checkout.folder).arg(&checkout.commit))?;
        Ok(checkout)
    }

    /// A folder that is left from a run that was killed is gone, too.
    fn remove(&self) {
        let mut git = process::command("git");
        git.args(["worktree", "remove", "--force"]).arg(&self.folder);
        // That there is none is what is wanted.
        let _ = process::capture(&mut git);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Compares the groups and prints a line a figure; drops are an error.
pub(crate) fn main(
    groups: &[Example],
    revision: &str,
    rounds: usize,
    as_json: bool,
    rest: &[String],
) -> Result<()> {
    let (lines, dropped) = compare(groups, revision, rounds, as_json, rest)?;
    lines.iter().for_each(|line| println!("{line}"));
    if !dropped.is_empty() {
        bail!("slower than {revision} beyond noise: {}", dropped.join(", "));
    }
    Ok(())
}

/// The lines and the names of what dropped.
pub(crate) fn compare(
    groups: &[Example],
    revision: &str,
    rounds: usize,
    as_json: bool,
    rest: &[String],
) -> Result<(Vec<String>, Vec<String>)> {
    let checkout = Checkout::new(revision)?;
    let other = environment::target_folder().join("against").join("target");
    let (mut lines, mut dropped) = (Vec::new(), Vec::new());
    for example in groups {
        let Some(theirs) = build(example, &checkout.folder, &other, true)? else {
            eprintln!("xtask: {revision} cannot build the group {}: not compared", group(example));
            continue;
        };
        let root = crate::workspace::root();
        let ours = build(example, &root, &environment::target_folder(), false)?
            .context("invariant: a failed build is an error")?;
        let measure = || measure(&[&ours, &theirs], &[&root, &checkout.folder], rounds, rest);
        let mut found = compared(&measure()?);
        if found.iter().any(Compared::dropped) {
            eprintln!("xtask: something dropped; once more, to be sure");
            let again = compared(&measure()?);
            found = sure(found, &again);
        }
        let short = &checkout.commit[..7];
        lines.extend(found.iter().map(|one| if as_json { one.json(short) } else { one.text() }));
        dropped.extend(found.iter().filter(|one| one.dropped()).map(Compared::label));
    }
    if lines.is_empty() {
        bail!("nothing to compare with {revision}");
    }
    Ok((lines, dropped))
}

/// The program of a group, built in `folder`; `None` for one that `may_lack` it.
fn build(
    example: &Example,
    folder: &Path,
    target: &Path,
    may_lack: bool,
) -> Result<Option<PathBuf>> {
    let mut cargo = process::cargo();
    cargo.current_dir(folder).env("CARGO_TARGET_DIR", target);
    cargo.args(["build", "--release", "--quiet", "-p", &example.package]);
    cargo.args(["--example", &example.name]);
    if let Err(error) = process::run(&mut cargo) {
        return if may_lack { Ok(None) } else { Err(error) };
    }
    let name = format!("{}{}", example.name, std::env::consts::EXE_SUFFIX);
    Ok(Some(target.join("release").join("examples").join(name)))
}

fn measure(
    programs: &[&PathBuf; 2],
    folders: &[&PathBuf; 2],
    rounds: usize,
    rest: &[String],
) -> Result<Turns> {
    let mut turns = Turns::new();
    for round in 0..rounds {
        for side in [round % 2, 1 - round % 2] {
            let mut program = process::command(programs[side]);
            program.current_dir(folders[side]).arg("--json").args(rest);
            eprintln!("$ {} ({})", process::shown(&program), ["this tree", "the other"][side]);
            for figure in read(&process::capture(&mut program)?)?.1 {
                let place = turns.entry(figure.name()).or_default();
                place[side].push(figure.value);
            }
        }
    }
    // What only one of them measures is not compared.
    turns.retain(|_, sides| sides.iter().all(|values| values.len() == rounds));
    Ok(turns)
}

fn compared(turns: &Turns) -> Vec<Compared> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let one = |(name, [ours, theirs]): (&Name, &[Vec<f64>; 2])| {
        let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<_>>();
        let (own, other) = (logs(ours), logs(theirs));
        let positive = ours.iter().chain(theirs).all(|value| *value > 0.0);
        let better = better(&name.2).filter(|_| positive);
        let ratio = better.map(|sign| {
            let ratios: Vec<f64> = own.iter().zip(&other).map(|(a, b)| sign * (a - b)).collect();
            let middle = mean(&ratios);
            let half = half_width(&ratios, middle);
            [middle, middle - half, middle + half].map(f64::exp)
        });
        let value = |values: &[f64], logs: &[f64]| match ratio {
            Some(_) => mean(logs).exp(),
            None => mean(values),
        };
        let (value, rival_value) = (value(ours, &own), value(theirs, &other));
        Compared { name: name.clone(), value, rival_value, ratio }
    };
    turns.iter().map(one).collect()
}

/// Half of Student's interval of 99 % around a mean.
fn half_width(values: &[f64], mean: f64) -> f64 {
    /// Quantiles .995 for 1 to 30 degrees of freedom, then that of the normal distribution.
    const T: [f64; 31] = [
        63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012,
        2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845, 2.831, 2.819, 2.807, 2.797, 2.787, 2.779,
        2.771, 2.763, 2.756, 2.750, 2.576,
    ];
    let free = values.len().saturating_sub(1).max(1);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    T[(free - 1).min(T.len() - 1)] * (squares / free as f64 / values.len() as f64).sqrt()
}

/// 1 where more is better, -1 where less is, `None` where the unit does not say.
fn better(unit: &str) -> Option<f64> {
    const TIMES_AND_SIZES: [&str; 12] =
        ["ns", "us", "ms", "s", "min", "B", "bytes", "KiB", "MiB", "GiB", "kB", "MB"];
    let first = unit.split('/').next().unwrap_or(unit);
    match unit {
        _ if unit.ends_with("/s") => Some(1.0),
        _ if TIMES_AND_SIZES.contains(&first) => Some(-1.0),
        _ => None,
    }
}

/// What is seen in a second measurement, too: a drop that is not takes the second's figures.
fn sure(first: Vec<Compared>, again: &[Compared]) -> Vec<Compared> {
    let second = |one: &Compared| again.iter().find(|other| other.name == one.name);
    let settle = |one: Compared| match second(&one) {
        Some(second) if one.dropped() => second.clone(),
        _ => one,
    };
    first.into_iter().map(settle).collect()
}

impl Compared {
    fn dropped(&self) -> bool {
        self.ratio.is_some_and(|[ratio, _, high]| ratio < DROP && high < 1.0)
    }

    fn label(&self) -> String {
        format!("{} {}", self.name.0, self.name.1)
    }

    fn json(&self, revision: &str) -> String {
        let (bench, metric, unit) = &self.name;
        let mut line = json!({
            "bench": bench, "metric": metric, "value": self.value, "unit": unit,
            "rival": revision, "rival_value": self.rival_value,
        });
        if let Some([ratio, low, high]) = self.ratio {
            line["ratio"] = json!(ratio);
            line["ratio_low"] = json!(low);
            line["ratio_high"] = json!(high);
        }
        line.to_string()
    }

    fn text(&self) -> String {
        let (bench, metric, unit) = &self.name;
        let ratio = self.ratio.map_or_else(String::new, |[ratio, low, high]| {
            let verdict = if self.dropped() { "  DROP" } else { "" };
            format!("   x {ratio:.3} [{low:.3}, {high:.3}]{verdict}")
        });
        let (value, rival) = (self.value, self.rival_value);
        format!("{bench}  {metric}  {value:.4} {unit}, was {rival:.4}{ratio}")
    }
}

/// A commit that is a day older than the last one, for the nightly run; the oldest of younger ones.
pub(crate) fn yesterday() -> Result<String> {
    let log = |arguments: &[&str]| {
        let mut git = process::command("git");
        process::capture(git.args(arguments)).map(|text| text.trim().to_owned())
    };
    let last: u64 = log(&["show", "--no-patch", "--format=%ct", "HEAD"])?.parse()?;
    let before = format!("--before={}", last.saturating_sub(24 * 3600));
    let older = log(&["rev-list", "-1", &before, "HEAD"])?;
    if !older.is_empty() {
        return Ok(older);
    }
    let all = log(&["rev-list", "--first-parent", "HEAD"])?;
    all.lines().last().map(str::to_owned).context("no commit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(unit: &str, ours: &[f64], theirs: &[f64]) -> Turns {
        let name = ("b".to_owned(), "m".to_owned(), unit.to_owned());
        Turns::from([(name, [ours.to_vec(), theirs.to_vec()])])
    }

    #[test]
    fn drops_are_beyond_noise_and_in_the_right_direction() {
        let steady = [100.0, 101.0, 99.0, 100.5, 99.5];
        let tenth_less = steady.map(|value| value * 0.9);
        let noisy = [60.0, 140.0, 75.0, 120.0, 90.0];
        for (unit, ours, theirs, drops) in [
            ("queries/s", tenth_less, steady, true),
            ("queries/s", steady, tenth_less, false),
            ("ns", steady, tenth_less, true),
            ("ns/row", steady, tenth_less, true),
            ("MiB", tenth_less, steady, false),
            ("ns", steady, steady, false),
            ("ns", steady.map(|value| value * 1.01), steady, false),
            ("queries/s", noisy, steady, false),
            ("recall", tenth_less, steady, false),
        ] {
            let found = compared(&turns(unit, &ours, &theirs));
            assert_eq!(found[0].dropped(), drops, "{unit}: {found:?}");
        }
        // What nobody can take a logarithm of is shown and not judged.
        assert_eq!(compared(&turns("ns", &[0.0; 3], &[1.0; 3]))[0].ratio, None);
    }

    /// The interval of scipy.stats.t.interval(.99, 4, mean, sem) for these values.
    #[test]
    fn the_interval_is_students() {
        let values: [f64; 5] = [0.1, 0.2, 0.15, 0.05, 0.3];
        let half = half_width(&values, 0.16);
        assert!((half - 0.198_029).abs() < 1e-5, "{half}");
        assert!((half_width(&[1.0, 3.0], 2.0) - 63.657).abs() < 1e-9);
    }

    #[test]
    fn a_drop_that_is_not_seen_again_is_none() {
        let at = |ours: f64| compared(&turns("ns", &[ours; 3], &[10.0; 3]));
        assert!(sure(at(20.0), &at(20.0))[0].dropped());
        assert!(!sure(at(20.0), &at(10.0))[0].dropped());
        assert!(!sure(at(10.0), &at(20.0))[0].dropped());
    }
}
