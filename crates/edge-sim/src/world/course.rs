//! The course of a run: set-up, work and faults, rest, questions at the end.

use std::time::Instant as WallClock;

use edge_base::{Credits, Digest, Micros, NodeId};
use edge_swarm::{Command, Peer, Table};

use super::{Happening, World, calls::Probe};
use crate::{
    cheat::ACT_EVERY,
    copying,
    flood::Quiet,
    minting,
    outcome::{Attacked, Counted, Outcome},
    queue::Instant,
    scenario::{Attack, Setup},
    sybil::Sybils,
    twofaced::TwoFaced,
    workload::{self, Action, Step},
};

/// A pool made by tickets stands within this.
const SETUP_WITHIN: Micros = Micros::from_secs(90);
/// Questions at the end are answered within this.
const PROBES_WITHIN: Micros = Micros::from_secs(60);
const LOOK_EVERY: Micros = Micros::from_secs(1);
/// One run may have so many times the wrong results that the mean of many may have.
const LUCK: f64 = 4.0;
/// While others cheat, so many honest calls are answered.
const PAYMENTS_PERCENT: u64 = 95;

impl World {
    /// Runs the scenario to its end.
    pub(crate) fn run(mut self) -> (Outcome, Quiet) {
        let began = WallClock::now();
        let start = match self.scenario.setup {
            Setup::Ready => self.set_up_ready(),
            Setup::Tickets => self.set_up_by_tickets(),
        };
        self.queue.after(LOOK_EVERY, Happening::Look);
        let work = self.scenario.workload;
        let mut steps =
            workload::plan(&self.scenario, &self.roles.requesters.clone(), start, self.seed);
        if self.minters.is_some() {
            workload::lengthen(&mut steps, self.seed);
        }
        if self.copiers.is_some() {
            copying::repeat_payloads(&mut steps, self.seed);
        }
        for step in steps {
            if self.scenario.attack.is_some_and(|attack| attack.wrong_results().is_some())
                && let Action::Submit { payload, .. } = &step.action
            {
                self.inputs.push(Digest::of(payload));
            }
            self.plan(step);
        }
        self.plan_minting(start, work.within);
        self.plan_forks(start);
        let faults_over = self.plan_faults(start, work.within);
        if self.siege.is_none() {
            self.plan_records(start, work.within);
        }
        self.plan_siege(start + work.within.0 + work.within.0 / 4);
        if let Some(sybils) = &self.sybils {
            // First the inviter puts up what it has.
            let amount = Credits::from_whole(sybils.attack.stake).unwrap_or(Credits::ZERO);
            let command = Box::new(Command::Stake { amount });
            let (node, probe) = (sybils.inviter, Probe::Errand);
            self.queue.at(start - 1_000_000, Happening::Command { node, probe, command });
            self.queue.at(start + 2_000_000, Happening::Sybil);
        }
        if let Some(cheats) = &mut self.cheats {
            cheats.begin(start, work.within);
            self.queue.at(start, Happening::Cheat);
        }
        if let Some(floods) = &mut self.floods
            && floods.begin(start, work.within)
        {
            self.queue.at(start, Happening::Flood);
        }
        let work_over = start + work.within.0 + work.within.0 / 4;
        let over = faults_over.max(work_over);
        let mut quiet = Quiet::default();
        while self.queue.now() < over && !self.is_caught() {
            self.run_until((self.queue.now() + 5_000_000).min(over));
            self.change_witnesses();
            self.progress(&began);
        }
        self.besiege(&began);
        self.end_forks(&began);
        if let Some(floods) = &self.floods {
            let seconds = (over - start) as f64 / 1e6;
            quiet.frames_per_s = floods.usual as f64 / self.nodes.len() as f64 / seconds;
        }
        if !self.is_caught() {
            self.rest(&began);
            if let Some(Attack::Replay(count)) = self.scenario.attack {
                self.replay(count, &began);
            }
            self.ask_at_the_end();
            // The last searches were paid for as well.
            self.rest(&began);
            if self.scenario.checkpoints.is_some() {
                self.checks.nothing_is_lost(self.queue.now(), &self.nodes);
            }
            self.checks.at_the_end(&self.scenario, &self.roles, &self.nodes, self.queue.now());
        }
        let mut outcome = Outcome::of(&mut self, began.elapsed());
        let now = self.queue.now();
        if let Some(cheats) = &mut self.cheats {
            let (came, mut found) = cheats.verdict(&self.nodes);
            if outcome.tasks_done * 100 < outcome.tasks as u64 * PAYMENTS_PERCENT {
                found.push(format!("{} of {} tasks are done", outcome.tasks_done, outcome.tasks));
            }
            found.into_iter().for_each(|text| self.checks.violation(now, "attack", text));
            outcome.attack = Some(Attacked::DoubleSpend(came));
            outcome.violations = self.checks.violations().to_vec();
        }
        quiet.task_p99_ms = self.calls.task_ms(0.99);
        quiet.search_p99_ms = self.calls.search_ms(0.99);
        if let Some((came, found)) = self.counted(&quiet) {
            found.into_iter().for_each(|text| self.checks.violation(now, "attack", text));
            outcome.attack = Some(Attacked::Counted(came));
            outcome.violations = self.checks.violations().to_vec();
        }
        if let Some(Attack::WrongResults(line)) = self.scenario.attack
            && let Some(Attacked::WrongResults(attack)) = &outcome.attack
        {
            if attack.wrong_ppm > LUCK * line.wrong_ppm {
                let text =
                    format!("{:.0} of a million accepted results are wrong", attack.wrong_ppm);
                self.checks.violation(now, "attack", text);
            }
            if attack.work > line.work {
                let text = format!("{:.2} executions for a result", attack.work);
                self.checks.violation(now, "attack", text);
            }
            outcome.violations = self.checks.violations().to_vec();
        }
        (outcome, quiet)
    }

    /// What an attack came to of which figures are counted, and what must not have happened.
    fn counted(&self, calls: &Quiet) -> Option<(Counted, Vec<String>)> {
        let minted = self.mint_verdict();
        let forked = self.forkers.as_ref();
        let forked =
            forked.map(|forkers| forkers.verdict(&self.calls.named_at_end, &self.roles.witnesses));
        let copied = self.copiers.as_ref().map(|copiers| copiers.verdict());
        let lies = self.sybils.as_ref().map_or(0, Sybils::lies_accepted);
        let besieged = self.siege.as_ref().map(|siege| siege.verdict(lies));
        let flooded = self.floods.as_ref().map(|floods| {
            floods.verdict(&self.checks.bans, (calls.task_p99_ms, calls.search_p99_ms))
        });
        copied
            .or(besieged)
            .or_else(|| self.sybil_verdict())
            .or(self.recorder.as_ref().map(|recorder| recorder.verdict()))
            .or(flooded)
            .or(minted)
            .or(forked)
    }

    /// A mutant that is caught need not run on, nor a control: what it broke may never come to rest.
    fn is_caught(&self) -> bool {
        let control = self.options.no_defence && (self.cheats.is_some() || self.floods.is_some());
        (self.options.mutant.is_some() || control) && !self.checks.violations().is_empty()
    }

    /// Attackers have escrows open by turns, and act from the beginning.
    fn plan_minting(&mut self, start: Instant, within: Micros) {
        if self.minters.is_none() {
            return;
        }
        let tasks = (within.0 / 10_000_000) as usize;
        for node in self.roles.cheats.clone() {
            let seed = self.seed ^ u64::from(node);
            for step in workload::tasks_of(node, tasks, start, within, seed) {
                self.plan(step);
            }
        }
        self.queue.at(start, Happening::Mint);
    }

    /// Those who want to mint act, and every ledger is looked at.
    pub(super) fn on_mint(&mut self) {
        let helper = self.roles.witnesses.last().copied();
        let Some((minters, minted)) = &mut self.minters else { return };
        minters.act(&self.nodes);
        let found = minted.look(&self.nodes, minters, helper);
        let now = self.queue.now();
        found.into_iter().for_each(|text| self.checks.violation(now, "attack", text));
        self.minters_speak();
        self.queue.after(minting::ACT_EVERY, Happening::Mint);
    }

    fn mint_verdict(&self) -> Option<(Counted, Vec<String>)> {
        let (minters, minted) = self.minters.as_ref()?;
        let lost = self.calls.totals.iter().find(|(node, _, _)| *node == 0);
        let lost = lost.map_or(0.0, |(_, totals, _)| totals.lost().micro() as f64 / 1e6);
        let (figures, found) = minted.verdict(minters, lost);
        Some((Counted { figures: figures.into_iter().collect() }, found))
    }

    fn sybil_verdict(&self) -> Option<(Counted, Vec<String>)> {
        let sybils = self.sybils.as_ref()?;
        let honest = self.nodes.len() - 1;
        let known = self.nodes.iter().map(|node| {
            let rows = node.disk.rows(Table::Members);
            let ids = rows.into_iter().filter_map(|(key, _)| <[u8; 32]>::try_from(key).ok());
            ids.filter(|id| sybils.has(&NodeId(*id))).count()
        });
        let lost = self.calls.totals.iter().find(|(node, _, _)| *node == 0);
        let lost = lost.map_or(Credits::ZERO, |(_, totals, _)| totals.lost());
        // A requester does not ask itself; the inviter and all below it are one.
        let voices = honest;
        let end = self.queue.now();
        Some(sybils.verdict(known.max().unwrap_or(0), voices, lost, end))
    }

    fn set_up_ready(&mut self) -> Instant {
        for node in 0..self.nodes.len() as u32 {
            self.boot(node);
        }
        let stake = self.scenario.attack.map_or(0, Attack::stake);
        if stake == 0 {
            return 2_000_000;
        }
        let amount = Credits::from_whole(stake).unwrap_or(Credits::ZERO);
        let requesters = self.roles.requesters.clone();
        let workers: Vec<u32> =
            (0..self.nodes.len() as u32).filter(|node| !requesters.contains(node)).collect();
        self.run_until(2_000_000);
        for node in &workers {
            self.probe(*node, Probe::Stake, Command::Stake { amount });
        }
        if !self.run_while(SETUP_WITHIN, |world| world.calls.staked < workers.len()) {
            let text = format!("{} of {} workers staked", self.calls.staked, workers.len());
            self.checks.violation(self.queue.now(), "set-up", text);
        }
        self.queue.now() + 1_000_000
    }

    fn set_up_by_tickets(&mut self) -> Instant {
        self.boot(0);
        self.run_until(300_000);
        for node in 1..self.nodes.len() as u32 {
            let credits = self.grant_of(node);
            self.invite(node, credits);
        }
        let others = self.nodes.len() - 1;
        if !self.run_while(SETUP_WITHIN, |world| world.calls.joined.len() < others) {
            let text = format!("{} of {others} nodes joined by tickets", self.calls.joined.len());
            self.checks.violation(self.queue.now(), "set-up", text);
        }
        if self.scenario.witnesses > 1 {
            let witnesses = self.roles.witnesses.iter().skip(1);
            let witnesses = witnesses.map(|w| self.nodes[*w as usize].id).collect();
            self.probe(0, Probe::Handover, Command::Handover { witnesses });
            if !self.run_while(SETUP_WITHIN, |world| !world.calls.handed_over) {
                let text = String::from("the founder did not hand over");
                self.checks.violation(self.queue.now(), "set-up", text);
            }
        }
        self.queue.now() + 1_000_000
    }

    /// Runs while a condition holds, in steps of 100 ms. False if it still held after the time.
    pub(super) fn run_while(&mut self, within: Micros, holds: impl Fn(&World) -> bool) -> bool {
        let limit = self.queue.now() + within.0;
        while holds(self) {
            if self.queue.now() >= limit {
                return false;
            }
            let until = self.queue.now() + 100_000;
            self.run_until(until);
            if self.queue.now() < until {
                return !holds(self);
            }
        }
        true
    }

    /// Everything is repaired; nothing new goes wrong but messages that are lost.
    pub(super) fn rest(&mut self, began: &WallClock) {
        self.network.cut(None);
        let limit = self.queue.now() + self.scenario.settle_within.0;
        loop {
            let unsettled = self.unsettled();
            let Some(what) = unsettled else { return };
            if self.is_caught() {
                return;
            }
            if self.queue.now() >= limit {
                let text = format!(
                    "not settled {} s after the last fault: {what}",
                    self.scenario.settle_within.0 / 1_000_000
                );
                return self.checks.violation(self.queue.now(), "convergence", text);
            }
            self.run_until(self.queue.now() + 1_000_000);
            self.change_witnesses();
            self.progress(began);
        }
    }

    /// What still moves, if anything does.
    fn unsettled(&self) -> Option<String> {
        if let Some(node) = (0..self.nodes.len() as u32).find(|n| !self.is_up(*n)) {
            return Some(format!("node {node} is down"));
        }
        if !self.calls.is_idle() {
            return Some(format!("{} calls are open", self.calls.open()));
        }
        if let Some(text) = self.checks.open_escrow(&self.nodes) {
            return Some(text);
        }
        if let Some(text) = self.checks.below_factor(&self.scenario, &self.nodes) {
            return Some(text);
        }
        if self.checks.expects_conflicts() {
            return None;
        }
        if let Some(wanted) = self.scenario.checkpoints {
            return self.checks.checkpoints_lag(wanted, &self.nodes);
        }
        // Who took a checkpoint's states has no certificates of before them: what those came to has to be equal,
        // and elsewhere what lies on the disks as well.
        let prints = self.nodes.iter().map(|node| {
            let ledger = node.peer.as_ref().and_then(Peer::ledger);
            let all = ledger.is_none_or(|ledger| ledger.base().is_none());
            let disk = all.then(|| node.disk.fingerprint(edge_swarm::Table::Certificates));
            (ledger.map(edge_ledger::Ledger::frontier_digest), disk)
        });
        let prints: Vec<_> = prints.collect();
        let (first, whole) = (prints[0].0, prints.iter().find_map(|(_, disk)| *disk));
        let same = |(frontier, disk): &&(_, Option<u64>)| {
            *frontier == first && (disk.is_none() || *disk == whole)
        };
        let differ = prints.len() - prints.iter().filter(same).count();
        (differ > 0).then(|| format!("{differ} ledgers differ from that of node 0"))
    }

    /// The founder replaces one witness by another, again and again, as often as the scenario says.
    fn change_witnesses(&mut self) {
        let Some(wanted) = self.scenario.checkpoints else { return };
        let ledger = self.nodes[0].peer.as_ref().and_then(Peer::ledger);
        let Some(set) = ledger.map(|ledger| ledger.witness_set().clone()) else { return };
        let done = set.version.saturating_sub(2) as usize;
        if done >= wanted.changes || self.calls.waits_for_change() {
            return;
        }
        // The two-faced one stays: the last witness of the first set.
        let founder = self.nodes[0].id;
        let faulty = self.twofaced.as_ref().map(TwoFaced::id);
        let stays = |node: &NodeId| *node == founder || Some(*node) == faulty;
        let Some(leaves) = set.members.iter().find(|member| !stays(member)).copied() else {
            return;
        };
        let joins = self.nodes.iter().map(|node| node.id).filter(|node| !set.contains(node));
        let Some(joins) = joins.skip(done).step_by(3).next() else { return };
        let others = set.members.iter().copied().filter(|m| *m != leaves && *m != founder);
        let witnesses = others.chain([joins]).collect();
        self.probe(0, Probe::Change, Command::Handover { witnesses });
    }

    /// Cheats and their helpers act.
    pub(super) fn on_cheat(&mut self) {
        let now = self.queue.now();
        let Some(cheats) = &mut self.cheats else { return };
        cheats.act(now, &self.nodes);
        self.cheats_speak();
        self.queue.after(ACT_EVERY, Happening::Cheat);
    }

    fn ask_at_the_end(&mut self) {
        let now = self.queue.now();
        for (collection, owner, _) in self.checks.acknowledged_ids() {
            let action = workload::last_search(collection, self.seed);
            self.plan(Step { at: now, node: owner, action, tries: 0 });
        }
        self.probe_all();
        if !self.run_while(PROBES_WITHIN, |world| !world.calls.is_idle()) {
            let text = format!("{} calls at the end have no answer", self.calls.open());
            self.checks.violation(self.queue.now(), "tasks-end", text);
        }
    }

    /// Checks made while the run goes on.
    pub(super) fn look(&mut self) {
        let now = self.queue.now();
        for (node, what) in self.calls.overdue(now) {
            let text = format!("node {node} does not answer: {what}");
            self.checks.violation(now, "tasks-end", text);
        }
        let one = (now / LOOK_EVERY.0) as usize % self.nodes.len();
        self.checks.look(now, &self.nodes, one);
        self.queue.after(LOOK_EVERY, Happening::Look);
    }

    pub(super) fn progress(&self, began: &WallClock) {
        if self.options.progress {
            eprintln!(
                "{:>7.1} s virtual, {:>6.1} s real, {} events, {} calls done, {} open, {} violations",
                self.queue.now() as f64 / 1e6,
                began.elapsed().as_secs_f64(),
                self.events,
                self.calls.verified,
                self.calls.open(),
                self.checks.violations().len(),
            );
        }
    }
}
