//! Embedding, match, append, exact search, compression and encryption over 1,000 real passages have the
//! same digests on every back end of this machine and in a wasm module under node, with and without
//! `simd128`.
//!
//! The wasm half needs `node` and the target `wasm32-unknown-unknown`. Where one is missing the test
//! prints why it was not run and passes, unless `EDGE_REQUIRE_WASM=1`.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/passages.rs"]
mod passages;
#[path = "../../edge-kernels/tests/support/wasm.rs"]
mod wasm;

use edge_base::Digest;
use edge_kernels::{available, force};

/// Made by this test; another value is another protocol (or another sample).
const GOLDEN: [&str; 6] = [
    "115028d7f7df74344413ade966bc232958d5b4472b086a4254475ae0e8dcb0f5",
    "77238e43548b3008d41d8e9e4a50a7ac1c8ef717400ecb472fd4cc976be764b4",
    "b7b5f56a62fa1ad4bb1ff0370ad2a09c4c5dc9d7f8574c79f21be8d485594cc6",
    "f4db874b85f1c1dd073a59bbda2e24567ddb644628ed0fd2baaf501220cc9eae",
    "24165c1db77380894e6661a011ace0fb731a97747320f1c3398f5da105c3cab4",
    "077c5f04ec010f2fac13fea0b2ae08e9a575e3b8b3aa696b35fbc6ea9f8beaf3",
];

#[test]
fn every_back_end_and_wasm_give_the_same_results() {
    let expected = GOLDEN.map(str::to_owned);
    for simd in available() {
        force(simd).expect("it is available");
        let digests = passages::sections().expect("the sample is valid").map(|d| d.to_hex());
        assert_eq!(digests, expected, "{simd}, sections {:?}", passages::SECTIONS);
    }
    let names: Vec<_> = available().iter().map(|simd| simd.name()).collect();
    println!("equal on {}", names.join(", "));

    let Some([plain, vector]) = wasm::lines("edge-tasks", "passage_digest") else { return };
    let lines = |names: &[&str]| -> Vec<String> {
        let line = |name: &&str| {
            let name = (*name).to_owned();
            expected.iter().enumerate().map(move |(at, hex)| format!("{name} {at} {hex}"))
        };
        names.iter().flat_map(line).collect()
    };
    assert_eq!(plain, lines(&["scalar"]));
    assert_eq!(vector, lines(&["scalar", "wasm128"]));
    println!("equal in wasm, scalar and simd128");
}

#[test]
fn the_sample_is_a_thousand_different_passages() {
    let text = include_str!("data/passages.txt");
    let mut ids: Vec<Digest> = text.lines().map(|line| Digest::of(line.as_bytes())).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1_000);
    assert!(text.lines().all(|line| line.split_whitespace().count() >= 5));
}
