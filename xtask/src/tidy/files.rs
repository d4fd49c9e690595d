//! Rules for any text file: size, name, and nothing that only this machine knows.

use super::{File, Finding};

const LINES_MAX: usize = 1_500;

/// Endings of files that people write by hand and have to read.
const SOURCE: &[&str] = &["rs", "py", "sh", "js", "ts", "tsx", "css", "html"];

/// Names that say nothing. A file or folder has to be named for what is in it.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "core", "manager", "managers", "helper", "helpers", "exotic",
    "enhanced", "advanced", "v2",
];

/// Words that say nothing in the name of a type.
const EMPTY_WORDS: &[&str] = &["Manager", "Helper", "Utils", "Exotic", "Enhanced", "Advanced"];

/// Folders that exist on one machine only. Split so that this file passes its own check.
const MACHINE_FOLDERS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// How a file names the registry it was made against.
const REGISTRY_SETTINGS: &[&str] = &[
    concat!("index", "-url"),
    concat!("replace", "-with"),
    concat!("[source", "."),
    concat!("[registries", "."),
    concat!("GO", "PROXY="),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("files.python", "hosted.org"),
    concat!("registry.npm", "js.org"),
];

/// Checks one file.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |line: usize, rule: &'static str, message: String| {
        findings.push(Finding { path: file.path.clone(), line, rule, message });
    };
    let (folders, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let source = SOURCE.contains(&ending);

    let lines = file.text.lines().count();
    if source && lines > LINES_MAX && !generated(&file.text) {
        report(0, "size", format!("{lines} lines; at most {LINES_MAX}: split it by what it says"));
    }
    if name == "mod.rs" {
        report(0, "name", "no mod.rs: `foo.rs` beside the folder `foo`".to_owned());
    }
    for part in folders.split('/').chain(source.then_some(stem)) {
        if let Some(word) = part.split(['-', '_', '.']).find(|word| EMPTY_NAMES.contains(word)) {
            report(0, "name", format!("`{part}`: `{word}` says nothing; name what is in it"));
        }
    }
    if ending == "rs" {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(name) = empty_type_name(line) {
                report(index + 1, "name", format!("`{name}` says nothing; name what it does"));
            }
        }
    }
    for (index, line) in file.text.lines().enumerate() {
        if let Some(folder) = machine_folder(line) {
            let message = format!("a path of one machine, `{folder}...`, is nowhere else");
            report(index + 1, "machine", message);
        }
        if let Some(setting) = REGISTRY_SETTINGS.iter().find(|setting| line.contains(**setting)) {
            report(index + 1, "registry", format!("names a package registry (`{setting}`)"));
        }
    }
    findings
}

fn generated(text: &str) -> bool {
    text.lines().take(5).any(|line| line.contains(concat!("@gene", "rated")))
}

fn empty_type_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
    let kind =
        ["struct ", "enum ", "trait ", "type "].iter().find(|kind| line.starts_with(**kind))?;
    let name = line[kind.len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    EMPTY_WORDS.iter().any(|word| name.contains(word)).then_some(name)
}

/// The first absolute path into a folder of one machine. `a/home/b` and `~/work/` are not.
fn machine_folder(line: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.iter().copied().find(|folder| {
        line.match_indices(*folder).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._-~}*)>".contains(c))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        super::check(&file)
            .iter()
            .map(|finding| format!("{}:{}", finding.rule, finding.line))
            .collect()
    }

    #[test]
    fn names() {
        for (path, found) in [
            ("crates/edge-a/src/hnsw.rs", false),
            ("crates/edge-a/src/mod.rs", true),
            ("crates/edge-a/src/utils.rs", true),
            ("crates/edge-a/src/string_helpers.rs", true),
            ("crates/edge-core/src/lib.rs", true),
            ("crates/edge-a/tests/common/frame.rs", true),
            ("crates/edge-a/src/scores.rs", false),
            ("docs/core.md", false),
        ] {
            let expected: &[&str] = if found { &["name:0"] } else { &[] };
            assert_eq!(check(path, "x\n"), expected, "{path}");
        }
        assert_eq!(check("a.rs", "mod a;\npub struct TaskManager;\n"), ["name:2"]);
        assert_eq!(check("a.rs", "pub struct Task;\n"), Vec::<String>::new());
    }

    #[test]
    fn sizes() {
        let long = "x\n".repeat(LINES_MAX + 1);
        assert_eq!(check("a.rs", &long), ["size:0"]);
        assert_eq!(check("a.rs", &long[2..]), Vec::<String>::new());
        assert_eq!(
            check("a.rs", &format!("// @{} by b.py\n{long}", "generated")),
            Vec::<String>::new()
        );
        assert_eq!(check("vocabulary.txt", &long), Vec::<String>::new());
    }

    #[test]
    fn paths_and_registries_of_one_machine() {
        let home = format!("/{}/", "home");
        for (line, found) in [
            (format!("open({home}ann/x)"), true),
            (format!("`{home}`"), true),
            (format!("a{home}b"), false),
            (format!("~{home}b"), false),
            (format!("$HOME{home}b"), false),
        ] {
            let expected: &[&str] = if found { &["machine:1"] } else { &[] };
            assert_eq!(check("docs/a.md", &line), expected, "{line}");
        }
        assert_eq!(check("a.toml", &format!("{}-with = \"x\"", "replace")), ["registry:1"]);
    }
}
