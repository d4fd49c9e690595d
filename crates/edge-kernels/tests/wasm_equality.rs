//! The kernels give the same bits in a wasm module under node, with and without `simd128`, as every back
//! end of this machine.
//!
//! Needs `node` and the target `wasm32-unknown-unknown` (`rustup target add wasm32-unknown-unknown`).
//! Where one is missing the test prints why it was not run and passes, unless `EDGE_REQUIRE_WASM=1`.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/digests.rs"]
mod digests;
#[path = "support/wasm.rs"]
mod wasm;

use edge_kernels::canon::Kernels;
use edge_kernels::{available, conformance};

#[test]
fn wasm_and_native_give_the_same_digests() {
    let Some([plain, vector]) = wasm::lines("edge-kernels", "canon_digest") else { return };
    for simd in available() {
        let native = digests::sections(Kernels::on(simd).unwrap());
        let expect = |names: &[&str]| {
            let mut lines = Vec::new();
            for name in names {
                for (section, digest) in native.iter().enumerate() {
                    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                    lines.push(format!("{name} {section} {hex}"));
                }
            }
            lines
        };
        let sections = conformance::SECTIONS;
        assert_eq!(plain, expect(&["scalar"]), "native {simd}, sections {sections:?}");
        assert_eq!(vector, expect(&["scalar", "wasm128"]), "native {simd}, sections {sections:?}");
    }
    let names: Vec<_> = available().iter().map(|simd| simd.name()).collect();
    println!("wasm scalar and wasm128 equal native {}", names.join(", "));
}
