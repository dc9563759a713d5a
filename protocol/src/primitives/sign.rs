//! Ed25519 (RFC 8032) with strict verification: no malleable signature, no small-order key.

use core::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use zeroize::Zeroize;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// The signature is not one of this key over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureError;

/// A private signing key; erased on drop, never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Draws a fresh key.
    pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
        let mut seed = [0_u8; 32];
        rng.fill_bytes(&mut seed);
        let key = Self::from_seed(&seed);
        seed.zeroize();
        key
    }

    /// The key of a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be stored encrypted.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `label ‖ bytes`.
    #[must_use]
    pub fn sign(&self, label: &[u8], bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.sign_raw(&joined(label, bytes))
    }

    /// Signs exactly `bytes`: for MLS, which has labels of its own (RFC 9420 §5.1.2).
    #[must_use]
    pub fn sign_raw(&self, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(bytes).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A public verification key: 32 bytes, checked when used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Wraps the bytes; a point that is none fails every verification.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key of exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Verifies a signature over `label ‖ bytes`, strictly (RFC 8032 §5.1.7, no small-order keys).
    ///
    /// # Errors
    /// [`SignatureError`] when key or signature are malformed or do not match.
    pub fn verify(
        &self,
        label: &[u8],
        bytes: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| SignatureError)?;
        let signature =
            ed25519_dalek::Signature::from_slice(signature).map_err(|_| SignatureError)?;
        key.verify_strict(&joined(label, bytes), &signature)
            .map_err(|_| SignatureError)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, ..] = self.0;
        write!(f, "PublicKey({a:02x}{b:02x}…)")
    }
}

fn joined(label: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(label.len() + bytes.len());
    message.extend_from_slice(label);
    message.extend_from_slice(bytes);
    message
}
