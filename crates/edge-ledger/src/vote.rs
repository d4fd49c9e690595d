//! Votes of witnesses, and certificates made of them (FastPay, arXiv 2003.11506).

use edge_base::{Digest, Domain, NodeId, Signature, Signed, SignedBody, Verifier};
use serde::{Deserialize, Serialize};

use crate::{
    block::{Block, SignedBlock, block_hash},
    bounded,
    witness::{WITNESSES_MAX, WitnessSet},
};

/// A witness's word that it signs no other block at this (account, seq) under this set version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VoteBody {
    /// The witness set it votes in.
    pub set_version: u64,
    /// The block's epoch.
    pub epoch: u64,
    /// The block's hash.
    pub block: Digest,
}

impl SignedBody for VoteBody {
    const DOMAIN: Domain = Domain("ledger/vote");
}

/// A vote with its witness's signature.
pub type Vote = Signed<VoteBody>;

/// A block and a quorum of votes for it: final, and checkable by anybody who knows the set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// The block.
    pub block: SignedBlock,
    /// The witness set that voted.
    pub set_version: u64,
    /// Who voted, ascending, each once. The signed [`VoteBody`] follows from the rest.
    #[serde(deserialize_with = "bounded::vec::<_, _, WITNESSES_MAX>")]
    pub votes: Vec<(NodeId, Signature)>,
}

/// Votes that make no certificate: the fault of whoever put them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VoteError {
    /// A vote in another version of the set.
    #[error("a vote under witness set version {got} where {expected} counts")]
    SetVersion {
        /// The version voted under.
        got: u64,
        /// The version that counts.
        expected: u64,
    },
    /// A vote for another block or another epoch.
    #[error("a vote for another block")]
    OtherBlock,
    /// The voter is not in the set.
    #[error("{0} is not a witness of this set")]
    NotAWitness(NodeId),
    /// Unsorted, or a voter twice.
    #[error("the votes are not ascending and distinct by witness")]
    Order,
    /// Too few votes.
    #[error("{have} votes where {need} are the quorum")]
    Quorum {
        /// The votes there are.
        have: usize,
        /// The quorum.
        need: usize,
    },
    /// A vote that its witness did not sign.
    #[error("the vote of {0} is not signed by it")]
    Signature(NodeId),
}

impl Certificate {
    /// The block's hash: two certificates of one block are the same certificate.
    pub fn id(&self) -> Digest {
        block_hash(&self.block)
    }

    /// The block's body.
    pub fn body(&self) -> &Block {
        &self.block.body
    }

    /// Checks the votes against the set (not the block: that is the ledger's).
    pub fn check_votes(
        &self,
        set: &WitnessSet,
        pool: &Digest,
        verifier: &mut Verifier,
    ) -> Result<(), VoteError> {
        self.check_votes_on(self.id(), set, pool, verifier)
    }

    /// The same for whoever has computed the block's hash already.
    pub(crate) fn check_votes_on(
        &self,
        id: Digest,
        set: &WitnessSet,
        pool: &Digest,
        verifier: &mut Verifier,
    ) -> Result<(), VoteError> {
        if self.set_version != set.version {
            let (got, expected) = (self.set_version, set.version);
            return Err(VoteError::SetVersion { got, expected });
        }
        if !bounded::strictly_ascending(self.votes.iter().map(|(voter, _)| voter)) {
            return Err(VoteError::Order);
        }
        if let Some((voter, _)) = self.votes.iter().find(|(voter, _)| !set.contains(voter)) {
            return Err(VoteError::NotAWitness(*voter));
        }
        if self.votes.len() < set.quorum() {
            return Err(VoteError::Quorum { have: self.votes.len(), need: set.quorum() });
        }
        let body =
            VoteBody { set_version: self.set_version, epoch: self.block.body.epoch, block: id };
        for (voter, signature) in &self.votes {
            let vote = Signed { signer: *voter, body, signature: *signature };
            vote.open(verifier, pool).map_err(|_| VoteError::Signature(*voter))?;
        }
        Ok(())
    }
}

/// Gathers votes for one block until they are a quorum.
#[derive(Clone, Debug)]
pub struct VoteCollector {
    block: SignedBlock,
    expected: VoteBody,
    set: WitnessSet,
    pool: Digest,
    votes: Vec<(NodeId, Signature)>,
}

impl VoteCollector {
    /// Gathers for a block in a set of a pool.
    pub fn new(block: SignedBlock, set: &WitnessSet, pool: Digest) -> Self {
        let expected = VoteBody {
            set_version: set.version,
            epoch: block.body.epoch,
            block: block_hash(&block),
        };
        VoteCollector { block, expected, set: set.clone(), pool, votes: Vec::new() }
    }

    /// The block.
    pub fn block(&self) -> &SignedBlock {
        &self.block
    }

    /// The members whose vote is not in yet: whom to ask again.
    pub fn missing(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.set.members.iter().copied().filter(|member| self.position(member).is_err())
    }

    /// Votes that are in.
    pub fn votes(&self) -> usize {
        self.votes.len()
    }

    /// Takes a vote. Returns the certificate when this vote completes the quorum; a vote that is
    /// in already changes nothing.
    pub fn add(
        &mut self,
        vote: &Vote,
        verifier: &mut Verifier,
    ) -> Result<Option<Certificate>, VoteError> {
        if vote.body.set_version != self.set.version {
            let (got, expected) = (vote.body.set_version, self.set.version);
            return Err(VoteError::SetVersion { got, expected });
        }
        if vote.body != self.expected {
            return Err(VoteError::OtherBlock);
        }
        if !self.set.contains(&vote.signer) {
            return Err(VoteError::NotAWitness(vote.signer));
        }
        let Err(index) = self.position(&vote.signer) else { return Ok(None) };
        vote.open(verifier, &self.pool).map_err(|_| VoteError::Signature(vote.signer))?;
        self.votes.insert(index, (vote.signer, vote.signature));
        Ok((self.votes.len() == self.set.quorum()).then(|| Certificate {
            block: self.block.clone(),
            set_version: self.set.version,
            votes: self.votes.clone(),
        }))
    }

    fn position(&self, voter: &NodeId) -> Result<usize, usize> {
        self.votes.binary_search_by_key(voter, |(voter, _)| *voter)
    }
}
