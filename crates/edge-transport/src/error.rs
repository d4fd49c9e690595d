//! Errors of the handle and of starting.

use thiserror::Error;

/// Why a transport did not start or did not take a call.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The caller's: not a multiaddress.
    #[error("not a multiaddress: {address}: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The environment's: the port is taken or the address is not of this machine, or no transport
    /// listens on such addresses.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// What was given.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The caller's: the node id is not a public key.
    #[error(transparent)]
    Identity(#[from] crate::IdentityError),
    /// The caller's: the frame is larger than the limit.
    #[error("the frame of {bytes} bytes is larger than the {limit} bytes that are carried")]
    FrameTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The caller's: too much is waiting; try again later.
    #[error("too much is waiting to be sent")]
    Busy,
    /// The transport was shut down.
    #[error("the transport has stopped")]
    Stopped,
    /// The environment's: sockets, multicast or the resolver could not be set up.
    #[error("cannot set up the network: {0}")]
    Setup(String),
}
