//! The bytes that travel and are stored, against files that `oracles/golden.py` made from hashlib,
//! `cryptography` and `argon2-cffi`. A difference here is a break of the protocol.

#![allow(clippy::unwrap_used)] // helper functions of a test are not #[test] functions

use std::fmt::Write as _;

use edge_base::{
    Credits, Digest, Domain, GenesisLabel, Micros, NetworkTag, NodeId, PiIdentity, PoolPurpose,
    Rng, SecretKey, Signed, SignedBody, Verifier, backup, codec,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const CODEC: &str = include_str!("golden/codec.txt");
const IDENTITY: &str = include_str!("golden/identity.txt");
const BACKUP: &str = include_str!("golden/backup.txt");
const RNG: &str = include_str!("golden/rng.txt");

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Greeting {
    number: u32,
    text: String,
}

impl SignedBody for Greeting {
    const DOMAIN: Domain = Domain("golden/greeting");
}

fn golden(file: &str, name: &str) -> Vec<u8> {
    let line = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    let digits = line.unwrap_or_else(|| panic!("no {name} in the golden file"));
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn check_hex(file: &str, name: &str, got: &[u8]) {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut out, byte| {
            write!(out, "{byte:02x}").unwrap();
            out
        })
    };
    assert_eq!(hex(got), hex(&golden(file, name)), "{name}");
}

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, value: T) {
    check_hex(CODEC, name, &codec::encode(&value));
    assert_eq!(codec::decode::<T>(&golden(CODEC, name)), Ok(value), "{name}");
}

fn greeting() -> (Signed<Greeting>, Digest) {
    let pool = Digest::of(b"genesis");
    let body = Greeting { number: 300, text: "π".into() };
    (Signed::seal(body, &SecretKey::from_seed([7; 32]), &pool), pool)
}

#[test]
fn values_have_their_bytes() {
    check("node_id", SecretKey::from_seed([7; 32]).node_id());
    check("digest", Digest::of(b"genesis"));
    check("credits_zero", Credits::ZERO);
    check("credits_1_5", "1.5".parse::<Credits>().unwrap());
    check("credits_max", Credits::from_micro(u64::MAX));
    check("micros", Micros::from_secs(86_400));
    check_hex(CODEC, "digest_of_value", &Digest::of_value("golden/value", &300u32).0);
    for length in [254, 255, 256, 300] {
        let digest = Digest::of_value(&"t".repeat(length), &300u32);
        check_hex(CODEC, &format!("digest_of_value_tag_{length}"), &digest.0);
    }
}

#[test]
fn a_signed_body_has_its_bytes_and_another_implementations_signature_holds() {
    let (signed, pool) = greeting();
    check("signed", signed.clone());
    check_hex(CODEC, "signed_frame", &codec::encode_frame(9, &signed));
    check_hex(CODEC, "signed_digest", &signed.digest().0);
    let read: Signed<Greeting> = codec::decode_frame(9, &golden(CODEC, "signed_frame")).unwrap();
    assert_eq!(read.open(&mut Verifier::strict(), &pool), Ok(&greeting().0.body));
}

#[test]
fn identity_and_label_have_their_bits() {
    let (signed, genesis) = greeting();
    let node: NodeId = signed.signer;
    let identity = PiIdentity::new(node, NetworkTag::of_genesis(&genesis)).unwrap();
    check_hex(IDENTITY, "identity", &identity.encode());
    check_hex(IDENTITY, "identity_text", identity.to_string().as_bytes());
    check_hex(IDENTITY, "short", identity.short().as_bytes());
    assert_eq!(PiIdentity::decode(&golden(IDENTITY, "identity")), Ok(identity));
    for (name, purpose) in [("label_main", PoolPurpose::Main), ("label_test", PoolPurpose::Test)] {
        let label = GenesisLabel::new(&genesis, purpose);
        check_hex(IDENTITY, name, &label.encode());
        assert_eq!(GenesisLabel::decode(&golden(IDENTITY, name)), Ok(label));
    }
}

#[test]
fn a_backup_has_its_bytes_at_the_standard_cost() {
    let entropy = backup::Entropy {
        salt: std::array::from_fn(|i| i as u8),
        nonce: std::array::from_fn(|i| 16 + i as u8),
    };
    let sealed = backup::seal(&[7; 32], b"correct horse", entropy).unwrap();
    check_hex(BACKUP, "backup", &sealed);
    assert_eq!(*backup::open(&golden(BACKUP, "backup"), b"correct horse").unwrap(), [7; 32]);
}

#[test]
fn the_generator_has_its_stream() {
    for (name, mut rng) in
        [("zero_seed", Rng::from_seed([0; 32])), ("derived_42_golden", Rng::derive(42, "golden"))]
    {
        let numbers: Vec<u8> = (0..40).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
        check_hex(RNG, name, &numbers);
    }
    let mut rng = Rng::derive(42, "golden");
    let below: Vec<u8> = (0..40).flat_map(|_| (rng.below(1_000) as u16).to_le_bytes()).collect();
    check_hex(RNG, "below_1000", &below);
    // Bytes and words are the same stream.
    let mut bytes = Rng::from_seed([0; 32]);
    check_hex(RNG, "zero_seed", &bytes.bytes::<320>());
}
