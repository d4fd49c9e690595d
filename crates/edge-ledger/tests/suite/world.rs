//! A pool in memory: owners, witnesses with durable vote logs, one ledger; and an independent fold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Credits, Digest, EscrowId, NodeId, SecretKey, Signed, TaskKind, Verifier};
use edge_ledger::{
    Applied, Block, BlockKind, Certificate, ClaimBook, FeeRate, Genesis, Ledger, LedgerError,
    Network, Offence, OffenceKind, Payment, PriceList, Refusal, SignedBlock, Vote, VoteBody,
    VoteCollector, VoteLog, WitnessSet, block_hash,
};

pub(crate) const GRANT: Credits = Credits::from_micro(1_000_000_000_000);

/// Accounts are given to keys below this.
pub(crate) const KEYS: u64 = 64;

/// Key number `i` of these tests.
pub(crate) fn key(i: u64) -> SecretKey {
    let mut seed = [0xa5; 32];
    seed[..8].copy_from_slice(&i.to_le_bytes());
    SecretKey::from_seed(seed)
}

pub(crate) fn id(i: u64) -> NodeId {
    key(i).node_id()
}

/// Keys of witnesses, apart from those of owners.
pub(crate) fn witness_keys(n: u64) -> Vec<SecretKey> {
    (0..n).map(|i| key(1_000 + i)).collect()
}

/// Multiplies counts of heavy cases; 1 in CI.
#[allow(clippy::disallowed_methods)] // a test may be told how long to run
pub(crate) fn scale() -> u64 {
    std::env::var("EDGE_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

pub(crate) fn genesis(grant: Credits) -> Genesis {
    Genesis::new(Network::Test, id(0), grant, "test", [9; 32]).unwrap()
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) witnesses: Vec<SecretKey>,
    pub(crate) logs: Vec<VoteLog>,
    pub(crate) claims: ClaimBook,
    pub(crate) verifier: Verifier,
}

impl World {
    /// The founder (key 0) alone, with [`GRANT`].
    pub(crate) fn alone() -> World {
        World::granted(GRANT)
    }

    pub(crate) fn granted(grant: Credits) -> World {
        World {
            ledger: Ledger::new(genesis(grant)).unwrap(),
            witnesses: vec![key(0)],
            logs: vec![VoteLog::new()],
            claims: ClaimBook::new(),
            verifier: Verifier::memoised(1 << 16),
        }
    }

    /// After a handover to `n` witnesses.
    pub(crate) fn with_witnesses(n: u64) -> World {
        let mut world = World::alone();
        if n > 1 {
            world.hand_over(n);
        }
        world
    }

    pub(crate) fn hand_over(&mut self, n: u64) {
        let keys = witness_keys(n);
        let members = keys.iter().map(SecretKey::node_id).collect();
        let (signed, _) = self.logs[0].hand_over(&self.ledger, members, &key(0)).unwrap();
        let applied = self.ledger.apply_handover(Arc::new(signed), &mut self.verifier);
        assert_eq!(applied, Ok(Applied::New));
        self.logs = keys.iter().map(|_| VoteLog::new()).collect();
        self.witnesses = keys;
    }

    pub(crate) fn pool(&self) -> Digest {
        self.ledger.pool()
    }

    pub(crate) fn set(&self) -> &WitnessSet {
        self.ledger.witness_set()
    }

    pub(crate) fn seal(&self, block: Block, owner: u64) -> SignedBlock {
        Signed::seal(block, &key(owner), &self.pool())
    }

    /// The number of the key that signs for an account.
    pub(crate) fn holder(&self, owner: u64) -> u64 {
        let holder = self.ledger.holder(&id(owner));
        std::iter::once(owner).chain(0..KEYS).find(|n| id(*n) == holder).expect("a key of ours")
    }

    /// Gathers honest votes for a block, as many as a quorum.
    pub(crate) fn certify(&mut self, block: &SignedBlock) -> Result<Arc<Certificate>, Refusal> {
        let (set, pool) = (self.set().clone(), self.pool());
        let mut collector = VoteCollector::new(block.clone(), &set, pool);
        let mut refusal = None;
        for (witness, log) in self.witnesses.iter().zip(&mut self.logs) {
            match log.vote(&self.ledger, &self.claims, block, witness, &mut self.verifier) {
                Ok(voted) => {
                    if let Some(done) = collector.add(&voted.vote, &mut self.verifier).unwrap() {
                        return Ok(Arc::new(done));
                    }
                }
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.expect("a quorum or a refusal"))
    }

    /// Votes of a quorum that checks nothing: what no honest pool ever does.
    pub(crate) fn collude(&self, block: &SignedBlock) -> Arc<Certificate> {
        let set = self.set();
        let body = VoteBody {
            set_version: set.version,
            epoch: block.body.epoch,
            block: block_hash(block),
        };
        let quorum = self.witnesses.iter().take(set.quorum());
        let mut votes: Vec<_> = quorum
            .map(|witness| Signed::seal(body, witness, &self.pool()))
            .map(|vote| (vote.signer, vote.signature))
            .collect();
        votes.sort_unstable_by_key(|(voter, _)| *voter);
        Arc::new(Certificate { block: block.clone(), set_version: set.version, votes })
    }

    pub(crate) fn vote_of(&self, witness: usize, block: &SignedBlock) -> Vote {
        let set_version = self.set().version;
        let body = VoteBody { set_version, epoch: block.body.epoch, block: block_hash(block) };
        Signed::seal(body, &self.witnesses[witness], &self.pool())
    }

    /// Next block of an owner, certified and applied.
    pub(crate) fn act(
        &mut self,
        owner: u64,
        kind: BlockKind,
    ) -> Result<Arc<Certificate>, LedgerError> {
        let block = self.ledger.next_block(id(owner), kind)?;
        let block = self.seal(block, self.holder(owner));
        let certificate = match self.certify(&block) {
            Ok(certificate) => certificate,
            Err(Refusal::Block(error)) => return Err(error),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(self.apply(&certificate), Ok(Applied::New));
        Ok(certificate)
    }

    pub(crate) fn apply(&mut self, certificate: &Arc<Certificate>) -> Result<Applied, LedgerError> {
        self.ledger.apply(certificate.clone(), &mut self.verifier)
    }

    pub(crate) fn escrow(&mut self, owner: u64, budget: u64) -> EscrowId {
        EscrowId(self.act(owner, escrow(budget)).unwrap().id())
    }

    pub(crate) fn balance(&self, owner: u64) -> u64 {
        self.ledger.account(&id(owner)).balance.micro()
    }

    /// The ledger's sums against the independent fold over its certificates.
    pub(crate) fn check_totals(&self) {
        check_totals(&self.ledger);
    }
}

/// Owner `i` was caught with a wrong result.
pub(crate) fn fault(i: u64) -> Offence {
    Offence { account: id(i), kind: OffenceKind::Fault }
}

pub(crate) fn micro(n: u64) -> Credits {
    Credits::from_micro(n)
}

pub(crate) fn send(to: u64, amount: u64) -> BlockKind {
    BlockKind::Send { to: id(to), amount: micro(amount), memo: Digest::default() }
}

pub(crate) fn escrow(budget: u64) -> BlockKind {
    let prices = PriceList::new([(TaskKind::Embedding, micro(7))]);
    BlockKind::Escrow { budget: micro(budget), prices, expires_epoch: 100 }
}

pub(crate) fn stake(amount: u64) -> BlockKind {
    BlockKind::Stake { amount: micro(amount) }
}

pub(crate) fn unstake(amount: u64) -> BlockKind {
    BlockKind::Unstake { amount: micro(amount) }
}

pub(crate) fn pay(worker: u64, amount: u64) -> Payment {
    Payment { worker: id(worker), amount: micro(amount), tasks: 1 }
}

pub(crate) fn settle(escrow: EscrowId, payments: Vec<Payment>) -> BlockKind {
    BlockKind::settle(escrow, payments, FeeRate::DEFAULT).unwrap()
}

/// Sums computed from certificates alone, in i128, by code that shares nothing with the ledger's:
/// an account has what its last block says; an Escrow block counts until a later block names it;
/// a payment counts until its receiver lists it; a Stake counts until the Release of an Unstake.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Fold {
    pub(crate) balances: i128,
    pub(crate) escrowed: i128,
    pub(crate) uncredited: i128,
    pub(crate) burned: i128,
    pub(crate) staked: i128,
    pub(crate) leaving: i128,
}

pub(crate) fn fold<'a>(
    genesis: &Genesis,
    certificates: impl IntoIterator<Item = &'a Arc<Certificate>>,
    penalties: &BTreeMap<NodeId, i128>,
) -> Fold {
    let blocks: Vec<(Digest, &Block)> =
        certificates.into_iter().map(|c| (block_hash(&c.block), &c.block.body)).collect();
    let mut last: BTreeMap<NodeId, (u64, i128)> =
        BTreeMap::from([(genesis.founder, (0, i128::from(genesis.grant.micro())))]);
    let (mut open, mut payments) = (BTreeMap::new(), BTreeMap::new());
    let (mut ended, mut taken) = (BTreeSet::new(), BTreeSet::new());
    let (mut burned, mut staked) = (0, 0);
    let mut bonded: BTreeMap<NodeId, i128> = BTreeMap::new();
    let (mut withdrawn, mut released) = (BTreeMap::new(), BTreeSet::new());
    for (hash, block) in blocks {
        let seen = last.entry(block.account).or_insert((0, 0));
        if block.seq > seen.0 {
            *seen = (block.seq, i128::from(block.balance_after.micro()));
        }
        for credit in &block.credits {
            assert!(taken.insert((block.account, *credit)), "a payment credited twice");
        }
        match &block.kind {
            BlockKind::Open => {}
            BlockKind::Send { to, amount, .. } => {
                payments.insert((*to, hash), i128::from(amount.micro()));
            }
            BlockKind::Escrow { budget, .. } => {
                open.insert(EscrowId(hash), i128::from(budget.micro()));
            }
            BlockKind::Settle { escrow, payments: paid, fee } => {
                assert!(ended.insert(*escrow), "an escrow that ended twice");
                burned += i128::from(fee.micro());
                for payment in paid {
                    payments.insert((payment.worker, hash), i128::from(payment.amount.micro()));
                }
            }
            BlockKind::Refund { escrow } => {
                assert!(ended.insert(*escrow), "an escrow that ended twice");
            }
            BlockKind::Stake { amount } => {
                staked += i128::from(amount.micro());
                *bonded.entry(block.account).or_default() += i128::from(amount.micro());
            }
            BlockKind::Unstake { amount } => {
                withdrawn.insert((block.account, hash), i128::from(amount.micro()));
            }
            BlockKind::Release { unstake } => {
                let withdrawal = (block.account, *unstake);
                assert!(released.insert(withdrawal), "a withdrawal that ended twice");
            }
            // Whoever signs: nothing moves.
            BlockKind::Rotate { .. } => {}
        }
    }
    assert!(released.iter().all(|withdrawal| withdrawn.contains_key(withdrawal)));
    let gone: i128 = released.iter().map(|withdrawal| withdrawn[withdrawal]).sum();
    for withdrawal in &released {
        *bonded.entry(withdrawal.0).or_default() -= withdrawn[withdrawal];
    }
    let (mut forfeited, mut forfeited_leaving) = (0, 0);
    for (node, penalty) in penalties {
        let all = bonded.get(node).copied().unwrap_or(0);
        let open = withdrawn.iter().filter(|(key, _)| key.0 == *node && !released.contains(*key));
        let leaving: i128 = open.map(|(_, amount)| amount).sum();
        forfeited += all.min(*penalty);
        forfeited_leaving += (all.min(*penalty) - (all - leaving)).max(0);
    }
    let all_withdrawn: i128 = withdrawn.values().sum();
    let unended = open.iter().filter(|(escrow, _)| !ended.contains(escrow));
    let untaken = payments.iter().filter(|(payment, _)| !taken.contains(*payment));
    Fold {
        balances: last.values().map(|(_, balance)| balance).sum(),
        escrowed: unended.map(|(_, budget)| budget).sum(),
        uncredited: untaken.map(|(_, amount)| amount).sum(),
        burned: burned + forfeited,
        staked: staked - gone - forfeited,
        leaving: all_withdrawn - gone - forfeited_leaving,
    }
}

pub(crate) fn check_totals(ledger: &Ledger) {
    let totals = ledger.totals();
    let penalties = ledger.accounts().map(|(node, view)| (node, view.penalty.micro().into()));
    let penalties: BTreeMap<NodeId, i128> = penalties.collect();
    let again = fold(ledger.genesis(), ledger.certificates(), &penalties);
    let stated = Fold {
        balances: totals.balances.micro().into(),
        escrowed: totals.escrowed.micro().into(),
        uncredited: totals.uncredited.micro().into(),
        burned: totals.burned.micro().into(),
        staked: totals.staked.micro().into(),
        leaving: ledger.accounts().map(|(_, view)| i128::from(view.leaving.micro())).sum(),
    };
    assert_eq!(stated, again);
    assert!(totals.conserved(), "{totals:?}");
    let sum = again.balances + again.escrowed + again.uncredited + again.burned + again.staked;
    assert_eq!(sum, i128::from(ledger.genesis().grant.micro()));
    let by_account = |part: fn(&edge_ledger::AccountView) -> Credits| -> i128 {
        ledger.accounts().map(|(_, view)| i128::from(part(&view).micro())).sum()
    };
    assert_eq!(by_account(|view| view.balance), again.balances);
    assert_eq!(by_account(|view| view.incoming), again.uncredited);
    assert_eq!(by_account(|view| view.escrowed), again.escrowed);
    assert_eq!(by_account(|view| view.staked), again.staked - again.leaving);
    let lost = ledger.accounts().filter(|(_, view)| view.slashed);
    let lost: u64 = lost.map(|(_, view)| view.staked.micro() + view.leaving.micro()).sum();
    assert_eq!(totals.slashed, micro(lost));
}

/// What two ledgers have to agree on.
pub(crate) fn assert_same(a: &Ledger, b: &Ledger) {
    assert_eq!(a.frontier(), b.frontier());
    assert_eq!(a.frontier_digest(), b.frontier_digest());
    assert_eq!(a.frontier_buckets(), b.frontier_buckets());
    assert_eq!(a.totals(), b.totals());
    assert_eq!(a.accounts().collect::<Vec<_>>(), b.accounts().collect::<Vec<_>>());
    assert_eq!(a.certificate_count(), b.certificate_count());
}
