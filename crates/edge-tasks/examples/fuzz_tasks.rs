//! `cargo xtask fuzz tasks`.
#[path = "../fuzz/tasks.rs"]
#[cfg(not(target_arch = "wasm32"))]
mod tasks;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    tasks::with_target(edge_fuzz::main)
}

#[cfg(target_arch = "wasm32")]
fn main() {}
