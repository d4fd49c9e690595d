//! `model`: add, list, remove. Works on the data folder, whether or not its node runs.

use std::path::Path;

use edge_node::{
    folder::read_api_note,
    models::{self, Added, ModelError},
};
use serde_json::{Value, json};

use super::{Context, node::human_bytes};
use crate::{
    args::Model,
    failure::{Exit, Failure, Outcome},
};

pub(super) fn run(context: &Context, command: Model) -> Outcome {
    let folder = context.config(Vec::new())?.data_dir;
    match command {
        Model::Add { path, name, projected } => {
            let added = models::add(&folder, &path, name.as_deref(), projected).map_err(failure)?;
            let mut answer = view(&added);
            answer["schema"] = json!("edge-net.model/1");
            let running = read_api_note(&folder).is_some();
            answer["restart"] = json!(running);
            context.show(&answer, |output, _| {
                output.line(format!("added {}", added.name));
                output.line(row(&added).join("  "));
                output.remark(format!(
                    "for other machines, so that they embed with it, too: {}",
                    added.file.display()
                ));
                if running {
                    output.remark("the node has it after `edge-net stop` and `edge-net start`");
                }
            });
        }
        Model::Ls => {
            let found = models::list(&folder).map_err(failure)?;
            let views: Vec<Value> = found.iter().map(view).collect();
            let answer = json!({ "schema": "edge-net.models/1", "models": views });
            context.show(&answer, |output, _| {
                if found.is_empty() {
                    output.line(
                        "no models besides the built-in one; add one: edge-net model add DIR",
                    );
                } else {
                    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
                    output.table(&["NAME", "ID", "DIMENSIONS", "SIZE"], &rows);
                }
            });
        }
        Model::Rm { name } => {
            models::remove(&folder, &name).map_err(failure)?;
            let answer = json!({ "schema": "edge-net.removed/1", "name": name });
            let running = read_api_note(&folder).is_some();
            context.show(&answer, |output, _| {
                output.line(format!("removed {name}"));
                if running {
                    output.remark("the node has it until `edge-net stop`");
                }
            });
        }
    }
    Ok(())
}

fn view(model: &Added) -> Value {
    json!({
        "names": [model.name],
        "id": model.id.to_hex(),
        "dim": model.dim,
        "bytes": model.bytes,
        "file": model.file,
    })
}

fn row(model: &Added) -> Vec<String> {
    vec![model.name.clone(), model.id.short(), model.dim.to_string(), human_bytes(model.bytes)]
}

fn failure(error: ModelError) -> Failure {
    let (exit, next) = match &error {
        ModelError::Io { source, path } if source.kind() == std::io::ErrorKind::NotFound => {
            (Exit::NotFound, format!("is {} the right place?", absolute(path)))
        }
        ModelError::Io { .. } => (Exit::Failed, "look at its permissions and the disk".to_owned()),
        ModelError::Unknown { .. } => {
            (Exit::NotFound, "`edge-net model ls` lists what there is".to_owned())
        }
        ModelError::NameTaken(_) => {
            (Exit::Usage, "choose another with --name, or remove that one first".to_owned())
        }
        ModelError::TooMany => (Exit::Usage, "`edge-net model rm NAME` removes one".to_owned()),
        _ => (
            Exit::Usage,
            "give a sentence-transformers folder of the BERT family, or a file that `edge-net model \
             add` made"
                .to_owned(),
        ),
    };
    Failure::new(exit, "the models cannot be changed so", error, next)
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
