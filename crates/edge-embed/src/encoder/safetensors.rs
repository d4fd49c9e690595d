//! Tensors by name out of a safetensors file.
//!
//! Our own reader: the format is a length, a JSON object and the bytes
//! (<https://github.com/huggingface/safetensors>, "Format"), and what a hostile file may contain is
//! checked here in one place. The crate `safetensors` would save some sixty lines and does not convert
//! half floats.

use std::collections::BTreeMap;
use std::fmt;

use edge_kernels::canon;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::error::LoadError;

const FILE: &str = "model.safetensors";
/// The JSON of a model with 64 layers has some 200 kB.
const HEADER_BYTES_MAX: usize = 8 << 20;
const TENSORS_MAX: usize = 8192;
const RANK_MAX: usize = 8;

/// The tensors of a file.
#[derive(Debug)]
pub(super) struct Tensors<'a> {
    entries: BTreeMap<String, Entry>,
    data: &'a [u8],
}

#[derive(Debug, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The JSON object; keys that occur twice are refused, which a plain map would hide.
struct Header(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                use serde::de::Error;
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let entry = map.next_value::<Entry>()?;
                    if entries.len() == TENSORS_MAX {
                        return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
                    }
                    if let Some(twice) = entries.insert(name.clone(), entry) {
                        let first = twice.data_offsets[0];
                        return Err(A::Error::custom(format!("{name} occurs twice (at {first})")));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'a> Tensors<'a> {
    /// Reads the header and checks that the tensors fill the file without gaps and overlaps.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, LoadError> {
        let bad = |why: String| LoadError::malformed(FILE, why);
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(bad(format!("{} bytes are no header", bytes.len())));
        };
        let length = u64::from_le_bytes(*length);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > HEADER_BYTES_MAX {
            return Err(bad(format!("a header of {length} bytes (at most {HEADER_BYTES_MAX})")));
        }
        let Some((header, data)) = rest.split_at_checked(length) else {
            return Err(bad(format!("cut within its header of {length} bytes")));
        };
        let Header(entries) =
            serde_json::from_slice(header).map_err(|error| bad(error.to_string()))?;
        let mut spans = Vec::with_capacity(entries.len());
        for (name, entry) in &entries {
            let Some(width) = width(&entry.dtype) else {
                return Err(bad(format!("tensor {name} has the unknown type {:?}", entry.dtype)));
            };
            if entry.shape.len() > RANK_MAX {
                return Err(bad(format!("tensor {name} has {} dimensions", entry.shape.len())));
            }
            let size = entry.shape.iter().try_fold(width, |size, dim| size.checked_mul(*dim));
            let [start, end] = entry.data_offsets;
            if size.is_none() || end.checked_sub(start) != size {
                return Err(bad(format!("tensor {name}: its bytes do not fit its shape")));
            }
            spans.push((start, end, name));
        }
        spans.sort_unstable();
        let mut at = 0;
        for (start, end, name) in spans {
            if start != at {
                return Err(bad(format!("tensor {name} starts at {start}, not at {at}")));
            }
            at = end;
        }
        if at != data.len() {
            return Err(bad(format!("{} bytes of tensors, but the header says {at}", data.len())));
        }
        Ok(Tensors { entries, data })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The values of a tensor as `f32`, which is exact; -0 becomes +0.
    pub(super) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(LoadError::MissingTensor { name: name.to_owned() });
        };
        if entry.shape != shape {
            return Err(LoadError::WrongShape {
                name: name.to_owned(),
                found: entry.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let [start, end] = entry.data_offsets;
        let bytes = &self.data[start..end];
        let mut values: Vec<f32> = match entry.dtype.as_str() {
            "F32" => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            "F16" => halves(bytes).map(from_f16).collect(),
            "BF16" => halves(bytes).map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
            other => {
                return Err(LoadError::Unsupported {
                    file: FILE,
                    setting: "the type of a weight",
                    value: other.to_owned(),
                    supported: "F32, F16, BF16",
                });
            }
        };
        canon::fold_negative_zero(&mut values);
        canon::check_finite(&values).map_err(LoadError::not_finite(name))?;
        Ok(values)
    }
}

/// Bytes of one value of a type of the format.
fn width(dtype: &str) -> Option<usize> {
    match dtype {
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" => Some(1),
        "U16" | "I16" | "F16" | "BF16" => Some(2),
        "U32" | "I32" | "F32" => Some(4),
        "U64" | "I64" | "F64" => Some(8),
        _ => None,
    }
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b))
}

/// IEEE binary16 to binary32: exact for every value.
fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10) & 31, u32::from(bits) & 0x3ff);
    match exponent {
        // fraction * 2^-24; the product of two powers of two and ten bits is exact.
        0 => f32::from_bits(sign | (fraction as f32 * f32::from_bits((127 - 24) << 23)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn half_floats_are_exact() {
        let cases = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 1.0 / 16_777_216.0),
            (0x03ff, 1023.0 / 16_777_216.0),
            (0x0400, 1.0 / 16_384.0),
            (0x3555, 0.333_251_95),
        ];
        for (bits, want) in cases {
            assert_eq!(from_f16(bits), want, "{bits:04x}");
        }
        assert!(from_f16(0x7c00).is_infinite() && from_f16(0x7e00).is_nan());
    }

    #[test]
    fn reads_what_is_there() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
            "b":{"dtype":"BF16","shape":[1,1],"data_offsets":[8,10]}}"#;
        let data = [1f32.to_le_bytes(), (-0f32).to_le_bytes()].concat();
        let bytes = file(header, &[&data[..], &[0x80, 0x3f]].concat());
        let tensors = Tensors::read(&bytes).unwrap();
        let a = tensors.floats("a", &[2]).unwrap();
        assert_eq!((a[0], a[1].to_bits()), (1.0, 0));
        assert_eq!(tensors.floats("b", &[1, 1]), Ok(vec![1.0]));
        assert!(tensors.has("a") && !tensors.has("c"));
        let error =
            |name: &str, shape: &[usize]| tensors.floats(name, shape).unwrap_err().to_string();
        assert_eq!(error("c", &[1]), "tensor c is missing");
        assert_eq!(error("a", &[1, 2]), "tensor a has shape [2], the configuration says [1, 2]");
    }

    #[test]
    fn a_hostile_file_is_named() {
        let entry = |name: &str, shape: &str, start: u64, end: u64| {
            format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
        };
        let object = |parts: &[String]| format!("{{{}}}", parts.join(","));
        let a = entry("a", "[1]", 0, 4);
        let cases = [
            (vec![], "0 bytes are no header"),
            (u64::MAX.to_le_bytes().to_vec(), "a header of 18446744073709551615 bytes"),
            (100u64.to_le_bytes().to_vec(), "cut within its header"),
            (file("[]", &[]), "invalid type"),
            (file("{", &[]), "EOF"),
            (file(&"[".repeat(100_000), &[]), "invalid type"),
            (file(&format!("{{\"a\":{}", "[".repeat(100_000)), &[]), "invalid"),
            (file(&object(&[a.clone(), a.clone()]), &[0; 8]), "a occurs twice"),
            (file(&object(std::slice::from_ref(&a)), &[0; 3]), "3 bytes of tensors"),
            (file(&object(std::slice::from_ref(&a)), &[0; 5]), "5 bytes of tensors"),
            (file(&object(&[entry("a", "[2]", 0, 4)]), &[0; 4]), "do not fit its shape"),
            (file(&object(&[entry("a", "[1]", 8, 4)]), &[0; 8]), "do not fit its shape"),
            (
                file(&object(&[a.clone(), entry("b", "[1]", 2, 6)]), &[0; 6]),
                "starts at 2, not at 4",
            ),
            (file(&object(&[a.clone(), entry("b", "[1]", 8, 12)]), &[0; 12]), "starts at 8"),
            (
                file(&object(&[entry("a", "[4294967296,4294967296,4]", 0, 0)]), &[]),
                "do not fit its shape",
            ),
            (file(&object(&[entry("a", "[-1]", 0, 4)]), &[0; 4]), "invalid value"),
            (file(&object(&[entry("a", "[1.5]", 0, 4)]), &[0; 4]), "invalid type"),
            (
                file(&object(&[entry("a", "[1,1,1,1,1,1,1,1,1]", 0, 4)]), &[0; 4]),
                "has 9 dimensions",
            ),
            (file(&object(&[a.replace("F32", "F31")]), &[0; 4]), "unknown type \"F31\""),
        ];
        for (bytes, why) in cases {
            let error = Tensors::read(&bytes).unwrap_err().to_string();
            assert!(
                error.contains(why) && error.starts_with("model.safetensors"),
                "{error}: {why}"
            );
        }
        let nan = file(&object(std::slice::from_ref(&a)), &f32::NAN.to_le_bytes());
        let error = Tensors::read(&nan).unwrap().floats("a", &[1]).unwrap_err();
        assert_eq!(error.to_string(), "tensor a holds a value that is not finite");
        let ints = file(&object(&[a.replace("F32", "I32")]), &[0; 4]);
        let error = Tensors::read(&ints).unwrap().floats("a", &[1]).unwrap_err();
        assert!(error.to_string().contains("is I32; supported: F32, F16, BF16"), "{error}");
    }
}
