//! States of accounts: taken from a ledger, and a ledger made of them.

use std::collections::BTreeMap;

use edge_base::{Credits, Digest, NodeId};

use super::{Account, Escrow, EscrowState, Ledger};
use crate::{
    account::{AccountState, AccountTree, OpenEscrow},
    error::LedgerError,
    genesis::Genesis,
    table::Table,
};

impl Ledger {
    /// What certificates say of an account now.
    pub fn state(&self, account: &NodeId) -> Option<AccountState> {
        let found = self.accounts.get(account)?;
        let escrows = self.open_escrows(account).filter_map(|id| {
            let escrow = self.escrows.get(&id)?;
            let Escrow { budget, expires_epoch, fee, .. } = *escrow;
            Some(OpenEscrow { id, budget, prices: escrow.prices.clone(), expires_epoch, fee })
        });
        Some(AccountState {
            account: *account,
            seq: found.seq(),
            head: found.head(self.pool),
            epoch: found.epoch(),
            balance: found.balance(),
            staked: found.staked,
            penalty: found.penalty,
            offences: found.offences.iter().copied().collect(),
            leaving: found.leaving.iter().map(|(unstake, amount)| (*unstake, *amount)).collect(),
            escrows: escrows.collect(),
            incoming: found.incoming().map(|(id, amount)| (*id, *amount)).collect(),
            vesting: found.vesting.iter().map(|(epoch, amount)| (*epoch, *amount)).collect(),
            holder: found.holder,
        })
    }

    /// The states of every account, ascending.
    pub fn states(&self) -> impl Iterator<Item = AccountState> + '_ {
        self.accounts.keys().filter_map(|account| self.state(account))
    }

    /// The tree over the accounts as they are now.
    pub fn account_tree(&self) -> AccountTree {
        tree_of(&self.states().collect::<Vec<_>>())
            .expect("invariant: every sum of certified amounts is at most the grant")
    }

    /// A ledger of the first witness set that begins with these states, ascending by account, and
    /// without their certificates.
    pub fn from_states(
        genesis: Genesis,
        states: impl IntoIterator<Item = AccountState>,
        supply: Credits,
        burned: Credits,
    ) -> Result<Ledger, LedgerError> {
        let mut ledger = Ledger::new(genesis)?;
        ledger.begin_from(states, supply, burned)?;
        Ok(ledger)
    }

    /// Puts these states in the place of all accounts, with no certificates. Whoever made them signed
    /// for them; what is checked is that the lists are well formed and every credit is accounted for.
    pub(crate) fn begin_from(
        &mut self,
        states: impl IntoIterator<Item = AccountState>,
        supply: Credits,
        burned: Credits,
    ) -> Result<(), LedgerError> {
        self.accounts = Table::default();
        self.certificates = Table::default();
        self.escrows = BTreeMap::new();
        self.open.clear();
        self.held.clear();
        let mut totals = self.totals;
        totals.granted = supply;
        totals.forfeited = Credits::ZERO;
        let (zero, mut last) = (Credits::ZERO, None);
        (totals.balances, totals.escrowed) = (zero, zero);
        (totals.uncredited, totals.staked) = (zero, zero);
        for state in states {
            if last.is_some_and(|last| last >= state.account) {
                return Err(LedgerError::Order("states"));
            }
            if !state.is_canonical() {
                return Err(LedgerError::Order("holdings"));
            }
            last = Some(state.account);
            let summary = state.summary()?;
            totals.balances = totals.balances.plus(state.balance)?;
            totals.escrowed = totals.escrowed.plus(summary.escrowed)?;
            totals.uncredited = totals.uncredited.plus(summary.incoming)?;
            totals.staked = totals.staked.plus(state.staked)?.plus(summary.leaving)?;
            totals.forfeited = totals.forfeited.plus(summary.forfeited())?;
            let owner = state.account;
            for OpenEscrow { id, budget, prices, expires_epoch, fee } in state.escrows {
                let state = EscrowState::Open;
                let escrow = Escrow { owner, budget, state, prices, expires_epoch, fee };
                self.open.insert((owner, id));
                self.escrows.insert(id, escrow);
            }
            let mut account = Account::default();
            for (id, amount) in state.incoming {
                account.add_payment(id, amount);
            }
            // What is written gets room: most accounts have nothing of this.
            if state.seq > 0 || state.epoch > 0 || state.balance > zero {
                account.set_below(state.seq);
                account.set_last(state.head, state.epoch, state.balance);
            }
            if summary.escrowed.max(state.staked).max(summary.leaving) > zero {
                account.escrowed = summary.escrowed;
                account.staked = state.staked;
                account.leaving = state.leaving.into_iter().collect();
                account.leaving_sum = summary.leaving;
            }
            if state.penalty > zero || !state.offences.is_empty() {
                account.penalty = state.penalty;
                account.offences = state.offences.into_iter().collect();
            }
            if !state.vesting.is_empty() {
                account.vesting = state.vesting.into_iter().collect();
            }
            if let Some(holder) = state.holder {
                account.holder = Some(holder);
                self.held.insert((holder, owner));
            }
            self.accounts.insert(owner, account);
        }
        totals.burned = burned.minus(totals.forfeited).map_err(|_| LedgerError::NotConserved)?;
        self.totals = totals;
        (0..self.buckets.len()).for_each(|bucket| self.forget_bucket(bucket));
        if totals.conserved() { Ok(()) } else { Err(LedgerError::NotConserved) }
    }
}

/// The tree over states, in any order.
pub(crate) fn tree_of(states: &[AccountState]) -> Result<AccountTree, LedgerError> {
    let mut tree = AccountTree::new();
    for state in states {
        tree.insert(state.account, state.summary()?.hash());
    }
    Ok(tree)
}

/// The content digest of the encoded list of states.
pub(crate) fn digest_of(states: &[AccountState]) -> Digest {
    Digest::of(&edge_base::codec::encode(states))
}
