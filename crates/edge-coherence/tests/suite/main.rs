//! The laws of this crate against oracles: golden vectors, brute force, exhaustive search.
#![allow(clippy::unwrap_used)] // helper functions of a test are not #[test] functions

mod case;
mod dag;
mod exhaustive;
mod merkle_log;
mod paths;
