//! Ed25519 (RFC 8032) under one strict rule, with a domain tag and the pool in every message.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex},
};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::{Digest, Hasher, NodeId, codec};

/// What a signature is for. Two domains never accept each other's signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Domain(pub &'static str);

/// A body that is only ever signed under one domain.
pub trait SignedBody: Serialize {
    /// The domain tag.
    const DOMAIN: Domain;
}

/// A 64-byte Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (head, tail) = self.0.split_at(32);
        (
            <[u8; 32]>::try_from(head).expect("invariant: 32 of 64 bytes"),
            <[u8; 32]>::try_from(tail).expect("invariant: 32 of 64 bytes"),
        )
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (head, tail) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&head);
        bytes[32..].copy_from_slice(&tail);
        Ok(Signature(bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sig:{}", Digest::of(&self.0).short())
    }
}

/// A signature that does not hold: the sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("signature does not hold for this key, domain and pool")]
pub struct SignatureError;

/// Bytes that are not a usable public key: non-canonical or of small order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a usable ed25519 public key")]
pub struct PublicKeyError;

/// An Ed25519 secret key. Zeroized when dropped; never printed, never serialised.
#[derive(Clone)]
pub struct SecretKey {
    key: SigningKey,
    silent: bool,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.node_id().short())
    }
}

impl SecretKey {
    /// From 32 secret bytes (RFC 8032 seed).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        SecretKey { key: SigningKey::from_bytes(&seed), silent: false }
    }

    /// A key with the node id of `seed` whose signatures are 64 zero bytes, made without computing
    /// anything. Only for simulations beside [`Verifier::trusting_for_simulation`]: every other
    /// verifier refuses what it signs, because zeros are a commitment of small order.
    pub fn silent_for_simulation(seed: [u8; 32]) -> Self {
        SecretKey { silent: true, ..SecretKey::from_seed(seed) }
    }

    /// The seed, to be stored encrypted or in a private file.
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.key.to_bytes())
    }

    /// The public key that names this node.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }

    /// Signs a message for a domain in a pool.
    pub fn sign(&self, domain: Domain, pool: &Digest, message: &[u8]) -> Signature {
        if self.silent {
            return Signature([0; 64]);
        }
        Signature(self.key.sign(&signing_digest(domain, pool, message).0).to_bytes())
    }
}

/// What is really signed: SHA-256 over ("edge-net-1/" tag, pool, framed message).
fn signing_digest(domain: Domain, pool: &Digest, message: &[u8]) -> Digest {
    let mut hasher = Hasher::new("edge-net-1/signature");
    hasher.update_framed(domain.0.as_bytes()).update(&pool.0).update_framed(message);
    hasher.finish()
}

impl NodeId {
    /// Refuses bytes that no honest key has: non-canonical encodings and small-order points.
    pub fn check(&self) -> Result<(), PublicKeyError> {
        usable_key(&self.0).map(|_| ())
    }
}

/// The point of a public key, if it is one that an honest key could have.
fn usable_key(bytes: &[u8; 32]) -> Result<VerifyingKey, PublicKeyError> {
    if !is_canonical_y(bytes) {
        return Err(PublicKeyError);
    }
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| PublicKeyError)?;
    if key.is_weak() { Err(PublicKeyError) } else { Ok(key) }
}

/// Whether the y coordinate is below 2^255 - 19. The other non-canonical encodings, a sign on
/// x = 0, are of the small-order points y = 1 and y = -1.
fn is_canonical_y(bytes: &[u8; 32]) -> bool {
    bytes[31] & 0x7f != 0x7f || bytes[1..31].iter().any(|b| *b != 0xff) || bytes[0] < 0xed
}

/// The one rule: canonical key, key and commitment not of small order, scalar below the group
/// order, commitment compared as bytes (RFC 8032, section 5.1.7, cofactorless). Points with a
/// small-order component beside a large one are allowed: they harm only who signs with them.
/// Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs" (2020), has the cases.
fn verify_strictly(
    key: &NodeId,
    message: &[u8],
    signature: &Signature,
) -> Result<(), SignatureError> {
    let key = usable_key(&key.0).map_err(|_| SignatureError)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(message, &signature).map_err(|_| SignatureError)
}

/// How many verifications were asked for and how many were really computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VerifierStats {
    /// Verifications asked for.
    pub asked: u64,
    /// Answers from the memo of signatures that held before.
    pub remembered: u64,
    /// Ed25519 verifications computed.
    pub computed: u64,
    /// Those that did not hold.
    pub failed: u64,
}

/// Verifies signatures. The product uses [`Verifier::strict`]; a simulator that runs a thousand
/// peers in a process may share one memo of signatures that already held.
#[derive(Clone, Debug)]
pub struct Verifier {
    memo: Option<Arc<Mutex<Memo>>>,
    trusting: bool,
    stats: VerifierStats,
}

#[derive(Debug)]
struct Memo {
    held: HashSet<Digest>,
    capacity: usize,
}

impl Memo {
    fn remember(&mut self, key: Digest) {
        if self.held.len() >= self.capacity {
            self.held.clear();
        }
        if self.capacity > 0 {
            self.held.insert(key);
        }
    }
}

impl Verifier {
    /// Computes every verification.
    pub fn strict() -> Self {
        Verifier { memo: None, trusting: false, stats: VerifierStats::default() }
    }

    /// Remembers (key, message, signature) triples that held, up to `capacity`, shared by clones.
    /// At the bound the memo is emptied: it is a cache, correctness never depends on it.
    pub fn memoised(capacity: usize) -> Self {
        let memo = Memo { held: HashSet::new(), capacity };
        Verifier { memo: Some(Arc::new(Mutex::new(memo))), ..Verifier::strict() }
    }

    /// Accepts everything. Only for simulations that measure the state machine without signatures.
    pub fn trusting_for_simulation() -> Self {
        Verifier { trusting: true, ..Verifier::strict() }
    }

    /// Whether this verifier really verifies.
    pub fn is_real(&self) -> bool {
        !self.trusting
    }

    /// Counters of this clone.
    pub fn stats(&self) -> VerifierStats {
        self.stats
    }

    /// Checks one signature.
    pub fn verify(
        &mut self,
        signer: &NodeId,
        domain: Domain,
        pool: &Digest,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.stats.asked += 1;
        if self.trusting {
            return Ok(());
        }
        let digest = signing_digest(domain, pool, message);
        let key = self.memo.as_ref().map(|_| {
            let mut hasher = Hasher::new("memo");
            hasher.update(&signer.0).update(&digest.0).update(&signature.0);
            hasher.finish()
        });
        if let (Some(memo), Some(key)) = (&self.memo, &key) {
            let memo = memo.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if memo.held.contains(key) {
                self.stats.remembered += 1;
                return Ok(());
            }
        }
        self.stats.computed += 1;
        verify_strictly(signer, &digest.0, signature).inspect_err(|_| self.stats.failed += 1)?;
        if let (Some(memo), Some(key)) = (&self.memo, key) {
            let mut memo = memo.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            memo.remember(key);
        }
        Ok(())
    }
}

/// A body with its signer and signature. The fields are public because it is data that travels;
/// nothing may rely on the body before [`Signed::open`] returned it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signed<T> {
    /// Who says it.
    pub signer: NodeId,
    /// What is said.
    pub body: T,
    /// Over the canonical encoding of the body.
    pub signature: Signature,
}

impl<T: SignedBody> Signed<T> {
    /// Signs a body.
    pub fn seal(body: T, key: &SecretKey, pool: &Digest) -> Self {
        let signature = key.sign(T::DOMAIN, pool, &codec::encode_briefly(&body));
        Signed { signer: key.node_id(), body, signature }
    }

    /// The body, if the signature holds.
    pub fn open(&self, verifier: &mut Verifier, pool: &Digest) -> Result<&T, SignatureError> {
        let message =
            if verifier.trusting { Vec::new() } else { codec::encode_briefly(&self.body) };
        verifier.verify(&self.signer, T::DOMAIN, pool, &message, &self.signature)?;
        Ok(&self.body)
    }

    /// The digest that names this statement: of the body and its signer, not of the signature.
    pub fn digest(&self) -> Digest {
        Digest::of_value(T::DOMAIN.0, &(&self.signer, &self.body))
    }
}

#[cfg(test)]
pub(crate) mod tests;
