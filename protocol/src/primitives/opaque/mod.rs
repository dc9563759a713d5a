//! OPAQUE-3DH (RFC 9807; ristretto255, SHA-512, Argon2id): a password login in which the relay
//! never sees the password, keeps nothing against which a guess can be tested without its setup,
//! and gives the device a key that the relay has not.
//!
//! [`relay`] holds one half, [`device`] (feature `account`) the other.
//!
//! ```text
//! suite       OPRF(ristretto255, SHA-512), 3DH(ristretto255, SHA-512), HKDF- and HMAC-SHA-512
//! identities  client: the account id (32 B); server: the relay's name as the device dialled it
//! credential  identifier: the account id
//! context     labels::OPAQUE_CONTEXT
//! Ksf         Argon2id(salt = 16 zero bytes, output 64 B), costs beside the record
//!
//! registration   device 32 B → relay 64 B → device 192 B (the record)
//! login          device 96 B (KE1) → relay 320 B (KE2) → device 64 B (KE3)
//! ```
//! The session key is dropped on both sides: the connection is TLS's already, and KE3 proves the
//! password once for this connection.

use crate::ids::AccountId;

pub mod relay;

#[cfg(feature = "account")]
pub mod device;
#[cfg(all(test, feature = "account"))]
mod tests;

/// Bytes of a registration's first message.
pub const REGISTRATION_REQUEST_BYTES: usize = 32;
/// Bytes of the relay's answer to it.
pub const REGISTRATION_ANSWER_BYTES: usize = 64;
/// Bytes of what the relay keeps.
pub const RECORD_BYTES: usize = 192;
/// Bytes of a login's first message, KE1.
pub const LOGIN_REQUEST_BYTES: usize = 96;
/// Bytes of the relay's answer to it, KE2.
pub const LOGIN_ANSWER_BYTES: usize = 320;
/// Bytes of a login's last message, KE3.
pub const LOGIN_PROOF_BYTES: usize = 64;
/// Bytes of a relay's setup.
pub const SETUP_BYTES: usize = 128;
/// Bytes of the key that a device gets out of a login, and nobody else has.
pub const EXPORT_KEY_BYTES: usize = 64;

/// Who logs in, and where: the same on both sides.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Who.
    pub account: &'a AccountId,
    /// Where: the relay's name as the device dialled it.
    pub server: &'a str,
}

impl<'a> Names<'a> {
    fn identifiers(&self) -> opaque_ke::Identifiers<'a> {
        opaque_ke::Identifiers {
            client: Some(self.account.as_bytes()),
            server: Some(self.server.as_bytes()),
        }
    }
}

/// A step of a registration or a login that went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpaqueError {
    /// A message of another length.
    #[error("a message of {bytes} bytes came instead of {expected}")]
    Length {
        /// Bytes it has.
        bytes: usize,
        /// Bytes it must have.
        expected: usize,
    },
    /// No message: bytes that are no points, or our own sent back.
    #[error("the other side's message is none")]
    Malformed,
    /// The password is another one, or there is no such account: nobody can tell which.
    #[error("the name or the password is not right")]
    Denied,
    /// The password could not be stretched: not enough memory, or a password of more than 64 KiB.
    #[error("the password could not be stretched")]
    Stretching,
}

impl From<opaque_ke::errors::ProtocolError> for OpaqueError {
    fn from(error: opaque_ke::errors::ProtocolError) -> Self {
        use opaque_ke::errors::{InternalError, ProtocolError};
        match error {
            ProtocolError::InvalidLoginError => Self::Denied,
            ProtocolError::LibraryError(InternalError::KsfError) => Self::Stretching,
            ProtocolError::SizeError {
                len, actual_len, ..
            } => Self::Length {
                bytes: actual_len,
                expected: len,
            },
            ProtocolError::LibraryError(_)
            | ProtocolError::SerializationError
            | ProtocolError::ReflectedValueError
            | ProtocolError::Custom(_) => Self::Malformed,
        }
    }
}

/// The crate reads the front of longer messages too.
fn exactly(message: &[u8], expected: usize) -> Result<&[u8], OpaqueError> {
    if message.len() == expected {
        Ok(message)
    } else {
        Err(OpaqueError::Length {
            bytes: message.len(),
            expected,
        })
    }
}

type Group = opaque_ke::Ristretto255;
type Exchange = opaque_ke::TripleDh<Group, <Group as voprf::CipherSuite>::Hash>;
