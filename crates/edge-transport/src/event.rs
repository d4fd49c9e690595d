//! What the transport reports.

use std::time::Duration;

use edge_base::NodeId;

/// Something that happened. Addresses are multiaddresses in text form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportEvent {
    /// The addresses this node listens on, `/p2p/` suffix included: when all are bound, and again
    /// whenever they change.
    Listening {
        /// All of them.
        addresses: Vec<String>,
    },
    /// A node of the same pool is connected: its key was proved, its pool was named.
    Connected {
        /// The node.
        node: NodeId,
        /// The remote address of the first connection.
        address: String,
        /// The first measured round trip; absent when a message came before it.
        rtt: Option<Duration>,
    },
    /// The last connection to a node was closed. Follows every `Connected`.
    Disconnected {
        /// The node.
        node: NodeId,
    },
    /// A direct frame; `from` is authenticated by the connection's handshake.
    Message {
        /// The sender.
        from: NodeId,
        /// Its bytes.
        frame: Vec<u8>,
    },
    /// A published frame. It goes no further until [`judge`](crate::TransportHandle::judge) says so,
    /// within some seconds.
    Published {
        /// The connected node that brought it; it need not have written it.
        from: NodeId,
        /// Names it to `judge`.
        number: u64,
        /// Its bytes.
        frame: Vec<u8>,
    },
    /// mDNS found a node on the local network and it showed that it is of the same pool. It is not
    /// admitted to anything by that.
    DiscoveredByMdns {
        /// The node.
        node: NodeId,
        /// Where it listens.
        addresses: Vec<String>,
    },
    /// A dial failed, or reached a node that is not the one asked for or of another pool. Kept nodes
    /// are dialled again by themselves.
    DialFailed {
        /// The node, where one was named.
        node: Option<NodeId>,
        /// What was tried.
        addresses: Vec<String>,
        /// Why it failed, for people.
        error: String,
    },
}
