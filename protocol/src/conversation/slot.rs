//! A commit under its seal, as the relay keeps it in a slot (PROTOCOL §6.3).
//!
//! Sealed under the key of the epoch that the commit leaves, signed inside by who offered
//! it, padded to a Padmé class: `XChaCha( length 4 BE ‖ SlotContent ‖ zeros )`.

use prost::Message;

use crate::faults::{Fault, planted};
use crate::ids::{DeviceId, IdLengthError, SlotToken};
use crate::labels;
use crate::limits;
use crate::padme;
use crate::primitives::aead;
use crate::primitives::sign::{PublicKey, SecretKey, SignatureError};
use crate::secrets::Secret;
use crate::wire;

/// Why a slot's bytes are no commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Larger than [`limits::COMMIT_BYTES_MAX`].
    #[error("the commit is too large")]
    TooLarge,
    /// Does not open.
    #[error("the commit slot is filled with something that does not open")]
    Sealed(#[from] aead::OpenError),
    /// Opens, but is damaged.
    #[error("the commit slot is filled with something damaged")]
    Malformed,
    /// Names no device.
    #[error("the commit slot names no device")]
    Device(#[from] IdLengthError),
    /// The device is no member of this epoch.
    #[error("the commit was offered by a device that is not in the conversation")]
    Stranger,
    /// Not signed by the device that it names.
    #[error("the commit is not signed by the device that offered it")]
    Signature(#[from] SignatureError),
}

fn associated_data(token: &SlotToken) -> Vec<u8> {
    [labels::AEAD_COMMIT, token.as_bytes()].concat()
}

fn signed(token: &SlotToken, commit: &[u8]) -> Vec<u8> {
    [token.as_bytes().as_slice(), commit].concat()
}

/// Seals a commit for its slot.
///
/// # Errors
/// [`SlotError::TooLarge`].
pub fn seal_commit(
    commit: &[u8],
    token: &SlotToken,
    key: &Secret<32>,
    device: DeviceId,
    signer: &SecretKey,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<Vec<u8>, SlotError> {
    let content = wire::SlotContent {
        commit: commit.to_vec().into(),
        device: device.to_bytes(),
        signature: signer
            .sign(labels::SIGN_COMMIT, &signed(token, commit))
            .to_vec()
            .into(),
    }
    .encode_to_vec();
    let length = u32::try_from(content.len()).map_err(|_| SlotError::TooLarge)?;
    let class = padme::class((content.len() + 4 + aead::OVERHEAD_BYTES) as u64);
    let class = usize::try_from(class).map_err(|_| SlotError::TooLarge)?;
    if class > limits::COMMIT_BYTES_MAX {
        return Err(SlotError::TooLarge);
    }
    let mut plain = length.to_be_bytes().to_vec();
    plain.extend_from_slice(&content);
    plain.resize(class - aead::OVERHEAD_BYTES, 0);
    Ok(aead::seal(key, &associated_data(token), &plain, rng))
}

/// Opens a slot; `key_of` finds the leaf key of a member of this epoch.
///
/// # Errors
/// [`SlotError`]: a slot filled with something void, which only a member can have done.
pub fn open_commit(
    sealed: &[u8],
    token: &SlotToken,
    key: &Secret<32>,
    key_of: impl FnOnce(DeviceId) -> Option<PublicKey>,
) -> Result<(DeviceId, Vec<u8>), SlotError> {
    if sealed.len() > limits::COMMIT_BYTES_MAX {
        return Err(SlotError::TooLarge);
    }
    let plain = aead::open(key, &associated_data(token), sealed)?;
    let (length, rest) = plain.split_first_chunk::<4>().ok_or(SlotError::Malformed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SlotError::Malformed)?;
    let content = rest.get(..length).ok_or(SlotError::Malformed)?;
    let content = wire::SlotContent::decode(content).map_err(|_| SlotError::Malformed)?;
    let device = DeviceId::try_from(&content.device)?;
    let leaf_key = key_of(device).ok_or(SlotError::Stranger)?;
    if !planted(Fault::SlotSignature) {
        leaf_key.verify(
            labels::SIGN_COMMIT,
            &signed(token, &content.commit),
            &content.signature,
        )?;
    }
    Ok((device, content.commit.to_vec()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{SlotError, open_commit, seal_commit};
    use crate::ids::{DeviceId, SlotToken};
    use crate::padme;
    use crate::primitives::sign::SecretKey;
    use crate::secrets::Secret;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn opens_for_its_token_key_and_signer_only() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (token, key, device) = (
            SlotToken::new([2; 16]),
            Secret::new([3; 32]),
            DeviceId::new([4; 16]),
        );
        let signer = SecretKey::from_seed(&[5; 32]);
        let sealed = seal_commit(b"commit", &token, &key, device, &signer, &mut rng).unwrap();
        assert!(padme::is_class(sealed.len() as u64));
        let open = |token: &SlotToken, key: &Secret<32>, public| {
            open_commit(&sealed, token, key, |_| public)
        };
        assert_eq!(
            open(&token, &key, Some(signer.public())),
            Ok((device, b"commit".to_vec()))
        );
        assert!(matches!(
            open(&SlotToken::new([9; 16]), &key, None),
            Err(SlotError::Sealed(_))
        ));
        assert!(matches!(
            open(&token, &Secret::new([9; 32]), None),
            Err(SlotError::Sealed(_))
        ));
        assert_eq!(open(&token, &key, None), Err(SlotError::Stranger));
        let other = SecretKey::from_seed(&[6; 32]).public();
        assert!(matches!(
            open(&token, &key, Some(other)),
            Err(SlotError::Signature(_))
        ));
    }
}
