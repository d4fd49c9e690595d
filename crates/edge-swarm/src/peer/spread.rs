//! Evidence spreads by gossip, and beside it from neighbour to neighbour: what one way loses another
//! brings.

use edge_base::NodeId;

use super::{
    Peer,
    membership::{Link, Member},
};
use crate::message::Gossip;

/// What is new here is handed on to so many neighbours, beside what gossip does.
const FANOUT: usize = 8;

impl Peer {
    /// Hands evidence on to some neighbours, but for the one it came from.
    pub(super) fn hand_on(&mut self, gossip: &Gossip, from: Option<NodeId>) {
        let up = |(node, member): (&NodeId, &Member)| {
            let linked = matches!(member.link, Link::Up) && Some(*node) != from;
            linked.then_some(*node)
        };
        let mut linked: Vec<NodeId> = self.members.iter().filter_map(up).collect();
        self.rng.shuffle(&mut linked);
        for node in linked.into_iter().take(FANOUT) {
            self.publish_to(node, gossip);
        }
    }

    /// What a node that was away is told of: all, or where there are more than `most`, as many from a
    /// random one on.
    pub(super) fn some_of<T>(&mut self, mut all: Vec<T>, most: usize) -> Vec<T> {
        if all.len() > most {
            let first = self.rng.below(all.len() as u64) as usize;
            all.rotate_left(first);
            all.truncate(most);
        }
        all
    }
}
