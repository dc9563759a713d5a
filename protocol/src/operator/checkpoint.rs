//! How long the log is and where it ends, signed: verified with the offline key alone (PROTOCOL §16.3).
//!
//! ```text
//! version 1 ‖ size 8 BE ‖ head 32 ‖ day 4 BE ‖ certificate 109 ‖ signature 64  = 218 bytes
//! ```

use super::certificate::{CERTIFICATE_BYTES, CertificateError, NoticeCertificate};
use super::chain::{OperatorLog, Position};
use super::read::Reader;
use crate::day::Day;
use crate::labels;
use crate::primitives::sign::{PublicKey, SIGNATURE_BYTES, SecretKey};

/// Bytes of an encoded checkpoint.
pub const CHECKPOINT_BYTES: usize = 1 + 8 + 32 + 4 + CERTIFICATE_BYTES + SIGNATURE_BYTES;
const SIGNED_BYTES: usize = CHECKPOINT_BYTES - SIGNATURE_BYTES;
const VERSION: u8 = 1;

/// Why a checkpoint says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not [`CHECKPOINT_BYTES`] long.
    #[error("a checkpoint of the operator's log is {CHECKPOINT_BYTES} bytes long")]
    Length,
    /// A version this code does not know.
    #[error("the checkpoint has version {0}, which is not known here")]
    Version(u8),
    /// Of a log without entries, which has none.
    #[error("the checkpoint is of an empty log")]
    Empty,
    /// Its certificate is none.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Signed on a day on which its key might not.
    #[error("the checkpoint was signed on a day for which its key is not certified")]
    Day,
    /// Not signed by the notice key.
    #[error("the checkpoint is not signed by the operator's notice key")]
    Signature,
}

/// Where a log stands, said by its operator. Only [`Self::sign`] and [`Self::verify`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Entries and head.
    pub position: Position,
    /// The day on which it was signed.
    pub day: Day,
    /// The notice key that signed it.
    pub certificate: NoticeCertificate,
    bytes: [u8; CHECKPOINT_BYTES],
}

impl Checkpoint {
    /// Says on `day` where `log` stands; `None` for an empty log.
    #[must_use]
    pub fn sign(log: &OperatorLog, day: Day, notice: &SecretKey) -> Option<Self> {
        let certificate = log.certificate()?.clone();
        let position = log.position();
        let mut bytes = Vec::with_capacity(CHECKPOINT_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&position.size.to_be_bytes());
        bytes.extend_from_slice(&position.head);
        bytes.extend_from_slice(&day.0.to_be_bytes());
        bytes.extend_from_slice(certificate.as_bytes());
        let signature = notice.sign(labels::SIGN_OPERATOR_CHECKPOINT, &bytes);
        bytes.extend_from_slice(&signature);
        Some(Self {
            position,
            day,
            certificate,
            bytes: bytes.try_into().ok()?,
        })
    }

    /// Reads a checkpoint and checks it with the operator's offline key.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verify(bytes: &[u8], offline: &PublicKey) -> Result<Self, CheckpointError> {
        let bytes: [u8; CHECKPOINT_BYTES] =
            bytes.try_into().map_err(|_| CheckpointError::Length)?;
        let (signed, signature) = bytes.split_at(SIGNED_BYTES);
        let mut reader = Reader(signed);
        let (Some(version), Some(size), Some(head), Some(day)) = (
            reader.byte(),
            reader.long(),
            reader.array(),
            reader.number(),
        ) else {
            return Err(CheckpointError::Length);
        };
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        if size == 0 {
            return Err(CheckpointError::Empty);
        }
        let certificate = NoticeCertificate::verify(reader.rest(), offline)?;
        certificate
            .key
            .verify(labels::SIGN_OPERATOR_CHECKPOINT, signed, signature)
            .map_err(|_| CheckpointError::Signature)?;
        if !certificate.holds_on(Day(day)) {
            return Err(CheckpointError::Day);
        }
        Ok(Self {
            position: Position { size, head },
            day: Day(day),
            certificate,
            bytes,
        })
    }

    /// The encoded bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; CHECKPOINT_BYTES] {
        &self.bytes
    }
}
