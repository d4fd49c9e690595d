//! Bytes to a Zstandard frame (RFC 8878) and back.
//!
//! What comes out of the encoder must be the same on every node of one pin, natively and in a
//! browser. The reference encoder is C and builds for `wasm32-unknown-unknown` only where there is
//! a C compiler for it; so the entropy coding is that of the pure Rust crate `ruzstd` in an exact
//! version, with a match finder of our own ([`matches`]) in place of its own one, which compresses
//! less than level 1 of the reference. Together they give the sizes of level 3, on texts, at a
//! quarter of its speed (`docs/benchmarks.md`).
//! Frames have a checksum and state their size; any Zstandard tool reads them, and this reads
//! frames of any tool whose window is at most [`WINDOW_BYTES_MAX`].

mod matches;

use edge_base::codec;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, FrameCompressor};
use serde::{Deserialize, Serialize};

use crate::{TaskError, bounded};

/// The exact encoder: the crate and its version, our match finder and its version, the level. A
/// change of any of them is another pin.
pub const ENCODER: &str = "ruzstd 0.9.1, matches 1, level fastest, checksum, size in the header";
/// The most bytes that are compressed by one task, and that come out of a decompression.
pub const DATA_BYTES_MAX: usize = 4 << 20;
/// The most bytes that are decompressed by one task. Compressing at most [`DATA_BYTES_MAX`] bytes never
/// gives more: a block that does not shrink is stored with 3 bytes more.
pub const COMPRESSED_BYTES_MAX: usize = DATA_BYTES_MAX + 1024;
/// The largest window of a frame that is decompressed: what RFC 8878 asks every decoder to support.
pub const WINDOW_BYTES_MAX: u64 = 8 << 20;
/// The most frames one after the other; a frame without content costs more time than bytes.
pub const FRAMES_MAX: usize = 1024;
const PAYLOAD_BYTES_MAX: usize = COMPRESSED_BYTES_MAX + 16;

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Bytes to a frame.
    Compress,
    /// Frames to bytes.
    Decompress,
}

/// What a `compression` task is given. Encoded: the operation's number, the most bytes that may come
/// out and the length of the data as varints, the data. The result is the bytes that come out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CompressionPayload {
    /// Which way.
    pub operation: Operation,
    /// The task fails when more bytes would come out: at most [`DATA_BYTES_MAX`], for compression
    /// [`COMPRESSED_BYTES_MAX`].
    pub output_bytes_max: u32,
    /// At most [`DATA_BYTES_MAX`] bytes, for decompression [`COMPRESSED_BYTES_MAX`].
    #[serde(deserialize_with = "bounded::at_most::<COMPRESSED_BYTES_MAX, _, _>")]
    pub data: Vec<u8>,
}

impl CompressionPayload {
    /// Bytes to be compressed.
    pub fn compress(data: Vec<u8>) -> Self {
        let output_bytes_max = COMPRESSED_BYTES_MAX as u32;
        CompressionPayload { operation: Operation::Compress, output_bytes_max, data }
    }

    /// Frames to be decompressed to at most so many bytes; without a number to what the first frame
    /// states, or to [`DATA_BYTES_MAX`].
    pub fn decompress(data: Vec<u8>, output_bytes_max: Option<u32>) -> Self {
        let stated = stated_bytes(&data).and_then(|bytes| u32::try_from(bytes).ok());
        let most = DATA_BYTES_MAX as u32;
        let output_bytes_max = output_bytes_max.or(stated).unwrap_or(most).min(most);
        CompressionPayload { operation: Operation::Decompress, output_bytes_max, data }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads and checks bytes from anywhere.
    ///
    /// # Errors
    /// [`TaskError`]: not a payload, or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, TaskError> {
        let payload: Self = bounded::decode("compression payload", bytes, PAYLOAD_BYTES_MAX)?;
        payload.check()?;
        Ok(payload)
    }

    /// That the limits are kept: what a requester asks before it sends.
    ///
    /// # Errors
    /// [`TaskError`] names the first limit that is not.
    pub fn check(&self) -> Result<(), TaskError> {
        let (data_max, output_max) = match self.operation {
            Operation::Compress => (DATA_BYTES_MAX, COMPRESSED_BYTES_MAX),
            Operation::Decompress => (COMPRESSED_BYTES_MAX, DATA_BYTES_MAX),
        };
        let limits = [
            ("the data", self.data.len(), data_max),
            ("the allowed output", self.output_bytes_max as usize, output_max),
        ];
        for (what, bytes, limit) in limits {
            if bytes > limit {
                return Err(TaskError::TooLarge { what, bytes, limit });
            }
        }
        Ok(())
    }
}

/// Executes a `compression` task.
pub(crate) fn execute(payload: &[u8]) -> Result<Vec<u8>, TaskError> {
    let payload = CompressionPayload::decode(payload)?;
    let limit = payload.output_bytes_max;
    match payload.operation {
        Operation::Compress => {
            let out = compress(&payload.data);
            if out.len() > limit as usize {
                return Err(TaskError::OutputTooLarge { limit });
            }
            Ok(out)
        }
        Operation::Decompress => decompress(&payload.data, limit),
    }
}

/// One frame: `ruzstd` writes a header with a window, ours states the size instead.
fn compress(data: &[u8]) -> Vec<u8> {
    /// Magic number, descriptor, window.
    const THEIRS: usize = 6;
    let mut frame = Vec::with_capacity(data.len() / 2 + 64);
    let matches = matches::Matches::new(data.len());
    let mut encoder = FrameCompressor::new_with_matcher(matches, CompressionLevel::Fastest);
    encoder.set_source(data);
    encoder.set_drain(&mut frame);
    encoder.compress();
    drop(encoder);
    // Section 3.1.1.1.1 of the RFC: size in 4 bytes (2 << 6), single segment, checksum.
    let descriptor = 2 << 6 | 1 << 5 | 1 << 2;
    let mut out = Vec::with_capacity(frame.len() + 3);
    out.extend_from_slice(&frame[..4]);
    out.push(descriptor);
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out.extend_from_slice(&frame[THEIRS..]);
    out
}

fn decompress(data: &[u8], limit: u32) -> Result<Vec<u8>, TaskError> {
    let wrong = |why: &dyn std::fmt::Display| TaskError::NotZstd(why.to_string());
    let too_large = TaskError::OutputTooLarge { limit };
    let most = limit as usize;
    if data.is_empty() {
        return Err(wrong(&"it is empty"));
    }
    let (mut rest, mut out) = (data, Vec::new());
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW_BYTES_MAX);
    for frame in 0.. {
        if rest.is_empty() {
            break;
        }
        if frame == FRAMES_MAX {
            return Err(wrong(&format!("more than {FRAMES_MAX} frames")));
        }
        let stated = stated_bytes(rest);
        if stated.is_some_and(|bytes| bytes > (most - out.len()) as u64) {
            return Err(too_large);
        }
        match decoder.reset(&mut rest) {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                rest = rest.get(length as usize..).ok_or_else(|| wrong(&"it breaks off"))?;
                continue;
            }
            Err(error) => return Err(wrong(&error)),
        }
        let before = out.len();
        while !decoder.is_finished() {
            let one = BlockDecodingStrategy::UptoBlocks(1);
            decoder.decode_blocks(&mut rest, one).map_err(|error| wrong(&error))?;
            out.extend(decoder.collect().unwrap_or_default());
            if out.len() > most {
                return Err(too_large);
            }
        }
        if decoder.get_checksum_from_data().is_some_and(|sum| {
            decoder.get_calculated_checksum().is_some_and(|calculated| calculated != sum)
        }) {
            return Err(wrong(&"its checksum is another one"));
        }
        if stated.is_some_and(|bytes| bytes != (out.len() - before) as u64) {
            return Err(wrong(&"it has another size than it states"));
        }
    }
    Ok(out)
}

/// The size that the first frame states in its header (section 3.1.1.1), if it does.
pub fn stated_bytes(data: &[u8]) -> Option<u64> {
    let descriptor = *data.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?.first()?;
    let single = descriptor >> 5 & 1;
    let width = match descriptor >> 6 {
        0 => usize::from(single),
        log => 1 << log,
    };
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let start = 5 + usize::from(single == 0) + dictionary;
    let field = data.get(start..start + width)?;
    let number = field.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    match width {
        0 => None,
        2 => Some(number + 256),
        _ => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(data: &[u8]) -> usize {
        let frame = compress(data);
        assert!(frame.len() <= COMPRESSED_BYTES_MAX);
        assert_eq!(stated_bytes(&frame), Some(data.len() as u64));
        assert_eq!(decompress(&frame, data.len() as u32).as_deref(), Ok(data));
        if let Some(less) = (data.len() as u32).checked_sub(1) {
            let refused = decompress(&frame, less);
            assert_eq!(refused, Err(TaskError::OutputTooLarge { limit: less }));
        }
        frame.len()
    }

    #[test]
    fn everything_comes_back() {
        let mut rng = edge_base::Rng::derive(1, "compression");
        assert_eq!(round(b""), 16);
        assert_eq!(round(b"a"), 17);
        let block = 128 << 10;
        for bytes in [1, 2, 3, 7, 8, 9, 1023, 1025, block - 1, block, block + 1, 3 * block + 5] {
            assert!(round(&vec![7; bytes]) < 50 + bytes / 1000);
            let random: Vec<u8> = (0..bytes).map(|_| rng.below(256) as u8).collect();
            assert!(round(&random) <= bytes + 16 + 3 * bytes.div_ceil(block));
            let twice = [&random[..], &random].concat();
            assert!(round(&twice) < twice.len() / 2 + twice.len() / 100 + 100);
        }
    }

    /// Sequences without a literal between them, which the encoder could not write as they are.
    #[test]
    fn blocks_of_nothing_but_matches_come_back() {
        for word in [&b"abcde"[..], b"abcdefgh", b"ab"] {
            for lead in [0, 3, 100] {
                let data: Vec<u8> = [&vec![b'x'; lead], &word.repeat(60_000)[..]].concat();
                assert!(round(&data) < 300);
            }
        }
    }

    #[test]
    fn bombs_are_stopped_early() {
        // Blocks of 4 bytes that are 128 KiB each, in a frame that states no size: 32 GiB.
        let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x68];
        for _ in 0..(1 << 18) {
            bomb.extend([2, 0, 0x10, b'x']);
        }
        bomb.extend([3, 0, 0, b'x']);
        let limit = DATA_BYTES_MAX as u32;
        assert_eq!(decompress(&bomb, limit), Err(TaskError::OutputTooLarge { limit }));
        // The same in a frame that admits it, and one whose window is 128 GiB.
        let stated = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &u64::MAX.to_le_bytes()].concat();
        assert_eq!(stated_bytes(&stated), Some(u64::MAX));
        assert_eq!(decompress(&stated, limit), Err(TaskError::OutputTooLarge { limit }));
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xd8, 1, 0, 0];
        assert!(matches!(decompress(&window, limit), Err(TaskError::NotZstd(_))));
        // Frames without content.
        let empty = compress(b"").repeat(FRAMES_MAX + 1);
        assert!(decompress(&empty, limit).unwrap_err().to_string().contains("1024 frames"));
    }

    #[test]
    fn damage_is_found() {
        let text = b"a text of some length, of some length, of some length";
        let frame = compress(text);
        let mut harmless = 0;
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[at] ^= 1 << bit;
                // Bits that nobody reads change nothing; no other text comes out.
                match decompress(&damaged, 1000) {
                    Ok(back) => assert_eq!(back, text, "bit {bit} of byte {at}"),
                    Err(_) => continue,
                }
                harmless += 1;
            }
            assert!(decompress(&frame[..at], 1000).is_err());
        }
        assert!(harmless < frame.len(), "{harmless} of {} bits", 8 * frame.len());
        let two = [&frame[..], &[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], &frame].concat();
        assert_eq!(
            decompress(&two, 1000).unwrap().len(),
            2 * text.len(),
            "frames follow each other"
        );
        let past = [&frame[..], &[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9]].concat();
        assert!(decompress(&past, 1000).is_err());
    }
}
