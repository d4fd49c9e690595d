//! `peer ban`, `peer unban`, `security audit`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Context, ledger::node_id, list, short, text};
use crate::{failure::Outcome, output::Output};

pub(super) fn ban(context: &Context, node: &str, lasts: Duration) -> Outcome {
    let client = context.client()?;
    let node = node_id(&client, node)?;
    let peers = client.get("/api/v1/peers")?;
    let witness = list(&peers, "peers").iter().any(|p| p["node"] == node && p["witness"] == true);
    let body = json!({ "node": node, "seconds": lasts.as_secs() });
    let mut answer = client.post("/api/v1/peers/ban", &body)?;
    answer["witness"] = json!(witness);
    context.show(&answer, |output, _| {
        output.line(format!("{} is banned for {} s", short(&node), lasts.as_secs()));
        if witness {
            output.remark(format!(
                "it is a witness: payments of this node get no vote of it until `edge-net peer unban {}`. \
                 It stays a witness for the others; only the founder replaces it (`edge-net ledger \
                 handover`)",
                short(&node)
            ));
        }
    });
    Ok(())
}

pub(super) fn unban(context: &Context, node: &str) -> Outcome {
    let client = context.client()?;
    let node = node_id(&client, node)?;
    let answer = client.post("/api/v1/peers/unban", &json!({ "node": node }))?;
    context.show(&answer, |output, _| output.line(format!("{} may come again", short(&node))));
    Ok(())
}

pub(super) fn audit(context: &Context) -> Outcome {
    let answer = context.client()?.get("/api/v1/security/audit")?;
    context.show(&answer, show);
    Ok(())
}

fn show(output: &Output, answer: &Value) {
    let (score, passed) = (text(answer, "security_score"), text(answer, "passed"));
    let applicable = text(answer, "applicable");
    output.line(format!(
        "security score {} of 10: {passed} of {applicable} checks hold",
        output.bold(&score)
    ));
    for check in list(answer, "checks") {
        let (name, what) = (text(check, "name"), text(check, "what"));
        match check["passed"].as_bool() {
            Some(true) => output.line(format!("  ok    {name}: {what}")),
            Some(false) => {
                output.line(format!("  NO    {name}: {what}"));
                output.line(format!("        to do: {}", text(check, "fix")));
            }
            None => output.line(format!("  -     {name}: does not apply")),
        }
    }
    for (title, part) in
        [("exposed", "exposed"), ("attempted since the start", "attempted"), ("done", "done")]
    {
        output.line(title);
        for (name, value) in answer[part].as_object().into_iter().flatten() {
            let value = match value {
                Value::Array(items) if items.is_empty() => "none".to_owned(),
                Value::Array(items) => {
                    let item = |item: &Value| match item {
                        Value::String(text) => text.clone(),
                        other => {
                            format!("{} ({})", short(&text(other, "node")), text(other, "reason"))
                        }
                    };
                    items.iter().map(item).collect::<Vec<_>>().join(", ")
                }
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            output.line(format!("  {}: {value}", name.replace('_', " ")));
        }
    }
}
