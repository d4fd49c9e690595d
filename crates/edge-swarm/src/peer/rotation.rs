//! This node gives its place to a new key of its owner, and, as such a key, takes over what the one before had.
//!
//! The steps, each durable before the next: both keys sign the succession; what is under way ends; the accounts
//! are given to the new key ([`BlockKind::Rotate`]), certified; the succession is told, and this key signs nothing
//! any more. A node that is killed goes on where it was: until the last step it is the old one.

use std::{cmp::Reverse, collections::BTreeSet};

use edge_base::{Credits, Digest, Micros, NodeId, SecretKey, Timestamp};
use edge_ledger::BlockKind;

use super::{Peer, Stored, decode_stored};
use crate::{
    command::{Answer, Refusal},
    event::Event,
    io::{CallId, Table},
    message::Gossip,
    succession::{CHAIN_MAX, OWN_MAX, SuccessionRecord},
};

/// What both keys signed, before anybody is told.
const BEGUN: &[u8] = b"rotation";
/// The new key, once nothing is left to do for the old one.
const DONE: &[u8] = b"rotated";
/// Work for others that has not ended by then is left.
const PATIENCE: Micros = Micros::from_secs(30);
/// How often what the accounts of the keys before got is sent on to this one's.
const SWEEP_EVERY: Micros = Micros::from_secs(5);

/// Accounts of other keys that a node looks after.
const GIVEN_MAX: usize = 64;

/// A rotation under way.
#[derive(Debug)]
pub(crate) struct Rotation {
    record: SuccessionRecord,
    call: Option<CallId>,
    since: Timestamp,
    done: bool,
}

/// When the accounts of the keys before were looked at last.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    swept: Option<Timestamp>,
}

impl Peer {
    /// Which key a node goes on under, if nothing is left to do for the one that its store is of.
    pub fn rotated(stored: &Stored) -> Option<NodeId> {
        stored.get(Table::Pool, DONE).and_then(decode_stored)
    }

    /// Which key a node was to go on under when it stopped, whether or not that was done.
    pub fn rotates_to(stored: &Stored) -> Option<NodeId> {
        let record: Option<SuccessionRecord> =
            stored.get(Table::Pool, BEGUN).and_then(decode_stored);
        record.map(|record| record.heir())
    }

    /// Whether this node begins nothing new.
    pub(super) fn is_leaving(&self) -> bool {
        self.draining.is_some() || self.rotation.is_some()
    }

    pub(super) fn restore_rotation(&mut self, stored: &Stored) {
        let record: Option<SuccessionRecord> =
            stored.get(Table::Pool, BEGUN).and_then(decode_stored);
        let Some(record) = record else { return };
        if record.old() == self.me {
            let since = self.now;
            self.rotation = Some(Rotation { record, call: None, since, done: false });
        } else {
            // This is the new key. Whoever has a ticket of the one before looks for that one.
            for ticket in self.members.drop_open_invites() {
                self.forget(Table::Invites, &ticket.0);
            }
            self.forget(Table::Pool, BEGUN);
            self.forget(Table::Pool, DONE);
        }
    }

    pub(super) fn rotate(&mut self, call: CallId, heir: &SecretKey) {
        let refuse = |text: String| Err(Refusal::Refused(text));
        if let Some(rotation) = &mut self.rotation {
            let to = rotation.record.heir();
            if to != heir.node_id() {
                let text = format!("this node is giving its place to {} already", to.short());
                return self.answer(call, refuse(text));
            }
            if let Some(before) = rotation.call.replace(call) {
                self.answer(before, refuse("another caller waits for the same".into()));
            }
            return self.step_rotation();
        }
        if let Some(text) = self.cannot_rotate(&heir.node_id()) {
            return self.answer(call, refuse(text.into()));
        }
        let record = SuccessionRecord::new(&self.key, heir, self.own_nodes(), &self.pool);
        self.persist(Table::Pool, BEGUN, &record);
        let since = self.now;
        self.rotation = Some(Rotation { record, call: Some(call), since, done: false });
        self.settle_for_drain();
        self.step_rotation();
    }

    fn cannot_rotate(&self, heir: &NodeId) -> Option<&'static str> {
        let set = self.bank.as_ref().map(|bank| bank.ledger.witness_set());
        if !self.is_admitted() {
            return Some("this node is not a member yet: there is nothing to take over");
        }
        if self.members.founder() == Some(self.me) {
            return Some(
                "the founder's key is part of the pool and cannot be replaced; found another pool and \
                 invite its members",
            );
        }
        if set.is_some_and(|set| set.contains(&self.me)) {
            return Some(
                "this node is a witness, and a witness is its key: the founder orders it out of the set \
                 first (`edge-net ledger handover`), and the new key in afterwards",
            );
        }
        if self.is_recovering() {
            return Some("this node waits for a checkpoint and signs nothing until then");
        }
        let frozen = self.bank.as_ref().is_some_and(|bank| bank.ledger.account(&self.me).frozen);
        if frozen {
            return Some("this account is frozen: nobody votes for its blocks");
        }
        let line = self.members.successions.line(&self.me);
        if line.is_some_and(|line| line.len() >= CHAIN_MAX) {
            return Some(
                "eight keys were replaced since this node was invited, the most that others follow: \
                 join with a new ticket and send the credits there",
            );
        }
        let taken = self.members.is_member(heir) || *heir == self.me;
        taken.then_some("the new key is a member's already")
    }

    /// Those that this node invited and that are its owner's.
    fn own_nodes(&self) -> Vec<NodeId> {
        let kin = self.members.kin(&self.me);
        let invited =
            |node: &NodeId| self.members.branches.inviter(node).is_some_and(|by| kin.contains(&by));
        let nodes = self.members.iter().map(|(node, _)| *node);
        nodes.filter(|node| self.members.is_trusted(node) && invited(node)).take(OWN_MAX).collect()
    }

    /// Goes on with a rotation, as far as it gets now.
    pub(super) fn step_rotation(&mut self) {
        let Some(rotation) = self.rotation.as_ref().filter(|rotation| !rotation.done) else {
            return;
        };
        let (heir, late) = (rotation.record.heir(), self.now.since(rotation.since) >= PATIENCE);
        let idle = self.tasks.undecided == 0 && self.searches.len() == 0;
        if idle {
            self.settle_for_drain();
        }
        let busy = self.bank.as_ref().is_some_and(|bank| bank.is_busy());
        let worked = self.jobs.load() == 0 || late;
        if !(idle && worked && self.owes_nothing()) || busy || self.is_recovering() {
            return;
        }
        match self.accounts_of(&self.me).first() {
            Some(account) => {
                self.queue_block_of(*account, BlockKind::Rotate { to: heir }, None);
            }
            None => self.finish_rotation(),
        }
    }

    fn finish_rotation(&mut self) {
        let Some(rotation) = &mut self.rotation else { return };
        rotation.done = true;
        let (record, call) = (rotation.record.clone(), rotation.call.take());
        let heir = record.heir();
        if !self.gave_up() {
            self.take_succession(record.clone());
        }
        self.persist(Table::Pool, DONE, &heir);
        self.settings.works = false;
        self.publish(&Gossip::Succession(Box::new(record)));
        if let Some(call) = call {
            self.answer(call, Ok(Answer::Rotated { heir }));
        }
        self.event(Event::Rotated { heir });
    }

    /// What a person should know of it.
    pub(super) fn rotation_text(&self) -> Option<String> {
        let rotation = self.rotation.as_ref().filter(|rotation| !rotation.done)?;
        Some(format!(
            "this node is giving its place to {}: own tasks and payments come to their end first; it \
             begins nothing new, and goes on with it when it is started again",
            rotation.record.heir().short()
        ))
    }

    /// Accounts whose blocks a node's key signs: its own first, then those that were given to it, what is worth
    /// more first. Anybody can give an account away: of those beyond [`GIVEN_MAX`] nothing is made.
    pub(super) fn accounts_of(&self, node: &NodeId) -> Vec<NodeId> {
        let Some(bank) = &self.bank else { return Vec::new() };
        let mut accounts: Vec<NodeId> = bank.ledger.held_by(node).collect();
        if accounts.len() > 1 {
            let worth = |account: &NodeId| {
                let view = bank.ledger.account(account);
                let sums = [view.balance, view.staked, view.leaving, view.incoming];
                sums.iter().fold(0u64, |sum, part| sum.saturating_add(part.micro()))
            };
            accounts.sort_by_cached_key(|account| (account != node, Reverse(worth(account))));
            accounts.truncate(1 + GIVEN_MAX);
        }
        accounts
    }

    /// Whether this node signs for an account.
    pub(super) fn is_own_account(&self, account: &NodeId) -> bool {
        let held = || self.bank.as_ref().is_some_and(|b| b.ledger.holder(account) == self.me);
        *account == self.me || held()
    }

    /// Those of the keys before.
    pub(super) fn inherited_accounts(&self) -> BTreeSet<NodeId> {
        self.accounts_of(&self.me).into_iter().filter(|account| *account != self.me).collect()
    }

    /// Sends what the accounts of the keys before have to this key's own: balances, and what was paid to
    /// them since.
    pub(super) fn sweep_inheritance(&mut self) {
        let now = self.now;
        let due = self.inherited.swept.is_none_or(|at| now.since(at) >= SWEEP_EVERY);
        if !due || !self.is_admitted() || self.is_leaving() {
            return;
        }
        self.inherited.swept = Some(now);
        for account in self.inherited_accounts() {
            let Some(bank) = self.bank.as_ref().filter(|bank| !bank.is_busy()) else { return };
            let balance = bank.ledger.account(&account).balance;
            let all = bank.ledger.next_block(account, BlockKind::Open);
            let amount = all.map_or(balance, |block| block.balance_after);
            if amount > Credits::ZERO {
                let memo = Digest::of_value("inherited", &());
                let kind = BlockKind::Send { to: self.me, amount, memo };
                self.queue_block_of(account, kind, None);
            }
        }
    }
}
