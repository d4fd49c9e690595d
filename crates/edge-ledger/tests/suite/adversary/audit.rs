//! What may never be true of the certificates of a pool, judged from the blocks alone, in signed
//! numbers, by code that shares nothing with the ledger's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Digest, EscrowId, NodeId};
use edge_ledger::{Block, BlockKind, Certificate, Genesis};

/// A law of the ledger that was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Broken {
    /// Σ balances + Σ escrows + Σ uncredited + Σ stake + Σ fees is not the grant, or a block states
    /// another balance than what it moves leaves.
    Conservation,
    /// A block that spends more than there is.
    NegativeBalance,
    /// Two certificates for one (account, seq).
    TwoCertificates,
    /// An escrow that ended twice.
    EscrowEndedTwice,
    /// A withdrawal that ended twice.
    WithdrawalEndedTwice,
    /// A payment that was taken twice.
    CreditedTwice,
    /// An owner that keeps the rules signed two blocks for one place, or its account is frozen.
    HonestEquivocation,
    /// A certificate that an honest ledger refuses.
    Refused,
    /// Two orders of the same certificates give two states.
    Order,
    /// More is minted, promised or set aside than the cap.
    BeyondCap,
    /// Work was certified that others than the drawn did, or not alike.
    MintedToUndrawn,
    /// A penalty of who did nothing.
    PenaltyUnfounded,
    /// A ledger's sums are not what was granted, minted and burned.
    Totals,
}

/// Sums as far as the blocks have come.
#[derive(Default)]
struct Sums {
    balance: BTreeMap<NodeId, i128>,
    staked: BTreeMap<NodeId, i128>,
    escrows: BTreeMap<EscrowId, i128>,
    ended: BTreeSet<EscrowId>,
    leaving: BTreeMap<(NodeId, Digest), i128>,
    released: BTreeSet<(NodeId, Digest)>,
    payments: BTreeMap<(NodeId, Digest), i128>,
    taken: BTreeSet<(NodeId, Digest)>,
    burned: i128,
    broken: BTreeSet<Broken>,
}

/// The laws that these certificates break; what they build on is among them.
pub(crate) fn audit<'a>(
    genesis: &Genesis,
    certificates: impl Iterator<Item = &'a Arc<Certificate>>,
) -> BTreeSet<Broken> {
    audit_with(genesis, certificates, &BTreeMap::new(), &BTreeMap::new()).0
}

/// The same where checkpoints minted payments, and charged penalties; with what is burned.
pub(crate) fn audit_with<'a>(
    genesis: &Genesis,
    certificates: impl Iterator<Item = &'a Arc<Certificate>>,
    minted: &BTreeMap<(NodeId, Digest), i128>,
    penalties: &BTreeMap<NodeId, i128>,
) -> (BTreeSet<Broken>, i128) {
    let grant = i128::from(genesis.grant.micro()) + minted.values().sum::<i128>();
    let mut sums = Sums { payments: minted.clone(), ..Sums::default() };
    sums.balance.insert(genesis.founder, genesis.grant.micro().into());
    let mut chains: BTreeMap<(NodeId, u64), (Digest, &Block)> = BTreeMap::new();
    for certificate in certificates {
        let (id, block) = (certificate.id(), certificate.body());
        match chains.get(&(block.account, block.seq)) {
            Some((other, _)) if *other != id => {
                sums.broken.insert(Broken::TwoCertificates);
            }
            _ => {
                chains.insert((block.account, block.seq), (id, block));
            }
        }
    }
    for (id, block) in chains.values() {
        sums.give(*id, block);
    }
    for (id, block) in chains.values() {
        sums.carry_out(*id, block);
    }
    let open = sums.escrows.iter().filter(|(id, _)| !sums.ended.contains(id));
    let untaken = sums.payments.iter().filter(|(payment, _)| !sums.taken.contains(payment));
    let unreleased = sums.leaving.iter().filter(|(key, _)| !sums.released.contains(key));
    let sum: i128 = sums.balance.values().sum::<i128>()
        + sums.staked.values().sum::<i128>()
        + open.map(|(_, budget)| budget).sum::<i128>()
        + untaken.map(|(_, amount)| amount).sum::<i128>()
        + unreleased.map(|(_, amount)| amount).sum::<i128>();
    if sum + sums.burned != grant || sums.staked.values().any(|staked| *staked < 0) {
        sums.broken.insert(Broken::Conservation);
    }
    // Penalties are owed out of what is at stake and leaving, and take no more than that.
    let mut left = sums.staked.clone();
    for ((account, unstake), amount) in &sums.leaving {
        if !sums.released.contains(&(*account, *unstake)) {
            *left.entry(*account).or_default() += amount;
        }
    }
    let forfeited = |(account, owed): (&NodeId, &i128)| {
        left.get(account).copied().unwrap_or_default().min(*owed)
    };
    let forfeited: i128 = penalties.iter().map(forfeited).sum();
    (sums.broken, sums.burned + forfeited)
}

impl Sums {
    /// What a block sets up for others to use.
    fn give(&mut self, id: Digest, block: &Block) {
        match &block.kind {
            BlockKind::Send { to, amount, .. } => {
                self.payments.insert((*to, id), amount.micro().into());
            }
            BlockKind::Settle { payments, .. } => {
                for payment in payments {
                    self.payments.insert((payment.worker, id), payment.amount.micro().into());
                }
            }
            BlockKind::Escrow { budget, .. } => {
                self.escrows.insert(EscrowId(id), budget.micro().into());
            }
            BlockKind::Unstake { amount } => {
                self.leaving.insert((block.account, id), amount.micro().into());
            }
            BlockKind::Open
            | BlockKind::Refund { .. }
            | BlockKind::Stake { .. }
            | BlockKind::Release { .. }
            | BlockKind::Rotate { .. } => {}
        }
    }

    fn carry_out(&mut self, id: Digest, block: &Block) {
        let mut balance = *self.balance.entry(block.account).or_insert(0);
        for credit in &block.credits {
            let payment = (block.account, *credit);
            if !self.taken.insert(payment) {
                self.broken.insert(Broken::CreditedTwice);
            }
            match self.payments.get(&payment) {
                Some(amount) => balance += amount,
                None => drop(self.broken.insert(Broken::Conservation)),
            }
        }
        balance += self.returned(block);
        let staked = self.staked.entry(block.account).or_insert(0);
        match &block.kind {
            BlockKind::Send { amount, .. } => balance -= i128::from(amount.micro()),
            BlockKind::Escrow { budget, .. } => balance -= i128::from(budget.micro()),
            BlockKind::Stake { amount } => {
                balance -= i128::from(amount.micro());
                *staked += i128::from(amount.micro());
            }
            BlockKind::Unstake { .. } => *staked -= self.leaving[&(block.account, id)],
            BlockKind::Open
            | BlockKind::Settle { .. }
            | BlockKind::Refund { .. }
            | BlockKind::Release { .. }
            | BlockKind::Rotate { .. } => {}
        }
        if balance < 0 {
            self.broken.insert(Broken::NegativeBalance);
        }
        if balance != i128::from(block.balance_after.micro()) {
            self.broken.insert(Broken::Conservation);
        }
        self.balance.insert(block.account, block.balance_after.micro().into());
    }

    /// What a block takes back from an escrow or a withdrawal.
    fn returned(&mut self, block: &Block) -> i128 {
        let (escrow, spent) = match &block.kind {
            BlockKind::Settle { escrow, payments, fee } => {
                let paid: i128 = payments.iter().map(|p| i128::from(p.amount.micro())).sum();
                self.burned += i128::from(fee.micro());
                // Three thousandths, rounded up.
                if i128::from(fee.micro()) != (paid * 3 + 999) / 1_000 {
                    self.broken.insert(Broken::Conservation);
                }
                (escrow, paid + i128::from(fee.micro()))
            }
            BlockKind::Refund { escrow } => (escrow, 0),
            BlockKind::Release { unstake } => {
                let withdrawal = (block.account, *unstake);
                if !self.released.insert(withdrawal) {
                    self.broken.insert(Broken::WithdrawalEndedTwice);
                }
                return self.leaving.get(&withdrawal).copied().unwrap_or_default();
            }
            BlockKind::Open
            | BlockKind::Send { .. }
            | BlockKind::Escrow { .. }
            | BlockKind::Stake { .. }
            | BlockKind::Unstake { .. }
            | BlockKind::Rotate { .. } => return 0,
        };
        if !self.ended.insert(*escrow) {
            self.broken.insert(Broken::EscrowEndedTwice);
        }
        let returned = self.escrows.get(escrow).copied().unwrap_or_default() - spent;
        if returned < 0 {
            self.broken.insert(Broken::Conservation);
        }
        returned
    }
}
