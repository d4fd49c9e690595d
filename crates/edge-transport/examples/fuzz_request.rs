//! `cargo xtask fuzz request`.
#[path = "../fuzz/request.rs"]
mod request;

fn main() -> std::process::ExitCode {
    request::with_target(edge_fuzz::main)
}
