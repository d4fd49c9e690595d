//! The course of `attack/coherence`.

use std::time::Instant as WallClock;

use edge_base::{Digest, Micros, Signed};
use edge_swarm::{Answer, Command, Input, Output, Table, Write, command::CollectionView};

use super::{Answered, Happening, World, calls::Probe};
use crate::{
    forking::{self, ACT_EVERY, FORK_AFTER, RESTORE_AFTER, SEARCH_AFTER},
    queue::Instant,
    workload,
};

/// Cases are over within this: they expire after eight times the time for a repair.
const ENDS_WITHIN: Micros = forking::REPAIR.times(9);
/// The simulator's question.
const QUESTION: u64 = u64::MAX - 9;
/// Batches that each of the collections has before it is forked.
const BATCHES: u64 = 3;

impl World {
    fn fork_errand(&mut self, at: Instant, node: u32, command: Command) {
        let (command, probe) = (Box::new(command), Probe::Errand);
        self.queue.at(at, Happening::Command { node, probe, command });
    }

    /// Owners make what they will fork; from then on attackers act.
    pub(super) fn plan_forks(&mut self, start: Instant) {
        let Some(forkers) = &mut self.forkers else { return };
        forkers.begin(start + FORK_AFTER);
        let (writers, owners) = (forkers.writers(), forkers.owners().to_vec());
        let asking = forkers.honest().to_vec();
        for node in writers {
            let name = forking::name_of(node);
            let layout = workload::layout().encode();
            let create = Command::CreateCollection { name: name.clone(), layout };
            self.fork_errand(start + 500_000, node, create);
            for batch in 0..BATCHES {
                let append =
                    workload::scratch_append(&name, self.seed ^ u64::from(node) ^ batch << 32);
                self.fork_errand(start + 2_000_000 + batch * 2_000_000, node, append);
            }
        }
        // The third forks where holders have executed.
        if let Some(owner) = owners.get(2) {
            for (n, node) in asking.into_iter().filter(|n| *n > 0).take(4).enumerate() {
                let command = workload::search_of(&forking::name_of(*owner), self.seed);
                let at = start + FORK_AFTER + SEARCH_AFTER + n as u64 * 500_000;
                let command = Box::new(command);
                self.queue.at(at, Happening::Command { node, probe: Probe::Marked, command });
            }
        }
        for owner in owners {
            // That it signs two heads is its lie.
            let id = self.nodes[owner as usize].id;
            self.checks.on_lie(id, Digest::of(b"forks"), Digest::of(b"two heads"));
        }
        self.queue.at(start + FORK_AFTER, Happening::Fork);
        if self.roles.restored.is_some() {
            self.queue.at(start + RESTORE_AFTER, Happening::Restore);
        }
    }

    pub(super) fn on_fork(&mut self) {
        let now = self.queue.now();
        let views = if (now / ACT_EVERY.0).is_multiple_of(2) {
            self.collections_seen()
        } else {
            Vec::new()
        };
        let Some(forkers) = &mut self.forkers else { return };
        forkers.act(now, &self.nodes);
        if !views.is_empty() {
            forkers.look(now, &views);
        }
        let sends = forkers.sends();
        for (from, to, frame) in sends {
            self.send(from, to, frame);
        }
        self.queue.after(ACT_EVERY, Happening::Fork);
    }

    /// An honest owner's disk is restored: the head it last signed was another one there.
    pub(super) fn on_restore(&mut self) {
        let Some(number) = self.roles.restored else { return };
        let name = forking::name_of(number);
        let (now, pool) = (self.queue.now(), self.checks.pool());
        let Some(head) = forking::head_of(&self.nodes[number as usize], &name) else { return };
        if let Some(forkers) = &mut self.forkers {
            forkers.restored_head = Some(head.clone());
        }
        self.crash(number);
        let node = &mut self.nodes[number as usize];
        let (chain, root) = (Digest::of(b"written alone"), Digest::of(b"its root"));
        let body = edge_swarm::message::ShardHead { chain, root, ..head.body };
        let shard = edge_swarm::message::shard_id(&body.collection, body.index);
        let value = Some(edge_base::codec::encode(&Signed::seal(body, &node.key, &pool)));
        node.disk.write(Write { table: Table::Shards, key: forking::head_key(&shard), value });
        node.disk.begin_sync();
        node.disk.end_sync(now);
        self.boot(number);
        self.ask_again(number);
    }

    /// What each honest node says of collections.
    fn collections_seen(&mut self) -> Vec<(u32, Vec<CollectionView>)> {
        let Some(forkers) = &self.forkers else { return Vec::new() };
        let honest = forkers.honest().to_vec();
        honest.into_iter().filter_map(|node| Some((node, self.collections_at(node)?))).collect()
    }

    fn collections_at(&mut self, number: u32) -> Option<Vec<CollectionView>> {
        self.input(number, Input::Tick);
        let now = self.queue.now();
        let node = &mut self.nodes[number as usize];
        let local = node.clock.local(now);
        let peer = node.peer.as_mut()?;
        peer.handle(local, Input::Command { call: QUESTION, command: Command::ListCollections });
        let mut views = None;
        let outputs: Vec<Output> = std::iter::from_fn(|| peer.poll()).collect();
        for output in outputs {
            match output {
                Output::Answer { call: QUESTION, answer: Ok(Answer::Collections(found)) } => {
                    views = Some(found);
                }
                output => self.output(number, output),
            }
        }
        views
    }

    /// A search of a forked shard was answered.
    pub(super) fn on_marked(&mut self, node: u32, answer: Answered) {
        let Some(forkers) = &mut self.forkers else { return };
        match answer {
            Ok(Answer::Found(view)) if view.shards.iter().all(|shard| shard.contested) => {
                forkers.count("answers_marked");
            }
            Ok(Answer::Found(_)) => {
                forkers
                    .find(format!("an answer from a forked position is not marked at node {node}"));
            }
            Ok(_) | Err(_) => forkers.count("answers_refused"),
        }
    }

    /// Cases come to their ends.
    pub(super) fn end_forks(&mut self, began: &WallClock) {
        if self.forkers.is_none() {
            return;
        }
        self.run_while(ENDS_WITHIN, |world| {
            world.forkers.as_ref().is_some_and(|forkers| !forkers.has_ended())
        });
        // Nothing changes any more, whatever is said.
        self.run_until(self.queue.now() + 2 * forking::REPAIR.0);
        if let Some(forkers) = &mut self.forkers {
            forkers.end();
        }
        self.progress(began);
    }
}
