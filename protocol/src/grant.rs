//! A grant: signed permission to put something into one mailbox (PROTOCOL §5).
//!
//! ```text
//! version 1 ‖ mailbox 16 ‖ serial 8 BE ‖ last day 4 BE ‖ revocation hash 32 ‖ signature 64  = 125 bytes
//! ```
//! The relay checks it without any state but the mailbox's grant key and the hashes of
//! revoked ones. Whoever publishes the preimage of the revocation hash revokes it.

use crate::day::Day;
use crate::ids::MailboxId;
use crate::labels;
use crate::primitives::sign::{PublicKey, SecretKey};
use crate::primitives::{hash, kdf};
use crate::secrets::Secret;

/// Bytes of an encoded grant.
pub const GRANT_BYTES: usize = 1 + 16 + 8 + 4 + 32 + 64;
const SIGNED_BYTES: usize = GRANT_BYTES - 64;
const VERSION: u8 = 1;

/// Why a grant is no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not [`GRANT_BYTES`] long.
    #[error("a grant is {GRANT_BYTES} bytes long")]
    Length,
    /// A version this code does not know.
    #[error("the grant has version {0}, which is not known here")]
    Version(u8),
    /// For another mailbox.
    #[error("the grant is for another mailbox")]
    Mailbox,
    /// Past its last day.
    #[error("the grant has expired")]
    Expired,
    /// Not signed by the mailbox's grant key.
    #[error("the grant is not signed by its mailbox")]
    Signature,
}

/// A grant as it came off the wire: nothing in it is trusted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantIn {
    bytes: [u8; GRANT_BYTES],
}

/// A grant whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The mailbox it opens for deliveries.
    pub mailbox: MailboxId,
    /// Which of the mailbox's grants this is.
    pub serial: u64,
    /// The last day it is good for.
    pub last_day: Day,
    /// `SHA-256(label ‖ secret)` of the secret that revokes it.
    pub revocation_hash: [u8; 32],
}

impl GrantIn {
    /// Takes exactly [`GRANT_BYTES`] bytes of a known version.
    ///
    /// # Errors
    /// [`GrantError::Length`] or [`GrantError::Version`].
    pub fn parse(bytes: &[u8]) -> Result<Self, GrantError> {
        let bytes: [u8; GRANT_BYTES] = bytes.try_into().map_err(|_| GrantError::Length)?;
        match bytes {
            [VERSION, ..] => Ok(Self { bytes }),
            [version, ..] => Err(GrantError::Version(version)),
        }
    }

    /// Takes bytes that [`Grant::sign`] just made.
    #[must_use]
    pub const fn from_signed(bytes: [u8; GRANT_BYTES]) -> Self {
        Self { bytes }
    }

    /// The mailbox it claims to be for.
    #[must_use]
    pub fn mailbox(&self) -> MailboxId {
        self.fields().mailbox
    }

    /// The day it claims to be good until.
    #[must_use]
    pub fn last_day(&self) -> Day {
        self.fields().last_day
    }

    /// The revocation hash it claims.
    #[must_use]
    pub fn revocation_hash(&self) -> [u8; 32] {
        self.fields().revocation_hash
    }

    /// The encoded bytes, for a cache of checked grants.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; GRANT_BYTES] {
        &self.bytes
    }

    /// Checks mailbox, day and signature. Whether it was revoked is the relay's to know.
    ///
    /// # Errors
    /// [`GrantError::Mailbox`], [`GrantError::Expired`], [`GrantError::Signature`].
    pub fn verify(
        &self,
        key: &PublicKey,
        mailbox: &MailboxId,
        today: Day,
    ) -> Result<Grant, GrantError> {
        let grant = self.fields();
        if grant.mailbox != *mailbox {
            return Err(GrantError::Mailbox);
        }
        if grant.last_day < today {
            return Err(GrantError::Expired);
        }
        let (signed, signature) = self.bytes.split_at(SIGNED_BYTES);
        key.verify(labels::SIGN_GRANT, signed, signature)
            .map_err(|_| GrantError::Signature)?;
        Ok(grant)
    }

    fn fields(&self) -> Grant {
        let rest = &self.bytes;
        let (_, rest) = rest.split_at(1);
        let (mailbox, rest) = take::<16>(rest);
        let (serial, rest) = take::<8>(rest);
        let (last_day, rest) = take::<4>(rest);
        let (revocation_hash, _) = take::<32>(rest);
        Grant {
            mailbox: MailboxId::new(mailbox),
            serial: u64::from_be_bytes(serial),
            last_day: Day(u32::from_be_bytes(last_day)),
            revocation_hash,
        }
    }
}

/// Splits off `N` bytes; the caller's fixed layout guarantees that they are there.
fn take<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    match bytes.split_first_chunk::<N>() {
        Some((head, rest)) => (*head, rest),
        None => ([0; N], &[]),
    }
}

impl Grant {
    /// Signs the grant with the mailbox's grant key.
    #[must_use]
    pub fn sign(&self, key: &SecretKey) -> [u8; GRANT_BYTES] {
        let mut bytes = Vec::with_capacity(GRANT_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.mailbox.as_bytes());
        bytes.extend_from_slice(&self.serial.to_be_bytes());
        bytes.extend_from_slice(&self.last_day.0.to_be_bytes());
        bytes.extend_from_slice(&self.revocation_hash);
        let signature = key.sign(labels::SIGN_GRANT, &bytes);
        bytes.extend_from_slice(&signature);
        bytes.try_into().unwrap_or([0; GRANT_BYTES])
    }
}

/// The revocation secret of one address of a device: derived, so that guardians who hold
/// the seed can revoke while the device is off.
#[must_use]
pub fn revocation_secret(
    seed: &Secret<32>,
    conversation: &[u8],
    address_number: u64,
) -> Secret<32> {
    kdf::derive(
        seed.expose(),
        labels::KDF_REVOCATION,
        &[conversation, &address_number.to_be_bytes()],
    )
}

/// The hash that stands in the grant for `secret`.
#[must_use]
pub fn revocation_hash(secret: &[u8]) -> [u8; 32] {
    hash::labelled(labels::HASH_REVOCATION, &[secret])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{GRANT_BYTES, Grant, GrantError, GrantIn, revocation_hash};
    use crate::day::Day;
    use crate::ids::MailboxId;
    use crate::primitives::sign::SecretKey;

    fn grant() -> Grant {
        Grant {
            mailbox: MailboxId::new([5; 16]),
            serial: 3,
            last_day: Day(20_000),
            revocation_hash: revocation_hash(&[8; 32]),
        }
    }

    #[test]
    fn round_trip() {
        let key = SecretKey::from_seed(&[1; 32]);
        let read = GrantIn::parse(&grant().sign(&key)).unwrap();
        assert_eq!(
            read.verify(&key.public(), &MailboxId::new([5; 16]), Day(20_000)),
            Ok(grant())
        );
    }

    #[test]
    fn refused_when_expired_of_another_mailbox_or_of_another_key() {
        let key = SecretKey::from_seed(&[1; 32]);
        let read = GrantIn::parse(&grant().sign(&key)).unwrap();
        let mailbox = MailboxId::new([5; 16]);
        assert_eq!(
            read.verify(&key.public(), &mailbox, Day(20_001)),
            Err(GrantError::Expired)
        );
        assert_eq!(
            read.verify(&key.public(), &MailboxId::new([6; 16]), Day(1)),
            Err(GrantError::Mailbox)
        );
        let other = SecretKey::from_seed(&[2; 32]).public();
        assert_eq!(
            read.verify(&other, &mailbox, Day(1)),
            Err(GrantError::Signature)
        );
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let key = SecretKey::from_seed(&[1; 32]);
        let good = grant().sign(&key);
        for at in 0..GRANT_BYTES {
            let mut bad = good;
            bad[at] ^= 1;
            let result = GrantIn::parse(&bad)
                .and_then(|g| g.verify(&key.public(), &MailboxId::new([5; 16]), Day(1)));
            assert!(result.is_err(), "byte {at}");
        }
        assert_eq!(GrantIn::parse(&good[1..]), Err(GrantError::Length));
        assert_eq!(
            GrantIn::parse(&[9; GRANT_BYTES]),
            Err(GrantError::Version(9))
        );
    }
}
