//! What leaves a node whose process is killed again and again: one block of an owner at a place, one
//! vote of a witness; and what was published as certified is on every disk at the end.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, NodeId};
use edge_ledger::{Certificate, block_hash};
use edge_swarm::{
    Peer, Table,
    message::{Message, decode_message},
};

use super::Checks;
use crate::{
    mutant::{PROPOSE, VOTE},
    node::Node,
    queue::Instant,
};

/// A place of a chain.
type Place = (NodeId, u64);

/// What nodes let out so far.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By owner and seq: the block it signed.
    signed: BTreeMap<Place, Digest>,
    /// Where a block stands.
    stands: BTreeMap<Digest, Place>,
    /// By witness, set version and place: what it voted for.
    voted: BTreeMap<(NodeId, u64, Place), Digest>,
    /// Certificates that were published.
    published: BTreeSet<Digest>,
}

impl Checks {
    /// From now on nobody may say two things at one place.
    pub(crate) fn watch_places(&mut self) {
        self.said = Some(Places::default());
    }

    /// A frame left a node: is it another block or vote than what left before?
    pub(super) fn on_said(&mut self, now: Instant, frame: &[u8]) {
        if self.said.is_none() || !matches!(frame.get(4), Some(&(PROPOSE | VOTE))) {
            return;
        }
        let Ok(message) = decode_message(frame) else { return };
        let Some(said) = &mut self.said else { return };
        let (who, what, place, before, checker) = match message {
            Message::Propose(block) if block.signer == block.body.account => {
                let (place, what) = ((block.body.account, block.body.seq), block_hash(&block));
                said.stands.insert(what, place);
                let before = *said.signed.entry(place).or_insert(what);
                (block.signer, what, place, before, "owner-signs-once")
            }
            Message::Vote(vote) => {
                let what = vote.body.block;
                // A vote leaves after its block arrived, so that block has left its owner.
                let Some(place) = said.stands.get(&what).copied() else { return };
                let key = (vote.signer, vote.body.set_version, place);
                let before = *said.voted.entry(key).or_insert(what);
                (vote.signer, what, place, before, "witness-votes-once")
            }
            _ => return,
        };
        if before != what {
            let (account, seq) = (place.0.short(), place.1);
            let text = format!("{} let out two blocks or votes at {account}/{seq}", who.short());
            self.violation(now, checker, text);
        }
    }

    pub(super) fn on_published(&mut self, certificate: &Certificate) {
        if let Some(said) = &mut self.said {
            said.published.insert(certificate.id());
        }
    }

    /// What was published as certified is on every disk.
    pub(super) fn places_at_the_end(&mut self, now: Instant, nodes: &[Node]) {
        let Some(said) = &self.said else { return };
        let mut lost = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let rows = node.disk.rows(Table::Certificates).into_iter();
            let decoded =
                rows.filter_map(|(_, value)| edge_base::codec::decode::<Certificate>(value).ok());
            let held: BTreeSet<Digest> = decoded.map(|certificate| certificate.id()).collect();
            let ledger = node.peer.as_ref().and_then(Peer::ledger);
            // What a checkpoint has in its states needs no certificate.
            let dropped = |id: &&Digest| {
                let body = self.certificates.get(*id).map(Certificate::body);
                body.zip(ledger)
                    .is_some_and(|(body, ledger)| body.seq <= ledger.pruned_below(&body.account))
            };
            let missing = said.published.difference(&held).filter(|id| !dropped(id));
            lost.push((number, missing.count()));
        }
        for (number, count) in lost.into_iter().filter(|(_, count)| *count > 0) {
            let text = format!("{count} published certificates are not on the disk of {number}");
            self.violation(now, "blocks-survive", text);
        }
    }
}
