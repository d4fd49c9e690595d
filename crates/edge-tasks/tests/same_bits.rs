//! Embedding, match, append, exact search and compression over 1,000 real passages have the same digests on every back
//! end of this machine and in a wasm module under node, with and without `simd128`.
//!
//! The wasm half needs `node` and the target `wasm32-unknown-unknown`. Where one is missing the test
//! prints why it was not run and passes, unless `EDGE_REQUIRE_WASM=1`.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::disallowed_methods, reason = "a test that runs other programs")]

#[path = "support/passages.rs"]
mod passages;

use std::path::{Path, PathBuf};
use std::process::Command;

use edge_base::Digest;
use edge_kernels::{available, force};

const TARGET: &str = "wasm32-unknown-unknown";
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

    if let Err(missing) = tools() {
        let required = std::env::var("EDGE_REQUIRE_WASM").is_ok_and(|value| value == "1");
        assert!(!required, "EDGE_REQUIRE_WASM=1, but {missing}");
        println!("wasm not run: {missing}");
        return;
    }
    let lines = |names: &[&str]| -> Vec<String> {
        let line = |name: &&str| {
            let name = (*name).to_owned();
            expected.iter().enumerate().map(move |(at, hex)| format!("{name} {at} {hex}"))
        };
        names.iter().flat_map(line).collect()
    };
    assert_eq!(run(&build("plain", "")), lines(&["scalar"]));
    let vector = run(&build("simd128", "-Ctarget-feature=+simd128"));
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

/// What is missing, if anything.
fn tools() -> Result<(), String> {
    match Command::new("node").arg("--version").output() {
        Ok(output) if output.status.success() => {}
        _ => return Err("node is not installed".to_owned()),
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("rustc does not run: {error}"))?;
    let library = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && library.is_dir() {
        Ok(())
    } else {
        Err(format!("the target is not installed (rustup target add {TARGET})"))
    }
}

/// Builds the example and returns the module's path. Both builds share a target folder, and with it what
/// is compiled for the host: `RUSTFLAGS` reaches only the wasm side.
fn build(name: &str, flags: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wasm-same-bits");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--package", "edge-tasks", "--example", "passage_digest"])
        .args(["--release", "--target", TARGET, "--target-dir"])
        .arg(&folder)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", flags)
        .output()
        .expect("cargo runs, since it runs this test");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build for {TARGET} failed:\n{log}");
    let built = folder.join(TARGET).join("release").join("examples").join("passage_digest.wasm");
    let module = folder.join(format!("{name}.wasm"));
    std::fs::copy(&built, &module).expect("cargo wrote the module");
    module
}

fn run(module: &Path) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wasm/run.mjs");
    let output = Command::new("node").arg(script).arg(module).output().expect("node was found");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "node {}: {log}", module.display());
    String::from_utf8(output.stdout).expect("hex").lines().map(str::to_owned).collect()
}
