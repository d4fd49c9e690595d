//! Real nodes on loopback, driven by the command line as a person would.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// A data folder whose node is stopped in the end.
struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        Node { folder: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let home = self.folder.path();
        Command::new(env!("CARGO_BIN_EXE_edge-net"))
            .arg("--data-dir")
            .arg(self.data())
            .args(arguments)
            .env_remove("EDGE_NET_API")
            .env("EDGE_NET_PASSWORD", "a long password")
            .env("XDG_CONFIG_HOME", home)
            .output()
            .unwrap()
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{:?}", output.stderr);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["schema"].as_str().unwrap().starts_with("edge-net."), "{value}");
        value
    }

    fn start(&self, more: &[&str]) {
        let fixed = [
            "start",
            "--detach",
            "--port",
            "0",
            "--no-mdns",
            "--cpu",
            "100%",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
        ];
        self.ask(&[&fixed[..], more].concat());
    }

    fn pid(&self) -> String {
        let note = std::fs::read(self.data().join("api.json")).unwrap();
        serde_json::from_slice::<Value>(&note).unwrap()["pid"].to_string()
    }

    fn until(&self, arguments: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let value = self.ask(arguments);
            if holds(&value) {
                return value;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{arguments:?}: {value}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.run(&["stop"]);
    }
}

fn documents() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/documents");
    path.to_str().unwrap().to_owned()
}

/// An own id comes back, a second start is refused as in the foreground and leaves the log of the
/// running node alone, and a start right after a stop finds the folder free.
#[test]
fn a_node_in_the_background() {
    let node = Node::new();
    node.start(&[]);
    let records = node.folder.path().join("records.jsonl");
    let lines = "{\"id\": \"my-id-7\", \"text\": \"the parcel never arrived at the door\"}\n\
                 {\"text\": \"a refund was promised within nine days\"}\n";
    std::fs::write(&records, lines).unwrap();
    let path = records.to_str().unwrap();
    assert_eq!(node.ask(&["collection", "import", "notes", path])["stored"], 2);
    let again = node.ask(&["collection", "import", "notes", path]);
    assert_eq!((&again["stored"], &again["known"]), (&0.into(), &2.into()));
    let hit = |text: &str| node.ask(&["search", text, "-c", "notes", "-k", "1"])["hits"][0].clone();
    let own = hit("the parcel never arrived");
    assert_eq!(own["id"], "my-id-7", "{own}");
    assert_eq!(own["record"].as_str().unwrap().len(), 64);
    let fields: Vec<&String> = own["payload"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["file", "line", "text"]);
    let other = hit("a refund was promised");
    assert_eq!(other["id"], other["record"], "the hash of the text");

    let log = || std::fs::read_to_string(node.data().join("node.log")).unwrap();
    let before = log();
    let second = ["start", "--detach", "--port", "0", "--no-mdns"];
    let output = node.run(&second);
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("error: the node did not start\n  why:  another node"), "{said}");
    assert!(said.contains("\n  next: stop that node") && said.lines().count() == 3, "{said}");
    let output = node.run(&[&second[..], &["--json"]].concat());
    let failure: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &failure["exit"]), (Some(5), &5.into()));
    assert_eq!(log(), before, "the running node's log");

    for _ in 0..3 {
        node.ask(&["stop"]);
        node.start(&[]);
    }
    let shown = node.ask(&["config", "show"]);
    assert_eq!(shown["settings"]["data_dir"], node.data().to_str().unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&node.data()), 0o700);
        let backup = node.folder.path().join("me.backup");
        node.ask(&["identity", "export", backup.to_str().unwrap()]);
        assert_eq!(mode(&backup), 0o600);
    }
}

/// Import, restart after SIGKILL, search: nothing that was acknowledged is lost; and what a person
/// asks wrongly is answered with what there is.
#[test]
fn a_node_alone() {
    let node = Node::new();
    node.start(&[]);
    let report = node.ask(&["collection", "import", "notes", &documents()]);
    let stored = report["stored"].as_u64().unwrap();
    assert_eq!(stored, 9);
    let again = node.ask(&["collection", "import", "notes", &documents()]);
    assert_eq!((again["stored"].as_u64(), again["known"].as_u64()), (Some(0), Some(stored)));

    let killed =
        Command::new("sh").args(["-c", &format!("kill -9 {}", node.pid())]).status().unwrap();
    assert!(killed.success());
    node.start(&[]);
    let found = node.ask(&["search", "when does a connection time out", "-c", "notes", "-k", "2"]);
    assert_eq!(found["hits"][0]["payload"]["file"], "guide.md");
    assert_eq!(found["shards"][0]["mode"], "exact");
    let again = node.ask(&["collection", "import", "notes", &documents()]);
    assert_eq!((again["stored"].as_u64(), again["known"].as_u64()), (Some(0), Some(stored)));
    let collections = node.ask(&["collection", "ls"]);
    assert_eq!(collections["collections"][0]["rows"], stored);
    let checked = node.ask(&["collection", "check", "notes", "--sample", "7"]);
    assert_eq!((&checked["holds"], &checked["recall"]), (&true.into(), &1.0.into()), "{checked}");
    let table = node.run(&["collection", "check", "notes"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("holds"));

    let output = node.run(&["search", "x", "-c", "elsewhere"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("notes"), "names the existing ones");

    let embedded = node.ask(&["embed", "one text", "another"]);
    assert_eq!(embedded["vectors"].as_array().unwrap().len(), 2);
    assert_eq!(embedded["tasks"][0]["check"]["self_checked"], true, "nobody else is there");
    let status = node.ask(&["status"]);
    let alone = |note: &Value| note.as_str().is_some_and(|n| n.starts_with("no other member yet"));
    assert!(status["notes"].as_array().unwrap().iter().any(alone), "{status}");
    let output = node.run(&["embed", "   "]);
    assert_eq!(output.status.code(), Some(2), "an empty text");

    // A second process on the folder is refused, and says who is there.
    let output = node.run(&["start", "--port", "0", "--no-mdns"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&node.pid()));

    // A port that is taken is named, and no node stays behind.
    let other = Node::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    for (wrong, right) in [
        (["--port", &port], ["--listen", "/ip4/127.0.0.1/tcp/0"]),
        (["--listen", &listen], ["--port", "0"]),
    ] {
        let output = other.run(&[&["start", "--no-mdns"], &wrong[..], &right[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(&port), "{said}");
        assert!(said.contains("next:"), "{said}");
        let founded = other.data().join("pool.redb").exists();
        assert!(!founded || wrong[0] == "--listen", "{said}");
    }
    assert_eq!(other.run(&["status"]).status.code(), Some(3), "nobody is there");

    node.ask(&["collection", "rm", "notes"]);
    assert_eq!(node.ask(&["collection", "ls"])["collections"].as_array().unwrap().len(), 0);
    let staked = node.ask(&["ledger", "stake", "12.5"]);
    assert_eq!(
        (&staked["schema"], &staked["staked"]),
        (&json!("edge-net.balance/1"), &json!(12.5))
    );
    let leaving = node.ask(&["ledger", "unstake", "2.5"]);
    assert_eq!((&leaving["staked"], &leaving["leaving"]), (&json!(10.0), &json!(2.5)));
    node.until(&["ledger", "balance"], |balance| {
        balance["withdrawals"][0]["release_in"].as_u64().is_some_and(|us| us > 3_600_000_000)
    });
    assert_eq!(node.run(&["ledger", "stake", "a few"]).status.code(), Some(2));
    assert_eq!(node.run(&["ledger", "unstake", "11"]).status.code(), Some(5));
    let verified = node.ask(&["ledger", "verify"]);
    assert_eq!(verified["conserved"], true);
}

#[test]
fn an_identity_is_backed_up_and_restored() {
    let (node, other) = (Node::new(), Node::new());
    node.start(&[]);
    let shown = node.ask(&["identity", "show"]);
    let file = node.folder.path().join("me.backup");
    let file = file.to_str().unwrap();
    node.ask(&["identity", "export", file]);
    assert_eq!(node.run(&["identity", "export", file]).status.code(), Some(5), "not overwritten");
    let restored = other.ask(&["identity", "import", file]);
    assert_eq!(restored["node"], shown["node"]);
    let again = other.run(&["identity", "import", file]);
    assert_eq!(again.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&again.stderr).contains("this very identity"));
    let third = Node::new();
    third.start(&[]);
    third.ask(&["stop"]);
    let taken = third.run(&["identity", "import", file]);
    assert_eq!(taken.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&taken.stderr).contains("nothing replaces that one"));
    let settings = other.ask(&["config", "show", "--origin"]);
    assert_eq!(settings["settings"]["data_dir"]["origin"], "--data-dir");
}

/// Two nodes: the second joins by ticket, executes for the first, and is paid.
#[test]
fn two_nodes() {
    let (first, second) = (Node::new(), Node::new());
    first.start(&[]);
    let ticket = first.ask(&["identity", "invite"]);
    let ticket = ticket["ticket"].as_str().unwrap().to_owned();
    second.start(&["--join", &ticket]);
    let connected = |peers: &Value| {
        peers["peers"].as_array().unwrap().iter().any(|peer| peer["connected"] == true)
    };
    let peers = first.until(&["peer", "ls"], connected);
    let worker = peers["peers"][0]["node"].as_str().unwrap().to_owned();

    first.ask(&["collection", "import", "notes", &documents()]);
    let found = first.ask(&["search", "open a connection to a server", "-c", "notes"]);
    assert_eq!(found["hits"][0]["payload"]["file"], "sub/code.rs");
    let matched = first.ask(&["match", "bake a loaf of bread", "--labels", "cooking,networking"]);
    assert_eq!(matched["label"], "cooking");
    let labelled = tempfile::tempdir().unwrap();
    let labelled = labelled.path().join("labelled.tsv");
    std::fs::write(
        &labelled,
        "food\tknead the dough\n\n{\"label\": \"net\", \"text\": \"open a socket\"}\n",
    )
    .unwrap();
    let labelled = labelled.display().to_string();
    let matched = first.ask(&["match", "let the dough rest", "--examples", &labelled]);
    assert_eq!(matched["nearest"], "food");
    std::fs::write(&labelled, "no tab\n").unwrap();
    let wrong = first.run(&["match", "a", "--examples", &labelled]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("line 1"));
    let (folder, text) = (tempfile::tempdir().unwrap(), "again and again, ".repeat(1_000));
    let plain = folder.path().join("plain").display().to_string();
    std::fs::write(&plain, &text).unwrap();
    let less = first.ask(&["compress", &plain]);
    assert_eq!(
        (&less["bytes_read"], &less["file"]),
        (&17_000.into(), &format!("{plain}.zst").into())
    );
    let exists = first.run(&["decompress", &format!("{plain}.zst")]);
    assert_eq!(exists.status.code(), Some(2), "it would be overwritten");
    first.ask(&["decompress", &format!("{plain}.zst"), "-o", &format!("{plain}.back")]);
    assert_eq!(std::fs::read_to_string(format!("{plain}.back")).unwrap(), text);
    let broken = first.run(&["decompress", &plain, "-o", "-"]);
    assert_eq!(broken.status.code(), Some(2), "{}", String::from_utf8_lossy(&broken.stderr));
    let tasks = first.ask(&["task", "ls"]);
    let task = tasks["tasks"].as_array().unwrap().iter().find(|task| {
        let agreed = task["check"]["agreed"].as_array();
        agreed.is_some_and(|agreed| agreed.iter().any(|node| *node == worker.as_str()))
    });
    let task = task.expect("the stranger executed something")["task"].as_str().unwrap().to_owned();
    let explained = first.run(&["task", "explain", &task[..12]]);
    assert!(String::from_utf8_lossy(&explained.stdout).contains("revealed"));
    let decided = first.run(&["task", "cancel", &task]);
    assert_eq!(decided.status.code(), Some(5), "it is decided already");

    // A ticket works once, and for one pool.
    let third = Node::new();
    third.start(&[]);
    third.ask(&["stop"]);
    let output = third.run(&["start", "--join", &ticket, "--port", "0", "--no-mdns"]);
    assert_eq!(output.status.code(), Some(5), "pools do not merge");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--data-dir"));

    let owed = |balance: &Value| {
        let part = |name: &str| balance[name].as_f64().unwrap_or(0.0);
        part("balance") + part("incoming") + part("vouchers") > 0.0
    };
    second.until(&["ledger", "balance"], owed);
}

/// Credits go from one to the other, tickets are listed and withdrawn, keys are known at once, and a node
/// whose key another one revoked is told.
#[test]
fn credits_tickets_keys_and_a_revoked_key() {
    let (first, second) = (Node::new(), Node::new());
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    first.start(&[]);
    let ticket = first.ask(&["identity", "invite", "--credits", "10"]);
    second.start(&["--join", ticket["ticket"].as_str().unwrap()]);
    let connected = |peers: &Value| {
        peers["peers"].as_array().unwrap().iter().any(|peer| peer["connected"] == true)
    };
    let peers = first.until(&["peer", "ls"], connected);
    let there = peers["peers"][0]["node"].as_str().unwrap().to_owned();

    let asked = first.run(&["ledger", "send", &there[..4], "5"]);
    assert_eq!(asked.status.code(), Some(2));
    assert!(said(&asked).contains(&there), "{}", said(&asked));
    let sent = first.ask(&["ledger", "send", &there[..8], "5", "--yes"]);
    assert_eq!((&sent["to"], &sent["amount"]), (&json!(there), &json!(5.0)));
    let hash = sent["hash"].as_str().unwrap();
    let fate = first.ask(&["ledger", "block", &hash[..10]]);
    assert_eq!(fate["certified"]["hash"], *hash);
    second.until(&["ledger", "balance"], |balance| balance["incoming"] == 15.0);
    let too_much = second.run(&["ledger", "send", &there, "5", "--yes"]);
    assert_eq!(too_much.status.code(), Some(2), "to itself: {}", said(&too_much));

    let out = first.ask(&["identity", "invite"]);
    let tickets = first.ask(&["identity", "tickets"]);
    let states: Vec<bool> = tickets["tickets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ticket| ticket["used_by"].is_string())
        .collect();
    assert_eq!(states, [false, true]);
    let id = out["id"].as_str().unwrap();
    first.ask(&["identity", "withdraw", &id[..8]]);
    assert_eq!(first.run(&["identity", "withdraw", &id[..8]]).status.code(), Some(4), "it is gone");
    let late = Node::new();
    late.start(&["--join", out["ticket"].as_str().unwrap()]);
    late.until(&["status"], |status| status["notes"].to_string().contains("not known here"));
    let audit = first.ask(&["security", "audit"]);
    assert_eq!(audit["attempted"]["joins_refused"], 1, "{audit}");

    // A key that is made while the node runs is there at once, and gone at once.
    let plain = first.folder.path().join("plain").display().to_string();
    std::fs::write(&plain, "read by nobody else").unwrap();
    assert_eq!(first.ask(&["key", "create", "mine"])["restart"], false);
    first.ask(&["encrypt", &plain, "--key", "mine"]);
    first.ask(&["key", "rm", "mine", "--yes"]);
    assert_eq!(first.run(&["encrypt", &plain, "--key", "mine", "--force"]).status.code(), Some(4));
    let tasks = first.ask(&["task", "ls"]);
    let ages: Vec<u64> =
        tasks["tasks"].as_array().unwrap().iter().map(|t| t["ago"].as_u64().unwrap()).collect();
    assert!(ages.is_sorted() && !ages.is_empty(), "{ages:?}");

    // The founder's key is not revoked, the other one's is: at the first node, not by itself.
    let path = |name: &str| first.folder.path().join(name).display().to_string();
    let refused = first.run(&["identity", "revocation", &path("founder")]);
    assert_eq!(refused.status.code(), Some(5), "{}", said(&refused));
    assert!(!Path::new(&path("founder")).exists());
    second.ask(&["identity", "revocation", &path("second")]);
    assert_eq!(second.ask(&["status"])["revoked"], false);
    first.ask(&["identity", "revoke", &path("second"), "--yes"]);
    second.until(&["status"], |status| status["revoked"] == true);
    assert_eq!(second.ask(&["identity", "show"])["revoked"], true);
    let shown = second.run(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("REVOKED"));
    let audit = second.ask(&["security", "audit"]);
    let check = audit["checks"].as_array().unwrap().iter().find(|c| c["name"] == "key-not-revoked");
    assert_eq!((&check.unwrap()["passed"], &audit["done"]["revoked"]), (&json!(false), &json!(1)));
    let void = second.run(&["ledger", "stake", "1"]);
    assert_eq!(void.status.code(), Some(5));
    assert!(said(&void).contains("key was revoked") && said(&void).contains("--join TICKET"));
    let void = first.run(&["ledger", "send", &there, "5", "--yes"]);
    assert!(said(&void).contains("revoked"), "{}", said(&void));
}

/// A model that was added at one node and given to the other as a file: both embed with it and agree,
/// and a collection of its own is filled and searched.
#[test]
fn two_nodes_share_a_model() {
    let (first, second) = (Node::new(), Node::new());
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../edge-embed/tests/golden/tiny-bert");
    let added = first.ask(&["model", "add", tiny.to_str().unwrap()]);
    let file = added["file"].as_str().unwrap();
    let shared = second.ask(&["model", "add", file, "--name", "shared"]);
    assert_eq!((&shared["id"], &shared["restart"]), (&added["id"], &false.into()));
    let taken = first.run(&["model", "add", file]);
    assert_eq!(taken.status.code(), Some(2), "the name is taken");
    let nothing = first.run(&["model", "add", "/nowhere/at/all"]);
    assert_eq!(nothing.status.code(), Some(4));

    first.start(&[]);
    let ticket = first.ask(&["identity", "invite"]);
    second.start(&["--join", ticket["ticket"].as_str().unwrap()]);
    first.until(&["peer", "ls"], |peers| {
        peers["peers"].as_array().unwrap().iter().any(|peer| peer["connected"] == true)
    });
    let text = "the quick brown fox";
    let executed = |answer: &Value| answer["tasks"][0]["check"]["agreed"].as_array().unwrap().len();
    let embedded =
        first.until(&["embed", text, "--model", "tiny-bert"], |answer| executed(answer) > 0);
    assert_eq!((&embedded["model"], &embedded["dim"]), (&added["id"], &added["dim"]));
    let other = second.ask(&["embed", text, "--model", "shared"]);
    assert_eq!(other["vectors"], embedded["vectors"], "the same bits at both");
    let unknown = first.run(&["embed", text, "--model", "shared"]);
    assert_eq!(unknown.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("tiny-bert"), "names those it has");

    let made = first.ask(&["collection", "create", "own", "--model", "tiny-bert"]);
    assert_eq!((&made["model"], &made["dim"]), (&added["id"], &added["dim"]));
    first.ask(&["collection", "import", "own", &documents()]);
    let found = second.until(&["search", text, "-c", "own", "-k", "3"], |found| {
        found["hits"].as_array().is_some_and(|hits| hits.len() == 3)
    });
    assert_eq!(found["shards"][0]["mode"], "exact", "{found}");
    assert!(found.get("task").is_none(), "a query of an encoder is embedded where it is asked");
    first.ask(&["model", "rm", "tiny-bert"]);
    assert_eq!(first.ask(&["model", "ls"])["models"], serde_json::json!([]));
}

/// Two nodes of one owner: a key is made at one, carried to the other, and each works for the other.
#[test]
fn a_key_of_two_nodes() {
    let (first, second, folder) = (Node::new(), Node::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let failed = |node: &Node, arguments: &[&str], code: i32, says: &str| {
        let output = node.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && text.contains(says), "{arguments:?}: {text}");
    };
    let made = first.ask(&["key", "create", "mine"]);
    assert_eq!((&made["name"], &made["restart"]), (&"mine".into(), &false.into()));
    first.start(&[]);
    let ticket = first.ask(&["identity", "invite"])["ticket"].as_str().unwrap().to_owned();
    second.start(&["--join", &ticket]);
    let id = |node: &Node| node.ask(&["identity", "show"])["node"].as_str().unwrap().to_owned();
    let (here, there) = (id(&first), id(&second));

    let allowed = first.ask(&["key", "allow", "mine", &there]);
    assert_eq!((&allowed["nodes"][0], &allowed["restart"]), (&there.clone().into(), &false.into()));
    first.ask(&["key", "export", "mine", "--out", &path("mine.key")]);
    failed(&first, &["key", "export", "mine", "--out", &path("mine.key")], 5, "exists");
    let taken = second.ask(&["key", "import", &path("mine.key"), "--name", "theirs"]);
    assert_eq!((&taken["key_id"], &taken["nodes"][0]), (&made["key_id"], &here.clone().into()));
    let secret = std::fs::read(path("mine.key")).unwrap();
    let secret: String = secret[13..45].iter().map(|byte| format!("{byte:02x}")).collect();
    let said = [&made, &allowed, &taken].map(ToString::to_string).concat();
    assert!(!said.contains(&secret), "a key was printed");
    // Both nodes run all the time: they were told.
    let connected = |peers: &Value| {
        peers["peers"].as_array().unwrap().iter().any(|peer| peer["connected"] == true)
    };
    first.until(&["peer", "ls"], connected);

    let text = "read by two, ".repeat(100_000);
    std::fs::write(path("plain"), &text).unwrap();
    // Adverts may still be on their way.
    let by_both = |sealed: &Value| sealed["task"]["check"]["agreed"][0] == there.as_str();
    let sealed = first.until(&["encrypt", &path("plain"), "--key", "mine", "--force"], by_both);
    assert_eq!(sealed["file"], format!("{}.enc", path("plain")));
    assert!(sealed["task"]["check"]["own_execution"].is_string(), "{sealed}");
    let back = ["decrypt", &path("plain.enc"), "--key", "theirs", "--out", &path("back")];
    second.ask(&back);
    assert_eq!(std::fs::read_to_string(path("back")).unwrap(), text);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path("back")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "what was encrypted is for nobody else");
    }

    failed(&first, &["encrypt", &path("plain"), "--key", "yours", "-o", "-"], 4, "there are: mine");
    failed(&first, &["decrypt", &path("plain"), "--key", "mine", "-o", "-"], 2, "not encrypted");
    let endless = "x".repeat(10_000);
    for bad in ["a/b", "", "Mine", &endless] {
        failed(&first, &["key", "create", bad], 2, "cannot name a key");
    }
    failed(&first, &["key", "create", "mine"], 2, "there already");
    failed(&first, &["key", "allow", "mine", "nobody"], 2, "no node");
    failed(&first, &["key", "import", &path("plain")], 1, "is no key");
    failed(&first, &["key", "import", &path("nothing")], 4, "nothing");
    failed(&first, &["key", "rm", "mine"], 2, "--yes");
    std::fs::write(path("large"), vec![0; (64 << 20) + 1]).unwrap();
    failed(&first, &["encrypt", &path("large"), "--key", "mine"], 2, "over the limit");
    let file = Path::new(&first.data()).join("keys/mine.key");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    failed(&first, &["key", "ls"], 1, "mine.key is no key: it is damaged or cut off");
    let removed = first.ask(&["key", "rm", "mine", "--yes"]);
    assert_eq!(removed["restart"], false, "the node that runs forgot it");
    assert_eq!(first.ask(&["key", "ls"])["keys"], serde_json::json!([]));
    // The node that runs has it no more, neither for itself nor for others.
    failed(&first, &["encrypt", &path("plain"), "--key", "mine", "-o", "-"], 4, "no key");
    let alone = second.ask(&["encrypt", &path("plain"), "--key", "theirs", "--force"]);
    assert_eq!(alone["task"]["check"]["agreed"], serde_json::json!([]), "{alone}");
}
