//! What a caller may ask of a peer and what it answers. CLI, HTTP and every other face are clients
//! of these two enums.

use std::sync::Arc;

use edge_base::{
    CollectionId, Credits, Digest, Micros, NodeId, RecordId, ShardId, Signed, TaskId, TaskKind,
    shard::LogEntry,
};
use edge_ledger::{Handover, WitnessSet};
use serde::{Deserialize, Serialize};

use crate::revocation::Revocation;

mod ledger;

pub use ledger::{
    AccountProofView, BalanceView, BlockView, CheckpointView, EconomyView, FateView, LedgerView,
    ParameterView, PendingView, VoteRefusalView, WithdrawalView,
};

/// How urgent the owner of a task says it is. High costs twice the price.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Dequeued first within a tenant's share.
    High,
    /// Never starves.
    #[default]
    Normal,
}

/// The most nodes that a task can be limited to.
pub const AMONG_MAX: usize = 64;
/// The most known items of a task's result.
pub const CANARIES_MAX: usize = 256;

/// A task as its owner states it.
#[derive(Clone, Debug)]
pub struct TaskRequest {
    /// The kind: one of a pure function; shard tasks have commands of their own.
    pub kind: TaskKind,
    /// The canonical payload.
    pub payload: Arc<[u8]>,
    /// The pin that workers must advertise.
    pub pin: Digest,
    /// Cost units: reference CPU-microseconds, at least 1.
    pub units: u64,
    /// Urgency.
    pub priority: Priority,
    /// Give up after this long.
    pub remaining: Micros,
    /// The most the requester pays for one execution.
    pub price_max: Option<Credits>,
    /// The only nodes that may know anything of the task, at most [`AMONG_MAX`]: nobody else is ever
    /// offered it, gets its payload or result, or is told of a dispute about it. What is missing
    /// when too few of them can be reached is executed here. Their adverts need not have the pin. An
    /// `encryption` task must have it.
    pub among: Option<Vec<NodeId>>,
    /// What is known of the result beforehand, if anything is.
    pub canaries: Canaries,
}

/// Items of a batch whose results are known. A result that says otherwise is believed in no case
/// before others said the same, and what they say decides who is accused: the known bytes themselves
/// prove nothing and go to nobody.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Canaries {
    /// The share of the batch's items that are known, in millionths; below 1,000,000.
    pub share_ppm: u32,
    /// Where known bytes of the result begin, and the bytes; at most [`CANARIES_MAX`].
    pub known: Vec<(usize, Vec<u8>)>,
}

impl Canaries {
    /// Whether a result has what is known of it.
    pub fn hold(&self, result: &[u8]) -> bool {
        let holds = |(at, bytes): &(usize, Vec<u8>)| {
            result.get(*at..).is_some_and(|rest| rest.starts_with(bytes))
        };
        self.known.iter().all(holds)
    }
}

/// One change of a collection: the entry and, when it stores a record, its body.
#[derive(Clone, Debug)]
pub struct Change {
    /// Id and record hash.
    pub entry: LogEntry,
    /// The body whose hash the entry holds; empty for a deletion.
    pub body: Vec<u8>,
}

/// Something a caller wants.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Who and how this node is.
    Status,
    /// Execute a task on the pool and check the result.
    Submit(TaskRequest),
    /// Stop a task that is not decided yet.
    CancelTask(TaskId),
    /// Tasks of this node, newest first.
    ListTasks {
        /// At most this many.
        limit: usize,
    },
    /// Everything about one task.
    ExplainTask(TaskId),
    /// Create a collection owned by this node.
    CreateCollection {
        /// Its name: 1-64 characters, letters, digits, `-`, `_`, `.`.
        name: String,
        /// What `edge-tasks` needs to know to build its shards (dimension, metric, model).
        layout: Vec<u8>,
    },
    /// The collections this node knows.
    ListCollections,
    /// Remove a collection owned by this node, everywhere.
    DropCollection {
        /// Its name.
        name: String,
    },
    /// Append changes to a collection. Answered when they are acknowledged and checked.
    Append {
        /// The collection's name.
        collection: String,
        /// At most [`edge_base::shard::BATCH_ENTRIES_MAX`] changes.
        changes: Vec<Change>,
        /// Cost units of the whole batch.
        units: u64,
    },
    /// Which of these records the collection holds, and with which contents.
    Known {
        /// The collection's name.
        collection: String,
        /// The ids.
        ids: Vec<RecordId>,
        /// Whether records count whose last change still waits for replicas.
        pending: bool,
    },
    /// Search every shard of a collection.
    Search {
        /// The collection's name.
        collection: String,
        /// How many hits.
        k: u32,
        /// Query vector, filter and effort, as `edge-tasks` encodes them.
        query: Vec<u8>,
        /// Cost units for one shard.
        units: u64,
        /// Give up after this long.
        remaining: Micros,
    },
    /// The members this node knows, and who else is banned.
    ListPeers,
    /// Ban a node.
    Ban {
        /// The node, a member or not.
        node: NodeId,
        /// For how long: at most a year.
        lasts: Micros,
    },
    /// What senders did to this node and what came of it.
    Security,
    /// End a ban, and forget it.
    Unban {
        /// The node.
        node: NodeId,
    },
    /// Believe a key no more, and tell everybody.
    Revoke(Box<Signed<Revocation>>),
    /// Give this node's place to a new key of its owner.
    Rotate {
        /// The new key.
        heir: Box<edge_base::SecretKey>,
    },
    /// The tickets of this node: those that are out, and what became of the others.
    Tickets,
    /// Make a ticket void that nobody used.
    WithdrawTicket {
        /// The ticket's id.
        ticket: Digest,
    },
    /// What this node executes for some nodes only changed: see [`Settings::guarded`](crate::Settings).
    Guard(Vec<crate::Guarded>),
    /// Make a one-time ticket.
    Invite {
        /// Whether the new member belongs to this node's owner.
        owner: bool,
        /// Credits granted when it joins.
        credits: Credits,
    },
    /// Balance of an account, this node's by default.
    Balance {
        /// The account.
        account: Option<NodeId>,
    },
    /// Blocks of an account, oldest first.
    History {
        /// The account, this node's by default.
        account: Option<NodeId>,
        /// At most this many, the newest.
        limit: usize,
    },
    /// Check every certificate again and add up.
    VerifyLedger,
    /// The last checkpoint.
    Checkpoint,
    /// What an account came to in the last checkpoint, with its proof.
    Proof {
        /// Whose; this node's if absent.
        account: Option<NodeId>,
    },
    /// The parameters of the pool's economy.
    Parameters,
    /// As a witness, want a parameter to become something.
    WantParameter {
        /// Its name.
        name: String,
        /// What it should be, in its unit.
        value: u64,
    },
    /// Hand the founder's witness duty to a set of four or more.
    Handover {
        /// The other members of the new set.
        witnesses: Vec<NodeId>,
    },
    /// Give credits to another member. Answered when a quorum has certified it. Refused while another
    /// payment of this node is not certified, as `Stake` and `Unstake` are: whoever asks again because
    /// the first answer did not come would pay twice. A payment whose caller goes away before it is signed
    /// does not happen; one that is signed goes on, also over restarts.
    Send {
        /// Who gets them.
        to: NodeId,
        /// How many.
        amount: Credits,
    },
    /// A payment (`Send`, `Stake`, `Unstake`) behind one that is not certified yet.
    AfterPending(Box<Command>),
    /// What became of a block: certified, or an own one that waits for votes.
    Fate {
        /// Its hash.
        block: Digest,
    },
    /// Put credits at stake. Answered when a quorum has certified it.
    Stake {
        /// How many.
        amount: Credits,
    },
    /// Begin to take stake back. Answered when a quorum has certified it; the credits are spendable
    /// again once the delay has passed, without another command.
    Unstake {
        /// How many.
        amount: Credits,
    },
    /// Pay what is owed now instead of at the next occasion.
    Settle,
    /// Take tasks of others from now on, or decline them and finish what was taken. Holds until the next
    /// start; of an identity that takes none by its settings it changes nothing.
    Work {
        /// Whether to take them.
        others: bool,
    },
    /// What is offered to others from now on while this node works, in thousandths of a core: members are
    /// told, and count it. It limits nothing here.
    Offer {
        /// Thousandths of a core.
        cpu_milli: u32,
    },
    /// How the pool's economy goes, as far as this node saw it.
    Economy,
    /// Finish what was promised and take nothing new; answered when idle.
    Drain,
}

/// What became of a command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// To `Rotate`: nothing is left to do for the key before.
    Rotated {
        /// The key under which this node goes on.
        heir: NodeId,
    },
    /// To `Status`.
    Status(Box<StatusView>),
    /// To `Submit`: the checked result.
    Task(TaskResult),
    /// To `ListTasks`.
    Tasks(Vec<TaskView>),
    /// To `ExplainTask`.
    Explained(Box<TaskView>),
    /// To `CreateCollection`.
    Collection(CollectionView),
    /// To `ListCollections`.
    Collections(Vec<CollectionView>),
    /// To `Append`.
    Appended {
        /// Records stored or removed.
        entries: usize,
        /// Fewest replicas that acknowledged any of them.
        replicas: usize,
    },
    /// To `Known`: the ids of the question that are stored, with their record hashes.
    Known(Vec<LogEntry>),
    /// To `Search`.
    Found(SearchView),
    /// To `ListPeers`.
    Peers(Vec<PeerView>),
    /// To `Invite`: the ticket's text.
    Ticket(String),
    /// To `Balance`.
    Balance(BalanceView),
    /// To `History`.
    History(Vec<BlockView>),
    /// To `VerifyLedger`.
    Ledger(LedgerView),
    /// To `Handover` by a single witness.
    HandedOver(Handover),
    /// To `Handover` by the founder of a larger set: a checkpoint began this one.
    WitnessesChanged(WitnessSet),
    /// To `Checkpoint`.
    Checkpoint(Box<CheckpointView>),
    /// To `Economy`.
    Economy(Box<EconomyView>),
    /// To `Proof`.
    Proof(Box<AccountProofView>),
    /// To `Security`.
    Security(Box<SecurityView>),
    /// To `Parameters` and `WantParameter`.
    Parameters(Vec<ParameterView>),
    /// To `Send`: the certified block.
    Sent(Box<BlockView>),
    /// To `Fate`.
    Fate(Box<FateView>),
    /// To `Tickets`.
    Tickets(Vec<TicketView>),
    /// To commands that only succeed.
    Done,
}

/// What the refusal of a payment begins with while another one is not certified.
pub const UNDER_WAY: &str = "a payment is not certified yet";

/// Why a command was refused; the exit code of the command line follows from it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The caller asked for something that is not there.
    #[error("{0}")]
    NotFound(String),
    /// The caller's input is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// Policy or credits forbid it.
    #[error("{0}")]
    Refused(String),
    /// It took longer than allowed.
    #[error("{0}")]
    TimedOut(String),
    /// It failed; the text says why.
    #[error("{0}")]
    Failed(String),
    /// This node's key was revoked: nobody would hear what it signs.
    #[error("{0}")]
    Revoked(String),
}

/// A checked task result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskResult {
    /// The task.
    pub task: TaskId,
    /// The canonical result.
    pub result: Arc<[u8]>,
    /// How it was checked.
    pub check: Check,
}

/// How a result came to be believed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Nodes whose results agreed.
    pub agreed: Vec<NodeId>,
    /// Nodes whose results differed.
    pub disagreed: Vec<NodeId>,
    /// The requester executed it too, and why.
    pub own_execution: Option<String>,
    /// The posterior probability, in parts per million.
    pub posterior_ppm: u64,
    /// Nobody else was there: the result is the requester's alone.
    pub self_checked: bool,
    /// One answer was enough, for the share of such answers of its worker that is audited, in parts per
    /// million.
    pub audit_ppm: Option<u64>,
    /// The share of its items that were known beforehand, in parts per million; 0 without canaries.
    pub canaries_ppm: u32,
    /// The requester heard too little of the pool to believe others: see [`StatusView::isolated`].
    pub isolated: bool,
}

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Waits for bids, results or reveals.
    Running,
    /// A result was accepted.
    Verified,
    /// No result could be accepted.
    Failed,
    /// Its owner stopped it.
    Cancelled,
}

/// A task for people and tools.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskView {
    /// The task.
    pub task: TaskId,
    /// Its kind.
    pub kind: TaskKind,
    /// Where it stands.
    pub status: TaskStatus,
    /// Urgency.
    pub priority: Priority,
    /// Price of one execution.
    pub price: Credits,
    /// Digest of the payload.
    pub payload: Digest,
    /// The accepted result's digest.
    pub result: Option<Digest>,
    /// How it was checked.
    pub check: Option<Check>,
    /// What two honest executions of this kind have in common: class D0 to D3.
    pub determinism: String,
    /// The posterior that is enough for strangers under this node's `trust`, in parts per million.
    pub posterior_needed_ppm: u64,
    /// Each node that had to do with it: who bid, declined and why, answered what, was paid what.
    pub nodes: Vec<TaskNodeView>,
    /// How long it took, or has taken so far.
    pub took: Micros,
    /// How long ago it began.
    pub ago: Micros,
    /// Why no result could be accepted.
    pub reason: Option<String>,
    /// The share of its items that were known beforehand, in parts per million; 0 without canaries.
    pub canaries_ppm: u32,
}

/// One node's part in a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskNodeView {
    /// The node.
    pub node: NodeId,
    /// `offered`, `bid`, `declined`, `assigned`, `accepted`, `committed`, `revealed`, `late`.
    pub state: String,
    /// The reason of a decline, or why it is late.
    pub reason: Option<String>,
    /// The digest it revealed.
    pub digest: Option<Digest>,
    /// What it earned for this task.
    pub paid: Credits,
}

/// One collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectionView {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: CollectionId,
    /// Who may write to it.
    pub owner: NodeId,
    /// What `edge-tasks` stored about its rows.
    pub layout: Vec<u8>,
    /// Live records.
    pub rows: u64,
    /// Its shards, in order.
    pub shards: Vec<ShardView>,
}

/// One shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardView {
    /// The shard.
    pub shard: ShardId,
    /// Live records.
    pub rows: u64,
    /// The accepted position.
    pub seq: u64,
    /// The accepted root.
    pub root: Digest,
    /// Replicas and the position each acknowledged.
    pub replicas: Vec<ReplicaView>,
    /// Replicas wanted.
    pub wanted: usize,
    /// Whether its owner contradicted itself about it.
    pub standing: Standing,
}

/// How a shard stands where its owner signed two heads for one position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No contradiction is known.
    #[default]
    Sound,
    /// Its owner contradicted itself and can still put it right.
    Contested,
    /// The witnesses vote about it.
    Quarantined,
    /// A witness that is not faulty found against its owner: no further head is taken.
    HeldBack,
    /// Its owner put it right: it ends at the head that stands.
    Repaired,
    /// Its owner is named; it ends before the contradiction.
    Upheld,
    /// Nobody decided in time.
    Expired,
}

/// One replica of a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaView {
    /// The node.
    pub node: NodeId,
    /// The position it acknowledged.
    pub seq: u64,
    /// Whether it can be reached.
    pub reachable: bool,
    /// Whether it has enough checked results to count towards the factor.
    pub proven: bool,
}

/// A merged search.
#[derive(Clone, Debug)]
pub struct SearchView {
    /// Best first.
    pub hits: Vec<edge_base::shard::ShardHit>,
    /// One line for each shard.
    pub shards: Vec<ShardSearchView>,
}

/// How one shard was searched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardSearchView {
    /// The shard.
    pub shard: ShardId,
    /// Whether every row was scored.
    pub exact: bool,
    /// Rows whose distance was computed, the most of any replica.
    pub rows_visited: u64,
    /// Live rows.
    pub rows: u64,
    /// Replicas whose answers held.
    pub answered: Vec<NodeId>,
    /// Replicas whose answers did not hold.
    pub faulty: Vec<NodeId>,
    /// Replicas that did not answer in time.
    pub silent: Vec<NodeId>,
    /// Fewer answers than wanted.
    pub below_factor: bool,
    /// The shard's root at the answer.
    pub root: Digest,
    /// The answer rests on a position about which the owner contradicted itself.
    pub contested: bool,
}

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerView {
    /// The node.
    pub node: NodeId,
    /// Whether a connection stands.
    pub connected: bool,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Whether it belongs to this node's owner.
    pub same_owner: bool,
    /// Whether it is a witness.
    pub witness: bool,
    /// Results of it that were checked and held.
    pub checked: u64,
    /// The share of promised work that it gives, as far as this node knows: what that exceeds with 95 %
    /// credibility; 0 where nothing is known.
    pub reliability: f64,
    /// Faults of it that this node verified.
    pub faults: u64,
    /// Who invited it; nobody the founder.
    pub inviter: Option<NodeId>,
    /// What it has at stake, nothing if that is slashed.
    pub stake: Credits,
    /// Tasks it says wait there.
    pub load: u32,
    /// Its label.
    pub agent: String,
    /// Whether its key is believed no more, by its own word.
    pub revoked: bool,
    /// The key that its owner replaced it with, if that is believed.
    pub replaced_by: Option<NodeId>,
    /// How long it is still banned; absent when it is not.
    pub banned: Option<Micros>,
    /// Messages of it that were dropped because they were more than its budget.
    pub limited: u64,
}

/// What senders did to this node since it started, and what came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SecurityView {
    /// Whether senders have budgets and are banned.
    pub limits: bool,
    /// Tickets that somebody may still come with.
    pub open_tickets: usize,
    /// What those who come with them are granted.
    pub promised: Credits,
    /// Frames that did not decode or broke a bound.
    pub malformed: u64,
    /// Frames over their sender's budget.
    pub limited: u64,
    /// Frames of nodes that may not say that: no members, or banned.
    pub refused: u64,
    /// Signatures that did not hold.
    pub bad_signatures: u64,
    /// Gossip that does not hold.
    pub gossip_rejected: u64,
    /// Gossip that was not passed on for another reason.
    pub gossip_ignored: u64,
    /// Results of others for this node's tasks that differed from what was accepted.
    pub results_rejected: u64,
    /// Wrong results of others that this node proved by executing them again.
    pub faults: u64,
    /// Accusations that did not hold.
    pub accusations_refuted: u64,
    /// Nodes that came with a ticket of this node that was used by another, withdrawn, too old or made up.
    pub joins_refused: u64,
    /// Accounts whose owners signed two blocks for one number.
    pub equivocations: usize,
    /// Handshakes and records of sessions that did not hold, and what came outside of a session
    /// and should not have.
    pub private_refused: u64,
    /// Sessions agreed on with other members.
    pub sessions: u64,
    /// Messages that travelled in them, both ways.
    pub private_messages: u64,
    /// Times that a node was banned.
    pub bans: u64,
    /// Who is banned now.
    pub banned: Vec<BannedView>,
    /// Members that a proof names: they get no work.
    pub named: usize,
    /// Accounts that offences cost stake, or will once a checkpoint charges them.
    pub slashed: usize,
    /// Own tasks that this node executed itself, audits among them.
    pub own_executions: u64,
    /// Whether this node is a witness.
    pub witness: bool,
    /// Whether it may vote: its vote log is whole.
    pub may_vote: bool,
    /// Witnesses that can be reached, itself included.
    pub witnesses_reachable: usize,
    /// Those of them that vote: see [`StatusView::witnesses_voting`].
    pub witnesses_voting: usize,
    /// Votes that a block needs.
    pub quorum: usize,
    /// Witnesses of the set that never count again: named by a proof, or with a revoked key.
    pub witnesses_lost: Vec<NodeId>,
    /// Witnesses of the set that are banned here: this node does not hear their votes.
    pub witnesses_banned: Vec<NodeId>,
    /// Keys that are believed no more.
    pub revoked: usize,
    /// Whether this node's own key is among them.
    pub self_revoked: bool,
    /// Whether this node may order changes of the witness set.
    pub founder: bool,
}

/// A node that is banned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BannedView {
    /// The node.
    pub node: NodeId,
    /// For how long still.
    pub left: Micros,
    /// What it did last.
    pub reason: String,
}

/// A ticket of this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TicketView {
    /// Its id: a digest of its secret, which is not kept.
    pub ticket: Digest,
    /// Whether who comes with it belongs to this node's owner.
    pub owner: bool,
    /// What who comes with it is granted.
    pub credits: Credits,
    /// Who used it.
    pub used_by: Option<NodeId>,
    /// How long it may still be used; absent when it may not.
    pub left: Option<Micros>,
}

/// This node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// This node.
    pub node: NodeId,
    /// The pool's genesis hash.
    pub pool: Digest,
    /// Who founded it, once this node was let in.
    pub founder: Option<NodeId>,
    /// Members known, without those whose keys were revoked or replaced.
    pub members: usize,
    /// Members connected.
    pub connected: usize,
    /// Witnesses of the set.
    pub witnesses: usize,
    /// Witnesses connected to, this node included.
    pub witnesses_reachable: usize,
    /// Those of them that vote, as far as is known here: not the ones that say that they may not, whose keys
    /// are revoked, that are banned here, or that do not answer.
    pub witnesses_voting: usize,
    /// Votes needed.
    pub quorum: usize,
    /// Whether this node's own key was revoked: nobody hears it any more.
    pub revoked: bool,
    /// Connected witnesses that answered fewer than half of this node's last blocks (of 8 to 32), ascending.
    pub unresponsive: Vec<NodeId>,
    /// Tasks of others waiting or running here.
    pub working: usize,
    /// Own tasks not decided yet.
    pub own_tasks: usize,
    /// Own tasks whose result was accepted.
    pub tasks_verified: u64,
    /// Own tasks without an acceptable result.
    pub tasks_failed: u64,
    /// Results of others that were rejected.
    pub results_rejected: u64,
    /// Executions this node made for its own tasks because too few others were there.
    pub own_executions: u64,
    /// Executions made for others.
    pub executed_for_others: u64,
    /// Nodes that verified faults name.
    pub faulty: Vec<NodeId>,
    /// Certificates that are kept, and certified blocks whose certificates are not, as a checkpoint has
    /// what they came to.
    pub certificates: usize,
    /// See `certificates`.
    pub certificates_dropped: u64,
    /// The account.
    pub balance: BalanceView,
    /// Why this node must think that it is cut off from the pool, if it must: it believes no results of
    /// others then, and works for nobody on credit.
    pub isolated: Option<String>,
    /// Sentences a person should read: what is wrong or tight, and what to do.
    pub notes: Vec<String>,
}
