//! `cargo xtask fuzz ledger`.
#[path = "../fuzz/ledger.rs"]
mod ledger;

fn main() -> std::process::ExitCode {
    ledger::with_target(edge_fuzz::main)
}
