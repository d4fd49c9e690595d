//! The boundary of the peer: everything that goes in, everything that comes out.
//!
//! A driver (daemon, tab or simulator) calls [`crate::Peer::handle`] with one [`Input`], then drains
//! [`crate::Peer::poll`] until it answers `None`. Outputs are ordered, and the order carries the
//! durability rule: **every `Send`, `Publish` and `Answer` may leave only after every `Persist`
//! before it is durable.** A driver that groups commits keeps that order; a crash then loses
//! nothing that anybody was told.

use edge_base::{Digest, NodeId, Timestamp, Validation, Work};

use crate::{
    accept::Assumption,
    command::{Answer, Command, Refusal},
    event::Event,
};

/// A caller's number for a command, echoed in its answer.
pub type CallId = u64;
/// The peer's number for a piece of work.
pub type WorkId = u64;
/// The peer's number for a read from storage.
pub type LoadId = u64;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// An authenticated connection to a node stands.
    Connected {
        /// The node at the other end.
        node: NodeId,
    },
    /// The last connection to a node is gone.
    Disconnected {
        /// The node.
        node: NodeId,
    },
    /// A direct frame; the transport vouches for the sender.
    Frame {
        /// The sender.
        from: NodeId,
        /// The frame as received.
        bytes: Vec<u8>,
    },
    /// A gossiped frame; the envelope inside is signed by its author. It is passed on only after
    /// [`Output::Judged`] says so.
    Published {
        /// The connected node that brought it, who need not have written it.
        from: NodeId,
        /// The driver's number for it.
        number: u64,
        /// The frame as received.
        bytes: Vec<u8>,
    },
    /// Work handed out by [`Output::Execute`] ended.
    Executed {
        /// Which.
        work: WorkId,
        /// The canonical result, or why there is none.
        outcome: Result<Vec<u8>, String>,
    },
    /// A value asked for by [`Output::Load`].
    Loaded {
        /// Which.
        load: LoadId,
        /// The stored value, if there is one.
        value: Option<Vec<u8>>,
    },
    /// A caller wants something.
    Command {
        /// Echoed in the answer.
        call: CallId,
        /// What.
        command: Command,
    },
    /// The caller of a command is gone: its work may be dropped.
    Abandoned {
        /// The call.
        call: CallId,
    },
    /// Time passed; given at the latest when the time of [`Output::WakeAt`] is reached.
    Tick,
}

/// Where a durable value lives. One key-value table each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    /// The pool this node belongs to: genesis, witness set, own membership.
    Pool,
    /// Memberships and addresses of others.
    Members,
    /// Hashes of invitations that were not used yet, with their grants.
    Invites,
    /// Certificates by (account, sequence number), since the checkpoint before the last.
    Certificates,
    /// Votes cast as a witness. Never restored from a copy.
    Votes,
    /// The own block that waits for its certificate.
    OwnBlock,
    /// Collections and shards this node owns or replicates.
    Shards,
    /// Log batches by (shard, sequence number).
    Log,
    /// Own statements (commits, reveals) and tasks with their outcome.
    Tasks,
    /// Vouchers received.
    Vouchers,
    /// Verified faults.
    Faults,
    /// Reputation counts.
    Reputation,
    /// The last checkpoint with the states of all accounts, those that changed the witness set, and
    /// what this witness said in the agreement on the next. Never restored from a copy.
    Checkpoints,
    /// Nodes that are or were banned.
    Bans,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 14] = [
        Table::Pool,
        Table::Members,
        Table::Invites,
        Table::Certificates,
        Table::Votes,
        Table::OwnBlock,
        Table::Shards,
        Table::Log,
        Table::Tasks,
        Table::Vouchers,
        Table::Faults,
        Table::Reputation,
        Table::Checkpoints,
        Table::Bans,
    ];

    /// The table's name in storage.
    pub fn name(self) -> &'static str {
        match self {
            Table::Pool => "pool",
            Table::Members => "members",
            Table::Invites => "invites",
            Table::Certificates => "certificates",
            Table::Votes => "votes",
            Table::OwnBlock => "own_block",
            Table::Shards => "shards",
            Table::Log => "log",
            Table::Tasks => "tasks",
            Table::Vouchers => "vouchers",
            Table::Faults => "faults",
            Table::Reputation => "reputation",
            Table::Checkpoints => "checkpoints",
            Table::Bans => "bans",
        }
    }
}

/// One change of durable state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// The table.
    pub table: Table,
    /// The key.
    pub key: Vec<u8>,
    /// The new value, or `None` to remove it.
    pub value: Option<Vec<u8>>,
}

/// How urgent work is, most urgent first. Workers dequeue in this order, with a share kept for the
/// lower ones so that none starves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Urgency {
    /// A person waits: searches and tasks of high priority.
    High,
    /// Ordinary tasks.
    Normal,
    /// Repair and the re-execution of faults.
    Background,
}

/// Something for the driver to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Make a change durable before any later `Send`, `Publish` or `Answer` leaves.
    Persist(Write),
    /// Send a frame to a node, connected or not; loss is allowed.
    Send {
        /// The receiver.
        to: NodeId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Give a frame to every member that can be reached; loss is allowed.
    Publish {
        /// The frame: a signed envelope.
        frame: Vec<u8>,
    },
    /// Execute work on the node's workers. It may start before earlier persists are durable.
    Execute {
        /// Echoed in [`Input::Executed`].
        work: WorkId,
        /// What.
        what: Work,
        /// How urgent.
        urgency: Urgency,
    },
    /// The result of this work is not needed any more.
    CancelWork {
        /// Which.
        work: WorkId,
    },
    /// Read a value.
    Load {
        /// Echoed in [`Input::Loaded`].
        load: LoadId,
        /// The table.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
    /// Answer a command.
    Answer {
        /// The call.
        call: CallId,
        /// The answer.
        answer: Result<Answer, Refusal>,
    },
    /// Tell whoever watches.
    Event(Event),
    /// Keep a connection to a node at these addresses.
    Keep {
        /// The node.
        node: NodeId,
        /// Where it may be reached, as the transport writes addresses.
        addresses: Vec<String>,
    },
    /// Close connections to a node; it may come again.
    Disconnect {
        /// The node.
        node: NodeId,
    },
    /// Close connections to a node and refuse new ones.
    Ban {
        /// The node.
        node: NodeId,
    },
    /// Let a node that was banned connect again.
    Unban {
        /// The node.
        node: NodeId,
    },
    /// A connected node is a member: it may hear gossip and bring some. Before, it may not.
    Admit {
        /// The node.
        node: NodeId,
    },
    /// What becomes of gossip that came in.
    Judged {
        /// The number of [`Input::Published`].
        number: u64,
        /// Whether it is passed on.
        validation: Validation,
    },
    /// Call with [`Input::Tick`] at this time at the latest. Always the last output of a drain.
    WakeAt(Timestamp),
}

/// A pin of `encryption` tasks, and whose tasks are taken. Others are answered as if it were not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guarded {
    /// The pin.
    pub pin: Digest,
    /// What every payload under the pin begins with: the id of the key.
    pub key: Digest,
    /// Who may ask.
    pub nodes: Vec<NodeId>,
}

/// How long an owner can put right that it signed two heads unless [`Settings::coherence`] says
/// otherwise: a day.
pub const REPAIR_WITHIN: edge_base::Micros = edge_base::Micros::from_secs(24 * 3_600);

/// What the peer cannot know by itself and does not change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses at which others reach this node.
    pub addresses: Vec<String>,
    /// Pins (model, tokenizer, canon version) this node can execute; see `edge-tasks`.
    pub pins: Vec<Digest>,
    /// What this node executes for some nodes only, and tells nobody of: the keys it was given.
    pub guarded: Vec<Guarded>,
    /// The pin of shard work.
    pub shard_pin: Digest,
    /// Whether this node executes tasks of others.
    pub works: bool,
    /// How many tasks of others may wait here before bids are declined.
    pub queue_max: usize,
    /// The largest unpaid amount this node works for.
    pub exposure_max: edge_base::Credits,
    /// What is assumed about the workers of strangers.
    pub assumption: Assumption,
    /// Whether workers that often gave nothing are asked less often. Off only for measurements.
    pub weighs_outcomes: bool,
    /// Whether the bids of those who were drawn first are waited for. Off only for measurements.
    pub waits_for_bids: bool,
    /// Whether invitations are counted and what one member invited is one voice. Off only for
    /// measurements.
    pub weighs_branches: bool,
    /// Whether a node that hears of too few believes nobody. Off only for measurements.
    pub notices_isolation: bool,
    /// Whether own tasks and searches wait while others' budgets for this node are used up. Off only for measurements.
    pub paces: bool,
    /// Whether a node that starts learns from others what it signed before: blocks from witnesses, vouchers from
    /// workers. Off only for measurements.
    pub asks_heads: bool,
    /// Whether senders have budgets and are banned. Off only for measurements.
    pub limits: bool,
    /// What tunes the share of audits and the budgets.
    pub tuner: crate::tuner::Policy,
    /// Whether what is limited to some nodes travels in sessions with them only. Off only for
    /// measurements.
    pub keeps_private: bool,
    /// How long a result may take before its worker counts as late.
    pub execution_timeout: edge_base::Micros,
    /// For tests and measurements only: how long stake is on its way back, whatever the pool's
    /// parameter says.
    pub unstake_delay: Option<edge_base::Micros>,
    /// Witnesses make a checkpoint after so many certified blocks ...
    pub checkpoint_blocks: u64,
    /// ... or after this long, if there is any.
    pub checkpoint_every: edge_base::Micros,
    /// Whether certificates of blocks before the checkpoint before the last are dropped. Off only for
    /// measurements, and where whole histories are wanted.
    pub prunes: bool,
    /// How often a witness challenges a member to show that it is there, on average.
    pub call_every: edge_base::Micros,
    /// Whether being there has to be shown. Off only for measurements: everybody who is drawn counts.
    pub challenges: bool,
    /// Whether witnesses look who commits to assigned work and what comes of it. Off only for measurements:
    /// the first to commit are taken, and whatever they say alike is certified.
    pub checks_audits: bool,
    /// Whether a shard's root rests on more than one stranger, however proven. Off only for measurements.
    pub roots_take_two: bool,
    /// How long contradictions of an owner wait; `None`, for measurements only, to look away from them.
    pub coherence: Option<edge_coherence::Deadlines>,
    /// Whether ledgers with many accounts are compared by sketches. Off only for measurements.
    pub sketches: bool,
    /// Rows after which a collection opens its next shard.
    pub shard_rows: u64,
    /// Replicas wanted of each shard.
    pub replication: usize,
    /// A label that peers see.
    pub agent: String,
    /// The least number that this start of the node may have, such as the seconds of a wall clock: adverts
    /// of an earlier start are void, and a node that lost or restored its data would count from one again.
    pub life_min: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            addresses: Vec::new(),
            pins: Vec::new(),
            guarded: Vec::new(),
            shard_pin: Digest::default(),
            works: true,
            queue_max: 256,
            exposure_max: edge_base::Credits::from_micro(10_000_000),
            assumption: Assumption::CLOSED,
            weighs_outcomes: true,
            waits_for_bids: true,
            weighs_branches: true,
            notices_isolation: true,
            paces: true,
            asks_heads: true,
            limits: true,
            sketches: true,
            tuner: crate::tuner::Policy::Off,
            keeps_private: true,
            execution_timeout: edge_base::Micros::from_secs(10),
            unstake_delay: None,
            checkpoint_blocks: 1_000,
            checkpoint_every: edge_base::Micros::from_secs(600),
            prunes: true,
            call_every: edge_base::Micros::from_secs(edge_ledger::CALL_SECONDS),
            challenges: true,
            checks_audits: true,
            roots_take_two: true,
            coherence: Some(edge_coherence::Deadlines::from_repair(REPAIR_WITHIN)),
            shard_rows: 12_000,
            replication: 3,
            agent: String::from("edge-net"),
            life_min: 0,
        }
    }
}
