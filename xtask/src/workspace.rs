//! What cargo knows about this workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process;

/// The repository root: the folder above this package's.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

/// The part of `cargo metadata` that is used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    /// Absent when asked for without dependencies.
    pub(crate) resolve: Option<Resolve>,
}

/// One package, ours or a dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) id: String,
    /// `None` for the packages of this workspace.
    pub(crate) source: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) manifest_path: PathBuf,
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
}

/// One declared dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for an ordinary one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for a dependency inside this workspace.
    pub(crate) path: Option<PathBuf>,
}

/// One thing cargo can build: a library, binary, example, test or bench.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

/// The resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

/// A package in the resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
}

/// An example of some package: what `cargo run -p PACKAGE --example NAME` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) package: String,
    pub(crate) name: String,
}

/// Our own packages, without touching the network.
pub(crate) fn members() -> Result<Metadata> {
    metadata(&["--no-deps", "--offline"])
}

/// Every package that the lock file names for any platform.
pub(crate) fn with_dependencies() -> Result<Metadata> {
    metadata(&["--locked"])
}

fn metadata(arguments: &[&str]) -> Result<Metadata> {
    let mut cargo = process::cargo();
    cargo.args(["metadata", "--format-version", "1"]).args(arguments);
    let text = process::capture(&mut cargo)?;
    serde_json::from_str(&text).context("cargo metadata has an unexpected shape")
}

impl Metadata {
    /// The package of that name.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Examples whose name starts with `prefix`, sorted by name.
    pub(crate) fn examples(&self, prefix: &str) -> Vec<Example> {
        let mut examples: Vec<Example> = self
            .packages
            .iter()
            .flat_map(|package| {
                let example = |target: &&Target| target.kind.iter().any(|kind| kind == "example");
                package.targets.iter().filter(example).map(|target| Example {
                    package: package.name.clone(),
                    name: target.name.clone(),
                })
            })
            .filter(|example| example.name.starts_with(prefix))
            .collect();
        examples.sort_by(|a, b| a.name.cmp(&b.name));
        examples
    }
}

impl Package {
    /// The folder of the package.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}
