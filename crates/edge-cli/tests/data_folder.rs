//! Data folders that are not what they were: a copy, one without its identity, one without its
//! pool. No such folder becomes a second node or a second pool.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-net"));
    command.arg("--data-dir").arg(data).args(arguments).arg("--json");
    command.env_remove("EDGE_NET_API").env("XDG_CONFIG_HOME", data.parent().unwrap());
    command.env("EDGE_NET_PASSWORD", "a long password");
    command
}

const START: [&str; 6] = ["start", "--port", "0", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];

/// A node in the foreground.
struct Node(Child);

impl Node {
    fn start(data: &Path, more: &[&str]) -> (Node, Value) {
        let mut command = command(data, &[&START[..], more].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let answer = serde_json::Deserializer::from_reader(child.stdout.take().unwrap())
            .into_iter::<Value>()
            .next();
        (Node(child), answer.expect("the node says that it runs").unwrap())
    }

    fn stop(mut self, data: &Path) {
        assert!(command(data, &["stop"]).output().unwrap().status.success());
        self.0.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The three parts of a refusal.
fn refused(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(5), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let error = &serde_json::from_str::<Value>(&text).unwrap()["error"];
    let part = |name: &str| error[name].as_str().unwrap().to_owned();
    format!("{} | {} | {}", part("what"), part("why"), part("next"))
}

fn start_is_refused(data: &Path, says: &[&str]) {
    let output = command(data, &START).output().unwrap();
    let text = refused(&output);
    for said in says {
        assert!(text.contains(said), "{said:?} in {text}");
    }
}

#[test]
fn a_copy_is_refused_until_it_is_said_to_have_moved() {
    let temp = tempfile::tempdir().unwrap();
    let (first, copy) = (temp.path().join("first"), temp.path().join("copy"));
    let (node, one) = Node::start(&first, &[]);
    node.stop(&first);
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&first).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    start_is_refused(&copy, &["looks like a copy", "another file", "freeze", "--moved"]);
    let detached = command(&copy, &[&START[..], &["--detach"]].concat()).output().unwrap();
    let said = refused(&detached);
    assert!(said.contains("--moved"), "{said}");

    let (node, moved) = Node::start(&copy, &["--moved"]);
    assert_eq!((&moved["node"], &moved["pool"]), (&one["node"], &one["pool"]));
    let status = command(&copy, &["status"]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("this node does not vote"), "{status}");
    node.stop(&copy);
    let (node, _) = Node::start(&copy, &[]);
    node.stop(&copy);
}

#[test]
fn a_folder_that_lost_its_identity_or_its_pool_becomes_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let (data, other) = (temp.path().join("data"), temp.path().join("other"));
    let (node, one) = Node::start(&data, &[]);
    node.stop(&data);
    let backup = temp.path().join("me.backup");
    let backup = backup.to_str().unwrap();
    assert!(command(&data, &["identity", "export", backup]).output().unwrap().status.success());
    std::fs::remove_file(data.join("identity")).unwrap();
    start_is_refused(&data, &["`identity` beside it is gone", "edge-net identity import"]);
    assert!(command(&data, &["identity", "import", backup]).output().unwrap().status.success());
    let (node, again) = Node::start(&data, &[]);
    assert_eq!((&again["node"], &again["pool"]), (&one["node"], &one["pool"]));
    node.stop(&data);

    // The identity alone founds nothing; with a ticket it would enter its pool again.
    assert!(command(&other, &["identity", "import", backup]).output().unwrap().status.success());
    let network = &one["pool"].as_str().unwrap()[..4];
    for _ in 0..2 {
        start_is_refused(&other, &[network, "not in this folder", "pool.redb", "--join TICKET"]);
    }
    for name in ["pool.redb", "pool.mirror", "members.mirror"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    start_is_refused(&data, &[network, "--join TICKET"]);
}

/// A limit on file sizes is named; the node does not die without a word.
#[cfg(unix)]
#[test]
fn a_limit_on_file_sizes_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    // 512-byte blocks, by POSIX: less than the smallest database.
    let started = command(&data, &START);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 64; exec \"$0\" \"$@\""]).arg(started.get_program());
    shell.args(started.get_args()).env("XDG_CONFIG_HOME", temp.path());
    let output = shell.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{:?} {text}", output.status);
    assert!(text.contains("ulimit -f") && text.contains("pool.redb"), "{text}");
}
