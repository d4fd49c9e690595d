//! Resolutions of checkpoints: checked, and carried out.

use edge_base::{Credits, Digest, NodeId, Verifier};

use super::Ledger;
use crate::{
    account::AccountState,
    error::LedgerError,
    mint::CpuHours,
    offence::Offence,
    parameter::{Amendment, Parameters},
    resolution::Resolutions,
};

/// What resolutions came to.
pub(super) struct Resolved {
    /// Whose reward vested: the account, the id of the payment, the amount.
    pub(super) minted: Vec<(NodeId, Digest, Credits)>,
    /// Everything certified so far, and what is set aside for being there.
    pub(super) promised: Promised,
}

/// What is left of the cap, and where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Promised {
    pub(super) hours: CpuHours,
    pub(super) fund: Credits,
}

impl Ledger {
    /// Whether a change of a parameter holds now.
    pub fn check_amendment(
        &self,
        amendment: &Amendment,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        amendment.check(&self.parameters, &self.set, &self.pool, verifier)
    }

    /// What a witness checks of resolutions.
    pub(super) fn check_resolutions(
        &self,
        resolutions: &Resolutions,
        candidate: &Ledger,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        let Resolutions { amendments, offences, .. } = resolutions;
        let parameters = amendments.iter().map(|amendment| amendment.parameter);
        if !crate::bounded::strictly_ascending(parameters) {
            return Err(LedgerError::Order("changes of parameters"));
        }
        amendments.iter().try_for_each(|amendment| self.check_amendment(amendment, verifier))?;
        if !crate::bounded::strictly_ascending(offences) {
            return Err(LedgerError::Order("offences"));
        }
        offences.iter().try_for_each(|offence| self.check_offence(offence, candidate))?;
        self.check_audits(resolutions, candidate, verifier)?;
        self.check_seen(&resolutions.seen, verifier)
    }

    /// Whether an offence may be charged: this ledger has heard of it, and no checkpoint has charged it.
    pub(super) fn check_offence(
        &self,
        offence: &Offence,
        candidate: &Ledger,
    ) -> Result<(), LedgerError> {
        if candidate.is_charged(offence) || !candidate.has_account(&offence.account) {
            return Err(LedgerError::NotACheckpoint("an offence that cannot be charged"));
        }
        let known = self.marks.contains(offence);
        if known { Ok(()) } else { Err(LedgerError::MissingEvidence(offence.account)) }
    }

    /// Carries resolutions out that were checked, on the ledger as it is at the cut.
    pub(super) fn resolve(&self, candidate: &mut Ledger, resolutions: &Resolutions) -> Resolved {
        for Offence { account, kind } in &resolutions.offences {
            let rate = self.parameters.get(kind.rate());
            let Some(found) = candidate.accounts.get_mut(account) else { continue };
            let before = found.forfeited();
            let (staked, leaving) = found.left();
            let stake = staked.plus(leaving).unwrap_or(staked);
            let more = kind.penalty(rate, stake);
            found.penalty = found.penalty.plus(more).unwrap_or(Credits::from_micro(u64::MAX));
            found.offences.insert(*kind);
            // What was promised is forfeited with it: it is never minted.
            found.vesting.clear();
            candidate.count_forfeited(account, before);
        }
        let minted = candidate.vest(self.epoch + 1);
        candidate.take_minted(minted.clone());
        let promised = self.promise(candidate, resolutions);
        Resolved { minted, promised }
    }

    /// Takes over what a checkpoint resolved about accounts: no block says anything of it.
    pub(super) fn take_penalties(&mut self, states: &[AccountState]) {
        for state in states {
            let Some(found) = self.accounts.get_mut(&state.account) else { continue };
            // What is written takes room.
            let charged = state.offences.iter().eq(found.offences.iter());
            let promised = found.vesting.iter().map(|(epoch, amount)| (*epoch, *amount));
            let same = charged && promised.eq(state.vesting.iter().copied());
            if same && state.penalty == found.penalty {
                continue;
            }
            let before = found.forfeited();
            found.penalty = state.penalty;
            found.offences = state.offences.iter().copied().collect();
            found.vesting = state.vesting.iter().copied().collect();
            self.count_forfeited(&state.account, before);
        }
    }

    /// The parameters after resolutions that were checked.
    pub(super) fn amended(&self, resolutions: &Resolutions) -> Parameters {
        let mut parameters = self.parameters.clone();
        for Amendment { parameter, value, .. } in &resolutions.amendments {
            parameters.set(*parameter, *value, self.epoch + 1);
        }
        parameters
    }
}
