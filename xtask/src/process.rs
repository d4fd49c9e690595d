//! Running other programs: echoed, with their exit status turned into an error.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

/// Variables that `cargo run` sets for us. Passed on, they change the environment that build
/// scripts see (ring, for one, watches `CARGO_PKG_NAME`) and make nested builds start over.
const LEAKED: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];

/// A command in the workspace root with an environment as if the user had typed it.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::workspace::root());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if LEAKED.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// How a command would be typed, for the log.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        text.push(' ');
        if argument.is_empty() || argument.contains([' ', '"', '\'', '$', '*']) {
            text.push_str(&format!("'{argument}'"));
        } else {
            text.push_str(&argument);
        }
    }
    text
}

/// Runs to the end with our own output streams; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and answers its standard output; anything but success is an error that
/// carries the end of what it wrote to standard error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = text.lines().rev().take(12).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("`{}` failed: {}\n{}", shown(command), output.status, tail.join("\n"));
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote no text", shown(command)))
}

/// Runs to the end, passing standard output through line by line and showing each line to
/// `seen`. Answers whether the command succeeded.
pub(crate) fn tee(command: &mut Command, mut seen: impl FnMut(&str)) -> Result<bool> {
    eprintln!("$ {}", shown(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let stdout = child.stdout.take().context("invariant: standard output was piped")?;
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        seen(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(child.wait()?.success())
}

/// Whether the program exists and answers its version question with success.
pub(crate) fn available(program: &str, arguments: &[&str]) -> bool {
    command(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Does something with each item, as many at a time as there are cores; the answers are in their order.
pub(crate) fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let some = || {
        let places = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let taken = places.map_while(|place| Some((place, items.get(place)?)));
        taken.map(|(place, item)| (place, work(item))).collect::<Vec<_>>()
    };
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(some)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_status_and_the_end_of_the_error_stream() {
        let error = capture(Command::new("rustc").arg("--no-such-flag")).unwrap_err().to_string();
        assert!(error.starts_with("`rustc --no-such-flag` failed: exit status: 1"), "{error}");
        assert!(error.contains("no-such-flag"), "{error}");
    }

    #[test]
    fn tee_shows_every_line() {
        let mut lines = Vec::new();
        let mut command = Command::new("rustc");
        assert!(tee(command.arg("--version"), |line| lines.push(line.to_owned())).unwrap());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("rustc "), "{}", lines[0]);
    }

    #[test]
    fn every_item_is_done_once_and_answers_are_in_order() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(on_all_cores(&items, |item| item * 2), (0..200).step_by(2).collect::<Vec<_>>());
    }
}
