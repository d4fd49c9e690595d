//! The commands of `ledger`.

use clap::Subcommand;

use super::count;

/// `ledger`.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Show a balance
    #[command(after_help = "\
Examples:
  edge-net ledger balance
  edge-net ledger balance 3f9a     of another member")]
    Balance {
        /// The account [default: this node's]
        account: Option<String>,
    },
    /// Show an account's blocks, oldest first
    #[command(after_help = "\
Example:
  edge-net ledger history -n 10")]
    History {
        /// The account [default: this node's]
        account: Option<String>,
        /// At most this many, the newest
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = count)]
        limit: usize,
    },
    /// Check every certificate again and add up
    #[command(after_help = "\
Example:
  edge-net ledger verify")]
    Verify,
    /// Show the last checkpoint: what the witnesses agreed that the ledger comes to
    #[command(after_help = "\
Examples:
  edge-net ledger checkpoint
  edge-net ledger checkpoint --json     edge-net.checkpoint/1")]
    Checkpoint,
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
    /// Show the parameters of the pool's economy, or, as a witness, want one to change
    #[command(after_help = "\
A parameter changes with the next checkpoint once a quorum of witnesses wants the same value. It moves by
at most a step an epoch, inside its range; who wants what is shown.

Examples:
  edge-net ledger parameter
  edge-net ledger parameter fee-rate 2500     2500 millionths of what is paid are burned")]
    Parameter {
        /// Its name
        #[arg(requires = "value")]
        name: Option<String>,
        /// What it should be, in its unit
        value: Option<u64>,
    },
    /// Name the witnesses: a set of 4, 7 ... 31, this node, the founder, among them
    #[command(after_help = "\
The first time the founder hands its duty over alone. Later the present witnesses have to agree: at most
f of 3f + 1 leave at a time, and three more join than leave. Until they did, nothing is certified.

Example (the ids stand in `edge-net peer ls`):
  edge-net ledger handover ID ID ID")]
    Handover {
        /// The other witnesses: identities, ids or their beginnings
        #[arg(required = true, value_name = "ID")]
        witnesses: Vec<String>,
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
    },
}
