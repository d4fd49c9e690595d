//! Who gets a task: offers, bids, and the assignments that follow from them.
//!
//! Whom the requester draws first has a right of way: its bid is waited for before somebody's who was asked in
//! case the others decline. Otherwise whoever is near, or bids without thinking, would get everything while
//! nobody is busy, and a newcomer further away nothing, ever. Who did not answer in time is not waited for again
//! until it does, so a node that is gone costs one task that long and not every one. That is said of a voice, not of a
//! node: or whoever has many identities would always have one that was never late. See docs/adr/0036.

use std::collections::BTreeSet;

use edge_base::{Credits, Digest, EscrowId, Micros, NodeId, Signed, TaskId, Timestamp};
use edge_ledger::statement::Assignment;

use super::{Part, REPEAT_AFTER, Stage, Task};
use crate::{
    event::Event,
    message::{INLINE_BYTES_MAX, Message},
    peer::{
        Peer, Timer,
        escrow::Funds,
        task::{FUNDS_PATIENCE, Own},
    },
};

/// One choice of workers in this many does not look at what became of earlier work, so that nobody is
/// left out for ever because of a bad day.
const EXPLORES_ONE_IN: u64 = 100;
/// How long a bid is waited for before the next one's counts.
const BID_WAIT: Micros = Micros::from_millis(50);
/// The same for a node of which little is known: nobody knows yet whether it is slow.
const NEWCOMER_WAIT: Micros = Micros::from_millis(500);

impl Peer {
    /// Assigns as many workers as are missing, of those who bid; offers the task to more if they are too few.
    pub(super) fn assign_more(&mut self, id: TaskId) {
        let Some(task) = self.tasks.all.get(&id) else { return };
        let placed = task
            .parts
            .values()
            .filter(|p| p.stage.is_active() || p.stage == Stage::Revealed)
            .count();
        let own = usize::from(!matches!(task.own, Own::No | Own::Failed(_)));
        let mut missing = task.want.saturating_sub(placed + own);
        let places = self.places(task);
        let next = places.first().map(|(node, _)| node).filter(|_| placed + own == 0);
        // Two that are there and not believed need a third, whoever they are.
        if placed + own < 2 && self.single_is_enough(task, next) {
            missing = missing.min(1usize.saturating_sub(placed + own));
        }
        if missing == 0 {
            return;
        }
        let idle = !task.parts.values().any(|p| p.stage.is_active());
        if idle && task.fixed.is_none() && self.is_isolated() && !self.has_trusted_left(id) {
            return self.execute_own(id, "this node hears too little of the pool");
        }
        if !self.has_anybody_left(id) {
            let idle = !task.parts.values().any(|p| p.stage.is_active());
            if idle {
                // Nobody is to be paid: the ledger has no part in it. Results that differ and wait
                // for a third that does not come are judged by it, too.
                self.execute_own(id, "too few other nodes can take it");
            }
            return;
        }
        let total = task.price.times(missing as u64).unwrap_or(Credits::from_micro(u64::MAX));
        let waited = self.now.since(task.started) >= FUNDS_PATIENCE;
        let escrow = match self.funds(total) {
            Funds::Ready(escrow) => escrow,
            Funds::Wait => {
                // Witnesses that are away would keep the task from any answer at all, and so may credits that come
                // back only once other tasks are over.
                let stuck = self.funds_are_stuck().filter(|_| placed == 0);
                let reason = stuck.or_else(|| self.funds_are_elsewhere());
                if let Some(reason) = reason.filter(|_| waited) {
                    self.execute_own(id, &reason);
                }
                return;
            }
            Funds::Short if self.has_trusted_left(id) => {
                // Nodes of the same owner work for nothing.
                if let Some(task) = self.tasks.all.get_mut(&id) {
                    task.price = Credits::ZERO;
                }
                None
            }
            Funds::Short => {
                return self.execute_own(id, "this node has no credits to pay others with");
            }
        };
        let Some(task) = self.tasks.all.get(&id) else { return };
        if let Some(fixed) = &task.fixed {
            let fresh: Vec<NodeId> = fixed
                .iter()
                .filter(|n| !task.parts.contains_key(*n) && self.may_answer(n))
                .filter(|n| task.price > Credits::ZERO || self.members.is_trusted(n))
                .take(missing)
                .copied()
                .collect();
            let none = fresh.is_empty();
            let idle = !task.parts.values().any(|p| p.stage.is_active());
            for node in fresh {
                self.assign(id, node, escrow);
            }
            if none && idle {
                self.execute_own(id, "too few replicas can be reached");
            }
            return;
        }
        let ready = places.iter().take(missing).take_while(|(_, stage)| *stage == Stage::Bid);
        let ready: Vec<NodeId> = ready.map(|(node, _)| *node).collect();
        let taken = ready.len();
        for node in ready {
            self.assign(id, node, escrow);
        }
        missing -= taken;
        if missing > 0 {
            self.offer_more(id, missing);
        }
    }

    /// Who would get the task, best first: those who bid, and those whose bids are waited for, as good as they may
    /// turn out. Whoever can start first is better; among equals, whoever was offered it first, and that is drawn.
    fn places(&self, task: &Task) -> Vec<(NodeId, Stage)> {
        let holds = |node: &NodeId, part: &Part| match part.stage {
            Stage::Bid => true,
            Stage::Offered => self.is_waited_for(node, part, task),
            _ => false,
        };
        let mut places: Vec<(&NodeId, &Part)> =
            task.parts.iter().filter(|(node, part)| holds(node, part)).collect();
        places.sort_by_key(|(_, part)| (part.start_in, part.place));
        places.into_iter().map(|(node, part)| (*node, part.stage)).collect()
    }

    /// How long a node's bid is waited for; not at all, if it was not in time before.
    fn bid_wait(&self, node: &NodeId, task: &Task) -> Micros {
        if !self.settings.waits_for_bids || self.tasks.slow.contains(&self.voice(node)) {
            return Micros(0);
        }
        match self.members.promises(node, task.kind, self.now).few() {
            true => NEWCOMER_WAIT,
            false => BID_WAIT,
        }
    }

    fn is_waited_for(&self, node: &NodeId, part: &Part, task: &Task) -> bool {
        self.now.since(part.since) < self.bid_wait(node, task)
    }

    /// The wait for some bids of a task is over.
    pub(in crate::peer) fn on_bids_timer(&mut self, id: TaskId) {
        let Some(task) = self.tasks.all.get(&id).filter(|task| task.decided.is_none()) else {
            return;
        };
        let silent = task.parts.iter().filter(|(node, part)| {
            part.stage == Stage::Offered && !self.is_waited_for(node, part, task)
        });
        let silent: Vec<NodeId> = silent.map(|(node, _)| self.voice(node)).collect();
        self.tasks.slow.extend(silent);
        self.step_task(id);
    }

    /// An offer was answered.
    pub(super) fn note_pace(&mut self, node: NodeId, offered: Timestamp) {
        let voice = self.voice(&node);
        if self.now.since(offered) > BID_WAIT {
            self.tasks.slow.insert(voice);
        } else {
            self.tasks.slow.remove(&voice);
        }
    }

    /// Whether an offer is open, a bid is here, or a node was not asked yet.
    fn has_anybody_left(&self, id: TaskId) -> bool {
        let Some(task) = self.tasks.all.get(&id) else { return false };
        let open = |p: &Part| matches!(p.stage, Stage::Offered | Stage::Bid);
        let fresh = |n: &NodeId| self.may_answer(n) && !task.parts.contains_key(n);
        task.parts.values().any(open)
            || match &task.fixed {
                Some(fixed) => fixed.iter().any(fresh),
                None => self.candidates(task).iter().any(fresh),
            }
    }

    /// Who may be offered a task: those who say that they can, or those it is limited to, whose keys
    /// nobody tells of.
    fn candidates(&self, task: &Task) -> Vec<NodeId> {
        let pin = task.among.is_none().then_some(&task.pin);
        self.eligible_workers(pin).into_iter().filter(|node| task.admits(node)).collect()
    }

    /// Whether a node of the same owner could still take the task.
    fn has_trusted_left(&self, id: TaskId) -> bool {
        let Some(task) = self.tasks.all.get(&id) else { return false };
        let fresh = |n: &NodeId| self.members.is_trusted(n) && !task.parts.contains_key(n);
        match &task.fixed {
            Some(fixed) => fixed.iter().any(fresh),
            None => self.candidates(task).iter().any(fresh),
        }
    }

    /// Whether one worker that has the task, or would get it `next`, is all that is needed for now.
    fn single_is_enough(&self, task: &Task, next: Option<&NodeId>) -> bool {
        let placed = task
            .parts
            .iter()
            .filter(|(_, p)| p.stage.is_active() || p.stage == Stage::Revealed)
            .map(|(node, _)| node);
        (task.fixed.is_none() || !self.settings.roots_take_two)
            && !task.audit.is_some_and(|draw| draw.audited)
            && placed.chain(next).any(|node| self.audit_share(node, task).is_some())
    }

    fn offer_more(&mut self, id: TaskId, missing: usize) {
        let Some(task) = self.tasks.all.get(&id) else { return };
        let now = self.now;
        let open = |p: &&Part| matches!(p.stage, Stage::Offered | Stage::Bid);
        let waiting = task.parts.values().filter(open).count() > 0;
        // Bids that are here wait for those that come before them.
        let fresh = |p: &&Part| p.stage == Stage::Bid || now.since(p.since) <= REPEAT_AFTER;
        let open = task.parts.values().filter(open).filter(fresh).count();
        // One spare bid, so that a decline costs no round trip.
        let wanted = (missing + 1).saturating_sub(open);
        let mut candidates: Vec<NodeId> = self
            .candidates(task)
            .into_iter()
            .filter(|n| !task.parts.contains_key(n))
            .filter(|n| task.price > Credits::ZERO || self.members.is_trusted(n))
            .collect();
        self.rng.shuffle(&mut candidates);
        let weighs = self.settings.weighs_outcomes && !self.rng.chance(1, EXPLORES_ONE_IN);
        let draw = self.rng.next_u64();
        let load = |n: &NodeId| {
            let busy = self.tasks.outstanding.get(n).copied().unwrap_or(0);
            let attempts = match weighs {
                true => {
                    let lot = Digest::of_value("try", &(draw, n)).prefix_u64();
                    self.members.promises(n, task.kind, now).attempts_drawn(lot)
                }
                false => 1,
            };
            (busy + 1) * attempts
        };
        candidates.sort_by_cached_key(load);
        // Of each branch the least busy first; branches without a part before the others, and each branch
        // as likely as any other, however many it has.
        let turns = self.turns(&candidates, task.parts.keys().copied());
        candidates.sort_by_cached_key(|n| {
            let (turn, voice) = turns.get(n).copied().unwrap_or((0, *n));
            let place = Digest::of_value("turn", &(draw, voice));
            (!self.members.is_trusted(n), turn, load(n), place)
        });
        candidates.truncate(wanted);
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        let offer = task.offer(id, now);
        for node in &candidates {
            let place = task.parts.len() as u32;
            task.parts.insert(*node, Part { place, ..Part::new(Stage::Offered, now) });
        }
        let nobody = candidates.is_empty() && !waiting;
        let idle = !task.parts.values().any(|p| p.stage.is_active());
        let waits = self.tasks.all.get(&id).map(|task| {
            candidates
                .iter()
                .map(|node| self.bid_wait(node, task))
                .filter(|wait| *wait > Micros(0))
                .collect()
        });
        let waits: BTreeSet<Micros> = waits.unwrap_or_default();
        for wait in waits {
            self.after(wait, Timer::Bids(id));
        }
        for node in candidates {
            self.send(node, &Message::Offer(offer.clone()));
        }
        if nobody && idle {
            self.execute_own(id, "too few other nodes can take it");
        }
    }

    fn assign(&mut self, id: TaskId, worker: NodeId, escrow: Option<EscrowId>) {
        let now = self.now;
        let Some(price) = self.tasks.all.get(&id).filter(|t| t.admits(&worker)).map(|t| t.price)
        else {
            return;
        };
        self.draw(escrow, price);
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        let body = Assignment {
            task: id,
            requester: self.me,
            worker,
            escrow,
            price: task.price,
            kind: task.kind,
            payload: task.digest,
            payload_bytes: task.payload.len() as u64,
            pins: task.pin,
            issued: task.issued,
        };
        let assignment = Signed::seal(body, &self.key, &self.pool);
        let message = Message::Assign {
            assignment: assignment.clone(),
            payload: (task.payload.len() <= INLINE_BYTES_MAX).then(|| task.payload.to_vec()),
            priority: task.priority,
            remaining: task.deadline.since(now),
        };
        let part = task.parts.entry(worker).or_insert_with(|| Part::new(Stage::Assigned, now));
        part.stage = Stage::Assigned;
        part.assignment = Some(assignment);
        part.since = now;
        part.touched = now;
        part.repeats = 0;
        *self.tasks.outstanding.entry(worker).or_default() += 1;
        self.event(Event::TaskAssigned { task: id, worker });
        self.send(worker, &message);
    }
}
