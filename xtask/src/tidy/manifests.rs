//! What every package of ours states about itself.

use super::{File, Finding};
use crate::workspace::{Metadata, Package};

/// Checks each member's manifest and the opening of its library.
pub(super) fn check(metadata: &Metadata, files: &[File]) -> Vec<Finding> {
    metadata.packages.iter().flat_map(|package| check_package(package, files)).collect()
}

fn check_package(package: &Package, files: &[File]) -> Vec<Finding> {
    let folder = package.folder().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = if folder == "xtask" { folder.clone() } else { format!("crates/{folder}") };
    let manifest = format!("{place}/Cargo.toml");
    let mut findings = Vec::new();
    let mut report = |path: &str, message: &str| {
        let (path, message) = (path.to_owned(), message.to_owned());
        findings.push(Finding { path, line: 0, rule: "manifest", message });
    };
    if folder != package.name {
        report(&manifest, &format!("the folder is not named like the crate `{}`", package.name));
    }
    if package.description.as_deref().unwrap_or("").trim().is_empty() {
        report(&manifest, "no description");
    }
    if package.license.as_deref() != Some("MIT OR Apache-2.0") {
        report(&manifest, "needs `license.workspace = true`");
    }
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| &file.text);
    if text(&manifest).is_some_and(|text| !inherits_lints(text)) {
        report(&manifest, "needs `[lints] workspace = true`");
    }
    for opening in ["src/lib.rs", "src/main.rs"] {
        let path = format!("{place}/{opening}");
        if text(&path).is_some_and(|text| !opens_with_documentation(text)) {
            report(&path, "does not open with `//!`: what it is, what it is not, its invariants");
        }
    }
    findings
}

fn inherits_lints(manifest: &str) -> bool {
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        if line == "lints.workspace=true" || (section == "[lints]" && line == "workspace=true") {
            return true;
        }
    }
    false
}

fn opens_with_documentation(source: &str) -> bool {
    let first = source.lines().map(str::trim).find(|line| !line.is_empty());
    first.is_some_and(|line| line.starts_with("//!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_are_inherited_in_either_spelling() {
        for (manifest, expected) in [
            ("[lints]\nworkspace = true\n", true),
            ("lints.workspace = true\n", true),
            ("[package]\nworkspace = true\n", false),
            ("[lints.rust]\nmissing_docs = \"warn\"\n", false),
            ("[lints]\nworkspace = false\n", false),
        ] {
            assert_eq!(inherits_lints(manifest), expected, "{manifest}");
        }
    }

    #[test]
    fn the_first_line_must_be_documentation() {
        assert!(opens_with_documentation("\n//! What it is.\n"));
        assert!(!opens_with_documentation("// What it is.\nmod a;\n//! late\n"));
        assert!(!opens_with_documentation(""));
    }

    #[test]
    fn a_bare_package_is_told_everything_it_lacks() {
        let package = Package {
            name: "edge-a".to_owned(),
            version: "0.1.0".to_owned(),
            id: "a".to_owned(),
            source: None,
            license: None,
            description: Some(" ".to_owned()),
            manifest_path: "/x/crates/edge-b/Cargo.toml".into(),
            dependencies: Vec::new(),
            targets: Vec::new(),
        };
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("crates/edge-b/Cargo.toml", "[package]\n"),
            file("crates/edge-b/src/lib.rs", "pub mod a;\n"),
        ];
        assert_eq!(check_package(&package, &files).len(), 5);
    }
}
