//! The fuzz target over its corpus.
#[path = "../fuzz/ledger.rs"]
mod ledger;

#[test]
fn ledger() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/ledger");
    ledger::with_target(|target| edge_fuzz::replay(target, corpus.as_ref()));
}
