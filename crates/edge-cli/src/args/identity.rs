//! The commands of `identity`.

use std::path::PathBuf;

use clap::Subcommand;

/// `identity`.
#[derive(Debug, Subcommand)]
pub(crate) enum Identity {
    /// Show this node's identity
    #[command(after_help = "\
Example:
  edge-net identity show")]
    Show,
    /// Write an encrypted backup of the identity
    #[command(after_help = "\
The password is read from the file --password-file names, from EDGE_NET_PASSWORD, or from the
terminal. Ledger and records are not in the backup; the pool has them. After a restore with the
backup alone this node's collections can be searched and not written to.

Example:
  edge-net identity export me.backup")]
    Export {
        /// Where to write it
        file: PathBuf,
        /// Read the password from this file
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Restore an identity into a data folder that has none
    #[command(after_help = "\
The node it was exported from must never be started again. With the identity alone the pool has to
be entered with a ticket of one of its members, and the node never votes as a witness again.

Example:
  edge-net --data-dir ./restored identity import me.backup
  edge-net --data-dir ./restored start --join TICKET")]
    Import {
        /// The backup
        file: PathBuf,
        /// Read the password from this file
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Write a revocation of this node's key, for the day when the key is lost or stolen
    #[command(after_help = "\
Asks the running node for its pool. Keep the file beside the backup and away from this machine: who
has it can end this identity, and can do nothing else with it. The founder's key cannot be revoked:
none is written for it.

Example:
  edge-net identity revocation me.revocation")]
    Revocation {
        /// Where to write it
        file: PathBuf,
    },
    /// Revoke a key: every member refuses it from now on, for good
    #[command(after_help = "\
Any node of the pool can pass a revocation on. Nothing takes it back. Before you revoke a key that
you still have, send its credits to another member (`edge-net ledger send`): nobody votes for its
blocks afterwards. A node goes on under a new key with an empty --data-dir and a ticket. The
founder's key cannot be revoked.

Examples:
  edge-net identity revoke me.revocation --yes     a key that was lost
  edge-net identity revoke --yes                   this node's own key")]
    Revoke {
        /// What `identity revocation` wrote; without it this node's own key is revoked
        file: Option<PathBuf>,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Replace this node's key by a new one: it stays the member that it is
    #[command(after_help = "\
Asks the running node. It makes a new key, ends its own tasks and payments, gives its account to
the new key, tells everybody, and starts again under it by itself: some seconds. Credits, stake,
invitations, reputation and faults go with it. Collections of this node stay as they are and
cannot be written to any more; tickets that are out are void.

The old key is dead afterwards. Make a backup and a revocation of the new one (`edge-net identity
export`, `edge-net identity revocation`) and destroy those of the old: who has the old key, or
its revocation, can end the new one with it, and gets none of its credits. A witness leaves the
set first (`edge-net ledger handover`); the founder's key is part of the pool and is not
replaced.

Example:
  edge-net identity rotate --yes")]
    Rotate {
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Print a one-time ticket with which another node joins this pool
    #[command(after_help = "\
A ticket that was not used ends after a week, or with `edge-net identity withdraw`.

Examples:
  edge-net identity invite                  for a stranger: its results are always checked
  edge-net identity invite --owner          for another machine of yours
  edge-net identity invite --credits 100    with something to spend")]
    Invite {
        /// The newcomer is yours: its results are trusted and audited
        #[arg(long)]
        owner: bool,
        /// rUv granted when it joins
        #[arg(long, value_name = "RUV", default_value = "0")]
        credits: String,
    },
    /// List this node's tickets: those that are out, and who used the others
    #[command(after_help = "\
The tickets themselves are not kept, only a digest of each: its id.

Example:
  edge-net identity tickets")]
    Tickets,
    /// Make tickets void that nobody used
    #[command(after_help = "\
Examples:
  edge-net identity withdraw 3f9a         the beginning of an id of `edge-net identity tickets`
  edge-net identity withdraw --all")]
    Withdraw {
        /// Ids of tickets, or tickets
        #[arg(value_name = "TICKET", required_unless_present = "all", conflicts_with = "all")]
        tickets: Vec<String>,
        /// Every ticket that is out
        #[arg(long)]
        all: bool,
    },
}
