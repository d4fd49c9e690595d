//! How good matches are, on labelled one-line texts that are no part of the product.
//! `cargo xtask bench match`, or `cargo run --release -p edge-tasks --example bench_match`; with
//! `--encoder FILE` by a sentence encoder that `edge-net model add` made a file of.
//!
//! Rivals are the ordinary methods over the same vectors: the centroid of the examples alone, and
//! the vote of the 1, 3 or 5 nearest examples. Half of the texts fit temperature and threshold of
//! matches without examples (a remark prints them), the other half measures.
#![allow(clippy::disallowed_methods, reason = "a benchmark has arguments")]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use edge_base::{Digest, Rng, TaskKind, Work};
use edge_embed::{Encoder, Model as _, Registry};
use edge_tasks::{
    EmbeddingPayload, EmbeddingResult, Example, Executor, MatchPayload, MatchResult, TaskError,
    default_model,
};

const SECTIONS: &str = include_str!("../tests/data/sections.tsv");
/// Texts of a label that are asked about; the others may be examples.
const ASKED: usize = 28;
const DRAWS: u64 = 5;

type Vector = Vec<f32>;

/// A text, its label's place (none for texts that fit no label) and its vector.
#[derive(Clone)]
struct Item {
    text: String,
    label: Option<usize>,
    vector: Vector,
}

struct Data {
    labels: Vec<String>,
    asked: Vec<Item>,
    pool: Vec<Item>,
    foreign: Vec<Item>,
}

/// What executes, and the model it is asked for.
static USED: OnceLock<(Executor, Digest)> = OnceLock::new();

fn used() -> &'static (Executor, Digest) {
    USED.get_or_init(|| {
        let mut arguments = std::env::args().skip_while(|argument| argument != "--encoder").skip(1);
        let Some(file) = arguments.next() else { return (Executor::new(), default_model()) };
        let bytes = std::fs::read(&file).expect("--encoder: a file");
        let encoder = Encoder::from_download("encoder", &bytes).expect("--encoder: a model");
        let id = encoder.id();
        let mut models = Registry::builtin();
        models.insert(Arc::new(encoder)).expect("a model of its own");
        (Executor::with_models(models), id)
    })
}

fn run(kind: TaskKind, payload: Vec<u8>) -> Result<Vec<u8>, TaskError> {
    used().0.execute(&Work::Run { kind, payload: payload.into() })
}

fn load() -> Result<Data, TaskError> {
    let mut labels: Vec<String> = Vec::new();
    let mut groups: BTreeMap<Option<usize>, Vec<Item>> = BTreeMap::new();
    for line in SECTIONS.lines() {
        let (label, text) = line.split_once('\t').unwrap_or(("-", line));
        let place = (label != "-").then(|| {
            labels.iter().position(|known| known == label).unwrap_or_else(|| {
                labels.push(label.to_owned());
                labels.len() - 1
            })
        });
        let item = Item { text: text.to_owned(), label: place, vector: Vec::new() };
        groups.entry(place).or_default().push(item);
    }
    let mut data = Data { labels, asked: Vec::new(), pool: Vec::new(), foreign: Vec::new() };
    for (label, mut items) in groups {
        for chunk in items.chunks_mut(64) {
            let texts = chunk.iter().map(|item| item.text.clone()).collect();
            let payload = EmbeddingPayload { model: used().1, texts };
            let result = EmbeddingResult::decode(&run(TaskKind::Embedding, payload.encode())?)?;
            for (item, row) in chunk.iter_mut().zip(result.rows()) {
                item.vector = row.to_vec();
            }
        }
        if label.is_none() {
            data.foreign = items;
        } else {
            // The last ones are asked about: half of a small group.
            let at = items.len() - ASKED.min(items.len() / 2);
            data.asked.extend(items.split_off(at));
            data.pool.extend(items);
        }
    }
    Ok(data)
}

/// The task's own answer for many texts.
fn ask(data: &Data, texts: &[Item], examples: &[Item]) -> Result<Vec<MatchResult>, TaskError> {
    let examples: Vec<Example> = examples
        .iter()
        .map(|item| Example {
            label: item.label.unwrap_or_default() as u32,
            text: item.text.clone(),
        })
        .collect();
    texts
        .chunks(256)
        .map(|texts| {
            let payload = MatchPayload {
                model: used().1,
                texts: texts.iter().map(|item| item.text.clone()).collect(),
                labels: data.labels.clone(),
                examples: examples.clone(),
            };
            MatchResult::decode(&run(TaskKind::SemanticMatch, payload.encode())?)
        })
        .collect()
}

fn rows(results: &[MatchResult]) -> Vec<Vector> {
    results.iter().flat_map(|result| result.rows().map(<[f32]>::to_vec)).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

fn best(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
}

/// The mean over labels of the share of their texts that are answered rightly.
fn accuracy(labels: usize, asked: &[Item], answers: impl Iterator<Item = usize>) -> f64 {
    let mut counts = vec![(0.0, 0.0); labels];
    for (item, answer) in asked.iter().zip(answers) {
        if let Some(label) = item.label {
            counts[label].0 += f64::from(answer == label);
            counts[label].1 += 1.0;
        }
    }
    counts.iter().map(|(right, all)| right / all).sum::<f64>() / labels as f64
}

fn probabilities(row: &[f32], temperature: f32) -> Vec<f32> {
    let most = row[best(row)];
    let raw: Vec<f32> = row.iter().map(|s| ((s - most) / temperature).exp()).collect();
    let sum: f32 = raw.iter().fold(0.0, |sum, p| sum + p);
    raw.iter().map(|p| p / sum).collect()
}

/// Expected calibration error over ten bins (Naeini et al. 2015): how far stated chances of the
/// answers are from how often they are right.
fn calibration(asked: &[Item], rows: &[Vector], temperature: f32) -> f64 {
    let mut bins = [(0.0f64, 0.0f64, 0.0f64); 10];
    for (item, row) in asked.iter().zip(rows) {
        let chances = probabilities(row, temperature);
        let answer = best(&chances);
        let bin = &mut bins[((chances[answer] * 10.0) as usize).min(9)];
        bin.0 += f64::from(chances[answer]);
        bin.1 += f64::from(item.label == Some(answer));
        bin.2 += 1.0;
    }
    bins.iter().map(|(stated, right, _)| (stated - right).abs()).sum::<f64>() / rows.len() as f64
}

fn brier(asked: &[Item], rows: &[Vector], temperature: f32) -> f64 {
    let total = asked.iter().zip(rows).map(|(item, row)| {
        let chances = probabilities(row, temperature);
        let off = chances.iter().enumerate().map(|(at, chance)| {
            let off = f64::from(*chance) - f64::from(item.label == Some(at));
            off * off
        });
        off.sum::<f64>()
    });
    total.sum::<f64>() / rows.len() as f64
}

/// The share of rows whose best similarity reaches a threshold.
fn reach(rows: &[Vector], threshold: f32) -> f64 {
    rows.iter().filter(|row| row[best(row)] >= threshold).count() as f64 / rows.len() as f64
}

fn report(metric: &str, value: f64) {
    if std::env::args().any(|argument| argument == "--json") {
        println!(r#"{{"bench":"match","metric":"{metric}","value":{value:.4},"unit":"share"}}"#);
    } else {
        println!("{metric:<56} {value:.3}");
    }
}

fn main() -> Result<(), TaskError> {
    let data = load()?;
    zero_shot(&data)?;
    for shots in [1, 3, 8, 16, 32] {
        few_shot(&data, shots)?;
    }
    Ok(())
}

fn zero_shot(data: &Data) -> Result<(), TaskError> {
    let results = ask(data, &data.asked, &[])?;
    let all = rows(&results);
    let answers = all.iter().map(|row| best(row));
    report("labels alone: accuracy", accuracy(data.labels.len(), &data.asked, answers));
    // Every other text fits, the rest measures.
    let half = |odd: usize| -> (Vec<Item>, Vec<Vector>) {
        let pairs = data.asked.iter().zip(&all).skip(odd).step_by(2);
        pairs.map(|(item, row)| (item.clone(), row.clone())).unzip()
    };
    let ((fit, fit_rows), (held, held_rows)) = (half(0), half(1));
    let grid = (1..=30).map(|step| step as f32 / 100.0);
    let fitted =
        grid.min_by(|a, b| brier(&fit, &fit_rows, *a).total_cmp(&brier(&fit, &fit_rows, *b)));
    let mut bests: Vec<f32> = fit_rows.iter().map(|row| row[best(row)]).collect();
    bests.sort_by(f32::total_cmp);
    eprintln!(
        "fitted: temperature {:.2}, threshold {:.2}",
        fitted.unwrap_or_default(),
        bests[bests.len() / 10]
    );
    let (temperature, threshold) = (results[0].temperature, results[0].threshold);
    let error = calibration(&held, &held_rows, temperature);
    report("labels alone: calibration error, held out", error);
    let plain = calibration(&held, &held_rows, 1.0);
    report("labels alone: calibration error without temperature", plain);
    report("labels alone: fitting texts that are answered", reach(&held_rows, threshold));
    let foreign = rows(&ask(data, &data.foreign, &[])?);
    report("labels alone: foreign texts called unknown", 1.0 - reach(&foreign, threshold));
    Ok(())
}

fn few_shot(data: &Data, shots: usize) -> Result<(), TaskError> {
    let labels = data.labels.len();
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for draw in 0..DRAWS {
        let mut rng = Rng::derive(draw, "bench-match");
        let mut examples: Vec<Item> = Vec::new();
        for label in 0..labels {
            let own = data.pool.iter().filter(|item| item.label == Some(label));
            let mut own: Vec<Item> = own.cloned().collect();
            rng.shuffle(&mut own);
            examples.extend(own.into_iter().take(shots));
        }
        let results = ask(data, &data.asked, &examples)?;
        let ours = rows(&results);
        let mut add = |name, value| *sums.entry(name).or_default() += value / DRAWS as f64;
        add("accuracy", accuracy(labels, &data.asked, ours.iter().map(|row| best(row))));
        add("accuracy of the centroid alone", {
            accuracy(labels, &data.asked, centroid(data, &examples, labels).into_iter())
        });
        for (k, name) in [
            (1, "accuracy of the nearest example"),
            (3, "accuracy of 3 nearest examples"),
            (5, "accuracy of 5 nearest examples"),
        ] {
            let answers = data.asked.iter().map(|item| nearest(&item.vector, &examples, labels, k));
            add(name, accuracy(labels, &data.asked, answers));
        }
        let (temperature, threshold) = (results[0].temperature, results[0].threshold);
        add("calibration error", calibration(&data.asked, &ours, temperature));
        add("fitting texts that are answered", reach(&ours, threshold));
        let foreign = rows(&ask(data, &data.foreign, &examples)?);
        add("foreign texts called unknown", 1.0 - reach(&foreign, threshold));
    }
    for (name, value) in sums {
        report(&format!("{shots} examples a label: {name}"), value);
    }
    Ok(())
}

fn centroid(data: &Data, examples: &[Item], labels: usize) -> Vec<usize> {
    let dim = examples.first().map_or(0, |item| item.vector.len());
    let mut points = vec![vec![0.0; dim]; labels];
    for item in examples {
        let point = &mut points[item.label.unwrap_or_default()];
        point.iter_mut().zip(&item.vector).for_each(|(sum, value)| *sum += value);
    }
    for point in &mut points {
        let length = dot(point, point).sqrt().max(f32::MIN_POSITIVE);
        point.iter_mut().for_each(|value| *value /= length);
    }
    let answer = |item: &Item| {
        best(&points.iter().map(|point| dot(&item.vector, point)).collect::<Vec<_>>())
    };
    data.asked.iter().map(answer).collect()
}

fn nearest(vector: &[f32], examples: &[Item], labels: usize, k: usize) -> usize {
    let mut near: Vec<(f32, usize)> = examples
        .iter()
        .map(|item| (dot(vector, &item.vector), item.label.unwrap_or_default()))
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut votes = vec![0.0; labels];
    near.iter().take(k).for_each(|(similarity, label)| votes[*label] += similarity);
    best(&votes)
}
