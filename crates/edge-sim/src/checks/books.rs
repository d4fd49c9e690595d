//! Books: certificates, escrows, conservation.

use std::{collections::BTreeMap, sync::Arc};

use edge_base::{Credits, Digest, NodeId, codec};
use edge_ledger::{
    AccountState, Block, BlockKind, Certificate, Decided, Ledger, LedgerError, Sealed,
};
use edge_swarm::Table;

use super::Checks;
use crate::{node::Node, outcome::Escrows, queue::Instant};

impl Checks {
    /// A node verified a certificate and stores it.
    pub(super) fn on_stored_certificate(&mut self, now: Instant, key: &[u8], value: &[u8]) {
        if self.stored.get(key).is_some_and(|known| known == value) {
            return;
        }
        match codec::decode::<Certificate>(value) {
            Ok(certificate) => {
                self.stored.insert(key.to_vec(), value.to_vec());
                self.on_certificate(now, certificate);
            }
            Err(error) => {
                let text = format!("a stored certificate does not decode: {error}");
                self.violation(now, "books", text);
            }
        }
    }

    /// Somebody shows a certificate: it counts if its votes hold.
    pub(super) fn on_shown_certificate(&mut self, now: Instant, certificate: Certificate) {
        let Some(set) = self.sets.get(&certificate.set_version) else { return };
        if certificate.check_votes(set, &self.pool, &mut self.verifier).is_ok() {
            self.on_certificate(now, certificate);
        }
    }

    fn on_certificate(&mut self, now: Instant, certificate: Certificate) {
        let id = certificate.id();
        if self.certificates.contains_key(&id) {
            return;
        }
        let body = certificate.body();
        let (account, seq) = (body.account, body.seq);
        let other = self.places.insert((account, seq), id);
        if let Some(other) = other.filter(|_| !self.conflicts) {
            let text = format!(
                "two certificates of {} at {seq}: {} and {}",
                account.short(),
                other.short(),
                id.short()
            );
            self.violation(now, "one-certificate", text);
        }
        if let BlockKind::Escrow { .. } = &body.kind {
            self.opened.insert(edge_base::EscrowId(id), account);
        }
        if let Some(escrow) = body.kind.ends() {
            let ends = self.ended.entry(escrow).or_default();
            ends.push(id);
            if ends.len() > 1 {
                let text =
                    format!("the escrow {} of {} ended twice", escrow.short(), account.short());
                self.violation(now, "escrow-ends-once", text);
            }
        }
        if let BlockKind::Settle { escrow, payments, .. } = &body.kind {
            for payment in payments.clone() {
                let key = (*escrow, payment.worker);
                let (paid, worker) = (payment.amount.micro(), payment.worker.short());
                let earned = self.earned.get(&key).copied().unwrap_or(0);
                if paid > earned {
                    let who = if self.liars.contains(&payment.worker) { "liar" } else { "worker" };
                    let text = format!(
                        "the {who} {worker} was paid {paid} of the escrow {}, its true results \
                         are worth {earned}",
                        escrow.short()
                    );
                    self.violation(now, "paid-for-truth", text);
                }
                let promised = self.promised.get(&key).copied().unwrap_or(0);
                if paid < promised {
                    let text = format!(
                        "{worker} was promised {promised} of the escrow {} and paid {paid}",
                        escrow.short()
                    );
                    self.violation(now, "vouchers-honoured", text);
                }
            }
        }
        self.certificates.insert(id, certificate);
    }

    /// An escrow that is open although its owner is there, or one promised something that a
    /// refund did not pay.
    pub(crate) fn open_escrow(&self, nodes: &[Node]) -> Option<String> {
        let open = self.opened.iter().find(|(escrow, owner)| {
            !self.ended.contains_key(escrow) && self.is_answerable(nodes, owner)
        });
        open.map(|(escrow, owner)| {
            format!("the escrow {} of {} is open", escrow.short(), owner.short())
        })
    }

    /// Whether the owner of an account is there and can end its escrows.
    fn is_answerable(&self, nodes: &[Node], owner: &NodeId) -> bool {
        let there = nodes.iter().any(|n| n.id == *owner && n.peer.is_some() && !n.lost_disk);
        there && !self.frozen.contains(owner)
    }

    pub(super) fn escrows(&self) -> Escrows {
        let mut counts = Escrows::default();
        for (escrow, owner) in &self.opened {
            let end = self.ended.get(escrow).and_then(|ends| ends.first());
            let kind = end.and_then(|id| self.certificates.get(id)).map(|c| &c.body().kind);
            match kind {
                Some(BlockKind::Settle { .. }) => counts.settled += 1,
                Some(BlockKind::Refund { .. }) => counts.refunded += 1,
                _ if self.frozen.contains(owner) => counts.frozen += 1,
                _ if self.gone.contains(owner) => counts.abandoned += 1,
                _ => counts.open += 1,
            }
        }
        counts
    }

    /// Folds what lies on a node's disk: it must add up at any moment.
    /// Returns its heads.
    pub(super) fn look_at_ledger(
        &mut self,
        now: Instant,
        node: &Node,
        number: usize,
    ) -> Vec<(NodeId, u64)> {
        let Ok(mut ledger) = Ledger::new(self.genesis.clone()) else { return Vec::new() };
        let handover = node.disk.read(Table::Pool, b"handover");
        if let Some(handover) = handover.and_then(|bytes| codec::decode(&bytes).ok())
            && let Err(error) = ledger.apply_handover(Arc::new(handover), &mut self.verifier)
        {
            let text = format!("the handover on the disk of node {number}: {error}");
            self.violation(now, "conservation", text);
        }
        let rows = node.disk.rows(Table::Certificates);
        let decoded = rows.into_iter().filter_map(|(_, value)| codec::decode(value).ok());
        let certificates: Vec<Arc<Certificate>> = decoded.map(Arc::new).collect();
        if let Err(error) = self.begin_at_checkpoint(&mut ledger, node) {
            let text = format!("the checkpoint on the disk of node {number}: {error}");
            self.violation(now, "conservation", text);
        }
        ledger.backfill(&certificates);
        let merged = ledger.merge(certificates, &mut self.verifier);
        if let Some(refused) = merged.refused.first() {
            let text = format!("a certificate on the disk of node {number}: {}", refused.error);
            self.violation(now, "conservation", text);
        }
        let totals = ledger.totals();
        if !totals.conserved() {
            let text = format!("credits on the disk of node {number}: {totals:?}");
            self.violation(now, "conservation", text);
        }
        // Added up once more, from the accounts.
        let accounts = ledger.accounts().map(|(_, view)| {
            let spendable = [view.balance, view.incoming, view.escrowed];
            let staked = [view.staked, view.leaving];
            Credits::sum(spendable.into_iter().chain(staked)).unwrap_or_default()
        });
        let again = Credits::sum(accounts.chain([totals.burned]));
        if again != Ok(totals.granted) {
            let text = format!("accounts on the disk of node {number} add up to {again:?}");
            self.violation(now, "conservation", text);
        }
        // And stake once more, from the blocks: what was put up less what was released.
        let dropped = self.certificates.iter().filter(|(_, certificate)| {
            let Block { account, seq, .. } = *certificate.body();
            seq <= ledger.pruned_below(&account)
        });
        let dropped = dropped.map(|(id, certificate)| (*id, certificate.body()));
        let kept = ledger.certificates().map(|c| (c.id(), c.body()));
        let staked = staked_by_blocks(dropped.chain(kept));
        if staked != totals.staked.plus(totals.forfeited).ok() {
            let text = format!(
                "blocks on the disk of node {number} stake {staked:?}, its ledger {} and {} burned",
                totals.staked, totals.forfeited
            );
            self.violation(now, "conservation", text);
        }
        ledger.frontier()
    }

    /// The last checkpoint on a disk, from which the certificates after it go on.
    fn begin_at_checkpoint(&mut self, ledger: &mut Ledger, node: &Node) -> Result<(), LedgerError> {
        let rows = node.disk.rows(Table::Checkpoints);
        let sets = rows.iter().filter(|(key, _)| key.starts_with(b"set"));
        let sets: Vec<Sealed> = sets.filter_map(|(_, value)| codec::decode(value).ok()).collect();
        ledger.learn_sets(&sets, &mut self.verifier)?;
        // What is durable, as the sets are: the process may be ahead of its disk.
        let last = rows.iter().find(|(key, _)| *key == b"last");
        let last =
            last.and_then(|(_, bytes)| codec::decode::<(Decided, Vec<AccountState>)>(bytes).ok());
        if let Some((decided, states)) = last {
            ledger.apply_snapshot(decided, states, &mut self.verifier)?;
        }
        Ok(())
    }

    pub(super) fn books_at_the_end(&mut self, now: Instant, nodes: &[Node]) {
        self.gone =
            nodes.iter().filter(|n| n.peer.is_none() || n.lost_disk).map(|n| n.id).collect();
        if let Some(text) = self.open_escrow(nodes) {
            self.violation(now, "escrow-ends-once", text);
        }
        // Equal sets of certificates are folded once.
        let (mut seen, mut heads) = (Vec::new(), Vec::new());
        for (number, node) in nodes.iter().enumerate() {
            let print = node.disk.fingerprint(Table::Certificates);
            if !seen.contains(&print) {
                seen.push(print);
                heads.push(self.look_at_ledger(now, node, number));
            }
        }
        // Who began at a checkpoint lacks certificates before it, and has the same heads.
        if !self.checkpoints.is_empty() {
            heads.sort_unstable();
            heads.dedup();
        }
        if heads.len() > 1 && !self.conflicts {
            let text = format!("{} different ledgers at the end", heads.len());
            self.violation(now, "convergence", text);
        }
        // A refund pays nobody: nobody may have been promised anything.
        let promised: Vec<(edge_base::EscrowId, NodeId, u64)> =
            self.promised.iter().map(|((e, w), p)| (*e, *w, *p)).collect();
        for (escrow, worker, amount) in promised {
            let end = self.ended.get(&escrow).and_then(|ends| ends.first()).copied();
            let kind = end.and_then(|id| self.certificates.get(&id)).map(|c| c.body().kind.clone());
            let paid = match kind {
                Some(BlockKind::Settle { payments, .. }) => {
                    payments.iter().any(|p| p.worker == worker)
                }
                Some(_) => false,
                None => continue,
            };
            if !paid {
                let text = format!(
                    "{} was promised {amount} of the escrow {} and is not among those paid",
                    worker.short(),
                    escrow.short()
                );
                self.violation(now, "vouchers-honoured", text);
            }
        }
    }
}

/// What is staked or leaving; `None` if a withdrawal is released twice, by a stranger, or if more
/// comes back than was put up.
fn staked_by_blocks<'a>(blocks: impl Iterator<Item = (Digest, &'a Block)>) -> Option<Credits> {
    let blocks: Vec<(Digest, &Block)> = blocks.collect();
    let mut leaving: BTreeMap<(NodeId, Digest), Credits> = BTreeMap::new();
    let mut staked = Credits::ZERO;
    for (id, block) in &blocks {
        if let BlockKind::Stake { amount } = &block.kind {
            staked = staked.plus(*amount).ok()?;
        } else if let BlockKind::Unstake { amount } = &block.kind {
            leaving.insert((block.account, *id), *amount);
        }
    }
    for (_, block) in &blocks {
        if let BlockKind::Release { unstake } = &block.kind {
            staked = staked.minus(leaving.remove(&(block.account, *unstake))?).ok()?;
        }
    }
    Some(staked)
}

#[cfg(test)]
mod tests {
    use edge_base::SecretKey;

    use super::*;

    #[test]
    fn stake_is_counted_by_blocks() {
        let owner = |n: u8| SecretKey::from_seed([n; 32]).node_id();
        let block = |account, kind: BlockKind| Block {
            account,
            seq: 1,
            prev: Digest::default(),
            epoch: 0,
            debit: kind.debit(),
            kind,
            credits: Vec::new(),
            balance_after: Credits::ZERO,
        };
        let amount = Credits::from_micro;
        let id = |n: u8| Digest([n; 32]);
        let stake = block(owner(1), BlockKind::Stake { amount: amount(9) });
        let unstake = block(owner(1), BlockKind::Unstake { amount: amount(5) });
        let release = block(owner(1), BlockKind::Release { unstake: id(2) });
        let stolen = Block { account: owner(2), ..release.clone() };
        let sum = |blocks: &[(u8, &Block)]| {
            staked_by_blocks(blocks.iter().map(|(n, block)| (id(*n), *block)))
        };
        let put_up = [(1, &stake), (2, &unstake)];
        assert_eq!(sum(&put_up), Some(amount(9)), "what is leaving is staked");
        let once = [(3, &release), (1, &stake), (2, &unstake)];
        assert_eq!(sum(&once), Some(amount(4)), "in whatever order");
        let twice = [(1, &stake), (2, &unstake), (3, &release), (4, &release)];
        assert_eq!(sum(&twice), None);
        assert_eq!(sum(&[(1, &stake), (2, &unstake), (3, &stolen)]), None);
        assert_eq!(sum(&[(2, &unstake), (3, &release)]), None, "more than was put up");
    }
}
