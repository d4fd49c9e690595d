//! Finding nodes: mDNS on the local network, Kademlia by id.

use std::collections::HashMap;
use std::time::Duration;

use edge_base::NodeId;
use libp2p::kad::{self, QueryResult};
use libp2p::{Multiaddr, PeerId};

use super::{Driver, node_id};
use crate::book::split_peer;
use crate::event::TransportEvent;
use crate::platform::{Instant, MdnsEvent, MdnsNews, mdns_news};

/// Nodes and addresses of a local network that are remembered.
const MDNS_NODES_MAX: usize = 256;
const MDNS_ADDRESSES_MAX: usize = 8;
/// Dials that a node found by mDNS gets.
const MDNS_TRIES: u32 = 3;
/// Kademlia queries at a time.
const SEARCHES_MAX: usize = 16;

/// A node that mDNS found.
#[derive(Debug, Default)]
pub(super) struct MdnsSeen {
    addresses: Vec<Multiaddr>,
    /// The application knows.
    told: bool,
}

/// Nodes that turned out to be of another pool, so that mDNS does not dial them over and over.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    since: HashMap<NodeId, Instant>,
}

impl Foreign {
    const MAX: usize = 1_024;
    const FORGET_AFTER: Duration = Duration::from_secs(600);

    pub(super) fn insert(&mut self, node: NodeId, now: Instant) {
        if self.since.len() >= Self::MAX {
            self.since.retain(|_, since| now.duration_since(*since) < Self::FORGET_AFTER);
        }
        if self.since.len() < Self::MAX {
            self.since.insert(node, now);
        }
    }

    fn contains(&self, node: &NodeId, now: Instant) -> bool {
        self.since.get(node).is_some_and(|since| now.duration_since(*since) < Self::FORGET_AFTER)
    }
}

impl Driver {
    pub(super) fn on_mdns(&mut self, event: MdnsEvent) {
        let now = Instant::now();
        for news in mdns_news(event) {
            match news {
                MdnsNews::Found(peer, address) => self.on_mdns_found(&peer, address, now),
                MdnsNews::Gone(peer, address) => self.on_mdns_gone(&peer, address),
            }
        }
    }

    fn on_mdns_gone(&mut self, peer: &PeerId, address: Multiaddr) {
        let Some(node) = node_id(peer) else { return };
        let (address, _) = split_peer(address);
        if let Some(seen) = self.mdns.get_mut(&node) {
            seen.addresses.retain(|known| *known != address);
            if seen.addresses.is_empty() {
                self.mdns.remove(&node);
            }
        }
    }

    /// mDNS names any libp2p node. Only a connection shows its pool, so one is made, and the node is
    /// reported when it has.
    fn on_mdns_found(&mut self, peer: &PeerId, address: Multiaddr, now: Instant) {
        let Some(node) = node_id(peer) else { return };
        let known = self.mdns.contains_key(&node);
        let full = !known && self.mdns.len() >= MDNS_NODES_MAX;
        if node == self.me || full || self.foreign.contains(&node, now) {
            return;
        }
        let (address, _) = split_peer(address);
        let seen = self.mdns.entry(node).or_default();
        if seen.addresses.len() < MDNS_ADDRESSES_MAX && !seen.addresses.contains(&address) {
            seen.addresses.push(address.clone());
        }
        self.book.learn(node, address, false);
        if self.peers.get(&node).is_some_and(|peer| peer.announced) {
            self.tell_mdns(node);
        } else {
            self.book.want(node, MDNS_TRIES, now);
        }
    }

    /// Reports a node that mDNS found and that is of our pool, once.
    pub(super) fn tell_mdns(&mut self, node: NodeId) {
        if let Some(seen) = self.mdns.get_mut(&node)
            && !seen.told
        {
            seen.told = true;
            let addresses = seen.addresses.iter().map(Multiaddr::to_string).collect();
            self.emit(TransportEvent::DiscoveredByMdns { node, addresses });
        }
    }

    /// Whether Kademlia has anybody to ask.
    pub(super) fn can_search(&mut self) -> bool {
        self.searches.len() < SEARCHES_MAX
            && self.swarm.behaviour_mut().kad.kbuckets().any(|bucket| bucket.num_entries() > 0)
    }

    /// Asks the network where a node is. False: there is nobody to ask.
    pub(super) fn search(&mut self, node: NodeId, peer: PeerId) -> bool {
        if !self.can_search() {
            return false;
        }
        let query = self.swarm.behaviour_mut().kad.get_closest_peers(peer);
        self.searches.insert(query, node);
        true
    }

    pub(super) fn on_kad(&mut self, event: kad::Event) {
        let kad::Event::OutboundQueryProgressed { id, result, step, .. } = event else { return };
        let QueryResult::GetClosestPeers(result) = result else { return };
        let Some(node) = self.searches.get(&id).copied() else { return };
        let peers = match result {
            Ok(found) => found.peers,
            Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        for found in peers {
            if node_id(&found.peer_id) == Some(node) {
                for address in found.addrs {
                    self.book.learn(node, split_peer(address).0, false);
                }
            }
        }
        if !step.last {
            return;
        }
        self.searches.remove(&id);
        if self.is_connected(&node) {
            return; // The query itself connected to it; identify decides.
        }
        if self.book.addresses(&node).is_empty() {
            self.emit(TransportEvent::DialFailed {
                node: Some(node),
                addresses: Vec::new(),
                error: "no address of the node is known or was found".to_owned(),
            });
            self.give_up_unless_again(node, Instant::now());
        } else {
            self.dial_due(node);
        }
    }
}
