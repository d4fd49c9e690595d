//! Encryption against others' numbers: the draft's example through the cipher's crate, and whole results
//! by a second implementation (`oracles/encryption.py`).

use chacha20poly1305::{KeyInit, XChaCha20Poly1305, aead::Aead, aead::Payload};
use edge_base::{Digest, TaskKind, Work};
use edge_tasks::encryption::{
    ALGORITHM, EncryptionKey, EncryptionPayload, Keyring, OVERHEAD_BYTES, Operation, REQUEST_BYTES,
};
use edge_tasks::{Executor, TaskError, encryption_pin};
use zeroize::Zeroizing;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn key_of(bytes: &[u8]) -> EncryptionKey {
    EncryptionKey::new(Zeroizing::new(bytes.try_into().unwrap()))
}

fn executor(keys: &[&EncryptionKey]) -> Executor {
    let mut ring = Keyring::default();
    for (number, key) in keys.iter().enumerate() {
        ring.insert(&format!("key-{number}"), (*key).clone()).unwrap();
    }
    Executor::new().with_keys(ring)
}

fn run(executor: &Executor, payload: &EncryptionPayload) -> Result<Vec<u8>, TaskError> {
    let payload = payload.encode().into();
    executor.execute(&Work::Run { kind: TaskKind::Encryption, payload })
}

fn encrypt(key: &EncryptionKey, request: u8, data: &[u8]) -> EncryptionPayload {
    let request = [request; REQUEST_BYTES];
    EncryptionPayload { key: key.id(), operation: Operation::Encrypt, request, data: data.into() }
}

fn decrypt(key: &EncryptionKey, request: u8, data: &[u8]) -> EncryptionPayload {
    EncryptionPayload { operation: Operation::Decrypt, ..encrypt(key, request, data) }
}

/// draft-irtf-cfrg-xchacha-03, A.3.1.
#[test]
fn the_crate_computes_the_example_of_the_draft() {
    let text =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
                 future, sunscreen would be it.";
    let key: Vec<u8> = (0x80..0xa0).collect();
    let nonce: Vec<u8> = (0x40..0x58).collect();
    let aad = bytes("50515253c0c1c2c3c4c5c6c7");
    let sealed = XChaCha20Poly1305::new_from_slice(&key)
        .unwrap()
        .encrypt(nonce.as_slice().into(), Payload { msg: text, aad: &aad })
        .unwrap();
    let expected = bytes(concat!(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda",
        "7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b23835",
        "65d3fff921f9664c97637da9768812f615c68b13b52e",
        "c0875924c1c7987947deafd8780acf49",
    ));
    assert_eq!(sealed, expected);
}

/// Ids, pins, nonces, ciphertexts and tags by HMAC and integers of Python.
#[test]
fn results_are_those_of_the_second_implementation() {
    let golden = include_str!("../golden/encryption.json");
    let golden: Vec<serde_json::Value> = serde_json::from_str(golden).unwrap();
    assert!(golden.len() >= 14);
    for case in &golden {
        let field = |name: &str| bytes(case[name].as_str().unwrap());
        let key = key_of(&field("key"));
        assert_eq!(key.id().0.to_vec(), field("id"));
        assert_eq!(encryption_pin(&key.id()).0.to_vec(), field("pin"), "{ALGORITHM}");
        let request = field("request").try_into().unwrap();
        let (operation, data) = (Operation::Encrypt, field("data"));
        let payload = EncryptionPayload { key: key.id(), operation, request, data };
        let executor = executor(&[&key]);
        let sealed = run(&executor, &payload).unwrap();
        assert_eq!(sealed, field("sealed"));
        assert_eq!(payload.data_of(&sealed), Some(&sealed[..]));
        let back = decrypt(&key, 9, &sealed);
        let opened = run(&executor, &back).unwrap();
        assert_eq!(back.data_of(&opened), Some(&payload.data[..]));
    }
}

#[test]
fn replicas_agree_and_no_two_tasks_share_a_nonce() {
    let key = key_of(&[1; 32]);
    let (first, second) = (executor(&[&key]), executor(&[&key_of(&[2; 32]), &key]));
    let mut nonces = std::collections::BTreeSet::new();
    for request in 0..=255 {
        let payload = encrypt(&key, request, b"the same text");
        let sealed = run(&first, &payload).unwrap();
        assert_eq!(run(&second, &payload).as_ref(), Ok(&sealed));
        assert!(nonces.insert(sealed[1..25].to_vec()));
    }
}

/// Each fault has a message of its own, but for those that nobody can tell apart.
#[test]
fn what_cannot_be_opened_is_said_clearly_and_by_everybody() {
    let (key, other) = (key_of(&[1; 32]), key_of(&[2; 32]));
    let both = executor(&[&key, &other]);
    let sealed = run(&both, &encrypt(&key, 1, b"a text")).unwrap();
    let open = |data: &[u8]| run(&both, &decrypt(&key, 2, data)).unwrap_err();
    assert_eq!(open(&[]), TaskError::CutOff { bytes: 0, least: OVERHEAD_BYTES });
    assert_eq!(open(&sealed[..40]), TaskError::CutOff { bytes: 40, least: OVERHEAD_BYTES });
    assert_eq!(
        open(b"plain text, which was never encrypted with it"),
        TaskError::SealVersion(b'p')
    );
    let changed = open(&sealed[..46]);
    let wrong = run(&both, &decrypt(&other, 2, &sealed)).unwrap_err();
    assert_eq!(changed, wrong);
    let text = "the data was not encrypted with this key, or was changed";
    assert_eq!(wrong.to_string(), text);
    assert!(!wrong.is_local(), "every node that has the key says the same");
    let missing = run(&executor(&[&other]), &decrypt(&key, 2, &sealed)).unwrap_err();
    assert_eq!(missing, TaskError::UnknownKey(key.id()));
    assert!(missing.is_local());
    assert!(run(&Executor::new(), &decrypt(&key, 2, &sealed)).is_err());
}

/// The digest of a result travels in the clear: a text that is guessed cannot be compared with it.
#[test]
fn the_digest_of_a_decryption_is_not_that_of_the_text() {
    let key = key_of(&[1; 32]);
    let executor = executor(&[&key]);
    let sealed = run(&executor, &encrypt(&key, 1, b"yes")).unwrap();
    let digest = |request| Digest::of(&run(&executor, &decrypt(&key, request, &sealed)).unwrap());
    assert_ne!(digest(1), Digest::of(b"yes"));
    assert_ne!(digest(1), digest(2));
    assert_eq!(decrypt(&key, 1, &sealed).data_of(b"yes"), None);
    assert_eq!(encrypt(&key, 1, b"yes").data_of(b"yes"), None);
}
