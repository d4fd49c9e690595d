//! The contribution curve and the cap on what may ever be minted, in integers.
//!
//! With H the certified CPU-hours of the pool and r the credits of one of them,
//!
//! - the multiplier is m(H) = 1 + 9·e^(−H/10⁶),
//! - the cap is S(H) = r·∫₀ᴴ m = r·[H + 9·10⁶·(1 − e^(−H/10⁶))].
//!
//! Every node has to compute the same integers, so there are no floats: e^(−x) is a Horner evaluation
//! of the Taylor series in 64 fractional bits after x was reduced modulo ln 2 (Muller, *Elementary
//! Functions*, 3rd edition, chapter 11). The error is at most 2⁻⁵⁸, which moves a micro-hour by less
//! than 1 / 30,000. The oracle is `oracles/mint.py`.
//!
//! Checkpoints promise what the cap grows by with the hours that they certify ([`rewards`](crate::rewards)).

use edge_base::Credits;

/// Fractional bits.
const BITS: u32 = 64;
const ONE: u128 = 1 << BITS;
/// ln 2 · 2⁶⁴, rounded to nearest.
const LN_2: u128 = 12_786_308_645_202_655_660;
/// A bound on the error of the decay, in units of 2⁻⁶⁴: a unit for each of the terms, and half a unit
/// of ln 2 for each of the halvings.
const ERROR: u128 = 64;
/// Terms of the series: (ln 2)²¹ / 21! is below 2⁻⁷⁵.
const TERMS: u128 = 20;
/// Micro-hours in the 10⁶ hours of the curve's time constant.
const SCALE: u128 = 1_000_000_000_000;
/// What m(H) − 1 is for a new pool.
const HEIGHT: u128 = 9;

/// Certified CPU time of a pool, in millionths of an hour: [`u64::MAX`] is two billion years.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct CpuHours(u64);

impl CpuHours {
    /// From millionths of an hour.
    pub const fn from_micro(micro: u64) -> Self {
        CpuHours(micro)
    }

    /// From CPU-microseconds, rounded down; more than fits is the most that fits.
    pub const fn from_cpu_micros(micros: u128) -> Self {
        let micro = micros / 3_600;
        CpuHours(if micro > u64::MAX as u128 { u64::MAX } else { micro as u64 })
    }

    /// Millionths of an hour.
    pub const fn micro(self) -> u64 {
        self.0
    }

    /// e^(−H/10⁶) in 64 fractional bits.
    fn decay(self) -> u128 {
        let x = (u128::from(self.0) << BITS) / SCALE;
        let (halvings, rest) = (x / LN_2, x % LN_2);
        let series = (1..=TERMS).rev().fold(ONE, |below, k| ONE - ((rest * below) >> BITS) / k);
        if halvings < u128::from(BITS) { series >> halvings } else { 0 }
    }

    /// m(H) in billionths, rounded down: 10¹⁰ for a new pool, falling towards 10⁹.
    pub fn multiplier(self) -> u64 {
        let above = (HEIGHT * 1_000_000_000 * self.decay()) >> BITS;
        1_000_000_000 + above as u64
    }

    /// S(H) for `rate` credits a CPU-hour: what may be minted in all until H hours are certified. The
    /// weighted hours are rounded down to a micro-hour, their price to a micro-rUv. A cap beyond what
    /// [`Credits`] hold is the largest amount they hold.
    pub fn cap(self, rate: Credits) -> Credits {
        // Micro-hours, each at the multiplier of its time. The bonus never reaches its limit, not even
        // where the decay is too small to be seen: an error may only make the cap smaller.
        let decay = (self.decay() + ERROR).min(ONE);
        let bonus = (HEIGHT * SCALE * (ONE - decay)) >> BITS;
        let weighted = u128::from(self.0) + bonus;
        // Whole hours and the rest apart: the product would pass 128 bits.
        let (hours, rest) = (weighted / 1_000_000, weighted % 1_000_000);
        let rate = u128::from(rate.micro());
        let cap = rate * hours + rate * rest / 1_000_000;
        Credits::from_micro(u64::try_from(cap).unwrap_or(u64::MAX))
    }
}
