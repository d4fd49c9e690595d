//! What a claim must answer.

/// What looking into a claim gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The evidence bears the claim out.
    True,
    /// The evidence contradicts it.
    False,
    /// The evidence does not reach it.
    Unknown,
}

/// A signed statement about a subject, of which two can contradict each other.
///
/// Laws: `conflicts` is symmetric, never holds between a claim and itself, and holds only between
/// claims of one subject. Both functions are pure: every node decides alike.
pub trait Claim {
    /// What claims are about. Claims of different subjects never conflict.
    type Subject: Ord + Clone;
    /// What a claim is checked against.
    type Evidence: ?Sized;

    /// What this claim is about.
    fn subject(&self) -> Self::Subject;

    /// Whether both cannot be true.
    fn conflicts(&self, other: &Self) -> bool;

    /// Whether the evidence bears this claim out.
    fn verify(&self, evidence: &Self::Evidence) -> Finding;
}
