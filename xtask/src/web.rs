//! `cargo xtask web`: the browser's package, and `cargo xtask browser`: its tests in a real browser.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::options::Options;
use crate::stages::Outcome;
use crate::testing::Counts;
use crate::{environment, process, workspace};

const HELP_WEB: &str = "\
Build the browser's package into js/dist

Usage: cargo xtask web [--quick]

Builds the modules edge-wasm-net, -compute, -kernels and -keys, makes their JavaScript with wasm-bindgen
(installed into the cache folder in the version that Cargo.lock has), shrinks them with wasm-opt and compiles
js/src. A node that is built afterwards serves all that at /join and /web.

Options:
  --quick   larger and slower modules in much less time, for tests

Needs Node.js 20 or newer with npm, and the target wasm32-unknown-unknown, which is added where rustup is.
";

const HELP_BROWSER: &str = "\
Run the browser's tests in a real Chromium

Usage: cargo xtask browser [-- ARGUMENTS OF node --test]

Builds the package (quick) and edge-net, then runs js/test. The browser is the one that
EDGE_CHROMIUM names, else chromium, chromium-browser or google-chrome on the path; where there is none
and apt-get works, it is installed.
";

/// The modules: each is loaded by who needs it.
const MODULES: &[&str] = &["net", "compute", "kernels", "keys"];
/// The kernels of a GPU.
const SHADERS: &str = "crates/edge-gpu/src/shaders";
/// What the modules may use beyond WebAssembly 1.0; every browser with SIMD has the rest.
const FEATURES: &[&str] = &[
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Builds the package.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let Some(options) = Options::parse(arguments, HELP_WEB, &["--quick"], &[])? else {
        return Ok(());
    };
    options.no_positional()?;
    if let Some(lack) = lacks()? {
        bail!("{lack}");
    }
    build(options.has("--quick"))?;
    for module in MODULES {
        let file = folder().join(format!("dist/wasm/edge_wasm_{module}_bg.wasm"));
        println!("edge-wasm-{module}: {}", sizes(&file)?);
    }
    Ok(())
}

/// Builds what is tested, and tests it.
pub(crate) fn browser(arguments: &[String]) -> Result<()> {
    let Some(options) = Options::parse(arguments, HELP_BROWSER, &[], &[])? else { return Ok(()) };
    options.no_positional()?;
    if let Some(lack) = lacks()? {
        bail!("{lack}");
    }
    build(true)?;
    let mut cargo = environment::cargo();
    process::run(cargo.args(["build", "--profile", "ci", "--locked", "-p", "edge-cli"]))?;
    match test(&options.rest)? {
        Ok(counts) => println!("{}", counts.closing_line()),
        Err(lack) => bail!("{lack}"),
    }
    Ok(())
}

/// The package as a stage: what is built after it serves it.
pub(crate) fn stage() -> Result<Outcome> {
    Ok(prepare()?.map_or_else(Outcome::passed, Outcome::NotRun))
}

/// Builds the package for tests, or says what is missing.
pub(crate) fn prepare() -> Result<Option<String>> {
    match lacks()? {
        Some(lack) => Ok(Some(lack)),
        None => build(true).map(|()| None),
    }
}

/// The tests as a stage; what they run was built before.
pub(crate) fn browser_stage() -> Result<Outcome> {
    if let Some(lack) = lacks()? {
        return Ok(Outcome::NotRun(lack));
    }
    Ok(match test(&[])? {
        Ok(counts) => Outcome::Passed(format!("in Chromium, {}", counts.closing_line())),
        Err(lack) => Outcome::NotRun(lack),
    })
}

fn folder() -> PathBuf {
    workspace::root().join("js")
}

/// What is missing here to build for a browser, and what to do.
fn lacks() -> Result<Option<String>> {
    if !environment::wasm()? {
        return Ok(Some(format!("the target {} is missing", environment::WASM)));
    }
    let npm = environment::node() && process::available("npm", &["--version"]);
    Ok((!npm).then(|| "Node.js 20 or newer with npm is missing: install it".to_owned()))
}

/// Flags for the compiler. Panics say where they are from: not in whose folder the package was built.
fn flags() -> OsString {
    let mut flags = OsString::from("-Ctarget-feature=+simd128");
    let own = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    if let Some(home) = own.or_else(|| Some(std::env::home_dir()?.join(".cargo"))) {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(home.join("registry").join("src"));
        flags.push("=");
    }
    flags
}

fn build(quick: bool) -> Result<()> {
    packages()?;
    let bindgen = bindgen()?;
    let profile = if quick { "web-quick" } else { "web" };
    let mut cargo = environment::cargo();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags());
    cargo.args(["build", "--locked", "--profile", profile, "--target", environment::WASM]);
    for module in MODULES {
        cargo.arg("-p").arg(format!("edge-wasm-{module}"));
    }
    process::run(&mut cargo)?;
    let (bound, dist) = (folder().join("src/wasm"), folder().join("dist"));
    for module in MODULES {
        let built = environment::target_folder().join(environment::WASM).join(profile);
        let mut command = process::command(&bindgen);
        command.args(["--target", "web", "--remove-producers-section", "--out-dir"]);
        process::run(command.arg(&bound).arg(built.join(format!("edge_wasm_{module}.wasm"))))?;
    }
    // What an earlier build left and this one does not make is not served.
    for entry in fs::read_dir(&dist)? {
        let path = entry?.path();
        match path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            true => {}
            false if path.is_dir() => fs::remove_dir_all(&path)?,
            false => fs::remove_file(&path)?,
        }
    }
    process::run(process::command("node").current_dir(folder()).args([
        "node_modules/typescript/bin/tsc",
        "-p",
        ".",
    ]))?;
    fs::create_dir_all(dist.join("wasm"))?;
    for module in MODULES {
        let name = format!("edge_wasm_{module}");
        for kind in ["js", "d.ts"] {
            copy(&bound, &dist.join("wasm"), &format!("{name}.{kind}"))?;
        }
        let wasm = format!("{name}_bg.wasm");
        if quick {
            copy(&bound, &dist.join("wasm"), &wasm)?;
        } else {
            let mut optimize = process::command("node");
            optimize.current_dir(folder()).args(["node_modules/binaryen/bin/wasm-opt", "-Oz"]);
            optimize
                .args(FEATURES)
                .arg(bound.join(&wasm))
                .arg("-o")
                .arg(dist.join("wasm").join(&wasm));
            process::run(&mut optimize)?;
        }
    }
    copy_all(&folder().join("join"), &dist)?;
    // What a GPU runs natively and in a tab are the same files.
    copy_all(&workspace::root().join(SHADERS), &dist.join("shaders"))
}

/// Copies the files of a folder.
fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<()> {
    fs::copy(from.join(name), to.join(name)).with_context(|| format!("cannot copy {name}"))?;
    Ok(())
}

/// Installs what package-lock.json says, unless that is there.
fn packages() -> Result<()> {
    let wanted = fs::metadata(folder().join("package-lock.json"))?.modified()?;
    let installed = fs::metadata(folder().join("node_modules/.package-lock.json"));
    if installed.and_then(|file| file.modified()).is_ok_and(|installed| installed >= wanted) {
        return Ok(());
    }
    let mut npm = process::command("npm");
    process::run(npm.current_dir(folder()).args(["ci", "--no-audit", "--no-fund"]))
}

/// The wasm-bindgen program of the version that the modules are built with: another one refuses them.
fn bindgen() -> Result<PathBuf> {
    let lock = fs::read_to_string(workspace::root().join("Cargo.lock"))?;
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains("name = \"wasm-bindgen\"\n"))
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
        .context("Cargo.lock names no wasm-bindgen")?;
    let target = environment::target_folder();
    let tools = target.parent().unwrap_or(&target).join("tools");
    let program = tools.join(format!("bin/wasm-bindgen{}", std::env::consts::EXE_SUFFIX));
    let has = process::capture(process::command(&program).arg("--version"));
    if !has.is_ok_and(|text| text.trim() == format!("wasm-bindgen {version}")) {
        let mut cargo = process::cargo();
        cargo.env("CARGO_TARGET_DIR", tools.join("target"));
        // It runs for seconds: to compile it well would take longer.
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "false");
        cargo.args(["install", "--locked", "wasm-bindgen-cli", "--version", version, "--root"]);
        process::run(cargo.arg(&tools))?;
        // An error leaves files behind that nobody misses.
        let _ = fs::remove_dir_all(tools.join("target"));
    }
    Ok(program)
}

/// The bytes of a file, as they are and as they travel.
fn sizes(file: &Path) -> Result<String> {
    let bytes = fs::metadata(file)?.len();
    let script = "const z = require('node:zlib'), c = z.constants; \
                  console.log(z.brotliCompressSync(require('node:fs').readFileSync(process.argv[1]), \
                  { params: { [c.BROTLI_PARAM_QUALITY]: 11, [c.BROTLI_PARAM_LGWIN]: 24 } }).length)";
    let packed = process::capture(process::command("node").args(["-e", script]).arg(file))?;
    Ok(format!("{bytes} bytes, {} as brotli", packed.trim()))
}

/// Runs js/test; what is missing, if something is.
pub(crate) fn test(rest: &[String]) -> Result<Result<Counts, String>> {
    let Some(chromium) = chromium() else {
        return Ok(Err("there is no Chromium: install it, or name it in EDGE_CHROMIUM".to_owned()));
    };
    // For the certificate of an authority that a test makes.
    let openssl = || process::available("openssl", &["version"]);
    if !openssl() {
        environment::install(&["openssl"]);
        if !openssl() {
            return Ok(Err("the program openssl is missing: install it".to_owned()));
        }
    }
    let mut node = process::command("node");
    node.current_dir(folder()).args(["--test", "--test-reporter=tap"]).args(rest).arg("test/");
    node.env("EDGE_CHROMIUM", chromium).env("EDGE_NET", environment::built("edge-net"));
    let mut counts = Counts::default();
    let ok = process::tee(&mut node, |line| {
        let number = |name: &str| line.strip_prefix(name)?.trim().parse::<u64>().ok();
        counts.passed += number("# pass ").unwrap_or(0);
        counts.failed += number("# fail ").unwrap_or(0);
    })?;
    if !ok || counts.failed > 0 || counts.passed == 0 {
        bail!("the browser's tests failed: {}", counts.closing_line());
    }
    Ok(Ok(counts))
}

/// Finds a browser, or installs Debian's.
fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("EDGE_CHROMIUM").filter(|value| !value.is_empty()) {
        return Some(named.into());
    }
    let find = || {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .flat_map(|folder| names.map(|name| folder.join(name)))
            .find(|file| file.is_file())
    };
    find().or_else(|| {
        environment::install(&["chromium"]);
        find()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_that_a_tab_loads_are_copied() {
        let source = fs::read_to_string(folder().join("src/gpu.ts")).unwrap();
        let named: Vec<&str> = source
            .split("new URL(\"./shaders/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert_eq!(named, ["matmul.wgsl", "attention.wgsl", "lora.wgsl"]);
        let to = environment::target_folder().join("kernels-that-are-copied");
        copy_all(&workspace::root().join(SHADERS), &to).unwrap();
        for name in named {
            let text = fs::read_to_string(to.join(name)).unwrap();
            assert!(text.contains("@compute"), "{name}");
        }
        fs::remove_dir_all(to).unwrap();
    }
}
