//! Challenges of witnesses to members to show that they are there: `peer/uptime.rs` lives them.

use edge_base::{Digest, Domain, NodeId, Signed, SignedBody};
use serde::{Deserialize, Serialize};

/// A challenge and its answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RollCall {
    /// A witness asks whether a member is there.
    Ask {
        /// The checkpoint that drew it.
        beacon: Digest,
        /// Drawn for this once.
        number: u64,
    },
    /// It is.
    Here(Signed<Here>),
}

/// A member's answer to one challenge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Here {
    /// The checkpoint of the challenge.
    pub beacon: Digest,
    /// Whose challenge.
    pub witness: NodeId,
    /// Its number.
    pub number: u64,
}

impl SignedBody for Here {
    const DOMAIN: Domain = Domain("uptime/here");
}
