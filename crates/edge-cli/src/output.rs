//! Printing: results to standard output, everything else to standard error.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

use crate::{
    args::{Global, When},
    failure::Failure,
};

/// Whether standard output has its one object.
static OBJECT_WRITTEN: AtomicBool = AtomicBool::new(false);

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    color: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => !plain && io::stdout().is_terminal() && io::stderr().is_terminal(),
        };
        Output { json: global.json, quiet: global.quiet, color }
    }

    /// A line of the result. Whoever closed the pipe has read enough.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => {
                let what = "the result could not be printed";
                let next =
                    "what was asked for may have been done: make room, then ask for the state";
                let failure = Failure::failed(what, error, next);
                let label = self.paint("31;1", "error:");
                let _ = writeln!(io::stderr().lock(), "{label} {failure}");
                std::process::exit(i32::from(failure.exit as u8));
            }
        }
    }

    /// The one object of `--json`.
    pub(crate) fn object(&self, value: &Value) {
        OBJECT_WRITTEN.store(true, Ordering::Relaxed);
        self.line(value.to_string());
    }

    /// A remark for people; not with `--quiet`.
    pub(crate) fn remark(&self, text: impl AsRef<str>) {
        if !self.quiet {
            // Nowhere to print to is no reason to fail.
            let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
        }
    }

    /// A failure: three parts, or an object with `--json` unless the result has been printed already.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json && !OBJECT_WRITTEN.load(Ordering::Relaxed) {
            self.object(&failure.json());
        } else {
            let label = self.paint("31;1", "error:");
            let _ = writeln!(io::stderr().lock(), "{label} {failure}");
        }
    }

    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Rows under a heading, columns aligned.
    pub(crate) fn table(&self, heading: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(heading[column].chars().count())
        };
        let widths: Vec<usize> = (0..heading.len()).map(width).collect();
        let render = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells.zip(&widths).map(|(cell, width)| {
                let gap = width.saturating_sub(cell.chars().count());
                format!("{cell}{}", " ".repeat(gap))
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.line(self.bold(&render(&mut heading.iter().copied())));
        for row in rows {
            self.line(render(&mut row.iter().map(String::as_str)));
        }
    }
}
