//! Measures a pool of nodes in one process, over real sockets and disks: import and search.
//!
//! `cargo run --release -p edge-node --example pool -- 4 12800 500`: nodes, texts, searches.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a program for people to run

use std::time::{Duration, Instant};

use edge_base::Credits;
use edge_node::{
    Found, Jobs, Node, NodeHandle, StartMode,
    config::{Config, FileLayer, Layers},
    jobs::{ImportOptions, Record, SearchOptions},
};
use edge_swarm::{Answer, Command};

fn config(folder: &std::path::Path) -> Config {
    let folder = folder.display().to_string();
    let flags = [
        ("data-dir", folder.as_str()),
        ("listen", "/ip4/127.0.0.1/tcp/0"),
        ("mdns", "off"),
        ("cpu", "100%"),
        ("cpu-idle", "100%"),
    ];
    let flags = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::load(&Layers { file: FileLayer::Nothing, environment: Vec::new(), flags }).unwrap()
}

/// A text of 40 words that depend on a number.
fn text(n: u64) -> String {
    const WORDS: [&str; 24] = [
        "socket", "timeout", "vector", "thread", "buffer", "stream", "index", "parse", "error",
        "queue", "atomic", "window", "cache", "render", "signal", "future", "string", "table",
        "branch", "memory", "packet", "cursor", "kernel", "matrix",
    ];
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut words = vec![n.to_string()];
    for _ in 0..40 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words.push(WORDS[(state % 24) as usize].to_owned());
    }
    words.join(" ")
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap());
    let mut next = |default| arguments.next().unwrap_or(default);
    let (nodes, texts, searches) = (next(4), next(12_800), next(500));
    let folders: Vec<_> = (0..nodes).map(|_| tempfile::tempdir().unwrap()).collect();
    let found = StartMode::Found(Found::default());
    let founder = Node::start(config(folders[0].path()), found).await.unwrap();
    let mut others: Vec<NodeHandle> = Vec::new();
    for folder in &folders[1..] {
        let credits = Credits::from_whole(10).unwrap();
        let invite = Command::Invite { owner: false, credits };
        let Ok(Answer::Ticket(ticket)) = founder.call(invite).await else { panic!("no ticket") };
        let mode = StartMode::Join(ticket.parse().unwrap());
        others.push(Node::start(config(folder.path()), mode).await.unwrap());
    }
    loop {
        let Ok(Answer::Status(status)) = founder.call(Command::Status).await else { panic!() };
        if status.connected + 1 >= nodes as usize && status.members >= nodes as usize {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let jobs = Jobs::new(founder.clone());
    jobs.create_collection("measured").await.unwrap();
    let records = futures::stream::iter(
        (0..texts).map(|n| Ok(Record { text: Some(text(n)), ..Record::default() })),
    );
    let started = Instant::now();
    let mut last = Instant::now();
    let report = jobs
        .import("measured", records, ImportOptions::default(), |progress| {
            if last.elapsed() > Duration::from_secs(2) {
                last = Instant::now();
                println!("{:6.1} s {progress:?}", started.elapsed().as_secs_f64());
            }
        })
        .await
        .unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!("import: {:.0} texts/s, {:?}", texts as f64 / seconds, report.counts);
    println!("tasks {}, self-checked {}", report.tasks, report.self_checked);

    let mut times: Vec<f64> = Vec::new();
    let options = SearchOptions::default();
    let started = Instant::now();
    for n in 0..searches {
        let one = Instant::now();
        jobs.search_text("measured", &text(n * 7 + 1), &options).await.unwrap();
        times.push(one.elapsed().as_secs_f64() * 1e3);
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let quantile = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    println!(
        "search: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
        searches as f64 / seconds,
        quantile(0.5),
        quantile(0.99)
    );
    let load = std::sync::atomic::Ordering::Relaxed;
    for node in others.iter().chain([&founder]) {
        let (store, gauges) = (node.store_stats(), node.gauges());
        println!(
            "{}: {} commits of {:.2} ms, {} writes; {} inputs in {:.2} s; worker CPU {:.2} s",
            node.node().short(),
            store.commits.load(load),
            store.commit_us.load(load) as f64 / 1e3 / store.commits.load(load).max(1) as f64,
            store.writes.load(load),
            gauges.inputs.load(load),
            gauges.busy_us.load(load) as f64 / 1e6,
            node.worker_stats().cpu_us.load(load) as f64 / 1e6,
        );
    }
    for node in others.iter().chain([&founder]) {
        node.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}
