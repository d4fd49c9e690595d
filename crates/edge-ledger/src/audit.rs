//! Work that the protocol assigns: the only work that new credits are made for.
//!
//! A requester offers tasks that it paid for to be executed again. A checkpoint names some of them, and
//! its digest draws who executes each: the accounts that are eligible in it, in the order of
//! [`rank`]. The drawn commit to their results; the next checkpoint names the commits, so that what is
//! revealed after it was decided before. What both revealed alike is certified by the one after that:
//! its CPU time is counted, and the auditors are promised a reward that vests.
//!
//! CPU time is the payload's bytes times a reference rate of its kind, a parameter: everybody computes
//! the same. Who executed nothing earns nothing unless it knew the result, which takes the help of
//! the requester or of one of the workers, or agreed with the other auditor on a lie.

use edge_base::{Credits, Digest, NodeId, Signed, TaskId, TaskKind};
use serde::{Deserialize, Serialize};

use crate::{
    bounded,
    mint::CpuHours,
    parameter::{Parameter, Parameters},
    statement::{Assignment, Commit, Reveal},
};

/// Tasks that one checkpoint names. At the bound the rest is not audited.
pub const AUDITS_MAX: usize = 32;
/// Of those, of one requester.
pub const AUDITS_PER_REQUESTER: usize = 2;
/// Who executes each of them.
pub const AUDITORS: usize = 2;
/// The largest payload that is audited, in bytes: every witness may fetch all of them.
pub const AUDIT_BYTES_MAX: u64 = 64 << 10;
/// Rewards of one account that have not vested, one an epoch.
pub const VESTING_MAX: usize = 64;

/// A task that was drawn for, with what the drawn have committed to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditCommits {
    /// The task as the last checkpoint named it.
    pub assignment: Signed<Assignment>,
    /// Ascending by auditor.
    #[serde(deserialize_with = "bounded::vec::<_, _, AUDITORS>")]
    pub commits: Vec<Signed<Commit>>,
}

/// What all auditors of a task revealed alike, ascending by auditor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certified {
    /// The task of commits in the last checkpoint.
    pub task: TaskId,
    /// One for each commit.
    #[serde(deserialize_with = "bounded::vec::<_, _, AUDITORS>")]
    pub reveals: Vec<Signed<Reveal>>,
}

/// An account's place in the draw for a task: smaller is drawn first. The beacon is the digest of the
/// checkpoint that names the task.
pub fn rank(beacon: &Digest, task: &TaskId, account: &NodeId) -> Digest {
    Digest::of_value("ledger/draw/1", &(beacon, task, account))
}

/// Nanoseconds of reference CPU time for a byte of a kind's payload; `None` for what is not audited.
fn rate(kind: TaskKind, parameters: &Parameters) -> Option<u64> {
    match kind {
        TaskKind::Embedding => Some(parameters.get(Parameter::CpuEmbedding)),
        TaskKind::SemanticMatch => Some(parameters.get(Parameter::CpuMatch)),
        TaskKind::Compression => Some(parameters.get(Parameter::CpuCompression)),
        TaskKind::Encryption | TaskKind::VectorInsert | TaskKind::VectorSearch => None,
    }
}

/// The reference CPU time of one execution, in nanoseconds; nothing for what is not audited.
pub fn cpu_ns(assignment: &Assignment, parameters: &Parameters) -> u64 {
    let rate = rate(assignment.kind, parameters).unwrap_or(0);
    rate.saturating_mul(assignment.payload_bytes.min(AUDIT_BYTES_MAX))
}

/// Whether a kind's tasks may be audited.
pub fn is_audited(kind: TaskKind) -> bool {
    rate(kind, &Parameters::default()).is_some()
}

/// What CPU time is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewards {
    /// Everything certified with it.
    pub hours: CpuHours,
    /// What is set aside for being there.
    pub aside: Credits,
    /// What is promised, one for each time.
    pub amounts: Vec<Credits>,
}

/// What is promised for CPU time beyond the hours that are certified already: what the cap grows
/// by, S(H + h) − S(H), less `aside_ppm` millionths of it, in parts proportional to each one's time and
/// rounded down. Whatever is certified in whatever steps, the promises and what is set aside never
/// pass S(H) together.
pub fn rewards(hours: CpuHours, cpu_ns: &[u64], rate: Credits, aside_ppm: u64) -> Rewards {
    let all: u128 = cpu_ns.iter().map(|ns| u128::from(*ns)).sum();
    let more = CpuHours::from_cpu_micros(all / 1_000);
    let after = CpuHours::from_micro(hours.micro().saturating_add(more.micro()));
    let grown = after.cap(rate).minus(hours.cap(rate)).unwrap_or_default();
    let aside = u128::from(grown.micro()) * u128::from(aside_ppm.min(1_000_000)) / 1_000_000;
    let aside = Credits::from_micro(u64::try_from(aside).unwrap_or(0));
    let room = grown.minus(aside).unwrap_or_default();
    let part = |ns: &u64| {
        let micro = (u128::from(room.micro()) * u128::from(*ns)).checked_div(all).unwrap_or(0);
        Credits::from_micro(u64::try_from(micro).unwrap_or(0))
    };
    Rewards { hours: after, aside, amounts: cpu_ns.iter().map(part).collect() }
}
