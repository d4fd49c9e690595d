//! A witness that tells half of the others something else about checkpoints: another value in each of
//! its proposals and ballots, validly signed, and closings that leave out what it voted for.
//!
//! It sits at the boundary of its node's peer, which is honest itself; what it sends is changed on its way.

use edge_base::{Digest, NodeId, SecretKey, Signed};
use edge_ledger::{Ballot, Closing, Proposal, Proposed, Statement};
use edge_swarm::message::{Message, decode_message, encode_message};

/// The faulty witness of a run.
pub(crate) struct TwoFaced {
    node: u32,
    key: SecretKey,
    pool: Digest,
    /// Messages that were changed.
    pub(crate) lies: u64,
}

impl TwoFaced {
    pub(crate) fn new(node: u32, key: SecretKey, pool: Digest) -> Self {
        TwoFaced { node, key, pool, lies: 0 }
    }

    /// What a frame becomes on its way to a node.
    pub(crate) fn sending(&mut self, from: u32, to: u32, frame: Vec<u8>) -> Vec<u8> {
        if from != self.node || to.is_multiple_of(2) {
            return frame;
        }
        let changed = match decode_message(&frame) {
            Ok(Message::Agree(statement)) => Message::Agree(Box::new(self.another(*statement))),
            Ok(Message::Closed(closing)) => {
                let body = Closing { voted: Vec::new(), ..closing.body };
                Message::Closed(Box::new(Signed::seal(body, &self.key, &self.pool)))
            }
            Ok(_) | Err(_) => return frame,
        };
        self.lies += 1;
        encode_message(&changed)
    }

    fn another(&self, statement: Statement) -> Statement {
        let other = |value: &Digest| Digest::of(&value.0);
        match statement {
            Statement::Proposal(Proposal { head, polka }) => {
                let body = Proposed { value: other(&head.body.value), ..head.body };
                let head = Signed::seal(body, &self.key, &self.pool);
                Statement::Proposal(Proposal { head, polka })
            }
            Statement::Ballot(ballot) => {
                let value = match &ballot.body.value {
                    Some(value) => Some(other(value)),
                    None => Some(Digest::of(b"something")),
                };
                let body = Ballot { value, ..ballot.body };
                Statement::Ballot(Signed::seal(body, &self.key, &self.pool))
            }
        }
    }

    /// Who it is.
    pub(crate) fn id(&self) -> NodeId {
        self.key.node_id()
    }
}
