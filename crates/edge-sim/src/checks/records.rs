//! Records: what was acknowledged is there, wherever crashes and lost disks struck.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{
    Digest, RecordId, codec,
    shard::{LogBatch, LogEntry},
};
use edge_swarm::Table;

use super::{Checks, Collection};
use crate::{node::Node, queue::Instant, scenario::Scenario, world::Roles};

/// Copies wanted beside the owner's log: the product's default.
const REPLICATION: usize = 3;

/// Which nodes' logs hold a record, by its id and hash.
type Holders = BTreeMap<(RecordId, Digest), BTreeSet<u32>>;

impl Checks {
    /// Collection, owner and ids of what was acknowledged.
    pub(crate) fn acknowledged_ids(&self) -> Vec<(usize, u32, Vec<RecordId>)> {
        let collections = self.collections.iter();
        collections.map(|(n, c)| (*n, c.owner, c.acknowledged.clone())).collect()
    }

    /// An owner was asked for what it acknowledged.
    pub(crate) fn on_known(
        &mut self,
        now: Instant,
        collection: usize,
        ids: &[RecordId],
        entries: &[LogEntry],
    ) {
        let Some(known) = self.collections.get(&collection) else { return };
        let entries: BTreeMap<RecordId, Option<Digest>> =
            entries.iter().map(|entry| (entry.id, entry.record)).collect();
        let lost = ids.iter().filter(|id| {
            let hash = known.attempted.get(id).map(|record| record.hash);
            entries.get(id).copied().flatten() != hash
        });
        let lost = lost.count();
        if lost > 0 {
            let text = format!("the owner of collection {collection} forgot {lost} records");
            self.violation(now, "appends-survive", text);
        }
    }

    fn holders(nodes: &[Node]) -> Holders {
        let mut holders = Holders::new();
        for (number, node) in nodes.iter().enumerate() {
            for (_, value) in node.disk.rows(Table::Log) {
                let Ok(batch) = codec::decode::<LogBatch>(value) else { continue };
                for entry in batch.entries {
                    if let Some(hash) = entry.record {
                        holders.entry((entry.id, hash)).or_default().insert(number as u32);
                    }
                }
            }
        }
        holders
    }

    /// An acknowledged record with fewer copies than wanted, beside the owner's.
    pub(crate) fn below_factor(&self, scenario: &Scenario, nodes: &[Node]) -> Option<String> {
        // A named liar holds no copies.
        let others = scenario.peers.saturating_sub(1 + self.named.len());
        let wanted = REPLICATION.min(others);
        let holders = Checks::holders(nodes);
        // Copies of a log that its owner lost are not replaced, but they are kept.
        [(false, wanted), (true, 1)].into_iter().find_map(|(lost, wanted)| {
            let (record, copies) = self.fewest(&holders, |c| c.log_lost == lost)?;
            (copies < wanted).then(|| format!("the record {} has {copies} copies", record.short()))
        })
    }

    fn fewest(
        &self,
        holders: &Holders,
        which: impl Fn(&Collection) -> bool,
    ) -> Option<(RecordId, usize)> {
        let mut fewest = None;
        for collection in self.collections.values().filter(|c| which(c)) {
            for id in &collection.acknowledged {
                let Some(record) = collection.attempted.get(id) else { continue };
                let held = holders.get(&(*id, record.hash));
                let others =
                    |held: &BTreeSet<u32>| held.iter().filter(|n| **n != collection.owner).count();
                let copies = held.map_or(0, others);
                if fewest.is_none_or(|(_, least)| copies < least) {
                    fewest = Some((*id, copies));
                }
            }
        }
        fewest
    }

    fn records_at_the_end(&mut self, now: Instant, scenario: &Scenario, nodes: &[Node]) {
        let holders = Checks::holders(nodes);
        self.replicas_min = self.fewest(&holders, |_| true).map_or(0, |(_, copies)| copies);
        let mut lost = Vec::new();
        for (number, collection) in &self.collections {
            if nodes[collection.owner as usize].lost_disk {
                continue;
            }
            let gone = collection.acknowledged.iter().filter(|id| {
                let record = collection.attempted.get(id);
                let held = record.and_then(|r| holders.get(&(**id, r.hash)));
                !held.is_some_and(|held| held.contains(&collection.owner))
            });
            lost.push((*number, gone.count()));
        }
        for (collection, count) in lost.into_iter().filter(|(_, count)| *count > 0) {
            let text = format!(
                "{count} acknowledged records of collection {collection} are not in its owner's log"
            );
            self.violation(now, "appends-survive", text);
        }
        if let Some(text) = self.below_factor(scenario, nodes) {
            self.violation(now, "appends-survive", text);
        }
    }

    /// Everything that can only be judged when all is over.
    pub(crate) fn at_the_end(
        &mut self,
        scenario: &Scenario,
        roles: &Roles,
        nodes: &[Node],
        now: Instant,
    ) {
        self.books_at_the_end(now, nodes);
        self.places_at_the_end(now, nodes);
        self.results_at_the_end(now);
        self.records_at_the_end(now, scenario, nodes);
        self.look_at_bounds(now, nodes);
        let nobody = roles.liars.is_empty() && self.lied.is_empty();
        if nobody && !self.named.is_empty() {
            let text = format!("{} nodes are named and nobody lied", self.named.len());
            self.violation(now, "honest-unharmed", text);
        }
    }
}
