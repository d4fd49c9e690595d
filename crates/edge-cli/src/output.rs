//! Printing: results to standard output, everything else to standard error.

use std::{
    borrow::Cow,
    fmt::Write as _,
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
    /// Whether the process goes on when nobody reads its output any more.
    stays: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => !plain && io::stdout().is_terminal() && io::stderr().is_terminal(),
        };
        Output { json: global.json, quiet: global.quiet, color, stays: false }
    }

    /// For what is wrong with a command line that asks for JSON.
    pub(crate) fn for_usage_errors() -> Self {
        Output { json: true, quiet: false, color: false, stays: true }
    }

    /// For a process whose work is not its output: it goes on when nobody reads that any more.
    pub(crate) fn staying(self) -> Self {
        Output { stays: true, ..self }
    }

    /// A line of the result. Whoever closed the pipe has read enough.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", self.harmless(text.as_ref())).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.stays => {}
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
        self.line(escaped(&value.to_string()));
    }

    /// A remark for people; not with `--quiet`.
    pub(crate) fn remark(&self, text: impl AsRef<str>) {
        if !self.quiet {
            // Nowhere to print to is no reason to fail.
            let _ = writeln!(io::stderr().lock(), "{}", self.harmless(text.as_ref()));
        }
    }

    /// The text without characters that make a terminal do something: passages, names of files and
    /// what other members say may hold any.
    fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let acts = |c: char| c.is_control() && c != '\n' && c != '\t';
        if !text.contains(acts) {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(acts) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let style = if self.color { style_at(rest) } else { 0 };
            if style > 0 {
                out.push_str(&rest[..style]);
                rest = &rest[style..];
            } else {
                let mut after = rest.chars();
                after.next();
                out.push(char::REPLACEMENT_CHARACTER);
                rest = after.as_str();
            }
        }
        out.push_str(rest);
        Cow::Owned(out)
    }

    /// A failure: three parts, or an object with `--json` unless the result has been printed already.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json && !OBJECT_WRITTEN.load(Ordering::Relaxed) {
            self.object(&failure.json());
        } else {
            let label = self.paint("31;1", "error:");
            let failure = failure.to_string();
            let _ = writeln!(io::stderr().lock(), "{label} {}", self.harmless(&failure));
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

/// JSON with the control characters that its writer leaves as they are (DEL and C1; only strings can
/// hold them) written as escapes: it says the same, and no terminal acts on it.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() {
            // Writing to memory.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// The length of the colour or weight (an SGR sequence) that a text begins with; 0 for anything else.
fn style_at(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\x1b[") else { return 0 };
    let numbers =
        rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').len();
    if rest[numbers..].starts_with('m') { 2 + numbers + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_loses_nothing_of_what_it_says() {
        let value =
            serde_json::json!({"text": "del\u{7f} nel\u{85} csi\u{9b} tab\t line\n \u{e9}"});
        let printed = escaped(&value.to_string());
        assert!(!printed.contains(char::is_control));
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), value);
    }

    #[test]
    fn what_makes_a_terminal_act_is_not_printed() {
        let output = |color| Output { json: false, quiet: false, color, stays: false };
        let hostile = "a\x1b]0;title\x07b\x1b[2Jc\x1b[31md\r\u{9b}e\n\tf";
        let plain = "a\u{fffd}]0;title\u{fffd}b\u{fffd}[2Jc\u{fffd}[31md\u{fffd}\u{fffd}e\n\tf";
        assert_eq!(output(false).harmless(hostile), plain);
        let colored = plain.replace("c\u{fffd}[31m", "c\x1b[31m");
        assert_eq!(output(true).harmless(hostile), colored);
        assert_eq!(output(true).harmless("\x1b[1;32mfine\x1b[0m"), "\x1b[1;32mfine\x1b[0m");
        assert!(matches!(output(false).harmless("plain \u{e9}\n"), Cow::Borrowed(_)));
    }
}
