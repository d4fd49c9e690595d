//! The files of an encoder: downloads, and each file of a folder beside the right others.
//!
//! The first byte of an input says which file the rest is: 0 is a download, then those of
//! [`EncoderFiles::NAMES`] in their order.

use edge_base::Digest;
use edge_embed::{EmbedError, Encoder, EncoderFiles, Model};
use edge_fuzz::{Reached, Target};

const TENSORS: usize = 1;
/// The selector, and the magic and version of a download.
const HEADER_BYTES: usize = 13;
const CHECKSUM_BYTES: usize = 32;

const CONFIG: &str = r#"{"model_type":"bert","architectures":["BertModel"],"hidden_act":"gelu",
    "hidden_size":4,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":3,
    "max_position_embeddings":6,"vocab_size":6,"type_vocab_size":2,"layer_norm_eps":1e-12}"#;
const TOKENIZER: &str = r###"{"truncation":null,"added_tokens":[{"id":1,"content":"[CLS]","special":true}],
    "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,
    "strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},
    "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},
    {"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}]},
    "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
    "max_input_chars_per_word":100,"vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":3,"##b":4,"é":5}}}"###;

/// The tensors of a model of four dimensions, as F32 but for one each in F16 and BF16.
fn tensors() -> Vec<u8> {
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![6, 4]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![6, 4]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, 4]),
        ("embeddings.LayerNorm.weight".to_owned(), vec![4]),
        ("embeddings.LayerNorm.bias".to_owned(), vec![4]),
    ];
    for (name, rows, columns) in [
        ("attention.self.query", 4, 4),
        ("attention.self.key", 4, 4),
        ("attention.self.value", 4, 4),
        ("attention.output.dense", 4, 4),
        ("attention.output.LayerNorm", 4, 0),
        ("intermediate.dense", 3, 4),
        ("output.dense", 4, 3),
        ("output.LayerNorm", 4, 0),
    ] {
        let shape = if columns == 0 { vec![rows] } else { vec![rows, columns] };
        shapes.push((format!("encoder.layer.0.{name}.weight"), shape));
        shapes.push((format!("encoder.layer.0.{name}.bias"), vec![rows]));
    }
    let (mut header, mut data) =
        (String::from("{\"__metadata__\":{\"format\":\"pt\"}"), Vec::new());
    for (n, (name, shape)) in shapes.iter().enumerate() {
        let start = data.len();
        let count = shape[0] * shape.get(1).unwrap_or(&1);
        let dtype = ["F16", "BF16", "F32"][n.min(2)];
        for i in 0..count {
            let value = ((n * 7 + i * 13) % 17) as f32 / 8.0 - 0.9;
            match dtype {
                "F16" => data.extend((0x3800 + (i as u16 % 5) * 111).to_le_bytes()),
                "BF16" => data.extend(&value.to_le_bytes()[2..]),
                _ => data.extend(value.to_le_bytes()),
            }
        }
        let end = data.len();
        header += &format!(
            ",\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
        );
    }
    header.push('}');
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// The files of [`EncoderFiles::NAMES`].
fn contents() -> [Option<Vec<u8>>; 10] {
    let projection: Vec<u8> = (0..8u8).flat_map(|n| (f32::from(n) - 3.0).to_le_bytes()).collect();
    EncoderFiles::NAMES.map(|name| {
        let text = match name {
            "config.json" => CONFIG,
            "model.safetensors" => return Some(tensors()),
            "tokenizer.json" => TOKENIZER,
            "vocab.txt" => "[UNK]\n[CLS]\n[SEP]\na\n##b\né\n",
            "tokenizer_config.json" => r#"{"do_lower_case":true,"model_max_length":5}"#,
            "modules.json" => {
                r#"[{"type":"sentence_transformers.models.Transformer"},{"type":"a.Pooling"}]"#
            }
            "1_Pooling/config.json" => r#"{"pooling_mode_mean_tokens":true}"#,
            "sentence_bert_config.json" => r#"{"max_seq_length":5,"do_lower_case":false}"#,
            "config_sentence_transformers.json" => {
                r#"{"prompts":{},"default_prompt_name":null,"similarity_fn_name":"cosine"}"#
            }
            _ => return Some(projection.clone()),
        };
        Some(text.as_bytes().to_vec())
    })
}

fn seeds(base: &[Option<Vec<u8>>; 10]) -> Vec<Vec<u8>> {
    let files = EncoderFiles::from_contents(base);
    let mut seeds = Vec::new();
    for files in [files, EncoderFiles { projection: None, ..files }] {
        let download = Encoder::download(&files).expect("invariant: the folder is valid");
        seeds.push([&[0], &download[..]].concat());
    }
    for (file, content) in base.iter().enumerate() {
        let content = content.as_deref().expect("invariant: all files are there");
        seeds.push([&[file as u8 + 1], content].concat());
    }
    seeds
}

/// The checksum of a download; the length of the header of tensors.
fn repair(bytes: &mut [u8]) {
    let Some((selector, content)) = bytes.split_first_mut() else { return };
    if *selector == 0
        && let Some((content, checksum)) = content.split_last_chunk_mut::<CHECKSUM_BYTES>()
    {
        checksum.copy_from_slice(Digest::of(content).as_bytes());
    } else if usize::from(*selector) == TENSORS + 1
        && let Some((length, rest)) = content.split_first_chunk_mut::<8>()
        && let Some(end) = rest.windows(2).position(|two| two == b"}}")
    {
        // The metadata, which comes first, ends in one brace.
        *length = (end as u64 + 2).to_le_bytes();
    }
}

fn decode(base: &[Option<Vec<u8>>; 10], bytes: &[u8]) -> Reached {
    let Some((selector, content)) = bytes.split_first() else { return Reached::Nothing };
    let result = if *selector == 0 {
        Encoder::from_download("fuzzed", content)
    } else {
        let mut contents = base.clone();
        let Some(file) = contents.get_mut(usize::from(*selector) - 1) else {
            return Reached::Nothing;
        };
        *file = Some(content.to_vec());
        let mut files = EncoderFiles::from_contents(&contents);
        if EncoderFiles::NAMES[usize::from(*selector) - 1] == "vocab.txt" {
            files.tokenizer = None;
        }
        Encoder::from_files("fuzzed", &files)
    };
    let Ok(encoder) = result else { return Reached::Header };
    let mut out = Vec::new();
    for fast in [false, true] {
        let texts = ["a", "ab éx a a a a a a a"];
        let result = if fast {
            encoder.embed_fast(&texts, &mut out)
        } else {
            encoder.embed(&texts, &mut out)
        };
        match result {
            Ok(()) => {
                for row in out.chunks(encoder.dim()) {
                    let squares = row.iter().fold(0f64, |sum, v| sum + f64::from(*v).powi(2));
                    assert!((squares - 1.0).abs() < 1e-4, "an embedding has length 1");
                }
            }
            Err(error) => assert!(
                matches!(error, EmbedError::NoDirection { .. }) && out.is_empty(),
                "a text with tokens has an embedding, or the model is at fault"
            ),
        }
    }
    Reached::Value
}

/// Hands the target to `then`.
pub(crate) fn with_target<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    let base = contents();
    let seeds = seeds(&base);
    let (decode, repair) = (|bytes: &[u8]| decode(&base, bytes), repair);
    let target = Target::new("encoder", &seeds, &decode);
    then(&Target { header_bytes: HEADER_BYTES, repair: Some(&repair), ..target })
}
