//! Real sockets on loopback: what two or more transports do to each other.

mod support;

mod exchange;
mod gossip;
mod hostile;
mod paths;
mod pools;
mod reconnect;
