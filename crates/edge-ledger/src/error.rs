//! Why the ledger refuses something, and whether that can change.

use edge_base::{Credits, CreditsError, Digest, EscrowId, NodeId, SignatureError};

use crate::{genesis::GenesisError, vote::VoteError, witness::WitnessSetError};

/// Why a block, a certificate or a handover is refused. [`LedgerError::is_retryable`] ones are
/// nobody's fault: something else has to come first. The others are the sender's fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The block of the account with this seq is not here yet. Retryable.
    #[error("block {seq} of {account} is not here yet")]
    MissingPredecessor {
        /// Whose chain.
        account: NodeId,
        /// The next block the ledger needs of it.
        seq: u64,
    },
    /// A certificate that is credited is not here yet. Retryable.
    #[error("the credited certificate {id} is not here yet")]
    MissingCredit {
        /// The certificate.
        id: Digest,
    },
    /// A witness set that is not known yet voted. Retryable.
    #[error("witness set version {version} is not known yet")]
    MissingHandover {
        /// The version.
        version: u64,
    },
    /// A block of an epoch that has not begun here. Retryable.
    #[error("epoch {epoch} has not begun here")]
    EpochAhead {
        /// The block's epoch.
        epoch: u64,
    },
    /// A claim stands against the escrow that the block would end, and the block does not pay it. Another
    /// settlement may, so this is not for ever.
    #[error("{worker} claims {owed} rUv of the escrow {escrow}")]
    ClaimStands {
        /// The escrow.
        escrow: EscrowId,
        /// Who claims.
        worker: NodeId,
        /// How much.
        owed: Credits,
    },
    /// This witness told everybody a moment ago that the escrow is about to end, and waits for claims.
    /// Retryable. The ledger has no clock: whoever votes keeps the time.
    #[error("claims on the escrow {escrow} may still come")]
    ClaimsMayCome {
        /// The escrow.
        escrow: EscrowId,
    },
    /// This witness has not known the withdrawal for long enough to vote for its end. Retryable.
    /// The ledger has no clock: whoever votes keeps the time.
    #[error("the withdrawal {unstake} cannot end yet")]
    Leaving {
        /// The hash of the Unstake block.
        unstake: Digest,
    },
    /// A checkpoint that does not follow the last one here. Retryable: by those between, or by the
    /// states of all accounts.
    #[error("the checkpoint of epoch {epoch} does not follow the last one here")]
    MissingCheckpoint {
        /// Its epoch.
        epoch: u64,
    },
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Somebody else than the account's owner signed.
    #[error("a block of {account} signed by {signer}")]
    NotOwner {
        /// Whose chain.
        account: NodeId,
        /// Who signed.
        signer: NodeId,
    },
    /// The votes are no quorum of the set.
    #[error(transparent)]
    Votes(#[from] VoteError),
    /// A certificate under an old set beyond the handover's heads, or under a set that began
    /// after this block's place was taken.
    #[error("block {seq} of {account} is not witness set version {version}'s to certify")]
    WrongVersion {
        /// Whose chain.
        account: NodeId,
        /// The block's seq.
        seq: u64,
        /// The version that voted.
        version: u64,
    },
    /// The (account, seq) is taken by a certified block.
    #[error("block {seq} of {account} is certified already")]
    SeqTaken {
        /// Whose chain.
        account: NodeId,
        /// The block's seq.
        seq: u64,
    },
    /// Two certified blocks at one (account, seq): more than f witnesses are faulty. The ledger
    /// keeps the first it saw and names the culprits in `Ledger::conflicts`.
    #[error("a second certified block {seq} of {account}")]
    ConflictingCertificate {
        /// Whose chain.
        account: NodeId,
        /// The seq.
        seq: u64,
    },
    /// The account has two signed blocks at one seq; nothing of it is voted for any more.
    #[error("the account {0} is frozen: its owner signed two blocks at one seq")]
    Frozen(NodeId),
    /// The account's owner was caught: what it staked stays where it is until a checkpoint has charged
    /// the offence.
    #[error("the stake of {0} is slashed: its owner was caught")]
    Slashed(NodeId),
    /// More is released than the account's penalty leaves. Once as much is staked on top, it is not.
    #[error("the penalty of {0} leaves less than this withdrawal")]
    Forfeited(NodeId),
    /// An offence of this account that this ledger has not heard of. Retryable.
    #[error("nothing is known here of an offence of {0}")]
    MissingEvidence(NodeId),
    /// More is taken back than is staked.
    #[error("{asked} rUv are taken back and {staked} are staked")]
    NotStaked {
        /// What is staked and not leaving.
        staked: Credits,
        /// What the block takes back.
        asked: Credits,
    },
    /// No such withdrawal of this account.
    #[error("the account has no withdrawal {0}")]
    NoWithdrawal(Digest),
    /// A withdrawal that ended already.
    #[error("the withdrawal {0} has ended")]
    WithdrawalEnded(Digest),
    /// `prev` is not the head.
    #[error("the block does not follow its account's head")]
    Prev,
    /// Blocks are counted from 1.
    #[error("a block has seq 0")]
    SeqZero,
    /// The epoch fell along the chain.
    #[error("the epoch falls from {from} to {to} along the chain")]
    EpochFell {
        /// The epoch of the head.
        from: u64,
        /// The epoch of the block.
        to: u64,
    },
    /// More elements than the bound.
    #[error("{count} {what} where {limit} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// Elements that have to ascend without repetition do not.
    #[error("the {0} are not ascending and distinct")]
    Order(&'static str),
    /// `debit` is not what the kind takes.
    #[error("the debit is not what the block's kind takes")]
    Debit,
    /// `balance_after` is not what the arithmetic gives.
    #[error("the balance after the block is {stated} rUv where {computed} follows")]
    BalanceAfter {
        /// What the block says.
        stated: Credits,
        /// What follows.
        computed: Credits,
    },
    /// More is spent than there is.
    #[error("{need} rUv are needed and {have} are there")]
    Insufficient {
        /// What is there.
        have: Credits,
        /// What is needed.
        need: Credits,
    },
    /// A sum that does not fit.
    #[error("an amount overflows")]
    Overflow,
    /// A credited certificate pays this account nothing.
    #[error("the certificate {id} pays the account nothing")]
    CreditNotYours {
        /// The certificate.
        id: Digest,
    },
    /// A certificate credited for the second time.
    #[error("the certificate {id} is credited already")]
    CreditedAlready {
        /// The certificate.
        id: Digest,
    },
    /// An Open without credits, an amount of nothing, an expiry in the past.
    #[error("{0}")]
    Empty(&'static str),
    /// Paying oneself.
    #[error("an account does not pay itself")]
    SelfPayment,
    /// The price list is unsorted or has a price of nothing.
    #[error("the price list is not canonical")]
    Prices,
    /// No such escrow.
    #[error("there is no escrow {0}")]
    NoEscrow(EscrowId),
    /// Somebody else's escrow.
    #[error("the escrow {0} belongs to another account")]
    NotYourEscrow(EscrowId),
    /// An escrow that ended already.
    #[error("the escrow {0} has ended")]
    EscrowEnded(EscrowId),
    /// The fee is not the fee.
    #[error("the fee is {stated} rUv where {computed} is due")]
    Fee {
        /// What the block says.
        stated: Credits,
        /// What is due.
        computed: Credits,
    },
    /// Payments and fee exceed the budget.
    #[error("payments and fee of {total} rUv exceed the budget of {budget}")]
    OverBudget {
        /// Payments and fee.
        total: Credits,
        /// The budget.
        budget: Credits,
    },
    /// The next witness set is none.
    #[error(transparent)]
    WitnessSet(#[from] WitnessSetError),
    /// A handover of another version, epoch or signer than may hand over now.
    #[error("not a handover of the present witness set of one: {0}")]
    NotAHandover(&'static str),
    /// A handover whose heads contradict certificates that are here: the founder broke its word.
    #[error("the handover contradicts the certified chain of {0}")]
    HandoverConflict(NodeId),
    /// A change of the witness set that may not happen so: its proposer's fault.
    #[error("not a change of the present witness set: {0}")]
    NotAChange(&'static str),
    /// A change of a parameter that may not happen so: the fault of whoever proposed it.
    #[error("not a change of a parameter: {0}")]
    NotAnAmendment(&'static str),
    /// A checkpoint that is not what this ledger comes to.
    #[error("not a checkpoint of this ledger: {0}")]
    NotACheckpoint(&'static str),
    /// Two checkpoints of one epoch, each decided by a quorum: more than f witnesses are faulty.
    #[error("a second checkpoint of epoch {epoch} was decided")]
    ConflictingCheckpoint {
        /// The epoch.
        epoch: u64,
    },
    /// The set before voted for another block at this place, and may have certified it.
    #[error("another block {seq} of {account} was voted for by the witness set before")]
    Carried {
        /// Whose chain.
        account: NodeId,
        /// The seq.
        seq: u64,
    },
    /// States of accounts in which credits are missing or too many: the fault of whoever made them.
    #[error("the states of the accounts do not add up to what was granted")]
    NotConserved,
    /// A genesis record that founds no pool.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// Two blocks that prove no equivocation.
    #[error("the two blocks are not two blocks of one account at one seq")]
    NotEquivocation,
}

impl LedgerError {
    /// Whether the same thing may be accepted later, without its sender having been at fault.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            LedgerError::MissingPredecessor { .. }
                | LedgerError::MissingCredit { .. }
                | LedgerError::MissingHandover { .. }
                | LedgerError::MissingCheckpoint { .. }
                | LedgerError::EpochAhead { .. }
                | LedgerError::MissingEvidence(_)
                | LedgerError::ClaimStands { .. }
                | LedgerError::ClaimsMayCome { .. }
                | LedgerError::Leaving { .. }
        )
    }
}

impl From<CreditsError> for LedgerError {
    fn from(_: CreditsError) -> Self {
        LedgerError::Overflow
    }
}

/// Why a claim is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The escrow is not here yet: try later.
    #[error("the escrow {0} is not here yet")]
    MissingEscrow(EscrowId),
    /// Too late.
    #[error("the escrow {0} has ended")]
    EscrowEnded(EscrowId),
    /// The voucher is not the escrow owner's word to another node, or is of another escrow.
    #[error("the voucher is not the escrow owner's word to a worker")]
    Voucher,
    /// Unsorted, or a worker twice.
    #[error("the vouchers are not ascending and distinct by worker")]
    Order,
    /// More elements than the bound.
    #[error("{count} {what} where {limit} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// The escrow can pay them all.
    #[error("the vouchers are within what the escrow can pay")]
    NoOverdraft,
    /// The claim is for nothing.
    #[error("nothing is claimed")]
    Nothing,
}
