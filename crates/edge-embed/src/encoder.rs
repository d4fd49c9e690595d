//! A BERT encoder that is loaded, not compiled in.

use std::fmt;
use std::sync::Arc;

use edge_base::Digest;
use edge_kernels::canon::{Kernels, NormalizeError};
use edge_kernels::graph::Arithmetic;

use crate::model::{EmbedError, Model};
use crate::tokenizer::Tokenizer;

mod bounded;
mod download;
mod error;
mod folder;
mod forward;
mod parts;
mod safetensors;
mod word_piece;

pub use error::LoadError;
pub use folder::EncoderFiles;

use forward::Network;
use parts::Parts;

/// A sentence encoder of the BERT family (Devlin et al., arXiv 1810.04805; pooled as in Reimers and
/// Gurevych, arXiv 1908.10084), from a sentence-transformers folder ([`EncoderFiles`]) or from a download
/// ([`Encoder::from_download`]).
///
/// A text is `[CLS]`, its tokens, `[SEP]`; of longer texts only the first [`Model::max_tokens`] tokens
/// are read. [`Model::embed`] is canonical: every operation is one of `edge_kernels::canon`, in the order
/// that `docs/canon.md` section 9 and `encoder/forward.rs` say, so the bits are the same on every machine
/// and in any batch. [`Model::embed_fast`] means the same up to rounding, for results that nobody compares.
///
/// Weights are laid out at loading for the back end of [`Kernels::active`], which canonical results are then
/// computed on; [`Encoder::on`] gives the same model on another. Memory is about four bytes for each weight.
///
/// ```no_run
/// use edge_embed::{Encoder, EncoderFiles, Model};
///
/// # fn read(path: std::path::PathBuf) -> Option<Vec<u8>> { std::fs::read(path).ok() }
/// # let folder = std::path::Path::new("all-MiniLM-L6-v2");
/// let contents = EncoderFiles::NAMES.map(|name| read(folder.join(name)));
/// let files = EncoderFiles::from_contents(&contents);
/// let encoder = Encoder::from_files("minilm", &files)?;
/// let mut rows = Vec::new();
/// encoder.embed_fast(&["one text", "another"], &mut rows).expect("no text is empty");
/// assert_eq!(rows.len(), 2 * encoder.dim());
/// // A quarter of the size, for other machines; it is a model of its own, with an id of its own.
/// let download = Encoder::download(&files)?;
/// assert_ne!(Encoder::from_download("minilm-i8", &download)?.id(), encoder.id());
/// # Ok::<(), edge_embed::LoadError>(())
/// ```
#[derive(Clone)]
pub struct Encoder {
    name: String,
    id: Digest,
    tokenizer: Arc<Tokenizer>,
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
            tokenizer: Arc::new(tokenizer),
            frame,
            tokens_max: parts.shape.tokens_max as usize,
            network: Network::new(Kernels::active(), parts),
        })
    }

    /// The tokenizer of this model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The same model, name and id, with its weights laid out for `kernels`: for comparing back ends, whose
    /// bits are the same. Tables and tokenizer are shared.
    pub fn on(&self, kernels: Kernels) -> Encoder {
        Encoder {
            name: self.name.clone(),
            id: self.id,
            tokenizer: Arc::clone(&self.tokenizer),
            frame: self.frame,
            tokens_max: self.tokens_max,
            network: self.network.on(kernels),
        }
    }

    /// The back end that canonical results are computed on.
    pub fn kernels(&self) -> Kernels {
        self.network.kernels()
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

impl fmt::Debug for Encoder {
    /// Without the weights, which are millions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("dim", &self.dim())
            .field("kernels", &self.kernels())
            .finish_non_exhaustive()
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

    /// The matrix products of the layers.
    fn operations_per_token(&self) -> u64 {
        self.network.operations_per_token()
    }

    fn embed(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError> {
        self.run(Arithmetic::Canonical, texts, out)
    }

    fn embed_fast(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError> {
        self.run(Arithmetic::Fast, texts, out)
    }
}
