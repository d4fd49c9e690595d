//! Owners that contradict themselves: two heads for one position of a shard.
//!
//! Two signed heads are complete evidence, and so whoever has both tells everybody. What needs an
//! authority is whether an owner that was rolled back (a restored folder, an older snapshot of its
//! machine) put it right in time: the witnesses vote about that (`edge-coherence`). Until they
//! did, answers from the fork on are marked; afterwards the shard ends there, and an owner that did
//! not put it right is named.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, Micros, NodeId, ShardId, Signed, Timestamp};
use edge_coherence::{
    Authority, Ballot, Bonds, Case, Claim, Dag, Deadlines, Decision, Finding, Level, Path,
    Quarantine, State, Subject, Verdict,
};
use edge_ledger::OffenceKind;
use serde::{Deserialize, Serialize};

use super::{Peer, Stored, decode_stored, membership::MEMBERS_MAX};
use crate::{
    command::Standing,
    contest::{Contest, HeadClaim, HeadPair, PAIRS_MAX, REPAIRS_MAX, Repair, Replayed},
    io::Table,
    message::{CollectionSpec, Gossip, Message, ShardHead},
};

/// Shards with a conflict, at most; further conflicts are not taken.
const CASES_MAX: usize = 1_024;
/// ... and those of one owner.
const CASES_OF_ONE_MAX: usize = 16;
/// Conflicts that a node which was away is told at once.
const TOLD_MAX: usize = 32;
/// Contests that do not hold, of one sender, after which nothing more of it is looked into ...
const BONDS: u64 = 8;
/// ... until this has passed for each of them.
const BOND_BACK: Micros = Micros::from_secs(8);
/// An owner waits this long for its other heads before it says which one stands.
const REPAIR_AFTER: Micros = Micros::from_secs(2);
/// Ballots of a case that is not settled are sent again.
const BALLOT_EVERY: Micros = Micros::from_secs(10);
/// Steps between a member and the founder that are followed along its invitations.
const BRANCH_MAX: usize = 64;

/// How a case ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Upheld,
    Rejected { kept: Digest },
}

#[derive(Debug)]
struct Docket {
    spec: Signed<CollectionSpec>,
    index: u32,
    pairs: BTreeMap<(u64, Digest), HeadPair>,
    repairs: BTreeMap<Digest, Signed<Repair>>,
    case: Case,
    own: BTreeMap<Level, Signed<Ballot>>,
    sent: Option<Timestamp>,
    outcome: Option<Outcome>,
    /// As it was proven here; what others are told.
    settled: Option<Contest>,
    /// How long it waited before this process began.
    before: Micros,
    stored: Micros,
    /// As the owner: claims of the log that this node wrote and does not keep.
    abandoned: BTreeSet<Digest>,
}

impl Docket {
    fn contest(&self) -> Contest {
        self.settled.clone().unwrap_or_else(|| Contest {
            spec: self.spec.clone(),
            index: self.index,
            pairs: self.pairs.values().cloned().collect(),
            repairs: self.repairs.values().cloned().collect(),
            decision: None,
        })
    }

    fn fork(&self) -> u64 {
        self.pairs.keys().map(|(seq, _)| *seq).min().unwrap_or(0)
    }

    fn waited(&self, now: Timestamp) -> Micros {
        Micros(self.before.0.saturating_add(now.since(self.case.since()).0))
    }

    fn state(&self, now: Timestamp, within: &Deadlines) -> State {
        self.case.state(now + self.before, within)
    }

    fn kept(&self) -> Option<&Signed<ShardHead>> {
        let Some(Outcome::Rejected { kept }) = self.outcome else { return None };
        let heads = self.repairs.values().map(|repair| &repair.body.kept);
        heads.into_iter().find(|head| HeadClaim(&head.body).digest(&head.signer) == kept)
    }
}

/// What is stored of a conflict.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredCase {
    contest: Contest,
    waited: Micros,
}

/// Conflicts as this node knows them.
#[derive(Debug)]
pub(crate) struct Coherence {
    dockets: BTreeMap<ShardId, Docket>,
    bonds: Bonds<Option<NodeId>>,
}

impl Default for Coherence {
    fn default() -> Self {
        let bonds = Bonds::new(BONDS, BOND_BACK, MEMBERS_MAX + 1);
        Coherence { dockets: BTreeMap::new(), bonds }
    }
}

impl Coherence {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("conflicts of heads", self.dockets.len(), CASES_MAX);
        add("senders of false contests", self.bonds.len(), MEMBERS_MAX + 1);
    }

    /// Whether the owner contradicted itself at this position of a shard or before it: heads from
    /// there on prove nothing against others.
    pub(crate) fn disputes(&self, shard: &ShardId, seq: u64) -> bool {
        self.dockets.get(shard).is_some_and(|docket| seq >= docket.fork())
    }
}

fn case_key(shard: &ShardId) -> Vec<u8> {
    [b"x".as_slice(), shard.as_bytes()].concat()
}

fn ballot_key(shard: &ShardId) -> Vec<u8> {
    [b"y".as_slice(), shard.as_bytes()].concat()
}

impl Peer {
    pub(super) fn restore_coherence(&mut self, stored: &Stored) {
        let rows = stored.table(Table::Shards);
        for (_, value) in rows.iter().filter(|(key, _)| key.starts_with(b"x")) {
            let Some(stored) = decode_stored::<StoredCase>(value) else { continue };
            let Some(shard) = self.open_docket(&stored.contest) else { continue };
            if let Some(docket) = self.coherence.dockets.get_mut(&shard) {
                docket.before = stored.waited;
                docket.stored = stored.waited;
            }
            self.merge(shard, &stored.contest);
            if let Some(outcome) = self.judge(&stored.contest) {
                self.settle_case(shard, outcome, stored.contest);
            }
        }
        for (key, value) in rows.iter().filter(|(key, _)| key.starts_with(b"y")) {
            let Some(ballots) = decode_stored::<Vec<Signed<Ballot>>>(value) else { continue };
            let id = key.get(1..).and_then(|id| <[u8; 32]>::try_from(id).ok());
            let docket = id.and_then(|id| self.coherence.dockets.get_mut(&ShardId(Digest(id))));
            let Some(docket) = docket else { continue };
            for ballot in ballots {
                docket.own.insert(ballot.body.level, ballot.clone());
                // It is counted again where the authority is still the same.
                let _ = docket.case.take(ballot, &mut self.verifier, &self.pool);
            }
        }
    }

    /// Tells a node that was away of contradictions. Where there are more than fit, each meeting
    /// tells of others.
    pub(super) fn tell_contests(&mut self, to: NodeId) {
        let all: Vec<ShardId> = self.coherence.dockets.keys().copied().collect();
        for shard in self.some_of(all, TOLD_MAX) {
            let Some(docket) = self.coherence.dockets.get(&shard) else { continue };
            let contest = docket.contest();
            self.publish_to(to, &Gossip::Contest(Box::new(contest)));
        }
    }

    /// Whether a head, whose signature was not checked yet, contradicts one that is known here.
    pub(super) fn contradicts_known(&mut self, shard: &ShardId, head: &Signed<ShardHead>) -> bool {
        if self.settings.coherence.is_none() {
            return false;
        }
        let known = self.shards.head_at(shard, head.body.seq);
        let Some(known) = known.filter(|k| HeadClaim(&k.body).conflicts(&HeadClaim(&head.body)))
        else {
            return false;
        };
        let pair = HeadPair::new(known.clone(), head.clone());
        if let Some(spec) = self.shards.spec_of(&head.body.collection).cloned() {
            let (index, repairs) = (head.body.index, Vec::new());
            let contest = Contest { spec, index, pairs: vec![pair], repairs, decision: None };
            self.take_contest(None, contest, true);
        }
        true
    }

    /// Whether a head may be taken: nothing is built on a contradiction that is settled, or that an
    /// honest authority found against.
    pub(super) fn admits_head(&self, shard: &ShardId, head: &Signed<ShardHead>) -> bool {
        let (Some(within), Some(docket)) =
            (&self.settings.coherence, self.coherence.dockets.get(shard))
        else {
            return true;
        };
        if head.body.seq < docket.fork() {
            return true;
        }
        let claim = HeadClaim(&head.body).digest(&head.signer);
        match docket.outcome {
            Some(Outcome::Upheld) => false,
            Some(Outcome::Rejected { kept }) => claim == kept,
            None => {
                !docket.abandoned.contains(&claim)
                    && docket.state(self.now, within) != State::Quarantined(Quarantine::Hard)
            }
        }
    }

    /// How a shard stands.
    pub(super) fn standing(&self, shard: &ShardId) -> Standing {
        let (Some(within), Some(docket)) =
            (&self.settings.coherence, self.coherence.dockets.get(shard))
        else {
            return Standing::Sound;
        };
        match (docket.outcome, docket.state(self.now, within)) {
            (Some(Outcome::Upheld), _) => Standing::Upheld,
            (Some(Outcome::Rejected { .. }), _) => Standing::Repaired,
            (None, State::Asserted) => Standing::Sound,
            (None, State::Expired) => Standing::Expired,
            (None, State::Quarantined(Quarantine::Soft)) => Standing::Quarantined,
            (None, State::Quarantined(Quarantine::Hard)) => Standing::HeldBack,
            (None, State::Contested | State::Upheld | State::Rejected { .. }) => {
                Standing::Contested
            }
        }
    }

    /// Whether an answer at a position of a shard rests on what its owner contradicts.
    pub(super) fn is_tainted(&self, shard: &ShardId, seq: u64) -> bool {
        let Some(docket) = self.coherence.dockets.get(shard) else { return false };
        match self.standing(shard) {
            Standing::Sound | Standing::Expired => false,
            Standing::Repaired => docket.kept().is_none_or(|kept| {
                let known = self.shards.head_at(shard, seq);
                seq >= docket.fork() && known.is_none_or(|known| known.body.root != kept.body.root)
            }),
            Standing::Contested | Standing::Quarantined | Standing::HeldBack | Standing::Upheld => {
                let Some(head) = self.shards.head_at(shard, seq) else {
                    return seq >= docket.fork();
                };
                let claim = HeadClaim(&head.body).digest(&head.signer);
                self.taint(shard, docket).contains(&claim)
            }
        }
    }

    /// The claims of a shard that build on a contradiction. A head names no earlier one: it builds
    /// on all claims of the position before it that are known here.
    fn taint(&self, shard: &ShardId, docket: &Docket) -> BTreeSet<Digest> {
        let mut by_seq: BTreeMap<u64, BTreeSet<Digest>> = BTreeMap::new();
        for (seq, head) in self.shards.heads_of(shard) {
            by_seq.entry(seq).or_default().insert(HeadClaim(&head.body).digest(&head.signer));
        }
        for ((seq, _), pair) in &docket.pairs {
            by_seq.entry(*seq).or_default().extend(pair.claims());
        }
        let (mut dag, mut before) = (Dag::default(), BTreeSet::new());
        for claims in by_seq.into_values() {
            for claim in &claims {
                // Far below the bounds of a graph: so many heads of a shard are never known.
                let _ = dag.insert(*claim, before.iter().copied());
            }
            before = claims;
        }
        dag.taint(docket.pairs.values().flat_map(HeadPair::claims))
    }

    /// Evidence that somebody shows: `from` a member, or by gossip; or that this node has itself.
    pub(super) fn on_contest(&mut self, from: Option<NodeId>, contest: Contest) {
        self.take_contest(from, contest, false);
    }

    fn take_contest(&mut self, from: Option<NodeId>, contest: Contest, own: bool) {
        let (owner, shard) = (contest.owner(), contest.shard());
        let known = self.coherence.dockets.get(&shard);
        if self.settings.coherence.is_none()
            || self.bank.is_none()
            || (owner != self.me && !self.members.is_member(&owner))
            || known.is_some_and(|docket| docket.outcome.is_some() || !is_news(docket, &contest))
            || (!own && self.coherence.bonds.left(&from, self.now) == 0)
        {
            return;
        }
        let fresh = known.is_none();
        if contest.check(&mut self.verifier, &self.pool).is_err() {
            if !own {
                self.coherence.bonds.forfeit(&from, self.now);
            }
            return;
        }
        let outcome = self.judge(&contest);
        if outcome.is_none() && contest.decision.is_some() && !own {
            // Its evidence holds, what it says of a verdict does not, as far as can be told here.
            self.coherence.bonds.forfeit(&from, self.now);
        }
        if fresh && self.open_docket(&contest).is_none() {
            return;
        }
        let added = self.merge(shard, &contest);
        if fresh {
            self.note(format!(
                "{} signed two different heads of shard {} at position {}: what rests on them is \
                 contested",
                owner.short(),
                shard.short(),
                contest.fork()
            ));
        }
        match outcome {
            Some(outcome) => self.settle_case(shard, outcome, contest),
            None if !added => return,
            None => {}
        }
        self.store_case(shard);
        self.hand_on_contest(shard, from);
        if owner == self.me {
            self.give_up_own_log(shard);
        }
        self.step_case(shard);
    }

    fn open_docket(&mut self, contest: &Contest) -> Option<ShardId> {
        let (owner, shard) = (contest.owner(), contest.shard());
        let of_owner = |d: &&Docket| d.spec.signer == owner;
        let of_one = self.coherence.dockets.values().filter(of_owner).count();
        if self.coherence.dockets.len() >= CASES_MAX || of_one >= CASES_OF_ONE_MAX {
            return None;
        }
        let case = self.new_case(contest.collection().0, shard, owner, self.now)?;
        let docket = Docket {
            spec: contest.spec.clone(),
            index: contest.index,
            pairs: BTreeMap::new(),
            repairs: BTreeMap::new(),
            case,
            own: BTreeMap::new(),
            sent: None,
            outcome: None,
            settled: None,
            before: Micros(0),
            stored: Micros(0),
            abandoned: BTreeSet::new(),
        };
        self.coherence.dockets.entry(shard).or_insert(docket);
        Some(shard)
    }

    fn new_case(
        &self,
        context: Digest,
        shard: ShardId,
        accused: NodeId,
        since: Timestamp,
    ) -> Option<Case> {
        let set = self.bank.as_ref()?.ledger.witness_set();
        let authority = Authority::each_its_own(set.version, set.members.iter().copied()).ok()?;
        let subject = Subject { context, conflict: shard.0, accused };
        Some(Case::new(subject, authority, since))
    }

    /// Adds evidence that was checked; returns whether there was any that is new.
    fn merge(&mut self, shard: ShardId, contest: &Contest) -> bool {
        let Some(docket) = self.coherence.dockets.get_mut(&shard) else { return false };
        let before = (docket.pairs.len(), docket.repairs.len());
        for pair in &contest.pairs {
            let key = (pair.first.body.seq, Digest::of_value("pair", &pair.claims()));
            if docket.pairs.len() < PAIRS_MAX {
                docket.pairs.entry(key).or_insert_with(|| pair.clone());
            }
        }
        for repair in &contest.repairs {
            if docket.repairs.len() < REPAIRS_MAX {
                docket.repairs.entry(repair.digest()).or_insert_with(|| repair.clone());
            }
        }
        let added = (docket.pairs.len(), docket.repairs.len()) != before;
        self.show_evidence(shard);
        added
    }

    /// Ballots may rest on whatever is known here.
    fn show_evidence(&mut self, shard: ShardId) {
        let Some(docket) = self.coherence.dockets.get(&shard) else { return };
        let contest = Contest { decision: None, ..docket.contest() };
        let epoch = docket.case.authority().epoch;
        let wider: Vec<Authority> = contest
            .repairs
            .iter()
            .filter_map(|repair| self.wider_authority(epoch, &repair.body.kept))
            .collect();
        let Some(docket) = self.coherence.dockets.get_mut(&shard) else { return };
        for evidence in contest.evidence() {
            docket.case.show(evidence);
        }
        for repair in &contest.repairs {
            let kept = &repair.body.kept;
            docket.case.show_kept(HeadClaim(&kept.body).digest(&kept.signer));
        }
        for wider in wider {
            docket.case.show_wider(wider);
        }
    }

    /// Who decides where the witnesses cannot tell: they and those who hold copies, each of whom
    /// counts once for its branch of invitations.
    fn wider_authority(&self, epoch: u64, kept: &Signed<ShardHead>) -> Option<Authority> {
        let witnesses = &self.bank.as_ref()?.ledger.witness_set().members;
        let mut members: BTreeMap<NodeId, Path> = BTreeMap::new();
        for node in kept.body.replicas.iter().filter(|node| **node != kept.signer) {
            members.insert(*node, self.branch(node));
        }
        members.extend(witnesses.iter().map(|node| (*node, Path::own(node))));
        Authority::new(epoch, members).ok()
    }

    /// By whose invitation a member came, of those whom the founder invited. Relays and prefixes
    /// are a node's own word, and not the same everywhere: they are left out.
    fn branch(&self, node: &NodeId) -> Path {
        let mut at = *node;
        for _ in 0..BRANCH_MAX {
            let membership = if at == self.me {
                self.members.own_membership()
            } else {
                self.members.get(&at).and_then(|member| member.membership.as_ref())
            };
            let Some(inviter) = membership.map(|membership| membership.signer) else { break };
            if self.members.founder() == Some(inviter) {
                break;
            }
            at = inviter;
        }
        Path::own(&at)
    }

    /// What a contest's decision decides, if its ballots are a quorum's and rest on its evidence.
    fn judge(&mut self, contest: &Contest) -> Option<Outcome> {
        let Decision { wider, ballots } = contest.decision.as_ref()?;
        let epoch = ballots.first()?.body.epoch;
        let ledger = &self.bank.as_ref()?.ledger;
        let set = ledger.witness_set();
        let members = match epoch {
            epoch if epoch == set.version => set.members.clone(),
            // The founder alone was the first set.
            1 => vec![ledger.genesis().founder],
            _ => return None,
        };
        let authority = Authority::each_its_own(epoch, members).ok()?;
        let (context, conflict) = (contest.collection().0, contest.shard().0);
        let subject = Subject { context, conflict, accused: contest.owner() };
        let mut case = Case::new(subject, authority, self.now);
        for evidence in contest.evidence() {
            case.show(evidence);
        }
        for repair in &contest.repairs {
            let kept = &repair.body.kept;
            case.show_kept(HeadClaim(&kept.body).digest(&kept.signer));
        }
        if let Some(wider) = wider {
            case.show_wider(wider.clone());
        }
        for ballot in ballots {
            case.take(ballot.clone(), &mut self.verifier, &self.pool).ok()?;
        }
        match case.verdict()?.1 {
            Verdict::Uphold => Some(Outcome::Upheld),
            Verdict::Reject { kept } => Some(Outcome::Rejected { kept }),
            Verdict::Escalate { .. } => None,
        }
    }

    /// A case is settled: an owner that is found against is named, the shard ends.
    fn settle_case(&mut self, shard: ShardId, outcome: Outcome, contest: Contest) {
        let Some(docket) = self.coherence.dockets.get_mut(&shard) else { return };
        let owner = docket.spec.signer;
        docket.outcome = Some(outcome);
        // What was decided on takes the place of what was heard.
        let key = |pair: &HeadPair| (pair.first.body.seq, Digest::of_value("pair", &pair.claims()));
        docket.pairs = contest.pairs.iter().map(|pair| (key(pair), pair.clone())).collect();
        let repairs = contest.repairs.iter();
        docket.repairs = repairs.map(|repair| (repair.digest(), repair.clone())).collect();
        docket.settled = Some(contest);
        let (fork, kept) = (docket.fork(), docket.kept().cloned());
        match outcome {
            Outcome::Upheld => {
                self.note(format!(
                    "{} signed two heads of shard {} and did not put it right: it is named, its \
                     stake is lost, and the shard ends at position {}",
                    owner.short(),
                    shard.short(),
                    fork.saturating_sub(1)
                ));
                self.name_forker(owner);
            }
            Outcome::Rejected { .. } => {
                let Some(kept) = kept else { return };
                self.note(format!(
                    "{} put right that it signed two heads of shard {}: it ends at position {}",
                    owner.short(),
                    shard.short(),
                    kept.body.seq
                ));
                self.keep_only(shard, fork, kept);
            }
        }
        self.step_searches_of(shard);
    }

    fn name_forker(&mut self, owner: NodeId) {
        self.offended(owner, OffenceKind::Contest, true);
        if self.faults.names(&owner) || owner == self.me {
            return;
        }
        self.faults.name(owner);
        if let Some(member) = self.members.get_mut(&owner) {
            member.faults += 1;
        }
        self.drop_liar(owner);
    }

    fn store_case(&mut self, shard: ShardId) {
        let now = self.now;
        let Some(docket) = self.coherence.dockets.get_mut(&shard) else { return };
        docket.stored = docket.waited(now);
        let stored = StoredCase { contest: docket.contest(), waited: docket.stored };
        self.persist(Table::Shards, &case_key(&shard), &stored);
    }

    /// Tells everybody, and some neighbours directly: what one loses another brings.
    fn hand_on_contest(&mut self, shard: ShardId, from: Option<NodeId>) {
        let Some(docket) = self.coherence.dockets.get(&shard) else { return };
        let gossip = Gossip::Contest(Box::new(docket.contest()));
        if from.is_none() {
            self.publish(&gossip);
        }
        self.hand_on(&gossip, from);
    }

    // The owner.

    /// This node's key signed two heads, and so the log here is not the only one: this data was
    /// rolled back or copied. What others hold stays, what was written here since does not.
    fn give_up_own_log(&mut self, shard: ShardId) {
        let Some(docket) = self.coherence.dockets.get(&shard) else { return };
        let (fork, collection) = (docket.fork(), docket.spec.body.id(&docket.spec.signer));
        let pairs: Vec<HeadPair> = docket.pairs.values().cloned().collect();
        if !self.shards.writes(&shard) {
            return;
        }
        let written = self.shards.take_heads_from(&shard, fork);
        let claims = written.iter().map(|head| HeadClaim(&head.body).digest(&head.signer));
        let claims: BTreeSet<Digest> = claims.collect();
        let others = pairs.into_iter().flat_map(|pair| [pair.first, pair.second]);
        let others: Vec<_> = others
            .filter(|head| !claims.contains(&HeadClaim(&head.body).digest(&head.signer)))
            .collect();
        if let Some(docket) = self.coherence.dockets.get_mut(&shard) {
            docket.abandoned = claims;
        }
        for head in others {
            self.insert_head(head);
        }
        self.lose_log(collection);
    }

    /// Says which head stands: the last one of those that this node did not write in this life.
    fn repair_own(&mut self, shard: ShardId) {
        let Some(docket) = self.coherence.dockets.get(&shard) else { return };
        let silent = docket.spec.signer == self.me
            && docket.repairs.is_empty()
            && docket.outcome.is_none()
            && self.now.since(docket.case.since()) >= REPAIR_AFTER;
        if !silent {
            return;
        }
        let fork = docket.fork();
        let stays = |head: &&Signed<ShardHead>| {
            let claim = HeadClaim(&head.body).digest(&head.signer);
            head.body.seq >= fork && !docket.abandoned.contains(&claim)
        };
        let known = self.shards.heads_of(&shard).map(|(_, head)| head).filter(stays).last();
        let pair = docket.pairs.values().map(|pair| &pair.first).next_back();
        let Some(kept) = known.or(pair).cloned() else { return };
        let mut contest = docket.contest();
        contest.repairs = vec![Signed::seal(Repair { kept }, &self.key, &self.pool)];
        self.take_contest(None, contest, true);
    }

    // The authority.

    /// What this node's own copy says about a head. Executing the log gave the root.
    fn finding(&self, head: &ShardHead, shard: &ShardId) -> Finding {
        let replayed = self.shards.replicas.get(shard).and_then(|copy| {
            let (chain, root) = copy.at(head.seq)?;
            Some(Replayed { seq: head.seq, chain, root })
        });
        HeadClaim(head).verify(&replayed)
    }

    /// Steps every case that is not settled: times pass.
    pub(super) fn step_cases(&mut self) {
        let Some(within) = self.settings.coherence else { return };
        let open = self.coherence.dockets.iter().filter(|(_, docket)| docket.outcome.is_none());
        for shard in open.map(|(shard, _)| *shard).collect::<Vec<_>>() {
            let now = self.now;
            let due = self.coherence.dockets.get(&shard).is_some_and(|docket| {
                docket.waited(now).0 - docket.stored.0 >= within.repair.0 / 32
            });
            if due {
                self.store_case(shard);
            }
            self.repair_own(shard);
            self.step_case(shard);
        }
    }

    fn step_case(&mut self, shard: ShardId) {
        let Some(within) = self.settings.coherence else { return };
        if self.coherence.dockets.get(&shard).is_none_or(|docket| docket.outcome.is_some()) {
            return;
        }
        self.seat_authority(shard);
        for level in [Level::Narrow, Level::Wide] {
            if let Some(verdict) = self.own_verdict(shard, level, &within) {
                self.vote_in_case(shard, level, verdict);
            }
        }
        self.send_ballots(shard);
        let Some(docket) = self.coherence.dockets.get(&shard) else { return };
        let Some(decision) = docket.case.decision() else { return };
        let contest = Contest { decision: Some(decision), ..docket.contest() };
        if let Some(outcome) = self.judge(&contest) {
            self.settle_case(shard, outcome, contest);
            self.store_case(shard);
            self.hand_on_contest(shard, None);
        }
    }

    /// Another witness set begins to vote anew; a member of both votes as before.
    fn seat_authority(&mut self, shard: ShardId) {
        let Some(docket) = self.coherence.dockets.get(&shard) else { return };
        let version = self.bank.as_ref().map(|bank| bank.ledger.witness_set().version);
        if version == Some(docket.case.authority().epoch) {
            return;
        }
        let Subject { context, accused, .. } = *docket.case.subject();
        let since = docket.case.since();
        let Some(case) = self.new_case(context, shard, accused, since) else { return };
        if let Some(docket) = self.coherence.dockets.get_mut(&shard) {
            docket.case = case;
            docket.sent = None;
        }
        self.show_evidence(shard);
    }

    /// What this node finds at a level, if it has a vote there and can tell.
    fn own_verdict(&self, shard: ShardId, level: Level, within: &Deadlines) -> Option<Verdict> {
        let docket = self.coherence.dockets.get(&shard)?;
        let epoch = docket.case.authority().epoch;
        let authority = match level {
            Level::Narrow => docket.case.authority(),
            Level::Wide => docket.case.sealed()?,
        };
        let voted = docket.own.get(&level);
        if !self.votes()
            || !authority.contains(&self.me)
            || docket.spec.signer == self.me
            || voted.is_some_and(|ballot| ballot.body.epoch == epoch)
        {
            return None;
        }
        if let Some(before) = voted {
            return Some(before.body.verdict);
        }
        let waited = docket.waited(self.now);
        let mut repairs = docket.repairs.values();
        let (first, second) = (repairs.next(), repairs.next());
        let Some(repair) = first else {
            return (waited >= within.repair).then_some(Verdict::Uphold);
        };
        let kept = &repair.body.kept;
        if second.is_some_and(|other| {
            HeadClaim(&other.body.kept.body).digest(&kept.signer)
                != HeadClaim(&kept.body).digest(&kept.signer)
        }) {
            return Some(Verdict::Uphold);
        }
        match self.finding(&kept.body, &shard) {
            Finding::True => {
                Some(Verdict::Reject { kept: HeadClaim(&kept.body).digest(&kept.signer) })
            }
            Finding::False => Some(Verdict::Uphold),
            // So many found alike that one of them is not faulty, and could tell.
            Finding::Unknown if docket.case.vouched(level).is_some() => docket.case.vouched(level),
            Finding::Unknown if level == Level::Narrow && waited >= within.escalate => {
                let wider = self.wider_authority(epoch, kept)?;
                Some(Verdict::Escalate { wider: wider.digest() })
            }
            Finding::Unknown => None,
        }
    }

    /// Votes: the ballot is durable before it leaves, and there is no second one at its level.
    fn vote_in_case(&mut self, shard: ShardId, level: Level, verdict: Verdict) {
        let Some(docket) = self.coherence.dockets.get(&shard) else { return };
        let subject = *docket.case.subject();
        let Some(pair) = docket.pairs.values().next() else { return };
        let repairs = docket.repairs.keys().copied();
        let body = Ballot {
            context: subject.context,
            epoch: docket.case.authority().epoch,
            level,
            conflict: subject.conflict,
            evidence: edge_coherence::evidence_root(pair.claims().into_iter().chain(repairs)),
            verdict,
        };
        let ballot = Signed::seal(body, &self.key, &self.pool);
        let Some(docket) = self.coherence.dockets.get_mut(&shard) else { return };
        docket.own.insert(level, ballot.clone());
        docket.sent = None;
        let own: Vec<Signed<Ballot>> = docket.own.values().cloned().collect();
        self.persist(Table::Shards, &ballot_key(&shard), &own);
        if let Some(docket) = self.coherence.dockets.get_mut(&shard) {
            // One's own is refused only where one has no vote, and then nobody counts it.
            let _ = docket.case.take(ballot, &mut self.verifier, &self.pool);
        }
    }

    /// Sends this node's ballots, and the evidence before them, to all who vote.
    fn send_ballots(&mut self, shard: ShardId) {
        let now = self.now;
        let Some(docket) = self.coherence.dockets.get_mut(&shard) else { return };
        let recently = docket.sent.is_some_and(|at| now.since(at) < BALLOT_EVERY);
        if recently || docket.own.is_empty() {
            return;
        }
        docket.sent = Some(now);
        let Some(docket) = self.coherence.dockets.get(&shard) else { return };
        let gossip = Gossip::Contest(Box::new(docket.contest()));
        let ballots: Vec<Signed<Ballot>> = docket.own.values().cloned().collect();
        let epoch = docket.case.authority().epoch;
        let mut voters: BTreeSet<NodeId> = docket.case.authority().members().copied().collect();
        for repair in docket.repairs.values() {
            let wider = self.wider_authority(epoch, &repair.body.kept);
            voters.extend(wider.iter().flat_map(Authority::members));
        }
        voters.remove(&self.me);
        for voter in voters {
            self.publish_to(voter, &gossip);
            for ballot in &ballots {
                self.send(voter, &Message::Ballot(Box::new(ballot.clone())));
            }
        }
    }

    /// A ballot; of whom is in it.
    pub(super) fn on_ballot(&mut self, ballot: Signed<Ballot>) {
        let shard = ShardId(ballot.body.conflict);
        let Some(docket) = self.coherence.dockets.get_mut(&shard) else { return };
        if docket.outcome.is_some() {
            return;
        }
        match docket.case.take(ballot, &mut self.verifier, &self.pool) {
            Ok(true) => self.step_case(shard),
            Ok(false) => {}
            Err(_) => self.counters.inputs_refused += 1,
        }
    }
}

/// Whether a contest says something that is not known.
fn is_news(docket: &Docket, contest: &Contest) -> bool {
    let pair = |pair: &HeadPair| {
        let key = (pair.first.body.seq, Digest::of_value("pair", &pair.claims()));
        !docket.pairs.contains_key(&key) && docket.pairs.len() < PAIRS_MAX
    };
    let repair = |repair: &Signed<Repair>| {
        !docket.repairs.contains_key(&repair.digest()) && docket.repairs.len() < REPAIRS_MAX
    };
    contest.decision.is_some()
        || contest.pairs.iter().any(pair)
        || contest.repairs.iter().any(repair)
}
