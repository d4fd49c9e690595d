//! The libp2p driver that carries the peer's messages.
//!
//! It turns "these bytes, to that [`NodeId`]" into packets: TCP, QUIC and WebSocket connections
//! secured by Noise or TLS 1.3, request-response streams for direct messages, gossipsub for
//! announcements, a small Kademlia for finding addresses, mDNS on a local network, a circuit relay
//! for nodes that cannot be reached. It is not a place for decisions: it does not know what a frame
//! means, whom the pool admits, what a task is or who is owed what.
//!
//! The model: [`Transport::start`] spawns one task that owns the libp2p swarm. A cloneable
//! [`TransportHandle`] puts frames into bounded queues and never blocks; everything that happens
//! comes back as a [`TransportEvent`]. Frames to one peer arrive in the order they were sent, each
//! at most once in a run of the receiver: whatever is queued for a peer leaves as one batch, one
//! batch is in flight at a time, a batch carries a sequence number, and it is acknowledged when the
//! receiver's application has taken it. A batch whose connection broke is sent again a bounded
//! number of times and then dropped, so the upper layer keeps its own retries. The 32 bytes of a
//! [`NodeId`] are an Ed25519 public key and give the libp2p `PeerId` and back ([`peer_id_of`],
//! [`node_id_of`]); the handshake proves that a connection belongs to that key. Every protocol name
//! carries the pool's genesis hash, so nodes of two pools have no protocol in common, and a
//! connection whose `identify` answer names another pool is closed before anything is reported.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use edge_transport::{Transport, TransportConfig, TransportEvent};
//!
//! let genesis = [7; 32];
//! let listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
//! let config =
//!     |seed| TransportConfig { listen: listen.clone(), ..TransportConfig::new(seed, genesis) };
//! let (alice, _events) = Transport::start(config([1; 32]))?;
//! let (bob, mut events) = Transport::start(config([2; 32]))?;
//!
//! alice.keep(bob.node(), bob.listen_addresses().await?)?;
//! alice.send(bob.node(), vec![b"hello".to_vec()]);
//! while let Some(event) = events.recv().await {
//!     if let TransportEvent::Message { from, frame } = event {
//!         assert_eq!((from, frame), (alice.node(), b"hello".to_vec()));
//!         break;
//!     }
//! }
//! alice.shutdown().await;
//! bob.shutdown().await;
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```
//!
//! Invariants
//! - A [`TransportEvent::Message`] names the key that the connection's handshake proved; it follows
//!   that node's [`TransportEvent::Connected`].
//! - Every queue has a bound in [`Limits`]; at the bound the newest frame is dropped and counted, or
//!   the sender is held back by a late acknowledgement.
//! - Nothing a remote sends panics: a malformed batch closes its stream.
//! - Only `platform` knows the operating system; the rest compiles for any target libp2p has.

mod batch;
mod behaviour;
mod book;
mod codec;
mod config;
mod driver;
mod error;
mod event;
mod handle;
mod identity;
mod limit;
mod outgoing;
mod platform;
mod stats;

pub use batch::{BATCH_FRAMES_MAX, BatchError, decode_batch, encode_batch};
pub use codec::read_request;
pub use config::{Limits, TransportConfig};
pub use edge_base::{NodeId, Validation};
pub use error::TransportError;
pub use event::TransportEvent;
pub use handle::{Transport, TransportHandle};
pub use identity::{IdentityError, node_id_of, node_id_of_seed, peer_id_of};
pub use stats::{PeerStats, TransportKind, TransportStats};
