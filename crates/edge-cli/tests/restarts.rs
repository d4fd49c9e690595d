//! A node that starts again begins with the snapshots of its shards, and goes on without them when they
//! are damaged or gone: the answers are the same.
#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

#[path = "support/node.rs"]
mod node;

use node::{Node, post, until};

/// Above the least that is worth a snapshot.
const ROWS: u64 = 1_200;

fn store(url: &str, from: u64, to: u64) {
    let record = |n: u64| {
        let vector = [17, 19, 23, 29].map(|modulus| 1 + n * n % modulus);
        json!({ "id": format!("r{n}"), "vector": vector, "payload": { "n": n } })
    };
    let records: Vec<Value> = (from..to).map(record).collect();
    let answer = post(url, "collections/kept/records", &Value::Array(records)).unwrap();
    assert_eq!(answer["stored"], to - from);
}

/// The best hits, and the roots and positions of all copies, which must be sound.
fn state(url: &str) -> (Value, Value) {
    let body = json!({ "vector": [3, 1, 4, 1], "k": 20 });
    let mut found = None;
    until("the collection can be searched", || {
        found = post(url, "collections/kept/search", &body).ok();
        found.is_some()
    });
    let checked = post(url, "collections/kept/check", &json!({ "sample": 50 })).unwrap();
    assert_eq!((&checked["holds"], &checked["unreachable"]), (&json!(true), &json!(0)));
    (found.unwrap()["hits"].clone(), checked["shards"].clone())
}

#[test]
fn a_node_goes_on_with_and_without_its_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::new(&folder.path().join("node"));
    node.start(&[]);
    let url = node.url().unwrap();
    post(&url, "collections", &json!({ "name": "kept", "dim": 4 })).unwrap();
    (0..ROWS).step_by(300).for_each(|n| store(&url, n, n + 300));
    let files = |node: &Node| -> Vec<PathBuf> {
        let entries = fs::read_dir(node.folder.join("shards")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    node.stop();
    let [snapshot] = files(&node).try_into().unwrap();
    node.start(&[]);
    let whole = state(&node.url().unwrap());

    // The log went on after the snapshot was taken, and the process was killed.
    store(&node.url().unwrap(), ROWS, ROWS + 30);
    let more = state(&node.url().unwrap());
    assert_ne!(more.1, whole.1);
    node.kill();
    let older = fs::read(&snapshot).unwrap();
    node.start(&[]);
    assert_eq!(state(&node.url().unwrap()), more);
    node.stop();

    // What is on the disk is changed while the node is away.
    let newer = fs::read(&snapshot).unwrap();
    assert_ne!(newer, older);
    let mut flipped = newer.clone();
    flipped[newer.len() / 3] ^= 1;
    for bytes in [&older, &flipped, &newer[..newer.len() / 2].to_vec(), &Vec::new()] {
        fs::write(&snapshot, bytes).unwrap();
        node.start(&[]);
        assert_eq!(state(&node.url().unwrap()), more);
        node.kill();
    }
    fs::remove_dir_all(node.folder.join("shards")).unwrap();
    node.start(&[]);
    assert_eq!(state(&node.url().unwrap()), more);

    // A collection that is gone takes its snapshots with it.
    node.stop();
    assert_eq!(files(&node).len(), 1);
    node.start(&[]);
    let url = node.url().unwrap();
    ureq::delete(format!("{url}/api/v1/collections/kept")).call().unwrap();
    until("the snapshot is gone", || files(&node).is_empty());
}
