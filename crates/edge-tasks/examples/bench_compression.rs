//! Size and speed of compression beside the reference implementation's levels 1 and 3.
//! `cargo xtask bench compression`. The rival is the program `zstd` (its own benchmark mode, one
//! thread, data in memory); where there is none, ours are printed alone and a remark says so.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark has a clock")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use edge_base::{TaskKind, Work};
use edge_tasks::compression::{CompressionPayload, DATA_BYTES_MAX};
use edge_tasks::{EmbeddingPayload, EmbeddingResult, Executor, default_model};

const PASSAGES: &str = include_str!("../tests/data/passages.txt");
const ROUNDS: usize = 5;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let executor = Executor::new();
    let run =
        |kind, payload: Vec<u8>| executor.execute(&Work::Run { kind, payload: payload.into() });
    let texts: Vec<String> = PASSAGES.lines().take(256).map(str::to_owned).collect();
    let payload = EmbeddingPayload { model: default_model(), texts };
    let result = EmbeddingResult::decode(&run(TaskKind::Embedding, payload.encode())?)?;
    let vectors = result.vectors.iter().flat_map(|number| number.to_le_bytes()).collect();
    let sets = [
        ("passages", PASSAGES.as_bytes().to_vec()),
        ("sources", sources(Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no parent")?)?),
        ("vectors", vectors),
    ];
    for (name, data) in sets {
        let less = CompressionPayload::compress(data.clone());
        let (frame, down) = timed(|| run(TaskKind::Compression, less.encode()))?;
        let back = CompressionPayload::decompress(frame.clone(), None);
        let (out, up) = timed(|| run(TaskKind::Compression, back.encode()))?;
        if out != data {
            return Err("the data did not come back".into());
        }
        let rate = |seconds: f64| data.len() as f64 / seconds / 1e6;
        let ours = [frame.len() as f64, rate(down), rate(up)];
        let mut rivals = Vec::new();
        for level in [1, 3] {
            match reference(&data, level) {
                Ok(found) => rivals.push((format!("zstd -{level}"), found)),
                Err(error) => eprintln!("zstd -{level}: not run: {error}"),
            }
        }
        print(&format!("compression/{name}"), &ours, &rivals);
    }
    Ok(())
}

/// The files of this project's packages, one after the other, as far as a task takes them.
fn sources(folder: &Path) -> Result<Vec<u8>, Failure> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut text = Vec::new();
    for file in files {
        text.extend(std::fs::read(file)?);
    }
    text.truncate(DATA_BYTES_MAX);
    Ok(text)
}

/// The result and the median seconds of a few runs.
fn timed<T, E>(mut work: impl FnMut() -> Result<T, E>) -> Result<(T, f64), E> {
    let mut result = work()?;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        result = work()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok((result, times[ROUNDS / 2]))
}

/// Bytes, and MB/s there and back, by `zstd -bLEVEL`.
fn reference(data: &[u8], level: u32) -> Result<[f64; 3], Failure> {
    let file = std::env::temp_dir().join(format!("edge-net-bench-{}", std::process::id()));
    std::fs::write(&file, data)?;
    let output =
        Command::new("zstd").arg(format!("-b{level}")).args(["-i1", "--"]).arg(&file).output();
    std::fs::remove_file(&file)?;
    let output = output?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    // ` 3#name : 79778 -> 25000 (x3.191), 200.0 MB/s, 900.0 MB/s`, rewritten in place.
    let line = text.rsplit(['\r', '\n']).find(|line| line.matches("MB/s").count() == 2);
    let line = line.ok_or_else(|| format!("it said `{}`", text.trim()))?;
    let number = |before: &str, after: &str| -> Option<f64> {
        let (_, rest) = line.split_once(before)?;
        rest.split_once(after)?.0.trim().split(',').next_back()?.trim().parse().ok()
    };
    let size = number("->", "(").ok_or("no size")?;
    let mut rates = line.split("MB/s").filter_map(|part| {
        part.rsplit(|c: char| c != '.' && !c.is_ascii_digit()).find(|word| !word.is_empty())
    });
    let mut rate = || rates.next().and_then(|word| word.parse().ok()).ok_or("no rate");
    Ok([size, rate()?, rate()?])
}

#[allow(clippy::print_stdout)]
fn print(bench: &str, ours: &[f64; 3], rivals: &[(String, [f64; 3])]) {
    let metrics = [("size", "bytes"), ("compress", "MB/s"), ("decompress", "MB/s")];
    for (place, (metric, unit)) in metrics.into_iter().enumerate() {
        let value = ours[place];
        let line = format!(
            r#"{{"bench":"{bench}","metric":"{metric}","value":{value:.1},"unit":"{unit}""#
        );
        if rivals.is_empty() {
            println!("{line}}}");
        }
        for (rival, theirs) in rivals {
            let theirs = theirs[place];
            let ratio = if unit == "bytes" { theirs / value } else { value / theirs };
            let theirs =
                format!(r#""rival":"{rival}","rival_value":{theirs:.1},"ratio":{ratio:.3}"#);
            println!("{line},{theirs}}}");
        }
    }
}
