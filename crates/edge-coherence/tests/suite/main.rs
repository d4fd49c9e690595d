//! The laws of this crate against oracles: golden vectors, brute force, exhaustive search.

mod case;
mod dag;
mod exhaustive;
mod merkle_log;
mod paths;
