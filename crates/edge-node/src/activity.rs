//! Which CPU share holds: the one for a machine in use, or the one for a machine nobody touches.
//!
//! Idle means no input from a person for the configured time; a busy CPU says nothing about
//! anybody being there. Where the system does not tell, the machine counts as in use. A change has
//! to last [`GRACE`] before it counts, in both directions.

use std::time::{Duration, Instant};

use crate::{
    config::{Config, Percent},
    platform::{self, InputIdle},
};

/// How long a change must last.
pub const GRACE: Duration = Duration::from_secs(10);

/// Chooses the share.
#[derive(Debug)]
pub struct Activity {
    in_use: Percent,
    idle: Percent,
    idle_after: Duration,
    idle_now: bool,
    /// Since when the other state has been seen.
    other_since: Option<Instant>,
}

impl Activity {
    /// Starts as in use.
    pub fn new(config: &Config) -> Self {
        Activity {
            in_use: config.cpu,
            idle: config.cpu_idle,
            idle_after: config.idle,
            idle_now: false,
            other_since: None,
        }
    }

    /// Looks at the system and answers the share that holds now.
    pub fn look(&mut self, now: Instant) -> Percent {
        let seen = match platform::input_idle() {
            InputIdle::For(time) => time >= self.idle_after,
            InputIdle::Unknown => false,
        };
        self.settle(seen, now)
    }

    fn settle(&mut self, idle: bool, now: Instant) -> Percent {
        if idle == self.idle_now {
            self.other_since = None;
        } else {
            let since = *self.other_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= GRACE {
                self.idle_now = idle;
                self.other_since = None;
            }
        }
        if self.idle_now { self.idle } else { self.in_use }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FileLayer, Layers};

    #[test]
    fn a_change_counts_after_the_grace_in_both_directions() {
        let layers = Layers { file: FileLayer::Nothing, ..Layers::default() };
        let mut activity = Activity::new(&Config::load(&layers).unwrap());
        let start = Instant::now();
        let mut shares = Vec::new();
        // (second, idle as seen)
        for (at, idle) in [
            (0, true),
            (5, true),
            (6, false), // a key press starts the grace again
            (7, true),
            (16, true),
            (17, true),
            (18, false),
            (27, false),
            (28, false),
        ] {
            let share = activity.settle(idle, start + Duration::from_secs(at));
            shares.push(share.per_mille());
        }
        assert_eq!(shares, [250, 250, 250, 250, 250, 800, 800, 800, 250]);
    }
}
