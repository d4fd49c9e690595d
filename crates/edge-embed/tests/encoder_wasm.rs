//! The canonical encoder gives the same bits in a wasm module under node, with and without `simd128`, as
//! natively: the digest that `tests/encoder.rs` finds too.
//!
//! Needs `node` and the target `wasm32-unknown-unknown` (`rustup target add wasm32-unknown-unknown`).
//! Where one is missing the test prints why it was not run and passes, unless `EDGE_REQUIRE_WASM=1`.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/tiny.rs"]
mod tiny;
#[path = "../../edge-kernels/tests/support/wasm.rs"]
mod wasm;

#[test]
fn wasm_gives_the_bits_of_native() {
    let Some([plain, vector]) = wasm::lines("edge-embed", "encoder_digest") else { return };
    let line = |name: &str| format!("{name} {}", tiny::DIGEST);
    assert_eq!(plain, [line("scalar")]);
    assert_eq!(vector, [line("scalar"), line("wasm128")]);
}
