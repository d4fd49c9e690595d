//! The laws of the ledger, each under attack. The world of these tests (`world`) has owners,
//! witnesses with their vote logs, and a fold written a second time, independently. `adversary` has all
//! of it at once, and a mutant for each law.

#![allow(clippy::unwrap_used)] // helper functions of a test are not #[test] functions

mod account;
mod adversary;
mod agreement;
mod blocks;
mod bounds;
mod checkpoint;
mod claims;
mod conservation;
mod exploits;
mod golden;
mod handover;
mod merge;
mod mint;
mod minting;
mod parameter;
mod penalty;
mod prune;
mod quorum;
mod rotate;
mod sketch;
mod stake;
mod uptime;
mod vote_log;
mod votes;
mod world;
