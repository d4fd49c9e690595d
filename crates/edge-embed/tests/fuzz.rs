//! The fuzz target over its corpus.
#[path = "../fuzz/encoder.rs"]
mod encoder;

#[test]
fn encoder() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/encoder");
    encoder::with_target(|target| edge_fuzz::replay(target, corpus.as_ref()));
}
