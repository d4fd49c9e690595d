//! Offences: what is lost of the stake of an account whose owner was caught.
//!
//! Whoever checked the evidence of an offence marks the account ([`Ledger::slash`](crate::Ledger::slash)):
//! from then on it votes for no withdrawal of it. The next checkpoint in which a quorum has the mark
//! charges it: a *penalty*, a part of what is at stake and leaving at its cut, by the rate of the
//! offence. Then the mark is settled, and what is left may be withdrawn again.
//!
//! A penalty is a debt that only grows. Blocks are folded as if there were none, so that one that was
//! certified before anybody heard of the offence means the same before and after; what is burned is the
//! smaller of the penalty and what is at stake, whatever the order. Votes alone see to it that
//! no more is released than the penalty leaves.

use edge_base::{Credits, NodeId};
use serde::{Deserialize, Serialize};

use crate::parameter::Parameter;

/// Offences that one checkpoint charges; the rest waits for the next one.
pub const OFFENCES_MAX: usize = 256;

/// What somebody can be caught at. Each costs an account once: who is named by one gets no more work,
/// and who signed two blocks at one seq is frozen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum OffenceKind {
    /// Two blocks at one seq.
    Equivocation,
    /// A result that is not what re-execution gives.
    Fault,
    /// Vouchers for more than their escrow can pay.
    Overdraft,
    /// Two heads for one position of a shard, not put right.
    Contest,
    /// What was invited lied so often that its inviter answers for it.
    Invitation,
}

impl OffenceKind {
    /// Every kind.
    pub const ALL: [OffenceKind; 5] = [
        OffenceKind::Equivocation,
        OffenceKind::Fault,
        OffenceKind::Overdraft,
        OffenceKind::Contest,
        OffenceKind::Invitation,
    ];

    /// The parameter that says which part of the stake it costs, in millionths.
    pub fn rate(self) -> Parameter {
        match self {
            OffenceKind::Equivocation => Parameter::SlashEquivocation,
            OffenceKind::Fault => Parameter::SlashFault,
            OffenceKind::Overdraft => Parameter::SlashOverdraft,
            OffenceKind::Contest => Parameter::SlashContest,
            OffenceKind::Invitation => Parameter::SlashInvitation,
        }
    }

    /// What it costs of a stake, rounded up.
    pub(crate) fn penalty(self, ppm: u64, stake: Credits) -> Credits {
        let micro =
            (u128::from(stake.micro()) * u128::from(ppm.min(1_000_000))).div_ceil(1_000_000);
        Credits::from_micro(u64::try_from(micro).unwrap_or(u64::MAX)).min(stake)
    }
}

/// An owner and what it was caught at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Offence {
    /// Whose stake answers for it.
    pub account: NodeId,
    /// What it is.
    pub kind: OffenceKind,
}
