//! Texts against labels, without examples or with some.
//!
//! A label is a point: the direction of the sum of the embeddings of its examples and of its own
//! text, which counts like [`LABEL_WEIGHT`] examples. Without examples that is the embedding of the
//! label (zero-shot), with many it is the centroid of prototypical networks (Snell, Swersky and
//! Zemel 2017, arXiv 1703.05175). A text is compared with each point by cosine. Nearest neighbours
//! among the examples were measured against it and are worse up to 32 examples a label
//! (`docs/benchmarks.md`).
//!
//! *Scores* are a softmax of the similarities over a temperature (temperature scaling, Guo et al.
//! 2017, arXiv 1706.04599), chosen by the Brier score, which is proper and needs no logarithm: from
//! the examples, each compared with the points as they are without it, when there are at least
//! [`CALIBRATION_EXAMPLES`]; else [`TEMPERATURE`].
//! *Unknown* is a text whose best similarity is below a threshold: the tenth part of the examples,
//! each left out, would be (a conformal quantile, Vovk, Gammerman and Shafer 2005, here over left-out
//! scores, so that nine of ten is what to expect, not a guarantee); with fewer than
//! [`CALIBRATION_EXAMPLES`] the lowest of them, at most [`THRESHOLD`].
//!
//! All of it is canonical arithmetic in the order of the payload: equal payloads give equal bytes.

use edge_base::{Digest, codec};
use edge_embed::{Model, Registry};
use edge_kernels::canon;
use serde::{Deserialize, Serialize};

use crate::text::embed_error;
use crate::text::{TEXT_BYTES_SUM_MAX, TEXTS_MAX, check_bytes, check_count, check_finite, find};
use crate::{TaskError, bounded, match_units};

/// The most examples of a match.
pub const EXAMPLES_MAX: usize = 1024;
/// As how many examples the text of a label counts.
pub const LABEL_WEIGHT: f32 = 2.0;
/// The temperature of scores without examples, fitted to the built-in model (`docs/benchmarks.md`).
pub const TEMPERATURE: f32 = 0.07;
/// Without examples a text whose best similarity is below is unknown. Fitted like [`TEMPERATURE`] it would be
/// .15, but everyday sentences are less near to short labels than package descriptions are.
pub const THRESHOLD: f32 = 0.12;
/// The fewest examples from which temperature and threshold are taken.
pub const CALIBRATION_EXAMPLES: usize = 10;
/// Temperatures that examples choose from.
const TEMPERATURES: [f32; 9] = [0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.14, 0.2, 0.3];
const PAYLOAD_BYTES_MAX: usize = TEXT_BYTES_SUM_MAX + (2 * TEXTS_MAX + EXAMPLES_MAX) * 8 + 64;
const SCORES_MAX: usize = TEXTS_MAX * TEXTS_MAX;

/// A text whose label is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Example {
    /// The label's place in the payload.
    pub label: u32,
    /// The text.
    pub text: String,
}

/// What a `semantic_match` task is given. Encoded: model, texts, labels, examples (label's place,
/// text), as in [`crate::EmbeddingPayload`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MatchPayload {
    /// The content hash of the model.
    pub model: Digest,
    /// 1 to [`TEXTS_MAX`] texts that are to be matched, independently of each other.
    #[serde(deserialize_with = "bounded::at_most::<TEXTS_MAX, _, _>")]
    pub texts: Vec<String>,
    /// 1 to [`TEXTS_MAX`] labels.
    #[serde(deserialize_with = "bounded::at_most::<TEXTS_MAX, _, _>")]
    pub labels: Vec<String>,
    /// At most [`EXAMPLES_MAX`] examples.
    #[serde(deserialize_with = "bounded::at_most::<EXAMPLES_MAX, _, _>")]
    pub examples: Vec<Example>,
}

impl MatchPayload {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads and checks bytes from anywhere.
    ///
    /// # Errors
    /// [`TaskError`]: not a payload, or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, TaskError> {
        let payload: Self = bounded::decode("match payload", bytes, PAYLOAD_BYTES_MAX)?;
        payload.check()?;
        Ok(payload)
    }

    /// That the limits are kept: what a requester asks before it sends.
    ///
    /// # Errors
    /// [`TaskError`] names the first limit that is not.
    pub fn check(&self) -> Result<(), TaskError> {
        check_count("texts", self.texts.len())?;
        check_count("labels", self.labels.len())?;
        let (got, most) = (self.examples.len() as u64, EXAMPLES_MAX as u64);
        if got > most {
            return Err(TaskError::Count { what: "examples", got, least: 0, most });
        }
        let labels = self.labels.len();
        if let Some(index) = self.examples.iter().position(|e| e.label as usize >= labels) {
            return Err(TaskError::NoSuchLabel { index, label: self.examples[index].label });
        }
        let examples = self.examples.iter().map(|example| &example.text);
        check_bytes(self.texts.iter().chain(&self.labels).chain(examples))
    }
}

/// The result of a `semantic_match` task. Encoded: number of labels, temperature, threshold, number
/// of similarities; numbers as four bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MatchResult {
    /// How many labels there are.
    pub labels: u32,
    /// What similarities are divided by before the softmax.
    pub temperature: f32,
    /// Below this best similarity a text is unknown.
    pub threshold: f32,
    /// Cosine of each text with each label's point, in their order: `[texts, labels]`.
    #[serde(deserialize_with = "bounded::at_most::<SCORES_MAX, _, _>")]
    pub similarities: Vec<f32>,
}

impl MatchResult {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads and checks bytes from anywhere.
    ///
    /// # Errors
    /// [`TaskError`]: not a result, numbers that are not finite or do not fill rows, a temperature
    /// that is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, TaskError> {
        let result: Self = bounded::decode("match result", bytes, SCORES_MAX * 4 + 32)?;
        check_count("labels", result.labels as usize)?;
        let numbers = result.similarities.len();
        if numbers == 0 || !numbers.is_multiple_of(result.labels as usize) {
            return Err(TaskError::Shape { dim: result.labels, numbers });
        }
        check_finite("temperature and threshold", &[result.temperature, result.threshold])?;
        if !TEMPERATURES.contains(&result.temperature) {
            return Err(TaskError::NotCanonical { what: "the temperature" });
        }
        check_finite("the similarities", &result.similarities)?;
        Ok(result)
    }

    /// The similarities of each text, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.similarities.chunks_exact((self.labels as usize).max(1))
    }

    /// The best label of a row, the first of equal ones, and whether it is good enough to be the
    /// answer; `None` for no row.
    pub fn best(&self, row: &[f32]) -> Option<(usize, bool)> {
        let best = best(row)?;
        Some((best, row[best] >= self.threshold))
    }

    /// How likely each label of a row is, given that one of them is right: they sum up to 1.
    pub fn scores(&self, row: &[f32]) -> Vec<f32> {
        scores(row, self.temperature)
    }
}

fn best(row: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (at, score) in row.iter().enumerate() {
        if best.is_none_or(|best| *score > row[best]) {
            best = Some(at);
        }
    }
    best
}

fn scores(row: &[f32], temperature: f32) -> Vec<f32> {
    let mut out: Vec<f32> = row.iter().map(|similarity| similarity / temperature).collect();
    if canon::softmax(&mut out).is_err() {
        out.fill(0.0); // Not of finite similarities.
    }
    out
}

/// Executes a `semantic_match` task.
pub(crate) fn execute(models: &Registry, payload: &[u8]) -> Result<MatchResult, TaskError> {
    let MatchPayload { model, texts, labels, examples } = MatchPayload::decode(payload)?;
    let model = find(models, &model)?;
    let texts = embed(model, &texts, "text")?;
    let labels = Labels::new(model, &labels, &examples)?;
    let similarities: Vec<f32> =
        texts.chunks_exact(labels.dim).flat_map(|text| labels.similarities(text)).collect();
    check_finite("the similarities", &similarities)?;
    let (temperature, threshold) = labels.calibrate(&examples)?;
    Ok(MatchResult { labels: labels.count() as u32, temperature, threshold, similarities })
}

/// What a `semantic_match` task costs.
pub(crate) fn units(models: &Registry, payload: &[u8]) -> Result<u64, TaskError> {
    let payload = MatchPayload::decode(payload)?;
    Ok(match_units(find(models, &payload.model)?, &payload))
}

fn embed<T: AsRef<str>>(
    model: &dyn Model,
    texts: &[T],
    what: &'static str,
) -> Result<Vec<f32>, TaskError> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let mut out = Vec::new();
    model.embed(&texts, &mut out).map_err(|error| embed_error(error, what))?;
    check_finite("the vectors", &out)?;
    Ok(out)
}

/// The points of labels, `[labels, dim]`, and what they were made of.
struct Labels {
    dim: usize,
    points: Vec<f32>,
    sums: Vec<f32>,
    examples: Vec<f32>,
}

impl Labels {
    fn new(model: &dyn Model, labels: &[String], examples: &[Example]) -> Result<Self, TaskError> {
        let dim = model.dim();
        let mut points = embed(model, labels, "label")?;
        if examples.is_empty() {
            return Ok(Labels { dim, points, sums: Vec::new(), examples: Vec::new() });
        }
        let mut sums = vec![0.0; points.len()];
        canon::add_scaled(&mut sums, &points, LABEL_WEIGHT);
        let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
        let vectors = embed(model, &texts, "example")?;
        for (example, vector) in examples.iter().zip(vectors.chunks_exact(dim)) {
            let at = example.label as usize * dim;
            canon::add_scaled(&mut sums[at..at + dim], vector, 1.0);
        }
        for index in 0..labels.len() {
            // A label without examples stays the embedding of its text, bit for bit.
            if examples.iter().any(|example| example.label as usize == index) {
                let place = index * dim..(index + 1) * dim;
                let point = direction(&sums[place.clone()], index)?;
                points[place].copy_from_slice(&point);
            }
        }
        Ok(Labels { dim, points, sums, examples: vectors })
    }

    fn count(&self) -> usize {
        self.points.len() / self.dim
    }

    fn similarities(&self, text: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.count()];
        // All have unit length, so the dot product is the cosine.
        canon::dot_many(text, &self.points, self.dim, &mut out);
        out
    }

    /// Temperature and threshold, from examples that are left out in turn.
    fn calibrate(&self, examples: &[Example]) -> Result<(f32, f32), TaskError> {
        let mut rows = Vec::with_capacity(examples.len());
        for (example, vector) in examples.iter().zip(self.examples.chunks_exact(self.dim)) {
            let label = example.label as usize;
            let mut others = self.sums[label * self.dim..(label + 1) * self.dim].to_vec();
            canon::add_scaled(&mut others, vector, -1.0);
            let mut row = self.similarities(vector);
            row[label] = canon::dot(vector, &direction(&others, label)?);
            check_finite("the similarities", &row)?;
            rows.push((label, row));
        }
        let mut bests: Vec<f32> =
            rows.iter().filter_map(|(_, row)| best(row).map(|best| row[best])).collect();
        bests.sort_by(f32::total_cmp);
        let Some(lowest) = bests.first() else { return Ok((TEMPERATURE, THRESHOLD)) };
        if rows.len() < CALIBRATION_EXAMPLES {
            return Ok((TEMPERATURE, lowest.min(THRESHOLD)));
        }
        // At least 1, since there are at least 9.
        let rank = (bests.len() + 1) / 10;
        let mut chosen = (f32::INFINITY, TEMPERATURE);
        for temperature in TEMPERATURES {
            let mut total = 0.0;
            for (label, row) in &rows {
                let mut off = scores(row, temperature);
                off[*label] -= 1.0;
                total += canon::sum_squares(&off);
            }
            if total < chosen.0 {
                chosen = (total, temperature);
            }
        }
        Ok((chosen.1, bests[rank - 1]))
    }
}

fn direction(sum: &[f32], label: usize) -> Result<Vec<f32>, TaskError> {
    let mut out = sum.to_vec();
    canon::normalize(&mut out)
        .map_err(|_| TaskError::NoEmbedding { what: "label", index: label })?;
    Ok(out)
}
