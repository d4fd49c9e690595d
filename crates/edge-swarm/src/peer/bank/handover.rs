//! The founder hands its vote over to the first set of witnesses.

use std::sync::Arc;

use edge_base::{NodeId, Signed};
use edge_ledger::{Applied, Certificate, HandOverError, Handover};

use crate::{
    command::{Answer, Refusal},
    event::Event,
    io::{CallId, Table},
    message::Gossip,
    peer::Peer,
};

impl Peer {
    pub(in crate::peer) fn hand_over(&mut self, call: CallId, mut witnesses: Vec<NodeId>) {
        witnesses.push(self.me);
        witnesses.sort();
        witnesses.dedup();
        let stranger = witnesses.iter().find(|w| **w != self.me && !self.members.is_member(w));
        let refusal = if let Some(stranger) = stranger {
            Some(Refusal::NotFound(format!("{} is not a member of this pool", stranger.short())))
        } else if self.is_recovering() {
            Some(Refusal::Refused(self.recovering_text()))
        } else if let Some(text) = self.cannot_witness(&witnesses) {
            Some(Refusal::Refused(text))
        } else {
            match &self.bank {
                None => Some(Refusal::Refused("this node has not joined its pool yet".into())),
                Some(bank) if bank.ledger.witness_set().members != [self.me] => {
                    return self.order_change(call, witnesses);
                }
                Some(bank) if bank.handing_over.is_some() => {
                    Some(Refusal::Refused("a handover is under way already".into()))
                }
                Some(_) => None,
            }
        };
        if let Some(refusal) = refusal {
            return self.answer(call, Err(refusal));
        }
        if let Some(bank) = &mut self.bank {
            bank.handing_over = Some((call, witnesses));
        }
        self.step_handover();
    }

    /// Who of these would join the witnesses and could not vote from the beginning, and why not.
    fn cannot_witness(&self, witnesses: &[NodeId]) -> Option<String> {
        let set = self.bank.as_ref()?.ledger.witness_set();
        if !self.may_vote && set.members == [self.me] {
            // What it voted for is not all known: nobody could tell which votes the new set inherits.
            return Some(
                "this node never votes: its data were copied, restored or repaired".into(),
            );
        }
        // Who is a witness already may be away, or out of order: it can only leave.
        let mut joins = witnesses.iter().filter(|w| **w != self.me && !set.contains(w));
        joins.find_map(|node| {
            let member = self.members.get(node)?;
            let seen = member.heard.is_some() && self.members.is_reachable(node);
            let unseen = || {
                (!seen).then_some("it is not connected, or was not heard since this node started")
            };
            let why = self.cannot_vote(node).or_else(unseen)?;
            Some(format!("{} cannot be a witness: {why}", node.short()))
        })
    }

    /// Hands over once every vote cast under the old set has become a certificate.
    pub(super) fn step_handover(&mut self) {
        let Some(bank) = &mut self.bank else { return };
        let Some((call, witnesses)) = bank.handing_over.clone() else { return };
        // As the only witness this node can complete what it voted for.
        let set_version = bank.ledger.witness_set().version;
        let complete: Vec<Certificate> = bank
            .votes
            .pending(&bank.ledger)
            .map(|(block, vote)| Certificate {
                block: block.clone(),
                set_version,
                votes: vec![(vote.signer, vote.signature)],
            })
            .collect();
        for certificate in complete {
            self.on_own_certified(certificate);
        }
        let Some(bank) = &mut self.bank else { return };
        if bank.pending.is_some() {
            return;
        }
        match bank.votes.hand_over(&bank.ledger, witnesses, &self.key) {
            Ok((signed, record)) => {
                bank.handing_over = None;
                self.persist_bytes(Table::Votes, &record.key, record.value);
                let handover = signed.body.clone();
                self.on_handover(signed);
                self.answer(call, Ok(Answer::HandedOver(handover)));
                self.step_bank();
            }
            Err(HandOverError::Pending(_)) => {}
            Err(error) => {
                bank.handing_over = None;
                self.answer(call, Err(Refusal::Refused(error.to_string())));
            }
        }
    }

    pub(in crate::peer) fn on_handover(&mut self, signed: Signed<Handover>) {
        let Some(bank) = &mut self.bank else { return };
        let applied = bank.ledger.apply_handover(Arc::new(signed.clone()), &mut self.verifier);
        if applied != Ok(Applied::New) {
            return;
        }
        bank.handover = Some(signed.clone());
        let set = bank.ledger.witness_set().clone();
        bank.ask_present_set();
        self.persist(Table::Pool, b"handover", &signed);
        self.publish(&Gossip::Handover(Box::new(signed)));
        self.event(Event::WitnessesChanged { version: set.version, members: set.members });
        self.keep_neighbours();
        self.propose();
    }
}
