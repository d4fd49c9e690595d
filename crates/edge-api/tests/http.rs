//! The API of a real node, over a real socket, as a client sees it.
#![allow(clippy::unwrap_used)] // Helpers of tests are not seen as tests.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use edge_api::Server;
use edge_node::{
    Found, Node, NodeHandle, StartMode,
    config::{Config, FileLayer, Layers},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

fn config(folder: &Path, more: &[(&str, &str)]) -> Config {
    let folder = folder.display().to_string();
    let always = [
        ("data-dir", folder.as_str()),
        ("listen", "/ip4/127.0.0.1/tcp/0"),
        ("mdns", "off"),
        ("port", "0"),
        ("cpu", "100%"),
        ("cpu-idle", "100%"),
    ];
    let flags = always.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let flags = flags.collect();
    Config::load(&Layers { file: FileLayer::Nothing, environment: Vec::new(), flags }).unwrap()
}

async fn serve(folder: &Path, more: &[(&str, &str)]) -> (NodeHandle, Server) {
    let mode = StartMode::ResumeOrFound(Found::default());
    let node = Node::start(config(folder, more), mode).await.unwrap();
    let server = edge_api::serve(node.clone()).await.unwrap();
    (node, server)
}

/// A blocking client; every call answers with status and body.
struct Client {
    agent: ureq::Agent,
    base: String,
    headers: Vec<(&'static str, String)>,
}

impl Client {
    fn new(server: &Server) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let base = server.url().to_owned();
        Client { agent: ureq::Agent::new_with_config(config), base, headers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn text(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let mut answer = self.agent.run(request.body(body).unwrap()).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (status, text) = self.text(method, path, &body);
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    fn get(&self, path: &str) -> Value {
        let (status, value) = self.json("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.json("POST", path, &body);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// A refusal: its status, and its three parts, none of them empty.
    fn refused(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let (status, text) = self.text(method, path, body);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?}"));
        assert_eq!(value["schema"], "edge-net.error/1", "{text}");
        for part in ["what", "why", "next"] {
            assert!(value["error"][part].as_str().is_some_and(|t| !t.is_empty()), "{text}");
        }
        (status, value["error"]["why"].as_str().unwrap().to_owned())
    }
}

fn matches(client: &Client) {
    let examples: Vec<Value> = [
        ("billing", "the invoice is wrong"),
        ("billing", "I was charged twice"),
        ("shipping", "the parcel never arrived"),
        ("shipping", "where is my package"),
    ]
    .iter()
    .map(|(label, text)| json!({"label": label, "text": text}))
    .collect();
    let texts = ["my package is late", "charged two times", "zebra crossing"];
    let body = json!({"texts": texts, "categories": ["billing", "shipping"], "examples": examples});
    let found = client.post("/api/v1/match", body);
    assert_eq!(found["schema"], "edge-net.matches/1");
    let rows = found["matches"].as_array().unwrap();
    assert_eq!((&rows[0]["label"], &rows[1]["label"]), (&json!("shipping"), &json!("billing")));
    for row in rows {
        let score = |n: usize| row["scores"][n]["score"].as_f64().unwrap();
        assert!((score(0) + score(1) - 1.0).abs() < 1e-5, "{row}");
        let known = row["similarity"].as_f64() >= found["threshold"].as_f64();
        assert_eq!(row["label"].is_string(), known, "{row}");
    }
    assert_eq!(rows[2]["label"], Value::Null, "{}", rows[2]);
    let implied = client.post("/api/v1/match", json!({"text": texts[0], "examples": examples}));
    assert_eq!(
        (&implied["schema"], &implied["nearest"]),
        (&json!("edge-net.match/2"), &json!("shipping"))
    );
    let refuse = |body: Value, why: &str| {
        let (status, said) = client.refused("POST", "/api/v1/match", body.to_string().as_bytes());
        assert!(status == 400 && said.contains(why), "{status} {said}");
    };
    refuse(json!({"labels": ["a"]}), "either `text` or `texts`");
    refuse(json!({"text": "a", "texts": ["b"], "labels": ["a"]}), "either `text` or `texts`");
    refuse(json!({"texts": [], "labels": ["a"]}), "no text");
    refuse(json!({"texts": ["a", ""], "labels": ["a"]}), "text 1: it is empty");
    refuse(json!({"text": "a"}), "1 to 256 labels, not 0");
    let other = json!({"text": "a", "labels": ["b"], "examples": [{"label": "c", "text": "d"}]});
    refuse(other, "none of the labels");
    let many = vec![json!({"label": "a", "text": "b"}); 1025];
    refuse(json!({"text": "a", "examples": many}), "1024 examples");
}

fn compression(client: &Client) {
    let data = BASE64_STANDARD.encode("the same, ".repeat(40));
    let ask = |operation: &str, data: &Value| {
        client.post("/api/v1/compression", json!({"operation": operation, "data": data}))
    };
    let less = ask("compress", &json!(data));
    assert_eq!(less["schema"], "edge-net.compression/1");
    assert!(less["bytes"].as_u64().unwrap() < 80, "{less}");
    let task = client.get(&format!("/api/v1/tasks/{}", less["task"]["task"].as_str().unwrap()));
    assert_eq!(task["kind"], "compression");
    let back = ask("decompress", &less["data"]);
    assert_eq!((&back["data"], &back["bytes"]), (&json!(data), &json!(400)));
    let refuse = |body: Value, why: &str| {
        let (status, said) =
            client.refused("POST", "/api/v1/compression", body.to_string().as_bytes());
        assert!(status == 400 && said.contains(why), "{status} {said}");
    };
    refuse(json!({"operation": "explode", "data": ""}), "unknown variant");
    refuse(json!({"operation": "compress", "data": "?"}), "base64");
    refuse(json!({"operation": "compress", "data": "", "max_bytes": 1}), "decompress");
    refuse(json!({"operation": "decompress", "data": data}), "not in Zstandard format");
    let bound = json!({"operation": "decompress", "data": less["data"], "max_bytes": 399});
    refuse(bound, "more than 399 bytes");
    let large = BASE64_STANDARD.encode(vec![0; (4 << 20) + 1]);
    refuse(json!({"operation": "compress", "data": large}), "over the limit of 4194304");
}

/// `mine` is a key of the node, for no other one.
fn encryption(client: &Client, folder: &Path) {
    let keys = client.get("/api/v1/keys");
    assert_eq!(keys["schema"], "edge-net.keys/1");
    let key = &keys["keys"][0];
    assert_eq!((&key["name"], &key["nodes"]), (&json!("mine"), &json!([])));
    assert_eq!(key.as_object().unwrap().len(), 3, "nothing else is told: {key}");
    let text = "seen by nobody, ".repeat(40);
    let data = BASE64_STANDARD.encode(&text);
    let ask = |operation: &str, key: &Value, data: &Value| {
        let body = json!({"operation": operation, "key_id": key, "data": data});
        client.post("/api/v1/encryption", body)
    };
    let sealed = ask("encrypt", &key["name"], &json!(data));
    assert_eq!(sealed["schema"], "edge-net.encryption/1");
    assert_eq!((&sealed["bytes"], &sealed["key_id"]), (&json!(640 + 41), &key["key_id"]));
    let task = client.get(&format!("/api/v1/tasks/{}", sealed["task"]["task"].as_str().unwrap()));
    assert_eq!(task["kind"], "encryption");
    let again = ask("encrypt", &key["name"], &json!(data));
    assert_ne!(again["data"], sealed["data"], "each task has a nonce of its own");
    for sealed in [&sealed, &again] {
        let back = ask("decrypt", &key["key_id"], &sealed["data"]);
        assert_eq!((&back["data"], &back["bytes"]), (&json!(data), &json!(640)));
    }
    // A key that is made while the node runs.
    edge_node::keys::create(folder, "later").unwrap();
    let refused = json!({"operation": "encrypt", "key_id": "later", "data": ""}).to_string();
    assert_eq!(client.refused("POST", "/api/v1/encryption", refused.as_bytes()).0, 404);
    let reloaded = client.post("/api/v1/keys", json!({}));
    assert_eq!(
        (reloaded["keys"].as_array().unwrap().len(), &reloaded["problems"]),
        (2, &json!([]))
    );
    assert_eq!(ask("encrypt", &json!("later"), &json!(""))["bytes"], 41);
    assert_eq!(client.json("DELETE", "/api/v1/keys/later", &Value::Null).0, 200);
    assert_eq!(client.refused("POST", "/api/v1/encryption", refused.as_bytes()).0, 404);
    let nothing = ask("encrypt", &key["name"], &json!(""));
    assert_eq!(nothing["bytes"], 41);
    assert_eq!(ask("decrypt", &key["name"], &nothing["data"])["bytes"], 0);

    let refuse = |body: Value, expected: u16, why: &str| {
        let (status, said) =
            client.refused("POST", "/api/v1/encryption", body.to_string().as_bytes());
        assert!(status == expected && said.contains(why), "{status} {said}");
    };
    let of = |operation: &str, key: &str, data: &str| json!({"operation": operation, "key_id": key, "data": data});
    refuse(of("explode", "mine", ""), 400, "unknown variant");
    refuse(of("encrypt", "mine", "?"), 400, "base64");
    refuse(of("encrypt", "yours", ""), 404, "no key \"yours\" at this node; there are: mine");
    refuse(of("encrypt", &"ab".repeat(32), ""), 404, "there are: mine");
    refuse(of("encrypt", &"x".repeat(10_000), ""), 404, "there are: mine");
    refuse(of("encrypt", "a/b", ""), 404, "there are: mine");
    refuse(json!({"operation": "encrypt", "data": ""}), 400, "key_id");
    refuse(of("decrypt", "mine", ""), 400, "breaks off");
    refuse(of("decrypt", "mine", &data), 400, "not encrypted, or in format 115");
    let mut changed = BASE64_STANDARD.decode(sealed["data"].as_str().unwrap()).unwrap();
    changed[300] ^= 1;
    let changed = BASE64_STANDARD.encode(changed);
    refuse(of("decrypt", "mine", &changed), 400, "not encrypted with this key, or was changed");
    let large = BASE64_STANDARD.encode(vec![0; (4 << 20) + 1]);
    refuse(of("encrypt", "mine", &large), 400, "over the limit of 4194304");
}

/// A request whose body is announced and never comes to its end.
fn endless(server: &str, path: &str, announced: usize, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {server}\r\ncontent-type: application/json\r\ncontent-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // What is refused on the way may be closed before all of it is sent.
    let _ = stream.write_all(&vec![b' '; sent]);
    stream
}

/// The status that a request was answered with, if it was soon.
fn status_of(mut stream: &TcpStream, within: Duration) -> Option<String> {
    stream.set_read_timeout(Some(within)).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).ok()?;
    Some(String::from_utf8_lossy(&start[9..]).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_streams_without_end_leave_room_for_others() {
    let temp = tempfile::tempdir().unwrap();
    let (node, server) = serve(temp.path(), &[]).await;
    let client = Client::new(&server);
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    blocking(move || {
        let path = "/api/v1/embed";
        // Sixteen bodies of nearly eight MiB leave room for one more MiB; small ones need none.
        let held: Vec<TcpStream> =
            (0..16).map(|_| endless(&address, path, 8 << 20, (8 << 20) - 1)).collect();
        let soon = Duration::from_millis(500);
        let refused = (0..20).any(|_| {
            let more = endless(&address, path, 8 << 20, 4 << 20);
            status_of(&more, soon).is_some_and(|status| status == "503")
        });
        assert!(refused, "there is no room for more");
        assert_eq!(client.post(path, json!({"texts": ["one"]}))["dim"], 256);
        drop(held);
        let large = json!({"texts": ["word ".repeat(100_000)]});
        let fits = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            client.json("POST", path, &large).0 == 200
        });
        assert!(fits, "the room is there again");

        let stream = || {
            let mut stream = TcpStream::connect(&address).unwrap();
            let head = format!("GET /api/v1/events HTTP/1.1\r\nhost: {address}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let status = status_of(&stream, PATIENCE);
            (stream, status.unwrap())
        };
        let streams: Vec<_> = (0..140).map(|_| stream()).collect();
        let served = streams.iter().filter(|(_, status)| status == "200").count();
        let refused = streams.iter().filter(|(_, status)| status == "503").count();
        assert_eq!((served, refused), (128, 12));
        assert_eq!(client.text("GET", "/healthz", b"").0, 200);
        drop(streams);
        let again = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            stream().1 == "200"
        });
        assert!(again, "places are given back");
    })
    .await;
    node.shutdown(PATIENCE).await.unwrap();
}

async fn blocking(work: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_main_job_by_http() {
    let temp = tempfile::tempdir().unwrap();
    edge_node::keys::create(temp.path(), "mine").unwrap();
    let (node, server) = serve(temp.path(), &[]).await;
    let noted = edge_node::folder::read_api_note(temp.path()).unwrap();
    assert_eq!((noted.url.as_str(), noted.node), (server.url(), node.node().to_hex()));
    let client = Client::new(&server);
    let own = node.node().to_hex();
    let folder = temp.path().to_owned();
    blocking(move || {
        assert_eq!(client.text("GET", "/healthz", b""), (200, "ok\n".into()));
        assert_eq!(client.text("GET", "/readyz", b"").0, 200);
        let status = client.get("/api/v1/status");
        assert_eq!(
            (&status["schema"], &status["node"]),
            (&json!("edge-net.status/1"), &json!(own))
        );
        assert_eq!((&status["may_vote"], &status["members"]), (&json!(true), &json!(1)));

        let embedded = client.post("/api/v1/embed", json!({"texts": ["one", "two"]}));
        assert_eq!(embedded["schema"], "edge-net.embedding/1");
        assert_eq!(embedded["vectors"].as_array().unwrap().len(), 2);
        assert_eq!(embedded["vectors"][0].as_array().unwrap().len() as u64, embedded["dim"]);
        let task = embedded["tasks"][0]["task"].as_str().unwrap().to_owned();
        let explained = client.get(&format!("/api/v1/tasks/{}", &task[..12]));
        assert_eq!((&explained["task"], &explained["kind"]), (&json!(task), &json!("embedding")));
        assert_eq!(client.get("/api/v1/tasks?limit=1")["tasks"][0]["task"], task);

        let matched = client.post(
            "/api/v1/match",
            json!({"text": "tcp timeout", "labels": ["cooking", "network sockets"]}),
        );
        assert_eq!(
            (&matched["label"], &matched["category"]),
            (&json!("network sockets"), &matched["label"])
        );
        matches(&client);

        compression(&client);
        encryption(&client, &folder);
        assert_eq!(client.post("/api/v1/collections", json!({"name": "docs"}))["rows"], 0);
        let lines = "{\"text\": \"set a timeout on a socket\", \"payload\": {\"line\": 3}}\n\
                     {\"text\": \"bake bread\", \"id\": \"b\"}\n\nnot json\n{\"txet\": \"typo\"}\n";
        let (status, text) =
            client.text("POST", "/api/v1/collections/docs/records", lines.as_bytes());
        let imported: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(status, 200, "{text}");
        assert_eq!((&imported["stored"], &imported["failed"]), (&json!(2), &json!(2)), "{text}");
        assert_eq!(imported["errors"][0]["index"], 2);
        assert!(imported["errors"][1]["reason"].as_str().unwrap().contains("txet"));
        let array = json!([{"text": "bake bread", "id": "b"}, {"text": "draw a triangle"}]);
        let again = client.post("/api/v1/collections/docs/records", array);
        assert_eq!((&again["known"], &again["stored"]), (&json!(1), &json!(1)));

        let search = json!({"text": "socket timeouts", "k": 2});
        let found = client.post("/api/v1/collections/docs/search", search);
        assert_eq!(found["schema"], "edge-net.search/1");
        assert_eq!(found["hits"][0]["payload"]["line"], 3);
        assert_eq!(found["shards"][0]["mode"], "exact");
        let filtered =
            json!({"text": "bread", "filter": {"must": [{"key": "line", "match": {"value": 3}}]}});
        let found = client.post("/api/v1/collections/docs/search", filtered);
        assert_eq!(found["hits"].as_array().unwrap().len(), 1);

        let checked = client.post("/api/v1/collections/docs/check", json!({"k": 2}));
        assert_eq!(
            (&checked["schema"], &checked["holds"]),
            (&json!("edge-net.check/1"), &json!(true))
        );
        assert_eq!((&checked["recall"], &checked["unreachable"]), (&json!(1.0), &json!(0)));
        let copy = &checked["shards"][0]["copy"];
        assert_eq!((&copy["sampled"], &copy["rows"]), (&json!(3), &json!(3)), "{checked}");
        assert_eq!(copy["root"], client.get("/api/v1/collections/docs")["shards"][0]["root"]);
        let (status, said) =
            client.refused("POST", "/api/v1/collections/docs/check", br#"{"sample": 0}"#);
        assert!(status == 400 && said.contains("sample is 1 to 1000, not 0"), "{status} {said}");

        assert_eq!(client.get("/api/v1/collections/docs")["rows"], 3);
        let numbered = json!([{"text": "a numbered record", "id": 7}]);
        assert_eq!(client.post("/api/v1/collections/docs/records", numbered)["stored"], 1);
        let hash = found["hits"][0]["id"].clone();
        let gone = client.post(
            "/api/v1/collections/docs/records/delete",
            json!({"ids": ["b", 7, "nobody", hash, "b"]}),
        );
        assert_eq!((&gone["deleted"], &gone["missing"]), (&json!(3), &json!(["nobody"])), "{gone}");
        let again = client.post("/api/v1/collections/docs/records/delete", json!({"ids": ["b"]}));
        assert_eq!((&again["deleted"], &again["missing"]), (&json!(0), &json!(["b"])));
        assert_eq!(client.get("/api/v1/collections/docs")["rows"], 1);
        let search = json!({"text": "bake bread", "k": 10});
        let found = client.post("/api/v1/collections/docs/search", search);
        assert_eq!(found["hits"].as_array().unwrap().len(), 1);
        assert_eq!(found["hits"][0]["payload"]["text"], "draw a triangle");
        // What was deleted can be stored again.
        let again = client
            .post("/api/v1/collections/docs/records", json!([{"text": "bake bread", "id": "b"}]));
        assert_eq!(again["stored"], 1);
        assert_eq!(client.json("DELETE", "/api/v1/collections/docs", &Value::Null).0, 200);
        assert_eq!(client.get("/api/v1/collections")["collections"], json!([]));

        let plain = json!({"name": "plain", "dim": 2, "metric": "dot"});
        client.post("/api/v1/collections", plain);
        let records = json!([{"id": "a", "vector": [1.0, 0.0]}, {"id": "b", "vector": [0.0, 2.0]}]);
        assert_eq!(client.post("/api/v1/collections/plain/records", records)["stored"], 2);
        let search = json!({"vector": [0.5, 1.0], "k": 1});
        let found = client.post("/api/v1/collections/plain/search", search);
        assert_eq!(found["hits"][0]["score"], 2.0);
        assert_eq!(
            (&found["hits"][0]["id"], &found["hits"][0]["payload"]),
            (&json!("b"), &json!({}))
        );
        assert_eq!(found["hits"][0]["record"].as_str().unwrap().len(), 64);
    })
    .await;
    node.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_tickets_and_metrics() {
    let temp = tempfile::tempdir().unwrap();
    let (node, server) = serve(temp.path(), &[]).await;
    let client = Client::new(&server);
    blocking(move || {
        let balance = client.get("/api/v1/ledger/balance");
        assert_eq!(balance["balance"], 1_000_000.0, "{balance}");
        let verified = client.get("/api/v1/ledger/verify");
        assert_eq!(verified["conserved"], true);
        let staked = client.post("/api/v1/ledger/stake", json!({"credits": 12.5}));
        assert_eq!((&staked["staked"], &staked["leaving"]), (&json!(12.5), &json!(0.0)));
        assert_eq!(staked["balance"], 999_987.5, "{staked}");
        let leaving = client.post("/api/v1/ledger/unstake", json!({"credits": 2.5}));
        assert_eq!(leaving["schema"], "edge-net.balance/1");
        assert_eq!((&leaving["staked"], &leaving["leaving"]), (&json!(10.0), &json!(2.5)));
        let withdrawal = &leaving["withdrawals"][0];
        assert_eq!(withdrawal["amount"], 2.5, "{leaving}");
        assert_eq!((&leaving["slashed"], &leaving["frozen"]), (&json!(false), &json!(false)));
        assert_eq!(client.get("/api/v1/ledger/verify")["totals"]["staked"], 12.5);
        assert_eq!(client.get("/api/v1/ledger/history?limit=5")["schema"], "edge-net.history/1");
        assert_eq!(client.post("/api/v1/ledger/settle", json!({}))["schema"], "edge-net.done/1");
        let unknown = format!("/api/v1/ledger/blocks/{}", "0".repeat(64));
        assert_eq!(client.refused("GET", &unknown, b"").0, 404);
        let history = client.get("/api/v1/ledger/history");
        let stake = &history["blocks"][0];
        assert_eq!(
            (&stake["kind"], &stake["amount"]),
            (&json!("stake"), &json!(12.5)),
            "{history}"
        );
        let fate =
            client.get(&format!("/api/v1/ledger/blocks/{}", stake["hash"].as_str().unwrap()));
        assert_eq!((&fate["certified"], &fate["pending"]), (stake, &Value::Null));
        assert_eq!(client.get("/api/v1/ledger/balance")["pending"], Value::Null);
        let made = client.post("/api/v1/identity/invite", json!({"owner": true, "credits": 1.5}));
        let ticket: edge_swarm::Ticket = made["ticket"].as_str().unwrap().parse().unwrap();
        assert_eq!((ticket.credits.micro(), ticket.owner), (1_500_000, true));
        assert!(!ticket.addresses.is_empty());
        let tickets = client.get("/api/v1/identity/tickets");
        let out = &tickets["tickets"][0];
        assert_eq!((&out["ticket"], &out["credits"]), (&made["id"], &json!(1.5)), "{tickets}");
        assert!(!tickets.to_string().contains(made["ticket"].as_str().unwrap()), "its digest only");
        let path = format!("/api/v1/identity/tickets/{}", made["id"].as_str().unwrap());
        assert_eq!(client.json("DELETE", &path, &Value::Null).0, 200);
        assert_eq!(client.refused("DELETE", &path, b"").0, 404);
        assert_eq!(client.get("/api/v1/identity/tickets")["tickets"], json!([]));
        assert_eq!(client.get("/api/v1/peers")["peers"], json!([]));

        let (status, metrics) = client.text("GET", "/metrics", b"");
        assert_eq!(status, 200);
        for line in metrics.lines() {
            let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
            assert!(line.starts_with('#') || value.is_some_and(f64::is_finite), "{line}");
        }
        let value = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(&format!("edge_net_{name} ")));
            line.unwrap().rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        assert_eq!(value("balance_ruv"), 999_987.5);
        assert!(value("store_commits_total") >= 1.0 && value("inputs_total") >= 5.0);
    })
    .await;
    node.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_answered_with_what_why_and_next() {
    let temp = tempfile::tempdir().unwrap();
    let (node, server) = serve(temp.path(), &[]).await;
    let client = Client::new(&server);
    blocking(move || {
        client.post("/api/v1/collections", json!({"name": "docs"}));
        client.post("/api/v1/collections", json!({"name": "plain", "dim": 2}));
        let big = format!("{{\"texts\": [\"{}\"]}}", "x".repeat(9 << 20));
        let long = json!({"texts": ["x".repeat(2 << 20)]}).to_string();
        let many = json!({"texts": vec!["x"; 16_385]}).to_string();
        let nobody = json!({"to": "ab".repeat(32), "credits": 1}).to_string();
        let nobody = nobody.as_bytes();
        let cases: [(&str, &str, &[u8], u16, &str); 48] = [
            ("GET", "/api/v1/nothing", b"", 404, "nothing is served"),
            ("PUT", "/api/v1/status", b"", 405, "method not allowed"),
            ("POST", "/api/v1/embed", b"{", 400, "EOF"),
            ("POST", "/api/v1/embed", many.as_bytes(), 400, "at most 16384 texts"),
            ("POST", "/api/v1/identity/invite", b" [true, null]", 400, "it is a list"),
            ("POST", "/api/v1/embed", b"\xff\xfe", 400, "UTF-8"),
            ("POST", "/api/v1/embed", b"{\"texts\": []}", 400, "no text"),
            ("POST", "/api/v1/embed", b"{\"texts\": [\"a\", \" \"]}", 400, "text 1: it is empty"),
            ("POST", "/api/v1/embed", b"{\"text\": \"a\"}", 400, "unknown field"),
            ("POST", "/api/v1/embed", long.as_bytes(), 400, "over the limit"),
            ("POST", "/api/v1/embed", big.as_bytes(), 413, "over the limit"),
            ("POST", "/api/v1/match", b"{\"text\": \"a\", \"labels\": []}", 400, "1 to 256"),
            ("POST", "/api/v1/collections", b"{\"name\": \"docs\"}", 403, "docs"),
            ("POST", "/api/v1/collections", b"{\"name\": \"a/b\"}", 400, ""),
            ("POST", "/api/v1/collections", b"{\"name\": \"v\", \"dim\": 0}", 400, "dim"),
            ("GET", "/api/v1/collections/dosc", b"", 404, "there are: docs, plain"),
            ("POST", "/api/v1/collections/dosc/search", b"{\"text\": \"a\"}", 404, "docs, plain"),
            ("POST", "/api/v1/collections/docs/search", b"{}", 400, "either"),
            (
                "POST",
                "/api/v1/collections/docs/search",
                b"{\"text\": \"a\", \"k\": 0}",
                400,
                "k is",
            ),
            ("POST", "/api/v1/collections/plain/search", b"{\"text\": \"a\"}", 400, "vector"),
            ("POST", "/api/v1/collections/plain/search", b"{\"vector\": [1]}", 400, "2 components"),
            ("POST", "/api/v1/collections/plain/search", b"{\"vector\": [1, NaN]}", 400, "body"),
            (
                "POST",
                "/api/v1/collections/plain/search",
                b"{\"vector\": [1, 1e39]}",
                400,
                "not a finite number",
            ),
            (
                "POST",
                "/api/v1/collections/docs/search",
                b"{\"text\": \"a\", \"timeout_ms\": 0}",
                400,
                "timeout_ms is 1 to 600000, not 0",
            ),
            ("POST", "/api/v1/collections", b"{\"name\": \"plain\"}", 403, "exists already"),
            ("POST", "/api/v1/collections/docs/search", b"{\"text\": \"\\u0000\"}", 400, "no word"),
            ("POST", "/api/v1/collections/docs/search", b"{\"text\": \"\\u200b\"}", 400, "no word"),
            (
                "POST",
                "/api/v1/match",
                b"{\"text\": \"\\u200b\", \"labels\": [\"a\"]}",
                400,
                "the text: it has no word",
            ),
            ("POST", "/api/v1/collections", b"{\"name\": \".\"}", 400, "address"),
            ("POST", "/api/v1/collections", b"{\"name\": \"..\"}", 400, "address"),
            ("POST", "/api/v1/identity/invite", b"{\"credits\": 0.0000001}", 400, "six digits"),
            ("POST", "/api/v1/identity/invite", b"{\"credits\": -1}", 400, "not an amount"),
            ("POST", "/api/v1/ledger/stake", b"{\"credits\": 0.0000015}", 400, "not an amount"),
            (
                "POST",
                "/api/v1/embed",
                b"{\"texts\": [\"a\"], \"max_credits\": 1.0000001}",
                400,
                "six digits",
            ),
            ("GET", "/api/v1/tasks/zz", b"", 400, "task id"),
            ("GET", "/api/v1/tasks?limit=many", b"", 400, "limit"),
            ("POST", "/api/v1/ledger/handover", b"{\"witnesses\": [\"ab\"]}", 400, "64 hex"),
            ("POST", "/api/v1/ledger/stake", b"{\"credits\": 0}", 400, "nothing"),
            ("POST", "/api/v1/ledger/stake", b"{\"credits\": 1000001}", 403, "needed"),
            ("POST", "/api/v1/ledger/stake", b"{\"credits\": -1}", 400, "not an amount"),
            ("POST", "/api/v1/ledger/unstake", b"{\"credits\": 0.0000015}", 400, "not an amount"),
            ("POST", "/api/v1/ledger/unstake", b"{\"credits\": 1}", 403, "0 are staked"),
            ("POST", "/api/v1/ledger/unstake", b"{}", 400, "credits"),
            ("POST", "/api/v1/ledger/send", b"{\"to\": \"ab\", \"credits\": 1}", 400, "64 hex"),
            ("POST", "/api/v1/ledger/send", b"{\"credits\": 1}", 400, "to"),
            ("POST", "/api/v1/ledger/send", nobody, 404, "no member of this pool"),
            ("GET", "/api/v1/ledger/blocks/ab", b"", 400, "64 hex"),
            ("DELETE", "/api/v1/identity/tickets/ab", b"", 400, "64 hex"),
        ];
        let mut wrong = Vec::new();
        for (method, path, body, status, why) in cases {
            let (got, said) = client.refused(method, path, body);
            if got != status || !said.contains(why) {
                wrong.push(format!("{method} {path}: {got} {said:?}, not {status} {why:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        let unknown = format!("/api/v1/tasks/{}", "0".repeat(64));
        assert_eq!(client.refused("GET", &unknown, b"").0, 404);
        let (status, _) =
            client.refused("POST", "/api/v1/collections/docs/records", big.as_bytes());
        assert_eq!(status, 413);
    })
    .await;
    node.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_names_pages_and_missing_tokens_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (node, server) = serve(temp.path(), &[("token", "secret")]).await;
    let (open, wrong) =
        (Client::new(&server), Client::new(&server).with("authorization", "Bearer x"));
    let right = Client::new(&server).with("authorization", "Bearer secret");
    blocking(move || {
        assert_eq!(open.refused("GET", "/api/v1/status", b"").0, 401);
        assert_eq!(wrong.refused("GET", "/api/v1/status", b"").0, 401);
        right.get("/api/v1/status");
    })
    .await;
    node.shutdown(PATIENCE).await.unwrap();

    let temp = tempfile::tempdir().unwrap();
    let (node, server) = serve(temp.path(), &[]).await;
    let rebound = Client::new(&server).with("host", "evil.example");
    let page = Client::new(&server).with("origin", "http://evil.example");
    let own = Client::new(&server).with("origin", server.url());
    blocking(move || {
        assert!(rebound.refused("GET", "/api/v1/status", b"").1.contains("evil.example"));
        assert_eq!(page.refused("POST", "/api/v1/stop", b"").0, 403);
        assert_eq!(page.refused("POST", "/api/v1/identity/invite", b"{}").0, 403);
        own.get("/api/v1/status");
    })
    .await;
    assert_eq!(node.ended(), None, "the page did not stop the node");
    node.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_records_with_one_id_the_last_is_stored_and_all_are_counted() {
    let temp = tempfile::tempdir().unwrap();
    let (node, server) = serve(temp.path(), &[]).await;
    let (client, other) = (Client::new(&server), Client::new(&server));
    blocking(move || {
        let count = |answer: &Value, field: &str| answer[field].as_u64().unwrap();
        let adds_up = |answer: &Value| {
            let parts = ["known", "replaced", "stored", "failed"].map(|part| count(answer, part));
            assert_eq!(count(answer, "read"), parts.iter().sum::<u64>(), "{answer}");
        };
        client.post("/api/v1/collections", json!({"name": "docs"}));
        let path = "/api/v1/collections/docs/records";
        let two = json!([{"id": "i1", "text": "one"}, {"id": "i1", "text": "two"}]);
        let answer = client.post(path, two);
        let counts = ["known", "replaced", "stored"].map(|field| count(&answer, field));
        assert_eq!(counts, [0, 1, 1], "{answer}");
        adds_up(&answer);
        // The first and the last are in different groups, and the last is what is stored already.
        let filler = |n: u64| json!({"id": n.to_string(), "text": format!("filler number {n}")});
        let mut far = vec![json!({"id": "i1", "text": "three"})];
        far.extend((0..200).map(filler));
        far.push(json!({"id": "i1", "text": "two"}));
        let answer = client.post(path, json!(far));
        let counts = ["known", "replaced", "stored"].map(|field| count(&answer, field));
        assert_eq!(counts, [1, 1, 200], "{answer}");
        let found = client.post("/api/v1/collections/docs/search", json!({"text": "two", "k": 1}));
        assert_eq!(found["hits"][0]["payload"]["text"], "two");

        // Two imports of the same at once: each record is stored by one and known to the other.
        let records: Vec<Value> =
            (0..600).map(|n| json!({"text": format!("the record with number {n}")})).collect();
        let records = json!(records);
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| client.post(path, records.clone()));
            let two = scope.spawn(|| other.post(path, records.clone()));
            (one.join().unwrap(), two.join().unwrap())
        });
        adds_up(&one);
        adds_up(&two);
        assert_eq!(count(&one, "stored") + count(&two, "stored"), 600, "{one} {two}");
        assert_eq!(client.get("/api/v1/collections/docs")["rows"], 801);
    })
    .await;
    node.shutdown(PATIENCE).await.unwrap();
}

/// One server-sent event.
fn next_event(lines: &mut impl std::io::BufRead) -> (String, Value) {
    let (mut name, mut data) = (String::new(), Value::Null);
    loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the stream ended");
        let line = line.trim_end();
        if let Some(text) = line.strip_prefix("event: ") {
            name = text.to_owned();
        } else if let Some(text) = line.strip_prefix("data: ") {
            data = serde_json::from_str(text).unwrap();
        } else if line.is_empty() && !name.is_empty() {
            return (name, data);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_begin_with_a_snapshot_and_count_on_and_end_with_the_node() {
    let temp = tempfile::tempdir().unwrap();
    let (node, server) = serve(temp.path(), &[]).await;
    let address = server.url().trim_start_matches("http://").to_owned();
    let client = Client::new(&server);
    blocking(move || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET /api/v1/events HTTP/1.0\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let (name, snapshot) = next_event(&mut lines);
        assert_eq!((name.as_str(), &snapshot["schema"]), ("snapshot", &json!("edge-net.events/1")));
        let mut seen = snapshot["seq"].as_u64().unwrap();
        client.post("/api/v1/embed", json!({"texts": ["hello"]}));
        loop {
            let (name, event) = next_event(&mut lines);
            assert_eq!(name, "event");
            assert_eq!(event["seq"].as_u64(), Some(seen + 1), "no number is left out");
            seen += 1;
            if event["event"] == "task_verified" {
                assert_eq!(event["kind"], "embedding");
                break;
            }
        }
        // Stopping ends the stream, and with it the connection.
        client.post("/api/v1/stop", json!({}));
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
    })
    .await;
    tokio::time::timeout(PATIENCE, server.stop_requested()).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, node.wait_ended()).await.unwrap(), Ok(()));
    assert_eq!(edge_node::folder::read_api_note(temp.path()), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_an_error_when_it_was_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let config = config(temp.path(), &[("port", &port)]);
    let node = Node::start(config, StartMode::Found(Found::default())).await.unwrap();
    let error = edge_api::serve(node.clone()).await.unwrap_err().to_string();
    assert!(error.contains(&port) && error.contains("--port"), "{error}");
    node.shutdown(PATIENCE).await.unwrap();
}

/// What a tab of a browser needs, and who may ask for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_get_the_pool_a_ticket_and_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let both = "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws";
    let (node, server) = serve(folder.path(), &[("listen", both)]).await;
    let pool = node.pool().to_hex();
    blocking(move || {
        let client = Client::new(&server);
        let said = client.get("/join/pool");
        assert_eq!(said["pool"], json!(pool));
        let gateways = said["gateways"].as_array().unwrap();
        assert_eq!(gateways.len(), 1, "{said}");
        assert!(gateways[0].as_str().unwrap().contains("/ws/p2p/"), "{said}");
        let (status, said) = client.json("POST", "/join/ticket", &Value::Null);
        assert_eq!((status, &said["gateways"]), (200, &json!(gateways)));
        assert!(said["ticket"].as_str().unwrap().starts_with("edgenet1"), "{said}");
        // A page of another site neither gets one nor reads the pool.
        let elsewhere = Client::new(&server).with("origin", "http://evil.example");
        assert_eq!(elsewhere.json("POST", "/join/ticket", &Value::Null).0, 403);
        assert_eq!(elsewhere.json("GET", "/join/pool", &Value::Null).0, 403);
        let (status, page) = client.text("GET", "/join", b"");
        // Built without the browser's part it says so.
        assert!(status == 200 && page.contains("id=\"consent\"") || status == 404, "{page}");
        assert!(status == 200 || page.contains("cargo xtask web"), "{page}");
        assert_eq!(client.text("GET", "/web/../Cargo.toml", b"").0, 404);
        let url = format!("{}/web/model.bin", server.url());
        let agent = ureq::Agent::new_with_defaults();
        let mut model = agent.get(&url).call().unwrap();
        let tag = model.headers()["etag"].to_str().unwrap().to_owned();
        let policy = model.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        let mut bytes = Vec::new();
        model.body_mut().as_reader().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 8_290_340);
        let again = agent.get(&url).header("if-none-match", &tag).call().unwrap();
        assert_eq!(again.status().as_u16(), 304);
    })
    .await;
    node.shutdown(PATIENCE).await.unwrap();
}
