//! The strict rule against RFC 8032 and against every way round it, made here from the group law.

use curve25519_dalek::{
    constants::{ED25519_BASEPOINT_POINT as BASE, EIGHT_TORSION},
    edwards::EdwardsPoint,
    scalar::Scalar,
    traits::{Identity as _, IsIdentity as _},
};
use ed25519_dalek::Verifier as _;
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

use super::*;
use crate::Rng;

/// The order of the base point, little endian (RFC 8032, section 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Every encoding of a small-order point, every non-canonical y, and bytes that are no point.
pub(crate) fn unusable_keys() -> Vec<[u8; 32]> {
    let mut keys: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|p| p.compress().to_bytes()).collect();
    for sign in [0x00, 0x80] {
        for low in 0xed..=0xff {
            let mut y = [0xff; 32];
            (y[0], y[31]) = (low, 0x7f | sign);
            keys.push(y);
        }
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f | sign);
        let mut one = [0; 32];
        (one[0], one[31]) = (1, sign);
        keys.extend([one, minus_one]);
    }
    let mut rng = Rng::derive(0, "no points");
    let off_curve = std::iter::repeat_with(|| rng.bytes::<32>())
        .filter(|y| VerifyingKey::from_bytes(y).is_err())
        .take(16);
    keys.extend(off_curve);
    keys
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let digits = text.as_bytes();
    assert_eq!(digits.len(), 2 * N);
    std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
}

#[test]
fn rfc_8032_vectors_hold() {
    let vectors: [(&str, &str, &[u8], &str); 3] = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            &[],
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970\
             1cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            &[0x72],
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613\
             d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            &[0xaf, 0x82],
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760\
             984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (secret, public, message, signature) in vectors {
        let key = SecretKey::from_seed(hex(secret));
        assert_eq!(key.node_id(), NodeId(hex(public)));
        let signature = Signature(hex(signature));
        assert_eq!(Signature(key.key.sign(message).to_bytes()), signature);
        assert_eq!(verify_strictly(&key.node_id(), message, &signature), Ok(()));
        let longer = [message, b"."].concat();
        assert_eq!(verify_strictly(&key.node_id(), &longer, &signature), Err(SignatureError));
        for bit in 0..512 {
            let mut flipped = signature;
            flipped.0[bit / 8] ^= 1 << (bit % 8);
            assert!(verify_strictly(&key.node_id(), message, &flipped).is_err(), "bit {bit}");
        }
    }
}

/// A signature that satisfies the equation multiplied by the cofactor, whatever small-order parts
/// its key and its commitment have.
struct Case {
    key: NodeId,
    message: [u8; 8],
    signature: Signature,
    /// Whether it satisfies the equation without the cofactor: what the plain rule accepts.
    cofactorless: bool,
}

impl Case {
    fn make(secret: u64, nonce: u64, parts: (EdwardsPoint, EdwardsPoint), message: u64) -> Case {
        let (secret, nonce) = (Scalar::from(secret), Scalar::from(nonce));
        let (key, commitment) = (BASE * secret + parts.0, BASE * nonce + parts.1);
        Case::with_encodings(
            (secret, nonce),
            (key.compress().to_bytes(), commitment.compress().to_bytes()),
            parts,
            message,
        )
    }

    fn with_encodings(
        (secret, nonce): (Scalar, Scalar),
        (key, commitment): ([u8; 32], [u8; 32]),
        parts: (EdwardsPoint, EdwardsPoint),
        message: u64,
    ) -> Case {
        let message = message.to_le_bytes();
        let hash = Sha512::new().chain_update(commitment).chain_update(key).chain_update(message);
        let challenge = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let response = nonce + challenge * secret;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&commitment);
        signature[32..].copy_from_slice(response.as_bytes());
        Case {
            key: NodeId(key),
            message,
            signature: Signature(signature),
            cofactorless: (parts.1 + parts.0 * challenge).is_identity(),
        }
    }

    /// The first message for which the equation without the cofactor holds, or does not.
    fn find(secret: u64, nonce: u64, parts: (EdwardsPoint, EdwardsPoint), holds: bool) -> Case {
        (0..1_000)
            .map(|message| Case::make(secret, nonce, parts, message))
            .find(|case| case.cofactorless == holds)
            .expect("one in eight messages will do")
    }

    fn strict(&self) -> bool {
        verify_strictly(&self.key, &self.message, &self.signature).is_ok()
    }

    /// What a verifier that follows RFC 8032 to the letter and no further says.
    fn plain(&self) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.signature.0);
        VerifyingKey::from_bytes(&self.key.0)
            .is_ok_and(|key| key.verify(&self.message, &signature).is_ok())
    }
}

#[test]
fn the_edge_cases_of_the_many_eddsas() {
    let none = EdwardsPoint::identity();
    let torsion = EIGHT_TORSION[1];
    // (what, case, what the plain rule says, what ours must say)
    let cases = [
        ("honest", Case::make(5, 6, (none, none), 0), true, true),
        ("small key and commitment", Case::find(0, 0, (torsion, torsion), true), true, false),
        ("small key", Case::find(0, 6, (torsion, none), true), true, false),
        ("identity key", Case::make(0, 6, (none, none), 0), true, false),
        ("small commitment", Case::find(5, 0, (torsion, torsion), true), true, false),
        ("identity commitment", Case::make(5, 0, (none, none), 0), true, false),
        ("mixed, parts cancel", Case::find(5, 6, (torsion, torsion), true), true, true),
        ("mixed, parts do not", Case::find(5, 6, (torsion, torsion), false), false, false),
        ("mixed key alone", Case::find(5, 6, (torsion, none), false), false, false),
        ("mixed commitment alone", Case::make(5, 6, (none, torsion), 0), false, false),
    ];
    for (what, case, plain, strict) in cases {
        assert_eq!((case.plain(), case.strict()), (plain, strict), "{what}");
    }
}

#[test]
fn a_response_above_the_group_order_is_refused() {
    for message in 0..8 {
        let none = EdwardsPoint::identity();
        let mut case = Case::make(5, 6, (none, none), message);
        assert!(case.strict());
        // S + L, S + 2L, ...: the same scalar, other bytes, while they fit.
        for _ in 0..15 {
            let mut carry = 0;
            for (byte, order) in case.signature.0[32..].iter_mut().zip(ORDER) {
                let sum = u16::from(*byte) + u16::from(order) + carry;
                (*byte, carry) = (sum as u8, sum >> 8);
            }
            assert_eq!(carry, 0);
            assert!(!case.strict());
        }
    }
}

#[test]
fn non_canonical_encodings_are_refused() {
    let none = EdwardsPoint::identity();
    let zero = Scalar::ZERO;
    let secret = Scalar::from(5u64);
    let honest = (BASE * secret).compress().to_bytes();
    // y = p + 1 and y = 1 with the sign of x = 0: both decompress to the identity.
    let mut above = [0xff; 32];
    (above[0], above[31]) = (0xee, 0x7f);
    let mut signed_zero = [0; 32];
    (signed_zero[0], signed_zero[31]) = (1, 0x80);
    for alias in [above, signed_zero] {
        let key = Case::with_encodings((zero, secret), (alias, honest), (none, none), 0);
        assert!(key.plain() && !key.strict(), "key {alias:02x?}");
        let commitment = Case::with_encodings((secret, zero), (honest, alias), (none, none), 0);
        assert!(!commitment.strict(), "commitment {alias:02x?}");
    }
    // Points of large order with a second encoding have unknown secrets; the bytes are refused.
    let large = (0xed..=0xff).map(|low| {
        let mut y = [0xff; 32];
        (y[0], y[31]) = (low, 0x7f);
        y
    });
    let decompress: Vec<_> =
        large.filter(|y| VerifyingKey::from_bytes(y).is_ok_and(|key| !key.is_weak())).collect();
    assert!(!decompress.is_empty());
    for y in decompress {
        assert_eq!(NodeId(y).check(), Err(PublicKeyError), "{y:02x?}");
    }
}

#[test]
fn canonical_means_below_the_field_prime() {
    for top in [0x7f, 0xff] {
        for low in 0..=255 {
            let mut y = [0xff; 32];
            (y[0], y[31]) = (low, top);
            assert_eq!(is_canonical_y(&y), low < 0xed, "{low:#x}");
            for at in 1..31 {
                let mut smaller = y;
                smaller[at] -= 1;
                assert!(is_canonical_y(&smaller));
            }
            y[31] -= 1;
            assert!(is_canonical_y(&y));
        }
    }
}

#[test]
fn no_unusable_key_passes_and_every_fresh_one_does() {
    for key in unusable_keys() {
        assert_eq!(NodeId(key).check(), Err(PublicKeyError), "{key:02x?}");
        let signature = Signature([0; 64]);
        let mut verifier = Verifier::strict();
        let pool = Digest::default();
        assert!(verifier.verify(&NodeId(key), Domain("d"), &pool, b"", &signature).is_err());
    }
    for seed in 0..200 {
        let key = SecretKey::from_seed(Rng::derive(seed, "fresh").bytes());
        assert_eq!(key.node_id().check(), Ok(()));
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Offer(u64, String);
impl SignedBody for Offer {
    const DOMAIN: Domain = Domain("test/offer");
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Bid(u64, String);
impl SignedBody for Bid {
    const DOMAIN: Domain = Domain("test/bid");
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

#[test]
fn a_signature_is_for_one_domain_one_pool_one_signer_and_one_body() {
    let (pool, other) = (Digest::of(b"pool"), Digest::of(b"other"));
    let mut verifier = Verifier::strict();
    let offer = Signed::seal(Offer(1, "x".into()), &key(1), &pool);
    assert_eq!(offer.open(&mut verifier, &pool), Ok(&Offer(1, "x".into())));
    assert_eq!(offer.open(&mut verifier, &other), Err(SignatureError));
    let bid = Signed { signer: offer.signer, body: Bid(1, "x".into()), signature: offer.signature };
    assert_eq!(codec::encode(&bid.body), codec::encode(&offer.body));
    assert_eq!(bid.open(&mut verifier, &pool), Err(SignatureError));
    assert_ne!(bid.digest(), offer.digest());
    let stolen = Signed { signer: key(2).node_id(), ..offer.clone() };
    assert_eq!(stolen.open(&mut verifier, &pool), Err(SignatureError));
    assert_ne!(stolen.digest(), offer.digest());
    let changed = Signed { body: Offer(2, "x".into()), ..offer.clone() };
    assert_eq!(changed.open(&mut verifier, &pool), Err(SignatureError));
    let resigned = Signed { signature: Signature([1; 64]), ..offer.clone() };
    assert_eq!(resigned.digest(), offer.digest());
    let stats = VerifierStats { asked: 5, remembered: 0, computed: 5, failed: 4 };
    assert_eq!(verifier.stats(), stats);
}

#[test]
fn domain_and_message_cannot_trade_bytes() {
    let (pool, signer) = (Digest::of(b"pool"), key(1));
    let signature = signer.sign(Domain("ab"), &pool, b"c");
    let mut verifier = Verifier::strict();
    let mut check = |domain, message: &[u8]| {
        verifier.verify(&signer.node_id(), Domain(domain), &pool, message, &signature).is_ok()
    };
    assert!(check("ab", b"c"));
    assert!(!check("a", b"bc") && !check("abc", b"") && !check("ab", b"c\0"));
}

#[test]
fn the_memo_remembers_only_what_held_and_keeps_its_bound() {
    let pool = Digest::of(b"pool");
    let mut verifier = Verifier::memoised(3);
    let held = |verifier: &Verifier| verifier.memo.as_ref().unwrap().lock().unwrap().held.len();
    let offers: Vec<_> =
        (0..8).map(|i| Signed::seal(Offer(i, String::new()), &key(1), &pool)).collect();
    for offer in &offers {
        offer.open(&mut verifier, &pool).unwrap();
        assert!(held(&verifier) <= 3);
    }
    assert_eq!(verifier.stats(), VerifierStats { asked: 8, remembered: 0, computed: 8, failed: 0 });
    // Eight went in, three at a time: the last two are there, the sixth is not.
    offers[7].open(&mut verifier, &pool).unwrap();
    offers[6].open(&mut verifier, &pool).unwrap();
    assert_eq!(
        verifier.stats(),
        VerifierStats { asked: 10, remembered: 2, computed: 8, failed: 0 }
    );
    offers[5].open(&mut verifier, &pool).unwrap();
    assert_eq!(
        verifier.stats(),
        VerifierStats { asked: 11, remembered: 2, computed: 9, failed: 0 }
    );
    // What does not hold is computed each time, also beside a remembered triple.
    let forged = Signed { signature: offers[6].signature, ..offers[7].clone() };
    for _ in 0..2 {
        assert_eq!(forged.open(&mut verifier, &pool), Err(SignatureError));
        assert_eq!(offers[7].open(&mut verifier, &Digest::of(b"other")), Err(SignatureError));
    }
    assert_eq!(
        verifier.stats(),
        VerifierStats { asked: 15, remembered: 2, computed: 13, failed: 4 }
    );
    // Clones share the memo and count for themselves.
    let mut clone = Verifier { stats: VerifierStats::default(), ..verifier.clone() };
    offers[5].open(&mut clone, &pool).unwrap();
    assert_eq!(clone.stats(), VerifierStats { asked: 1, remembered: 1, computed: 0, failed: 0 });
    let mut nothing = Verifier::memoised(0);
    offers[0].open(&mut nothing, &pool).unwrap();
    assert_eq!(held(&nothing), 0);
}

#[test]
fn a_silent_key_convinces_only_a_trusting_verifier() {
    let pool = Digest::of(b"pool");
    let silent = SecretKey::silent_for_simulation([1; 32]);
    assert_eq!(silent.node_id(), key(1).node_id());
    let signed = Signed::seal(Offer(1, String::new()), &silent, &pool);
    assert_eq!(signed.signature, Signature([0; 64]));
    let mut trusting = Verifier::trusting_for_simulation();
    assert!(signed.open(&mut trusting, &pool).is_ok() && !trusting.is_real());
    for mut verifier in [Verifier::strict(), Verifier::memoised(8)] {
        assert_eq!(signed.open(&mut verifier, &pool), Err(SignatureError));
        assert!(verifier.is_real());
    }
}

#[test]
fn secrets_are_not_printed() {
    let printed = format!("{:?}", SecretKey::from_seed([0xab; 32]));
    assert!(!printed.contains("abab") && !printed.contains("171"), "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sealed_bodies_travel(seed: [u8; 32], pool: [u8; 32], number: u64, text: String) {
        let (key, pool) = (SecretKey::from_seed(seed), Digest(pool));
        let signed = Signed::seal(Offer(number, text), &key, &pool);
        let bytes = codec::encode(&signed);
        let read: Signed<Offer> = codec::decode(&bytes).unwrap();
        prop_assert_eq!(&read, &signed);
        prop_assert!(read.open(&mut Verifier::strict(), &pool).is_ok());
        prop_assert_eq!(*key.seed(), seed);
    }
}
