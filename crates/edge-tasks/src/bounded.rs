//! Decoding with limits: sizes before decoding, counts before allocation.

use std::fmt;
use std::marker::PhantomData;

use edge_base::codec;
use serde::de::{DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::TaskError;

/// Room reserved before the elements are there to back it.
const RESERVE_MAX: usize = 4096;

struct AtMost<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let announced = seq.size_hint().unwrap_or(0);
        if announced > MAX {
            return Err(A::Error::invalid_length(announced, &self));
        }
        let mut out = Vec::with_capacity(announced.min(RESERVE_MAX));
        while let Some(element) = seq.next_element()? {
            if out.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            out.push(element);
        }
        Ok(out)
    }
}

/// For `deserialize_with`: a list that is refused by its announced length, before anything is allocated.
pub(crate) fn at_most<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

struct Bytes<const MAX: usize>;

impl<const MAX: usize> Visitor<'_> for Bytes<MAX> {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        if bytes.len() > MAX {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(bytes.to_vec())
    }
}

/// As [`at_most`] and in the same encoding, of bytes at once.
pub(crate) fn bytes_at_most<'de, const MAX: usize, D>(deserializer: D) -> Result<Vec<u8>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_bytes(Bytes::<MAX>)
}

/// For `serialize_with`, beside [`bytes_at_most`].
pub(crate) fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Decodes bytes of at most `limit`; `what` names them in errors.
pub(crate) fn decode<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, TaskError> {
    if bytes.len() > limit {
        return Err(TaskError::TooLarge { what, bytes: bytes.len(), limit });
    }
    codec::decode(bytes).map_err(|source| TaskError::Malformed { what, source })
}

/// [`decode`], and that the bytes are the one canonical encoding of the value (varints may be padded).
pub(crate) fn decode_strict<T: DeserializeOwned + Serialize>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, TaskError> {
    let value: T = decode(what, bytes, limit)?;
    if codec::encode(&value) == bytes { Ok(value) } else { Err(TaskError::NotCanonical { what }) }
}
