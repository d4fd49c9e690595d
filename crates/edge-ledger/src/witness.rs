//! Witness sets, and the handover from one to the next.

use edge_base::{Digest, Domain, NodeId, SignedBody};
use serde::{Deserialize, Serialize};

use crate::bounded;

/// Members of the largest witness set.
pub const WITNESSES_MAX: usize = 31;
/// Accounts a handover may list: what fits a frame.
pub const HANDOVER_HEADS_MAX: usize = 12_000;

/// The nodes whose votes make a block final. Never "the members of the pool".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WitnessSet {
    /// Counts the sets of a pool from 1.
    pub version: u64,
    /// Ascending, distinct; 1, 4, 7 ... 31 of them (3f + 1).
    #[serde(deserialize_with = "bounded::vec::<_, _, WITNESSES_MAX>")]
    pub members: Vec<NodeId>,
}

/// A set that cannot witness: the fault of whoever proposed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessSetError {
    /// Not 3f + 1 members, or too many.
    #[error("a witness set has 1, 4, 7 ... {WITNESSES_MAX} members, not {0}")]
    Size(usize),
    /// Unsorted, or somebody twice.
    #[error("the members of a witness set are ascending and distinct")]
    Order,
    /// A member that is no usable public key.
    #[error("{0} is not a usable public key")]
    Member(NodeId),
}

impl WitnessSet {
    /// A set of these members, sorted; a member named twice is an error.
    pub fn new(version: u64, mut members: Vec<NodeId>) -> Result<Self, WitnessSetError> {
        members.sort_unstable();
        let set = WitnessSet { version, members };
        set.validate()?;
        Ok(set)
    }

    /// Checks size, order and keys of a set that came from elsewhere.
    pub fn validate(&self) -> Result<(), WitnessSetError> {
        let n = self.members.len();
        if n == 0 || n > WITNESSES_MAX || n % 3 != 1 {
            return Err(WitnessSetError::Size(n));
        }
        if !bounded::strictly_ascending(&self.members) {
            return Err(WitnessSetError::Order);
        }
        match self.members.iter().find(|member| member.check().is_err()) {
            Some(member) => Err(WitnessSetError::Member(*member)),
            None => Ok(()),
        }
    }

    /// How many members may be faulty without harm: f of 3f + 1.
    pub fn faulty_max(&self) -> usize {
        self.members.len().saturating_sub(1) / 3
    }

    /// Votes that make a certificate: 2f + 1. Two quorums share an honest member.
    pub fn quorum(&self) -> usize {
        2 * self.faulty_max() + 1
    }

    /// Whether a node is a member.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.members.binary_search(node).is_ok()
    }
}

/// The last statement of a witness set of one: the next set, the head of every account, and with
/// them the promise that nothing more is signed under the old version. A certificate of the old
/// version beyond these heads is void.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// The version that ends.
    pub from_version: u64,
    /// The epoch that begins: one more than the last.
    pub epoch: u64,
    /// The set that begins, its version one more than `from_version`.
    pub to: WitnessSet,
    /// (account, seq, block hash) of every account that has a block, ascending by account.
    #[serde(deserialize_with = "bounded::vec::<_, _, HANDOVER_HEADS_MAX>")]
    pub heads: Vec<(NodeId, u64, Digest)>,
}

impl SignedBody for Handover {
    const DOMAIN: Domain = Domain("ledger/handover");
}

impl Handover {
    /// The head recorded for an account; (0, default) where there is none.
    pub fn head(&self, account: &NodeId) -> (u64, Digest) {
        match self.heads.binary_search_by_key(account, |(account, ..)| *account) {
            Ok(index) => (self.heads[index].1, self.heads[index].2),
            Err(_) => (0, Digest::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_base::SecretKey;

    use super::*;

    fn members(n: u8) -> Vec<NodeId> {
        (0..n).map(|i| SecretKey::from_seed([i + 1; 32]).node_id()).collect()
    }

    #[test]
    fn quorum_is_two_thirds_and_more() {
        for (n, faulty, quorum) in [(1, 0, 1), (4, 1, 3), (7, 2, 5), (10, 3, 7), (31, 10, 21)] {
            let set = WitnessSet::new(1, members(n)).unwrap();
            assert_eq!((set.faulty_max(), set.quorum()), (faulty, quorum), "n = {n}");
            // Two quorums share more than f members, so at least one honest one.
            assert!(2 * quorum - usize::from(n) > faulty);
        }
    }

    #[test]
    fn refuses_sizes_that_are_not_3f_plus_1() {
        for n in [0, 2, 3, 5, 6, 30, 32, 34] {
            let refused = WitnessSet::new(1, members(n));
            assert_eq!(refused, Err(WitnessSetError::Size(usize::from(n))));
        }
    }

    #[test]
    fn refuses_a_member_twice_and_a_weak_key() {
        let mut twice = members(4);
        twice[3] = twice[0];
        assert_eq!(WitnessSet::new(1, twice), Err(WitnessSetError::Order));
        let mut weak = members(4);
        weak[2] = NodeId([0; 32]);
        assert_eq!(WitnessSet::new(1, weak), Err(WitnessSetError::Member(NodeId([0; 32]))));
    }
}
