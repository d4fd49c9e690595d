//! What is expected of a worker from what became of its earlier work.
//!
//! Beta counts of kept and broken promises, one pair for each kind of task, after A. Jøsang and R. Ismail,
//! "The Beta reputation system" (2002), with their forgetting factor: an outcome weighs half after
//! [`HALF_LIFE_OUTCOMES`] further ones, and half after [`HALF_LIFE`]. They predict whether a result comes
//! at all and in time; whether it is right is decided by [`crate::accept`], which forgets nothing.

use edge_base::{Micros, Timestamp};
use serde::{Deserialize, Serialize};

/// An outcome weighs half after so many more.
pub const HALF_LIFE_OUTCOMES: f64 = 50.0;
/// An outcome weighs half after this, as far as the node ran meanwhile.
pub const HALF_LIFE: Micros = Micros::from_secs(7 * 24 * 3_600);
/// What is expected of somebody unknown: three promises of four, with the weight of one outcome.
const PRIOR: (f64, f64) = (0.75, 0.25);
/// So many outcomes may be chance: two, and what discounting leaves between two and three.
const FEW: f64 = 2.5;
/// Kept and broken promises, discounted.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Promises {
    kept: f64,
    broken: f64,
    /// When they were discounted last; the start of this process for those of an earlier one, whose
    /// clock had another origin.
    #[serde(skip)]
    since: u64,
}

impl Promises {
    /// Notes an outcome.
    pub fn note(&mut self, kept: bool, now: Timestamp) {
        *self = self.at(now);
        let keeps = (-1.0 / HALF_LIFE_OUTCOMES).exp2();
        self.kept *= keeps;
        self.broken *= keeps;
        *(if kept { &mut self.kept } else { &mut self.broken }) += 1.0;
    }

    /// As they weigh at a time.
    pub fn at(&self, now: Timestamp) -> Promises {
        let elapsed = now.since(Timestamp(self.since)).0 as f64;
        let keeps = if self.since == 0 { 1.0 } else { (-elapsed / HALF_LIFE.0 as f64).exp2() };
        Promises { kept: self.kept * keeps, broken: self.broken * keeps, since: now.0 }
    }

    /// Both together.
    pub fn and(&self, other: &Promises) -> Promises {
        let since = self.since.max(other.since);
        Promises { kept: self.kept + other.kept, broken: self.broken + other.broken, since }
    }

    /// Whether there was any.
    pub fn any(&self) -> bool {
        self.kept + self.broken > 0.0
    }

    /// Whether there were so few that they may be chance.
    pub fn few(&self) -> bool {
        self.kept + self.broken <= FEW
    }

    /// The probability that the next promise is kept: the mean of the posterior.
    pub fn mean(&self) -> f64 {
        let (a, b) = self.posterior();
        a / (a + b)
    }

    /// How many have to be asked until one keeps its promise, in the mean and rounded: what a queue is
    /// multiplied by to compare workers.
    pub fn attempts(&self) -> u32 {
        (1.0 / self.mean()).round() as u32
    }

    /// As [`Promises::attempts`], but of whom little is known and who may well be better than the mean says is
    /// tried: with the posterior's probability that one attempt is enough, the answer is one. `draw` is uniform
    /// over all its values.
    ///
    /// Optimistic Bayesian sampling (B. C. May et al., "Optimistic Bayesian sampling in contextual-bandit
    /// problems", JMLR 13, 2012) as long as there are two outcomes at most: without it a first promise that was
    /// broken by chance would be the last that anybody asks for, wherever there are enough others; for longer,
    /// those that keep half of their promises would be asked too often (docs/benchmarks.md).
    pub fn attempts_drawn(&self, draw: u64) -> u32 {
        let attempts = self.attempts();
        if attempts <= 1 || !self.few() {
            return attempts;
        }
        let (a, b) = self.posterior();
        let uniform = draw as f64 / u64::MAX as f64;
        // From here on one over the probability rounds to one.
        if uniform > beta_distribution(1.0 / 1.5, a, b) { 1 } else { attempts }
    }

    /// What that probability exceeds with 95 % credibility: the 5 % quantile of the posterior.
    pub fn lower_bound(&self) -> f64 {
        let (a, b) = self.posterior();
        beta_quantile(0.05, a, b)
    }

    fn posterior(&self) -> (f64, f64) {
        (PRIOR.0 + self.kept, PRIOR.1 + self.broken)
    }
}

/// The value below which a beta variable lies with probability `p`, to about 1e-9.
fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..30 {
        let middle = (low + high) / 2.0;
        if beta_distribution(middle, a, b) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// The regularised incomplete beta function: the continued fraction 26.5.8 of Abramowitz and Stegun, by the
/// method of W. J. Lentz (Applied Optics 15, 1976).
fn beta_distribution(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges fast on this side of the mean.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_distribution(1.0 - x, b, a);
    }
    const TINY: f64 = 1e-300;
    let keep = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / keep(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..300 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut factor = 1.0;
        for term in [even, odd] {
            d = 1.0 / keep(1.0 + term * d);
            c = keep(1.0 + term / c);
            factor = c * d;
            fraction *= factor;
        }
        if (factor - 1.0f64).abs() < 1e-14 {
            break;
        }
    }
    let front = a * x.ln() + b * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    front.exp() * fraction / a
}

/// The logarithm of the gamma function for positive numbers: Stirling's series after a shift to 10 and more.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let i = 1.0 / (x * x);
    let series = (1.0 / 12.0 - i * (1.0 / 360.0 - i * (1.0 / 1260.0 - i / 1680.0))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_base::Rng;

    const GOLDEN: [(f64, f64, f64, f64); 7] = [
        (0.05, 1.5, 0.5, 0.228519813806),
        (0.05, 11.5, 0.5, 0.843128769495),
        (0.05, 10.5, 1.5, 0.694963806727),
        (0.05, 72.0, 3.25, 0.912842146036),
        (0.5, 2.0, 3.0, 0.385727568132),
        (0.95, 0.7, 0.9, 0.948452163545),
        (0.01, 40.0, 60.0, 0.290218585979),
    ];

    /// Made by `oracles/reputation.py` (scipy 1.17).
    #[test]
    fn quantiles_and_distribution_are_those_of_the_field() {
        for (p, a, b, x) in GOLDEN {
            assert!((beta_quantile(p, a, b) - x).abs() < 1e-7, "{p} {a} {b}");
            assert!((beta_distribution(x, a, b) - p).abs() < 1e-7, "{p} {a} {b}");
        }
    }

    #[test]
    fn outcomes_fade_with_others_and_with_time() {
        let mut one = Promises::default();
        one.note(false, Timestamp(1));
        let fresh = one.mean();
        let later = one.at(Timestamp(1) + HALF_LIFE);
        assert!((later.broken - 0.5).abs() < 1e-9 && later.mean() > fresh);
        for _ in 0..50 {
            one.note(true, Timestamp(1));
        }
        assert!((one.broken - 0.5).abs() < 1e-9, "{one:?}");
        // No count exceeds the sum of the series.
        (0..10_000).for_each(|_| one.note(true, Timestamp(1)));
        let most = 1.0 / (1.0 - (-1.0 / HALF_LIFE_OUTCOMES).exp2());
        assert!((one.kept - most).abs() < 1e-6 && one.mean() > 0.99);
        // A restart: the clock has another origin, the counts stay.
        let again: Promises = edge_base::codec::decode(&edge_base::codec::encode(&one)).unwrap();
        assert_eq!(again.at(Timestamp(5)).kept, one.kept);
    }

    #[test]
    fn who_is_unknown_is_expected_to_keep_three_of_four() {
        let mut one = Promises::default();
        assert!((one.mean() - 0.75).abs() < 1e-12 && one.lower_bound() < 0.25);
        assert_eq!(one.attempts(), 1);
        (0..10).for_each(|_| one.note(true, Timestamp(1)));
        assert!(one.mean() > 0.93 && one.lower_bound() > 0.8, "{one:?}");
        let mut other = Promises::default();
        (0..3).for_each(|_| other.note(false, Timestamp(1)));
        assert!(other.mean() < 0.2 && other.attempts() == 5, "{other:?}");
        (0..1_000).for_each(|_| other.note(false, Timestamp(1)));
        assert!((90..110).contains(&other.attempts()), "{}", other.attempts());
    }

    /// The share of draws that try somebody again is the posterior's; whoever is known is not tried.
    #[test]
    fn who_broke_one_promise_is_tried_again_and_who_broke_many_is_not() {
        let tried = |one: &Promises| {
            let mut rng = Rng::derive(5, "draws");
            (0..10_000).filter(|_| one.attempts_drawn(rng.next_u64()) == 1).count() as f64 / 1e4
        };
        let mut one = Promises::default();
        assert_eq!(tried(&one), 1.0);
        // Made by `oracles/reputation.py`; the shares of 10,000 draws within three standard deviations.
        for expected in [0.192_388_592, 0.058_747_127] {
            one.note(false, Timestamp(1));
            assert!(one.attempts() > 1);
            let share: f64 = tried(&one);
            let deviation = (expected * (1.0 - expected) / 1e4f64).sqrt();
            assert!((share - expected).abs() < 3.0 * deviation, "{share} {expected} {one:?}");
        }
        one.note(false, Timestamp(1));
        assert_eq!(tried(&one), 0.0, "{one:?}");
    }

    struct Quality {
        accuracy: f64,
        ceiling: f64,
        skill: f64,
        ece: f64,
    }

    /// A population in which nine of ten keep nearly every promise, and the others few: each keeps its own
    /// share for 60 promises; where some turn, one of twenty becomes one of the other sort half way.
    /// Predictions begin with the eleventh promise.
    fn quality(seed: u64, some_turn: bool) -> Quality {
        let mut rng = Rng::derive(seed, "population");
        let mut uniform = |from: f64, to: f64| {
            from + (to - from) * rng.below(1 << 32) as f64 / (1u64 << 32) as f64
        };
        let (mut right, mut best, mut count) = (0.0, 0.0, 0.0);
        let (mut brier, mut kept_all) = (0.0, 0.0);
        let mut bins = [(0.0, 0.0, 0.0); 10];
        for worker in 0..2_000 {
            let good = worker % 10 != 0;
            let share = |good: bool, uniform: &mut dyn FnMut(f64, f64) -> f64| match good {
                true => uniform(0.96, 1.0),
                false => uniform(0.05, 0.5),
            };
            let (before, after) = (share(good, &mut uniform), share(!good, &mut uniform));
            let turns = some_turn && worker % 20 == 7;
            let mut promises = Promises::default();
            for n in 0..60 {
                let truth = if turns && n >= 30 { after } else { before };
                let kept = uniform(0.0, 1.0) < truth;
                if n >= 10 {
                    let predicted = promises.mean();
                    right += f64::from(u8::from((predicted >= 0.5) == kept));
                    best += truth.max(1.0 - truth);
                    let outcome = f64::from(u8::from(kept));
                    brier += (predicted - outcome).powi(2);
                    kept_all += outcome;
                    count += 1.0;
                    let bin = &mut bins[((predicted * 10.0) as usize).min(9)];
                    *bin = (bin.0 + 1.0, bin.1 + predicted, bin.2 + outcome);
                }
                promises.note(kept, Timestamp(1));
            }
        }
        let base = kept_all / count;
        let ece = bins
            .iter()
            .map(|(_, predicted, kept)| (predicted - kept).abs())
            .fold(0.0, |a, b| a + b);
        Quality {
            accuracy: right / count,
            ceiling: best / count,
            skill: 1.0 - brier / count / (base * (1.0 - base)),
            ece: ece / count,
        }
    }

    #[test]
    fn predictions_are_near_the_best_there_can_be_and_calibrated() {
        for (seed, some_turn) in (0..5).flat_map(|seed| [(seed, false), (seed, true)]) {
            let Quality { accuracy, ceiling, skill, ece } = quality(seed, some_turn);
            println!(
                "turns: {some_turn}, accuracy {accuracy:.4}, ceiling {ceiling:.4}, Brier skill {skill:.3}, ECE \
                 {ece:.4}"
            );
            // Who turns is noticed late: that is what half-lives cost.
            let (behind, off) = if some_turn { (0.02, 0.03) } else { (0.01, 0.02) };
            assert!(ceiling - accuracy <= behind, "{accuracy} of at most {ceiling}");
            assert!(ece <= off && skill >= 0.3, "ECE {ece}, Brier skill {skill}");
        }
    }
}
