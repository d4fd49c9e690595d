//! Bytes to authenticated ciphertext and back, and the keys that there are.

use axum::extract::{Path, State};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use edge_base::{Credits, Digest, NodeId};
use edge_swarm::{Refusal, command::Priority};
use edge_tasks::encryption::Operation;
use serde::{Deserialize, Serialize};

use super::{
    Body, Outcome, amount_or_none, done, tagged,
    tasks::{Checked, options},
};
use crate::{error::Failure, server::App};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Encryption {
    data: String,
    operation: Operation,
    key_id: String,
    #[serde(default)]
    priority: Priority,
    #[serde(default, deserialize_with = "amount_or_none")]
    max_credits: Option<Credits>,
}

#[derive(Serialize)]
struct Encrypted {
    key_id: Digest,
    data: String,
    bytes: usize,
    task: Checked,
}

/// `POST /api/v1/encryption`.
pub(crate) async fn encryption(State(app): State<App>, Body(body): Body<Encryption>) -> Outcome {
    let data = BASE64_STANDARD
        .decode(&body.data)
        .map_err(|error| Failure::invalid(format!("`data` is not base64: {error}")))?;
    let options = options(body.priority, body.max_credits);
    let done = app.jobs.encryption(&body.key_id, body.operation, data, options).await?;
    let (key_id, bytes) = (done.key, done.data.len());
    let data = BASE64_STANDARD.encode(&done.data);
    tagged("edge-net.encryption/1", Encrypted { key_id, data, bytes, task: done.task.into() })
}

#[derive(Serialize)]
struct Keys {
    keys: Vec<KeyView>,
}

#[derive(Serialize)]
struct KeyView {
    name: String,
    key_id: Digest,
    nodes: Vec<NodeId>,
}

/// `DELETE /api/v1/keys/KEY`, a name or an id: the node forgets the key at once. Its file is the business of
/// `edge-net key rm`.
pub(crate) async fn forget(State(app): State<App>, Path(key): Path<String>) -> Outcome {
    if app.node.forget_key(&key).await? {
        return done();
    }
    let key: String = key.chars().take(80).collect();
    Err(Refusal::NotFound(format!("this node has no key {key:?}")).into())
}

#[derive(Serialize)]
struct Reloaded {
    keys: Vec<KeyView>,
    /// What is wrong with files that are no key.
    problems: Vec<String>,
}

/// `POST /api/v1/keys`: the node reads the keys of its data folder again.
pub(crate) async fn reload(State(app): State<App>) -> Outcome {
    let problems = app.node.reload_keys().await?;
    let keys = app.node.keys().list().map(view).collect();
    tagged("edge-net.keys/1", Reloaded { keys, problems })
}

fn view(key: edge_node::keys::KeyEntry) -> KeyView {
    KeyView { name: key.name, key_id: key.id, nodes: key.nodes }
}

/// `GET /api/v1/keys`: what the keys of this node are called, never a key.
pub(crate) async fn keys(State(app): State<App>) -> Outcome {
    tagged("edge-net.keys/1", Keys { keys: app.node.keys().list().map(view).collect() })
}
