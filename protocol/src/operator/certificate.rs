//! What the offline key says of a notice key (PROTOCOL §16.1).
//!
//! ```text
//! version 1 ‖ serial 4 BE ‖ notice key 32 ‖ first day 4 BE ‖ last day 4 BE ‖ signature 64  = 109 bytes
//! ```
//! The serial grows with each certificate: when a notice key was stolen, the next certificate ends
//! it, and the old one can't be brought into the log again.

use super::read::Reader;
use crate::day::Day;
use crate::labels;
use crate::primitives::sign::{PublicKey, SIGNATURE_BYTES, SecretKey};

/// Bytes of an encoded certificate.
pub const CERTIFICATE_BYTES: usize = 1 + 4 + 32 + 4 + 4 + SIGNATURE_BYTES;
const SIGNED_BYTES: usize = CERTIFICATE_BYTES - SIGNATURE_BYTES;
const VERSION: u8 = 1;

/// Why a certificate is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not [`CERTIFICATE_BYTES`] long.
    #[error("a certificate of a notice key is {CERTIFICATE_BYTES} bytes long")]
    Length,
    /// A version this code does not know.
    #[error("the certificate has version {0}, which is not known here")]
    Version(u8),
    /// Ends before it begins.
    #[error("the certificate ends before it begins")]
    Days,
    /// Not signed by the offline key.
    #[error("the certificate is not signed by the operator's offline key")]
    Signature,
}

/// A notice key that the operator's offline key vouches for. Only [`Self::sign`] and
/// [`Self::verify`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeCertificate {
    /// Grows with each certificate of one operator.
    pub serial: u32,
    /// Signs entries and checkpoints.
    pub key: PublicKey,
    /// The first day on which it may.
    pub first: Day,
    /// The last day on which it may.
    pub last: Day,
    bytes: [u8; CERTIFICATE_BYTES],
}

impl NoticeCertificate {
    /// Certifies `key` from `first` to `last`.
    #[must_use]
    pub fn sign(offline: &SecretKey, serial: u32, key: PublicKey, first: Day, last: Day) -> Self {
        let mut bytes = Vec::with_capacity(CERTIFICATE_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&serial.to_be_bytes());
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(&first.0.to_be_bytes());
        bytes.extend_from_slice(&last.0.to_be_bytes());
        let signature = offline.sign(labels::SIGN_OPERATOR_CERTIFICATE, &bytes);
        bytes.extend_from_slice(&signature);
        let mut fixed = [0; CERTIFICATE_BYTES];
        for (to, from) in fixed.iter_mut().zip(bytes) {
            *to = from;
        }
        Self {
            serial,
            key,
            first,
            last,
            bytes: fixed,
        }
    }

    /// Reads a certificate and checks that `offline` signed it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(bytes: &[u8], offline: &PublicKey) -> Result<Self, CertificateError> {
        let bytes: [u8; CERTIFICATE_BYTES] =
            bytes.try_into().map_err(|_| CertificateError::Length)?;
        let (signed, signature) = bytes.split_at(SIGNED_BYTES);
        let mut reader = Reader(signed);
        let (Some(version), Some(serial), Some(key), Some(first), Some(last)) = (
            reader.byte(),
            reader.number(),
            reader.array(),
            reader.number(),
            reader.number(),
        ) else {
            return Err(CertificateError::Length);
        };
        if version != VERSION {
            return Err(CertificateError::Version(version));
        }
        offline
            .verify(labels::SIGN_OPERATOR_CERTIFICATE, signed, signature)
            .map_err(|_| CertificateError::Signature)?;
        if last < first {
            return Err(CertificateError::Days);
        }
        Ok(Self {
            serial,
            key: PublicKey::new(key),
            first: Day(first),
            last: Day(last),
            bytes,
        })
    }

    /// Whether the key may sign on `day`.
    #[must_use]
    pub fn holds_on(&self, day: Day) -> bool {
        self.first <= day && day <= self.last
    }

    /// The encoded bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; CERTIFICATE_BYTES] {
        &self.bytes
    }
}
