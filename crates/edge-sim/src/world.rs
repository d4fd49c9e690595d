//! The world: nodes, their network and what happens to them, one event after the other.

use std::{collections::HashMap, sync::Arc, time::Instant as WallClock};

use edge_base::{Digest, Micros, NodeId, Rng, Verifier};
use edge_swarm::{
    Answer, CallId, Command, Event as PeerEvent, Input, LoadId, Output, Peer, Refusal, Ticket,
    Urgency, WorkId, frame::FrameKind, tuner::Policy,
};

use crate::{
    cheat::Cheats,
    checks::Checks,
    clock::Clock,
    copying::{Copiers, Undone, pure_payload},
    flood::{Floods, Waiting},
    forking::Forkers,
    frames::Frames,
    minted::Minted,
    minting::Minters,
    mutant::{Mutant, Rogue},
    network::{Network, mix},
    node::{Held, LiesTold, Node},
    queue::{Instant, Queue},
    replay::Recorder,
    scenario::Scenario,
    siege::Siege,
    sybil::{self, Sybils},
    twofaced::TwoFaced,
    workload::Step,
};

mod besieging;
mod calls;
mod course;
mod faults;
mod forks;
mod line;
mod making;
mod replaying;

use calls::Calls;
pub(crate) use calls::Probe;
use faults::{Fault, NEXT_KEY};
pub(crate) use making::Roles;

/// Outputs one input may lead to: a guard against peers that never stop.
const OUTPUTS_MAX: usize = 200_000;

/// What can be chosen about a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Neither make nor check signatures: measures the state machine alone.
    pub no_signatures: bool,
    /// Print every input and output.
    pub trace: bool,
    /// A deliberate defect that a checker must find.
    pub mutant: Option<Mutant>,
    /// Switch off what an attack is defended against with.
    pub no_defence: bool,
    /// Measure what handling each kind of frame takes, every signature computed.
    pub frames: bool,
    /// What tunes audits and budgets.
    pub tuner: Policy,
    /// The share of each batch that requesters make of known texts, in percent, at most 50.
    pub canaries: u64,
    /// Print progress.
    pub progress: bool,
}

/// What happens at a time.
pub(crate) enum Happening {
    Frame {
        from: u32,
        to: u32,
        frame: Vec<u8>,
    },
    Gossip {
        from: u32,
        to: u32,
        frame: Arc<[u8]>,
    },
    Wake {
        node: u32,
        life: u32,
    },
    Synced {
        node: u32,
        life: u32,
    },
    Worked {
        node: u32,
        life: u32,
        work: WorkId,
    },
    Loaded {
        node: u32,
        life: u32,
        load: LoadId,
        value: Option<Vec<u8>>,
    },
    Dial {
        a: u32,
        b: u32,
    },
    Linked {
        a: u32,
        b: u32,
        lives: (u32, u32),
    },
    TimedOut {
        a: u32,
        b: u32,
    },
    Noticed {
        node: u32,
        other: u32,
    },
    Fault(Fault),
    Step(Box<Step>),
    Stop {
        call: CallId,
    },
    Command {
        node: u32,
        probe: Probe,
        command: Box<Command>,
    },
    Look,
    Cheat,
    /// An identity without a peer says something.
    Said {
        from: NodeId,
        to: u32,
        frame: Vec<u8>,
    },
    Sybil,
    Flood,
    /// Those who want to mint act.
    Mint,
    /// Those who fork logs act.
    Fork,
    /// A disk is restored from an old copy.
    Restore,
    /// The thread of a peer is free for the next that waits.
    Handle {
        node: u32,
        life: u32,
    },
}

/// A run in progress.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) options: Options,
    pub(crate) queue: Queue<Happening>,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) checks: Checks,
    pub(crate) calls: Calls,
    pub(crate) roles: Roles,
    pub(crate) rogue: Option<Rogue>,
    pub(crate) cheats: Option<Cheats>,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) copiers: Option<Copiers>,
    pub(crate) sybils: Option<Sybils>,
    pub(crate) siege: Option<Siege>,
    pub(crate) twofaced: Option<TwoFaced>,
    pub(crate) frames: Option<Frames>,
    pub(crate) floods: Option<Floods>,
    pub(crate) minters: Option<(Minters, Minted)>,
    pub(crate) forkers: Option<Forkers>,
    numbers: HashMap<NodeId, u32>,
    verifier: Verifier,
    rng: Rng,
    outputs: Vec<Output>,
    lies_told: LiesTold,
    /// What the tasks are about, for an attack.
    pub(crate) inputs: Vec<Digest>,
    /// A digest of everything that happened: equal for equal seeds.
    pub(crate) happened: u64,
    pub(crate) events: u64,
    /// Processes that were killed at random.
    pub(crate) kills: u64,
}

impl World {
    pub(crate) fn number(&self, id: &NodeId) -> Option<u32> {
        // A key that gave its place to another is nowhere.
        self.numbers.get(id).copied().filter(|number| self.nodes[*number as usize].id == *id)
    }

    /// Handles events until the queue is empty or the time has come.
    pub(crate) fn run_until(&mut self, until: Instant) {
        while self.queue.now() <= until {
            let Some(happening) = self.queue.pop() else { return };
            self.events += 1;
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Frame { from, to, frame } => self.on_frame(from, to, frame),
            Happening::Gossip { from, to, frame } => {
                self.note(1, to, frame.len() as u64);
                if let Some(copiers) = &mut self.copiers {
                    copiers.overhear(&frame);
                }
                if let Some(forkers) = &mut self.forkers
                    && !forkers.hears(from, to, &frame)
                {
                    return;
                }
                self.frame_input(from, to, true, frame.to_vec());
            }
            Happening::Wake { node, life } => {
                let now = self.queue.now();
                let it = &mut self.nodes[node as usize];
                if it.life == life && it.wake == Some(now) {
                    it.wake = None;
                    self.input(node, Input::Tick);
                }
            }
            Happening::Synced { node, life } => self.on_synced(node, life),
            Happening::Worked { node, life, work } => {
                let it = &mut self.nodes[node as usize];
                if it.life != life {
                    return;
                }
                if let Some((outcome, payload)) = it.end_work(work) {
                    self.note(2, node, work);
                    if let (Some(copiers), Some(payload), Ok(answer)) =
                        (&mut self.copiers, payload, &outcome)
                    {
                        copiers.on_computed(node, payload, answer);
                    }
                    self.input(node, Input::Executed { work, outcome });
                    self.copiers_act();
                }
                self.start_work(node);
            }
            Happening::Loaded { node, life, load, value } => {
                if self.nodes[node as usize].life == life {
                    self.input(node, Input::Loaded { load, value });
                }
            }
            Happening::Dial { a, b } => self.on_dial(a, b),
            Happening::Linked { a, b, lives } => self.on_linked(a, b, lives),
            Happening::TimedOut { a, b } => self.on_timed_out(a, b),
            Happening::Noticed { node, other } => self.on_noticed(node, other),
            Happening::Fault(fault) => self.on_fault(fault),
            Happening::Step(step) => self.on_step(*step),
            Happening::Stop { call } => self.on_stop(call),
            Happening::Command { node, probe, command } => self.probe(node, probe, *command),
            Happening::Look => self.look(),
            Happening::Cheat => self.on_cheat(),
            Happening::Said { from, to, frame } => {
                self.note(12, to, frame.len() as u64);
                self.input(to, Input::Frame { from, bytes: frame });
            }
            Happening::Sybil => self.on_sybil(),
            Happening::Flood => self.on_flood(),
            Happening::Mint => self.on_mint(),
            Happening::Fork => self.on_fork(),
            Happening::Restore => self.on_restore(),
            Happening::Handle { node, life } => self.handle_next(node, life),
        }
    }

    /// Mixes something that happened into the digest.
    pub(crate) fn note(&mut self, what: u64, node: u32, detail: u64) {
        let now = self.queue.now();
        self.happened =
            mix(self.happened ^ mix(now ^ what << 56) ^ mix(u64::from(node) ^ detail << 20));
    }

    // The peer.

    /// Starts the process of a node from its disk.
    pub(crate) fn boot(&mut self, number: u32) {
        let now = self.queue.now();
        let skew = self.scenario.faults.skew_ppm;
        let seed = self.rng.bytes();
        let node = &mut self.nodes[number as usize];
        if node.peer.is_some() {
            return;
        }
        node.settings.life_min = now / 1_000_000;
        node.clock = Clock::new(now, skew, &mut self.rng);
        let local = node.clock.local(now);
        let stored = node.disk.stored();
        let done = Peer::rotated(&stored);
        let before = node.id;
        if let Some(heir) = node.heir.take_if(|heir| done == Some(heir.node_id())) {
            node.id = heir.node_id();
            node.key = heir;
            node.rotated += 1;
        }
        let (id, key, settings) = (node.id, node.key.clone(), node.settings.clone());
        if id != before {
            self.numbers.insert(id, number);
            for other in 0..self.nodes.len() as u32 {
                self.input(other, Input::Disconnected { node: before });
            }
        }
        let node = &mut self.nodes[number as usize];
        match Peer::new(key, settings, stored, self.verifier.clone(), seed, local) {
            Ok(mut peer) => {
                if !node.may_vote {
                    peer.may_vote(false);
                }
                node.peer = Some(peer);
                self.input(number, Input::Tick);
            }
            Err(error) => {
                let text = format!("node {number} cannot start: {error}");
                self.checks.violation(now, "restart", text);
            }
        }
    }

    /// Gives a node an input and does what it wants done.
    pub(crate) fn input(&mut self, number: u32, input: Input) {
        let now = self.queue.now();
        let node = &mut self.nodes[number as usize];
        let Some(peer) = &mut node.peer else { return };
        if self.options.trace {
            eprintln!("{now:>12} {number:>4} < {}", crate::trace::input(&input));
        }
        peer.handle(node.clock.local(now), input);
        let mut outputs = std::mem::take(&mut self.outputs);
        while let Some(output) = peer.poll() {
            outputs.push(output);
            if outputs.len() > OUTPUTS_MAX {
                let text = format!("node {number} gave {OUTPUTS_MAX} outputs to one input");
                self.checks.violation(now, "bounds", text);
                break;
            }
        }
        for output in outputs.drain(..) {
            self.output(number, output);
        }
        self.outputs = outputs;
        self.start_sync(number);
        self.start_work(number);
    }

    fn output(&mut self, number: u32, output: Output) {
        let now = self.queue.now();
        if self.options.trace {
            eprintln!("{now:>12} {number:>4} > {}", crate::trace::output(&output));
        }
        match output {
            Output::Persist(write) => {
                self.checks.on_persist(now, &write);
                if let Some(cheats) = &mut self.cheats {
                    cheats.on_persist(now, number, &write);
                }
                self.nodes[number as usize].disk.write(write);
            }
            Output::Send { to, frame } => self.hold(number, Held::Send { to, frame }),
            Output::Publish { frame } => {
                self.hold(number, Held::Publish { frame: frame.into() });
            }
            Output::Answer { call, answer } => {
                self.hold(number, Held::Answer { call, answer: Box::new(answer) });
            }
            Output::Execute { work, what, urgency } => {
                if let Some(copiers) = &mut self.copiers
                    && let Some(payload) = pure_payload(&what).filter(|_| copiers.is_idle(number))
                    && urgency != Urgency::Background
                {
                    return copiers.leave_undone(Undone { node: number, work, payload });
                }
                self.nodes[number as usize].enqueue(work, what, urgency);
            }
            Output::CancelWork { work } => self.nodes[number as usize].cancel(work),
            Output::Load { load, table, key } => {
                let node = &self.nodes[number as usize];
                let (life, value) = (node.life, node.disk.read(table, &key));
                let delay = Micros(100 + self.rng.below(900));
                self.queue.after(delay, Happening::Loaded { node: number, life, load, value });
            }
            Output::Event(event) => self.on_event(number, event),
            Output::Keep { node, .. } => {
                if let Some(to) = self.number(&node)
                    && self.network.keep(number, to)
                {
                    self.queue.after(Micros(0), Happening::Dial { a: number, b: to });
                }
            }
            Output::Ban { node } => self.on_ban(number, &node),
            Output::Unban { node } => {
                if let Some(node) = self.number(&node) {
                    self.network.unban(number, node);
                }
            }
            // Links of the simulation have room for all, and gossip takes one step.
            Output::Disconnect { .. } | Output::Admit { .. } | Output::Judged { .. } => {}
            Output::WakeAt(local) => {
                let node = &mut self.nodes[number as usize];
                let at = node.clock.global(local).max(now + 1);
                if node.wake != Some(at) {
                    node.wake = Some(at);
                    let life = node.life;
                    self.queue.at(at, Happening::Wake { node: number, life });
                }
            }
        }
    }

    fn on_event(&mut self, number: u32, event: PeerEvent) {
        self.checks.on_event(self.queue.now(), number, &event);
        match event {
            PeerEvent::Joined { .. } => self.on_joined(number),
            PeerEvent::TaskStarted { task, .. } => self.calls.on_task_started(task),
            // The process ends, and one with the next key starts.
            PeerEvent::Rotated { .. } => {
                let ends = Fault::Crash { node: number, down: NEXT_KEY };
                self.queue.after(Micros(1), Happening::Fault(ends));
            }
            _ => {}
        }
    }

    // Durability.

    fn hold(&mut self, number: u32, held: Held) {
        let node = &mut self.nodes[number as usize];
        let needs = node.disk.written();
        if node.held.is_empty() && node.disk.synced() >= needs {
            self.leave(number, held);
        } else {
            node.held.push_back((needs, held));
        }
    }

    fn start_sync(&mut self, number: u32) {
        let node = &mut self.nodes[number as usize];
        if node.disk.begin_sync().is_some() {
            let life = node.life;
            let takes = Micros(200 + self.rng.below(4_800));
            self.queue.after(takes, Happening::Synced { node: number, life });
        }
    }

    fn on_synced(&mut self, number: u32, life: u32) {
        let now = self.queue.now();
        let node = &mut self.nodes[number as usize];
        if node.life != life {
            return;
        }
        node.disk.end_sync(now);
        while let Some((needs, _)) = self.nodes[number as usize].held.front() {
            if *needs > self.nodes[number as usize].disk.synced() {
                break;
            }
            if let Some((_, held)) = self.nodes[number as usize].held.pop_front() {
                self.leave(number, held);
            }
        }
        self.start_sync(number);
    }

    /// What was held until it was durable leaves the node.
    fn leave(&mut self, number: u32, held: Held) {
        if let Some(floods) = &mut self.floods
            && matches!(held, Held::Send { .. } | Held::Publish { .. })
        {
            floods.usual += 1;
        }
        match held {
            Held::Send { to, frame } => {
                if let Some(sybils) = &mut self.sybils {
                    sybils.on_leaving(&frame);
                    if sybils.has(&to) {
                        self.checks.on_send(self.queue.now(), &frame);
                        return self.reach_sybil(number, to, frame);
                    }
                }
                let now = self.queue.now();
                if let Some(siege) = self.siege.as_mut().filter(|siege| siege.victim == number) {
                    siege.on_leaving(now, &frame);
                }
                let Some(to) = self.number(&to) else { return };
                let frame = match &mut self.rogue {
                    Some(rogue) => rogue.departing(&self.checks, &self.nodes, number, frame),
                    None => frame,
                };
                self.checks.on_send(self.queue.now(), &frame);
                self.record(number, &frame);
                if let Some(copiers) = &mut self.copiers {
                    copiers.on_leaving(&frame);
                }
                self.send(number, to, frame);
            }
            Held::Publish { frame } => {
                if let Some(rogue) = &mut self.rogue {
                    rogue.publishing(&self.checks, &self.nodes, number, &frame);
                }
                self.checks.on_publish(self.queue.now(), &frame);
                self.record(number, &frame);
                self.publish(number, frame);
            }
            Held::Answer { call, answer } => self.on_answer(number, call, *answer),
        }
    }

    /// Whether a besieged node is kept from hearing what the attacker's own peer says.
    fn is_withheld(&self, from: u32, to: u32) -> bool {
        let inviter = self.sybils.as_ref().map(|sybils| sybils.inviter);
        self.siege.as_ref().is_some_and(|siege| siege.stands() && siege.victim == to)
            && inviter == Some(from)
    }

    pub(crate) fn send(&mut self, from: u32, to: u32, frame: Vec<u8>) {
        if self.is_withheld(from, to) {
            return;
        }
        let copies = self.network.carry(from, to);
        if let Some(delay) = copies[1] {
            self.queue.after(delay, Happening::Frame { from, to, frame: frame.clone() });
        }
        if let Some(delay) = copies[0] {
            self.queue.after(delay, Happening::Frame { from, to, frame });
        }
    }

    pub(crate) fn publish(&mut self, from: u32, frame: Arc<[u8]>) {
        for to in 0..self.nodes.len() as u32 {
            // Gossip reaches members; who has not joined yet hears nothing.
            let deaf = self.nodes[to as usize].peer.is_none() || self.is_withheld(from, to);
            if to == from || deaf {
                continue;
            }
            for delay in self.network.carry(from, to).into_iter().flatten() {
                self.queue.after(delay, Happening::Gossip { from, to, frame: frame.clone() });
            }
        }
    }

    fn on_frame(&mut self, from: u32, to: u32, frame: Vec<u8>) {
        self.note(3, to, frame.len() as u64 ^ u64::from(from) << 32);
        let frame = match &mut self.rogue {
            Some(rogue) => {
                rogue.remind(self.queue.now(), &self.nodes);
                let kept = rogue.arriving(&mut self.checks, &self.nodes, from, to, frame);
                self.rogue_acts();
                match kept {
                    Some(frame) => frame,
                    None => return,
                }
            }
            None => frame,
        };
        let frame = match &mut self.cheats {
            Some(cheats) => {
                let kept = cheats.arriving(&self.nodes, from, to, frame);
                self.cheats_speak();
                match kept {
                    Some(frame) => frame,
                    None => return,
                }
            }
            None => frame,
        };
        let frame = match &mut self.forkers {
            Some(forkers) => match forkers.arriving(&self.nodes, from, to, frame) {
                Some(frame) => frame,
                None => return,
            },
            None => frame,
        };
        let frame = match &mut self.minters {
            Some((minters, _)) => match minters.arriving(&self.nodes, from, to, frame) {
                Some(frame) => frame,
                None => return self.minters_speak(),
            },
            None => frame,
        };
        if let Some(copiers) = &mut self.copiers {
            copiers.arriving(&self.nodes, from, to, &frame);
        }
        let frame = match &mut self.twofaced {
            Some(faulty) => faulty.sending(from, to, frame),
            None => frame,
        };
        if self.is_up(to) {
            self.checks.on_arrival(&frame);
        }
        self.frame_input(from, to, false, frame);
        self.copiers_act();
    }

    /// An identity without a peer is sent something.
    fn reach_sybil(&mut self, from: u32, to: NodeId, frame: Vec<u8>) {
        let Some(sybils) = &mut self.sybils else { return };
        sybils.receive(from, to, &frame);
        let (inviter, said, lies) = (sybils.inviter, sybils.said(), sybils.lies());
        for (node, payload, told) in lies {
            self.checks.on_lie(node, payload, told);
        }
        for (node, to, frame) in said {
            self.checks.on_send(self.queue.now(), &frame);
            // There and back again.
            let there = self.network.carry(from, inviter)[0];
            let back = self.network.carry(inviter, to)[0];
            if let (Some(there), Some(back)) = (there, back) {
                let delay = Micros(there.0 + back.0);
                self.queue.after(delay, Happening::Said { from: node, to, frame });
            }
        }
    }

    /// Everybody is told of identities without peers, and hears of them from then on.
    fn on_sybil(&mut self) {
        let Some(sybils) = &mut self.sybils else { return };
        let inviter = sybils.inviter;
        let gossip = sybils.tell(&self.nodes[inviter as usize].key);
        for frame in gossip {
            self.publish(inviter, frame.into());
        }
        self.queue.after(sybil::TELL_EVERY, Happening::Sybil);
    }

    /// Does what copiers made up.
    fn copiers_act(&mut self) {
        let Some(copiers) = &mut self.copiers else { return };
        let (sends, inputs) = (copiers.sends(), copiers.inputs());
        self.speak(sends, Vec::new());
        for (node, input) in inputs {
            self.input(node, input);
        }
    }

    /// A frame reaches the peer of a node.
    fn frame_input(&mut self, from: u32, to: u32, published: bool, bytes: Vec<u8>) {
        if self.network.is_banned(to, from) {
            return;
        }
        if self.floods.is_some() {
            return self.wait_in_line(to, Waiting::Frame { from, published, bytes });
        }
        self.handle_frame(from, to, published, bytes);
    }

    /// The peer of a node gets a frame.
    pub(crate) fn handle_frame(&mut self, from: u32, to: u32, published: bool, bytes: Vec<u8>) {
        let (kind, length) = (FrameKind::of(&bytes), bytes.len());
        let from_id = self.nodes[from as usize].id;
        let measured = match &mut self.frames {
            Some(frames) => {
                frames.arrives(self.queue.now(), from, to, &bytes);
                Some(WallClock::now())
            }
            None => None,
        };
        self.input(
            to,
            match published {
                true => Input::Published { from: from_id, number: 0, bytes },
                false => Input::Frame { from: from_id, bytes },
            },
        );
        if let (Some(began), Some(frames)) = (measured, &mut self.frames) {
            frames.took(kind, length, began.elapsed());
        }
    }

    /// Sends what a mutant made up.
    fn rogue_acts(&mut self) {
        let Some(rogue) = &mut self.rogue else { return };
        let (sends, publications) = (rogue.sends(), rogue.publications());
        self.speak(sends, publications);
    }

    /// Sends what cheats and their helpers made up.
    pub(crate) fn cheats_speak(&mut self) {
        let Some(cheats) = &mut self.cheats else { return };
        let (sends, publications) = (cheats.sends(), cheats.publications());
        self.speak(sends, publications);
    }

    /// Sends what those who want to mint made up.
    pub(crate) fn minters_speak(&mut self) {
        let Some((minters, _)) = &mut self.minters else { return };
        let (sends, lies) = (minters.sends(), minters.lies());
        for (node, payload, told) in lies {
            self.checks.on_lie(node, payload, told);
        }
        self.speak(sends, Vec::new());
    }

    fn speak(&mut self, sends: Vec<(u32, u32, Vec<u8>)>, publications: Vec<(u32, Vec<u8>)>) {
        for (from, to, frame) in sends {
            self.send(from, to, frame);
        }
        for (from, frame) in publications {
            let frame: Arc<[u8]> = frame.into();
            self.checks.on_publish(self.queue.now(), &frame);
            self.publish(from, frame.clone());
            self.queue.after(Micros(1_000), Happening::Gossip { from, to: from, frame });
        }
    }

    // Work.

    fn start_work(&mut self, number: u32) {
        loop {
            let node = &mut self.nodes[number as usize];
            let (id, life) = (node.id, node.life);
            let Some(started) = node.start_work(&mut self.rng, &mut self.lies_told) else { return };
            if let Some(lie) = started.lie {
                self.checks.on_lie(id, lie.payload, lie.told);
            }
            let work = started.work;
            self.queue.after(started.takes, Happening::Worked { node: number, life, work });
        }
    }

    // Connections.

    pub(crate) fn is_up(&self, number: u32) -> bool {
        self.nodes[number as usize].peer.is_some()
    }

    fn lives(&self, a: u32, b: u32) -> (u32, u32) {
        (self.nodes[a as usize].life, self.nodes[b as usize].life)
    }

    fn on_dial(&mut self, a: u32, b: u32) {
        if !self.network.is_wanted(a, b) || !self.is_up(a) {
            return;
        }
        if self.network.is_banned(a, b) || self.network.is_banned(b, a) {
            return self.dial_again(a, b);
        }
        let there = if self.is_up(b) { self.network.carry(a, b)[0] } else { None };
        match there {
            Some(delay) => {
                let lives = self.lives(a, b);
                self.queue.after(delay.times(3), Happening::Linked { a, b, lives });
            }
            None => self.dial_again(a, b),
        }
    }

    fn dial_again(&mut self, a: u32, b: u32) {
        let again = Micros(500_000 + self.rng.below(1_000_000));
        self.queue.after(again, Happening::Dial { a, b });
    }

    fn on_linked(&mut self, a: u32, b: u32, lives: (u32, u32)) {
        if self.lives(a, b) != lives || self.network.is_cut(a, b) {
            return self.dial_again(a, b);
        }
        self.network.link(a, b);
        for (node, other) in [(a, b), (b, a)] {
            if self.network.believe(node, other) {
                let other = self.nodes[other as usize].id;
                self.note(4, node, 0);
                self.input(node, Input::Connected { node: other });
            }
        }
    }

    /// A cut lasted so long that a connection is given up.
    fn on_timed_out(&mut self, a: u32, b: u32) {
        if self.network.is_cut(a, b) && self.network.unlink(a, b) {
            self.on_noticed(a, b);
            self.on_noticed(b, a);
        }
    }

    /// A node bans another: their connection ends, and what is under way is not taken.
    fn on_ban(&mut self, number: u32, node: &NodeId) {
        let Some(other) = self.number(node) else { return };
        // A key that gives its place away is refused everywhere; bans here are of the machine.
        if self.nodes[other as usize].heir.is_none() {
            self.network.ban(number, other);
            self.checks.on_ban(self.queue.now(), number, other);
        }
        if self.network.unlink(number, other) {
            for (node, other) in [(number, other), (other, number)] {
                self.queue.after(Micros(1), Happening::Noticed { node, other });
            }
        }
    }

    /// A node notices that a connection is gone.
    fn on_noticed(&mut self, node: u32, other: u32) {
        if self.network.is_linked(node, other) || !self.network.disbelieve(node, other) {
            return;
        }
        self.note(5, node, u64::from(other));
        let id = self.nodes[other as usize].id;
        self.input(node, Input::Disconnected { node: id });
        self.dial_again(node, other);
        self.dial_again(other, node);
    }
}

/// Writes that make an empty disk one of a node that joins by a ticket.
pub(crate) fn join_by(ticket: &str) -> Option<Vec<edge_swarm::Write>> {
    let ticket: Ticket = ticket.parse().ok()?;
    Some(Peer::join(&ticket))
}

/// The answers a call can have.
pub(crate) type Answered = Result<Answer, Refusal>;
