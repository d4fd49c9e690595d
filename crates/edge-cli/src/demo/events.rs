//! A node's event stream, as anybody may read it over HTTP.

use std::{
    collections::BTreeMap,
    io::BufRead as _,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use edge_base::{Digest, NodeId};
use serde_json::Value;

use crate::{client::Client, failure::Outcome};

/// What was heard from one node, over all its lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Arc<Mutex<Heard>>);

/// Events with the time they arrived.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) events: Vec<(Instant, Value)>,
    /// Tasks of others that it took and has not delivered: kind and time.
    open: BTreeMap<String, (String, Instant)>,
    /// Streams that broke or skipped events.
    pub(crate) gaps: u64,
}

/// Kinds that the demo looks at; the rest is not kept.
const KEPT: [&str; 9] = [
    "task_late",
    "task_revealed",
    "shard_searched",
    "replica_acknowledged",
    "fault_verified",
    "witnesses_changed",
    "note",
    "task_failed",
    "replica_lost",
];

impl Watch {
    /// Follows a node until its stream ends, in a thread of its own.
    ///
    /// # Errors
    /// When the stream cannot be opened.
    pub(crate) fn follow(&self, client: &Client) -> Outcome {
        let stream = client.events()?;
        self.lock().open.clear();
        let watch = self.clone();
        std::thread::spawn(move || {
            let mut kind = String::new();
            for line in stream.lines() {
                let Ok(line) = line else { break };
                if let Some(name) = line.strip_prefix("event:") {
                    kind = name.trim().to_owned();
                } else if let Some(data) = line.strip_prefix("data:") {
                    match kind.as_str() {
                        "resync" => watch.lock().gaps += 1,
                        "snapshot" => {}
                        _ => {
                            if let Ok(event) = serde_json::from_str(data) {
                                watch.lock().take(event);
                            }
                        }
                    }
                }
            }
        });
        Ok(())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether the node executes and serves at least so many tasks and searches at this moment.
    pub(crate) fn executes_and_serves(&self, executing: usize, serving: usize) -> bool {
        let heard = self.lock();
        let open = |kinds: &[&str], at_least: usize| {
            let young = Duration::from_millis(500);
            let fits = |(kind, at): &&(String, Instant)| {
                kinds.contains(&kind.as_str()) && at.elapsed() < young
            };
            heard.open.values().filter(fits).count() >= at_least
        };
        open(&["vector_search"], serving)
            && open(&["embedding", "vector_insert", "semantic_match"], executing)
    }

    /// Whether an event since a time fits.
    pub(crate) fn any_since(&self, since: Instant, fits: impl Fn(&Value) -> bool) -> bool {
        let heard = self.lock();
        heard.events.iter().rev().take_while(|(at, _)| *at >= since).any(|(_, event)| fits(event))
    }
}

impl Heard {
    fn take(&mut self, event: Value) {
        let name = event["event"].as_str().unwrap_or_default();
        let task = || event["task"].as_str().unwrap_or_default().to_owned();
        match name {
            "working" => {
                let kind = event["kind"].as_str().unwrap_or_default().to_owned();
                self.open.insert(task(), (kind, Instant::now()));
            }
            "delivered" => {
                self.open.remove(&task());
            }
            name if KEPT.contains(&name) => self.events.push((Instant::now(), event)),
            _ => {}
        }
    }
}

/// A node in an event or an answer.
pub(crate) fn node_of(value: &Value) -> Option<NodeId> {
    NodeId::from_hex(value.as_str()?)
}

/// A digest in an event or an answer.
pub(crate) fn digest_of(value: &Value) -> Option<Digest> {
    Digest::from_hex(value.as_str()?)
}

/// Whether a list of nodes names one.
pub(crate) fn names(list: &Value, node: &NodeId) -> bool {
    let hex = node.to_hex();
    list.as_array().is_some_and(|list| list.iter().any(|n| n.as_str() == Some(&hex)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn follows_what_is_open_and_keeps_what_matters() {
        let watch = Watch::default();
        let working = |task: &str, kind: &str| json!({ "seq": 1, "event": "working", "task": task, "kind": kind, "requester": "" });
        watch.lock().take(working("a", "embedding"));
        assert!(!watch.executes_and_serves(1, 1));
        watch.lock().take(working("b", "vector_search"));
        assert!(watch.executes_and_serves(1, 1));
        assert!(!watch.executes_and_serves(2, 1) && !watch.executes_and_serves(1, 2));
        watch.lock().take(json!({ "event": "delivered", "task": "a" }));
        assert!(!watch.executes_and_serves(1, 1));
        let start = Instant::now();
        let node = NodeId([7; 32]);
        let late = json!({ "event": "task_late", "worker": node.to_hex(), "accepted": true });
        watch.lock().take(late);
        let is_late = |event: &Value| node_of(&event["worker"]) == Some(node);
        assert!(watch.any_since(start, is_late));
        assert!(!watch.any_since(Instant::now(), is_late));
        assert!(names(&json!([node.to_hex()]), &node) && !names(&json!([]), &node));
    }
}
