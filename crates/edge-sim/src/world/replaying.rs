//! The course of `attack/replay`: things happen of which there is much to record, then everything comes to
//! rest, some nodes start again, and what was recorded is shown again.

use std::{collections::BTreeMap, time::Instant as WallClock};

use edge_base::{Credits, Digest, Micros, Signed};
use edge_ledger::{Block, BlockKind, EquivocationProof};
use edge_swarm::{
    Command, Table, Write,
    message::{Acquaintance, Gossip, Message, ShardHead, encode_gossip, encode_message},
};

use super::{Happening, World, calls::Probe, faults::Fault};
use crate::{queue::Instant, workload};

/// Collections that are made and removed again.
const SCRATCH: usize = 4;
/// A worker claims its vouchers when the requester was away for a minute.
const AWAY: Micros = Micros::from_secs(70);
/// What is put at stake, and what is taken back, in whole rUv.
const STAKED: u64 = 5;
/// Everybody knows what was removed within this: owners repeat it every half minute.
const TOLD_WITHIN: Micros = Micros::from_secs(120);
/// After nodes started again, adverts have come round.
const ROUND: Micros = Micros::from_secs(12);

impl World {
    fn errand(&mut self, at: Instant, node: u32, command: Command) {
        let command = Box::new(command);
        self.queue.at(at, Happening::Command { node, probe: Probe::Errand, command });
    }

    /// Plans what is to be recorded beside the scenario's work.
    pub(super) fn plan_records(&mut self, start: Instant, within: Micros) {
        let Some(attacker) = self.recorder.as_ref().map(|recorder| recorder.attacker) else {
            return;
        };
        let owners = self.roles.requesters.clone();
        let amount = |whole| Credits::from_whole(whole).unwrap_or(Credits::ZERO);
        for n in 0..SCRATCH {
            let owner = owners[n % owners.len()];
            let name = format!("scratch-{n}");
            let layout = workload::layout().encode();
            let create = Command::CreateCollection { name: name.clone(), layout };
            self.errand(start + 500_000, owner, create);
            let append = workload::scratch_append(&name, self.seed ^ n as u64);
            self.errand(start + 2_000_000, owner, append);
            let removed = start + within.0 * 6 / 10 + n as u64 * 500_000;
            self.errand(removed, owner, Command::DropCollection { name });
        }
        if let Some(staker) = owners.last() {
            self.errand(start + 3_000_000, *staker, Command::Stake { amount: amount(STAKED) });
            self.errand(start + 9_000_000, *staker, Command::Unstake { amount: amount(1) });
        }
        if let Some(gone) = owners.get(1) {
            let crash = Fault::Crash { node: *gone, down: AWAY };
            self.queue.at(start + within.0 * 8 / 10, Happening::Fault(crash));
        }
        self.provoke(attacker, start + 1_000_000);
    }

    /// The attacker does what honest nodes refuse, and what they spread proofs of.
    fn provoke(&mut self, attacker: u32, at: Instant) {
        let pool = self.checks.pool();
        let key = &self.nodes[attacker as usize].key;
        let founder = self.nodes[0].id;
        let hello = Message::Hello {
            pool: Digest::of(b"another pool"),
            membership: None,
            join: None,
            addresses: Vec::new(),
            known: Acquaintance::default(),
        };
        let want = Message::Want { content: Digest::of(b"nothing"), offset: 0 };
        let block = |memo: &[u8]| {
            let one = Credits::from_whole(1).unwrap_or(Credits::ZERO);
            let kind = BlockKind::Send { to: founder, amount: one, memo: Digest::of(memo) };
            let body = Block {
                account: key.node_id(),
                seq: 1,
                prev: pool,
                epoch: 0,
                debit: kind.debit(),
                kind,
                credits: Vec::new(),
                balance_after: Credits::ZERO,
            };
            Signed::seal(body, key, &pool)
        };
        let proof = EquivocationProof::new(block(b"one"), block(b"two"));
        let gossip = encode_gossip(&Gossip::Equivocation(Box::new(proof)));
        for frame in [encode_message(&hello), encode_message(&want), gossip] {
            self.queue.at(at, Happening::Frame { from: attacker, to: 0, frame });
        }
    }

    /// Shows recorded frames again: to nodes that have just started, to nodes at rest, and to a node of
    /// another pool.
    pub(super) fn replay(&mut self, count: usize, began: &WallClock) {
        let Some(attacker) = self.recorder.as_ref().map(|recorder| recorder.attacker) else {
            return;
        };
        let names: Vec<String> = (0..SCRATCH).map(|n| format!("scratch-{n}")).collect();
        if !self.run_while(TOLD_WITHIN, |world| world.knows_any(&names)) {
            let text = String::from("a removed collection is still known");
            self.checks.violation(self.queue.now(), "attack", text);
        }
        // What is shown is what was said before, to nodes that have heard since what is true: who lost the
        // newest word of an owner rightly takes it from anybody.
        if let Some(recorder) = &mut self.recorder {
            recorder.stop();
        }
        self.run_until(self.queue.now() + ROUND.0);
        if !self.run_while(TOLD_WITHIN, World::lacks_a_head) {
            let text = String::from("a node does not know the newest head of a shard");
            self.checks.violation(self.queue.now(), "attack", text);
        }
        let keys: Vec<_> = self.nodes.iter().map(|node| node.key.clone()).collect();
        let context = !self.options.no_defence && !self.options.no_signatures;
        if let Some(recorder) = &mut self.recorder
            && (context || self.options.no_defence)
        {
            recorder.found_another(&keys, self.seed, context);
        }
        let honest: Vec<u32> =
            (0..self.nodes.len() as u32).filter(|node| *node != attacker).collect();
        let again: Vec<u32> = honest.iter().copied().step_by(2).collect();
        let early = count / 5;
        for node in &again {
            self.crash(*node);
            if self.options.no_defence {
                self.forget_the_past(*node);
            }
            self.boot(*node);
            for _ in 0..early.div_ceil(again.len()) {
                self.show_again(*node);
            }
            self.ask_again(*node);
        }
        self.run_until(self.queue.now() + ROUND.0);
        for _ in 0..count / 10 {
            let id = self.nodes[attacker as usize].id;
            if let Some(recorder) = &mut self.recorder {
                recorder.show_elsewhere(id);
            }
        }
        for n in 0..count - early - count / 10 {
            let Some(recorder) = &mut self.recorder else { return };
            let node = honest[recorder.choose(honest.len())];
            self.show_again(node);
            if n % 50 == 0 {
                self.run_until(self.queue.now() + 50_000);
            }
        }
        self.rest(began);
    }

    /// Whether some node knows one of these collections.
    fn knows_any(&self, names: &[String]) -> bool {
        let known = |value: &[u8]| {
            let spec: Option<Signed<edge_swarm::message::CollectionSpec>> =
                edge_base::codec::decode(value).ok();
            spec.is_some_and(|spec| names.contains(&spec.body.name))
        };
        self.nodes.iter().any(|node| {
            let rows = node.disk.rows(Table::Shards);
            rows.into_iter().any(|(key, value)| key.starts_with(b"c") && known(value))
        })
    }

    /// Whether some node does not know the newest head of a shard that another knows.
    fn lacks_a_head(&self) -> bool {
        let attacker = self.recorder.as_ref().map(|recorder| recorder.attacker);
        let mut newest: BTreeMap<Vec<u8>, (u64, u32)> = BTreeMap::new();
        let mut known = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if Some(number as u32) == attacker {
                continue;
            }
            let rows = node.disk.rows(Table::Shards);
            let heads = rows.into_iter().filter(|(key, _)| key.starts_with(b"h"));
            let heads = heads.filter_map(|(key, value)| {
                let head: Signed<ShardHead> = edge_base::codec::decode(value).ok()?;
                Some((key.to_vec(), (head.body.seq, head.body.renewed)))
            });
            let heads: BTreeMap<Vec<u8>, (u64, u32)> = heads.collect();
            for (shard, place) in &heads {
                let newest = newest.entry(shard.clone()).or_default();
                *newest = (*newest).max(*place);
            }
            known.push(heads);
        }
        known.iter().any(|heads| *heads != newest)
    }

    /// The control: a disk without what says that something is over.
    fn forget_the_past(&mut self, number: u32) {
        let now = self.queue.now();
        let disk = &mut self.nodes[number as usize].disk;
        let mut gone = Vec::new();
        for (table, prefix) in [(Table::Shards, b"d".as_slice()), (Table::Pool, b"heard")] {
            let rows = disk.rows(table);
            let keys = rows.iter().filter(|(key, _)| key.starts_with(prefix));
            gone.extend(keys.map(|(key, _)| Write { table, key: key.to_vec(), value: None }));
        }
        gone.into_iter().for_each(|write| disk.write(write));
        disk.begin_sync();
        disk.end_sync(now);
    }

    /// Shows one recorded frame to a node.
    fn show_again(&mut self, number: u32) {
        self.show_once(number);
    }

    /// A frame leaves a node.
    pub(super) fn record(&mut self, from: u32, frame: &[u8]) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(from, frame);
        }
    }
}
