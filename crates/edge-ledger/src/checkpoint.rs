//! Checkpoints: what a quorum of witnesses agreed that the whole ledger comes to.
//!
//! A checkpoint is one decision of an [`Agreement`](crate::Agreement) an epoch. Its [`Plan`] says which
//! blocks are in it, the *cut*; every witness computes the rest from its own ledger and prevotes only
//! for what it computed itself. Two uses: whoever trusts a checkpoint needs no certificate before it,
//! and the witness set changes in one.
//!
//! A change of the set must not lose what the old set certified. So the witnesses first end voting
//! under the old version, each by a [`Closing`] that names the root of everything certified that it
//! knows and every other block it voted for. A quorum of closings with one root shares an honest
//! witness with every quorum of votes: a block that could be certified is in the cut or *carried*, and
//! nothing else is ever certified at a carried block's place.

use edge_base::{Credits, Digest, Domain, NodeId, Signature, Signed, SignedBody, Verifier};
use serde::{Deserialize, Serialize};

use crate::{
    agreement::{Ballot, Phase},
    block::{SignedBlock, block_hash},
    bounded,
    error::LedgerError,
    mint::CpuHours,
    parameter::Parameters,
    resolution::Resolutions,
    vote::VoteError,
    witness::{WITNESSES_MAX, WitnessSet, WitnessSetError},
};

/// Accounts whose blocks one checkpoint may add to the last: what gossip carries. At the bound the
/// rest waits for the next one.
pub const CUT_MAX: usize = 4_096;
/// Blocks that one closing may name, and places that one checkpoint may carry. At the bound a
/// witness does not close: a change of the set waits until blocks on their way are certified.
pub const CARRIED_MAX: usize = 256;

/// A place at which a witness voted for a block that nobody has shown the certificate of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Carried {
    /// Whose chain.
    pub account: NodeId,
    /// The place after its head.
    pub seq: u64,
    /// The blocks voted for, ascending. One: it alone is certified there from now on. More: their
    /// owner signed them all, and no new votes are given for any.
    #[serde(deserialize_with = "bounded::vec::<_, _, WITNESSES_MAX>")]
    pub blocks: Vec<Digest>,
}

/// What the ledger comes to at the end of an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The epoch that begins with it.
    pub epoch: u64,
    /// The digest of the checkpoint before; of the handover for the first.
    pub prev: Digest,
    /// The witness set that decides it.
    pub version: u64,
    /// The root of the account tree.
    pub accounts: Digest,
    /// How many accounts.
    pub count: u64,
    /// The content digest of the encoded list of their states, ascending by account.
    pub snapshot: Digest,
    /// Everything ever granted or minted.
    pub supply: Credits,
    /// Everything ever burned.
    pub burned: Credits,
    /// Certified CPU-hours, by which may be minted.
    pub hours: CpuHours,
    /// What of the cap is set aside for being there, and not promised.
    pub fund: Credits,
    /// The parameters that hold from now on.
    pub parameters: Parameters,
    /// The digest of what it resolves beside blocks.
    pub resolutions: Digest,
    /// The set that witnesses from now on.
    pub set: WitnessSet,
    /// Places at which sets before may have certified a block beyond the accounts' heads, ascending by
    /// account.
    #[serde(deserialize_with = "bounded::vec::<_, _, CARRIED_MAX>")]
    pub carried: Vec<Carried>,
}

impl Checkpoint {
    /// What witnesses agree on.
    pub fn digest(&self) -> Digest {
        Digest::of_value("ledger/checkpoint/1", self)
    }

    /// Whether the set changes with it.
    pub fn changes_set(&self) -> bool {
        self.set.version != self.version
    }
}

/// A checkpoint with the precommits that decided it: checkable by anybody who knows the set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sealed {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The round of the precommits.
    pub round: u32,
    /// Who precommitted it, ascending.
    #[serde(deserialize_with = "bounded::vec::<_, _, WITNESSES_MAX>")]
    pub votes: Vec<(NodeId, Signature)>,
}

impl Sealed {
    /// Checks the precommits against the set that had to decide.
    pub fn check(
        &self,
        set: &WitnessSet,
        pool: &Digest,
        verifier: &mut Verifier,
    ) -> Result<(), VoteError> {
        let Checkpoint { epoch, version, .. } = self.checkpoint;
        if version != set.version {
            return Err(VoteError::SetVersion { got: version, expected: set.version });
        }
        if !bounded::strictly_ascending(self.votes.iter().map(|(voter, _)| voter)) {
            return Err(VoteError::Order);
        }
        if let Some((voter, _)) = self.votes.iter().find(|(voter, _)| !set.contains(voter)) {
            return Err(VoteError::NotAWitness(*voter));
        }
        let (have, need) = (self.votes.len(), set.quorum());
        if have < need {
            return Err(VoteError::Quorum { have, need });
        }
        let (round, value) = (self.round, Some(self.checkpoint.digest()));
        let phase = Phase::Precommit;
        let body = Ballot { version, epoch, round, phase, value, valid_round: None };
        for (voter, signature) in &self.votes {
            let ballot = Signed { signer: *voter, body, signature: *signature };
            ballot.open(verifier, pool).map_err(|_| VoteError::Signature(*voter))?;
        }
        Ok(())
    }
}

/// A decided checkpoint as it spreads: with its cut, who has the one before computes the rest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decided {
    /// The checkpoint and who decided it.
    pub sealed: Sealed,
    /// The last seq of every account that has more blocks than in the checkpoint before, ascending.
    #[serde(deserialize_with = "bounded::vec::<_, _, CUT_MAX>")]
    pub cut: Vec<(NodeId, u64)>,
    /// What is resolved beside blocks.
    pub resolutions: Resolutions,
}

/// The founder's word that the witness set shall change: the last one that this node knows of until
/// there are votes on it. It is void once the version ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangeOrder {
    /// The version that ends.
    pub version: u64,
    /// The next members, ascending and distinct.
    #[serde(deserialize_with = "bounded::vec::<_, _, WITNESSES_MAX>")]
    pub members: Vec<NodeId>,
}

impl SignedBody for ChangeOrder {
    const DOMAIN: Domain = Domain("ledger/change-order");
}

impl ChangeOrder {
    /// The set that it makes of the present one. At most f members leave, and no more join than leave
    /// and three: what the old set vouches for is still vouched for by most of the new one.
    pub fn next_set(&self, present: &WitnessSet) -> Result<WitnessSet, LedgerError> {
        let refuse = |why| Err(LedgerError::NotAChange(why));
        if self.version != present.version {
            return refuse("of another version");
        }
        let next = WitnessSet { version: self.version + 1, members: self.members.clone() };
        next.validate()?;
        if next.members.len() == 1 {
            return Err(WitnessSetError::Size(1).into());
        }
        let leave = present.members.iter().filter(|member| !next.contains(member)).count();
        let join = next.members.iter().filter(|member| !present.contains(member)).count();
        if leave + join == 0 {
            return refuse("it changes nobody");
        }
        if leave > present.faulty_max() {
            return refuse("more members leave than may be faulty");
        }
        if join > leave + 3 {
            return refuse("more than three members join for whom nobody leaves");
        }
        Ok(next)
    }
}

/// A witness's promise that it votes no more under a version, and what it voted for until then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Closing {
    /// The version that ended for it.
    pub version: u64,
    /// The root of the account tree with every certified block that it knows.
    pub accounts: Digest,
    /// The other blocks it voted for, ascending by account.
    #[serde(deserialize_with = "bounded::vec::<_, _, CARRIED_MAX>")]
    pub voted: Vec<SignedBlock>,
}

impl SignedBody for Closing {
    const DOMAIN: Domain = Domain("ledger/closing");
}

/// What a proposer shows for a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The last seq of every account that has more blocks than in the checkpoint before, ascending.
    #[serde(deserialize_with = "bounded::vec::<_, _, CUT_MAX>")]
    pub cut: Vec<(NodeId, u64)>,
    /// Why and how the set changes, if it does.
    pub change: Option<Change>,
    /// What is resolved beside blocks; nothing where the set changes.
    pub resolutions: Resolutions,
}

/// What a change of the set rests on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// The founder's word.
    pub order: Signed<ChangeOrder>,
    /// A quorum of closings with one root, ascending by witness.
    #[serde(deserialize_with = "bounded::vec::<_, _, WITNESSES_MAX>")]
    pub closings: Vec<Signed<Closing>>,
}

impl Change {
    /// Checks everything about it that does not depend on blocks, and returns the next set. `accounts`
    /// is the root of the cut.
    pub(crate) fn check(
        &self,
        present: &WitnessSet,
        founder: &NodeId,
        accounts: &Digest,
        pool: &Digest,
        verifier: &mut Verifier,
    ) -> Result<WitnessSet, LedgerError> {
        let refuse = |why| Err(LedgerError::NotAChange(why));
        if self.order.signer != *founder {
            return refuse("not the founder's");
        }
        let next = self.order.body.next_set(present)?;
        self.order.open(verifier, pool)?;
        if self.closings.len() < present.quorum() {
            return refuse("fewer than a quorum have closed");
        }
        if !bounded::strictly_ascending(self.closings.iter().map(|closing| closing.signer)) {
            return Err(LedgerError::Order("closings"));
        }
        for closing in &self.closings {
            let Closing { version, accounts: root, voted } = &closing.body;
            if !present.contains(&closing.signer) || *version != present.version {
                return refuse("a closing of another set");
            }
            if root != accounts {
                return refuse("a closing that knows other certificates");
            }
            if !bounded::strictly_ascending(voted.iter().map(|block| block.body.account)) {
                return Err(LedgerError::Order("closed blocks"));
            }
            closing.open(verifier, pool)?;
            for block in voted {
                if block.signer != block.body.account {
                    let (account, signer) = (block.body.account, block.signer);
                    return Err(LedgerError::NotOwner { account, signer });
                }
                block.open(verifier, pool)?;
            }
        }
        Ok(next)
    }

    /// (account, seq, block) of everything closed that is not in the cut.
    pub(crate) fn voted(&self) -> impl Iterator<Item = (NodeId, u64, Digest)> + '_ {
        let blocks = self.closings.iter().flat_map(|closing| &closing.body.voted);
        blocks.map(|block| (block.body.account, block.body.seq, block_hash(block)))
    }
}
