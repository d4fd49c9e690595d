//! A key gives its place to another one: what the two of them sign for it.

use edge_base::{Digest, Domain, NodeId, SecretKey, Signed, SignedBody, Verifier};
use serde::{Deserialize, Serialize};

/// Nodes that one succession may confirm as its owner's.
pub const OWN_MAX: usize = 64;
/// Successions between a key and the one that a member invited.
pub const CHAIN_MAX: usize = 8;

/// A key is believed no more, and another one takes its place. Signed by the key that goes.
///
/// There is one at most: two different ones of one key void each other, since nobody can tell which of
/// them its owner signed and which one a thief.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Succession {
    /// The key that goes; its signer.
    pub old: NodeId,
    /// The key that takes its place.
    pub heir: NodeId,
    /// Which of those that `old` invited are nodes of its owner: ascending, at most [`OWN_MAX`]. The word of a
    /// key that goes is believed of no others afterwards.
    pub own: Vec<NodeId>,
}

impl SignedBody for Succession {
    const DOMAIN: Domain = Domain("succession");
}

/// That the heir wants it. Signed by the heir: nobody becomes the heir of another's faults against its will.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The digest of the signed [`Succession`].
    pub succession: Digest,
}

impl SignedBody for Accepted {
    const DOMAIN: Domain = Domain("succession/accepted");
}

/// A succession as it is kept and passed on: the old key names the new one, and the new one accepts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SuccessionRecord {
    /// By the key that goes.
    pub succession: Signed<Succession>,
    /// By the heir.
    pub accepted: Signed<Accepted>,
}

impl SuccessionRecord {
    /// Signed by both keys, for a pool. `own` is sorted, and cut to what fits.
    pub fn new(old: &SecretKey, heir: &SecretKey, mut own: Vec<NodeId>, pool: &Digest) -> Self {
        own.sort();
        own.dedup();
        own.truncate(OWN_MAX);
        let body = Succession { old: old.node_id(), heir: heir.node_id(), own };
        let succession = Signed::seal(body, old, pool);
        let accepted = Accepted { succession: succession.digest() };
        SuccessionRecord { succession, accepted: Signed::seal(accepted, heir, pool) }
    }

    /// The key that goes.
    pub fn old(&self) -> NodeId {
        self.succession.body.old
    }

    /// The key that takes its place.
    pub fn heir(&self) -> NodeId {
        self.succession.body.heir
    }

    /// Names the succession, whatever the bytes of its signatures.
    pub fn digest(&self) -> Digest {
        self.succession.digest()
    }

    /// Whether it can be one: signers, lists and keys are as they have to be. No signature is checked.
    pub fn is_well_formed(&self) -> bool {
        let Succession { old, heir, own } = &self.succession.body;
        self.succession.signer == *old
            && self.accepted.signer == *heir
            && old != heir
            && heir.check().is_ok()
            && self.accepted.body.succession == self.succession.digest()
            && own.len() <= OWN_MAX
            && own.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// Whether both signatures hold.
    pub fn holds(&self, verifier: &mut Verifier, pool: &Digest) -> bool {
        self.succession.open(verifier, pool).is_ok() && self.accepted.open(verifier, pool).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed([n; 32])
    }

    #[test]
    fn both_keys_sign_and_nothing_else_holds() {
        let (pool, other) = (Digest::of(b"pool"), Digest::of(b"another"));
        let mut verifier = Verifier::strict();
        let record = SuccessionRecord::new(&key(1), &key(2), vec![key(4).node_id(); 3], &pool);
        assert!(record.is_well_formed() && record.holds(&mut verifier, &pool));
        assert!(!record.holds(&mut verifier, &other));
        assert_eq!(record.succession.body.own.len(), 1);
        // The heir's word is about this succession, and is its own.
        let another = SuccessionRecord::new(&key(1), &key(2), Vec::new(), &pool);
        let mixed = SuccessionRecord { accepted: another.accepted, ..record.clone() };
        assert!(!mixed.is_well_formed());
        let accepted = Accepted { succession: record.succession.digest() };
        let stranger = Signed::seal(accepted.clone(), &key(3), &pool);
        let unwilling = SuccessionRecord { accepted: stranger, ..record.clone() };
        assert!(!unwilling.is_well_formed());
        let forged = Signed { signer: key(2).node_id(), ..Signed::seal(accepted, &key(3), &pool) };
        let forged = SuccessionRecord { accepted: forged, ..record.clone() };
        assert!(forged.is_well_formed() && !forged.holds(&mut verifier, &pool));
        // Nobody succeeds itself, and lists have an order and a bound.
        let mut body = record.succession.body;
        body.heir = body.old;
        let sealed = |body: Succession| {
            let succession = Signed::seal(body, &key(1), &pool);
            let accepted = Accepted { succession: succession.digest() };
            SuccessionRecord { succession, accepted: Signed::seal(accepted, &key(2), &pool) }
        };
        assert!(!sealed(body.clone()).is_well_formed());
        body.heir = key(2).node_id();
        body.own = (0..65).map(|n| NodeId([n; 32])).collect();
        assert!(!sealed(body.clone()).is_well_formed());
        body.own.truncate(64);
        assert!(sealed(body.clone()).is_well_formed());
        body.own.swap(0, 1);
        assert!(!sealed(body).is_well_formed());
    }
}
