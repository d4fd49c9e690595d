//! What an account comes to at a moment, and proofs of it for whoever keeps nothing but a root.
//!
//! The leaves of the account tree ([`edge_base::merkle`]) are accounts: their ids with the hash of an
//! [`AccountSummary`]. A light client that trusts a root, because a quorum of witnesses signed the
//! checkpoint it stands in, checks an [`AccountProof`] of a few hundred bytes instead of a ledger.

use edge_base::{
    Credits, CreditsError, Digest, EscrowId, NodeId,
    merkle::{self, MerkleKind},
};
use serde::{Deserialize, Serialize};

mod written;

use crate::{block::PriceList, bounded, offence::OffenceKind, parameter::FeeRate};

/// Open escrows, or payments not taken yet, that one account's state may list when it is decoded.
pub const HOLDINGS_MAX: usize = 65_536;

/// The accounts of a ledger, by owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accounts;

impl MerkleKind for Accounts {
    type Key = NodeId;
    const EMPTY: &'static str = "ledger/accounts/empty/1";
    const LEAF: &'static str = "ledger/accounts/leaf/1";
    const BRANCH: &'static str = "ledger/accounts/branch/1";

    fn bits(key: &NodeId) -> &[u8; 32] {
        key.as_bytes()
    }
}

/// The tree over the accounts of a ledger.
pub type AccountTree = merkle::MerkleTree<Accounts>;

/// An escrow that has not ended, as an account's state lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenEscrow {
    /// Its id.
    pub id: EscrowId,
    /// What was set aside.
    pub budget: Credits,
    /// What executions cost.
    pub prices: PriceList,
    /// The first epoch in which nobody begins work for it any more.
    pub expires_epoch: u64,
    /// What is burned of what it pays.
    pub fee: FeeRate,
}

/// Everything that certificates say of an account at some moment: enough to go on from there without
/// any of them. Marks on slashed accounts are not in it: they are no certificates.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(from = "written::Written")]
pub struct AccountState {
    /// Whose.
    pub account: NodeId,
    /// The seq of its last certified block; 0 before the first.
    pub seq: u64,
    /// The hash of that block; the pool's before the first.
    pub head: Digest,
    /// The epoch of that block; 0 before the first.
    pub epoch: u64,
    /// What its next block can spend without taking credits.
    pub balance: Credits,
    /// At stake and not leaving, as its blocks say: without regard to the penalty.
    pub staked: Credits,
    /// What offences cost it so far: of what is at stake and leaving, as much as that is burned.
    pub penalty: Credits,
    /// The offences that were charged, ascending.
    pub offences: Vec<OffenceKind>,
    /// Withdrawals that have not ended, ascending by the hash of their Unstake.
    pub leaving: Vec<(Digest, Credits)>,
    /// Ascending by id.
    pub escrows: Vec<OpenEscrow>,
    /// Certified payments to it that none of its blocks has taken yet, ascending by certificate.
    pub incoming: Vec<(Digest, Credits)>,
    /// Rewards that are minted in the epochs to come, unless it offends, ascending by epoch.
    pub vesting: Vec<(u64, Credits)>,
    /// Who signs its blocks, where a Rotate named another key than the account's own.
    pub holder: Option<NodeId>,
}

/// An account's state without its lists: what a leaf of the account tree commits to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountSummary {
    /// The seq of its last certified block.
    pub seq: u64,
    /// The hash of that block.
    pub head: Digest,
    /// The epoch of that block.
    pub epoch: u64,
    /// What its next block can spend without taking credits.
    pub balance: Credits,
    /// Certified payments to it that none of its blocks has taken yet.
    pub incoming: Credits,
    /// Set aside in its open escrows.
    pub escrowed: Credits,
    /// At stake and not leaving, as its blocks say: without regard to the penalty.
    pub staked: Credits,
    /// What offences cost it so far.
    pub penalty: Credits,
    /// In withdrawals that have not ended.
    pub leaving: Credits,
    /// Promised rewards that have not vested: not minted yet.
    pub vesting: Credits,
    /// Hash of the lists of offences, withdrawals, escrows, payments and rewards.
    pub holdings: Digest,
}

impl AccountState {
    /// The state without its lists. Sums that overflow are the fault of whoever made the state.
    pub fn summary(&self) -> Result<AccountSummary, CreditsError> {
        let Self { offences, leaving, escrows, incoming, vesting, holder, .. } = self;
        let lists = (offences, leaving, escrows, incoming, vesting);
        // As it always was where the account is its own key's.
        let holdings = match holder {
            None => Digest::of_value("ledger/holdings/1", &lists),
            Some(holder) => Digest::of_value("ledger/holdings/2", &(lists, holder)),
        };
        Ok(AccountSummary {
            seq: self.seq,
            head: self.head,
            epoch: self.epoch,
            balance: self.balance,
            incoming: Credits::sum(self.incoming.iter().map(|(_, amount)| *amount))?,
            escrowed: Credits::sum(self.escrows.iter().map(|escrow| escrow.budget))?,
            staked: self.staked,
            penalty: self.penalty,
            leaving: Credits::sum(self.leaving.iter().map(|(_, amount)| *amount))?,
            vesting: Credits::sum(self.vesting.iter().map(|(_, amount)| *amount))?,
            holdings,
        })
    }

    /// Whether the lists ascend without repetition and hold prices as they have to be.
    pub(crate) fn is_canonical(&self) -> bool {
        self.holder != Some(self.account)
            && bounded::strictly_ascending(&self.offences)
            && bounded::strictly_ascending(self.leaving.iter().map(|(unstake, _)| unstake))
            && bounded::strictly_ascending(self.escrows.iter().map(|escrow| escrow.id))
            && bounded::strictly_ascending(self.incoming.iter().map(|(payment, _)| payment))
            && bounded::strictly_ascending(self.vesting.iter().map(|(epoch, _)| epoch))
            && self.escrows.iter().all(|escrow| escrow.prices.is_canonical())
    }
}

impl AccountSummary {
    /// What is burned of stake and withdrawals.
    pub fn forfeited(&self) -> Credits {
        self.penalty.min(self.staked.plus(self.leaving).unwrap_or(self.penalty))
    }

    /// The hash that stands in the account's leaf.
    pub fn hash(&self) -> Digest {
        Digest::of_value("ledger/account/1", self)
    }
}

/// A proof against a root of the account tree: what an account came to, or that there was none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountProof {
    /// What it came to; `None` for an account that was not there.
    pub summary: Option<AccountSummary>,
    /// The way from the root.
    pub path: merkle::MerkleProof<Accounts>,
}

impl AccountProof {
    /// Whether it holds for this account against this root. Bytes from anywhere: a false or
    /// malformed proof is `false`, never a panic.
    #[must_use]
    pub fn verify(&self, root: &Digest, account: &NodeId) -> bool {
        let hash = self.summary.map(|summary| summary.hash());
        self.path.verify(root, account, hash.as_ref())
    }
}
