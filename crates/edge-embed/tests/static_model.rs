//! The static model against an independent numpy computation (`oracles/static_model.py`), over all
//! back ends of the kernels, and with inputs of every size.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::disallowed_methods)] // A test of a time bound needs a clock; the crate has none.
#![allow(clippy::unwrap_used)] // Helpers of tests are not seen as tests.

use std::time::{Duration, Instant};

use edge_base::Digest;
use edge_embed::{EmbedError, Model, StaticModel};
use edge_kernels::canon::{self, Kernels};
use edge_kernels::simd;
use proptest::prelude::*;
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/static_model.json");
const VECTORS: &str = include_str!("../model/test_vectors.json");

fn embed(texts: &[&str]) -> Result<Vec<f32>, EmbedError> {
    let mut out = vec![f32::NAN; 3];
    StaticModel::builtin().embed(texts, &mut out).map(|()| out)
}

fn digest(row: &[f32]) -> String {
    let bytes: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
    Digest::of(&bytes).to_hex()
}

fn golden() -> (Value, Vec<String>) {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    let texts = rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
    (golden, texts)
}

#[test]
fn equals_the_test_vectors_that_came_with_the_table() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for vector in vectors.as_array().unwrap() {
        let text = vector["text"].as_str().unwrap();
        let mut ids = Vec::new();
        StaticModel::builtin().tokenizer().encode(text, 512, &mut ids);
        assert_eq!(Value::from(ids), vector["ids"], "{text}");
        let row = embed(&[text]).unwrap();
        for (got, want) in row.iter().zip(vector["first8"].as_array().unwrap()) {
            assert!((f64::from(*got) - want.as_f64().unwrap()).abs() < 1e-6, "{text}");
        }
    }
    assert_eq!(vectors.as_array().unwrap().len(), 2);
}

#[test]
fn equals_the_plain_formula_in_f64_within_1e_5() {
    let (golden, texts) = golden();
    let rows = golden["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 200);
    for (text, want) in texts.iter().zip(rows) {
        let row = embed(&[text]).unwrap();
        let tokens = want["tokens"].as_u64().unwrap() as usize;
        assert_eq!(StaticModel::builtin().count_tokens(text), tokens, "{text}");
        let want = want["millionths"].as_array().unwrap();
        assert_eq!(row.len(), want.len());
        for (got, want) in row.iter().zip(want) {
            let want = want.as_f64().unwrap() / 1e6;
            assert!((f64::from(*got) - want).abs() < 1e-5, "{text}: {got} for {want}");
        }
    }
}

#[test]
fn equals_the_canonical_bits_of_numpy_on_every_back_end_and_in_any_batch() {
    let (golden, texts) = golden();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let model = StaticModel::builtin();
    for simd in simd::available() {
        let kernels = Kernels::on(simd).unwrap();
        let mut out = Vec::new();
        model.embed_on(kernels, &texts, &mut out).unwrap();
        assert_eq!(digest(&out), golden["sha256"].as_str().unwrap(), "{simd}");
        for (row, want) in out.chunks(model.dim()).zip(golden["rows"].as_array().unwrap()) {
            assert_eq!(digest(row)[..16], want["sha256"].as_str().unwrap()[..], "{simd}");
        }
        for size in [1, 7, 64] {
            let mut joined = Vec::new();
            for batch in texts.chunks(size) {
                let mut out = Vec::new();
                model.embed_on(kernels, batch, &mut out).unwrap();
                joined.extend(out);
            }
            assert_eq!(digest(&joined), digest(&out), "{simd}, batches of {size}");
        }
    }
}

#[test]
fn reads_512_tokens_and_no_more() {
    let (golden, _) = golden();
    let model = StaticModel::builtin();
    let long = "unaffable ".repeat(400);
    assert_eq!(model.count_tokens(&long), 1200);
    let row = embed(&[&long]).unwrap();
    assert_eq!(digest(&row)[..16], golden["cut_sha256"].as_str().unwrap()[..]);
    // "una ##ffa" are tokens 511 and 512: what follows them is not read, they are.
    let cut = "unaffable ".repeat(170);
    let digest_of = |text: String| digest(&embed(&[&text]).unwrap());
    assert_eq!(digest_of(format!("{cut}unaffa zebra zebra")), digest(&row));
    assert_ne!(digest_of(format!("{cut}una zebra")), digest(&row));
}

#[test]
fn the_first_empty_text_is_named() {
    let cases = [
        (vec![""], 0),
        (vec!["a", "", " "], 1),
        (vec!["a", "b", "\t\r\n\u{a0}\u{3000}"], 2),
        (vec!["\u{0}\u{7}\u{200b}\u{feff}\u{301}\u{fffd}"], 0),
    ];
    for (texts, index) in cases {
        let mut out = vec![1.0; 4];
        let error = StaticModel::builtin().embed(&texts, &mut out).unwrap_err();
        assert_eq!(error, EmbedError::EmptyText { index }, "{texts:?}");
        assert_eq!(error.index(), index);
        assert_eq!(error.to_string(), format!("empty text (number {index} of the batch, from 0)"));
        assert!(out.is_empty());
    }
    assert_eq!(embed(&[]), Ok(vec![]));
}

#[test]
fn one_character_is_enough() {
    let row = embed(&["a"]).unwrap();
    assert_eq!(row.len(), 256);
    assert_eq!(embed(&[" \u{301}A\u{200b} "]).unwrap(), row);
    assert_ne!(embed(&["."]).unwrap(), row);
}

/// Ten megabytes of the worst texts: a word without end, nothing but white space or accents, and
/// words that make the longest match search hardest. Generous: a debug build takes under a second.
#[test]
fn ten_megabytes_take_bounded_time() {
    const SIZE: usize = 10 << 20;
    let fill = |piece: &str| piece.repeat(SIZE / piece.len());
    let hard = format!("{} ", "internationalization".repeat(5));
    let texts =
        [fill("a"), fill(" "), fill("\u{301}"), fill("\u{1d400}"), fill(&hard), fill("é x")];
    for text in &texts {
        let start = Instant::now();
        let tokens = StaticModel::builtin().count_tokens(text);
        let result = embed(&[text]);
        let name: String = text.chars().take(8).collect();
        assert!(start.elapsed() < Duration::from_secs(20), "{name:?}: {:?}", start.elapsed());
        assert_eq!(result.is_err(), tokens == 0, "{name:?}");
    }
}

proptest! {
    #[test]
    fn any_text_has_an_embedding_or_no_token(text in any::<String>()) {
        let model = StaticModel::builtin();
        match embed(&[&text]) {
            Ok(row) => {
                prop_assert!(canon::check_finite(&row).is_ok());
                prop_assert!((canon::sum_squares(&row) - 1.0).abs() < 1e-5);
                prop_assert!(row.iter().all(|v| v.to_bits() != (-0.0f32).to_bits()));
                for simd in simd::available() {
                    let mut other = Vec::new();
                    model.embed_on(Kernels::on(simd).unwrap(), &[&text], &mut other).unwrap();
                    prop_assert_eq!(digest(&other), digest(&row));
                }
            }
            Err(error) => {
                prop_assert_eq!(error, EmbedError::EmptyText { index: 0 });
                prop_assert_eq!(model.count_tokens(&text), 0);
            }
        }
    }
}
