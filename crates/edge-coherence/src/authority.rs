//! Who decides, and what exactly they sign.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, Domain, NodeId, SignedBody};
use serde::{Deserialize, Serialize};

use crate::paths::{Path, distinct};

/// Members of the largest authority.
pub const AUTHORITY_MAX: usize = 64;
/// Ballots kept of one member at one level. An honest one sends one; what a faulty one sends beyond
/// this is not taken.
pub const BALLOTS_OF_ONE_MAX: usize = 4;

/// How far a case was passed on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Level {
    /// The authority of the context.
    Narrow,
    /// The wider one that it named.
    Wide,
}

/// What a member of an authority finds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// The accused contradicted itself and did not put it right in time.
    Uphold,
    /// It put it right: this statement of it stands, and nothing that contradicts it.
    Reject {
        /// Digest of the statement that stands.
        kept: Digest,
    },
    /// This member cannot tell, and never will at this level: others shall.
    Escalate {
        /// Digest of the wider authority ([`Authority::digest`]).
        wider: Digest,
    },
}

/// A member's vote. An honest member signs one at each level of a case, in an epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Ballot {
    /// The context.
    pub context: Digest,
    /// Version of the authority of the context.
    pub epoch: u64,
    /// Which authority votes.
    pub level: Level,
    /// What the conflicting claims are about.
    pub conflict: Digest,
    /// Root of the set of evidence ([`crate::evidence_root`]).
    pub evidence: Digest,
    /// The verdict.
    pub verdict: Verdict,
}

impl SignedBody for Ballot {
    const DOMAIN: Domain = Domain("coherence-ballot");
}

/// Members that cannot be an authority: the fault of who proposed them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// None or too many.
    #[error("an authority has 1 to {AUTHORITY_MAX} members, not {0}")]
    Size(usize),
}

/// The members who decide, and by which path each of them counts.
///
/// With n different paths, f = ⌊(n − 1) / 3⌋ of them may have faulty members; a verdict needs
/// supporters by n − f. Two quorums share n − 2f ≥ f + 1 paths, and so one without a faulty member
/// (Malkhi and Reiter 1998, dissemination quorums).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authority {
    /// Version of the set that this authority is, or that named it.
    pub epoch: u64,
    members: BTreeMap<NodeId, Path>,
}

impl Authority {
    /// Members with their paths.
    pub fn new(
        epoch: u64,
        members: impl IntoIterator<Item = (NodeId, Path)>,
    ) -> Result<Self, AuthorityError> {
        let members: BTreeMap<NodeId, Path> = members.into_iter().take(AUTHORITY_MAX + 1).collect();
        match members.len() {
            1..=AUTHORITY_MAX => Ok(Authority { epoch, members }),
            n => Err(AuthorityError::Size(n)),
        }
    }

    /// Members that were elected one by one: each counts for itself.
    pub fn each_its_own(
        epoch: u64,
        members: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, AuthorityError> {
        Authority::new(epoch, members.into_iter().map(|node| (node, Path::own(&node))))
    }

    /// What an [`Verdict::Escalate`] names it by.
    pub fn digest(&self) -> Digest {
        Digest::of_value("coherence-authority", self)
    }

    /// The members, ascending.
    pub fn members(&self) -> impl Iterator<Item = &NodeId> {
        self.members.keys()
    }

    /// Whether a node is a member.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.members.contains_key(node)
    }

    /// By how many paths members are reached.
    pub fn paths(&self) -> usize {
        distinct(self.members.values().copied())
    }

    /// How many paths may be faulty without harm.
    pub fn faulty_max(&self) -> usize {
        self.paths().saturating_sub(1) / 3
    }

    /// Paths that a verdict needs supporters by.
    pub fn quorum(&self) -> usize {
        self.paths() - self.faulty_max()
    }

    /// By how many paths these supporters count; who is no member does not.
    pub fn count(&self, supporters: &BTreeSet<NodeId>) -> usize {
        distinct(supporters.iter().filter_map(|node| self.members.get(node).copied()))
    }
}
