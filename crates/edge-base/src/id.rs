//! Newtypes for the things the protocol names.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, digest::compare};

/// A node: its Ed25519 public key, 32 bytes. Written for people as `π:` and eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub [u8; 32]);

impl Ord for NodeId {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for NodeId {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl NodeId {
    /// The 32 public key bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hexadecimal characters.
    pub fn to_hex(&self) -> String {
        Digest(self.0).to_hex()
    }

    /// Reads 64 hexadecimal characters.
    pub fn from_hex(text: &str) -> Option<Self> {
        Digest::from_hex(text).map(|d| NodeId(d.0))
    }

    /// `π:` and the first eight hexadecimal digits.
    pub fn short(&self) -> String {
        format!("π:{}", Digest(self.0).short())
    }
}

/// As [`Digest`]: 32 bytes for machines, hexadecimal for people.
impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Digest(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Digest::deserialize(deserializer).map(|digest| NodeId(digest.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
        )]
        pub struct $name(pub Digest);

        impl $name {
            /// The 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0.0
            }
            /// 64 hexadecimal characters.
            pub fn to_hex(&self) -> String {
                self.0.to_hex()
            }
            /// Reads 64 hexadecimal characters.
            pub fn from_hex(text: &str) -> Option<Self> {
                Digest::from_hex(text).map($name)
            }
            /// The first eight hexadecimal characters, for people.
            pub fn short(&self) -> String {
                self.0.short()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.short())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.to_hex())
            }
        }
    };
}

digest_id!(
    /// A task: the digest of (requester, counter, kind, payload digest).
    TaskId
);
digest_id!(
    /// An escrow: the hash of the block that opened it.
    EscrowId
);
digest_id!(
    /// A collection: the digest of (owner, name).
    CollectionId
);
digest_id!(
    /// A shard of a collection: the digest of (collection, index).
    ShardId
);
digest_id!(
    /// A record of a collection: the digest of its normalised text, or of the id a client gave.
    RecordId
);
