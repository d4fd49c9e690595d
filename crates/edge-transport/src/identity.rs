//! `NodeId` to libp2p `PeerId` and back.
//!
//! A libp2p PeerId of an Ed25519 key is the identity multihash of the key's protobuf encoding, so
//! it contains the key, and both directions are exact:
//! <https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>.

use edge_base::NodeId;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why an identity could not be translated. The fault of whoever made the key or PeerId.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The 32 bytes are not a point of the curve.
    #[error("the node id is not an Ed25519 public key")]
    NotAKey,
    /// The PeerId is a hash or belongs to another kind of key.
    #[error("the peer id does not contain an Ed25519 public key")]
    NotEd25519,
}

/// Code of the identity "hash" in multihash.
const IDENTITY: u64 = 0;

/// The PeerId under which libp2p knows a node.
pub fn peer_id_of(node: &NodeId) -> Result<PeerId, IdentityError> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).map_err(|_| IdentityError::NotAKey)?;
    Ok(PublicKey::from(key).to_peer_id())
}

/// The node that a PeerId names.
pub fn node_id_of(peer: &PeerId) -> Result<NodeId, IdentityError> {
    let hash = peer.as_ref();
    if hash.code() != IDENTITY {
        return Err(IdentityError::NotEd25519);
    }
    let key = PublicKey::try_decode_protobuf(hash.digest())
        .ok()
        .and_then(|key| key.try_into_ed25519().ok())
        .ok_or(IdentityError::NotEd25519)?;
    Ok(NodeId(key.to_bytes()))
}

/// The node that a secret seed makes.
pub fn node_id_of_seed(seed: &[u8; 32]) -> NodeId {
    let (_, node) = keypair(seed);
    node
}

pub(crate) fn keypair(seed: &[u8; 32]) -> (Keypair, NodeId) {
    // `try_from_bytes` overwrites its input, so it gets a copy.
    let mut copy = Zeroizing::new(*seed);
    let secret = ed25519::SecretKey::try_from_bytes(copy.as_mut_slice())
        .expect("invariant: any 32 bytes are an Ed25519 seed");
    let pair = ed25519::Keypair::from(secret);
    let node = NodeId(pair.public().to_bytes());
    (Keypair::from(pair), node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // RFC 8032, section 7.1, test 1; the PeerId is the base58 of 00 24 08 01 12 20 and the key.
    #[test]
    fn known_key() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let seed = NodeId::from_hex(seed).unwrap().0;
        let node = node_id_of_seed(&seed);
        assert_eq!(node, NodeId::from_hex(key).unwrap());
        let peer = peer_id_of(&node).unwrap();
        assert_eq!(peer.to_bytes()[..6], [0, 0x24, 8, 1, 0x12, 0x20]);
        assert_eq!(peer.to_bytes()[6..], node.0);
        assert!(peer.to_base58().starts_with("12D3KooW"));
    }

    #[test]
    fn what_is_not_an_ed25519_key_is_refused() {
        assert_eq!(node_id_of(&PeerId::random()), Err(IdentityError::NotEd25519));
        let no_point = (0..=255)
            .map(|byte| NodeId([byte; 32]))
            .find(|node| peer_id_of(node).is_err())
            .expect("half of all strings are not points");
        assert_eq!(peer_id_of(&no_point), Err(IdentityError::NotAKey));
    }

    proptest! {
        #[test]
        fn there_and_back(seed in any::<[u8; 32]>()) {
            let node = node_id_of_seed(&seed);
            let peer = peer_id_of(&node).unwrap();
            prop_assert_eq!(node_id_of(&peer), Ok(node));
            let parsed: PeerId = peer.to_base58().parse().unwrap();
            prop_assert_eq!(parsed, peer);
        }
    }
}
