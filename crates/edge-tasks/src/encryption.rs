//! Bytes to authenticated ciphertext and back, under a key that only some nodes hold.
//!
//! Strangers can compare what they computed, never what they must not see. So a task of this kind
//! is for nodes of the key's owner: it names the key by its public id ([`EncryptionKey::id`]), and
//! an executor has the keys that its node was given ([`Keyring`]). Who is asked at all is not
//! decided here (`edge_swarm::command::TaskRequest::among`).
//!
//! The cipher is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03). Its nonce is not drawn, so that
//! replicas agree: it is HKDF-SHA-256 (RFC 5869) under a key of its own, with the task's request
//! number as salt and the digest of the data and the associated data as info. The requester draws the request
//! number, 16 bytes, once a task; should one ever come twice, other data still get another
//! nonce, and the same data under it give the same bytes, which is all that is learnt then. What
//! comes out of an encryption:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | [`VERSION`] |
//! | 24 | the nonce |
//! | as many as the data | ciphertext |
//! | 16 | tag; it covers the version and the key's id, too |
//!
//! A decryption gives the request number, then the data: a result's digest travels in the clear, and
//! that of a guessed text could be compared with it else ([`EncryptionPayload::data_of`]).

mod keyring;

use std::fmt;

use chacha20poly1305::{AeadInPlace as _, KeyInit as _, XChaCha20Poly1305, XNonce};
use edge_base::{Digest, Hasher, codec};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

pub use keyring::{KEYS_MAX, Keyring, KeyringError, NAME_BYTES_MAX, check_name};

use crate::{TaskError, bounded};

/// The algorithm and the format of its results. A change is another pin.
pub const ALGORITHM: &str = "XChaCha20-Poly1305, HKDF-SHA-256 nonce, format 1";
/// The first byte of what an encryption gives.
pub const VERSION: u8 = 1;
/// The most bytes that are encrypted by one task, and that come out of a decryption.
pub const DATA_BYTES_MAX: usize = 4 << 20;
/// What an encryption adds: version, nonce and tag.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// The most bytes that are decrypted by one task.
pub const SEALED_BYTES_MAX: usize = DATA_BYTES_MAX + OVERHEAD_BYTES;
/// Bytes of a request number.
pub const REQUEST_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + NONCE_BYTES;
const PAYLOAD_BYTES_MAX: usize = SEALED_BYTES_MAX + 64;

/// A key of 32 random bytes. Zeroed when dropped, and never printed: [`fmt::Debug`] says its id.
#[derive(Clone)]
pub struct EncryptionKey(Zeroizing<[u8; 32]>);

impl EncryptionKey {
    /// The key of these bytes, which should be random.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        EncryptionKey(bytes)
    }

    /// The bytes, for the file that keeps them.
    pub fn bytes(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }

    /// What the key is called in public: a digest of it.
    pub fn id(&self) -> Digest {
        let mut hasher = Hasher::new("tasks/encryption-key/1");
        hasher.update(&*self.0);
        hasher.finish()
    }

    /// A key for one purpose. Without a salt: the input is uniform already.
    fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        expand(None, &*self.0, &[purpose], &mut *out);
        out
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        let key = self.derive(b"edge-net/encryption/cipher-key/1");
        XChaCha20Poly1305::new((&*key).into())
    }

    fn nonce(&self, request: &[u8], data: &[u8], associated: &[u8]) -> [u8; NONCE_BYTES] {
        let key = self.derive(b"edge-net/encryption/nonce-key/1");
        let digest = Digest::of(data);
        let info = [b"edge-net/encryption/nonce/1", &digest.as_bytes()[..], associated];
        let mut nonce = [0; NONCE_BYTES];
        expand(Some(request), &*key, &info, &mut nonce);
        nonce
    }

    /// What the tag covers besides the data.
    fn associated(&self) -> [u8; 33] {
        let mut associated = [VERSION; 33];
        associated[1..].copy_from_slice(self.id().as_bytes());
        associated
    }

    fn seal(&self, request: &[u8], data: &[u8]) -> Vec<u8> {
        let associated = self.associated();
        let nonce = self.nonce(request, data, &associated);
        let mut out = Vec::with_capacity(data.len() + OVERHEAD_BYTES);
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(data);
        let tag = self
            .cipher()
            .encrypt_in_place_detached(
                XNonce::from_slice(&nonce),
                &associated,
                &mut out[HEADER_BYTES..],
            )
            .expect("invariant: the data is far below the 256 GiB of the cipher");
        out.extend_from_slice(&tag);
        out
    }

    /// Appends the data to `out`, which is unchanged after an error.
    fn open(&self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), TaskError> {
        let short = TaskError::CutOff { bytes: sealed.len(), least: OVERHEAD_BYTES };
        let (version, rest) = sealed.split_first().ok_or(short.clone())?;
        if *version != VERSION {
            return Err(TaskError::SealVersion(*version));
        }
        let (nonce, rest) = rest.split_at_checked(NONCE_BYTES).ok_or(short.clone())?;
        let length = rest.len().checked_sub(TAG_BYTES).ok_or(short)?;
        let (text, tag) = rest.split_at(length);
        let start = out.len();
        out.extend_from_slice(text);
        // Verified before anything is deciphered.
        let opened = self.cipher().decrypt_in_place_detached(
            XNonce::from_slice(nonce),
            &self.associated(),
            &mut out[start..],
            tag.into(),
        );
        opened.map_err(|_| {
            out.truncate(start);
            TaskError::NotAuthentic
        })
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.id().short())
    }
}

fn expand(salt: Option<&[u8]>, input: &[u8], info: &[&[u8]], out: &mut [u8]) {
    Hkdf::<Sha256>::new(salt, input)
        .expand_multi_info(info, out)
        .expect("invariant: at most 32 bytes are wanted, and HKDF gives 8,160");
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Bytes to authenticated ciphertext.
    Encrypt,
    /// What an encryption gave, to the bytes.
    Decrypt,
}

/// What an `encryption` task is given. Encoded: the key's id, the operation's number, the request
/// number, the length of the data as a varint, the data. It begins with the key's id, so that
/// a node can see whose task it takes without knowing the rest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionPayload {
    /// The id of the key.
    pub key: Digest,
    /// Which way.
    pub operation: Operation,
    /// Drawn at random for each task.
    pub request: [u8; REQUEST_BYTES],
    /// At most [`DATA_BYTES_MAX`] bytes, for decryption [`SEALED_BYTES_MAX`].
    #[serde(serialize_with = "bounded::as_bytes")]
    #[serde(deserialize_with = "bounded::bytes_at_most::<SEALED_BYTES_MAX, _>")]
    pub data: Vec<u8>,
}

/// Without the data, which nobody wants in a log.
impl fmt::Debug for EncryptionPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionPayload")
            .field("key", &self.key)
            .field("operation", &self.operation)
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

impl EncryptionPayload {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads and checks bytes from anywhere.
    ///
    /// # Errors
    /// [`TaskError`]: not a payload, or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, TaskError> {
        let payload: Self = bounded::decode("encryption payload", bytes, PAYLOAD_BYTES_MAX)?;
        payload.check()?;
        Ok(payload)
    }

    /// That the limits are kept: what a requester asks before it sends.
    ///
    /// # Errors
    /// [`TaskError`] names the limit that is not.
    pub fn check(&self) -> Result<(), TaskError> {
        let limit = match self.operation {
            Operation::Encrypt => DATA_BYTES_MAX,
            Operation::Decrypt => SEALED_BYTES_MAX,
        };
        let bytes = self.data.len();
        if bytes > limit {
            return Err(TaskError::TooLarge { what: "the data", bytes, limit });
        }
        Ok(())
    }

    /// What its caller gets of a result: all of an encryption, a decryption without the request number before
    /// it. `None` for what no honest node returns.
    pub fn data_of<'a>(&self, result: &'a [u8]) -> Option<&'a [u8]> {
        match self.operation {
            Operation::Encrypt => {
                (result.len() == self.data.len() + OVERHEAD_BYTES).then_some(result)
            }
            Operation::Decrypt => result.strip_prefix(&self.request),
        }
    }
}

/// Executes an `encryption` task.
pub(crate) fn execute(keys: &Keyring, payload: &[u8]) -> Result<Vec<u8>, TaskError> {
    let payload = EncryptionPayload::decode(payload)?;
    let key = keys.get(&payload.key).ok_or(TaskError::UnknownKey(payload.key))?;
    match payload.operation {
        Operation::Encrypt => Ok(key.seal(&payload.request, &payload.data)),
        Operation::Decrypt => {
            let mut out = Vec::with_capacity(REQUEST_BYTES + payload.data.len());
            out.extend_from_slice(&payload.request);
            key.open(&payload.data, &mut out)?;
            Ok(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> EncryptionKey {
        EncryptionKey::new(Zeroizing::new([number; 32]))
    }

    fn open(key: &EncryptionKey, sealed: &[u8]) -> Result<Vec<u8>, TaskError> {
        let mut out = b"before".to_vec();
        match key.open(sealed, &mut out) {
            Ok(()) => Ok(out.split_off(6)),
            Err(error) => {
                assert_eq!(out, b"before");
                Err(error)
            }
        }
    }

    #[test]
    fn everything_comes_back() {
        let mut rng = edge_base::Rng::derive(1, "encryption");
        for bytes in [0, 1, 15, 16, 17, 63, 64, 65, 100_000] {
            let mut data = vec![0; bytes];
            rng.fill(&mut data);
            let sealed = key(1).seal(&[7; REQUEST_BYTES], &data);
            assert_eq!(sealed.len(), bytes + OVERHEAD_BYTES);
            assert_eq!(open(&key(1), &sealed).as_deref(), Ok(&data[..]));
            assert_eq!(open(&key(2), &sealed), Err(TaskError::NotAuthentic));
        }
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let sealed = key(1).seal(&[7; REQUEST_BYTES], b"pay ten to the bearer");
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                let expected = match at {
                    0 => TaskError::SealVersion(changed[0]),
                    _ => TaskError::NotAuthentic,
                };
                assert_eq!(open(&key(1), &changed), Err(expected), "bit {bit} of byte {at}");
            }
        }
        for length in 0..sealed.len() {
            let expected = match length {
                0..OVERHEAD_BYTES => TaskError::CutOff { bytes: length, least: OVERHEAD_BYTES },
                _ => TaskError::NotAuthentic,
            };
            assert_eq!(open(&key(1), &sealed[..length]), Err(expected), "cut to {length}");
        }
        let longer = [&sealed[..], b"x"].concat();
        assert_eq!(open(&key(1), &longer), Err(TaskError::NotAuthentic));
    }

    #[test]
    fn a_nonce_is_of_request_data_and_key() {
        let nonce = |number, request, data: &[u8]| {
            key(number).seal(&[request; REQUEST_BYTES], data)[1..HEADER_BYTES].to_vec()
        };
        let first = nonce(1, 1, b"data");
        assert_eq!(first, nonce(1, 1, b"data"), "replicas agree");
        assert_ne!(first, nonce(1, 2, b"data"));
        assert_ne!(first, nonce(1, 1, b"Data"), "a request number that came twice does no harm");
        assert_ne!(first, nonce(2, 1, b"data"));
    }

    #[test]
    fn nothing_prints_a_key_or_the_data() {
        let secret = EncryptionKey::new(Zeroizing::new(
            *b"a secret of thirty-two characters".first_chunk().expect("it has so many"),
        ));
        let mut keys = Keyring::default();
        keys.insert("mine", secret.clone()).unwrap();
        let data = b"seen by nobody".to_vec();
        let (operation, request) = (Operation::Encrypt, [1; REQUEST_BYTES]);
        let payload = EncryptionPayload { key: secret.id(), operation, request, data };
        let printed = format!("{secret:?} {keys:?} {payload:?} {:#?}", (&keys, &payload));
        for hidden in ["secret", "97, 32, 115", "61207365", "seen", "115, 101, 101, 110"] {
            assert!(!printed.contains(hidden), "{printed}");
        }
        assert!(printed.contains(&secret.id().short()) && printed.contains("mine"));
    }
}
