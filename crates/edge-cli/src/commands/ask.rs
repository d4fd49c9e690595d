//! `embed`, `search` and `match`.

use std::io::BufRead as _;

use edge_node::files::read_bounded;
use serde_json::{Value, json};

use super::{Context, list, node_name, plain, short, text};
use crate::{
    args::{Embed, Match, Search},
    client::escaped,
    failure::{Exit, Failure, Outcome},
    output::Output,
};

/// Lines of standard input that are read.
const LINES_MAX: usize = 100_000;

pub(super) fn embed(context: &Context, embed: &Embed) -> Outcome {
    let texts = match embed.texts.as_slice() {
        [dash] if dash == "-" => lines()?,
        texts => texts.to_vec(),
    };
    if texts.is_empty() {
        let next = "give a text, or one a line on standard input: `edge-net embed - < FILE`";
        return Err(Failure::new(Exit::Usage, "nothing to embed", "no text was given", next));
    }
    let mut body = json!({ "texts": texts, "priority": embed.priority.name() });
    if let Some(model) = &embed.model {
        body["model"] = json!(model);
    }
    let answer = context.client()?.post("/api/v1/embed", &body)?;
    context.show(&answer, |output, answer| {
        for (text, vector) in texts.iter().zip(list(answer, "vectors")) {
            let components = vector.as_array().map_or(&[][..], Vec::as_slice);
            let head: Vec<String> = components
                .iter()
                .take(6)
                .map(|c| format!("{:+.4}", c.as_f64().unwrap_or(f64::NAN)))
                .collect();
            output.line(format!(
                "{}\n  {} dimensions: {} ...",
                output.bold(&shortened(text, 80)),
                components.len(),
                head.join(" ")
            ));
        }
        tasks(output, answer);
    });
    Ok(())
}

pub(super) fn lines() -> Outcome<Vec<String>> {
    let mut out = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| {
            Failure::new(Exit::Usage, "standard input cannot be read", error, "give UTF-8 text")
        })?;
        if line.trim().is_empty() {
            continue;
        }
        if out.len() == LINES_MAX {
            let why = format!("more than {LINES_MAX} lines");
            let next = "import them: `edge-net collection import NAME FILE`";
            return Err(Failure::new(Exit::Usage, "too much to embed at once", why, next));
        }
        out.push(line);
    }
    Ok(out)
}

pub(super) fn search(context: &Context, search: &Search) -> Outcome {
    let mut body = json!({ "text": search.query, "k": search.k });
    let models = [("rerank", &search.rerank), ("query_model", &search.query_model)];
    for (field, name) in models {
        if let Some(name) = name {
            body[field] = name.as_str().into();
        }
    }
    if let Some(ef) = search.ef {
        body["ef"] = ef.into();
    }
    if let Some(filter) = &search.filter {
        body["filter"] = serde_json::from_str(filter).map_err(|error| {
            let next = format!("for example --filter '{}'", crate::args::FILTER_EXAMPLE);
            Failure::new(Exit::Usage, "the filter is not JSON", error, next)
        })?;
    }
    let path = format!("/api/v1/collections/{}/search", escaped(&search.collection));
    let answer = context.client()?.post(&path, &body)?;
    context.show(&answer, hits);
    Ok(())
}

/// Hits with score, file, line and text; then how each shard was searched.
pub(crate) fn hits(output: &Output, answer: &Value) {
    let found = list(answer, "hits");
    if found.is_empty() {
        output.line("nothing found");
    }
    for (place, hit) in found.iter().enumerate() {
        let payload = &hit["payload"];
        let place_of = match (payload["file"].as_str(), payload["line"].as_u64()) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.to_owned(),
            (None, _) => short(&text(hit, "id")),
        };
        let score = hit["score"].as_f64().unwrap_or(f64::NAN);
        output.line(format!("{:>2}. {score:.4}  {}", place + 1, output.bold(&place_of)));
        if let Some(text) = payload["text"].as_str() {
            output.line(format!("            {}", shortened(text, 160)));
        }
    }
    if !output.quiet {
        for shard in list(answer, "shards") {
            output.line(output.dim(&shard_line(shard)));
        }
    }
}

fn shard_line(shard: &Value) -> String {
    let mode = shard["mode"].as_str().unwrap_or("?");
    let names = |field: &str| {
        let names: Vec<String> = list(shard, field).iter().map(node_name).collect();
        names.join(", ")
    };
    let mut line = format!(
        "shard {}: mode={mode}, {} of {} rows visited, answered by {}",
        short(&text(shard, "shard")),
        text(shard, "rows_visited"),
        text(shard, "rows"),
        names("answered"),
    );
    for (field, what) in [("silent", "silent"), ("faulty", "answered falsely")] {
        if !list(shard, field).is_empty() {
            line.push_str(&format!("; {what}: {}", names(field)));
        }
    }
    if shard["below_factor"] == true {
        line.push_str("; below its replication factor");
    }
    if shard["contested"] == true {
        line.push_str("; contested: its owner signed two versions of it");
    }
    line
}

pub(super) fn match_labels(context: &Context, question: &Match) -> Outcome {
    let labels: Vec<&str> =
        question.labels.iter().map(|label| label.trim()).filter(|l| !l.is_empty()).collect();
    let mut body = json!({ "labels": labels, "priority": question.priority.name() });
    if let Some(model) = &question.model {
        body["model"] = model.as_str().into();
    }
    if let Some(path) = &question.examples {
        body["examples"] = examples(path)?;
    }
    if question.text != "-" {
        body["text"] = question.text.as_str().into();
        let answer = context.client()?.post("/api/v1/match", &body)?;
        context.show(&answer, matched);
        return Ok(());
    }
    let texts = lines()?;
    if texts.is_empty() {
        let next = "give a text, or one a line on standard input: `edge-net match - < FILE`";
        return Err(Failure::new(Exit::Usage, "nothing to match", "no text was given", next));
    }
    body["texts"] = texts.as_slice().into();
    let answer = context.client()?.post("/api/v1/match", &body)?;
    context.show(&answer, |output, answer| {
        for (text, row) in texts.iter().zip(list(answer, "matches")) {
            let score = row["score"].as_f64().unwrap_or(f64::NAN);
            let text = shortened(text, 80);
            output.line(format!("{score:.3}  {}  {text}", output.bold(&label(row))));
        }
        tasks(output, answer);
    });
    Ok(())
}

/// The label of a match, for people.
fn label(row: &Value) -> String {
    row["label"].as_str().unwrap_or("unknown").to_owned()
}

/// A node's HTTP interface takes no longer body.
const EXAMPLES_BYTES_MAX: u64 = 8 << 20;

/// Labelled texts of a file: an object or `label<TAB>text` a line.
fn examples(path: &std::path::Path) -> Outcome<Value> {
    let wrong = |why: String| {
        let what = format!("the examples of {} cannot be used", path.display());
        let next = "write label<TAB>text or {\"label\": .., \"text\": ..}, one a line";
        Failure::new(Exit::Usage, what, why, next)
    };
    let bytes = read_bounded(path, EXAMPLES_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    let mut out = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let example = if line.trim_start().starts_with('{') {
            serde_json::from_str(line).map_err(|error| wrong(format!("line {number}: {error}")))?
        } else {
            let parts = line.split_once('\t');
            let (label, text) =
                parts.ok_or_else(|| wrong(format!("line {number}: there is no tab in it")))?;
            json!({ "label": label.trim(), "text": text })
        };
        out.push(example);
    }
    Ok(Value::Array(out))
}

/// The best label, then all of them with their scores.
pub(crate) fn matched(output: &Output, answer: &Value) {
    output.line(output.bold(&label(answer)));
    if !output.quiet {
        for score in list(answer, "scores") {
            let number = |field: &str| score[field].as_f64().unwrap_or(f64::NAN);
            let (score_of, similarity) = (number("score"), number("similarity"));
            let label = text(score, "label");
            output.line(format!("  {score_of:.3}  {label}  (similarity {similarity:+.3})"));
        }
        if answer["label"].is_null() {
            let (nearest, least) = (text(answer, "nearest"), text(answer, "threshold"));
            let remark = format!("nearest is {nearest}, with a similarity below {least}");
            output.line(output.dim(&remark));
        }
        tasks(output, answer);
    }
}

/// How the tasks of an answer were checked.
pub(super) fn tasks(output: &Output, answer: &Value) {
    if output.quiet {
        return;
    }
    let single = answer["task"].is_object().then(|| &answer["task"]);
    for task in list(answer, "tasks").iter().chain(single) {
        let check = &task["check"];
        let by: Vec<String> = list(check, "agreed").iter().map(node_name).collect();
        let how = if check["self_checked"] == true {
            "self-checked: no other node took part".to_owned()
        } else {
            format!("agreed by {}", by.join(", "))
        };
        output.line(output.dim(&format!("task {}: {how}", short(&text(task, "task")))));
    }
}

/// The first characters of a text, on one line.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    let flat = edge_tasks::normalised(text);
    if flat.chars().count() <= limit {
        return flat;
    }
    let head: String = flat.chars().take(limit).collect();
    let cut = head.rfind(' ').unwrap_or(head.len());
    format!("{} ...", &head[..cut])
}

/// A value on one line, for tables.
pub(super) fn cell(value: &Value) -> String {
    shortened(&plain(value), 60)
}
