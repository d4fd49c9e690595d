//! How much a peer holds of everything that grows, beside the bound of each.

use super::Peer;

/// One collection of a peer, as metrics and the simulator see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    /// What is held.
    pub what: &'static str,
    /// How many, or how many bytes.
    pub count: usize,
    /// Never more than this.
    pub limit: usize,
}

impl Peer {
    /// How much this peer holds of everything that peers or callers can make grow.
    pub fn held(&self) -> Vec<Holding> {
        let mut held = Vec::with_capacity(24);
        let mut add = |what, count, limit| held.push(Holding { what, count, limit });
        self.members.hold(&mut add);
        self.jobs.hold(&mut add);
        self.tasks.hold(&mut add);
        self.searches.hold(&mut add);
        self.sessions.hold(&mut add);
        self.content.hold(&mut add);
        self.faults.hold(&mut add);
        self.equivocations.hold(&mut add);
        self.answers.hold(&mut add);
        self.promises.hold(&mut add);
        self.coherence.hold(&mut add);
        self.staking.hold(&mut add);
        self.checkpoints.hold(&mut add);
        self.standing.hold(&mut add);
        self.outflow.hold(&mut add);
        self.wishes.hold(&mut add);
        self.offences.hold(&mut add);
        self.audits.hold(&mut add);
        self.uptime.hold(&mut add);
        self.economy.hold(&mut add);
        self.shards.hold(&mut add);
        if let Some(bank) = &self.bank {
            bank.hold(&mut add);
        }
        add("pieces of work", self.works.len(), super::WORKS_MAX * 2);
        add("reads", self.loads.len(), super::WORKS_MAX);
        // Each of these has a timer; one that ends may leave its last one behind.
        let timed = self.tasks.all.len()
            + self.jobs.len()
            + self.searches.len()
            + self.sessions.timed()
            + self.content.fetches()
            + self.faults.open()
            + 2 * self.shards.len()
            + self.standing.bans();
        add("timers", self.timers.len(), 64 + 4 * timed);
        held
    }
}
