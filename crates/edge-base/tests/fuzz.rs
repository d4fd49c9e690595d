//! The fuzz targets over their corpus.
#[path = "../fuzz/codec.rs"]
mod codec;

#[test]
fn codec() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/codec");
    codec::with_target(|target| edge_fuzz::replay(target, corpus.as_ref()));
}
