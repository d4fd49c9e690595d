//! What a transport is started with.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

/// Settings of one transport.
#[derive(Clone)]
pub struct TransportConfig {
    /// The node's Ed25519 seed: its NodeId, its PeerId and its handshakes come from it.
    pub secret_seed: Zeroizing<[u8; 32]>,
    /// Multiaddresses to listen on, `/ip4/127.0.0.1/tcp/0`, `/ip4/0.0.0.0/udp/0/quic-v1`,
    /// `/ip4/127.0.0.1/tcp/0/ws`. Port 0 takes a free one. Empty: dials only.
    pub listen: Vec<String>,
    /// The pool. Nodes with different hashes cannot talk.
    pub genesis_hash: [u8; 32],
    /// Whether to look for peers of the same pool on the local network.
    pub mdns: bool,
    /// What `identify` tells others about the program.
    pub agent: String,
    /// Bounds.
    pub limits: Limits,
}

impl TransportConfig {
    /// Defaults: listens nowhere, no mDNS.
    pub fn new(secret_seed: [u8; 32], genesis_hash: [u8; 32]) -> Self {
        TransportConfig {
            secret_seed: Zeroizing::new(secret_seed),
            listen: Vec::new(),
            genesis_hash,
            mdns: false,
            agent: concat!("edge-net/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
        }
    }
}

// By hand: the seed stays out of logs.
impl fmt::Debug for TransportConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportConfig")
            .field("listen", &self.listen)
            .field("mdns", &self.mdns)
            .field("agent", &self.agent)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The bounds of a transport. At a bound something is refused, dropped and counted, or delayed;
/// nothing grows without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Established connections in all; more are refused.
    pub connections: u32,
    /// Established connections to one peer (two that dial each other at once have two).
    pub connections_per_peer: u32,
    /// Largest frame sent directly; larger ones are refused on both sides.
    pub message_bytes: usize,
    /// Largest published frame.
    pub gossip_bytes: usize,
    /// Frames waiting for one peer, in bytes; the newest is dropped at the bound.
    pub outgoing_bytes_per_peer: usize,
    /// Frames waiting to be published, in bytes; the newest is dropped at the bound.
    pub outgoing_gossip_bytes: usize,
    /// Peers that are remembered (queues, addresses, counters); the longest unconnected are
    /// forgotten first, kept ones never.
    pub known_peers: usize,
    /// Payload one peer may send per second, averaged; direct frames beyond it are delayed, gossip
    /// is ignored. A burst of two seconds passes.
    pub inbound_bytes_per_second: u64,
    /// Frames one peer may send per second, averaged; as above.
    pub inbound_frames_per_second: u64,
    /// Events that wait for the application in the channel.
    pub event_queue: usize,
    /// Times a batch is sent before it is dropped.
    pub send_attempts: u32,
    /// How long one batch may take, acknowledgement included.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 64,
            connections_per_peer: 4,
            message_bytes: (1 << 20) + (64 << 10),
            gossip_bytes: 256 << 10,
            outgoing_bytes_per_peer: 32 << 20,
            outgoing_gossip_bytes: 8 << 20,
            known_peers: 1_024,
            inbound_bytes_per_second: 128 << 20,
            inbound_frames_per_second: 50_000,
            event_queue: 4_096,
            send_attempts: 5,
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// A batch stops growing here, unless a single frame is larger.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

impl Limits {
    /// The largest batch either side accepts.
    pub(crate) fn batch_bytes_max(&self) -> usize {
        BATCH_BYTES.max(self.message_bytes + crate::batch::FRAME_HEADER_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_not_printed() {
        let config = TransportConfig::new([0xab; 32], [0; 32]);
        assert!(!format!("{config:?}").contains("171"), "{config:?}");
    }
}
