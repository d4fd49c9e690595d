//! What a run came to, as people and machines read it.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    checks::Violation,
    frames::{Busiest, FrameCost, Frames},
    rivals::{self, Rival},
    scenario::WrongResults,
    world::World,
};

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
    /// Virtual milliseconds until half of the submitted tasks were answered, and 99 of 100.
    pub task_p50_ms: f64,
    /// See above.
    pub task_p99_ms: f64,
    /// Processes that were killed at random moments.
    pub kills: u64,
    /// Keys that gave their place to another, and whose nodes went on.
    pub rotations: u64,
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
    /// For an attack: what it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<Attacked>,
    /// Frames that nodes dropped because they were more than their sender's budget.
    pub limited: u64,
    /// Bans of one node by another.
    pub bans: usize,
    /// What handling frames took, by kind; only where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<FrameCost>,
    /// The busiest second of one sender at one receiver, by what frames are for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub busiest: BTreeMap<&'static str, Busiest>,
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

/// What an attack came to.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Attacked {
    /// One by wrong results.
    WrongResults(WronglyAccepted),
    /// One by two blocks at one place.
    DoubleSpend(DoubleSpent),
    /// Another one: what was counted.
    Counted(Counted),
}

/// What was counted of an attack, by name.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(transparent)]
pub struct Counted {
    /// The figures.
    pub figures: BTreeMap<&'static str, f64>,
}

impl Counted {
    pub(crate) fn of<const N: usize>(figures: [(&'static str, f64); N]) -> Counted {
        Counted { figures: figures.into() }
    }

    /// A figure; 0 if there is none of that name.
    pub fn get(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or(0.0)
    }
}

/// What was counted of an attack over many seeds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CountedCampaign {
    /// `edge-sim.counted/1`.
    pub schema: &'static str,
    /// The scenario.
    pub scenario: String,
    /// How many.
    pub seeds: usize,
    /// The sum of each figure.
    pub sum: BTreeMap<&'static str, f64>,
    /// The largest of each figure.
    pub largest: BTreeMap<&'static str, f64>,
}

impl CountedCampaign {
    /// What runs with different seeds came to; `None` of fewer than two.
    pub fn of(scenario: &str, runs: &[Counted]) -> Option<CountedCampaign> {
        if runs.len() < 2 {
            return None;
        }
        let (mut sum, mut largest) = (BTreeMap::new(), BTreeMap::new());
        for (name, figure) in runs.iter().flat_map(|run| &run.figures) {
            *sum.entry(*name).or_insert(0.0) += figure;
            let most = largest.entry(*name).or_insert(*figure);
            *most = f64::max(*most, *figure);
        }
        Some(CountedCampaign {
            schema: "edge-sim.counted/1",
            scenario: scenario.into(),
            seeds: runs.len(),
            sum,
            largest,
        })
    }
}

/// What an attack by two blocks at one place came to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DoubleSpent {
    /// Owners that signed two blocks for one place.
    pub cheats: usize,
    /// Witnesses that voted for both.
    pub faulty_witnesses: usize,
    /// Times that a block of theirs was shown to an honest witness.
    pub shown: u64,
    /// Blocks, votes and certificates of faulty witnesses that do not hold.
    pub nonsense: u64,
    /// Blocks of cheats that a quorum voted for.
    pub certified: usize,
    /// Places with two such blocks.
    pub certified_twice: usize,
    /// A round: the longest that a message takes from one node to the next, in virtual milliseconds.
    pub round_ms: f64,
    /// Rounds from the first node that froze an account to the last, at most.
    pub rounds: f64,
}

/// Attacks by two blocks at one place over many seeds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DoubleSpentCampaign {
    /// `edge-sim.double-spend/1`.
    pub schema: &'static str,
    /// The scenario.
    pub scenario: String,
    /// How many.
    pub seeds: usize,
    /// Sum of [`DoubleSpent::cheats`].
    pub cheats: usize,
    /// Sum of [`DoubleSpent::shown`].
    pub shown: u64,
    /// Sum of [`DoubleSpent::nonsense`].
    pub nonsense: u64,
    /// Sum of [`DoubleSpent::certified`].
    pub certified: usize,
    /// Sum of [`DoubleSpent::certified_twice`].
    pub certified_twice: usize,
    /// Largest of [`DoubleSpent::rounds`].
    pub rounds: f64,
}

impl DoubleSpentCampaign {
    /// What runs with different seeds came to; `None` of fewer than two.
    pub fn of(scenario: &str, runs: &[DoubleSpent]) -> Option<DoubleSpentCampaign> {
        if runs.len() < 2 {
            return None;
        }
        Some(DoubleSpentCampaign {
            schema: "edge-sim.double-spend/1",
            scenario: scenario.into(),
            seeds: runs.len(),
            cheats: runs.iter().map(|run| run.cheats).sum(),
            shown: runs.iter().map(|run| run.shown).sum(),
            nonsense: runs.iter().map(|run| run.nonsense).sum(),
            certified: runs.iter().map(|run| run.certified).sum(),
            certified_twice: runs.iter().map(|run| run.certified_twice).sum(),
            rounds: runs.iter().map(|run| run.rounds).fold(0.0, f64::max),
        })
    }
}

/// What an attack by wrong results came to, and what it would have come to elsewhere.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WronglyAccepted {
    /// Accepted results that were wrong.
    pub wrong: usize,
    /// The same in millionths of the accepted ones.
    pub wrong_ppm: f64,
    /// Stake that nodes lost, in rUv, as node 0 knows it at the end.
    pub stake_lost: f64,
    /// Executions for each accepted result: of workers, of requesters, and of everybody who checks an
    /// accusation.
    pub work: f64,
    /// Others' rules on the same tasks against the same liars.
    pub rivals: Vec<Rival>,
}

/// An attack over many seeds, beside the line it has to be held at.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Campaign {
    /// `edge-sim.wrong-results/1`.
    pub schema: &'static str,
    /// The scenario.
    pub scenario: String,
    /// How many.
    pub seeds: usize,
    /// Mean of [`WronglyAccepted::wrong_ppm`].
    pub wrong_ppm: f64,
    /// Upper bound of that mean, one-sided 95 %, by the spread between seeds (normal approximation).
    pub wrong_ppm_upper: f64,
    /// What the upper bound may be.
    pub wrong_ppm_line: f64,
    /// Mean of [`WronglyAccepted::work`].
    pub work: f64,
    /// What that may be.
    pub work_line: f64,
    /// Others' rules on the same tasks: their means.
    pub rivals: Vec<CampaignRival>,
    /// Whether both lines hold.
    pub holds: bool,
}

/// Somebody else's rule over many seeds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct CampaignRival {
    /// Whose.
    pub rule: &'static str,
    /// Mean of wrong results in millionths of the accepted ones.
    pub wrong_ppm: f64,
    /// Mean of executions for each accepted result.
    pub work: f64,
}

/// The 95 % point of the normal distribution.
const Z_95: f64 = 1.645;

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.fold(0.0, |sum, value| sum + value) / count
}

impl Campaign {
    /// What runs with different seeds came to; `None` of fewer than two.
    pub fn of(scenario: &str, line: &WrongResults, runs: &[WronglyAccepted]) -> Option<Campaign> {
        if runs.len() < 2 {
            return None;
        }
        let wrong_ppm = mean(runs.iter().map(|run| run.wrong_ppm));
        let squares = mean(runs.iter().map(|run| (run.wrong_ppm - wrong_ppm).powi(2)));
        // The mean of the squares over n - 1, and over n once more for the mean itself.
        let error = (squares / (runs.len() - 1) as f64).sqrt();
        let wrong_ppm_upper = wrong_ppm + Z_95 * error;
        let work = mean(runs.iter().map(|run| run.work));
        let rivals = runs[0].rivals.iter().enumerate().map(|(at, rival)| CampaignRival {
            rule: rival.rule,
            wrong_ppm: mean(runs.iter().map(|run| run.rivals[at].wrong_ppm)),
            work: mean(runs.iter().map(|run| run.rivals[at].work)),
        });
        Some(Campaign {
            schema: "edge-sim.wrong-results/1",
            scenario: scenario.into(),
            seeds: runs.len(),
            wrong_ppm,
            wrong_ppm_upper,
            wrong_ppm_line: line.wrong_ppm,
            work,
            work_line: line.work,
            rivals: rivals.collect(),
            holds: wrong_ppm_upper <= line.wrong_ppm && work <= line.work,
        })
    }
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
    pub(crate) fn of(world: &mut World, wall: Duration) -> Outcome {
        let wall_s = wall.as_secs_f64();
        let (mut inputs, mut inputs_limited) = (0, 0);
        let (mut asked, mut remembered, mut computed) = (0, 0, 0);
        let (mut executions, mut own_executions) = (0, 0);
        for node in &world.nodes {
            let counters = node.counters();
            inputs += counters.inputs_decoded;
            inputs_limited += counters.inputs_limited;
            own_executions += counters.own_executions;
            executions += node.executions;
            let stats = node.verifier_stats();
            asked += stats.asked;
            remembered += stats.remembered;
            computed += stats.computed;
        }
        let signed = !world.options.no_signatures;
        let found = world.checks.summary();
        let frames = world.frames.as_ref().map(Frames::costs).unwrap_or_default();
        let busiest = world.frames.as_mut().map(Frames::busiest).unwrap_or_default();
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
            task_p50_ms: world.calls.task_ms(0.5),
            task_p99_ms: world.calls.task_ms(0.99),
            kills: world.kills,
            rotations: world.nodes.iter().map(|node| u64::from(node.rotated)).sum(),
            executions,
            own_executions,
            liars: found.liars,
            liars_named: found.liars_named,
            lies: found.lies,
            attack: world.scenario.attack.and_then(|attack| attack.wrong_results()).map(|_| {
                let done = world.calls.verified.max(1) as f64;
                Attacked::WrongResults(WronglyAccepted {
                    wrong: found.accepted_lies,
                    wrong_ppm: found.accepted_lies as f64 / done * 1e6,
                    stake_lost: world
                        .calls
                        .totals
                        .iter()
                        .find(|(node, _, _)| *node == 0)
                        .map_or(0.0, |(_, totals, _)| totals.lost().micro() as f64 / 1e6),
                    work: executions as f64 / done * {
                        let (own, sent) = world.calls.texts;
                        if own == 0 { 1.0 } else { sent as f64 / own as f64 }
                    },
                    rivals: rivals::compare(
                        &world.inputs,
                        world.nodes.len() - 1,
                        world.roles.liars.len(),
                        world.seed,
                    ),
                })
            }),
            limited: inputs_limited,
            bans: world.checks.bans.len(),
            frames,
            busiest,
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
