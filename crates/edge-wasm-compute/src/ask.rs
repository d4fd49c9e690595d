//! A page's own questions: from texts to payloads, from results to what a page shows.

use edge_base::{Digest, TaskKind, codec, shard::ShardHit};
use edge_embed::StaticModel;
use edge_tasks::{
    EmbeddingPayload, EmbeddingResult, Layout, MatchPayload, MatchResult, RecordBody, VectorQuery,
    compression::CompressionPayload, compression_pin, compression_units, default_model,
    embedding_units, match_pin, match_units, pin_of, score_from_key, search_units,
};
use serde::Serialize;
use serde_json::{Map, Value};
use wasm_bindgen::{JsError, prelude::wasm_bindgen};

use crate::Compute;

/// A task as the peer takes it.
#[wasm_bindgen]
pub struct Task {
    kind: TaskKind,
    payload: Vec<u8>,
    pin: Digest,
    units: u64,
}

#[wasm_bindgen]
impl Task {
    /// Its kind, by name.
    #[wasm_bindgen(getter)]
    pub fn kind(&self) -> String {
        self.kind.name().to_owned()
    }

    /// The canonical payload.
    #[wasm_bindgen(getter)]
    pub fn payload(&self) -> Vec<u8> {
        self.payload.clone()
    }

    /// What its workers must advertise.
    #[wasm_bindgen(getter)]
    pub fn pin(&self) -> Vec<u8> {
        self.pin.0.to_vec()
    }

    /// What it costs, in reference CPU-microseconds.
    #[wasm_bindgen(getter)]
    pub fn units(&self) -> f64 {
        self.units as f64
    }
}

/// A question to a collection, as the peer takes it.
#[wasm_bindgen]
pub struct Query {
    bytes: Vec<u8>,
    units: u64,
}

#[wasm_bindgen]
impl Query {
    /// The encoded query.
    #[wasm_bindgen(getter)]
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// What one shard's answer costs.
    #[wasm_bindgen(getter)]
    pub fn units(&self) -> f64 {
        self.units as f64
    }
}

/// One text against one label.
#[derive(Serialize)]
struct LabelScore<'a> {
    label: &'a str,
    score: f32,
    similarity: f32,
}

/// One text against all labels, as `/api/v1/match` says it.
#[derive(Serialize)]
struct Matched<'a> {
    category: Option<&'a str>,
    label: Option<&'a str>,
    nearest: &'a str,
    score: f32,
    similarity: f32,
    scores: Vec<LabelScore<'a>>,
    temperature: f32,
    threshold: f32,
}

/// One record found, as `/api/v1/collections/{name}/search` says it.
#[derive(Serialize)]
struct Hit {
    id: String,
    record: String,
    score: f32,
    payload: Map<String, Value>,
}

fn json(value: &impl Serialize) -> Result<String, JsError> {
    Ok(serde_json::to_string(value)?)
}

#[wasm_bindgen]
impl Compute {
    /// An `embedding` of texts by the built-in model.
    pub fn embedding(&self, texts: Vec<String>) -> Result<Task, JsError> {
        let payload = EmbeddingPayload { model: default_model(), texts };
        payload.check()?;
        let texts: Vec<&str> = payload.texts.iter().map(String::as_str).collect();
        let (pin, units) = (pin_of(&payload.model), embedding_units(&texts));
        Ok(Task { kind: TaskKind::Embedding, payload: payload.encode(), pin, units })
    }

    /// The vectors of an `embedding`'s result, one after the other.
    pub fn vectors(&self, result: &[u8]) -> Result<Vec<f32>, JsError> {
        Ok(EmbeddingResult::decode(result)?.vectors)
    }

    /// A `semantic_match` of a text with labels.
    pub fn matching(&self, text: String, labels: Vec<String>) -> Result<Task, JsError> {
        let texts = vec![text];
        let payload = MatchPayload { model: default_model(), texts, labels, examples: Vec::new() };
        payload.check()?;
        let (pin, units) =
            (match_pin(&payload.model), match_units(StaticModel::builtin(), &payload));
        Ok(Task { kind: TaskKind::SemanticMatch, payload: payload.encode(), pin, units })
    }

    /// What a `semantic_match`'s result says: JSON.
    pub fn matched(&self, labels: Vec<String>, result: &[u8]) -> Result<String, JsError> {
        let other = || JsError::new("the checked result has another shape");
        let result = MatchResult::decode(result)?;
        let row = result.rows().next().filter(|row| row.len() == labels.len()).ok_or_else(other)?;
        let (best, known) = result.best(row).ok_or_else(other)?;
        let scores = result.scores(row);
        let number = |numbers: &[f32]| numbers.get(best).copied().unwrap_or_default();
        let nearest = labels.get(best).map_or("", String::as_str);
        let each = labels.iter().zip(scores.iter().zip(row));
        json(&Matched {
            category: known.then_some(nearest),
            label: known.then_some(nearest),
            nearest,
            score: number(&scores),
            similarity: number(row),
            scores: each
                .map(|(label, (score, similarity))| LabelScore {
                    label,
                    score: *score,
                    similarity: *similarity,
                })
                .collect(),
            temperature: result.temperature,
            threshold: result.threshold,
        })
    }

    /// A `compression` of bytes, or the way back; the result of either is the bytes.
    pub fn compression(&self, data: Vec<u8>, back: bool) -> Result<Task, JsError> {
        let payload = match back {
            false => CompressionPayload::compress(data),
            true => CompressionPayload::decompress(data, None),
        };
        payload.check()?;
        let (pin, units) = (compression_pin(), compression_units(&payload));
        Ok(Task { kind: TaskKind::Compression, payload: payload.encode(), pin, units })
    }

    /// What to ask a collection for what is nearest to a text: with its layout, and the rows of its largest
    /// shard.
    pub fn query(&self, layout: &[u8], text: &str, k: u32, rows: f64) -> Result<Query, JsError> {
        let layout = Layout::decode(layout)?;
        if layout.model != default_model() {
            return Err(JsError::new("a tab can only ask collections of the built-in model"));
        }
        let mut vector = Vec::new();
        edge_embed::Model::embed(StaticModel::builtin(), &[text], &mut vector)?;
        let query = VectorQuery { metric: layout.metric, vector, ef: None, filter: None };
        query.check()?;
        Ok(Query { bytes: query.encode(), units: search_units(rows as u64, k) })
    }

    /// What a search found: JSON.
    pub fn hits(&self, found: &[u8]) -> Result<String, JsError> {
        let malformed = || JsError::new("the hits are malformed");
        let found: Vec<ShardHit> = codec::decode(found).map_err(|_| malformed())?;
        let hits = found.into_iter().map(|hit| {
            let body = RecordBody::decode(&hit.body)?;
            let mut payload: Map<String, Value> = match body.payload.as_slice() {
                [] => Map::new(),
                bytes => serde_json::from_slice(bytes)?,
            };
            let record = hit.id.to_string();
            let id = edge_tasks::take_key(&hit.id, &mut payload).unwrap_or_else(|| record.clone());
            Ok(Hit { id, record, score: score_from_key(hit.score), payload })
        });
        json(&hits.collect::<Result<Vec<Hit>, JsError>>()?)
    }
}
