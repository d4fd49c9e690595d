//! Tuning the share of audits and the budgets of senders inside fixed bounds: a bandit, and
//! tabular Q-learning as its baseline.
//!
//! A knob has a few positions. In each round one is tried, and at its end the loss of the round is
//! known, of that position alone. What the others would have cost nobody knows, and an attacker
//! may change its ways at any time: an adversarial bandit (Auer, Cesa-Bianchi, Freund and Schapire
//! 2002, "The nonstochastic multiarmed bandit problem"). [`Policy::Exp3`] is their Exp3.S, which
//! competes with the best *sequence* of positions; [`Policy::QLearning`] is Watkins and Dayan (1992)
//! with the events of the last round as its state. Whether either is better than a knob that stands
//! still is measured (docs/benchmarks.md, "Tuning"); [`Policy::Off`] is the default.

use std::str::FromStr;

use edge_base::Rng;

/// How a knob is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// It stands still.
    #[default]
    Off,
    /// Exp3.S.
    Exp3,
    /// Tabular Q-learning.
    QLearning,
}

impl FromStr for Policy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Policy::Off),
            "exp3" => Ok(Policy::Exp3),
            "q-learning" => Ok(Policy::QLearning),
            _ => Err("it is \"off\", \"exp3\" or \"q-learning\""),
        }
    }
}

/// The share of rounds in which Exp3.S tries any position: the value that bounds its regret best for
/// some eighty rounds, `sqrt(K ln K / ((e - 1) T))`.
const EXPLORES: f64 = 0.2;
/// What each position gains from the others' weight in a round: `1 / T` for as many rounds.
const SHARES: f64 = 1.0 / 2_000.0;
/// Q-learning: how much a round counts, ...
const LEARNS: f64 = 0.2;
/// ... how much what comes after it counts, ...
const LOOKS_AHEAD: f64 = 0.5;
/// ... and in how many of 1,000 rounds any position is tried.
const TRIES_PER_MILLE: u64 = 100;

/// A knob of `K` positions, and `S` states that a round may end in.
#[derive(Clone, Debug)]
pub struct Knob<const K: usize, const S: usize> {
    policy: Policy,
    /// Where it stands when it is not tuned.
    rest: usize,
    at: usize,
    state: usize,
    /// Exp3.S.
    weights: [f64; K],
    /// Q-learning: expected loss.
    losses: [[f64; K]; S],
    rounds: u64,
}

impl<const K: usize, const S: usize> Knob<K, S> {
    /// A knob at its place of rest.
    pub fn new(policy: Policy, rest: usize) -> Self {
        let (weights, losses) = ([1.0; K], [[0.0; K]; S]);
        Knob { policy, rest, at: rest, state: 0, weights, losses, rounds: 0 }
    }

    /// Its position in this round.
    pub fn position(&self) -> usize {
        match self.policy {
            Policy::Off => self.rest,
            Policy::Exp3 | Policy::QLearning => self.at,
        }
    }

    /// Rounds that ended.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// The chance of each position in a round of Exp3.S.
    fn chances(&self) -> [f64; K] {
        let sum: f64 = self.weights.iter().sum();
        self.weights.map(|w| (1.0 - EXPLORES) * w / sum + EXPLORES / K as f64)
    }

    /// A round is over: its loss, 0 to 1, and the state it ended in. Chooses the next position.
    pub fn end_round(&mut self, loss: f64, state: usize, rng: &mut Rng) {
        let loss = loss.clamp(0.0, 1.0);
        let state = state.min(S - 1);
        self.rounds += 1;
        match self.policy {
            Policy::Off => {}
            Policy::Exp3 => {
                let chance = self.chances()[self.at];
                let estimate = (1.0 - loss) / chance;
                let sum: f64 = self.weights.iter().sum();
                self.weights[self.at] *= (EXPLORES * estimate / K as f64).exp();
                for weight in &mut self.weights {
                    *weight += std::f64::consts::E * SHARES * sum / K as f64;
                }
                // Only ratios matter; without this they grow without bound.
                let most = self.weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
                self.weights = self.weights.map(|w| w / most);
                let chances = self.chances();
                self.at = draw(&chances, rng);
            }
            Policy::QLearning => {
                let least = |row: &[f64; K]| row.iter().copied().fold(f64::INFINITY, f64::min);
                let target = loss + LOOKS_AHEAD * least(&self.losses[state]);
                let known = &mut self.losses[self.state][self.at];
                *known += LEARNS * (target - *known);
                self.at = if rng.chance(TRIES_PER_MILLE, 1_000) {
                    rng.below(K as u64) as usize
                } else {
                    let row = &self.losses[state];
                    let best = (0..K).min_by(|a, b| row[*a].total_cmp(&row[*b]));
                    best.unwrap_or(self.rest)
                };
            }
        }
        self.state = state;
    }
}

/// An index with these chances.
fn draw(chances: &[f64], rng: &mut Rng) -> usize {
    // 53 bits are what an f64 holds.
    let mut left = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    for (index, chance) in chances.iter().enumerate() {
        left -= chance;
        if left < 0.0 {
            return index;
        }
    }
    chances.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: usize = 3_000;

    /// Plays a table of losses; what was lost, and where the knob stood.
    fn play(policy: Policy, seed: u64, loss: impl Fn(usize, usize) -> f64) -> (f64, Vec<usize>) {
        let mut rng = Rng::derive(seed, "knob");
        let mut knob: Knob<4, 2> = Knob::new(policy, 1);
        let (mut lost, mut places) = (0.0, vec![]);
        for round in 0..ROUNDS {
            let at = knob.position();
            places.push(at);
            let now = loss(round, at);
            lost += now;
            knob.end_round(now, usize::from(now > 0.5), &mut rng);
        }
        (lost, places)
    }

    fn mean(policy: Policy, loss: impl Fn(u64, usize, usize) -> f64) -> f64 {
        (0..30).map(|seed| play(policy, seed, |t, k| loss(seed, t, k)).0).sum::<f64>() / 30.0
    }

    /// A loss of 0 or 1 with a mean, the same in every play of a seed.
    fn coin(seed: u64, round: usize, arm: usize, mean: f64) -> f64 {
        let mut rng = Rng::derive(seed ^ (round * 8 + arm) as u64, "coin");
        f64::from(u8::from(rng.chance((mean * 1e6) as u64, 1_000_000)))
    }

    /// Theorem 8.1 of the paper: against any sequence of positions that changes `S - 1` times, the
    /// regret of Exp3.S is at most `(S + e) K ln(K T) / g + (e - 1) g T` for its choice of parameters;
    /// here for one position that is best throughout, with ours put in.
    #[test]
    fn the_regret_of_exp3_is_within_the_bound_of_its_theorem() {
        let best = [0.6, 0.5, 0.3, 0.55];
        let lost = mean(Policy::Exp3, |seed, t, k| coin(seed, t, k, best[k]));
        let regret = lost - 0.3 * ROUNDS as f64;
        let (k, t, e) = (4.0_f64, ROUNDS as f64, std::f64::consts::E);
        // K (S ln(K / a) + e a T) / g + (e - 1) g T with S = 1.
        let bound = k * ((k / SHARES).ln() + e * SHARES * t) / EXPLORES + (e - 1.0) * EXPLORES * t;
        assert!(regret > 0.0 && regret < bound, "{regret} of {bound}");
        // And it does better than any draw would: the mean of all positions.
        let random = best.iter().sum::<f64>() / 4.0 * ROUNDS as f64;
        assert!(lost < random - 0.5 * (random - 0.3 * ROUNDS as f64), "{lost} of {random}");
    }

    /// When the best position changes, both learners find the new one.
    #[test]
    fn learners_follow_a_change() {
        let loss = |_: u64, t: usize, k: usize| {
            let best = if t < ROUNDS / 2 { 0 } else { 3 };
            if k == best { 0.1 } else { 0.7 }
        };
        for policy in [Policy::Exp3, Policy::QLearning] {
            let (_, places) = play(policy, 5, |t, k| loss(0, t, k));
            let share = |part: &[usize], at: usize| {
                part.iter().filter(|p| **p == at).count() as f64 / part.len() as f64
            };
            let (first, second) = places.split_at(ROUNDS / 2);
            assert!(share(&first[500..], 0) > 0.6, "{policy:?}: {}", share(first, 0));
            assert!(share(&second[500..], 3) > 0.6, "{policy:?}: {}", share(second, 3));
            let still = mean(Policy::Off, loss);
            assert!(mean(policy, loss) < still, "{policy:?}");
        }
    }

    /// One step, computed by hand.
    #[test]
    fn single_steps_are_those_of_the_definitions() {
        let mut rng = Rng::derive(1, "knob");
        let mut knob: Knob<2, 2> = Knob::new(Policy::Exp3, 0);
        knob.end_round(0.25, 0, &mut rng);
        // x = .75 / .5 = 1.5; w0 = e^(.2 * 1.5 / 2), w1 = 1; both + e * .0005 * 2 / 2.
        let (w0, w1) = ((0.15_f64).exp() + 0.001359140914, 1.001359140914);
        assert!((knob.weights[1] / knob.weights[0] - w1 / w0).abs() < 1e-9, "{:?}", knob.weights);
        let mut knob: Knob<2, 2> = Knob::new(Policy::QLearning, 1);
        knob.losses[1] = [0.4, 0.6];
        knob.end_round(0.5, 1, &mut rng);
        // 0 + .2 (.5 + .5 * .4 - 0).
        assert!((knob.losses[0][1] - 0.14).abs() < 1e-12, "{:?}", knob.losses);
    }

    #[test]
    fn a_knob_that_is_off_stands_still() {
        let (_, places) = play(Policy::Off, 1, |t, _| (t % 2) as f64);
        assert!(places.iter().all(|at| *at == 1));
    }
}
