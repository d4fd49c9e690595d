//! Every message between peers. Direct messages travel in frames of kind 1 over an authenticated
//! connection; gossip travels in frames of kind 2 and carries its own signatures.

use edge_base::{
    CollectionId, Digest, Domain, Micros, NodeId, ShardId, Signed, SignedBody, TaskId, TaskKind,
    codec::{self, DecodeError, FRAME_BYTES_MAX},
    session::{
        Record, SessionId,
        agreement::{XWING_CIPHERTEXT_BYTES, XWING_PUBLIC_BYTES},
        handshake::{Acceptance, Opening},
    },
    shard::LogEntry,
};
use edge_coherence::Ballot;
use edge_ledger::{
    Certificate, ChangeOrder, Closing, Decided, EquivocationProof, Genesis, Handover, Head,
    OverdraftProof, ParameterVote, Plan, SKETCH_CELLS_MAX, Sealed, Seen, SignedBlock, Sketch,
    SketchKey, Statement, VoteBody,
    statement::{Assignment, Commit, FaultProof, Reveal, Voucher},
};
use serde::{Deserialize, Serialize};

use crate::{
    command::Priority,
    contest::Contest,
    revocation::Revocation,
    roll_call::RollCall,
    succession::{CHAIN_MAX, SuccessionRecord},
};

/// Frame kind of a direct [`Message`].
pub const FRAME_DIRECT: u8 = 1;
/// Frame kind of a [`Gossip`].
pub const FRAME_GOSSIP: u8 = 2;
/// Payloads and results up to this size travel inside a message; larger ones in chunks.
pub const INLINE_BYTES_MAX: usize = 700 * 1024;
/// The size of a chunk of content.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// The largest payload or result of a task.
pub const CONTENT_BYTES_MAX: usize = 8 << 20;
/// The most members listed in one message.
pub const MEMBERS_PER_MESSAGE: usize = 64;
/// The most addresses kept of a node, and the longest.
pub const ADDRESSES_MAX: usize = 8;
/// The longest address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// The most certificates in one message.
pub const CERTIFICATES_PER_MESSAGE: usize = 32;
/// The most accounts that one key signs for and a witness tells it of.
pub const HEADS_OF_OWNER_MAX: usize = 65;
/// The most claims that a witness tells their debtor of.
pub const CLAIMS_TOLD_MAX: usize = 64;
/// The most heads in one list of them.
pub const HEADS_PER_MESSAGE: usize = 8_192;

/// The most checkpoints that changed the witness set in one message.
pub const SETS_PER_MESSAGE: usize = 64;

/// A statement that a node is a member, signed by the member that invited it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// The new member.
    pub node: NodeId,
    /// The owner's group: nodes of one owner trust each other's results.
    pub group: NodeId,
}

impl SignedBody for Membership {
    const DOMAIN: Domain = Domain("membership");
}

/// A member as others pass it on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The statement; `None` for the founder, who needs none.
    pub membership: Option<Signed<Membership>>,
    /// The member.
    pub node: NodeId,
    /// Where it may be reached; a hint.
    pub addresses: Vec<String>,
}

/// A hint about whom a node knows, itself included. Equal hints spare the list of members; who
/// sends a false one hides members from itself only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Acquaintance {
    /// How many.
    pub count: u64,
    /// Exclusive or of hashes of their ids.
    pub sum: u64,
}

/// The most pins of an advert.
pub const PINS_MAX: usize = 64;

/// What a node says about itself, again and again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Advert {
    /// Grows with every advert of a process; a restart begins a new `life`.
    pub counter: u64,
    /// Distinguishes processes of the same node: later lives are larger.
    pub life: u64,
    /// What it can execute, at most [`PINS_MAX`]. Among them the digest of `"no-votes"` under the tag `pin`
    /// where the node never votes as a witness: its data were copied, restored or repaired.
    pub pins: Vec<Digest>,
    /// Whether it executes tasks of others.
    pub works: bool,
    /// Tasks waiting there.
    pub load: u32,
    /// The CPU that its owner allows for tasks of others, in thousandths of a core; nothing while it rests.
    pub offers: u32,
    /// Where it may be reached.
    pub addresses: Vec<String>,
    /// Version of its witness set.
    pub set_version: u64,
    /// Digest of its ledger's frontier.
    pub frontier: Digest,
    /// Its label.
    pub agent: String,
    /// The epoch of its ledger.
    pub epoch: u64,
}

impl SignedBody for Advert {
    const DOMAIN: Domain = Domain("advert");
}

/// A collection, as its owner defines it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CollectionSpec {
    /// Its name, unique for its owner.
    pub name: String,
    /// Distinguishes collections of the same name made one after another.
    pub nonce: u64,
    /// Dimension, metric and model, as `edge-tasks` encodes them.
    pub layout: Vec<u8>,
    /// Whether it was removed.
    pub dropped: bool,
}

impl SignedBody for CollectionSpec {
    const DOMAIN: Domain = Domain("collection");
}

impl CollectionSpec {
    /// The collection's id: of its owner, its name and its nonce.
    pub fn id(&self, owner: &NodeId) -> CollectionId {
        CollectionId(Digest::of_value("collection-id", &(owner, &self.name, self.nonce)))
    }
}

/// The id of a collection's shard.
pub fn shard_id(collection: &CollectionId, index: u32) -> ShardId {
    ShardId(Digest::of_value("shard-id", &(collection, index)))
}

/// The accepted state of a shard, signed by its owner.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardHead {
    /// The collection.
    pub collection: CollectionId,
    /// The shard's place in it.
    pub index: u32,
    /// The accepted position.
    pub seq: u64,
    /// The log's chain hash there.
    pub chain: Digest,
    /// The Merkle root there.
    pub root: Digest,
    /// Live records there.
    pub rows: u64,
    /// Who holds copies.
    pub replicas: Vec<NodeId>,
    /// How often the list of copies was renewed at this position: a later one takes the place of an
    /// earlier one.
    pub renewed: u32,
}

impl SignedBody for ShardHead {
    const DOMAIN: Domain = Domain("shard-head");
}

/// A fault proof with what is needed to check it by re-execution.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FaultReport {
    /// The signed statements.
    pub proof: FaultProof,
    /// Digest of the bytes that were revealed, for kinds whose results are checked themselves.
    pub evidence: Evidence,
}

/// What re-execution needs besides the payload.
#[expect(clippy::large_enum_variant, reason = "rare, short-lived, and read by pattern")]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Evidence {
    /// Nothing: execute the payload and compare digests.
    Payload,
    /// The answer's content digest and the owner's head at the answer's position.
    Answer {
        /// Content digest of the answer's bytes.
        answer: Digest,
        /// The owner's signed head for that position.
        head: Signed<ShardHead>,
    },
    /// Content digest of the shard's history before the batch.
    History {
        /// Content digest of the encoded entries of all batches before.
        history: Digest,
    },
    /// The first byte of the revealed result that is not as it should be: executing the item it belongs
    /// to shows it. The result's bytes are content under the revealed digest.
    Item {
        /// Where, from 0.
        byte: u64,
    },
}

/// A direct message.
#[expect(clippy::large_enum_variant, reason = "encoded or taken apart at once, never collected")]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// First message on a connection.
    Hello {
        /// The pool the sender belongs to or wants to join.
        pool: Digest,
        /// The sender's membership; `None` for the founder and for those who want to join.
        membership: Option<Signed<Membership>>,
        /// The secret of an invitation.
        join: Option<[u8; 16]>,
        /// Where the sender may be reached.
        addresses: Vec<String>,
        /// Whom the sender knows: only what differs has to be told.
        known: Acquaintance,
    },
    /// Answer to a `Hello` that was accepted.
    Welcome {
        /// The pool's genesis record.
        genesis: Genesis,
        /// The founder's handover, if it happened.
        handover: Option<Signed<Handover>>,
        /// The receiver's own membership, when it just joined.
        membership: Option<Signed<Membership>>,
        /// Members, each after its inviter.
        members: Vec<MemberRecord>,
        /// The sender's state.
        advert: Signed<Advert>,
    },
    /// Answer to a `Hello` that was not accepted.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// Collections and heads the sender knows.
    Collections {
        /// The collections.
        specs: Vec<Signed<CollectionSpec>>,
        /// Their shards.
        heads: Vec<Signed<ShardHead>>,
    },

    /// Asks for content from an offset on.
    Want {
        /// Content digest.
        content: Digest,
        /// First byte wanted.
        offset: u64,
    },
    /// A part of content.
    Chunk {
        /// Content digest.
        content: Digest,
        /// Size of all of it.
        total: u64,
        /// Place of the first byte.
        offset: u64,
        /// At most [`CHUNK_BYTES`].
        bytes: Vec<u8>,
    },
    /// The content is not here.
    NotHere {
        /// Content digest.
        content: Digest,
    },

    /// A requester looks for workers.
    Offer(Offer),
    /// A worker would take the task.
    Bid {
        /// The task.
        task: TaskId,
        /// Tasks waiting there.
        load: u32,
        /// When it could start.
        start_in: Micros,
    },
    /// A worker does not take the task or assignment.
    Decline {
        /// The task.
        task: TaskId,
        /// Why.
        reason: DeclineReason,
    },
    /// A task for the receiver.
    Assign {
        /// The signed assignment.
        assignment: Signed<Assignment>,
        /// The payload, unless it is larger than [`INLINE_BYTES_MAX`].
        payload: Option<Vec<u8>>,
        /// Urgency.
        priority: Priority,
        /// The requester waits this long.
        remaining: Micros,
    },
    /// The assignment is taken.
    Accepted {
        /// The task.
        task: TaskId,
    },
    /// The worker has a result and is bound to it.
    Committed(Signed<Commit>),
    /// All commits are in, or the deadline passed.
    RevealPlease {
        /// The task.
        task: TaskId,
        /// Every commit, so that a worker sees that its own is among them.
        commits: Vec<Signed<Commit>>,
    },
    /// The result.
    Revealed {
        /// The commit; repeated so that a certified answer needs one message only.
        commit: Signed<Commit>,
        /// Opens it.
        reveal: Signed<Reveal>,
        /// The result, unless it is larger than [`INLINE_BYTES_MAX`].
        result: Option<Vec<u8>>,
    },
    /// The requester does not need the result any more, or has decided.
    Over {
        /// The task.
        task: TaskId,
        /// The accepted digest, if there is one.
        accepted: Option<Digest>,
    },
    /// A cumulative payment promise.
    Paid(Signed<Voucher>),

    /// A replica of this shard is wanted at the receiver.
    Replicate {
        /// The collection.
        spec: Signed<CollectionSpec>,
        /// The shard's place in it.
        index: u32,
        /// The owner's head.
        head: Option<Signed<ShardHead>>,
    },
    /// The copy is not needed any more.
    Release {
        /// The shard.
        shard: ShardId,
    },
    /// Asks for log batches.
    LogWant {
        /// The shard.
        shard: ShardId,
        /// First position wanted.
        seq: u64,
    },
    /// One log batch.
    LogBatch {
        /// The shard.
        shard: ShardId,
        /// The position.
        seq: u64,
        /// The encoded batch; empty when the sender does not have it.
        batch: Vec<u8>,
        /// The last position the sender has.
        last: u64,
    },
    /// The sender holds a copy of a shard.
    ReplicaAt {
        /// The shard.
        shard: ShardId,
        /// Applied up to here.
        seq: u64,
        /// Its root there.
        root: Digest,
    },

    /// A block that wants votes.
    Propose(SignedBlock),
    /// A vote.
    Vote(Signed<VoteBody>),
    /// A witness does not vote; says what it misses or why.
    NoVote {
        /// The block.
        block: Digest,
        /// Certificates it needs first, as (account, first position).
        missing: Option<(NodeId, u64)>,
        /// Why, for people.
        reason: String,
    },
    /// Certified blocks.
    Certificates(Vec<Certificate>),
    /// The sender's heads; asks for what the receiver has beyond them.
    Frontier {
        /// The first and the last account that the list is about; all of them without it.
        range: Option<(NodeId, NodeId)>,
        /// Last certified position of each account with a block, by account.
        heads: Vec<(NodeId, u64)>,
    },
    /// Evidence of unpaid work.
    Claim(Box<Signed<Voucher>>),

    /// The owner of an account asks a witness about a block that it has not signed yet.
    AskWithdraw(Withdrawal),
    /// A witness says whether it would vote for that block.
    SayWithdraw {
        /// What was asked.
        step: Withdrawal,
        /// Whether, and when.
        answer: MayWithdraw,
    },

    /// The owner of a shard asks a holder to show that it has a batch of the log.
    Challenge {
        /// The shard.
        shard: ShardId,
        /// Which batch.
        seq: u64,
        /// Goes into the hash.
        nonce: [u8; 16],
    },
    /// The hash of nonce and batch.
    Possesses {
        /// The shard.
        shard: ShardId,
        /// Of the question.
        nonce: [u8; 16],
        /// The hash.
        digest: Digest,
    },

    /// A witness's proposal or ballot for a checkpoint.
    Agree(Box<Statement>),
    /// What a proposal for a checkpoint is about.
    Plan(Box<Plan>),
    /// Asks for the plan of a checkpoint with this digest.
    PlanWant(Digest),
    /// A witness votes no more under the present set, and says what it voted for.
    Closed(Box<Signed<Closing>>),
    /// Asks for checkpoints after those the sender has.
    CheckpointWant {
        /// The sender's epoch.
        epoch: u64,
        /// The version of its witness set.
        version: u64,
    },
    /// Checkpoints that the receiver asked for.
    Checkpoints {
        /// Those that changed the set after the receiver's version, ascending.
        chain: Vec<Sealed>,
        /// The last one.
        last: Box<Decided>,
    },

    /// A member of an authority votes about a contradiction.
    Ballot(Box<Signed<Ballot>>),

    /// The sender's heads in few bytes; asks for what the receiver has beyond them, and for what it
    /// lacks.
    Sketch(Box<Sketch>),
    /// What came of comparing with a sketch.
    SketchAnswer {
        /// The sketch's key.
        key: SketchKey,
        /// What came of it.
        answer: SketchAnswer,
    },

    /// Asks for a session.
    SessionOpen(Box<Signed<Opening>>),
    /// Agrees to one.
    SessionAccept(Box<Signed<Acceptance>>),
    /// A direct message as a frame, or nothing, for the receiver's eyes.
    Private(Record),
    /// A record of this session came, and it is not known here.
    SessionGone(SessionId),

    /// A requester offers a witness one of its tasks for an audit.
    Audit(Box<Signed<Assignment>>),
    /// An auditor has executed what it was drawn for, and is bound to the result.
    AuditCommit(Signed<Commit>),
    /// Opens it, once a checkpoint has the commit.
    AuditReveal(Signed<Reveal>),
    /// A witness found that an auditor of this task lied: others shall look for themselves.
    AuditDoubt(TaskId),

    /// There are more certificates than the sender sent: of this account and of those after it.
    Next(NodeId),

    /// A witness challenges a member to show that it is there, or a member answers.
    RollCall(Box<RollCall>),
    /// A witness tells another one how many of its challenges were answered, by whom.
    Seen(Box<Signed<Seen>>),
    /// Before a Hello of a node that took the place of another: by which steps.
    Heir {
        /// The node that was invited.
        root: Box<MemberRecord>,
        /// From its succession to that of the sender, at most [`CHAIN_MAX`].
        chain: Vec<SuccessionRecord>,
    },

    /// A node asks a witness what it knows of the accounts that the node signs for.
    AskHeads,
    /// The answer.
    SayHeads {
        /// The witness's epoch.
        epoch: u64,
        /// An entry for each account, at most [`HEADS_OF_OWNER_MAX`].
        heads: Vec<AccountHead>,
        /// What of the owner's vouchers was shown there, of open escrows; at most [`CLAIMS_TOLD_MAX`].
        claims: Vec<Signed<Voucher>>,
    },
}

/// What a witness knows of an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountHead {
    /// The account.
    pub account: NodeId,
    /// The last certified position there, 0 without a block.
    pub seq: u64,
    /// The last block of it that the witness saw for which it voted under its present set, or waits to.
    pub signed: Option<Box<SignedBlock>>,
}

/// What a node says to a sketch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SketchAnswer {
    /// Both know where they differ: the accounts of which the sender of this lacks certificates that
    /// the other one has, and its own last certified position, 0 without a block. What it has beyond
    /// the other one went before this answer.
    Known(Vec<Head>),
    /// It takes a sketch with so many cells.
    More(u32),
    /// The ledgers differ too much for a sketch: a list of all heads is shorter.
    List,
    /// Too many sketches came here lately.
    Later,
}

/// A step of taking stake back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Withdrawal {
    /// An Unstake.
    Begin,
    /// The Release of the withdrawal that this block began.
    End(Digest),
}

/// Whether a witness would vote for a step of a withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MayWithdraw {
    /// Now.
    Now,
    /// After this long.
    In(Micros),
    /// Not any more: the account is slashed.
    Never,
}

/// What a requester tells workers before they bid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The task.
    pub task: TaskId,
    /// Its kind.
    pub kind: TaskKind,
    /// What the worker must be able to execute.
    pub pin: Digest,
    /// Size of the payload.
    pub payload_bytes: u64,
    /// Price of the execution.
    pub price: edge_base::Credits,
    /// Urgency.
    pub priority: Priority,
    /// The requester waits this long.
    pub remaining: Micros,
}

/// Why a worker does not take a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeclineReason {
    /// This node does not work for others.
    NotWorking,
    /// Too much is waiting here.
    Busy,
    /// The pin is not known here.
    Pin,
    /// The requester owes this node more than it lends.
    Exposure,
    /// The escrow is not certified here yet.
    Escrow,
    /// The price is below the escrow's list.
    Price,
    /// The shard is not held here, or not up to the position asked for.
    Behind,
    /// The payload did not arrive or is not what was signed.
    Payload,
    /// The execution failed here.
    Failed,
    /// The node is shutting down.
    Leaving,
}

impl DeclineReason {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            DeclineReason::NotWorking => "does not work for others",
            DeclineReason::Busy => "too much is waiting there",
            DeclineReason::Pin => "has not got this version of the model, or the key",
            DeclineReason::Exposure => "is owed too much by this node already",
            DeclineReason::Escrow => "does not know the escrow yet",
            DeclineReason::Price => "the price is below the escrow's list",
            DeclineReason::Behind => "does not hold the shard at this position",
            DeclineReason::Payload => "did not get the payload",
            DeclineReason::Failed => "the execution failed there",
            DeclineReason::Leaving => "is shutting down",
        }
    }
}

/// A gossiped statement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Gossip {
    /// A node's state.
    Advert(Signed<Advert>),
    /// A new member.
    Member(MemberRecord),
    /// A certified block.
    Certificate(Box<Certificate>),
    /// The witness set changed.
    Handover(Box<Signed<Handover>>),
    /// A collection was made or removed.
    Collection(Signed<CollectionSpec>),
    /// A shard moved on.
    Head(Signed<ShardHead>),
    /// A liar is named.
    Fault(Box<FaultReport>),
    /// Two blocks that an owner signed for one place.
    Equivocation(Box<EquivocationProof>),
    /// An owner asks the witnesses for the end of one of its escrows.
    Ending(Box<SignedBlock>),
    /// An owner vouched for more than its escrow can pay.
    Overdraft(Box<OverdraftProof>),
    /// A checkpoint was decided.
    Checkpoint(Box<Decided>),
    /// The founder wants the witness set to change.
    Change(Box<Signed<ChangeOrder>>),
    /// An owner said two things about one position of a shard.
    Contest(Box<Contest>),
    /// A witness wants a parameter to become something.
    Parameter(Box<Signed<ParameterVote>>),
    /// A key is believed no more, by its own word.
    Revocation(Signed<Revocation>),
    /// A key gives its place to another.
    Succession(Box<SuccessionRecord>),
}

/// Encodes a direct message.
pub fn encode_message(message: &Message) -> Vec<u8> {
    codec::encode_frame(FRAME_DIRECT, message)
}

/// Decodes a direct message and checks its bounds.
pub fn decode_message(bytes: &[u8]) -> Result<Message, DecodeError> {
    let message: Message = codec::decode_frame(FRAME_DIRECT, bytes)?;
    if message_in_bounds(&message) { Ok(message) } else { Err(DecodeError::Malformed) }
}

/// Encodes gossip.
pub fn encode_gossip(gossip: &Gossip) -> Vec<u8> {
    codec::encode_frame(FRAME_GOSSIP, gossip)
}

/// Decodes gossip and checks its bounds.
pub fn decode_gossip(bytes: &[u8]) -> Result<Gossip, DecodeError> {
    let (kind, body) = codec::open_frame(bytes, FRAME_BYTES_MAX)?;
    if kind != FRAME_GOSSIP {
        return Err(DecodeError::Kind { got: kind, expected: FRAME_GOSSIP });
    }
    let gossip: Gossip = codec::decode(body)?;
    let fine = match &gossip {
        Gossip::Advert(advert) => advert_in_bounds(&advert.body),
        Gossip::Member(record) => addresses_in_bounds(&record.addresses),
        Gossip::Collection(spec) => spec_in_bounds(&spec.body),
        Gossip::Head(head) => head.body.replicas.len() <= 64,
        Gossip::Succession(record) => record.is_well_formed(),
        Gossip::Contest(contest) => spec_in_bounds(&contest.spec.body) && contest.in_bounds(),
        // A block's lists are bounded where it is decoded.
        Gossip::Certificate(_)
        | Gossip::Handover(_)
        | Gossip::Fault(_)
        | Gossip::Equivocation(_)
        | Gossip::Ending(_)
        | Gossip::Overdraft(_)
        | Gossip::Checkpoint(_)
        | Gossip::Change(_)
        | Gossip::Revocation(_)
        | Gossip::Parameter(_) => true,
    };
    if fine { Ok(gossip) } else { Err(DecodeError::Malformed) }
}

fn addresses_in_bounds(addresses: &[String]) -> bool {
    addresses.len() <= ADDRESSES_MAX && addresses.iter().all(|a| a.len() <= ADDRESS_BYTES_MAX)
}

fn advert_in_bounds(advert: &Advert) -> bool {
    addresses_in_bounds(&advert.addresses)
        && advert.pins.len() <= PINS_MAX
        && advert.agent.len() <= 64
}

fn spec_in_bounds(spec: &CollectionSpec) -> bool {
    name_is_valid(&spec.name) && spec.layout.len() <= 1024
}

/// Collection names: 1-64 characters of letters, digits, `-`, `_` and `.`.
pub fn name_is_valid(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn message_in_bounds(message: &Message) -> bool {
    match message {
        Message::Hello { addresses, .. } => addresses_in_bounds(addresses),
        Message::Welcome { members, advert, .. } => {
            members.len() <= MEMBERS_PER_MESSAGE
                && members.iter().all(|m| addresses_in_bounds(&m.addresses))
                && advert_in_bounds(&advert.body)
        }
        Message::Heir { root, chain } => {
            addresses_in_bounds(&root.addresses)
                && (1..=CHAIN_MAX).contains(&chain.len())
                && chain.iter().all(SuccessionRecord::is_well_formed)
        }
        Message::Refused { reason } => reason.len() <= 512,
        Message::Collections { specs, heads } => {
            specs.len() <= 256
                && heads.len() <= 1024
                && specs.iter().all(|s| spec_in_bounds(&s.body))
                && heads.iter().all(|h| h.body.replicas.len() <= 64)
        }
        Message::Chunk { total, bytes, .. } => {
            *total <= CONTENT_BYTES_MAX as u64 && bytes.len() <= CHUNK_BYTES
        }
        Message::Assign { payload, .. } => {
            payload.as_ref().is_none_or(|p| p.len() <= INLINE_BYTES_MAX)
        }
        Message::RevealPlease { commits, .. } => commits.len() <= 64,
        Message::Revealed { result, .. } => {
            result.as_ref().is_none_or(|r| r.len() <= INLINE_BYTES_MAX)
        }
        Message::NoVote { reason, .. } => reason.len() <= 512,
        Message::Certificates(list) => list.len() <= CERTIFICATES_PER_MESSAGE,
        Message::Replicate { spec, head, .. } => {
            spec_in_bounds(&spec.body) && head.as_ref().is_none_or(|h| h.body.replicas.len() <= 64)
        }
        Message::Frontier { heads, .. } => heads.len() <= HEADS_PER_MESSAGE,
        Message::Sketch(sketch) => sketch.is_well_formed(),
        Message::SketchAnswer { answer, .. } => match answer {
            SketchAnswer::Known(heads) => heads.len() <= SKETCH_CELLS_MAX,
            SketchAnswer::More(cells) => *cells as usize <= SKETCH_CELLS_MAX,
            SketchAnswer::List | SketchAnswer::Later => true,
        },
        Message::SessionOpen(opening) => opening.body.public.len() == XWING_PUBLIC_BYTES,
        Message::SessionAccept(answer) => answer.body.ciphertext.len() == XWING_CIPHERTEXT_BYTES,
        Message::Checkpoints { chain, .. } => chain.len() <= SETS_PER_MESSAGE,
        Message::Want { .. }
        | Message::NotHere { .. }
        | Message::Offer(_)
        | Message::Bid { .. }
        | Message::Decline { .. }
        | Message::Accepted { .. }
        | Message::Committed(_)
        | Message::Over { .. }
        | Message::Paid(_)
        | Message::Release { .. }
        | Message::LogWant { .. }
        | Message::LogBatch { .. }
        | Message::ReplicaAt { .. }
        | Message::Propose(_)
        | Message::Vote(_)
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
        | Message::Ballot(_)
        // As long as a frame at most.
        | Message::Private(_)
        | Message::SessionGone(_)
        | Message::Audit(_)
        | Message::AuditCommit(_)
        | Message::AuditReveal(_)
        | Message::AuditDoubt(_)
        | Message::Next(_)
        | Message::RollCall(_)
        | Message::AskHeads
        | Message::Seen(_) => true,
        Message::SayHeads { heads, claims, .. } => {
            heads.len() <= HEADS_OF_OWNER_MAX && claims.len() <= CLAIMS_TOLD_MAX
        }
    }
}

/// The entries of all batches before a position, as fault proofs of `vector_insert` carry them.
pub type History = Vec<Vec<LogEntry>>;
