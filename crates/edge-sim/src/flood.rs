//! Members that send as much as they can: a hundred times what an honest node sends, of all kinds,
//! all at one node at a time.
//!
//! What they send holds: nothing is malformed and every signature is right, so that only its
//! amount is against them. Handling a frame takes its time here ([`handled_us`]), and a node handles
//! one after the other, as the thread that owns the product's peer does.

use std::collections::BTreeMap;

use edge_base::{Credits, Digest, Micros, NodeId, Rng, Signed, TaskId, TaskKind};
use edge_ledger::{
    Block, BlockKind, Sketch,
    statement::{Assignment, task_id},
};
use edge_swarm::{
    CallId, Command, Line,
    command::Priority,
    frame::FrameKind,
    message::{
        Acquaintance, Advert, CollectionSpec, Gossip, Message, Offer, encode_gossip, encode_message,
    },
};

use crate::{node::Node, outcome::Counted, queue::Instant, scenario::Flood};

/// Flooders send this often, each time what is due.
pub(crate) const ACT_EVERY: Micros = Micros::from_millis(10);
/// All of them aim at one node for so long, then at the next.
const AIM_FOR: u64 = 3_000_000;
/// One frame in so many is gossip, to everybody; half of the rest is gossip for one.
const GOSSIP_EVERY: u64 = 20;
/// Different frames of each flooder that it repeats.
const DIFFERENT: u64 = 240;
/// Within this after its first frame a flooder is banned by the node that it floods.
const BANNED_WITHIN: u64 = 10_000_000;
/// How much slower honest calls may be.
const SLOWER_MAX: f64 = 2.0;
/// What waits for a peer, as in the daemon.
const LINE_BYTES: usize = 32 << 20;

/// Microseconds that the peer's thread takes for a frame that led to so many checks of signatures:
/// the means of `edge-sim run mixed-faults --seed 3 --frames` on the reference machine, of which 40
/// a signature.
pub(crate) fn handled_us(kind: FrameKind, signatures: u64) -> u64 {
    let rest = match kind.name() {
        "LogBatch" => 127,
        "Assign" => 70,
        "Vote" => 58,
        "Revealed" | "Hello" | "Welcome" => 36,
        "Bid" | "Chunk" => 32,
        "Propose" => 24,
        "Certificate" | "Certificates" => 20,
        "Committed" | "Paid" | "RevealPlease" | "Replicate" | "Collections" => 10,
        _ => 5,
    };
    rest + 40 * signatures
}

/// The same of one that is dropped before it is decoded.
pub(crate) const DROPPED_US: u64 = 2;

/// What waits for the thread of a peer.
pub(crate) enum Waiting {
    Frame { from: u32, published: bool, bytes: Vec<u8> },
    Command { call: CallId, command: Box<Command> },
}

/// What honest nodes do when nobody floods.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quiet {
    /// Frames that a node sends in a second.
    pub(crate) frames_per_s: f64,
    pub(crate) task_p99_ms: f64,
    pub(crate) search_p99_ms: f64,
}

/// The flood of a run, and the queues of all nodes.
pub(crate) struct Floods {
    attack: Flood,
    /// Nobody floods: this run says what is usual.
    quiet: Option<Quiet>,
    flooders: Vec<u32>,
    victims: Vec<u32>,
    begins: Instant,
    ends: Instant,
    rng: Rng,
    frames: BTreeMap<u32, Vec<Vec<u8>>>,
    sent: u64,
    /// When each flooder first aimed at each victim.
    aimed: BTreeMap<(u32, u32), Instant>,
    /// What waits for each node, by who sent it: nobody's are its own commands.
    pub(crate) lines: Vec<Line<Option<u32>, Waiting>>,
    pub(crate) busy: Vec<bool>,
    /// Frames for which there was no room.
    pub(crate) overflowed: u64,
    pub(crate) longest: usize,
    /// Frames of honest nodes.
    pub(crate) usual: u64,
}

impl Floods {
    pub(crate) fn new(
        attack: Flood,
        flooders: &[u32],
        victims: &[u32],
        nodes: usize,
        (seed, quiet): (u64, Option<Quiet>),
    ) -> Floods {
        Floods {
            attack,
            quiet,
            flooders: flooders.to_vec(),
            victims: victims.to_vec(),
            begins: Instant::MAX,
            ends: Instant::MAX,
            rng: Rng::derive(seed, "flood"),
            frames: BTreeMap::new(),
            sent: 0,
            aimed: BTreeMap::new(),
            lines: (0..nodes).map(|_| Line::new(LINE_BYTES)).collect(),
            busy: vec![false; nodes],
            overflowed: 0,
            longest: 0,
            usual: 0,
        }
    }

    /// Whether somebody floods in this run.
    pub(crate) fn begin(&mut self, start: Instant, within: Micros) -> bool {
        self.begins = start + 1_000_000;
        self.ends = start + within.0;
        self.quiet.is_some() && !self.flooders.is_empty() && !self.victims.is_empty()
    }

    /// What is due at a time: from, to (nobody: published) and frame.
    pub(crate) fn act(
        &mut self,
        now: Instant,
        nodes: &[Node],
        pool: &Digest,
        banned: impl Fn(u32, u32) -> bool,
    ) -> Vec<(u32, Option<u32>, Vec<u8>)> {
        let Some(quiet) = self.quiet.filter(|_| now >= self.begins && now < self.ends) else {
            return Vec::new();
        };
        let at = (now - self.begins) / AIM_FOR;
        let victim = self.victims[at as usize % self.victims.len()];
        let rate = quiet.frames_per_s * self.attack.times as f64;
        let due = (rate * ACT_EVERY.0 as f64 / 1e6).round() as u64;
        let mut out = Vec::new();
        for flooder in self.flooders.clone() {
            // A connection that is refused carries nothing.
            if banned(victim, flooder) {
                continue;
            }
            self.aimed.entry((flooder, victim)).or_insert(now);
            let node = &nodes[flooder as usize];
            let frames =
                self.frames.entry(flooder).or_insert_with(|| frames(node, pool, victim)).clone();
            for _ in 0..due {
                self.sent += 1;
                if self.sent.is_multiple_of(GOSSIP_EVERY) {
                    let gossip = Gossip::Advert(advert(node, pool, self.sent));
                    out.push((flooder, None, encode_gossip(&gossip)));
                } else if self.sent.is_multiple_of(2) {
                    // New each time, so that its signature has to be checked each time.
                    let gossip = Gossip::Advert(advert(node, pool, self.sent));
                    out.push((flooder, Some(victim), encode_gossip(&gossip)));
                } else if let Some(frame) = self.rng.pick(&frames) {
                    out.push((flooder, Some(victim), frame.clone()));
                }
            }
        }
        out
    }

    /// What it came to, and what must not have.
    pub(crate) fn verdict(
        &self,
        bans: &BTreeMap<(u32, u32), Instant>,
        (task_p99_ms, search_p99_ms): (f64, f64),
    ) -> (Counted, Vec<String>) {
        let quiet = self.quiet.unwrap_or_default();
        let mut found = Vec::new();
        let mut slowest = 0;
        for ((flooder, victim), since) in &self.aimed {
            match bans.get(&(*victim, *flooder)).map(|at| at.saturating_sub(*since)) {
                Some(after) if after <= BANNED_WITHIN => slowest = slowest.max(after),
                _ => found.push(format!(
                    "node {victim} did not ban the flooder {flooder} within {} s",
                    BANNED_WITHIN / 1_000_000
                )),
            }
        }
        for (what, now, usual) in [
            ("tasks", task_p99_ms, quiet.task_p99_ms),
            ("searches", search_p99_ms, quiet.search_p99_ms),
        ] {
            if now > SLOWER_MAX * usual {
                found.push(format!("99 of 100 {what} took {now:.0} ms, usual are {usual:.0}"));
            }
        }
        if self.overflowed > 0 {
            found.push(format!("{} frames found a queue full", self.overflowed));
        }
        let came = Counted::of([
            ("flooders", self.flooders.len() as f64),
            ("honest_frames_per_s", quiet.frames_per_s),
            ("sent", self.sent as f64),
            ("longest_queue", self.longest as f64),
            ("banned_within_ms", slowest as f64 / 1e3),
            ("task_p99_ms", task_p99_ms),
            ("task_p99_usual_ms", quiet.task_p99_ms),
            ("task_p99_ratio", task_p99_ms / quiet.task_p99_ms),
            ("search_p99_ms", search_p99_ms),
            ("search_p99_usual_ms", quiet.search_p99_ms),
            ("search_p99_ratio", search_p99_ms / quiet.search_p99_ms),
        ]);
        (came, found)
    }
}

fn advert(node: &Node, pool: &Digest, counter: u64) -> Signed<Advert> {
    let advert = Advert {
        counter,
        life: u64::from(u32::MAX),
        pins: node.settings.pins.clone(),
        works: true,
        load: 0,
        offers: 0,
        addresses: node.settings.addresses.clone(),
        set_version: 2,
        epoch: 1,
        frontier: Digest::of(&counter.to_be_bytes()),
        agent: String::from("flood"),
    };
    Signed::seal(advert, &node.key, pool)
}

/// Frames that hold, of all that a member may say unasked.
fn frames(node: &Node, pool: &Digest, victim: u32) -> Vec<Vec<u8>> {
    let me = node.id;
    let frame = |n: u64| {
        let content = Digest::of_value("flood", &(me, n));
        let message = match n % 13 {
            0 => Message::Hello {
                pool: *pool,
                membership: None,
                join: None,
                addresses: node.settings.addresses.clone(),
                known: Acquaintance { count: n, sum: n },
            },
            1 => Message::Want { content, offset: 0 },
            2 => Message::Offer(offer(node, content)),
            10 => Message::Over { task: TaskId(content), accepted: None },
            3 | 8 | 9 => Message::Assign {
                assignment: Signed::seal(assignment(node, n, me), &node.key, pool),
                payload: Some(b"flood".to_vec()),
                priority: Priority::High,
                remaining: Micros::from_secs(60),
            },
            4 => Message::Frontier { range: None, heads: vec![(me, n)] },
            12 => {
                let mut key = [0; 16];
                key[..8].copy_from_slice(&n.to_le_bytes());
                Message::Sketch(Box::new(Sketch::empty(key, 24, true)))
            }
            5 | 7 => Message::Propose(Signed::seal(block(me, *pool, n), &node.key, pool)),
            6 => {
                let name = format!("flood-{victim}-{n}");
                let spec = CollectionSpec { name, nonce: n, layout: vec![], dropped: false };
                let specs = vec![Signed::seal(spec, &node.key, pool)];
                Message::Collections { specs, heads: vec![] }
            }
            _ => Message::AskWithdraw(edge_swarm::message::Withdrawal::Begin),
        };
        encode_message(&message)
    };
    (0..DIFFERENT).map(frame).collect()
}

fn offer(node: &Node, content: Digest) -> Offer {
    Offer {
        task: TaskId(content),
        kind: TaskKind::Embedding,
        pin: node.settings.pins.first().copied().unwrap_or_default(),
        payload_bytes: 5,
        price: Credits::from_micro(1_000),
        priority: Priority::High,
        remaining: Micros::from_secs(60),
    }
}

fn assignment(node: &Node, issued: u64, worker: NodeId) -> Assignment {
    let payload = Digest::of(b"flood");
    Assignment {
        task: task_id(&node.id, issued, TaskKind::Embedding, &payload),
        requester: node.id,
        worker,
        escrow: None,
        price: Credits::from_micro(1_000),
        kind: TaskKind::Embedding,
        payload,
        payload_bytes: 5,
        pins: node.settings.pins.first().copied().unwrap_or_default(),
        issued,
    }
}

fn block(account: NodeId, pool: Digest, n: u64) -> Block {
    let amount = Credits::from_micro(n + 1);
    Block {
        account,
        seq: 1,
        prev: pool,
        epoch: 1,
        kind: BlockKind::Stake { amount },
        debit: amount,
        credits: Vec::new(),
        balance_after: Credits::ZERO,
    }
}
