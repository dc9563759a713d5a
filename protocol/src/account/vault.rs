//! The vault: what a guardian needs to come back after losing every phone, in two parts
//! (PROTOCOL §15).
//!
//! The first opens with OPAQUE's export key: where the family's devices are reached, and a key that
//! can ask to come back. The second opens with export key and printed recovery code together: a key
//! that comes back. Both stand in the family log and sign nothing else, so whoever guesses the
//! password can ask, visibly, and no more.
//!
//! ```text
//! part   = Seal(key, label ‖ account 32 ‖ version 8 BE ‖ part 1, padded)
//! padded = length 4 BE ‖ message ‖ zeros, so that nonce, padded and tag are a Padmé size class
//! ```

use bytes::Bytes;
use prost::Message;
use zeroize::{Zeroize as _, Zeroizing};

use super::VAULT_PART_BYTES_MAX;
use crate::ids::{AccountId, FamilyId, MemberId};
use crate::primitives::{aead, hash};
use crate::secrets::Secret;
use crate::{labels, padme, wire};

/// Version of both parts.
const VERSION: u32 = 1;
/// Bytes of a nonce and a tag.
const SEAL_BYTES: usize = 24 + 16;
/// Devices of a family that a vault names: as many as its conversation can have.
pub const VAULT_ADDRESSES_MAX: usize = crate::limits::CONVERSATION_LEAVES_MAX;
/// Links with other families that a vault names; with 16 devices each of some 200 bytes they and
/// the family stay below [`VAULT_PART_BYTES_MAX`].
pub const VAULT_LINKS_MAX: usize = 16;
/// Devices of one other family that a vault names.
pub const VAULT_LINK_ADDRESSES_MAX: usize = 16;
const _: () = assert!(
    (VAULT_ADDRESSES_MAX + VAULT_LINKS_MAX * VAULT_LINK_ADDRESSES_MAX) * 220 + 1_024
        <= VAULT_PART_BYTES_MAX
);

/// Why a vault does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The relay has none.
    #[error("this account has no vault yet: nothing was put by to come back with")]
    None,
    /// The first part does not open.
    #[error("the vault does not open: it was damaged, swapped, or is of another account")]
    Password,
    /// The second part does not open.
    #[error("this recovery code does not fit this account: a newer one may have been printed")]
    Code,
    /// There is no second part.
    #[error("no recovery code was ever made for this account")]
    NoCode,
    /// It opens and makes no sense.
    #[error("the vault opens but is damaged, or of a version that is not known here")]
    Damaged,
    /// More than fits.
    #[error("the vault would become larger than {VAULT_PART_BYTES_MAX} bytes")]
    TooLarge,
}

/// Which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Request = 1,
    Recovery = 2,
}

/// The keys that seal a vault. A phone keeps them; they don't log in.
#[derive(Clone, PartialEq, Eq)]
pub struct VaultKeys {
    /// Seals the first part.
    pub request: Secret<32>,
    /// Seals the second part; `None`: there is no recovery code.
    pub recovery: Option<Secret<32>>,
}

impl core::fmt::Debug for VaultKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[secret]")
    }
}

/// What the first part holds.
pub type RequestPart = wire::VaultRequestPart;
/// What the second part holds.
pub type RecoveryPart = wire::VaultRecoveryPart;

/// A vault that was opened.
#[derive(Clone, PartialEq)]
pub struct OpenedVault {
    /// Its version.
    pub version: u64,
    /// The first part.
    pub request: RequestPart,
    /// The second, when the recovery code is there.
    pub recovery: Option<RecoveryPart>,
}

impl core::fmt::Debug for OpenedVault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OpenedVault")
            .field("version", &self.version)
            .field("recovery", &self.recovery.is_some())
            .finish_non_exhaustive()
    }
}

/// Seals both parts under a version. Without a recovery key the second holds noise of its size:
/// the relay does not see who has printed a code.
///
/// # Errors
/// [`VaultError::TooLarge`].
pub fn seal_vault(
    account: &AccountId,
    version: u64,
    keys: &VaultKeys,
    request: &RequestPart,
    recovery: &RecoveryPart,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<wire::Vault, VaultError> {
    let request = RequestPart {
        version: VERSION,
        ..request.clone()
    };
    let request = request.encode_to_vec();
    let recovery = RecoveryPart {
        version: VERSION,
        request_digest: request_digest(&request).to_vec().into(),
        ..recovery.clone()
    };
    let nobodys = Secret::random(rng);
    let second = keys.recovery.as_ref().unwrap_or(&nobodys);
    let mut seal = |key: &Secret<32>, part: Part, message: Vec<u8>| {
        let padded = pad(message)?;
        let sealed = aead::seal(key, &associated(account, version, part), &padded, rng);
        Ok::<bytes::Bytes, VaultError>(sealed.into())
    };
    Ok(wire::Vault {
        version,
        request_part: seal(&keys.request, Part::Request, request)?,
        recovery_part: seal(second, Part::Recovery, recovery.encode_to_vec())?,
    })
}

/// Opens a vault; the second part when there is a key for it.
///
/// # Errors
/// [`VaultError`].
pub fn open_vault(
    account: &AccountId,
    keys: &VaultKeys,
    vault: &wire::Vault,
) -> Result<OpenedVault, VaultError> {
    let too_long = |part: &bytes::Bytes| part.len() > VAULT_PART_BYTES_MAX;
    if vault.version == 0 {
        return Err(VaultError::None);
    }
    if too_long(&vault.request_part) || too_long(&vault.recovery_part) {
        return Err(VaultError::Damaged);
    }
    let open = |key: &Secret<32>, part: Part, sealed: &[u8]| {
        let padded = aead::open(key, &associated(account, vault.version, part), sealed).ok()?;
        Some(Zeroizing::new(padded))
    };
    let padded = open(&keys.request, Part::Request, &vault.request_part);
    let padded = padded.ok_or(VaultError::Password)?;
    let message = unpad(&padded)?;
    let digest = request_digest(message);
    let request = RequestPart::decode(message).map_err(|_| VaultError::Damaged)?;
    let sound = request.version == VERSION
        && FamilyId::try_from(&request.family).is_ok()
        && MemberId::try_from(&request.member).is_ok()
        && request.head.len() == 32
        && request.request_seed.len() == 32
        && request.addresses.len() <= VAULT_ADDRESSES_MAX
        && request.links.len() <= VAULT_LINKS_MAX;
    if !sound {
        return Err(VaultError::Damaged);
    }
    let recovery = match &keys.recovery {
        None => None,
        Some(_) if !request.code => return Err(VaultError::NoCode),
        Some(key) => {
            let padded = open(key, Part::Recovery, &vault.recovery_part);
            let padded = padded.ok_or(VaultError::Code)?;
            let part = RecoveryPart::decode(unpad(&padded)?).map_err(|_| VaultError::Damaged)?;
            let same = part.family == request.family
                && part.member == request.member
                && part.request_digest.as_ref() == digest;
            if part.version != VERSION || !same || part.recovery_seed.len() != 32 {
                return Err(VaultError::Damaged);
            }
            Some(part)
        }
    };
    Ok(OpenedVault {
        version: vault.version,
        request,
        recovery,
    })
}

/// Binds the first part to the second: who has only the password can write another first part, and
/// would lead its owner elsewhere.
fn request_digest(message: &[u8]) -> [u8; 32] {
    hash::labelled(labels::HASH_KEPT, &[message])
}

/// Tells whether what a vault holds has changed: over all but its day, so that time alone
/// changes nothing.
#[must_use]
pub fn vault_digest(keys: &VaultKeys, request: &RequestPart, recovery: &RecoveryPart) -> [u8; 32] {
    let mut request = RequestPart {
        day: 0,
        ..request.clone()
    }
    .encode_to_vec();
    let mut recovery = RecoveryPart {
        request_digest: Bytes::new(),
        ..recovery.clone()
    }
    .encode_to_vec();
    let code = keys.recovery.as_ref().map_or(&[][..], |key| key.expose());
    let digest = hash::labelled(
        labels::HASH_KEPT,
        &[keys.request.expose(), code, &request, &recovery],
    );
    request.zeroize();
    recovery.zeroize();
    digest
}

fn associated(account: &AccountId, version: u64, part: Part) -> Vec<u8> {
    [
        labels::AEAD_VAULT,
        account.as_bytes(),
        &version.to_be_bytes(),
        &[part as u8],
    ]
    .concat()
}

fn pad(mut message: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let len = u32::try_from(message.len()).map_err(|_| VaultError::TooLarge)?;
    let whole = message.len().saturating_add(4 + SEAL_BYTES) as u64;
    let class = usize::try_from(padme::class(whole)).map_err(|_| VaultError::TooLarge)?;
    if class > VAULT_PART_BYTES_MAX {
        return Err(VaultError::TooLarge);
    }
    let mut padded = Zeroizing::new(Vec::with_capacity(class));
    padded.extend_from_slice(&len.to_be_bytes());
    padded.extend_from_slice(&message);
    padded.resize(class - SEAL_BYTES, 0);
    message.zeroize();
    Ok(padded)
}

fn unpad(padded: &[u8]) -> Result<&[u8], VaultError> {
    let (len, rest) = padded.split_first_chunk::<4>().ok_or(VaultError::Damaged)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| VaultError::Damaged)?;
    let (message, zeros) = rest.split_at_checked(len).ok_or(VaultError::Damaged)?;
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(VaultError::Damaged);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{
        RecoveryPart, RequestPart, VaultError, VaultKeys, open_vault, seal_vault, vault_digest,
    };
    use crate::ids::AccountId;
    use crate::padme;
    use crate::secrets::Secret;
    use crate::wire;
    use prost::Message as _;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn keys(code: bool) -> VaultKeys {
        VaultKeys {
            request: Secret::new([1; 32]),
            recovery: code.then(|| Secret::new([2; 32])),
        }
    }

    fn request(code: bool) -> RequestPart {
        RequestPart {
            version: 1,
            family: vec![3; 16].into(),
            member: vec![4; 16].into(),
            head: vec![5; 32].into(),
            request_seed: vec![6; 32].into(),
            day: 7,
            code,
            ..RequestPart::default()
        }
    }

    fn recovery() -> RecoveryPart {
        RecoveryPart {
            version: 1,
            family: vec![3; 16].into(),
            member: vec![4; 16].into(),
            recovery_seed: vec![8; 32].into(),
            request_digest: super::request_digest(&request(true).encode_to_vec())
                .to_vec()
                .into(),
        }
    }

    fn sealed(code: bool, version: u64) -> wire::Vault {
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let account = AccountId::new([10; 32]);
        seal_vault(
            &account,
            version,
            &keys(code),
            &request(code),
            &recovery(),
            &mut rng,
        )
        .unwrap()
    }

    #[test]
    fn both_parts_come_back_and_are_of_a_size_class() {
        let account = AccountId::new([10; 32]);
        let vault = sealed(true, 5);
        assert!(padme::is_class(vault.request_part.len() as u64));
        assert!(padme::is_class(vault.recovery_part.len() as u64));
        let opened = open_vault(&account, &keys(true), &vault).unwrap();
        assert_eq!(opened.version, 5);
        assert_eq!(opened.request, request(true));
        assert_eq!(opened.recovery, Some(recovery()));
        let asked = open_vault(&account, &keys(false), &vault).unwrap();
        assert_eq!(
            asked.recovery, None,
            "the password alone opens the first part"
        );
    }

    #[test]
    fn who_has_a_code_is_not_seen_by_the_relay() {
        let (with, without) = (sealed(true, 5), sealed(false, 5));
        assert_eq!(with.recovery_part.len(), without.recovery_part.len());
        assert_eq!(with.request_part.len(), without.request_part.len());
        let account = AccountId::new([10; 32]);
        let error = open_vault(&account, &keys(true), &without).unwrap_err();
        assert_eq!(error, VaultError::NoCode);
    }

    #[test]
    fn another_account_version_part_or_key_opens_nothing() {
        let account = AccountId::new([10; 32]);
        let vault = sealed(true, 5);
        let other = AccountId::new([11; 32]);
        assert_eq!(
            open_vault(&other, &keys(true), &vault).unwrap_err(),
            VaultError::Password
        );
        let older = wire::Vault {
            version: 6,
            ..vault.clone()
        };
        assert_eq!(
            open_vault(&account, &keys(true), &older).unwrap_err(),
            VaultError::Password
        );
        let swapped = wire::Vault {
            request_part: vault.recovery_part.clone(),
            recovery_part: vault.request_part.clone(),
            ..vault.clone()
        };
        assert!(open_vault(&account, &keys(true), &swapped).is_err());
        let wrong = VaultKeys {
            recovery: Some(Secret::new([3; 32])),
            ..keys(true)
        };
        assert_eq!(
            open_vault(&account, &wrong, &vault).unwrap_err(),
            VaultError::Code
        );
        let mixed = wire::Vault {
            recovery_part: sealed(true, 4).recovery_part,
            ..vault
        };
        assert_eq!(
            open_vault(&account, &keys(true), &mixed).unwrap_err(),
            VaultError::Code,
            "the parts of two versions don't go together"
        );
    }

    #[test]
    fn every_changed_byte_is_noticed_and_none_panics() {
        let account = AccountId::new([10; 32]);
        let vault = sealed(true, 5);
        for at in 0..vault.request_part.len() {
            let mut part = vault.request_part.to_vec();
            part[at] ^= 1;
            let changed = wire::Vault {
                request_part: part.into(),
                ..vault.clone()
            };
            assert!(open_vault(&account, &keys(true), &changed).is_err());
        }
        for len in [0, 1, 39, 40, 44] {
            let short = wire::Vault {
                request_part: vault.request_part.slice(..len),
                ..vault.clone()
            };
            assert!(open_vault(&account, &keys(true), &short).is_err());
        }
    }

    #[test]
    fn a_digest_tells_changes_and_not_days() {
        let digest = |request: &RequestPart| vault_digest(&keys(true), request, &recovery());
        let later = RequestPart {
            day: 8,
            ..request(true)
        };
        assert_eq!(digest(&request(true)), digest(&later));
        let moved = RequestPart {
            head: vec![6; 32].into(),
            ..request(true)
        };
        assert_ne!(digest(&request(true)), digest(&moved));
        assert_ne!(
            digest(&request(true)),
            vault_digest(&keys(false), &request(true), &recovery())
        );
    }
}
