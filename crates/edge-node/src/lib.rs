//! The daemon: what turns the peer's state machine into a program that runs on a machine.
//!
//! It is the place of clocks, threads, files, entropy and settings. It is not a place for protocol
//! decisions (those are `edge-swarm`'s), for what tasks compute (`edge-tasks`) or for anybody's
//! JSON (`edge-api`).
//!
//! The model: [`Node::start`] locks a data folder, opens the store, binds the network and starts
//! one thread for the peer, one for storage and some for work. A [`NodeHandle`] gives the peer
//! [`Command`](edge_swarm::Command)s and hands out its events. [`jobs::Jobs`] builds on that what
//! people ask for: embed texts, import a stream of records, search, match.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use edge_node::{Found, Jobs, Node, StartMode, config::{Config, Layers}};
//!
//! let flags = vec![("data-dir".to_owned(), "/tmp/my-node".to_owned())];
//! let config = Config::load(&Layers::of_process(None, flags))?;
//! let node = Node::start(config, StartMode::ResumeOrFound(Found::default())).await?;
//! let answer = Jobs::new(node.clone()).embed(&["hello".to_owned()], Default::default()).await?;
//! println!("{} dimensions", answer.dim);
//! node.shutdown(std::time::Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Invariants
//! - Nothing leaves the node before what it stands on is durable ([`store::Pipeline`]).
//! - One process a data folder. A store that is not the one that cast the votes never votes.
//! - Every queue has a bound; at the bound the producer waits or is refused, by name.
//! - A failure of storage ends the node: no further work is taken, nothing acknowledged is lost.

pub mod activity;
pub mod config;
pub mod events;
mod execute;
pub mod files;
pub mod folder;
pub mod jobs;
pub mod keys;
pub mod lifeline;
pub mod logging;
pub mod models;
mod named;
mod platform;
mod runtime;
mod snapshots;
pub mod store;
mod threads;
pub mod workers;

pub use jobs::Jobs;
pub use runtime::{Ended, Found, Gauges, Node, NodeError, NodeHandle, NodeOptions, StartMode, now};
