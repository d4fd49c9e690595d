//! Work that checkpoints assign: drawn, checked, certified, rewarded.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Credits, Digest, NodeId, Signed, Verifier};

use super::{Base, Ledger, resolve::Promised};
use crate::{
    account::AccountState,
    audit::{
        AUDIT_BYTES_MAX, AUDITORS, AUDITS_MAX, AUDITS_PER_REQUESTER, AuditCommits, Certified,
        Rewards, cpu_ns, is_audited, rank, rewards,
    },
    bounded,
    error::LedgerError,
    mint::CpuHours,
    parameter::Parameter,
    resolution::Resolutions,
    statement::{Assignment, Reveal},
    uptime::{CALLED_MAX, COUNTED_MAX, Seen, call_rank, counted, pay},
};

fn refuse<T>(why: &'static str) -> Result<T, LedgerError> {
    Err(LedgerError::NotACheckpoint(why))
}

fn in_order(
    accounts: impl Iterator<Item = NodeId>,
    rank: impl Fn(&NodeId) -> Digest,
) -> Vec<NodeId> {
    let mut ranked: Vec<(Digest, NodeId)> =
        accounts.map(|account| (rank(&account), account)).collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, account)| account).collect()
}

impl Base {
    /// Who may execute a task that this checkpoint names, in the order of the draw: accounts with
    /// enough at stake that were never charged with an offence, but for who asked and who worked. The
    /// first of independent invite branches are drawn.
    pub fn draw(&self, assignment: &Assignment) -> Vec<NodeId> {
        let own = [assignment.requester, assignment.worker];
        let others = self.eligible().filter(|account| !own.contains(account));
        let beacon = self.decided.sealed.checkpoint.digest();
        in_order(others, |account| rank(&beacon, &assignment.task, account))
    }

    /// Who may be challenged to show that it is there, in the order of the draw: whoever could be drawn
    /// for a task. The first of independent invite branches are challenged.
    pub fn called(&self) -> Vec<NodeId> {
        let beacon = self.decided.sealed.checkpoint.digest();
        in_order(self.eligible(), |account| call_rank(&beacon, account))
    }

    /// Accounts with enough at stake that were never charged with an offence.
    fn eligible(&self) -> impl Iterator<Item = NodeId> + '_ {
        let checkpoint = &self.decided.sealed.checkpoint;
        let least = Credits::from_micro(checkpoint.parameters.get(Parameter::MinStake));
        let fits = move |state: &&AccountState| state.offences.is_empty() && state.staked >= least;
        self.states().iter().filter(fits).map(|state| state.account)
    }
}

impl Ledger {
    /// Certified CPU-hours.
    pub fn hours(&self) -> CpuHours {
        let base = self.base.as_ref();
        base.map_or(CpuHours::default(), |base| base.decided.sealed.checkpoint.hours)
    }

    /// What is set aside for being there, and not promised.
    pub fn fund(&self) -> Credits {
        let base = self.base.as_ref();
        base.map_or(Credits::ZERO, |base| base.decided.sealed.checkpoint.fund)
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

    /// Promises rewards for what is certified, and pays for being there out of what is set aside; what is
    /// certified and set aside then.
    pub(super) fn promise(&self, candidate: &mut Ledger, resolutions: &Resolutions) -> Promised {
        let Some(base) = &self.base else { return Promised::default() };
        let commits = &base.decided.resolutions.commits;
        let mut earned: Vec<(NodeId, u64)> = Vec::new();
        for certified in &resolutions.certified {
            let found = commits.iter().find(|c| c.assignment.body.task == certified.task);
            let ns = found.map_or(0, |c| cpu_ns(&c.assignment.body, &self.parameters));
            earned.extend(certified.reveals.iter().map(|reveal| (reveal.signer, ns)));
        }
        let times: Vec<u64> = earned.iter().map(|(_, ns)| *ns).collect();
        let rate = Credits::from_micro(self.parameters.get(Parameter::Reward));
        let share = self.parameters.get(Parameter::UptimeShare);
        let Rewards { hours, aside, amounts } = rewards(self.hours(), &times, rate, share);
        for ((account, _), amount) in earned.into_iter().zip(amounts) {
            self.promise_to(candidate, &account, amount);
        }
        let mut fund = self.fund().plus(aside).unwrap_or(self.fund());
        let hourly = Credits::from_micro(self.parameters.get(Parameter::UptimeReward));
        let (called, counts): (Vec<NodeId>, Vec<u16>) =
            counted(&resolutions.seen).into_iter().unzip();
        for (account, amount) in called.into_iter().zip(pay(&counts, hourly, fund)) {
            let promised = self.promise_to(candidate, &account, amount);
            fund = fund.minus(promised).unwrap_or_default();
        }
        Promised { hours, fund }
    }

    /// Promises an amount from the next epoch on, and returns it: nothing to who was caught meanwhile.
    fn promise_to(&self, candidate: &mut Ledger, account: &NodeId, amount: Credits) -> Credits {
        let due = self.epoch + 1 + self.parameters.get(Parameter::VestingPeriod);
        let found = candidate.accounts.get_mut(account);
        let Some(found) = found.filter(|found| found.offences.is_empty()) else {
            return Credits::ZERO;
        };
        if amount == Credits::ZERO {
            return amount;
        }
        let promised = found.vesting.entry(due).or_default();
        *promised = promised.plus(amount).unwrap_or(*promised);
        amount
    }

    /// Leaves out what an honest proposer would not propose of what witnesses saw.
    pub(super) fn retain_seen(&self, seen: &mut Vec<Signed<Seen>>, verifier: &mut Verifier) {
        seen.sort_unstable_by_key(|seen| seen.signer);
        seen.dedup_by_key(|seen| seen.signer);
        let called: BTreeSet<NodeId> = self.base.iter().flat_map(|base| base.eligible()).collect();
        seen.retain(|seen| self.check_one_seen(seen, &called, verifier).is_ok());
        if seen.len() < self.set.quorum() {
            seen.clear();
        }
    }

    /// Whether these are the words of a quorum of witnesses on accounts that could be challenged. What each
    /// of them counted is its own word.
    pub(super) fn check_seen(
        &self,
        seen: &[Signed<Seen>],
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        if seen.is_empty() {
            return Ok(());
        }
        if seen.len() < self.set.quorum() {
            return refuse("fewer than a quorum saw who is there");
        }
        if !bounded::strictly_ascending(seen.iter().map(|seen| seen.signer)) {
            return Err(LedgerError::Order("what witnesses saw"));
        }
        let called: BTreeSet<NodeId> = self.base.iter().flat_map(|base| base.eligible()).collect();
        seen.iter().try_for_each(|seen| self.check_one_seen(seen, &called, verifier))
    }

    fn check_one_seen(
        &self,
        seen: &Signed<Seen>,
        called: &BTreeSet<NodeId>,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        let Seen { version, beacon, answered } = &seen.body;
        let present = *version == self.set.version && *beacon == self.last_checkpoint();
        if !present || self.base.is_none() || !self.set.contains(&seen.signer) {
            return refuse("what somebody else saw, or at another time");
        }
        let (what, count, limit) = ("accounts that were seen", answered.len(), CALLED_MAX);
        if count > limit {
            return Err(LedgerError::TooMany { what, count, limit });
        }
        if !bounded::strictly_ascending(answered.iter().map(|(account, _)| account)) {
            return Err(LedgerError::Order("accounts that were seen"));
        }
        let fits = |(account, count): &(NodeId, u16)| {
            called.contains(account) && (1..=COUNTED_MAX).contains(count)
        };
        if !answered.iter().all(fits) {
            return refuse("being there of who cannot be challenged");
        }
        seen.open(verifier, &self.pool)?;
        Ok(())
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
