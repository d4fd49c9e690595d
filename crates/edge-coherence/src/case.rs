//! One conflict, from the first contradiction to its end.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, Micros, NodeId, Signed, Timestamp, Verifier};
use serde::{Deserialize, Serialize};

use crate::authority::{AUTHORITY_MAX, Authority, BALLOTS_OF_ONE_MAX, Ballot, Level, Verdict};

/// Sets of evidence of one case; further ones are not taken.
pub const EVIDENCE_MAX: usize = 64;
/// Statements of the accused that could stand: who says two different things about what it keeps has
/// not put anything right.
pub const KEPT_MAX: usize = 2;

/// What a case is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// The context.
    pub context: Digest,
    /// What the conflicting claims are about.
    pub conflict: Digest,
    /// Who signed them.
    pub accused: NodeId,
}

/// How long a case stays in a state, counted from when its conflict was shown here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// The accused can put it right until then.
    pub repair: Micros,
    /// Who cannot tell by then passes the case on.
    pub escalate: Micros,
    /// A case without a verdict ends then.
    pub expire: Micros,
}

impl Deadlines {
    /// Repair within a time, escalation after twice and expiry after eight times as long.
    pub const fn from_repair(repair: Micros) -> Self {
        Deadlines { repair, escalate: repair.times(2), expire: repair.times(8) }
    }
}

/// How much is held back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Quarantine {
    /// What rests on the claims is still given out, and marked.
    Soft,
    /// Nothing more is built on them: an honest member of the authority found against the accused.
    Hard,
}

/// Where a case stands. Later states come later; only a verdict follows an expiry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// No conflict was shown.
    Asserted,
    /// A conflict was shown, and the accused can still put it right.
    Contested,
    /// Evidence of both sides is in, or the time for it is over; the authority votes.
    Quarantined(Quarantine),
    /// Nobody decided in time: what was held back is released, the evidence is kept.
    Expired,
    /// A quorum found against the accused.
    Upheld,
    /// A quorum found that the accused put it right.
    Rejected {
        /// Digest of the statement that stands.
        kept: Digest,
    },
}

/// Why a ballot was not taken: its sender's fault, but for the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BallotError {
    /// It is about something else, or of another epoch.
    #[error("a ballot of another context, conflict or epoch")]
    Elsewhere,
    /// Its signer has no vote.
    #[error("{0} has no vote in this case")]
    NotAMember(NodeId),
    /// A wider authority has nobody to pass a case on to.
    #[error("only the narrow authority passes a case on")]
    NoWider,
    /// Its signer sent too many different ones already.
    #[error("{0} signed more than {BALLOTS_OF_ONE_MAX} different ballots")]
    TooMany(NodeId),
    /// Its signature does not hold.
    #[error(transparent)]
    Signature(#[from] edge_base::SignatureError),
    /// The wider authority is not known here yet.
    #[error("the case was not passed on, as far as is known here")]
    Unsealed,
}

/// Ballots that settle a case: those of a quorum, and the seal of the narrower authority where a
/// wider one decided. Whoever knows the authority of the epoch and has the evidence can check it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// The wider authority, where it decided.
    pub wider: Option<Authority>,
    /// The ballots.
    pub ballots: Vec<Signed<Ballot>>,
}

/// One conflict and what is known about it.
#[derive(Clone, Debug)]
pub struct Case {
    subject: Subject,
    authority: Authority,
    wider: BTreeMap<Digest, Authority>,
    since: Timestamp,
    evidence: BTreeSet<Digest>,
    kept: BTreeSet<Digest>,
    ballots: BTreeMap<(Level, NodeId), BTreeMap<Ballot, Signed<Ballot>>>,
}

impl Case {
    /// A case that nobody showed evidence for yet; its time runs from `now`.
    pub fn new(subject: Subject, authority: Authority, now: Timestamp) -> Self {
        Case {
            subject,
            authority,
            wider: BTreeMap::new(),
            since: now,
            evidence: BTreeSet::new(),
            kept: BTreeSet::new(),
            ballots: BTreeMap::new(),
        }
    }

    /// What it is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The authority of the context.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Since when the conflict is known here.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// A set of evidence whose statements were checked: ballots that rest on it count. Returns
    /// whether it was taken or known.
    pub fn show(&mut self, evidence: Digest) -> bool {
        let room = self.evidence.len() < EVIDENCE_MAX;
        self.evidence.contains(&evidence) || (room && self.evidence.insert(evidence))
    }

    /// A statement of the accused, checked, that names what shall stand.
    pub fn show_kept(&mut self, kept: Digest) -> bool {
        let room = self.kept.len() < KEPT_MAX;
        self.kept.contains(&kept) || (room && self.kept.insert(kept))
    }

    /// A wider authority that ballots may name. Which one decides is up to the narrow one's seal;
    /// as many are kept as there can be different seals of honest members, and no more.
    pub fn show_wider(&mut self, wider: Authority) -> bool {
        let digest = wider.digest();
        let sized = (1..=AUTHORITY_MAX).contains(&wider.members().count());
        let fits = sized && wider.epoch == self.authority.epoch && self.wider.len() < KEPT_MAX;
        if fits {
            self.wider.entry(digest).or_insert(wider);
        }
        self.wider.contains_key(&digest)
    }

    /// Takes a ballot; returns whether it is new.
    pub fn take(
        &mut self,
        ballot: Signed<Ballot>,
        verifier: &mut Verifier,
        pool: &Digest,
    ) -> Result<bool, BallotError> {
        let (body, signer) = (ballot.body, ballot.signer);
        let about = (body.context, body.conflict, body.epoch);
        if about != (self.subject.context, self.subject.conflict, self.authority.epoch) {
            return Err(BallotError::Elsewhere);
        }
        let member = match body.level {
            Level::Narrow => self.authority.contains(&signer),
            Level::Wide if self.wider.is_empty() => return Err(BallotError::Unsealed),
            Level::Wide => self.wider.values().any(|wider| wider.contains(&signer)),
        };
        if !member || signer == self.subject.accused {
            return Err(BallotError::NotAMember(signer));
        }
        if body.level == Level::Wide && matches!(body.verdict, Verdict::Escalate { .. }) {
            return Err(BallotError::NoWider);
        }
        let before = self.ballots.get(&(body.level, signer));
        if before.is_some_and(|ballots| ballots.contains_key(&body)) {
            return Ok(false);
        }
        let full = before.filter(|ballots| ballots.len() >= BALLOTS_OF_ONE_MAX);
        if full.and_then(BTreeMap::last_key_value).is_some_and(|(last, _)| *last < body) {
            return Err(BallotError::TooMany(signer));
        }
        ballot.open(verifier, pool)?;
        let ballots = self.ballots.entry((body.level, signer)).or_default();
        ballots.insert(body, ballot);
        // Of more than fit the first in their own order stay, so that all keep the same whatever came first.
        if ballots.len() > BALLOTS_OF_ONE_MAX {
            ballots.pop_last();
        }
        Ok(true)
    }

    /// Members of the authority who signed two verdicts at one level.
    pub fn faulty(&self) -> BTreeSet<NodeId> {
        let differ = |ballots: &BTreeMap<Ballot, Signed<Ballot>>| {
            let verdicts: BTreeSet<Verdict> = ballots.keys().map(|b| b.verdict).collect();
            verdicts.len() > 1
        };
        self.ballots.iter().filter(|(_, b)| differ(b)).map(|((_, node), _)| *node).collect()
    }

    /// Who supports a verdict at a level, with evidence that is known here.
    fn supporters(&self, level: Level, verdict: &Verdict) -> BTreeSet<NodeId> {
        let counts = |ballot: &Ballot| {
            let known = match ballot.verdict {
                Verdict::Reject { kept } => self.kept.contains(&kept),
                Verdict::Uphold | Verdict::Escalate { .. } => true,
            };
            ballot.verdict == *verdict && known && self.evidence.contains(&ballot.evidence)
        };
        let of_level = self.ballots.iter().filter(|((at, _), _)| *at == level);
        of_level.filter(|(_, b)| b.keys().any(counts)).map(|((_, node), _)| *node).collect()
    }

    /// The wider authority that a quorum of the narrow one passed the case on to.
    pub fn sealed(&self) -> Option<&Authority> {
        self.wider.iter().find_map(|(digest, wider)| {
            let verdict = Verdict::Escalate { wider: *digest };
            let supporters = self.supporters(Level::Narrow, &verdict);
            (self.authority.count(&supporters) >= self.authority.quorum()).then_some(wider)
        })
    }

    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let rejects = self.kept.iter().map(|kept| Verdict::Reject { kept: *kept });
        std::iter::once(Verdict::Uphold).chain(rejects)
    }

    /// The verdict of a quorum, and at which level.
    pub fn verdict(&self) -> Option<(Level, Verdict)> {
        let seats = std::iter::once((Level::Narrow, &self.authority))
            .chain(self.sealed().map(|wider| (Level::Wide, wider)));
        for (level, authority) in seats {
            for verdict in self.verdicts() {
                let supporters = self.supporters(level, &verdict);
                if authority.count(&supporters) >= authority.quorum() {
                    return Some((level, verdict));
                }
            }
        }
        None
    }

    /// A verdict that a member without a fault found at a level: more paths than may be faulty
    /// support it. Who cannot tell by itself may rely on that.
    pub fn vouched(&self, level: Level) -> Option<Verdict> {
        let authority = match level {
            Level::Narrow => &self.authority,
            Level::Wide => self.sealed()?,
        };
        let enough = |verdict: &Verdict| {
            authority.count(&self.supporters(level, verdict)) > authority.faulty_max()
        };
        self.verdicts().find(enough)
    }

    /// The ballots that settle the case.
    pub fn decision(&self) -> Option<Decision> {
        let (level, verdict) = self.verdict()?;
        let mut wanted = vec![(level, verdict)];
        let mut wider = None;
        if level == Level::Wide {
            let sealed = self.sealed()?;
            wanted.push((Level::Narrow, Verdict::Escalate { wider: sealed.digest() }));
            wider = Some(sealed.clone());
        }
        let counts = |ballot: &Ballot| {
            wanted.contains(&(ballot.level, ballot.verdict))
                && self.evidence.contains(&ballot.evidence)
        };
        let all = self.ballots.values().flat_map(BTreeMap::iter);
        let ballots = all.filter(|(body, _)| counts(body)).map(|(_, b)| b.clone()).collect();
        Some(Decision { wider, ballots })
    }

    /// Where the case stands at a time: a function of what was shown and taken, and of how long ago
    /// it began.
    pub fn state(&self, now: Timestamp, within: &Deadlines) -> State {
        if self.evidence.is_empty() {
            return State::Asserted;
        }
        match self.verdict() {
            Some((_, Verdict::Uphold)) => return State::Upheld,
            Some((_, Verdict::Reject { kept })) => return State::Rejected { kept },
            Some((_, Verdict::Escalate { .. })) | None => {}
        }
        let waited = now.since(self.since);
        if waited >= within.expire {
            return State::Expired;
        }
        let against = self.supporters(Level::Narrow, &Verdict::Uphold);
        if self.authority.count(&against) > self.authority.faulty_max() {
            return State::Quarantined(Quarantine::Hard);
        }
        if waited >= within.repair || !self.kept.is_empty() {
            return State::Quarantined(Quarantine::Soft);
        }
        State::Contested
    }
}
