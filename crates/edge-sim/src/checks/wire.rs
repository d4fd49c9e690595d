//! What leaves the nodes: assignments, reveals, promises, certificates.

use edge_ledger::Voucher;
use edge_swarm::message::{FRAME_GOSSIP, Gossip, Message, decode_gossip, decode_message};

use super::{Checks, Ordered};
use crate::queue::Instant;

/// The numbers of the messages that are looked into; decoding all would cost more than the peers.
const ASSIGN: u8 = 10;
const REVEALED: u8 = 14;
const PAID: u8 = 16;
const GOSSIP_CERTIFICATE: u8 = 2;

impl Checks {
    /// A frame left a node for another.
    pub(crate) fn on_send(&mut self, now: Instant, frame: &[u8]) {
        if frame.get(3) == Some(&FRAME_GOSSIP) {
            return self.on_publish(now, frame);
        }
        self.on_said(now, frame);
        if !matches!(frame.get(4), Some(&(ASSIGN | REVEALED | PAID))) {
            return;
        }
        match decode_message(frame) {
            Ok(Message::Assign { assignment, .. }) => {
                let body = assignment.body;
                let ordered = Ordered {
                    escrow: body.escrow,
                    price: body.price.micro(),
                    payload: body.payload,
                };
                self.ordered.insert((body.task, body.worker), ordered);
            }
            Ok(Message::Revealed { reveal, .. }) => self.on_reveal(reveal.body),
            Ok(Message::Paid(voucher)) if !self.promises_arrive => self.on_promise(&voucher.body),
            _ => {}
        }
    }

    /// A frame comes to a process that runs.
    pub(crate) fn on_arrival(&mut self, frame: &[u8]) {
        if self.promises_arrive
            && frame.get(4) == Some(&PAID)
            && let Ok(Message::Paid(voucher)) = decode_message(frame)
        {
            self.on_promise(&voucher.body);
        }
    }

    fn on_promise(&mut self, body: &Voucher) {
        let known = self.promised.entry((body.escrow, body.worker)).or_default();
        *known = (*known).max(body.cumulative.micro());
    }

    fn on_reveal(&mut self, reveal: edge_ledger::Reveal) {
        let key = (reveal.task, reveal.worker);
        let Some(ordered) = self.ordered.get(&key) else { return };
        if self.revealed.insert(key, reveal.digest).is_some() {
            return;
        }
        let lie = self.lies.contains(&(reveal.worker, ordered.payload, reveal.digest));
        // Where some lies are accepted they are paid for, too.
        let earns = !lie || self.accepted_lies.is_some();
        if let (true, Some(escrow)) = (earns, ordered.escrow) {
            *self.earned.entry((escrow, reveal.worker)).or_default() += ordered.price;
        }
    }

    /// A frame left a node for everybody.
    pub(crate) fn on_publish(&mut self, now: Instant, frame: &[u8]) {
        if frame.get(4) == Some(&GOSSIP_CERTIFICATE)
            && let Ok(Gossip::Certificate(certificate)) = decode_gossip(frame)
        {
            self.on_published(&certificate);
            self.on_shown_certificate(now, *certificate);
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_base::{Digest, EscrowId, NodeId, SecretKey, Signed, TaskId, TaskKind};
    use edge_ledger::{Assignment, BlockKind, Certificate, Commit, Reveal, Voucher};
    use edge_swarm::{
        command::Priority,
        message::{encode_gossip, encode_message},
    };

    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_messages() {
        let key = SecretKey::from_seed([1; 32]);
        let pool = Digest::default();
        let task = TaskId(pool);
        let worker = NodeId([2; 32]);
        let assignment = Assignment {
            task,
            requester: key.node_id(),
            worker,
            escrow: None,
            price: Default::default(),
            kind: TaskKind::Embedding,
            payload: pool,
            payload_bytes: 0,
            pins: pool,
            issued: 0,
        };
        let assign = Message::Assign {
            assignment: Signed::seal(assignment, &key, &pool),
            payload: None,
            priority: Priority::Normal,
            remaining: Default::default(),
        };
        let commit = Commit { task, worker, hash: pool };
        let reveal = Reveal { task, worker, nonce: [0; 16], digest: pool };
        let revealed = Message::Revealed {
            commit: Signed::seal(commit, &key, &pool),
            reveal: Signed::seal(reveal, &key, &pool),
            result: None,
        };
        let voucher = Voucher {
            escrow: EscrowId(pool),
            requester: key.node_id(),
            worker,
            cumulative: Default::default(),
            tasks: 0,
        };
        let paid = Message::Paid(Signed::seal(voucher, &key, &pool));
        for (number, message) in [(ASSIGN, assign), (REVEALED, revealed), (PAID, paid)] {
            assert_eq!(encode_message(&message)[4], number);
        }
        let ledger_block = edge_ledger::Block {
            account: key.node_id(),
            seq: 1,
            prev: pool,
            epoch: 0,
            kind: BlockKind::Open,
            debit: Default::default(),
            credits: Vec::new(),
            balance_after: Default::default(),
        };
        let block = Signed::seal(ledger_block, &key, &pool);
        let certificate = Certificate { block, set_version: 1, votes: Vec::new() };
        let gossip = Gossip::Certificate(Box::new(certificate));
        assert_eq!(encode_gossip(&gossip)[4], GOSSIP_CERTIFICATE);
    }
}
