//! What a peer tells whoever watches. Events are a contract: names and fields stay.

use edge_base::{CollectionId, Credits, Digest, Micros, NodeId, ShardId, TaskId, TaskKind};
use serde::{Deserialize, Serialize};

/// Something worth telling.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// This node is a member now.
    Joined {
        /// The pool.
        pool: Digest,
    },
    /// A member was admitted or became known.
    MemberKnown {
        /// The member.
        node: NodeId,
    },
    /// A member's connection stands.
    MemberConnected {
        /// The member.
        node: NodeId,
    },
    /// A member's last connection is gone.
    MemberGone {
        /// The member.
        node: NodeId,
    },
    /// A node is banned.
    Banned {
        /// The node.
        node: NodeId,
        /// What it did last.
        reason: String,
        /// For how long.
        lasts: Micros,
    },
    /// A ban is over.
    Unbanned {
        /// The node.
        node: NodeId,
    },
    /// A node's key is believed no more, by its own word.
    Revoked {
        /// The node.
        node: NodeId,
    },
    /// An own task began.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
    },
    /// An own task was assigned to a worker.
    TaskAssigned {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: NodeId,
    },
    /// A worker took an assignment.
    TaskAccepted {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: NodeId,
    },
    /// A worker committed to a result.
    TaskCommitted {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: NodeId,
    },
    /// A worker revealed its result.
    TaskRevealed {
        /// The task.
        task: TaskId,
        /// The worker.
        worker: NodeId,
        /// The digest.
        digest: Digest,
    },
    /// A worker gave nothing in time.
    TaskLate {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
        /// The worker.
        worker: NodeId,
        /// Whether it had taken the assignment.
        accepted: bool,
    },
    /// A result was accepted.
    TaskVerified {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
        /// Who agreed.
        agreed: Vec<NodeId>,
        /// Who differed.
        disagreed: Vec<NodeId>,
        /// The requester executed it too.
        own_execution: bool,
    },
    /// No result could be accepted.
    TaskFailed {
        /// The task.
        task: TaskId,
        /// Why.
        reason: String,
    },
    /// A search of one shard ended.
    ShardSearched {
        /// The shard.
        shard: ShardId,
        /// Replicas whose answers held.
        answered: Vec<NodeId>,
        /// Replicas that were asked and did not answer.
        silent: Vec<NodeId>,
    },
    /// This node took an assignment of another.
    Working {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
        /// Its requester.
        requester: NodeId,
    },
    /// This node delivered a result to another.
    Delivered {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
    },
    /// This node re-executed a fault proof and it holds.
    FaultVerified {
        /// The liar.
        node: NodeId,
        /// The task.
        task: TaskId,
        /// Whether this node had executed the task itself as a replica.
        was_replica: bool,
        /// Whether this node was the task's requester.
        was_requester: bool,
    },
    /// A fault proof did not hold when it was re-executed.
    FaultRefuted {
        /// The accused.
        node: NodeId,
        /// The task.
        task: TaskId,
    },
    /// A collection appeared.
    CollectionKnown {
        /// The collection.
        collection: CollectionId,
        /// Its name.
        name: String,
    },
    /// A shard got a replica.
    ReplicaAdded {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeId,
    },
    /// A shard lost a replica.
    ReplicaLost {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeId,
    },
    /// A replica acknowledged a position.
    ReplicaAcknowledged {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeId,
        /// The position.
        seq: u64,
    },
    /// A block of this node was certified.
    BlockCertified {
        /// Its hash.
        hash: Digest,
        /// Its kind.
        kind: String,
    },
    /// This node was paid.
    Paid {
        /// By whom.
        by: NodeId,
        /// How much.
        amount: Credits,
    },
    /// A key gave its place to another.
    Succeeded {
        /// The key that is believed no more.
        old: NodeId,
        /// Who takes its place, unless a revocation or another succession voids that.
        heir: NodeId,
    },
    /// What made an heir a member is void.
    Dismissed {
        /// The heir.
        node: NodeId,
    },
    /// This node's own key gave its place up: nothing is left to do for it.
    Rotated {
        /// Under which key this node goes on.
        heir: NodeId,
    },
    /// A checkpoint was taken.
    Checkpoint {
        /// The epoch that began with it.
        epoch: u64,
        /// Its digest.
        digest: Digest,
        /// The witness set since.
        version: u64,
        /// Accounts in it.
        accounts: u64,
    },
    /// The witness set changed.
    WitnessesChanged {
        /// The new version.
        version: u64,
        /// The witnesses.
        members: Vec<NodeId>,
    },
    /// Something a person should read.
    Note {
        /// The sentence.
        text: String,
    },
}
