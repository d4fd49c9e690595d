//! The built-in model: one row of an 8-bit table per token, added up and normalised.

use std::sync::OnceLock;

use edge_base::{Digest, Hasher};
use edge_kernels::canon::{self, Kernels};

use crate::model::{EmbedError, Model};
use crate::pack::{self, PINNED};
use crate::tokenizer::Tokenizer;

pub(crate) const DIM: usize = 256;
const MAX_TOKENS: usize = 512;
const NAME: &str = "static-256";

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
    /// The built-in model: 30,522 tokens, 256 dimensions, 8.4 MB.
    ///
    /// # Panics
    /// Without the feature `builtin`, where [`provide`](StaticModel::provide) was not called before.
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
            let files = pack::files();
            StaticModel {
                tokenizer,
                table: bytemuck::cast_slice(files.table),
                scales: floats(files.scales),
                weights: floats(files.weights),
                bias: floats(files.bias),
                id: hasher.finish(),
            }
        })
    }

    /// What brings the embeddings of all-MiniLM-L6-v2, which this model was distilled from, into its space:
    /// the file `edge_projection_f32.bin` of an encoder ([`crate::EncoderFiles`]) whose vectors are to compare with those of
    /// this model. `[384, 256]` little-endian f32, row-major.
    #[cfg(feature = "builtin")]
    pub fn teacher_projection() -> &'static [u8] {
        include_bytes!("../model/teacher_projection_384x256_f32.bin")
    }

    /// The model's files as one: what a program without them is given by [`provide`](StaticModel::provide).
    #[cfg(feature = "builtin")]
    pub fn pack() -> Vec<u8> {
        pack::pack()
    }

    /// Gives a program that was built without the model's files what `StaticModel::pack` makes of them. Done
    /// again, or where they are compiled in, it changes nothing.
    ///
    /// # Errors
    /// [`PackError`](crate::PackError) for other bytes than those.
    pub fn provide(pack: Vec<u8>) -> Result<(), crate::PackError> {
        pack::provide(pack)
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
        let files = pack::files();
        let parts = [files.table, files.scales, files.weights, files.bias];
        for (bytes, pinned) in parts.into_iter().zip(PINNED) {
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
