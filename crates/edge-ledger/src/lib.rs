//! Accounts, certificates, escrow, vouchers and the witness set: how credits move in a pool whose
//! members do not trust each other, and how whoever worked gets paid.
//!
//! It is not a blockchain: there is no mining and no total order of everybody's transactions. It is
//! no place for I/O: no clock, entropy, thread, file or socket. And it makes no credit from nothing:
//! there is what the genesis record grants, and what checkpoints mint for work that they assigned.
//!
//! The model. An account is its owner's signed chain of [`Block`]s. A witness checks a block and
//! votes for it, at most once per (account, seq, set version) ([`VoteLog`]); a quorum of the
//! [`WitnessSet`]'s votes makes a [`Certificate`], which is final. The [`Ledger`] is a set of
//! certificates that merges by union; balances are a pure fold over it. A payment takes effect in
//! two steps: the payer's certificate exists, then the receiver's next block lists it in `credits`.
//! A single owner's transfers need no consensus (Guerraoui et al., arXiv 1906.05574; FastPay, arXiv
//! 2003.11506; Astro, arXiv 2004.13184): the owner orders them, witnesses only refuse a second block at one
//! seq. Jobs are paid from an escrow: signed cumulative [`Voucher`]s say what is owed, one Settle
//! ends the escrow, and a worker that was forgotten raises a claim ([`ClaimBook`]). An owner stakes credits that
//! answer for its work; [`Ledger::slash`] marks an account that was caught, no witness votes for
//! taking a marked stake back, and the next checkpoint burns a part of it.
//!
//! ```
//! use std::sync::Arc;
//! use edge_base::{Credits, Digest, SecretKey, Signed, Verifier};
//! use edge_ledger::{BlockKind, ClaimBook, Genesis, Ledger, Network, VoteCollector, VoteLog};
//!
//! let founder = SecretKey::from_seed([1; 32]);
//! let worker = SecretKey::from_seed([2; 32]).node_id();
//! let grant = Credits::from_whole(1_000_000).unwrap();
//! let genesis = Genesis::new(Network::Test, founder.node_id(), grant, "demo", [0; 32]).unwrap();
//! let mut ledger = Ledger::new(genesis).unwrap();
//! let mut verifier = Verifier::strict();
//!
//! // The owner writes its next block and signs it ...
//! let amount = Credits::from_whole(25).unwrap();
//! let kind = BlockKind::Send { to: worker, amount, memo: Digest::default() };
//! let block = ledger.next_block(founder.node_id(), kind).unwrap();
//! let block = Signed::seal(block, &founder, &ledger.pool());
//!
//! // ... each witness votes, and makes the record durable before the vote leaves ...
//! let mut log = VoteLog::new();
//! let claims = ClaimBook::new();
//! let voted = log.vote(&ledger, &claims, &block, &founder, &mut verifier).unwrap();
//!
//! // ... and a quorum of votes is a certificate, which every ledger of the pool takes.
//! let mut collector = VoteCollector::new(block, ledger.witness_set(), ledger.pool());
//! let certificate = collector.add(&voted.vote, &mut verifier).unwrap().unwrap();
//! ledger.apply(Arc::new(certificate), &mut verifier).unwrap();
//! assert_eq!(ledger.account(&worker).incoming, amount);
//! assert!(ledger.totals().conserved());
//! ```
//!
//! Invariants (each a test in `tests/suite`, all of them at once in `adversary`)
//! - Σ balances + Σ open escrows + Σ uncredited payments + Σ stake = grant + Σ minted − Σ burned, after every
//!   step: fees are burned, and stake up to the penalties; stake that is leaving counts until its Release.
//! - A balance is never negative; a payment is credited at most once; an escrow and a withdrawal end
//!   at most once.
//! - Fewer than n/3 faulty witnesses: at most one certificate per (account, seq).
//! - The union of certificate sets is commutative, associative and idempotent; so is that of marks.
//! - The blocks of an account are one key's at a time: a Rotate gives the account to another key, moves
//!   nothing, and the key before signs none of its blocks any more.
//! - A witness that restarts from its durable records never votes for a second block at one place.
//! - Every vector that travels has a bound, checked when it is decoded and when it is applied.
//!
//! Rules for an owner. Make a block durable before it leaves, and after a crash send *that* block
//! again: a second block at the same seq freezes the account, for ever. With restored state, ask a
//! quorum for the head before signing. Settle at least what was vouched for.

#![warn(clippy::iter_over_hash_type)]

mod account;
mod agreement;
mod audit;
mod block;
mod bounded;
mod checkpoint;
mod claim;
mod equivocation;
mod error;
mod genesis;
mod ledger;
mod mint;
mod offence;
mod parameter;
mod resolution;
mod sketch;
pub mod statement;
mod table;
mod uptime;
mod vote;
mod vote_log;
mod witness;

pub use account::{
    AccountProof, AccountState, AccountSummary, AccountTree, Accounts, HOLDINGS_MAX, OpenEscrow,
};
pub use agreement::{
    Act, Agreement, Ballot, Decision, Phase, Polka, Proposal, Proposed, ROUNDS_AHEAD_MAX,
    ROUNDS_KEPT_MAX, Statement, Step, culprits,
};
pub use audit::{
    AUDIT_BYTES_MAX, AUDITORS, AUDITS_MAX, AUDITS_PER_REQUESTER, AuditCommits, Certified, Rewards,
    VESTING_MAX, cpu_ns, is_audited, rank, rewards,
};
pub use block::{
    Block, BlockKind, CREDITS_MAX, PAYMENTS_MAX, PRICES_MAX, Payment, PriceList, SignedBlock,
    WITHDRAWALS_MAX, block_hash,
};
pub use checkpoint::{
    CARRIED_MAX, CUT_MAX, Carried, Change, ChangeOrder, Checkpoint, Closing, Decided, Plan, Sealed,
};
pub use claim::{
    CLAIMS_PER_ESCROW_MAX, ClaimBook, OVERDRAFT_VOUCHERS_MAX, OverdraftProof, Owed,
    STANDING_CLAIMS_MAX, check_claim,
};
pub use equivocation::EquivocationProof;
pub use error::{ClaimError, LedgerError};
pub use genesis::{
    GENESIS_SET_VERSION, GENESIS_VERSION, Genesis, GenesisError, Network, POOL_NAME_BYTES_MAX,
};
pub use ledger::{
    AccountView, Applied, Base, CONFLICTS_MAX, Compared, Conflict, EscrowState, EscrowView, Heads,
    Ledger, Merged, Refused, Totals,
};
pub use mint::CpuHours;
pub use offence::{OFFENCES_MAX, Offence, OffenceKind};
pub use parameter::{
    Amendment, FEES_MAX, FeeRate, Parameter, ParameterVote, Parameters, Rule, Unit,
};
pub use resolution::Resolutions;
pub use sketch::{
    Cell, Difference, Head, SKETCH_CELLS_MAX, SKETCH_COUNTERS, Sketch, SketchKey, Undecoded,
};
pub use statement::{
    Assignment, Commit, Execution, ExecutionError, FaultProof, Reveal, Voucher, commit_hash,
    task_id,
};
pub use uptime::{CALL_SECONDS, CALLED_MAX, COUNTED_MAX, Seen, call_rank, counted, pay};
pub use vote::{Certificate, Vote, VoteBody, VoteCollector, VoteError};
pub use vote_log::{HandOverError, Record, Refusal, RestoreError, VoteLog, Voted};
pub use witness::{HANDOVER_HEADS_MAX, Handover, WITNESSES_MAX, WitnessSet, WitnessSetError};
