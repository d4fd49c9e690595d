//! Dependencies between our crates point down, never up.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::workspace::Metadata;

/// The drawing of DESIGN.md section 2 as data: a crate, what stands directly below it, and why
/// it may look there. A crate may depend on everything below it, however far down.
const ARROWS: &[(&str, &[&str], &str)] = &[
    ("edge-base", &[], "the ground: ids, signatures, time, credits, codec"),
    ("edge-fuzz", &[], "mutation engine of the fuzz targets; only ever a dev-dependency"),
    ("edge-kernels", &["edge-base"], "numbers need digests at most"),
    ("edge-embed", &["edge-kernels"], "a model is kernels in an order"),
    ("edge-index", &["edge-kernels"], "an index is distances in an order"),
    ("edge-tasks", &["edge-embed", "edge-index"], "maps a task kind to a pure function"),
    ("edge-ledger", &["edge-base"], "signed blocks and nothing else"),
    ("edge-coherence", &["edge-base"], "signed claims and who settles them, of any kind"),
    (
        "edge-swarm",
        &["edge-ledger", "edge-coherence"],
        "the protocol knows no model: payloads are bytes",
    ),
    ("edge-transport", &["edge-swarm"], "carries the peer's messages and decides nothing"),
    ("edge-node", &["edge-transport", "edge-tasks"], "joins the peer, the network and the work"),
    ("edge-api", &["edge-node"], "a client of the node's one call"),
    ("edge-cli", &["edge-api"], "the outermost shell"),
    ("edge-sim", &["edge-swarm", "edge-tasks"], "drives the real peer over a virtual network"),
    ("edge-wasm-net", &["edge-transport"], "the peer in a browser: computes nothing"),
    ("edge-wasm-compute", &["edge-tasks"], "task execution in a browser: knows no peer"),
    ("edge-wasm-kernels", &["edge-kernels"], "arrays in a browser: knows neither task nor peer"),
    ("edge-wasm-keys", &["edge-base"], "keys in a page: knows no peer"),
    ("edge-gpu", &[], "measured beside the product: nothing that is verified goes through a GPU"),
    ("edge-sandbox", &["edge-base"], "users' wasm under limits, used by the node"),
    ("xtask", &[], "automation stands beside the product"),
];

/// May appear under `[dev-dependencies]` only.
const DEV_ONLY: &[&str] = &["edge-fuzz"];

/// Checks the workspace's own edges.
pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let members: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let edges = metadata.packages.iter().flat_map(|package| {
        package.dependencies.iter().filter(|dependency| dependency.path.is_some()).map(
            |dependency| Edge {
                from: &package.name,
                to: &dependency.name,
                dev: dependency.kind.as_deref() == Some("dev"),
            },
        )
    });
    check_edges(&members, &edges.collect::<Vec<_>>())
}

struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    dev: bool,
}

fn check_edges(members: &BTreeSet<&str>, edges: &[Edge<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |from: &str, message: String| {
        let path = if from == "xtask" {
            "xtask/Cargo.toml".to_owned()
        } else {
            format!("crates/{from}/Cargo.toml")
        };
        findings.push(Finding { path, line: 0, rule: "layering", message });
    };
    for member in members {
        if !ARROWS.iter().any(|(name, ..)| name == member) {
            report(
                member,
                "not in the table of xtask/src/tidy/layering.rs; say where it stands".to_owned(),
            );
        }
    }
    for Edge { from, to, dev } in edges {
        if *dev {
            continue;
        }
        if DEV_ONLY.contains(to) {
            report(from, format!("{to} may only be a dev-dependency"));
        } else if !below(from).contains(to) {
            let reason = ARROWS.iter().find(|(name, ..)| name == from).map_or("", |row| row.2);
            report(from, format!("must not depend on {to}: {reason}"));
        }
    }
    if let Some(cycle) = cycle(edges) {
        report(cycle[0], format!("dependency cycle: {}", cycle.join(" -> ")));
    }
    findings
}

fn below(name: &str) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut open = vec![name];
    while let Some(name) = open.pop() {
        let row = ARROWS.iter().find(|(known, ..)| *known == name);
        for lower in row.map_or(&[][..], |row| row.1) {
            if found.insert(*lower) {
                open.push(lower);
            }
        }
    }
    found
}

/// A cycle over ordinary and dev edges together, its first crate repeated at the end.
fn cycle<'a>(edges: &[Edge<'a>]) -> Option<Vec<&'a str>> {
    let mut lower: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| edge.from != edge.to) {
        lower.entry(edge.from).or_default().push(edge.to);
    }
    let mut finished = BTreeSet::new();
    lower.keys().find_map(|start| descend(start, &lower, &mut Vec::new(), &mut finished))
}

fn descend<'a>(
    name: &'a str,
    lower: &BTreeMap<&'a str, Vec<&'a str>>,
    path: &mut Vec<&'a str>,
    finished: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if finished.contains(name) {
        return None;
    }
    if let Some(start) = path.iter().position(|seen| *seen == name) {
        let mut cycle = path[start..].to_vec();
        cycle.push(name);
        return Some(cycle);
    }
    path.push(name);
    for next in lower.get(name).into_iter().flatten() {
        if let Some(cycle) = descend(next, lower, path, finished) {
            return Some(cycle);
        }
    }
    path.pop();
    finished.insert(name);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(edges: &[(&str, &str, bool)]) -> Vec<String> {
        let members = edges.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        let edges: Vec<Edge<'_>> =
            edges.iter().map(|(from, to, dev)| Edge { from, to, dev: *dev }).collect();
        check_edges(&members, &edges).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn down_is_allowed_however_far() {
        let edges = [
            ("edge-cli", "edge-kernels", false),
            ("edge-swarm", "edge-base", false),
            ("edge-sim", "edge-ledger", false),
            ("edge-base", "edge-fuzz", true),
            ("edge-ledger", "edge-sim", true),
        ];
        // Each edge by itself: the last one with its counterpart would be a cycle.
        for edge in edges {
            assert_eq!(check(&[edge]), Vec::<String>::new(), "{edge:?}");
        }
    }

    #[test]
    fn up_and_sideways_are_findings() {
        for (edge, expected) in [
            (
                ("edge-swarm", "edge-tasks", false),
                "crates/edge-swarm/Cargo.toml: layering: must not depend on edge-tasks: \
                 the protocol knows no model: payloads are bytes",
            ),
            (
                ("edge-base", "edge-ledger", false),
                "crates/edge-base/Cargo.toml: layering: must not depend on edge-ledger: \
                 the ground: ids, signatures, time, credits, codec",
            ),
            (
                ("edge-base", "edge-fuzz", false),
                "crates/edge-base/Cargo.toml: layering: edge-fuzz may only be a dev-dependency",
            ),
            (
                ("edge-cli", "xtask", false),
                "crates/edge-cli/Cargo.toml: layering: must not depend on xtask: \
                 the outermost shell",
            ),
        ] {
            assert_eq!(check(&[edge]), [expected]);
        }
    }

    #[test]
    fn a_dev_dependency_may_not_close_a_cycle() {
        let edges = [
            ("edge-embed", "edge-kernels", false),
            ("edge-kernels", "edge-base", false),
            ("edge-kernels", "edge-embed", true),
        ];
        assert_eq!(
            check(&edges),
            ["crates/edge-embed/Cargo.toml: layering: dependency cycle: \
              edge-embed -> edge-kernels -> edge-embed"]
        );
    }

    #[test]
    fn a_new_crate_must_say_where_it_stands() {
        let found = check(&[("edge-novel", "edge-base", true)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("not in the table"), "{found:?}");
    }
}
