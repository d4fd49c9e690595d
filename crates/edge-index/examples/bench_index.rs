//! Speed and recall of the index on synthetic clustered rows, against its own exact scan. Prints JSON
//! lines: `cargo run --release -p edge-index --example bench_index [rows ...]`.
//!
//! Times are CPU seconds of this one thread where Linux tells them (`/proc/self/schedstat`), so that a busy
//! machine does not count against the index; elsewhere they are wall time, and the first line says so.
#![allow(clippy::disallowed_methods)] // a benchmark reads the clock

use std::time::Instant;

use edge_base::{Digest, RecordId};
use edge_index::{Index, IndexConfig, Metric, Op, Record};
use serde_json::json;

#[path = "../tests/support/clustered.rs"]
mod clustered;

const DIM: usize = 256;
const K: usize = 10;
const QUERIES: usize = 500;

/// Nanoseconds that this thread has run, where the system tells.
fn cpu_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

struct Clock {
    cpu_ns: Option<u64>,
    wall: Instant,
}

impl Clock {
    fn start() -> Self {
        Clock { cpu_ns: cpu_ns(), wall: Instant::now() }
    }

    fn seconds(&self) -> f64 {
        match (self.cpu_ns, cpu_ns()) {
            (Some(from), Some(to)) => (to - from) as f64 / 1e9,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }
}

fn report(bench: &str, metric: &str, value: f64, unit: &str, rival: Option<(&str, f64)>) {
    let mut line = json!({ "bench": bench, "metric": metric, "value": value, "unit": unit });
    if let Some((rival, rival_value)) = rival {
        line["rival"] = json!(rival);
        line["rival_value"] = json!(rival_value);
        line["ratio"] = json!(value / rival_value);
    }
    #[allow(clippy::print_stdout)]
    {
        println!("{line}");
    }
}

fn measure(rows: usize) {
    let mut data = clustered::clustered(rows + QUERIES, DIM, rows as u64);
    let queries = data.split_off(rows);
    let records: Vec<Record> = data
        .into_iter()
        .enumerate()
        .map(|(n, vector)| Record {
            id: RecordId(Digest::of(&n.to_le_bytes())),
            vector,
            payload: b"{}".to_vec(),
        })
        .collect();
    let bench = format!("index/{rows}x{DIM}");
    let fill = |exact_below: usize| {
        let config = IndexConfig { exact_below, ..IndexConfig::new(DIM, Metric::Cosine) };
        let mut index = Index::new(config).expect("a valid configuration");
        let start = Clock::start();
        for record in &records {
            index.apply(Op::Upsert(record.clone())).expect("a valid record");
        }
        (index, start.seconds())
    };
    let (exact, exact_build) = fill(1 << 30);
    let (ann, build) = fill(10_000);
    report(&bench, "build", build, "s", Some(("exact index", exact_build)));
    let start = Clock::start();
    let root = ann.root();
    report(&bench, "root", start.seconds() * 1e3, "ms", None);
    assert_eq!(root, exact.root());
    let start = Clock::start();
    let snapshot = ann.to_snapshot();
    report(&bench, "snapshot write", start.seconds() * 1e3, "ms", None);
    report(&bench, "snapshot", snapshot.len() as f64 / 1e6, "MB", None);
    let start = Clock::start();
    Index::from_snapshot(&snapshot).expect("a snapshot just written");
    report(&bench, "snapshot read", start.seconds() * 1e3, "ms", None);

    let start = Clock::start();
    let truth: Vec<_> =
        queries.iter().map(|q| exact.search(q, K, None, None).expect("a query").hits).collect();
    let exact_qps = QUERIES as f64 / start.seconds();
    report(&bench, "exact scan", exact_qps, "queries/s", None);
    for ef in [16, 32, 64, 128, 256] {
        let start = Clock::start();
        let answers: Vec<_> =
            queries.iter().map(|q| ann.search(q, K, Some(ef), None).expect("a query")).collect();
        let qps = QUERIES as f64 / start.seconds();
        let found: usize = answers
            .iter()
            .zip(&truth)
            .map(|(a, t)| a.hits.iter().filter(|hit| t.iter().any(|x| x.id == hit.id)).count())
            .sum();
        let visited: u64 = answers.iter().map(|a| a.rows_visited).sum();
        let recall = found as f64 / (K * QUERIES) as f64;
        let share = visited as f64 / (QUERIES * rows) as f64;
        let name = |what: &str| format!("{what} at ef {ef}");
        report(&bench, &name("hnsw"), qps, "queries/s", Some(("exact scan", exact_qps)));
        report(&bench, &name("recall@10"), recall, "1", Some(("exact scan", 1.0)));
        report(&bench, &name("rows visited"), share, "of rows", Some(("exact scan", 1.0)));
    }
}

fn main() {
    let rows: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let rows = if rows.is_empty() { vec![12_000, 50_000] } else { rows };
    let clock = if cpu_ns().is_some() { 1.0 } else { 0.0 };
    report("index", "times are CPU time", clock, "bool", None);
    rows.into_iter().for_each(measure);
}
