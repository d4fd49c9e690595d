//! Payments that this node's owner asks for: credits sent, staked and taken back.
//!
//! A block that is signed goes on until a quorum certified it, whoever waits for it and over restarts:
//! another one at its place would freeze the account. A payment that only waits in line ends with its
//! caller. So there is at most one payment whose caller does not know how it ends, it can be looked at
//! ([`PendingView`]) and asked for ([`Command::Fate`]), and a second one is refused until then unless
//! its caller says that it comes on top.

use edge_base::{Credits, Digest, Micros, NodeId};
use edge_ledger::{BlockKind, block_hash};

use super::{Peer, bank::block_view_of};
use crate::{
    command::{Answer, Command, FateView, PendingView, Refusal, UNDER_WAY, VoteRefusalView},
    io::CallId,
};

/// Whether a caller may come on top of a payment that is not certified yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// It is the only one.
    Alone,
    /// Behind whatever is under way.
    Behind,
}

/// Whether a block is what somebody asked for who may ask again. What goes to the node itself is what came
/// to the account of a key before its own.
fn is_payment(kind: &BlockKind, me: &NodeId) -> bool {
    match kind {
        BlockKind::Send { to, .. } => to != me,
        BlockKind::Stake { .. } | BlockKind::Unstake { .. } => true,
        BlockKind::Open
        | BlockKind::Escrow { .. }
        | BlockKind::Settle { .. }
        | BlockKind::Refund { .. }
        | BlockKind::Release { .. }
        | BlockKind::Rotate { .. } => false,
    }
}

/// An own block that gets no quorum is told of after this: most refusals are over by then.
const TELL_REFUSED_AFTER: Micros = Micros::from_secs(10);

/// What the owner of an account with two blocks at one number has to know.
pub(super) const FROZEN: &str = "this account is frozen: two blocks at one number were signed with its key, and nobody \
                                 votes for it any more; what it has stays where it is";

impl Peer {
    /// A payment behind whatever is under way; other commands wait for nothing anyway.
    pub(super) fn after_pending(&mut self, call: CallId, command: Command) {
        match command {
            Command::Send { to, amount } => self.send_credits(call, to, amount, Place::Behind),
            Command::Stake { amount } => self.stake(call, amount, Place::Behind),
            Command::Unstake { amount } => self.unstake(call, amount, Place::Behind),
            other => {
                let text = format!("{other:?} is no payment");
                self.answer(call, Err(Refusal::Invalid(text)));
            }
        }
    }

    /// Gives credits to another member.
    pub(super) fn send_credits(&mut self, call: CallId, to: NodeId, amount: Credits, place: Place) {
        if let Err(refusal) =
            self.may_pay(place).and_then(|()| self.may_be_sent(&to, amount, place))
        {
            return self.answer(call, Err(refusal));
        }
        let memo = Digest::of_value("payment", &());
        self.queue_block(BlockKind::Send { to, amount, memo }, Some(call));
    }

    fn may_be_sent(&self, to: &NodeId, amount: Credits, place: Place) -> Result<(), Refusal> {
        let refuse = |text: String| Err(Refusal::Refused(text));
        let Some(bank) = &self.bank else { return refuse("not a member yet".into()) };
        if *to == self.me {
            return Err(Refusal::Invalid("credits sent to oneself go nowhere".into()));
        }
        if amount == Credits::ZERO {
            return Err(Refusal::Invalid("nothing would be sent".into()));
        }
        if !self.members.is_member(to) {
            return Err(Refusal::NotFound(format!(
                "{} is no member of this pool, as far as is known here: what is sent to a key that \
                 nobody has is lost",
                to.short()
            )));
        }
        let heir = self.members.successions.newest(to);
        if heir != *to {
            return refuse(format!(
                "the key of {} was replaced: send it to {}",
                to.short(),
                heir.to_hex()
            ));
        }
        if self.members.is_dead(to) {
            return refuse(format!(
                "the key of {} is revoked: nobody votes for its blocks, so it could never spend them",
                to.short()
            ));
        }
        if bank.ledger.account(to).frozen {
            return refuse(format!(
                "the account of {} is frozen, so it could never spend them",
                to.short()
            ));
        }
        let have = self.own_balance();
        // Behind another block there may be more, or less, when its turn comes.
        if place == Place::Alone && amount > have {
            let aside = self.aside_text();
            return refuse(format!("{amount} rUv are needed and this node has {have}{aside}"));
        }
        Ok(())
    }

    /// What is said of credits that are set aside where others are missing.
    pub(super) fn aside_text(&self) -> String {
        let aside = self.bank.as_ref().map(|bank| bank.ledger.account(&self.me).escrowed);
        match aside.filter(|aside| *aside > Credits::ZERO) {
            Some(aside) => format!(
                "; {aside} rUv more are set aside for own tasks, and what is not spent comes back some \
                 seconds after the last of them"
            ),
            None => String::new(),
        }
    }

    /// Whether another payment may begin.
    pub(super) fn may_pay(&self, place: Place) -> Result<(), Refusal> {
        let refuse = |text: String| Err(Refusal::Refused(text));
        let Some(bank) = &self.bank else {
            return refuse("this node has not joined its pool yet".into());
        };
        if self.is_recovering() {
            return refuse(self.recovering_text());
        }
        if bank.ledger.account(&self.me).frozen {
            return refuse(FROZEN.into());
        }
        let is_payment = |kind: &BlockKind| is_payment(kind, &self.me);
        if place == Place::Behind || !bank.on_its_way().any(is_payment) {
            return Ok(());
        }
        let pays = bank.pending_kind().is_some_and(is_payment);
        let text = match self.pending_view().filter(|_| pays) {
            Some(view) => format!(
                "{UNDER_WAY}, and another one would come on top of it: {}, for {} s \
                 now, with {} of {} votes ({})",
                view.text,
                view.waits.0 / 1_000_000,
                view.votes,
                view.quorum,
                view.block.to_hex()
            ),
            None => {
                let why = self.own_heads_text().map_or_else(String::new, |why| format!("; {why}"));
                format!("{UNDER_WAY}: another caller's waits in line{why}")
            }
        };
        refuse(text)
    }

    /// Nobody waits any more for a block that is not signed yet: it does not happen.
    pub(super) fn abandon_queued(&mut self, call: CallId) {
        if let Some(bank) = &mut self.bank {
            bank.drop_queued(call);
        }
        self.step_drain();
    }

    /// Nobody votes for blocks of an account any more: who waits for one is told.
    pub(super) fn refuse_blocks_of(&mut self, account: &NodeId) {
        let Some(bank) = &mut self.bank else { return };
        for call in bank.take_calls_of(account) {
            self.answer(call, Err(Refusal::Refused(FROZEN.into())));
        }
    }

    /// The own block that waits for votes.
    pub(super) fn pending_view(&self) -> Option<PendingView> {
        let bank = self.bank.as_ref()?;
        let pending = bank.pending.as_ref()?;
        let block = block_hash(&pending.block);
        let view = block_view_of(&pending.block.body, block);
        let set = bank.ledger.witness_set();
        let since = pending.since.unwrap_or(self.started);
        Some(PendingView {
            block,
            seq: view.seq,
            kind: view.kind,
            text: view.text,
            to: view.to,
            amount: view.amount,
            waits: Micros(self.now.since(since).0),
            resumed: pending.since.is_none(),
            votes: pending.votes(),
            quorum: set.quorum(),
            witnesses: set.members.len(),
            behind: bank.queued(),
            doomed: bank.ledger.account(&pending.block.body.account).frozen,
            refusals: pending
                .refusals()
                .map(|(witness, reason)| VoteRefusalView { witness, reason: reason.into() })
                .collect(),
        })
    }

    /// What to tell where an own block gets no quorum for a while.
    pub(super) fn refused_block_text(&self) -> Option<String> {
        let view = self.pending_view().filter(|view| view.waits >= TELL_REFUSED_AFTER)?;
        let why = view.refused()?;
        Some(format!(
            "block {} of this node's account ({}) waits, and what comes after it: {why}",
            view.seq, view.text
        ))
    }

    /// What became of a block.
    pub(super) fn fate(&self, block: Digest) -> Result<Answer, Refusal> {
        let Some(bank) = &self.bank else {
            return Err(Refusal::Refused("this node has not joined its pool yet".into()));
        };
        let certified = bank.ledger.certificate(&block);
        let certified = certified.map(|c| block_view_of(c.body(), block));
        let pending = self.pending_view().filter(|pending| pending.block == block);
        if certified.is_none() && pending.is_none() {
            let none = format!("no block {} is certified here or waits for votes", block.short());
            let text = match bank.ledger.dropped() {
                0 => format!(
                    "{none}. Of this node's own blocks that means that it was not signed and does not happen; \
                     of another's only that node knows whether it still waits"
                ),
                dropped => format!(
                    "{none}. That does not mean that it did not happen: {dropped} blocks that checkpoints \
                     stand for are not kept here. Whether it counts shows in the balance and the number \
                     of blocks: `edge-net ledger balance`"
                ),
            };
            return Err(Refusal::NotFound(text));
        }
        Ok(Answer::Fate(Box::new(FateView { block, certified, pending })))
    }
}
