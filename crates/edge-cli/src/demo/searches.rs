//! Searches over HTTP, timed, by a few callers at once.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use edge_base::RecordId;
use serde_json::{Value, json};

use super::events::digest_of;
use crate::{client::Client, failure::Outcome};

/// Callers at once.
pub(crate) const CALLERS: usize = 2;
/// The collection of the demo.
pub(crate) const COLLECTION: &str = "docs";

/// What many searches took and how they were made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Time of each, in the order of completion.
    pub(crate) took: Vec<Duration>,
    /// Searches that failed, by reason.
    pub(crate) failed: Vec<String>,
    /// Shares of rows visited in ann mode, summed over shards and searches.
    pub(crate) ann_share: f64,
    /// The largest of them.
    pub(crate) ann_share_max: f64,
    /// Shard searches in ann mode.
    pub(crate) ann: u64,
    /// Shard searches in exact mode.
    pub(crate) exact: u64,
    /// The search effort that was used.
    pub(crate) ef: Option<u64>,
}

impl Tally {
    pub(crate) fn merge(&mut self, other: Tally) {
        self.took.extend(other.took);
        self.failed.extend(other.failed);
        self.ann_share += other.ann_share;
        self.ann_share_max = self.ann_share_max.max(other.ann_share_max);
        self.ann += other.ann;
        self.exact += other.exact;
        self.ef = self.ef.or(other.ef);
    }

    /// Notes an answer.
    pub(crate) fn take(&mut self, answer: &Value, took: Duration) {
        self.took.push(took);
        self.ef = self.ef.or(answer["ef"].as_u64());
        for shard in answer["shards"].as_array().map_or(&[][..], Vec::as_slice) {
            if shard["mode"] == "exact" {
                self.exact += 1;
            } else if let (Some(visited), Some(rows)) =
                (shard["rows_visited"].as_f64(), shard["rows"].as_f64())
                && rows > 0.0
            {
                self.ann += 1;
                self.ann_share += visited / rows;
                self.ann_share_max = self.ann_share_max.max(visited / rows);
            }
        }
    }

    /// A quantile of the times, in milliseconds: the nearest rank.
    pub(crate) fn quantile_ms(&self, q: f64) -> Option<f64> {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted.get(rank - 1).map(|took| took.as_secs_f64() * 1_000.0)
    }
}

/// One search by text.
pub(crate) fn search(client: &Client, text: &str, k: usize) -> Outcome<Value> {
    let path = format!("/api/v1/collections/{COLLECTION}/search");
    client.post(&path, &json!({ "text": text, "k": k }))
}

/// The ids of an answer's hits, best first.
pub(crate) fn hit_ids(answer: &Value) -> Vec<RecordId> {
    let hits = answer["hits"].as_array().map_or(&[][..], Vec::as_slice);
    hits.iter().filter_map(|hit| digest_of(&hit["record"]).map(RecordId)).collect()
}

/// Searches for every text, [`CALLERS`] at once. `each` sees the place of the text and the answer.
pub(crate) fn many(
    client: &Client,
    texts: &[&str],
    k: usize,
    each: &(dyn Fn(usize, &Value) + Sync),
) -> Tally {
    let next = AtomicUsize::new(0);
    let whole = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(text) = texts.get(at) else { break };
                    let began = Instant::now();
                    match search(client, text, k) {
                        Ok(answer) => {
                            tally.take(&answer, began.elapsed());
                            each(at, &answer);
                        }
                        Err(failure) => tally.failed.push(failure.to_string()),
                    }
                }
                whole.lock().unwrap_or_else(|p| p.into_inner()).merge(tally);
            });
        }
    });
    whole.into_inner().unwrap_or_else(|p| p.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut tally = Tally::default();
        assert_eq!(tally.quantile_ms(0.5), None);
        tally.took = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(tally.quantile_ms(0.5), Some(50.0));
        assert_eq!(tally.quantile_ms(0.99), Some(99.0));
        assert_eq!(tally.quantile_ms(1.0), Some(100.0));
    }

    #[test]
    fn shares_come_from_ann_shards_only() {
        let mut tally = Tally::default();
        let answer = json!({ "ef": 96, "shards": [
            { "mode": "ann", "rows_visited": 100, "rows": 1000 },
            { "mode": "ann", "rows_visited": 30, "rows": 100 },
            { "mode": "exact", "rows_visited": 50, "rows": 50 },
        ]});
        tally.take(&answer, Duration::from_millis(1));
        assert_eq!((tally.ann, tally.exact, tally.ef), (2, 1, Some(96)));
        assert!((tally.ann_share - 0.4).abs() < 1e-12 && tally.ann_share_max == 0.3);
    }
}
