//! The peer in a browser's worker.
//!
//! The same `edge_swarm::Peer` and `edge_transport::Transport` as in the daemon, driven by a browser:
//! WebSocket to gateways, other tabs through a relay on one of them, the page's storage, and workers of
//! their own for computation. What those offer comes in as a `Host`; what the page may ask of the peer
//! is `Node`. Payloads and results are bytes here as they are to the peer: `edge-wasm-compute` makes and
//! reads them.
//!
//! Invariants
//! - What the peer says leaves after what it stored before is durable, as in the daemon: a tab that is
//!   killed has told nobody what it forgot.
//! - Nothing here blocks: this worker never computes a task.

#![cfg(target_arch = "wasm32")]

mod calls;
mod host;
mod node;
mod run;
mod stored;

pub use host::Host;
pub use node::{Node, Options, is_member, ticket_pool};

use edge_base::Timestamp;
use wasm_bindgen::JsError;
use web_time::Instant;

/// Microseconds since this worker first asked.
fn now() -> Timestamp {
    thread_local!(static START: Instant = Instant::now());
    let since = START.with(|start| start.elapsed());
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// 32 random bytes of the browser's.
fn entropy() -> Result<[u8; 32], JsError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| JsError::new(&format!("the browser gives no random numbers: {error}")))?;
    Ok(bytes)
}
