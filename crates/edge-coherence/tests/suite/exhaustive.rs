//! Every way in which a small case can go: four narrow authorities and three more, of whom at most
//! a third is faulty, and what they can have signed by any time. Honest members sign one verdict at
//! each level, whichever it is, and at the wider level only under a seal; faulty ones sign
//! everything. Nodes see any part of what was signed, so two nodes can disagree exactly if some
//! reachable set of ballots settles the case both ways.

use std::collections::BTreeSet;

use edge_base::{Digest, SecretKey, Timestamp, Verifier};
use edge_coherence::{Authority, Case, Level, Verdict};

use crate::case::{authority, ballot, evidence, kept, key, pool, signed, subject};

const REJECT: u8 = 2;
const ESCALATE: u8 = 3;

/// What each honest member signed: at the narrow level 0 (nothing), 1 uphold, 2 reject, 3 escalate;
/// at the wider one 0 to 2.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Signed {
    narrow: Vec<u8>,
    wide: Vec<u8>,
}

struct Model {
    honest_narrow: u8,
    honest_wide: u8,
    sealed_only: bool,
    wider: Authority,
    keys: Vec<SecretKey>,
}

impl Model {
    fn verdict(&self, code: u8) -> Verdict {
        match code {
            ESCALATE => Verdict::Escalate { wider: self.wider.digest() },
            REJECT => Verdict::Reject { kept: kept() },
            _ => Verdict::Uphold,
        }
    }

    /// A node that saw all of it but the verdicts against `against`.
    fn node(&self, state: &Signed, against: u8) -> Case {
        let (v, pool) = (&mut Verifier::trusting_for_simulation(), pool());
        let mut case = Case::new(subject(), authority(4), Timestamp(0));
        case.show(evidence());
        case.show_kept(kept());
        case.show_wider(self.wider.clone());
        let mut all: Vec<(u8, Level, u8)> = Vec::new();
        let honest = |list: &[u8], level| -> Vec<(u8, Level, u8)> {
            list.iter().zip(1u8..).map(|(code, i)| (i, level, *code)).collect()
        };
        all.extend(honest(&state.narrow, Level::Narrow));
        // Honest members of the wider authority: those of the narrow one, then the new ones.
        let seat = |i: u8| if i <= self.honest_narrow { i } else { i - self.honest_narrow + 4 };
        let wide = honest(&state.wide, Level::Wide);
        all.extend(wide.into_iter().map(|(i, level, code)| (seat(i), level, code)));
        for faulty in (self.honest_narrow + 1..=4).chain(5 + self.honest_wide..=7) {
            for code in 1..=ESCALATE {
                if faulty <= 4 {
                    all.push((faulty, Level::Narrow, code));
                }
                if code != ESCALATE {
                    all.push((faulty, Level::Wide, code));
                }
            }
        }
        for (i, level, code) in all {
            if code != 0 && code != against {
                let key = &self.keys[usize::from(i)];
                let ballot = ballot(level, self.verdict(code));
                case.take(edge_base::Signed::seal(ballot, key, &pool), v, &pool).unwrap();
            }
        }
        case
    }

    fn next(&self, state: &Signed) -> Vec<Signed> {
        let mut next = Vec::new();
        for i in 0..state.narrow.len() {
            if state.narrow[i] == 0 {
                next.extend((1..=ESCALATE).map(|code| {
                    let mut after = state.clone();
                    after.narrow[i] = code;
                    after
                }));
            }
        }
        if !self.sealed_only || self.node(state, 0).sealed().is_some() {
            for i in 0..state.wide.len() {
                if state.wide[i] == 0 {
                    next.extend((1..=REJECT).map(|code| {
                        let mut after = state.clone();
                        after.wide[i] = code;
                        after
                    }));
                }
            }
        }
        // Members of one rank are alike: one order of them stands for all.
        for after in &mut next {
            let together = usize::from(self.honest_narrow);
            after.wide[together..].sort_unstable();
        }
        next
    }

    /// How many states there are, and in how many the case can be settled both ways.
    fn search(&self) -> (usize, usize) {
        let start = Signed {
            narrow: vec![0; usize::from(self.honest_narrow)],
            wide: vec![0; usize::from(self.honest_narrow + self.honest_wide)],
        };
        let (mut seen, mut open) = (BTreeSet::from([start.clone()]), vec![start]);
        let mut split = 0;
        while let Some(state) = open.pop() {
            let upheld = self.node(&state, REJECT).verdict();
            let rejected = self.node(&state, 1).verdict();
            let both = upheld.is_some_and(|(_, v)| v == Verdict::Uphold)
                && rejected.is_some_and(|(_, v)| v == Verdict::Reject { kept: kept() });
            split += usize::from(both);
            for after in self.next(&state) {
                if seen.insert(after.clone()) {
                    open.push(after);
                }
            }
        }
        (seen.len(), split)
    }
}

fn model(honest_narrow: u8, honest_wide: u8) -> Model {
    let wider = Authority::each_its_own(1, (1..=7).map(|i| key(i).node_id())).unwrap();
    let keys = (0..=7).map(|i| SecretKey::silent_for_simulation([i; 32])).collect();
    Model { honest_narrow, honest_wide, sealed_only: true, wider, keys }
}

#[test]
fn upheld_and_rejected_exclude_each_other_below_a_third_of_faults() {
    // One of four and two of seven are faulty.
    let (states, split) = model(3, 2).search();
    assert!(states > 1_000, "{states}");
    assert_eq!(split, 0, "of {states} states");
}

#[test]
fn with_one_fault_more_the_search_finds_both_verdicts() {
    let (_, split) = model(2, 3).search();
    assert!(split > 0, "two of four faulty");
    let (_, split) = model(3, 1).search();
    assert!(split > 0, "three of seven faulty");
}

#[test]
fn every_order_of_arrival_ends_alike() {
    // Heap's algorithm over seven arrivals: what is shown, and the ballots of four members of whom
    // one signs two verdicts.
    let reject = Verdict::Reject { kept: kept() };
    let ballots = [
        (1, Verdict::Uphold),
        (2, Verdict::Uphold),
        (3, Verdict::Uphold),
        (4, Verdict::Uphold),
        (4, reject),
    ];
    let mut order: Vec<usize> = (0..7).collect();
    let mut counters = [0; 7];
    let (mut i, mut ends, mut orders) = (0, BTreeSet::new(), 0);
    let v = &mut Verifier::trusting_for_simulation();
    let ballots: Vec<_> =
        ballots.iter().map(|(i, v)| signed(*i, ballot(Level::Narrow, *v))).collect();
    let mut run = |order: &[usize]| {
        let mut case = Case::new(subject(), authority(4), Timestamp(0));
        for step in order {
            match step {
                0 => drop(case.show(evidence())),
                1 => drop(case.show_kept(kept())),
                step => drop(case.take(ballots[step - 2].clone(), v, &pool())),
            }
        }
        assert_eq!(case.faulty(), BTreeSet::from([key(4).node_id()]));
        ends.insert(Digest::of_value("end", &case.decision()));
        orders += 1;
    };
    run(&order);
    while i < order.len() {
        if counters[i] < i {
            order.swap(if i % 2 == 0 { 0 } else { counters[i] }, i);
            run(&order);
            counters[i] += 1;
            i = 0;
        } else {
            counters[i] = 0;
            i += 1;
        }
    }
    assert_eq!((orders, ends.len()), (5_040, 1));
}
