//! Keys in a page: identities, signatures, sessions and encrypted backups.
//!
//! `edge-base` for JavaScript (`js/src/keys.ts`). The module has no source of randomness and no clock: what is
//! drawn comes from the browser's generator, times are what the page counted since a session began.
//!
//! Invariant: what a `Key` signs is of a domain of its own, so that no page can be made to sign a message of
//! the protocol. Invariant: a secret leaves the module only in `Key::secret`, for the worker that encrypts it.

#![cfg(target_arch = "wasm32")]

use edge_base::backup::{self, Entropy};
use edge_base::session::{OwnSession, Record};
use edge_base::{
    Digest, Domain, GenesisLabel, Micros, NetworkTag, NodeId, PiIdentity, PoolPurpose, SecretKey,
    Signature, Timestamp, Verifier, codec,
};
use wasm_bindgen::{JsError, prelude::wasm_bindgen};
use zeroize::Zeroizing;

/// What pages sign, for no pool and for one: no message of the protocol is of these domains, and what is signed
/// for no pool is not signed for the one whose genesis is zero.
const ALONE: Domain = Domain("page");
const IN_POOL: Domain = Domain("page/pool");

/// Bytes of a known number.
fn array<const N: usize>(bytes: &[u8], name: &str) -> Result<[u8; N], JsError> {
    bytes.try_into().map_err(|_| {
        JsError::new(&format!("invalid: {name} is {N} bytes long, not {}", bytes.len()))
    })
}

/// A genesis digest; none is that of no pool.
fn pool_of(genesis: Option<Vec<u8>>) -> Result<Option<Digest>, JsError> {
    genesis.map(|bytes| array(&bytes, "a pool's genesis").map(Digest)).transpose()
}

fn signed_for(genesis: Option<Vec<u8>>) -> Result<(Domain, Digest), JsError> {
    Ok(pool_of(genesis)?.map_or((ALONE, Digest([0; 32])), |pool| (IN_POOL, pool)))
}

/// An Ed25519 key with its π identity.
#[wasm_bindgen]
pub struct Key {
    identity: PiIdentity,
    key: SecretKey,
}

#[wasm_bindgen]
impl Key {
    /// From 32 random bytes, for a pool by its genesis digest or for none.
    #[wasm_bindgen(constructor)]
    pub fn new(seed: Vec<u8>, genesis: Option<Vec<u8>>) -> Result<Key, JsError> {
        let seed = Zeroizing::new(seed);
        let key = SecretKey::from_seed(array(&seed, "a seed")?);
        let pool = pool_of(genesis)?;
        let network = pool.map_or(NetworkTag::UNBOUND, |pool| NetworkTag::of_genesis(&pool));
        Ok(Key { identity: PiIdentity::new(key.node_id(), network)?, key })
    }

    /// What `Key::secret` gave.
    #[wasm_bindgen(js_name = fromSecret)]
    pub fn from_secret(secret: Vec<u8>) -> Result<Key, JsError> {
        let secret = Zeroizing::new(secret);
        let (identity, key) = PiIdentity::decode_with_secret(&secret)?;
        Ok(Key { identity, key })
    }

    /// The identity and the seed, 72 bytes: who has them is this key's holder.
    pub fn secret(&self) -> Vec<u8> {
        self.identity.with_secret(&self.key).to_vec()
    }

    /// `π:` and eight hexadecimal digits.
    #[wasm_bindgen(js_name = shortId)]
    pub fn short_id(&self) -> String {
        self.identity.short()
    }

    /// The 40 bytes of the identity.
    pub fn identity(&self) -> Vec<u8> {
        self.identity.encode().to_vec()
    }

    /// The identity as text: `pi` and 64 characters.
    pub fn text(&self) -> String {
        self.identity.to_string()
    }

    /// The 32 bytes of the public key.
    #[wasm_bindgen(js_name = publicKey)]
    pub fn public_key(&self) -> Vec<u8> {
        self.identity.node_id().0.to_vec()
    }

    /// Signs for a pool, or for none.
    pub fn sign(&self, data: &[u8], genesis: Option<Vec<u8>>) -> Result<Vec<u8>, JsError> {
        let (domain, pool) = signed_for(genesis)?;
        Ok(self.key.sign(domain, &pool, data).0.to_vec())
    }
}

/// Whether a signature of `Key::sign` holds. A key or signature that is none does not.
#[wasm_bindgen]
pub fn verify(
    data: &[u8],
    signature: &[u8],
    public_key: &[u8],
    genesis: Option<Vec<u8>>,
) -> Result<bool, JsError> {
    let (domain, pool) = signed_for(genesis)?;
    let (Ok(signature), Ok(key)) = (signature.try_into(), public_key.try_into()) else {
        return Ok(false);
    };
    let mut verifier = Verifier::strict();
    Ok(verifier.verify(&NodeId(key), domain, &pool, data, &Signature(signature)).is_ok())
}

/// The short form of an identity's text, or of its 40 bytes; an error says what is wrong with it.
#[wasm_bindgen(js_name = identityKey)]
pub fn identity_key(identity: &[u8]) -> Result<Vec<u8>, JsError> {
    Ok(PiIdentity::decode(identity)?.node_id().0.to_vec())
}

/// Encrypts a secret under a password: 64 MiB of Argon2id, so never on a page's thread.
#[wasm_bindgen]
pub fn seal(secret: Vec<u8>, password: Vec<u8>, random: &[u8]) -> Result<Vec<u8>, JsError> {
    let (secret, password) = (Zeroizing::new(secret), Zeroizing::new(password));
    let random: [u8; 28] = array(random, "what is drawn for a backup")?;
    let (salt, nonce) = random.split_at(16);
    let entropy = Entropy { salt: array(salt, "a salt")?, nonce: array(nonce, "a nonce")? };
    Ok(backup::seal(&secret, &password, entropy)?)
}

/// Decrypts what `seal` made.
#[wasm_bindgen]
pub fn open(bytes: &[u8], password: Vec<u8>) -> Result<Vec<u8>, JsError> {
    Ok(backup::open(bytes, &Zeroizing::new(password))?.to_vec())
}

/// A session of one holder with itself; times are seconds since it began.
#[wasm_bindgen]
pub struct Session(OwnSession);

fn after(seconds: f64) -> Timestamp {
    // A float that is no number becomes 0, one that is too large the last moment there is.
    Timestamp((seconds * 1e6) as u64)
}

#[wasm_bindgen]
impl Session {
    /// For the holder of an identity, for so many seconds, from 48 random bytes.
    #[wasm_bindgen(constructor)]
    pub fn new(identity: &[u8], seconds: f64, random: Vec<u8>) -> Result<Session, JsError> {
        let random = Zeroizing::new(random);
        let holder = PiIdentity::decode(identity)?;
        let drawn = Zeroizing::new(array(&random, "what is drawn for a session")?);
        let life = Micros(after(seconds).0);
        Ok(Session(OwnSession::new(&holder, &drawn, life, Timestamp(0))))
    }

    /// Encrypts.
    pub fn encrypt(&mut self, seconds: f64, data: Vec<u8>) -> Result<Vec<u8>, JsError> {
        Ok(codec::encode(&self.0.encrypt(after(seconds), data)?))
    }

    /// Decrypts a record of this session.
    pub fn decrypt(&self, seconds: f64, record: &[u8]) -> Result<Vec<u8>, JsError> {
        let record: Record = codec::decode(record).map_err(|_| JsError::new("not a record"))?;
        Ok(self.0.decrypt(after(seconds), &record)?)
    }

    /// Whether it is over.
    #[wasm_bindgen(js_name = isOver)]
    pub fn is_over(&self, seconds: f64) -> bool {
        self.0.is_over(after(seconds))
    }
}

/// The φ label of a pool, 21 bytes, from its genesis digest.
#[wasm_bindgen(js_name = genesisLabel)]
pub fn genesis_label(genesis: &[u8], test: bool) -> Result<Vec<u8>, JsError> {
    let purpose = if test { PoolPurpose::Test } else { PoolPurpose::Main };
    Ok(GenesisLabel::new(&Digest(array(genesis, "a genesis digest")?), purpose).encode().to_vec())
}

/// The label as text; an error if the bytes are none.
#[wasm_bindgen(js_name = labelText)]
pub fn label_text(label: &[u8]) -> Result<String, JsError> {
    Ok(GenesisLabel::decode(label)?.to_string())
}

/// Whether a label is of a pool.
#[wasm_bindgen(js_name = labels)]
pub fn labels(label: &[u8], genesis: &[u8]) -> Result<bool, JsError> {
    Ok(GenesisLabel::decode(label)?.labels(&Digest(array(genesis, "a genesis digest")?)))
}
