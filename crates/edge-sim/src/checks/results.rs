//! Results: what callers are told is the truth, liars are named and nobody else.

use edge_base::{NodeId, TaskId};
use edge_swarm::{Answer, command::SearchView};

use super::Checks;
use crate::{
    queue::Instant,
    workload::{self, Action},
    world::Answered,
};

/// What was known when an action was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Asked {
    /// Acknowledged records of the collection.
    acknowledged: usize,
}

impl Checks {
    pub(crate) fn on_asked(&mut self, action: &Action) -> Asked {
        match action {
            Action::Append { collection, records } => {
                let known = self.collections.entry(*collection).or_default();
                for record in records.iter() {
                    known.attempted.insert(record.id, record.clone());
                }
                Asked::default()
            }
            Action::Search { collection, .. } => {
                let known = self.collections.get(collection);
                Asked { acknowledged: known.map_or(0, |c| c.acknowledged.len()) }
            }
            Action::Submit { .. } | Action::Create { .. } => Asked::default(),
        }
    }

    pub(crate) fn on_answered(
        &mut self,
        now: Instant,
        node: u32,
        action: &Action,
        asked: &Asked,
        answer: &Answered,
    ) {
        match (action, answer) {
            (Action::Submit { kind, .. }, Ok(Answer::Task(result))) => {
                let truth = action.work().map(|work| self.reference.execute(&work));
                if !matches!(truth, Some(Ok(truth)) if *truth == *result.result) {
                    match &mut self.accepted_lies {
                        Some(count) => *count += 1,
                        None => {
                            let text = format!("node {node} accepted a wrong result of {kind}");
                            self.violation(now, "accepted-truth", text);
                        }
                    }
                }
            }
            (Action::Create { collection }, _) => {
                self.collections.entry(*collection).or_default().owner = node;
            }
            (Action::Append { collection, records }, Ok(Answer::Appended { entries, .. })) => {
                // Fewer entries: some are in the log from an earlier try, nobody said since when.
                if *entries == records.len() {
                    let known = self.collections.entry(*collection).or_default();
                    known.acknowledged.extend(records.iter().map(|r| r.id));
                }
            }
            (Action::Search { collection, vector }, Ok(Answer::Found(view))) => {
                self.on_found(now, node, *collection, vector, asked, view);
            }
            (_, Err(_)) => {}
            (action, Ok(_)) => {
                let text = format!("node {node} gave an answer of another kind to {action:?}");
                self.violation(now, "tasks-end", text);
            }
        }
    }

    fn on_found(
        &mut self,
        now: Instant,
        node: u32,
        collection: usize,
        vector: &[f32],
        asked: &Asked,
        view: &SearchView,
    ) {
        let Some(known) = self.collections.get(&collection) else { return };
        let mut wrong = Vec::new();
        for hit in &view.hits {
            let fine = known.attempted.get(&hit.id).is_some_and(|record| {
                record.body == hit.body
                    && workload::score_of(vector, &record.body) == Some(hit.score)
            });
            if !fine {
                wrong.push(hit.id);
            }
        }
        let ordered = view.hits.windows(2).all(|pair| {
            (std::cmp::Reverse(pair[0].score), pair[0].id)
                < (std::cmp::Reverse(pair[1].score), pair[1].id)
        });
        // The owner knows every shard and position it acknowledged, and exact shards are scanned
        // whole: nothing better than the last hit may be missing.
        let mut missing = Vec::new();
        if node == known.owner && !known.log_lost && view.shards.iter().all(|shard| shard.exact) {
            let acknowledged = known.acknowledged[..asked.acknowledged].iter();
            let records = acknowledged.filter_map(|id| known.attempted.get(id));
            for (id, score) in workload::scan(vector, records) {
                let last = view.hits.last().map(|hit| (std::cmp::Reverse(hit.score), hit.id));
                let full = view.hits.len() >= workload::HITS as usize;
                let better = last.is_none_or(|last| !full || (std::cmp::Reverse(score), id) < last);
                if better && !view.hits.iter().any(|hit| hit.id == id) {
                    missing.push(id);
                }
            }
        }
        for id in wrong {
            let text = format!("node {node} accepted the hit {} that is not so", id.short());
            self.violation(now, "accepted-truth", text);
        }
        if !ordered {
            let text = format!("node {node} answered a search out of order");
            self.violation(now, "accepted-truth", text);
        }
        for id in missing {
            let text = format!(
                "the owner {node} of collection {collection} does not find the acknowledged record {}",
                id.short()
            );
            self.violation(now, "appends-survive", text);
        }
    }

    /// A requester decided a task.
    pub(super) fn on_decided(
        &mut self,
        now: Instant,
        number: u32,
        task: TaskId,
        agreed: &[NodeId],
        disagreed: &[NodeId],
    ) {
        for (node, accepted) in
            agreed.iter().map(|n| (n, true)).chain(disagreed.iter().map(|n| (n, false)))
        {
            let ordered = self.ordered.get(&(task, *node));
            let digest = self.revealed.get(&(task, *node));
            let (Some(ordered), Some(digest)) = (ordered, digest) else {
                let text = format!(
                    "node {number} decided on a result of {} that it did not order or get",
                    node.short()
                );
                self.violation(now, "accepted-truth", text);
                continue;
            };
            let lie = self.lies.contains(&(*node, ordered.payload, *digest));
            if lie == accepted && self.accepted_lies.is_none() {
                let what = if accepted { "accepted the lie" } else { "rejected the truth" };
                let text = format!("node {number} {what} of {}", node.short());
                self.violation(now, "accepted-truth", text);
            }
            if !accepted && lie {
                self.caught.insert(*node);
            }
        }
    }

    /// A node says that another is named by a fault that it re-executed.
    pub(super) fn on_named(&mut self, now: Instant, number: u32, node: NodeId, task: TaskId) {
        self.named.insert(node);
        let lied = self.ordered.get(&(task, node)).is_some_and(|ordered| {
            let digest = self.revealed.get(&(task, node));
            digest.is_some_and(|digest| self.lies.contains(&(node, ordered.payload, *digest)))
        });
        if !lied {
            let text = format!("node {number} names {} that did not lie there", node.short());
            self.violation(now, "honest-unharmed", text);
        }
    }

    /// Whom a node names at the end.
    pub(crate) fn on_named_at_end(&mut self, now: Instant, number: u32, named: &[NodeId]) {
        for node in named {
            if self.lied.contains_key(node) {
                continue;
            }
            let text = format!("node {number} names {} that never lied", node.short());
            self.violation(now, "honest-unharmed", text);
        }
    }

    pub(super) fn results_at_the_end(&mut self, now: Instant) {
        let unnamed: Vec<NodeId> = self.caught.difference(&self.named).copied().collect();
        for node in unnamed {
            let text = format!("a lie of {} was rejected, but nobody names it", node.short());
            self.violation(now, "liars-named", text);
        }
    }
}
