//! The outside: starting, and what a program calls.

use std::sync::Arc;

use edge_base::{NodeId, Validation};
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot};

use crate::config::TransportConfig;
use crate::driver::Driver;
use crate::error::TransportError;
use crate::event::TransportEvent;
use crate::identity::{keypair, peer_id_of};
use crate::outgoing::Shared;
use crate::platform;
use crate::stats::TransportStats;

/// Calls that wait for the driver.
const COMMANDS_MAX: usize = 1_024;

/// What a handle asks of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Dial { node: Option<NodeId>, addresses: Vec<Multiaddr> },
    Keep { node: NodeId, addresses: Vec<Multiaddr> },
    Disconnect(NodeId),
    Ban(NodeId),
    Unban(NodeId),
    Admit(NodeId),
    ListenAddresses(oneshot::Sender<Vec<String>>),
    Shutdown(oneshot::Sender<()>),
}

/// Starts transports.
#[derive(Debug)]
pub struct Transport;

impl Transport {
    /// Binds every address of the configuration and spawns the task that drives the swarm. To be
    /// called inside a tokio runtime, which the task then runs on. The task ends with
    /// [`TransportHandle::shutdown`], when every handle is dropped, or when the receiver is.
    pub fn start(
        config: TransportConfig,
    ) -> Result<(TransportHandle, mpsc::Receiver<TransportEvent>), TransportError> {
        let (key, node) = keypair(&config.secret_seed);
        let swarm = platform::build_swarm(key, &config)?;
        let (commands, command_receiver) = mpsc::channel(COMMANDS_MAX);
        let (events, event_receiver) = mpsc::channel(config.limits.event_queue.max(1));
        let shared = Arc::new(Shared::new(config.limits.clone()));
        let mut driver =
            Driver::new(swarm, node, &config, Arc::clone(&shared), command_receiver, events)?;
        for address in &config.listen {
            driver.listen(address)?;
        }
        platform::spawn(driver.run());
        Ok((TransportHandle { node, shared, commands }, event_receiver))
    }
}

/// A running transport. Clones are the same transport.
#[derive(Debug, Clone)]
pub struct TransportHandle {
    node: NodeId,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl TransportHandle {
    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Queues frames for a node, in order, and returns how many were taken; never blocks. The rest
    /// (queue full, a frame over the limit and those after it, transport stopped) is dropped and
    /// counted in [`PeerStats::dropped_frames`](crate::PeerStats::dropped_frames).
    ///
    /// A node that is not connected is dialled at the addresses known for it; with none, or after
    /// some failures, what waits for it is dropped. Taken does not mean delivered.
    pub fn send(&self, to: NodeId, frames: Vec<Vec<u8>>) -> usize {
        self.shared.push(to, frames)
    }

    /// Queues a frame for every node of the pool that gossip reaches; never blocks. Not delivered to
    /// this node itself. The same bytes published again within a minute go nowhere.
    pub fn publish(&self, frame: Vec<u8>) -> Result<(), TransportError> {
        let limit = self.shared.limits.gossip_bytes;
        if frame.len() > limit {
            return Err(TransportError::FrameTooLarge { bytes: frame.len(), limit });
        }
        if self.commands.is_closed() {
            return Err(TransportError::Stopped);
        }
        if self.shared.push_gossip(frame) { Ok(()) } else { Err(TransportError::Busy) }
    }

    /// Dials once. Without addresses the ones known for the node are taken, or Kademlia is asked;
    /// without a node whoever answers at each address is. The outcome is an event.
    pub fn dial(&self, node: Option<NodeId>, addresses: Vec<String>) -> Result<(), TransportError> {
        if let Some(node) = node {
            peer_id_of(&node)?;
        }
        self.command(Command::Dial { node, addresses: parse(addresses)? })
    }

    /// Connects to a node and connects again whenever the connection is lost, with delays of 0.2 s
    /// growing to 10 s, until [`disconnect`](Self::disconnect) or [`ban`](Self::ban). The addresses
    /// are added to those known.
    pub fn keep(&self, node: NodeId, addresses: Vec<String>) -> Result<(), TransportError> {
        peer_id_of(&node)?;
        self.command(Command::Keep { node, addresses: parse(addresses)? })
    }

    /// Closes all connections to a node, drops what waits for it and no longer keeps it.
    pub fn disconnect(&self, node: NodeId) -> Result<(), TransportError> {
        self.command(Command::Disconnect(node))
    }

    /// Disconnects a node, forgets it and refuses it until [`unban`](Self::unban) or the end of the
    /// transport.
    pub fn ban(&self, node: NodeId) -> Result<(), TransportError> {
        self.command(Command::Ban(node))
    }

    /// Refuses a node no longer.
    pub fn unban(&self, node: NodeId) -> Result<(), TransportError> {
        self.command(Command::Unban(node))
    }

    /// A connected node may hear what is published and publish, until its last connection ends.
    /// Before, nothing published is sent to it or taken from it.
    pub fn admit(&self, node: NodeId) -> Result<(), TransportError> {
        self.command(Command::Admit(node))
    }

    /// Says what becomes of a published frame that came in; never blocks. What nobody judges goes no
    /// further.
    pub fn judge(&self, number: u64, validation: Validation) {
        self.shared.push_judgement(number, validation);
    }

    /// The addresses this node listens on, with `/p2p/` suffix; waits until all are bound.
    pub async fn listen_addresses(&self) -> Result<Vec<String>, TransportError> {
        let (answer, addresses) = oneshot::channel();
        self.commands
            .send(Command::ListenAddresses(answer))
            .await
            .map_err(|_| TransportError::Stopped)?;
        addresses.await.map_err(|_| TransportError::Stopped)
    }

    /// The counters now.
    pub fn stats(&self) -> TransportStats {
        self.shared.stats().clone()
    }

    /// Delivers what is queued for connected nodes (for at most a second), closes all connections
    /// and ends the task. The event receiver then ends, too. TCP ports are free again; a QUIC port
    /// stays taken for some seconds more while the process lives, as its connections drain
    /// (RFC 9000, section 10.2).
    pub async fn shutdown(&self) {
        self.shared.stop();
        let (answer, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown(answer)).await.is_ok() {
            // An error means that the task is gone, which is what was asked for.
            let _ = done.await;
        }
    }

    fn command(&self, command: Command) -> Result<(), TransportError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => TransportError::Busy,
            mpsc::error::TrySendError::Closed(_) => TransportError::Stopped,
        })
    }
}

/// Reads multiaddresses.
pub(crate) fn parse(addresses: Vec<String>) -> Result<Vec<Multiaddr>, TransportError> {
    addresses
        .into_iter()
        .map(|address| match address.parse() {
            Ok(parsed) => Ok(parsed),
            Err(error) => {
                let reason = format!("{error}");
                Err(TransportError::Address { address, reason })
            }
        })
        .collect()
}
