//! `cargo xtask fuzz ticket`.
#![allow(dead_code, reason = "the file holds the other targets too")]
#[path = "../fuzz/message.rs"]
mod targets;

fn main() -> std::process::ExitCode {
    targets::with_ticket(edge_fuzz::main)
}
