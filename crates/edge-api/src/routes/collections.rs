//! Collections: making, filling, searching, removing.

use axum::extract::{Path, State};
use edge_base::{CollectionId, Digest, NodeId, RecordId, ShardId};
use edge_node::jobs::{
    CheckOptions, CheckedShard, Deleted, ImportOptions, Progress, Record, RecordError, RecordKey,
    SearchOptions,
};
use edge_swarm::{
    Command,
    command::{CollectionView, ShardSearchView, ShardView},
};
use edge_tasks::{Layout, Metric, Mode, RecallCheck, Storage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Body, Outcome, Text, done, tagged};
use crate::{error::Failure, server::App};

/// The largest dimension of a collection.
const DIM_MAX: u32 = 4_096;
/// What to do about a name that cannot be had.
const OTHER_NAME: &str =
    "use it as it is, or choose another name; `edge-net collection ls` lists what there is";
/// Candidates of a search of binary codes that does not say how many.
const BINARY_EF: u32 = 400;
/// The longest a search may take, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 600_000;

#[derive(Serialize)]
struct Collection {
    name: String,
    id: CollectionId,
    owner: NodeId,
    rows: u64,
    shards: Vec<ShardView>,
    #[serde(flatten)]
    layout: Option<LayoutView>,
}

#[derive(Serialize)]
struct LayoutView {
    dim: u32,
    metric: &'static str,
    storage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Digest>,
    exact_below: u32,
    ef: u32,
}

impl From<CollectionView> for Collection {
    fn from(view: CollectionView) -> Self {
        let layout = Layout::decode(&view.layout).ok().map(|layout| LayoutView {
            dim: layout.dim,
            metric: layout.metric.name(),
            storage: layout.storage.name(),
            model: (layout.model != Digest::default()).then_some(layout.model),
            exact_below: layout.exact_below,
            ef: layout.ef,
        });
        Collection {
            name: view.name,
            id: view.id,
            owner: view.owner,
            rows: view.rows,
            shards: view.shards,
            layout,
        }
    }
}

#[derive(Serialize)]
struct Collections {
    collections: Vec<Collection>,
}

/// `GET /api/v1/collections`.
pub(crate) async fn list(State(app): State<App>) -> Outcome {
    let views = app.jobs.collections().await?;
    let collections = views.into_iter().map(Collection::from).collect();
    tagged("edge-net.collections/1", Collections { collections })
}

/// `GET /api/v1/collections/{name}`.
pub(crate) async fn show(State(app): State<App>, Path(name): Path<String>) -> Outcome {
    let (view, _) = app.jobs.collection(&name).await?;
    tagged("edge-net.collection/1", Collection::from(view))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    name: String,
    dim: Option<u32>,
    metric: Option<String>,
    model: Option<String>,
    storage: Option<String>,
}

/// `POST /api/v1/collections`.
pub(crate) async fn create(State(app): State<App>, Body(body): Body<Create>) -> Outcome {
    if body.dim.is_some() && body.model.is_some() {
        return Err(Failure::invalid(
            "give either `dim`, for plain vectors, or `model`, for texts",
        ));
    }
    let storage = match body.storage.as_deref() {
        None => Storage::default(),
        Some(name) => Storage::from_name(name).ok_or_else(|| {
            Failure::invalid(format!("no storage {name:?}; there are: int8, f32, binary"))
        })?,
    };
    let layout = match (body.dim, body.metric) {
        (None, None) => {
            let model = app.jobs.model(body.model.as_deref())?;
            let dim = u32::try_from(model.dim()).unwrap_or(u32::MAX);
            Layout { storage, ..Layout::texts(dim, model.id()) }
        }
        (None, Some(_)) => {
            let text = "a collection of texts compares by cosine; give `dim` too for plain vectors";
            return Err(Failure::invalid(text));
        }
        (Some(dim), metric) => {
            if dim == 0 || dim > DIM_MAX {
                return Err(Failure::invalid(format!("dim is 1 to {DIM_MAX}, not {dim}")));
            }
            let name = metric.as_deref().unwrap_or("cosine");
            let metric = Metric::from_name(name).ok_or_else(|| {
                Failure::invalid(format!("no metric {name:?}; there are: cosine, dot, l2"))
            })?;
            if storage == Storage::Binary && metric == Metric::L2 {
                let text = "binary storage is for the metrics cosine and dot, not for l2";
                return Err(Failure::invalid(text));
            }
            Layout { storage, ..Layout::vectors(dim, metric) }
        }
    };
    // Bits order neighbours roughly: more of them have to be scored.
    let ef = if storage == Storage::Binary { BINARY_EF } else { layout.ef };
    let layout = Layout { ef, ..layout };
    let made = app.jobs.create_collection_with(&body.name, &layout).await;
    let view = made.map_err(Failure::advised(OTHER_NAME))?;
    tagged("edge-net.collection/1", Collection::from(view))
}

/// `DELETE /api/v1/collections/{name}`.
pub(crate) async fn remove(State(app): State<App>, Path(name): Path<String>) -> Outcome {
    app.node.call(Command::DropCollection { name }).await?;
    done()
}

#[derive(Serialize)]
struct Imported {
    #[serde(flatten)]
    counts: Progress,
    replicas: Option<usize>,
    tasks: u64,
    self_checked: u64,
    errors: Vec<RecordError>,
}

/// `POST /api/v1/collections/{name}/records`: a JSON array, or one record a line.
pub(crate) async fn import(
    State(app): State<App>,
    Path(name): Path<String>,
    Text(body): Text,
) -> Outcome {
    let records = read_records(&body)?;
    let stream = futures::stream::iter(records);
    let imported = app.jobs.import(&name, stream, ImportOptions::default(), |_| {}).await;
    let report = imported.map_err(|error| Failure::from(error.refusal))?;
    let answer = Imported {
        counts: report.counts,
        replicas: report.replicas,
        tasks: report.tasks,
        self_checked: report.self_checked,
        errors: report.errors,
    };
    tagged("edge-net.import/1", answer)
}

fn read_records(text: &str) -> Result<Vec<Result<Record, String>>, Failure> {
    if text.trim_start().starts_with('[') {
        let values: Vec<Value> =
            serde_json::from_str(text).map_err(|e| Failure::invalid(format!("the body: {e}")))?;
        let read = |value| serde_json::from_value(value).map_err(|e| e.to_string());
        return Ok(values.into_iter().map(read).collect());
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    Ok(lines.map(|line| serde_json::from_str(line).map_err(|e| e.to_string())).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delete {
    ids: Vec<RecordKey>,
}

#[derive(Serialize)]
struct DeleteAnswer {
    deleted: u64,
    missing: Vec<String>,
    replicas: Option<usize>,
}

/// `POST /api/v1/collections/{name}/records/delete`.
pub(crate) async fn delete(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(body): Body<Delete>,
) -> Outcome {
    if body.ids.is_empty() {
        return Err(Failure::invalid("`ids` is empty: name the records that are to go"));
    }
    let ids: Vec<String> = body.ids.into_iter().map(String::from).collect();
    let Deleted { deleted, missing, replicas } = app.jobs.delete(&name, &ids).await?;
    tagged("edge-net.deleted/1", DeleteAnswer { deleted, missing, replicas })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    text: Option<String>,
    vector: Option<Vec<f32>>,
    k: Option<u32>,
    ef: Option<u32>,
    filter: Option<Value>,
    timeout_ms: Option<u64>,
    rerank: Option<String>,
    query_model: Option<String>,
}

#[derive(Serialize)]
struct Hit {
    /// What the caller named the record, else the hash of its content.
    id: String,
    record: RecordId,
    score: f32,
    payload: Map<String, Value>,
}

#[derive(Serialize)]
struct Shard {
    #[serde(flatten)]
    view: ShardSearchView,
    mode: &'static str,
}

#[derive(Serialize)]
struct Found {
    hits: Vec<Hit>,
    shards: Vec<Shard>,
    ef: u32,
}

/// `POST /api/v1/collections/{name}/search`.
pub(crate) async fn search(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(body): Body<Search>,
) -> Outcome {
    let defaults = SearchOptions::default();
    let filter = match body.filter {
        None | Some(Value::Null) => None,
        Some(filter) => {
            let bytes = filter.to_string().into_bytes();
            edge_tasks::filter_from_json(&bytes).map_err(|e| Failure::invalid(e.to_string()))?;
            Some(bytes)
        }
    };
    let remaining = match body.timeout_ms {
        None => defaults.remaining,
        Some(ms @ 1..=TIMEOUT_MS_MAX) => edge_base::Micros::from_millis(ms),
        Some(ms) => {
            let why = format!("timeout_ms is 1 to {TIMEOUT_MS_MAX}, not {ms}");
            return Err(Failure::invalid(why));
        }
    };
    let (k, ef, rerank) = (body.k.unwrap_or(defaults.k), body.ef, body.rerank);
    let model = body.query_model;
    let options = SearchOptions { k, ef, filter, remaining, rerank, model };
    let found = match (body.text, body.vector) {
        (Some(text), None) => app.jobs.search_text(&name, &text, &options).await?,
        (None, Some(vector)) => app.jobs.search_vector(&name, vector, &options).await?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Failure::invalid("give either `text` or `vector`"));
        }
    };
    let answer = Found {
        hits: found
            .hits
            .into_iter()
            .map(|hit| Hit {
                id: hit.key.unwrap_or_else(|| hit.id.to_string()),
                record: hit.id,
                score: hit.score,
                payload: hit.payload,
            })
            .collect(),
        shards: found
            .shards
            .into_iter()
            .map(|view| Shard { mode: if view.exact { "exact" } else { "ann" }, view })
            .collect(),
        ef: found.ef,
    };
    tagged("edge-net.search/1", answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    sample: Option<usize>,
    k: Option<usize>,
    ef: Option<usize>,
}

#[derive(Serialize)]
struct CheckAnswer {
    collection: String,
    node: NodeId,
    holds: bool,
    /// Of all records sampled.
    recall: f64,
    unreachable: usize,
    shards: Vec<ShardChecked>,
}

#[derive(Serialize)]
struct ShardChecked {
    shard: ShardId,
    rows: u64,
    seq: u64,
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy: Option<CopyView>,
}

/// This node's copy of a shard.
#[derive(Serialize)]
struct CopyView {
    seq: u64,
    rows: u64,
    root: Digest,
    intact: bool,
    mode: &'static str,
    sampled: usize,
    recall: f64,
    recall_min: f64,
    unreachable: usize,
}

impl From<CheckedShard> for ShardChecked {
    fn from(checked: CheckedShard) -> Self {
        let holds = checked.holds();
        let copy = checked.copy.map(|copy| {
            let RecallCheck { sampled, mode, recall, recall_min, unreachable } = copy.recall;
            CopyView {
                seq: copy.seq,
                rows: copy.rows,
                root: copy.root,
                intact: copy.intact,
                mode: if mode == Mode::Exact { "exact" } else { "ann" },
                sampled,
                recall,
                recall_min,
                unreachable,
            }
        });
        let view = checked.view;
        ShardChecked { shard: view.shard, rows: view.rows, seq: view.seq, holds, copy }
    }
}

/// `POST /api/v1/collections/{name}/check`: the copies that this node holds.
pub(crate) async fn check(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(body): Body<Check>,
) -> Outcome {
    let defaults = CheckOptions::default();
    let options = CheckOptions {
        sample: body.sample.unwrap_or(defaults.sample),
        k: body.k.unwrap_or(defaults.k),
        ef: body.ef,
    };
    let checked = app.jobs.check_collection(&name, options).await?;
    let of = |checked: &CheckedShard| checked.copy.map(|copy| copy.recall);
    let copies: Vec<RecallCheck> = checked.iter().filter_map(of).collect();
    let sampled: usize = copies.iter().map(|copy| copy.sampled).sum();
    let found: f64 = copies.iter().map(|copy| copy.recall * copy.sampled as f64).sum();
    let answer = CheckAnswer {
        collection: name,
        node: app.node.node(),
        holds: checked.iter().all(CheckedShard::holds),
        recall: if sampled == 0 { 1.0 } else { found / sampled as f64 },
        unreachable: copies.iter().map(|copy| copy.unreachable).sum(),
        shards: checked.into_iter().map(ShardChecked::from).collect(),
    };
    tagged("edge-net.check/1", answer)
}
