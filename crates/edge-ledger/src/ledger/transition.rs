//! What a block does to the state: the rules, and their effect.

use std::sync::Arc;

use edge_base::{Credits, Digest, EscrowId, NodeId};

use super::{Account, Escrow, EscrowState, Ledger};
use crate::{
    block::{Block, BlockKind, CREDITS_MAX, PAYMENTS_MAX, SignedBlock, WITHDRAWALS_MAX},
    bounded,
    error::LedgerError,
    parameter::FeeRate,
    vote::Certificate,
};

/// What a valid block moves, computed before anything is touched.
pub(super) struct Effect {
    /// Sum of the credits taken.
    credited: Credits,
    change: Change,
}

/// What a kind moves beside its debit.
enum Change {
    Nothing,
    Ends(Ended),
    /// A withdrawal ends.
    Releases {
        unstake: Digest,
        amount: Credits,
    },
}

impl Change {
    /// What returns to the balance.
    fn returned(&self) -> Credits {
        match self {
            Change::Nothing => Credits::ZERO,
            Change::Ends(ended) => ended.returned,
            Change::Releases { amount, .. } => *amount,
        }
    }
}

struct Ended {
    escrow: EscrowId,
    budget: Credits,
    burned: Credits,
    /// What returns to the owner.
    returned: Credits,
    state: EscrowState,
}

fn bound(what: &'static str, count: usize, limit: usize) -> Result<(), LedgerError> {
    if count > limit { Err(LedgerError::TooMany { what, count, limit }) } else { Ok(()) }
}

impl Ledger {
    /// Checks a block against the state and computes its effect.
    pub(super) fn transition(&self, signed: &SignedBlock) -> Result<Effect, LedgerError> {
        let block = &signed.body;
        let found = self.accounts.get(&block.account);
        self.check_place(block, found)?;
        self.check_holder(signed)?;
        if block.debit != block.kind.debit() {
            return Err(LedgerError::Debit);
        }
        let credited = self.credited(block, found)?;
        let change = self.check_kind(block)?;
        let before = found.map_or(Credits::ZERO, Account::balance);
        let have = before.plus(credited)?.plus(change.returned())?;
        let need = block.debit;
        let computed = have.minus(need).map_err(|_| LedgerError::Insufficient { have, need })?;
        if computed != block.balance_after {
            return Err(LedgerError::BalanceAfter { stated: block.balance_after, computed });
        }
        Ok(Effect { credited, change })
    }

    fn check_place(&self, block: &Block, found: Option<&Account>) -> Result<(), LedgerError> {
        let Block { account, seq, .. } = *block;
        let last = found.map_or(0, Account::seq);
        if seq == 0 {
            return Err(LedgerError::SeqZero);
        }
        if seq <= last {
            return Err(LedgerError::SeqTaken { account, seq });
        }
        if seq > last + 1 {
            return Err(LedgerError::MissingPredecessor { account, seq: last + 1 });
        }
        if block.prev != found.map_or(self.pool, |found| found.head(self.pool)) {
            return Err(LedgerError::Prev);
        }
        if block.epoch > self.epoch {
            return Err(LedgerError::EpochAhead { epoch: block.epoch });
        }
        let from = found.map_or(0, Account::epoch);
        if block.epoch < from {
            return Err(LedgerError::EpochFell { from, to: block.epoch });
        }
        Ok(())
    }

    fn credited(&self, block: &Block, found: Option<&Account>) -> Result<Credits, LedgerError> {
        bound("credits", block.credits.len(), CREDITS_MAX)?;
        if !bounded::strictly_ascending(&block.credits) {
            return Err(LedgerError::Order("credits"));
        }
        let mut sum = Credits::ZERO;
        for id in &block.credits {
            let amount = match found.and_then(|found| found.payment(id)) {
                Some(amount) => amount,
                None => return Err(self.no_credit(block, *id)),
            };
            sum = sum.plus(amount)?;
        }
        Ok(sum)
    }

    fn no_credit(&self, block: &Block, id: Digest) -> LedgerError {
        match self.certificates.get(&id) {
            None => LedgerError::MissingCredit { id },
            Some(paying) => match paying.body().kind.pays(&block.account) {
                Some(_) => LedgerError::CreditedAlready { id },
                None => LedgerError::CreditNotYours { id },
            },
        }
    }

    fn check_kind(&self, block: &Block) -> Result<Change, LedgerError> {
        match &block.kind {
            BlockKind::Open if block.credits.is_empty() => {
                Err(LedgerError::Empty("an Open takes at least one credit"))
            }
            BlockKind::Send { to, .. } if *to == block.account => Err(LedgerError::SelfPayment),
            BlockKind::Send { amount, .. } if *amount == Credits::ZERO => {
                Err(LedgerError::Empty("a Send of nothing"))
            }
            BlockKind::Open | BlockKind::Send { .. } => Ok(Change::Nothing),
            BlockKind::Escrow { budget, prices, expires_epoch } => {
                if *budget == Credits::ZERO {
                    return Err(LedgerError::Empty("an escrow of nothing"));
                }
                if *expires_epoch <= block.epoch {
                    return Err(LedgerError::Empty("an escrow that has expired"));
                }
                if prices.is_canonical() { Ok(Change::Nothing) } else { Err(LedgerError::Prices) }
            }
            BlockKind::Settle { escrow, payments, fee: stated } => {
                let (budget, rate) = self.open_budget(&block.account, escrow)?;
                bound("payments", payments.len(), PAYMENTS_MAX)?;
                if !bounded::strictly_ascending(payments.iter().map(|payment| payment.worker)) {
                    return Err(LedgerError::Order("payments"));
                }
                if payments.iter().any(|payment| payment.worker == block.account) {
                    return Err(LedgerError::SelfPayment);
                }
                if payments.iter().any(|payment| payment.amount == Credits::ZERO) {
                    return Err(LedgerError::Empty("a payment of nothing"));
                }
                let paid = Credits::sum(payments.iter().map(|payment| payment.amount))?;
                let (stated, computed) = (*stated, rate.fee(paid)?);
                if stated != computed {
                    return Err(LedgerError::Fee { stated, computed });
                }
                let total = paid.plus(computed)?;
                let over = LedgerError::OverBudget { total, budget };
                let returned = budget.minus(total).map_err(|_| over)?;
                let (escrow, state) = (*escrow, EscrowState::Settled);
                Ok(Change::Ends(Ended { escrow, budget, burned: computed, returned, state }))
            }
            BlockKind::Refund { escrow } => {
                let (budget, _) = self.open_budget(&block.account, escrow)?;
                let (escrow, state) = (*escrow, EscrowState::Refunded);
                let burned = Credits::ZERO;
                Ok(Change::Ends(Ended { escrow, budget, burned, returned: budget, state }))
            }
            BlockKind::Stake { amount } | BlockKind::Unstake { amount }
                if *amount == Credits::ZERO =>
            {
                Err(LedgerError::Empty("a stake of nothing"))
            }
            BlockKind::Stake { .. } => Ok(Change::Nothing),
            BlockKind::Unstake { amount } => {
                let found = self.accounts.get(&block.account);
                let (staked, asked) = (found.map_or(Credits::ZERO, |a| a.staked), *amount);
                if asked > staked {
                    return Err(LedgerError::NotStaked { staked, asked });
                }
                let open = self.withdrawals(&block.account).count();
                bound("withdrawals", open + 1, WITHDRAWALS_MAX)?;
                Ok(Change::Nothing)
            }
            BlockKind::Rotate { to } if *to == self.holder(&block.account) => {
                Err(LedgerError::Empty("a rotation to the key that signs already"))
            }
            BlockKind::Rotate { to } if to.check().is_err() => {
                Err(LedgerError::Empty("a rotation to what is no key"))
            }
            BlockKind::Rotate { .. } => Ok(Change::Nothing),
            BlockKind::Release { unstake } => {
                let amount = self.leaving(&block.account, unstake)?;
                Ok(Change::Releases { unstake: *unstake, amount })
            }
        }
    }

    /// The amount of a withdrawal of this account that has not ended. (Its Unstake is in the same
    /// chain as its Release, so no other certificate can be missing.)
    fn leaving(&self, account: &NodeId, unstake: &Digest) -> Result<Credits, LedgerError> {
        if let Some(amount) = self.accounts.get(account).and_then(|a| a.leaving.get(unstake)) {
            return Ok(*amount);
        }
        let block = self.certificates.get(unstake).map(|certificate| certificate.body());
        match block {
            Some(Block { account: owner, kind: BlockKind::Unstake { .. }, .. })
                if owner == account =>
            {
                Err(LedgerError::WithdrawalEnded(*unstake))
            }
            _ => Err(LedgerError::NoWithdrawal(*unstake)),
        }
    }

    /// The budget of an open escrow of this account, and its fee.
    fn open_budget(
        &self,
        account: &NodeId,
        id: &EscrowId,
    ) -> Result<(Credits, FeeRate), LedgerError> {
        let escrow = self.escrows.get(id).ok_or(LedgerError::NoEscrow(*id))?;
        if escrow.owner != *account {
            return Err(LedgerError::NotYourEscrow(*id));
        }
        match escrow.state {
            EscrowState::Open => Ok((escrow.budget, escrow.fee)),
            EscrowState::Settled | EscrowState::Refunded => Err(LedgerError::EscrowEnded(*id)),
        }
    }

    /// Carries out what [`Ledger::transition`] computed. Nothing here can fail: every sum is a part
    /// of the grant, which fits.
    pub(super) fn commit_effect(
        &mut self,
        certificate: &Arc<Certificate>,
        id: Digest,
        effect: Effect,
    ) {
        let block = certificate.body();
        let fits = "invariant: every sum of certified amounts is at most the grant";
        let held = "invariant: what leaves a sum was counted in it";
        let account = self.accounts.get_or_insert_with(block.account, Account::default);
        let forfeited = account.forfeited();
        for credit in &block.credits {
            account.take_payment(credit);
        }
        self.totals.uncredited = self.totals.uncredited.minus(effect.credited).expect(held);
        self.totals.balances = self.totals.balances.minus(account.balance()).expect(held);
        self.totals.balances = self.totals.balances.plus(block.balance_after).expect(fits);
        match &effect.change {
            Change::Nothing => {}
            Change::Ends(ended) => {
                account.escrowed = account.escrowed.minus(ended.budget).expect(held);
                self.totals.escrowed = self.totals.escrowed.minus(ended.budget).expect(held);
                self.totals.burned = self.totals.burned.plus(ended.burned).expect(fits);
                if let Some(escrow) = self.escrows.get_mut(&ended.escrow) {
                    escrow.state = ended.state;
                }
                self.open.remove(&(block.account, ended.escrow));
            }
            Change::Releases { unstake, amount } => {
                account.leaving.remove(unstake);
                account.leaving_sum = account.leaving_sum.minus(*amount).expect(held);
                self.totals.staked = self.totals.staked.minus(*amount).expect(held);
            }
        }
        account.chain.push(certificate.clone());
        account.set_last(id, block.epoch, block.balance_after);
        match &block.kind {
            BlockKind::Escrow { budget, prices, expires_epoch } => {
                account.escrowed = account.escrowed.plus(*budget).expect(fits);
                self.totals.escrowed = self.totals.escrowed.plus(*budget).expect(fits);
                let (owner, state) = (block.account, EscrowState::Open);
                self.open.insert((owner, EscrowId(id)));
                let (budget, prices, expires_epoch) = (*budget, prices.clone(), *expires_epoch);
                let fee = self.parameters.fee_in(block.epoch);
                let opened = Escrow { owner, budget, state, prices, expires_epoch, fee };
                self.escrows.insert(EscrowId(id), opened);
            }
            BlockKind::Send { to, amount, .. } => self.add_incoming(*to, id, *amount),
            BlockKind::Settle { payments, .. } => {
                for payment in payments {
                    self.add_incoming(payment.worker, id, payment.amount);
                }
            }
            BlockKind::Stake { amount } => {
                account.staked = account.staked.plus(*amount).expect(fits);
                self.totals.staked = self.totals.staked.plus(*amount).expect(fits);
            }
            BlockKind::Unstake { amount } => {
                account.staked = account.staked.minus(*amount).expect(held);
                account.leaving.insert(id, *amount);
                account.leaving_sum = account.leaving_sum.plus(*amount).expect(fits);
            }
            BlockKind::Rotate { to } => {
                let before = account.holder;
                account.holder = (*to != block.account).then_some(*to);
                if let Some(before) = before {
                    self.held.remove(&(before, block.account));
                }
                if *to != block.account {
                    self.held.insert((*to, block.account));
                }
            }
            BlockKind::Open | BlockKind::Refund { .. } | BlockKind::Release { .. } => {}
        }
        self.count_forfeited(&block.account, forfeited);
    }

    /// What is at stake, or the penalty, of an account changed: what was forfeited of it before.
    pub(super) fn count_forfeited(&mut self, account: &NodeId, before: Credits) {
        let now = self.accounts.get(account).map_or(Credits::ZERO, |found| found.forfeited());
        let rest = self.totals.forfeited.minus(before);
        let rest = rest.expect("invariant: what leaves a sum was counted in it");
        self.totals.forfeited = rest.plus(now).expect("invariant: a part of what is at stake");
    }

    pub(super) fn add_incoming(&mut self, to: NodeId, id: Digest, amount: Credits) {
        let fits = "invariant: every sum of certified amounts is at most the grant";
        self.accounts.get_or_insert_with(to, Account::default).add_payment(id, amount);
        self.totals.uncredited = self.totals.uncredited.plus(amount).expect(fits);
    }

    /// The next block of an account: seq, prev and epoch filled in, every incoming credit taken (the
    /// largest [`CREDITS_MAX`] if there are more), the balance computed. What comes back would pass
    /// [`Ledger::check`] once its owner has signed it, as far as no claim stands against it.
    pub fn next_block(&self, account: NodeId, kind: BlockKind) -> Result<Block, LedgerError> {
        let view = self.account(&account);
        self.check_marks(&account, &kind)?;
        let mut incoming: Vec<(Credits, Digest)> = Vec::new();
        if let Some(found) = self.accounts.get(&account) {
            incoming.extend(found.incoming().map(|(id, amount)| (*amount, *id)));
        }
        if incoming.len() > CREDITS_MAX {
            incoming.sort_unstable_by(|a, b| b.cmp(a));
            incoming.truncate(CREDITS_MAX);
            incoming.sort_unstable_by_key(|(_, id)| *id);
        }
        let credited = Credits::sum(incoming.iter().map(|(amount, _)| *amount))?;
        let debit = kind.debit();
        let mut block = Block {
            account,
            seq: view.seq + 1,
            prev: view.head,
            epoch: self.epoch,
            kind,
            debit,
            credits: incoming.into_iter().map(|(_, id)| id).collect(),
            balance_after: Credits::ZERO,
        };
        let change = self.check_kind(&block)?;
        let have = view.balance.plus(credited)?.plus(change.returned())?;
        block.balance_after =
            have.minus(debit).map_err(|_| LedgerError::Insufficient { have, need: debit })?;
        Ok(block)
    }
}
