//! How ledgers of two peers become one: adverts carry the digest of the frontier, and peers whose
//! digests differ tell each other what they lack.
//!
//! With few accounts a node says all its heads. With more it sends a sketch of them, from which the
//! other one sees where they differ (see [`edge_ledger::Sketch`]). If the sketch was too small the
//! other one says how large it has to be, and another one is made; if they differ too much, or a sketch
//! is not answered, the heads are said after all, so many at a time. Nobody keeps anything of what it
//! was sent.

use std::collections::BTreeMap;

use edge_base::{Micros, NodeId, Timestamp};
use edge_ledger::{Block, Certificate, Compared, Head, Heads as _, Ledger, Sketch, SketchKey};

use super::{
    Peer,
    standing::{SKETCH_NS, Wrong},
};
use crate::message::{CERTIFICATES_PER_MESSAGE, Gossip, HEADS_PER_MESSAGE, Message, SketchAnswer};

/// A node is told our heads at most this often.
const FRONTIER_EVERY: Micros = Micros::from_millis(400);
/// Messages of certificates sent in answer to one frontier or sketch.
const BURST: usize = 8;
/// Nodes that have more certificates than they sent; of others, adverts tell again.
const NEXT_MAX: usize = 16;
/// Certificates that wait for others while a list of them is made.
const WANTED_MAX: usize = 16_384;
/// Sketches that a node is sent after the first one, because it asked for more cells.
const MORE_MAX: u8 = 3;
/// A node to which the heads had to be said is sent no sketch for so long.
const LISTS_FOR: Micros = Micros::from_secs(5);
/// After so many sketches without an answer a node is told the heads.
const UNANSWERED_MAX: u8 = 2;
/// Comparing with sketches of all nodes together takes no more than one in so many parts of this
/// node's time ...
const PARTS: u64 = 10;
/// ... and so many are compared at once.
const AT_ONCE: u64 = 8;

type Heads = Vec<(NodeId, u64)>;
/// The first and the last account.
type Range = (NodeId, NodeId);

/// What other nodes were told of this node's heads.
#[derive(Debug, Default)]
pub(crate) struct Told {
    nodes: BTreeMap<NodeId, ToldNode>,
    /// With which account there is more at a node.
    next: BTreeMap<NodeId, NodeId>,
    /// When all sketches that came would be compared, at a tenth of this node's time.
    done_at: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct ToldNode {
    /// When last; `None`: never.
    at: Option<Timestamp>,
    /// The sketch that waits for an answer.
    asked: Option<SketchKey>,
    /// Sketches since the beginning that it asked for.
    more: u8,
    /// Sketches since its last answer.
    unanswered: u8,
    lists_until: Timestamp,
    /// Certificates here when it was last asked for more: without one more it is not asked again.
    held: Option<usize>,
    /// The first account of the next list, where one message does not hold all.
    page: Option<NodeId>,
}

impl Told {
    /// What grows here, with its bounds.
    pub(super) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("nodes with more certificates", self.next.len(), NEXT_MAX);
    }
}

impl Peer {
    pub(super) fn compare_frontier(&mut self, node: NodeId, frontier: edge_base::Digest) {
        let differs =
            self.bank.as_ref().is_some_and(|bank| bank.ledger.frontier_digest() != frontier);
        if differs {
            self.ask_frontier(node);
        }
    }

    /// Tells a node what this one has, so that it sends what is missing.
    pub(super) fn ask_frontier(&mut self, node: NodeId) {
        let now = self.now;
        let Some(bank) = &mut self.bank else { return };
        // Who has more is asked for that first.
        let more = bank.told.next.contains_key(&node);
        if more || node == self.me || !self.members.is_member(&node) {
            return;
        }
        let told = bank.told.nodes.entry(node).or_default();
        if told.at.is_some_and(|at| now.since(at) < FRONTIER_EVERY) {
            return;
        }
        told.at = Some(now);
        told.asked = None;
        let listed = now < told.lists_until || told.unanswered >= UNANSWERED_MAX;
        let sketches = self.settings.sketches && bank.ledger.is_worth_a_sketch();
        if listed || !sketches {
            told.unanswered = 0;
            return self.tell_heads(node);
        }
        told.more = MORE_MAX;
        self.tell_sketch(node, None);
    }

    fn tell_sketch(&mut self, node: NodeId, cells: Option<usize>) {
        let key: SketchKey = self.rng.bytes();
        let Some(bank) = &mut self.bank else { return };
        let told = bank.told.nodes.entry(node).or_default();
        told.asked = Some(key);
        told.unanswered = told.unanswered.saturating_add(1);
        let sketch = bank.ledger.sketch(key, cells);
        self.send(node, &Message::Sketch(Box::new(sketch)));
    }

    /// Says the heads; where one message does not hold them, the next ones in line.
    fn tell_heads(&mut self, node: NodeId) {
        let Some(bank) = &mut self.bank else { return };
        let told = bank.told.nodes.entry(node).or_default();
        let (range, heads) = page_of(bank.ledger.frontier(), &mut told.page, HEADS_PER_MESSAGE);
        self.send(node, &Message::Frontier { range, heads });
    }

    pub(super) fn on_frontier(&mut self, from: NodeId, range: Option<Range>, heads: Heads) {
        let Some(bank) = &self.bank else { return };
        let covers =
            |account: &NodeId| range.is_none_or(|(first, last)| (first..=last).contains(account));
        let theirs: BTreeMap<NodeId, u64> = heads.into_iter().collect();
        let mine = bank.ledger.frontier();
        let mine = mine.into_iter().filter(|(account, _)| covers(account)).collect::<Vec<_>>();
        let known = |account: &NodeId| theirs.get(account).copied().unwrap_or(0);
        let beyond = mine.iter().filter(|(account, seq)| known(account) < *seq);
        let beyond = beyond.map(|(account, _)| (*account, known(account))).collect();
        let own: BTreeMap<NodeId, u64> = mine.into_iter().collect();
        let behind = theirs
            .iter()
            .any(|(account, seq)| covers(account) && own.get(account).copied().unwrap_or(0) < *seq);
        self.tell_beyond(from, beyond);
        if behind {
            self.ask_frontier(from);
        }
    }

    /// Sends certificates of accounts after the seqs that a node has. Where it lacks some that are not
    /// kept here, it is pointed to the checkpoint that has what they came to, and asks again after it.
    fn tell_beyond(&mut self, to: NodeId, theirs: BTreeMap<NodeId, u64>) {
        let Some(bank) = &self.bank else { return };
        let dropped =
            |(account, known): (&NodeId, &u64)| *known < bank.ledger.pruned_below(account);
        let behind = theirs.iter().any(dropped);
        let (list, next) = match behind {
            true => (Vec::new(), None),
            false => certificates_beyond(&bank.ledger, theirs),
        };
        if list.is_empty() && !behind {
            return;
        }
        if let Some(handover) = bank.handover.clone() {
            self.output(crate::io::Output::Send {
                to,
                frame: crate::message::encode_gossip(&Gossip::Handover(Box::new(handover))),
            });
        }
        if behind {
            self.point_to_checkpoint(to);
        }
        for chunk in list.chunks(CERTIFICATES_PER_MESSAGE) {
            self.send(to, &Message::Certificates(chunk.to_vec()));
        }
        if let Some(next) = next {
            self.send(to, &Message::Next(next));
        }
    }

    /// A node has more than it sent. It is asked a moment later, when what it sent was taken.
    pub(super) fn on_next(&mut self, from: NodeId, account: NodeId) {
        let Some(bank) = &mut self.bank else { return };
        let next = &mut bank.told.next;
        if next.len() < NEXT_MAX || next.contains_key(&from) {
            next.insert(from, account);
        }
    }

    /// Asks nodes for what they have of the accounts they named and of those after them. Of those
    /// before, both have the same.
    pub(super) fn ask_on(&mut self) {
        let now = self.now;
        let Some(bank) = &mut self.bank else { return };
        for (node, first) in std::mem::take(&mut bank.told.next) {
            let Some(bank) = &mut self.bank else { return };
            let (told, held) =
                (bank.told.nodes.entry(node).or_default(), bank.ledger.certificate_count());
            told.at = Some(now);
            if told.held.replace(held) == Some(held) {
                continue;
            }
            let mut heads = bank.ledger.frontier();
            heads.retain(|(account, _)| *account >= first);
            let most = heads.len() > HEADS_PER_MESSAGE;
            heads.truncate(HEADS_PER_MESSAGE);
            let last = heads.last().filter(|_| most).map_or(NodeId([0xff; 32]), |(last, _)| *last);
            self.send(node, &Message::Frontier { range: Some((first, last)), heads });
        }
    }

    /// The heads of another node in few bytes.
    pub(super) fn on_sketch(&mut self, from: NodeId, sketch: Sketch) {
        let now = self.now;
        let Some(bank) = &mut self.bank else { return };
        let told = bank.told.nodes.get(&from).copied().unwrap_or_default();
        let asked =
            told.asked.is_some() && told.at.is_some_and(|at| now.since(at) < FRONTIER_EVERY);
        if asked && self.me < from {
            // Both began at once: the other one answers, and one answer tells both.
            return;
        }
        let key = sketch.key();
        let takes = bank.ledger.account_count() as u64 * SKETCH_NS / 1_000;
        let counted = Micros(takes * PARTS);
        if bank.told.done_at > now + Micros(counted.0 * AT_ONCE) {
            return self.answer_sketch(from, key, SketchAnswer::Later);
        }
        bank.told.done_at = bank.told.done_at.max(now) + counted;
        // The answer to this one tells that node what it lacks, and this node what it lacks.
        bank.told.nodes.entry(from).or_default().at = Some(now);
        match bank.ledger.compare(&sketch) {
            Compared::Known { theirs_behind, mine_behind } => {
                self.tell_beyond(from, theirs_behind.into_iter().collect());
                self.answer_sketch(from, key, SketchAnswer::Known(mine_behind));
            }
            Compared::More { cells } => {
                let cells = u32::try_from(cells).unwrap_or(u32::MAX);
                self.answer_sketch(from, key, SketchAnswer::More(cells));
            }
            Compared::TooDifferent => self.answer_sketch(from, key, SketchAnswer::List),
            Compared::Wrong => self.wrong(&from, Wrong::MadeUpSketch),
        }
    }

    fn answer_sketch(&mut self, to: NodeId, key: SketchKey, answer: SketchAnswer) {
        self.send(to, &Message::SketchAnswer { key, answer });
    }

    pub(super) fn on_sketch_answer(&mut self, from: NodeId, key: SketchKey, answer: SketchAnswer) {
        let now = self.now;
        let Some(bank) = &mut self.bank else { return };
        let Some(told) = bank.told.nodes.get_mut(&from) else { return };
        if told.asked != Some(key) {
            return;
        }
        told.asked = None;
        told.unanswered = 0;
        match answer {
            SketchAnswer::Known(heads) => {
                let beyond = |head: &Head| {
                    let known = head.seq;
                    let ahead = bank.ledger.like(head).into_iter();
                    let ahead = ahead.filter(move |(_, seq)| *seq > known);
                    ahead.map(move |(account, _)| (account, known))
                };
                let beyond = heads.iter().flat_map(beyond).collect();
                self.tell_beyond(from, beyond);
            }
            SketchAnswer::More(cells) if told.more > 0 => {
                told.more -= 1;
                self.tell_sketch(from, Some(cells as usize));
            }
            SketchAnswer::More(_) | SketchAnswer::List => {
                told.lists_until = now + LISTS_FOR;
                self.tell_heads(from);
            }
            SketchAnswer::Later => {}
        }
    }
}

/// The part of a list of heads that begins with an account, at most so many, what it is about if it is
/// not all, and where the next part begins.
fn page_of(mut heads: Heads, page: &mut Option<NodeId>, most: usize) -> (Option<Range>, Heads) {
    if heads.len() <= most {
        *page = None;
        return (None, heads);
    }
    let first = page.unwrap_or(NodeId([0; 32]));
    let mut part = heads.split_off(heads.partition_point(|(account, _)| *account < first));
    let cut = part.len() > most;
    part.truncate(most);
    // The next one begins with the last one of this, so that none is between them.
    *page = part.last().filter(|_| cut).map(|(account, _)| *account);
    let last = page.unwrap_or(NodeId([0xff; 32]));
    (Some((first, last)), part)
}

/// At most [`BURST`] messages of certificates beyond the seqs that a node has of these accounts, each
/// after what it builds on: else a node that lacks much would be sent the same ones for ever, and
/// could take none of them. Of accounts that are not listed it has what there is. With the account at
/// which the list was full, if it was: of those before it nothing is left.
fn certificates_beyond(
    ledger: &Ledger,
    mut theirs: BTreeMap<NodeId, u64>,
) -> (Vec<Certificate>, Option<NodeId>) {
    let most = BURST * CERTIFICATES_PER_MESSAGE;
    let mut list: Vec<Certificate> = Vec::new();
    let accounts: Vec<NodeId> = theirs.keys().copied().collect();
    for first in accounts {
        // Wanted first is what stands last.
        let mut wanted = vec![(first, ledger.account(&first).seq)];
        while let Some((account, upto)) = wanted.last().copied() {
            let known = theirs.get(&account).copied().filter(|known| *known < upto);
            let next = known.and_then(|seq| ledger.certificates_after(&account, seq, 1).next());
            let Some(next) = next else {
                wanted.pop();
                continue;
            };
            if list.len() >= most || wanted.len() > WANTED_MAX {
                return (list, Some(first));
            }
            let body = next.body();
            let lacking = body.credits.iter().find_map(|id| {
                let Block { account, seq, .. } = *ledger.certificate(id)?.body();
                // What leads up to it may not be kept: then it is not there to be told.
                let told = ledger.pruned_below(&account)..seq;
                theirs.get(&account).filter(|known| told.contains(known)).map(|_| (account, seq))
            });
            match lacking {
                Some(credit) => wanted.push(credit),
                None => {
                    theirs.insert(account, body.seq);
                    list.push(next.as_ref().clone());
                }
            }
        }
    }
    (list, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_every_account_once() {
        let node = |n: u8| NodeId([n; 32]);
        for count in 0..12_u8 {
            let heads: Heads = (1..=count).map(|n| (node(2 * n), u64::from(n))).collect();
            let (mut page, mut seen, mut ranges) = (None, Vec::new(), Vec::new());
            loop {
                let (range, part) = page_of(heads.clone(), &mut page, 4);
                assert!(part.len() <= 4);
                seen.extend(part);
                seen.dedup();
                ranges.push(range);
                if page.is_none() {
                    break;
                }
            }
            assert_eq!(seen, heads, "{count}");
            // Every account of anybody is in one range, at least.
            for account in (0..=255).map(node) {
                let within = |range: &Option<Range>| {
                    range.is_none_or(|(first, last)| (first..=last).contains(&account))
                };
                assert!(ranges.iter().any(within), "{count} {ranges:?}");
            }
            assert!(ranges.len() <= 1 + usize::from(count) / 3);
        }
    }
}
