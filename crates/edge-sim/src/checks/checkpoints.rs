//! Checkpoints: one an epoch, only forward, nothing certified before lost, and some in good times.

use edge_base::{Digest, NodeId};
use edge_ledger::Ledger;
use edge_swarm::Peer;

use super::Checks;
use crate::{node::Node, queue::Instant, scenario::Checkpointing};

impl Checks {
    /// A node took a checkpoint.
    pub(super) fn on_checkpoint(&mut self, now: Instant, number: u32, epoch: u64, digest: Digest) {
        let first = *self.checkpoints.entry(epoch).or_insert(digest);
        if first != digest {
            let text = format!("two checkpoints of epoch {epoch}, one at node {number}");
            self.violation(now, "one-checkpoint", text);
        }
        let last = self.epochs.insert(number, epoch);
        if last.is_some_and(|last| last >= epoch) {
            let text = format!("node {number} took epoch {epoch} after {last:?}");
            self.violation(now, "checkpoints-advance", text);
        }
    }

    /// A process ended: what was not durable yet is taken again.
    pub(crate) fn on_stopped_node(&mut self, number: u32) {
        self.epochs.remove(&number);
    }

    /// How many checkpoints were decided.
    pub(crate) fn decided(&self) -> usize {
        self.checkpoints.len()
    }

    /// What of this is not as it has to be at the end, if anything is not yet.
    pub(crate) fn checkpoints_lag(&self, wanted: Checkpointing, nodes: &[Node]) -> Option<String> {
        let ledgers = || nodes.iter().enumerate().filter_map(|(n, node)| Some((n, ledger(node)?)));
        let (_, first) = ledgers().next()?;
        let version = 2 + wanted.changes as u64;
        if first.witness_set().version < version {
            return Some(format!("the witness set is not of version {version} yet"));
        }
        let fewest = wanted.fewest + wanted.changes;
        if self.decided() < fewest {
            return Some(format!("{} of {fewest} checkpoints are decided", self.decided()));
        }
        let differs =
            |(_, ledger): &(usize, &Ledger)| ledger.frontier_digest() != first.frontier_digest();
        let other = ledgers().find(differs)?.0;
        Some(format!("the ledger of node {other} differs from that of node 0"))
    }

    /// No ledger is without a block that was ever certified.
    pub(crate) fn nothing_is_lost(&mut self, now: Instant, nodes: &[Node]) {
        let mut lost: Vec<(usize, NodeId, u64)> = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let Some(ledger) = ledger(node) else { continue };
            for (id, certificate) in &self.certificates {
                let (account, seq) = (certificate.body().account, certificate.body().seq);
                let there = ledger.account(&account).seq >= seq;
                let dropped = seq <= ledger.pruned_below(&account);
                if !there || !(dropped || ledger.certificate(id).is_some()) {
                    lost.push((number, account, seq));
                }
            }
        }
        for (number, account, seq) in lost.into_iter().take(4) {
            let text = format!("node {number} is without block {seq} of {}", account.short());
            self.violation(now, "nothing-lost", text);
        }
    }
}

fn ledger(node: &Node) -> Option<&Ledger> {
    node.peer.as_ref().and_then(Peer::ledger)
}
