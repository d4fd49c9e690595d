//! Spending and earning: job escrows, vouchers, settlement.
//!
//! As a requester a node keeps one escrow open at a time. Assignments draw on it before work
//! begins, whether they will be paid or not, so the sum of vouchers can never pass what the escrow
//! can pay. When it is drawn, idle or the node drains, the escrow is settled with what its workers
//! really earned and the rest comes back. As a worker it collects vouchers; `claims.rs` has what they
//! are good for.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Credits, Digest, EscrowId, Micros, NodeId, Signed, TaskKind, Timestamp};
use edge_ledger::{
    BlockKind, EscrowState, FeeRate, PAYMENTS_MAX, Payment, PriceList, statement::Voucher,
};

use super::{Peer, Stored, Timer, claims::SHOWN_MAX, decode_stored, task::TaskRecord};
use crate::{
    command::{Answer, Priority},
    io::{CallId, Table},
    message::Message,
};

/// The price of a unit: one millionth of a rUv for a reference CPU-microsecond.
const UNIT_PRICE: Credits = Credits::SMALLEST;
/// What an escrow sets aside, where there is more than [`KEEPS_FREE`] times as much.
const BUDGET: Credits = Credits::from_micro(20_000_000);
/// Of less one part in this many is set aside, so that a small holder may pay and stake while it has tasks.
const KEEPS_FREE: u64 = 4;
/// An escrow is never smaller than this many executions of the task that opened it.
const BUDGET_EXECUTIONS: u64 = 100;
/// An escrow that nobody drew on for this long is settled.
const SETTLE_AFTER: Micros = Micros::from_secs(5);
/// After a start escrows of before it are settled no sooner: workers that come back show what was vouched for.
const SETTLE_RESTORED_AFTER: Micros = Micros::from_secs(3);
/// And no later, where members are away that may have something to show. An escrow that this node's data know nothing
/// of is settled then.
const SETTLE_AT_LAST: Micros = Micros::from_secs(60);
/// Own vouchers that are kept for escrows whose certificates come after them.
const EARLY_MAX: usize = 1_024;
/// Vouchers are sent this often.
const PAY_EVERY: Micros = Micros::from_millis(500);

/// Whether an execution can be paid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Funds {
    /// From this escrow; `None` when it costs nothing.
    Ready(Option<EscrowId>),
    /// The escrow is being certified.
    Wait,
    /// There are not enough credits.
    Short,
}

/// Whether this node asked for a block of its account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// This process did.
    Now,
    /// It was on its way when this process began.
    Before,
    /// Its data know nothing of it.
    Never,
}

#[derive(Debug)]
struct Open {
    escrow: EscrowId,
    payable: Credits,
    drawn: Credits,
    last: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Debt {
    amount: Credits,
    tasks: u64,
    vouched: Credits,
}

/// What this node spends.
#[derive(Debug, Default)]
pub(crate) struct Spending {
    open: Option<Open>,
    opening: bool,
    closing: BTreeSet<EscrowId>,
    /// Own vouchers of escrows that are not known here yet: whose certificates are on their way.
    early: Vec<Signed<Voucher>>,
    /// Escrows of before this start.
    before: BTreeMap<EscrowId, Due>,
    settling: BTreeSet<EscrowId>,
    debts: BTreeMap<(EscrowId, NodeId), Debt>,
    settle_calls: Vec<CallId>,
}

impl Spending {
    /// Own escrows about which something is left to do.
    pub(super) fn known(&self) -> impl Iterator<Item = EscrowId> + '_ {
        let owed = self.debts.keys().map(|(escrow, _)| *escrow);
        self.closing.iter().chain(&self.settling).chain(self.before.keys()).copied().chain(owed)
    }

    /// Whether credits that are set aside come back without anybody's doing, shortly.
    fn returns(&self, now: Timestamp, all_met: bool) -> bool {
        let soon = |due: &Due| due.is_at(now + SETTLE_RESTORED_AFTER, all_met);
        !self.closing.is_empty() || !self.settling.is_empty() || self.before.values().any(soon)
    }
}

/// When an escrow of before this start is settled: once every member was met, between these.
#[derive(Clone, Copy, Debug)]
struct Due {
    first: Timestamp,
    last: Timestamp,
}

impl Due {
    fn is_at(self, now: Timestamp, all_met: bool) -> bool {
        now >= self.last || (all_met && now >= self.first)
    }
}

/// Where a voucher is stored that this node gave.
fn promised_key(escrow: &EscrowId, worker: &NodeId) -> Vec<u8> {
    [b"i".as_slice(), escrow.as_bytes(), &worker.0].concat()
}

fn unknown_key(escrow: &EscrowId) -> Vec<u8> {
    [b"f".as_slice(), escrow.as_bytes()].concat()
}

impl Peer {
    pub(super) fn price(&self, kind: TaskKind, units: u64, priority: Priority) -> Credits {
        let price = PriceList::uniform(UNIT_PRICE).execution(kind, units);
        let price = price.unwrap_or(Credits::from_micro(u64::MAX));
        match priority {
            Priority::Normal => price,
            Priority::High => price.times(2).unwrap_or(price),
        }
    }

    /// Why no credits can be set aside now, where witnesses are missing.
    pub(super) fn funds_are_stuck(&self) -> Option<String> {
        let set = self.bank.as_ref()?.ledger.witness_set();
        let (here, all, quorum) = (self.witnesses_reachable(), set.members.len(), set.quorum());
        (here < quorum).then(|| {
            format!(
                "no credits can be set aside: {here} of {all} witnesses are connected, {quorum} \
                 are needed"
            )
        })
    }

    /// Why own tasks have to go without others for now: all credits are set aside for other ones.
    pub(super) fn funds_are_elsewhere(&self) -> Option<String> {
        let opening = self.escrow.opening || self.escrow.open.is_some();
        (!opening).then(|| "this node's credits are set aside for other tasks of its own".into())
    }

    /// Draws the price of one execution, opening an escrow where needed.
    pub(super) fn funds(&mut self, price: Credits) -> Funds {
        if price == Credits::ZERO {
            return Funds::Ready(None);
        }
        let now = self.now;
        if let Some(open) = &mut self.escrow.open {
            match open.drawn.plus(price) {
                Ok(drawn) if drawn <= open.payable => {
                    open.last = now;
                    return Funds::Ready(Some(open.escrow));
                }
                Ok(_) | Err(_) => {
                    let ended = open.escrow;
                    self.escrow.open = None;
                    self.escrow.closing.insert(ended);
                }
            }
        }
        if self.escrow.opening {
            return Funds::Wait;
        }
        let Some(bank) = &self.bank else { return Funds::Short };
        if bank.ledger.account(&self.me).frozen {
            return Funds::Short;
        }
        let have = self.own_balance();
        let part = BUDGET.min(Credits::from_micro(have.micro() / KEEPS_FREE));
        let wish = price.times(BUDGET_EXECUTIONS).unwrap_or(have).max(part);
        let budget = wish.min(have);
        if bank.ledger.parameters().fee_in(bank.ledger.epoch()).payable(budget) < price {
            let returning = self.escrow.returns(now, self.members.all_are_met());
            self.step_settlements();
            return if returning { Funds::Wait } else { Funds::Short };
        }
        self.escrow.opening = true;
        let prices = PriceList::uniform(UNIT_PRICE);
        self.queue_block(BlockKind::Escrow { budget, prices, expires_epoch: u64::MAX }, None);
        // With a single witness the certificate may be here already.
        match &self.escrow.open {
            Some(open) if !self.escrow.opening => Funds::Ready(Some(open.escrow)),
            Some(_) | None => Funds::Wait,
        }
    }

    /// An assignment takes its price out of what may be promised.
    pub(super) fn draw(&mut self, escrow: Option<EscrowId>, price: Credits) {
        let now = self.now;
        if let (Some(escrow), Some(open)) = (escrow, &mut self.escrow.open)
            && open.escrow == escrow
        {
            open.drawn = open.drawn.plus(price).unwrap_or(open.payable);
            open.last = now;
        }
    }

    /// A worker earned the price of an execution.
    pub(super) fn owe(&mut self, escrow: EscrowId, worker: NodeId, price: Credits) {
        let debt = self.escrow.debts.entry((escrow, worker)).or_default();
        debt.amount = debt.amount.plus(price).unwrap_or(debt.amount);
        debt.tasks += 1;
        let unvouched = debt.amount.minus(debt.vouched).unwrap_or(Credits::ZERO);
        let limit = Credits::from_micro(self.settings.exposure_max.micro() / 4);
        if unvouched >= limit {
            self.send_vouchers();
        }
    }

    fn send_vouchers(&mut self) {
        let due: Vec<((EscrowId, NodeId), Credits, u64)> = self
            .escrow
            .debts
            .iter()
            .filter(|(_, d)| d.amount > d.vouched)
            .map(|(key, d)| (*key, d.amount, d.tasks))
            .collect();
        for ((escrow, worker), cumulative, tasks) in due {
            let voucher = self.voucher(escrow, worker, cumulative, tasks);
            self.persist(Table::Vouchers, &promised_key(&escrow, &worker), &voucher);
            if let Some(debt) = self.escrow.debts.get_mut(&(escrow, worker)) {
                debt.vouched = cumulative;
            }
            self.send(worker, &Message::Paid(voucher));
        }
    }

    fn voucher(
        &self,
        escrow: EscrowId,
        worker: NodeId,
        cumulative: Credits,
        tasks: u64,
    ) -> Signed<Voucher> {
        let body = Voucher { escrow, requester: self.me, worker, cumulative, tasks };
        Signed::seal(body, &self.key, &self.pool)
    }

    /// Says once more what a worker that was away was promised: it may have missed it.
    pub(super) fn promise_again(&mut self, worker: NodeId) {
        let of_it = self
            .escrow
            .debts
            .iter()
            .filter(|((_, to), debt)| *to == worker && debt.vouched > Credits::ZERO);
        let of_it = of_it.take(SHOWN_MAX).map(|((escrow, _), debt)| (*escrow, *debt));
        for (escrow, debt) in of_it.collect::<Vec<_>>() {
            let voucher = self.voucher(escrow, worker, debt.vouched, debt.tasks);
            self.send(worker, &Message::Paid(voucher));
        }
    }

    pub(super) fn on_paid(&mut self, from: NodeId, voucher: Signed<Voucher>) {
        let body = voucher.body;
        let fits = voucher.signer == from && body.requester == from && body.worker == self.me;
        let before = self.promises.vouched(&body.escrow, &self.me);
        if !fits || body.cumulative <= before {
            return;
        }
        // A voucher beyond what the escrow can pay is worth its budget at most.
        let backed = self.bank.as_ref().and_then(|bank| {
            let view = bank.ledger.escrow(&body.escrow)?;
            let fine = view.owner == from && view.state == EscrowState::Open;
            fine.then(|| view.payable())
        });
        let Some(most) = backed else { return self.ask_frontier(from) };
        if body.cumulative > most || voucher.open(&mut self.verifier, &self.pool).is_err() {
            return;
        }
        let fresh = body.cumulative.minus(before).unwrap_or(Credits::ZERO);
        self.jobs.covered(&from, fresh);
        self.keep_voucher(voucher);
    }

    pub(super) fn on_pay_timer(&mut self) {
        self.send_vouchers();
        let idle =
            self.escrow.open.as_ref().is_some_and(|open| self.now.since(open.last) >= SETTLE_AFTER);
        if idle {
            self.close_escrow();
        }
        self.step_settlements();
        self.claim_from_absent();
        self.after(PAY_EVERY, Timer::Pay);
    }

    fn close_escrow(&mut self) {
        if let Some(open) = self.escrow.open.take() {
            self.escrow.closing.insert(open.escrow);
        }
    }

    pub(super) fn settle_now(&mut self, call: CallId) {
        self.close_escrow();
        self.escrow.settle_calls.push(call);
        self.step_settlements();
    }

    /// Whether nothing is owed that was not settled.
    pub(super) fn is_settled(&self) -> bool {
        let returns = self.escrow.returns(self.now, self.members.all_are_met());
        self.escrow.open.is_none() && !self.escrow.opening && !returns
    }

    /// The same, and no escrow of before this start is left.
    pub(super) fn owes_nothing(&self) -> bool {
        self.is_settled() && self.escrow.before.is_empty()
    }

    /// Before leaving: settle what is open, and let the witnesses see what others promised.
    pub(super) fn settle_for_drain(&mut self) {
        self.claim_all();
        self.close_escrow();
        self.step_settlements();
    }

    /// Settles escrows that nothing draws on any more.
    fn step_settlements(&mut self) {
        let (now, all_met) = (self.now, self.members.all_are_met());
        let Spending { before, closing, .. } = &mut self.escrow;
        let due = before.iter().filter(|(_, due)| due.is_at(now, all_met));
        closing.extend(due.map(|(escrow, _)| *escrow));
        before.retain(|escrow, _| !closing.contains(escrow));
        let ready: Vec<EscrowId> = self
            .escrow
            .closing
            .iter()
            .filter(|escrow| !self.is_drawn_on(escrow))
            .copied()
            .collect();
        for escrow in ready {
            self.escrow.closing.remove(&escrow);
            self.escrow.settling.insert(escrow);
            self.send_vouchers();
            let payments: Vec<Payment> = self
                .escrow
                .debts
                .iter()
                .filter(|((e, _), debt)| *e == escrow && debt.amount > Credits::ZERO)
                .map(|((_, worker), d)| Payment {
                    worker: *worker,
                    amount: d.amount,
                    tasks: d.tasks,
                })
                .take(PAYMENTS_MAX)
                .collect();
            let kind = if payments.is_empty() {
                BlockKind::Refund { escrow }
            } else {
                match BlockKind::settle(escrow, payments, self.fee_of(&escrow)) {
                    Ok(kind) => kind,
                    Err(_) => continue,
                }
            };
            self.queue_block(kind, None);
        }
        if self.is_settled() {
            for call in std::mem::take(&mut self.escrow.settle_calls) {
                self.answer(call, Ok(Answer::Done));
            }
        }
    }

    /// The fee of an escrow: the present one where it is not in the ledger yet.
    fn fee_of(&self, escrow: &EscrowId) -> FeeRate {
        let Some(bank) = &self.bank else { return FeeRate::DEFAULT };
        let (ledger, epoch) = (&bank.ledger, bank.ledger.epoch());
        ledger.escrow(escrow).map_or(ledger.parameters().fee_in(epoch), |view| view.fee)
    }

    /// Whether a task or search may still pay from this escrow.
    fn is_drawn_on(&self, escrow: &EscrowId) -> bool {
        let draws = |parts: &BTreeMap<NodeId, super::task::Part>, decided: bool| {
            parts.values().any(|part| {
                let from_it =
                    part.assignment.as_ref().is_some_and(|a| a.body.escrow == Some(*escrow));
                from_it && (!decided || part.may_still_come())
            })
        };
        self.tasks.all.values().any(|t| draws(&t.parts, t.decided.is_some()))
            || self.searches.parts().any(|parts| draws(parts, false))
    }

    /// A block of this account was certified.
    pub(super) fn on_own_block_certified(&mut self, hash: Digest, kind: &BlockKind, asked: Asked) {
        if let BlockKind::Escrow { budget, .. } = kind {
            if asked != Asked::Now {
                self.escrow.opening &= asked == Asked::Never;
                return self.meet_unknown_escrow(EscrowId(hash));
            }
            let open = Open {
                escrow: EscrowId(hash),
                payable: self.fee_of(&EscrowId(hash)).payable(*budget),
                drawn: Credits::ZERO,
                last: self.now,
            };
            self.escrow.opening = false;
            if let Some(before) = self.escrow.open.replace(open) {
                self.escrow.closing.insert(before.escrow);
            }
        }
    }

    /// An escrow that this process did not open: one before it did, whose data may have been older or lost, or a
    /// copy of this node. What was promised from it is what workers show.
    fn meet_unknown_escrow(&mut self, escrow: EscrowId) {
        self.persist_bytes(Table::Vouchers, &unknown_key(&escrow), vec![1]);
        let at = self.now + SETTLE_AT_LAST;
        self.escrow.before.insert(escrow, Due { first: at, last: at });
        let of_it: Vec<_> = self.escrow.early.extract_if(.., |v| v.body.escrow == escrow).collect();
        of_it.iter().for_each(|voucher| self.remember_promise(voucher));
        self.note(format!(
            "the escrow {} was opened before this start, and this node's data do not say what was promised from it: \
             after a minute it is settled with what workers show",
            escrow.short()
        ));
    }

    pub(super) fn on_escrow_ended(&mut self, escrow: EscrowId) {
        let own = self.escrow.settling.remove(&escrow)
            | self.escrow.closing.remove(&escrow)
            | self.escrow.before.remove(&escrow).is_some();
        if own {
            self.forget(Table::Vouchers, &unknown_key(&escrow));
        }
        let ours: Vec<NodeId> = self
            .escrow
            .debts
            .keys()
            .filter(|(e, _)| *e == escrow)
            .map(|(_, worker)| *worker)
            .collect();
        for worker in ours {
            self.escrow.debts.remove(&(escrow, worker));
            self.forget(Table::Vouchers, &promised_key(&escrow, &worker));
        }
        self.drop_vouchers(escrow);
        self.step_settlements();
        self.step_drain();
    }

    pub(super) fn on_block_refused(&mut self, kind: &BlockKind) {
        match kind {
            BlockKind::Escrow { .. } => {
                self.escrow.opening = false;
                self.step_waiting_tasks();
            }
            BlockKind::Settle { escrow, .. } | BlockKind::Refund { escrow } => {
                self.escrow.settling.remove(escrow);
            }
            BlockKind::Open
            | BlockKind::Send { .. }
            | BlockKind::Stake { .. }
            | BlockKind::Unstake { .. }
            | BlockKind::Release { .. }
            | BlockKind::Rotate { .. } => {}
        }
    }

    /// After a restart: every escrow still open is settled with what the stored tasks say was
    /// earned.
    pub(super) fn restore_spending(&mut self, stored: &Stored) {
        let Some(bank) = &self.bank else { return };
        let open: BTreeSet<EscrowId> = bank.ledger.open_escrows(&self.me).collect();
        for (_, value) in stored.table(Table::Tasks).iter().filter(|(k, _)| k.starts_with(b"t")) {
            let Some(record) = decode_stored::<TaskRecord>(value) else { continue };
            for worker in record.workers.iter().filter(|w| w.paid > Credits::ZERO) {
                let body = &worker.assignment.body;
                let Some(escrow) = body.escrow.filter(|e| open.contains(e)) else { continue };
                let debt = self.escrow.debts.entry((escrow, body.worker)).or_default();
                debt.amount = debt.amount.plus(worker.paid).unwrap_or(debt.amount);
                debt.tasks += 1;
            }
        }
        for (key, value) in stored.table(Table::Vouchers) {
            let Some(voucher) = decode_stored::<Signed<Voucher>>(value) else { continue };
            let body = voucher.body;
            if key.starts_with(b"i") && open.contains(&body.escrow) {
                let debt = self.escrow.debts.entry((body.escrow, body.worker)).or_default();
                debt.vouched = body.cumulative;
                debt.amount = debt.amount.max(body.cumulative);
                debt.tasks = debt.tasks.max(body.tasks);
            }
        }
        // A block on its way may end one of them: that one is not ended twice.
        let ending = bank.pending_kind().and_then(BlockKind::ends);
        self.escrow.opening = matches!(bank.pending_kind(), Some(BlockKind::Escrow { .. }));
        self.escrow.settling.extend(ending);
        let last = self.now + SETTLE_AT_LAST;
        let due = |escrow: &EscrowId| match stored.get(Table::Vouchers, &unknown_key(escrow)) {
            Some(_) => Due { first: last, last },
            None => Due { first: self.now + SETTLE_RESTORED_AFTER, last },
        };
        let before = open.into_iter().filter(|e| Some(*e) != ending).map(|e| (e, due(&e)));
        self.escrow.before = before.collect();
    }

    /// A worker shows what this node vouched for. Data that are older than that do not have it, and a settlement
    /// that pays less would get no votes, ever.
    pub(super) fn remember_promise(&mut self, voucher: &Signed<Voucher>) {
        let Voucher { escrow, worker, cumulative, tasks, .. } = voucher.body;
        let Some(ledger) = self.bank.as_ref().map(|bank| &bank.ledger) else { return };
        let Spending { closing, before, debts, early, .. } = &mut self.escrow;
        let ends = closing.contains(&escrow) || before.contains_key(&escrow);
        let is_news = match debts.get(&(escrow, worker)) {
            _ if !ends => ledger.escrow(&escrow).is_none() && early.len() < EARLY_MAX,
            Some(debt) => cumulative > debt.amount,
            None => true,
        };
        let learns = is_news && self.settings.asks_heads && voucher.signer == self.me;
        if !learns || voucher.open(&mut self.verifier, &self.pool).is_err() {
            return;
        }
        if ends {
            debts.insert((escrow, worker), Debt { amount: cumulative, tasks, vouched: cumulative });
            self.persist(Table::Vouchers, &promised_key(&escrow, &worker), voucher);
        } else {
            // Its escrow's certificate is on its way.
            early.push(voucher.clone());
        }
    }
}
