//! `cargo xtask fuzz shard`.
#[path = "../fuzz/shard.rs"]
mod shard;

fn main() -> std::process::ExitCode {
    shard::with_target(edge_fuzz::main)
}
