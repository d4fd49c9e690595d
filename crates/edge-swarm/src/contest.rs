//! Evidence that an owner said two things about one position of a shard, and how it is put right.

use edge_base::{CollectionId, Digest, Domain, NodeId, ShardId, Signed, SignedBody, Verifier};
use edge_coherence::{AUTHORITY_MAX, Claim, Decision, Finding, evidence_root};
use serde::{Deserialize, Serialize};

use crate::message::{CollectionSpec, ShardHead, shard_id};

/// Pairs of heads in one contest.
pub const PAIRS_MAX: usize = 4;
/// Repairs in one contest: two that differ are none.
pub const REPAIRS_MAX: usize = 2;
/// The largest place of a shard in its collection.
const INDEX_MAX: u32 = 1 << 20;

/// What a head claims: that the log of a shard has this chain hash, root and number of rows at a
/// position. Who holds copies is no part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadClaim<'a>(pub &'a ShardHead);

/// What a node that executed a shard's log knows of a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replayed {
    /// The position.
    pub seq: u64,
    /// The log's chain hash there, where it is known.
    pub chain: Option<Digest>,
    /// The root that executing the log gave.
    pub root: Digest,
}

impl HeadClaim<'_> {
    /// Names the claim: equal for heads that differ in their copies only.
    pub fn digest(&self, owner: &NodeId) -> Digest {
        let ShardHead { collection, index, seq, chain, root, rows, .. } = self.0;
        Digest::of_value("head-claim", &(owner, collection, index, seq, chain, root, rows))
    }
}

impl Claim for HeadClaim<'_> {
    type Subject = (CollectionId, u32, u64);
    type Evidence = Option<Replayed>;

    fn subject(&self) -> Self::Subject {
        (self.0.collection, self.0.index, self.0.seq)
    }

    fn conflicts(&self, other: &Self) -> bool {
        let says = |claim: &Self| (claim.0.chain, claim.0.root, claim.0.rows);
        self.subject() == other.subject() && says(self) != says(other)
    }

    fn verify(&self, evidence: &Self::Evidence) -> Finding {
        match evidence.filter(|replayed| replayed.seq == self.0.seq) {
            Some(replayed) if replayed.root == self.0.root => Finding::True,
            // Of the same log, and so its root would have to be the same.
            Some(replayed) if replayed.chain == Some(self.0.chain) => Finding::False,
            Some(_) | None => Finding::Unknown,
        }
    }
}

/// Two heads of one owner for one position that differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeadPair {
    /// That of the smaller digest.
    pub first: Signed<ShardHead>,
    /// The other one.
    pub second: Signed<ShardHead>,
}

impl HeadPair {
    /// A pair, whichever comes first.
    pub fn new(a: Signed<ShardHead>, b: Signed<ShardHead>) -> Self {
        let digest = |head: &Signed<ShardHead>| HeadClaim(&head.body).digest(&head.signer);
        if digest(&a) <= digest(&b) {
            HeadPair { first: a, second: b }
        } else {
            HeadPair { first: b, second: a }
        }
    }

    /// The claims' digests.
    pub fn claims(&self) -> [Digest; 2] {
        [&self.first, &self.second].map(|head| HeadClaim(&head.body).digest(&head.signer))
    }
}

/// An owner whose data was rolled back says which of its heads stands. The shard ends there: an
/// owner that cannot tell which log it wrote cannot continue it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Repair {
    /// The head that stands.
    pub kept: Signed<ShardHead>,
}

impl SignedBody for Repair {
    const DOMAIN: Domain = Domain("head-repair");
}

/// Everything about one conflict; complete in itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Contest {
    /// The collection, which names its owner.
    pub spec: Signed<CollectionSpec>,
    /// The shard's place in it.
    pub index: u32,
    /// 1 to [`PAIRS_MAX`] contradictions.
    pub pairs: Vec<HeadPair>,
    /// What the owner said to them.
    pub repairs: Vec<Signed<Repair>>,
    /// How they were settled.
    pub decision: Option<Decision>,
}

/// Evidence that is none: the fault of who sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no contradiction of one owner about one position")]
pub struct NoContest;

impl Contest {
    /// Whether lists are in their bounds.
    pub fn in_bounds(&self) -> bool {
        let head = |head: &Signed<ShardHead>| head.body.replicas.len() <= 64;
        let ballots = |d: &Decision| d.ballots.len() <= 4 * AUTHORITY_MAX;
        (1..=PAIRS_MAX).contains(&self.pairs.len())
            && self.repairs.len() <= REPAIRS_MAX
            && self.index <= INDEX_MAX
            && self.pairs.iter().all(|pair| head(&pair.first) && head(&pair.second))
            && self.repairs.iter().all(|repair| head(&repair.body.kept))
            && self.decision.as_ref().is_none_or(ballots)
    }

    /// The owner, who signed all of it.
    pub fn owner(&self) -> NodeId {
        self.spec.signer
    }

    /// The collection.
    pub fn collection(&self) -> CollectionId {
        self.spec.body.id(&self.spec.signer)
    }

    /// The shard.
    pub fn shard(&self) -> ShardId {
        shard_id(&self.collection(), self.index)
    }

    /// The earliest position at which the owner contradicts itself.
    pub fn fork(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.first.body.seq).min().unwrap_or(0)
    }

    /// Every set of evidence that a ballot may rest on: a pair, with some of the repairs.
    pub fn evidence(&self) -> Vec<Digest> {
        let repairs: Vec<Digest> = self.repairs.iter().map(Signed::digest).collect();
        let subsets = 1_u32 << repairs.len().min(REPAIRS_MAX);
        let of = |pair: &HeadPair, subset: u32| {
            let chosen = repairs.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1);
            evidence_root(pair.claims().into_iter().chain(chosen.map(|(_, digest)| *digest)))
        };
        self.pairs.iter().flat_map(|pair| (0..subsets).map(move |s| of(pair, s))).collect()
    }

    /// Checks all but the decision: every pair contradicts itself, and the owner signed everything.
    pub fn check(&self, verifier: &mut Verifier, pool: &Digest) -> Result<(), NoContest> {
        let (owner, collection) = (self.owner(), self.collection());
        let ours = |head: &Signed<ShardHead>| {
            let place = (head.body.collection, head.body.index);
            head.signer == owner && place == (collection, self.index)
        };
        let contradicts = |pair: &HeadPair| {
            HeadClaim(&pair.first.body).conflicts(&HeadClaim(&pair.second.body))
                && ours(&pair.first)
                && ours(&pair.second)
        };
        let fork = self.fork();
        let repairs = |repair: &Signed<Repair>| {
            let kept = &repair.body.kept;
            repair.signer == owner && ours(kept) && kept.body.seq >= fork
        };
        if !self.in_bounds()
            || !self.pairs.iter().all(contradicts)
            || !self.repairs.iter().all(repairs)
        {
            return Err(NoContest);
        }
        self.spec.open(verifier, pool).map_err(|_| NoContest)?;
        for pair in &self.pairs {
            pair.first.open(verifier, pool).map_err(|_| NoContest)?;
            pair.second.open(verifier, pool).map_err(|_| NoContest)?;
        }
        for repair in &self.repairs {
            repair.open(verifier, pool).map_err(|_| NoContest)?;
            repair.body.kept.open(verifier, pool).map_err(|_| NoContest)?;
        }
        Ok(())
    }
}
