//! What the ledger says to people: balances, history, blocks.

use edge_base::{Credits, Digest, NodeId, Verifier};
use edge_ledger::{Block, BlockKind, LedgerError};

use crate::{
    command::{Answer, BalanceView, BlockView, LedgerView, Refusal},
    peer::Peer,
};

impl Peer {
    pub(in crate::peer) fn balance_view(
        &self,
        account: Option<NodeId>,
    ) -> Result<BalanceView, Refusal> {
        let Some(bank) = &self.bank else {
            return Err(Refusal::Refused("this node has not joined its pool yet".into()));
        };
        let account = account.unwrap_or(self.me);
        let mut view = bank.ledger.account(&account);
        let mut withdrawals = self.withdrawal_views(&account);
        if account == self.me {
            // What the keys before had is this one's.
            for other in self.inherited_accounts() {
                let before = bank.ledger.account(&other);
                let add = |sum: &mut Credits, more: Credits| *sum = sum.plus(more).unwrap_or(*sum);
                add(&mut view.incoming, before.balance);
                add(&mut view.incoming, before.incoming);
                add(&mut view.escrowed, before.escrowed);
                add(&mut view.staked, before.staked);
                add(&mut view.leaving, before.leaving);
                add(&mut view.penalty, before.penalty);
                add(&mut view.vesting, before.vesting);
                view.slashed |= before.slashed;
                withdrawals.extend(self.withdrawal_views(&other));
            }
        }
        let vouchers = if account == self.me { self.promises.sum() } else { Credits::ZERO };
        Ok(BalanceView {
            account,
            balance: view.balance,
            incoming: view.incoming,
            escrowed: view.escrowed,
            staked: view.staked,
            leaving: view.leaving,
            withdrawals,
            vouchers,
            seq: view.seq,
            frozen: view.frozen,
            slashed: view.slashed || self.is_slashed(&account),
            penalty: view.penalty,
            vesting: view.vesting,
            pending: self.pending_view().filter(|_| account == self.me).map(Box::new),
        })
    }

    pub(in crate::peer) fn history_view(
        &self,
        account: Option<NodeId>,
        limit: usize,
    ) -> Result<Vec<BlockView>, Refusal> {
        let Some(bank) = &self.bank else {
            return Err(Refusal::Refused("this node has not joined its pool yet".into()));
        };
        let account = account.unwrap_or(self.me);
        let seq = bank.ledger.account(&account).seq;
        // Older ones are in a checkpoint, and not kept.
        let from = seq.saturating_sub(limit as u64).max(bank.ledger.pruned_below(&account));
        let blocks = bank.ledger.certificates_after(&account, from, limit);
        Ok(blocks.map(|c| block_view_of(c.body(), c.id())).collect())
    }

    /// Verifies every certificate again, in a ledger of its own, and adds up.
    pub(in crate::peer) fn ledger_view(&self) -> Result<LedgerView, Refusal> {
        let Some(bank) = &self.bank else {
            return Err(Refusal::Refused("this node has not joined its pool yet".into()));
        };
        let mut verifier =
            if self.verifier.is_real() { Verifier::strict() } else { self.verifier.clone() };
        let again = bank.ledger.verified_again(&mut verifier);
        let failed = |e: LedgerError| Refusal::Failed(format!("the ledger does not add up: {e}"));
        let again = again.map_err(failed)?;
        let totals = again.totals();
        let set = again.witness_set();
        Ok(LedgerView {
            totals,
            conserved: totals.conserved() && totals == bank.ledger.totals(),
            since_epoch: bank.ledger.base().map(|base| base.decided.sealed.checkpoint.epoch),
            certificates: again.certificate_count(),
            kept: bank.ledger.certificate_count(),
            dropped: bank.ledger.dropped(),
            signatures_verified: verifier.stats().computed,
            accounts: again.accounts().count(),
            set_version: set.version,
            witnesses: set.members.clone(),
        })
    }
}

/// The name of a block kind in events, JSON and text.
pub(super) fn kind_name(kind: &BlockKind) -> &'static str {
    match kind {
        BlockKind::Open => "open",
        BlockKind::Send { .. } => "send",
        BlockKind::Escrow { .. } => "escrow",
        BlockKind::Settle { .. } => "settle",
        BlockKind::Refund { .. } => "refund",
        BlockKind::Stake { .. } => "stake",
        BlockKind::Unstake { .. } => "unstake",
        BlockKind::Release { .. } => "release",
        BlockKind::Rotate { .. } => "rotate",
    }
}

/// What the caller of a certified block is told.
pub(in crate::peer) fn certified_answer(body: &Block, hash: Digest) -> Answer {
    match &body.kind {
        BlockKind::Send { .. } => Answer::Sent(Box::new(block_view_of(body, hash))),
        _ => Answer::Done,
    }
}

/// A block for people and programs.
pub(in crate::peer) fn block_view_of(body: &Block, hash: Digest) -> BlockView {
    let (mut to, mut amount) = (None, body.debit);
    let (text, escrow) = match &body.kind {
        BlockKind::Open => (String::from("opens the account"), None),
        BlockKind::Send { to: node, amount, .. } => {
            to = Some(*node);
            (format!("sends {amount} rUv to {}", node.short()), None)
        }
        BlockKind::Escrow { budget, .. } => {
            (format!("sets {budget} rUv aside"), Some(edge_base::EscrowId(hash)))
        }
        BlockKind::Settle { escrow, payments, fee } => {
            let total = Credits::sum(payments.iter().map(|p| p.amount)).unwrap_or_default();
            amount = total;
            let text = format!("pays {total} rUv to {} workers, fee {fee}", payments.len());
            (text, Some(*escrow))
        }
        BlockKind::Refund { escrow } => (String::from("takes the escrow back"), Some(*escrow)),
        BlockKind::Stake { amount } => (format!("puts {amount} rUv at stake"), None),
        BlockKind::Unstake { amount: leaving } => {
            amount = *leaving;
            (format!("begins to take {leaving} rUv of stake back"), None)
        }
        BlockKind::Release { unstake } => {
            (format!("ends the withdrawal {}", unstake.short()), None)
        }
        BlockKind::Rotate { to: key } => {
            (format!("gives the account to the key {}", key.short()), None)
        }
    };
    BlockView {
        account: body.account,
        seq: body.seq,
        hash,
        kind: kind_name(&body.kind).into(),
        text,
        to,
        amount,
        escrow,
        balance_after: body.balance_after,
    }
}
