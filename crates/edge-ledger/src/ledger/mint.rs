//! Work that checkpoints assign: drawn, checked, certified, rewarded.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Credits, Digest, NodeId, Signed, Verifier};

use super::{Base, Ledger};
use crate::{
    account::AccountState,
    audit::{
        AUDIT_BYTES_MAX, AUDITORS, AUDITS_MAX, AUDITS_PER_REQUESTER, AuditCommits, Certified,
        cpu_ns, is_audited, rank, rewards,
    },
    bounded,
    error::LedgerError,
    mint::CpuHours,
    parameter::Parameter,
    resolution::Resolutions,
    statement::{Assignment, Reveal},
};

fn refuse<T>(why: &'static str) -> Result<T, LedgerError> {
    Err(LedgerError::NotACheckpoint(why))
}

impl Base {
    /// Who may execute a task that this checkpoint names, in the order of the draw: accounts with
    /// enough at stake that were never charged with an offence, but for who asked and who worked. The
    /// first of independent invite branches are drawn.
    pub fn draw(&self, assignment: &Assignment) -> Vec<NodeId> {
        let checkpoint = &self.decided.sealed.checkpoint;
        let least = Credits::from_micro(checkpoint.parameters.get(Parameter::MinStake));
        let eligible = |state: &&AccountState| {
            let own = [assignment.requester, assignment.worker].contains(&state.account);
            !own && state.offences.is_empty() && state.staked >= least
        };
        let beacon = checkpoint.digest();
        let ranked = self.states().iter().filter(eligible).map(|state| {
            let account = state.account;
            (rank(&beacon, &assignment.task, &account), account)
        });
        let mut ranked: Vec<(Digest, NodeId)> = ranked.collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, account)| account).collect()
    }
}

impl Ledger {
    /// Certified CPU-hours.
    pub fn hours(&self) -> CpuHours {
        let base = self.base.as_ref();
        base.map_or(CpuHours::default(), |base| base.decided.sealed.checkpoint.hours)
    }

    /// Leaves out what an honest proposer would not propose.
    pub(super) fn retain_audits(
        &self,
        resolutions: &mut Resolutions,
        candidate: &Ledger,
        verifier: &mut Verifier,
    ) {
        let Resolutions { audits, commits, certified, .. } = resolutions;
        audits.retain(|audit| self.check_audit(audit, candidate, verifier).is_ok());
        audits.sort_unstable_by_key(|audit| audit.body.task);
        audits.dedup_by_key(|audit| audit.body.task);
        let mut of: BTreeMap<NodeId, usize> = BTreeMap::new();
        audits.retain(|audit| {
            let count = of.entry(audit.body.requester).or_default();
            *count += 1;
            *count <= AUDITS_PER_REQUESTER
        });
        audits.truncate(AUDITS_MAX);
        commits.retain(|commits| self.check_commits(commits, verifier).is_ok());
        certified.retain(|certified| self.check_certified(certified, verifier).is_ok());
    }

    /// What a witness checks of assigned work. Whether the first of the draw committed, and whether the
    /// results are right, is for the caller to see to.
    pub(super) fn check_audits(
        &self,
        resolutions: &Resolutions,
        candidate: &Ledger,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        let Resolutions { audits, commits, certified, .. } = resolutions;
        let ascending = bounded::strictly_ascending(audits.iter().map(|audit| audit.body.task))
            && bounded::strictly_ascending(commits.iter().map(|c| c.assignment.body.task))
            && bounded::strictly_ascending(certified.iter().map(|certified| certified.task));
        if !ascending {
            return Err(LedgerError::Order("audits"));
        }
        let mut of: BTreeMap<NodeId, usize> = BTreeMap::new();
        for audit in audits {
            let count = of.entry(audit.body.requester).or_default();
            *count += 1;
            if *count > AUDITS_PER_REQUESTER {
                return refuse("too many audits of one requester");
            }
            self.check_audit(audit, candidate, verifier)?;
        }
        commits.iter().try_for_each(|commits| self.check_commits(commits, verifier))?;
        certified.iter().try_for_each(|certified| self.check_certified(certified, verifier))
    }

    /// Whether a task may be audited: its requester asked for it, paid from an escrow of its own.
    fn check_audit(
        &self,
        audit: &Signed<Assignment>,
        candidate: &Ledger,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        let body = &audit.body;
        let escrow = body.escrow.and_then(|escrow| candidate.escrow(&escrow));
        let paid = escrow.is_some_and(|escrow| escrow.owner == body.requester);
        let fits = audit.signer == body.requester
            && body.requester != body.worker
            && body.names_its_task()
            && is_audited(body.kind)
            && (1..=AUDIT_BYTES_MAX).contains(&body.payload_bytes);
        if !fits || !paid {
            return refuse("a task that is not audited");
        }
        let named = self.base.as_ref().is_some_and(|base| {
            let Resolutions { audits, commits, .. } = &base.decided.resolutions;
            audits.iter().any(|a| a.body.task == body.task)
                || commits.iter().any(|c| c.assignment.body.task == body.task)
        });
        if named {
            return refuse("a task that is audited already");
        }
        audit.open(verifier, &self.pool)?;
        Ok(())
    }

    /// Whether these are commits of who could be drawn for a task of the last checkpoint.
    fn check_commits(
        &self,
        commits: &AuditCommits,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        let AuditCommits { assignment, commits } = commits;
        let named =
            self.base.as_ref().filter(|b| b.decided.resolutions.audits.contains(assignment));
        let Some(base) = named else { return refuse("commits to a task that was not named") };
        if commits.is_empty() || !bounded::strictly_ascending(commits.iter().map(|c| c.signer)) {
            return Err(LedgerError::Order("commits"));
        }
        let eligible: BTreeSet<NodeId> = base.draw(&assignment.body).into_iter().collect();
        for commit in commits {
            let own = commit.body.worker == commit.signer;
            let fits = own && commit.body.task == assignment.body.task;
            if !fits || !eligible.contains(&commit.signer) {
                return refuse("a commit of who cannot be drawn");
            }
            commit.open(verifier, &self.pool)?;
        }
        Ok(())
    }

    /// Whether every auditor of a task revealed the same.
    fn check_certified(
        &self,
        certified: &Certified,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        let base = self.base.as_ref();
        let of_it = |c: &&AuditCommits| c.assignment.body.task == certified.task;
        let commits = base.and_then(|base| base.decided.resolutions.commits.iter().find(of_it));
        let Some(AuditCommits { commits, .. }) = commits else {
            return refuse("a result that nobody committed to");
        };
        if commits.len() != AUDITORS || certified.reveals.len() != AUDITORS {
            return refuse("a result that not all auditors revealed");
        }
        let first = certified.reveals[0].body.digest;
        for (commit, reveal) in commits.iter().zip(&certified.reveals) {
            let Reveal { worker, digest, .. } = reveal.body;
            let own = reveal.signer == worker && worker == commit.signer;
            if !own || digest != first || !reveal.body.opens(&commit.body) {
                return refuse("results that differ");
            }
            reveal.open(verifier, &self.pool)?;
        }
        Ok(())
    }

    /// Promises rewards for what is certified; the hours that are certified then.
    pub(super) fn promise(&self, candidate: &mut Ledger, resolutions: &Resolutions) -> CpuHours {
        let Some(base) = &self.base else { return CpuHours::default() };
        let commits = &base.decided.resolutions.commits;
        let mut earned: Vec<(NodeId, u64)> = Vec::new();
        for certified in &resolutions.certified {
            let found = commits.iter().find(|c| c.assignment.body.task == certified.task);
            let ns = found.map_or(0, |c| cpu_ns(&c.assignment.body, &self.parameters));
            earned.extend(certified.reveals.iter().map(|reveal| (reveal.signer, ns)));
        }
        let times: Vec<u64> = earned.iter().map(|(_, ns)| *ns).collect();
        let rate = Credits::from_micro(self.parameters.get(Parameter::Reward));
        let (hours, amounts) = rewards(self.hours(), &times, rate);
        let due = self.epoch + 1 + self.parameters.get(Parameter::VestingPeriod);
        for ((account, _), amount) in earned.into_iter().zip(amounts) {
            let Some(found) = candidate.accounts.get_mut(&account) else { continue };
            // Who was caught meanwhile is promised nothing.
            if found.offences.is_empty() && amount > Credits::ZERO {
                let promised = found.vesting.entry(due).or_default();
                *promised = promised.plus(amount).unwrap_or(*promised);
            }
        }
        hours
    }

    /// Takes what vests in an epoch out of the promises.
    pub(super) fn vest(&mut self, epoch: u64) -> Vec<(NodeId, Digest, Credits)> {
        let mut vested = Vec::new();
        let pool = self.pool;
        for (account, found) in &mut self.accounts {
            if found.vesting.is_empty() {
                continue;
            }
            let later = found.vesting.split_off(&(epoch + 1));
            let due = std::mem::replace(&mut found.vesting, later);
            let amount = Credits::sum(due.into_values()).unwrap_or_default();
            if amount > Credits::ZERO {
                let id = Digest::of_value("ledger/mint/1", &(pool, epoch, account));
                vested.push((*account, id, amount));
            }
        }
        vested
    }

    /// What was minted is a payment like others: its receiver's next block takes it.
    pub(super) fn take_minted(&mut self, minted: Vec<(NodeId, Digest, Credits)>) {
        for (account, id, amount) in minted {
            // Promises never pass the cap; what would overflow all the same is not minted.
            if let Ok(granted) = self.totals.granted.plus(amount) {
                self.totals.granted = granted;
                self.add_incoming(account, id, amount);
            }
        }
    }
}
