//! The `edge-net` command: the outermost shell of the product.
//!
//! It is not the place of any decision: a command is a request to a node's HTTP interface, printed
//! for people or as JSON. Only `start` runs a node in this process, and only `demo` starts others.
//!
//! The model: [`args`] says what can be asked, [`commands`] asks it through [`client`], [`output`]
//! prints it. A [`failure::Failure`] has three parts and one of eight exit codes. [`passages`] turns
//! files into what is indexed; [`demo`] is the main job from end to end, checked from outside.
//!
//! ```text
//! edge-net start --detach
//! edge-net collection import notes ./notes
//! edge-net search 'how do I reset it' -c notes
//! edge-net stop
//! ```
//!
//! Invariants
//! - Results go to standard output, remarks and progress to standard error; with `--json` standard
//!   output is one object.
//! - A command that is listed works.

mod args;
mod client;
mod commands;
mod demo;
mod failure;
mod interrupt;
mod output;
mod passages;
mod progress;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::Cli,
    commands::{Context, help},
    output::Output,
};

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some(help) = help::asked(&arguments).and_then(|path| help::commands(&path)) {
        Output::for_usage_errors().object(&help);
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for; everything else is a usage error.
            let code = if error.use_stderr() { failure::Exit::Usage as u8 } else { 0 };
            // The flags are not known: they could not be read.
            if error.use_stderr() && std::env::args().any(|argument| argument == "--json") {
                let why = error.to_string();
                let why = why.trim_start_matches("error: ").trim();
                let failure = failure::Failure::new(
                    failure::Exit::Usage,
                    "the command is not understood",
                    why,
                    "`edge-net help` lists the commands, `edge-net COMMAND --help` the flags",
                );
                Output::for_usage_errors().failure(&failure);
                return ExitCode::from(code);
            }
            // A closed pipe has read enough.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let context = Context::new(cli.global);
    match commands::run(&context, cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            context.output.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}
