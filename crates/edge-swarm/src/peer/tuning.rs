//! What tunes this node's defence, if its owner wants that: how many single answers are audited and
//! how much each sender may ask ([`crate::tuner`]).
//!
//! Both stay inside fixed bounds: no fewer audits than what makes a lie cost its teller more than it
//! saves, no larger budgets than without tuning.

use edge_base::Micros;

use super::{Peer, Timer};
use crate::tuner::{Knob, Policy};

/// How many times as many audits as [`crate::accept::Assumption::audit_share`] asks for against
/// workers that wait until they are believed.
const AUDITS: [f64; 4] = [0.5, 1.0, 2.0, 4.0];
/// Percent of a sender's budgets.
const BUDGETS: [u64; 3] = [25, 50, 100];
/// Single answers in a round of audits.
const RESULTS: u64 = 50;
/// A wrong result that was believed costs as much as so many executions.
const WRONG: f64 = 10.0;
/// Executions for a result that are the largest loss there is.
const LOSS_MAX: f64 = 4.0;
/// A round of budgets.
const ROUND: Micros = Micros::from_secs(10);
/// All that one sender may ask for, in nanoseconds of a round: a loss of 1.
const WASTED_MAX: f64 = 1.2e9;
/// One frame in so many of senders that did nothing wrong is dropped: a loss of 1.
const DENIED_MAX: f64 = 0.1;

/// What is tuned, and the rounds in progress.
#[derive(Debug)]
pub(crate) struct Tuning {
    policy: Policy,
    audits: Knob<4, 3>,
    budgets: Knob<3, 3>,
    results: u64,
    audited: u64,
    found: u64,
    /// Wrong results that were believed, as far as can be told from those that were not.
    believed: f64,
}

/// What senders did in a round.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Round {
    /// Nanoseconds of work for those that have points.
    pub(crate) wasted_ns: u64,
    /// Frames of those that have none, ...
    pub(crate) frames: u64,
    /// ... and how many of them were dropped.
    pub(crate) denied: u64,
}

impl Tuning {
    pub(crate) fn new(policy: Policy) -> Self {
        Tuning {
            policy,
            audits: Knob::new(policy, 1),
            budgets: Knob::new(policy, 2),
            results: 0,
            audited: 0,
            found: 0,
            believed: 0.0,
        }
    }

    /// Times the audits against patient workers.
    pub(crate) fn audits(&self) -> f64 {
        AUDITS.get(self.audits.position()).copied().unwrap_or(1.0)
    }

    /// Percent of a sender's budgets.
    pub(crate) fn budgets(&self) -> u64 {
        BUDGETS.get(self.budgets.position()).copied().unwrap_or(100)
    }
}

impl Peer {
    /// A task is decided for which one answer was enough but for audits: whether it was audited, of what
    /// share of such, and whether somebody disagreed.
    pub(super) fn tune_audits(&mut self, audited: bool, share: f64, disagreed: bool) {
        let tuning = &mut self.tuning;
        if tuning.policy == Policy::Off {
            return;
        }
        tuning.results += 1;
        tuning.audited += u64::from(audited);
        if audited && disagreed {
            tuning.found += 1;
            // Of each that is found so many were not (Horvitz and Thompson 1952).
            tuning.believed += (1.0 - share) / share.max(f64::MIN_POSITIVE);
        }
        if tuning.results < RESULTS {
            return;
        }
        let spent = (tuning.audited as f64 + WRONG * tuning.believed) / tuning.results as f64;
        let state = tuning.found.min(2) as usize;
        tuning.audits.end_round(spent / LOSS_MAX, state, &mut self.rng);
        (tuning.results, tuning.audited, tuning.found, tuning.believed) = (0, 0, 0, 0.0);
    }

    /// Begins the rounds of budgets.
    pub(super) fn start_tuning(&mut self) {
        if self.tuning.policy != Policy::Off {
            self.after(ROUND, Timer::Tune);
        }
    }

    pub(super) fn on_tune_timer(&mut self) {
        let round = self.standing.take_round(self.now);
        let wasted = (round.wasted_ns as f64 / WASTED_MAX).min(1.0);
        let denied = round.denied as f64 / round.frames.max(1) as f64;
        let loss = wasted / 2.0 + (denied / DENIED_MAX).min(1.0) / 2.0;
        let state = if round.wasted_ns > 0 { 2 } else { usize::from(round.denied > 0) };
        self.tuning.budgets.end_round(loss, state, &mut self.rng);
        self.standing.percent = self.tuning.budgets();
        self.after(ROUND, Timer::Tune);
    }
}
