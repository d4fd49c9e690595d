//! `cargo xtask test`: what the tests need, and all of them.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::options::Options;
use crate::{environment, process, stages, web};

const HELP: &str = "\
Set up what the tests need and run all of them

Usage: cargo xtask test [PACKAGE...] [-- ARGUMENTS OF THE TEST PROGRAMS]

Without PACKAGE every test of the workspace runs, documentation examples first, the browser's tests last.

Environment:
  CARGO_TARGET_DIR     build folder; default: edge-net/target in the user's cache folder
  EDGE_TEST_SCALE      multiplies the cases of heavy tests; default 1
  EDGE_REQUIRE_WASM=1  fail where wasm cannot be built and run, instead of leaving those tests
                       out; set here where node and the wasm target are found
  EDGE_REQUIRE_GPU=0   leave the tests of the GPU's kernels out where there is no Vulkan adapter, instead
                       of failing; set here where none is found and there is no apt-get to install
                       Debian's mesa-vulkan-drivers with, an adapter in software
";

/// The profile that tests, simulator and demo are built with.
pub(crate) const PROFILE: &[&str] = &["--profile", "ci"];

/// What of the workspace holds tests. Examples are built by `ci`, not here: asked for by name, cargo
/// would compile each of them once more with a test harness.
pub(crate) const TARGETS: &[&str] = &["--lib", "--bins", "--tests"];

/// What the test programs counted, added up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// Runs the tests and closes with a line that counts them.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let Some(options) = Options::parse(arguments, HELP, &[], &[])? else { return Ok(()) };
    let whole = options.positional.is_empty() && options.rest.is_empty();
    // First: the program that is tested serves what this builds.
    let mut lack = if whole { web::prepare()? } else { None };
    let mut counts = run(&options.positional, &options.rest)?;
    if whole && lack.is_none() {
        match web::test(&[])? {
            Ok(more) => counts = counts.and(more),
            Err(missing) => lack = Some(missing),
        }
    }
    if let Some(lack) = lack {
        eprintln!("xtask: the browser's tests are left out: {lack}");
    }
    println!("{}", counts.closing_line());
    Ok(())
}

/// Runs the tests of the packages, or all of them, and answers how many there were. A failed
/// test is an error.
pub(crate) fn run(packages: &[String], rest: &[String]) -> Result<Counts> {
    let started = Instant::now();
    let wasm = environment::wasm()?;
    let node = environment::node();
    let demand = wasm && node;
    if !demand {
        let lacks = if node { "the wasm target" } else { "node" };
        eprintln!("xtask: {lacks} is missing: tests that run wasm are left out");
    }
    let tests_gpu = packages.is_empty() || packages.iter().any(|name| name == "edge-gpu");
    let said = std::env::var_os("EDGE_REQUIRE_GPU").is_some_and(|value| !value.is_empty());
    let without_gpu = tests_gpu && !said && !environment::vulkan();
    if without_gpu {
        eprintln!("xtask: there is no Vulkan adapter: tests of the GPU's kernels are left out");
    }
    let scale = std::env::var("EDGE_TEST_SCALE").unwrap_or_else(|_| "1".to_owned());
    let prepared = || {
        let mut cargo = environment::cargo();
        cargo.env("EDGE_TEST_SCALE", &scale);
        if demand {
            cargo.env("EDGE_REQUIRE_WASM", "1");
        }
        if without_gpu {
            cargo.env("EDGE_REQUIRE_GPU", "0");
        }
        cargo
    };
    // Of a single package cargo refuses to take a kind of target that it lacks.
    let (selection, targets): (Vec<&str>, &[&str]) = match packages {
        [] => (vec!["--workspace"], TARGETS),
        packages => (packages.iter().flat_map(|name| ["-p", name.as_str()]).collect(), &[]),
    };
    let mut counts = Counts::default();
    let mut ok = true;
    // Documentation first: the last program to close is then one that has tests.
    if packages.is_empty() && rest.is_empty() {
        let mut cargo = prepared();
        cargo.args(["test", "--no-fail-fast", "--doc"]).args(PROFILE).args(&selection);
        ok &= process::tee(&mut cargo, |line| counts.add(line))?;
    }
    let mut cargo = prepared();
    cargo.args(["test", "--no-fail-fast"]).args(PROFILE).args(targets).args(&selection);
    if !rest.is_empty() {
        cargo.arg("--").args(rest);
    }
    ok &= process::tee(&mut cargo, |line| counts.add(line))?;
    if !ok {
        let Counts { passed, failed } = counts;
        bail!("{failed} tests failed, {passed} passed, or something did not build");
    }
    if counts.passed == 0 {
        bail!("no test ran");
    }
    eprintln!("xtask: tests took {} min", stages::minutes(started.elapsed()));
    Ok(counts)
}

impl Counts {
    /// Adds what a closing line of the standard test runner says; other lines are ignored.
    pub(crate) fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        for part in rest.split([';', '.']) {
            if let Some((number, word)) = part.trim().split_once(' ') {
                let number: u64 = number.parse().unwrap_or(0);
                match word {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    _ => {}
                }
            }
        }
    }

    fn and(self, more: Counts) -> Counts {
        Counts { passed: self.passed + more.passed, failed: self.failed + more.failed }
    }

    /// One line for people and for CI.
    pub(crate) fn closing_line(self) -> String {
        format!("tests: {} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, Counts { passed: 5, failed: 4 });
        assert_eq!(counts.closing_line(), "tests: 5 passed, 4 failed");
    }
}
