//! Measures a pool of real nodes: a process each, over loopback, asked over HTTP by a client.
//!
//! `cargo xtask bench pool`, or `cargo run --release -p edge-api --example bench_pool --
//! [--passages N] [--nodes N] [--searches N] [--callers N]`. Passages are lines of documentation of
//! the packages in cargo's registry folder. Import, searches of a healthy pool, and searches after one
//! holder was killed and while another one is slow: it is stopped (SIGSTOP) three quarters of the
//! time, 150 ms at a time.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use edge_node::{
    Found, Node, StartMode,
    config::{Config, FileLayer, Layers},
};
use serde_json::{Value, json};

const COLLECTION: &str = "measured";
/// Records of one request.
const PART: usize = 4_096;
/// How long a pool may take to get into a state that is waited for.
const PATIENCE: Duration = Duration::from_secs(180);
/// After this the owner looks for successors of a holder that is away.
const REPAIR: Duration = Duration::from_secs(12);
/// The slow holder stands still this long, then runs a third of it.
const STANDS_STILL: Duration = Duration::from_millis(150);

struct Options {
    passages: usize,
    nodes: usize,
    searches: usize,
    callers: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "node") {
        return node(Path::new(&arguments[1]), arguments.get(2));
    }
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default, |at| arguments[at + 1].parse().unwrap())
    };
    let options = Options {
        passages: number("--passages", 100_000),
        nodes: number("--nodes", 4),
        searches: number("--searches", 2_000),
        callers: number("--callers", 4),
    };
    let (passages, queries) = corpus(options.passages, options.searches);
    let found = measure(&options, &passages, &queries);
    let nodes = options.nodes;
    let name = format!("import, {nodes} nodes");
    report(&name, "rate", found.import, "1/s");
    report(&name, "CPU of all nodes for 1,000", found.import_cpu, "s");
    let states = [("healthy", &found.healthy), ("one killed, one slow", &found.faulty)];
    for (state, searched) in states {
        let name = format!("search, {nodes} nodes, {state}");
        report(&name, "rate", searched.rate, "1/s");
        report(&name, "p50", searched.p50, "ms");
        report(&name, "p99", searched.p99, "ms");
        report(&name, "CPU of all nodes for 1,000", searched.cpu, "s");
        report(&name, "failed or below factor", searched.failed, "searches");
    }
}

fn report(bench: &str, metric: &str, value: f64, unit: &str) {
    let value = (value * 1e3).round() / 1e3;
    println!("{}", json!({"bench": bench, "metric": metric, "value": value, "unit": unit}));
}

/// Runs a node until its standard input closes.
fn node(folder: &Path, ticket: Option<&String>) {
    let folder = folder.display().to_string();
    let flags = [
        ("data-dir", folder.as_str()),
        ("listen", "/ip4/127.0.0.1/tcp/0"),
        ("mdns", "off"),
        ("port", "0"),
        ("cpu", "100%"),
        ("cpu-idle", "100%"),
        ("memory", "1GiB"),
    ];
    let flags = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let layers = Layers { file: FileLayer::Nothing, environment: Vec::new(), flags };
    let mode = match ticket {
        Some(ticket) => StartMode::Join(ticket.parse().unwrap()),
        None => StartMode::Found(Found::default()),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let node = Node::start(Config::load(&layers).unwrap(), mode).await.unwrap();
        let server = edge_api::serve(node.clone()).await.unwrap();
        println!("{}", json!({"url": server.url(), "node": node.node().to_hex()}));
        let closed = tokio::task::spawn_blocking(|| {
            // Nothing is ever said: this ends when the parent does.
            let _ = std::io::stdin().lines().next();
        });
        closed.await.unwrap();
        node.shutdown(Duration::from_secs(5)).await.unwrap();
    });
}

/// A node as a child process; killed when dropped.
struct Process {
    child: Child,
    url: String,
    node: String,
}

impl Process {
    fn start(folder: &Path, ticket: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("node").arg(folder).args(ticket);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the node says where it is");
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        Process { url: text("url"), node: text("node"), child }
    }

    /// Seconds of CPU so far, `None` where there is no /proc.
    fn cpu(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some((ticks(11)? + ticks(12)?) / 100.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn call(url: &str, path: &str, body: Option<Value>) -> Result<Value, String> {
    let url = format!("{url}/api/v1/{path}");
    let answer = match body {
        Some(body) => ureq::post(&url).send_json(body),
        None => ureq::get(&url).call(),
    };
    answer.and_then(|mut answer| answer.body_mut().read_json()).map_err(|error| error.to_string())
}

struct Searched {
    rate: f64,
    p50: f64,
    p99: f64,
    failed: f64,
    cpu: f64,
}

struct Measured {
    import: f64,
    import_cpu: f64,
    healthy: Searched,
    faulty: Searched,
}

fn measure(options: &Options, passages: &[String], queries: &[String]) -> Measured {
    let root = tempfile::tempdir().unwrap();
    let folder = |n: usize| root.path().join(format!("node-{n}"));
    let mut nodes = vec![Process::start(&folder(0), None)];
    let url = nodes[0].url.clone();
    for n in 1..options.nodes {
        let ticket = call(&url, "identity/invite", Some(json!({}))).unwrap();
        nodes.push(Process::start(&folder(n), ticket["ticket"].as_str()));
    }
    wait("all nodes are connected", || {
        let status = call(&url, "status", None).unwrap();
        status["connected"].as_u64() == Some(options.nodes as u64 - 1)
    });
    call(&url, "collections", Some(json!({"name": COLLECTION}))).unwrap();
    let (began, before) = (Instant::now(), cpu(&nodes));
    for part in passages.chunks(PART) {
        let records: Vec<Value> = part.iter().map(|text| json!({"text": text})).collect();
        let path = format!("collections/{COLLECTION}/records");
        call(&url, &path, Some(Value::Array(records))).unwrap();
    }
    let import = passages.len() as f64 / began.elapsed().as_secs_f64();
    let import_cpu = (cpu(&nodes) - before) / passages.len() as f64 * 1e3;
    progress(&format!("{} passages, {import:.0} a second", passages.len()));

    let holders = holders(&url);
    search_all(&nodes, &queries[..queries.len() / 10], options.callers);
    let healthy = search_all(&nodes, queries, options.callers);

    // The first two other holders: one dies, one is slow.
    let mut at = (1..nodes.len()).filter(|n| holders.contains(&nodes[*n].node));
    let (dead, slow) = (at.next().unwrap(), at.next().unwrap());
    let slow = nodes[slow].child.id();
    drop(nodes.remove(dead));
    // The copies that were lost are made again elsewhere, if only by the owner.
    std::thread::sleep(REPAIR);
    wait("every shard is held in step", || in_step(&url));
    let ended = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&ended);
    let halts = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            signal(slow, "-STOP");
            std::thread::sleep(STANDS_STILL);
            signal(slow, "-CONT");
            std::thread::sleep(STANDS_STILL / 3);
        }
    });
    let faulty = search_all(&nodes, queries, options.callers);
    ended.store(true, Ordering::Relaxed);
    halts.join().unwrap();
    Measured { import, import_cpu, healthy, faulty }
}

fn cpu(nodes: &[Process]) -> f64 {
    nodes.iter().filter_map(Process::cpu).sum()
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([name, &process.to_string()]).status();
    assert!(status.unwrap().success(), "kill {name}");
}

fn holders(url: &str) -> BTreeSet<String> {
    let found = call(url, "collections", None).unwrap();
    let shards = found["collections"][0]["shards"].as_array().unwrap().iter();
    let replicas = shards.flat_map(|shard| shard["replicas"].as_array().unwrap().clone());
    replicas.filter_map(|replica| replica["node"].as_str().map(str::to_owned)).collect()
}

/// Whether two replicas of every shard acknowledged its last position.
fn in_step(url: &str) -> bool {
    let found = call(url, "collections", None).unwrap();
    let shards = found["collections"][0]["shards"].as_array().unwrap().clone();
    shards.iter().all(|shard| {
        let replicas = shard["replicas"].as_array().unwrap();
        replicas.iter().filter(|replica| replica["seq"] == shard["seq"]).count() >= 2
    })
}

fn search_all(nodes: &[Process], queries: &[String], callers: usize) -> Searched {
    let url = &nodes[0].url;
    let next = AtomicUsize::new(0);
    let (began, before) = (Instant::now(), cpu(nodes));
    let (mut times, failed) = std::thread::scope(|scope| {
        let one = || {
            let (mut times, mut failed) = (Vec::new(), 0u64);
            while let Some(query) = queries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let asked = Instant::now();
                let body = json!({"text": query, "k": 10});
                let answer = call(url, &format!("collections/{COLLECTION}/search"), Some(body));
                times.push(asked.elapsed().as_secs_f64() * 1e3);
                let whole = answer.is_ok_and(|answer| {
                    let shards = answer["shards"].as_array().cloned().unwrap_or_default();
                    !shards.is_empty() && shards.iter().all(|shard| shard["below_factor"] == false)
                });
                failed += u64::from(!whole);
            }
            (times, failed)
        };
        let callers: Vec<_> = (0..callers).map(|_| scope.spawn(one)).collect();
        let parts = callers.into_iter().map(|caller| caller.join().unwrap());
        parts.fold((Vec::new(), 0), |(mut all, failed), (times, more)| {
            all.extend(times);
            (all, failed + more)
        })
    });
    let seconds = began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let quantile = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    let searched = Searched {
        rate: queries.len() as f64 / seconds,
        p50: quantile(0.5),
        p99: quantile(0.99),
        failed: failed as f64,
        cpu: (cpu(nodes) - before) / queries.len() as f64 * 1e3,
    };
    progress(&format!(
        "{} searches: {:.0} a second, p50 {:.1} ms, p99 {:.1} ms, {failed} failed or below factor",
        queries.len(),
        searched.rate,
        searched.p50,
        searched.p99
    ));
    searched
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn progress(text: &str) {
    // Standard output is for figures.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Distinct lines of documentation in order of their files' names, then others as queries.
fn corpus(passages: usize, queries: usize) -> (Vec<String>, Vec<String>) {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let mut open = vec![home.expect("CARGO_HOME or HOME is set").join("registry/src")];
    let (mut seen, mut lines) = (BTreeSet::new(), Vec::new());
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                open.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for line in text.lines().filter_map(|line| line.trim().strip_prefix("/// ")) {
                if !(30..300).contains(&line.len()) || !seen.insert(line.to_owned()) {
                    continue;
                }
                lines.push(line.to_owned());
                if lines.len() == passages + queries {
                    let asked = lines.split_off(passages);
                    return (lines, asked);
                }
            }
        }
    }
    panic!("cargo's registry folder has {} lines of documentation, not {passages}", lines.len());
}
