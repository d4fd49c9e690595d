//! Logical and wall time as different types, so that neither is taken for the other.

use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A duration in microseconds.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Micros(pub u64);

impl Micros {
    /// From milliseconds; saturates.
    pub const fn from_millis(ms: u64) -> Self {
        Micros(ms.saturating_mul(1_000))
    }

    /// From seconds; saturates.
    pub const fn from_secs(s: u64) -> Self {
        Micros(s.saturating_mul(1_000_000))
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Times an integer; saturates.
    pub const fn times(self, n: u64) -> Self {
        Micros(self.0.saturating_mul(n))
    }
}

/// Monotonic microseconds since an arbitrary start in one process. It is deliberately not
/// serialisable: deadlines travel as remaining durations ([`Micros`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Time passed since an earlier instant; zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Micros> for Timestamp {
    type Output = Timestamp;
    fn add(self, d: Micros) -> Timestamp {
        Timestamp(self.0.saturating_add(d.0))
    }
}

impl Sub<Micros> for Timestamp {
    type Output = Timestamp;
    fn sub(self, d: Micros) -> Timestamp {
        Timestamp(self.0.saturating_sub(d.0))
    }
}

/// Milliseconds since the Unix epoch by somebody's clock: for display, backups and local decay.
/// Nothing in the ledger or in verification may depend on it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct WallTime(pub u64);
