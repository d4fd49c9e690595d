//! One decision for each epoch among the n = 3f + 1 witnesses of a set.
//!
//! The algorithm is Tendermint (Buchman, Kwon, Milosevic, "The latest gossip on BFT consensus", arXiv
//! 1807.04938, algorithm 1). Rounds have a proposer each, in turn. A witness prevotes for a proposal
//! that it judges valid, unless it is locked on another value; it locks a value and precommits it when
//! a quorum prevoted for it (a *polka*); a quorum of precommits of one round decides. A locked witness
//! prevotes for another value only if that value had a polka in a later round than its lock. Up to f
//! faulty witnesses never make two decisions; when messages arrive in time, a round with an honest
//! proposer decides.
//!
//! What differs from the paper: values are digests, and whether one is valid may be answered later
//! ([`Agreement::judged`]). The paper relies on gossip that brings everything one honest witness hears to
//! all others; here each repeats what it said itself in its last two rounds ([`Agreement::again`]), a
//! proposal of an older valid value carries its polka, and who skips to a round says in the round before
//! it that it is against all, so that those who are still there can go on. A prevote says the round of the latest polka that its signer knows for the value,
//! so that two signed ballots of a witness that broke its lock convict it ([`culprits`]).
//!
//! Nothing here does I/O. Every input is followed by draining [`Agreement::poll`]. Outputs are ordered:
//! a [`Act::Send`] may leave only after every [`Act::Persist`] before it is durable. A witness that
//! restarts from its last durable record ([`Agreement::restore`]) never contradicts what it said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge_base::{
    Digest, Domain, NodeId, SecretKey, Signature, Signed, SignedBody, Verifier, codec,
};
use serde::{Deserialize, Serialize};

use crate::{
    bounded,
    vote_log::{Record, RestoreError},
    witness::{WITNESSES_MAX, WitnessSet},
};

/// Ballots of rounds further ahead than this are not kept; that their signer is there is.
pub const ROUNDS_AHEAD_MAX: u32 = 16;
/// Rounds whose ballots are kept, as evidence and to decide late.
pub const ROUNDS_KEPT_MAX: u32 = 64;
/// Values whose judgement is remembered; the number of proposals of as many rounds.
const JUDGED_MAX: usize = 256;
/// The key of the durable record.
const RECORD_KEY: &[u8] = b"agreement";

/// The two kinds of ballots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Which proposal is fine.
    Prevote,
    /// Which value had a polka in this round.
    Precommit,
}

/// A ballot in a round; no value is a ballot against all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ballot {
    /// The witness set that decides.
    pub version: u64,
    /// What is decided: the checkpoint of this epoch.
    pub epoch: u64,
    /// The round.
    pub round: u32,
    /// Prevote or precommit.
    pub phase: Phase,
    /// The value.
    pub value: Option<Digest>,
    /// In a prevote for a value: the latest round before this one in which its signer knows a polka
    /// for the value.
    pub valid_round: Option<u32>,
}

impl SignedBody for Ballot {
    const DOMAIN: Domain = Domain("ledger/ballot");
}

/// What a proposer signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposed {
    /// The witness set that decides.
    pub version: u64,
    /// What is decided.
    pub epoch: u64,
    /// The round.
    pub round: u32,
    /// The value.
    pub value: Digest,
    /// The round of the polka shown with it.
    pub valid_round: Option<u32>,
}

impl SignedBody for Proposed {
    const DOMAIN: Domain = Domain("ledger/proposed");
}

/// A proposal, with the polka of `valid_round`: a quorum of prevotes as (voter, its own
/// `valid_round`, signature), ascending by voter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// What is proposed.
    pub head: Signed<Proposed>,
    /// Empty without a `valid_round`.
    #[serde(deserialize_with = "bounded::vec::<_, _, WITNESSES_MAX>")]
    pub polka: Polka,
}

/// Prevotes of one round for one value: (voter, its `valid_round`, signature).
pub type Polka = Vec<(NodeId, Option<u32>, Signature)>;

/// What witnesses say to each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Statement {
    /// Of the round's proposer.
    Proposal(Proposal),
    /// Of anybody.
    Ballot(Signed<Ballot>),
}

impl Statement {
    /// The set, the epoch and the round it is about.
    pub fn place(&self) -> (u64, u64, u32) {
        match self {
            Statement::Proposal(Proposal { head: Signed { body, .. }, .. }) => {
                (body.version, body.epoch, body.round)
            }
            Statement::Ballot(Signed { body, .. }) => (body.version, body.epoch, body.round),
        }
    }

    /// Who signed it.
    pub fn signer(&self) -> NodeId {
        match self {
            Statement::Proposal(proposal) => proposal.head.signer,
            Statement::Ballot(ballot) => ballot.signer,
        }
    }
}

/// Where a witness is in its round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Waits for the proposal.
    Propose,
    /// Has prevoted.
    Prevote,
    /// Has precommitted.
    Precommit,
}

/// What was decided, with the precommits of a quorum in one round, ascending by voter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The value.
    pub value: Digest,
    /// The round of the precommits.
    pub round: u32,
    /// Who precommitted it.
    pub votes: Vec<(NodeId, Signature)>,
}

/// Something for the host to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Make this durable before any later [`Act::Send`] leaves.
    Persist(Record),
    /// Say this to every other member.
    Send(Statement),
    /// It is this node's turn in a round: [`Agreement::propose`] if there is something to propose.
    Propose(u32),
    /// Find out whether a value is valid and say so by [`Agreement::judged`].
    Judge(Digest),
    /// Call [`Agreement::on_alarm`] after a while that grows with the round.
    Alarm(u32, Step),
    /// It is decided. Nothing follows.
    Decided(Decision),
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u64,
    epoch: u64,
    round: u32,
    locked: Option<(u32, Digest)>,
    valid: Option<(u32, Digest, Polka)>,
    proposed: Vec<Proposal>,
    said: Vec<Signed<Ballot>>,
}

/// One witness's part in one decision.
#[derive(Clone, Debug)]
pub struct Agreement {
    set: WitnessSet,
    pool: Digest,
    epoch: u64,
    key: SecretKey,
    me: NodeId,
    round: u32,
    step: Step,
    locked: Option<(u32, Digest)>,
    /// The latest value with a polka, and the polka.
    valid: Option<(u32, Digest, Polka)>,
    /// Own proposals and ballots: never contradicted.
    proposed: BTreeMap<u32, Proposal>,
    said: BTreeMap<(u32, Phase), Signed<Ballot>>,
    /// The first proposal of each round.
    proposals: BTreeMap<u32, Proposal>,
    /// The first ballot of each voter.
    ballots: BTreeMap<(u32, Phase), BTreeMap<NodeId, Signed<Ballot>>>,
    /// Second ballots that contradict a first: the first of each voter.
    doubles: BTreeMap<NodeId, Signed<Ballot>>,
    /// The latest round each witness was seen in.
    latest: BTreeMap<NodeId, u32>,
    judged: BTreeMap<Digest, Option<bool>>,
    /// Of those judged invalid: by what only this node looked at.
    doubts: BTreeSet<Digest>,
    alarms: BTreeSet<(u32, Step)>,
    decided: bool,
    acts: VecDeque<Act>,
}

impl Agreement {
    /// Begins the decision of an epoch among a set whose members have usable keys.
    pub fn new(set: WitnessSet, pool: Digest, epoch: u64, key: &SecretKey) -> Self {
        let mut agreement = Agreement::idle(set, pool, epoch, key);
        agreement.start_round(0);
        agreement
    }

    fn idle(set: WitnessSet, pool: Digest, epoch: u64, key: &SecretKey) -> Self {
        Agreement {
            set,
            pool,
            epoch,
            key: key.clone(),
            me: key.node_id(),
            round: 0,
            step: Step::Propose,
            locked: None,
            valid: None,
            proposed: BTreeMap::new(),
            said: BTreeMap::new(),
            proposals: BTreeMap::new(),
            ballots: BTreeMap::new(),
            doubles: BTreeMap::new(),
            latest: BTreeMap::new(),
            judged: BTreeMap::new(),
            doubts: BTreeSet::new(),
            alarms: BTreeSet::new(),
            decided: false,
            acts: VecDeque::new(),
        }
    }

    /// Goes on from the last durable record of this epoch and set; a record of another epoch or set
    /// is nothing to go on from, and the decision begins anew.
    pub fn restore(
        set: WitnessSet,
        pool: Digest,
        epoch: u64,
        key: &SecretKey,
        record: &[u8],
    ) -> Result<Self, RestoreError> {
        let saved: Saved = codec::decode(record).map_err(|_| RestoreError::Malformed)?;
        if (saved.version, saved.epoch) != (set.version, epoch) {
            return Ok(Agreement::new(set, pool, epoch, key));
        }
        let mut agreement = Agreement::idle(set, pool, epoch, key);
        agreement.locked = saved.locked;
        agreement.valid = saved.valid;
        for proposal in saved.proposed {
            let round = proposal.head.body.round;
            agreement.proposals.insert(round, proposal.clone());
            agreement.proposed.insert(round, proposal);
        }
        for ballot in saved.said {
            let place = (ballot.body.round, ballot.body.phase);
            agreement.said.insert(place, ballot.clone());
            agreement.ballots.entry(place).or_default().insert(agreement.me, ballot);
        }
        agreement.round = saved.round;
        agreement.step = agreement.step_said(saved.round);
        if agreement.step == Step::Propose {
            agreement.start_round(saved.round);
        }
        agreement.again();
        agreement.evaluate();
        Ok(agreement)
    }

    /// The set version and the epoch that a durable record is about.
    pub fn recorded(record: &[u8]) -> Option<(u64, u64)> {
        let saved: Saved = codec::decode(record).ok()?;
        Some((saved.version, saved.epoch))
    }

    /// The epoch that is decided.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The set that decides.
    pub fn set(&self) -> &WitnessSet {
        &self.set
    }

    /// The present round.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// The value this node is locked on or knows a polka of: what it would propose.
    pub fn held(&self) -> Option<Digest> {
        let valid = self.valid.as_ref().map(|(_, value, _)| *value);
        valid.or(self.locked.map(|(_, value)| value))
    }

    /// Whose turn a round is.
    pub fn proposer(&self, round: u32) -> NodeId {
        let members = &self.set.members;
        let turn = (self.epoch % members.len() as u64) as usize + round as usize % members.len();
        members[turn % members.len()]
    }

    /// The next thing to do, in order.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// Proposes a value that this node knows to be valid, if it is its turn and nothing is proposed.
    pub fn propose(&mut self, value: Digest) {
        let mine = self.proposer(self.round) == self.me && self.step == Step::Propose;
        if self.decided || !mine || self.proposed.contains_key(&self.round) {
            return;
        }
        self.judged.insert(value, Some(true));
        self.say_proposal(value, None, Vec::new());
        self.evaluate();
    }

    /// Whether a value is valid. Honest witnesses have to come to the same answer in the end; an answer
    /// that is not known yet is given later.
    pub fn judged(&mut self, value: Digest, valid: bool) {
        if let Some(judged) = self.judged.get_mut(&value) {
            *judged = Some(valid);
            self.evaluate();
        }
    }

    /// This node has looked at more of a value than others do, and is against it: it does not vote for it
    /// unless a quorum did. Of that quorum more than f are honest and have nothing against it; were each
    /// free to refuse for ever what others are locked on, nothing would ever be decided.
    pub fn doubted(&mut self, value: Digest) {
        if self.judged.contains_key(&value) {
            self.doubts.insert(value);
            self.judged(value, false);
        }
    }

    /// What another witness says. What does not hold or is not about this decision changes nothing.
    pub fn handle(&mut self, statement: Statement, verifier: &mut Verifier) {
        let (version, epoch, _) = statement.place();
        let signer = statement.signer();
        if self.decided
            || (version, epoch) != (self.set.version, self.epoch)
            || signer == self.me
            || !self.set.contains(&signer)
        {
            return;
        }
        let taken = match statement {
            Statement::Proposal(proposal) => self.take_proposal(proposal, verifier),
            Statement::Ballot(ballot) => self.take_ballot(ballot, verifier),
        };
        if taken {
            self.evaluate();
        }
    }

    /// The while of an [`Act::Alarm`] is over.
    pub fn on_alarm(&mut self, round: u32, step: Step) {
        if self.decided || round != self.round {
            return;
        }
        match step {
            Step::Propose if self.step == Step::Propose => self.prevote(None, None),
            Step::Prevote if self.step == Step::Prevote => self.precommit(None),
            Step::Precommit => self.start_round(round.saturating_add(1)),
            Step::Propose | Step::Prevote => {}
        }
        self.evaluate();
    }

    /// Says everything of the present round and the one before again: messages may be lost.
    pub fn again(&mut self) {
        if self.decided {
            return;
        }
        let last = self.round.saturating_sub(1);
        for ballot in self.said.range((last, Phase::Prevote)..).map(|(_, ballot)| ballot.clone()) {
            self.acts.push_back(Act::Send(Statement::Ballot(ballot)));
        }
        if let Some(proposal) = self.proposed.get(&self.round) {
            self.acts.push_back(Act::Send(Statement::Proposal(proposal.clone())));
        }
    }

    /// The ballots seen: evidence if there is ever a second decision.
    pub fn transcript(&self) -> impl Iterator<Item = &Signed<Ballot>> {
        self.ballots.values().flat_map(BTreeMap::values).chain(self.doubles.values())
    }

    /// What grows here: ballots and judgements that are kept.
    pub fn kept(&self) -> usize {
        self.ballots.values().map(BTreeMap::len).sum::<usize>() + self.judged.len()
    }

    // Inputs.

    fn take_proposal(&mut self, proposal: Proposal, verifier: &mut Verifier) -> bool {
        let Proposed { round, value, valid_round, .. } = proposal.head.body;
        let fits = self.proposer(round) == proposal.head.signer
            && round >= self.round
            && !self.proposals.contains_key(&round)
            && proposal.head.open(verifier, &self.pool).is_ok()
            && match valid_round {
                None => proposal.polka.is_empty(),
                Some(before) => before < round && self.is_polka(before, value, &proposal, verifier),
            };
        if !fits {
            return false;
        }
        self.note_round(proposal.head.signer, round);
        if round <= self.round.saturating_add(ROUNDS_AHEAD_MAX) {
            self.proposals.insert(round, proposal);
        }
        true
    }

    fn is_polka(&self, round: u32, value: Digest, of: &Proposal, verifier: &mut Verifier) -> bool {
        let voters = of.polka.iter().map(|(voter, ..)| voter);
        if of.polka.len() < self.set.quorum() || !bounded::strictly_ascending(voters) {
            return false;
        }
        of.polka.iter().all(|(voter, valid_round, signature)| {
            let body = self.ballot(round, Phase::Prevote, Some(value), *valid_round);
            let ballot = Signed { signer: *voter, body, signature: *signature };
            self.set.contains(voter) && ballot.open(verifier, &self.pool).is_ok()
        })
    }

    fn take_ballot(&mut self, ballot: Signed<Ballot>, verifier: &mut Verifier) -> bool {
        let Ballot { round, phase, .. } = ballot.body;
        let known = self.ballots.get(&(round, phase)).and_then(|all| all.get(&ballot.signer));
        let double = known.is_some_and(|known| known.body != ballot.body);
        let wanted = known.is_none() || (double && !self.doubles.contains_key(&ballot.signer));
        let old = round.saturating_add(ROUNDS_KEPT_MAX) < self.round;
        if !wanted || old || ballot.open(verifier, &self.pool).is_err() {
            return false;
        }
        if double {
            self.doubles.insert(ballot.signer, ballot);
            return false;
        }
        self.note_round(ballot.signer, round);
        if round <= self.round.saturating_add(ROUNDS_AHEAD_MAX) {
            self.ballots.entry((round, phase)).or_default().insert(ballot.signer, ballot);
        }
        true
    }

    fn note_round(&mut self, node: NodeId, round: u32) {
        let latest = self.latest.entry(node).or_default();
        *latest = (*latest).max(round);
    }

    // The rules.

    fn start_round(&mut self, round: u32) {
        self.round = round;
        self.step = Step::Propose;
        let oldest = round.saturating_sub(ROUNDS_KEPT_MAX);
        self.ballots.retain(|(of, _), _| *of >= oldest);
        self.proposals.retain(|of, _| *of >= round);
        self.alarms.retain(|(of, _)| *of >= round);
        if self.judged.len() > JUDGED_MAX {
            let held = self.held();
            self.judged.retain(|value, _| Some(*value) == held);
            self.doubts.retain(|value| Some(*value) == held);
        }
        if self.proposer(round) == self.me && !self.proposed.contains_key(&round) {
            match self.valid.clone() {
                Some((before, value, polka)) => self.say_proposal(value, Some(before), polka),
                None => self.acts.push_back(Act::Propose(round)),
            }
        }
        self.alarm(Step::Propose);
    }

    fn evaluate(&mut self) {
        while !self.decided && (self.decide() || self.skip() || self.advance()) {}
    }

    /// A quorum of precommits of one round decides, whatever this node thinks of the value: one of
    /// them is honest and judged it.
    fn decide(&mut self) -> bool {
        let quorum = self.set.quorum();
        let found = self.ballots.iter().find_map(|((round, phase), all)| {
            let value = (*phase == Phase::Precommit).then(|| majority(all, quorum)).flatten()?;
            let agreeing = all.values().filter(|ballot| ballot.body.value == Some(value));
            let votes = agreeing.map(|ballot| (ballot.signer, ballot.signature)).collect();
            Some(Decision { value, round: *round, votes })
        });
        let Some(decision) = found else { return false };
        self.decided = true;
        self.acts.push_back(Act::Decided(decision));
        true
    }

    /// More than f witnesses are in a later round, so an honest one is.
    fn skip(&mut self) -> bool {
        let mut latest: Vec<u32> = self.latest.values().copied().collect();
        latest.sort_unstable_by(|a, b| b.cmp(a));
        match latest.get(self.set.faulty_max()) {
            Some(round) if *round > self.round => {
                self.round = *round - 1;
                self.step = self.step_said(self.round);
                if self.step == Step::Propose {
                    self.prevote(None, None);
                }
                if self.step == Step::Prevote {
                    self.precommit(None);
                }
                self.start_round(*round);
                true
            }
            _ => false,
        }
    }

    /// One step in the present round.
    fn advance(&mut self) -> bool {
        if self.step == Step::Propose && self.answer_proposal() {
            return true;
        }
        let quorum = self.set.quorum();
        let nobody = BTreeMap::new();
        let place = |phase| (self.round, phase);
        let prevotes = self.ballots.get(&place(Phase::Prevote)).unwrap_or(&nobody);
        let precommits = self.ballots.get(&place(Phase::Precommit)).unwrap_or(&nobody);
        let (polka, voted) = (majority(prevotes, quorum), prevotes.len() >= quorum);
        let against = prevotes.values().filter(|b| b.body.value.is_none()).count() >= quorum;
        if precommits.len() >= quorum {
            self.alarm(Step::Precommit);
        }
        if self.step == Step::Propose {
            return false;
        }
        if let Some(value) = polka
            && self.valid.as_ref().is_none_or(|(round, ..)| *round < self.round)
            && (self.judge(value) == Some(true) || self.doubts.contains(&value))
        {
            self.take_polka(value);
            return true;
        }
        if self.step == Step::Prevote && against {
            self.precommit(None);
            return true;
        }
        if self.step == Step::Prevote && voted {
            self.alarm(Step::Prevote);
        }
        false
    }

    /// Prevotes if there is a proposal and it is known whether it is valid.
    fn answer_proposal(&mut self) -> bool {
        let Some(proposal) = self.proposals.get(&self.round) else { return false };
        let Proposed { value, valid_round, .. } = proposal.head.body;
        let Some(valid) = self.judge(value) else { return false };
        // A polka that is shown stands against a doubt.
        let valid = valid || (valid_round.is_some() && self.doubts.contains(&value));
        let free = match self.locked {
            None => true,
            Some((_, locked)) if locked == value => true,
            Some((round, _)) => valid_round.is_some_and(|shown| shown >= round),
        };
        if !(valid && free) {
            self.prevote(None, None);
            return true;
        }
        // A lock is a polka that this node saw itself.
        let own = self.locked.filter(|(_, locked)| *locked == value).map(|(round, _)| round);
        self.prevote(Some(value), valid_round.max(own));
        true
    }

    fn take_polka(&mut self, value: Digest) {
        let prevotes = self.ballots.get(&(self.round, Phase::Prevote));
        let agreeing = prevotes.into_iter().flat_map(BTreeMap::values);
        let agreeing = agreeing.filter(|ballot| ballot.body.value == Some(value));
        let polka = agreeing.map(|b| (b.signer, b.body.valid_round, b.signature)).collect();
        self.valid = Some((self.round, value, polka));
        if self.step == Step::Prevote {
            self.locked = Some((self.round, value));
            self.precommit(Some(value));
        }
    }

    fn judge(&mut self, value: Digest) -> Option<bool> {
        if let Some(judged) = self.judged.get(&value) {
            return *judged;
        }
        self.judged.insert(value, None);
        self.acts.push_back(Act::Judge(value));
        None
    }

    fn alarm(&mut self, step: Step) {
        if self.alarms.insert((self.round, step)) {
            self.acts.push_back(Act::Alarm(self.round, step));
        }
    }

    // What this node says.

    fn ballot(
        &self,
        round: u32,
        phase: Phase,
        value: Option<Digest>,
        valid_round: Option<u32>,
    ) -> Ballot {
        let (version, epoch) = (self.set.version, self.epoch);
        Ballot { version, epoch, round, phase, value, valid_round }
    }

    fn say_proposal(&mut self, value: Digest, valid_round: Option<u32>, polka: Polka) {
        let (version, epoch, round) = (self.set.version, self.epoch, self.round);
        let body = Proposed { version, epoch, round, value, valid_round };
        let proposal = Proposal { head: Signed::seal(body, &self.key, &self.pool), polka };
        self.proposed.insert(round, proposal.clone());
        self.proposals.insert(round, proposal.clone());
        self.persist();
        self.acts.push_back(Act::Send(Statement::Proposal(proposal)));
    }

    fn prevote(&mut self, value: Option<Digest>, valid_round: Option<u32>) {
        self.step = Step::Prevote;
        self.cast(self.ballot(self.round, Phase::Prevote, value, valid_round));
    }

    fn precommit(&mut self, value: Option<Digest>) {
        self.step = Step::Precommit;
        self.cast(self.ballot(self.round, Phase::Precommit, value, None));
    }

    fn cast(&mut self, body: Ballot) {
        let place = (body.round, body.phase);
        if self.said.contains_key(&place) {
            return;
        }
        let ballot = Signed::seal(body, &self.key, &self.pool);
        self.said.insert(place, ballot.clone());
        self.ballots.entry(place).or_default().insert(self.me, ballot.clone());
        self.persist();
        self.acts.push_back(Act::Send(Statement::Ballot(ballot)));
    }

    /// How far this node had come in a round before it restarted.
    fn step_said(&self, round: u32) -> Step {
        let said = |phase| self.said.contains_key(&(round, phase));
        match (said(Phase::Prevote), said(Phase::Precommit)) {
            (_, true) => Step::Precommit,
            (true, false) => Step::Prevote,
            (false, false) => Step::Propose,
        }
    }

    fn persist(&mut self) {
        // What was said in older rounds is never asked for, and cannot be contradicted: rounds only
        // grow.
        let last = self.round.saturating_sub(1);
        let saved = Saved {
            version: self.set.version,
            epoch: self.epoch,
            round: self.round,
            locked: self.locked,
            valid: self.valid.clone(),
            proposed: self.proposed.get(&self.round).cloned().into_iter().collect(),
            said: self.said.range((last, Phase::Prevote)..).map(|(_, b)| b.clone()).collect(),
        };
        let (key, value) = (RECORD_KEY.to_vec(), codec::encode(&saved));
        self.acts.push_back(Act::Persist(Record { key, value }));
        let round = self.round;
        self.said.retain(|(of, _), _| *of >= last);
        self.proposed.retain(|of, _| *of >= round);
    }
}

/// The value that a quorum of ballots is for.
fn majority(all: &BTreeMap<NodeId, Signed<Ballot>>, quorum: usize) -> Option<Digest> {
    let mut counts: BTreeMap<Digest, usize> = BTreeMap::new();
    for value in all.values().filter_map(|ballot| ballot.body.value) {
        *counts.entry(value).or_default() += 1;
    }
    counts.into_iter().find(|(_, count)| *count >= quorum).map(|(value, _)| value)
}

/// The witnesses that broke a rule, by what they signed themselves in one decision: two ballots at one
/// place, or a prevote for another value than the one they had precommitted, with no polka between the
/// two that they could name. Ballots whose signatures hold; an honest witness is never among them.
pub fn culprits<'a>(ballots: impl IntoIterator<Item = &'a Signed<Ballot>>) -> BTreeSet<NodeId> {
    let mut by_voter: BTreeMap<NodeId, Vec<Ballot>> = BTreeMap::new();
    for ballot in ballots {
        by_voter.entry(ballot.signer).or_default().push(ballot.body);
    }
    let breaks = |a: &Ballot, b: &Ballot| {
        let same = (a.version, a.epoch) == (b.version, b.epoch);
        let double = (a.round, a.phase) == (b.round, b.phase) && a != b;
        let unlocked = a.phase == Phase::Precommit
            && b.phase == Phase::Prevote
            && b.round > a.round
            && a.value.is_some()
            && b.value.is_some()
            && a.value != b.value
            && b.valid_round.is_none_or(|shown| shown < a.round);
        same && (double || unlocked)
    };
    let guilty = |said: &[Ballot]| said.iter().any(|a| said.iter().any(|b| breaks(a, b)));
    by_voter.into_iter().filter(|(_, said)| guilty(said)).map(|(voter, _)| voter).collect()
}
