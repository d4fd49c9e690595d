//! Connections: made, shown to be of the pool, measured, lost, made again.

use std::time::Duration;

use edge_base::NodeId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, identify, ping};

use super::{Driver, Timer, node_id, peer_id, reason};
use crate::book::{is_loopback, leads_somewhere, split_peer};
use crate::event::TransportEvent;
use crate::platform::Instant;

/// How long a connection may exist without saying which pool it is of.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a node of another pool that dialled us has to find out by itself.
const TURN_AWAY_DELAY: Duration = Duration::from_secs(1);
/// Pings in a row that may stay unanswered.
const PING_FAILURES_MAX: u32 = 2;
/// Nodes that can be banned; more are disconnected only.
const BANNED_MAX: usize = 4_096;
/// Addresses that one identify message may teach.
const IDENTIFY_ADDRESSES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) address: Multiaddr,
    /// The dial that made it.
    dial: Option<Dial>,
    ping_failures: u32,
    /// Why it ended, should it end before it showed its pool.
    error: &'static str,
}

/// A dial that we asked for.
#[derive(Debug)]
pub(super) struct Dial {
    node: Option<NodeId>,
    addresses: Vec<Multiaddr>,
}

fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    addresses.iter().map(Multiaddr::to_string).collect()
}

impl Driver {
    pub(super) fn is_connected(&self, node: &NodeId) -> bool {
        self.peers.get(node).is_some_and(|peer| !peer.connections.is_empty())
    }

    pub(super) fn on_established(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let dial = self.dials.remove(&connection);
        let Some(node) = node_id(&peer) else {
            self.swarm.close_connection(connection);
            return;
        };
        let (address, _) = split_peer(endpoint.get_remote_address().clone());
        let first = !self.is_connected(&node);
        self.peer_entry(node).connections.push(Connection {
            id: connection,
            address,
            dial,
            ping_failures: 0,
            error: "the node closed the connection at once",
        });
        if first {
            self.set_admitted(node, false);
        }
        self.remind(Instant::now() + VERIFY_TIMEOUT, Timer::Verify(peer, connection));
        self.refresh_stats(&node);
    }

    pub(super) fn check_verified(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(known) = node_id(&peer).and_then(|node| self.peers.get(&node)) else { return };
        if !known.verified {
            self.swarm.close_connection(connection);
        }
    }

    pub(super) fn on_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(node) = node_id(&peer) else { return };
        let Some(known) = self.peers.get_mut(&node) else { return };
        let Some(index) = known.connections.iter().position(|other| other.id == connection) else {
            return;
        };
        let closed = known.connections.remove(index);
        if known.connections.is_empty() {
            let announced = std::mem::take(&mut known.announced);
            let verified = std::mem::take(&mut known.verified);
            known.admitted = false;
            known.pinged = false;
            let now = Instant::now();
            if announced {
                self.emit(TransportEvent::Disconnected { node });
                self.book.disconnected(node, now);
                self.reach_if_needed(node);
            } else {
                let asked = closed.dial.map(|dial| dial.addresses);
                let wished = || self.book.is_dialing(&node).then(|| self.book.addresses(&node));
                if let Some(addresses) = asked.or_else(wished) {
                    self.emit(TransportEvent::DialFailed {
                        node: Some(node),
                        addresses: texts(&addresses),
                        error: closed.error.to_owned(),
                    });
                }
                self.give_up_unless_again(node, now);
            }
            let leaves_nothing = !verified
                && self.peers.get(&node).is_some_and(|peer| {
                    peer.outbound.in_flight.is_none() && peer.inbound.waiting.is_none()
                });
            if leaves_nothing && self.peers.get(&node).is_some_and(|peer| peer.is_blank()) {
                self.peers.remove(&node);
            }
        }
        self.refresh_stats(&node);
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id: peer, connection_id, info } = event else {
            return;
        };
        let Some(node) = node_id(&peer) else { return };
        if info.protocol_version != self.names.pool {
            self.turn_away(node, peer, connection_id);
            return;
        }
        let Some(known) = self.peers.get_mut(&node) else { return };
        known.verified = true;
        let Some(connection) = known.connections.iter().find(|c| c.id == connection_id) else {
            return;
        };
        let same_machine = is_loopback(&connection.address);
        // The address that a dial reached works; where an incoming one came from does not answer.
        let reached = connection.dial.is_some().then(|| connection.address.clone());
        if let Some(address) = reached {
            self.book.learn(node, address, true);
        }
        let told = info.listen_addrs.into_iter().take(IDENTIFY_ADDRESSES_MAX);
        for address in told.filter(|address| leads_somewhere(address, same_machine)) {
            let (address, named) = split_peer(address);
            if named.is_none_or(|named| named == peer) {
                self.book.learn(node, address.clone(), false);
                self.swarm.behaviour_mut().kad.add_address(&peer, address);
            }
        }
        self.announce_when_ready(node);
    }

    /// A node of another pool: closed before anybody hears of it. By the side that dialled at once,
    /// by the other a little later, so that the one that wants to know why learns it.
    fn turn_away(&mut self, node: NodeId, peer: PeerId, connection: ConnectionId) {
        self.shared.stats().foreign_peers += 1;
        let now = Instant::now();
        self.foreign.insert(node, now);
        let mut dialled = false;
        let connections = self.peers.get_mut(&node).map(|known| known.connections.iter_mut());
        for connection in connections.into_iter().flatten() {
            connection.error = "the node belongs to another pool";
            dialled |= connection.dial.is_some();
        }
        if dialled {
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        } else {
            self.remind(now + TURN_AWAY_DELAY, Timer::Verify(peer, connection));
        }
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        let Some(node) = node_id(&event.peer) else { return };
        let Some(known) = self.peers.get_mut(&node) else { return };
        let Some(connection) = known.connections.iter_mut().find(|c| c.id == event.connection)
        else {
            return;
        };
        known.pinged = true;
        match event.result {
            Ok(rtt) => {
                connection.ping_failures = 0;
                self.with_stats(&node, |stats| stats.rtt = Some(rtt));
            }
            Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                connection.ping_failures += 1;
                tracing::debug!(%node, %error, "ping");
                if connection.ping_failures >= PING_FAILURES_MAX {
                    self.swarm.close_connection(event.connection);
                }
            }
        }
        self.announce_when_ready(node);
    }

    fn announce_when_ready(&mut self, node: NodeId) {
        if self.peers.get(&node).is_some_and(|peer| peer.verified && peer.pinged) {
            self.announce(node);
        }
    }

    /// Reports a node of our pool as connected, once per stretch of being connected.
    pub(super) fn announce(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(connection) = peer.connections.first() else { return };
        if peer.announced {
            return;
        }
        peer.verified = true;
        peer.announced = true;
        let address = connection.address.to_string();
        let rtt = self.shared.stats().peers.get(&node).and_then(|stats| stats.rtt);
        self.emit(TransportEvent::Connected { node, address, rtt });
        self.book.connected(node);
        self.tell_mdns(node);
        self.pump(node);
    }

    pub(super) fn keep(&mut self, node: NodeId, addresses: Vec<Multiaddr>) {
        if node == self.me {
            return;
        }
        self.learn_given(node, addresses);
        let now = Instant::now();
        if self.book.keep(node, now) {
            self.book.hurry(node, now);
        } else {
            self.emit(TransportEvent::DialFailed {
                node: Some(node),
                addresses: Vec::new(),
                error: "too many nodes are kept".to_owned(),
            });
        }
    }

    pub(super) fn dial_node(&mut self, node: NodeId, addresses: Vec<Multiaddr>) {
        self.learn_given(node, addresses);
        let refused = if node == self.me {
            Some("the address is this node's own")
        } else if self.peers.get(&node).is_some_and(|peer| peer.announced) {
            return;
        } else {
            let now = Instant::now();
            let room = self.book.want(node, 1, now);
            self.book.hurry(node, now);
            (!room).then_some("too many nodes are kept")
        };
        if let Some(error) = refused {
            self.emit(TransportEvent::DialFailed {
                node: Some(node),
                addresses: texts(&self.book.addresses(&node)),
                error: error.to_owned(),
            });
        }
    }

    /// Addresses that a caller gave for a node; one that names somebody else is reported.
    fn learn_given(&mut self, node: NodeId, addresses: Vec<Multiaddr>) {
        for whole in addresses {
            let (address, named) = split_peer(whole.clone());
            if named.is_none() || named == peer_id(&node) {
                self.book.learn(node, address, false);
            } else {
                self.emit(TransportEvent::DialFailed {
                    node: Some(node),
                    addresses: vec![whole.to_string()],
                    error: "the address names another node".to_owned(),
                });
            }
        }
    }

    pub(super) fn dial_anyone(&mut self, whole: Multiaddr) {
        let (address, named) = split_peer(whole.clone());
        match named.map(|peer| node_id(&peer)) {
            Some(Some(node)) => self.dial_node(node, vec![whole]),
            Some(None) => self.emit(TransportEvent::DialFailed {
                node: None,
                addresses: vec![whole.to_string()],
                error: "the address names no Ed25519 key".to_owned(),
            }),
            None => {
                let dial = Dial { node: None, addresses: vec![address.clone()] };
                let options = DialOpts::unknown_peer_id().address(address);
                self.dial(options.allocate_new_port().build(), dial);
            }
        }
    }

    /// The book says that a node's time has come.
    pub(super) fn dial_due(&mut self, node: NodeId) {
        let Some(peer) = peer_id(&node) else {
            self.book.forget(&node);
            return;
        };
        if self.is_connected(&node) {
            if self.peers.get(&node).is_some_and(|peer| peer.announced) {
                self.book.connected(node);
            }
            return;
        }
        let addresses = self.book.addresses(&node);
        if addresses.is_empty() && self.search(node, peer) {
            return;
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses.clone())
            .extend_addresses_through_behaviour()
            .allocate_new_port()
            .build();
        self.dial(options, Dial { node: Some(node), addresses });
    }

    fn dial(&mut self, options: DialOpts, dial: Dial) {
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => drop(self.dials.insert(connection, dial)),
            Err(error) => self.on_dial_error(dial, &error),
        }
    }

    pub(super) fn on_dial_error(&mut self, dial: Dial, error: &DialError) {
        if let Some(node) = dial.node
            && self.is_connected(&node)
        {
            if self.peers.get(&node).is_some_and(|peer| peer.announced) {
                self.book.connected(node);
            }
            return;
        }
        // Somebody else, Kademlia say, is dialling it at this moment: not a failure to report.
        if !matches!(error, DialError::DialPeerConditionFalse(_)) {
            let addresses = texts(&dial.addresses);
            self.emit(TransportEvent::DialFailed {
                node: dial.node,
                addresses,
                error: reason(error),
            });
        }
        if let Some(node) = dial.node {
            self.give_up_unless_again(node, Instant::now());
        }
    }

    /// A dial or an unverified connection ended; what waits for the node is dropped when there is no
    /// further dial, or when there have been too many.
    pub(super) fn give_up_unless_again(&mut self, node: NodeId, now: Instant) {
        let again = self.book.failed(node, now);
        if !again || self.book.failures(&node) >= self.limits.send_attempts {
            self.discard(node);
            if let Some(peer) = peer_id(&node) {
                self.swarm.behaviour_mut().kad.remove_peer(&peer);
            }
        }
    }

    pub(super) fn disconnect(&mut self, node: NodeId) {
        self.book.release(&node);
        self.discard(node);
        if let Some(peer) = peer_id(&node) {
            // An error means that it is not connected.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    pub(super) fn ban(&mut self, node: NodeId) {
        self.disconnect(node);
        self.book.forget(&node);
        self.mdns.remove(&node);
        let Some(peer) = peer_id(&node) else { return };
        self.swarm.behaviour_mut().kad.remove_peer(&peer);
        let banned = &mut self.swarm.behaviour_mut().banned;
        if banned.blocked_peers().len() < BANNED_MAX {
            banned.block_peer(peer);
        }
    }

    pub(super) fn unban(&mut self, node: NodeId) {
        if let Some(peer) = peer_id(&node) {
            self.swarm.behaviour_mut().banned.unblock_peer(peer);
        }
    }
}
