//! ruvector-core's HNSW, driven as `rivals.py` drives the others: `ROWS QUERIES DIM METRIC`, then one JSON
//! object a line on standard input.

use std::io::{BufRead, Write};
use std::time::Instant;

use ruvector_core::index::{VectorIndex, hnsw::HnswIndex};
use ruvector_core::types::{DistanceMetric, HnswConfig};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

fn floats(path: &str) -> Result<Vec<f32>, Failure> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// CPU seconds of this process, and bytes of it in memory that are not those of a file.
fn used() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    (ticks.sum::<f64>() / 100.0, kilobytes.unwrap_or(0.0) * 1024.0)
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, rows, queries, dim, metric] = arguments.as_slice() else {
        return Err("ROWS QUERIES DIM METRIC".into());
    };
    let (rows, queries, dim) = (floats(rows)?, floats(queries)?, dim.parse::<usize>()?);
    let metric = match metric.as_str() {
        "cosine" => DistanceMetric::Cosine,
        _ => DistanceMetric::Euclidean,
    };
    let mut index = None;
    for line in std::io::stdin().lock().lines() {
        let ask: Value = serde_json::from_str(&line?)?;
        let answer = step(&ask, &mut index, &rows, &queries, dim, metric)
            .unwrap_or_else(|error| json!({ "error": error.to_string() }));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn step(
    ask: &Value,
    index: &mut Option<HnswIndex>,
    rows: &[f32],
    queries: &[f32],
    dim: usize,
    metric: DistanceMetric,
) -> Result<Value, Failure> {
    let number = |name: &str| ask[name].as_u64().map_or(0, |n| n as usize);
    let (wall, (cpu, memory)) = (Instant::now(), used());
    let mut found = Vec::new();
    if ask["do"] == "build" {
        let count = rows.len() / dim;
        let m = ask["m"].as_u64().map_or(16, |m| m as usize);
        let config = HnswConfig { m, ef_construction: 200, ef_search: 64, max_elements: count };
        let mut made = HnswIndex::new(dim, metric, config)?;
        for (n, row) in rows.chunks(dim).enumerate() {
            made.add(n.to_string(), row.to_vec())?;
        }
        *index = Some(made);
    } else {
        let index = index.as_ref().ok_or("nothing is built")?;
        for _ in 0..number("repeat").max(1) {
            found.clear();
            for query in queries.chunks(dim) {
                let hits =
                    index.search_with_ef(query, number("k"), number("ef").max(number("k")))?;
                found.push(hits);
            }
        }
    }
    let (cpu_now, memory_now) = used();
    if let Some(path) = ask["ids"].as_str().filter(|path| !path.is_empty()) {
        let ids = found.iter().flat_map(|hits| {
            let of = |n: usize| hits.get(n).and_then(|hit| hit.id.parse::<u32>().ok());
            (0..number("k")).flat_map(move |n| of(n).unwrap_or(u32::MAX).to_le_bytes())
        });
        std::fs::write(path, ids.collect::<Vec<u8>>())?;
    }
    Ok(json!({
        "cpu_s": cpu_now - cpu,
        "wall_s": wall.elapsed().as_secs_f64(),
        "bytes": (memory_now - memory).max(0.0),
    }))
}
