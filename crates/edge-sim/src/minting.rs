//! Members that want more credits minted than they work for, and a witness that helps them.
//!
//! They sit at the boundary of the peer and speak with the keys of their nodes, whose own peers are
//! the product's and go on beside. They offer tasks for audits that nobody asked for, that nobody can
//! have, that are paid by others or by nobody, that suit the draw; commit to what they were not drawn
//! for; agree on a lie where both places are theirs; take the other auditor's commit and reveal; show old
//! statements again. The witness shows them what it hears and says that they were there all day.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Credits, Digest, EscrowId, NodeId, Rng, Signed, TaskId, TaskKind};
use edge_ledger::{
    Assignment, Base, COUNTED_MAX, Commit, Reveal, Seen, commit_hash, is_audited, task_id,
};
use edge_swarm::{
    Peer,
    message::{Message, decode_message, encode_message},
};

use crate::{minted, node::Node};

/// They act this often: sooner than an honest auditor can have executed anything.
pub(crate) const ACT_EVERY: edge_base::Micros = edge_base::Micros::from_millis(50);
/// What is said is said again after so many turns, as messages are lost.
const SAY_EVERY: u64 = 60;
/// Statements that are kept to be shown again.
const KEPT_MAX: usize = 256;
/// Old statements that one of them shows in an epoch.
const SHOWN_MAX: usize = 16;
/// Sorts of offers.
const OFFERS: u64 = 8;
/// Numbers that are tried until the draw would suit.
const TRIES: u64 = 256;
/// What invented tasks are said to be, in bytes.
const INVENTED_BYTES: u64 = 60_000;

/// What an attacker does about a task.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Its own peer works.
    Works,
    /// Both say this although it is not so.
    Lies(Digest),
    /// It computes nothing and hopes to copy.
    Copies,
}

/// The attackers of a run.
pub(crate) struct Minters {
    attackers: Vec<u32>,
    ids: BTreeSet<NodeId>,
    helper: Option<u32>,
    witnesses: Vec<u32>,
    pool: Digest,
    rng: Rng,
    /// The control: nobody looks who was drawn.
    unwatched: bool,
    turn: u64,
    base: Option<Arc<Base>>,
    said_at: u64,
    offers: Vec<(u32, Signed<Assignment>)>,
    /// Every offer that a checkpoint could have named, to be shown again.
    offered: Vec<(u32, Signed<Assignment>)>,
    parts: BTreeMap<(TaskId, u32), Part>,
    made: BTreeMap<(TaskId, u32), (Signed<Commit>, Reveal)>,
    /// What honest auditors said, as the helper heard it.
    commits: BTreeMap<TaskId, Signed<Commit>>,
    reveals: BTreeMap<TaskId, Signed<Reveal>>,
    kept: Vec<Message>,
    /// Payloads that attackers give out.
    pub(crate) served: BTreeMap<Digest, Vec<u8>>,
    /// Tasks offered because the present beacon would draw two of them.
    pub(crate) ground: BTreeSet<TaskId>,
    /// Tasks that nobody was ever given, but whose payload is there.
    is_there: BTreeSet<TaskId>,
    /// Tasks that nobody was ever given.
    pub(crate) invented: BTreeSet<TaskId>,
    sends: Vec<(u32, u32, Vec<u8>)>,
    /// Lies that were revealed, for the checkers: who, payload, what it said.
    lies: Vec<(NodeId, Digest, Digest)>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Minters {
    pub(crate) fn new(
        (attackers, helper, witnesses): (&[u32], Option<u32>, &[u32]),
        ids: &[NodeId],
        pool: Digest,
        (seed, unwatched): (u64, bool),
    ) -> Minters {
        Minters {
            attackers: attackers.to_vec(),
            ids: attackers.iter().map(|node| ids[*node as usize]).collect(),
            helper,
            witnesses: witnesses.to_vec(),
            pool,
            rng: Rng::derive(seed, "minters"),
            unwatched,
            turn: 0,
            base: None,
            said_at: 0,
            offers: Vec::new(),
            offered: Vec::new(),
            parts: BTreeMap::new(),
            made: BTreeMap::new(),
            commits: BTreeMap::new(),
            reveals: BTreeMap::new(),
            kept: Vec::new(),
            served: BTreeMap::new(),
            ground: BTreeSet::new(),
            is_there: BTreeSet::new(),
            invented: BTreeSet::new(),
            sends: Vec::new(),
            lies: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn has(&self, node: &NodeId) -> bool {
        self.ids.contains(node)
    }

    pub(crate) fn sends(&mut self) -> Vec<(u32, u32, Vec<u8>)> {
        std::mem::take(&mut self.sends)
    }

    pub(crate) fn lies(&mut self) -> Vec<(NodeId, Digest, Digest)> {
        std::mem::take(&mut self.lies)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn tell(&mut self, by: u32, message: &Message) {
        let frame = encode_message(message);
        let to = self.witnesses.iter().filter(|witness| **witness != by);
        self.sends.extend(to.map(|witness| (by, *witness, frame.clone())));
    }

    /// What is due now.
    pub(crate) fn act(&mut self, nodes: &[Node]) {
        self.turn += 1;
        let Some(base) = newest(nodes) else { return };
        let news = self.base.as_ref().is_none_or(|known| {
            known.decided.sealed.checkpoint.epoch < base.decided.sealed.checkpoint.epoch
        });
        if news {
            self.base = Some(base.clone());
            self.begin(nodes, &base);
        }
        if news || self.turn - self.said_at >= SAY_EVERY {
            self.said_at = self.turn;
            for (by, offer) in self.offers.clone() {
                self.tell(by, &Message::Audit(Box::new(offer)));
            }
            self.commit(nodes, &base);
            self.reveal(nodes, &base);
        }
    }

    /// A new checkpoint: who does what about what it names, and what is offered next.
    fn begin(&mut self, nodes: &[Node], base: &Base) {
        (self.commits, self.reveals) = Default::default();
        for audit in &base.decided.resolutions.audits {
            let body = &audit.body;
            let drawn: Vec<NodeId> = minted::draw(base, body).into_iter().take(2).collect();
            // Half of them lie where somebody could look, and lose their stake by it. The others lie
            // about what nobody can have.
            let reckless = self.attackers.iter().step_by(2).map(|node| nodes[*node as usize].id);
            let reckless: Vec<NodeId> = reckless.collect();
            let nothing = !self.is_there.contains(&body.task) && self.invented.contains(&body.task);
            let both = drawn.iter().all(|id| self.has(id))
                && (nothing || drawn.iter().all(|id| reckless.contains(id)));
            let copies = self.rng.chance(1, 2);
            for node in self.attackers.clone() {
                let id = nodes[node as usize].id;
                let lie = Part::Lies(Digest::of_value("made-up", &body.task));
                let part = match (drawn.contains(&id), both) {
                    (true, true) => lie,
                    (true, false) if copies => Part::Copies,
                    (true, false) => Part::Works,
                    (false, _) => lie,
                };
                self.parts.insert((body.task, node), part);
            }
        }
        self.offers.clear();
        for (at, node) in self.attackers.clone().into_iter().enumerate() {
            for n in 0..2 {
                let sort = (2 * base.decided.sealed.checkpoint.epoch + n + 3 * at as u64) % OFFERS;
                if let Some(offer) = self.invent(nodes, base, node, sort) {
                    self.count("offers_made_up");
                    self.offers.push((node, offer));
                }
            }
        }
        for node in self.attackers.clone() {
            for _ in 0..SHOWN_MAX.min(self.kept.len()) {
                let old = self.kept[self.rng.below(self.kept.len() as u64) as usize].clone();
                self.count("statements_shown_again");
                self.tell(node, &old);
            }
            // Nobody asked it what it saw.
            let answered = self.ids.iter().map(|id| (*id, COUNTED_MAX)).collect();
            let checkpoint = &base.decided.sealed.checkpoint;
            let (version, beacon) = (checkpoint.set.version, checkpoint.digest());
            let seen = Seen { version, beacon, answered };
            let seen = Signed::seal(seen, &nodes[node as usize].key, &self.pool);
            self.tell(node, &Message::Seen(Box::new(seen)));
        }
    }

    /// An offer of a task that nobody executed.
    fn invent(
        &mut self,
        nodes: &[Node],
        base: &Base,
        by: u32,
        sort: u64,
    ) -> Option<Signed<Assignment>> {
        let node = &nodes[by as usize];
        let ledger = node.peer.as_ref().and_then(Peer::ledger)?;
        let own = ledger.open_escrows(&node.id).next();
        let others = ledger.accounts().map(|(account, _)| account).filter(|id| !self.has(id));
        let (others, mut open): (Vec<NodeId>, Vec<(NodeId, EscrowId)>) =
            (others.collect(), Vec::new());
        for id in &others {
            open.extend(ledger.open_escrows(id).map(|escrow| (*id, escrow)));
        }
        let pins = node.settings.pins.first().copied()?;
        let worker = *self.rng.pick(&others)?;
        let issued = self.rng.next_u64();
        let nothing = Digest::of_value("nothing", &(node.id, issued));
        let kind = TaskKind::Embedding;
        let price = Credits::from_micro(1);
        let assignment = |requester: NodeId, escrow, payload: Digest, payload_bytes| Assignment {
            task: task_id(&requester, issued, kind, &payload),
            requester,
            worker,
            escrow,
            price,
            kind,
            payload,
            payload_bytes,
            pins,
            issued,
        };
        let body = match sort {
            0 => assignment(node.id, None, nothing, INVENTED_BYTES),
            1 => {
                let (_, escrow) = *self.rng.pick(&open)?;
                assignment(node.id, Some(escrow), nothing, INVENTED_BYTES)
            }
            2 => assignment(node.id, Some(own?), nothing, INVENTED_BYTES),
            3 => {
                // There is something, but less than is said.
                let small = format!("small {issued}").into_bytes();
                let payload = Digest::of(&small);
                self.served.insert(payload, small);
                assignment(node.id, Some(own?), payload, INVENTED_BYTES)
            }
            4 => {
                let body = assignment(node.id, Some(own?), nothing, INVENTED_BYTES);
                Assignment { pins: Digest::of(b"a build that nobody has"), ..body }
            }
            5 => {
                let (requester, escrow) = *self.rng.pick(&open)?;
                assignment(requester, Some(escrow), nothing, INVENTED_BYTES)
            }
            6 => {
                let own = self.offered.iter().filter(|(of, _)| *of == by);
                let own: Vec<Signed<Assignment>> = own.map(|(_, offer)| offer.clone()).collect();
                self.count("offers_shown_again");
                return self.rng.pick(&own).cloned();
            }
            _ => {
                let bytes = crate::workload::long_payload(&mut self.rng);
                let (payload, length) = (Digest::of(&bytes), bytes.len() as u64);
                self.served.insert(payload, bytes);
                let body = assignment(node.id, Some(own?), payload, length);
                let body = self.grind(base, body);
                self.is_there.insert(body.task);
                body
            }
        };
        debug_assert!(is_audited(body.kind), "otherwise nobody would look further");
        self.invented.insert(body.task);
        let offer = Signed::seal(body, &node.key, &self.pool);
        self.offered.push((by, offer.clone()));
        if self.offered.len() > KEPT_MAX {
            self.offered.remove(0);
        }
        Some(offer)
    }

    /// Changes the number of a task until the present beacon would draw two of them.
    fn grind(&mut self, base: &Base, mut body: Assignment) -> Assignment {
        for _ in 0..TRIES {
            let drawn = minted::draw(base, &body);
            if drawn.len() >= 2 && drawn[..2].iter().all(|id| self.has(id)) {
                self.ground.insert(body.task);
                return body;
            }
            body.issued = body.issued.wrapping_add(1);
            body.task = task_id(&body.requester, body.issued, body.kind, &body.payload);
        }
        body
    }

    /// Commits to what the checkpoint names.
    fn commit(&mut self, nodes: &[Node], base: &Base) {
        for audit in &base.decided.resolutions.audits {
            let task = audit.body.task;
            for by in self.attackers.clone() {
                let key = &nodes[by as usize].key;
                let worker = key.node_id();
                let part = self.parts.get(&(task, by)).copied().unwrap_or(Part::Works);
                let mut nonce = [0; 16];
                nonce.copy_from_slice(&Digest::of_value("minter", &(task, worker)).0[..16]);
                let commit = match part {
                    Part::Works => continue,
                    Part::Lies(digest) => {
                        let hash = commit_hash(&task, &worker, &nonce, &digest);
                        let commit = Signed::seal(Commit { task, worker, hash }, key, &self.pool);
                        let reveal = Reveal { task, worker, nonce, digest };
                        self.made.insert((task, by), (commit.clone(), reveal));
                        commit
                    }
                    Part::Copies => {
                        let other = self.commits.get(&task).map(|commit| commit.body.hash);
                        let hash = other.unwrap_or_else(|| Digest::of_value("blind", &nonce));
                        let commit = Signed::seal(Commit { task, worker, hash }, key, &self.pool);
                        let reveal = Reveal { task, worker, nonce, digest: hash };
                        self.made.entry((task, by)).or_insert((commit, reveal)).0.clone()
                    }
                };
                self.count("commits_without_work");
                self.tell(by, &Message::AuditCommit(commit));
            }
        }
    }

    /// Reveals what the checkpoint has commits to.
    fn reveal(&mut self, nodes: &[Node], base: &Base) {
        for commits in &base.decided.resolutions.commits {
            let body = &commits.assignment.body;
            for by in self.attackers.clone() {
                let key = &nodes[by as usize].key;
                let worker = key.node_id();
                let named = commits.commits.iter().any(|commit| commit.signer == worker);
                let Some((_, reveal)) = self.made.get(&(body.task, by)) else { continue };
                if !named && self.unwatched {
                    continue;
                }
                let mut reveal = *reveal;
                if let Some(other) = self.reveals.get(&body.task)
                    && self.parts.get(&(body.task, by)) == Some(&Part::Copies)
                {
                    // What the other one revealed, under a commit that was not to it.
                    (reveal.nonce, reveal.digest) = (other.body.nonce, other.body.digest);
                    self.count("reveals_copied");
                } else if named {
                    self.lies.push((worker, body.payload, reveal.digest));
                }
                let reveal = Signed::seal(reveal, key, &self.pool);
                self.tell(by, &Message::AuditReveal(reveal));
            }
        }
    }

    /// A frame arrives; what is returned is what the peer there gets.
    pub(crate) fn arriving(
        &mut self,
        nodes: &[Node],
        from: u32,
        to: u32,
        frame: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let (sent, heard) = (self.attackers.contains(&from), self.attackers.contains(&to));
        let helps = self.helper.is_some_and(|helper| helper == from || helper == to);
        if !sent && !heard && !helps {
            return Some(frame);
        }
        match decode_message(&frame) {
            Ok(Message::Want { content, offset: 0 }) if heard => {
                let Some(bytes) = self.served.get(&content).cloned() else { return Some(frame) };
                let total = bytes.len() as u64;
                let chunk = Message::Chunk { content, total, offset: 0, bytes };
                self.sends.push((to, from, encode_message(&chunk)));
                None
            }
            // A node that attacks does not work beside it.
            Ok(Message::AuditCommit(commit)) if sent => {
                let part = self.parts.get(&(commit.body.task, from));
                let own = self.made.get(&(commit.body.task, from));
                let made_up = own.is_some_and(|(own, _)| *own == commit);
                (made_up || matches!(part, None | Some(Part::Works))).then_some(frame)
            }
            Ok(Message::AuditCommit(commit)) if self.helper == Some(to) => {
                self.keep(Message::AuditCommit(commit.clone()));
                self.commits.insert(commit.body.task, commit);
                Some(frame)
            }
            Ok(Message::AuditReveal(reveal)) if self.helper == Some(to) && !sent => {
                self.keep(Message::AuditReveal(reveal.clone()));
                self.reveals.insert(reveal.body.task, reveal);
                Some(frame)
            }
            Ok(Message::Seen(seen)) if self.helper == Some(from) => {
                let helper = &nodes[from as usize];
                let answered = self.ids.iter().map(|id| (*id, COUNTED_MAX)).collect();
                let seen = Seen { answered, ..seen.body };
                self.count("presence_made_up");
                let seen = Signed::seal(seen, &helper.key, &self.pool);
                Some(encode_message(&Message::Seen(Box::new(seen))))
            }
            Ok(_) | Err(_) => Some(frame),
        }
    }

    fn keep(&mut self, message: Message) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(message);
        } else {
            let at = self.rng.below(KEPT_MAX as u64) as usize;
            self.kept[at] = message;
        }
    }
}

/// The newest checkpoint that any node has.
fn newest(nodes: &[Node]) -> Option<Arc<Base>> {
    let bases = nodes.iter().filter_map(|node| node.peer.as_ref()?.ledger()?.base().cloned());
    bases.max_by_key(|base| base.decided.sealed.checkpoint.epoch)
}
