//! XChaCha20-Poly1305 with random nonces: `nonce 24 ‖ ciphertext ‖ tag 16`.
//!
//! Source: draft-irtf-cfrg-xchacha-03. Random 192-bit nonces never repeat in practice
//! (2^80 messages under one key for a collision chance of 2^-32).

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::secrets::Secret;

/// Bytes that sealing adds: nonce 24 and tag 16.
pub const OVERHEAD_BYTES: usize = 40;

/// The bytes are not what was sealed under this key with this associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open: wrong key, or changed on the way")]
pub struct OpenError;

/// Seals `plaintext` under `key`; returns `nonce ‖ ciphertext ‖ tag`.
pub fn seal(
    key: &Secret<32>,
    associated_data: &[u8],
    plaintext: &[u8],
    rng: &mut impl rand_core::CryptoRng,
) -> Vec<u8> {
    let mut nonce = [0_u8; 24];
    rng.fill_bytes(&mut nonce);
    seal_with_nonce(key, &nonce, associated_data, plaintext)
}

/// [`seal`] with a chosen nonce, for test vectors. A nonce must never be used twice.
#[must_use]
pub fn seal_with_nonce(
    key: &Secret<32>,
    nonce: &[u8; 24],
    associated_data: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
    sealed.extend_from_slice(nonce);
    // Fails only past 256 GiB of plaintext, which no limit allows; nothing is better than half a seal.
    if let Ok(body) = cipher.encrypt(
        &XNonce::from(*nonce),
        Payload {
            msg: plaintext,
            aad: associated_data,
        },
    ) {
        sealed.extend_from_slice(&body);
    }
    sealed
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`OpenError`] when the bytes are too short, of another key, or changed.
pub fn open(key: &Secret<32>, associated_data: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (nonce, body) = sealed.split_first_chunk::<24>().ok_or(OpenError)?;
    XChaCha20Poly1305::new(key.expose().into())
        .decrypt(
            &XNonce::from(*nonce),
            Payload {
                msg: body,
                aad: associated_data,
            },
        )
        .map_err(|_| OpenError)
}
