//! Measures what judging a false result of a batch of 64 texts takes: the whole batch, and the one item
//! that the accuser names. `cargo run --release -p edge-tasks --example bench_judge [-- MODEL_FOLDER]`;
//! without a folder with the built-in model.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark has a clock")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use edge_base::{TaskKind, Verdict, Work, codec};
use edge_embed::{Encoder, EncoderFiles, Model as _, Registry};
use edge_tasks::{EmbeddingPayload, Executor};

const PASSAGES: &str = include_str!("../tests/data/passages.txt");
const TEXTS: usize = 64;
const BYTES: usize = 1_000;

/// Microseconds that one execution takes, the least of `times`.
fn measure(executor: &Executor, work: &Work, times: u32) -> (f64, Vec<u8>) {
    let mut least = (f64::MAX, Vec::new());
    for _ in 0..times {
        let start = Instant::now();
        let result = executor.execute(work).expect("the batch is one");
        let took = start.elapsed().as_secs_f64() * 1e6;
        if took < least.0 {
            least = (took, result);
        }
    }
    least
}

fn main() {
    let mut models = Registry::builtin();
    let model = match std::env::args().nth(1) {
        None => edge_tasks::default_model(),
        Some(folder) => {
            let read = |name: &str| std::fs::read(Path::new(&folder).join(name)).ok();
            let contents = EncoderFiles::NAMES.map(read);
            let files = EncoderFiles::from_contents(&contents);
            let encoder = Encoder::from_files("encoder", &files).expect("a folder of a model");
            let id = encoder.id();
            models.insert(Arc::new(encoder)).expect("a model of its own");
            id
        }
    };
    let executor = Executor::with_models(models);
    let all: String = PASSAGES.lines().cycle().take(4 * TEXTS).collect::<Vec<_>>().join(" ");
    let text = |n: usize| all.chars().skip(n * 61).take(BYTES).collect();
    let payload = EmbeddingPayload { model, texts: (0..TEXTS).map(text).collect() }.encode();
    let kind = TaskKind::Embedding;
    let run = Work::Run { kind, payload: payload.as_slice().into() };
    let (whole, mut result) = measure(&executor, &run, 5);
    let byte = result.len() as u64 / 2;
    result[byte as usize] ^= 1;
    let bytes = result.len();
    let check = Work::CheckItem { kind, payload: payload.into(), result: result.into(), byte };
    let (item, verdict) = measure(&executor, &check, 20);
    assert!(matches!(codec::decode(&verdict), Ok(Verdict::False(_))), "a lie was not seen");
    println!("the batch {whole:>12.0} us\none item  {item:>12.0} us, of a result of {bytes} bytes");
    println!("ratio     {:>12.1}", whole / item);
}
