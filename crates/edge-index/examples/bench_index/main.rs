//! Speed and recall of the index, beside hnswlib, faiss and usearch on the same rows in the same run.
//!
//! `cargo xtask bench index [-- [minilm|gaussian|clustered|growth] [--rows N] [--rivals A,B] [--m M,M0]]`
//! prints JSON lines. Times are CPU seconds of one thread pinned to one CPU (`clock`); ours and the rivals
//! take turns, and the median of five turns counts. Ours is asked query by query through [`Index::search`],
//! the rivals by their own batch call (no Python call is charged to a query). For each recall asked for,
//! every engine runs at the smallest ef that reaches it; recall is recomputed here from the rows returned,
//! against a comparison with every row. Where Python or the packages are missing a line says "not run".
#![allow(clippy::disallowed_methods)] // a benchmark reads the clock

use anyhow::{Context, Result, bail};
use edge_base::{Digest, RecordId};
use edge_index::{Index, IndexConfig, Mapping, Metric, Op, Record, Storage, score};
use memmap2::Mmap;
use serde_json::json;

mod clock;
#[path = "../../tests/support/clustered.rs"]
mod clustered;
mod rivals;

use clock::Clock;
use rivals::{Cache, Rivals};

const K: usize = 10;
const QUERIES: usize = 1_000;
const TURNS: usize = 5;
/// A turn answers the queries as often as it takes to run this long.
const TURN_S: f64 = 0.2;
const EF_MAX: usize = 4_096;

fn report(bench: &str, metric: &str, value: f64, unit: &str, rival: Option<(&str, f64)>) {
    let mut line = json!({ "bench": bench, "metric": metric, "value": value, "unit": unit });
    if let Some((rival, rival_value)) = rival {
        let better = if unit == "queries/s" { value / rival_value } else { rival_value / value };
        line["rival"] = json!(rival);
        line["rival_value"] = json!(rival_value);
        line["ratio"] = json!(better);
    }
    #[allow(clippy::print_stdout)]
    {
        println!("{line}");
    }
}

/// Rows and queries in the form that every engine gets.
struct Data {
    name: String,
    dim: usize,
    metric: Metric,
    /// `[rows, dim]`
    rows: Vec<f32>,
    /// `[queries, dim]`
    queries: Vec<f32>,
    /// `[queries, K]`, by a comparison with every row.
    truth: Vec<u32>,
}

impl Data {
    fn new(name: &str, dim: usize, metric: Metric, mut rows: Vec<f32>, queries: usize) -> Self {
        for row in rows.chunks_mut(dim) {
            let canonical = metric.canonical(row).expect("a row with a direction").into_owned();
            row.copy_from_slice(&canonical);
        }
        let asked = rows.split_off(rows.len() - queries * dim);
        let name = format!("index/{name} {}x{dim}", rows.len() / dim);
        let mut data = Data { name, dim, metric, rows, queries: asked, truth: Vec::new() };
        let truth = data.queries.chunks(dim).flat_map(|query| data.nearest(query)).collect();
        data.truth = truth;
        data
    }

    /// By definition: every score, sorted.
    fn nearest(&self, query: &[f32]) -> Vec<u32> {
        let scores: Vec<f32> = match self.metric {
            Metric::L2 => {
                let rows = self.rows.chunks(self.dim);
                rows.map(|row| score(self.metric, query, row)).collect()
            }
            Metric::Cosine | Metric::Dot => {
                let mut out = vec![0.0; self.rows.len() / self.dim];
                edge_kernels::canon::dot_many(query, &self.rows, self.dim, &mut out);
                out
            }
        };
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        let by_score = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]);
        order.select_nth_unstable_by(K, by_score);
        order.truncate(K);
        order
    }

    fn recall(&self, found: &[u32]) -> f64 {
        let pairs = found.chunks(K).zip(self.truth.chunks(K));
        let hits: usize = pairs.map(|(f, t)| f.iter().filter(|row| t.contains(row)).count()).sum();
        hits as f64 / self.truth.len() as f64
    }
}

/// Our index over the data; record n has the digest of n as its id.
struct Ours {
    index: Index,
    by_id: std::collections::BTreeMap<RecordId, u32>,
}

impl Ours {
    fn build(data: &Data, config: IndexConfig) -> Result<(Self, f64, f64)> {
        let mut index = Index::new(config)?;
        let id = |n: usize| RecordId(Digest::of(&(n as u64).to_le_bytes()));
        let before = clock::resident();
        let clock = Clock::start();
        for (n, row) in data.rows.chunks(data.dim).enumerate() {
            let record = Record { id: id(n), vector: row.to_vec(), payload: Vec::new() };
            index.apply(Op::Upsert(record))?;
        }
        let seconds = clock.seconds();
        let bytes = clock::resident().saturating_sub(before);
        let by_id = (0..index.len()).map(|n| (id(n), n as u32)).collect();
        Ok((Ours { index, by_id }, seconds, bytes as f64))
    }

    /// As a node does with a shard at rest: the f32 rows are those of a snapshot's file.
    fn move_vectors_into_a_file(&mut self) -> Result<()> {
        let mut file = tempfile::tempfile()?;
        self.index.write_snapshot(&mut file)?;
        // SAFETY: the file has no name and is not written to any more.
        let mapping = Mapping::new(unsafe { Mmap::map(&file)? });
        if !self.index.move_into(&mapping)? {
            bail!("the rows of the snapshot do not lie where numbers may lie");
        }
        Ok(())
    }

    fn answers(&self, data: &Data, ef: usize) -> Vec<u32> {
        let mut out = Vec::new();
        for query in data.queries.chunks(data.dim) {
            let found = self.index.search(query, K, Some(ef), None).expect("a query");
            out.extend(found.hits.iter().map(|hit| self.by_id[&hit.id]));
        }
        out
    }

    fn seconds(&self, queries: &[f32], ef: usize, repeat: usize) -> f64 {
        let clock = Clock::start();
        for _ in 0..repeat {
            for query in queries.chunks(self.index.config().dim) {
                std::hint::black_box(self.index.search(query, K, Some(ef), None).expect("a query"));
            }
        }
        clock.seconds()
    }
}

/// The smallest ef whose recall is at least `wanted`, with that recall.
fn least_ef(
    wanted: f64,
    mut recall: impl FnMut(usize) -> Result<f64>,
) -> Result<Option<(usize, f64)>> {
    let (mut low, mut high) = (K, 2 * K);
    let mut reached = recall(low)?;
    if reached >= wanted {
        return Ok(Some((low, reached)));
    }
    loop {
        reached = recall(high)?;
        if reached >= wanted {
            break;
        }
        low = high;
        high *= 2;
        if high > EF_MAX {
            return Ok(None);
        }
    }
    // Within 3 %: finer is noise.
    while high - low > 1 + low / 32 {
        let middle = usize::midpoint(low, high);
        let got = recall(middle)?;
        if got >= wanted {
            (high, reached) = (middle, got);
        } else {
            low = middle;
        }
    }
    Ok(Some((high, reached)))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One engine at one ef.
struct Runner {
    engine: Option<String>,
    ef: usize,
    recall: f64,
    repeat: usize,
    qps: Vec<f64>,
}

fn compare(
    data: &Data,
    ours: &Ours,
    mut rivals: Option<(Rivals, Vec<String>)>,
    recalls: &[f64],
) -> Result<()> {
    let queries = data.queries.len() / data.dim;
    for wanted in recalls {
        let mut runners = Vec::new();
        let at = least_ef(*wanted, |ef| Ok(data.recall(&ours.answers(data, ef))))?;
        let Some((ef, recall)) = at else {
            report(&data.name, &format!("recall {wanted} not reached"), 1.0, "bool", None);
            continue;
        };
        runners.push(Runner { engine: None, ef, recall, repeat: 1, qps: Vec::new() });
        if let Some((rivals, engines)) = &mut rivals {
            for engine in engines.iter() {
                let at = least_ef(*wanted, |ef| Ok(data.recall(&rivals.answers(engine, K, ef)?)))?;
                let Some((ef, recall)) = at else {
                    let what = format!("{engine}: recall {wanted} not reached");
                    report(&data.name, &what, 1.0, "bool", None);
                    continue;
                };
                let engine = Some(engine.clone());
                runners.push(Runner { engine, ef, recall, repeat: 1, qps: Vec::new() });
            }
        }
        for turn in 0..=TURNS {
            for runner in &mut runners {
                let seconds = match (&runner.engine, &mut rivals) {
                    (Some(engine), Some((rivals, _))) => {
                        rivals.seconds(engine, K, runner.ef, runner.repeat)?
                    }
                    _ => ours.seconds(&data.queries, runner.ef, runner.repeat),
                };
                // The first turn warms up and says how much a turn is.
                if turn == 0 {
                    runner.repeat = ((TURN_S / seconds) as usize).max(1);
                } else {
                    runner.qps.push((runner.repeat * queries) as f64 / seconds);
                }
            }
        }
        let mut best: Option<(String, f64)> = None;
        let mut mine = 0.0;
        for runner in &mut runners {
            let qps = median(&mut runner.qps);
            let (name, ef, recall) = (runner.engine.as_deref(), runner.ef, runner.recall);
            let what =
                format!("{} at recall {wanted} (ef {ef}, {recall:.4})", name.unwrap_or("ours"));
            match name {
                None => mine = qps,
                Some(name) if best.as_ref().is_none_or(|(_, most)| qps > *most) => {
                    best = Some((name.to_owned(), qps));
                }
                Some(_) => {}
            }
            report(&data.name, &what, qps, "queries/s", None);
        }
        if let Some((name, qps)) = best {
            let what = format!("ours against the best at recall {wanted}");
            report(&data.name, &what, mine, "queries/s", Some((&name, qps)));
        }
    }
    Ok(())
}

/// What the command line asks for.
struct Options {
    sets: Vec<String>,
    rows: Option<usize>,
    rivals: Vec<String>,
    m: Option<(usize, usize)>,
    ef_construction: usize,
    storage: Storage,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Options {
            sets: Vec::new(),
            rows: None,
            rivals: RIVALS.map(str::to_owned).to_vec(),
            m: None,
            ef_construction: 200,
            storage: Storage::Int8,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} what?"));
            match argument.as_str() {
                "--json" => {}
                "--rows" => options.rows = Some(value()?.parse()?),
                "--storage" => {
                    let name = value()?;
                    let named = Storage::from_name(&name);
                    options.storage = named.with_context(|| format!("no storage `{name}`"))?;
                }
                "--efc" => options.ef_construction = value()?.parse()?,
                "--rivals" => {
                    let names = value()?;
                    let names = names.split(',').filter(|name| !name.is_empty());
                    options.rivals = names.map(str::to_owned).collect();
                }
                "--m" => {
                    let text = value()?;
                    let (m, m0) = text.split_once(',').context("--m M,M0")?;
                    options.m = Some((m.parse()?, m0.parse()?));
                }
                set if SETS.contains(&set) => options.sets.push(set.to_owned()),
                other => bail!("`{other}`: there are {}", SETS.join(", ")),
            }
        }
        if options.sets.is_empty() {
            options.sets =
                ["minilm", "gaussian", "clustered", "growth"].map(str::to_owned).to_vec();
        }
        Ok(options)
    }

    fn config(&self, data: &Data) -> IndexConfig {
        let default = IndexConfig::new(data.dim, data.metric);
        let (m, m0) = self.m.unwrap_or((default.m, default.m0));
        let (storage, ef_construction) = (self.storage, self.ef_construction);
        IndexConfig { m, m0, storage, ef_construction, ..default }
    }
}

/// Each with 16 links a row, as published comparisons do, the strongest with 32 as well, as ours.
const RIVALS: [&str; 8] = [
    "hnswlib",
    "faiss",
    "faiss/sq8",
    "faiss/sq8-m32",
    "usearch",
    "usearch/bf16",
    "usearch/i8",
    "ruvector",
];
const SETS: [&str; 4] = ["minilm", "gaussian", "clustered", "growth"];

fn data(set: &str, options: &Options, cache: Option<&Cache>) -> Result<Data> {
    let rows = |default: usize| options.rows.unwrap_or(default);
    Ok(match set {
        "minilm" => {
            let rows = cache.context("no Python environment")?.minilm(rows(50_000) + QUERIES)?;
            Data::new("minilm", 384, Metric::Cosine, rows, QUERIES)
        }
        "gaussian" => {
            let count = rows(20_000) + QUERIES;
            let mut rng = edge_base::Rng::derive(1, "index/bench/gaussian");
            let flat = clustered::normals(count * 128, &mut rng);
            Data::new("gaussian", 128, Metric::Cosine, flat, QUERIES)
        }
        _ => {
            let rows = clustered::clustered(rows(50_000) + QUERIES, 256, 1);
            Data::new("clustered", 256, Metric::Cosine, rows.concat(), QUERIES)
        }
    })
}

fn measure(set: &str, options: &Options, cache: Option<&Cache>) -> Result<()> {
    if set == "growth" {
        clock::pin_to_one_cpu();
        return growth(options);
    }
    // Made by as many threads as there are CPUs; what is measured from here on has one.
    let data = data(set, options, cache)?;
    clock::pin_to_one_cpu();
    let name = &data.name;
    let before = clock::resident();
    let (mut ours, build, bytes) = Ours::build(&data, options.config(&data))?;
    report(name, "ours: build", build, "s", None);
    report(name, "ours: resident as built", bytes / 1e6, "MB", None);
    ours.move_vectors_into_a_file()?;
    clock::give_back_memory();
    let heap = clock::resident().saturating_sub(before) as f64;
    report(name, "ours: resident, f32 rows mapped", heap / 1e6, "MB", None);
    let memory = ours.index.memory();
    let parts = [("codes", memory.codes), ("links", memory.links), ("f32 rows", memory.mapped)];
    for (part, bytes) in parts {
        report(name, &format!("ours: {part}"), bytes as f64 / 1e6, "MB", None);
    }
    let mut rivals = None;
    if let Some(cache) = cache.filter(|_| !options.rivals.is_empty()) {
        let metric = data.metric.name();
        let mut process = Rivals::start(cache, &data.rows, &data.queries, data.dim, metric)?;
        let mut engines = Vec::new();
        for engine in &options.rivals {
            match process.build(engine) {
                Ok(step) => {
                    let what = format!("{engine}: build");
                    report(name, &what, step.cpu_s, "s", None);
                    let what = format!("{engine}: resident");
                    report(name, &what, step.bytes / 1e6, "MB", None);
                    if engine == "faiss" {
                        report(name, "ours: build", build, "s", Some((engine, step.cpu_s)));
                    }
                    engines.push(engine.clone());
                }
                Err(error) => report(name, &format!("not run: {error}"), 0.0, "bool", None),
            }
        }
        rivals = Some((process, engines));
    }
    let recalls: &[f64] = if set == "minilm" { &[0.95, 0.97, 0.988, 0.994] } else { &[0.95, 0.99] };
    compare(&data, &ours, rivals, recalls)?;
    if set == "clustered" { beside_scan(&data, &ours) } else { Ok(()) }
}

/// The graph beside our own scan of every row, by the number of rows.
fn growth(options: &Options) -> Result<()> {
    for count in options.rows.map_or(vec![10_000, 100_000], |rows| vec![rows]) {
        let rows = clustered::clustered(count + QUERIES, 256, 1).concat();
        let data = Data::new("growth", 256, Metric::Cosine, rows, QUERIES);
        let config = IndexConfig { exact_below: 1, ..options.config(&data) };
        let (walk, build, _) = Ours::build(&data, config)?;
        report(&data.name, "build", build, "s", None);
        beside_scan(&data, &walk)?;
    }
    Ok(())
}

/// Walks at a recall of .95 beside scans. With as many candidates as rows a search is a scan; a tenth of the
/// queries is enough for it.
fn beside_scan(data: &Data, ours: &Ours) -> Result<()> {
    const RECALL: f64 = 0.95;
    let at = least_ef(RECALL, |ef| Ok(data.recall(&ours.answers(data, ef))))?;
    let Some((ef, recall)) = at else { bail!("recall {RECALL} is not reached") };
    let few = &data.queries[..QUERIES / 10 * data.dim];
    let (mut walks, mut scans) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        walks.push(QUERIES as f64 / ours.seconds(&data.queries, ef, 1));
        scans.push((QUERIES / 10) as f64 / ours.seconds(few, ours.index.len(), 1));
    }
    let what = format!("walk at recall {RECALL} (ef {ef}, {recall:.4})");
    let rival = Some(("exact scan", median(&mut scans)));
    report(&data.name, &what, median(&mut walks), "queries/s", rival);
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    let cache = Cache::open();
    if let Err(error) = &cache {
        report("index", &format!("rivals not run: {error:#}"), 0.0, "bool", None);
    }
    for set in &options.sets {
        if let Err(error) = measure(set, &options, cache.as_ref().ok()) {
            report(&format!("index/{set}"), &format!("not run: {error:#}"), 0.0, "bool", None);
        }
    }
    Ok(())
}
