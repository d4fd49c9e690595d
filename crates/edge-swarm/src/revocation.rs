//! A node says that its own key is not to be believed any more, and the text of it for people.

use std::{fmt, str::FromStr};

use edge_base::{Digest, Domain, NodeId, SecretKey, Signed, SignedBody, codec};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "edgenetrevoke1";
const TEXT_BYTES_MAX: usize = 1_024;

/// A key is to be believed no more, for good. Signed by that key and nobody else: it is made while the key is
/// still one's own, at best with the backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose key; its signer.
    pub node: NodeId,
}

impl SignedBody for Revocation {
    const DOMAIN: Domain = Domain("revocation");
}

/// A revocation as it is kept and handed over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevocationNote {
    /// The pool's genesis hash.
    pub pool: Digest,
    /// The statement.
    pub revocation: Signed<Revocation>,
}

/// A text that is not a revocation: the caller's fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// It does not begin like one.
    #[error("a revocation begins with {PREFIX}; make one with `edge-net identity revocation`")]
    Prefix,
    /// Characters are missing, added or changed.
    #[error("the revocation is damaged: copy all of it")]
    Damaged,
}

impl RevocationNote {
    /// Of one's own key in a pool.
    pub fn new(key: &SecretKey, pool: Digest) -> Self {
        let revocation = Signed::seal(Revocation { node: key.node_id() }, key, &pool);
        RevocationNote { pool, revocation }
    }
}

impl fmt::Display for RevocationNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = codec::encode(self);
        let check = Digest::of_value("revocation-note", body.as_slice());
        f.write_str(PREFIX)?;
        body.iter().chain(&check.0[..4]).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for RevocationNote {
    type Err = RevocationError;

    fn from_str(text: &str) -> Result<Self, RevocationError> {
        let hex = text.trim().strip_prefix(PREFIX).ok_or(RevocationError::Prefix)?;
        if hex.len() > TEXT_BYTES_MAX || hex.len() % 2 != 0 || !hex.is_ascii() {
            return Err(RevocationError::Damaged);
        }
        let bytes: Option<Vec<u8>> = (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok())
            .collect();
        let bytes = bytes.ok_or(RevocationError::Damaged)?;
        let cut = bytes.len().checked_sub(4).ok_or(RevocationError::Damaged)?;
        let (body, check) = bytes.split_at(cut);
        if Digest::of_value("revocation-note", body).0[..4] != *check {
            return Err(RevocationError::Damaged);
        }
        codec::decode(body).map_err(|_| RevocationError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use edge_base::Verifier;

    use super::*;

    #[test]
    fn text_round_trip_and_every_changed_digit_is_refused() {
        let pool = Digest::of(b"pool");
        let note = RevocationNote::new(&SecretKey::from_seed([7; 32]), pool);
        let text = note.to_string();
        assert_eq!(text.parse::<RevocationNote>().unwrap(), note);
        assert!(note.revocation.open(&mut Verifier::strict(), &pool).is_ok());
        for at in PREFIX.len()..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            if changed != text {
                let refused = changed.parse::<RevocationNote>();
                assert_eq!(refused, Err(RevocationError::Damaged), "{at}");
            }
        }
        for end in PREFIX.len()..text.len() {
            assert!(text[..end].parse::<RevocationNote>().is_err());
        }
        assert_eq!("hello".parse::<RevocationNote>(), Err(RevocationError::Prefix));
    }
}
