//! The commands of `ledger`.

use clap::Subcommand;

use super::count;

/// `ledger`.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Show a balance, and a payment of this node that waits for votes
    #[command(after_help = "\
A payment that is signed goes on by itself until a quorum of witnesses voted for it, whoever waits;
until then it is shown with its votes, and another one is refused.

Examples:
  edge-net ledger balance
  edge-net ledger balance 3f9a     of another member")]
    Balance {
        /// The account [default: this node's]
        account: Option<String>,
    },
    /// Show an account's blocks, oldest first
    #[command(after_help = "\
Blocks that were certified before the checkpoint before the last are not kept: their sums are in the
checkpoint.

Example:
  edge-net ledger history -n 10")]
    History {
        /// The account [default: this node's]
        account: Option<String>,
        /// At most this many, the newest
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = count)]
        limit: usize,
    },
    /// Send credits to another member
    #[command(after_help = "\
Nothing takes it back. While another payment of this node is not certified it is refused: asking
again after a time-out would pay twice. Pressing Ctrl-C ends a payment that is not signed yet; one
that is signed goes on, and `edge-net ledger block` says what became of it.

Examples:
  edge-net ledger send 3f9a01c2 12.5           says to whom, and sends nothing
  edge-net ledger send 3f9a01c2 12.5 --yes
  edge-net ledger send 3f9a01c2 1 --yes --json     the block, edge-net.sent/1")]
    Send {
        /// The member: its identity, its id, or the beginning of its id (8 digits with --yes)
        to: String,
        /// rUv, at most six digits after the point
        #[arg(value_name = "RUV")]
        amount: String,
        /// Do it
        #[arg(long)]
        yes: bool,
        /// On top of a payment that is not certified yet, after it
        #[arg(long)]
        after_pending: bool,
    },
    /// Say what became of a block: certified, or still waiting for votes
    #[command(after_help = "\
Examples:
  edge-net ledger block 8c1f...        a hash of `edge-net ledger balance` or `ledger history`
  edge-net ledger block 8c1f --json    edge-net.block/1")]
    Block {
        /// Its hash, or the beginning of one of this node's own
        hash: String,
    },
    /// Check every certificate since the last checkpoint again and add up
    #[command(after_help = "\
Where there is a checkpoint, the state of all accounts in it stands for the certificates before: the
signatures of the witnesses that decided it are verified again, and everything since. A pool without
checkpoints (a single witness) is verified from its beginning.
It says how many blocks are known by the checkpoint alone.

Example:
  edge-net ledger verify")]
    Verify,
    /// Show the last checkpoint: what the witnesses agreed that the ledger comes to
    #[command(after_help = "\
Examples:
  edge-net ledger checkpoint
  edge-net ledger checkpoint --json     edge-net.checkpoint/1")]
    Checkpoint,
    /// Show how the pool's economy went in the last 24 hours, as far as this node saw it
    #[command(after_help = "\
What has too few samples is left out: utilization takes ten minutes, stability 30 settlements,
growth seven days, velocity three epochs. What happened while the node did not run is not counted.

Examples:
  edge-net ledger economy
  edge-net ledger economy --json        edge-net.economy/1")]
    Economy,
    /// Prove what an account came to in the last checkpoint
    #[command(after_help = "\
The proof is checked before it is shown. With --json it is there in hexadecimal, for whoever trusts the
checkpoint's root and keeps no ledger.

Examples:
  edge-net ledger proof
  edge-net ledger proof 3f9a --json     edge-net.proof/1")]
    Proof {
        /// The account [default: this node's]
        account: Option<String>,
    },
    /// Show the parameters of the pool's economy, or one, or, as a witness, want one to change
    #[command(after_help = "\
A parameter changes with the next checkpoint once a quorum of witnesses wants the same value. It moves by
at most a step an epoch, inside its range; who wants what is shown.

Examples:
  edge-net ledger parameter
  edge-net ledger parameter fee-rate          this one
  edge-net ledger parameter fee-rate 2500     2500 millionths of what is paid are burned")]
    Parameter {
        /// Its name
        name: Option<String>,
        /// What it should be, in its unit
        value: Option<u64>,
    },
    /// Name the witnesses: a set of 4, 7 ... 31, this node, the founder, among them
    #[command(after_help = "\
The first time the founder hands its duty over alone, and it cannot take it back. Later the present
witnesses have to agree: at most f of 3f + 1 leave at a time, and at most three more join than
leave. Until they did, nothing is certified. Who joins has to be connected and able to vote: not a
revoked key, not data that were copied or restored.

Examples (the ids stand in `edge-net peer ls`):
  edge-net ledger handover ID ID ID          shows the set that would be, in full
  edge-net ledger handover ID ID ID --yes")]
    Handover {
        /// The other witnesses: identities, ids, or beginnings of ids (8 digits with --yes)
        #[arg(required = true, value_name = "ID")]
        witnesses: Vec<String>,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Put credits at stake: they answer for this node's work
    #[command(after_help = "\
A part of it is burned when this node is caught: all of it when a proven fault names it, or
it signs two blocks at one number (`edge-net ledger parameter` has the rates).

Examples:
  edge-net ledger stake 50
  edge-net ledger stake 50 --json     the balance afterwards, edge-net.balance/1")]
    Stake {
        /// rUv, at most six digits after the point
        #[arg(value_name = "RUV")]
        amount: String,
        /// On top of a payment that is not certified yet, after it
        #[arg(long)]
        after_pending: bool,
    },
    /// Take stake back: spendable again a day later, by itself
    #[command(after_help = "\
The day is counted by each witness, from when it heard of it and anew when it restarts; this node has to
run at its end. Until then the credits are leaving: lost like stake if this node is caught.

Examples:
  edge-net ledger unstake 20
  edge-net ledger balance             says when it can be released")]
    Unstake {
        /// rUv, at most six digits after the point
        #[arg(value_name = "RUV")]
        amount: String,
        /// On top of a payment that is not certified yet, after it
        #[arg(long)]
        after_pending: bool,
    },
}
