//! Pay for being there: who answered the witnesses' challenges, as most of them saw it.
//!
//! The last checkpoint draws who is challenged ([`Base::called`](crate::Base)): accounts with enough at
//! stake. When is for each witness alone to draw, so that an answer takes being there all the time: a
//! challenge stands for [`CALL_SECONDS`] of it. Nobody can prove to a third what came in time by whose clock.
//! So each witness says what it counted ([`Seen`]), and what counts is the median of those that the next
//! checkpoint has: with at most f of 3f + 1 faulty it lies between what two honest ones counted.
//!
//! It is paid out of what rewards leave: a part of what the cap grows by is set aside
//! ([`rewards`](crate::rewards)), and nothing is promised for being there beyond that.

use std::collections::BTreeMap;

use edge_base::{Credits, Digest, Domain, NodeId, Signed, SignedBody};
use serde::{Deserialize, Serialize};

use crate::bounded;

/// Accounts that are challenged in an epoch. At the bound the rest is not, this time.
pub const CALLED_MAX: usize = 64;
/// How much time being there a challenge stands for.
pub const CALL_SECONDS: u64 = 600;
/// Challenges of one account that are counted in an epoch: those of a day. At the bound the rest is lost.
pub const COUNTED_MAX: u16 = 144;

/// A witness's word on who answered how many of its challenges since the last checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// The witness set that is asked.
    pub version: u64,
    /// The digest of the last checkpoint.
    pub beacon: Digest,
    /// Ascending by account, at least one of each.
    #[serde(deserialize_with = "bounded::vec::<_, _, CALLED_MAX>")]
    pub answered: Vec<(NodeId, u16)>,
}

impl SignedBody for Seen {
    const DOMAIN: Domain = Domain("ledger/seen");
}

/// An account's place in the draw: smaller is challenged first. The beacon is the digest of the last
/// checkpoint.
pub fn call_rank(beacon: &Digest, account: &NodeId) -> Digest {
    Digest::of_value("ledger/call/1", &(beacon, account))
}

/// How many challenges of each account count, of at least 2f + 1 statements: the lower median. At least
/// f + 1 statements say as many, so an honest one does; and at least f + 1 say no more.
pub fn counted(seen: &[Signed<Seen>]) -> Vec<(NodeId, u16)> {
    let mut all: BTreeMap<NodeId, Vec<u16>> = BTreeMap::new();
    for (account, count) in seen.iter().flat_map(|seen| &seen.body.answered) {
        all.entry(*account).or_default().push((*count).min(COUNTED_MAX));
    }
    let median = |(account, mut counts): (NodeId, Vec<u16>)| {
        // Who does not name it saw nothing.
        counts.resize(seen.len(), 0);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        (account, counts[seen.len() / 2])
    };
    all.into_iter().map(median).filter(|(_, count)| *count > 0).collect()
}

/// What is promised for these counts at `rate` credits an hour, out of a fund: all of it in proportion
/// where the fund is not enough, rounded down.
pub fn pay(counts: &[u16], rate: Credits, fund: Credits) -> Vec<Credits> {
    let due = |count: &u16| {
        u128::from(rate.micro()) * u128::from(*count) * u128::from(CALL_SECONDS) / 3_600
    };
    let all: u128 = counts.iter().map(due).sum();
    let have = u128::from(fund.micro());
    let part = |count: &u16| {
        let due = due(count);
        let paid = if all <= have { due } else { due * have / all };
        Credits::from_micro(u64::try_from(paid).unwrap_or(0))
    };
    counts.iter().map(part).collect()
}
