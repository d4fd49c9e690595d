//! An example of the package under test as a wasm module under node, with and without vectors: for
//! tests of several packages that compare bits. They include this file by its path.
//!
//! Needs `node` and the target `wasm32-unknown-unknown` (`rustup target add wasm32-unknown-unknown`).
#![allow(clippy::disallowed_methods, reason = "tests that run other programs")]

use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

/// What the package's `tests/wasm/run.mjs` prints of the module without and with `simd128`; `None` where
/// something is missing, which is printed, unless `EDGE_REQUIRE_WASM=1` demands it.
pub(crate) fn lines(package: &str, example: &str) -> Option<[Vec<String>; 2]> {
    if let Err(missing) = tools() {
        let required = std::env::var("EDGE_REQUIRE_WASM").is_ok_and(|value| value == "1");
        assert!(!required, "EDGE_REQUIRE_WASM=1, but {missing}");
        println!("wasm not run: {missing}");
        return None;
    }
    let builds = [("plain", ""), ("simd128", "-Ctarget-feature=+simd128")];
    Some(builds.map(|(name, flags)| run(&build(package, example, name, flags))))
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
fn build(package: &str, example: &str, name: &str, flags: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wasm-{example}"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--package", package, "--example", example])
        .args(["--release", "--target", TARGET, "--target-dir"])
        .arg(&folder)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", flags)
        .output()
        .expect("cargo runs, since it runs this test");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build for {TARGET} failed:\n{log}");
    let examples = folder.join(TARGET).join("release").join("examples");
    let module = folder.join(format!("{name}.wasm"));
    std::fs::copy(examples.join(format!("{example}.wasm")), &module)
        .expect("cargo wrote the module");
    module
}

fn run(module: &Path) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wasm/run.mjs");
    let output = Command::new("node").arg(script).arg(module).output().expect("node was found");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "node {}: {log}", module.display());
    String::from_utf8(output.stdout).expect("hex").lines().map(str::to_owned).collect()
}
