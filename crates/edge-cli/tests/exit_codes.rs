//! The contract with scripts: exit codes, three-part errors, one JSON object, against a server that
//! answers what a test says.
#![allow(clippy::unwrap_used)]

#[path = "support/fake.rs"]
mod fake;

use std::{net::TcpListener, process::Command};

use serde_json::{Value, json};

use fake::{Fake, edge_net, text};

#[test]
fn every_status_has_its_exit_code_and_three_parts() {
    let cases = [(400, 2), (404, 4), (403, 5), (401, 5), (408, 6), (500, 1), (503, 1)];
    for (status, code) in cases {
        let fake = Fake::error(status);
        let output = fake.run(&["status"]);
        assert_eq!(output.status.code(), Some(code), "{status}");
        assert_eq!(text(&output.stdout), "");
        let expected = "error: it went wrong\n  why:  for a reason\n  next: do this\n";
        assert_eq!(text(&output.stderr), expected);
        let output = fake.run(&["status", "--json"]);
        assert_eq!(output.status.code(), Some(code));
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(object["schema"], "edge-net.error/1");
        assert_eq!(object["error"]["next"], "do this");
        assert_eq!(object["exit"], code);
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn nobody_there_is_three() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = edge_net(&["--api", &format!("http://127.0.0.1:{port}"), "status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("edge-net start"));
    let folder = tempfile::tempdir().unwrap();
    let output = edge_net(&["--data-dir", folder.path().to_str().unwrap(), "status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains(folder.path().to_str().unwrap()));
}

#[test]
fn a_server_that_never_answers_is_six() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let output = edge_net(&["--api", &url, "--timeout", "1", "status"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stderr).contains("--timeout"));
}

#[test]
fn wrong_usage_is_two() {
    for arguments in [
        &["frobnicate"][..],
        &["search"],
        &["search", "a"],
        &["status", "--timeout", "soon"],
        &["start", "--join", "hello"],
        &["start", "--lie", "softly"],
        &["identity", "invite", "--credits", "1,5"],
        &["task", "show", "xyz"],
        &["task", "ls", "-n", "0"],
        &["search", "q", "-c", "docs", "--filter", "{bad"],
        &["status", "--api", "nonsense"],
        &["embed", "-"],
    ] {
        let fake = Fake::new(200, "{}");
        let output = fake.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    }
    let output = edge_net(&["--config", "/nowhere/settings.toml", "config", "show"]);
    assert_eq!(output.status.code(), Some(2));
}

/// What a person is told to do is something that can be done.
#[test]
fn advice_leads_somewhere() {
    let said = |arguments: &[&str]| {
        let output = edge_net(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        text(&output.stderr)
    };
    let filter = said(&["--api", "http://127.0.0.1:9", "search", "q", "-c", "d", "--filter", "{"]);
    assert!(filter.contains(r#"--filter '{"must": [{"key": "file", "match""#), "{filter}");
    assert!(said(&["--api", "nonsense", "status"]).contains("http://127.0.0.1:3141"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    for (settings, advice) in [("cpu = [", "correct "), ("foo = 1", "remove it in ")] {
        std::fs::write(&file, settings).unwrap();
        let said = said(&["--config", file.to_str().unwrap(), "config", "show"]);
        assert!(said.contains(&format!("next: {advice}{}", file.display())), "{said}");
        assert!(!said.contains("did you mean"), "{said}");
    }
}

/// Files of other kinds are counted and named, and one that is named by hand is read.
#[test]
fn files_of_unknown_kinds_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table.xlsx");
    std::fs::write(&table, "these are words in a table of several columns\n").unwrap();
    std::fs::write(folder.path().join("a.txt"), "these are words in a file of prose\n").unwrap();
    let answer = json!({ "schema": "edge-net.import/1", "stored": 1, "known": 0, "failed": 0 });
    let fake = Fake::new(200, &answer.to_string());
    let import = |path: &std::path::Path| {
        let output = fake.run(&["collection", "import", "notes", path.to_str().unwrap(), "--json"]);
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        (object, text(&output.stderr))
    };
    let (object, said) = import(folder.path());
    assert_eq!(
        (&object["left_out"], &object["left_out_files"]),
        (&json!(1), &json!(["table.xlsx"]))
    );
    assert!(said.contains("left out 1 file of unknown kinds: table.xlsx"), "{said}");
    let (object, said) = import(&table);
    assert_eq!(object["taken_for"], "plain text in paragraphs");
    assert!(said.contains("table.xlsx is of no known kind: taken for plain text"), "{said}");
}

#[test]
fn help_and_version_are_asked_for() {
    for arguments in [&["--help"][..], &["demo", "--help"], &["--version"], &["version"]] {
        let output = edge_net(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("edge-net"));
    }
    let output = edge_net(&["completions", "bash"]);
    assert!(text(&output.stdout).contains("complete -F _edge__net"));
}

#[test]
fn what_is_asked_of_the_interface() {
    let answer = json!({
        "schema": "edge-net.match/2", "label": "b", "nearest": "b", "threshold": 0.16,
        "scores": [
            { "label": "a", "score": 0.25, "similarity": 0.1 },
            { "label": "b", "score": 0.75, "similarity": 0.4 },
        ],
    });
    let fake = Fake::new(200, &answer.to_string());
    let output = fake.run(&["match", "some text", "--labels", "a, b", "--priority", "high"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        "b\n  0.250  a  (similarity +0.100)\n  0.750  b  (similarity +0.400)\n"
    );
    let (first, body) = fake.asked.recv().unwrap();
    assert_eq!(first, "POST /api/v1/match HTTP/1.1");
    let body: Value = serde_json::from_str(&body).unwrap();
    let expected = json!({ "text": "some text", "labels": ["a", "b"], "priority": "high" });
    assert_eq!(body, expected);
    let output = fake.run(&["match", "some text", "--labels", "a,b", "--quiet"]);
    assert_eq!(text(&output.stdout), "b\n");
    let output = fake.run(&["match", "some text", "--labels", "a,b", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), answer);

    let fake = Fake::new(200, r#"{"schema":"edge-net.search/1","hits":[],"shards":[]}"#);
    fake.run(&["search", "q", "-c", "odd name/..", "-k", "3", "--filter", r#"{"file":"a"}"#]);
    let (first, body) = fake.asked.recv().unwrap();
    assert_eq!(first, "POST /api/v1/collections/odd%20name%2F../search HTTP/1.1");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({ "text": "q", "k": 3, "filter": { "file": "a" } }));
}

#[test]
fn hits_show_score_file_and_line() {
    let answer = json!({
        "schema": "edge-net.search/1",
        "hits": [{
            "id": "00", "score": 0.5, "payload": { "file": "a.md", "line": 7, "text": "words  here" },
        }],
        "shards": [{
            "shard": "ab".repeat(32), "mode": "exact", "rows": 9, "rows_visited": 9,
            "answered": ["cd".repeat(32)], "silent": [], "faulty": [], "below_factor": true,
        }],
    });
    let output = Fake::new(200, &answer.to_string()).run(&["search", "q", "-c", "docs"]);
    let expected = " 1. 0.5000  a.md:7\n            words here\n\
                    shard abababab: mode=exact, 9 of 9 rows visited, answered by π:cdcdcdcd; below \
                    its replication factor\n";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn colour_is_only_where_it_is_wanted() {
    let fake = Fake::error(500);
    let coloured = |arguments: &[&str]| text(&fake.run(arguments).stderr).contains('\x1b');
    assert!(coloured(&["status", "--color", "always"]));
    assert!(!coloured(&["status", "--color", "never"]));
    assert!(!coloured(&["status"]), "no terminal");
}

#[test]
fn an_import_sends_every_passage_once_and_names_what_was_refused() {
    let folder = tempfile::tempdir().unwrap();
    let paragraphs: Vec<String> =
        (0..300).map(|n| format!("This is paragraph number {n} of the file.")).collect();
    std::fs::write(folder.path().join("a.txt"), paragraphs.join("\n\n")).unwrap();
    std::fs::write(folder.path().join("b.txt"), b"\xff\xfe").unwrap();
    std::fs::write(folder.path().join("empty.md"), " \n").unwrap();
    // A gigabyte that takes no space.
    std::fs::File::create(folder.path().join("large.txt")).unwrap().set_len(1 << 30).unwrap();
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::symlink;
        symlink("/nowhere/at/all", folder.path().join("gone.txt")).unwrap();
        symlink("/etc/passwd", folder.path().join("passwd.md")).unwrap();
        // A link within the folder is followed; the same text is one record.
        symlink("a.txt", folder.path().join("z.txt")).unwrap();
        symlink("/proc/self/mem", folder.path().join("mem.txt")).unwrap();
    }
    let answer = json!({
        "schema": "edge-net.import/1", "stored": 10, "known": 2, "failed": 1,
        "errors": [{ "index": 3, "id": null, "reason": "too odd" }],
    });
    let fake = Fake::new(200, &answer.to_string());
    let path = folder.path().to_str().unwrap();
    let output = fake.run(&["collection", "import", "notes", path, "--json"]);
    assert_eq!(output.status.code(), Some(1), "records were refused");
    let said = text(&output.stderr);
    assert!(said.contains("skipped b.txt: not UTF-8"), "{said}");
    assert!(said.contains("skipped empty.md: it is empty"), "{said}");
    assert!(said.contains("skipped large.txt: 1024 MiB, over the limit of 8 MiB"), "{said}");
    if cfg!(target_os = "linux") {
        assert!(said.contains("skipped gone.txt: not a file"), "{said}");
        let outside = "a link to a file outside the folder";
        assert!(said.contains(&format!("skipped mem.txt: {outside}")), "{said}");
        assert!(said.contains(&format!("skipped passwd.md: {outside}")), "{said}");
    }
    let object = text(&output.stdout).lines().next().unwrap().to_owned();
    let object: Value = serde_json::from_str(&object).unwrap();
    assert_eq!((&object["passages"], &object["stored"]), (&json!(300), &json!(30)));
    let mut sent = Vec::new();
    while let Ok((first, body)) = fake.asked.try_recv() {
        if first == "POST /api/v1/collections/notes/records HTTP/1.1" {
            let records: Vec<Value> = serde_json::from_str(&body).unwrap();
            sent.extend(records.iter().map(|r| r["text"].as_str().unwrap().to_owned()));
        }
    }
    sent.sort();
    let mut expected = paragraphs;
    expected.sort();
    assert_eq!(sent, expected);
    if cfg!(target_os = "linux") {
        // Opens, and fails to be read, even for root.
        let output = fake.run(&["collection", "import", "notes", "/proc/self/mem"]);
        let said = text(&output.stderr);
        assert!(said.contains("skipped mem: Input/output error"), "{said}");
    }
    let output = fake.run(&["collection", "import", "notes", path]);
    let said = text(&output.stderr);
    assert!(said.contains("failed: a.txt:") && said.contains(": too odd"), "{said}");
    let output = fake.run(&["collection", "import", "notes", "/nowhere/at/all"]);
    assert_eq!(output.status.code(), Some(4));
}

#[test]
#[cfg(target_os = "linux")]
fn what_never_ends_is_named_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.md");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let fake = Fake::new(200, "{}");
    for path in [pipe.to_str().unwrap(), "/dev/zero", folder.path().to_str().unwrap()] {
        let output = fake.run(&["collection", "import", "notes", path]);
        assert_eq!(output.status.code(), Some(4), "{path}");
        let said = text(&output.stderr);
        assert!(said.contains("skipped ") && said.contains(" a file"), "{path}: {said}");
    }
}

#[test]
fn of_records_with_one_id_the_last_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "{\"id\": 1, \"text\": \"one\"}\n{\"id\": 2, \"text\": \"other\"}\n\
                 {\"id\": 1, \"text\": \"two\"}\n{\"id\": 1, \"text\": \"three\"}\n";
    std::fs::write(folder.path().join("a.jsonl"), lines).unwrap();
    let answer = json!({ "schema": "edge-net.import/1", "stored": 2, "known": 0, "failed": 0 });
    let fake = Fake::new(200, &answer.to_string());
    let path = folder.path().to_str().unwrap();
    let output = fake.run(&["collection", "import", "notes", path, "--json"]);
    let object: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!((&object["passages"], &object["replaced"]), (&json!(2), &json!(2)), "{object}");
    let sent = fake.asked.try_iter().find(|(first, _)| first.contains("/records")).unwrap();
    assert!(sent.1.contains("three") && !sent.1.contains("\"one\""), "{}", sent.1);
    assert!(sent.1.contains("other") && !sent.1.contains("two"), "{}", sent.1);
}

/// A result that nobody got is no success; who closed the pipe has read enough.
#[test]
#[cfg(target_os = "linux")]
fn output_that_is_lost_is_one() {
    let fake = Fake::new(200, &json!({ "collections": [] }).to_string());
    let run = |stdout: std::process::Stdio| {
        let arguments = ["--api", &fake.url, "collection", "ls"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-net"));
        command.args(arguments).env_remove("EDGE_NET_API").stdout(stdout).output().unwrap()
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = run(full.into());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("why:") && said.contains("next:"), "{said}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run(writer.into()).status.code(), Some(0));
}
