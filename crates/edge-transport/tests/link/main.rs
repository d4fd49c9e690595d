//! Real sockets on loopback: what two or more transports do to each other.

// Helpers outside of test functions fail tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod exchange;
mod gossip;
mod hostile;
mod paths;
mod pools;
mod reconnect;
