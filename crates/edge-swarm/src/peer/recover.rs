//! A stored checkpoint that this build cannot read: one that an earlier edge-net wrote, or a damaged one.
//!
//! It is set aside, not deleted, and taken again from other members, as a newcomer takes it. Everything else
//! that is stored stays: identity, votes, own blocks, certificates. Until a checkpoint at least as late is
//! here, and every own certificate on the disk has its place again, the node cannot know which place of its
//! account is free nor which places are carried: it signs no new block, votes for none, and takes no part in
//! the agreement on checkpoints.

use std::sync::Arc;

use edge_base::{Digest, codec};
use edge_ledger::{Certificate, EquivocationProof};

use super::{Peer, Stored};
use crate::io::Table;

/// Before the key of a checkpoint that was set aside.
pub(super) const ASIDE: &[u8] = b"aside";
/// The latest epoch whose checkpoint this node ever had.
pub(super) const EPOCH: &[u8] = b"epoch";

/// What waits for a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// Certificates of blocks after it.
    pub(super) certificates: Vec<Arc<Certificate>>,
    /// Proofs about accounts that it has.
    pub(super) proofs: Vec<EquivocationProof>,
}

/// Where a stored checkpoint that says nothing to this build is kept.
pub(super) fn aside_key(bytes: &[u8]) -> Vec<u8> {
    [ASIDE, &Digest::of(bytes).0[..8]].concat()
}

/// The epoch of a stored checkpoint that need not be readable: its first field in every build.
pub(super) fn epoch_in(bytes: &[u8]) -> Option<u64> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    codec::decode(&bytes[..=end]).ok()
}

impl Peer {
    /// Whether this node waits for a checkpoint that it once had.
    pub(super) fn is_recovering(&self) -> bool {
        self.recovering.is_some()
    }

    /// What a caller is told meanwhile.
    pub(super) fn recovering_text(&self) -> String {
        format!(
            "the checkpoint of epoch {} in the data folder was written by another edge-net, or is damaged; \
             it was set aside, and this node takes one from other members before it signs or votes. Is a \
             member connected that has one (`edge-net peer ls`)? If every node was updated at once, start \
             one with the edge-net from before",
            self.checkpoints.latest
        )
    }

    /// Begins to wait, if the ledger is behind what this node once had.
    pub(super) fn begin_recovery(&mut self, stored: &Stored, shelf: Shelf) {
        let epoch = self.bank.as_ref().map_or(0, |bank| bank.ledger.epoch());
        if epoch >= self.checkpoints.latest {
            return;
        }
        // Own escrows are known once the states are here: what rests on them is read then.
        let rows = stored.rows.iter();
        let rows = rows.filter(|(table, _)| matches!(table, Table::Tasks | Table::Vouchers));
        let rows = rows.map(|(table, rows)| (*table, rows.clone())).collect();
        self.recovering = Some(Box::new((shelf, Stored { rows })));
        let text = self.recovering_text();
        self.note(text);
    }

    /// Puts what waited into its place, once the checkpoint is here.
    pub(super) fn recover(&mut self) {
        let epoch = self.bank.as_ref().map_or(0, |bank| bank.ledger.epoch());
        if epoch < self.checkpoints.latest {
            return;
        }
        let Some(mut waiting) = self.recovering.take() else { return };
        let (shelf, stored) = waiting.as_mut();
        loop {
            let before = shelf.certificates.len();
            let certificates = std::mem::take(&mut shelf.certificates);
            for certificate in certificates {
                let Some(bank) = &mut self.bank else { return };
                // Known here: of before the checkpoint, or taken from others meanwhile.
                let taken = bank.ledger.apply(certificate.clone(), &mut self.verifier);
                if taken.is_err_and(|error| error.is_retryable()) {
                    shelf.certificates.push(certificate);
                }
            }
            if shelf.certificates.len() == before || shelf.certificates.is_empty() {
                break;
            }
        }
        let Some(bank) = &self.bank else { return };
        let own = bank.ledger.account(&self.me).seq;
        let ahead = |c: &Arc<Certificate>| c.body().account == self.me && c.body().seq > own;
        if shelf.certificates.iter().any(ahead) {
            self.recovering = Some(waiting);
            return;
        }
        let (shelf, stored) = (std::mem::take(shelf), std::mem::take(stored));
        shelf.proofs.into_iter().for_each(|proof| self.freeze(proof));
        self.restore_equivocations();
        self.restore_spending(&stored);
        self.note("the checkpoint was taken from other members: this node signs and votes again");
        self.step_bank();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_of_what_cannot_be_read_is_its_first_number() {
        for epoch in [0u64, 1, 127, 128, 300, u64::MAX] {
            let bytes = codec::encode(&(epoch, Digest::default(), 7u32));
            assert_eq!(epoch_in(&bytes), Some(epoch));
        }
        assert_eq!(epoch_in(&[]), None);
        assert_eq!(epoch_in(&[0xff; 40]), None);
        assert_ne!(aside_key(b"a"), aside_key(b"b"));
    }
}
