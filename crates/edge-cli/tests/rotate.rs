//! A real node goes on under a new key: it is paid, searches are answered, and the old key is refused; also
//! when it is killed on the way.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

#[path = "support/node.rs"]
mod node;

use node::{Node, post, until};

fn edge_net(node: &Node, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-net"));
    command.arg("--data-dir").arg(&node.folder).args(arguments);
    command.env_remove("EDGE_NET_API").env("XDG_CONFIG_HOME", &node.folder);
    command
}

fn run(node: &Node, arguments: &[&str]) -> Output {
    edge_net(node, arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ask(node: &Node, arguments: &[&str]) -> Value {
    let output = run(node, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The founder, and two members with ten rUv each.
fn three(folder: &Path) -> [Node; 3] {
    let mut nodes = ["founder", "worker", "third"].map(|name| Node::new(&folder.join(name)));
    nodes[0].start(&[]);
    for at in 1..3 {
        let ticket = ask(&nodes[0], &["identity", "invite", "--credits", "10"]);
        nodes[at].start(&["--join", ticket["ticket"].as_str().unwrap()]);
        until("it has its credits", || funds(&nodes[at]) >= 10.0);
    }
    nodes
}

/// What a node has, or will have when all that it was paid is taken.
fn funds(node: &Node) -> f64 {
    let balance = ask(node, &["ledger", "balance"]);
    ["balance", "incoming"].iter().map(|part| balance[part].as_f64().unwrap()).sum()
}

fn peer(node: &Node, other: &str) -> Value {
    let peers = ask(node, &["peer", "ls"]);
    let all = peers["peers"].as_array().unwrap();
    all.iter().find(|peer| peer["node"] == other).cloned().unwrap_or_default()
}

fn store(node: &Node, name: &str) {
    let url = node.url().unwrap();
    post(&url, "collections", &json!({ "name": name, "dim": 4 })).unwrap();
    let record =
        |n: u64| json!({ "id": format!("r{n}"), "vector": [n, 1, 2, n % 3], "payload": {} });
    let records: Vec<Value> = (1..40).map(record).collect();
    post(&url, &format!("collections/{name}/records"), &Value::Array(records)).unwrap();
}

fn best_hit(node: &Node, name: &str) -> Option<Value> {
    let body = json!({ "vector": [1, 1, 2, 1], "k": 1 });
    let found = post(&node.url()?, &format!("collections/{name}/search"), &body).ok()?;
    Some(found["hits"][0]["id"].clone()).filter(|id| !id.is_null())
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_node_goes_on_under_a_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let [founder, mut worker, third] = three(folder.path());
    store(&founder, "theirs");
    store(&worker, "mine");
    for (node, name) in [(&founder, "mine"), (&third, "theirs"), (&worker, "theirs")] {
        until("it is found", || best_hit(node, name) == Some(json!("r1")));
    }
    // A thief has everything.
    worker.stop();
    let mut thief = Node::new(&folder.path().join("thief"));
    copy_folder(&worker.folder, &thief.folder);
    worker.start(&[]);
    let old = text(&ask(&worker, &["status"])["node"]);
    until("it is back", || peer(&founder, &old)["connected"] == true);

    // Nothing happens by accident, and who cannot is told why.
    let unsure = run(&worker, &["identity", "rotate"]);
    assert_eq!(unsure.status.code(), Some(2), "{}", said(&unsure));
    assert!(said(&unsure).contains("--yes"));
    let refused = run(&founder, &["identity", "rotate", "--yes"]);
    assert_eq!(refused.status.code(), Some(5), "{}", said(&refused));
    assert!(said(&refused).contains("founder's key"), "{}", said(&refused));

    let rotated = ask(&worker, &["identity", "rotate", "--yes"]);
    assert_eq!(
        (&rotated["schema"], text(&rotated["node"])),
        (&json!("edge-net.rotated/1"), old.clone())
    );
    let new = text(&rotated["heir"]);
    until("it starts again by itself", || {
        let status = worker.url().map(|_| run(&worker, &["status", "--json"]));
        let status = status.filter(|output| output.status.success());
        status.is_some_and(|output| {
            serde_json::from_slice::<Value>(&output.stdout).unwrap()["node"] == new
        })
    });
    assert_eq!(text(&ask(&worker, &["identity", "show"])["node"]), new);
    assert!(!worker.folder.join("identity.next").exists());
    for other in [&founder, &third] {
        until("it is known", || peer(other, &new)["connected"] == true);
        assert_eq!(peer(other, &old)["revoked"], true);
        assert_eq!(peer(other, &new)["inviter"], ask(&founder, &["status"])["node"]);
    }

    // Credits, payments, work, and searches.
    // What its own tasks cost is less than half of one.
    let has = |amount: f64| (funds(&worker) - amount).abs() < 0.5;
    until("it has its credits", || has(10.0));
    let wrong = run(&founder, &["ledger", "send", &old, "5", "--yes"]);
    assert_eq!(wrong.status.code(), Some(5));
    assert!(said(&wrong).contains(&new), "{}", said(&wrong));
    ask(&founder, &["ledger", "send", &new, "5", "--yes"]);
    until("it is paid", || has(15.0));
    ask(&worker, &["ledger", "send", &text(&ask(&third, &["status"])["node"]), "2", "--yes"]);
    until("it has paid", || has(13.0));
    let worth = || {
        let balance = ask(&worker, &["ledger", "balance"]);
        funds(&worker) + balance["vouchers"].as_f64().unwrap()
    };
    let before = worth();
    let earned = || {
        ask(&founder, &["embed", "the parcel never arrived at the door"]);
        worth() > before
    };
    until("it earns by work", earned);
    for (node, name) in
        [(&founder, "mine"), (&founder, "theirs"), (&third, "mine"), (&worker, "theirs")]
    {
        until("it is found", || best_hit(node, name) == Some(json!("r1")));
    }
    for node in [&founder, &worker, &third] {
        assert_eq!(ask(node, &["ledger", "verify"])["conserved"], true);
    }

    // The old key is heard nowhere: nobody votes for what it signs, or is connected to it.
    let kept = funds(&worker);
    thief.start(&["--moved"]);
    let void = run(&thief, &["ledger", "stake", "1", "--timeout", "5"]);
    assert!(!void.status.success());
    assert_eq!(ask(&thief, &["status"])["connected"], 0);
    assert_eq!(peer(&founder, &old)["connected"], false);
    assert!((funds(&worker) - kept).abs() < 1e-3);
    assert_eq!(peer(&third, &old)["connected"], false);
}

/// Kills at moments of a rotation: the node is the old one or the new one, whole, and gets there.
#[test]
fn a_kill_on_the_way_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [founder, mut worker, _third] = three(folder.path());
    let mut before = text(&ask(&worker, &["status"])["node"]);
    for delay in [0, 3, 12, 40, 120, 400, 900] {
        let mut asking = edge_net(&worker, &["identity", "rotate", "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        worker.kill();
        asking.wait().unwrap();
        worker.start(&[]);
        let now = || {
            let output = worker.url().map(|_| run(&worker, &["status", "--json"]));
            let output = output.filter(|output| output.status.success())?;
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            Some((text(&status["node"]), status["notes"].to_string()))
        };
        let at_rest = |(node, notes): &(String, String)| {
            let view = peer(&founder, node);
            let over = notes.contains("giving its place") || notes.contains("gave its place");
            !over && view["connected"] == true && view["revoked"] == false
        };
        until("it is one or the other", || now().is_some_and(|now| at_rest(&now)));
        let (node, _) = now().unwrap();
        if node != before {
            assert_eq!(peer(&founder, &before)["revoked"], true, "after {delay} ms");
        }
        until("it has its credits", || (funds(&worker) - 10.0).abs() < 1e-9);
        let balance = ask(&worker, &["ledger", "balance"]);
        assert_eq!(balance["frozen"], false, "after {delay} ms");
        before = node;
    }
    assert_eq!(ask(&founder, &["ledger", "verify"])["conserved"], true);
}
