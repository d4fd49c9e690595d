//! What this machine has: cache folder, wasm target, node, CPU.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, bail};

use crate::process;

/// The target of the browser build.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Where build products go: `CARGO_TARGET_DIR` where set, else a folder in the user's cache,
/// outside the clone, so that a fresh clone on a used machine builds warm.
pub(crate) fn target_folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("CARGO_TARGET_DIR").or_else(|| set("CARGO_BUILD_TARGET_DIR")) {
        return crate::workspace::root().join(folder);
    }
    let home = || std::env::home_dir();
    let cache = if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Caches"))
    } else {
        set("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| home().map(|home| home.join(".cache")))
    };
    match cache {
        Some(cache) => cache.join("edge-net").join("target"),
        None => crate::workspace::root().join("target"),
    }
}

/// A program that the `ci` profile built.
pub(crate) fn built(name: &str) -> PathBuf {
    target_folder().join("ci").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// A program that the `release` profile built.
pub(crate) fn built_for_users(name: &str) -> PathBuf {
    target_folder().join("release").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Cargo with the build folder set.
pub(crate) fn cargo() -> Command {
    let mut cargo = process::cargo();
    cargo.env("CARGO_TARGET_DIR", target_folder());
    cargo
}

/// Whether code for the browser can be built. Tries once to add the target through rustup;
/// what happened is printed. It is an error only where `EDGE_REQUIRE_WASM=1` demands it.
pub(crate) fn wasm() -> Result<bool> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| has_wasm() || add_wasm());
    if !found && std::env::var("EDGE_REQUIRE_WASM").is_ok_and(|value| value == "1") {
        bail!("EDGE_REQUIRE_WASM=1, but the target {WASM} is not installed and could not be added");
    }
    Ok(found)
}

fn has_wasm() -> bool {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let mut rustc = process::command(rustc);
    let Ok(folder) = process::capture(rustc.args(["--print", "target-libdir", "--target", WASM]))
    else {
        return false;
    };
    std::fs::read_dir(folder.trim()).is_ok_and(|mut entries| entries.next().is_some())
}

fn add_wasm() -> bool {
    if !process::available("rustup", &["--version"]) {
        eprintln!("xtask: the target {WASM} is missing and there is no rustup to add it with");
        return false;
    }
    match process::run(process::command("rustup").args(["target", "add", WASM])) {
        Ok(()) => has_wasm(),
        Err(error) => {
            eprintln!("xtask: the target {WASM} is missing and could not be added: {error:#}");
            false
        }
    }
}

/// Whether node is there to run wasm with.
pub(crate) fn node() -> bool {
    process::available("node", &["--version"])
}

/// Installs Debian's packages where apt-get is; what went wrong is printed. Answers whether it is.
pub(crate) fn install(packages: &[&str]) -> bool {
    if !process::available("apt-get", &["--version"]) {
        return false;
    }
    let apt = |arguments: &[&str]| {
        let mut apt = process::command("apt-get");
        process::run(apt.env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    let options = ["install", "-y", "-qq", "--no-install-recommends"];
    let installed = apt(&["update", "-qq"]).and_then(|()| apt(&[&options[..], packages].concat()));
    if let Err(error) = installed {
        let names = packages.join(", ");
        eprintln!("xtask: {names} could not be installed: {error:#}");
    }
    true
}

/// Sees to it that tests find a Vulkan adapter: a GPU's driver, else Mesa's in software, which is installed
/// where apt-get is. Answers whether they have to find one; on other systems they may be left out.
pub(crate) fn vulkan() -> bool {
    if !cfg!(target_os = "linux") {
        return false;
    }
    let holds = |folders: &[&str], fits: fn(&str) -> bool| {
        folders
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .flatten()
            .any(|entry| fits(&entry.file_name().to_string_lossy()))
    };
    let loader = holds(LIBRARIES, |name| name == "libvulkan.so.1");
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let there = loader && (named || holds(DRIVERS, |name| name.ends_with(".json")));
    there || install(&["libvulkan1", "mesa-vulkan-drivers"])
}

/// Where Linux has Vulkan's loader.
const LIBRARIES: &[&str] = &[
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];
/// Where drivers tell the loader of themselves.
const DRIVERS: &[&str] =
    &["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];

/// Processor name, core count and system, as a report states them.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let name = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let name = name.or_else(|| {
        let mut sysctl = process::command("sysctl");
        process::capture(sysctl.args(["-n", "machdep.cpu.brand_string"]))
            .ok()
            .map(|text| text.trim().to_owned())
    });
    let name = name.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{name}, {cores} cores, {}", std::env::consts::OS)
}

/// Short hash of the checked-out commit, with `+` where the tree differs from it.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| process::capture(process::command("git").args(arguments)).ok();
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown (no git)".to_owned();
    };
    let dirty = git(&["status", "--porcelain"]).is_some_and(|text| !text.trim().is_empty());
    format!("{}{}", hash.trim(), if dirty { "+" } else { "" })
}

/// The date and time now, UTC, as `2026-11-21 09:55`.
pub(crate) fn date() -> String {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = elapsed.map_or(0, |elapsed| elapsed.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let minutes = seconds / 60;
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

/// Days since 1970-01-01 to a Gregorian date (H. Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`, for days after the epoch).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_778, (2026, 11, 21)),
        ] {
            assert_eq!(civil(days), date, "{days}");
        }
    }
}
