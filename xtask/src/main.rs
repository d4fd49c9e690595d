//! Automation for edge-net, run as `cargo xtask COMMAND`.
//!
//! Everything that CI, a release or a developer does to this repository apart from
//! writing code is a subcommand here, so that there is one place to read and one to
//! change. It is not part of the product and no crate may depend on it.
//!
//! Invariants: light dependencies only (it is built before anything else); a stage that
//! could not run says so and why, it never counts as passed; nothing here writes outside
//! the build folder except `nightly`, which writes the report it is asked for, and `web`, which writes into
//! `js` what git ignores.

mod against;
mod bench;
mod ci;
mod environment;
mod fuzz;
mod licences;
mod netns;
mod nightly;
mod options;
mod process;
mod stages;
mod testing;
mod tidy;
mod web;
mod workspace;

use std::process::ExitCode;

const HELP: &str = "\
Automation for edge-net

Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  test      set up what the tests need and run all of them
  ci        everything CI runs: fmt, tidy, clippy, tests, docs, licences, simulator, demo
  tidy      check layering, names, file sizes and forbidden calls
  licences  check the licence of every dependency
  bench     run a benchmark group and print its figures
  fuzz      run the mutation fuzzer over the decoders of remote bytes
  netns     two nodes in two network namespaces, with delay and loss between them
  nightly   the full-scale checks, with a report
  web       build the browser's package
  browser   run the browser's tests in a real browser

`cargo xtask COMMAND --help` tells more about one.
";

type Command = fn(&[String]) -> anyhow::Result<()>;

const COMMANDS: &[(&str, Command)] = &[
    ("test", testing::main),
    ("ci", ci::main),
    ("tidy", tidy::main),
    ("licences", licences::main),
    ("bench", bench::main),
    ("fuzz", fuzz::main),
    ("netns", netns::main),
    ("nightly", nightly::main),
    ("web", web::main),
    ("browser", web::browser),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = arguments.first() else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some((_, command)) = COMMANDS.iter().find(|(known, _)| known == name) else {
        eprintln!("xtask: no command `{name}`\n\n{HELP}");
        return ExitCode::from(2);
    };
    match command(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<options::UsageError>() => {
            eprintln!("xtask {name}: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
