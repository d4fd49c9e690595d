//! What whoever reads gossip says of it to whoever passes it on.

/// Whether gossip is passed on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Validation {
    /// It is new and holds: it is passed on.
    Accept,
    /// It is not passed on, and nobody is to blame.
    Ignore,
    /// It does not hold: it is not passed on, and counts against whoever brought it.
    Reject,
}
