//! Named stages, their minutes, and the table at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How a stage ended. Failure is the error of the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Ran and held; the note says what in a few words, or is empty.
    Passed(String),
    /// Could not run here, and why. Never counts as passed.
    NotRun(String),
}

impl Outcome {
    /// Passed, with nothing to add.
    pub(crate) fn passed() -> Self {
        Self::Passed(String::new())
    }
}

/// A named piece of work.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn FnOnce() -> Result<Outcome>>,
}

impl Stage {
    /// Names a piece of work.
    pub(crate) fn new(name: &'static str, run: impl FnOnce() -> Result<Outcome> + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }
}

struct Row {
    name: &'static str,
    elapsed: Duration,
    state: &'static str,
    note: String,
}

/// Runs the stages in order and prints the table. Stops at the first failure unless
/// `keep_going`; the error names every stage that failed.
pub(crate) fn run(stages: Vec<Stage>, keep_going: bool) -> Result<()> {
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for stage in stages {
        if !failed.is_empty() && !keep_going {
            rows.push(Row {
                name: stage.name,
                elapsed: Duration::ZERO,
                state: "not run",
                note: "an earlier stage failed".to_owned(),
            });
            continue;
        }
        eprintln!("\n== {} ==", stage.name);
        let started = Instant::now();
        let (state, note) = match (stage.run)() {
            Ok(Outcome::Passed(note)) => ("ok", note),
            Ok(Outcome::NotRun(reason)) => ("not run", reason),
            Err(error) => {
                eprintln!("{}: FAILED: {error:#}", stage.name);
                failed.push(stage.name);
                let text = format!("{error:#}");
                ("FAILED", text.lines().next().unwrap_or_default().to_owned())
            }
        };
        let elapsed = started.elapsed();
        eprintln!("== {}: {state}, {} min. {note}", stage.name, minutes(elapsed));
        rows.push(Row { name: stage.name, elapsed, state, note });
    }
    print!("{}", table(&rows));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Minutes with one decimal.
pub(crate) fn minutes(elapsed: Duration) -> String {
    format!("{:.1}", elapsed.as_secs_f64() / 60.0)
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(5);
    let mut text = format!("\n{:width$}  minutes  state    note\n", "stage");
    for row in rows {
        let line = format!(
            "{:width$}  {:>7}  {:7}  {}",
            row.name,
            minutes(row.elapsed),
            row.state,
            row.note
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let total = rows.iter().map(|row| row.elapsed).sum();
    text.push_str(&format!("{:width$}  {:>7}\n", "total", minutes(total)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_stops_the_rest_unless_told_otherwise() {
        for (keep_going, expected) in [(false, "failed: b"), (true, "failed: b, c")] {
            let stages = vec![
                Stage::new("a", || Ok(Outcome::passed())),
                Stage::new("b", || bail!("broken")),
                Stage::new("c", || bail!("broken too")),
            ];
            assert_eq!(run(stages, keep_going).unwrap_err().to_string(), expected);
        }
        run(vec![Stage::new("a", || Ok(Outcome::NotRun("no node".to_owned())))], false).unwrap();
    }

    #[test]
    fn the_table_names_minutes_and_reasons() {
        let row = |name, seconds, state, note: &str| Row {
            name,
            elapsed: Duration::from_secs(seconds),
            state,
            note: note.to_owned(),
        };
        let text = table(&[row("tidy", 6, "ok", ""), row("netns", 0, "not run", "no root")]);
        let expected = "\nstage  minutes  state    note\n\
                        tidy       0.1  ok\n\
                        netns      0.0  not run  no root\n\
                        total      0.1\n";
        assert_eq!(text, expected);
    }
}
