//! Automation for edge-net.
fn main() {}
