//! What witnesses resolve in a checkpoint beside which blocks are in it.
//!
//! Blocks are their owners' words and need no order between accounts. What follows from no block is
//! resolved here, once an epoch, by the same agreement: parameters, and what offences cost. Every witness checks
//! all of it before it prevotes; whoever takes the checkpoint later relies on the quorum, whose
//! digest of the checkpoint covers it.

use edge_base::Digest;
use serde::{Deserialize, Serialize};

use crate::{
    bounded,
    offence::{OFFENCES_MAX, Offence},
    parameter::{Amendment, Parameter},
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
