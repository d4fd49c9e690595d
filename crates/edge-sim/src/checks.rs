//! The checkers: they watch what leaves the nodes, what lies on their disks and what callers are
//! told, and know the truth because they see what the Execute boundary was asked and said.
//!
//! They trust no counter of the product. What they hold for true they computed here.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Digest, EscrowId, NodeId, RecordId, TaskId, Verifier};
use edge_ledger::{Certificate, Genesis, WitnessSet};
use edge_swarm::{Event, Write};
use edge_tasks::Executor;
use serde::Serialize;

use crate::{node::Node, outcome::Escrows, queue::Instant, workload::Record};

mod books;
mod checkpoints;
mod places;
mod records;
mod results;
mod wire;

pub(crate) use results::Asked;

/// Violations that are kept; a broken run has thousands of the same kind.
const VIOLATIONS_MAX: usize = 64;

/// Something that must not happen and happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Violation {
    /// Virtual milliseconds since the start.
    pub at_ms: u64,
    /// The checker.
    pub checker: String,
    /// What happened.
    pub text: String,
}

/// An execution as its requester ordered it.
#[derive(Clone, Debug)]
struct Ordered {
    escrow: Option<EscrowId>,
    price: u64,
    payload: Digest,
}

/// A collection as its callers know it.
#[derive(Clone, Debug, Default)]
struct Collection {
    owner: u32,
    /// The owner lost its disk: it may answer with less, but copies stay.
    log_lost: bool,
    attempted: BTreeMap<RecordId, Record>,
    acknowledged: Vec<RecordId>,
}

/// All checkers of a run.
pub(crate) struct Checks {
    genesis: Genesis,
    pool: Digest,
    verifier: Verifier,
    reference: Executor,
    violations: Vec<Violation>,
    violations_all: usize,
    // Books.
    sets: BTreeMap<u64, WitnessSet>,
    /// The block certified at (account, seq), and the very bytes that were stored.
    places: BTreeMap<(NodeId, u64), Digest>,
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
    certificates: BTreeMap<Digest, Certificate>,
    opened: BTreeMap<EscrowId, NodeId>,
    ended: BTreeMap<EscrowId, Vec<Digest>>,
    /// Owners whose accounts are or may be frozen.
    frozen: BTreeSet<NodeId>,
    /// More witnesses are faulty than the set tolerates.
    conflicts: bool,
    /// Checkpoints by epoch, and the last epoch of each process.
    checkpoints: BTreeMap<u64, Digest>,
    epochs: BTreeMap<u32, u64>,
    gone: BTreeSet<NodeId>,
    // Work.
    ordered: BTreeMap<(TaskId, NodeId), Ordered>,
    revealed: BTreeMap<(TaskId, NodeId), Digest>,
    /// Tasks that their callers stopped.
    stopped: BTreeSet<TaskId>,
    /// What a worker may be paid from an escrow at most: prices of its true results.
    earned: BTreeMap<(EscrowId, NodeId), u64>,
    /// What a worker was promised of an escrow.
    promised: BTreeMap<(EscrowId, NodeId), u64>,
    /// Whether a promise counts from where it arrived. Who forgot one that nobody got cannot learn of it.
    pub(crate) promises_arrive: bool,
    // Liars.
    liars: BTreeSet<NodeId>,
    lies: BTreeSet<(NodeId, Digest, Digest)>,
    lied: BTreeMap<NodeId, usize>,
    caught: BTreeSet<NodeId>,
    named: BTreeSet<NodeId>,
    /// Wrong results that were accepted, where that is counted and not excluded.
    accepted_lies: Option<usize>,
    /// Who may be banned.
    bannable: BTreeSet<u32>,
    /// When a node was first banned by another: (by whom, who).
    pub(crate) bans: BTreeMap<(u32, u32), Instant>,
    // Records.
    collections: BTreeMap<usize, Collection>,
    replicas_min: usize,
    /// What nodes said at each place, where that is watched.
    said: Option<places::Places>,
}

/// Counts for the outcome.
pub(crate) struct Summary {
    pub(crate) liars: usize,
    pub(crate) liars_named: usize,
    pub(crate) lies: usize,
    pub(crate) accepted_lies: usize,
    pub(crate) escrows: Escrows,
    pub(crate) certificates: usize,
    pub(crate) records_acknowledged: usize,
    pub(crate) replicas_min: usize,
}

impl Checks {
    pub(crate) fn new(genesis: Genesis, verifier: Verifier) -> Self {
        let founding = genesis.witness_set();
        Checks {
            pool: genesis.hash(),
            sets: BTreeMap::from([(founding.version, founding)]),
            genesis,
            verifier,
            reference: Executor::new(),
            violations: Vec::new(),
            violations_all: 0,
            places: BTreeMap::new(),
            stored: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            epochs: BTreeMap::new(),
            certificates: BTreeMap::new(),
            opened: BTreeMap::new(),
            ended: BTreeMap::new(),
            frozen: BTreeSet::new(),
            conflicts: false,
            gone: BTreeSet::new(),
            ordered: BTreeMap::new(),
            revealed: BTreeMap::new(),
            stopped: BTreeSet::new(),
            earned: BTreeMap::new(),
            promised: BTreeMap::new(),
            promises_arrive: false,
            liars: BTreeSet::new(),
            lies: BTreeSet::new(),
            lied: BTreeMap::new(),
            caught: BTreeSet::new(),
            named: BTreeSet::new(),
            accepted_lies: None,
            bannable: BTreeSet::new(),
            bans: BTreeMap::new(),
            collections: BTreeMap::new(),
            replicas_min: 0,
            said: None,
        }
    }

    pub(crate) fn expect_liars(&mut self, liars: BTreeSet<NodeId>) {
        self.liars = liars;
    }

    /// These owners sign two blocks for one place; with too many faulty witnesses both may be
    /// certified.
    pub(crate) fn expect_frozen(&mut self, owners: BTreeSet<NodeId>, conflicts: bool) {
        self.frozen = owners;
        self.conflicts = conflicts;
    }

    pub(crate) fn may_freeze(&self, owner: &NodeId) -> bool {
        self.frozen.contains(owner)
    }

    /// Whether two certificates of one place are no surprise, nor ledgers that differ by them.
    pub(crate) fn expects_conflicts(&self) -> bool {
        self.conflicts
    }

    /// These attack: that they are banned is no surprise.
    pub(crate) fn expect_bans(&mut self, nodes: impl IntoIterator<Item = u32>) {
        self.bannable.extend(nodes);
    }

    /// A node banned another.
    pub(crate) fn on_ban(&mut self, now: Instant, number: u32, other: u32) {
        self.bans.entry((number, other)).or_insert(now);
        if !self.bannable.contains(&other) {
            let text = format!("node {number} banned node {other}");
            self.violation(now, "honest-unharmed", text);
        }
    }

    /// Some wrong results will be accepted: counts them.
    pub(crate) fn count_lies(&mut self) {
        self.accepted_lies = Some(0);
    }

    pub(crate) fn expect_set(&mut self, set: WitnessSet) {
        self.sets.insert(set.version, set);
    }

    pub(crate) fn violation(&mut self, at: Instant, checker: &str, text: String) {
        self.violations_all += 1;
        let known = self.violations.iter().any(|v| v.checker == checker && v.text == text);
        if !known && self.violations.len() < VIOLATIONS_MAX {
            let at_ms = at / 1_000;
            self.violations.push(Violation { at_ms, checker: checker.into(), text });
        }
    }

    pub(crate) fn liars(&self) -> &BTreeSet<NodeId> {
        &self.liars
    }

    pub(crate) fn pool(&self) -> Digest {
        self.pool
    }

    /// The witness set that counts now.
    pub(crate) fn newest_set(&self) -> Option<&WitnessSet> {
        self.sets.values().next_back()
    }

    pub(crate) fn verifier_mut(&mut self) -> &mut Verifier {
        &mut self.verifier
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            liars: self.lied.len(),
            liars_named: self.named.len(),
            lies: self.lies.len(),
            accepted_lies: self.accepted_lies.unwrap_or(0),
            escrows: self.escrows(),
            certificates: self.certificates.len(),
            records_acknowledged: self.collections.values().map(|c| c.acknowledged.len()).sum(),
            replicas_min: self.replicas_min,
        }
    }

    /// A node lost its disk.
    pub(crate) fn on_lost_disk(&mut self, number: u32) {
        for collection in self.collections.values_mut().filter(|c| c.owner == number) {
            collection.log_lost = true;
        }
    }

    /// A caller stopped its task before it was decided.
    pub(crate) fn on_stopped(&mut self, task: TaskId) {
        self.stopped.insert(task);
    }

    /// A result that was not the truth left the Execute boundary of a node.
    pub(crate) fn on_lie(&mut self, node: NodeId, payload: Digest, told: Digest) {
        self.lies.insert((node, payload, told));
        *self.lied.entry(node).or_default() += 1;
    }

    /// A durable change is on its way to a disk.
    pub(crate) fn on_persist(&mut self, now: Instant, write: &Write) {
        if write.table == edge_swarm::Table::Certificates
            && let Some(value) = &write.value
        {
            self.on_stored_certificate(now, &write.key, value);
        }
    }

    /// A node tells whoever watches.
    pub(crate) fn on_event(&mut self, now: Instant, number: u32, event: &Event) {
        match event {
            Event::FaultVerified { node, task, .. } => self.on_named(now, number, *node, *task),
            Event::TaskVerified { task, agreed, disagreed, .. } => {
                if self.stopped.contains(task) {
                    let text = format!("node {number} accepted a result of a stopped task");
                    self.violation(now, "stopped-stays-stopped", text);
                }
                self.on_decided(now, number, *task, agreed, disagreed);
            }
            Event::Checkpoint { epoch, digest, .. } => {
                self.on_checkpoint(now, number, *epoch, *digest);
            }
            Event::WitnessesChanged { version, members } => {
                if let Ok(set) = WitnessSet::new(*version, members.clone()) {
                    self.sets.insert(*version, set);
                }
            }
            _ => {}
        }
    }

    /// Looks at one node in turn while the run goes on.
    pub(crate) fn look(&mut self, now: Instant, nodes: &[Node], one: usize) {
        self.look_at_bounds(now, nodes);
        self.look_at_ledger(now, &nodes[one], one);
    }

    fn look_at_bounds(&mut self, now: Instant, nodes: &[Node]) {
        for (number, node) in nodes.iter().enumerate() {
            let Some(peer) = &node.peer else { continue };
            for held in peer.held() {
                if held.count > held.limit {
                    let text = format!(
                        "node {number} holds {} {}, more than {}",
                        held.count, held.what, held.limit
                    );
                    self.violation(now, "bounds", text);
                }
            }
            if node.work_load() > WORKS_MAX {
                let text = format!("{} pieces of work wait at node {number}", node.work_load());
                self.violation(now, "bounds", text);
            }
            if node.held.len() > HELD_MAX {
                let text = format!("{} messages of node {number} wait for a sync", node.held.len());
                self.violation(now, "bounds", text);
            }
        }
    }
}

/// Work that may wait at one node: the product's own bound.
const WORKS_MAX: usize = 8_192 + 64;
/// Outputs that may wait for one sync.
const HELD_MAX: usize = 65_536;
