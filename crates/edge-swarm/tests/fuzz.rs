//! The fuzz targets over their seeds, their corpus and some thousand mutations.
#[path = "../fuzz/message.rs"]
mod targets;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/");

#[test]
fn message() {
    targets::with_message(|t| edge_fuzz::replay(t, format!("{CORPUS}message").as_ref()));
}

#[test]
fn ticket() {
    targets::with_ticket(|t| edge_fuzz::replay(t, format!("{CORPUS}ticket").as_ref()));
}

#[test]
fn peer() {
    targets::with_peer(|t| edge_fuzz::replay(t, format!("{CORPUS}peer").as_ref()));
}
