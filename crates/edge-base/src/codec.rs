//! The versioned codec: postcard bodies inside a small frame.
//!
//! Frame: magic `EN` (2 bytes), version (1 byte), kind (1 byte), body. The body is postcard
//! (<https://postcard.jamesmunns.com/wire-format>), which has one encoding a value; decoders accept
//! trailing bytes nowhere. Hashes and signatures are made over an encoding of the decoded value.

use serde::{Serialize, de::DeserializeOwned};

/// The version every frame carries. A peer with another version is refused by name.
pub const VERSION: u8 = 1;
/// The first two bytes of every frame.
pub const MAGIC: [u8; 2] = *b"EN";
/// Bytes before the body of a frame.
pub const HEADER_BYTES: usize = 4;
/// The largest frame anybody accepts: 1 MiB of body and the header.
pub const FRAME_BYTES_MAX: usize = (1 << 20) + HEADER_BYTES;

/// Why bytes could not be decoded: always the sender's fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than the limit.
    #[error("frame of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// The size received.
        bytes: usize,
        /// The size allowed.
        limit: usize,
    },
    /// Shorter than a header, or not ours.
    #[error("not an edge-net frame")]
    NotAFrame,
    /// Another protocol version.
    #[error("protocol version {0} is not {VERSION}")]
    Version(u8),
    /// Another kind of frame than expected.
    #[error("frame kind {got} where {expected} was expected")]
    Kind {
        /// The kind received.
        got: u8,
        /// The kind expected.
        expected: u8,
    },
    /// The body does not decode.
    #[error("malformed body")]
    Malformed,
    /// The body is followed by bytes that belong to nothing.
    #[error("{0} bytes after the end of the body")]
    Trailing(usize),
}

/// The canonical encoding of a value.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("invariant: protocol values always serialise to memory")
}

/// As [`encode`], for bytes that are looked at and dropped: with room for most statements from the
/// beginning.
pub(crate) fn encode_briefly<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::serialize_with_flavor(value, Briefly(Vec::with_capacity(512)))
        .expect("invariant: protocol values always serialise to memory")
}

struct Briefly(Vec<u8>);

impl postcard::ser_flavors::Flavor for Briefly {
    type Output = Vec<u8>;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Decodes a whole buffer into a value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError::Trailing(rest.len())),
        Err(_) => Err(DecodeError::Malformed),
    }
}

/// Encodes a value as a frame of a kind.
pub fn encode_frame<T: Serialize + ?Sized>(kind: u8, value: &T) -> Vec<u8> {
    let header = vec![MAGIC[0], MAGIC[1], VERSION, kind];
    postcard::to_extend(value, header)
        .expect("invariant: protocol values always serialise to memory")
}

/// Checks size, magic and version of a frame; returns its kind and its body.
pub fn open_frame(bytes: &[u8], limit: usize) -> Result<(u8, &[u8]), DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { bytes: bytes.len(), limit });
    }
    match bytes {
        [a, b, version, kind, body @ ..] if [*a, *b] == MAGIC => {
            if *version == VERSION {
                Ok((*kind, body))
            } else {
                Err(DecodeError::Version(*version))
            }
        }
        _ => Err(DecodeError::NotAFrame),
    }
}

/// Decodes a frame of one kind.
pub fn decode_frame<T: DeserializeOwned>(kind: u8, bytes: &[u8]) -> Result<T, DecodeError> {
    let (got, body) = open_frame(bytes, FRAME_BYTES_MAX)?;
    if got != kind {
        return Err(DecodeError::Kind { got, expected: kind });
    }
    decode(body)
}
