//! How good this node's copies of a collection are.

use edge_base::NodeId;
use edge_swarm::{Refusal, command::ShardView};
use edge_tasks::{ShardCheck, TaskError};

use super::Jobs;

/// The most records whose neighbours are looked for in each shard.
pub const SAMPLE_MAX: usize = 1_000;

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckOptions {
    /// Records of each shard whose neighbours are looked for: at most [`SAMPLE_MAX`].
    pub sample: usize,
    /// Neighbours.
    pub k: usize,
    /// Candidates of a search; the collection's own without.
    pub ef: Option<usize>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions { sample: 100, k: 10, ef: None }
    }
}

/// One shard of the collection.
#[derive(Clone, Debug)]
pub struct CheckedShard {
    /// What the pool knows about it.
    pub view: ShardView,
    /// What this node's copy is, if it holds one.
    pub copy: Option<ShardCheck>,
}

impl CheckedShard {
    /// Whether the copy is what was signed and every row can be found; a copy that is behind is not
    /// compared with the root that others have.
    pub fn holds(&self) -> bool {
        self.copy.is_none_or(|copy| {
            let behind = copy.seq != self.view.seq;
            let root = behind || copy.root == self.view.root;
            copy.intact && root && copy.recall.unreachable == 0
        })
    }
}

impl Jobs {
    /// Examines the copies of a collection that this node holds.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for no such collection, or when this node holds no copy of it: it says
    /// who does. [`Refusal::Invalid`] for options out of range, [`Refusal::Failed`] for a copy that
    /// is broken.
    pub async fn check_collection(
        &self,
        name: &str,
        options: CheckOptions,
    ) -> Result<Vec<CheckedShard>, Refusal> {
        let CheckOptions { sample, k, ef } = options;
        let bounds = [
            ("sample", sample, SAMPLE_MAX),
            ("k", k, edge_base::shard::HITS_MAX),
            ("ef", ef.unwrap_or(1), edge_tasks::EF_MAX as usize),
        ];
        if let Some((what, got, most)) = bounds.iter().find(|(_, got, most)| got < &1 || got > most)
        {
            return Err(Refusal::Invalid(format!("{what} is 1 to {most}, not {got}")));
        }
        let (view, _) = self.collection(name).await?;
        let node = self.node.clone();
        let shards = view.shards;
        let check = move || -> Result<Vec<CheckedShard>, TaskError> {
            let examine = |view: ShardView| {
                let copy = node.check_shard(&view.shard, sample, k, ef).transpose()?;
                Ok(CheckedShard { view, copy })
            };
            shards.into_iter().map(examine).collect()
        };
        let failed = |text: String| Refusal::Failed(text);
        let checked = tokio::task::spawn_blocking(check).await;
        let checked =
            checked.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        if !checked.is_empty() && checked.iter().all(|shard| shard.copy.is_none()) {
            let mut holders: Vec<NodeId> =
                checked.iter().flat_map(|s| s.view.replicas.iter().map(|r| r.node)).collect();
            holders.sort();
            holders.dedup();
            let holders: Vec<String> = holders.iter().map(NodeId::short).collect();
            let text = format!(
                "this node holds no copy of {name}; run it at one that does: {}",
                holders.join(", ")
            );
            return Err(Refusal::NotFound(text));
        }
        Ok(checked)
    }
}
