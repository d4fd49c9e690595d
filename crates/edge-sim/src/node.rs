//! One node: the product's peer, its disk, its clock, its workers and, perhaps, its lies.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use edge_base::shard::LogBatch;
use edge_base::{Digest, Micros, NodeId, Rng, SecretKey, TaskKind, VerifierStats, Work, codec};
use edge_swarm::{Answer, CallId, Counters, Peer, Refusal, Settings, Urgency, WorkId};
use edge_tasks::{Executor, Liar, Lie, MemorySnapshots, payload_of};

use crate::{clock::Clock, copying::pure_payload, disk::Disk, queue::Instant};

/// Executions that run at the same time on one node.
const WORKERS: usize = 2;
/// One piece of work in this many is taken from the least urgent that waits.
const SHARE_OF_LOW: u64 = 8;

/// A snapshot is taken after a batch one time in this many ...
const SNAPSHOT_EVERY: u64 = 3;
/// ... and one process in this many ends while files are written.
const TORN_EVERY: u32 = 4;

/// Something that leaves when everything persisted before it is durable.
#[derive(Debug)]
pub(crate) enum Held {
    Send { to: NodeId, frame: Vec<u8> },
    Publish { frame: Arc<[u8]> },
    Answer { call: CallId, answer: Box<Result<Answer, Refusal>> },
}

/// Work that waits for a worker.
#[derive(Debug)]
struct Waiting {
    work: WorkId,
    what: Work,
}

/// What an execution came to.
pub(crate) type Outcome = Result<Vec<u8>, String>;

/// A result that was not the truth, as the boundary saw it.
pub(crate) struct LieTold {
    /// The content digest of the payload.
    pub(crate) payload: Digest,
    /// The content digest of what was said.
    pub(crate) told: Digest,
}

/// Lies told so far, by input. Liars are independent here: two that happen to tell the same lie about
/// the same input would be believed within the error that acceptance allows, and what colluding
/// liars reach is a question of its own.
pub(crate) type LiesTold = BTreeSet<(Digest, Digest)>;

/// An execution that begins: what it gives and how long it takes.
pub(crate) struct Started {
    pub(crate) work: WorkId,
    pub(crate) takes: Micros,
    pub(crate) lie: Option<LieTold>,
}

/// A node of the simulation.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) key: SecretKey,
    /// The key that is to take its place, and how many did.
    pub(crate) heir: Option<SecretKey>,
    pub(crate) rotated: u32,
    pub(crate) settings: Settings,
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    /// Counts processes; events of an earlier one are void.
    pub(crate) life: u32,
    pub(crate) peer: Option<Peer>,
    pub(crate) wake: Option<Instant>,
    pub(crate) held: VecDeque<(u64, Held)>,
    /// Whether this node may vote (its vote log is whole).
    pub(crate) may_vote: bool,
    /// Executions of a liar go through this.
    pub(crate) liar: Option<Liar>,
    /// Takes work of others and never does half of it.
    pub(crate) unreliable: bool,
    /// What a liar says when another told its lie about the same input already.
    second_lie: Liar,
    /// Its disk was lost.
    pub(crate) lost_disk: bool,
    executor: Executor,
    snapshots: MemorySnapshots,
    appends: u64,
    queues: [VecDeque<Waiting>; 3],
    running: BTreeMap<WorkId, Outcome>,
    /// Payloads of pure work that runs.
    payloads: BTreeMap<WorkId, Digest>,
    taken: u64,
    speed: u64,
    past: Counters,
    past_verifier: VerifierStats,
    /// Executions made.
    pub(crate) executions: u64,
}

impl Node {
    pub(crate) fn new(key: SecretKey, settings: Settings, disk: Disk, rng: &mut Rng) -> Self {
        let snapshots = MemorySnapshots::default();
        Node {
            id: key.node_id(),
            key,
            heir: None,
            rotated: 0,
            settings,
            disk,
            clock: Clock::new(0, 0, rng),
            life: 0,
            peer: None,
            wake: None,
            held: VecDeque::new(),
            may_vote: true,
            liar: None,
            unreliable: false,
            second_lie: Liar::new(Lie::FlipBit, rng.next_u64()),
            lost_disk: false,
            executor: Executor::new().with_snapshots(snapshots.clone()),
            snapshots,
            appends: 0,
            queues: Default::default(),
            running: BTreeMap::new(),
            payloads: BTreeMap::new(),
            taken: 0,
            speed: 1 + rng.below(4),
            past: Counters::default(),
            past_verifier: VerifierStats::default(),
            executions: 0,
        }
    }

    /// The process ends: all that is in memory is gone.
    pub(crate) fn stop(&mut self) {
        self.past = self.counters();
        self.past_verifier = self.verifier_stats();
        self.life += 1;
        self.peer = None;
        self.wake = None;
        self.held.clear();
        if self.life.is_multiple_of(TORN_EVERY) {
            // The ends of the latest files go with the process.
            self.snapshots.with(|files| {
                files.values_mut().step_by(2).for_each(|bytes| bytes.truncate(bytes.len() / 2));
            });
        }
        self.executor = Executor::new().with_snapshots(self.snapshots.clone());
        self.queues = Default::default();
        self.running.clear();
        self.payloads.clear();
    }

    /// Counters of all lives.
    pub(crate) fn counters(&self) -> Counters {
        let now = self.peer.as_ref().map(Peer::counters).unwrap_or_default();
        let past = self.past;
        Counters {
            inputs_decoded: past.inputs_decoded + now.inputs_decoded,
            inputs_refused: past.inputs_refused + now.inputs_refused,
            tasks_verified: past.tasks_verified + now.tasks_verified,
            tasks_failed: past.tasks_failed + now.tasks_failed,
            results_rejected: past.results_rejected + now.results_rejected,
            own_executions: past.own_executions + now.own_executions,
            executed_for_others: past.executed_for_others + now.executed_for_others,
            faults_verified: past.faults_verified + now.faults_verified,
            faults_refuted: past.faults_refuted + now.faults_refuted,
            inputs_malformed: past.inputs_malformed + now.inputs_malformed,
            inputs_limited: past.inputs_limited + now.inputs_limited,
            signatures_refused: past.signatures_refused + now.signatures_refused,
            gossip_rejected: past.gossip_rejected + now.gossip_rejected,
            gossip_ignored: past.gossip_ignored + now.gossip_ignored,
            bans: past.bans + now.bans,
            joins_refused: past.joins_refused + now.joins_refused,
            sessions_agreed: past.sessions_agreed + now.sessions_agreed,
            private_sent: past.private_sent + now.private_sent,
            private_received: past.private_received + now.private_received,
            private_refused: past.private_refused + now.private_refused,
        }
    }

    /// Verifications of all lives.
    pub(crate) fn verifier_stats(&self) -> VerifierStats {
        let now = self.peer.as_ref().map(Peer::verifier_stats).unwrap_or_default();
        let past = self.past_verifier;
        VerifierStats {
            asked: past.asked + now.asked,
            remembered: past.remembered + now.remembered,
            computed: past.computed + now.computed,
            failed: past.failed + now.failed,
        }
    }

    // Work.

    pub(crate) fn enqueue(&mut self, work: WorkId, what: Work, urgency: Urgency) {
        let queue = match urgency {
            Urgency::High => 0,
            Urgency::Normal => 1,
            Urgency::Background => 2,
        };
        let pure = matches!(what.inner(), Work::Run { .. }) && queue < 2;
        if self.unreliable && pure && work.is_multiple_of(2) {
            return;
        }
        self.queues[queue].push_back(Waiting { work, what });
    }

    pub(crate) fn cancel(&mut self, work: WorkId) {
        for queue in &mut self.queues {
            queue.retain(|waiting| waiting.work != work);
        }
    }

    /// How much waits or runs.
    pub(crate) fn work_load(&self) -> usize {
        self.running.len() + self.queues.iter().map(VecDeque::len).sum::<usize>()
    }

    /// Begins the next execution, if a worker is free. It is computed here, for real, on this
    /// node's own executor; its outcome comes when its time has passed.
    pub(crate) fn start_work(&mut self, rng: &mut Rng, told: &mut LiesTold) -> Option<Started> {
        if self.running.len() >= WORKERS {
            return None;
        }
        self.taken += 1;
        let low_first = self.taken.is_multiple_of(SHARE_OF_LOW);
        let order = if low_first { [2, 1, 0] } else { [0, 1, 2] };
        let mut found = None;
        for queue in order {
            found = self.queues[queue].pop_front().map(|waiting| (queue, waiting));
            if found.is_some() {
                break;
            }
        }
        let Some((queue, Waiting { work, what })) = found else {
            self.taken -= 1;
            return None;
        };
        self.executions += 1;
        // What a node does in the background it does for itself: nobody lies to themselves.
        let (outcome, lie) = self.execute(&what, queue < 2, told);
        let takes = Micros(cost(&what) * self.speed * (50 + rng.below(100)) / 100);
        self.running.insert(work, outcome);
        if let Some(payload) = pure_payload(&what) {
            self.payloads.insert(work, payload);
        }
        Some(Started { work, takes, lie })
    }

    /// The outcome of an execution whose time has passed, and the payload of pure work.
    pub(crate) fn end_work(&mut self, work: WorkId) -> Option<(Outcome, Option<Digest>)> {
        let payload = self.payloads.remove(&work);
        self.running.remove(&work).map(|outcome| (outcome, payload))
    }

    fn execute(
        &mut self,
        what: &Work,
        for_others: bool,
        lies_told: &mut LiesTold,
    ) -> (Outcome, Option<LieTold>) {
        if let Work::Append { payload } = what {
            self.appends += 1;
            if self.appends.is_multiple_of(SNAPSHOT_EVERY)
                && let Ok(batch) = codec::decode::<LogBatch>(payload)
            {
                // Of the state before this batch; there is none of the first.
                if let Ok(saved) = self.executor.save(&batch.shard) {
                    self.executor.settle(&saved);
                }
            }
        }
        let run = |work: &Work| self.executor.execute(work).map_err(|error| error.to_string());
        let liar = self.liar.as_mut().filter(|_| for_others);
        let Some(liar) = liar else { return (run(what), None) };
        let what = what.inner();
        let plan = liar.plan(what);
        let instead = Liar::work(&plan, what);
        let found = run(instead);
        // Only searches, matches and compressions are replaced: executing the truth too changes nothing.
        let truth = if instead == what { found.clone() } else { run(what) };
        let told = found.map(|found| liar.tell(&plan, what, found));
        let (Ok(mut told), Ok(truth)) = (told.clone(), truth) else { return (told, None) };
        let Some(payload) = payload_of(what).filter(|_| told != truth).map(Digest::of) else {
            return (Ok(told), None);
        };
        let first = lies_told.insert((payload, Digest::of(&told)));
        if !first && !matches!(liar.lie(), Lie::Together | Lie::Patient | Lie::Wary) {
            let plan = self.second_lie.plan(what);
            told = self.second_lie.tell(&plan, what, truth.clone());
            lies_told.insert((payload, Digest::of(&told)));
        }
        let lie = LieTold { payload, told: Digest::of(&told) };
        let lie = (told != truth).then_some(lie);
        (Ok(told), lie)
    }
}

/// Virtual microseconds of a piece of work on a machine of speed 1.
fn cost(what: &Work) -> u64 {
    match what.inner() {
        Work::Run { kind: TaskKind::SemanticMatch, payload } => 800 + payload.len() as u64,
        Work::Run { kind: TaskKind::Compression, payload } => 300 + payload.len() as u64 / 12,
        Work::Run { payload, .. } => 500 + payload.len() as u64,
        Work::Append { payload } => {
            let entries = codec::decode::<LogBatch>(payload).map_or(1, |b| b.entries.len() as u64);
            500 + 300 * entries
        }
        Work::Search { .. } => 1_500,
        Work::CheckAnswer { .. } => 400,
        Work::CheckItem { .. } => 600,
        Work::Replay { history, .. } => 300 + history.len() as u64 / 64,
        Work::Restore { .. } | Work::Drop { .. } | Work::Paid { .. } => 50,
    }
}
