//! The steps of the model, each carried out by the ledger's own code: a witness votes from its
//! durable records, votes become a certificate, a ledger takes it, a proof freezes an account.
//!
//! A step is a function of small values, so its result is remembered: the checker visits millions of
//! states and only some thousands of steps are different. Signatures are real.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, RwLock},
};

use edge_base::{Credits, Digest, NodeId, SecretKey, Signed, Verifier};
use edge_ledger::{
    Applied, Block, BlockKind, Certificate, ClaimBook, EquivocationProof, Genesis, Ledger,
    LedgerError, Network, Record, Refusal, SignedBlock, Vote, VoteBody, VoteCollector, VoteLog,
    block_hash,
};

/// A block by its number; at most [`BLOCKS_MAX`] different ones are ever signed.
pub(crate) type BlockId = u8;
/// A ledger by its number.
pub(crate) type LedgerId = u16;
/// A set of blocks, or of witnesses: bit i is number i.
pub(crate) type Mask = u32;

/// No block.
pub(crate) const NONE: BlockId = u8::MAX;
/// Bits of a [`Mask`].
const BLOCKS_MAX: usize = 32;
/// The witnesses, arbitrary ones included.
pub(crate) const WITNESSES: usize = 4;
/// The account whose owner signs whatever it likes. It founded the pool.
pub(crate) const EQUIVOCATOR: usize = 0;
/// The account whose owner keeps the rules.
pub(crate) const HONEST: usize = 1;
/// Blocks that an owner of the model signs one after another.
pub(crate) const SEQS: usize = 2;

/// A rule of the product that a control switches off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// None: the product as it is.
    None,
    /// A witness that restarts knows nothing of its votes.
    ForgetfulLog,
    /// Two blocks at one place freeze the account, whoever signed them.
    BelievesProofs,
    /// Two votes are a quorum of four.
    QuorumOfTwo,
}

/// What a ledger answers, computed once for each ledger there is.
#[derive(Clone, Copy)]
pub(crate) struct View {
    /// The blocks that it holds certificates of.
    pub(crate) certified: Mask,
    /// By account.
    pub(crate) frozen: [bool; 2],
    /// Nothing is made or lost, no balance is negative: by an own fold over the certificates.
    pub(crate) sound: bool,
    /// It saw two certificates at one place.
    pub(crate) conflict: bool,
}

#[derive(Default)]
struct Tables {
    blocks: Vec<SignedBlock>,
    places: Vec<(usize, u64)>,
    block_ids: HashMap<Digest, BlockId>,
    ledgers: Vec<(Arc<Ledger>, View)>,
    ledger_ids: HashMap<LedgerKey, LedgerId>,
    /// By witness and block: what was made durable with the vote.
    records: HashMap<(usize, BlockId), Record>,
    voted: HashMap<(usize, LedgerId, [BlockId; 2], BlockId), bool>,
    certificates: HashMap<(BlockId, Mask), Option<Arc<Certificate>>>,
    applied: HashMap<(LedgerId, BlockId), LedgerId>,
    proven: HashMap<LedgerId, LedgerId>,
    framed: HashMap<(LedgerId, BlockId), LedgerId>,
    next: HashMap<LedgerId, Option<BlockId>>,
    merged: HashMap<(LedgerId, Mask), Option<LedgerId>>,
    orderless: HashMap<Mask, bool>,
}

/// What two ledgers have to share to be one: certificates, frozen accounts, conflicts.
type LedgerKey = (Vec<Digest>, Vec<NodeId>, Vec<Digest>);

/// A pool after the founder's handover to four witnesses, and every step that was taken in it.
pub(crate) struct Pool {
    accounts: [SecretKey; 2],
    witnesses: Vec<SecretKey>,
    arbitrary: usize,
    mutant: Mutant,
    start: Ledger,
    equivocations: Mask,
    tables: RwLock<Tables>,
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn micro(amount: u64) -> Credits {
    Credits::from_micro(amount)
}

impl Pool {
    /// With so many arbitrary witnesses; they are the last ones.
    pub(crate) fn new(arbitrary: usize, mutant: Mutant) -> Pool {
        let accounts = [key(1), key(2)];
        let witnesses: Vec<SecretKey> = (10..14).map(key).collect();
        let mut pool = Pool {
            start: Pool::beginning(&accounts, &witnesses),
            accounts,
            witnesses,
            arbitrary,
            mutant,
            equivocations: 0,
            tables: RwLock::default(),
        };
        let start = pool.ledger(pool.start.clone());
        assert_eq!(start, pool.start_id());
        pool.sign_everything();
        pool
    }

    /// The founder has 100, gave 40 to the honest owner, and handed over to four witnesses.
    fn beginning(accounts: &[SecretKey; 2], witnesses: &[SecretKey]) -> Ledger {
        let [founder, honest] = accounts;
        let (id, grant) = (founder.node_id(), micro(100));
        let genesis = Genesis::new(Network::Test, id, grant, "model", [7; 32]).unwrap();
        let mut ledger = Ledger::new(genesis).unwrap();
        let (mut verifier, mut log) = (Verifier::strict(), VoteLog::new());
        let to = honest.node_id();
        let kind = BlockKind::Send { to, amount: micro(40), memo: Digest::default() };
        let block = Signed::seal(ledger.next_block(id, kind).unwrap(), founder, &ledger.pool());
        let claims = ClaimBook::new();
        let voted = log.vote(&ledger, &claims, &block, founder, &mut verifier).unwrap();
        let mut collector = VoteCollector::new(block, ledger.witness_set(), ledger.pool());
        let certificate = collector.add(&voted.vote, &mut verifier).unwrap().unwrap();
        ledger.apply(Arc::new(certificate), &mut verifier).unwrap();
        let members = witnesses.iter().map(SecretKey::node_id).collect();
        let (handover, _) = log.hand_over(&ledger, members, founder).unwrap();
        ledger.apply_handover(Arc::new(handover), &mut verifier).unwrap();
        ledger
    }

    /// Everything the equivocator ever signs: two rival blocks at its first place (20 and 50 of the
    /// 60 it has), and after each of them two more, one of which spends what the honest owner paid.
    fn sign_everything(&mut self) {
        let start = self.start.clone();
        let mut signed = Vec::new();
        for first in [20, 50] {
            let block = self.sign(&start, EQUIVOCATOR, first).expect("60 are there");
            let after = self.with(&start, &block);
            signed.push(block);
            signed.extend(self.sign(&after, EQUIVOCATOR, 60 - first));
            let paid = self.sign(&start, HONEST, 10).expect("40 are there");
            let richer = self.with(&after, &paid);
            signed.extend(self.sign(&richer, EQUIVOCATOR, 70 - first));
        }
        for block in signed {
            self.equivocations |= 1 << self.block(block);
        }
    }

    fn sign(&self, ledger: &Ledger, account: usize, amount: u64) -> Option<SignedBlock> {
        let owner = &self.accounts[account];
        let to = self.accounts[1 - account].node_id();
        let kind = BlockKind::Send { to, amount: micro(amount), memo: Digest::default() };
        let block = ledger.next_block(owner.node_id(), kind).ok()?;
        Some(Signed::seal(block, owner, &self.start.pool()))
    }

    fn with(&self, ledger: &Ledger, block: &SignedBlock) -> Ledger {
        let everybody = (1 << WITNESSES) - 1;
        let certificate = self.assemble(block, everybody).expect("everybody voted");
        let mut ledger = ledger.clone();
        ledger.apply(certificate, &mut Verifier::strict()).unwrap();
        ledger
    }

    pub(crate) fn start_id(&self) -> LedgerId {
        0
    }

    /// Witnesses that keep the rules.
    pub(crate) fn honest(&self) -> usize {
        WITNESSES - self.arbitrary
    }

    /// The arbitrary witnesses.
    pub(crate) fn arbitrary(&self) -> Mask {
        (self.honest()..WITNESSES).map(|witness| 1 << witness).sum()
    }

    pub(crate) fn mutant(&self) -> Mutant {
        self.mutant
    }

    /// Account and seq of a block, the seq counted from 0 where the model begins.
    pub(crate) fn place(&self, block: BlockId) -> (usize, u64) {
        self.tables.read().unwrap().places[usize::from(block)]
    }

    /// The equivocator's blocks.
    pub(crate) fn equivocations(&self) -> Mask {
        self.equivocations
    }

    pub(crate) fn view(&self, ledger: LedgerId) -> View {
        self.tables.read().unwrap().ledgers[usize::from(ledger)].1
    }

    fn held(&self, ledger: LedgerId) -> Arc<Ledger> {
        self.tables.read().unwrap().ledgers[usize::from(ledger)].0.clone()
    }

    fn signed(&self, block: BlockId) -> SignedBlock {
        self.tables.read().unwrap().blocks[usize::from(block)].clone()
    }

    /// The number of a block.
    fn block(&self, block: SignedBlock) -> BlockId {
        let mut tables = self.tables.write().unwrap();
        let id = block_hash(&block);
        if let Some(known) = tables.block_ids.get(&id) {
            return *known;
        }
        let number = tables.blocks.len();
        assert!(number < BLOCKS_MAX, "more blocks than a mask has bits");
        let Block { account, seq, .. } = block.body;
        let owner = self.accounts.iter().position(|key| key.node_id() == account);
        let begins = self.start.account(&account).seq + 1;
        tables.places.push((owner.expect("one of two accounts"), seq - begins));
        tables.blocks.push(block);
        tables.block_ids.insert(id, number as BlockId);
        number as BlockId
    }

    /// The number of a ledger.
    fn ledger(&self, ledger: Ledger) -> LedgerId {
        let certificates: BTreeSet<Digest> = ledger.certificates().map(|c| c.id()).collect();
        let frozen = ledger.accounts().filter(|(_, view)| view.frozen);
        let conflicts = ledger.conflicts().iter().map(|conflict| conflict.refused.id());
        let key: LedgerKey = (
            certificates.iter().copied().collect(),
            frozen.map(|(account, _)| account).collect(),
            conflicts.collect(),
        );
        let mut tables = self.tables.write().unwrap();
        if let Some(known) = tables.ledger_ids.get(&key) {
            return *known;
        }
        let bits = certificates.iter().filter_map(|id| tables.block_ids.get(id));
        let view = View {
            certified: bits.map(|block| 1 << block).sum(),
            frozen: [0, 1].map(|account| ledger.account(&self.accounts[account].node_id()).frozen),
            sound: sound(&ledger),
            conflict: !ledger.conflicts().is_empty(),
        };
        let number = LedgerId::try_from(tables.ledgers.len()).expect("some thousands of ledgers");
        tables.ledgers.push((Arc::new(ledger), view));
        tables.ledger_ids.insert(key, number);
        number
    }

    /// An honest witness is asked for a vote. Its log is restored from what is durable first, so
    /// every vote is also one after a restart. `last` has its last vote of each account.
    pub(crate) fn votes(
        &self,
        witness: usize,
        ledger: LedgerId,
        last: [BlockId; 2],
        block: BlockId,
    ) -> bool {
        let step = (witness, ledger, last, block);
        if let Some(known) = self.tables.read().unwrap().voted.get(&step) {
            return *known;
        }
        let durable: Vec<Record> = {
            let tables = self.tables.read().unwrap();
            let cast = last.iter().filter(|voted| **voted != NONE);
            cast.map(|voted| tables.records[&(witness, *voted)].clone()).collect()
        };
        let records = durable.iter().map(|record| (&record.key, &record.value));
        let mut log = VoteLog::restore(records).unwrap();
        let (held, signed, mut verifier) =
            (self.held(ledger), self.signed(block), Verifier::strict());
        let me = &self.witnesses[witness];
        let voted = match log.vote(&held, &ClaimBook::new(), &signed, me, &mut verifier) {
            Ok(voted) => {
                let mut tables = self.tables.write().unwrap();
                tables.records.insert((witness, block), voted.record);
                true
            }
            Err(Refusal::OtherBlock(proof)) => {
                proof.check(&mut verifier, &held.pool()).unwrap();
                false
            }
            Err(Refusal::Block(_) | Refusal::Past { .. }) => false,
            Err(other) => panic!("{other}"),
        };
        self.tables.write().unwrap().voted.insert(step, voted);
        voted
    }

    /// Whether these witnesses' votes make a certificate.
    pub(crate) fn certifies(&self, block: BlockId, voters: Mask) -> bool {
        self.certificate(block, voters).is_some()
    }

    fn certificate(&self, block: BlockId, voters: Mask) -> Option<Arc<Certificate>> {
        if let Some(known) = self.tables.read().unwrap().certificates.get(&(block, voters)) {
            return known.clone();
        }
        let made = self.assemble(&self.signed(block), voters);
        self.tables.write().unwrap().certificates.insert((block, voters), made.clone());
        made
    }

    fn assemble(&self, block: &SignedBlock, voters: Mask) -> Option<Arc<Certificate>> {
        let (set, pool) = (self.start.witness_set(), self.start.pool());
        let mut collector = VoteCollector::new(block.clone(), set, pool);
        let mut made = None;
        let mut votes = Vec::new();
        for witness in (0..WITNESSES).filter(|witness| voters & (1 << witness) != 0) {
            let vote = self.vote(witness, block);
            made = made.or(collector.add(&vote, &mut Verifier::strict()).unwrap());
            votes.push((vote.signer, vote.signature));
        }
        if self.mutant == Mutant::QuorumOfTwo && made.is_none() && votes.len() >= 2 {
            votes.sort_unstable_by_key(|(voter, _)| *voter);
            made = Some(Certificate { block: block.clone(), set_version: set.version, votes });
        }
        made.map(Arc::new)
    }

    fn vote(&self, witness: usize, block: &SignedBlock) -> Vote {
        let set_version = self.start.witness_set().version;
        let body = VoteBody { set_version, epoch: block.body.epoch, block: block_hash(block) };
        Signed::seal(body, &self.witnesses[witness], &self.start.pool())
    }

    /// A ledger is given the certificate of a block that these witnesses voted for.
    pub(crate) fn apply(&self, ledger: LedgerId, block: BlockId, voters: Mask) -> LedgerId {
        if let Some(known) = self.tables.read().unwrap().applied.get(&(ledger, block)) {
            return *known;
        }
        let certificate = self.certificate(block, voters).expect("it exists");
        let mut after = (*self.held(ledger)).clone();
        match after.apply(certificate, &mut Verifier::strict()) {
            Ok(_) | Err(LedgerError::ConflictingCertificate { .. }) => {}
            Err(error) => {
                let late = error.is_retryable() || self.mutant != Mutant::None;
                assert!(late || self.arbitrary > 1, "a certificate does not hold: {error}");
            }
        }
        let after = self.ledger(after);
        self.tables.write().unwrap().applied.insert((ledger, block), after);
        after
    }

    /// A ledger is given the proof of the two rival blocks.
    pub(crate) fn prove(&self, ledger: LedgerId) -> LedgerId {
        if let Some(known) = self.tables.read().unwrap().proven.get(&ledger) {
            return *known;
        }
        let rivals: Vec<SignedBlock> = {
            let tables = self.tables.read().unwrap();
            let first = tables.blocks[0].body.seq;
            let its = |block: &&SignedBlock| {
                block.body.seq == first && block.signer == self.accounts[EQUIVOCATOR].node_id()
            };
            tables.blocks.iter().filter(its).cloned().collect()
        };
        let [one, other] = &rivals[..] else { panic!("two rivals, not {}", rivals.len()) };
        let proof = EquivocationProof::new(one.clone(), other.clone());
        let mut after = (*self.held(ledger)).clone();
        let applied = after.apply_equivocation(proof, &mut Verifier::strict());
        assert_eq!(applied, Ok(Applied::New));
        let after = self.ledger(after);
        self.tables.write().unwrap().proven.insert(ledger, after);
        after
    }

    /// A ledger is given "proofs" against the honest owner: its block and a rival that somebody else
    /// signed, under its own name and under the owner's.
    pub(crate) fn frame(&self, ledger: LedgerId, block: BlockId) -> LedgerId {
        if let Some(known) = self.tables.read().unwrap().framed.get(&(ledger, block)) {
            return *known;
        }
        let real = self.signed(block);
        let mut rival = real.body.clone();
        rival.balance_after = micro(1);
        let strangers = Signed::seal(rival, &self.accounts[EQUIVOCATOR], &self.start.pool());
        let mut forged = strangers.clone();
        forged.signer = real.signer;
        let mut after = (*self.held(ledger)).clone();
        let mut verifier = match self.mutant {
            Mutant::BelievesProofs => Verifier::trusting_for_simulation(),
            Mutant::None | Mutant::ForgetfulLog | Mutant::QuorumOfTwo => Verifier::strict(),
        };
        for rival in [strangers, forged, real.clone()] {
            let proof = EquivocationProof::new(real.clone(), rival);
            // What comes of it is in the ledger: the property looks there.
            let _ = after.apply_equivocation(proof, &mut verifier);
        }
        let after = self.ledger(after);
        self.tables.write().unwrap().framed.insert((ledger, block), after);
        after
    }

    /// The honest owner signs its next block: it pays 10, and takes what it was paid as far as its
    /// ledger knows.
    pub(crate) fn next(&self, ledger: LedgerId) -> Option<BlockId> {
        if let Some(known) = self.tables.read().unwrap().next.get(&ledger) {
            return *known;
        }
        let signed = self.sign(&self.held(ledger), HONEST, 10).map(|block| self.block(block));
        self.tables.write().unwrap().next.insert(ledger, signed);
        signed
    }

    /// The union of a ledger with every certificate there is; `None` if something is left over.
    pub(crate) fn merge(&self, ledger: LedgerId, certified: Mask) -> Option<LedgerId> {
        if let Some(known) = self.tables.read().unwrap().merged.get(&(ledger, certified)) {
            return *known;
        }
        let mut after = (*self.held(ledger)).clone();
        let merged = after.merge(self.some_certificates(certified), &mut Verifier::strict());
        let whole = merged.waiting.is_empty() && merged.refused.is_empty();
        let after = whole.then(|| self.ledger(after));
        self.tables.write().unwrap().merged.insert((ledger, certified), after);
        after
    }

    /// Whether the certificates give one state in whatever order they come, with each as early as
    /// it can be taken.
    pub(crate) fn orderless(&self, certified: Mask) -> bool {
        if let Some(known) = self.tables.read().unwrap().orderless.get(&certified) {
            return *known;
        }
        let mut digests = BTreeMap::new();
        permutations(&mut self.some_certificates(certified), 0, &mut |order| {
            let mut ledger = self.start.clone();
            let merged = ledger.merge(order.iter().cloned(), &mut Verifier::strict());
            let left = merged.waiting.len() + merged.refused.len();
            digests.insert((ledger.frontier_digest(), left), ledger.totals());
        });
        let holds = digests.len() == 1 && digests.keys().all(|(_, left)| *left == 0);
        self.tables.write().unwrap().orderless.insert(certified, holds);
        holds
    }

    fn some_certificates(&self, certified: Mask) -> Vec<Arc<Certificate>> {
        let tables = self.tables.read().unwrap();
        let mut found: BTreeMap<BlockId, Arc<Certificate>> = BTreeMap::new();
        for block in bits(certified) {
            let any = (0..1 << WITNESSES)
                .filter_map(|voters| tables.certificates.get(&(block, voters)))
                .flatten();
            found.extend(any.map(|certificate| (block, certificate.clone())));
        }
        found.into_values().collect()
    }

    /// What a block does, for people.
    pub(crate) fn name(&self, block: BlockId) -> String {
        let (account, seq) = self.place(block);
        let signed = self.signed(block);
        let owner = if account == HONEST { "honest" } else { "equivocator" };
        let credits = signed.body.credits.len();
        format!("{owner}/{seq} pays {} takes {credits}", signed.body.debit.micro())
    }
}

/// The blocks of a mask.
pub(crate) fn bits(mask: Mask) -> impl Iterator<Item = BlockId> {
    (0..BLOCKS_MAX as BlockId).filter(move |bit| mask & (1 << bit) != 0)
}

fn permutations<T: Clone>(items: &mut [T], from: usize, visit: &mut impl FnMut(&[T])) {
    if from + 1 >= items.len() {
        return visit(items);
    }
    for other in from..items.len() {
        items.swap(from, other);
        permutations(items, from + 1, visit);
        items.swap(from, other);
    }
}

/// Every credit by a fold of its own, in signed numbers: what each account has after each of its
/// blocks, from what the blocks move and not from what they state.
fn sound(ledger: &Ledger) -> bool {
    let genesis = ledger.genesis();
    let grant = i128::from(genesis.grant.micro());
    let mut balance = BTreeMap::from([(genesis.founder, grant)]);
    let mut payments: BTreeMap<Digest, (NodeId, i128)> = BTreeMap::new();
    for certificate in ledger.certificates() {
        if let BlockKind::Send { to, amount, .. } = certificate.body().kind {
            payments.insert(certificate.id(), (to, amount.micro().into()));
        }
    }
    let mut untaken = payments.clone();
    for certificate in ledger.certificates() {
        let block = certificate.body();
        let has = balance.entry(block.account).or_insert(0);
        for credit in &block.credits {
            match untaken.remove(credit) {
                Some((to, amount)) if to == block.account => *has += amount,
                _ => return false,
            }
        }
        *has -= payments.get(&certificate.id()).map_or(0, |(_, amount)| *amount);
        if *has < 0 || *has != i128::from(block.balance_after.micro()) {
            return false;
        }
    }
    let sum = balance.values().sum::<i128>() + untaken.values().map(|(_, n)| n).sum::<i128>();
    sum == grant && ledger.totals().conserved()
}
