//! Times operations in a browser's tab against one native thread, one JSON object a line:
//! `cargo xtask bench browser`, after `cargo xtask web`.
//!
//! Wall time, the best of several rounds: a tab has no other clock. It takes Node.js and a Chromium
//! (`EDGE_CHROMIUM`, else `/usr/bin/chromium`).
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::disallowed_methods, reason = "a benchmark runs other programs and reads clocks")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use edge_kernels::backend::Serial;
use edge_kernels::conformance::SplitMix64;
use edge_kernels::operations::{self as ops, Attention, Elementwise, Reduction};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_browser: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let js = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../js");
    if !js.join("dist/wasm/edge_wasm_kernels_bg.wasm").exists() {
        return Err("the package is not built: run `cargo xtask web` first".into());
    }
    let chromium = std::env::var("EDGE_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    let mut node = Command::new("node");
    // The helper wants the program's path, too, which this benchmark does not use.
    node.current_dir(&js).arg("bench/browser.mjs").env("EDGE_CHROMIUM", chromium);
    let output = node.env("EDGE_NET", "none").stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("node bench/browser.mjs: {}", output.status).into());
    }
    let tab: BTreeMap<String, f64> = serde_json::from_slice(&output.stdout)?;
    let figure =
        |name: &str| tab.get(name).copied().ok_or_else(|| format!("the tab did not say {name}"));
    let native = native()?;
    for (name, rival) in &native {
        for workers in [1, 2, 4] {
            let value = figure(&format!("{name}_{workers}"))?;
            let (unit, ratio) = match name.starts_with("matmul") {
                true => ("GFLOP/s", value / rival),
                false => ("ms", rival / value),
            };
            let metric = format!("tab_{workers}_workers");
            print(name, &metric, value, unit, Some(("native_one_thread", *rival, ratio)));
        }
    }
    let (vector, scalar) = (figure("matmul_512_1")?, figure("matmul_512_scalar")?);
    let rival = Some(("tab_scalar", scalar, vector / scalar));
    print("matmul_512", "tab_vector", vector, "GFLOP/s", rival);
    print("first_operation", "cold_start", figure("cold_1")?, "ms", None);
    Ok(())
}

/// The same on one thread here.
fn native() -> Result<Vec<(&'static str, f64)>, Box<dyn Error>> {
    let mut random = SplitMix64(1);
    let mut values = |len: usize| -> Vec<f32> { (0..len).map(|_| random.unit()).collect() };
    let mut found = Vec::new();
    for (name, side) in [("matmul_512", 512), ("matmul_1024", 1024)] {
        let (a, b) = (values(side * side), values(side * side));
        let ms = best(|| ops::matmul(&Serial, [side; 3], &a, &b).map(drop))?;
        found.push((name, 2.0 * (side as f64).powi(3) / ms / 1e6));
    }
    let long = values(1 << 22);
    let sigmoid = || ops::elementwise(&Serial, Elementwise::Sigmoid, &long, &[]).map(drop);
    found.push(("sigmoid", best(sigmoid)?));
    found.push(("sum", best(|| ops::reduce(&Serial, Reduction::Sum, &long).map(drop))?));
    let shape = Attention { heads: 8, tokens: 512, dim: 64, causal: false };
    let [q, k, v] = [(); 3].map(|()| values(8 * 512 * 64));
    found.push(("attention", best(|| ops::attention(&Serial, shape, &q, &k, &v).map(drop))?));
    Ok(found)
}

/// Milliseconds of the best of some rounds.
fn best<E: Error + 'static>(does: impl Fn() -> Result<(), E>) -> Result<f64, Box<dyn Error>> {
    let mut best = f64::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        does()?;
        best = best.min(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

fn print(bench: &str, metric: &str, value: f64, unit: &str, rival: Option<(&str, f64, f64)>) {
    let against = rival.map_or(String::new(), |(rival, theirs, ratio)| {
        format!(r#","rival":"{rival}","rival_value":{theirs:.3},"ratio":{ratio:.4}"#)
    });
    println!(
        r#"{{"bench":"browser_{bench}","metric":"{metric}","value":{value:.3},"unit":"{unit}"{against}}}"#
    );
}
