//! What the demo says in the end: for people, and as one JSON object.

use std::collections::BTreeMap;

use edge_base::NodeId;
use serde_json::{Map, Value, json};

use super::{audit::Found, say::Say, searches::Tally};
use crate::commands::{counted, node::human_bytes};

/// Bytes from one node to another, by place.
pub(crate) type Matrix = BTreeMap<(usize, usize), u64>;

/// Everything that is summarised.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Names and ids, the requester first.
    pub(crate) nodes: Vec<(String, NodeId)>,
    pub(crate) found: Found,
    pub(crate) tally: Tally,
    /// Searches after the kill.
    pub(crate) after_kill: usize,
    pub(crate) recall: Option<f64>,
    pub(crate) queries: usize,
    pub(crate) embed_texts_per_s: Option<f64>,
    pub(crate) matrix: Matrix,
    /// The liar's place, if there was one.
    pub(crate) liar: Option<usize>,
    pub(crate) wall_s: f64,
}

/// Rounded to so many digits after the point.
fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

impl Summary {
    /// The object of `--json`: what could not be computed is absent.
    pub(crate) fn json(&self) -> Value {
        let Summary { found, tally, .. } = self;
        let mut out = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                out.insert(key.to_owned(), value);
            }
        };
        let ledger = found.sums.as_ref();
        let read = ledger.is_some();
        let number = |value: Option<f64>, digits| value.map(|v| json!(rounded(v, digits)));
        put("schema", Some("edge-net.demo/2".into()));
        put("nodes", Some(self.nodes.len().into()));
        put("documents", read.then(|| found.documents.into()));
        put("tasks_completed", read.then(|| found.tasks_completed.into()));
        put("requester_executions", read.then(|| found.requester_executions.into()));
        put("rows_visited", number(self.rows_visited(), 4));
        put("tasks_verified", read.then(|| found.tasks_verified.into()));
        put("tasks_rejected", read.then(|| found.tasks_rejected.into()));
        put("liars_named", read.then(|| found.named.len().into()));
        put("stake_lost", ledger.map(|_| json!(self.stake_lost())));
        // Only of a liar can be said what its lies were paid.
        let paid = found.paid_for_lies as f64 / 1e6;
        put("paid_for_lies", (read && self.liar.is_some()).then(|| json!(paid)));
        put("recall_at_10", number(self.recall, 4));
        put("search_p50_ms", number(tally.quantile_ms(0.5), 2));
        put("search_p99_ms", number(tally.quantile_ms(0.99), 2));
        put("embed_texts_per_s", number(self.embed_texts_per_s, 1));
        put("credits_conserved", ledger.map(|sums| sums.conserved().into()));
        put("folded_from_epoch", ledger.map(|sums| sums.from_epoch.into()));
        put("wall_s", Some(json!(rounded(self.wall_s, 1))));
        // What does not hold, only where something does not.
        put("complaints", (!found.complaints.is_empty()).then(|| json!(found.complaints)));
        Value::Object(out)
    }

    /// What the named have at stake and will not get back, in rUv.
    fn stake_lost(&self) -> f64 {
        let stakes = self.found.sums.as_ref().map(|sums| &sums.stakes);
        let of = |node: &NodeId| stakes.and_then(|stakes| stakes.get(node)).copied().unwrap_or(0);
        self.found.named.iter().map(of).sum::<u128>() as f64 / 1e6
    }

    /// The mean share of a shard's rows that a search in ann mode visits.
    fn rows_visited(&self) -> Option<f64> {
        (self.tally.ann > 0).then(|| self.tally.ann_share / self.tally.ann as f64)
    }

    /// Says it for people.
    pub(crate) fn say(&self, say: &Say) {
        let Summary { found, tally, .. } = self;
        say.line("summary, computed from the stopped nodes' data folders:");
        let line = |label: &str, text: String| say.line(format!("  {label:<12} {text}"));
        line("documents", format!("{} in the requester's log", found.documents));
        line(
            "tasks",
            format!(
                "{} completed, {} by others alone or with others; {} rejected",
                found.tasks_completed,
                found.tasks_verified,
                counted(found.tasks_rejected, "result")
            ),
        );
        let all = found.worker_executions + found.requester_executions;
        line(
            "executions",
            format!(
                "{} by others, {} by the requester",
                found.worker_executions, found.requester_executions
            ),
        );
        for (reason, count) in &found.own_reasons {
            line("", format!("{count} x {reason}"));
        }
        if all > 0 && found.requester_executions * 20 > all {
            line("", "that is more than 5 % by the requester".to_owned());
        }
        if let Some(recall) = self.recall {
            let queries = self.queries;
            let ef = tally.ef.map_or("?".to_owned(), |ef| ef.to_string());
            line(
                "recall@10",
                format!("{recall:.4} over {queries} passages at ef {ef}, against a scan of all"),
            );
        }
        match self.rows_visited() {
            Some(share) => line(
                "visited",
                format!(
                    "{:.1} % of a shard's rows in mode=ann (at most {:.1} %, {} shard searches); {} shard \
                     searches were mode=exact",
                    share * 100.0,
                    tally.ann_share_max * 100.0,
                    tally.ann,
                    tally.exact
                ),
            ),
            None => line(
                "visited",
                "every row: all shards are small enough for exact search".to_owned(),
            ),
        }
        if let (Some(p50), Some(p99)) = (tally.quantile_ms(0.5), tally.quantile_ms(0.99)) {
            line(
                "searches",
                format!(
                    "{} over HTTP, {} of them after the kill: p50 {p50:.1} ms, p99 {p99:.1} ms",
                    tally.took.len(),
                    self.after_kill
                ),
            );
        }
        if let Some(rate) = self.embed_texts_per_s {
            line("embedding", format!("{rate:.0} texts/s, each executed at least twice"));
        }
        line(
            "vectors",
            format!(
                "{} copies of {} passages made again with scalar kernels and compared bit for bit",
                found.vectors_compared, found.sample_found
            ),
        );
        let named: Vec<String> = found.named.iter().map(|node| self.name(node)).collect();
        line(
            "named",
            match named.as_slice() {
                [] => "nobody".to_owned(),
                named => {
                    let proofs = counted(found.fault_proofs, "fault proof");
                    format!("{}, by {proofs}", named.join(", "))
                }
            },
        );
        if self.stake_lost() > 0.0 {
            line("slashed", format!("{} rUv that they have at stake are lost", self.stake_lost()));
        }
        if self.liar.is_some() {
            let paid = found.paid_for_lies as f64 / 1e6;
            line("lies", format!("{} told, {paid} rUv paid for these results", found.lies));
        }
        if found.batches_acknowledged > 0 {
            line(
                "SIGKILL",
                format!(
                    "{} accepted tasks were never revealed, {} searches of its replica unanswered",
                    found.victim_unrevealed, found.victim_unanswered
                ),
            );
            line(
                "",
                format!(
                    "{} of {} acknowledged batches are held by the node that was killed",
                    found.batches_held, found.batches_acknowledged
                ),
            );
        }
        if let Some(sums) = &found.sums {
            let verdict = if sums.conserved() { "conserved" } else { "NOT CONSERVED" };
            line(
                "credits",
                format!(
                    "{verdict}: {} certificates, {} signatures verified",
                    sums.certificates, found.signatures
                ),
            );
            if sums.from_epoch > 0 {
                line(
                    "",
                    format!(
                        "added up from the checkpoint of epoch {}, by the votes under it: {}",
                        sums.from_epoch,
                        match sums.dropped {
                            0 => "it minted what no block says".to_owned(),
                            1 => "1 block before it is kept by nobody".to_owned(),
                            dropped => format!("{dropped} blocks before it are kept by nobody"),
                        }
                    ),
                );
            }
            for (worker, amount) in &sums.settled {
                line(
                    "",
                    format!(
                        "{} earned {} rUv with results that were accepted",
                        self.name(worker),
                        *amount as f64 / 1e6
                    ),
                );
            }
        }
        self.say_matrix(say);
        for complaint in found.complaints.iter().take(20) {
            say.line(format!("  DOES NOT HOLD: {complaint}"));
        }
    }

    fn say_matrix(&self, say: &Say) {
        if self.matrix.is_empty() {
            return;
        }
        say.line("  bytes between nodes, from the row to the column:");
        let heading: Vec<String> =
            self.nodes.iter().map(|(name, _)| format!("{name:>10}")).collect();
        say.line(format!("  {:>10} {}", "", heading.join(" ")));
        for (from, (name, _)) in self.nodes.iter().enumerate() {
            let cells: Vec<String> = (0..self.nodes.len())
                .map(|to| match self.matrix.get(&(from, to)) {
                    Some(bytes) => format!("{:>10}", human_bytes(*bytes)),
                    None => format!("{:>10}", "-"),
                })
                .collect();
            say.line(format!("  {name:>10} {}", cells.join(" ")));
        }
    }

    fn name(&self, node: &NodeId) -> String {
        let known = self.nodes.iter().find(|(_, id)| id == node);
        known.map_or_else(|| node.short(), |(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demo::fold::Sums;

    fn summary() -> Summary {
        Summary {
            nodes: vec![("node-1".into(), NodeId([1; 32]))],
            found: Found::default(),
            tally: Tally::default(),
            after_kill: 0,
            recall: None,
            queries: 0,
            embed_texts_per_s: None,
            matrix: Matrix::new(),
            liar: None,
            wall_s: 1.25,
        }
    }

    #[test]
    fn what_was_not_computed_is_absent() {
        let keys = |summary: &Summary| {
            let value = summary.json();
            let object = value.as_object().unwrap();
            assert!(object.values().all(|value| !value.is_null()));
            object.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&summary()), ["nodes", "schema", "wall_s"]);
        let mut whole = summary();
        whole.found.sums = Some(Sums { balances: 5, supply: 5, ..Sums::default() });
        whole.tally.took = vec![Duration::from_millis(3)];
        (whole.tally.ann, whole.tally.ann_share) = (2, 0.2);
        (whole.recall, whole.embed_texts_per_s, whole.liar) = (Some(0.98765), Some(1.0), Some(0));
        let mut expected = [
            "schema",
            "nodes",
            "documents",
            "tasks_completed",
            "requester_executions",
            "rows_visited",
            "tasks_verified",
            "tasks_rejected",
            "liars_named",
            "stake_lost",
            "paid_for_lies",
            "recall_at_10",
            "search_p50_ms",
            "search_p99_ms",
            "embed_texts_per_s",
            "credits_conserved",
            "folded_from_epoch",
            "wall_s",
        ];
        expected.sort_unstable();
        assert_eq!(keys(&whole), expected);
        let value = whole.json();
        assert_eq!(value["credits_conserved"], true);
        assert_eq!(value["rows_visited"], 0.1);
        assert_eq!(value["recall_at_10"], 0.9877);
    }
}
