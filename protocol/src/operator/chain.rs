//! Entries verified one after the other, and what they add up to (PROTOCOL §16.2).

use super::certificate::{CertificateError, NoticeCertificate};
use super::checkpoint::Checkpoint;
use super::entry::{self, Entry, EntryError, Statement};
use crate::day::Day;
use crate::limits::{OPERATOR_ISSUERS_MAX, OPERATOR_LOG_ENTRIES_MAX};
use crate::primitives::sign::{PublicKey, SecretKey};

/// Why an entry does not continue a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not an entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Not in its place.
    #[error("entry {found} of the operator's log came where entry {expected} belongs")]
    Index {
        /// The place that comes next.
        expected: u64,
        /// The place it names.
        found: u64,
    },
    /// Follows another entry than the one that is known.
    #[error("the entry follows another past than the operator's log that is known")]
    Fork,
    /// Of an earlier day than the entry before it.
    #[error("the entry is of an earlier day than the one before it")]
    Day,
    /// The first entry is no certificate, or names another offline key.
    #[error("the operator's log does not begin with the offline key that is known")]
    Offline,
    /// Its certificate is none.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate that is older than the one in force.
    #[error("the certificate is older than the one in force")]
    OldCertificate,
    /// Signed on a day on which its key might not.
    #[error("the entry is of a day for which its key is not certified")]
    Expired,
    /// Not signed by the notice key.
    #[error("the entry is not signed by the operator's notice key")]
    Signature,
    /// The log is full.
    #[error("the operator's log has no room for a further entry")]
    Full,
    /// The entries lead elsewhere than the checkpoint says.
    #[error("the entries lead elsewhere than the checkpoint says")]
    Elsewhere,
}

/// How long a log is, and its last hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Entries.
    pub size: u64,
    /// Hash of the last one; 32 zero bytes of an empty log.
    pub head: [u8; 32],
}

/// A published key of tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issuer {
    /// Whose epoch.
    pub epoch: u32,
    /// The key.
    pub key: [u8; 32],
}

/// What a verified log adds up to. The entries themselves need not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorLog {
    offline: PublicKey,
    position: Position,
    day: Day,
    certificate: Option<NoticeCertificate>,
    lockdown: Option<u64>,
    issuers: Vec<Issuer>,
    terms: Option<[u8; 32]>,
}

impl OperatorLog {
    /// The empty log of an operator.
    #[must_use]
    pub const fn new(offline: PublicKey) -> Self {
        Self {
            offline,
            position: Position {
                size: 0,
                head: [0; 32],
            },
            day: Day(0),
            certificate: None,
            lockdown: None,
            issuers: Vec::new(),
            terms: None,
        }
    }

    /// The offline key that a first entry names: for whoever has pinned none yet.
    ///
    /// # Errors
    /// [`LogError`] when it is no first entry that verifies under the key it names.
    pub fn offline_of(first: &[u8]) -> Result<PublicKey, LogError> {
        match Entry::parse(first)?.statement {
            Statement::Certificate { offline, .. } => {
                Self::new(offline).append(first)?;
                Ok(offline)
            }
            _ => Err(LogError::Offline),
        }
    }

    /// A log as a device kept it: what [`Self::position`], [`Self::day`], [`Self::certificate`],
    /// [`Self::lockdown`], [`Self::issuers`] and [`Self::terms`] said.
    ///
    /// # Errors
    /// [`CertificateError`] when the certificate does not verify.
    pub fn restore(
        offline: PublicKey,
        position: Position,
        day: Day,
        certificate: &[u8],
        lockdown: Option<u64>,
        issuers: Vec<Issuer>,
        terms: Option<[u8; 32]>,
    ) -> Result<Self, CertificateError> {
        let certificate = match certificate {
            [] => None,
            bytes => Some(NoticeCertificate::verify(bytes, &offline)?),
        };
        Ok(Self {
            offline,
            position,
            day,
            certificate,
            lockdown,
            issuers,
            terms,
        })
    }

    /// The operator's offline key.
    #[must_use]
    pub const fn offline(&self) -> &PublicKey {
        &self.offline
    }

    /// Entries and head.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The day of the last entry.
    #[must_use]
    pub const fn day(&self) -> Day {
        self.day
    }

    /// The notice key in force; `None` of an empty log.
    #[must_use]
    pub const fn certificate(&self) -> Option<&NoticeCertificate> {
        self.certificate.as_ref()
    }

    /// The index of the lockdown in force.
    #[must_use]
    pub const fn lockdown(&self) -> Option<u64> {
        self.lockdown
    }

    /// Keys of tickets, oldest first: the newest [`OPERATOR_ISSUERS_MAX`].
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// The key under which tickets of `epoch` are issued.
    #[must_use]
    pub fn issuer(&self, epoch: u32) -> Option<[u8; 32]> {
        let issuer = self.issuers.iter().find(|issuer| issuer.epoch == epoch)?;
        Some(issuer.key)
    }

    /// Hash of the terms in force.
    #[must_use]
    pub const fn terms(&self) -> Option<[u8; 32]> {
        self.terms
    }

    /// Signs the next entry, and adds it: its exact bytes.
    ///
    /// # Errors
    /// [`LogError`]; the log is as it was.
    pub fn write(
        &mut self,
        statement: Statement,
        day: Day,
        notice: &SecretKey,
    ) -> Result<Vec<u8>, LogError> {
        let entry = Entry {
            index: self.position.size,
            previous: self.position.head,
            day,
            statement,
        };
        let bytes = entry.sign(notice)?;
        self.append(&bytes)?;
        Ok(bytes)
    }

    /// Verifies the next entry, and adds it.
    ///
    /// # Errors
    /// [`LogError`]; the log is as it was.
    pub fn append(&mut self, bytes: &[u8]) -> Result<Entry, LogError> {
        let entry = Entry::parse(bytes)?;
        if entry.index != self.position.size {
            return Err(LogError::Index {
                expected: self.position.size,
                found: entry.index,
            });
        }
        if self.position.size >= OPERATOR_LOG_ENTRIES_MAX {
            return Err(LogError::Full);
        }
        if entry.previous != self.position.head {
            return Err(LogError::Fork);
        }
        if entry.day < self.day {
            return Err(LogError::Day);
        }
        let renewed = self.renewed(&entry)?;
        let signer = renewed.as_ref().or(self.certificate.as_ref());
        let signer = signer.ok_or(LogError::Offline)?;
        entry::verify(bytes, &signer.key).map_err(|_| LogError::Signature)?;
        if !signer.holds_on(entry.day) {
            return Err(LogError::Expired);
        }
        if renewed.is_some() {
            self.certificate = renewed;
        }
        self.fold(&entry);
        self.day = entry.day;
        self.position = Position {
            size: entry.index + 1,
            head: entry::head(bytes),
        };
        Ok(entry)
    }

    /// The certificate that an entry brings, checked. It signs the entry that brings it.
    fn renewed(&self, entry: &Entry) -> Result<Option<NoticeCertificate>, LogError> {
        let Statement::Certificate {
            offline,
            certificate,
        } = &entry.statement
        else {
            return Ok(None);
        };
        if *offline != self.offline {
            return Err(LogError::Offline);
        }
        let next = NoticeCertificate::verify(certificate, offline)?;
        match &self.certificate {
            Some(current) if next.serial <= current.serial => Err(LogError::OldCertificate),
            _ => Ok(Some(next)),
        }
    }

    fn fold(&mut self, entry: &Entry) {
        match &entry.statement {
            Statement::Lockdown { .. } => self.lockdown = Some(entry.index),
            Statement::Lift => self.lockdown = None,
            Statement::IssuerKey { epoch, key } => {
                self.issuers.retain(|issuer| issuer.epoch != *epoch);
                self.issuers.push(Issuer {
                    epoch: *epoch,
                    key: *key,
                });
                let over = self.issuers.len().saturating_sub(OPERATOR_ISSUERS_MAX);
                self.issuers.drain(..over);
            }
            Statement::Terms { hash } => self.terms = Some(*hash),
            Statement::Certificate { .. }
            | Statement::Notice { .. }
            | Statement::Unknown { .. } => {}
        }
    }
}

/// What entries from a known position on, and the checkpoint they came with, are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuation {
    /// They continue the log up to the checkpoint.
    Continued {
        /// The log at the checkpoint.
        log: OperatorLog,
        /// What is new, in order.
        entries: Vec<Entry>,
    },
    /// They continue it, and do not reach the checkpoint: ask for the rest.
    Partial {
        /// The log so far.
        log: OperatorLog,
        /// What is new, in order.
        entries: Vec<Entry>,
    },
    /// The operator signed another past than the known one.
    Forked,
}

/// Follows `entries`, which begin at `log`'s end, towards a verified checkpoint.
///
/// # Errors
/// [`LogError`] when they prove nothing: what a relay made up. A fork is only said when the entries
/// lead to the very head that the operator signed.
pub fn continue_log<B: AsRef<[u8]>>(
    log: &OperatorLog,
    entries: &[B],
    checkpoint: &Checkpoint,
) -> Result<Continuation, LogError> {
    let known = log.position();
    let mut next = log.clone();
    let mut read = Vec::new();
    for bytes in entries {
        match next.append(bytes.as_ref()) {
            Ok(entry) => read.push(entry),
            Err(LogError::Fork)
                if read.is_empty() && leads_to(known.size, entries, checkpoint.position) =>
            {
                return Ok(Continuation::Forked);
            }
            Err(error) => return Err(error),
        }
        if next.position().size == checkpoint.position.size {
            break;
        }
    }
    let reached = next.position();
    if reached.size < checkpoint.position.size {
        return match read.is_empty() {
            true => Err(LogError::Elsewhere),
            false => Ok(Continuation::Partial {
                log: next,
                entries: read,
            }),
        };
    }
    if reached == checkpoint.position {
        Ok(Continuation::Continued {
            log: next,
            entries: read,
        })
    } else if reached.size == checkpoint.position.size {
        // Both are signed by the operator, at one size.
        Ok(Continuation::Forked)
    } else {
        Err(LogError::Elsewhere)
    }
}

/// Whether `entries` are a chain that begins at `first` and ends at `position`.
fn leads_to<B: AsRef<[u8]>>(first: u64, entries: &[B], position: Position) -> bool {
    let mut before: Option<[u8; 32]> = None;
    for (index, bytes) in (first..).zip(entries) {
        let bytes = bytes.as_ref();
        let Ok(entry) = Entry::parse(bytes) else {
            return false;
        };
        if entry.index != index || before.is_some_and(|head| head != entry.previous) {
            return false;
        }
        let head = entry::head(bytes);
        if index + 1 == position.size {
            return head == position.head;
        }
        before = Some(head);
    }
    false
}
