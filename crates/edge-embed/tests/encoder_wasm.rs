//! The canonical encoder gives the same bits in a wasm module under node, with and without `simd128`, as
//! natively: the digest that `tests/encoder.rs` finds too.
//!
//! Needs `node` and the target `wasm32-unknown-unknown` (`rustup target add wasm32-unknown-unknown`).
//! Where one is missing the test prints why it was not run and passes, unless `EDGE_REQUIRE_WASM=1`.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::disallowed_methods, reason = "a test that runs other programs")]

#[path = "support/tiny.rs"]
mod tiny;

use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

#[test]
fn wasm_gives_the_bits_of_native() {
    if let Err(missing) = tools() {
        let required = std::env::var("EDGE_REQUIRE_WASM").is_ok_and(|value| value == "1");
        assert!(!required, "EDGE_REQUIRE_WASM=1, but {missing}");
        println!("not run: {missing}");
        return;
    }
    let line = |name: &str| format!("{name} {}", tiny::DIGEST);
    assert_eq!(run(&build("plain", "")), [line("scalar")]);
    let vector = run(&build("simd128", "-Ctarget-feature=+simd128"));
    assert_eq!(vector, [line("scalar"), line("wasm128")]);
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
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("encoder-wasm");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--package", "edge-embed", "--example", "encoder_digest"])
        .args(["--release", "--target", TARGET, "--target-dir"])
        .arg(&folder)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", flags)
        .output()
        .expect("cargo runs, since it runs this test");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build for {TARGET} failed:\n{log}");
    let built = folder.join(TARGET).join("release").join("examples").join("encoder_digest.wasm");
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
