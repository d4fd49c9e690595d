//! Tasks: embedding, matching, and what became of them.

use axum::extract::{Path, Query, State};
use edge_base::{Credits, Digest, TaskId};
use edge_node::jobs::{TaskCheck, TaskOptions};
use edge_swarm::{
    Answer, Command, Refusal,
    command::{Check, Priority, TaskView},
};
use serde::{Deserialize, Serialize};

use super::{Body, Outcome, amount_or_none, done, tagged, unexpected};
use crate::{error::Failure, server::App};

/// How a task was checked, in answers.
#[derive(Serialize)]
pub(crate) struct Checked {
    task: TaskId,
    check: Check,
}

impl From<TaskCheck> for Checked {
    fn from(check: TaskCheck) -> Self {
        Checked { task: check.task, check: check.check }
    }
}

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
}

#[derive(Serialize)]
struct TaskList {
    tasks: Vec<TaskView>,
}

/// `GET /api/v1/tasks`.
pub(crate) async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> Outcome {
    let limit = query.limit.unwrap_or(50).min(10_000);
    match app.node.call(Command::ListTasks { limit }).await? {
        Answer::Tasks(tasks) => tagged("edge-net.tasks/1", TaskList { tasks }),
        other => Err(unexpected(other)),
    }
}

/// A task by its id, or by the first digits if only one recent task begins with them.
async fn task_id(app: &App, text: &str) -> Result<TaskId, Failure> {
    if let Some(id) = TaskId::from_hex(text) {
        return Ok(id);
    }
    let hex = text.len() >= 4 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex {
        return Err(Failure::invalid(format!("{text:?} is not a task id of hex digits")));
    }
    let Answer::Tasks(tasks) = app.node.call(Command::ListTasks { limit: 10_000 }).await? else {
        return Err(Failure::invalid("the tasks cannot be listed"));
    };
    let text = text.to_ascii_lowercase();
    let mut found = tasks.iter().filter(|t| t.task.to_hex().starts_with(&text));
    match (found.next(), found.next()) {
        (Some(task), None) => Ok(task.task),
        (Some(_), Some(_)) => {
            Err(Failure::invalid(format!("several tasks begin with {text}: give more digits")))
        }
        (None, _) => {
            let text = format!("no task {text} here; `edge-net task ls` lists them");
            Err(edge_swarm::Refusal::NotFound(text).into())
        }
    }
}

/// `GET /api/v1/tasks/{id}`.
pub(crate) async fn explain(State(app): State<App>, Path(id): Path<String>) -> Outcome {
    let task = task_id(&app, &id).await?;
    match app.node.call(Command::ExplainTask(task)).await? {
        Answer::Explained(view) => tagged("edge-net.task/1", *view),
        other => Err(unexpected(other)),
    }
}

/// `DELETE /api/v1/tasks/{id}`.
pub(crate) async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Outcome {
    let task = task_id(&app, &id).await?;
    let next = "`edge-net task explain ID` says how it ended";
    app.node.call(Command::CancelTask(task)).await.map_err(Failure::advised(next))?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Embed {
    texts: Vec<String>,
    model: Option<String>,
    #[serde(default)]
    priority: Priority,
    #[serde(default, deserialize_with = "amount_or_none")]
    max_credits: Option<Credits>,
}

#[derive(Serialize)]
struct Embedding {
    model: Digest,
    dim: u32,
    vectors: Vec<Vec<f32>>,
    tasks: Vec<Checked>,
}

pub(crate) fn options(priority: Priority, price_max: Option<Credits>) -> TaskOptions {
    TaskOptions { priority, price_max, ..TaskOptions::default() }
}

/// `POST /api/v1/embed`.
pub(crate) async fn embed(State(app): State<App>, Body(body): Body<Embed>) -> Outcome {
    let options = options(body.priority, body.max_credits);
    let model = app.jobs.model(body.model.as_deref())?.id();
    let embedded = app.jobs.embed_with(model, &body.texts, options).await.map_err(|refusal| {
        // Which text it is stands before the colon.
        let named = match &refusal {
            Refusal::Invalid(why) => why.split_once(':').map(|(text, _)| text.to_owned()),
            _ => None,
        };
        match named.filter(|text| text.starts_with("text ")) {
            Some(text) => {
                let next = format!("correct {text}, counted from 0, or leave it out");
                Failure::advised(next)(refusal)
            }
            None => refusal.into(),
        }
    })?;
    let answer = Embedding {
        model: embedded.model,
        dim: embedded.dim,
        vectors: embedded.vectors,
        tasks: embedded.tasks.into_iter().map(Checked::from).collect(),
    };
    tagged("edge-net.embedding/1", answer)
}

#[derive(Serialize)]
struct Models {
    models: Vec<ModelView>,
}

#[derive(Serialize)]
struct ModelView {
    id: Digest,
    names: Vec<String>,
    dim: usize,
    max_tokens: usize,
    /// Floating-point operations a token: what its price follows.
    operations_per_token: u64,
}

/// `GET /api/v1/models`: those that this node has.
pub(crate) async fn models(State(app): State<App>) -> Outcome {
    let registry = app.node.models();
    let views = registry.list().map(|model| {
        let id = model.id();
        let names = registry.names().filter(|(_, named)| *named == id);
        ModelView {
            id,
            names: names.map(|(name, _)| name.to_owned()).collect(),
            dim: model.dim(),
            max_tokens: model.max_tokens(),
            operations_per_token: model.operations_per_token(),
        }
    });
    tagged("edge-net.models/1", Models { models: views.collect() })
}
