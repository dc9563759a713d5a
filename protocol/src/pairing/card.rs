//! The card with which a family shows itself to another one, proven to come from whoever holds
//! the guardian's keys.
//!
//! Which keys those are, the entries of the card's log say: they are read first (PROTOCOL §7),
//! and its `guardian` must be a guardian there, its `device` a device of that guardian. `proof`
//! and `identity_proof` are signatures over `label ‖ handshake hash 32`: made for this channel,
//! worthless in any other.

use bytes::Bytes;

use crate::ids::{DeviceId, FamilyId, IdLengthError, MemberId};
use crate::labels;
use crate::limits::NAME_BYTES_MAX;
use crate::primitives::sign::{PublicKey, SecretKey, SignatureError};
use crate::wire::FamilyCard;

/// Key packages in one card: for the link of the guardians, and a few for what follows.
pub const CARD_KEY_PACKAGES_MAX: usize = 16;

/// Why a card is not the other family's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// An id has the wrong length.
    #[error("the other family's card is damaged")]
    Id(#[from] IdLengthError),
    /// A name that is empty or too long.
    #[error("the other family's name must have between 1 and {NAME_BYTES_MAX} bytes, not {bytes}")]
    Name {
        /// Bytes it has.
        bytes: usize,
    },
    /// Nothing of its log is shown.
    #[error("the other family shows nothing of its log")]
    NoLog,
    /// No key package, or too many.
    #[error(
        "the other family's card brings {count} key packages; between 1 and {CARD_KEY_PACKAGES_MAX} are needed"
    )]
    KeyPackages {
        /// How many it brings.
        count: usize,
    },
    /// A signature does not fit this channel.
    #[error("the other guardian does not prove to hold its {key}")]
    Signature {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        source: SignatureError,
    },
}

/// The ids that a card claims, well-formed; nothing is proven yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardClaims {
    /// The family.
    pub family: FamilyId,
    /// The guardian who meets.
    pub guardian: MemberId,
    /// On this device.
    pub device: DeviceId,
}

const SIGNATURE_KEY: &str = "device's signature key";
const IDENTITY_KEY: &str = "identity key";

/// Puts the two proofs for this channel into `card`.
pub fn sign_card(
    card: &mut FamilyCard,
    device: &SecretKey,
    identity: &SecretKey,
    handshake_hash: &[u8; 32],
) {
    let proof =
        |key: &SecretKey| Bytes::copy_from_slice(&key.sign(labels::SIGN_MEETING, handshake_hash));
    card.proof = proof(device);
    card.identity_proof = proof(identity);
}

/// Checks a card's form, before its log is read.
///
/// # Errors
/// [`CardError`], naming what is wrong.
pub fn check_card(card: &FamilyCard) -> Result<CardClaims, CardError> {
    let claims = CardClaims {
        family: FamilyId::try_from(&card.family)?,
        guardian: MemberId::try_from(&card.guardian)?,
        device: DeviceId::try_from(&card.device)?,
    };
    let bytes = card.family_name.len();
    if bytes == 0 || bytes > NAME_BYTES_MAX {
        return Err(CardError::Name { bytes });
    }
    if card.entries.is_empty() {
        return Err(CardError::NoLog);
    }
    let count = card.key_packages.len();
    if count == 0 || count > CARD_KEY_PACKAGES_MAX {
        return Err(CardError::KeyPackages { count });
    }
    Ok(claims)
}

/// Checks a card's form and both proofs against the keys that its log gives to
/// [`CardClaims::device`] and [`CardClaims::guardian`], and against the channel it came through.
///
/// # Errors
/// [`CardError`], naming what is wrong.
pub fn verify_card(
    card: &FamilyCard,
    device: &PublicKey,
    identity: &PublicKey,
    handshake_hash: &[u8; 32],
) -> Result<CardClaims, CardError> {
    let claims = check_card(card)?;
    for (key, public, proof) in [
        (SIGNATURE_KEY, device, &card.proof),
        (IDENTITY_KEY, identity, &card.identity_proof),
    ] {
        public
            .verify(labels::SIGN_MEETING, handshake_hash, proof)
            .map_err(|source| CardError::Signature { key, source })?;
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;

    use super::{
        CARD_KEY_PACKAGES_MAX, CardError, IDENTITY_KEY, SIGNATURE_KEY, sign_card, verify_card,
    };
    use crate::labels;
    use crate::primitives::sign::{SecretKey, SignatureError};
    use crate::wire::{FamilyCard, LogEntry};

    const HASH: [u8; 32] = [4; 32];

    fn keys() -> (SecretKey, SecretKey) {
        (
            SecretKey::from_seed(&[1; 32]),
            SecretKey::from_seed(&[2; 32]),
        )
    }

    fn card() -> FamilyCard {
        let (device, identity) = keys();
        let mut card = FamilyCard {
            family: Bytes::from_static(&[5; 16]),
            family_name: "Reed".into(),
            entries: vec![LogEntry::default()],
            guardian: Bytes::from_static(&[6; 16]),
            device: Bytes::from_static(&[7; 16]),
            key_packages: vec![Bytes::from_static(b"package")],
            ..FamilyCard::default()
        };
        sign_card(&mut card, &device, &identity, &HASH);
        card
    }

    fn verify(card: &FamilyCard, hash: &[u8; 32]) -> Result<super::CardClaims, CardError> {
        let (device, identity) = keys();
        verify_card(card, &device.public(), &identity.public(), hash)
    }

    const fn refused(key: &'static str) -> CardError {
        CardError::Signature {
            key,
            source: SignatureError,
        }
    }

    #[test]
    fn honest_cards_verify() {
        let claims = verify(&card(), &HASH).unwrap();
        assert_eq!(claims.family.as_bytes(), &[5; 16]);
        assert_eq!(claims.guardian.as_bytes(), &[6; 16]);
        assert_eq!(claims.device.as_bytes(), &[7; 16]);
    }

    #[test]
    fn a_proof_of_another_channel_key_or_use_is_refused() {
        assert_eq!(verify(&card(), &[5; 32]), Err(refused(SIGNATURE_KEY)));
        let mut swapped = card();
        std::mem::swap(&mut swapped.proof, &mut swapped.identity_proof);
        assert_eq!(verify(&swapped, &HASH), Err(refused(SIGNATURE_KEY)));
        let mut doubled = card();
        doubled.identity_proof = doubled.proof.clone();
        assert_eq!(verify(&doubled, &HASH), Err(refused(IDENTITY_KEY)));
        let mut pairing = card();
        let (_, identity) = keys();
        pairing.identity_proof =
            Bytes::copy_from_slice(&identity.sign(labels::SIGN_PAIRING, &HASH));
        assert_eq!(verify(&pairing, &HASH), Err(refused(IDENTITY_KEY)));
        let mut missing = card();
        missing.proof = Bytes::new();
        assert_eq!(verify(&missing, &HASH), Err(refused(SIGNATURE_KEY)));
    }

    #[test]
    fn bounds_are_checked() {
        type Change = fn(&mut FamilyCard);
        let changes: [(Change, CardError); 5] = [
            (
                |card| card.family_name.clear(),
                CardError::Name { bytes: 0 },
            ),
            (
                |card| card.family_name = "x".repeat(129),
                CardError::Name { bytes: 129 },
            ),
            (|card| card.entries.clear(), CardError::NoLog),
            (
                |card| card.key_packages.clear(),
                CardError::KeyPackages { count: 0 },
            ),
            (
                |card| card.key_packages = vec![Bytes::new(); CARD_KEY_PACKAGES_MAX + 1],
                CardError::KeyPackages { count: 17 },
            ),
        ];
        for (change, error) in changes {
            let mut card = card();
            change(&mut card);
            assert_eq!(verify(&card, &HASH), Err(error));
        }
        let shorter: [Change; 3] = [
            |card| card.family.truncate(15),
            |card| card.guardian.truncate(15),
            |card| card.device.clear(),
        ];
        for change in shorter {
            let mut card = card();
            change(&mut card);
            assert!(matches!(verify(&card, &HASH), Err(CardError::Id(_))));
        }
    }
}
