//! A second fold of the ledger, written apart from `edge-ledger`'s: it shares the types of what is
//! signed and none of the rules. It takes the union of every node's certificates, checks every
//! signature and every chain, and adds up.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, EscrowId, NodeId, Signed, Verifier};
use edge_ledger::{Block, BlockKind, Certificate, Genesis, Handover, VoteBody};

/// What the certificates add up to, in millionths of a rUv.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sums {
    /// Spendable, all accounts.
    pub(crate) balances: u128,
    /// Held by escrows that have not ended.
    pub(crate) escrowed: u128,
    /// Paid and not credited yet.
    pub(crate) uncredited: u128,
    /// Burned as fees.
    pub(crate) burned: u128,
    /// Staked and not released.
    pub(crate) staked: u128,
    /// The same by account.
    pub(crate) stakes: BTreeMap<NodeId, u128>,
    /// What there was in the beginning.
    pub(crate) grant: u128,
    /// Certificates.
    pub(crate) certificates: usize,
    /// Signatures verified.
    pub(crate) signatures: u64,
    /// What settlements paid, by worker.
    pub(crate) settled: BTreeMap<NodeId, u128>,
}

impl Sums {
    /// Whether nothing was made and nothing lost.
    pub(crate) fn conserved(&self) -> bool {
        self.balances + self.escrowed + self.uncredited + self.burned + self.staked == self.grant
    }
}

/// The witness sets there have been: members and quorum by version.
type Sets = BTreeMap<u64, (BTreeSet<NodeId>, usize)>;

/// Adds up certificates.
///
/// # Errors
/// The first rule that is broken, in words.
pub(crate) fn fold(
    genesis: &Genesis,
    handover: Option<&Signed<Handover>>,
    certificates: impl IntoIterator<Item = Certificate>,
) -> Result<Sums, String> {
    let pool = genesis.hash();
    let mut verifier = Verifier::strict();
    let mut sets = Sets::from([(1, (BTreeSet::from([genesis.founder]), 1))]);
    if let Some(handover) = handover {
        if handover.signer != genesis.founder {
            return Err("the handover is not the founder's".into());
        }
        handover.open(&mut verifier, &pool).map_err(|e| format!("the handover: {e}"))?;
        let to = &handover.body.to;
        let members: BTreeSet<NodeId> = to.members.iter().copied().collect();
        // n = 3f + 1 witnesses, 2f + 1 votes.
        let quorum = members.len() - (members.len() - 1) / 3;
        sets.insert(to.version, (members, quorum));
    }
    let mut chains: BTreeMap<NodeId, BTreeMap<u64, (Digest, Block)>> = BTreeMap::new();
    let mut sums = Sums { grant: u128::from(genesis.grant.micro()), ..Sums::default() };
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
    add_up(genesis.founder, &pool, &chains, &mut sums)?;
    sums.signatures = verifier.stats().computed;
    Ok(sums)
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

fn add_up(
    founder: NodeId,
    pool: &Digest,
    chains: &BTreeMap<NodeId, BTreeMap<u64, (Digest, Block)>>,
    sums: &mut Sums,
) -> Result<(), String> {
    let mut payments: BTreeMap<(Digest, NodeId), u128> = BTreeMap::new();
    let mut escrows: BTreeMap<EscrowId, (NodeId, u128)> = BTreeMap::new();
    for (id, block) in chains.values().flat_map(BTreeMap::values) {
        match &block.kind {
            BlockKind::Send { to, amount, .. } => {
                payments.insert((*id, *to), u128::from(amount.micro()));
            }
            BlockKind::Settle { payments: workers, .. } => {
                for payment in workers {
                    let amount = u128::from(payment.amount.micro());
                    *sums.settled.entry(payment.worker).or_default() += amount;
                    if payments.insert((*id, payment.worker), amount).is_some() {
                        return Err("a settlement names a worker twice".into());
                    }
                }
            }
            BlockKind::Escrow { budget, .. } => {
                let terms = (block.account, u128::from(budget.micro()));
                escrows.insert(EscrowId(*id), terms);
            }
            BlockKind::Open
            | BlockKind::Refund { .. }
            | BlockKind::Stake { .. }
            | BlockKind::Unstake { .. }
            | BlockKind::Release { .. } => {}
        }
    }
    for (account, chain) in chains {
        let mut balance = if *account == founder { sums.grant } else { 0 };
        let mut prev = *pool;
        let mut stake = Stake::default();
        for (expected, (seq, (id, block))) in (1u64..).zip(chain) {
            let wrong = |why: String| format!("block {seq} of {}: {why}", account.short());
            if *seq != expected || block.prev != prev {
                return Err(wrong("does not follow the block before".into()));
            }
            prev = *id;
            for credit in &block.credits {
                let amount = payments.remove(&(*credit, *account));
                balance += amount.ok_or_else(|| wrong("credits what nobody paid".into()))?;
            }
            let (spent, returned) =
                effect(id, block, &mut escrows, &mut stake, sums).map_err(&wrong)?;
            balance += returned;
            balance = balance.checked_sub(spent).ok_or_else(|| wrong("spends too much".into()))?;
            if balance != u128::from(block.balance_after.micro()) {
                return Err(wrong("states another balance".into()));
            }
        }
        sums.balances += balance;
        let at_stake = stake.bonded + stake.leaving.values().sum::<u128>();
        sums.staked += at_stake;
        if at_stake > 0 {
            sums.stakes.insert(*account, at_stake);
        }
    }
    if !chains.contains_key(&founder) {
        sums.balances += sums.grant;
    }
    sums.escrowed = escrows.values().map(|(_, budget)| budget).sum();
    sums.uncredited = payments.values().sum();
    Ok(())
}

/// What an account has at stake, and what is leaving, by the hash of its Unstake.
#[derive(Default)]
struct Stake {
    bonded: u128,
    leaving: BTreeMap<Digest, u128>,
}

/// What a block takes from the balance, and what it gives back.
fn effect(
    id: &Digest,
    block: &Block,
    escrows: &mut BTreeMap<EscrowId, (NodeId, u128)>,
    stake: &mut Stake,
    sums: &mut Sums,
) -> Result<(u128, u128), String> {
    let mut ended = |escrow: &EscrowId| match escrows.remove(escrow) {
        Some((owner, budget)) if owner == block.account => Ok(budget),
        Some(_) => Err("ends somebody else's escrow".to_owned()),
        None => Err("ends an escrow that is not open".to_owned()),
    };
    match &block.kind {
        BlockKind::Open => Ok((0, 0)),
        BlockKind::Send { amount, .. } => Ok((u128::from(amount.micro()), 0)),
        BlockKind::Escrow { budget, .. } => Ok((u128::from(budget.micro()), 0)),
        BlockKind::Refund { escrow } => Ok((0, ended(escrow)?)),
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
            let budget = ended(escrow)?;
            let paid: u128 = payments.iter().map(|p| u128::from(p.amount.micro())).sum();
            // Three thousandths, rounded up.
            let due = (paid * 3).div_ceil(1_000);
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
        ClaimBook, FeeRate, Ledger, Network, Payment, PriceList, VoteCollector, VoteLog,
    };

    use super::*;

    struct Pool {
        founder: SecretKey,
        ledger: Ledger,
        votes: VoteLog,
    }

    impl Pool {
        fn new() -> Self {
            let founder = SecretKey::from_seed([1; 32]);
            let grant = Credits::from_micro(10_000);
            let genesis =
                Genesis::new(Network::Test, founder.node_id(), grant, "t", [0; 32]).unwrap();
            Pool { founder, ledger: Ledger::new(genesis).unwrap(), votes: VoteLog::new() }
        }

        fn certify(&mut self, owner: &SecretKey, kind: BlockKind) -> Certificate {
            let mut verifier = Verifier::strict();
            let block = self.ledger.next_block(owner.node_id(), kind).unwrap();
            let block = Signed::seal(block, owner, &self.ledger.pool());
            let claims = ClaimBook::new();
            let voted = self
                .votes
                .vote(&self.ledger, &claims, &block, &self.founder, &mut verifier)
                .unwrap();
            let mut collector =
                VoteCollector::new(block, self.ledger.witness_set(), self.ledger.pool());
            let certificate = collector.add(&voted.vote, &mut verifier).unwrap().unwrap();
            self.ledger.apply(Arc::new(certificate.clone()), &mut verifier).unwrap();
            certificate
        }
    }

    /// A pool in which everything happened, and its certificates.
    fn eventful() -> (Pool, Vec<Certificate>) {
        let mut pool = Pool::new();
        let founder = pool.founder.clone();
        let worker = SecretKey::from_seed([2; 32]);
        let amount = Credits::from_micro;
        let send = |to, n| BlockKind::Send { to, amount: amount(n), memo: Digest::default() };
        let escrow = || BlockKind::Escrow {
            budget: amount(1_000),
            prices: PriceList::uniform(amount(1)),
            expires_epoch: 9,
        };
        let mut out = vec![pool.certify(&founder, send(worker.node_id(), 500))];
        out.push(pool.certify(&worker, BlockKind::Open));
        let opened = pool.certify(&founder, escrow());
        let payment = Payment { worker: worker.node_id(), amount: amount(334), tasks: 2 };
        let settle =
            BlockKind::settle(EscrowId(opened.id()), vec![payment], FeeRate::DEFAULT).unwrap();
        out.push(opened);
        out.push(pool.certify(&founder, settle));
        let opened = pool.certify(&founder, escrow());
        let refund = BlockKind::Refund { escrow: EscrowId(opened.id()) };
        out.push(opened);
        out.push(pool.certify(&founder, refund));
        out.push(pool.certify(&founder, BlockKind::Stake { amount: amount(900) }));
        for part in [200, 300] {
            out.push(pool.certify(&founder, BlockKind::Unstake { amount: amount(part) }));
        }
        let unstake = out[out.len() - 2].id();
        out.push(pool.certify(&founder, BlockKind::Release { unstake }));
        out.push(pool.certify(&founder, escrow()));
        (pool, out)
    }

    #[test]
    fn both_folds_agree() {
        let (pool, certificates) = eventful();
        let twice = certificates.iter().chain(&certificates).rev().cloned();
        let sums = fold(pool.ledger.genesis(), None, twice).unwrap();
        let totals = pool.ledger.totals();
        assert!(sums.conserved() && totals.conserved());
        assert_eq!(sums.balances, u128::from(totals.balances.micro()));
        assert_eq!(sums.escrowed, u128::from(totals.escrowed.micro()));
        assert_eq!(sums.uncredited, u128::from(totals.uncredited.micro()));
        assert_eq!(sums.burned, u128::from(totals.burned.micro()));
        assert_eq!(sums.staked, u128::from(totals.staked.micro()));
        assert_eq!(sums.staked, 700);
        assert_eq!((sums.burned, sums.escrowed, sums.uncredited), (2, 1_000, 334));
        assert_eq!(sums.certificates, certificates.len());
        // One of the owner and one of the witness for each.
        assert_eq!(sums.signatures, 2 * certificates.len() as u64);
    }

    #[test]
    fn every_broken_rule_is_named() {
        let (pool, certificates) = eventful();
        let genesis = pool.ledger.genesis();
        let refused =
            |certificates: Vec<Certificate>| fold(genesis, None, certificates).unwrap_err();
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
        let kind = BlockKind::Send {
            to: SecretKey::from_seed([3; 32]).node_id(),
            amount: Credits::from_micro(1),
            memo: Digest::default(),
        };
        let mut twice = certificates;
        twice.push(other.certify(&founder, kind));
        assert!(refused(twice).contains("two blocks at 1"));
    }
}
