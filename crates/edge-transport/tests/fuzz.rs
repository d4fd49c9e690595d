//! The fuzz target over its seeds, its corpus and some thousand mutations.
#[path = "../fuzz/request.rs"]
mod request;

#[test]
fn request() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/request");
    request::with_target(|target| edge_fuzz::replay(target, corpus.as_ref()));
}
