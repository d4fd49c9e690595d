//! The π identity (40 bytes) and the φ genesis label (21 bytes).
//!
//! A π identity is how a node's public key is written down, printed and passed by hand: 314 bits
//! with a check on every one of them. Bits are counted from the most significant of byte 0:
//!
//! | bits | bytes | field |
//! |---|---|---|
//! | 0..256 | 0..32 | Ed25519 public key (RFC 8032, section 5.1.5) |
//! | 256..264 | 32 | suite (high nibble, 1 = Ed25519) and version (low nibble, 1) |
//! | 264..280 | 33..35 | network tag, big endian |
//! | 280..314 | 35..40 | the first 34 bits of SHA-256 over bytes 0..35 |
//! | 314..320 | 39 | six zero bits |
//!
//! The checksum catches slips, not attacks: nothing relies on it, and the key inside is whole. As
//! text an identity is `pi` and the 40 bytes in base32 (RFC 4648, section 6, lower case), which
//! needs no padding: 66 characters.
//!
//! ```
//! use edge_base::{Digest, NetworkTag, PiIdentity, SecretKey};
//!
//! let pool = NetworkTag::of_genesis(&Digest::of(b"genesis record"));
//! let identity = PiIdentity::new(SecretKey::from_seed([7; 32]).node_id(), pool)?;
//! let text = identity.to_string();
//! assert_eq!(text.len(), 66);
//! assert_eq!(text.parse::<PiIdentity>()?, identity);
//! assert_eq!(PiIdentity::decode_for(pool, &identity.encode())?, identity);
//! # Ok::<(), edge_base::IdentityError>(())
//! ```

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

use crate::{Digest, NodeId, PublicKeyError, SecretKey};

/// Bytes of an encoded π identity.
pub const IDENTITY_BYTES: usize = 40;
/// Bytes of an identity with its secret ([`PiIdentity::with_secret`]).
pub const IDENTITY_FILE_BYTES: usize = IDENTITY_BYTES + 32;
/// Bytes of an encoded φ genesis label.
pub const GENESIS_LABEL_BYTES: usize = 21;
/// The only suite and version there is: Ed25519, version 1.
pub const SUITE_VERSION: u8 = 0x11;

const CHECKED_BYTES: usize = 35;
const TEXT_PREFIX: &str = "pi";
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Sixteen bits that tell pools apart at a glance. They are a hint: whatever is signed binds the
/// full genesis hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NetworkTag(pub u16);

impl NetworkTag {
    /// Of an identity that belongs to no pool yet.
    pub const UNBOUND: NetworkTag = NetworkTag(0);

    /// The first 16 bits of a genesis hash, big endian; 1 where they are zero.
    pub fn of_genesis(genesis: &Digest) -> Self {
        NetworkTag(u16::from_be_bytes([genesis.0[0], genesis.0[1]]).max(1))
    }
}

impl fmt::Display for NetworkTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// Why bytes or text are not a π identity or a φ label: the fault of whoever wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not as long as the encoding is.
    #[error("{got} bytes where {expected} were expected")]
    Length {
        /// The bytes received.
        got: usize,
        /// The bytes of the encoding.
        expected: usize,
    },
    /// A padding bit is set.
    #[error("padding bits are not zero")]
    Padding,
    /// The checksum is of other bytes: most likely a slip in copying.
    #[error("checksum does not match: was it copied whole")]
    Checksum,
    /// A suite or version this program does not know.
    #[error("identity suite and version {0:#04x} are not {SUITE_VERSION:#04x}")]
    Version(u8),
    /// An identity of another pool.
    #[error("identity is of network {got}, not {expected}")]
    Network {
        /// The tag it carries.
        got: NetworkTag,
        /// The tag asked for.
        expected: NetworkTag,
    },
    /// A key no honest node has.
    #[error("{0}: non-canonical or of small order")]
    Key(#[from] PublicKeyError),
    /// The secret is not that of the key.
    #[error("the seed does not make the identity before it")]
    Seed,
    /// Text that is not `pi` and 64 lower-case base32 characters.
    #[error("not an identity: expected \"pi\" and 64 lower-case base32 characters")]
    Text,
}

/// A checked public key with the pool it is meant for. A value of this type always holds a
/// canonical key that is not of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PiIdentity {
    node: NodeId,
    network: NetworkTag,
}

impl PiIdentity {
    /// From a key and a pool's tag.
    ///
    /// # Errors
    /// [`IdentityError::Key`] for a non-canonical or small-order key.
    pub fn new(node: NodeId, network: NetworkTag) -> Result<Self, IdentityError> {
        node.check()?;
        Ok(PiIdentity { node, network })
    }

    /// The node.
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// The pool's tag.
    pub fn network(&self) -> NetworkTag {
        self.network
    }

    /// `π:` and the first eight hexadecimal digits of the key.
    pub fn short(&self) -> String {
        self.node.short()
    }

    /// The 40 bytes.
    pub fn encode(&self) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0; IDENTITY_BYTES];
        bytes[..32].copy_from_slice(&self.node.0);
        bytes[32] = SUITE_VERSION;
        bytes[33..CHECKED_BYTES].copy_from_slice(&self.network.0.to_be_bytes());
        let checksum = checksum(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum);
        bytes
    }

    /// Reads 40 bytes, of whatever pool.
    ///
    /// # Errors
    /// Every [`IdentityError`] but `Network` and `Text`, in the order length, padding, checksum,
    /// version, key: what is most likely a slip in copying is named as one.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        if bytes.len() != IDENTITY_BYTES {
            return Err(IdentityError::Length { got: bytes.len(), expected: IDENTITY_BYTES });
        }
        let (checked, sum) = bytes.split_at(CHECKED_BYTES);
        if sum[4] & 0x3f != 0 {
            return Err(IdentityError::Padding);
        }
        if sum != checksum(checked) {
            return Err(IdentityError::Checksum);
        }
        if checked[32] != SUITE_VERSION {
            return Err(IdentityError::Version(checked[32]));
        }
        let mut key = [0; 32];
        key.copy_from_slice(&checked[..32]);
        PiIdentity::new(NodeId(key), NetworkTag(u16::from_be_bytes([checked[33], checked[34]])))
    }

    /// Reads 40 bytes and refuses an identity of another pool.
    ///
    /// # Errors
    /// As [`PiIdentity::decode`], and [`IdentityError::Network`].
    pub fn decode_for(expected: NetworkTag, bytes: &[u8]) -> Result<Self, IdentityError> {
        let identity = PiIdentity::decode(bytes)?;
        if identity.network == expected {
            Ok(identity)
        } else {
            Err(IdentityError::Network { got: identity.network, expected })
        }
    }
}

impl PiIdentity {
    /// The 40 bytes and the key's seed: what a node keeps in its folder, and what is in a backup.
    pub fn with_secret(&self, key: &SecretKey) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(IDENTITY_FILE_BYTES));
        bytes.extend_from_slice(&self.encode());
        bytes.extend_from_slice(&*key.seed());
        bytes
    }

    /// Reads what [`Self::with_secret`] wrote.
    ///
    /// # Errors
    /// Those of [`Self::decode`], and [`IdentityError::Seed`].
    pub fn decode_with_secret(bytes: &[u8]) -> Result<(Self, SecretKey), IdentityError> {
        if bytes.len() != IDENTITY_FILE_BYTES {
            return Err(IdentityError::Length { got: bytes.len(), expected: IDENTITY_FILE_BYTES });
        }
        let (public, secret) = bytes.split_at(IDENTITY_BYTES);
        let identity = PiIdentity::decode(public)?;
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(secret);
        let key = SecretKey::from_seed(*seed);
        let own = key.node_id() == identity.node;
        own.then_some((identity, key)).ok_or(IdentityError::Seed)
    }
}

/// The first 34 bits of SHA-256, in five bytes whose last six bits are zero.
fn checksum(checked: &[u8]) -> [u8; 5] {
    let digest = Digest::of(checked).0;
    [digest[0], digest[1], digest[2], digest[3], digest[4] & 0xc0]
}

impl fmt::Debug for PiIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.short(), self.network)
    }
}

impl fmt::Display for PiIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TEXT_PREFIX)?;
        for group in self.encode().chunks_exact(5) {
            let bits = group.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            for place in (0..8).rev() {
                let digit = (bits >> (5 * place)) & 31;
                fmt::Write::write_char(f, char::from(BASE32[digit as usize]))?;
            }
        }
        Ok(())
    }
}

impl FromStr for PiIdentity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let digits = text.strip_prefix(TEXT_PREFIX).ok_or(IdentityError::Text)?.as_bytes();
        if digits.len() != IDENTITY_BYTES / 5 * 8 {
            return Err(IdentityError::Text);
        }
        let mut bytes = [0; IDENTITY_BYTES];
        for (out, group) in bytes.chunks_exact_mut(5).zip(digits.chunks_exact(8)) {
            let mut bits = 0u64;
            for digit in group {
                let value = BASE32.iter().position(|d| d == digit).ok_or(IdentityError::Text)?;
                bits = bits << 5 | value as u64;
            }
            out.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        PiIdentity::decode(&bytes)
    }
}

/// Whether a pool's credits are meant to be worth anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PoolPurpose {
    /// A pool people use.
    Main,
    /// A pool for trying things.
    Test,
}

/// The φ label of a pool: the first 160 bits of its genesis hash and one bit for its purpose, in
/// 21 bytes whose last seven bits are zero. A label for people and file names: whatever is signed
/// binds the full genesis hash, because nothing truncated is trusted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenesisLabel {
    head: [u8; 20],
    purpose: PoolPurpose,
}

impl GenesisLabel {
    /// Of a genesis record's SHA-256 and the pool's purpose.
    pub fn new(genesis: &Digest, purpose: PoolPurpose) -> Self {
        let mut head = [0; 20];
        head.copy_from_slice(&genesis.0[..20]);
        GenesisLabel { head, purpose }
    }

    /// The pool's purpose.
    pub fn purpose(&self) -> PoolPurpose {
        self.purpose
    }

    /// Whether a genesis hash begins with this label's 160 bits.
    pub fn labels(&self, genesis: &Digest) -> bool {
        genesis.0[..20] == self.head
    }

    /// The 21 bytes: 160 hash bits, one bit (1 = test), seven zero bits.
    pub fn encode(&self) -> [u8; GENESIS_LABEL_BYTES] {
        let mut bytes = [0; GENESIS_LABEL_BYTES];
        bytes[..20].copy_from_slice(&self.head);
        bytes[20] = match self.purpose {
            PoolPurpose::Main => 0x00,
            PoolPurpose::Test => 0x80,
        };
        bytes
    }

    /// Reads 21 bytes.
    ///
    /// # Errors
    /// [`IdentityError::Length`] and [`IdentityError::Padding`].
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let Ok(bytes) = <[u8; GENESIS_LABEL_BYTES]>::try_from(bytes) else {
            return Err(IdentityError::Length { got: bytes.len(), expected: GENESIS_LABEL_BYTES });
        };
        let purpose = match bytes[20] {
            0x00 => PoolPurpose::Main,
            0x80 => PoolPurpose::Test,
            _ => return Err(IdentityError::Padding),
        };
        let mut head = [0; 20];
        head.copy_from_slice(&bytes[..20]);
        Ok(GenesisLabel { head, purpose })
    }
}

impl fmt::Debug for GenesisLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `φ:` and the first eight hexadecimal digits, with `-test` after them for a test pool.
impl fmt::Display for GenesisLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("φ:")?;
        self.head[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(match self.purpose {
            PoolPurpose::Main => "",
            PoolPurpose::Test => "-test",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Rng, SecretKey};

    fn node(seed: u64) -> NodeId {
        SecretKey::from_seed(Rng::derive(seed, "identity test").bytes()).node_id()
    }

    /// The 40 bytes of any fields, with a checksum that holds.
    fn forge(key: [u8; 32], suite_version: u8, network: u16) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..32].copy_from_slice(&key);
        bytes[32] = suite_version;
        bytes[33..35].copy_from_slice(&network.to_be_bytes());
        let sum = checksum(&bytes[..35]);
        bytes[35..].copy_from_slice(&sum);
        bytes
    }

    #[test]
    fn an_identity_with_its_secret_is_read_whole_or_not() {
        let key = SecretKey::from_seed([3; 32]);
        let identity = PiIdentity::new(key.node_id(), NetworkTag(9)).unwrap();
        let bytes = identity.with_secret(&key);
        let (read, secret) = PiIdentity::decode_with_secret(&bytes).unwrap();
        assert_eq!((read, secret.node_id()), (identity, key.node_id()));
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            let error = PiIdentity::decode_with_secret(&changed).unwrap_err();
            assert_eq!(at >= IDENTITY_BYTES, error == IdentityError::Seed);
        }
        assert!(PiIdentity::decode_with_secret(&bytes[1..]).is_err());
    }

    #[test]
    fn two_thousand_fresh_keys_all_verify() {
        for seed in 0..2_000 {
            let identity = PiIdentity::new(node(seed), NetworkTag(seed as u16)).unwrap();
            assert_eq!(PiIdentity::decode(&identity.encode()), Ok(identity));
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    #[test]
    fn each_field_has_its_own_refusal() {
        let key = node(1).0;
        let good = forge(key, SUITE_VERSION, 5);
        assert_eq!(PiIdentity::decode_for(NetworkTag(5), &good).unwrap().node_id(), NodeId(key));
        let other = PiIdentity::decode_for(NetworkTag(6), &good);
        let (got, expected) = (NetworkTag(5), NetworkTag(6));
        assert_eq!(other, Err(IdentityError::Network { got, expected }));
        assert_eq!(
            PiIdentity::decode(&good[..39]),
            Err(IdentityError::Length { got: 39, expected: 40 })
        );
        for version in (0..=255).filter(|v| *v != SUITE_VERSION) {
            let refused = PiIdentity::decode(&forge(key, version, 5));
            assert_eq!(refused, Err(IdentityError::Version(version)));
        }
        for padding in 1..64 {
            let mut padded = good;
            padded[39] |= padding;
            assert_eq!(PiIdentity::decode(&padded), Err(IdentityError::Padding));
        }
        let mut slipped = good;
        slipped[0] ^= 1;
        assert_eq!(PiIdentity::decode(&slipped), Err(IdentityError::Checksum));
    }

    #[test]
    fn unusable_keys_are_refused_even_with_a_good_checksum() {
        for key in crate::signature::tests::unusable_keys() {
            let refused = PiIdentity::decode(&forge(key, SUITE_VERSION, 5));
            assert_eq!(refused, Err(IdentityError::Key(PublicKeyError)), "{key:02x?}");
        }
    }

    #[test]
    fn text_has_one_form() {
        let text = PiIdentity::new(node(3), NetworkTag(9)).unwrap().to_string();
        let bad = [
            text.to_uppercase(),
            format!("{text}a"),
            text[..65].to_owned(),
            text[2..].to_owned(),
            format!("π{}", &text[2..]),
            text.replacen(&text[20..21], "1", 1),
            format!("pi{}", "é".repeat(32)),
            String::new(),
        ];
        for text in bad {
            assert_eq!(text.parse::<PiIdentity>(), Err(IdentityError::Text), "{text}");
        }
    }

    #[test]
    fn a_tag_of_a_genesis_is_never_the_unbound_one() {
        assert_eq!(NetworkTag::of_genesis(&Digest([0; 32])), NetworkTag(1));
        assert_ne!(NetworkTag::of_genesis(&Digest([0; 32])), NetworkTag::UNBOUND);
        assert_eq!(NetworkTag::of_genesis(&Digest([0xab; 32])), NetworkTag(0xabab));
    }

    #[test]
    fn a_label_is_the_hash_head_one_bit_and_zeros() {
        let genesis = Digest::of(b"genesis");
        let label = GenesisLabel::new(&genesis, PoolPurpose::Test);
        let bytes = label.encode();
        assert_eq!((&bytes[..20], bytes[20]), (&genesis.0[..20], 0x80));
        assert_eq!(GenesisLabel::decode(&bytes), Ok(label));
        assert_eq!(label.to_string(), format!("φ:{}-test", genesis.short()));
        assert!(label.labels(&genesis) && !label.labels(&Digest::of(b"another")));
        assert_ne!(label, GenesisLabel::new(&genesis, PoolPurpose::Main));
        for last in (0..=255u8).filter(|b| b & 0x7f != 0) {
            let mut padded = bytes;
            padded[20] = last;
            assert_eq!(GenesisLabel::decode(&padded), Err(IdentityError::Padding));
        }
        let short = GenesisLabel::decode(&bytes[1..]);
        assert_eq!(short, Err(IdentityError::Length { got: 20, expected: 21 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_flipped_bit_is_refused(seed in any::<u64>(), network in any::<u16>()) {
            let identity = PiIdentity::new(node(seed), NetworkTag(network)).unwrap();
            let bytes = identity.encode();
            for bit in 0..320 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 0x80 >> (bit % 8);
                let expected =
                    if bit < 314 { IdentityError::Checksum } else { IdentityError::Padding };
                prop_assert_eq!(PiIdentity::decode(&flipped), Err(expected), "bit {}", bit);
            }
        }

        #[test]
        fn bytes_that_decode_encode_to_themselves(bytes in any::<[u8; 32]>(), network: u16) {
            let bytes = forge(bytes, SUITE_VERSION, network);
            if let Ok(identity) = PiIdentity::decode(&bytes) {
                prop_assert_eq!(identity.encode(), bytes);
            }
        }
    }
}
