//! A progress bar on a terminal; lines at intervals where somebody wants lines.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Where progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// A bar, and only on a terminal.
    OnTerminal,
    /// A bar on a terminal, else a line every two seconds.
    Always,
    /// Nowhere.
    Never,
}

/// Progress towards a known number.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    lines: bool,
    what: String,
    total: u64,
    started: Instant,
    last: Instant,
}

impl Progress {
    pub(crate) fn new(what: &str, total: u64, shown: Shown) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && shown != Shown::Never {
            let style = "{msg} [{bar:32}] {pos}/{len} {per_sec} {eta}";
            let style = ProgressStyle::with_template(style).expect("invariant: a valid template");
            ProgressBar::new(total).with_style(style).with_message(what.to_owned())
        } else {
            ProgressBar::hidden()
        };
        let lines = !terminal && shown == Shown::Always;
        let now = Instant::now();
        Progress { bar, lines, what: what.to_owned(), total, started: now, last: now }
    }

    /// So many are done in all.
    pub(crate) fn at(&mut self, done: u64) {
        self.bar.set_position(done);
        if self.lines && self.last.elapsed() >= Duration::from_millis(1_500) {
            self.last = Instant::now();
            let rate = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
            eprintln!("{} {done}/{} ({rate:.0}/s)", self.what, self.total);
        }
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
