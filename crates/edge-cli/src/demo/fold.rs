//! A second fold of the ledger, written apart from `edge-ledger`'s: it shares the types of what is
//! signed and none of the rules. It takes the union of every node's certificates, checks every
//! signature and every chain, and adds up.
//!
//! Nodes drop certificates that a checkpoint has made needless, and a checkpoint mints and burns what no
//! block says. So the fold begins at the genesis record only where every block is at hand and nothing
//! was minted; else at the newest checkpoint at hand, whose votes and states are checked. Older
//! certificates are checked all the same, and must lead to the heads that the checkpoint names.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, EscrowId, NodeId, Signed, Verifier, codec};
use edge_ledger::{
    AccountState, Ballot, Block, BlockKind, Certificate, Decided, FeeRate, Genesis, Handover,
    Phase, Sealed, VoteBody,
};

/// What the certificates add up to, in millionths of a rUv.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sums {
    /// Spendable, all accounts.
    pub(crate) balances: u128,
    /// Held by escrows that have not ended.
    pub(crate) escrowed: u128,
    /// Paid and not credited yet.
    pub(crate) uncredited: u128,
    /// Burned: fees, and what penalties took of stake.
    pub(crate) burned: u128,
    /// Staked and not released, without what penalties took.
    pub(crate) staked: u128,
    /// Staked and not released, by account, with what penalties took.
    pub(crate) stakes: BTreeMap<NodeId, u128>,
    /// What there ever was: granted, and minted until the checkpoint that the fold begins at.
    pub(crate) supply: u128,
    /// The epoch of the checkpoint that the fold begins at; 0 for the genesis record.
    pub(crate) from_epoch: u64,
    /// Blocks before it whose certificates nobody keeps.
    pub(crate) dropped: u64,
    /// Certificates.
    pub(crate) certificates: usize,
    /// Signatures verified.
    pub(crate) signatures: u64,
    /// What settlements paid, by worker; of those that were dropped nothing is known.
    pub(crate) settled: BTreeMap<NodeId, u128>,
}

impl Sums {
    /// Whether nothing was made and nothing lost.
    pub(crate) fn conserved(&self) -> bool {
        self.balances + self.escrowed + self.uncredited + self.burned + self.staked == self.supply
    }
}

/// What certificates rest on, as data folders have it.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) genesis: Genesis,
    pub(crate) handover: Option<Signed<Handover>>,
    /// Checkpoints that changed the witness set, by the version that they ended.
    pub(crate) changes: BTreeMap<u64, Sealed>,
    /// Last checkpoints of nodes, with the states of all accounts.
    pub(crate) checkpoints: Vec<(Decided, Vec<AccountState>)>,
}

/// The witness sets there have been: members and quorum by version.
type Sets = BTreeMap<u64, (BTreeSet<NodeId>, usize)>;
type Chains = BTreeMap<NodeId, BTreeMap<u64, (Digest, Block)>>;

/// Adds up certificates.
///
/// # Errors
/// The first rule that is broken, in words.
pub(crate) fn fold(
    ground: &Ground,
    certificates: impl IntoIterator<Item = Certificate>,
) -> Result<Sums, String> {
    let pool = ground.genesis.hash();
    let mut verifier = Verifier::strict();
    let sets = sets(ground, &pool, &mut verifier)?;
    let newest = newest(ground, &sets, &pool, &mut verifier)?;
    let mut chains = Chains::new();
    let mut sums = Sums::default();
    for certificate in certificates {
        let block = &certificate.block;
        let (account, seq, id) = (block.body.account, block.body.seq, block.digest());
        let chain = chains.entry(account).or_default();
        match chain.get(&seq) {
            Some((known, _)) if *known == id => continue,
            Some(_) => return Err(format!("{} has two blocks at {seq}", account.short())),
            None => {}
        }
        check(&certificate, id, &sets, &pool, &mut verifier)
            .map_err(|why| format!("block {seq} of {}: {why}", account.short()))?;
        chain.insert(seq, (id, block.body.clone()));
        sums.certificates += 1;
    }
    let start = match newest {
        Some((decided, states)) => {
            sums.dropped = lead_to(states, &chains)?;
            let minted = decided.sealed.checkpoint.supply != ground.genesis.grant;
            if sums.dropped > 0 || minted {
                Start::at(decided, states)
            } else {
                let fees = decided.sealed.checkpoint.parameters.clone();
                Start { fee: Box::new(move |epoch| fees.fee_in(epoch)), ..Start::genesis(ground) }
            }
        }
        None => Start::genesis(ground),
    };
    add_up(start, &pool, &chains, &mut sums)?;
    sums.signatures = verifier.stats().computed;
    Ok(sums)
}

fn quorum_of(members: &[NodeId]) -> (BTreeSet<NodeId>, usize) {
    let members: BTreeSet<NodeId> = members.iter().copied().collect();
    // n = 3f + 1 witnesses, 2f + 1 votes.
    let quorum = members.len() - members.len().saturating_sub(1) / 3;
    (members, quorum)
}

/// Every witness set, each by the word of the one before.
fn sets(ground: &Ground, pool: &Digest, verifier: &mut Verifier) -> Result<Sets, String> {
    let founder = ground.genesis.founder;
    let mut sets = Sets::from([(1, quorum_of(&[founder]))]);
    if let Some(handover) = &ground.handover {
        if handover.signer != founder {
            return Err("the handover is not the founder's".into());
        }
        handover.open(verifier, pool).map_err(|e| format!("the handover: {e}"))?;
        sets.insert(handover.body.to.version, quorum_of(&handover.body.to.members));
    }
    for (version, sealed) in &ground.changes {
        let next = &sealed.checkpoint.set;
        if *version != sealed.checkpoint.version || next.version != version + 1 {
            return Err(format!("the change of witness set {version} skips one"));
        }
        decided_by(sealed, &sets, pool, verifier)?;
        sets.insert(next.version, quorum_of(&next.members));
    }
    Ok(sets)
}

/// Checks that a quorum of the set that had to decide a checkpoint signed it.
fn decided_by(
    sealed: &Sealed,
    sets: &Sets,
    pool: &Digest,
    verifier: &mut Verifier,
) -> Result<(), String> {
    let checkpoint = &sealed.checkpoint;
    let (epoch, version) = (checkpoint.epoch, checkpoint.version);
    let wrong = |why: String| format!("checkpoint {epoch}: {why}");
    let (members, quorum) =
        sets.get(&version).ok_or_else(|| wrong(format!("unknown witness set {version}")))?;
    let (round, value) = (sealed.round, Some(checkpoint.digest()));
    let phase = Phase::Precommit;
    let body = Ballot { version, epoch, round, phase, value, valid_round: None };
    let mut voters = BTreeSet::new();
    for (voter, signature) in &sealed.votes {
        let ballot = Signed { signer: *voter, body, signature: *signature };
        ballot
            .open(verifier, pool)
            .map_err(|_| wrong(format!("a vote of {} is forged", voter.short())))?;
        if members.contains(voter) {
            voters.insert(*voter);
        }
    }
    if voters.len() < *quorum {
        return Err(wrong(format!("{} votes where {quorum} are needed", voters.len())));
    }
    Ok(())
}

/// The newest checkpoint at hand; every one of them is checked.
fn newest<'a>(
    ground: &'a Ground,
    sets: &Sets,
    pool: &Digest,
    verifier: &mut Verifier,
) -> Result<Option<(&'a Decided, &'a [AccountState])>, String> {
    let mut digests: BTreeMap<u64, Digest> = BTreeMap::new();
    let mut newest: Option<(&Decided, &[AccountState])> = None;
    for (decided, states) in &ground.checkpoints {
        let checkpoint = &decided.sealed.checkpoint;
        let epoch = checkpoint.epoch;
        decided_by(&decided.sealed, sets, pool, verifier)?;
        let digest = checkpoint.digest();
        if *digests.entry(epoch).or_insert(digest) != digest {
            return Err(format!("there are two checkpoints {epoch}"));
        }
        if Digest::of(&codec::encode(states)) != checkpoint.snapshot {
            return Err(format!("checkpoint {epoch}: the states are not the ones it names"));
        }
        if newest.is_none_or(|(known, _)| known.sealed.checkpoint.epoch < epoch) {
            newest = Some((decided, states));
        }
    }
    Ok(newest)
}

/// Checks that the certificates at hand lead to the heads that a checkpoint names, and counts the
/// blocks before these that are not at hand.
fn lead_to(states: &[AccountState], chains: &Chains) -> Result<u64, String> {
    let mut dropped = 0;
    for state in states {
        let mut expected = Some(state.head);
        for seq in (1..=state.seq).rev() {
            let found = chains.get(&state.account).and_then(|chain| chain.get(&seq));
            if let (Some((id, _)), Some(head)) = (found, expected)
                && *id != head
            {
                let account = state.account.short();
                return Err(format!("block {seq} of {account}: the checkpoint names another one"));
            }
            dropped += u64::from(found.is_none());
            expected = found.map(|(_, block)| block.prev);
        }
    }
    Ok(dropped)
}

/// What the fold begins with.
struct Start {
    epoch: u64,
    supply: u128,
    /// Burned as fees until then.
    fees: u128,
    accounts: BTreeMap<NodeId, Standing>,
    payments: BTreeMap<(Digest, NodeId), u128>,
    escrows: BTreeMap<EscrowId, Terms>,
    /// What is burned of what an escrow pays that is opened in an epoch.
    fee: Box<dyn Fn(u64) -> FeeRate>,
}

/// What an account is in the beginning.
#[derive(Default)]
struct Standing {
    seq: u64,
    head: Option<Digest>,
    balance: u128,
    stake: Stake,
    penalty: u128,
}

/// An open escrow: whose, how much, and what is burned of what it pays.
struct Terms {
    owner: NodeId,
    budget: u128,
    fee_ppm: u128,
}

impl Start {
    fn genesis(ground: &Ground) -> Start {
        let grant = u128::from(ground.genesis.grant.micro());
        let founder = Standing { balance: grant, ..Standing::default() };
        Start {
            epoch: 0,
            supply: grant,
            fees: 0,
            accounts: BTreeMap::from([(ground.genesis.founder, founder)]),
            payments: BTreeMap::new(),
            escrows: BTreeMap::new(),
            fee: Box::new(|_| FeeRate::DEFAULT),
        }
    }

    fn at(decided: &Decided, states: &[AccountState]) -> Start {
        let checkpoint = &decided.sealed.checkpoint;
        let parameters = checkpoint.parameters.clone();
        let mut start = Start {
            epoch: checkpoint.epoch,
            supply: u128::from(checkpoint.supply.micro()),
            fees: u128::from(checkpoint.burned.micro()),
            accounts: BTreeMap::new(),
            payments: BTreeMap::new(),
            escrows: BTreeMap::new(),
            fee: Box::new(move |epoch| parameters.fee_in(epoch)),
        };
        for state in states {
            let leaving =
                state.leaving.iter().map(|(id, amount)| (*id, u128::from(amount.micro())));
            let stake =
                Stake { bonded: u128::from(state.staked.micro()), leaving: leaving.collect() };
            let penalty = u128::from(state.penalty.micro());
            // What penalties took is counted anew at the end.
            start.fees = start.fees.saturating_sub(penalty.min(stake.sum()));
            for (payment, amount) in &state.incoming {
                let amount = u128::from(amount.micro());
                start.payments.insert((*payment, state.account), amount);
            }
            for escrow in &state.escrows {
                let budget = u128::from(escrow.budget.micro());
                let fee_ppm = u128::from(escrow.fee.ppm());
                let terms = Terms { owner: state.account, budget, fee_ppm };
                start.escrows.insert(escrow.id, terms);
            }
            let head = (state.seq > 0).then_some(state.head);
            let balance = u128::from(state.balance.micro());
            let standing = Standing { seq: state.seq, head, balance, stake, penalty };
            start.accounts.insert(state.account, standing);
        }
        start
    }
}

fn check(
    certificate: &Certificate,
    id: Digest,
    sets: &Sets,
    pool: &Digest,
    verifier: &mut Verifier,
) -> Result<(), String> {
    let block = &certificate.block;
    if block.signer != block.body.account {
        return Err("not signed by its owner".into());
    }
    block.open(verifier, pool).map_err(|e| e.to_string())?;
    let version = certificate.set_version;
    let (members, quorum) = sets.get(&version).ok_or(format!("unknown witness set {version}"))?;
    let body = VoteBody { set_version: version, epoch: block.body.epoch, block: id };
    let mut voters = BTreeSet::new();
    for (voter, signature) in &certificate.votes {
        let vote = Signed { signer: *voter, body, signature: *signature };
        vote.open(verifier, pool).map_err(|_| format!("a vote of {} is forged", voter.short()))?;
        if members.contains(voter) {
            voters.insert(*voter);
        }
    }
    if voters.len() < *quorum {
        return Err(format!("{} votes where {quorum} are needed", voters.len()));
    }
    Ok(())
}

fn add_up(mut start: Start, pool: &Digest, chains: &Chains, sums: &mut Sums) -> Result<(), String> {
    sums.from_epoch = start.epoch;
    sums.supply = start.supply;
    sums.burned = start.fees;
    let (mut payments, mut escrows) = (start.payments, start.escrows);
    for (id, block) in chains.values().flat_map(BTreeMap::values) {
        let new = start.accounts.get(&block.account).is_none_or(|found| block.seq > found.seq);
        match &block.kind {
            BlockKind::Send { to, amount, .. } if new => {
                payments.insert((*id, *to), u128::from(amount.micro()));
            }
            BlockKind::Settle { payments: workers, .. } => {
                let mut named = BTreeSet::new();
                for payment in workers {
                    let amount = u128::from(payment.amount.micro());
                    *sums.settled.entry(payment.worker).or_default() += amount;
                    if !named.insert(payment.worker) {
                        return Err("a settlement names a worker twice".into());
                    }
                    if new {
                        payments.insert((*id, payment.worker), amount);
                    }
                }
            }
            BlockKind::Escrow { budget, .. } if new => {
                let fee_ppm = u128::from((start.fee)(block.epoch).ppm());
                let budget = u128::from(budget.micro());
                let terms = Terms { owner: block.account, budget, fee_ppm };
                escrows.insert(EscrowId(*id), terms);
            }
            BlockKind::Send { .. }
            | BlockKind::Escrow { .. }
            | BlockKind::Open
            | BlockKind::Refund { .. }
            | BlockKind::Stake { .. }
            | BlockKind::Unstake { .. }
            | BlockKind::Release { .. }
            | BlockKind::Rotate { .. } => {}
        }
    }
    for (account, chain) in chains {
        let from = start.accounts.entry(*account).or_default();
        let mut balance = from.balance;
        let mut prev = from.head.unwrap_or(*pool);
        let stake = &mut from.stake;
        let after = chain.range(from.seq + 1..);
        for (expected, (seq, (id, block))) in (from.seq + 1..).zip(after) {
            let wrong = |why: String| format!("block {seq} of {}: {why}", account.short());
            if *seq != expected || block.prev != prev {
                return Err(wrong("does not follow the block before".into()));
            }
            prev = *id;
            for credit in &block.credits {
                let amount = payments.remove(&(*credit, *account));
                balance += amount.ok_or_else(|| wrong("credits what nobody paid".into()))?;
            }
            let (spent, returned) = effect(id, block, &mut escrows, stake, sums).map_err(&wrong)?;
            balance += returned;
            balance = balance.checked_sub(spent).ok_or_else(|| wrong("spends too much".into()))?;
            if balance != u128::from(block.balance_after.micro()) {
                return Err(wrong("states another balance".into()));
            }
        }
        from.balance = balance;
    }
    for (account, standing) in &start.accounts {
        sums.balances += standing.balance;
        let at_stake = standing.stake.sum();
        let taken = standing.penalty.min(at_stake);
        sums.burned += taken;
        sums.staked += at_stake - taken;
        if at_stake > 0 {
            sums.stakes.insert(*account, at_stake);
        }
    }
    sums.escrowed = escrows.values().map(|terms| terms.budget).sum();
    sums.uncredited = payments.values().sum();
    Ok(())
}

/// What an account has at stake, and what is leaving, by the hash of its Unstake.
#[derive(Default)]
struct Stake {
    bonded: u128,
    leaving: BTreeMap<Digest, u128>,
}

impl Stake {
    fn sum(&self) -> u128 {
        self.bonded + self.leaving.values().sum::<u128>()
    }
}

/// What a block takes from the balance, and what it gives back.
fn effect(
    id: &Digest,
    block: &Block,
    escrows: &mut BTreeMap<EscrowId, Terms>,
    stake: &mut Stake,
    sums: &mut Sums,
) -> Result<(u128, u128), String> {
    let mut ended = |escrow: &EscrowId| match escrows.remove(escrow) {
        Some(terms) if terms.owner == block.account => Ok(terms),
        Some(_) => Err("ends somebody else's escrow".to_owned()),
        None => Err("ends an escrow that is not open".to_owned()),
    };
    match &block.kind {
        BlockKind::Open | BlockKind::Rotate { .. } => Ok((0, 0)),
        BlockKind::Send { amount, .. } => Ok((u128::from(amount.micro()), 0)),
        BlockKind::Escrow { budget, .. } => Ok((u128::from(budget.micro()), 0)),
        BlockKind::Refund { escrow } => Ok((0, ended(escrow)?.budget)),
        BlockKind::Stake { amount } => {
            stake.bonded += u128::from(amount.micro());
            Ok((u128::from(amount.micro()), 0))
        }
        BlockKind::Unstake { amount } => {
            let amount = u128::from(amount.micro());
            stake.bonded =
                stake.bonded.checked_sub(amount).ok_or("takes back what is not staked")?;
            stake.leaving.insert(*id, amount);
            Ok((0, 0))
        }
        BlockKind::Release { unstake } => {
            let amount = stake.leaving.remove(unstake).ok_or("releases what is not leaving")?;
            Ok((0, amount))
        }
        BlockKind::Settle { escrow, payments, fee } => {
            let Terms { budget, fee_ppm, .. } = ended(escrow)?;
            let paid: u128 = payments.iter().map(|p| u128::from(p.amount.micro())).sum();
            // Three thousandths unless the witnesses changed it, rounded up.
            let due = (paid * fee_ppm).div_ceil(1_000_000);
            if due != u128::from(fee.micro()) {
                return Err(format!("a fee of {} where {due} is due", fee.micro()));
            }
            sums.burned += due;
            let rest = budget.checked_sub(paid + due).ok_or("pays more than the escrow holds")?;
            Ok((0, rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use edge_base::{Credits, SecretKey};
    use edge_ledger::{
        Applied, ClaimBook, Ledger, Network, Payment, PriceList, Resolutions, VoteCollector,
        VoteLog,
    };

    use super::*;

    struct Pool {
        founder: SecretKey,
        ledger: Ledger,
        witnesses: Vec<(SecretKey, VoteLog)>,
        handover: Option<Signed<Handover>>,
        /// Every certificate there ever was.
        all: Vec<Certificate>,
    }

    impl Pool {
        fn new() -> Self {
            let founder = SecretKey::from_seed([1; 32]);
            let grant = Credits::from_micro(10_000);
            let genesis =
                Genesis::new(Network::Test, founder.node_id(), grant, "t", [0; 32]).unwrap();
            Pool {
                witnesses: vec![(founder.clone(), VoteLog::new())],
                founder,
                ledger: Ledger::new(genesis).unwrap(),
                handover: None,
                all: Vec::new(),
            }
        }

        fn hand_over(&mut self) {
            let keys: Vec<SecretKey> = (10..14).map(|i| SecretKey::from_seed([i; 32])).collect();
            let members = keys.iter().map(SecretKey::node_id).collect();
            let votes = &mut self.witnesses[0].1;
            let (signed, _) = votes.hand_over(&self.ledger, members, &self.founder).unwrap();
            let mut verifier = Verifier::strict();
            self.ledger.apply_handover(Arc::new(signed.clone()), &mut verifier).unwrap();
            self.handover = Some(signed);
            self.witnesses = keys.into_iter().map(|key| (key, VoteLog::new())).collect();
        }

        fn certify(&mut self, owner: &SecretKey, kind: BlockKind) -> Certificate {
            let mut verifier = Verifier::strict();
            let block = self.ledger.next_block(owner.node_id(), kind).unwrap();
            let block = Signed::seal(block, owner, &self.ledger.pool());
            let claims = ClaimBook::new();
            let mut collector =
                VoteCollector::new(block.clone(), self.ledger.witness_set(), self.ledger.pool());
            let mut done = None;
            for (key, log) in &mut self.witnesses {
                let voted = log.vote(&self.ledger, &claims, &block, key, &mut verifier).unwrap();
                done = done.or(collector.add(&voted.vote, &mut verifier).unwrap());
            }
            let certificate = done.unwrap();
            self.ledger.apply(Arc::new(certificate.clone()), &mut verifier).unwrap();
            self.all.push(certificate.clone());
            certificate
        }

        fn send(&mut self, owner: &SecretKey, to: u8, amount: u64) -> Certificate {
            let to = SecretKey::from_seed([to; 32]).node_id();
            let amount = Credits::from_micro(amount);
            self.certify(owner, BlockKind::Send { to, amount, memo: Digest::default() })
        }

        fn escrow(&mut self, owner: &SecretKey) -> EscrowId {
            let budget = Credits::from_micro(1_000);
            let prices = PriceList::uniform(Credits::from_micro(1));
            let opened =
                self.certify(owner, BlockKind::Escrow { budget, prices, expires_epoch: 9 });
            EscrowId(opened.id())
        }

        fn settle(&mut self, owner: &SecretKey, escrow: EscrowId, worker: &SecretKey, micro: u64) {
            let amount = Credits::from_micro(micro);
            let payment = Payment { worker: worker.node_id(), amount, tasks: 2 };
            let kind = BlockKind::settle(escrow, vec![payment], FeeRate::DEFAULT).unwrap();
            self.certify(owner, kind);
        }

        fn checkpoint(&mut self) -> Decided {
            let mut verifier = Verifier::strict();
            let plan = self.ledger.plan(None, Resolutions::default(), &mut verifier).unwrap();
            let checkpoint = plan.checkpoint;
            let body = Ballot {
                version: checkpoint.version,
                epoch: checkpoint.epoch,
                round: 0,
                phase: Phase::Precommit,
                value: Some(checkpoint.digest()),
                valid_round: None,
            };
            let pool = self.ledger.pool();
            let ballots = self.witnesses.iter().map(|(key, _)| Signed::seal(body, key, &pool));
            let mut votes: Vec<_> = ballots.map(|b| (b.signer, b.signature)).take(3).collect();
            votes.sort_unstable_by_key(|(voter, _)| *voter);
            let sealed = Sealed { checkpoint, round: 0, votes };
            let decided = Decided { sealed, cut: plan.cut, resolutions: plan.resolutions };
            let applied = self.ledger.apply_checkpoint(decided.clone(), &mut verifier);
            assert_eq!(applied, Ok(Applied::New));
            decided
        }

        /// What a folder of this ledger has.
        fn ground(&self) -> Ground {
            let base = self.ledger.base();
            Ground {
                genesis: self.ledger.genesis().clone(),
                handover: self.handover.clone(),
                changes: BTreeMap::new(),
                checkpoints: base
                    .map(|base| (base.decided.clone(), base.states().to_vec()))
                    .into_iter()
                    .collect(),
            }
        }

        fn kept(&self) -> Vec<Certificate> {
            self.ledger.certificates().map(|kept| kept.as_ref().clone()).collect()
        }

        fn agrees(&self, sums: &Sums) {
            let totals = self.ledger.totals();
            assert!(sums.conserved() && totals.conserved(), "{sums:?}");
            assert_eq!(sums.balances, u128::from(totals.balances.micro()));
            assert_eq!(sums.escrowed, u128::from(totals.escrowed.micro()));
            assert_eq!(sums.uncredited, u128::from(totals.uncredited.micro()));
            assert_eq!(sums.burned, u128::from(totals.burned.micro()));
            assert_eq!(sums.staked, u128::from(totals.staked.micro()));
        }
    }

    /// Everything that an account can do.
    fn events(pool: &mut Pool) {
        let founder = pool.founder.clone();
        let worker = SecretKey::from_seed([2; 32]);
        let amount = Credits::from_micro;
        pool.send(&founder, 2, 500);
        pool.certify(&worker, BlockKind::Open);
        let opened = pool.escrow(&founder);
        pool.settle(&founder, opened, &worker, 334);
        let escrow = pool.escrow(&founder);
        pool.certify(&founder, BlockKind::Refund { escrow });
        pool.certify(&founder, BlockKind::Stake { amount: amount(900) });
        for part in [200, 300] {
            pool.certify(&founder, BlockKind::Unstake { amount: amount(part) });
        }
        let unstake = pool.all[pool.all.len() - 2].id();
        pool.certify(&founder, BlockKind::Release { unstake });
        pool.escrow(&founder);
    }

    /// A pool in which everything happened, and its certificates.
    fn eventful() -> (Pool, Vec<Certificate>) {
        let mut pool = Pool::new();
        events(&mut pool);
        let all = pool.all.clone();
        (pool, all)
    }

    /// Two checkpoints, things that are open across both, and certificates of before the first one
    /// dropped.
    fn pruned() -> Pool {
        let mut pool = Pool::new();
        events(&mut pool);
        pool.hand_over();
        let founder = pool.founder.clone();
        pool.send(&founder, 3, 5);
        pool.checkpoint();
        let first = pool.ledger.base().unwrap().clone();
        let worker = SecretKey::from_seed([2; 32]);
        pool.send(&worker, 1, 7);
        pool.escrow(&founder);
        pool.checkpoint();
        assert!(!pool.ledger.prune_through(&first).is_empty());
        let open = pool.ledger.open_escrows(&founder.node_id()).next().unwrap();
        pool.settle(&founder, open, &worker, 100);
        pool.certify(&SecretKey::from_seed([3; 32]), BlockKind::Open);
        pool
    }

    #[test]
    fn both_folds_agree() {
        let (pool, certificates) = eventful();
        let twice = certificates.iter().chain(&certificates).rev().cloned();
        let sums = fold(&pool.ground(), twice).unwrap();
        pool.agrees(&sums);
        assert_eq!(sums.staked, 700);
        assert_eq!((sums.burned, sums.escrowed, sums.uncredited), (2, 1_000, 334));
        assert_eq!((sums.certificates, sums.from_epoch), (certificates.len(), 0));
        // One of the owner and one of the witness for each.
        assert_eq!(sums.signatures, 2 * certificates.len() as u64);
    }

    #[test]
    fn where_blocks_were_dropped_it_begins_at_the_newest_checkpoint() {
        let pool = pruned();
        let (ground, kept) = (pool.ground(), pool.kept());
        let epoch = pool.ledger.epoch();
        assert!(kept.len() < pool.all.len());
        let sums = fold(&ground, kept.clone()).unwrap();
        pool.agrees(&sums);
        let gone = pool.all.len() - kept.len();
        assert_eq!((sums.from_epoch, sums.dropped as usize), (epoch, gone));
        let worker = SecretKey::from_seed([2; 32]).node_id();
        assert_eq!(sums.settled.get(&worker), Some(&100), "what was dropped is not known");
        // The control: from the genesis record the same certificates come to nothing.
        let without = Ground { checkpoints: Vec::new(), ..ground.clone() };
        let refused = fold(&without, kept).unwrap_err();
        assert!(refused.contains("does not follow"), "{refused}");
        // One folder that kept everything, beside one that did not: from the beginning.
        let sums = fold(&ground, pool.all.clone()).unwrap();
        pool.agrees(&sums);
        assert_eq!((sums.from_epoch, sums.dropped), (0, 0));
        assert_eq!(sums.settled.get(&worker), Some(&434));
    }

    #[test]
    fn a_checkpoint_is_believed_by_its_votes_and_its_states_alone() {
        let pool = pruned();
        let (ground, kept) = (pool.ground(), pool.kept());
        let refused = |ground: &Ground| fold(ground, kept.clone()).unwrap_err();
        let mut few = ground.clone();
        few.checkpoints[0].0.sealed.votes.pop();
        assert!(refused(&few).contains("2 votes where 3"), "{}", refused(&few));
        let mut forged = ground.clone();
        forged.checkpoints[0].0.sealed.votes[0].1.0[0] ^= 1;
        assert!(refused(&forged).contains("forged"));
        let mut richer = ground.clone();
        let states = &mut richer.checkpoints[0].1;
        states[0].balance = states[0].balance.plus(Credits::from_micro(1)).unwrap();
        assert!(refused(&richer).contains("states are not"));
        let mut minted = ground.clone();
        minted.checkpoints[0].0.sealed.checkpoint.supply = Credits::from_micro(20_000);
        assert!(refused(&minted).contains("forged"), "the digest is what is signed");
        let mut nobody = ground.clone();
        nobody.handover = None;
        assert!(refused(&nobody).contains("unknown witness set"));
        // A certified block of before that the checkpoint knows otherwise.
        let mut other = Pool::new();
        let founder = other.founder.clone();
        let mut with = kept.clone();
        with.push(other.send(&founder, 9, 1));
        fold(&ground, with.clone()).unwrap();
        with.extend(pool.all.iter().filter(|c| c.block.body.seq > 1).cloned());
        let wrong = fold(&ground, with).unwrap_err();
        assert!(wrong.contains("names another one"), "{wrong}");
        // Later blocks are missing.
        let mut gap = kept.clone();
        let last = pool.all.iter().rposition(|c| c.block.signer == founder.node_id()).unwrap();
        gap.retain(|c| c.id() != pool.all[last].id());
        fold(&ground, gap).unwrap();
    }

    #[test]
    fn every_broken_rule_is_named() {
        let (pool, certificates) = eventful();
        let ground = pool.ground();
        let refused = |certificates: Vec<Certificate>| fold(&ground, certificates).unwrap_err();
        for missing in 0..certificates.len() - 1 {
            let mut some = certificates.clone();
            some.remove(missing);
            // Without the worker's own block the payment is uncredited, which is no error.
            if missing != 1 {
                refused(some);
            }
        }
        let mut forged = certificates.clone();
        forged[0].votes[0].1.0[0] ^= 1;
        assert!(refused(forged).contains("forged"));
        let mut changed = certificates.clone();
        changed[0].block.body.balance_after = Credits::from_micro(10_000);
        assert!(refused(changed).contains("signature"));
        let mut unvoted = certificates.clone();
        unvoted[2].votes.clear();
        assert!(refused(unvoted).contains("0 votes where 1"));
        let mut other = Pool::new();
        let founder = other.founder.clone();
        let mut twice = certificates;
        twice.push(other.send(&founder, 3, 1));
        assert!(refused(twice).contains("two blocks at 1"));
    }
}
