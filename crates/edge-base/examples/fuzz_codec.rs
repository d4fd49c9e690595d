//! `cargo xtask fuzz codec`.
#[path = "../fuzz/codec.rs"]
mod codec;

fn main() -> std::process::ExitCode {
    codec::with_target(edge_fuzz::main)
}
