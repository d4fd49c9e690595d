//! A node's clock: monotonic microseconds of one process, from its own start at its own rate.

use edge_base::{Rng, Timestamp};

use crate::queue::Instant;

/// What a clock shows at least when its process starts, so that it can be set back.
const FIRST: u64 = 24 * 3_600_000_000;

/// Maps global virtual time to what one process reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Clock {
    started: Instant,
    offset: u64,
    /// Local microseconds in a million global ones.
    rate: u64,
}

impl Clock {
    /// The clock of a process that starts now. Its rate is at most `skew_ppm` off.
    pub(crate) fn new(started: Instant, skew_ppm: u64, rng: &mut Rng) -> Self {
        let rate = 1_000_000 - skew_ppm + rng.below(2 * skew_ppm + 1);
        Clock { started, offset: FIRST + rng.below(3_600_000_000), rate }
    }

    /// The clock is set, forward or back.
    pub(crate) fn set(&mut self, now: Instant, by_us: i64) {
        self.offset = self.local(now).0.saturating_add_signed(by_us);
        self.started = now;
    }

    pub(crate) fn local(&self, now: Instant) -> Timestamp {
        let passed = u128::from(now - self.started) * u128::from(self.rate) / 1_000_000;
        Timestamp(self.offset + passed as u64)
    }

    /// The first global instant at which the clock reads `local` or later.
    pub(crate) fn global(&self, local: Timestamp) -> Instant {
        let passed = u128::from(local.0.saturating_sub(self.offset)) * 1_000_000;
        self.started + passed.div_ceil(u128::from(self.rate)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_when_the_clock_shows_its_time_and_not_before() {
        let mut rng = Rng::derive(1, "clock");
        for _ in 0..1_000 {
            let clock = Clock::new(rng.below(1 << 30), 500, &mut rng);
            let now = clock.started + rng.below(1 << 32);
            let alarm = Timestamp(clock.local(now).0 + rng.below(1 << 25));
            let rings = clock.global(alarm);
            assert!(clock.local(rings) >= alarm);
            assert!(rings == clock.started || clock.local(rings - 1) < alarm);
        }
    }

    #[test]
    fn a_clock_that_is_set_shows_another_time_and_runs_as_before() {
        let mut rng = Rng::derive(2, "clock");
        let mut clock = Clock::new(5_000_000, 0, &mut rng);
        let before = clock.local(9_000_000).0;
        clock.set(9_000_000, 3_600_000_000);
        assert_eq!(clock.local(9_000_000).0, before + 3_600_000_000);
        clock.set(10_000_000, -3_600_000_000);
        assert_eq!(clock.local(12_000_000).0, before + 3_000_000);
        assert_eq!(clock.global(Timestamp(before)), 10_000_000, "what is over rings at once");
    }
}
