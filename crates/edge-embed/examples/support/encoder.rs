//! The encoder and the tokenizer beside onnxruntime and `tokenizers`, in CPU time of one thread.

use std::hint::black_box;
use std::path::Path;

use edge_embed::{Encoder, EncoderFiles, Model};
use edge_kernels::canon::{self, Kernels};
use edge_kernels::simd;
use rustix::time::{ClockId, clock_gettime};

use super::report;
use super::rival::{self, Rival};

/// Two hundred one-line package synopses, 12 tokens in the mean with `[CLS]` and `[SEP]`: the texts of a golden file.
const GOLDEN: &str = include_str!("../../tests/golden/static_model.json");
/// Ours and the rival's turn by turn, this often; medians are reported.
const ROUNDS: usize = 5;
const BATCH: usize = 64;
/// Our tokenizer takes all texts this often in a round, which would otherwise be too short to time.
const TOKENIZE_TIMES: usize = 20;

fn cpu_seconds(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    };
    let start = now();
    work();
    now() - start
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times both in turn and reports units a second: ours does the first number of them in a round, the rival
/// the second.
fn beside(
    rival: &mut Rival,
    [ours_units, rival_units]: [f64; 2],
    [bench, metric]: [&str; 2],
    task: &str,
    mut ours: impl FnMut(),
) {
    ours();
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        mine.push(cpu_seconds(&mut ours));
        theirs.push(rival.seconds(task));
    }
    report(bench, metric, ours_units / median(mine), task, rival_units / median(theirs));
}

/// Prints nothing but a reason where the rivals cannot be had.
pub(crate) fn run() {
    let golden: serde_json::Value = serde_json::from_str(GOLDEN).expect("a golden file");
    let rows = golden["rows"].as_array().expect("rows");
    let short: Vec<&str> = rows.iter().filter_map(|row| row["text"].as_str()).collect();
    // Ragged paragraphs: 1 to 20 synopses each.
    let long: Vec<String> = (0..60).map(|n| short[n * 3..][..1 + n * 7 % 20].join(". ")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    if let Err(why) = rival::model().and_then(|model| measure(&model, &short, &long)) {
        eprintln!("encoder and rivals not run: {why}");
    }
}

fn measure(folder: &Path, short: &[&str], long: &[&str]) -> Result<(), String> {
    let contents = EncoderFiles::NAMES.map(|name| std::fs::read(folder.join(name)).ok());
    let files = EncoderFiles::from_contents(&contents);
    let encoder = Encoder::from_files("minilm", &files).map_err(|error| error.to_string())?;
    for (name, texts) in [("short", short), ("long", long)] {
        let mut rival = Rival::start(folder, name, texts)?;
        let count = texts.len() as f64;
        let tokens: usize = texts.iter().map(|text| encoder.count_tokens(text)).sum();
        eprintln!(
            "{count} {name} texts of {:.1} tokens; CPU time of one thread",
            tokens as f64 / count
        );
        tokenizer(&mut rival, &encoder, name, texts);
        modes(&mut rival, &encoder, name, texts);
        agreement(&mut rival, &encoder, name, texts);
    }
    quality(&encoder, &files, short);
    Ok(())
}

fn tokenizer(rival: &mut Rival, encoder: &Encoder, name: &str, texts: &[&str]) {
    let mut ids = Vec::new();
    let bench = format!("tokenize_{name}");
    for (metric, task) in [("texts", "tokenize"), ("texts_beside_one_call", "tokenize_batch")] {
        let units = [(TOKENIZE_TIMES * texts.len()) as f64, texts.len() as f64];
        beside(rival, units, [&bench, metric], task, || {
            for text in texts.iter().cycle().take(TOKENIZE_TIMES * texts.len()) {
                ids.clear();
                encoder.tokenizer().encode(black_box(text), 254, &mut ids);
                black_box(&ids);
            }
        });
    }
}

fn modes(rival: &mut Rival, encoder: &Encoder, name: &str, texts: &[&str]) {
    let count = texts.len() as f64;
    let mut out = Vec::new();
    let bench = format!("encoder_fast_{name}");
    for (metric, size) in [("texts_in_batches_of_64", BATCH), ("texts_in_one_batch", texts.len())] {
        beside(rival, [count; 2], [&bench, metric], "onnx_with_tokenizer", || {
            for batch in texts.chunks(size) {
                encoder.embed_fast(black_box(batch), &mut out).expect("no text is empty");
            }
        });
    }
    beside(rival, [50.0; 2], [&bench, "texts_one_by_one"], "onnx_one", || {
        for text in &texts[..50] {
            encoder.embed_fast(black_box(&[*text]), &mut out).expect("no text is empty");
        }
    });
    for simd in simd::available().into_iter().skip(1) {
        let encoder = encoder.on(Kernels::on(simd).expect("invariant: listed as available"));
        let bench = format!("encoder_canonical_{simd}_{name}");
        beside(
            rival,
            [count; 2],
            [&bench, "texts_in_batches_of_64"],
            "onnx_with_tokenizer",
            || {
                for batch in texts.chunks(BATCH) {
                    encoder.embed(black_box(batch), &mut out).expect("no text is empty");
                }
            },
        );
    }
}

/// The greatest difference to onnxruntime's numbers.
fn agreement(rival: &mut Rival, encoder: &Encoder, name: &str, texts: &[&str]) {
    let (theirs, mut out) = (rival.embeddings(), Vec::new());
    for (mode, fast) in [("fast", true), ("canonical", false)] {
        if fast {
            encoder.embed_fast(texts, &mut out).expect("no text is empty");
        } else {
            encoder.embed(texts, &mut out).expect("no text is empty");
        }
        assert_eq!(out.len(), theirs.len());
        let worst = out.iter().zip(&theirs).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        println!(
            "{{\"bench\":\"encoder_{mode}_{name}\",\"metric\":\"difference_to_onnxruntime\",\
             \"value\":{worst:.2e},\"unit\":\"1\"}}"
        );
    }
}

/// What 8 bits cost: the mean cosine with the full weights, and the size.
fn quality(encoder: &Encoder, files: &EncoderFiles<'_>, texts: &[&str]) {
    let file = Encoder::download(files).expect("a valid folder");
    let eight_bits = Encoder::from_download("minilm-i8", &file).expect("just made");
    let (mut full, mut out) = (Vec::new(), Vec::new());
    encoder.embed_fast(texts, &mut full).expect("no text is empty");
    eight_bits.embed_fast(texts, &mut out).expect("no text is empty");
    let mut total = 0f64;
    for (a, b) in full.chunks(384).zip(out.chunks(384)) {
        total += f64::from(canon::dot(a, b));
    }
    let full_bytes = files.tensors.map_or(0, <[u8]>::len) as f64;
    println!(
        "{{\"bench\":\"download_i8\",\"metric\":\"size\",\"value\":{},\"unit\":\"B\",\
         \"rival\":\"safetensors\",\"rival_value\":{full_bytes},\"ratio\":{:.2}}}",
        file.len(),
        full_bytes / file.len() as f64
    );
    println!(
        "{{\"bench\":\"download_i8\",\"metric\":\"mean_cosine\",\"value\":{:.5},\"unit\":\"1\"}}",
        total / texts.len() as f64
    );
}
