//! What may not be read by others travels in sessions (docs/adr/0026): all that is said about a task
//! that is limited to some nodes, and its payload and result.
//!
//! The rule is applied at both ends, by what a message is about and not by who remembers to: what
//! must be private leaves in a session or not at all, and does not count when it comes outside of
//! one. What answers a private message is private, too.
//!
//! A session is opened when there is something to say. Messages wait for it, up to a bound; what is
//! lost is said again by the task it belongs to. Who does not know a session says so, and the other end
//! opens another: a restart of either end heals with the next message. Everything here is in memory only.

use std::collections::{BTreeMap, VecDeque};

use edge_base::{
    Digest, Hasher, Micros, NodeId, Rng, Signed, TaskId, TaskKind, Timestamp,
    session::{
        Limits, Record, Session, SessionError, SessionId,
        handshake::{Acceptance, Initiator, Opening, respond},
    },
};
use zeroize::Zeroizing;

use super::{
    Peer, Timer,
    standing::{Bucket, Budget, Wrong},
};
use crate::{
    frame::FrameKind,
    message::{self, Message},
};

/// Nodes with which there are sessions; beyond it the one that was silent longest goes.
const PAIRS_MAX: usize = 1_024;
/// Sessions with one node that both ends know, and that only the other end does for sure. The
/// oldest goes.
const HELD_MAX: usize = 2;
/// Messages that wait for a session with one node; more get lost.
const WAITING_MAX: usize = 64;
/// Bytes that wait for a session with one node, and with all.
const WAITING_BYTES_MAX: usize = 4 << 20;
const WAITING_BYTES_TOTAL: usize = 32 << 20;
/// An opening is repeated, and given up.
const OPEN_AGAIN: Micros = Micros::from_millis(500);
const OPEN_TRIES: u32 = 8;
/// Handshakes with one node: so many at once, then one for each of these times. A pair of nodes needs one an
/// hour, and one for each restart.
const HANDSHAKE_EVERY: Micros = Micros::from_secs(2);
const HANDSHAKES: Budget = Budget::one_each(HANDSHAKE_EVERY, 4);
/// Handshakes that others begin, with all nodes: a twentieth of a core.
const ALL_EVERY: Micros = Micros::from_millis(20);
const ALL: Budget = Budget::one_each(ALL_EVERY, 64);

/// A session and what is known about the other end's part in it.
struct Held {
    session: Session,
    /// The other end has it: it agreed, or said something in it.
    confirmed: bool,
    /// The other end said that it has it no more.
    gone: bool,
    /// What it was opened by, where the other end did, and what was answered, until it is confirmed.
    answered: Option<(Digest, Option<Signed<Acceptance>>)>,
}

struct Pair {
    held: Vec<Held>,
    opening: Option<(Initiator, u32)>,
    /// Messages that wait.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// Whether a timer looks after the opening.
    timed: bool,
    allowance: Bucket,
    used: Timestamp,
}

impl Pair {
    fn new(now: Timestamp) -> Self {
        Pair {
            held: Vec::new(),
            opening: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            timed: false,
            allowance: Bucket::full(HANDSHAKES, now),
            used: now,
        }
    }

    /// The newest that the other end has.
    fn speaking(&mut self, now: Timestamp) -> Option<&mut Held> {
        let usable = |held: &&mut Held| held.confirmed && !held.gone && !held.session.is_over(now);
        self.held.iter_mut().rev().find(usable)
    }

    fn hold(&mut self, held: Held) {
        let confirmed = held.confirmed;
        if self.held.iter().filter(|one| one.confirmed == confirmed).count() >= HELD_MAX {
            let oldest = self.held.iter().position(|one| one.confirmed == confirmed);
            oldest.map(|at| self.held.remove(at));
        }
        self.held.push(held);
    }

    fn confirm(&mut self, at: usize) {
        let mut held = self.held.remove(at);
        held.confirmed = true;
        if let Some((_, answer)) = &mut held.answered {
            *answer = None;
        }
        self.hold(held);
    }
}

/// Sessions by node.
pub(crate) struct Sessions {
    pairs: BTreeMap<NodeId, Pair>,
    waiting_bytes: usize,
    /// What secrets are drawn from. Replaced with every draw, so that nothing in memory leads back to secrets
    /// of before (Bernstein, "Fast-key-erasure random-number generators", 2017).
    entropy: Zeroizing<[u8; 32]>,
    allowance: Bucket,
    limits: Limits,
    /// Whom the message is from that is being handled, if it came in a session.
    answering: Option<NodeId>,
}

impl Sessions {
    /// `seed`: of the process; `life`: its number, so that a seed that comes twice gives other secrets.
    pub(super) fn new(seed: &[u8; 32], life: u64, now: Timestamp) -> Self {
        let mut hasher = Hasher::new("session/entropy");
        hasher.update(seed).update(&life.to_le_bytes());
        Sessions {
            pairs: BTreeMap::new(),
            waiting_bytes: 0,
            entropy: Zeroizing::new(hasher.finish().0),
            allowance: Bucket::full(ALL, now),
            limits: Limits::default(),
            answering: None,
        }
    }

    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        let held = self.pairs.values().map(|pair| pair.held.len()).sum();
        add("nodes with sessions", self.pairs.len(), PAIRS_MAX);
        add("sessions", held, PAIRS_MAX * 2 * HELD_MAX);
        add("bytes that wait for a session", self.waiting_bytes, WAITING_BYTES_TOTAL);
    }

    /// Openings that a timer looks after.
    pub(crate) fn timed(&self) -> usize {
        self.pairs.len()
    }

    fn draw<const N: usize>(&mut self) -> [u8; N] {
        let mut rng = Rng::from_seed(*self.entropy);
        self.entropy = Zeroizing::new(rng.bytes());
        rng.bytes()
    }

    /// What there is with a node, with room made for it.
    fn pair(&mut self, node: NodeId, now: Timestamp) -> &mut Pair {
        if !self.pairs.contains_key(&node) && self.pairs.len() >= PAIRS_MAX {
            let silent = self.pairs.iter().min_by_key(|(_, pair)| pair.used).map(|(id, _)| *id);
            if let Some(silent) = silent {
                self.close(&silent);
            }
        }
        self.pairs.entry(node).or_insert_with(|| Pair::new(now))
    }

    fn close(&mut self, node: &NodeId) {
        if let Some(pair) = self.pairs.remove(node) {
            self.waiting_bytes -= pair.waiting_bytes;
        }
    }

    fn wait(&mut self, node: NodeId, bytes: Vec<u8>, now: Timestamp) {
        let fits = self.waiting_bytes + bytes.len() <= WAITING_BYTES_TOTAL;
        let pair = self.pair(node, now);
        let has_room = pair.waiting.len() < WAITING_MAX
            && pair.waiting_bytes + bytes.len() <= WAITING_BYTES_MAX;
        // What does not fit is as lost as on the network.
        if fits && has_room {
            pair.waiting_bytes += bytes.len();
            self.waiting_bytes += bytes.len();
            if let Some(pair) = self.pairs.get_mut(&node) {
                pair.waiting.push_back(bytes);
            }
        }
    }

    fn take_waiting(&mut self, node: &NodeId) -> VecDeque<Vec<u8>> {
        let Some(pair) = self.pairs.get_mut(node) else { return VecDeque::new() };
        self.waiting_bytes -= std::mem::take(&mut pair.waiting_bytes);
        std::mem::take(&mut pair.waiting)
    }

    /// Forgets what is spent.
    fn sweep(&mut self, now: Timestamp) {
        for pair in self.pairs.values_mut() {
            pair.held.retain(|held| !held.session.is_spent(now));
        }
        let kept = self.limits.life;
        self.pairs.retain(|_, pair| {
            !pair.held.is_empty()
                || pair.opening.is_some()
                || !pair.waiting.is_empty()
                || now.since(pair.used) < kept
        });
    }
}

impl Peer {
    /// Entropy for the secrets of sessions that nothing else in memory leads to: right after
    /// [`Peer::new`], from the operating system. Without it they come from the seed of `new`, which who
    /// takes the process's memory finds there.
    pub fn session_entropy(&mut self, entropy: [u8; 32]) {
        let mut hasher = Hasher::new("session/entropy");
        hasher.update(&*self.sessions.entropy).update(&entropy);
        self.sessions.entropy = Zeroizing::new(hasher.finish().0);
    }

    /// Whether the message that is being handled came in a session.
    pub(super) fn is_reading_privately(&self) -> bool {
        self.sessions.answering.is_some()
    }

    fn is_private_task(&self, task: &TaskId) -> bool {
        self.tasks.is_private(task) || self.jobs.is_private(task)
    }

    /// Whether a message is about what only some nodes may know.
    fn is_confidential(&self, message: &Message) -> bool {
        match message {
            Message::Offer(offer) => {
                offer.kind == TaskKind::Encryption || self.is_private_task(&offer.task)
            }
            Message::Assign { assignment, .. } => {
                let body = &assignment.body;
                body.kind == TaskKind::Encryption || self.is_private_task(&body.task)
            }
            Message::Bid { task, .. }
            | Message::Decline { task, .. }
            | Message::Accepted { task }
            | Message::RevealPlease { task, .. }
            | Message::Over { task, .. } => self.is_private_task(task),
            Message::Committed(commit) => self.is_private_task(&commit.body.task),
            Message::Revealed { reveal, .. } => self.is_private_task(&reveal.body.task),
            // Content that is asked for in private is given in private, because it is the answer.
            Message::Want { .. } | Message::Chunk { .. } | Message::NotHere { .. } => false,
            Message::Hello { .. }
            | Message::Welcome { .. }
            | Message::Refused { .. }
            | Message::Heir { .. }
            | Message::Collections { .. }
            | Message::Paid(_)
            | Message::Replicate { .. }
            | Message::Release { .. }
            | Message::LogWant { .. }
            | Message::LogBatch { .. }
            | Message::ReplicaAt { .. }
            | Message::Propose(_)
            | Message::Vote(_)
            | Message::NoVote { .. }
            | Message::Certificates(_)
            | Message::Frontier { .. }
            | Message::Claim(_)
            | Message::AskWithdraw(_)
            | Message::SayWithdraw { .. }
            | Message::Challenge { .. }
            | Message::Possesses { .. }
            | Message::Agree(_)
            | Message::Plan(_)
            | Message::PlanWant(_)
            | Message::Closed(_)
            | Message::CheckpointWant { .. }
            | Message::Checkpoints { .. }
            | Message::Ballot(_)
            | Message::Audit(_)
            | Message::AuditCommit(_)
            | Message::AuditReveal(_)
            | Message::AuditDoubt(_)
            | Message::RollCall(_)
            | Message::Seen(_)
            | Message::AskHeads
            | Message::SayHeads { .. }
            | Message::Sketch(_)
            | Message::SketchAnswer { .. }
            | Message::Next(_)
            | Message::SessionOpen(_)
            | Message::SessionAccept(_)
            | Message::Private(_)
            | Message::SessionGone(_) => false,
        }
    }

    /// Whether a message may not leave outside of a session.
    pub(super) fn must_leave_privately(&self, to: &NodeId, message: &Message) -> bool {
        if !self.settings.keeps_private || is_greeting(message) || is_of_sessions(message) {
            return false;
        }
        let asks =
            matches!(message, Message::Want { content, .. } if self.content.is_private(content));
        asks || self.sessions.answering == Some(*to) || self.is_confidential(message)
    }

    /// Whether a message that came outside of a session does not count.
    pub(super) fn must_come_privately(&self, message: &Message) -> bool {
        let given = match message {
            Message::Chunk { content, .. } | Message::NotHere { content } => {
                self.content.is_private(content)
            }
            _ => false,
        };
        let reading = self.is_reading_privately();
        self.settings.keeps_private && !reading && (given || self.is_confidential(message))
    }

    pub(super) fn send_privately(&mut self, to: NodeId, message: &Message) {
        let (now, bytes) = (self.now, message::encode_message(message));
        // Of a record what is inside counts: its kind is nobody else's to know.
        self.note_sent(to, &bytes);
        if let Some(held) = self.sessions.pairs.get_mut(&to).and_then(|pair| pair.speaking(now)) {
            let record = held.session.encrypt(now, bytes);
            // Whoever speaks in one is one that is used.
            match record {
                Ok(record) => return self.send_record(to, record),
                Err(_) => held.gone = true,
            }
            return self.send_privately(to, message);
        }
        self.sessions.wait(to, bytes, now);
        self.open_session(to);
    }

    fn send_record(&mut self, to: NodeId, record: Record) {
        let now = self.now;
        self.sessions.pair(to, now).used = now;
        self.counters.private_sent += 1;
        self.send_openly(to, &Message::Private(record));
    }

    /// Says what waited, or nothing, so that the other end knows that the session stands.
    fn say_waiting(&mut self, to: NodeId) {
        let now = self.now;
        let mut waiting = self.sessions.take_waiting(&to);
        if waiting.is_empty() {
            waiting.push_back(Vec::new());
        }
        for bytes in waiting {
            let pair = self.sessions.pairs.get_mut(&to);
            let Some(held) = pair.and_then(|pair| pair.speaking(now)) else { return };
            if let Ok(record) = held.session.encrypt(now, bytes) {
                self.send_record(to, record);
            }
        }
    }

    fn open_session(&mut self, to: NodeId) {
        let now = self.now;
        let bounded = self.settings.limits;
        let pair = self.sessions.pair(to, now);
        let begins = pair.opening.is_none()
            && (pair.allowance.take_one(HANDSHAKES, HANDSHAKE_EVERY, now) || !bounded);
        if !std::mem::replace(&mut pair.timed, true) {
            self.after(OPEN_AGAIN, Timer::Session(to));
        }
        if !begins {
            return;
        }
        let entropy = self.sessions.draw();
        let begun = Initiator::begin(&self.key, &self.pool, to, entropy);
        let opening = begun.opening().clone();
        self.sessions.pair(to, now).opening = Some((begun, 0));
        self.send_openly(to, &Message::SessionOpen(Box::new(opening)));
    }

    /// Repeats an opening, begins one that was put off, gives up.
    pub(super) fn on_session_timer(&mut self, node: NodeId) {
        let Some(pair) = self.sessions.pairs.get_mut(&node) else { return };
        pair.timed = false;
        let again = match &mut pair.opening {
            Some((begun, tries)) if *tries < OPEN_TRIES => {
                *tries += 1;
                Some(begun.opening().clone())
            }
            Some(_) => {
                pair.opening = None;
                self.sessions.take_waiting(&node);
                return;
            }
            None if pair.waiting.is_empty() => return,
            None => return self.open_session(node),
        };
        pair.timed = true;
        self.after(OPEN_AGAIN, Timer::Session(node));
        if let Some(opening) = again {
            self.send_openly(node, &Message::SessionOpen(Box::new(opening)));
        }
    }

    /// A node is not to be spoken to any more.
    pub(super) fn close_sessions(&mut self, node: &NodeId) {
        self.sessions.close(node);
    }

    pub(super) fn sweep_sessions(&mut self) {
        self.sessions.sweep(self.now);
    }

    pub(super) fn on_session_open(&mut self, from: NodeId, opening: Signed<Opening>) {
        let now = self.now;
        if opening.signer != from || opening.body.to != self.me {
            return self.refuse_private();
        }
        let digest = opening.digest();
        let pair = self.sessions.pair(from, now);
        let mut answered = pair.held.iter().filter_map(|held| held.answered.as_ref());
        if let Some((_, answer)) = answered.find(|(of, _)| *of == digest) {
            // Asked again: the answer got lost, or is no longer needed.
            if let Some(answer) = answer.clone() {
                self.send_openly(from, &Message::SessionAccept(Box::new(answer)));
            }
            return;
        }
        // Asked more often than anybody honest does: not answered, and asked again.
        let may = pair.allowance.take_one(HANDSHAKES, HANDSHAKE_EVERY, now)
            && self.sessions.allowance.take_one(ALL, ALL_EVERY, now);
        if !may && self.settings.limits {
            return self.refuse_private();
        }
        let (entropy, limits) = (self.sessions.draw(), self.sessions.limits);
        let (key, pool) = (&self.key, &self.pool);
        let agreed = respond(key, pool, &opening, &mut self.verifier, entropy, limits, now);
        let Ok((answer, session)) = agreed else { return self.refuse_private() };
        let answered = Some((digest, Some(answer.clone())));
        let held = Held { session, confirmed: false, gone: false, answered };
        self.sessions.pair(from, now).hold(held);
        self.send_openly(from, &Message::SessionAccept(Box::new(answer)));
    }

    pub(super) fn on_session_accept(&mut self, from: NodeId, answer: &Signed<Acceptance>) {
        let (now, limits) = (self.now, self.sessions.limits);
        let Some(pair) = self.sessions.pairs.get_mut(&from) else { return };
        let Some((begun, _)) = &pair.opening else { return };
        let Ok(session) = begun.finish(answer, &self.pool, &mut self.verifier, limits, now) else {
            return self.refuse_private();
        };
        pair.opening = None;
        pair.hold(Held { session, confirmed: true, gone: false, answered: None });
        pair.used = now;
        self.counters.sessions_agreed += 1;
        self.say_waiting(from);
    }

    /// A record: what is in it is handled as if it had come alone, but for what may not come alone.
    pub(super) fn on_private(&mut self, from: NodeId, record: &Record) {
        let now = self.now;
        let pair = self.sessions.pairs.get_mut(&from);
        let at = pair
            .as_ref()
            .and_then(|pair| pair.held.iter().position(|held| held.session.id() == record.session));
        let (Some(pair), Some(at)) = (pair, at) else {
            self.refuse_private();
            return self.send_openly(from, &Message::SessionGone(record.session));
        };
        let bytes = match pair.held[at].session.decrypt(now, record) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refuse_private();
                match error {
                    SessionError::Over => {
                        self.send_openly(from, &Message::SessionGone(record.session));
                    }
                    SessionError::Forged => self.wrong(&from, Wrong::Malformed),
                    // A network may say something twice, or late.
                    _ => {}
                }
                return;
            }
        };
        pair.used = now;
        self.counters.private_received += 1;
        if !pair.held[at].confirmed {
            pair.confirm(at);
            self.counters.sessions_agreed += 1;
            if !pair.waiting.is_empty() {
                self.say_waiting(from);
            }
        }
        if bytes.is_empty() {
            return;
        }
        // What it costs whoever says it is the same as outside of a session, besides the record.
        if !self.is_within_budget(&from, FrameKind::of(&bytes), bytes.len(), true) {
            return;
        }
        let inner = self.read_message(&bytes);
        let Some(inner) = inner.filter(|inner| !is_greeting(inner) && !is_of_sessions(inner))
        else {
            self.refuse_private();
            return self.wrong(&from, Wrong::Malformed);
        };
        self.sessions.answering = Some(from);
        self.on_message(from, inner);
        self.sessions.answering = None;
    }

    /// The other end does not know a session: it restarted, or forgot.
    pub(super) fn on_session_gone(&mut self, from: NodeId, session: SessionId) {
        let Some(pair) = self.sessions.pairs.get_mut(&from) else { return };
        let Some(held) = pair.held.iter_mut().find(|held| held.session.id() == session) else {
            return;
        };
        // Whoever could say so in another's name would cost a handshake, and no more.
        if held.confirmed && !std::mem::replace(&mut held.gone, true) {
            self.open_session(from);
        }
    }

    fn refuse_private(&mut self) {
        self.counters.private_refused += 1;
    }
}

/// Who is no member yet has no session.
fn is_greeting(message: &Message) -> bool {
    matches!(
        message,
        Message::Hello { .. }
            | Message::Heir { .. }
            | Message::Welcome { .. }
            | Message::Refused { .. }
    )
}

fn is_of_sessions(message: &Message) -> bool {
    matches!(
        message,
        Message::SessionOpen(_)
            | Message::SessionAccept(_)
            | Message::Private(_)
            | Message::SessionGone(_)
    )
}
