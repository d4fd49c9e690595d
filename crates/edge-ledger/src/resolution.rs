//! What witnesses resolve in a checkpoint beside which blocks are in it.
//!
//! Blocks are their owners' words and need no order between accounts. What follows from no block is
//! resolved here, once an epoch, by the same agreement: parameters, what offences cost, work that is
//! assigned and rewarded, who was there. Every witness checks
//! all of it before it prevotes; whoever takes the checkpoint later relies on the quorum, whose
//! digest of the checkpoint covers it.

use edge_base::{Digest, Signed};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{AUDITS_MAX, AuditCommits, Certified},
    bounded,
    offence::{OFFENCES_MAX, Offence},
    parameter::{Amendment, Parameter},
    statement::Assignment,
    uptime::Seen,
    witness::WITNESSES_MAX,
};

/// Everything that a checkpoint resolves.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Resolutions {
    /// Changes of parameters, ascending, each once.
    #[serde(deserialize_with = "bounded::vec::<_, _, { Parameter::ALL.len() }>")]
    pub amendments: Vec<Amendment>,
    /// Offences that are charged at the rates before those changes, ascending, each once.
    #[serde(deserialize_with = "bounded::vec::<_, _, OFFENCES_MAX>")]
    pub offences: Vec<Offence>,
    /// Tasks to be executed again, ascending by task: the checkpoint's digest draws by whom.
    #[serde(deserialize_with = "bounded::vec::<_, _, AUDITS_MAX>")]
    pub audits: Vec<Signed<Assignment>>,
    /// What was drawn by the last checkpoint and committed to, ascending by task.
    #[serde(deserialize_with = "bounded::vec::<_, _, AUDITS_MAX>")]
    pub commits: Vec<AuditCommits>,
    /// Of the commits in the last checkpoint those that were revealed alike, ascending by task.
    #[serde(deserialize_with = "bounded::vec::<_, _, AUDITS_MAX>")]
    pub certified: Vec<Certified>,
    /// What witnesses saw of who is there since the last checkpoint, ascending by witness: none, or those
    /// of a quorum and more.
    #[serde(deserialize_with = "bounded::vec::<_, _, WITNESSES_MAX>")]
    pub seen: Vec<Signed<Seen>>,
}

impl Resolutions {
    /// What the checkpoint names them by.
    pub fn digest(&self) -> Digest {
        Digest::of_value("ledger/resolutions/1", self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Resolutions::default()
    }
}
