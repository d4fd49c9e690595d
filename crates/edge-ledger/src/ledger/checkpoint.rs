//! Checkpoints as the ledger computes and takes them.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use edge_base::{Digest, NodeId, Signed, Verifier, codec};

use super::{
    Applied, Ledger,
    resolve::Promised,
    states::{digest_of, tree_of},
};
use crate::{
    account::{AccountProof, AccountState, AccountTree},
    block::{Block, block_hash},
    checkpoint::{
        CARRIED_MAX, CUT_MAX, Carried, Change, Checkpoint, Closing, Decided, Plan, Sealed,
    },
    error::LedgerError,
    offence::OFFENCES_MAX,
    resolution::Resolutions,
    vote::Certificate,
    vote_log::VoteLog,
    witness::WitnessSet,
};

/// The last checkpoint, with every account's state in it.
#[derive(Clone, Debug)]
pub struct Base {
    /// The checkpoint and who decided it.
    pub decided: Decided,
    /// Ascending by account.
    states: Vec<AccountState>,
    tree: AccountTree,
}

impl Base {
    /// The accounts' states, ascending.
    pub fn states(&self) -> &[AccountState] {
        &self.states
    }

    /// What the snapshot digest is of.
    pub fn snapshot(&self) -> Vec<u8> {
        codec::encode(&self.states)
    }

    /// What an account came to, provable to whoever trusts the checkpoint.
    pub fn prove(&self, account: &NodeId) -> AccountProof {
        let found = self.states.binary_search_by_key(account, |state| state.account);
        let summary = found.ok().and_then(|at| self.states[at].summary().ok());
        AccountProof { summary, path: self.tree.prove(account) }
    }
}

impl Ledger {
    /// The last checkpoint, if there was one.
    pub fn base(&self) -> Option<&Arc<Base>> {
        self.base.as_ref()
    }

    /// A witness set that this ledger has known.
    pub fn set_of_version(&self, version: u64) -> Option<&Arc<WitnessSet>> {
        self.sets.get(&version)
    }

    /// The digest that the next checkpoint follows.
    pub fn last_checkpoint(&self) -> Digest {
        match (&self.base, &self.handover) {
            (Some(base), _) => base.decided.sealed.checkpoint.digest(),
            (None, Some(handover)) => handover.digest(),
            (None, None) => self.pool,
        }
    }

    /// Certified blocks that are not in the last checkpoint.
    pub fn blocks_since_checkpoint(&self) -> u64 {
        let since = |(account, found): (&NodeId, &super::Account)| {
            found.seq().saturating_sub(self.base_seq(account))
        };
        self.accounts.iter().map(since).sum()
    }

    /// What the next checkpoint would be with every block that is here, or, for want of room, with as
    /// many as fit. With a change the set changes, and then all have to fit.
    ///
    /// Resolutions that do not hold are left out; a change of the set resolves nothing else.
    pub fn plan(
        &self,
        change: Option<Change>,
        mut resolutions: Resolutions,
        verifier: &mut Verifier,
    ) -> Result<Plan, LedgerError> {
        if change.is_some() {
            resolutions = Resolutions::default();
        }
        resolutions.amendments.retain(|a| self.check_amendment(a, verifier).is_ok());
        let mut candidate = self.at_cut(None)?;
        resolutions.offences.retain(|offence| self.check_offence(offence, &candidate).is_ok());
        resolutions.offences.truncate(OFFENCES_MAX);
        self.retain_audits(&mut resolutions, &candidate, verifier);
        self.retain_seen(&mut resolutions.seen, verifier);
        let moved = |(account, found): (&NodeId, &super::Account)| {
            (found.seq() > self.base_seq(account)).then_some((*account, found.seq()))
        };
        let cut = candidate.accounts.iter().filter_map(moved).collect();
        let promised = self.resolve(&mut candidate, &resolutions).promised;
        let change_of = change.as_ref();
        let checkpoint =
            self.checkpoint_at(&candidate, change_of, &resolutions, promised, verifier)?;
        Ok(Plan { checkpoint, cut, change, resolutions })
    }

    /// Whether a plan is what this ledger computes itself from the plan's cut: what a witness finds
    /// out before it prevotes. Retryable errors say what is missing here.
    pub fn check_plan(&self, plan: &Plan, verifier: &mut Verifier) -> Result<(), LedgerError> {
        self.check_cut(&plan.cut)?;
        let mut candidate = self.at_cut(Some(&plan.cut))?;
        let Plan { change, resolutions, .. } = plan;
        self.check_resolutions(resolutions, &candidate, verifier)?;
        let promised = self.resolve(&mut candidate, resolutions).promised;
        if change.is_some() && !resolutions.is_empty() {
            return Err(LedgerError::NotACheckpoint("a change of the set resolves nothing else"));
        }
        let own =
            self.checkpoint_at(&candidate, change.as_ref(), resolutions, promised, verifier)?;
        if own == plan.checkpoint {
            Ok(())
        } else {
            Err(LedgerError::NotACheckpoint("this ledger comes to something else"))
        }
    }

    /// A witness's closing as of now: it has to have ended voting under the present version, durably.
    pub fn closing(&self, votes: &VoteLog) -> Result<Closing, LedgerError> {
        let version = self.set.version;
        if !votes.has_ended(version) {
            return Err(LedgerError::NotAChange("voting under this version has not ended"));
        }
        let voted: Vec<_> = votes.pending(self).map(|(block, _)| block.clone()).collect();
        let (what, count, limit) = ("blocks voted for", voted.len(), CARRIED_MAX);
        if count > limit {
            return Err(LedgerError::TooMany { what, count, limit });
        }
        Ok(Closing { version, accounts: self.account_tree().root(), voted })
    }

    /// Takes a decided checkpoint that follows the last one here. Retryable errors: certificates of
    /// its cut, or checkpoints between, are not here yet; for the latter there are snapshots.
    pub fn apply_checkpoint(
        &mut self,
        decided: Decided,
        verifier: &mut Verifier,
    ) -> Result<Applied, LedgerError> {
        if let Some(known) = self.known(&decided.sealed, verifier)? {
            return Ok(known);
        }
        let checkpoint = &decided.sealed.checkpoint;
        if checkpoint.epoch != self.epoch + 1 || checkpoint.prev != self.last_checkpoint() {
            return Err(LedgerError::MissingCheckpoint { epoch: checkpoint.epoch });
        }
        self.check_cut(&decided.cut)?;
        let mut candidate = self.at_cut(Some(&decided.cut))?;
        let resolved = self.resolve(&mut candidate, &decided.resolutions);
        let states: Vec<AccountState> = candidate.states().collect();
        let base = Base::of(decided, states)?;
        let checkpoint = &base.decided.sealed.checkpoint;
        if checkpoint.parameters != self.amended(&base.decided.resolutions) {
            return Err(LedgerError::NotACheckpoint("its parameters do not follow"));
        }
        let own = (candidate.totals.granted, resolved.promised);
        let Checkpoint { supply, hours, fund, .. } = *checkpoint;
        if (supply, Promised { hours, fund }) != own {
            return Err(LedgerError::NotACheckpoint("it mints something else"));
        }
        self.check_carried(&base)?;
        self.install(base);
        self.take_minted(resolved.minted);
        Ok(Applied::New)
    }

    /// Takes a checkpoint of a later epoch with the states of all accounts, decided by a set that is
    /// known here; certificates that are here and not in it are kept.
    pub fn apply_snapshot(
        &mut self,
        decided: Decided,
        states: Vec<AccountState>,
        verifier: &mut Verifier,
    ) -> Result<Applied, LedgerError> {
        if let Some(known) = self.known(&decided.sealed, verifier)? {
            return Ok(known);
        }
        let base = Base::of(decided, states)?;
        let mut fresh = self.clone();
        let checkpoint = &base.decided.sealed.checkpoint;
        let (supply, burned) = (checkpoint.supply, checkpoint.burned);
        fresh.begin_from(base.states.iter().cloned(), supply, burned)?;
        for (account, found) in &self.accounts {
            if let (Some(proof), Some(there)) = (&found.frozen, fresh.accounts.get_mut(account)) {
                there.frozen = Some(proof.clone());
            }
        }
        // The checkpoint's place in the chain comes first: what is linked may be of its epoch.
        fresh.install(base);
        let newer = self.certificates().filter(|c| c.body().seq > fresh.seq_of(&c.body().account));
        let newer: Vec<_> = newer.filter(|c| fresh.place(c, &c.id()).is_ok()).cloned().collect();
        fresh.link_all(newer, usize::MAX);
        *self = fresh;
        Ok(Applied::New)
    }

    /// Takes the sets of checkpoints that changed it, one after another, without the checkpoints'
    /// states: enough to check what the last of them decided. Ledgers that hold a checkpoint of the
    /// same version or a later one learn nothing. For newcomers, before a snapshot.
    pub fn learn_sets(
        &mut self,
        chain: &[Sealed],
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        for sealed in chain {
            let checkpoint = &sealed.checkpoint;
            if !checkpoint.changes_set() || self.sets.contains_key(&checkpoint.set.version) {
                continue;
            }
            let version = checkpoint.version;
            let Some(set) = self.sets.get(&version).cloned() else {
                return Err(LedgerError::MissingHandover { version });
            };
            sealed.check(&set, &self.pool, verifier)?;
            checkpoint.set.validate()?;
            if checkpoint.set.version != version + 1 {
                return Err(LedgerError::NotACheckpoint("it skips a set version"));
            }
            self.sets.insert(version + 1, Arc::new(checkpoint.set.clone()));
        }
        Ok(())
    }

    /// Drops the certificates of blocks that are in the last checkpoint: its states say what they came
    /// to. Returns the places that went.
    pub fn prune(&mut self) -> Vec<(NodeId, u64)> {
        self.base.clone().map_or_else(Vec::new, |base| self.prune_through(&base))
    }

    /// Drops the certificates of blocks that are in a checkpoint before, or in the last one. Who keeps
    /// those since the checkpoint before the last still helps nodes that lack the last one.
    ///
    /// Kept is what rules need: open escrows, payments that were not taken, stake, withdrawals and
    /// rewards are in the states, marks and proofs of two blocks beside them. What ended before is
    /// forgotten: a place that was dropped is known as certified, not by what.
    pub fn prune_through(&mut self, base: &Base) -> Vec<(NodeId, u64)> {
        let last = self.base.as_ref().map_or(0, |last| last.decided.sealed.checkpoint.epoch);
        if base.decided.sealed.checkpoint.epoch > last {
            return Vec::new();
        }
        let mut dropped = Vec::new();
        for state in &base.states {
            let Some(found) = self.accounts.get_mut(&state.account) else { continue };
            let drop = state.seq.min(found.seq()).saturating_sub(found.below());
            if drop == 0 {
                continue;
            }
            for certificate in found.chain.drain(..drop as usize) {
                self.certificates.remove(&certificate.id());
                dropped.push((state.account, certificate.body().seq));
            }
            found.chain.shrink_to_fit();
            found.set_below(found.below() + drop);
            found.shrink();
        }
        // What ended before is nobody's any more.
        let certificates = &self.certificates;
        self.escrows.retain(|id, escrow| {
            escrow.state == super::EscrowState::Open || certificates.contains_key(&id.0)
        });
        dropped
    }

    /// Certified blocks whose certificates are not kept, because a checkpoint says what they came to.
    pub fn dropped(&self) -> u64 {
        self.accounts.values().map(|found| found.below()).sum()
    }

    /// Takes certificates back that were kept elsewhere, of blocks before the checkpoint: those that the
    /// hashes of the chains lead to. For histories; nothing depends on them.
    pub fn backfill(&mut self, certificates: &[Arc<Certificate>]) {
        let place = |c: &Arc<Certificate>| ((c.body().account, c.body().seq), c.clone());
        let mut stored: BTreeMap<(NodeId, u64), Arc<Certificate>> =
            certificates.iter().map(place).collect();
        for (account, found) in &mut self.accounts {
            let mut expected = found.chain.first().map_or(found.last(), |first| first.body().prev);
            let mut before = Vec::new();
            while let Some(certificate) = stored.remove(&(*account, found.below())) {
                if certificate.id() != expected {
                    break;
                }
                expected = certificate.body().prev;
                self.certificates.insert(certificate.id(), certificate.clone());
                before.push(certificate);
                found.set_below(found.below() - 1);
            }
            if before.is_empty() {
                continue;
            }
            before.reverse();
            before.append(&mut found.chain);
            found.chain = before;
        }
    }

    /// Where an account's chain begins here: blocks up to this seq have no certificates any more.
    pub fn pruned_below(&self, account: &NodeId) -> u64 {
        self.accounts.get(account).map_or(0, |found| found.below())
    }

    // Below: how.

    /// Whether a decided checkpoint holds, and is nothing new. Two decisions of one epoch are reported.
    fn known(
        &self,
        sealed: &Sealed,
        verifier: &mut Verifier,
    ) -> Result<Option<Applied>, LedgerError> {
        let checkpoint = &sealed.checkpoint;
        if checkpoint.epoch <= self.epoch {
            let last = self.base.as_ref().map(|base| &base.decided.sealed.checkpoint);
            let second = last.is_some_and(|l| l.epoch == checkpoint.epoch && l != checkpoint);
            let set = self.sets.get(&checkpoint.version).filter(|_| second);
            if let Some(set) = set
                && sealed.check(set, &self.pool, verifier).is_ok()
            {
                return Err(LedgerError::ConflictingCheckpoint { epoch: checkpoint.epoch });
            }
            return Ok(Some(Applied::Known));
        }
        let version = checkpoint.version;
        if version < self.set.version || version == crate::genesis::GENESIS_SET_VERSION {
            return Err(LedgerError::NotACheckpoint("of a set that ended"));
        }
        let Some(set) = self.sets.get(&version) else {
            return Err(LedgerError::MissingHandover { version });
        };
        sealed.check(set, &self.pool, verifier)?;
        Ok(None)
    }

    fn check_cut(&self, cut: &[(NodeId, u64)]) -> Result<(), LedgerError> {
        let (what, count, limit) = ("accounts of a cut", cut.len(), CUT_MAX);
        if count > limit {
            return Err(LedgerError::TooMany { what, count, limit });
        }
        if !crate::bounded::strictly_ascending(cut.iter().map(|(account, _)| account)) {
            return Err(LedgerError::Order("accounts of a cut"));
        }
        if cut.iter().any(|(account, seq)| *seq <= self.base_seq(account)) {
            return Err(LedgerError::NotACheckpoint("a cut that does not advance"));
        }
        for (account, seq) in cut {
            let have = self.seq_of(account);
            if have < *seq {
                return Err(LedgerError::MissingPredecessor { account: *account, seq: have + 1 });
            }
        }
        Ok(())
    }

    fn seq_of(&self, account: &NodeId) -> u64 {
        self.accounts.get(account).map_or(0, super::Account::seq)
    }

    fn base_seq(&self, account: &NodeId) -> u64 {
        let Some(base) = &self.base else { return 0 };
        let found = base.states.binary_search_by_key(account, |state| state.account);
        found.map_or(0, |at| base.states[at].seq)
    }

    /// The ledger as it was at the last checkpoint: the grant, if there was none.
    fn at_base(&self) -> Result<Ledger, LedgerError> {
        let genesis = self.genesis.as_ref().clone();
        let mut ledger = Ledger::new(genesis)?;
        if let Some(base) = &self.base {
            let burned = base.decided.sealed.checkpoint.burned;
            let supply = base.decided.sealed.checkpoint.supply;
            ledger.begin_from(base.states.iter().cloned(), supply, burned)?;
        }
        ledger.epoch = self.epoch;
        ledger.parameters = self.parameters.clone();
        Ok(ledger)
    }

    /// The ledger with exactly the blocks of a cut, or, without one, with as many as one may have. The
    /// certificates were verified when this ledger took them.
    fn at_cut(&self, cut: Option<&[(NodeId, u64)]>) -> Result<Ledger, LedgerError> {
        let mut candidate = self.at_base()?;
        let all: Vec<(NodeId, u64)>;
        let wanted = match cut {
            Some(cut) => cut,
            None => {
                let seqs = self.accounts.iter().map(|(account, found)| (*account, found.seq()));
                all = seqs.filter(|(account, seq)| *seq > self.base_seq(account)).collect();
                &all
            }
        };
        let mut certificates = Vec::new();
        for (account, seq) in wanted {
            let from = self.base_seq(account);
            let Some(found) = self.accounts.get(account) else { continue };
            let have = found.after(from);
            let count = usize::try_from(seq - from).unwrap_or(usize::MAX);
            if have.len() < count {
                return Err(LedgerError::MissingPredecessor { account: *account, seq: from + 1 });
            }
            certificates.extend(have[..count].iter().cloned());
        }
        let left = candidate.link_all(certificates, CUT_MAX);
        if left > 0 && cut.is_some() {
            return Err(LedgerError::NotACheckpoint(
                "a cut with blocks whose credits are not in it",
            ));
        }
        Ok(candidate)
    }

    /// The checkpoint of a candidate.
    fn checkpoint_at(
        &self,
        candidate: &Ledger,
        change: Option<&Change>,
        resolutions: &Resolutions,
        promised: Promised,
        verifier: &mut Verifier,
    ) -> Result<Checkpoint, LedgerError> {
        let states: Vec<AccountState> = candidate.states().collect();
        let accounts = tree_of(&states)?.root();
        if self.set.members.len() == 1 {
            return Err(LedgerError::NotACheckpoint("a single witness hands over first"));
        }
        let set = match change {
            None => self.set.as_ref().clone(),
            Some(change) => {
                let founder = &self.genesis.founder;
                change.check(&self.set, founder, &accounts, &self.pool, verifier)?
            }
        };
        let carried = self.carry(candidate, change)?;
        let checkpoint = Checkpoint {
            epoch: self.epoch + 1,
            prev: self.last_checkpoint(),
            version: self.set.version,
            accounts,
            count: states.len() as u64,
            snapshot: digest_of(&states),
            supply: candidate.totals.granted,
            burned: candidate.totals().burned,
            hours: promised.hours,
            fund: promised.fund,
            parameters: self.amended(resolutions),
            resolutions: resolutions.digest(),
            set,
            carried,
        };
        Ok(checkpoint)
    }

    /// What was voted for after the heads of a candidate, and what is still carried from before.
    fn carry(
        &self,
        candidate: &Ledger,
        change: Option<&Change>,
    ) -> Result<Vec<Carried>, LedgerError> {
        let mut places: BTreeMap<NodeId, Vec<Digest>> = BTreeMap::new();
        let before = self.carried.values().flat_map(|carried| {
            carried.blocks.iter().map(|block| (carried.account, carried.seq, *block))
        });
        let voted = change.into_iter().flat_map(Change::voted);
        for (account, seq, block) in voted.chain(before) {
            // Only the place after the head is open: a vote beyond it is a faulty witness's.
            if seq == candidate.seq_of(&account) + 1 {
                places.entry(account).or_default().push(block);
            }
        }
        let (what, count, limit) = ("carried places", places.len(), CARRIED_MAX);
        if count > limit {
            return Err(LedgerError::TooMany { what, count, limit });
        }
        let carried = places.into_iter().map(|(account, mut blocks)| {
            blocks.sort_unstable();
            blocks.dedup();
            blocks.truncate(crate::witness::WITNESSES_MAX);
            Carried { account, seq: candidate.seq_of(&account) + 1, blocks }
        });
        Ok(carried.collect())
    }

    /// With more than f faulty witnesses a change may leave a certified block out: said, not hidden.
    fn check_carried(&self, base: &Base) -> Result<(), LedgerError> {
        let checkpoint = &base.decided.sealed.checkpoint;
        if !checkpoint.changes_set() {
            return Ok(());
        }
        for (account, found) in &self.accounts {
            let at = base.states.binary_search_by_key(account, |state| state.account);
            let seq = at.map_or(0, |at| base.states[at].seq);
            for certificate in found.after(seq) {
                let (seq, id) = (certificate.body().seq, certificate.id());
                let carried = checkpoint.carried.iter().any(|carried| {
                    carried.account == *account
                        && carried.seq == seq
                        && carried.blocks.contains(&id)
                });
                if !carried {
                    return Err(LedgerError::HandoverConflict(*account));
                }
            }
        }
        Ok(())
    }

    fn install(&mut self, base: Base) {
        let checkpoint = &base.decided.sealed.checkpoint;
        self.take_penalties(&base.states);
        self.epoch = checkpoint.epoch;
        self.parameters = checkpoint.parameters.clone();
        if checkpoint.set.version != self.set.version {
            self.set = Arc::new(checkpoint.set.clone());
            self.sets.insert(self.set.version, self.set.clone());
            let heads = base.states.iter().filter(|state| state.seq > 0);
            self.floor = heads.map(|state| (state.account, (state.seq, state.head))).collect();
        }
        let carried = checkpoint.carried.iter();
        self.carried = carried.map(|carried| (carried.account, carried.clone())).collect();
        self.base = Some(Arc::new(base));
        self.frontier = OnceLock::new();
    }

    /// Whether the place of a certificate is its set version's to certify.
    pub(super) fn place(&self, certificate: &Certificate, id: &Digest) -> Result<(), LedgerError> {
        let version = certificate.set_version;
        let Block { account, seq, .. } = *certificate.body();
        let (recorded, head) = self.floor_of(&account);
        let carried = self.carried.get(&account).filter(|carried| carried.seq == seq);
        let in_place = if version == self.set.version {
            seq > recorded && carried.is_none_or(|carried| carried.blocks == [*id])
        } else {
            seq < recorded
                || (seq == recorded && *id == head)
                || carried.is_some_and(|carried| carried.blocks.contains(id))
        };
        if in_place { Ok(()) } else { Err(LedgerError::WrongVersion { account, seq, version }) }
    }

    /// What a vote needs beside [`Ledger::place`]: at a carried place only what is carried.
    pub(super) fn check_carried_place(
        &self,
        block: &crate::block::SignedBlock,
    ) -> Result<(), LedgerError> {
        let (account, seq) = (block.body.account, block.body.seq);
        match self.carried.get(&account).filter(|carried| carried.seq == seq) {
            Some(carried) if carried.blocks != [block_hash(block)] => {
                Err(LedgerError::Carried { account, seq })
            }
            _ => Ok(()),
        }
    }

    /// Links certificates that were verified before, in whatever order they can be, as long as they
    /// are of at most so many accounts. Returns how many are left.
    fn link_all(&mut self, certificates: Vec<Arc<Certificate>>, accounts_max: usize) -> usize {
        let mut waiting = certificates;
        let mut touched = std::collections::BTreeSet::new();
        loop {
            let before = waiting.len();
            waiting.retain(|certificate| {
                let account = certificate.body().account;
                if !touched.contains(&account) && touched.len() >= accounts_max {
                    return true;
                }
                let linked = self.link(certificate.clone(), certificate.id()).is_ok();
                if linked {
                    touched.insert(account);
                }
                !linked
            });
            if waiting.len() == before || waiting.is_empty() {
                return waiting.len();
            }
        }
    }
}

impl Base {
    /// A checkpoint with the states it commits to.
    fn of(decided: Decided, states: Vec<AccountState>) -> Result<Base, LedgerError> {
        let checkpoint = &decided.sealed.checkpoint;
        let tree = tree_of(&states)?;
        let fits = tree.root() == checkpoint.accounts
            && digest_of(&states) == checkpoint.snapshot
            && states.len() as u64 == checkpoint.count
            && decided.resolutions.digest() == checkpoint.resolutions;
        if !fits {
            return Err(LedgerError::NotACheckpoint("the accounts come to something else"));
        }
        checkpoint.set.validate()?;
        Ok(Base { decided, states, tree })
    }
}

impl Ledger {
    /// This ledger made again from its last checkpoint and its certificates, each verified anew.
    pub fn verified_again(&self, verifier: &mut Verifier) -> Result<Ledger, LedgerError> {
        let mut again = Ledger::new(self.genesis.as_ref().clone())?;
        if let Some(handover) = &self.handover {
            again.apply_handover(handover.clone(), verifier)?;
        }
        again.sets = self.sets.clone();
        let mut certificates: Vec<Arc<Certificate>> = self.certificates().cloned().collect();
        if let Some(base) = &self.base {
            let (decided, states) = (base.decided.clone(), base.states.clone());
            again.apply_snapshot(decided, states, verifier)?;
            // The floor and what is carried are those of the last change of the set, which may be
            // older than the checkpoint.
            again.set = self.set.clone();
            again.floor = self.floor.clone();
            again.carried = self.carried.clone();
            certificates.retain(|c| c.body().seq > self.base_seq(&c.body().account));
        }
        let merged = again.merge(certificates, verifier);
        if let Some(refused) = merged.refused.into_iter().next() {
            return Err(refused.error);
        }
        again.marks = self.marks.clone();
        Ok(again)
    }

    /// Whether an order of the founder may change the present set.
    pub fn check_order(
        &self,
        order: &Signed<crate::checkpoint::ChangeOrder>,
        verifier: &mut Verifier,
    ) -> Result<WitnessSet, LedgerError> {
        if order.signer != self.genesis.founder {
            return Err(LedgerError::NotAChange("not the founder's"));
        }
        if self.set.members.len() == 1 {
            return Err(LedgerError::NotAChange("a single witness hands over"));
        }
        let next = order.body.next_set(&self.set)?;
        order.open(verifier, &self.pool)?;
        Ok(next)
    }
}
