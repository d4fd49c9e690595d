//! Offences as the peer lives them: who was caught at what, and when a checkpoint should charge it.
//!
//! A mark keeps stake where it is at once; a checkpoint of the witnesses says what it costs. A witness
//! proposes an offence a while after it heard of it, so that the others have heard of it too.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Credits, Micros, NodeId, Timestamp};
use edge_ledger::{Offence, OffenceKind};

use super::{Peer, membership::MEMBERS_MAX};

/// An offence is proposed so long after it was heard of.
const SPREAD: Micros = Micros::from_secs(30);
/// Offences that not all witnesses know of stop being proposed from this round of an agreement on: they
/// must not hold up what all agree on.
const ROUNDS: u32 = 2;

/// What this node knows of offences beside the ledger's marks.
#[derive(Debug, Default)]
pub(crate) struct Offences {
    /// When each that is not charged was heard of.
    heard: BTreeMap<Offence, Timestamp>,
    /// Those that a checkpoint was made for, whether it charged them or not.
    tried: BTreeSet<Offence>,
    /// Liars that only this node could judge: nobody else can be shown why.
    untold: BTreeSet<NodeId>,
}

impl Offences {
    /// What grows here, with its bounds.
    pub(crate) fn hold(&self, add: &mut impl FnMut(&'static str, usize, usize)) {
        let bound = (MEMBERS_MAX + 1) * OffenceKind::ALL.len();
        add("offences", self.heard.len(), bound);
        add("offences that were tried", self.tried.len(), bound);
        add("liars that nobody else can judge", self.untold.len(), MEMBERS_MAX + 1);
    }
}

impl Peer {
    /// An owner was caught. `told`: the evidence is for everybody.
    pub(super) fn offended(&mut self, account: NodeId, kind: OffenceKind, told: bool) {
        let offence = Offence { account, kind };
        let Some(bank) = &mut self.bank else { return };
        bank.ledger.slash(offence);
        if told {
            self.offences.untold.remove(&account);
        } else if !self.offences.heard.contains_key(&offence) {
            self.offences.untold.insert(account);
        }
    }

    /// Looks for offences that are new here, and forgets those that are charged.
    pub(super) fn step_offences(&mut self) {
        let Some(bank) = &self.bank else { return };
        let untold = &self.offences.untold;
        let told = |offence: &Offence| {
            offence.kind != OffenceKind::Fault || !untold.contains(&offence.account)
        };
        let open: BTreeSet<Offence> = bank.ledger.uncharged().filter(told).collect();
        self.offences.heard.retain(|offence, _| open.contains(offence));
        self.offences.tried.retain(|offence| open.contains(offence));
        for offence in open {
            self.offences.heard.entry(offence).or_insert(self.now);
        }
    }

    /// Offences that everybody should have heard of, of accounts that have something to lose.
    fn ripe_offences(&self) -> impl Iterator<Item = Offence> + '_ {
        let ripe = self.offences.heard.iter().filter(|(offence, heard)| {
            let view = self.bank.as_ref().map(|bank| bank.ledger.account(&offence.account));
            let loses = view.is_some_and(|view| view.staked.max(view.leaving) > Credits::ZERO);
            loses && self.now.since(**heard) >= SPREAD
        });
        ripe.map(|(offence, _)| *offence)
    }

    /// Whether a checkpoint is wanted for an offence.
    pub(super) fn offence_is_due(&self) -> bool {
        self.ripe_offences().any(|offence| !self.offences.tried.contains(&offence))
    }

    /// What this node would have charged in a round.
    pub(super) fn chargeable(&self, round: u32) -> Vec<Offence> {
        if round < ROUNDS { self.ripe_offences().collect() } else { Vec::new() }
    }

    /// A checkpoint was taken.
    pub(super) fn offences_were_tried(&mut self) {
        let ripe: Vec<Offence> = self.ripe_offences().collect();
        self.offences.tried.extend(ripe);
        self.step_offences();
    }
}
