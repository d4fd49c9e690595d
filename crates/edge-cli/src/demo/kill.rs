//! Killing an honest node at the worst moment, and finding out whether it was one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use edge_base::{NodeId, ShardId, TaskKind};
use serde_json::Value;

use super::{
    events::{digest_of, names, node_of},
    nodes::Member,
};

/// How long the demo watches for a moment in which some node executes and serves.
const MOMENT: Duration = Duration::from_secs(8);
/// How long it takes at most until the requester says what it misses.
const NOTICED: Duration = Duration::from_secs(5);

/// A kill that was carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    /// The place of the victim among the members.
    pub(crate) victim: usize,
    /// When.
    pub(crate) at: Instant,
    /// Whether its own events said that it executed and served then.
    pub(crate) seen_busy: bool,
}

/// Waits until one of these members executes a task and serves a search, then kills it. Without
/// such a moment within some seconds the first one is killed; `again` shortens that.
pub(crate) fn strike(members: &[Member], candidates: &[usize], again: bool) -> Kill {
    let began = Instant::now();
    loop {
        // Events take a moment to arrive: of several, one is more surely still under way.
        let (executing, serving) = match began.elapsed() {
            early if early < MOMENT / 8 => (8, 2),
            early if early < MOMENT / 4 => (2, 2),
            _ => (1, 1),
        };
        for candidate in candidates {
            if members[*candidate].watch.executes_and_serves(executing, serving) {
                members[*candidate].kill();
                return Kill { victim: *candidate, at: Instant::now(), seen_busy: true };
            }
        }
        let patience = if again { MOMENT / 2 } else { MOMENT };
        if began.elapsed() > patience {
            members[candidates[0]].kill();
            return Kill { victim: candidates[0], at: Instant::now(), seen_busy: false };
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// What the requester's events say about a kill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hit {
    /// A task that the victim had accepted was never revealed.
    pub(crate) task: bool,
    /// A search that its replica was asked went unanswered.
    pub(crate) search: bool,
}

impl Hit {
    pub(crate) fn both(self) -> bool {
        self.task && self.search
    }
}

/// Looks whether the kill hit, for as long as it may take to show.
pub(crate) fn hit(requester: &Member, victim: &NodeId, at: Instant) -> Hit {
    let began = Instant::now();
    loop {
        let late = |event: &Value| took_and_was_late(event, victim);
        let silent =
            |event: &Value| event["event"] == "shard_searched" && names(&event["silent"], victim);
        let hit = Hit {
            task: requester.watch.any_since(at, late),
            search: requester.watch.any_since(at, silent),
        };
        if hit.both() || began.elapsed() > NOTICED {
            return hit;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether an event says that a node took a task and gave nothing. Searches have events of their own.
fn took_and_was_late(event: &Value, node: &NodeId) -> bool {
    event["event"] == "task_late"
        && event["kind"] != TaskKind::VectorSearch.name()
        && event["accepted"] == true
        && node_of(&event["worker"]) == Some(*node)
}

/// The position of each shard that a node had acknowledged before a time, by the requester's events.
pub(crate) fn acknowledged(
    requester: &Member,
    node: &NodeId,
    before: Instant,
) -> BTreeMap<ShardId, u64> {
    let mut positions: BTreeMap<ShardId, u64> = BTreeMap::new();
    for (at, event) in &requester.watch.lock().events {
        if *at > before
            || event["event"] != "replica_acknowledged"
            || node_of(&event["node"]) != Some(*node)
        {
            continue;
        }
        if let (Some(shard), Some(seq)) = (digest_of(&event["shard"]), event["seq"].as_u64()) {
            let position = positions.entry(ShardId(shard)).or_default();
            *position = (*position).max(seq);
        }
    }
    positions
}

#[cfg(test)]
mod tests {
    use edge_base::TaskId;
    use edge_swarm::Event;

    use super::*;

    #[test]
    fn a_late_search_is_no_late_task() {
        let victim = NodeId([7; 32]);
        let late = |kind, worker, accepted| {
            let event = Event::TaskLate { task: TaskId::default(), kind, worker, accepted };
            took_and_was_late(&serde_json::to_value(event).unwrap(), &victim)
        };
        assert!(late(TaskKind::Embedding, victim, true));
        assert!(late(TaskKind::VectorInsert, victim, true));
        assert!(!late(TaskKind::VectorSearch, victim, true));
        assert!(!late(TaskKind::Embedding, victim, false));
        assert!(!late(TaskKind::Embedding, NodeId([8; 32]), true));
    }
}
