//! A token bucket that may go into debt.

use std::time::Duration;

use crate::platform::Instant;

/// Grants `rate` tokens a second, saves up `burst` of them. A charge is always taken; what is
/// missing is how long the charged thing has to wait.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    pub(crate) fn new(rate_per_second: u64, now: Instant) -> Self {
        let rate = rate_per_second.max(1) as f64;
        let burst = rate * BURST_SECONDS;
        TokenBucket { rate, burst, tokens: burst, at: now }
    }

    /// Takes `amount` and says how long until the bucket is out of debt.
    pub(crate) fn charge(&mut self, amount: u64, now: Instant) -> Duration {
        self.refill(now);
        self.tokens -= amount as f64;
        Duration::from_secs_f64((-self.tokens).max(0.0) / self.rate)
    }

    /// Takes `amount` if it is there.
    pub(crate) fn try_charge(&mut self, amount: u64, now: Instant) -> bool {
        self.refill(now);
        let enough = self.tokens >= amount as f64;
        if enough {
            self.tokens -= amount as f64;
        }
        enough
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.at = self.at.max(now);
    }
}

const BURST_SECONDS: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_long_run_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(100, start);
        let mut now = start;
        let mut taken = 0;
        for _ in 0..1_000 {
            now += bucket.charge(7, now);
            taken += 7;
        }
        let seconds = now.duration_since(start).as_secs_f64();
        let rate = (f64::from(taken) - 200.0) / seconds;
        assert!((rate - 100.0).abs() < 1.0, "{rate} a second after the burst of 200");
    }

    #[test]
    fn the_burst_passes_and_is_saved_up_again() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(100, start);
        assert!(bucket.try_charge(200, start));
        assert!(!bucket.try_charge(1, start));
        assert!(!bucket.try_charge(101, start + Duration::from_secs(1)));
        assert!(bucket.try_charge(100, start + Duration::from_secs(1)));
        assert!(bucket.try_charge(200, start + Duration::from_secs(1_000)));
        assert!(!bucket.try_charge(1, start + Duration::from_secs(1_000)));
    }
}
