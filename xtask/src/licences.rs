//! Whether every dependency's licence lets us ship it.
//!
//! Reads the licence expressions that packages declare (SPDX 2.3, annex D) for every package
//! the lock file names, on any platform, and evaluates them against a list.

mod expression;

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::options::Options;
use crate::stages::Outcome;
use crate::workspace::{self, Metadata, Package};
use expression::Expression;

const HELP: &str = "\
Check the licence of every dependency

Usage: cargo xtask licences [--list]

Options:
  --list    print each package with its licence expression
";

/// Licences that may be part of what we ship, and what follows from them.
const ALLOWED: &[(&str, &str)] = &[
    ("0BSD", "no condition"),
    ("Apache-2.0", "ours; notice kept"),
    ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 with fewer conditions"),
    ("BSD-1-Clause", "notice kept"),
    ("BSD-2-Clause", "notice kept"),
    ("BSD-3-Clause", "notice kept, no endorsement"),
    ("BSL-1.0", "notice kept in source only"),
    ("CC0-1.0", "public domain"),
    ("CDLA-Permissive-2.0", "data: the root certificates"),
    ("ISC", "notice kept"),
    ("MIT", "ours; notice kept"),
    ("MIT-0", "no condition"),
    ("MPL-2.0", "per file: unmodified files are available from their registry"),
    ("Unicode-3.0", "notice kept"),
    ("Unicode-DFS-2016", "notice kept"),
    ("Unlicense", "public domain"),
    ("Zlib", "altered versions marked"),
];

/// Licences that must never get in, whatever else an allowance says: each would put a condition
/// on the whole program or on who may use it.
const DENIED: &[&str] = &[
    "AGPL-1.0",
    "AGPL-3.0",
    "BUSL-1.1",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
    "CPAL-1.0",
    "EUPL-1.2",
    "GPL-1.0",
    "GPL-2.0",
    "GPL-3.0",
    "OSL-3.0",
    "SSPL-1.0",
];

/// Packages judged one by one: name, the expression that holds, and who says so.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Prints what is wrong, or how many packages hold.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let Some(options) = Options::parse(arguments, HELP, &["--list"], &[])? else { return Ok(()) };
    options.no_positional()?;
    if options.has("--list") {
        for package in &workspace::with_dependencies()?.packages {
            let licence = package.license.as_deref().unwrap_or("(none declared)");
            println!("{} {}  {licence}", package.name, package.version);
        }
        return Ok(());
    }
    if let Outcome::Passed(note) = stage()? {
        println!("licences: {note}");
    }
    Ok(())
}

/// The check as a stage of `ci`.
pub(crate) fn stage() -> Result<Outcome> {
    let metadata = workspace::with_dependencies()?;
    let (packages, problems) = check(&metadata);
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} packages whose licence does not do", problems.len());
    }
    Ok(Outcome::Passed(format!("{packages} packages")))
}

fn check(metadata: &Metadata) -> (usize, Vec<String>) {
    let reached: Option<BTreeSet<&str>> = metadata
        .resolve
        .as_ref()
        .map(|resolve| resolve.nodes.iter().map(|node| node.id.as_str()).collect());
    let foreign = metadata.packages.iter().filter(|package| {
        package.source.is_some()
            && reached.as_ref().is_none_or(|reached| reached.contains(package.id.as_str()))
    });
    let mut packages = 0;
    let mut problems = Vec::new();
    for package in foreign {
        packages += 1;
        if let Some(problem) = problem(package) {
            problems.push(format!("{} {}: {problem}", package.name, package.version));
        }
    }
    (packages, problems)
}

fn problem(package: &Package) -> Option<String> {
    let exception = EXCEPTIONS.iter().find(|row| row.0 == package.name).map(|row| row.1);
    let Some(text) = exception.or(package.license.as_deref()) else {
        return Some("declares no licence; read its files and add an exception".to_owned());
    };
    match Expression::parse(text) {
        Err(error) => Some(format!("`{text}` is no licence expression: {error}")),
        Ok(expression) if !expression.holds(&allowed) => {
            Some(format!("`{text}` is not on the list of allowed licences"))
        }
        Ok(_) => None,
    }
}

fn allowed(licence: &str) -> bool {
    let base = licence.trim_end_matches("-only").trim_end_matches("-or-later");
    !DENIED.contains(&base.trim_end_matches('+')) && ALLOWED.iter().any(|row| row.0 == licence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(licence: Option<&str>) -> Package {
        Package {
            name: "x".to_owned(),
            version: "1.0.0".to_owned(),
            id: "x".to_owned(),
            source: Some("registry".to_owned()),
            license: licence.map(str::to_owned),
            description: None,
            manifest_path: "x/Cargo.toml".into(),
            dependencies: Vec::new(),
            targets: Vec::new(),
        }
    }

    #[test]
    fn a_choice_needs_one_allowed_licence_and_a_sum_needs_all() {
        for (licence, holds) in [
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only", false),
            ("MIT AND GPL-2.0-or-later", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("GPL-2.0-only WITH Classpath-exception-2.0", false),
            ("MIT OR", false),
            ("Proprietary", false),
        ] {
            assert_eq!(problem(&package(Some(licence))).is_none(), holds, "{licence}");
        }
        assert!(problem(&package(None)).is_some());
    }

    #[test]
    fn the_lists_do_not_contradict_each_other() {
        for (licence, _) in ALLOWED {
            assert!(allowed(licence), "{licence} is allowed and denied");
        }
    }
}
