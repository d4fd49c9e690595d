//! `ARCHITECTURE.md` is the map of this tree, not of an older one.

use super::{File, Finding};
use crate::workspace::{self, Metadata};

const MAP: &str = "ARCHITECTURE.md";

/// Checks that the map shows every package and names no path that is not there.
pub(super) fn check(metadata: &Metadata, files: &[File]) -> Vec<Finding> {
    let Some(map) = files.iter().find(|file| file.path == MAP) else {
        return vec![finding(0, "is missing".to_owned())];
    };
    let packages: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    check_map(&map.text, &packages, |path| workspace::root().join(path).exists())
}

fn finding(line: usize, message: String) -> Finding {
    Finding { path: MAP.to_owned(), line, rule: "map", message }
}

fn check_map(map: &str, packages: &[&str], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let heading = |line: &str| {
            let place = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`'));
            place.is_some_and(|place| place.rsplit('/').next() == Some(package))
        };
        if !map.lines().any(heading) {
            findings.push(finding(0, format!("has no section on `{package}`")));
        }
    }
    for (index, line) in map.lines().enumerate() {
        // Every other part of a line split at back ticks is code.
        for path in line.split('`').skip(1).step_by(2) {
            let ours = ["crates/", "xtask/", "docs/", "fuzz/", "oracles/"];
            if ours.iter().any(|folder| path.starts_with(folder)) && !exists(path) {
                findings.push(finding(index + 1, format!("names `{path}`, which is not there")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_sections_and_paths_are_named() {
        let map = "### `crates/edge-a`\n`crates/edge-a/src/a.rs` and `crates/edge-a/src/b.rs`\n\
                   ### `xtask`\nthe crate `edge-b`, `fuzz`\n";
        let found = check_map(map, &["edge-a", "edge-b", "xtask"], |path| !path.ends_with("b.rs"));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "ARCHITECTURE.md: map: has no section on `edge-b`",
                "ARCHITECTURE.md:2: map: names `crates/edge-a/src/b.rs`, which is not there",
            ]
        );
    }
}
