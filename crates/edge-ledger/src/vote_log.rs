//! A witness's memory of what it voted for: the reason why it never votes twice.

use std::collections::BTreeMap;

use edge_base::{Digest, NodeId, SecretKey, Signed, Verifier, codec};
use serde::{Deserialize, Serialize};

use crate::{
    block::{SignedBlock, block_hash},
    claim::ClaimBook,
    equivocation::EquivocationProof,
    error::LedgerError,
    ledger::Ledger,
    vote::{Certificate, Vote, VoteBody},
    witness::Handover,
};

/// What has to be durable before the message that goes with it leaves: a key and a value for an
/// ordered store. A later record with the same key replaces the earlier one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// A vote, and the record to make durable *before* the vote is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voted {
    /// The vote.
    pub vote: Vote,
    /// Its record. The same again if the vote was cast before.
    pub record: Record,
}

/// Why a witness does not vote.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The block does not hold, or not yet: see [`LedgerError::is_retryable`].
    #[error(transparent)]
    Block(#[from] LedgerError),
    /// This node is no witness of the present set. The asker's mistake.
    #[error("not a witness of set version {0}")]
    NotAWitness(u64),
    /// This node promised not to vote under this version any more, or has lost its vote log.
    #[error("no more votes under set version {0}")]
    Ended(u64),
    /// The owner signed another block for this place, and this witness voted for that one.
    #[error("voted for another block at this seq")]
    OtherBlock(Box<EquivocationProof>),
    /// This witness voted at a later seq: the place is certified, its certificate just is not
    /// here (a ledger that was lost and is being fetched again).
    #[error("voted at seq {voted} already")]
    Past {
        /// The seq of the last vote.
        voted: u64,
    },
}

/// Durable records that contradict each other or do not decode: the store is damaged or was
/// copied. A witness with such a log calls [`VoteLog::promise_end`] and votes no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A record that does not decode or whose value is not its key's.
    #[error("a record of the vote log does not decode")]
    Malformed,
    /// Two votes for two blocks at one place.
    #[error("the vote log holds two votes for one place")]
    TwoVotes,
}

/// Why a handover cannot be signed now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// The ledger refuses it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Blocks were voted for that are not certified here: the handover would void them.
    #[error("{0} blocks were voted for and are not certified here yet")]
    Pending(usize),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Key {
    Vote { set_version: u64, account: NodeId },
    Ended,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Value {
    Vote { block: Box<SignedBlock>, vote: Box<Vote> },
    Ended { through: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Cast {
    block: SignedBlock,
    vote: Vote,
}

impl Cast {
    fn record(&self) -> Record {
        let (set_version, account) = (self.vote.body.set_version, self.block.body.account);
        let (block, vote) = (Box::new(self.block.clone()), Box::new(self.vote.clone()));
        record(&Key::Vote { set_version, account }, &Value::Vote { block, vote })
    }
}

fn record(key: &Key, value: &Value) -> Record {
    Record { key: codec::encode(key), value: codec::encode(value) }
}

/// At most one vote per (account, seq, set version), across crashes: a vote is only sent after its
/// record is durable, and a log restored from the durable records refuses what it refused before.
///
/// One vote per account is kept, the last: a vote at seq s + 1 needs the certificate of s, so
/// nothing that could still be voted on is forgotten.
#[derive(Clone, Debug, Default)]
pub struct VoteLog {
    votes: BTreeMap<(u64, NodeId), Cast>,
    /// No votes under this version or an older one.
    ended: Option<u64>,
}

impl VoteLog {
    /// No votes yet. Only for a node that never was a witness: one that lost its log calls
    /// [`VoteLog::promise_end`] with the present version before anything else.
    pub fn new() -> Self {
        VoteLog::default()
    }

    /// The log that these durable records describe, in whatever order.
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<VoteLog, RestoreError> {
        let mut log = VoteLog::new();
        for (key, value) in records {
            let key = codec::decode(key.as_ref()).map_err(|_| RestoreError::Malformed)?;
            let value = codec::decode(value.as_ref()).map_err(|_| RestoreError::Malformed)?;
            match (key, value) {
                (Key::Vote { set_version, account }, Value::Vote { block, vote }) => {
                    let fits = block.body.account == account
                        && vote.body.set_version == set_version
                        && vote.body.block == block_hash(&block);
                    if !fits {
                        return Err(RestoreError::Malformed);
                    }
                    log.remember(Cast { block: *block, vote: *vote })?;
                }
                (Key::Ended, Value::Ended { through }) => log.ended = log.ended.max(Some(through)),
                (Key::Vote { .. }, Value::Ended { .. }) | (Key::Ended, Value::Vote { .. }) => {
                    return Err(RestoreError::Malformed);
                }
            }
        }
        log.forget_ended();
        Ok(log)
    }

    /// Votes for a block if it holds and nothing else was voted for in its place; the same block
    /// again gets the same vote.
    pub fn vote(
        &mut self,
        ledger: &Ledger,
        claims: &ClaimBook,
        block: &SignedBlock,
        key: &SecretKey,
        verifier: &mut Verifier,
    ) -> Result<Voted, Refusal> {
        let set = ledger.witness_set();
        if !set.contains(&key.node_id()) {
            return Err(Refusal::NotAWitness(set.version));
        }
        if self.ended.is_some_and(|through| set.version <= through) {
            return Err(Refusal::Ended(set.version));
        }
        let place = (set.version, block.body.account);
        if let Some(cast) = self.votes.get(&place) {
            let (voted, asked) = (cast.block.body.seq, block.body.seq);
            if voted == asked && cast.vote.body.block == block_hash(block) {
                return Ok(Voted { vote: cast.vote.clone(), record: cast.record() });
            }
            if voted == asked {
                let proof = EquivocationProof::new(cast.block.clone(), block.clone());
                proof.check(verifier, &ledger.pool())?;
                return Err(Refusal::OtherBlock(Box::new(proof)));
            }
            if voted > asked {
                return Err(Refusal::Past { voted });
            }
        }
        ledger.check(block, claims, verifier)?;
        let body = VoteBody {
            set_version: set.version,
            epoch: block.body.epoch,
            block: block_hash(block),
        };
        let vote = Signed::seal(body, key, &ledger.pool());
        let cast = Cast { block: block.clone(), vote };
        let voted = Voted { vote: cast.vote.clone(), record: cast.record() };
        self.votes.insert(place, cast);
        Ok(voted)
    }

    /// Ends voting under a version and all before it, for ever. The record has to be durable before
    /// anything that relies on the promise leaves.
    pub fn promise_end(&mut self, version: u64) -> Record {
        let through = self.ended.map_or(version, |ended| ended.max(version));
        self.ended = Some(through);
        self.forget_ended();
        record(&Key::Ended, &Value::Ended { through })
    }

    /// Whether votes under a version have ended.
    pub fn has_ended(&self, version: u64) -> bool {
        self.ended.is_some_and(|through| version <= through)
    }

    /// Votes cast under the ledger's present set whose blocks are not certified in it, with the
    /// blocks: what a witness of one has to complete before it hands over. At places whose certificates
    /// were dropped a block was certified, this or another.
    pub fn pending<'a>(
        &'a self,
        ledger: &'a Ledger,
    ) -> impl Iterator<Item = (&'a SignedBlock, &'a Vote)> + 'a {
        let version = ledger.witness_set().version;
        self.votes
            .iter()
            .filter(move |((set_version, account), cast)| {
                *set_version == version
                    && cast.block.body.seq > ledger.pruned_below(account)
                    && ledger.certificate(&cast.vote.body.block).is_none()
            })
            .map(|(_, cast)| (&cast.block, &cast.vote))
    }

    /// Signs the handover from the founder alone to `members` and promises to vote no more under
    /// the present version. The record has to be durable before the handover leaves or is applied.
    pub fn hand_over(
        &mut self,
        ledger: &Ledger,
        members: Vec<NodeId>,
        key: &SecretKey,
    ) -> Result<(Signed<Handover>, Record), HandOverError> {
        let pending = self.pending(ledger).count();
        if pending > 0 {
            return Err(HandOverError::Pending(pending));
        }
        let set = ledger.witness_set();
        if set.members != [key.node_id()] {
            return Err(LedgerError::NotAHandover("only a witness set of one hands over").into());
        }
        let handover = ledger.next_handover(members)?;
        if handover.to.members.len() == 1 {
            return Err(LedgerError::NotAHandover("to one member").into());
        }
        let record = self.promise_end(set.version);
        Ok((Signed::seal(handover, key, &ledger.pool()), record))
    }

    /// Votes under the last version that ended are kept: a closing names them.
    fn forget_ended(&mut self) {
        let ended = self.ended;
        self.votes.retain(|(set_version, _), _| ended.is_none_or(|ended| *set_version >= ended));
    }

    fn remember(&mut self, cast: Cast) -> Result<(), RestoreError> {
        let place = (cast.vote.body.set_version, cast.block.body.account);
        match self.votes.get(&place) {
            Some(old) if old.block.body.seq == cast.block.body.seq => {
                if old.vote.body.block == cast.vote.body.block {
                    Ok(())
                } else {
                    Err(RestoreError::TwoVotes)
                }
            }
            Some(old) if old.block.body.seq > cast.block.body.seq => Ok(()),
            _ => {
                self.votes.insert(place, cast);
                Ok(())
            }
        }
    }

    /// What proves that the owner of a certified block signed another one for its place, which was
    /// voted for here.
    pub fn voted_otherwise(&self, certificate: &Certificate) -> Option<EquivocationProof> {
        let (version, body) = (certificate.set_version, certificate.body());
        let cast = self.votes.get(&(version, body.account))?;
        let other = cast.block.body.seq == body.seq && cast.vote.body.block != certificate.id();
        other.then(|| EquivocationProof::new(cast.block.clone(), certificate.block.clone()))
    }

    /// The block of the last vote on an account under a set version.
    pub fn last_block(&self, set_version: u64, account: &NodeId) -> Option<&SignedBlock> {
        self.votes.get(&(set_version, *account)).map(|cast| &cast.block)
    }

    /// The block hash of the last vote on an account under a set version.
    pub fn last_vote(&self, set_version: u64, account: &NodeId) -> Option<(u64, Digest)> {
        let cast = self.votes.get(&(set_version, *account))?;
        Some((cast.block.body.seq, cast.vote.body.block))
    }
}
