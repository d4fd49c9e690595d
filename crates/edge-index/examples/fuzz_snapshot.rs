//! `cargo xtask fuzz snapshot`.
#[path = "../fuzz/snapshot.rs"]
mod snapshot;

fn main() -> std::process::ExitCode {
    snapshot::with_target(edge_fuzz::main)
}
