//! By how many ways something was confirmed.
//!
//! A thousand identities behind one invitation, one relay or one network are one witness: they can
//! be one person's, and one broken machine can make all of them wrong. Counting by paths is the
//! counting of Sybil groups by their only edge to the rest (compare SybilLimit, Yu et al. 2008),
//! reduced to what a node can see.

use std::collections::BTreeSet;

use edge_base::{Digest, NodeId};
use serde::{Deserialize, Serialize};

/// How a supporter is reached, as opaque keys: equal keys are the same way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Path {
    /// The branch of invitations it came by.
    pub branch: Digest,
    /// The relay in between; the same key for all that are reached without one.
    pub relay: Digest,
    /// Its network prefix.
    pub prefix: Digest,
}

impl Path {
    /// A way that nobody else has.
    pub fn own(node: &NodeId) -> Self {
        let key = Digest::of_value("path-own", node);
        Path { branch: key, relay: key, prefix: key }
    }
}

/// How many different paths there are: each (branch, relay, prefix) counts once.
pub fn distinct(paths: impl IntoIterator<Item = Path>) -> usize {
    paths.into_iter().collect::<BTreeSet<_>>().len()
}
