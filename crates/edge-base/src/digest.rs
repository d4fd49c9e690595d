//! SHA-256 digests with domain separation (FIPS 180-4).

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::codec;

/// A SHA-256 digest, 32 bytes. Ordered by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Ord for Digest {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Digest {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of two keys by their bytes: almost always the first eight tell, without a call.
#[inline]
pub(crate) fn compare(one: &[u8; 32], other: &[u8; 32]) -> Ordering {
    let first = |bytes: &[u8; 32]| bytes.first_chunk().map(|first| u64::from_be_bytes(*first));
    first(one).cmp(&first(other)).then_with(|| one.cmp(other))
}

impl Digest {
    /// The digest of raw bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(Sha256::digest(bytes).into())
    }

    /// The digest of a value's canonical encoding under a domain tag.
    pub fn of_value<T: Serialize + ?Sized>(tag: &str, value: &T) -> Self {
        let mut hasher = Hasher::new(tag);
        hasher.update(&codec::encode_briefly(value));
        hasher.finish()
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight bytes as an integer, big endian: a well-spread hash for sampling.
    pub fn prefix_u64(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(head)
    }

    /// Reads 64 hexadecimal characters.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return None;
        }
        let mut out = [0u8; 32];
        for (slot, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *slot = (high * 16 + low) as u8;
        }
        Some(Digest(out))
    }

    /// 64 hexadecimal characters.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The first eight hexadecimal characters, for people.
    pub fn short(&self) -> String {
        self.0[..4].iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// 32 bytes where machines read, 64 hexadecimal characters where people may.
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_hex())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            Digest::from_hex(&text)
                .ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal characters"))
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Digest)
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Incremental SHA-256 whose input starts with a length-prefixed domain tag, so that digests made
/// for different purposes never collide by construction.
#[derive(Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hasher for one purpose. The tag's length is one byte, or 255 and eight bytes, so that no
    /// tag and no input are together the beginning of another tag.
    pub fn new(tag: &str) -> Self {
        let mut inner = Sha256::new();
        match u8::try_from(tag.len()) {
            Ok(length) if length < 255 => inner.update([length]),
            _ => {
                inner.update([255]);
                inner.update((tag.len() as u64).to_le_bytes());
            }
        }
        inner.update(tag.as_bytes());
        Hasher(inner)
    }

    /// Appends bytes; the caller frames variable-length parts.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Appends bytes with a 64-bit little-endian length before them.
    pub fn update_framed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The digest of everything appended.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}
