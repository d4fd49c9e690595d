//! The files of the built-in model: compiled in, or given once at run time as one file.

use crate::static_model::DIM;

/// Tokens of the model.
const TOKENS: usize = 30_522;
/// Bytes of table, scales, weights and bias in a pack, in this order; the vocabulary is the rest.
const SIZES: [usize; 4] = [TOKENS * DIM, TOKENS * 4, TOKENS * 4, DIM * 4];

/// SHA-256 of table, scales, weights and bias. Pinned rather than computed: the id of the model is
/// needed at every start, hashing 8 MB is not. A test compares them with the files. The vocabulary has
/// its place in the tokenizer's id.
pub(crate) const PINNED: [&str; 4] = [
    "7e4820e5a1a43ba8bb8861ac190776df5f8f5997dec36d6f66b00c227aeedcd6",
    "5eb480421c62a98300bf6502f68e2f495d4fefc5e868dc9253fec5d6fae97649",
    "0230eef25efb9322d9c4f40e8675075e161bbdc2c14452cc14911ac1fadf58f6",
    "24a491bc3a26e86bc968ee3b730f9ceeea7f9abfab607f3fcbae6c1f900c8ae3",
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Files {
    pub(crate) vocabulary: &'static str,
    pub(crate) table: &'static [u8],
    pub(crate) scales: &'static [u8],
    pub(crate) weights: &'static [u8],
    pub(crate) bias: &'static [u8],
}

/// Bytes that are not the pack of the built-in model: whoever provided them is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the built-in model was not provided: {0}")]
pub struct PackError(&'static str);

/// Takes a pack apart.
#[cfg_attr(feature = "builtin", allow(dead_code, reason = "tested wherever there are files"))]
fn read(pack: &'static [u8]) -> Result<Files, PackError> {
    let mut parts = [&[][..]; SIZES.len()];
    let mut rest = pack;
    for ((part, size), pinned) in parts.iter_mut().zip(SIZES).zip(PINNED) {
        (*part, rest) = rest.split_at_checked(size).ok_or(PackError("it is too short"))?;
        if edge_base::Digest::of(part).to_hex() != pinned {
            return Err(PackError("it is damaged, or of another version"));
        }
    }
    let [table, scales, weights, bias] = parts;
    let vocabulary = std::str::from_utf8(rest).map_err(|_| PackError("it is damaged"))?;
    Ok(Files { vocabulary, table, scales, weights, bias })
}

#[cfg(feature = "builtin")]
mod given {
    use super::{Files, PackError};

    /// They are here.
    #[allow(clippy::unnecessary_wraps, reason = "without them it can fail")]
    pub(crate) fn provide(_pack: Vec<u8>) -> Result<(), PackError> {
        Ok(())
    }

    pub(crate) fn files() -> Files {
        Files {
            vocabulary: include_str!("../model/vocab.txt"),
            table: include_bytes!("../model/table_i8_30522x256.bin"),
            scales: include_bytes!("../model/row_scale_f32.bin"),
            weights: include_bytes!("../model/weight_f32.bin"),
            bias: include_bytes!("../model/bias_f32.bin"),
        }
    }

    pub(crate) fn pack() -> Vec<u8> {
        let Files { vocabulary, table, scales, weights, bias } = files();
        [table, scales, weights, bias, vocabulary.as_bytes()].concat()
    }
}

#[cfg(not(feature = "builtin"))]
mod given {
    use std::sync::OnceLock;

    use super::{Files, PackError, read};

    static FILES: OnceLock<Files> = OnceLock::new();

    pub(crate) fn files() -> Files {
        *FILES.get().expect("invariant: the built-in model is provided before it is used")
    }

    pub(crate) fn provide(pack: Vec<u8>) -> Result<(), PackError> {
        if FILES.get().is_none() {
            let files = read(Box::leak(pack.into_boxed_slice()))?;
            // Somebody else was faster with the same bytes.
            let _ = FILES.set(files);
        }
        Ok(())
    }
}

pub(crate) use given::*;

#[cfg(all(test, feature = "builtin"))]
mod tests {
    use super::*;

    #[test]
    fn a_pack_gives_the_files_back_and_nothing_else_does() {
        let whole: &'static [u8] = Box::leak(pack().into_boxed_slice());
        let (read, files) = (read(whole).unwrap(), files());
        assert!(read.vocabulary == files.vocabulary && read.bias == files.bias);
        assert!(read.table == files.table && read.scales == files.scales);
        assert_eq!(read.weights, files.weights);
        assert_eq!(super::read(&whole[..100]).unwrap_err(), PackError("it is too short"));
        let mut flipped = whole.to_vec();
        flipped[TOKENS] ^= 1;
        assert!(super::read(Box::leak(flipped.into_boxed_slice())).is_err());
    }
}
