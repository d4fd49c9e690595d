//! The demo's lines: one within a second, then one at least every two seconds, on standard error.

use std::{
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Silence after which the present step is named again.
const SILENCE: Duration = Duration::from_millis(1_600);

/// Prints lines with the time since the start.
#[derive(Clone, Debug)]
pub(crate) struct Say(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    quiet: bool,
    bar: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    step: String,
    last: Instant,
}

impl Say {
    pub(crate) fn new(quiet: bool) -> Self {
        let now = Instant::now();
        let state = Mutex::new(State { step: "starting".to_owned(), last: now });
        let say = Say(Arc::new(Inner { started: now, quiet, bar: AtomicBool::new(false), state }));
        if !quiet {
            let weak = Arc::downgrade(&say.0);
            std::thread::spawn(move || {
                while let Some(inner) = weak.upgrade() {
                    Say(inner).beat();
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
        say
    }

    /// How long the demo has been running.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// A line.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        if self.0.quiet {
            return;
        }
        let mut state = self.0.state.lock().unwrap_or_else(|p| p.into_inner());
        state.last = Instant::now();
        let seconds = self.elapsed().as_secs_f64();
        let mut out = std::io::stderr().lock();
        for line in text.as_ref().lines() {
            // Nowhere to print to is no reason to fail.
            let _ = writeln!(out, "[{seconds:5.1}s] {line}");
        }
    }

    /// A line, and what is repeated while nothing else is said.
    pub(crate) fn step(&self, text: &str) {
        self.doing(text);
        self.line(text);
    }

    /// What is said when nothing else is.
    pub(crate) fn doing(&self, text: &str) {
        self.0.state.lock().unwrap_or_else(|p| p.into_inner()).step = text.to_owned();
    }

    /// While a bar moves nothing else needs to be said.
    pub(crate) fn bar(&self, shown: bool) {
        self.0.bar.store(shown, Ordering::Relaxed);
    }

    fn beat(&self) {
        let step = {
            let state = self.0.state.lock().unwrap_or_else(|p| p.into_inner());
            let due = state.last.elapsed() > SILENCE && !self.0.bar.load(Ordering::Relaxed);
            due.then(|| state.step.clone())
        };
        if let Some(step) = step {
            self.line(format!("... {step}"));
        }
    }

    /// Says nothing more by itself.
    pub(crate) fn rest(&self) {
        self.bar(true);
    }
}
