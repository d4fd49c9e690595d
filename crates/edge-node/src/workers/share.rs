//! The CPU share: a token bucket over CPU time.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::config::Percent;

/// How long the bucket saves up: after this long without work, that much of it starts at once.
pub const BURST: Duration = Duration::from_millis(500);
/// The longest a worker waits before it looks again: the share may have changed.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// A share of all cores, to be used by any number of threads and changed at any time.
#[derive(Debug)]
pub struct CpuShare {
    cores: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    share: Percent,
    /// CPU-seconds that may be used now; negative is debt.
    tokens: f64,
    at: Instant,
}

impl CpuShare {
    /// A share of this many cores, from now.
    pub fn new(share: Percent, cores: usize, now: Instant) -> Self {
        let cores = cores.max(1) as f64;
        let tokens = share.fraction() * cores * BURST.as_secs_f64();
        CpuShare { cores, state: Mutex::new(State { share, tokens, at: now }) }
    }

    /// Another share from now on.
    pub fn set(&self, share: Percent, now: Instant) {
        let mut state = self.lock();
        self.refill(&mut state, now);
        state.share = share;
        // Debt of a small share is not worked off at the same speed under a large one.
        state.tokens = state.tokens.max(-share.fraction() * self.cores);
    }

    /// The share now.
    pub fn get(&self) -> Percent {
        self.lock().share
    }

    /// Notes CPU time that was used.
    pub fn charge(&self, used: Duration, now: Instant) {
        let mut state = self.lock();
        self.refill(&mut state, now);
        state.tokens -= used.as_secs_f64();
    }

    /// How long nobody may start; zero when somebody may.
    pub fn wait(&self, now: Instant) -> Duration {
        let mut state = self.lock();
        if state.share == Percent::ALL {
            return Duration::ZERO;
        }
        self.refill(&mut state, now);
        if state.share.is_zero() {
            return WAIT_MAX;
        }
        let rate = state.share.fraction() * self.cores;
        let debt = (-state.tokens).max(0.0) / rate;
        Duration::from_secs_f64(debt.min(WAIT_MAX.as_secs_f64()))
    }

    fn refill(&self, state: &mut State, now: Instant) {
        let rate = state.share.fraction() * self.cores;
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.tokens = (state.tokens + passed * rate).min(rate * BURST.as_secs_f64());
        state.at = state.at.max(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
