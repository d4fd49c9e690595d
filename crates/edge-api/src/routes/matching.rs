//! Texts against labels.

use axum::extract::State;
use edge_base::Credits;
use edge_node::jobs::{LabelledText, MatchQuestion, Matched, MatchedText};
use edge_swarm::command::Priority;
use serde::{Deserialize, Serialize};

use super::{
    Body, Outcome, amount_or_none, tagged,
    tasks::{Checked, options},
};
use crate::{error::Failure, server::App};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    text: Option<String>,
    texts: Option<Vec<String>>,
    #[serde(default, alias = "categories")]
    labels: Vec<String>,
    #[serde(default)]
    examples: Vec<Labelled>,
    model: Option<String>,
    #[serde(default)]
    priority: Priority,
    #[serde(default, deserialize_with = "amount_or_none")]
    max_credits: Option<Credits>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Labelled {
    #[serde(alias = "category")]
    label: String,
    text: String,
}

#[derive(Serialize)]
struct LabelScore {
    label: String,
    score: f32,
    similarity: f32,
}

/// One text. `category` is another name of `label`.
#[derive(Serialize)]
struct Row {
    label: Option<String>,
    category: Option<String>,
    nearest: String,
    score: f32,
    similarity: f32,
    scores: Vec<LabelScore>,
}

#[derive(Serialize)]
struct One {
    #[serde(flatten)]
    row: Row,
    temperature: f32,
    threshold: f32,
    task: Option<Checked>,
}

#[derive(Serialize)]
struct Many {
    matches: Vec<Row>,
    temperature: f32,
    threshold: f32,
    tasks: Vec<Checked>,
}

fn row(labels: &[String], text: &MatchedText) -> Row {
    let numbers = text.scores.iter().zip(&text.similarities);
    let scores: Vec<LabelScore> = labels
        .iter()
        .zip(numbers)
        .map(|(label, (score, similarity))| LabelScore {
            label: label.clone(),
            score: *score,
            similarity: *similarity,
        })
        .collect();
    let nearest = labels.get(text.best).cloned().unwrap_or_default();
    let number = |numbers: &[f32]| numbers.get(text.best).copied().unwrap_or_default();
    let (score, similarity) = (number(&text.scores), number(&text.similarities));
    let label = text.known.then(|| nearest.clone());
    Row { category: label.clone(), label, nearest, score, similarity, scores }
}

/// `POST /api/v1/match`.
pub(crate) async fn match_labels(State(app): State<App>, Body(body): Body<Match>) -> Outcome {
    let options = options(body.priority, body.max_credits);
    let (texts, single) = match (body.text, body.texts) {
        (Some(text), None) => (vec![text], true),
        (None, Some(texts)) => (texts, false),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Failure::invalid("either `text` or `texts` is needed"));
        }
    };
    let example = |example: Labelled| LabelledText { label: example.label, text: example.text };
    let examples = body.examples.into_iter().map(example).collect();
    let question = MatchQuestion { texts, labels: body.labels, examples, model: body.model };
    let matched = app.jobs.match_labels(question, options).await?;
    let Matched { labels, texts, temperature, threshold, tasks } = matched;
    let mut rows = texts.iter().map(|text| row(&labels, text));
    let mut tasks = tasks.into_iter().map(Checked::from);
    match (single, rows.next()) {
        (true, Some(row)) => {
            tagged("edge-net.match/2", One { row, temperature, threshold, task: tasks.next() })
        }
        (_, first) => {
            let matches = first.into_iter().chain(rows).collect();
            let tasks = tasks.collect();
            tagged("edge-net.matches/1", Many { matches, temperature, threshold, tasks })
        }
    }
}
