//! How others decide which answers to believe, on the tasks and against the liars of a run.
//!
//! A model of their rules and of nothing else: no message is lost, nobody is away, a worker is drawn at
//! random for each execution, and nobody is banned, as in the systems themselves.

use edge_base::{Digest, Rng};
use edge_tasks::Lie;
use serde::Serialize;

/// Results in a row that had to hold before BOINC believes a host alone (D. P. Anderson, "BOINC: a platform
/// for volunteer computing", 2020, section 4.2: adaptive replication).
const BOINC_VALID: u64 = 10;

/// What a rule came to.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Rival {
    /// Whose rule.
    pub rule: &'static str,
    /// Accepted results that were wrong.
    pub wrong: usize,
    /// The same in millionths of the accepted ones.
    pub wrong_ppm: f64,
    /// Executions for each accepted result.
    pub work: f64,
}

/// Every rule on the same tasks, in this order, by `workers` of which the first `liars` lie together.
pub(crate) fn compare(inputs: &[Digest], workers: usize, liars: usize, seed: u64) -> Vec<Rival> {
    if workers < 3 || inputs.is_empty() {
        return Vec::new();
    }
    let rules: [(&'static str, bool); 2] = [("quorum-2", false), ("boinc-adaptive", true)];
    let of = |(rule, adaptive)| {
        let mut pool = Pool { rng: Rng::derive(seed, rule), valid: vec![0; workers], liars };
        let (mut wrong, mut executions) = (0, 0);
        for input in inputs {
            let lied = Lie::agreed(input).is_some();
            let (accepted_lie, executed) = pool.decide(lied, adaptive);
            wrong += usize::from(accepted_lie);
            executions += executed;
        }
        let all = inputs.len() as f64;
        Rival { rule, wrong, wrong_ppm: wrong as f64 / all * 1e6, work: executions as f64 / all }
    };
    rules.into_iter().map(of).collect()
}

struct Pool {
    rng: Rng,
    /// Results in a row that were confirmed by replication.
    valid: Vec<u64>,
    liars: usize,
}

impl Pool {
    /// Executes one task until a rule is content: whether a lie was accepted, and the executions.
    fn decide(&mut self, lied: bool, adaptive: bool) -> (bool, usize) {
        let mut asked = vec![self.fresh(&[])];
        let valid = self.valid[asked[0]];
        if adaptive && valid >= BOINC_VALID && !self.rng.chance(1, valid) {
            return (lied && self.lies(asked[0]), 1);
        }
        // Two results that agree decide.
        loop {
            let votes =
                |lie: bool| asked.iter().filter(|w| (lied && self.lies(**w)) == lie).count();
            let decided = [false, true].into_iter().find(|lie| votes(*lie) >= 2);
            if let Some(lie) = decided {
                for worker in &asked {
                    let agrees = (lied && *worker < self.liars) == lie;
                    self.valid[*worker] = if agrees { self.valid[*worker] + 1 } else { 0 };
                }
                return (lie, asked.len());
            }
            let next = self.fresh(&asked);
            asked.push(next);
        }
    }

    fn lies(&self, worker: usize) -> bool {
        worker < self.liars
    }

    fn fresh(&mut self, asked: &[usize]) -> usize {
        loop {
            let worker = self.rng.below(self.valid.len() as u64) as usize;
            if !asked.contains(&worker) {
                return worker;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_a_fifth_meet_as_often_as_they_should() {
        let inputs: Vec<Digest> = (0..100_000u64).map(|n| Digest::of_value("input", &n)).collect();
        let [quorum, boinc] = compare(&inputs, 30, 6, 1)[..] else { panic!("two rules") };
        // A lied-about input is accepted wrongly when two liars are asked first, or one of the first two
        // and the third: 6·5/(30·29) + 2·6·24/(30·29)·5/28.
        let expected = 0.1 * (30.0 + 288.0 * 5.0 / 28.0) / 870.0;
        let share = quorum.wrong as f64 / inputs.len() as f64;
        assert!((share / expected - 1.0).abs() < 0.1, "{share} and {expected}");
        assert!((2.0..2.1).contains(&quorum.work), "{}", quorum.work);
        assert!(boinc.work < 1.5 && boinc.wrong > quorum.wrong, "{boinc:?}");
        assert!(compare(&inputs, 30, 0, 1).iter().all(|rival| rival.wrong == 0));
    }
}
