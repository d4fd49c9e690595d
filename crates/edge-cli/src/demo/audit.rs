//! The check from outside: what the stopped nodes' data folders say, read by somebody who trusts
//! none of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use edge_base::{
    Digest, NodeId, RecordId, ShardId, Signed, TaskId, TaskKind, Verifier, codec, shard::LogBatch,
};
use edge_embed::{Model as _, StaticModel};
use edge_ledger::{AccountState, Certificate, Decided, Genesis, Handover, Sealed};
use edge_swarm::{FaultRecord, Table, TaskRecord};
use edge_tasks::{Layout, RecordBody};

use super::{
    fold::{self, Ground, Sums},
    store::Database,
};
use crate::passages::Passage;

/// A node whose folder is read.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    pub(crate) folder: PathBuf,
    pub(crate) liar: bool,
}

/// What is looked for.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The requester first.
    pub(crate) subjects: &'a [Subject],
    /// Passages whose vectors are made again and compared.
    pub(crate) sample: &'a [&'a Passage],
    /// What the killed node had acknowledged: the position of each shard.
    pub(crate) acknowledged: &'a BTreeMap<ShardId, u64>,
    /// Its place among the subjects.
    pub(crate) victim: Option<usize>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Live records of the requester's log.
    pub(crate) documents: u64,
    /// Own tasks of the requester that ended with a checked result.
    pub(crate) tasks_completed: u64,
    /// Of these, by the agreement or certified answers of other nodes.
    pub(crate) tasks_verified: u64,
    /// Results of workers that were not the accepted one.
    pub(crate) tasks_rejected: u64,
    /// Executions by others.
    pub(crate) worker_executions: u64,
    /// Executions by the requester itself.
    pub(crate) requester_executions: u64,
    /// Why it executed them.
    pub(crate) own_reasons: BTreeMap<String, u64>,
    /// Nodes named by a fault that somebody outside the task's replica set re-executed.
    pub(crate) named: BTreeSet<NodeId>,
    /// Fault proofs behind that, over all folders.
    pub(crate) fault_proofs: u64,
    /// False results of the liar, by its requester's records.
    pub(crate) lies: u64,
    /// Paid for these, in millionths.
    pub(crate) paid_for_lies: u128,
    /// Promised to each worker by the requester's records, in millionths.
    pub(crate) promised: BTreeMap<NodeId, u128>,
    /// The ledger, folded.
    pub(crate) sums: Option<Sums>,
    /// Everything that does not hold, in words.
    pub(crate) complaints: Vec<String>,
    /// Signatures verified.
    pub(crate) signatures: u64,
    /// Vectors compared bit for bit, over all replicas.
    pub(crate) vectors_compared: u64,
    /// Passages of the sample found in at least one replica.
    pub(crate) sample_found: u64,
    /// Tasks that the killed node had accepted and never revealed, by the requester's records.
    pub(crate) victim_unrevealed: u64,
    /// Searches that its replica was asked and did not answer.
    pub(crate) victim_unanswered: u64,
    /// Batches the killed node had acknowledged.
    pub(crate) batches_acknowledged: u64,
    /// Batches of these that it still holds.
    pub(crate) batches_held: u64,
}

/// Reads every folder.
pub(crate) fn audit(question: &Question<'_>) -> Found {
    let mut found = Found::default();
    let mut databases = Vec::new();
    for subject in question.subjects {
        match Database::open(&subject.folder) {
            Ok(database) => databases.push((subject, database)),
            Err(error) => {
                found.complaints.push(format!("{} cannot be read: {error}", subject.name));
            }
        }
    }
    let Some((requester, first)) = databases.first() else { return found };
    let Some((genesis, handover)) = pool_of(first) else {
        found.complaints.push(format!("{} holds no pool", requester.name));
        return found;
    };
    let pool = genesis.hash();
    ledger(genesis, handover, &databases, &mut found);
    let tasks = tasks(first, requester.node, &pool, question, &mut found);
    faults(&databases, &tasks, &pool, &mut found);
    logs(question, &databases, &mut found);
    agree(&mut found);
    found
}

type Databases<'a> = Vec<(&'a Subject, Database)>;

fn pool_of(database: &Database) -> Option<(Genesis, Option<Signed<Handover>>)> {
    let rows = database.rows(Table::Pool).ok()?;
    let get = |name: &[u8]| rows.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let genesis = codec::decode(get(b"genesis")?).ok()?;
    let handover = get(b"handover").and_then(|bytes| codec::decode(bytes).ok());
    Some((genesis, handover))
}

/// The union of every folder's certificates, folded by the demo's own rules from what all folders have
/// of checkpoints.
fn ledger(
    genesis: Genesis,
    handover: Option<Signed<Handover>>,
    databases: &Databases<'_>,
    found: &mut Found,
) {
    let (changes, checkpoints) = (BTreeMap::new(), Vec::new());
    let mut ground = Ground { genesis, handover, changes, checkpoints };
    let mut union: BTreeMap<Digest, Certificate> = BTreeMap::new();
    for (subject, database) in databases {
        ground.handover = ground.handover.or_else(|| pool_of(database).and_then(|(_, had)| had));
        if !add_checkpoints(database, &mut ground) {
            let name = &subject.name;
            found.complaints.push(format!("a checkpoint of {name} cannot be read"));
        }
        let read = database.each(Table::Certificates, |_, value| {
            match codec::decode::<Certificate>(value) {
                Ok(certificate) => {
                    union.entry(certificate.id()).or_insert(certificate);
                }
                Err(error) => {
                    found.complaints.push(format!("a certificate of {}: {error}", subject.name));
                }
            }
        });
        if let Err(error) = read {
            found.complaints.push(format!("certificates of {}: {error}", subject.name));
        }
    }
    match fold::fold(&ground, union.into_values()) {
        Ok(sums) => {
            found.signatures += sums.signatures;
            found.sums = Some(sums);
        }
        Err(why) => found.complaints.push(format!("the ledger: {why}")),
    }
}

/// Reads a folder's last checkpoint and those that changed the witness set.
fn add_checkpoints(database: &Database, ground: &mut Ground) -> bool {
    let Ok(rows) = database.rows(Table::Checkpoints) else { return false };
    let mut whole = true;
    for (key, value) in rows {
        if key == b"last" {
            match codec::decode::<(Decided, Vec<AccountState>)>(&value) {
                Ok(last) => ground.checkpoints.push(last),
                Err(_) => whole = false,
            }
        } else if key.starts_with(b"set") {
            match codec::decode::<Sealed>(&value) {
                Ok(sealed) => {
                    ground.changes.insert(sealed.checkpoint.version, sealed);
                }
                Err(_) => whole = false,
            }
        }
    }
    whole
}

/// Reads the requester's tasks and checks every statement in them.
fn tasks(
    database: &Database,
    requester: NodeId,
    pool: &Digest,
    question: &Question<'_>,
    found: &mut Found,
) -> BTreeMap<TaskId, TaskRecord> {
    let mut tasks = BTreeMap::new();
    let read = database.each(Table::Tasks, |key, value| {
        if key.first() == Some(&b't') {
            match codec::decode::<TaskRecord>(value) {
                Ok(record) => {
                    tasks.insert(record.task, record);
                }
                Err(error) => found.complaints.push(format!("a task: {error}")),
            }
        }
    });
    if let Err(error) = read {
        found.complaints.push(format!("the tasks: {error}"));
    }
    let records: Vec<&TaskRecord> = tasks.values().collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let checked: Vec<(u64, Vec<String>)> = std::thread::scope(|scope| {
        let chunk = records.len().div_ceil(threads).max(1);
        let parts: Vec<_> = records
            .chunks(chunk)
            .map(|records| scope.spawn(move || statements(records, requester, pool)))
            .collect();
        let join = |part: std::thread::ScopedJoinHandle<'_, _>| {
            part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        parts.into_iter().map(join).collect()
    });
    for (signatures, complaints) in checked {
        found.signatures += signatures;
        found.complaints.extend(complaints);
    }
    let liars = question.subjects.iter().filter(|subject| subject.liar);
    let liars: BTreeSet<NodeId> = liars.map(|subject| subject.node).collect();
    let victim = question.victim.map(|victim| question.subjects[victim].node);
    for record in records {
        count(record, &liars, found);
        let search = record.kind == TaskKind::VectorSearch;
        let silent = record.workers.iter().any(|part| {
            let worker = part.assignment.body.worker;
            Some(worker) == victim && (part.took || search) && part.reveal.is_none()
        });
        match record.kind {
            TaskKind::VectorSearch => found.victim_unanswered += u64::from(silent),
            _ => found.victim_unrevealed += u64::from(silent),
        }
    }
    tasks
}

/// Verifies every signature of task records and that reveals open commits.
fn statements(records: &[&TaskRecord], requester: NodeId, pool: &Digest) -> (u64, Vec<String>) {
    let mut verifier = Verifier::strict();
    let mut complaints = Vec::new();
    for record in records {
        let mut complain =
            |why: &str| complaints.push(format!("task {}: {why}", record.task.short()));
        for part in &record.workers {
            let assignment = &part.assignment;
            let worker = assignment.body.worker;
            if assignment.signer != requester || assignment.open(&mut verifier, pool).is_err() {
                complain("an assignment is not the requester's");
            }
            if assignment.body.task != record.task || !assignment.body.names_its_task() {
                complain("an assignment is of another task");
            }
            if let Some(commit) = &part.commit
                && (commit.signer != worker || commit.open(&mut verifier, pool).is_err())
            {
                complain("a commit is not its worker's");
            }
            if let Some(reveal) = &part.reveal {
                if reveal.signer != worker || reveal.open(&mut verifier, pool).is_err() {
                    complain("a reveal is not its worker's");
                }
                if part.commit.as_ref().is_none_or(|commit| !reveal.body.opens(&commit.body)) {
                    complain("a reveal does not open its commit");
                }
            }
        }
    }
    (verifier.stats().computed, complaints)
}

fn count(record: &TaskRecord, liars: &BTreeSet<NodeId>, found: &mut Found) {
    let search = record.kind == TaskKind::VectorSearch;
    let check = record.check.as_ref();
    let agreed = check.map_or(&[][..], |check| &check.agreed);
    let own = check.and_then(|check| check.own_execution.as_ref());
    let completed = record.accepted.is_some() || search && (!agreed.is_empty() || own.is_some());
    found.tasks_completed += u64::from(completed);
    found.tasks_verified += u64::from(completed && !agreed.is_empty());
    if let Some(reason) = own {
        found.requester_executions += 1;
        *found.own_reasons.entry(format!("{}: {reason}", record.kind)).or_default() += 1;
    }
    for part in &record.workers {
        let worker = part.assignment.body.worker;
        let Some(reveal) = &part.reveal else { continue };
        found.worker_executions += 1;
        let paid = u128::from(part.paid.micro());
        *found.promised.entry(worker).or_default() += paid;
        let differs = if search {
            check.is_some_and(|check| check.disagreed.contains(&worker))
        } else {
            record.accepted.is_some_and(|accepted| accepted != reveal.body.digest)
        };
        if differs {
            found.tasks_rejected += 1;
            if liars.contains(&worker) {
                found.lies += 1;
                found.paid_for_lies += paid;
            }
        }
    }
}

/// Who is named, by proofs whose re-executor was neither a replica of that task nor its requester.
fn faults(
    databases: &Databases<'_>,
    tasks: &BTreeMap<TaskId, TaskRecord>,
    pool: &Digest,
    found: &mut Found,
) {
    let mut verifier = Verifier::strict();
    for (subject, database) in databases.iter().filter(|(subject, _)| !subject.liar) {
        let rows = database.rows(Table::Faults).unwrap_or_default();
        for (_, value) in rows {
            let Ok(record) = codec::decode::<FaultRecord>(&value) else {
                found
                    .complaints
                    .push(format!("{} holds a fault that does not decode", subject.name));
                continue;
            };
            let proof = &record.report.proof;
            if proof.check_shape(&mut verifier, pool).is_err() {
                found.complaints.push(format!("{} holds a fault proof that is none", subject.name));
                continue;
            }
            found.fault_proofs += 1;
            let Some(task) = tasks.get(&proof.task()) else { continue };
            let replica = |node: &NodeId| {
                task.workers.iter().any(|part| part.assignment.body.worker == *node)
            };
            let requester = proof.assignment.body.requester;
            // By the requester's own record of the task, not by what the re-executor says of itself.
            if record.verified_by == subject.node
                && record.verified_by != requester
                && !replica(&record.verified_by)
            {
                found.named.insert(proof.worker());
            }
        }
    }
    found.signatures += verifier.stats().computed;
}

/// Reads every shard's log: counts records, compares vectors, looks for what was acknowledged.
fn logs(question: &Question<'_>, databases: &Databases<'_>, found: &mut Found) {
    let wanted: BTreeMap<RecordId, &Passage> =
        question.sample.iter().map(|passage| (passage.id, *passage)).collect();
    let mut expected: BTreeMap<RecordId, Vec<u32>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (place, (subject, database)) in databases.iter().enumerate() {
        let victim = question.victim.is_some_and(|v| question.subjects[v].node == subject.node);
        let mut live: BTreeSet<RecordId> = BTreeSet::new();
        let mut held: BTreeMap<ShardId, BTreeSet<u64>> = BTreeMap::new();
        let mut bad = 0u64;
        let read = database.each(Table::Log, |_, value| {
            let Ok(batch) = codec::decode::<LogBatch>(value) else {
                bad += 1;
                return;
            };
            held.entry(batch.shard).or_default().insert(batch.seq);
            let layout = Layout::decode(&batch.layout).ok();
            let mut bodies = batch.bodies.iter();
            for entry in &batch.entries {
                if entry.record.is_none() {
                    live.remove(&entry.id);
                    continue;
                }
                live.insert(entry.id);
                let Some(body) = bodies.next() else { continue };
                let (Some(passage), Some(layout)) = (wanted.get(&entry.id), &layout) else {
                    continue;
                };
                let bits = expected
                    .entry(entry.id)
                    .or_insert_with(|| embedded_again(layout, &passage.text).unwrap_or_default());
                let stored = RecordBody::decode(body).map(|b| bits_of(&b.vector));
                found.vectors_compared += 1;
                seen.insert(entry.id);
                if stored.as_ref().ok() != Some(bits) {
                    bad += 1;
                }
            }
        });
        if let Err(error) = read {
            found.complaints.push(format!("the log of {}: {error}", subject.name));
        }
        if bad > 0 {
            let what = "batches or vectors are not what the source text gives";
            found.complaints.push(format!("{}: {bad} {what}", subject.name));
        }
        if place == 0 {
            found.documents = live.len() as u64;
        }
        if victim {
            for (shard, seq) in question.acknowledged {
                let held = held.get(shard);
                found.batches_acknowledged += seq;
                found.batches_held +=
                    (1..=*seq).filter(|n| held.is_some_and(|held| held.contains(n))).count() as u64;
            }
        }
    }
    found.sample_found = seen.len() as u64;
}

/// The vector of a text as a shard stores it, made with the scalar kernels.
fn embedded_again(layout: &Layout, text: &str) -> Option<Vec<u32>> {
    let model = StaticModel::builtin();
    if layout.model != model.id() {
        return None;
    }
    let scalar = edge_kernels::canon::Kernels::on(edge_kernels::Simd::Scalar).ok()?;
    let mut row = Vec::new();
    model.embed_on(scalar, &[text], &mut row).ok()?;
    let body = RecordBody::canonical(layout, row, Vec::new()).ok()?;
    Some(bits_of(&body.vector))
}

fn bits_of(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|component| component.to_bits()).collect()
}

/// Compares what the requester's records promise with what settlements paid. Where nobody keeps all
/// settlements any more those that are left paid no more than was promised.
fn agree(found: &mut Found) {
    let Some(sums) = &found.sums else { return };
    let workers: BTreeSet<&NodeId> = found.promised.keys().chain(sums.settled.keys()).collect();
    let mut complaints = Vec::new();
    for worker in workers {
        let promised = found.promised.get(worker).copied().unwrap_or(0);
        let settled = sums.settled.get(worker).copied().unwrap_or(0);
        if settled > promised || (settled < promised && sums.dropped == 0) {
            complaints.push(format!(
                "{} was promised {promised} and paid {settled} millionths of a rUv",
                worker.short()
            ));
        }
    }
    found.complaints.extend(complaints);
}
