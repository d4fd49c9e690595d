//! `cargo xtask fuzz encoder`.
#[path = "../fuzz/encoder.rs"]
mod encoder;

fn main() -> std::process::ExitCode {
    encoder::with_target(edge_fuzz::main)
}
