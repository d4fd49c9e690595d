//! The tokenizer against Hugging Face `tokenizers` (golden files by `oracles/tokenizer.py`).
#![cfg(not(target_arch = "wasm32"))]

use edge_base::Digest;
use edge_embed::Tokenizer;
use proptest::prelude::*;

const FUZZ: &str = include_str!("golden/tokenizer_fuzz.jsonl");
const SCALARS: &str = include_str!("golden/tokenizer_scalars.txt");

fn encode(text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    Tokenizer::builtin().encode(text, usize::MAX, &mut ids);
    ids
}

fn digest(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    Digest::of(&bytes).to_hex()[..16].to_owned()
}

#[test]
fn equals_the_reference_on_the_fuzz_corpus() {
    let (mut full, mut hashed) = (0, 0);
    for line in FUZZ.lines() {
        let (text, want): (String, serde_json::Value) = serde_json::from_str(line).unwrap();
        let got = encode(&text);
        match want {
            serde_json::Value::String(want) => {
                hashed += 1;
                assert_eq!(digest(&got), want, "{text:?} gave {got:?}");
            }
            want => {
                full += 1;
                let want: Vec<u32> = serde_json::from_value(want).unwrap();
                assert_eq!(got, want, "{text:?}");
            }
        }
        assert_eq!(Tokenizer::builtin().count(&text), got.len());
    }
    assert_eq!((full, hashed), (400, 2619));
}

/// Every scalar value inside a word and alone, in blocks of 1,024.
#[test]
fn equals_the_reference_on_every_scalar_value() {
    let mut blocks = 0;
    for line in SCALARS.lines() {
        let (block, want) = line.split_once(' ').unwrap();
        let block = u32::from_str_radix(block, 16).unwrap();
        let mut ids = Vec::new();
        for c in (block..block + 0x400).filter_map(char::from_u32) {
            Tokenizer::builtin().encode(&format!("a{c}b {c}"), usize::MAX, &mut ids);
        }
        assert_eq!(digest(&ids), want, "block {block:x}");
        blocks += 1;
    }
    assert_eq!(blocks, 0x11_0000 / 0x400);
}

proptest! {
    #[test]
    fn any_text_is_cut_the_same_whole_or_limited(text in any::<String>(), limit in 0usize..40) {
        let all = encode(&text);
        let mut some = Vec::new();
        Tokenizer::builtin().encode(&text, limit, &mut some);
        prop_assert_eq!(&some[..], &all[..limit.min(all.len())]);
        prop_assert!(all.iter().all(|id| (*id as usize) < Tokenizer::builtin().vocabulary_len()));
    }

    #[test]
    fn decoding_and_encoding_again_gives_the_same_ids(text in "[a-zA-Zéß0-9 .,;'中文#-]{0,80}") {
        let ids = encode(&text);
        prop_assume!(!ids.contains(&Tokenizer::builtin().unknown()));
        prop_assert_eq!(encode(&Tokenizer::builtin().decode(&ids).unwrap()), ids);
    }

    #[test]
    fn words_are_cut_one_by_one(left in any::<String>(), right in any::<String>()) {
        let mut apart = encode(&left);
        apart.extend(encode(&right));
        prop_assert_eq!(encode(&format!("{left} {right}")), apart);
    }
}
