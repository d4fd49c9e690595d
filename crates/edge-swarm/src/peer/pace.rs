//! How fast one account's chain may grow.
//!
//! A block that is no Settle costs nothing and takes room on every node until two checkpoints later, and
//! every thousand blocks make a checkpoint, for which each node writes the states of all accounts down. So
//! a witness votes for one block of an account a second, some more at once. Blocks that end an escrow do
//! not count: somebody waits for what they pay, and each ends a block that counted.
//!
//! What is refused for this alone is voted for later: the owner proposes it again every half second.

use std::collections::BTreeMap;

use edge_base::{Micros, NodeId, Timestamp};
use edge_ledger::{BlockKind, LedgerError};

use super::membership::MEMBERS_MAX;

/// Blocks of one account that a witness votes for at once.
const AT_ONCE: u64 = 256;
/// Beyond these one in so long.
const EVERY: Micros = Micros::from_secs(1);

/// Whether a block pays nothing for its place.
pub(super) fn is_free(kind: &BlockKind) -> bool {
    kind.ends().is_none()
}

/// When the blocks of each account will have had their time: the virtual scheduling of the generic cell
/// rate algorithm (ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Pace {
    due: BTreeMap<NodeId, Timestamp>,
}

impl Pace {
    /// Whether one more is voted for now.
    pub(super) fn admits(&self, account: &NodeId, now: Timestamp) -> bool {
        let due = self.due.get(account).copied().unwrap_or(now);
        due.since(now).0 <= (AT_ONCE - 1) * EVERY.0
    }

    /// One was voted for.
    pub(super) fn count(&mut self, account: NodeId, now: Timestamp) {
        if self.due.len() >= MEMBERS_MAX {
            self.due.retain(|_, due| *due > now);
        }
        // Only members propose, so there are few more than these; whoever is not counted is not held back.
        if self.due.len() < MEMBERS_MAX || self.due.contains_key(&account) {
            let due = self.due.entry(account).or_insert(now);
            *due = (*due).max(now) + EVERY;
        }
    }

    /// Why one is not voted for.
    pub(super) fn refusal() -> LedgerError {
        let (count, limit) = (AT_ONCE as usize + 1, AT_ONCE as usize);
        LedgerError::TooMany { what: "blocks of this account lately", count, limit }
    }

    /// What grows here, with its bounds.
    pub(super) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("accounts that were voted for lately", self.due.len(), MEMBERS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_and_then_one_a_second() {
        let (mut pace, one, other) = (Pace::default(), NodeId([1; 32]), NodeId([2; 32]));
        let mut now = Timestamp(5_000_000);
        let mut admitted = 0u64;
        for _ in 0..1_000 {
            if pace.admits(&one, now) {
                pace.count(one, now);
                admitted += 1;
            }
        }
        assert_eq!(admitted, AT_ONCE);
        for _ in 0..500 {
            now = now + Micros::from_millis(200);
            if pace.admits(&one, now) {
                pace.count(one, now);
                admitted += 1;
            }
        }
        assert_eq!(admitted, AT_ONCE + 100, "one in each of a hundred seconds");
        assert!(pace.admits(&other, now), "others are not held back");
        // After a rest all of it is there again.
        now = now + Micros(AT_ONCE * EVERY.0);
        let mut again = 0;
        while pace.admits(&one, now) {
            pace.count(one, now);
            again += 1;
        }
        assert_eq!(again, AT_ONCE);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut pace, now) = (Pace::default(), Timestamp(1));
        for n in 0..MEMBERS_MAX as u64 + 9 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            pace.count(NodeId(id), now);
        }
        assert_eq!(pace.due.len(), MEMBERS_MAX);
        pace.count(NodeId([9; 32]), now + EVERY);
        assert_eq!(pace.due.len(), 1, "those that had their time are forgotten");
    }
}
