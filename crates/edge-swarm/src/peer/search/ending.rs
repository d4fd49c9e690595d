//! How a search ends: holders are paid, what was found is merged and kept, or it is said what was missing.

use std::collections::BTreeMap;

use edge_base::{
    Micros, NodeId, TaskKind,
    shard::{ShardAnswer, ShardHit},
};

use super::{ANSWERS_WANTED, Answered, HEDGE_AFTER, answered, waits};
use crate::{
    command::{
        Answer, Check, Priority, Refusal, SearchView, ShardSearchView, TaskStatus, TaskView,
    },
    event::Event,
    io::{CallId, Table},
    message::Message,
    peer::{
        Peer,
        escrow::Funds,
        task::{Stage, TaskRecord, node_view, task_key, worker_record},
    },
};

/// So many searches at once may be what makes each of them late.
const MANY: usize = 16;
/// Shards that a refusal says something of.
const SHARDS_NAMED: usize = 3;

impl Peer {
    pub(super) fn time_out_search(&mut self, id: u64) {
        let Some(search) = self.searches.all.get(&id) else { return };
        let open: Vec<usize> =
            search.shards.iter().enumerate().filter(|(_, s)| !s.done).map(|(i, _)| i).collect();
        let mut unanswered = Vec::new();
        let mut rebuilding = true;
        let many = match self.searches.len() {
            0..MANY => String::new(),
            many => format!(
                " ({many} searches are under way here: ask fewer at once, or with more time)"
            ),
        };
        for index in open {
            let Some(shard) = self.shard_search(id, index) else { continue };
            if !answered(shard) {
                let shard_id = shard.shard;
                let text = self.rebuild_text(&shard_id);
                rebuilding &= text.is_some();
                unanswered.push(text.unwrap_or_else(|| {
                    format!(
                        "no holder of shard {} gave an answer that could be checked{}; \
                         `edge-net collection ls` shows who holds it",
                        shard_id.short(),
                        many
                    )
                }));
            }
            self.end_shard(id, index);
        }
        if unanswered.is_empty() {
            return self.finish_search(id);
        }
        let Some(search) = self.searches.all.remove(&id) else { return };
        for shard in &search.shards {
            self.searches.by_task.remove(&shard.task);
        }
        let more = unanswered.len().saturating_sub(SHARDS_NAMED);
        unanswered.truncate(SHARDS_NAMED);
        let mut text = unanswered.join("; ");
        if more > 0 {
            text.push_str(&format!("; {more} more shards did not answer either"));
        }
        if rebuilding {
            text.push_str(": try again; `edge-net collection ls` shows how far they are");
        }
        self.counters.tasks_failed += 1;
        let refusal = match self.funds(search.price) {
            Funds::Short if !rebuilding => Refusal::Refused(format!(
                "a search costs {} rUv a holder and this node has {}; earn some by working for \
                 others, or ask a member to send some",
                search.price,
                self.own_balance()
            )),
            Funds::Short | Funds::Ready(_) | Funds::Wait => Refusal::TimedOut(text),
        };
        self.answer(search.call, Err(refusal));
    }

    /// A shard is answered: pay, tell, remember.
    pub(super) fn end_shard(&mut self, id: u64, index: usize) {
        let now = self.now;
        let Some(shard) = self.shard_search(id, index) else { return };
        if shard.done {
            return;
        }
        shard.done = true;
        let (task, shard_id) = (shard.task, shard.shard);
        let mut good = Vec::new();
        let mut bad = Vec::new();
        // Every hit of an answer that holds is a record that fits the question: who found fewer than
        // somebody else did not look, and is owed nothing. That it missed nearer ones proves nothing.
        let found = |answer: &Answered| match answer {
            Answered::Good(answer) => answer.hits.len(),
            Answered::Early(_) | Answered::Checking(_) | Answered::Bad => 0,
        };
        let most = shard.answers.values().chain(&shard.own).map(found).max().unwrap_or(0);
        for (node, answer) in &shard.answers {
            match answer {
                Answered::Good(answer) if answer.hits.len() < most => {}
                Answered::Good(_) => good.push(*node),
                Answered::Bad => bad.push(*node),
                Answered::Early(_) | Answered::Checking(_) => {}
            }
        }
        let own = matches!(shard.own, Some(Answered::Good(_)));
        let mut silent = Vec::new();
        let mut told = Vec::new();
        for (node, part) in &mut shard.parts {
            let waited = now.since(part.since) >= HEDGE_AFTER;
            if part.stage == Stage::Late || (waits(part) && waited) {
                silent.push(*node);
            }
            let accepted = match (&part.reveal, good.contains(node)) {
                (Some(reveal), true) => Some(reveal.body.digest),
                (_, _) => None,
            };
            if waits(part) {
                part.stage = Stage::Late;
                part.reason = Some("the search ended without it".into());
            }
            told.push((*node, accepted));
        }
        for node in &good {
            self.reward_holder(id, index, *node);
        }
        for (node, accepted) in told {
            self.send(node, &Message::Over { task, accepted });
        }
        if !good.is_empty() || own {
            self.counters.tasks_verified += 1;
        }
        self.event(Event::ShardSearched { shard: shard_id, answered: good.clone(), silent });
        self.store_search(id, index, good, bad, own);
    }

    fn reward_holder(&mut self, id: u64, index: usize, node: NodeId) {
        let Some(shard) = self.shard_search(id, index) else { return };
        let Some(part) = shard.parts.get_mut(&node) else { return };
        let Some(assignment) = &part.assignment else { return };
        let (price, escrow) = (assignment.body.price, assignment.body.escrow);
        if let Some(escrow) = escrow {
            part.paid = price;
            self.owe(escrow, node, price);
        }
        self.members.note(&node, TaskKind::VectorSearch, true, true, self.now);
    }

    fn store_search(
        &mut self,
        id: u64,
        index: usize,
        agreed: Vec<NodeId>,
        disagreed: Vec<NodeId>,
        own: bool,
    ) {
        let now = self.now;
        let Some(search) = self.searches.all.get(&id) else { return };
        let price = search.price;
        let Some(shard) = search.shards.get(index) else { return };
        let seq = self.shards.head(&shard.shard).map_or(0, |h| h.body.seq);
        let check = Check {
            self_checked: agreed.is_empty(),
            agreed,
            disagreed,
            own_execution: own.then(|| String::from("too few holders answered")),
            posterior_ppm: 1_000_000,
            audit_ppm: None,
            canaries_ppm: 0,
            isolated: self.is_isolated(),
        };
        let record = TaskRecord {
            task: shard.task,
            kind: TaskKind::VectorSearch,
            payload: shard.digest,
            accepted: None,
            check: Some(check.clone()),
            workers: shard.parts.values().filter_map(worker_record).collect(),
            shard: Some((shard.shard, seq)),
        };
        let status =
            if check.self_checked && !own { TaskStatus::Failed } else { TaskStatus::Verified };
        let view = TaskView {
            task: shard.task,
            kind: TaskKind::VectorSearch,
            status,
            priority: Priority::Normal,
            price,
            payload: shard.digest,
            result: None,
            check: Some(check),
            determinism: TaskKind::VectorSearch.determinism().name().into(),
            posterior_needed_ppm: 1_000_000,
            nodes: shard.parts.iter().map(|(node, part)| node_view(node, part)).collect(),
            took: now.since(shard.started),
            ago: Micros(0),
            reason: (status == TaskStatus::Failed)
                .then(|| String::from("no holder of the shard answered in time")),
            canaries_ppm: 0,
        };
        let started = shard.started;
        self.persist(Table::Tasks, &task_key(&record.task), &record);
        self.searches.recent.push((started, view));
    }

    /// Ended searches, oldest first.
    pub(in crate::peer) fn search_views(&self) -> impl Iterator<Item = TaskView> + '_ {
        let recent = self.searches.recent.iter();
        recent.map(|(began, view)| TaskView { ago: self.now.since(*began), ..view.clone() })
    }

    /// Answers the caller when every shard is answered.
    pub(super) fn finish_search(&mut self, id: u64) {
        let Some(search) = self.searches.all.get(&id) else { return };
        if !search.shards.iter().all(|s| s.done) {
            return;
        }
        let Some(search) = self.searches.all.remove(&id) else { return };
        let wanted = self.settings.replication.min(ANSWERS_WANTED);
        let mut hits: BTreeMap<edge_base::RecordId, ShardHit> = BTreeMap::new();
        let mut views = Vec::with_capacity(search.shards.len());
        for shard in search.shards {
            self.searches.by_task.remove(&shard.task);
            let silent: Vec<NodeId> = shard
                .parts
                .iter()
                .filter(|(_, p)| p.stage == Stage::Late)
                .map(|(n, _)| *n)
                .collect();
            let faulty: Vec<NodeId> = shard
                .answers
                .iter()
                .filter(|(_, a)| matches!(a, Answered::Bad))
                .map(|(n, _)| *n)
                .collect();
            let mut answered = Vec::new();
            let mut good: Vec<ShardAnswer> = Vec::new();
            for (node, answer) in shard.answers {
                if let Answered::Good(answer) = answer {
                    answered.push(node);
                    good.push(answer);
                }
            }
            if let Some(Answered::Good(answer)) = shard.own {
                answered.push(self.me);
                good.push(answer);
            }
            let contested = good.iter().any(|a| self.is_tainted(&shard.shard, a.seq));
            views.push(ShardSearchView {
                shard: shard.shard,
                exact: good.iter().all(|a| a.exact),
                rows_visited: good.iter().map(|a| a.rows_visited).max().unwrap_or(0),
                rows: good.iter().map(|a| a.rows).max().unwrap_or(0),
                below_factor: answered.len() < wanted,
                answered,
                faulty,
                silent,
                root: good.iter().max_by_key(|a| a.seq).map(|a| a.root).unwrap_or_default(),
                contested,
            });
            for hit in good.into_iter().flat_map(|a| a.hits) {
                hits.entry(hit.id).or_insert(hit);
            }
        }
        let mut hits: Vec<ShardHit> = hits.into_values().collect();
        hits.sort_by(|a, b| b.score.cmp(&a.score).then(a.id.cmp(&b.id)));
        hits.truncate(search.k);
        let view = SearchView { hits, shards: views };
        self.answer(search.call, Ok(Answer::Found(view)));
        self.step_drain();
    }

    pub(in crate::peer) fn abandon_search(&mut self, call: CallId) {
        let ended: Vec<u64> =
            self.searches.all.iter().filter(|(_, s)| s.call == call).map(|(id, _)| *id).collect();
        for id in ended {
            let parts = self.searches.all.get(&id).map_or(0, |s| s.shards.len());
            for index in 0..parts {
                self.end_shard(id, index);
            }
            if let Some(search) = self.searches.all.remove(&id) {
                for shard in search.shards {
                    self.searches.by_task.remove(&shard.task);
                }
            }
        }
    }
}
