//! The thread of each peer, where a run is about how busy it is: one thing after the other, each in
//! its time, and a queue before it.

use edge_base::Micros;
use edge_swarm::{CallId, Command, Input, frame::FrameKind};

use super::{Happening, World};
use crate::flood::{ACT_EVERY, DROPPED_US, Waiting, handled_us};

/// What a command takes: it is parsed before, and what it leads to is counted elsewhere.
const COMMAND_US: u64 = 30;

impl World {
    /// Something waits for the thread of a node's peer.
    pub(crate) fn wait_in_line(&mut self, node: u32, what: Waiting) {
        let Some(floods) = &mut self.floods else { return };
        let at = node as usize;
        let line = &mut floods.lines[at];
        match &what {
            Waiting::Frame { from, bytes, .. } => {
                let (from, bytes) = (Some(*from), bytes.len());
                floods.overflowed += line.push(from, bytes, what).len() as u64;
            }
            Waiting::Command { .. } => line.push_kept(None, what),
        }
        floods.longest = floods.longest.max(floods.lines[at].len());
        if !std::mem::replace(&mut floods.busy[at], true) {
            let life = self.nodes[at].life;
            self.queue.after(Micros(0), Happening::Handle { node, life });
        }
    }

    /// The thread takes the next thing; it is free again when its time has passed.
    pub(super) fn handle_next(&mut self, node: u32, life: u32) {
        let at = node as usize;
        let Some(floods) = &mut self.floods else { return };
        let next = floods.lines[at].pop();
        let Some(next) = next.filter(|_| self.nodes[at].life == life) else {
            floods.busy[at] = false;
            return;
        };
        let took = match next {
            Waiting::Frame { from, published, bytes } => {
                let kind = FrameKind::of(&bytes);
                let before = self.nodes[at].counters();
                let asked = self.nodes[at].verifier_stats().asked;
                self.handle_frame(from, node, published, bytes);
                let after = self.nodes[at].counters();
                let dropped = after.inputs_decoded == before.inputs_decoded;
                let asked = self.nodes[at].verifier_stats().asked - asked;
                if dropped { DROPPED_US } else { handled_us(kind, asked) }
            }
            Waiting::Command { call, command } => {
                self.hand_over_command(node, call, *command);
                COMMAND_US
            }
        };
        self.queue.after(Micros(took), Happening::Handle { node, life });
    }

    pub(crate) fn hand_over_command(&mut self, node: u32, call: CallId, command: Command) {
        self.calls.asking = Some(call);
        self.input(node, Input::Command { call, command });
        self.calls.asking = None;
    }

    /// Flooders send what is due.
    pub(super) fn on_flood(&mut self) {
        let now = self.queue.now();
        let pool = self.checks.pool();
        let Some(floods) = &mut self.floods else { return };
        let network = &self.network;
        let due = floods.act(now, &self.nodes, &pool, |by, who| network.is_banned(by, who));
        for (from, to, frame) in due {
            match to {
                Some(to) => self.send(from, to, frame),
                None => self.publish(from, frame.into()),
            }
        }
        self.queue.after(ACT_EVERY, Happening::Flood);
    }
}
