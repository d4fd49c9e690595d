//! What people ask for, made of commands: embed, match, import, search.
//!
//! A job is a future over [`NodeHandle::call`]: dropping it abandons what is in flight. Nothing here
//! decides about trust or money; a job splits work into tasks of good size, checks what a caller
//! gave before anybody is paid for it, and decodes what comes back.

mod check;
mod compress;
mod delete;
mod encrypt;
mod here;
mod import;
mod matching;

use std::sync::{Arc, LazyLock};

use edge_base::{Credits, Digest, Micros, NodeId, RecordId, TaskId, TaskKind, shard::HITS_MAX};
use edge_embed::{Model, Registry, Tokenizer};
use edge_swarm::{
    Answer, Command, Refusal,
    command::{Canaries, Check, CollectionView, Priority, ShardSearchView, TaskRequest},
};
use edge_tasks::{
    EmbeddingPayload, EmbeddingResult, Layout, Mixed, RecordBody, TaskError, VectorQuery,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::runtime::NodeHandle;

pub use check::{CheckOptions, CheckedShard, SAMPLE_MAX};
pub use compress::Compressed;
pub use delete::Deleted;
pub use encrypt::Encrypted;
pub use here::RERANKED;
pub use import::{
    ImportError, ImportOptions, ImportReport, Progress, Record, RecordError, RecordKey,
};
pub use matching::{LabelledText, MatchQuestion, Matched, MatchedText};

/// Texts one embedding task takes.
pub const TEXTS_PER_TASK: usize = 64;
/// Texts of one call: its answer is kept in memory.
const TEXTS_MAX: usize = 16_384;
/// Bytes of text one embedding task takes, unless a single text is larger.
pub const TEXT_BYTES_PER_TASK: usize = 512 << 10;
/// Cost units (microseconds of a core) that one embedding task takes, unless a single text costs more.
pub const UNITS_PER_TASK: u64 = 100_000;
/// The largest text that is taken.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Labels a match takes.
pub const LABELS_MAX: usize = 256;
/// Embedding tasks in flight for one job.
const TASKS_IN_FLIGHT: usize = 8;

static MODELS: LazyLock<Registry> = LazyLock::new(Registry::builtin);

/// The content hash of the model that is used when nobody says which.
pub fn default_model() -> Digest {
    MODELS.by_name("default").map(|model| model.id()).unwrap_or_default()
}

/// What a collection of texts is created with: the default model, compared by cosine.
pub fn default_layout() -> Layout {
    let model = default_model();
    let dim = MODELS.get(&model).map_or(1, |model| model.dim());
    Layout::texts(u32::try_from(dim).unwrap_or(u32::MAX), model)
}

/// How a job's tasks are to be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskOptions {
    /// Urgency.
    pub priority: Priority,
    /// Give up after this long.
    pub remaining: Micros,
    /// The most one execution may cost.
    pub price_max: Option<Credits>,
}

impl Default for TaskOptions {
    fn default() -> Self {
        let remaining = Micros::from_secs(60);
        TaskOptions { priority: Priority::Normal, remaining, price_max: None }
    }
}

/// How one task of a job was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskCheck {
    /// The task.
    pub task: TaskId,
    /// Who agreed and why it is believed.
    pub check: Check,
}

/// Vectors of texts.
#[derive(Clone, PartialEq, Debug)]
pub struct Embedded {
    /// The model.
    pub model: Digest,
    /// Components of each vector.
    pub dim: u32,
    /// One for each text, in order.
    pub vectors: Vec<Vec<f32>>,
    /// The tasks that made them.
    pub tasks: Vec<TaskCheck>,
}

/// One record found.
#[derive(Clone, PartialEq, Debug)]
pub struct Hit {
    /// The record.
    pub id: RecordId,
    /// The id its caller gave it, if it was given one.
    pub key: Option<String>,
    /// Larger is better.
    pub score: f32,
    /// What was stored with it; `text` is the text it was made of, if it was.
    pub payload: serde_json::Map<String, serde_json::Value>,
}

/// What a search found, and how.
#[derive(Clone, Debug)]
pub struct Found {
    /// Best first.
    pub hits: Vec<Hit>,
    /// One line for each shard.
    pub shards: Vec<ShardSearchView>,
    /// The search effort that was used.
    pub ef: u32,
}

/// What a search asks for.
#[derive(Clone, PartialEq, Debug)]
pub struct SearchOptions {
    /// How many hits, 1 to [`HITS_MAX`].
    pub k: u32,
    /// Search effort; the collection's default without.
    pub ef: Option<u32>,
    /// A filter over payloads, JSON.
    pub filter: Option<Vec<u8>>,
    /// Give up after this long.
    pub remaining: Micros,
    /// The model, by its name at this node, that ranks the best [`RERANKED`] hits again by their texts.
    pub rerank: Option<String>,
    /// The model, by its name at this node, that embeds the question in place of the collection's: one whose
    /// vectors are of the same space.
    pub model: Option<String>,
}

impl Default for SearchOptions {
    fn default() -> Self {
        let remaining = Micros::from_secs(30);
        SearchOptions { k: 10, ef: None, filter: None, remaining, rerank: None, model: None }
    }
}

/// The jobs of a node.
#[derive(Clone, Debug)]
pub struct Jobs {
    node: NodeHandle,
}

impl Jobs {
    /// Of this node.
    pub fn new(node: NodeHandle) -> Self {
        Jobs { node }
    }

    /// The node.
    pub fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// Embeds texts with the built-in model, in tasks of at most [`TEXTS_PER_TASK`].
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for no text, an empty or a too large one; what the peer refuses.
    pub async fn embed(&self, texts: &[String], options: TaskOptions) -> Result<Embedded, Refusal> {
        self.embed_with(default_model(), texts, options).await
    }

    /// As [`Jobs::embed`], with a model of one's own choice.
    ///
    /// # Errors
    /// As [`Jobs::embed`]; [`Refusal::NotFound`] for a model this program has not got.
    pub async fn embed_with(
        &self,
        model: Digest,
        texts: &[String],
        options: TaskOptions,
    ) -> Result<Embedded, Refusal> {
        if texts.is_empty() {
            return Err(Refusal::Invalid("no text to embed".into()));
        }
        if texts.len() > TEXTS_MAX {
            let text = format!("at most {TEXTS_MAX} texts at once, not {}", texts.len());
            return Err(Refusal::Invalid(text));
        }
        let Some(loaded) = self.node.models().get(&model).cloned() else {
            return Err(self.no_model(&model.short()));
        };
        for (index, text) in texts.iter().enumerate() {
            check_text(text).map_err(|why| Refusal::Invalid(format!("text {index}: {why}")))?;
        }
        // Owned parts: a future that borrows the texts is not `Send` for every lifetime.
        let cost = |text: &str| edge_tasks::model_units(&*loaded, &[text]);
        let groups: Vec<Vec<String>> =
            groups(texts, cost).into_iter().map(<[String]>::to_vec).collect();
        let results: Vec<(EmbeddingResult, TaskCheck)> = stream::iter(groups)
            .map(|group| {
                let jobs = self.clone();
                let model = loaded.clone();
                async move { jobs.embed_task(&*model, &group, options).await }
            })
            .buffered(TASKS_IN_FLIGHT)
            .try_collect()
            .await?;
        let dim = results.first().map_or(0, |(result, _)| result.dim);
        let mut embedded = Embedded { model, dim, vectors: Vec::new(), tasks: Vec::new() };
        for (result, task) in results {
            let rows = result.vectors.chunks_exact(result.dim.max(1) as usize);
            embedded.vectors.extend(rows.map(<[f32]>::to_vec));
            embedded.tasks.push(task);
        }
        Ok(embedded)
    }

    fn no_model(&self, name: &str) -> Refusal {
        let known: Vec<&str> = self.node.models().names().map(|(name, _)| name).collect();
        let known = known.join(", ");
        Refusal::NotFound(format!(
            "there is no model {name} at this node; there are: {known}; `edge-net model add` adds one, which \
             a running node has after a restart"
        ))
    }

    /// A model of this node by its name; the default one without.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] names those there are.
    pub fn model(&self, name: Option<&str>) -> Result<Arc<dyn Model>, Refusal> {
        let name = name.unwrap_or("default");
        self.node.models().by_name(name).cloned().ok_or_else(|| self.no_model(name))
    }

    async fn embed_task(
        &self,
        model: &dyn Model,
        texts: &[String],
        options: TaskOptions,
    ) -> Result<(EmbeddingResult, TaskCheck), Refusal> {
        let batch = EmbeddingPayload { model: model.id(), texts: texts.to_vec() };
        let mixed = self.node.canaries().mix(&batch);
        let mixed = mixed.unwrap_or_else(|| Mixed::without(batch.clone()));
        let units = edge_tasks::model_units(model, &strs(&mixed.payload.texts));
        let TaskOptions { priority, remaining, price_max } = options;
        let request = TaskRequest {
            kind: TaskKind::Embedding,
            payload: mixed.payload.encode().into(),
            pin: edge_tasks::pin_of(&batch.model),
            units,
            priority,
            remaining,
            price_max,
            among: None,
            canaries: Canaries { share_ppm: mixed.share_ppm(), known: mixed.known() },
        };
        let (bytes, task) = self.submit(request).await?;
        let result = EmbeddingResult::decode(&bytes).map_err(malformed)?;
        let result = mixed.strip(&result).unwrap_or(result);
        if result.vectors.len() != texts.len() * result.dim as usize {
            return Err(Refusal::Failed("the checked result has another shape".into()));
        }
        // A worker's own word makes nothing known.
        if task.check.audit_ppm.is_none() {
            self.node.canaries().learn(&batch, &result);
        }
        Ok((result, task))
    }

    async fn task(
        &self,
        kind: TaskKind,
        pin: Digest,
        payload: Vec<u8>,
        units: u64,
        options: TaskOptions,
    ) -> Result<(Arc<[u8]>, TaskCheck), Refusal> {
        self.task_among(kind, pin, payload, units, options, None).await
    }

    async fn task_among(
        &self,
        kind: TaskKind,
        pin: Digest,
        payload: Vec<u8>,
        units: u64,
        options: TaskOptions,
        among: Option<Vec<NodeId>>,
    ) -> Result<(Arc<[u8]>, TaskCheck), Refusal> {
        let canaries = Canaries::default();
        let TaskOptions { priority, remaining, price_max } = options;
        let payload = payload.into();
        self.submit(TaskRequest {
            kind,
            payload,
            pin,
            units,
            priority,
            remaining,
            price_max,
            among,
            canaries,
        })
        .await
    }

    async fn submit(&self, request: TaskRequest) -> Result<(Arc<[u8]>, TaskCheck), Refusal> {
        match self.node.call(Command::Submit(request)).await? {
            Answer::Task(result) => {
                Ok((result.result, TaskCheck { task: result.task, check: result.check }))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Creates a collection for texts, with the built-in model.
    ///
    /// # Errors
    /// What the peer refuses: a bad or taken name.
    pub async fn create_collection(&self, name: &str) -> Result<CollectionView, Refusal> {
        self.create_collection_with(name, &default_layout()).await
    }

    /// Creates a collection with a layout of one's own.
    ///
    /// # Errors
    /// What the peer refuses: a bad or taken name.
    pub async fn create_collection_with(
        &self,
        name: &str,
        layout: &Layout,
    ) -> Result<CollectionView, Refusal> {
        if matches!(name, "." | "..") {
            return Err(Refusal::Invalid(format!(
                "a collection named {name:?} could not be named in an address; add a letter"
            )));
        }
        let command = Command::CreateCollection { name: name.to_owned(), layout: layout.encode() };
        match self.node.call(command).await? {
            Answer::Collection(view) => Ok(view),
            other => Err(unexpected(&other)),
        }
    }

    /// The collections that this node knows.
    ///
    /// # Errors
    /// What the peer refuses.
    pub async fn collections(&self) -> Result<Vec<CollectionView>, Refusal> {
        match self.node.call(Command::ListCollections).await? {
            Answer::Collections(views) => Ok(views),
            other => Err(unexpected(&other)),
        }
    }

    /// One collection with its layout.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] that names the existing ones.
    pub async fn collection(&self, name: &str) -> Result<(CollectionView, Layout), Refusal> {
        let views = self.collections().await?;
        let names: Vec<String> = views.iter().map(|view| view.name.clone()).collect();
        let named = views.into_iter().filter(|view| view.name == name);
        // As the peer looks for it: one of this node's own first.
        let view = named.min_by_key(|view| view.owner != self.node.node()).ok_or_else(|| {
            Refusal::NotFound(match names.as_slice() {
                [] => format!("there is no collection {name:?}, nor any other"),
                names => {
                    format!("there is no collection {name:?}; there are: {}", names.join(", "))
                }
            })
        })?;
        let layout = Layout::decode(&view.layout).map_err(|error| {
            Refusal::Failed(format!("collection {name:?} has a layout of another version: {error}"))
        })?;
        Ok((view, layout))
    }

    /// Searches a collection for what is nearest to a text.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] names the existing collections; [`Refusal::Invalid`] for a collection
    /// of plain vectors or options out of range; what the peer refuses.
    pub async fn search_text(
        &self,
        collection: &str,
        text: &str,
        options: &SearchOptions,
    ) -> Result<Found, Refusal> {
        let Some(name) = &options.rerank else {
            return self.search_text_once(collection, text, options).await;
        };
        let model = self.model(Some(name))?;
        check_k(options.k)?;
        let wide = SearchOptions { k: options.k.max(RERANKED), ..options.clone() };
        let found = self.search_text_once(collection, text, &wide).await?;
        let mut hits = here::rerank(model, text, found.hits).await?;
        hits.truncate(options.k as usize);
        Ok(Found { hits, ..found })
    }

    async fn search_text_once(
        &self,
        collection: &str,
        text: &str,
        options: &SearchOptions,
    ) -> Result<Found, Refusal> {
        let (view, layout) = self.collection(collection).await?;
        if layout.model == Digest::default() {
            return Err(Refusal::Invalid(format!(
                "collection {collection:?} holds plain vectors: search it by a vector"
            )));
        }
        let asks = match &options.model {
            None => layout.model,
            Some(name) => {
                let model = self.model(Some(name))?;
                if model.dim() != layout.dim as usize {
                    return Err(Refusal::Invalid(format!(
                        "the model {name} makes vectors of {} components, collection {collection:?} has \
                         {}: they are not of one space",
                        model.dim(),
                        layout.dim
                    )));
                }
                model.id()
            }
        };
        let Some(model) = self.node.models().get(&asks).cloned() else {
            return Err(Refusal::NotFound(format!(
                "the texts of collection {collection:?} were embedded by model {}, which this node has not \
                 got: take its file from a node that has it (`edge-net model ls` there), `edge-net model \
                 add FILE` here, and start the node again",
                asks.short()
            )));
        };
        // Nobody compares a query's vector, and two strangers would make it for pay.
        let vectors = here::embed(model, vec![text.to_owned()]).await?;
        let vector = vectors.into_iter().next().unwrap_or_default();
        self.search(&view, &layout, vector, options).await
    }

    /// Searches a collection for what is nearest to a vector.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] names the existing collections; [`Refusal::Invalid`] for another
    /// dimension, components that are not finite, options out of range; what the peer refuses.
    pub async fn search_vector(
        &self,
        collection: &str,
        vector: Vec<f32>,
        options: &SearchOptions,
    ) -> Result<Found, Refusal> {
        if options.rerank.is_some() || options.model.is_some() {
            let text = "a model embeds words, and ranks hits by them: give a text";
            return Err(Refusal::Invalid(text.into()));
        }
        let (view, layout) = self.collection(collection).await?;
        self.search(&view, &layout, vector, options).await
    }

    async fn search(
        &self,
        view: &CollectionView,
        layout: &Layout,
        vector: Vec<f32>,
        options: &SearchOptions,
    ) -> Result<Found, Refusal> {
        check_vector(&vector, layout.dim).map_err(Refusal::Invalid)?;
        check_k(options.k)?;
        let ef = options.ef.unwrap_or(layout.ef);
        let rows = view.shards.iter().map(|shard| shard.rows).max().unwrap_or(0);
        let units = edge_tasks::search_units(rows, options.k);
        let filter = options.filter.clone();
        let query = VectorQuery { metric: layout.metric, vector, ef: options.ef, filter };
        query.check().map_err(|error| Refusal::Invalid(error.to_string()))?;
        let command = Command::Search {
            collection: view.name.clone(),
            k: options.k,
            query: query.encode(),
            units,
            remaining: options.remaining,
        };
        let found = match self.node.call(command).await? {
            Answer::Found(found) => found,
            other => return Err(unexpected(&other)),
        };
        let hits = found.hits.iter().map(|hit| {
            let body = RecordBody::decode(&hit.body).map_err(malformed)?;
            let mut payload = match body.payload.as_slice() {
                [] => serde_json::Map::new(),
                bytes => serde_json::from_slice(bytes)
                    .map_err(|error| Refusal::Failed(format!("record {}: {error}", hit.id)))?,
            };
            let key = edge_tasks::take_key(&hit.id, &mut payload);
            Ok(Hit { id: hit.id, key, score: edge_tasks::score_from_key(hit.score), payload })
        });
        let hits = hits.collect::<Result<_, Refusal>>()?;
        Ok(Found { hits, shards: found.shards, ef })
    }
}

/// Whether a text can be embedded at all.
fn check_text(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("it is empty".into());
    }
    let mut first = Vec::new();
    Tokenizer::builtin().encode(text, 1, &mut first);
    if first.is_empty() {
        return Err("it has no word and no sign, only characters that nobody sees".into());
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("{} bytes are over the limit of {TEXT_BYTES_MAX}", text.len()));
    }
    Ok(())
}

/// Whether so many hits can be asked for.
fn check_k(k: u32) -> Result<(), Refusal> {
    if k == 0 || k as usize > HITS_MAX {
        return Err(Refusal::Invalid(format!("k is 1 to {HITS_MAX}, not {k}")));
    }
    Ok(())
}

/// Whether a vector fits a collection.
fn check_vector(vector: &[f32], dim: u32) -> Result<(), String> {
    if vector.len() != dim as usize {
        let got = vector.len();
        return Err(format!("the collection has vectors of {dim} components, not {got}"));
    }
    match vector.iter().position(|component| !component.is_finite()) {
        Some(at) => Err(format!("component {at} of the vector is not a finite number")),
        None => Ok(()),
    }
}

/// Slices of at most [`TEXTS_PER_TASK`] texts, [`TEXT_BYTES_PER_TASK`] bytes and [`UNITS_PER_TASK`] by
/// what each text costs, at least one text.
fn groups(texts: &[String], cost: impl Fn(&str) -> u64) -> Vec<&[String]> {
    let mut groups = Vec::new();
    let (mut start, mut bytes, mut units) = (0, 0, 0);
    for (at, text) in texts.iter().enumerate() {
        let more = cost(text);
        let full = at - start == TEXTS_PER_TASK
            || bytes + text.len() > TEXT_BYTES_PER_TASK
            || units + more > UNITS_PER_TASK;
        if at > start && full {
            groups.push(&texts[start..at]);
            (start, bytes, units) = (at, 0, 0);
        }
        bytes += text.len();
        units += more;
    }
    if start < texts.len() {
        groups.push(&texts[start..]);
    }
    groups
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn malformed(error: TaskError) -> Refusal {
    Refusal::Failed(format!("a checked result does not decode: {error}"))
}

fn unexpected(answer: &Answer) -> Refusal {
    let text: String = format!("{answer:?}").chars().take(80).collect();
    Refusal::Failed(format!("the peer answered something else: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_bounded_in_texts_and_bytes() {
        let lengths = |texts: &[String]| {
            groups(texts, |text| text.len() as u64 / 3).iter().map(|g| g.len()).collect::<Vec<_>>()
        };
        let short = vec!["word".to_owned(); 130];
        assert_eq!(lengths(&short), [64, 64, 2]);
        assert_eq!(lengths(&short[..64]), [64]);
        assert_eq!(lengths(&[]), [] as [usize; 0]);
        let long = |bytes: usize| "x".repeat(bytes);
        let mixed = [long(10), long(TEXT_BYTES_PER_TASK), long(TEXT_BYTES_MAX), long(10), long(10)];
        assert_eq!(lengths(&mixed), [1, 1, 1, 2]);
        let dear = groups(&short[..10], |_| UNITS_PER_TASK / 4 + 1);
        assert_eq!(dear.iter().map(|g| g.len()).collect::<Vec<_>>(), [3, 3, 3, 1]);
    }

    #[test]
    fn texts_and_vectors_that_cannot_work_are_refused_before_they_cost() {
        assert!(check_text("a").is_ok());
        assert!(check_text(" \n\t").is_err());
        for unseen in ["\0", "\u{200b}", " \u{feff}\u{301}"] {
            assert!(check_text(unseen).unwrap_err().contains("no word"), "{unseen:?}");
        }
        assert!(check_text(&"x".repeat(TEXT_BYTES_MAX + 1)).is_err());
        assert!(check_vector(&[1.0, 2.0], 2).is_ok());
        assert!(check_vector(&[1.0], 2).unwrap_err().contains("2 components, not 1"));
        assert!(check_vector(&[1.0, f32::NAN], 2).unwrap_err().contains("component 1"));
        assert!(check_vector(&[f32::INFINITY, 1.0], 2).unwrap_err().contains("component 0"));
    }
}
