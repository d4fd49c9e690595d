//! Coherence: what a pool does with two signed claims that cannot both be true.
//!
//! It is no consensus on an order of events and no court of opinions: only conflicts that anybody
//! can decide from signed statements come here, and the only thing that an authority adds to them
//! is whether their maker put them right in time. It is no place for I/O: no clock, entropy,
//! thread, file or socket; times are given in.
//!
//! The model. Signed statements are *events* of a context (a collection, say), linked to those they
//! build on in a [`Dag`]. Some of them are [`Claim`]s about a subject; two of one subject may
//! conflict, and what was built on either is tainted ([`Dag::taint`]). Whoever sees both opens a
//! [`Case`] and shows them to others: they are complete evidence. The case's state is a function of
//! the evidence, of the [`Ballot`]s heard and of the time that passed, never of the order in which
//! they came: [`State::Asserted`], contested, quarantined (soft: answers say so; hard: nothing is
//! built on it), and at last upheld, rejected or expired. Authorities ([`Authority`], n = 3f + 1,
//! quorum n − f) vote at most once at each level of a case; a ballot covers context, epoch, level,
//! conflict, verdict and the digest of the set of evidence it rests on, which is the root of an
//! append-only Merkle log (RFC 9162), so that one statement can be shown to be in it
//! ([`MerkleLog`]). An authority that cannot decide passes the case on to a wider one, and is bound
//! by that: the wider one's ballots count only under the seal of a quorum of the narrower one.
//!
//! ```
//! use edge_base::{Digest, Micros, SecretKey, Signed, Timestamp, Verifier};
//! use edge_coherence::{Authority, Ballot, Case, Deadlines, Level, State, Subject, Verdict};
//!
//! let (pool, mut verifier) = (Digest::of(b"pool"), Verifier::strict());
//! let keys: Vec<SecretKey> = (1..=4).map(|i| SecretKey::from_seed([i; 32])).collect();
//! let authority = Authority::each_its_own(1, keys.iter().map(SecretKey::node_id)).unwrap();
//! let accused = SecretKey::from_seed([9; 32]).node_id();
//! let subject = Subject { context: Digest::of(b"context"), conflict: Digest::of(b"s"), accused };
//! let within = Deadlines { repair: Micros(10), escalate: Micros(20), expire: Micros(90) };
//!
//! let mut case = Case::new(subject, authority, Timestamp(0));
//! assert_eq!(case.state(Timestamp(0), &within), State::Asserted);
//! let evidence = Digest::of(b"two heads, checked");
//! case.show(evidence);
//! assert_eq!(case.state(Timestamp(0), &within), State::Contested);
//! for key in &keys[..3] {
//!     let ballot = Ballot {
//!         context: subject.context,
//!         epoch: 1,
//!         level: Level::Narrow,
//!         conflict: subject.conflict,
//!         evidence,
//!         verdict: Verdict::Uphold,
//!     };
//!     case.take(Signed::seal(ballot, key, &pool), &mut verifier, &pool).unwrap();
//! }
//! assert_eq!(case.state(Timestamp(11), &within), State::Upheld);
//! ```
//!
//! Invariants (each a test in `tests/suite`)
//! - No state without its evidence: contested needs a conflict that was shown, a hard quarantine
//!   one honest authority's ballot, a verdict a quorum.
//! - With fewer than a third of an authority faulty, upheld and rejected exclude each other,
//!   whatever is withheld from whom, through escalation too.
//! - The order of arrival does not change the state, and a case changes its state at most five
//!   times.
//! - One more supporter by a known path changes nothing.
//! - Everything that can be sent here has a bound: parents, events that wait, sets of evidence,
//!   ballots of a member, members of an authority.

#![warn(clippy::iter_over_hash_type)]

mod authority;
mod bond;
mod case;
mod claim;
mod dag;
mod merkle_log;
mod paths;

pub use authority::{
    AUTHORITY_MAX, Authority, AuthorityError, BALLOTS_OF_ONE_MAX, Ballot, Level, Verdict,
};
pub use bond::Bonds;
pub use case::{
    BallotError, Case, Deadlines, Decision, EVIDENCE_MAX, KEPT_MAX, Quarantine, State, Subject,
};
pub use claim::{Claim, Finding};
pub use dag::{Dag, DagError, EVENTS_MAX, PARENTS_MAX, WAITING_MAX};
pub use merkle_log::{
    LEAVES_MAX, MerkleLog, empty_root, evidence_root, leaf_hash, verify_consistency,
    verify_inclusion,
};
pub use paths::{Path, distinct};
