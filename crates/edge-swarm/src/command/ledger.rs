//! What is answered about the ledger: accounts, blocks, checkpoints, parameters.

use edge_base::{Credits, Digest, EscrowId, Micros, NodeId};
use edge_ledger::Totals;
use serde::{Deserialize, Serialize};

/// An account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BalanceView {
    /// The account.
    pub account: NodeId,
    /// Certified balance.
    pub balance: Credits,
    /// Certified payments to it that no block of it has credited yet.
    pub incoming: Credits,
    /// Held by open escrows.
    pub escrowed: Credits,
    /// At stake and not leaving.
    pub staked: Credits,
    /// In withdrawals that have not ended.
    pub leaving: Credits,
    /// Those withdrawals.
    pub withdrawals: Vec<WithdrawalView>,
    /// Vouchers held that are not settled yet.
    pub vouchers: Credits,
    /// The account's next block number less one.
    pub seq: u64,
    /// Two blocks at one number were seen.
    pub frozen: bool,
    /// Nothing of its stake comes back now: its owner was caught at something that no checkpoint has
    /// charged yet; of this node itself also when too many witnesses say so.
    pub slashed: bool,
    /// What offences cost it so far: `staked` and `leaving` are without it.
    pub penalty: Credits,
    /// Rewards for assigned work that are minted in the epochs to come, unless it offends.
    pub vesting: Credits,
    /// A block of this node itself that is signed and not certified yet.
    pub pending: Option<Box<PendingView>>,
}

/// An own block that waits for votes. It goes on by itself until a quorum certified it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingView {
    /// Its hash.
    pub block: Digest,
    /// Its number.
    pub seq: u64,
    /// As in [`BlockView::kind`].
    pub kind: String,
    /// What it says, for people.
    pub text: String,
    /// Who gets what is sent.
    pub to: Option<NodeId>,
    /// How much it moves.
    pub amount: Credits,
    /// How long it has waited, since this node started at most.
    pub waits: Micros,
    /// It was signed before this node started.
    pub resumed: bool,
    /// Votes that are in.
    pub votes: usize,
    /// Votes that are needed.
    pub quorum: usize,
    /// Witnesses that are asked.
    pub witnesses: usize,
    /// Own blocks behind it, which are not signed yet.
    pub behind: usize,
    /// Nobody votes for it: its account is frozen.
    pub doomed: bool,
    /// Witnesses that said last that they do not vote for it, for now at least.
    pub refusals: Vec<VoteRefusalView>,
}

impl PendingView {
    /// Why so many do not vote that there can be no quorum, as the first of them put it; `None` if there can be one.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        let VoteRefusalView { witness, reason } = self.refusals.first()?;
        (self.refusals.len() > self.witnesses.saturating_sub(self.quorum)).then(|| {
            let (some, all) = (self.refusals.len(), self.witnesses);
            format!(
                "{some} of {all} witnesses do not vote for it now; {} says: {reason}",
                witness.short()
            )
        })
    }
}

/// Why a witness does not vote for a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VoteRefusalView {
    /// The witness.
    pub witness: NodeId,
    /// In its own words.
    pub reason: String,
}

/// What became of a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FateView {
    /// Its hash.
    pub block: Digest,
    /// Whether a quorum certified it.
    pub certified: Option<BlockView>,
    /// Whether it waits for votes.
    pub pending: Option<PendingView>,
}

/// Stake on its way back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WithdrawalView {
    /// The hash of the Unstake block.
    pub unstake: Digest,
    /// How much.
    pub amount: Credits,
    /// When a quorum of witnesses would vote for its end, if this node is the owner and was told.
    pub release_in: Option<Micros>,
}

/// One certified block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockView {
    /// The account.
    pub account: NodeId,
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
    /// `open`, `send`, `escrow`, `settle`, `refund`, `stake`, `unstake`, `release`.
    pub kind: String,
    /// What it says, for people.
    pub text: String,
    /// Who gets what is sent.
    pub to: Option<NodeId>,
    /// How much it moves: what is sent, set aside, paid to workers, staked or taken back.
    pub amount: Credits,
    /// The escrow it opens or ends.
    pub escrow: Option<EscrowId>,
    /// The balance after it.
    pub balance_after: Credits,
}

/// How the pool's economy goes, as far as one node saw it in the last 24 hours; what has too few samples is
/// absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EconomyView {
    /// Credits settled per epoch, over the supply; after three epochs.
    pub velocity: Option<f64>,
    /// Certified CPU time over offered CPU time; after ten minutes of looking.
    pub utilization: Option<f64>,
    /// Members heard of over those seven days ago, less one.
    pub growth: Option<f64>,
    /// One less the coefficient of variation of settlements' prices; of 30 settlements and more.
    pub stability: Option<f64>,
    /// Utilization times `reputation`.
    pub fitness: Option<f64>,
    /// The credits there are: granted and minted, and not burned.
    pub supply: Credits,
    /// The present epoch.
    pub epoch: u64,
    /// How long this node looked.
    pub observed_seconds: u64,
    /// What members offered meanwhile.
    pub offered_cpu_seconds: f64,
    /// What settlements certified: reference CPU time.
    pub certified_cpu_seconds: f64,
    /// The mean of a task; of 30 tasks and more.
    pub cpu_seconds_per_task: Option<f64>,
    /// What workers were paid.
    pub settled: Credits,
    /// For so many tasks.
    pub settled_tasks: u64,
    /// What was burned as fees of that.
    pub fees: Credits,
    /// What was minted.
    pub minted: Credits,
    /// Members that are heard of now, with this node.
    pub active: u64,
    /// What they offer, in cores.
    pub offered_cores: f64,
    /// What this node was paid for work, and minted, since it was made.
    pub earned: Credits,
    /// What it paid for work, with fees, since it was made.
    pub spent: Credits,
    /// What the share of its results that were accepted exceeds with 95 % credibility; of one and more.
    pub reputation: Option<f64>,
}

/// The last checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointView {
    /// The epoch that began with it.
    pub epoch: u64,
    /// Its digest: what was precommitted.
    pub digest: Digest,
    /// The checkpoint before, or the handover.
    pub prev: Digest,
    /// The root of the account tree.
    pub accounts: Digest,
    /// How many accounts.
    pub count: u64,
    /// Everything ever granted or minted.
    pub supply: Credits,
    /// Everything ever burned.
    pub burned: Credits,
    /// Certified CPU-hours in millionths.
    pub cpu_hours_micro: u64,
    /// What may be minted in all by then, at the present rate.
    pub cap: Credits,
    /// What of that is set aside for being there, and not promised.
    pub fund: Credits,
    /// Accounts that it promises something for having been there.
    pub present: usize,
    /// Tasks that it names for audits, that were committed to, and that were certified.
    pub audits: [usize; 3],
    /// The contribution curve there, in billionths.
    pub multiplier_nano: u64,
    /// The set that decided it.
    pub decided_by_version: u64,
    /// The set since.
    pub set_version: u64,
    /// Its members.
    pub witnesses: Vec<NodeId>,
    /// Places at which sets before may have certified a block that nobody has shown.
    pub carried: usize,
    /// The round that decided.
    pub round: u32,
    /// Who precommitted it.
    pub precommits: Vec<NodeId>,
    /// Blocks certified since.
    pub blocks_since: u64,
    /// Whether the witness set is about to change.
    pub change_under_way: bool,
}

/// A parameter of the pool's economy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ParameterView {
    /// Its name.
    pub name: String,
    /// What it counts.
    pub unit: String,
    /// What it is.
    pub value: u64,
    /// The epoch since which it is so.
    pub since: u64,
    /// The least it can be.
    pub min: u64,
    /// The most it can be.
    pub max: u64,
    /// The most by which it changes in an epoch.
    pub step: u64,
    /// What it is in a new pool.
    pub default: u64,
    /// Which witnesses want it to become what, ascending by value.
    pub wanted: Vec<(u64, Vec<NodeId>)>,
}

/// An account in the last checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountProofView {
    /// Whose.
    pub account: NodeId,
    /// The checkpoint's epoch.
    pub epoch: u64,
    /// The root that the proof is against.
    pub root: Digest,
    /// Whether the account was there.
    pub present: bool,
    /// What its next block could spend.
    pub balance: Credits,
    /// Payments it had not taken.
    pub incoming: Credits,
    /// Set aside in open escrows.
    pub escrowed: Credits,
    /// At stake.
    pub staked: Credits,
    /// In withdrawals.
    pub leaving: Credits,
    /// The seq of its last block.
    pub seq: u64,
    /// Steps from the root.
    pub steps: usize,
    /// Size of the encoded proof.
    pub proof_bytes: usize,
    /// The encoded `AccountProof`, in hexadecimal.
    pub proof: String,
}

/// The ledger, added up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerView {
    /// Sums.
    pub totals: Totals,
    /// Whether they agree.
    pub conserved: bool,
    /// The epoch of the last checkpoint: its state of all accounts, which its witnesses signed, is what
    /// the certificates since then begin with. Absent where there is no checkpoint: then all is verified.
    pub since_epoch: Option<u64>,
    /// Certificates that were verified again: all, or those since the checkpoint.
    pub certificates: usize,
    /// Certificates that are kept: those, and the ones since the checkpoint before the last.
    pub kept: usize,
    /// Certified blocks whose certificates are not kept: the checkpoint's states have what they came to.
    pub dropped: u64,
    /// Signatures that were verified again for this answer.
    pub signatures_verified: u64,
    /// Accounts that they add up to, those of the checkpoint among them.
    pub accounts: usize,
    /// Witness set version and members.
    pub set_version: u64,
    /// Witnesses.
    pub witnesses: Vec<NodeId>,
}
