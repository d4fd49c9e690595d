//! Gossip: who may have something passed on, and what is.
//!
//! Nothing is passed on before it is looked at here, and nothing that is not signed by whom it
//! says: what comes out of [`Peer::on_gossip`] is a verdict for the transport. Whoever passes on
//! what does not hold could have seen it, since the same check was its own.

use edge_base::{NodeId, Validation};
use edge_ledger::{Certificate, Sealed};

use super::{Peer, standing::Wrong};
use crate::{
    frame::FrameKind,
    io::Output,
    message::{self, Evidence, Gossip},
};

impl Peer {
    /// Gossip that a connected node brings.
    pub(super) fn on_gossip(&mut self, from: NodeId, number: u64, bytes: &[u8]) {
        let validation = self.weigh(from, bytes);
        match validation {
            Validation::Accept => {}
            Validation::Ignore => self.counters.gossip_ignored += 1,
            Validation::Reject => {
                self.counters.gossip_rejected += 1;
                self.wrong(&from, Wrong::BadGossip);
            }
        }
        self.output(Output::Judged { number, validation });
    }

    fn weigh(&mut self, from: NodeId, bytes: &[u8]) -> Validation {
        // Only members have anything passed on. One that joined a moment ago may not be known yet.
        let banned = self.is_shut_out(&from);
        if banned || !self.members.is_member(&from) {
            self.counters.inputs_refused += 1;
            return Validation::Ignore;
        }
        let kind = FrameKind::of(bytes);
        if !self.is_within_budget(&from, kind, bytes.len(), false) {
            return Validation::Ignore;
        }
        let (validation, author) = self.take_gossip(None, bytes);
        let Some(author) = author else { return validation };
        // What somebody brings as its own counts, whatever it is.
        let counts = validation == Validation::Accept || author == from;
        if counts && !self.is_within_author_budget(&author, &from, kind, bytes.len()) {
            return Validation::Ignore;
        }
        validation
    }

    /// Looks into gossip and does what follows: whether it holds, and who signed it. `from`: a
    /// member that sent it to this node alone.
    pub(super) fn take_gossip(
        &mut self,
        from: Option<NodeId>,
        bytes: &[u8],
    ) -> (Validation, Option<NodeId>) {
        // A longer way to write the same would be another message to the network, without end.
        let gossip = message::decode_gossip(bytes).ok();
        let Some(gossip) = gossip.filter(|gossip| message::encode_gossip(gossip) == bytes) else {
            self.counters.inputs_malformed += 1;
            return (Validation::Reject, None);
        };
        self.counters.inputs_decoded += 1;
        let author = author_of(&gossip);
        // Of who is banned only what proves its wrongs is heard.
        let proves =
            matches!(gossip, Gossip::Equivocation(_) | Gossip::Overdraft(_) | Gossip::Contest(_))
                || matches!(gossip, Gossip::Succession(_) | Gossip::Revocation(_));
        // Of a revoked key what others rest on is heard, too: whom it invited, what was certified.
        let stands =
            matches!(gossip, Gossip::Member(_) | Gossip::Certificate(_) | Gossip::Ending(_));
        let unheard = |author| match stands {
            true => self.standing.is_banned(&author, self.now),
            false => self.is_shut_out(&author),
        };
        if !proves && author.is_some_and(unheard) {
            return (Validation::Ignore, author);
        }
        let founder = self.members.founder();
        let is_none = match &gossip {
            Gossip::Handover(signed) => Some(signed.signer) != founder,
            Gossip::Change(signed) => Some(signed.signer) != founder,
            Gossip::Certificate(certificate) => !self.may_be_certified(certificate),
            Gossip::Ending(block) => {
                block.signer != block.body.account || block.body.kind.ends().is_none()
            }
            Gossip::Overdraft(proof) => proof.owner().is_none(),
            Gossip::Revocation(signed) => signed.signer != signed.body.node,
            Gossip::Checkpoint(decided) => !self.may_be_decided(&decided.sealed),
            _ => false,
        };
        if is_none {
            return (Validation::Reject, author);
        }
        let wanted = signatures(&gossip);
        let before = self.verifier.stats();
        self.hear(from, gossip);
        let after = self.verifier.stats();
        let failed = after.failed - before.failed;
        self.counters.signatures_refused += failed;
        if failed > 0 {
            return (Validation::Reject, author);
        }
        // Who checked less knew it before or knows nobody who could have said it. Its neighbours
        // hear it from others, or ask.
        let holds = after.asked - before.asked >= wanted;
        (if holds { Validation::Accept } else { Validation::Ignore }, author)
    }

    /// Whether a certificate has the votes of a quorum, as far as the set is known: what has fewer is
    /// none, whoever shows it, and costs no signature.
    pub(super) fn may_be_certified(&self, certificate: &Certificate) -> bool {
        let set = self.bank.as_ref().map(|bank| bank.ledger.witness_set());
        let set = set.filter(|set| set.version == certificate.set_version);
        set.is_none_or(|set| certificate.votes.len() >= set.quorum())
    }

    /// The same of a checkpoint.
    fn may_be_decided(&self, sealed: &Sealed) -> bool {
        let set = self.bank.as_ref().map(|bank| bank.ledger.witness_set());
        let set = set.filter(|set| set.version == sealed.checkpoint.version);
        set.is_none_or(|set| sealed.votes.len() >= set.quorum())
    }

    fn hear(&mut self, from: Option<NodeId>, gossip: Gossip) {
        match gossip {
            Gossip::Advert(advert) => self.on_advert(advert),
            Gossip::Member(record) => {
                self.learn_member(record, None);
            }
            Gossip::Certificate(certificate) => self.on_certificate(None, *certificate),
            Gossip::Handover(handover) => self.on_handover(*handover),
            Gossip::Collection(spec) => self.on_collection(spec),
            Gossip::Head(head) => self.on_head(head),
            Gossip::Fault(report) => {
                // Its own check stops where it sees that the report is of no use here.
                if let Evidence::Answer { head, .. } = &report.evidence {
                    let _ = head.open(&mut self.verifier, &self.pool);
                }
                self.on_fault_report(*report);
            }
            Gossip::Equivocation(proof) => self.on_equivocation(from, *proof),
            Gossip::Ending(block) => {
                // Few have to do with it, and all of them have to hear it.
                if block.open(&mut self.verifier, &self.pool).is_ok() {
                    self.on_ending(*block);
                }
            }
            Gossip::Overdraft(proof) => self.on_overdraft(*proof),
            Gossip::Checkpoint(decided) => self.on_checkpoint(from, *decided),
            Gossip::Change(order) => self.on_change_order(*order),
            Gossip::Contest(contest) => self.on_contest(from, *contest),
            Gossip::Parameter(vote) => self.on_parameter_vote(*vote),
            Gossip::Revocation(signed) => self.on_revocation(signed),
            Gossip::Succession(record) => self.on_succession(*record),
        }
    }
}

/// Who has it said, if that is one node. Not checked yet.
fn author_of(gossip: &Gossip) -> Option<NodeId> {
    Some(match gossip {
        Gossip::Advert(signed) => signed.signer,
        Gossip::Member(record) => {
            record.membership.as_ref().map_or(record.node, |signed| signed.signer)
        }
        Gossip::Certificate(certificate) => certificate.block.signer,
        Gossip::Handover(signed) => signed.signer,
        Gossip::Collection(signed) => signed.signer,
        Gossip::Head(signed) => signed.signer,
        Gossip::Fault(report) => report.proof.assignment.signer,
        Gossip::Equivocation(proof) => proof.account(),
        Gossip::Ending(block) => block.signer,
        Gossip::Overdraft(proof) => proof.owner()?,
        Gossip::Checkpoint(_) => return None,
        Gossip::Change(signed) => signed.signer,
        Gossip::Contest(contest) => contest.owner(),
        Gossip::Parameter(signed) => signed.signer,
        Gossip::Revocation(signed) => signed.signer,
        Gossip::Succession(record) => record.accepted.signer,
    })
}

/// How many signatures it takes to see that all of it holds.
fn signatures(gossip: &Gossip) -> u64 {
    match gossip {
        Gossip::Advert(_)
        | Gossip::Member(_)
        | Gossip::Handover(_)
        | Gossip::Collection(_)
        | Gossip::Head(_)
        | Gossip::Ending(_)
        | Gossip::Change(_)
        | Gossip::Parameter(_)
        | Gossip::Revocation(_) => 1,
        Gossip::Certificate(certificate) => 1 + certificate.votes.len() as u64,
        Gossip::Fault(report) => match report.evidence {
            Evidence::Payload | Evidence::History { .. } | Evidence::Item { .. } => 3,
            Evidence::Answer { .. } => 4,
        },
        Gossip::Equivocation(_) | Gossip::Succession(_) => 2,
        Gossip::Overdraft(proof) => proof.vouchers().len() as u64,
        Gossip::Checkpoint(decided) => decided.sealed.votes.len() as u64,
        Gossip::Contest(contest) => 1 + 2 * (contest.pairs.len() + contest.repairs.len()) as u64,
    }
}
