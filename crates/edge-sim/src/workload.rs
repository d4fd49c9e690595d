//! What the pool is asked to do: real tasks over real small texts.

use std::sync::Arc;

use edge_base::{Digest, Micros, RecordId, Rng, TaskKind, Work};
use edge_embed::{Model, StaticModel};
use edge_swarm::command::{Canaries, Change, Command, Priority, TaskRequest};
use edge_tasks::{
    EmbeddingPayload, Layout, MatchPayload, Metric, RecordBody, VectorQuery, append_units,
    compression::CompressionPayload, compression_pin, compression_units, embedding_units,
    match_pin, match_units, pin_of, record_id_for_text, search_units,
};

use crate::{queue::Instant, scenario::Scenario};

const CORPUS: &str = include_str!("corpus.txt");
/// A task that is not decided after this failed.
pub(crate) const TASK_WITHIN: Micros = Micros::from_secs(60);
/// A search that is not answered after this failed.
pub(crate) const SEARCH_WITHIN: Micros = Micros::from_secs(20);
/// Hits a search asks for.
pub(crate) const HITS: u32 = 5;

/// One record of a collection.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: RecordId,
    pub(crate) hash: Digest,
    pub(crate) body: Vec<u8>,
}

/// One thing a caller wants.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Execute a pure task.
    Submit { kind: TaskKind, payload: Arc<[u8]>, units: u64, high: bool },
    /// Make the collection with this number.
    Create { collection: usize },
    /// Append records to a collection.
    Append { collection: usize, records: Arc<Vec<Record>> },
    /// Search a collection.
    Search { collection: usize, vector: Arc<Vec<f32>> },
}

/// An action of a node at a time.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Instant,
    pub(crate) node: u32,
    pub(crate) action: Action,
    /// How often it was refused for the moment.
    pub(crate) tries: u32,
}

/// The name of a collection.
pub(crate) fn name_of(collection: usize) -> String {
    format!("collection-{collection}")
}

impl Action {
    pub(crate) fn command(&self) -> Command {
        match self {
            Action::Submit { kind, payload, units, high } => Command::Submit(TaskRequest {
                kind: *kind,
                payload: payload.clone(),
                pin: match kind {
                    TaskKind::Compression => compression_pin(),
                    TaskKind::SemanticMatch => match_pin(&model().id()),
                    _ => pin_of(&model().id()),
                },
                units: *units,
                priority: if *high { Priority::High } else { Priority::Normal },
                remaining: TASK_WITHIN,
                price_max: None,
                among: None,
                canaries: Canaries::default(),
            }),
            Action::Create { collection } => {
                Command::CreateCollection { name: name_of(*collection), layout: layout().encode() }
            }
            Action::Append { collection, records } => Command::Append {
                collection: name_of(*collection),
                changes: records
                    .iter()
                    .map(|record| Change {
                        entry: edge_base::shard::LogEntry {
                            id: record.id,
                            record: Some(record.hash),
                        },
                        body: record.body.clone(),
                    })
                    .collect(),
                units: append_units(records.len() as u64),
            },
            Action::Search { collection, vector } => Command::Search {
                collection: name_of(*collection),
                k: HITS,
                query: query(vector).encode(),
                units: search_units(100, HITS),
                remaining: SEARCH_WITHIN,
            },
        }
    }

    /// The pure work of a submitted task, to know the truth.
    pub(crate) fn work(&self) -> Option<Work> {
        match self {
            Action::Submit { kind, payload, .. } => {
                Some(Work::Run { kind: *kind, payload: payload.clone() })
            }
            Action::Create { .. } | Action::Append { .. } | Action::Search { .. } => None,
        }
    }
}

fn query(vector: &[f32]) -> VectorQuery {
    VectorQuery { metric: Metric::Cosine, vector: vector.to_vec(), ef: None, filter: None }
}

/// The best hits of a set of records for a query by a scan of all, best first.
pub(crate) fn scan<'a>(
    vector: &[f32],
    records: impl Iterator<Item = &'a Record>,
) -> Vec<(RecordId, u32)> {
    let mut hits: Vec<(RecordId, u32)> =
        records.filter_map(|r| Some((r.id, score_of(vector, &r.body)?))).collect();
    hits.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    hits.truncate(HITS as usize);
    hits
}

/// The score of a record for a query, as the integer that travels.
pub(crate) fn score_of(vector: &[f32], body: &[u8]) -> Option<u32> {
    let body = RecordBody::decode(body).ok()?;
    let vector = Metric::Cosine.canonical(vector).ok()?;
    let score = edge_index::score(Metric::Cosine, &vector, &body.vector);
    Some(edge_base::shard::score_key(score.to_bits()))
}

fn model() -> &'static StaticModel {
    StaticModel::builtin()
}

pub(crate) fn layout() -> Layout {
    Layout::texts(model().dim() as u32, model().id())
}

fn text(rng: &mut Rng) -> String {
    let lines: Vec<&str> = CORPUS.lines().collect();
    let sentence = |rng: &mut Rng| rng.pick(&lines).copied().unwrap_or_default();
    let (first, second) = (sentence(rng), sentence(rng));
    format!("{first} {second} ({})", rng.below(10_000))
}

fn embed(text: &str) -> Vec<f32> {
    let mut vector = Vec::new();
    model().embed(&[text], &mut vector).expect("invariant: the corpus has words");
    vector
}

fn record(rng: &mut Rng) -> Record {
    let text = text(rng);
    let payload = serde_json::json!({ "text": text }).to_string().into_bytes();
    let body = RecordBody::canonical(&layout(), embed(&text), payload)
        .expect("invariant: an embedding is a record's vector");
    let id = record_id_for_text(&text);
    let (entry, body) = body.entry(id);
    Record { id, hash: entry.record.unwrap_or_default(), body }
}

fn submit(rng: &mut Rng, kind: TaskKind) -> Action {
    let model = model().id();
    let high = rng.chance(1, 10);
    match kind {
        TaskKind::SemanticMatch => {
            let labels: Vec<String> = (0..2 + rng.below(4)).map(|_| text(rng)).collect();
            let texts = vec![text(rng)];
            let payload = MatchPayload { model, texts, labels, examples: Vec::new() };
            let units = match_units(self::model(), &payload);
            Action::Submit { kind, payload: payload.encode().into(), units, high }
        }
        TaskKind::Compression => {
            let words: Vec<String> = (0..1 + rng.below(20)).map(|_| text(rng)).collect();
            let payload = CompressionPayload::compress(words.join(" ").into_bytes());
            let units = compression_units(&payload);
            Action::Submit { kind, payload: payload.encode().into(), units, high }
        }
        // Encryption is for nodes of one owner; `edge-swarm/tests/among.rs` has it.
        TaskKind::Embedding
        | TaskKind::VectorInsert
        | TaskKind::VectorSearch
        | TaskKind::Encryption => {
            let texts: Vec<String> = (0..1 + rng.below(6)).map(|_| text(rng)).collect();
            let payload = EmbeddingPayload { model, texts };
            let texts: Vec<&str> = payload.texts.iter().map(String::as_str).collect();
            let units = embedding_units(&texts);
            let kind = TaskKind::Embedding;
            Action::Submit { kind, payload: payload.encode().into(), units, high }
        }
    }
}

/// The payload of an embedding that is worth an audit: some 40 kB.
pub(crate) fn long_payload(rng: &mut Rng) -> Vec<u8> {
    let texts = (0..80).map(|_| [text(rng), text(rng), text(rng)].join(" ")).collect();
    EmbeddingPayload { model: model().id(), texts }.encode()
}

/// Makes the embeddings among these long ones.
pub(crate) fn lengthen(steps: &mut [Step], seed: u64) {
    let mut rng = Rng::derive(seed, "long texts");
    for step in steps {
        if let Action::Submit { kind: TaskKind::Embedding, payload, units, .. } = &mut step.action {
            let long = long_payload(&mut rng);
            if let Ok(decoded) = EmbeddingPayload::decode(&long) {
                let texts: Vec<&str> = decoded.texts.iter().map(String::as_str).collect();
                *units = embedding_units(&texts);
            }
            *payload = long.into();
        }
    }
}

/// Everything that is asked, by time. Collections belong to `requesters` in turn.
pub(crate) fn plan(
    scenario: &Scenario,
    requesters: &[u32],
    start: Instant,
    seed: u64,
) -> Vec<Step> {
    let mut rng = Rng::derive(seed, "workload");
    let work = scenario.workload;
    let within = work.within.0.max(1);
    let mut steps = Vec::new();
    let kinds = [(TaskKind::Embedding, work.embeddings), (TaskKind::SemanticMatch, work.matches)];
    for (kind, count) in kinds {
        for _ in 0..count {
            let at = start + rng.below(within);
            let node = rng.pick(requesters).copied().unwrap_or(0);
            steps.push(Step { at, node, action: submit(&mut rng, kind), tries: 0 });
        }
    }
    for collection in 0..work.collections {
        let owner = requesters[collection % requesters.len()];
        let action = Action::Create { collection };
        steps.push(Step { at: start, node: owner, action, tries: 0 });
        for _ in 0..work.appends {
            let at = start + 1_000_000 + rng.below(within);
            let records = Arc::new((0..work.records).map(|_| record(&mut rng)).collect());
            let action = Action::Append { collection, records };
            steps.push(Step { at, node: owner, action, tries: 0 });
        }
        for _ in 0..work.searches {
            // The first half searches while batches arrive, the owner and others alike.
            let at = start + within / 4 + rng.below(within);
            let node = if rng.chance(1, 2) {
                owner
            } else {
                rng.pick(requesters).copied().unwrap_or(owner)
            };
            let vector = Arc::new(embed(&text(&mut rng)));
            let action = Action::Search { collection, vector };
            steps.push(Step { at, node, action, tries: 0 });
        }
    }
    for _ in 0..work.compressions {
        let at = start + rng.below(within);
        let node = rng.pick(requesters).copied().unwrap_or(0);
        let action = submit(&mut rng, TaskKind::Compression);
        steps.push(Step { at, node, action, tries: 0 });
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// Tasks of one node in a time.
pub(crate) fn tasks_of(
    node: u32,
    count: usize,
    start: Instant,
    within: Micros,
    seed: u64,
) -> Vec<Step> {
    let mut rng = Rng::derive(seed, "tasks of one");
    let mut step = |_| {
        let at = start + rng.below(within.0.max(1));
        Step { at, node, action: submit(&mut rng, TaskKind::Embedding), tries: 0 }
    };
    (0..count).map(&mut step).collect()
}

/// A few records for a collection that is removed again.
pub(crate) fn scratch_append(name: &str, seed: u64) -> Command {
    let mut rng = Rng::derive(seed, "scratch");
    let records = Arc::new((0..3).map(|_| record(&mut rng)).collect());
    match (Action::Append { collection: 0, records }).command() {
        Command::Append { changes, units, .. } => {
            Command::Append { collection: name.into(), changes, units }
        }
        other => other,
    }
}

/// A search of a collection by its name.
pub(crate) fn search_of(name: &str, seed: u64) -> Command {
    match last_search(0, seed).command() {
        Command::Search { k, query, units, remaining, .. } => {
            Command::Search { collection: name.into(), k, query, units, remaining }
        }
        other => other,
    }
}

/// A last search of a collection, when all is quiet.
pub(crate) fn last_search(collection: usize, seed: u64) -> Action {
    let mut rng = Rng::derive(seed ^ collection as u64, "last-search");
    Action::Search { collection, vector: Arc::new(embed(&text(&mut rng))) }
}
