//! Claims: how a worker that may not be settled makes the witnesses insist.
//!
//! A claim is the requester's own voucher, shown to a witness. While it stands, the witness refuses the
//! end of *its escrow*, except by a settlement that pays it ([`ClaimBook::admits`]). It does not refuse
//! the owner's other blocks: the budget is set aside, so no other block can touch what is claimed.
//!
//! An honest owner is never stopped by a claim, because it settles at least what it vouched for: nobody
//! can claim more than it signed. One that signed for more than its escrow can pay has signed the proof of
//! that ([`OverdraftProof`]).

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{Credits, EscrowId, NodeId, Signed, Verifier};
use serde::{Deserialize, Serialize};

use crate::{
    block::{BlockKind, PAYMENTS_MAX},
    bounded,
    error::{ClaimError, LedgerError},
    ledger::{EscrowState, EscrowView, Ledger},
    statement::Voucher,
};

/// Claims one book holds; at the bound the one that is worth least gives way to one that is worth more.
pub const STANDING_CLAIMS_MAX: usize = 4_096;
/// Claims on one escrow: as many as one settlement can pay.
pub const CLAIMS_PER_ESCROW_MAX: usize = PAYMENTS_MAX;
/// Vouchers one proof of an overdraft may hold.
pub const OVERDRAFT_VOUCHERS_MAX: usize = 256;

/// What a checked claim comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owed {
    /// The escrow.
    pub escrow: EscrowId,
    /// Whose escrow it is.
    pub owner: NodeId,
    /// Who is owed.
    pub worker: NodeId,
    /// How much.
    pub amount: Credits,
}

/// Checks a claim against an open escrow of the ledger.
pub fn check_claim(
    voucher: &Signed<Voucher>,
    ledger: &Ledger,
    verifier: &mut Verifier,
) -> Result<Owed, ClaimError> {
    let Voucher { escrow, worker, cumulative, .. } = voucher.body;
    let view = ledger.escrow(&escrow).ok_or(ClaimError::MissingEscrow(escrow))?;
    if view.state != EscrowState::Open {
        return Err(ClaimError::EscrowEnded(escrow));
    }
    if cumulative == Credits::ZERO {
        return Err(ClaimError::Nothing);
    }
    is_the_owners(voucher, &view, ledger, verifier)?;
    Ok(Owed { escrow, owner: view.owner, worker, amount: cumulative })
}

fn is_the_owners(
    voucher: &Signed<Voucher>,
    escrow: &EscrowView,
    ledger: &Ledger,
    verifier: &mut Verifier,
) -> Result<(), ClaimError> {
    let said = &voucher.body;
    let fits = voucher.signer == escrow.owner
        && said.requester == escrow.owner
        && said.worker != escrow.owner;
    if fits && voucher.open(verifier, &ledger.pool()).is_ok() {
        Ok(())
    } else {
        Err(ClaimError::Voucher)
    }
}

/// Vouchers of one escrow for more than it can pay. Nobody but the owner can make one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OverdraftProof {
    /// Ascending by worker.
    #[serde(deserialize_with = "bounded::vec::<_, _, OVERDRAFT_VOUCHERS_MAX>")]
    vouchers: Vec<Signed<Voucher>>,
}

impl OverdraftProof {
    /// A proof of these vouchers. Whether it holds is for [`OverdraftProof::check`] to say.
    pub fn new(mut vouchers: Vec<Signed<Voucher>>) -> Self {
        vouchers.sort_unstable_by_key(|voucher| voucher.body.worker);
        OverdraftProof { vouchers }
    }

    /// What it rests on.
    pub fn vouchers(&self) -> &[Signed<Voucher>] {
        &self.vouchers
    }

    /// The escrow; `None` of an empty proof.
    pub fn escrow(&self) -> Option<EscrowId> {
        self.vouchers.first().map(|voucher| voucher.body.escrow)
    }

    /// Whose escrow it is; `None` of an empty proof.
    pub fn owner(&self) -> Option<NodeId> {
        self.vouchers.first().map(|voucher| voucher.body.requester)
    }

    /// Checks that the owner of one escrow of this ledger, open or not, vouched to distinct workers for
    /// more than the escrow could pay.
    pub fn check(&self, ledger: &Ledger, verifier: &mut Verifier) -> Result<(), ClaimError> {
        let escrow = self.escrow().ok_or(ClaimError::Nothing)?;
        let view = ledger.escrow(&escrow).ok_or(ClaimError::MissingEscrow(escrow))?;
        too_many("vouchers", self.vouchers.len(), OVERDRAFT_VOUCHERS_MAX)?;
        if !bounded::strictly_ascending(self.vouchers.iter().map(|voucher| voucher.body.worker)) {
            return Err(ClaimError::Order);
        }
        if self.vouchers.iter().any(|voucher| voucher.body.escrow != escrow) {
            return Err(ClaimError::Voucher);
        }
        // A sum that does not fit is beyond any budget.
        let sum = Credits::sum(self.vouchers.iter().map(|voucher| voucher.body.cumulative));
        if sum.is_ok_and(|sum| sum <= view.payable()) {
            return Err(ClaimError::NoOverdraft);
        }
        self.vouchers.iter().try_for_each(|voucher| is_the_owners(voucher, &view, ledger, verifier))
    }
}

fn too_many(what: &'static str, count: usize, limit: usize) -> Result<(), ClaimError> {
    if count > limit { Err(ClaimError::TooMany { what, count, limit }) } else { Ok(()) }
}

/// The claims that stand at a witness, in memory: workers show their vouchers again.
#[derive(Clone, Debug, Default)]
pub struct ClaimBook {
    standing: BTreeMap<(EscrowId, NodeId), Signed<Voucher>>,
}

impl ClaimBook {
    /// No claims.
    pub fn new() -> Self {
        ClaimBook::default()
    }

    /// Checks a claim and lets it stand. A worker's later claim on the same escrow replaces an
    /// earlier one if it comes to more; otherwise the earlier one stands.
    pub fn raise(
        &mut self,
        voucher: &Signed<Voucher>,
        ledger: &Ledger,
        verifier: &mut Verifier,
    ) -> Result<Owed, ClaimError> {
        let Voucher { escrow, worker, cumulative, .. } = voucher.body;
        let before = self.owed(&escrow, &worker);
        if before >= cumulative && before > Credits::ZERO {
            let owner = self.standing[&(escrow, worker)].body.requester;
            return Ok(Owed { escrow, owner, worker, amount: before });
        }
        let owed = check_claim(voucher, ledger, verifier)?;
        if before == Credits::ZERO {
            let count = self.of_escrow(escrow).count() + 1;
            too_many("claims on one escrow", count, CLAIMS_PER_ESCROW_MAX)?;
            if self.standing.len() >= STANDING_CLAIMS_MAX {
                self.make_room(voucher, ledger)?;
            }
        }
        self.standing.insert((escrow, worker), voucher.clone());
        Ok(owed)
    }

    /// Drops the claim that is worth least, if the new one is worth more. Claims on one escrow are worth
    /// together what it can pay: whoever wants to crowd others out has to set as much aside.
    fn make_room(&mut self, new: &Signed<Voucher>, ledger: &Ledger) -> Result<(), ClaimError> {
        let mut sums: BTreeMap<EscrowId, u128> = BTreeMap::new();
        for voucher in self.standing.values().chain([new]) {
            *sums.entry(voucher.body.escrow).or_default() +=
                u128::from(voucher.body.cumulative.micro());
        }
        let worth = |voucher: &Signed<Voucher>| {
            let view = ledger.escrow(&voucher.body.escrow);
            let most = view.map_or(0, |view| u128::from(view.payable().micro()));
            let (claimed, all) =
                (u128::from(voucher.body.cumulative.micro()), sums[&voucher.body.escrow]);
            if all <= most { claimed } else { claimed * most / all }
        };
        let least = self.standing.iter().map(|(key, voucher)| (worth(voucher), *key)).min();
        match least {
            Some((least, key)) if least < worth(new) => {
                self.standing.remove(&key);
                Ok(())
            }
            Some(_) | None => too_many("claims", STANDING_CLAIMS_MAX + 1, STANDING_CLAIMS_MAX),
        }
    }

    /// The claims on an escrow, ascending by worker.
    pub fn of_escrow(&self, escrow: EscrowId) -> impl Iterator<Item = &Signed<Voucher>> {
        let range = (escrow, NodeId([0; 32]))..=(escrow, NodeId([0xff; 32]));
        self.standing.range(range).map(|(_, voucher)| voucher)
    }

    /// What a worker claims of an escrow; nothing where no claim stands.
    pub fn owed(&self, escrow: &EscrowId, worker: &NodeId) -> Credits {
        let standing = self.standing.get(&(*escrow, *worker));
        standing.map_or(Credits::ZERO, |voucher| voucher.body.cumulative)
    }

    /// Who claims what of an escrow, ascending by worker.
    pub fn claims(&self, escrow: &EscrowId) -> impl Iterator<Item = (NodeId, Credits)> + '_ {
        self.of_escrow(*escrow).map(|voucher| (voucher.body.worker, voucher.body.cumulative))
    }

    /// The proof that the owner of an escrow vouched for more than it can pay, if the claims that stand
    /// here show it: the fewest of them that do.
    pub fn overdraft(&self, escrow: &EscrowId, ledger: &Ledger) -> Option<OverdraftProof> {
        let most = u128::from(ledger.escrow(escrow)?.payable().micro());
        let mut vouchers: Vec<Signed<Voucher>> = self.of_escrow(*escrow).cloned().collect();
        vouchers.sort_by_key(|voucher| std::cmp::Reverse(voucher.body.cumulative));
        let mut sum = 0;
        let enough = vouchers.iter().position(|voucher| {
            sum += u128::from(voucher.body.cumulative.micro());
            sum > most
        });
        let count = enough? + 1;
        if count > OVERDRAFT_VOUCHERS_MAX {
            return None;
        }
        vouchers.truncate(count);
        Some(OverdraftProof::new(vouchers))
    }

    /// Claims that stand.
    pub fn len(&self) -> usize {
        self.standing.len()
    }

    /// Whether no claim stands.
    pub fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }

    /// Drops claims on escrows that have ended.
    pub fn prune(&mut self, ledger: &Ledger) {
        let escrows: BTreeSet<EscrowId> = self.standing.keys().map(|(escrow, _)| *escrow).collect();
        let open = |escrow: &EscrowId| {
            ledger.escrow(escrow).is_some_and(|view| view.state == EscrowState::Open)
        };
        for ended in escrows.iter().filter(|escrow| !open(escrow)) {
            self.standing.retain(|(escrow, _), _| escrow != ended);
        }
    }

    /// Whether the claims let this block pass: it ends no escrow, or it pays every claim on the one
    /// it ends. Claims that exceed the budget together are paid when the claimants get all that
    /// the budget can pay.
    pub fn admits(&self, kind: &BlockKind, payable: Credits) -> Result<(), LedgerError> {
        let Some(escrow) = kind.ends() else { return Ok(()) };
        let (mut unpaid, mut to_claimants) = (None, Credits::ZERO);
        for (worker, owed) in self.claims(&escrow) {
            let paid = kind.pays(&worker).unwrap_or(Credits::ZERO);
            to_claimants = to_claimants.plus(paid.min(owed))?;
            if paid < owed && unpaid.is_none() {
                unpaid = Some(LedgerError::ClaimStands { escrow, worker, owed });
            }
        }
        match unpaid {
            Some(refusal) if to_claimants < payable => Err(refusal),
            _ => Ok(()),
        }
    }
}
