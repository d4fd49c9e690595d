//! The checks that nobody should have to remember: layering, names, sizes, forbidden calls.
//!
//! Runs as `cargo xtask tidy` and as an ordinary test, so that `cargo test` finds it too.
//! Looks at files that git tracks or would track (untracked and not ignored).
//!
//! A line that must break a rule says so in the source, with a reason:
//! `// tidy: allow(RULE) the reason`, on the line or the one above. What holds for a whole
//! crate is in the tables of [`calls`].

mod calls;
mod files;
mod layering;
mod manifests;
mod map;
mod scan;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::options::Options;
use crate::{process, workspace};

const HELP: &str = "\
Check layering, names, file sizes and forbidden calls

Usage: cargo xtask tidy

A line may break a rule if it, or the line above, carries `// tidy: allow(RULE) REASON`.
";

/// Runs the checks and prints what they found.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let Some(options) = Options::parse(arguments, HELP, &[], &[])? else { return Ok(()) };
    options.no_positional()?;
    let (files, findings) = check()?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings in {files} files", findings.len());
    }
    println!("tidy: {files} files, no findings");
    Ok(())
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// 1-based; 0 where the finding concerns the whole file.
    pub(crate) line: usize,
    pub(crate) rule: &'static str,
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, message } = self;
        match line {
            0 => write!(formatter, "{path}: {rule}: {message}"),
            line => write!(formatter, "{path}:{line}: {rule}: {message}"),
        }
    }
}

/// A text file of the repository.
pub(crate) struct File {
    /// Relative to the root, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Runs every check; answers the number of files and what was found, sorted.
pub(crate) fn check() -> Result<(usize, Vec<Finding>)> {
    let metadata = workspace::members()?;
    let files = text_files()?;
    let mut findings = layering::check(&metadata);
    findings.extend(manifests::check(&metadata, &files));
    findings.extend(map::check(&metadata, &files));
    for file in &files {
        findings.extend(files::check(file));
        findings.extend(calls::check(file));
    }
    findings.sort();
    findings.dedup();
    Ok((files.len(), findings))
}

fn text_files() -> Result<Vec<File>> {
    let mut git = process::command("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let paths: Vec<String> = match process::capture(&mut git) {
        Ok(text) => text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect(),
        Err(_) => walk()?,
    };
    let root = workspace::root();
    let mut files = Vec::new();
    for path in paths {
        // Deleted but not yet committed, or not text: nothing to read.
        let Ok(bytes) = std::fs::read(root.join(&path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path, text });
        }
    }
    Ok(files)
}

/// The files of an unpacked archive, which has no git to ask.
fn walk() -> Result<Vec<String>> {
    let root = workspace::root();
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root.join(&folder));
        for entry in entries.with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                if !["target", ".git", "node_modules"].iter().any(|name| path.ends_with(name)) {
                    folders.push(path);
                }
            } else {
                paths.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let (files, findings) = super::check().unwrap();
        assert!(files > 20, "only {files} files seen: the listing is broken");
        let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", text.join("\n"));
    }
}
