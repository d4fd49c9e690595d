//! The built-in model: one row of an 8-bit table per token, added up and normalised.

use std::sync::OnceLock;

use edge_base::{Digest, Hasher};
use edge_kernels::canon::{self, Kernels};

use crate::model::{EmbedError, Model};
use crate::tokenizer::Tokenizer;

const DIM: usize = 256;
const MAX_TOKENS: usize = 512;
const NAME: &str = "static-256";

const TABLE: &[u8] = include_bytes!("../model/table_i8_30522x256.bin");
const SCALES: &[u8] = include_bytes!("../model/row_scale_f32.bin");
const WEIGHTS: &[u8] = include_bytes!("../model/weight_f32.bin");
const BIAS: &[u8] = include_bytes!("../model/bias_f32.bin");
/// `[384, 256]` little-endian f32, row-major.
const TEACHER_PROJECTION: &[u8] = include_bytes!("../model/teacher_projection_384x256_f32.bin");

/// SHA-256 of the files above, in their order. Pinned rather than computed: the id of the model is
/// needed at every start, hashing 8 MB is not. A test compares them with the files.
const PINNED: [&str; 4] = [
    "7e4820e5a1a43ba8bb8861ac190776df5f8f5997dec36d6f66b00c227aeedcd6",
    "5eb480421c62a98300bf6502f68e2f495d4fefc5e868dc9253fec5d6fae97649",
    "0230eef25efb9322d9c4f40e8675075e161bbdc2c14452cc14911ac1fadf58f6",
    "24a491bc3a26e86bc968ee3b730f9ceeea7f9abfab607f3fcbae6c1f900c8ae3",
];

/// A static embedding (after Model2Vec, Tulkens and van Dongen 2024), fitted so that the weighted
/// mean of token rows matches the sentence embeddings of all-MiniLM-L6-v2; see `model/README.md`.
///
/// The canonical result of a text, exactly (`f32`, products rounded before they are added, token
/// ids `t` by position, at most 512):
/// 1. `x[d] = +0`; for each `t`: `x[d] += f32(table[t][d]) * scale[t]`;
/// 2. `W = +0`; for each `t`: `W += weight[t]`, the stored `ln(2 + t)`; then `x[d] += bias[d] * W`;
/// 3. `x[d] / sqrt(sum16(x²))`.
///
/// Dimensions are ordered by the teacher's energy: a prefix of 192, 128 or 64, normalised again, is
/// a valid shorter embedding.
#[derive(Debug)]
pub struct StaticModel {
    tokenizer: &'static Tokenizer,
    table: &'static [i8],
    scales: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    id: Digest,
}

impl StaticModel {
    /// The model compiled in: 30,522 tokens, 256 dimensions, 8.4 MB.
    pub fn builtin() -> &'static StaticModel {
        static BUILTIN: OnceLock<StaticModel> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let tokenizer = Tokenizer::builtin();
            let mut hasher = Hasher::new("edge-embed/static/1");
            hasher.update(&canon::VERSION.to_le_bytes());
            hasher.update(&(DIM as u32).to_le_bytes());
            hasher.update(&(MAX_TOKENS as u32).to_le_bytes());
            hasher.update(tokenizer.id().as_bytes());
            for pinned in PINNED {
                hasher.update_framed(pinned.as_bytes());
            }
            StaticModel {
                tokenizer,
                table: bytemuck::cast_slice(TABLE),
                scales: floats(SCALES),
                weights: floats(WEIGHTS),
                bias: floats(BIAS),
                id: hasher.finish(),
            }
        })
    }

    /// What brings the embeddings of all-MiniLM-L6-v2, which this model was distilled from, into its space:
    /// the file `edge_projection_f32.bin` of an encoder ([`crate::EncoderFiles`]) whose vectors are to compare with those of
    /// this model. `[384, 256]` little-endian f32, row-major.
    pub fn teacher_projection() -> &'static [u8] {
        TEACHER_PROJECTION
    }

    /// The tokenizer of this model.
    pub fn tokenizer(&self) -> &'static Tokenizer {
        self.tokenizer
    }

    /// [`Model::embed`] on a named back end of the kernels: what a check of a result by other
    /// instructions calls. The bits are the same on all of them.
    ///
    /// # Errors
    /// As [`Model::embed`].
    pub fn embed_on(
        &self,
        kernels: Kernels,
        texts: &[&str],
        out: &mut Vec<f32>,
    ) -> Result<(), EmbedError> {
        out.clear();
        out.resize(texts.len() * DIM, 0.0);
        let mut ids = Vec::with_capacity(MAX_TOKENS);
        for (index, (text, row)) in texts.iter().zip(out.chunks_exact_mut(DIM)).enumerate() {
            ids.clear();
            self.tokenizer.encode(text, MAX_TOKENS, &mut ids);
            if let Err(error) = self.embed_ids(kernels, index, &ids, row) {
                out.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    /// `row` is all +0.
    fn embed_ids(
        &self,
        kernels: Kernels,
        index: usize,
        ids: &[u32],
        row: &mut [f32],
    ) -> Result<(), EmbedError> {
        if ids.is_empty() {
            return Err(EmbedError::EmptyText { index });
        }
        let mut total = 0f32;
        for &id in ids {
            let id = id as usize;
            kernels.accumulate_i8(row, &self.table[id * DIM..(id + 1) * DIM], self.scales[id]);
            total += self.weights[id];
        }
        kernels.add_scaled(row, &self.bias, total);
        kernels.normalize(row).map_err(|source| EmbedError::NoDirection { index, source })
    }
}

impl Model for StaticModel {
    fn id(&self) -> Digest {
        self.id
    }

    fn tokenizer_id(&self) -> Digest {
        self.tokenizer.id()
    }

    fn name(&self) -> &str {
        NAME
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn max_tokens(&self) -> usize {
        MAX_TOKENS
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.tokenizer.count(text)
    }

    fn embed(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError> {
        self.embed_on(Kernels::active(), texts, out)
    }
}

/// Little-endian `f32`s.
fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_the_pinned_ones_and_fit_together() {
        for (bytes, pinned) in [TABLE, SCALES, WEIGHTS, BIAS].into_iter().zip(PINNED) {
            assert_eq!(Digest::of(bytes).to_hex(), pinned);
        }
        let model = StaticModel::builtin();
        let tokens = model.tokenizer.vocabulary_len();
        assert_eq!(model.table.len(), tokens * DIM);
        assert_eq!(model.scales.len(), tokens);
        assert_eq!(model.weights.len(), tokens);
        assert_eq!(model.bias.len(), DIM);
    }

    #[test]
    fn no_sum_of_512_rows_can_overflow() {
        let model = StaticModel::builtin();
        let finite = |values: &[f32], most: f32| values.iter().all(|v| v.abs() < most);
        assert!(finite(&model.scales, 1e3) && model.scales.iter().all(|s| *s >= 0.0));
        assert!(finite(&model.weights, 11.0) && model.weights.iter().all(|w| *w > 0.0));
        assert!(finite(&model.bias, 1e3));
    }

    #[test]
    fn every_token_alone_has_an_embedding() {
        let model = StaticModel::builtin();
        let mut row = [0f32; DIM];
        for id in 0..model.tokenizer.vocabulary_len() as u32 {
            row.fill(0.0);
            let result = model.embed_ids(Kernels::active(), 0, &[id], &mut row);
            assert_eq!(result, Ok(()), "token {id}");
            let length = canon::sum_squares(&row);
            assert!((length - 1.0).abs() < 1e-5, "token {id}: {length}");
        }
    }
}
