//! `config show`.

use edge_node::config::Origin;
use serde_json::{Map, Value, json};

use super::Context;
use crate::{args::Config, failure::Outcome};

pub(super) fn run(context: &Context, command: Config) -> Outcome {
    let Config::Show { origin } = command;
    let config = context.config(Vec::new())?;
    let mut settings = Map::new();
    let mut rows = Vec::new();
    for mut setting in config.origins() {
        if setting.key == "data_dir" {
            // Empty by default: what is used is what helps.
            setting.value = config.data_dir.display().to_string();
        }
        let from = match &setting.origin {
            Origin::Default => "default".to_owned(),
            other => other.to_string(),
        };
        let value: Value = serde_json::from_str(&setting.value)
            .unwrap_or_else(|_| Value::String(setting.value.clone()));
        let entry = if origin { json!({ "value": value, "origin": from }) } else { value };
        settings.insert(setting.key.to_owned(), entry);
        let mut row = vec![setting.key.to_owned(), setting.value];
        if origin {
            row.push(from);
        }
        rows.push(row);
    }
    let answer = json!({ "schema": "edge-net.config/1", "settings": settings });
    context.show(&answer, |output, _| {
        let heading: &[&str] = if origin { &["KEY", "VALUE", "FROM"] } else { &["KEY", "VALUE"] };
        output.table(heading, &rows);
    });
    Ok(())
}
