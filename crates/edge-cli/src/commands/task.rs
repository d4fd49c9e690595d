//! `task`: list, show, cancel, explain.

use serde_json::{Value, json};

use super::{Context, ask::cell, list, node_name, short, text};
use crate::{
    args::Task,
    client::Client,
    failure::{Exit, Failure, Outcome},
    output::Output,
};

pub(super) fn run(context: &Context, command: Task) -> Outcome {
    let client = context.client()?;
    match command {
        Task::Ls { limit } => {
            let answer = client.get(&format!("/api/v1/tasks?limit={limit}"))?;
            context.show(&answer, |output, answer| {
                let tasks = list(answer, "tasks");
                let rows: Vec<Vec<String>> = tasks.iter().map(row).collect();
                if rows.is_empty() {
                    output.line("no tasks yet; try: edge-net embed 'a text'");
                } else {
                    let heading = ["TASK", "KIND", "STATUS", "PRIORITY", "AGREED", "TOOK", "BEGAN"];
                    output.table(&heading, &rows);
                }
            });
        }
        Task::Show { id } => {
            let answer = client.get(&format!("/api/v1/tasks/{}", full_id(&client, &id)?))?;
            context.show(&answer, |output, answer| head(output, task_of(answer)));
        }
        Task::Explain { id } => {
            let answer = client.get(&format!("/api/v1/tasks/{}", full_id(&client, &id)?))?;
            context.show(&answer, |output, answer| explain(output, task_of(answer)));
        }
        Task::Cancel { id } => {
            let id = full_id(&client, &id)?;
            let answer = client.delete(&format!("/api/v1/tasks/{id}"))?;
            let answer = match answer {
                Value::Null => json!({ "schema": "edge-net.cancelled/1", "task": id }),
                answer => answer,
            };
            context.show(&answer, |output, _| output.line(format!("cancelled {}", short(&id))));
        }
    }
    Ok(())
}

/// The task inside an answer, or the answer itself.
fn task_of(answer: &Value) -> &Value {
    if answer["task"].is_object() { &answer["task"] } else { answer }
}

fn row(task: &Value) -> Vec<String> {
    vec![
        short(&text(task, "task")),
        text(task, "kind"),
        text(task, "status"),
        text(task, "priority"),
        list(&task["check"], "agreed").len().to_string(),
        took(task),
        match task["ago"].as_u64() {
            Some(us) => format!("{} s ago", us / 1_000_000),
            None => "?".to_owned(),
        },
    ]
}

fn took(task: &Value) -> String {
    match task["took"].as_f64() {
        Some(us) => format!("{:.1} ms", us / 1_000.0),
        None => "?".to_owned(),
    }
}

/// How results of this kind are compared.
fn compared(task: &Value) -> &'static str {
    match task["determinism"].as_str() {
        Some("D0") => "D0: integers, equal bytes",
        Some("D1") => "D1: canonical f32, equal bytes",
        Some("D2") => "D2: within a tolerance",
        Some("D3") => "D3: each answer proves its hits",
        _ => "?",
    }
}

fn head(output: &Output, task: &Value) {
    for (label, value) in [
        ("task", text(task, "task")),
        ("kind", text(task, "kind")),
        ("compared", compared(task).to_owned()),
        ("status", text(task, "status")),
        ("priority", text(task, "priority")),
        ("price", format!("{} rUv an execution", text(task, "price"))),
        ("took", took(task)),
    ] {
        output.line(format!("{label:>9}  {value}"));
    }
}

fn explain(output: &Output, task: &Value) {
    head(output, task);
    if let Some(reason) = task["reason"].as_str() {
        output.line(format!("{:>9}  {reason}", "reason"));
    }
    if let Some(ppm) = task["canaries_ppm"].as_f64().filter(|ppm| *ppm > 0.0) {
        let why = "of its texts were known beforehand: a wrong one of these is believed in no case";
        output.line(format!("{:>9}  {:.1} % {why}", "canaries", ppm / 1e4));
    }
    let check = &task["check"];
    if check.is_object() {
        let names = |field: &str| {
            let names: Vec<String> = list(check, field).iter().map(node_name).collect();
            if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
        };
        output.line(format!("{:>9}  {}", "agreed", names("agreed")));
        output.line(format!("{:>9}  {}", "differed", names("disagreed")));
        if let Some(ppm) = check["posterior_ppm"].as_f64() {
            let needed = task["posterior_needed_ppm"].as_f64().unwrap_or(1e6) / 1e6;
            let enough = match task["determinism"].as_str() {
                Some("D3") => "each statement of the answers was checked".to_owned(),
                _ => format!("{needed} is enough where two agree"),
            };
            output.line(format!("{:>9}  {:.6}: {enough}", "posterior", ppm / 1e6));
        }
        if let Some(ppm) = check["audit_ppm"].as_f64() {
            let why = "one answer of a proven node, of which this share is audited";
            output.line(format!("{:>9}  {:.1} %: {why}", "audited", ppm / 1e4));
        }
        if let Some(why) = check["own_execution"].as_str() {
            output.line(format!("{:>9}  also here: {why}", "executed"));
        }
        if check["self_checked"] == true {
            output.line(format!("{:>9}  only by this node: nobody else took part", "checked"));
        }
    }
    let rows: Vec<Vec<String>> = list(task, "nodes")
        .iter()
        .map(|node| {
            let digest = node["digest"].as_str().map_or("-".to_owned(), short);
            let reason =
                if node["reason"].is_null() { String::new() } else { cell(&node["reason"]) };
            vec![node_name(&node["node"]), text(node, "state"), digest, text(node, "paid"), reason]
        })
        .collect();
    if !rows.is_empty() {
        output.line("");
        output.table(&["NODE", "STATE", "DIGEST", "PAID", "WHY"], &rows);
    }
}

/// The one task whose id begins like this.
fn full_id(client: &Client, id: &str) -> Outcome<String> {
    let hex = id.len() <= 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex || id.is_empty() {
        let next = "copy it from `edge-net task ls`";
        return Err(Failure::new(Exit::Usage, format!("{id:?} is no task id"), "", next));
    }
    let id = id.to_ascii_lowercase();
    if id.len() == 64 {
        return Ok(id);
    }
    let answer = client.get("/api/v1/tasks?limit=10000")?;
    let ids: Vec<&str> =
        list(&answer, "tasks").iter().filter_map(|task| task["task"].as_str()).collect();
    one_beginning_with(&ids, &id, "task", "edge-net task ls")
}

/// The one of these that begins with a text.
pub(super) fn one_beginning_with(
    ids: &[&str],
    beginning: &str,
    what: &str,
    see: &str,
) -> Outcome<String> {
    let fitting: Vec<&str> = ids.iter().copied().filter(|id| id.starts_with(beginning)).collect();
    match fitting.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Failure::new(
            Exit::NotFound,
            format!("there is no {what} {beginning:?}"),
            format!("no {what} that this node knows begins like that"),
            format!("see `{see}`"),
        )),
        many => Err(Failure::new(
            Exit::Usage,
            format!("{beginning:?} is not one {what}"),
            format!("{} begin like that", many.len()),
            "write more of it",
        )),
    }
}
