//! One entry of the log (PROTOCOL §16.2).
//!
//! ```text
//! version 1 ‖ index 8 BE ‖ head before 32 ‖ day 4 BE ‖ kind 1 ‖ body ‖ signature 64
//!
//! 1 certificate  offline key 32 ‖ certificate 109
//! 2 notice       severity 1 ‖ length of language 1 ‖ language ‖ text
//! 3 lockdown     renew 1 ‖ reason
//! 4 lift         (nothing)
//! 5 issuer key   epoch 4 BE ‖ key 32
//! 6 terms        SHA-256 of the terms' JSON 32
//! ```

use core::fmt;

use super::certificate::CERTIFICATE_BYTES;
use super::read::Reader;
use crate::day::Day;
use crate::labels;
use crate::limits::{OPERATOR_ENTRY_BYTES_MAX, OPERATOR_TEXT_CHARACTERS_MAX};
use crate::primitives::hash;
use crate::primitives::sign::{PublicKey, SIGNATURE_BYTES, SecretKey, SignatureError};

const VERSION: u8 = 1;
/// A language tag has at most this many bytes (RFC 5646 §4.4.1).
const LANGUAGE_BYTES_MAX: usize = 35;

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Shorter than its fields, or longer than any entry.
    #[error("an entry of the operator's log is cut short or too long")]
    Length,
    /// A version this code does not know.
    #[error("the entry has version {0}, which is not known here")]
    Version(u8),
    /// A field out of bounds.
    #[error("the entry of the operator's log has a bad {0}")]
    Field(&'static str),
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know: maintenance, new terms.
    Info,
    /// Somebody should do something.
    Warning,
    /// Something bad happened.
    Alarm,
}

impl Severity {
    const fn number(self) -> u8 {
        match self {
            Self::Info => 1,
            Self::Warning => 2,
            Self::Alarm => 3,
        }
    }

    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Info),
            2 => Some(Self::Warning),
            3 => Some(Self::Alarm),
            _ => None,
        }
    }

    /// `info`, `warning` or `alarm`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Alarm => "alarm",
        }
    }
}

/// Not a language tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a language is a tag such as en or pt-BR: letters, digits and hyphens, 35 at most")]
pub struct LanguageError;

/// A language tag (RFC 5646), by its letters alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Language(String);

impl Language {
    /// Takes 1 to 35 letters, digits and hyphens.
    ///
    /// # Errors
    /// [`LanguageError`].
    pub fn new(tag: &str) -> Result<Self, LanguageError> {
        let whole = !tag.is_empty()
            && tag.len() <= LANGUAGE_BYTES_MAX
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if whole {
            Ok(Self(tag.to_owned()))
        } else {
            Err(LanguageError)
        }
    }

    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// A new notice key. The first entry of each log; later ones put the next key in its place.
    Certificate {
        /// The operator's offline key: the same in every such entry.
        offline: PublicKey,
        /// The certificate, not yet checked.
        certificate: [u8; CERTIFICATE_BYTES],
    },
    /// For every guardian.
    Notice {
        /// How much it matters.
        severity: Severity,
        /// The language of the text.
        language: Language,
        /// 1 to [`OPERATOR_TEXT_CHARACTERS_MAX`] characters.
        text: String,
    },
    /// The relay is locked down until it is lifted.
    Lockdown {
        /// Why, for every guardian: 1 to [`OPERATOR_TEXT_CHARACTERS_MAX`] characters.
        reason: String,
        /// Every device makes its keys, grants and addresses anew.
        renew: bool,
    },
    /// The lockdown is over.
    Lift,
    /// The key under which tickets of an epoch are issued: one for everybody.
    IssuerKey {
        /// Which epoch.
        epoch: u32,
        /// The public key.
        key: [u8; 32],
    },
    /// The terms of the service changed.
    Terms {
        /// SHA-256 of their JSON.
        hash: [u8; 32],
    },
    /// Of a kind that a later version knows: part of the chain, and nothing else.
    Unknown {
        /// Its number.
        kind: u8,
        /// Its body.
        body: Vec<u8>,
    },
}

impl Statement {
    const fn kind(&self) -> u8 {
        match self {
            Self::Certificate { .. } => 1,
            Self::Notice { .. } => 2,
            Self::Lockdown { .. } => 3,
            Self::Lift => 4,
            Self::IssuerKey { .. } => 5,
            Self::Terms { .. } => 6,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), EntryError> {
        match self {
            Self::Certificate {
                offline,
                certificate,
            } => {
                bytes.extend_from_slice(offline.as_bytes());
                bytes.extend_from_slice(certificate);
            }
            Self::Notice {
                severity,
                language,
                text,
            } => {
                let length =
                    u8::try_from(language.0.len()).map_err(|_| EntryError::Field("language"))?;
                bytes.extend_from_slice(&[severity.number(), length]);
                bytes.extend_from_slice(language.0.as_bytes());
                bytes.extend_from_slice(checked(text)?.as_bytes());
            }
            Self::Lockdown { reason, renew } => {
                bytes.push(u8::from(*renew));
                bytes.extend_from_slice(checked(reason)?.as_bytes());
            }
            Self::Lift => {}
            Self::IssuerKey { epoch, key } => {
                bytes.extend_from_slice(&epoch.to_be_bytes());
                bytes.extend_from_slice(key);
            }
            Self::Terms { hash } => bytes.extend_from_slice(hash),
            Self::Unknown { body, .. } => bytes.extend_from_slice(body),
        }
        Ok(())
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader(body);
        let statement = match kind {
            1 => Self::Certificate {
                offline: PublicKey::new(reader.array().ok_or(EntryError::Length)?),
                certificate: reader.array().ok_or(EntryError::Length)?,
            },
            2 => {
                let severity = reader.byte().ok_or(EntryError::Length)?;
                let length = reader.byte().ok_or(EntryError::Length)?;
                let tag = reader.slice(length.into()).ok_or(EntryError::Length)?;
                let tag = core::str::from_utf8(tag).map_err(|_| EntryError::Field("language"))?;
                return Ok(Self::Notice {
                    severity: Severity::of(severity).ok_or(EntryError::Field("severity"))?,
                    language: Language::new(tag).map_err(|_| EntryError::Field("language"))?,
                    text: text(reader.rest())?,
                });
            }
            3 => {
                let renew = match reader.byte() {
                    Some(0) => false,
                    Some(1) => true,
                    _ => return Err(EntryError::Field("renewal")),
                };
                return Ok(Self::Lockdown {
                    reason: text(reader.rest())?,
                    renew,
                });
            }
            4 => Self::Lift,
            5 => Self::IssuerKey {
                epoch: reader.number().ok_or(EntryError::Length)?,
                key: reader.array().ok_or(EntryError::Length)?,
            },
            6 => Self::Terms {
                hash: reader.array().ok_or(EntryError::Length)?,
            },
            0 => return Err(EntryError::Field("kind")),
            kind => {
                return Ok(Self::Unknown {
                    kind,
                    body: body.to_vec(),
                });
            }
        };
        if reader.rest().is_empty() {
            Ok(statement)
        } else {
            Err(EntryError::Length)
        }
    }
}

fn checked(text: &str) -> Result<&str, EntryError> {
    let characters = text.chars().count();
    if (1..=OPERATOR_TEXT_CHARACTERS_MAX).contains(&characters) {
        Ok(text)
    } else {
        Err(EntryError::Field("text"))
    }
}

fn text(bytes: &[u8]) -> Result<String, EntryError> {
    let text = core::str::from_utf8(bytes).map_err(|_| EntryError::Field("text"))?;
    checked(text).map(str::to_owned)
}

/// An entry as its bytes say; who signed it is for [`OperatorLog`](super::OperatorLog) to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place, from 0.
    pub index: u64,
    /// The head before it: 32 zero bytes before the first.
    pub previous: [u8; 32],
    /// The day on which it was signed.
    pub day: Day,
    /// What it says.
    pub statement: Statement,
}

impl Entry {
    /// The exact bytes of this entry, signed by a notice key.
    ///
    /// # Errors
    /// [`EntryError::Field`] when a text is empty or too long.
    pub fn sign(&self, notice: &SecretKey) -> Result<Vec<u8>, EntryError> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.index.to_be_bytes());
        bytes.extend_from_slice(&self.previous);
        bytes.extend_from_slice(&self.day.0.to_be_bytes());
        bytes.push(self.statement.kind());
        self.statement.encode(&mut bytes)?;
        let signature = notice.sign(labels::SIGN_OPERATOR_ENTRY, &bytes);
        bytes.extend_from_slice(&signature);
        if bytes.len() > OPERATOR_ENTRY_BYTES_MAX {
            return Err(EntryError::Length);
        }
        Ok(bytes)
    }

    /// Reads an entry. Nothing in it is to be trusted yet.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > OPERATOR_ENTRY_BYTES_MAX {
            return Err(EntryError::Length);
        }
        let (signed, _) = split(bytes).ok_or(EntryError::Length)?;
        let mut reader = Reader(signed);
        match reader.byte() {
            Some(VERSION) => {}
            Some(version) => return Err(EntryError::Version(version)),
            None => return Err(EntryError::Length),
        }
        let (Some(index), Some(previous), Some(day), Some(kind)) = (
            reader.long(),
            reader.array(),
            reader.number(),
            reader.byte(),
        ) else {
            return Err(EntryError::Length);
        };
        Ok(Self {
            index,
            previous,
            day: Day(day),
            statement: Statement::decode(kind, reader.rest())?,
        })
    }
}

/// Whether `key` signed the entry `bytes`.
pub(super) fn verify(bytes: &[u8], key: &PublicKey) -> Result<(), SignatureError> {
    let (signed, signature) = split(bytes).ok_or(SignatureError)?;
    key.verify(labels::SIGN_OPERATOR_ENTRY, signed, signature)
}

/// The head of a log that ends with the entry `bytes`, which names the head before it.
#[must_use]
pub fn head(bytes: &[u8]) -> [u8; 32] {
    hash::labelled(labels::HASH_OPERATOR_HEAD, &[bytes])
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let signed = bytes.len().checked_sub(SIGNATURE_BYTES)?;
    bytes.split_at_checked(signed)
}
