//! The demo's own corpus: the documentation of the packages this program is built from.

use std::path::{Path, PathBuf};

use super::folder::{self, Documents, Source};

/// The lock file of the workspace this program was built from.
const LOCK: &str = include_str!("../../../../Cargo.lock");

/// A package of the lock file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
}

/// What was found of the locked packages.
#[derive(Debug)]
pub(crate) struct Corpus {
    /// The passages.
    pub(crate) documents: Documents,
    /// Packages that are on this machine.
    pub(crate) packages: usize,
    /// Packages that are not.
    pub(crate) missing: usize,
}

/// The packages that come from a registry, generated bindings left out.
pub(crate) fn locked_packages() -> Vec<Package> {
    packages_of(LOCK)
}

pub(crate) fn packages_of(lock: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for entry in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            entry.lines().find_map(|line| {
                let rest = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
                Some(rest.trim().trim_matches('"').to_owned())
            })
        };
        let (Some(name), Some(version)) = (value("name"), value("version")) else { continue };
        let from_registry = value("source").is_some_and(|source| source.starts_with("registry+"));
        let generated = name.starts_with("windows") || name.ends_with("-sys");
        if from_registry && !generated {
            packages.push(Package { name, version });
        }
    }
    packages.sort();
    packages.dedup();
    packages
}

/// The folders below `CARGO_HOME` that hold unpacked packages, one for each registry.
pub(crate) fn registry_folders(cargo_home: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cargo_home.join("registry").join("src"));
    let mut folders: Vec<PathBuf> = entries
        .into_iter()
        .flat_map(|entries| entries.flatten())
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// `CARGO_HOME`, or where Cargo puts it.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(home) if !home.is_empty() => Some(PathBuf::from(home)),
        _ => Some(directories::BaseDirs::new()?.home_dir().join(".cargo")),
    }
}

impl Corpus {
    /// Reads the source and README files of these packages from these registry folders.
    pub(crate) fn read(folders: &[PathBuf], packages: &[Package], limit: usize) -> Corpus {
        let (mut found, mut missing) = (0, 0);
        let (mut sources, mut skipped) = (Vec::new(), Vec::new());
        for package in packages {
            let name = format!("{}-{}", package.name, package.version);
            let folder = folders.iter().map(|folder| folder.join(&name)).find(|path| path.is_dir());
            let Some(folder) = folder else {
                missing += 1;
                continue;
            };
            found += 1;
            let mut files = Vec::new();
            folder::walk(&folder, &folder, 0, &mut files, &mut skipped);
            sources.extend(
                files
                    .into_iter()
                    .filter(|file| is_documentation(&file.name))
                    .map(|file| Source { name: format!("{name}/{}", file.name), path: file.path }),
            );
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        let documents = Documents::of_sources(sources, limit, false, skipped);
        Corpus { documents, packages: found, missing }
    }
}

/// READMEs, and source files other than tests.
fn is_documentation(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    file.starts_with("readme") || file.ends_with(".rs")
}
