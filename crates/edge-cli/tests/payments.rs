//! What cannot be undone asks back, and what did not answer in time is not asked for again blindly:
//! against a server that answers what a test says.
#![allow(clippy::unwrap_used)]

#[path = "support/fake.rs"]
mod fake;

use serde_json::{Value, json};

use fake::{Fake, edge_net, text};

const NODE: &str = "3f9a01c2";

fn id(beginning: &str) -> String {
    format!("{beginning:0<64}")
}

fn pending(kind: &str) -> Value {
    json!({
        "block": id("8c1f"), "seq": 2, "kind": kind, "text": "sends 12.5 rUv to π:3f9a01c2",
        "to": id(NODE), "amount": 12.5, "waits": 90_000_000, "resumed": false, "votes": 2,
        "quorum": 3, "witnesses": 4, "behind": 1,
    })
}

fn balance(pending: &Value) -> Value {
    json!({ "schema": "edge-net.balance/1", "balance": 87.5, "pending": pending })
}

/// A node with two members whose ids begin alike, whose payments never end.
fn node(pending: Value) -> Fake {
    let sent = json!({
        "schema": "edge-net.sent/1", "hash": id("8c1f"), "to": id(NODE), "amount": 12.5,
        "balance_after": 87.5,
    });
    Fake::by_path(move |line| {
        let answer = match line.split(' ').nth(1).unwrap() {
            "/api/v1/peers" => json!({ "peers": [
                { "node": id(NODE), "witness": true }, { "node": id("3f9a99") },
                { "node": id("aa01") }, { "node": id("bb02") },
            ] }),
            "/api/v1/status" => json!({ "node": id("0f0f") }),
            "/api/v1/ledger/verify" => json!({ "witnesses": [id("0f0f")] }),
            "/api/v1/ledger/balance" => balance(&pending),
            "/api/v1/ledger/send" if pending.is_null() => sent.clone(),
            "/api/v1/ledger/send" => return None,
            "/api/v1/ledger/handover" => json!({ "witnesses": [] }),
            "/api/v1/peers/ban" => json!({ "schema": "edge-net.done/1" }),
            other => panic!("{other}"),
        };
        Some((200, answer.to_string()))
    })
}

fn posted(fake: &Fake) -> Vec<(String, String)> {
    fake.asked.try_iter().filter(|(line, _)| line.starts_with("POST")).collect()
}

#[test]
fn nothing_is_sent_before_all_of_the_key_was_shown() {
    let fake = node(Value::Null);
    let output = fake.run(&["ledger", "send", "3f9a01", "12.5"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&id(NODE)) && said.contains("12.5 rUv") && said.contains("--yes"),
        "{said}"
    );
    for (arguments, word) in [
        (&["ledger", "send", "3", "1"][..], "too short"),
        (&["ledger", "send", "3f9a01", "1", "--yes"], "8 digits"),
        (&["ledger", "send", "3f9a", "1"], "2 begin like that"),
        (&["ledger", "send", NODE, "a few", "--yes"], "no amount"),
        (&["ledger", "handover", "a", "b", "3", "--yes"], "too short"),
    ] {
        let output = fake.run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
    assert_eq!(posted(&fake), [], "nothing happened");
    let output = fake.run(&["ledger", "send", NODE, "12.5", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (line, body) = posted(&fake).pop().unwrap();
    assert_eq!(line, "POST /api/v1/ledger/send HTTP/1.1");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({ "to": id(NODE), "credits": 12.5, "after_pending": false }));
    assert!(text(&output.stdout).starts_with("sent 12.5 rUv to π:3f9a01c2; 87.5 rUv are left"));
}

#[test]
fn a_handover_shows_the_set_first() {
    let fake = node(Value::Null);
    let output = fake.run(&["ledger", "handover", "3f9a01", "aa01", "bb02"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for member in ["0f0f", NODE, "aa01", "bb02"] {
        assert!(said.contains(&id(member)), "{member} in full: {said}");
    }
    assert!(said.contains("these 4, of which 3 have to vote") && said.contains("--yes"), "{said}");
    assert_eq!(posted(&fake), []);
    let sure = [&id(NODE)[..], &id("aa01"), &id("bb02")].map(str::to_owned);
    let sure: Vec<&str> = sure.iter().map(String::as_str).collect();
    fake.run(&[&["ledger", "handover", "--yes"], &sure[..]].concat());
    assert_eq!(posted(&fake).len(), 1, "the control");
}

#[test]
fn a_payment_that_takes_too_long_says_what_is_known_of_it() {
    let mut ours = pending("send");
    ours["waits"] = json!(900_000);
    let fake = node(ours);
    let output = fake.run(&["ledger", "send", NODE, "12.5", "--yes", "--timeout", "1"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    let next = format!("do not ask for it again: `edge-net ledger block {}`", id("8c1f"));
    assert!(said.contains("2 of 3 votes") && said.contains(&next), "{said}");
    // One that has waited for longer than this call took is not this one.
    let fake = node(pending("send"));
    let more = ["ledger", "send", NODE, "2", "--yes", "--timeout", "1", "--after-pending"];
    let output = fake.run(&more);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("was not signed and does not happen") && said.contains("12.5"), "{said}");
    // Another block of the node waits, of whatever kind: the payment was not signed, and what it waited for is said.
    let fake = node(pending("escrow"));
    let output = fake.run(&["ledger", "send", NODE, "12.5", "--yes", "--timeout", "1"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("does not happen") && said.contains("ledger block 8c1f"), "{said}");

    let shown = node(pending("send")).run(&["ledger", "balance"]);
    let shown = text(&shown.stdout);
    assert!(shown.contains("not certified for 90 s: sends 12.5 rUv to"), "{shown}");
    assert!(shown.contains("2 of 3 votes, of 4 witnesses") && shown.contains("1 more"), "{shown}");
    let shown = text(&node(Value::Null).run(&["ledger", "balance"]).stdout);
    assert!(!shown.contains("certified for"), "{shown}");
}

#[test]
fn a_ban_of_a_witness_warns() {
    let fake = node(Value::Null);
    let banned = |node: &str| text(&fake.run(&["peer", "ban", node]).stderr);
    assert!(banned(NODE).contains("it is a witness"));
    assert_eq!(banned("3f9a99"), "", "the control");
    let object = fake.run(&["peer", "ban", NODE, "--json"]);
    let object: Value = serde_json::from_slice(&object.stdout).unwrap();
    assert_eq!(object["witness"], true);
}

#[test]
fn a_failed_task_says_why() {
    let task = |reason: Value, canaries: u32| {
        let task = json!({
            "schema": "edge-net.task/1", "task": id("ab"), "kind": "embedding", "status": "failed",
            "priority": "normal", "price": 0.1, "took": 1_000, "ago": 61_000_000, "nodes": [],
            "reason": reason, "canaries_ppm": canaries, "check": null,
        });
        let output = Fake::new(200, &task.to_string()).run(&["task", "explain", &id("ab")]);
        text(&output.stdout)
    };
    let said = task(json!("no result could be checked in time"), 50_000);
    assert!(said.contains("reason  no result could be checked in time"), "{said}");
    assert!(said.contains("canaries  5.0 % of its texts were known"), "{said}");
    let said = task(Value::Null, 0);
    assert!(!said.contains("reason") && !said.contains("canaries"), "{said}");
}

#[test]
fn verify_says_since_when() {
    let ledger = |since: Value| {
        let ledger = json!({
            "schema": "edge-net.ledger/1", "conserved": true, "since_epoch": since,
            "certificates": 3, "signatures_verified": 12, "accounts": 5, "witnesses": [],
            "set_version": 2,
        });
        text(&Fake::new(200, &ledger.to_string()).run(&["ledger", "verify"]).stdout)
    };
    assert!(ledger(json!(4)).contains("3 certificates since the checkpoint of epoch 4, 12 sig"));
    assert!(ledger(Value::Null).contains("3 certificates since the pool began, 12 sig"));
}

#[test]
fn one_parameter_is_shown() {
    let parameter = |name: &str| {
        json!({
            "name": name, "value": 3_000, "unit": "millionths", "min": 0, "max": 10_000,
            "step": 500, "since": 1, "default": 3_000, "wanted": [],
        })
    };
    let all = json!({ "parameters": [parameter("fee-rate"), parameter("reward")] });
    let fake = Fake::new(200, &all.to_string());
    let shown = text(&fake.run(&["ledger", "parameter", "fee-rate"]).stdout);
    assert!(shown.contains("fee-rate") && !shown.contains("reward"), "{shown}");
    let unknown = fake.run(&["ledger", "parameter", "fees"]);
    assert_eq!(unknown.status.code(), Some(4));
    assert!(text(&unknown.stderr).contains("there are: fee-rate, reward"));
    assert!(fake.asked.try_iter().all(|(line, _)| line.starts_with("GET")), "nothing is wanted");
}

#[test]
fn commands_are_listed_for_programs() {
    let output = edge_net(&["help", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let help: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(help["schema"], "edge-net.help/1");
    let send = help["commands"].as_array().unwrap().iter().find(|c| c["name"] == "ledger send");
    assert!(send.unwrap()["about"].as_str().unwrap().contains("Send credits"));
    assert_eq!(edge_net(&["help", "fly", "--json"]).status.code(), Some(2));
}

/// Files that are no backup are named for what they are, with the command that takes them.
#[test]
fn what_is_no_backup_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("password"), "a long password").unwrap();
    let mut sealed = b"ENBK\x01\x10\x03\x01".to_vec();
    sealed.resize(200, 7);
    let mut newer = sealed.clone();
    newer[4] = 9;
    let mut greedy = sealed.clone();
    greedy[5] = 60;
    for (name, bytes, exit, word) in [
        ("revocation", &b"edgenetrevoke1aa"[..], 2, "identity revoke FILE"),
        ("ticket", b"edgenet1aa", 2, "start --join"),
        ("key", b"edge-net-key\x01", 2, "key import"),
        ("text", b"hello", 2, "`edge-net identity export` wrote"),
        ("newer", &newer, 2, "newer one"),
        ("greedy", &greedy, 2, "another copy"),
        ("changed", &sealed, 5, "password again"),
    ] {
        std::fs::write(path(name), bytes).unwrap();
        let output = edge_net(&[
            "--data-dir",
            &path("data"),
            "identity",
            "import",
            &path(name),
            "--password-file",
            &path("password"),
        ]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{name}: {said}");
        assert!(said.contains(word), "{name}: {said}");
    }
}
