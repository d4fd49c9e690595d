//! Stake: own withdrawals on their way, and a witness's clock for those of everybody.
//!
//! A signed block cannot be replaced by another at its place, so an Unstake or a Release that
//! witnesses refuse would hold up every later block of its account. The owner therefore asks first
//! ([`Message::AskWithdraw`]) and signs only what a quorum would vote for now.
//!
//! A witness votes for a Release when the parameter [`UnstakeDelay`](edge_ledger::Parameter)
//! passed on its own clock since it took the certificate of the Unstake. Its clock begins anew when
//! it restarts: the delay is never shorter than set.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Credits, Digest, Micros, NodeId, Timestamp};
use edge_ledger::{BlockKind, Parameter, SignedBlock, WITHDRAWALS_MAX, block_hash};

use super::{Peer, membership::MEMBERS_MAX, payments::Place};
use crate::{
    command::{Refusal, WithdrawalView},
    io::CallId,
    message::{MayWithdraw, Message, Withdrawal},
};

/// Callers whose Unstake waits for the witnesses' word.
const CALLS_MAX: usize = 64;
/// The first repetition of a question comes after this, each later one after twice as long ...
const RETRY_MIN: Micros = Micros::from_secs(1);
/// ... up to this.
const RETRY_MAX: Micros = Micros::from_secs(60);

/// What a witness said last about a withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Word {
    Now,
    /// From this time on, by this node's clock.
    At(Timestamp),
    Never,
}

/// A step of an own withdrawal that waits until a quorum would vote for it.
#[derive(Debug)]
struct Question {
    /// Who wants to begin a withdrawal, and of how much.
    calls: Vec<(CallId, Credits)>,
    heard: BTreeMap<NodeId, Word>,
    ask_at: Timestamp,
    back_off: Micros,
    /// When a quorum would vote, if a quorum said so.
    ends_at: Option<Timestamp>,
}

impl Question {
    fn new(now: Timestamp) -> Self {
        let (calls, heard) = (Vec::new(), BTreeMap::new());
        Question { calls, heard, ask_at: now, back_off: RETRY_MIN, ends_at: None }
    }
}

/// Withdrawals as this node knows them.
#[derive(Debug, Default)]
pub(crate) struct Staking {
    /// When this process took the certificate of each withdrawal that has not ended.
    taken: BTreeMap<Digest, Timestamp>,
    asking: BTreeMap<Withdrawal, Question>,
    /// So many witnesses refuse for ever that no quorum is left.
    refused: bool,
}

impl Staking {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        let calls = self.asking.values().map(|question| question.calls.len()).sum();
        add("withdrawals asked for", self.asking.len(), WITHDRAWALS_MAX + 1);
        add("callers that unstake", calls, CALLS_MAX);
        add("withdrawals", self.taken.len(), WITHDRAWALS_MAX * (MEMBERS_MAX + 1));
    }
}

impl Peer {
    /// What a node has at stake, its own and that of the keys before it: neither leaving nor slashed.
    pub(crate) fn stake_of(&self, node: &NodeId) -> Credits {
        let Some(bank) = &self.bank else { return Credits::ZERO };
        let accounts = self.accounts_of(node).into_iter();
        let views = accounts.map(|account| bank.ledger.account(&account));
        let staked = views.filter(|view| !view.slashed).map(|view| view.staked);
        Credits::sum(staked).unwrap_or(Credits::ZERO)
    }

    /// What a wrong result would cost a node.
    pub(crate) fn forfeit_of(&self, node: &NodeId) -> Credits {
        let stake = u128::from(self.stake_of(node).micro());
        let lost = stake * u128::from(self.parameter(Parameter::SlashFault)) / 1_000_000;
        Credits::from_micro(u64::try_from(lost).unwrap_or(u64::MAX))
    }

    /// Whether this node's stake is lost: it knows so itself, or no quorum of witnesses is left
    /// that would give it back. (Nobody re-executes the tasks it is accused of itself.)
    pub(super) fn is_slashed(&self, node: &NodeId) -> bool {
        let Some(bank) = &self.bank else { return false };
        let view = bank.ledger.account(node);
        // Where a penalty is known, it is why they refuse.
        let refused = *node == self.me && self.staking.refused && view.penalty == Credits::ZERO;
        view.slashed || refused
    }

    /// Withdrawals of an account, with what this node knows of their end if they are its own.
    pub(super) fn withdrawal_views(&self, account: &NodeId) -> Vec<WithdrawalView> {
        let Some(bank) = &self.bank else { return Vec::new() };
        let own = self.is_own_account(account);
        let view = |(unstake, amount)| {
            let question = self.staking.asking.get(&Withdrawal::End(unstake)).filter(|_| own);
            let ends_at = question.and_then(|question| question.ends_at);
            let release_in = ends_at.map(|at| at.since(self.now));
            WithdrawalView { unstake, amount, release_in }
        };
        bank.ledger.withdrawals(account).map(view).collect()
    }

    /// Begins the delays of what is leaving: after a start every one begins anew.
    pub(super) fn restore_staking(&mut self) {
        let Some(bank) = &self.bank else { return };
        let accounts = bank.ledger.accounts();
        let leaving = accounts.flat_map(|(account, _)| bank.ledger.withdrawals(&account));
        self.staking.taken = leaving.map(|(unstake, _)| (unstake, self.now)).collect();
    }

    /// Withdrawals that came with a checkpoint's states: their delays begin now. Those that it ended are
    /// forgotten.
    pub(super) fn begin_unseen_delays(&mut self) {
        let now = self.now;
        let Some(bank) = &self.bank else { return };
        let accounts = bank.ledger.accounts();
        let leaving = accounts.flat_map(|(account, _)| bank.ledger.withdrawals(&account));
        let leaving: BTreeSet<Digest> = leaving.map(|(unstake, _)| unstake).collect();
        self.staking.taken.retain(|unstake, _| leaving.contains(unstake));
        for unstake in leaving {
            self.staking.taken.entry(unstake).or_insert(now);
        }
    }

    pub(super) fn on_stake_certified(&mut self, hash: Digest, kind: &BlockKind) {
        match kind {
            BlockKind::Unstake { .. } => {
                self.staking.taken.insert(hash, self.now);
            }
            BlockKind::Release { unstake } => {
                self.staking.taken.remove(unstake);
            }
            BlockKind::Open
            | BlockKind::Send { .. }
            | BlockKind::Escrow { .. }
            | BlockKind::Settle { .. }
            | BlockKind::Refund { .. }
            | BlockKind::Stake { .. }
            | BlockKind::Rotate { .. } => {}
        }
    }

    // The witness.

    /// Whether a block ends a withdrawal whose delay has not passed here. What was voted for
    /// already is voted for again.
    pub(super) fn is_too_early(&self, block: &SignedBlock) -> Option<Digest> {
        let BlockKind::Release { unstake } = block.body.kind else { return None };
        let bank = self.bank.as_ref()?;
        let version = bank.ledger.witness_set().version;
        let voted = bank.last_vote(version, &block.body.account);
        if voted.is_some_and(|(_, hash)| hash == block_hash(block)) {
            return None;
        }
        let left = self.left_of(&unstake)?;
        (left > Micros(0)).then_some(unstake)
    }

    /// What is left of a delay here; `None` for a withdrawal that is not in this ledger.
    fn left_of(&self, unstake: &Digest) -> Option<Micros> {
        let taken = self.staking.taken.get(unstake)?;
        Some((*taken + self.unstake_delay()).since(self.now))
    }

    /// What this witness says of a step of a key's withdrawal; nothing if it does not vote.
    fn may_withdraw(&self, account: &NodeId, step: Withdrawal) -> Option<MayWithdraw> {
        let bank = self.bank.as_ref()?;
        if !self.votes() || !bank.ledger.witness_set().contains(&self.me) {
            return None;
        }
        // Of the key's own account, or of one that it took over.
        let accounts = self.accounts_of(account);
        let is_slashed = |account: &NodeId| bank.ledger.account(account).slashed;
        let never = match step {
            Withdrawal::Begin => accounts.iter().all(is_slashed),
            Withdrawal::End(unstake) => {
                let leaves = |account: &NodeId| {
                    bank.ledger.withdrawals(account).any(|(id, _)| id == unstake)
                };
                let found = accounts.iter().find(|account| leaves(account)).unwrap_or(account);
                is_slashed(found) || bank.ledger.holds_back(found, &unstake)
            }
        };
        if never {
            return Some(MayWithdraw::Never);
        }
        let left = match step {
            Withdrawal::Begin => Micros(0),
            Withdrawal::End(unstake) => self.left_of(&unstake).unwrap_or(self.unstake_delay()),
        };
        Some(if left == Micros(0) { MayWithdraw::Now } else { MayWithdraw::In(left) })
    }

    pub(super) fn on_ask_withdraw(&mut self, from: NodeId, step: Withdrawal) {
        if let Some(answer) = self.may_withdraw(&from, step) {
            self.send(from, &Message::SayWithdraw { step, answer });
        }
    }

    // The owner.

    pub(super) fn stake(&mut self, call: CallId, amount: Credits, place: Place) {
        let nothing = || Refusal::Invalid("nothing would be staked".into());
        let may = if amount == Credits::ZERO { Err(nothing()) } else { self.may_pay(place) };
        if let Err(refusal) = may {
            return self.answer(call, Err(refusal));
        }
        self.queue_block(BlockKind::Stake { amount }, Some(call));
    }

    pub(super) fn unstake(&mut self, call: CallId, amount: Credits, place: Place) {
        if let Err(refusal) = self.may_pay(place) {
            return self.answer(call, Err(refusal));
        }
        let Some(bank) = &self.bank else { return };
        let impossible = match bank.is_busy() {
            // A Stake may be on its way.
            true => None,
            false => {
                let account = self.staked_account(amount);
                bank.ledger.next_block(account, BlockKind::Unstake { amount }).err()
            }
        };
        let waiting = self.staking.asking.get(&Withdrawal::Begin).map_or(0, |q| q.calls.len());
        let refusal = match impossible {
            Some(error) => Some(self.split_text(amount).unwrap_or_else(|| error.to_string())),
            None if waiting >= CALLS_MAX => {
                Some("too many withdrawals wait for the witnesses; try again later".into())
            }
            None => None,
        };
        if let Some(text) = refusal {
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        let now = self.now;
        let question = || Question::new(now);
        let question = self.staking.asking.entry(Withdrawal::Begin).or_insert_with(question);
        question.calls.push((call, amount));
        question.ask_at = now;
        self.ask_withdraw(Withdrawal::Begin);
    }

    /// Why so much cannot be taken back at once, though it is at stake: it lies on several accounts.
    fn split_text(&self, amount: Credits) -> Option<String> {
        let bank = self.bank.as_ref()?;
        let accounts = self.accounts_of(&self.me);
        let most = accounts.iter().map(|account| bank.ledger.account(account));
        let most = most.filter(|view| !view.slashed).map(|view| view.staked).max()?;
        let all = self.stake_of(&self.me);
        (most < amount && amount <= all).then(|| {
            format!(
                "the {all} rUv at stake lie on {} accounts, because keys of this node were replaced: take \
                 them back one after another, {most} rUv at most at once",
                accounts.len()
            )
        })
    }

    /// Which of the accounts of this key has so much at stake; its own if none has.
    fn staked_account(&self, amount: Credits) -> NodeId {
        let accounts = self.accounts_of(&self.me).into_iter();
        let staked = |account: &NodeId| {
            self.bank.as_ref().is_some_and(|bank| {
                let view = bank.ledger.account(account);
                !view.slashed && view.staked >= amount
            })
        };
        accounts.into_iter().find(staked).unwrap_or(self.me)
    }

    /// Withdrawals of this key that have not ended, each with its account.
    fn own_withdrawals(&self) -> BTreeMap<Digest, NodeId> {
        let Some(bank) = &self.bank else { return BTreeMap::new() };
        let of_one = |account: NodeId| {
            let all = bank.ledger.withdrawals(&account);
            all.map(move |(id, _)| (id, account)).collect::<Vec<_>>()
        };
        self.accounts_of(&self.me).into_iter().flat_map(of_one).collect()
    }

    /// Nobody waits for this Unstake any more: it does not happen, unless it is signed already.
    pub(super) fn abandon_unstake(&mut self, call: CallId) {
        if let Some(question) = self.staking.asking.get_mut(&Withdrawal::Begin) {
            question.calls.retain(|(waiting, _)| *waiting != call);
        }
    }

    /// Asks what is due: about every own withdrawal that has not ended, and for those who wait to
    /// begin one.
    pub(super) fn step_withdrawals(&mut self) {
        let now = self.now;
        let open: BTreeSet<Digest> = self.own_withdrawals().into_keys().collect();
        self.staking.asking.retain(|step, question| match step {
            Withdrawal::Begin => !question.calls.is_empty(),
            Withdrawal::End(unstake) => open.contains(unstake),
        });
        for unstake in open {
            let step = Withdrawal::End(unstake);
            self.staking.asking.entry(step).or_insert_with(|| Question::new(now));
        }
        let due = self.staking.asking.iter().filter(|(_, question)| question.ask_at <= now);
        let due: Vec<Withdrawal> = due.map(|(step, _)| *step).collect();
        for step in due {
            self.ask_withdraw(step);
        }
    }

    fn ask_withdraw(&mut self, step: Withdrawal) {
        let now = self.now;
        let Some(bank) = &self.bank else { return };
        let is_release = |kind: &BlockKind| match (kind, step) {
            (BlockKind::Release { unstake }, Withdrawal::End(ending)) => *unstake == ending,
            _ => false,
        };
        if bank.on_its_way().any(is_release) {
            return;
        }
        let witnesses = bank.ledger.witness_set().members.clone();
        let Some(question) = self.staking.asking.get_mut(&step) else { return };
        question.ask_at = now + question.back_off;
        question.back_off = question.back_off.times(2).min(RETRY_MAX);
        for witness in witnesses {
            if witness != self.me {
                self.send(witness, &Message::AskWithdraw(step));
            } else if let Some(answer) = self.may_withdraw(&witness, step) {
                self.on_say_withdraw(witness, step, answer);
            }
        }
    }

    /// A witness says whether it would vote for the next step of an own withdrawal.
    pub(super) fn on_say_withdraw(&mut self, from: NodeId, step: Withdrawal, answer: MayWithdraw) {
        let now = self.now;
        let Some(bank) = &self.bank else { return };
        let set = bank.ledger.witness_set();
        let Some(question) = self.staking.asking.get_mut(&step) else { return };
        let word = match answer {
            MayWithdraw::Now => Word::Now,
            MayWithdraw::In(left) => Word::At(now + left),
            MayWithdraw::Never => Word::Never,
        };
        question.heard.insert(from, word);
        question.heard.retain(|witness, _| set.contains(witness));
        let mut words: Vec<Word> = question.heard.values().copied().collect();
        words.sort_unstable();
        let never = words.iter().filter(|word| **word == Word::Never).count();
        if never > set.members.len() - set.quorum() {
            return self.on_withdraw_refused(step);
        }
        // Faulty witnesses cannot move the place of the quorum beyond what an honest one says.
        match words.get(set.quorum() - 1) {
            Some(Word::Now) => self.withdraw(step),
            Some(Word::At(at)) => {
                question.ends_at = Some(*at);
                question.ask_at = (*at).max(now + RETRY_MIN);
                question.back_off = RETRY_MIN;
            }
            Some(Word::Never) | None => {}
        }
    }

    /// A quorum would vote now.
    fn withdraw(&mut self, step: Withdrawal) {
        self.staking.refused = false;
        match step {
            Withdrawal::Begin => {
                let Some(question) = self.staking.asking.remove(&step) else { return };
                for (call, amount) in question.calls {
                    let account = self.staked_account(amount);
                    self.queue_block_of(account, BlockKind::Unstake { amount }, Some(call));
                }
            }
            Withdrawal::End(unstake) => {
                let Some(bank) = &self.bank else { return };
                let release = BlockKind::Release { unstake };
                let known = bank.on_its_way().any(|kind| *kind == release);
                let account = self.own_withdrawals().get(&unstake).copied();
                if let Some(account) = account.filter(|_| !known) {
                    self.queue_block_of(account, release, None);
                }
            }
        }
    }

    fn on_withdraw_refused(&mut self, step: Withdrawal) {
        self.staking.refused = true;
        let Some(question) = self.staking.asking.get_mut(&step) else { return };
        question.ask_at = self.now + RETRY_MAX;
        question.ends_at = None;
        for (call, _) in std::mem::take(&mut question.calls) {
            let text = "the witnesses give nothing of this node's stake back now: it was caught at \
                        something, and the next checkpoint says what that costs";
            self.answer(call, Err(Refusal::Refused(text.into())));
        }
    }
}
