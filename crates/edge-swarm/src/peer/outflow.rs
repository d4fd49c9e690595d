//! What others' budgets for this node still have room for.
//!
//! A member charges what this node sends to it (`standing.rs`); what is over its budget it drops, and whoever
//! sends far more it bans. A node therefore keeps such an account of what it asked of each member, and begins
//! no task or search of its own while too little is left for what those under way will still say. Calls wait
//! here, first come first served. What it answers does not count: whoever asks for much would make it wait.

use std::collections::{BTreeMap, VecDeque};

use edge_base::{Micros, NodeId, Timestamp};

use super::{
    Peer, Timer,
    membership::MEMBERS_MAX,
    standing::{Bucket, budget_for_sending},
};
use crate::{
    command::{Command, Refusal},
    frame::FrameKind,
    io::CallId,
};

/// Calls that may wait.
const WAITING_MAX: usize = 4_096;
/// What a task or a search costs each of the two who work for it, after it was offered: Assign, RevealPlease,
/// Over, Paid, with their bytes.
const FOLLOWS_NS: u64 = 400_000;
/// How often calls that wait are looked at.
const LOOK_EVERY: Micros = Micros::from_millis(20);

/// What was sent to each member, and who waits for that.
#[derive(Debug, Default)]
pub(crate) struct Outflow {
    left: BTreeMap<NodeId, Bucket>,
    waiting: VecDeque<(CallId, Command, Timestamp)>,
}

impl Outflow {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("members sent to", self.left.len(), MEMBERS_MAX + 1);
        add("calls that wait for budgets", self.waiting.len(), WAITING_MAX);
    }
}

impl Peer {
    /// Charges a frame that is sent to a member, if it asks for something.
    pub(super) fn note_sent(&mut self, to: NodeId, frame: &[u8]) {
        let kind = FrameKind::of(frame);
        if !kind.is_of_requester() || !self.members.is_member(&to) {
            return;
        }
        let (now, left) = (self.now, &mut self.outflow.left);
        let budget = budget_for_sending(self.members.is_trusted(&to));
        if left.len() >= MEMBERS_MAX && !left.contains_key(&to) {
            left.pop_first();
        }
        let bucket = left.entry(to).or_insert_with(|| Bucket::full(budget, now));
        bucket.spend(budget, kind.cost_ns(frame.len()), now);
    }

    /// Whether every member who may be asked has room for one more task or search.
    fn has_room_to_ask(&mut self) -> bool {
        let now = self.now;
        let asked: Vec<NodeId> =
            self.members.iter().map(|(node, _)| *node).filter(|n| self.may_answer(n)).collect();
        let under_way = (self.tasks.undecided + self.searches.len() + 1) as u64;
        // Two of them work for each.
        let each = under_way * FOLLOWS_NS * 2 / asked.len().max(2) as u64;
        asked.iter().all(|node| {
            let budget = budget_for_sending(self.members.is_trusted(node));
            let sent = self.outflow.left.get_mut(node);
            sent.unwrap_or(&mut Bucket::full(budget, now)).left(budget, now) >= each
        })
    }

    /// Takes a task or a search of the caller's, now or when there is room for it.
    pub(super) fn ask_others(&mut self, call: CallId, command: Command) {
        let paces = self.settings.paces && !self.is_leaving();
        if !paces || self.outflow.waiting.is_empty() && self.has_room_to_ask() {
            return self.ask_now(call, command);
        }
        if self.outflow.waiting.len() >= WAITING_MAX {
            let text =
                format!("{WAITING_MAX} own tasks and searches wait already; try again later");
            return self.answer(call, Err(Refusal::Refused(text)));
        }
        if self.outflow.waiting.is_empty() {
            self.after(LOOK_EVERY, Timer::Outflow);
        }
        self.outflow.waiting.push_back((call, command, self.now));
    }

    /// Begins what waits, as much as there is room for.
    pub(super) fn on_outflow_timer(&mut self) {
        while !self.outflow.waiting.is_empty() && (self.is_leaving() || self.has_room_to_ask()) {
            let Some((call, mut command, since)) = self.outflow.waiting.pop_front() else { break };
            let waited = self.now.since(since);
            let remaining = match &mut command {
                Command::Submit(request) => &mut request.remaining,
                Command::Search { remaining, .. } => remaining,
                _ => continue,
            };
            if *remaining <= waited {
                let text = "others had no room for more of this node's tasks in time".into();
                self.answer(call, Err(Refusal::TimedOut(text)));
                continue;
            }
            remaining.0 -= waited.0;
            self.ask_now(call, command);
        }
        if !self.outflow.waiting.is_empty() {
            self.after(LOOK_EVERY, Timer::Outflow);
        }
    }

    fn ask_now(&mut self, call: CallId, command: Command) {
        match command {
            Command::Submit(request) => self.submit(call, request),
            Command::Search { collection, k, query, units, remaining } => {
                self.search(call, &collection, k, query, units, remaining);
            }
            _ => {}
        }
    }
}
