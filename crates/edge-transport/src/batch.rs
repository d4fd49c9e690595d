//! A batch: what one request carries, frames one after the other, each behind its length.
//!
//! ```text
//! batch = *( length frame )      length = 4 bytes, big endian
//! ```

use thiserror::Error;

/// The most frames in one batch: it bounds what decoding a batch of empty frames can cost.
pub const BATCH_FRAMES_MAX: usize = 4_096;

/// Bytes in front of each frame.
pub(crate) const FRAME_HEADER_BYTES: usize = 4;

/// Why bytes are not a batch. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end inside a length or inside a frame.
    #[error("the batch ends inside frame {frame}: {needed} more bytes announced, {left} left")]
    Truncated {
        /// Index of the frame.
        frame: usize,
        /// Bytes the length (or the length field itself) asks for.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// More frames than [`BATCH_FRAMES_MAX`].
    #[error("the batch holds more than {BATCH_FRAMES_MAX} frames")]
    TooManyFrames,
}

/// The frames of a batch, borrowed from it, in order. Bytes that were not written by
/// [`encode_batch`] give an error, never a panic and never more than [`BATCH_FRAMES_MAX`] frames.
///
/// ```
/// let batch = edge_transport::encode_batch([b"ab".as_slice(), b""]).unwrap();
/// assert_eq!(batch, [0, 0, 0, 2, b'a', b'b', 0, 0, 0, 0]);
/// assert_eq!(edge_transport::decode_batch(&batch).unwrap(), [b"ab".as_slice(), b""]);
/// assert!(edge_transport::decode_batch(&batch[..5]).is_err());
/// ```
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<&[u8]>, BatchError> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let frame = frames.len();
        if frame == BATCH_FRAMES_MAX {
            return Err(BatchError::TooManyFrames);
        }
        let Some((header, body)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Err(BatchError::Truncated {
                frame,
                needed: FRAME_HEADER_BYTES,
                left: rest.len(),
            });
        };
        let needed = u32::from_be_bytes(*header) as usize;
        let Some((payload, after)) = body.split_at_checked(needed) else {
            return Err(BatchError::Truncated { frame, needed, left: body.len() });
        };
        frames.push(payload);
        rest = after;
    }
    Ok(frames)
}

/// Writes frames as a batch. Refuses more than [`BATCH_FRAMES_MAX`] of them; a frame of 4 GiB or
/// more counts as too many.
pub fn encode_batch<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, BatchError> {
    let mut batch = BatchWriter::default();
    for frame in frames {
        batch.push(frame)?;
    }
    Ok(batch.bytes)
}

/// A batch under construction.
#[derive(Debug, Default)]
pub(crate) struct BatchWriter {
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: usize,
    /// Bytes of the frames themselves, without their lengths.
    pub(crate) payload_bytes: u64,
}

impl BatchWriter {
    pub(crate) fn push(&mut self, frame: &[u8]) -> Result<(), BatchError> {
        let length = u32::try_from(frame.len()).map_err(|_| BatchError::TooManyFrames)?;
        if self.frames == BATCH_FRAMES_MAX {
            return Err(BatchError::TooManyFrames);
        }
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(frame);
        self.frames += 1;
        self.payload_bytes += u64::from(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_holds_at_most_the_maximum() {
        let full = vec![b"".as_slice(); BATCH_FRAMES_MAX];
        let bytes = encode_batch(full.iter().copied()).unwrap();
        assert_eq!(decode_batch(&bytes).unwrap().len(), BATCH_FRAMES_MAX);
        let one_more = [bytes, vec![0; 4]].concat();
        assert_eq!(decode_batch(&one_more), Err(BatchError::TooManyFrames));
        let too_many = vec![b"".as_slice(); BATCH_FRAMES_MAX + 1];
        assert_eq!(encode_batch(too_many), Err(BatchError::TooManyFrames));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        let error = BatchError::Truncated { frame: 0, needed: u32::MAX as usize, left: 3 };
        assert_eq!(decode_batch(&bytes), Err(error));
        assert_eq!(decode_batch(&[]), Ok(vec![]));
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..40)
    }

    proptest! {
        #[test]
        fn round_trip(frames in frames()) {
            let bytes = encode_batch(frames.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(decode_batch(&bytes).unwrap(), frames);
        }

        // A prefix either stops at a frame's end, and then is the batch of the frames before it, or
        // is refused.
        #[test]
        fn truncation(frames in frames(), cut in any::<prop::sample::Index>()) {
            let bytes = encode_batch(frames.iter().map(Vec::as_slice)).unwrap();
            let cut = cut.index(bytes.len() + 1);
            let mut ends = vec![0];
            for frame in &frames {
                ends.push(ends.last().unwrap() + FRAME_HEADER_BYTES + frame.len());
            }
            match ends.iter().position(|end| *end == cut) {
                Some(n) => prop_assert_eq!(decode_batch(&bytes[..cut]).unwrap(), &frames[..n]),
                None => prop_assert!(decode_batch(&bytes[..cut]).is_err()),
            }
        }

        // What decodes encodes back to the same bytes: a batch has one encoding.
        #[test]
        fn garbage(bytes in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300)) {
            if let Ok(frames) = decode_batch(&bytes) {
                prop_assert_eq!(encode_batch(frames).unwrap(), bytes);
            }
        }
    }
}
