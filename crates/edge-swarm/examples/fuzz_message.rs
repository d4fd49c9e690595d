//! `cargo xtask fuzz message`.
#![allow(dead_code, reason = "the file holds the other targets too")]
#[path = "../fuzz/message.rs"]
mod targets;

fn main() -> std::process::ExitCode {
    targets::with_message(edge_fuzz::main)
}
