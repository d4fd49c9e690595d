//! Key agreement behind a trait, and the one that the product uses: X-Wing.
//!
//! X-Wing (Barbosa et al., "X-Wing: the hybrid KEM you've been looking for", 2024;
//! draft-connolly-cfrg-xwing-kem) combines X25519 (RFC 7748) and ML-KEM-768 (FIPS 203): its secret
//! stays secret as long as one of the two holds. Who records today and breaks X25519 later reads
//! nothing.
//!
//! **The implementation was never audited.** It is RustCrypto's `x-wing` over `ml-kem`, which say so
//! themselves. If ML-KEM or that code is broken, what is left is X25519; and every record travels
//! inside the transport's own encryption.

use x_wing::{
    Ciphertext, DECAPSULATION_KEY_SIZE, DecapsulationKey, DecapsulationKeyRejectNonContrib,
    Decapsulator as _, ENCAPSULATION_RANDOMNESS_SIZE, EncapsulationKey, KeyExport as _,
    TryDecapsulate as _,
};
use zeroize::Zeroizing;

use super::SessionError;

/// Bytes of entropy for a pair of keys.
pub const PAIR_ENTROPY_BYTES: usize = 32;
/// Bytes of entropy for an encapsulation.
pub const ENCAPSULATION_ENTROPY_BYTES: usize = 64;

/// A secret that two ends agree on.
pub type Shared = Zeroizing<[u8; 32]>;

/// A key encapsulation: one end makes a pair of keys, the other a secret for the public one.
///
/// Implementations must be secure against chosen ciphertexts (IND-CCA). **None here was audited.**
pub trait KeyAgreement {
    /// Its number in handshakes.
    const SUITE: u8;
    /// The secret half. Zeroized when dropped.
    type Secret;

    /// A pair of keys from uniform bytes that are used for nothing else.
    fn pair(entropy: Zeroizing<[u8; PAIR_ENTROPY_BYTES]>) -> (Self::Secret, Vec<u8>);

    /// A ciphertext for who has the secret half, and the secret inside.
    ///
    /// # Errors
    /// [`SessionError::Malformed`] for bytes that are no public key.
    fn encapsulate(
        public: &[u8],
        entropy: Zeroizing<[u8; ENCAPSULATION_ENTROPY_BYTES]>,
    ) -> Result<(Vec<u8>, Shared), SessionError>;

    /// The secret inside a ciphertext. A changed ciphertext gives another secret.
    ///
    /// # Errors
    /// [`SessionError::Malformed`] for bytes that are no ciphertext.
    fn decapsulate(secret: &Self::Secret, ciphertext: &[u8]) -> Result<Shared, SessionError>;
}

/// X25519 with ML-KEM-768. Public keys have 1,216 bytes, ciphertexts 1,120. Never audited.
#[derive(Clone, Copy, Debug)]
pub struct XWing;

/// Bytes of a public key of [`XWing`].
pub const XWING_PUBLIC_BYTES: usize = x_wing::ENCAPSULATION_KEY_SIZE;
/// Bytes of a ciphertext of [`XWing`].
pub const XWING_CIPHERTEXT_BYTES: usize = x_wing::CIPHERTEXT_SIZE;

const _: () = assert!(DECAPSULATION_KEY_SIZE == PAIR_ENTROPY_BYTES);
const _: () = assert!(ENCAPSULATION_RANDOMNESS_SIZE == ENCAPSULATION_ENTROPY_BYTES);

impl KeyAgreement for XWing {
    const SUITE: u8 = 1;
    /// Refuses an X25519 share that makes the classical half a constant; nobody honest sends one.
    type Secret = DecapsulationKeyRejectNonContrib;

    fn pair(entropy: Zeroizing<[u8; PAIR_ENTROPY_BYTES]>) -> (Self::Secret, Vec<u8>) {
        let secret = DecapsulationKey::from(*entropy);
        let public = secret.encapsulation_key().to_bytes().to_vec();
        (DecapsulationKeyRejectNonContrib::from(*entropy), public)
    }

    fn encapsulate(
        public: &[u8],
        entropy: Zeroizing<[u8; ENCAPSULATION_ENTROPY_BYTES]>,
    ) -> Result<(Vec<u8>, Shared), SessionError> {
        let key = EncapsulationKey::try_from(public).map_err(|_| SessionError::Malformed)?;
        let entropy = Zeroizing::new((*entropy).into());
        let (ciphertext, shared) = key.encapsulate_deterministic(&entropy);
        Ok((ciphertext.to_vec(), Zeroizing::new(shared.into())))
    }

    fn decapsulate(secret: &Self::Secret, ciphertext: &[u8]) -> Result<Shared, SessionError> {
        let ciphertext = Ciphertext::try_from(ciphertext).map_err(|_| SessionError::Malformed)?;
        let shared = secret.try_decapsulate(&ciphertext).map_err(|_| SessionError::Malformed)?;
        Ok(Zeroizing::new(shared.into()))
    }
}
