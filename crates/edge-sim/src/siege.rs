//! A node that hears attackers only.
//!
//! One member invited many identities; at some moment everything between the victim and all others
//! is lost, but for what comes from that member and its identities. They work for the victim, all telling one lie;
//! they show it everything that honest nodes said before; and their inviter, which ended its escrow where
//! the victim does not hear of it, gives the victim work on that escrow.

use std::collections::BTreeSet;

use edge_base::{EscrowId, Micros, NodeId, Signed, TaskId, TaskKind};
use edge_embed::Model as _;
use edge_ledger::statement::{Assignment, task_id};
use edge_swarm::{
    command::Priority,
    message::{Message, decode_message, encode_message},
};
use edge_tasks::EmbeddingPayload;

use crate::{node::Node, outcome::Counted, queue::Instant};

/// A share of the table of the victim, in percent, by turns of the seed.
const SHARES: [u64; 3] = [30, 60, 90];
/// Intervals between adverts within which it has to be noticed.
pub(crate) const INTERVALS: u64 = 3;
/// It goes on for so long after it should have been noticed.
pub(crate) const LONGER: Micros = Micros::from_secs(30);
/// Attackers act this often.
pub(crate) const ACT_EVERY: Micros = Micros::from_millis(500);

/// How many identities are a share of a table of so many others, for a seed.
pub(crate) fn identities(honest: usize, seed: u64) -> (u64, usize) {
    let percent = SHARES[(seed % 3) as usize];
    (percent, honest * percent as usize / (100 - percent as usize))
}

/// A siege of a run.
pub(crate) struct Siege {
    pub(crate) victim: u32,
    pub(crate) percent: u64,
    /// When it began, and when it has to be noticed.
    pub(crate) began: Option<(Instant, Instant)>,
    pub(crate) over: bool,
    noticed: Option<Instant>,
    /// Work on credit that the victim took after it should have noticed, and before.
    late: BTreeSet<TaskId>,
    early: BTreeSet<TaskId>,
    issued: u64,
    given: u64,
    shown: u64,
    /// Adverts, heads, certificates and the like that the victim took for news.
    taken: Vec<String>,
}

impl Siege {
    pub(crate) fn new(victim: u32, percent: u64) -> Siege {
        Siege {
            victim,
            percent,
            began: None,
            over: false,
            noticed: None,
            late: BTreeSet::new(),
            early: BTreeSet::new(),
            issued: 0,
            given: 0,
            shown: 0,
            taken: Vec::new(),
        }
    }

    /// Whether the victim hears attackers only.
    pub(crate) fn stands(&self) -> bool {
        self.began.is_some() && !self.over
    }

    /// What the victim says of itself.
    pub(crate) fn on_status(&mut self, now: Instant, isolated: bool) {
        if isolated && self.stands() && self.noticed.is_none() {
            self.noticed = Some(now);
        }
    }

    /// What came of something old that was shown.
    pub(crate) fn on_shown(&mut self, changed: &[String]) {
        self.shown += 1;
        if !changed.is_empty() {
            self.taken.push(changed.join(", "));
        }
    }

    /// Work for the victim on an escrow that ended elsewhere.
    pub(crate) fn work(
        &mut self,
        inviter: &Node,
        victim: NodeId,
        escrow: EscrowId,
        pool: &edge_base::Digest,
    ) -> Vec<u8> {
        self.issued += 1;
        self.given += 1;
        let model = edge_embed::StaticModel::builtin().id();
        let texts = vec![format!("work that nobody pays, number {}", self.issued)];
        let bytes = EmbeddingPayload { model, texts }.encode();
        let payload = edge_base::Digest::of(&bytes);
        let kind = TaskKind::Embedding;
        let requester = inviter.id;
        let body = Assignment {
            task: task_id(&requester, self.issued, kind, &payload),
            requester,
            worker: victim,
            escrow: Some(escrow),
            price: edge_base::Credits::from_micro(1_000),
            kind,
            payload,
            payload_bytes: bytes.len() as u64,
            pins: edge_tasks::pin_of(&model),
            issued: self.issued,
        };
        encode_message(&Message::Assign {
            assignment: Signed::seal(body, &inviter.key, pool),
            payload: Some(bytes),
            priority: Priority::Normal,
            remaining: Micros::from_secs(30),
        })
    }

    /// A frame leaves the victim.
    pub(crate) fn on_leaving(&mut self, now: Instant, frame: &[u8]) {
        let Some((_, deadline)) = self.began.filter(|_| self.stands()) else { return };
        if let Ok(Message::Accepted { task }) = decode_message(frame) {
            let set = if now > deadline { &mut self.late } else { &mut self.early };
            set.insert(task);
        }
    }

    pub(crate) fn verdict(&self, lies_accepted: usize) -> (Counted, Vec<String>) {
        let mut found = Vec::new();
        let (began, deadline) = self.began.unwrap_or_default();
        let interval = (deadline - began) / INTERVALS;
        let after = self.noticed.map(|at| (at - began) as f64 / interval.max(1) as f64);
        match after {
            None => found.push("the victim did not notice".into()),
            Some(after) if self.noticed > Some(deadline) => {
                found.push(format!("the victim noticed after {after:.1} intervals"));
            }
            Some(_) => {}
        }
        if !self.late.is_empty() {
            found.push(format!("the victim worked {} times on an ended escrow", self.late.len()));
        }
        if lies_accepted > 0 {
            found.push(format!("the victim believed {lies_accepted} lies"));
        }
        for what in self.taken.iter().take(4) {
            found.push(format!("the victim took something old for news: {what}"));
        }
        let counted = Counted::of([
            ("percent", self.percent as f64),
            ("noticed_after_intervals", after.unwrap_or(f64::from(u16::MAX))),
            ("lies_accepted", lies_accepted as f64),
            ("shown", self.shown as f64),
            ("taken", self.taken.len() as f64),
            ("unpaid_work_given", self.given as f64),
            ("unpaid_work_before_noticing", self.early.len() as f64),
            ("unpaid_work_after", self.late.len() as f64),
        ]);
        (counted, found)
    }
}
