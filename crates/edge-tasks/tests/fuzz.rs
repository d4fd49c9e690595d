//! The fuzz targets over their corpus.
#![cfg(not(target_arch = "wasm32"))]

#[path = "../fuzz/tasks.rs"]
mod tasks;

#[test]
fn tasks() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/tasks");
    tasks::with_target(|target| edge_fuzz::replay(target, corpus.as_ref()));
}
