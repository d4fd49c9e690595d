//! The encoder and the tokenizer beside onnxruntime and `tokenizers`, in CPU time of one thread.

use std::hint::black_box;
use std::path::Path;

use edge_embed::{Encoder, EncoderFiles, Model};
use edge_kernels::canon::{self, Kernels};
use edge_kernels::simd;
use rustix::time::{ClockId, clock_gettime};

use super::report;
use super::rival::{self, Rival};

/// Two hundred one-line package synopses, 12 tokens in the mean: the texts of a golden file.
const GOLDEN: &str = include_str!("../../tests/golden/static_model.json");
/// Ours and the rival's turn by turn, this often; medians are reported.
const ROUNDS: usize = 9;
const BATCH: usize = 64;

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

/// Times both in turn and reports `units` a second.
fn beside(rival: &mut Rival, units: f64, line: [&str; 2], task: &str, mut ours: impl FnMut()) {
    ours();
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        mine.push(cpu_seconds(&mut ours));
        theirs.push(rival.seconds(task));
    }
    let [bench, metric] = line;
    report(bench, metric, units / median(mine), task, units / median(theirs));
}

/// Prints nothing but a reason where the rivals cannot be had.
pub(crate) fn run() {
    let golden: serde_json::Value = serde_json::from_str(GOLDEN).expect("a golden file");
    let rows = golden["rows"].as_array().expect("rows");
    let texts: Vec<&str> = rows.iter().filter_map(|row| row["text"].as_str()).collect();
    let started = rival::model().and_then(|model| Ok((Rival::start(&model, &texts)?, model)));
    match started {
        Ok((mut rival, model)) => measure(&mut rival, &model, &texts),
        Err(why) => eprintln!("encoder and rivals not run: {why}"),
    }
}

fn measure(rival: &mut Rival, folder: &Path, texts: &[&str]) {
    let contents = EncoderFiles::NAMES.map(|name| std::fs::read(folder.join(name)).ok());
    let files = EncoderFiles::from_contents(&contents);
    let encoder = Encoder::from_files("minilm", &files).expect("all-MiniLM-L6-v2");
    let tokenizer = encoder.tokenizer();
    let count = texts.len() as f64;
    let tokens: usize = texts.iter().map(|text| tokenizer.count(text)).sum();
    eprintln!("{count} texts of {:.1} tokens; CPU time of one thread", tokens as f64 / count);

    let mut ids = Vec::new();
    // A hundred times all texts would take the rival long; its clock is fine enough for one.
    beside(rival, count, ["tokenize", "texts_beside"], "tokenize", || {
        for text in texts {
            ids.clear();
            tokenizer.encode(black_box(text), 254, &mut ids);
            black_box(&ids);
        }
    });
    let mut out = Vec::new();
    beside(rival, count, ["encoder_fast", "texts"], "onnx_with_tokenizer", || {
        for batch in texts.chunks(BATCH) {
            encoder.embed_fast(black_box(batch), &mut out).expect("no text is empty");
        }
    });
    beside(rival, count, ["encoder_fast_one_batch", "texts"], "onnx_with_tokenizer", || {
        encoder.embed_fast(black_box(texts), &mut out).expect("no text is empty");
    });
    beside(rival, 50.0, ["encoder_fast_one_by_one", "texts"], "onnx_one", || {
        for text in &texts[..50] {
            encoder.embed_fast(black_box(&[*text]), &mut out).expect("no text is empty");
        }
    });
    for simd in simd::available().into_iter().skip(1) {
        let encoder = encoder.on(Kernels::on(simd).expect("invariant: listed as available"));
        let bench = format!("encoder_canonical_{simd}");
        beside(rival, count, [&bench, "texts"], "onnx_with_tokenizer", || {
            for batch in texts.chunks(BATCH) {
                encoder.embed(black_box(batch), &mut out).expect("no text is empty");
            }
        });
    }
    quality(&encoder, &files, texts);
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
    report("download_i8", "bytes", file.len() as f64, "safetensors", full_bytes);
    println!(
        "{{\"bench\":\"download_i8\",\"metric\":\"mean_cosine\",\"value\":{:.5},\"unit\":\"1\"}}",
        total / texts.len() as f64
    );
}
