//! Forbidden calls, by table.

use super::{File, Finding, scan};

/// Crates without clock, entropy, threads, sockets, files, environment or output. Time is a
/// value passed in, randomness a seeded generator passed in, work leaves as an output.
const CORE: &[&str] = &[
    "edge-base",
    "edge-kernels",
    "edge-embed",
    "edge-index",
    "edge-tasks",
    "edge-ledger",
    "edge-coherence",
    "edge-swarm",
];

/// Where a rule holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The product part of core crates: `src/`, without test items.
    Core,
    /// The product part of the canonical kernels, besides `Core`.
    Canon,
    /// Every Rust file, tests included.
    Everywhere,
}

struct Rule {
    name: &'static str,
    scope: Scope,
    words: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "clock",
        scope: Scope::Core,
        words: &["Instant::now", "SystemTime", "UNIX_EPOCH", "std::time::Instant", "web_time"],
        why: "time is a `Timestamp` passed in",
    },
    Rule {
        name: "entropy",
        scope: Scope::Core,
        words: &["thread_rng", "OsRng", "SysRng", "getrandom", "rand::rng", "from_os_rng"],
        why: "randomness is a seeded generator passed in",
    },
    Rule {
        name: "threads",
        scope: Scope::Core,
        words: &["std::thread", "thread::spawn", "rayon", "tokio"],
        why: "long work leaves as an output and comes back as an input",
    },
    Rule {
        name: "files",
        scope: Scope::Core,
        words: &["std::fs", "File::open", "File::create"],
        why: "bytes are passed in; the driver owns the disk",
    },
    Rule {
        name: "sockets",
        scope: Scope::Core,
        words: &["std::net", "TcpStream", "TcpListener", "UdpSocket", "libp2p"],
        why: "messages are passed in; the driver owns the network",
    },
    Rule {
        name: "environment",
        scope: Scope::Core,
        words: &["std::env", "env::var", "std::process"],
        why: "settings are passed in",
    },
    Rule {
        name: "output",
        scope: Scope::Core,
        words: &["println!", "eprintln!", "print!", "eprint!"],
        why: "what there is to say is an output or an error",
    },
    Rule {
        name: "hash-order",
        scope: Scope::Core,
        words: &["HashMap", "HashSet", "RandomState"],
        why: "std's hash order differs from run to run; take BTreeMap, or say why order is moot",
    },
    Rule {
        name: "canon",
        scope: Scope::Canon,
        words: &[
            "mul_add",
            "powi",
            "powf",
            ".sum(",
            ".sum::",
            ".ln(",
            "_mm256_fmadd_ps",
            "_mm512_fmadd_ps",
            "_mm256_rsqrt_ps",
            "_mm512_rsqrt14_ps",
            "_mm256_rcp_ps",
            "_mm512_rcp14_ps",
            "vfmaq_f32",
            "vrsqrteq_f32",
            "vrecpeq_f32",
            "f32x4_relaxed_madd",
        ],
        why: "its bits differ between machines or back ends; see docs/canon.md",
    },
    Rule {
        name: "unfinished",
        scope: Scope::Everywhere,
        words: &["todo!", "unimplemented!"],
        why: "what is not there is not there",
    },
    Rule {
        name: "ignored-test",
        scope: Scope::Everywhere,
        words: &["#[ignore", "cfg_attr(miri, ignore"],
        why: "a test runs or is deleted",
    },
];

/// What a whole crate may do although it is core, and why. Single lines use the comment
/// `// tidy: allow(RULE) REASON` instead.
const ALLOWED: &[(&str, &str, &str)] =
    &[("edge-base", "hash-order", "memo of verified signatures: membership only, never iterated")];

/// Checks one file; anything but Rust passes.
pub(super) fn check(file: &File) -> Vec<Finding> {
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let code = scan::code(&file.text);
    let product = scan::without_tests(&code);
    let core = core_crate(&file.path);
    let mut findings = Vec::new();
    for rule in RULES {
        let text = match (rule.scope, core) {
            (Scope::Everywhere, _) => &code,
            (Scope::Core, Some(name)) if !allowed(name, rule.name) => &product,
            (Scope::Canon, Some("edge-kernels")) => &product,
            (Scope::Core | Scope::Canon, _) => continue,
        };
        for word in rule.words {
            for at in occurrences(text, word) {
                let line = text[..at].matches('\n').count();
                if !marked(&file.text, line, rule.name) {
                    findings.push(finding(file, line, rule, word));
                }
            }
        }
        for (line, word) in grouped_imports(text, rule.words) {
            if !marked(&file.text, line, rule.name) {
                findings.push(finding(file, line, rule, &word));
            }
        }
    }
    findings
}

fn finding(file: &File, line: usize, rule: &Rule, word: &str) -> Finding {
    let message = format!("`{word}`: {}", rule.why);
    Finding { path: file.path.clone(), line: line + 1, rule: rule.name, message }
}

/// The core crate whose product code is in that file.
fn core_crate(path: &str) -> Option<&'static str> {
    let (name, inside) = path.strip_prefix("crates/")?.split_once('/')?;
    let tests = inside.ends_with("/tests.rs") || inside.contains("/tests/");
    if !inside.starts_with("src/") || tests {
        return None;
    }
    CORE.iter().copied().find(|known| *known == name)
}

fn allowed(name: &str, rule: &str) -> bool {
    ALLOWED.iter().any(|row| row.0 == name && row.1 == rule)
}

/// Whether the line, or the comments directly above it, carry an allowance with a reason.
fn marked(source: &str, line: usize, rule: &str) -> bool {
    let lines: Vec<&str> = source.lines().take(line + 1).collect();
    let above = lines.iter().rev().skip(1).take_while(|text| text.trim_start().starts_with("//"));
    lines.last().into_iter().chain(above).any(|text| {
        let Some((_, rest)) = text.split_once("tidy: allow(") else { return false };
        let Some((named, reason)) = rest.split_once(')') else { return false };
        named == rule && reason.trim().len() >= 10
    })
}

/// Where `word` stands in `text` as a whole word.
fn occurrences<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let open = part(word.as_bytes().first()) && part(before);
        let closed = part(word.as_bytes().last()) && part(bytes.get(at + word.len()));
        !open && !closed
    })
}

/// `use std::{env, fs}` names what `std::env` and `std::fs` would: the line and the full path of
/// each forbidden member.
fn grouped_imports(text: &str, words: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use std::{") {
        let group = &text[at..text[at..].find(';').map_or(text.len(), |length| at + length)];
        for word in words.iter().filter_map(|word| word.strip_prefix("std::")) {
            if !word.contains(':') && occurrences(group, word).next().is_some() {
                found.push((text[..at].matches('\n').count(), format!("std::{word}")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        let show = |finding: &Finding| format!("{}:{}", finding.rule, finding.line);
        super::check(&file).iter().map(show).collect()
    }

    #[test]
    fn every_rule_catches_its_words() {
        for rule in RULES {
            for word in rule.words {
                let path = match rule.scope {
                    Scope::Canon => "crates/edge-kernels/src/canon.rs",
                    _ => "crates/edge-swarm/src/peer.rs",
                };
                let found = check(path, &format!("fn f() {{\n{word};\n}}"));
                assert!(found.contains(&format!("{}:2", rule.name)), "{word}: {found:?}");
            }
        }
    }

    #[test]
    fn core_rules_hold_in_product_code_of_core_crates_only() {
        let text = "use std::fs;\n";
        for (path, found) in [
            ("crates/edge-swarm/src/peer.rs", true),
            ("crates/edge-swarm/src/peer/tests.rs", false),
            ("crates/edge-swarm/tests/pair.rs", false),
            ("crates/edge-swarm/examples/bench_peer.rs", false),
            ("crates/edge-node/src/store.rs", false),
            ("docs/peer.md", false),
        ] {
            let expected: &[&str] = if found { &["files:1"] } else { &[] };
            assert_eq!(check(path, text), expected, "{path}");
        }
    }

    #[test]
    fn comments_strings_tests_and_longer_words_are_no_calls() {
        let text = "// std::fs\nconst A: &str = \"std::fs\";\nfn my_std::fsx() {}\n\
                    #[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(check("crates/edge-base/src/a.rs", text), Vec::<String>::new());
    }

    #[test]
    fn grouped_imports_are_seen() {
        let text = "mod a;\nuse std::{\n    collections::BTreeMap,\n    fs,\n};\n";
        assert_eq!(check("crates/edge-base/src/a.rs", text), ["files:2"]);
    }

    #[test]
    fn an_allowance_needs_the_rule_and_a_reason() {
        for (line, found) in [
            ("use std::fs; // tidy: allow(files) read once by the build script", false),
            ("use std::fs; // tidy: allow(files)", true),
            ("use std::fs; // tidy: allow(clock) read once by the build script", true),
            ("// tidy: allow(files) read once by the build script\nuse std::fs;", false),
        ] {
            assert_eq!(check("crates/edge-base/src/a.rs", line).is_empty(), !found, "{line}");
        }
        let line = "use std::collections::HashSet;";
        assert_eq!(check("crates/edge-base/src/a.rs", line), Vec::<String>::new());
        assert_eq!(check("crates/edge-swarm/src/a.rs", line), ["hash-order:1"]);
    }
}
