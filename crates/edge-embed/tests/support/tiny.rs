//! The tiny random BERT of `oracles/encoder.py`, shared by tests and the wasm module.
#![allow(dead_code, reason = "not every user needs every part")]

use edge_base::Digest;
use edge_embed::{Encoder, EncoderFiles, Model};
use edge_kernels::canon::Kernels;

pub(crate) const FILES: EncoderFiles<'static> = EncoderFiles {
    config: Some(include_bytes!("../golden/tiny-bert/config.json")),
    tensors: Some(include_bytes!("../golden/tiny-bert/model.safetensors")),
    tokenizer: Some(include_bytes!("../golden/tiny-bert/tokenizer.json")),
    vocabulary: None,
    modules: Some(include_bytes!("../golden/tiny-bert/modules.json")),
    pooling: Some(include_bytes!("../golden/tiny-bert/1_Pooling/config.json")),
    sentence: Some(include_bytes!("../golden/tiny-bert/sentence_bert_config.json")),
    tokenizer_settings: None,
    prompts: None,
    projection: None,
};
pub(crate) const VOCABULARY: &[u8] = include_bytes!("../golden/tiny-bert/vocab.txt");
pub(crate) const PROJECTION: &[u8] = include_bytes!("../golden/tiny-bert/edge_projection_f32.bin");

/// [`digest`] of this build, of every other one, and of the wasm module.
pub(crate) const DIGEST: &str = "25be49fbd395b5d4709f672b1500628c80a1eb004bf15cf9d9b4b295df8fa95b";

/// The SHA-256 of the canonical embeddings of some texts, with and without the projection, of the model
/// as a folder and as a download.
pub(crate) fn digest(kernels: Kernels) -> String {
    let long = "the quick fox runs on and on, ".repeat(9);
    let texts = ["a", "hello world", "set a timeout on a connection", "n\u{e9}\u{4f60}!", &long];
    let projected = EncoderFiles { projection: Some(PROJECTION), ..FILES };
    let mut bytes = Vec::new();
    for files in [FILES, projected] {
        let download = Encoder::download(&files).expect("a valid folder");
        for encoder in
            [Encoder::from_files("tiny", &files), Encoder::from_download("tiny", &download)]
        {
            let mut out = Vec::new();
            let encoder = encoder.expect("a valid folder").on(kernels);
            encoder.embed(&texts, &mut out).expect("no text is empty");
            out.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        }
    }
    Digest::of(&bytes).to_hex()
}
