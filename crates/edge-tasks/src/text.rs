//! Texts to vectors: payload, result, execution.

use edge_base::{Digest, codec};
use edge_embed::{EmbedError, Model, Registry};
use edge_index::DIM_MAX;
use serde::{Deserialize, Serialize};

use crate::{TaskError, bounded, model_units};

/// The most texts of an embedding, and the most texts and labels of a match.
pub const TEXTS_MAX: usize = 256;
/// The most bytes of one text.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// The most bytes of all texts of one payload.
pub const TEXT_BYTES_SUM_MAX: usize = 4 << 20;
/// The most bytes of an encoded payload: texts, a length each, the model and the count.
const PAYLOAD_BYTES_MAX: usize = TEXT_BYTES_SUM_MAX + (TEXTS_MAX + 1) * 4 + 64;
const NUMBERS_MAX: usize = TEXTS_MAX * DIM_MAX;
const RESULT_BYTES_MAX: usize = NUMBERS_MAX * 4 + 16;

/// What an `embedding` task is given. Encoded: model (32 bytes), number of texts, per text its length in
/// bytes and UTF-8 (lengths and counts as varints).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EmbeddingPayload {
    /// The content hash of the model.
    pub model: Digest,
    /// 1 to [`TEXTS_MAX`] texts.
    #[serde(deserialize_with = "bounded::at_most::<TEXTS_MAX, _, _>")]
    pub texts: Vec<String>,
}

impl EmbeddingPayload {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads and checks bytes from anywhere.
    ///
    /// # Errors
    /// [`TaskError`]: not a payload, or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, TaskError> {
        let payload: Self = bounded::decode("embedding payload", bytes, PAYLOAD_BYTES_MAX)?;
        payload.check()?;
        Ok(payload)
    }

    /// That the limits are kept: what a requester asks before it sends.
    ///
    /// # Errors
    /// [`TaskError`] names the first limit that is not.
    pub fn check(&self) -> Result<(), TaskError> {
        check_count("texts", self.texts.len())?;
        check_bytes(self.texts.iter())
    }
}

/// The result of an `embedding` task. Encoded: dimension and number of numbers as varints, then four
/// bytes a number, little endian.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EmbeddingResult {
    /// Numbers a row.
    pub dim: u32,
    /// One row of unit length for each text, in their order: `[texts, dim]`.
    #[serde(deserialize_with = "bounded::at_most::<NUMBERS_MAX, _, _>")]
    pub vectors: Vec<f32>,
}

impl EmbeddingResult {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads and checks bytes from anywhere.
    ///
    /// # Errors
    /// [`TaskError`]: not a result, numbers that are not finite or do not fill rows.
    pub fn decode(bytes: &[u8]) -> Result<Self, TaskError> {
        let result: Self = bounded::decode("embedding result", bytes, RESULT_BYTES_MAX)?;
        let dim = result.dim as usize;
        if dim == 0 || dim > DIM_MAX || !result.vectors.len().is_multiple_of(dim) {
            return Err(TaskError::Shape { dim: result.dim, numbers: result.vectors.len() });
        }
        check_finite("the vectors", &result.vectors)?;
        Ok(result)
    }

    /// The vectors, in the order of the texts.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.vectors.chunks_exact((self.dim as usize).max(1))
    }
}

/// Executes an `embedding` task.
pub(crate) fn embed(models: &Registry, payload: &[u8]) -> Result<EmbeddingResult, TaskError> {
    let payload = EmbeddingPayload::decode(payload)?;
    let model = find(models, &payload.model)?;
    let texts: Vec<&str> = payload.texts.iter().map(String::as_str).collect();
    let mut vectors = Vec::new();
    model.embed(&texts, &mut vectors).map_err(|error| embed_error(error, "text"))?;
    check_finite("the vectors", &vectors)?;
    Ok(EmbeddingResult { dim: model.dim() as u32, vectors })
}

/// What an `embedding` task costs.
pub(crate) fn units(models: &Registry, payload: &[u8]) -> Result<u64, TaskError> {
    let payload = EmbeddingPayload::decode(payload)?;
    let texts: Vec<&str> = payload.texts.iter().map(String::as_str).collect();
    Ok(model_units(find(models, &payload.model)?, &texts))
}

pub(crate) fn find<'a>(models: &'a Registry, id: &Digest) -> Result<&'a dyn Model, TaskError> {
    models.get(id).map(|model| &**model).ok_or(TaskError::UnknownModel(*id))
}

pub(crate) fn embed_error(error: EmbedError, what: &'static str) -> TaskError {
    let index = error.index();
    match error {
        EmbedError::EmptyText { .. } => TaskError::EmptyText { what, index },
        _ => TaskError::NoEmbedding { what, index },
    }
}

pub(crate) fn check_count(what: &'static str, count: usize) -> Result<(), TaskError> {
    if (1..=TEXTS_MAX).contains(&count) {
        return Ok(());
    }
    Err(TaskError::Count { what, got: count as u64, least: 1, most: TEXTS_MAX as u64 })
}

pub(crate) fn check_bytes<'a>(texts: impl Iterator<Item = &'a String>) -> Result<(), TaskError> {
    let mut sum = 0;
    for text in texts {
        if text.len() > TEXT_BYTES_MAX {
            let bytes = text.len();
            return Err(TaskError::TooLarge { what: "a text", bytes, limit: TEXT_BYTES_MAX });
        }
        sum += text.len();
    }
    if sum > TEXT_BYTES_SUM_MAX {
        return Err(TaskError::TooLarge { what: "texts", bytes: sum, limit: TEXT_BYTES_SUM_MAX });
    }
    Ok(())
}

/// That all numbers are finite, naming the first that is not.
pub(crate) fn check_finite(what: &'static str, numbers: &[f32]) -> Result<(), TaskError> {
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(at) => Err(TaskError::NotFinite { what, at }),
    }
}
