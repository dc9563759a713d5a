//! Signed heads: a guardian says which log it knows, and what day it is (PROTOCOL §7.7).

use bytes::Bytes;
use prost::Message;

use super::log::FamilyLog;
use crate::day::Day;
use crate::ids::{FamilyId, IdLengthError, MemberId};
use crate::labels;
use crate::primitives::hash;
use crate::primitives::sign::{PublicKey, SecretKey};
use crate::wire;

/// Version of heads this code writes and reads.
const VERSION: u32 = 1;

/// A head that a guardian of its family signed. Only [`SignedHead::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    family: FamilyId,
    signer: MemberId,
    statements: u64,
    day: Day,
    correction: bool,
    digest: [u8; 32],
}

impl Head {
    /// Whose log.
    #[must_use]
    pub const fn family(&self) -> FamilyId {
        self.family
    }

    /// The guardian who signed.
    #[must_use]
    pub const fn signer(&self) -> MemberId {
        self.signer
    }

    /// Entries of the log that the guardian knew.
    #[must_use]
    pub const fn statements(&self) -> u64 {
        self.statements
    }

    /// The day on which they signed.
    #[must_use]
    pub const fn day(&self) -> Day {
        self.day
    }

    /// Whether it says what day it is even to clocks that are ahead.
    #[must_use]
    pub const fn is_correction(&self) -> bool {
        self.correction
    }

    /// Names exactly this head: a correction counts once.
    pub(super) const fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Why a head counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not protobuf of this schema.
    #[error("the head of a family log is damaged")]
    Malformed(#[source] prost::DecodeError),
    /// A version this code does not know.
    #[error("the head of a family log is of version {0}, which is not known here")]
    Version(u32),
    /// A field out of bounds.
    #[error("the head of a family log has a bad {0}")]
    Field(&'static str),
    /// An id of a wrong length.
    #[error("the head of a family log carries a damaged id")]
    Id(#[from] IdLengthError),
    /// Of another family than the log.
    #[error("the head is of another family's log")]
    Family,
    /// Not signed by the key it names.
    #[error("the head of a family log is not signed by whom it says")]
    Signature,
    /// Of a longer log than the one known here: ask for its statements first.
    #[error("the head is of a longer log ({found} statements) than is known here ({known})")]
    Unknown {
        /// Entries known here.
        known: u64,
        /// Entries of the head.
        found: u64,
    },
    /// Of another past than the log known here.
    #[error("the head is of another past than the family's log: someone was shown a fork")]
    Fork,
    /// Signed by someone who was no guardian then, or is none any more.
    #[error("the head is signed by someone who is no guardian of the family")]
    Signer,
}

/// A head as it came: who signed it is not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    bytes: Bytes,
    key: PublicKey,
    signature: Bytes,
    family: FamilyId,
    head: [u8; 32],
    statements: u64,
    day: Day,
    correction: bool,
}

impl SignedHead {
    /// Reads a signed head.
    ///
    /// # Errors
    /// [`HeadError`] when it is damaged.
    pub fn from_wire(signed: &wire::SignedHead) -> Result<Self, HeadError> {
        let head = wire::Head::decode(signed.head.as_ref()).map_err(HeadError::Malformed)?;
        if head.version != VERSION {
            return Err(HeadError::Version(head.version));
        }
        if head.statements == 0 {
            return Err(HeadError::Field("number of statements"));
        }
        Ok(Self {
            bytes: signed.head.clone(),
            key: PublicKey::from_slice(&signed.key).ok_or(HeadError::Field("key"))?,
            signature: signed.signature.clone(),
            family: FamilyId::try_from(&head.family)?,
            head: head
                .head
                .as_ref()
                .try_into()
                .map_err(|_| HeadError::Field("hash"))?,
            statements: head.statements,
            day: Day(head.day),
            correction: head.correction,
        })
    }

    /// The family whose log it claims to be of: tells which log to verify it with.
    #[must_use]
    pub const fn family(&self) -> FamilyId {
        self.family
    }

    /// Checks it against the family's log: signed by a guardian of that head who still is one.
    ///
    /// # Errors
    /// [`HeadError::Unknown`] when the log has to be brought up to date first,
    /// [`HeadError::Fork`] when it is of another past, else why it counts for nothing.
    pub fn verify(&self, log: &FamilyLog) -> Result<Head, HeadError> {
        if self.family != log.family() {
            return Err(HeadError::Family);
        }
        self.key
            .verify(labels::SIGN_HEAD, &self.bytes, &self.signature)
            .map_err(|_| HeadError::Signature)?;
        // Someone who is unknown here may be a guardian further on; nobody else is asked to wait.
        if self.statements > log.len() {
            return Err(HeadError::Unknown {
                known: log.len(),
                found: self.statements,
            });
        }
        if log.head_at(self.statements) != Some(&self.head) {
            return Err(if self.signer_in(log).is_some() {
                HeadError::Fork
            } else {
                HeadError::Signer
            });
        }
        let signer = self.signer_in(log).ok_or(HeadError::Signer)?;
        if self.head != *log.head() {
            let then = log.up_to(&self.head).ok_or(HeadError::Fork)?;
            self.signer_in(&then).ok_or(HeadError::Signer)?;
        }
        Ok(Head {
            family: self.family,
            signer,
            statements: self.statements,
            day: self.day,
            correction: self.correction,
            digest: hash::sha256(&self.bytes),
        })
    }

    fn signer_in(&self, log: &FamilyLog) -> Option<MemberId> {
        log.guardians()
            .find(|(_, key)| *key == self.key)
            .map(|(member, _)| member)
    }
}

/// Signs the head of `log` as of `day`, with a guardian's identity key. A correction sets
/// clocks even backwards.
#[must_use]
pub fn sign_head(log: &FamilyLog, day: Day, correction: bool, key: &SecretKey) -> wire::SignedHead {
    let head = wire::Head {
        version: VERSION,
        family: log.family().to_bytes(),
        head: log.head().to_vec().into(),
        statements: log.len(),
        day: day.0,
        correction,
    }
    .encode_to_vec();
    wire::SignedHead {
        key: key.public().as_bytes().to_vec().into(),
        signature: key.sign(labels::SIGN_HEAD, &head).to_vec().into(),
        head: head.into(),
    }
}
