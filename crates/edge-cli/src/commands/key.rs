//! `key`: create, list, export, import, allow, remove. Works on the data folder, whether or not its node runs.

use std::path::Path;

use edge_base::{NodeId, PiIdentity};
use edge_node::{
    folder::read_api_note,
    keys::{self, KeyEntry, KeyError},
};
use serde_json::{Value, json};

use super::{Context, counted};
use crate::{
    args::Key,
    client::{Client, escaped},
    failure::{Exit, Failure, Outcome},
};

pub(super) fn run(context: &Context, command: Key) -> Outcome {
    let folder = context.config(Vec::new())?.data_dir;
    match command {
        Key::Create { name } => {
            let key = keys::create(&folder, &name).map_err(failure)?;
            changed(context, &folder, &key, "created");
        }
        Key::Import { file, name } => {
            let key = keys::import(&folder, &file, name.as_deref()).map_err(failure)?;
            changed(context, &folder, &key, "imported");
        }
        Key::Allow { name, nodes, only } => {
            let nodes: Vec<NodeId> =
                nodes.iter().map(|node| node_id(node)).collect::<Outcome<_>>()?;
            let key = keys::allow(&folder, &name, &nodes, only).map_err(failure)?;
            changed(context, &folder, &key, "changed");
        }
        Key::Export { name, out } => {
            let key = keys::export(&folder, &name, &out).map_err(failure)?;
            let mut answer = view(&key);
            answer["schema"] = json!("edge-net.exported/1");
            answer["file"] = json!(out);
            context.show(&answer, |output, _| {
                output.line(format!("wrote {}", out.display()));
                output.remark(format!(
                    "who has it reads everything of {name}; on the other machine: edge-net key import \
                     FILE, then delete it"
                ));
            });
        }
        Key::Ls => {
            let (found, problems) = keys::list(&folder);
            let views: Vec<Value> = found.iter().map(view).collect();
            let answer = json!({ "schema": "edge-net.keys/1", "keys": views });
            context.show(&answer, |output, _| {
                if found.is_empty() {
                    output.line("no keys; make one: edge-net key create NAME");
                } else {
                    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
                    output.table(&["NAME", "ID", "NODES"], &rows);
                }
            });
            if let Some(problem) = problems.into_iter().next() {
                return Err(failure(problem));
            }
        }
        Key::Rm { name, yes } => {
            if !yes {
                let why = "without a copy nobody can ever read what was encrypted with it";
                let next = format!("`edge-net key export {name} --out FILE`, or add --yes");
                return Err(Failure::new(Exit::Usage, "nothing was removed", why, next));
            }
            let id = keys::list(&folder).0.into_iter().find(|key| key.name == name);
            keys::remove(&folder, &name).map_err(failure)?;
            // A node that runs forgets it at once, if it can be asked and was started with it.
            let key = id.map_or_else(|| escaped(&name), |key| key.id.to_hex());
            let forgot = |client: Client| client.delete(&format!("/api/v1/keys/{key}")).is_ok();
            let restart = running(&folder) && !context.client().is_ok_and(forgot);
            let answer = json!({
                "schema": "edge-net.removed/1", "name": name, "restart": restart,
            });
            context.show(&answer, |output, _| {
                output.line(format!("removed {name}"));
                if restart {
                    output.remark("the node forgets it with `edge-net stop` and `edge-net start`");
                }
            });
        }
    }
    Ok(())
}

fn running(folder: &Path) -> bool {
    read_api_note(folder).is_some()
}

fn changed(context: &Context, folder: &Path, key: &KeyEntry, how: &str) {
    // A node that runs reads its keys again, if it can be asked.
    let reads = |client: Client| client.post("/api/v1/keys", &json!({})).is_ok();
    let restart = running(folder) && !context.client().is_ok_and(reads);
    let mut answer = view(key);
    answer["schema"] = json!("edge-net.key/1");
    answer["restart"] = json!(restart);
    context.show(&answer, |output, _| {
        output.line(format!("{how} {}", key.name));
        output.line(format!("  id     {}", key.id.to_hex()));
        let nodes: Vec<String> = key.nodes.iter().map(NodeId::to_hex).collect();
        let alone = nodes.is_empty();
        let nodes = if alone { "none but this one".into() } else { nodes.join(" ") };
        output.line(format!("  nodes  {nodes}"));
        if alone {
            let name = &key.name;
            output.remark(format!(
                "another node of yours works with it after `edge-net key export {name} --out FILE`, an \
                 import there, and `edge-net key allow {name} THAT_NODE` here"
            ));
        }
        if restart {
            output.remark("the node has it after `edge-net stop` and `edge-net start`");
        }
    });
}

/// `π:..` or 64 hexadecimal digits.
fn node_id(text: &str) -> Outcome<NodeId> {
    let identity = || text.parse::<PiIdentity>().ok().map(|identity| identity.node_id());
    NodeId::from_hex(text).or_else(identity).ok_or_else(|| {
        let text: String = text.chars().take(80).collect();
        let what = format!("{text:?} is no node");
        let why = "it is neither an id of 64 hexadecimal digits nor an identity";
        Failure::new(Exit::Usage, what, why, "`edge-net identity show` says it, over there")
    })
}

fn view(key: &KeyEntry) -> Value {
    let nodes: Vec<String> = key.nodes.iter().map(NodeId::to_hex).collect();
    json!({ "name": key.name, "key_id": key.id.to_hex(), "nodes": nodes })
}

fn row(key: &KeyEntry) -> Vec<String> {
    vec![key.name.clone(), key.id.to_hex(), counted(key.nodes.len(), "node")]
}

fn failure(error: KeyError) -> Failure {
    let (exit, next) = match &error {
        KeyError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (Exit::NotFound, "is it the right place?")
        }
        KeyError::Unknown { .. } => (Exit::NotFound, "`edge-net key ls` lists what there is"),
        KeyError::File { .. } => (
            Exit::Failed,
            "restore it from a copy, or move it away; a newer program knows newer ones",
        ),
        KeyError::Keyring(_) => (Exit::Usage, "choose another name, or remove what is in the way"),
        KeyError::Exists(_) => (Exit::Refused, "name another file"),
        KeyError::NoIdentity => (Exit::Refused, "`edge-net start` makes one; then export it again"),
        KeyError::TooManyNodes(_) => (Exit::Usage, "name fewer, with --only"),
        _ => (Exit::Failed, "look at its permissions and the disk"),
    };
    Failure::new(exit, "the keys cannot be used so", error, next)
}
