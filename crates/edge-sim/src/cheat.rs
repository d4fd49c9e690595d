//! Owners that sign two blocks for one place, and faulty witnesses that help them.
//!
//! They sit at the boundary of the peer and speak with the keys of the nodes they stand for, as
//! mutants do; what they sign is beside what their nodes' own peers do. A cheat shows one block to
//! half of the honest witnesses and the other to the rest, again and again, then each half the
//! other's, and keeps what becomes certified to itself until then.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use edge_base::{Credits, Digest, Micros, NodeId, Rng, Signed, Verifier, codec};
use edge_ledger::{
    Block, BlockKind, Certificate, ClaimBook, Genesis, Ledger, PriceList, SignedBlock, VoteBody,
    VoteCollector, WitnessSet, block_hash,
};
use edge_swarm::{
    Table, Write,
    message::{Gossip, Message, decode_message, encode_gossip, encode_message},
};

use crate::{
    mutant::{PROPOSE, VOTE},
    node::Node,
    outcome::DoubleSpent,
    queue::Instant,
    scenario::DoubleSpend,
};

/// Cheats and faulty witnesses act this often.
pub(crate) const ACT_EVERY: Micros = Micros::from_millis(250);
/// Each half of the witnesses sees one block for so long ...
const APART: u64 = 2_000_000;
/// ... then the other one, until what is certified comes out ...
const TOGETHER: u64 = 4_000_000;
/// ... and then both.
const LASTS: u64 = 6_000_000;
/// Before the stored key of a proof that froze an account.
const FROZEN: &[u8] = b"frozen";
/// A proof reaches everybody in so many rounds.
const ROUNDS_MAX: f64 = 5.0;
/// Blocks of others that a faulty witness remembers to talk nonsense about.
const SEEN_MAX: usize = 16;
/// What a cheat spends twice, in whole rUv.
const SPENT: u64 = 400;

/// One of two blocks for one place.
struct Rival {
    block: SignedBlock,
    collector: VoteCollector,
    certificate: Option<Certificate>,
}

struct Owner {
    node: u32,
    begins: Instant,
    /// Honest witnesses that see the first block first.
    first: Vec<u32>,
    rivals: Vec<Rival>,
    published: bool,
}

/// The cheats and faulty witnesses of a run.
pub(crate) struct Cheats {
    attack: DoubleSpend,
    set: WitnessSet,
    genesis: Genesis,
    pool: Digest,
    verifier: Verifier,
    rng: Rng,
    /// How long a message takes at most from one node to the next.
    round: Micros,
    owners: Vec<Owner>,
    helpers: Vec<u32>,
    honest: Vec<u32>,
    /// The control: honest witnesses forget what they voted for.
    forgetful: bool,
    seen: VecDeque<(u32, SignedBlock)>,
    /// Blocks that are wrong, by hash.
    wrong: BTreeMap<Digest, &'static str>,
    /// When each node froze each account.
    frozen: BTreeMap<NodeId, BTreeMap<u32, Instant>>,
    sends: Vec<(u32, u32, Vec<u8>)>,
    publications: Vec<(u32, Vec<u8>)>,
    shown: u64,
    nonsense: u64,
    /// Votes of honest witnesses for blocks that are wrong.
    misled: Vec<&'static str>,
}

/// Who is what among the nodes of a run.
pub(crate) struct Cast<'a> {
    pub(crate) cheats: &'a [u32],
    pub(crate) helpers: &'a [u32],
    pub(crate) witnesses: &'a [u32],
}

/// The ledger that a node's disk holds.
fn ledger_of(node: &Node, genesis: &Genesis, verifier: &mut Verifier) -> Option<Ledger> {
    let mut ledger = Ledger::new(genesis.clone()).ok()?;
    let handover = node.disk.read(Table::Pool, b"handover");
    if let Some(handover) = handover.and_then(|bytes| codec::decode(&bytes).ok()) {
        ledger.apply_handover(Arc::new(handover), verifier).ok()?;
    }
    let rows = node.disk.rows(Table::Certificates);
    let decoded = rows.into_iter().filter_map(|(_, value)| codec::decode(value).ok());
    ledger.merge(decoded.map(Arc::new), verifier);
    Some(ledger)
}

impl Cheats {
    pub(crate) fn new(
        attack: DoubleSpend,
        cast: Cast<'_>,
        set: WitnessSet,
        genesis: Genesis,
        verifier: Verifier,
        (seed, round, forgetful): (u64, Micros, bool),
    ) -> Cheats {
        let mut rng = Rng::derive(seed, "cheats");
        let helpers = cast.helpers.to_vec();
        let honest: Vec<u32> =
            cast.witnesses.iter().copied().filter(|w| !helpers.contains(w)).collect();
        let mut owner = |node: &u32| {
            let mut first = honest.clone();
            rng.shuffle(&mut first);
            let half = first.len() / 2 + rng.below(first.len() as u64 % 2 + 1) as usize;
            first.truncate(half);
            let (begins, rivals, published) = (Instant::MAX, Vec::new(), false);
            Owner { node: *node, begins, first, rivals, published }
        };
        let owners = cast.cheats.iter().map(&mut owner).collect();
        Cheats {
            attack,
            set,
            pool: genesis.hash(),
            genesis,
            verifier,
            rng,
            round,
            owners,
            helpers,
            honest,
            forgetful,
            seen: VecDeque::new(),
            wrong: BTreeMap::new(),
            frozen: BTreeMap::new(),
            sends: Vec::new(),
            publications: Vec::new(),
            shown: 0,
            nonsense: 0,
            misled: Vec::new(),
        }
    }

    /// Spreads the cheats over a time.
    pub(crate) fn begin(&mut self, start: Instant, within: Micros) {
        let parts = self.owners.len() as u64 + 1;
        for (n, owner) in self.owners.iter_mut().enumerate() {
            owner.begins = start + within.0 * (n as u64 + 1) / parts;
        }
    }

    /// What is due now.
    pub(crate) fn act(&mut self, now: Instant, nodes: &[Node]) {
        for at in 0..self.owners.len() {
            let owner = &self.owners[at];
            if now < owner.begins || now >= owner.begins + LASTS {
                continue;
            }
            if owner.rivals.is_empty() {
                self.sign(at, nodes);
            }
            self.show(at, now);
        }
        if self.attack.arbitrary {
            for helper in self.helpers.clone() {
                self.talk_nonsense(helper, nodes);
            }
        }
    }

    /// Two blocks for the next place of a cheat: two Sends, or an Escrow and a Send.
    fn sign(&mut self, at: usize, nodes: &[Node]) {
        let node = &nodes[self.owners[at].node as usize];
        let Some(ledger) = ledger_of(node, &self.genesis, &mut self.verifier) else { return };
        let spent = Credits::from_whole(SPENT).unwrap_or(Credits::ZERO);
        // Who takes a credit that others do not have certified stands still with it: beyond what
        // the set tolerates only accomplices are paid.
        let payees: Vec<NodeId> = match self.attack.beyond {
            0 => nodes.iter().map(|other| other.id).filter(|id| *id != node.id).collect(),
            _ => self.helpers.iter().map(|helper| nodes[*helper as usize].id).collect(),
        };
        let [one, .., other] = payees[..] else { return };
        let send = |to: usize| {
            let (to, memo) = ([one, other][to], Digest::default());
            BlockKind::Send { to, amount: spent, memo }
        };
        let escrow = || {
            let prices = PriceList::uniform(Credits::from_micro(1));
            BlockKind::Escrow { budget: spent, prices, expires_epoch: u64::MAX }
        };
        let first = if at.is_multiple_of(2) { send(0) } else { escrow() };
        let rivals: Vec<Rival> = [first, send(1)]
            .into_iter()
            .filter_map(|kind| ledger.next_block(node.id, kind).ok())
            .map(|body| {
                let block = Signed::seal(body, &node.key, &self.pool);
                let collector = VoteCollector::new(block.clone(), &self.set, self.pool);
                Rival { block, collector, certificate: None }
            })
            .collect();
        if rivals.len() == 2 {
            self.owners[at].rivals = rivals;
        }
    }

    fn show(&mut self, at: usize, now: Instant) {
        let owner = &mut self.owners[at];
        let [first, second] = &owner.rivals[..] else { return };
        let frames =
            [first, second].map(|rival| encode_message(&Message::Propose(rival.block.clone())));
        let since = now - owner.begins;
        for witness in &self.honest {
            let mine = usize::from(!owner.first.contains(witness));
            let shown: &[usize] = match since {
                // Who forgets need not be kept apart.
                0..APART if self.forgetful => &[0, 1],
                0..APART => &[mine],
                APART..TOGETHER => &[1 - mine],
                _ => &[0, 1],
            };
            for which in shown {
                self.sends.push((owner.node, *witness, frames[*which].clone()));
                self.shown += 1;
            }
        }
        for helper in &self.helpers {
            for frame in &frames {
                self.sends.push((owner.node, *helper, frame.clone()));
            }
        }
        if since >= TOGETHER && !owner.published {
            owner.published = true;
            for certificate in owner.rivals.iter().filter_map(|rival| rival.certificate.clone()) {
                let gossip = encode_gossip(&Gossip::Certificate(Box::new(certificate)));
                self.publications.push((owner.node, gossip));
            }
        }
    }

    fn is_rival(&self, block: &SignedBlock) -> bool {
        self.owners.iter().flat_map(|owner| &owner.rivals).any(|rival| rival.block == *block)
    }

    /// A frame arrives; what is returned is what the peer there gets.
    pub(crate) fn arriving(
        &mut self,
        nodes: &[Node],
        from: u32,
        to: u32,
        frame: Vec<u8>,
    ) -> Option<Vec<u8>> {
        match frame.get(4) {
            Some(&PROPOSE) => {
                let Ok(Message::Propose(block)) = decode_message(&frame) else {
                    return Some(frame);
                };
                let helps = self.helpers.contains(&to);
                if self.is_rival(&block) && (helps || self.forgets(nodes, to, &block)) {
                    self.vote(nodes, to, from, &block);
                    return None;
                }
                if helps && self.attack.arbitrary {
                    self.seen.push_back((from, block));
                    if self.seen.len() > SEEN_MAX {
                        self.seen.pop_front();
                    }
                    // One proposal in three gets no answer.
                    return (!self.rng.chance(1, 3)).then_some(frame);
                }
                Some(frame)
            }
            Some(&VOTE) => {
                let Ok(Message::Vote(vote)) = decode_message(&frame) else { return Some(frame) };
                if let Some(what) = self.wrong.get(&vote.body.block)
                    && !self.helpers.contains(&from)
                {
                    self.misled.push(what);
                }
                let owners = self.owners.iter_mut().filter(|owner| owner.node == to);
                for rival in owners.flat_map(|owner| &mut owner.rivals) {
                    if let Ok(Some(whole)) = rival.collector.add(&vote, &mut self.verifier) {
                        rival.certificate = Some(whole);
                    }
                }
                Some(frame)
            }
            _ => Some(frame),
        }
    }

    /// The control: whether a witness without a vote log votes for a block.
    fn forgets(&mut self, nodes: &[Node], witness: u32, block: &SignedBlock) -> bool {
        if !self.forgetful || !self.honest.contains(&witness) {
            return false;
        }
        let node = &nodes[witness as usize];
        let Some(ledger) = ledger_of(node, &self.genesis, &mut self.verifier) else { return false };
        ledger.check(block, &ClaimBook::new(), &mut self.verifier).is_ok()
    }

    fn vote(&mut self, nodes: &[Node], witness: u32, owner: u32, block: &SignedBlock) {
        let vote = self.signed_vote(&nodes[witness as usize], block, |_| {});
        self.sends.push((witness, owner, encode_message(&Message::Vote(vote))));
    }

    fn signed_vote(
        &self,
        node: &Node,
        block: &SignedBlock,
        change: impl FnOnce(&mut VoteBody),
    ) -> Signed<VoteBody> {
        let (set_version, epoch) = (self.set.version, block.body.epoch);
        let mut body = VoteBody { set_version, epoch, block: block_hash(block) };
        change(&mut body);
        Signed::seal(body, &node.key, &self.pool)
    }

    /// One thing that a faulty witness says unasked.
    fn talk_nonsense(&mut self, helper: u32, nodes: &[Node]) {
        self.nonsense += 1;
        match self.rng.below(3) {
            0 => self.wrong_block(helper, nodes),
            1 => self.wrong_vote(helper, nodes),
            _ => self.short_certificate(helper, nodes),
        }
    }

    /// A block of its own that does not hold, shown to everybody, with the helpers' votes.
    fn wrong_block(&mut self, helper: u32, nodes: &[Node]) {
        let node = &nodes[helper as usize];
        let Some(ledger) = ledger_of(node, &self.genesis, &mut self.verifier) else { return };
        let one = Credits::from_whole(1).unwrap_or(Credits::ZERO);
        let memo = Digest::of_value("nonsense", &self.nonsense);
        let kind = BlockKind::Send { to: self.genesis.founder, amount: one, memo };
        let Ok(good) = ledger.next_block(node.id, kind) else { return };
        let (what, body) = match self.rng.below(5) {
            0 => {
                let amount = self.genesis.grant;
                let kind = BlockKind::Send { to: self.genesis.founder, amount, memo };
                ("overspends", Block { debit: kind.debit(), kind, ..good })
            }
            1 => ("has another predecessor", Block { prev: memo, ..good }),
            2 => ("is of another epoch", Block { epoch: good.epoch + 7, ..good }),
            3 => ("skips a place", Block { seq: good.seq + 5, ..good }),
            _ => ("keeps what it spends", {
                let balance_after = good.balance_after.plus(one).unwrap_or(one);
                Block { balance_after, ..good }
            }),
        };
        let block = Signed::seal(body, &node.key, &self.pool);
        self.wrong.insert(block_hash(&block), what);
        let frame = encode_message(&Message::Propose(block.clone()));
        let sends = self.honest.iter().map(|witness| (helper, *witness, frame.clone()));
        self.sends.extend(sends);
        let repeated = self.rng.chance(1, 2);
        let certificate = self.by_helpers(nodes, &block, repeated);
        let gossip = encode_gossip(&Gossip::Certificate(Box::new(certificate)));
        self.publications.push((helper, gossip));
    }

    /// A certificate by the faulty witnesses alone; their votes repeated up to a quorum, if wanted.
    fn by_helpers(&self, nodes: &[Node], block: &SignedBlock, repeated: bool) -> Certificate {
        let votes = self.helpers.iter().map(|helper| {
            let vote = self.signed_vote(&nodes[*helper as usize], block, |_| {});
            (vote.signer, vote.signature)
        });
        let mut votes: Vec<_> = votes.collect();
        votes.sort_by_key(|(voter, _)| *voter);
        if repeated {
            votes = votes.iter().cycle().take(self.set.quorum()).cloned().collect();
        }
        Certificate { block: block.clone(), set_version: self.set.version, votes }
    }

    /// A vote for something else than its receiver's block, or not of this pool.
    fn wrong_vote(&mut self, helper: u32, nodes: &[Node]) {
        let Some((owner, block)) = self.seen.back().cloned() else { return };
        let node = &nodes[helper as usize];
        // Who checks no signatures believes whatever is signed.
        let kinds = if self.verifier.is_real() { 5 } else { 3 };
        let vote = match self.rng.below(kinds) {
            0 => self.signed_vote(node, &block, |body| body.block = Digest::of(b"another")),
            1 => self.signed_vote(node, &block, |body| body.set_version += 1),
            2 => self.signed_vote(node, &block, |body| body.epoch += 1),
            3 => {
                let body = self.signed_vote(node, &block, |_| {}).body;
                Signed::seal(body, &node.key, &Digest::of(b"another pool"))
            }
            _ => {
                let honest = self.honest[self.rng.below(self.honest.len() as u64) as usize];
                let signer = nodes[honest as usize].id;
                Signed { signer, ..self.signed_vote(node, &block, |_| {}) }
            }
        };
        self.sends.push((helper, owner, encode_message(&Message::Vote(vote))));
    }

    /// Somebody's good block with too few votes.
    fn short_certificate(&mut self, helper: u32, nodes: &[Node]) {
        let Some((_, block)) = self.seen.back().cloned() else { return };
        let repeated = self.rng.chance(1, 2);
        let certificate = self.by_helpers(nodes, &block, repeated);
        let to = self.rng.below(nodes.len() as u64) as u32;
        if to != helper {
            let message = encode_message(&Message::Certificates(vec![certificate]));
            self.sends.push((helper, to, message));
        }
    }

    /// A node stores something: perhaps why it froze an account.
    pub(crate) fn on_persist(&mut self, now: Instant, number: u32, write: &Write) {
        if write.table != Table::Pool || write.value.is_none() {
            return;
        }
        let account = write.key.strip_prefix(FROZEN).and_then(|id| <[u8; 32]>::try_from(id).ok());
        if let Some(account) = account {
            self.frozen.entry(NodeId(account)).or_default().entry(number).or_insert(now);
        }
    }

    /// What is sent: from, to, frame.
    pub(crate) fn sends(&mut self) -> Vec<(u32, u32, Vec<u8>)> {
        std::mem::take(&mut self.sends)
    }

    /// What is published.
    pub(crate) fn publications(&mut self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.publications)
    }

    /// What it came to, and what must not have.
    pub(crate) fn verdict(&mut self, nodes: &[Node]) -> (DoubleSpent, Vec<String>) {
        let mut found: Vec<String> = Vec::new();
        let mut came = DoubleSpent {
            cheats: self.owners.len(),
            faulty_witnesses: self.helpers.len(),
            shown: self.shown,
            nonsense: self.nonsense,
            certified: 0,
            certified_twice: 0,
            round_ms: self.round.0 as f64 / 1e3,
            rounds: 0.0,
        };
        let culprits: Vec<NodeId> = {
            let mut ids: Vec<NodeId> =
                self.helpers.iter().map(|helper| nodes[*helper as usize].id).collect();
            ids.sort();
            ids
        };
        for owner in &self.owners {
            let node = &nodes[owner.node as usize];
            let name = node.id.short();
            if owner.rivals.is_empty() {
                found.push(format!("the cheat {name} signed nothing"));
            }
            let certificates: Vec<&Certificate> =
                owner.rivals.iter().filter_map(|rival| rival.certificate.as_ref()).collect();
            came.certified += certificates.len();
            let twice = certificates.len() == 2;
            came.certified_twice += usize::from(twice);
            let frozen = self.frozen.get(&node.id);
            let times: Vec<Instant> =
                frozen.into_iter().flat_map(|at| at.values().copied()).collect();
            if times.len() < nodes.len() {
                let count = times.len();
                found.push(format!("{count} of {} nodes froze the cheat {name}", nodes.len()));
            }
            let last =
                times.iter().max().zip(times.iter().min()).map_or(0, |(last, first)| last - first);
            let rounds = last as f64 / self.round.0.max(1) as f64;
            came.rounds = came.rounds.max(rounds);
            if rounds > ROUNDS_MAX {
                found.push(format!("the proof about {name} took {rounds:.1} rounds"));
            }
            if twice {
                let ledger = ledger_of(&nodes[0], &self.genesis, &mut self.verifier);
                let Some(mut ledger) = ledger else { continue };
                for certificate in certificates {
                    // One of them is refused.
                    let _ = ledger.apply(Arc::new(certificate.clone()), &mut self.verifier);
                }
                let named = ledger.conflicts().iter().find(|conflict| conflict.account == node.id);
                if named.is_none_or(|conflict| conflict.culprits != culprits) {
                    let named = named.map_or(0, |conflict| conflict.culprits.len());
                    found.push(format!("{named} culprits of {name}'s conflict are not those"));
                }
            }
        }
        for what in &self.misled {
            found.push(format!("an honest witness voted for a block that {what}"));
        }
        let cheats: Vec<u32> =
            self.owners.iter().map(|owner| owner.node).chain(self.helpers.clone()).collect();
        for account in self.frozen.keys() {
            if !cheats.iter().any(|node| nodes[*node as usize].id == *account) {
                found.push(format!("the account of {} is frozen", account.short()));
            }
        }
        if self.attack.beyond > 0 && came.certified_twice == 0 {
            found.push("no conflict came of too many faulty witnesses".into());
        }
        (came, found)
    }
}
