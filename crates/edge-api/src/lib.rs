//! HTTP API of a node: JSON under `/api/v1`, events as SSE, health and Prometheus metrics.
//!
//! It is a client of [`edge_node::Jobs`] and [`edge_swarm::Command`], like the command line is a
//! client of it; it decides nothing. It listens on a loopback address unless the owner set another
//! one and a token. A request whose `Host` is a foreign name is refused, so that a page elsewhere
//! cannot reach the node by rebinding a name, and no cross-origin header is ever sent.
//!
//! Every object has a `schema` field that names its shape and version. Errors are
//! `{schema, error: {what, why, next}}` with a status that follows from the refusal: 404 not found,
//! 400 invalid, 403 refused, 408 too late, 500 failed.
//!
//! ```no_run
//! # async fn example(node: edge_node::NodeHandle) -> Result<(), edge_api::ApiError> {
//! let server = edge_api::serve(node).await?;
//! println!("{}", server.url());
//! server.stop_requested().await;
//! # Ok(())
//! # }
//! ```
//!
//! Invariants
//! - A number in `/metrics` is a counter of the running node, never an estimate.
//! - Bodies and answers are bounded; a bad body is a 400 that says where.

mod connections;
mod error;
mod events;
mod guard;
mod metrics;
mod routes;
mod server;
mod web;

pub use server::{ApiError, Listening, Server, serve};
