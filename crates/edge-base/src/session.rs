//! Sessions: what two nodes say to each other so that nobody else reads it, now or later.
//!
//! A session is agreed by two signed messages ([`handshake`]) over a key agreement that holds as
//! long as either X25519 or ML-KEM-768 does ([`agreement`]). It then protects records of bytes with
//! AES-256-GCM (NIST SP 800-38D), each direction under keys of its own. A session lives in memory
//! only: a process that starts again has none, so no nonce is ever used twice across restarts.
//!
//! The secret of a direction is a [`SessionKey`], 271 bits in 34 bytes, counted from the most
//! significant bit of byte 0:
//!
//! | bits | bytes | field |
//! |---|---|---|
//! | 0..256 | 0..32 | HKDF key (RFC 5869), a pseudorandom key for its expand step |
//! | 256..271 | 32..34 | key phase, big endian |
//! | 271 | 33 | a zero bit |
//!
//! Everything else of a phase comes out of it:
//!
//! | value | HKDF-Expand of the key, info |
//! |---|---|
//! | AES-256 key (32) and salt (4) | `edge-net/session/traffic/1` and bytes 32..34 |
//! | HKDF key of the next phase (32) | `edge-net/session/next/1` and bytes 32..34 |
//!
//! The nonce of a record is salt (32 bits) and counter (64 bits, big endian). Counters of a direction
//! begin at zero and never repeat. The associated data is session id (16), phase (2, big endian) and
//! counter (8, big endian).
//!
//! A sender goes to the next phase after so many records or so much time ([`Limits`]), and forgets
//! the key of the phase before: who takes a process's memory cannot read what was said in earlier phases.
//! A receiver follows when a record of a later phase holds, keeps the phase before for records that
//! are still on their way, and then forgets it too. Records are accepted once: a window as in RFC
//! 4303, section 3.4.3, over the counters of a direction.
//!
//! What it does not do: hide who talks to whom, when, how much; survive a copy of a running
//! process's memory (a machine's snapshot that is resumed twice goes on with one key twice).

use std::fmt;

use aes_gcm::{Aes256Gcm, aead::AeadInOut, aead::KeyInit};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Hasher, Micros, PiIdentity, SignatureError, Timestamp};

pub mod agreement;
pub mod handshake;
mod window;

use window::Window;

/// Bytes of an encoded [`SessionKey`].
pub const SESSION_KEY_BYTES: usize = 34;
/// The last phase there is.
pub const PHASE_MAX: u16 = (1 << 15) - 1;
/// How many phases a receiver derives ahead for one record: as many may have been lost whole.
pub const PHASES_AHEAD_MAX: u16 = 16;
/// How many counters behind the largest a record may come.
pub const WINDOW: u64 = window::WIDTH;
/// What a record has beyond the bytes that were encrypted: the tag.
pub const TAG_BYTES: usize = 16;

/// Why a session is not agreed on, or a record neither encrypted nor decrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The session is too old: nobody's fault, agree on another.
    #[error("the session is over")]
    Over,
    /// A record of another session: the sender's fault, or this one is a later process.
    #[error("a record of another session")]
    OtherSession,
    /// A phase whose key was forgotten, or that is too far ahead.
    #[error("key phase {0} is neither this one nor near it")]
    Phase(u16),
    /// The record came before, or too many that were sent later came before it.
    #[error("a record that came before, or too late")]
    Replayed,
    /// Not a record of this session's other end: changed, made up, or one's own sent back.
    #[error("the record does not hold")]
    Forged,
    /// A key agreement that this program does not have.
    #[error("key agreement {0} is not known")]
    Suite(u8),
    /// Bytes that are no public key or ciphertext of the agreement: the sender's fault.
    #[error("not a public key or ciphertext of this key agreement")]
    Malformed,
    /// For another node, or an answer to another opening.
    #[error("a handshake with somebody else")]
    NotForUs,
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// Names a session at both ends; tells an observer nothing but which records belong together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

/// The secret of one direction in one phase. Zeroized when dropped, never printed, never sent.
#[derive(Clone)]
pub struct SessionKey {
    key: Zeroizing<[u8; 32]>,
    phase: u16,
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey of phase {}", self.phase)
    }
}

impl SessionKey {
    /// The first phase of a direction; `key` is an output of HKDF.
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        SessionKey { key, phase: 0 }
    }

    /// Which phase, at most [`PHASE_MAX`].
    pub fn phase(&self) -> u16 {
        self.phase
    }

    /// The 34 bytes, for memory that is as private as this one.
    pub fn encode(&self) -> Zeroizing<[u8; SESSION_KEY_BYTES]> {
        let mut bytes = Zeroizing::new([0; SESSION_KEY_BYTES]);
        bytes[..32].copy_from_slice(&*self.key);
        bytes[32..].copy_from_slice(&phase_field(self.phase));
        bytes
    }

    /// Reads 34 bytes; `None` where the last bit is set.
    pub fn decode(bytes: &[u8; SESSION_KEY_BYTES]) -> Option<Self> {
        let field = u16::from_be_bytes([bytes[32], bytes[33]]);
        if field & 1 != 0 {
            return None;
        }
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&bytes[..32]);
        Some(SessionKey { key, phase: field >> 1 })
    }

    /// The next phase, `None` after the last. Nothing leads back from it.
    fn next(&self) -> Option<SessionKey> {
        let phase = self.phase.checked_add(1).filter(|phase| *phase <= PHASE_MAX)?;
        let mut key = Zeroizing::new([0; 32]);
        self.expand(b"edge-net/session/next/1", &mut *key);
        Some(SessionKey { key, phase })
    }

    fn traffic(&self) -> Traffic {
        let mut out = Zeroizing::new([0; 36]);
        self.expand(b"edge-net/session/traffic/1", &mut *out);
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&out[..32]);
        let mut salt = [0; 4];
        salt.copy_from_slice(&out[32..]);
        Traffic { phase: self.phase, cipher: Aes256Gcm::new((&*key).into()), salt }
    }

    fn expand(&self, label: &[u8], out: &mut [u8]) {
        Hkdf::<Sha256>::from_prk(&*self.key)
            .expect("invariant: the key is as long as the hash")
            .expand_multi_info(&[label, &phase_field(self.phase)], out)
            .expect("invariant: at most 36 bytes are wanted, and HKDF gives 8,160");
    }
}

/// Fifteen bits and a zero.
fn phase_field(phase: u16) -> [u8; 2] {
    (phase << 1).to_be_bytes()
}

/// What encrypts in one direction and phase.
struct Traffic {
    phase: u16,
    cipher: Aes256Gcm,
    salt: [u8; 4],
}

impl Traffic {
    fn nonce(&self, counter: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&counter.to_be_bytes());
        nonce
    }

    fn associated(&self, id: &SessionId, counter: u64) -> [u8; 26] {
        let mut data = [0; 26];
        data[..16].copy_from_slice(&id.0);
        data[16..18].copy_from_slice(&self.phase.to_be_bytes());
        data[18..].copy_from_slice(&counter.to_be_bytes());
        data
    }

    fn encrypt(&self, id: &SessionId, counter: u64, mut bytes: Vec<u8>) -> Vec<u8> {
        let data = self.associated(id, counter);
        let nonce = self.nonce(counter).into();
        bytes.reserve_exact(TAG_BYTES);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, &data, bytes.as_mut_slice().into())
            .expect("invariant: a message is below the limit of AES-GCM");
        bytes.extend_from_slice(&tag);
        bytes
    }

    fn decrypt(&self, id: &SessionId, counter: u64, bytes: &[u8]) -> Option<Vec<u8>> {
        let (body, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_BYTES)?)?;
        let tag: [u8; TAG_BYTES] = tag.try_into().ok()?;
        let nonce = self.nonce(counter).into();
        let data = self.associated(id, counter);
        let mut body = body.to_vec();
        self.cipher
            .decrypt_inout_detached(&nonce, &data, body.as_mut_slice().into(), &tag.into())
            .ok()?;
        Some(body)
    }
}

/// How long keys are used. Both ends need not agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Records under one key. With messages below 2^20 bytes, 2^16 of them are 2^32 blocks.
    pub phase_records: u64,
    /// How long a key is used.
    pub phase_life: Micros,
    /// How long the key of the phase before is kept for records on their way.
    pub phase_kept: Micros,
    /// How long the session encrypts. It decrypts `phase_kept` longer.
    pub life: Micros,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            phase_records: 1 << 16,
            phase_life: Micros::from_secs(600),
            phase_kept: Micros::from_secs(60),
            life: Micros::from_secs(3_600),
        }
    }
}

/// Encrypted bytes on their way, with what the receiver needs to decrypt them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Which session.
    pub session: SessionId,
    /// Key phase of the sender.
    pub phase: u16,
    /// The sender's count of records.
    pub counter: u64,
    /// Ciphertext and tag.
    pub bytes: Vec<u8>,
}

/// One end of a session.
///
/// ```
/// use edge_base::session::{Limits, Session, handshake::{Initiator, respond}};
/// use edge_base::{Digest, SecretKey, Timestamp, Verifier};
///
/// let (anna, ben) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
/// let (pool, now) = (Digest::of(b"genesis"), Timestamp(0));
/// let mut verifier = Verifier::strict();
/// // Programs draw these bytes from a generator that the operating system seeded.
/// let begun = Initiator::begin(&anna, &pool, ben.node_id(), [3; 32]);
/// let (answer, mut bens) =
///     respond(&ben, &pool, begun.opening(), &mut verifier, [4; 64], Limits::default(), now)?;
/// let mut annas = begun.finish(&answer, &pool, &mut verifier, Limits::default(), now)?;
///
/// let record = annas.encrypt(now, b"between us".to_vec())?;
/// assert_eq!(bens.decrypt(now, &record)?, b"between us");
/// assert!(bens.decrypt(now, &record).is_err(), "once");
/// # Ok::<(), edge_base::session::SessionError>(())
/// ```
pub struct Session {
    id: SessionId,
    begun: Timestamp,
    limits: Limits,
    sending: Sending,
    receiving: Receiving,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session {:02x?}", &self.id.0[..4])
    }
}

struct Sending {
    key: SessionKey,
    traffic: Traffic,
    phase_since: Timestamp,
    phase_records: u64,
    counter: u64,
}

struct Receiving {
    key: SessionKey,
    traffic: Traffic,
    /// The phase before, and until when.
    before: Option<(Traffic, Timestamp)>,
    window: Window,
}

impl Session {
    /// From the secrets of both directions, each of phase 0 and used for this session only.
    fn new(
        id: SessionId,
        sending: SessionKey,
        receiving: SessionKey,
        limits: Limits,
        now: Timestamp,
    ) -> Self {
        Session {
            id,
            begun: now,
            limits,
            sending: Sending {
                traffic: sending.traffic(),
                key: sending,
                phase_since: now,
                phase_records: 0,
                counter: 0,
            },
            receiving: Receiving {
                traffic: receiving.traffic(),
                key: receiving,
                before: None,
                window: Window::default(),
            },
        }
    }

    /// Its name.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The phase it encrypts in.
    pub fn phase(&self) -> u16 {
        self.sending.key.phase
    }

    /// Whether it encrypts no more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.begun) >= self.limits.life
    }

    /// Whether it decrypts no more either and may be forgotten.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        let (life, kept) = (self.limits.life, self.limits.phase_kept);
        now.since(self.begun) >= Micros(life.0.saturating_add(kept.0))
    }

    /// Encrypts bytes for the other end.
    ///
    /// # Errors
    /// [`SessionError::Over`] after the session's life, its last phase or its last counter.
    pub fn encrypt(&mut self, now: Timestamp, bytes: Vec<u8>) -> Result<Record, SessionError> {
        if self.is_over(now) {
            return Err(SessionError::Over);
        }
        let (limits, sending) = (self.limits, &mut self.sending);
        let used_up = sending.phase_records >= limits.phase_records;
        if used_up || now.since(sending.phase_since) >= limits.phase_life {
            let key = sending.key.next().ok_or(SessionError::Over)?;
            sending.traffic = key.traffic();
            sending.key = key;
            sending.phase_since = now;
            sending.phase_records = 0;
        }
        let counter = sending.counter;
        sending.counter = counter.checked_add(1).ok_or(SessionError::Over)?;
        sending.phase_records += 1;
        let bytes = sending.traffic.encrypt(&self.id, counter, bytes);
        Ok(Record { session: self.id, phase: sending.key.phase, counter, bytes })
    }

    /// Decrypts a record of the other end. What is refused changes nothing.
    ///
    /// # Errors
    /// [`SessionError::Over`], `OtherSession`, `Phase`, `Replayed` and `Forged`.
    pub fn decrypt(&mut self, now: Timestamp, record: &Record) -> Result<Vec<u8>, SessionError> {
        if self.is_spent(now) {
            return Err(SessionError::Over);
        }
        if record.session != self.id {
            return Err(SessionError::OtherSession);
        }
        let receiving = &mut self.receiving;
        if receiving.before.as_ref().is_some_and(|(_, until)| now >= *until) {
            receiving.before = None;
        }
        if !receiving.window.is_fresh(record.counter) {
            return Err(SessionError::Replayed);
        }
        let at = receiving.key.phase;
        let bytes = if record.phase == at {
            let bytes = receiving.traffic.decrypt(&self.id, record.counter, &record.bytes);
            bytes.ok_or(SessionError::Forged)?
        } else if record.phase < at {
            let before = receiving.before.as_ref().filter(|(t, _)| t.phase == record.phase);
            let (traffic, _) = before.ok_or(SessionError::Phase(record.phase))?;
            let bytes = traffic.decrypt(&self.id, record.counter, &record.bytes);
            bytes.ok_or(SessionError::Forged)?
        } else {
            receiving.follow(&self.id, record, now + self.limits.phase_kept)?
        };
        receiving.window.take(record.counter);
        Ok(bytes)
    }
}

/// A session of one holder with itself: what it encrypts nobody else can read, nor it after its life.
///
/// One phase, since what was encrypted first is to be read last; a record is read as often as one likes.
///
/// ```
/// use edge_base::session::OwnSession;
/// use edge_base::{Micros, PiIdentity, NetworkTag, SecretKey, Timestamp};
///
/// let holder = PiIdentity::new(SecretKey::from_seed([1; 32]).node_id(), NetworkTag::UNBOUND)?;
/// // Programs draw these bytes from a generator that the operating system seeded.
/// let mut session = OwnSession::new(&holder, &[2; 48], Micros::from_secs(60), Timestamp(0));
/// let record = session.encrypt(Timestamp(0), b"a draft".to_vec())?;
/// assert_eq!(session.decrypt(Timestamp(0), &record)?, b"a draft");
/// assert!(session.decrypt(Timestamp(60_000_000), &record).is_err(), "over");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OwnSession {
    id: SessionId,
    begun: Timestamp,
    life: Micros,
    key: SessionKey,
    counter: u64,
}

/// Records of one key of an [`OwnSession`], each under a nonce of its own: of 2^26 bytes each, the most
/// that a page encrypts at once, they are 2^54 blocks.
const OWN_RECORDS_MAX: u64 = 1 << 32;

impl OwnSession {
    /// From 48 fresh random bytes; `holder` is bound into every record.
    pub fn new(holder: &PiIdentity, random: &[u8; 48], life: Micros, now: Timestamp) -> Self {
        let mut id = [0; 16];
        let mut hasher = Hasher::new("edge-net-1/session/own");
        hasher.update(&holder.encode()).update(&random[32..]);
        id.copy_from_slice(&hasher.finish().0[..16]);
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&random[..32]);
        OwnSession { id: SessionId(id), begun: now, life, key: SessionKey::new(key), counter: 0 }
    }

    /// Whether it encrypts and decrypts no more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.begun) >= self.life
    }

    /// Encrypts.
    ///
    /// # Errors
    /// [`SessionError::Over`] after its life, or its last record.
    pub fn encrypt(&mut self, now: Timestamp, bytes: Vec<u8>) -> Result<Record, SessionError> {
        if self.is_over(now) || self.counter >= OWN_RECORDS_MAX {
            return Err(SessionError::Over);
        }
        let counter = self.counter;
        self.counter += 1;
        let bytes = self.key.traffic().encrypt(&self.id, counter, bytes);
        Ok(Record { session: self.id, phase: self.key.phase, counter, bytes })
    }

    /// Decrypts a record of its own.
    ///
    /// # Errors
    /// [`SessionError::Over`], `OtherSession`, `Phase` and `Forged`.
    pub fn decrypt(&self, now: Timestamp, record: &Record) -> Result<Vec<u8>, SessionError> {
        if self.is_over(now) {
            return Err(SessionError::Over);
        }
        if record.session != self.id {
            return Err(SessionError::OtherSession);
        }
        if record.phase != self.key.phase {
            return Err(SessionError::Phase(record.phase));
        }
        let bytes = self.key.traffic().decrypt(&self.id, record.counter, &record.bytes);
        bytes.ok_or(SessionError::Forged)
    }
}

impl Receiving {
    /// Goes to a later phase if the record proves that the sender did.
    fn follow(
        &mut self,
        id: &SessionId,
        record: &Record,
        kept_until: Timestamp,
    ) -> Result<Vec<u8>, SessionError> {
        let phase = record.phase;
        if phase > PHASE_MAX || phase - self.key.phase > PHASES_AHEAD_MAX {
            return Err(SessionError::Phase(phase));
        }
        let mut before = None;
        let mut key = self.key.next().ok_or(SessionError::Phase(phase))?;
        while key.phase < phase {
            let next = key.next().ok_or(SessionError::Phase(phase))?;
            before = Some(std::mem::replace(&mut key, next));
        }
        let traffic = key.traffic();
        let bytes = traffic.decrypt(id, record.counter, &record.bytes);
        let bytes = bytes.ok_or(SessionError::Forged)?;
        let last = std::mem::replace(&mut self.traffic, traffic);
        self.before = Some((before.map_or(last, |key| key.traffic()), kept_until));
        self.key = key;
        Ok(bytes)
    }
}
