//! Where nodes are, and when to dial them again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use edge_base::NodeId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::platform::Instant;

/// Addresses remembered for one node.
const ADDRESSES_MAX: usize = 16;
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_LAST: Duration = Duration::from_secs(10);
/// Beyond this many failures the delay no longer grows.
const BACKOFF_STEPS: u32 = 6;

/// Addresses, intentions and dial state of every known node. Bounded: at the bound the node that was
/// touched longest ago and is neither kept nor being dialled is forgotten.
#[derive(Debug)]
pub(crate) struct Book {
    entries: HashMap<NodeId, Entry>,
    due: BTreeSet<(Instant, NodeId)>,
    max: usize,
    touched: u64,
    jitter: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// Best first: what worked, then what was heard.
    addresses: VecDeque<Multiaddr>,
    kept: bool,
    /// Dials left while nobody keeps the node.
    tries: u32,
    failures: u32,
    state: State,
    touched: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Waiting(Instant),
    Dialing,
    Connected,
}

impl Book {
    pub(crate) fn new(max: usize, jitter_seed: u64) -> Self {
        Book { entries: HashMap::new(), due: BTreeSet::new(), max, touched: 0, jitter: jitter_seed }
    }

    /// The node's entry, made where there is none; nothing when the book is full of kept nodes.
    fn entry(&mut self, node: NodeId) -> Option<&mut Entry> {
        if !self.entries.contains_key(&node) && self.entries.len() >= self.max {
            let idle = |entry: &Entry| !entry.kept && entry.state == State::Idle;
            let (_, oldest) = self
                .entries
                .iter()
                .filter(|(_, entry)| idle(entry))
                .map(|(node, entry)| (entry.touched, *node))
                .min()?;
            self.entries.remove(&oldest);
        }
        self.touched += 1;
        let entry = self.entries.entry(node).or_default();
        entry.touched = self.touched;
        Some(entry)
    }

    /// Remembers an address, in front when a connection was made to it.
    pub(crate) fn learn(&mut self, node: NodeId, address: Multiaddr, worked: bool) {
        let Some(entry) = self.entry(node) else { return };
        let known = entry.addresses.iter().position(|known| *known == address);
        match (known, worked) {
            (Some(_), false) => return,
            (Some(index), true) => drop(entry.addresses.remove(index)),
            (None, _) => {}
        }
        if worked {
            entry.addresses.push_front(address);
        } else if entry.addresses.len() < ADDRESSES_MAX {
            entry.addresses.push_back(address);
        }
        entry.addresses.truncate(ADDRESSES_MAX);
    }

    pub(crate) fn addresses(&self, node: &NodeId) -> Vec<Multiaddr> {
        self.entries.get(node).map(|e| e.addresses.iter().cloned().collect()).unwrap_or_default()
    }

    /// Dials the node until it is connected, and again whenever it is not. False: the book is full.
    pub(crate) fn keep(&mut self, node: NodeId, now: Instant) -> bool {
        let Some(entry) = self.entry(node) else { return false };
        entry.kept = true;
        self.wake(node, now);
        true
    }

    pub(crate) fn is_kept(&self, node: &NodeId) -> bool {
        self.entries.get(node).is_some_and(|entry| entry.kept)
    }

    pub(crate) fn is_dialing(&self, node: &NodeId) -> bool {
        self.entries.get(node).is_some_and(|entry| entry.state == State::Dialing)
    }

    /// Allows `tries` dials, the first at once unless one is due already.
    pub(crate) fn want(&mut self, node: NodeId, tries: u32, now: Instant) -> bool {
        let Some(entry) = self.entry(node) else { return false };
        entry.tries = entry.tries.max(tries);
        self.wake(node, now);
        true
    }

    /// An idle node becomes due.
    fn wake(&mut self, node: NodeId, now: Instant) {
        if self.entries.get(&node).is_some_and(|entry| entry.state == State::Idle) {
            self.set(node, State::Waiting(now));
        }
    }

    /// A node that waits for its next dial becomes due: somebody just said where it is.
    pub(crate) fn hurry(&mut self, node: NodeId, now: Instant) {
        if self.entries.get(&node).is_some_and(|entry| matches!(entry.state, State::Waiting(_))) {
            self.set(node, State::Waiting(now));
        }
    }

    /// Dials that failed since the node was last connected.
    pub(crate) fn failures(&self, node: &NodeId) -> u32 {
        self.entries.get(node).map_or(0, |entry| entry.failures)
    }

    /// Ends the intention to be connected; addresses stay.
    pub(crate) fn release(&mut self, node: &NodeId) {
        if let Some(entry) = self.entries.get_mut(node) {
            entry.kept = false;
            entry.tries = 0;
            if matches!(entry.state, State::Waiting(_)) {
                self.set(*node, State::Idle);
            }
        }
    }

    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.set(*node, State::Idle);
        self.entries.remove(node);
    }

    fn set(&mut self, node: NodeId, state: State) {
        let Some(entry) = self.entries.get_mut(&node) else { return };
        if let State::Waiting(at) = entry.state {
            self.due.remove(&(at, node));
        }
        entry.state = state;
        if let State::Waiting(at) = state {
            self.due.insert((at, node));
        }
    }

    /// When the next dial is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A node whose dial is due; it counts as being dialled from now on.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<NodeId> {
        let (at, node) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.set(node, State::Dialing);
        let entry = self.entries.get_mut(&node)?;
        entry.tries = entry.tries.saturating_sub(1);
        Some(node)
    }

    /// The node is connected and of our pool.
    pub(crate) fn connected(&mut self, node: NodeId) {
        if let Some(entry) = self.entry(node) {
            entry.failures = 0;
            entry.tries = 0;
            self.set(node, State::Connected);
        }
    }

    /// The dial, or the connection, did not succeed. Says whether it is dialled again.
    pub(crate) fn failed(&mut self, node: NodeId, now: Instant) -> bool {
        let delay = self.backoff(&node);
        let Some(entry) = self.entries.get_mut(&node) else { return false };
        entry.failures = entry.failures.saturating_add(1);
        let again = entry.kept || entry.tries > 0;
        self.set(node, if again { State::Waiting(now + delay) } else { State::Idle });
        again
    }

    /// The connection was lost; a kept node is dialled again after the first delay.
    pub(crate) fn disconnected(&mut self, node: NodeId, now: Instant) {
        if self.entries.get(&node).is_some_and(|entry| entry.state == State::Connected) {
            let delay = self.backoff(&node);
            let again = self.is_kept(&node);
            self.set(node, if again { State::Waiting(now + delay) } else { State::Idle });
        }
    }

    /// 0.2 s doubling to 10 s, of which a random half is taken off so that peers that lost each
    /// other together do not come back together.
    fn backoff(&mut self, node: &NodeId) -> Duration {
        let failures = self.entries.get(node).map_or(0, |entry| entry.failures);
        let whole = BACKOFF_LAST.min(BACKOFF_FIRST * 2u32.pow(failures.min(BACKOFF_STEPS)));
        whole.mul_f64(0.5 + self.next_fraction() / 2.0)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014); only for jitter.
    fn next_fraction(&mut self) -> f64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Splits the peer from the end of an address, if one is named there.
pub(crate) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.pop() {
        Some(Protocol::P2p(peer)) => (address, Some(peer)),
        Some(other) => (address.with(other), None),
        None => (address, None),
    }
}

/// Whether an address that a node told us can lead to it: an unspecified one never does, a loopback
/// one only if we are on the same machine.
pub(crate) fn leads_somewhere(address: &Multiaddr, same_machine: bool) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified() && (same_machine || !ip.is_loopback()),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified() && (same_machine || !ip.is_loopback()),
        Some(_) => true,
        None => false,
    }
}

pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn a_kept_node_is_dialled_with_growing_delays_forever() {
        let start = Instant::now();
        let mut book = Book::new(8, 1);
        assert!(book.keep(node(1), start));
        let mut now = start;
        let mut delays = Vec::new();
        for _ in 0..12 {
            assert_eq!(book.pop_due(now), Some(node(1)));
            assert_eq!(book.pop_due(now), None, "while it is being dialled it is not due");
            assert!(book.failed(node(1), now));
            let due = book.next_due().unwrap();
            delays.push(due - now);
            now = due;
        }
        for (step, delay) in delays.iter().enumerate() {
            let whole = Duration::from_millis(200 << step.min(6)).min(BACKOFF_LAST);
            assert!((whole / 2..=whole).contains(delay), "step {step}: {delay:?}");
        }
        assert_eq!(book.pop_due(now), Some(node(1)));
        book.connected(node(1));
        assert_eq!(book.next_due(), None);
        book.disconnected(node(1), now);
        assert!(book.next_due().unwrap() - now <= BACKOFF_FIRST, "the delay starts over");
        book.release(&node(1));
        assert_eq!(book.next_due(), None);
    }

    #[test]
    fn a_wanted_node_is_dialled_so_often_and_no_more() {
        let now = Instant::now();
        let late = now + Duration::from_secs(60);
        let mut book = Book::new(8, 1);
        assert!(book.want(node(1), 3, now));
        for again in [true, true, false] {
            assert_eq!(book.pop_due(late), Some(node(1)));
            assert_eq!(book.failed(node(1), late - BACKOFF_LAST), again);
        }
        assert_eq!(book.pop_due(late), None);
        book.disconnected(node(1), now);
        assert_eq!(book.next_due(), None, "nobody keeps it");
    }

    #[test]
    fn addresses_are_bounded_and_those_that_worked_come_first() {
        let mut book = Book::new(8, 1);
        for port in 0..100 {
            book.learn(node(1), address(port), false);
        }
        book.learn(node(1), address(500), true);
        book.learn(node(1), address(3), true);
        book.learn(node(1), address(4), false);
        let addresses = book.addresses(&node(1));
        assert_eq!(addresses.len(), ADDRESSES_MAX);
        assert_eq!(addresses[..4], [address(3), address(500), address(0), address(1)]);
    }

    #[test]
    fn a_full_book_forgets_the_longest_untouched_but_no_kept_node() {
        let now = Instant::now();
        let mut book = Book::new(3, 1);
        assert!(book.keep(node(1), now));
        book.learn(node(2), address(2), false);
        book.learn(node(3), address(3), false);
        book.learn(node(2), address(22), false);
        book.learn(node(4), address(4), false);
        assert_eq!(book.addresses(&node(3)), []);
        assert_eq!(book.addresses(&node(2)).len(), 2);
        assert!(book.keep(node(5), now) && book.keep(node(6), now));
        assert!(!book.keep(node(7), now), "all are kept");
        book.forget(&node(5));
        assert!(book.keep(node(7), now));
    }

    #[test]
    fn peers_split_from_addresses() {
        let peer = PeerId::random();
        let relay = PeerId::random();
        for (text, peer_at_end) in [
            (format!("/ip4/10.0.0.1/tcp/1/p2p/{peer}"), true),
            (format!("/ip4/10.0.0.1/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}"), true),
            (format!("/ip4/10.0.0.1/tcp/1/p2p/{relay}/p2p-circuit"), false),
            ("/ip4/10.0.0.1/tcp/1".to_owned(), false),
        ] {
            let whole: Multiaddr = text.parse().unwrap();
            let (rest, found) = split_peer(whole.clone());
            assert_eq!(found, peer_at_end.then_some(peer), "{text}");
            let again = if peer_at_end { rest.with(Protocol::P2p(peer)) } else { rest };
            assert_eq!(again, whole);
        }
    }

    #[test]
    fn addresses_that_lead_nowhere() {
        for (text, same, other) in [
            ("/ip4/127.0.0.1/tcp/1", true, false),
            ("/ip6/::1/udp/1/quic-v1", true, false),
            ("/ip4/0.0.0.0/tcp/1", false, false),
            ("/ip4/10.0.0.1/tcp/1", true, true),
            ("/dns4/example.org/tcp/1", true, true),
        ] {
            let address = text.parse().unwrap();
            assert_eq!(leads_somewhere(&address, true), same, "{text}");
            assert_eq!(leads_somewhere(&address, false), other, "{text}");
        }
    }
}
