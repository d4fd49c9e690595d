//! The `edge-net` command.
fn main() {}
