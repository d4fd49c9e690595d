//! Encrypted backups: Argon2id (RFC 9106) makes a key of a password, AES-256-GCM (NIST SP 800-38D)
//! encrypts and authenticates under it.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | `ENBK` |
//! | 4 | version, 1: Argon2id v1.3 and AES-256-GCM |
//! | 5 | m, the memory is 2^m KiB |
//! | 6 | passes |
//! | 7 | lanes |
//! | 8..24 | salt |
//! | 24..36 | nonce |
//! | 36.. | ciphertext, as long as the secret |
//! | last 16 | tag |
//!
//! The first 36 bytes are authenticated with the ciphertext, so any changed byte fails. What a file
//! asks for is bounded before memory is taken: at most 256 MiB, ten passes, four lanes.
//!
//! ```
//! use edge_base::{backup, Rng, SecretKey};
//!
//! let key = SecretKey::from_seed([7; 32]);
//! // A program seeds this generator from the operating system.
//! let salt = backup::Entropy::draw(&mut Rng::from_seed([1; 32]));
//! let file = backup::seal(&*key.seed(), b"correct horse", salt)?;
//! assert_eq!(*backup::open(&file, b"correct horse")?, *key.seed());
//! # Ok::<(), backup::BackupError>(())
//! ```

use aes_gcm::{Aes256Gcm, aead::AeadInOut, aead::KeyInit};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use crate::Rng;

/// The version every backup carries.
pub const VERSION: u8 = 1;
/// The largest secret that is sealed or opened: 1 MiB.
pub const SECRET_BYTES_MAX: usize = 1 << 20;
/// The most memory a file may ask for: 2^18 KiB, 256 MiB.
pub const MEMORY_LOG2_KIB_MAX: u8 = 18;
/// The most passes a file may ask for.
pub const PASSES_MAX: u8 = 10;
/// The most lanes a file may ask for.
pub const LANES_MAX: u8 = 4;

const MAGIC: [u8; 4] = *b"ENBK";
const HEADER_BYTES: usize = 36;
const TAG_BYTES: usize = 16;

/// Why a backup could not be made or opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Not a backup, or a truncated one: the file's fault.
    #[error("not an edge-net backup")]
    Malformed,
    /// Made by another version of the format.
    #[error("backup version {0} is not {VERSION}")]
    Version(u8),
    /// The file asks for more work or memory than anybody honest does, or for less than possible.
    #[error("backup asks for key derivation outside the limits")]
    Cost,
    /// The caller's password, or bytes changed after the backup was made. The two cannot be told
    /// apart.
    #[error("wrong password, or the backup was changed")]
    Password,
    /// The secret is larger than [`SECRET_BYTES_MAX`]: the caller's fault.
    #[error("secret of {0} bytes is over the limit of {SECRET_BYTES_MAX}")]
    TooLarge(usize),
    /// This machine has not the memory the derivation needs.
    #[error("not enough memory to derive the key")]
    Memory,
}

/// The random part of a backup. Drawn afresh for each one: a nonce used twice under one key gives
/// both secrets away.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    /// Makes equal passwords give different keys.
    pub salt: [u8; 16],
    /// The AES-GCM nonce.
    pub nonce: [u8; 12],
}

impl Entropy {
    /// From a generator that the operating system seeded.
    pub fn draw(rng: &mut Rng) -> Self {
        Entropy { salt: rng.bytes(), nonce: rng.bytes() }
    }
}

/// What deriving the key costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cost {
    memory_log2_kib: u8,
    passes: u8,
    lanes: u8,
}

impl Cost {
    /// 64 MiB, three passes: the second recommended option of RFC 9106, section 4, in one lane.
    const STANDARD: Cost = Cost { memory_log2_kib: 16, passes: 3, lanes: 1 };

    /// The parameters, if they are inside the limits.
    fn params(self) -> Result<Params, BackupError> {
        if self.memory_log2_kib > MEMORY_LOG2_KIB_MAX
            || self.passes > PASSES_MAX
            || self.lanes > LANES_MAX
        {
            return Err(BackupError::Cost);
        }
        let (memory, passes) = (1 << self.memory_log2_kib, u32::from(self.passes));
        Params::new(memory, passes, u32::from(self.lanes), Some(32)).map_err(|_| BackupError::Cost)
    }
}

/// Encrypts a secret under a password, with 64 MiB and three passes of Argon2id. The password is
/// bytes: a caller that takes text decides on its normal form.
///
/// # Errors
/// [`BackupError::TooLarge`] and [`BackupError::Memory`].
pub fn seal(secret: &[u8], password: &[u8], entropy: Entropy) -> Result<Vec<u8>, BackupError> {
    seal_at(Cost::STANDARD, secret, password, entropy)
}

/// Decrypts a backup.
///
/// # Errors
/// Every [`BackupError`]; nothing is derived or allocated before the header was checked.
pub fn open(bytes: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    if bytes.len() < MAGIC.len() + 1 || bytes[..4] != MAGIC {
        return Err(BackupError::Malformed);
    }
    if bytes[4] != VERSION {
        return Err(BackupError::Version(bytes[4]));
    }
    if bytes.len() < HEADER_BYTES + TAG_BYTES
        || bytes.len() > HEADER_BYTES + SECRET_BYTES_MAX + TAG_BYTES
    {
        return Err(BackupError::Malformed);
    }
    let (header, rest) = bytes.split_at(HEADER_BYTES);
    let (ciphertext, tag) = rest.split_at(rest.len() - TAG_BYTES);
    let params =
        Cost { memory_log2_kib: header[5], passes: header[6], lanes: header[7] }.params()?;
    let cipher = cipher(params, password, &header[8..24])?;
    let nonce: [u8; 12] = header[24..].try_into().expect("invariant: the header ends in a nonce");
    let tag: [u8; TAG_BYTES] = tag.try_into().expect("invariant: split at the tag");
    let mut secret = Zeroizing::new(ciphertext.to_vec());
    cipher
        .decrypt_inout_detached(&nonce.into(), header, secret.as_mut_slice().into(), &tag.into())
        .map_err(|_| BackupError::Password)?;
    Ok(secret)
}

fn seal_at(
    cost: Cost,
    secret: &[u8],
    password: &[u8],
    entropy: Entropy,
) -> Result<Vec<u8>, BackupError> {
    if secret.len() > SECRET_BYTES_MAX {
        return Err(BackupError::TooLarge(secret.len()));
    }
    let cipher = cipher(cost.params()?, password, &entropy.salt)?;
    // Reserved whole, so that no copy of the secret is left behind by a growing vector.
    let mut out = Vec::with_capacity(HEADER_BYTES + secret.len() + TAG_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, cost.memory_log2_kib, cost.passes, cost.lanes]);
    out.extend_from_slice(&entropy.salt);
    out.extend_from_slice(&entropy.nonce);
    out.extend_from_slice(secret);
    let (header, body) = out.split_at_mut(HEADER_BYTES);
    let tag = cipher
        .encrypt_inout_detached(&entropy.nonce.into(), header, body.into())
        .expect("invariant: a MiB is below the limit of AES-GCM");
    out.extend_from_slice(&tag);
    Ok(out)
}

/// The cipher of a password: Argon2id over memory that is wiped afterwards.
fn cipher(params: Params, password: &[u8], salt: &[u8]) -> Result<Aes256Gcm, BackupError> {
    let mut blocks = Zeroizing::new(Vec::new());
    let count = params.block_count();
    blocks.try_reserve_exact(count).map_err(|_| BackupError::Memory)?;
    blocks.resize(count, Block::new());
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, &mut *key, blocks.as_mut_slice())
        .map_err(|_| BackupError::Cost)?;
    Ok(Aes256Gcm::new((&*key).into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Rng;

    const CHEAP: Cost = Cost { memory_log2_kib: 3, passes: 1, lanes: 1 };
    const ENTROPY: Entropy = Entropy { salt: [3; 16], nonce: [4; 12] };

    fn cheap(secret: &[u8], password: &[u8]) -> Vec<u8> {
        seal_at(CHEAP, secret, password, ENTROPY).unwrap()
    }

    #[test]
    fn any_changed_byte_fails() {
        let file = cheap(&[9; 32], b"password");
        assert_eq!(file.len(), 36 + 32 + 16);
        for at in 0..file.len() {
            // The memory exponent makes every value one bit away cheap or refused.
            for mask in (0..8).map(|bit| 1u8 << bit).chain([0xff]) {
                let mut changed = file.clone();
                changed[at] ^= mask;
                let error = open(&changed, b"password").unwrap_err();
                let expected: &[BackupError] = match at {
                    0..4 => &[BackupError::Malformed],
                    4 => &[BackupError::Version(VERSION ^ mask)],
                    5..8 => &[BackupError::Cost, BackupError::Password],
                    _ => &[BackupError::Password],
                };
                assert!(expected.contains(&error), "byte {at} ^ {mask:#x}: {error}");
            }
        }
    }

    /// Some bytes of each part, at what a real backup costs; all of them above, cheaply.
    #[test]
    fn a_changed_byte_fails_at_the_standard_cost() {
        let file = seal(&[9; 32], b"password", ENTROPY).unwrap();
        assert_eq!(*open(&file, b"password").unwrap(), [9; 32]);
        for (at, error) in [
            (2, BackupError::Malformed),
            (4, BackupError::Version(VERSION ^ 1)),
            (6, BackupError::Password),
            (8, BackupError::Password),
            (35, BackupError::Password),
            (50, BackupError::Password),
            (file.len() - 1, BackupError::Password),
        ] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert_eq!(open(&changed, b"password").unwrap_err(), error, "byte {at}");
        }
    }

    #[test]
    fn a_wrong_password_reads_differently_from_a_broken_file() {
        let file = cheap(b"secret", b"password");
        let wrong = open(&file, b"passwore").unwrap_err();
        let broken = open(b"ENBX.......", b"password").unwrap_err();
        assert_eq!((wrong, broken), (BackupError::Password, BackupError::Malformed));
        assert!(wrong.to_string().contains("wrong password"));
        assert!(!broken.to_string().contains("password"));
    }

    #[test]
    fn truncated_and_extended_files_fail() {
        let file = cheap(&[1; 40], b"password");
        for length in 0..file.len() {
            assert!(open(&file[..length], b"password").is_err(), "{length} bytes");
        }
        let mut longer = file.clone();
        longer.push(0);
        assert_eq!(open(&longer, b"password").unwrap_err(), BackupError::Password);
        assert_eq!(*open(&file, b"password").unwrap(), [1; 40]);
    }

    #[test]
    fn what_a_file_may_ask_for_is_bounded() {
        let file = cheap(b"secret", b"password");
        for (at, values) in [(5, 19..=255), (6, 11..=255), (7, 5..=255)] {
            for value in values {
                let mut greedy = file.clone();
                greedy[5] = 10; // enough for any number of lanes below the first refused one
                greedy[at] = value;
                assert_eq!(open(&greedy, b"password").unwrap_err(), BackupError::Cost);
            }
        }
        for (at, value) in [(5, 0), (5, 2), (6, 0), (7, 0), (7, 2)] {
            let mut impossible = file.clone();
            impossible[at] = value;
            assert_eq!(open(&impossible, b"password").unwrap_err(), BackupError::Cost);
        }
        let most = Cost { memory_log2_kib: 18, passes: 10, lanes: 4 }.params().unwrap();
        assert_eq!((most.m_cost(), most.t_cost(), most.p_cost()), (256 << 10, 10, 4));
    }

    #[test]
    fn a_secret_over_the_limit_is_refused() {
        let large = vec![0; SECRET_BYTES_MAX + 1];
        let refused = seal_at(CHEAP, &large, b"", ENTROPY).unwrap_err();
        assert_eq!(refused, BackupError::TooLarge(SECRET_BYTES_MAX + 1));
        let file = cheap(&large[1..], b"");
        assert_eq!(open(&file, b"").unwrap().len(), SECRET_BYTES_MAX);
        let grown = [file, vec![0]].concat();
        assert_eq!(open(&grown, b"").unwrap_err(), BackupError::Malformed);
    }

    #[test]
    fn the_standard_cost_is_64_mebibytes_and_three_passes() {
        let params = Cost::STANDARD.params().unwrap();
        assert_eq!((params.m_cost(), params.t_cost()), (64 << 10, 3));
    }

    #[test]
    fn entropy_decides_key_and_stream() {
        let mut rng = Rng::derive(1, "backup");
        let (first, second) = (Entropy::draw(&mut rng), Entropy::draw(&mut rng));
        let file = |e| seal_at(CHEAP, &[0; 32], b"password", e).unwrap();
        assert_eq!(file(first), file(first));
        assert_ne!(file(first)[36..], file(second)[36..]);
        let same_salt = Entropy { salt: first.salt, nonce: second.nonce };
        assert_ne!(file(first)[36..], file(same_salt)[36..]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_sealed_opens(secret: Vec<u8>, password: Vec<u8>, other: Vec<u8>) {
            let file = cheap(&secret, &password);
            prop_assert_eq!(&*open(&file, &password).unwrap(), &secret);
            if other != password {
                prop_assert_eq!(open(&file, &other).unwrap_err(), BackupError::Password);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, header: bool) {
            if header {
                let cheap_header = [b'E', b'N', b'B', b'K', 1, 3, 1, 1];
                bytes.splice(..0, cheap_header);
            }
            prop_assert!(open(&bytes, b"password").is_err());
        }
    }
}
