//! The virtual network: latency, jitter, loss, duplication, reordering and partitions.

use std::collections::BTreeSet;

use edge_base::{Micros, Rng};

/// How bad the network is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Weather {
    /// Messages lost, per million.
    pub loss_ppm: u64,
    /// Messages that arrive twice, per million.
    pub duplicate_ppm: u64,
    /// The shortest one-way latency.
    pub latency_min: Micros,
    /// The longest one-way latency.
    pub latency_max: Micros,
}

/// Delays and cuts between nodes, by their numbers.
pub(crate) struct Network {
    weather: Weather,
    rng: Rng,
    seed: u64,
    /// The side each node is on while the network is cut.
    sides: Option<Vec<bool>>,
    /// A node that no cut separates from others.
    bridge: Option<u32>,
    /// Connections that stand, the smaller number first.
    links: BTreeSet<(u32, u32)>,
    /// Who thinks that it has a connection to whom: a lost one is noticed later.
    believed: BTreeSet<(u32, u32)>,
    /// Who keeps a connection to whom.
    kept: BTreeSet<(u32, u32)>,
    /// Who refuses connections to whom.
    banned: BTreeSet<(u32, u32)>,
}

/// Delays of the copies of one message that arrive: none, one or two.
pub(crate) type Copies = [Option<Micros>; 2];

impl Network {
    pub(crate) fn new(weather: Weather, seed: u64) -> Self {
        let rng = Rng::derive(seed, "network");
        let (links, believed, kept) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let banned = BTreeSet::new();
        Network { weather, rng, seed, sides: None, bridge: None, links, believed, kept, banned }
    }

    /// What becomes of a message.
    pub(crate) fn carry(&mut self, from: u32, to: u32) -> Copies {
        if self.is_cut(from, to) {
            return [None, None];
        }
        let draw = self.rng.next_u64();
        // Two draws of 20 bits are fine enough for parts per million.
        let lost = ((draw & 0xf_ffff) * 1_000_000) >> 20 < self.weather.loss_ppm;
        if lost {
            return [None, None];
        }
        let first = self.delay(from, to, draw >> 40);
        let twice = (((draw >> 20) & 0xf_ffff) * 1_000_000) >> 20 < self.weather.duplicate_ppm;
        let second = twice.then(|| {
            let jitter = self.rng.next_u64();
            self.delay(from, to, jitter)
        });
        [Some(first), second]
    }

    /// Half of the range belongs to the pair of nodes, half is jitter, so messages overtake each
    /// other.
    fn delay(&self, from: u32, to: u32, jitter: u64) -> Micros {
        let Weather { latency_min, latency_max, .. } = self.weather;
        let range = latency_max.0.saturating_sub(latency_min.0);
        let pair = mix(self.seed ^ u64::from(from.min(to)) << 32 ^ u64::from(from.max(to)));
        let share = |bits: u64| ((bits & 0xff_ffff) * (range / 2)) >> 24;
        Micros(latency_min.0 + share(pair) + share(jitter))
    }

    pub(crate) fn cut(&mut self, sides: Option<Vec<bool>>) {
        self.sides = sides;
    }

    /// No cut separates this node from others.
    pub(crate) fn bridge(&mut self, node: u32) {
        self.bridge = Some(node);
    }

    pub(crate) fn is_cut(&self, a: u32, b: u32) -> bool {
        if self.bridge.is_some_and(|bridge| bridge == a || bridge == b) {
            return false;
        }
        let side = |sides: &[bool], n: u32| sides.get(n as usize).copied().unwrap_or(false);
        self.sides.as_ref().is_some_and(|sides| side(sides, a) != side(sides, b))
    }

    // Bans.

    pub(crate) fn ban(&mut self, node: u32, other: u32) {
        self.banned.insert((node, other));
    }

    pub(crate) fn unban(&mut self, node: u32, other: u32) {
        self.banned.remove(&(node, other));
    }

    /// Whether a node takes nothing of another.
    pub(crate) fn is_banned(&self, node: u32, other: u32) -> bool {
        self.banned.contains(&(node, other))
    }

    // Connections.

    /// Wants a connection; true if one has to be made.
    pub(crate) fn keep(&mut self, from: u32, to: u32) -> bool {
        self.kept.insert((from, to)) && !self.is_linked(from, to)
    }

    /// Whether somebody still wants this connection and has none.
    pub(crate) fn is_wanted(&self, a: u32, b: u32) -> bool {
        !self.is_linked(a, b) && (self.kept.contains(&(a, b)) || self.kept.contains(&(b, a)))
    }

    pub(crate) fn is_linked(&self, a: u32, b: u32) -> bool {
        self.links.contains(&ordered(a, b))
    }

    /// A connection stands.
    pub(crate) fn link(&mut self, a: u32, b: u32) {
        self.links.insert(ordered(a, b));
    }

    /// A connection is gone. True if it stood.
    pub(crate) fn unlink(&mut self, a: u32, b: u32) -> bool {
        self.links.remove(&ordered(a, b))
    }

    /// Every connection of a node.
    fn links_of(&self, node: u32) -> Vec<u32> {
        let other = |(a, b): &(u32, u32)| match (*a == node, *b == node) {
            (true, _) => Some(*b),
            (_, true) => Some(*a),
            (false, false) => None,
        };
        self.links.iter().filter_map(other).collect()
    }

    /// Connections that the present cut separates.
    pub(crate) fn separated(&self) -> Vec<(u32, u32)> {
        self.links.iter().filter(|(a, b)| self.is_cut(*a, *b)).copied().collect()
    }

    /// A node thinks from now on that it has this connection. True if it did not.
    pub(crate) fn believe(&mut self, node: u32, other: u32) -> bool {
        self.believed.insert((node, other))
    }

    /// A node knows that it has lost this connection. True if it thought it had it.
    pub(crate) fn disbelieve(&mut self, node: u32, other: u32) -> bool {
        self.believed.remove(&(node, other))
    }

    /// A process ended: what it wanted and knew is forgotten, its connections are gone. Returns
    /// who was at their other ends.
    pub(crate) fn stop(&mut self, node: u32) -> Vec<u32> {
        self.kept.retain(|(from, _)| *from != node);
        self.believed.retain(|(from, _)| *from != node);
        // A process that starts again says whom it still bans.
        self.banned.retain(|(from, _)| *from != node);
        let others = self.links_of(node);
        for other in &others {
            self.unlink(node, *other);
        }
        others
    }
}

fn ordered(a: u32, b: u32) -> (u32, u32) {
    (a.min(b), a.max(b))
}

/// SplitMix64 (Steele, Lea and Flood 2014): a hash of a number.
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORMY: Weather = Weather {
        loss_ppm: 50_000,
        duplicate_ppm: 20_000,
        latency_min: Micros::from_millis(1),
        latency_max: Micros::from_millis(200),
    };

    #[test]
    fn loss_duplication_latency_and_reordering_are_what_was_asked_for() {
        let mut network = Network::new(STORMY, 1);
        let (mut lost, mut twice, mut overtaken) = (0, 0, 0);
        let (mut least, mut most, mut before) = (u64::MAX, 0, 0);
        for n in 0..200_000u32 {
            let copies = network.carry(n % 50, 50 + n % 7);
            lost += usize::from(copies[0].is_none());
            twice += usize::from(copies[1].is_some());
            for delay in copies.into_iter().flatten() {
                (least, most) = (least.min(delay.0), most.max(delay.0));
                overtaken += usize::from(delay.0 < before);
                before = delay.0;
            }
        }
        assert!((9_500..10_500).contains(&lost), "{lost}");
        assert!((3_500..4_200).contains(&twice), "{twice}");
        assert!((1_000..10_000).contains(&least) && (180_000..=200_000).contains(&most));
        assert!(overtaken > 50_000);
    }

    #[test]
    fn a_cut_separates_the_sides_only() {
        let mut network = Network::new(Weather { loss_ppm: 0, ..STORMY }, 1);
        network.link(0, 1);
        network.link(1, 2);
        network.cut(Some(vec![true, true, false]));
        assert!(network.carry(0, 1)[0].is_some());
        assert!(network.carry(1, 2)[0].is_none());
        assert_eq!(network.separated(), [(1, 2)]);
        network.cut(None);
        assert!(network.carry(1, 2)[0].is_some());
    }
}
