//! An encoder as one file of a quarter the size: weight-only 8 bits.
//!
//! Layout, integers little-endian: the magic `edgenc8\n`; the version, u32; the length of the header, u32;
//! the header, a [`Shape`] and the tokens in the codec of `edge_base`; then each tensor of the layout in
//! order, a matrix as f32 scales for its rows and i8 values, a vector as f32; then the projection as f32;
//! then the SHA-256 of everything before. A row of a linear layer is one output channel.
//!
//! A value is `f32(i8) * scale`, rounded once, so all who load a file have the same model; scale and i8 are
//! those of `canon::scale_i8` and `canon::quantize_i8`.

use edge_base::{Digest, codec};
use edge_kernels::canon;

use super::bounded::Few;
use super::error::LoadError;
use super::parts::{Parts, Shape, VOCABULARY_MAX};

const FILE: &str = "model file";
const MAGIC: &[u8; 8] = b"edgenc8\n";
const VERSION: u32 = 1;
const CHECKSUM_BYTES: usize = 32;
const BYTES_MAX: usize = 1 << 30;
const HEADER_BYTES_MAX: usize = 32 << 20;

pub(super) fn encode(parts: &Parts) -> Result<Vec<u8>, LoadError> {
    let header = codec::encode(&(&parts.shape, &parts.tokens));
    if header.len() > HEADER_BYTES_MAX {
        let (bytes, limit) = (header.len(), HEADER_BYTES_MAX);
        return Err(LoadError::TooLarge { file: "the vocabulary", bytes, limit });
    }
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((header.len() as u32).to_le_bytes());
    out.extend(header);
    for ((name, shape), values) in parts.shape.layout().iter().zip(&parts.tensors) {
        let [_, columns] = shape[..] else {
            put_floats(&mut out, values);
            continue;
        };
        let mut codes = vec![0i8; values.len()];
        for (row, codes) in values.chunks_exact(columns).zip(codes.chunks_exact_mut(columns)) {
            let scale = canon::scale_i8(row).map_err(LoadError::not_finite(name))?;
            canon::quantize_i8(row, scale, codes).map_err(LoadError::not_finite(name))?;
            out.extend(scale.to_le_bytes());
        }
        out.extend(bytemuck::cast_slice::<i8, u8>(&codes));
    }
    put_floats(&mut out, &parts.projection);
    if out.len() > BYTES_MAX - CHECKSUM_BYTES {
        return Err(LoadError::TooLarge { file: FILE, bytes: out.len(), limit: BYTES_MAX });
    }
    let checksum = Digest::of(&out);
    out.extend(checksum.as_bytes());
    Ok(out)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Parts, LoadError> {
    if bytes.len() > BYTES_MAX {
        return Err(LoadError::TooLarge { file: FILE, bytes: bytes.len(), limit: BYTES_MAX });
    }
    let bad = |why: &str| LoadError::malformed(FILE, why);
    let mut rest = Rest(bytes);
    if rest.take(MAGIC.len()) != Some(MAGIC) {
        return Err(bad("it does not begin as one"));
    }
    let version = rest.number().ok_or_else(|| bad("it ends early"))?;
    if version > VERSION {
        return Err(LoadError::Newer { found: version, known: VERSION });
    }
    if version != VERSION {
        return Err(bad("it has version 0"));
    }
    let Some((content, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(bad("it ends early"));
    };
    if Digest::of(content).as_bytes() != checksum {
        return Err(LoadError::Checksum);
    }
    let mut rest = Rest(&content[MAGIC.len() + 4..]);
    let length = rest.number().ok_or_else(|| bad("it ends early"))? as usize;
    if length > HEADER_BYTES_MAX {
        return Err(bad("its header is too long"));
    }
    let header = rest.take(length).ok_or_else(|| bad("it ends within its header"))?;
    let (shape, Few(tokens)): (Shape, Few<String, VOCABULARY_MAX>) =
        codec::decode(header).map_err(|error| LoadError::malformed(FILE, error))?;
    shape.check()?;
    if tokens.len() > shape.vocabulary as usize {
        return Err(bad("it has more tokens than rows for them"));
    }
    let mut tensors = Vec::new();
    for (name, shape) in shape.layout() {
        let tensor = rest.tensor(&name, &shape)?;
        tensors.push(tensor);
    }
    // Checked: both are at most 4,096.
    let projection = shape.hidden as usize * shape.projected as usize;
    let projection = rest.floats("the projection", projection)?;
    if !rest.0.is_empty() {
        return Err(bad("it goes on after its last tensor"));
    }
    Ok(Parts { shape, tokens, tensors, projection })
}

fn put_floats(out: &mut Vec<u8>, values: &[f32]) {
    values.iter().for_each(|value| out.extend(value.to_le_bytes()));
}

/// What is not read yet. Nothing is allocated before the bytes for it are seen to be there.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*head))
    }

    fn floats(&mut self, name: &str, count: usize) -> Result<Vec<f32>, LoadError> {
        let bytes = count.checked_mul(4).and_then(|bytes| self.take(bytes));
        let bytes = bytes.ok_or_else(|| ends_before(name))?;
        let mut values: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        canon::fold_negative_zero(&mut values);
        canon::check_finite(&values).map_err(LoadError::not_finite(name))?;
        Ok(values)
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let [rows, columns] = shape[..] else { return self.floats(name, shape[0]) };
        let scales = self.floats(name, rows)?;
        let codes = rows.checked_mul(columns).and_then(|count| self.take(count));
        let codes: &[i8] = bytemuck::cast_slice(codes.ok_or_else(|| ends_before(name))?);
        let mut values = Vec::with_capacity(codes.len());
        for (row, scale) in codes.chunks_exact(columns).zip(scales) {
            values.extend(row.iter().map(|code| f32::from(*code) * scale + 0.0));
        }
        // A scale near the largest number makes a product that is not finite.
        canon::check_finite(&values).map_err(LoadError::not_finite(name))?;
        Ok(values)
    }
}

fn ends_before(name: &str) -> LoadError {
    LoadError::malformed(FILE, format!("it ends before the end of {name}"))
}
