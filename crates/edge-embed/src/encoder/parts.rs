//! An encoder taken apart: what a folder and a download both hold, and what its id covers.

use edge_base::{Digest, Hasher};
use edge_kernels::canon;
use serde::{Deserialize, Serialize};

use super::error::LoadError;

/// The sizes of the architecture. Serialised in downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    /// Length of a token's vector.
    pub(super) hidden: u32,
    pub(super) layers: u32,
    /// Divides `hidden`.
    pub(super) heads: u32,
    /// Length of the vector between the two products of a layer's second half.
    pub(super) inner: u32,
    /// Rows of the position table.
    pub(super) positions: u32,
    /// Rows of the token table; at least as many as the tokenizer has tokens.
    pub(super) vocabulary: u32,
    pub(super) types: u32,
    /// The bits of the epsilon in layer norms.
    pub(super) epsilon_bits: u32,
    /// How many tokens of a text are read, `[CLS]` and `[SEP]` among them.
    pub(super) tokens_max: u32,
    /// Whether the vector of `[CLS]` stands for the text, instead of the mean of all.
    pub(super) pool_first: bool,
    /// Columns of the projection behind the pooling; 0: there is none.
    pub(super) projected: u32,
}

/// The most tokens of a vocabulary, and rows of their table.
pub(super) const VOCABULARY_MAX: usize = 1 << 20;

const CONFIG: &str = "config.json";

impl Shape {
    /// That every size is one this crate runs; `file` is blamed otherwise.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let within = |setting: &'static str, value: u32, least: u64, most: u64| {
            let value = u64::from(value);
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(LoadError::OutOfRange { file: CONFIG, setting, value, least, most })
            }
        };
        within("hidden_size", self.hidden, 1, 4096)?;
        within("num_hidden_layers", self.layers, 1, 64)?;
        within("num_attention_heads", self.heads, 1, u64::from(self.hidden))?;
        if !self.hidden.is_multiple_of(self.heads) {
            let (hidden, heads) = (self.hidden, self.heads);
            let why = format!("hidden_size {hidden} is no multiple of num_attention_heads {heads}");
            return Err(LoadError::malformed(CONFIG, why));
        }
        within("intermediate_size", self.inner, 1, 16_384)?;
        within("max_position_embeddings", self.positions, 3, 8192)?;
        within("vocab_size", self.vocabulary, 4, VOCABULARY_MAX as u64)?;
        within("type_vocab_size", self.types, 1, 16)?;
        within("max_seq_length", self.tokens_max, 3, u64::from(self.positions))?;
        within("columns of the projection", self.projected, 0, 4096)?;
        let epsilon = f32::from_bits(self.epsilon_bits);
        if epsilon.is_finite() && epsilon > 0.0 && epsilon < 1.0 {
            Ok(())
        } else {
            Err(LoadError::malformed(CONFIG, format!("layer_norm_eps is {epsilon}")))
        }
    }

    /// Name and shape of each tensor, as BERT names them, in the order of [`Parts::tensors`].
    pub(super) fn layout(&self) -> Vec<(String, Vec<usize>)> {
        let size = |value: u32| value as usize;
        let (hidden, inner) = (size(self.hidden), size(self.inner));
        let mut out = Vec::new();
        let mut add = |name: String, shape: &[usize]| out.push((name, shape.to_vec()));
        for (name, rows) in
            [("word", self.vocabulary), ("position", self.positions), ("token_type", self.types)]
        {
            add(format!("embeddings.{name}_embeddings.weight"), &[size(rows), hidden]);
        }
        add("embeddings.LayerNorm.weight".to_owned(), &[hidden]);
        add("embeddings.LayerNorm.bias".to_owned(), &[hidden]);
        for layer in 0..self.layers {
            for (name, rows, columns) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("attention.output.LayerNorm", hidden, 0),
                ("intermediate.dense", inner, hidden),
                ("output.dense", hidden, inner),
                ("output.LayerNorm", hidden, 0),
            ] {
                let name = format!("encoder.layer.{layer}.{name}");
                let both = [rows, columns];
                add(format!("{name}.weight"), if columns == 0 { &both[..1] } else { &both });
                add(format!("{name}.bias"), &[rows]);
            }
        }
        out
    }
}

/// Everything an encoder's results depend on.
pub(super) struct Parts {
    pub(super) shape: Shape,
    /// The token of each id.
    pub(super) tokens: Vec<String>,
    /// As [`Shape::layout`] says; linear layers are `[out, in]`, row-major. Finite, without -0.
    pub(super) tensors: Vec<Vec<f32>>,
    /// `[hidden, projected]`, row-major; empty where there is none.
    pub(super) projection: Vec<f32>,
}

impl Parts {
    /// The content hash of the model: the version of the rules, sizes, tokenizer, every weight.
    pub(super) fn id(&self, tokenizer: Digest) -> Digest {
        let mut hasher = Hasher::new("edge-embed/bert/1");
        hasher.update(&canon::VERSION.to_le_bytes());
        hasher.update(&edge_base::codec::encode(&self.shape));
        hasher.update(tokenizer.as_bytes());
        let mut bytes = Vec::new();
        for tensor in self.tensors.iter().chain([&self.projection]) {
            hasher.update(&(tensor.len() as u64).to_le_bytes());
            for part in tensor.chunks(16_384) {
                bytes.clear();
                part.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
                hasher.update(&bytes);
            }
        }
        hasher.finish()
    }
}

/// Checks a model's name.
pub(super) fn check_name(name: &str) -> Result<(), LoadError> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(fits) {
        Ok(())
    } else {
        Err(LoadError::BadName { name: name.chars().take(80).collect() })
    }
}
