//! What becomes of results: the worker of the accepted one is owed its price, who gave another one is
//! accused, and what contradicts what is known beforehand is not believed.

use edge_base::{Credits, NodeId, TaskId, TaskKind};

use super::{Draw, Origin, Own, Part, Stage};
use crate::{
    message::{Evidence, FaultReport, Message},
    peer::{
        Peer,
        content::{Audience, content_digest},
    },
};

/// What a batch takes at least, in reference CPU-microseconds, before a judge is told which item is false:
/// the result that it fetches for that has a few hundred kilobytes at most.
const ITEM_UNITS_MIN: u64 = 10_000;

impl Peer {
    /// A result that contradicts what is known of it is not believed, and no single answer of anybody is
    /// from then on: either its worker lied, or what is known is wrong.
    pub(super) fn see_wrong_canaries(&mut self, id: TaskId) {
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        let canaries = &task.canaries;
        let wrong = |part: &Part| {
            part.stage == Stage::Revealed
                && part.result.as_ref().is_some_and(|result| !canaries.hold(result))
        };
        if task.parts.values().any(wrong) {
            let share = task.audit.map_or(1.0, |draw| draw.share);
            task.audit = Some(Draw { audited: true, share });
        }
    }

    /// A result of a worker is the accepted one: owe its price, and count it if something else than the
    /// worker's own word says so.
    pub(super) fn reward(&mut self, id: TaskId, worker: NodeId, checked: bool) {
        let now = self.now;
        let Some(part) = self.part_mut(id, &worker) else { return };
        let Some(assignment) = &part.assignment else { return };
        let body = &assignment.body;
        let (kind, price, escrow) = (body.kind, body.price, body.escrow);
        part.paid = if escrow.is_some() { price } else { Credits::ZERO };
        self.members.note(&worker, kind, true, checked, now);
        self.store_reputation(&worker);
        if let Some(escrow) = escrow {
            self.owe(escrow, worker, price);
        }
        let origin = self.tasks.all.get(&id).map(|t| t.origin);
        if let Some(Origin::Append { shard, seq }) = origin {
            self.on_replica_acknowledged(shard, worker, seq);
        }
    }

    /// A result differs from the accepted one: make it checkable by everybody.
    pub(super) fn accuse(&mut self, id: TaskId, worker: NodeId) {
        self.counters.results_rejected += 1;
        let Some(task) = self.tasks.all.get(&id) else { return };
        let Some(proof) = task.parts.get(&worker).and_then(Part::proof) else { return };
        let (payload_digest, payload, origin) = (task.digest, task.payload.clone(), task.origin);
        let audience = task.audience();
        self.content.keep(payload_digest, payload, audience.clone());
        let evidence = match origin {
            Origin::Append { shard, seq } => {
                let history = self.history_before(&shard, seq);
                let digest = content_digest(&history);
                self.content.keep(digest, history, Audience::Members);
                Evidence::History { history: digest }
            }
            Origin::Call(_) | Origin::Nobody => self.item_evidence(id, worker, &audience),
        };
        self.raise_fault(FaultReport { proof, evidence }, audience);
    }

    /// The first byte that differs from the accepted result, where executing one item instead of all is
    /// worth it that every judge fetches the false result, too.
    fn item_evidence(&mut self, id: TaskId, worker: NodeId, audience: &Audience) -> Evidence {
        let Some(task) = self.tasks.all.get(&id) else { return Evidence::Payload };
        let items = matches!(task.kind, TaskKind::Embedding | TaskKind::SemanticMatch);
        let told = task.parts.get(&worker).and_then(|part| part.result.clone());
        let accepted = task.decided.as_ref().and_then(|decision| decision.digest);
        let others = task.parts.values().filter_map(|part| part.result.as_ref());
        let own = match &task.own {
            Own::Done(bytes) => Some(bytes),
            Own::No | Own::Running | Own::Failed(_) => None,
        };
        let truth = others.chain(own).find(|bytes| Some(content_digest(bytes)) == accepted);
        let (Some(told), Some(truth)) = (told, truth) else { return Evidence::Payload };
        if !items || task.units < ITEM_UNITS_MIN {
            return Evidence::Payload;
        }
        let same = told.iter().zip(truth.iter()).take_while(|(a, b)| a == b).count();
        self.content.keep(content_digest(&told), told, audience.clone());
        Evidence::Item { byte: same as u64 }
    }

    /// Results that came after the decision are judged like the others.
    pub(super) fn judge_latecomers(&mut self, id: TaskId) {
        self.ask_for_reveals(id);
        let Some(task) = self.tasks.all.get_mut(&id) else { return };
        let Some(decision) = &mut task.decided else { return };
        let Some(digest) = decision.digest else { return };
        let Some(check) = &mut decision.check else { return };
        let mut fresh = Vec::new();
        for (node, part) in &task.parts {
            if let (Stage::Revealed, Some(reveal)) = (part.stage, &part.reveal)
                && !check.agreed.contains(node)
                && !check.disagreed.contains(node)
            {
                let agrees = reveal.body.digest == digest;
                let side = if agrees { &mut check.agreed } else { &mut check.disagreed };
                side.push(*node);
                fresh.push((*node, agrees));
            }
        }
        if fresh.is_empty() {
            return;
        }
        for (node, agrees) in fresh {
            if agrees {
                self.reward(id, node, true);
            } else {
                self.accuse(id, node);
            }
            self.send(node, &Message::Over { task: id, accepted: Some(digest) });
        }
        self.store_task(id);
    }
}
