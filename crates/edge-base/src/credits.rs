//! Credits (rUv) as integers of a millionth.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of rUv in millionths (micro-rUv). Arithmetic is checked; there is no `+`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Credits(u64);

/// Millionths where machines read; a number of rUv where people may, as JavaScript wants it.
impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.as_ruv())
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Credits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let ruv = f64::deserialize(deserializer)?;
            let text = format!("{ruv:.6}");
            text.parse().map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Credits)
        }
    }
}

/// Why an amount could not be made. The caller's fault (input) or a peer's (a forged sum).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreditsError {
    /// The sum or product does not fit.
    #[error("amount overflows")]
    Overflow,
    /// More was taken than there is.
    #[error("amount would become negative")]
    Negative,
    /// Not a decimal number with at most six digits after the point.
    #[error("not an amount of rUv: use a decimal number with at most six digits after the point")]
    Malformed,
}

impl Credits {
    /// Nothing.
    pub const ZERO: Credits = Credits(0);
    /// The smallest price of an execution: one millionth.
    pub const SMALLEST: Credits = Credits(1);

    /// From millionths.
    pub const fn from_micro(micro: u64) -> Self {
        Credits(micro)
    }

    /// From whole rUv.
    pub const fn from_whole(whole: u64) -> Option<Self> {
        match whole.checked_mul(1_000_000) {
            Some(micro) => Some(Credits(micro)),
            None => None,
        }
    }

    /// Millionths.
    pub const fn micro(self) -> u64 {
        self.0
    }

    /// As a JavaScript-friendly number of rUv. For display only.
    pub fn as_ruv(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The sum, or [`CreditsError::Overflow`].
    pub const fn plus(self, other: Credits) -> Result<Credits, CreditsError> {
        match self.0.checked_add(other.0) {
            Some(sum) => Ok(Credits(sum)),
            None => Err(CreditsError::Overflow),
        }
    }

    /// The difference, or [`CreditsError::Negative`].
    pub const fn minus(self, other: Credits) -> Result<Credits, CreditsError> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Ok(Credits(rest)),
            None => Err(CreditsError::Negative),
        }
    }

    /// `n` times the amount, or [`CreditsError::Overflow`].
    pub const fn times(self, n: u64) -> Result<Credits, CreditsError> {
        match self.0.checked_mul(n) {
            Some(product) => Ok(Credits(product)),
            None => Err(CreditsError::Overflow),
        }
    }

    /// The checked sum of many amounts.
    pub fn sum(amounts: impl IntoIterator<Item = Credits>) -> Result<Credits, CreditsError> {
        amounts.into_iter().try_fold(Credits::ZERO, Credits::plus)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if rest == 0 {
            write!(f, "{whole}")
        } else {
            let digits = format!("{rest:06}");
            write!(f, "{whole}.{}", digits.trim_end_matches('0'))
        }
    }
}

impl FromStr for Credits {
    type Err = CreditsError;

    fn from_str(text: &str) -> Result<Self, CreditsError> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole)
            || !digits(rest)
            || rest.len() > 6
            || (whole.is_empty() && rest.is_empty())
        {
            return Err(CreditsError::Malformed);
        }
        let parse = |s: &str| match s {
            "" => Ok(0),
            s => s.parse::<u64>().map_err(|_| CreditsError::Overflow),
        };
        let micro = parse(&format!("{rest:0<6}"))?;
        let whole = parse(whole)?;
        Credits::from_whole(whole).ok_or(CreditsError::Overflow)?.plus(Credits(micro))
    }
}
