//! Sessions: published vectors of what they are built from, their bytes against `oracles/session.py`,
//! and what who is not one of the two ends can do.

#![allow(clippy::unwrap_used)] // helper functions of a test are not #[test] functions

use aes_gcm::{Aes256Gcm, aead::AeadInOut as _, aead::KeyInit as _};
use edge_base::{
    Digest, Micros, NetworkTag, PiIdentity, Rng, SecretKey, Signed, Timestamp, Verifier, codec,
    session::{
        Limits, OwnSession, PHASES_AHEAD_MAX, Record, Session, SessionError, SessionKey, WINDOW,
        agreement::{KeyAgreement, Shared, XWing},
        handshake::{Acceptance, Initiator, Opening, respond, respond_with},
    },
};
use hkdf::Hkdf;
use proptest::prelude::*;
use sha2::Sha256;
use zeroize::Zeroizing;

const XWING: &str = include_str!("golden/xwing.txt");
const SESSION: &str = include_str!("golden/session.txt");
const START: Timestamp = Timestamp(1_000_000);

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn golden(file: &str, name: &str) -> Vec<u8> {
    let line = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    bytes(line.unwrap_or_else(|| panic!("no {name} in the golden file")))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}

fn anna() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn ben() -> SecretKey {
    SecretKey::from_seed([2; 32])
}

fn pool() -> Digest {
    Digest::of(b"genesis")
}

fn agree(limits: Limits) -> (Session, Session) {
    let mut verifier = Verifier::strict();
    let begun = Initiator::begin(&anna(), &pool(), ben().node_id(), [3; 32]);
    let (answer, bens) =
        respond(&ben(), &pool(), begun.opening(), &mut verifier, [4; 64], limits, START).unwrap();
    (begun.finish(&answer, &pool(), &mut verifier, limits, START).unwrap(), bens)
}

/// RFC 5869, appendix A, the cases with SHA-256.
#[test]
fn hkdf_gives_the_vectors_of_its_rfc() {
    let cases = [
        (
            vec![0x0b; 22],
            Some((0..13).collect::<Vec<u8>>()),
            (0xf0..0xfa).collect::<Vec<u8>>(),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            (0..80).collect(),
            Some((0x60..0xb0).collect()),
            (0xb0..=0xff).collect(),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6\
             5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            None,
            Vec::new(),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (input, salt, info, expected) in cases {
        let expected = bytes(&expected.replace(char::is_whitespace, ""));
        let mut got = vec![0; expected.len()];
        Hkdf::<Sha256>::new(salt.as_deref(), &input).expand(&info, &mut got).unwrap();
        assert_eq!(got, expected);
    }
}

fn holder(key: &SecretKey) -> PiIdentity {
    PiIdentity::new(key.node_id(), NetworkTag::UNBOUND).unwrap()
}

#[test]
fn an_own_session_reads_its_records_until_it_is_over() {
    let life = Micros::from_secs(10);
    let mut session = OwnSession::new(&holder(&anna()), &[7; 48], life, START);
    let texts = [b"one".to_vec(), Vec::new(), vec![9; 100_000]];
    let records = texts.clone().map(|text| session.encrypt(START, text).unwrap());
    for _ in 0..2 {
        for (record, text) in records.iter().zip(&texts) {
            assert_eq!(session.decrypt(START + Micros(9_999_999), record).unwrap(), *text);
        }
    }
    assert_ne!(records[0].bytes[..3], texts[0][..]);
    let nonces: std::collections::BTreeSet<u64> = records.iter().map(|r| r.counter).collect();
    assert_eq!(nonces.len(), 3, "no nonce twice");
    assert!(matches!(session.decrypt(START + life, &records[0]), Err(SessionError::Over)));
    assert!(matches!(session.encrypt(START + life, vec![1]), Err(SessionError::Over)));
}

#[test]
fn an_own_session_refuses_what_is_not_its_own() {
    let life = Micros::from_secs(10);
    let mut session = OwnSession::new(&holder(&anna()), &[7; 48], life, START);
    let record = session.encrypt(START, b"mine".to_vec()).unwrap();
    // The same random bytes of another holder, and of the same holder others.
    let other = OwnSession::new(&holder(&ben()), &[7; 48], life, START);
    assert!(matches!(other.decrypt(START, &record), Err(SessionError::OtherSession)));
    let mut forced = record.clone();
    forced.session = {
        let mut other = other;
        other.encrypt(START, vec![]).unwrap().session
    };
    assert!(matches!(session.decrypt(START, &forced), Err(SessionError::OtherSession)));
    for at in 0..record.bytes.len() {
        let mut changed = record.clone();
        changed.bytes[at] ^= 1;
        assert!(matches!(session.decrypt(START, &changed), Err(SessionError::Forged)));
    }
    let later = Record { phase: 1, ..record.clone() };
    assert!(matches!(session.decrypt(START, &later), Err(SessionError::Phase(1))));
    let moved = Record { counter: 1, ..record };
    assert!(matches!(session.decrypt(START, &moved), Err(SessionError::Forged)));
}

/// McGrew, Viega, "The Galois/Counter Mode of Operation" (2005), test cases 13, 14 and 16: those
/// of AES-256 with a nonce of 96 bits.
#[test]
fn aes_gcm_gives_the_vectors_of_its_specification() {
    let key = "feffe9928665731c6d6a8f9467308308".repeat(2);
    let zeros = |n: usize| "0".repeat(2 * n);
    let cases = [
        (zeros(32), zeros(12), String::new(), String::new(), String::new(),
         "530f8afbc74536b9a963b4f1c4cb738b"),
        (zeros(32), zeros(12), zeros(16), String::new(),
         "cea7403d4d606b6e074ec5d3baf39d18".into(), "d0d1c8a799996bf0265b98b5d48ab919"),
        (key, "cafebabefacedbaddecaf888".into(),
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e24\
          49a6b525b16aedf5aa0de657ba637b39".into(),
         "feedfacedeadbeeffeedfacedeadbeefabaddad2".into(),
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b10\
          56828838c5f61e6393ba7a0abcc9f662".into(),
         "76fc6ece0f4e1768cddf8853bb2d551b"),
    ];
    for (key, nonce, plain, associated, sealed, tag) in cases {
        let cipher = Aes256Gcm::new(&array::<32>(&bytes(&key)).into());
        let mut text = bytes(&plain);
        let nonce = array::<12>(&bytes(&nonce)).into();
        let associated = bytes(&associated);
        let got =
            cipher.encrypt_inout_detached(&nonce, &associated, text.as_mut_slice().into()).unwrap();
        assert_eq!((text, got.to_vec()), (bytes(&sealed), bytes(tag)));
    }
}

/// The draft's own vectors, through the trait that the product uses.
#[test]
fn x_wing_gives_the_vectors_of_its_draft() {
    for number in 0..3 {
        let value = |name: &str| golden(XWING, &format!("{name}_{number}"));
        let (secret, public) = XWing::pair(Zeroizing::new(array(&value("seed"))));
        assert_eq!(public, value("pk"));
        let entropy = Zeroizing::new(array(&value("eseed")));
        let (ciphertext, shared) = XWing::encapsulate(&public, entropy).unwrap();
        assert_eq!(ciphertext, value("ct"));
        assert_eq!(shared.to_vec(), value("ss"));
        assert_eq!(XWing::decapsulate(&secret, &ciphertext).unwrap().to_vec(), value("ss"));
        // Either half of a ciphertext changed gives another secret, never this one.
        for at in [0, 1_087, 1_088, 1_119] {
            let mut changed = ciphertext.clone();
            changed[at] ^= 1;
            let other = XWing::decapsulate(&secret, &changed);
            assert!(other.is_ok_and(|other| other.to_vec() != value("ss")), "byte {at}");
        }
    }
}

#[test]
fn what_is_no_key_or_ciphertext_is_refused() {
    let (secret, public) = XWing::pair(Zeroizing::new([3; 32]));
    let entropy = || Zeroizing::new([4; 64]);
    let (ciphertext, _) = XWing::encapsulate(&public, entropy()).unwrap();
    for length in [0, 1, 1_215, 1_217] {
        let refused = XWing::encapsulate(&vec![1; length], entropy());
        assert_eq!(refused.err(), Some(SessionError::Malformed), "{length}");
    }
    // A coefficient above the modulus 3,329 (FIPS 203, section 7.2, the check of encapsulation keys).
    let mut beyond = public;
    beyond[..3].copy_from_slice(&[0xff; 3]);
    assert_eq!(XWing::encapsulate(&beyond, entropy()).err(), Some(SessionError::Malformed));
    for length in [0, 1, 1_119, 1_121] {
        let refused = XWing::decapsulate(&secret, &vec![1; length]);
        assert_eq!(refused.err(), Some(SessionError::Malformed), "{length}");
    }
    // A share that makes the X25519 half zero whatever the secret is.
    let mut constant = ciphertext;
    constant[1_088..].fill(0);
    assert_eq!(XWing::decapsulate(&secret, &constant).err(), Some(SessionError::Malformed));
}

#[test]
fn handshake_and_records_have_their_bytes() {
    let (mut verifier, limits) =
        (Verifier::strict(), Limits { phase_life: Micros::from_secs(600), ..Limits::default() });
    let (seed, eseed) = (array(&golden(XWING, "seed_0")), array(&golden(XWING, "eseed_0")));
    let begun = Initiator::begin(&anna(), &pool(), ben().node_id(), seed);
    assert_eq!(codec::encode(begun.opening()), golden(SESSION, "opening"));
    let (answer, mut bens) =
        respond(&ben(), &pool(), begun.opening(), &mut verifier, eseed, limits, START).unwrap();
    assert_eq!(codec::encode(&answer), golden(SESSION, "acceptance"));
    let mut annas = begun.finish(&answer, &pool(), &mut verifier, limits, START).unwrap();
    assert_eq!(annas.id().0.to_vec(), golden(SESSION, "id"));
    let later = START + Micros::from_secs(600);
    let said = [
        ("initiator_0", "between us", START),
        ("initiator_1", "", START),
        ("initiator_2", "in the next phase", later),
    ];
    for (name, text, now) in said {
        let record = annas.encrypt(now, text.into()).unwrap();
        assert_eq!(codec::encode(&record), golden(SESSION, name), "{name}");
        let read: Record = codec::decode(&golden(SESSION, name)).unwrap();
        assert_eq!(bens.decrypt(now, &read).unwrap(), text.as_bytes());
    }
    let record = bens.encrypt(START, b"and back".to_vec()).unwrap();
    assert_eq!(codec::encode(&record), golden(SESSION, "responder_0"));
    assert_eq!(annas.decrypt(START, &record).unwrap(), b"and back");
}

#[test]
fn a_session_key_has_its_34_bytes() {
    for (name, phase) in [("key_0", 0), ("key_1", 1)] {
        let encoded: [u8; 34] = array(&golden(SESSION, name));
        let key = SessionKey::decode(&encoded).unwrap();
        assert_eq!((key.phase(), *key.encode()), (phase, encoded));
        assert_eq!(format!("{key:?}"), format!("SessionKey of phase {phase}"), "no secret");
        let mut padded = encoded;
        padded[33] |= 1;
        assert!(SessionKey::decode(&padded).is_none());
    }
    let last = SessionKey::decode(&array(&[[0xff; 33].as_slice(), &[0xfe]].concat())).unwrap();
    assert_eq!(last.phase(), 32_767);
}

/// Every byte of a handshake counts, and nobody answers for somebody else.
#[test]
fn a_handshake_that_was_touched_agrees_on_nothing() {
    let (mut verifier, limits) = (Verifier::strict(), Limits::default());
    let eve = SecretKey::from_seed([5; 32]);
    let begun = Initiator::begin(&anna(), &pool(), ben().node_id(), [3; 32]);
    let mut answers = |key: &SecretKey, pool: &Digest, opening: &Signed<Opening>| {
        respond(key, pool, opening, &mut verifier, [4; 64], limits, START)
    };
    let (answer, _) = answers(&ben(), &pool(), begun.opening()).unwrap();

    // An opening: of another pool, for somebody else, one's own, of an unknown suite, changed.
    let other_pool = answers(&ben(), &Digest::of(b"another"), begun.opening());
    assert!(matches!(other_pool.err(), Some(SessionError::Signature(_))));
    let elsewhere = answers(&eve, &pool(), begun.opening());
    assert_eq!(elsewhere.err(), Some(SessionError::NotForUs));
    let own = Initiator::begin(&anna(), &pool(), anna().node_id(), [3; 32]);
    assert_eq!(answers(&anna(), &pool(), own.opening()).err(), Some(SessionError::NotForUs));
    for suite in [0, 2, 255] {
        let body = Opening { suite, ..begun.opening().body.clone() };
        let refused = answers(&ben(), &pool(), &Signed::seal(body, &anna(), &pool()));
        assert_eq!(refused.err(), Some(SessionError::Suite(suite)), "nothing weaker is agreed on");
    }
    let mut swapped = begun.opening().clone();
    swapped.body.public = XWing::pair(Zeroizing::new([6; 32])).1;
    assert!(matches!(answers(&ben(), &pool(), &swapped).err(), Some(SessionError::Signature(_))));
    swapped = begun.opening().clone();
    swapped.signer = eve.node_id();
    assert!(matches!(answers(&ben(), &pool(), &swapped).err(), Some(SessionError::Signature(_))));

    // An acceptance: by somebody else, for somebody else, of another opening, changed.
    let mut finish = |answer: &Signed<Acceptance>| {
        begun.finish(answer, &pool(), &mut verifier, limits, START).map(|_| ())
    };
    assert_eq!(finish(&answer), Ok(()));
    let resealed = Signed::seal(answer.body.clone(), &eve, &pool());
    assert_eq!(finish(&resealed), Err(SessionError::NotForUs));
    let mut changed = answer.clone();
    changed.body.to = eve.node_id();
    assert_eq!(finish(&changed), Err(SessionError::NotForUs));
    changed = answer.clone();
    changed.body.opening = Digest::of(b"another");
    assert_eq!(finish(&changed), Err(SessionError::NotForUs));
    changed = answer.clone();
    changed.body.ciphertext[17] ^= 1;
    assert!(matches!(finish(&changed), Err(SessionError::Signature(_))));
    assert_eq!(finish(&answer), Ok(()), "a wrong answer does not shut the door on the right one");
}

/// The same secret under another transcript is another session.
#[test]
fn both_ends_saw_the_same_bytes_or_share_nothing() {
    let (mut verifier, limits) = (Verifier::strict(), Limits::default());
    let begun = Initiator::begin(&anna(), &pool(), ben().node_id(), [3; 32]);
    let (_, mut bens) =
        respond(&ben(), &pool(), begun.opening(), &mut verifier, [4; 64], limits, START).unwrap();
    let (other, _) =
        respond(&ben(), &pool(), begun.opening(), &mut verifier, [5; 64], limits, START).unwrap();
    let mut annas = begun.finish(&other, &pool(), &mut verifier, limits, START).unwrap();
    assert_ne!(annas.id(), bens.id());
    let mut record = annas.encrypt(START, b"secret".to_vec()).unwrap();
    assert_eq!(bens.decrypt(START, &record), Err(SessionError::OtherSession));
    record.session = bens.id();
    assert_eq!(bens.decrypt(START, &record), Err(SessionError::Forged));
}

#[test]
fn a_record_that_was_touched_or_comes_back_is_refused() {
    let (mut annas, mut bens) = agree(Limits::default());
    let record = annas.encrypt(START, vec![7; 40]).unwrap();
    for at in 0..record.bytes.len() {
        let mut changed = record.clone();
        changed.bytes[at] ^= 0x80;
        assert_eq!(bens.decrypt(START, &changed), Err(SessionError::Forged), "byte {at}");
    }
    for length in 0..record.bytes.len() {
        let short = Record { bytes: record.bytes[..length].to_vec(), ..record.clone() };
        assert_eq!(bens.decrypt(START, &short), Err(SessionError::Forged), "{length} bytes");
    }
    let moved = |counter, phase| Record { counter, phase, ..record.clone() };
    assert_eq!(bens.decrypt(START, &moved(1, 0)), Err(SessionError::Forged));
    assert_eq!(bens.decrypt(START, &moved(0, 1)), Err(SessionError::Forged));
    let far = PHASES_AHEAD_MAX + 1;
    assert_eq!(bens.decrypt(START, &moved(0, far)), Err(SessionError::Phase(far)));
    assert_eq!(bens.decrypt(START, &moved(0, u16::MAX)), Err(SessionError::Phase(u16::MAX)));
    assert_eq!(bens.decrypt(START, &moved(u64::MAX, 0)), Err(SessionError::Replayed));
    // One's own record sent back.
    assert_eq!(annas.decrypt(START, &record), Err(SessionError::Forged));
    assert_eq!(bens.decrypt(START, &record), Ok(vec![7; 40]), "refusals changed nothing");
    assert_eq!(bens.decrypt(START, &record), Err(SessionError::Replayed));
}

#[test]
fn a_session_ends() {
    let limits = Limits::default();
    let (mut annas, mut bens) = agree(limits);
    let almost = START + Micros(limits.life.0 - 1);
    let record = annas.encrypt(almost, b"last".to_vec()).unwrap();
    let end = START + limits.life;
    assert!(annas.is_over(end) && !annas.is_spent(end));
    assert_eq!(annas.encrypt(end, Vec::new()), Err(SessionError::Over));
    assert_eq!(bens.decrypt(end, &record), Ok(b"last".to_vec()), "what is on its way arrives");
    let (mut annas, mut bens) = agree(limits);
    let record = annas.encrypt(almost, b"last".to_vec()).unwrap();
    assert_eq!(bens.decrypt(end + limits.phase_kept, &record), Err(SessionError::Over));
}

/// No nonce comes twice: the counters of a direction are a sequence, whatever the phases do.
#[test]
fn counters_go_on_through_phases_to_the_last() {
    let limits = Limits { phase_records: 1, life: Micros(u64::MAX), ..Limits::default() };
    let (mut annas, mut bens) = agree(limits);
    for n in 0..=32_767u64 {
        let record = annas.encrypt(START, Vec::new()).unwrap();
        assert_eq!((record.counter, u64::from(record.phase)), (n, n));
        assert_eq!(bens.decrypt(START, &record), Ok(Vec::new()));
    }
    assert_eq!(annas.encrypt(START, Vec::new()), Err(SessionError::Over), "no phase is left");
}

/// X25519 alone (RFC 7748) behind the trait, for what it does not give. The "secret" of a pair is public to
/// who breaks X25519, so the control computes with it.
struct Classical;

impl KeyAgreement for Classical {
    const SUITE: u8 = 1;
    type Secret = [u8; 32];

    fn pair(entropy: Zeroizing<[u8; 32]>) -> ([u8; 32], Vec<u8>) {
        let public = curve25519_dalek::MontgomeryPoint::mul_base_clamped(*entropy);
        (*entropy, public.to_bytes().to_vec())
    }

    fn encapsulate(
        public: &[u8],
        entropy: Zeroizing<[u8; 64]>,
    ) -> Result<(Vec<u8>, Shared), SessionError> {
        let share: [u8; 32] = array(&entropy[32..]);
        let point = curve25519_dalek::MontgomeryPoint(array(public));
        let ciphertext = curve25519_dalek::MontgomeryPoint::mul_base_clamped(share);
        Ok((ciphertext.to_bytes().to_vec(), Zeroizing::new(point.mul_clamped(share).to_bytes())))
    }

    fn decapsulate(secret: &[u8; 32], ciphertext: &[u8]) -> Result<Shared, SessionError> {
        let point = curve25519_dalek::MontgomeryPoint(array(ciphertext));
        Ok(Zeroizing::new(point.mul_clamped(*secret).to_bytes()))
    }
}

/// Somebody recorded everything and breaks X25519 later: it has every X25519 secret.
#[test]
fn who_breaks_x25519_later_reads_what_x25519_alone_protected_and_nothing_else() {
    let (mut verifier, limits) = (Verifier::strict(), Limits::default());
    let (to, x25519_secret) = (ben().node_id(), [3; 32]);
    // The control: X25519 alone. The recording and the broken secret give the session.
    let begun = Initiator::<Classical>::begin_with(&anna(), &pool(), to, x25519_secret);
    let (answer, mut bens) = respond_with::<Classical>(
        &ben(),
        &pool(),
        begun.opening(),
        &mut verifier,
        [4; 64],
        limits,
        START,
    )
    .unwrap();
    let recorded = bens.encrypt(START, b"the text".to_vec()).unwrap();
    let mut broken = begun.finish(&answer, &pool(), &mut verifier, limits, START).unwrap();
    assert_eq!(broken.decrypt(START, &recorded), Ok(b"the text".to_vec()));

    // X-Wing: of two ciphertexts with one X25519 half, and so one X25519 secret, the secrets differ. What
    // breaking X25519 gives does not determine them.
    let (secret, public) = XWing::pair(Zeroizing::new([3; 32]));
    let (ciphertext, shared) = XWing::encapsulate(&public, Zeroizing::new([4; 64])).unwrap();
    let mut other = [0; 64];
    other[..32].fill(5);
    other[32..].fill(4);
    let (second, second_shared) = XWing::encapsulate(&public, Zeroizing::new(other)).unwrap();
    assert_eq!(ciphertext[1_088..], second[1_088..], "one X25519 half");
    assert_ne!(shared, second_shared);
    assert_eq!(XWing::decapsulate(&secret, &second), Ok(second_shared));
}

/// What the model remembers of a record.
#[derive(Clone)]
struct Sent {
    record: Record,
    text: Vec<u8>,
}

/// The receiver written down a second time: a set of counters and three numbers.
#[derive(Default)]
struct Model {
    taken: std::collections::BTreeSet<u64>,
    phase: u16,
    before: Option<(u16, Timestamp)>,
}

impl Model {
    fn accepts(&mut self, sent: &Record, now: Timestamp, limits: &Limits) -> bool {
        if now.since(START).0 >= limits.life.0 + limits.phase_kept.0 {
            return false;
        }
        let fresh = !self.taken.contains(&sent.counter)
            && self.taken.last().is_none_or(|last| sent.counter + WINDOW > *last);
        let known = match sent.phase.cmp(&self.phase) {
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Less => {
                self.before.is_some_and(|(phase, until)| phase == sent.phase && now < until)
            }
            std::cmp::Ordering::Greater => sent.phase - self.phase <= PHASES_AHEAD_MAX,
        };
        if fresh && known {
            if sent.phase > self.phase {
                self.before = Some((sent.phase - 1, now + limits.phase_kept));
                self.phase = sent.phase;
            }
            self.taken.insert(sent.counter);
        }
        fresh && known
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A network that reorders, repeats, drops, changes and turns around, and time that passes: a receiver
    /// says what the model says, and what it gives out is what was sent.
    #[test]
    fn a_receiver_is_its_model(seed in any::<u64>(), phase_records in 1u64..40, steps in 200usize..1_500) {
        let limits = Limits {
            phase_records,
            phase_life: Micros(400),
            phase_kept: Micros(300),
            life: Micros(6_000),
        };
        let (mut annas, mut bens) = agree(limits);
        let mut rng = Rng::derive(seed, "session model");
        let (mut model, mut now) = (Model::default(), START);
        let (mut sent, mut nonces) = (Vec::<Sent>::new(), std::collections::BTreeSet::new());
        for step in 0..steps {
            now = now + Micros(rng.below(12));
            if rng.chance(1, 2) {
                let text = vec![step as u8; rng.below(30) as usize];
                match annas.encrypt(now, text.clone()) {
                    Ok(record) => {
                        prop_assert!(nonces.insert((record.phase, record.counter)));
                        sent.push(Sent { record, text });
                    }
                    Err(error) => {
                        prop_assert_eq!(error, SessionError::Over);
                        prop_assert!(now.since(START).0 >= limits.life.0);
                    }
                }
            }
            // Mostly what is new, sometimes anything that was ever sent.
            let recent = if rng.chance(3, 4) { sent.len().min(4) } else { sent.len() };
            let Some(one) = rng.pick(&sent[sent.len() - recent..]).cloned() else { continue };
            if rng.chance(1, 4) {
                let mut changed = one.record.clone();
                match rng.below(4) {
                    0 => changed.counter = changed.counter.wrapping_add(1 + rng.below(3)),
                    1 => changed.phase = changed.phase.wrapping_add(1 + rng.below(3) as u16),
                    2 => changed.session.0[rng.below(16) as usize] ^= 1,
                    _ => changed.bytes[0] ^= 1 << rng.below(8),
                }
                prop_assert!(bens.decrypt(now, &changed).is_err());
                prop_assert!(annas.decrypt(now, &one.record).is_err(), "one's own, sent back");
            }
            let accepts = model.accepts(&one.record, now, &limits);
            let got = bens.decrypt(now, &one.record);
            prop_assert_eq!(got.ok(), accepts.then_some(one.text));
        }
    }

    /// Whatever arrives as a record or a handshake: refused, never a panic.
    #[test]
    fn any_bytes_are_refused(
        counter in any::<u64>(), phase in any::<u16>(),
        content in proptest::collection::vec(any::<u8>(), 0..80), id in any::<[u8; 16]>(),
        same in any::<bool>(), public in proptest::collection::vec(any::<u8>(), 0..1_400),
    ) {
        let (mut annas, _) = agree(Limits::default());
        let session = if same { annas.id() } else { edge_base::session::SessionId(id) };
        let record = Record { session, phase, counter, bytes: content };
        prop_assert!(annas.decrypt(START, &record).is_err());
        let body = Opening { to: ben().node_id(), suite: 1, public };
        let opening = Signed::seal(body, &anna(), &pool());
        let mut verifier = Verifier::strict();
        let limits = Limits::default();
        let agreed = respond(&ben(), &pool(), &opening, &mut verifier, [4; 64], limits, START);
        prop_assert!(agreed.is_err());
    }
}
