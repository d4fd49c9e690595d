//! Seeded mutants of the product: deliberate defects that a checker must find.
//!
//! They sit at the boundary of the peer, so that the product needs no hooks for them: a drive that
//! says durable before it is, and a network card that rewrites what a defective requester or
//! witness would have said. Each mutant speaks with the keys of the nodes it stands for.

use std::{collections::BTreeMap, fmt, str::FromStr};

use edge_base::{Credits, Digest, Signed};
use edge_ledger::{
    Block, BlockKind, Certificate, FeeRate, Payment, SignedBlock, VoteBody, VoteCollector,
    block_hash,
};
use edge_swarm::message::{
    Gossip, Message, decode_gossip, decode_message, encode_gossip, encode_message,
};

use crate::{checks::Checks, node::Node, queue::Instant};

pub(crate) const PROPOSE: u8 = 22;
pub(crate) const VOTE: u8 = 23;
const GOSSIP_CERTIFICATE: u8 = 2;
/// What a liar gets that did not earn it, in micro-credits.
const BRIBE: u64 = 1_000;
/// A forged block is proposed again after this.
const AGAIN: u64 = 500_000;

/// A deliberate defect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// The drive says that a write is durable up to 30 seconds before it is.
    LostAcknowledgement,
    /// A requester settles an escrow twice and witnesses do not check that it is open.
    DoubleSettle,
    /// A requester pays a liar in its settlement.
    PaidLiar,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Mutant; 3] =
        [Mutant::LostAcknowledgement, Mutant::DoubleSettle, Mutant::PaidLiar];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mutant::LostAcknowledgement => "lost-acknowledgement",
            Mutant::DoubleSettle => "double-settle",
            Mutant::PaidLiar => "paid-liar",
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a mutant: the caller's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownMutant;

impl fmt::Display for UnknownMutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a mutant: use lost-acknowledgement, double-settle or paid-liar")
    }
}

impl std::error::Error for UnknownMutant {}

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(text: &str) -> Result<Self, UnknownMutant> {
        Mutant::ALL.into_iter().find(|mutant| mutant.name() == text).ok_or(UnknownMutant)
    }
}

/// A block that a mutant made up and gathers votes for.
struct Forged {
    owner: u32,
    block: SignedBlock,
    collector: VoteCollector,
    proposed: Instant,
    done: bool,
}

/// The network card of a mutant.
pub(crate) struct Rogue {
    mutant: Mutant,
    /// By the hash of the block that it replaces or follows.
    forged: BTreeMap<Digest, Forged>,
    sends: Vec<(u32, u32, Vec<u8>)>,
    publications: Vec<(u32, Vec<u8>)>,
}

impl Rogue {
    /// The network card that a mutant needs, if it needs one.
    pub(crate) fn of(mutant: Mutant) -> Option<Rogue> {
        match mutant {
            Mutant::LostAcknowledgement => None,
            Mutant::DoubleSettle | Mutant::PaidLiar => Some(Rogue {
                mutant,
                forged: BTreeMap::new(),
                sends: Vec::new(),
                publications: Vec::new(),
            }),
        }
    }

    /// A frame leaves a node; what is returned leaves in its place.
    pub(crate) fn departing(
        &mut self,
        checks: &Checks,
        nodes: &[Node],
        from: u32,
        frame: Vec<u8>,
    ) -> Vec<u8> {
        if self.mutant != Mutant::PaidLiar || frame.get(4) != Some(&PROPOSE) {
            return frame;
        }
        let Ok(Message::Propose(block)) = decode_message(&frame) else { return frame };
        let BlockKind::Settle { escrow, payments, fee } = &block.body.kind else { return frame };
        let original = block_hash(&block);
        if !self.forged.contains_key(&original) {
            let unpaid = |id: &&edge_base::NodeId| payments.iter().all(|p| p.worker != **id);
            let Some(liar) = checks.liars().iter().find(unpaid).copied() else { return frame };
            let mut payments = payments.clone();
            payments.push(Payment { worker: liar, amount: Credits::from_micro(BRIBE), tasks: 1 });
            payments.sort_by_key(|payment| payment.worker);
            let Ok(kind) = BlockKind::settle(*escrow, payments, FeeRate::DEFAULT) else {
                return frame;
            };
            let BlockKind::Settle { fee: new_fee, .. } = &kind else { return frame };
            let less = BRIBE + new_fee.micro().saturating_sub(fee.micro());
            let balance = block.body.balance_after.micro().saturating_sub(less);
            let balance_after = Credits::from_micro(balance);
            let body = Block { kind, balance_after, ..block.body.clone() };
            self.forge(checks, nodes, from, original, body);
        }
        let forged = self.forged.get(&original).map(|forged| forged.block.clone());
        forged.map_or(frame, |block| encode_message(&Message::Propose(block)))
    }

    /// A node publishes; a second settlement may follow the first.
    pub(crate) fn publishing(&mut self, checks: &Checks, nodes: &[Node], from: u32, frame: &[u8]) {
        if self.mutant != Mutant::DoubleSettle
            || !self.forged.is_empty()
            || frame.get(4) != Some(&GOSSIP_CERTIFICATE)
        {
            return;
        }
        let Ok(Gossip::Certificate(certificate)) = decode_gossip(frame) else { return };
        let body = certificate.body();
        let BlockKind::Settle { .. } = &body.kind else { return };
        let again = Block {
            seq: body.seq + 1,
            prev: certificate.id(),
            credits: Vec::new(),
            ..body.clone()
        };
        self.forge(checks, nodes, from, certificate.id(), again);
    }

    fn forge(
        &mut self,
        checks: &Checks,
        nodes: &[Node],
        owner: u32,
        original: Digest,
        body: Block,
    ) {
        let Some(set) = checks.newest_set() else { return };
        let pool = checks.pool();
        let block = Signed::seal(body, &nodes[owner as usize].key, &pool);
        let collector = VoteCollector::new(block.clone(), set, pool);
        let forged = Forged { owner, block, collector, proposed: 0, done: false };
        self.forged.insert(original, forged);
    }

    /// A frame arrives at a node; `None` when the mutant keeps it.
    pub(crate) fn arriving(
        &mut self,
        checks: &mut Checks,
        nodes: &[Node],
        from: u32,
        to: u32,
        frame: Vec<u8>,
    ) -> Option<Vec<u8>> {
        match frame.get(4) {
            Some(&PROPOSE) if self.mutant == Mutant::DoubleSettle => {
                let Ok(Message::Propose(block)) = decode_message(&frame) else {
                    return Some(frame);
                };
                let ours = self.forged.values().any(|forged| forged.block == block);
                if !ours {
                    return Some(frame);
                }
                // A witness that checks nothing.
                let set_version = checks.newest_set()?.version;
                let body =
                    VoteBody { set_version, epoch: block.body.epoch, block: block_hash(&block) };
                let vote = Signed::seal(body, &nodes[to as usize].key, &checks.pool());
                self.sends.push((to, from, encode_message(&Message::Vote(vote))));
                None
            }
            Some(&VOTE) => {
                let Ok(Message::Vote(vote)) = decode_message(&frame) else { return Some(frame) };
                let ours = |forged: &&mut Forged| {
                    forged.owner == to && block_hash(&forged.block) == vote.body.block
                };
                let Some(forged) = self.forged.values_mut().find(ours) else { return Some(frame) };
                let whole: Option<Certificate> =
                    forged.collector.add(&vote, checks.verifier_mut()).ok().flatten();
                if let Some(certificate) = whole {
                    forged.done = true;
                    let gossip = Gossip::Certificate(Box::new(certificate));
                    self.publications.push((to, encode_gossip(&gossip)));
                }
                None
            }
            _ => Some(frame),
        }
    }

    /// Proposes a second settlement again to witnesses that have not voted.
    pub(crate) fn remind(&mut self, now: Instant, nodes: &[Node]) {
        if self.mutant != Mutant::DoubleSettle {
            return;
        }
        for forged in self.forged.values_mut().filter(|f| !f.done && f.proposed + AGAIN <= now) {
            forged.proposed = now;
            for witness in forged.collector.missing() {
                let to = nodes.iter().position(|node| node.id == witness);
                let message = encode_message(&Message::Propose(forged.block.clone()));
                if let Some(to) = to {
                    self.sends.push((forged.owner, to as u32, message));
                }
            }
        }
    }

    /// What the mutant sends: from, to, frame.
    pub(crate) fn sends(&mut self) -> Vec<(u32, u32, Vec<u8>)> {
        std::mem::take(&mut self.sends)
    }

    /// What the mutant publishes.
    pub(crate) fn publications(&mut self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.publications)
    }
}
