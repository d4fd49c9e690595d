//! Embedding, match, append, exact search and compression over 1,000 real passages have the same digests on every back
//! end of this machine and in a wasm module under node, with and without `simd128`.
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
const GOLDEN: [&str; 5] = [
    "fd08d4e5cb0308acbdf814ad9d1af7bc1c59113faca1b416edde5616ef0b2abf",
    "02f6ce05dca08443c0427405bc10ce0703ebcb078094507b2334c03ad5327cd0",
    "9b9e0c83920e3c09f393c3b800a338a2108d451fd5b2cc2f8aa699835109ac36",
    "8e32ef0bc32668648ccbd799ba56c092fa635a9acb13abaaebaed78bbaedbdb4",
    "24165c1db77380894e6661a011ace0fb731a97747320f1c3398f5da105c3cab4",
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
