//! Accounts, certificates, escrow, vouchers and the witness set.
//!
//! It is not a blockchain and no place for I/O: no mining, no total order, no clock, no entropy, no
//! socket. It makes no credit from nothing either: what the genesis record grants is all there is.
mod block;
mod bounded;
mod claim;
mod equivocation;
mod error;
mod genesis;
mod ledger;
pub mod statement;
mod vote;
mod vote_log;
mod witness;

pub use block::{
    Block, BlockKind, CREDITS_MAX, FEE_PPM, PAYMENTS_MAX, PRICES_MAX, Payment, PriceList,
    SignedBlock, block_hash, fee, payable,
};
pub use claim::{
    CLAIM_AGREEING_MAX, CLAIM_TASKS_MAX, Claim, ClaimBook, ClaimedTask, DISMISSED_MAX, Owed,
    STANDING_CLAIMS_MAX, STANDING_TASKS_MAX, check_claim,
};
pub use equivocation::EquivocationProof;
pub use error::{ClaimError, LedgerError};
pub use genesis::{
    GENESIS_SET_VERSION, GENESIS_VERSION, Genesis, GenesisError, Network, POOL_NAME_BYTES_MAX,
};
pub use ledger::{
    AccountView, Applied, CONFLICTS_MAX, Conflict, EscrowState, EscrowView, Ledger, Merged,
    Refused, Totals,
};
pub use statement::{
    Assignment, Commit, Execution, ExecutionError, FaultProof, Reveal, Voucher, commit_hash,
    task_id,
};
pub use vote::{Certificate, Vote, VoteBody, VoteCollector, VoteError};
pub use vote_log::{HandOverError, Record, Refusal, RestoreError, VoteLog, Voted};
pub use witness::{HANDOVER_HEADS_MAX, Handover, WITNESSES_MAX, WitnessSet, WitnessSetError};
