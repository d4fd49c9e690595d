//! The fuzz targets over their corpus.
#[path = "../fuzz/shard.rs"]
mod shard;
#[path = "../fuzz/snapshot.rs"]
mod snapshot;

#[test]
fn shard() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/shard");
    shard::with_target(|target| edge_fuzz::replay(target, corpus.as_ref()));
}

#[test]
fn snapshot() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/snapshot");
    snapshot::with_target(|target| edge_fuzz::replay(target, corpus.as_ref()));
}
