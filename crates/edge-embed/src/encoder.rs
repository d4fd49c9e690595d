//! A BERT encoder that is loaded, not compiled in.

use edge_base::Digest;
use edge_kernels::canon::{Kernels, NormalizeError};

use crate::model::{EmbedError, Model};
use crate::tokenizer::Tokenizer;

mod download;
mod error;
mod folder;
mod forward;
mod parts;
mod safetensors;

pub use error::LoadError;
pub use folder::EncoderFiles;

use forward::{Arithmetic, Network};
use parts::Parts;

/// A sentence encoder of the BERT family (Devlin et al., arXiv 1810.04805; pooled as in Reimers and
/// Gurevych, arXiv 1908.10084), from a sentence-transformers folder ([`EncoderFiles`]) or from a download
/// ([`Encoder::from_download`]).
///
/// A text is `[CLS]`, its tokens, `[SEP]`; of longer texts only the first [`Model::max_tokens`] tokens
/// are read. [`Model::embed`] is canonical: every operation is one of `edge_kernels::canon`, in the order
/// that `docs/canon.md` section 9 and `encoder/forward.rs` say, so the bits are the same on every machine
/// and in any batch. [`Encoder::embed_fast`] means the same up to rounding, for results that nobody compares.
#[derive(Debug)]
pub struct Encoder {
    name: String,
    id: Digest,
    tokenizer: Tokenizer,
    /// The ids of `[CLS]` and `[SEP]`.
    frame: [u32; 2],
    tokens_max: usize,
    network: Network,
}

impl Encoder {
    /// Loads the files of a folder under `name` (1 to 64 of a-z, 0-9, '.', '_' and '-'). The id depends
    /// on contents only, not on the name.
    ///
    /// # Errors
    /// [`LoadError`] says which file and what about it.
    pub fn from_files(name: &str, files: &EncoderFiles<'_>) -> Result<Self, LoadError> {
        Encoder::from_parts(name, files.parts()?)
    }

    /// Loads what [`Encoder::download`] made.
    ///
    /// # Errors
    /// [`LoadError`] for a damaged file, one of a newer version, or sizes that this crate does not run.
    pub fn from_download(name: &str, bytes: &[u8]) -> Result<Self, LoadError> {
        Encoder::from_parts(name, download::decode(bytes)?)
    }

    /// The files of a folder as one file of a quarter the size: matrices in 8 bits with a scale per row
    /// (output channel, token, position), the rest in f32, with a checksum. Loading it gives another
    /// model, with another id, whose embeddings are near those of the folder (docs/benchmarks.md).
    ///
    /// # Errors
    /// As [`Encoder::from_files`].
    pub fn download(files: &EncoderFiles<'_>) -> Result<Vec<u8>, LoadError> {
        download::encode(&files.parts()?)
    }

    fn from_parts(name: &str, parts: Parts) -> Result<Self, LoadError> {
        parts::check_name(name)?;
        let keys: Vec<&str> = parts.tokens.iter().map(String::as_str).collect();
        let tokenizer = Tokenizer::from_tokens(&keys)?;
        let find = |token: &'static str| {
            let id = keys.iter().position(|key| *key == token);
            id.map(|id| id as u32).ok_or(LoadError::MissingToken { token })
        };
        let frame = [find("[CLS]")?, find("[SEP]")?];
        Ok(Encoder {
            name: name.to_owned(),
            id: parts.id(tokenizer.id()),
            tokenizer,
            frame,
            tokens_max: parts.shape.tokens_max as usize,
            network: Network::new(parts),
        })
    }

    /// The tokenizer of this model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// [`Model::embed`] on a named back end of the kernels. The bits are the same on all of them.
    ///
    /// # Errors
    /// As [`Model::embed`]; of an empty text and another error the empty text is named.
    pub fn embed_on(
        &self,
        kernels: Kernels,
        texts: &[&str],
        out: &mut Vec<f32>,
    ) -> Result<(), EmbedError> {
        self.run(Arithmetic::Canonical(kernels), texts, out)
    }

    /// The same embeddings up to rounding, as fast as this machine can: for one's own use, never for a
    /// task, a digest or a comparison.
    ///
    /// # Errors
    /// As [`Model::embed`].
    pub fn embed_fast(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError> {
        self.run(Arithmetic::Fast, texts, out)
    }

    fn run(
        &self,
        arithmetic: Arithmetic,
        texts: &[&str],
        out: &mut Vec<f32>,
    ) -> Result<(), EmbedError> {
        out.clear();
        let (mut ids, mut lengths) = (Vec::new(), Vec::with_capacity(texts.len()));
        for (index, text) in texts.iter().enumerate() {
            let start = ids.len();
            ids.push(self.frame[0]);
            self.tokenizer.encode(text, self.tokens_max - 2, &mut ids);
            if ids.len() == start + 1 {
                return Err(EmbedError::EmptyText { index });
            }
            ids.push(self.frame[1]);
            lengths.push(ids.len() - start);
        }
        out.resize(texts.len() * self.network.dim(), 0.0);
        self.network.embed(arithmetic, &ids, &lengths, out).map_err(
            |(index, source): (usize, NormalizeError)| {
                out.clear();
                EmbedError::NoDirection { index, source }
            },
        )
    }
}

impl Model for Encoder {
    fn id(&self) -> Digest {
        self.id
    }

    fn tokenizer_id(&self) -> Digest {
        self.tokenizer.id()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn dim(&self) -> usize {
        self.network.dim()
    }

    /// `[CLS]` and `[SEP]` not counted.
    fn max_tokens(&self) -> usize {
        self.tokens_max - 2
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.tokenizer.count(text)
    }

    fn embed(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError> {
        self.embed_on(Kernels::active(), texts, out)
    }
}
