//! The callers: they ask, wait, judge the answer, and ask again where a caller would.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edge_base::{Credits, Micros, NodeId, RecordId, Rng, TaskId, TaskKind};
use edge_ledger::Totals;
use edge_swarm::{
    Answer, CallId, Command, Input, Refusal,
    command::{Canaries, TaskRequest},
};
use edge_tasks::{CanaryStore, EmbeddingPayload, EmbeddingResult, Mixed, embedding_units};

use super::{Answered, Happening, World, join_by};
use crate::{
    checks::Asked,
    flood::Waiting,
    pool::REQUESTER_GRANT,
    queue::Instant,
    workload::{Action, Step, name_of},
};

/// A call is answered within this, or nobody answers it any more.
const ANSWER_WITHIN: Micros = Micros::from_secs(200);
/// A caller that goes away or cancels does so within this.
const STOP_WITHIN: Micros = Micros::from_millis(1_500);
/// What a caller of a cancelled task is told.
const CANCELLED: &str = "the task was cancelled";
/// How often a caller asks again for something that was refused for now.
const TRIES_MAX: u32 = 60;

/// A question of the simulator itself.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// A ticket for a node.
    Ticket { node: u32 },
    /// The handover to the scenario's witnesses.
    Handover,
    /// Another change of the witness set.
    Change,
    /// Something at stake, before a run.
    Stake,
    /// Something that is done beside the work: it has to succeed.
    Errand,
    /// The key that takes the node's place; who ends on the way, or has begun before, is told so.
    Rotated,
    /// A search of a shard that its owner forked where it was: the answer has to be marked.
    Marked,
    /// How a node is, at the end.
    Status,
    /// Whether a node's ledger adds up, every signature verified again.
    Ledger,
    /// The end of a task whose caller does not want it any more.
    Cancel { task: TaskId, append: bool },
    /// Whether an owner still knows what it acknowledged.
    Known { collection: usize, ids: Arc<Vec<RecordId>> },
}

enum What {
    Action { action: Action, asked: Asked, tries: u32 },
    Probe(Probe),
}

struct Call {
    node: u32,
    at: Instant,
    what: What,
    /// The task that the call began at once.
    task: Option<TaskId>,
}

/// Calls that wait for their answers, and what came of those that got one.
pub(crate) struct Calls {
    rng: Rng,
    next: CallId,
    open: BTreeMap<CallId, Call>,
    /// The call that is being handed over.
    pub(crate) asking: Option<CallId>,
    /// Calls whose callers went away: an answer may be on its way, nobody is owed one.
    abandoned: BTreeMap<CallId, Call>,
    /// Tasks that callers cancelled.
    cancelled: BTreeSet<TaskId>,
    interrupted: BTreeMap<u32, Vec<(Action, u32)>>,
    /// Actions that are to be asked again.
    waiting: usize,
    pub(crate) verified: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) interrupted_calls: u64,
    /// Calls answered with the word that they were cancelled.
    pub(crate) cancelled_calls: u64,
    /// Calls whose callers went away.
    pub(crate) abandoned_calls: u64,
    pub(crate) handed_over: bool,
    pub(crate) staked: usize,
    pub(crate) joined: BTreeSet<u32>,
    pub(crate) named_at_end: BTreeMap<NodeId, usize>,
    pub(crate) totals: Vec<(u32, Totals, bool)>,
    pub(crate) started: usize,
    /// Share of known texts in a batch, and what requesters know.
    canary_share: f64,
    canaries: BTreeMap<u32, CanaryStore>,
    /// Batches with canaries, by the call that waits for them.
    mixed: BTreeMap<CallId, Mixed>,
    /// Texts that callers asked to be embedded, and texts that were sent for them.
    pub(crate) texts: (u64, u64),
    /// How long each submitted task took that was answered with a result.
    took: Vec<u64>,
    /// The same of searches.
    searches_took: Vec<u64>,
}

impl Calls {
    pub(crate) fn new(seed: u64, canaries_percent: u64) -> Self {
        Calls {
            canary_share: canaries_percent as f64 / 100.0,
            canaries: BTreeMap::new(),
            mixed: BTreeMap::new(),
            texts: (0, 0),
            rng: Rng::derive(seed, "calls"),
            next: 0,
            open: BTreeMap::new(),
            asking: None,
            abandoned: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            interrupted: BTreeMap::new(),
            waiting: 0,
            verified: 0,
            failed: BTreeMap::new(),
            interrupted_calls: 0,
            cancelled_calls: 0,
            abandoned_calls: 0,
            handed_over: false,
            staked: 0,
            joined: BTreeSet::new(),
            named_at_end: BTreeMap::new(),
            totals: Vec::new(),
            started: 0,
            took: Vec::new(),
            searches_took: Vec::new(),
        }
    }

    /// Milliseconds in which a share of the submitted tasks was answered; 0 without any.
    pub(crate) fn task_ms(&self, share: f64) -> f64 {
        quantile_ms(&self.took, share)
    }

    /// The same of searches.
    pub(crate) fn search_ms(&self, share: f64) -> f64 {
        quantile_ms(&self.searches_took, share)
    }

    /// A node began a task: it is that of the call that is being handed over, if one is.
    pub(crate) fn on_task_started(&mut self, task: TaskId) {
        if let Some(call) = self.asking.and_then(|call| self.open.get_mut(&call)) {
            call.task.get_or_insert(task);
        }
    }

    /// Whether everything that was asked has ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.interrupted.is_empty() && self.waiting == 0
    }

    /// Whether a change of the witness set was asked for and has no answer.
    pub(crate) fn waits_for_change(&self) -> bool {
        self.open.values().any(|call| matches!(call.what, What::Probe(Probe::Change)))
    }

    pub(crate) fn open(&self) -> usize {
        self.open.len() + self.interrupted.len() + self.waiting
    }

    /// Calls that are open longer than any call may be: node and what was asked.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<(u32, String)> {
        let late = |call: &&Call| now.saturating_sub(call.at) > ANSWER_WITHIN.0;
        let calls = self.open.values().filter(late);
        calls.map(|call| (call.node, call.what.name())).collect()
    }
}

/// What a node's driver does about canaries.
impl Calls {
    fn mix(&mut self, call: CallId, node: u32, request: &mut TaskRequest) {
        if self.canary_share == 0.0 || request.kind != TaskKind::Embedding {
            return;
        }
        let Ok(batch) = EmbeddingPayload::decode(&request.payload) else { return };
        let (share, rng) = (self.canary_share, Rng::derive(u64::from(node), "canaries"));
        let store = self.canaries.entry(node).or_insert_with(|| CanaryStore::new(share, rng));
        let mixed = store.mix(&batch).unwrap_or_else(|| Mixed::without(batch.clone()));
        self.texts.0 += batch.texts.len() as u64;
        self.texts.1 += mixed.payload.texts.len() as u64;
        let texts: Vec<&str> = mixed.payload.texts.iter().map(String::as_str).collect();
        request.units = embedding_units(&texts);
        request.payload = mixed.payload.encode().into();
        request.canaries = Canaries { share_ppm: mixed.share_ppm(), known: mixed.known() };
        self.mixed.insert(call, mixed);
    }

    fn strip(&mut self, call: CallId, node: u32, answer: &mut Answered) {
        let Some(mixed) = self.mixed.remove(&call) else { return };
        let Ok(Answer::Task(task)) = answer else { return };
        let Ok(result) = EmbeddingResult::decode(&task.result) else { return };
        let Some(own) = mixed.strip(&result) else { return };
        if task.check.audit_ppm.is_none()
            && let Some(store) = self.canaries.get_mut(&node)
        {
            store.learn(&mixed.own(), &own);
        }
        task.result = own.encode().into();
    }
}

impl What {
    fn name(&self) -> String {
        match self {
            What::Action { action, .. } => match action {
                Action::Submit { kind, .. } => format!("{kind}"),
                Action::Create { .. } => "create".into(),
                Action::Append { .. } => "append".into(),
                Action::Search { .. } => "search".into(),
            },
            What::Probe(probe) => format!("{probe:?}"),
        }
    }
}

impl World {
    pub(super) fn on_step(&mut self, step: Step) {
        self.calls.waiting = self.calls.waiting.saturating_sub(1);
        self.ask(step.node, step.action, step.tries);
    }

    /// Plans an action.
    pub(crate) fn plan(&mut self, step: Step) {
        if let (Some((_, minted)), Action::Submit { kind, payload, .. }) =
            (&mut self.minters, &step.action)
        {
            minted.on_payload(*kind, payload);
        }
        self.calls.waiting += 1;
        self.calls.started += 1;
        self.queue.at(step.at, Happening::Step(Box::new(step)));
    }

    fn ask(&mut self, node: u32, action: Action, tries: u32) {
        if !self.is_up(node) {
            self.calls.interrupted.entry(node).or_default().push((action, tries));
            return;
        }
        let asked = self.checks.on_asked(&action);
        let command = action.command();
        self.call(node, What::Action { action, asked, tries }, command);
    }

    pub(crate) fn probe(&mut self, node: u32, probe: Probe, command: Command) {
        if !self.is_up(node) {
            let command = Box::new(command);
            let again = Happening::Command { node, probe, command };
            return self.queue.after(Micros::from_secs(1), again);
        }
        self.call(node, What::Probe(probe), command);
    }

    fn call(&mut self, node: u32, what: What, mut command: Command) {
        self.calls.next += 1;
        let call = self.calls.next;
        if let Command::Submit(request) = &mut command {
            self.calls.mix(call, node, request);
        }
        let at = self.queue.now();
        let stoppable = matches!(what, What::Action { .. });
        self.calls.open.insert(call, Call { node, at, what, task: None });
        self.note(8, node, call);
        let percent = self.scenario.workload.stop_percent;
        if stoppable && percent > 0 && self.calls.rng.chance(percent, 100) {
            // Anything from at once to long after the answer.
            let after = Micros(self.calls.rng.below(STOP_WITHIN.0));
            self.queue.after(after, Happening::Stop { call });
        }
        if self.floods.is_some() {
            let command = Box::new(command);
            return self.wait_in_line(node, Waiting::Command { call, command });
        }
        self.hand_over_command(node, call, command);
    }

    /// A caller does not want an answer any more: it cancels the task or goes away.
    pub(super) fn on_stop(&mut self, id: CallId) {
        let Some(call) = self.calls.open.get(&id) else { return };
        let (node, task) = (call.node, call.task);
        let append = matches!(call.what, What::Action { action: Action::Append { .. }, .. });
        if let Some(task) = task
            && self.calls.rng.chance(1, 2)
        {
            // The caller may hear of the end before who ended it does.
            self.calls.cancelled.insert(task);
            let probe = Probe::Cancel { task, append };
            return self.probe(node, probe, Command::CancelTask(task));
        }
        let Some(call) = self.calls.open.remove(&id) else { return };
        let submit = matches!(call.what, What::Action { action: Action::Submit { .. }, .. });
        self.calls.abandoned_calls += 1;
        self.calls.abandoned.insert(id, call);
        self.note(11, node, id);
        self.input(node, Input::Abandoned { call: id });
        if let Some(task) = task.filter(|_| submit) {
            self.checks.on_stopped(task);
        }
    }

    /// A process ended: its callers lose their answers.
    pub(super) fn interrupt(&mut self, node: u32) {
        let lost: Vec<CallId> =
            self.calls.open.iter().filter(|(_, c)| c.node == node).map(|(id, _)| *id).collect();
        for id in lost {
            let Some(call) = self.calls.open.remove(&id) else { continue };
            self.calls.interrupted_calls += 1;
            match call.what {
                What::Action { action, tries, .. } => {
                    self.calls.interrupted.entry(node).or_default().push((action, tries));
                }
                What::Probe(Probe::Ticket { node }) => self.invite(node, Credits::ZERO),
                What::Probe(_) => {}
            }
        }
    }

    /// A process runs again: its callers ask again.
    pub(super) fn ask_again(&mut self, node: u32) {
        for (action, tries) in self.calls.interrupted.remove(&node).unwrap_or_default() {
            self.later(node, action, tries, Micros(500_000));
        }
    }

    fn later(&mut self, node: u32, action: Action, tries: u32, delay: Micros) {
        self.calls.waiting += 1;
        let at = self.queue.now() + delay.0;
        self.queue.at(at, Happening::Step(Box::new(Step { at, node, action, tries })));
    }

    pub(super) fn on_answer(&mut self, node: u32, id: CallId, mut answer: Answered) {
        let now = self.queue.now();
        self.calls.strip(id, node, &mut answer);
        if let Some(call) = self.calls.abandoned.remove(&id) {
            // It left before the caller did. What it acknowledges counts all the same.
            if let What::Action { action, asked, .. } = call.what {
                self.checks.on_answered(now, node, &action, &asked, &answer);
            }
            return;
        }
        let Some(call) = self.calls.open.remove(&id) else {
            let text = format!("node {node} answered call {id} twice, or one nobody made");
            return self.checks.violation(now, "tasks-end", text);
        };
        self.note(9, node, id);
        if let (What::Action { action: Action::Submit { .. }, .. }, Ok(_)) = (&call.what, &answer) {
            self.calls.took.push(now - call.at);
        }
        if let (What::Action { action: Action::Search { .. }, .. }, Ok(_)) = (&call.what, &answer) {
            self.calls.searches_took.push(now - call.at);
        }
        match call.what {
            What::Action { .. } if matches!(&answer, Err(Refusal::Failed(text)) if text == CANCELLED) =>
            {
                // The answer to who cancelled may still be on its way.
                self.calls.cancelled_calls += 1;
                if !call.task.is_some_and(|task| self.calls.cancelled.contains(&task)) {
                    let text = format!("node {node} cancelled the task of call {id} by itself");
                    self.checks.violation(now, "tasks-end", text);
                }
            }
            What::Action { action, asked, tries } => {
                self.on_action_answered(node, action, asked, tries, answer);
            }
            What::Probe(probe) => self.on_probed(node, probe, answer),
        }
    }

    fn on_action_answered(
        &mut self,
        node: u32,
        action: Action,
        asked: Asked,
        tries: u32,
        answer: Answered,
    ) {
        let now = self.queue.now();
        let for_now = match &answer {
            // Gossip about a new collection may not have come yet; a full log drains.
            Err(Refusal::NotFound(_)) => true,
            Err(Refusal::Refused(text)) => text.contains("try again"),
            Ok(_) | Err(_) => false,
        };
        if for_now && tries < TRIES_MAX {
            return self.later(node, action, tries + 1, Micros::from_secs(1));
        }
        self.checks.on_answered(now, node, &action, &asked, &answer);
        match answer {
            Ok(_) => self.calls.verified += 1,
            Err(refusal) => {
                let text = match refusal {
                    Refusal::NotFound(text)
                    | Refusal::Invalid(text)
                    | Refusal::Refused(text)
                    | Refusal::TimedOut(text)
                    | Refusal::Failed(text) => text,
                    _ => "another refusal".into(),
                };
                // Names of shards and nodes differ; the reason is what counts.
                let named =
                    |word: &&str| word.len() < 8 || !word.bytes().all(|b| b.is_ascii_hexdigit());
                let reason: Vec<&str> = text.split(' ').filter(named).take(12).collect();
                let reason = reason.join(" ");
                *self.calls.failed.entry(reason).or_default() += 1;
            }
        }
    }

    fn on_probed(&mut self, node: u32, probe: Probe, answer: Answered) {
        let now = self.queue.now();
        match (probe, answer) {
            (Probe::Ticket { node }, Ok(Answer::Ticket(ticket))) => {
                let Some(writes) = join_by(&ticket) else { return };
                let disk = &mut self.nodes[node as usize].disk;
                for write in writes {
                    disk.write(write);
                }
                disk.begin_sync();
                disk.end_sync(now);
                self.boot(node);
                self.ask_again(node);
            }
            (Probe::Handover, Ok(Answer::HandedOver(handover))) => {
                self.checks.expect_set(handover.to);
                self.calls.handed_over = true;
            }
            (Probe::Errand, Ok(_)) => {}
            (Probe::Rotated, Ok(Answer::Rotated { .. }) | Err(_)) => {}
            (Probe::Marked, answer) => self.on_marked(node, answer),
            // A founder that was down asks again, and finds one under way.
            (Probe::Change, _) => {}
            (Probe::Stake, Ok(Answer::Done)) => self.calls.staked += 1,
            (Probe::Status, Ok(Answer::Status(status))) => {
                for named in &status.faulty {
                    *self.calls.named_at_end.entry(*named).or_default() += 1;
                }
                let id = self.nodes[node as usize].id;
                if status.balance.frozen && !self.checks.may_freeze(&id) {
                    let text = format!("the account of node {node} is frozen");
                    self.checks.violation(now, "honest-unharmed", text);
                }
                self.checks.on_named_at_end(now, node, &status.faulty);
            }
            (Probe::Ledger, Ok(Answer::Ledger(view))) => {
                self.calls.totals.push((node, view.totals, view.conserved));
                if !view.conserved {
                    let text = format!("credits of node {node}: {:?}", view.totals);
                    self.checks.violation(now, "conservation", text);
                }
            }
            (Probe::Cancel { task, append: false }, Ok(Answer::Done)) => {
                self.checks.on_stopped(task);
            }
            // Decided in the meantime; a batch of a log is never taken back.
            (Probe::Cancel { .. }, Err(Refusal::Refused(_))) => {}
            (Probe::Known { collection, ids }, Ok(Answer::Known(entries))) => {
                self.checks.on_known(now, collection, &ids, &entries);
            }
            (probe, Ok(_)) => {
                let text = format!("an answer of another kind to {probe:?}");
                self.checks.violation(now, "tasks-end", text);
            }
            (probe, Err(refusal)) => {
                let text = format!("{probe:?} was refused by node {node}: {refusal}");
                self.checks.violation(now, "tasks-end", text);
            }
        }
    }

    /// A node became a member.
    pub(super) fn on_joined(&mut self, number: u32) {
        self.note(10, number, 0);
        self.calls.joined.insert(number);
    }

    /// Grants of tickets: what a requester needs, little for others.
    pub(crate) fn grant_of(&self, node: u32) -> Credits {
        let rich = self.roles.requesters.contains(&node) || self.roles.cheats.contains(&node);
        let whole = if rich { REQUESTER_GRANT } else { 0 };
        Credits::from_whole(whole).unwrap_or(Credits::ZERO)
    }

    /// Asks every node how it is and every owner for what it acknowledged.
    pub(crate) fn probe_all(&mut self) {
        for node in 0..self.nodes.len() as u32 {
            self.probe(node, Probe::Status, Command::Status);
        }
        for node in [0, self.nodes.len() as u32 - 1] {
            self.probe(node, Probe::Ledger, Command::VerifyLedger);
        }
        for (collection, owner, ids) in self.checks.acknowledged_ids() {
            if self.nodes[owner as usize].lost_disk {
                continue;
            }
            for chunk in ids.chunks(256) {
                let ids = Arc::new(chunk.to_vec());
                let command = Command::Known {
                    collection: name_of(collection),
                    ids: chunk.to_vec(),
                    pending: false,
                };
                self.probe(owner, Probe::Known { collection, ids }, command);
            }
        }
    }
}

fn quantile_ms(took: &[u64], share: f64) -> f64 {
    let mut took = took.to_vec();
    took.sort_unstable();
    let at = (took.len() as f64 * share) as usize;
    took.get(at.min(took.len().saturating_sub(1))).map_or(0.0, |us| *us as f64 / 1e3)
}
