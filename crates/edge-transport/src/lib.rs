//! The libp2p driver that carries the peer's messages.
