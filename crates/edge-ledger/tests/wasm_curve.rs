//! The contribution curve gives the golden integers in a wasm module under node.
//!
//! Needs `node` and the target `wasm32-unknown-unknown`; where one is missing the test prints why it
//! was not run and passes, unless `EDGE_REQUIRE_WASM=1`.
#![cfg(not(target_arch = "wasm32"))]

#[path = "../../edge-kernels/tests/support/wasm.rs"]
mod wasm;

#[test]
fn wasm_computes_the_golden_table() {
    let Some(runs) = wasm::lines("edge-ledger", "curve") else { return };
    let golden: Vec<&str> = include_str!("golden/mint.txt").lines().collect();
    for lines in runs {
        assert_eq!(lines, golden);
    }
}
