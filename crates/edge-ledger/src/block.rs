//! The blocks of an account's chain.

use edge_base::{
    Credits, CreditsError, Digest, Domain, EscrowId, NodeId, Signed, SignedBody, TaskKind,
};
use serde::{Deserialize, Serialize};

use crate::{bounded, parameter::FeeRate};

/// Certificates one block may credit.
pub const CREDITS_MAX: usize = 256;
/// Workers one settlement may pay.
pub const PAYMENTS_MAX: usize = 1024;
/// Kinds one price list may price.
pub const PRICES_MAX: usize = 16;
/// Withdrawals of one account that have not ended.
pub const WITHDRAWALS_MAX: usize = 64;

/// What one worker gets from a settlement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// Who is paid; never the owner of the escrow.
    pub worker: NodeId,
    /// How much; never nothing.
    pub amount: Credits,
    /// For how many tasks: a statement for people and reputation, not part of the arithmetic.
    pub tasks: u64,
}

/// Prices of an escrow: credits for one unit of cost of a kind. The requester derives the units
/// of a task from its payload; each execution is paid `units x price`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PriceList {
    #[serde(deserialize_with = "bounded::vec::<_, _, PRICES_MAX>")]
    prices: Vec<(TaskKind, Credits)>,
}

impl PriceList {
    /// A list of these prices; the last price given for a kind holds, a price of nothing becomes
    /// the smallest one.
    pub fn new(prices: impl IntoIterator<Item = (TaskKind, Credits)>) -> Self {
        let mut list = PriceList::default();
        for (kind, price) in prices {
            let price = price.max(Credits::SMALLEST);
            match list.prices.binary_search_by_key(&kind, |(kind, _)| *kind) {
                Ok(index) => list.prices[index].1 = price,
                Err(index) => list.prices.insert(index, (kind, price)),
            }
        }
        list
    }

    /// One price for every kind.
    pub fn uniform(price: Credits) -> Self {
        PriceList::new(TaskKind::ALL.map(|kind| (kind, price)))
    }

    /// Micro-credits for a unit in the mean of the kinds that are priced.
    pub fn mean(&self) -> Option<f64> {
        let sum: u128 = self.prices.iter().map(|(_, price)| u128::from(price.micro())).sum();
        (!self.prices.is_empty()).then(|| sum as f64 / self.prices.len() as f64)
    }

    /// Credits for one unit of a kind, if it is priced.
    pub fn unit(&self, kind: TaskKind) -> Option<Credits> {
        let index = self.prices.binary_search_by_key(&kind, |(kind, _)| *kind).ok()?;
        Some(self.prices[index].1)
    }

    /// Credits for one execution of `units` cost units, at least the smallest amount; `None` for
    /// a kind without a price or an amount that overflows.
    pub fn execution(&self, kind: TaskKind, units: u64) -> Option<Credits> {
        self.unit(kind)?.times(units.max(1)).ok()
    }

    /// Kinds and prices, ascending by kind.
    pub fn iter(&self) -> impl Iterator<Item = (TaskKind, Credits)> + '_ {
        self.prices.iter().copied()
    }

    /// Ascending by kind, no kind twice, no price of nothing.
    pub(crate) fn is_canonical(&self) -> bool {
        bounded::strictly_ascending(self.prices.iter().map(|(kind, _)| kind))
            && self.prices.iter().all(|(_, price)| *price >= Credits::SMALLEST)
    }
}

/// What a block does. (The number after `Rotate` is reserved for Ballot.)
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BlockKind {
    /// Opens the account by taking credits that were sent to it; later, only takes more of them.
    /// At least one, so that an account costs somebody something.
    Open,
    /// Gives credits to another account.
    Send {
        /// Who gets them.
        to: NodeId,
        /// How many; never none.
        amount: Credits,
        /// The digest of whatever it is for.
        memo: Digest,
    },
    /// Sets credits aside for a job. The hash of the block is the escrow's id.
    Escrow {
        /// How many; never none.
        budget: Credits,
        /// What executions cost.
        prices: PriceList,
        /// The first epoch in which nobody begins work for it any more. It does not end by
        /// itself: what is owed is still owed.
        expires_epoch: u64,
    },
    /// Ends an escrow: pays workers, burns the fee, returns the rest to the owner.
    Settle {
        /// Which one.
        escrow: EscrowId,
        /// Ascending by worker, each once.
        #[serde(deserialize_with = "bounded::vec::<_, _, PAYMENTS_MAX>")]
        payments: Vec<Payment>,
        /// [`FeeRate::fee`] of the sum of the payments, at the rate of the epoch that the Escrow block
        /// names.
        fee: Credits,
    },
    /// Ends an escrow without paying anybody: the whole budget returns to the owner.
    Refund {
        /// Which one.
        escrow: EscrowId,
    },
    /// Puts credits of the balance at stake: they answer for what their owner does.
    Stake {
        /// How many; never none.
        amount: Credits,
    },
    /// Begins to take stake back. The hash of the block names the withdrawal; until its Release the
    /// credits are leaving: no stake any more, not spendable yet, and lost like stake if their
    /// owner is caught.
    Unstake {
        /// How many; never none, never more than is staked. At most [`WITHDRAWALS_MAX`]
        /// withdrawals of an account are on their way.
        amount: Credits,
    },
    /// Ends a withdrawal: what was leaving is spendable again.
    Release {
        /// The hash of the Unstake block.
        unstake: Digest,
    },
    /// Gives the account to another key: the next block and all after it are signed by that key, and by
    /// the one before no more. Nothing moves: balance, stake, escrows and payments to the account stay
    /// where they are, and so do marks and penalties.
    Rotate {
        /// The key that signs from now on; never the one that signed until now.
        to: NodeId,
    },
}

impl BlockKind {
    /// A settlement of these payments, sorted, payments to one worker joined, payments of nothing
    /// left out, with its fee at the escrow's rate.
    pub fn settle(
        escrow: EscrowId,
        mut payments: Vec<Payment>,
        rate: FeeRate,
    ) -> Result<BlockKind, CreditsError> {
        payments.retain(|payment| payment.amount > Credits::ZERO);
        payments.sort_unstable_by_key(|payment| payment.worker);
        let mut joined: Vec<Payment> = Vec::with_capacity(payments.len());
        for payment in payments {
            match joined.last_mut() {
                Some(last) if last.worker == payment.worker => {
                    last.amount = last.amount.plus(payment.amount)?;
                    last.tasks = last.tasks.saturating_add(payment.tasks);
                }
                _ => joined.push(payment),
            }
        }
        let total = Credits::sum(joined.iter().map(|payment| payment.amount))?;
        Ok(BlockKind::Settle { escrow, payments: joined, fee: rate.fee(total)? })
    }

    /// What leaves the spendable balance: the amount of a Send or a Stake, the budget of an Escrow.
    pub fn debit(&self) -> Credits {
        match self {
            BlockKind::Send { amount, .. } | BlockKind::Stake { amount } => *amount,
            BlockKind::Escrow { budget, .. } => *budget,
            BlockKind::Open
            | BlockKind::Settle { .. }
            | BlockKind::Refund { .. }
            | BlockKind::Unstake { .. }
            | BlockKind::Release { .. }
            | BlockKind::Rotate { .. } => Credits::ZERO,
        }
    }

    /// Whether it takes stake back: what the owner of a slashed account may not.
    pub fn withdraws(&self) -> bool {
        matches!(self, BlockKind::Unstake { .. } | BlockKind::Release { .. })
    }

    /// The escrow that this block ends.
    pub fn ends(&self) -> Option<EscrowId> {
        match self {
            BlockKind::Settle { escrow, .. } | BlockKind::Refund { escrow } => Some(*escrow),
            BlockKind::Open
            | BlockKind::Send { .. }
            | BlockKind::Escrow { .. }
            | BlockKind::Stake { .. }
            | BlockKind::Unstake { .. }
            | BlockKind::Release { .. }
            | BlockKind::Rotate { .. } => None,
        }
    }

    /// What this block gives to an account, once it is certified.
    pub fn pays(&self, account: &NodeId) -> Option<Credits> {
        match self {
            BlockKind::Send { to, amount, .. } if to == account => Some(*amount),
            BlockKind::Settle { payments, .. } => payments
                .binary_search_by_key(account, |payment| payment.worker)
                .ok()
                .map(|index| payments[index].amount),
            BlockKind::Send { .. }
            | BlockKind::Open
            | BlockKind::Escrow { .. }
            | BlockKind::Refund { .. }
            | BlockKind::Stake { .. }
            | BlockKind::Unstake { .. }
            | BlockKind::Release { .. }
            | BlockKind::Rotate { .. } => None,
        }
    }
}

/// One entry of an account's chain, signed by the account's owner.
///
/// `balance_after` = the balance before + the credits taken + what an ended escrow or withdrawal
/// returns − `debit`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Block {
    /// Whose chain; also who signs, until a [`BlockKind::Rotate`] gave the chain to another key.
    pub account: NodeId,
    /// 1 for the first block, then without gaps.
    pub seq: u64,
    /// The hash of the block before; the pool's hash for the first.
    pub prev: Digest,
    /// The epoch its owner knew; never falls along a chain, never ahead of the ledger.
    pub epoch: u64,
    /// What it does.
    pub kind: BlockKind,
    /// [`BlockKind::debit`], repeated so that arithmetic can be checked without knowing kinds.
    pub debit: Credits,
    /// Ids of certificates whose payment to this account is taken now; ascending, distinct.
    #[serde(deserialize_with = "bounded::vec::<_, _, CREDITS_MAX>")]
    pub credits: Vec<Digest>,
    /// The spendable balance after this block.
    pub balance_after: Credits,
}

impl SignedBody for Block {
    const DOMAIN: Domain = Domain("ledger/block");
}

/// A block with its owner's signature.
pub type SignedBlock = Signed<Block>;

/// The hash that names a block: of the signer and the body, not of the signature, so that signing
/// the same block again is not a second block.
pub fn block_hash(block: &SignedBlock) -> Digest {
    block.digest()
}
