//! Proofs of two blocks at one place.

use edge_base::{Digest, NodeId, Verifier};
use serde::{Deserialize, Serialize};

use crate::{
    block::{SignedBlock, block_hash},
    error::LedgerError,
};

/// Two different blocks that one owner signed for one (account, seq). Shown to a witness, it
/// freezes the account; nobody but its owner is harmed, because nobody else can make one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EquivocationProof {
    /// The block with the smaller hash.
    pub first: SignedBlock,
    /// The other one.
    pub second: SignedBlock,
}

impl EquivocationProof {
    /// A proof of two blocks, whichever comes first.
    pub fn new(a: SignedBlock, b: SignedBlock) -> Self {
        if block_hash(&a) <= block_hash(&b) {
            EquivocationProof { first: a, second: b }
        } else {
            EquivocationProof { first: b, second: a }
        }
    }

    /// Whose account.
    pub fn account(&self) -> NodeId {
        self.first.body.account
    }

    /// At which seq.
    pub fn seq(&self) -> u64 {
        self.first.body.seq
    }

    /// Checks that both blocks are the owner's and that they differ.
    pub fn check(&self, verifier: &mut Verifier, pool: &Digest) -> Result<(), LedgerError> {
        let (first, second) = (&self.first.body, &self.second.body);
        if (first.account, first.seq) != (second.account, second.seq)
            || block_hash(&self.first) == block_hash(&self.second)
        {
            return Err(LedgerError::NotEquivocation);
        }
        for block in [&self.first, &self.second] {
            if block.signer != block.body.account {
                let (account, signer) = (block.body.account, block.signer);
                return Err(LedgerError::NotOwner { account, signer });
            }
            block.open(verifier, pool)?;
        }
        Ok(())
    }
}
