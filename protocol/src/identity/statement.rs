//! Statements of guardians: a decision with its place in the chain, the exact bytes that are
//! signed, and the consents of others.

use bytes::Bytes;
use prost::Message;

use super::decision::Decision;
use super::log::LogError;
use crate::day::Day;
use crate::ids::FamilyId;
use crate::labels;
use crate::limits;
use crate::primitives::hash;
use crate::primitives::sign::{PublicKey, SecretKey};
use crate::wire;

/// Version of statements this code writes and reads.
const VERSION: u32 = 1;

/// A decision with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Whose log.
    pub family: FamilyId,
    /// Place: 0 for the first.
    pub index: u64,
    /// Head of the log before it; `None` for the first.
    pub previous_head: Option<[u8; 32]>,
    /// The day it was signed.
    pub day: Day,
    /// Makes the hash say nothing about the statement.
    pub salt: [u8; 16],
    /// What was decided.
    pub decision: Decision,
}

impl Statement {
    /// The bytes that are signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::Statement {
            version: VERSION,
            family: self.family.to_bytes(),
            index: self.index,
            previous_head: self
                .previous_head
                .map(|head| head.to_vec().into())
                .unwrap_or_default(),
            day: self.day.0,
            salt: self.salt.to_vec().into(),
            decision: self.decision.encode().into(),
        }
        .encode_to_vec()
    }

    /// Reads a statement and checks its bounds; who signed it is another question.
    ///
    /// # Errors
    /// [`LogError`] when it is damaged, unknown, or a field is out of bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        Self::decode_with_decision(bytes).map(|(statement, _)| statement)
    }

    /// As [`Self::decode`], with the exact bytes of the decision: consents are over them.
    pub(super) fn decode_with_decision(bytes: &[u8]) -> Result<(Self, Bytes), LogError> {
        if bytes.len() > limits::STATEMENT_BYTES_MAX {
            return Err(LogError::Field("length"));
        }
        let statement = wire::Statement::decode(bytes).map_err(LogError::Malformed)?;
        if statement.version != VERSION {
            return Err(LogError::Version(statement.version));
        }
        let previous_head = if statement.previous_head.is_empty() {
            None
        } else {
            Some(
                statement
                    .previous_head
                    .as_ref()
                    .try_into()
                    .map_err(|_| LogError::Field("previous head"))?,
            )
        };
        let decoded = Self {
            family: FamilyId::try_from(&statement.family)?,
            index: statement.index,
            previous_head,
            day: Day(statement.day),
            salt: statement
                .salt
                .as_ref()
                .try_into()
                .map_err(|_| LogError::Field("salt"))?,
            decision: Decision::decode(&statement.decision)?,
        };
        Ok((decoded, statement.decision))
    }
}

/// Signs a statement; the first with the root key, later ones with guardians' identity keys.
#[must_use]
pub fn sign_statement(statement: &Statement, keys: &[&SecretKey]) -> wire::SignedStatement {
    let bytes = statement.encode();
    let signatures = keys
        .iter()
        .map(|key| wire::StatementSignature {
            key: key.public().as_bytes().to_vec().into(),
            signature: key.sign(labels::SIGN_STATEMENT, &bytes).to_vec().into(),
        })
        .collect();
    wire::SignedStatement {
        statement: bytes.into(),
        signatures,
        consents: vec![],
    }
}

/// A guardian's yes to a decision that another will put into the log of `family` under `salt`,
/// in a statement of `last_day` at the latest.
#[must_use]
pub fn sign_consent(
    family: &FamilyId,
    decision: &Decision,
    salt: &[u8; 16],
    last_day: Day,
    key: &SecretKey,
) -> wire::Consent {
    let bytes = consent_bytes(family, salt, last_day, &decision.encode());
    wire::Consent {
        key: key.public().as_bytes().to_vec().into(),
        last_day: last_day.0,
        signature: key.sign(labels::SIGN_CONSENT, &bytes).to_vec().into(),
    }
}

/// Whether a consent to a decision under this salt is one of `key`; on which days it holds is
/// another question.
#[must_use]
pub fn verify_consent(
    family: &FamilyId,
    salt: &[u8; 16],
    decision: &[u8],
    consent: &wire::Consent,
    key: &PublicKey,
) -> Option<()> {
    if consent.key.as_ref() != key.as_bytes() {
        return None;
    }
    let bytes = consent_bytes(family, salt, Day(consent.last_day), decision);
    key.verify(labels::SIGN_CONSENT, &bytes, &consent.signature)
        .ok()
}

/// `family 16 ‖ salt 16 ‖ last_day u32 big-endian ‖ decision`.
fn consent_bytes(family: &FamilyId, salt: &[u8; 16], last_day: Day, decision: &[u8]) -> Vec<u8> {
    [
        &family.as_bytes()[..],
        &salt[..],
        &last_day.0.to_be_bytes()[..],
        decision,
    ]
    .concat()
}

/// Whether `key` signed exactly these statement bytes.
pub(super) fn signed_by(signed: &wire::SignedStatement, key: &PublicKey) -> bool {
    signed.signatures.iter().any(|signature| {
        signature.key.as_ref() == key.as_bytes()
            && key
                .verify(
                    labels::SIGN_STATEMENT,
                    &signed.statement,
                    &signature.signature,
                )
                .is_ok()
    })
}

/// Whether `key` consented to this decision under this salt, for this day at least.
pub(super) fn consented_by(
    signed: &wire::SignedStatement,
    statement: &Statement,
    decision: &[u8],
    key: &PublicKey,
) -> bool {
    signed.consents.iter().any(|consent| {
        let last_day = Day(consent.last_day);
        consent.key.as_ref() == key.as_bytes()
            && last_day >= statement.day
            && key
                .verify(
                    labels::SIGN_CONSENT,
                    &consent_bytes(&statement.family, &statement.salt, last_day, decision),
                    &consent.signature,
                )
                .is_ok()
    })
}

/// The family's id: a hash of the root key that signed its first statement.
pub(super) fn family_id(root_key: &PublicKey) -> FamilyId {
    let hash = hash::labelled(labels::HASH_FAMILY, &[root_key.as_bytes()]);
    let (id, _) = hash
        .split_first_chunk::<16>()
        .map_or(([0; 16], ()), |(id, _)| (*id, ()));
    FamilyId::new(id)
}

/// What a statement is in the chain; the salt is in the bytes.
pub(super) fn leaf_hash(statement: &[u8]) -> [u8; 32] {
    hash::labelled(labels::HASH_STATEMENT, &[statement])
}

/// The head after the statement of this hash.
pub(super) fn next_head(previous: Option<&[u8; 32]>, leaf: &[u8; 32]) -> [u8; 32] {
    hash::labelled(
        labels::HASH_HEAD,
        &[previous.map_or(&[][..], |head| &head[..]), leaf],
    )
}
