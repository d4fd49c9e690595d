//! Counters.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_base::NodeId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// TCP with Noise and Yamux.
    Tcp,
    /// QUIC version 1 with TLS 1.3.
    Quic,
    /// WebSocket over TCP, with or without TLS, with Noise and Yamux inside.
    WebSocket,
    /// A circuit through another node, with Noise and Yamux inside.
    Relayed,
}

impl TransportKind {
    /// `tcp`, `quic`, `websocket`, `relayed`.
    pub fn name(self) -> &'static str {
        match self {
            TransportKind::Tcp => "tcp",
            TransportKind::Quic => "quic",
            TransportKind::WebSocket => "websocket",
            TransportKind::Relayed => "relayed",
        }
    }

    pub(crate) fn of(address: &Multiaddr) -> Self {
        let mut kind = TransportKind::Tcp;
        for protocol in address {
            match protocol {
                Protocol::P2pCircuit => return TransportKind::Relayed,
                Protocol::QuicV1 => kind = TransportKind::Quic,
                Protocol::Ws(_) | Protocol::Wss(_) => kind = TransportKind::WebSocket,
                _ => {}
            }
        }
        kind
    }
}

/// Counters of one peer, since the transport started. Bytes are those of our frames, without
/// lengths, encryption or retransmission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Connections now.
    pub connections: u32,
    /// What carries the oldest of them.
    pub transport: Option<TransportKind>,
    /// The latest round trip measured by ping.
    pub rtt: Option<Duration>,
    /// Direct frames that the peer acknowledged.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Direct frames that the peer sent and the application took.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Direct frames dropped on the way out: queue full, too large, unreachable, out of attempts.
    pub dropped_frames: u64,
    /// Published frames that came by way of this peer, for the first time.
    pub gossip_frames: u64,
    /// Their bytes.
    pub gossip_bytes: u64,
    /// Requests and published frames of the peer that were refused: out of turn, over the rate.
    pub refused: u64,
}

/// Counters of a transport.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransportStats {
    /// Every remembered peer.
    pub peers: BTreeMap<NodeId, PeerStats>,
    /// Connections now, those not yet identified included.
    pub connections: u32,
    /// Frames published here.
    pub published_frames: u64,
    /// Their bytes.
    pub published_bytes: u64,
    /// Frames that could not be published: queue full, nobody connected, a repetition.
    pub publish_dropped: u64,
    /// Nodes that were turned away because their pool is another one.
    pub foreign_peers: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (address, kind) in [
            ("/ip4/1.2.3.4/tcp/5", TransportKind::Tcp),
            ("/ip6/::1/udp/5/quic-v1", TransportKind::Quic),
            ("/dns4/example.org/tcp/443/wss", TransportKind::WebSocket),
            ("/ip4/1.2.3.4/tcp/5/ws", TransportKind::WebSocket),
            ("/ip4/1.2.3.4/tcp/5/p2p-circuit", TransportKind::Relayed),
        ] {
            assert_eq!(TransportKind::of(&address.parse().unwrap()), kind, "{address}");
        }
    }
}
