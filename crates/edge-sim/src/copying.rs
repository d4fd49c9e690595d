//! Workers that never compute and give others' answers as theirs.
//!
//! A copier runs the product's peer, which takes tasks; nothing is executed for it. What leaves it
//! instead is made here, with its own key, from what arrives at any copier, for they tell each other
//! everything: commits that requesters show, digests that were accepted, digests in accusations,
//! payloads and contents. One takes others' commits for its own, as they are and signed anew; one binds
//! itself to something made up, to see what the bound are shown; one waits until it knows which digest
//! was accepted, of this task or of an earlier one with the same payload, and commits to that. They ask
//! everybody for the bytes.
//!
//! What no commitment prevents is that somebody who computed gives its answer away
//! ([`Copying::Shared`]). [`Copying::Shown`] is the control: every answer is public as soon as it is
//! computed, as it is where there is no commit, or one without salt and name that is copied and opened
//! when the first worker opens it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edge_base::{Digest, EscrowId, NodeId, Rng, Signed, TaskId};
use edge_ledger::{Assignment, Commit, Reveal, commit_hash};
use edge_swarm::{
    Input, WorkId,
    message::{FRAME_GOSSIP, Gossip, Message, decode_gossip, decode_message, encode_message},
};

use crate::{node::Node, outcome::Counted};

/// What copiers get to know beside what is sent to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copying {
    /// Nothing.
    Wire,
    /// The answers of some of them that compute.
    Shared,
    /// Every answer, as soon as it is computed.
    Shown,
}

/// Contents that copiers keep of what they were sent.
const LIBRARY_MAX: usize = 512;
/// How they go about it, by turns.
const WAYS: u64 = 4;

/// What a copier does in a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Waits for others' commits, to send them as its own.
    Mirror,
    /// Binds itself to something made up, to be shown what the bound are shown.
    Invent,
    /// Waits for the accepted digest.
    Wait,
    /// As `Wait`, and commits at once where the payload is known from an earlier task.
    Remember,
}

struct Job {
    requester: u32,
    payload: Digest,
    way: Way,
    /// What its last commit opens to.
    bound: Option<([u8; 16], Digest)>,
    tried: bool,
}

/// A piece of work that a copier was given and did not do.
pub(crate) struct Undone {
    pub(crate) node: u32,
    pub(crate) work: WorkId,
    pub(crate) payload: Digest,
}

/// The copiers of a run.
pub(crate) struct Copiers {
    how: Copying,
    pool: Digest,
    rng: Rng,
    copiers: BTreeSet<u32>,
    /// Copiers that compute, where answers are shared.
    givers: BTreeSet<u32>,
    numbers: BTreeMap<NodeId, u32>,
    jobs: BTreeMap<(TaskId, u32), Job>,
    /// Accepted or accused digests by payload.
    digests: BTreeMap<Digest, Digest>,
    library: BTreeMap<Digest, Vec<u8>>,
    order: VecDeque<Digest>,
    /// Answers that are known, by payload.
    answers: BTreeMap<Digest, Vec<u8>>,
    undone: Vec<Undone>,
    sends: Vec<(u32, u32, Vec<u8>)>,
    inputs: Vec<(u32, Input)>,
    /// Tasks in which a copier tried at least once, and all tries.
    copies: BTreeSet<(TaskId, u32)>,
    tries: u64,
    assigned: BTreeSet<(TaskId, u32)>,
    paid: BTreeMap<(EscrowId, NodeId), (u64, u64)>,
}

impl Copiers {
    pub(crate) fn new(
        how: Copying,
        copiers: &[u32],
        ids: &[NodeId],
        pool: Digest,
        seed: u64,
    ) -> Copiers {
        let givers = match how {
            Copying::Shared => copiers.iter().copied().step_by(2).collect(),
            Copying::Wire | Copying::Shown => BTreeSet::new(),
        };
        Copiers {
            how,
            pool,
            rng: Rng::derive(seed, "copiers"),
            copiers: copiers.iter().copied().collect(),
            givers,
            numbers: ids.iter().enumerate().map(|(n, id)| (*id, n as u32)).collect(),
            jobs: BTreeMap::new(),
            digests: BTreeMap::new(),
            library: BTreeMap::new(),
            order: VecDeque::new(),
            answers: BTreeMap::new(),
            undone: Vec::new(),
            sends: Vec::new(),
            inputs: Vec::new(),
            copies: BTreeSet::new(),
            tries: 0,
            assigned: BTreeSet::new(),
            paid: BTreeMap::new(),
        }
    }

    /// Whether a node never computes for others.
    pub(crate) fn is_idle(&self, node: u32) -> bool {
        self.copiers.contains(&node) && !self.givers.contains(&node)
    }

    /// A copier was given work.
    pub(crate) fn leave_undone(&mut self, undone: Undone) {
        if let Some(answer) = self.answers.get(&undone.payload).cloned() {
            return self.hand_in(&undone, answer);
        }
        if self.how != Copying::Wire {
            self.undone.push(undone);
        }
    }

    /// The peer of a copier does the rest with an answer that it did not compute.
    fn hand_in(&mut self, undone: &Undone, answer: Vec<u8>) {
        self.tries += 1;
        let input = Input::Executed { work: undone.work, outcome: Ok(answer) };
        self.inputs.push((undone.node, input));
    }

    /// A node computed something.
    pub(crate) fn on_computed(&mut self, node: u32, payload: Digest, answer: &[u8]) {
        let heard = match self.how {
            Copying::Wire => false,
            Copying::Shared => self.givers.contains(&node),
            Copying::Shown => true,
        };
        if !heard || self.answers.contains_key(&payload) {
            return;
        }
        self.answers.insert(payload, answer.to_vec());
        let (found, rest): (Vec<Undone>, Vec<Undone>) = std::mem::take(&mut self.undone)
            .into_iter()
            .partition(|undone| undone.payload == payload);
        self.undone = rest;
        for undone in found {
            self.hand_in(&undone, answer.to_vec());
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let digest = Digest::of(bytes);
        if self.library.insert(digest, bytes.to_vec()).is_none() {
            self.order.push_back(digest);
        }
        while self.order.len() > LIBRARY_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.library.remove(&oldest);
        }
    }

    /// A frame arrives at a node.
    pub(crate) fn arriving(&mut self, nodes: &[Node], from: u32, to: u32, frame: &[u8]) {
        if !self.is_idle(to) {
            return;
        }
        if frame.get(3) == Some(&FRAME_GOSSIP) {
            return self.overhear(frame);
        }
        let Ok(message) = decode_message(frame) else { return };
        match message {
            Message::Assign { assignment, payload, .. } => {
                if let Some(payload) = &payload {
                    self.keep(payload);
                }
                self.on_assigned(nodes, from, to, &assignment);
            }
            Message::RevealPlease { task, commits } => {
                self.mirror(nodes, task, &commits);
                self.reveal(nodes, task, to);
            }
            Message::Over { task, accepted: Some(digest) } => self.on_over(nodes, task, to, digest),
            Message::Chunk { bytes, .. } => self.keep(&bytes),
            _ => {}
        }
    }

    /// Gossip arrives: accusations hold what was revealed.
    pub(crate) fn overhear(&mut self, frame: &[u8]) {
        if let Ok(Gossip::Fault(report)) = decode_gossip(frame) {
            let payload = report.proof.assignment.body.payload;
            self.digests.entry(payload).or_insert(report.proof.digest());
        }
    }

    fn on_assigned(&mut self, nodes: &[Node], from: u32, to: u32, signed: &Signed<Assignment>) {
        let body = &signed.body;
        self.assigned.insert((body.task, to));
        if self.how != Copying::Wire || self.jobs.contains_key(&(body.task, to)) {
            return;
        }
        let way = match self.rng.below(WAYS) {
            0 => Way::Mirror,
            1 => Way::Invent,
            2 => Way::Wait,
            _ => Way::Remember,
        };
        let (requester, payload) = (from, body.payload);
        self.jobs
            .insert((body.task, to), Job { requester, payload, way, bound: None, tried: false });
        match (way, self.digests.get(&payload).copied()) {
            (Way::Remember, Some(digest)) => self.commit(nodes, body.task, to, digest),
            (Way::Invent, _) => {
                let digest = Digest::of(&self.rng.bytes::<16>());
                self.commit(nodes, body.task, to, digest);
            }
            (_, _) => {}
        }
    }

    fn send(&mut self, from: u32, to: u32, message: &Message) {
        self.sends.push((from, to, encode_message(message)));
    }

    /// Commits to a digest, by the rules.
    fn commit(&mut self, nodes: &[Node], task: TaskId, copier: u32, digest: Digest) {
        let key = &nodes[copier as usize].key;
        let nonce: [u8; 16] = self.rng.bytes();
        let worker = key.node_id();
        let hash = commit_hash(&task, &worker, &nonce, &digest);
        let commit = Signed::seal(Commit { task, worker, hash }, key, &self.pool);
        let Some(job) = self.jobs.get_mut(&(task, copier)) else { return };
        job.bound = Some((nonce, digest));
        let requester = job.requester;
        self.try_copy(task, copier);
        self.send(copier, requester, &Message::Committed(commit));
        // Whoever may have the bytes is asked for them.
        for other in 0..nodes.len() as u32 {
            if other != copier && !self.library.contains_key(&digest) {
                self.send(copier, other, &Message::Want { content: digest, offset: 0 });
            }
        }
    }

    fn try_copy(&mut self, task: TaskId, copier: u32) {
        self.tries += 1;
        self.copies.insert((task, copier));
        if let Some(job) = self.jobs.get_mut(&(task, copier)) {
            job.tried = true;
        }
    }

    /// Others' commits are sent as they are, and signed anew.
    fn mirror(&mut self, nodes: &[Node], task: TaskId, commits: &[Signed<Commit>]) {
        let mine: Vec<(u32, u32)> = self
            .jobs
            .iter()
            .filter(|((of, _), job)| *of == task && job.way == Way::Mirror && !job.tried)
            .map(|((_, copier), job)| (*copier, job.requester))
            .collect();
        for (copier, requester) in mine {
            let key = &nodes[copier as usize].key;
            for commit in commits.iter().filter(|commit| commit.signer != key.node_id()) {
                let again = Commit { worker: key.node_id(), ..commit.body };
                let again = Signed::seal(again, key, &self.pool);
                self.send(copier, requester, &Message::Committed(commit.clone()));
                self.send(copier, requester, &Message::Committed(again));
                self.try_copy(task, copier);
            }
        }
    }

    fn reveal(&mut self, nodes: &[Node], task: TaskId, copier: u32) {
        let Some(job) = self.jobs.get(&(task, copier)) else { return };
        // A mirrored commit is opened with the newest digest that is known, and no nonce.
        let known = self.digests.get(&job.payload).copied().unwrap_or_default();
        let (nonce, digest) = job.bound.unwrap_or(([0; 16], known));
        let requester = job.requester;
        let key = &nodes[copier as usize].key;
        let worker = key.node_id();
        let hash = commit_hash(&task, &worker, &nonce, &digest);
        let commit = Signed::seal(Commit { task, worker, hash }, key, &self.pool);
        let reveal = Signed::seal(Reveal { task, worker, nonce, digest }, key, &self.pool);
        let result = self.library.get(&digest).cloned();
        self.send(copier, requester, &Message::Revealed { commit, reveal, result });
    }

    /// A digest was accepted: everybody who is not bound yet binds itself to it.
    fn on_over(&mut self, nodes: &[Node], task: TaskId, to: u32, digest: Digest) {
        let Some(payload) = self.jobs.get(&(task, to)).map(|job| job.payload) else { return };
        self.digests.insert(payload, digest);
        let free: Vec<u32> = self
            .jobs
            .iter()
            .filter(|((of, _), job)| *of == task && job.bound.is_none())
            .map(|((_, copier), _)| *copier)
            .collect();
        for copier in free {
            self.commit(nodes, task, copier, digest);
            self.reveal(nodes, task, copier);
        }
    }

    /// A promise to pay leaves a node.
    pub(crate) fn on_leaving(&mut self, frame: &[u8]) {
        let Ok(Message::Paid(voucher)) = decode_message(frame) else { return };
        let body = voucher.body;
        let Some(worker) = self.numbers.get(&body.worker) else { return };
        if self.is_idle(*worker) {
            let paid = self.paid.entry((body.escrow, body.worker)).or_default();
            *paid = (paid.0.max(body.tasks), paid.1.max(body.cumulative.micro()));
        }
    }

    /// What is sent: from, to, frame.
    pub(crate) fn sends(&mut self) -> Vec<(u32, u32, Vec<u8>)> {
        std::mem::take(&mut self.sends)
    }

    /// What copiers' peers are told that they computed.
    pub(crate) fn inputs(&mut self) -> Vec<(u32, Input)> {
        std::mem::take(&mut self.inputs)
    }

    pub(crate) fn verdict(&self) -> (Counted, Vec<String>) {
        let paid: u64 = self.paid.values().map(|(tasks, _)| tasks).sum();
        let credits: u64 = self.paid.values().map(|(_, credits)| credits).sum();
        let copies = match self.how {
            Copying::Wire => self.copies.len() as u64,
            Copying::Shared | Copying::Shown => self.tries,
        };
        let mut found = Vec::new();
        if paid > 0 && self.how != Copying::Shared {
            found.push(format!("{paid} copied answers were paid {credits} micro-credits"));
        }
        if copies == 0 {
            found.push("nobody copied anything".into());
        }
        let counted = Counted::of([
            ("assigned", self.assigned.len() as f64),
            ("copies", copies as f64),
            ("tries", self.tries as f64),
            ("paid", paid as f64),
        ]);
        (counted, found)
    }
}

/// The payload of a piece of pure work.
pub(crate) fn pure_payload(what: &edge_base::Work) -> Option<Digest> {
    match what.inner() {
        edge_base::Work::Run { payload, .. } => Some(Digest::of(payload)),
        _ => None,
    }
}

/// Some payloads are asked for again.
pub(crate) fn repeat_payloads(steps: &mut [crate::workload::Step], seed: u64) {
    let mut rng = Rng::derive(seed, "repeats");
    for at in 1..steps.len() {
        if rng.chance(1, 3) {
            let earlier = rng.below(at as u64) as usize;
            steps[at].action = steps[earlier].action.clone();
        }
    }
}
