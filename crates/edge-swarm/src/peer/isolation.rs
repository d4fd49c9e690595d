//! Whether this node hears enough of the pool to believe what it hears.
//!
//! Who stands between a node and the rest hides members, and tells of the past. It cannot make up newer
//! words of others: adverts and messages of members are theirs. So what counts is from whom
//! something new came lately: a quorum of the witnesses, which the handover names, and more than one
//! voice ([`super::branches`]), if more than one is known. Without that a node is *isolated*: it
//! executes its own tasks itself, works for nobody else on credit, and says so. See docs/adr/0019.
//!
//! After E. Heilman, A. Kendler, A. Zohar and S. Goldberg, "Eclipse attacks on Bitcoin's peer-to-peer
//! network" (2015), whose counter-measures are anchors and diversity of connections.

use std::collections::BTreeSet;

use edge_base::{Micros, NodeId};

use super::Peer;

/// A member that was silent for so many halves of the interval between adverts is not heard.
const SILENT_HALVES: u64 = 5;
/// Members whose results held most often, to which connections are kept in a large pool.
const ANCHORS_MAX: usize = 8;

impl Peer {
    /// A member that was silent for so long is not heard.
    pub(super) fn heard_within(&self) -> Micros {
        Micros(self.advert_interval().0.saturating_mul(SILENT_HALVES) / 2)
    }

    pub(super) fn is_fresh(&self, node: &NodeId, within: Micros) -> bool {
        *node == self.me
            || self
                .members
                .get(node)
                .and_then(|member| member.heard)
                .is_some_and(|heard| self.now.since(heard) <= within)
    }

    /// Why this node must think that it is cut off from the pool, if it must.
    fn isolation(&self) -> Option<String> {
        let bank = self.bank.as_ref().filter(|_| self.settings.notices_isolation)?;
        let within = self.heard_within();
        // Whoever started a moment ago, or was let in, has heard nobody yet.
        if !self.is_admitted() || self.members.is_empty() || self.now.since(self.started) <= within
        {
            return None;
        }
        let set = bank.ledger.witness_set();
        let heard = set.members.iter().filter(|w| self.is_fresh(w, within)).count();
        // Before the handover the founder is the only witness, and may be a machine that sleeps at night.
        if set.members.len() > 1 && heard < set.quorum() {
            return Some(format!(
                "{heard} of {} witnesses were heard of lately, fewer than the {} of a quorum",
                set.members.len(),
                set.quorum()
            ));
        }
        let others = || self.members.iter().map(|(node, _)| node);
        let all: BTreeSet<NodeId> = self.voices(others());
        let now = self.voices(others().filter(|node| self.is_fresh(node, within)));
        match now.first() {
            Some(only)
                if now.len() == 1 && all.len() > 1 && self.members.founder() != Some(*only) =>
            {
                Some(format!(
                    "of {} branches only that of {} was heard of lately",
                    all.len(),
                    only.short()
                ))
            }
            _ => None,
        }
    }

    /// Looks around, and says when that changes.
    pub(super) fn look_around(&mut self) {
        let now = self.isolation();
        match (&self.isolated, &now) {
            (None, Some(why)) => self.note(format!("isolated: {why}")),
            (Some(_), None) => self.note("not isolated any more"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.isolated = now;
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.isolated.is_some()
    }

    /// Members to which connections are kept beside the nearest: those whose results held most often.
    /// Their counts and addresses are stored, so they are there after a restart.
    pub(super) fn anchors(&self) -> Vec<NodeId> {
        let checked = |(node, _): (&NodeId, _)| (self.members.checked(node), *node);
        let mut proven: Vec<(u64, NodeId)> =
            self.members.iter().map(checked).filter(|(checked, _)| *checked > 0).collect();
        proven.sort_by(|a, b| b.cmp(a));
        proven.into_iter().take(ANCHORS_MAX).map(|(_, node)| node).collect()
    }
}
