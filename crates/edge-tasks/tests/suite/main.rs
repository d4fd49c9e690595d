//! The tests of `edge-tasks` that need a log, a shard or a liar.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "helper functions of a test are not #[test] functions")]

mod bounds;
mod check;
mod encryption;
mod golden;
mod lies;
mod matching;
mod replay;
mod snapshots;
mod work;
mod world;
