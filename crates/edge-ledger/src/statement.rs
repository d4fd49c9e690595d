//! What requester and worker sign while a task runs. Together these statements are the evidence
//! that work was asked for, done before the answer was known, and what is owed for it.

use edge_base::{
    Credits, Digest, Domain, EscrowId, Hasher, NodeId, Signed, SignedBody, TaskId, TaskKind,
    Verifier,
};
use serde::{Deserialize, Serialize};

/// The id of a task: the digest of who asks, the requester's own counter, the kind and the
/// payload. Asking the same thing again is another task.
pub fn task_id(requester: &NodeId, issued: u64, kind: TaskKind, payload: &Digest) -> TaskId {
    TaskId(Digest::of_value("edge-net-1/task", &(requester, issued, kind, payload)))
}

/// A requester gives one execution of a task to one worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// [`task_id`] of the fields below.
    pub task: TaskId,
    /// Who asks; the signer.
    pub requester: NodeId,
    /// Who shall execute.
    pub worker: NodeId,
    /// What pays for it; `None` for work without pay.
    pub escrow: Option<EscrowId>,
    /// What this execution is paid if it is accepted.
    pub price: Credits,
    /// The kind of task.
    pub kind: TaskKind,
    /// The content address of the payload.
    pub payload: Digest,
    /// The payload's size.
    pub payload_bytes: u64,
    /// The digest of model hash, tokenizer hash and canon version.
    pub pins: Digest,
    /// The requester's task counter.
    pub issued: u64,
}

impl SignedBody for Assignment {
    const DOMAIN: Domain = Domain("task/assignment");
}

impl Assignment {
    /// Whether `task` is the id of the other fields.
    pub fn names_its_task(&self) -> bool {
        self.task == task_id(&self.requester, self.issued, self.kind, &self.payload)
    }
}

/// A worker binds itself to a result without showing it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The task.
    pub task: TaskId,
    /// The signer.
    pub worker: NodeId,
    /// [`commit_hash`].
    pub hash: Digest,
}

impl SignedBody for Commit {
    const DOMAIN: Domain = Domain("task/commit");
}

/// What a commit holds. The nonce keeps short answers from being guessed, the worker keeps a commit
/// from being copied.
pub fn commit_hash(task: &TaskId, worker: &NodeId, nonce: &[u8; 16], digest: &Digest) -> Digest {
    let mut hasher = Hasher::new("edge-net-1/commit");
    hasher.update(task.as_bytes()).update(&worker.0).update(nonce).update(&digest.0);
    hasher.finish()
}

/// A worker shows the result digest that it committed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reveal {
    /// The task.
    pub task: TaskId,
    /// The signer.
    pub worker: NodeId,
    /// The salt of the commit.
    pub nonce: [u8; 16],
    /// The digest of the result.
    pub digest: Digest,
}

impl SignedBody for Reveal {
    const DOMAIN: Domain = Domain("task/reveal");
}

impl Reveal {
    /// Whether this is what the commit hid.
    pub fn opens(&self, commit: &Commit) -> bool {
        self.task == commit.task
            && self.worker == commit.worker
            && commit_hash(&self.task, &self.worker, &self.nonce, &self.digest) == commit.hash
    }
}

/// A requester's word on what it owes a worker out of an escrow, in all so far. The newest is the
/// one with the largest sum; older ones need not be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Voucher {
    /// The escrow that pays.
    pub escrow: EscrowId,
    /// The escrow's owner; the signer.
    pub requester: NodeId,
    /// Who is owed.
    pub worker: NodeId,
    /// Everything owed since the escrow was opened.
    pub cumulative: Credits,
    /// For how many accepted executions.
    pub tasks: u64,
}

impl SignedBody for Voucher {
    const DOMAIN: Domain = Domain("task/voucher");
}

/// Statements that do not fit together: the fault of whoever put them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutionError {
    /// The assignment is not the requester's.
    #[error("the assignment is not signed by its requester")]
    Assignment,
    /// The assignment's task id is not made of its fields.
    #[error("the assignment does not name its own task")]
    Task,
    /// The commit is not the worker's.
    #[error("the commit is not signed by its worker")]
    Commit,
    /// The reveal is not the worker's.
    #[error("the reveal is not signed by its worker")]
    Reveal,
    /// The three do not speak of one task and one worker.
    #[error("assignment, commit and reveal speak of different tasks or workers")]
    Mismatch,
    /// The reveal is not what was committed.
    #[error("the reveal does not open the commit")]
    DoesNotOpen,
}

/// One execution with its whole trail: asked for, committed to, revealed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Execution {
    /// The requester's order.
    pub assignment: Signed<Assignment>,
    /// The worker's commit.
    pub commit: Signed<Commit>,
    /// The worker's reveal.
    pub reveal: Signed<Reveal>,
}

/// An execution shown to prove that its worker lied. The statements prove *what the worker said
/// when asked*; that it is wrong is proven by executing the payload again, which any peer can do.
pub type FaultProof = Execution;

impl Execution {
    /// Whether all three are signed, speak of one task and one worker, and the reveal opens the
    /// commit. Says nothing about whether the digest is right.
    pub fn check_shape(
        &self,
        verifier: &mut Verifier,
        pool: &Digest,
    ) -> Result<(), ExecutionError> {
        let (assignment, commit, reveal) =
            (&self.assignment.body, &self.commit.body, &self.reveal.body);
        let worker = assignment.worker;
        let one_task = commit.task == assignment.task && reveal.task == assignment.task;
        if !one_task || commit.worker != worker || reveal.worker != worker {
            return Err(ExecutionError::Mismatch);
        }
        if !assignment.names_its_task() {
            return Err(ExecutionError::Task);
        }
        if !reveal.opens(commit) {
            return Err(ExecutionError::DoesNotOpen);
        }
        let signed_by = |signer: &NodeId, expected: &NodeId, error| {
            if signer == expected { Ok(()) } else { Err(error) }
        };
        signed_by(&self.assignment.signer, &assignment.requester, ExecutionError::Assignment)?;
        signed_by(&self.commit.signer, &worker, ExecutionError::Commit)?;
        signed_by(&self.reveal.signer, &worker, ExecutionError::Reveal)?;
        self.assignment.open(verifier, pool).map_err(|_| ExecutionError::Assignment)?;
        self.commit.open(verifier, pool).map_err(|_| ExecutionError::Commit)?;
        self.reveal.open(verifier, pool).map_err(|_| ExecutionError::Reveal)?;
        Ok(())
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        self.assignment.body.task
    }

    /// Who executed.
    pub fn worker(&self) -> NodeId {
        self.assignment.body.worker
    }

    /// The digest the worker answered with.
    pub fn digest(&self) -> Digest {
        self.reveal.body.digest
    }
}
