//! The new device's request, proven to come from whoever holds the keys in it.
//!
//! `proof` and `identity_proof` are signatures over `label ‖ handshake hash 32`: made for this
//! channel, worthless in any other, so nobody can bring somebody else's keys into a family.

use bytes::Bytes;

use super::code::PairingRole;
use crate::ids::{DeviceId, IdLengthError};
use crate::labels;
use crate::limits::NAME_BYTES_MAX;
use crate::primitives::sign::{PublicKey, SecretKey, SignatureError};
use crate::wire::PairRequest;

/// Key packages in one request: the family conversation and a few rooms.
pub const PAIR_KEY_PACKAGES_MAX: usize = 16;

/// Why a request is not a new device's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The device's id has the wrong length.
    #[error("the new device's id is damaged")]
    Device(#[from] IdLengthError),
    /// A key has the wrong length, or is missing.
    #[error("the new device's {key} is missing or damaged")]
    Key {
        /// Which key.
        key: &'static str,
    },
    /// A name that is empty or too long.
    #[error("the new device's name must have between 1 and {NAME_BYTES_MAX} bytes, not {bytes}")]
    Name {
        /// Bytes it has.
        bytes: usize,
    },
    /// No key package, or too many.
    #[error(
        "the new device brings {count} key packages; between 1 and {PAIR_KEY_PACKAGES_MAX} are needed"
    )]
    KeyPackages {
        /// How many it brings.
        count: usize,
    },
    /// A child's device brings a guardian's key.
    #[error("the new device brings a guardian's key, but the code was for a child")]
    Role,
    /// A signature does not fit this channel.
    #[error("the new device does not prove that it holds its {key}")]
    Signature {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        source: SignatureError,
    },
}

/// A request whose sender holds the keys in it. Who that is, a guardian must still confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRequest {
    /// The new device.
    pub device: DeviceId,
    /// Its signature key.
    pub signature_key: PublicKey,
    /// What it calls itself: shown to the guardian, who may change it.
    pub device_name: String,
    /// Its MLS key packages, not yet validated.
    pub key_packages: Vec<Bytes>,
    /// The new guardian's identity key; `None` for a child's device.
    pub identity_key: Option<PublicKey>,
}

const SIGNATURE_KEY: &str = "signature key";
const IDENTITY_KEY: &str = "identity key";

/// Puts keys and proofs for this channel into `request`; `identity` when the code was for a guardian.
pub fn sign_request(
    request: &mut PairRequest,
    device: &SecretKey,
    identity: Option<&SecretKey>,
    handshake_hash: &[u8; 32],
) {
    let public = |key: &SecretKey| Bytes::copy_from_slice(key.public().as_bytes());
    let proof =
        |key: &SecretKey| Bytes::copy_from_slice(&key.sign(labels::SIGN_PAIRING, handshake_hash));
    request.signature_key = public(device);
    request.proof = proof(device);
    request.identity_key = identity.map(public).unwrap_or_default();
    request.identity_proof = identity.map(proof).unwrap_or_default();
}

/// Checks a request against the channel it came through and the role in the code.
///
/// # Errors
/// [`ProofError`], naming the field that is wrong.
pub fn verify_request(
    request: &PairRequest,
    role: PairingRole,
    handshake_hash: &[u8; 32],
) -> Result<VerifiedRequest, ProofError> {
    let device = DeviceId::try_from(&request.device)?;
    let bytes = request.device_name.len();
    if bytes == 0 || bytes > NAME_BYTES_MAX {
        return Err(ProofError::Name { bytes });
    }
    let count = request.key_packages.len();
    if count == 0 || count > PAIR_KEY_PACKAGES_MAX {
        return Err(ProofError::KeyPackages { count });
    }
    let proven = |key, bytes: &[u8], signature: &[u8]| -> Result<PublicKey, ProofError> {
        let public = PublicKey::from_slice(bytes).ok_or(ProofError::Key { key })?;
        public
            .verify(labels::SIGN_PAIRING, handshake_hash, signature)
            .map_err(|source| ProofError::Signature { key, source })?;
        Ok(public)
    };
    let signature_key = proven(SIGNATURE_KEY, &request.signature_key, &request.proof)?;
    let identity_key = match role {
        PairingRole::Guardian => Some(proven(
            IDENTITY_KEY,
            &request.identity_key,
            &request.identity_proof,
        )?),
        PairingRole::Child if request.identity_key.is_empty() => None,
        PairingRole::Child => return Err(ProofError::Role),
    };
    Ok(VerifiedRequest {
        device,
        signature_key,
        device_name: request.device_name.clone(),
        key_packages: request.key_packages.clone(),
        identity_key,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{
        IDENTITY_KEY, PAIR_KEY_PACKAGES_MAX, ProofError, SIGNATURE_KEY, sign_request,
        verify_request,
    };
    use crate::ids::DeviceId;
    use crate::pairing::PairingRole::{Child, Guardian};
    use crate::primitives::sign::{SecretKey, SignatureError};
    use crate::wire::PairRequest;

    const HASH: [u8; 32] = [4; 32];

    fn keys() -> (SecretKey, SecretKey) {
        (
            SecretKey::from_seed(&[1; 32]),
            SecretKey::from_seed(&[2; 32]),
        )
    }

    fn request(guardian: bool) -> PairRequest {
        let (device, identity) = keys();
        let mut request = PairRequest {
            device: DeviceId::new([5; 16]).to_bytes(),
            device_name: "Mia's tablet".into(),
            key_packages: vec![vec![6; 10].into()],
            ..PairRequest::default()
        };
        sign_request(&mut request, &device, guardian.then_some(&identity), &HASH);
        request
    }

    #[test]
    fn honest_requests_verify() {
        let (device, identity) = keys();
        let child = verify_request(&request(false), Child, &HASH).unwrap();
        assert_eq!(child.signature_key, device.public());
        assert_eq!(child.identity_key, None);
        let guardian = verify_request(&request(true), Guardian, &HASH).unwrap();
        assert_eq!(guardian.identity_key, Some(identity.public()));
        assert_eq!(guardian.device, DeviceId::new([5; 16]));
    }

    #[test]
    fn a_proof_from_another_channel_is_refused() {
        let refused = |key| {
            Err(ProofError::Signature {
                key,
                source: SignatureError,
            })
        };
        let result = verify_request(&request(false), Child, &[5; 32]);
        assert_eq!(result, refused(SIGNATURE_KEY));
        let mut other = request(true);
        other.identity_proof = other.proof.clone();
        assert_eq!(
            verify_request(&other, Guardian, &HASH),
            refused(IDENTITY_KEY)
        );
    }

    #[test]
    fn role_and_keys_must_agree() {
        let result = verify_request(&request(true), Child, &HASH);
        assert_eq!(result, Err(ProofError::Role));
        let result = verify_request(&request(false), Guardian, &HASH);
        assert_eq!(result, Err(ProofError::Key { key: IDENTITY_KEY }));
    }

    #[test]
    fn bounds_are_checked() {
        let good = request(false);
        let mut bad = good.clone();
        bad.device_name.clear();
        let result = verify_request(&bad, Child, &HASH);
        assert_eq!(result, Err(ProofError::Name { bytes: 0 }));
        bad.device_name = "x".repeat(129);
        let result = verify_request(&bad, Child, &HASH);
        assert_eq!(result, Err(ProofError::Name { bytes: 129 }));
        for count in [0, PAIR_KEY_PACKAGES_MAX + 1] {
            let mut bad = good.clone();
            bad.key_packages = vec![bytes::Bytes::new(); count];
            let result = verify_request(&bad, Child, &HASH);
            assert_eq!(result, Err(ProofError::KeyPackages { count }));
        }
        let mut bad = good;
        bad.device = bytes::Bytes::from_static(&[0; 15]);
        let result = verify_request(&bad, Child, &HASH);
        assert!(matches!(result, Err(ProofError::Device(_))));
    }
}
