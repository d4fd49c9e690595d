//! What a frame says it is, read from its first five bytes, and what it costs whoever handles it.
//!
//! The cost is known before a frame is decoded: from its kind and its length. It counts what the
//! receiver has to do: a signature for every so many bytes of a list of signed things, a digest of
//! a payload, rows that are read, written or sent in answer. The figures are those that `edge-sim
//! run NAME --frames` measures, rounded up; a machine that is twice as fast has twice the reserve.

use std::fmt;

use crate::message::{FRAME_DIRECT, FRAME_GOSSIP};

/// What messages are for. Each sender has a budget for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Hello, Welcome, Refused, Heir.
    Greeting,
    /// Want, Chunk, NotHere.
    Content,
    /// From Offer to Paid.
    Tasks,
    /// Copies of shards, their logs and heads.
    Shards,
    /// Blocks, votes, certificates, claims, withdrawals.
    Ledger,
    /// What is passed on for others.
    Gossip,
    /// Messages that this version does not know, and what is no message.
    Other,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 7] = [
        Class::Greeting,
        Class::Content,
        Class::Tasks,
        Class::Shards,
        Class::Ledger,
        Class::Gossip,
        Class::Other,
    ];

    /// Its name in counters.
    pub fn name(self) -> &'static str {
        match self {
            Class::Greeting => "greeting",
            Class::Content => "content",
            Class::Tasks => "tasks",
            Class::Shards => "shards",
            Class::Ledger => "ledger",
            Class::Gossip => "gossip",
            Class::Other => "other",
        }
    }
}

/// Nanoseconds of work: for the frame, and for each of its bytes in 256 parts.
struct Rule {
    name: &'static str,
    class: Class,
    base_ns: u64,
    byte_ns_256: u64,
}

const fn rule(name: &'static str, class: Class, base_us: u64, byte_ns_256: u64) -> Rule {
    Rule { name, class, base_ns: base_us * 1_000, byte_ns_256 }
}

/// A byte of a payload that is copied and hashed: 1 ns.
const BULK: u64 = 256;
/// A byte of a list of signed things, of which each has at least 96 bytes: 320 ns.
const SIGNED: u64 = 81_920;
/// A byte of a list of small things that are looked up: 30 ns.
const LISTED: u64 = 7_680;

/// Direct messages by number. Nothing costs less than 40 us: decryption, queues and decoding are
/// there for the smallest frame too.
const DIRECT: [Rule; 55] = [
    rule("Hello", Class::Greeting, 400, LISTED),
    rule("Welcome", Class::Greeting, 150, SIGNED / 2),
    rule("Refused", Class::Greeting, 40, BULK),
    rule("Collections", Class::Shards, 40, SIGNED),
    rule("Want", Class::Content, 300, BULK),
    rule("Chunk", Class::Content, 40, BULK),
    rule("NotHere", Class::Content, 40, BULK),
    rule("Offer", Class::Tasks, 40, BULK),
    rule("Bid", Class::Tasks, 60, BULK),
    rule("Decline", Class::Tasks, 40, BULK),
    rule("Assign", Class::Tasks, 120, BULK),
    rule("Accepted", Class::Tasks, 40, BULK),
    rule("Committed", Class::Tasks, 80, BULK),
    rule("RevealPlease", Class::Tasks, 80, BULK),
    rule("Revealed", Class::Tasks, 150, BULK),
    rule("Over", Class::Tasks, 40, BULK),
    rule("Paid", Class::Tasks, 100, BULK),
    rule("Replicate", Class::Shards, 200, BULK),
    rule("Release", Class::Shards, 50, BULK),
    rule("LogWant", Class::Shards, 60, BULK),
    rule("LogBatch", Class::Shards, 50, BULK * 4),
    rule("ReplicaAt", Class::Shards, 40, BULK),
    rule("Propose", Class::Ledger, 200, LISTED),
    rule("Vote", Class::Ledger, 120, BULK),
    rule("NoVote", Class::Ledger, 200, BULK),
    rule("Certificates", Class::Ledger, 40, SIGNED),
    rule("Frontier", Class::Ledger, 3_000, LISTED),
    rule("Claim", Class::Ledger, 150, SIGNED),
    rule("AskWithdraw", Class::Ledger, 40, BULK),
    rule("SayWithdraw", Class::Ledger, 40, BULK),
    rule("Challenge", Class::Shards, 300, BULK),
    rule("Possesses", Class::Shards, 40, BULK),
    rule("Agree", Class::Ledger, 120, BULK),
    rule("Plan", Class::Ledger, 500, LISTED),
    rule("PlanWant", Class::Ledger, 200, BULK),
    rule("Closed", Class::Ledger, 120, SIGNED),
    rule("CheckpointWant", Class::Ledger, 500, BULK),
    rule("Checkpoints", Class::Ledger, 100, SIGNED),
    rule("Ballot", Class::Ledger, 120, BULK),
    // And what it takes to add up the receiver's own heads.
    rule("Sketch", Class::Ledger, 300, BULK * 10),
    rule("SketchAnswer", Class::Ledger, 60, LISTED),
    // A handshake, most of which is for X-Wing.
    rule("SessionOpen", Class::Tasks, 500, BULK),
    rule("SessionAccept", Class::Tasks, 500, BULK),
    // Decryption, and a copy; what is inside is charged once more, by itself.
    rule("Private", Class::Tasks, 60, BULK * 3),
    rule("SessionGone", Class::Tasks, 500, BULK),
    rule("Audit", Class::Ledger, 150, BULK),
    rule("AuditCommit", Class::Ledger, 150, BULK),
    rule("AuditReveal", Class::Ledger, 150, BULK),
    rule("AuditDoubt", Class::Ledger, 100, BULK),
    rule("Next", Class::Ledger, 40, BULK),
    rule("RollCall", Class::Ledger, 150, BULK),
    rule("Seen", Class::Ledger, 150, LISTED),
    rule("Heir", Class::Greeting, 150, SIGNED),
    rule("AskHeads", Class::Ledger, 100, BULK),
    rule("SayHeads", Class::Ledger, 60, SIGNED),
];

/// The place of Sketch in [`DIRECT`].
const SKETCH: u8 = 39;

/// Gossip by number.
const GOSSIP: [Rule; 16] = [
    rule("Advert", Class::Gossip, 80, BULK),
    // Each is learnt once, and a list of all comes at a greeting.
    rule("Member", Class::Gossip, 15, BULK),
    rule("Certificate", Class::Gossip, 40, SIGNED),
    rule("Handover", Class::Gossip, 100, LISTED),
    rule("Collection", Class::Gossip, 100, BULK),
    rule("Head", Class::Gossip, 100, BULK),
    rule("Fault", Class::Gossip, 250, BULK),
    rule("Equivocation", Class::Gossip, 150, BULK),
    rule("Ending", Class::Gossip, 80, BULK),
    rule("Overdraft", Class::Gossip, 80, SIGNED),
    // Up to three votes of 21 have to hold, and then the states of the whole cut are computed.
    rule("Checkpoint", Class::Gossip, 2_000, LISTED),
    rule("Change", Class::Gossip, 100, LISTED),
    rule("Contest", Class::Gossip, 100, SIGNED),
    rule("Parameter", Class::Gossip, 150, BULK),
    rule("Revocation", Class::Gossip, 100, BULK),
    rule("Succession", Class::Gossip, 200, LISTED),
];

/// What is not in these tables: as dear as a frame full of signatures.
const UNKNOWN: Rule = rule("unknown", Class::Other, 100, SIGNED);

/// Which message a frame holds, if what it says of itself is true.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameKind {
    gossip: bool,
    /// 255: unknown.
    number: u8,
}

impl FrameKind {
    /// What cannot be read.
    pub const UNKNOWN: FrameKind = FrameKind { gossip: false, number: u8::MAX };

    /// Reads it. The number has one byte in the shortest encoding; a longer one is unknown here.
    pub fn of(frame: &[u8]) -> FrameKind {
        let number = frame.get(4).copied().filter(|number| *number < 0x80);
        match (frame.get(3).copied(), number) {
            (Some(FRAME_DIRECT), Some(number)) if usize::from(number) < DIRECT.len() => {
                FrameKind { gossip: false, number }
            }
            (Some(FRAME_GOSSIP), Some(number)) if usize::from(number) < GOSSIP.len() => {
                FrameKind { gossip: true, number }
            }
            _ => FrameKind::UNKNOWN,
        }
    }

    /// Every kind that this version knows.
    pub fn all() -> impl Iterator<Item = FrameKind> {
        let direct = (0..DIRECT.len()).map(|number| (false, number));
        let gossip = (0..GOSSIP.len()).map(|number| (true, number));
        direct.chain(gossip).map(|(gossip, number)| FrameKind { gossip, number: number as u8 })
    }

    fn rule(self) -> &'static Rule {
        let table: &[Rule] = if self.gossip { &GOSSIP } else { &DIRECT };
        table.get(usize::from(self.number)).unwrap_or(&UNKNOWN)
    }

    /// The message's name.
    pub fn name(self) -> &'static str {
        self.rule().name
    }

    /// Whether the receiver goes through all its accounts.
    pub fn is_sketch(self) -> bool {
        !self.gossip && self.number == SKETCH
    }

    /// Whether it is what a requester says to who works for it, and no answer to what that one said.
    pub fn is_of_requester(self) -> bool {
        matches!(self.name(), "Offer" | "Assign" | "RevealPlease" | "Over" | "Paid")
    }

    /// Whether it is gossip.
    pub fn is_gossip(self) -> bool {
        self.gossip
    }

    /// What it is for.
    pub fn class(self) -> Class {
        self.rule().class
    }

    /// Nanoseconds that handling a frame of this kind and length takes at most, without what
    /// depends on the receiver.
    pub fn cost_ns(self, bytes: usize) -> u64 {
        let rule = self.rule();
        rule.base_ns + ((bytes as u64).saturating_mul(rule.byte_ns_256) >> 8)
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
