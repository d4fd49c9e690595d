//! What goes wrong: crashes, restarts, cuts and lost disks, planned from the seed.

use edge_base::{Credits, Micros, Rng, SecretKey};
use edge_swarm::{Command, Table};

use super::{Happening, World, calls::Probe};
use crate::queue::Instant;

/// A connection across a cut is given up after between these.
const GIVE_UP: (Micros, Micros) = (Micros::from_secs(3), Micros::from_secs(15));
/// A crash is noticed at the other ends of connections within this.
const NOTICE: Micros = Micros::from_secs(3);
/// A crashed node is down for at most this.
const DOWN: Micros = Micros::from_secs(15);
/// A killed process is down for at most this.
const KILLED: Micros = Micros::from_secs(2);
/// A kill that finds nobody up is put off for so long.
const AGAIN: Micros = Micros::from_millis(50);
/// How far a clock is set.
const CLOCK_JUMP_US: i64 = 3_600_000_000;
/// Keys that one node goes through.
const STEPS_MAX: u32 = 8;
/// How long the process takes that goes on under the next key.
pub(crate) const NEXT_KEY: Micros = Micros::from_millis(300);

/// One thing that goes wrong, or its end.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A process is killed; it starts again after this.
    Crash { node: u32, down: Micros },
    /// Some process is killed, every second time one with a change that is not durable.
    Kill,
    /// It starts from its disk.
    Restart { node: u32 },
    /// Some member that may gives its key up for a new one.
    Rotate,
    /// The network falls apart into two sides.
    Cut { sides: Vec<bool> },
    /// The network is whole.
    Heal,
    /// A holder of copies that is neither witness nor requester loses its disk.
    LoseHolder,
    /// A node loses its disk and joins again by a ticket.
    LoseDisk { node: u32 },
    /// Somebody sets a node's clock.
    SetClock { node: u32, by_us: i64 },
}

impl World {
    /// Plans what goes wrong from `start` on, within a time. Returns when the last of it is over.
    pub(crate) fn plan_faults(&mut self, start: Instant, within: Micros) -> Instant {
        let mut rng = Rng::derive(self.seed, "faults");
        let faults = self.scenario.faults;
        let mut last = start;
        let mut plan: Vec<(Instant, Fault)> = Vec::new();
        let slots = 2 * faults.partitions as u64 + 1;
        for cut in 0..faults.partitions as u64 {
            let at = start + within.0 * (2 * cut + 1) / slots + rng.below(within.0 / slots / 4 + 1);
            let share = 20 + rng.below(31);
            let sides = (0..self.nodes.len()).map(|_| rng.chance(share, 100)).collect();
            plan.push((at, Fault::Cut { sides }));
            plan.push((at + faults.partition.0, Fault::Heal));
        }
        for node in self.roles.crashing.clone() {
            let at = start + within.0 / 10 + rng.below(within.0 * 9 / 10 + 1);
            let down = Micros(200_000 + rng.below(DOWN.0));
            plan.push((at, Fault::Crash { node, down }));
        }
        for _ in 0..faults.kills {
            plan.push((start + rng.below(within.0 + 1), Fault::Kill));
            last = last.max(start + within.0 + KILLED.0);
        }
        for _ in 0..faults.rotations {
            plan.push((start + rng.below(within.0 + 1), Fault::Rotate));
        }
        if faults.crash_witnesses {
            let mut witnesses = self.roles.witnesses.clone();
            let most = witnesses.len().saturating_sub(1) / 3;
            // As many at the same time as the set can bear, again and again.
            for round in 0..4 {
                rng.shuffle(&mut witnesses);
                let begin = start + within.0 * (2 * round + 1) / 8;
                for node in witnesses.iter().take(most) {
                    let at = begin + rng.below(500_000);
                    let down = Micros(500_000 + rng.below(within.0 / 8));
                    plan.push((at, Fault::Crash { node: *node, down }));
                }
            }
        }
        if faults.lost_disks {
            plan.push((start + within.0 / 2, Fault::LoseHolder));
            let plain = |n: &&u32| **n != 0 && !self.roles.requesters.contains(*n);
            if let Some(node) = self.roles.witnesses.iter().find(plain) {
                plan.push((start + within.0 / 3, Fault::LoseDisk { node: *node }));
            }
            last = last.max(start + within.0 / 2 + 10_000_000);
        }
        if faults.lost_owner
            && let Some(owner) = self.roles.requesters.first()
        {
            plan.push((start + within.0 / 2, Fault::LoseDisk { node: *owner }));
            last = last.max(start + within.0 / 2 + 10_000_000);
        }
        if faults.clock_jump_percent > 0 {
            // A generator of its own: other faults are the same with and without this one.
            let mut rng = Rng::derive(self.seed, "clock-jumps");
            let mut nodes: Vec<u32> = (0..self.nodes.len() as u32).collect();
            rng.shuffle(&mut nodes);
            let count = nodes.len() * faults.clock_jump_percent as usize / 100;
            for (n, node) in nodes.into_iter().take(count).enumerate() {
                let by_us = if n % 2 == 0 { CLOCK_JUMP_US } else { -CLOCK_JUMP_US };
                let at = start + rng.below(within.0 + 1);
                plan.push((at, Fault::SetClock { node, by_us }));
            }
        }
        for (at, fault) in plan {
            let over = match &fault {
                Fault::Crash { down, .. } => at + down.0,
                _ => at,
            };
            last = last.max(over);
            self.queue.at(at, Happening::Fault(fault));
        }
        last
    }

    pub(super) fn on_fault(&mut self, fault: Fault) {
        self.note(6, 0, 0);
        if self.options.trace {
            eprintln!("{:>12}    ! {fault:?}", self.queue.now());
        }
        match fault {
            Fault::Crash { node, down } => {
                self.crash(node);
                self.queue.after(down, Happening::Fault(Fault::Restart { node }));
            }
            Fault::Kill => {
                let up = |n: &u32| self.is_up(*n);
                let mut among: Vec<u32> = (0..self.nodes.len() as u32).filter(up).collect();
                if self.rng.chance(1, 2) {
                    let writing = |n: &u32| {
                        let disk = &self.nodes[*n as usize].disk;
                        disk.written() != disk.synced()
                    };
                    let some: Vec<u32> = among.iter().copied().filter(writing).collect();
                    among = if some.is_empty() { among } else { some };
                }
                match self.rng.pick(&among).copied() {
                    Some(node) => {
                        self.kills += 1;
                        let down = Micros(1_000 + self.rng.below(KILLED.0));
                        self.on_fault(Fault::Crash { node, down });
                    }
                    // Everybody is down just now.
                    None => self.queue.after(AGAIN, Happening::Fault(Fault::Kill)),
                }
            }
            Fault::Rotate => self.rotate_some(),
            Fault::Restart { node } => {
                self.boot(node);
                self.ask_again(node);
            }
            Fault::Cut { sides } => {
                self.network.cut(Some(sides));
                for (a, b) in self.network.separated() {
                    let range = GIVE_UP.1.0 - GIVE_UP.0.0;
                    let after = Micros(GIVE_UP.0.0 + self.rng.below(range));
                    self.queue.after(after, Happening::TimedOut { a, b });
                }
            }
            Fault::Heal => self.network.cut(None),
            Fault::LoseHolder => {
                let holder = self.holder_to_lose();
                if let Some(node) = holder {
                    self.on_fault(Fault::LoseDisk { node });
                }
            }
            Fault::LoseDisk { node } => {
                self.crash(node);
                let lost = &mut self.nodes[node as usize];
                lost.disk.lose();
                // A witness without its vote log never votes again under this set.
                lost.may_vote = false;
                lost.lost_disk = true;
                self.checks.on_lost_disk(node);
                self.invite(node, Credits::ZERO);
            }
            Fault::SetClock { node: number, by_us } => {
                let now = self.queue.now();
                let node = &mut self.nodes[number as usize];
                let alarm = node.wake.take().map(|at| node.clock.local(at));
                node.clock.set(now, by_us);
                // Whoever waits for a time waits until the clock shows it.
                if let Some(alarm) = alarm.filter(|_| node.peer.is_some()) {
                    let at = node.clock.global(alarm).max(now + 1);
                    node.wake = Some(at);
                    let life = node.life;
                    self.queue.at(at, Happening::Wake { node: number, life });
                }
            }
        }
    }

    /// A process is killed.
    pub(crate) fn crash(&mut self, number: u32) {
        if !self.is_up(number) {
            return;
        }
        self.note(7, number, 0);
        let now = self.queue.now();
        let held = self.rng.chance(1, 2);
        let node = &mut self.nodes[number as usize];
        node.stop();
        self.checks.on_stopped_node(number);
        node.disk.crash(now, held);
        self.interrupt(number);
        for other in self.network.stop(number) {
            let after = Micros(50_000 + self.rng.below(NOTICE.0));
            self.queue.after(after, Happening::Noticed { node: other, other: number });
        }
    }

    /// Has a member begin to give its key up; asked again, one goes on with the key that it has begun with.
    fn rotate_some(&mut self) {
        let may = |n: &u32| {
            let node = &self.nodes[*n as usize];
            *n != 0
                && self.is_up(*n)
                && !self.roles.witnesses.contains(n)
                && node.rotated < STEPS_MAX
        };
        let among: Vec<u32> = (0..self.nodes.len() as u32).filter(may).collect();
        let Some(number) = self.rng.pick(&among).copied() else { return };
        let fresh = SecretKey::from_seed(self.rng.bytes());
        let heir = self.nodes[number as usize].heir.get_or_insert(fresh).clone();
        self.probe(number, Probe::Rotated, Command::Rotate { heir: Box::new(heir) });
    }

    fn holder_to_lose(&self) -> Option<u32> {
        let plain = |n: &u32| {
            !self.roles.witnesses.contains(n) && !self.roles.requesters.contains(n) && *n != 0
        };
        let copies = |n: &u32| {
            let rows = self.nodes[*n as usize].disk.rows(Table::Shards);
            rows.iter().filter(|(key, _)| key.starts_with(b"r")).count()
        };
        (0..self.nodes.len() as u32).filter(plain).max_by_key(copies).filter(|n| copies(n) > 0)
    }

    /// Has the founder write a ticket for a node, which starts with it.
    pub(crate) fn invite(&mut self, node: u32, credits: Credits) {
        let command = Command::Invite { owner: false, credits };
        self.probe(0, Probe::Ticket { node }, command);
    }
}
