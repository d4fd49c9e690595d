//! How senders behave: what each may still ask of this node, what it did wrong, who is banned.
//!
//! A budget is a token bucket (Turner 1986, "New Directions in Communications") in nanoseconds of
//! this node's work, on the peer's own clock, one for each class of messages and one for all that
//! a sender says by itself. A frame is charged by its kind and length before it is decoded. What
//! this node asks for, it adds to the budget of whom it asked, so that a long answer is no flood.
//!
//! Wrongs are counted in points that leak away; with too many a sender is banned for a while, four
//! times as long each time. Nobody gets a point for what it passes on unless it could have seen
//! itself that it does not hold.

use std::collections::BTreeMap;

use edge_base::{Micros, NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Peer, Stored, Timer, decode_stored, tuning::Round};
use crate::{
    command::{Answer, Refusal},
    event::Event,
    frame::{Class, FrameKind},
    io::{CallId, Output, Table},
    message::{Message, SketchAnswer},
    roll_call::RollCall,
};

/// Senders whose budgets are remembered. Beyond, the one that was silent longest is forgotten: it
/// comes back with whole budgets and no points.
const SENDERS_MAX: usize = 4_096;
/// Bans that are remembered, those that are over included; as many as the transport has room for.
const BANS_MAX: usize = 4_096;
/// Points with which a sender is banned.
const POINTS_MAX: u64 = 1_000;
/// Points that leak away in a second.
const POINTS_PER_SECOND: u64 = 20;
/// How long the first ban lasts; each further one four times as long ...
const BAN_FIRST: Micros = Micros::from_secs(60);
/// ... up to this.
const BAN_MAX: Micros = Micros::from_secs(24 * 3_600);
/// A ban is forgotten so long after its end.
const FORGIVEN_AFTER: Micros = Micros::from_secs(24 * 3_600);
/// What a signature takes.
const SIGNATURE_NS: u64 = 60_000;
/// After this node did not run for a while, nobody is blamed for so long at most, and this longer.
const FORGIVEN_MAX: Micros = Micros::from_secs(10);
const FORGIVEN_MORE: Micros = Micros::from_secs(2);
/// An owner whose copies catch up is not blamed for so long, and not again for so long after.
const CATCHING_UP: Micros = Micros::from_secs(60);
const FORGIVEN_AGAIN: Micros = Micros::from_secs(600);
/// What it takes to add an account to a sketch.
pub(super) const SKETCH_NS: u64 = 400;
/// Nodes that are no members share a budget of so many percent of that of one.
const STRANGERS_PERCENT: u64 = 400;
/// Nodes of this node's owner get so many percent of what others get.
const OWN_PERCENT: u64 = 800;

/// Work of a sender: `share` thousandths of one core in the long run, `burst_ms` at once.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    share: u64,
    burst_ms: u64,
}

impl Budget {
    /// One thing in each such time, and so many at once: [`Bucket::take_one`].
    pub(super) const fn one_each(every: Micros, at_once: u64) -> Budget {
        Budget { share: 1_000, burst_ms: every.0 / 1_000 * at_once }
    }

    const fn percent(self, percent: u64) -> Budget {
        Budget { share: self.share * percent / 100, burst_ms: self.burst_ms * percent / 100 }
    }

    /// What may be asked for beyond it before that is a wrong.
    const fn over(self) -> Budget {
        Budget { share: self.share, burst_ms: self.burst_ms / 5 }
    }
}

/// All that a sender says by itself, gossip of others not counted.
const ALL: Budget = Budget { share: 120, burst_ms: 90 };
/// What an author has others pass on.
const AUTHOR: Budget = Budget { share: 40, burst_ms: 100 };

/// What a node lets itself send to another: a part of what that one lets it, because budgets get smaller while
/// there are attacks.
const SENT_PERCENT: u64 = 50;

/// What this node sends to a member, of its owner or not.
pub(super) fn budget_for_sending(own: bool) -> Budget {
    ALL.percent(if own { OWN_PERCENT } else { 100 }).percent(SENT_PERCENT)
}

/// What asking can add: a sender may make this node ask, too.
const ASKED: Budget = Budget { share: 150, burst_ms: 600 };

/// What a class of messages may take.
fn budget_of(class: Class) -> Budget {
    let (share, burst_ms) = match class {
        Class::Greeting => (20, 60),
        Class::Content | Class::Tasks => (100, 60),
        Class::Shards => (60, 60),
        Class::Ledger => (80, 60),
        Class::Gossip => (100, 100),
        Class::Other => (5, 10),
    };
    Budget { share, burst_ms }
}

/// A token bucket. A nanosecond of work comes back every `1000 / share` nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens_ns: u64,
    at: Timestamp,
}

impl Bucket {
    pub(super) fn full(budget: Budget, now: Timestamp) -> Bucket {
        Bucket { tokens_ns: budget.burst_ms * 1_000_000, at: now }
    }

    /// Takes a cost if it is there.
    fn take(&mut self, budget: Budget, cost_ns: u64, now: Timestamp) -> bool {
        self.refill(budget, now);
        let enough = self.tokens_ns >= cost_ns;
        if enough {
            self.tokens_ns -= cost_ns;
        }
        enough
    }

    /// Takes a cost, or what is there of it.
    pub(super) fn spend(&mut self, budget: Budget, cost_ns: u64, now: Timestamp) {
        self.refill(budget, now);
        self.tokens_ns = self.tokens_ns.saturating_sub(cost_ns);
    }

    /// What is there, in nanoseconds.
    pub(super) fn left(&mut self, budget: Budget, now: Timestamp) -> u64 {
        self.refill(budget, now);
        self.tokens_ns
    }

    /// Takes one of what a budget gives each such time.
    pub(super) fn take_one(&mut self, budget: Budget, every: Micros, now: Timestamp) -> bool {
        self.take(budget, every.0 * 1_000, now)
    }

    fn refill(&mut self, budget: Budget, now: Timestamp) {
        let burst = budget.burst_ms * 1_000_000;
        // A share of a thousandth is a nanosecond in a microsecond.
        let more = now.since(self.at).0.saturating_mul(budget.share);
        // What was added by asking stays until it is used.
        if self.tokens_ns < burst {
            self.tokens_ns = self.tokens_ns.saturating_add(more).min(burst);
        }
        self.at = self.at.max(now);
    }

    fn add(&mut self, budget: Budget, more_ns: u64, now: Timestamp) {
        self.refill(budget, now);
        let most = (budget.burst_ms + ASKED.burst_ms) * 1_000_000;
        self.tokens_ns = self.tokens_ns.saturating_add(more_ns).min(most.max(self.tokens_ns));
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Charge {
    Within,
    /// More than the budget: dropped.
    Over,
    /// More than twice the budget: nobody needs that.
    FarOver,
}

/// A budget and, for what is over it, the same once more.
#[derive(Clone, Copy, Debug)]
struct Account {
    budget: Bucket,
    over: Bucket,
}

impl Account {
    fn full(budget: Budget, now: Timestamp) -> Account {
        Account { budget: Bucket::full(budget, now), over: Bucket::full(budget.over(), now) }
    }

    fn has(&mut self, budget: Budget, cost_ns: u64, now: Timestamp) -> bool {
        self.budget.refill(budget, now);
        self.budget.tokens_ns >= cost_ns
    }

    /// A frame was refused.
    fn refuse(&mut self, budget: Budget, cost_ns: u64, now: Timestamp) -> Charge {
        // One that is dearer than all of it counts as all of it.
        let most = budget.over().burst_ms * 1_000_000;
        match self.over.take(budget.over(), cost_ns.min(most), now) {
            true => Charge::Over,
            false => Charge::FarOver,
        }
    }

    fn take(&mut self, budget: Budget, cost_ns: u64, now: Timestamp) -> Charge {
        match self.budget.take(budget, cost_ns, now) {
            true => Charge::Within,
            false => self.refuse(budget, cost_ns, now),
        }
    }
}

/// What is remembered of a sender.
#[derive(Clone, Debug)]
struct Sender {
    classes: [Account; Class::ALL.len()],
    all: Account,
    author: Account,
    /// What asking may still add.
    asked: Bucket,
    points: u64,
    points_at: Timestamp,
    /// Frames over its budgets.
    limited: u64,
    /// Until then it is not blamed for sending too much; 0: it never was forgiven.
    forgiven_until: Timestamp,
    round: Round,
    touched: u64,
}

impl Sender {
    fn new(now: Timestamp, percent: u64) -> Sender {
        Sender {
            classes: Class::ALL.map(|class| Account::full(budget_of(class).percent(percent), now)),
            all: Account::full(ALL.percent(percent), now),
            author: Account::full(AUTHOR, now),
            asked: Bucket::full(ASKED, now),
            points: 0,
            points_at: now,
            limited: 0,
            forgiven_until: Timestamp(0),
            round: Round::default(),
            touched: 0,
        }
    }

    /// Charges the budgets of a class and of all messages; `percent` of them.
    fn take(&mut self, class: Class, cost_ns: u64, now: Timestamp, percent: u64) -> Charge {
        let all = ALL.percent(percent);
        let Some(account) = self.classes.get_mut(class as usize) else { return Charge::FarOver };
        let own = class != Class::Gossip;
        // Both or neither: what one refuses must not empty the other.
        if own && !self.all.has(all, cost_ns, now) {
            return self.all.refuse(all, cost_ns, now);
        }
        let charge = account.take(budget_of(class).percent(percent), cost_ns, now);
        if own && charge == Charge::Within {
            self.all.budget.tokens_ns -= cost_ns;
        }
        charge
    }

    /// Adds to a budget and to that of all messages what this node asked for.
    fn expect(&mut self, class: Class, more_ns: u64, now: Timestamp) {
        self.asked.refill(ASKED, now);
        let more_ns = more_ns.min(self.asked.tokens_ns);
        self.asked.tokens_ns -= more_ns;
        self.all.budget.add(ALL, more_ns, now);
        if let Some(account) = self.classes.get_mut(class as usize) {
            account.budget.add(budget_of(class), more_ns, now);
        }
    }

    fn add_points(&mut self, more: u64, now: Timestamp) -> u64 {
        let leaked = now.since(self.points_at).0.saturating_mul(POINTS_PER_SECOND) / 1_000_000;
        if leaked > 0 {
            self.points_at = now;
        }
        self.points = self.points.saturating_sub(leaked).saturating_add(more);
        self.points
    }
}

/// What a sender is to this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Relation {
    /// Of the same owner.
    Own,
    Member,
    Stranger,
}

/// Something that a sender did wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wrong {
    /// A frame far beyond its budget.
    OverLimit,
    /// A frame that does not decode or breaks a bound.
    Malformed,
    /// A statement whose signature does not hold.
    BadSignature,
    /// Gossip that does not hold, as could have been seen before it was passed on.
    BadGossip,
    /// Nothing: a person wants it so.
    Asked,
    /// A sketch that no ledger has.
    MadeUpSketch,
}

impl Wrong {
    fn points(self) -> u64 {
        match self {
            Wrong::OverLimit => 8,
            Wrong::Malformed => 50,
            Wrong::BadSignature | Wrong::BadGossip | Wrong::MadeUpSketch => 100,
            Wrong::Asked => 0,
        }
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Wrong::OverLimit => "more messages than its budget",
            Wrong::Malformed => "malformed messages",
            Wrong::BadSignature => "signatures that do not hold",
            Wrong::BadGossip => "gossip that does not hold",
            Wrong::Asked => "asked for",
            Wrong::MadeUpSketch => "sketches that no ledger has",
        }
    }
}

/// A ban, as it is stored: what is left of it, never a time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct StoredBan {
    left: Micros,
    times: u32,
    last: Wrong,
}

/// A ban. One that is over is remembered for a while, so that the next lasts longer.
#[derive(Clone, Copy, Debug)]
struct Ban {
    until: Timestamp,
    /// Whether the node has not been let in again.
    stands: bool,
    times: u32,
    last: Wrong,
}

/// What is known of senders.
#[derive(Debug)]
pub(crate) struct Standing {
    senders: BTreeMap<NodeId, Sender>,
    /// All that are no members.
    strangers: Option<Sender>,
    bans: BTreeMap<NodeId, Ban>,
    counter: u64,
    /// Percent of their budgets that senders have.
    pub(crate) percent: u64,
    /// Until then nobody is blamed for sending too much.
    forgives_until: Timestamp,
}

impl Default for Standing {
    fn default() -> Self {
        let (senders, bans) = (BTreeMap::new(), BTreeMap::new());
        let (strangers, counter, percent) = (None, 0, 100);
        Standing { senders, strangers, bans, counter, percent, forgives_until: Timestamp(0) }
    }
}

impl Standing {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("senders", self.senders.len(), SENDERS_MAX);
        add("bans", self.bans.len(), BANS_MAX);
    }

    /// This node did not run for so long: what others sent meanwhile comes at once, and is no fault of
    /// theirs.
    pub(crate) fn overslept(&mut self, now: Timestamp, late: Micros) {
        let until = now + late.min(FORGIVEN_MAX) + FORGIVEN_MORE;
        self.forgives_until = self.forgives_until.max(until);
    }

    /// The owner of copies that are held here brings what they missed, beside what it writes meanwhile: for a
    /// minute it is not blamed for how much that is, once in ten.
    pub(crate) fn catches_up(&mut self, owner: &NodeId, now: Timestamp) {
        let sender = self.sender(owner, now);
        let until = sender.forgiven_until;
        if until == Timestamp(0) || now.since(until) > FORGIVEN_AGAIN {
            sender.forgiven_until = now + CATCHING_UP;
        }
    }

    fn forgives(&self, from: &NodeId, now: Timestamp) -> bool {
        let forgiven = self.senders.get(from).is_some_and(|sender| now < sender.forgiven_until);
        forgiven || now < self.forgives_until
    }

    pub(crate) fn bans(&self) -> usize {
        self.bans.len()
    }

    /// How long a node is still banned.
    pub(crate) fn banned_for(&self, node: &NodeId, now: Timestamp) -> Option<Micros> {
        let ban = self.bans.get(node)?;
        (ban.until > now).then(|| ban.until.since(now))
    }

    pub(crate) fn is_banned(&self, node: &NodeId, now: Timestamp) -> bool {
        self.banned_for(node, now).is_some()
    }

    /// Nodes that are banned, for how long, and the last thing they did.
    pub(crate) fn banned(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (NodeId, Micros, Wrong)> + '_ {
        let bans = self.bans.iter().filter(move |(_, ban)| ban.until > now);
        bans.map(move |(node, ban)| (*node, ban.until.since(now), ban.last))
    }

    /// Frames of a node that were over its budgets.
    pub(crate) fn limited(&self, node: &NodeId) -> u64 {
        self.senders.get(node).map_or(0, |sender| sender.limited)
    }

    fn sender(&mut self, node: &NodeId, now: Timestamp) -> &mut Sender {
        if !self.senders.contains_key(node) && self.senders.len() >= SENDERS_MAX {
            let silent = self.senders.iter().min_by_key(|(_, sender)| sender.touched);
            if let Some(silent) = silent.map(|(node, _)| *node) {
                self.senders.remove(&silent);
            }
        }
        self.counter += 1;
        let touched = self.counter;
        let sender = self.senders.entry(*node).or_insert_with(|| Sender::new(now, 100));
        sender.touched = touched;
        sender
    }

    /// Charges a frame to its sender, and to all strangers if it is one.
    fn charge(
        &mut self,
        node: &NodeId,
        relation: Relation,
        class: Class,
        cost_ns: u64,
        now: Timestamp,
    ) -> Charge {
        let percent = self.percent * if relation == Relation::Own { OWN_PERCENT / 100 } else { 1 };
        let mut charge = self.sender(node, now).take(class, cost_ns, now, percent);
        if charge == Charge::Within && relation == Relation::Stranger {
            let strangers =
                self.strangers.get_or_insert_with(|| Sender::new(now, STRANGERS_PERCENT));
            if strangers.take(class, cost_ns, now, STRANGERS_PERCENT) != Charge::Within {
                // Others' doing, as likely as its own.
                charge = Charge::Over;
            }
        }
        let sender = self.sender(node, now);
        sender.round.frames += 1;
        if charge == Charge::Within {
            sender.round.wasted_ns += cost_ns;
        } else {
            sender.limited += 1;
            sender.round.denied += 1;
        }
        charge
    }

    /// What all senders did since the last call.
    pub(crate) fn take_round(&mut self, now: Timestamp) -> Round {
        let mut all = Round::default();
        for sender in self.senders.values_mut() {
            let round = std::mem::take(&mut sender.round);
            if sender.add_points(0, now) > 0 {
                all.wasted_ns += round.wasted_ns;
            } else {
                all.frames += round.frames;
                all.denied += round.denied;
            }
        }
        all
    }
}

/// What asking leads to: work of the asked node's answers, by class, in nanoseconds.
fn answers_ns(message: &Message) -> Option<(Class, u64)> {
    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;
    match message {
        // Up to 256 certificates, of five votes each.
        Message::Frontier { .. } | Message::Sketch(_) => Some((Class::Ledger, 150 * MS)),
        // Another sketch, or certificates again.
        Message::SketchAnswer { answer, .. } => match answer {
            SketchAnswer::Known(heads) if heads.is_empty() => None,
            SketchAnswer::Known(_) => Some((Class::Ledger, 150 * MS)),
            SketchAnswer::More(_) | SketchAnswer::List => Some((Class::Ledger, 20 * MS)),
            SketchAnswer::Later => None,
        },
        Message::Propose(_) => Some((Class::Ledger, 600 * US)),
        Message::RollCall(call) if matches!(**call, RollCall::Ask { .. }) => {
            Some((Class::Ledger, 150 * US))
        }
        Message::AskWithdraw(_) => Some((Class::Ledger, 50 * US)),
        Message::AskHeads => Some((Class::Ledger, 200 * US)),
        Message::Want { .. } => Some((Class::Content, 400 * US)),
        Message::LogWant { .. } => Some((Class::Shards, 16 * MS)),
        Message::Challenge { .. } => Some((Class::Shards, 50 * US)),
        Message::PlanWant(_) => Some((Class::Ledger, 20 * MS)),
        Message::CheckpointWant { .. } => Some((Class::Ledger, 150 * MS)),
        Message::Offer(_) => Some((Class::Tasks, 40 * US)),
        Message::Assign { .. } => Some((Class::Tasks, 1_200 * US)),
        Message::RevealPlease { .. } => Some((Class::Tasks, 1_000 * US)),
        _ => None,
    }
}

impl Peer {
    /// Whether a frame is within its sender's budgets; beyond them it costs nothing more. What a
    /// sender passes on for others is not its `own`.
    pub(super) fn is_within_budget(
        &mut self,
        from: &NodeId,
        kind: FrameKind,
        bytes: usize,
        own: bool,
    ) -> bool {
        let mut cost_ns = kind.cost_ns(bytes);
        if kind.class() == Class::Greeting {
            // An answer may list every member.
            cost_ns += self.members.len() as u64 * 1_000;
        }
        if kind.is_sketch() {
            let accounts = self.bank.as_ref().map_or(0, |bank| bank.ledger.account_count());
            cost_ns += accounts as u64 * SKETCH_NS;
        }
        if !self.settings.limits {
            return true;
        }
        let relation = match (self.members.is_member(from), self.members.is_trusted(from)) {
            (false, _) => Relation::Stranger,
            (true, false) => Relation::Member,
            (true, true) => Relation::Own,
        };
        let charge = self.standing.charge(from, relation, kind.class(), cost_ns, self.now);
        if charge != Charge::Within {
            self.counters.inputs_limited += 1;
            if own && charge == Charge::FarOver && !self.standing.forgives(from, self.now) {
                self.wrong(from, Wrong::OverLimit);
            }
        }
        charge == Charge::Within
    }

    /// Whether a statement that is passed on is within its author's budget. An author is to blame
    /// only for what it brings itself: others may repeat what it once said.
    pub(super) fn is_within_author_budget(
        &mut self,
        author: &NodeId,
        from: &NodeId,
        kind: FrameKind,
        bytes: usize,
    ) -> bool {
        let now = self.now;
        if *author == self.me || !self.settings.limits {
            return true;
        }
        let sender = self.standing.sender(author, now);
        // Its signature was checked, whatever else is cheap about it.
        let cost_ns = kind.cost_ns(bytes).max(SIGNATURE_NS);
        let charge = sender.author.take(AUTHOR, cost_ns, now);
        if charge != Charge::Within {
            sender.limited += 1;
            self.counters.inputs_limited += 1;
            if author == from && charge == Charge::FarOver && !self.standing.forgives(author, now) {
                self.wrong(author, Wrong::OverLimit);
            }
        }
        charge == Charge::Within
    }

    /// Room for the answer to what is asked of a node; one in a session is charged as a record, too.
    pub(super) fn expect_answer(&mut self, to: &NodeId, message: &Message, privately: bool) {
        if let Some((class, more_ns)) = answers_ns(message) {
            let now = self.now;
            let sender = self.standing.sender(to, now);
            sender.expect(class, more_ns, now);
            if privately {
                sender.expect(Class::Tasks, more_ns, now);
            }
        }
    }

    /// Room for what a node tells at a first greeting: collections, members, proofs.
    pub(super) fn expect_greeting(&mut self, to: &NodeId) {
        let now = self.now;
        let sender = self.standing.sender(to, now);
        for (class, ms) in [(Class::Shards, 150), (Class::Gossip, 300), (Class::Greeting, 20)] {
            sender.expect(class, ms * 1_000_000, now);
        }
    }

    /// Somebody did something wrong: with too many points it is banned.
    pub(super) fn wrong(&mut self, node: &NodeId, what: Wrong) {
        let now = self.now;
        if !self.settings.limits || *node == self.me || self.standing.is_banned(node, now) {
            return;
        }
        let points = self.standing.sender(node, now).add_points(what.points(), now);
        if points >= POINTS_MAX {
            self.ban(*node, what, None);
        }
    }

    /// Who takes the place of a banned node is banned as long.
    pub(super) fn ban_as(&mut self, heir: NodeId, old: &NodeId) {
        let Some(ban) = self.standing.bans.get(old) else { return };
        let (left, last) = (ban.until.since(self.now), ban.last);
        if left > Micros(0) && !self.standing.is_banned(&heir, self.now) {
            self.ban(heir, last, Some(left));
        }
    }

    /// Bans a node, for a time or for as long as its past says.
    fn ban(&mut self, node: NodeId, last: Wrong, lasts: Option<Micros>) {
        let now = self.now;
        let before = self.standing.bans.get(&node);
        let forgiven = before.is_none_or(|ban| now.since(ban.until) >= FORGIVEN_AFTER);
        let times = before.filter(|_| !forgiven).map_or(0, |ban| ban.times);
        let longer = BAN_FIRST.0.saturating_mul(4u64.saturating_pow(times)).min(BAN_MAX.0);
        let lasts = lasts.unwrap_or(Micros(longer));
        if !self.standing.bans.contains_key(&node) && self.standing.bans.len() >= BANS_MAX {
            let soonest = self.standing.bans.iter().min_by_key(|(_, ban)| ban.until);
            if let Some(soonest) = soonest.map(|(node, _)| *node) {
                self.unban(&soonest);
            }
        }
        let times = times + u32::from(last != Wrong::Asked);
        let until = now + lasts;
        self.standing.bans.insert(node, Ban { until, stands: true, times, last });
        self.standing.senders.remove(&node);
        self.persist(Table::Bans, &node.0, &StoredBan { left: lasts, times, last });
        self.counters.bans += 1;
        self.event(Event::Banned { node, reason: last.text().into(), lasts });
        self.output(Output::Ban { node });
        // Whatever it was asked for is asked of others now, not when its silence shows.
        self.on_disconnected(node);
        self.after(lasts, Timer::Unban(node));
    }

    /// Ends a ban and forgets it.
    fn unban(&mut self, node: &NodeId) {
        let Some(ban) = self.standing.bans.remove(node) else { return };
        self.forget(Table::Bans, &node.0);
        if ban.stands {
            self.let_in_again(*node);
        }
    }

    fn let_in_again(&mut self, node: NodeId) {
        if self.members.is_dead(&node) {
            return;
        }
        self.event(Event::Unbanned { node });
        self.output(Output::Unban { node });
        self.keep_neighbours();
    }

    /// A ban is over, or was long ago.
    pub(super) fn on_unban_timer(&mut self, node: NodeId) {
        let now = self.now;
        let Some(ban) = self.standing.bans.get_mut(&node) else { return };
        if ban.until > now {
            // It was made longer meanwhile, and has a timer of its own.
            return;
        }
        if now.since(ban.until) >= FORGIVEN_AFTER {
            return self.unban(&node);
        }
        if !std::mem::take(&mut ban.stands) {
            return;
        }
        let stored = StoredBan { left: Micros(0), times: ban.times, last: ban.last };
        self.persist(Table::Bans, &node.0, &stored);
        self.let_in_again(node);
        self.after(FORGIVEN_AFTER, Timer::Unban(node));
    }

    /// Stores how long bans still last.
    pub(super) fn store_bans(&mut self) {
        let (now, standing) = (self.now, self.standing.bans.iter().filter(|(_, ban)| ban.stands));
        let left = |ban: &Ban| {
            let left = Micros(ban.until.since(now).0.max(1));
            StoredBan { left, times: ban.times, last: ban.last }
        };
        let bans: Vec<_> = standing.map(|(node, ban)| (*node, left(ban))).collect();
        for (node, ban) in bans {
            self.persist(Table::Bans, &node.0, &ban);
        }
    }

    /// What was banned when the process ended is banned for the rest of its time, as far as it was known then: after
    /// a kill that is the whole of it.
    pub(super) fn restore_bans(&mut self, stored: &Stored) {
        for (key, value) in stored.table(Table::Bans).iter().take(BANS_MAX) {
            let node = <[u8; 32]>::try_from(key.as_slice()).map(NodeId);
            let (Ok(node), Some(ban)) = (node, decode_stored::<StoredBan>(value)) else { continue };
            let until = self.now + ban.left;
            let stands = ban.left > Micros(0);
            let (times, last) = (ban.times, ban.last);
            self.standing.bans.insert(node, Ban { until, stands, times, last });
            let again = match ban.left {
                Micros(0) => FORGIVEN_AFTER,
                left => {
                    self.output(Output::Ban { node });
                    left
                }
            };
            self.after(again, Timer::Unban(node));
        }
    }

    pub(super) fn ban_by_hand(&mut self, call: CallId, node: NodeId, lasts: Micros) {
        if node == self.me {
            let text = String::from("this is the node itself");
            return self.answer(call, Err(Refusal::Invalid(text)));
        }
        let lasts = Micros(lasts.0.clamp(1, BAN_MAX.0 * 365));
        self.ban(node, Wrong::Asked, Some(lasts));
        self.answer(call, Ok(Answer::Done));
    }

    pub(super) fn unban_by_hand(&mut self, call: CallId, node: NodeId) {
        if !self.standing.is_banned(&node, self.now) {
            let text = format!("{} is not banned; `edge-net peer ls` lists who is", node.short());
            return self.answer(call, Err(Refusal::NotFound(text)));
        }
        self.unban(&node);
        self.answer(call, Ok(Answer::Done));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn in_the_long_run_a_sender_gets_its_share() {
        let budget = Budget { share: 100, burst_ms: 50 };
        let mut bucket = Bucket::full(budget, Timestamp(0));
        let mut taken = 0;
        // A millisecond of work each millisecond for ten seconds: a tenth of it passes.
        for ms in 0..10_000 {
            taken += u64::from(bucket.take(budget, 1_000_000, Timestamp(ms * 1_000)));
        }
        assert!((1_049..=1_050).contains(&taken), "{taken} ms of work in 10 s and a burst of 50");
    }

    #[test]
    fn a_refusal_empties_nothing() {
        let mut sender = Sender::new(Timestamp(0), 100);
        // More than there is for greetings, less than there is in all.
        let mut take = |class, ms: u64| sender.take(class, ms * 1_000_000, Timestamp(0), 100);
        assert_eq!(take(Class::Greeting, 61), Charge::Over);
        assert_eq!(take(Class::Tasks, 60), Charge::Within);
        assert_eq!(take(Class::Ledger, 40), Charge::Over, "all of it is bounded");
        assert_eq!(take(Class::Ledger, 30), Charge::Within);
        assert_eq!(take(Class::Gossip, 100), Charge::Within, "others' words are not");
    }

    /// Up to twice its budget a sender loses frames and gets no point; of more it gets some.
    #[test]
    fn who_asks_for_a_little_too_much_is_slowed_down_only() {
        for (percent, points) in [(50, false), (180, false), (300, true)] {
            let mut sender = Sender::new(Timestamp(0), 100);
            let share = budget_of(Class::Tasks).share;
            let (mut within, mut far) = (0, 0);
            for ms in 0..20_000 {
                // In a millisecond, in nanoseconds: so many hundredths of the share.
                let cost = share * 1_000 * percent / 100;
                match sender.take(Class::Tasks, cost, Timestamp(ms * 1_000), 100) {
                    Charge::Within => within += 1,
                    Charge::Over => {}
                    Charge::FarOver => far += 1,
                }
            }
            let passed = (20_000 * 100 / percent).min(20_000);
            assert!((passed..passed + 2_000).contains(&(within + 1)), "{percent}: {within}");
            assert_eq!(far > 0, points, "{percent} % of its budget: {far}");
        }
    }

    #[test]
    fn a_clock_that_stands_gives_nothing_and_one_that_jumps_no_more_than_a_burst() {
        let budget = Budget { share: 100, burst_ms: 50 };
        let mut bucket = Bucket::full(budget, Timestamp(u64::MAX / 2));
        assert!(bucket.take(budget, 50_000_000, Timestamp(u64::MAX / 2)));
        assert!(!bucket.take(budget, 1, Timestamp(5)));
        assert!(bucket.take(budget, 50_000_000, Timestamp(u64::MAX)));
        assert!(!bucket.take(budget, 1, Timestamp(u64::MAX)));
    }

    #[test]
    fn points_leak_away() {
        let mut sender = Sender::new(Timestamp(0), 100);
        assert_eq!(sender.add_points(500, Timestamp(0)), 500);
        assert_eq!(sender.add_points(0, Timestamp(10 * SECOND)), 300);
        // Often or seldom: the same leaks.
        for ms in 0..10_000u64 {
            sender.add_points(0, Timestamp(10 * SECOND + ms * 1_000));
        }
        assert!((100..=101).contains(&sender.points), "{}", sender.points);
        assert_eq!(sender.add_points(0, Timestamp(100 * SECOND)), 0);
    }

    #[test]
    fn the_table_of_senders_is_bounded_and_forgets_who_was_silent() {
        let mut standing = Standing::default();
        let node = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            NodeId(id)
        };
        standing.sender(&node(0), Timestamp(0)).points = 7;
        for n in 1..SENDERS_MAX * 2 {
            standing.sender(&node(0), Timestamp(0));
            standing.sender(&node(n), Timestamp(0));
        }
        assert_eq!(standing.senders.len(), SENDERS_MAX);
        assert_eq!(standing.senders[&node(0)].points, 7);
        assert!(!standing.senders.contains_key(&node(1)));
    }
}
