//! What every embedding model offers, whatever it is made of.

use edge_base::Digest;
use edge_kernels::canon::NormalizeError;
use thiserror::Error;

/// Why a batch could not be embedded. Nothing of the batch is returned then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// A text has no token: it is empty, or all white space, control characters and accents (the
    /// caller's fault).
    #[error("empty text (number {index} of the batch, from 0)")]
    EmptyText {
        /// Its place in the batch, from 0.
        index: usize,
    },
    /// The sum of a text's rows has no direction or is not finite (the model's fault).
    #[error("text {index} of the batch has no embedding: {source}")]
    NoDirection {
        /// Its place in the batch, from 0.
        index: usize,
        /// What was wrong with the sum.
        source: NormalizeError,
    },
}

impl EmbedError {
    /// The place of the offending text in the batch, from 0.
    pub fn index(&self) -> usize {
        match self {
            EmbedError::EmptyText { index } | EmbedError::NoDirection { index, .. } => *index,
        }
    }
}

/// A function from texts to unit vectors of one length, the same bits on every node.
///
/// Its [`id`](Model::id) covers everything the result depends on, so two nodes that name the same id
/// and the same `canon` version can compare results by digest.
pub trait Model: Send + Sync {
    /// The content hash of weights, tokenizer and rules.
    fn id(&self) -> Digest;

    /// The content hash of the tokenizer.
    fn tokenizer_id(&self) -> Digest;

    /// The canonical name, e.g. `static-256`.
    fn name(&self) -> &str;

    /// The length of an embedding.
    fn dim(&self) -> usize;

    /// How many tokens of a text are read; the rest is ignored.
    fn max_tokens(&self) -> usize;

    /// How many tokens the whole text has, which may be more than [`max_tokens`](Model::max_tokens).
    fn count_tokens(&self, text: &str) -> usize;

    /// Floating-point operations for each token read, beside looking it up: what the price of a task
    /// follows. 0 for models that only look up.
    fn operations_per_token(&self) -> u64 {
        0
    }

    /// Embeds a batch. `out` is cleared, then filled with `[texts, dim]`, row after row; the result
    /// does not depend on how texts are grouped into batches.
    ///
    /// # Errors
    /// [`EmbedError`] for the first text that has no embedding; `out` is empty then.
    fn embed(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError>;

    /// The same embeddings up to rounding, as fast as this machine can: for one's own use, never for a
    /// task, a digest or a comparison.
    ///
    /// # Errors
    /// As [`embed`](Model::embed).
    fn embed_fast(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError> {
        self.embed(texts, out)
    }
}

impl<M: Model + ?Sized> Model for &M {
    fn id(&self) -> Digest {
        (**self).id()
    }

    fn tokenizer_id(&self) -> Digest {
        (**self).tokenizer_id()
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn max_tokens(&self) -> usize {
        (**self).max_tokens()
    }

    fn count_tokens(&self, text: &str) -> usize {
        (**self).count_tokens(text)
    }

    fn operations_per_token(&self) -> u64 {
        (**self).operations_per_token()
    }

    fn embed(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError> {
        (**self).embed(texts, out)
    }

    fn embed_fast(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError> {
        (**self).embed_fast(texts, out)
    }
}
