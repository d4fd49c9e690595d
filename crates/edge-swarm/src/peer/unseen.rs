//! What certificates would have told a node that was away, where it took a checkpoint's states in their
//! place: that its own block was certified, which escrows ended, which stake began to leave.
//!
//! Members keep certificates since the checkpoint before the last. Who was away for longer never sees
//! those before, and must not wait for them.

use std::collections::BTreeSet;

use edge_base::EscrowId;
use edge_ledger::{EscrowState, block_hash};

use super::{Peer, bank::certified_answer};
use crate::{command::Refusal, io::Table};

impl Peer {
    /// The ledger took a checkpoint's states.
    pub(super) fn on_unseen_blocks(&mut self) {
        self.finish_unseen_block();
        self.end_unseen_escrows();
        self.begin_unseen_delays();
        self.start_waiting_jobs();
        self.step_waiting_tasks();
        self.step_bank();
    }

    /// The own block on its way may be among them: it was certified while this node was away.
    fn finish_unseen_block(&mut self) {
        let me = self.me;
        let Some(bank) = &mut self.bank else { return };
        let view = bank.ledger.account(&me);
        let Some(pending) = bank.pending.take_if(|p| p.block.body.seq <= view.seq) else { return };
        self.forget(Table::OwnBlock, b"pending");
        let (hash, kind) = (block_hash(&pending.block), pending.block.body.kind.clone());
        let asked = pending.asked();
        // Whoever signs one block at a place finds that one there; a copy of this node may not.
        let other = pending.block.body.seq == view.seq && view.head != hash;
        if other {
            self.on_block_refused(&kind);
        }
        if let Some(call) = pending.call {
            let text = "another block of this node was certified in its place";
            let answer = match other {
                true => Err(Refusal::Failed(text.into())),
                false => Ok(certified_answer(&pending.block.body, hash)),
            };
            self.answer(call, answer);
        }
        if !other {
            self.on_own_block_certified(hash, &kind, asked);
        }
    }

    /// Vouchers were taken only where their escrow was known, and own escrows are known: those that are
    /// not open any more have ended.
    fn end_unseen_escrows(&mut self) {
        let Some(bank) = &mut self.bank else { return };
        bank.claims.prune(&bank.ledger);
        let open = |escrow: &EscrowId| {
            bank.ledger.escrow(escrow).is_some_and(|view| view.state == EscrowState::Open)
        };
        let known = self.escrow.known().chain(self.promises.escrows());
        let ended: BTreeSet<EscrowId> = known.filter(|escrow| !open(escrow)).collect();
        ended.into_iter().for_each(|escrow| self.on_escrow_ended(escrow));
    }
}
