//! Searching a collection: every shard is asked of two holders, every hit is checked, the checked
//! hits are merged.
//!
//! An answer proves its hits: each record has a Merkle path to the root that the shard's owner
//! accepted, and its score is recomputed here. So a wrong hit is a fault that anybody can check, a
//! missed neighbour is only recall, and the union of checked hits is at least as good as the best
//! single answer. A holder that is slow is not waited for when another can answer (hedging).

mod ending;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use edge_base::{
    CollectionId, Credits, Digest, Micros, NodeId, Ring, ShardId, Signed, TaskId, TaskKind,
    Timestamp, Verdict, Work, codec,
    shard::{HITS_MAX, ShardAnswer, ShardQuery},
};
use edge_ledger::statement::{Assignment, Commit, Reveal, task_id};

use super::{
    Peer, Purpose, Timer,
    content::{Audience, content_digest},
    escrow::Funds,
    task::{Part, REPEAT_AFTER, Stage},
};
use crate::{
    command::{Priority, Refusal, TaskView},
    event::Event,
    io::{CallId, Urgency},
    message::{DeclineReason, Evidence, FaultReport, INLINE_BYTES_MAX, Message},
};

/// A holder that lacked batches of the log is asked again after this.
const ASK_BEHIND_AGAIN: Micros = Micros::from_millis(300);
/// A first head of a collection that is new here is waited for so long, of others for a moment.
const HEAD_WAIT: Micros = Micros::from_millis(700);
/// A collection is new for so long.
const NEW_FOR: Micros = Micros::from_secs(2);
/// And the head of a position that was answered at.
const HEAD_PATIENCE: Micros = Micros::from_millis(1_500);
/// Searches that may run at the same time.
const SEARCHES_MAX: usize = 1_024;
/// Answers wanted of each shard.
const ANSWERS_WANTED: usize = 2;
/// A holder that did not answer after this gets a companion.
const HEDGE_AFTER: Micros = Micros::from_millis(400);
/// A holder that did not answer after this counts as silent.
const SILENT_AFTER: Micros = Micros::from_secs(3);
/// After this a search is refused when the only copies left are still catching up with the log.
const REBUILD_WAIT: Micros = Micros::from_secs(5);
/// And after this when nobody can be paid: credits that a ticket brings are there by then.
const SHORT_WAIT: Micros = Micros::from_secs(3);
const TICK: Micros = Micros::from_millis(100);
/// Ended searches remembered for `task ls` and `task explain`.
const RECENT_MAX: usize = 2_048;

#[derive(Debug)]
enum Answered {
    /// Waits for the owner's head of its position.
    Early(Arc<[u8]>),
    Checking(Arc<[u8]>),
    Good(ShardAnswer),
    Bad,
}

#[derive(Debug)]
struct ShardSearch {
    shard: ShardId,
    /// Copies before this position do not have all rows.
    seq_min: u64,
    task: TaskId,
    issued: u64,
    payload: Arc<[u8]>,
    digest: Digest,
    candidates: VecDeque<NodeId>,
    parts: BTreeMap<NodeId, Part>,
    answers: BTreeMap<NodeId, Answered>,
    want: usize,
    own: Option<Answered>,
    done: bool,
    started: Timestamp,
}

impl ShardSearch {
    /// Whether nothing but heads has been waited for since a while: the owner may be away.
    fn waits_for_heads(&self, now: Timestamp) -> bool {
        let early = |a: &Answered| matches!(a, Answered::Early(_));
        let touched = self.parts.values().map(|part| part.touched).max();
        self.answers.values().any(early)
            && !self.is_checking()
            && !self.parts.values().any(waits)
            && touched.is_some_and(|at| now.since(at) >= HEAD_PATIENCE)
    }

    /// Whether an answer is here that was not checked yet.
    fn is_checking(&self) -> bool {
        self.answers.values().chain(&self.own).any(|a| matches!(a, Answered::Checking(_)))
    }
}

#[derive(Debug)]
struct Search {
    call: CallId,
    /// Nothing was asked yet: of which collection what is asked, and until when its first head is waited for.
    unplanned: Option<(CollectionId, Vec<u8>, Timestamp)>,
    k: usize,
    price: Credits,
    deadline: Timestamp,
    shards: Vec<ShardSearch>,
}

/// Searches under way and ended.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    all: BTreeMap<u64, Search>,
    by_task: BTreeMap<TaskId, (u64, usize)>,
    recent: Ring<(Timestamp, TaskView), RECENT_MAX>,
}

impl Searches {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        add("searches", self.all.len(), SEARCHES_MAX);
        add("ended searches", self.recent.len(), RECENT_MAX);
        let parts: usize = self.all.values().map(|search| search.shards.len()).sum();
        add("searched shards", self.by_task.len(), parts);
    }

    /// The parts of every search under way.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &BTreeMap<NodeId, Part>> {
        self.all.values().flat_map(|s| s.shards.iter().map(|p| &p.parts))
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Peer {
    pub(super) fn search(
        &mut self,
        call: CallId,
        name: &str,
        k: u32,
        query: Vec<u8>,
        units: u64,
        remaining: Micros,
    ) {
        let refusal = match self.find_collection(name) {
            Err(refusal) => Some(refusal),
            Ok(_) if k == 0 || k as usize > HITS_MAX => {
                Some(Refusal::Invalid(format!("k is between 1 and {HITS_MAX}")))
            }
            Ok(_) if self.searches.all.len() >= SEARCHES_MAX => {
                let text = format!("{SEARCHES_MAX} searches run already; try again later");
                Some(Refusal::Refused(text))
            }
            Ok(_) if self.is_leaving() => {
                Some(Refusal::Refused("this node is shutting down".into()))
            }
            Ok(_) => None,
        };
        if let Some(refusal) = refusal {
            return self.answer(call, Err(refusal));
        }
        let Ok(collection) = self.find_collection(name) else { return };
        let id = self.fresh_id();
        let price = self.price(TaskKind::VectorSearch, units, Priority::Normal);
        let deadline = self.now + remaining;
        // Of a collection that was made a moment ago the first head may be on its way.
        let new = |since: Timestamp| self.now.since(since) < NEW_FOR;
        let patience = match self.shards.known_since(&collection) {
            _ if self.shards.owner_of(&collection) == Some(self.me) => Micros(0),
            Some(since) if new(since) => HEAD_WAIT,
            Some(_) | None => TICK,
        };
        let unplanned = Some((collection, query, self.now + patience));
        let (k, shards) = (k as usize, Vec::new());
        self.searches.all.insert(id, Search { call, unplanned, k, price, deadline, shards });
        self.after(TICK, Timer::Search(id));
        self.plan(id);
    }

    /// Asks about every shard, once there is a head of any; ends the search when none comes.
    fn plan(&mut self, id: u64) {
        let Some(search) = self.searches.all.get(&id) else { return };
        let k = search.k as u32;
        let Some((collection, query, until)) = search.unplanned.clone() else { return };
        let shards: Vec<ShardSearch> = self
            .shards_of(&collection)
            .into_iter()
            .filter_map(|shard| self.plan_shard(shard, k, &query))
            .collect();
        if shards.is_empty() && self.now < until {
            return;
        }
        for (part, shard) in shards.iter().enumerate() {
            self.searches.by_task.insert(shard.task, (id, part));
        }
        let parts = shards.len();
        if let Some(search) = self.searches.all.get_mut(&id) {
            (search.unplanned, search.shards) = (None, shards);
        }
        for part in 0..parts {
            self.step_shard(id, part);
        }
        self.finish_search(id);
    }

    /// Asks about a shard once more, as another task: what was answered is of positions that nobody signed
    /// for in time.
    fn ask_anew(&mut self, id: u64, index: usize) {
        let Some(old) = self.shard_search(id, index) else { return };
        let (task, shard, started) = (old.task, old.shard, old.started);
        let asked: Vec<NodeId> = old.parts.keys().copied().collect();
        let Ok(ShardQuery { k, query, .. }) = codec::decode(&old.payload) else { return };
        let Some(fresh) = self.plan_shard(shard, k, &query) else { return };
        for node in asked {
            self.send(node, &Message::Over { task, accepted: None });
        }
        self.searches.by_task.remove(&task);
        self.searches.by_task.insert(fresh.task, (id, index));
        if let Some(place) = self.shard_search(id, index) {
            *place = ShardSearch { started, ..fresh };
        }
        self.step_shard(id, index);
    }

    fn plan_shard(&mut self, shard: ShardId, k: u32, query: &[u8]) -> Option<ShardSearch> {
        let seq_min = self.shards.head(&shard)?.body.seq;
        let query = ShardQuery { shard, seq_min, k, query: query.to_vec() };
        let payload: Arc<[u8]> = codec::encode(&query).into();
        let digest = content_digest(&payload);
        let issued = self.rng.next_u64();
        let mut candidates = self.holders_in_step(&shard);
        candidates.retain(|n| *n != self.me);
        self.rng.shuffle(&mut candidates);
        // The least busy first, as far as adverts tell.
        let load = |n: &NodeId| {
            self.members.get(n).and_then(|m| m.advert.as_ref()).map_or(0, |a| a.load / 8)
        };
        candidates.sort_by_key(load);
        Some(ShardSearch {
            shard,
            seq_min,
            task: task_id(&self.me, issued, TaskKind::VectorSearch, &digest),
            issued,
            payload,
            digest,
            candidates: candidates.into(),
            parts: BTreeMap::new(),
            answers: BTreeMap::new(),
            want: ANSWERS_WANTED,
            own: None,
            done: false,
            started: self.now,
        })
    }

    fn shard_search(&mut self, id: u64, part: usize) -> Option<&mut ShardSearch> {
        self.searches.all.get_mut(&id)?.shards.get_mut(part)
    }

    fn part_of(&mut self, task: &TaskId, node: &NodeId) -> Option<(u64, usize, &mut Part)> {
        let (id, index) = self.searches.by_task.get(task).copied()?;
        let part = self.searches.all.get_mut(&id)?.shards.get_mut(index)?.parts.get_mut(node)?;
        Some((id, index, part))
    }

    /// Asks as many holders as answers are missing; ends when enough are checked.
    fn step_shard(&mut self, id: u64, index: usize) {
        let Some(search) = self.searches.all.get(&id) else { return };
        let Some(shard) = search.shards.get(index) else { return };
        if shard.done {
            return;
        }
        let price = search.price;
        let good = shard.answers.values().filter(|a| matches!(a, Answered::Good(_))).count()
            + usize::from(matches!(shard.own, Some(Answered::Good(_))));
        let judged = shard.answers.len();
        let asked = shard.parts.values().filter(|p| waits(p)).count();
        let undecided = shard
            .answers
            .values()
            .filter(|a| matches!(a, Answered::Early(_) | Answered::Checking(_)))
            .count();
        let own_runs = matches!(shard.own, Some(Answered::Checking(_)));
        if good >= ANSWERS_WANTED {
            return self.end_shard(id, index);
        }
        let bad =
            judged - undecided - (good - usize::from(matches!(shard.own, Some(Answered::Good(_)))));
        let missing = (shard.want + bad).saturating_sub(asked + judged + usize::from(own_runs));
        let mut none_left = shard.candidates.is_empty();
        for _ in 0..missing {
            let next = self.shard_search(id, index).and_then(|s| s.candidates.pop_front());
            let Some(node) = next else {
                none_left = true;
                break;
            };
            match self.funds(price) {
                Funds::Ready(escrow) => self.ask_holder(id, index, node, escrow, price),
                Funds::Wait | Funds::Short => {
                    // Asked again at the next tick; without credits an own copy may still do.
                    if let Some(shard) = self.shard_search(id, index) {
                        shard.candidates.push_front(node);
                    }
                    if matches!(self.funds(price), Funds::Short) {
                        none_left = true;
                    }
                    break;
                }
            }
        }
        let Some(shard) = self.shard_search(id, index) else { return };
        let asked = shard.parts.values().filter(|p| waits(p)).count();
        let slow = shard.want > ANSWERS_WANTED;
        let checking = shard.is_checking();
        if none_left && !checking && good < ANSWERS_WANTED {
            if asked == 0 {
                self.search_own_copy(id, index);
            } else if slow {
                self.start_own_copy(id, index);
            }
        }
    }

    /// Searches the own copy, if there is one in step that was not searched yet.
    fn start_own_copy(&mut self, id: u64, index: usize) -> bool {
        let Some(shard) = self.shard_search(id, index) else { return false };
        let (shard_id, seq_min, payload) = (shard.shard, shard.seq_min, shard.payload.clone());
        // A copy that is behind would have to decline: it is asked again when it caught up.
        if shard.own.is_some() || !self.holds_shard(&shard_id, seq_min) {
            return false;
        }
        if let Some(shard) = self.shard_search(id, index) {
            shard.own = Some(Answered::Checking(payload.clone()));
        }
        self.counters.own_executions += 1;
        let what = Work::Search { payload };
        self.execute(what, Urgency::High, Purpose::OwnSearch { search: id, part: index });
        true
    }

    /// No other holder is left: an own copy answers, or what there is must do.
    fn search_own_copy(&mut self, id: u64, index: usize) {
        if self.start_own_copy(id, index) {
            return;
        }
        let Some(shard) = self.shard_search(id, index) else { return };
        if matches!(shard.own, Some(Answered::Checking(_))) {
            return;
        }
        if answered(shard) {
            self.end_shard(id, index);
        }
    }

    fn ask_holder(
        &mut self,
        id: u64,
        index: usize,
        worker: NodeId,
        escrow: Option<edge_base::EscrowId>,
        price: Credits,
    ) {
        let (me, now, pin) = (self.me, self.now, self.settings.shard_pin);
        let Some(shard) = self.shard_search(id, index) else { return };
        let body = Assignment {
            task: shard.task,
            requester: me,
            worker,
            escrow,
            price,
            kind: TaskKind::VectorSearch,
            payload: shard.digest,
            payload_bytes: shard.payload.len() as u64,
            pins: pin,
            issued: shard.issued,
        };
        // Who was asked before and did not answer gets the same assignment: it is paid once.
        let before = shard.parts.get(&worker).and_then(|part| part.assignment.clone());
        let assignment = match before.filter(|before| before.body == body) {
            Some(before) => before,
            None => {
                self.draw(escrow, price);
                Signed::seal(body, &self.key, &self.pool)
            }
        };
        let Some(shard) = self.shard_search(id, index) else { return };
        let mut part = Part::new(Stage::Assigned, now);
        part.assignment = Some(assignment);
        let task = shard.task;
        shard.parts.insert(worker, part);
        self.event(Event::TaskAssigned { task, worker });
        self.send_assignment(id, index, worker);
    }

    /// Gives a holder its assignment; again, it says once more how far it is.
    fn send_assignment(&mut self, id: u64, index: usize, worker: NodeId) {
        let now = self.now;
        let Some(search) = self.searches.all.get_mut(&id) else { return };
        let remaining = search.deadline.since(now);
        let Some(shard) = search.shards.get_mut(index) else { return };
        let Some(part) = shard.parts.get_mut(&worker) else { return };
        let Some(assignment) = part.assignment.clone() else { return };
        part.touched = now;
        let payload = Some(shard.payload.to_vec());
        let priority = Priority::Normal;
        self.send(worker, &Message::Assign { assignment, payload, priority, remaining });
    }

    pub(super) fn search_accepted(&mut self, from: NodeId, task: TaskId) -> bool {
        let now = self.now;
        let Some((_, _, part)) = self.part_of(&task, &from) else {
            return self.searches.by_task.contains_key(&task);
        };
        part.touched = now;
        part.took = true;
        if part.stage == Stage::Assigned {
            part.stage = Stage::Accepted;
            self.event(Event::TaskAccepted { task, worker: from });
        }
        true
    }

    pub(super) fn search_declined(
        &mut self,
        from: NodeId,
        task: TaskId,
        reason: DeclineReason,
    ) -> bool {
        let Some((id, index, part)) = self.part_of(&task, &from) else {
            return self.searches.by_task.contains_key(&task);
        };
        if waits(part) {
            part.stage = Stage::Declined;
            part.reason = Some(reason.text().into());
            self.step_shard(id, index);
            self.finish_search(id);
        }
        true
    }

    pub(super) fn search_worker_gone(&mut self, node: NodeId) {
        let mut waiting = Vec::new();
        for (id, search) in &self.searches.all {
            for (index, shard) in search.shards.iter().enumerate() {
                if !shard.done && shard.parts.get(&node).is_some_and(waits) {
                    waiting.push((*id, index, shard.task));
                }
            }
        }
        for (id, index, task) in waiting {
            self.silence(task, node, "its connection was lost");
            self.step_shard(id, index);
            self.finish_search(id);
        }
    }

    fn silence(&mut self, task: TaskId, worker: NodeId, reason: &str) {
        let Some((_, _, part)) = self.part_of(&task, &worker) else { return };
        part.stage = Stage::Late;
        part.reason = Some(reason.into());
        let accepted = part.took;
        let kind = TaskKind::VectorSearch;
        self.event(Event::TaskLate { task, kind, worker, accepted });
    }

    pub(super) fn on_search_revealed(
        &mut self,
        from: NodeId,
        task: TaskId,
        commit: Signed<Commit>,
        reveal: Signed<Reveal>,
        result: Option<Vec<u8>>,
    ) {
        let (pool, now) = (self.pool, self.now);
        let Some((id, index, part)) = self.part_of(&task, &from) else { return };
        let fits = part.reveal.is_none()
            && waits(part)
            && commit.signer == from
            && reveal.signer == from
            && commit.body.worker == from
            && reveal.body.opens(&commit.body);
        let Some(bytes) = result.filter(|b| fits && content_digest(b) == reveal.body.digest) else {
            return;
        };
        if commit.open(&mut self.verifier, &pool).is_err()
            || reveal.open(&mut self.verifier, &pool).is_err()
        {
            return;
        }
        let digest = reveal.body.digest;
        let Some((_, _, part)) = self.part_of(&task, &from) else { return };
        part.stage = Stage::Revealed;
        part.touched = now;
        part.took = true;
        part.commit = Some(commit);
        part.reveal = Some(reveal);
        self.event(Event::TaskRevealed { task, worker: from, digest });
        if let Some(shard) = self.shard_search(id, index) {
            shard.answers.insert(from, Answered::Early(bytes.into()));
        }
        self.check_answer(id, index, from);
        self.step_shard(id, index);
        self.finish_search(id);
    }

    /// Has an answer checked once the root of its position is known.
    fn check_answer(&mut self, id: u64, index: usize, node: NodeId) {
        let Some(shard) = self.shard_search(id, index) else { return };
        let Some(Answered::Early(bytes)) = shard.answers.get(&node) else { return };
        let (bytes, payload, shard_id) = (bytes.clone(), shard.payload.clone(), shard.shard);
        let answer: Option<ShardAnswer> = codec::decode(&bytes).ok();
        let head = answer
            .as_ref()
            .filter(|a| a.shard == shard_id)
            .and_then(|a| self.shards.head_at(&shard_id, a.seq).map(|h| h.body.root));
        let Some(shard) = self.shard_search(id, index) else { return };
        let fits = answer.is_some_and(|a| a.shard == shard_id && a.seq > shard.seq_min);
        match head {
            Some(root) => {
                shard.answers.insert(node, Answered::Checking(bytes.clone()));
                let what = Work::CheckAnswer { payload, answer: bytes, root };
                let purpose = Purpose::CheckAnswer { search: id, part: index, node };
                self.execute(what, Urgency::High, purpose);
            }
            // The position's root is on its way: from the owner, or from who answered at it.
            None if fits => {}
            None => {
                shard.answers.insert(node, Answered::Bad);
            }
        }
    }

    /// A new position of a shard was accepted: answers that were early can be checked.
    pub(super) fn step_searches_of(&mut self, shard: ShardId) {
        let mut early = Vec::new();
        for (id, search) in &self.searches.all {
            for (index, part) in search.shards.iter().enumerate() {
                if part.shard == shard && !part.done {
                    for (node, answer) in &part.answers {
                        if matches!(answer, Answered::Early(_)) {
                            early.push((*id, index, *node));
                        }
                    }
                }
            }
        }
        for (id, index, node) in early {
            self.check_answer(id, index, node);
        }
    }

    pub(super) fn on_answer_checked(
        &mut self,
        id: u64,
        index: usize,
        node: NodeId,
        outcome: Result<Vec<u8>, String>,
    ) {
        let Some(shard) = self.shard_search(id, index) else { return };
        let Some(Answered::Checking(bytes)) = shard.answers.remove(&node) else { return };
        let verdict = outcome.ok().and_then(|b| codec::decode::<Verdict>(&b).ok());
        match (verdict, codec::decode::<ShardAnswer>(&bytes)) {
            (Some(Verdict::Holds), Ok(answer)) => {
                shard.answers.insert(node, Answered::Good(answer));
            }
            (Some(Verdict::False(_)), answer) => {
                shard.answers.insert(node, Answered::Bad);
                self.accuse_holder(id, index, node, bytes, answer.ok());
            }
            (_, _) => {
                shard.answers.insert(node, Answered::Bad);
            }
        }
        self.step_shard(id, index);
        self.finish_search(id);
    }

    /// An answer made a false statement: its signed statements and the owner's head prove it.
    fn accuse_holder(
        &mut self,
        id: u64,
        index: usize,
        node: NodeId,
        bytes: Arc<[u8]>,
        answer: Option<ShardAnswer>,
    ) {
        self.counters.results_rejected += 1;
        let Some(shard) = self.shard_search(id, index) else { return };
        let Some(proof) = shard.parts.get(&node).and_then(Part::proof) else { return };
        let (shard_id, digest, payload) = (shard.shard, shard.digest, shard.payload.clone());
        let seq = answer.map(|a| a.seq);
        if seq.is_some_and(|seq| self.coherence.disputes(&shard_id, seq)) {
            // Its holder may have been given another head than this node was.
            return;
        }
        let Some(head) = seq.and_then(|s| self.shards.head_at(&shard_id, s)).cloned() else {
            return;
        };
        let answer_digest = proof.digest();
        self.content.keep(digest, payload, Audience::Members);
        self.content.keep(answer_digest, bytes, Audience::Members);
        let evidence = Evidence::Answer { answer: answer_digest, head };
        self.raise_fault(FaultReport { proof, evidence }, Audience::Members);
    }

    pub(super) fn on_own_search(
        &mut self,
        id: u64,
        index: usize,
        outcome: Result<Vec<u8>, String>,
    ) {
        let answer = outcome.ok().and_then(|b| codec::decode::<ShardAnswer>(&b).ok());
        let Some(shard) = self.shard_search(id, index) else { return };
        shard.own = Some(answer.map_or(Answered::Bad, Answered::Good));
        self.step_shard(id, index);
        self.finish_search(id);
    }

    pub(super) fn on_search_timer(&mut self, id: u64) {
        let now = self.now;
        let Some(search) = self.searches.all.get(&id) else { return };
        if now >= search.deadline {
            return self.time_out_search(id);
        }
        if search.unplanned.is_some() {
            self.plan(id);
            if self.searches.all.contains_key(&id) {
                self.after(TICK, Timer::Search(id));
            }
            return;
        }
        let price = search.price;
        let short = matches!(self.funds(price), Funds::Short);
        let patience = if short { SHORT_WAIT } else { REBUILD_WAIT };
        let Some(search) = self.searches.all.get(&id) else { return };
        let waited = |s: &ShardSearch| !s.done && now.since(s.started) >= patience;
        let waiting = search.shards.iter().filter(|s| waited(s));
        let stuck = |s: &ShardSearch| self.is_stuck(s, short);
        if waiting.clone().any(stuck) && waiting.clone().all(|s| answered(s) || stuck(s)) {
            return self.time_out_search(id);
        }
        let (mut silent, mut again, mut hedge) = (Vec::new(), Vec::new(), Vec::new());
        let mut unsigned = Vec::new();
        for (index, shard) in search.shards.iter().enumerate().filter(|(_, s)| !s.done) {
            if shard.waits_for_heads(now) {
                unsigned.push((index, answered(shard)));
            }
            let mut slow = 0;
            for (node, part) in shard.parts.iter().filter(|(_, p)| waits(p)) {
                let waited = now.since(part.since);
                if waited >= SILENT_AFTER {
                    silent.push((index, shard.task, *node));
                } else if waited >= HEDGE_AFTER {
                    slow += 1;
                    if now.since(part.touched) >= REPEAT_AFTER {
                        again.push((index, *node));
                    }
                }
            }
            let early = shard.answers.values().filter(|a| matches!(a, Answered::Early(_))).count();
            hedge.push((index, ANSWERS_WANTED + slow + early));
        }
        for (_, task, node) in silent {
            self.silence(task, node, "did not answer in time");
        }
        for (index, node) in again {
            self.send_assignment(id, index, node);
        }
        for (index, answered) in unsigned {
            match answered {
                true => self.end_shard(id, index),
                false => self.ask_anew(id, index),
            }
        }
        for (index, want) in hedge {
            if let Some(shard) = self.shard_search(id, index) {
                shard.want = shard.want.max(want);
                if shard.candidates.is_empty() && !shard.parts.values().any(waits) {
                    // Holders may have come back meanwhile, or come into step with the log.
                    let shard_id = shard.shard;
                    let asked = shard.parts.iter().filter(|(_, part)| !may_answer_now(part, now));
                    let asked: BTreeSet<NodeId> = asked.map(|(node, _)| *node).collect();
                    let mut candidates = self.holders_in_step(&shard_id);
                    candidates.retain(|n| *n != self.me && !asked.contains(n));
                    if let Some(shard) = self.shard_search(id, index) {
                        shard.candidates = candidates.into();
                    }
                }
            }
            self.step_shard(id, index);
        }
        self.finish_search(id);
        if self.searches.all.contains_key(&id) {
            self.after(TICK, Timer::Search(id));
        }
    }

    /// Whether a shard waits for nothing but copies that catch up, or nobody can be paid for searching it.
    fn is_stuck(&self, shard: &ShardSearch, short: bool) -> bool {
        let unpaid = short && self.applied_here(&shard.shard).is_none();
        !answered(shard)
            && (unpaid || shard.candidates.is_empty())
            && !shard.parts.values().any(waits)
            && !shard.is_checking()
            && (unpaid || self.rebuild_text(&shard.shard).is_some())
    }

    /// What is said of a shard of which there are copies, but none in step with its log.
    fn rebuild_text(&self, shard: &ShardId) -> Option<String> {
        let last = self.shards.head(shard)?.body.seq;
        let short = shard.short();
        if let Some(applied) = self.applied_here(shard).filter(|applied| *applied < last) {
            return Some(format!(
                "the index of shard {short} is being rebuilt here, {applied} of {last} batches"
            ));
        }
        if !self.holders_in_step(shard).is_empty() {
            return None;
        }
        let behind = self.best_catching_up(shard)?;
        Some(format!(
            "the holders of shard {short} are catching up with its log, the furthest at {behind} of \
             {last} batches"
        ))
    }
}

/// Whether an answer of this shard was checked already.
fn answered(shard: &ShardSearch) -> bool {
    shard.answers.values().any(|a| matches!(a, Answered::Good(_)))
        || matches!(shard.own, Some(Answered::Good(_)))
}

/// Whether a holder that did not answer, or lacked batches some time ago, may answer by now.
fn may_answer_now(part: &Part, now: Timestamp) -> bool {
    let behind = part.reason.as_deref() == Some(DeclineReason::Behind.text());
    let caught_up = behind && now.since(part.since) >= ASK_BEHIND_AGAIN;
    part.stage == Stage::Late || (part.stage == Stage::Declined && caught_up)
}

/// Whether an answer of this part may still come.
fn waits(part: &Part) -> bool {
    matches!(part.stage, Stage::Assigned | Stage::Accepted)
}

const _: () = assert!(INLINE_BYTES_MAX > 64 * 1024, "answers travel inside their reveal");
