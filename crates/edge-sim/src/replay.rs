//! Frames of honest nodes, recorded and shown again by somebody else.
//!
//! The attacker is a member and has more than a member can have: every frame that leaves an honest
//! node, whoever it is for. Later it shows them under its own name or a stranger's, for nobody can speak under
//! another's ([`edge_swarm::Input::Frame`] names the key that the handshake proved). What a frame shown
//! again changes is found out at the receiver: what it would store, what it would compute, and what it
//! answers when it is asked about itself before and after. What a receiver thinks of the attacker
//! itself is left out: who repeats another's words about its own addresses says them of itself.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, NodeId, Rng, SecretKey, Timestamp, Verifier};
use edge_swarm::{
    Answer, Command, Input, Output, Peer, Settings,
    message::{FRAME_DIRECT, FRAME_GOSSIP},
};

use crate::{disk::Disk, outcome::Counted, pool};

/// Frames of one kind that are kept, a fair sample of all.
const KEPT_OF_A_KIND: usize = 64;
/// The simulator's question in the middle of an input.
const QUESTION: u64 = u64::MAX - 7;
/// One frame in this many is shown by somebody who is no member.
const STRANGER_ONE_IN: u64 = 8;
/// Kinds of direct messages and of gossip.
const KINDS: usize = 30 + 8;
/// So many of them at least must have been recorded.
pub(crate) const KINDS_MIN: usize = 34;

/// What was recorded, and what came of showing it again.
pub(crate) struct Recorder {
    /// Who shows it again.
    pub(crate) attacker: u32,
    rng: Rng,
    kept: BTreeMap<(u8, u8), Vec<Vec<u8>>>,
    seen: BTreeMap<(u8, u8), u64>,
    stopped: bool,
    recorded: u64,
    shown: u64,
    shown_kinds: BTreeSet<(u8, u8)>,
    accepted: Vec<String>,
    /// A key that is no member.
    stranger: NodeId,
    /// A node of another pool with the same members.
    elsewhere: Option<(Peer, Disk)>,
}

impl Recorder {
    pub(crate) fn new(attacker: u32, seed: u64) -> Recorder {
        Recorder {
            attacker,
            rng: Rng::derive(seed, "replay"),
            kept: BTreeMap::new(),
            seen: BTreeMap::new(),
            stopped: false,
            recorded: 0,
            shown: 0,
            shown_kinds: BTreeSet::new(),
            accepted: Vec::new(),
            stranger: SecretKey::from_seed(Digest::of_value("stranger", &seed).0).node_id(),
            elsewhere: None,
        }
    }

    /// Nothing more is recorded.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// A frame leaves an honest node.
    pub(crate) fn record(&mut self, from: u32, frame: &[u8]) {
        let (Some(sort), Some(kind)) = (frame.get(3), frame.get(4)) else { return };
        if from == self.attacker || self.stopped {
            return;
        }
        self.recorded += 1;
        let seen = self.seen.entry((*sort, *kind)).or_default();
        *seen += 1;
        let kept = self.kept.entry((*sort, *kind)).or_default();
        if kept.len() < KEPT_OF_A_KIND {
            kept.push(frame.to_vec());
        } else {
            // Vitter's algorithm R (1985).
            let place = self.rng.below(*seen) as usize;
            if let Some(kept) = kept.get_mut(place) {
                *kept = frame.to_vec();
            }
        }
    }

    /// A frame to show again, every kind as often as any other, and how: to its peer or as gossip.
    pub(crate) fn draw(&mut self, attacker: NodeId) -> Option<((u8, u8), Input)> {
        let kinds: Vec<(u8, u8)> = self.kept.keys().copied().collect();
        let kind = *self.rng.pick(&kinds)?;
        let bytes = self.rng.pick(self.kept.get(&kind)?)?.clone();
        self.shown += 1;
        self.shown_kinds.insert(kind);
        let published = kind.0 == FRAME_GOSSIP && self.rng.chance(1, 2);
        let from = if self.rng.chance(1, STRANGER_ONE_IN) { self.stranger } else { attacker };
        let input = match published {
            true => Input::Published { from, number: 0, bytes },
            false => Input::Frame { from, bytes },
        };
        Some((kind, input))
    }

    /// Which of `count` nodes sees the next one.
    pub(crate) fn choose(&mut self, count: usize) -> usize {
        self.rng.below(count.max(1) as u64) as usize
    }

    /// What a receiver did with it.
    pub(crate) fn judge(&mut self, whom: &str, kind: (u8, u8), changed: &[String]) {
        if !changed.is_empty() {
            let sort = if kind.0 == FRAME_DIRECT { "message" } else { "gossip" };
            let text = format!("{whom} took {sort} {} shown again: {}", kind.1, changed.join(", "));
            self.accepted.push(text);
        }
    }

    /// Members of this pool that founded another one. Without context its node checks no signature.
    pub(crate) fn found_another(&mut self, keys: &[SecretKey], seed: u64, context: bool) {
        let other = seed ^ 0x0fea_7a00;
        let mut verifier = Verifier::memoised(1 << 12);
        let ready = pool::ready(keys, &[], &[0], other, &mut verifier);
        let mut disk = Disk::new(ready.base.clone());
        for write in ready.own.get(&0).into_iter().flatten() {
            disk.write(write.clone());
        }
        disk.begin_sync();
        disk.end_sync(0);
        let verifier = match context {
            true => Verifier::memoised(1 << 12),
            false => Verifier::trusting_for_simulation(),
        };
        let settings = Settings { pins: edge_tasks::pins(), ..Settings::default() };
        let seed = Digest::of_value("another", &other).0;
        let now = Timestamp(1_000_000_000);
        let started = Peer::new(keys[0].clone(), settings, disk.stored(), verifier, seed, now).ok();
        self.elsewhere = started.map(|mut peer| {
            while peer.poll().is_some() {}
            (peer, disk)
        });
    }

    /// Shows one frame to the node of another pool.
    pub(crate) fn show_elsewhere(&mut self, attacker: NodeId) {
        let Some((kind, input)) = self.draw(attacker) else { return };
        let Some((peer, disk)) = &mut self.elsewhere else { return };
        let (changed, _) = show(peer, disk, Timestamp(1_000_000_000), input, &attacker);
        self.judge("a node of another pool", kind, &changed);
    }

    pub(crate) fn verdict(&self) -> (Counted, Vec<String>) {
        let mut found: Vec<String> = self.accepted.clone();
        if self.shown_kinds.len() < KINDS_MIN {
            let of = |sort: u8, most: u8| {
                let missing = (0..most).filter(move |n| !self.kept.contains_key(&(sort, *n)));
                missing.map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
            };
            found.push(format!(
                "{} of {KINDS} kinds were shown again; not recorded: direct {}; gossip {}",
                self.shown_kinds.len(),
                of(FRAME_DIRECT, 30),
                of(FRAME_GOSSIP, 8)
            ));
        }
        let counted = Counted::of([
            ("recorded", self.recorded as f64),
            ("kinds", self.shown_kinds.len() as f64),
            ("replayed", self.shown as f64),
            ("accepted", self.accepted.len() as f64),
        ]);
        (counted, found)
    }
}

/// What a peer says of itself, but for what it thinks of `attacker` and for hints that change by the
/// second.
fn state_of(peer: &mut Peer, now: Timestamp, attacker: &NodeId) -> Vec<String> {
    let mut told = Vec::new();
    let mut questions = vec![Command::ListCollections, Command::Status, Command::ListPeers];
    while let Some(command) = questions.pop() {
        peer.handle(now, Input::Command { call: QUESTION, command });
        while let Some(output) = peer.poll() {
            let Output::Answer { call: QUESTION, answer } = output else { continue };
            match answer {
                Ok(Answer::Peers(peers)) => {
                    let balances = peers.iter().map(|peer| Some(peer.node)).chain([None]);
                    questions.extend(balances.map(|account| Command::Balance { account }));
                    let others = peers.iter().filter(|peer| peer.node != *attacker);
                    let lines = others.map(|peer| {
                        format!(
                            "{} at {:?}: {} {} {} {} {}",
                            peer.node.short(),
                            peer.addresses,
                            peer.witness,
                            peer.checked,
                            peer.reliability,
                            peer.faults,
                            peer.stake
                        )
                    });
                    told.extend(lines);
                }
                Ok(Answer::Status(mut status)) => {
                    status.notes.clear();
                    (status.connected, status.witnesses_reachable) = (0, 0);
                    told.push(format!("{status:?}"));
                }
                answer => told.push(format!("{answer:?}")),
            }
        }
    }
    told
}

/// Gives a peer one input and says what it changed; the outputs are still to be done.
pub(crate) fn show(
    peer: &mut Peer,
    disk: &Disk,
    now: Timestamp,
    input: Input,
    attacker: &NodeId,
) -> (Vec<String>, Vec<Output>) {
    let before = state_of(peer, now, attacker);
    peer.handle(now, input);
    let outputs: Vec<Output> = std::iter::from_fn(|| peer.poll()).collect();
    let after = state_of(peer, now, attacker);
    let mut changed: Vec<String> = Vec::new();
    for output in &outputs {
        match output {
            Output::Persist(write) => {
                let of_itself = write.key.ends_with(&attacker.0);
                if !of_itself && disk.read(write.table, &write.key) != write.value {
                    changed.push(format!("it stores in {}", write.table.name()));
                }
            }
            Output::Execute { .. } => changed.push("it computes".into()),
            Output::Answer { .. } => changed.push("it answers a caller".into()),
            _ => {}
        }
    }
    let new = after.iter().filter(|line| !before.contains(line));
    let gone: Vec<&String> = before.iter().filter(|line| !after.contains(line)).collect();
    for (place, line) in new.enumerate() {
        let from = gone.get(place).map_or(0, |other| same_bytes(line, other));
        changed.push(format!("it says {}", excerpt(line, from)));
    }
    for (place, line) in gone.iter().enumerate() {
        let other = after.iter().filter(|line| !before.contains(line)).nth(place);
        let from = other.map_or(0, |other| same_bytes(line, other));
        changed.push(format!("it said {}", excerpt(line, from)));
    }
    changed.truncate(4);
    (changed, outputs)
}

/// How many bytes two texts begin with alike.
fn same_bytes(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count()
}

/// Some of a text, from a little before a byte on.
fn excerpt(text: &str, from: usize) -> String {
    let begins = |(at, _): &(usize, char)| *at + 60 >= from;
    text.char_indices().filter(begins).map(|(_, char)| char).take(180).collect()
}
