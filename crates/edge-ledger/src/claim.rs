//! Claims: how a worker that was not settled in time makes the witnesses insist.
//!
//! While a claim stands, witnesses refuse the end of *its escrow*, except by a settlement that
//! pays it ([`ClaimBook::admits`]). They do not refuse the owner's other blocks: the budget is set
//! aside, so no other block can touch what is claimed, and refusing one that the owner had already
//! signed when the claim came would leave its chain stuck between two quorums for ever.
//!
//! An honest owner is never caught by a claim on its vouchers, because it settles at least what it
//! vouched for. A claim on agreeing reveals without a voucher can be wrong (two liars agree), so
//! [`ClaimBook::dismiss`] drops it once somebody executed the task again.

use std::collections::{BTreeMap, BTreeSet};

use edge_base::{
    Credits, Digest, Domain, EscrowId, NodeId, RingSet, Signed, SignedBody, TaskId, Verifier,
};
use serde::{Deserialize, Serialize};

use crate::{
    block::{BlockKind, payable},
    bounded,
    error::{ClaimError, LedgerError},
    ledger::{EscrowState, Ledger},
    statement::{Execution, FaultProof, Voucher},
};

/// Tasks one claim may list.
pub const CLAIM_TASKS_MAX: usize = 256;
/// Agreeing executions of other workers one claimed task may show.
pub const CLAIM_AGREEING_MAX: usize = 4;
/// Claims one book holds; at the bound new ones are refused.
pub const STANDING_CLAIMS_MAX: usize = 4_096;
/// Claimed tasks one book holds in all; at the bound new claims are refused.
pub const STANDING_TASKS_MAX: usize = 65_536;
/// Refuted (task, digest) pairs one book remembers; at the bound the oldest is forgotten.
pub const DISMISSED_MAX: usize = 4_096;

/// A task that a worker executed and others confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimedTask {
    /// The claimant's execution.
    pub mine: Execution,
    /// Executions of other workers with the same digest; at least one.
    #[serde(deserialize_with = "bounded::vec::<_, _, CLAIM_AGREEING_MAX>")]
    pub agreeing: Vec<Execution>,
}

/// A worker asks to be paid out of an escrow: by the requester's last voucher, by executions that
/// another worker confirmed, or both. The larger of the two sums is owed: which executions a
/// voucher already covers cannot be told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The escrow.
    pub escrow: EscrowId,
    /// Who claims; the signer.
    pub worker: NodeId,
    /// The last voucher.
    pub voucher: Option<Signed<Voucher>>,
    /// Confirmed executions, ascending by task id.
    #[serde(deserialize_with = "bounded::vec::<_, _, CLAIM_TASKS_MAX>")]
    pub tasks: Vec<ClaimedTask>,
}

impl SignedBody for Claim {
    const DOMAIN: Domain = Domain("ledger/claim");
}

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

/// Checks a claim against an open escrow of the ledger: every signature, every reveal.
pub fn check_claim(
    claim: &Signed<Claim>,
    ledger: &Ledger,
    verifier: &mut Verifier,
) -> Result<Owed, ClaimError> {
    let standing = Standing::of(claim, ledger, verifier)?;
    let amount = standing.amount(|_| true);
    if amount == Credits::ZERO {
        return Err(ClaimError::Nothing);
    }
    let Claim { escrow, worker, .. } = claim.body;
    Ok(Owed { escrow, owner: standing.owner, worker, amount })
}

/// What is left of a claim once it was checked.
#[derive(Clone, Debug)]
struct Standing {
    owner: NodeId,
    vouched: Credits,
    /// (task, digest) and price, ascending by task.
    tasks: Vec<((TaskId, Digest), Credits)>,
}

impl Standing {
    fn of(
        claim: &Signed<Claim>,
        ledger: &Ledger,
        verifier: &mut Verifier,
    ) -> Result<Standing, ClaimError> {
        let body = &claim.body;
        too_many("claimed tasks", body.tasks.len(), CLAIM_TASKS_MAX)?;
        if claim.signer != body.worker {
            return Err(ClaimError::Signature);
        }
        let escrow = ledger.escrow(&body.escrow).ok_or(ClaimError::MissingEscrow(body.escrow))?;
        if escrow.state != EscrowState::Open {
            return Err(ClaimError::EscrowEnded(body.escrow));
        }
        let (owner, pool) = (escrow.owner, ledger.pool());
        claim.open(verifier, &pool).map_err(|_| ClaimError::Signature)?;
        let mut vouched = Credits::ZERO;
        if let Some(voucher) = &body.voucher {
            let said = &voucher.body;
            let fits = voucher.signer == owner
                && said.requester == owner
                && said.worker == body.worker
                && said.escrow == body.escrow;
            if !fits || voucher.open(verifier, &pool).is_err() {
                return Err(ClaimError::Voucher);
            }
            vouched = said.cumulative;
        }
        if !bounded::strictly_ascending(body.tasks.iter().map(|task| task.mine.task())) {
            return Err(ClaimError::Order);
        }
        let mut tasks = Vec::with_capacity(body.tasks.len());
        for (index, task) in body.tasks.iter().enumerate() {
            check_task(index, task, body, &owner, &pool, verifier)?;
            let price = task.mine.assignment.body.price;
            tasks.push(((task.mine.task(), task.mine.digest()), price));
        }
        Credits::sum(tasks.iter().map(|(_, price)| *price)).map_err(|_| ClaimError::Overflow)?;
        Ok(Standing { owner, vouched, tasks })
    }

    /// The larger of what was vouched for and what was confirmed and not refuted since.
    fn amount(&self, stands: impl Fn(&(TaskId, Digest)) -> bool) -> Credits {
        let standing = self.tasks.iter().filter(|(key, _)| stands(key)).map(|(_, price)| *price);
        let confirmed = Credits::sum(standing)
            .expect("invariant: the sum of all the prices was checked when the claim came");
        self.vouched.max(confirmed)
    }
}

fn too_many(what: &'static str, count: usize, limit: usize) -> Result<(), ClaimError> {
    if count > limit { Err(ClaimError::TooMany { what, count, limit }) } else { Ok(()) }
}

fn check_task(
    index: usize,
    task: &ClaimedTask,
    claim: &Claim,
    owner: &NodeId,
    pool: &Digest,
    verifier: &mut Verifier,
) -> Result<(), ClaimError> {
    too_many("agreeing executions", task.agreeing.len(), CLAIM_AGREEING_MAX)?;
    let mine = &task.mine;
    let mut workers = BTreeSet::from([mine.worker()]);
    for execution in std::iter::once(mine).chain(&task.agreeing) {
        let assignment = &execution.assignment.body;
        if assignment.requester != *owner || assignment.task != mine.task() {
            return Err(ClaimError::Foreign(index));
        }
        if execution.digest() == mine.digest() {
            workers.insert(execution.worker());
        }
        execution
            .check_shape(verifier, pool)
            .map_err(|source| ClaimError::Execution { index, source })?;
    }
    let assignment = &mine.assignment.body;
    if mine.worker() != claim.worker || assignment.escrow != Some(claim.escrow) {
        return Err(ClaimError::Foreign(index));
    }
    if workers.len() < 2 {
        return Err(ClaimError::Unconfirmed(index));
    }
    Ok(())
}

/// The claims that stand at a witness, in memory. Whoever wants them to survive a restart keeps the
/// signed claims and raises them again.
#[derive(Clone, Debug, Default)]
pub struct ClaimBook {
    standing: BTreeMap<(EscrowId, NodeId), Standing>,
    tasks: usize,
    dismissed: RingSet<(TaskId, Digest), DISMISSED_MAX>,
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
        claim: &Signed<Claim>,
        ledger: &Ledger,
        verifier: &mut Verifier,
    ) -> Result<Owed, ClaimError> {
        let Claim { escrow, worker, .. } = claim.body;
        let key = (escrow, worker);
        if !self.standing.contains_key(&key) {
            too_many("standing claims", self.standing.len() + 1, STANDING_CLAIMS_MAX)?;
        }
        too_many("tasks", self.tasks + claim.body.tasks.len(), STANDING_TASKS_MAX)?;
        let standing = Standing::of(claim, ledger, verifier)?;
        let owner = standing.owner;
        let mut amount = self.amount_of(&standing);
        if amount == Credits::ZERO {
            return Err(ClaimError::Nothing);
        }
        let before = self.owed(&escrow, &worker);
        if amount > before {
            self.tasks += standing.tasks.len();
            if let Some(old) = self.standing.insert(key, standing) {
                self.tasks -= old.tasks.len();
            }
        } else {
            amount = before;
        }
        Ok(Owed { escrow, owner, worker, amount })
    }

    /// What a worker claims of an escrow; nothing where no claim stands.
    pub fn owed(&self, escrow: &EscrowId, worker: &NodeId) -> Credits {
        self.standing
            .get(&(*escrow, *worker))
            .map_or(Credits::ZERO, |standing| self.amount_of(standing))
    }

    /// Who claims what of an escrow, ascending by worker.
    pub fn claims(&self, escrow: &EscrowId) -> impl Iterator<Item = (NodeId, Credits)> + '_ {
        let range = (*escrow, NodeId([0; 32]))..=(*escrow, NodeId([0xff; 32]));
        self.standing.range(range).filter_map(|((_, worker), standing)| {
            let amount = self.amount_of(standing);
            (amount > Credits::ZERO).then_some((*worker, amount))
        })
    }

    /// Whether a claim stands against any escrow of an account.
    pub fn stands_against(&self, owner: &NodeId) -> bool {
        self.standing
            .values()
            .any(|standing| standing.owner == *owner && self.amount_of(standing) > Credits::ZERO)
    }

    /// Claims that stand.
    pub fn len(&self) -> usize {
        self.standing.len()
    }

    /// Whether no claim stands.
    pub fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }

    /// Voids every claim on the digest that a proof refutes, whoever made it, now and later. Only
    /// after the payload was executed again and gave another digest.
    pub fn dismiss(&mut self, refuted: &FaultProof) {
        self.dismissed.insert((refuted.task(), refuted.digest()));
    }

    /// Drops claims on escrows that have ended and claims of which nothing is left.
    pub fn prune(&mut self, ledger: &Ledger) {
        let dismissed = &self.dismissed;
        self.standing.retain(|(escrow, _), standing| {
            let open = ledger.escrow(escrow).is_some_and(|view| view.state == EscrowState::Open);
            open && standing.amount(|key| !dismissed.contains(key)) > Credits::ZERO
        });
        self.tasks = self.standing.values().map(|standing| standing.tasks.len()).sum();
    }

    /// Whether the claims let this block pass: it ends no escrow, or it pays every claim on the one
    /// it ends. Claims that exceed the budget together are paid when the claimants get all that
    /// the budget can pay.
    pub fn admits(&self, kind: &BlockKind, budget: Credits) -> Result<(), LedgerError> {
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
            Some(refusal) if to_claimants < payable(budget) => Err(refusal),
            _ => Ok(()),
        }
    }

    fn amount_of(&self, standing: &Standing) -> Credits {
        standing.amount(|key| !self.dismissed.contains(key))
    }
}
