//! A progress bar, on a terminal only.

use std::{fmt::Write, io::IsTerminal as _};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Where progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// On a terminal.
    OnTerminal,
    /// Nowhere.
    Never,
}

/// Progress towards a known number.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(what: &str, total: u64, shown: Shown) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && shown != Shown::Never {
            let style = "{msg} [{bar:32}] {pos}/{len} {rate} {eta}";
            let style = ProgressStyle::with_template(style).expect("invariant: a valid template");
            let style = style.with_key("rate", |state: &ProgressState, to: &mut dyn Write| {
                // Writing to memory.
                let _ = write!(to, "{:.0}/s", state.per_sec());
            });
            ProgressBar::new(total).with_style(style).with_message(what.to_owned())
        } else {
            ProgressBar::hidden()
        };
        Progress { bar }
    }

    /// So many are done in all.
    pub(crate) fn at(&mut self, done: u64) {
        self.bar.set_position(done);
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
