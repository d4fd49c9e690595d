//! How two members agree on a session: an opening, an acceptance, both signed.
//!
//! ```text
//! initiator                                    responder
//!   pair of keys made for this opening
//!   Signed Opening { to, suite, public }   ─►
//!                                              encapsulates for `public`
//!                                          ◄─  Signed Acceptance { to, opening, ciphertext }
//!   decapsulates
//!   first record                           ─►  the session is confirmed
//! ```
//!
//! Signatures are by π keys over a domain tag and the genesis hash, and each names the other end, so
//! that nobody is led to talk to somebody else than it thinks (identity misbinding, Krawczyk, "SIGMA",
//! 2003). The transcript is
//! `H("session/transcript"; pool ‖ initiator ‖ responder ‖ digest of Opening ‖ digest of Acceptance)`,
//! digests as of every signed statement, and the salt of HKDF over the agreed secret, so a session
//! that both ends have is one whose every byte both have seen alike. Keys are made for one handshake and
//! forgotten after it: what is recorded stays closed when π keys are lost later.
//!
//! There is one suite, which is hybrid, so there is nothing to downgrade to; any other number is refused.
//! A second suite needs a rule for who may choose it before it gets a number.
//!
//! An opening that is shown again costs the responder a handshake and gives whoever shows it nothing:
//! only who made the pair of keys can send a record of the session. Responders therefore do not rely
//! on a session before its first record.

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    Limits, Session, SessionError, SessionId, SessionKey,
    agreement::{ENCAPSULATION_ENTROPY_BYTES, KeyAgreement, PAIR_ENTROPY_BYTES, Shared, XWing},
};
use crate::{Digest, Domain, Hasher, NodeId, SecretKey, Signed, SignedBody, Timestamp, Verifier};

/// Asks for a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opening {
    /// With whom.
    pub to: NodeId,
    /// Which key agreement.
    pub suite: u8,
    /// A public key made for this opening.
    pub public: Vec<u8>,
}

impl SignedBody for Opening {
    const DOMAIN: Domain = Domain("session/opening");
}

/// Agrees to a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acceptance {
    /// Who asked.
    pub to: NodeId,
    /// Digest of the opening.
    pub opening: Digest,
    /// The secret, for who made the public key.
    pub ciphertext: Vec<u8>,
}

impl SignedBody for Acceptance {
    const DOMAIN: Domain = Domain("session/acceptance");
}

/// The end that asked. Holds the secret half of the keys until the answer comes.
pub struct Initiator<K: KeyAgreement = XWing> {
    secret: K::Secret,
    opening: Signed<Opening>,
}

impl Initiator {
    /// Asks a node for a session of [`XWing`]. `entropy` is used for nothing else.
    pub fn begin(
        key: &SecretKey,
        pool: &Digest,
        to: NodeId,
        entropy: [u8; PAIR_ENTROPY_BYTES],
    ) -> Self {
        Initiator::begin_with(key, pool, to, entropy)
    }
}

impl<K: KeyAgreement> Initiator<K> {
    /// The same with a chosen key agreement.
    pub fn begin_with(
        key: &SecretKey,
        pool: &Digest,
        to: NodeId,
        entropy: [u8; PAIR_ENTROPY_BYTES],
    ) -> Self {
        let (secret, public) = K::pair(Zeroizing::new(entropy));
        let opening = Signed::seal(Opening { to, suite: K::SUITE, public }, key, pool);
        Initiator { secret, opening }
    }

    /// What to send, again and again until there is an answer.
    pub fn opening(&self) -> &Signed<Opening> {
        &self.opening
    }

    /// The session that an acceptance agreed to. A wrong acceptance changes nothing: the right one may
    /// still come.
    ///
    /// # Errors
    /// [`SessionError::NotForUs`], `Signature` and `Malformed`.
    pub fn finish(
        &self,
        acceptance: &Signed<Acceptance>,
        pool: &Digest,
        verifier: &mut Verifier,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Session, SessionError> {
        let (opening, body) = (&self.opening, &acceptance.body);
        let from_them = acceptance.signer == opening.body.to;
        if !from_them || body.to != opening.signer || body.opening != opening.digest() {
            return Err(SessionError::NotForUs);
        }
        acceptance.open(verifier, pool)?;
        let shared = K::decapsulate(&self.secret, &body.ciphertext)?;
        let [id, first, second] = secrets(&shared, pool, opening, acceptance);
        Ok(Session::new(
            session_id(&id),
            SessionKey::new(first),
            SessionKey::new(second),
            limits,
            now,
        ))
    }
}

/// Agrees to a session of [`XWing`]: what to answer, and this end. `entropy` is used for nothing else.
///
/// # Errors
/// [`SessionError::NotForUs`], `Suite`, `Signature` and `Malformed`, cheap checks first.
pub fn respond(
    key: &SecretKey,
    pool: &Digest,
    opening: &Signed<Opening>,
    verifier: &mut Verifier,
    entropy: [u8; ENCAPSULATION_ENTROPY_BYTES],
    limits: Limits,
    now: Timestamp,
) -> Result<(Signed<Acceptance>, Session), SessionError> {
    respond_with::<XWing>(key, pool, opening, verifier, entropy, limits, now)
}

/// The same with a chosen key agreement.
///
/// # Errors
/// As [`respond`].
pub fn respond_with<K: KeyAgreement>(
    key: &SecretKey,
    pool: &Digest,
    opening: &Signed<Opening>,
    verifier: &mut Verifier,
    entropy: [u8; ENCAPSULATION_ENTROPY_BYTES],
    limits: Limits,
    now: Timestamp,
) -> Result<(Signed<Acceptance>, Session), SessionError> {
    let body = &opening.body;
    if body.to != key.node_id() || opening.signer == body.to {
        return Err(SessionError::NotForUs);
    }
    if body.suite != K::SUITE {
        return Err(SessionError::Suite(body.suite));
    }
    opening.open(verifier, pool)?;
    let (ciphertext, shared) = K::encapsulate(&body.public, Zeroizing::new(entropy))?;
    let acceptance = Acceptance { to: opening.signer, opening: opening.digest(), ciphertext };
    let acceptance = Signed::seal(acceptance, key, pool);
    let [id, first, second] = secrets(&shared, pool, opening, &acceptance);
    let session =
        Session::new(session_id(&id), SessionKey::new(second), SessionKey::new(first), limits, now);
    Ok((acceptance, session))
}

/// The session's id, and the HKDF keys of what the initiator and the responder send.
fn secrets(
    shared: &Shared,
    pool: &Digest,
    opening: &Signed<Opening>,
    acceptance: &Signed<Acceptance>,
) -> [Zeroizing<[u8; 32]>; 3] {
    let mut transcript = Hasher::new("session/transcript");
    transcript.update(&pool.0).update(&opening.signer.0).update(&acceptance.signer.0);
    transcript.update(&opening.digest().0).update(&acceptance.digest().0);
    let keys = Hkdf::<Sha256>::new(Some(&transcript.finish().0), &**shared);
    let labels: [&[u8]; 3] = [
        b"edge-net/session/id/1",
        b"edge-net/session/initiator/1",
        b"edge-net/session/responder/1",
    ];
    labels.map(|label| {
        let mut out = Zeroizing::new([0; 32]);
        keys.expand(label, &mut *out)
            .expect("invariant: 32 bytes are wanted, and HKDF gives 8,160");
        out
    })
}

fn session_id(secret: &[u8; 32]) -> SessionId {
    let mut id = [0; 16];
    id.copy_from_slice(&secret[..16]);
    SessionId(id)
}
