//! The encoder against numpy in float64 (`oracles/encoder.py`): a tiny random BERT that is committed, and
//! all-MiniLM-L6-v2 where its folder is found; then what bad files lead to.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::disallowed_methods, reason = "a test that looks for a model folder")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/tiny.rs"]
mod tiny;

use std::path::PathBuf;

use edge_embed::{EmbedError, Encoder, EncoderFiles, Model};
use edge_kernels::canon::{self, Kernels, NormalizeError};
use edge_kernels::simd;
use proptest::prelude::*;
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/tiny_bert.json");
const MINILM: &str = include_str!("golden/minilm.json");

fn rows(golden: &str) -> Vec<Value> {
    serde_json::from_str(golden).unwrap()
}

fn texts(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["text"].as_str().unwrap()).collect()
}

/// The greatest difference between embeddings and those of the golden file, which has billionths.
fn difference(got: &[f32], rows: &[Value], field: &str) -> f64 {
    let want = rows.iter().flat_map(|row| row[field].as_array().unwrap());
    let want: Vec<f64> = want.map(|value| value.as_f64().unwrap() / 1e9).collect();
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).fold(0.0, |worst, (got, want)| worst.max((f64::from(*got) - want).abs()))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn load(files: &EncoderFiles<'_>) -> Encoder {
    Encoder::from_files("tiny", files).unwrap()
}

#[test]
fn the_tiny_model_equals_numpy_in_both_modes_and_all_poolings() {
    let rows = rows(GOLDEN);
    let texts = texts(&rows);
    let first = tiny::FILES.pooling.map(|text| {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let text =
            text.replace("\"pooling_mode_cls_token\": false", "\"pooling_mode_cls_token\": true");
        text.replace("\"pooling_mode_mean_tokens\": true", "\"pooling_mode_mean_tokens\": false")
    });
    let first = first.as_ref().map(|text| text.as_bytes());
    let cases = [
        ("mean", tiny::FILES, 32),
        ("first", EncoderFiles { pooling: first, ..tiny::FILES }, 32),
        ("projected", EncoderFiles { projection: Some(tiny::PROJECTION), ..tiny::FILES }, 8),
    ];
    for (field, files, dim) in cases {
        let encoder = load(&files);
        assert_eq!((encoder.dim(), encoder.max_tokens(), encoder.name()), (dim, 38, "tiny"));
        let mut out = vec![7.0];
        encoder.embed(&texts, &mut out).unwrap();
        let canonical = difference(&out, &rows, field);
        assert!(canonical < 2e-6, "{field}: {canonical:e}");
        encoder.embed_fast(&texts, &mut out).unwrap();
        let fast = difference(&out, &rows, field);
        assert!(fast < 2e-6, "{field}, fast: {fast:e}");
        for (text, row) in texts.iter().zip(&rows) {
            let tokens = encoder.count_tokens(text).min(encoder.max_tokens());
            assert_eq!(row["tokens"], tokens, "{text}");
        }
    }
}

#[test]
fn canonical_bits_are_the_same_on_every_back_end_and_in_any_batch() {
    let rows = rows(GOLDEN);
    let texts = texts(&rows);
    let encoder = load(&tiny::FILES);
    let mut all = Vec::new();
    encoder.embed(&texts, &mut all).unwrap();
    for simd in simd::available() {
        let encoder = encoder.on(Kernels::on(simd).unwrap());
        for size in [1, 3, 20] {
            let mut joined = Vec::new();
            for batch in texts.chunks(size) {
                let mut out = Vec::new();
                encoder.embed(batch, &mut out).unwrap();
                joined.extend(out);
            }
            assert_eq!(bits(&joined), bits(&all), "{simd}, batches of {size}");
        }
    }
    assert_eq!(tiny::digest(Kernels::active()), tiny::DIGEST);
}

#[test]
fn vocab_txt_and_tokenizer_json_are_the_same_model_and_each_setting_another() {
    let base = load(&tiny::FILES);
    let lines = EncoderFiles { tokenizer: None, vocabulary: Some(tiny::VOCABULARY), ..tiny::FILES };
    assert_eq!(load(&lines).id(), base.id());
    assert_eq!(load(&EncoderFiles { modules: None, pooling: None, ..tiny::FILES }).id(), base.id());
    assert_eq!(Encoder::from_files("other", &tiny::FILES).unwrap().id(), base.id());
    let longer = EncoderFiles { sentence: None, ..tiny::FILES };
    assert_eq!(load(&longer).max_tokens(), 46);
    for (settings, most) in [
        (r#"{"do_lower_case":true,"model_max_length":20,"strip_accents":null}"#, 18),
        (r#"{"model_max_length":1000000000000000019884624838656}"#, 46),
        (r#"{"tokenizer_class":"BertTokenizer"}"#, 46),
    ] {
        let tokenizer_settings = Some(settings.as_bytes());
        assert_eq!(load(&EncoderFiles { tokenizer_settings, ..longer }).max_tokens(), most);
        assert_eq!(load(&EncoderFiles { tokenizer_settings, ..tiny::FILES }).id(), base.id());
    }
    let projected = EncoderFiles { projection: Some(tiny::PROJECTION), ..tiny::FILES };
    let mut weights = tiny::FILES.tensors.unwrap().to_vec();
    *weights.last_mut().unwrap() ^= 1;
    let changed = EncoderFiles { tensors: Some(&weights), ..tiny::FILES };
    let eight_bits = Encoder::download(&tiny::FILES).unwrap();
    let eight_bits = Encoder::from_download("tiny", &eight_bits).unwrap();
    let mut ids = vec![base.id(), eight_bits.id()];
    ids.extend([longer, projected, changed].map(|files| load(&files).id()));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[test]
fn an_empty_text_is_named_and_a_long_one_is_cut() {
    let encoder = load(&tiny::FILES);
    let mut out = vec![1.0];
    let error = encoder.embed(&["a", " \t", ""], &mut out).unwrap_err();
    assert_eq!(error, EmbedError::EmptyText { index: 1 });
    assert!(out.is_empty());
    encoder.embed(&[], &mut out).unwrap();
    assert!(out.is_empty());
    let (long, cut) = ("a ".repeat(5000), "a ".repeat(38));
    encoder.embed(&[&long, &cut, "a"], &mut out).unwrap();
    assert_eq!(bits(&out[..32]), bits(&out[32..64]));
    assert_ne!(bits(&out[..32]), bits(&out[64..]));
}

/// 8 bits move an embedding of the tiny model little; decoding is exact and repeatable.
#[test]
fn a_download_is_near_the_folder_and_a_damaged_one_is_refused() {
    let rows = rows(GOLDEN);
    let texts = texts(&rows);
    let file = Encoder::download(&tiny::FILES).unwrap();
    let (exact, eight_bits) = (load(&tiny::FILES), Encoder::from_download("tiny", &file).unwrap());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    exact.embed(&texts, &mut a).unwrap();
    eight_bits.embed(&texts, &mut b).unwrap();
    for (a, b) in a.chunks(32).zip(b.chunks(32)) {
        assert!(canon::dot(a, b) > 0.9990, "{}", canon::dot(a, b));
    }
    let error = |bytes: &[u8]| Encoder::from_download("tiny", bytes).unwrap_err().to_string();
    for at in (0..file.len()).step_by(97).chain([0, 8, 12, 16, file.len() - 1]) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x11;
        let said = error(&damaged);
        assert!(said.contains("checksum") || at < 12, "byte {at}: {said}");
    }
    for end in (0..file.len()).step_by(211) {
        error(&file[..end]);
    }
    let mut newer = file.clone();
    newer[8] = 2;
    assert_eq!(error(&newer), "the model file has version 2, this program reads 1; update it");
    assert_eq!(error(b"PK\x03\x04"), "model file is malformed: it does not begin as one");
}

/// Bytes changed behind the checksum: whatever they say, no panic and no large allocation.
#[test]
fn a_download_with_a_right_checksum_may_still_lie() {
    let file = Encoder::download(&tiny::FILES).unwrap();
    let content = file.len() - 32;
    let mut refused = 0;
    for at in (8..1200.min(content)).step_by(2).chain((1200..content).step_by(501)) {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut lie = file[..content].to_vec();
            lie[at] = value;
            let checksum = edge_base::Digest::of(&lie);
            lie.extend(checksum.as_bytes());
            match Encoder::from_download("tiny", &lie) {
                Ok(encoder) => {
                    let mut out = Vec::new();
                    let _ = encoder.embed(&["hello world"], &mut out);
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

fn edited(text: Option<&[u8]>, from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(text.unwrap()).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn what_is_not_such_an_encoder_is_named() {
    let f = tiny::FILES;
    let config = |from: &str, to: &str| edited(f.config, from, to);
    let tokenizer = |from: &str, to: &str| edited(f.tokenizer, from, to);
    let check = |files: EncoderFiles<'_>, why: &str| {
        let error = Encoder::from_files("tiny", &files).unwrap_err().to_string();
        assert!(error.contains(why), "{error} (expected: {why})");
    };
    let configs = [
        ("\"bert\"", "\"mpnet\"", "config.json: model_type is mpnet; supported: bert"),
        ("\"bert\"", "\"roberta\"", "model_type is roberta"),
        ("\"model_type\"", "\"model\"", "model_type is not given"),
        ("BertModel", "RobertaModel", "architectures is RobertaModel"),
        ("\"gelu\"", "\"gelu_new\"", "hidden_act is"),
        ("\"gelu\",", "\"gelu\", \"position_embedding_type\": \"relative_key\",", "relative_key"),
        ("\"gelu\",", "\"gelu\", \"is_decoder\": true,", "is_decoder is true"),
        ("\"hidden_size\": 32", "\"hidden_size\": 0", "hidden_size is 0, not in 1..=4096"),
        ("\"hidden_size\": 32", "\"hidden_size\": 33", "hidden_size 33"),
        ("\"hidden_size\": 32", "\"hidden_size\": 4294967295", "hidden_size is 4294967295"),
        ("\"hidden_size\": 32", "\"hidden_size\": -1", "config.json is malformed"),
        ("heads\": 4", "heads\": 5", "no multiple of num_attention_heads 5"),
        ("heads\": 4", "heads\": 0", "num_attention_heads is 0"),
        ("layers\": 2", "layers\": 1000", "num_hidden_layers is 1000"),
        (
            "layers\": 2",
            "layers\": 3",
            "tensor encoder.layer.2.attention.self.query.weight is missing",
        ),
        ("_size\": 64", "_size\": 65", "has shape [64, 32], the configuration says [65, 32]"),
        ("vocab_size\": 150", "vocab_size\": 149", "150 tokens, but vocab_size"),
        ("vocab_size\": 150", "vocab_size\": 151", "word_embeddings.weight has shape [150, 32]"),
        ("1e-12", "0.0", "layer_norm_eps is 0"),
        ("1e-12", "\"small\"", "config.json is malformed"),
    ];
    for (from, to, why) in configs {
        check(EncoderFiles { config: Some(&config(from, to)), ..f }, why);
    }
    let added = r#"{"content":"a","id":1},"#.repeat(5000);
    let tokenizers = [
        (
            "\"WordPiece\",\"unk",
            "\"BPE\",\"unk",
            "tokenizer.json: model.type is \"BPE\"; supported",
        ),
        ("\"WordPiece\",\"unk", "\"Unigram\",\"unk", "model.type is \"Unigram\""),
        ("\"lowercase\":true", "\"lowercase\":false", "lowercase is false"),
        ("\"strip_accents\":null", "\"strip_accents\":false", "strip_accents is false"),
        ("\"BertNormalizer\"", "\"NFC\"", "normalizer.type is \"NFC\""),
        ("\"BertPreTokenizer\"", "\"Whitespace\"", "pre_tokenizer.type is \"Whitespace\""),
        (
            "\"continuing_subword_prefix\":\"##\"",
            "\"continuing_subword_prefix\":\"@@\"",
            "prefix is",
        ),
        ("\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":50", "word is 50"),
        ("\"TemplateProcessing\"", "\"RobertaProcessing\"", "post_processor is"),
        ("\"hello\":", "\"hello2\":100,\"hello\":", "tokenizer.json is malformed"),
        ("\"hello\":", "\"hello\":1,\"hello\":", "token \"hello\" occurs twice"),
        ("\"vocab\":{", "\"vocab\":[[\"a\",0.5]],\"x\":{", "no model.vocab"),
        ("\"added_tokens\":[", &format!("\"added_tokens\":[{}", added), "more than 4096"),
        ("\"single\":[", &format!("\"single\":[{}", "{},".repeat(20)), "more than 16"),
        ("\"lowercase\":true", "\"lowercase\":[true]", "lowercase is []"),
        ("\"[CLS]\":2", "\"[XLS]\":2", "added_tokens is \"[CLS]\""),
    ];
    for (from, to, why) in tokenizers {
        check(EncoderFiles { tokenizer: Some(&tokenizer(from, to)), ..f }, why);
    }
    let max = edited(
        f.pooling,
        "\"pooling_mode_max_tokens\": false",
        "\"pooling_mode_max_tokens\": true",
    );
    check(EncoderFiles { pooling: Some(&max), ..f }, "max_tokens with mean_tokens");
    let dense = edited(f.modules, "models.Normalize", "models.Dense");
    check(EncoderFiles { modules: Some(&dense), ..f }, "Transformer, Pooling, Dense");
    let elsewhere = edited(f.modules, "1_Pooling", "2_Pooling");
    check(EncoderFiles { modules: Some(&elsewhere), ..f }, "path of a module is \"2_Pooling\"");
    check(EncoderFiles { pooling: None, ..f }, "the folder has no 1_Pooling/config.json");
    check(EncoderFiles { config: None, ..f }, "the folder has no config.json");
    check(EncoderFiles { tensors: None, ..f }, "the folder has no model.safetensors");
    check(EncoderFiles { tokenizer: None, ..f }, "the folder has no tokenizer.json");
    check(EncoderFiles { tokenizer: Some(b"{}"), ..f }, "tokenizer.json is malformed");
    check(EncoderFiles { tokenizer: Some(b"\xff"), ..f }, "tokenizer.json is malformed");
    check(EncoderFiles { projection: Some(b"123"), ..f }, "3 bytes are no [32, n] of f32");
    let lines = EncoderFiles { tokenizer: None, vocabulary: Some(b"[UNK]\n[CLS]\na\nb"), ..f };
    check(lines, "vocabulary has no [SEP]");
    let short = edited(f.sentence, "40", "2");
    check(EncoderFiles { sentence: Some(&short), ..f }, "max_seq_length is 2, not in 3..=48");
    let long = edited(f.sentence, "40", "49");
    check(EncoderFiles { sentence: Some(&long), ..f }, "max_seq_length is 49, not in 3..=48");
    let settings = [
        (r#"{"do_lower_case":false}"#, "tokenizer_config.json: do_lower_case is false"),
        (r#"{"strip_accents":false}"#, "strip_accents is false"),
        (r#"{"tokenize_chinese_chars":false}"#, "tokenize_chinese_chars is false"),
        (r#"{"truncation_side":"left"}"#, "truncation_side is \"left\"; supported: right"),
        (r#"{"do_lower_case":[1,[2]]}"#, "do_lower_case is []"),
        ("1", "tokenizer_config.json is malformed"),
    ];
    for (text, why) in settings {
        check(EncoderFiles { tokenizer_settings: Some(text.as_bytes()), ..f }, why);
    }
    let class = Some(&br#"{"tokenizer_class":"BertJapaneseTokenizer"}"#[..]);
    let lines = EncoderFiles { tokenizer: None, vocabulary: Some(tiny::VOCABULARY), ..f };
    check(EncoderFiles { tokenizer_settings: class, ..lines }, "BertJapaneseTokenizer");
    let prompts = [
        (r#"{"default_prompt_name":"query"}"#, "default_prompt_name is \"query\""),
        (r#"{"similarity_fn_name":"euclidean"}"#, "similarity_fn_name is \"euclidean\""),
    ];
    for (text, why) in prompts {
        check(EncoderFiles { prompts: Some(text.as_bytes()), ..f }, why);
    }
    let dot = Some(&br#"{"similarity_fn_name":"dot","prompts":{"query":"q: "}}"#[..]);
    load(&EncoderFiles { prompts: dot, ..f });
    check(EncoderFiles { prompts: dot, modules: None, ..f }, "similarity_fn_name is \"dot\"");
    let nan = [f32::NAN; 32].map(f32::to_le_bytes).concat();
    check(EncoderFiles { projection: Some(&nan), ..f }, "not finite");
    for name in ["", "Upper", "with space", "a/b", &"a".repeat(65)] {
        assert!(Encoder::from_files(name, &f).unwrap_err().to_string().starts_with("model name"));
    }
}

/// The tiny model's tensors as F32, each value changed by `change`, which is told the tensor's name.
fn changed_tensors(change: impl Fn(&str, f32) -> f32) -> Vec<u8> {
    let bytes = tiny::FILES.tensors.unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut tensors: Vec<(&String, &mut Value)> = header
        .as_object_mut()
        .unwrap()
        .iter_mut()
        .filter(|(name, _)| *name != "__metadata__")
        .collect();
    tensors.sort_by_key(|(_, entry)| entry["data_offsets"][0].as_u64());
    let (mut data, mut at) = (Vec::new(), 8 + length);
    for (name, entry) in tensors {
        let count: u64 =
            entry["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product();
        let start = data.len();
        for half in bytes[at..].chunks(2).take(count as usize) {
            let half = u16::from_le_bytes([half[0], half[1]]);
            // Of a number that is not subnormal in binary16.
            let bits =
                u32::from(half & 0x8000) << 16 | ((u32::from(half & 0x7fff) << 13) + (112 << 23));
            data.extend(change(name, f32::from_bits(bits)).to_le_bytes());
        }
        at += 2 * count as usize;
        entry["dtype"] = "F32".into();
        entry["data_offsets"] = serde_json::json!([start, data.len()]);
    }
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// A model whose numbers grow beyond `f32` on the way has no embeddings, in either arithmetic.
#[test]
fn what_overflows_is_an_error_and_never_a_vector() {
    let texts = ["hello world", "the quick fox"];
    let tensors = changed_tensors(|_, value| value);
    let same = load(&EncoderFiles { tensors: Some(&tensors), ..tiny::FILES });
    let (mut out, mut want) = (Vec::new(), Vec::new());
    same.embed_fast(&texts, &mut out).unwrap();
    load(&tiny::FILES).embed_fast(&texts, &mut want).unwrap();
    assert!(out.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-3));
    for (part, factor) in [
        ("layer.0.attention.self.query.weight", 3e38),
        ("layer.1.attention.self.key.weight", 3e38),
        ("layer.0.attention.self.value.weight", 1e38),
        ("layer.1.intermediate.dense.weight", 3e38),
        ("layer.1.output.dense.weight", 3e38),
        ("embeddings.LayerNorm.weight", 1e37),
        // Large enough for the variance alone to overflow.
        ("layer.0.output.dense.weight", 1e25),
        ("layer.1.output.dense.bias", 1e25),
        ("word_embeddings.weight", 1e25),
    ] {
        let change = |name: &str, value: f32| {
            if name.ends_with(part) { (value * factor).clamp(f32::MIN, f32::MAX) } else { value }
        };
        let tensors = changed_tensors(change);
        let encoder = load(&EncoderFiles { tensors: Some(&tensors), ..tiny::FILES });
        for result in [encoder.embed_fast(&texts, &mut out), encoder.embed(&texts, &mut out)] {
            let source = NormalizeError::NonFinite;
            assert_eq!(result, Err(EmbedError::NoDirection { index: 0, source }), "{part}");
            assert!(out.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn files_changed_anywhere_never_panic(
        which in 0usize..6, at in any::<prop::sample::Index>(), value in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let f = tiny::FILES;
        let slots = [f.config, f.tensors, f.tokenizer, f.modules, f.pooling, f.sentence];
        let mut bytes = slots[which].unwrap().to_vec();
        // The header of the tensors is where they can lie.
        let limit = bytes.len().min(4000);
        let at = at.index(limit);
        if cut { bytes.truncate(at) } else { bytes[at] = value }
        let mut files = f;
        let slot = match which {
            0 => &mut files.config,
            1 => &mut files.tensors,
            2 => &mut files.tokenizer,
            3 => &mut files.modules,
            4 => &mut files.pooling,
            _ => &mut files.sentence,
        };
        *slot = Some(&bytes);
        if let Ok(encoder) = Encoder::from_files("tiny", &files) {
            let mut out = Vec::new();
            if encoder.embed(&["hello world"], &mut out).is_ok() {
                prop_assert!((canon::sum_squares(&out) - 1.0).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn any_text_has_an_embedding_or_no_token(text in any::<String>()) {
        let encoder = load(&tiny::FILES);
        let mut out = Vec::new();
        match encoder.embed(&[&text], &mut out) {
            Ok(()) => {
                prop_assert!((canon::sum_squares(&out) - 1.0).abs() < 1e-5);
                prop_assert!(out.iter().all(|v| v.is_finite() && v.to_bits() != 0x8000_0000));
            }
            Err(error) => {
                prop_assert_eq!(error, EmbedError::EmptyText { index: 0 });
                prop_assert_eq!(encoder.count_tokens(&text), 0);
            }
        }
    }
}

/// The folder of all-MiniLM-L6-v2: `EDGE_MINILM`, or where `bench_embed` keeps what it fetched.
fn minilm() -> Option<PathBuf> {
    let named = std::env::var_os("EDGE_MINILM").map(PathBuf::from);
    let home = std::env::home_dir().map(|home| home.join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
    let kept = cache.map(|cache| cache.join("edge-net/rivals-embed/minilm"));
    [named, kept].into_iter().flatten().find(|folder| folder.join("model.safetensors").is_file())
}

#[test]
fn minilm_equals_the_reference() {
    let Some(folder) = minilm() else {
        println!("not run: no model folder (EDGE_MINILM; `cargo xtask bench embed` fetches one)");
        return;
    };
    let contents = EncoderFiles::NAMES.map(|name| std::fs::read(folder.join(name)).ok());
    let files = EncoderFiles::from_contents(&contents);
    let encoder = Encoder::from_files("minilm", &files).unwrap();
    assert_eq!((encoder.dim(), encoder.max_tokens()), (384, 254));
    let rows = rows(MINILM);
    let texts = texts(&rows);
    let mut out = Vec::new();
    encoder.embed_fast(&texts, &mut out).unwrap();
    let fast = difference(&out, &rows, "embedding");
    encoder.embed(&texts, &mut out).unwrap();
    let canonical = difference(&out, &rows, "embedding");
    println!("greatest difference to float64: fast {fast:.2e}, canonical {canonical:.2e}");
    assert!(fast < 1e-5 && canonical < 1e-4);
    for (text, row) in texts.iter().zip(&rows) {
        assert_eq!(row["tokens"], encoder.count_tokens(text).min(254), "{text}");
    }
}
