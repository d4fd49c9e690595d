//! The index checks itself: answers of walks beside exact ones, and rows that no walk can reach.

use edge_base::Rng;
use serde::{Deserialize, Serialize};

use crate::{Hit, Index, Mode};

/// What [`Index::check_recall`] found.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct RecallCheck {
    /// Records whose neighbours were looked for.
    pub sampled: usize,
    /// How the searches looked; [`Mode::Exact`] has recall 1 by definition.
    pub mode: Mode,
    /// The share of the true nearest neighbours that were found, of all records sampled.
    pub recall: f64,
    /// The same for the record with the smallest share.
    pub recall_min: f64,
    /// Rows that no walk can reach from where it starts: always 0, or the graph is broken.
    pub unreachable: usize,
}

impl Index {
    /// Looks for the `k` nearest neighbours of up to `sample` records drawn by `seed`, once as a search
    /// with `ef` candidates does and once by comparing with every row; a record is not its own neighbour.
    /// Takes `sample` exact scans.
    pub fn check_recall(
        &self,
        sample: usize,
        k: usize,
        ef: Option<usize>,
        seed: u64,
    ) -> RecallCheck {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        Rng::derive(seed, "index/recall/1").shuffle(&mut order);
        order.truncate(sample);
        let (mut found, mut wanted, mut recall_min) = (0, 0, 1.0f64);
        let mut mode = Mode::Exact;
        for row in &order {
            let (id, vector) = (self.rows.id(*row), self.rows.vector(*row));
            let others = |mut hits: Vec<Hit>| {
                hits.retain(|hit| hit.id != id);
                hits.truncate(k);
                hits
            };
            let answer = self
                .search(vector, k.saturating_add(1), ef, None)
                .expect("invariant: a stored vector is a query");
            mode = mode.max(answer.mode);
            let truth = others(self.rows.scan(vector, k.saturating_add(1)));
            let hits = others(answer.hits);
            let same = truth.iter().filter(|hit| hits.contains(hit)).count();
            found += same;
            wanted += truth.len();
            if !truth.is_empty() {
                recall_min = recall_min.min(same as f64 / truth.len() as f64);
            }
        }
        let recall = if wanted == 0 { 1.0 } else { found as f64 / wanted as f64 };
        let unreachable = self.graph.as_ref().map_or(0, |graph| graph.unreachable());
        RecallCheck { sampled: order.len(), mode, recall, recall_min, unreachable }
    }
}
