//! When a result is believed: the credibility of workers and the posterior of a result group.
//!
//! Definitions after L. Sarmenta, "Sabotage-tolerance mechanisms for volunteer computing systems"
//! (2002): a worker with `k` checked results is wrong with probability at most `f / ((1-f) e k)`.

use std::{f64::consts::E, str::FromStr};

use edge_base::Credits;

/// The least share of single answers that is audited, whatever is at stake.
pub const AUDIT_MIN: f64 = 0.05;
/// Results that must have been checked before one answer of a worker is believed alone, however few faulty
/// workers are assumed.
pub const SINGLE_MIN: u64 = 10;
/// A worker that lies in everything from some moment on may have so many times the tolerated share of wrong
/// results accepted among all that it ever gave.
pub const PATIENCE: f64 = 4.0;

/// What is assumed about the population.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Assumption {
    /// Share of workers that may be faulty.
    pub faulty: f64,
    /// Probability of accepting a wrong result that is tolerated.
    pub error: f64,
}

/// Not the name of an assumption: the caller's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("neither closed nor open")]
pub struct UnknownAssumption;

impl FromStr for Assumption {
    type Err = UnknownAssumption;

    fn from_str(text: &str) -> Result<Self, UnknownAssumption> {
        match text {
            "closed" => Ok(Assumption::CLOSED),
            "open" => Ok(Assumption::OPEN),
            _ => Err(UnknownAssumption),
        }
    }
}

impl Assumption {
    /// A pool that is joined by ticket only.
    pub const CLOSED: Assumption = Assumption { faulty: 0.05, error: 0.01 };
    /// A pool that anybody may join.
    pub const OPEN: Assumption = Assumption { faulty: 0.2, error: 1e-3 };
    /// A pool in which nobody lies: one answer is enough. It is what the others are measured against.
    pub const NOBODY: Assumption = Assumption { faulty: 0.0, error: 1e-3 };

    /// Credibility of a worker with `checked` results that were checked and held.
    pub fn credibility(&self, checked: u64) -> f64 {
        let f = self.faulty;
        if checked == 0 { 1.0 - f } else { 1.0 - f / ((1.0 - f) * E * checked as f64) }
    }

    /// The posterior probability that each group of equal results is right, given the credibility
    /// of each member: proportional to the product of its members' credibilities and the others'
    /// doubts, normalised over the groups and the event that none is right.
    pub fn posteriors(&self, groups: &[Vec<f64>]) -> Vec<f64> {
        let doubt = |group: &Vec<f64>| group.iter().map(|c| 1.0 - c).product::<f64>();
        let trust = |group: &Vec<f64>| group.iter().product::<f64>();
        let doubts: Vec<f64> = groups.iter().map(doubt).collect();
        let weight = |i: usize| {
            let others = doubts.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, d)| *d);
            trust(&groups[i]) * others.product::<f64>()
        };
        let weights: Vec<f64> = (0..groups.len()).map(weight).collect();
        let none: f64 = doubts.iter().product();
        let total = none + weights.iter().sum::<f64>();
        weights.into_iter().map(|w| w / total).collect()
    }

    /// Whether one answer of a worker with `checked` results that were checked and held is enough, but
    /// for audits.
    pub fn proven(&self, checked: u64) -> bool {
        let enough = checked >= SINGLE_MIN || self.faulty == 0.0;
        enough && self.accepts(self.credibility(checked))
    }

    /// The share of single answers that has to be audited; `None`: all, which is no single answer. The
    /// largest of
    /// - what makes a lie cost its teller more than it saves: `c / ((1 - f)(p + s))`, where the honest
    ///   cost `c` is taken for the price `p`, `s` is at stake, and an audit by one of the faulty finds nothing;
    /// - what finds a worker that was honest until it was believed. Lying always, it has `1 / q` results
    ///   accepted before it is found, of at least `checked`; a share `f` of workers does so, and
    ///   `f / (q checked)` is to be at most [`PATIENCE`] times the tolerated error; so many `times` that,
    ///   where it is tuned;
    /// - [`AUDIT_MIN`].
    pub fn audit_share(
        &self,
        checked: u64,
        price: Credits,
        stake: Credits,
        times: f64,
    ) -> Option<f64> {
        if self.faulty == 0.0 {
            return Some(0.0);
        }
        let (price, stake) = (price.micro() as f64, stake.micro() as f64);
        let share = price / ((1.0 - self.faulty) * (price + stake));
        let patient = times * self.faulty / (PATIENCE * self.error * checked as f64);
        (share < 1.0).then(|| share.max(patient).clamp(AUDIT_MIN, 1.0))
    }

    /// The share that is audited where a share of a batch's items is known beforehand: a lie about one
    /// item is found by either as often as by audits alone, `1 - (1 - a)(1 - c) = q`, and [`AUDIT_MIN`]
    /// stays, because who remembers what it was asked may guess which items are known.
    pub fn audit_beside_canaries(&self, share: f64, canaries: f64) -> f64 {
        if canaries <= 0.0 {
            return share;
        }
        let rest = (share - canaries) / (1.0 - canaries).max(f64::EPSILON);
        rest.clamp(AUDIT_MIN.min(share), share)
    }

    /// Whether a posterior is enough.
    pub fn accepts(&self, posterior: f64) -> bool {
        posterior >= self.needed()
    }

    /// The posterior that is enough.
    pub fn needed(&self) -> f64 {
        1.0 - self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_design() {
        let closed = Assumption::CLOSED;
        let two = closed.posteriors(&[vec![closed.credibility(0); 2]])[0];
        assert!((two - 0.9972).abs() < 5e-5, "{two}");
        let open = Assumption::OPEN;
        let five = open.posteriors(&[vec![open.credibility(0); 5]])[0];
        assert!((five - 0.9990).abs() < 5e-5, "{five}");
        assert!(!closed.accepts(closed.posteriors(&[vec![closed.credibility(0)]])[0]));
    }

    /// Checked results needed before one answer is accepted alone (Sarmenta's table, and
    /// research figures: f = .1 needs 5 / 41 / 409 for 1e-2 / 1e-3 / 1e-4).
    #[test]
    fn results_needed_for_a_single_answer() {
        for (faulty, error, needed) in
            [(0.1, 1e-2, 5), (0.1, 1e-3, 41), (0.1, 1e-4, 409), (0.3, 1e-2, 16), (0.3, 1e-3, 158)]
        {
            let assumption = Assumption { faulty, error };
            let first = (1..).find(|k| assumption.credibility(*k) >= 1.0 - error).unwrap();
            assert_eq!(first, needed, "f = {faulty}, error = {error}");
        }
    }

    /// DESIGN: ten times the price at stake, nobody colludes: 1 in 11; research figure 9.1 %.
    #[test]
    fn what_is_at_stake_pays_for_fewer_audits() {
        let credits = Credits::from_micro;
        let sure = Assumption { faulty: 1e-9, error: 1e-3 };
        let long = 1_000_000;
        let share = sure.audit_share(long, credits(100), credits(1_000), 1.0).unwrap();
        assert!((share - 1.0 / 11.0).abs() < 1e-6, "{share}");
        let open = Assumption::OPEN;
        let share = open.audit_share(long, credits(100), credits(1_000), 1.0).unwrap();
        assert!((share - 1.0 / 8.8).abs() < 1e-6, "{share}");
        // A liar that saves the price of one answer loses more, in the mean, when it is found.
        assert!(share * 0.8 * (100.0 + 1_000.0) >= 100.0 - 1e-9);
        assert_eq!(open.audit_share(long, credits(100), credits(0), 1.0), None);
        assert_eq!(open.audit_share(long, credits(0), credits(0), 1.0), None);
        assert_eq!(open.audit_share(long, credits(1), credits(u64::MAX), 1.0), Some(AUDIT_MIN));
        assert_eq!(Assumption::NOBODY.audit_share(0, credits(100), credits(0), 1.0), Some(0.0));
        // Just believed: every other answer, and fewer the longer it goes well.
        let rich = |checked| open.audit_share(checked, credits(1), credits(u64::MAX), 1.0).unwrap();
        assert!((rich(100) - 0.5).abs() < 1e-9 && (rich(500) - 0.1).abs() < 1e-9);
        assert!(Assumption::NOBODY.proven(0));
        assert!(open.proven(92) && !open.proven(91));
        assert!(Assumption::CLOSED.proven(10) && !Assumption::CLOSED.proven(9));
    }

    #[test]
    fn canaries_and_audits_together_find_what_audits_alone_would() {
        let open = Assumption::OPEN;
        for (share, canaries) in [(0.5, 0.3), (0.4, 0.1), (0.2, 0.15), (1.0, 0.3)] {
            let audited = open.audit_beside_canaries(share, canaries);
            let missed: f64 = (1.0 - audited) * (1.0 - canaries);
            assert!((missed - (1.0 - share)).abs() < 1e-12, "{share} {canaries}");
        }
        assert_eq!(open.audit_beside_canaries(0.3, 0.0), 0.3);
        assert_eq!(open.audit_beside_canaries(0.2, 0.3), AUDIT_MIN);
        assert_eq!(open.audit_beside_canaries(AUDIT_MIN, 0.3), AUDIT_MIN);
        assert_eq!(Assumption::NOBODY.audit_beside_canaries(0.0, 0.3), 0.0);
    }

    /// Brute force over which members are right, given that members of a group are right or wrong
    /// together and at most one group is right.
    #[test]
    fn posteriors_agree_with_enumeration() {
        let assumption = Assumption::CLOSED;
        let groups = vec![vec![0.95, 0.99], vec![0.9], vec![0.97, 0.8, 0.6]];
        let all: Vec<(usize, f64)> = groups
            .iter()
            .enumerate()
            .flat_map(|(g, members)| members.iter().map(move |c| (g, *c)))
            .collect();
        let mut mass = vec![0.0; groups.len() + 1];
        for right in 0..(1u32 << all.len()) {
            let probability: f64 = all
                .iter()
                .enumerate()
                .map(|(i, (_, c))| if right >> i & 1 == 1 { *c } else { 1.0 - c })
                .product();
            let members_right = |g: usize| {
                let bits = all.iter().enumerate().filter(|(_, (group, _))| *group == g);
                bits.map(|(i, _)| right >> i & 1 == 1).collect::<Vec<_>>()
            };
            let state: Vec<Vec<bool>> = (0..groups.len()).map(members_right).collect();
            let consistent = state.iter().all(|g| g.iter().all(|b| *b) || g.iter().all(|b| !*b));
            let winners: Vec<usize> = (0..groups.len()).filter(|g| state[*g][0]).collect();
            if consistent && winners.len() <= 1 {
                mass[winners.first().copied().unwrap_or(groups.len())] += probability;
            }
        }
        let total: f64 = mass.iter().sum();
        for (got, want) in assumption.posteriors(&groups).iter().zip(&mass) {
            assert!((got - want / total).abs() < 1e-12);
        }
    }
}
