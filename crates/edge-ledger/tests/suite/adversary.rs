//! One adversary against every law at once: owners that sign rival blocks, blocks that lie about one
//! thing, witnesses that vote for anything or withhold their votes, messages that are lost, doubled,
//! overtaken, replayed and damaged, nodes that crash between a change and its sync. After every
//! stretch the certificates there are go before an audit of their own (`audit`).
//!
//! Each law has a mutant, a pool that breaks one rule, for which the same schedules must break it.

mod audit;
mod economy;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Credits, Digest, EscrowId, NodeId, Rng, Signature};
use edge_ledger::{
    Applied, Block, BlockKind, Certificate, ClaimBook, EquivocationProof, Ledger, LedgerError,
    Record, Refusal, SignedBlock, Vote, VoteCollector, VoteLog, block_hash,
};

use crate::world::*;
use audit::{Broken, audit};

const OWNERS: u64 = 8;
/// The owners before this one keep the rules.
const HONEST: u64 = 3;
/// This owner signs blocks that lie, beside one at a time that does not.
const LIAR: u64 = 3;
/// The owners from this one on sign rival blocks.
const RIVALS_FROM: u64 = 4;
/// Messages under way; beyond, some are lost.
const NETWORK_MAX: usize = 300;
const STEPS: u64 = 5_000;
/// Steps between two audits.
const STRETCH: u64 = 100;

/// A rule that is broken in the pool of a control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    None,
    /// Witnesses vote whatever the arithmetic of the balance says.
    AnyBalance,
    /// Witnesses vote for credits that were taken already.
    AnyCredit,
    /// Witnesses vote for the end of what has ended.
    AnyEnd,
    /// A witness that restarts knows nothing of its votes.
    ForgetfulWitness,
    /// A vote leaves before its record is durable, long before.
    EarlyVote,
    /// An owner's block leaves before it is durable.
    EarlyBlock,
    /// More witnesses are arbitrary than the set tolerates.
    BeyondF,
    /// A merge drops what it cannot take yet.
    HastyMerge,
}

impl Mutant {
    fn overlooks(self, error: &LedgerError) -> bool {
        match error {
            LedgerError::Insufficient { .. } | LedgerError::BalanceAfter { .. } => {
                self == Mutant::AnyBalance
            }
            LedgerError::CreditedAlready { .. } => self == Mutant::AnyCredit,
            LedgerError::EscrowEnded(_) | LedgerError::WithdrawalEnded(_) => self == Mutant::AnyEnd,
            _ => false,
        }
    }
}

#[derive(Clone)]
enum Message {
    Propose { to: usize, block: SignedBlock },
    Vote(Vote),
    Certified { to: usize, certificate: Arc<Certificate> },
    Proof { to: usize, proof: Arc<EquivocationProof> },
}

/// A process with a ledger; `durable` is what a restart finds.
struct Node {
    ledger: Ledger,
    durable: Ledger,
}

struct Witness {
    arbitrary: bool,
    log: VoteLog,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    unsynced: Vec<(Record, Vote)>,
    /// What a mutant voted for although it does not hold.
    careless: BTreeMap<(NodeId, u64), Digest>,
}

/// An owner that keeps the rules.
#[derive(Default)]
struct Owner {
    durable: Option<SignedBlock>,
    unsynced: Option<SignedBlock>,
}

#[derive(Default, Debug)]
struct Counts {
    equivocations: usize,
    refused: usize,
    garbage: usize,
    crashes: usize,
    caught: BTreeSet<NodeId>,
}

struct Schedule {
    world: World,
    mutant: Mutant,
    rng: Rng,
    witnesses: Vec<Witness>,
    owners: Vec<Owner>,
    /// Of the witnesses, then of the owners.
    nodes: Vec<Node>,
    network: Vec<Message>,
    seen: Vec<Message>,
    /// The last ones.
    rivals: Vec<SignedBlock>,
    /// The last block of the liar that holds.
    truth: Option<SignedBlock>,
    /// The lie that it tells now, and how many times more.
    lie: Option<(SignedBlock, u32)>,
    collectors: BTreeMap<Digest, VoteCollector>,
    certified: BTreeMap<Digest, Arc<Certificate>>,
    /// What honest owners let out, by place.
    released: BTreeMap<(NodeId, u64), BTreeSet<Digest>>,
    broken: BTreeSet<Broken>,
    counts: Counts,
}

impl Schedule {
    fn new(seed: u64, mutant: Mutant) -> Schedule {
        let mut rng = Rng::derive(seed, "adversary");
        let mut world = World::alone();
        for to in 1..OWNERS {
            world.act(0, send(to, 10_000_000)).unwrap();
        }
        // The liar has done everything once, so that there is something to do twice.
        let escrow = world.escrow(LIAR, 5_000);
        world.act(LIAR, BlockKind::Refund { escrow }).unwrap();
        world.act(LIAR, stake(5_000)).unwrap();
        let unstake = world.act(LIAR, unstake(400)).unwrap().id();
        world.act(LIAR, BlockKind::Release { unstake }).unwrap();
        let n = if rng.chance(1, 3) { 7 } else { 4 };
        world.hand_over(n);
        let faulty = world.set().faulty_max() + usize::from(mutant == Mutant::BeyondF);
        let mut arbitrary: Vec<bool> = (0..n as usize).map(|index| index < faulty).collect();
        rng.shuffle(&mut arbitrary);
        let witnesses = arbitrary.into_iter().map(|arbitrary| Witness {
            arbitrary,
            log: VoteLog::new(),
            disk: BTreeMap::new(),
            unsynced: Vec::new(),
            careless: BTreeMap::new(),
        });
        let node = |_| Node { ledger: world.ledger.clone(), durable: world.ledger.clone() };
        let nodes = (0..n + OWNERS).map(node).collect();
        let certified = world.ledger.certificates().map(|c| (c.id(), c.clone())).collect();
        Schedule {
            mutant,
            witnesses: witnesses.collect(),
            owners: (0..HONEST).map(|_| Owner::default()).collect(),
            nodes,
            network: Vec::new(),
            seen: Vec::new(),
            rivals: Vec::new(),
            truth: None,
            lie: None,
            collectors: BTreeMap::new(),
            certified,
            released: BTreeMap::new(),
            broken: BTreeSet::new(),
            counts: Counts::default(),
            rng,
            world,
        }
    }

    /// Goes on for some steps, or until these laws are broken.
    fn run(mut self, steps: u64, laws: &BTreeSet<Broken>) -> Schedule {
        for step in 0..steps {
            self.step();
            if step % STRETCH == 0 {
                self.audit();
                if !laws.is_empty() && laws.is_subset(&self.broken) {
                    return self;
                }
            }
        }
        self.audit();
        self.check_order();
        self
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..=5 => self.honest_owner(),
            6..=7 => self.rivals(),
            8..=13 => self.lie(),
            14..=27 => {
                for node in 0..self.nodes.len() {
                    if self.rng.chance(1, 4) {
                        self.sync(node);
                    }
                }
            }
            28..=30 => self.crash(),
            31..=33 => self.catch_up(),
            34..=35 => self.garbage(),
            36..=37 => {
                let old = self.rng.pick(&self.seen).cloned();
                self.network.extend(old);
            }
            _ => self.deliver(),
        }
        while self.network.len() > NETWORK_MAX {
            let lost = self.rng.below(self.network.len() as u64) as usize;
            self.network.swap_remove(lost);
        }
    }

    fn owner_node(&self, owner: u64) -> usize {
        self.witnesses.len() + owner as usize
    }

    /// A block that an owner could sign for its next place, as some ledger knows it.
    fn some_kind(&mut self, node: usize, owner: u64) -> BlockKind {
        let rng = &mut self.rng;
        let ledger = &self.nodes[node].ledger;
        let amount = *rng.pick(&[1, 700, 40_000, 200_000, 3_000_000]).unwrap();
        let open: Vec<_> = ledger.open_escrows(&id(owner)).collect();
        let leaving: Vec<_> = ledger.withdrawals(&id(owner)).collect();
        match (rng.below(9), open.first(), leaving.first()) {
            (0, ..) => BlockKind::Open,
            (0..=2, Some(open), _) => BlockKind::Refund { escrow: *open },
            (3..=4, Some(open), _) => {
                let worker = (owner + 1 + rng.below(OWNERS - 1)) % OWNERS;
                settle(*open, vec![pay(worker, 1 + rng.below(600))])
            }
            (1..=2, None, _) => escrow(amount),
            (5..=6, _, Some((unstake, _))) => BlockKind::Release { unstake: *unstake },
            (5, ..) => stake(1_000 + amount / 2),
            (6, ..) => unstake(1 + rng.below(900)),
            _ => send((owner + 1 + rng.below(OWNERS - 1)) % OWNERS, amount),
        }
    }

    /// Signs one block after another, never a second before the first one is certified.
    fn honest_owner(&mut self) {
        let owner = self.rng.below(HONEST);
        let node = self.owner_node(owner);
        let state = &self.owners[owner as usize];
        if let Some(block) = &state.durable
            && !self.nodes[node].ledger.is_certified(block)
        {
            let again = block.clone();
            if self.rng.chance(1, 4) {
                self.propose(&again);
            }
            return;
        }
        if state.unsynced.is_some() {
            return;
        }
        let kind = self.some_kind(node, owner);
        let Ok(block) = self.nodes[node].ledger.next_block(id(owner), kind) else { return };
        let block = self.world.seal(block, owner);
        self.owners[owner as usize].unsynced = Some(block.clone());
        if self.mutant == Mutant::EarlyBlock {
            self.release(block);
        }
    }

    /// An honest owner's block leaves.
    fn release(&mut self, block: SignedBlock) {
        let place = (block.body.account, block.body.seq);
        let there = self.released.entry(place).or_default();
        there.insert(block_hash(&block));
        if there.len() > 1 {
            self.broken.insert(Broken::HonestEquivocation);
        }
        self.propose(&block);
    }

    /// To every witness whose vote is not in yet.
    fn propose(&mut self, block: &SignedBlock) {
        let collector = self.collector(block);
        let missing: Vec<NodeId> = collector.missing().collect();
        for to in 0..self.witnesses.len() {
            if missing.contains(&self.world.witnesses[to].node_id()) {
                self.network.push(Message::Propose { to, block: block.clone() });
            }
        }
    }

    fn collector(&mut self, block: &SignedBlock) -> &mut VoteCollector {
        let (set, pool) = (self.world.set(), self.world.pool());
        let new = || VoteCollector::new(block.clone(), set, pool);
        self.collectors.entry(block_hash(block)).or_insert_with(new)
    }

    fn some_node(&mut self) -> usize {
        self.rng.below(self.nodes.len() as u64) as usize
    }

    /// Two or three blocks for one place, one shown to each witness, and the others later.
    fn rivals(&mut self) {
        let to = self.rng.below(self.witnesses.len() as u64) as usize;
        if let Some(block) = self.rng.pick(&self.rivals).cloned()
            && self.rng.chance(2, 3)
        {
            return self.network.push(Message::Propose { to, block });
        }
        let owner = RIVALS_FROM + self.rng.below(OWNERS - RIVALS_FROM);
        let (node, mut rivals) = (self.some_node(), Vec::new());
        for _ in 0..2 + self.rng.below(2) {
            let kind = self.some_kind(node, owner);
            let Ok(block) = self.nodes[node].ledger.next_block(id(owner), kind) else { return };
            let block = self.world.seal(block, owner);
            self.collector(&block);
            rivals.push(block);
        }
        for to in 0..self.witnesses.len() {
            let shown = self.rng.pick(&rivals).cloned();
            self.network.extend(shown.map(|block| Message::Propose { to, block }));
        }
        self.counts.equivocations += 1;
        self.rivals = rivals;
    }

    /// A block that lies about one thing and is consistent in everything else.
    fn lie(&mut self) {
        let (owner, node) = (LIAR, self.owner_node(LIAR));
        if let Some((block, times)) = self.lie.take() {
            self.lie = (times > 0).then(|| (block.clone(), times - 1));
            return self.propose(&block);
        }
        if self.rng.chance(3, 4) {
            return self.tell_the_truth(node);
        }
        for _ in 0..8 {
            if let Some(block) = self.some_lie(node, owner) {
                let block = self.world.seal(block, owner);
                self.lie = Some((block.clone(), 6));
                return self.propose(&block);
            }
        }
    }

    fn some_lie(&mut self, node: usize, owner: u64) -> Option<Block> {
        let ledger = &self.nodes[node].ledger;
        let view = ledger.account(&id(owner));
        let mut block = ledger.next_block(id(owner), send(0, 1)).ok()?;
        let gains = |block: &mut Block, amount: u64| {
            let after = block.balance_after.micro().checked_add(amount);
            block.balance_after = micro(after.unwrap_or(u64::MAX));
        };
        let own: Vec<_> = ledger.history(&id(owner)).map(|c| c.body().clone()).collect();
        match self.rng.below(5) {
            // More than there is: the rest would be negative, or wraps around to a fortune.
            0 => {
                let edges = [view.balance.micro() + 10_000_000, 1 << 63, u64::MAX];
                let amount = *self.rng.pick(&edges).unwrap();
                let after = view.balance.micro().wrapping_sub(amount);
                block.balance_after = if self.rng.chance(1, 2) { micro(after) } else { micro(0) };
                (block.kind, block.debit) = (send(0, amount), micro(amount));
            }
            1 => gains(&mut block, 1 + self.rng.below(1_000_000)),
            // A payment that was taken already.
            2 => {
                let taken: Vec<Digest> = own.iter().flat_map(|b| b.credits.clone()).collect();
                let taken = self.rng.pick(&taken)?;
                let paid = self.certified.get(taken).and_then(|c| c.body().kind.pays(&id(owner)));
                let paid = paid.filter(|_| !block.credits.contains(taken))?;
                block.credits.push(*taken);
                block.credits.sort_unstable();
                gains(&mut block, paid.micro());
            }
            // An escrow that has ended.
            3 => {
                let ended: Vec<EscrowId> = own.iter().filter_map(|b| b.kind.ends()).collect();
                let escrow = self.rng.pick(&ended).copied()?;
                let budget = ledger.escrow(&escrow)?.budget;
                (block.kind, block.debit) = (BlockKind::Refund { escrow }, Credits::ZERO);
                gains(&mut block, 1 + budget.micro());
            }
            // A withdrawal that has ended.
            _ => {
                let of = |block: &Block| match block.kind {
                    BlockKind::Release { unstake } => Some(unstake),
                    _ => None,
                };
                let ended: Vec<Digest> = own.iter().filter_map(of).collect();
                let unstake = self.rng.pick(&ended).copied()?;
                let amount = self.certified.get(&unstake).map(|c| c.body().kind.clone());
                let Some(BlockKind::Unstake { amount }) = amount else { return None };
                (block.kind, block.debit) = (BlockKind::Release { unstake }, Credits::ZERO);
                gains(&mut block, 1 + amount.micro());
            }
        }
        Some(block)
    }

    /// What the liar lies about has to be there first: blocks that hold, one after another.
    fn tell_the_truth(&mut self, node: usize) {
        if let Some(block) = self.truth.clone()
            && !self.certified.contains_key(&block_hash(&block))
        {
            if self.rng.chance(1, 4) {
                self.propose(&block);
            }
            return;
        }
        if self.nodes[node].ledger.account(&id(LIAR)).seq
            < self.truth.as_ref().map_or(0, |b| b.body.seq)
        {
            return;
        }
        let kind = self.some_kind(node, LIAR);
        let Ok(block) = self.nodes[node].ledger.next_block(id(LIAR), kind) else { return };
        let block = self.world.seal(block, LIAR);
        self.truth = Some(block.clone());
        self.propose(&block);
    }

    /// A group commit: what is durable now may leave.
    fn sync(&mut self, node: usize) {
        self.nodes[node].durable = self.nodes[node].ledger.clone();
        let late = self.mutant == Mutant::EarlyVote && self.rng.chance(15, 16);
        if let Some(witness) = self.witnesses.get_mut(node) {
            if late {
                return;
            }
            for (record, vote) in witness.unsynced.drain(..) {
                witness.disk.insert(record.key, record.value);
                self.network.push(Message::Vote(vote));
            }
        } else if let Some(owner) = self.owners.get_mut(node - self.witnesses.len())
            && let Some(block) = owner.unsynced.take()
        {
            owner.durable = Some(block.clone());
            self.release(block);
        }
    }

    fn crash(&mut self) {
        self.counts.crashes += 1;
        let index = self.some_node();
        let node = &mut self.nodes[index];
        node.ledger = node.durable.clone();
        if let Some(witness) = self.witnesses.get_mut(index) {
            witness.unsynced.clear();
            if self.mutant == Mutant::ForgetfulWitness {
                witness.disk.clear();
            }
            witness.log = VoteLog::restore(&witness.disk).unwrap();
        } else if let Some(owner) = self.owners.get_mut(index - self.witnesses.len()) {
            owner.unsynced = None;
        }
    }

    /// One node asks another for what follows its own heads.
    fn catch_up(&mut self) {
        let [to, from] = [self.some_node(), self.some_node()];
        let mut news = Vec::new();
        for account in (0..OWNERS).map(id) {
            let have = self.nodes[to].ledger.account(&account).seq;
            let chain = self.nodes[from].ledger.certificates_after(&account, have, 5);
            news.extend(chain.cloned());
        }
        self.rng.shuffle(&mut news);
        let merged = self.nodes[to].ledger.merge(news, &mut self.world.verifier);
        if !merged.refused.is_empty() {
            self.broken.insert(Broken::Refused);
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let next = self.rng.below(self.network.len() as u64) as usize;
        let message = self.network.swap_remove(next);
        if self.rng.chance(1, 20) {
            return;
        }
        if self.rng.chance(1, 20) {
            self.network.push(message.clone());
        }
        if self.seen.len() < 500 {
            self.seen.push(message.clone());
        } else {
            let old = self.rng.below(500) as usize;
            self.seen[old] = message.clone();
        }
        match message {
            Message::Propose { to, block } => self.ask(to, block),
            Message::Vote(vote) => self.collect(&vote),
            Message::Certified { to, certificate } => {
                match self.nodes[to].ledger.apply(certificate, &mut self.world.verifier) {
                    Ok(_) => assert!(self.nodes[to].ledger.totals().conserved()),
                    Err(error) if error.is_retryable() => {}
                    Err(_) => drop(self.broken.insert(Broken::Refused)),
                }
            }
            Message::Proof { to, proof } => {
                let ledger = &mut self.nodes[to].ledger;
                ledger.apply_equivocation((*proof).clone(), &mut self.world.verifier).unwrap();
                self.counts.caught.insert(proof.account());
            }
        }
    }

    fn ask(&mut self, to: usize, block: SignedBlock) {
        if self.witnesses[to].arbitrary {
            // It votes for anything, or withholds.
            if self.rng.chance(3, 4) {
                let vote = self.world.vote_of(to, &block);
                self.network.push(Message::Vote(vote));
            }
            return;
        }
        let (witness, key) = (&mut self.witnesses[to], &self.world.witnesses[to]);
        let (ledger, claims) = (&self.nodes[to].ledger, ClaimBook::new());
        match witness.log.vote(ledger, &claims, &block, key, &mut self.world.verifier) {
            Ok(voted) if self.mutant == Mutant::EarlyVote => {
                self.network.push(Message::Vote(voted.vote.clone()));
                witness.unsynced.push((voted.record, voted.vote));
            }
            Ok(voted) => witness.unsynced.push((voted.record, voted.vote)),
            Err(Refusal::OtherBlock(proof)) => {
                let proof: Arc<EquivocationProof> = proof.into();
                let (ledger, verifier) = (&mut self.nodes[to].ledger, &mut self.world.verifier);
                if ledger.apply_equivocation((*proof).clone(), verifier) == Ok(Applied::New) {
                    for to in 0..self.nodes.len() {
                        let proof = proof.clone();
                        self.network.push(Message::Proof { to, proof });
                    }
                }
            }
            Err(Refusal::Block(error)) if self.mutant.overlooks(&error) => {
                let place = (block.body.account, block.body.seq);
                let hash = block_hash(&block);
                if *witness.careless.entry(place).or_insert(hash) == hash {
                    let vote = self.world.vote_of(to, &block);
                    self.network.push(Message::Vote(vote));
                }
            }
            Err(Refusal::Block(_) | Refusal::Past { .. }) => self.counts.refused += 1,
            Err(other) => panic!("{other}"),
        }
    }

    fn collect(&mut self, vote: &Vote) {
        let Some(collector) = self.collectors.get_mut(&vote.body.block) else { return };
        let Ok(Some(made)) = collector.add(vote, &mut self.world.verifier) else { return };
        let certificate = Arc::new(made);
        self.certified.insert(certificate.id(), certificate.clone());
        for to in 0..self.nodes.len() {
            // Owners hear of others' blocks late, when they ask.
            let owns = to >= self.witnesses.len()
                && certificate.body().account == id((to - self.witnesses.len()) as u64);
            if to < self.witnesses.len() || owns || self.rng.chance(1, 3) {
                let certificate = certificate.clone();
                self.network.push(Message::Certified { to, certificate });
            }
        }
    }

    /// Something that does not hold reaches a node and changes nothing.
    fn garbage(&mut self) {
        let to = self.some_node();
        let before = self.nodes[to].ledger.clone();
        let all: Vec<_> = self.certified.values().cloned().collect();
        let real = self.rng.pick(&all).unwrap().clone();
        let (mut forged, rng) = ((*real).clone(), &mut self.rng);
        match rng.below(7) {
            0 => forged.votes.truncate(self.world.set().quorum() - 1),
            1 => forged.votes.push(forged.votes[0]),
            2 => forged.set_version = *rng.pick(&[0, 1, 2, 3, u64::MAX]).unwrap(),
            3 => {
                forged.block.body.balance_after = micro(*rng.pick(&[0, 1 << 63, u64::MAX]).unwrap())
            }
            4 => forged.block.body.seq = *rng.pick(&[0, 1, 1 << 63, u64::MAX]).unwrap(),
            5 => forged.block.body.epoch = *rng.pick(&[0, 1, 2, u64::MAX]).unwrap(),
            _ => forged.votes.iter_mut().for_each(|vote| vote.1 = Signature(rng.bytes())),
        }
        if forged != *real {
            let ledger = &mut self.nodes[to].ledger;
            let known = ledger.certificate(&forged.id()).is_some();
            match ledger.apply(Arc::new(forged), &mut self.world.verifier) {
                Ok(applied) => assert!(known && applied == Applied::Known),
                Err(_) => self.counts.garbage += 1,
            }
        }
        // A "proof" against an honest owner, made of its block and a rival it did not sign.
        let honest = |c: &&Arc<Certificate>| (0..HONEST).any(|owner| c.body().account == id(owner));
        if let Some(real) = all.iter().rfind(honest) {
            let mut rival = real.body().clone();
            rival.balance_after = micro(7);
            let mut rival = self.world.seal(rival, LIAR);
            rival.signer = real.body().account;
            let framed = EquivocationProof::new(real.block.clone(), rival);
            let ledger = &mut self.nodes[to].ledger;
            let refused = ledger.apply_equivocation(framed, &mut self.world.verifier);
            // Of an account that is frozen already nothing is looked at.
            assert!(refused.is_err() || refused == Ok(Applied::Known));
        }
        assert_same(&before, &self.nodes[to].ledger);
    }

    fn audit(&mut self) {
        let found = audit(self.world.ledger.genesis(), self.certified.values());
        self.broken.extend(found);
        if self.mutant != Mutant::None {
            return;
        }
        for node in &self.nodes {
            let ledger = &node.ledger;
            check_totals(ledger);
            let found = audit(ledger.genesis(), ledger.certificates());
            assert_eq!(found, BTreeSet::new(), "a ledger took what does not hold");
            if (0..HONEST).any(|owner| ledger.account(&id(owner)).frozen) {
                self.broken.insert(Broken::HonestEquivocation);
            }
        }
    }

    /// The union of parts of the certificates: commutative, associative, idempotent.
    fn check_order(&mut self) {
        let mut all: Vec<_> = self.certified.values().cloned().collect();
        let mut states = BTreeSet::new();
        for _ in 0..3 {
            self.rng.shuffle(&mut all);
            let cut = self.rng.below(all.len() as u64) as usize;
            let (one, other) = all.split_at(cut);
            let parts = [one, other, &one[one.len() / 2..]];
            states.insert(self.union(&parts));
            states.insert(self.union(&[other, one]));
            states.insert(self.union(&[&all, &all]));
        }
        if states.len() > 1 {
            self.broken.insert(Broken::Order);
        }
    }

    fn union(&mut self, parts: &[&[Arc<Certificate>]]) -> (Digest, Vec<(NodeId, u64)>) {
        let mut ledger = Ledger::new(self.world.ledger.genesis().clone()).unwrap();
        let handover = self.world.ledger.handover().unwrap().clone();
        ledger.apply_handover(handover, &mut self.world.verifier).unwrap();
        let mut waiting = Vec::new();
        for part in parts {
            if self.mutant == Mutant::HastyMerge {
                for certificate in *part {
                    let _ = ledger.apply(certificate.clone(), &mut self.world.verifier);
                }
                continue;
            }
            let part = waiting.drain(..).chain(part.iter().cloned()).collect::<Vec<_>>();
            waiting = ledger.merge(part, &mut self.world.verifier).waiting;
        }
        (ledger.frontier_digest(), ledger.frontier())
    }
}

/// 2 * 10^4 steps in CI, 10^6 in nightly, where the scale is 20.
fn seeds() -> u64 {
    match scale() {
        1 => 4,
        scale => 10 * scale,
    }
}

#[test]
fn no_schedule_breaks_a_law() {
    let (mut kinds, mut caught) = ([0usize; 8], 0);
    let begins = Schedule::new(0, Mutant::None).certified.len();
    let mut sum = Counts::default();
    for seed in 0..seeds() {
        let done = Schedule::new(seed, Mutant::None).run(STEPS, &BTreeSet::new());
        assert_eq!(done.broken, BTreeSet::new(), "seed {seed}");
        assert!(done.certified.len() > begins + 10, "seed {seed}: hardly anything happens");
        for certificate in done.certified.values() {
            kinds[match certificate.body().kind {
                BlockKind::Open => 0,
                BlockKind::Send { .. } => 1,
                BlockKind::Escrow { .. } => 2,
                BlockKind::Settle { .. } => 3,
                BlockKind::Refund { .. } => 4,
                BlockKind::Stake { .. } => 5,
                BlockKind::Unstake { .. } => 6,
                BlockKind::Release { .. } => 7,
                // Its own suite has these.
                BlockKind::Rotate { .. } => continue,
            }] += 1;
        }
        caught += done.counts.caught.len();
        sum.equivocations += done.counts.equivocations;
        sum.refused += done.counts.refused;
        sum.garbage += done.counts.garbage;
        sum.crashes += done.counts.crashes;
    }
    println!("certificates by kind {kinds:?}, owners caught {caught}, {sum:?}");
    assert!(kinds.iter().all(|count| *count > 0), "a kind never happened: {kinds:?}");
    assert!(caught > 0 && sum.refused > 100 && sum.garbage > 100 && sum.crashes > 100, "{sum:?}");
}

/// The controls: the same schedules over a pool that breaks a rule break a law.
#[test]
fn every_law_falls_with_its_rule() {
    for (mutant, laws) in [
        (Mutant::AnyBalance, &[Broken::Conservation, Broken::NegativeBalance, Broken::Refused][..]),
        (Mutant::AnyCredit, &[Broken::CreditedTwice, Broken::Conservation]),
        (Mutant::AnyEnd, &[Broken::EscrowEndedTwice, Broken::WithdrawalEndedTwice]),
        (Mutant::ForgetfulWitness, &[Broken::TwoCertificates]),
        (Mutant::EarlyVote, &[Broken::TwoCertificates]),
        (Mutant::EarlyBlock, &[Broken::HonestEquivocation]),
        (Mutant::BeyondF, &[Broken::TwoCertificates]),
        (Mutant::HastyMerge, &[Broken::Order]),
    ] {
        let mut missing: BTreeSet<Broken> = laws.iter().copied().collect();
        let mut seed = 0;
        while !missing.is_empty() {
            assert!(seed < 60, "{mutant:?} breaks no {missing:?} in {seed} schedules");
            let done = Schedule::new(seed, mutant).run(STEPS / 3, &missing);
            missing.retain(|law| !done.broken.contains(law));
            seed += 1;
        }
        println!("{mutant:?}: {laws:?} broken within {seed} schedules");
    }
}
