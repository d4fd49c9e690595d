//! The task that owns the swarm: one loop over what the network, the handles, the clock and the
//! application's channel have to say.

mod connections;
mod direct;
mod discovery;
mod gossip;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use edge_base::NodeId;
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::InboundRequestId;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, gossipsub, kad};
use tokio::sync::{mpsc, oneshot};

use crate::behaviour::{Behaviour, BehaviourEvent, Names, setup};
use crate::book::{Book, leads_somewhere};
use crate::config::{Limits, TransportConfig};
use crate::error::TransportError;
use crate::event::TransportEvent;
use crate::handle::Command;
use crate::identity::{node_id_of, peer_id_of};
use crate::limit::TokenBucket;
use crate::outgoing::Shared;
use crate::platform::{self, Instant};
use crate::stats::{PeerStats, TransportKind};

use connections::{Connection, Dial};
use direct::{Inbound, Outbound};
use discovery::{Foreign, MdnsSeen};

/// Items that wait for the application beyond its channel; above it the network is not read, so that
/// remotes are held back. One batch of every peer fits on top.
const OUTBOX_MAX: usize = 16_384;
/// How long shutting down waits for deliveries, and then for connections to close.
const FLUSH: Duration = Duration::from_secs(1);
const CLOSE: Duration = Duration::from_millis(500);
/// How long the interfaces have to report their addresses to a listener on all of them, so that the
/// first list is the whole one.
const SETTLE: Duration = Duration::from_millis(100);
/// How long until a relay that was lost is asked for an address again.
const CIRCUIT_AGAIN: Duration = Duration::from_secs(3);
/// Longest sleep; only so that there is always a number.
const IDLE: Duration = Duration::from_secs(3_600);

/// What waits for room in the application's channel, in order.
#[derive(Debug)]
enum OutboxItem {
    Event(TransportEvent),
    /// All frames of the peer's batch before this were taken: acknowledge it.
    Taken(NodeId),
}

/// What the clock is asked to remind of.
#[derive(Debug, Clone, Copy)]
enum Timer {
    /// The connection must have shown its pool by now.
    Verify(PeerId, ConnectionId),
    /// A batch held back for its rate may pass.
    Pass(NodeId),
    /// A batch whose sending failed is tried again.
    Resend(NodeId),
    /// A listener on all interfaces has named them by now.
    Settled(ListenerId),
    /// An address at a relay was lost: it is asked for again.
    Circuit(usize),
}

/// A node that is, or was, connected.
#[derive(Debug)]
struct Peer {
    connections: Vec<Connection>,
    /// It showed that it is of our pool.
    verified: bool,
    /// The application was told.
    announced: bool,
    /// It may hear and say what is published.
    admitted: bool,
    /// Ping has answered or given up once.
    pinged: bool,
    outbound: Outbound,
    inbound: Inbound,
    byte_rate: TokenBucket,
    frame_rate: TokenBucket,
    touched: u64,
}

#[derive(Debug)]
struct Listener {
    addresses: Vec<Multiaddr>,
    /// Through a relay, which of those asked for: may take for ever, so nobody waits for it.
    circuit: Option<usize>,
    /// On all interfaces, which report their addresses one by one.
    wildcard: bool,
    bound: bool,
}

/// See the module.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    me: NodeId,
    names: Names,
    limits: Limits,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<TransportEvent>,
    outbox: VecDeque<OutboxItem>,
    timers: BTreeMap<(Instant, u64), Timer>,
    /// Makes keys of `timers` unique and orders peers by use.
    counter: u64,
    /// Distinguishes this run of the node from the one before.
    session: u64,
    peers: HashMap<NodeId, Peer>,
    /// Acknowledgements that are being written.
    answering: HashSet<InboundRequestId>,
    /// Published frames whose judgement is not in, by number.
    unjudged: BTreeMap<u64, (gossipsub::MessageId, PeerId)>,
    book: Book,
    dials: HashMap<ConnectionId, Dial>,
    foreign: Foreign,
    mdns: HashMap<NodeId, MdnsSeen>,
    searches: HashMap<kad::QueryId, NodeId>,
    listeners: HashMap<ListenerId, Listener>,
    /// Addresses at relays that are wanted.
    circuits: Vec<Multiaddr>,
    listen_waiters: Vec<oneshot::Sender<Vec<String>>>,
    /// Set by shutdown: when to give up delivering.
    ends_at: Option<Instant>,
    shutdown_waiters: Vec<oneshot::Sender<()>>,
}

impl Driver {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        me: NodeId,
        config: &TransportConfig,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<TransportEvent>,
    ) -> Result<Self, TransportError> {
        let session = getrandom::u64().map_err(setup)?;
        let limits = config.limits.clone();
        Ok(Driver {
            swarm,
            me,
            names: Names::new(&config.genesis_hash),
            shared,
            commands,
            events,
            outbox: VecDeque::new(),
            timers: BTreeMap::new(),
            counter: 0,
            session,
            peers: HashMap::new(),
            answering: HashSet::new(),
            unjudged: BTreeMap::new(),
            book: Book::new(limits.known_peers, session),
            dials: HashMap::new(),
            foreign: Foreign::default(),
            mdns: HashMap::new(),
            searches: HashMap::new(),
            listeners: HashMap::new(),
            circuits: Vec::new(),
            listen_waiters: Vec::new(),
            ends_at: None,
            shutdown_waiters: Vec::new(),
            limits,
        })
    }

    pub(crate) fn listen(&mut self, address: &str) -> Result<(), TransportError> {
        let failed = |error: &dyn std::error::Error| TransportError::Listen {
            address: address.to_owned(),
            reason: reason(error),
        };
        let parsed: Multiaddr = address.parse().map_err(|error| TransportError::Address {
            address: address.to_owned(),
            reason: format!("{error}"),
        })?;
        if parsed.iter().any(|protocol| protocol == Protocol::P2pCircuit) {
            self.circuits.push(parsed);
            return self.ask_relay(self.circuits.len() - 1).map_err(|error| failed(&error));
        }
        let wildcard = !leads_somewhere(&parsed, true);
        platform::check_free(&parsed).map_err(|error| failed(&error))?;
        let id = self.swarm.listen_on(parsed).map_err(|error| failed(&error))?;
        let listener = Listener { addresses: Vec::new(), circuit: None, wildcard, bound: false };
        self.listeners.insert(id, listener);
        Ok(())
    }

    /// Asks a relay for an address.
    fn ask_relay(&mut self, circuit: usize) -> Result<(), libp2p::TransportError<std::io::Error>> {
        let Some(relay) = self.circuits.get(circuit).cloned() else { return Ok(()) };
        let id = self.swarm.listen_on(relay)?;
        let circuit = Some(circuit);
        let listener = Listener { addresses: Vec::new(), circuit, wildcard: false, bound: false };
        self.listeners.insert(id, listener);
        Ok(())
    }

    /// A relay that was lost is asked again for as long as this node runs.
    fn ask_relay_again(&mut self, circuit: usize) {
        if let Err(error) = self.ask_relay(circuit) {
            tracing::debug!(%error, "a relay cannot be asked");
            self.remind(Instant::now() + CIRCUIT_AGAIN, Timer::Circuit(circuit));
        }
    }

    pub(crate) async fn run(mut self) {
        while self.step().await {}
        self.close().await;
        let waiters = std::mem::take(&mut self.shutdown_waiters);
        // Sockets are free before anybody is told that they are.
        drop(self);
        for waiter in waiters {
            // An error means that the caller has stopped waiting.
            let _ = waiter.send(());
        }
    }

    /// One turn; false ends the task.
    async fn step(&mut self) -> bool {
        let now = Instant::now();
        self.on_time(now);
        self.send_what_waits();
        self.deliver();
        if self.ends_at.is_some_and(|at| at <= now || self.all_is_sent()) {
            return false;
        }
        let wake_at = self.wake_at().unwrap_or(now + IDLE);
        let room = self.outbox.len() < OUTBOX_MAX;
        tokio::select! {
            event = self.swarm.select_next_some(), if room => self.on_swarm_event(event),
            command = self.commands.recv() => match command {
                Some(command) => self.on_command(command),
                None => return false,
            },
            open = has_room(&self.events), if !self.outbox.is_empty() => return open,
            () = self.events.closed() => return false,
            () = self.shared.wake.notified() => {}
            () = platform::sleep_until(wake_at) => {}
        }
        true
    }

    async fn close(&mut self) {
        self.shared.stop();
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error means that it is not connected.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let until = Instant::now() + CLOSE;
        while self.swarm.network_info().num_peers() > 0 {
            tokio::select! {
                _ = self.swarm.select_next_some() => {}
                () = platform::sleep_until(until) => break,
            }
        }
    }

    /// Hands items over until the channel is full.
    fn deliver(&mut self) {
        while let Some(item) = self.outbox.pop_front() {
            match item {
                OutboxItem::Taken(node) => self.acknowledge(node),
                OutboxItem::Event(event) => {
                    if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event)
                    {
                        self.outbox.push_front(OutboxItem::Event(event));
                        return;
                    }
                }
            }
        }
    }

    fn emit(&mut self, event: TransportEvent) {
        self.outbox.push_back(OutboxItem::Event(event));
    }

    /// Looks at the queues first and at the commands after: whoever says where a node is and then
    /// sends to it must not find that the frames were seen before the address.
    fn send_what_waits(&mut self) {
        let ready = self.shared.take_ready();
        while let Ok(command) = self.commands.try_recv() {
            self.on_command(command);
        }
        for node in ready {
            self.pump(node);
        }
        self.pass_judgements();
        self.pump_gossip();
    }

    fn all_is_sent(&self) -> bool {
        let connected = |node: &NodeId| self.peers.get(node).is_some_and(|peer| peer.announced);
        let in_flight =
            self.peers.values().any(|peer| peer.announced && peer.outbound.in_flight.is_some());
        !in_flight && self.answering.is_empty() && self.shared.nothing_waits(connected)
    }

    fn remind(&mut self, at: Instant, timer: Timer) {
        self.counter += 1;
        self.timers.insert((at, self.counter), timer);
    }

    fn wake_at(&self) -> Option<Instant> {
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        [timer, self.book.next_due(), self.ends_at].into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Timer::Verify(peer, connection) => self.check_verified(peer, connection),
                Timer::Pass(node) => self.pass_held(node),
                Timer::Resend(node) => self.pump(node),
                Timer::Settled(listener) => self.on_settled(listener),
                Timer::Circuit(circuit) => self.ask_relay_again(circuit),
            }
        }
        while let Some(node) = self.book.pop_due(now) {
            self.dial_due(node);
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { node: Some(node), addresses } => self.dial_node(node, addresses),
            Command::Dial { node: None, addresses } => {
                for address in addresses {
                    self.dial_anyone(address);
                }
            }
            Command::Keep { node, addresses } => self.keep(node, addresses),
            Command::Disconnect(node) => self.disconnect(node),
            Command::Ban(node) => self.ban(node),
            Command::Unban(node) => self.unban(node),
            Command::Admit(node) => self.set_admitted(node, true),
            Command::ListenAddresses(answer) => {
                self.listen_waiters.push(answer);
                self.answer_listen_waiters();
            }
            Command::Shutdown(done) => {
                self.shutdown_waiters.push(done);
                self.ends_at.get_or_insert(Instant::now() + FLUSH);
            }
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.on_closed(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(dial) = self.dials.remove(&connection_id) {
                    self.on_dial_error(dial, &error);
                }
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.on_listen_address(listener_id, address);
            }
            SwarmEvent::ExpiredListenAddr { listener_id, address } => {
                if let Some(listener) = self.listeners.get_mut(&listener_id) {
                    listener.addresses.retain(|known| *known != address);
                }
                self.swarm.remove_external_address(&address);
                self.report_listening();
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Err(error) = reason {
                    tracing::warn!(%error, "a listener closed");
                }
                let closed = self.listeners.remove(&listener_id);
                if let Some(circuit) = closed.and_then(|listener| listener.circuit) {
                    self.remind(Instant::now() + CIRCUIT_AGAIN, Timer::Circuit(circuit));
                }
                self.report_listening();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "listener"),
            SwarmEvent::IncomingConnectionError { error, .. } => {
                tracing::debug!(%error, "an incoming connection was not made");
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Direct(event) => self.on_direct(event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Mdns(event) => self.on_mdns(event),
            BehaviourEvent::Relay(event) => tracing::debug!(?event, "relay"),
            BehaviourEvent::RelayClient(event) => tracing::debug!(?event, "relay client"),
            BehaviourEvent::Limits(never) => match never {},
            BehaviourEvent::Banned(never) => match never {},
        }
    }

    fn on_listen_address(&mut self, id: ListenerId, address: Multiaddr) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        if listener.wildcard && listener.addresses.is_empty() {
            self.remind(Instant::now() + SETTLE, Timer::Settled(id));
        }
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        listener.bound |= !listener.wildcard;
        if !listener.addresses.contains(&address) {
            listener.addresses.push(address.clone());
        }
        if listener.circuit.is_none() {
            // Kademlia offers itself only once an external address is known, and reservations name them.
            self.swarm.add_external_address(address);
        }
        self.report_listening();
    }

    fn on_settled(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.bound = true;
            self.report_listening();
        }
    }

    fn all_bound(&self) -> bool {
        self.listeners.values().all(|listener| listener.bound || listener.circuit.is_some())
    }

    fn listen_addresses(&self) -> Vec<String> {
        let suffix = Protocol::P2p(*self.swarm.local_peer_id());
        let mut addresses: Vec<String> = self
            .listeners
            .values()
            .flat_map(|listener| &listener.addresses)
            .map(|address| match address.iter().last() {
                Some(Protocol::P2p(_)) => address.to_string(),
                _ => address.clone().with(suffix.clone()).to_string(),
            })
            .collect();
        addresses.sort_unstable();
        addresses
    }

    fn report_listening(&mut self) {
        if self.all_bound() {
            let addresses = self.listen_addresses();
            self.emit(TransportEvent::Listening { addresses });
            self.answer_listen_waiters();
        }
    }

    fn answer_listen_waiters(&mut self) {
        if self.all_bound() {
            let addresses = self.listen_addresses();
            for waiter in self.listen_waiters.drain(..) {
                // An error means that the caller has stopped waiting.
                let _ = waiter.send(addresses.clone());
            }
        }
    }

    /// The state of a connected node, made where there is none; an unconnected one makes room.
    fn peer_entry(&mut self, node: NodeId) -> &mut Peer {
        if !self.peers.contains_key(&node) {
            self.make_room();
        }
        self.counter += 1;
        let touched = self.counter;
        let limits = &self.limits;
        let peer = self.peers.entry(node).or_insert_with(|| {
            let now = Instant::now();
            Peer {
                connections: Vec::new(),
                verified: false,
                announced: false,
                admitted: false,
                pinged: false,
                outbound: Outbound::default(),
                inbound: Inbound::default(),
                byte_rate: TokenBucket::new(limits.inbound_bytes_per_second, now),
                frame_rate: TokenBucket::new(limits.inbound_frames_per_second, now),
                touched,
            }
        });
        peer.touched = touched;
        peer
    }

    fn make_room(&mut self) {
        let max = self.limits.known_peers;
        while self.peers.len() >= max {
            let idle = |node: &NodeId, peer: &Peer| {
                peer.connections.is_empty()
                    && peer.outbound.in_flight.is_none()
                    && peer.inbound.waiting.is_none()
                    && !self.book.is_kept(node)
            };
            let oldest = self
                .peers
                .iter()
                .filter(|(node, peer)| idle(node, peer))
                .min_by_key(|(_, peer)| peer.touched)
                .map(|(node, _)| *node);
            // The number of connections bounds those that are not idle.
            let Some(oldest) = oldest else { break };
            self.peers.remove(&oldest);
        }
        let mut stats = self.shared.stats();
        if stats.peers.len() >= max {
            let known = &self.peers;
            stats.peers.retain(|node, _| known.contains_key(node));
        }
    }

    fn with_stats(&self, node: &NodeId, change: impl FnOnce(&mut PeerStats)) {
        change(self.shared.stats().peers.entry(*node).or_default());
    }

    /// Writes what is true of a node's connections now into the counters.
    fn refresh_stats(&self, node: &NodeId) {
        let mut stats = self.shared.stats();
        stats.connections = self.swarm.network_info().connection_counters().num_established();
        let Some(peer) = self.peers.get(node) else {
            stats.peers.remove(node);
            return;
        };
        let entry = stats.peers.entry(*node).or_default();
        entry.connections = peer.connections.len() as u32;
        let oldest = peer.connections.first();
        entry.transport = oldest.map(|connection| TransportKind::of(&connection.address));
        if oldest.is_none() {
            entry.rtt = None;
        }
    }
}

/// Waits until the channel takes an item; false when nobody reads it any more.
async fn has_room(events: &mpsc::Sender<TransportEvent>) -> bool {
    events.reserve().await.is_ok()
}

/// A node's PeerId, for nodes that came from a PeerId or were checked by the handle.
fn peer_id(node: &NodeId) -> Option<PeerId> {
    peer_id_of(node).ok()
}

/// The node of a PeerId; whoever has no Ed25519 key is nobody to us.
fn node_id(peer: &PeerId) -> Option<NodeId> {
    node_id_of(peer).ok()
}

/// An error with its causes, for people.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
