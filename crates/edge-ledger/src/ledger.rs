//! The state: certificates merged by union, balances a pure fold over them.

mod account;
mod checkpoint;
mod mint;
mod reconcile;
mod resolve;
mod states;
mod sync;
mod transition;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use edge_base::{Credits, Digest, EscrowId, NodeId, Signed, Verifier};

use crate::{
    block::{Block, BlockKind, PriceList, SignedBlock, block_hash},
    checkpoint::Carried,
    claim::ClaimBook,
    equivocation::EquivocationProof,
    error::LedgerError,
    genesis::{Genesis, GenesisError},
    offence::{Offence, OffenceKind},
    parameter::{FeeRate, Parameters},
    table::Table,
    vote::Certificate,
    witness::{HANDOVER_HEADS_MAX, Handover, WitnessSet},
};

use account::Account;
pub use checkpoint::Base;
pub use reconcile::{Compared, Heads};
pub use sync::{Merged, Refused};
use transition::Effect;

/// Conflicts a ledger remembers; each is a breakdown that people have to look at.
pub const CONFLICTS_MAX: usize = 64;

/// Whether something was new to the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// It changed the state.
    New,
    /// It was here already.
    Known,
}

/// How an escrow stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EscrowState {
    /// Its budget is set aside.
    Open,
    /// A Settle ended it.
    Settled,
    /// A Refund ended it.
    Refunded,
}

/// An escrow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EscrowView<'a> {
    /// Who opened it and alone can end it.
    pub owner: NodeId,
    /// What was set aside.
    pub budget: Credits,
    /// What executions cost.
    pub prices: &'a PriceList,
    /// The first epoch in which nobody begins work for it any more.
    pub expires_epoch: u64,
    /// How it stands.
    pub state: EscrowState,
    /// What is burned of what it pays.
    pub fee: FeeRate,
}

impl EscrowView<'_> {
    /// The most that it can pay to workers.
    pub fn payable(&self) -> Credits {
        self.fee.payable(self.budget)
    }
}

/// An account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountView {
    /// What its next block can spend without taking credits.
    pub balance: Credits,
    /// Certified payments to it that none of its blocks has taken yet.
    pub incoming: Credits,
    /// Set aside in its open escrows.
    pub escrowed: Credits,
    /// At stake and not leaving, without what its penalty took.
    pub staked: Credits,
    /// In withdrawals that have not ended, without what its penalty took.
    pub leaving: Credits,
    /// What offences cost it so far.
    pub penalty: Credits,
    /// Rewards that it is promised and that have not vested.
    pub vesting: Credits,
    /// The seq of its last certified block; 0 before the first.
    pub seq: u64,
    /// The hash of that block; the pool's hash before the first.
    pub head: Digest,
    /// Whether its owner was caught with two blocks at one seq.
    pub frozen: bool,
    /// Whether its owner was caught at something that no checkpoint has charged yet
    /// ([`Ledger::slash`]): until one has, nothing of its stake comes back.
    pub slashed: bool,
}

/// Where every credit of the pool is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// The genesis grant, and what was minted since.
    pub granted: Credits,
    /// Sum of spendable balances.
    pub balances: Credits,
    /// Sum of the budgets of open escrows.
    pub escrowed: Credits,
    /// Certified payments that their receivers have not taken yet.
    pub uncredited: Credits,
    /// Fees of all settlements, and what penalties took.
    pub burned: Credits,
    /// At stake or leaving, without what penalties took.
    pub staked: Credits,
    /// The part of `staked` that belongs to accounts with an offence that is not charged yet. It
    /// depends on the marks this ledger has heard of, not on certificates alone.
    pub slashed: Credits,
    /// The part of `burned` that was stake.
    pub forfeited: Credits,
}

impl Totals {
    /// Stake that offences have cost, or will cost as far as anybody can tell.
    pub fn lost(&self) -> Credits {
        self.slashed.plus(self.forfeited).unwrap_or(self.slashed)
    }

    /// Whether nothing was made from nothing and nothing is lost.
    pub fn conserved(&self) -> bool {
        let parts = [self.balances, self.escrowed, self.uncredited, self.burned, self.staked];
        Credits::sum(parts) == Ok(self.granted)
    }
}

/// Two certificates at one (account, seq). It takes more than f faulty witnesses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// Whose chain.
    pub account: NodeId,
    /// Where.
    pub seq: u64,
    /// The certificate the ledger follows.
    pub kept: Arc<Certificate>,
    /// The one it refused.
    pub refused: Arc<Certificate>,
    /// The witnesses that voted for both, ascending.
    pub culprits: Vec<NodeId>,
}

#[derive(Clone, Debug)]
struct Escrow {
    owner: NodeId,
    budget: Credits,
    state: EscrowState,
    prices: PriceList,
    expires_epoch: u64,
    fee: FeeRate,
}

/// The ledger of one pool. Two ledgers that hold the same certificates and the same marks on slashed
/// accounts are equal in everything they answer, in whatever order both came.
#[derive(Clone, Debug)]
pub struct Ledger {
    genesis: Arc<Genesis>,
    pool: Digest,
    set: Arc<WitnessSet>,
    epoch: u64,
    handover: Option<Arc<Signed<Handover>>>,
    /// The last checkpoint.
    base: Option<Arc<Base>>,
    /// As the last checkpoint left them.
    parameters: Parameters,
    /// Every set that is known, by version.
    sets: BTreeMap<u64, Arc<WitnessSet>>,
    /// Last seq and head that the sets before the present one certified, where there is one.
    floor: BTreeMap<NodeId, (u64, Digest)>,
    /// Places after the floor at which they may have certified a block.
    carried: BTreeMap<NodeId, Carried>,
    accounts: Table<NodeId, Account>,
    certificates: Table<Digest, Arc<Certificate>>,
    escrows: BTreeMap<EscrowId, Escrow>,
    /// The open ones, by owner.
    open: BTreeSet<(NodeId, EscrowId)>,
    /// Keys that sign for accounts of other keys, with those.
    held: BTreeSet<(NodeId, NodeId)>,
    /// What owners were caught at, whether it is charged or not: marks only grow in number, on
    /// accounts here or not.
    marks: BTreeSet<Offence>,
    /// As blocks say, without regard to penalties: `staked` with, `burned` without `forfeited`.
    totals: Totals,
    conflicts: Vec<Conflict>,
    /// Digest of the heads of the accounts that share a first byte.
    buckets: Box<[OnceLock<Digest>; 256]>,
    frontier: OnceLock<Digest>,
}

impl Ledger {
    /// The ledger of a pool in which nothing happened yet: the founder has the grant.
    pub fn new(genesis: Genesis) -> Result<Ledger, GenesisError> {
        genesis.validate()?;
        let pool = genesis.hash();
        let (mut accounts, mut founder) = (Table::default(), Account::default());
        founder.set_balance(genesis.grant);
        accounts.insert(genesis.founder, founder);
        let totals = Totals {
            granted: genesis.grant,
            balances: genesis.grant,
            escrowed: Credits::ZERO,
            uncredited: Credits::ZERO,
            burned: Credits::ZERO,
            staked: Credits::ZERO,
            slashed: Credits::ZERO,
            forfeited: Credits::ZERO,
        };
        let set = Arc::new(genesis.witness_set());
        Ok(Ledger {
            pool,
            sets: BTreeMap::from([(set.version, set.clone())]),
            set,
            epoch: 0,
            handover: None,
            base: None,
            parameters: Parameters::default(),
            floor: BTreeMap::new(),
            carried: BTreeMap::new(),
            accounts,
            genesis: Arc::new(genesis),
            certificates: Table::default(),
            escrows: BTreeMap::new(),
            open: BTreeSet::new(),
            held: BTreeSet::new(),
            marks: BTreeSet::new(),
            totals,
            conflicts: Vec::new(),
            buckets: Box::new([const { OnceLock::new() }; 256]),
            frontier: OnceLock::new(),
        })
    }

    /// The record the pool was born from.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The pool's id: the hash of the genesis record.
    pub fn pool(&self) -> Digest {
        self.pool
    }

    /// The witness set whose votes count now.
    pub fn witness_set(&self) -> &WitnessSet {
        &self.set
    }

    /// The current epoch: it begins with 0 and advances with every handover.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The parameters of the current epoch.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The handover that ended the founder's set, if there was one.
    pub fn handover(&self) -> Option<&Arc<Signed<Handover>>> {
        self.handover.as_ref()
    }

    /// An account; one that nobody heard of is empty.
    pub fn account(&self, account: &NodeId) -> AccountView {
        let slashed = self.is_marked(account);
        match self.accounts.get(account) {
            Some(found) => AccountView {
                balance: found.balance(),
                incoming: found.incoming_sum(),
                escrowed: found.escrowed,
                staked: found.left().0,
                leaving: found.left().1,
                penalty: found.penalty,
                vesting: found.promised(),
                seq: found.seq(),
                head: found.head(self.pool),
                frozen: found.is_frozen(),
                slashed,
            },
            None => AccountView {
                balance: Credits::ZERO,
                incoming: Credits::ZERO,
                escrowed: Credits::ZERO,
                staked: Credits::ZERO,
                leaving: Credits::ZERO,
                penalty: Credits::ZERO,
                vesting: Credits::ZERO,
                seq: 0,
                head: self.pool,
                frozen: false,
                slashed,
            },
        }
    }

    /// Whether there is anything about an account: a block, a balance or incoming credits.
    pub fn has_account(&self, account: &NodeId) -> bool {
        self.accounts.contains_key(account)
    }

    /// Every account that has a block, a balance or incoming credits, ascending.
    pub fn accounts(&self) -> impl Iterator<Item = (NodeId, AccountView)> + '_ {
        self.accounts.keys().map(|account| (*account, self.account(account)))
    }

    /// An escrow, open or ended.
    pub fn escrow(&self, id: &EscrowId) -> Option<EscrowView<'_>> {
        let escrow = self.escrows.get(id)?;
        let Escrow { owner, budget, state, ref prices, expires_epoch, fee } = *escrow;
        Some(EscrowView { owner, budget, prices, expires_epoch, state, fee })
    }

    /// The open escrows of an account, ascending by id.
    pub fn open_escrows(&self, owner: &NodeId) -> impl Iterator<Item = EscrowId> + '_ {
        let all = (EscrowId(Digest([0; 32])), EscrowId(Digest([0xff; 32])));
        self.open.range((*owner, all.0)..=(*owner, all.1)).map(|(_, id)| *id)
    }

    /// Withdrawals of an account that have not ended, ascending by the hash of their Unstake.
    pub fn withdrawals<'a>(
        &'a self,
        owner: &NodeId,
    ) -> impl Iterator<Item = (Digest, Credits)> + use<'a> {
        let found = self.accounts.get(owner).into_iter();
        found.flat_map(|found| found.leaving.iter().map(|(unstake, amount)| (*unstake, *amount)))
    }

    /// Where every credit is.
    pub fn totals(&self) -> Totals {
        let fits = "invariant: every sum of certified amounts is at most the supply";
        let marked = self.slashed().filter_map(|account| self.accounts.get(&account));
        let slashed = marked.flat_map(|found| <[Credits; 2]>::from(found.left()));
        let slashed = Credits::sum(slashed).expect(fits);
        let Totals { staked, burned, forfeited, .. } = self.totals;
        let staked = staked.minus(forfeited).expect("invariant: a part of it");
        let burned = burned.plus(forfeited).expect(fits);
        Totals { slashed, staked, burned, ..self.totals }
    }

    /// Conflicting certificates seen so far: empty unless more than f witnesses are faulty.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// Takes a certificate into the state, after checking everything about it.
    pub fn apply(
        &mut self,
        certificate: Arc<Certificate>,
        verifier: &mut Verifier,
    ) -> Result<Applied, LedgerError> {
        let id = certificate.id();
        if self.is_known(&certificate, &id) {
            return Ok(Applied::Known);
        }
        self.verify(&certificate, &id, verifier)?;
        self.link(certificate, id)?;
        Ok(Applied::New)
    }

    /// What a witness checks before it votes: the owner's signature, the place in the chain, the
    /// credits taken, the arithmetic, the escrow, that the account is not frozen, that it takes back
    /// no stake that is slashed, and that no claim stands against the block. Only votes look at
    /// marks: what a quorum certified before it heard of one is applied all the same.
    pub fn check(
        &self,
        block: &SignedBlock,
        claims: &ClaimBook,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        self.check_signer(block, verifier)?;
        let body = &block.body;
        self.check_marks(&body.account, &body.kind)?;
        self.transition(block)?;
        self.check_carried_place(block)?;
        let recorded = self.floor_of(&body.account).0;
        if body.seq <= recorded {
            // The old set certified this place; the certificate just is not here yet.
            return Err(LedgerError::MissingPredecessor { account: body.account, seq: body.seq });
        }
        match body.kind.ends().and_then(|escrow| self.escrow(&escrow)) {
            Some(escrow) => claims.admits(&body.kind, escrow.payable()),
            None => Ok(()),
        }
    }

    /// Takes the handover from the founder alone to a set of 4, 7 ... 31 witnesses.
    pub fn apply_handover(
        &mut self,
        handover: Arc<Signed<Handover>>,
        verifier: &mut Verifier,
    ) -> Result<Applied, LedgerError> {
        if self.handover.as_ref().is_some_and(|known| known.digest() == handover.digest()) {
            return Ok(Applied::Known);
        }
        self.check_handover(&handover, verifier)?;
        self.set = Arc::new(handover.body.to.clone());
        self.sets.insert(self.set.version, self.set.clone());
        let heads = handover.body.heads.iter();
        self.floor = heads.map(|(account, seq, head)| (*account, (*seq, *head))).collect();
        self.epoch = handover.body.epoch;
        self.handover = Some(handover);
        self.frontier = OnceLock::new();
        Ok(Applied::New)
    }

    /// The handover to these members as of now. Sign it only after everything voted for is
    /// certified here: [`VoteLog::hand_over`](crate::VoteLog::hand_over) does both.
    pub fn next_handover(&self, members: Vec<NodeId>) -> Result<Handover, LedgerError> {
        let from_version = self.set.version;
        let to = WitnessSet::new(from_version + 1, members)?;
        let heads: Vec<_> = self
            .accounts
            .iter()
            .filter(|(_, found)| found.seq() > 0)
            .map(|(account, found)| (*account, found.seq(), found.last()))
            .collect();
        let (what, count, limit) = ("heads", heads.len(), HANDOVER_HEADS_MAX);
        if count > limit {
            return Err(LedgerError::TooMany { what, count, limit });
        }
        Ok(Handover { from_version, epoch: self.epoch + 1, to, heads })
    }

    /// Freezes the account of an owner who signed two blocks for one place, and slashes its stake.
    pub fn apply_equivocation(
        &mut self,
        proof: EquivocationProof,
        verifier: &mut Verifier,
    ) -> Result<Applied, LedgerError> {
        let account = proof.account();
        if self.equivocation(&account).is_some() {
            return Ok(Applied::Known);
        }
        proof.check(verifier, &self.pool)?;
        match self.accounts.get_mut(&account) {
            Some(found) => {
                found.frozen = Some(Arc::new(proof));
                self.slash(Offence { account, kind: OffenceKind::Equivocation });
                Ok(Applied::New)
            }
            // An account without credits has nothing to freeze, and anybody can make a thousand.
            None => Ok(Applied::Known),
        }
    }

    /// Marks the account of an owner who was caught: nothing of its stake comes back until a checkpoint
    /// has charged the offence. Only for a caller who executed the task again or checked a proof. The
    /// mark is no movement, so the order in which ledgers hear of marks and certificates does not
    /// matter.
    pub fn slash(&mut self, offence: Offence) -> Applied {
        if self.marks.insert(offence) { Applied::New } else { Applied::Known }
    }

    /// Offences that this ledger has heard of and no checkpoint has charged, ascending.
    pub fn uncharged(&self) -> impl Iterator<Item = Offence> + '_ {
        self.marks.iter().filter(|offence| !self.is_charged(offence)).copied()
    }

    /// The nodes with such an offence, ascending.
    pub fn slashed(&self) -> impl Iterator<Item = NodeId> + '_ {
        let mut last = None;
        self.uncharged().map(|offence| offence.account).filter(move |account| {
            let first = last != Some(*account);
            last = Some(*account);
            first
        })
    }

    fn is_charged(&self, offence: &Offence) -> bool {
        let found = self.accounts.get(&offence.account);
        found.is_some_and(|found| found.offences.contains(&offence.kind))
    }

    fn is_marked(&self, account: &NodeId) -> bool {
        let of_it = |kind| Offence { account: *account, kind };
        let (first, last) = (OffenceKind::ALL[0], OffenceKind::ALL[OffenceKind::ALL.len() - 1]);
        let mut marks = self.marks.range(of_it(first)..=of_it(last));
        marks.any(|offence| !self.is_charged(offence))
    }

    /// Whether the marks on an account let a block of this kind pass.
    pub(crate) fn check_marks(
        &self,
        account: &NodeId,
        kind: &BlockKind,
    ) -> Result<(), LedgerError> {
        if self.accounts.get(account).is_some_and(|found| found.is_frozen()) {
            return Err(LedgerError::Frozen(*account));
        }
        if kind.withdraws() && self.is_marked(account) {
            return Err(LedgerError::Slashed(*account));
        }
        match (kind, self.accounts.get(account)) {
            (BlockKind::Release { unstake }, Some(_)) if self.holds_back(account, unstake) => {
                Err(LedgerError::Forfeited(*account))
            }
            _ => Ok(()),
        }
    }

    /// Whether a withdrawal would leave less at stake than the account's penalty: no witness votes for
    /// its end until as much is staked on top.
    pub fn holds_back(&self, account: &NodeId, unstake: &Digest) -> bool {
        self.accounts.get(account).is_some_and(|found| {
            let amount = found.leaving.get(unstake).copied().unwrap_or_default();
            let left = found.bonded().minus(amount).unwrap_or_default();
            found.penalty > Credits::ZERO && left < found.penalty
        })
    }

    /// The proof for which an account is frozen.
    pub fn equivocation(&self, account: &NodeId) -> Option<&Arc<EquivocationProof>> {
        self.accounts.get(account)?.frozen.as_ref()
    }

    /// Seq and hash of the account's head when the present set began; (0, _) without one.
    fn floor_of(&self, account: &NodeId) -> (u64, Digest) {
        self.floor.get(account).copied().unwrap_or_default()
    }

    fn check_signer(
        &self,
        block: &SignedBlock,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        block.open(verifier, &self.pool)?;
        Ok(())
    }

    /// The accounts whose next block a key signs: its own, if it is not another's, and those that were given to it.
    pub fn held_by(&self, key: &NodeId) -> impl Iterator<Item = NodeId> {
        let (first, last) = ((*key, NodeId([0; 32])), (*key, NodeId([0xff; 32])));
        let own = (self.holder(key) == *key).then_some(*key);
        own.into_iter().chain(self.held.range(first..=last).map(|(_, account)| *account))
    }

    /// The key that signs the next block of an account: its own, until a Rotate named another.
    pub fn holder(&self, account: &NodeId) -> NodeId {
        self.accounts.get(account).and_then(|found| found.holder).unwrap_or(*account)
    }

    /// Of a block whose place is the next one: before, nobody can tell whose it is.
    fn check_holder(&self, block: &SignedBlock) -> Result<(), LedgerError> {
        let (account, signer) = (block.body.account, block.signer);
        if signer == self.holder(&account) {
            Ok(())
        } else {
            Err(LedgerError::NotOwner { account, signer })
        }
    }

    /// Everything about a certificate that does not depend on other certificates.
    fn verify(
        &self,
        certificate: &Certificate,
        id: &Digest,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        let version = certificate.set_version;
        if version > self.set.version {
            return Err(LedgerError::MissingHandover { version });
        }
        if certificate.body().seq == 0 {
            return Err(LedgerError::SeqZero);
        }
        self.place(certificate, id)?;
        self.check_signer(&certificate.block, verifier)?;
        let set = self.sets.get(&version).ok_or(LedgerError::MissingHandover { version })?;
        certificate.check_votes_on(*id, set, &self.pool, verifier)?;
        Ok(())
    }

    /// Takes a verified certificate into the fold.
    fn link(&mut self, certificate: Arc<Certificate>, id: Digest) -> Result<(), LedgerError> {
        let effect = match self.transition(&certificate.block) {
            Err(LedgerError::SeqTaken { account, seq }) => {
                self.note_conflict(account, seq, certificate);
                return Err(LedgerError::ConflictingCertificate { account, seq });
            }
            other => other?,
        };
        self.commit(certificate, id, effect);
        Ok(())
    }

    fn note_conflict(&mut self, account: NodeId, seq: u64, refused: Arc<Certificate>) {
        let Some(found) = self.accounts.get_mut(&account) else { return };
        let Some(kept) = found.at(seq).cloned() else { return };
        let own = [&kept, &refused].iter().all(|c| c.block.signer == account);
        if found.frozen.is_none() && own {
            let proof = EquivocationProof::new(kept.block.clone(), refused.block.clone());
            found.frozen = Some(Arc::new(proof));
            self.marks.insert(Offence { account, kind: OffenceKind::Equivocation });
        }
        let known = self.conflicts.iter().any(|conflict| conflict.refused.id() == refused.id());
        if known || self.conflicts.len() == CONFLICTS_MAX {
            return;
        }
        let both = |(voter, _): &&(NodeId, _)| refused.votes.iter().any(|(v, _)| v == voter);
        let culprits = kept.votes.iter().filter(both).map(|(voter, _)| *voter).collect();
        self.conflicts.push(Conflict { account, seq, kept, refused, culprits });
    }

    fn check_handover(
        &self,
        handover: &Signed<Handover>,
        verifier: &mut Verifier,
    ) -> Result<(), LedgerError> {
        let body = &handover.body;
        let [founder] = self.set.members[..] else {
            return Err(LedgerError::NotAHandover("the set has more than one member"));
        };
        if handover.signer != founder {
            return Err(LedgerError::NotAHandover("not the founder's"));
        }
        let versions = (body.from_version, body.to.version);
        if versions != (self.set.version, self.set.version + 1) {
            return Err(LedgerError::NotAHandover("another version"));
        }
        if body.epoch != self.epoch + 1 {
            return Err(LedgerError::NotAHandover("another epoch"));
        }
        if body.to.members.len() == 1 {
            return Err(LedgerError::NotAHandover("to one member"));
        }
        let (what, count, limit) = ("heads", body.heads.len(), HANDOVER_HEADS_MAX);
        if count > limit {
            return Err(LedgerError::TooMany { what, count, limit });
        }
        if !crate::bounded::strictly_ascending(body.heads.iter().map(|(account, ..)| account)) {
            return Err(LedgerError::Order("heads"));
        }
        body.to.validate()?;
        handover.open(verifier, &self.pool)?;
        for (account, found) in &self.accounts {
            let (recorded, head) = body.head(account);
            let beyond = found.seq() > recorded;
            let other = found.at(recorded).is_some_and(|known| known.id() != head);
            if beyond || other {
                return Err(LedgerError::HandoverConflict(*account));
            }
        }
        Ok(())
    }

    fn commit(&mut self, certificate: Arc<Certificate>, id: Digest, effect: Effect) {
        let account = certificate.body().account;
        let bucket = usize::from(account.0[0]);
        self.commit_effect(&certificate, id, effect);
        self.certificates.insert(id, certificate);
        self.forget_bucket(bucket);
    }

    /// The certificate of a block, if it is here.
    pub fn certificate(&self, id: &Digest) -> Option<&Arc<Certificate>> {
        self.certificates.get(id)
    }

    /// Whether a certificate changes nothing: it is here, or was dropped with all at its place.
    fn is_known(&self, certificate: &Certificate, id: &Digest) -> bool {
        let Block { account, seq, .. } = *certificate.body();
        let dropped = || self.accounts.get(&account).is_some_and(|found| seq <= found.below());
        self.certificates.contains_key(id) || (seq > 0 && dropped())
    }

    /// Whether this block is certified here.
    pub fn is_certified(&self, block: &SignedBlock) -> bool {
        self.certificates.contains_key(&block_hash(block))
    }
}
