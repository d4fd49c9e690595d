//! The committed digests: a back end that agrees with the scalar definition can still be wrong together
//! with it, after a change of either. These pin the meaning of canon-1.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/digests.rs"]
mod digests;

use edge_kernels::canon::Kernels;
use edge_kernels::{available, conformance};

/// `section sha256`, a line each. To print the present ones: make this test fail, and read it. A line that
/// changes is a new version of canon, which splits pools: see `docs/canon.md`.
const GOLDEN: &str = include_str!("golden/canon-1.txt");

#[test]
fn every_back_end_gives_the_committed_digests() {
    for simd in available() {
        let kernels = Kernels::on(simd).unwrap();
        let mut lines = String::new();
        for (section, digest) in conformance::SECTIONS.iter().zip(digests::sections(kernels)) {
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            lines.push_str(&format!("{section} {hex}\n"));
        }
        assert_eq!(lines, GOLDEN, "{simd}");
    }
}

#[test]
fn the_built_in_self_check_agrees() {
    for simd in available() {
        let kernels = Kernels::on(simd).unwrap();
        let digest = conformance::digest(kernels);
        assert_eq!(digest, conformance::DIGEST, "{simd}: {digest:016x}");
        assert!(conformance::is_canonical(kernels));
    }
}

#[test]
fn the_python_implementation_agrees() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../oracles/canon1.py");
    match std::process::Command::new("python3").arg(script).output() {
        Err(error) => println!("not run: python3 does not start: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "python3 {script}:\n{said}{log}");
            assert_eq!(said.lines().count(), conformance::SECTIONS.len());
        }
    }
}
