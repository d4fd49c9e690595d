//! The states of a case: evidence, order, bounds.

use edge_base::{Digest, Micros, SecretKey, Signed, Timestamp, Verifier};
use edge_coherence::{
    Authority, BALLOTS_OF_ONE_MAX, Ballot, BallotError, Case, Deadlines, EVIDENCE_MAX, Level, Path,
    Quarantine, State, Subject, Verdict,
};
use proptest::prelude::*;

pub(crate) const WITHIN: Deadlines =
    Deadlines { repair: Micros(10), escalate: Micros(20), expire: Micros(80) };

pub(crate) fn pool() -> Digest {
    Digest::of(b"pool")
}

pub(crate) fn key(i: u8) -> SecretKey {
    SecretKey::from_seed([i; 32])
}

pub(crate) fn subject() -> Subject {
    Subject {
        context: Digest::of(b"context"),
        conflict: Digest::of(b"shard"),
        accused: key(99).node_id(),
    }
}

pub(crate) fn evidence() -> Digest {
    Digest::of(b"two heads")
}

pub(crate) fn kept() -> Digest {
    Digest::of(b"the head that stays")
}

pub(crate) fn authority(n: u8) -> Authority {
    Authority::each_its_own(1, (1..=n).map(|i| key(i).node_id())).unwrap()
}

pub(crate) fn ballot(level: Level, verdict: Verdict) -> Ballot {
    let Subject { context, conflict, .. } = subject();
    Ballot { context, epoch: 1, level, conflict, evidence: evidence(), verdict }
}

pub(crate) fn signed(i: u8, body: Ballot) -> Signed<Ballot> {
    Signed::seal(body, &key(i), &pool())
}

fn contested(n: u8) -> Case {
    let mut case = Case::new(subject(), authority(n), Timestamp(0));
    assert!(case.show(evidence()));
    case
}

#[test]
fn every_state_needs_its_evidence() {
    let v = &mut Verifier::strict();
    let mut case = Case::new(subject(), authority(4), Timestamp(0));
    let uphold = ballot(Level::Narrow, Verdict::Uphold);
    for i in 1..=4 {
        assert_eq!(case.take(signed(i, uphold), v, &pool()), Ok(true));
    }
    // Ballots alone, without what they rest on, are no evidence.
    assert_eq!(case.state(Timestamp(1_000), &WITHIN), State::Asserted);
    case.show(Digest::of(b"other evidence"));
    assert_eq!(case.state(Timestamp(9), &WITHIN), State::Contested);
    assert_eq!(case.state(Timestamp(10), &WITHIN), State::Quarantined(Quarantine::Soft));
    case.show(evidence());
    assert_eq!(case.state(Timestamp(9), &WITHIN), State::Upheld);

    // One honest ballot holds back, a quorum decides.
    let mut case = contested(4);
    case.take(signed(1, uphold), v, &pool()).unwrap();
    assert_eq!(case.state(Timestamp(0), &WITHIN), State::Contested);
    case.take(signed(2, uphold), v, &pool()).unwrap();
    assert_eq!(case.state(Timestamp(0), &WITHIN), State::Quarantined(Quarantine::Hard));
    assert_eq!(case.state(Timestamp(80), &WITHIN), State::Expired);
    case.take(signed(3, uphold), v, &pool()).unwrap();
    assert_eq!(case.state(Timestamp(80), &WITHIN), State::Upheld, "a verdict follows an expiry");
    let decision = case.decision().unwrap();
    assert_eq!((decision.ballots.len(), decision.wider), (3, None));

    // A verdict for a statement that nobody showed is none.
    let mut case = contested(4);
    let reject = ballot(Level::Narrow, Verdict::Reject { kept: kept() });
    for i in 1..=3 {
        case.take(signed(i, reject), v, &pool()).unwrap();
    }
    assert_eq!(case.state(Timestamp(0), &WITHIN), State::Contested);
    assert!(case.show_kept(kept()));
    assert_eq!(case.state(Timestamp(0), &WITHIN), State::Rejected { kept: kept() });
}

#[test]
fn ballots_of_others_of_elsewhere_and_beyond_the_bound_are_refused() {
    let v = &mut Verifier::strict();
    let mut case = contested(4);
    let good = ballot(Level::Narrow, Verdict::Uphold);
    let refused = |case: &mut Case, b, v: &mut Verifier| case.take(b, v, &pool()).unwrap_err();
    for other in [
        Ballot { context: Digest::of(b"another"), ..good },
        Ballot { conflict: Digest::of(b"another"), ..good },
        Ballot { epoch: 2, ..good },
    ] {
        assert_eq!(refused(&mut case, signed(1, other), v), BallotError::Elsewhere);
    }
    let stranger = key(77).node_id();
    assert_eq!(refused(&mut case, signed(77, good), v), BallotError::NotAMember(stranger));
    let mut forged = signed(1, good);
    forged.signer = key(2).node_id();
    assert!(matches!(refused(&mut case, forged, v), BallotError::Signature(_)));
    let wide = ballot(Level::Wide, Verdict::Uphold);
    assert_eq!(refused(&mut case, signed(1, wide), v), BallotError::Unsealed);
    let elsewhere = Signed::seal(good, &key(1), &Digest::of(b"another pool"));
    assert!(matches!(refused(&mut case, elsewhere, v), BallotError::Signature(_)));
    // Of more than fit the same stay, whatever came first.
    let one = key(1).node_id();
    let different: std::collections::BTreeSet<Ballot> = (0..2 * BALLOTS_OF_ONE_MAX as u8)
        .map(|i| Ballot { evidence: Digest::of(&[i]), ..good })
        .collect();
    let up: Vec<Ballot> = different.into_iter().collect();
    let down: Vec<Ballot> = up.iter().rev().copied().collect();
    for order in [&up, &down] {
        let mut case = contested(4);
        for body in order {
            let taken = case.take(signed(1, *body), v, &pool());
            assert!(matches!(taken, Ok(true) | Err(BallotError::TooMany(_))), "{taken:?}");
        }
        let again = up.iter().map(|body| case.take(signed(1, *body), v, &pool()));
        let again: Vec<Result<bool, BallotError>> = again.collect();
        let (stay, gone) = again.split_at(BALLOTS_OF_ONE_MAX);
        assert!(stay.iter().all(|known| *known == Ok(false)), "{again:?}");
        assert!(gone.iter().all(|no| *no == Err(BallotError::TooMany(one))), "{again:?}");
    }
    for i in 0..2 * EVIDENCE_MAX {
        case.show(Digest::of(&i.to_le_bytes()));
    }
    assert!(!case.show(Digest::of(b"one more")));
}

#[test]
fn a_verdict_is_vouched_for_by_one_member_more_than_may_be_faulty() {
    let v = &mut Verifier::strict();
    let mut case = contested(4);
    case.show_kept(kept());
    let reject = ballot(Level::Narrow, Verdict::Reject { kept: kept() });
    case.take(signed(1, reject), v, &pool()).unwrap();
    assert_eq!(case.vouched(Level::Narrow), None);
    case.take(signed(2, reject), v, &pool()).unwrap();
    assert_eq!(case.vouched(Level::Narrow), Some(Verdict::Reject { kept: kept() }));
    assert_eq!((case.vouched(Level::Wide), case.verdict()), (None, None));
}

#[test]
fn the_accused_has_no_vote_about_itself() {
    let v = &mut Verifier::strict();
    let subject = Subject { accused: key(1).node_id(), ..subject() };
    let mut case = Case::new(subject, authority(4), Timestamp(0));
    case.show(evidence());
    case.show_kept(kept());
    let reject = ballot(Level::Narrow, Verdict::Reject { kept: kept() });
    let refused = case.take(signed(1, reject), v, &pool());
    assert_eq!(refused, Err(BallotError::NotAMember(key(1).node_id())));
    for i in 2..=4 {
        case.take(signed(i, ballot(Level::Narrow, Verdict::Uphold)), v, &pool()).unwrap();
    }
    assert_eq!(case.state(Timestamp(0), &WITHIN), State::Upheld);
}

#[test]
fn a_wider_authority_decides_only_under_the_seal_of_a_quorum() {
    let v = &mut Verifier::strict();
    let wide = Authority::each_its_own(1, (1..=7).map(|i| key(i).node_id())).unwrap();
    let mut case = contested(4);
    assert!(case.show_wider(wide.clone()));
    let uphold = ballot(Level::Wide, Verdict::Uphold);
    for i in 3..=7 {
        case.take(signed(i, uphold), v, &pool()).unwrap();
    }
    assert_eq!(case.verdict(), None, "five of seven, but nobody passed the case on");
    let pass = ballot(Level::Narrow, Verdict::Escalate { wider: wide.digest() });
    for i in 1..=3 {
        assert_eq!(case.verdict(), None);
        case.take(signed(i, pass), v, &pool()).unwrap();
    }
    assert_eq!(case.verdict(), Some((Level::Wide, Verdict::Uphold)));
    let decision = case.decision().unwrap();
    assert_eq!(decision.ballots.len(), 8);
    // The decision alone convinces whoever has the evidence.
    let mut elsewhere = contested(4);
    elsewhere.show_wider(decision.wider.unwrap());
    for ballot in decision.ballots {
        elsewhere.take(ballot, v, &pool()).unwrap();
    }
    assert_eq!(elsewhere.verdict(), case.verdict());
    let other = Authority::each_its_own(2, (1..=7).map(|i| key(i).node_id())).unwrap();
    assert!(!contested(4).show_wider(other), "of another epoch");
}

#[test]
fn members_by_one_path_count_once() {
    let v = &mut Verifier::strict();
    let one = Path::own(&key(1).node_id());
    // Members 1 to 7 came by one invitation, 8 to 10 each by another.
    let members = (1..=10).map(|i| {
        let node = key(i).node_id();
        (node, if i <= 7 { one } else { Path::own(&node) })
    });
    let authority = Authority::new(1, members).unwrap();
    assert_eq!((authority.paths(), authority.quorum()), (4, 3));
    let mut case = Case::new(subject(), authority, Timestamp(0));
    case.show(evidence());
    let uphold = ballot(Level::Narrow, Verdict::Uphold);
    for i in 1..=8 {
        case.take(signed(i, uphold), v, &pool()).unwrap();
        assert_eq!(case.verdict(), None, "{i}");
    }
    case.take(signed(9, uphold), v, &pool()).unwrap();
    assert_eq!(case.verdict(), Some((Level::Narrow, Verdict::Uphold)));
}

#[derive(Clone, Debug)]
enum Arrival {
    Show(Digest),
    Kept(Digest),
    Ballot(u8, Ballot),
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let evidences = prop_oneof![Just(evidence()), Just(Digest::of(b"e2"))];
    let verdicts = prop_oneof![
        Just(Verdict::Uphold),
        Just(Verdict::Reject { kept: kept() }),
        Just(Verdict::Escalate { wider: kept() }),
    ];
    let ballots = (1u8..=4, evidences.clone(), verdicts).prop_map(|(i, evidence, verdict)| {
        Arrival::Ballot(i, Ballot { evidence, ..ballot(Level::Narrow, verdict) })
    });
    let one = prop_oneof![
        2 => evidences.prop_map(Arrival::Show),
        1 => Just(Arrival::Kept(kept())),
        6 => ballots,
    ];
    prop::collection::vec(one, 0..14)
}

fn rank(state: &State) -> u8 {
    match state {
        State::Asserted => 0,
        State::Contested => 1,
        State::Quarantined(Quarantine::Soft) => 2,
        State::Quarantined(Quarantine::Hard) => 3,
        State::Expired => 4,
        State::Upheld | State::Rejected { .. } => 5,
    }
}

fn run(arrivals: &[Arrival], step: u64) -> (State, usize, bool) {
    let mut v = Verifier::trusting_for_simulation();
    let mut case = Case::new(subject(), authority(4), Timestamp(0));
    let (mut now, mut last, mut changes, mut back) = (0, State::Asserted, 0, false);
    for arrival in arrivals {
        match arrival {
            Arrival::Show(evidence) => drop(case.show(*evidence)),
            Arrival::Kept(kept) => drop(case.show_kept(*kept)),
            Arrival::Ballot(i, body) => drop(case.take(signed(*i, *body), &mut v, &pool())),
        }
        now += step;
        let state = case.state(Timestamp(now), &WITHIN);
        back |= rank(&state) < rank(&last);
        changes += usize::from(state != last);
        last = state;
    }
    (case.state(Timestamp(1_000), &WITHIN), changes, back)
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter_and_states_only_advance(
        (first, second) in arrivals().prop_flat_map(|a| (Just(a.clone()), Just(a).prop_shuffle())),
        step in 0u64..12,
    ) {
        let (end, changes, back) = run(&first, step);
        prop_assert_eq!(run(&second, step).0, end);
        // Members 1 to 4 may all be faulty here, and then a verdict can follow another.
        let mut honest = std::collections::BTreeMap::new();
        let honest = first.iter().all(|a| match a {
            Arrival::Ballot(i, b) => *honest.entry(*i).or_insert(b.verdict) == b.verdict,
            Arrival::Show(_) | Arrival::Kept(_) => true,
        });
        if honest {
            prop_assert!(!back, "{first:?}");
            prop_assert!(changes <= 5);
        }
    }
}
