//! The peer state machine: membership, tasks, verification, payments, shard logs and replicas.
//!
//! It is not a network and not a computer: it opens no socket, reads no clock, draws no entropy,
//! touches no file and knows no model. It takes [`Input`]s with the time they happened and hands
//! out [`Output`]s; a driver (daemon, tab or simulator) does the rest, and the same code runs under
//! all of them.
//!
//! The model. A member is a key that another member vouches for. A requester splits what it wants
//! into tasks; a task is offered, assigned, executed by at least two strangers, committed to,
//! revealed and compared. Who agrees is paid by a voucher on a certified escrow; who differs is
//! named by a proof that anybody re-executes. A collection is a set of shards, a shard is a log
//! with one writer whose replicas acknowledge Merkle roots; every hit of a search carries a path to
//! such a root.
//!
//! ```
//! use edge_base::{Credits, SecretKey, Timestamp, Verifier};
//! use edge_ledger::{Genesis, Network};
//! use edge_swarm::{Answer, Command, Input, Output, Peer, Settings, Stored, Table};
//!
//! let key = SecretKey::from_seed([1; 32]);
//! let grant = Credits::from_whole(1_000_000).unwrap();
//! let genesis = Genesis::new(Network::Test, key.node_id(), grant, "pool", [0; 32]).unwrap();
//! let mut stored = Stored::default();
//! for write in Peer::found(&genesis) {
//!     stored.rows.entry(write.table).or_default().push((write.key, write.value.unwrap()));
//! }
//! let settings = Settings::default();
//! let mut peer =
//!     Peer::new(key, settings, stored, Verifier::strict(), [7; 32], Timestamp(0)).unwrap();
//! peer.handle(Timestamp(1), Input::Command { call: 1, command: Command::Status });
//! let mut members = 0;
//! while let Some(output) = peer.poll() {
//!     if let Output::Answer { answer: Ok(Answer::Status(status)), .. } = output {
//!         members = status.members;
//!     }
//! }
//! assert_eq!(members, 1);
//! ```
//!
//! Invariants
//! - Whatever leaves after a `Persist` leaves after it is durable: votes, own blocks, commits and
//!   acknowledgements survive a crash.
//! - A peer's bad message is data: it changes nothing and never panics. Every collection has a
//!   bound.
//! - No vote count names a liar: only a re-execution here does. Who signed two heads is named by both,
//!   once the witnesses found that it was not put right.
//! - Vouchers never exceed what a certified escrow can pay.

pub mod accept;
pub mod command;
pub mod contest;
mod event;
pub mod frame;
mod io;
mod line;
pub mod message;
mod peer;
pub mod reputation;
mod revocation;
mod roll_call;
mod succession;
mod ticket;
pub mod tuner;

pub use command::{Answer, Command, Refusal};
pub use event::Event;
pub use io::{
    CallId, Guarded, Input, LoadId, Output, REPAIR_WITHIN, Settings, Table, Urgency, WorkId, Write,
};
pub use line::Line;
pub use peer::{
    Counters, FaultRecord, Holding, Peer, Row, StartError, Stored, TaskRecord, WorkerRecord, Wrong,
};
pub use revocation::{Revocation, RevocationError, RevocationNote};
pub use roll_call::{Here, RollCall};
pub use succession::{Accepted, CHAIN_MAX, OWN_MAX, Succession, SuccessionRecord};
pub use ticket::{Ticket, TicketError};
