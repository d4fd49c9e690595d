//! What a run came to, as people and machines read it.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{checks::Violation, world::World};

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Nodes.
    pub peers: usize,
    /// Events of the virtual world.
    pub events: u64,
    /// What must not happen and happened.
    pub violations: Vec<Violation>,
    /// Peer messages that passed decoding.
    pub inputs: u64,
    /// The same for each second of real time.
    pub inputs_per_s: f64,
    /// Share of signature checks answered from the memo; absent without signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memo_hit_rate: Option<f64>,
    /// Signatures really verified for each second of real time; absent without signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifications_per_s: Option<f64>,
    /// Tasks, appends and searches that callers asked for.
    pub tasks: usize,
    /// Those that were answered with a checked result.
    pub tasks_done: u64,
    /// Reasons of those that were not, with their counts.
    pub tasks_failed: BTreeMap<String, u64>,
    /// Calls whose node crashed before it answered; they are asked again.
    pub tasks_interrupted: u64,
    /// Tasks whose caller cancelled them and was told so.
    pub tasks_cancelled: u64,
    /// Calls whose caller went away before it was answered.
    pub tasks_abandoned: u64,
    /// Executions, each computed for real.
    pub executions: u64,
    /// Executions that requesters made because others were missing.
    pub own_executions: u64,
    /// Nodes that lied at least once, and those of them that were named.
    pub liars: usize,
    /// Liars that some node named by re-execution.
    pub liars_named: usize,
    /// Results that were lies.
    pub lies: usize,
    /// Escrows by how they ended.
    pub escrows: Escrows,
    /// Certificates.
    pub certificates: usize,
    /// Records that were acknowledged.
    pub records_acknowledged: usize,
    /// Fewest copies of an acknowledged record beside its owner's.
    pub replicas_min: usize,
    /// Virtual time.
    pub virtual_s: f64,
    /// Real time.
    pub wall_s: f64,
    /// A digest of everything that happened: equal for equal seeds.
    pub digest: String,
}

/// How escrows ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Escrows {
    /// By a settlement.
    pub settled: usize,
    /// By a refund.
    pub refunded: usize,
    /// Their owner did not return.
    pub abandoned: usize,
    /// Their owner's account is frozen.
    pub frozen: usize,
    /// Open although their owner is there.
    pub open: usize,
}

impl Outcome {
    pub(crate) fn of(world: &World, wall: Duration) -> Outcome {
        let wall_s = wall.as_secs_f64();
        let mut inputs = 0;
        let (mut asked, mut remembered, mut computed) = (0, 0, 0);
        let (mut executions, mut own_executions) = (0, 0);
        for node in &world.nodes {
            let counters = node.counters();
            inputs += counters.inputs_decoded;
            own_executions += counters.own_executions;
            executions += node.executions;
            let stats = node.verifier_stats();
            asked += stats.asked;
            remembered += stats.remembered;
            computed += stats.computed;
        }
        let signed = !world.options.no_signatures;
        let found = world.checks.summary();
        Outcome {
            scenario: world.scenario.name.into(),
            seed: world.seed,
            peers: world.nodes.len(),
            events: world.events,
            violations: world.checks.violations().to_vec(),
            inputs,
            inputs_per_s: (inputs as f64 / wall_s).round(),
            memo_hit_rate: signed.then(|| remembered as f64 / (asked.max(1)) as f64),
            verifications_per_s: signed.then(|| (computed as f64 / wall_s).round()),
            tasks: world.calls.started,
            tasks_done: world.calls.verified,
            tasks_failed: world.calls.failed.clone(),
            tasks_interrupted: world.calls.interrupted_calls,
            tasks_cancelled: world.calls.cancelled_calls,
            tasks_abandoned: world.calls.abandoned_calls,
            executions,
            own_executions,
            liars: found.liars,
            liars_named: found.liars_named,
            lies: found.lies,
            escrows: found.escrows,
            certificates: found.certificates,
            records_acknowledged: found.records_acknowledged,
            replicas_min: found.replicas_min,
            virtual_s: world.queue.now() as f64 / 1e6,
            wall_s,
            digest: format!("{:016x}", world.happened),
        }
    }
}
