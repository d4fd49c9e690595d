//! Vectors that refuse to decode beyond their bound, so that no peer makes us allocate at will.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// For `#[serde(deserialize_with = "bounded::vec::<_, _, LIMIT>")]`.
pub(crate) fn vec<'de, D, T, const LIMIT: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(Bounded::<T, LIMIT>(PhantomData))
}

/// For `#[serde(deserialize_with = "bounded::string::<_, LIMIT>")]`; the limit is in bytes.
pub(crate) fn string<'de, D, const LIMIT: usize>(deserializer: D) -> Result<String, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    if text.len() > LIMIT { Err(D::Error::invalid_length(text.len(), &"less")) } else { Ok(text) }
}

struct Bounded<T, const LIMIT: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const LIMIT: usize> Visitor<'de> for Bounded<T, LIMIT> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {LIMIT} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let announced = seq.size_hint().unwrap_or(0);
        if announced > LIMIT {
            return Err(A::Error::invalid_length(announced, &self));
        }
        let mut out = Vec::with_capacity(announced.min(64));
        while let Some(element) = seq.next_element()? {
            if out.len() == LIMIT {
                return Err(A::Error::invalid_length(LIMIT + 1, &self));
            }
            out.push(element);
        }
        Ok(out)
    }
}

/// Whether the keys ascend strictly: sorted, and no key twice.
pub(crate) fn strictly_ascending<K: Ord>(keys: impl IntoIterator<Item = K>) -> bool {
    let mut keys = keys.into_iter();
    let Some(mut last) = keys.next() else { return true };
    for key in keys {
        if key <= last {
            return false;
        }
        last = key;
    }
    true
}

#[cfg(test)]
mod tests {
    use edge_base::codec;
    use serde::{Deserialize, Serialize};

    use super::strictly_ascending;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Three {
        #[serde(deserialize_with = "super::vec::<_, _, 3>")]
        list: Vec<u8>,
        #[serde(deserialize_with = "super::string::<_, 3>")]
        text: String,
    }

    #[test]
    fn decodes_up_to_the_bound_and_not_beyond() {
        for (elements, bytes) in [(0, 0), (3, 3), (4, 0), (0, 4), (300, 0)] {
            let value = Three { list: vec![1; elements], text: "x".repeat(bytes) };
            let decoded = codec::decode::<Three>(&codec::encode(&value));
            assert_eq!(decoded.is_ok(), elements <= 3 && bytes <= 3, "{elements} {bytes}");
        }
        // An announced length without the elements, of any size.
        for announced in [&[4u8][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[2, 1]] {
            assert!(codec::decode::<Three>(announced).is_err());
        }
    }

    #[test]
    fn ascending_means_sorted_and_distinct() {
        for (keys, expected) in
            [(&[][..], true), (&[5], true), (&[1, 2, 9], true), (&[1, 1], false), (&[2, 1], false)]
        {
            assert_eq!(strictly_ascending(keys), expected, "{keys:?}");
        }
    }
}
