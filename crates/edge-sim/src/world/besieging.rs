//! The course of `attack/eclipse`.

use std::time::Instant as WallClock;

use edge_base::{EscrowId, Micros, codec};
use edge_ledger::{BlockKind, Certificate};
use edge_swarm::{Answer, Command, Input, Output, Table};

use super::{Happening, World, calls::Probe};
use crate::{queue::Instant, replay, siege, workload};

/// What the victim asks for while it hears attackers only.
const TASKS: usize = 40;
/// ... and at once, when it begins.
const SOON: usize = 16;
/// The simulator's question.
const QUESTION: u64 = u64::MAX - 8;

impl World {
    /// Plans escrows of the inviter and of the victim that are open when the siege begins.
    pub(super) fn plan_siege(&mut self, at: Instant) {
        let (Some(siege), Some(sybils)) = (&self.siege, &self.sybils) else { return };
        let (node, probe) = (sybils.inviter, Probe::Errand);
        // The victim has an escrow open as well: it can pay whoever is left.
        let (victim, before) = (siege.victim, Micros::from_secs(4));
        for step in workload::tasks_of(victim, SOON, at - before.0, before, self.seed ^ 2) {
            self.plan(step);
        }
        for step in workload::tasks_of(node, 3, at - 4_000_000, Micros::from_secs(2), self.seed) {
            let command = Box::new(step.action.command());
            let probe = probe.clone();
            self.queue.at(step.at, Happening::Command { node, probe, command });
        }
    }

    /// Everything between the victim and others is lost but what attackers send, for a time.
    pub(super) fn besiege(&mut self, began: &WallClock) {
        let Some(siege) = &self.siege else { return };
        let victim = siege.victim;
        let members = self.nodes.len() as u64 - 1 + self.sybils.as_ref().map_or(0, |s| s.len());
        let interval = 2_000_000.max(members * 100_000);
        let now = self.queue.now();
        let deadline = now + siege::INTERVALS * interval;
        let end = deadline + siege::LONGER.0;
        if let Some(recorder) = &mut self.recorder {
            recorder.stop();
        }
        if let Some(sybils) = &mut self.sybils {
            sybils.always = true;
            self.network.bridge(sybils.inviter);
        }
        let sides = (0..self.nodes.len() as u32).map(|node| node == victim).collect();
        self.network.cut(Some(sides));
        if let Some(siege) = &mut self.siege {
            siege.began = Some((now, deadline));
        }
        let within = Micros(end - now - 10_000_000);
        for step in workload::tasks_of(victim, SOON, now, Micros::from_secs(8), self.seed ^ 3) {
            self.plan(step);
        }
        for step in workload::tasks_of(victim, TASKS, now + 100_000, within, self.seed ^ 1) {
            self.plan(step);
        }
        let mut turn = 0u64;
        while self.queue.now() < end {
            self.run_until(self.queue.now() + siege::ACT_EVERY.0);
            turn += 1;
            self.press(victim, turn);
            if turn.is_multiple_of(20) {
                self.progress(began);
            }
        }
        if let Some(siege) = &mut self.siege {
            siege.over = true;
        }
        self.rest(began);
    }

    fn press(&mut self, victim: u32, turn: u64) {
        let now = self.queue.now();
        let isolated = self.says_isolated(victim);
        if let Some(siege) = &mut self.siege {
            siege.on_status(now, isolated);
        }
        // Once what was under way when it began has arrived.
        if turn > 2
            && let Some(changed) = self.show_once(victim)
            && let Some(siege) = &mut self.siege
        {
            siege.on_shown(&changed);
        }
        if let (Some(escrow), Some(sybils)) = (self.ended_escrow(), &self.sybils) {
            let (from, to) = (sybils.inviter, self.nodes[victim as usize].id);
            let (inviter, pool) = (&self.nodes[from as usize], self.checks.pool());
            let Some(siege) = &mut self.siege else { return };
            let frame = siege.work(inviter, to, escrow, &pool);
            self.queue.after(Micros(20_000), Happening::Frame { from, to: victim, frame });
        }
    }

    /// Whether a node says that it is isolated.
    fn says_isolated(&mut self, number: u32) -> bool {
        self.input(number, Input::Tick);
        let now = self.queue.now();
        let node = &mut self.nodes[number as usize];
        let local = node.clock.local(now);
        let Some(peer) = &mut node.peer else { return false };
        peer.handle(local, Input::Command { call: QUESTION, command: Command::Status });
        let mut isolated = false;
        let outputs: Vec<Output> = std::iter::from_fn(|| peer.poll()).collect();
        for output in outputs {
            match output {
                Output::Answer { call: QUESTION, answer: Ok(Answer::Status(status)) } => {
                    isolated = status.isolated.is_some();
                }
                output => self.output(number, output),
            }
        }
        isolated
    }

    /// An escrow of the inviter that ended where the victim does not hear of it.
    fn ended_escrow(&self) -> Option<EscrowId> {
        let siege = self.siege.as_ref()?;
        let inviter = self.nodes[self.sybils.as_ref()?.inviter as usize].id;
        let of = |node: u32| -> Vec<Certificate> {
            let rows = self.nodes[node as usize].disk.rows(Table::Certificates);
            let rows = rows.into_iter().filter(|(key, _)| key.starts_with(&inviter.0));
            rows.filter_map(|(_, value)| codec::decode(value).ok()).collect()
        };
        let opened = of(siege.victim).into_iter().filter_map(|certificate| {
            let opens = matches!(certificate.body().kind, BlockKind::Escrow { .. });
            opens.then(|| EscrowId(certificate.id()))
        });
        let ended: Vec<EscrowId> =
            of(0).iter().filter_map(|certificate| certificate.body().kind.ends()).collect();
        let known: Vec<EscrowId> =
            of(siege.victim).iter().filter_map(|c| c.body().kind.ends()).collect();
        opened.into_iter().find(|escrow| ended.contains(escrow) && !known.contains(escrow))
    }

    /// Shows one recorded frame to a node; what that changed.
    pub(super) fn show_once(&mut self, number: u32) -> Option<Vec<String>> {
        let recorder = self.recorder.as_mut()?;
        let attacker = self.nodes[recorder.attacker as usize].id;
        let (kind, shown) = recorder.draw(attacker)?;
        // What is due anyway is done before.
        self.input(number, Input::Tick);
        let now = self.queue.now();
        let node = &mut self.nodes[number as usize];
        let local = node.clock.local(now);
        let peer = node.peer.as_mut()?;
        let (changed, outputs) = replay::show(peer, &node.disk, local, shown, &attacker);
        if let Some(recorder) = &mut self.recorder {
            recorder.judge(&format!("node {number}"), kind, &changed);
        }
        for output in outputs {
            self.output(number, output);
        }
        self.input(number, Input::Tick);
        Some(changed)
    }
}
