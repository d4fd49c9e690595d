//! Audits as the peer lives them: work that checkpoints assign, and that new credits are made for.
//!
//! A requester offers the witnesses tasks that strangers did for it. A checkpoint names some; who is drawn by
//! its digest fetches the payload, executes it and says a commit to every witness until the next
//! checkpoint has it, then the reveal until the one after that has it. A witness fetches every payload
//! that was committed to: what is not to be had, is of another size than was signed or cannot be executed
//! here is not certified. It executes half of them as well, those that nobody else can foresee, and
//! certifies nothing that differs; who revealed what differs is marked, and the other witnesses are asked
//! to look for themselves.
//!
//! Nothing is stored: salts follow from the key, and results are executed again after a restart.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, Domain, Micros, NodeId, Signed, SignedBody, TaskId, Timestamp, Work};
use edge_ledger::{
    AUDIT_BYTES_MAX, AUDITORS, AUDITS_MAX, AUDITS_PER_REQUESTER, Assignment, AuditCommits,
    Certified, Commit, OffenceKind, Plan, Reveal, commit_hash, is_audited,
};
use serde::{Deserialize, Serialize};

use super::{
    Peer, Purpose,
    branches::DEPTH_MAX,
    content::{Audience, Waiter, content_digest},
};
use crate::{io::Urgency, message::Message};

/// Tasks offered to a witness that no checkpoint has named; at the bound new ones are dropped.
const OFFERED_MAX: usize = 256;
/// Offers, commits and reveals are said again after this.
const SAY_EVERY: Micros = Micros::from_secs(10);
/// A payload that did not come is asked for again after this, of the next who should have it.
const FETCH_EVERY: Micros = Micros::from_secs(5);
/// Results are certified once they were revealed so long ago that doubts had time to come.
const DOUBTS_WITHIN: Micros = Micros::from_secs(3);
/// From this round of an agreement on results are left out: not every witness can have them.
const ROUND_WITHOUT: u32 = 3;

/// What a salt follows from: signed by the auditor and shown to nobody.
#[derive(Clone, Serialize, Deserialize)]
struct AuditSalt {
    task: TaskId,
}

impl SignedBody for AuditSalt {
    const DOMAIN: Domain = Domain("task/audit-salt");
}

/// How far a node is with a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// Its payload is not here: when it was asked for last, and how often.
    Absent(Option<Timestamp>, usize),
    /// Its payload is here and has the size that was signed.
    Here,
    Running,
    /// What it gives; `None` if it cannot be executed, or is of another size than was signed.
    Done(Option<Digest>),
}

/// A task that this node executes as an auditor or to check auditors, or has to have.
#[derive(Debug)]
struct Run {
    assignment: Assignment,
    /// Who should have the payload.
    sources: Vec<NodeId>,
    executes: bool,
    progress: Progress,
}

impl Run {
    fn digest(&self) -> Option<Digest> {
        match self.progress {
            Progress::Done(digest) => digest,
            Progress::Absent(..) | Progress::Here | Progress::Running => None,
        }
    }
}

/// Assigned work as this node knows it.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    /// The last checkpoint that was looked at.
    beacon: Option<Digest>,
    /// Own tasks that witnesses may have named; those of the present epoch.
    own: Vec<Signed<Assignment>>,
    /// Offered to this witness.
    offered: BTreeMap<TaskId, Signed<Assignment>>,
    runs: BTreeMap<TaskId, Run>,
    /// Of the tasks that the last checkpoint has commits to, those this witness checks.
    checks: BTreeSet<TaskId>,
    commits: BTreeMap<(TaskId, NodeId), Signed<Commit>>,
    /// With the time they were heard.
    reveals: BTreeMap<(TaskId, NodeId), (Signed<Reveal>, Timestamp)>,
    /// Of which this witness knows that somebody lied.
    doubted: BTreeSet<TaskId>,
    said: Timestamp,
}

impl Audits {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("own tasks to audit", self.own.len(), AUDITS_PER_REQUESTER);
        add("tasks offered for audits", self.offered.len(), OFFERED_MAX);
        add("audits under way", self.runs.len(), 2 * AUDITS_MAX);
        add("commits of auditors", self.commits.len(), AUDITS_MAX * AUDITORS);
        add("reveals of auditors", self.reveals.len(), AUDITS_MAX * AUDITORS);
    }
}

impl Peer {
    // The requester.

    /// A task of strangers was accepted: a few of them are offered for audits.
    pub(super) fn offer_audit(&mut self, task: TaskId, agreed: &[NodeId]) {
        let Some(found) = self.tasks.all.get(&task) else { return };
        let fits = is_audited(found.kind)
            && found.is_public()
            && (1..=AUDIT_BYTES_MAX).contains(&(found.payload.len() as u64))
            && self.audits.own.len() < AUDITS_PER_REQUESTER;
        let stranger = |node: &&NodeId| !self.members.is_trusted(node);
        let worker = agreed.iter().find(stranger).filter(|_| fits);
        let part = worker.and_then(|worker| found.parts.get(worker));
        let assignment = part.and_then(|part| part.assignment.clone());
        let Some(assignment) = assignment.filter(|a| a.body.escrow.is_some()) else { return };
        self.content.keep(found.digest, found.payload.clone(), Audience::Members);
        self.audits.own.push(assignment);
        self.say_audits();
    }

    // The draw.

    /// The branch of a node: who hangs on the same invitation of the founder is one.
    pub(super) fn branch_of(&self, node: &NodeId) -> NodeId {
        let mut at = self.leader(node);
        for _ in 0..=DEPTH_MAX {
            if !self.settings.weighs_branches || self.is_founders(&at) {
                return at;
            }
            let Some(by) = self.inviter_of(&at) else { return at };
            if self.is_founders(&by) {
                return at;
            }
            at = self.leader(&by);
        }
        at
    }

    /// Who executes a task that the last checkpoint names: the first of the draw, each of another branch
    /// than who asked, who worked, and each other.
    fn drawn(&self, assignment: &Assignment) -> Vec<NodeId> {
        let Some(base) = self.bank.as_ref().and_then(|bank| bank.ledger.base()) else {
            return Vec::new();
        };
        let mut taken = BTreeSet::from([
            self.branch_of(&assignment.requester),
            self.branch_of(&assignment.worker),
        ]);
        let mut drawn = base.draw(assignment);
        drawn.retain(|node| taken.insert(self.branch_of(node)));
        drawn.truncate(AUDITORS);
        drawn
    }

    // Everybody, with each checkpoint and again and again.

    pub(super) fn step_audits(&mut self) {
        let now = self.now;
        let Some(base) = self.bank.as_ref().and_then(|bank| bank.ledger.base()).cloned() else {
            return;
        };
        let resolutions = &base.decided.resolutions;
        let beacon = base.decided.sealed.checkpoint.digest();
        if self.audits.beacon != Some(beacon) {
            self.audits.beacon = Some(beacon);
            self.audits.own.clear();
            let committed = resolutions.commits.iter().map(|c| c.assignment.body.task);
            let committed: BTreeSet<TaskId> = committed.collect();
            self.audits.runs.retain(|task, _| committed.contains(task));
            self.audits.commits.clear();
            self.audits.reveals.clear();
            self.audits.checks.clear();
            self.audits.doubted.clear();
            // What was not named had no room, or does not hold: its requester has others.
            self.audits.offered.clear();
            for assignment in &resolutions.audits {
                if self.drawn(&assignment.body).contains(&self.me) {
                    self.want_run(&assignment.body, &[], true);
                }
            }
            for AuditCommits { assignment, commits } in &resolutions.commits {
                let own = commits.iter().any(|commit| commit.signer == self.me);
                // Nobody can foresee which a witness checks.
                let checks = self.is_witness() && !own && self.rng.below(2) == 0;
                if checks {
                    self.audits.checks.insert(assignment.body.task);
                }
                if own || self.is_witness() {
                    self.want_run(&assignment.body, commits, own || checks);
                }
            }
            self.say_audits();
        }
        self.start_runs();
        if now.since(self.audits.said) >= SAY_EVERY {
            self.say_audits();
        }
    }

    pub(super) fn is_witness(&self) -> bool {
        let set = self.bank.as_ref().map(|bank| bank.ledger.witness_set());
        set.is_some_and(|set| set.contains(&self.me)) && self.votes()
    }

    /// A task is wanted here: its payload at least. Auditors that committed to it have that as well.
    fn want_run(&mut self, assignment: &Assignment, by: &[Signed<Commit>], executes: bool) {
        let committed = by.iter().map(|commit| commit.signer).filter(|node| *node != self.me);
        let sources: Vec<NodeId> = [assignment.requester].into_iter().chain(committed).collect();
        if let Some(run) = self.audits.runs.get_mut(&assignment.task) {
            (run.executes, run.sources) = (run.executes || executes, sources);
            return;
        }
        if self.executes_audit(assignment) && self.audits.runs.len() < 2 * AUDITS_MAX {
            let (assignment, progress) = (assignment.clone(), Progress::Absent(None, 0));
            let task = assignment.task;
            self.audits.runs.insert(task, Run { assignment, sources, executes, progress });
        }
    }

    fn executes_audit(&self, assignment: &Assignment) -> bool {
        self.takes_work() && self.settings.pins.contains(&assignment.pins)
    }

    /// Executes what is here, and asks for what is not.
    fn start_runs(&mut self) {
        let now = self.now;
        for task in self.audits.runs.keys().copied().collect::<Vec<_>>() {
            let Some(run) = self.audits.runs.get(&task) else { continue };
            let (kind, content) = (run.assignment.kind, run.assignment.payload);
            let asked = match run.progress {
                Progress::Running | Progress::Done(_) => continue,
                Progress::Here if !run.executes => continue,
                Progress::Here => (None, 0),
                Progress::Absent(at, times) => (at, times),
            };
            if let Some(payload) = self.content.get(&content) {
                // A payload of another size than was signed is not what is paid for.
                let fits = payload.len() as u64 == run.assignment.payload_bytes;
                let progress = match (fits, run.executes) {
                    (false, _) => Progress::Done(None),
                    (true, true) if !self.works_full() => Progress::Running,
                    (true, _) => Progress::Here,
                };
                self.mark_run(task, progress);
                if progress == Progress::Running {
                    let what = Work::Run { kind, payload };
                    self.execute(what, Urgency::Background, Purpose::Audit(task));
                }
            } else if asked.0.is_none_or(|at| now.since(at) >= FETCH_EVERY) {
                let source = run.sources[asked.1 % run.sources.len()];
                self.mark_run(task, Progress::Absent(Some(now), asked.1 + 1));
                self.fetch(content, source, Waiter::Audit, Audience::Members);
            }
        }
    }

    fn mark_run(&mut self, task: TaskId, progress: Progress) {
        if let Some(run) = self.audits.runs.get_mut(&task) {
            run.progress = progress;
        }
    }

    pub(super) fn on_audit_executed(&mut self, task: TaskId, outcome: Result<Vec<u8>, String>) {
        let digest = outcome.ok().map(|bytes| content_digest(&bytes));
        self.mark_run(task, Progress::Done(digest));
        self.say_audits();
        self.judge_reveals(task);
    }

    /// Own commit and reveal for a task.
    fn own_answer(&self, task: &TaskId) -> Option<(Commit, Reveal)> {
        let digest = self.audits.runs.get(task)?.digest()?;
        let salt = Signed::seal(AuditSalt { task: *task }, &self.key, &self.pool).signature;
        let salt = Digest::of_value("audit-salt", &salt);
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&salt.0[..16]);
        let hash = commit_hash(task, &self.me, &nonce, &digest);
        let (task, worker) = (*task, self.me);
        Some((Commit { task, worker, hash }, Reveal { task, worker, nonce, digest }))
    }

    /// Says everything of the present epoch to every witness.
    fn say_audits(&mut self) {
        self.audits.said = self.now;
        let Some(bank) = &self.bank else { return };
        let witnesses = bank.ledger.witness_set().members.clone();
        if witnesses.len() == 1 {
            return;
        }
        self.say_doubts();
        let Some(bank) = &self.bank else { return };
        let mut said: Vec<Message> = Vec::new();
        said.extend(self.audits.own.iter().map(|own| Message::Audit(Box::new(own.clone()))));
        if let Some(base) = bank.ledger.base().cloned() {
            let resolutions = &base.decided.resolutions;
            for assignment in &resolutions.audits {
                if let Some((commit, _)) = self.own_answer(&assignment.body.task)
                    && self.drawn(&assignment.body).contains(&self.me)
                {
                    let commit = Signed::seal(commit, &self.key, &self.pool);
                    said.push(Message::AuditCommit(commit));
                }
            }
            for AuditCommits { assignment, commits } in &resolutions.commits {
                // What was said before a restart, or by another build, is not opened by anything else.
                if let Some((commit, reveal)) = self.own_answer(&assignment.body.task)
                    && commits.iter().any(|named| named.body == commit)
                {
                    said.push(Message::AuditReveal(Signed::seal(reveal, &self.key, &self.pool)));
                }
            }
        }
        for message in said {
            for witness in &witnesses {
                if *witness == self.me {
                    self.hear_audit(self.me, message.clone());
                } else {
                    self.send(*witness, &message);
                }
            }
        }
    }

    // The witness.

    /// What requesters and auditors say.
    pub(super) fn hear_audit(&mut self, from: NodeId, message: Message) {
        if !self.is_witness() {
            return;
        }
        match message {
            Message::Audit(assignment) => self.on_audit_offer(from, *assignment),
            Message::AuditCommit(commit) => self.on_audit_commit(from, commit),
            Message::AuditReveal(reveal) => self.on_audit_reveal(from, reveal),
            Message::AuditDoubt(task) => self.on_audit_doubt(from, task),
            _ => {}
        }
    }

    fn on_audit_offer(&mut self, from: NodeId, assignment: Signed<Assignment>) {
        let body = &assignment.body;
        let task = body.task;
        let of_it = self.audits.offered.values().filter(|offered| offered.signer == from).count();
        let fits = assignment.signer == from
            && body.requester == from
            && is_audited(body.kind)
            && (1..=AUDIT_BYTES_MAX).contains(&body.payload_bytes)
            && body.names_its_task();
        if fits
            && of_it < AUDITS_PER_REQUESTER
            && self.audits.offered.len() < OFFERED_MAX
            && !self.audits.offered.contains_key(&task)
            && assignment.open(&mut self.verifier, &self.pool).is_ok()
        {
            self.audits.offered.insert(task, assignment);
        }
    }

    fn on_audit_commit(&mut self, from: NodeId, commit: Signed<Commit>) {
        let Some(base) = self.bank.as_ref().and_then(|bank| bank.ledger.base()).cloned() else {
            return;
        };
        let place = (commit.body.task, from);
        let of_it = |a: &&Signed<Assignment>| a.body.task == commit.body.task;
        let named = base.decided.resolutions.audits.iter().find(of_it);
        let drawn = named.is_some_and(|named| self.may_audit(&named.body, &from));
        if drawn
            && commit.signer == from
            && commit.body.worker == from
            && !self.audits.commits.contains_key(&place)
            && commit.open(&mut self.verifier, &self.pool).is_ok()
        {
            self.audits.commits.insert(place, commit);
        }
    }

    fn on_audit_reveal(&mut self, from: NodeId, reveal: Signed<Reveal>) {
        let Some(base) = self.bank.as_ref().and_then(|bank| bank.ledger.base()).cloned() else {
            return;
        };
        let task = reveal.body.task;
        let commits = base.decided.resolutions.commits.iter();
        let commit = commits
            .filter(|c| c.assignment.body.task == task)
            .find_map(|c| c.commits.iter().find(|commit| commit.signer == from));
        if commit.is_some_and(|commit| reveal.body.opens(&commit.body))
            && reveal.signer == from
            && !self.audits.reveals.contains_key(&(task, from))
            && reveal.open(&mut self.verifier, &self.pool).is_ok()
        {
            self.audits.reveals.insert((task, from), (reveal, self.now));
            self.judge_reveals(task);
        }
    }

    /// Another witness found that an auditor lied: this one looks for itself.
    fn on_audit_doubt(&mut self, from: NodeId, task: TaskId) {
        let Some(bank) = &self.bank else { return };
        let Some(base) = bank.ledger.base().cloned() else { return };
        if !bank.ledger.witness_set().contains(&from) {
            return;
        }
        let commits = &base.decided.resolutions.commits;
        let Some(found) = commits.iter().find(|c| c.assignment.body.task == task) else { return };
        self.audits.checks.insert(task);
        self.want_run(&found.assignment.body, &found.commits, true);
        self.start_runs();
        self.judge_reveals(task);
    }

    /// Compares what was revealed of a task with each other and with what this witness executed itself.
    fn judge_reveals(&mut self, task: TaskId) {
        if !self.is_witness() || !self.settings.checks_audits {
            return;
        }
        let range = (task, NodeId([0; 32]))..=(task, NodeId([0xff; 32]));
        let revealed = self.audits.reveals.range(range);
        let revealed = revealed.map(|((_, by), (reveal, _))| (*by, reveal.body.digest));
        let revealed: Vec<(NodeId, Digest)> = revealed.collect();
        let differ = revealed.windows(2).any(|two| two[0].1 != two[1].1);
        let right = self.audits.runs.get(&task).and_then(Run::digest);
        let Some(right) = right else {
            if differ {
                self.on_audit_doubt_of_own(task);
            }
            return;
        };
        let wrong = revealed.iter().filter(|(by, digest)| *digest != right && *by != self.me);
        let wrong: Vec<NodeId> = wrong.map(|(by, _)| *by).collect();
        if !wrong.is_empty() && self.audits.doubted.insert(task) {
            self.say_doubts();
        }
        for liar in wrong {
            if self.faults.names(&liar) {
                continue;
            }
            self.offended(liar, OffenceKind::Fault, true);
            self.faults.name(liar);
            self.note(format!("{} was drawn for an audit and lied", liar.short()));
            self.drop_liar(liar);
        }
    }

    /// Asks the other witnesses to look at what this one found false, whoever said it and whatever is known
    /// of them already.
    fn say_doubts(&mut self) {
        let Some(bank) = &self.bank else { return };
        let mut witnesses = bank.ledger.witness_set().members.clone();
        witnesses.retain(|witness| *witness != self.me);
        for task in self.audits.doubted.clone() {
            for witness in &witnesses {
                self.send(*witness, &Message::AuditDoubt(task));
            }
        }
    }

    fn on_audit_doubt_of_own(&mut self, task: TaskId) {
        if !self.audits.checks.contains(&task) {
            self.on_audit_doubt(self.me, task);
        }
    }

    /// Whether a checkpoint is wanted for assigned work, once it is time for one.
    pub(super) fn audit_is_due(&self) -> bool {
        let base = self.bank.as_ref().and_then(|bank| bank.ledger.base());
        let under_way = base.is_some_and(|base| {
            let resolutions = &base.decided.resolutions;
            !resolutions.audits.is_empty() || !resolutions.commits.is_empty()
        });
        under_way || !self.audits.offered.is_empty()
    }

    /// Whether a commit of this node is heard: one of the drawn, or, where nobody looks, of the first.
    fn may_audit(&self, assignment: &Assignment, node: &NodeId) -> bool {
        if self.settings.checks_audits {
            return self.drawn(assignment).contains(node);
        }
        self.heard_commits(&assignment.task).count() < AUDITORS
    }

    fn heard_commits(&self, task: &TaskId) -> impl Iterator<Item = &Signed<Commit>> {
        let range = (*task, NodeId([0; 32]))..=(*task, NodeId([0xff; 32]));
        self.audits.commits.range(range).map(|(_, commit)| commit)
    }

    /// What this witness would have a checkpoint say of audits in a round of the agreement.
    pub(super) fn audit_resolutions(
        &self,
        round: u32,
    ) -> (Vec<Signed<Assignment>>, Vec<AuditCommits>, Vec<Certified>) {
        let Some(bank) = &self.bank else { return Default::default() };
        let Some(base) = bank.ledger.base() else {
            // The first checkpoint names tasks as well.
            return (self.offers(), Vec::new(), Vec::new());
        };
        let resolutions = &base.decided.resolutions;
        let commits = resolutions.audits.iter().filter_map(|assignment| {
            let drawn = self.drawn(&assignment.body);
            let counts = |commit: &&Signed<Commit>| {
                !self.settings.checks_audits || drawn.contains(&commit.signer)
            };
            // They ascend by auditor.
            let heard = self.heard_commits(&assignment.body.task).filter(counts);
            let commits: Vec<Signed<Commit>> = heard.cloned().collect();
            (commits.len() == AUDITORS)
                .then(|| AuditCommits { assignment: assignment.clone(), commits })
        });
        let certified = resolutions.commits.iter().filter_map(|commits| {
            let task = commits.assignment.body.task;
            let heard = |c: &Signed<Commit>| self.audits.reveals.get(&(task, c.signer));
            let reveal = |c: &Signed<Commit>| heard(c).map(|(reveal, _)| reveal.clone());
            let reveals: Option<Vec<Signed<Reveal>>> = commits.commits.iter().map(reveal).collect();
            let certified = Certified { task, reveals: reveals? };
            let right = self.believes(&certified) == Some(true);
            (right && round < ROUND_WITHOUT).then_some(certified)
        });
        (self.offers(), commits.collect(), certified.collect())
    }

    fn offers(&self) -> Vec<Signed<Assignment>> {
        self.audits.offered.values().take(AUDITS_MAX).cloned().collect()
    }

    /// Whether this witness has nothing against a result: `None` while it cannot tell. What it cannot have
    /// was perhaps never there, and is not made certain by others who do not look either.
    fn believes(&self, certified: &Certified) -> Option<bool> {
        if !self.settings.checks_audits || !self.takes_work() {
            return Some(true);
        }
        let heard = |r: &Signed<Reveal>| self.audits.reveals.get(&(certified.task, r.signer));
        let long_ago = |(_, at): &(_, Timestamp)| self.now.since(*at) >= DOUBTS_WITHIN;
        if !certified.reveals.iter().all(|reveal| heard(reveal).is_some_and(long_ago)) {
            return None;
        }
        let Some(run) = self.audits.runs.get(&certified.task) else { return Some(false) };
        match run.progress {
            Progress::Done(None) => Some(false),
            Progress::Done(Some(own)) => {
                Some(certified.reveals.iter().all(|reveal| reveal.body.digest == own))
            }
            Progress::Here => (!run.executes).then_some(true),
            Progress::Absent(..) | Progress::Running => None,
        }
    }

    /// Whether the drawn committed and the results are right, as far as this witness can tell; `None`: later.
    pub(super) fn audits_hold(&mut self, plan: &Plan) -> Option<bool> {
        if !self.settings.checks_audits {
            return Some(true);
        }
        // What its auditors told others only is heard now.
        for reveal in plan.resolutions.certified.iter().flat_map(|certified| &certified.reveals) {
            self.on_audit_reveal(reveal.signer, reveal.clone());
        }
        let fits = |commits: &AuditCommits| {
            let drawn = self.drawn(&commits.assignment.body);
            commits.commits.len() == AUDITORS
                && commits.commits.iter().all(|commit| drawn.contains(&commit.signer))
        };
        if !plan.resolutions.commits.iter().all(fits) {
            return Some(false);
        }
        let mut later = false;
        for certified in &plan.resolutions.certified {
            match self.believes(certified) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => later = true,
            }
        }
        (!later).then_some(true)
    }
}
