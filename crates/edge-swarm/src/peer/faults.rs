//! Fault proofs: how a liar is named without a vote.
//!
//! A report holds what requester and worker signed. Whoever hears it fetches the payload by its
//! digest, executes it and compares. Only what was re-executed here changes what this node thinks
//! of a member, and only within a budget.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{
    Digest, Micros, NodeId, RingSet, TaskId, TaskKind, Timestamp, Verdict, Work, codec,
    shard::{ShardAnswer, ShardQuery},
};
use edge_ledger::{OffenceKind, statement::Assignment};
use serde::{Deserialize, Serialize};

use super::{
    Peer, Purpose, Stored, Timer,
    content::{Audience, Waiter, content_digest},
    decode_stored,
};
use crate::{
    event::Event,
    io::{Table, Urgency},
    message::{Evidence, FaultReport, Gossip, Message, ShardHead, shard_id},
};

/// Reports whose re-execution waits or runs.
const OPEN_MAX: usize = 64;
/// Reports about tasks of one requester against one node that are re-executed; one that holds is
/// enough to be named.
const PER_PAIR_MAX: usize = 8;
/// Pairs of accused and requester that are remembered.
const OPENED_MAX: usize = 65_536;
/// Nobody is named for answering by another root than a head's before this has passed.
const OTHER_HEAD_WITHIN: Micros = Micros::from_secs(3);
/// Digests of reports that were judged, so that gossip does not judge them again.
const JUDGED_MAX: usize = 4_096;

/// Before the stored key of a fault that only this node may know of.
const UNTOLD: &[u8] = b"untold";

/// A fault that this node verified by re-execution.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FaultRecord {
    /// The report.
    pub report: FaultReport,
    /// Who re-executed it.
    pub verified_by: NodeId,
    /// Whether that node had executed the task itself.
    pub was_replica: bool,
    /// Whether that node was the requester.
    pub was_requester: bool,
}

#[derive(Debug)]
struct OpenReport {
    report: FaultReport,
    audience: Audience,
    missing: BTreeSet<Digest>,
    since: Timestamp,
    /// The item that was named could not be fetched, or is as it should be: the whole batch decides.
    whole: bool,
}

/// Reports under way and verified.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    open: BTreeMap<Digest, OpenReport>,
    judged: RingSet<Digest, JUDGED_MAX>,
    /// Reports that were opened, by who is accused and by whose task it is about: a requester that helps
    /// a liar spends what its own tasks are worth, and nobody else's.
    opened: BTreeMap<(NodeId, NodeId), usize>,
    named: BTreeSet<NodeId>,
    proofs: BTreeMap<NodeId, FaultReport>,
}

impl Faults {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("open fault reports", self.open.len(), OPEN_MAX);
        add("judged fault reports", self.judged.len(), JUDGED_MAX);
        add("accused and accusers", self.opened.len(), OPENED_MAX);
    }

    /// Reports under way.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether a verified fault names the node.
    pub(crate) fn names(&self, node: &NodeId) -> bool {
        self.named.contains(node)
    }

    /// Names a node that other evidence than a fault speaks against.
    pub(super) fn name(&mut self, node: NodeId) {
        self.named.insert(node);
    }

    pub(crate) fn named(&self) -> impl Iterator<Item = &NodeId> {
        self.named.iter()
    }
}

fn report_key(report: &FaultReport) -> Digest {
    let proof = &report.proof;
    Digest::of_value("fault", &(proof.worker(), proof.task(), proof.digest()))
}

impl Peer {
    pub(super) fn restore_faults(&mut self, stored: &Stored) {
        for (key, value) in stored.table(Table::Faults) {
            let Some(record) = decode_stored::<FaultRecord>(value) else { continue };
            let worker = record.report.proof.worker();
            self.faults.judged.insert(report_key(&record.report));
            self.faults.named.insert(worker);
            // The others' keys are a node and a task.
            let told = key.len() != UNTOLD.len() + 64;
            self.offended(worker, OffenceKind::Fault, told);
            if told {
                self.faults.proofs.entry(worker).or_insert(record.report);
            }
            if let Some(member) = self.members.get_mut(&worker) {
                member.faults += 1;
            }
        }
    }

    /// Tells a node that was away one proof for each liar, so that it can judge for itself.
    pub(super) fn tell_faults(&mut self, to: NodeId) {
        let proofs: Vec<FaultReport> =
            self.faults.proofs.iter().filter(|(n, _)| **n != to).map(|(_, r)| r.clone()).collect();
        for report in proofs.into_iter().take(OPEN_MAX) {
            self.publish_to(to, &Gossip::Fault(Box::new(report)));
        }
    }

    /// Accuses a worker of an own task: tells everybody and re-executes it here too. A fault in a
    /// task that is not for everybody is judged here alone: who would check it needs the payload.
    pub(super) fn raise_fault(&mut self, report: FaultReport, audience: Audience) {
        if audience == Audience::Members {
            self.tell_inviter_of(&report.proof.worker());
            self.publish(&Gossip::Fault(Box::new(report.clone())));
        }
        self.open_fault(report, audience);
    }

    pub(super) fn on_fault_report(&mut self, report: FaultReport) {
        if let Evidence::Answer { head, .. } = &report.evidence {
            // Whoever was given another head for this position says so before anybody is named.
            self.on_head(head.clone());
        }
        // No honest node tells of one, and judging it would decipher what a stranger sends.
        if report.proof.assignment.body.kind != TaskKind::Encryption {
            self.open_fault(report, Audience::Members);
        }
    }

    fn open_fault(&mut self, report: FaultReport, audience: Audience) {
        let key = report_key(&report);
        let worker = report.proof.worker();
        let requester = report.proof.assignment.body.requester;
        let known = self.faults.open.contains_key(&key) || self.faults.judged.contains(&key);
        let pair = (worker, requester);
        let opened = self.faults.opened.get(&pair).copied().unwrap_or(0);
        let room = self.faults.opened.len() < OPENED_MAX || opened > 0;
        // An own task is no stranger's word.
        let budget = requester == self.me || (opened < PER_PAIR_MAX && room);
        let budget = budget && self.faults.open.len() < OPEN_MAX;
        let parties = (requester == self.me || self.members.is_member(&requester))
            && (worker == self.me || self.is_answered_for(&worker));
        if known || !budget || !parties || worker == self.me {
            return;
        }
        if report.proof.check_shape(&mut self.verifier, &self.pool).is_err()
            || !self.evidence_fits(&report)
        {
            return;
        }
        if requester != self.me {
            *self.faults.opened.entry(pair).or_default() += 1;
        }
        let mut wanted = vec![report.proof.assignment.body.payload];
        match &report.evidence {
            Evidence::Payload => {}
            Evidence::Answer { answer, .. } => wanted.push(*answer),
            Evidence::History { history } => wanted.push(*history),
            Evidence::Item { .. } => wanted.push(report.proof.digest()),
        }
        let missing: BTreeSet<Digest> =
            wanted.into_iter().filter(|d| self.content.get(d).is_none()).collect();
        let since = self.now;
        let open = OpenReport { report, audience, missing: missing.clone(), since, whole: false };
        self.faults.open.insert(key, open);
        if missing.is_empty() {
            return self.recheck(key);
        }
        for content in missing {
            if !self.fetch(content, requester, Waiter::Fault(key), Audience::Members) {
                self.faults.open.remove(&key);
                return;
            }
        }
    }

    /// Whether the evidence is of the right kind and about the right thing.
    fn evidence_fits(&mut self, report: &FaultReport) -> bool {
        let body = &report.proof.assignment.body;
        match (&report.evidence, body.kind) {
            (
                Evidence::Payload,
                TaskKind::Embedding
                | TaskKind::SemanticMatch
                | TaskKind::Compression
                | TaskKind::Encryption,
            )
            | (Evidence::Item { .. }, TaskKind::Embedding | TaskKind::SemanticMatch)
            | (Evidence::History { .. }, TaskKind::VectorInsert) => self.executes(body),
            (Evidence::Answer { answer, head }, TaskKind::VectorSearch) => {
                let collection = self.shards.owner_of(&head.body.collection);
                *answer == report.proof.digest()
                    && collection.is_some_and(|owner| owner == head.signer)
                    && head.open(&mut self.verifier, &self.pool).is_ok()
            }
            (
                Evidence::Payload
                | Evidence::History { .. }
                | Evidence::Answer { .. }
                | Evidence::Item { .. },
                _,
            ) => false,
        }
    }

    /// Whether this node would execute a task to the same bits: another build's result is not to be
    /// judged by this one's.
    fn executes(&self, body: &Assignment) -> bool {
        let pins = match body.kind {
            TaskKind::VectorInsert | TaskKind::VectorSearch => {
                return body.pins == self.settings.shard_pin;
            }
            TaskKind::Encryption => {
                return self.settings.guarded.iter().any(|g| g.pin == body.pins);
            }
            TaskKind::Embedding | TaskKind::SemanticMatch | TaskKind::Compression => {
                &self.settings.pins
            }
        };
        pins.contains(&body.pins)
    }

    pub(super) fn on_fault_content(&mut self, fault: Digest, content: Digest, arrived: bool) {
        let Some(open) = self.faults.open.get_mut(&fault) else { return };
        if !arrived {
            let item = matches!(open.report.evidence, Evidence::Item { .. });
            // The payload is enough: it only takes longer. Else who names an item of a result that is
            // nowhere would keep its worker from being judged.
            if !item || content != open.report.proof.digest() {
                self.faults.open.remove(&fault);
                return;
            }
            open.whole = true;
            open.missing.remove(&content);
        }
        let content = &self.content;
        open.missing.retain(|d| content.get(d).is_none());
        if open.missing.is_empty() {
            self.recheck(fault);
        }
    }

    /// A report came to nothing before anything was executed: it cost nobody anything.
    fn drop_report(&mut self, fault: Digest) {
        let Some(open) = self.faults.open.remove(&fault) else { return };
        let proof = &open.report.proof;
        let pair = (proof.worker(), proof.assignment.body.requester);
        if let Some(opened) = self.faults.opened.get_mut(&pair) {
            *opened = opened.saturating_sub(1);
        }
    }

    pub(super) fn recheck(&mut self, fault: Digest) {
        let Some(open) = self.faults.open.get(&fault) else { return };
        if self.waits_for_other_head(open) {
            self.after(OTHER_HEAD_WITHIN, Timer::Judge(fault));
            return;
        }
        let Some(open) = self.faults.open.get(&fault) else { return };
        let body = &open.report.proof.assignment.body;
        let Some(payload) = self.content.get(&body.payload) else { return };
        let kind = body.kind;
        let what = match &open.report.evidence {
            Evidence::Payload => Work::Run { kind, payload },
            Evidence::Item { .. } if open.whole => Work::Run { kind, payload },
            Evidence::Item { byte } => {
                let Some(result) = self.content.get(&open.report.proof.digest()) else { return };
                Work::CheckItem { kind, payload, result, byte: *byte }
            }
            Evidence::History { history } => {
                let Some(history) = self.content.get(history) else { return };
                Work::Replay { history, payload }
            }
            Evidence::Answer { answer, head } => {
                if !self.head_refutes(&head.body, &body.payload, answer) {
                    // No evidence: another report about the same answer may bring the right head.
                    return self.drop_report(fault);
                }
                let Some(answer) = self.content.get(answer) else { return };
                Work::CheckAnswer { payload, answer, root: head.body.root }
            }
        };
        self.execute(what, Urgency::Background, Purpose::Recheck(fault));
    }

    pub(super) fn on_rechecked(&mut self, fault: Digest, outcome: Result<Vec<u8>, String>) {
        let Some(mut open) = self.faults.open.remove(&fault) else { return };
        if matches!(open.report.evidence, Evidence::Item { .. }) && !open.whole {
            let verdict = outcome.as_ref().ok().and_then(|bytes| codec::decode(bytes).ok());
            if !matches!(verdict, Some(Verdict::False(_))) {
                // This item says nothing. Whoever named it, another one may be false.
                open.whole = true;
                self.faults.open.insert(fault, open);
                return self.recheck(fault);
            }
        }
        let OpenReport { report, audience, whole, .. } = open;
        self.faults.judged.insert(fault);
        // Work that fails here proves nothing.
        let Ok(bytes) = outcome else { return };
        let lied = match &report.evidence {
            Evidence::Payload | Evidence::History { .. } => {
                content_digest(&bytes) != report.proof.digest()
            }
            Evidence::Item { .. } => !whole || content_digest(&bytes) != report.proof.digest(),
            Evidence::Answer { .. } => {
                let verdict: Option<Verdict> = codec::decode(&bytes).ok();
                matches!(verdict, Some(Verdict::False(_)))
            }
        };
        let (node, task) = (report.proof.worker(), report.proof.task());
        if lied {
            self.name_liar(node, task, report, audience);
        } else {
            self.counters.faults_refuted += 1;
            self.event(Event::FaultRefuted { node, task });
        }
    }

    /// A head refutes an answer only if it speaks of the shard that was asked and of the position that
    /// the answer names, and is no second word of the owner about it. Where the answer names another root
    /// than the head, this node must have heard the head's from the owner itself: an owner that signs
    /// two roots could have any holder named.
    fn head_refutes(&self, head: &ShardHead, query: &Digest, answer: &Digest) -> bool {
        let shard = shard_id(&head.collection, head.index);
        let query = self.content.get(query);
        let query: Option<ShardQuery> = query.and_then(|bytes| codec::decode(&bytes).ok());
        if query.is_none_or(|query| query.shard != shard) {
            return false;
        }
        if self.coherence.disputes(&shard, head.seq) {
            return false;
        }
        let known = self.shards.head_at(&shard, head.seq).map(|known| known.body.root);
        if known.is_some_and(|known| known != head.root) {
            return false;
        }
        let answer = self.content.get(answer);
        let answer: Option<ShardAnswer> = answer.and_then(|bytes| codec::decode(&bytes).ok());
        answer.is_none_or(|answer| {
            answer.seq == head.seq && (answer.root == head.root || known.is_some())
        })
    }

    /// A holder that answers by another root than the head's may have been given another head by the
    /// owner: who knows it shows it in this time.
    fn waits_for_other_head(&self, open: &OpenReport) -> bool {
        let Evidence::Answer { answer, head } = &open.report.evidence else { return false };
        let answer = self.content.get(answer);
        let answer: Option<ShardAnswer> = answer.and_then(|bytes| codec::decode(&bytes).ok());
        self.settings.coherence.is_some()
            && answer.is_some_and(|answer| answer.root != head.body.root)
            && self.now.since(open.since) < OTHER_HEAD_WITHIN
    }

    fn name_liar(&mut self, node: NodeId, task: TaskId, report: FaultReport, audience: Audience) {
        let was_replica = self.jobs.was_replica(&task);
        let was_requester = report.proof.assignment.body.requester == self.me;
        let told = audience == Audience::Members;
        let mark: &[u8] = if told { b"" } else { UNTOLD };
        let key = [mark, node.0.as_slice(), task.as_bytes()].concat();
        self.offended(node, OffenceKind::Fault, told);
        if told {
            self.faults.proofs.entry(node).or_insert_with(|| report.clone());
        }
        let record = FaultRecord { report, verified_by: self.me, was_replica, was_requester };
        self.persist(Table::Faults, &key, &record);
        if self.faults.named.insert(node) {
            self.blame_inviter(&node);
        }
        self.counters.faults_verified += 1;
        if let Some(member) = self.members.get_mut(&node) {
            member.faults += 1;
        }
        self.store_reputation(&node);
        self.event(Event::FaultVerified { node, task, was_replica, was_requester });
        self.drop_liar(node);
        self.name_heirs();
    }

    /// A named node keeps no copy and gets no work; what it still owes is not waited for.
    pub(super) fn drop_liar(&mut self, node: NodeId) {
        for shard in self.remove_replica_everywhere(&node) {
            self.send(node, &Message::Release { shard });
            self.event(Event::ReplicaLost { shard, node });
        }
        self.on_worker_gone(node);
    }
}
