//! X25519 (RFC 7748) that refuses keys of small order.

use core::fmt;

use x25519_dalek::{PublicKey, StaticSecret};

use crate::secrets::Secret;

/// The other side's key leads to the all-zero secret, which everybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side's key agreement key is of small order and agrees on nothing secret")]
pub struct SmallOrderError;

/// A private X25519 key; erased on drop, never printed.
#[derive(Clone)]
pub struct SecretKey(StaticSecret);

impl SecretKey {
    /// Draws a fresh key.
    pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self(StaticSecret::random_from_rng(rng))
    }

    /// The key of 32 bytes; they are clamped when used (RFC 7748 §5).
    #[must_use]
    pub fn from_bytes(bytes: &Secret<32>) -> Self {
        Self(StaticSecret::from(*bytes.expose()))
    }

    /// The private bytes as they were given, unclamped.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// The secret shared with the holder of `theirs`.
    ///
    /// # Errors
    /// [`SmallOrderError`] when the result is all zero, whoever's key this is (RFC 7748 §6.1).
    pub fn agree(&self, theirs: &[u8; 32]) -> Result<Secret<32>, SmallOrderError> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*theirs));
        if shared.was_contributory() {
            Ok(Secret::new(shared.to_bytes()))
        } else {
            Err(SmallOrderError)
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
