//! How ledgers compare and catch up: frontiers, ranges, and the union of certificate sets.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use edge_base::{Digest, Hasher, NodeId, Verifier};

use super::Ledger;
use crate::{error::LedgerError, vote::Certificate};

/// A certificate that a merge refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Its id.
    pub id: Digest,
    /// Why.
    pub error: LedgerError,
}

/// What came of a merge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Merged {
    /// Certificates that were new.
    pub new: usize,
    /// Certificates that were here already.
    pub known: usize,
    /// Certificates that wait for others that were not among them.
    pub waiting: Vec<Arc<Certificate>>,
    /// Certificates that are wrong.
    pub refused: Vec<Refused>,
}

/// What a waiting certificate waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Block(NodeId, u64),
    Certificate(Digest),
}

impl Need {
    fn of(error: &LedgerError) -> Option<Need> {
        if let LedgerError::MissingPredecessor { account, seq } = error {
            return Some(Need::Block(*account, *seq));
        }
        if let LedgerError::MissingCredit { id } = error {
            return Some(Need::Certificate(*id));
        }
        None
    }
}

impl Ledger {
    /// The union with a set of certificates in any order: each is verified once, and taken as soon
    /// as what it builds on is here.
    pub fn merge(
        &mut self,
        certificates: impl IntoIterator<Item = Arc<Certificate>>,
        verifier: &mut Verifier,
    ) -> Merged {
        let mut merged = Merged::default();
        let mut waiting: BTreeMap<Need, BTreeMap<Digest, Arc<Certificate>>> = BTreeMap::new();
        for certificate in certificates {
            // A copy of what stands at its place needs no hash to be known.
            let body = certificate.body();
            let found = self.accounts.get(&body.account);
            let held = found.and_then(|found| found.at(body.seq));
            if held.is_some_and(|held| held.block == certificate.block) {
                merged.known += 1;
                continue;
            }
            let id = certificate.id();
            let dropped = || body.seq > 0 && found.is_some_and(|found| body.seq <= found.below());
            // With nothing at its place it cannot be here.
            if held.is_some_and(|held| held.id() == id) || dropped() {
                merged.known += 1;
                continue;
            }
            if let Err(error) = self.verify(&certificate, &id, verifier) {
                if error.is_retryable() {
                    merged.waiting.push(certificate);
                } else {
                    merged.refused.push(Refused { id, error });
                }
                continue;
            }
            // Of the first it was asked just now whether it is known.
            let mut next = Some((id, certificate, false));
            let mut ready: Vec<(Digest, Arc<Certificate>)> = Vec::new();
            let woken = |(id, certificate)| (id, certificate, true);
            while let Some((id, certificate, waited)) =
                next.take().or_else(|| ready.pop().map(woken))
            {
                if waited && self.certificates.contains_key(&id) {
                    merged.known += 1;
                    continue;
                }
                let (account, seq) = (certificate.body().account, certificate.body().seq);
                match self.link(certificate.clone(), id) {
                    Ok(()) => {
                        merged.new += 1;
                        let woken = [Need::Block(account, seq), Need::Certificate(id)];
                        ready.extend(woken.iter().filter_map(|n| waiting.remove(n)).flatten());
                    }
                    Err(error) => match Need::of(&error) {
                        Some(need) => {
                            waiting.entry(need).or_default().insert(id, certificate);
                        }
                        None if error.is_retryable() => merged.waiting.push(certificate),
                        None => merged.refused.push(Refused { id, error }),
                    },
                }
            }
        }
        merged.waiting.extend(waiting.into_values().flat_map(BTreeMap::into_values));
        merged
    }

    /// (account, seq of the last certified block) of every account with a block, ascending.
    pub fn frontier(&self) -> Vec<(NodeId, u64)> {
        let with_blocks = self.accounts.iter().filter(|(_, found)| found.seq() > 0);
        with_blocks.map(|(account, found)| (*account, found.seq())).collect()
    }

    /// One digest of the witness set and of every account's head: equal for ledgers that agree.
    pub fn frontier_digest(&self) -> Digest {
        *self.frontier.get_or_init(|| {
            let mut hasher = Hasher::new("edge-net-1/frontier");
            hasher.update(&self.pool.0).update(&self.epoch.to_le_bytes());
            hasher.update(&self.last_checkpoint().0);
            for bucket in self.frontier_buckets() {
                hasher.update(&bucket.0);
            }
            hasher.finish()
        })
    }

    /// The digests of the heads of the accounts whose id begins with each byte: peers that differ
    /// find out where by comparing these 256 before they send frontiers.
    pub fn frontier_buckets(&self) -> [Digest; 256] {
        std::array::from_fn(|bucket| self.bucket_digest(bucket))
    }

    /// The frontier of the accounts whose id begins with a byte.
    pub fn frontier_of_bucket(&self, first_byte: u8) -> Vec<(NodeId, u64)> {
        self.bucket(first_byte).map(|(account, seq, _)| (account, seq)).collect()
    }

    /// At most `limit` certificates of an account's chain after a seq, ascending; none where the
    /// first of them is no longer kept.
    pub fn certificates_after(
        &self,
        account: &NodeId,
        seq: u64,
        limit: usize,
    ) -> impl Iterator<Item = &Arc<Certificate>> + '_ {
        let chain = self.accounts.get(account).map_or(&[][..], |found| found.after(seq));
        chain.iter().take(limit)
    }

    /// The certified blocks of an account that are kept, the first one first.
    pub fn history(&self, account: &NodeId) -> impl Iterator<Item = &Arc<Certificate>> + '_ {
        self.accounts.get(account).map_or(&[][..], |found| &found.chain[..]).iter()
    }

    /// Every certificate that is kept, account by account.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> + '_ {
        self.accounts.values().flat_map(|found| &found.chain)
    }

    /// How many certificates there are.
    pub fn certificate_count(&self) -> usize {
        self.certificates.len()
    }

    /// How many accounts have a block, a balance or incoming credits.
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    fn bucket(&self, first_byte: u8) -> impl Iterator<Item = (NodeId, u64, Digest)> + '_ {
        let (mut low, mut high) = ([0; 32], [0xff; 32]);
        (low[0], high[0]) = (first_byte, first_byte);
        let in_bucket = self.accounts.range(NodeId(low)..=NodeId(high));
        let with_blocks = in_bucket.filter(|(_, found)| found.seq() > 0);
        with_blocks.map(|(account, found)| (*account, found.seq(), found.last()))
    }

    /// Computed when it is asked for: a merge changes a bucket many times.
    fn bucket_digest(&self, bucket: usize) -> Digest {
        *self.buckets[bucket].get_or_init(|| {
            let mut hasher = Hasher::new("edge-net-1/frontier-bucket");
            let mut empty = true;
            for (account, seq, head) in self.bucket(bucket as u8) {
                empty = false;
                hasher.update(&account.0).update(&seq.to_le_bytes()).update(&head.0);
            }
            if empty { Digest::default() } else { hasher.finish() }
        })
    }

    /// An account of a bucket has changed.
    pub(super) fn forget_bucket(&mut self, bucket: usize) {
        self.buckets[bucket] = OnceLock::new();
        self.frontier = OnceLock::new();
    }
}
